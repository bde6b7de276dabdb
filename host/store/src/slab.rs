//! Rows that were sealed: the samples of a group's series at some times, a compressed column each.
//!
//! A column is short, and there are very many: what stands in it is chosen by one look at its values. Decimals are scaled
//! to whole numbers (the idea of ALP, Afroozeh et al. 2023) and packed in as many bits as the spread of the numbers, or of
//! their differences, needs; of what is no decimal the bits that change are packed. This form stays in memory and is in
//! no file.
//!
//! Slabs that follow each other are joined later, as they are: then a column's pieces lie side by side, and whoever reads
//! a column goes to one place in memory instead of eight.
//!
//! Invariant: times ascend strictly; every bit reads back.
//! Not here: which series a column is of (`rows`), rows that are still open.

use std::sync::Arc;

use belfry_model::{SampleBuf, TimeRange};

use crate::chunk::{PLACES_MAX, POW10, scaled};
use crate::codec::{Corrupt, Reader, put_ivarint};
use crate::rows::{ROWS_MAX, Row};

/// One in so many columns says where it begins; the others are found by their lengths.
const STRIDE: usize = 16;
/// As many slabs as one is joined from.
pub const PIECES: usize = 8;
/// No slab becomes larger by being joined.
const JOINED_BYTES_MAX: usize = 1 << 28;
/// Scratch memory that a sealer keeps.
const SCRATCH_BYTES_MAX: usize = 1 << 20;
/// Numbers of more bits are written byte by byte: reading loads eight bytes, seven bits of which may be another's.
const WIDTH_MAX: u32 = 56;
/// A load of eight bytes may reach over the last column's end.
const PADDING: usize = 8;
/// About what a slab takes beside its columns.
const SLAB_BYTES: usize = 176;
/// No piece of a column takes more bytes.
const PIECE_BYTES_MAX: usize = 1 + 8 * ROWS_MAX;

// A column begins with one byte: the form, times 16, plus the decimal places or [`NO_DECIMALS`].
/// One value for all: a number, or 8 bytes.
const ONE: u8 = 0;
/// The smallest number, a width, and what each is above it.
const PLAIN: u8 = 1;
/// The first number, the smallest difference, a width, and what each difference is above it.
const DELTA: u8 = 2;
/// The first float, how many zero bits each XOR with the one before ends in at least, a width, and the XORs.
const XOR: u8 = 3;
/// 8 bytes each.
const RAW: u8 = 4;
const NO_DECIMALS: u8 = 15;

// Where a column begins behind its stride is kept in two bytes.
const _: () = assert!(STRIDE * PIECES * PIECE_BYTES_MAX < u16::MAX as usize);

/// See the module.
pub struct Slab {
    times: Box<[i64]>,
    /// How many rows each piece of a column has.
    pieces: Box<[u8]>,
    /// Where each column begins, from the [`STRIDE`]th column before it on.
    offsets: Box<[u16]>,
    /// Where every [`STRIDE`]th column begins.
    begins: Box<[u32]>,
    bytes: Box<[u8]>,
}

/// Scratch memory of whoever seals; reuse it.
#[derive(Default)]
pub struct Sealer {
    bytes: Vec<u8>,
    offsets: Vec<u16>,
    begins: Vec<u32>,
}

impl Sealer {
    /// Seals rows of so many columns; there are 1 to [`ROWS_MAX`].
    pub fn seal(&mut self, rows: &[Row], columns: usize) -> Slab {
        debug_assert!(!rows.is_empty() && rows.len() <= ROWS_MAX);
        self.clear();
        let mut values = [0.0; ROWS_MAX];
        for column in 0..columns {
            self.begin_column(column);
            for (v, row) in values.iter_mut().zip(rows) {
                *v = row.values.get(column).copied().unwrap_or_default();
            }
            put(&values[..rows.len().min(ROWS_MAX)], &mut self.bytes);
        }
        self.finish(rows.iter().map(|r| r.at).collect(), [rows.len() as u8].into())
    }

    /// One slab of several, which have the same columns and follow each other; `None` when it would be too large.
    pub fn join(&mut self, slabs: &[Arc<Slab>]) -> Option<Slab> {
        let columns = slabs.iter().map(|s| s.offsets.len()).min()?;
        if slabs.iter().map(|s| s.bytes.len()).sum::<usize>() > JOINED_BYTES_MAX {
            return None;
        }
        self.clear();
        for column in 0..columns {
            self.begin_column(column);
            for slab in slabs {
                let end = slab.begin(column + 1).unwrap_or(slab.bytes.len() - PADDING);
                self.bytes.extend_from_slice(slab.bytes.get(slab.begin(column)?..end)?);
            }
        }
        let times = slabs.iter().flat_map(|s| s.times.iter().copied()).collect();
        Some(self.finish(times, slabs.iter().flat_map(|s| s.pieces.iter().copied()).collect()))
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(SCRATCH_BYTES_MAX);
        self.offsets.clear();
        self.begins.clear();
    }

