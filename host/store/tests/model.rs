//! Random operations against a simple oracle: whatever order samples come in, live or imported, and wherever the
//! boundaries of head, log, blocks and snapshots fall, the answers are the oracle's.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use belfry_model::sample::{Histogram, ResetHint, Span, Value, stale_nan};
use belfry_model::write::Times;
use belfry_model::{Appended, Batch, Labels, Matcher, Sample, SampleBuf, TimeRange, TimestampMs, Writer};
use belfry_store::disk::SimDisk;
use belfry_store::{Backend, Backfilled, Store, StoreConfig};
use common::*;
use proptest::prelude::*;

const WINDOW_MS: i64 = 20_000;

/// A sample but for its time: its start timestamp (0 for "not known") stands with it, and is not looked at where another
/// sample comes for the same time.
#[derive(Clone, Copy, Debug)]
struct V {
    what: What,
    start: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Float(u64),
    /// See [`histogram`].
    Histogram(u8),
}

impl V {
    fn float(value: f64, start: i64) -> Self {
        Self { what: What::Float(value.to_bits()), start }
    }

    fn is_histogram(&self) -> bool {
        matches!(self.what, What::Histogram(_))
    }

    /// Do they count as the same sample? What a histogram says of a reset does not matter.
    fn is_same(&self, other: &Self) -> bool {
        match (self.what, other.what) {
            (What::Histogram(a), What::Histogram(b)) => a % HISTOGRAMS == b % HISTOGRAMS,
            (a, b) => a == b,
        }
    }

    /// Everything of it, to compare: bits of the value, start timestamp, histogram.
    fn told(&self) -> (u64, i64, Option<String>) {
        match self.what {
            What::Float(bits) => (bits, self.start, None),
            What::Histogram(n) => {
                let h = histogram(n);
                (h.sum.to_bits(), self.start, Some(format!("{h:?}")))
            }
        }
    }
}

/// How many histograms there are, their hints aside.
const HISTOGRAMS: u8 = 25;

/// Whole numbers or not, exponential or with bounds of its own, of three layouts each and with two counts in each; one that
/// ends its series. The second half are the same with another hint.
fn histogram(n: u8) -> Arc<Histogram> {
    let (kind, other_hint) = (n % HISTOGRAMS, n >= HISTOGRAMS);
    let (layout, counts) = (usize::from(kind / 2 % 3), f64::from(kind % 2 + 1));
    let (integer, custom) = (kind / 6 % 2 == 0, kind / 12 == 1);
    let step = if integer { counts } else { counts / 3.0 };
    let spans = |of: &[(i32, u32)]| {
        of.iter().map(|(offset, length)| Span { offset: *offset, length: *length }).collect::<Vec<_>>()
    };
    let mut h = Histogram {
        count: step * 9.0,
        sum: f64::from(kind) / 7.0,
        integer,
        reset_hint: match (kind % 4, other_hint) {
            (0, _) => ResetHint::Gauge,
            (1, false) => ResetHint::Reset,
            (_, false) => ResetHint::Unknown,
            (_, true) => ResetHint::NotReset,
        },
        ..Histogram::default()
    };
    if kind == HISTOGRAMS - 1 {
        h.sum = stale_nan();
    } else if custom {
        h.schema = Histogram::CUSTOM_BOUNDS;
        h.custom_bounds = [&[0.25][..], &[0.25, 0.5, 1e9], &[-1.0, 0.5, 1e9]][layout].to_vec();
        h.positive_spans = [spans(&[(0, 2)]), spans(&[(0, 1), (1, 2)]), spans(&[(1, 3)])][layout].clone();
        h.positive_counts = (1..=[2, 3, 3][layout]).map(|i| f64::from(i) * step).collect();
    } else {
        h.schema = [-4, 0, 8][layout];
        (h.zero_threshold, h.zero_count) = (f64::from(layout as u8) / 1000.0, step);
        h.positive_spans = [spans(&[(-3, 2)]), spans(&[(4, 1), (7, 2)]), Vec::new()][layout].clone();
        h.positive_counts = (1..=[2, 3, 0][layout]).map(|i| f64::from(i) * step).collect();
        h.negative_spans = [Vec::new(), spans(&[(-9, 1)]), spans(&[(0, 1), (1, 1), (300, 1)])][layout].clone();
        h.negative_counts = (1..=[0, 1, 3][layout]).map(|i| f64::from(4 - i) * step).collect();
    }
    Arc::new(h)
}

