//! Columns of whole numbers in as few bits as most of them need; the few that need more stand aside (PFOR, Zukowski et
//! al. 2006).
//!
//! Invariant: `unpack` yields exactly what `pack` was given, for any numbers.
//! Not here: what the numbers mean.

use crate::codec::{Corrupt, Reader, put_ivarint, put_uvarint, unzigzag, zigzag};

/// What one exception costs beside its high bits: its place and the rounding to bytes.
const EXCEPTION_BITS: usize = 14;
/// A bit string of this width can be fetched with one eight-byte load from any bit offset.
const WIDTH_MAX: u32 = 56;

/// Where the exceptions of a column stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceptions {
    /// Before the bits: as version 1 of chunks has them.
    First,
    /// Behind them: reading comes by them once. As the values of blocks of version 2 have them.
    Last,
}

/// Appends a signed column: its median, then zigzag differences to it.
pub fn pack_signed(values: &[i64], exceptions: Exceptions, scratch: &mut Vec<i64>, out: &mut Vec<u8>) {
    scratch.clear();
    scratch.extend_from_slice(values);
    let base = match scratch.len() {
        0 => 0,
        n => *scratch.select_nth_unstable(n / 2).1,
    };
    put_ivarint(out, base);
    pack(values.iter().map(|v| zigzag(v.wrapping_sub(base))), exceptions, out);
}

/// Appends the `n` numbers that [`pack_signed`] wrote with [`Exceptions::First`] to `into`.
pub fn unpack_signed(r: &mut Reader<'_>, n: usize, into: &mut Vec<i64>) -> Result<(), Corrupt> {
    let start = into.len();
    let base = unpack_raw(r, n, Exceptions::First, into)?;
    for v in &mut into[start..] {
        *v = signed(base, *v);
    }
    Ok(())
}

/// The same, one step short: each number is what [`signed`] makes of it and the base that this yields. Whoever walks
/// over the numbers anyway saves a walk.
pub fn unpack_raw(r: &mut Reader<'_>, n: usize, exceptions: Exceptions, into: &mut Vec<i64>) -> Result<i64, Corrupt> {
    let base = r.ivarint()?;
    unpack(r, n, exceptions, into)?;
    Ok(base)
}

/// See [`unpack_raw`].
pub fn signed(base: i64, raw: i64) -> i64 {
    base.wrapping_add(unzigzag(raw as u64))
}

fn pack(values: impl ExactSizeIterator<Item = u64> + Clone, exceptions: Exceptions, out: &mut Vec<u8>) {
    let width = best_width(values.clone(), values.len());
    out.push(width as u8);
    if exceptions == Exceptions::First {
        put_exceptions(values.clone(), width, out);
    }
    put_bits(values.clone(), width, out);
    if exceptions == Exceptions::Last {
        put_exceptions(values, width, out);
    }
}

fn mask(width: u32) -> u64 {
    if width == 0 { 0 } else { u64::MAX >> (64 - width) }
}

fn put_exceptions(values: impl Iterator<Item = u64> + Clone, width: u32, out: &mut Vec<u8>) {
    let mask = mask(width);
    let fits = |v: u64| v & mask == v;
    put_uvarint(out, values.clone().filter(|v| !fits(*v)).count() as u64);
    let mut last = 0;
    for (i, v) in values.enumerate().filter(|(_, v)| !fits(*v)) {
        put_uvarint(out, (i - last) as u64);
        put_uvarint(out, v >> width);
        last = i;
    }
}

fn put_bits(values: impl Iterator<Item = u64>, width: u32, out: &mut Vec<u8>) {
    if width == 0 {
        return;
    }
    let mask = mask(width);
    let (mut acc, mut bits) = (0u64, 0u32);
    for v in values {
        let v = v & mask;
        acc |= v << bits;
        bits += width;
        if bits >= 64 {
            out.extend_from_slice(&acc.to_le_bytes());
            bits -= 64;
            // What did not fit; a shift by all 64 bits would be none at all.
            acc = if bits == 0 { 0 } else { v >> (width - bits) };
        }
    }
    out.extend_from_slice(&acc.to_le_bytes()[..bits.div_ceil(8) as usize]);
}

/// The width with the smallest total, exceptions included.
fn best_width(values: impl Iterator<Item = u64>, n: usize) -> u32 {
    let mut of_length = [0usize; 65];
    for v in values {
        of_length[64 - v.leading_zeros() as usize] += 1;
    }
    let (mut best, mut best_cost) = (WIDTH_MAX, usize::MAX);
    let (mut exceptions, mut high_bits) = (0, 0);
    for width in (0..=64usize).rev() {
        if width < 64 {
            exceptions += of_length[width + 1];
            high_bits += exceptions;
        }
        let cost = n * width + exceptions * EXCEPTION_BITS + high_bits;
        if width as u32 <= WIDTH_MAX && cost < best_cost {
            (best, best_cost) = (width as u32, cost);
        }
    }
    best
}

