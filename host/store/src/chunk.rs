//! Chunks: the samples of one series, in columns, compressed and immutable.
//!
//! Times are differences; values are decimals scaled to whole numbers, then differences (the idea of ALP, Afroozeh et
//! al. 2023), or XOR of neighbours where they are no decimals (Gorilla, Pelkonen et al. 2015). Byte by byte in
//! `docs/formats/store.md`.
//!
//! Invariant: decoding yields every bit that was encoded; damaged bytes are an error, never a panic.
//! Not here: checksums (the files have them), which series a chunk belongs to.

use std::sync::Arc;

use belfry_model::sample::Histogram;
use belfry_model::{SampleBuf, TimeRange};

use crate::codec::{Corrupt, Reader, put_f64, put_histogram, put_ivarint, put_uvarint, read_histogram};
use crate::pack::{Exceptions, pack_signed, unpack_signed};
use crate::xor;

/// No chunk holds more; a larger count in a file is damage.
pub const CHUNK_SAMPLES_MAX: usize = 4096;

const HAS_STARTS: u8 = 1;
const HAS_HISTOGRAMS: u8 = 2;
const VALUES_SHIFT: u8 = 4;
const VALUES_XOR: u8 = 0;
const VALUES_DELTA: u8 = 1;
const VALUES_PLAIN: u8 = 2;

/// Decimals have at most this many places; more digits are a binary fraction in disguise.
pub const PLACES_MAX: usize = 14;
/// Powers of ten by number of places.
pub const POW10: [f64; PLACES_MAX + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14];
/// Whole numbers below this are exact in a float.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// Scratch memory of an encoder; reuse it.
#[derive(Default)]
pub struct Encoder {
    ints: Vec<i64>,
    deltas: Vec<i64>,
    scratch: Vec<i64>,
    exceptions: Vec<(usize, f64)>,
    /// For whoever gathers samples to encode.
    pub samples: SampleBuf,
}

impl Encoder {
    /// Compresses samples `from..to` of `buf`: at least one, at most [`CHUNK_SAMPLES_MAX`].
    pub fn encode(&mut self, buf: &SampleBuf, from: usize, to: usize) -> Vec<u8> {
        debug_assert!(from < to && to - from <= CHUNK_SAMPLES_MAX);
        let mut out = Vec::with_capacity(16 + (to - from) * 2);
        let starts = buf.starts.get(from..to).filter(|s| s.iter().any(|s| *s != 0));
        let histograms = buf.histograms.get(from..to).filter(|h| h.iter().any(Option::is_some));
        let values = &buf.floats[from..to];
        let places = decimal_places(values);
        let mut flags = 0;
        if starts.is_some() {
            flags |= HAS_STARTS;
        }
        if histograms.is_some() {
            flags |= HAS_HISTOGRAMS;
        }
        out.push(flags);
        put_uvarint(&mut out, (to - from) as u64);
        self.put_deltas(&buf.times[from..to], &mut out);
        match places {
            Some(places) => out[0] |= self.put_decimals(values, places, &mut out) << VALUES_SHIFT,
            None => {
                out[0] |= VALUES_XOR << VALUES_SHIFT;
                xor::put(values, &mut out);
            }
        }
        if let Some(starts) = starts {
            self.put_deltas(starts, &mut out);
        }
        if let Some(histograms) = histograms {
            put_histograms(histograms, &mut out);
        }
        out
    }

    /// Appends what stands beside the values of version 2's chunks (start timestamps, histograms) and yields the flags.
    pub fn put_beside(&mut self, buf: &SampleBuf, from: usize, to: usize, out: &mut Vec<u8>) -> u8 {
        let mut flags = 0;
        if let Some(starts) = buf.starts.get(from..to).filter(|s| s.iter().any(|s| *s != 0)) {
            flags |= HAS_STARTS;
            self.put_deltas(starts, out);
        }
        if let Some(histograms) = buf.histograms.get(from..to).filter(|h| h.iter().any(Option::is_some)) {
            flags |= HAS_HISTOGRAMS;
            put_histograms(histograms, out);
        }
        flags
    }

