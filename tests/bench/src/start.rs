//! How long a start takes with a day of samples in log and blocks.

use anyhow::{Result, bail};

use crate::board::{Board, Figure};
use crate::body::Bodies;
use crate::client::Client;
use crate::server::{Kind, Server, bytes_of};
use crate::{now_ms, simulated};

const SERIES: usize = 100_000;
const DAY_MS: i64 = 86_400_000;
const STEP_MS: i64 = 15_000;
/// The kill comes when the log is nearly as long as it becomes: so long after a block, which comes every half hour.
const SINCE_BLOCK_MS: i64 = 29 * 60_000;
/// A log with less in it is not the one that was to be read.
const LOG_BYTES_MIN: u64 = 1_000_000;
/// The best of so many starts: others use the machine too.
const STARTS: usize = 3;

pub fn measure(belfry: &Server, board: &mut Board) -> Result<()> {
    println!("start, {SERIES} series × 1 day (a sample every 15 s), killed in the middle");
    println!("{:>12}{:>12}{:>12}{:>24}", "blocks MB", "log MB", "ready in s", "each of the starts");
    let folder = tempfile::tempdir()?;
    let end = now_ms();
    let begin = end - DAY_MS - SINCE_BLOCK_MS;
    let running = simulated::start(folder.path(), begin)?;
    let mut client = Client::connect(&running.address)?;
    let mut bodies = Bodies::new(SERIES, false);
    let mut at = begin;
    let mut row = 0;
    while at <= end {
        let mut sent = Ok(());
        bodies.row(row, at, |body| {
            if sent.is_ok() {
                sent = client.must_write(&body);
            }
        });
        sent?;
        client.post(&format!("/at/{at}"))?;
        row += 1;
        at += STEP_MS;
    }
    running.kill();
    let data = folder.path().join("data");
    let (blocks, log) = (bytes_of(&data.join("blocks")), bytes_of(&data.join("wal")));
    if log < LOG_BYTES_MIN {
        bail!("the log holds {log} bytes only: a block was just written");
    }
    let mut seconds = Vec::new();
    for _ in 0..STARTS {
        let (again, took) = belfry.start(folder.path())?;
        seconds.push(took.as_secs_f64());
        again.kill();
    }
    let best = seconds.iter().copied().fold(f64::INFINITY, f64::min);
    let each: Vec<String> = seconds.iter().map(|s| format!("{s:.2}")).collect();
    println!("{:>12.1}{:>12.1}{best:>12.2}{:>24}\n", blocks as f64 / 1e6, log as f64 / 1e6, each.join(" "));
    board.put(Figure::Start, Kind::Belfry, best);
    Ok(())
}
