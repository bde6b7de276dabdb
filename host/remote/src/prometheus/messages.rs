//! Remote write's and remote read's messages, as far as they are sent or read here.
//!
//! <https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/>, Prometheus' `prompb/remote.proto`.

use std::sync::Arc;

use belfry_model::sample::{ResetHint, Span};
use belfry_model::{Histogram, Labels, MetricKind};
use prost::Message;

/// The number of a kind; both versions number them alike.
pub(super) fn kind_number(kind: MetricKind) -> i32 {
    match kind {
        MetricKind::Unknown => 0,
        MetricKind::Counter => 1,
        MetricKind::Gauge => 2,
        MetricKind::Histogram => 3,
        MetricKind::Summary => 5,
        MetricKind::Info => 6,
        MetricKind::StateSet => 7,
    }
}

/// A histogram as it goes over the wire. `start` is of version 2 alone; 0 for none.
pub(super) fn wire(h: &Histogram, timestamp: i64, start: i64) -> WireHistogram {
    let spans = |spans: &[Span]| spans.iter().map(|s| BucketSpan { offset: s.offset, length: s.length }).collect();
    let mut wire = WireHistogram {
        sum: h.sum,
        schema: h.schema,
        zero_threshold: h.zero_threshold,
        negative_spans: spans(&h.negative_spans),
        positive_spans: spans(&h.positive_spans),
        reset_hint: match h.reset_hint {
            ResetHint::Unknown => 0,
            ResetHint::Reset => 1,
            ResetHint::NotReset => 2,
            ResetHint::Gauge => 3,
        },
        timestamp,
        custom_values: h.custom_bounds.clone(),
        start,
        ..WireHistogram::default()
    };
    if h.integer {
        wire.count_int = Some(h.count as u64);
        wire.zero_count_int = Some(h.zero_count as u64);
        wire.negative_deltas = deltas(&h.negative_counts);
        wire.positive_deltas = deltas(&h.positive_counts);
    } else {
        wire.count_float = Some(h.count);
        wire.zero_count_float = Some(h.zero_count);
        wire.negative_counts.clone_from(&h.negative_counts);
        wire.positive_counts.clone_from(&h.positive_counts);
    }
    wire
}

fn deltas(counts: &[f64]) -> Vec<i64> {
    let mut before = 0_i64;
    let delta = |count: &f64| {
        let now = *count as i64;
        now.saturating_sub(std::mem::replace(&mut before, now))
    };
    counts.iter().map(delta).collect()
}

fn absolute(deltas: &[i64]) -> Vec<f64> {
    let mut count = 0_i64;
    let next = |delta: &i64| {
        count = count.saturating_add(*delta);
        count as f64
    };
    deltas.iter().map(next).collect()
}

/// The histogram of a message.
pub(super) fn histogram(w: WireHistogram) -> Arc<Histogram> {
    let spans = |spans: Vec<BucketSpan>| {
        spans.into_iter().map(|s| Span { offset: s.offset, length: s.length }).collect::<Vec<_>>()
    };
    let integer = w.count_int.is_some();
    let counts = |deltas: &[i64], counts: Vec<f64>| if integer { absolute(deltas) } else { counts };
    Arc::new(Histogram {
        schema: w.schema,
        count: w.count_int.map_or(w.count_float.unwrap_or(0.0), |n| n as f64),
        sum: w.sum,
        zero_threshold: w.zero_threshold,
        zero_count: w.zero_count_int.map_or(w.zero_count_float.unwrap_or(0.0), |n| n as f64),
        positive_counts: counts(&w.positive_deltas, w.positive_counts),
        negative_counts: counts(&w.negative_deltas, w.negative_counts),
        positive_spans: spans(w.positive_spans),
        negative_spans: spans(w.negative_spans),
        custom_bounds: w.custom_values,
        reset_hint: match w.reset_hint {
            1 => ResetHint::Reset,
            2 => ResetHint::NotReset,
            3 => ResetHint::Gauge,
            _ => ResetHint::Unknown,
        },
        integer,
    })
}

