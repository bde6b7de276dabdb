//! Segments of the log that were cut, spliced, repeated and flipped: nothing panics and nothing is made up.

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use belfry_model::{Batch, TimeRange, TimestampMs, Writer};
use belfry_store::Store;
use belfry_store::disk::{Disk, SimDisk};
use common::*;
use proptest::prelude::*;

type Sent = BTreeMap<(String, i64), u64>;

/// A segment with floats, rows and times of their own, and what is in it.
fn segment() -> &'static (PathBuf, Vec<u8>, Sent) {
    static SEGMENT: OnceLock<(PathBuf, Vec<u8>, Sent)> = OnceLock::new();
    SEGMENT.get_or_init(|| {
        let disk = SimDisk::default();
        let (store, _) = open(&disk);
        let mut sent = Sent::new();
        for i in 0..70i64 {
            let mut row = Batch::at("rows", TimestampMs(T0 + i * 1000));
            for k in 0..9i64 {
                row.refs.push(store.open(&labels(&format!("r{k}"))).unwrap());
                row.values.push((i * k) as f64 / 3.0);
                sent.insert((format!("r{k}"), T0 + i * 1000), row.values[k as usize].to_bits());
            }
            block_on(store.append(row)).unwrap();
            let ids = ["a", "b"].map(|n| store.open(&labels(n)).unwrap());
            append(&store, &[(ids[0], T0 + i * 1000, i as f64), (ids[1], T0 + i * 1000 + i % 3, 0.5)]).unwrap();
            sent.insert(("a".into(), T0 + i * 1000), (i as f64).to_bits());
            sent.insert(("b".into(), T0 + i * 1000 + i % 3), 0.5f64.to_bits());
        }
        drop(store);
        let disk = disk.killed();
        let file = files_of(&disk, "wal").remove(0);
        let bytes = disk.read(&file).unwrap().to_vec();
        (file, bytes, sent)
    })
}

#[derive(Clone, Debug)]
enum Change {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Remove(prop::sample::Index, usize),
    Repeat(prop::sample::Index, usize),
    Insert(prop::sample::Index, Vec<u8>),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        4 => (at(), 0u8..8).prop_map(|(i, bit)| Change::Flip(i, bit)),
        1 => at().prop_map(Change::Cut),
        2 => (at(), 1usize..400).prop_map(|(i, n)| Change::Remove(i, n)),
        2 => (at(), 1usize..400).prop_map(|(i, n)| Change::Repeat(i, n)),
        1 => (at(), prop::collection::vec(any::<u8>(), 1..40)).prop_map(|(i, b)| Change::Insert(i, b)),
    ]
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    if bytes.is_empty() {
        return;
    }
    match change {
        Change::Flip(i, bit) => {
            let i = i.index(bytes.len());
            bytes[i] ^= 1 << bit;
        }
        Change::Cut(i) => bytes.truncate(i.index(bytes.len())),
        Change::Remove(i, n) => {
            let i = i.index(bytes.len());
            bytes.drain(i..(i + n).min(bytes.len()));
        }
        Change::Repeat(i, n) => {
            let i = i.index(bytes.len());
            let piece = bytes[i..(i + n).min(bytes.len())].to_vec();
            bytes.splice(i..i, piece);
        }
        Change::Insert(i, piece) => {
            let i = i.index(bytes.len());
            bytes.splice(i..i, piece.iter().copied());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_to_a_segment_nothing_is_made_up(changes in prop::collection::vec(change(), 1..6)) {
        let (file, bytes, sent) = segment();
        let mut bytes = bytes.clone();
        changes.iter().for_each(|c| apply(&mut bytes, c));
        let disk = SimDisk::default();
        disk.create_dir_all(file.parent().unwrap()).unwrap();
        disk.create(file).unwrap().append(&bytes).unwrap();
        let Ok((store, recovery)) = Store::open(config(), Arc::new(disk), TimestampMs(T0)) else { return Ok(()) };
        let (found, warnings) = select_left(&store, &[], TimeRange::ALL);
        prop_assert_eq!(recovery.damage.is_empty(), warnings.is_empty(), "{:?}", warnings);
        for (labels, buf) in found {
            for (t, v) in buf.times.iter().zip(&buf.floats) {
                let name = labels.metric().unwrap_or_default().to_owned();
                prop_assert_eq!(sent.get(&(name, *t)), Some(&v.to_bits()), "{} at {}", labels, t);
            }
        }
        store.flush().unwrap();
    }
}
