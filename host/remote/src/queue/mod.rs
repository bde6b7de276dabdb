//! What waits for the engine, on disk: files of records, read and removed from the front (docs/formats/queue.md).
//!
//! Invariant: what [`Queue::append`] returned for is in a file (and synced, where asked) until the engine has it or a
//! full queue sheds it, oldest first and counted; records are read in the order in which they were appended; after a
//! crash at most the last shipment is read again, and ends where it ended. A torn tail is cut; a damaged place is named, and reading goes on at the next
//! whole record. A file of a newer version is left alone and keeps the queue from being opened.
//! Not here: sending (`Shipper`), when to sync, the clock.

mod bytes;
mod folder;
#[doc(hidden)]
pub mod fuzz;
mod position;
mod read;
mod record;
mod segment;
mod shedding;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use belfry_model::write::Times;
use belfry_model::{Batch, Exemplar, Labels, MetricMetadata, SeriesRef, TimestampMs, Value};
use belfry_store::disk::{Disk, DiskFile};
use belfry_store::{METADATA_BYTES_MAX, METADATA_MAX, text_bytes};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::engine::SeriesSamples;
pub use folder::{Waiting, copy_closed, look};
use folder::{named, waiting_of};
use position::Position;
pub use read::Parcel;
use read::Reading;
use record::RecordBuilder;
pub use record::with_external;
pub use shedding::{SHEDDING_ENDS, Shedding};

/// Bytes of a file, about: what one damaged byte or one shed may cost, and what reading holds in memory.
pub const SEGMENT_BYTES: u64 = 8 << 20;
/// A queue has this many files at least, so that shedding takes a part of it only.
const SEGMENTS_MIN: u64 = 8;
/// The smallest queue that is of use.
pub const QUEUE_BYTES_MIN: u64 = 1 << 20;
/// Samples of a record: a shipment has whole records.
const RECORD_SAMPLES_MAX: usize = 5_000;

/// How a queue is kept.
#[derive(Clone, Debug)]
pub struct QueueConfig {
    /// Its folder; made when it is not there.
    pub folder: PathBuf,
    /// More than this and the oldest files are shed.
    pub bytes_max: u64,
    /// `fsync` before each acknowledgement.
    pub sync_each: bool,
    /// `fsync` at all.
    pub sync: bool,
    /// Added to each series that lacks them when it is read.
    pub external: Labels,
}

/// Numbers for `/metrics`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// Bytes that wait.
    pub bytes: u64,
    /// The bound.
    pub bytes_max: u64,
    /// Files.
    pub segments: u64,
    /// What came without a batch waits, and is in no window: an import. So does what was here before the start, of which
    /// nobody knows what it is.
    pub imports_wait: bool,
    /// When the oldest record that waits was appended, about; `None` when nothing waits.
    pub waiting_since: Option<TimestampMs>,
    /// Samples appended since the start.
    pub appended: u64,
    /// Samples shed since the start because the queue was full.
    pub shed: u64,
    /// What was shed last, if anything was.
    pub shedding: Option<Shedding>,
    /// Samples that could not be written to it.
    pub failed: u64,
    /// Places that could not be read, and files that are missing between others.
    pub damaged: u64,
    /// Samples that were skipped because what introduces their series could not be read.
    pub nameless: u64,
    /// Which was the last damaged place, and what is wrong with it.
    pub damage: Option<String>,
    /// Why the last write failed, until one succeeds.
    pub failing: Option<String>,
}

/// A file.
#[derive(Clone, Copy, Debug)]
struct Segment {
    number: u64,
    /// Whole records and the header.
    bytes: u64,
}

/// The file that is written to.
struct Writing {
    file: Arc<dyn DiskFile>,
    /// Numbers of the series that it introduces.
    known: HashMap<SeriesRef, u32>,
    next: u32,
    dirty: bool,
}

struct Inner {
    /// In order; the last one is written to, if `writing` is there.
    segments: VecDeque<Segment>,
    next_segment: u64,
    writing: Option<Writing>,
    position: Position,
    /// Where the shipment ends that was begun last.
    attempt: Position,
    /// Where the last import ends.
    imported: Position,
    metadata: HashMap<String, MetricMetadata>,
    metadata_bytes: usize,
    /// Names of what no record has yet.
    metadata_new: BTreeSet<String>,
    stats: QueueStats,
}