/// Labels of version 1.
pub(super) fn labels(labels: &Labels) -> Vec<Label> {
    labels.iter().map(|l| Label { name: l.name.to_string(), value: l.value.to_string() }).collect()
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
    #[prost(message, repeated, tag = "3")]
    pub metadata: Vec<Metadata>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    pub exemplars: Vec<Exemplar>,
    #[prost(message, repeated, tag = "4")]
    pub histograms: Vec<WireHistogram>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Label {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

/// Of both versions; `start` is of version 2 alone.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Sample {
    #[prost(double, tag = "1")]
    pub value: f64,
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
    #[prost(int64, tag = "3")]
    pub start: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Exemplar {
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    #[prost(double, tag = "2")]
    pub value: f64,
    #[prost(int64, tag = "3")]
    pub timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Metadata {
    #[prost(int32, tag = "1")]
    pub r#type: i32,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub help: String,
    #[prost(string, tag = "5")]
    pub unit: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct BucketSpan {
    #[prost(sint32, tag = "1")]
    pub offset: i32,
    #[prost(uint32, tag = "2")]
    pub length: u32,
}

/// `Histogram`; the members of its two `oneof`s stand beside each other here.
#[derive(Clone, PartialEq, Message)]
pub(super) struct WireHistogram {
    #[prost(uint64, optional, tag = "1")]
    pub count_int: Option<u64>,
    #[prost(double, optional, tag = "2")]
    pub count_float: Option<f64>,
    #[prost(double, tag = "3")]
    pub sum: f64,
    #[prost(sint32, tag = "4")]
    pub schema: i32,
    #[prost(double, tag = "5")]
    pub zero_threshold: f64,
    #[prost(uint64, optional, tag = "6")]
    pub zero_count_int: Option<u64>,
    #[prost(double, optional, tag = "7")]
    pub zero_count_float: Option<f64>,
    #[prost(message, repeated, tag = "8")]
    pub negative_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "9")]
    pub negative_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "10")]
    pub negative_counts: Vec<f64>,
    #[prost(message, repeated, tag = "11")]
    pub positive_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "12")]
    pub positive_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "13")]
    pub positive_counts: Vec<f64>,
    #[prost(int32, tag = "14")]
    pub reset_hint: i32,
    #[prost(int64, tag = "15")]
    pub timestamp: i64,
    #[prost(double, repeated, tag = "16")]
    pub custom_values: Vec<f64>,
    #[prost(int64, tag = "17")]
    pub start: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RequestV2 {
    #[prost(string, repeated, tag = "4")]
    pub symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    pub timeseries: Vec<TimeSeriesV2>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TimeSeriesV2 {
    #[prost(uint32, repeated, tag = "1")]
    pub labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    pub histograms: Vec<WireHistogram>,
    #[prost(message, repeated, tag = "4")]
    pub exemplars: Vec<ExemplarV2>,
    #[prost(message, optional, tag = "5")]
    pub metadata: Option<MetadataV2>,
    /// Before 2.0-rc.4 the start stood once for the series; receivers of that time look here.
    #[prost(int64, tag = "6")]
    pub created: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ExemplarV2 {
    #[prost(uint32, repeated, tag = "1")]
    pub labels_refs: Vec<u32>,
    #[prost(double, tag = "2")]
    pub value: f64,
    #[prost(int64, tag = "3")]
    pub timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct MetadataV2 {
    #[prost(int32, tag = "1")]
    pub r#type: i32,
    #[prost(uint32, tag = "3")]
    pub help_ref: u32,
    #[prost(uint32, tag = "4")]
    pub unit_ref: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ReadRequest {
    #[prost(message, repeated, tag = "1")]
    pub queries: Vec<ReadQuery>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ReadQuery {
    #[prost(int64, tag = "1")]
    pub start: i64,
    #[prost(int64, tag = "2")]
    pub end: i64,
    #[prost(message, repeated, tag = "3")]
    pub matchers: Vec<LabelMatcher>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LabelMatcher {
    #[prost(int32, tag = "1")]
    pub r#type: i32,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, tag = "3")]
    pub value: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_comes_back_as_it_went() {
        for integer in [true, false] {
            let h = Histogram {
                schema: 3,
                count: 9.0,
                sum: 1.5,
                zero_count: 1.0,
                positive_spans: vec![Span { offset: -1, length: 3 }],
                positive_counts: vec![4.0, 1.0, 3.0],
                reset_hint: ResetHint::Gauge,
                integer,
                ..Histogram::default()
            };
            let bytes = wire(&h, 5, 0).encode_to_vec();
            assert_eq!(*histogram(WireHistogram::decode(&*bytes).expect("a message")), h);
        }
    }
}
