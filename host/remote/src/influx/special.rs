//! Values that line protocol's numbers cannot be: stale markers, NaN, infinities, native histograms, as texts.
//!
//! Invariant: reading a text gives back the value bit for bit; a text that is not one of these gives nothing.
//! Not here: where the texts are written (`lines`) and found (`read`).

use belfry_model::Histogram;
use belfry_model::sample::{ResetHint, STALE_NAN_BITS, Span};
use serde::{Deserialize, Serialize};

/// The text of a float that is no finite number.
pub fn encode(value: f64) -> String {
    match value.to_bits() {
        STALE_NAN_BITS => "stale".to_owned(),
        _ if value == f64::INFINITY => "+Inf".to_owned(),
        _ if value == f64::NEG_INFINITY => "-Inf".to_owned(),
        bits if bits == f64::NAN.to_bits() => "NaN".to_owned(),
        bits => format!("NaN:{bits:016x}"),
    }
}

/// The float of such a text.
pub fn decode(text: &str) -> Option<f64> {
    match text {
        "stale" => Some(f64::from_bits(STALE_NAN_BITS)),
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        _ => {
            let bits = u64::from_str_radix(text.strip_prefix("NaN:")?, 16).ok()?;
            Some(f64::from_bits(bits)).filter(|v| v.is_nan())
        }
    }
}

/// A finite number as JSON has it, any other as its text.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Number {
    Finite(f64),
    Special(String),
}

impl Number {
    fn of(value: f64) -> Self {
        if value.is_finite() { Self::Finite(value) } else { Self::Special(encode(value)) }
    }

    fn value(self) -> Option<f64> {
        match self {
            Self::Finite(v) => Some(v),
            Self::Special(text) => decode(&text),
        }
    }
}

/// Spans as pairs of offset and length, and the absolute counts of their buckets.
#[derive(Default, PartialEq, Serialize, Deserialize)]
struct Buckets {
    spans: Vec<(i32, u32)>,
    counts: Vec<f64>,
}

impl Buckets {
    fn of(spans: &[Span], counts: &[f64]) -> Self {
        Self { spans: spans.iter().map(|s| (s.offset, s.length)).collect(), counts: counts.to_vec() }
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn spans(&self) -> Vec<Span> {
        self.spans.iter().map(|&(offset, length)| Span { offset, length }).collect()
    }

    /// As many counts as the spans say, spans in order, and indexes that are 32-bit numbers.
    fn is_sound(&self) -> bool {
        let said: u64 = self.spans.iter().map(|s| u64::from(s.1)).sum();
        let forward = self.spans.iter().skip(1).all(|s| s.0 >= 0);
        said == self.counts.len() as u64 && forward && i32::try_from(self.end()).is_ok()
    }

    /// Where they end.
    fn end(&self) -> i64 {
        self.spans.iter().map(|s| i64::from(s.0) + i64::from(s.1)).sum()
    }
}

/// A native histogram as JSON, as docs/operations.md says it.
#[derive(Serialize, Deserialize)]
struct Text {
    schema: i32,
    count: Number,
    sum: Number,
    zero_threshold: f64,
    zero_count: f64,
    #[serde(default, skip_serializing_if = "Buckets::is_empty")]
    positive: Buckets,
    #[serde(default, skip_serializing_if = "Buckets::is_empty")]
    negative: Buckets,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    bounds: Vec<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reset: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    integer: bool,
}

impl Text {
    /// Others may have written it: what evaluation relies on is looked at.
    fn is_sound(&self) -> bool {
        let known = match self.schema {
            Histogram::CUSTOM_BOUNDS => {
                let ascending = self.bounds.windows(2).all(|w| matches!(w, [a, b] if a < b));
                let first = self.positive.spans.first().map_or(0, |s| s.0);
                ascending && first >= 0 && self.positive.end() <= self.bounds.len() as i64 + 1
            }
            schema => (-4..=8).contains(&schema) && self.bounds.is_empty(),
        };
        known && self.positive.is_sound() && self.negative.is_sound()
    }
}

/// The JSON of a native histogram; `None` for one whose buckets or bounds are no finite numbers.
pub fn encode_histogram(h: &Histogram) -> Option<String> {
    let all = [&h.positive_counts, &h.negative_counts, &h.custom_bounds];
    let finite = all.iter().all(|v| v.iter().all(|n| n.is_finite())) && h.zero_threshold.is_finite();
    if !finite || !h.zero_count.is_finite() {
        return None;
    }
    let text = Text {
        schema: h.schema,
        count: Number::of(h.count),
        sum: Number::of(h.sum),
        zero_threshold: h.zero_threshold,
        zero_count: h.zero_count,
        positive: Buckets::of(&h.positive_spans, &h.positive_counts),
        negative: Buckets::of(&h.negative_spans, &h.negative_counts),
        bounds: h.custom_bounds.clone(),
        reset: reset_text(h.reset_hint).map(str::to_owned),
        integer: h.integer,
    };
    serde_json::to_string(&text).ok()
}

/// The native histogram of such a text.
pub fn decode_histogram(text: &str) -> Option<Histogram> {
    let text: Text = serde_json::from_str(text).ok()?;
    if !text.is_sound() {
        return None;
    }
    Some(Histogram {
        schema: text.schema,
        count: text.count.value()?,
        sum: text.sum.value()?,
        zero_threshold: text.zero_threshold,
        zero_count: text.zero_count,
        positive_spans: text.positive.spans(),
        positive_counts: text.positive.counts,
        negative_spans: text.negative.spans(),
        negative_counts: text.negative.counts,
        custom_bounds: text.bounds,
        reset_hint: reset_of(text.reset.as_deref())?,
        integer: text.integer,
    })
}

fn reset_text(hint: ResetHint) -> Option<&'static str> {
    match hint {
        ResetHint::Unknown => None,
        ResetHint::Reset => Some("reset"),
        ResetHint::NotReset => Some("none"),
        ResetHint::Gauge => Some("gauge"),
    }
}

