//! A queue of each format version, kept in the repository: every later Belfry must send what waits in it.
//!
//! A queue outlives an update: the engine was away, the program was replaced, and what waits was acknowledged. Until the
//! first release the one of version 1 may be made anew after a change of the format:
//! `cargo test -p belfry-remote --test golden_queue -- --ignored`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use belfry_model::sample::{ResetHint, Span, stale_nan};
use belfry_model::write::Times;
use belfry_model::{
    Batch, Exemplar, Histogram, Labels, MetricKind, MetricMetadata, Sample, SeriesRef, TimestampMs, Value,
};
use belfry_remote::engine::Shipment;
use belfry_remote::queue::{Queue, QueueConfig, SeriesNames};
use belfry_store::RealDisk;
use belfry_store::disk::{Disk, SimDisk};

const T0: i64 = 1_700_000_000_000;
const FLOATS: SeriesRef = SeriesRef(1);
const HISTOGRAMS: SeriesRef = SeriesRef(2);
const LATER: SeriesRef = SeriesRef(3);

struct Names;

impl SeriesNames for Names {
    fn labels_of(&self, refs: &[SeriesRef]) -> Vec<Option<Labels>> {
        refs.iter().map(|r| Some(labels(*r))).collect()
    }
}

fn labels(of: SeriesRef) -> Labels {
    Labels::from_pairs([("__name__", format!("golden_{}", of.0)), ("path", "/ü \"x\"".to_owned())])
}

fn at(ms: i64) -> TimestampMs {
    TimestampMs(T0 + ms)
}

/// One with everything that a histogram can have, and one with bounds of its own.
fn histograms() -> [Histogram; 2] {
    let exponential = Histogram {
        schema: -2,
        count: 31.0,
        sum: -0.5,
        zero_threshold: 1e-128,
        zero_count: 4.0,
        positive_spans: vec![Span { offset: -3, length: 2 }, Span { offset: 5, length: 1 }],
        positive_counts: vec![1.0, 20.0, 2.0],
        negative_spans: vec![Span { offset: 0, length: 1 }],
        negative_counts: vec![4.0],
        reset_hint: ResetHint::NotReset,
        integer: true,
        ..Histogram::default()
    };
    let custom = Histogram {
        schema: Histogram::CUSTOM_BOUNDS,
        count: 3.25,
        sum: 7.5,
        positive_spans: vec![Span { offset: 0, length: 3 }],
        positive_counts: vec![0.5, 1.75, 1.0],
        custom_bounds: vec![0.1, 2.5],
        reset_hint: ResetHint::Gauge,
        ..Histogram::default()
    };
    [exponential, custom]
}

fn exemplar() -> Exemplar {
    Exemplar { labels: Labels::from_pairs([("trace_id", "abc")]), value: 0.25, at: at(30) }
}

fn metadata() -> MetricMetadata {
    let name = "golden_1".to_owned();
    MetricMetadata { name, kind: MetricKind::Counter, unit: "bytes".into(), help: "What\nit is.".into() }
}

/// A record of floats at one time: what each file begins with.
fn row(ms: i64, values: [f64; 2]) -> Batch {
    let mut batch = Batch::at("golden", at(ms));
    batch.refs = vec![FLOATS, LATER];
    batch.values = values.to_vec();
    batch
}

/// A record with everything else.
fn mixed() -> Batch {
    let mut batch = Batch::at("golden", at(0));
    batch.times = Times::Each(vec![at(20), at(30), at(40)]);
    batch.refs = vec![FLOATS; 3];
    batch.values = vec![stale_nan(), -0.0, f64::INFINITY];
    batch.starts = vec![0, T0 - 5_000, 0];
    let [exponential, custom] = histograms().map(Arc::new);
    batch.histograms.push((HISTOGRAMS, at(20), None, exponential));
    batch.histograms.push((HISTOGRAMS, at(30), Some(at(-7)), custom));
    batch.exemplars.push((FLOATS, exemplar()));
    batch
}

