//! The chunks are read by another's rules: as Prometheus' documents say that they are.

use std::sync::Arc;

use belfry_model::sample::{ResetHint, Span, stale_nan};
use belfry_model::{Histogram, Sample, TimestampMs, Value};
use proptest::prelude::*;

use super::*;

/// Bits, the most significant of a byte first.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn bits(&mut self, n: u32) -> u64 {
        (0..n).fold(0, |v, _| {
            let bit = self.bytes[self.at / 8] >> (7 - self.at % 8) & 1;
            self.at += 1;
            v << 1 | u64::from(bit)
        })
    }

    fn float(&mut self) -> f64 {
        f64::from_bits(self.bits(64))
    }

    fn ones(&mut self, most: u32) -> u32 {
        (0..most).take_while(|_| self.bits(1) == 1).count() as u32
    }

    fn uvarint(&mut self) -> u64 {
        let mut v = 0;
        for shift in (0..).step_by(7) {
            let byte = self.bits(8);
            v |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        v
    }

    /// `n` bits, of which one half and one more is above zero.
    fn signed(&mut self, n: u32) -> i64 {
        let v = self.bits(n);
        if n < 64 && v > 1 << (n - 1) { v as i64 - (1 << n) } else { v as i64 }
    }

    fn width(&mut self) -> u32 {
        [0, 3, 6, 9, 12, 18, 25, 56, 64][self.ones(8) as usize]
    }

    fn varbit(&mut self) -> i64 {
        let n = self.width();
        if n == 0 { 0 } else { self.signed(n) }
    }

    fn varbit_unsigned(&mut self) -> u64 {
        let n = self.width();
        self.bits(n)
    }

    fn xor(&mut self, before: &mut (f64, u32, u32)) -> f64 {
        if self.bits(1) == 1 {
            if self.bits(1) == 1 {
                let leading = self.bits(5) as u32;
                let length = self.bits(6) as u32;
                let length = if length == 0 { 64 } else { length };
                (before.1, before.2) = (leading, 64 - leading - length);
            }
            let changed = self.bits(64 - before.1 - before.2) << before.2;
            before.0 = f64::from_bits(before.0.to_bits() ^ changed);
        }
        before.0
    }
}

fn read(chunk: &Chunk) -> Vec<Sample> {
    let n = usize::from(u16::from_be_bytes([chunk.data[0], chunk.data[1]]));
    assert!((1..=120).contains(&n));
    let samples = if chunk.encoding == XOR { read_floats(chunk, n) } else { read_histograms(chunk, n) };
    let (first, last) = (samples.first().unwrap().at.0, samples.last().unwrap().at.0);
    assert_eq!((first, last), (chunk.min_time_ms, chunk.max_time_ms));
    samples
}

fn read_floats(chunk: &Chunk, n: usize) -> Vec<Sample> {
    let mut r = Reader { bytes: &chunk.data[2..], at: 0 };
    let zigzag = r.uvarint();
    let mut at = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
    let mut value = (r.float(), 0, 0);
    let mut all = vec![Sample { at: TimestampMs(at), value: Value::Float(value.0), start: None }];
    let mut delta = 0;
    for i in 1..n {
        delta = match i {
            1 => r.uvarint() as i64,
            _ => match [0, 14, 17, 20, 64][r.ones(4) as usize] {
                0 => delta,
                bits => delta.wrapping_add(r.signed(bits)),
            },
        };
        at = at.wrapping_add(delta);
        all.push(Sample { at: TimestampMs(at), value: Value::Float(r.xor(&mut value)), start: None });
    }
    assert_eq!(r.at.div_ceil(8), r.bytes.len(), "nothing is left");
    all
}

fn read_spans(r: &mut Reader<'_>) -> Vec<Span> {
    let n = r.varbit_unsigned();
    let span = |r: &mut Reader<'_>| Span { length: r.varbit_unsigned() as u32, offset: r.varbit() as i32 };
    (0..n).map(|_| span(r)).collect()
}