/// The queue. Appending and reading go on side by side.
pub struct Queue {
    config: QueueConfig,
    segment_bytes: u64,
    disk: Arc<dyn Disk>,
    inner: Mutex<Inner>,
    reading: Mutex<Reading>,
    changed: Notify,
}

/// Finds the labels of what a batch names.
pub trait SeriesNames: Send + Sync {
    /// In the order of `refs`; `None` for what is not known any more.
    fn labels_of(&self, refs: &[SeriesRef]) -> Vec<Option<Labels>>;
}

impl Queue {
    /// Opens the queue as it was left: a torn tail is cut. Refuses, and changes nothing, where a file is of a newer version.
    pub fn open(config: QueueConfig, disk: Arc<dyn Disk>) -> io::Result<Self> {
        disk.create_dir_all(&config.folder).map_err(|e| named(&config.folder, &e))?;
        let mut segments = folder::segments(&*disk, &config.folder)?;
        folder::refuse_newer(&*disk, &config.folder, &segments)?;
        let mut next_segment = segments.back().map_or(1, |s: &Segment| s.number + 1);
        if let Some(last) = segments.back_mut()
            && !cut_torn_tail(&*disk, &config.folder, last)?
        {
            // Nothing was ever read of it: its number is free, and a gap would be a file that is missing.
            next_segment = last.number;
            segments.pop_back();
        }
        let first = segments.front().map_or(1, |s| s.number);
        let begin = Position { segment: first, offset: segment::HEADER_BYTES };
        let known = position::load(&*disk, &config.folder, position::POSITION);
        // Numbers are never used twice, also when all files are gone.
        let next_segment = next_segment.max(known.map_or(0, |p| p.segment.saturating_add(1)));
        let position = known.unwrap_or(begin).max(begin);
        let segment_bytes = SEGMENT_BYTES.min(config.bytes_max / SEGMENTS_MIN).max(1);
        let inner = Inner {
            imported: end(&segments),
            segments,
            next_segment,
            writing: None,
            position,
            attempt: position::load(&*disk, &config.folder, position::ATTEMPT).unwrap_or_default(),
            metadata: HashMap::new(),
            metadata_bytes: 0,
            metadata_new: BTreeSet::new(),
            stats: QueueStats { bytes_max: config.bytes_max, ..QueueStats::default() },
        };
        let queue = Self {
            reading: Mutex::default(),
            config,
            segment_bytes,
            disk,
            inner: Mutex::new(inner),
            changed: Notify::new(),
        };
        queue.forget_sent();
        queue.tell_missing();
        queue.look_since_when();
        Ok(queue)
    }

    /// What waits since before the start says in its records since when.
    fn look_since_when(&self) {
        let mut inner = self.inner.lock();
        let position = inner.position;
        let first = inner.segments.iter().find_map(|s| {
            let from = if s.number == position.segment { position.offset } else { 0 }.max(segment::HEADER_BYTES);
            if s.number < position.segment || from >= s.bytes {
                return None;
            }
            let bytes = segment::read(&*self.disk, &segment::path(&self.config.folder, s.number), from, Some(s.bytes));
            match segment::next(&bytes.ok()?, 0) {
                segment::Next::Record(payload, _) => record::head(payload).ok().map(|h| h.written),
                _ => None,
            }
        });
        inner.stats.waiting_since = first;
    }

    /// Files between others are not removed: whoever did has taken samples.
    fn tell_missing(&self) {
        let mut inner = self.inner.lock();
        let numbers: Vec<u64> = inner.segments.iter().map(|s| s.number).collect();
        for (before, after) in numbers.iter().zip(numbers.iter().skip(1)).filter(|(b, a)| **a > **b + 1) {
            let name = segment::path(Path::new(""), before + 1);
            let more = match after - before - 2 {
                0 => String::new(),
                more => format!(" (and {more} behind it)"),
            };
            let what = format!("{} is missing{more}; what waited in it is not sent", name.display());
            tracing::error!("the queue for the storage engine: {what}");
            inner.stats.damaged += 1;
            inner.stats.damage = Some(what);
        }
    }

