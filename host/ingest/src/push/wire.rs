//! Protocol Buffers' wire format, read in place: fields are slices of the request's bytes.
//!
//! Invariant: no input panics, and reading allocates nothing.
//! Not here: what the fields mean (`v1`, `v2`, `histogram`).
//! <https://protobuf.dev/programming-guides/encoding/>

use std::ops::Range;

/// The bytes are not the message they are said to be. Sending them again cannot help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It ends within a field.
    #[error("the message ends within a field")]
    Truncated,
    /// A number of more than 64 bits.
    #[error("a number has more than 64 bits")]
    Varint,
    /// A field's tag is none.
    #[error("a field has the number 0 or a wire type that does not exist")]
    Tag,
    /// A field has another type than its number should have.
    #[error("field {0} has the wrong type")]
    Type(u32),
    /// More of something than a request may carry.
    #[error("more than {limit} {what} in one request; send smaller ones")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many may be.
        limit: usize,
    },
    /// A reference to a symbol that is not there.
    #[error("a reference to symbol {0}, which the request does not have")]
    Symbol(u64),
    /// References come in pairs of name and value.
    #[error("an odd number of label references")]
    OddLabels,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

/// Goes through a message's fields.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    buf: &'a [u8],
    pos: usize,
}

impl<'a> Reader<'a> {
    #[inline]
    pub fn new(buf: &'a [u8]) -> Self {
        Self { buf, pos: 0 }
    }

    /// How far it has come.
    #[inline]
    pub fn position(&self) -> usize {
        self.pos
    }

    #[inline]
    pub fn is_at_end(&self) -> bool {
        self.pos >= self.buf.len()
    }

    /// The next byte, without taking it.
    #[inline]
    pub fn peek(&self) -> Option<u8> {
        self.buf.get(self.pos).copied()
    }

    /// Takes one byte that was peeked at.
    #[inline]
    pub fn skip_byte(&mut self) {
        self.pos += 1;
    }

    #[inline]
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        match self.buf.get(self.pos) {
            Some(b) if *b < 0x80 => {
                self.pos += 1;
                Ok(u64::from(*b))
            }
            Some(_) => self.long_varint(),
            None => Err(Malformed::Truncated),
        }
    }

    /// Timestamps are six bytes long: these are read as one word.
    #[inline]
    fn long_varint(&mut self) -> Result<u64, Malformed> {
        if let Some(word) = self.buf.get(self.pos..).and_then(<[u8]>::first_chunk::<8>) {
            let word = u64::from_le_bytes(*word);
            let ends = !word & 0x8080_8080_8080_8080;
            if ends != 0 {
                let bits = ends.trailing_zeros() + 1;
                self.pos += bits as usize / 8;
                let x = (word << (64 - bits)) >> (64 - bits) & 0x7f7f_7f7f_7f7f_7f7f;
                let x = (x & 0x007f_007f_007f_007f) | (x & 0x7f00_7f00_7f00_7f00) >> 1;
                let x = (x & 0x0000_3fff_0000_3fff) | (x & 0x3fff_0000_3fff_0000) >> 2;
                return Ok((x & 0x0fff_ffff) | (x & 0x0fff_ffff_0000_0000) >> 4);
            }
        }
        let mut x = 0u64;
        for shift in (0..64).step_by(7) {
            let b = *self.buf.get(self.pos).ok_or(Malformed::Truncated)?;
            self.pos += 1;
            if shift == 63 && b > 1 {
                return Err(Malformed::Varint);
            }
            x |= u64::from(b & 0x7f) << shift;
            if b < 0x80 {
                return Ok(x);
            }
        }
        Err(Malformed::Varint)
    }

    /// Where the bytes of a length-delimited field are; its tag has been read.
    #[inline]
    pub fn span(&mut self) -> Result<Range<usize>, Malformed> {
        let length = usize::try_from(self.varint()?).map_err(|_| Malformed::Truncated)?;
        let end = self.pos.checked_add(length).filter(|e| *e <= self.buf.len()).ok_or(Malformed::Truncated)?;
        let start = std::mem::replace(&mut self.pos, end);
        Ok(start..end)
    }

    /// The bytes of a length-delimited field; its tag has been read.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let span = self.span()?;
        self.buf.get(span).ok_or(Malformed::Truncated)
    }

    #[inline]
    pub fn fixed64(&mut self) -> Result<u64, Malformed> {
        let word = self.buf.get(self.pos..).and_then(<[u8]>::first_chunk::<8>).ok_or(Malformed::Truncated)?;
        self.pos += 8;
        Ok(u64::from_le_bytes(*word))
    }

    /// The next field with its number; `None` at the end.
    #[inline]
    pub fn field(&mut self) -> Result<Option<(u32, Field<'a>)>, Malformed> {
        if self.is_at_end() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|n| *n > 0).ok_or(Malformed::Tag)?;
        let field = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(self.fixed64()?),
            2 => Field::Bytes(self.bytes()?),
            5 => {
                let word = self.buf.get(self.pos..).and_then(<[u8]>::first_chunk::<4>).ok_or(Malformed::Truncated)?;
                self.pos += 4;
                Field::Fixed32(u32::from_le_bytes(*word))
            }
            _ => return Err(Malformed::Tag),
        };
        Ok(Some((number, field)))
    }
}

