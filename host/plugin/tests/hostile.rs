//! Hostile guests: each fails alone, in its class, and its neighbour keeps its schedule.
//!
//! The neighbour collects every [`PERIOD`] on the same runtime, with as many workers as hostile guests at a time, so a
//! guest that held a worker, the engine or a lock would show as a late collection.
#![allow(missing_docs)]

mod common;

use std::future::Future;
use std::time::{Duration, Instant};

use belfry_model::TimestampMs;
use belfry_model::report::SectionRequest;
use belfry_plugin::{CallError, Plugin, PluginSpec, PluginState};
use common::{Host, probe, spec};
use serde_json::json;
use tokio::net::TcpListener;

const AT: TimestampMs = TimestampMs(50_000);
/// Of the neighbour's schedule.
const PERIOD: Duration = Duration::from_millis(10);
/// The neighbour goes on for at least so many.
const COLLECTIONS_MIN: u32 = 5;
/// How late the neighbour may be while others build on the same machine; the hostile calls last longer.
const LATE_MAX: Duration = Duration::from_millis(400);
/// CPU and wall time of a hostile call.
const CALL_TIME: Duration = Duration::from_millis(800);

/// A hostile plugin, with little time.
fn hostile(guest: &str, config: serde_json::Value) -> PluginSpec {
    let mut spec = spec(guest, config);
    spec.limits.cpu_time = CALL_TIME;
    spec.limits.call_time = CALL_TIME * 2;
    spec
}

/// Runs `work` while a neighbour collects on schedule; fails when it was ever late or failed.
async fn beside_a_neighbour<R>(host: &Host, work: impl Future<Output = R>) -> R {
    let neighbour = host.runtime.load(probe(&["push:a"])).await.expect("the neighbour");
    let collecting = neighbour.clone();
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let schedule = tokio::spawn(async move {
        let mut latest = Duration::ZERO;
        let mut collections = 0u32;
        let mut tick = tokio::time::interval(PERIOD);
        loop {
            tokio::select! {
                due = tick.tick() => {
                    collecting.collect(AT).await.expect("the neighbour is well");
                    latest = latest.max(due.elapsed());
                    collections += 1;
                }
                // A call that fails at once leaves traces later, if at all.
                _ = &mut stopped, if collections >= COLLECTIONS_MIN => return (collections, latest),
            }
        }
    });
    let result = work.await;
    drop(stop);
    let (collections, latest) = schedule.await.expect("the schedule");
    assert!(latest < LATE_MAX, "{collections} collections, the latest {latest:?} late");
    assert_eq!(neighbour.status().state, PluginState::Running);
    assert_eq!(neighbour.status().errors.values().sum::<u64>(), 0);
    result
}

