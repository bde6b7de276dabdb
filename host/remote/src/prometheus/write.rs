//! A shipment as remote write's request, and what the answer means.
//!
//! Invariant: what may be sent again without help from a person is `Away`; what the engine has looked at and refused is
//! not sent again.
//! Not here: HTTP.

use std::collections::HashMap;

use belfry_model::{MetricMetadata, Value};
use http::StatusCode;
use prost::Message as _;

use super::messages::*;
use crate::engine::{SendError, Shipment};
use crate::http::HttpAnswer;

/// The request of version 1, not yet packed.
pub(super) fn v1(shipment: &Shipment) -> Vec<u8> {
    let series = shipment.series.iter().map(|s| {
        let mut out = TimeSeries { labels: labels(&s.labels), ..TimeSeries::default() };
        for sample in &s.samples {
            match &sample.value {
                Value::Float(value) => {
                    out.samples.push(Sample { value: *value, timestamp: sample.at.0, start: 0 });
                }
                Value::Histogram(h) => out.histograms.push(wire(h, sample.at.0, 0)),
            }
        }
        let exemplar =
            |e: &belfry_model::Exemplar| Exemplar { labels: labels(&e.labels), value: e.value, timestamp: e.at.0 };
        out.exemplars = s.exemplars.iter().map(exemplar).collect();
        out
    });
    let metadata = shipment.metadata.iter().map(|m| Metadata {
        r#type: kind_number(m.kind),
        name: m.name.clone(),
        help: m.help.clone(),
        unit: m.unit.clone(),
    });
    WriteRequest { timeseries: series.collect(), metadata: metadata.collect() }.encode_to_vec()
}

/// Texts by number; the first is empty, as the specification wants it.
#[derive(Default)]
struct Symbols {
    texts: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl Symbols {
    fn number(&mut self, text: &str) -> u32 {
        if self.texts.is_empty() {
            self.texts.push(String::new());
            self.numbers.insert(String::new(), 0);
        }
        if let Some(n) = self.numbers.get(text) {
            return *n;
        }
        let n = u32::try_from(self.texts.len()).unwrap_or(0);
        self.texts.push(text.to_owned());
        self.numbers.insert(text.to_owned(), n);
        n
    }

    fn labels(&mut self, labels: &belfry_model::Labels) -> Vec<u32> {
        labels.iter().flat_map(|l| [self.number(&l.name), self.number(&l.value)]).collect()
    }
}

/// The request of version 2, not yet packed. `known` has the metadata of metrics by their names.
pub(super) fn v2(shipment: &Shipment, known: &HashMap<String, MetricMetadata>) -> Vec<u8> {
    let mut symbols = Symbols::default();
    symbols.number("");
    let mut out = RequestV2::default();
    for s in &shipment.series {
        let mut series = TimeSeriesV2 { labels_refs: symbols.labels(&s.labels), ..TimeSeriesV2::default() };
        for sample in &s.samples {
            let start = sample.start.map_or(0, |t| t.0);
            match &sample.value {
                Value::Float(value) => series.samples.push(Sample { value: *value, timestamp: sample.at.0, start }),
                Value::Histogram(h) => series.histograms.push(wire(h, sample.at.0, start)),
            }
        }
        let mut starts = s.samples.iter().map(|sample| sample.start);
        let first = starts.next().flatten();
        series.created = first.filter(|_| starts.all(|s| s == first)).map_or(0, |t| t.0);
        for e in &s.exemplars {
            let labels_refs = symbols.labels(&e.labels);
            series.exemplars.push(ExemplarV2 { labels_refs, value: e.value, timestamp: e.at.0 });
        }
        series.metadata = s.labels.metric().and_then(|name| of_family(known, name)).map(|m| MetadataV2 {
            r#type: kind_number(m.kind),
            help_ref: symbols.number(&m.help),
            unit_ref: symbols.number(&m.unit),
        });
        out.timeseries.push(series);
    }
    out.symbols = symbols.texts;
    out.encode_to_vec()
}

/// Metadata is of the metric; the series of a classic histogram or a summary have names made from it.
fn of_family<'m>(known: &'m HashMap<String, MetricMetadata>, name: &str) -> Option<&'m MetricMetadata> {
    let suffixes = ["_bucket", "_sum", "_count"].iter();
    known.get(name).or_else(|| suffixes.filter_map(|s| name.strip_suffix(s)).find_map(|family| known.get(family)))
}

const SAMPLES_WRITTEN: &str = "x-prometheus-remote-write-samples-written";
const HISTOGRAMS_WRITTEN: &str = "x-prometheus-remote-write-histograms-written";