    /// Appends a column as its first number and differences.
    pub fn put_deltas(&mut self, values: &[i64], out: &mut Vec<u8>) {
        put_ivarint(out, values[0]);
        self.deltas.clear();
        self.deltas.extend(values.windows(2).map(|w| w[1].wrapping_sub(w[0])));
        pack_signed(&self.deltas, Exceptions::First, &mut self.scratch, out);
    }

    /// Writes scaled values and yields how. A value that is no decimal stands aside, and its neighbour in its place.
    fn put_decimals(&mut self, values: &[f64], places: usize, out: &mut Vec<u8>) -> u8 {
        self.ints.clear();
        self.exceptions.clear();
        let mut last = 0;
        for (i, v) in values.iter().enumerate() {
            match scaled(*v, places) {
                Some(n) => last = n,
                None => self.exceptions.push((i, *v)),
            }
            self.ints.push(last);
        }
        out.push(places as u8);
        put_uvarint(out, self.exceptions.len() as u64);
        let mut before = 0;
        for (i, v) in &self.exceptions {
            put_uvarint(out, (i - before) as u64);
            put_f64(out, *v);
            before = *i;
        }
        let at = out.len();
        let ints = std::mem::take(&mut self.ints);
        self.put_deltas(&ints, out);
        // Noise around a level is narrower as it stands than as differences.
        let mut plain = Vec::new();
        pack_signed(&ints, Exceptions::First, &mut self.scratch, &mut plain);
        self.ints = ints;
        if plain.len() < out.len() - at {
            out.truncate(at);
            out.extend_from_slice(&plain);
            return VALUES_PLAIN;
        }
        VALUES_DELTA
    }
}

/// `v` as a whole number of 10^-places, if that is exact to the bit.
pub fn scaled(v: f64, places: usize) -> Option<i64> {
    let s = v * POW10[places];
    // Half a unit, then the cut: `round()` is a call on older processors. Where the two differ the check below says so.
    let n = (s + 0.5f64.copysign(s)) as i64;
    // Through the whole number, as decoding does: that is what loses the sign of -0.0.
    (s.abs() < EXACT_MAX && (n as f64 / POW10[places]).to_bits() == v.to_bits()).then_some(n)
}

/// The places that nearly all values need; `None` when too many are no decimals.
pub fn decimal_places(values: &[f64]) -> Option<usize> {
    let mut places = 0;
    let mut misses = 0;
    for v in values {
        match (places..=PLACES_MAX).find(|p| scaled(*v, *p).is_some()) {
            Some(p) => places = p,
            None => misses += 1,
        }
        if misses > values.len() / 8 {
            return None;
        }
    }
    // Earlier values were tried with fewer places; with all of them they may overflow.
    let lost = values.iter().filter(|v| scaled(**v, places).is_none()).count();
    (lost <= values.len() / 8).then_some(places)
}

/// Appends the samples of `chunk` within `range` to `into`, whose last time must be before them.
pub fn decode(chunk: &[u8], range: TimeRange, into: &mut SampleBuf) -> Result<(), Corrupt> {
    let start = into.len();
    or_nothing(into, |into| decode_all(chunk, into))?;
    trim(into, start, range);
    Ok(())
}

/// Takes back what `read` appended when it fails.
pub fn or_nothing<E>(into: &mut SampleBuf, read: impl FnOnce(&mut SampleBuf) -> Result<(), E>) -> Result<(), E> {
    let (start, histograms, starts) = (into.len(), into.histograms.len(), into.starts.len());
    let outcome = read(into);
    if outcome.is_err() {
        into.times.truncate(start);
        into.floats.truncate(start);
        into.histograms.truncate(histograms);
        into.starts.truncate(starts);
    }
    outcome
}

fn decode_all(chunk: &[u8], into: &mut SampleBuf) -> Result<(), Corrupt> {
    let mut r = Reader::new(chunk);
    let flags = r.u8()?;
    let n = r.uvarint()? as usize;
    if n == 0 || n > CHUNK_SAMPLES_MAX {
        return Err(Corrupt("a chunk's sample count is out of range"));
    }
    let start = into.times.len();
    read_deltas(&mut r, n, &mut into.times)?;
    match flags >> VALUES_SHIFT {
        VALUES_XOR => xor::read(&mut r, n, &mut into.floats)?,
        kind @ (VALUES_DELTA | VALUES_PLAIN) => read_decimals(&mut r, n, kind, &mut into.floats)?,
        _ => return Err(Corrupt("a chunk's values are of an unknown kind")),
    }
    read_beside(&mut r, flags, start, n, into)
}

