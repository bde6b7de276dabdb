//! Histograms in a test file: how one is written, and what a store makes of one.
//!
//! Invariant: two histograms are the same where [`written`] writes them the same, as in promtool.

use std::fmt::Write as _;
use std::sync::Arc;

use belfry_model::Value;
use belfry_model::sample::{Histogram, ResetHint, Span, is_stale};

/// As a test file says it: `{{schema:1 count:3 sum:2 buckets:[1 2]}}`. What is 0 and what is not known is left out.
pub(crate) fn written(h: &Histogram) -> String {
    let mut parts = Vec::new();
    let mut number = |name: &str, v: f64| {
        if v != 0.0 {
            parts.push(format!("{name}:{}", shown(v)));
        }
    };
    number("schema", f64::from(h.schema));
    number("count", h.count);
    number("sum", h.sum);
    number("z_bucket", h.zero_count);
    number("z_bucket_w", h.zero_threshold);
    if h.schema == Histogram::CUSTOM_BOUNDS {
        parts.push(format!("custom_values:{}", list(&h.custom_bounds)));
    }
    match h.reset_hint {
        ResetHint::Unknown => {}
        ResetHint::Reset => parts.push("counter_reset_hint:reset".to_owned()),
        ResetHint::NotReset => parts.push("counter_reset_hint:not_reset".to_owned()),
        ResetHint::Gauge => parts.push("counter_reset_hint:gauge".to_owned()),
    }
    for (spans, counts, prefix) in
        [(&h.positive_spans, &h.positive_counts, ""), (&h.negative_spans, &h.negative_counts, "n_")]
    {
        let (offset, counts) = in_a_row(spans, counts);
        if offset != 0 {
            parts.push(format!("{prefix}offset:{offset}"));
        }
        if !counts.is_empty() {
            parts.push(format!("{prefix}buckets:{}", list(&counts)));
        }
    }
    format!("{{{{{}}}}}", parts.join(" "))
}

fn list(values: &[f64]) -> String {
    let mut out = "[".to_owned();
    for (i, v) in values.iter().enumerate() {
        let _ = write!(out, "{}{}", if i > 0 { " " } else { "" }, shown(*v));
    }
    out + "]"
}

fn shown(v: f64) -> String {
    match v {
        v if v.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        v => v.to_string(),
    }
}

/// Buckets that are written with the gaps between them; spans further apart than that are cut off.
const BUCKETS_SHOWN_MAX: usize = 10_000;

/// One span with all buckets: the index of the first, and counts from the first that holds something to the last.
fn in_a_row(spans: &[Span], counts: &[f64]) -> (i32, Vec<f64>) {
    let (mut at, mut counts) = (0_i64, counts.iter());
    let mut first = None;
    let mut all: Vec<f64> = Vec::new();
    for span in spans {
        at += i64::from(span.offset);
        for count in counts.by_ref().take(span.length as usize) {
            if *count != 0.0 {
                let from = *first.get_or_insert(at);
                let index = usize::try_from(at - from).unwrap_or(usize::MAX);
                if index >= BUCKETS_SHOWN_MAX {
                    break;
                }
                all.resize(index, 0.0);
                all.push(*count);
            }
            at += 1;
        }
    }
    (first.and_then(|f| i32::try_from(f).ok()).unwrap_or(0), all)
}

/// As a store gives it back after `previous`: a histogram says of itself whether it was reset. The first after a reset
/// begins a chunk, and what begins a chunk says nothing.
pub(crate) fn stored(previous: Option<&Value>, value: Value) -> Value {
    let Value::Histogram(h) = value else { return value };
    if h.reset_hint == ResetHint::Gauge || h.is_stale() {
        return Value::Histogram(h);
    }
    let before = match previous {
        Some(Value::Histogram(p)) if p.reset_hint != ResetHint::Gauge && !is_stale(p.sum) => Some(p),
        _ => None,
    };
    let said = h.reset_hint;
    let mut stored = Arc::unwrap_or_clone(h);
    stored.reset_hint = ResetHint::Unknown;
    let goes_on = said != ResetHint::Reset && before.is_some_and(|p| !belfry_promql::histogram_was_reset(&stored, p));
    if goes_on {
        stored.reset_hint = ResetHint::NotReset;
    }
    Value::Histogram(Arc::new(stored))
}

#[cfg(test)]
mod tests {
    use super::super::series::histogram as read;
    use super::*;

    #[test]
    fn what_is_written_is_read_back_the_same() {
        for text in [
            "{{}}",
            "{{schema:1 count:32.1 sum:-0.3 z_bucket:7.1 z_bucket_w:0.05 offset:-3 buckets:[5.1 10 7] n_offset:-5 \
             n_buckets:[4.1 5]}}",
            "{{schema:-53 count:6 sum:NaN custom_values:[1 2] counter_reset_hint:gauge buckets:[1 2 3]}}",
            "{{count:3 sum:+Inf counter_reset_hint:not_reset buckets:[3]}}",
        ] {
            assert_eq!(read(text).map(|h| written(&h)).as_deref(), Some(text));
        }
        assert_eq!(
            read("{{count:1 buckets:[0 1 0]}}").map(|h| written(&h)).as_deref(),
            Some("{{count:1 offset:1 buckets:[1]}}")
        );
        let apart = Histogram {
            positive_spans: vec![Span { offset: 1, length: 1 }, Span { offset: 2, length: 1 }],
            positive_counts: vec![4.0, 5.0],
            ..Histogram::default()
        };
        assert_eq!(written(&apart), "{{offset:1 buckets:[4 0 0 5]}}");
    }

    #[test]
    fn a_store_says_of_what_goes_on_that_it_was_not_reset() {
        let value = |text: &str| Value::Histogram(Arc::new(read(text).expect("a histogram")));
        let hint = |previous: Option<&Value>, text: &str| match stored(previous, value(text)) {
            Value::Histogram(h) => h.reset_hint,
            Value::Float(_) => panic!("it stays a histogram"),
        };
        let before = value("{{count:2 sum:1 buckets:[2]}}");
        assert_eq!(hint(None, "{{count:2 buckets:[2]}}"), ResetHint::Unknown);
        assert_eq!(hint(Some(&before), "{{count:2 buckets:[2]}}"), ResetHint::NotReset);
        assert_eq!(hint(Some(&before), "{{count:1 buckets:[1]}}"), ResetHint::Unknown);
        assert_eq!(hint(Some(&before), "{{count:1 counter_reset_hint:gauge buckets:[1]}}"), ResetHint::Gauge);
        assert_eq!(hint(Some(&Value::Float(1.0)), "{{count:2 buckets:[2]}}"), ResetHint::Unknown);
        assert_eq!(
            hint(None, "{{count:2 counter_reset_hint:not_reset buckets:[2]}}"),
            ResetHint::Unknown,
            "a recorded one begins a chunk, too"
        );
    }
}
