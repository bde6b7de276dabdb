//! Reads a block where it lies: opening one costs a look at its footer, its index is read when it is first needed and
//! given back when nobody has asked for a while.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use belfry_model::read::ReadError;
use belfry_model::{Labels, SampleBuf, TimeRange};
use parking_lot::{Mutex, RwLock};
use roaring::RoaringBitmap;

use super::gone::Gone;
use super::index::{self, Index};
use super::room::{Place, Room};
use super::scan::Scan;
use super::walk::{self, Walk};
use super::{
    BlockMeta, CHUNK_CARRIED_MIN, ChunkPlace, Footer, GONE, GONE_DAMAGED, HEADER_BYTES, MAGIC, Section, TAIL_BYTES,
    VERSION, VERSION_COARSE, VERSION_SHARED_TIMES, coarse,
};
use crate::chunk::{self, or_nothing, read_beside, read_deltas, trim};
use crate::codec::{Corrupt, Reader};
use crate::config::Damage;
use crate::disk::{Disk, DiskRead, is_of_medium};
use crate::downsample::Want;
use crate::index::Postings;
use crate::values::ValueDecoder;

/// So many damaged places are remembered; further ones are neither logged nor counted.
const DAMAGED_MAX: usize = 1 << 10;
/// Decoded columns of times that an open block keeps: a scan in order of labels comes back to those of the other targets
/// before it is done with one. About 1 MB.
const TIMES_KEPT: usize = 128;

/// An open block.
pub struct Block {
    id: u64,
    path: PathBuf,
    file: Arc<dyn DiskRead>,
    version: u32,
    footer: Footer,
    held: Place<Held>,
    /// While the index is read.
    reading: Mutex<()>,
    room: OnceLock<Arc<Room<Held>>>,
    times: RwLock<Option<Arc<Times>>>,
    /// Has the index been asked for since [`Block::rest`]?
    used: AtomicBool,
    gone: RwLock<Arc<Gone>>,
    /// Why deletions may be undone: their file cannot be read.
    lost_deletions: Option<String>,
    /// The first damage that was met.
    damage: OnceLock<String>,
    /// What is wrong with the index.
    lost_index: OnceLock<String>,
    /// Where damage was met: each place is logged once.
    damaged: Mutex<BTreeSet<Damaged>>,
}

/// A damaged part.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Damaged {
    Index,
    /// Where it begins.
    Chunk(u64),
}

/// What is kept in memory while the block is read.
pub struct Held {
    index: Index,
}

/// The columns of times of a block.
pub struct Times {
    /// The section of the index.
    bytes: Vec<u8>,
    decoded: [Mutex<Option<Column>>; TIMES_KEPT],
}

impl Times {
    /// Of this section.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, decoded: [const { Mutex::new(None) }; TIMES_KEPT] }
    }

    /// The section of the index.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The times and the bytes of a chunk.
pub type Carried = (Arc<[i64]>, Vec<u8>);

/// A decoded column of times and its number.
type Column = (u32, Arc<[i64]>);

/// A series of a block.
#[derive(Clone, Debug)]
pub struct BlockSeries {
    /// Its labels.
    pub labels: Labels,
    /// Its chunks, in order of time.
    pub chunks: Vec<ChunkPlace>,
}

/// Why a block cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// The system refused.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// It is not what was written.
    #[error("{0}")]
    Damaged(#[from] Corrupt),
    /// A newer Belfry wrote it.
    #[error("format version {0} is newer than this Belfry")]
    Version(u32),
    /// A newer Belfry wrote what was deleted from it.
    #[error("format version {0} of what was deleted is newer than this Belfry")]
    VersionOfGone(u32),
}

/// Why a part of a block cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum PartError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Damaged(#[from] Corrupt),
}

/// Why a scan of series ends early.
pub enum ScanError {
    /// What was read is not what was written.
    Damaged(Corrupt),
    /// Whoever reads wants no more.
    Stopped(ReadError),
}

impl From<Corrupt> for ScanError {
    fn from(e: Corrupt) -> Self {
        Self::Damaged(e)
    }
}

