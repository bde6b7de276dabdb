//! Writes a block, series by series.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use belfry_model::{Labels, SampleBuf};
use roaring::RoaringBitmap;

use super::{
    Block, BlockMeta, CHUNK_SAMPLES, ChunkPlace, EXTENSION, Footer, MAGIC, Section, UNFINISHED, VERSION, file_name,
};
use crate::chunk::Encoder;
use crate::codec::{put_ivarint, put_uvarint};
use crate::disk::{Disk, DiskFile};

/// Bytes are handed to the disk in pieces of about this size.
const BUFFER_BYTES: usize = 1 << 20;

/// A block in the making. Dropped before [`BlockWriter::finish`], it leaves a file that the next start removes.
pub struct BlockWriter {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    id: u64,
    file: Arc<dyn DiskFile>,
    buffer: Vec<u8>,
    offset: u64,
    encoder: Encoder,
    series: Vec<(Labels, Vec<ChunkPlace>)>,
    meta: BlockMeta,
}

impl BlockWriter {
    /// Begins block `id` in `dir`.
    pub fn create(disk: Arc<dyn Disk>, dir: &Path, id: u64) -> io::Result<Self> {
        let file = disk.create(&dir.join(file_name(id, UNFINISHED)))?;
        let mut buffer = MAGIC.to_vec();
        buffer.extend_from_slice(&VERSION.to_le_bytes());
        let offset = buffer.len() as u64;
        let meta = BlockMeta { min: i64::MAX, max: i64::MIN, ..BlockMeta::default() };
        let dir = dir.to_owned();
        Ok(Self { disk, dir, id, file, buffer, offset, encoder: Encoder::default(), series: Vec::new(), meta })
    }

    /// Adds a series; their labels must ascend. One without samples is left out.
    pub fn add(&mut self, labels: &Labels, samples: &SampleBuf) -> io::Result<()> {
        debug_assert!(self.series.last().is_none_or(|(l, _)| l < labels));
        let n = samples.len();
        let mut chunks = Vec::with_capacity(n.div_ceil(CHUNK_SAMPLES));
        for from in (0..n).step_by(CHUNK_SAMPLES) {
            let to = (from + CHUNK_SAMPLES).min(n);
            let bytes = self.encoder.encode(samples, from, to);
            let (min, max) = (samples.times[from], samples.times[to - 1]);
            let place =
                ChunkPlace { min, max, count: (to - from) as u32, offset: self.offset, len: bytes.len() as u32 };
            self.put(&crc32fast::hash(&bytes).to_le_bytes());
            self.put(&bytes);
            self.meta.min = self.meta.min.min(min);
            self.meta.max = self.meta.max.max(max);
            self.meta.samples += (to - from) as u64;
            chunks.push(place);
        }
        if !chunks.is_empty() {
            self.series.push((labels.clone(), chunks));
        }
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    /// Writes index and footer, makes everything durable and gives the file its name. Of `meta` the times and the
    /// sample count are filled in here.
    pub fn finish(mut self, meta: BlockMeta) -> io::Result<Block> {
        let (symbols, series, postings) = self.index();
        let footer = Footer {
            symbols: self.section(&symbols)?,
            series: self.section(&series)?,
            postings: self.section(&postings)?,
            meta: BlockMeta { min: self.meta.min, max: self.meta.max, samples: self.meta.samples, ..meta },
        };
        let mut bytes = Vec::new();
        footer.write(&mut bytes);
        let crc = crc32fast::hash(&bytes);
        let len = bytes.len() as u32;
        self.put(&bytes);
        self.put(&len.to_le_bytes());
        self.put(&crc.to_le_bytes());
        self.put(MAGIC);
        self.flush()?;
        self.file.sync()?;
        let path = self.dir.join(file_name(self.id, EXTENSION));
        self.disk.rename(&self.dir.join(file_name(self.id, UNFINISHED)), &path)?;
        self.disk.sync_dir(&self.dir)?;
        Block::open(&*self.disk, &path, self.id).map_err(io::Error::other)
    }

    /// Removes what was written so far.
    pub fn abort(self) -> io::Result<()> {
        self.disk.remove(&self.dir.join(file_name(self.id, UNFINISHED)))
    }

    fn put(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        self.offset += bytes.len() as u64;
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.append(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    fn section(&mut self, bytes: &[u8]) -> io::Result<Section> {
        let section = Section { offset: self.offset, len: bytes.len() as u64, crc: crc32fast::hash(bytes) };
        self.put(bytes);
        self.flush()?;
        Ok(section)
    }

    fn index(&self) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
        let all = self.series.iter().flat_map(|(labels, _)| labels).flat_map(|l| [&*l.name, &*l.value]);
        let sorted: BTreeSet<&str> = all.collect();
        let numbers: HashMap<&str, u32> = sorted.iter().enumerate().map(|(i, s)| (*s, i as u32)).collect();
        let symbols = table(sorted.iter().map(|s| s.as_bytes().to_vec()));
        let mut postings: BTreeMap<(u32, u32), RoaringBitmap> = BTreeMap::new();
        let series = table(self.series.iter().enumerate().map(|(i, (labels, chunks))| {
            let mut entry = Vec::new();
            put_uvarint(&mut entry, labels.len() as u64);
            for l in labels {
                let key = (numbers[&*l.name], numbers[&*l.value]);
                put_uvarint(&mut entry, u64::from(key.0));
                put_uvarint(&mut entry, u64::from(key.1));
                postings.entry(key).or_default().insert(i as u32);
            }
            put_uvarint(&mut entry, chunks.len() as u64);
            let (mut last_max, mut end) = (0i64, 0u64);
            for c in chunks {
                put_ivarint(&mut entry, c.min.wrapping_sub(last_max));
                put_uvarint(&mut entry, c.max.wrapping_sub(c.min) as u64);
                put_uvarint(&mut entry, u64::from(c.count));
                put_uvarint(&mut entry, c.offset.wrapping_sub(end));
                put_uvarint(&mut entry, u64::from(c.len));
                (last_max, end) = (c.max, c.offset + 4 + u64::from(c.len));
            }
            entry
        }));
        let mut keys = (postings.len() as u32).to_le_bytes().to_vec();
        let mut bitmaps = Vec::new();
        for ((name, value), bitmap) in &mut postings {
            bitmap.optimize();
            let at = bitmaps.len() as u32;
            // Writing to memory cannot fail.
            let _ = bitmap.serialize_into(&mut bitmaps);
            for v in [*name, *value, at, bitmaps.len() as u32 - at] {
                keys.extend_from_slice(&v.to_le_bytes());
            }
        }
        keys.extend_from_slice(&bitmaps);
        (symbols, series, keys)
    }
}

/// A count, the offsets of the entries and of their end, the entries.
fn table(entries: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut offsets = vec![0u32];
    let mut bytes = Vec::new();
    for e in entries {
        bytes.extend_from_slice(&e);
        offsets.push(bytes.len() as u32);
    }
    let mut out = (offsets.len() as u32 - 1).to_le_bytes().to_vec();
    offsets.iter().for_each(|o| out.extend_from_slice(&o.to_le_bytes()));
    out.extend_from_slice(&bytes);
    out
}
