//! What a store is told when it is opened, and why opening can fail.
//!
//! Not here: reading these values from a file (`belfry-config` does).

use std::path::PathBuf;
use std::time::Duration;

/// When data is forced to the platter. `write()` has returned before any acknowledgement under each of them, so
/// `kill -9` never loses an acknowledged sample; the policies differ in what a power loss can take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FsyncPolicy {
    /// Before each acknowledgement: a power loss takes nothing acknowledged.
    Always,
    /// Whenever the driver calls [`crate::Store::sync`], 100 ms after an acknowledgement by intent: a power loss takes the
    /// last interval. What came through `Writer::append_now` was acknowledged to nobody outside: of it, a second.
    #[default]
    Interval,
    /// Only when a segment or a block is finished: a power loss takes what the operating system had not written.
    Never,
}

/// Where samples are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// In files below this folder, which is made if it is missing.
    Folder(PathBuf),
    /// In memory: nothing survives the process. For tests and trials.
    Memory,
}

/// A step of the downsampling policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Downsample {
    /// Blocks of which every sample is older become coarser.
    pub after: Duration,
    /// To segments of this length; at least a millisecond.
    pub resolution: Duration,
}

impl Downsample {
    /// The resolution in milliseconds.
    pub fn resolution_ms(&self) -> i64 {
        (self.resolution.as_millis() as i64).max(1)
    }
}

/// Everything that governs a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// Where.
    pub backend: Backend,
    /// How durable an acknowledgement is.
    pub fsync: FsyncPolicy,
    /// Samples older than this may be deleted; `None` keeps all.
    pub retention: Option<Duration>,
    /// The oldest blocks are deleted while everything together is larger; `None` and 0 for no bound.
    pub retention_bytes: Option<u64>,
    /// How far behind its series' newest sample a sample may come.
    pub out_of_order_window: Duration,
    /// Series open at a time; further new ones are shed.
    pub series_max: u64,
    /// What becomes of old blocks; both `after` and `resolution` ascend, each resolution is a multiple of the one before.
    pub downsample: Vec<Downsample>,
    /// The head is written to a block this often.
    pub block_span: Duration,
    /// The head is also written to a block when the write-ahead log has grown to this, or to a quarter of
    /// [`StoreConfig::retention_bytes`] where that is less (but not below [`WAL_BYTES_MAX_FLOOR`]): else the log alone could
    /// be more than everything may be, and every block would go.
    pub wal_bytes_max: u64,
}

/// Default for [`StoreConfig::series_max`]: about 400 MB of memory.
pub const SERIES_MAX_DEFAULT: u64 = 1_000_000;
/// Default for [`StoreConfig::block_span`]: at 10 s, 180 samples a series wait in memory.
pub const BLOCK_SPAN_DEFAULT: Duration = Duration::from_secs(30 * 60);
/// Default for [`StoreConfig::wal_bytes_max`]: bounds the time that replay takes, to about two seconds.
pub const WAL_BYTES_MAX_DEFAULT: u64 = 256 << 20;

/// No bound of all bytes makes [`StoreConfig::wal_bytes_max`] less than this: many small blocks would be written.
pub const WAL_BYTES_MAX_FLOOR: u64 = 4 << 20;
/// The part of [`StoreConfig::retention_bytes`] that the log may take.
const WAL_PART: u64 = 4;

/// A sample may be so far ahead of the clock, where the store was given one ([`crate::Store::refuse_ahead_of`]): as much
/// as Prometheus allows.
pub const AHEAD_MAX: Duration = Duration::from_secs(10 * 60);

impl StoreConfig {
    /// The defaults, in memory.
    pub fn memory() -> Self {
        Self {
            backend: Backend::Memory,
            fsync: FsyncPolicy::default(),
            retention: Some(Duration::from_secs(15 * 86_400)),
            retention_bytes: None,
            out_of_order_window: Duration::from_secs(3600),
            series_max: SERIES_MAX_DEFAULT,
            downsample: Vec::new(),
            block_span: BLOCK_SPAN_DEFAULT,
            wal_bytes_max: WAL_BYTES_MAX_DEFAULT,
        }
    }

    /// The defaults, in a folder.
    pub fn folder(path: impl Into<PathBuf>) -> Self {
        Self { backend: Backend::Folder(path.into()), ..Self::memory() }
    }

    /// How much the log may grow where everything together is bounded.
    pub(crate) fn wal_bytes_bound(&self) -> u64 {
        let part = self.retention_bytes.map_or(u64::MAX, |all| (all / WAL_PART).max(WAL_BYTES_MAX_FLOOR));
        self.wal_bytes_max.min(part)
    }
}

/// Why a store cannot be opened. The variants differ in what the user must do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Give the folder to this user, or name another.
    #[error("the data folder {path} cannot be written to: {source}")]
    NotWritable {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Stop the other process, or name another folder.
    #[error("the data folder {path} is in use by another Belfry{}",
        pid.map(|p| format!(" (process {p})")).unwrap_or_default())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// The process that holds it, where known.
        pid: Option<u32>,
    },
    /// Run the Belfry that wrote it, or a newer one.
    #[error("{file} has format version {found}, this Belfry reads up to {known}")]
    Version {
        /// The file.
        file: PathBuf,
        /// What it says.
        found: u32,
        /// What this program knows.
        known: u32,
    },
    /// Allow the process more open files.
    #[error("too many files are open: {file} cannot be opened: {source}")]
    TooManyFiles {
        /// The first that could not be opened.
        file: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Look at the disk.
    #[error("cannot read the data folder: {file}: {source}")]
    Io {
        /// The file or folder.
        file: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

impl OpenError {
    /// How to mend it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::NotWritable { .. } => "check its owner and mode, or set `[storage] path` or --data",
            Self::InUse { .. } => "stop it, or set `[storage] path` or --data",
            Self::Version { .. } => "run a newer Belfry, or set `[storage] path` or --data",
            Self::TooManyFiles { .. } => {
                "each block is an open file: raise the limit (`ulimit -n`, systemd's LimitNOFILE)"
            }
            Self::Io { .. } => "look at the disk and the folder's owner and mode",
        }
    }
}

/// A place where stored bytes are not what was written. The rest is readable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// What is wrong, for people.
    pub what: String,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is damaged at byte {}: {}", self.file.display(), self.offset, self.what)
    }
}

/// What opening found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Samples that were brought back from the write-ahead log.
    pub samples: u64,
    /// Their series.
    pub series: u64,
    /// Segments of the write-ahead log that were read.
    pub segments: u64,
    /// Bytes of a torn tail that were cut off: the write that a crash interrupted, never acknowledged as durable.
    pub torn_bytes: u64,
    /// Blocks that were opened.
    pub blocks: u64,
    /// What could not be read. Each is worth an error in the log.
    pub damage: Vec<Damage>,
    /// What earlier starts found lost of the write-ahead log, and this one cannot see any more, for people.
    pub lost_before: Vec<String>,
}
