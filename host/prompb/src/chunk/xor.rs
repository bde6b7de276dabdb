//! Floats: times as differences of differences, values as the bits that changed (Gorilla, Pelkonen et al. 2015).

use super::bits::{Bits, Xor, fits};
use super::{CHUNK_SAMPLES_MAX, Chunk, XOR};

/// A chunk of floats.
pub(super) struct XorChunk {
    out: Bits,
    samples: u16,
    first: i64,
    last: i64,
    delta: i64,
    value: Xor,
}

impl XorChunk {
    pub fn of(at: i64, value: f64) -> Self {
        let mut out = Bits::after(&[0, 0]);
        out.put_ivarint(at);
        out.put_f64(value);
        Self { out, samples: 1, first: at, last: at, delta: 0, value: Xor::new(value) }
    }

    /// `false` when it is full.
    pub fn push(&mut self, at: i64, value: f64) -> bool {
        if self.samples >= CHUNK_SAMPLES_MAX {
            return false;
        }
        let delta = at.wrapping_sub(self.last);
        if self.samples == 1 {
            self.out.put_uvarint(delta as u64);
        } else {
            let change = delta.wrapping_sub(self.delta);
            let out = &mut self.out;
            match [(0b10, 2, 14), (0b110, 3, 17), (0b1110, 4, 20)].into_iter().find(|(_, _, n)| fits(change, *n)) {
                _ if change == 0 => out.put(0, 1),
                Some((prefix, width, n)) => {
                    out.put(prefix, width);
                    out.put(change as u64, n);
                }
                None => {
                    out.put(0b1111, 4);
                    out.put(change as u64, 64);
                }
            }
        }
        self.value.put(value, &mut self.out);
        (self.last, self.delta) = (at, delta);
        self.samples += 1;
        true
    }

    pub fn end(self) -> Chunk {
        let data = self.out.end(self.samples);
        Chunk { min_time_ms: self.first, max_time_ms: self.last, encoding: XOR, data }
    }
}
