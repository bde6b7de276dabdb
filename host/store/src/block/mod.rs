//! Blocks: immutable files of chunks with their own index. Byte by byte in `docs/formats/store.md`.
//!
//! Invariant: a file with a block's name is whole (it is written under another name, synced, then renamed); each part
//! of it stands under a checksum that is looked at before the part is used.
//! Not here: when blocks are made, merged or deleted (`maintain`, `compact`, `expire`).

mod coarse;
mod cut;
pub mod folder;
mod gone;
mod index;
mod output;
mod read;
mod room;
mod scan;
mod spill;
mod walk;
mod write;
mod write_index;

use crate::codec::{Corrupt, Reader};

pub use folder::Lost;
pub use gone::{Gone, VERSION as GONE_VERSION};
pub use index::Index;
pub use read::{Block, BlockError, BlockSeries, Carried, Held, ScanError, Times};
pub use room::Room;
pub use walk::Walk;
pub use write::{BlockWriter, Sealed};

/// Of finished blocks.
pub const EXTENSION: &str = "block";
/// Of what was deleted from a block.
pub const GONE: &str = "gone";
/// Of such a file that could not be read.
pub const GONE_DAMAGED: &str = "gone.damaged";
/// Of blocks that are being written.
pub const UNFINISHED: &str = "unfinished";
/// The highest format that this program reads, and the one of downsampled blocks.
pub const VERSION: u32 = 3;
/// The format of all other blocks that this program writes.
const VERSION_PLAIN: u32 = 2;
/// Before version 3 no block was downsampled.
const VERSION_COARSE: u32 = 3;
/// Before version 2 each chunk had times of its own.
const VERSION_SHARED_TIMES: u32 = 2;
/// Samples in a chunk of a block, where there are that many.
pub const CHUNK_SAMPLES: usize = 480;

/// A merge takes over chunks with so many samples as they are: one of a block of two hours is a few samples short of
/// [`CHUNK_SAMPLES`] when a scrape came late.
const CHUNK_CARRIED_MIN: usize = 400;

const MAGIC: &[u8; 8] = b"BELFBLK\n";
const HEADER_BYTES: usize = 12;
/// Footer length, footer checksum, magic.
const TAIL_BYTES: usize = 16;
/// Name, value, offset, length: four bytes each.
const POSTING_BYTES: usize = 16;
/// Of a column of times: offset (8), length, count (4 each), first, last time (8 each).
const TIMES_BYTES: usize = 32;

/// What a block says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockMeta {
    /// Time of the first sample.
    pub min: i64,
    /// Time of the last sample.
    pub max: i64,
    /// How many samples.
    pub samples: u64,
    /// 0 when written from the head, one more with each merge.
    pub level: u32,
    /// The write-ahead log's generations up to this one are in blocks.
    pub wal_generation: u64,
    /// It has what came late of the log's generations up to this one, and was written ahead of the block that has the
    /// rest and says so. Without that block all of it is in the log. 0 for other blocks.
    pub ahead_of: u64,
    /// Where two blocks have a sample at one time, that of the lower rank stands: it was there first. The number of the
    /// oldest block that went into this one.
    pub rank: u64,
    /// The blocks that this one takes the place of.
    pub replaces: Vec<u64>,
    /// Width of the buckets that it was downsampled to, in milliseconds; 0 when it has every sample.
    pub resolution: i64,
}

/// A part of the file under one checksum.
#[derive(Clone, Copy, Debug, Default)]
struct Section {
    offset: u64,
    len: u64,
    crc: u32,
}

#[derive(Debug)]
struct Footer {
    meta: BlockMeta,
    symbols: Section,
    series: Section,
    postings: Section,
    /// Empty before version 2.
    times: Section,
}

impl Footer {
    fn write(&self, out: &mut Vec<u8>) {
        let version = if self.meta.resolution > 0 { VERSION_COARSE } else { VERSION_PLAIN };
        out.extend_from_slice(&version.to_le_bytes());
        for s in [self.symbols, self.series, self.postings, self.times] {
            out.extend_from_slice(&s.offset.to_le_bytes());
            out.extend_from_slice(&s.len.to_le_bytes());
            out.extend_from_slice(&s.crc.to_le_bytes());
        }
        let m = &self.meta;
        for v in [m.min as u64, m.max as u64, m.samples, m.wal_generation, m.rank] {
            out.extend_from_slice(&v.to_le_bytes());
        }
        out.extend_from_slice(&m.level.to_le_bytes());
        out.extend_from_slice(&(m.replaces.len() as u32).to_le_bytes());
        for id in &m.replaces {
            out.extend_from_slice(&id.to_le_bytes());
        }
        match (m.resolution, m.ahead_of) {
            (0, 0) => {}
            (0, generation) => out.extend_from_slice(&generation.to_le_bytes()),
            (resolution, _) => out.extend_from_slice(&resolution.to_le_bytes()),
        }
    }

