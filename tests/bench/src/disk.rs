//! What a sample takes on the disk once a server has compacted what it got, and what decoding it costs.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::board::{Board, Figure};
use crate::body::Bodies;
use crate::client::Client;
use crate::node::{self, SERIES_PER_TARGET, Signal};
use crate::server::{Kind, Running, Server, bytes_of};
use crate::{now_ms, simulated};

const SERIES: usize = 20_000;
const SAMPLES: usize = 1_480;
/// Belfry writes so many blocks, which become one.
const BLOCKS: usize = 4;
/// Files that have not changed for so long are done with.
const QUIET: Duration = Duration::from_secs(5);
const QUIET_WITHIN: Duration = Duration::from_secs(300);
/// The best of so many scans: others use the machine too.
const SCANS: usize = 3;

pub fn compare(servers: &[Server], board: &mut Board) -> Result<()> {
    println!("disk after compaction, {SERIES} series of node_exporters × {SAMPLES} samples at 15 s");
    println!("{:<18}{:>14}{:>18}{:>18}", "", "B/sample", "as it was sent", "decode ns/sample");
    for server in servers {
        let folder = tempfile::tempdir()?;
        let (before, after, decode) = measure(server, folder.path())?;
        let decoded = decode.map_or("–".to_owned(), |ns| format!("{ns:.2}"));
        println!("{:<18}{after:>14.3}{before:>18.3}{decoded:>18}", server.name());
        board.put(Figure::Disk, server.kind, after);
        if let Some(ns) = decode {
            board.put(Figure::Decode, server.kind, ns);
        }
    }
    let hours = SAMPLES as i64 * node::INTERVAL_MS / 3_600_000;
    println!(
        "belfry's is one block of {hours} h, made of {BLOCKS} on demand; `belfry run` has blocks of 30 min and 2 h at that age, \
         and merges to 12 h later\n"
    );
    Ok(())
}

/// Bytes a sample before and after compaction; for Belfry what decoding costs.
fn measure(server: &Server, folder: &Path) -> Result<(f64, f64, Option<f64>)> {
    let samples = (SERIES * SAMPLES) as f64;
    let begin = now_ms() - SAMPLES as i64 * node::INTERVAL_MS;
    let data = folder.join("data");
    let per = |folders: &[&str]| folders.iter().map(|f| bytes_of(&data.join(f))).sum::<u64>() as f64 / samples;
    match server.kind {
        Kind::Belfry => {
            // Its blocks come by the clock: it runs on one that we set.
            let running = simulated::start(folder, now_ms())?;
            let mut client = Client::connect(&running.address)?;
            send(&running, begin, |client, row| match (row + 1) % (SAMPLES / BLOCKS) {
                0 => client.post("/flush").map(drop),
                _ => Ok(()),
            })?;
            let before = per(&["blocks", "wal"]);
            client.post("/merge")?;
            let after = per(&["blocks"]);
            let mut best = f64::INFINITY;
            for _ in 0..SCANS {
                let (_, said) = client.get("/scan")?;
                let (nanos, decoded): (f64, usize) = serde_json::from_str(&said).context(said)?;
                if decoded != SERIES * SAMPLES {
                    bail!("{decoded} samples were decoded of {samples}");
                }
                best = best.min(nanos / samples);
            }
            Ok((before, after, Some(best)))
        }
        Kind::VictoriaMetrics => {
            let (running, _) = server.start_to_keep(folder)?;
            send(&running, begin, |_, _| Ok(()))?;
            let mut client = Client::connect(&running.address)?;
            client.get("/internal/force_flush")?;
            let before = per(&["data", "indexdb"]);
            client.get("/internal/force_merge")?;
            wait_until_quiet(&data)?;
            Ok((before, per(&["data", "indexdb"]), None))
        }
        Kind::Prometheus => {
            let (running, _) = server.start_to_keep(folder)?;
            send(&running, begin, |_, _| Ok(()))?;
            let before = bytes_of(&data) as f64 / samples;
            // With what is still in memory: blocks only, no log.
            Client::connect(&running.address)?.post("/api/v1/admin/tsdb/snapshot")?;
            Ok((before, per(&["snapshots"]), None))
        }
    }
}

/// Writes everything; `after` each row.
fn send(running: &Running, begin: i64, after: impl Fn(&mut Client, usize) -> Result<()>) -> Result<()> {
    let mut client = Client::connect(&running.address)?;
    let mut bodies = Bodies::empty(false);
    let mut signals = Vec::new();
    for i in 0..SERIES {
        let (target, k) = (i / SERIES_PER_TARGET, i % SERIES_PER_TARGET);
        let labels = node::labels(target, k);
        bodies.set(i, labels.iter().map(|l| (&*l.name, &*l.value)));
        signals.push(Signal::new(node::shape_of(k), i as u64));
    }
    for row in 0..SAMPLES {
        let mut sent = Ok(());
        bodies.requests(
            |i| (node::scrape_time(begin, i / SERIES_PER_TARGET, row), signals[i].next()),
            |body| {
                if sent.is_ok() {
                    sent = client.must_write(&body);
                }
            },
        );
        sent?;
        after(&mut client, row)?;
    }
    Ok(())
}

fn wait_until_quiet(folder: &Path) -> Result<()> {
    let begin = Instant::now();
    let (mut bytes, mut since) = (bytes_of(folder), Instant::now());
    while since.elapsed() < QUIET {
        if begin.elapsed() > QUIET_WITHIN {
            bail!("its files still change after {QUIET_WITHIN:?}");
        }
        std::thread::sleep(Duration::from_millis(200));
        let found = bytes_of(folder);
        if found != bytes {
            (bytes, since) = (found, Instant::now());
        }
    }
    Ok(())
}
