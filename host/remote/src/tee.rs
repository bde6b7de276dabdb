//! The writer of a house whose samples go to an engine: the local store first, then the queue.
//!
//! Invariant: `Ok` means that both have what was accepted of the batch; what the store refused is not queued, so that it
//! overwrites nothing in an engine that keeps the last value.
//! Not here: limits and producers (`ingest`), sending.

use std::sync::Arc;

use async_trait::async_trait;
use belfry_model::{Appended, Batch, Clock, Labels, MetricMetadata, SeriesRef, WriteError, Writer};

use crate::queue::{Queue, SeriesNames};

/// Writes to the store and to the queue.
pub struct Tee {
    /// The local window.
    pub store: Arc<dyn Writer>,
    /// Knows the labels of what the store opened.
    pub names: Arc<dyn SeriesNames>,
    /// What waits for the engine.
    pub queue: Arc<Queue>,
    /// When something was queued.
    pub clock: Arc<dyn Clock>,
}

/// A queue that cannot be written to, as producers are told.
pub fn write_error(e: &std::io::Error) -> WriteError {
    match e.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            WriteError::DiskFull(format!("the queue for the storage engine: {e}"))
        }
        _ => WriteError::Io(format!("the queue for the storage engine: {e}")),
    }
}

#[async_trait]
impl Writer for Tee {
    fn open(&self, labels: &Labels) -> Result<SeriesRef, WriteError> {
        self.store.open(labels)
    }

    fn open_always(&self, labels: &Labels) -> Result<SeriesRef, WriteError> {
        self.store.open_always(labels)
    }

    async fn append(&self, batch: Batch) -> Result<Appended, WriteError> {
        let mut copy = batch.clone();
        let appended = self.store.append(batch).await?;
        // What is left may be nothing: then metadata goes alone.
        copy.remove(&appended.refused);
        let (queue, names, now) = (self.queue.clone(), self.names.clone(), self.clock.now());
        // A disk may take its time; the reactor has others to serve.
        let queued = tokio::task::spawn_blocking(move || queue.append(&copy, &*names, now));
        let queued = queued.await.map_err(|_| WriteError::Closed)?;
        queued.map_err(|e| write_error(&e))?;
        Ok(appended)
    }

