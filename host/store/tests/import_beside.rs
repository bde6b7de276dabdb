//! An import beside live writes and other imports: of two values for one time one is taken, and whoever sent the other is
//! told, whenever the process dies.

mod common;

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use belfry_model::{Appended, Batch, Sample, TimestampMs, Value, WriteError, Writer};
use belfry_store::disk::SimDisk;
use belfry_store::{Backfilled, Store, StoreConfig};
use common::*;

const STEP_MS: i64 = 1_000;
const STEPS: i64 = 20;
/// Enough to come as rows.
const SERIES: usize = 10;

fn late() -> StoreConfig {
    StoreConfig { retention: None, out_of_order_window: Duration::from_secs(3_600), ..config() }
}

fn start(disk: &Eventful) -> Arc<Store> {
    Store::open(late(), Arc::new(disk.clone()), TimestampMs(T0)).unwrap().0
}

fn name(i: usize) -> String {
    format!("m{i}")
}

/// The same value for every step of every series.
fn import(store: &Arc<Store>, value: f64) -> Result<Backfilled, WriteError> {
    let mut fill = store.backfill(TimestampMs(T0 + STEPS * STEP_MS));
    for i in 0..SERIES {
        for step in 0..STEPS {
            let at = TimestampMs(T0 + step * STEP_MS);
            fill.push(&labels(&name(i)), Sample { at, value: Value::Float(value), start: None })?;
        }
    }
    fill.finish()
}

/// The same value for all series at one time.
fn row(store: &Store, step: i64, value: f64) -> Result<Appended, WriteError> {
    let mut batch = Batch::at("rows", TimestampMs(T0 + step * STEP_MS));
    for i in 0..SERIES {
        batch.refs.push(store.open(&labels(&name(i)))?);
        batch.values.push(value);
    }
    block_on(store.append(batch))
}

/// Series, by their values at the steps: one letter each.
fn seen(store: &Store, i: usize) -> String {
    let points = points(store, &name(i));
    let value = |step: i64| points.iter().find(|p| p.0 == T0 + step * STEP_MS).map(|p| f64::from_bits(p.1));
    (0..STEPS).map(|step| value(step).map_or('.', |v| char::from(b'0' + v as u8))).collect()
}

#[test]
fn what_is_taken_live_while_an_import_is_written_stands_and_the_import_says_what_of_it_does() {
    let disk = Eventful::new(SimDisk::default());
    let store = start(&disk);
    let (live, done) = (store.clone(), channel());
    disk.meanwhile(move || {
        // Three rows, of which the later ones are taken as rows; one that is late and alone, one the import has, too, one
        // that it has not.
        let rows: Vec<u64> = [3, 4, 6].iter().map(|step| row(&live, *step, 1.0).unwrap().accepted).collect();
        let alone = [(0, 1.0), (1, 2.0), (-1, 1.0)];
        let alone: Vec<u64> =
            alone.iter().map(|(step, v)| put(&live, &name(7), T0 + step * STEP_MS, *v).unwrap().accepted).collect();
        done.0.send((rows, alone)).unwrap();
    });
    let imported = import(&store, 2.0).unwrap();
    let n = SERIES as u64;
    assert_eq!(done.1.recv().unwrap(), (vec![n; 3], vec![1; 3]), "all is taken");
    let duplicate = 3 * n + 1;
    let accepted = STEPS as u64 * n - duplicate;
    assert_eq!(imported, Backfilled { accepted, duplicate, ..Backfilled::default() });
    let check = |store: &Store, when: &str| {
        for i in 0..SERIES {
            let expected = if i == 7 { "12211212222222222222" } else { "22211212222222222222" };
            assert_eq!(seen(store, i), expected, "{when}: series {i}");
        }
        assert_eq!(points(store, &name(7)).len(), STEPS as usize + 1, "{when}");
    };
    check(&store, "at once");
    // Whoever comes later is told.
    assert_eq!(row(&store, 5, 3.0).unwrap().duplicate, n);
    assert_eq!(row(&store, 6, 3.0).unwrap().duplicate, n);
    assert_eq!(import(&store, 1.0).unwrap().accepted, 3 * n + 1);
    let again = Store::open(late(), Arc::new(disk.disk.killed()), TimestampMs(T0)).unwrap().0;
    check(&again, "killed");
    store.flush().unwrap();
    check(&store, "in blocks");
    store.compact().unwrap();
    check(&store, "merged");
    let again = Store::open(late(), Arc::new(disk.disk.power_loss(1)), TimestampMs(T0)).unwrap().0;
    check(&again, "power lost");
}

