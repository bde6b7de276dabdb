//! Write-ahead log: makes an append durable before it is acknowledged.
//!
//! Invariant: replay yields every acknowledged record, in order, and never part of a record. A torn tail is cut off, also
//! one in which pages were written behind others that were not; damage before it is reported with the file's name, and
//! what follows it is still read. What a later note says was synced is no tail.
//! Not here: what a record says (`record`), queries, retention.
//!
//! Segments are named by generation and number. A generation begins when the process starts and whenever the head is
//! frozen; once a block holds everything that was frozen, the generations before are deleted whole.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::codec::Corrupt;
use crate::config::Damage;
use crate::disk::{Disk, DiskFile, Holes, is_of_medium, read_around};

/// A segment is ended when it has grown to this.
pub const SEGMENT_BYTES_MAX: u64 = 32 << 20;
/// No record is longer; a larger length in a file is damage.
pub const RECORD_BYTES_MAX: usize = 256 << 20;
/// The format that this program writes, and the highest that it reads.
pub const VERSION: u32 = 3;

/// Of a segment that could not be read whole, when everything that could be is in blocks.
const UNREADABLE: &str = "wal.unreadable";
const MAGIC: &[u8; 8] = b"BELFWAL\n";
const HEADER_BYTES: usize = 16;
/// Opens each record, so that reading can go on behind damage.
const MARK: [u8; 4] = [0xbe, 0x1f, 0x0a, 0x17];
/// Opens a note: how much of the segment was synced when it was written.
const NOTE_MARK: [u8; 4] = [0xbe, 0x1f, 0x0a, 0x18];
const FRAME_BYTES: usize = 12;
/// What reaches the platter whole or not at all: pages are multiples of it.
const SECTOR_BYTES: usize = 512;
/// A torn tail is no longer, where records follow what was not written: twice what a fast second takes. A sync comes each
/// second at the latest, and what is before it is no tail.
const TORN_BYTES_MAX: usize = 8 << 20;

/// One file of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its generation.
    pub generation: u64,
    /// Its number within the generation.
    pub number: u64,
    /// Its file.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// The disk did not give all of it: it is never deleted, somebody may yet read what is in it.
    pub unreadable: bool,
}

/// The log as it is written. It stands under one lock.
pub struct Wal {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    sync_at_end: bool,
    segments: Vec<Segment>,
    generation: u64,
    next_number: u64,
    file: Option<Arc<dyn DiskFile>>,
    /// How much of the segment is known to be synced, and how much of that a note says.
    synced: u64,
    noted: u64,
    /// Records that are not in a file yet.
    pending: Vec<u8>,
    /// Generations before this are in blocks.
    covered_before: u64,
    /// Segments were deleted, and a power loss may bring them back.
    is_removal_unsynced: bool,
}

/// A segment as far as it is written at one moment.
pub struct Written {
    file: Arc<dyn DiskFile>,
    generation: u64,
    number: u64,
    bytes: u64,
}

impl Written {
    /// Makes it durable. Needs no lock: more may be written meanwhile.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

impl Wal {
    /// Goes on after `segments`, in a new generation. Nothing is written yet.
    pub fn new(disk: Arc<dyn Disk>, dir: PathBuf, segments: Vec<Segment>, generation: u64, sync_at_end: bool) -> Self {
        Self {
            disk,
            dir,
            sync_at_end,
            segments,
            generation,
            next_number: 0,
            file: None,
            synced: 0,
            noted: 0,
            pending: Vec::new(),
            covered_before: 0,
            is_removal_unsynced: false,
        }
    }

    /// Bytes of the segments of later generations.
    pub fn bytes_behind(&self, generation: u64) -> u64 {
        self.segments.iter().filter(|s| s.generation > generation).map(|s| s.bytes).sum()
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|s| s.bytes).sum()
    }

    /// Bytes of the segments that wait for a block: not of those that only could not be deleted.
    pub fn waiting_bytes(&self) -> u64 {
        self.segments.iter().filter(|s| s.generation >= self.covered_before).map(|s| s.bytes).sum()
    }

    /// How many segments there are.
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Adds a record to those that the next [`Wal::write`] writes.
    pub fn push(&mut self, payload: &[u8]) {
        // Whoever makes records ends them long before. One that is longer would be damage to the reader, and hide what
        // is behind it; without it the log has everything else, and the next block everything.
        if payload.len() > RECORD_BYTES_MAX {
            tracing::error!(bytes = payload.len(), "a record is too long for the log and was left out of it");
            return;
        }
        put_frame(&mut self.pending, MARK, payload);
    }

