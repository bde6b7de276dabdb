//! What can go wrong, split by what the caller does next.

use std::path::PathBuf;

use rusqlite::ErrorCode;

/// The state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Grant the rights, or choose another folder.
    #[error("cannot write {path}: {reason}")]
    NotWritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// Run the newer Belfry, or restore a backup that this one made.
    #[error("{path} was written by a newer belfry (format {found}, this one knows {known})")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest that this program knows.
        known: u32,
    },
    /// A start takes over what can be read of it. When that fails: make room, restore a backup, or move the file away to
    /// start without history.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        reason: String,
    },
    /// Stop the other process.
    #[error("{path} is in use by another process")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// Something else.
    #[error("cannot open {path}: {reason}")]
    Other {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        reason: String,
    },
}

impl OpenError {
    /// How to mend it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::NotWritable { .. } => "the folder must exist and belong to the user that runs belfry",
            Self::Newer { .. } => "run that version again, or restore a backup of this one",
            Self::Damaged { .. } => {
                "a start puts it aside and takes over what can be read of it, for which there must be room; for all of it \
                 restore a backup"
            }
            Self::InUse { .. } => "stop the other belfry, or give this one a data folder of its own",
            Self::Other { .. } => "look at the disk and the folder's owner and mode",
        }
    }

    pub(crate) fn from_sqlite(path: &std::path::Path, error: &rusqlite::Error) -> Self {
        let (path, reason) = (path.to_owned(), error.to_string());
        match error.sqlite_error_code() {
            Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                Self::NotWritable { path, reason }
            }
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Self::Damaged { path, reason },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::InUse { path },
            _ => Self::Other { path, reason },
        }
    }
}

/// A read or write failed. A write that failed has changed nothing.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum StateError {
    /// The caller keeps too much; delete something or raise the limit.
    #[error("plugin `{plugin}` would keep {bytes} bytes; its limit is {limit}")]
    KvFull {
        /// Whose.
        plugin: String,
        /// With the new value.
        bytes: usize,
        /// The bound.
        limit: usize,
    },
    /// The caller must choose another key.
    #[error("a key has {bytes} bytes; at most {limit} are allowed")]
    KeyTooLong {
        /// Of the key.
        bytes: usize,
        /// The bound.
        limit: usize,
    },
    /// Once there is room it can be tried again.
    #[error("the disk is full: {0}")]
    DiskFull(String),
    /// The program is shutting down.
    #[error("the state is closed")]
    Closed,
    /// The disk refuses: look at it. It is tried again.
    #[error("the state's file cannot be written: {0}")]
    Refused(String),
    /// Start again: what stands there is not what was written, and a start takes over what can be read of it.
    #[error("the state's file is damaged: {0} (restart Belfry: what can be read of it is taken over to a new file)")]
    Damaged(String),
    /// A fault of this program, or of another that holds the file.
    #[error("state: {0}")]
    Failed(String),
}

impl StateError {
    /// Does it say something of the file, and not of what was to be kept in it?
    pub(crate) fn is_of_the_file(&self) -> bool {
        matches!(self, Self::DiskFull(_) | Self::Refused(_) | Self::Damaged(_))
    }
}

impl From<rusqlite::Error> for StateError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::DiskFull(error.to_string()),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(error.to_string()),
            Some(ErrorCode::SystemIoFailure | ErrorCode::ReadOnly | ErrorCode::CannotOpen) => {
                Self::Refused(error.to_string())
            }
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl From<serde_json::Error> for StateError {
    fn from(error: serde_json::Error) -> Self {
        Self::Failed(error.to_string())
    }
}
