//! Series that come and go: a tenth of them is replaced each hour of two simulated days. Neither memory nor the head's list
//! of series may grow with all that ever were.

use anyhow::{Context as _, Result, bail};

use crate::board::{Board, Figure};
use crate::body::{self, Bodies};
use crate::client::Client;
use crate::server::Kind;
use crate::{now_ms, simulated};

const LIVE: usize = 50_000;
/// In the first half everything has happened once: blocks, forgetting, the merge of half a day.
const HOURS: usize = 48;
/// One in so many goes each hour.
const REPLACED: usize = 10;
const STEP_MS: i64 = 60_000;
const HOUR_MS: i64 = 3_600_000;
/// Upkeep looks after so many samples of each series; in the program every few seconds.
const UPKEEP_ROWS: i64 = 5;

pub fn simulate(board: &mut Board) -> Result<()> {
    println!("churn, {LIVE} series live, one in {REPLACED} replaced each hour, a sample a minute, {HOURS} h simulated");
    println!(
        "{:>6}{:>14}{:>14}{:>14}{:>9}{:>14}",
        "hour", "series ever", "in the head", "memory MB", "blocks", "on disk MB"
    );
    let folder = tempfile::tempdir()?;
    let begin = now_ms() - HOURS as i64 * HOUR_MS;
    let running = simulated::start(folder.path(), begin)?;
    let mut client = Client::connect(&running.address)?;
    let mut bodies = Bodies::empty(false);
    let mut ever = 0;
    let mut open = |bodies: &mut Bodies, i: usize| {
        let mut labels = body::labels_of(i);
        let pod = ever.to_string();
        ever += 1;
        labels.push(("pod", pod));
        bodies.set(i, labels.iter().map(|(n, v)| (*n, v.as_str())));
        ever
    };
    let mut series_ever = 0;
    (0..LIVE).for_each(|i| series_ever = open(&mut bodies, i));
    let mut resident = Vec::new();
    let mut in_head = 0;
    for hour in 0..HOURS {
        for row in 0..HOUR_MS / STEP_MS {
            let at = begin + hour as i64 * HOUR_MS + row * STEP_MS;
            let mut sent = Ok(());
            bodies.row((at / STEP_MS % 100_000) as usize, at, |body| {
                if sent.is_ok() {
                    sent = client.must_write(&body);
                }
            });
            sent?;
            // A part of them in each minute, so that the whole hour sees them come.
            let replaced = LIVE / REPLACED;
            let minutes = (HOUR_MS / STEP_MS) as usize;
            for k in replaced * row as usize / minutes..replaced * (row as usize + 1) / minutes {
                series_ever = open(&mut bodies, k * REPLACED + hour % REPLACED);
            }
            if (row + 1) % UPKEEP_ROWS == 0 {
                let said = client.post(&format!("/at/{}", at + STEP_MS - 1))?;
                let said: serde_json::Value = serde_json::from_str(&said)?;
                in_head = said["series"].as_u64().context("a number of series")?;
                if row + 1 == HOUR_MS / STEP_MS {
                    let memory = running.resident()? as f64 / 1e6;
                    resident.push(memory);
                    let blocks = said["blocks"].as_u64().unwrap_or(0);
                    let bytes = said["block_bytes"].as_f64().unwrap_or(0.0) / 1e6;
                    println!("{:>6}{series_ever:>14}{in_head:>14}{memory:>14.1}{blocks:>9}{bytes:>14.1}", hour + 1);
                }
            }
        }
    }
    println!();
    let most = |hours: &[f64]| hours.iter().copied().fold(0.0, f64::max);
    let (first, second) = resident.split_at(HOURS / 2);
    let grown = most(second) / most(first);
    board.put(Figure::Churn, Kind::Belfry, grown);
    // At most what lives and what the last hours left: series without samples are forgotten after one or two.
    if in_head > (LIVE + LIVE / REPLACED * 4) as u64 {
        bail!("the head still has {in_head} series of {LIVE} that live");
    }
    Ok(())
}