#[derive(Default)]
struct Scratch {
    bytes: Vec<u8>,
    values: ValueDecoder,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Block {
    /// Opens a finished block, and what was deleted from it.
    pub fn open(disk: &dyn Disk, path: &Path, id: u64) -> Result<Self, BlockError> {
        let file = disk.open_read(path)?;
        let not_whole = Corrupt("the file is not a whole block");
        let end = file.size().checked_sub(TAIL_BYTES as u64).filter(|e| *e >= HEADER_BYTES as u64).ok_or(not_whole)?;
        let (mut header, mut tail) = ([0; HEADER_BYTES], [0; TAIL_BYTES]);
        file.read_at(0, &mut header)?;
        file.read_at(end, &mut tail)?;
        if header[..8] != *MAGIC || tail[TAIL_BYTES - 8..] != *MAGIC {
            return Err(not_whole.into());
        }
        let version = Reader::new(&header[8..]).u32()?;
        let mut tail = Reader::new(&tail);
        let (len, crc) = (u64::from(tail.u32()?), tail.u32()?);
        let start = end.checked_sub(len).ok_or(Corrupt("the footer is longer than the file"))?;
        let mut footer = vec![0; len as usize];
        file.read_at(start, &mut footer)?;
        let intact = crc32fast::hash(&footer) == crc;
        if version > VERSION {
            // The footer says it again, under a checksum.
            let said = Reader::new(&footer).u32().is_ok_and(|v| v != version);
            return Err(match intact && said {
                true => Corrupt("header and footer name different versions").into(),
                false => BlockError::Version(version),
            });
        }
        if !intact {
            return Err(Corrupt("the footer's checksum does not match").into());
        }
        let footer = Footer::read(&footer, version, id)?;
        let (gone, lost_deletions) = deletions(disk, path)?;
        let damage = OnceLock::new();
        if let Some(why) = &lost_deletions {
            // A merge would write for good what was deleted.
            let _ = damage.set(why.clone());
        }
        Ok(Self {
            id,
            path: path.to_owned(),
            file,
            version,
            footer,
            held: Place::default(),
            reading: Mutex::default(),
            room: OnceLock::new(),
            times: RwLock::new(None),
            used: AtomicBool::new(false),
            gone: RwLock::new(Arc::new(gone)),
            lost_deletions,
            damage,
            lost_index: OnceLock::new(),
            damaged: Mutex::default(),
        })
    }

    /// First and last time of a block that cannot be opened, where its footer is whole: its header is damaged, or the
    /// last bytes are.
    pub fn span_of_damaged(disk: &dyn Disk, path: &Path, id: u64) -> Option<(i64, i64)> {
        let file = disk.open_read(path).ok()?;
        let end = file.size().checked_sub(TAIL_BYTES as u64)?;
        let mut tail = [0; TAIL_BYTES];
        file.read_at(end, &mut tail).ok()?;
        let mut tail = Reader::new(&tail);
        let (len, crc) = (u64::from(tail.u32().ok()?), tail.u32().ok()?);
        let start = end.checked_sub(len)?;
        let mut footer = vec![0; len as usize];
        file.read_at(start, &mut footer).ok()?;
        if crc32fast::hash(&footer) != crc {
            return None;
        }
        // Version 1 does not say it here; in its place stands where the symbols begin, behind the header.
        let version = Reader::new(&footer).u32().ok().filter(|v| (VERSION_SHARED_TIMES..=VERSION).contains(v));
        let meta = Footer::read(&footer, version.unwrap_or(1), id).ok()?.meta;
        (meta.min <= meta.max).then_some((meta.min, meta.max))
    }

    /// Shares `room` for indexes with others from now on.
    pub fn share(&self, room: &Arc<Room<Held>>) {
        // The first one stays.
        let _ = self.room.set(room.clone());
    }

    /// Its number: later blocks have higher ones.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says of itself.
    pub fn meta(&self) -> &BlockMeta {
        &self.footer.meta
    }

    /// Length of the file.
    pub fn bytes(&self) -> u64 {
        self.file.size()
    }

    /// Does it hold samples of this range?
    pub fn overlaps(&self, range: TimeRange) -> bool {
        self.meta().min < range.end().0 && self.meta().max >= range.start().0
    }

    /// How many series. 0 when the index is damaged; reading says so.
    pub fn len(&self) -> u32 {
        self.held().ok().and_then(|h| h.index.len().ok()).unwrap_or(0)
    }

    /// The first damage that was met, after a look at the whole index, which is not held for it.
    pub fn damage(&self) -> Option<&str> {
        if self.damage.get().is_none() && self.held.read().is_none() {
            let f = &self.footer;
            let mut sections = [f.symbols, f.series, f.postings, f.times].into_iter();
            if let Err(e) = sections.try_for_each(|s| walk::check(&*self.file, s, |_| {})) {
                self.index_damaged(&e);
            }
        }
        self.noticed()
    }

    /// The first damage that was met so far.
    pub fn noticed(&self) -> Option<&str> {
        self.damage.get().map(String::as_str)
    }

    /// How many parts were found damaged since it was opened.
    pub fn damaged_parts(&self) -> usize {
        self.damaged.lock().len()
    }

    /// Why deletions may be undone, if they may.
    pub fn lost_deletions(&self) -> Option<&str> {
        self.lost_deletions.as_deref()
    }

    /// What is wrong with the index, if that was met: none of its series can be found.
    pub fn lost_index(&self) -> Option<&str> {
        self.lost_index.get().map(String::as_str)
    }

    /// What was deleted from it.
    pub fn gone(&self) -> Arc<Gone> {
        self.gone.read().clone()
    }

    /// Reads leave this out from now on.
    pub fn set_gone(&self, gone: Gone) {
        *self.gone.write() = Arc::new(gone);
    }

    /// Gives back the index's memory when nobody has asked for it since the last call.
    pub fn rest(&self) {
        if !self.used.swap(false, Relaxed) {
            *self.held.write() = None;
            *self.times.write() = None;
        }
    }

    /// Is the index in memory?
    #[cfg(test)]
    pub fn is_held(&self) -> bool {
        self.held.read().is_some()
    }

    /// The series with this number, below [`Block::len`]. Chunks of which everything was deleted are left out.
    pub fn series(&self, i: u32) -> Result<BlockSeries, ReadError> {
        let mut series = self.held()?.index.series(i).map_err(|e| self.damaged(e))?;
        let gone = self.gone.read();
        if !gone.is_empty() {
            series.chunks.retain(|c| !gone.covers(i, c.min, c.max));
        }
        Ok(series)
    }

    /// Hands each of these series to `visit`, in order: its labels are in the scan, its chunks within `range` in `chunks`,
    /// from the first place to before the second. Those without such chunks are left out.
    pub fn scan(
        &self,
        ids: &RoaringBitmap,
        range: TimeRange,
        chunks: &mut Vec<ChunkPlace>,
        mut visit: impl FnMut(&mut Scan<'_>, usize, usize) -> Result<(), ScanError>,
    ) -> Result<(), ReadError> {
        let held = self.held()?;
        let gone = self.gone();
        let mut scan = Scan::new(&held.index).map_err(|e| self.damaged(e))?;
        for i in ids {
            let from = chunks.len();
            scan.read(i, chunks).map_err(|e| self.damaged(e))?;
            let mut kept = from;
            for at in from..chunks.len() {
                let c = chunks[at];
                if c.min < range.end().0 && c.max >= range.start().0 && !gone.covers(i, c.min, c.max) {
                    chunks[kept] = c;
                    kept += 1;
                }
            }
            chunks.truncate(kept);
            if kept > from {
                visit(&mut scan, from, kept).map_err(|e| match e {
                    ScanError::Damaged(e) => self.damaged(e),
                    ScanError::Stopped(e) => e,
                })?;
            }
        }
        Ok(())
    }

    /// The number of the series with these labels.
    pub fn find(&self, labels: &Labels) -> Result<Option<u32>, ReadError> {
        self.held()?.index.find(labels).map_err(|e| self.damaged(e))
    }

    /// Appends the samples of a chunk within `range` to `into`, without those that were deleted.
    pub fn decode(&self, place: &ChunkPlace, range: TimeRange, into: &mut SampleBuf) -> Result<(), ReadError> {
        self.decode_for(Want::Plain, place, range, into)
    }

    /// [`Block::decode`] for a reader that may know of segments.
    pub fn decode_for(
        &self,
        want: Want,
        place: &ChunkPlace,
        range: TimeRange,
        into: &mut SampleBuf,
    ) -> Result<(), ReadError> {
        if self.version >= VERSION_COARSE {
            return self.decode_coarse(want, place, range, into);
        }
        let start = into.len();
        let outcome = or_nothing(into, |into| {
            SCRATCH.with_borrow_mut(|scratch| match self.version {
                1 => self.decode_1(place, range, scratch, into),
                _ => self.decode_2(place, range, scratch, into),
            })
        });
        outcome.map_err(|e| self.chunk_damaged(place, &e))?;
        let gone = self.gone.read();
        if !gone.is_empty() {
            gone.apply(place.series, start, into);
        }
        Ok(())
    }

    fn decode_coarse(
        &self,
        want: Want,
        place: &ChunkPlace,
        range: TimeRange,
        into: &mut SampleBuf,
    ) -> Result<(), ReadError> {
        let chunk = SCRATCH.with_borrow_mut(|scratch| self.read_coarse(want, place, scratch));
        let chunk = chunk.map_err(|e| self.chunk_damaged(place, &e))?;
        coarse::select(&chunk, &self.gone.read(), place.series, want, range, into);
        Ok(())
    }

    fn read_coarse(&self, want: Want, place: &ChunkPlace, scratch: &mut Scratch) -> Result<SampleBuf, PartError> {
        let times = self.times(place.times, &mut scratch.bytes)?;
        let mut r = Reader::new(self.checked(place.offset, place.len, &mut scratch.bytes)?);
        let mut chunk = SampleBuf { times: times.to_vec(), ..SampleBuf::default() };
        let flags = r.u8()?;
        scratch.values.read(&mut r, flags >> 4, times.len(), &mut chunk.floats)?;
        read_beside(&mut r, flags, 0, times.len(), &mut chunk)?;
        if flags & coarse::HAS_SEGMENTS == 0 {
            return Err(Corrupt("a chunk of a downsampled block has no segments").into());
        }
        coarse::read(&mut r, want, &mut scratch.values, &mut chunk)?;
        chunk.coarse.resolution_ms = self.meta().resolution;
        Ok(chunk)
    }

    /// Reads everything, the index and each chunk that is not deleted, and adds what is not as it was written to `found`.
    /// Where the index is damaged nobody can tell which chunks there are.
    pub fn verify(&self, found: &mut Vec<Damage>) {
        let mut add = |offset: u64, what: String| found.push(Damage { file: self.path.clone(), offset, what });
        if let Some(why) = &self.lost_deletions {
            add(0, format!("what was deleted from it may be back: {why}"));
        }
        let f = &self.footer;
        let parts = [("labels", f.symbols), ("series", f.series), ("postings", f.postings), ("times", f.times)];
        let mut is_whole = true;
        for (name, section) in parts {
            if let Err(e) = walk::check(&*self.file, section, |_| {}) {
                add(section.offset, format!("the index of {name}: {e}"));
                is_whole = false;
            }
        }
        if !is_whole {
            return;
        }
        let mut columns = BTreeSet::new();
        let mut read_all = || -> Result<(), ReadError> {
            let mut walk = self.walk()?;
            let mut buf = SampleBuf::default();
            while let Some(series) = walk.next()? {
                for place in &series.chunks {
                    buf.clear();
                    if let Err((offset, e)) = self.verify_chunk(place, &mut buf)
                        && (offset == place.offset || columns.insert(offset))
                    {
                        add(offset, format!("{e}, of {}", series.labels));
                    }
                }
            }
            Ok(())
        };
        if let Err(e) = read_all() {
            add(f.series.offset, e.to_string());
        }
    }

    /// Reads a chunk into `buf`, which is empty; where not, yields where what is damaged begins.
    fn verify_chunk(&self, place: &ChunkPlace, buf: &mut SampleBuf) -> Result<(), (u64, PartError)> {
        SCRATCH.with_borrow_mut(|scratch| {
            if self.version >= VERSION_SHARED_TIMES
                && let Err(e) = self.times(place.times, &mut scratch.bytes)
            {
                let column = self.times_table().ok().and_then(|t| index::times(t.bytes(), place.times).ok());
                return Err((column.map_or(place.offset, |c| c.offset), e));
            }
            let read = match self.version {
                1 => self.decode_1(place, TimeRange::ALL, scratch, buf),
                v if v >= VERSION_COARSE => self.read_coarse(Want::Plain, place, scratch).map(drop),
                _ => self.decode_2(place, TimeRange::ALL, scratch, buf),
            };
            read.map_err(|e| (place.offset, e))
        })
    }

    fn decode_1(
        &self,
        place: &ChunkPlace,
        range: TimeRange,
        scratch: &mut Scratch,
        into: &mut SampleBuf,
    ) -> Result<(), PartError> {
        let bytes = self.checked(place.offset, place.len, &mut scratch.bytes)?;
        Ok(chunk::decode(bytes, range, into)?)
    }

    fn decode_2(
        &self,
        place: &ChunkPlace,
        range: TimeRange,
        scratch: &mut Scratch,
        into: &mut SampleBuf,
    ) -> Result<(), PartError> {
        let times = self.times(place.times, &mut scratch.bytes)?;
        let mut r = Reader::new(self.checked(place.offset, place.len, &mut scratch.bytes)?);
        let flags = r.u8()?;
        let (start, n) = (into.len(), times.len());
        into.times.extend_from_slice(&times);
        scratch.values.read(&mut r, flags >> 4, n, &mut into.floats)?;
        read_beside(&mut r, flags, start, n, into)?;
        trim(into, start, range);
        Ok(())
    }

    /// A chunk as another block can take it over: its times and its bytes, checked. `None` where it is better written
    /// anew: it is small, of an older format, was written in haste, or something of its series was deleted.
    pub fn to_carry(&self, place: &ChunkPlace) -> Result<Option<Carried>, ReadError> {
        let quick = self.meta().level == 0 && self.meta().resolution == 0;
        let hasty = self.version < VERSION_SHARED_TIMES || quick;
        if hasty || (place.count as usize) < CHUNK_CARRIED_MIN || self.gone.read().touches(place.series) {
            return Ok(None);
        }
        let read = || -> Result<_, PartError> {
            let mut bytes = Vec::new();
            let times = self.times(place.times, &mut bytes)?;
            let chunk = self.checked(place.offset, place.len, &mut bytes)?.to_vec();
            Ok(Some((times, chunk)))
        };
        read().map_err(|e| self.chunk_damaged(place, &e))
    }

    /// The form of a chunk's values.
    pub fn form(&self, place: &ChunkPlace) -> Option<u8> {
        let mut bytes = Vec::new();
        Some(self.checked(place.offset, place.len, &mut bytes).ok()?.first()? >> 4)
    }

    /// A column of times, decoded once for as long as it is kept.
    fn times(&self, number: u32, bytes: &mut Vec<u8>) -> Result<Arc<[i64]>, PartError> {
        let table = self.times_table()?;
        let slot = &table.decoded[number as usize % TIMES_KEPT];
        if let Some((kept, times)) = &*slot.lock()
            && *kept == number
        {
            return Ok(times.clone());
        }
        let place = index::times(&table.bytes, number)?;
        let n = place.count as usize;
        if n == 0 || n > chunk::CHUNK_SAMPLES_MAX {
            return Err(Corrupt("a chunk's sample count is out of range").into());
        }
        let mut r = Reader::new(self.checked(place.offset, place.len, bytes)?);
        let mut times = Vec::with_capacity(n);
        read_deltas(&mut r, n, &mut times)?;
        let times: Arc<[i64]> = times.into();
        *slot.lock() = Some((number, times.clone()));
        Ok(times)
    }

    /// Reads what stands under a checksum of its own.
    fn checked<'a>(&self, offset: u64, len: u32, bytes: &'a mut Vec<u8>) -> Result<&'a [u8], PartError> {
        let whole = u64::from(len) + 4;
        if offset.checked_add(whole).is_none_or(|end| end > self.file.size()) {
            return Err(Corrupt("a chunk stands outside the file").into());
        }
        bytes.resize(whole as usize, 0);
        self.file.read_at(offset, bytes)?;
        let mut r = Reader::new(bytes);
        let crc = r.u32()?;
        if crc32fast::hash(r.rest()) != crc {
            return Err(Corrupt("a chunk's checksum does not match").into());
        }
        Ok(r.rest())
    }

