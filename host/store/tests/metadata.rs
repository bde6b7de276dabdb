//! What is kept beside samples: metadata and exemplars, how much of it, and when it is on the disk.

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use belfry_model::{
    Appended, Batch, Exemplar, Labels, Matcher, MetricMetadata, SeriesRead, TimeRange, TimestampMs, Writer,
};
use belfry_store::disk::SimDisk;
use belfry_store::{RealDisk, Store, StoreConfig};
use common::*;

#[test]
fn metadata_is_bounded_in_bytes() {
    let (store, _) = Store::open(StoreConfig::memory(), Arc::new(RealDisk), TimestampMs(T0)).unwrap();
    let declare = |name: &str, bytes: usize| {
        store.declare(MetricMetadata { name: name.into(), help: "h".repeat(bytes), ..MetricMetadata::default() });
    };
    (0..40).for_each(|n| declare(&format!("m{n}"), 1 << 20));
    let kept = block_on(store.metadata(None)).unwrap();
    assert_eq!((kept.len(), store.stats().shed_metadata), (31, 9));
    declare("m0", 10);
    declare("m31", 1 << 20);
    assert_eq!(store.stats().shed_metadata, 9, "what is shorter now made room");
    declare("m31", 10);
    assert_eq!(block_on(store.metadata(Some("m31"))).unwrap()[0].help.len(), 10);
}

#[test]
fn metadata_goes_to_the_disk_with_the_next_batch_and_that_may_be_an_empty_one() {
    let disk = SimDisk::default();
    let store = open(&disk).0;
    let metadata = MetricMetadata { name: "m".into(), help: "What it is.".into(), ..MetricMetadata::default() };
    store.declare(metadata.clone());
    assert_eq!(block_on(store.append(Batch::at("test", TimestampMs(T0)))), Ok(Appended::default()));
    drop(store);
    let store = open(&disk.killed()).0;
    assert_eq!(block_on(store.metadata(Some("m"))).unwrap(), [metadata]);
}

/// A single record for all that only the log knows was longer than the reader takes.
#[test]
fn what_only_the_log_knows_goes_on_in_records_that_can_be_read() {
    let disk = SimDisk::default();
    let (store, _) = open(&disk);
    let id = store.open(&labels("a")).unwrap();
    for n in 0..7 {
        store.declare(MetricMetadata { name: format!("m{n}"), help: "h".repeat(4 << 20), ..MetricMetadata::default() });
        let mut batch = Batch::at("test", TimestampMs(T0 + n));
        batch.refs = vec![id];
        batch.values = vec![1.0];
        let labels = Labels::from_pairs([("t", format!("{n}{}", "x".repeat(4 << 20)).as_str())]);
        batch.exemplars = vec![(id, Exemplar { labels, value: 1.0, at: TimestampMs(T0 + n) })];
        block_on(store.append(batch)).unwrap();
    }
    store.flush().unwrap();
    let mut records = Vec::new();
    for file in &files_of(&disk, "wal") {
        disk.tamper(file, |bytes| {
            let mut at = 16;
            while let Some(length) = bytes.get(at + 4..at + 8) {
                records.push(u32::from_le_bytes(length.try_into().unwrap()) as usize);
                at += 12 + records.last().unwrap();
            }
        });
    }
    assert!(records.len() > 1 && records.iter().all(|n| *n < 40 << 20), "{records:?}");
    let (restarted, recovery) = open(&disk.killed());
    assert_eq!(recovery.damage.len(), 0);
    assert_eq!(block_on(restarted.metadata(None)).unwrap().len(), 7);
    let exemplars = block_on(restarted.exemplars(&[Matcher::equal("job", "test")], TimeRange::ALL)).unwrap();
    assert!(exemplars[0].1.len() > 1, "{}", exemplars[0].1.len());
}

/// A block would not make them fewer, and no block is to go for them.
#[test]
fn metadata_in_the_log_makes_no_block_due_and_deletes_none() {
    let disk = SimDisk::default();
    let retention_bytes = Some(16 << 20);
    let config = StoreConfig { retention_bytes, block_span: Duration::from_secs(86_400), ..config() };
    let (store, _) = Store::open(config, Arc::new(disk.clone()), TimestampMs(T0)).unwrap();
    put(&store, "a", T0, 1.0).unwrap();
    store.flush().unwrap();
    for i in 0..6_000 {
        let name = format!("metric_{i}_total");
        store.declare(MetricMetadata { name, help: "x".repeat(4_000), ..MetricMetadata::default() });
    }
    let mut blocks = Vec::new();
    for i in 1..=5 {
        put(&store, "a", T0 + i * 1_000, 1.0).unwrap();
        store.upkeep(TimestampMs(T0 + i * 1_000)).unwrap();
        blocks.push(store.stats().flushes);
    }
    assert!(store.stats().wal_bytes > 16 << 20, "{}", store.stats().wal_bytes);
    assert_eq!(blocks, [2, 2, 2, 2, 2], "one, for what the log had until then was not known to stay");
    assert_eq!(points(&store, "a").len(), 6);
}

#[test]
fn a_wrong_clock_takes_no_exemplar_and_refuses_no_sample_of_the_right_time() {
    let config = StoreConfig { retention: Some(Duration::from_secs(86_400)), ..StoreConfig::memory() };
    let (store, _) = Store::open(config, Arc::new(RealDisk), TimestampMs(T0)).unwrap();
    let clock = Arc::new(Fixed(T0.into()));
    store.refuse_ahead_of(clock.clone());
    let id = store.open(&labels("a")).unwrap();
    let send = |at: i64| {
        let mut batch = Batch::at("test", TimestampMs(T0 + at));
        (batch.refs, batch.values) = (vec![id], vec![1.0]);
        let labels = Labels::from_pairs([("trace_id", at.to_string())]);
        batch.exemplars = vec![(id, Exemplar { labels, value: 1.0, at: TimestampMs(T0 + at) })];
        block_on(store.append(batch)).unwrap()
    };
    let accepted = Appended { accepted: 1, exemplars: 1, ..Appended::default() };
    assert_eq!(send(0), accepted);
    store.upkeep(TimestampMs(T0)).unwrap();
    // A year ahead; what is judged by went on evenly.
    clock.0.store(T0 + 366 * 86_400_000, Ordering::Relaxed);
    store.upkeep_judging(TimestampMs(T0 + 366 * 86_400_000), TimestampMs(T0 + 5_000)).unwrap();
    assert_eq!(send(5_000), accepted);
    let kept = block_on(store.exemplars(&[Matcher::equal("__name__", "a")], TimeRange::ALL)).unwrap();
    assert_eq!(kept[0].1.len(), 2);
}
