use belfry_model::{Histogram, MetricKind, Sample};
use belfry_store::disk::SimDisk;
use proptest::prelude::*;

use super::*;

const NOW: TimestampMs = TimestampMs(1_700_000_000_000);

/// Every reference is known, but 0.
struct Names;

impl SeriesNames for Names {
    fn labels_of(&self, refs: &[SeriesRef]) -> Vec<Option<Labels>> {
        let name = |r: &SeriesRef| Labels::from_pairs([("__name__".to_owned(), format!("m{}", r.0))]);
        refs.iter().map(|r| (r.0 != 0).then(|| name(r))).collect()
    }
}

fn config(bytes_max: u64) -> QueueConfig {
    QueueConfig { folder: "/q".into(), bytes_max, sync_each: true, sync: true, external: Labels::empty() }
}

fn open_as(disk: &SimDisk, config: QueueConfig) -> Queue {
    Queue::open(config, Arc::new(disk.clone())).expect("a queue")
}

fn open(disk: &SimDisk) -> Queue {
    open_as(disk, config(1 << 20))
}

/// A batch of one sample: the number of the batch is its value, and (in ms) its time.
fn batch(n: u64) -> Batch {
    let mut b = Batch::at("test", TimestampMs(n as i64));
    b.refs.push(SeriesRef(1 + n % 3));
    b.values.push(n as f64);
    b
}

/// Values in the order in which they come, each parcel sent.
fn drain(queue: &Queue) -> Vec<u64> {
    let mut all = Vec::new();
    while let Some(parcel) = queue.next_parcel() {
        all.extend(values(&parcel));
        queue.sent(&parcel);
    }
    all
}

fn values(parcel: &Parcel) -> Vec<u64> {
    let samples = parcel.shipment.series.iter().flat_map(|s| &s.samples);
    let mut values: Vec<u64> = samples.map(|s| s.at.0 as u64).collect();
    values.sort();
    values
}

fn files(disk: &SimDisk) -> Vec<PathBuf> {
    disk.files().into_iter().filter(|f| f.extension().is_some_and(|e| e == "queue")).collect()
}

#[test]
fn what_is_appended_is_read_in_order_and_stays_until_it_was_sent() {
    let disk = SimDisk::default();
    let queue = open(&disk);
    for n in 1..=10 {
        queue.append(&batch(n), &Names, NOW.plus(std::time::Duration::from_secs(n))).expect("written");
    }
    assert!(queue.stats().waiting_since.is_some() && queue.stats().bytes > 0);
    let first = queue.next_parcel().expect("something waits");
    assert_eq!((values(&first), first.samples), ((1..=10).collect::<Vec<_>>(), 10));
    assert_eq!(values(&queue.next_parcel().expect("not sent yet")), values(&first));
    queue.append(&batch(11), &Names, NOW).expect("written");
    assert_eq!(values(&queue.next_parcel().expect("not sent yet")), values(&first), "and no more");
    queue.sent(&first);
    assert_eq!(drain(&queue), [11]);
    assert!(queue.is_empty() && queue.stats().waiting_since.is_none());
    queue.append(&batch(12), &Names, NOW).expect("written");
    assert_eq!(drain(&queue), [12]);
}

#[test]
fn what_may_have_been_sent_before_a_crash_is_sent_again_by_itself() {
    let disk = SimDisk::default();
    let queue = open(&disk);
    (1..=3).for_each(|n| queue.append(&batch(n), &Names, NOW).expect("written"));
    let sent = queue.next_parcel().expect("something waits");
    queue.sent(&sent);
    (4..=5).for_each(|n| queue.append(&batch(n), &Names, NOW).expect("written"));
    let on_its_way = values(&queue.next_parcel().expect("something waits"));
    (6..=9).for_each(|n| queue.append(&batch(n), &Names, NOW).expect("written"));
    // The next start writes another file, and so must not reach into this one either.
    let queue = open(&disk.killed());
    queue.append(&batch(10), &Names, NOW).expect("written");
    let again = queue.next_parcel().expect("something waits");
    assert_eq!((values(&again), on_its_way), (vec![4, 5], vec![4, 5]));
    queue.sent(&again);
    assert_eq!(drain(&queue), [6, 7, 8, 9, 10]);
    // A crash before the first one was sent: there is no position yet.
    let disk = SimDisk::default();
    let queue = open(&disk);
    queue.append(&batch(1), &Names, NOW).expect("written");
    queue.next_parcel().expect("something waits");
    queue.append(&batch(2), &Names, NOW).expect("written");
    assert_eq!(values(&open(&disk.killed()).next_parcel().expect("something waits")), [1]);
}

