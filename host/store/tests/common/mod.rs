//! What the tests of the store share: a small driver over its two traits.

#![allow(dead_code)] // Each test file uses its own part.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use belfry_model::sample::is_stale;
use belfry_model::write::{SeriesRef, Times};
use belfry_model::{
    Appended, Batch, Labels, Matcher, SampleBuf, SelectHints, SelectLimits, SeriesRead, TimeRange, TimestampMs,
    WriteError, Writer,
};
use belfry_store::disk::{Disk, DiskFile, DiskRead, FileBytes, Lock, SimDisk};
use belfry_store::{FsyncPolicy, Recovery, Store, StoreConfig};

/// A plausible now.
pub const T0: i64 = 1_700_000_000_000;

pub fn block_on<F: std::future::Future>(f: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(f)
}

pub fn config() -> StoreConfig {
    StoreConfig {
        fsync: FsyncPolicy::Always,
        block_span: Duration::from_secs(60),
        out_of_order_window: Duration::from_secs(30),
        ..StoreConfig::folder("/data")
    }
}

pub fn open(disk: &SimDisk) -> (Arc<Store>, Recovery) {
    Store::open(config(), Arc::new(disk.clone()), TimestampMs(T0)).expect("the store opens")
}

/// The files of this kind, in order.
pub fn files_of(disk: &SimDisk, extension: &str) -> Vec<PathBuf> {
    disk.files().into_iter().filter(|f| f.extension().is_some_and(|e| e == extension)).collect()
}

pub fn labels(name: &str) -> Labels {
    Labels::from_pairs([("__name__", name), ("job", "test")])
}

pub fn append(store: &Store, points: &[(SeriesRef, i64, f64)]) -> Result<Appended, WriteError> {
    let mut batch = Batch::at("test", TimestampMs(0));
    batch.times = Times::Each(points.iter().map(|p| TimestampMs(p.1)).collect());
    batch.refs = points.iter().map(|p| p.0).collect();
    batch.values = points.iter().map(|p| p.2).collect();
    block_on(store.append(batch))
}

pub fn put(store: &Store, name: &str, at: i64, value: f64) -> Result<Appended, WriteError> {
    let series = store.open(&labels(name))?;
    append(store, &[(series, at, value)])
}

pub fn select(store: &Store, matchers: &[&str], range: TimeRange) -> Vec<(Labels, SampleBuf)> {
    let (found, warnings) = select_left(store, matchers, range);
    assert_eq!(warnings, Vec::<String>::new());
    found
}

/// What is left where something was lost, and what is said of that.
pub fn select_left(store: &Store, matchers: &[&str], range: TimeRange) -> (Vec<(Labels, SampleBuf)>, Vec<String>) {
    let matchers: Vec<Matcher> = matchers.iter().map(|m| m.parse().expect("a matcher")).collect();
    let set = block_on(store.select(&matchers, range, &SelectHints::default(), SelectLimits::default()))
        .expect("the read works");
    let decode = |s: &belfry_model::Series| {
        let mut buf = SampleBuf::default();
        s.samples.decode(range, &mut buf).expect("the samples decode");
        (s.labels.clone(), buf)
    };
    (set.series.iter().map(decode).filter(|(_, b)| !b.is_empty()).collect(), set.warnings)
}

/// A series with the time of a sample, the bits of its value and the count of its histogram.
pub type One = (Labels, i64, u64, Option<u64>);

/// Each series' newest sample; `None` where the store has no shorter way than to select.
pub fn newest(store: &Store, matchers: &[&str], range: TimeRange) -> Option<Vec<One>> {
    let matchers: Vec<Matcher> = matchers.iter().map(|m| m.parse().expect("a matcher")).collect();
    let found = block_on(store.newest(&matchers, range, SelectLimits::default())).expect("the read works")?;
    assert_eq!((found.times.len(), found.floats.len()), (found.len(), found.len()));
    assert!(found.labels.is_sorted_by(|a, b| a < b) && found.of.is_sorted_by(|a, b| a < b));
    let one = |i: usize| {
        let histogram = found.histogram(i).map(|h| h.count.to_bits());
        (found.labels_of(i).expect("labels").clone(), found.times[i], found.floats[i].to_bits(), histogram)
    };
    Some((0..found.len()).map(one).collect())
}

