//! Files of the queue: a header, then records with length and checksum.
//!
//! Invariant: a record is read whole or not at all.
//! Not here: what a record holds (`record`), which files there are (`Queue`).

use std::io;
use std::path::{Path, PathBuf};

use belfry_store::disk::Disk;

/// What every file of the queue begins with.
const MAGIC: &[u8; 8] = b"BLFYQUE1";
/// Bytes of a file before its first record.
pub(super) const HEADER_BYTES: u64 = MAGIC.len() as u64;
/// Bytes before a record's payload: its length and its CRC-32, both little-endian.
pub(super) const FRAME_BYTES: usize = 8;
/// A record that says it is longer lies.
pub(super) const RECORD_BYTES_MAX: usize = 256 << 20;
const SUFFIX: &str = ".queue";

pub(super) fn header() -> &'static [u8] {
    MAGIC
}

/// The file of segment `number`.
pub(super) fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:012}{SUFFIX}"))
}

/// The number that a file's name says.
pub(super) fn number(name: &str) -> Option<u64> {
    name.strip_suffix(SUFFIX).filter(|n| n.len() == 12)?.parse().ok()
}

/// The payload in its frame.
pub(super) fn frame(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + FRAME_BYTES);
    out.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
    out.extend_from_slice(payload);
    out
}

/// What stands at a place of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<'a> {
    /// A record, and where the next one begins.
    Record(&'a [u8], usize),
    /// Nothing: the bytes end here.
    End,
    /// No whole record with the right checksum.
    Bad,
}

/// The record at `offset` of `bytes`.
pub(super) fn next(bytes: &[u8], offset: usize) -> Next<'_> {
    let rest = bytes.get(offset..).unwrap_or_default();
    let Some((length, after)) = rest.split_first_chunk::<4>() else {
        return if rest.is_empty() { Next::End } else { Next::Bad };
    };
    let Some((crc, after)) = after.split_first_chunk::<4>() else { return Next::Bad };
    let length = u32::from_le_bytes(*length) as usize;
    match after.get(..length) {
        // No record is empty, but zeros would be one: their CRC is right.
        Some(payload)
            if length > 0 && length <= RECORD_BYTES_MAX && crc32fast::hash(payload) == u32::from_le_bytes(*crc) =>
        {
            Next::Record(payload, offset + FRAME_BYTES + length)
        }
        _ => Next::Bad,
    }
}

/// Reads a file from `offset` to its end, or to `end` where that is less.
pub(super) fn read(disk: &dyn Disk, file: &Path, offset: u64, end: Option<u64>) -> io::Result<Vec<u8>> {
    let open = disk.open_read(file)?;
    let end = end.unwrap_or(u64::MAX).min(open.size());
    let length = usize::try_from(end.saturating_sub(offset)).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut bytes = vec![0; length];
    open.read_at(offset, &mut bytes)?;
    Ok(bytes)
}

