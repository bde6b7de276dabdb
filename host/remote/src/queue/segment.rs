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

/// Does a whole record follow the broken one at `offset`? Then that one was not torn: nothing is written behind a torn one.
pub(super) fn has_record_after(bytes: &[u8], offset: usize) -> bool {
    let length = bytes.get(offset..).and_then(<[u8]>::first_chunk::<4>).map(|l| u32::from_le_bytes(*l) as usize);
    length.is_some_and(|l| matches!(next(bytes, offset.saturating_add(FRAME_BYTES + l)), Next::Record(..)))
}

/// How many bytes from the beginning are whole records.
pub(super) fn whole_bytes(bytes: &[u8]) -> usize {
    let mut offset = HEADER_BYTES as usize;
    while let Next::Record(_, after) = next(bytes, offset) {
        offset = after;
    }
    offset
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
    fn names_are_in_the_order_of_their_numbers() {
        let file = path(Path::new("/q"), 41);
        assert_eq!(number(file.file_name().and_then(|n| n.to_str()).unwrap_or_default()), Some(41));
        assert_eq!(number("position"), None);
        assert!(path(Path::new("/q"), 9) < path(Path::new("/q"), 10));
    }
}