    /// Waits until something was appended since the last time.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Remembers what a metric is; it goes with the next record. The bounds are the store's, which counts what it sheds.
    pub fn declare(&self, metadata: MetricMetadata) {
        let mut inner = self.inner.lock();
        let known = inner.metadata.get(&metadata.name);
        if known == Some(&metadata) || known.is_none() && inner.metadata.len() >= METADATA_MAX {
            return;
        }
        let bytes = inner.metadata_bytes - known.map_or(0, text_bytes) + text_bytes(&metadata);
        if bytes > METADATA_BYTES_MAX {
            return;
        }
        inner.metadata_bytes = bytes;
        inner.metadata_new.insert(metadata.name.clone());
        inner.metadata.insert(metadata.name.clone(), metadata);
    }

    /// Appends a batch. Blocks for as long as the disk takes. Series that are not known any more are left out: whoever
    /// brought them opens them again and brings the batch once more.
    pub fn append(&self, batch: &Batch, names: &dyn SeriesNames, now: TimestampMs) -> io::Result<()> {
        let mut inner = self.inner.lock();
        let mut rest = Columns::of(batch);
        let mut outcome = Ok(());
        while outcome.is_ok()
            && let Some(part) = rest.next_part(RECORD_SAMPLES_MAX)
        {
            outcome = self.append_part(&mut inner, &part, names, now);
        }
        self.done(&mut inner, outcome, (batch.refs.len() + batch.histograms.len()) as u64, batch.durable)
    }

    /// Appends samples of a series by its labels: what did not come as a batch.
    pub fn append_series(&self, series: &SeriesSamples, now: TimestampMs) -> io::Result<()> {
        let mut inner = self.inner.lock();
        let mut parts = series.samples.chunks(RECORD_SAMPLES_MAX);
        let outcome = parts.try_for_each(|samples| self.append_named(&mut inner, &series.labels, samples, now));
        inner.imported = end(&inner.segments);
        self.done(&mut inner, outcome, series.samples.len() as u64, false)
    }

    fn done(&self, inner: &mut Inner, outcome: io::Result<()>, samples: u64, durable: bool) -> io::Result<()> {
        let syncs = self.config.sync_each || durable && self.config.sync;
        let outcome = match (outcome, syncs) {
            (Ok(()), true) => sync(inner),
            (outcome, _) => outcome,
        };
        inner.stats.failing = outcome.as_ref().err().map(ToString::to_string);
        inner.stats.failed += if outcome.is_err() { samples } else { 0 };
        self.changed.notify_one();
        outcome
    }

    fn append_named(
        &self,
        inner: &mut Inner,
        labels: &Labels,
        samples: &[belfry_model::Sample],
        now: TimestampMs,
    ) -> io::Result<()> {
        let writing = self.writing(inner)?;
        let id = writing.next;
        writing.next += 1;
        let mut record = RecordBuilder::default();
        record.series(&[(id, labels.clone())]);
        let (mut floats, mut starts, mut histograms) = (Vec::new(), Vec::new(), Vec::new());
        for s in samples {
            match (&s.value, s.start) {
                (Value::Float(v), None) => floats.push((id, s.at, *v)),
                (Value::Float(v), Some(start)) => starts.push((id, s.at, start, *v)),
                (Value::Histogram(h), start) => histograms.push((id, s.at, start, h.clone())),
            }
        }
        record.floats_each(&floats);
        record.floats_starts(&starts);
        record.histograms(&histograms);
        self.write(inner, record, now)
    }

