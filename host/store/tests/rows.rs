//! Samples that come together, as a scrape's do: kept as rows, and nobody who asks can tell.

mod common;

use std::sync::Arc;

use belfry_model::write::SeriesRef;
use belfry_model::{Appended, Batch, MetricMetadata, TimestampMs, Writer};
use belfry_store::disk::SimDisk;
use belfry_store::{FsyncPolicy, Store, StoreConfig};
use common::*;

const SERIES: usize = 12;

fn refs(store: &Store) -> Vec<SeriesRef> {
    (0..SERIES).map(|i| store.open(&labels(&format!("r{i}"))).unwrap()).collect()
}

fn scrape(store: &Store, refs: &[SeriesRef], at: i64, value: f64) -> Appended {
    try_scrape(store, refs, at, value).unwrap()
}

fn try_scrape(store: &Store, refs: &[SeriesRef], at: i64, value: f64) -> Result<Appended, belfry_model::WriteError> {
    let mut batch = Batch::at("target", TimestampMs(at));
    batch.refs = refs.to_vec();
    batch.values = (0..refs.len()).map(|i| value + i as f64).collect();
    block_on(store.append(batch))
}

fn all(n: usize) -> Appended {
    Appended { accepted: n as u64, ..Appended::default() }
}

#[test]
fn a_scrape_that_comes_twice_is_no_news_and_another_value_is_refused() {
    let (store, _) = open(&SimDisk::default());
    let refs = refs(&store);
    for i in 0..40 {
        assert_eq!(scrape(&store, &refs, T0 + i * 1000, i as f64), all(SERIES));
        assert_eq!(scrape(&store, &refs, T0 + i * 1000, i as f64), all(SERIES), "row {i} once more");
        let other = scrape(&store, &refs, T0 + i * 1000, 0.5);
        assert_eq!(other, Appended { duplicate: SERIES as u64, ..Appended::default() }, "row {i}, other values");
    }
    assert_eq!(points(&store, "r3").len(), 40);
}

#[test]
fn a_late_sample_between_rows_and_a_later_one_alone_find_their_places() {
    let (store, _) = open(&SimDisk::default());
    let refs = refs(&store);
    for i in 0..5 {
        scrape(&store, &refs, T0 + i * 1000, i as f64);
    }
    assert_eq!(append(&store, &[(refs[4], T0 + 2500, 0.25), (refs[4], T0 + 9000, 0.5)]), Ok(all(2)));
    // One series is further on than the row now: it is judged alone, and so are the others.
    assert_eq!(scrape(&store, &refs, T0 + 8000, 8.0), all(SERIES));
    assert_eq!(scrape(&store, &refs, T0 + 10_000, 10.0), all(SERIES));
    let times: Vec<_> = points(&store, "r4").iter().map(|p| p.0 - T0).collect();
    assert_eq!(times, [0, 1000, 2000, 2500, 3000, 4000, 8000, 9000, 10_000]);
    assert_eq!(points(&store, "r5").len(), 7);
}

#[test]
fn a_scrape_whose_series_change_goes_on_without_a_gap() {
    let disk = SimDisk::default();
    let (store, _) = open(&disk);
    let mut refs = refs(&store);
    for i in 0..60i64 {
        if i % 20 == 10 {
            refs.remove(0);
            refs.push(store.open(&labels(&format!("new{i}"))).unwrap());
        }
        let n = refs.len();
        assert_eq!(scrape(&store, &refs, T0 + i * 1000, i as f64), all(n));
    }
    for store in [store, open(&disk.killed()).0] {
        assert_eq!(points(&store, "r0").len(), 10);
        assert_eq!(points(&store, "r1").len(), 30);
        assert_eq!(points(&store, "r11").len(), 60);
        assert_eq!(points(&store, "new30").len(), 30);
    }
}

#[test]
fn a_series_twice_in_a_scrape_is_judged_sample_by_sample() {
    let (store, _) = open(&SimDisk::default());
    let mut refs = refs(&store);
    refs.push(refs[0]);
    for i in 0..4 {
        let expected = Appended { accepted: SERIES as u64, duplicate: 1, ..Appended::default() };
        assert_eq!(scrape(&store, &refs, T0 + i * 1000, 1.0), expected, "the second value at one time");
    }
}