/// It failed: the instance is gone, the next call is told to wait, and after the rest it runs again.
async fn rests_and_comes_back(host: &Host, plugin: &Plugin) {
    let error = plugin.collect(AT).await.expect_err("it rests");
    let CallError::BackingOff { retry_after, failures: 1, .. } = error else { panic!("expected a rest, got {error}") };
    host.clock.advance(retry_after);
    let error = plugin.collect(AT).await.expect_err("it is as hostile as before");
    assert!(!matches!(error, CallError::BackingOff { .. }), "a fresh instance was tried: {error}");
    assert_eq!(plugin.status().restarts, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_loops_end_with_their_cpu_time_even_when_there_is_one_for_each_worker() {
    let host = Host::new();
    let mut loops = Vec::new();
    for n in 0..3 {
        let mut spec = hostile("hostile-endless-loop", json!({ "at": "collect" }));
        spec.name = format!("loop-{n}");
        // Three share two cores: the wall is there for other things than a busy machine.
        spec.limits.call_time = CALL_TIME * 20;
        loops.push(host.runtime.load(spec).await.unwrap());
    }
    let ends =
        beside_a_neighbour(&host, futures::future::join_all(loops.iter().map(|plugin| plugin.collect(AT)))).await;
    for (plugin, end) in loops.iter().zip(ends) {
        assert_eq!(end.unwrap_err(), CallError::TimedOut { plugin: plugin.name().into(), limit: CALL_TIME });
        assert_eq!(plugin.status().state, PluginState::BackingOff);
    }
    rests_and_comes_back(&host, &loops[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_loops_in_configure_is_not_loaded() {
    let host = Host::new();
    let load = host.runtime.load(hostile("hostile-endless-loop", json!({ "at": "configure" })));
    let error = beside_a_neighbour(&host, load).await.unwrap_err();
    assert_eq!(error.plugin, "hostile-endless-loop");
    assert!(error.reason.contains("configure") && error.reason.contains("800ms"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_memory_bomb_stops_at_its_own_limit() {
    let host = Host::new();
    let plugin = host.runtime.load(hostile("hostile-memory-bomb", json!({}))).await.unwrap();
    let error = beside_a_neighbour(&host, plugin.collect(AT)).await.unwrap_err();
    let CallError::Trapped { reason, .. } = &error else { panic!("expected a trap, got {error}") };
    assert!(reason.contains("32 MiB"), "it names the limit: {reason}");
    assert!(plugin.status().memory_peak_bytes <= 32 << 20);
    rests_and_comes_back(&host, &plugin).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stack_overflow_is_a_trap() {
    let host = Host::new();
    for (large, want) in [(true, "out of bounds"), (false, "stack overflowed")] {
        let plugin = host.runtime.load(hostile("hostile-stack-overflow", json!({ "large": large }))).await.unwrap();
        let error = beside_a_neighbour(&host, plugin.collect(AT)).await.unwrap_err();
        let CallError::Trapped { reason, .. } = &error else { panic!("expected a trap, got {error}") };
        assert!(reason.contains(want), "{reason}");
        rests_and_comes_back(&host, &plugin).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_is_a_trap() {
    let host = Host::new();
    let plugin = host.runtime.load(hostile("hostile-panic", json!({}))).await.unwrap();
    let error = beside_a_neighbour(&host, plugin.collect(AT)).await.unwrap_err();
    assert!(matches!(error, CallError::Trapped { .. }), "{error}");
    rests_and_comes_back(&host, &plugin).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_flood_is_cut_counted_and_costs_the_guest_its_own_time() {
    let host = Host::new();
    let some = hostile("hostile-log-flood", json!({ "lines": 1_000, "bytes": 6_000 }));
    let plugin = host.runtime.load(some).await.unwrap();
    beside_a_neighbour(&host, plugin.collect(AT)).await.expect("too many lines are no failure");
    let status = plugin.status();
    assert_eq!(status.log_lines_dropped, 900, "of 1,000 lines 100 are kept");
    assert!(status.log.len() <= 100 && status.log.iter().all(|line| line.message.len() <= 4_200));

    let endless = hostile("hostile-log-flood", json!({ "lines": u64::MAX, "bytes": 6_000 }));
    plugin.swap(endless).await.unwrap();
    let error = beside_a_neighbour(&host, plugin.collect(AT)).await.unwrap_err();
    // What it copies over the boundary is bounded as well as its time; whichever ends first.
    assert!(matches!(error, CallError::TimedOut { .. } | CallError::Trapped { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_giant_return_is_not_taken() {
    let host = Host::new();
    // The text fits into the guest's memory, not into what may be copied in a call (8 MiB).
    let spec = hostile("hostile-giant-return", json!({ "size": 12 << 20 }));
    let plugin = host.runtime.load(spec).await.unwrap();
    let error = beside_a_neighbour(&host, plugin.identify()).await.unwrap_err();
    let CallError::Trapped { reason, .. } = &error else { panic!("expected a trap, got {error}") };
    assert!(reason.contains("fuel") || reason.contains("hostcall") || reason.contains("copied"), "{reason}");

    // Very many things that are small in the guest, and would be large in the host.
    host.clock.advance(Duration::from_secs(600));
    let request = SectionRequest {
        title: "Giant".into(),
        start: AT,
        end: AT,
        previous_start: AT,
        time_zone: "UTC".into(),
        locale: "en".into(),
        parameters: "{}".into(),
    };
    let error = beside_a_neighbour(&host, plugin.render(request)).await.unwrap_err();
    assert!(matches!(error, CallError::Trapped { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_series_flood_ends_at_the_limit_of_series() {
    let host = Host::new();
    let flood = |stubborn: bool| {
        let mut spec = hostile("hostile-series-flood", json!({ "stubborn": stubborn }));
        spec.limits.series = 500;
        spec
    };
    let plugin = host.runtime.load(flood(false)).await.unwrap();
    let error = beside_a_neighbour(&host, plugin.collect(AT)).await.unwrap_err();
    let CallError::Refused { code, message, .. } = &error else { panic!("expected a refusal, got {error}") };
    assert_eq!(code, "limit");
    assert!(message.contains("500"), "it names the limit: {message}");
    assert!(plugin.status().open_series <= 500);
    // One that does not listen is told until its time is up.
    plugin.swap(flood(true)).await.unwrap();
    let error = beside_a_neighbour(&host, plugin.collect(AT)).await.unwrap_err();
    assert!(matches!(error, CallError::TimedOut { .. } | CallError::Trapped { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_http_ends_with_the_calls_time() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let host = Host::new();
    let mut spec = hostile("hostile-slow-http", json!({ "url": url }));
    spec.grants.http = vec![url];
    let plugin = host.runtime.load(spec).await.unwrap();
    let started = Instant::now();
    let error = beside_a_neighbour(&host, plugin.collect(AT)).await.unwrap_err();
    assert_eq!(error, CallError::TimedOut { plugin: "hostile-slow-http".into(), limit: CALL_TIME * 2 });
    assert!(started.elapsed() < CALL_TIME * 10, "its own time-outs are five minutes");
    rests_and_comes_back(&host, &plugin).await;
}
