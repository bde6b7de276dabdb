//! Committing batches: one thread takes them from a bounded queue, applies as many as wait, writes them in one go, and
//! only then answers. What Belfry collected itself is committed by the thread that has it, when nothing stands in its
//! way: waking another thread and being woken by it costs more than the commit. It is written when that thread is done.
//!
//! Invariant: an answer `Ok` means that `write()` has returned for the batch, and `fsync` under
//! [`FsyncPolicy::Always`], but for [`Writer::append_now`]; batches are committed in the order in which they were
//! queued, and none overtakes a queue; nothing is written before what was committed before it.
//! Not here: which samples are acceptable (`head`), how a record looks (`record`).

use std::io;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use belfry_model::write::{SeriesRef, Times};
use belfry_model::{Appended, Batch, Labels, MetricMetadata, Refusal, TimestampMs, WriteError, Writer};
use tokio::sync::{mpsc, oneshot};

use crate::config::{AHEAD_MAX, FsyncPolicy};
use crate::head::Inserted;
use crate::record::RecordBuilder;
use crate::series::Point;
use crate::store::{Shared, State, Store, is_full};
use crate::wal::{Wal, Written};

/// Batches awaiting the writer thread: about a second at a thousand a second. Beyond that producers wait.
pub const QUEUE_BATCHES_MAX: usize = 1024;
/// What may wait in memory for [`Writer::write_out`].
const UNWRITTEN_BYTES_MAX: usize = 1 << 20;
/// Batches written with one `write()`: bounds what one slow write holds up.
pub const GROUP_BATCHES_MAX: usize = 128;
/// A record of this size is ended, even within a batch, so that reading it back needs no more memory than this.
const RECORD_BYTES_SPLIT: usize = 32 << 20;
/// What was refused then may have been applied: again it would be no news, and acknowledged without ever being synced.
const FULL: &str = "no block can be written, and as much waits for one as may";
const UNSURE: &str = "an fsync of the log failed; nothing is acknowledged until a block has what came before it";
/// More labels than this on a series are a mistake of its producer.
pub const LABELS_MAX: usize = 256;
/// A longer name or value is a mistake of its producer.
pub const LABEL_BYTES_MAX: usize = 64 << 10;

/// A batch and where its answer goes.
pub(crate) struct Job {
    batch: Batch,
    reply: oneshot::Sender<Result<Appended, WriteError>>,
}

impl Job {
    /// Is it answered only once it is on the disk?
    fn is_synced(&self, policy: FsyncPolicy) -> bool {
        match policy {
            FsyncPolicy::Always => true,
            FsyncPolicy::Interval => self.batch.durable,
            FsyncPolicy::Never => false,
        }
    }
}

/// What the writer thread and maintenance share.
pub(crate) struct Commit {
    /// `None` with the memory backend.
    pub wal: Option<Wal>,
    /// The log's generation.
    pub generation: u64,
    /// What was introduced before this began must be introduced again: with each generation, and when a part of the
    /// log may not be durable.
    pub epoch: u64,
    /// The head must be written to a block: part of the log may not be durable.
    pub flush_soon: bool,
    /// The last generation of the log of which that is true, until a block has it. Until then what comes again is no
    /// more durable than the first time.
    pub unsure: Option<u64>,
    /// The last write failed: nothing more is taken until what it had is written.
    stuck: bool,
    pub builder: RecordBuilder,
}

impl Commit {
    pub fn new(wal: Option<Wal>, generation: u64) -> Self {
        Self {
            wal,
            generation,
            epoch: 1,
            flush_soon: false,
            unsure: None,
            stuck: false,
            builder: RecordBuilder::default(),
        }
    }

    /// Ends the record being built and queues it for [`Commit::write`].
    pub fn end_record(&mut self) {
        let record = self.builder.finish();
        if let Some(wal) = self.wal.as_mut().filter(|_| !record.is_empty()) {
            wal.push(record);
        }
        self.builder.clear();
    }

    /// Ends the record if it is long: a reader holds one whole, and takes none beyond
    /// [`RECORD_BYTES_MAX`](crate::wal::RECORD_BYTES_MAX).
    pub fn split_record(&mut self) {
        if self.builder.len() >= RECORD_BYTES_SPLIT {
            self.end_record();
        }
    }

    /// Writes what is queued.
    pub fn write(&mut self) -> io::Result<()> {
        let outcome = self.wal.as_mut().map_or(Ok(()), Wal::write);
        self.stuck = outcome.is_err();
        // A segment's last sync may have failed: then only a block is sure to have everything.
        if outcome.as_ref().is_err_and(|e| !is_full(e)) {
            self.doubt();
        }
        outcome
    }

