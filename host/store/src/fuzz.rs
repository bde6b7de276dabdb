//! Doors for fuzzers: each takes any bytes, and must neither panic nor use memory beyond what the bytes can hold.
//!
//! Not here: checksums. They stop nearly every mutation, so the doors stand behind them; the file as it is has a door too.

pub mod seeds;

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use belfry_model::{Matcher, SampleBuf, TimeRange};

use crate::block::{Block, Gone, Index, Times};
use crate::chunk;
use crate::codec::Reader;
use crate::disk::{Disk, SimDisk};
use crate::downsample::Want;
use crate::index::resolve;
use crate::values::ValueDecoder;

/// A file as a block.
pub fn block_file(bytes: &[u8]) {
    let (disk, path) = (SimDisk::default(), Path::new("/0000000001.block"));
    let Ok(file) = disk.create(path) else { return };
    if file.append(bytes).is_err() {
        return;
    }
    let Ok(block) = Block::open(&disk, path, 1) else { return };
    read_all(&block);
}

/// The sections of an index: three numbers of two bytes say where the first three end.
pub fn block_index(bytes: &[u8]) {
    for version in [1, 2, 3] {
        let Some(index) = index(bytes, version) else { return };
        for i in 0..index.len().unwrap_or(0).min(100) {
            if let Ok(series) = index.series(i) {
                let _ = index.find(&series.labels);
            }
        }
        let _ = index.of("a", "b");
        let _ = index.of_any("a", &mut |_| true);
    }
}

fn index(bytes: &[u8], version: u32) -> Option<Index> {
    let (ends, rest) = bytes.split_at_checked(6)?;
    let mut ends: Vec<_> =
        ends.chunks_exact(2).map(|e| usize::from(u16::from_le_bytes([e[0], e[1]])).min(rest.len())).collect();
    ends.sort_unstable();
    Some(Index {
        version,
        symbols: rest[..ends[0]].to_vec(),
        series: rest[ends[0]..ends[1]].to_vec(),
        postings: rest[ends[1]..ends[2]].to_vec(),
        times: Arc::new(Times::new(rest[ends[2]..].to_vec())),
    })
}

/// Before a column: its form and how many values it has.
const VALUES_HEAD_BYTES: usize = 3;

/// A chunk's values: the first byte says the form, the next two how many less one.
pub fn values(bytes: &[u8]) {
    let [form, lo, hi, rest @ ..] = bytes else { return };
    let n = (usize::from(*lo) | usize::from(*hi) << 8) % chunk::CHUNK_SAMPLES_MAX + 1;
    let _ = ValueDecoder::default().read(&mut Reader::new(rest), form % 9, n, &mut Vec::new());
}

/// A chunk with times of its own, as version 1 has it and as the head holds it.
pub fn chunk_1(bytes: &[u8]) {
    let _ = chunk::decode(bytes, TimeRange::ALL, &mut SampleBuf::default());
}

/// A note of what was deleted.
pub fn deleted(bytes: &[u8]) {
    if let Ok(gone) = Gone::from_bytes(bytes) {
        assert_eq!(Gone::from_bytes(&gone.to_bytes()).as_ref(), Ok(&gone));
    }
}

/// Which forms of values a block has: a seed should have them all.
pub fn forms(bytes: &[u8]) -> Vec<u8> {
    let (disk, path) = (SimDisk::default(), Path::new("/0000000001.block"));
    let written = disk.create(path).and_then(|f| f.append(bytes));
    let Ok(block) = written.map_err(Into::into).and_then(|()| Block::open(&disk, path, 1)) else { return Vec::new() };
    let chunks = (0..block.len()).filter_map(|i| block.series(i).ok()).flat_map(|s| s.chunks);
    let forms: BTreeSet<u8> = chunks.filter_map(|c| block.form(&c)).collect();
    forms.into_iter().collect()
}

/// Where a block's footer says that the sections of its index are.
fn section_places(block: &[u8]) -> Option<Vec<Range<usize>>> {
    let start = footer_start(block)?;
    let place = |section: usize| {
        let at = start + 4 + section * 20;
        let offset = word(block, at)? as usize;
        Some(offset..offset.checked_add(word(block, at + 8)? as usize)?)
    };
    (0..4).map(place).collect()
}

fn footer_start(block: &[u8]) -> Option<usize> {
    let end = block.len().checked_sub(16)?;
    end.checked_sub(word(block, end)? as usize)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|w| u32::from_le_bytes(*w))
}

fn read_all(block: &Block) {
    for i in 0..block.len() {
        let Ok(series) = block.series(i) else { continue };
        for c in &series.chunks {
            let mut buf = SampleBuf::default();
            for want in [Want::Plain, Want::All] {
                buf.clear();
                if block.decode_for(want, c, TimeRange::ALL, &mut buf).is_ok() {
                    assert_eq!(buf.times.len(), buf.floats.len());
                }
            }
        }
        let _ = block.find(&series.labels);
    }
    let _ = resolve(block, &[Matcher::equal("__name__", "m")]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Makes every checksum of the index right again, so that what is behind them is reached.
    fn mend(bytes: &mut [u8]) -> Option<()> {
        let start = footer_start(bytes)?;
        for (section, place) in section_places(bytes)?.into_iter().enumerate() {
            let at = start + 4 + section * 20 + 16;
            let crc = crc32fast::hash(bytes.get(place)?);
            bytes.get_mut(at..at + 4)?.copy_from_slice(&crc.to_le_bytes());
        }
        let end = bytes.len() - 16;
        let crc = crc32fast::hash(&bytes[start..end]);
        bytes[end + 4..end + 8].copy_from_slice(&crc.to_le_bytes());
        Some(())
    }

    #[test]
    fn the_seed_is_read_whole() {
        for resolution in [0, 60_000] {
            let mut bytes = seeds::block(1000, resolution);
            let before = bytes.clone();
            mend(&mut bytes).unwrap();
            assert_eq!(bytes, before);
            block_file(&bytes);
        }
    }

    proptest! {
        #[test]
        fn a_changed_block_with_right_checksums_never_panics(
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            near_the_end in any::<bool>(),
            resolution in prop_oneof![Just(0), Just(60_000)],
        ) {
            let mut bytes = seeds::block(1000, resolution);
            // The index and the footer are a small part of the file, and the part that is followed.
            let from = if near_the_end { bytes.len() - 600 } else { 0 };
            for (at, value) in changes {
                let at = from + at.index(bytes.len() - from);
                bytes[at] = value;
            }
            let _ = mend(&mut bytes);
            block_file(&bytes);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            for door in [block_file, block_index, values, chunk_1, deleted] {
                door(&bytes);
            }
        }
    }
}
