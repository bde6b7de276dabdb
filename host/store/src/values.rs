//! Columns of values as blocks of version 2 hold them: the smallest of seven forms.
//!
//! Decimals are scaled to whole numbers (the idea of ALP, Afroozeh et al. 2023), divided by their greatest common factor
//! and packed as they are, as differences, or as differences of differences; or given to `pco`, which knows how often
//! each range of numbers occurs. What is no decimal is XORed (Gorilla, Pelkonen et al. 2015) or given to `pco` as it is.
//! Byte by byte in `docs/formats/store.md`.
//!
//! Invariant: decoding yields every bit that was encoded; damaged bytes are an error, never a panic.
//! Not here: times, histograms, checksums (`block`).

use pco::ChunkConfig;
use pco::wrapped::{FileCompressor, FileDecompressor};

use crate::chunk::{POW10, decimal_places, scaled};
use crate::codec::{Corrupt, Reader, put_f64, put_ivarint, put_uvarint};
use crate::pack::{Exceptions, pack_signed, signed, unpack_raw};
use crate::xor;

/// How much work goes into a small column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// For blocks that are soon merged.
    Quick,
    /// For blocks that stay.
    Small,
}

const XOR: u8 = 0;
const DELTA: u8 = 1;
const PLAIN: u8 = 2;
const ONE: u8 = 3;
const RUNS: u8 = 4;
const DELTA_2: u8 = 5;
const PCO_DECIMALS: u8 = 6;
const PCO_FLOATS: u8 = 7;

/// `pco` takes some microseconds a column whatever its length, so it must save something: a column stays as it is unless
/// `pco` makes it smaller than this share of it.
const PCO_WORTH: f64 = 0.8;
/// Columns of no more bits a sample are small enough: reading them from `pco` takes twice as long.
const PCO_BITS_MIN: usize = 4;
/// Shorter columns do not pay for `pco`'s table.
const PCO_SAMPLES_MIN: usize = 128;
/// More compression takes longer and yields next to nothing.
const PCO_LEVEL: usize = 8;

/// Scratch memory; reuse it.
#[derive(Default)]
pub struct ValueEncoder {
    ints: Vec<i64>,
    steps: Vec<i64>,
    packed: Vec<i64>,
    scratch: Vec<i64>,
    exceptions: Vec<(usize, f64)>,
}

impl ValueEncoder {
    /// Appends at least one value to `out` and yields the form.
    pub fn put(&mut self, values: &[f64], effort: Effort, out: &mut Vec<u8>) -> u8 {
        let first = values[0].to_bits();
        let runs = 1 + values.windows(2).filter(|w| w[0].to_bits() != w[1].to_bits()).count();
        if runs == 1 {
            put_f64(out, f64::from_bits(first));
            return ONE;
        }
        let start = out.len();
        if runs <= values.len() / 32 {
            put_runs(values, out);
            return RUNS;
        }
        let places = decimal_places(values);
        let form = match places {
            Some(places) => self.put_decimals(values, places, out),
            None => {
                xor::put(values, out);
                XOR
            }
        };
        let size = out.len() - start;
        let worth_trying = effort == Effort::Small && values.len() >= PCO_SAMPLES_MIN;
        if !worth_trying || size * 8 <= values.len() * PCO_BITS_MIN {
            return form;
        }
        let mut other = Vec::with_capacity(size);
        let other_form = match places {
            Some(places) => {
                self.put_head(places, &mut other);
                put_pco(&self.ints, &mut other).then_some(PCO_DECIMALS)
            }
            None => put_pco(values, &mut other).then_some(PCO_FLOATS),
        };
        match other_form {
            Some(other_form) if (other.len() as f64) < size as f64 * PCO_WORTH => {
                out.truncate(start);
                out.extend_from_slice(&other);
                other_form
            }
            _ => form,
        }
    }

    /// Places and what stands aside.
    fn put_head(&mut self, places: usize, out: &mut Vec<u8>) {
        out.push(places as u8);
        put_uvarint(out, self.exceptions.len() as u64);
        let mut before = 0;
        for (i, v) in &self.exceptions {
            put_uvarint(out, (i - before) as u64);
            put_f64(out, *v);
            before = *i;
        }
    }

