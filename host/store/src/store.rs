//! The store as others hold it: opening, state, counters.
//!
//! Invariant: of the locks `maintenance`, `imports`, `changes`, `commit` and `state` whoever takes several takes them in this
//! order; whoever holds `state` does no I/O but reads of blocks.
//! Not here: how a batch is committed (`append`), reading (`read`), blocks (`maintain`), retention (`expire`).

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{JoinHandle, Thread};

use belfry_model::{Clock, Labels, SeriesRef, TimestampMs};
use parking_lot::{Mutex, RwLock};
use tokio::sync::mpsc;

use crate::append::{self, Commit, Job};
use crate::block::{Block, Held, Lost, Room, folder};
use crate::compact::BlockWork;
use crate::config::{Backend, Damage, FsyncPolicy, OpenError, Recovery, StoreConfig};
use crate::disk::{Disk, Lock, SimDisk};
use crate::expire::Apart;
use crate::head::Head;
use crate::heap;
use crate::lost::Losses;
use crate::maintain::Pending;
use crate::replay::{covered, drop_replayed, replay};
use crate::wal::{Wal, Written};

pub(crate) const WAL_DIR: &str = "wal";
/// What [`Shared::note`] calls a write of [`Store::backfill`].
pub(crate) const IMPORT: &str = "an import";
/// What [`Shared::note`] calls a write of [`Store::compact`].
pub(crate) const MERGE: &str = "a merged block";
/// What cannot be done while samples are written all the same, by what [`Shared::note`] calls it.
const BESIDE: [(&str, &str); 5] = [
    (LOST_NOTE, "what was lost of the log cannot be written down"),
    (MERGE, "blocks cannot be merged"),
    (IMPORT, "an import cannot be written"),
    ("a deletion", "a deletion cannot be written down"),
    (UNWANTED, "a file that is to go cannot be deleted"),
];
/// What [`Shared::note`] calls a write of [`Shared::save_lost_log`].
pub(crate) const LOST_NOTE: &str = "the note of what was lost";
pub(crate) const UNWANTED: &str = "a file that is to go";
pub(crate) const BLOCKS_DIR: &str = "blocks";
pub(crate) const LOCK_FILE: &str = "LOCK";

/// Whether the store can take samples.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// All is well.
    #[default]
    Ok,
    /// Samples are written, but upkeep or an import is not: says what, and why.
    Degraded(String),
    /// Writes are refused until there is room; everything acknowledged is kept and can be read.
    DiskFull(String),
    /// The disk refuses; says what and where.
    Failing(String),
}

/// Numbers for `/metrics` and the status page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Open series.
    pub series: u64,
    /// Distinct strings of the open series' labels.
    pub symbols: u64,
    /// Samples accepted since the start.
    pub appended: u64,
    /// Samples refused because they were too old.
    pub rejected_too_old: u64,
    /// Samples refused because another value stands at their time.
    pub rejected_duplicate: u64,
    /// Samples of series that had been forgotten.
    pub rejected_unknown_series: u64,
    /// Samples refused because they were too far ahead of the clock.
    pub rejected_too_far_ahead: u64,
    /// New series refused because of the limit.
    pub shed_series: u64,
    /// Metadata refused because of its limit.
    pub shed_metadata: u64,
    /// Bytes of the write-ahead log.
    pub wal_bytes: u64,
    /// Files of the write-ahead log.
    pub wal_segments: u64,
    /// Blocks.
    pub blocks: u64,
    /// Bytes of the blocks, and of those that could not be opened.
    pub block_bytes: u64,
    /// Samples in blocks.
    pub block_samples: u64,
    /// Compressed chunks in memory.
    pub head_chunks: u64,
    /// Bytes on disk in all.
    pub bytes_on_disk: u64,
    /// Blocks written from the head.
    pub flushes: u64,
    /// Merges of blocks.
    pub compactions: u64,
    /// Blocks by their resolution in milliseconds; 0 for those that have every sample.
    pub blocks_by_resolution: BTreeMap<i64, u64>,
    /// Blocks that were downsampled.
    pub downsampled: u64,
    /// Blocks that could not be downsampled; it is tried again.
    pub downsample_failed: u64,
    /// Blocks deleted by retention.
    pub blocks_expired: u64,
    /// Series forgotten because nothing came for them.
    pub series_forgotten: u64,
    /// How long the last [`Store::maintain`] took, as its driver measured; see [`Store::note_maintain`].
    pub last_maintain_micros: u64,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub appended: AtomicU64,
    pub too_old: AtomicU64,
    pub duplicate: AtomicU64,
    pub unknown_series: AtomicU64,
    pub too_far_ahead: AtomicU64,
    pub imports_failed: AtomicU64,
    pub shed_series: AtomicU64,
    pub shed_metadata: AtomicU64,
    pub flushes: AtomicU64,
    pub compactions: AtomicU64,
    pub downsampled: AtomicU64,
    pub downsample_failed: AtomicU64,
    pub blocks_expired: AtomicU64,
    pub series_forgotten: AtomicU64,
    pub last_maintain_micros: AtomicU64,
    /// Copies, so that asking does not wait for a sync.
    pub wal_bytes: AtomicU64,
    pub wal_segments: AtomicU64,
}

