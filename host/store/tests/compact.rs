//! Merging: three levels up, the samples are the same and most chunks were never decoded on the way.

mod common;

use std::sync::Arc;
use std::time::Duration;

use belfry_model::{Batch, TimeRange, TimestampMs, Writer};
use belfry_store::disk::SimDisk;
use belfry_store::{Store, StoreConfig};
use common::*;

const SERIES: usize = 6;
const STEP: i64 = 15_000;
/// A day: 48 blocks of half an hour, of which two levels of merges make a few.
const ROWS: i64 = 5_760;

fn value(series: usize, row: i64) -> f64 {
    match series {
        0 => 1.0,
        1 => (row * 100 + row % 7) as f64,
        2 => (row as f64).sqrt(),
        _ => (row * 37 % 101) as f64 / 10.0,
    }
}

/// The last series has no sample in each 97th row.
fn has(series: usize, row: i64) -> bool {
    series + 1 < SERIES || row % 97 != 0
}

#[test]
fn half_hours_become_hours_and_days_and_not_a_bit_changes() {
    let disk = SimDisk::default();
    let config = StoreConfig { retention: None, block_span: Duration::from_secs(1800), ..config() };
    let (store, _) = Store::open(config, Arc::new(disk), TimestampMs(T0)).unwrap();
    let ids: Vec<_> = (0..SERIES).map(|s| store.open(&labels(&format!("m{s}"))).unwrap()).collect();
    for row in 0..ROWS {
        let at = TimestampMs(T0 + row * STEP + row % 4);
        let mut batch = Batch::at("test", at);
        for s in (0..SERIES).filter(|s| has(*s, row)) {
            batch.refs.push(ids[s]);
            batch.values.push(value(s, row));
        }
        assert_eq!(block_on(store.append(batch)).unwrap().duplicate, 0);
        if row % 120 == 119 {
            store.maintain(at).unwrap();
        }
    }
    store.flush().unwrap();
    store.compact().unwrap();
    let stats = store.stats();
    assert!(stats.blocks <= 10 && stats.compactions >= 12, "{stats:?}");
    for s in 0..SERIES {
        let expected: Vec<_> =
            (0..ROWS).filter(|r| has(s, *r)).map(|r| (T0 + r * STEP + r % 4, value(s, r).to_bits())).collect();
        assert_eq!(points(&store, &format!("m{s}")), expected, "series {s}");
        let range = TimeRange::new(TimestampMs(expected[700].0), TimestampMs(expected[2_900].0)).unwrap();
        let part = &select(&store, &[&format!("__name__=m{s}")], range)[0].1;
        assert!(part.times.iter().eq(expected[700..2_900].iter().map(|e| &e.0)), "series {s}");
    }
}