    fn put_decimals(&mut self, values: &[f64], places: usize, out: &mut Vec<u8>) -> u8 {
        self.ints.clear();
        self.exceptions.clear();
        let mut last = values.iter().find_map(|v| scaled(*v, places)).unwrap_or(0);
        for (i, v) in values.iter().enumerate() {
            match scaled(*v, places) {
                Some(n) => last = n,
                None => self.exceptions.push((i, *v)),
            }
            self.ints.push(last);
        }
        self.put_head(places, out);
        let base = self.ints[0];
        self.steps.clear();
        // Scaled values are below 2^53: nothing here overflows.
        self.steps.extend(self.ints.windows(2).map(|w| w[1] - w[0]));
        let factor = self.steps.iter().fold(0, |g, d| if g == 1 { 1 } else { gcd(g, d.unsigned_abs()) }).max(1) as i64;
        put_ivarint(out, base);
        put_uvarint(out, factor as u64);
        if factor > 1 {
            self.steps.iter_mut().for_each(|d| *d /= factor);
        }
        let at = out.len();
        pack_signed(&self.steps, Exceptions::Last, &mut self.scratch, out);
        let mut best = DELTA;
        let mut other = Vec::with_capacity(out.len() - at);
        // Noise around a level is narrower as it stands than as differences.
        self.packed.clear();
        self.packed.extend(self.ints[1..].iter().map(|v| (v - base) / factor));
        pack_signed(&self.packed, Exceptions::Last, &mut self.scratch, &mut other);
        if other.len() < out.len() - at {
            out.truncate(at);
            out.extend_from_slice(&other);
            best = PLAIN;
        }
        if self.steps.len() > 1 {
            other.clear();
            put_ivarint(&mut other, self.steps[0]);
            self.packed.clear();
            self.packed.extend(self.steps.windows(2).map(|w| w[1] - w[0]));
            pack_signed(&self.packed, Exceptions::Last, &mut self.scratch, &mut other);
            if other.len() < out.len() - at {
                out.truncate(at);
                out.extend_from_slice(&other);
                best = DELTA_2;
            }
        }
        best
    }
}

/// Scratch memory of a reader; reuse it.
#[derive(Default)]
pub struct ValueDecoder {
    ints: Vec<i64>,
}

impl ValueDecoder {
    /// Appends the `n` values that [`ValueEncoder::put`] wrote in `form`.
    pub fn read(&mut self, r: &mut Reader<'_>, form: u8, n: usize, into: &mut Vec<f64>) -> Result<(), Corrupt> {
        match form {
            XOR => xor::read(r, n, into),
            ONE => {
                let v = r.f64()?;
                into.resize(into.len() + n, v);
                Ok(())
            }
            RUNS => read_runs(r, n, into),
            DELTA | PLAIN | DELTA_2 | PCO_DECIMALS => self.read_decimals(r, form, n, into),
            PCO_FLOATS => {
                let start = into.len();
                into.resize(start + n, 0.0);
                read_pco(r, &mut into[start..])
            }
            _ => Err(Corrupt("a chunk's values are of an unknown kind")),
        }
    }

    fn read_decimals(&mut self, r: &mut Reader<'_>, form: u8, n: usize, into: &mut Vec<f64>) -> Result<(), Corrupt> {
        let places = usize::from(r.u8()?);
        let scale = *POW10.get(places).ok_or(Corrupt("a chunk's scale is out of range"))?;
        let exceptions = r.count()?;
        let mut aside = *r;
        for _ in 0..exceptions {
            r.uvarint()?;
            r.f64()?;
        }
        let ints = &mut self.ints;
        ints.clear();
        let start = into.len();
        if form == PCO_DECIMALS {
            ints.resize(n, 0);
            read_pco(r, ints)?;
            convert(ints.iter().copied(), places, scale, into);
        } else {
            read_whole(r, form, n, ints, (places, scale), into)?;
        }
        let mut i = start;
        for _ in 0..exceptions {
            i = i.saturating_add(aside.uvarint()? as usize);
            *into.get_mut(i).ok_or(Corrupt("an exception stands outside its chunk"))? = aside.f64()?;
        }
        Ok(())
    }
}

