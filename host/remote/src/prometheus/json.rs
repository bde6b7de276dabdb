//! Answers of Prometheus' HTTP API.
//!
//! Invariant: any text is an answer or an error, never a panic; memory is bounded by the text, whose length was bounded,
//! and by [`ROWS_MAX`] where a few bytes would become large things.

use std::collections::HashMap;

use belfry_model::{Labels, MetricKind, TimestampMs};
use serde::de::{Deserialize, Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::engine::{EngineAnswer, EngineValue};

/// Entries of a list: twice what a query may read at most. One can have three bytes in the text and a hundred in memory.
const ROWS_MAX: usize = 1_000_000;

/// A list of at most [`ROWS_MAX`].
#[derive(Debug)]
pub(super) struct Rows<T>(pub Vec<T>);

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Rows<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V<T>(Vec<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for V<T> {
            type Value = Rows<T>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list")
            }
            fn visit_seq<A: SeqAccess<'de>>(mut self, mut all: A) -> Result<Rows<T>, A::Error> {
                while let Some(one) = all.next_element()? {
                    if self.0.len() >= ROWS_MAX {
                        return Err(A::Error::custom(format!("a list has more than {ROWS_MAX} entries")));
                    }
                    self.0.push(one);
                }
                Ok(Rows(self.0))
            }
        }
        d.deserialize_seq(V(Vec::new()))
    }
}

/// The envelope of all answers.
#[derive(serde::Deserialize)]
#[serde(bound = "T: Deserialize<'de>")]
pub(super) struct Envelope<T> {
    pub status: String,
    #[serde(default)]
    pub error: String,
    #[serde(default)]
    pub warnings: Rows<String>,
    #[serde(default)]
    pub infos: Rows<String>,
    pub data: Option<T>,
}

/// A number in a string.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number(pub f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl Visitor<'_> for V {
            type Value = Number;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number in a string")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Number, E> {
                text.parse().map(Number).map_err(|_| E::custom(format!("`{text}` is no number")))
            }
            fn visit_f64<E>(self, v: f64) -> Result<Number, E> {
                Ok(Number(v))
            }
            fn visit_i64<E>(self, v: i64) -> Result<Number, E> {
                Ok(Number(v as f64))
            }
            fn visit_u64<E>(self, v: u64) -> Result<Number, E> {
                Ok(Number(v as f64))
            }
            // VictoriaMetrics' way to say NaN.
            fn visit_unit<E>(self) -> Result<Number, E> {
                Ok(Number(f64::NAN))
            }
        }
        d.deserialize_any(V)
    }
}

/// Seconds and a value.
pub(super) type Point = (Number, Number);

pub(super) fn time(seconds: Number) -> TimestampMs {
    TimestampMs::from_secs_f64(seconds.0)
}

/// A label set as an object.
#[derive(Clone, Debug, Default)]
pub(super) struct LabelMap(pub Labels);

impl<'de> Deserialize<'de> for LabelMap {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let pairs = HashMap::<String, String>::deserialize(d)?;
        if pairs.contains_key("") {
            return Err(D::Error::custom("a label has no name"));
        }
        Ok(Self(Labels::from_pairs(pairs)))
    }
}

/// A series of a vector or matrix.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Row {
    #[serde(default)]
    pub metric: LabelMap,
    pub value: Option<Point>,
    #[serde(default)]
    pub values: Vec<Point>,
    pub histogram: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    pub histograms: Vec<serde::de::IgnoredAny>,
}

impl Row {
    fn has_histograms(&self) -> bool {
        self.histogram.is_some() || !self.histograms.is_empty()
    }
}

/// `data` of a query.
pub(super) enum QueryData {
    Matrix(Rows<Row>),
    Vector(Rows<Row>),
    Scalar(Point),
    String((Number, String)),
}

impl<'de> Deserialize<'de> for QueryData {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        /// The result stays a text until its type is known, whichever comes first.
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Typed {
            result_type: String,
            result: Box<RawValue>,
        }
        let Typed { result_type, result } = Typed::deserialize(d)?;
        let result = result.get();
        match &*result_type {
            "matrix" => serde_json::from_str(result).map(Self::Matrix),
            "vector" => serde_json::from_str(result).map(Self::Vector),
            "scalar" => serde_json::from_str(result).map(Self::Scalar),
            "string" => serde_json::from_str(result).map(Self::String),
            other => return Err(D::Error::custom(format!("`{other}` is no type of a result"))),
        }
        .map_err(D::Error::custom)
    }
}

