//! Samples of any age, written to blocks directly: for imports and restores.
//!
//! Invariant: afterwards each time of a series has one value, the one that was there first, whoever else writes meanwhile:
//! a block is put in its place under the lock that appends take, without what they took since the import looked
//! (`watch`), and imports write one after the other. Memory is bounded however much comes. What [`Backfill::finish`]
//! returned for is on the disk. What stands in a damaged chunk stands nowhere: an import brings it back, and the chunk stays
//! what it is and is told of.
//! Not here: the log and the head (`append`), parsing what is imported.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use belfry_model::sample::Value;
use belfry_model::{Labels, Sample, SampleBuf, TimeRange, TimestampMs, WriteError};

use crate::append::check;
use crate::block::{BlockMeta, Sealed};
use crate::codec::same_histogram;
use crate::plan::{BLOCKS_MAX, MERGE_BLOCKS};
use crate::series::{Point, Standing};
use crate::store::{IMPORT, Shared, State, Store, is_full};
use crate::values::Effort;
use crate::watch::{Import, Overtaken, Watch};

/// Samples held before they are written: some 100 MB.
pub const BACKFILL_SAMPLES_MAX: usize = 1 << 20;
/// A series takes as much memory as so many samples, beside its labels' texts.
const SERIES_WEIGHT: usize = 8;
/// Blocks written at a time. Where that is too few for blocks of three days they span more.
const BLOCKS_AT_A_TIME: i64 = 64;
/// Samples taken meanwhile that an import may look through while appends wait: less than a millisecond.
const TAKEN_UNDER_LOCK_MAX: usize = 1024;

/// What became of the samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backfilled {
    /// Written, or there already with the same value.
    pub accepted: u64,
    /// Refused: another value stands at their time.
    pub duplicate: u64,
    /// Refused: before 1970, or older than the retention, so that they would be deleted at once, or between samples that
    /// were downsampled, where nobody can say whether they are there already.
    pub too_old: u64,
    /// Refused: later than now.
    pub too_new: u64,
}

/// Takes samples of any age, in any order. Dropping it forgets what was not written yet.
pub struct Backfill {
    store: Arc<Store>,
    now: i64,
    oldest: i64,
    series: HashMap<Labels, Vec<Sample>>,
    held: usize,
    done: Backfilled,
}

impl Store {
    /// Begins an import at `now`. Each [`Backfill::push`] and [`Backfill::finish`] may write blocks: call them from a
    /// thread that may block. Appends and reads go on; a block's samples are seen once it is whole.
    pub fn backfill(self: &Arc<Self>, now: TimestampMs) -> Backfill {
        let oldest = self.shared.earliest(Some(now));
        let done = Backfilled::default();
        Backfill { store: self.clone(), now: now.0, oldest, series: HashMap::new(), held: 0, done }
    }

    /// Does another value of this series stand at the sample's time? May read blocks: call it from a thread that may block.
    pub fn contradicts(&self, labels: &Labels, sample: &Sample) -> bool {
        let start = sample.start.map_or(0, |s| s.0);
        let (value, histogram) = match &sample.value {
            Value::Float(v) => (*v, None),
            Value::Histogram(h) => (h.sum, Some(h)),
        };
        let point = Point { at: sample.at.0, value, start, histogram };
        let State { head, blocks, .. } = &mut *self.shared.state.write();
        head.stands(labels, &point, blocks) == Standing::Other
    }
}

impl Backfill {
    /// Takes a sample. After an error what was not written yet is forgotten: the import is to be made again, and finds
    /// what of it is there.
    pub fn push(&mut self, labels: &Labels, sample: Sample) -> Result<(), WriteError> {
        if sample.at.0 < self.oldest {
            self.done.too_old += 1;
            return Ok(());
        }
        if sample.at.0 > self.now {
            self.done.too_new += 1;
            return Ok(());
        }
        let beside = match &sample.value {
            Value::Float(_) => 0,
            Value::Histogram(h) => size_of_val(&**h) + 8 * (h.positive_counts.len() + h.negative_counts.len()),
        } / size_of::<Sample>();
        match self.series.get_mut(labels) {
            Some(samples) => samples.push(sample),
            None => {
                check(labels)?;
                let texts: usize = labels.iter().map(|l| l.name.len() + l.value.len()).sum();
                self.held += SERIES_WEIGHT + texts / size_of::<Sample>();
                self.series.insert(labels.clone(), vec![sample]);
            }
        }
        self.held += 1 + beside;
        if self.held >= BACKFILL_SAMPLES_MAX { self.write() } else { Ok(()) }
    }

