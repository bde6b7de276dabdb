//! What a query over many series waits for before it evaluates: `select` over series in the head, in a block, and in
//! two blocks and the head.
//!
//! `cargo bench -p belfry-store --bench select` (`-- SERIES`, 100,000 when not given) prints milliseconds, the best of
//! some runs: whole time, and what dropping the answer takes.

// A bench prints its figures.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use belfry_model::write::SeriesRef;
use belfry_model::{
    Batch, Labels, MatchOp, Matcher, SelectHints, SelectLimits, SeriesRead, TimeRange, TimestampMs, Writer,
};
use belfry_store::{FsyncPolicy, RealDisk, Store, StoreConfig};

const START: i64 = 1_700_000_000_000;
const STEP_MS: i64 = 15_000;
/// Series of one target; each target is a batch.
const TARGET_SERIES: usize = 500;
/// Samples of each series in each part.
const SAMPLES: i64 = 40;
const RUNS: usize = 7;

fn main() {
    let series = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(100_000);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    println!("{:<16} {:<32} {:>8} {:>10} {:>10}", "where", "matchers", "series", "select ms", "drop ms");
    // How many blocks, and whether there is a head.
    for (place, blocks, head) in [("head", 0, true), ("block", 1, false), ("2 blocks + head", 2, true)] {
        let folder = tempfile::tempdir().unwrap();
        let store = filled(series, blocks, head, folder.path(), &runtime);
        for (what, matchers) in queries() {
            let (found, took, dropped) =
                (0..RUNS).map(|_| select(&store, &matchers, &runtime)).min_by_key(|r| r.1).unwrap();
            let ms = |d: Duration| d.as_secs_f64() * 1e3;
            println!("{place:<16} {what:<32} {found:>8} {:>10.1} {:>10.1}", ms(took), ms(dropped));
        }
    }
}

fn queries() -> Vec<(&'static str, Vec<Matcher>)> {
    let named = |m: Matcher| vec![Matcher::equal("__name__", "requests_total"), m];
    let regex = |name, value| Matcher::new(name, MatchOp::Regex, value).unwrap();
    vec![
        ("__name__", vec![Matcher::equal("__name__", "requests_total")]),
        ("path=~\"/api/.*\"", named(regex("path", "/api/.*"))),
        ("instance=~\"host-(1|22|33):9100\"", named(regex("instance", "host-(1|22|33):9100"))),
        ("path=~\".*[05]\"", named(regex("path", ".*[05]"))),
    ]
}

fn labels(i: usize) -> Labels {
    let (target, n) = (i / TARGET_SERIES, i % TARGET_SERIES);
    Labels::from_pairs([
        ("__name__", "requests_total".to_owned()),
        ("instance", format!("host-{target}:9100")),
        ("job", "api".to_owned()),
        ("method", ["GET", "POST", "PUT", "DELETE"][n % 4].to_owned()),
        ("path", format!("/api/{}/{i}", n / 4)),
    ])
}

fn filled(
    series: usize,
    blocks: usize,
    head: bool,
    folder: &std::path::Path,
    runtime: &tokio::runtime::Runtime,
) -> Arc<Store> {
    let config = StoreConfig {
        fsync: FsyncPolicy::Never,
        block_span: Duration::from_secs(86_400 * 365),
        retention: None,
        wal_bytes_max: u64::MAX,
        ..StoreConfig::folder(folder)
    };
    let (store, _) = Store::open(config, Arc::new(RealDisk), TimestampMs(START)).unwrap();
    let refs: Vec<SeriesRef> = (0..series).map(|i| store.open(&labels(i)).unwrap()).collect();
    for part in 0..blocks + usize::from(head) {
        for n in 0..SAMPLES {
            let at = START + (part as i64 * SAMPLES + n) * STEP_MS;
            for target in refs.chunks(TARGET_SERIES) {
                let mut batch = Batch::at("bench", TimestampMs(at));
                batch.refs.extend_from_slice(target);
                batch.values.extend((0..target.len()).map(|i| (i as i64 + n) as f64));
                runtime.block_on(store.append(batch)).unwrap();
            }
        }
        if part < blocks {
            store.flush().unwrap();
        }
    }
    assert_eq!(store.stats().blocks, blocks as u64);
    store
}

fn select(store: &Store, matchers: &[Matcher], runtime: &tokio::runtime::Runtime) -> (usize, Duration, Duration) {
    let limits = SelectLimits { series_max: usize::MAX, samples_max: u64::MAX };
    let hints = SelectHints::default();
    let begin = Instant::now();
    let set = runtime.block_on(store.select(matchers, TimeRange::ALL, &hints, limits)).unwrap();
    let took = begin.elapsed();
    let found = set.series.len();
    assert!(set.series.is_sorted_by(|a, b| a.labels < b.labels));
    let begin = Instant::now();
    drop(set);
    (found, took, begin.elapsed())
}