    fn held(&self) -> Result<Arc<Held>, ReadError> {
        self.try_held().map_err(|e| self.failed(&e))
    }

    fn try_held(&self) -> Result<Arc<Held>, PartError> {
        self.used.store(true, Relaxed);
        if let Some(held) = &*self.held.read() {
            return Ok(held.clone());
        }
        // Two that want it at one time read it once.
        let _reading = self.reading.lock();
        if let Some(held) = &*self.held.read() {
            return Ok(held.clone());
        }
        let f = &self.footer;
        let index = Index {
            version: self.version,
            symbols: self.section(f.symbols)?,
            series: self.section(f.series)?,
            postings: self.section(f.postings)?,
            times: self.times_table()?,
        };
        index.len()?;
        let held = Arc::new(Held { index });
        *self.held.write() = Some(held.clone());
        if let Some(room) = self.room.get() {
            room.enter(&self.held, held.index.bytes());
        }
        Ok(held)
    }

    /// The columns of times, read when they are first needed. A reader of chunks needs nothing else of the index.
    pub(super) fn times_table(&self) -> Result<Arc<Times>, PartError> {
        if let Some(times) = &*self.times.read() {
            return Ok(times.clone());
        }
        let times = Arc::new(Times::new(self.section(self.footer.times)?));
        *self.times.write() = Some(times.clone());
        Ok(times)
    }

