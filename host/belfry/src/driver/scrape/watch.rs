//! Tells when files of targets changed.
//!
//! Invariant: each folder is watched by itself: one that is not there costs the others nothing, and one that comes, or is
//! made anew, is found within [`LOOK_EVERY`].
//! Not here: what the files hold (`discover`).

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior};

/// A file is written in several steps: it is read when it has been quiet for this long.
const QUIET: Duration = Duration::from_millis(100);
/// Or when it has not been quiet for this long.
const QUIET_WITHIN: Duration = Duration::from_secs(1);
/// The system tells nothing of a folder that is not there: so often it is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Tells when files changed.
pub struct Watch {
    /// None where nothing is watched.
    folders: Option<Arc<Mutex<Folders>>>,
    told: mpsc::Receiver<()>,
    tell: mpsc::Sender<()>,
    /// It was told, and nobody knows yet: whoever waited gave up before it was quiet.
    heard: bool,
    next_look: Interval,
}

impl Watch {
    /// Of nothing.
    pub fn none() -> Self {
        let (tell, told) = mpsc::channel(1);
        let mut next_look = tokio::time::interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
        next_look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { folders: None, told, tell, heard: false, next_look }
    }

    /// Of the folders of `patterns`, from [`Watch::begin`] on.
    pub fn new(patterns: &[PathBuf]) -> Self {
        let none = Self::none();
        let tell = none.tell.clone();
        let endings: BTreeSet<OsString> = patterns.iter().filter_map(|p| p.extension()).map(OsStr::to_owned).collect();
        let folders = Folders::new(patterns, move |paths| {
            // What else is written in the folder, a log say, is nobody's news. (Kubernetes swaps a link, `..data`.)
            if paths.is_empty() || paths.iter().any(|p| may_be_one(p, &endings)) {
                // One mark is enough, however many events there are.
                let _ = tell.try_send(());
            }
        });
        let folders = folders.inspect_err(|error| {
            tracing::warn!(%error, "files of targets are only read again after `refresh`");
        });
        Self { folders: folders.ok().map(|f| Arc::new(Mutex::new(f))), ..none }
    }

    /// Before the files are read first.
    pub async fn begin(&mut self) {
        self.look().await;
        let _ = self.told.try_recv();
    }

    /// Looks which folders are there and watches them. What is news is marked, lest it be lost when nobody waits for this
    /// any more.
    async fn look(&self) {
        let Some(folders) = self.folders.clone() else { return };
        let tell = self.tell.clone();
        // A folder may lie on another machine that does not answer.
        let looked = tokio::task::spawn_blocking(move || {
            if folders.lock().look() {
                let _ = tell.try_send(());
            }
        });
        let _ = looked.await;
    }

    /// Waits until a file may have changed. May be given up and called again.
    pub async fn changed(&mut self) {
        if self.folders.is_none() {
            return std::future::pending().await;
        }
        while !self.heard {
            tokio::select! {
                _ = self.told.recv() => self.heard = true,
                _ = self.next_look.tick() => self.look().await,
            }
        }
        let quiet = async { while tokio::time::timeout(QUIET, self.told.recv()).await.is_ok() {} };
        // Too long: it is read as it is, and again when it changes.
        let _ = tokio::time::timeout(QUIET_WITHIN, quiet).await;
        self.heard = false;
    }
}

/// May this be a file of targets, or what stands for its folder?
fn may_be_one(path: &Path, endings: &BTreeSet<OsString>) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("..") || path.extension().is_none_or(|e| endings.contains(e))
}

/// Folders, and the watching of those that are there.
struct Folders {
    watcher: RecommendedWatcher,
    by_path: BTreeMap<PathBuf, Folder>,
    /// The system says that they are not watched any more.
    lost: Arc<Mutex<BTreeSet<PathBuf>>>,
}

#[derive(Default)]
struct Folder {
    /// At the last look; `None` when it was not there.
    seen: Option<Identity>,
    watched: bool,
    complained: bool,
}

/// Tells a folder from the one that was at the same place before. The number alone may be given again at once.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    made: Option<SystemTime>,
}

impl Identity {
    fn of(folder: &Path) -> Option<Self> {
        let found = std::fs::metadata(folder).ok().filter(std::fs::Metadata::is_dir)?;
        Some(Self { device: found.dev(), inode: found.ino(), made: found.created().ok() })
    }
}

