//! Writes a block, series by series.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use belfry_model::{Labels, SampleBuf};
use hashbrown::HashMap;
use roaring::RoaringBitmap;

use super::{
    Block, BlockMeta, Carried, EXTENSION, Footer, MAGIC, Section, TIMES_BYTES, UNFINISHED, VERSION_COARSE,
    VERSION_PLAIN, coarse, cut, file_name,
};
use crate::chunk::Encoder;
use crate::codec::{Reader, put_ivarint, put_uvarint};
use crate::disk::{Disk, DiskFile};
use crate::values::{Effort, ValueEncoder};

/// Bytes are handed to the disk in pieces of about this size.
const BUFFER_BYTES: usize = 1 << 20;
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
    buffer: Vec<u8>,
    offset: u64,
    encoder: Encoder,
    values: ValueEncoder,
    scratch: Vec<i64>,
    ends: Vec<usize>,
    names: Names,
    /// Of each series: how many labels, their numbers in `names`, and what the index says of its chunks.
    series: Vec<u8>,
    /// Where in `series` each one begins.
    begins: Vec<usize>,
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
        let mut buffer = MAGIC.to_vec();
        let version = if resolution > 0 { VERSION_COARSE } else { VERSION_PLAIN };
        buffer.extend_from_slice(&version.to_le_bytes());
        let offset = buffer.len() as u64;
        Ok(Self {
            disk,
            dir: dir.to_owned(),
            id,
            effort,
            file,
            buffer,
            offset,
            encoder: Encoder::default(),
            values: ValueEncoder::default(),
            scratch: Vec::new(),
            ends: Vec::new(),
            names: Names::default(),
            series: Vec::new(),
            begins: Vec::new(),
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
        put_uvarint(&mut self.series, ends.len() as u64);
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
        self.flush_if_full()
    }

    /// Adds a series whose chunks were written for another block: their times, and their bytes as they are.
    pub fn carry(&mut self, labels: &Labels, chunks: &[Carried]) -> io::Result<()> {
        self.begin_series(labels);
        put_uvarint(&mut self.series, chunks.len() as u64);
        let mut before = Before::default();
        for (times, chunk) in chunks {
            let column = self.put_times(times);
            self.put_chunk(column, times, chunk, &mut before);
        }
        self.flush_if_full()
    }

    fn put_chunk(&mut self, column: u32, times: &[i64], chunk: &[u8], before: &mut Before) {
        let offset = self.put_checked(chunk);
        put_ivarint(&mut self.series, i64::from(column) - before.column);
        put_uvarint(&mut self.series, offset - before.end);
        put_uvarint(&mut self.series, chunk.len() as u64);
        *before = Before { column: i64::from(column), end: self.offset };
        if let (Some(first), Some(last)) = (times.first(), times.last()) {
            self.meta.min = self.meta.min.min(*first);
            self.meta.max = self.meta.max.max(*last);
        }
        self.meta.samples += times.len() as u64;
    }

    fn flush_if_full(&mut self) -> io::Result<()> {
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    fn begin_series(&mut self, labels: &Labels) {
        debug_assert!(self.last.as_ref().is_none_or(|l| l < labels));
        self.last = Some(labels.clone());
        self.begins.push(self.series.len());
        put_uvarint(&mut self.series, labels.len() as u64);
        for l in labels {
            let number = self.names.number(&l.name, &l.value);
            put_uvarint(&mut self.series, u64::from(number));
        }
    }

    /// Nothing was added?
    pub fn is_empty(&self) -> bool {
        self.begins.is_empty()
    }

    /// Writes index and footer and makes everything durable. Of `meta` the times and the sample count are filled in
    /// here, and the rank when it is 0.
    pub fn seal(mut self, meta: BlockMeta) -> io::Result<Sealed> {
        let (symbols, series, postings) = self.index()?;
        let times = [&self.times.count.to_le_bytes()[..], &self.times.bytes].concat();
        let rank = if meta.rank == 0 { self.id } else { meta.rank };
        let footer = Footer {
            symbols: self.section(&symbols)?,
            series: self.section(&series)?,
            postings: self.section(&postings)?,
            times: self.section(&times)?,
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
        self.put(&bytes);
        self.put(&len.to_le_bytes());
        self.put(&crc.to_le_bytes());
        self.put(MAGIC);
        self.flush()?;
        self.file.sync()?;
        Ok(Sealed { disk: self.disk, dir: self.dir, id: self.id })
    }

    /// Removes what was written so far.
    pub fn abort(self) -> io::Result<()> {
        self.disk.remove(&self.dir.join(file_name(self.id, UNFINISHED)))
    }

    fn put(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        self.offset += bytes.len() as u64;
    }

    /// A checksum and what stands under it; yields where.
    fn put_checked(&mut self, bytes: &[u8]) -> u64 {
        let offset = self.offset;
        self.put(&crc32fast::hash(bytes).to_le_bytes());
        self.put(bytes);
        offset
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
        let offset = self.put_checked(&column);
        let number = self.times.add(offset, column.len(), times);
        self.times.remember(hash, number, times);
        number
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

    /// Symbols, series and postings. Series are held by numbers, not by labels: with a million of them that is the
    /// difference between 50 MB and half a gigabyte.
    fn index(&self) -> io::Result<(Vec<u8>, Vec<u8>, Vec<u8>)> {
        let (sorted, rank) = self.names.sorted();
        let symbols = table(sorted.iter(), |s, out| out.extend_from_slice(s.as_bytes()))?;
        let of = |label: u32| {
            let (name, value) = self.names.labels[label as usize];
            (rank[name as usize], rank[value as usize])
        };
        let mut counts = vec![0u32; self.names.labels.len() + 1];
        let ends = self.begins.iter().skip(1).copied().chain([self.series.len()]);
        let entries = self.begins.iter().zip(ends).map(|(from, to)| &self.series[*from..to]);
        let series = table(entries.clone(), |entry, out| {
            let mut r = Reader::new(entry);
            let n = r.uvarint().unwrap_or(0);
            put_uvarint(out, n);
            for label in labels(&mut r, n) {
                counts[label as usize + 1] += 1;
                let (name, value) = of(label);
                put_uvarint(out, u64::from(name));
                put_uvarint(out, u64::from(value));
            }
            out.extend_from_slice(r.rest());
        })?;
        // The series of each label, one label after the other: each ascends, since the series are walked in order.
        for i in 1..counts.len() {
            counts[i] += counts[i - 1];
        }
        let mut at = counts.clone();
        let mut members = vec![0u32; counts.last().map_or(0, |c| *c as usize)];
        for (i, entry) in entries.enumerate() {
            let mut r = Reader::new(entry);
            let n = r.uvarint().unwrap_or(0);
            for label in labels(&mut r, n) {
                let at = &mut at[label as usize];
                members[*at as usize] = i as u32;
                *at += 1;
            }
        }
        let mut order: Vec<u32> = (0..self.names.labels.len() as u32).collect();
        order.sort_unstable_by_key(|l| of(*l));
        let mut keys = small(order.len())?.to_le_bytes().to_vec();
        let mut bitmaps = Vec::new();
        for label in order {
            let (from, to) = (counts[label as usize], counts[label as usize + 1]);
            let members = members[from as usize..to as usize].iter().copied();
            let mut bitmap = RoaringBitmap::from_sorted_iter(members).map_err(io::Error::other)?;
            bitmap.optimize();
            let at = small(bitmaps.len())?;
            bitmap.serialize_into(&mut bitmaps)?;
            let (name, value) = of(label);
            for v in [name, value, at, small(bitmaps.len())? - at] {
                keys.extend_from_slice(&v.to_le_bytes());
            }
        }
        keys.extend_from_slice(&bitmaps);
        Ok((symbols, series, keys))
    }
}

/// Names and values so far, and labels as pairs of them, numbered as they come.
#[derive(Default)]
struct Names {
    symbols: HashMap<Arc<str>, u32>,
    pairs: HashMap<(u32, u32), u32>,
    labels: Vec<(u32, u32)>,
}

impl Names {
    fn number(&mut self, name: &Arc<str>, value: &Arc<str>) -> u32 {
        let pair = (self.symbol(name), self.symbol(value));
        let next = self.labels.len() as u32;
        let number = *self.pairs.entry(pair).or_insert(next);
        if number == next {
            self.labels.push(pair);
        }
        number
    }

    fn symbol(&mut self, s: &Arc<str>) -> u32 {
        if let Some(known) = self.symbols.get(s) {
            return *known;
        }
        let next = self.symbols.len() as u32;
        self.symbols.insert(s.clone(), next);
        next
    }

    /// The symbols in byte order, and where in that each number is.
    fn sorted(&self) -> (Vec<&str>, Vec<u32>) {
        let mut all: Vec<(&str, u32)> = self.symbols.iter().map(|(s, n)| (&**s, *n)).collect();
        all.sort_unstable();
        let mut rank = vec![0; all.len()];
        for (i, (_, n)) in all.iter().enumerate() {
            rank[*n as usize] = i as u32;
        }
        (all.into_iter().map(|(s, _)| s).collect(), rank)
    }
}

impl Sealed {
    /// Gives the file its name: from now on it is a block.
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

/// The label numbers at the front of what `begin_series` wrote.
fn labels<'r>(r: &'r mut Reader<'_>, n: u64) -> impl Iterator<Item = u32> + 'r {
    (0..n).map_while(|_| r.uvarint().ok().map(|v| v as u32))
}

fn small(n: usize) -> io::Result<u32> {
    u32::try_from(n).map_err(|_| io::Error::other("the index of a block would be larger than 4 GiB"))
}

/// A count, the offsets of the entries and of their end, the entries.
fn table<T>(entries: impl Iterator<Item = T>, mut put: impl FnMut(T, &mut Vec<u8>)) -> io::Result<Vec<u8>> {
    let mut offsets = vec![0u32];
    let mut bytes = Vec::new();
    for e in entries {
        put(e, &mut bytes);
        offsets.push(small(bytes.len())?);
    }
    let mut out = Vec::with_capacity(4 + offsets.len() * 4 + bytes.len());
    out.extend_from_slice(&(offsets.len() as u32 - 1).to_le_bytes());
    offsets.iter().for_each(|o| out.extend_from_slice(&o.to_le_bytes()));
    out.extend_from_slice(&bytes);
    Ok(out)
}
