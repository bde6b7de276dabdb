//! `kill -9` in the middle of writes, again and again: is every acknowledged sample there afterwards?

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};

use crate::body;
use crate::client::Client;
use crate::server::{Running, Server};

/// Who writes at the same time.
const WRITERS: usize = 4;
/// A round lives at most so long after its first write.
const ROUND_MS: u64 = 150;
/// One round in so many lives longer, and blocks are written in it all the time: what is in memory becomes one before a
/// deletion. They are merged, and their parts removed, when the next rounds begin.
const LONG_EVERY: u32 = 8;
const LONG_MS: u64 = 2_000;
/// Between two deletions.
const BLOCK_EVERY: Duration = Duration::from_millis(40);
/// Samples of a request.
const SAMPLES: i64 = 20;

pub fn rounds(belfry: &Path, rounds: u32) -> Result<()> {
    let server = Server::belfry(belfry);
    let folder = tempfile::tempdir()?;
    let begin = Instant::now();
    let (mut acknowledged, mut lost, mut wrong, mut blocks) = (0u64, 0u64, 0u64, 0u64);
    let mut promised: Vec<(String, i64)> = Vec::new();
    let mut everything = Vec::new();
    let base = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64 - 3_000_000;
    for round in 1..=rounds {
        let (running, _) = server.start(folder.path())?;
        let (bad, gone) = verify(&running, &promised, base)?;
        wrong += bad;
        lost += gone;
        promised = match round % LONG_EVERY {
            0 => {
                let token = std::fs::read_to_string(folder.path().join("data/admin-token")).context("the token")?;
                round_of(running, round, base, Some((token.trim(), &mut blocks)))
            }
            _ => round_of(running, round, base, None),
        };
        everything.extend(promised.iter().cloned());
        acknowledged += promised.iter().map(|(_, n)| *n as u64).sum::<u64>();
        if round % 20 == 0 {
            eprintln!("round {round}: {acknowledged} samples acknowledged, {lost} lost, {wrong} wrong");
        }
    }
    let (running, _) = server.start(folder.path())?;
    // What was there after one crash must be there after the next ones, too.
    let (bad, gone) = verify(&running, &everything, base)?;
    (wrong, lost) = (wrong + bad, lost + gone);
    println!(
        "{rounds} times killed in {:.0} s, while {blocks} blocks were written: {acknowledged} samples acknowledged, {lost} lost, {wrong} wrong",
        begin.elapsed().as_secs_f64()
    );
    match lost + wrong {
        0 if blocks == 0 && rounds >= LONG_EVERY => bail!("no block was written, so nothing was shown of them"),
        0 => Ok(()),
        _ => bail!("acknowledged samples were lost"),
    }
}

/// Writes until it is killed; how many samples of which writer were acknowledged. With the token it lives long, and its
/// blocks are counted.
fn round_of(running: Running, round: u32, base: i64, long: Option<(&str, &mut u64)>) -> Vec<(String, i64)> {
    let counts: Vec<AtomicU64> = (0..WRITERS).map(|_| AtomicU64::new(0)).collect();
    let names: Vec<String> = (0..WRITERS).map(|w| format!("{round}-{w}")).collect();
    let address = running.address.clone();
    // Spread over the length of a round, without a random number: the golden ratio does not repeat.
    let most = if long.is_some() { LONG_MS } else { ROUND_MS };
    let life = Duration::from_millis(10 + (f64::from(round) * 0.618_034 % 1.0 * most as f64) as u64);
    std::thread::scope(|scope| {
        for (name, count) in names.iter().zip(&counts) {
            let address = &address;
            scope.spawn(move || {
                let Ok(mut client) = Client::connect(address) else { return };
                for n in 0.. {
                    let samples: Vec<_> = (n * SAMPLES..(n + 1) * SAMPLES).map(|i| (base + i, i as f64)).collect();
                    let body = body::single("kill_samples", &[("writer", name)], &samples);
                    match client.write(&body, false) {
                        Ok((204, _)) => drop(count.fetch_add(SAMPLES as u64, Ordering::SeqCst)),
                        _ => return,
                    }
                }
            });
        }
        if let Some((token, blocks)) = long {
            let address = &address;
            scope.spawn(move || {
                let Ok(mut client) = Client::connect(address) else { return };
                // Of nobody.
                let path = "/api/v1/admin/tsdb/delete_series?match%5B%5D=kill_nothing";
                while client.post_as(path, token).is_ok() {
                    *blocks += 1;
                    std::thread::sleep(BLOCK_EVERY);
                }
            });
        }
        std::thread::sleep(life);
        running.kill();
    });
    names.into_iter().zip(counts).map(|(name, n)| (name, n.into_inner() as i64)).collect()
}

/// Samples that are wrong, and that are gone.
fn verify(running: &Running, promised: &[(String, i64)], base: i64) -> Result<(u64, u64)> {
    let mut client = Client::connect(&running.address)?;
    let (mut wrong, mut lost) = (0, 0);
    for (writer, count) in promised.iter().filter(|(_, n)| *n > 0) {
        let path = format!("/api/v1/query?query=kill_samples%7Bwriter%3D%22{writer}%22%7D%5B2h%5D");
        let (status, body) = client.get(&path)?;
        if status != 200 {
            bail!("{path}: {status} {body}");
        }
        let answer: serde_json::Value = serde_json::from_str(&body)?;
        let values = &answer["data"]["result"][0]["values"];
        let found = values.as_array().cloned().unwrap_or_default();
        lost += (*count as u64).saturating_sub(found.len() as u64);
        for (i, pair) in found.iter().enumerate() {
            let at = (pair[0].as_f64().context("a time")? * 1000.0).round() as i64;
            let value: f64 = pair[1].as_str().context("a value")?.parse()?;
            wrong += u64::from(at != base + i as i64 || value != i as f64);
        }
    }
    Ok((wrong, lost))
}
