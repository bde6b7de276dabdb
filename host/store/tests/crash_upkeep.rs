//! A crash at every disk operation of a store that expires blocks and copies itself, with every kind of what it keeps:
//! nothing acknowledged and within the retention is lost, and a copy that was finished has all of its time.

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use belfry_model::sample::{Histogram, Span, Value};
use belfry_model::{
    Batch, Exemplar, Labels, Matcher, MetricKind, MetricMetadata, Sample, SeriesRead, TimeRange, TimestampMs, Writer,
};
use belfry_store::disk::SimDisk;
use belfry_store::{Backend, FsyncPolicy, Store, StoreConfig};
use common::*;

const STEPS: i64 = 20;
const STEP_MS: i64 = 10_000;
const RETENTION_MS: i64 = 60_000;

fn at(step: i64) -> TimestampMs {
    TimestampMs(T0 + step * STEP_MS)
}

fn counter(step: i64) -> Sample {
    Sample { at: at(step), value: Value::Float(step as f64 * 7.0), start: Some(TimestampMs(T0 - 5_000 + step / 5)) }
}

fn histogram(step: i64) -> Sample {
    let h = Histogram {
        schema: 1,
        count: step as f64 * 3.0,
        sum: step as f64 / 2.0,
        positive_spans: vec![Span { offset: 0, length: 2 }],
        positive_counts: vec![step as f64, step as f64 * 2.0],
        integer: true,
        ..Histogram::default()
    };
    Sample { at: at(step), value: Value::Histogram(Arc::new(h)), start: None }
}

fn exemplar(step: i64) -> Exemplar {
    Exemplar { labels: Labels::from_pairs([("trace_id", format!("t{step}"))]), value: step as f64, at: at(step) }
}

fn metadata() -> MetricMetadata {
    MetricMetadata { name: "counter".into(), kind: MetricKind::Counter, unit: "s".into(), help: "Counts.".into() }
}

fn config(fsync: FsyncPolicy) -> StoreConfig {
    let retention = Some(Duration::from_millis(RETENTION_MS as u64));
    StoreConfig { fsync, retention, block_span: Duration::from_millis(2 * STEP_MS as u64), ..common::config() }
}

/// What came of it: the steps that were acknowledged, the last one that was begun, and the finished copies with the step
/// after which each was made.
#[derive(Default)]
struct Done {
    acknowledged: Vec<i64>,
    last: i64,
    copies: Vec<(String, i64)>,
    expired: u64,
}

fn work(disk: &SimDisk, config: &StoreConfig) -> Done {
    let mut done = Done::default();
    let Ok((store, _)) = Store::open(config.clone(), Arc::new(disk.clone()), at(0)) else { return done };
    store.declare(metadata());
    for step in 0..STEPS {
        done.last = step;
        let (c, h) = (store.open(&labels("counter")).unwrap(), store.open(&labels("histogram")).unwrap());
        let mut batch = Batch::at("test", at(step));
        let (Sample { value: Value::Float(v), start: Some(start), .. }, Sample { value: Value::Histogram(of_h), .. }) =
            (counter(step), histogram(step))
        else {
            unreachable!()
        };
        batch.refs.push(c);
        batch.values.push(v);
        batch.starts.push(start.0);
        batch.histograms.push((h, at(step), None, of_h));
        batch.exemplars.push((c, exemplar(step)));
        if block_on(store.append(batch)).is_ok() {
            done.acknowledged.push(step);
        }
        // Errors are the crash.
        done.expired += store.maintain(at(step)).map_or(0, |m| m.expired);
        if step % 7 == 4 {
            let into = format!("/copy{step}");
            if store.snapshot(Path::new(&into), 0).is_ok() {
                done.copies.push((into, step));
            }
        }
    }
    done
}

fn samples(store: &Store, name: &str) -> Vec<Sample> {
    let all = select(store, &[&format!("__name__={name}")], TimeRange::ALL);
    all.iter().flat_map(|(_, buf)| (0..buf.len()).filter_map(|i| buf.get(i))).collect()
}

/// A data folder has what was acknowledged up to `last` and is within the retention then, as it was, and nothing else.
fn check(disk: &SimDisk, folder: &str, done: &Done, last: i64, when: &str) {
    let config = StoreConfig { backend: Backend::Folder(folder.into()), retention: None, ..common::config() };
    let (store, recovery) =
        Store::open(config, Arc::new(disk.clone()), at(last)).unwrap_or_else(|e| panic!("{when}: {folder}: {e}"));
    assert_eq!(recovery.damage, [], "{when}: {folder}");
    let kept: Vec<i64> = done.acknowledged.iter().copied().filter(|s| *s <= last).collect();
    let young = kept.iter().copied().filter(|s| (last - s) * STEP_MS <= RETENTION_MS);
    let kinds: [(&str, &dyn Fn(i64) -> Sample); 2] = [("counter", &counter), ("histogram", &histogram)];
    for (name, sent) in kinds {
        let found = samples(&store, name);
        for step in young.clone() {
            assert!(found.contains(&sent(step)), "{when}: {folder}: {name} of step {step} was acknowledged");
        }
        for s in &found {
            let step = (s.at.0 - T0) / STEP_MS;
            assert_eq!(s, &sent(step), "{when}: {folder}: {name} is as it was");
        }
    }
    let found = block_on(store.exemplars(&[Matcher::equal("__name__", "counter")], TimeRange::ALL)).unwrap();
    let found: Vec<&Exemplar> = found.iter().flat_map(|(_, of)| of).collect();
    for step in young {
        assert!(found.contains(&&exemplar(step)), "{when}: {folder}: the exemplar of step {step}");
    }
    if !kept.is_empty() {
        assert_eq!(block_on(store.metadata(None)).unwrap(), [metadata()], "{when}: {folder}");
    }
    put(&store, "later", T0 + 1_000_000, 1.0).unwrap_or_else(|e| panic!("{when}: {folder}: {e}"));
}

fn check_all(disk: &SimDisk, done: &Done, when: &str) {
    check(disk, "/data", done, done.last, when);
    for (copy, step) in &done.copies {
        check(disk, copy, done, *step, when);
    }
}

#[test]
fn a_kill_at_any_disk_operation_loses_nothing_that_is_to_be_kept_and_no_finished_copy() {
    for operation in 0.. {
        let disk = SimDisk::crash_at(operation);
        let done = work(&disk, &config(FsyncPolicy::Never));
        check_all(&disk.killed(), &done, &format!("killed at operation {operation}"));
        if !disk.crashed() {
            assert_eq!((done.acknowledged.len() as i64, done.copies.len()), (STEPS, 3));
            assert!(done.expired > 2 && operation > 100, "{} expired, {operation} operations", done.expired);
            break;
        }
    }
}

#[test]
fn a_power_loss_at_any_disk_operation_loses_nothing_that_is_to_be_kept_and_no_finished_copy() {
    for operation in 0.. {
        let disk = SimDisk::crash_at(operation);
        let done = work(&disk, &config(FsyncPolicy::Always));
        for seed in 0..2 {
            let when = format!("power lost at operation {operation}, seed {seed}");
            check_all(&disk.power_loss(operation * 31 + seed), &done, &when);
        }
        if !disk.crashed() {
            break;
        }
    }
}
