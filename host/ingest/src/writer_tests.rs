use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use belfry_model::sample::is_stale;
use belfry_model::{METRIC_NAME, MetricMetadata};
use tokio::sync::Notify;

use super::*;

const NOW: TimestampMs = TimestampMs(1_700_000_000_000);

/// A store that remembers what it was given; while `held` its appends do not end.
#[derive(Default)]
struct Memory {
    refs: Mutex<HashMap<Labels, SeriesRef>>,
    written: Mutex<BTreeMap<(SeriesRef, i64), f64>>,
    forgotten: Mutex<Vec<SeriesRef>>,
    held: std::sync::atomic::AtomicBool,
    go: Notify,
}

#[async_trait]
impl Writer for Memory {
    fn open(&self, labels: &Labels) -> Result<SeriesRef, WriteError> {
        let mut refs = lock(&self.refs);
        let next = SeriesRef(refs.len() as u64 + 1000 * lock(&self.forgotten).len() as u64);
        Ok(*refs.entry(labels.clone()).or_insert(next))
    }

    async fn append(&self, batch: Batch) -> Result<Appended, WriteError> {
        if self.held.load(Ordering::SeqCst) {
            self.go.notified().await;
        }
        let Times::One(at) = batch.times else { panic!("one time") };
        let mut appended = Appended::default();
        for (r, v) in batch.refs.iter().zip(&batch.values) {
            if lock(&self.forgotten).contains(r) {
                appended.unknown_series += 1;
            } else {
                lock(&self.written).insert((*r, at.0), *v);
                appended.accepted += 1;
            }
        }
        Ok(appended)
    }

    fn declare(&self, _: MetricMetadata) {}
}

impl Memory {
    fn forget_all(&self) {
        let mut refs = lock(&self.refs);
        lock(&self.forgotten).extend(refs.values());
        refs.clear();
    }
}

fn series(n: usize) -> Labels {
    Labels::from_pairs([(METRIC_NAME, "m".to_owned()), ("n", n.to_string())])
}

fn ingest(series_per_producer: u64, series_total: u64) -> (Arc<Memory>, Arc<Ingest>) {
    let store = Arc::new(Memory::default());
    let ingest = Ingest::new(store.clone(), IngestLimits { series_per_producer, series_total });
    for name in ["a", "b"] {
        ingest.register(name, Labels::from_pairs([("plugin", name)]), None);
    }
    (store, Arc::new(ingest))
}

#[test]
fn the_limit_sheds_new_series_and_never_open_ones() {
    let (store, ingest) = ingest(3, 100);
    let first = ingest.open("a", &series(0)).unwrap();
    ingest.open("a", &series(1)).unwrap();
    ingest.open("a", &series(2)).unwrap();
    let err = ingest.open("a", &series(3)).unwrap_err();
    assert_eq!(err, OpenError::ProducerLimit { producer: "a".into(), limit: 3 });
    assert_eq!(ingest.open("a", &series(0)), Ok(first));
    assert!(ingest.open("b", &series(3)).is_ok(), "a neighbour has a limit of its own");
    assert_eq!(lock(&store.refs).len(), 4, "a shed series never reaches the store");
    let stats = ingest.producer_stats("a").unwrap();
    assert_eq!((stats.series, stats.series_shed), (3, 1));
}

#[test]
fn the_total_limit_holds_over_all_producers() {
    let (_, ingest) = ingest(100, 2);
    ingest.open("a", &series(0)).unwrap();
    ingest.open("b", &series(0)).unwrap();
    assert_eq!(ingest.open("b", &series(1)), Err(OpenError::TotalLimit { limit: 2 }));
    assert_eq!(ingest.stats().series, 2);
}

#[test]
fn only_the_registered_may_open() {
    let (_, ingest) = ingest(3, 100);
    assert_eq!(ingest.open("stranger", &series(0)), Err(OpenError::UnknownProducer("stranger".into())));
    let claims = Labels::from_pairs([(METRIC_NAME, "m"), ("plugin", "b")]);
    assert!(matches!(ingest.open("a", &claims), Err(OpenError::BadLabels(_))));
    assert_eq!(ingest.producer_stats("a").unwrap().series_refused, 1);
}

#[tokio::test]
async fn closed_series_are_marked_and_make_room() {
    let (store, ingest) = ingest(1, 100);
    let gone = ingest.open("a", &series(0)).unwrap();
    ingest.close("a", NOW, &[gone]).await.unwrap();
    assert!(is_stale(lock(&store.written)[&(gone, NOW.0)]));
    assert!(ingest.open("a", &series(1)).is_ok());
}