    fn append_part(
        &self,
        inner: &mut Inner,
        part: &Columns<'_>,
        names: &dyn SeriesNames,
        now: TimestampMs,
    ) -> io::Result<()> {
        if part.is_empty() && inner.metadata_new.is_empty() {
            return Ok(());
        }
        self.writing(inner)?;
        let Some(writing) = &mut inner.writing else { return Err(io::ErrorKind::NotFound.into()) };
        let mut record = RecordBuilder::default();
        record.series(&introduce(writing, part, names));
        let known = &writing.known;
        let id = |r: &SeriesRef| known.get(r).copied();
        let floats = || part.refs.iter().zip(part.values).enumerate();
        let has_starts = part.starts.iter().any(|s| *s != 0);
        match part.times {
            Times::One(at) if !has_starts => {
                let all: Vec<_> = floats().filter_map(|(_, (r, v))| Some((id(r)?, *v))).collect();
                record.floats(*at, &all);
            }
            times => {
                let at = |i: usize| match times {
                    Times::One(at) => Some(*at),
                    Times::Each(all) => all.get(part.first + i).copied(),
                };
                let start = |i: usize| part.starts.get(i).copied().filter(|s| *s != 0).map(TimestampMs);
                let (mut plain, mut with_start) = (Vec::new(), Vec::new());
                for (i, (r, v)) in floats() {
                    let (Some(id), Some(at)) = (id(r), at(i)) else { continue };
                    match start(i) {
                        None => plain.push((id, at, *v)),
                        Some(start) => with_start.push((id, at, start, *v)),
                    }
                }
                record.floats_each(&plain);
                record.floats_starts(&with_start);
            }
        }
        let histograms = part.histograms.iter().filter_map(|(r, at, start, h)| Some((id(r)?, *at, *start, h.clone())));
        record.histograms(&histograms.collect::<Vec<_>>());
        let exemplars = part.exemplars.iter().filter_map(|(r, e)| Some((id(r)?, e.clone())));
        record.exemplars(&exemplars.collect::<Vec<_>>());
        let declared = inner.metadata_new.iter().filter_map(|name| inner.metadata.get(name));
        record.metadata(&declared.cloned().collect::<Vec<_>>());
        self.write(inner, record, now)?;
        inner.metadata_new.clear();
        Ok(())
    }

