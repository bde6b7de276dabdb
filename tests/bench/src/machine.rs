//! What the figures were taken on, in a line: they mean little without it.

use std::time::{Duration, Instant};

/// How long the machine is looked at.
const LOOK_FOR: Duration = Duration::from_secs(1);

/// Cores, processor, memory, and how busy the machine is with other things before anything begins.
pub fn line() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let text = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    let info = text("/proc/cpuinfo");
    let after_colon = |l: &str| l.split(':').nth(1).map(|m| m.trim().to_owned());
    let model = info.lines().find(|l| l.starts_with("model name")).and_then(after_colon);
    let memory = text("/proc/meminfo");
    let kb = memory.lines().find(|l| l.starts_with("MemTotal")).and_then(|l| l.split_whitespace().nth(1)?.parse().ok());
    let load = text("/proc/loadavg");
    format!(
        "machine: {cores} cores, {}, {:.0} GB; others use {:.0} % of it, load {}",
        model.unwrap_or_else(|| "processor unknown".to_owned()),
        kb.unwrap_or(0.0) / 1e6,
        busy() * 100.0,
        load.split_whitespace().next().unwrap_or("?")
    )
}

/// Part of all processors' time that is used just now.
fn busy() -> f64 {
    let begin = Instant::now();
    let before = ticks();
    std::thread::sleep(LOOK_FOR.saturating_sub(begin.elapsed()));
    let after = ticks();
    let all = after.0.saturating_sub(before.0);
    let idle = after.1.saturating_sub(before.1);
    if all == 0 { 0.0 } else { 1.0 - idle as f64 / all as f64 }
}

/// Of all processors since the machine started: in all, and idle or waiting for a disk.
fn ticks() -> (u64, u64) {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().next().unwrap_or_default();
    let fields: Vec<u64> = line.split_whitespace().skip(1).filter_map(|f| f.parse().ok()).collect();
    // Guests' time (the last two) is in user time already.
    (fields.iter().take(8).sum(), fields.iter().skip(3).take(2).sum())
}