fn convert(ints: impl Iterator<Item = i64>, places: usize, scale: f64, into: &mut Vec<f64>) {
    if places == 0 {
        into.extend(ints.map(|i| i as f64));
    } else {
        into.extend(ints.map(|i| i as f64 / scale));
    }
}

/// Undoes differences and scale of a packed column in one walk.
fn read_whole(
    r: &mut Reader<'_>,
    form: u8,
    n: usize,
    ints: &mut Vec<i64>,
    (places, scale): (usize, f64),
    into: &mut Vec<f64>,
) -> Result<(), Corrupt> {
    let base = r.ivarint()?;
    let factor = r.uvarint()? as i64;
    let first = |v: i64, into: &mut Vec<f64>| into.push(v as f64 / scale);
    first(base, into);
    match form {
        PLAIN => {
            let middle = unpack_raw(r, n - 1, Exceptions::Last, ints)?;
            let values = ints.iter().map(|v| base.wrapping_add(signed(middle, *v).wrapping_mul(factor)));
            convert(values, places, scale, into);
        }
        DELTA => {
            let middle = unpack_raw(r, n - 1, Exceptions::Last, ints)?;
            let mut last = base;
            let values = ints.iter().map(|v| {
                last = last.wrapping_add(signed(middle, *v).wrapping_mul(factor));
                last
            });
            convert(values, places, scale, into);
        }
        _ => {
            if n < 3 {
                return Err(Corrupt("a column is too short for its form"));
            }
            let mut step = r.ivarint()?;
            let mut last = base.wrapping_add(step.wrapping_mul(factor));
            first(last, into);
            let middle = unpack_raw(r, n - 2, Exceptions::Last, ints)?;
            let values = ints.iter().map(|v| {
                step = step.wrapping_add(signed(middle, *v));
                last = last.wrapping_add(step.wrapping_mul(factor));
                last
            });
            convert(values, places, scale, into);
        }
    }
    Ok(())
}

fn put_runs(values: &[f64], out: &mut Vec<u8>) {
    let mut from = 0;
    while from < values.len() {
        let same = values[from..].iter().take_while(|v| v.to_bits() == values[from].to_bits()).count();
        put_uvarint(out, same as u64);
        put_f64(out, values[from]);
        from += same;
    }
}

fn read_runs(r: &mut Reader<'_>, n: usize, into: &mut Vec<f64>) -> Result<(), Corrupt> {
    let mut left = n as u64;
    while left > 0 {
        let same = r.uvarint()?;
        let v = r.f64()?;
        left = left.checked_sub(same).filter(|_| same > 0).ok_or(Corrupt("a run has a wrong length"))?;
        into.resize(into.len() + same as usize, v);
    }
    Ok(())
}

/// `false` when `pco` cannot: what stands in `out` then is worth nothing.
fn put_pco<T: pco::data_types::Number>(values: &[T], out: &mut Vec<u8>) -> bool {
    let config = ChunkConfig::default().with_compression_level(PCO_LEVEL);
    let mut write = || {
        let file = FileCompressor::default();
        file.write_header(&mut *out)?;
        let mut chunk = file.chunk_compressor(values, &config)?;
        chunk.write_meta(&mut *out)?;
        chunk.write_page(0, &mut *out).map(|_| ())
    };
    write().is_ok()
}