/// Does a file begin as one of ours?
pub(super) fn is_ours(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// Did not even the header reach the disk? Then nothing of the file was synced.
pub(super) fn is_torn_at_header(bytes: &[u8]) -> bool {
    let same = bytes.iter().zip(MAGIC).take_while(|(a, b)| a == b).count();
    same < MAGIC.len() && bytes.iter().skip(same).all(|b| *b == 0)
}

/// Does a file that does not begin as one of ours hold nothing, or first a record of ours? Later versions are to compute
/// their checksums differently, so that a bit of the version that went bad is not taken for one.
pub(super) fn holds_ours(disk: &dyn Disk, file: &Path) -> bool {
    read(disk, file, 0, None).is_ok_and(|bytes| next(&bytes, HEADER_BYTES as usize) != Next::Bad)
}

/// A version of files that is newer than ours, if the file says so: another Belfry wrote it and can send it.
pub(super) fn newer_version(bytes: &[u8]) -> Option<u8> {
    let (ours, name) = MAGIC.split_last()?;
    let found = bytes.strip_prefix(name)?.first().copied()?;
    (found > *ours && found <= b'9').then(|| found - b'0')
}

/// The version that is written.
pub(super) fn version() -> u8 {
    MAGIC[MAGIC.len() - 1] - b'0'
}

/// Bytes whose checksums are computed in search of a record, at most: what stands in a file may look like many.
const SEARCH_BYTES_MAX: usize = 1 << 30;

/// Where the next whole record begins, behind the broken one at `offset`.
pub(super) fn next_record(bytes: &[u8], offset: usize) -> Option<usize> {
    // As a rule the length is right, and the next one begins where this one ends.
    let behind = length_at(bytes, offset).and_then(|l| offset.checked_add(FRAME_BYTES + l));
    if let Some(behind) = behind.filter(|b| matches!(next(bytes, *b), Next::Record(..))) {
        return Some(behind);
    }
    let mut left = SEARCH_BYTES_MAX;
    (offset + 1..bytes.len().saturating_sub(FRAME_BYTES)).find(|at| {
        let Some(length) = length_at(bytes, *at).filter(|l| *l > 0) else { return false };
        let end = at + FRAME_BYTES + length;
        // Cheap, and nearly always enough: behind a record there is another one or nothing.
        if end > bytes.len() || end < bytes.len() && length_at(bytes, end).is_none() || length > left {
            return false;
        }
        left -= length;
        matches!(next(bytes, *at), Next::Record(..))
    })
}

/// The length of a record at `offset`, if one so long can begin there.
fn length_at(bytes: &[u8], offset: usize) -> Option<usize> {
    let length = u32::from_le_bytes(*bytes.get(offset..)?.first_chunk::<4>()?) as usize;
    (length <= bytes.len().saturating_sub(offset)).then_some(length)
}

/// Where the last whole record ends, whatever stands before it.
pub(super) fn whole_bytes(bytes: &[u8]) -> usize {
    let (mut offset, mut whole) = (HEADER_BYTES as usize, HEADER_BYTES as usize);
    loop {
        match next(bytes, offset) {
            Next::Record(_, after) => (offset, whole) = (after, after),
            Next::End => return whole,
            Next::Bad => match next_record(bytes, offset) {
                Some(found) => offset = found,
                None => return whole,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_whole_or_not_there() {
        let framed = frame(b"hello");
        assert_eq!(next(&framed, 0), Next::Record(b"hello", framed.len()));
        assert_eq!(next(&framed, framed.len()), Next::End);
        for cut in 1..framed.len() {
            assert_eq!(next(&framed[..cut], 0), Next::Bad, "cut at {cut}");
        }
        for at in 0..framed.len() {
            let mut flipped = framed.clone();
            flipped[at] ^= 1;
            assert_eq!(next(&flipped, 0), Next::Bad, "byte {at}");
        }
    }

    #[test]
    fn only_a_digit_above_ours_is_a_newer_version() {
        let newer: Vec<u8> = (0..=255).filter_map(|byte| newer_version(&[b"BLFYQUE", &[byte][..]].concat())).collect();
        assert_eq!(newer, [2, 3, 4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn names_are_in_the_order_of_their_numbers() {
        let file = path(Path::new("/q"), 41);
        assert_eq!(number(file.file_name().and_then(|n| n.to_str()).unwrap_or_default()), Some(41));
        assert_eq!(number("position"), None);
        assert!(path(Path::new("/q"), 9) < path(Path::new("/q"), 10));
    }

    #[test]
    fn behind_a_broken_record_the_next_whole_one_is_found_whatever_byte_is_wrong() {
        let records: Vec<Vec<u8>> = (0..3_u8).map(|n| frame(&[[n].repeat(300), vec![0; 300]].concat())).collect();
        let bytes = records.concat();
        let (first, second) = (records[0].len(), records[0].len() + records[1].len());
        for at in first..second {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            assert_eq!(next(&flipped, first), Next::Bad);
            assert_eq!(next_record(&flipped, first), Some(second), "byte {at}");
        }
        assert_eq!(next_record(&bytes[..second - 1], first), None);
    }
}
