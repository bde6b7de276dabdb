//! Old samples of an import, on their way to the engine: the local window is not for them.
//!
//! Invariant: what contradicts the local window, or what the same import said before, is refused and not queued: an
//! engine that keeps the last value would lose the acknowledged one.
//! Not here: what the engine itself has, and what it does with a second value.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use belfry_ingest::push::import::{Backfill, Backfilled, BeginBackfill};
use belfry_model::{Labels, Sample, TimestampMs, Value, WriteError};
use belfry_remote::engine::SeriesSamples;
use belfry_remote::queue::Queue;
use belfry_remote::tee::write_error;
use belfry_store::Store;

/// Samples that are held until they are queued.
const HELD_MAX: usize = 10_000;

struct ToQueue {
    queue: Arc<Queue>,
    store: Arc<Store>,
    now: TimestampMs,
    /// The local window has nothing from before.
    window_from: TimestampMs,
    held: BTreeMap<Labels, Vec<Sample>>,
    count: usize,
    done: Backfilled,
}

impl ToQueue {
    fn flush(&mut self) -> Result<(), WriteError> {
        self.count = 0;
        for (labels, samples) in std::mem::take(&mut self.held) {
            let (samples, same) = self.taken(&labels, samples);
            let n = samples.len() as u64;
            if n > 0 {
                let series = SeriesSamples { labels, samples, exemplars: Vec::new() };
                self.queue.append_series(&series, self.now).map_err(|e| write_error(&e))?;
            }
            self.done.accepted += n + same;
        }
        Ok(())
    }

    /// What of a series' samples is to be queued, in order of time, and how many more say the same again.
    fn taken(&mut self, labels: &Labels, mut samples: Vec<Sample>) -> (Vec<Sample>, u64) {
        // Stable: of two at one time the first stays first.
        samples.sort_by_key(|s| s.at);
        let before_window = samples.partition_point(|s| s.at < self.window_from);
        let mut contradicts = vec![false; before_window];
        contradicts.extend(self.store.contradicts(labels, &samples[before_window..]));
        let mut taken: Vec<Sample> = Vec::with_capacity(samples.len());
        let mut same = 0;
        for (s, contradicts) in samples.into_iter().zip(contradicts) {
            match taken.last().filter(|t| t.at == s.at) {
                Some(t) if is_same(&t.value, &s.value) => same += 1,
                Some(_) => self.done.duplicate += 1,
                None if contradicts => self.done.duplicate += 1,
                None => taken.push(s),
            }
        }
        (taken, same)
    }
}

fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
        _ => a == b,
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

/// Begins backfills into the queue, of what does not contradict the `window` that `store` has.
pub(super) fn of(queue: Arc<Queue>, store: Arc<Store>, window: Duration) -> BeginBackfill {
    Box::new(move |now| Box::new(begin(&queue, &store, window, now)))
}

fn begin(queue: &Arc<Queue>, store: &Arc<Store>, window: Duration, now: TimestampMs) -> ToQueue {
    ToQueue {
        queue: queue.clone(),
        store: store.clone(),
        now,
        window_from: now.minus(window),
        held: BTreeMap::new(),
        count: 0,
        done: Backfilled::default(),
    }
}

#[cfg(test)]
mod tests {
    use belfry_model::{Batch, Writer as _};
    use belfry_remote::queue::QueueConfig;
    use belfry_store::StoreConfig;
    use belfry_store::disk::SimDisk;

    use super::*;

    const NOW: TimestampMs = TimestampMs(1_700_000_000_000);

    fn at(minutes: i64, value: f64) -> Sample {
        Sample { at: TimestampMs(NOW.0 + minutes * 60_000), value: Value::Float(value), start: None }
    }

    #[tokio::test]
    async fn an_import_queues_nothing_that_contradicts_the_window_or_itself() {
        let store = Store::open(StoreConfig::memory(), Arc::new(SimDisk::default()), NOW).expect("a store").0;
        let bill = Labels::from_pairs([("__name__", "bill")]);
        let reference = store.open(&bill).expect("a series");
        let batch = Batch { refs: vec![reference], values: vec![100.0], ..Batch::at("test", at(-10, 0.0).at) };
        store.append(batch).await.expect("written");
        let config = QueueConfig {
            folder: "/q".into(),
            bytes_max: 1 << 20,
            sync_each: false,
            sync: true,
            external: Labels::empty(),
        };
        let queue = Arc::new(Queue::open(config, Arc::new(SimDisk::default())).expect("a queue"));

        let mut import = begin(&queue, &store, Duration::from_secs(6 * 3600), NOW);
        for sample in [at(-10, 7.0), at(-9, 1.0), at(-9, 2.0), at(-9, 1.0), at(-30_000, 5.0), at(-10, 100.0)] {
            import.push(&bill, sample).expect("taken");
        }
        let done = Box::new(import).finish().expect("written");
        assert_eq!(done, Backfilled { accepted: 4, duplicate: 2, ..Backfilled::default() });
        let parcel = queue.next_parcel().expect("something waits");
        let series = &parcel.shipment.series[0];
        assert_eq!(series.samples, [at(-30_000, 5.0), at(-10, 100.0), at(-9, 1.0)]);
    }
}
