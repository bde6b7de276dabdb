//! Many series: what they take in memory, and whether a sample costs the same however many there are.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::board::{Board, Figure};
use crate::body::Bodies;
use crate::client::Client;
use crate::now_ms;
use crate::server::Server;

/// Many series, a sample a minute, for some minutes.
const MANY: Scale = Scale { series: 1_000_000, rows: 6, step_ms: 60_000 };
/// As many rows as it takes until the head is a block, but no more.
const BLOCK_ROWS_MAX: usize = 150;
/// Rows behind the block.
const AFTER_ROWS: usize = 12;
/// Memory is looked at after so many requests.
const LOOK_EVERY: usize = 10;
/// Rows that open series and form groups; the cost of those behind them is told apart.
const WARM_ROWS: usize = 2;
/// What a server does beside answering has so long to be done and counted.
const SETTLE: Duration = Duration::from_secs(5);
/// Growing by less than ten times each; about as many samples of each.
const SCALES: [Scale; 4] = [
    Scale { series: 10_000, rows: 242, step_ms: 15_000 },
    Scale { series: 100_000, rows: 42, step_ms: 15_000 },
    Scale { series: 300_000, rows: 18, step_ms: 15_000 },
    Scale { series: 1_000_000, rows: 10, step_ms: 15_000 },
];

#[derive(Clone, Copy)]
struct Scale {
    series: usize,
    rows: usize,
    step_ms: i64,
}

struct Cost {
    opening: f64,
    steady: f64,
    resident: f64,
}

/// Resident memory at a million series.
pub fn compare(servers: &[Server], board: &mut Board) -> Result<()> {
    println!("memory, {} series, {} samples each, one a minute", MANY.series, MANY.rows);
    println!("{:<18}{:>14}{:>14}{:>16}{:>18}", "", "memory MB", "B/series", "steady ns", "first rows ns");
    for server in servers {
        let cost = measure(server, MANY)?;
        println!(
            "{:<18}{:>14.1}{:>14.0}{:>16.0}{:>18.0}",
            server.name(),
            cost.resident / 1e6,
            cost.resident / MANY.series as f64,
            cost.steady,
            cost.opening
        );
        board.put(Figure::Memory1m, server.kind, cost.resident / 1e6);
    }
    println!();
    Ok(())
}

/// Belfry's memory at a million series while its head becomes a block, and behind that, as writes go on with no pause.
pub fn through_a_block(belfry: &Server, board: &mut Board) -> Result<()> {
    println!(
        "memory through a block, {} series, a sample a minute as fast as they are taken ({} alone: peers take minutes for it)",
        MANY.series,
        belfry.name()
    );
    println!(
        "{:>16}{:>18}{:>12}{:>14}{:>22}",
        "rows before", "MB before it", "peak MB", "MB after it", "ns/sample with it"
    );
    let folder = tempfile::tempdir()?;
    let running = belfry.start_with_room(folder.path(), 2 * MANY.series)?;
    let mut client = Client::connect(&running.address)?;
    let mut bodies = Bodies::new(MANY.series, false);
    let begin = now_ms() - (BLOCK_ROWS_MAX + AFTER_ROWS) as i64 * MANY.step_ms;
    let blocks = folder.path().join("data");
    let (mut before, mut after, mut rows_before, mut rows) = (0, Vec::new(), 0, 0);
    let cpu = running.cpu()?;
    while after.len() < AFTER_ROWS {
        let (begun, there) = (has_file(&blocks, "unfinished"), has_file(&blocks, "block"));
        if !there {
            ensure!(rows < BLOCK_ROWS_MAX, "no block was written in {rows} rows");
            if !begun {
                (before, rows_before) = (before.max(running.resident()?), rows);
            }
        }
        let (mut sent, mut requests, mut most) = (Ok(()), 0, 0);
        bodies.row(rows, begin + rows as i64 * MANY.step_ms, |body| {
            if sent.is_ok() {
                sent = client.must_write(&body);
            }
            requests += 1;
            if requests % LOOK_EVERY == 0 {
                match running.resident() {
                    Ok(bytes) => most = most.max(bytes),
                    Err(error) => sent = Err(error),
                }
            }
        });
        sent?;
        rows += 1;
        if there {
            after.push(most);
        }
    }
    let per = (running.cpu()? - cpu).as_nanos() as f64 / (rows * MANY.series) as f64;
    // The first row behind the block may still see the end of writing it.
    let after = after.iter().skip(1).max().copied().unwrap_or(0);
    println!(
        "{:>16}{:>18.1}{:>12.1}{:>14.1}{:>22.0}\n",
        rows_before,
        before as f64 / 1e6,
        running.resident_peak()? as f64 / 1e6,
        after as f64 / 1e6,
        per
    );
    board.put(Figure::Memory1mBlock, belfry.kind, after as f64 / 1e6);
    Ok(())
}

/// Is there a file with this extension in the folder or those below?
fn has_file(folder: &Path, extension: &str) -> bool {
    let mut entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path());
    entries.any(|p| if p.is_dir() { has_file(&p, extension) } else { p.extension().is_some_and(|e| e == extension) })
}

/// CPU time a sample as the number of series grows.
pub fn linear(server: &Server, board: &mut Board) -> Result<()> {
    println!("cost by number of series, {} (CPU ns/sample; the first {WARM_ROWS} samples open series)", server.name());
    println!("{:>12}{:>14}{:>16}{:>18}{:>14}", "series", "steady", "first rows", "memory MB", "B/series");
    let mut smallest = None;
    for scale in SCALES {
        let cost = measure(server, scale)?;
        println!(
            "{:>12}{:>14.0}{:>16.0}{:>18.1}{:>14.0}",
            scale.series,
            cost.steady,
            cost.opening,
            cost.resident / 1e6,
            cost.resident / scale.series as f64
        );
        let smallest = *smallest.get_or_insert(cost.steady);
        if scale.series == MANY.series {
            board.put(Figure::Linear, server.kind, cost.steady / smallest);
        }
    }
    println!();
    Ok(())
}

fn measure(server: &Server, scale: Scale) -> Result<Cost> {
    let folder = tempfile::tempdir()?;
    // Its own series count too.
    let running = server.start_with_room(folder.path(), 2 * scale.series)?;
    let mut client = Client::connect(&running.address)?;
    let mut bodies = Bodies::new(scale.series, false);
    let begin = now_ms() - (scale.rows as i64 - 1) * scale.step_ms;
    std::thread::sleep(SETTLE);
    let mut marks = vec![running.cpu()?];
    for row in 0..scale.rows {
        let mut sent = Ok(());
        bodies.row(row, begin + row as i64 * scale.step_ms, |body| {
            if sent.is_ok() {
                sent = client.must_write(&body);
            }
        });
        sent?;
        if row + 1 == WARM_ROWS {
            marks.push(running.cpu()?);
        }
    }
    std::thread::sleep(SETTLE);
    marks.push(running.cpu()?);
    let per =
        |from: usize, rows: usize| (marks[from + 1] - marks[from]).as_nanos() as f64 / (rows * scale.series) as f64;
    Ok(Cost {
        opening: per(0, WARM_ROWS),
        steady: per(1, scale.rows - WARM_ROWS),
        resident: running.resident()? as f64,
    })
}