    /// The file to write to: the last one, or a new one.
    fn writing<'i>(&self, inner: &'i mut Inner) -> io::Result<&'i mut Writing> {
        let is_full = inner.segments.back().is_some_and(|s| s.bytes >= self.segment_bytes);
        if is_full || inner.writing.is_none() {
            if inner.writing.as_ref().is_some_and(|w| w.dirty && self.config.sync) {
                sync(inner)?;
            }
            inner.writing = None;
            let number = inner.next_segment;
            let file = self.disk.create(&segment::path(&self.config.folder, number))?;
            file.append(segment::header())?;
            if self.config.sync {
                self.disk.sync_dir(&self.config.folder)?;
            }
            // Where one of these failed, the next attempt makes the same file anew.
            inner.next_segment = number + 1;
            inner.segments.push_back(Segment { number, bytes: segment::HEADER_BYTES });
            inner.writing = Some(Writing { file, known: HashMap::new(), next: 0, dirty: true });
        }
        inner.writing.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn write(&self, inner: &mut Inner, record: RecordBuilder, now: TimestampMs) -> io::Result<()> {
        let Some((payload, samples)) = record.finish(now) else { return Ok(()) };
        let framed = segment::frame(&payload);
        let Some(writing) = &mut inner.writing else { return Err(io::ErrorKind::NotFound.into()) };
        writing.dirty = true;
        if let Err(e) = writing.file.append(&framed) {
            // The file may hold a part of it: what was whole before is kept, and the next record goes to a new file.
            let whole = inner.segments.back().map_or(0, |s| s.bytes);
            if let Some(writing) = inner.writing.take()
                && let Err(e) = writing.file.truncate(whole)
            {
                tracing::warn!("a part of a record stays in the queue's file: {e}");
            }
            return Err(e);
        }
        if let Some(last) = inner.segments.back_mut() {
            last.bytes += framed.len() as u64;
        }
        inner.stats.appended += samples;
        inner.stats.waiting_since.get_or_insert(now);
        self.shed(inner, now);
        let is_full = self.is_full(inner);
        inner.stats.shedding.iter_mut().for_each(|s| s.is_full = is_full);
        Ok(())
    }

    /// Is it so full that it goes on shedding, if it has begun to? Two files are about what is shed and written at a time.
    fn is_full(&self, inner: &Inner) -> bool {
        total(&inner.segments) + 2 * self.segment_bytes > self.config.bytes_max
    }

    /// Removes the oldest files while the queue is too long. The one that is written to stays.
    fn shed(&self, inner: &mut Inner, now: TimestampMs) {
        while inner.segments.len() > 1 && total(&inner.segments) > self.config.bytes_max {
            let Some(oldest) = inner.segments.pop_front() else { return };
            let file = segment::path(&self.config.folder, oldest.number);
            let from = if inner.position.segment == oldest.number { inner.position.offset } else { 0 };
            let samples = samples_in(&*self.disk, &file, from.max(segment::HEADER_BYTES), oldest.bytes);
            inner.stats.shed += samples;
            inner.stats.shedding = Some(Shedding::more(inner.stats.shedding.take(), samples, now));
            tracing::warn!(samples, "the queue for the storage engine is full: its oldest samples are shed");
            if let Err(e) = self.disk.remove(&file) {
                tracing::error!("cannot remove a file of the queue: {e}");
            }
            if let Some(first) = inner.segments.front() {
                inner.position = Position { segment: first.number, offset: segment::HEADER_BYTES }.max(inner.position);
            }
        }
    }

    /// Makes what was appended durable. Blocks for as long as the disk takes.
    pub fn sync(&self) -> io::Result<()> {
        if !self.config.sync {
            return Ok(());
        }
        let file = match &mut self.inner.lock().writing {
            Some(writing) if writing.dirty => {
                writing.dirty = false;
                writing.file.clone()
            }
            _ => return Ok(()),
        };
        // Without the lock: appends go on while the disk works.
        let outcome = file.sync();
        if outcome.is_err() {
            // Nobody knows what the disk has of that file: what comes next goes to another.
            self.inner.lock().writing = None;
        }
        outcome
    }

    /// Numbers.
    pub fn stats(&self) -> QueueStats {
        let inner = self.inner.lock();
        let bytes = waiting(&inner);
        let segments = inner.segments.len() as u64;
        let since = inner.stats.waiting_since.filter(|_| bytes > 0);
        let imports_wait = bytes > 0 && inner.position < inner.imported;
        // What was sent since the last write has made room.
        let is_full = self.is_full(&inner);
        let shedding = inner.stats.shedding.clone().map(|s| Shedding { is_full, ..s });
        QueueStats { bytes, segments, imports_wait, shedding, waiting_since: since, ..inner.stats.clone() }
    }

    /// Does nothing wait?
    pub fn is_empty(&self) -> bool {
        waiting(&self.inner.lock()) == 0
    }

    /// Removes files that the engine has all of.
    fn forget_sent(&self) {
        let mut inner = self.inner.lock();
        while let Some(first) = inner.segments.front().copied() {
            let sent = first.number < inner.position.segment
                || first.number == inner.position.segment && inner.position.offset >= first.bytes;
            let is_written = inner.segments.len() == 1 && inner.writing.is_some();
            if !sent || is_written {
                return;
            }
            if let Err(e) = self.disk.remove(&segment::path(&self.config.folder, first.number)) {
                tracing::error!("cannot remove a file of the queue: {e}");
            }
            inner.segments.pop_front();
        }
    }
}

fn sync(inner: &mut Inner) -> io::Result<()> {
    let Some(writing) = &mut inner.writing else { return Ok(()) };
    writing.dirty = false;
    let outcome = writing.file.sync();
    if outcome.is_err() {
        inner.writing = None;
    }
    outcome
}

fn total(segments: &VecDeque<Segment>) -> u64 {
    segments.iter().map(|s| s.bytes).sum()
}

/// Behind the last record.
fn end(segments: &VecDeque<Segment>) -> Position {
    segments.back().map_or_else(Position::default, |s| Position { segment: s.number, offset: s.bytes })
}

/// Bytes of records that the engine has not.
fn waiting(inner: &Inner) -> u64 {
    waiting_of(&inner.segments, inner.position)
}

/// What can be counted of a file that is shed.
fn samples_in(disk: &dyn Disk, file: &Path, from: u64, to: u64) -> u64 {
    let Ok(bytes) = segment::read(disk, file, from, Some(to)) else { return 0 };
    let (mut offset, mut samples) = (0, 0);
    loop {
        match segment::next(&bytes, offset) {
            segment::Next::Record(payload, after) => {
                samples += record::head(payload).map_or(0, |h| h.samples);
                offset = after;
            }
            segment::Next::End => return samples,
            segment::Next::Bad => match segment::next_record(&bytes, offset) {
                Some(found) => offset = found,
                None => return samples,
            },
        }
    }
}

