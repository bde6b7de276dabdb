//! Bringing samples of the log back into the head, many at a time.
//!
//! The log has them in order of arrival, so that each one is of another series than the one before, and its place in
//! memory is far from the last. Here they wait, sorted by ranges of series so small that a processor's cache holds one,
//! and the ranges are then filled side by side.
//!
//! A row goes to its group at once, as when it came in: spread over its series, each with a buffer, a million of them
//! would take 150 MB more than before the restart.
//!
//! Invariant: the samples that a series got alone come to it in the order of the log, and all of them before its group's
//! first row, which may take them over. Groups learn at the end what the newest sample of their series is.
//! Not here: reading the log (`replay`), how a group takes a row (`head_rows`).

use std::sync::Arc;

use belfry_model::sample::Histogram;
use belfry_model::write::SeriesRef;
use parking_lot::Mutex;

use crate::chunk::Encoder;
use crate::head::{Head, Slot};
use crate::series::{Point, Standing};

/// When so many samples wait, they are handed on: 24 MB.
const WAITING_MAX: usize = 1 << 20;
/// Histograms and start timestamps among them at most: a histogram can take a kilobyte.
const EXTRAS_MAX: usize = 1 << 15;
/// Series of one range: with what came last for each, some 500 kB.
const RANGE_SERIES: usize = 1 << 10;
/// Fewer samples are not worth a thread.
const THREAD_SAMPLES_MIN: usize = 1 << 14;
/// More threads than this would wait for memory, not for each other.
const THREADS_MAX: usize = 8;

/// A sample that waits for its turn.
struct Waiting {
    at: i64,
    value: f64,
    /// Its series, counted from the range's first.
    series: u32,
    /// Its place among [`Restorer::extras`], counted from 1; 0 for a plain float.
    extra: u32,
}

/// Start timestamp and histogram.
type Extra = (i64, Option<Arc<Histogram>>);

/// What a part of the samples did.
#[derive(Default)]
struct Restored {
    samples: u64,
    bytes: usize,
}

/// Samples on their way into the head. [`Restorer::finish`] must be called before the head is used.
pub struct Restorer {
    ranges: Vec<Vec<Waiting>>,
    extras: Vec<Extra>,
    waiting: usize,
    threads: usize,
    /// Samples that are in the head now and were not before.
    restored: u64,
}

impl Restorer {
    /// For as many threads as the machine has processors.
    pub fn new() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(THREADS_MAX);
        Self { ranges: Vec::new(), extras: Vec::new(), waiting: 0, threads, restored: 0 }
    }

    /// Takes a sample that was accepted before the process was restarted.
    pub fn add(&mut self, head: &mut Head, id: u32, p: &Point<'_>) {
        let mut extra = 0;
        if p.start != 0 || p.histogram.is_some() {
            self.extras.push((p.start, p.histogram.cloned()));
            extra = self.extras.len() as u32;
        }
        self.wait(id, p.at, p.value, extra);
        if self.waiting >= WAITING_MAX || self.extras.len() >= EXTRAS_MAX {
            self.settle(head);
        }
    }

    /// Hands on what waits if some of it may be of these series.
    pub fn settle_for(&mut self, head: &mut Head, refs: &[SeriesRef]) {
        let waits = |r: &SeriesRef| self.ranges.get(r.0 as u32 as usize / RANGE_SERIES).is_some_and(|w| !w.is_empty());
        if refs.iter().any(waits) {
            self.settle(head);
        }
    }

    /// Takes a row for its group; `false` when it is none for that.
    pub fn take_row(&mut self, head: &mut Head, group: u32, at: i64, values: &[f64]) -> bool {
        let taken = head.restore_row(group, at, values);
        self.restored += taken.unwrap_or(0) as u64;
        taken.is_some()
    }

    /// Takes a row's samples for each series alone: those that are not known are passed over, and it is said how many.
    pub fn add_row(&mut self, head: &mut Head, at: i64, samples: impl Iterator<Item = (Option<u32>, f64)>) -> u64 {
        let mut unknown = 0;
        for (id, value) in samples {
            match id {
                Some(id) => self.wait(id, at, value, 0),
                None => unknown += 1,
            }
        }
        if self.waiting >= WAITING_MAX {
            self.settle(head);
        }
        unknown
    }

    /// Hands on what waits and makes the head ready for new samples; yields how many are in it that were not before.
    pub fn finish(mut self, head: &mut Head) -> u64 {
        self.settle(head);
        head.note_newest_of_groups();
        self.restored
    }

    fn wait(&mut self, id: u32, at: i64, value: f64, extra: u32) {
        let (range, series) = (id as usize / RANGE_SERIES, id as usize % RANGE_SERIES);
        if self.ranges.len() <= range {
            self.ranges.resize_with(range + 1, Vec::new);
        }
        if let Some(r) = self.ranges.get_mut(range) {
            r.push(Waiting { at, value, series: series as u32, extra });
            self.waiting += 1;
        }
    }

    /// Hands the samples that wait to their series.
    fn settle(&mut self, head: &mut Head) {
        if self.waiting == 0 {
            return;
        }
        head.has_live = true;
        let threads = self.threads.min(self.waiting / THREAD_SAMPLES_MIN);
        let extras = &self.extras;
        let work = Mutex::new(head.slots.chunks_mut(RANGE_SERIES).zip(&mut self.ranges));
        let next = || work.lock().next();
        let run = || {
            let (mut done, mut encoder) = (Restored::default(), Encoder::default());
            while let Some((slots, waiting)) = next() {
                fill(slots, waiting, extras, &mut encoder, &mut done);
            }
            done
        };
        let mut done = Vec::new();
        std::thread::scope(|scope| {
            // A thread that cannot be had leaves its share to the others.
            let others: Vec<_> = (1..threads)
                .filter_map(|_| std::thread::Builder::new().name("store-replay".into()).spawn_scoped(scope, run).ok())
                .collect();
            done.push(run());
            // The scope itself passes a panic on.
            done.extend(others.into_iter().filter_map(|t| t.join().ok()));
        });
        for d in done {
            self.restored += d.samples;
            head.live_bytes += d.bytes;
        }
        self.extras.clear();
        self.waiting = 0;
    }
}

