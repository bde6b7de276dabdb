//! Looks now and then whether `LOCK` in the data folder is still the file that this process has locked.
//!
//! Invariant: only reads and tells. Without that file another Belfry starts on the same folder, and neither would know.
//! Not here: taking the lock (`store`).

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use belfry_config::types::{Backend, Storage};
use belfry_dashboard::dto::{Notice, NoticeLevel};
use tokio_util::sync::CancellationToken;

use crate::app::App;

/// The code of the notice.
pub const LOST: &str = "lock_lost";
const FILE: &str = "LOCK";
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The file as it was when it was locked.
#[derive(Clone, Debug)]
pub struct LockFile {
    path: PathBuf,
    id: (u64, u64),
}

/// What has become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    Gone,
    Another,
}

impl LockFile {
    /// Of a data folder that has just been opened; `None` in memory.
    pub fn of(storage: &Storage) -> Option<Self> {
        if storage.backend != Backend::Disk {
            return None;
        }
        let path = storage.path.join(FILE);
        let id = id(&path).ok()?;
        Some(Self { path, id })
    }

    fn look(&self) -> Option<Lost> {
        match id(&self.path) {
            Ok(found) if found == self.id => None,
            Ok(_) => Some(Lost::Another),
            Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
                Some(Lost::Gone)
            }
            // A disk that does not answer is told by whoever writes to it.
            Err(_) => None,
        }
    }
}

/// A file, whatever its name.
fn id(path: &Path) -> std::io::Result<(u64, u64)> {
    path.metadata().map(|found| (found.dev(), found.ino()))
}

/// Looks until `stop`.
pub async fn run(app: Arc<App>, lock: Option<LockFile>, stop: CancellationToken) {
    let Some(lock) = lock else { return };
    let mut told = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let looks = lock.clone();
        let Ok(found) = tokio::task::spawn_blocking(move || looks.look()).await else { continue };
        if found == std::mem::replace(&mut told, found) {
            continue;
        }
        match found {
            Some(lost) => tell(&app, &lock.path, lost),
            None => app.no_notice(LOST),
        }
    }
}

fn tell(app: &App, path: &Path, lost: Lost) {
    let (title, text, help) = words(path, lost);
    tracing::error!("{title}. {text}; {help}");
    app.notice(Notice {
        code: LOST.to_owned(),
        level: NoticeLevel::Error,
        title: title.to_owned(),
        text,
        help: Some(help.to_owned()),
        since_ms: app.clock.now(),
    });
}

fn words(path: &Path, lost: Lost) -> (&'static str, String, &'static str) {
    let file = path.display();
    match lost {
        Lost::Gone => (
            "Nothing keeps another Belfry from the data folder",
            format!("{file} was removed, or the folder moved, while Belfry runs on it"),
            "do not start another one on it; restart this one, which locks it again",
        ),
        Lost::Another => (
            "Another Belfry may run on the data folder",
            format!("{file} is not the file that this Belfry has locked"),
            "look which processes run on the folder, stop all of them, and start one; two write over each other's files",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_was_removed_or_replaced_is_told_and_one_that_is_written_to_is_not() {
        let home = tempfile::tempdir().expect("a folder");
        let path = home.path().join(FILE);
        std::fs::write(&path, "1").expect("written");
        let lock = LockFile { id: id(&path).expect("there"), path: path.clone() };
        std::fs::write(&path, "22").expect("written");
        assert_eq!(lock.look(), None);
        std::fs::rename(&path, home.path().join("aside")).expect("moved");
        assert_eq!(lock.look(), Some(Lost::Gone));
        std::fs::write(&path, "22").expect("written");
        assert_eq!(lock.look(), Some(Lost::Another));
        std::fs::rename(home.path().join("aside"), &path).expect("put back");
        assert_eq!(lock.look(), None);
    }
}
