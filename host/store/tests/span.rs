//! From when to when there are samples, wherever they are.

mod common;

use belfry_model::sample::Value;
use belfry_model::{Sample, TimestampMs, Writer as _};
use belfry_store::disk::SimDisk;
use common::*;

#[test]
fn the_span_is_known_of_head_rows_blocks_and_after_a_restart() {
    let disk = SimDisk::default();
    let (store, _) = open(&disk);
    let span = |store: &belfry_store::Store| store.span().map(|(a, b)| (a.0 - T0, b.0 - T0));
    assert_eq!(span(&store), None);
    put(&store, "a", T0 + 5, 1.0).unwrap();
    put(&store, "b", T0 + 9, 1.0).unwrap();
    assert_eq!(span(&store), Some((5, 9)));
    put(&store, "b", T0 + 3, 1.0).unwrap();
    assert_eq!(span(&store), Some((3, 9)));
    store.flush().unwrap();
    assert_eq!(span(&store), Some((3, 9)));
    // Series that come together stand in rows.
    let refs: Vec<_> = (0..20).map(|i| store.open(&labels(&format!("row{i}"))).unwrap()).collect();
    for at in [20, 30, 40] {
        append(&store, &refs.iter().map(|r| (*r, T0 + at, 1.0)).collect::<Vec<_>>()).unwrap();
    }
    assert_eq!(span(&store), Some((3, 40)));
    let mut fill = store.backfill(TimestampMs(T0));
    let sample = Sample { at: TimestampMs(T0 - 1000), value: Value::Float(1.0), start: None };
    fill.push(&labels("old"), sample).unwrap();
    fill.finish().unwrap();
    assert_eq!(span(&store), Some((-1000, 40)));
    drop(store);
    assert_eq!(span(&open(&disk.killed()).0), Some((-1000, 40)));
}