/// Time and bits of every sample of a metric.
pub fn points(store: &Store, name: &str) -> Vec<(i64, u64)> {
    let (found, warnings) = points_left(store, name);
    assert_eq!(warnings, Vec::<String>::new());
    found
}

/// [`points`] where something was lost, and what is said of that.
pub fn points_left(store: &Store, name: &str) -> (Vec<(i64, u64)>, Vec<String>) {
    let (all, warnings) = select_left(store, &[&format!("__name__={name:?}")], TimeRange::ALL);
    let bits = |b: &SampleBuf| b.times.iter().zip(&b.floats).map(|(t, v)| (*t, v.to_bits())).collect::<Vec<_>>();
    (all.first().map(|(_, b)| bits(b)).unwrap_or_default(), warnings)
}

/// A bucket: how many samples, their sum, the smallest and largest value, first and last sample.
pub type Bucket = (u64, f64, f64, f64, (i64, u64), (i64, u64));

/// Everything of a metric, segments and all.
pub fn read(store: &Store, name: &str, range: TimeRange) -> SampleBuf {
    let hints = SelectHints { coarse: true, function: Some("sum_over_time"), range_ms: 1, ..SelectHints::default() };
    let matchers = [Matcher::equal("__name__", name)];
    let set = block_on(store.select(&matchers, range, &hints, SelectLimits::default())).unwrap();
    assert_eq!(set.warnings, Vec::<String>::new());
    let mut buf = SampleBuf::default();
    if let Some(series) = set.series.first() {
        series.samples.decode(range, &mut buf).unwrap();
    }
    assert!(buf.times.is_sorted_by(|a, b| a < b), "{name}: times ascend");
    buf
}

/// What each bucket says, by its number.
pub fn buckets(buf: &SampleBuf, width: i64) -> BTreeMap<i64, Bucket> {
    let mut out: BTreeMap<i64, Bucket> = BTreeMap::new();
    for (i, (t, v)) in buf.times.iter().zip(&buf.floats).enumerate().filter(|(_, (_, v))| !is_stale(**v)) {
        let row = buf.coarse.rows.get(i);
        let (count, min, max, sum) = row.map_or((1, *v, *v, *v), |r| match r.count {
            0 => (0, f64::INFINITY, f64::NEG_INFINITY, 0.0),
            n => (u64::from(n), r.min, r.max, r.sum),
        });
        let point = (*t, v.to_bits());
        let b =
            out.entry((t - 1).div_euclid(width)).or_insert((0, 0.0, f64::INFINITY, f64::NEG_INFINITY, point, point));
        *b = (b.0 + count, b.1 + sum, b.2.min(min), b.3.max(max), b.4, point);
    }
    out
}

/// Samples that stand for themselves.
pub fn plain(points: &BTreeMap<i64, f64>) -> SampleBuf {
    let mut buf = SampleBuf::default();
    points.iter().for_each(|(t, v)| buf.push_float(*t, *v));
    buf
}

pub struct Fixed(pub std::sync::atomic::AtomicI64);

impl belfry_model::Clock for Fixed {
    fn now(&self) -> TimestampMs {
        TimestampMs(self.0.load(std::sync::atomic::Ordering::Relaxed))
    }
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

/// What is to be done when the next block is written and has no name yet.
pub type Meanwhile = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// A disk on which something happens while a block is written: when it is synced, so behind the last look at what else
/// is in the store.
#[derive(Clone, Default)]
pub struct Eventful {
    pub disk: SimDisk,
    pub meanwhile: Meanwhile,
    /// No block can be removed.
    pub keeps: Arc<AtomicBool>,
    /// No file of the log can be removed.
    pub keeps_log: Arc<AtomicBool>,
    /// No block can be written.
    pub refuses: Arc<AtomicBool>,
}

impl Eventful {
    pub fn new(disk: SimDisk) -> Self {
        Self { disk, ..Self::default() }
    }

