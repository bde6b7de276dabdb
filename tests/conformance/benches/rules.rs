//! What 1,000 alerting rules over 10,000 series cost on one core: `cargo xtask bench rules`.
//!
//! The rules are groups of a rule file, evaluated by their own organ over the store; a twentieth of the series breaches.
#![allow(clippy::print_stdout, reason = "the figures are the purpose")]

use std::sync::Arc;
use std::time::Duration;

use belfry_model::read::Cancel;
use belfry_model::{Batch, Labels, METRIC_NAME, Organ as _, TimestampMs, Writer as _};
use belfry_promql::{PointValue, Query, QueryLimits, QueryTime, QueryValue};
use belfry_rules::file;
use belfry_rules::groups::{Defaults, GroupSpec, Groups, GroupsEffect, GroupsInput, Job, NoQueries, Row};
use belfry_store::{RealDisk, Store, StoreConfig};

const T0: i64 = 1_700_000_000_000;
const STEP_MS: i64 = 15_000;
/// An hour.
const STEPS: i64 = 240;
const METRICS: usize = 100;
const INSTANCES: usize = 100;
const RULES: usize = 1_000;
const RULES_PER_GROUP: usize = 20;
const INTERVAL: Duration = Duration::from_secs(60);

type Failed = Box<dyn std::error::Error>;

fn main() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let (store, _) = Store::open(StoreConfig::folder(folder.path()), Arc::new(RealDisk), TimestampMs(T0))?;
    fill(&runtime, &store)?;
    let of_a_metric = [
        "m{N} > 1e12",
        "rate(m{N}[5m]) > 1.9",
        "max by (instance) (increase(m{N}[10m])) > 1e9",
        "avg_over_time(m{N}{zone=\"a\"}[5m]) < 0",
        "m{N} / ignoring(metric) m{N} > 2",
    ];
    let of_all = [
        "{job=\"node\"} > 1e12",
        "count({job=\"node\"} > 1e12) > 5000",
        "max by (zone) ({job=\"node\"}) < 0",
        "rate({job=\"node\"}[5m]) > 1e12",
        "sum by (zone) (rate({job=\"node\"}[5m])) > 1e12",
    ];
    measure(&runtime, &store, "each over the 100 series of its metric", &of_a_metric, RULES)?;
    // A thousand of these look at ten million series.
    measure(&runtime, &store, "each over all 10,000 series", &of_all, RULES)?;
    for one in of_all {
        measure(&runtime, &store, &format!("each `{one}`"), &[one], RULES / 50)?;
    }
    Ok(())
}

fn fill(runtime: &tokio::runtime::Runtime, store: &Store) -> Result<(), Failed> {
    let mut refs = Vec::new();
    for i in 0..METRICS * INSTANCES {
        let (metric, instance) = (i % METRICS, i / METRICS);
        refs.push(store.open(&Labels::from_pairs([
            (METRIC_NAME, format!("m{metric}")),
            ("metric", metric.to_string()),
            ("instance", format!("host-{instance}:9100")),
            ("zone", ["a", "b", "c"][instance % 3].to_owned()),
            ("job", "node".to_owned()),
        ]))?);
    }
    for step in 0..STEPS {
        let mut batch = Batch::at("bench", TimestampMs(T0 + step * STEP_MS));
        batch.refs.extend_from_slice(&refs);
        // Rates between 0.1 and 2 a second: a twentieth is above 1.9.
        batch
            .values
            .extend((0..refs.len()).map(|i| (step * 15) as f64 * (((i / METRICS * 7 + i) % 20 + 1) as f64 / 10.0)));
        runtime.block_on(store.append(batch))?;
    }
    Ok(())
}

