//! Opening the file and asking of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::error::{OpenError, StateError};
use crate::migrate::{MigrateError, SCHEMA_VERSION, migrate};
use crate::salvage::{self, Salvaged};
use crate::sound;
use crate::worker::{Durability, READERS, Workers};

/// Another process (a backup tool, say) may hold the file for so long.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Compiled statements kept per connection: all of this crate's, with room.
const STATEMENTS_KEPT: usize = 64;

/// The state: cheap to clone, shared by all who keep something. Closed when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct State {
    pub(crate) workers: Arc<Workers>,
    path: Option<Arc<Path>>,
    salvaged: Option<Arc<Salvaged>>,
}

/// What the state has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateStats {
    /// Writes asked for.
    pub writes: u64,
    /// Commits they were made in.
    pub commits: u64,
    /// Reads asked for.
    pub reads: u64,
    /// Reads and writes that failed.
    pub failures: u64,
    /// Writes that wait now.
    pub waiting: usize,
    /// Bytes of the file and its log; 0 in memory.
    pub bytes: u64,
}

impl State {
    /// Opens the file, makes it if it is not there, and brings it to the newest format. The folder must exist. A damaged
    /// file is put aside, and what can be read of it taken over into a new one ([`State::salvaged`]).
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let resumed = salvage::resume(path)?;
        let (mut state, salvaged) = match Self::open_sound(path) {
            Err(OpenError::Damaged { reason, .. }) => {
                // A large one takes a while.
                tracing::warn!(%reason, "{} is damaged: what can be read of it is taken over", path.display());
                let salvaged = salvage::salvage(path, reason)?;
                (Self::open_sound(path)?, Some(salvaged))
            }
            outcome => (outcome?, resumed.or_else(|| salvage::untold(path))),
        };
        salvage::known(path);
        state.salvaged = salvaged.map(Arc::new);
        Ok(state)
    }

    fn open_sound(path: &Path) -> Result<Self, OpenError> {
        let fail = |e: rusqlite::Error| OpenError::from_sqlite(path, &e);
        sound::look_at(path)?;
        let mut writer = Connection::open(path).map_err(fail)?;
        prepare(&writer).map_err(fail)?;
        // A read-only folder shows only here, where WAL mode makes files of its own.
        writer.pragma_update(None, "journal_mode", "WAL").map_err(fail)?;
        writer.pragma_update(None, "synchronous", "NORMAL").map_err(fail)?;
        migrate_at(&mut writer, path)?;
        let mut readers = Vec::with_capacity(READERS);
        for _ in 0..READERS {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let reader = Connection::open_with_flags(path, flags).map_err(fail)?;
            prepare(&reader).map_err(fail)?;
            readers.push(reader);
        }
        Self::start(writer, readers, path)
    }

    /// Says what [`State::open`] would find of the file, and changes nothing: neither the file nor what stands beside it.
    /// What is damaged does not keep it from being opened.
    pub fn check(path: impl AsRef<Path>) -> Result<(), OpenError> {
        let path = path.as_ref();
        let not_writable = |reason: String| OpenError::NotWritable { path: path.to_owned(), reason };
        match path.metadata() {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return sound::look_only(path),
            Ok(found) if found.is_dir() => return Err(not_writable("it is a folder".to_owned())),
            // Whether it can be written to shows when it is opened so; nothing is written.
            found => found
                .and_then(|_| std::fs::OpenOptions::new().read(true).append(true).open(path))
                .map_err(|e| not_writable(e.to_string()))?,
        };
        sound::look_only(path)
    }

    /// Keeps everything in memory, until it is dropped: `[storage] backend = "memory"`.
    pub fn in_memory() -> Result<Self, OpenError> {
        let path = Path::new(":memory:");
        let fail = |e: rusqlite::Error| OpenError::from_sqlite(path, &e);
        let mut writer = Connection::open_in_memory().map_err(fail)?;
        prepare(&writer).map_err(fail)?;
        migrate_at(&mut writer, path)?;
        let mut state = Self::start(writer, Vec::new(), path)?;
        state.path = None;
        Ok(state)
    }

    fn start(writer: Connection, readers: Vec<Connection>, path: &Path) -> Result<Self, OpenError> {
        let workers = Workers::start(writer, readers, path.display().to_string())
            .map_err(|e| OpenError::Other { path: path.to_owned(), reason: e.to_string() })?;
        Ok(Self { workers: Arc::new(workers), path: Some(path.into()), salvaged: None })
    }

    /// What became of a damaged file when this one was opened.
    pub fn salvaged(&self) -> Option<&Salvaged> {
        self.salvaged.as_deref()
    }

    /// Counters and levels.
    pub fn stats(&self) -> StateStats {
        let counters = &self.workers.counters;
        let bytes_of = |suffix: &str| {
            let path = self.path.as_ref()?;
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            std::fs::metadata(PathBuf::from(name)).ok().map(|m| m.len())
        };
        StateStats {
            writes: counters.writes.load(Ordering::Relaxed),
            commits: counters.commits.load(Ordering::Relaxed),
            reads: counters.reads.load(Ordering::Relaxed),
            failures: counters.failures.load(Ordering::Relaxed),
            waiting: self.workers.waiting_writes(),
            bytes: bytes_of("").unwrap_or(0) + bytes_of("-wal").unwrap_or(0),
        }
    }

    /// Answers when the database does, for `/ready`: reads, and tells how the last commit failed if it did. What may
    /// have passed, as a full disk, is tried again first.
    pub async fn ping(&self) -> Result<(), StateError> {
        self.workers.read(|c| Ok(c.query_row("SELECT 1", [], |_| Ok(()))?)).await?;
        match self.workers.counters.failing() {
            None => Ok(()),
            // Beside the damage all may be well.
            Some(error @ StateError::Damaged(_)) => Err(self.workers.named(error)),
            Some(_) => self.workers.write(Durability::Process, write_something).await,
        }
    }

    /// What of the file was met that is not what was written, since the start.
    pub fn damage(&self) -> Option<String> {
        let why = self.workers.counters.damage()?;
        Some(self.workers.named(StateError::Damaged(why)).to_string())
    }

    /// Returns when everything asked for before is on the disk; for the end of the program.
    pub async fn flush(&self) -> Result<(), StateError> {
        self.workers.write(Durability::Power, |_| Ok(())).await
    }

    /// For the end of the program: as [`State::flush`], and then all of it stands in the file, and its log is empty. What is
    /// written afterwards is kept as well, in the log.
    pub async fn close(&self) -> Result<(), StateError> {
        self.flush().await?;
        match self.path {
            Some(_) => self.workers.move_log().await,
            None => Ok(()),
        }
    }

    /// Writes a consistent copy while work goes on. `to` appears whole or not at all; what was there is replaced.
    pub async fn backup(&self, to: impl Into<PathBuf>) -> Result<(), StateError> {
        let to = to.into();
        // VACUUM cannot run inside a transaction, so an in-memory database, which has no reader, cannot be copied.
        if self.path.is_none() {
            return Err(StateError::Failed("a state in memory cannot be backed up".into()));
        }
        self.workers.read(move |connection| copy(connection, &to)).await
    }
}

