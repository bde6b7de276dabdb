//! Rows in the write-ahead log: a bitmap of what changed since the row before, and the XOR of what did.
//!
//! Invariant: a row is read with the row it builds on or not at all; each 64th stands alone, so that damage takes at
//! most 63 rows of one group with it.
//! Not here: the other entries of a record, and its frame (`record`, `wal`).

use std::collections::HashMap;

use crate::codec::{Corrupt, Reader, put_ivarint, put_uvarint};
use crate::rows::Group;

/// A row that stands alone comes after so many that do not.
pub const WHOLE_EVERY: u32 = 64;

/// Appends what a group is: its number and those of its series.
pub fn put_group(out: &mut Vec<u8>, group: &Group) {
    put_uvarint(out, u64::from(group.log_number));
    put_uvarint(out, group.refs.len() as u64);
    let mut last = 0;
    for id in group.ids() {
        put_ivarint(out, i64::from(id) - last);
        last = i64::from(id);
    }
}

/// Appends a row, and makes it the one that the next builds on.
pub fn put_row(out: &mut Vec<u8>, group: &mut Group, at: i64, values: &[f64]) {
    if group.logged.is_multiple_of(WHOLE_EVERY) {
        group.base.fill(0);
    }
    put_uvarint(out, u64::from(group.log_number));
    put_ivarint(out, at);
    put_uvarint(out, u64::from(group.logged));
    group.logged = group.logged.wrapping_add(1);
    let bitmap = out.len();
    out.resize(bitmap + values.len().div_ceil(8), 0);
    for (i, (v, base)) in values.iter().zip(&mut group.base).enumerate() {
        let x = v.to_bits() ^ *base;
        if x == 0 {
            continue;
        }
        *base = v.to_bits();
        if let Some(b) = out.get_mut(bitmap + i / 8) {
            *b |= 1 << (i % 8);
        }
        let zeros = x.trailing_zeros() / 8;
        let length = 8 - x.leading_zeros() / 8 - zeros;
        out.push((zeros << 4 | length) as u8);
        // All eight at once, then the length: quicker than a copy of just so many.
        let end = out.len() + length as usize;
        out.extend_from_slice(&(x >> (zeros * 8)).to_le_bytes());
        out.truncate(end);
    }
}

/// What a reader of the log knows of the groups of a generation.
#[derive(Default)]
pub struct RowReader {
    groups: HashMap<u32, Known>,
    values: Vec<f64>,
}

struct Known {
    ids: Vec<u32>,
    base: Vec<u64>,
    /// The row that can be read next; `None` until one stands alone.
    next: Option<u32>,
}

/// A row that was read.
pub struct ReadRow<'a> {
    /// Its group's number, as the log has it.
    pub group: u32,
    /// The series' numbers, as the log has them.
    pub ids: &'a [u32],
    /// When.
    pub at: i64,
    /// As many as series; `None` when the row that it builds on is missing.
    pub values: Option<&'a [f64]>,
}

impl RowReader {
    /// Forgets all groups: a new generation begins.
    pub fn clear(&mut self) {
        self.groups.clear();
    }

    /// Reads what [`put_group`] wrote.
    pub fn group(&mut self, r: &mut Reader<'_>) -> Result<(u32, &[u32]), Corrupt> {
        let number = u32::try_from(r.uvarint()?).map_err(|_| Corrupt("a group's number is out of range"))?;
        let n = r.count()?;
        let mut ids = Vec::with_capacity(n);
        let mut last = 0i64;
        for _ in 0..n {
            last = last.wrapping_add(r.ivarint()?);
            ids.push(u32::try_from(last).map_err(|_| Corrupt("a series number is out of range"))?);
        }
        // A row that builds on one before this must not be read by mistake: only a whole one comes first.
        let known = Known { base: vec![0; n], ids, next: None };
        Ok((number, &self.groups.entry(number).insert_entry(known).into_mut().ids))
    }