fn measure(
    runtime: &tokio::runtime::Runtime,
    store: &Store,
    what: &str,
    expressions: &[&str],
    rules: usize,
) -> Result<(), Failed> {
    let mut yaml = "groups:\n".to_owned();
    for n in 0..rules {
        if n % RULES_PER_GROUP == 0 {
            yaml.push_str(&format!("- name: g{n}\n  rules:\n"));
        }
        let expr = expressions[n % expressions.len()].replace("{N}", &(n % METRICS).to_string());
        yaml.push_str(&format!(
            "  - alert: A{n}\n    expr: '{expr}'\n    for: 5m\n    labels: {{severity: page}}\n    annotations:\n      \
             summary: '{{{{ $labels.instance }}}} has {{{{ $value | humanize }}}}'\n"
        ));
    }
    let file = file::parse(&yaml, "bench.yml").map_err(|p| format!("{p:?}"))?;
    let defaults = Defaults {
        interval: INTERVAL,
        query_offset: Duration::ZERO,
        external_labels: Labels::empty(),
        external_url: String::new(),
    };
    let end = T0 + (STEPS - 1) * STEP_MS;
    let mut organ = Groups::new(Vec::new(), Vec::new());
    let groups = GroupSpec::of_file(&file, &defaults);
    let mut inputs = vec![GroupsInput::Configure { groups, unread: Vec::new() }];
    let mut now = TimestampMs(end - 60_000);
    let (mut evaluated, mut rows, mut longest) = (0, 0, Duration::ZERO);
    let begun = cpu_time();
    while evaluated < rules {
        for effect in organ.step(now, std::mem::take(&mut inputs)) {
            match effect {
                GroupsEffect::Evaluate(job) => {
                    let one = cpu_time();
                    let outcome = evaluate(runtime, store, &job);
                    let took = cpu_time() - one;
                    longest = longest.max(took);
                    rows += outcome.as_ref().map_or(0, Vec::len);
                    evaluated += 1;
                    inputs.push(GroupsInput::Evaluated { group: job.group, serial: job.serial, took, outcome });
                }
                GroupsEffect::Record { at, samples } => {
                    let mut batch = Batch::at("rules", at);
                    for (labels, value) in samples {
                        if let PointValue::Float(v) = value {
                            batch.refs.push(store.open(&labels)?);
                            batch.values.push(v);
                        }
                    }
                    runtime.block_on(store.append(batch))?;
                }
                _ => {}
            }
        }
        if inputs.is_empty() {
            now = organ.next_due().ok_or("no group")?.max(now);
        }
    }
    let took = cpu_time() - begun;
    let failed: u64 = organ.snapshot().iter().flat_map(|g| &g.rules).map(|r| r.failures).sum();
    let share = took.as_secs_f64() / INTERVAL.as_secs_f64() * 100.0;
    println!(
        "{rules} rules, {what}: {:.3} s of CPU, {share:.1} % of a {} s interval (aim: 10 %); {:.0} us a rule, the \
         longest {:.1} ms; {rows} alerts, {failed} failures",
        took.as_secs_f64(),
        INTERVAL.as_secs(),
        took.as_secs_f64() * 1e6 / rules as f64,
        longest.as_secs_f64() * 1e3,
    );
    Ok(())
}

/// Of this process, as the store reads on a thread of its own: whoever else is at work on the machine takes nothing of it.
fn cpu_time() -> Duration {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(t.tv_sec.unsigned_abs(), u32::try_from(t.tv_nsec).unwrap_or_default())
}

fn evaluate(runtime: &tokio::runtime::Runtime, store: &Store, job: &Job) -> Result<Vec<Row>, String> {
    let query = Query::parse(&job.rule.expr, QueryTime::Instant(job.query_at), QueryLimits::default());
    let fetched = runtime
        .block_on(query.map_err(|e| e.to_string())?.fetch(&job.shared.over(store)))
        .map_err(|e| e.to_string())?;
    match fetched.evaluate(&Cancel::default()).map_err(|e| e.to_string())?.value {
        QueryValue::Vector(points) => job.rule.rows(points, &NoQueries, job.at),
        _ => Err("rule result is not a vector or scalar".to_owned()),
    }
}
