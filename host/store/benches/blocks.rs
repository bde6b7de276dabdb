//! What blocks cost: bytes a sample by the data's shape and in all, CPU time to write and to read them.
//!
//! `cargo bench -p belfry-store --bench blocks` (`-- SERIES SAMPLES`, 20,000 × 1,480 when not given).

// A bench prints its figures.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

mod node;

use std::sync::Arc;
use std::time::Duration;

use belfry_model::{Batch, Matcher, SampleBuf, SelectHints, SelectLimits, SeriesRead, TimeRange, TimestampMs, Writer};
use belfry_store::{FsyncPolicy, RealDisk, Store, StoreConfig};
use node::{SERIES_PER_TARGET, SHAPES, Signal};

const START: i64 = 1_700_000_000_000;

fn main() {
    let args: Vec<usize> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let (series, samples) = (args.first().copied().unwrap_or(20_000), args.get(1).copied().unwrap_or(1_480));
    let targets = (series / SERIES_PER_TARGET).max(1);
    println!(
        "{:<14} {:>9} {:>11} {:>9} {:>9} {:>9} {:>9}",
        "shape", "series", "samples", "B/sample", "flush ns", "merge ns", "read ns"
    );
    for (shape, n) in SHAPES {
        // Enough of each for a stable figure, little enough to be done soon.
        run(&format!("{shape:?}"), targets.min(4), samples, |i| node::shape_of(i) == shape, n);
    }
    run("all", targets, samples, |_| true, SERIES_PER_TARGET);
}

fn run(name: &str, targets: usize, samples: usize, wanted: impl Fn(usize) -> bool, per_target: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let now = TimestampMs(START);
    let config = StoreConfig {
        fsync: FsyncPolicy::Never,
        block_span: Duration::from_secs(86_400 * 365),
        retention: None,
        wal_bytes_max: u64::MAX,
        ..StoreConfig::folder(folder.path())
    };
    let (store, _) = Store::open(config, Arc::new(RealDisk), now).unwrap();
    let mut signals: Vec<Vec<_>> = (0..targets)
        .map(|t| {
            let chosen = (0..SERIES_PER_TARGET).filter(|i| wanted(*i));
            chosen
                .map(|i| {
                    let seed = (t * SERIES_PER_TARGET + i) as u64;
                    (store.open(&node::labels(t, i)).unwrap(), Signal::new(node::shape_of(i), seed))
                })
                .collect()
        })
        .collect();
    let total = (targets * per_target * samples) as f64;
    let mut flush = Duration::ZERO;
    for quarter in 0..4 {
        for n in samples * quarter / 4..samples * (quarter + 1) / 4 {
            for (t, signals) in signals.iter_mut().enumerate() {
                let mut batch = Batch::at("bench", TimestampMs(node::scrape_time(START, t, n)));
                for (id, signal) in signals {
                    batch.refs.push(*id);
                    batch.values.push(signal.next());
                }
                let refused = runtime.block_on(store.append(batch)).unwrap();
                assert_eq!((refused.too_old, refused.duplicate), (0, 0));
            }
        }
        let begin = cpu();
        store.flush().unwrap();
        flush += cpu() - begin;
    }
    let begin = cpu();
    store.maintain(now).unwrap();
    let merge = cpu() - begin;
    let stats = store.stats();
    assert_eq!((stats.blocks, stats.block_samples as f64), (1, total), "four blocks became one");
    let best = (0..3).map(|_| scan(&store, &runtime, total)).min().unwrap();
    let per = |d: Duration| d.as_nanos() as f64 / total;
    println!(
        "{name:<14} {:>9} {total:>11} {:>9.3} {:>9.1} {:>9.1} {:>9.2}",
        targets * per_target,
        stats.block_bytes as f64 / total,
        per(flush),
        per(merge),
        per(best)
    );
}

/// Of this thread: others use the machine too.
fn cpu() -> Duration {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}

/// Decodes every sample once, as a query over everything would.
fn scan(store: &Store, runtime: &tokio::runtime::Runtime, total: f64) -> Duration {
    let limits = SelectLimits { series_max: usize::MAX, samples_max: u64::MAX };
    let matchers = [Matcher::equal("job", "node")];
    let hints = SelectHints::default();
    let select = store.select(&matchers, TimeRange::ALL, &hints, limits);
    let set = runtime.block_on(select).unwrap();
    let mut buf = SampleBuf::default();
    let (mut n, mut sum) = (0, 0.0);
    let begin = cpu();
    for s in &set.series {
        buf.clear();
        s.samples.decode(TimeRange::ALL, &mut buf).unwrap();
        n += buf.len();
        sum += buf.floats.last().copied().unwrap_or(0.0);
    }
    let took = cpu() - begin;
    assert_eq!(n as f64, total);
    std::hint::black_box(sum);
    took
}