    fn begin_column(&mut self, column: usize) {
        let at = self.bytes.len();
        if column.is_multiple_of(STRIDE) {
            self.begins.push(at as u32);
        }
        let begin = self.begins.last().copied().unwrap_or_default();
        self.offsets.push((at - begin as usize) as u16);
    }

    fn finish(&mut self, times: Box<[i64]>, pieces: Box<[u8]>) -> Slab {
        self.bytes.resize(self.bytes.len() + PADDING, 0);
        Slab {
            times,
            pieces,
            offsets: self.offsets.as_slice().into(),
            begins: self.begins.as_slice().into(),
            bytes: self.bytes.as_slice().into(),
        }
    }
}

impl Slab {
    /// About how much memory it takes.
    pub fn memory(&self) -> usize {
        SLAB_BYTES + self.times.len() * 8 + self.offsets.len() * 2 + self.begins.len() * 4 + self.bytes.len()
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.times.len()
    }

    /// Was it joined?
    pub fn is_joined(&self) -> bool {
        self.pieces.len() > 1
    }

    /// First and last time.
    pub fn span(&self) -> Option<(i64, i64)> {
        Some((*self.times.first()?, *self.times.last()?))
    }

    /// Are there rows within `range`?
    pub fn overlaps(&self, range: TimeRange) -> bool {
        self.span().is_some_and(|(min, max)| min < range.end().0 && max >= range.start().0)
    }

    /// The times of its rows.
    pub fn times(&self) -> &[i64] {
        &self.times
    }

    /// How many rows within `range`.
    pub fn count(&self, range: TimeRange) -> u64 {
        self.within(range).len() as u64
    }

    /// The rows within `range`, by number.
    pub fn within(&self, range: TimeRange) -> std::ops::Range<usize> {
        let from = self.times.partition_point(|t| *t < range.start().0);
        from..self.times.partition_point(|t| *t < range.end().0).max(from)
    }

    /// Appends the samples of a column within `range` to `into`, whose last time must be before them.
    pub fn decode(&self, column: usize, range: TimeRange, into: &mut SampleBuf) -> Result<(), Corrupt> {
        let within = self.within(range);
        if within.is_empty() {
            return Ok(());
        }
        let before = into.floats.len();
        if let Err(e) = self.values(column, within.clone(), &mut into.floats) {
            into.floats.truncate(before);
            return Err(e);
        }
        into.times.extend_from_slice(self.times.get(within).unwrap_or_default());
        if !into.starts.is_empty() {
            into.starts.resize(into.times.len(), 0);
        }
        if !into.histograms.is_empty() {
            into.histograms.resize(into.times.len(), None);
        }
        Ok(())
    }

    /// Appends the values of a column in these rows to `into`.
    pub fn values(&self, column: usize, rows: std::ops::Range<usize>, into: &mut Vec<f64>) -> Result<(), Corrupt> {
        let begin = self.begin(column).ok_or(Corrupt("a slab has no such column"))?;
        let mut r = Reader::new(self.bytes.get(begin..).unwrap_or_default());
        let mut from = 0;
        for n in self.pieces.iter().map(|n| usize::from(*n)) {
            let to = from + n;
            if from >= rows.end {
                break;
            }
            let piece = Piece::parse(&mut r, n)?;
            if to > rows.start {
                let mut values = [0.0; ROWS_MAX];
                let values = values.get_mut(..n).ok_or(Corrupt("a slab's piece has too many rows"))?;
                piece.read(values)?;
                let cut = rows.start.saturating_sub(from)..rows.end.min(to) - from;
                into.extend_from_slice(values.get(cut).unwrap_or_default());
            }
            from = to;
        }
        Ok(())
    }

    /// Where a column's bytes begin.
    fn begin(&self, column: usize) -> Option<usize> {
        let offset = usize::from(*self.offsets.get(column)?);
        Some(*self.begins.get(column / STRIDE)? as usize + offset)
    }
}