fn unpack(r: &mut Reader<'_>, n: usize, exceptions: Exceptions, into: &mut Vec<i64>) -> Result<(), Corrupt> {
    let width = u32::from(r.u8()?);
    if width > WIDTH_MAX {
        return Err(Corrupt("a column's width is out of range"));
    }
    let mut aside = *r;
    if exceptions == Exceptions::First {
        for _ in 0..r.count()? {
            r.uvarint()?;
            r.uvarint()?;
        }
    }
    let start = into.len();
    if width == 0 {
        into.resize(start + n, 0);
    } else {
        unpack_bits(r.bytes((n * width as usize).div_ceil(8))?, width as usize, n, into);
    }
    let aside = if exceptions == Exceptions::First { &mut aside } else { r };
    let mut i = start;
    for _ in 0..aside.count()? {
        i = i.saturating_add(aside.uvarint()? as usize);
        let high = aside.uvarint()?;
        *into.get_mut(i).ok_or(Corrupt("an exception stands outside its column"))? |= (high << width) as i64;
    }
    Ok(())
}

fn unpack_bits(bytes: &[u8], width: usize, n: usize, into: &mut Vec<i64>) {
    let groups = unpack_groups(bytes, width, n, into);
    let mask = u64::MAX >> (64 - width);
    // The last few are read from a padded copy: a load of eight bytes would reach over the end.
    let rest = &bytes[(groups * width).min(bytes.len())..];
    let mut word = [0u8; 8];
    into.extend((0..n - groups * GROUP).map(|i| {
        let bit = i * width;
        let from = &rest[(bit / 8).min(rest.len())..];
        let len = from.len().min(8);
        word = [0; 8];
        word[..len].copy_from_slice(&from[..len]);
        (u64::from_le_bytes(word) >> (bit % 8) & mask) as i64
    }));
}

/// Numbers of a group: they end with a byte, whatever the width.
const GROUP: usize = 8;

/// Unpacks as many whole groups as can be read without a look at the end, and yields how many.
fn unpack_groups(bytes: &[u8], width: usize, n: usize, into: &mut Vec<i64>) -> usize {
    // A load begins within its group and is eight bytes long.
    let groups = (n / GROUP).min(bytes.len().saturating_sub(8) / width);
    macro_rules! by_width {
        ($($w:literal)*) => {
            match width {
                $($w => (0..groups).for_each(|g| into.extend(group::<$w>(&bytes[g * $w..g * $w + $w + 8]))),)*
                _ => return 0,
            }
        };
    }
    by_width!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38
        39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56);
    groups
}

/// Eight numbers of `W` bits. With the width known the shifts are constants and no bound is looked at.
fn group<const W: usize>(bytes: &[u8]) -> [i64; GROUP] {
    let mask = u64::MAX >> (64 - W);
    let bytes = &bytes[..W + 8];
    std::array::from_fn(|k| (load(&bytes[k * W / 8..]) >> (k * W % 8) & mask) as i64)
}

fn load(bytes: &[u8]) -> u64 {
    let mut word = [0u8; 8];
    word.copy_from_slice(&bytes[..8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packed(values: &[i64]) -> Vec<u8> {
        let mut out = Vec::new();
        pack_signed(values, Exceptions::First, &mut Vec::new(), &mut out);
        out
    }

    #[test]
    fn a_steady_column_takes_no_bits_and_one_outlier_does_not_widen_it() {
        let mut values = vec![15_000; 120];
        assert!(packed(&values).len() <= 6);
        values[60] = 30_000;
        assert!(packed(&values).len() <= 10);
    }

    proptest! {
        #[test]
        fn columns_read_back(
            mut values in proptest::collection::vec(-1000i64..1000, 0..200),
            wild in proptest::collection::vec((any::<prop::sample::Index>(), any::<i64>()), 0..20),
        ) {
            for (i, v) in wild {
                if !values.is_empty() {
                    let n = values.len();
                    values[i.index(n)] = v;
                }
            }
            let bytes = packed(&values);
            let mut r = Reader::new(&bytes);
            let mut back = vec![7];
            unpack_signed(&mut r, values.len(), &mut back).unwrap();
            prop_assert_eq!(&back[1..], &values[..]);
            prop_assert!(r.is_empty());
        }

        #[test]
        fn wild_columns_read_back(values in proptest::collection::vec(any::<i64>(), 0..40)) {
            let bytes = packed(&values);
            let mut back = Vec::new();
            unpack_signed(&mut Reader::new(&bytes), values.len(), &mut back).unwrap();
            prop_assert_eq!(&back, &values);
            let mut bytes = Vec::new();
            pack_signed(&values, Exceptions::Last, &mut Vec::new(), &mut bytes);
            back.clear();
            let mut r = Reader::new(&bytes);
            let base = unpack_raw(&mut r, values.len(), Exceptions::Last, &mut back).unwrap();
            prop_assert!(r.is_empty());
            prop_assert!(back.into_iter().map(|v| signed(base, v)).eq(values));
        }

        #[test]
        fn every_width_reads_back(width in 1u32..=56, n in 0usize..90, seed in any::<u64>()) {
            let of = |i: usize| (seed ^ i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - width);
            let mut bytes = Vec::new();
            put_bits((0..n).map(of), width, &mut bytes);
            prop_assert_eq!(bytes.len(), (n * width as usize).div_ceil(8));
            let mut back = Vec::new();
            unpack_bits(&bytes, width as usize, n, &mut back);
            prop_assert!(back.into_iter().map(|v| v as u64).eq((0..n).map(of)));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100), n in 0usize..300) {
            let _ = unpack_signed(&mut Reader::new(&bytes), n, &mut Vec::new());
        }
    }
}
