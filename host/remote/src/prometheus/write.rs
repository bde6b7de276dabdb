//! A shipment as remote write's request, and what the answer means.
//!
//! Invariant: what may be sent again without help from a person is `Away`; what the engine has looked at and refused is
//! not sent again.
//! Not here: HTTP, and whether it has looked at what it refuses.

use std::collections::HashMap;

use belfry_model::{Histogram, MetricMetadata, Value};
use belfry_prompb as prompb;
use belfry_prompb::v2::Symbols;
use http::StatusCode;

use crate::engine::{SendError, Shipment};
use crate::http::HttpAnswer;

/// The request of version 1, and how many samples it cannot carry: histograms with custom buckets. The protocol has no place
/// for their bounds; Prometheus sends none of them, and up to version 3.8 it keeps what comes without its bounds.
pub(super) fn v1(shipment: &Shipment) -> (prompb::WriteRequest, u64) {
    let mut left_out = 0;
    let series = shipment.series.iter().flat_map(|s| {
        let mut out = prompb::TimeSeries { labels: prompb::labels_of(&s.labels), ..prompb::TimeSeries::default() };
        for sample in &s.samples {
            let timestamp = sample.at.0;
            match &sample.value {
                Value::Float(value) => {
                    out.samples.push(prompb::Sample { value: *value, timestamp, ..prompb::Sample::default() });
                }
                Value::Histogram(h) if h.schema == Histogram::CUSTOM_BOUNDS => left_out += 1,
                Value::Histogram(h) => out.histograms.push(prompb::Histogram::of(h, timestamp)),
            }
        }
        if out.samples.is_empty() && out.histograms.is_empty() && !s.samples.is_empty() {
            return [None, None];
        }
        let exemplars = s.exemplars.iter().map(prompb::Exemplar::from).collect();
        if out.histograms.is_empty() {
            out.exemplars = exemplars;
            return [Some(out), None];
        }
        // Prometheus looks at a series' exemplars before its histograms, and leaves out those of one that it does not know
        // yet. It sends them apart itself.
        let apart = prompb::TimeSeries { labels: out.labels.clone(), exemplars, ..prompb::TimeSeries::default() };
        let apart = Some(apart).filter(|s| !s.exemplars.is_empty());
        [Some(out), apart]
    });
    let metadata = shipment.metadata.iter().map(prompb::MetricMetadata::from);
    (prompb::WriteRequest { timeseries: series.flatten().collect(), metadata: metadata.collect() }, left_out)
}

/// The request of version 2. `known` has the metadata of metrics by their names.
pub(super) fn v2(shipment: &Shipment, known: &HashMap<String, MetricMetadata>) -> prompb::v2::Request {
    let mut symbols = Symbols::default();
    let mut timeseries = Vec::with_capacity(shipment.series.len());
    for s in &shipment.series {
        let labels_refs = symbols.labels_of(&s.labels);
        let mut series = prompb::v2::TimeSeries { labels_refs, ..prompb::v2::TimeSeries::default() };
        for sample in &s.samples {
            let (timestamp, start_timestamp) = (sample.at.0, sample.start.map_or(0, |t| t.0));
            match &sample.value {
                Value::Float(value) => {
                    series.samples.push(prompb::Sample { value: *value, timestamp, start_timestamp });
                }
                Value::Histogram(h) => {
                    series
                        .histograms
                        .push(prompb::Histogram { start_timestamp, ..prompb::Histogram::of(h, timestamp) });
                }
            }
        }
        let mut starts = s.samples.iter().map(|sample| sample.start);
        let first = starts.next().flatten();
        series.created_timestamp = first.filter(|_| starts.all(|s| s == first)).map_or(0, |t| t.0);
        for e in &s.exemplars {
            let labels_refs = symbols.labels_of(&e.labels);
            series.exemplars.push(prompb::v2::Exemplar { labels_refs, value: e.value, timestamp: e.at.0 });
        }
        series.metadata = s.labels.metric().and_then(|name| of_family(known, name)).map(|m| prompb::v2::Metadata {
            kind: prompb::kind_number(m.kind),
            help_ref: symbols.number(&m.help),
            unit_ref: symbols.number(&m.unit),
        });
        timeseries.push(series);
    }
    prompb::v2::Request { symbols: symbols.into_texts(), timeseries }
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

/// What an engine did with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// It has looked at each sample.
    Taken {
        /// Samples that the request could not carry.
        left_out: u64,
        /// How many it did not keep, and why.
        refused: Option<(u64, String)>,
    },
    /// It does not say that it kept any: parts of it may be taken.
    Refused {
        /// For people.
        reason: String,
        /// For a proxy, or for the engine.
        is_too_large: bool,
    },
}

