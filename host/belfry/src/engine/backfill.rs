//! Old samples of an import, on their way to the engine: the local window is not for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use belfry_ingest::push::import::{Backfill, Backfilled, BeginBackfill};
use belfry_model::{Labels, Sample, TimestampMs, WriteError};
use belfry_remote::engine::SeriesSamples;
use belfry_remote::queue::Queue;
use belfry_remote::tee::write_error;

/// Samples that are held until they are queued.
const HELD_MAX: usize = 10_000;

struct ToQueue {
    queue: Arc<Queue>,
    now: TimestampMs,
    held: BTreeMap<Labels, Vec<Sample>>,
    count: usize,
    done: Backfilled,
}

impl ToQueue {
    fn flush(&mut self) -> Result<(), WriteError> {
        self.count = 0;
        for (labels, samples) in std::mem::take(&mut self.held) {
            let n = samples.len() as u64;
            let series = SeriesSamples { labels, samples, exemplars: Vec::new() };
            self.queue.append_series(&series, self.now).map_err(|e| write_error(&e))?;
            self.done.accepted += n;
        }
        Ok(())
    }
}

impl Backfill for ToQueue {
    fn push(&mut self, labels: &Labels, sample: Sample) -> Result<(), WriteError> {
        if sample.at < TimestampMs(0) {
            self.done.too_old += 1;
            return Ok(());
        }
        if sample.at > self.now {
            self.done.too_new += 1;
            return Ok(());
        }
        self.held.entry(labels.clone()).or_default().push(sample);
        self.count += 1;
        if self.count >= HELD_MAX { self.flush() } else { Ok(()) }
    }

    fn finish(mut self: Box<Self>) -> Result<Backfilled, WriteError> {
        self.flush()?;
        Ok(self.done)
    }
}

/// Begins backfills into the queue.
pub(super) fn of(queue: Arc<Queue>) -> BeginBackfill {
    Box::new(move |now| {
        let (held, done) = (BTreeMap::new(), Backfilled::default());
        Box::new(ToQueue { queue: queue.clone(), now, held, count: 0, done })
    })
}
