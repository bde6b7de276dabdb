//! What was deleted from a block and is still in its file.
//!
//! Invariant: the spans of a series are in order and apart from each other.
//! Not here: which series a deletion means (`delete`), getting rid of the bytes (`compact`).

use std::collections::BTreeMap;

use belfry_model::SampleBuf;

use crate::chunk::remove_span;
use crate::codec::{Corrupt, Reader, put_ivarint, put_uvarint};

const MAGIC: &[u8; 8] = b"BELFGON\n";
/// The format that this program reads and writes.
pub const VERSION: u32 = 1;
/// Magic, version, checksum.
const HEADER_BYTES: usize = 16;

/// Series number → first and last time of each deleted span, both included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gone(BTreeMap<u32, Vec<(i64, i64)>>);

impl Gone {
    /// Nothing was deleted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Deletes `first..=last` of a series; `false` when that was deleted before.
    pub fn add(&mut self, series: u32, first: i64, last: i64) -> bool {
        let spans = self.0.entry(series).or_default();
        if spans.last().is_none_or(|s| s.1 < first.saturating_sub(1)) {
            spans.push((first, last));
            return true;
        }
        if spans.iter().any(|s| s.0 <= first && last <= s.1) {
            return false;
        }
        let (mut first, mut last) = (first, last);
        spans.retain(|s| {
            let apart = s.1 < first.saturating_sub(1) || s.0 > last.saturating_add(1);
            if !apart {
                (first, last) = (first.min(s.0), last.max(s.1));
            }
            apart
        });
        let at = spans.partition_point(|s| s.0 < first);
        spans.insert(at, (first, last));
        true
    }

    /// Deletes these spans of a series, in order and apart, and no others of it.
    pub fn set(&mut self, series: u32, spans: impl Iterator<Item = (i64, i64)>) {
        self.0.remove(&series);
        for (first, last) in spans {
            self.add(series, first, last);
        }
    }

    /// Deletes what the other one does, too.
    pub fn join(&mut self, other: Self) {
        for (series, spans) in other.0 {
            for (first, last) in spans {
                self.add(series, first, last);
            }
        }
    }

    /// Was anything of a series deleted?
    pub fn touches(&self, series: u32) -> bool {
        self.0.contains_key(&series)
    }

    /// Is all of this span of a series deleted?
    pub fn covers(&self, series: u32, min: i64, max: i64) -> bool {
        self.0.get(&series).is_some_and(|spans| spans.iter().any(|s| s.0 <= min && max <= s.1))
    }

    /// The deleted spans of a series, in order: first and last time, both included.
    pub fn spans(&self, series: u32) -> &[(i64, i64)] {
        self.0.get(&series).map_or(&[], Vec::as_slice)
    }

    /// Removes what is deleted from the samples of a series that stand from `start` on.
    pub fn apply(&self, series: u32, start: usize, into: &mut SampleBuf) {
        for (first, last) in self.0.get(&series).into_iter().flatten() {
            let added = &into.times[start..];
            let lo = start + added.partition_point(|t| t < first);
            let hi = start + added.partition_point(|t| t <= last);
            remove_span(into, lo, hi);
        }
    }

    /// As a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut body = Vec::new();
        put_uvarint(&mut body, self.0.len() as u64);
        for (series, spans) in &self.0 {
            put_uvarint(&mut body, u64::from(*series));
            put_uvarint(&mut body, spans.len() as u64);
            for (first, last) in spans {
                put_ivarint(&mut body, *first);
                put_ivarint(&mut body, *last);
            }
        }
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
        out.extend_from_slice(&body);
        out
    }

    /// The version of a file that a newer Belfry wrote. No checksum covers the number: where one bit of it differs and the
    /// rest is right for what we write, that bit went bad, and the file is damaged.
    pub fn newer_version(bytes: &[u8]) -> Option<u32> {
        let (header, body) = bytes.split_at_checked(HEADER_BYTES)?;
        let mut r = Reader::new(header.strip_prefix(MAGIC)?);
        let (version, crc) = (r.u32().ok()?, r.u32().ok()?);
        let is_a_bit = (version ^ VERSION).is_power_of_two() && crc == crc32fast::hash(body);
        (version > VERSION && !is_a_bit).then_some(version)
    }

    /// Reads what [`Gone::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut r = Reader::new(bytes);
        if r.bytes(8)? != MAGIC {
            return Err(Corrupt("the file does not say what was deleted"));
        }
        if r.u32()? != VERSION {
            return Err(Corrupt("the version of what was deleted is not one there is"));
        }
        if r.u32()? != crc32fast::hash(r.rest()) {
            return Err(Corrupt("the checksum of what was deleted does not match"));
        }
        let mut out = Self::default();
        for _ in 0..r.count()? {
            let series = u32::try_from(r.uvarint()?).map_err(|_| Corrupt("a number is out of range"))?;
            for _ in 0..r.count()? {
                let (first, last) = (r.ivarint()?, r.ivarint()?);
                if first > last {
                    return Err(Corrupt("what was deleted ends before it begins"));
                }
                out.add(series, first, last);
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_file_of_a_newer_version_says_so_whatever_its_checksum_is_of() {
        let mut gone = Gone::default();
        gone.add(1, 5, 10);
        let with = |version: u32, crc: u8| {
            let mut bytes = gone.to_bytes();
            bytes[8..12].copy_from_slice(&version.to_le_bytes());
            bytes[12] ^= crc;
            Gone::newer_version(&bytes)
        };
        assert_eq!([with(1, 0), with(1, 1), with(0, 1)], [None; 3]);
        assert_eq!([with(2, 0), with(2, 1), with(3, 1), with(4, 0)], [Some(2), Some(2), Some(3), Some(4)]);
        assert_eq!(Gone::newer_version(&gone.to_bytes()[..15]), None);
    }

    proptest! {
        #[test]
        fn spans_join_and_what_is_left_is_what_no_span_covers(
            spans in proptest::collection::vec((0i64..60, 0i64..20), 0..8),
        ) {
            let mut gone = Gone::default();
            for (first, len) in &spans {
                gone.add(3, *first, first + len);
            }
            let gone = Gone::from_bytes(&gone.to_bytes()).unwrap();
            let mut buf = SampleBuf::default();
            (-5..80).for_each(|t| buf.push_float(t, t as f64));
            gone.apply(4, 0, &mut buf);
            prop_assert_eq!(buf.len(), 85);
            gone.apply(3, 2, &mut buf);
            let covered = |t: i64| spans.iter().any(|(f, l)| *f <= t && t <= f + l);
            let left: Vec<i64> = (-5..80).filter(|t| !covered(*t)).collect();
            prop_assert_eq!(&buf.times, &left);
            prop_assert!(buf.floats.iter().zip(&left).all(|(v, t)| *v == *t as f64));
        }

        #[test]
        fn a_flipped_bit_is_noticed(at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut gone = Gone::default();
            gone.add(1, 5, 10);
            gone.add(9, -5, 1 << 40);
            let mut bytes = gone.to_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(Gone::from_bytes(&bytes).is_err());
            prop_assert_eq!(Gone::newer_version(&bytes), None);
        }
    }
}