#[tokio::test]
async fn churn_within_the_limit_never_sheds() {
    let (_, ingest) = ingest(10, 100);
    let mut before: Vec<SeriesRef> = Vec::new();
    for round in 0..50 {
        let at = TimestampMs(NOW.0 + round as i64 * 1000);
        let mut end = Batch::at("a", at);
        end.values = vec![stale_nan(); before.len()];
        end.refs = std::mem::take(&mut before);
        ingest.append(end).await.unwrap();
        let mut batch = Batch::at("a", at);
        batch.refs = (0..10).map(|n| ingest.open("a", &series(round * 10 + n)).unwrap()).collect();
        batch.values = vec![1.0; 10];
        before = batch.refs.clone();
        ingest.append(batch).await.unwrap();
    }
    assert_eq!(ingest.producer_stats("a").unwrap().series, 10);
}

#[tokio::test]
async fn a_retired_producer_leaves_ended_series() {
    let (store, ingest) = ingest(10, 100);
    let refs: Vec<_> = (0..3).map(|n| ingest.open("a", &series(n)).unwrap()).collect();
    ingest.retire("a", NOW).await.unwrap();
    assert!(refs.iter().all(|r| is_stale(lock(&store.written)[&(*r, NOW.0)])));
    assert_eq!(ingest.open("a", &series(0)), Err(OpenError::UnknownProducer("a".into())));
    // A batch that was on its way is written all the same, and counted.
    let mut late = Batch::at("a", NOW);
    late.refs.push(refs[0]);
    late.values.push(1.0);
    assert_eq!(ingest.append(late).await.unwrap().accepted, 1);
    assert_eq!(ingest.producer_stats(REMOVED_PRODUCER).unwrap().batches, 2);
}

#[tokio::test]
async fn outcomes_are_counted_by_producer() {
    let (store, ingest) = ingest(10, 100);
    let r = ingest.open("a", &series(0)).unwrap();
    let mut batch = Batch::at("a", NOW);
    batch.refs = vec![r];
    batch.values = vec![1.0];
    ingest.append(batch.clone()).await.unwrap();
    store.forget_all();
    ingest.append(batch.clone()).await.unwrap();
    batch.values.clear();
    assert!(matches!(ingest.append(batch).await, Err(AppendError::Malformed { .. })));
    let stats = ingest.producer_stats("a").unwrap();
    assert_eq!((stats.batches, stats.batches_failed, stats.samples_lost), (2, 1, 1));
    assert_eq!((stats.samples.accepted, stats.samples.unknown_series), (1, 1));
    assert_eq!(stats.last_batch, Some(NOW));
    assert_eq!(ingest.producer_stats("b").unwrap().batches, 0);
}

#[tokio::test]
async fn a_store_that_stands_still_sheds_past_the_bound() {
    let (store, ingest) = ingest(10, 100);
    store.held.store(true, Ordering::SeqCst);
    let mut tasks = Vec::new();
    for _ in 0..IN_FLIGHT_BATCHES_MAX + WAITING_BATCHES_MAX {
        let ingest = ingest.clone();
        tasks.push(tokio::spawn(async move { ingest.append(Batch::at("a", NOW)).await }));
    }
    while ingest.stats().waiting < WAITING_BATCHES_MAX {
        tokio::task::yield_now().await;
    }
    let refused = ingest.append(Batch::at("b", NOW)).await;
    assert_eq!(refused, Err(AppendError::Busy { waiting: WAITING_BATCHES_MAX }));
    assert_eq!((ingest.stats().batches_shed, ingest.stats().in_flight), (1, IN_FLIGHT_BATCHES_MAX));
    store.held.store(false, Ordering::SeqCst);
    store.go.notify_waiters();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!((ingest.stats().waiting, ingest.stats().in_flight), (0, 0));
}

#[tokio::test]
async fn a_caller_that_gives_up_waiting_frees_its_place() {
    let (store, ingest) = ingest(10, 100);
    store.held.store(true, Ordering::SeqCst);
    let mut tasks = Vec::new();
    for _ in 0..IN_FLIGHT_BATCHES_MAX + 5 {
        let ingest = ingest.clone();
        tasks.push(tokio::spawn(async move { ingest.append(Batch::at("a", NOW)).await }));
    }
    while ingest.stats().waiting < 5 {
        tokio::task::yield_now().await;
    }
    for task in tasks {
        task.abort();
        let _ = task.await;
    }
    assert_eq!((ingest.stats().waiting, ingest.stats().in_flight), (0, 0));
}

#[tokio::test]
async fn what_the_host_records_survives_a_store_that_forgets() {
    let (store, ingest) = ingest(10, 100);
    let up = Labels::from_pairs([(METRIC_NAME, "ALERTS"), ("job", "host labels are the host's own here")]);
    let samples = vec![(up, 1.0), (series(1), 2.0)];
    assert_eq!(ingest.record(NOW, samples.clone()).await.unwrap().accepted, 2);
    store.forget_all();
    assert_eq!(ingest.record(NOW, samples).await.unwrap(), Appended { accepted: 2, ..Default::default() });
    assert_eq!(ingest.stats().record_cache, 2);
}