    pub(super) fn sections(&self) -> &Footer {
        &self.footer
    }

    pub(super) fn file(&self) -> &dyn DiskRead {
        &*self.file
    }

    pub(super) fn version(&self) -> u32 {
        self.version
    }

    /// All series in order, without holding the index.
    pub fn walk(&self) -> Result<Walk<'_>, ReadError> {
        Walk::new(self).map_err(|e| self.failed(&e))
    }

    /// The bytes of a section of the index.
    pub(super) fn section(&self, s: Section) -> Result<Vec<u8>, PartError> {
        walk::inside(&*self.file, s)?;
        let mut bytes = vec![0; s.len as usize];
        self.file.read_at(s.offset, &mut bytes)?;
        if crc32fast::hash(&bytes) != s.crc {
            return Err(Corrupt("the index's checksum does not match").into());
        }
        Ok(bytes)
    }

    fn damaged(&self, e: Corrupt) -> ReadError {
        self.index_damaged(&e)
    }

    pub(super) fn failed(&self, e: &PartError) -> ReadError {
        self.index_damaged(e)
    }

    fn index_damaged(&self, e: &impl std::fmt::Display) -> ReadError {
        let what = format!("{}: {e}", self.path.display());
        self.lost_index.get_or_init(|| what.clone());
        self.note(Damaged::Index, what)
    }

    fn chunk_damaged(&self, place: &ChunkPlace, e: &PartError) -> ReadError {
        let what = format!("{} at byte {}: {e}", self.path.display(), place.offset);
        self.note(Damaged::Chunk(place.offset), what)
    }

    fn note(&self, place: Damaged, what: String) -> ReadError {
        let mut damaged = self.damaged.lock();
        if damaged.len() < DAMAGED_MAX && damaged.insert(place) {
            tracing::error!("damaged data, the rest is readable: {what}");
        }
        drop(damaged);
        self.damage.get_or_init(|| what.clone());
        ReadError::Damaged(what)
    }
}

