//! The same rows to each server, and a table of what they cost.

use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::board::{Board, Figure};
use crate::body::Bodies;
use crate::client::Client;
use crate::server::{Kind, Server, bytes_of};

/// Between two samples of a series.
const STEP_MS: i64 = 15_000;
/// What a server does beside answering (log, background work) has so long to be done and counted.
const SETTLE: Duration = Duration::from_secs(3);

/// The load whose memory is told: as many samples as the head ever holds at 15 s.
pub const LARGE: Load = Load { series: 100_000, rows: 120 };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    pub series: usize,
    pub rows: usize,
}

impl FromStr for Load {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once(['x', '×']).and_then(|(s, r)| Some((s.parse().ok()?, r.parse().ok()?)));
        let (series, rows) = parts.ok_or_else(|| format!("{text:?} is not SERIESxROWS"))?;
        Ok(Self { series, rows })
    }
}

struct Figures {
    kind: Kind,
    name: &'static str,
    nanos: f64,
    wall_nanos: f64,
    resident: f64,
    disk: f64,
    start: Duration,
}

pub fn compare(servers: &[Server], load: Load, v2: bool, board: &mut Board) -> Result<()> {
    let version = if v2 { "2.0" } else { "1.0" };
    println!("remote write {version}, {} series × {} samples, {} at a time", load.series, load.rows, 2000);
    println!(
        "{:<18}{:>14}{:>14}{:>14}{:>16}{:>16}",
        "", "CPU ns/sample", "wall ns/sample", "memory MB", "disk B/sample", "start with it s"
    );
    let now = crate::now_ms();
    let mut all: Vec<Figures> = Vec::new();
    for server in servers {
        let f = measure(server, load, v2, now)?;
        println!(
            "{:<18}{:>14.0}{:>14.0}{:>14.1}{:>16.2}{:>16.2}",
            f.name,
            f.nanos,
            f.wall_nanos,
            f.resident / 1e6,
            f.disk,
            f.start.as_secs_f64()
        );
        all.push(f);
    }
    if let Some((ours, others)) = all.split_first() {
        for o in others {
            println!(
                "belfry / {:<18} CPU {:.3}   memory {:.3}   disk {:.3}",
                o.name,
                ours.nanos / o.nanos,
                ours.resident / o.resident,
                ours.disk / o.disk
            );
        }
    }
    println!();
    for f in all.iter().filter(|_| !v2) {
        match (load.series, load.rows) {
            (10_000, 240) => board.put(Figure::Write10k, f.kind, f.nanos),
            (100_000, 120) => {
                board.put(Figure::Write100k, f.kind, f.nanos);
                board.put(Figure::Memory100k, f.kind, f.resident / 1e6);
            }
            _ => {}
        }
    }
    Ok(())
}

fn measure(server: &Server, load: Load, v2: bool, now: i64) -> Result<Figures> {
    let folder = tempfile::tempdir()?;
    let (running, _) = server.start(folder.path())?;
    let mut client = Client::connect(&running.address)?;
    let mut bodies = Bodies::new(load.series, v2);
    std::thread::sleep(SETTLE);
    let before = running.cpu()?;
    let mut answered = Duration::ZERO;
    for row in 0..load.rows {
        let at = now - (load.rows - 1 - row) as i64 * STEP_MS;
        let mut failed = None;
        bodies.row(row, at, |body| {
            let begin = Instant::now();
            match client.write(&body, v2) {
                Ok((200 | 204, _)) => {}
                Ok((status, said)) => drop(failed.get_or_insert(format!("{status} {said}"))),
                Err(error) => drop(failed.get_or_insert(error.to_string())),
            }
            answered += begin.elapsed();
        });
        if let Some(failed) = failed {
            bail!("{} refused a write: {failed}", server.name());
        }
    }
    std::thread::sleep(SETTLE);
    let cpu = running.cpu()? - before;
    let resident = running.resident()? as f64;
    running.end()?;
    let samples = (load.series * load.rows) as f64;
    let disk = bytes_of(&folder.path().join("data")) as f64 / samples;
    let (again, start) = server.start(folder.path())?;
    drop(again);
    Ok(Figures {
        kind: server.kind,
        name: server.name(),
        nanos: cpu.as_nanos() as f64 / samples,
        wall_nanos: answered.as_nanos() as f64 / samples,
        resident,
        disk,
        start,
    })
}