    /// Writes what is left and says what became of all.
    pub fn finish(mut self) -> Result<Backfilled, WriteError> {
        self.write()?;
        self.keep_what_was_there().map_err(refused)?;
        Ok(self.done)
    }

    /// What stood there already may stand in the log alone, and not be synced yet.
    fn keep_what_was_there(&self) -> io::Result<()> {
        let is_unsure = {
            let mut commit = self.store.shared.commit.lock();
            commit.write()?;
            commit.unsure.is_some()
        };
        if is_unsure { self.store.flush() } else { self.store.sync() }
    }

    fn write(&mut self) -> Result<(), WriteError> {
        let shared = self.store.shared.clone();
        self.held = 0;
        let mut series: Import = self.series.drain().collect();
        series.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        for (_, samples) in &mut series {
            // Stable: of two at one time the first stays first.
            samples.sort_by_key(|s| s.at);
        }
        let outcome = shared.write_backfill(&Arc::new(series), &mut self.done);
        if outcome.is_err() {
            shared.counters.imports_failed.fetch_add(1, Ordering::Relaxed);
        }
        shared.note(IMPORT, &outcome);
        outcome.map_err(refused)?;
        if shared.state.read().blocks.len() > BLOCKS_MAX {
            // With more than that an import merges some before it goes on. Whatever hinders it is in the health; the samples are written.
            let _ = self.store.compact();
        }
        Ok(())
    }
}

fn refused(e: io::Error) -> WriteError {
    if is_full(&e) { WriteError::DiskFull(e.to_string()) } else { WriteError::Io(e.to_string()) }
}

/// Ends the watch over what is taken live.
struct Watched<'a>(&'a Shared);

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.0.state.write().head.watch(None);
    }
}

impl Shared {
    fn write_backfill(&self, series: &Arc<Import>, done: &mut Backfilled) -> io::Result<()> {
        let first = series.iter().filter_map(|(_, s)| s.first()).map(|s| s.at.0).min();
        let last = series.iter().filter_map(|(_, s)| s.last()).map(|s| s.at.0).max();
        let (Some(first), Some(last)) = (first, last) else { return Ok(()) };
        let mut span = self.level_span(MERGE_BLOCKS.len());
        while (last / span) - (first / span) >= BLOCKS_AT_A_TIME {
            span *= 2;
        }
        let mut at = vec![0; series.len()];
        for window in first / span..=last / span {
            let end = (window + 1).saturating_mul(span);
            let Some(range) = TimeRange::new(TimestampMs(window * span), TimestampMs(end)) else {
                continue;
            };
            self.write_window(series, &mut at, range, done)?;
        }
        Ok(())
    }