/// What is known to be deleted from the block at `path`, and why that may not be all. A file of deletions that cannot be
/// read was set aside under [`GONE_DAMAGED`] ([`super::folder`]): should it become readable, because somebody put a copy
/// there, it counts again. One of a newer version is refused, but not where an older Belfry set it aside.
fn deletions(disk: &dyn Disk, path: &Path) -> Result<(Gone, Option<String>), BlockError> {
    let (mut gone, mut lost) = (Gone::default(), None);
    for extension in [GONE, GONE_DAMAGED] {
        let file = path.with_extension(extension);
        let read = match disk.read(&file) {
            Ok(bytes) => match Gone::newer_version(&bytes).filter(|_| extension == GONE) {
                Some(found) => return Err(BlockError::VersionOfGone(found)),
                None => Gone::from_bytes(&bytes).map_err(|e| e.to_string()),
            },
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) if is_of_medium(&e) => Err(e.to_string()),
            Err(e) => return Err(e.into()),
        };
        match read {
            Ok(more) => gone.join(more),
            Err(why) => lost = Some(format!("{}: {why}", file.display())),
        }
    }
    Ok((gone, lost))
}

impl Postings for Block {
    type Error = ReadError;

    fn all(&self) -> Result<RoaringBitmap, ReadError> {
        let len = self.held()?.index.len().map_err(|e| self.damaged(e))?;
        let mut all = RoaringBitmap::new();
        all.insert_range(0..len);
        Ok(all)
    }

    fn of(&self, name: &str, value: &str) -> Result<RoaringBitmap, ReadError> {
        self.held()?.index.of(name, value).map_err(|e| self.damaged(e))
    }

    fn of_any(&self, name: &str, keep: &mut dyn FnMut(&str) -> bool) -> Result<RoaringBitmap, ReadError> {
        self.held()?.index.of_any(name, keep).map_err(|e| self.damaged(e))
    }
}