/// Appends what [`Encoder::put_beside`] wrote to samples `start..start + n`.
pub fn read_beside(r: &mut Reader<'_>, flags: u8, start: usize, n: usize, into: &mut SampleBuf) -> Result<(), Corrupt> {
    if flags & HAS_STARTS != 0 {
        into.starts.resize(start, 0);
        read_deltas(r, n, &mut into.starts)?;
    } else if !into.starts.is_empty() {
        into.starts.resize(start + n, 0);
    }
    if flags & HAS_HISTOGRAMS != 0 {
        into.histograms.resize(start, None);
        let mut prev: Option<Arc<_>> = None;
        for _ in 0..n {
            let h = match r.u8()? {
                0 => None,
                _ => Some(Arc::new(read_histogram(r, prev.as_deref())?)),
            };
            prev = h.clone().or(prev);
            into.histograms.push(h);
        }
    } else if !into.histograms.is_empty() {
        into.histograms.resize(start + n, None);
    }
    Ok(())
}

fn put_histograms(histograms: &[Option<Arc<Histogram>>], out: &mut Vec<u8>) {
    let mut prev: Option<&Arc<Histogram>> = None;
    for h in histograms {
        out.push(u8::from(h.is_some()));
        if let Some(h) = h {
            put_histogram(out, h, prev.map(|p| &**p));
            prev = Some(h);
        }
    }
}

/// Appends the `n` numbers that [`Encoder::put_deltas`] wrote.
pub fn read_deltas(r: &mut Reader<'_>, n: usize, into: &mut Vec<i64>) -> Result<(), Corrupt> {
    let mut last = r.ivarint()?;
    let start = into.len();
    into.push(last);
    unpack_signed(r, n - 1, into)?;
    for v in &mut into[start + 1..] {
        last = last.wrapping_add(*v);
        *v = last;
    }
    Ok(())
}

fn read_decimals(r: &mut Reader<'_>, n: usize, kind: u8, into: &mut Vec<f64>) -> Result<(), Corrupt> {
    let scale = *POW10.get(usize::from(r.u8()?)).ok_or(Corrupt("a chunk's scale is out of range"))?;
    let exceptions = r.count()?;
    let mut aside = *r;
    for _ in 0..exceptions {
        r.uvarint()?;
        r.f64()?;
    }
    let mut ints = Vec::with_capacity(n);
    match kind {
        VALUES_PLAIN => unpack_signed(r, n, &mut ints)?,
        _ => read_deltas(r, n, &mut ints)?,
    }
    let start = into.len();
    into.extend(ints.iter().map(|i| *i as f64 / scale));
    let mut i = start;
    for _ in 0..exceptions {
        i = i.saturating_add(aside.uvarint()? as usize);
        *into.get_mut(i).ok_or(Corrupt("an exception stands outside its chunk"))? = aside.f64()?;
    }
    Ok(())
}

/// Drops samples from `start` on that lie outside `range`.
pub fn trim(buf: &mut SampleBuf, start: usize, range: TimeRange) {
    let added = &buf.times[start..];
    let (Some(first), Some(last)) = (added.first(), added.last()) else { return };
    if *first >= range.start().0 && *last < range.end().0 {
        return;
    }
    let lo = start + added.partition_point(|t| *t < range.start().0);
    let hi = start + added.partition_point(|t| *t < range.end().0);
    let hi = hi.max(lo);
    remove_span(buf, hi, buf.times.len());
    remove_span(buf, start, lo);
}

