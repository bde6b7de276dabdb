//! The disk of the operating system.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::FlockOperation;

use super::{Disk, DiskFile, FileBytes, Lock};

/// Files as they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

/// A read-only mapping of a finished file.
pub struct Mapping(memmap2::Mmap);

impl Mapping {
    /// # Safety
    /// Nobody may change or shorten the file while the mapping lives. The store keeps that: blocks are written under
    /// another name, renamed when finished and then only ever removed, and the folder is locked to one process.
    #[allow(unsafe_code)]
    fn new(file: &File) -> io::Result<Self> {
        // SAFETY: see above; the one place where the store needs `unsafe`.
        unsafe { memmap2::Mmap::map(file) }.map(Self)
    }

    /// What is mapped.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl DiskFile for File {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file = self;
        file.write_all(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }
}

impl Disk for RealDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn create(&self, file: &Path) -> io::Result<Arc<dyn DiskFile>> {
        match fs::remove_file(file) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        Ok(Arc::new(OpenOptions::new().append(true).create_new(true).open(file)?))
    }

    fn open_append(&self, file: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(OpenOptions::new().append(true).open(file)?))
    }

    fn read(&self, file: &Path) -> io::Result<FileBytes> {
        let mut f = File::open(file)?;
        // Write-ahead segments are read once and may be cut afterwards; only finished blocks are mapped.
        if file.extension().is_some_and(|e| e == crate::block::EXTENSION) {
            return Ok(FileBytes::Mapped(Arc::new(Mapping::new(&f)?)));
        }
        let mut bytes = Vec::new();
        f.read_to_end(&mut bytes)?;
        Ok(FileBytes::Held(Arc::new(bytes)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        fs::remove_file(file)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                file.set_len(0)?;
                writeln!(file, "{}", std::process::id())?;
                Ok(Lock::Held(Box::new(file)))
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                // The number is a courtesy; without it the refusal stands just the same.
                let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                Ok(Lock::InUse { pid })
            }
            Err(e) => Err(e.into()),
        }
    }
}
