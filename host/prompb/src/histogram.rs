//! A native histogram: exponential or custom buckets, whole numbers or floats; the same message in both versions.

use belfry_model::sample::{ResetHint, Span};
use prost::Message;

/// `prometheus.BucketSpan`.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct BucketSpan {
    /// Empty buckets before it.
    #[prost(sint32, tag = "1")]
    pub offset: i32,
    /// Buckets in it.
    #[prost(uint32, tag = "2")]
    pub length: u32,
}

/// `prometheus.Histogram`; the members of its two `oneof`s stand beside each other here.
#[derive(Clone, PartialEq, Message)]
pub struct Histogram {
    /// Observations, of a histogram of whole numbers.
    #[prost(uint64, optional, tag = "1")]
    pub count_int: Option<u64>,
    /// Observations, of a float histogram.
    #[prost(double, optional, tag = "2")]
    pub count_float: Option<f64>,
    /// Of the observations.
    #[prost(double, tag = "3")]
    pub sum: f64,
    /// -4 to 8; -53 says that the bounds are in `custom_values`.
    #[prost(sint32, tag = "4")]
    pub schema: i32,
    /// Half the width of the zero bucket.
    #[prost(double, tag = "5")]
    pub zero_threshold: f64,
    /// In the zero bucket, of a histogram of whole numbers.
    #[prost(uint64, optional, tag = "6")]
    pub zero_count_int: Option<u64>,
    /// In the zero bucket, of a float histogram.
    #[prost(double, optional, tag = "7")]
    pub zero_count_float: Option<f64>,
    /// Where the negative buckets are.
    #[prost(message, repeated, tag = "8")]
    pub negative_spans: Vec<BucketSpan>,
    /// Differences from bucket to bucket, of a histogram of whole numbers.
    #[prost(sint64, repeated, tag = "9")]
    pub negative_deltas: Vec<i64>,
    /// Counts, of a float histogram.
    #[prost(double, repeated, tag = "10")]
    pub negative_counts: Vec<f64>,
    /// Where the positive buckets are.
    #[prost(message, repeated, tag = "11")]
    pub positive_spans: Vec<BucketSpan>,
    /// Differences from bucket to bucket, of a histogram of whole numbers.
    #[prost(sint64, repeated, tag = "12")]
    pub positive_deltas: Vec<i64>,
    /// Counts, of a float histogram.
    #[prost(double, repeated, tag = "13")]
    pub positive_counts: Vec<f64>,
    /// 0 unknown, 1 it was reset, 2 it was not, 3 a gauge.
    #[prost(int32, tag = "14")]
    pub reset_hint: i32,
    /// Milliseconds.
    #[prost(int64, tag = "15")]
    pub timestamp: i64,
    /// Upper bounds, where the schema says so.
    #[prost(double, repeated, tag = "16")]
    pub custom_values: Vec<f64>,
    /// Since when it counts, in milliseconds; 0 for unknown. Of version 2 alone.
    #[prost(int64, tag = "17")]
    pub start_timestamp: i64,
}

impl Histogram {
    /// The message of a histogram at a time.
    pub fn of(h: &belfry_model::Histogram, timestamp: i64) -> Self {
        let spans = |spans: &[Span]| spans.iter().map(|s| BucketSpan { offset: s.offset, length: s.length }).collect();
        let mut out = Self {
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
            ..Self::default()
        };
        if h.integer {
            out.count_int = Some(h.count as u64);
            out.zero_count_int = Some(h.zero_count as u64);
            out.negative_deltas = deltas(&h.negative_counts);
            out.positive_deltas = deltas(&h.positive_counts);
        } else {
            out.count_float = Some(h.count);
            out.zero_count_float = Some(h.zero_count);
            out.negative_counts.clone_from(&h.negative_counts);
            out.positive_counts.clone_from(&h.positive_counts);
        }
        out
    }

    /// What it says, unchecked.
    pub fn into_model(self) -> belfry_model::Histogram {
        let spans = |spans: Vec<BucketSpan>| {
            spans.into_iter().map(|s| Span { offset: s.offset, length: s.length }).collect::<Vec<_>>()
        };
        let integer = self.count_int.is_some();
        let counts = |deltas: &[i64], counts: Vec<f64>| if integer { absolute(deltas) } else { counts };
        belfry_model::Histogram {
            schema: self.schema,
            count: self.count_int.map_or(self.count_float.unwrap_or(0.0), |n| n as f64),
            sum: self.sum,
            zero_threshold: self.zero_threshold,
            zero_count: self.zero_count_int.map_or(self.zero_count_float.unwrap_or(0.0), |n| n as f64),
            positive_counts: counts(&self.positive_deltas, self.positive_counts),
            negative_counts: counts(&self.negative_deltas, self.negative_counts),
            positive_spans: spans(self.positive_spans),
            negative_spans: spans(self.negative_spans),
            custom_bounds: self.custom_values,
            reset_hint: match self.reset_hint {
                1 => ResetHint::Reset,
                2 => ResetHint::NotReset,
                3 => ResetHint::Gauge,
                _ => ResetHint::Unknown,
            },
            integer,
        }
    }
}

/// Differences from one to the next.
pub(crate) fn deltas(counts: &[f64]) -> Vec<i64> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn exponential(integer: bool) -> belfry_model::Histogram {
        belfry_model::Histogram {
            schema: 3,
            count: 9.0,
            sum: 1.5,
            zero_threshold: 1e-9,
            zero_count: 1.0,
            positive_spans: vec![Span { offset: -1, length: 3 }],
            positive_counts: vec![4.0, 1.0, 3.0],
            reset_hint: ResetHint::Gauge,
            integer,
            ..belfry_model::Histogram::default()
        }
    }

    fn custom(integer: bool) -> belfry_model::Histogram {
        belfry_model::Histogram {
            schema: belfry_model::Histogram::CUSTOM_BOUNDS,
            custom_bounds: vec![0.1, 1.0, 10.0],
            zero_threshold: 0.0,
            zero_count: 0.0,
            count: 8.0,
            reset_hint: ResetHint::NotReset,
            ..exponential(integer)
        }
    }

    #[test]
    fn a_histogram_comes_back_as_it_went() {
        for h in [exponential(true), exponential(false), custom(true), custom(false)] {
            let bytes = Histogram::of(&h, 5).encode_to_vec();
            assert_eq!(Histogram::decode(&*bytes).expect("a message").into_model(), h);
        }
    }

    #[test]
    fn counts_are_written_as_differences() {
        assert_eq!(deltas(&[3.0, 1.0, 1.0, 4.0]), [3, -2, 0, 3]);
        assert_eq!(absolute(&[3, -2, 0, 3]), [3.0, 1.0, 1.0, 4.0]);
    }

    proptest::proptest! {
        #[test]
        fn whatever_a_message_says_nothing_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            if let Ok(message) = Histogram::decode(&*bytes) {
                let _ = Histogram::of(&message.into_model(), 0);
            }
        }
    }
}
