//! Bytes: varints, strings, label sets and histograms, as every file of the store writes them.
//!
//! Invariant: reading never panics and never allocates more than the input can justify; what is written reads back bit
//! for bit.
//! Not here: checksums and framing (the files' own business), columns of samples (`chunk`).

use belfry_model::Labels;
use belfry_model::sample::{Histogram, ResetHint, Span};

/// Bytes that are not what they should be. Whoever knows the file names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Corrupt(pub &'static str);

impl From<Corrupt> for std::io::Error {
    fn from(e: Corrupt) -> Self {
        Self::other(e)
    }
}

/// Appends `v` in 1 to 10 bytes, seven bits each, low ones first (LEB128).
pub fn put_uvarint(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

/// Appends a signed number: zigzag, then [`put_uvarint`].
pub fn put_ivarint(out: &mut Vec<u8>, v: i64) {
    put_uvarint(out, zigzag(v));
}

/// Appends a float. Its bytes are turned round first, so that the zero bits that small whole numbers end in cost
/// nothing: 1.0 takes three bytes, 0.1 ten.
pub fn put_f64(out: &mut Vec<u8>, v: f64) {
    put_uvarint(out, v.to_bits().swap_bytes());
}

/// Appends a string with its length.
pub fn put_str(out: &mut Vec<u8>, s: &str) {
    put_uvarint(out, s.len() as u64);
    out.extend_from_slice(s.as_bytes());
}

/// Appends a label set.
pub fn put_labels(out: &mut Vec<u8>, labels: &Labels) {
    put_uvarint(out, labels.len() as u64);
    for l in labels {
        put_str(out, &l.name);
        put_str(out, &l.value);
    }
}

/// Maps small numbers of either sign to small unsigned ones.
pub fn zigzag(v: i64) -> u64 {
    ((v << 1) ^ (v >> 63)) as u64
}

/// Reverses [`zigzag`].
pub fn unzigzag(v: u64) -> i64 {
    (v >> 1) as i64 ^ -((v & 1) as i64)
}

/// Takes values from the front of a byte string.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

/// A number of up to eight bytes, put together at once, and how many they are: see [`put_uvarint`]. `None`: it is longer.
#[inline(always)]
pub fn uvarint_of(word: u64) -> Option<(u64, usize)> {
    let ends = !word & 0x8080_8080_8080_8080;
    if ends == 0 {
        return None;
    }
    // The bytes up to and with the first that ends a number; then sevens to fourteens, to twenty-eights, to one.
    let v = word & (ends ^ (ends - 1)) & 0x7f7f_7f7f_7f7f_7f7f;
    let v = v & 0x007f_007f_007f_007f | (v & 0x7f00_7f00_7f00_7f00) >> 1;
    let v = v & 0x0000_3fff_0000_3fff | (v & 0x3fff_0000_3fff_0000) >> 2;
    Some((v & 0x0fff_ffff | (v & 0x0fff_ffff_0000_0000) >> 4, ends.trailing_zeros() as usize / 8 + 1))
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from their first one.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Nothing left?
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `n` bytes.
    pub fn bytes(&mut self, n: usize) -> Result<&'a [u8], Corrupt> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or(Corrupt("ends too early"))?;
        self.rest = rest;
        Ok(head)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, Corrupt> {
        Ok(self.bytes(1)?[0])
    }

    /// Four bytes, little-endian.
    pub fn u32(&mut self) -> Result<u32, Corrupt> {
        let b = self.bytes(4)?;
        Ok(u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }

    /// Eight bytes, little-endian.
    pub fn u64(&mut self) -> Result<u64, Corrupt> {
        let (lo, hi) = (self.u32()?, self.u32()?);
        Ok(u64::from(lo) | u64::from(hi) << 32)
    }

    /// The next eight bytes, little-endian, with zeros in place of those behind the end; nothing is taken.
    #[inline]
    pub fn peek(&self) -> u64 {
        match self.rest.first_chunk() {
            Some(word) => u64::from_le_bytes(*word),
            None => self.rest.iter().rev().fold(0, |word, b| word << 8 | u64::from(*b)),
        }
    }

    /// See [`put_uvarint`].
    #[inline]
    pub fn uvarint(&mut self) -> Result<u64, Corrupt> {
        match self.rest.split_first() {
            Some((b, rest)) if *b < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*b))
            }
            _ => {
                // By value, here and below: a reader whose address is taken lives in memory instead of in registers.
                let (v, taken) = self.uvarint_long();
                if taken > 0 {
                    self.bytes(taken)?;
                    return Ok(v);
                }
                let mut rest = *self;
                let v = rest.uvarint_slow();
                *self = rest;
                v
            }
        }
    }

    /// A number of two to eight bytes, put together at once, and how many they are; 0 when it is longer.
    #[inline(never)]
    fn uvarint_long(self) -> (u64, usize) {
        uvarint_of(self.peek()).unwrap_or((0, 0))
    }

    fn uvarint_slow(&mut self) -> Result<u64, Corrupt> {
        let mut v = 0u64;
        for i in 0..10 {
            let b = self.u8()?;
            if i == 9 && b > 1 {
                break;
            }
            v |= u64::from(b & 0x7f) << (7 * i);
            if b < 0x80 {
                return Ok(v);
            }
        }
        Err(Corrupt("a number is too long"))
    }

    /// See [`put_ivarint`].
    pub fn ivarint(&mut self) -> Result<i64, Corrupt> {
        Ok(unzigzag(self.uvarint()?))
    }

    /// See [`put_f64`].
    pub fn f64(&mut self) -> Result<f64, Corrupt> {
        Ok(f64::from_bits(self.uvarint()?.swap_bytes()))
    }

    /// How many items follow. Each takes a byte or more, so more of them than bytes is damage, not a reason to
    /// allocate.
    pub fn count(&mut self) -> Result<usize, Corrupt> {
        let n = self.uvarint()?;
        if n > self.rest.len() as u64 {
            return Err(Corrupt("a count is larger than what follows"));
        }
        Ok(n as usize)
    }

    /// See [`put_str`].
    pub fn str(&mut self) -> Result<&'a str, Corrupt> {
        let n = self.count()?;
        std::str::from_utf8(self.bytes(n)?).map_err(|_| Corrupt("a string is not UTF-8"))
    }

    /// See [`put_labels`].
    pub fn labels(&mut self) -> Result<Labels, Corrupt> {
        let n = self.count()?;
        let mut pairs = Vec::with_capacity(n);
        for _ in 0..n {
            pairs.push((self.str()?, self.str()?));
        }
        Ok(Labels::from_pairs(pairs))
    }
}