    /// Bytes that were pushed and are not written.
    pub fn pending_bytes(&self) -> usize {
        self.pending.len()
    }

    /// Writes what was pushed, in one go. After an error all of it stays pending and nothing of it is in the file.
    pub fn write(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        if self.segments.last().is_some_and(|s| s.bytes >= SEGMENT_BYTES_MAX) {
            self.end_segment()?;
        }
        let file = match &self.file {
            Some(f) => f.clone(),
            None => self.begin_segment()?,
        };
        let Some(segment) = self.segments.last_mut() else {
            return Err(io::Error::other("the segment being written is not in the list"));
        };
        // In this segment and no other: what is pending may have to wait for the next one.
        let mut note = Vec::new();
        if self.synced > self.noted {
            put_frame(&mut note, NOTE_MARK, &self.synced.to_le_bytes());
        }
        let noted = if note.is_empty() { Ok(()) } else { file.append(&note) };
        if let Err(e) = noted.and_then(|()| file.append(&self.pending)) {
            // A part may be in the file; a record behind it would make it damage instead of a torn tail.
            if file.truncate(segment.bytes).is_err() {
                self.file = None;
            }
            return Err(e);
        }
        segment.bytes += (note.len() + self.pending.len()) as u64;
        self.noted = self.synced;
        self.pending.clear();
        self.pending.shrink_to(1 << 20);
        Ok(())
    }

    /// What to sync so that everything written is durable; `None` when there is nothing to sync.
    pub fn written(&self) -> Option<Written> {
        let (file, segment) = (self.file.clone()?, self.segments.last()?);
        Some(Written { file, generation: segment.generation, number: segment.number, bytes: segment.bytes })
    }

    /// A sync of this has succeeded: the next write says so, in the same segment. Of a hole before that place a start knows
    /// that it is no tail.
    pub fn note_synced(&mut self, written: &Written) {
        let of = (written.generation, written.number);
        if self.file.is_some() && self.segments.last().is_some_and(|s| (s.generation, s.number) == of) {
            self.synced = self.synced.max(written.bytes);
        }
    }

    /// Ends the segment after a failed sync: what the file holds beyond its last good sync is unknown, so nothing more
    /// is added to it.
    pub fn abandon_segment(&mut self) {
        self.file = None;
    }

    /// What is pushed from now on belongs to a new generation.
    pub fn begin_generation(&mut self) -> io::Result<u64> {
        self.write()?;
        self.end_segment()?;
        self.generation += 1;
        self.next_number = 0;
        Ok(self.generation)
    }

    /// Generations before `generation` are in blocks: deletes their segments.
    pub fn remove_before(&mut self, generation: u64) -> io::Result<()> {
        self.covered_before = self.covered_before.max(generation);
        self.remove_covered()
    }

    /// Deletes what [`Wal::remove_before`] could not, and makes that durable.
    pub fn remove_covered(&mut self) -> io::Result<()> {
        while let Some(s) = self.segments.first().filter(|s| s.generation < self.covered_before) {
            match discard(&*self.disk, s) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            self.segments.remove(0);
            self.is_removal_unsynced = true;
        }
        if self.is_removal_unsynced {
            self.disk.sync_dir(&self.dir)?;
            self.is_removal_unsynced = false;
        }
        Ok(())
    }

    fn begin_segment(&mut self) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.dir.join(format!("{:010}-{:06}.wal", self.generation, self.next_number));
        self.next_number += 1;
        let file = self.disk.create(&path)?;
        let mut header = MAGIC.to_vec();
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&crc32fast::hash(&header).to_le_bytes());
        if let Err(e) = file.append(&header).and_then(|()| self.disk.sync_dir(&self.dir)) {
            // Best effort: an empty segment is cut at the next start anyway.
            let _ = self.disk.remove(&path);
            return Err(e);
        }
        let (generation, number) = (self.generation, self.next_number - 1);
        self.segments.push(Segment { generation, number, path, bytes: HEADER_BYTES as u64, unreadable: false });
        self.file = Some(file.clone());
        (self.synced, self.noted) = (0, 0);
        Ok(file)
    }

    fn end_segment(&mut self) -> io::Result<()> {
        if let Some(file) = &self.file {
            if self.sync_at_end {
                file.sync()?;
            }
            self.file = None;
        }
        Ok(())
    }
}

