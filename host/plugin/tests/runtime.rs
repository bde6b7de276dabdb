//! The life of a plugin: load, call, fail, rest, swap, drain. The guest `probe` does step `n` of its script in second
//! `n` of the simulated clock.
#![allow(missing_docs)]

mod common;

use std::time::Duration;

use belfry_model::report::{Block, Document, SectionRequest};
use belfry_model::write::Times;
use belfry_model::{Labels, TimestampMs};
use belfry_plugin::{
    AlertGroupInput, Builtins, CallError, CompileMode, ComponentSource, Health, Kind, PluginState, ReportInput,
};
use common::{Host, probe, spec};
use serde_json::json;

const AT: TimestampMs = TimestampMs(50_000);

fn refused(error: CallError) -> (String, String) {
    match error {
        CallError::Refused { code, message, .. } => (code, message),
        other => panic!("expected a refusal, got {other}"),
    }
}

#[tokio::test]
async fn every_kind_of_call_reaches_the_guest_and_comes_back() {
    let host = Host::new();
    let plugin = host.runtime.load(probe(&["push:a,b"])).await.unwrap();
    assert_eq!(plugin.kinds(), Kind::ALL);
    assert_eq!((plugin.descriptor().name.as_str(), plugin.descriptor().version.as_str()), ("probe", "1.2.3"));

    let batch = plugin.collect(AT).await.unwrap();
    assert_eq!(batch.times, Times::One(AT));
    assert_eq!(
        host.series.show(&batch),
        [r#"probe_value{name="a", plugin="probe"} 1"#, r#"probe_value{name="b", plugin="probe"} 1"#]
    );

    let identity = plugin.identify().await.unwrap();
    assert_eq!((identity.id.as_str(), identity.labels.get("zone")), ("probe-1", Some("a")));
    let (health, batch) = plugin.snapshot(AT).await.unwrap();
    assert_eq!((health, batch.refs.len()), (Health::Degraded("told so".into()), 2));

    let group = AlertGroupInput { dedup_key: "k".into(), attempt: 3, ..Default::default() };
    // The script pushes, and samples have nowhere to go in `deliver`.
    assert_eq!(refused(plugin.deliver(&group).await.unwrap_err()).0, "phase");

    let request = SectionRequest {
        title: "CPU".into(),
        start: AT,
        end: AT,
        previous_start: AT,
        time_zone: "UTC".into(),
        locale: "en".into(),
        parameters: "{}".into(),
    };
    assert_eq!(plugin.render(request).await.unwrap(), [Block::Heading("CPU".into())]);

    let document = Document { media_type: "text/csv".into(), file_name: "a.csv".into(), data: vec![1, 2] };
    let mut report = ReportInput {
        name: "daily".into(),
        title: "Daily".into(),
        start: AT,
        end: AT,
        summary: String::new(),
        documents: vec![document],
        url: String::new(),
        attributes: Vec::new(),
    };
    plugin.deliver_report(&report).await.unwrap();
    report.documents.clear();
    assert_eq!(refused(plugin.deliver_report(&report).await.unwrap_err()).1, "a report without documents");
}

#[tokio::test]
async fn a_receipt_comes_back() {
    let host = Host::new();
    let plugin = host.runtime.load(probe(&[])).await.unwrap();
    let group = AlertGroupInput { dedup_key: "k".into(), attempt: 3, ..Default::default() };
    let receipt = plugin.deliver(&group).await.unwrap();
    assert_eq!((receipt.reference.as_deref(), receipt.note.as_deref()), (Some("k#3"), Some("0 alerts")));
}

#[tokio::test]
async fn a_failed_call_keeps_nothing_and_the_instance_stays() {
    let host = Host::new();
    let plugin = host.runtime.load(probe(&["calls", "push:a fail", "calls"])).await.unwrap();
    let calls = |n: i64| {
        host.second(n);
        plugin.collect(AT)
    };
    calls(0).await.unwrap();
    assert_eq!(refused(calls(1).await.unwrap_err()).1, "told to fail");
    let batch = calls(2).await.unwrap();
    assert_eq!(
        host.series.show(&batch),
        [r#"probe_calls{plugin="probe"} 3"#],
        "the same instance, no sample of the failed call"
    );
    let status = plugin.status();
    assert_eq!((status.calls, status.restarts, status.errors.get("refused")), (3, 0, Some(&1)));
    assert_eq!(status.state, PluginState::Running);
}

#[tokio::test]
async fn what_a_call_leaves_out_or_closes_is_stale_once() {
    let host = Host::new();
    let script = ["push:a,b,c", "push:a,b close:c", "push:a", "push:a fail", "push:a", "push:a,b"];
    let plugin = host.runtime.load(probe(&script)).await.unwrap();
    let mut seen = Vec::new();
    for second in 0..script.len() {
        host.second(second as i64);
        seen.push(match plugin.collect(AT).await {
            Err(_) => "failed".to_owned(),
            Ok(batch) => {
                let short = |row: String| {
                    let name = row.split('"').nth(1).unwrap_or_default().to_owned();
                    format!("{name}{}", if row.ends_with("stale") { "!" } else { "" })
                };
                host.series.show(&batch).into_iter().map(short).collect::<Vec<_>>().join(" ")
            }
        });
    }
    assert_eq!(seen, ["a b c", "a b c!", "a b!", "failed", "a", "a b"]);
}

#[tokio::test]
async fn rows_have_times_and_starts_of_their_own() {
    let host = Host::new();
    let plugin = host.runtime.load(probe(&["push:a rows:x"])).await.unwrap();
    let batch = plugin.collect(AT).await.unwrap();
    assert_eq!(batch.times, Times::Each(vec![AT, TimestampMs(123_000)]));
    assert_eq!(batch.starts, [0, 100_000]);
}

#[tokio::test]
async fn a_trap_ends_the_instance_and_the_next_comes_after_a_rest() {
    let host = Host::new();
    let plugin = host.runtime.load(probe(&["calls push:a", "push:a trap", "push:a", "calls"])).await.unwrap();
    host.second(0);
    plugin.collect(AT).await.unwrap();
    host.second(1);
    let error = plugin.collect(AT).await.unwrap_err();
    assert!(matches!(&error, CallError::Trapped { reason, .. } if reason.contains("panicked")), "{error}");
    assert_eq!(plugin.status().state, PluginState::BackingOff);
    assert!(plugin.status().log.last().unwrap().message.contains("told to trap"), "the panic's message is in its log");

    let resting = plugin.collect(AT).await.unwrap_err();
    assert_eq!(
        resting,
        CallError::BackingOff { plugin: "probe".into(), failures: 1, retry_after: Duration::from_secs(1) }
    );

    let (_, last) = plugin.status().last_error.unwrap();
    assert!(last.contains("trapped"), "that it rests does not hide why: {last}");

    host.second(3);
    let batch = plugin.collect(AT).await.unwrap();
    assert_eq!(
        host.series.show(&batch),
        [r#"probe_calls{plugin="probe"} 1"#, r#"probe_value{name="a", plugin="probe"} stale"#],
        "a fresh instance counts from one; what the old one left live and it did not push has ended"
    );
    let status = plugin.status();
    assert_eq!((status.state, status.restarts), (PluginState::Running, 1));
}

#[tokio::test]
async fn an_endless_loop_ends_with_its_cpu_time_and_others_go_on() {
    let host = Host::new();
    let mut spinning = probe(&["spin"]);
    spinning.limits.cpu_time = Duration::from_millis(100);
    let spinner = host.runtime.load(spinning).await.unwrap();
    let mut fine = probe(&["push:a"]);
    fine.name = "fine".into();
    let neighbour = host.runtime.load(fine).await.unwrap();
    // One worker thread: the neighbour only gets its turn because the spinner yields.
    let (spun, collected) = tokio::join!(spinner.collect(AT), neighbour.collect(AT));
    assert_eq!(collected.unwrap().refs.len(), 1);
    assert_eq!(spun.unwrap_err(), CallError::TimedOut { plugin: "probe".into(), limit: Duration::from_millis(100) });
}

#[tokio::test]
async fn memory_past_the_limit_is_refused_and_named() {
    let host = Host::new();
    let mut greedy = probe(&["grow"]);
    greedy.limits.memory_bytes = 8 << 20;
    let plugin = host.runtime.load(greedy).await.unwrap();
    let error = plugin.collect(AT).await.unwrap_err().to_string();
    assert!(error.contains("`limits.memory` is 8 MiB"), "{error}");
    assert!(plugin.status().memory_peak_bytes <= 8 << 20);
}

#[tokio::test]
async fn limits_of_series_samples_and_lines_hold() {
    let host = Host::new();
    let mut limited = probe(&["many:11", "many:6 many:6", "log:30", "unknown", "reserved"]);
    limited.limits.series = 10;
    limited.limits.samples_per_call = 8;
    limited.limits.log_lines = 5;
    let plugin = host.runtime.load(limited).await.unwrap();
    let mut said = Vec::new();
    for second in 0..5 {
        host.second(second);
        said.push(plugin.collect(AT).await.map(|_| ()).map_err(refused));
    }
    let said: Vec<_> = said.into_iter().map(|r| r.map_err(|(code, message)| format!("{code}: {message}"))).collect();
    assert_eq!(said[0], Err("limit: 10 series are open already (`limits.series`)".into()));
    assert_eq!(said[1], Err("limit: 12 samples in one call; `limits.samples_per_call` is 8".into()));
    assert_eq!(said[2], Ok(()));
    assert_eq!(plugin.status().log_lines_dropped, 25);
    assert_eq!(said[3], Err("invalid: series 4000000 is not open in this instance".into()));
    assert!(said[4].as_ref().unwrap_err().contains("the label `job` of probe_value is set by the host"));
}

#[tokio::test]
async fn what_is_not_granted_is_denied_and_what_needs_no_grant_works() {
    let host = Host::new();
    let script = ["kv-set:x", "query", "random", "kv-get:x"];
    let plugin = host.runtime.load(probe(&script)).await.unwrap();
    let mut codes = Vec::new();
    for second in 0..3 {
        host.second(second);
        codes.push(plugin.collect(AT).await.map(|_| "ok".to_owned()).unwrap_or_else(|e| refused(e).0));
    }
    assert_eq!(codes, ["denied", "denied", "ok"]);

    let mut granted = probe(&script);
    granted.grants.kv = true;
    granted.grants.query = true;
    plugin.swap(granted).await.unwrap();
    for second in 0..4 {
        host.second(second);
        plugin.collect(AT).await.unwrap();
    }
}

#[tokio::test]
async fn asking_for_too_much_randomness_traps() {
    let host = Host::new();
    let plugin = host.runtime.load(probe(&["greedy"])).await.unwrap();
    let error = plugin.collect(AT).await.unwrap_err().to_string();
    assert!(error.contains("asked for 5000 random bytes; at most 4096 a call"), "{error}");
}

#[tokio::test]
async fn metrics_declared_later_are_in_the_metadata() {
    let host = Host::new();
    let plugin = host.runtime.load(probe(&["declare:queue_depth"])).await.unwrap();
    assert!(plugin.metadata().is_empty());
    plugin.collect(AT).await.unwrap();
    assert_eq!(plugin.metadata()[0].name, "queue_depth");
}

#[tokio::test]
async fn a_swap_takes_over_live_series() {
    let host = Host::new();
    let plugin = host.runtime.load(probe(&["push:a,b"])).await.unwrap();
    plugin.collect(AT).await.unwrap();
    plugin.swap(probe(&["push:b,c"])).await.unwrap();
    let batch = plugin.collect(AT).await.unwrap();
    assert_eq!(
        host.series.show(&batch),
        [
            r#"probe_value{name="a", plugin="probe"} stale"#,
            r#"probe_value{name="b", plugin="probe"} 1"#,
            r#"probe_value{name="c", plugin="probe"} 1"#
        ]
    );
    assert_eq!(plugin.status().swaps, 1);
}

#[tokio::test]
async fn a_swap_that_fails_leaves_the_old_one_running_and_says_why() {
    let host = Host::new();
    let plugin = host.runtime.load(probe(&["calls"])).await.unwrap();
    plugin.collect(AT).await.unwrap();
    let broken = |config: serde_json::Value| spec("probe", config);
    let mut missing = probe(&[]);
    missing.source = ComponentSource::File("/nowhere/x.wasm".into());
    let mut nobody = probe(&[]);
    nobody.source = ComponentSource::Builtin("hostile-describe".into());
    let cases = [
        (nobody, "it trapped in `describe`: it panicked or aborted"),
        (broken(json!({"configure": "refuse"})), "it refused its config: this config is not to its taste"),
        (broken(json!({"configure": "trap"})), "it trapped in `configure`: it panicked or aborted"),
        (broken(json!({"scrpt": []})), "its config does not fit: "),
        (missing, "cannot read /nowhere/x.wasm: "),
    ];
    for (spec, reason) in cases {
        let error = plugin.swap(spec).await.unwrap_err();
        assert!(error.reason.starts_with(reason), "{}", error.reason);
        assert_eq!(error.plugin, "probe");
    }
    let batch = plugin.collect(AT).await.unwrap();
    assert_eq!(host.series.show(&batch), [r#"probe_calls{plugin="probe"} 2"#], "the same instance");
}

#[tokio::test]
async fn calls_go_on_while_another_component_is_swapped_in() {
    let host = Host::new();
    let plugin = host.runtime.load(probe(&["push:a"])).await.unwrap();
    let swapping = plugin.clone();
    let swap = tokio::spawn(async move { swapping.swap(probe(&["push:a"])).await });
    let mut collected = 0;
    while !swap.is_finished() {
        plugin.collect(AT).await.unwrap();
        collected += 1;
    }
    swap.await.unwrap().unwrap();
    assert!(collected > 0, "no call was made during the swap");
    assert_eq!(plugin.status().errors.len(), 0);
}

#[tokio::test]
async fn draining_ends_all_series_and_later_calls_are_told() {
    let host = Host::new();
    let plugin = host.runtime.load(probe(&["push:a"])).await.unwrap();
    plugin.collect(AT).await.unwrap();
    let last = plugin.drain().await;
    assert_eq!(host.series.show(&last), [r#"probe_value{name="a", plugin="probe"} stale"#]);
    assert_eq!(plugin.collect(AT).await.unwrap_err(), CallError::Gone { plugin: "probe".into() });
    assert_eq!(plugin.status().state, PluginState::Gone);
}

#[tokio::test]
async fn a_caller_that_goes_away_ends_the_call_and_the_instance_but_is_no_failure() {
    let host = Host::new();
    let plugin = host.runtime.load(probe(&["spin", "calls"])).await.unwrap();
    let gone = tokio::time::timeout(Duration::from_millis(20), plugin.collect(AT)).await;
    assert!(gone.is_err());
    host.second(1);
    let batch = plugin.collect(AT).await.unwrap();
    assert_eq!(host.series.show(&batch), [r#"probe_calls{plugin="probe"} 1"#], "a fresh instance, without a rest");
}

#[tokio::test]
async fn more_memory_than_the_engine_gives_is_refused_by_name() {
    let host = Host::with(|config| config.memory_slot_bytes = 16 << 20);
    let error = host.runtime.load(probe(&[])).await.unwrap_err();
    assert_eq!(error.reason, "its `limits.memory` (32 MiB) is more than the engine gives any plugin (16 MiB)");
    assert!(error.help.contains("memory_slot"));
}

#[tokio::test]
async fn builtins_are_found_by_name() {
    let host = Host::new();
    let mut builtin = probe(&["push:a"]);
    builtin.source = ComponentSource::Builtin("probe".into());
    host.runtime.load(builtin.clone()).await.unwrap();
    builtin.source = ComponentSource::Builtin("prob".into());
    let error = host.runtime.load(builtin).await.unwrap_err();
    assert!(error.help.contains("probe"), "{error}");

    let bytes = std::fs::read(common::guest("probe")).unwrap();
    let host = Host::with(|config| {
        config.builtins = Builtins::Embedded(std::sync::Arc::new(move |name| (name == "mine").then(|| bytes.clone())));
    });
    let mut embedded = probe(&["push:a"]);
    embedded.source = ComponentSource::Builtin("mine".into());
    assert_eq!(host.runtime.load(embedded).await.unwrap().collect(AT).await.unwrap().refs.len(), 1);
}

#[tokio::test]
async fn a_compiler_that_fails_is_quoted() {
    let cache = tempfile::tempdir().unwrap();
    let host = Host::with(|config| {
        config.cache_dir = cache.path().join("empty");
        config.compile =
            CompileMode::ChildProcess { exe: "/bin/sh".into(), args: vec!["-c".into(), "echo no >&2; exit 1".into()] };
    });
    let error = host.runtime.load(probe(&[])).await.unwrap_err();
    assert_eq!(error.reason, "it cannot be compiled: no");
}

#[tokio::test]
async fn the_host_sets_its_labels() {
    let host = Host::new();
    let mut labelled = probe(&["push:a"]);
    labelled.host_labels = Labels::from_pairs([("plugin", "p"), ("instance", "i")]);
    let plugin = host.runtime.load(labelled).await.unwrap();
    let batch = plugin.collect(AT).await.unwrap();
    assert_eq!(host.series.show(&batch), [r#"probe_value{instance="i", name="a", plugin="p"} 1"#]);
}
