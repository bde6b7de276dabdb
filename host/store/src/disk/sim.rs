//! A disk in memory that can crash, lose what was not synced, tear writes and run full: for tests, and as the disk of
//! the memory backend.
//!
//! Invariant: what [`DiskFile::sync`] and [`Disk::sync_dir`] returned for survives [`SimDisk::power_loss`]; what
//! `append` returned for survives [`SimDisk::killed`]. Beyond that a power loss spares what it likes: any of the unsynced
//! pages and any of the unsynced names, a later one also where an earlier one is lost.

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
    /// What came since, in order.
    unsynced_names: Vec<NameChange>,
    files: Vec<Content>,
    dirs: BTreeSet<PathBuf>,
    locked: BTreeSet<PathBuf>,
    operations: u64,
    crash_at: Option<u64>,
    crashed: bool,
    capacity: Option<u64>,
    fail_sync: bool,
    fail_at: Option<u64>,
}

/// One entry of a directory that was made, taken away, or both at once: a rename.
#[derive(Clone)]
struct NameChange {
    removed: Option<PathBuf>,
    added: Option<(PathBuf, usize)>,
}

impl NameChange {
    fn apply(self, names: &mut BTreeMap<PathBuf, usize>) {
        if let Some(removed) = self.removed {
            names.remove(&removed);
        }
        names.extend(self.added);
    }

    fn is_in(&self, dir: &Path) -> bool {
        let mut paths = self.removed.iter().chain(self.added.iter().map(|(path, _)| path));
        paths.all(|p| p.parent() == Some(dir))
    }
}

/// So many bytes are written whole or not at all, counted from the file's beginning: a sector. Pages are larger, and so
/// few that short files have none.
const PAGE_BYTES: usize = 512;

