//! What the write path costs: CPU per sample, memory per series, bytes of the log, time of replay.
//!
//! `cargo bench -p belfry-store --bench append [-- NAME…]` prints one line a figure; a name (`rows`, `remote`, `open`,
//! `memory`, `replay`, `start`, `read`, `churn`) runs that part alone. CPU time is that of the whole process, the making of the
//! batches left out. Time is simulated.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use belfry_model::write::{SeriesRef, Times};
use belfry_model::{Batch, Labels, SampleBuf, SelectHints, SelectLimits, SeriesRead, TimeRange, TimestampMs, Writer};
use belfry_store::{RealDisk, Store, StoreConfig};

const T0: i64 = 1_700_000_000_000;
const STEP_MS: i64 = 15_000;
/// Series of one scrape target.
const TARGET_SERIES: usize = 500;
/// Samples of one remote write request.
const REQUEST_SAMPLES: usize = 2_000;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let run = |name: &str| wanted.is_empty() || wanted.iter().any(|w| w == name);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        if run("open") {
            open(100_000);
            open(1_000_000);
        }
        if run("rows") {
            append("rows", 10_000, 240, rows).await;
            append("rows", 100_000, 120, rows).await;
        }
        if run("remote") {
            append("remote", 10_000, 240, scattered).await;
            append("remote", 100_000, 120, scattered).await;
        }
        for (part, series, count, shape) in MEMORY {
            // Each in a process of its own: an allocator keeps what was freed.
            if wanted.iter().any(|w| w == part) {
                memory(part, *series, *count, *shape).await;
            } else if run("memory") {
                let program = std::env::current_exe().expect("this program");
                let done = std::process::Command::new(program).arg(part).status().expect("it runs");
                assert!(done.success());
            }
        }
        if run("replay") {
            replay("rows", rows).await;
            replay("remote", scattered).await;
        }
        if run("start") {
            start().await;
        }
        if run("read") {
            read().await;
        }
        if run("churn") {
            churn().await;
        }
    });
}

/// Two hours of samples, and half an hour with a million series.
const MEMORY: &[(&str, usize, i64, Shape)] = &[
    ("memory-rows", 100_000, 480, rows),
    ("memory-remote", 100_000, 480, scattered),
    ("memory-rows-million", 1_000_000, 120, rows),
    ("memory-remote-million", 1_000_000, 120, scattered),
];

fn labels(i: usize) -> Labels {
    let (target, metric) = (i / TARGET_SERIES, i % TARGET_SERIES);
    Labels::from_pairs([
        ("__name__", format!("node_metric_{}_total", metric / 10)),
        ("device", format!("dev{}", metric % 10)),
        ("mode", ["user", "system", "idle"][metric % 3].to_owned()),
        ("job", "node".to_owned()),
        ("instance", format!("host-{target:05}:9100")),
        ("cluster", "production".to_owned()),
    ])
}

