//! A disk in memory that can crash, lose what was not synced, tear writes and run full: for tests, and as the disk of
//! the memory backend.
//!
//! Invariant: what [`DiskFile::sync`] and [`Disk::sync_dir`] returned for survives [`SimDisk::power_loss`]; what
//! `append` returned for survives [`SimDisk::killed`].

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Disk, DiskFile, DiskRead, FileBytes, Lock};

/// Clones share one disk.
#[derive(Clone, Default)]
pub struct SimDisk(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    files: Vec<Content>,
    dirs: BTreeSet<PathBuf>,
    locked: BTreeSet<PathBuf>,
    operations: u64,
    crash_at: Option<u64>,
    crashed: bool,
    capacity: Option<u64>,
    fail_sync: bool,
}

#[derive(Clone, Default)]
struct Content {
    data: Arc<Vec<u8>>,
    synced: Arc<Vec<u8>>,
}

impl SimDisk {
    /// A disk that stops working at its `operation`-th change, in the middle of it.
    pub fn crash_at(operation: u64) -> Self {
        let disk = Self::default();
        disk.0.lock().crash_at = Some(operation);
        disk
    }

    /// Did it crash?
    pub fn crashed(&self) -> bool {
        self.0.lock().crashed
    }

    /// Changes so far.
    pub fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    /// Room for so many bytes in all; `None` for no bound.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.0.lock().capacity = bytes;
    }

    /// From now on `sync` fails, or works again.
    pub fn set_fail_sync(&self, fail: bool) {
        self.0.lock().fail_sync = fail;
    }

    /// Bytes in all files.
    pub fn used(&self) -> u64 {
        self.0.lock().used()
    }

    /// The names of all files.
    pub fn files(&self) -> Vec<PathBuf> {
        self.0.lock().names.keys().cloned().collect()
    }

    /// Changes the bytes of a file behind the store's back: bit rot.
    pub fn tamper(&self, file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut inner = self.0.lock();
        let Some(id) = inner.names.get(file).copied() else { return };
        let content = &mut inner.files[id];
        change(Arc::make_mut(&mut content.data));
        content.synced = content.data.clone();
    }

    /// The disk as the next process finds it after a `kill -9`: everything written is there.
    pub fn killed(&self) -> Self {
        let inner = self.0.lock();
        Self(Arc::new(Mutex::new(Inner {
            names: inner.names.clone(),
            durable_names: inner.durable_names.clone(),
            files: inner.files.clone(),
            dirs: inner.dirs.clone(),
            ..Inner::default()
        })))
    }

    /// The disk after a power loss: unsynced names are gone, unsynced bytes are cut somewhere or partly zero, as `seed`
    /// has it.
    pub fn power_loss(&self, seed: u64) -> Self {
        let inner = self.0.lock();
        let mut rng = seed;
        let mut files = inner.files.clone();
        for f in &mut files {
            rng = rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let synced = f.synced.len();
            let unsynced = f.data.len().saturating_sub(synced);
            let mut data = f.synced.as_ref().clone();
            if unsynced > 0 {
                let kept = (rng >> 33) as usize % (unsynced + 1);
                data.extend_from_slice(&f.data[synced..synced + kept]);
                // Pages reach the platter in any order: an earlier one may still be zero.
                if rng & 1 == 1 {
                    let hole = synced + (rng >> 13) as usize % (kept + 1);
                    data[hole..].fill(0);
                }
            }
            f.data = Arc::new(data);
            f.synced = f.data.clone();
        }
        Self(Arc::new(Mutex::new(Inner {
            names: inner.durable_names.clone(),
            durable_names: inner.durable_names.clone(),
            files,
            dirs: inner.dirs.clone(),
            ..Inner::default()
        })))
    }
}

fn crash() -> io::Error {
    io::Error::other("the simulated disk has crashed")
}

impl Inner {
    /// Counts a change; at the chosen one the disk is gone. `Ok(true)` says "do half of it".
    fn change(&mut self) -> io::Result<bool> {
        if self.crashed {
            return Err(crash());
        }
        self.operations += 1;
        if self.crash_at == Some(self.operations - 1) {
            self.crashed = true;
            return Ok(true);
        }
        Ok(false)
    }

    fn used(&self) -> u64 {
        self.names.values().map(|id| self.files[*id].data.len() as u64).sum()
    }

    /// Gives back the memory of files that have no name any more.
    fn free_unnamed(&mut self) {
        let named: BTreeSet<usize> = self.names.values().chain(self.durable_names.values()).copied().collect();
        for (id, content) in self.files.iter_mut().enumerate() {
            if !named.contains(&id) && !content.data.is_empty() {
                *content = Content::default();
            }
        }
    }