/// How many samples of version 2 were written, if the engine says so.
pub(super) fn written(answer: &HttpAnswer) -> Option<u64> {
    let number = |name: &str| answer.headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    match (number(SAMPLES_WRITTEN), number(HISTOGRAMS_WRITTEN)) {
        (None, None) => None,
        (floats, histograms) => Some(floats.unwrap_or(0) + histograms.unwrap_or(0)),
    }
}

/// What the answer to a request of `samples` means.
pub(super) fn outcome(answer: &HttpAnswer, samples: u64) -> Result<(), SendError> {
    let status = answer.status;
    if status.is_success() {
        return Ok(());
    }
    // A wrong address or token refuses nothing of what is sent: it waits until a person has mended it.
    let not_let_in = [
        StatusCode::UNAUTHORIZED,
        StatusCode::FORBIDDEN,
        StatusCode::NOT_FOUND,
        StatusCode::METHOD_NOT_ALLOWED,
        StatusCode::PROXY_AUTHENTICATION_REQUIRED,
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::TOO_MANY_REQUESTS,
    ];
    if status.is_client_error() && !not_let_in.contains(&status) {
        let refused = written(answer).map(|written| samples.saturating_sub(written));
        return Err(SendError::Refused { reason: answer.reason(), samples: refused });
    }
    Err(SendError::Away { reason: answer.reason(), retry_after_ms: answer.retry_after_ms() })
}

#[cfg(test)]
mod tests {
    use belfry_model::{Labels, MetricKind, TimestampMs};

    use super::*;
    use crate::engine::SeriesSamples;

    fn shipment() -> Shipment {
        let at = TimestampMs(1_000);
        let sample = |start| belfry_model::Sample { at, value: Value::Float(2.0), start };
        let labels = |name: &str| Labels::from_pairs([("__name__", name), ("job", "a")]);
        let series = |name: &str, start| SeriesSamples {
            labels: labels(name),
            samples: vec![sample(start)],
            exemplars: Vec::new(),
        };
        Shipment { series: vec![series("x_count", Some(TimestampMs(7))), series("y", None)], metadata: Vec::new() }
    }

    #[test]
    fn version_2_says_each_text_once_and_metadata_with_the_series() {
        let meta = MetricMetadata {
            name: "x".into(),
            kind: MetricKind::Histogram,
            unit: "seconds".into(),
            help: "Time.".into(),
        };
        let known = HashMap::from([("x".to_owned(), meta)]);
        let request = RequestV2::decode(&*v2(&shipment(), &known)).expect("a message");
        assert_eq!(request.symbols, ["", "__name__", "x_count", "job", "a", "Time.", "seconds", "y"]);
        let [x, y] = &request.timeseries[..] else { panic!("{request:?}") };
        assert_eq!(x.labels_refs, [1, 2, 3, 4]);
        assert_eq!(x.metadata, Some(MetadataV2 { r#type: 3, help_ref: 5, unit_ref: 6 }));
        assert_eq!((x.samples[0].start, x.created), (7, 7));
        assert_eq!((y.labels_refs.as_slice(), &y.metadata, y.created), (&[1, 7, 3, 4][..], &None, 0));
    }

    #[test]
    fn version_1_has_labels_in_order() {
        let request = WriteRequest::decode(&*v1(&shipment())).expect("a message");
        let names: Vec<_> = request.timeseries[0].labels.iter().map(|l| l.name.as_str()).collect();
        assert_eq!(names, ["__name__", "job"]);
        assert_eq!(request.timeseries[0].samples[0].start, 0, "of version 2 alone");
    }

    #[test]
    fn only_what_was_looked_at_and_refused_is_given_up() {
        let answer = |status: u16, headers: &[(&'static str, &'static str)]| HttpAnswer {
            status: StatusCode::from_u16(status).expect("a status"),
            headers: headers
                .iter()
                .map(|(n, v)| (http::HeaderName::from_static(n), http::HeaderValue::from_static(v)))
                .collect(),
            body: b"why".to_vec(),
        };
        for status in [401, 403, 404, 408, 429, 500, 502, 503, 302] {
            let outcome = outcome(&answer(status, &[("retry-after", "3")]), 5);
            assert!(
                matches!(outcome, Err(SendError::Away { retry_after_ms: Some(3000), .. })),
                "{status}: {outcome:?}"
            );
        }
        assert_eq!(outcome(&answer(204, &[]), 5), Ok(()));
        let refused = |headers: &[_]| match outcome(&answer(400, headers), 5) {
            Err(SendError::Refused { samples, reason }) => (samples, reason),
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(&[]), (None, "status 400: why".to_owned()));
        assert_eq!(refused(&[(SAMPLES_WRITTEN, "2"), (HISTOGRAMS_WRITTEN, "1")]).0, Some(2));
    }
}