/// What the answer to a request of `samples` means.
pub(super) fn outcome(answer: &HttpAnswer, samples: u64) -> Result<Answered, SendError> {
    let status = answer.status;
    if status.is_success() {
        return Ok(Answered::Taken { left_out: 0, refused: None });
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
    if !status.is_client_error() || not_let_in.contains(&status) {
        return Err(SendError::Away { reason: answer.reason(), retry_after_ms: answer.retry_after_ms() });
    }
    Ok(match written(answer) {
        Some(written) => {
            let refused = Some((samples.saturating_sub(written), answer.reason()));
            Answered::Taken { left_out: 0, refused }
        }
        None => Answered::Refused { reason: answer.reason(), is_too_large: status == StatusCode::PAYLOAD_TOO_LARGE },
    })
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
        let request = v2(&shipment(), &known);
        assert_eq!(request.symbols, ["", "__name__", "x_count", "job", "a", "Time.", "seconds", "y"]);
        let [x, y] = &request.timeseries[..] else { panic!("{request:?}") };
        assert_eq!(x.labels_refs, [1, 2, 3, 4]);
        assert_eq!(x.metadata, Some(prompb::v2::Metadata { kind: 3, help_ref: 5, unit_ref: 6 }));
        assert_eq!((x.samples[0].start_timestamp, x.created_timestamp), (7, 7));
        assert_eq!((y.labels_refs.as_slice(), &y.metadata, y.created_timestamp), (&[1, 7, 3, 4][..], &None, 0));
    }

    #[test]
    fn version_1_has_labels_in_order() {
        let (request, _) = v1(&shipment());
        let names: Vec<_> = request.timeseries[0].labels.iter().map(|l| l.name.as_str()).collect();
        assert_eq!(names, ["__name__", "job"]);
        assert_eq!(request.timeseries[0].samples[0].start_timestamp, 0, "of version 2 alone");
    }

    #[test]
    fn version_1_has_exemplars_of_histograms_after_them() {
        let mut shipment = shipment();
        let exemplar = belfry_model::Exemplar { labels: Labels::empty(), value: 1.0, at: TimestampMs(1_000) };
        for s in &mut shipment.series {
            s.exemplars = vec![exemplar.clone()];
        }
        shipment.series[0].samples[0].value = Value::Histogram(std::sync::Arc::default());
        let (request, left_out) = v1(&shipment);
        let counts = |s: &prompb::TimeSeries| (s.samples.len(), s.histograms.len(), s.exemplars.len());
        assert_eq!(request.timeseries.iter().map(counts).collect::<Vec<_>>(), [(0, 1, 0), (0, 0, 1), (1, 0, 1)]);
        assert_eq!(left_out, 0);
        assert_eq!(request.timeseries[0].labels, request.timeseries[1].labels);
    }

    #[test]
    fn version_1_leaves_out_histograms_with_custom_buckets() {
        let mut shipment = shipment();
        let histogram = Histogram { schema: Histogram::CUSTOM_BOUNDS, ..Histogram::default() };
        shipment.series[0].samples[0].value = Value::Histogram(histogram.into());
        let (request, left_out) = v1(&shipment);
        assert_eq!((request.timeseries.len(), left_out), (1, 1));
        assert_eq!(v2(&shipment, &HashMap::new()).timeseries[0].histograms.len(), 1);
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
        assert_eq!(outcome(&answer(204, &[]), 5), Ok(Answered::Taken { left_out: 0, refused: None }));
        let why = |status: u16| format!("status {status}: why");
        for (status, is_too_large) in [(400, false), (413, true), (422, false)] {
            let refused = Ok(Answered::Refused { reason: why(status), is_too_large });
            assert_eq!(outcome(&answer(status, &[]), 5), refused);
        }
        let said = [(SAMPLES_WRITTEN, "2"), (HISTOGRAMS_WRITTEN, "1")];
        let partly = Ok(Answered::Taken { left_out: 0, refused: Some((2, why(400))) });
        assert_eq!(outcome(&answer(400, &said), 5), partly);
    }
}