    /// Reads what [`put_row`] wrote. Without the group nobody knows where the row ends.
    pub fn row(&mut self, r: &mut Reader<'_>) -> Result<ReadRow<'_>, Corrupt> {
        let number = u32::try_from(r.uvarint()?).map_err(|_| Corrupt("a group's number is out of range"))?;
        let group = self.groups.get_mut(&number).ok_or(Corrupt("a row's group is not known"))?;
        let at = r.ivarint()?;
        let place = u32::try_from(r.uvarint()?).map_err(|_| Corrupt("a row's number is out of range"))?;
        let is_whole = place.is_multiple_of(WHOLE_EVERY);
        let can_be_read = is_whole || group.next == Some(place);
        group.next = None;
        if is_whole {
            group.base.fill(0);
        }
        let bitmap = r.bytes(group.ids.len().div_ceil(8))?;
        for (i, base) in group.base.iter_mut().enumerate() {
            if bitmap[i / 8] >> (i % 8) & 1 == 0 {
                continue;
            }
            let control = r.u8()?;
            let (zeros, length) = (u32::from(control >> 4), usize::from(control & 15));
            let mut x = [0u8; 8];
            x.get_mut(..length).ok_or(Corrupt("a float is too long"))?.copy_from_slice(r.bytes(length)?);
            *base ^= u64::from_le_bytes(x).checked_shl(zeros * 8).unwrap_or(0);
        }
        if !can_be_read {
            // No row that builds on this one can be, either.
            return Ok(ReadRow { group: number, ids: &group.ids, at, values: None });
        }
        group.next = Some(place.wrapping_add(1));
        self.values.clear();
        self.values.extend(group.base.iter().map(|b| f64::from_bits(*b)));
        Ok(ReadRow { group: number, ids: &group.ids, at, values: Some(&self.values) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::Groups;
    use belfry_model::sample::stale_nan;
    use belfry_model::write::SeriesRef;
    use proptest::prelude::*;

    fn refs(n: u64) -> Vec<SeriesRef> {
        (0..n).map(|i| SeriesRef(1 << 32 | (i * 3 + 5))).collect()
    }

    #[test]
    fn rows_read_back_bit_for_bit_and_one_that_is_lost_takes_those_that_build_on_it() {
        let mut groups = Groups::default();
        let n = groups.add(&refs(20), 0);
        let group = groups.get_mut(n).unwrap();
        let row = |k: u32| -> Vec<f64> {
            (0..20u32)
                .map(|i| if i == 7 && k.is_multiple_of(5) { stale_nan() } else { f64::from(i * k) / 3.0 })
                .collect()
        };
        let mut head = Vec::new();
        put_group(&mut head, group);
        let written: Vec<Vec<u8>> = (0..150)
            .map(|k| {
                let mut out = Vec::new();
                put_row(&mut out, group, i64::from(k) * 1000, &row(k));
                out
            })
            .collect();
        for lost in [None, Some(10)] {
            let mut reader = RowReader::default();
            let ids = reader.group(&mut Reader::new(&head)).unwrap().1;
            assert_eq!((ids.len(), ids[1]), (20, 8));
            for (k, bytes) in written.iter().enumerate().filter(|(k, _)| lost != Some(*k)) {
                let found = reader.row(&mut Reader::new(bytes)).unwrap();
                assert_eq!(found.at, k as i64 * 1000);
                let gone = lost.is_some_and(|l| k > l && k < 64);
                let bits = found.values.map(|v| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>());
                let expected = (!gone).then(|| row(k as u32).iter().map(|v| v.to_bits()).collect::<Vec<_>>());
                assert_eq!(bits, expected, "row {k} without {lost:?}");
            }
        }
    }

    #[test]
    fn a_row_of_which_little_changed_takes_few_bytes() {
        let mut groups = Groups::default();
        let n = groups.add(&refs(1000), 0);
        let group = groups.get_mut(n).unwrap();
        let row = |k: u32| -> Vec<f64> {
            (0..1000u32).map(|i| if i % 2 == 0 { 0.3 } else { f64::from(i * 1000 + k) }).collect()
        };
        let mut out = Vec::new();
        put_row(&mut out, group, 0, &row(0));
        out.clear();
        put_row(&mut out, group, 15_000, &row(1));
        assert!(out.len() < 2_200, "{} bytes for 1000 samples, half of which changed", out.len());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = RowReader::default();
            let _ = reader.group(&mut Reader::new(&bytes));
            for group in 0..4 {
                reader.groups.insert(group, Known { ids: vec![1; 9], base: vec![0; 9], next: Some(1) });
            }
            let _ = reader.row(&mut Reader::new(&bytes));
        }
    }
}