const HIST_INTEGER: u8 = 1;
const HIST_SAME_LAYOUT: u8 = 2;
const HIST_VARINT: u8 = 4;
const HIST_HINT_SHIFT: u8 = 4;
/// Whole numbers up to here are exact in a float.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// Appends a histogram. Buckets are not repeated when they are those of `prev`; whole counts are then written as the
/// difference to it.
pub fn put_histogram(out: &mut Vec<u8>, h: &Histogram, prev: Option<&Histogram>) {
    let same = prev.filter(|p| same_layout(p, h));
    let varint = histogram_counts(h).all(whole) && same.is_none_or(|p| histogram_counts(p).all(whole));
    let hint = match h.reset_hint {
        ResetHint::Unknown => 0u8,
        ResetHint::Reset => 1,
        ResetHint::NotReset => 2,
        ResetHint::Gauge => 3,
    };
    let mut flags = hint << HIST_HINT_SHIFT;
    for (bit, on) in [(HIST_INTEGER, h.integer), (HIST_SAME_LAYOUT, same.is_some()), (HIST_VARINT, varint)] {
        flags |= if on { bit } else { 0 };
    }
    out.push(flags);
    if same.is_none() {
        put_ivarint(out, i64::from(h.schema));
        put_f64(out, h.zero_threshold);
        for (spans, counts) in [(&h.positive_spans, &h.positive_counts), (&h.negative_spans, &h.negative_counts)] {
            put_uvarint(out, spans.len() as u64);
            for s in spans {
                put_ivarint(out, i64::from(s.offset));
                put_uvarint(out, u64::from(s.length));
            }
            put_uvarint(out, counts.len() as u64);
        }
        put_uvarint(out, h.custom_bounds.len() as u64);
        for b in &h.custom_bounds {
            put_f64(out, *b);
        }
    }
    put_f64(out, h.sum);
    let mut before = same.into_iter().flat_map(histogram_counts);
    for c in histogram_counts(h) {
        if varint {
            put_ivarint(out, c as i64 - before.next().unwrap_or(0.0) as i64);
        } else {
            put_f64(out, c);
        }
    }
}

/// Reads what [`put_histogram`] wrote with the same `prev`.
pub fn read_histogram(r: &mut Reader<'_>, prev: Option<&Histogram>) -> Result<Histogram, Corrupt> {
    let flags = r.u8()?;
    let mut h;
    let mut before: Vec<f64> = Vec::new();
    if flags & HIST_SAME_LAYOUT != 0 {
        let p = prev.ok_or(Corrupt("a histogram builds on none"))?;
        h = p.clone();
        before.extend(histogram_counts(p));
    } else {
        h = Histogram {
            schema: i32::try_from(r.ivarint()?).map_err(|_| Corrupt("a histogram's schema is out of range"))?,
            zero_threshold: r.f64()?,
            ..Histogram::default()
        };
        (h.positive_spans, h.positive_counts) = read_layout(r)?;
        (h.negative_spans, h.negative_counts) = read_layout(r)?;
        for _ in 0..r.count()? {
            h.custom_bounds.push(r.f64()?);
        }
    }
    h.integer = flags & HIST_INTEGER != 0;
    h.reset_hint = match flags >> HIST_HINT_SHIFT & 3 {
        0 => ResetHint::Unknown,
        1 => ResetHint::Reset,
        2 => ResetHint::NotReset,
        _ => ResetHint::Gauge,
    };
    h.sum = r.f64()?;
    let mut before = before.into_iter();
    let mut next = |r: &mut Reader<'_>| -> Result<f64, Corrupt> {
        if flags & HIST_VARINT == 0 {
            return r.f64();
        }
        Ok((before.next().unwrap_or(0.0) as i64).wrapping_add(r.ivarint()?) as f64)
    };
    h.count = next(r)?;
    h.zero_count = next(r)?;
    for c in h.positive_counts.iter_mut().chain(&mut h.negative_counts) {
        *c = next(r)?;
    }
    Ok(h)
}