fn fill(slots: &mut [Slot], waiting: &mut Vec<Waiting>, extras: &[Extra], encoder: &mut Encoder, done: &mut Restored) {
    for w in waiting.drain(..) {
        let Some(slot) = slots.get_mut(w.series as usize) else { continue };
        let extra = (w.extra as usize).checked_sub(1).and_then(|i| extras.get(i));
        let (start, histogram) = extra.map_or((0, None), |(start, h)| (*start, h.as_ref()));
        let p = Point { at: w.at, value: w.value, start, histogram };
        if let Some(bytes) = slot.restore(&p, encoder) {
            done.samples += 1;
            done.bytes += bytes;
        }
    }
}

impl Slot {
    /// Takes a sample that was accepted before the process was restarted, unless it is here; yields about how much
    /// memory it took. What its group has is not looked at: a sample twice in the log, which only a failed write leaves
    /// there, may stand in both then, and reading gives it once.
    pub(crate) fn restore(&mut self, p: &Point<'_>, encoder: &mut Encoder) -> Option<usize> {
        let own = self.own.get_or_insert_default();
        if p.at > self.newest {
            self.newest = p.at;
            return Some(own.push(p, encoder));
        }
        let new = matches!(own.standing(p), Ok(Standing::Nothing));
        if new { own.insert(p, encoder).ok() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use belfry_model::{Labels, SampleBuf, TimeRange};

    /// As one thread that takes each sample at once has it.
    fn check(threads: usize, settle_every: usize) {
        let (mut head, mut expected) = (Head::default(), Head::default());
        let series = 3 * RANGE_SERIES as u32 / 2;
        for i in 0..series {
            let labels = Labels::from_pairs([("__name__", format!("m{i}"))]);
            head.open(&labels);
            expected.open(&labels);
        }
        let mut restorer = Restorer { threads, ..Restorer::new() };
        let histogram = Arc::new(Histogram::default());
        let mut count = 0;
        for n in 0..40_000u32 {
            let id = n.wrapping_mul(7_919) % series;
            // Some are late, some stand there already, some have a start timestamp or are histograms.
            let at = i64::from(n / 4_000 * 10) - if n.is_multiple_of(11) { 25 } else { 0 };
            let start = if n.is_multiple_of(13) { 1 } else { 0 };
            let histogram = n.is_multiple_of(17).then_some(&histogram);
            let p = Point { at, value: f64::from(n % 97) / 4.0, start, histogram };
            restorer.add(&mut head, id, &p);
            let restored = expected.slots[id as usize].restore(&p, &mut Encoder::default());
            count += u64::from(restored.is_some());
            expected.live_bytes += restored.unwrap_or(0);
            if (n as usize).is_multiple_of(settle_every) {
                restorer.settle(&mut head);
            }
        }
        assert!(count > 10_000 && count < 40_000, "{count} of 40000");
        assert_eq!((restorer.finish(&mut head), head.live_bytes), (count, expected.live_bytes));
        for id in 0..series {
            let read = |h: &Head| {
                let mut buf = SampleBuf::default();
                h.own(id).map(|own| own.decode(TimeRange::ALL, &mut buf)).transpose().unwrap();
                (format!("{buf:?}"), h.slot(id).unwrap().newest)
            };
            assert_eq!(read(&head), read(&expected), "series {id}");
        }
    }

    #[test]
    fn samples_that_waited_are_what_they_are_when_taken_at_once() {
        check(1, 50_000);
        check(4, 50_000);
        check(4, 1_777);
    }
}
