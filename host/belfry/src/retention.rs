//! What decides about retention beside the config and outlives the process: `retention.json` in the data folder.
//!
//! Invariant: neither a wrong clock nor another `[storage] backend` deletes what was there before. What cannot be read or
//! written of the file makes samples stay longer, never shorter.
//! Not here: which blocks go (`belfry-store`), when it is looked (`driver::maintain`).

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use belfry_config::types::{Backend, Storage};
use belfry_model::duration::format_duration;
use belfry_model::{Clock, TimestampMs};
use belfry_store::Store;
use serde::{Deserialize, Serialize};

use crate::driver::judged_time::{Judged, JudgedTime, Remembered};
use crate::engine::QUEUE_FOLDER;

/// In the data folder.
pub const FILE: &str = "retention.json";

/// The format that this program writes, and the highest that it reads; docs/formats/retention.md has its fields. Files of
/// before there was a number have the same.
const VERSION: u32 = 1;

/// What the file has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Contents {
    #[serde(default = "version")]
    version: u32,
    /// By which time was judged.
    time: Option<Remembered>,
    /// With a storage engine: the number below which blocks are from before it, and were never sent to it.
    before_engine: Option<u64>,
}

impl Default for Contents {
    fn default() -> Self {
        Self { version: VERSION, time: None, before_engine: None }
    }
}

fn version() -> u32 {
    VERSION
}

/// Decides, and remembers.
#[derive(Debug)]
pub struct Retention {
    /// `None` in memory.
    file: Option<PathBuf>,
    contents: Contents,
    time: JudgedTime,
}

/// What was found in the data folder.
enum Found {
    Nothing,
    Damaged(String),
    These(Contents),
}

impl Retention {
    /// Begins with a store that was just opened: when it is the first time with a storage engine, what is there becomes
    /// blocks, and these are judged by `[storage] retention`, not by `local_retention`. Blocks for as long as the disk
    /// takes.
    pub fn open(storage: &Storage, store: &Store, now: TimestampMs) -> io::Result<Self> {
        let file = (storage.backend == Backend::Disk).then(|| storage.path.join(FILE));
        let found = file.as_deref().map_or(Found::Nothing, read);
        let mut contents = match found {
            Found::These(contents) => contents,
            // With an engine an older Belfry had no file, and nothing from before it.
            Found::Nothing => Contents { before_engine: queue_is_there(storage).then_some(0), ..Contents::default() },
            Found::Damaged(why) => {
                tracing::error!("{FILE} in the data folder cannot be read: {why}; samples are kept for longer");
                Contents::default()
            }
        };
        contents.before_engine = match &storage.remote {
            None => None,
            Some(remote) => {
                let below = match contents.before_engine {
                    Some(below) => below,
                    None => {
                        store.flush()?;
                        store.next_block()
                    }
                };
                store.keep_apart(below, remote.retention_before);
                Some(below)
            }
        };
        let newest = if contents.time.is_none() { store.span().map(|(_, newest)| newest) } else { None };
        let time = JudgedTime::new(contents.time.clone(), newest, now);
        let retention = Self { file, contents, time };
        retention.write();
        Ok(retention)
    }

    /// Looks at the clock; answers what it says, and by what is to be judged what is too old. Writes a little, now and
    /// then: call it from a thread that may block.
    pub fn look(&mut self, clock: &dyn Clock) -> (TimestampMs, TimestampMs) {
        let now = clock.now();
        match self.time.look(now, clock.monotonic()) {
            Judged::Sure | Judged::StillDoubted => {}
            Judged::Doubted(by, wait) => tracing::warn!(
                "the clock jumped by {}, or Belfry was not there: until it was even for {} nothing is deleted or \
                 downsampled by it",
                rough(by),
                rough(wait)
            ),
            Judged::SureAgain => tracing::info!("the clock is believed again: what is too old by it is deleted"),
        }
        if let Some(time) = self.time.due() {
            self.contents.time = Some(time);
            self.write();
        }
        (now, self.time.at())
    }

    /// How long the clock must still be even before anything is deleted by it; `None` when it is believed.
    pub fn wait(&self) -> Option<Duration> {
        self.time.wait()
    }

    fn write(&self) {
        let Some(file) = &self.file else { return };
        if let Err(error) = write(file, &self.contents) {
            tracing::warn!(%error, "{FILE} in the data folder cannot be written; it is tried again");
        }
    }
}

/// Would a start with this config be the first one with a storage engine, on samples that it was never sent?
pub fn is_first_with_engine(storage: &Storage) -> bool {
    let is_new = || match read(&storage.path.join(FILE)) {
        Found::These(contents) => contents.before_engine.is_none(),
        Found::Nothing => !queue_is_there(storage),
        Found::Damaged(_) => true,
    };
    let has_samples = || {
        ["blocks", "wal"]
            .iter()
            .any(|part| std::fs::read_dir(storage.path.join(part)).is_ok_and(|mut entries| entries.next().is_some()))
    };
    storage.remote.is_some() && is_new() && has_samples()
}

/// Without milliseconds.
pub fn rough(time: Duration) -> String {
    format_duration(Duration::from_secs(time.as_secs()))
}

