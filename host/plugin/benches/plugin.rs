//! What a plugin costs: a call, samples, an instance, a swap. `cargo xtask bench plugin` prints it.
//!
//! Medians, since a machine that does other things makes long tails. "At the boundary" is the time in the guest
//! and in the host on its behalf; "with its guards" adds what the runtime does around each call. Neither has the plugin's
//! queue in it: the calls are made back to back by the task that owns the instance.
#![allow(missing_docs, clippy::print_stdout)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::{Duration, Instant};

use belfry_model::TimestampMs;
use belfry_plugin::{Plugin, PluginSpec};
use common::{Host, spec};
use serde_json::json;

const AT: TimestampMs = TimestampMs(50_000);
/// Measured calls of each kind; as many more warm up.
const ROUNDS: u32 = 2_000;
const SLOW_ROUNDS: u32 = 50;

/// Microseconds.
struct Row {
    what: String,
    median: f64,
    target: Option<f64>,
}

fn bench(mode: &str, samples: u32) -> PluginSpec {
    let mut spec = spec("bench", json!({ "mode": mode, "samples": samples }));
    // Room for the largest row, its labels in one call included.
    spec.limits.series = 50_000;
    spec.limits.hostcall_bytes = 64 << 20;
    (spec.limits.cpu_time, spec.limits.call_time) = (Duration::from_secs(30), Duration::from_secs(30));
    spec
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_nanos() as f64 / 1_000.0
}

async fn load(host: &Host, mode: &str, samples: u32) -> Plugin {
    let mut spec = bench(mode, samples);
    spec.name = format!("bench-{mode}-{samples}");
    host.runtime.load(spec).await.expect("the guest `bench` loads")
}

/// Medians of a `collect` without the queue: at the boundary, and with the guards of a call around it.
async fn boundary(plugin: &Plugin) -> (f64, f64) {
    plugin.collect_repeatedly(AT, ROUNDS).await.expect("warm");
    let (inner, whole) = plugin.collect_repeatedly(AT, ROUNDS).await.expect("measured").into_iter().unzip();
    (median(inner), median(whole))
}

/// Median of `work`, timed from outside.
async fn timed(rounds: u32, mut work: impl AsyncFnMut()) -> f64 {
    let mut times = Vec::new();
    for _ in 0..rounds {
        let started = Instant::now();
        work().await;
        times.push(started.elapsed());
    }
    median(times.split_off(times.len() / 5))
}

async fn rows() -> Vec<Row> {
    let host = Host::new();
    let mut rows = Vec::new();
    let mut row =
        |what: &str, median: f64, target: Option<f64>| rows.push(Row { what: what.to_owned(), median, target });

    let nothing = load(&host, "nothing", 0).await;
    let (inner, whole) = boundary(&nothing).await;
    row("no-op call at the boundary", inner, Some(1.0));
    row("no-op call with its guards (time-outs, counters, commit)", whole, None);
    let queued = timed(ROUNDS, async || drop(nothing.collect(AT).await.expect("collect"))).await;
    row("no-op collect through the plugin's queue", queued, None);

    for samples in [10, 1_000, 10_000] {
        let (_, own) = boundary(&load(&host, "fill", samples).await).await;
        let (_, pushed) = boundary(&load(&host, "push", samples).await).await;
        let target = (samples == 1_000).then_some(15.0);
        row(&format!("{samples} interned samples, above the guest's own work"), pushed - own, target);
        let (_, sdk) = boundary(&load(&host, "sdk", samples).await).await;
        row(&format!("{samples} samples by labels through the SDK, whole call"), sdk, None);
    }

    let swapped = load(&host, "nothing", 0).await;
    let mut spec = bench("nothing", 0);
    spec.name = swapped.name().to_owned();
    row(
        "swap: load, instantiate, describe, configure, take over",
        timed(SLOW_ROUNDS, async || swapped.swap(spec.clone()).await.expect("swap")).await,
        None,
    );
    let instantiate = swapped.instantiate_repeatedly(ROUNDS).await.expect("instances");
    row("instantiate", median(instantiate), None);
    rows
}

fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    println!("{:<62} {:>12} {:>12}", "", "median", "target");
    for Row { what, median, target } in runtime.block_on(rows()) {
        let verdict = target.map_or_else(String::new, |target| {
            format!("{:>9} µs  {}", format!("≤ {target}"), if median <= target { "ok" } else { "MISSED" })
        });
        println!("{what:<62} {median:>9.2} µs {verdict}");
    }
}