/// Why an answer to a query cannot be passed on.
pub(super) fn answer(envelope: Envelope<QueryData>) -> Result<EngineAnswer, String> {
    let data = envelope.data.ok_or("the answer has no data")?;
    let rows = |rows: Rows<Row>| match rows.0.iter().any(Row::has_histograms) {
        true => Err("the answer has native histograms".to_owned()),
        false => Ok(rows.0),
    };
    let value = match data {
        QueryData::Scalar((at, v)) => EngineValue::Scalar(time(at), v.0),
        QueryData::String((at, text)) => EngineValue::Text(time(at), text),
        QueryData::Vector(all) => {
            let row = |r: Row| r.value.map(|(at, v)| (r.metric.0, time(at), v.0));
            EngineValue::Vector(rows(all)?.into_iter().filter_map(row).collect())
        }
        QueryData::Matrix(all) => {
            let points = |r: &Row| r.values.iter().map(|(at, v)| (time(*at), v.0)).collect();
            EngineValue::Matrix(rows(all)?.into_iter().map(|r| (r.metric.0.clone(), points(&r))).collect())
        }
    };
    Ok(EngineAnswer { value, warnings: envelope.warnings.0, infos: envelope.infos.0 })
}

/// `data` of the metadata of metrics.
pub(super) type Metadata = HashMap<String, Rows<MetadataOf>>;

#[derive(serde::Deserialize)]
pub(super) struct MetadataOf {
    #[serde(default)]
    pub r#type: String,
    #[serde(default)]
    pub help: String,
    #[serde(default)]
    pub unit: String,
}

pub(super) fn kind(name: &str) -> MetricKind {
    match name {
        "counter" => MetricKind::Counter,
        "gauge" => MetricKind::Gauge,
        "histogram" => MetricKind::Histogram,
        "gaugehistogram" => MetricKind::GaugeHistogram,
        "summary" => MetricKind::Summary,
        "info" => MetricKind::Info,
        "stateset" => MetricKind::StateSet,
        _ => MetricKind::Unknown,
    }
}

/// `data` of exemplars.
#[derive(serde::Deserialize)]
pub(super) struct ExemplarsOf {
    #[serde(rename = "seriesLabels", default)]
    pub series: LabelMap,
    #[serde(default)]
    pub exemplars: Rows<ExemplarOf>,
}

#[derive(serde::Deserialize)]
pub(super) struct ExemplarOf {
    #[serde(default)]
    pub labels: LabelMap,
    pub value: Number,
    pub timestamp: Number,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<EngineAnswer, String> {
        answer(serde_json::from_str(text).map_err(|e| e.to_string())?)
    }

    #[test]
    fn all_kinds_of_values_are_read() {
        let vector = r#"{"status":"success","warnings":["w"],"data":{"resultType":"vector","result":[
            {"metric":{"__name__":"up"},"value":[1700000000.123,"+Inf"]}]}}"#;
        let read_vector = read(vector).expect("a vector");
        assert_eq!(read_vector.warnings, ["w"]);
        let labels = Labels::from_pairs([("__name__", "up")]);
        assert_eq!(
            read_vector.value,
            EngineValue::Vector(vec![(labels, TimestampMs(1_700_000_000_123), f64::INFINITY)])
        );
        let scalar = read(r#"{"status":"success","data":{"resultType":"scalar","result":[1,"2"]}}"#);
        assert_eq!(scalar.expect("a scalar").value, EngineValue::Scalar(TimestampMs(1000), 2.0));
        let text = read(r#"{"status":"success","data":{"resultType":"string","result":[1,"x"]}}"#);
        assert_eq!(text.expect("a text").value, EngineValue::Text(TimestampMs(1000), "x".into()));
        let matrix = r#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{},"values":[[1,"NaN"],[2,null],[3,"-1e3"]]}]}}"#;
        let EngineValue::Matrix(rows) = read(matrix).expect("a matrix").value else { panic!("a matrix") };
        assert_eq!((rows[0].1.len(), rows[0].1[2].1), (3, -1000.0));
    }

    #[test]
    fn native_histograms_are_not_passed_on() {
        let text = r#"{"status":"success","data":{"resultType":"vector","result":[
            {"metric":{},"histogram":[1,{"count":"1","sum":"2","buckets":[]}]}]}}"#;
        assert_eq!(read(text), Err("the answer has native histograms".to_owned()));
    }

    #[test]
    fn the_type_may_come_after_the_result() {
        let text =
            r#"{"data":{"result":[{"metric":{"a":"b"},"value":[1,"2"]}],"resultType":"vector"},"status":"success"}"#;
        assert!(matches!(read(text).expect("a vector").value, EngineValue::Vector(v) if v.len() == 1));
        assert!(read(r#"{"status":"success","data":{"resultType":"other","result":[]}}"#).is_err());
    }

    #[test]
    fn lists_are_bounded() {
        let list = |n: usize| serde_json::from_str::<Rows<Row>>(&format!("[{}{{}}]", "{},".repeat(n - 1)));
        assert_eq!(list(1000).expect("a list").0.len(), 1000);
        assert!(list(ROWS_MAX + 1).unwrap_err().to_string().contains("more than 1000000 entries"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[\\[\\]{}\",:a-z0-9.]{0,80}") {
            let _ = read(&text);
        }
    }
}
