//! What downsampling saves: bytes of node_exporter-like data, and the time to read all of it, before, at 5 m and at 1 h.
//!
//! `cargo bench -p belfry-store --bench downsample` (`-- SERIES DAYS`, 500 × 90 when not given).

// A bench prints its figures.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

mod node;

use std::sync::Arc;
use std::time::Duration;

use belfry_model::{
    Labels, METRIC_NAME, Matcher, Sample, SampleBuf, SelectHints, SelectLimits, SeriesRead, TimeRange, TimestampMs,
    Value,
};
use belfry_store::{Downsample, FsyncPolicy, RealDisk, Store, StoreConfig};
use node::{INTERVAL_MS, SERIES_PER_TARGET, Shape, Signal};

const START: i64 = 1_700_000_000_000;
const DAY_MS: i64 = 86_400_000;

fn main() {
    let args: Vec<i64> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let (series, days) = (args.first().copied().unwrap_or(500) as usize, args.get(1).copied().unwrap_or(90));
    let folder = tempfile::tempdir().unwrap();
    let step = |after, resolution| Downsample {
        after: Duration::from_secs(after),
        resolution: Duration::from_secs(resolution),
    };
    let year = 365 * 86_400;
    let config = StoreConfig {
        fsync: FsyncPolicy::Never,
        retention: None,
        downsample: vec![step(year, 300), step(2 * year, 3600)],
        ..StoreConfig::folder(folder.path())
    };
    let (store, _) = Store::open(config, Arc::new(RealDisk), TimestampMs(START)).unwrap();
    let end = START + days * DAY_MS;
    let targets = series.div_ceil(SERIES_PER_TARGET);
    for target in 0..targets {
        let count = SERIES_PER_TARGET.min(series - target * SERIES_PER_TARGET);
        let mut signals: Vec<_> = (0..count)
            .map(|i| (labels(target, i), Signal::new(node::shape_of(i), (target * SERIES_PER_TARGET + i) as u64)))
            .collect();
        let mut fill = store.backfill(TimestampMs(end));
        for n in 0..(days * DAY_MS / INTERVAL_MS) as usize {
            let at = TimestampMs(node::scrape_time(START, target, n));
            for (labels, signal) in &mut signals {
                fill.push(labels, Sample { at, value: Value::Float(signal.next()), start: None }).unwrap();
            }
        }
        fill.finish().unwrap();
    }
    println!(
        "{:<8} {:>13} {:>13} {:>10} {:>11} {:>12}",
        "data", "samples", "bytes", "B/sample", "made in s", "read in ms"
    );
    let before = (series as i64 * (days * DAY_MS / INTERVAL_MS)) as f64;
    for (name, years) in [("all", 0), ("5 m", 1), ("1 h", 2)] {
        let begin = cpu();
        // Half a year more: blocks are younger than the start by up to the days.
        let past = if years == 0 { 0 } else { years * 365 + 180 };
        store.maintain(TimestampMs(START + days * DAY_MS + past * DAY_MS)).unwrap();
        let made = cpu() - begin;
        let stats = store.stats();
        let read = (0..3).map(|_| scan(&store)).min().unwrap();
        println!(
            "{name:<8} {:>13} {:>13} {:>10.4} {:>11.2} {:>12.1}",
            stats.block_samples,
            stats.block_bytes,
            stats.block_bytes as f64 / before,
            made.as_secs_f64(),
            read.as_secs_f64() * 1e3
        );
    }
}

/// Gauges are not named like counters here: a name tells whose falls are resets.
fn labels(target: usize, i: usize) -> Labels {
    let gauge =
        matches!(node::shape_of(i), Shape::Constant | Shape::Memory | Shape::Gauge | Shape::Level | Shape::Float);
    let labels = node::labels(target, i);
    let name = labels.metric().unwrap_or("");
    let name = if gauge { name.trim_end_matches("_total") } else { name }.to_owned();
    Labels::from_pairs(labels.iter().map(|l| {
        let value = if &*l.name == METRIC_NAME { name.clone() } else { l.value.to_string() };
        (l.name.to_string(), value)
    }))
}

/// Of this thread: others use the machine too.
fn cpu() -> Duration {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}

/// Selects and decodes everything, as a query over all days does.
fn scan(store: &Store) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let limits = SelectLimits { series_max: usize::MAX, samples_max: u64::MAX };
    let matchers = [Matcher::equal("job", "node")];
    let hints = SelectHints { coarse: true, ..SelectHints::default() };
    let set = runtime.block_on(store.select(&matchers, TimeRange::ALL, &hints, limits)).unwrap();
    let mut buf = SampleBuf::default();
    let mut sum = 0.0;
    let begin = cpu();
    for s in &set.series {
        buf.clear();
        s.samples.decode(TimeRange::ALL, &mut buf).unwrap();
        sum += buf.floats.last().copied().unwrap_or(0.0);
    }
    let took = cpu() - begin;
    std::hint::black_box(sum);
    took
}