#[derive(Clone, Debug)]
enum Op {
    /// Series, offset to the present, value.
    Append(Vec<(usize, i64, V)>),
    /// All series from this one on at one time: offset to the present, and what the values come from.
    Row(usize, i64, u32),
    /// So many rows of the series from [`ALONE`] on, while the present moves on: as many as become slabs, and slabs that
    /// are joined.
    Rows(i64, u32),
    /// The present moves on.
    Pass(i64),
    Flush,
    Maintain,
    /// Of any age up to the present.
    Backfill(Vec<(usize, i64, V)>),
    /// The same, and what is appended while its first block is written.
    Beside(Vec<(usize, i64, V)>, Vec<(usize, i64, V)>),
    /// Series, range.
    Delete(usize, i64, i64),
    /// A snapshot, which takes the place of the store.
    Snapshot,
    /// `kill -9`, or power loss with this seed, and a new start.
    Restart(Option<u64>),
    /// Compare a range.
    Read(i64, i64),
}

/// The distance of rows that come one after the other.
const ROW_MS: i64 = 20;

/// Of a series in a row.
fn row_value(s: usize, seed: u32) -> f64 {
    if seed == 3 && s == 8 { stale_nan() } else { (s as u32 * seed) as f64 / 3.0 }
}

/// Some rows have start timestamps, of some of their series.
fn row_start(s: usize, seed: u32) -> i64 {
    if seed == 4 && s.is_multiple_of(2) { T0 - 70_000 } else { 0 }
}

fn value() -> impl proptest::strategy::Strategy<Value = V> {
    let what = prop_oneof![
        6 => (0u32..6).prop_map(|n| What::Float((f64::from(n) / 4.0).to_bits())),
        1 => any::<u64>().prop_map(What::Float),
        1 => Just(What::Float(stale_nan().to_bits())),
        2 => (0..2 * HISTOGRAMS).prop_map(What::Histogram),
        // Of one layout, as most come.
        1 => (2u8..4).prop_map(What::Histogram),
    ];
    let start = prop_oneof![6 => Just(0), 2 => Just(T0 - 50_000), 1 => T0 - 100_000..T0 + 100_000];
    (what, start).prop_map(|(what, start)| V { what, start })
}

fn op() -> impl proptest::strategy::Strategy<Value = Op> {
    let series = prop_oneof![4 => 0..ALONE, 1 => ALONE..SERIES];
    let row = (prop_oneof![8 => Just(ALONE), 1 => Just(ALONE + 1)], prop_oneof![8 => 0i64..2_000, 1 => -30_000i64..0]);
    // A clock that was never set says 1970, or a time before that.
    let offset = prop_oneof![60 => 0i64..2_000, 20 => -30_000i64..2_000, 1 => -T0 - 300_000..-T0 + 300_000];
    let sample = (series, offset, value());
    let deleted =
        prop_oneof![3 => (-60_000i64..2_000, 1i64..40_000), 1 => (-30_000i64..0, Just(T0)), 1 => Just((-T0, T0))];
    prop_oneof![
        12 => proptest::collection::vec(sample, 1..40).prop_map(Op::Append),
        16 => (row, 0u32..5).prop_map(|((from, at), seed)| Op::Row(from, at, seed)),
        2 => (1i64..300, 0u32..4).prop_map(|(n, seed)| Op::Rows(n, seed)),
        6 => (0i64..30_000).prop_map(Op::Pass),
        2 => Just(Op::Flush),
        3 => Just(Op::Maintain),
        1 => proptest::collection::vec((0..SERIES, -200_000i64..0, value()), 1..60).prop_map(Op::Backfill),
        1 => (
            proptest::collection::vec((0..ALONE, -20i64..0, value()), 1..60),
            proptest::collection::vec((0..ALONE, -20i64..0, value()), 1..40),
        ).prop_map(|(import, live)| Op::Beside(import, live)),
        1 => (0..SERIES, deleted).prop_map(|(s, (from, len))| Op::Delete(s, from, len)),
        1 => Just(Op::Snapshot),
        1 => proptest::option::of(any::<u64>()).prop_map(Op::Restart),
        2 => (-100_000i64..10_000, 1i64..100_000).prop_map(|(from, len)| Op::Read(from, len)),
    ]
}