/// Numbers that follow from a seed (splitmix64): neighbouring seeds have nothing in common.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
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

    /// The `operation`-th change fails, without having done anything; what comes after it works again.
    pub fn set_fail_at(&self, operation: Option<u64>) {
        self.0.lock().fail_at = operation;
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
            unsynced_names: inner.unsynced_names.clone(),
            files: inner.files.clone(),
            dirs: inner.dirs.clone(),
            ..Inner::default()
        })))
    }

    /// The disk after a power loss, as `seed` has it.
    ///
    /// Bytes: a file keeps what was synced. Behind that it ends somewhere, and each page up to there is what was written,
    /// or zero where only the length reached the platter, one whatever became of the others.
    ///
    /// Names: a directory keeps what was synced. Of the changes since each one is there or not, whatever became of the
    /// others; a rename is whole. A journaling file system keeps the order of the changes to a directory, as a rule, and
    /// promises it to nobody: who needs an order has to sync the directory.
    pub fn power_loss(&self, seed: u64) -> Self {
        let inner = self.0.lock();
        let mut random = Random(seed);
        let mut files = inner.files.clone();
        for f in &mut files {
            let synced = f.synced.len();
            let unsynced = f.data.len().saturating_sub(synced);
            let mut data = f.synced.as_ref().clone();
            if unsynced > 0 {
                // A third loses no page, a third some, a third many.
                let lost_in_8 = [0, 2, 6][random.below(3) as usize];
                let kept = if random.below(2) == 0 { unsynced } else { random.below(unsynced as u64 + 1) as usize };
                while data.len() < synced + kept {
                    let page = &f.data[data.len()..(synced + kept).min((data.len() / PAGE_BYTES + 1) * PAGE_BYTES)];
                    let lost = random.below(8) < lost_in_8;
                    data.extend(page.iter().map(|byte| if lost { 0 } else { *byte }));
                }
            }
            f.data = Arc::new(data);
            f.synced = f.data.clone();
        }
        let mut names = inner.durable_names.clone();
        let lost_in_8 = [0, 4, 8][random.below(3) as usize];
        for change in &inner.unsynced_names {
            if random.below(8) >= lost_in_8 {
                change.clone().apply(&mut names);
            }
        }
        Self(Arc::new(Mutex::new(Inner {
            names: names.clone(),
            durable_names: names,
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
        if self.fail_at == Some(self.operations - 1) {
            return Err(io::Error::other("the simulated disk does not do it"));
        }
        Ok(false)
    }

    fn used(&self) -> u64 {
        self.names.values().map(|id| self.files[*id].data.len() as u64).sum()
    }

    fn change_name(&mut self, removed: Option<&Path>, added: Option<(&Path, usize)>) {
        let added = added.map(|(path, id)| (path.to_owned(), id));
        let change = NameChange { removed: removed.map(Path::to_owned), added };
        change.clone().apply(&mut self.names);
        self.unsynced_names.push(change);
    }

    /// Gives back the memory of files that have no name any more.
    fn free_unnamed(&mut self) {
        let unsynced = self.unsynced_names.iter().filter_map(|c| c.added.as_ref().map(|(_, id)| id));
        let named: BTreeSet<usize> =
            self.names.values().chain(self.durable_names.values()).chain(unsynced).copied().collect();
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
        inner.change_name(None, Some((file, id)));
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
        inner.change_name(None, Some((to, id)));
        Ok(())
    }

    fn room(&self, _dir: &Path) -> io::Result<Option<u64>> {
        let inner = self.0.lock();
        Ok(inner.capacity.map(|c| c.saturating_sub(inner.used())))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.0.lock();
        if inner.change()? {
            return Err(crash());
        }
        let id = inner.id(from)?;
        inner.change_name(Some(from), Some((to, id)));
        Ok(())
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        let mut inner = self.0.lock();
        if inner.change()? {
            return Err(crash());
        }
        inner.id(file)?;
        inner.change_name(Some(file), None);
        inner.free_unnamed();
        Ok(())
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
        inner.unsynced_names.retain(|change| !change.is_in(dir));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn written(disk: &SimDisk, name: &str, bytes: usize) -> Arc<dyn DiskFile> {
        let file = disk.create(Path::new(name)).unwrap();
        file.append(&vec![1; bytes]).unwrap();
        file
    }

    #[test]
    fn a_power_loss_spares_any_page_and_no_synced_byte_is_lost() {
        let disk = SimDisk::default();
        let file = written(&disk, "/d/f", 100);
        file.sync().unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        file.append(&[1; 3 * PAGE_BYTES - 100]).unwrap();
        let mut seen = BTreeSet::new();
        for seed in 0..500 {
            let found = disk.power_loss(seed).read(Path::new("/d/f")).unwrap();
            assert!(found[..100].iter().all(|b| *b == 1), "seed {seed}");
            seen.insert(found.chunks(PAGE_BYTES).filter_map(|page| page.get(100).copied()).collect::<Vec<_>>());
        }
        for pages in [&[1, 1, 1][..], &[0, 1, 1], &[1, 0, 1], &[0, 0, 1], &[0, 0, 0], &[1, 0]] {
            assert!(seen.contains(pages), "{pages:?}");
        }
    }

    #[test]
    fn a_power_loss_spares_any_name_and_none_that_was_synced_is_lost() {
        let disk = SimDisk::default();
        for name in ["/d/old", "/d/kept"] {
            drop(written(&disk, name, 1));
        }
        disk.sync_dir(Path::new("/d")).unwrap();
        drop(written(&disk, "/d/unfinished", 1));
        disk.rename(Path::new("/d/unfinished"), Path::new("/d/new")).unwrap();
        disk.remove(Path::new("/d/old")).unwrap();
        let mut seen = BTreeSet::new();
        for seed in 0..500 {
            let names = disk.power_loss(seed).list(Path::new("/d")).unwrap();
            assert!(names.contains(&"kept".to_owned()) && names.len() <= 3, "seed {seed}: {names:?}");
            seen.insert(names);
        }
        let all = [
            &["kept", "old"][..],
            &["kept"],
            &["kept", "new"],
            &["kept", "new", "old"],
            &["kept", "unfinished"],
            &["kept", "old", "unfinished"],
        ];
        let all = all.map(|names| names.iter().map(|n| n.to_string()).collect::<Vec<_>>());
        assert_eq!(seen, BTreeSet::from(all));
        disk.sync_dir(Path::new("/d")).unwrap();
        assert!((0..100).all(|seed| disk.power_loss(seed).list(Path::new("/d")).unwrap() == ["kept", "new"]));
    }
}