fn reset_of(text: Option<&str>) -> Option<ResetHint> {
    match text {
        None => Some(ResetHint::Unknown),
        Some("reset") => Some(ResetHint::Reset),
        Some("none") => Some(ResetHint::NotReset),
        Some("gauge") => Some(ResetHint::Gauge),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn same(a: f64, b: f64) -> bool {
        a.to_bits() == b.to_bits()
    }

    #[test]
    fn special_values_are_words() {
        for (bits, word) in [
            (STALE_NAN_BITS, "stale"),
            (f64::NAN.to_bits(), "NaN"),
            (f64::INFINITY.to_bits(), "+Inf"),
            (f64::NEG_INFINITY.to_bits(), "-Inf"),
            (0x7ff8_0000_0000_0001, "NaN:7ff8000000000001"),
        ] {
            assert_eq!(encode(f64::from_bits(bits)), word);
            assert_eq!(decode(word).map(f64::to_bits), Some(bits));
        }
        assert_eq!(decode("NaN:3ff0000000000000"), None, "that is 1");
        assert_eq!(decode("up"), None);
    }

    #[test]
    fn a_histogram_is_plain_json() {
        let h = Histogram {
            schema: 0,
            count: 3.0,
            sum: f64::from_bits(STALE_NAN_BITS),
            zero_threshold: 0.001,
            zero_count: 1.0,
            positive_spans: vec![Span { offset: -1, length: 2 }],
            positive_counts: vec![1.0, 1.0],
            integer: true,
            ..Histogram::default()
        };
        let text = encode_histogram(&h).expect("it can be written");
        let expected = r#"{"schema":0,"count":3.0,"sum":"stale","zero_threshold":0.001,"zero_count":1.0,"#;
        assert_eq!(
            text,
            format!("{expected}\"positive\":{{\"spans\":[[-1,2]],\"counts\":[1.0,1.0]}},\"integer\":true}}")
        );
        assert!(decode_histogram(&text).expect("it can be read").is_stale());
    }

    #[test]
    fn custom_bounds_come_back() {
        let h = Histogram {
            schema: Histogram::CUSTOM_BOUNDS,
            count: 3.0,
            sum: 0.1 + 0.2,
            positive_spans: vec![Span { offset: 1, length: 2 }],
            positive_counts: vec![1.0, 2.0],
            custom_bounds: vec![0.1, 0.30000000000000004],
            ..Histogram::default()
        };
        assert_eq!(decode_histogram(&encode_histogram(&h).expect("written")), Some(h));
    }

    #[test]
    fn what_is_no_histogram_is_none() {
        for (schema, spans) in
            [(0, "[[0,2]]"), (0, "[[0,3],[-1,-2]]"), (0, "[[2147483647,1]]"), (9, "[[0,1]]"), (-53, "[[0,1],[1,0]]")]
        {
            let text = format!(
                r#"{{"schema":{schema},"count":1,"sum":1,"zero_threshold":0,"zero_count":0,"positive":{{"spans":{spans},"counts":[1]}}}}"#
            );
            assert_eq!(decode_histogram(&text), None, "{text}");
        }
    }

    fn finite() -> impl Strategy<Value = f64> {
        any::<u64>().prop_map(f64::from_bits).prop_filter("finite", |v| v.is_finite())
    }

    fn buckets() -> impl Strategy<Value = (Vec<Span>, Vec<f64>)> {
        let spans = prop::collection::vec((0..1000, prop::collection::vec(finite(), 0..4)), 0..4);
        (-2000..2000, spans).prop_map(|(first, mut spans)| {
            if let Some(span) = spans.first_mut() {
                span.0 = first;
            }
            let all = spans.iter().map(|(offset, c)| Span { offset: *offset, length: c.len() as u32 }).collect();
            (all, spans.into_iter().flat_map(|(_, c)| c).collect())
        })
    }

    proptest! {
        #[test]
        fn every_float_that_is_no_number_comes_back(bits in any::<u64>()) {
            // Half of them are NaNs of every kind.
            for bits in [bits, bits | 0x7ff0_0000_0000_0001] {
                let value = f64::from_bits(bits);
                if !value.is_finite() {
                    prop_assert_eq!(decode(&encode(value)).map(f64::to_bits), Some(bits));
                }
            }
        }

        #[test]
        fn every_histogram_comes_back(
            schema in -4i32..=8,
            numbers in prop::array::uniform4(finite()),
            positive in buckets(),
            negative in buckets(),
            hint in prop::sample::select(vec![ResetHint::Unknown, ResetHint::Reset, ResetHint::NotReset, ResetHint::Gauge]),
            integer in any::<bool>(),
            sum in any::<u64>(),
        ) {
            let h = Histogram {
                schema,
                count: numbers[0],
                sum: f64::from_bits(sum),
                zero_threshold: numbers[1],
                zero_count: numbers[2],
                positive_spans: positive.0,
                positive_counts: positive.1,
                negative_spans: negative.0,
                negative_counts: negative.1,
                custom_bounds: Vec::new(),
                reset_hint: hint,
                integer,
            };
            let back = decode_histogram(&encode_histogram(&h).expect("written")).expect("read");
            prop_assert!(same(back.sum, h.sum));
            // NaN is not equal to itself.
            prop_assert_eq!(Histogram { sum: 0.0, ..back }, Histogram { sum: 0.0, ..h });
        }

        #[test]
        fn no_text_makes_it_fail(text in "\\PC{0,40}") {
            decode(&text);
            decode_histogram(&text);
        }
    }
}
