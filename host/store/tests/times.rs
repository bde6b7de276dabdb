//! Times from which nothing can be counted on, in both directions: kept or refused, and no sum of them overflows.

mod common;

use std::sync::Arc;
use std::time::Duration;

use belfry_model::sample::Value;
use belfry_model::{Batch, Exemplar, Labels, Sample, TimeRange, TimestampMs, Writer};
use belfry_store::disk::SimDisk;
use belfry_store::{Downsample, Store, StoreConfig};
use common::*;

#[test]
fn times_at_the_ends_of_what_a_number_holds_are_kept_or_refused() {
    let disk = SimDisk::default();
    let config = StoreConfig {
        retention: None,
        out_of_order_window: Duration::MAX,
        downsample: vec![Downsample { after: Duration::from_secs(1), resolution: Duration::from_secs(3600) }],
        ..config()
    };
    let (store, _) = Store::open(config.clone(), Arc::new(disk.clone()), TimestampMs(T0)).unwrap();
    let times = [0, 1, T0, i64::MAX - 2, i64::MAX - 1];
    for at in [i64::MIN, i64::MIN + 1, -1, i64::MAX].into_iter().chain(times) {
        for start in [i64::MIN, i64::MAX, 1] {
            let name = format!("s{}", start % 7);
            let mut batch = Batch::at("test", TimestampMs(at));
            batch.refs.push(store.open(&labels(&name)).unwrap());
            batch.values.push(1.5);
            batch.starts.push(start);
            let exemplar = Exemplar { labels: Labels::from_pairs([("t", "1")]), value: 1.0, at: TimestampMs(at) };
            batch.exemplars.push((batch.refs[0], exemplar));
            block_on(store.append(batch)).unwrap();
        }
        if at == T0 {
            store.flush().unwrap();
        }
    }
    let mut fill = store.backfill(TimestampMs(i64::MAX));
    for at in [i64::MIN, -1, 5, i64::MAX - 3] {
        fill.push(&labels("import"), Sample { at: TimestampMs(at), value: Value::Float(1.0), start: None }).unwrap();
    }
    fill.finish().unwrap();
    let check = |store: &Store, when: &str| {
        for name in ["s1", "s0", "s-1"] {
            let found: Vec<i64> = points(store, name).iter().map(|p| p.0).collect();
            assert!(times.iter().all(|t| found.contains(t)), "{when}: {name}: {found:?}");
        }
    };
    check(&store, "head");
    for now in [i64::MIN, 0, T0, i64::MAX] {
        store.maintain(TimestampMs(now)).unwrap();
        store.flush().unwrap();
    }
    let (store, recovery) = Store::open(config, Arc::new(disk.killed()), TimestampMs(i64::MAX)).unwrap();
    assert_eq!(recovery.damage, []);
    store.maintain(TimestampMs(i64::MIN)).unwrap();
    store.maintain(TimestampMs(i64::MAX)).unwrap();
    store.delete(&[], TimeRange::ALL).unwrap();
}