fn put(values: &[f64], out: &mut Vec<u8>) {
    let Some(first) = values.first() else { return };
    if values.iter().all(|v| v.to_bits() == first.to_bits()) {
        match whole(&values[..1], &mut [0; ROWS_MAX]) {
            Some(places) => {
                out.push(ONE << 4 | places as u8);
                put_ivarint(out, scaled(*first, places).unwrap_or_default());
            }
            None => {
                out.push(ONE << 4 | NO_DECIMALS);
                out.extend_from_slice(&first.to_bits().to_le_bytes());
            }
        }
        return;
    }
    let mut ints = [0i64; ROWS_MAX];
    match whole(values, &mut ints) {
        Some(places) => put_decimals(&ints[..values.len()], places as u8, out),
        None => put_floats(values, out),
    }
}

/// All values as whole numbers of 10^-places, where they are; the places.
fn whole(values: &[f64], ints: &mut [i64; ROWS_MAX]) -> Option<usize> {
    let mut places = 0;
    'all: loop {
        for (v, n) in values.iter().zip(ints.iter_mut()) {
            match scaled(*v, places) {
                Some(whole) => *n = whole,
                None => {
                    places = (places + 1..=PLACES_MAX).find(|p| scaled(*v, *p).is_some())?;
                    continue 'all;
                }
            }
        }
        return Some(places);
    }
}

fn put_decimals(ints: &[i64], places: u8, out: &mut Vec<u8>) {
    let Some(first) = ints.first() else { return };
    let (mut low, mut high) = (*first, *first);
    let (mut low_step, mut high_step) = (i64::MAX, i64::MIN);
    let mut last = None;
    for n in ints {
        (low, high) = (low.min(*n), high.max(*n));
        if let Some(last) = last.replace(*n) {
            // Scaled values are below 2^53: nothing here overflows.
            let step = n - last;
            (low_step, high_step) = (low_step.min(step), high_step.max(step));
        }
    }
    let (width, step_width) = (bits((high - low) as u64), bits(high_step.wrapping_sub(low_step) as u64));
    if ints.len() as u32 * width <= (ints.len() as u32 - 1) * step_width + 8 {
        out.push(PLAIN << 4 | places);
        put_ivarint(out, low);
        out.push(width as u8);
        put_bits(ints.iter().map(|n| (n - low) as u64), width, out);
    } else {
        out.push(DELTA << 4 | places);
        put_ivarint(out, *first);
        put_ivarint(out, low_step);
        out.push(step_width as u8);
        put_bits(ints.windows(2).map(|w| (w[1] - w[0] - low_step) as u64), step_width, out);
    }
}

fn put_floats(values: &[f64], out: &mut Vec<u8>) {
    let xors = || values.windows(2).map(|w| w[0].to_bits() ^ w[1].to_bits());
    let all = xors().fold(0, |all, x| all | x);
    let zeros = all.trailing_zeros().min(63);
    let width = bits(all >> zeros);
    if width > WIDTH_MAX {
        out.push(RAW << 4 | NO_DECIMALS);
        values.iter().for_each(|v| out.extend_from_slice(&v.to_bits().to_le_bytes()));
        return;
    }
    out.push(XOR << 4 | NO_DECIMALS);
    out.extend_from_slice(&values.first().copied().unwrap_or_default().to_bits().to_le_bytes());
    out.extend_from_slice(&[zeros as u8, width as u8]);
    put_bits(xors().map(|x| x >> zeros), width, out);
}

fn bits(n: u64) -> u32 {
    64 - n.leading_zeros()
}

/// Low bits first; `width` is at most [`WIDTH_MAX`].
fn put_bits(numbers: impl Iterator<Item = u64>, width: u32, out: &mut Vec<u8>) {
    if width == 0 {
        return;
    }
    let (mut acc, mut held) = (0u64, 0u32);
    for n in numbers {
        acc |= n << held;
        held += width;
        if held >= 64 {
            out.extend_from_slice(&acc.to_le_bytes());
            held -= 64;
            // What did not fit; a shift by the whole width would be none.
            acc = if held == 0 { 0 } else { n >> (width - held) };
        }
    }
    out.extend_from_slice(&acc.to_le_bytes()[..held.div_ceil(8) as usize]);
}

/// The number at place `i` of what [`put_bits`] wrote.
fn get_bits(bytes: &[u8], i: usize, width: u32) -> Result<u64, Corrupt> {
    let bit = i * width as usize;
    let word = bytes.get(bit / 8..).and_then(<[u8]>::first_chunk).ok_or(Corrupt("a column ends too early"))?;
    Ok(u64::from_le_bytes(*word) >> (bit % 8) & ((1 << width) - 1))
}

