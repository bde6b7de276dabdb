//! Answers of Prometheus' HTTP API.
//!
//! Invariant: any text is an answer or an error, never a panic; memory is bounded by the text, whose length was bounded.

use std::collections::HashMap;

use belfry_model::{Labels, MetricKind, TimestampMs};
use serde::de::{Deserialize, Deserializer, Error as _, Visitor};

use crate::engine::{EngineAnswer, EngineValue};

/// The envelope of all answers.
#[derive(serde::Deserialize)]
#[serde(bound = "T: Deserialize<'de>")]
pub(super) struct Envelope<T> {
    pub status: String,
    #[serde(default)]
    pub error: String,
    #[serde(default)]
    pub warnings: Vec<String>,
    #[serde(default)]
    pub infos: Vec<String>,
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
#[derive(serde::Deserialize)]
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
#[derive(serde::Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
pub(super) enum QueryData {
    Matrix(Vec<Row>),
    Vector(Vec<Row>),
    Scalar(Point),
    String((Number, String)),
}

/// Why an answer to a query cannot be passed on.
pub(super) fn answer(envelope: Envelope<QueryData>) -> Result<EngineAnswer, String> {
    let data = envelope.data.ok_or("the answer has no data")?;
    let rows = |rows: Vec<Row>| match rows.iter().any(Row::has_histograms) {
        true => Err("the answer has native histograms".to_owned()),
        false => Ok(rows),
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
    Ok(EngineAnswer { value, warnings: envelope.warnings, infos: envelope.infos })
}

/// `data` of the metadata of metrics.
pub(super) type Metadata = HashMap<String, Vec<MetadataOf>>;

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
        "histogram" | "gaugehistogram" => MetricKind::Histogram,
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
    pub exemplars: Vec<ExemplarOf>,
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

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[\\[\\]{}\",:a-z0-9.]{0,80}") {
            let _ = read(&text);
        }
    }
}