    pub fn meanwhile(&self, what: impl FnOnce() + Send + 'static) {
        *self.meanwhile.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(what));
    }

    /// Does what was not done, as no block was written.
    pub fn happen(&self) {
        happen(&self.meanwhile);
    }
}

fn happen(meanwhile: &Meanwhile) {
    let what = meanwhile.lock().unwrap_or_else(PoisonError::into_inner).take();
    what.into_iter().for_each(|what| what());
}

struct BlockFile(Arc<dyn DiskFile>, Meanwhile);

impl DiskFile for BlockFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.0.append(bytes)
    }
    fn sync(&self) -> io::Result<()> {
        happen(&self.1);
        self.0.sync()
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.truncate(len)
    }
}

impl Disk for Eventful {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir_all(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }
    fn create(&self, file: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let is_block = file.extension().is_some_and(|e| e == "unfinished") && !file.to_string_lossy().contains("gone");
        if is_block && self.refuses.load(Ordering::Relaxed) {
            return Err(io::Error::other("the disk refuses it"));
        }
        let made = self.disk.create(file)?;
        Ok(if is_block { Arc::new(BlockFile(made, self.meanwhile.clone())) } else { made })
    }
    fn open_append(&self, file: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open_append(file)
    }
    fn read(&self, file: &Path) -> io::Result<FileBytes> {
        self.disk.read(file)
    }
    fn open_read(&self, file: &Path) -> io::Result<Arc<dyn DiskRead>> {
        self.disk.open_read(file)
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.link(from, to)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, file: &Path) -> io::Result<()> {
        if self.keeps.load(Ordering::Relaxed) && files_of(&self.disk, "block").iter().any(|f| f == file) {
            return Err(io::Error::other("the disk keeps it"));
        }
        if self.keeps_log.load(Ordering::Relaxed) && file.extension().is_some_and(|e| e == "wal") {
            return Err(io::Error::other("the disk keeps it"));
        }
        self.disk.remove(file)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
    fn lock(&self, file: &Path) -> io::Result<Lock> {
        self.disk.lock(file)
    }
}

/// A disk with a bad place in one file.
pub struct BadSector {
    pub disk: SimDisk,
    pub file: PathBuf,
    pub bad: std::ops::Range<u64>,
    /// No file can have a second name: copies are on another file system.
    pub is_apart: bool,
}

struct BadRead(Arc<dyn DiskRead>, std::ops::Range<u64>);

/// `EIO`.
pub fn refused() -> io::Error {
    io::Error::from_raw_os_error(5)
}

impl DiskRead for BadRead {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        match offset < self.1.end && offset + into.len() as u64 > self.1.start {
            true => Err(refused()),
            false => self.0.read_at(offset, into),
        }
    }
}

impl Disk for BadSector {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir_all(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }
    fn create(&self, file: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.create(file)
    }
    fn open_append(&self, file: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open_append(file)
    }
    fn read(&self, file: &Path) -> io::Result<FileBytes> {
        if file == self.file { Err(refused()) } else { self.disk.read(file) }
    }
    fn open_read(&self, file: &Path) -> io::Result<Arc<dyn DiskRead>> {
        let open = self.disk.open_read(file)?;
        Ok(if file == self.file { Arc::new(BadRead(open, self.bad.clone())) } else { open })
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.is_apart && from == self.file { Err(refused()) } else { self.disk.link(from, to) }
    }
    fn link_only(&self, from: &Path, to: &Path) -> io::Result<bool> {
        if self.is_apart { Ok(false) } else { self.disk.link(from, to).map(|()| true) }
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, file: &Path) -> io::Result<()> {
        assert_ne!(file, self.file, "what cannot be read is never deleted");
        self.disk.remove(file)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
    fn lock(&self, file: &Path) -> io::Result<Lock> {
        self.disk.lock(file)
    }
}