#[test]
fn what_is_synced_after_a_failed_sync_does_not_build_on_what_was_lost() {
    let disk = SimDisk::default();
    let config = StoreConfig { fsync: FsyncPolicy::Interval, ..config() };
    let (store, _) = Store::open(config, Arc::new(disk.clone()), TimestampMs(T0)).unwrap();
    let refs = refs(&store);
    disk.set_fail_sync(true);
    for i in 0..3 {
        // Series and group are introduced by records that the disk may not have.
        scrape(&store, &refs, T0 + i * 1000, 1.0);
        assert!(store.sync().is_err());
    }
    disk.set_fail_sync(false);
    for i in 3..6 {
        assert_eq!(scrape(&store, &refs, T0 + i * 1000, 1.0), all(SERIES));
        store.sync().unwrap();
    }
    for seed in 0..30 {
        // The files whose sync failed are reported; nobody was told that what they held is safe.
        let (store, recovery) = open(&disk.power_loss(seed));
        for i in 0..SERIES {
            let (found, warnings) = points_left(&store, &format!("r{i}"));
            assert_eq!(recovery.damage.is_empty(), warnings.is_empty(), "seed {seed}: {warnings:?}");
            for k in 3..6 {
                assert!(
                    found.contains(&(T0 + k * 1000, (1.0 + i as f64).to_bits())),
                    "seed {seed}: series {i}, row {k}"
                );
            }
        }
    }
}

#[test]
fn where_each_answer_promises_a_sync_a_failed_one_is_made_up_for_before_the_next() {
    let disk = SimDisk::default();
    let (store, _) = open(&disk);
    let refs = refs(&store);
    scrape(&store, &refs, T0, 1.0);
    disk.set_fail_sync(true);
    assert!(try_scrape(&store, &refs, T0 + 1000, 2.0).is_err());
    disk.set_fail_sync(false);
    // The store has it, so it is no news; and the disk may not.
    for _ in 0..2 {
        let again = try_scrape(&store, &refs, T0 + 1000, 2.0).unwrap_err().to_string();
        assert!(again.contains("nothing is acknowledged until a block has"), "{again}");
    }
    store.upkeep(TimestampMs(T0 + 2000)).unwrap();
    assert_eq!(scrape(&store, &refs, T0 + 1000, 2.0), all(SERIES));
    for seed in 0..30 {
        assert_eq!(points(&open(&disk.power_loss(seed)).0, "r3").len(), 2, "seed {seed}");
    }
}

#[test]
fn a_disk_that_cannot_sync_for_long_is_trusted_again_once_it_can() {
    for (is_flushed, rounds) in [(false, 0), (false, 1), (false, 3), (true, 0), (true, 2)] {
        let disk = SimDisk::default();
        let (store, _) = open(&disk);
        let refs = refs(&store);
        scrape(&store, &refs, T0, 1.0);
        if is_flushed {
            // Then there is nothing to make another block of.
            store.flush().unwrap();
        }
        disk.set_fail_sync(true);
        let unsynced = || match is_flushed {
            false => try_scrape(&store, &refs, T0 + 1000, 1.0),
            true => {
                store.declare(MetricMetadata { name: "r3".into(), ..MetricMetadata::default() });
                block_on(store.append(Batch::at("target", TimestampMs(T0))))
            }
        };
        assert!(unsynced().is_err());
        (0..rounds).for_each(|round| drop(store.upkeep(TimestampMs(T0 + 2000 + round))));
        disk.set_fail_sync(false);
        store.upkeep(TimestampMs(T0 + 3000)).unwrap();
        let when = format!("flushed: {is_flushed}, {rounds} rounds");
        assert_eq!(try_scrape(&store, &refs, T0 + 4000, 3.0), Ok(all(SERIES)), "{when}");
        for seed in 0..10 {
            let found = points(&open(&disk.power_loss(seed)).0, "r3");
            assert!(found.iter().any(|(at, _)| *at == T0 + 4000) && found[0].0 == T0, "{when}, seed {seed}");
        }
    }
}

#[test]
fn damage_of_one_row_is_said_and_takes_only_rows_that_build_on_it() {
    let disk = SimDisk::default();
    let (store, _) = open(&disk);
    let refs = refs(&store);
    for i in 0..200 {
        scrape(&store, &refs, T0 + i * 1000, (i * 7) as f64);
    }
    drop(store);
    let disk = disk.killed();
    let file = files_of(&disk, "wal").remove(0);
    disk.tamper(&file, |b| {
        let middle = b.len() / 2;
        b[middle] ^= 1;
    });
    let (store, recovery) = open(&disk);
    assert!(!recovery.damage.is_empty());
    let (found, warnings) = points_left(&store, "r5");
    assert_eq!(warnings.len(), 1);
    assert!((200 - 64..200).contains(&found.len()), "{} of 200 rows are left", found.len());
    assert!(found.iter().all(|(at, v)| *v == (((at - T0) / 1000 * 7) as f64 + 5.0).to_bits()), "none is made up");
    assert_eq!(found.last().map(|p| p.0), Some(T0 + 199_000));
}