    fn declare(&self, metadata: MetricMetadata) {
        self.queue.declare(metadata.clone());
        self.store.declare(metadata);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use belfry_model::write::Times;
    use belfry_model::{Exemplar, Histogram, MetricKind, TimestampMs, Value};
    use belfry_store::disk::SimDisk;
    use belfry_store::{Store, StoreConfig};
    use belfry_testkit::SimClock;

    use super::*;
    use crate::fake;

    const NOW: TimestampMs = TimestampMs(1_700_000_000_000);

    struct Names(Arc<Store>);

    impl SeriesNames for Names {
        fn labels_of(&self, refs: &[SeriesRef]) -> Vec<Option<Labels>> {
            self.0.labels_of(refs)
        }
    }

    struct House {
        tee: Tee,
        queue: Arc<Queue>,
    }

    impl House {
        fn new() -> Self {
            let clock = Arc::new(SimClock::at(NOW));
            let config = StoreConfig { out_of_order_window: Duration::from_secs(60), ..StoreConfig::memory() };
            let store = Store::open(config, Arc::new(SimDisk::default()), NOW).expect("a store").0;
            store.refuse_ahead_of(clock.clone());
            let queue = fake::queue();
            let tee = Tee { store: store.clone(), names: Arc::new(Names(store)), queue: queue.clone(), clock };
            Self { tee, queue }
        }

        fn open(&self, name: &str) -> SeriesRef {
            self.tee.open(&Labels::from_pairs([("__name__", name)])).expect("a series")
        }

        /// What waits for the engine now, as `name@seconds value`; the engine has it then.
        fn queued(&self) -> Vec<String> {
            let mut all = Vec::new();
            while let Some(parcel) = self.queue.next_parcel() {
                for s in &parcel.shipment.series {
                    let name = s.labels.get("__name__").expect("a name");
                    for sample in &s.samples {
                        let value = match &sample.value {
                            Value::Float(v) => v.to_string(),
                            Value::Histogram(h) => format!("sum {}", h.sum),
                        };
                        all.push(format!("{name}@{} {value}", (sample.at.0 - NOW.0) / 1000));
                    }
                    all.extend(s.exemplars.iter().map(|e| format!("{name} exemplar {}", e.value)));
                }
                all.extend(parcel.shipment.metadata.iter().map(|m| format!("metadata of {}", m.name)));
                self.queue.sent(&parcel);
            }
            all.sort();
            all
        }
    }

    fn batch(samples: &[(SeriesRef, i64, f64)]) -> Batch {
        Batch {
            times: Times::Each(samples.iter().map(|(_, s, _)| TimestampMs(NOW.0 + s * 1000)).collect()),
            refs: samples.iter().map(|s| s.0).collect(),
            values: samples.iter().map(|s| s.2).collect(),
            ..Batch::at("test", NOW)
        }
    }

    #[tokio::test]
    async fn what_the_store_refuses_is_not_queued_and_the_rest_of_its_batch_is() {
        let house = House::new();
        let (bill, other) = (house.open("bill"), house.open("other"));
        house.tee.append(batch(&[(bill, 0, 100.0)])).await.expect("written");
        assert_eq!(house.queued(), ["bill@0 100"]);

        let unknown = SeriesRef(u64::MAX);
        let mixed =
            [(bill, 0, 7.0), (other, 0, 1.0), (bill, -90, 8.0), (bill, 86_400, 9.0), (unknown, 0, 5.0), (bill, 1, 2.0)];
        let appended = house.tee.append(batch(&mixed)).await.expect("written");
        let refused = (appended.duplicate, appended.too_old, appended.too_far_ahead, appended.unknown_series);
        assert_eq!((appended.accepted, refused), (2, (1, 1, 1, 1)));
        assert_eq!(house.queued(), ["bill@1 2", "other@0 1"]);

        let appended = house.tee.append(batch(&[(bill, 0, 7.0)])).await.expect("written");
        assert_eq!((appended.duplicate, house.queued()), (1, Vec::new()), "nothing is left of it");
    }

    #[tokio::test]
    async fn what_is_there_already_may_be_queued_again() {
        let house = House::new();
        let bill = house.open("bill");
        for _ in 0..2 {
            // Whoever was told of a queue that failed brings it again.
            house.tee.append(batch(&[(bill, 0, 100.0)])).await.expect("written");
            assert_eq!(house.queued(), ["bill@0 100"]);
        }
    }

    #[tokio::test]
    async fn histograms_are_judged_one_by_one_too_and_exemplars_and_metadata_go_with_what_is_left() {
        let house = House::new();
        let (a, b) = (house.open("a"), house.open("b"));
        let of = |sum| Arc::new(Histogram { sum, ..Histogram::default() });
        let first = Batch { histograms: vec![(a, NOW, None, of(1.0))], ..Batch::at("test", NOW) };
        house.tee.append(first).await.expect("written");
        assert_eq!(house.queued(), ["a@0 sum 1"]);

        let exemplar = Exemplar { labels: Labels::empty(), value: 4.0, at: NOW };
        let second = Batch {
            histograms: vec![(a, NOW, None, of(2.0)), (b, NOW, None, of(3.0))],
            exemplars: vec![(a, exemplar)],
            ..Batch::at("test", NOW)
        };
        let appended = house.tee.append(second).await.expect("written");
        assert_eq!((appended.accepted, appended.duplicate, appended.exemplars), (1, 1, 1));
        assert_eq!(house.queued(), ["a exemplar 4", "b@0 sum 3"]);

        house.tee.declare(MetricMetadata { name: "a".into(), kind: MetricKind::Gauge, ..MetricMetadata::default() });
        house.tee.append(Batch::at("test", NOW)).await.expect("written");
        assert_eq!(house.queued(), ["metadata of a"]);
    }
}