/// These come alone; those behind them also as rows, all together.
const ALONE: usize = 4;
const SERIES: usize = ALONE + 10;

/// What the store should be.
#[derive(Default)]
struct Oracle {
    series: [BTreeMap<i64, V>; SERIES],
}

impl Oracle {
    fn append(&mut self, samples: &[(usize, i64, V)]) -> Appended {
        let mut out = Appended::default();
        for (s, at, v) in samples {
            let series = &mut self.series[*s];
            let newest = series.last_key_value().map_or(i64::MIN, |(t, _)| *t);
            if *at < 0 || *at < newest.saturating_sub(WINDOW_MS) {
                out.too_old += 1;
            } else {
                match series.get(at) {
                    None => {
                        series.insert(*at, *v);
                        out.accepted += 1;
                    }
                    Some(there) if there.is_same(v) => out.accepted += 1,
                    Some(_) => out.duplicate += 1,
                }
            }
        }
        out
    }
}

impl Oracle {
    fn backfill(&mut self, samples: &[(usize, i64, V)]) -> Backfilled {
        let mut out = Backfilled::default();
        for (s, at, v) in samples {
            let there = self.series[*s].entry(*at).or_insert(*v);
            if there.is_same(v) { out.accepted += 1 } else { out.duplicate += 1 }
        }
        out
    }
}

fn append_to(store: &Store, samples: &[(usize, i64, V)]) -> Appended {
    let mut batch = Batch::at("test", TimestampMs(0));
    let mut times = Vec::new();
    for (s, at, v) in samples {
        let id = store.open(&labels(&format!("m{s}"))).unwrap();
        match v.what {
            What::Float(bits) => {
                batch.refs.push(id);
                batch.values.push(f64::from_bits(bits));
                batch.starts.push(v.start);
                times.push(TimestampMs(*at));
            }
            What::Histogram(n) => {
                let start = Some(TimestampMs(v.start)).filter(|s| s.0 != 0);
                batch.histograms.push((id, TimestampMs(*at), start, histogram(n)));
            }
        }
    }
    if batch.starts.iter().all(|s| *s == 0) {
        batch.starts.clear();
    }
    batch.times = Times::Each(times);
    block_on(store.append(batch)).unwrap()
}

struct Run {
    disk: SimDisk,
    meanwhile: Eventful,
    store: Arc<Store>,
    config: StoreConfig,
    now: i64,
    snapshots: u32,
}

impl Run {
    fn append(&self, samples: &[(usize, i64, V)]) -> Appended {
        append_to(&self.store, samples)
    }

    /// What is said of a row of all series from `from` on, here and by the oracle.
    fn row(&self, oracle: &mut Oracle, from: usize, offset: i64, value: impl Fn(usize) -> V) -> (Appended, Appended) {
        let at = self.now + offset;
        let samples: Vec<_> = (from..SERIES).map(|s| (s, at, value(s))).collect();
        (self.append_row(from, at, &samples), oracle.append(&samples))
    }