fn read_pco<T: pco::data_types::Number>(r: &mut Reader<'_>, into: &mut [T]) -> Result<(), Corrupt> {
    let n = into.len();
    let mut read = || {
        let (file, rest) = FileDecompressor::new(r.rest())?;
        let (mut chunk, rest) = file.chunk_decompressor::<T, _>(rest)?;
        let mut page = chunk.page_decompressor(rest, n)?;
        let progress = page.read(into)?;
        Ok::<_, pco::errors::PcoError>((progress.n_processed, page.into_src()))
    };
    let (done, rest) = read().map_err(|_| Corrupt("a column of pco is damaged"))?;
    if done != n {
        return Err(Corrupt("a column of pco is too short"));
    }
    *r = Reader::new(rest);
    Ok(())
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use belfry_model::sample::stale_nan;
    use proptest::prelude::*;

    fn size(values: &[f64], effort: Effort) -> (u8, usize) {
        let mut out = Vec::new();
        let form = ValueEncoder::default().put(values, effort, &mut out);
        let mut back = vec![7.0];
        let mut r = Reader::new(&out);
        ValueDecoder::default().read(&mut r, form, values.len(), &mut back).unwrap();
        let bits = |v: &[f64]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&back[1..]), bits(values));
        assert!(r.is_empty());
        (form, out.len())
    }

    #[test]
    fn each_kind_of_series_finds_its_form() {
        let of = |f: &dyn Fn(u64) -> f64| (0..600).map(f).collect::<Vec<_>>();
        // The noise of a multiplicative hash: no generator is needed.
        let noise = |i: u64, n: u64| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) % n;
        assert_eq!(size(&of(&|_| 4096.5), Effort::Small), (ONE, 5));
        assert_eq!(size(&of(&|i| (i / 200) as f64), Effort::Small).0, RUNS);
        assert_eq!(size(&of(&|i| (i * i) as f64), Effort::Quick).0, DELTA_2);
        assert_eq!(size(&of(&|i| noise(i, 100) as f64), Effort::Quick).0, PLAIN);
        let pages = size(&of(&|i| (noise(i, 16) * 4096) as f64), Effort::Quick).1;
        assert!(pages <= 600 / 2 + 20, "the common factor is taken out: {pages}");
        let skewed = of(&|i| (noise(i, 2) * 1_000_000 + noise(i + 7, 5)) as f64);
        let (quick, small) = (size(&skewed, Effort::Quick), size(&skewed, Effort::Small));
        assert_eq!(small.0, PCO_DECIMALS);
        assert!(small.1 < quick.1);
        let smooth = of(&|i| (i as f64 / 50.0).sin());
        assert!(size(&smooth, Effort::Small).1 < size(&smooth, Effort::Quick).1);
    }

    #[test]
    fn a_stale_marker_at_either_end_costs_its_place_only() {
        let mut values: Vec<f64> = (0..600).map(|i| 1e9 + f64::from(i)).collect();
        let without = size(&values, Effort::Quick).1;
        values[0] = stale_nan();
        values[599] = stale_nan();
        assert!(size(&values, Effort::Quick).1 < without + 30);
    }

    proptest! {
        #[test]
        fn any_values_read_back(
            decimals in proptest::collection::vec((-100_000i64..100_000, 0u32..4), 1..400),
            wild in proptest::collection::vec((any::<prop::sample::Index>(), any::<u64>()), 0..20),
            factor in prop_oneof![Just(1i64), Just(4096), 1i64..1000],
        ) {
            let mut values: Vec<f64> =
                decimals.iter().map(|(n, p)| (n * factor) as f64 / 10f64.powi(*p as i32)).collect();
            for (i, bits) in wild {
                let n = values.len();
                values[i.index(n)] = f64::from_bits(bits);
            }
            size(&values, Effort::Quick);
            size(&values, Effort::Small);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), form in 0u8..9, n in 1usize..700) {
            let _ = ValueDecoder::default().read(&mut Reader::new(&bytes), form, n, &mut Vec::new());
        }

        #[test]
        fn no_flipped_bit_panics(at in any::<prop::sample::Index>(), bit in 0u8..8, seed in any::<u64>()) {
            let values: Vec<f64> =
                (0..300u64).map(|i| (seed.wrapping_mul(i + 1) >> 50) as f64 / if seed % 2 == 0 { 1.0 } else { 3.0 }).collect();
            let mut out = Vec::new();
            let form = ValueEncoder::default().put(&values, Effort::Small, &mut out);
            let at = at.index(out.len());
            out[at] ^= 1 << bit;
            let _ = ValueDecoder::default().read(&mut Reader::new(&out), form, 300, &mut Vec::new());
        }
    }
}