/// What reading all segments yields beside the records.
#[derive(Debug, Default)]
pub struct Replayed {
    /// The segments that stay, in order.
    pub segments: Vec<Segment>,
    /// Bytes that were cut from the last one.
    pub torn_bytes: u64,
    /// What could not be read.
    pub damage: Vec<Damage>,
}

/// Why the log cannot be read at all.
#[derive(Debug)]
pub enum ReplayError {
    /// A newer Belfry wrote it.
    Version {
        /// The segment.
        file: PathBuf,
        /// Its version.
        found: u32,
    },
    /// The system refused.
    Io {
        /// The file or folder.
        file: PathBuf,
        /// What it says.
        source: io::Error,
    },
}

/// What reading the log meets, in order.
pub enum Met<'a> {
    /// A record, with its generation.
    Record(u64, &'a [u8]),
    /// Something was lost here.
    Damage(&'a Damage),
}

/// Hands every record of `dir` to `on`, and each place where one may be lost. Segments of generations up to `covered` are
/// in blocks: they are deleted. A torn tail is cut from its file, durably, before this returns. A record whose
/// checksum is right but that `on` cannot read is damage too.
pub fn replay(
    disk: &dyn Disk,
    dir: &Path,
    covered: u64,
    mut on: impl FnMut(Met<'_>) -> Result<(), Corrupt>,
) -> Result<Replayed, ReplayError> {
    let io_error = |file: &Path| {
        let file = file.to_owned();
        move |source| ReplayError::Io { file, source }
    };
    let mut out = Replayed::default();
    let mut found = Vec::new();
    for name in disk.list(dir).map_err(io_error(dir))? {
        if let Some((generation, number)) = parse_name(&name) {
            found.push(Segment { generation, number, path: dir.join(&name), bytes: 0, unreadable: false });
        } else if name.ends_with(UNREADABLE) {
            let what = "the disk did not give all of it when it was read; remove it when nobody needs it".to_owned();
            out.damage.push(Damage { file: dir.join(&name), offset: 0, what });
        }
    }
    found.sort_by_key(|s| (s.generation, s.number));
    let done = found.partition_point(|s| s.generation <= covered);
    for mut segment in found.drain(..done) {
        // What could be read of it is in a block; a crash came before it got its other name.
        segment.unreadable = disk.read(&segment.path).is_err_and(|e| is_of_medium(&e));
        if segment.unreadable {
            let what = "the disk does not give all of it".to_owned();
            out.damage.push(Damage { file: segment.path.clone(), offset: 0, what });
        }
        discard(disk, &segment).map_err(io_error(&segment.path))?;
    }
    let last = found.len().saturating_sub(1);
    for (i, mut segment) in found.into_iter().enumerate() {
        let bytes = match disk.read(&segment.path) {
            Err(e) if is_of_medium(&e) => {
                let (bytes, holes) = read_rest(disk, &segment.path).map_err(io_error(&segment.path))?;
                let first = holes.as_ref().map_or(0, |h| h.first);
                let is_all = bytes.is_empty();
                let what = match holes {
                    Some(h) => Some(format!("{} of its {} bytes cannot be read: {}", h.bytes, bytes.len(), h.why)),
                    None if bytes.is_empty() => Some(format!("it cannot be read: {e}")),
                    // Another try was all it took.
                    None => None,
                };
                segment.unreadable = what.is_some();
                let damage = what.map(|what| Damage { file: segment.path.clone(), offset: first, what });
                // Of a part that is missing the checksums tell in its place.
                if let Some(damage) = damage.as_ref().filter(|_| is_all) {
                    let _ = on(Met::Damage(damage));
                }
                out.damage.extend(damage);
                Arc::new(bytes)
            }
            outcome => outcome.map_err(io_error(&segment.path))?,
        };
        // What the disk did not give is no torn tail.
        let is_tail = i == last && !segment.unreadable;
        let read = read_segment(&bytes, is_tail, |piece| match piece {
            Piece::Record(record) => on(Met::Record(segment.generation, record)),
            Piece::Damage(offset, what) => {
                let damage = Damage { file: segment.path.clone(), offset, what: what.to_owned() };
                let _ = on(Met::Damage(&damage));
                out.damage.push(damage);
                Ok(())
            }
        });
        if let Some(found) = read.newer_version {
            return Err(ReplayError::Version { file: segment.path, found });
        }
        segment.bytes = bytes.len() as u64;
        if read.good < segment.bytes {
            let torn = segment.bytes - read.good;
            if is_tail {
                drop(bytes);
                cut(disk, dir, &segment.path, read.good).map_err(io_error(&segment.path))?;
                out.torn_bytes = torn;
                segment.bytes = read.good;
                if read.good == 0 {
                    continue;
                }
            } else {
                let what = format!("its last {torn} bytes are no record");
                let damage = Damage { file: segment.path.clone(), offset: read.good, what };
                let _ = on(Met::Damage(&damage));
                out.damage.push(damage);
            }
        }
        out.segments.push(segment);
    }
    Ok(out)
}

/// What the disk gives of a segment that it does not give as a whole, with zeros for the rest.
fn read_rest(disk: &dyn Disk, file: &Path) -> io::Result<(Vec<u8>, Option<Holes>)> {
    let open = match disk.open_read(file) {
        Ok(open) => open,
        Err(e) if is_of_medium(&e) => return Ok((Vec::new(), None)),
        Err(e) => return Err(e),
    };
    let mut bytes = vec![0; open.size() as usize];
    let holes = read_around(&*open, 0, &mut bytes)?;
    Ok((bytes, holes))
}

/// Removes a segment that is in blocks; one that could not be read gets another name.
fn discard(disk: &dyn Disk, segment: &Segment) -> io::Result<()> {
    if segment.unreadable {
        return disk.rename(&segment.path, &segment.path.with_extension(UNREADABLE));
    }
    disk.remove(&segment.path)
}

fn cut(disk: &dyn Disk, dir: &Path, file: &Path, len: u64) -> io::Result<()> {
    if len == 0 {
        disk.remove(file)?;
        return disk.sync_dir(dir);
    }
    let f = disk.open_append(file)?;
    f.truncate(len)?;
    f.sync()
}

/// Is it the name of a segment?
pub fn is_segment(name: &str) -> bool {
    parse_name(name).is_some()
}

fn parse_name(name: &str) -> Option<(u64, u64)> {
    let (generation, number) = name.strip_suffix(".wal")?.split_once('-')?;
    Some((generation.parse().ok()?, number.parse().ok()?))
}

/// The version that a segment's header says; `None` where it is not as it was written.
fn version_of(bytes: &[u8]) -> Option<u32> {
    let is_good =
        bytes.len() >= HEADER_BYTES && bytes[..8] == *MAGIC && crc32fast::hash(&bytes[..12]) == le_u32(&bytes[12..]);
    is_good.then(|| le_u32(&bytes[8..]))
}

/// The version of a segment that a newer Belfry wrote. Reads its header alone; what cannot be read is no version.
pub fn newer_version(disk: &dyn Disk, file: &Path) -> Option<u32> {
    let mut header = [0; HEADER_BYTES];
    disk.open_read(file).and_then(|f| f.read_at(0, &mut header)).ok()?;
    version_of(&header).filter(|v| *v > VERSION)
}

struct SegmentRead {
    /// Up to here everything is a record or reported damage.
    good: u64,
    newer_version: Option<u32>,
}

/// What a segment has.
enum Piece<'a> {
    Record(&'a [u8]),
    /// Where, and what is wrong.
    Damage(u64, &'static str),
}

fn read_segment(bytes: &[u8], is_last: bool, mut on: impl FnMut(Piece<'_>) -> Result<(), Corrupt>) -> SegmentRead {
    let mut out = SegmentRead { good: 0, newer_version: None };
    if let Some(version) = version_of(bytes) {
        if version > VERSION {
            out.newer_version = Some(version);
            return out;
        }
        out.good = HEADER_BYTES as u64;
    }
    let mut at = out.good as usize;
    while at < bytes.len() {
        if let Some((frame, end)) = frame_at(bytes, at) {
            if let Frame::Record(payload) = frame
                && let Err(e) = on(Piece::Record(payload))
            {
                let _ = on(Piece::Damage(at as u64, e.0));
            }
            at = end;
            out.good = at as u64;
            continue;
        }
        let Some(next) = next_frame(bytes, at + 1) else { break };
        let may_be_tail = is_last && bytes.len() - at <= TORN_BYTES_MAX && is_hole(bytes, at, next);
        if may_be_tail && synced_behind(bytes, next) <= at as u64 {
            break;
        }
        let what = if at == 0 { "the segment's header is wrong" } else { "a record's checksum does not match" };
        let _ = on(Piece::Damage(at as u64, what));
        at = next;
    }
    out
}

/// Is there a sector between `at`, where no record begins, and `to` that was never written? A power loss leaves such ones
/// in what was not synced, as pages reach the platter in any order: then nothing behind it was synced either. What goes
/// bad later is zero to the end of a sector once in a while: then a note behind it may tell.
fn is_hole(bytes: &[u8], at: usize, to: usize) -> bool {
    let ends = (at / SECTOR_BYTES + 1..=to / SECTOR_BYTES).map(|n| n * SECTOR_BYTES);
    ends.map(|end| at.max(end - SECTOR_BYTES)..end).any(|sector| bytes[sector].iter().all(|b| *b == 0))
}

/// What stands between a mark and the next.
enum Frame<'a> {
    Record(&'a [u8]),
    /// So many bytes of the segment were synced before this was written.
    Synced(u64),
}

fn put_frame(out: &mut Vec<u8>, mark: [u8; 4], payload: &[u8]) {
    out.extend_from_slice(&mark);
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
    out.extend_from_slice(payload);
}

/// What begins at `at`, if it is whole, and where it ends.
fn frame_at(bytes: &[u8], at: usize) -> Option<(Frame<'_>, usize)> {
    let frame = bytes.get(at..at + FRAME_BYTES)?;
    let is_note = frame[..4] == NOTE_MARK;
    if frame[..4] != MARK && !is_note {
        return None;
    }
    let len = le_u32(&frame[4..]) as usize;
    if len > RECORD_BYTES_MAX {
        return None;
    }
    let end = at + FRAME_BYTES + len;
    let payload = bytes.get(at + FRAME_BYTES..end)?;
    if crc32fast::hash(payload) != le_u32(&frame[8..]) {
        return None;
    }
    if !is_note {
        return Some((Frame::Record(payload), end));
    }
    let synced = u64::from_le_bytes(payload.try_into().ok()?);
    // It speaks of what was before it.
    (synced <= at as u64).then_some((Frame::Synced(synced), end))
}

/// Where the next whole record or note begins, from `from` on.
fn next_frame(bytes: &[u8], from: usize) -> Option<usize> {
    (from..bytes.len()).find(|p| frame_at(bytes, *p).is_some())
}

/// The most that a note from `from` on says was synced.
fn synced_behind(bytes: &[u8], from: usize) -> u64 {
    let (mut at, mut most) = (Some(from), 0);
    while let Some(place) = at {
        at = match frame_at(bytes, place) {
            Some((frame, end)) => {
                if let Frame::Synced(synced) = frame {
                    most = most.max(synced);
                }
                (end < bytes.len()).then_some(end)
            }
            None => next_frame(bytes, place + 1),
        };
    }
    most
}

fn le_u32(b: &[u8]) -> u32 {
    u32::from_le_bytes([b[0], b[1], b[2], b[3]])
}

/// Makes the checksums of a segment right, of its header and of every record that ends within it.
#[cfg(feature = "fuzzing")]
pub fn mend(bytes: &mut [u8]) {
    if bytes.len() < HEADER_BYTES {
        return;
    }
    let crc = crc32fast::hash(&bytes[..12]);
    bytes[12..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    let mut at = HEADER_BYTES;
    while let Some(frame) = bytes.get(at..at + FRAME_BYTES) {
        let is_frame = [MARK, NOTE_MARK].iter().any(|mark| frame[..4] == *mark);
        let (is_frame, end) = (is_frame, at + FRAME_BYTES + le_u32(&frame[4..]) as usize);
        at = match bytes.get(at + FRAME_BYTES..end).filter(|_| is_frame).map(crc32fast::hash) {
            Some(crc) => {
                bytes[at + 8..at + FRAME_BYTES].copy_from_slice(&crc.to_le_bytes());
                end
            }
            None => at + 1,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::SimDisk;

    fn dir() -> PathBuf {
        PathBuf::from("/wal")
    }

    fn written(disk: &SimDisk, records: &[&[u8]]) -> PathBuf {
        let mut wal = Wal::new(Arc::new(disk.clone()), dir(), Vec::new(), 1, true);
        for r in records {
            wal.push(r);
            wal.write().unwrap();
        }
        wal.segments[0].path.clone()
    }

    fn read(disk: &SimDisk) -> (Vec<Vec<u8>>, Replayed) {
        let mut records = Vec::new();
        let replayed = replay(disk, &dir(), 0, |met| {
            if let Met::Record(_, r) = met {
                records.push(r.to_vec());
            }
            Ok(())
        })
        .unwrap();
        (records, replayed)
    }

    #[test]
    fn a_torn_tail_is_cut_at_every_length() {
        for lost in 1..20 {
            let disk = SimDisk::default();
            let file = written(&disk, &[b"one", b"two", b"three-three"]);
            disk.tamper(&file, |b| b.truncate(b.len() - lost));
            let (records, replayed) = read(&disk);
            assert_eq!(records, [&b"one"[..], b"two"]);
            assert!(replayed.damage.is_empty());
            assert_eq!(replayed.torn_bytes, (FRAME_BYTES + 11 - lost) as u64);
            let (again, replayed) = read(&disk);
            assert_eq!((again.len(), replayed.torn_bytes), (2, 0), "the cut is durable");
        }
    }

    #[test]
    fn a_sector_that_was_never_written_is_a_torn_tail_and_one_that_went_bad_is_damage() {
        let records: Vec<Vec<u8>> = (0..40).map(|i| vec![i + 1; 88]).collect();
        let bytes = HEADER_BYTES + 40 * 100;
        let of = |zero: &[(usize, usize)], is_last: bool| {
            let disk = SimDisk::default();
            let file = written(&disk, &records.iter().map(Vec::as_slice).collect::<Vec<_>>());
            if !is_last {
                let mut next = Wal::new(Arc::new(disk.clone()), dir(), Vec::new(), 2, true);
                next.push(b"behind");
                next.write().unwrap();
            }
            disk.tamper(&file, |b| zero.iter().for_each(|(from, to)| b[*from..*to].fill(0)));
            let (found, replayed) = read(&disk);
            let again = read(&disk);
            assert_eq!((&again.0, again.1.torn_bytes), (&found, 0), "what was cut stays cut");
            (found.len(), replayed.torn_bytes as usize, replayed.damage.len())
        };
        let torn = |left: usize| (left, bytes - HEADER_BYTES - left * 100, 0);
        assert_eq!(of(&[], true), torn(40));
        assert_eq!(of(&[(1024, 1536), (2048, 2560)], true), torn(10));
        assert_eq!(
            of(&[(HEADER_BYTES + 2700, 3072)], true),
            torn(27),
            "the end of a sector whose beginning was synced"
        );
        assert_eq!(of(&[(0, 512)], true), (0, bytes, 0));
        // A sync ended the segment before the next one began.
        assert_eq!(of(&[(1024, 1536)], false), (40 - 6 + 1, 0, 1));
        // Not until the end of a sector, and not from the beginning of a record or a sector on.
        assert_eq!(of(&[(1100, 1500)], true), (40 - 5, 0, 1));
    }

    /// Forty records of 100 bytes with their frames; the log is synced when there are `synced` of them, and says so before
    /// the next one.
    fn written_with_note(synced: usize) -> (SimDisk, PathBuf) {
        let disk = SimDisk::default();
        let mut wal = Wal::new(Arc::new(disk.clone()), dir(), Vec::new(), 1, true);
        for i in 0..40 {
            wal.push(&[i + 1; 88]);
            wal.write().unwrap();
            if usize::from(i) + 1 == synced {
                let written = wal.written().unwrap();
                written.sync().unwrap();
                wal.note_synced(&written);
            }
        }
        let file = wal.segments[0].path.clone();
        (disk, file)
    }

    #[test]
    fn a_hole_in_what_a_later_note_says_was_synced_is_damage() {
        // The sector that is lost has the end of the 11th record and what follows up to the 16th. A note that stands in it
        // is lost too, and one before it speaks of what is whole.
        for (synced, left, is_damage) in [
            (9, 9, false),
            (10, 10, false),
            (12, 10, false),
            (16, 34, true),
            (30, 34, true),
            (39, 34, true),
            (40, 10, false),
        ] {
            let (disk, file) = written_with_note(synced);
            let note = if synced < 40 { FRAME_BYTES + 8 } else { 0 };
            let len = disk.read(&file).unwrap().len();
            assert_eq!(len, HEADER_BYTES + 40 * 100 + note, "one note, once something follows");
            disk.tamper(&file, |b| b[1024..1536].fill(0));
            let (found, replayed) = read(&disk);
            let damage: Vec<u64> = replayed.damage.iter().map(|d| d.offset).collect();
            let expected = if is_damage { vec![1016] } else { vec![] };
            assert_eq!((found.len(), damage), (left, expected), "synced {synced}");
            assert_eq!(replayed.torn_bytes == 0, is_damage, "synced {synced}");
            assert_eq!(found.last().unwrap()[0], if is_damage { 40 } else { left as u8 }, "synced {synced}");
        }
    }

    #[test]
    fn a_note_speaks_of_its_own_segment_also_when_what_is_written_has_to_wait_for_the_next() {
        let disk = SimDisk::default();
        let mut wal = Wal::new(Arc::new(disk.clone()), dir(), Vec::new(), 1, true);
        let push = |wal: &mut Wal| {
            wal.push(&[7; 100]);
            wal.write().unwrap();
        };
        push(&mut wal);
        let first = wal.written().unwrap();
        first.sync().unwrap();
        wal.note_synced(&first);
        wal.abandon_segment();
        push(&mut wal);
        // A sync of the segment before, which ended meanwhile.
        wal.note_synced(&first);
        push(&mut wal);
        let lens: Vec<u64> = wal.segments.iter().map(|s| s.bytes).collect();
        assert_eq!(lens, [HEADER_BYTES as u64 + 112, HEADER_BYTES as u64 + 224]);
        assert_eq!(read(&disk).0.len(), 3);
    }

    #[test]
    fn damage_before_the_tail_names_the_file_and_keeps_the_rest() {
        let disk = SimDisk::default();
        let file = written(&disk, &[b"one", b"two", b"three"]);
        disk.tamper(&file, |b| b[HEADER_BYTES + FRAME_BYTES + 3 + FRAME_BYTES] ^= 1);
        let (records, replayed) = read(&disk);
        assert_eq!(records, [&b"one"[..], b"three"]);
        assert_eq!(replayed.damage.len(), 1);
        assert_eq!(replayed.damage[0].file, file);
        assert_eq!(replayed.damage[0].offset, (HEADER_BYTES + FRAME_BYTES + 3) as u64);
    }

    #[test]
    fn a_wrong_header_is_damage_and_its_records_are_still_read() {
        let disk = SimDisk::default();
        let file = written(&disk, &[b"one", b"two"]);
        disk.tamper(&file, |b| b[9] ^= 1);
        let (records, replayed) = read(&disk);
        assert_eq!((records.len(), replayed.damage.len()), (2, 1));
    }

    #[test]
    fn a_newer_format_is_refused_with_its_version() {
        let disk = SimDisk::default();
        let file = written(&disk, &[b"one"]);
        disk.tamper(&file, |b| {
            b[8] = 9;
            let crc = crc32fast::hash(&b[..12]);
            b[12..16].copy_from_slice(&crc.to_le_bytes());
        });
        assert!(matches!(replay(&disk, &dir(), 0, |_| Ok(())), Err(ReplayError::Version { found: 9, .. })));
    }

    #[test]
    fn a_write_that_finds_the_disk_full_leaves_nothing_behind_and_is_made_up_later() {
        let disk = SimDisk::default();
        let mut wal = Wal::new(Arc::new(disk.clone()), dir(), Vec::new(), 1, true);
        wal.push(b"one");
        wal.write().unwrap();
        disk.set_capacity(Some(disk.used() + 4));
        wal.push(b"two");
        assert!(wal.write().is_err());
        assert_eq!(read(&disk.killed()).0, [b"one"]);
        disk.set_capacity(None);
        wal.push(b"three");
        wal.write().unwrap();
        let (records, replayed) = read(&disk);
        assert_eq!(records, [&b"one"[..], b"two", b"three"]);
        assert!(replayed.damage.is_empty(), "{:?}", replayed.damage);
    }
}
