//! Writes a block, series by series.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use belfry_model::{Labels, SampleBuf};
use hashbrown::HashMap;

use super::output::Output;
use super::write_index::SeriesList;
use super::{
    Block, BlockMeta, Carried, EXTENSION, Footer, MAGIC, TIMES_BYTES, UNFINISHED, VERSION_COARSE, VERSION_PLAIN,
    coarse, cut, file_name,
};
use crate::chunk::Encoder;
use crate::codec::{put_ivarint, put_uvarint};
use crate::disk::{Disk, DiskFile};
use crate::values::{Effort, ValueEncoder};

/// Columns of times that later series may share are remembered up to so many bytes; then all are forgotten. 4 million
/// times: 2,700 targets of two hours each.
const TIMES_KNOWN_BYTES_MAX: usize = 32 << 20;

/// A block in the making. Dropped before [`BlockWriter::seal`], it leaves a file that the next start removes.
pub struct BlockWriter {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    id: u64,
    effort: Effort,
    file: Arc<dyn DiskFile>,
    out: Output,
    encoder: Encoder,
    values: ValueEncoder,
    scratch: Vec<i64>,
    ends: Vec<usize>,
    series: SeriesList,
    /// Of the series that is being added.
    entry: Vec<u8>,
    /// Labels that the next series' must be behind.
    last: Option<Labels>,
    times: TimesTable,
    meta: BlockMeta,
    /// See [`BlockMeta::resolution`].
    resolution: i64,
}

/// A block that is written and durable under its first name.
pub struct Sealed {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    id: u64,
}

/// What the index's entry of a chunk is a difference to.
#[derive(Default)]
struct Before {
    column: i64,
    end: u64,
}

/// The columns of times so far.
#[derive(Default)]
struct TimesTable {
    count: u32,
    /// The section of the index.
    bytes: Vec<u8>,
    /// By a hash of their times.
    known: HashMap<u64, (u32, Box<[i64]>)>,
    known_bytes: usize,
}

impl BlockWriter {
    /// Begins block `id` in `dir`; a resolution other than 0 says that its series are downsampled.
    pub fn create(disk: Arc<dyn Disk>, dir: &Path, id: u64, effort: Effort, resolution: i64) -> io::Result<Self> {
        let file = disk.create(&dir.join(file_name(id, UNFINISHED)))?;
        let mut out = Output::new(file.clone());
        out.put(MAGIC);
        let version = if resolution > 0 { VERSION_COARSE } else { VERSION_PLAIN };
        out.put(&version.to_le_bytes());
        let series = SeriesList::new(&disk, dir, id);
        Ok(Self {
            disk,
            dir: dir.to_owned(),
            id,
            effort,
            file,
            out,
            encoder: Encoder::default(),
            values: ValueEncoder::default(),
            scratch: Vec::new(),
            ends: Vec::new(),
            series,
            entry: Vec::new(),
            last: None,
            times: TimesTable::default(),
            meta: BlockMeta { min: i64::MAX, max: i64::MIN, ..BlockMeta::default() },
            resolution,
        })
    }

    /// Adds a series; their labels must ascend. One without samples is left out.
    pub fn add(&mut self, labels: &Labels, samples: &SampleBuf) -> io::Result<()> {
        if samples.is_empty() {
            return Ok(());
        }
        self.begin_series(labels);
        let mut ends = std::mem::take(&mut self.ends);
        cut::cuts(&samples.times, &mut self.scratch, &mut ends);
        if self.resolution > 0 {
            coarse::keep_segments_whole(&samples.coarse.rows, &mut ends);
        }
        put_uvarint(&mut self.entry, ends.len() as u64);
        let (mut from, mut before) = (0, Before::default());
        for to in &ends {
            let times = &samples.times[from..*to];
            let column = self.put_times(times);
            let mut chunk = vec![0];
            let form = self.values.put(&samples.floats[from..*to], self.effort, &mut chunk);
            chunk[0] = form << 4 | self.encoder.put_beside(samples, from, *to, &mut chunk);
            if self.resolution > 0 {
                chunk[0] |= coarse::HAS_SEGMENTS;
                coarse::put(samples, from, *to, self.effort, &mut self.values, &mut chunk);
            }
            self.put_chunk(column, times, &chunk, &mut before);
            from = *to;
        }
        self.ends = ends;
        self.end_series()
    }

    /// Adds a series whose chunks were written for another block: their times, and their bytes as they are.
    pub fn carry(&mut self, labels: &Labels, chunks: &[Carried]) -> io::Result<()> {
        self.begin_series(labels);
        put_uvarint(&mut self.entry, chunks.len() as u64);
        let mut before = Before::default();
        for (times, chunk) in chunks {
            let column = self.put_times(times);
            self.put_chunk(column, times, chunk, &mut before);
        }
        self.end_series()
    }

    fn put_chunk(&mut self, column: u32, times: &[i64], chunk: &[u8], before: &mut Before) {
        let offset = self.out.put_checked(chunk);
        put_ivarint(&mut self.entry, i64::from(column) - before.column);
        put_uvarint(&mut self.entry, offset - before.end);
        put_uvarint(&mut self.entry, chunk.len() as u64);
        *before = Before { column: i64::from(column), end: self.out.offset() };
        if let (Some(first), Some(last)) = (times.first(), times.last()) {
            self.meta.min = self.meta.min.min(*first);
            self.meta.max = self.meta.max.max(*last);
        }
        self.meta.samples += times.len() as u64;
    }