    /// An `fsync` of this has succeeded.
    pub fn synced(&mut self, written: Option<&Written>) {
        if let Some((wal, written)) = self.wal.as_mut().zip(written) {
            wal.note_synced(written);
        }
    }

    /// Part of the log may not be durable.
    fn doubt(&mut self) {
        self.flush_soon = true;
        self.unsure = Some(self.generation);
    }

    /// A block has the log up to `generation`.
    pub fn covered(&mut self, generation: u64) {
        self.unsure = self.unsure.filter(|unsure| *unsure > generation);
    }

    /// After a failed `fsync` nobody knows what the disk has: the segment is left, and a block with everything is
    /// written instead.
    pub fn sync_failed(&mut self) {
        self.doubt();
        self.epoch += 1;
        if let Some(wal) = &mut self.wal {
            wal.abandon_segment();
        }
    }
}

/// The writer thread: ends when every sender is gone.
pub(crate) fn run(shared: &Shared, mut queue: mpsc::Receiver<Job>) {
    while let Some(first) = queue.blocking_recv() {
        let mut jobs = vec![first];
        while jobs.len() < GROUP_BATCHES_MAX
            && let Ok(job) = queue.try_recv()
        {
            jobs.push(job);
        }
        commit(shared, jobs);
    }
}

fn commit(shared: &Shared, mut jobs: Vec<Job>) {
    let mut commit = shared.commit.lock();
    let mut done = Vec::with_capacity(jobs.len());
    // What an earlier group could not write comes first: until it is written nothing new is taken.
    let mut outcome = if commit.stuck { commit.write() } else { Ok(()) };
    if outcome.is_ok() && shared.is_full.load(Ordering::Acquire) {
        outcome = Err(io::Error::other(FULL));
    }
    let is_refused = |job: &mut Job| commit.unsure.is_some() && job.is_synced(shared.config.fsync);
    let refused: Vec<Job> = if outcome.is_ok() { jobs.extract_if(.., is_refused).collect() } else { Vec::new() };
    if outcome.is_ok() {
        done.extend(jobs.iter().map(|job| apply(shared, &mut commit, &mut shared.state.write(), &job.batch)));
        outcome = commit.write();
    }
    let mut synced = Ok(());
    if outcome.is_ok() && !jobs.is_empty() {
        shared.dirty.store(true, Ordering::Release);
        if jobs.iter().any(|job| job.is_synced(shared.config.fsync)) {
            let written = commit.wal.as_ref().and_then(Wal::written);
            synced = written.as_ref().map_or(Ok(()), Written::sync);
            match &synced {
                Ok(()) => {
                    shared.dirty.store(false, Ordering::Release);
                    commit.synced(written.as_ref());
                }
                Err(_) => commit.sync_failed(),
            }
        }
    }
    shared.note_wal(&commit);
    drop(commit);
    shared.owe_sync();
    let unsure = if refused.is_empty() { Ok(()) } else { Err(io::Error::other(UNSURE)) };
    let worst = [&outcome, &synced, &unsure].into_iter().find(|o| o.is_err()).unwrap_or(&outcome);
    shared.note("the write-ahead log", worst);
    // Where nobody waits any more, the batch is written all the same.
    let mut done = done.into_iter();
    for job in jobs {
        let of_it = if outcome.is_ok() && job.is_synced(shared.config.fsync) { &synced } else { &outcome };
        let _ = job.reply.send(answer(of_it, done.next().unwrap_or_default()));
    }
    for job in refused {
        let _ = job.reply.send(answer(&unsure, Appended::default()));
    }
}

fn answer(outcome: &io::Result<()>, done: Appended) -> Result<Appended, WriteError> {
    match outcome {
        Ok(()) => Ok(done),
        Err(e) if is_full(e) => Err(WriteError::DiskFull(e.to_string())),
        Err(e) => Err(WriteError::Io(e.to_string())),
    }
}

