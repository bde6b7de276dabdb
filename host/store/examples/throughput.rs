//! Measures the store alone: what an appended, stored and read sample costs in CPU time of the process (in steps of
//! 10 ms: take enough rows).
//! `cargo run --release -p belfry-store --example throughput -- [SERIES] [ROWS]`
#![allow(clippy::print_stdout, reason = "it prints what it measured")]

mod load;

use std::sync::Arc;
use std::time::Duration;

use belfry_model::{
    Batch, Labels, Matcher, SampleBuf, SelectHints, SelectLimits, SeriesRead, TimeRange, TimestampMs, Writer,
};
use belfry_store::{RealDisk, Store, StoreConfig};

/// A producer's series: about a node's worth.
const BATCH_SERIES: usize = 500;
const STEP_MS: i64 = 15_000;

type Failed = Box<dyn std::error::Error>;

fn main() -> Result<(), Failed> {
    let mut args = std::env::args().skip(1).map(|a| a.parse::<usize>());
    let series = args.next().transpose()?.unwrap_or(10_000);
    let rows = args.next().transpose()?.unwrap_or(240);
    let folder = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let t0 = 1_700_000_000_000i64;
    let (store, _) = Store::open(StoreConfig::folder(folder.path()), Arc::new(RealDisk), TimestampMs(t0))?;

    let before = resident_bytes();
    let clock = cpu();
    let mut refs = Vec::with_capacity(series);
    for i in 0..series {
        refs.push(store.open(&Labels::from_pairs([
            ("__name__", format!("metric_{}", i % 200)),
            ("instance", format!("host-{}:9100", i / BATCH_SERIES)),
            ("job", "node".to_owned()),
            ("device", format!("dev{}", i % 7)),
            ("mode", format!("mode{}", i % 5)),
            ("id", i.to_string()),
        ]))?);
    }
    println!("open      {:8.0} ns/series", per(cpu() - clock, series));

    let samples = series * rows;
    let clock = cpu();
    for row in 0..rows {
        let at = t0 + row as i64 * STEP_MS;
        for (b, refs) in refs.chunks(BATCH_SERIES).enumerate() {
            let mut batch = Batch::at("bench", TimestampMs(at));
            batch.refs.extend_from_slice(refs);
            batch.values.extend((0..refs.len()).map(|k| load::value(b * BATCH_SERIES + k, row)));
            runtime.block_on(store.append(batch))?;
        }
    }
    println!("append    {:8.0} ns/sample", per(cpu() - clock, samples));
    println!("memory    {:8.0} bytes/series", (resident_bytes() - before) as f64 / series as f64);
    println!("log       {:8.2} bytes/sample", store.stats().wal_bytes as f64 / samples as f64);

    read(&runtime, &store, series, "head")?;
    store.close();
    drop(store);
    let clock = cpu();
    let (store, recovery) = Store::open(StoreConfig::folder(folder.path()), Arc::new(RealDisk), TimestampMs(t0))?;
    println!("replay    {:8.0} ns/sample", per(cpu() - clock, recovery.samples as usize));
    let clock = cpu();
    store.flush()?;
    println!("flush     {:8.0} ns/sample", per(cpu() - clock, samples));
    println!("block     {:8.2} bytes/sample", store.stats().block_bytes as f64 / samples as f64);
    drop(store);
    let (store, _) = Store::open(StoreConfig::folder(folder.path()), Arc::new(RealDisk), TimestampMs(t0))?;
    read(&runtime, &store, series, "block")
}

fn read(runtime: &tokio::runtime::Runtime, store: &Store, series: usize, what: &str) -> Result<(), Failed> {
    let clock = cpu();
    let matcher = [Matcher::equal("job", "node")];
    let limits = SelectLimits { series_max: usize::MAX, samples_max: u64::MAX };
    let set = runtime.block_on(store.select(&matcher, TimeRange::ALL, &SelectHints::default(), limits))?;
    println!("select    {:8.0} ns/series from the {what}", per(cpu() - clock, series));
    let clock = cpu();
    let mut buf = SampleBuf::default();
    let mut n = 0;
    for s in &set.series {
        buf.clear();
        s.samples.decode(TimeRange::ALL, &mut buf)?;
        n += buf.len();
    }
    println!("decode    {:8.2} ns/sample from the {what}", per(cpu() - clock, n));
    Ok(())
}

fn per(time: Duration, n: usize) -> f64 {
    time.as_nanos() as f64 / n.max(1) as f64
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|p| p.parse::<u64>().ok()).unwrap_or(0) * 4096
}

/// CPU time of all threads so far.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name, which may hold anything, user and system time are the 12th and 13th field.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    Duration::from_millis(fields.skip(11).take(2).filter_map(|f| f.parse::<u64>().ok()).sum::<u64>() * 10)
}