    /// Writes the samples before the end of `range` that were not written yet to one block.
    fn write_window(
        &self,
        series: &Arc<Import>,
        at: &mut [usize],
        range: TimeRange,
        done: &mut Backfilled,
    ) -> io::Result<()> {
        let part = |at: usize, samples: &[Sample]| at + samples[at..].partition_point(|s| s.at < range.end());
        let due = |at: usize, samples: &[Sample]| {
            let due = &samples[at..part(at, samples)];
            Some((due.first()?.at, due.last()?.at))
        };
        let spans = series.iter().zip(&*at).filter_map(|((_, s), at)| due(*at, s));
        let Some((first, last)) = spans.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))) else { return Ok(()) };
        let span = TimeRange::inclusive(first, last).unwrap_or(range);
        let mut work = series.iter().zip(&*at).enumerate().filter(|(_, ((_, s), at))| part(**at, s) > **at);
        let _alone = self.block_work.imports.lock();
        // Before the first look at what is there: what comes in between is seen twice, never not at all. And over no more
        // than the samples' own span: most of what is collected meanwhile is newer, and costs nothing then.
        self.state.write().head.watch(Some(Watch::new(series.clone(), span)));
        let _watched = Watched(self);
        let mut writer = self.begin_block(Effort::Small)?;
        let id = writer.id();
        let mut overtaken = Overtaken::new(series);
        let mut new = SampleBuf::default();
        let (mut min, mut max) = (i64::MAX, i64::MIN);
        let mut counted = *done;
        let outcome = work.try_for_each(|(of, ((labels, samples), from))| {
            let samples = &samples[*from..part(*from, samples)];
            let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return Ok(()) };
            let span = TimeRange::inclusive(first.at, last.at).unwrap_or(range);
            let there = self.samples_of(labels, span).map_err(io::Error::other)?;
            new.clear();
            add_new(samples, &there, &mut new, &mut counted);
            if let (Some(first), Some(last)) = (new.times.first(), new.times.last()) {
                (min, max) = (min.min(*first), max.max(*last));
                writer.add(labels, &new)?;
                overtaken.add(of, &new.times);
            }
            Ok(())
        });
        let level = self.level_of(max.saturating_sub(min));
        if let Some(sealed) = self.seal(writer, outcome, BlockMeta { level, ..BlockMeta::default() })? {
            self.publish_import(sealed, id, &mut overtaken, &mut counted)?;
        }
        *done = counted;
        for ((_, samples), at) in series.iter().zip(at) {
            *at = part(*at, samples);
        }
        Ok(())
    }

    /// Puts a block of an import in its place, without what was taken live meanwhile.
    fn publish_import(
        &self,
        sealed: Sealed,
        id: u64,
        overtaken: &mut Overtaken<'_>,
        counted: &mut Backfilled,
    ) -> io::Result<()> {
        let _changes = self.block_work.changes.lock();
        // Appends go on while it is looked through, as long as there is much.
        loop {
            let taken = self.state.write().head.taken();
            let is_little = taken.len() <= TAKEN_UNDER_LOCK_MAX;
            overtaken.leave_out(taken, counted);
            if is_little {
                break;
            }
        }
        // Without it nothing is taken: what comes next is judged by the block.
        let _commit = self.commit.lock();
        let taken = self.state.write().head.taken();
        overtaken.leave_out(taken, counted);
        if overtaken.is_all() {
            return sealed.discard();
        }
        // First, for the block may be found by the next start as soon as it has its name. Where it gets none the start
        // removes what is written down here, and until then no other block has the number.
        if !overtaken.gone().is_empty()
            && let Err(e) = self.write_gone(id, overtaken.gone())
        {
            // The cause matters more than a file that the next start removes anyway.
            let _ = sealed.discard();
            return Err(e);
        }
        let block = self.publish(sealed, !overtaken.gone().is_empty())?;
        let mut state = self.state.write();
        state.add_block(Some(block));
        state.head.doubt_blocks();
        Ok(())
    }
}

/// Leaves out what stands in the store, and all but the first of several at one time.
fn add_new(samples: &[Sample], there: &SampleBuf, new: &mut SampleBuf, counted: &mut Backfilled) {
    let since = segments_from(there);
    for s in samples {
        let standing = match there.times.binary_search(&s.at.0) {
            Ok(i) => there.get(i),
            Err(_) if new.times.last() == Some(&s.at.0) => new.get(new.len() - 1),
            Err(_) => None,
        };
        match standing {
            None if is_downsampled(there, &since, s.at.0) => counted.too_old += 1,
            None => {
                counted.accepted += 1;
                new.push(s);
            }
            Some(known) if same(&known.value, &s.value) => counted.accepted += 1,
            Some(_) => counted.duplicate += 1,
        }
    }
}

/// For each sample where the earliest segment begins that ends there or later. That of the next sample is not enough: one
/// that came late, in another block, stands within a segment.
fn segments_from(there: &SampleBuf) -> Vec<i64> {
    let mut since: Vec<i64> = there.coarse.rows.iter().map(|r| r.since).collect();
    for i in (1..since.len()).rev() {
        since[i - 1] = since[i - 1].min(since[i]);
    }
    since
}

/// Does a time lie within a segment?
fn is_downsampled(there: &SampleBuf, since: &[i64], at: i64) -> bool {
    let next = there.times.partition_point(|t| *t <= at);
    since.get(next).is_some_and(|since| *since < at)
}

/// Is it the same value? Start timestamps do not count.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
        (Value::Histogram(a), Value::Histogram(b)) => same_histogram(a, b),
        _ => false,
    }
}
