//! Measures the store alone: its resident memory while a head becomes a block, and while a start reads a log as long as
//! the head's.
//! `cargo run --release -p belfry-store --example memory -- [SERIES] [ROWS]`
#![allow(clippy::print_stdout, reason = "it prints what it measured")]

mod load;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use belfry_model::{Batch, Labels, TimestampMs, Writer};
use belfry_store::{RealDisk, Store, StoreConfig};

/// Series of a request.
const BATCH_SERIES: usize = 2_000;
const NODE_SERIES: usize = 500;
const STEP_MS: i64 = 15_000;
const T0: i64 = 1_700_000_000_000;

type Failed = Box<dyn std::error::Error>;

fn main() -> Result<(), Failed> {
    if let Some(folder) = std::env::args().skip(1).collect::<Vec<_>>().strip_prefix(&["start".to_owned()]) {
        return start(Path::new(folder.first().ok_or("which folder?")?));
    }
    let mut args = std::env::args().skip(1).map(|a| a.parse::<usize>());
    let series = args.next().transpose()?.unwrap_or(1_000_000);
    let rows = args.next().transpose()?.unwrap_or(30);
    let folder = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let open = || Store::open(StoreConfig::folder(folder.path()), Arc::new(RealDisk), TimestampMs(T0));
    let append = |store: &Store, from: usize, to: usize| -> Result<(), Failed> {
        let refs = (0..series).map(|i| store.open(&labels(i))).collect::<Result<Vec<_>, _>>()?;
        for row in from..to {
            for (b, refs) in refs.chunks(BATCH_SERIES).enumerate() {
                let mut batch = Batch::at("bench", TimestampMs(T0 + row as i64 * STEP_MS));
                batch.refs.extend_from_slice(refs);
                batch.values.extend((0..refs.len()).map(|k| load::value(b * BATCH_SERIES + k, row)));
                runtime.block_on(store.append(batch))?;
            }
        }
        Ok(())
    };

    let (store, _) = open()?;
    let clock = Instant::now();
    append(&store, 0, rows)?;
    tell("append", clock)?;
    let clock = Instant::now();
    store.flush()?;
    tell("block", clock)?;
    let clock = Instant::now();
    append(&store, rows, 2 * rows)?;
    tell("append", clock)?;
    store.close();
    drop(store);
    // A process of its own: what this one left free would hide what a start needs.
    let child = Command::new(std::env::current_exe()?).arg("start").arg(folder.path()).status()?;
    if child.success() { Ok(()) } else { Err("the start failed".into()) }
}

fn start(folder: &Path) -> Result<(), Failed> {
    let clock = Instant::now();
    let (store, recovery) = Store::open(StoreConfig::folder(folder), Arc::new(RealDisk), TimestampMs(T0))?;
    tell(&format!("replay of {} samples", recovery.samples), clock)?;
    let clock = Instant::now();
    store.flush()?;
    tell("block", clock)
}

/// Memory now, and at most since this was asked last.
fn tell(what: &str, since: Instant) -> Result<(), Failed> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let mb = |name: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0) * 1024.0 / 1e6
    };
    println!(
        "{what:<28}{:8.1} MB, at most {:8.1} MB, {:6.2} s",
        mb("VmRSS:"),
        mb("VmHWM:"),
        since.elapsed().as_secs_f64()
    );
    // Resets what was most so far.
    Ok(std::fs::write("/proc/self/clear_refs", "5")?)
}

fn labels(i: usize) -> Labels {
    let (node, k) = (i / NODE_SERIES, i % NODE_SERIES);
    Labels::from_pairs([
        ("__name__", format!("node_metric_{}_total", k % 20)),
        ("cpu", (k / 10 % 16).to_string()),
        ("device", format!("dev{}", k / 160)),
        ("instance", format!("node-{node:05}.dc1.example.com:9100")),
        ("job", "node".to_owned()),
        ("mode", ["idle", "user", "system", "iowait", "irq"][k / 10 % 5].to_owned()),
        ("n", k.to_string()),
    ])
}
