//! Random operations against a simple oracle: whatever order samples come in, live or imported, and wherever the
//! boundaries of head, log, blocks and snapshots fall, the answers are the oracle's.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use belfry_model::sample::{Histogram, Value, stale_nan};
use belfry_model::write::Times;
use belfry_model::{Appended, Batch, Labels, Matcher, Sample, SampleBuf, TimeRange, TimestampMs, Writer};
use belfry_store::disk::SimDisk;
use belfry_store::{Backend, Backfilled, Store, StoreConfig};
use common::*;
use proptest::prelude::*;

const WINDOW_MS: i64 = 20_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum V {
    Float(u64),
    Histogram(u8),
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

fn value() -> impl proptest::strategy::Strategy<Value = V> {
    prop_oneof![
        6 => (0u32..6).prop_map(|n| V::Float((f64::from(n) / 4.0).to_bits())),
        1 => any::<u64>().prop_map(V::Float),
        1 => Just(V::Float(stale_nan().to_bits())),
        1 => (0u8..4).prop_map(V::Histogram),
    ]
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
        16 => (row, 0u32..4).prop_map(|((from, at), seed)| Op::Row(from, at, seed)),
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
                    Some(there) if there == v => out.accepted += 1,
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
            if there == v { out.accepted += 1 } else { out.duplicate += 1 }
        }
        out
    }
}

fn histogram(n: u8) -> Arc<Histogram> {
    Arc::new(Histogram { count: f64::from(n), sum: f64::from(n), positive_counts: vec![1.0; 2], ..Default::default() })
}

fn append_to(store: &Store, samples: &[(usize, i64, V)]) -> Appended {
    let mut batch = Batch::at("test", TimestampMs(0));
    let mut times = Vec::new();
    for (s, at, v) in samples {
        let id = store.open(&labels(&format!("m{s}"))).unwrap();
        match v {
            V::Float(bits) => {
                batch.refs.push(id);
                batch.values.push(f64::from_bits(*bits));
                times.push(TimestampMs(*at));
            }
            V::Histogram(n) => batch.histograms.push((id, TimestampMs(*at), None, histogram(*n))),
        }
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
    fn row(&self, oracle: &mut Oracle, from: usize, offset: i64, value: impl Fn(usize) -> f64) -> (Appended, Appended) {
        let at = self.now + offset;
        let values: Vec<f64> = (from..SERIES).map(value).collect();
        let samples: Vec<_> = (from..SERIES).zip(&values).map(|(s, v)| (s, at, V::Float(v.to_bits()))).collect();
        (self.append_row(from, at, &values), oracle.append(&samples))
    }

    /// One time for all, as a scrape has.
    fn append_row(&self, from: usize, at: i64, values: &[f64]) -> Appended {
        let mut batch = Batch::at("rows", TimestampMs(at));
        batch.refs = (from..SERIES).map(|s| self.store.open(&labels(&format!("m{s}"))).unwrap()).collect();
        batch.values = values.to_vec();
        block_on(self.store.append(batch)).unwrap()
    }

    fn backfill(&self, samples: &[(usize, i64, V)]) -> Backfilled {
        let mut fill = self.store.backfill(TimestampMs(self.now));
        for (s, at, v) in samples {
            let value = match v {
                V::Float(bits) => Value::Float(f64::from_bits(*bits)),
                V::Histogram(n) => Value::Histogram(histogram(*n)),
            };
            fill.push(&labels(&format!("m{s}")), Sample { at: TimestampMs(*at), value, start: None }).unwrap();
        }
        fill.finish().unwrap()
    }

    fn check(&self, oracle: &Oracle, range: TimeRange) {
        for (s, expected) in oracle.series.iter().enumerate() {
            let found = select(&self.store, &[&format!("__name__=m{s}")], range);
            let found: Vec<(i64, V)> = found.first().map_or_else(Vec::new, |(_, buf)| {
                let value = |i: usize| match buf.histograms.get(i) {
                    Some(Some(h)) => V::Histogram(h.count as u8),
                    _ => V::Float(buf.floats[i].to_bits()),
                };
                (0..buf.len()).map(|i| (buf.times[i], value(i))).collect()
            });
            let expected: Vec<_> =
                expected.iter().filter(|(t, _)| range.contains(TimestampMs(**t))).map(|(t, v)| (*t, *v)).collect();
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
                    at.sort_by_key(|(_, _, v)| matches!(v, V::Histogram(_)));
                    prop_assert_eq!(run.append(&at), oracle.append(&at));
                }
                Op::Row(from, offset, seed) => {
                    let (ours, theirs) = run.row(&mut oracle, from, offset, |s| row_value(s, seed));
                    prop_assert_eq!(ours, theirs);
                }
                Op::Rows(n, seed) => {
                    for i in 0..n {
                        let value = |s| row_value(s, seed) + ((i * s as i64) % 11) as f64;
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
                    live.sort_by_key(|(_, _, v)| matches!(v, V::Histogram(_)));
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