impl<'a> Field<'a> {
    #[inline]
    pub fn bytes(self, number: u32) -> Result<&'a [u8], Malformed> {
        match self {
            Self::Bytes(b) => Ok(b),
            _ => Err(Malformed::Type(number)),
        }
    }

    #[inline]
    pub fn double(self, number: u32) -> Result<f64, Malformed> {
        match self {
            Self::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(Malformed::Type(number)),
        }
    }

    #[inline]
    pub fn uint(self, number: u32) -> Result<u64, Malformed> {
        match self {
            Self::Varint(n) => Ok(n),
            _ => Err(Malformed::Type(number)),
        }
    }

    #[inline]
    pub fn int(self, number: u32) -> Result<i64, Malformed> {
        self.uint(number).map(|n| n as i64)
    }

    /// `sint64` and `sint32`.
    #[inline]
    pub fn sint(self, number: u32) -> Result<i64, Malformed> {
        self.uint(number).map(zigzag)
    }
}

/// <https://protobuf.dev/programming-guides/encoding/#signed-ints>
#[inline]
pub(crate) fn zigzag(n: u64) -> i64 {
    (n >> 1) as i64 ^ -((n & 1) as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(mut n: u64) -> Vec<u8> {
        let mut out = Vec::new();
        while n >= 0x80 {
            out.push(n as u8 | 0x80);
            n >>= 7;
        }
        out.push(n as u8);
        out
    }

    proptest! {
        #[test]
        fn a_number_is_read_as_it_was_written(bits in 0u32..64, n: u64, more in proptest::collection::vec(any::<u8>(), 0..12)) {
            let n = n >> bits;
            let mut bytes = encoded(n);
            let length = bytes.len();
            bytes.extend(more);
            let mut r = Reader::new(&bytes);
            prop_assert_eq!(r.varint(), Ok(n));
            prop_assert_eq!(r.position(), length);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut r = Reader::new(&bytes);
            while let Ok(Some(_)) = r.field() {}
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        assert_eq!(Reader::new(&[0x80]).varint(), Err(Malformed::Truncated));
        assert_eq!(Reader::new(&[0xff; 11]).varint(), Err(Malformed::Varint));
        let mut most = [0xff; 10];
        most[9] = 1;
        assert_eq!(Reader::new(&most).varint(), Ok(u64::MAX));
        most[9] = 2;
        assert_eq!(Reader::new(&most).varint(), Err(Malformed::Varint));
    }

    #[test]
    fn a_length_beyond_the_end_is_refused() {
        assert_eq!(Reader::new(&[0x0a, 5, 1]).field(), Err(Malformed::Truncated));
        assert_eq!(
            Reader::new(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]).field(),
            Err(Malformed::Truncated)
        );
        assert_eq!(Reader::new(&[0x03]).field(), Err(Malformed::Tag));
        assert_eq!(Reader::new(&[0x00, 0]).field(), Err(Malformed::Tag));
    }
}