/// Puts a batch into the head and what was new of it into a record.
fn apply(shared: &Shared, commit: &mut Commit, state: &mut State, batch: &Batch) -> Appended {
    let mut out = Appended::default();
    for m in state.head.take_new_metadata() {
        commit.builder.metadata(&m);
        commit.split_record();
    }
    let window = i64::try_from(shared.config.out_of_order_window.as_millis()).unwrap_or(i64::MAX);
    let now = shared.clock.get().map(|c| c.now());
    let latest = now.map_or(i64::MAX, |now| now.plus(AHEAD_MAX).0);
    let bounds = Bounds { window, earliest: shared.earliest(now), latest };
    let as_row = take_row(state, commit, batch, &bounds);
    if as_row {
        out.accepted += batch.refs.len() as u64;
    }
    let alone = if as_row { 0 } else { batch.refs.len() };
    for (i, (reference, value)) in batch.refs.iter().zip(&batch.values).enumerate().take(alone) {
        let at = match &batch.times {
            Times::One(t) => t.0,
            Times::Each(times) => match times.get(i) {
                Some(t) => t.0,
                None => break,
            },
        };
        let start = batch.starts.get(i).copied().unwrap_or(0);
        let p = Point { at, value: *value, start, histogram: None };
        match take(state, commit, &bounds, *reference, &p) {
            Ok(()) => out.accepted += 1,
            Err(why) => out.refuse_float(i, why),
        }
    }
    for (i, (reference, at, start, h)) in batch.histograms.iter().enumerate() {
        let p = Point { at: at.0, value: h.sum, start: start.map_or(0, |s| s.0), histogram: Some(h) };
        match take(state, commit, &bounds, *reference, &p) {
            Ok(()) => out.accepted += 1,
            Err(why) => out.refuse_histogram(i, why),
        }
    }
    for (reference, exemplar) in &batch.exemplars {
        let Some(id) = state.head.resolve(*reference) else { continue };
        out.exemplars += 1;
        if state.head.add_exemplar(id, exemplar) {
            introduce(state, commit, id);
            commit.builder.exemplar(id, exemplar);
            commit.split_record();
        }
    }
    commit.end_record();
    let c = &shared.counters;
    for (counter, n) in [
        (&c.appended, out.accepted),
        (&c.too_old, out.too_old),
        (&c.duplicate, out.duplicate),
        (&c.unknown_series, out.unknown_series),
        (&c.too_far_ahead, out.too_far_ahead),
    ] {
        counter.fetch_add(n, Ordering::Relaxed);
    }
    out
}

/// Takes the floats of a batch as a row, if they are one: series that came together before, at one time that is the
/// newest for all of them.
fn take_row(state: &mut State, commit: &mut Commit, batch: &Batch, bounds: &Bounds) -> bool {
    let at = match &batch.times {
        Times::One(at) => at.0,
        Times::Each(times) => match times.first() {
            Some(first) if times.len() == batch.refs.len() && times.iter().all(|t| t == first) => first.0,
            _ => return false,
        },
    };
    if at < bounds.earliest
        || at > bounds.latest
        || batch.refs.len() != batch.values.len()
        || batch.starts.iter().any(|s| *s != 0)
    {
        return false;
    }
    let Some(number) = state.head.group_of(&batch.refs) else { return false };
    if !state.head.takes_row(number, at) {
        return false;
    }
    state.head.push_row(number, at, &batch.values);
    if commit.wal.is_some() {
        if state.head.group_mut(number).is_some_and(|g| g.introduced != commit.epoch as u32) {
            state.head.group_ids(number).into_iter().for_each(|id| {
                introduce(state, commit, id);
                commit.split_record();
            });
        }
        let epoch = commit.epoch;
        if let Some(group) = state.head.group_mut(number) {
            commit.builder.row(group, at, &batch.values, epoch);
        }
    }
    true
}

impl Shared {
    /// The first time that is taken, live and by imports: what the retention would delete at once is not, nor is what is
    /// from before 1970. Without a `now` no retention is judged; where that is ahead of the time by which retention deletes,
    /// it is wrong or not sure, and what is right by the other is not refused.
    pub(crate) fn earliest(&self, now: Option<TimestampMs>) -> i64 {
        let judged = Some(self.block_work.now.load(Ordering::Relaxed)).filter(|t| *t != 0);
        let now = now.map(|now| judged.map_or(now, |judged| now.min(TimestampMs(judged))));
        now.zip(self.config.retention).map_or(0, |(now, r)| now.minus(r).0.max(0))
    }
}

impl Shared {
    fn open(&self, labels: &Labels, limit: u64) -> Result<SeriesRef, WriteError> {
        if let Some(known) = self.state.read().head.get(labels) {
            return Ok(known);
        }
        check(labels)?;
        let mut state = self.state.write();
        // Somebody else may have opened it between the two locks; that one is not new.
        if state.head.len() as u64 >= limit && state.head.get(labels).is_none() {
            self.counters.shed_series.fetch_add(1, Ordering::Relaxed);
            return Err(WriteError::SeriesLimit { limit });
        }
        Ok(state.head.open(labels))
    }
}

/// What times are taken.
struct Bounds {
    /// Behind a series' newest sample, in milliseconds.
    window: i64,
    /// Older ones the retention would delete at once.
    earliest: i64,
    /// Later ones are too far ahead.
    latest: i64,
}