fn read_histograms(chunk: &Chunk, n: usize) -> Vec<Sample> {
    let header = chunk.data[2];
    let integer = chunk.encoding == HISTOGRAM;
    let mut r = Reader { bytes: &chunk.data[3..], at: 0 };
    let zero_threshold = match r.bits(8) {
        0 => 0.0,
        255 => r.float(),
        exponent => 0.5 * 2_f64.powi(exponent as i32 - 243),
    };
    let schema = r.varbit() as i32;
    let (positive_spans, negative_spans) = (read_spans(&mut r), read_spans(&mut r));
    let mut custom_bounds = Vec::new();
    if schema == Histogram::CUSTOM_BOUNDS {
        for _ in 0..r.varbit_unsigned() {
            custom_bounds.push(match r.varbit_unsigned() {
                0 => r.float(),
                thousandths => (thousandths - 1) as f64 / 1000.0,
            });
        }
    }
    let buckets = |spans: &[Span]| spans.iter().map(|s| s.length as usize).sum::<usize>();
    let (positive, negative) = (buckets(&positive_spans), buckets(&negative_spans));
    let mut all = Vec::new();
    let mut time = (0_i64, 0_i64);
    let mut whole = vec![(0_i64, 0_i64); 2 + positive + negative];
    let mut floats = vec![(0.0, 0, 0); 3 + positive + negative];
    for i in 0..n {
        let step = |value: &mut (i64, i64), read: i64| {
            if i == 0 {
                *value = (read, 0);
            } else {
                value.1 = value.1.wrapping_add(read);
                value.0 = value.0.wrapping_add(value.1);
            }
        };
        step(&mut time, r.varbit());
        let mut column = |r: &mut Reader<'_>, k: usize| match i {
            0 => {
                floats[k].0 = r.float();
                floats[k].0
            }
            _ => r.xor(&mut floats[k]),
        };
        let (mut counts, sum): (Vec<f64>, f64);
        if integer {
            let mut n = |r: &mut Reader<'_>, k: usize| {
                let read = if i == 0 && k < 2 { r.varbit_unsigned() as i64 } else { r.varbit() };
                step(&mut whole[k], read);
                whole[k].0
            };
            counts = vec![n(&mut r, 0) as u64 as f64, n(&mut r, 1) as u64 as f64];
            sum = column(&mut r, 2);
            for (first, buckets) in [(2, positive), (2 + positive, negative)] {
                let mut count = 0;
                for k in first..first + buckets {
                    count += n(&mut r, k);
                    counts.push(count as f64);
                }
            }
        } else {
            counts = vec![column(&mut r, 0), column(&mut r, 1)];
            sum = column(&mut r, 2);
            counts.extend((3..3 + positive + negative).map(|k| column(&mut r, k)));
        }
        let h = Histogram {
            schema,
            count: counts[0],
            sum,
            zero_threshold,
            zero_count: counts[1],
            positive_spans: positive_spans.clone(),
            positive_counts: counts[2..2 + positive].to_vec(),
            negative_spans: negative_spans.clone(),
            negative_counts: counts[2 + positive..].to_vec(),
            custom_bounds: custom_bounds.clone(),
            reset_hint: match header {
                0b1100_0000 => ResetHint::Gauge,
                _ if i > 0 => ResetHint::NotReset,
                0b1000_0000 => ResetHint::Reset,
                _ => ResetHint::Unknown,
            },
            integer,
        };
        all.push(Sample { at: TimestampMs(time.0), value: Value::Histogram(Arc::new(h)), start: None });
    }
    assert_eq!(r.at.div_ceil(8), r.bytes.len(), "nothing is left");
    all
}

fn buf(samples: &[(i64, Value)]) -> SampleBuf {
    let mut buf = SampleBuf::default();
    for (at, value) in samples {
        buf.push(&Sample { at: TimestampMs(*at), value: value.clone(), start: None });
    }
    buf
}

fn chunks(samples: &[(i64, Value)]) -> Vec<Chunk> {
    Chunks::new(&buf(samples), 0).collect()
}

/// What is read of a sample, its hint about resets aside; bit for bit.
fn said(at: i64, value: &Value) -> String {
    match value {
        Value::Float(v) => format!("{at} {:x}", v.to_bits()),
        Value::Histogram(h) if h.is_stale() => format!("{at} stale"),
        Value::Histogram(h) => {
            let h = Histogram { reset_hint: ResetHint::Unknown, ..Histogram::clone(h) };
            format!("{at} {:x} {h:?}", h.sum.to_bits())
        }
    }
}

fn check(samples: &[(i64, Value)]) {
    let read: Vec<Sample> = chunks(samples).iter().flat_map(read).collect();
    let got: Vec<String> = read.iter().map(|s| said(s.at.0, &s.value)).collect();
    let want: Vec<String> = samples.iter().map(|(at, v)| said(*at, v)).collect();
    assert_eq!(got, want);
}

fn histogram(count: f64) -> Histogram {
    Histogram {
        schema: 2,
        count: 3.0 * count + 1.0,
        sum: 0.1 * count,
        zero_threshold: 2_f64.powi(-128),
        zero_count: 1.0,
        positive_spans: vec![Span { offset: -2, length: 1 }, Span { offset: 3, length: 1 }],
        positive_counts: vec![count, count],
        negative_spans: vec![Span { offset: 70_000, length: 1 }],
        negative_counts: vec![count],
        integer: true,
        ..Histogram::default()
    }
}

fn value(h: Histogram) -> Value {
    Value::Histogram(Arc::new(h))
}

/// How many samples each chunk has, and what is said of the resets of each.
fn resets(samples: &[Histogram]) -> Vec<Vec<ResetHint>> {
    let samples: Vec<_> = samples.iter().zip(0..).map(|(h, at)| (at, value(h.clone()))).collect();
    check(&samples);
    let hint = |s: &Sample| if let Value::Histogram(h) = &s.value { h.reset_hint } else { panic!("a float") };
    chunks(&samples).iter().map(|c| read(c).iter().map(hint).collect()).collect()
}

