//! A real process on a real folder, killed with `kill -9` while it writes: what it said was acknowledged is there.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;

use belfry_model::TimestampMs;
use belfry_store::{FsyncPolicy, RealDisk, Store, StoreConfig};
use common::*;

const FOLDER: &str = "BELFRY_STORE_KILL_TEST_FOLDER";
const ROUNDS: usize = 5;

fn config(folder: &std::ffi::OsStr) -> StoreConfig {
    StoreConfig { fsync: FsyncPolicy::Interval, retention: None, ..StoreConfig::folder(folder) }
}

/// Not a test of its own: the process that is killed. It says each number once it is acknowledged.
#[test]
fn writer_process() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let (store, recovery) = Store::open(config(&folder), Arc::new(RealDisk), TimestampMs(T0)).unwrap();
    assert_eq!(recovery.damage, []);
    let from = points(&store, "a").len() as i64;
    for i in from.. {
        put(&store, "a", T0 + i, i as f64).unwrap();
        if i % 50 == 49 {
            store.flush().unwrap();
            store.maintain(TimestampMs(T0)).unwrap();
        }
        let mut out = std::io::stdout();
        writeln!(out, "acknowledged {i}").and_then(|()| out.flush()).unwrap();
    }
}

#[test]
fn kill_minus_nine_loses_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut last = -1i64;
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer_process", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let stop = last + 60 + 37 * round as i64;
        for line in &mut lines {
            // The harness writes its own line before the first of ours.
            if let Some((_, n)) = line.rsplit_once("acknowledged ") {
                last = n.parse().unwrap();
            }
            if last >= stop {
                break;
            }
        }
        assert!(last >= stop, "the writer ended by itself after {last}");
        child.kill().unwrap();
        // What it still said before the signal reached it counts too.
        for line in lines {
            if let Some(n) = line.strip_prefix("acknowledged ").and_then(|n| n.parse().ok()) {
                last = n;
            }
        }
        child.wait().unwrap();
        let (store, recovery) = Store::open(config(folder.path().as_os_str()), Arc::new(RealDisk), TimestampMs(T0))
            .unwrap_or_else(|e| panic!("round {round}: {e}"));
        assert_eq!(recovery.damage, [], "round {round}");
        let found = points(&store, "a");
        assert!(found.len() as i64 > last, "round {round}: {} samples, {last} was acknowledged", found.len());
        assert!(found.iter().enumerate().all(|(i, p)| *p == (T0 + i as i64, (i as f64).to_bits())));
    }
}