/// Takes a sample, unless it says why not.
fn take(state: &mut State, commit: &mut Commit, bounds: &Bounds, of: SeriesRef, p: &Point<'_>) -> Result<(), Refusal> {
    if p.at > bounds.latest {
        return Err(Refusal::TooFarAhead);
    }
    if p.at < bounds.earliest {
        return Err(Refusal::TooOld);
    }
    let id = state.head.resolve(of).ok_or(Refusal::UnknownSeries)?;
    match state.head.insert(id, p, bounds.window, &state.blocks) {
        Inserted::Same => {}
        Inserted::Duplicate => return Err(Refusal::Duplicate),
        Inserted::TooOld => return Err(Refusal::TooOld),
        Inserted::New if commit.wal.is_none() => {}
        Inserted::New => {
            introduce(state, commit, id);
            match p.histogram {
                Some(h) => commit.builder.histogram(id, p.at, h, p.start),
                None => commit.builder.float(id, p.at, p.value, p.start),
            }
            commit.split_record();
        }
    }
    Ok(())
}

/// Makes sure that the log says what series `id` is.
pub(crate) fn introduce(state: &mut State, commit: &mut Commit, id: u32) {
    if state.head.introduce(id, commit.epoch) {
        commit.builder.series(id, &state.head.index.labels(id));
    }
}

pub(crate) fn check(labels: &Labels) -> Result<(), WriteError> {
    let bad = |what: String| Err(WriteError::BadLabels(what));
    if labels.is_empty() {
        return bad("a series needs at least one label".into());
    }
    if labels.len() > LABELS_MAX {
        return bad(format!("{} labels; at most {LABELS_MAX}", labels.len()));
    }
    for l in labels {
        if l.name.is_empty() {
            return bad("a label has no name".into());
        }
        if l.name.len() > LABEL_BYTES_MAX || l.value.len() > LABEL_BYTES_MAX {
            return bad(format!("a name or value is longer than {LABEL_BYTES_MAX} bytes"));
        }
    }
    Ok(())
}

#[async_trait]
impl Writer for Store {
    fn open(&self, labels: &Labels) -> Result<SeriesRef, WriteError> {
        self.shared.open(labels, self.shared.config.series_max)
    }

    fn open_always(&self, labels: &Labels) -> Result<SeriesRef, WriteError> {
        self.shared.open(labels, u64::MAX)
    }

    async fn append(&self, batch: Batch) -> Result<Appended, WriteError> {
        let sender = self.queue.lock().clone().ok_or(WriteError::Closed)?;
        let (reply, answer) = oneshot::channel();
        sender.send(Job { batch, reply }).await.map_err(|_| WriteError::Closed)?;
        drop(sender);
        answer.await.map_err(|_| WriteError::Closed)?
    }

    fn append_now(&self, batch: &Batch) -> Option<Result<Appended, WriteError>> {
        // A sync must not hold up the caller, and whoever waits comes first.
        if self.shared.config.fsync == FsyncPolicy::Always || self.shared.is_full.load(Ordering::Acquire) {
            return None;
        }
        match &*self.queue.lock() {
            Some(queue) if queue.capacity() < queue.max_capacity() => return None,
            Some(_) => {}
            None => return Some(Err(WriteError::Closed)),
        }
        let mut commit = self.shared.commit.try_lock()?;
        let mut state = self.shared.state.try_write()?;
        let mut outcome = if commit.stuck { commit.write() } else { Ok(()) };
        let mut done = Appended::default();
        if outcome.is_ok() {
            done = apply(&self.shared, &mut commit, &mut state, batch);
            drop(state);
            self.shared.unwritten.store(true, Ordering::Release);
            self.shared.dirty.store(true, Ordering::Release);
            if commit.wal.as_ref().is_some_and(|wal| wal.pending_bytes() > UNWRITTEN_BYTES_MAX) {
                outcome = commit.write();
            }
        }
        drop(commit);
        if outcome.is_err() {
            self.shared.note("the write-ahead log", &outcome);
        }
        Some(answer(&outcome, done))
    }

    fn write_out(&self) {
        if !self.shared.unwritten.swap(false, Ordering::AcqRel) {
            return;
        }
        let Some(mut commit) = self.shared.commit.try_lock() else {
            // Whoever has it writes it out, or the next one does.
            self.shared.unwritten.store(true, Ordering::Release);
            return;
        };
        let outcome = commit.write();
        self.shared.note_wal(&commit);
        drop(commit);
        self.shared.note("the write-ahead log", &outcome);
    }

    fn declare(&self, metadata: MetricMetadata) {
        if !self.shared.state.write().head.declare(metadata) {
            self.shared.counters.shed_metadata.fetch_add(1, Ordering::Relaxed);
        }
    }
}