/// What readers see: one lock, so that a read is a consistent snapshot.
#[derive(Default)]
pub(crate) struct State {
    pub head: Head,
    /// In the order of their ranks.
    pub blocks: Vec<Arc<Block>>,
    /// Blocks that could not be opened.
    pub lost: Vec<Lost>,
    /// What the log lacks, or lacked when it was read.
    pub lost_log: Losses,
    /// Of the blocks' indexes.
    pub room: Arc<Room<Held>>,
}

pub(crate) struct Shared {
    pub config: StoreConfig,
    pub disk: Arc<dyn Disk>,
    pub blocks_dir: PathBuf,
    pub state: RwLock<State>,
    pub commit: Mutex<Commit>,
    pub counters: Counters,
    /// What cannot be written at the moment, by what it is.
    pub health: Mutex<BTreeMap<&'static str, Health>>,
    /// What samples may not be far ahead of.
    pub clock: OnceLock<Arc<dyn Clock>>,
    /// Something was written that is not synced yet.
    pub dirty: AtomicBool,
    /// Something was committed that is not written yet.
    pub unwritten: AtomicBool,
    /// Blocks cannot be written, and as much waits for one as may.
    pub is_full: AtomicBool,
    /// Some of what is not synced somebody was told of.
    owes_sync: AtomicBool,
    /// Waits for that.
    syncer: OnceLock<Thread>,
    pub next_block: AtomicU64,
    pub maintenance: Mutex<Pending>,
    pub block_work: BlockWork,
    /// What another retention is for.
    pub kept_apart: Mutex<Option<Apart>>,
    _lock: Option<Box<dyn Send + Sync>>,
}