    fn id(&self, file: &Path) -> io::Result<usize> {
        if self.crashed {
            return Err(crash());
        }
        self.names.get(file).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

struct SimRead(FileBytes);

impl DiskRead for SimRead {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).ok().and_then(|o| self.0.get(o..o.checked_add(into.len())?));
        into.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

struct SimFile {
    disk: SimDisk,
    id: usize,
}

impl DiskFile for SimFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.disk.0.lock();
        let torn = inner.change()?;
        let room = inner.capacity.map_or(u64::MAX, |c| c.saturating_sub(inner.used()));
        let take = if torn { bytes.len() / 2 } else { bytes.len().min(room.try_into().unwrap_or(usize::MAX)) };
        Arc::make_mut(&mut inner.files[self.id].data).extend_from_slice(&bytes[..take]);
        match () {
            () if torn => Err(crash()),
            () if take < bytes.len() => Err(io::ErrorKind::StorageFull.into()),
            () => Ok(()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.disk.0.lock();
        if inner.change()? {
            return Err(crash());
        }
        if inner.fail_sync {
            return Err(io::Error::other("the simulated disk cannot sync"));
        }
        let content = &mut inner.files[self.id];
        content.synced = content.data.clone();
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut inner = self.disk.0.lock();
        if inner.change()? {
            return Err(crash());
        }
        Arc::make_mut(&mut inner.files[self.id].data).truncate(len as usize);
        Ok(())
    }
}

impl Disk for SimDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut inner = self.0.lock();
        if inner.change()? {
            return Err(crash());
        }
        inner.dirs.insert(dir.to_owned());
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let inner = self.0.lock();
        if inner.crashed {
            return Err(crash());
        }
        let name = |p: &PathBuf| p.file_name().and_then(|n| n.to_str()).map(str::to_owned);
        Ok(inner.names.keys().filter(|p| p.parent() == Some(dir)).filter_map(name).collect())
    }

    fn create(&self, file: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut inner = self.0.lock();
        let half = inner.change()?;
        inner.files.push(Content::default());
        let id = inner.files.len() - 1;
        inner.names.insert(file.to_owned(), id);
        if half { Err(crash()) } else { Ok(Arc::new(SimFile { disk: self.clone(), id })) }
    }

    fn open_append(&self, file: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let id = self.0.lock().id(file)?;
        Ok(Arc::new(SimFile { disk: self.clone(), id }))
    }

    fn read(&self, file: &Path) -> io::Result<FileBytes> {
        let inner = self.0.lock();
        Ok(inner.files[inner.id(file)?].data.clone())
    }

    fn open_read(&self, file: &Path) -> io::Result<Arc<dyn DiskRead>> {
        Ok(Arc::new(SimRead(self.read(file)?)))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.0.lock();
        if inner.change()? {
            return Err(crash());
        }
        let id = inner.id(from)?;
        if inner.names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        inner.names.insert(to.to_owned(), id);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.0.lock();
        if inner.change()? {
            return Err(crash());
        }
        let id = inner.id(from)?;
        inner.names.remove(from);
        inner.names.insert(to.to_owned(), id);
        Ok(())
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        let mut inner = self.0.lock();
        if inner.change()? {
            return Err(crash());
        }
        let removed = inner.names.remove(file);
        inner.free_unnamed();
        removed.map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut inner = self.0.lock();
        if inner.change()? {
            return Err(crash());
        }
        inner.durable_names.retain(|p, _| p.parent() != Some(dir));
        let now: Vec<_> =
            inner.names.iter().filter(|(p, _)| p.parent() == Some(dir)).map(|(p, id)| (p.clone(), *id)).collect();
        inner.durable_names.extend(now);
        inner.free_unnamed();
        Ok(())
    }

    fn lock(&self, file: &Path) -> io::Result<Lock> {
        let mut inner = self.0.lock();
        if !inner.locked.insert(file.to_owned()) {
            return Ok(Lock::InUse { pid: None });
        }
        Ok(Lock::Held(Box::new(SimLock { disk: Arc::downgrade(&self.0), file: file.to_owned() })))
    }
}

struct SimLock {
    disk: std::sync::Weak<Mutex<Inner>>,
    file: PathBuf,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        if let Some(disk) = self.disk.upgrade() {
            disk.lock().locked.remove(&self.file);
        }
    }
}