/// Only the last file can be torn: those before it were complete when it was begun. `false`: there is nothing in it.
fn cut_torn_tail(disk: &dyn Disk, folder: &Path, last: &mut Segment) -> io::Result<bool> {
    let file = segment::path(folder, last.number);
    let bytes = segment::read(disk, &file, 0, None)?;
    if last.bytes <= segment::HEADER_BYTES || segment::is_torn_at_header(&bytes) {
        disk.remove(&file)?;
        return Ok(false);
    }
    let whole = segment::whole_bytes(&bytes);
    // What is no file of ours is left for the reader to name, and so is what is damaged before the last whole record.
    if segment::is_ours(&bytes) && whole < bytes.len() {
        tracing::info!(bytes = bytes.len() - whole, "cut a write to the queue that a crash interrupted");
        disk.open_append(&file)?.truncate(whole as u64)?;
        last.bytes = whole as u64;
    }
    Ok(true)
}

/// Gives a number to each series that the file does not know yet, and says which those are.
fn introduce(writing: &mut Writing, part: &Columns<'_>, names: &dyn SeriesNames) -> Vec<(u32, Labels)> {
    let of_histograms = part.histograms.iter().map(|h| h.0);
    let of_exemplars = part.exemplars.iter().map(|e| e.0);
    let all = part.refs.iter().copied().chain(of_histograms).chain(of_exemplars);
    let missing: Vec<SeriesRef> = all.filter(|r| !writing.known.contains_key(r)).collect();
    if missing.is_empty() {
        return Vec::new();
    }
    let mut new = Vec::with_capacity(missing.len());
    for (r, labels) in missing.iter().zip(names.labels_of(&missing)) {
        let Some(labels) = labels else { continue };
        if let std::collections::hash_map::Entry::Vacant(free) = writing.known.entry(*r) {
            free.insert(writing.next);
            new.push((writing.next, labels));
            writing.next += 1;
        }
    }
    new
}

type HistogramAt = (SeriesRef, TimestampMs, Option<TimestampMs>, Arc<belfry_model::Histogram>);

/// A part of a batch.
struct Columns<'b> {
    times: &'b Times,
    /// Of `refs` in the batch.
    first: usize,
    refs: &'b [SeriesRef],
    values: &'b [f64],
    starts: &'b [i64],
    histograms: &'b [HistogramAt],
    exemplars: &'b [(SeriesRef, Exemplar)],
    /// Metadata alone makes a record, too.
    begun: bool,
}

impl<'b> Columns<'b> {
    fn of(batch: &'b Batch) -> Self {
        Self {
            times: &batch.times,
            first: 0,
            refs: &batch.refs,
            values: &batch.values,
            starts: &batch.starts,
            histograms: &batch.histograms,
            exemplars: &batch.exemplars,
            begun: false,
        }
    }

    fn is_empty(&self) -> bool {
        self.refs.is_empty() && self.histograms.is_empty() && self.exemplars.is_empty()
    }

    /// Takes a part of at most `max` samples off the front; exemplars go with the last one.
    fn next_part(&mut self, max: usize) -> Option<Self> {
        if self.begun && self.is_empty() {
            return None;
        }
        self.begun = true;
        let floats = self.refs.len().min(max);
        let histograms = self.histograms.len().min(max - floats);
        let is_last = floats == self.refs.len() && histograms == self.histograms.len();
        let part = Self {
            times: self.times,
            first: self.first,
            refs: self.refs.get(..floats).unwrap_or_default(),
            values: self.values.get(..floats).unwrap_or_default(),
            starts: self.starts.get(..floats.min(self.starts.len())).unwrap_or_default(),
            histograms: self.histograms.get(..histograms).unwrap_or_default(),
            exemplars: if is_last { std::mem::take(&mut self.exemplars) } else { &[] },
            begun: true,
        };
        self.first += floats;
        self.refs = self.refs.get(floats..).unwrap_or_default();
        self.values = self.values.get(floats..).unwrap_or_default();
        self.starts = self.starts.get(floats..).unwrap_or_default();
        self.histograms = self.histograms.get(histograms..).unwrap_or_default();
        Some(part)
    }
}
