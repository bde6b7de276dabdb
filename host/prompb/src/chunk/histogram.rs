//! Native histograms: a layout of buckets once, then counts as differences of differences, or as the bits that changed.

use belfry_model::Histogram;
use belfry_model::sample::{ResetHint, Span};

use super::bits::{Bits, Xor};
use super::{CHUNK_SAMPLES_MAX, Chunk, FLOAT_HISTOGRAM, HISTOGRAM};
use crate::histogram::deltas;

/// What the chunk's third byte says of its first histogram; of those behind it a reader takes none for a reset.
mod reset {
    pub const UNKNOWN: u8 = 0;
    pub const NONE: u8 = 0b0100_0000;
    pub const RESET: u8 = 0b1000_0000;
    /// Of all of them.
    pub const GAUGE: u8 = 0b1100_0000;
}

/// Where the buckets are: the same for all histograms of a chunk.
#[derive(Debug, Default)]
struct Layout {
    is_integer: bool,
    is_gauge: bool,
    is_stale: bool,
    schema: i32,
    zero_threshold: f64,
    positive: Vec<Span>,
    negative: Vec<Span>,
    bounds: Vec<f64>,
}

impl Layout {
    fn of(h: &Histogram) -> Self {
        let (is_integer, is_gauge) = (h.integer, h.reset_hint == ResetHint::Gauge);
        // A stale marker has nothing but its sum.
        if h.is_stale() {
            return Self { is_integer, is_gauge, is_stale: true, ..Self::default() };
        }
        Self {
            is_integer,
            is_gauge,
            is_stale: false,
            schema: h.schema,
            zero_threshold: h.zero_threshold,
            positive: spans(&h.positive_spans, &h.positive_counts).to_vec(),
            negative: spans(&h.negative_spans, &h.negative_counts).to_vec(),
            bounds: h.custom_bounds.clone(),
        }
    }

    fn is_of(&self, h: &Histogram) -> bool {
        let (is_integer, is_gauge) = (h.integer, h.reset_hint == ResetHint::Gauge);
        if (self.is_integer, self.is_gauge, self.is_stale) != (is_integer, is_gauge, h.is_stale()) {
            return false;
        }
        self.is_stale
            || self.schema == h.schema
                && self.zero_threshold == h.zero_threshold
                && self.positive == spans(&h.positive_spans, &h.positive_counts)
                && self.negative == spans(&h.negative_spans, &h.negative_counts)
                && self.bounds == h.custom_bounds
    }

    fn put(&self, out: &mut Bits) {
        put_zero_threshold(self.zero_threshold, out);
        out.put_varbit(i64::from(self.schema));
        for spans in [&self.positive, &self.negative] {
            out.put_varbit_unsigned(spans.len() as u64);
            for span in spans {
                out.put_varbit_unsigned(u64::from(span.length));
                out.put_varbit(i64::from(span.offset));
            }
        }
        if self.schema == Histogram::CUSTOM_BOUNDS {
            out.put_varbit_unsigned(self.bounds.len() as u64);
            self.bounds.iter().for_each(|bound| put_bound(*bound, out));
        }
    }
}

/// A reader takes as many counts as the spans say: those that say otherwise are not written, nor their counts.
fn spans<'a>(spans: &'a [Span], counts: &[f64]) -> &'a [Span] {
    let said: u64 = spans.iter().map(|s| u64::from(s.length)).sum();
    if said == counts.len() as u64 { spans } else { &[] }
}

/// A number that goes up steadily: the difference to the one before, and how that changed.
#[derive(Clone, Copy, Debug, Default)]
struct Steady {
    value: i64,
    delta: i64,
}

impl Steady {
    fn put(&mut self, value: i64, out: &mut Bits) {
        let delta = value.wrapping_sub(self.value);
        out.put_varbit(delta.wrapping_sub(self.delta));
        *self = Self { value, delta };
    }
}

/// Count, zero count and sum, then the buckets.
#[derive(Debug)]
enum Columns {
    /// Only sums are floats there; buckets are differences from one to the next.
    Integer {
        counts: Vec<Steady>,
        sum: Xor,
    },
    Float(Vec<Xor>),
}

/// A chunk of histograms.
pub(super) struct HistogramChunk {
    out: Bits,
    samples: u16,
    first: i64,
    time: Steady,
    layout: Layout,
    columns: Columns,
    /// Count, zero count and buckets of the last one: to see what goes down.
    last: Vec<f64>,
}