    /// One time for all, as a scrape has.
    fn append_row(&self, from: usize, at: i64, samples: &[(usize, i64, V)]) -> Appended {
        let mut batch = Batch::at("rows", TimestampMs(at));
        batch.refs = (from..SERIES).map(|s| self.store.open(&labels(&format!("m{s}"))).unwrap()).collect();
        batch.values = samples.iter().map(|(_, _, v)| f64::from_bits(v.told().0)).collect();
        if samples.iter().any(|(_, _, v)| v.start != 0) {
            batch.starts = samples.iter().map(|(_, _, v)| v.start).collect();
        }
        block_on(self.store.append(batch)).unwrap()
    }

    fn backfill(&self, samples: &[(usize, i64, V)]) -> Backfilled {
        let mut fill = self.store.backfill(TimestampMs(self.now));
        for (s, at, v) in samples {
            let value = match v.what {
                What::Float(bits) => Value::Float(f64::from_bits(bits)),
                What::Histogram(n) => Value::Histogram(histogram(n)),
            };
            let start = Some(TimestampMs(v.start)).filter(|s| s.0 != 0);
            fill.push(&labels(&format!("m{s}")), Sample { at: TimestampMs(*at), value, start }).unwrap();
        }
        fill.finish().unwrap()
    }

    fn check(&self, oracle: &Oracle, range: TimeRange) {
        for (s, expected) in oracle.series.iter().enumerate() {
            let found = select(&self.store, &[&format!("__name__=m{s}")], range);
            let found = found.first().map_or_else(Vec::new, |(_, buf)| {
                let one = |i: usize| {
                    let histogram = buf.histograms.get(i).and_then(|h| h.as_ref()).map(|h| format!("{h:?}"));
                    (buf.times[i], (buf.floats[i].to_bits(), buf.starts.get(i).copied().unwrap_or(0), histogram))
                };
                (0..buf.len()).map(one).collect()
            });
            let expected: Vec<_> = expected
                .iter()
                .filter(|(t, _)| range.contains(TimestampMs(**t)))
                .map(|(t, v)| (*t, v.told()))
                .collect();
            assert_eq!(found, expected, "series {s} in {range:?}");
        }
        for matchers in [&["__name__=~m.*"][..], &["__name__=~m[0-3]", "__name__!~.*1"], &["__name__=m2"]] {
            // The last of each series, where there is a shorter way to it.
            let Some(found) = newest(&self.store, matchers, range) else { continue };
            let last = |(labels, buf): (Labels, SampleBuf)| {
                let histogram = buf.histograms.last().and_then(|h| h.as_ref().map(|h| h.count.to_bits()));
                (labels, *buf.times.last().unwrap(), buf.floats.last().unwrap().to_bits(), histogram)
            };
            let expected: Vec<_> = select(&self.store, matchers, range).into_iter().map(last).collect();
            assert_eq!(found, expected, "the newest of {matchers:?} in {range:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn the_store_answers_as_the_oracle_does(ops in proptest::collection::vec(op(), 1..120)) {
        let meanwhile = Eventful::default();
        let disk = meanwhile.disk.clone();
        let config = StoreConfig {
            out_of_order_window: Duration::from_millis(WINDOW_MS as u64),
            block_span: Duration::from_secs(15),
            retention: None,
            ..config()
        };
        let (store, _) = Store::open(config.clone(), Arc::new(meanwhile.clone()), TimestampMs(T0)).unwrap();
        let mut run = Run { disk, meanwhile, store, config, now: T0, snapshots: 0 };
        let mut oracle = Oracle::default();
        for op in ops {
            match op {
                Op::Append(samples) => {
                    // Floats of a batch come before its histograms.
                    let mut at: Vec<_> = samples.into_iter().map(|(s, t, v)| (s, run.now + t, v)).collect();
                    at.sort_by_key(|(_, _, v)| v.is_histogram());
                    prop_assert_eq!(run.append(&at), oracle.append(&at));
                }
                Op::Row(from, offset, seed) => {
                    let (ours, theirs) = run.row(&mut oracle, from, offset, |s| V::float(row_value(s, seed), row_start(s, seed)));
                    prop_assert_eq!(ours, theirs);
                }
                Op::Rows(n, seed) => {
                    for i in 0..n {
                        let value = |s| V::float(row_value(s, seed) + ((i * s as i64) % 11) as f64, 0);
                        let (ours, theirs) = run.row(&mut oracle, ALONE, ROW_MS, value);
                        prop_assert_eq!(ours, theirs, "row {} of {}", i, n);
                        run.now += ROW_MS;
                    }
                }
                Op::Pass(ms) => run.now += ms,
                Op::Flush => run.store.flush().unwrap(),
                Op::Maintain => drop(run.store.maintain(TimestampMs(run.now)).unwrap()),
                Op::Backfill(samples) => {
                    let samples: Vec<_> = samples.into_iter().map(|(s, t, v)| (s, run.now + t, v)).collect();
                    prop_assert_eq!(run.backfill(&samples), oracle.backfill(&samples));
                }
                Op::Beside(import, live) => {
                    let at = |samples: Vec<(usize, i64, V)>| -> Vec<_> {
                        samples.into_iter().map(|(s, t, v)| (s, run.now + t, v)).collect()
                    };
                    let (import, mut live) = (at(import), at(live));
                    live.sort_by_key(|(_, _, v)| v.is_histogram());
                    let (store, samples, (send, answer)) = (run.store.clone(), live.clone(), std::sync::mpsc::channel());
                    run.meanwhile.meanwhile(move || send.send(append_to(&store, &samples)).unwrap());
                    let imported = run.backfill(&import);
                    // Where there was nothing to write.
                    run.meanwhile.happen();
                    prop_assert_eq!(answer.recv().unwrap(), oracle.append(&live));
                    prop_assert_eq!(imported, oracle.backfill(&import));
                }
                Op::Delete(s, from, len) => {
                    let (from, to) = (run.now + from, run.now + from + len);
                    let range = TimeRange::new(TimestampMs(from), TimestampMs(to)).unwrap();
                    run.store.delete(&[Matcher::equal("__name__", format!("m{s}"))], range).unwrap();
                    oracle.series[s].retain(|t, _| !(from..to).contains(t));
                }
                Op::Snapshot => {
                    run.snapshots += 1;
                    let folder = format!("/snapshot-{}", run.snapshots);
                    run.store.snapshot(folder.as_ref(), 0).unwrap();
                    run.config.backend = Backend::Folder(folder.into());
                    let disk = run.disk.killed();
                    let meanwhile = Eventful::new(disk.clone());
                    let (store, recovery) =
                        Store::open(run.config.clone(), Arc::new(meanwhile.clone()), TimestampMs(run.now)).unwrap();
                    prop_assert_eq!((recovery.damage, recovery.torn_bytes), (vec![], 0));
                    (run.disk, run.meanwhile, run.store) = (disk, meanwhile, store);
                }
                Op::Restart(seed) => {
                    let disk = seed.map_or_else(|| run.disk.killed(), |s| run.disk.power_loss(s));
                    let meanwhile = Eventful::new(disk.clone());
                    let (store, recovery) =
                        Store::open(run.config.clone(), Arc::new(meanwhile.clone()), TimestampMs(run.now)).unwrap();
                    prop_assert_eq!(recovery.damage, vec![]);
                    (run.disk, run.meanwhile, run.store) = (disk, meanwhile, store);
                }
                Op::Read(from, len) => {
                    let from = run.now + from;
                    run.check(&oracle, TimeRange::new(TimestampMs(from), TimestampMs(from + len)).unwrap());
                }
            }
        }
        run.check(&oracle, TimeRange::ALL);
    }
}