    /// Reads the footer of block `id`, a file of format `version`.
    fn read(bytes: &[u8], version: u32, id: u64) -> Result<Self, Corrupt> {
        let mut r = Reader::new(bytes);
        let shared_times = version >= VERSION_SHARED_TIMES;
        if shared_times && r.u32()? != version {
            return Err(Corrupt("header and footer name different versions"));
        }
        let mut section =
            || -> Result<Section, Corrupt> { Ok(Section { offset: r.u64()?, len: r.u64()?, crc: r.u32()? }) };
        let (symbols, series, postings) = (section()?, section()?, section()?);
        let times = if shared_times { section()? } else { Section::default() };
        let (min, max, samples, wal_generation) = (r.u64()? as i64, r.u64()? as i64, r.u64()?, r.u64()?);
        let rank = if shared_times { r.u64()? } else { id };
        let level = r.u32()?;
        let mut replaces = Vec::new();
        for _ in 0..r.u32()? {
            replaces.push(r.u64()?);
        }
        let resolution = if version >= VERSION_COARSE { r.u64()? as i64 } else { 0 };
        if version >= VERSION_COARSE && resolution <= 0 {
            return Err(Corrupt("a downsampled block lacks its resolution"));
        }
        let ahead_of = if version == VERSION_PLAIN && !r.is_empty() { r.u64()? } else { 0 };
        let meta = BlockMeta { min, max, samples, level, wal_generation, ahead_of, rank, replaces, resolution };
        Ok(Self { meta, symbols, series, postings, times })
    }
}

/// Where a chunk is and what it spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkPlace {
    /// Time of the first sample.
    pub min: i64,
    /// Time of the last sample.
    pub max: i64,
    /// How many samples.
    pub count: u32,
    offset: u64,
    len: u32,
    /// The number of its column of times; not used before version 2.
    times: u32,
    /// Whose it is.
    series: u32,
}

/// The file name of block `id`.
pub fn file_name(id: u64, extension: &str) -> String {
    format!("{id:010}.{extension}")
}

/// The number in the name of a finished block.
pub fn parse_name(name: &str) -> Option<u64> {
    name.strip_suffix(EXTENSION)?.strip_suffix('.')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use belfry_model::{Labels, Matcher, SampleBuf, TimeRange, TimestampMs};

    use super::*;
    use crate::disk::{Disk, SimDisk};
    use crate::index::resolve;
    use crate::values::Effort;

    fn labels(i: u32) -> Labels {
        Labels::from_pairs([("__name__", "m".to_owned()), ("i", format!("{i:03}"))])
    }

    fn written(disk: &SimDisk) -> Block {
        let dir = Path::new("/b");
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let mut w = BlockWriter::create(disk.clone(), dir, 4, Effort::Small, 0).unwrap();
        for i in 0..50 {
            let mut buf = SampleBuf::default();
            (0..1500).for_each(|t| buf.push_float(t * 10, (t * i64::from(i)) as f64));
            w.add(&labels(i), &buf).unwrap();
        }
        w.seal(BlockMeta { wal_generation: 3, ..BlockMeta::default() }).unwrap().publish().unwrap()
    }

    #[test]
    fn a_block_finds_and_reads_its_series() {
        let disk = SimDisk::default();
        written(&disk);
        let block = Block::open(&disk, Path::new("/b/0000000004.block"), 4).unwrap();
        assert_eq!((block.meta().min, block.meta().max, block.meta().samples), (0, 14_990, 75_000));
        assert_eq!(block.find(&labels(17)).unwrap(), Some(17));
        assert_eq!(block.find(&labels(77)).unwrap(), None);
        let hit = resolve(&block, &["i=~\"01.\"".parse::<Matcher>().unwrap()]).unwrap();
        assert_eq!(hit.into_iter().collect::<Vec<_>>(), (10..20).collect::<Vec<_>>());
        let series = block.series(12).unwrap();
        assert_eq!(series.labels, labels(12));
        assert_eq!(series.chunks.iter().map(|c| c.count).sum::<u32>(), 1500);
        assert!(series.chunks.iter().all(|c| c.count >= CHUNK_SAMPLES as u32) && series.chunks.len() > 1);
        assert!(series.chunks.iter().zip(block.series(13).unwrap().chunks).all(|(a, b)| a.times == b.times), "shared");
        let mut buf = SampleBuf::default();
        for c in &series.chunks {
            block.decode(c, TimeRange::ALL, &mut buf).unwrap();
        }
        assert_eq!((buf.len(), buf.floats[1499]), (1500, 1499.0 * 12.0));
        let mut part = SampleBuf::default();
        let range = TimeRange::new(TimestampMs(995), TimestampMs(1010)).unwrap();
        block.decode(&series.chunks[0], range, &mut part).unwrap();
        assert_eq!((part.times, part.floats), (vec![1000], vec![1200.0]));
    }

    #[test]
    fn every_flipped_byte_is_noticed_and_none_panics() {
        let disk = SimDisk::default();
        written(&disk);
        let file = Path::new("/b/0000000004.block");
        let len = disk.read(file).unwrap().len();
        for at in (0..len).step_by(41) {
            let disk = disk.killed();
            disk.tamper(file, |b| b[at] ^= 0x20);
            let Ok(block) = Block::open(&disk, file, 4) else { continue };
            let mut buf = SampleBuf::default();
            let read_all = (0..block.len()).try_for_each(|i| {
                block.series(i)?.chunks.iter().try_for_each(|c| {
                    buf.clear();
                    block.decode(c, TimeRange::ALL, &mut buf)
                })
            });
            let searched = resolve(&block, &[Matcher::equal("i", "012")]).map(|_| ());
            assert!(read_all.and(searched).is_err(), "byte {at} of {len}");
        }
    }
}