/// As node_exporter's: two fifths never change, a third are counters, the rest gauges, some of them no decimals.
fn value(series: usize, row: i64) -> f64 {
    let mix = (series as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (row as u64).wrapping_mul(0xd1b5_4a32_d192_ed03);
    let noise = (mix ^ mix >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40;
    match series % 10 {
        0..=3 => (series % 1000) as f64,
        4..=6 => (row as u64 * (series as u64 % 50 + 1) + noise % 7) as f64,
        7 | 8 => (noise % 1000) as f64 / 100.0,
        _ => noise as f64 / 16_777_216.0 * 0.731,
    }
}

type Shape = fn(&[SeriesRef], i64, i64) -> Vec<Batch>;

/// Scrapes: one batch a target, one time each.
fn rows(refs: &[SeriesRef], first: i64, row: i64) -> Vec<Batch> {
    let targets = refs.chunks(TARGET_SERIES).enumerate();
    targets
        .map(|(t, refs)| {
            let mut batch = Batch::at("target", TimestampMs(T0 + row * STEP_MS + t as i64 % STEP_MS));
            batch.refs = refs.to_vec();
            batch.values = (0..refs.len()).map(|i| value(first as usize + t * TARGET_SERIES + i, row)).collect();
            batch
        })
        .collect()
}

/// Remote write: requests that cut across targets, each sample with its own time.
fn scattered(refs: &[SeriesRef], first: i64, row: i64) -> Vec<Batch> {
    let requests = refs.chunks(REQUEST_SAMPLES).enumerate();
    requests
        .map(|(r, refs)| {
            let mut batch = Batch::at("remote", TimestampMs(0));
            let at = |i: usize| TimestampMs(T0 + row * STEP_MS + (i * 7_919) as i64 % STEP_MS);
            batch.times = Times::Each((0..refs.len()).map(at).collect());
            batch.refs = refs.to_vec();
            batch.values = (0..refs.len()).map(|i| value(first as usize + r * REQUEST_SAMPLES + i, row)).collect();
            batch
        })
        .collect()
}

fn open_all(store: &Store, range: std::ops::Range<usize>) -> Vec<SeriesRef> {
    range.map(|i| store.open(&labels(i)).expect("it opens")).collect()
}

fn store_in(dir: &Path) -> Arc<Store> {
    let config = StoreConfig { retention: None, series_max: 4_000_000, ..StoreConfig::folder(dir) };
    Store::open(config, Arc::new(RealDisk), TimestampMs(T0)).expect("the store opens").0
}

fn open(series: usize) {
    let dir = tempfile::tempdir().expect("a folder");
    let all: Vec<Labels> = (0..series).map(labels).collect();
    let store = store_in(dir.path());
    let before = resident();
    let (cpu, wall) = (cpu(), Instant::now());
    for l in &all {
        store.open(l).expect("it opens");
    }
    let new = (spent(cpu), wall.elapsed());
    let grown = resident() - before;
    let cpu = self::cpu();
    for l in &all {
        store.open(l).expect("it opens");
    }
    println!(
        "open     {series:>8} series: {:5.2} µs CPU each, {:5.2} µs once known, {} B resident each",
        new.0.as_secs_f64() * 1e6 / series as f64,
        spent(cpu).as_secs_f64() * 1e6 / series as f64,
        grown / series as u64,
    );
}

/// Appends all of a row's batches side by side, as many senders do.
async fn send(store: &Arc<Store>, batches: Vec<Batch>) -> u64 {
    let waiting: Vec<_> = batches
        .into_iter()
        .map(|b| {
            let store = store.clone();
            async move { store.append(b).await.expect("it is taken").accepted }
        })
        .collect();
    let mut accepted = 0;
    for answers in join(waiting).await {
        accepted += answers;
    }
    accepted
}

async fn join<F: Future<Output = u64>>(all: Vec<F>) -> Vec<u64> {
    let mut all: Vec<_> = all.into_iter().map(Box::pin).collect();
    let mut out = Vec::new();
    std::future::poll_fn(|cx| {
        all.retain_mut(|f| match f.as_mut().poll(cx) {
            std::task::Poll::Ready(n) => {
                out.push(n);
                false
            }
            std::task::Poll::Pending => true,
        });
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    out
}

async fn append(name: &str, series: usize, count: i64, shape: Shape) {
    let dir = tempfile::tempdir().expect("a folder");
    let store = store_in(dir.path());
    let refs = open_all(&store, 0..series);
    let (mut spent_all, mut samples, mut wal, mut wal_before) = (Duration::ZERO, 0, 0, 0);
    for row in 0..count {
        let batches = shape(&refs, 0, row);
        let cpu = cpu();
        samples += send(&store, batches).await;
        spent_all += spent(cpu);
        let now = store.stats().wal_bytes;
        // The first rows introduce the series.
        if row == 2 {
            wal_before = now;
        }
        wal = now;
    }
    assert_eq!(samples, series as u64 * count as u64);
    println!(
        "{name:<8} {series:>8} series × {count}: {:6.1} ns CPU a sample, {:.2} B of log a sample",
        spent_all.as_nanos() as f64 / samples as f64,
        (wal - wal_before) as f64 / (series as f64 * (count - 3) as f64),
    );
}

/// Two hours and more of samples, upkeep as the driver does it.
async fn memory(name: &str, series: usize, count: i64, shape: Shape) {
    let dir = tempfile::tempdir().expect("a folder");
    let before = resident();
    let store = store_in(dir.path());
    let refs = open_all(&store, 0..series);
    let opened = resident();
    let (mut most, mut upkeep, mut unflushed) = (0, Duration::ZERO, 0);
    for row in 0..count {
        for first in (0..series).step_by(20_000) {
            send(&store, shape(&refs[first..(first + 20_000).min(series)], first as i64, row)).await;
        }
        let cpu = cpu();
        store.maintain(TimestampMs(T0 + row * STEP_MS)).expect("upkeep");
        upkeep += spent(cpu);
        most = most.max(resident());
        if store.stats().flushes == 0 {
            unflushed = most;
        }
    }
    let per = |bytes: u64| bytes.saturating_sub(before) / series as u64;
    println!(
        "memory   {series:>8} series × {count} ({name}): {} B a series opened, {} B before the first block, {} B at the end, {} B at most ({} MB); \
         upkeep {:.0} ns CPU a sample",
        per(opened),
        per(unflushed),
        per(resident()),
        per(most),
        most >> 20,
        upkeep.as_nanos() as f64 / (series as f64 * count as f64),
    );
}

async fn replay(name: &str, shape: Shape) {
    let dir = tempfile::tempdir().expect("a folder");
    let store = store_in(dir.path());
    let refs = open_all(&store, 0..100_000);
    for row in 0..120 {
        send(&store, shape(&refs, 0, row)).await;
    }
    let bytes = store.stats().wal_bytes;
    drop(store);
    let (cpu, wall) = (cpu(), Instant::now());
    let config = StoreConfig { retention: None, ..StoreConfig::folder(dir.path()) };
    let (_store, recovery) = Store::open(config, Arc::new(RealDisk), TimestampMs(T0)).expect("it opens");
    println!(
        "replay   {:>8} series, {} samples, {} MB ({name}): {:.2} s, {:.2} s CPU",
        recovery.series,
        recovery.samples,
        bytes >> 20,
        wall.elapsed().as_secs_f64(),
        spent(cpu).as_secs_f64(),
    );
}

/// A day in blocks, a sample a minute, and behind it as much log as there ever is: half an hour, remote-written.
async fn start() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = store_in(dir.path());
    let refs = open_all(&store, 0..100_000);
    let minute = 60_000 / STEP_MS;
    for row in (0..24 * 60).map(|m| m * minute) {
        send(&store, scattered(&refs, 0, row)).await;
        store.maintain(TimestampMs(T0 + row * STEP_MS)).expect("upkeep");
    }
    store.flush().expect("a block");
    for row in (0..120).map(|r| 24 * 60 * minute + r) {
        send(&store, scattered(&refs, 0, row)).await;
    }
    let stats = store.stats();
    let closing = Instant::now();
    drop(store);
    let closed = closing.elapsed();
    let (cpu, wall) = (cpu(), Instant::now());
    let config = StoreConfig { retention: None, ..StoreConfig::folder(dir.path()) };
    let (_store, recovery) = Store::open(config, Arc::new(RealDisk), TimestampMs(T0)).expect("it opens");
    println!(
        "start    {:>8} series, {} samples in {} blocks, {} in {} MB of log: open in {:.2} s, {:.2} s CPU, closed before in {:.2} s",
        recovery.series,
        stats.block_samples,
        recovery.blocks,
        recovery.samples,
        stats.wal_bytes >> 20,
        wall.elapsed().as_secs_f64(),
        spent(cpu).as_secs_f64(),
        closed.as_secs_f64(),
    );
}

async fn read() {
    for (name, shape) in [("rows", rows as Shape), ("remote", scattered)] {
        let dir = tempfile::tempdir().expect("a folder");
        let store = store_in(dir.path());
        let refs = open_all(&store, 0..100_000);
        for row in 0..100 {
            send(&store, shape(&refs, 0, row)).await;
        }
        let range = TimeRange::ALL;
        let wall = Instant::now();
        let set = store.select(&[], range, &SelectHints::default(), SelectLimits::default()).await.expect("it reads");
        let selected = wall.elapsed();
        let cpu = cpu();
        let (mut buf, mut samples) = (SampleBuf::default(), 0);
        for s in &set.series {
            buf.clear();
            s.samples.decode(range, &mut buf).expect("it decodes");
            samples += buf.len();
        }
        println!(
            "read     {:>8} series ({name}): select {:.0} ms, {:.1} ns CPU a sample decoded from the head",
            set.series.len(),
            selected.as_secs_f64() * 1e3,
            spent(cpu).as_nanos() as f64 / samples as f64,
        );
    }
}

/// A tenth of the series is replaced each hour.
async fn churn() {
    let dir = tempfile::tempdir().expect("a folder");
    let before = resident();
    let config = StoreConfig { retention: Some(Duration::from_secs(7200)), ..StoreConfig::folder(dir.path()) };
    let (store, _) = Store::open(config, Arc::new(RealDisk), TimestampMs(T0)).expect("it opens");
    let series = 100_000usize;
    let step = series / 10;
    for hour in 0..24 {
        let refs = open_all(&store, hour * step..hour * step + series);
        for row in 0..20i64 {
            let mut batches = rows(&refs, (hour * step) as i64, 0);
            let at = T0 + (hour as i64 * 20 + row) * 180_000;
            batches.iter_mut().for_each(|b| b.times = Times::One(TimestampMs(at)));
            send(&store, batches).await;
            store.maintain(TimestampMs(at)).expect("upkeep");
        }
        if hour % 4 == 3 {
            let stats = store.stats();
            println!(
                "churn    hour {:>2}: {} series open, {} forgotten, {} MB more resident than at the start",
                hour + 1,
                stats.series,
                stats.series_forgotten,
                resident().saturating_sub(before) >> 20
            );
        }
    }
}

fn cpu() -> Duration {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}

fn spent(since: Duration) -> Duration {
    cpu() - since
}

/// Bytes of this process in memory, files mapped left out.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("RssAnon:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) * 1024
}