/// Removes samples `from..to`.
pub fn remove_span(buf: &mut SampleBuf, from: usize, to: usize) {
    fn cut<T>(v: &mut Vec<T>, from: usize, to: usize) {
        if !v.is_empty() {
            v.drain(from..to);
        }
    }
    if from < to {
        cut(&mut buf.times, from, to);
        cut(&mut buf.floats, from, to);
        cut(&mut buf.histograms, from, to);
        cut(&mut buf.starts, from, to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use belfry_model::TimestampMs;
    use belfry_model::sample::{Sample, Value, stale_nan};
    use proptest::prelude::*;

    fn round_trip(buf: &SampleBuf) -> SampleBuf {
        let bytes = Encoder::default().encode(buf, 0, buf.len());
        let mut back = SampleBuf::default();
        decode(&bytes, TimeRange::ALL, &mut back).unwrap();
        back
    }

    fn same(a: &SampleBuf, b: &SampleBuf) -> bool {
        let bits = |b: &SampleBuf| b.floats.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        a.times == b.times && bits(a) == bits(b) && a.starts == b.starts && a.histograms == b.histograms
    }

    fn of(points: impl IntoIterator<Item = (i64, f64)>) -> SampleBuf {
        let mut buf = SampleBuf::default();
        points.into_iter().for_each(|(t, v)| buf.push_float(t, v));
        buf
    }

    #[test]
    fn usual_series_are_small() {
        // (what, bytes a sample at most)
        let at = |i: i64| 1_700_000_000_000 + i * 15_000;
        let counter = of((0..480).map(|i| (at(i), (i * 1000 + i % 7) as f64)));
        let gauge = of((0..480).map(|i| (at(i), (400 + (i * 37) % 100) as f64 / 10.0)));
        let constant = of((0..480).map(|i| (at(i), 1.0)));
        let third = of((0..480).map(|i| (at(i), 1.0 / 3.0)));
        for (name, buf, max) in
            [("counter", counter, 0.7), ("gauge", gauge, 1.0), ("constant", constant, 0.05), ("third", third, 0.2)]
        {
            let bytes = Encoder::default().encode(&buf, 0, buf.len()).len() as f64 / buf.len() as f64;
            assert!(bytes <= max, "{name}: {bytes} bytes a sample");
            assert!(same(&round_trip(&buf), &buf), "{name}");
        }
    }

    #[test]
    fn a_stale_marker_among_decimals_keeps_its_bits_and_the_scale() {
        let mut buf = of((0..100).map(|i| (i, i as f64 / 4.0)));
        buf.floats[50] = stale_nan();
        buf.floats[51] = f64::INFINITY;
        buf.floats[52] = -0.0;
        assert!(same(&round_trip(&buf), &buf));
        assert!(Encoder::default().encode(&buf, 0, 100).len() < 200);
    }

    #[test]
    fn a_chunk_is_cut_to_the_range_and_joins_what_is_there() {
        let buf = of((0..100).map(|i| (i * 10, i as f64)));
        let bytes = Encoder::default().encode(&buf, 0, 100);
        let mut into = of([(-5, 9.0)]);
        let range = TimeRange::new(TimestampMs(15), TimestampMs(50)).unwrap();
        decode(&bytes, range, &mut into).unwrap();
        assert_eq!(into.times, [-5, 20, 30, 40]);
        assert_eq!(into.floats, [9.0, 2.0, 3.0, 4.0]);
    }

    fn sample() -> impl Strategy<Value = (i64, Value, Option<i64>)> {
        let float = prop_oneof![
            3 => (-10_000i64..10_000, 0u32..4).prop_map(|(n, p)| n as f64 / 10f64.powi(p as i32)),
            1 => any::<u64>().prop_map(f64::from_bits),
            1 => Just(stale_nan()),
        ];
        let value = prop_oneof![
            6 => float.prop_map(Value::Float),
            1 => (0u32..50, any::<bool>()).prop_map(|(n, integer)| Value::Histogram(Arc::new(Histogram {
                count: f64::from(n), sum: f64::from(n) / 3.0, positive_counts: vec![f64::from(n); 3], integer,
                ..Histogram::default()
            }))),
        ];
        (1i64..100_000, value, proptest::option::weighted(0.2, 1i64..1_000_000))
    }

    proptest! {
        #[test]
        fn any_samples_read_back(samples in proptest::collection::vec(sample(), 1..150)) {
            let mut buf = SampleBuf::default();
            let mut at = 0;
            for (step, value, start) in samples {
                at += step;
                buf.push(&Sample { at: TimestampMs(at), value, start: start.map(TimestampMs) });
            }
            prop_assert!(same(&round_trip(&buf), &buf));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut buf = of([(0, 1.0)]);
            if decode(&bytes, TimeRange::ALL, &mut buf).is_err() {
                prop_assert!(same(&buf, &of([(0, 1.0)])));
            }
        }
    }
}