fn expected() -> Vec<(SeriesRef, Sample)> {
    let float = |of, ms, value, start| (of, Sample { at: at(ms), value: Value::Float(value), start });
    let [exponential, custom] = histograms().map(|h| Value::Histogram(Arc::new(h)));
    vec![
        float(FLOATS, 20, stale_nan(), None),
        float(FLOATS, 30, -0.0, Some(at(-5_000))),
        float(FLOATS, 40, f64::INFINITY, None),
        float(FLOATS, 50, 1.5, None),
        (HISTOGRAMS, Sample { at: at(20), value: exponential, start: None }),
        (HISTOGRAMS, Sample { at: at(30), value: custom, start: Some(at(-7)) }),
        float(LATER, 50, 2.5, None),
    ]
}

/// With the bits of floats: NaN is not equal to itself.
fn told(of: &Labels, s: &Sample) -> String {
    let value = match &s.value {
        Value::Float(v) => format!("{:016x}", v.to_bits()),
        Value::Histogram(h) => format!("{h:?}"),
    };
    format!("{of} {} {:?} {value}", s.at.0, s.start)
}

fn golden(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/queue-v{version}"))
}

fn open(folder: &Path, disk: Arc<dyn Disk>) -> Queue {
    let folder = folder.to_owned();
    let config = QueueConfig { folder, bytes_max: 1 << 20, sync_each: true, sync: true, external: Labels::empty() };
    Queue::open(config, disk).expect("the queue opens")
}

#[test]
#[ignore = "makes the golden queue anew"]
fn make_the_golden_queue() {
    let _ = fs::remove_dir_all(golden(1));
    let queue = open(&golden(1), Arc::new(RealDisk));
    // The engine has the first record: the position stands behind it.
    queue.append(&row(10, [7.0, 8.0]), &Names, at(10)).expect("appended");
    queue.sent(&queue.next_parcel().expect("a parcel"));
    queue.declare(metadata());
    queue.append(&mixed(), &Names, at(45)).expect("appended");
    drop(queue);
    // Another start, another file.
    let queue = open(&golden(1), Arc::new(RealDisk));
    queue.append(&row(50, [1.5, 2.5]), &Names, at(55)).expect("appended");
}

#[test]
fn what_waits_in_the_queue_of_version_1_is_sent_whole() {
    let disk = SimDisk::default();
    disk.create_dir_all(Path::new("/q")).expect("a folder");
    let mut names = Vec::new();
    for file in fs::read_dir(golden(1)).expect("the golden queue") {
        let file = file.expect("a file");
        let copy = disk.create(&Path::new("/q").join(file.file_name())).expect("a copy");
        copy.append(&fs::read(file.path()).expect("its bytes")).expect("written");
        names.push(file.file_name().into_string().expect("a name"));
    }
    names.sort();
    assert_eq!(names, ["000000000001.queue", "000000000002.queue", "position"]);

    let queue = open(Path::new("/q"), Arc::new(disk.clone()));
    let (mut parcels, mut since) = (Vec::new(), None);
    while let Some(parcel) = queue.next_parcel() {
        since.get_or_insert(parcel.first_written);
        queue.sent(&parcel);
        parcels.push(parcel.shipment);
    }
    let stats = queue.stats();
    assert_eq!((stats.damaged, stats.damage, stats.bytes, since), (0, None, 0, Some(at(45))));

    let of = |s: &Shipment| -> Vec<String> {
        s.series.iter().flat_map(|of| of.samples.iter().map(|sample| told(&of.labels, sample))).collect()
    };
    let mut found: Vec<String> = parcels.iter().flat_map(of).collect();
    found.sort();
    let mut wanted: Vec<String> = expected().iter().map(|(of, sample)| told(&labels(*of), sample)).collect();
    wanted.sort();
    assert_eq!(found, wanted, "all but what the engine had, bit for bit");
    let exemplars: Vec<_> = parcels.iter().flat_map(|p| &p.series).flat_map(|s| &s.exemplars).collect();
    assert_eq!(exemplars, [&exemplar()]);
    let described: Vec<_> = parcels.iter().flat_map(|p| &p.metadata).collect();
    assert_eq!(described, [&metadata()]);

    // Numbers go on behind those that were used.
    queue.append(&row(60, [3.0, 4.0]), &Names, at(60)).expect("appended");
    assert!(disk.read(Path::new("/q/000000000003.queue")).is_ok());
}
