//! The store as its users meet it: what is accepted, what is refused, what is there after a restart.

mod common;

use std::sync::Arc;
use std::time::Duration;

use belfry_model::read::ReadError;
use belfry_model::sample::{Histogram, ResetHint, Sample, Span, Value, stale_nan};
use belfry_model::write::SeriesRef;
use belfry_model::{
    Appended, Batch, Exemplar, Labels, Matcher, MetricKind, MetricMetadata, SelectHints, SelectLimits, SeriesRead,
    TimeRange, TimestampMs, WriteError, Writer,
};
use belfry_store::disk::SimDisk;
use belfry_store::{FsyncPolicy, Health, OpenError, RealDisk, Store, StoreConfig};
use common::*;

fn accepted(n: u64) -> Result<Appended, WriteError> {
    Ok(Appended { accepted: n, ..Appended::default() })
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill_and_after_a_block_was_made_of_it() {
    let disk = SimDisk::default();
    let (store, _) = open(&disk);
    for i in 0..100 {
        assert_eq!(put(&store, "a", T0 + i * 1000, i as f64), accepted(1));
    }
    let before = points(&store, "a");
    assert_eq!(before.len(), 100);
    let (restarted, recovery) = open(&disk.killed());
    assert_eq!((recovery.samples, recovery.series, recovery.damage.len()), (100, 1, 0));
    assert_eq!(points(&restarted, "a"), before);
    restarted.flush().unwrap();
    assert_eq!(points(&restarted, "a"), before);
    assert_eq!((restarted.stats().blocks, restarted.stats().block_samples), (1, 100));
}

#[test]
fn the_log_goes_once_a_block_has_it() {
    let disk = SimDisk::default();
    let (store, _) = open(&disk);
    (0..100).for_each(|i| drop(put(&store, "a", T0 + i * 1000, 0.1)));
    assert!(store.stats().wal_bytes > 1000);
    assert!(store.maintain(TimestampMs(T0 + 100_000)).unwrap().flushed);
    assert_eq!(store.stats().wal_bytes, 0);
    put(&store, "a", T0 + 100_000, 1.0).unwrap();
    let (restarted, recovery) = open(&disk.killed());
    assert_eq!((recovery.samples, recovery.blocks), (1, 1));
    assert_eq!(points(&restarted, "a").len(), 101);
}

#[test]
fn a_second_value_at_one_time_is_refused_and_the_same_one_is_no_news() {
    let (store, _) = open(&SimDisk::default());
    for boundary in 0..3 {
        assert_eq!(put(&store, "a", T0, 1.0), accepted(1), "boundary {boundary}");
        assert_eq!(put(&store, "a", T0, 2.0), Ok(Appended { duplicate: 1, ..Appended::default() }));
        assert_eq!(put(&store, "a", T0, 1.0), accepted(1));
        // The samples end up in a block; nothing changes for who asks.
        store.flush().unwrap();
    }
    assert_eq!(points(&store, "a"), [(T0, 1.0f64.to_bits())]);
    assert_eq!(store.stats().rejected_duplicate, 3);
}

#[test]
fn late_samples_are_merged_within_the_window_and_refused_before_it() {
    let (store, _) = open(&SimDisk::default());
    put(&store, "a", T0 + 60_000, 3.0).unwrap();
    store.flush().unwrap();
    assert_eq!(put(&store, "a", T0 + 30_000, 1.0), accepted(1));
    assert_eq!(put(&store, "a", T0 + 45_000, 2.0), accepted(1));
    assert_eq!(put(&store, "a", T0 + 29_999, 0.0), Ok(Appended { too_old: 1, ..Appended::default() }));
    let times: Vec<_> = points(&store, "a").iter().map(|p| p.0 - T0).collect();
    assert_eq!(times, [30_000, 45_000, 60_000]);
    // Another series is judged by its own newest sample.
    assert_eq!(put(&store, "b", T0 - 86_400_000, 0.0), accepted(1));
}

#[test]
fn a_sample_far_ahead_of_the_clock_is_refused_and_does_not_make_right_ones_too_old() {
    let (store, _) = open(&SimDisk::default());
    let clock = Arc::new(Fixed(T0.into()));
    store.refuse_ahead_of(clock.clone());
    let year = 365 * 86_400_000;
    let ahead = Ok(Appended { too_far_ahead: 1, ..Appended::default() });
    assert_eq!(put(&store, "a", T0 + year, 1.0), ahead);
    assert_eq!(put(&store, "a", T0 + 600_001, 1.0), ahead, "ten minutes are allowed");
    assert_eq!(put(&store, "a", T0 + 1000, 2.0), accepted(1));
    clock.0.store(T0 + year, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(put(&store, "a", T0 + year, 1.0), accepted(1));
    assert_eq!(store.stats().rejected_too_far_ahead, 2);
    // As rows, too.
    let refs: Vec<_> = (0..10).map(|i| store.open(&labels(&format!("r{i}"))).unwrap()).collect();
    let row = |at: i64| {
        let mut batch = Batch::at("target", TimestampMs(at));
        (batch.refs, batch.values) = (refs.clone(), vec![1.0; 10]);
        block_on(store.append(batch))
    };
    assert_eq!((row(T0 + year), row(T0 + year + 1), row(T0 + year + 2)), (accepted(10), accepted(10), accepted(10)));
    assert_eq!(row(T0 + 2 * year), Ok(Appended { too_far_ahead: 10, ..Appended::default() }));
    assert_eq!(row(T0 + year + 3), accepted(10));
}

#[test]
fn a_sample_that_retention_would_delete_at_once_is_refused_and_counted_as_too_old() {
    let too_old = |n| Ok(Appended { too_old: n, ..Appended::default() });
    let config = StoreConfig { retention: Some(Duration::from_secs(3600)), ..config() };
    let (store, _) = Store::open(config, Arc::new(SimDisk::default()), TimestampMs(T0)).unwrap();
    store.refuse_ahead_of(Arc::new(Fixed(T0.into())));
    assert_eq!(put(&store, "a", T0 - 3_600_001, 1.0), too_old(1));
    assert_eq!(put(&store, "a", T0 - 3_600_000, 1.0), accepted(1));
    assert_eq!(store.stats().rejected_too_old, 1);
    // As rows, too; and without retention what is from before 1970.
    let config = StoreConfig { retention: None, ..common::config() };
    let (store, _) = Store::open(config, Arc::new(SimDisk::default()), TimestampMs(T0)).unwrap();
    let refs: Vec<_> = (0..10).map(|i| store.open(&labels(&format!("r{i}"))).unwrap()).collect();
    for at in [i64::MIN, -3, -2, -1] {
        let mut batch = Batch::at("target", TimestampMs(at));
        (batch.refs, batch.values) = (refs.clone(), vec![1.0; 10]);
        assert_eq!(block_on(store.append(batch)), too_old(10), "at {at}");
    }
}

#[test]
fn a_size_of_0_bounds_nothing() {
    let config = StoreConfig { retention_bytes: Some(0), ..config() };
    let (store, _) = Store::open(config, Arc::new(SimDisk::default()), TimestampMs(T0)).unwrap();
    for i in 0..8 {
        put(&store, "a", T0 + i, 1.0).unwrap();
        store.flush().unwrap();
        store.maintain(TimestampMs(T0 + i)).unwrap();
    }
    assert_eq!(points(&store, "a").len(), 8);
    assert!(store.stats().compactions > 0, "nor does it what is merged");
}

#[test]
fn what_came_much_later_than_the_rest_survives_a_crash_while_it_gets_a_block_of_its_own() {
    let config = StoreConfig { retention: None, ..config() };
    let open = |disk: SimDisk| Store::open(config.clone(), Arc::new(disk), TimestampMs(T0));
    let times = |store: &Store, name: &str| points(store, name).iter().map(|p| p.0).collect::<Vec<_>>();
    for operation in 0.. {
        let disk = SimDisk::crash_at(operation);
        let mut acknowledged = Vec::new();
        if let Ok((store, _)) = open(disk.clone()) {
            for (name, at) in [("a", 100), ("b", 200), ("a", T0), ("c", T0)] {
                if put(&store, name, at, 1.0).is_ok() {
                    acknowledged.push((name, at));
                }
            }
            let flushed = store.flush();
            assert!(flushed.is_err() || store.stats().blocks == 2, "one of 1970, one of now");
            let _ = store.flush();
        }
        for (disk, how) in [(disk.killed(), "kill"), (disk.power_loss(operation), "power loss")] {
            let (store, recovery) = open(disk).unwrap();
            assert_eq!(recovery.damage, [], "{how} at {operation}");
            let check = |when: &str| {
                for (name, at) in &acknowledged {
                    let times = times(&store, name);
                    assert!(times.contains(at), "{how} at {operation} {when}: {name} at {at} in {times:?}");
                    assert!(times.is_sorted_by(|a, b| a < b), "{how} at {operation} {when}: none twice");
                }
            };
            check("at once");
            store.flush().unwrap();
            store.compact().unwrap();
            check("in blocks");
        }
        if !disk.crashed() {
            assert_eq!(acknowledged.len(), 4);
            break;
        }
    }
}

#[test]
fn without_a_bound_on_age_any_time_from_1970_on_is_taken() {
    let disk = SimDisk::default();
    let config = StoreConfig { retention: None, ..config() };
    let (store, _) = Store::open(config.clone(), Arc::new(disk.clone()), TimestampMs(T0)).unwrap();
    for (name, at) in [("a", 0), ("b", 1), ("c", 500_000_000_000)] {
        assert_eq!(put(&store, name, at, 1.0), accepted(1));
        store.flush().unwrap();
        store.maintain(TimestampMs(T0)).unwrap();
        assert_eq!(points(&store, name), [(at, 1.0f64.to_bits())]);
    }
    assert_eq!(points(&Store::open(config, Arc::new(disk.killed()), TimestampMs(T0)).unwrap().0, "a").len(), 1);
}

#[test]
fn the_window_is_judged_by_the_newest_sample_even_when_only_a_block_knows_it() {
    let disk = SimDisk::default();
    let (store, _) = open(&disk);
    put(&store, "a", T0 + 60_000, 3.0).unwrap();
    store.flush().unwrap();
    drop(store);
    let (store, _) = open(&disk.killed());
    assert_eq!(put(&store, "a", T0, 1.0), Ok(Appended { too_old: 1, ..Appended::default() }));
    assert_eq!(put(&store, "a", T0 + 60_000, 4.0), Ok(Appended { duplicate: 1, ..Appended::default() }));
    assert_eq!(put(&store, "a", T0 + 59_000, 1.0), accepted(1));
}

#[test]
fn stale_markers_histograms_starts_exemplars_and_metadata_survive_restart_and_block() {
    let disk = SimDisk::default();
    let (mut store, _) = open(&disk);
    let h = Arc::new(Histogram {
        schema: 2,
        count: 7.0,
        sum: 1.5,
        zero_threshold: 0.001,
        zero_count: 1.0,
        positive_spans: vec![Span { offset: 1, length: 2 }],
        positive_counts: vec![2.0, 4.0],
        reset_hint: ResetHint::NotReset,
        integer: true,
        ..Histogram::default()
    });
    let custom = Arc::new(Histogram {
        schema: Histogram::CUSTOM_BOUNDS,
        count: 1.5,
        sum: stale_nan(),
        positive_spans: vec![Span { offset: 0, length: 1 }],
        positive_counts: vec![1.5],
        custom_bounds: vec![0.5, 1.0],
        ..Histogram::default()
    });
    let exemplar = Exemplar { labels: Labels::from_pairs([("trace_id", "abc")]), value: 0.4, at: TimestampMs(T0 + 1) };
    let meta = MetricMetadata { name: "m".into(), kind: MetricKind::Counter, unit: "s".into(), help: "Time.".into() };
    let id = store.open(&labels("m")).unwrap();
    let mut batch = Batch::at("test", TimestampMs(T0));
    batch.refs = vec![id];
    batch.values = vec![stale_nan()];
    batch.starts = vec![T0 - 5000];
    batch.histograms = vec![
        (id, TimestampMs(T0 + 1), None, h.clone()),
        (id, TimestampMs(T0 + 2), Some(TimestampMs(T0)), custom.clone()),
    ];
    batch.exemplars = vec![(id, exemplar.clone())];
    store.declare(meta.clone());
    assert_eq!(block_on(store.append(batch)), Ok(Appended { accepted: 3, exemplars: 1, ..Appended::default() }));
    for boundary in ["head", "log", "block", "log of the next generation"] {
        let all = select(&store, &["__name__=m"], TimeRange::ALL);
        let buf = &all[0].1;
        assert_eq!(buf.times, [T0, T0 + 1, T0 + 2], "{boundary}");
        assert_eq!(buf.floats[0].to_bits(), stale_nan().to_bits(), "{boundary}");
        assert_eq!(buf.starts, [T0 - 5000, 0, T0], "{boundary}");
        let second = Sample { at: TimestampMs(T0 + 1), value: Value::Histogram(h.clone()), start: None };
        assert_eq!(buf.get(1), Some(second), "{boundary}");
        let third = buf.histograms[2].clone().unwrap();
        assert!(third.is_stale(), "{boundary}");
        assert_eq!((&third.custom_bounds, third.count), (&custom.custom_bounds, 1.5), "{boundary}");
        let matcher = [Matcher::equal("job", "test")];
        let exemplars = block_on(store.exemplars(&matcher, TimeRange::ALL)).unwrap();
        assert_eq!(exemplars, [(labels("m"), vec![exemplar.clone()])], "{boundary}");
        assert_eq!(block_on(store.metadata(Some("m"))).unwrap(), std::slice::from_ref(&meta), "{boundary}");
        match boundary {
            "log" => store.flush().unwrap(),
            _ => {
                drop(store);
                store = open(&disk.killed()).0;
            }
        }
    }
}

#[test]
fn new_series_are_shed_at_the_limit_and_open_ones_go_on() {
    let config = StoreConfig { series_max: 2, ..StoreConfig::memory() };
    let (store, _) = Store::open(config, Arc::new(RealDisk), TimestampMs(T0)).unwrap();
    assert!(store.open(&labels("a")).is_ok() && store.open(&labels("b")).is_ok());
    assert_eq!(store.open(&labels("c")), Err(WriteError::SeriesLimit { limit: 2 }));
    assert_eq!(put(&store, "a", T0, 1.0), accepted(1));
    assert_eq!(store.stats().shed_series, 1);
    assert!(store.open_always(&labels("up")).is_ok(), "what tells of the collecting finds room");
}

#[test]
fn where_places_are_short_series_that_ended_give_up_theirs_within_minutes() {
    let config = StoreConfig { series_max: 10, block_span: Duration::from_secs(7200), ..StoreConfig::memory() };
    let (store, _) = Store::open(config, Arc::new(RealDisk), TimestampMs(T0)).unwrap();
    for n in 0..10 {
        assert_eq!(put(&store, &format!("s{n}"), T0, 1.0), accepted(1));
    }
    let at = |minutes: i64| TimestampMs(T0 + minutes * 60_000);
    for minutes in 1..7 {
        for live in ["s0", "s1"] {
            put(&store, live, at(minutes).0, 1.0).unwrap();
        }
        let forgotten = store.upkeep(at(minutes)).unwrap().forgotten;
        assert_eq!(forgotten, if minutes == 6 { 8 } else { 0 }, "after {minutes} minutes");
    }
    assert_eq!(put(&store, "new", at(7).0, 1.0), accepted(1));
    assert_eq!(points(&store, "s5").len(), 1, "their samples stay");
    assert_eq!(put(&store, "s5", T0, 2.0), Ok(Appended { duplicate: 1, ..Appended::default() }));
}

#[test]
fn series_that_were_opened_and_never_written_give_up_their_places_where_they_are_short() {
    let config = StoreConfig { series_max: 100, block_span: Duration::from_secs(7200), ..StoreConfig::memory() };
    let (store, _) = Store::open(config, Arc::new(SimDisk::default()), TimestampMs(T0)).unwrap();
    put(&store, "kept", T0, 1.0).unwrap();
    for i in 0..99 {
        store.open(&labels(&format!("unused{i}"))).unwrap();
    }
    assert!(matches!(store.open(&labels("new")), Err(WriteError::SeriesLimit { .. })));
    store.maintain(TimestampMs(T0 + 61_000)).unwrap();
    assert!(store.open(&labels("new")).is_err(), "whoever opened them may be about to write");
    store.maintain(TimestampMs(T0 + 122_000)).unwrap();
    put(&store, "new", T0 + 122_000, 1.0).unwrap();
    assert_eq!(store.stats().series, 2);
}

#[test]
fn labels_that_cannot_be_stored_are_refused() {
    let (store, _) = open(&SimDisk::default());
    for bad in [Labels::empty(), Labels::from_pairs([("", "x")]), Labels::from_pairs([("a", "x".repeat(100_000))])] {
        assert!(matches!(store.open(&bad), Err(WriteError::BadLabels(_))));
    }
}

#[test]
fn an_idle_series_is_forgotten_and_its_reference_says_so() {
    let (store, _) = open(&SimDisk::default());
    let old = store.open(&labels("old")).unwrap();
    append(&store, &[(old, T0, 1.0)]).unwrap();
    for i in 1..=4 {
        put(&store, "new", T0 + i * 61_000, 1.0).unwrap();
        store.maintain(TimestampMs(T0 + i * 61_000)).unwrap();
    }
    assert_eq!(store.stats().series, 1);
    let unknown = Ok(Appended { unknown_series: 1, ..Appended::default() });
    assert_eq!(append(&store, &[(old, T0 + 400_000, 1.0)]), unknown);
    // The number of the forgotten series is used again; the old reference must not mean the new series.
    let next = store.open(&labels("next")).unwrap();
    assert_eq!((next.0 as u32, next == old), (old.0 as u32, false));
    assert_eq!(append(&store, &[(old, T0 + 400_000, 1.0)]), unknown);
    assert_eq!(points(&store, "old").len(), 1, "its samples are still read");
    assert_eq!(append(&store, &[(SeriesRef(u64::MAX), T0, 1.0)]), unknown);
}

/// The exemplars of `name`, by what they say.
fn exemplars(store: &Store, name: &str) -> Vec<String> {
    let all = block_on(store.exemplars(&[Matcher::equal("__name__", name)], TimeRange::ALL)).unwrap();
    all.iter().flat_map(|(_, of)| of).map(|e| e.labels.get("id").unwrap()[..3].to_owned()).collect()
}

fn put_exemplar(store: &Store, name: &str, at: i64, id: &str) {
    let exemplar = Exemplar { labels: Labels::from_pairs([("id", id)]), value: 1.0, at: TimestampMs(at) };
    let mut batch = Batch::at("test", TimestampMs(at));
    batch.exemplars.push((store.open(&labels(name)).unwrap(), exemplar));
    assert_eq!(block_on(store.append(batch)), Ok(Appended { exemplars: 1, ..Appended::default() }));
}

#[test]
fn exemplars_stay_as_long_as_their_series_and_the_retention() {
    let day = 86_400_000;
    let config = StoreConfig { retention: Some(Duration::from_secs(86_400)), ..config() };
    let (store, _) = Store::open(config, Arc::new(SimDisk::default()), TimestampMs(T0)).unwrap();
    for name in ["live", "old"] {
        put(&store, name, T0, 1.0).unwrap();
        put_exemplar(&store, name, T0, "abc");
    }
    for hours in 1..=23 {
        put(&store, "live", T0 + hours * 3_600_000, 1.0).unwrap();
        store.maintain(TimestampMs(T0 + hours * 3_600_000)).unwrap();
    }
    assert_eq!(exemplars(&store, "live"), ["abc"]);
    assert!(exemplars(&store, "old").is_empty(), "it was forgotten");
    // Whoever has its number now has not its exemplars.
    put(&store, "next", T0 + day - 1_000, 1.0).unwrap();
    assert!(exemplars(&store, "next").is_empty());
    put(&store, "live", T0 + day, 1.0).unwrap();
    put_exemplar(&store, "live", T0 + day, "def");
    store.maintain(TimestampMs(T0 + day + 1)).unwrap();
    assert_eq!(exemplars(&store, "live"), ["def"], "older ones are beyond the retention");
}

#[test]
fn newer_exemplars_displace_older_ones_by_number_and_by_bytes() {
    let (store, _) = open(&SimDisk::default());
    put_exemplar(&store, "few", T0, "abc");
    let series = store.open(&labels("many")).unwrap();
    let exemplar = |n: i64| {
        (
            series,
            Exemplar { labels: Labels::from_pairs([("id", format!("{n:05}"))]), value: 0.0, at: TimestampMs(T0 + n) },
        )
    };
    let mut batch = Batch::at("test", TimestampMs(T0));
    batch.exemplars.extend((0..49_999).map(exemplar));
    block_on(store.append(batch)).unwrap();
    assert_eq!((exemplars(&store, "few").len(), exemplars(&store, "many").len()), (1, 49_999));
    put_exemplar(&store, "many", T0 + 100_000, "new");
    assert_eq!((exemplars(&store, "few").len(), exemplars(&store, "many").len()), (0, 50_000), "the oldest goes");
    let long = |n: usize| format!("{n:03}{}", "x".repeat(100_000));
    (0..400).for_each(|n| put_exemplar(&store, "few", T0 + 200_000 + n as i64, &long(n)));
    let left = exemplars(&store, "few");
    assert!((300..340).contains(&left.len()) && left.last().unwrap() == "399", "{} of 32 MiB", left.len());
    assert!(exemplars(&store, "many").is_empty());
}

#[test]
fn retention_by_time_deletes_whole_blocks_that_are_too_old() {
    let disk = SimDisk::default();
    let config = StoreConfig { retention: Some(Duration::from_secs(3600)), ..config() };
    let (store, _) = Store::open(config, Arc::new(disk.clone()), TimestampMs(T0)).unwrap();
    put(&store, "a", T0, 1.0).unwrap();
    store.flush().unwrap();
    put(&store, "a", T0 + 1_800_000, 1.0).unwrap();
    store.flush().unwrap();
    put(&store, "a", T0 + 3_600_000, 1.0).unwrap();
    assert_eq!(store.upkeep(TimestampMs(T0 + 3_700_000)).unwrap().expired, 0);
    put(&store, "a", T0 + 3_600_001, 1.0).unwrap();
    assert_eq!(store.upkeep(TimestampMs(T0 + 3_700_000)).unwrap().expired, 1);
    assert_eq!(points(&store, "a").len(), 3);
}

/// A store with blocks of one sample each at these times, kept for an hour.
fn kept_for_an_hour(times: &[i64]) -> Arc<Store> {
    let config = StoreConfig { retention: Some(Duration::from_secs(3600)), ..config() };
    let (store, _) = Store::open(config, Arc::new(SimDisk::default()), TimestampMs(T0)).unwrap();
    for at in times {
        put(&store, "a", *at, 1.0).unwrap();
        store.flush().unwrap();
    }
    store
}

const YEAR: i64 = 366 * 86_400_000;

#[test]
fn age_is_judged_by_the_newest_sample_and_not_by_a_time_alone() {
    let store = kept_for_an_hour(&[T0, T0 + 1_800_000]);
    assert_eq!(store.upkeep(TimestampMs(T0 + YEAR)).unwrap().expired, 0, "nothing came since");
    put(&store, "b", T0 + YEAR, 1.0).unwrap();
    assert_eq!(store.upkeep(TimestampMs(T0 + YEAR)).unwrap().expired, 2);
}

#[test]
fn samples_from_the_future_do_not_make_others_old() {
    // In a block of their own, in one with others, in memory.
    let store = kept_for_an_hour(&[T0, T0 + 1_800_000, T0 + YEAR]);
    put(&store, "b", T0 + 1_900_000, 1.0).unwrap();
    put(&store, "c", T0 + 2 * YEAR, 1.0).unwrap();
    assert_eq!(store.upkeep(TimestampMs(T0 + 2_000_000)).unwrap().expired, 0);
    store.flush().unwrap();
    assert_eq!(store.upkeep(TimestampMs(T0 + 2_000_000)).unwrap().expired, 0);
    assert_eq!(points(&store, "a").len(), 3);
}

#[test]
fn a_clock_that_is_not_vouched_for_deletes_nothing() {
    let store = kept_for_an_hour(&[T0, T0 + 1_800_000]);
    put(&store, "a", T0 + YEAR, 1.0).unwrap();
    let upkeep = |judged| store.upkeep_judging(TimestampMs(T0 + YEAR), TimestampMs(judged)).unwrap().expired;
    assert_eq!(upkeep(T0 + 1_900_000), 0);
    assert_eq!(upkeep(T0 + YEAR), 2);
}

#[test]
fn blocks_that_are_kept_apart_stay_so_when_they_are_merged() {
    let disk = SimDisk::default();
    let config = StoreConfig { retention: Some(Duration::from_secs(3600)), ..config() };
    let (store, _) = Store::open(config, Arc::new(disk.clone()), TimestampMs(T0)).unwrap();
    let fill = |range: std::ops::Range<i64>| {
        for i in range {
            put(&store, "a", T0 + i * 60_000, 1.0).unwrap();
            store.flush().unwrap();
        }
    };
    fill(0..6);
    let below = store.next_block();
    store.keep_apart(below, None);
    fill(6..12);
    assert!(store.compact().unwrap() > 0);
    put(&store, "a", T0 + YEAR, 1.0).unwrap();
    store.upkeep(TimestampMs(T0 + YEAR)).unwrap();
    let left = points(&store, "a").len();
    assert!((7..13).contains(&left), "{left}: all six from before, and what is in a block with them");
    // With a retention of their own they go by that.
    store.keep_apart(below, Some(Duration::from_secs(86_400)));
    store.upkeep(TimestampMs(T0 + YEAR)).unwrap();
    assert_eq!(points(&store, "a").len(), 1);
}

#[test]
fn retention_by_size_deletes_the_oldest_first_and_four_blocks_become_one() {
    let disk = SimDisk::default();
    let config = StoreConfig { retention_bytes: Some(20_000), block_span: Duration::from_secs(5), ..config() };
    let (store, _) = Store::open(config, Arc::new(disk.clone()), TimestampMs(T0)).unwrap();
    let id = store.open(&labels("a")).unwrap();
    for round in 0..200i64 {
        let at = T0 + round * 10_000;
        let noise = |i: i64| {
            let mixed = ((at + i) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            f64::from_bits(0x3ff0_0000_0000_0000 | mixed >> 12)
        };
        append(&store, &(0..100).map(|i| (id, at + i * 100, noise(i))).collect::<Vec<_>>()).unwrap();
        store.maintain(TimestampMs(at + 10_000)).unwrap();
        assert!(disk.used() < 60_000, "round {round}: {} bytes", disk.used());
    }
    let stats = store.stats();
    assert!(stats.compactions > 10 && stats.blocks_expired > 0 && stats.blocks <= 16, "{stats:?}");
    let times: Vec<_> = points(&store, "a").iter().map(|p| p.0).collect();
    assert!(times.len() > 100 && *times.last().unwrap() == T0 + 1_999_900, "{:?}", times.last());
    assert!(times.windows(2).all(|w| w[1] - w[0] == 100), "the newest are kept without a gap");
}

#[test]
fn the_log_is_a_block_before_it_takes_more_than_its_part_of_all() {
    let disk = SimDisk::default();
    let retention_bytes = Some(16 << 20);
    let config = StoreConfig { retention_bytes, block_span: Duration::from_secs(86_400), ..config() };
    let (store, _) = Store::open(config, Arc::new(disk.clone()), TimestampMs(T0)).unwrap();
    let ids: Vec<_> = (0..100).map(|i| store.open(&labels(&format!("m{i}"))).unwrap()).collect();
    let mut sent = 0;
    while store.stats().flushes == 0 {
        let wal_bytes = store.stats().wal_bytes;
        assert!(wal_bytes < 5 << 20, "{wal_bytes} bytes of log");
        let points: Vec<_> =
            (0..20_000).map(|i| (ids[i % 100], T0 + sent + i as i64 / 100, (i as f64).sqrt())).collect();
        append(&store, &points).unwrap();
        sent += 200;
        store.upkeep(TimestampMs(T0)).unwrap();
    }
    assert!(store.stats().wal_bytes < 1 << 20);
    assert_eq!(points(&store, "m7").len() as i64, sent, "nothing had to go");
}

#[test]
fn a_full_disk_stops_writes_says_so_and_loses_nothing_acknowledged() {
    let disk = SimDisk::default();
    let (store, _) = open(&disk);
    put(&store, "a", T0, 1.0).unwrap();
    disk.set_capacity(Some(disk.used() + 10));
    assert!(matches!(put(&store, "a", T0 + 1000, 2.0), Err(WriteError::DiskFull(_))));
    assert!(matches!(put(&store, "a", T0 + 2000, 3.0), Err(WriteError::DiskFull(_))));
    assert!(matches!(store.health(), Health::DiskFull(_)), "{:?}", store.health());
    assert_eq!(points(&open(&disk.killed()).0, "a"), [(T0, 1.0f64.to_bits())]);
    disk.set_capacity(None);
    // Whoever was refused tries again.
    for (at, v) in [(1000, 2.0), (2000, 3.0)] {
        assert_eq!(put(&store, "a", T0 + at, v), accepted(1));
    }
    assert_eq!(store.health(), Health::Ok);
    let (restarted, recovery) = open(&disk.killed());
    assert_eq!((points(&restarted, "a").len(), recovery.damage), (3, vec![]));
}

#[test]
fn a_disk_too_full_for_a_block_keeps_the_log_until_there_is_room() {
    let disk = SimDisk::default();
    let (store, _) = open(&disk);
    (0..50).for_each(|i| drop(put(&store, "a", T0 + i * 1000, 1.0 / (i as f64 + 1.0))));
    let before = points(&store, "a");
    disk.set_capacity(Some(disk.used() + 10));
    assert!(store.flush().is_err());
    assert!(matches!(store.health(), Health::DiskFull(_)));
    assert_eq!(points(&store, "a"), before);
    assert_eq!(points(&open(&disk.killed()).0, "a"), before);
    disk.set_capacity(None);
    store.flush().unwrap();
    assert_eq!((store.health(), store.stats().blocks), (Health::Ok, 1));
    assert_eq!(points(&open(&disk.killed()).0, "a"), before);
}

#[test]
fn a_failed_sync_is_an_error_and_a_block_makes_up_for_it() {
    let disk = SimDisk::default();
    let (store, _) = open(&disk);
    put(&store, "a", T0, 1.0).unwrap();
    disk.set_fail_sync(true);
    assert!(matches!(put(&store, "a", T0 + 1, 2.0), Err(WriteError::Io(_))));
    assert!(matches!(store.health(), Health::Failing(_)));
    disk.set_fail_sync(false);
    assert!(store.maintain(TimestampMs(T0)).unwrap().flushed, "the head is written to a block at once");
    assert_eq!(points(&open(&disk.power_loss(1)).0, "a").len(), 2);
}

#[test]
fn a_log_whose_last_sync_failed_when_the_head_was_to_become_a_block_is_not_relied_upon() {
    let disk = SimDisk::default();
    let config = StoreConfig { fsync: FsyncPolicy::Interval, ..config() };
    let (store, _) = Store::open(config, Arc::new(disk.clone()), TimestampMs(T0)).unwrap();
    put(&store, "a", T0, 1.0).unwrap();
    disk.set_fail_sync(true);
    assert!(store.flush().is_err());
    disk.set_fail_sync(false);
    // Nothing is due, but what the disk says of the same pages now tells nothing.
    assert!(store.upkeep(TimestampMs(T0)).unwrap().flushed);
}

#[test]
fn damage_is_reported_with_its_file_and_the_rest_is_read() {
    let disk = SimDisk::default();
    let (store, _) = open(&disk);
    (0..10).for_each(|i| drop(put(&store, "a", T0 + i, i as f64)));
    drop(store);
    let disk = disk.killed();
    let file = files_of(&disk, "wal").remove(0);
    disk.tamper(&file, |b| {
        let middle = b.len() / 2;
        b[middle] ^= 1;
    });
    let (store, recovery) = open(&disk);
    assert_eq!(recovery.damage.len(), 1);
    assert_eq!(recovery.damage[0].file, file);
    let (found, warnings) = points_left(&store, "a");
    assert_eq!((found.len(), warnings.len()), (9, 1));
}

#[test]
fn a_damaged_block_is_an_error_for_its_samples_and_no_other() {
    let disk = SimDisk::default();
    let (store, _) = open(&disk);
    put(&store, "a", T0, 1.0).unwrap();
    store.flush().unwrap();
    put(&store, "a", T0 + 10, 2.0).unwrap();
    drop(store);
    let disk = disk.killed();
    let file = files_of(&disk, "block").remove(0);
    // Behind the header stands the first chunk's checksum.
    disk.tamper(&file, |b| b[17] ^= 1);
    let (store, _) = open(&disk);
    let read = |from: i64| {
        let range = TimeRange::new(TimestampMs(from), TimestampMs(T0 + 100)).unwrap();
        let set = block_on(store.select(&[], range, &SelectHints::default(), SelectLimits::default())).unwrap();
        let mut buf = belfry_model::SampleBuf::default();
        set.series[0].samples.decode(range, &mut buf).map(|()| buf.len())
    };
    assert_eq!(read(T0 + 5), Ok(1));
    assert!(matches!(read(T0), Err(ReadError::Damaged(e)) if e.contains(&*file.to_string_lossy())));
}

#[test]
fn limits_of_a_read_are_kept() {
    let (store, _) = open(&SimDisk::default());
    for i in 0..5 {
        put(&store, &format!("m{i}"), T0, 1.0).unwrap();
    }
    let read = |series_max, samples_max| {
        let limits = SelectLimits { series_max, samples_max };
        block_on(store.select(&[], TimeRange::ALL, &SelectHints::default(), limits)).map(|s| s.series.len())
    };
    assert_eq!(read(5, 5), Ok(5));
    assert_eq!(read(4, 5), Err(ReadError::TooManySeries { limit: 4 }));
    assert_eq!(read(5, 4), Err(ReadError::TooManySamples { limit: 4 }));
}

#[test]
fn names_and_values_are_those_of_series_with_samples_in_the_range() {
    let (store, _) = open(&SimDisk::default());
    put(&store, "early", T0, 1.0).unwrap();
    store.flush().unwrap();
    put(&store, "late", T0 + 100_000, 1.0).unwrap();
    store.open(&labels("never")).unwrap();
    let values = |from: i64, to: i64| {
        let range = TimeRange::new(TimestampMs(from), TimestampMs(to)).unwrap();
        block_on(store.label_values("__name__", &[], range, 0)).unwrap()
    };
    assert_eq!(values(T0, T0 + 1), ["early"]);
    assert_eq!(values(T0 + 1, T0 + 200_000), ["late"]);
    assert_eq!(values(T0, T0 + 200_000), ["early", "late"]);
    assert_eq!(block_on(store.label_names(&[], TimeRange::ALL, 0)).unwrap(), ["__name__", "job"]);
    assert_eq!(
        block_on(store.series(&["__name__!=early".parse().unwrap()], TimeRange::ALL, 0)).unwrap(),
        [labels("late")]
    );
}

#[test]
fn a_folder_in_use_or_not_writable_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let open = |path: &std::path::Path| Store::open(StoreConfig::folder(path), Arc::new(RealDisk), TimestampMs(T0));
    let (first, _) = open(dir.path()).unwrap();
    let Err(e @ OpenError::InUse { .. }) = open(dir.path()) else { panic!("two stores in one folder") };
    let pid = format!("(process {})", std::process::id());
    assert!(e.to_string().contains(&pid) && e.to_string().contains("another Belfry"), "{e}");
    drop(first);
    assert!(open(dir.path()).is_ok());
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(matches!(open(&file.join("data")), Err(OpenError::NotWritable { .. })));
}

#[test]
fn a_real_folder_keeps_everything_across_restarts_and_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig { block_span: Duration::from_secs(60), ..StoreConfig::folder(dir.path()) };
    let mut written = 0;
    for round in 0..6i64 {
        let (store, recovery) = Store::open(config.clone(), Arc::new(RealDisk), TimestampMs(T0)).unwrap();
        assert_eq!(recovery.damage, []);
        for i in 0..40 {
            put(&store, "a", T0 + (round * 40 + i) * 1000, i as f64 / 3.0).unwrap();
            written += 1;
        }
        store.sync().unwrap();
        store.maintain(TimestampMs(T0 + round * 40_000)).unwrap();
        assert_eq!(points(&store, "a").len(), written);
    }
}

#[test]
fn the_memory_backend_writes_no_file_and_keeps_its_retention() {
    let config = StoreConfig { retention: Some(Duration::from_secs(600)), ..StoreConfig::memory() };
    let (store, _) = Store::open(config, Arc::new(RealDisk), TimestampMs(T0)).unwrap();
    for i in 0..10 {
        put(&store, "a", T0 + i * 3_600_000, i as f64).unwrap();
        store.maintain(TimestampMs(T0 + i * 3_600_000)).unwrap();
    }
    assert!(points(&store, "a").len() <= 3);
    assert_eq!(store.stats().wal_bytes, 0);
}

#[test]
fn a_closed_store_refuses_batches_and_can_be_opened_again() {
    let disk = SimDisk::default();
    let (store, _) = open(&disk);
    let id = store.open(&labels("a")).unwrap();
    append(&store, &[(id, T0, 1.0)]).unwrap();
    store.close();
    store.close();
    assert_eq!(append(&store, &[(id, T0 + 1, 1.0)]), Err(WriteError::Closed));
    drop(store);
    assert_eq!(points(&open(&disk).0, "a").len(), 1);
}

#[test]
fn churn_grows_neither_memory_nor_disk_without_bound() {
    let disk = SimDisk::default();
    let config = StoreConfig { retention: Some(Duration::from_secs(600)), ..config() };
    let (store, _) = Store::open(config, Arc::new(disk.clone()), TimestampMs(T0)).unwrap();
    let mut most = (0, 0, 0);
    for round in 0..120i64 {
        let at = T0 + round * 60_000;
        // A tenth of the hundred series is replaced each round.
        let ids = (0..100).map(|i| store.open(&labels(&format!("m{}", i + round * 10))).unwrap());
        append(&store, &ids.map(|id| (id, at, 1.0)).collect::<Vec<_>>()).unwrap();
        store.maintain(TimestampMs(at)).unwrap();
        let stats = store.stats();
        let now = (stats.series, stats.symbols, disk.used());
        if round < 60 {
            most = (most.0.max(now.0), most.1.max(now.1), most.2.max(now.2));
        } else {
            assert!(now.0 <= most.0 && now.1 <= most.1 && now.2 <= most.2 * 5 / 4, "{now:?} after {most:?}");
        }
    }
    assert!(most.0 < 200, "{most:?}");
    assert!(store.stats().series_forgotten > 900);
}