    fn begin_series(&mut self, labels: &Labels) {
        debug_assert!(self.last.as_ref().is_none_or(|l| l < labels));
        self.last = Some(labels.clone());
        self.entry.clear();
        self.series.put_labels(labels, &mut self.entry);
    }

    fn end_series(&mut self) -> io::Result<()> {
        self.series.add(&self.entry)?;
        self.out.flush_if_full()
    }

    /// The block's number.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Nothing was added?
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Writes index and footer and makes everything durable. Of `meta` the times and the sample count are filled in
    /// here, and the rank when it is 0.
    pub fn seal(self, meta: BlockMeta) -> io::Result<Sealed> {
        let (disk, unfinished) = (self.disk.clone(), self.dir.join(file_name(self.id, UNFINISHED)));
        let outcome = self.finish(meta);
        if outcome.is_err() {
            // Where there was no room for all of it, the log needs what the rest takes.
            let _ = disk.remove(&unfinished);
        }
        outcome
    }

    fn finish(mut self, meta: BlockMeta) -> io::Result<Sealed> {
        let sections = self.series.write(&mut self.out)?;
        let mut times = self.out.section();
        times.put_u32(self.times.count)?;
        times.put(&self.times.bytes)?;
        let times = times.end()?;
        let rank = if meta.rank == 0 { self.id } else { meta.rank };
        let footer = Footer {
            symbols: sections.symbols,
            series: sections.series,
            postings: sections.postings,
            times,
            meta: BlockMeta {
                min: self.meta.min,
                max: self.meta.max,
                samples: self.meta.samples,
                rank,
                resolution: self.resolution,
                ..meta
            },
        };
        let mut bytes = Vec::new();
        footer.write(&mut bytes);
        let crc = crc32fast::hash(&bytes);
        let len = bytes.len() as u32;
        self.out.put(&bytes);
        self.out.put(&len.to_le_bytes());
        self.out.put(&crc.to_le_bytes());
        self.out.put(MAGIC);
        self.out.flush()?;
        self.file.sync()?;
        Ok(Sealed { disk: self.disk, dir: self.dir, id: self.id })
    }

    /// Removes what was written so far.
    pub fn abort(self) -> io::Result<()> {
        self.disk.remove(&self.dir.join(file_name(self.id, UNFINISHED)))
    }

    /// The number of a column with these times, written unless one is there.
    fn put_times(&mut self, times: &[i64]) -> u32 {
        let hash = hash(times);
        if let Some((column, known)) = self.times.known.get(&hash)
            && **known == *times
        {
            return *column;
        }
        let mut column = Vec::new();
        self.encoder.put_deltas(times, &mut column);
        let offset = self.out.put_checked(&column);
        let number = self.times.add(offset, column.len(), times);
        self.times.remember(hash, number, times);
        number
    }
}

impl Sealed {
    /// The block's number.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Gives the file its name: from now on it is a block. After an error it may have it, or not.
    pub fn publish(self) -> io::Result<Block> {
        let path = self.dir.join(file_name(self.id, EXTENSION));
        self.disk.rename(&self.dir.join(file_name(self.id, UNFINISHED)), &path)?;
        self.disk.sync_dir(&self.dir)?;
        Block::open(&*self.disk, &path, self.id).map_err(io::Error::other)
    }

    /// Removes the file.
    pub fn discard(self) -> io::Result<()> {
        self.disk.remove(&self.dir.join(file_name(self.id, UNFINISHED)))
    }
}

impl TimesTable {
    fn add(&mut self, offset: u64, len: usize, times: &[i64]) -> u32 {
        let before = self.bytes.len();
        self.bytes.extend_from_slice(&offset.to_le_bytes());
        self.bytes.extend_from_slice(&(len as u32).to_le_bytes());
        self.bytes.extend_from_slice(&(times.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(&times[0].to_le_bytes());
        self.bytes.extend_from_slice(&times[times.len() - 1].to_le_bytes());
        debug_assert_eq!(self.bytes.len() - before, TIMES_BYTES);
        self.count += 1;
        self.count - 1
    }

    fn remember(&mut self, hash: u64, number: u32, times: &[i64]) {
        self.known_bytes += size_of_val(times);
        if self.known_bytes > TIMES_KNOWN_BYTES_MAX {
            self.known.clear();
            self.known_bytes = size_of_val(times);
        }
        self.known.insert(hash, (number, times.into()));
    }
}

/// Only to find candidates: equality is looked at.
fn hash(times: &[i64]) -> u64 {
    const K: u64 = 0x9e37_79b9_7f4a_7c15;
    // Four lanes: one after the other would wait for each multiplication.
    let mut lanes = [times.len() as u64, 1, 2, 3];
    for four in times.chunks(4) {
        for (lane, t) in lanes.iter_mut().zip(four) {
            *lane = (*lane ^ *t as u64).wrapping_mul(K).rotate_left(29);
        }
    }
    lanes.iter().fold(0, |h, l| (h ^ l).wrapping_mul(K).rotate_left(31))
}
