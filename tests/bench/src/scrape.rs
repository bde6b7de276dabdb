//! What a scraped sample costs the whole server: HTTP, parsing, storing.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};

use crate::board::{Board, Figure};
use crate::client::Client;
use crate::exporter::Exporters;
use crate::server::{Kind, Running, Server};

/// Targets of [`crate::node::SERIES_PER_TARGET`] series each.
const TARGETS: usize = 40;
/// Before anything is measured: connections are made, series are opened, rows have formed.
const WARM_UP: Duration = Duration::from_secs(15);
/// Until what was scraped last can be read.
const SETTLE: Duration = Duration::from_secs(5);

pub fn compare(servers: &[Server], seconds: u64, pack: bool, board: &mut Board) -> Result<()> {
    let how = if pack { "packed answers" } else { "plain answers" };
    println!("scrape, {TARGETS} targets × {} series at 1 s, {how}, over {seconds} s", crate::node::SERIES_PER_TARGET);
    println!("{:<18}{:>14}{:>16}{:>14}{:>14}", "", "CPU ns/sample", "samples stored", "answers", "memory MB");
    for server in servers {
        let (nanos, samples, answers, resident) = measure(server, seconds, pack)?;
        println!("{:<18}{nanos:>14.0}{samples:>16.0}{answers:>14}{:>14.1}", server.name(), resident as f64 / 1e6);
        if !pack {
            board.put(Figure::Scrape, server.kind, nanos);
        }
    }
    println!();
    Ok(())
}

fn measure(server: &Server, seconds: u64, pack: bool) -> Result<(f64, f64, u64, u64)> {
    let folder = tempfile::tempdir()?;
    let exporters = Exporters::start(TARGETS, pack)?;
    let running = server.start_to_scrape(folder.path(), exporters.addresses())?;
    std::thread::sleep(WARM_UP);
    let (before, from, asked) = (running.cpu()?, now(), exporters.answers());
    std::thread::sleep(Duration::from_secs(seconds));
    let (cpu, to, answers) = (running.cpu()? - before, now(), exporters.answers() - asked);
    let resident = running.resident()?;
    std::thread::sleep(SETTLE);
    let samples = stored(server.kind, &running, from, to)?;
    if samples < (TARGETS * crate::node::SERIES_PER_TARGET) as f64 * seconds as f64 * 0.9 {
        bail!("{} stored {samples} samples of {answers} answers only", server.name());
    }
    Ok((cpu.as_nanos() as f64 / samples, samples, answers, resident))
}

/// Samples of the job that are there, by the server's own word. Asked metric by metric: a function over a range drops the
/// name, and Prometheus refuses what is then the same twice.
fn stored(kind: Kind, running: &Running, from: f64, to: f64) -> Result<f64> {
    let mut client = Client::connect(&running.address)?;
    let mut ask = |path: &str| -> Result<serde_json::Value> {
        let (status, body) = client.get(path)?;
        if status != 200 {
            bail!("{path}: {status} {body}");
        }
        Ok(serde_json::from_str(&body)?)
    };
    let names = ask("/api/v1/label/__name__/values?match%5B%5D=%7Bjob%3D%22node%22%7D")?;
    let window = ((to - from) * 1000.0).round();
    let more = if kind == Kind::VictoriaMetrics { "&nocache=1&latency_offset=1ms" } else { "" };
    let mut samples = 0.0;
    for name in names["data"].as_array().context("no names of metrics")? {
        let name = name.as_str().unwrap_or_default();
        let answer = ask(&format!(
            "/api/v1/query?query=sum(count_over_time({name}%7Bjob%3D%22node%22%7D%5B{window}ms%5D))&time={to:.3}{more}"
        ))?;
        // Without a sample there is nothing to sum up.
        let sum = answer["data"]["result"][0]["value"][1].as_str();
        samples += sum.map_or(Ok(0.0), str::parse::<f64>)?;
    }
    Ok(samples)
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