/// Equal bit for bit (a stale marker is a NaN, which `==` denies), the hint aside.
pub fn same_histogram(a: &Histogram, b: &Histogram) -> bool {
    same_layout(a, b)
        && a.integer == b.integer
        && a.sum.to_bits() == b.sum.to_bits()
        && histogram_counts(a).map(f64::to_bits).eq(histogram_counts(b).map(f64::to_bits))
}

/// Do they have the same buckets?
pub fn same_layout(a: &Histogram, b: &Histogram) -> bool {
    a.schema == b.schema
        && a.zero_threshold.to_bits() == b.zero_threshold.to_bits()
        && a.positive_spans == b.positive_spans
        && a.negative_spans == b.negative_spans
        && a.positive_counts.len() == b.positive_counts.len()
        && a.negative_counts.len() == b.negative_counts.len()
        && a.custom_bounds.iter().map(|v| v.to_bits()).eq(b.custom_bounds.iter().map(|v| v.to_bits()))
}

/// Count, zero count and the counts of all buckets.
pub fn histogram_counts(h: &Histogram) -> impl Iterator<Item = f64> + '_ {
    [h.count, h.zero_count]
        .into_iter()
        .chain(h.positive_counts.iter().copied())
        .chain(h.negative_counts.iter().copied())
}

fn whole(v: f64) -> bool {
    v.abs() <= EXACT_MAX && v.fract() == 0.0 && !(v == 0.0 && v.is_sign_negative())
}

fn read_layout(r: &mut Reader<'_>) -> Result<(Vec<Span>, Vec<f64>), Corrupt> {
    let mut spans = Vec::new();
    for _ in 0..r.count()? {
        let offset = i32::try_from(r.ivarint()?).map_err(|_| Corrupt("a span's offset is out of range"))?;
        let length = u32::try_from(r.uvarint()?).map_err(|_| Corrupt("a span's length is out of range"))?;
        spans.push(Span { offset, length });
    }
    let n = r.count()?;
    Ok((spans, vec![0.0; n]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use belfry_model::sample::stale_nan;
    use proptest::prelude::*;

    #[test]
    fn whole_floats_are_short_and_others_exact() {
        for (v, bytes) in [(0.0, 1), (1.0, 3), (2.0, 1), (-1.0, 3), (0.1, 9)] {
            let mut out = Vec::new();
            put_f64(&mut out, v);
            assert!(out.len() <= bytes + 1, "{v} took {} bytes", out.len());
            assert_eq!(Reader::new(&out).f64().map(f64::to_bits), Ok(v.to_bits()));
        }
    }

    #[test]
    fn histograms_of_one_layout_cost_their_differences() {
        let first = Histogram {
            schema: 3,
            count: 1000.0,
            sum: 12.5,
            positive_spans: vec![Span { offset: -2, length: 3 }],
            positive_counts: vec![300.0, 300.0, 400.0],
            integer: true,
            ..Histogram::default()
        };
        let mut next = first.clone();
        next.count += 2.0;
        next.positive_counts[1] += 2.0;
        let mut alone = Vec::new();
        put_histogram(&mut alone, &next, None);
        let mut after = Vec::new();
        put_histogram(&mut after, &next, Some(&first));
        assert!(after.len() * 2 < alone.len(), "{} of {}", after.len(), alone.len());
        assert_eq!(read_histogram(&mut Reader::new(&after), Some(&first)), Ok(next));
    }

    #[test]
    fn a_stale_histogram_is_the_same_as_itself() {
        let h = Histogram { sum: stale_nan(), ..Histogram::default() };
        assert!(same_histogram(&h, &h.clone()));
    }

    proptest! {
        #[test]
        fn numbers_read_back(u in any::<u64>(), i in any::<i64>(), f in any::<u64>()) {
            let mut out = Vec::new();
            put_uvarint(&mut out, u);
            put_ivarint(&mut out, i);
            put_f64(&mut out, f64::from_bits(f));
            let mut r = Reader::new(&out);
            prop_assert_eq!(r.uvarint(), Ok(u));
            prop_assert_eq!(r.ivarint(), Ok(i));
            prop_assert_eq!(r.f64().map(f64::to_bits), Ok(f));
            prop_assert!(r.is_empty());
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Reader::new(&bytes).labels();
            let _ = read_histogram(&mut Reader::new(&bytes), None);
            let _ = read_histogram(&mut Reader::new(&bytes), Some(&Histogram::default()));
        }
    }
}
