//! The disk behind a small trait, so that tests can make it fail at any operation.
//!
//! Invariant: nothing in the store touches files but through [`Disk`].
//! Not here: what the files mean.

mod real;
pub mod sim;

use std::io;
use std::path::Path;
use std::sync::Arc;

pub use real::RealDisk;
pub use sim::SimDisk;

/// The bytes of a file.
pub type FileBytes = Arc<Vec<u8>>;

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

/// A finished file that is read in pieces.
///
/// Reads are `pread`, not a memory mapping: where the disk cannot deliver a page, or somebody has cut the file, a read
/// says so and the rest stays readable, whereas touching a mapping would end the process with SIGBUS. A call costs some
/// 300 ns for a chunk of 700 samples.
pub trait DiskRead: Send + Sync {
    /// Its length when it was opened.
    fn size(&self) -> u64;
    /// Fills `into` with the bytes from `offset` on; an error when there are too few.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;
}

/// Is it the medium that does not give back what was written? Trying again does not help then, whereas want of memory or
/// of a permission may pass.
pub(crate) fn is_of_medium(e: &io::Error) -> bool {
    use rustix::io::Errno;
    match Errno::from_io_error(e) {
        Some(Errno::IO | Errno::BADMSG) => true,
        // File systems with checksums of their own.
        #[cfg(target_os = "linux")]
        Some(Errno::UCLEAN) => true,
        _ => false,
    }
}

/// Sectors are read one by one where many at once cannot be.
const SECTOR_BYTES: usize = 4096;
/// After so many sectors that cannot be read the rest is given up: each may take the disk seconds.
const BAD_SECTORS_MAX: usize = 64;

/// What could not be read of a file.
#[derive(Debug)]
pub(crate) struct Holes {
    /// Where the first one begins.
    pub first: u64,
    /// How many bytes in all.
    pub bytes: u64,
    /// What the system said.
    pub why: io::Error,
}

/// Fills `into` with the bytes from `offset` on, with zeros where the medium does not give them.
pub(crate) fn read_around(file: &dyn DiskRead, offset: u64, into: &mut [u8]) -> io::Result<Option<Holes>> {
    match file.read_at(offset, into) {
        Ok(()) => return Ok(None),
        Err(e) if is_of_medium(&e) => {}
        Err(e) => return Err(e),
    }
    let mut holes: Option<Holes> = None;
    let mut bad = 0;
    let mut at = offset;
    for sector in into.chunks_mut(SECTOR_BYTES) {
        let outcome = if bad < BAD_SECTORS_MAX { file.read_at(at, sector) } else { Err(rustix::io::Errno::IO.into()) };
        if let Err(why) = outcome {
            if !is_of_medium(&why) {
                return Err(why);
            }
            sector.fill(0);
            bad += 1;
            holes.get_or_insert(Holes { first: at, bytes: 0, why }).bytes += sector.len() as u64;
        }
        at += sector.len() as u64;
    }
    Ok(holes)
}

/// Folders and files.
pub trait Disk: Send + Sync {
    /// Makes the folder and those above it.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Makes the folder, in one that is there; [`io::ErrorKind::AlreadyExists`] when somebody else has.
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.create_dir_all(dir)
    }
    /// Names of the files in a folder, in order.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Makes an empty file to append to; an old one of that name is gone.
    fn create(&self, file: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a file that is there, to append to or to cut.
    fn open_append(&self, file: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// All bytes of a file.
    fn read(&self, file: &Path) -> io::Result<FileBytes>;
    /// Opens a finished file to read pieces of it. It must not change any more; it may be removed.
    fn open_read(&self, file: &Path) -> io::Result<Arc<dyn DiskRead>>;
    /// Gives a finished file a second name, or copies it where the file system cannot. `to` must not be there.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a finished file a second name; `false` where the file system cannot. `to` must not be there.
    fn link_only(&self, from: &Path, to: &Path) -> io::Result<bool> {
        self.link(from, to).map(|()| true)
    }
    /// Bytes that can still be written in a folder that is there; `None` where nobody knows.
    fn room(&self, _dir: &Path) -> io::Result<Option<u64>> {
        Ok(None)
    }
    /// Removes an empty folder.
    fn remove_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }
    /// Puts `from` in the place of `to`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, file: &Path) -> io::Result<()>;
    /// Returns once the names in the folder would survive a power loss.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes the folder for this process by a lock on `file`.
    fn lock(&self, file: &Path) -> io::Result<Lock>;
}