fn queue_is_there(storage: &Storage) -> bool {
    storage.path.join(QUEUE_FOLDER).is_dir()
}

fn read(file: &Path) -> Found {
    match std::fs::read(file) {
        Ok(bytes) => match serde_json::from_slice::<Contents>(&bytes) {
            // Its fields may mean something else.
            Ok(newer) if newer.version > VERSION => {
                Found::Damaged(format!("it has format version {}, this Belfry reads up to {VERSION}", newer.version))
            }
            Ok(contents) => Found::These(contents),
            Err(e) => Found::Damaged(e.to_string()),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => Found::Nothing,
        Err(e) => Found::Damaged(e.to_string()),
    }
}

/// The file is whole at every moment.
fn write(file: &Path, contents: &Contents) -> io::Result<()> {
    let unfinished = file.with_extension("json.new");
    let mut new = std::fs::File::create(&unfinished)?;
    new.write_all(&serde_json::to_vec(contents)?)?;
    new.sync_all()?;
    std::fs::rename(&unfinished, file)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

    use belfry_config::types::remote::{Remote, RemoteEngine};
    use belfry_config::types::{Fsync, scrape::Http};
    use belfry_model::{Labels, Sample, Value};
    use belfry_store::{RealDisk, StoreConfig};

    use super::*;

    const T0: i64 = 1_700_000_000_000;
    const HOUR: Duration = Duration::from_secs(3600);
    const HOUR_MS: i64 = 3_600_000;
    const DAY_MS: i64 = 24 * HOUR_MS;
    const YEAR_MS: i64 = 366 * DAY_MS;

    /// Its wall clock can be set.
    #[derive(Default)]
    struct Clocks {
        wall: AtomicI64,
        monotonic: AtomicU64,
    }

    impl Clock for Clocks {
        fn now(&self) -> TimestampMs {
            TimestampMs(self.wall.load(Ordering::Relaxed))
        }

        fn monotonic(&self) -> Duration {
            Duration::from_millis(self.monotonic.load(Ordering::Relaxed))
        }
    }

    /// A Belfry on a folder, as far as retention goes.
    struct House {
        folder: tempfile::TempDir,
        clocks: Clocks,
        storage: Storage,
        open: Option<(Arc<Store>, Retention)>,
    }

    impl House {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let storage = Storage {
                path: folder.path().to_owned(),
                backend: Backend::Disk,
                remote: None,
                retention: Some(HOUR * 24 * 15),
                retention_bytes: None,
                fsync: Fsync::Never,
                durable_ack: false,
                downsample: Vec::new(),
                out_of_order_window: HOUR,
                series_limit: 1_000,
            };
            let clocks = Clocks::default();
            clocks.wall.store(T0, Ordering::Relaxed);
            let mut house = Self { folder, clocks, storage, open: None };
            house.start();
            house
        }

        fn start(&mut self) {
            self.open = None;
            let config = StoreConfig { retention: self.storage.retention, ..StoreConfig::folder(self.folder.path()) };
            let (store, _) = Store::open(config, Arc::new(RealDisk), self.clocks.now()).unwrap();
            let retention = Retention::open(&self.storage, &store, self.clocks.now()).unwrap();
            self.clocks.monotonic.store(0, Ordering::Relaxed);
            self.open = Some((store, retention));
        }

        fn with_engine(&mut self, retention_before: Option<Duration>) {
            let url: url::Url = "http://127.0.0.1:1".parse().unwrap();
            let engine = RemoteEngine::Prometheus {
                write_url: url.clone(),
                read_url: url,
                protocol_2: false,
                http: Http::default(),
                timeout: HOUR,
            };
            let (queue_bytes, external_labels) = (1 << 20, Labels::empty());
            self.storage.remote =
                Some(Remote { engine, queue_bytes, pass_queries: false, external_labels, retention_before });
            self.storage.retention = Some(HOUR * 6);
        }

        /// A block with a sample of each of these times.
        fn put(&self, times: &[i64]) {
            let (store, _) = self.open.as_ref().unwrap();
            let mut fill = store.backfill(self.clocks.now());
            for at in times {
                let labels = Labels::from_pairs([("__name__", "a")]);
                fill.push(&labels, Sample { at: TimestampMs(*at), value: Value::Float(1.0), start: None }).unwrap();
            }
            fill.finish().unwrap();
        }

        fn set_clock(&self, by_ms: i64) {
            self.clocks.wall.fetch_add(by_ms, Ordering::Relaxed);
        }

        /// Goes on, with upkeep each minute and a sample now and then; answers how many blocks retention deleted.
        fn run(&mut self, time: Duration) -> u64 {
            let mut expired = 0;
            for minute in 0..time.as_secs() / 60 {
                self.set_clock(60_000);
                self.clocks.monotonic.fetch_add(60_000, Ordering::Relaxed);
                if minute % 180 == 0 {
                    self.put(&[self.clocks.now().0]);
                }
                let (store, retention) = self.open.as_mut().unwrap();
                let (now, judged) = retention.look(&self.clocks);
                expired += store.upkeep_judging(now, judged).unwrap().expired;
            }
            expired
        }
    }

    /// Blocks of three days each.
    fn ten_days() -> Vec<i64> {
        (0..10).map(|day| T0 - day * DAY_MS).collect()
    }

    #[test]
    fn a_clock_that_is_a_year_ahead_for_a_while_deletes_nothing() {
        let mut house = House::new();
        house.put(&ten_days());
        assert_eq!(house.run(HOUR), 0);
        house.set_clock(YEAR_MS);
        assert_eq!(house.run(HOUR * 3), 0);
        // A restart in the middle of it is no proof that the time is right.
        house.start();
        assert_eq!(house.run(HOUR * 18), 0);
        house.set_clock(-YEAR_MS);
        // What was written at the wrong time judges nothing.
        assert_eq!(house.run(HOUR * 30), 0);
        // But age does.
        assert!(house.run(HOUR * 24 * 8) > 0);
    }

    #[test]
    fn after_a_year_off_what_is_too_old_goes_a_day_later_if_there_is_something_new() {
        let mut house = House::new();
        house.put(&ten_days());
        house.run(HOUR);
        house.set_clock(YEAR_MS);
        house.start();
        assert_eq!(house.run(HOUR * 23), 0);
        assert!(house.run(HOUR * 2) >= 4);
        // Without its memory (an older Belfry had none) it is as careful.
        let mut house = House::new();
        house.put(&ten_days());
        house.open = None;
        std::fs::remove_file(house.folder.path().join(FILE)).unwrap();
        house.set_clock(YEAR_MS);
        house.start();
        assert_eq!(house.run(HOUR * 23), 0);
        assert!(house.run(HOUR * 2) >= 4);
    }

    #[test]
    fn what_was_there_before_an_engine_is_kept_also_over_restarts() {
        let mut house = House::new();
        house.put(&ten_days());
        house.run(HOUR * 10);
        let before = house.open.as_ref().unwrap().0.stats().block_samples;
        house.with_engine(None);
        assert!(is_first_with_engine(&house.storage));
        for restart in 0..3 {
            house.start();
            assert!(!is_first_with_engine(&house.storage));
            let expired = house.run(HOUR * 24);
            // What came since goes as it should: a block each three hours, kept for six.
            assert!((5..=8).contains(&expired), "{expired} of start {restart}");
        }
        house.open.as_ref().unwrap().0.compact().unwrap();
        house.run(HOUR);
        let left = house.open.as_ref().unwrap().0.stats().block_samples;
        assert!((before..before + 5).contains(&left), "{left} of {before}");
        // Unless the config says how long it is to be kept.
        house.with_engine(Some(HOUR * 24 * 9));
        house.start();
        assert!(house.run(HOUR) > 0);
    }

    #[test]
    fn a_folder_that_had_an_engine_already_has_nothing_from_before_it() {
        let mut house = House::new();
        house.put(&ten_days());
        house.open = None;
        std::fs::remove_file(house.folder.path().join(FILE)).unwrap();
        std::fs::create_dir(house.folder.path().join(QUEUE_FOLDER)).unwrap();
        house.with_engine(None);
        assert!(!is_first_with_engine(&house.storage));
        house.start();
        assert!(house.run(HOUR) > 0);
    }

    #[test]
    fn the_file_says_its_version_one_without_is_read_and_a_newer_one_keeps_rather_than_deletes() {
        let house = House::new();
        let file = house.folder.path().join(FILE);
        let is_version_1 = |bytes: &[u8]| bytes.starts_with(b"{\"version\":1,\"time\":");
        assert!(is_version_1(&std::fs::read(&file).unwrap()));
        let old = br#"{"time":{"judged_ms":5,"clock_ms":7},"before_engine":3}"#;
        std::fs::write(&file, old).unwrap();
        let Found::These(contents) = super::read(&file) else { panic!("it is read") };
        assert_eq!((contents.before_engine, contents.time.as_ref().map(|t| t.clock_ms)), (Some(3), Some(7)));
        super::write(&file, &contents).unwrap();
        assert!(is_version_1(&std::fs::read(&file).unwrap()));

        let mut house = house;
        house.put(&ten_days());
        let time = format!(r#"{{"judged_ms":{},"clock_ms":{}}}"#, T0 + YEAR_MS, T0 + YEAR_MS);
        for (version, goes) in [(2, false), (1, true)] {
            house.open = None;
            house.clocks.wall.store(T0 + YEAR_MS, Ordering::Relaxed);
            std::fs::write(&file, format!(r#"{{"version":{version},"time":{time},"before_engine":null}}"#)).unwrap();
            house.start();
            assert_eq!(house.run(HOUR * 5) > 0, goes, "version {version}");
        }
    }

    #[test]
    fn a_damaged_file_keeps_rather_than_deletes() {
        let mut house = House::new();
        house.put(&ten_days());
        house.open = None;
        std::fs::write(house.folder.path().join(FILE), b"{\"time\": ").unwrap();
        house.with_engine(None);
        house.set_clock(YEAR_MS);
        house.start();
        assert_eq!(house.run(HOUR * 5), 0);
    }
}
