//! The disk behind a small trait, so that tests can make it fail at any operation.
//!
//! Invariant: nothing in the store touches files but through [`Disk`].
//! Not here: what the files mean.

mod real;
pub mod sim;

use std::io;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

pub use real::RealDisk;
pub use sim::SimDisk;

/// The bytes of a file, mapped or held.
#[derive(Clone)]
pub enum FileBytes {
    /// In memory.
    Held(Arc<Vec<u8>>),
    /// Mapped from a file that nobody changes any more.
    Mapped(Arc<real::Mapping>),
}

impl Deref for FileBytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Self::Held(b) => b,
            Self::Mapped(m) => m.bytes(),
        }
    }
}

/// Whether the data folder is ours.
pub enum Lock {
    /// As long as this value lives.
    Held(Box<dyn Send + Sync>),
    /// Another process has it.
    InUse {
        /// Which, where known.
        pid: Option<u32>,
    },
}

/// A file that is being written. Appends go to its end.
pub trait DiskFile: Send + Sync {
    /// Appends all bytes. After an error the file may hold a part of them.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;
    /// Returns once what was appended would survive a power loss.
    fn sync(&self) -> io::Result<()>;
    /// Cuts the file to `len` bytes.
    fn truncate(&self, len: u64) -> io::Result<()>;
}

/// Folders and files.
pub trait Disk: Send + Sync {
    /// Makes the folder and those above it.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Names of the files in a folder, in order.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Makes an empty file to append to; an old one of that name is gone.
    fn create(&self, file: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a file that is there, to append to or to cut.
    fn open_append(&self, file: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// The bytes of a finished file. It must not change while they are held; it may be removed.
    fn read(&self, file: &Path) -> io::Result<FileBytes>;
    /// Puts `from` in the place of `to`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, file: &Path) -> io::Result<()>;
    /// Returns once the names in the folder would survive a power loss.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes the folder for this process by a lock on `file`.
    fn lock(&self, file: &Path) -> io::Result<Lock>;
}