#[test]
fn an_end_that_is_damaged_or_wrong_loses_nothing() {
    let ends = |disk: &SimDisk, bytes: &[u8]| {
        disk.create(Path::new("/q/attempt")).expect("a file").append(bytes).expect("written");
        drain(&open(&disk.killed()))
    };
    let disk = SimDisk::default();
    let queue = open(&disk);
    (1..=6).for_each(|n| queue.append(&batch(n), &Names, NOW).expect("written"));
    drop(queue);
    assert_eq!(ends(&disk, b"twenty bytes, as ever"), (1..=6).collect::<Vec<_>>());
    // Within a record, at the beginning, past the end, of another file.
    for (segment, offset) in [(1, 9), (1, 70), (1, 0), (1, u64::MAX), (7, 30), (u64::MAX, u64::MAX)] {
        let end = Position { segment, offset };
        position::save(&disk, Path::new("/q"), position::ATTEMPT, end).expect("written");
        assert_eq!(drain(&open(&disk.killed())), (1..=6).collect::<Vec<_>>(), "{end:?}");
    }
}

#[test]
fn all_kinds_of_samples_come_as_they_were_with_external_labels_and_metadata() {
    let disk = SimDisk::default();
    let queue = open_as(&disk, QueueConfig { external: Labels::from_pairs([("replica", "a")]), ..config(1 << 20) });
    let h = Arc::new(Histogram { count: 2.0, sum: 3.0, ..Histogram::default() });
    let mut b = Batch::at("test", NOW);
    b.times = Times::Each(vec![TimestampMs(5), TimestampMs(4), TimestampMs(6)]);
    b.refs = vec![SeriesRef(1), SeriesRef(1), SeriesRef(0)];
    b.values = vec![1.0, belfry_model::sample::stale_nan(), 9.0];
    b.starts = vec![2, 0, 0];
    b.histograms.push((SeriesRef(2), TimestampMs(7), Some(TimestampMs(1)), h.clone()));
    b.exemplars.push((SeriesRef(1), Exemplar { labels: Labels::empty(), value: 1.0, at: TimestampMs(5) }));
    let metadata = MetricMetadata { name: "m1".into(), kind: MetricKind::Counter, ..MetricMetadata::default() };
    queue.declare(metadata.clone());
    queue.declare(metadata.clone());
    queue.append(&b, &Names, NOW).expect("written");
    let parcel = queue.next_parcel().expect("something waits");
    assert_eq!(parcel.samples, 3, "a series that is not known is left out");
    assert_eq!(parcel.shipment.metadata, [metadata]);
    let [one, two] = &parcel.shipment.series[..] else { panic!("{parcel:?}") };
    assert_eq!(one.labels.to_string(), r#"m1{replica="a"}"#);
    assert_eq!(one.samples[0].at, TimestampMs(4), "in the order of times");
    let Value::Float(stale) = one.samples[0].value else { panic!("a float") };
    assert!(belfry_model::sample::is_stale(stale));
    assert_eq!(one.samples[1], Sample { at: TimestampMs(5), value: Value::Float(1.0), start: Some(TimestampMs(2)) });
    assert_eq!(one.exemplars.len(), 1);
    assert_eq!(two.samples, [Sample { at: TimestampMs(7), value: Value::Histogram(h), start: Some(TimestampMs(1)) }]);
}

#[test]
fn a_shipment_has_floats_or_histograms_of_a_series_and_never_both() {
    let queue = open(&SimDisk::default());
    let float = |n: u64, at: i64, value| Batch {
        times: Times::One(TimestampMs(at)),
        refs: vec![SeriesRef(n)],
        values: vec![value],
        ..Batch::at("test", NOW)
    };
    let histogram = |n: u64, at: i64| Batch {
        histograms: vec![(SeriesRef(n), TimestampMs(at), None, Arc::new(Histogram::default()))],
        ..Batch::at("test", NOW)
    };
    // Its end, and that it begins again.
    let end = belfry_model::sample::stale_nan();
    let all = [histogram(1, 1), float(2, 1, 1.0), histogram(1, 2), float(1, 3, end), float(2, 3, 2.0), histogram(1, 4)];
    for batch in &all {
        queue.append(batch, &Names, NOW).expect("written");
    }
    let mut times = Vec::new();
    while let Some(parcel) = queue.next_parcel() {
        let again = queue.next_parcel().expect("the same");
        assert_eq!(format!("{:?}", again.shipment), format!("{:?}", parcel.shipment));
        let of = |s: &SeriesSamples| (s.labels.metric().map(str::to_owned), s.samples.iter().map(|s| s.at.0).collect());
        times.push(parcel.shipment.series.iter().map(of).collect::<Vec<(Option<String>, Vec<i64>)>>());
        queue.sent(&parcel);
    }
    let series = |n: u64, times: &[i64]| (Some(format!("m{n}")), times.to_vec());
    let expected =
        [vec![series(1, &[1, 2]), series(2, &[1])], vec![series(1, &[3]), series(2, &[3])], vec![series(1, &[4])]];
    assert_eq!(times, expected);
}

#[test]
fn metadata_goes_once_with_an_empty_batch_too() {
    let queue = open(&SimDisk::default());
    let metadata = |help: &str| MetricMetadata { name: "m".into(), help: help.into(), ..MetricMetadata::default() };
    queue.declare(metadata("one"));
    queue.declare(metadata("two"));
    (0..2).for_each(|_| queue.append(&Batch::at("test", NOW), &Names, NOW).expect("written"));
    let parcel = queue.next_parcel().expect("something waits");
    assert_eq!((parcel.samples, &parcel.shipment.metadata[..]), (0, &[metadata("two")][..]));
}

#[test]
fn a_batch_of_many_samples_goes_in_several_shipments() {
    let queue = open(&SimDisk::default());
    let mut b = Batch::at("test", NOW);
    b.times = Times::Each((0..25_000).map(TimestampMs).collect());
    b.refs = vec![SeriesRef(1); 25_000];
    b.values = (0..25_000).map(f64::from).collect();
    queue.append(&b, &Names, NOW).expect("written");
    let first = queue.next_parcel().expect("something waits");
    assert_eq!(first.samples, read::SHIPMENT_SAMPLES);
    assert_eq!(drain(&queue), (0..25_000).collect::<Vec<_>>());
}

/// Appends samples of these times, a thousand a record: some of them make a file.
fn append_thousands(queue: &Queue, thousands: std::ops::Range<i64>) {
    for n in thousands {
        let sample = |i| Sample { at: TimestampMs(n * 1000 + i), value: Value::Float(i as f64), start: None };
        let labels = Labels::from_pairs([("__name__", "m")]);
        let samples = (0..1000).map(sample).collect();
        queue.append_series(&SeriesSamples { labels, samples, ..SeriesSamples::default() }, NOW).expect("written");
    }
}

#[test]
fn a_copy_has_what_waited_when_it_was_made_whatever_is_appended_and_sent_afterwards() {
    let disk = SimDisk::default();
    let queue = open_as(&disk, config(QUEUE_BYTES_MIN));
    assert_eq!(look(Path::new("/none"), &disk).expect("it can be looked at"), Waiting::default());
    append_thousands(&queue, 0..30);
    queue.sent(&queue.next_parcel().expect("something waits"));
    assert!(files(&disk).len() > 2, "several files");
    let waiting = queue.copy_to(Path::new("/copy")).expect("copied");
    assert_eq!((waiting.bytes, waiting.files), (queue.stats().bytes, queue.stats().segments));
    append_thousands(&queue, 30..40);
    assert_eq!(drain(&queue).len(), 30_000);

    let before = disk.operations();
    assert_eq!(look(Path::new("/copy"), &disk).expect("it can be looked at"), waiting);
    assert_eq!(disk.operations(), before, "looking changes nothing");
    let closed = copy_closed(Path::new("/copy"), Path::new("/copy of the copy"), &disk).expect("copied");
    assert_eq!(closed, waiting);
    for folder in ["/copy", "/copy of the copy"] {
        let copy = open_as(&disk, QueueConfig { folder: folder.into(), ..config(QUEUE_BYTES_MIN) });
        assert_eq!(drain(&copy), (10_000..30_000).collect::<Vec<_>>());
        assert_eq!(copy.stats().damage, None);
    }
}

#[test]
fn files_that_are_sent_while_they_are_copied_leave_no_gap_in_the_copy() {
    let disk = SimDisk::default();
    let queue = open_as(&disk, config(QUEUE_BYTES_MIN));
    append_thousands(&queue, 0..30);
    let position = queue.inner.lock().position;
    let segments = queue.inner.lock().segments.clone();
    while queue.inner.lock().segments.len() > 1 {
        queue.sent(&queue.next_parcel().expect("something waits"));
    }
    folder::copy(&disk, Path::new("/q"), Path::new("/copy"), &segments, Some(position)).expect("copied");
    let copy = open_as(&disk, QueueConfig { folder: "/copy".into(), ..config(QUEUE_BYTES_MIN) });
    let left = drain(&copy);
    assert!(!left.is_empty() && left.len() < 30_000 && left.ends_with(&[29_999]), "{} samples", left.len());
    assert_eq!(copy.stats().damage, None);
}

#[test]
fn a_file_in_the_folders_place_is_named() {
    let home = tempfile::tempdir().expect("a folder");
    let folder = home.path().join("queue");
    std::fs::write(&folder, "x").expect("written");
    let told = |e: io::Error| assert!(e.to_string().contains(&folder.display().to_string()), "{e}");
    told(look(&folder, &belfry_store::RealDisk).map(drop).unwrap_err());
    let config = QueueConfig { folder: folder.clone(), ..config(QUEUE_BYTES_MIN) };
    told(Queue::open(config, Arc::new(belfry_store::RealDisk)).map(drop).unwrap_err());
}

#[test]
fn a_full_queue_sheds_its_oldest_samples_and_counts_them() {
    let disk = SimDisk::default();
    let queue = open_as(&disk, config(QUEUE_BYTES_MIN));
    let samples: Vec<Sample> =
        (0..1000).map(|i| Sample { at: TimestampMs(i), value: Value::Float(i as f64), start: None }).collect();
    for n in 0..500_i64 {
        let shifted = samples.iter().map(|s| Sample { at: TimestampMs(s.at.0 + n * 1000), ..s.clone() }).collect();
        let labels = Labels::from_pairs([("__name__", "m")]);
        queue.append_series(&SeriesSamples { labels, samples: shifted, exemplars: Vec::new() }, NOW).expect("written");
    }
    assert!(disk.used() <= QUEUE_BYTES_MIN + QUEUE_BYTES_MIN / SEGMENTS_MIN, "{} bytes", disk.used());
    let stats = queue.stats();
    assert_eq!(stats.appended, 500_000);
    let shedding = stats.shedding.expect("it sheds");
    assert_eq!((shedding.samples, shedding.since, shedding.is_full), (stats.shed, NOW, true));
    let left = drain(&queue);
    let after = queue.stats().shedding.expect("it is not forgotten");
    assert!(!after.is_full && after.goes_on(NOW), "there is room, but it only just ended");
    assert!(!after.goes_on(NOW.plus(SHEDDING_ENDS)));
    assert_eq!(left.len() as u64 + stats.shed, 500_000);
    assert_eq!(left, (stats.shed..500_000).collect::<Vec<_>>(), "the newest are left");
}

#[test]
fn a_shipment_on_its_way_may_be_shed_meanwhile() {
    let queue = open_as(&SimDisk::default(), config(8 << 10));
    queue.append(&batch(1), &Names, NOW).expect("written");
    let parcel = queue.next_parcel().expect("something waits");
    for n in 2..2_000 {
        queue.append(&batch(n), &Names, NOW).expect("written");
    }
    queue.sent(&parcel);
    let (shed, left) = (queue.stats().shed, drain(&queue));
    assert_eq!(left.last(), Some(&1_999));
    assert_eq!(shed + left.len() as u64, 1_999);
}

#[test]
fn a_restart_goes_on_where_the_engine_was() {
    let disk = SimDisk::default();
    let queue = open(&disk);
    for n in 1..=5 {
        queue.append(&batch(n), &Names, NOW).expect("written");
    }
    let parcel = queue.next_parcel().expect("something waits");
    queue.sent(&parcel);
    for n in 6..=8 {
        queue.append(&batch(n), &Names, NOW).expect("written");
    }
    let killed = disk.killed();
    let queue = open(&killed);
    queue.append(&batch(9), &Names, NOW).expect("written");
    assert_eq!(drain(&queue), [6, 7, 8, 9], "their names were introduced before what was sent");
    assert_eq!(files(&killed).len(), 1, "files that were sent are removed");
}

/// Three files of eight samples each, of series that the first three records introduce.
fn three_files() -> SimDisk {
    let disk = SimDisk::default();
    for n in 1..=3 {
        let queue = open(&disk);
        for i in 0..8 {
            queue.append(&batch(n * 10 + i), &Names, NOW).expect("written");
        }
    }
    disk
}

const ALL: [u64; 24] = [10, 11, 12, 13, 14, 15, 16, 17, 20, 21, 22, 23, 24, 25, 26, 27, 30, 31, 32, 33, 34, 35, 36, 37];

#[test]
fn a_flipped_bit_costs_one_record_and_what_only_that_introduces() {
    let disk = three_files();
    let second = files(&disk)[1].clone();
    let bytes = disk.read(&second).expect("there");
    // Of a version "1" the second bit makes "3".
    let flips = (0..bytes.len()).map(|at| (at, 0x40)).chain([(segment::HEADER_BYTES as usize - 1, 2)]);
    for (at, bit) in flips {
        let disk = disk.killed();
        disk.tamper(&second, |b| b[at] ^= bit);
        let queue = open(&disk);
        let left = drain(&queue);
        assert!(left.is_sorted() && left.iter().all(|n| ALL.contains(n)), "byte {at}: {left:?}");
        let stats = queue.stats();
        assert_eq!(stats.damaged, 1, "byte {at}");
        let begin = "000000000002.queue is damaged at byte ";
        assert!(stats.damage.is_some_and(|d| d.starts_with(begin)), "byte {at}");
        let in_header = at < segment::HEADER_BYTES as usize;
        let record = u64::from(!in_header);
        assert_eq!(left.len() as u64 + stats.nameless + record, ALL.len() as u64, "byte {at}");
        // The last five introduce nothing.
        let introduces = left.contains(&23) && left.contains(&24) && left.contains(&25);
        assert!(stats.nameless <= if introduces { 0 } else { 2 }, "byte {at}: {} nameless", stats.nameless);
    }
}

#[test]
fn damage_is_counted_once_however_often_the_front_is_read_and_after_a_restart_reading_goes_on_behind_it() {
    let disk = three_files();
    let first = files(&disk)[0].clone();
    let end = disk.read(&first).expect("there").len();
    // In the fifth record or so: it introduces nothing.
    disk.tamper(&first, |b| b[end * 3 / 4] ^= 1);
    let queue = open(&disk);
    let parcel = queue.next_parcel().expect("what is before it");
    queue.sent(&parcel);
    let behind = values(&queue.next_parcel().expect("what is behind it"));
    assert_eq!(values(&queue.next_parcel().expect("not sent yet")), behind);
    assert_eq!(queue.stats().damaged, 1);
    drop(queue);
    let left = drain(&open(&disk));
    assert!(left.starts_with(&behind) && left.ends_with(&ALL[8..]), "{left:?}");
    assert_eq!(values(&parcel).len() + left.len(), ALL.len() - 1);
}

#[test]
fn a_file_that_is_missing_between_others_is_told() {
    let disk = three_files();
    disk.remove(&files(&disk)[1]).expect("removed");
    let queue = open(&disk);
    let stats = queue.stats();
    assert_eq!(stats.damaged, 1);
    assert_eq!(stats.damage.as_deref(), Some("000000000002.queue is missing; what waited in it is not sent"));
    assert_eq!(drain(&queue).len(), 16);
    queue.append(&batch(99), &Names, NOW).expect("written");
    assert_eq!(open(&disk).stats().damaged, 0, "what was sent is not missing");
}

#[test]
fn a_file_of_a_newer_version_keeps_the_queue_from_being_opened_and_nothing_is_removed() {
    let disk = three_files();
    let third = files(&disk)[2].clone();
    let (version, checksum) = (segment::HEADER_BYTES as usize - 1, segment::HEADER_BYTES as usize + 4);
    disk.tamper(&third, |b| (b[version], b[checksum]) = (b'2', !b[checksum]));
    let before: Vec<_> = files(&disk).iter().map(|f| disk.read(f).expect("there")).collect();
    let refused = Queue::open(config(1 << 20), Arc::new(disk.clone())).map(drop).expect_err("newer").to_string();
    assert_eq!(refused, "/q/000000000003.queue has format version 2, this Belfry reads up to 1: run a newer Belfry");
    assert_eq!(files(&disk).iter().map(|f| disk.read(f).expect("there")).collect::<Vec<_>>(), before);
}

#[test]
fn a_disk_that_is_full_refuses_and_goes_on_when_there_is_room() {
    let disk = SimDisk::default();
    let queue = open(&disk);
    queue.append(&batch(1), &Names, NOW).expect("written");
    disk.set_capacity(Some(disk.used() + 10));
    assert!(queue.append(&batch(2), &Names, NOW).is_err());
    assert!(queue.stats().failing.is_some() && queue.stats().failed == 1);
    disk.set_capacity(None);
    queue.append(&batch(3), &Names, NOW).expect("written");
    assert_eq!(queue.stats().failing, None);
    assert_eq!(drain(&queue), [1, 3]);
}

/// What the engine has, and what was acknowledged.
#[derive(Default)]
struct World {
    acknowledged: Vec<u64>,
    engine: Vec<u64>,
}

/// Appends, ships now and then, until the disk is gone. Either all is synced, or what asks for it.
fn live(disk: &SimDisk, sync_each: bool, world: &mut World) {
    let config = QueueConfig { sync_each, ..config(1 << 20) };
    let Ok(queue) = Queue::open(config, Arc::new(disk.clone())) else { return };
    for n in 1..=12 {
        let batch = Batch { durable: !sync_each, ..batch(n) };
        if queue.append(&batch, &Names, NOW).is_ok() {
            world.acknowledged.push(n);
        }
        if n % 4 == 0
            && let Some(parcel) = queue.next_parcel()
        {
            world.engine.extend(values(&parcel));
            queue.sent(&parcel);
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_by_a_crash_at_any_disk_operation() {
    for (crash_op, sync_each) in (0..).flat_map(|op| [(op, true), (op, false)]) {
        let disk = SimDisk::crash_at(crash_op);
        let mut world = World::default();
        live(&disk, sync_each, &mut world);
        let finished = !disk.crashed();
        let mut after = vec![disk.killed()];
        after.extend((0..8).map(|seed| disk.power_loss(seed)));
        for (i, disk) in after.into_iter().enumerate() {
            let queue = open(&disk);
            let mut engine = world.engine.clone();
            engine.extend(drain(&queue));
            queue.append(&batch(99), &Names, NOW).expect("the queue goes on");
            engine.extend(drain(&queue));
            for n in world.acknowledged.iter().chain(&[99]) {
                assert!(engine.contains(n), "{n} is lost after a crash at operation {crash_op}, way {i}");
            }
            assert_eq!(queue.stats().damaged, 0, "crash at operation {crash_op}, way {i}: a torn tail is no damage");
        }
        if finished && !sync_each {
            return;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is done in whatever order, the engine has in the end each sample that was not shed, in order.
    #[test]
    fn appends_shipments_and_restarts_lose_nothing(steps in proptest::collection::vec(0_u8..8, 1..120)) {
        let disk = SimDisk::default();
        let mut queue = open_as(&disk, config(4 << 20));
        let (mut next, mut engine, mut in_hand) = (0, Vec::new(), None::<Parcel>);
        // The parcel that was begun last, while nobody has said that it arrived.
        let mut begun: Option<Vec<u64>> = None;
        for step in steps {
            match step {
                0..=3 => {
                    next += 1;
                    queue.append(&batch(next), &Names, NOW).expect("written");
                }
                4 => {
                    in_hand = queue.next_parcel();
                    let now = in_hand.as_ref().map(values);
                    prop_assert!(begun.is_none() || begun == now, "{begun:?} comes again as it was, not as {now:?}");
                    begun = now;
                }
                5 | 6 => {
                    if let Some(parcel) = in_hand.take() {
                        engine.extend(values(&parcel));
                        queue.sent(&parcel);
                        begun = None;
                    }
                }
                _ => {
                    in_hand = None;
                    queue = open_as(&disk, config(4 << 20));
                }
            }
        }
        engine.extend(drain(&queue));
        prop_assert_eq!(engine, (1..=next).collect::<Vec<_>>());
        prop_assert!(queue.is_empty());
    }

    #[test]
    fn no_bytes_of_a_file_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), ours: bool) {
        let disk = SimDisk::default();
        let file = disk.create(Path::new("/q/000000000003.queue")).expect("a file");
        if ours {
            file.append(segment::header()).expect("written");
        }
        file.append(&bytes).expect("written");
        let queue = open(&disk);
        drain(&queue);
        queue.append(&batch(5), &Names, NOW).expect("written");
        prop_assert_eq!(drain(&queue), [5]);
    }
}

#[test]
fn a_start_with_a_queue_that_waits_knows_since_when() {
    let disk = SimDisk::default();
    let queue = open(&disk);
    assert_eq!(queue.stats().waiting_since, None);
    let at = |n: u64| NOW.plus(std::time::Duration::from_secs(n));
    (1..=3).for_each(|n| queue.append(&batch(n), &Names, at(n)).expect("written"));
    let queue = open(&disk.killed());
    assert_eq!(queue.stats().waiting_since, Some(at(1)));
    queue.append(&batch(4), &Names, at(4)).expect("written");
    assert_eq!(queue.stats().waiting_since, Some(at(1)));
    // What was sent does not count, whether it was all of a file or a part.
    let disk = SimDisk::default();
    let queue = open(&disk);
    queue.append(&batch(1), &Names, at(1)).expect("written");
    let parcel = queue.next_parcel().expect("something waits");
    queue.sent(&parcel);
    queue.append(&batch(2), &Names, at(2)).expect("written");
    assert_eq!(open(&disk.killed()).stats().waiting_since, Some(at(2)));
    drain(&queue);
    assert_eq!(open(&disk.killed()).stats().waiting_since, None);
}
