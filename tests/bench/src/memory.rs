//! Many series: what they take in memory, and whether a sample costs the same however many there are.

use std::time::Duration;

use anyhow::Result;

use crate::board::{Board, Figure};
use crate::body::Bodies;
use crate::client::Client;
use crate::now_ms;
use crate::server::Server;

/// Many series, a sample a minute, for some minutes.
const MANY: Scale = Scale { series: 1_000_000, rows: 6, step_ms: 60_000 };
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
    let mut marks = vec![running.cpu()];
    for row in 0..scale.rows {
        let mut sent = Ok(());
        bodies.row(row, begin + row as i64 * scale.step_ms, |body| {
            if sent.is_ok() {
                sent = client.must_write(&body);
            }
        });
        sent?;
        if row + 1 == WARM_ROWS {
            marks.push(running.cpu());
        }
    }
    std::thread::sleep(SETTLE);
    marks.push(running.cpu());
    let per =
        |from: usize, rows: usize| (marks[from + 1] - marks[from]).as_nanos() as f64 / (rows * scale.series) as f64;
    Ok(Cost { opening: per(0, WARM_ROWS), steady: per(1, scale.rows - WARM_ROWS), resident: running.resident() as f64 })
}