impl HistogramChunk {
    pub fn of(at: i64, h: &Histogram) -> Self {
        let header = match h.reset_hint {
            ResetHint::Gauge => reset::GAUGE,
            ResetHint::Reset => reset::RESET,
            ResetHint::NotReset => reset::NONE,
            ResetHint::Unknown => reset::UNKNOWN,
        };
        let layout = Layout::of(h);
        let mut out = Bits::after(&[0, 0, header]);
        layout.put(&mut out);
        out.put_varbit(at);
        let counts = counts(h, &layout);
        let columns = if layout.is_integer {
            let whole = whole(&counts, &layout);
            for (i, n) in whole.iter().enumerate() {
                // Count and zero count never have a sign.
                if i < 2 {
                    out.put_varbit_unsigned(*n as u64)
                } else {
                    out.put_varbit(*n)
                }
                if i == 1 {
                    out.put_f64(h.sum);
                }
            }
            let counts = whole.into_iter().map(|value| Steady { value, delta: 0 }).collect();
            Columns::Integer { counts, sum: Xor::new(h.sum) }
        } else {
            let all: Vec<f64> = with_sum(&counts, h.sum).collect();
            all.iter().for_each(|v| out.put_f64(*v));
            Columns::Float(all.into_iter().map(Xor::new).collect())
        };
        let time = Steady { value: at, delta: 0 };
        Self { out, samples: 1, first: at, time, layout, columns, last: counts }
    }

    /// `false` when it belongs into a chunk of its own.
    pub fn push(&mut self, at: i64, h: &Histogram) -> bool {
        if self.samples >= CHUNK_SAMPLES_MAX || h.reset_hint == ResetHint::Reset || !self.layout.is_of(h) {
            return false;
        }
        let counts = counts(h, &self.layout);
        if !self.layout.is_gauge && self.last.iter().zip(&counts).any(|(before, now)| now < before) {
            return false;
        }
        self.time.put(at, &mut self.out);
        let out = &mut self.out;
        match &mut self.columns {
            Columns::Integer { counts: before, sum } => {
                for (i, (column, n)) in before.iter_mut().zip(whole(&counts, &self.layout)).enumerate() {
                    column.put(n, out);
                    if i == 1 {
                        sum.put(h.sum, out);
                    }
                }
            }
            Columns::Float(before) => {
                before.iter_mut().zip(with_sum(&counts, h.sum)).for_each(|(column, v)| column.put(v, out));
            }
        }
        self.last = counts;
        self.samples += 1;
        true
    }

    pub fn end(self) -> Chunk {
        let encoding = if self.layout.is_integer { HISTOGRAM } else { FLOAT_HISTOGRAM };
        let data = self.out.end(self.samples);
        Chunk { min_time_ms: self.first, max_time_ms: self.time.value, encoding, data }
    }
}

/// Count and zero count, then those of the buckets of the layout.
fn counts(h: &Histogram, layout: &Layout) -> Vec<f64> {
    if layout.is_stale {
        return vec![0.0; 2];
    }
    let of = |spans: &[Span], counts: &[f64]| if spans.is_empty() { Vec::new() } else { counts.to_vec() };
    let buckets = [of(&layout.positive, &h.positive_counts), of(&layout.negative, &h.negative_counts)];
    [h.count, h.zero_count].into_iter().chain(buckets.into_iter().flatten()).collect()
}

/// The sum stands behind the zero count.
fn with_sum(counts: &[f64], sum: f64) -> impl Iterator<Item = f64> {
    let (head, buckets) = counts.split_at(counts.len().min(2));
    head.iter().copied().chain([sum]).chain(buckets.iter().copied())
}

/// As an integer histogram has them: buckets as differences from one to the next, positive and negative ones apart.
fn whole(counts: &[f64], layout: &Layout) -> Vec<i64> {
    let positive: usize = layout.positive.iter().map(|s| s.length as usize).sum();
    let (head, buckets) = counts.split_at(counts.len().min(2));
    let (positive, negative) = buckets.split_at(buckets.len().min(positive));
    // Count and zero count have 64 bits without a sign.
    let head = head.iter().map(|n| *n as u64 as i64);
    head.chain(deltas(positive)).chain(deltas(negative)).collect()
}

/// A power of two in one byte, as are most; 0 is 0 and 255 comes before any other.
fn put_zero_threshold(threshold: f64, out: &mut Bits) {
    const FRACTION: u64 = (1 << 52) - 1;
    let bits = threshold.to_bits();
    // Those of a positive number that is not too small to have one.
    let exponent = (bits >> 52) as i64 - 1023;
    if threshold == 0.0 {
        out.put(0, 8);
    } else if bits & FRACTION == 0 && (-243..=10).contains(&exponent) {
        out.put((exponent + 244) as u64, 8);
    } else {
        out.put(255, 8);
        out.put_f64(threshold);
    }
}

/// Thousandths up to four bytes of them, as most are; behind a 0 any other.
fn put_bound(bound: f64, out: &mut Bits) {
    let thousandths = bound * 1000.0;
    let whole = thousandths.round();
    if (0.0..=33_554_430.0).contains(&thousandths) && whole / 1000.0 == bound {
        out.put_varbit_unsigned(whole as u64 + 1);
    } else {
        out.put(0, 1);
        out.put_f64(bound);
    }
}
