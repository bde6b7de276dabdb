//! Doors for fuzzers: each takes any bytes, and must neither panic nor use memory beyond what the bytes can hold.
//!
//! Not here: checksums. They stop nearly every mutation, so the doors stand behind them; the file as it is has a door too.

use std::collections::BTreeSet;
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

/// The sections of an index: the first three bytes say where each ends, in parts of 256 of the rest.
pub fn block_index(bytes: &[u8]) {
    let Some((ends, rest)) = bytes.split_at_checked(3) else { return };
    let mut ends = ends.iter().map(|e| rest.len() * usize::from(*e) / 256).collect::<Vec<_>>();
    ends.sort_unstable();
    for version in [1, 2, 3] {
        let index = Index {
            version,
            symbols: rest[..ends[0]].to_vec(),
            series: rest[ends[0]..ends[1]].to_vec(),
            postings: rest[ends[1]..ends[2]].to_vec(),
            times: Arc::new(Times::new(rest[ends[2]..].to_vec())),
        };
        for i in 0..index.len().unwrap_or(0).min(100) {
            if let Ok(series) = index.series(i) {
                let _ = index.find(&series.labels);
            }
        }
        let _ = index.of("a", "b");
        let _ = index.of_any("a", &mut |_| true);
    }
}

/// A chunk's values: the first byte says the form, the next two how many.
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
    use std::sync::Arc;

    use belfry_model::Labels;
    use belfry_model::TimestampMs;
    use belfry_model::sample::{Histogram, Sample, Value};
    use proptest::prelude::*;

    use super::*;
    use crate::block::{BlockMeta, BlockWriter};
    use crate::downsample::downsample;
    use crate::values::Effort;

    /// A block with every kind of column, downsampled unless the resolution is 0.
    fn seed(resolution: i64) -> Vec<u8> {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::default());
        let mut w = BlockWriter::create(disk.clone(), Path::new("/"), 1, Effort::Small, resolution).unwrap();
        for kind in 0..6u32 {
            let mut buf = SampleBuf::default();
            for i in 0..1000i64 {
                let at = TimestampMs(i * 15_000);
                let value = match kind {
                    0 => Value::Float(1.0),
                    1 => Value::Float((i * i) as f64),
                    2 => Value::Float((i as f64).sin()),
                    3 => Value::Float((i / 300) as f64),
                    4 => Value::Float((i * 7919 % 31) as f64 / 10.0),
                    _ if i > 20 => break,
                    _ => Value::Histogram(Arc::new(Histogram { count: i as f64, ..Histogram::default() })),
                };
                buf.push(&Sample { at, value, start: (kind == 4).then_some(TimestampMs(5)) });
            }
            let labels = Labels::from_pairs([("__name__", "m".to_owned()), ("kind", kind.to_string())]);
            if resolution > 0 {
                let all = std::mem::take(&mut buf);
                downsample(&labels, &all, resolution, &mut buf);
            }
            w.add(&labels, &buf).unwrap();
        }
        w.seal(BlockMeta::default()).unwrap().publish().unwrap();
        disk.read(Path::new("/0000000001.block")).unwrap().to_vec()
    }

    /// Makes every checksum of the index right again, so that what is behind them is reached.
    fn mend(bytes: &mut [u8]) -> Option<()> {
        let word = |b: &[u8], at: usize| b.get(at..at + 4).map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]]));
        let end = bytes.len() - 16;
        let start = end.checked_sub(word(bytes, end)? as usize)?;
        for section in 0..4 {
            let at = start + 4 + section * 20;
            let (offset, len) = (word(bytes, at)? as usize, word(bytes, at + 8)? as usize);
            let crc = crc32fast::hash(bytes.get(offset..offset.checked_add(len)?)?);
            bytes.get_mut(at + 16..at + 20)?.copy_from_slice(&crc.to_le_bytes());
        }
        let crc = crc32fast::hash(&bytes[start..end]);
        bytes[end + 4..end + 8].copy_from_slice(&crc.to_le_bytes());
        Some(())
    }

    #[test]
    fn the_seed_is_read_whole() {
        for resolution in [0, 60_000] {
            let mut bytes = seed(resolution);
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
            let mut bytes = seed(resolution);
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
