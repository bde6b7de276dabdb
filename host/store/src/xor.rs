//! Floats as XOR of neighbours (Gorilla, Pelkonen et al. 2015), for values that are no short decimals.
//!
//! Invariant: every bit reads back. Not here: when to use it (`chunk` decides).

use crate::codec::{Corrupt, Reader};

/// Appends at least one value: the first whole, then a bit "same" or the bits that changed.
pub fn put(values: &[f64], out: &mut Vec<u8>) {
    let mut w = BitWriter { out, acc: 0, bits: 0 };
    let mut last = 0u64;
    let (mut lead, mut trail) = (65, 0);
    for (i, v) in values.iter().enumerate() {
        let bits = v.to_bits();
        let x = bits ^ last;
        last = bits;
        if i == 0 {
            w.put(x, 64);
            continue;
        }
        if x == 0 {
            w.put(0, 1);
            continue;
        }
        let (l, t) = (x.leading_zeros().min(31), x.trailing_zeros());
        if lead <= 31 && l >= lead && t >= trail {
            w.put(0b01, 2);
            w.put(x >> trail, 64 - lead - trail);
        } else {
            (lead, trail) = (l, t);
            let length = 64 - l - t;
            w.put(0b11, 2);
            w.put(u64::from(l), 5);
            w.put(u64::from(length - 1), 6);
            w.put(x >> t, length);
        }
    }
    w.finish();
}

/// Appends the `n` values that [`put`] wrote.
pub fn read(r: &mut Reader<'_>, n: usize, into: &mut Vec<f64>) -> Result<(), Corrupt> {
    let mut bits = BitReader { bytes: r.rest(), at: 0 };
    let mut last = bits.take(64)?;
    into.push(f64::from_bits(last));
    let (mut trail, mut length) = (0, 0);
    for _ in 1..n {
        if bits.take(1)? == 1 {
            if bits.take(1)? == 1 {
                let lead = bits.take(5)? as u32;
                length = bits.take(6)? as u32 + 1;
                trail = 64u32.checked_sub(lead + length).ok_or(Corrupt("a float is longer than 64 bits"))?;
            }
            if length == 0 {
                return Err(Corrupt("a float builds on none"));
            }
            last ^= bits.take(length)? << trail;
        }
        into.push(f64::from_bits(last));
    }
    let used = bits.at.div_ceil(8);
    r.bytes(used)?;
    Ok(())
}

struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    acc: u128,
    bits: u32,
}

impl BitWriter<'_> {
    /// Low bits first.
    fn put(&mut self, v: u64, n: u32) {
        self.acc |= u128::from(v) << self.bits;
        self.bits += n;
        while self.bits >= 8 {
            self.out.push(self.acc as u8);
            self.acc >>= 8;
            self.bits -= 8;
        }
    }

    fn finish(self) {
        if self.bits > 0 {
            self.out.push(self.acc as u8);
        }
    }
}

struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl BitReader<'_> {
    fn take(&mut self, n: u32) -> Result<u64, Corrupt> {
        let (byte, shift) = (self.at / 8, self.at % 8);
        self.at += n as usize;
        if self.at > self.bytes.len() * 8 {
            return Err(Corrupt("ends too early"));
        }
        let mask = u64::MAX >> (64 - n);
        let rest = &self.bytes[byte..];
        if rest.len() >= 9 {
            let mut word = [0u8; 8];
            word.copy_from_slice(&rest[..8]);
            let low = u64::from_le_bytes(word) >> shift;
            let high = if shift == 0 { 0 } else { u64::from(rest[8]) << (64 - shift) };
            return Ok((low | high) & mask);
        }
        let mut word = [0u8; 16];
        word[..rest.len()].copy_from_slice(rest);
        Ok((u128::from_le_bytes(word) >> shift) as u64 & mask)
    }
}