impl Folders {
    /// `tell` hears where something changed.
    fn new(patterns: &[PathBuf], tell: impl Fn(&[PathBuf]) + Send + 'static) -> notify::Result<Self> {
        // The watcher tells of whole paths.
        let whole = |folder: &Path| {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned())
        };
        let folders: BTreeSet<PathBuf> = patterns.iter().filter_map(|p| p.parent()).map(whole).collect();
        let by_path: BTreeMap<_, _> = folders.iter().map(|f| (f.clone(), Folder::default())).collect();
        let lost = Arc::<Mutex<BTreeSet<PathBuf>>>::default();
        let gone = lost.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let (kind, paths) = event.map(|e| (e.kind, e.paths)).unwrap_or((EventKind::Any, Vec::new()));
            if matches!(kind, EventKind::Remove(_)) {
                gone.lock().extend(paths.iter().filter(|p| folders.contains(*p)).cloned());
            }
            // To read a file is no change of it: each look would be the reason of the next.
            let read = matches!(kind, EventKind::Access(a) if a != AccessKind::Close(AccessMode::Write));
            if !read {
                tell(&paths);
            }
        })?;
        Ok(Self { watcher, by_path, lost })
    }

    /// Watches what is there and was not; true when a folder came, went or became another.
    fn look(&mut self) -> bool {
        let lost = std::mem::take(&mut *self.lost.lock());
        let mut news = false;
        for (path, folder) in &mut self.by_path {
            // Before it is watched: what takes its place meanwhile is seen at the next look.
            let now = Identity::of(path);
            let other = now != folder.seen || lost.contains(path);
            news |= other;
            if folder.watched && other {
                // Nothing is there to unwatch when it was removed.
                let _ = self.watcher.unwatch(path);
                folder.watched = false;
            }
            folder.seen = now;
            if folder.watched || now.is_none() {
                continue;
            }
            match self.watcher.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => (folder.watched, folder.complained) = (true, false),
                Err(error) => {
                    // It went this moment: the next look sees to that.
                    let gone = matches!(&error.kind, notify::ErrorKind::PathNotFound)
                        || matches!(&error.kind, notify::ErrorKind::Io(e) if e.kind() == ErrorKind::NotFound);
                    if !gone && !std::mem::replace(&mut folder.complained, true) {
                        let folder = path.display();
                        tracing::warn!(%error, %folder, "files of targets there are only read again after `refresh`");
                    }
                }
            }
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc as channel;

    use super::*;

    #[test]
    fn only_files_that_may_hold_targets_are_news() {
        let endings = BTreeSet::from([OsString::from("json")]);
        for (path, news) in [("t/a.json", true), ("t/..data", true), ("t", true), ("t/belfry.log", false)] {
            assert_eq!(may_be_one(Path::new(path), &endings), news, "{path}");
        }
    }

    /// Waits for the system to tell of `path`.
    fn told(tells: &channel::Receiver<Vec<PathBuf>>, path: &Path) {
        loop {
            let paths = tells.recv_timeout(Duration::from_secs(20));
            if paths.expect("the system tells of it").iter().any(|p| p == path) {
                return;
            }
        }
    }

    #[test]
    fn a_folder_is_watched_whatever_becomes_of_the_others() {
        let root = tempfile::tempdir().unwrap();
        let (there, other) = (root.path().join("there"), root.path().join("other"));
        std::fs::create_dir(&there).unwrap();
        let (tell, tells) = channel::channel();
        let patterns = [other.join("*.json"), there.join("t.json"), root.path().join("no/such/t.json")];
        let mut folders = Folders::new(&patterns, move |paths| drop(tell.send(paths.to_vec()))).unwrap();
        assert!(folders.look(), "what is there is news");
        let change = |path: PathBuf| {
            std::fs::write(&path, "[]").unwrap();
            told(&tells, &path);
        };
        change(there.join("1.json"));
        assert!(!folders.look(), "nothing came");
        std::fs::create_dir(&other).unwrap();
        assert!(folders.look(), "one came");
        change(other.join("2.json"));
        // Made anew at once: it may have the number of the old one.
        std::fs::remove_dir_all(&other).unwrap();
        std::fs::create_dir(&other).unwrap();
        assert!(folders.look(), "it is another");
        change(other.join("3.json"));
        std::fs::rename(&other, root.path().join("old")).unwrap();
        assert!(folders.look(), "it went");
        std::fs::create_dir(&other).unwrap();
        assert!(folders.look(), "it came back");
        change(other.join("4.json"));
        change(there.join("5.json"));
    }

    #[test]
    fn to_read_a_file_is_no_change() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("t.json");
        std::fs::write(&file, "[]").unwrap();
        let (tell, tells) = channel::channel();
        let mut folders =
            Folders::new(std::slice::from_ref(&file), move |paths| drop(tell.send(paths.to_vec()))).unwrap();
        folders.look();
        std::fs::read(&file).unwrap();
        // The system tells in order.
        let next = root.path().join("next.json");
        std::fs::write(&next, "[]").unwrap();
        let first = tells.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(first, [next]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_folder_that_comes_is_found_within_seconds() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("later");
        let mut watch = Watch::new(&[folder.join("t.json")]);
        watch.begin().await;
        // However often others interrupt the waiting, as a short `refresh` does.
        for _ in 0..10 {
            let waited = tokio::time::timeout(Duration::from_secs(1), watch.changed()).await;
            assert!(waited.is_err(), "nothing is there");
        }
        std::fs::create_dir(&folder).unwrap();
        let since = Instant::now();
        let found = async { while tokio::time::timeout(Duration::from_secs(1), watch.changed()).await.is_err() {} };
        tokio::time::timeout(LOOK_EVERY * 2, found).await.expect("it is found");
        assert!(since.elapsed() <= LOOK_EVERY + QUIET_WITHIN * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_told_is_not_lost_when_the_waiting_is_given_up_before_it_is_quiet() {
        let root = tempfile::tempdir().unwrap();
        let mut watch = Watch::new(&[root.path().join("t.json")]);
        watch.begin().await;
        watch.tell.try_send(()).unwrap();
        assert!(tokio::time::timeout(QUIET / 2, watch.changed()).await.is_err(), "it is not quiet yet");
        assert!(tokio::time::timeout(QUIET * 2, watch.changed()).await.is_ok());
        assert!(tokio::time::timeout(QUIET * 2, watch.changed()).await.is_err(), "once");
    }
}
