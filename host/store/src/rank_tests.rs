//! Blocks that contradict each other, as an older Belfry may have left them: reads, merges and restarts agree on whose
//! value stands.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use belfry_model::{Labels, Matcher, SampleBuf, SelectHints, SelectLimits, SeriesRead, TimeRange, TimestampMs};

use crate::block::{BlockMeta, BlockWriter};
use crate::disk::{Disk, SimDisk};
use crate::plan::LEVEL_MAX;
use crate::values::Effort;
use crate::{Store, StoreConfig};

const STEP_MS: i64 = 10;

fn labels(name: &str) -> Labels {
    Labels::from_pairs([("__name__", name)])
}

/// A block of these series, with its number as every value.
fn write(disk: &SimDisk, id: u64, series: &[(&str, RangeInclusive<i64>)]) {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut writer = BlockWriter::create(disk, Path::new("/data/blocks"), id, Effort::Small, 0).unwrap();
    for (name, steps) in series {
        let mut samples = SampleBuf::default();
        steps.clone().for_each(|step| samples.push_float(step * STEP_MS, id as f64));
        writer.add(&labels(name), &samples).unwrap();
    }
    writer.seal(BlockMeta { level: LEVEL_MAX, ..BlockMeta::default() }).unwrap().publish().unwrap();
}

fn open(disk: &SimDisk) -> Arc<Store> {
    let config = StoreConfig { retention: None, ..StoreConfig::folder("/data") };
    Store::open(config, Arc::new(disk.killed()), TimestampMs(0)).unwrap().0
}

fn values(store: &Store, name: &str, range: TimeRange) -> Vec<(i64, f64)> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (matchers, hints) = ([Matcher::equal("__name__", name)], SelectHints::default());
    let found = runtime.block_on(store.select(&matchers, range, &hints, SelectLimits::default())).unwrap();
    let mut buf = SampleBuf::default();
    found.series.iter().for_each(|s| s.samples.decode(range, &mut buf).unwrap());
    buf.times.iter().map(|t| t / STEP_MS).zip(buf.floats).collect()
}

#[test]
fn where_blocks_contradict_each_other_the_one_of_the_lowest_rank_stands_in_reads_and_merges() {
    let disk = SimDisk::default();
    // Of each pair the later block begins first.
    let over: [(u64, RangeInclusive<i64>); 3] = [(1, 100..=200), (2, 0..=150), (3, 50..=300)];
    for (id, steps) in &over {
        // Those of the other series lie apart, the newest first.
        let apart = 300 - *id as i64 * 100..=380 - *id as i64 * 100;
        write(&disk, *id, &[("apart", apart), ("over", steps.clone())]);
    }
    let expected: Vec<(i64, f64)> = (0..=300)
        .map(|step| (step, over.iter().find(|(_, steps)| steps.contains(&step)).map_or(0.0, |(id, _)| *id as f64)))
        .collect();
    let check = |store: &Store, when: &str| {
        assert_eq!(values(store, "over", TimeRange::ALL), expected, "{when}");
        for (from, to) in [(0, 60), (60, 120), (120, 121), (149, 152), (190, 300)] {
            let range = TimeRange::new(TimestampMs(from * STEP_MS), TimestampMs(to * STEP_MS)).unwrap();
            let part = &expected[from as usize..to as usize];
            assert_eq!(values(store, "over", range), part, "{when}: {from} to {to}");
        }
        let apart = values(store, "apart", TimeRange::ALL);
        assert!(apart.len() == 3 * 81 && apart.is_sorted_by(|a, b| a.0 < b.0 && a.1 >= b.1), "{when}: {apart:?}");
    };
    let store = open(&disk);
    check(&store, "opened");
    assert!(store.compact().unwrap() > 0);
    assert_eq!(store.stats().blocks, 1);
    check(&store, "merged");
}
