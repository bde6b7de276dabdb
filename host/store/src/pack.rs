//! Columns of whole numbers in as few bits as most of them need; the few that need more stand aside (PFOR, Zukowski et
//! al. 2006).
//!
//! Invariant: `unpack` yields exactly what `pack` was given, for any numbers.
//! Not here: what the numbers mean.

use crate::codec::{Corrupt, Reader, put_ivarint, put_uvarint, unzigzag, zigzag};

/// What one exception costs beside its high bits: its place and the rounding to bytes.
const EXCEPTION_BITS: usize = 12;
/// A bit string of this width can be fetched with one eight-byte load from any bit offset.
const WIDTH_MAX: u32 = 56;

/// Appends a signed column: its median, then zigzag differences to it.
pub fn pack_signed(values: &[i64], scratch: &mut Vec<i64>, out: &mut Vec<u8>) {
    scratch.clear();
    scratch.extend_from_slice(values);
    let base = match scratch.len() {
        0 => 0,
        n => *scratch.select_nth_unstable(n / 2).1,
    };
    put_ivarint(out, base);
    pack(values.iter().map(|v| zigzag(v.wrapping_sub(base))), out);
}

/// Appends the `n` numbers that [`pack_signed`] wrote to `into`.
pub fn unpack_signed(r: &mut Reader<'_>, n: usize, into: &mut Vec<i64>) -> Result<(), Corrupt> {
    let start = into.len();
    let base = unpack_raw(r, n, into)?;
    for v in &mut into[start..] {
        *v = signed(base, *v);
    }
    Ok(())
}

/// The same, one step short: each number is what [`signed`] makes of it and the base that this yields. Whoever walks
/// over the numbers anyway saves a walk.
pub fn unpack_raw(r: &mut Reader<'_>, n: usize, into: &mut Vec<i64>) -> Result<i64, Corrupt> {
    let base = r.ivarint()?;
    unpack(r, n, into)?;
    Ok(base)
}

/// See [`unpack_raw`].
pub fn signed(base: i64, raw: i64) -> i64 {
    base.wrapping_add(unzigzag(raw as u64))
}

fn pack(values: impl ExactSizeIterator<Item = u64> + Clone, out: &mut Vec<u8>) {
    let n = values.len();
    let width = best_width(values.clone(), n);
    let mask = if width == 0 { 0 } else { u64::MAX >> (64 - width) };
    out.push(width as u8);
    let fits = |v: u64| v & mask == v;
    put_uvarint(out, values.clone().filter(|v| !fits(*v)).count() as u64);
    let mut last = 0;
    for (i, v) in values.clone().enumerate().filter(|(_, v)| !fits(*v)) {
        put_uvarint(out, (i - last) as u64);
        put_uvarint(out, v >> width);
        last = i;
    }
    if width == 0 {
        return;
    }
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

fn unpack(r: &mut Reader<'_>, n: usize, into: &mut Vec<i64>) -> Result<(), Corrupt> {
    let width = u32::from(r.u8()?);
    if width > WIDTH_MAX {
        return Err(Corrupt("a column's width is out of range"));
    }
    let exceptions = r.count()?;
    let mut aside = *r;
    for _ in 0..exceptions {
        r.uvarint()?;
        r.uvarint()?;
    }
    let start = into.len();
    if width == 0 {
        into.resize(start + n, 0);
    } else {
        unpack_bits(r.bytes((n * width as usize).div_ceil(8))?, width as usize, n, into);
    }
    let mut i = start;
    for _ in 0..exceptions {
        i = i.saturating_add(aside.uvarint()? as usize);
        let high = aside.uvarint()?;
        *into.get_mut(i).ok_or(Corrupt("an exception stands outside its column"))? |= (high << width) as i64;
    }
    Ok(())
}

fn unpack_bits(bytes: &[u8], width: usize, n: usize, into: &mut Vec<i64>) {
    let mask = u64::MAX >> (64 - width);
    // Values whose eight-byte load stays inside take the fast way; the last few are read from a padded copy.
    let fast = if bytes.len() >= 8 { (((bytes.len() - 8) * 8) / width + 1).min(n) } else { 0 };
    into.extend((0..fast).map(|i| {
        let bit = i * width;
        (load(&bytes[bit / 8..]) >> (bit % 8) & mask) as i64
    }));
    let from = fast * width / 8;
    let mut tail = [0u8; 24];
    let rest = &bytes[from.min(bytes.len())..];
    let rest = &rest[..rest.len().min(16)];
    tail[..rest.len()].copy_from_slice(rest);
    into.extend((fast..n).map(|i| {
        let bit = i * width - from * 8;
        (load(&tail[bit / 8..]) >> (bit % 8) & mask) as i64
    }));
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
        pack_signed(values, &mut Vec::new(), &mut out);
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
            prop_assert_eq!(back, values);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100), n in 0usize..300) {
            let _ = unpack_signed(&mut Reader::new(&bytes), n, &mut Vec::new());
        }
    }
}
