//! Bits in order, the most significant of a byte first, and what numbers look like in them.

/// Widths of `varbit` numbers, each behind one bit more than the one before; 0 is one bit alone.
const VARBIT_WIDTHS: [u32; 7] = [3, 6, 9, 12, 18, 25, 56];

/// A chunk being written: a header of whole bytes, then bits.
#[derive(Debug)]
pub(super) struct Bits {
    bytes: Vec<u8>,
    /// Bits of the last byte that are not used yet.
    free: u32,
}

impl Bits {
    pub fn after(header: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(header);
        Self { bytes, free: 0 }
    }

    /// The lowest `n` bits of `value`.
    pub fn put(&mut self, value: u64, n: u32) {
        let mut left = n;
        while left > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let taken = left.min(self.free);
            left -= taken;
            let part = (value >> left) as u8 & (0xff_u16 >> (8 - taken)) as u8;
            self.free -= taken;
            if let Some(last) = self.bytes.last_mut() {
                *last |= part << self.free;
            }
        }
    }

    pub fn put_f64(&mut self, v: f64) {
        self.put(v.to_bits(), 64);
    }

    /// Protobuf's: seven bits a byte, the lowest first.
    pub fn put_uvarint(&mut self, mut v: u64) {
        while v >= 0x80 {
            self.put(v & 0x7f | 0x80, 8);
            v >>= 7;
        }
        self.put(v, 8);
    }

    /// The same of a number with sign, zigzag.
    pub fn put_ivarint(&mut self, v: i64) {
        self.put_uvarint(((v << 1) ^ (v >> 63)) as u64);
    }

    /// A small number with sign in few bits.
    pub fn put_varbit(&mut self, v: i64) {
        self.put_by_width(v as u64, v == 0, |n| fits(v, n));
    }

    /// A small number in few bits.
    pub fn put_varbit_unsigned(&mut self, v: u64) {
        self.put_by_width(v, v == 0, |n| v < 1 << n);
    }

    fn put_by_width(&mut self, v: u64, is_zero: bool, fits: impl Fn(u32) -> bool) {
        if is_zero {
            return self.put(0, 1);
        }
        match (1_u32..).zip(VARBIT_WIDTHS).find(|(_, n)| fits(*n)) {
            Some((ones, n)) => {
                self.put((1 << (ones + 1)) - 2, ones + 1);
                self.put(v, n);
            }
            None => {
                self.put(0xff, 8);
                self.put(v, 64);
            }
        }
    }

    /// The chunk's bytes, the number of its samples in the first two.
    pub fn end(mut self, samples: u16) -> Vec<u8> {
        for (to, from) in self.bytes.iter_mut().zip(samples.to_be_bytes()) {
            *to = from;
        }
        self.bytes
    }
}

/// Whether `n` bits hold `v`: one more above than below, as Prometheus has it.
pub(super) fn fits(v: i64, n: u32) -> bool {
    let half = 1_i64 << (n - 1);
    (1 - half..=half).contains(&v)
}

/// Where the bits stood that changed last, of one column of floats.
#[derive(Clone, Copy, Debug)]
pub(super) struct Xor {
    value: u64,
    /// Leading and trailing zeros.
    window: Option<(u32, u32)>,
}

impl Xor {
    /// `first` is in the chunk already, whole.
    pub fn new(first: f64) -> Self {
        Self { value: first.to_bits(), window: None }
    }

    /// Writes what `v` has other than the value before it.
    pub fn put(&mut self, v: f64, out: &mut Bits) {
        let delta = v.to_bits() ^ self.value;
        self.value = v.to_bits();
        if delta == 0 {
            return out.put(0, 1);
        }
        let (leading, trailing) = (delta.leading_zeros().min(31), delta.trailing_zeros());
        match self.window {
            Some((l, t)) if leading >= l && trailing >= t => {
                out.put(0b10, 2);
                out.put(delta >> t, 64 - l - t);
            }
            _ => {
                self.window = Some((leading, trailing));
                let length = 64 - leading - trailing;
                out.put(0b11, 2);
                out.put(u64::from(leading), 5);
                // 64 is written as 0, which never is one.
                out.put(u64::from(length), 6);
                out.put(delta >> trailing, length);
            }
        }
    }
}