#[test]
fn an_import_that_others_were_quicker_with_leaves_no_block() {
    let disk = Eventful::new(SimDisk::default());
    let store = start(&disk);
    let live = store.clone();
    disk.meanwhile(move || {
        for step in 0..STEPS {
            row(&live, step, (step % 2) as f64).unwrap();
        }
    });
    let all = STEPS as u64 * SERIES as u64;
    let imported = import(&store, 1.0).unwrap();
    assert_eq!(imported, Backfilled { accepted: all / 2, duplicate: all / 2, ..Backfilled::default() });
    assert_eq!(store.stats().blocks, 0);
    assert!(disk.disk.files().iter().all(|f| !f.starts_with("/data/blocks")), "{:?}", disk.disk.files());
    assert!((0..SERIES).all(|i| seen(&store, i) == "01".repeat(10)));
}

#[test]
fn two_imports_at_once_are_told_whose_value_stands() {
    let disk = Eventful::new(SimDisk::default());
    let store = start(&disk);
    let (other, answer) = (store.clone(), channel());
    disk.meanwhile(move || {
        let (ended, wait) = channel();
        std::thread::spawn(move || {
            answer.0.send(import(&other, 1.0).unwrap()).unwrap();
            // Nobody may wait any more.
            let _ = ended.send(());
        });
        // As long as it would take if it had not to wait itself.
        let _ = wait.recv_timeout(Duration::from_millis(500));
    });
    let first = import(&store, 2.0).unwrap();
    let second = answer.1.recv().unwrap();
    let all = STEPS as u64 * SERIES as u64;
    assert_eq!((first.accepted, first.duplicate, second.accepted, second.duplicate), (all, 0, 0, all));
    assert!((0..SERIES).all(|i| seen(&store, i) == "2".repeat(STEPS as usize)));
}

#[test]
fn a_crash_at_any_operation_leaves_no_value_in_the_place_of_one_that_was_acknowledged() {
    for operation in 0.. {
        let disk = Eventful::new(SimDisk::crash_at(operation));
        let (mut imported, taken) = (None, Arc::new(Mutex::new(Vec::new())));
        if let Ok((store, _)) = Store::open(late(), Arc::new(disk.clone()), TimestampMs(T0)) {
            let (live, acknowledged) = (store.clone(), taken.clone());
            disk.meanwhile(move || {
                for step in [3, 4, 6] {
                    if row(&live, step, 1.0).is_ok() {
                        acknowledged.lock().unwrap().push(step);
                    }
                }
            });
            imported = import(&store, 2.0).ok();
            disk.meanwhile.lock().unwrap().take();
            let _ = store.flush();
            let _ = store.compact();
        }
        for (disk, how) in [(disk.disk.killed(), "killed"), (disk.disk.power_loss(operation), "power lost")] {
            let when = format!("{how} at operation {operation}");
            let (store, recovery) = Store::open(late(), Arc::new(disk), TimestampMs(T0)).unwrap();
            assert_eq!(recovery.damage, [], "{when}");
            for i in 0..SERIES {
                let found = seen(&store, i);
                assert!(
                    taken.lock().unwrap().iter().all(|step| found.as_bytes()[*step as usize] == b'1'),
                    "{when}: {found}"
                );
                assert!(imported.is_none() || found == "22211212222222222222", "{when}: {found}");
            }
            if let Some(done) = imported {
                assert_eq!((done.accepted, done.duplicate), (17 * SERIES as u64, 3 * SERIES as u64), "{when}");
            }
        }
        if !disk.disk.crashed() {
            assert!(imported.is_some() && taken.lock().unwrap().len() == 3);
            break;
        }
    }
}