/// What [`put`] wrote: the values of a column at some times that follow each other. The packed numbers are at the front
/// of their bytes.
enum Piece<'a> {
    One(f64),
    Plain { scale: f64, low: i64, width: u32, packed: &'a [u8] },
    Delta { scale: f64, first: i64, low: i64, width: u32, packed: &'a [u8] },
    Xor { first: u64, zeros: u32, width: u32, packed: &'a [u8] },
    Raw(&'a [u8]),
}

impl<'a> Piece<'a> {
    /// Takes a piece of `n` values from the front of `r`.
    fn parse(r: &mut Reader<'a>, n: usize) -> Result<Self, Corrupt> {
        let head = r.u8()?;
        let (form, places) = (head >> 4, head & 15);
        if places == NO_DECIMALS {
            return match form {
                ONE => Ok(Self::One(f64::from_bits(r.u64()?))),
                RAW => Ok(Self::Raw(r.bytes(8 * n)?)),
                XOR => {
                    let (first, zeros) = (r.u64()?, u32::from(r.u8()?));
                    let (width, packed) = packed(r, n.saturating_sub(1))?;
                    Ok(Self::Xor { first, zeros, width, packed })
                }
                _ => Err(Corrupt("a column's form is unknown")),
            };
        }
        let scale = *POW10.get(usize::from(places)).ok_or(Corrupt("a column's scale is out of range"))?;
        let first = r.ivarint()?;
        match form {
            ONE => Ok(Self::One(first as f64 / scale)),
            PLAIN => {
                let (width, packed) = packed(r, n)?;
                Ok(Self::Plain { scale, low: first, width, packed })
            }
            DELTA => {
                let low = r.ivarint()?;
                let (width, packed) = packed(r, n.saturating_sub(1))?;
                Ok(Self::Delta { scale, first, low, width, packed })
            }
            _ => Err(Corrupt("a column's form is unknown")),
        }
    }

    /// Fills `values`, which are as many as it has.
    fn read(&self, values: &mut [f64]) -> Result<(), Corrupt> {
        match *self {
            Self::One(value) => values.fill(value),
            Self::Raw(bytes) => {
                for (v, bits) in values.iter_mut().zip(bytes.as_chunks().0) {
                    *v = f64::from_bits(u64::from_le_bytes(*bits));
                }
            }
            Self::Plain { scale, low, width, packed } => {
                for (i, v) in values.iter_mut().enumerate() {
                    *v = low.wrapping_add(get_bits(packed, i, width)? as i64) as f64 / scale;
                }
            }
            Self::Delta { scale, first, low, width, packed } => {
                let mut n = first;
                for (i, v) in values.iter_mut().enumerate() {
                    if let Some(before) = i.checked_sub(1) {
                        n = n.wrapping_add(low).wrapping_add(get_bits(packed, before, width)? as i64);
                    }
                    *v = n as f64 / scale;
                }
            }
            Self::Xor { first, zeros, width, packed } => {
                let mut bits = first;
                for (i, v) in values.iter_mut().enumerate() {
                    if let Some(before) = i.checked_sub(1) {
                        bits ^= get_bits(packed, before, width)?.checked_shl(zeros).unwrap_or(0);
                    }
                    *v = f64::from_bits(bits);
                }
            }
        }
        Ok(())
    }
}

/// A width, and where `n` numbers of so many bits begin.
fn packed<'a>(r: &mut Reader<'a>, n: usize) -> Result<(u32, &'a [u8]), Corrupt> {
    let width = u32::from(r.u8()?);
    if width > WIDTH_MAX {
        return Err(Corrupt("a column's width is out of range"));
    }
    let packed = r.rest();
    r.bytes((n * width as usize).div_ceil(8))?;
    Ok((width, packed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use belfry_model::TimestampMs;
    use belfry_model::sample::stale_nan;
    use proptest::prelude::*;

    fn rows_of(columns: &[Vec<f64>]) -> Vec<Row> {
        let n = columns.first().map_or(0, Vec::len);
        (0..n).map(|r| Row { at: 1_000 + r as i64 * 10, values: columns.iter().map(|c| c[r]).collect() }).collect()
    }

    fn check(columns: &[Vec<f64>], range: TimeRange) {
        let rows = rows_of(columns);
        check_slab(&Sealer::default().seal(&rows, columns.len()), columns, &rows, range);
    }

    fn check_slab(slab: &Slab, columns: &[Vec<f64>], rows: &[Row], range: TimeRange) {
        let hit = |r: &&Row| range.start().0 <= r.at && r.at < range.end().0;
        assert_eq!(slab.count(range), rows.iter().filter(hit).count() as u64);
        for (i, column) in columns.iter().enumerate() {
            let mut buf = SampleBuf::default();
            slab.decode(i, range, &mut buf).unwrap();
            let found: Vec<_> = buf.times.iter().zip(&buf.floats).map(|(t, v)| (*t, v.to_bits())).collect();
            let expected: Vec<_> =
                rows.iter().zip(column).filter(|(r, _)| hit(r)).map(|(r, v)| (r.at, v.to_bits())).collect();
            assert_eq!(found, expected, "column {i}");
        }
        assert!(slab.decode(columns.len(), TimeRange::ALL, &mut SampleBuf::default()).is_err());
    }

    #[test]
    fn columns_take_as_many_bits_as_they_spread() {
        for (what, value, at_most) in [
            ("a constant", (|_| 4096.0) as fn(u32) -> f64, 3),
            ("a constant that is no decimal", |_| 1.0f64 / 3.0, 9),
            ("a counter", |i| f64::from(1_000_000 + i * 31 + i % 7), 14),
            ("a gauge of two places", |i| f64::from(i * 37 % 500) / 100.0, 23),
            ("noise", |i| (1.0 + f64::from(i)).sqrt(), 129),
        ] {
            let column: Vec<f64> = (0..16).map(value).collect();
            let mut bytes = Vec::new();
            put(&column, &mut bytes);
            assert!(bytes.len() <= at_most, "{what}: {} bytes", bytes.len());
            check(&[column], TimeRange::ALL);
        }
    }

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            3 => (-50i64..50).prop_map(|n| n as f64),
            3 => (-5000i64..5000).prop_map(|n| n as f64 / 100.0),
            1 => Just(4.25),
            1 => any::<u64>().prop_map(f64::from_bits),
            1 => Just(stale_nan()),
            1 => Just(-0.0),
            1 => Just(9e15),
            1 => (0u32..16).prop_map(|n| 1.0 + f64::from(n) * f64::EPSILON),
        ]
    }

    proptest! {
        #[test]
        fn every_bit_reads_back(
            rows in 1usize..=ROWS_MAX,
            columns in proptest::collection::vec(proptest::collection::vec(value(), ROWS_MAX), 1..40),
            from in 0i64..170,
            to in 1i64..200,
        ) {
            let columns: Vec<Vec<f64>> = columns.into_iter().map(|c| c[..rows].to_vec()).collect();
            check(&columns, TimeRange::ALL);
            if let Some(range) = TimeRange::new(TimestampMs(990 + from), TimestampMs(990 + from + to)) {
                check(&columns, range);
            }
        }

        #[test]
        fn joined_slabs_read_as_the_slabs_did(
            columns in proptest::collection::vec(proptest::collection::vec(value(), PIECES * ROWS_MAX), 1..40),
            lengths in proptest::collection::vec(1usize..=ROWS_MAX, 1..=PIECES),
            from in 0i64..1300,
            to in 1i64..1300,
        ) {
            let rows = rows_of(&columns);
            let (mut sealer, mut slabs, mut begin) = (Sealer::default(), Vec::new(), 0);
            for n in lengths {
                slabs.push(Arc::new(sealer.seal(&rows[begin..begin + n], columns.len())));
                begin += n;
            }
            let joined = sealer.join(&slabs).unwrap();
            let columns: Vec<Vec<f64>> = columns.into_iter().map(|c| c[..begin].to_vec()).collect();
            check_slab(&joined, &columns, &rows[..begin], TimeRange::ALL);
            if let Some(range) = TimeRange::new(TimestampMs(990 + from), TimestampMs(990 + from + to)) {
                check_slab(&joined, &columns, &rows[..begin], range);
            }
        }

        #[test]
        fn plain_columns_read_back(
            places in 0i32..5, first in -100_000i64..100_000, steps in proptest::collection::vec(-300i64..300, 0..ROWS_MAX),
        ) {
            let mut n = first;
            let mut column = vec![n as f64 / 10f64.powi(places)];
            column.extend(steps.iter().map(|s| {
                n += s;
                n as f64 / 10f64.powi(places)
            }));
            check(&[column.clone(), column], TimeRange::ALL);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), n in 1usize..=ROWS_MAX) {
            let mut r = Reader::new(&bytes);
            while let Ok(piece) = Piece::parse(&mut r, n) {
                let _ = piece.read(&mut [0.0; ROWS_MAX][..n]);
            }
        }
    }
}