/// Changes nothing, but needs the disk.
fn write_something(connection: &Connection) -> Result<(), StateError> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(connection.pragma_update(None, "user_version", version)?)
}

fn copy(connection: &Connection, to: &Path) -> Result<(), StateError> {
    let io = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::StorageFull => StateError::DiskFull(e.to_string()),
        _ => StateError::Failed(format!("{}: {e}", to.display())),
    };
    let mut partial = to.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    match std::fs::remove_file(&partial) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(io(e)),
        _ => {}
    }
    let name = partial.to_str().ok_or_else(|| StateError::Failed("the name of a backup must be UTF-8".into()))?;
    let made = connection.execute("VACUUM INTO ?1", [name]).map_err(|e| match StateError::from(e) {
        // Of the copy, not of the state's own file.
        StateError::Refused(why) => StateError::Failed(why),
        other => other,
    });
    let whole = made.and_then(|_| {
        std::fs::File::open(&partial).and_then(|f| f.sync_all()).map_err(io)?;
        std::fs::rename(&partial, to).map_err(io)
    });
    if let Err(error) = whole {
        // Best effort: it is removed before the next one is made, too.
        let _ = std::fs::remove_file(&partial);
        return Err(error);
    }
    if let Some(folder) = to.parent().filter(|p| !p.as_os_str().is_empty()) {
        std::fs::File::open(folder).and_then(|f| f.sync_all()).map_err(io)?;
    }
    Ok(())
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    Ok(())
}

fn migrate_at(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    migrate(connection).map_err(|error| match error {
        MigrateError::Newer { found } => OpenError::Newer { path: path.to_owned(), found, known: SCHEMA_VERSION },
        // A step that the file's tables do not fit was not written by the steps before it.
        MigrateError::Sqlite(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::Unknown) => {
            OpenError::Damaged { path: path.to_owned(), reason: error.to_string() }
        }
        MigrateError::Sqlite(error) => OpenError::from_sqlite(path, &error),
    })
}
