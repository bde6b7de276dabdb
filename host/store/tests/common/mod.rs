//! What the tests of the store share: a small driver over its two traits.

#![allow(dead_code)] // Each test file uses its own part.

use std::sync::Arc;
use std::time::Duration;

use belfry_model::write::{SeriesRef, Times};
use belfry_model::{
    Appended, Batch, Labels, Matcher, SampleBuf, SelectHints, SelectLimits, SeriesRead, TimeRange, TimestampMs,
    WriteError, Writer,
};
use belfry_store::disk::SimDisk;
use belfry_store::{FsyncPolicy, Recovery, Store, StoreConfig};

/// A plausible now.
pub const T0: i64 = 1_700_000_000_000;

pub fn block_on<F: std::future::Future>(f: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(f)
}

pub fn config() -> StoreConfig {
    StoreConfig {
        fsync: FsyncPolicy::Always,
        block_span: Duration::from_secs(60),
        out_of_order_window: Duration::from_secs(30),
        ..StoreConfig::folder("/data")
    }
}

pub fn open(disk: &SimDisk) -> (Arc<Store>, Recovery) {
    Store::open(config(), Arc::new(disk.clone()), TimestampMs(T0)).expect("the store opens")
}

pub fn labels(name: &str) -> Labels {
    Labels::from_pairs([("__name__", name), ("job", "test")])
}

pub fn append(store: &Store, points: &[(SeriesRef, i64, f64)]) -> Result<Appended, WriteError> {
    let mut batch = Batch::at("test", TimestampMs(0));
    batch.times = Times::Each(points.iter().map(|p| TimestampMs(p.1)).collect());
    batch.refs = points.iter().map(|p| p.0).collect();
    batch.values = points.iter().map(|p| p.2).collect();
    block_on(store.append(batch))
}

pub fn put(store: &Store, name: &str, at: i64, value: f64) -> Result<Appended, WriteError> {
    let series = store.open(&labels(name))?;
    append(store, &[(series, at, value)])
}

pub fn select(store: &Store, matchers: &[&str], range: TimeRange) -> Vec<(Labels, SampleBuf)> {
    let matchers: Vec<Matcher> = matchers.iter().map(|m| m.parse().expect("a matcher")).collect();
    let set = block_on(store.select(&matchers, range, &SelectHints::default(), SelectLimits::default()))
        .expect("the read works");
    assert_eq!(set.warnings, Vec::<String>::new());
    let decode = |s: &belfry_model::Series| {
        let mut buf = SampleBuf::default();
        s.samples.decode(range, &mut buf).expect("the samples decode");
        (s.labels.clone(), buf)
    };
    set.series.iter().map(decode).filter(|(_, b)| !b.is_empty()).collect()
}

/// Time and bits of every sample of a metric.
pub fn points(store: &Store, name: &str) -> Vec<(i64, u64)> {
    let all = select(store, &[&format!("__name__={name:?}")], TimeRange::ALL);
    let bits = |b: &SampleBuf| b.times.iter().zip(&b.floats).map(|(t, v)| (*t, v.to_bits())).collect::<Vec<_>>();
    all.first().map(|(_, b)| bits(b)).unwrap_or_default()
}