#[test]
fn chunks_are_cut_where_they_are_full_and_where_the_kind_of_value_changes() {
    let float = |at: i64| (at, Value::Float(at as f64));
    let mut all: Vec<_> = (0..250).map(float).collect();
    all.push((250, value(histogram(1.0))));
    all.push((251, value(Histogram { integer: false, ..histogram(1.5) })));
    all.push(float(252));
    check(&all);
    let kinds: Vec<_> = chunks(&all).iter().map(|c| (c.encoding, c.min_time_ms)).collect();
    assert_eq!(kinds, [(XOR, 0), (XOR, 120), (XOR, 240), (HISTOGRAM, 250), (FLOAT_HISTOGRAM, 251), (XOR, 252)]);
}

#[test]
fn a_histogram_is_said_to_be_no_reset_only_where_it_is_none() {
    use ResetHint::{Gauge, NotReset, Reset, Unknown};
    let of = |count: f64, reset_hint| Histogram { reset_hint, ..histogram(count) };
    assert_eq!(
        resets(&[of(1.0, Unknown), of(2.0, Unknown), of(2.0, NotReset)]),
        [[Unknown, NotReset, NotReset]],
        "nothing goes down"
    );
    assert_eq!(resets(&[of(2.0, Unknown), of(1.0, Unknown)]), [[Unknown], [Unknown]]);
    assert_eq!(resets(&[of(1.0, Unknown), of(2.0, Reset)]), [[Unknown], [Reset]]);
    assert_eq!(resets(&[of(2.0, Gauge), of(1.0, Gauge), of(2.0, Gauge)]), [[Gauge, Gauge, Gauge]]);
    let fewer = Histogram { positive_counts: vec![3.0, 1.0], ..of(2.0, Unknown) };
    assert_eq!(resets(&[of(2.0, Unknown), fewer]), [[Unknown], [Unknown]], "one bucket goes down");
    let moved = Histogram { positive_spans: vec![Span { offset: 0, length: 2 }], ..of(2.0, Unknown) };
    assert_eq!(resets(&[of(1.0, Unknown), moved]), [[Unknown], [Unknown]], "the buckets are others");
    let stale = Histogram { sum: stale_nan(), ..of(3.0, NotReset) };
    assert_eq!(resets(&[of(1.0, Unknown), stale, of(2.0, Unknown)]), [[Unknown], [Unknown], [Unknown]]);
}

#[test]
fn thresholds_and_bounds_are_read_back_to_the_bit() {
    for zero_threshold in [0.0, 2_f64.powi(-243), 2_f64.powi(-244), 1024.0, 2048.0, 1e-9, f64::MIN_POSITIVE / 2.0, -0.5]
    {
        check(&[(0, value(Histogram { zero_threshold, ..histogram(1.0) }))]);
    }
    let custom = Histogram {
        schema: Histogram::CUSTOM_BOUNDS,
        custom_bounds: vec![-1.0, 0.0, 0.001, 0.1, 0.0005, 33_554.43, 33_554.431, f64::MAX],
        ..histogram(1.0)
    };
    check(&[(0, value(custom.clone())), (1, value(custom))]);
}

#[test]
fn counts_that_contradict_their_spans_are_left_out() {
    let odd = Histogram { positive_counts: vec![1.0; 7], ..histogram(1.0) };
    let read = read(&chunks(&[(0, value(odd.clone())), (1, value(odd))])[0]);
    assert_eq!(read.len(), 2);
    let Value::Histogram(h) = &read[1].value else { panic!("a float") };
    assert_eq!((h.count, h.positive_spans.len(), h.negative_counts.len()), (4.0, 0, 1));
}

fn any_value() -> impl Strategy<Value = Value> {
    let float = prop_oneof![any::<u64>().prop_map(f64::from_bits), (0..5).prop_map(f64::from), Just(stale_nan()),];
    let hint = prop_oneof![
        Just(ResetHint::Unknown),
        Just(ResetHint::Reset),
        Just(ResetHint::NotReset),
        Just(ResetHint::Gauge)
    ];
    let h = (any::<bool>(), 0_u64..1 << 53, 0_u8..3, hint).prop_map(|(integer, count, shift, reset_hint)| {
        let count = (count >> (20 * u32::from(shift))) as f64;
        let count = if integer { count } else { count / 7.0 };
        // Counts of whole numbers are exact up to 2^53.
        let h = Histogram { count: count.min(9e15), integer, reset_hint, ..histogram(count) };
        value(Histogram { zero_threshold: if shift == 1 { 0.1 } else { 0.5 }, ..h })
    });
    prop_oneof![3 => float.prop_map(Value::Float), 2 => h]
}

proptest! {
    #[test]
    fn whatever_is_put_in_is_read_back(
        start in prop_oneof![Just(1_700_000_000_000), any::<i32>().prop_map(i64::from), Just(i64::MIN)],
        steps in proptest::collection::vec((prop_oneof![Just(15_000), 1_i64..40_000, 1_i64..1 << 40], any_value()), 1..300),
    ) {
        let mut at = start;
        let samples: Vec<_> = steps.into_iter().map(|(step, value)| { at += step; (at, value) }).collect();
        check(&samples);
    }
}
