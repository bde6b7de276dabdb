//! Numbers and texts as bytes.
//!
//! Invariant: reading any bytes neither panics nor allocates more than the bytes could hold.

/// The bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bad;

/// Appends.
pub(super) trait Write {
    fn varint(&mut self, v: u64);
    fn zigzag(&mut self, v: i64);
    fn float(&mut self, v: f64);
    fn floats(&mut self, all: &[f64]);
    fn text(&mut self, text: &str);
}

impl Write for Vec<u8> {
    fn varint(&mut self, mut v: u64) {
        while v >= 0x80 {
            self.push(v as u8 | 0x80);
            v >>= 7;
        }
        self.push(v as u8);
    }

    fn zigzag(&mut self, v: i64) {
        self.varint((v << 1 ^ v >> 63) as u64);
    }

    fn float(&mut self, v: f64) {
        self.extend_from_slice(&v.to_bits().to_le_bytes());
    }

    fn floats(&mut self, all: &[f64]) {
        self.varint(all.len() as u64);
        all.iter().for_each(|v| self.float(*v));
    }

    fn text(&mut self, text: &str) {
        self.varint(text.len() as u64);
        self.extend_from_slice(text.as_bytes());
    }
}

/// Goes through bytes.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> Result<u8, Bad> {
        let (first, rest) = self.0.split_first().ok_or(Bad)?;
        self.0 = rest;
        Ok(*first)
    }

    pub fn varint(&mut self) -> Result<u64, Bad> {
        let mut v = 0_u64;
        for shift in (0..64).step_by(7) {
            let b = self.byte()?;
            if shift == 63 && b > 1 {
                return Err(Bad);
            }
            v |= u64::from(b & 0x7f) << shift;
            if b < 0x80 {
                return Ok(v);
            }
        }
        Err(Bad)
    }

    pub fn zigzag(&mut self) -> Result<i64, Bad> {
        let v = self.varint()?;
        Ok((v >> 1) as i64 ^ -((v & 1) as i64))
    }

    /// How many things follow; each takes a byte at least.
    pub fn count(&mut self) -> Result<usize, Bad> {
        let n = usize::try_from(self.varint()?).map_err(|_| Bad)?;
        if n > self.0.len() { Err(Bad) } else { Ok(n) }
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], Bad> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or(Bad)?;
        self.0 = rest;
        Ok(taken)
    }

    pub fn float(&mut self) -> Result<f64, Bad> {
        let (bytes, rest) = self.0.split_first_chunk::<8>().ok_or(Bad)?;
        self.0 = rest;
        Ok(f64::from_bits(u64::from_le_bytes(*bytes)))
    }

    pub fn floats(&mut self) -> Result<Vec<f64>, Bad> {
        let n = self.count()?;
        (0..n).map(|_| self.float()).collect()
    }

    pub fn text(&mut self) -> Result<&'a str, Bad> {
        let n = self.count()?;
        std::str::from_utf8(self.take(n)?).map_err(|_| Bad)
    }
}