/// The time-series store. Dropping it ends the writer thread and syncs.
pub struct Store {
    pub(crate) shared: Arc<Shared>,
    pub(crate) queue: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Store {
    /// Opens the store, bringing back what was acknowledged. With [`Backend::Memory`] the `disk` is not touched.
    pub fn open(
        mut config: StoreConfig,
        disk: Arc<dyn Disk>,
        now: TimestampMs,
    ) -> Result<(Arc<Self>, Recovery), OpenError> {
        config.retention_bytes = config.retention_bytes.filter(|max| *max > 0);
        let mut recovery = Recovery::default();
        let mut state = State::default();
        let (disk, root) = match &config.backend {
            Backend::Folder(path) => (disk, path.clone()),
            Backend::Memory => (Arc::new(SimDisk::default()) as Arc<dyn Disk>, PathBuf::from("/")),
        };
        let (wal_dir, blocks_dir) = (root.join(WAL_DIR), root.join(BLOCKS_DIR));
        let not_writable = |source| OpenError::NotWritable { path: root.clone(), source };
        for dir in [&root, &wal_dir, &blocks_dir] {
            disk.create_dir_all(dir).map_err(not_writable)?;
        }
        let lock = match disk.lock(&root.join(LOCK_FILE)).map_err(not_writable)? {
            Lock::Held(lock) => lock,
            Lock::InUse { pid } => return Err(OpenError::InUse { path: root, pid }),
        };
        disk.sync_dir(&root).map_err(not_writable)?;
        let found = folder::open_all(&*disk, &blocks_dir, &mut recovery)?;
        (state.blocks, state.lost) = (found.blocks, found.lost);
        state.blocks.iter().for_each(|b| b.share(&state.room));
        state.head.set_blocks(&state.blocks);
        let mut wal = None;
        let mut generation = 1;
        if config.backend != Backend::Memory {
            let covered = covered(&state.blocks);
            let mut known = Losses::read(&*disk, &wal_dir, &mut recovery)?;
            let (replayed, lost) = replay(&*disk, &wal_dir, &state.blocks, now, &mut state.head, &mut recovery)?;
            recovery.lost_before = known.others(&lost);
            known.add(lost);
            state.lost_log = known;
            let log = (covered, &replayed[..]);
            drop_replayed(&*disk, &blocks_dir, &mut state.blocks, log, &mut recovery)?;
            state.head.set_blocks(&state.blocks);
            generation = replayed.last().map_or(0, |s| s.generation).max(covered) + 1;
            let sync = config.fsync != FsyncPolicy::Never;
            wal = Some(Wal::new(disk.clone(), wal_dir, replayed, generation, sync));
        }
        recovery.series = state.head.len() as u64;
        for d in &recovery.damage {
            tracing::error!(file = %d.file.display(), offset = d.offset, "damaged data, the rest is readable: {}", d.what);
        }
        for what in &recovery.lost_before {
            tracing::warn!("an earlier start found that a part of the log was lost: {what}");
        }
        if recovery.torn_bytes > 0 {
            tracing::warn!(bytes = recovery.torn_bytes, "cut a torn tail: the write that was interrupted");
        }
        let block_work = BlockWork::new(&recovery, &state.lost_log);
        let shared = Arc::new(Shared {
            disk,
            blocks_dir,
            state: RwLock::new(state),
            commit: Mutex::new(Commit::new(wal, generation)),
            counters: Counters::default(),
            health: Mutex::default(),
            clock: OnceLock::new(),
            dirty: AtomicBool::new(false),
            unwritten: AtomicBool::new(false),
            is_full: AtomicBool::new(false),
            owes_sync: AtomicBool::new(false),
            syncer: OnceLock::new(),
            next_block: AtomicU64::new(found.next),
            maintenance: Mutex::new(Pending::new(now)),
            block_work,
            kept_apart: Mutex::default(),
            _lock: Some(lock),
            config,
        });
        shared.note_wal(&shared.commit.lock());
        // Where that fails nothing of the log is deleted, and it is tried again.
        shared.note(LOST_NOTE, &shared.save_lost_log());
        heap::give_back_after(shared.counters.wal_bytes.load(Ordering::Relaxed));
        let (sender, receiver) = mpsc::channel(append::QUEUE_BATCHES_MAX);
        let writer = shared.clone();
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || append::run(&writer, receiver))
            .map_err(|source| OpenError::Io { file: root, source })?;
        let store = Self { shared, queue: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)) };
        tracing::info!(series = recovery.series, samples = recovery.samples, blocks = recovery.blocks, at = %now, "store opened");
        Ok((Arc::new(store), recovery))
    }

    /// From now on samples more than [`crate::config::AHEAD_MAX`] ahead of `clock` are refused and counted: one from next
    /// year would make all right ones of its series too old until then. So are those that are older than the retention,
    /// as imports refuse them. Without a clock every time from 1970 on is taken. The first clock stays.
    pub fn refuse_ahead_of(&self, clock: Arc<dyn Clock>) {
        let _ = self.shared.clock.set(clock);
    }

    /// Can it take samples? Of several troubles the one that keeps it from that.
    pub fn health(&self) -> Health {
        let health = self.shared.health.lock();
        let worst = health.values().find(|h| !matches!(h, Health::Degraded(_))).or(health.values().next());
        worst.cloned().unwrap_or_default()
    }

    /// What on the disk is not what was written, found on opening or met since: names the first file, and says how many
    /// more places there are. Samples are taken and the rest can be read all the same.
    pub fn damage(&self) -> Option<String> {
        self.shared.damage()
    }

    /// Reads every block whole, each chunk too, and says what in them is not as it was written; of one that could not be
    /// opened [`Store::open`] has said so. Takes as long as reading all files and decoding all samples.
    pub fn verify(&self) -> Vec<Damage> {
        let blocks = self.shared.state.read().blocks.clone();
        let mut found = Vec::new();
        blocks.iter().for_each(|b| b.verify(&mut found));
        found
    }

    /// Makes what was written durable, if anything was. Blocks for as long as the disk takes: call it from a thread
    /// that may, under [`FsyncPolicy::Interval`] within 100 ms of [`Store::owes_sync`] and every second in any case. Under
    /// [`FsyncPolicy::Never`] it does nothing.
    pub fn sync(&self) -> io::Result<()> {
        if self.shared.config.fsync == FsyncPolicy::Never { Ok(()) } else { self.shared.sync() }
    }

    /// Is a batch unsynced that came through [`Writer::append`]? What Belfry collected itself
    /// ([`Writer::append_now`]) is promised to nobody, and can wait.
    pub fn owes_sync(&self) -> bool {
        self.shared.owes_sync.load(Ordering::Acquire)
    }

    /// `thread` is unparked whenever [`Store::owes_sync`] becomes true. The first one stays.
    pub fn wake_to_sync(&self, thread: Thread) {
        let _ = self.shared.syncer.set(thread);
    }

    /// The labels of open series, in the order of `refs`; `None` for those that are forgotten.
    pub fn labels_of(&self, refs: &[SeriesRef]) -> Vec<Option<Labels>> {
        let state = self.shared.state.read();
        refs.iter().map(|r| state.head.resolve(*r).map(|id| state.head.index.labels(id))).collect()
    }

    /// Refuses further batches, finishes those that wait, and syncs. Calling it twice is harmless.
    pub fn close(&self) {
        self.stop_compaction();
        self.queue.lock().take();
        if let Some(thread) = self.thread.lock().take() {
            // A panic of the writer thread was already reported by its panic hook; there is nothing to add.
            let _ = thread.join();
        }
        if let Err(e) = self.shared.sync() {
            tracing::error!("the last sync failed: {e}");
        }
    }

    /// Keeps how long a [`Store::maintain`] took, for [`Store::stats`]: the store has no clock.
    pub fn note_maintain(&self, took: std::time::Duration) {
        self.shared.counters.last_maintain_micros.store(took.as_micros() as u64, Ordering::Relaxed);
    }

    /// Numbers for `/metrics`.
    pub fn stats(&self) -> Stats {
        let resolutions = self.shared.resolutions();
        let state = self.shared.state.read();
        let c = &self.shared.counters;
        let get = |a: &AtomicU64| a.load(Ordering::Relaxed);
        let (wal_bytes, wal_segments) = (get(&c.wal_bytes), get(&c.wal_segments));
        let lost_bytes: u64 = state.lost.iter().map(|l| l.bytes).sum();
        let block_bytes = lost_bytes + state.blocks.iter().map(|b| b.bytes()).sum::<u64>();
        Stats {
            series: state.head.len() as u64,
            symbols: state.head.index.symbols() as u64,
            appended: get(&c.appended),
            rejected_too_old: get(&c.too_old),
            rejected_duplicate: get(&c.duplicate),
            rejected_unknown_series: get(&c.unknown_series),
            rejected_too_far_ahead: get(&c.too_far_ahead),
            shed_series: get(&c.shed_series),
            shed_metadata: get(&c.shed_metadata),
            wal_bytes,
            wal_segments,
            blocks: state.blocks.len() as u64,
            block_bytes,
            block_samples: state.blocks.iter().map(|b| b.meta().samples).sum(),
            head_chunks: state.head.chunks() as u64,
            bytes_on_disk: wal_bytes + block_bytes,
            flushes: get(&c.flushes),
            compactions: get(&c.compactions),
            blocks_by_resolution: resolutions,
            downsampled: get(&c.downsampled),
            downsample_failed: get(&c.downsample_failed),
            blocks_expired: get(&c.blocks_expired),
            series_forgotten: get(&c.series_forgotten),
            last_maintain_micros: get(&c.last_maintain_micros),
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    /// Notes how an attempt to write `what` went.
    pub fn note(&self, what: &'static str, outcome: &io::Result<()>) {
        let mut health = self.health.lock();
        let Err(e) = outcome else {
            if health.remove(what).is_some() {
                tracing::info!("{what} is written again");
            }
            return;
        };
        let beside = BESIDE.iter().find(|(of, _)| *of == what).map(|(_, cannot)| cannot);
        let now = match (beside, is_full(e)) {
            (Some(cannot), true) => Health::Degraded(format!("{cannot}: no room ({e})")),
            (Some(cannot), false) => Health::Degraded(format!("{cannot}: {e}")),
            (None, true) => Health::DiskFull(format!("{what}: {e}")),
            (None, false) => Health::Failing(format!("{what}: {e}")),
        };
        if health.get(what) != Some(&now) {
            tracing::error!("cannot write {what}: {e}");
            health.insert(what, now);
        }
    }

    /// An import that failed is not tried again by us, so no success of it need ever come: when none failed since `seen`,
    /// and upkeep could write what it had to, its failure is over. Answers what to give the next time.
    pub fn settle_imports(&self, seen: u64) -> u64 {
        let failed = self.counters.imports_failed.load(Ordering::Relaxed);
        if failed == seen && self.health.lock().remove(IMPORT).is_some() {
            tracing::info!("no import has failed for a while");
        }
        failed
    }

    /// Keeps the size of the log for [`Store::stats`].
    pub fn note_wal(&self, commit: &Commit) {
        let (bytes, segments) = commit.wal.as_ref().map_or((0, 0), |w| (w.bytes(), w.segments() as u64));
        self.counters.wal_bytes.store(bytes, Ordering::Relaxed);
        self.counters.wal_segments.store(segments, Ordering::Relaxed);
    }

    /// Somebody is told that what was written is kept.
    pub fn owe_sync(&self) {
        if !self.owes_sync.swap(true, Ordering::AcqRel)
            && let Some(thread) = self.syncer.get()
        {
            thread.unpark();
        }
    }

    pub fn sync(&self) -> io::Result<()> {
        self.owes_sync.store(false, Ordering::Release);
        if !self.dirty.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let (outcome, written) = {
            let mut commit = self.commit.lock();
            (commit.write(), commit.wal.as_ref().and_then(Wal::written))
        };
        if outcome.is_err() {
            // It stays where it is, and the health says so; what was written before is synced all the same.
            self.dirty.store(true, Ordering::Release);
            self.note("the write-ahead log", &outcome);
        }
        // Without the lock: appends go on while the disk works. A segment that ends meanwhile is synced by its end.
        let outcome = written.as_ref().map_or(Ok(()), Written::sync);
        if outcome.is_ok() {
            self.commit.lock().synced(written.as_ref());
        } else {
            self.dirty.store(true, Ordering::Release);
            self.owe_sync();
            self.commit.lock().sync_failed();
            self.note("the write-ahead log", &outcome);
        }
        outcome
    }
}

/// Out of space or quota.
pub(crate) fn is_full(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}
