//! A copy of all data while Belfry runs: store, state, and what waits for the storage engine.
//!
//! Invariant: a copy that was answered for is a data folder with everything acknowledged before, and lists its files; of
//! one that fails nothing is left.
//! Not here: where copies may go (`view`), restoring them (`commands::backup`).

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use belfry_dashboard::backend::BackendError;
use belfry_dashboard::dto::Accepted;
use belfry_model::TimeRange;
use belfry_remote::queue::{self, Waiting};
use belfry_store::{RealDisk, Snapshot};

use crate::app::{App, STATE_FILE};
use crate::engine::QUEUE_FOLDER;
use crate::{manifest, retention};

/// What helps where a folder is refused.
pub const NAME_ANOTHER: &str = "name a folder that is absent or empty, and not in the data folder";

/// Makes a copy at `folder`, which must be absent or empty.
pub async fn copy(app: &Arc<App>, folder: PathBuf) -> Result<Accepted, BackendError> {
    // With its log, of which all may be in the copy.
    let state_bytes = app.state.stats().bytes;
    let (store, into) = (app.store.clone(), folder.clone());
    let copied = tokio::task::spawn_blocking(move || store.snapshot(&into, state_bytes)).await;
    let copied = copied.map_err(|e| failed(&e))?.map_err(|e| of_disk(&e))?;
    // From here on the folder is ours.
    let waiting = match beside(app, &folder).await {
        Ok(waiting) => waiting,
        Err(error) => {
            let (store, into) = (app.store.clone(), folder);
            tokio::task::spawn_blocking(move || {
                discard(&into);
                store.discard_snapshot(&into);
            })
            .await
            .map_err(|e| failed(&e))?;
            return Err(error);
        }
    };
    Ok(Accepted { message: told(&copied, &folder, waiting.bytes, &app.store.missing(TimeRange::ALL)) })
}

/// What a copy holds, and what it lacks.
fn told(copied: &Snapshot, folder: &Path, waiting: u64, missing: &[String]) -> String {
    let mut message =
        format!("{} blocks and {} bytes of the log are in {}", copied.blocks, copied.wal_bytes, folder.display());
    if waiting > 0 {
        message.push_str(&format!(", and {waiting} bytes that wait for the storage engine"));
    }
    for what in missing {
        message.push_str(&format!("\nwarning: the copy is as damaged as what was copied: {what}"));
    }
    for what in &copied.left_out {
        message.push_str(&format!("\nwarning: the copy has not all of a file: {what}"));
    }
    message
}

/// What is not the store's, and then the list of all.
async fn beside(app: &Arc<App>, folder: &Path) -> Result<Waiting, BackendError> {
    app.state.backup(folder.join(STATE_FILE)).await.map_err(|e| failed(&e))?;
    let (app, folder) = (app.clone(), folder.to_owned());
    let work = move || -> io::Result<Waiting> {
        let data = &app.started_with.storage.path;
        let into = folder.join(QUEUE_FOLDER);
        let waiting = match &app.engine {
            Some(engine) => engine.queue.copy_to(&into)?,
            // What waited when there was one, if there was.
            None => queue::copy_closed(&data.join(QUEUE_FOLDER), &into, &RealDisk)?,
        };
        // It says which blocks were never sent to the engine: those are kept for longer.
        match std::fs::copy(data.join(retention::FILE), folder.join(retention::FILE)) {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            outcome => {
                outcome?;
                std::fs::File::open(folder.join(retention::FILE))?.sync_all()?;
            }
        }
        manifest::write(&folder)?;
        Ok(waiting)
    };
    tokio::task::spawn_blocking(work).await.map_err(|e| failed(&e))?.map_err(|e| of_disk(&e))
}

/// What [`beside`] has made. Best effort: what is not there need not go.
fn discard(folder: &Path) {
    let partial = format!("{STATE_FILE}.partial");
    for file in [STATE_FILE, partial.as_str(), retention::FILE] {
        let _ = std::fs::remove_file(folder.join(file));
    }
    manifest::remove(folder);
    let _ = std::fs::remove_dir_all(folder.join(QUEUE_FOLDER));
}

fn of_disk(error: &io::Error) -> BackendError {
    match error.kind() {
        ErrorKind::Unsupported | ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
            BackendError::Invalid { message: error.to_string(), help: Some(NAME_ANOTHER.to_owned()) }
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => BackendError::Failed {
            message: error.to_string(),
            help: Some("make room, or name a folder on a file system that has some".to_owned()),
        },
        _ => failed(error),
    }
}

/// Without help.
pub fn failed(error: &dyn std::error::Error) -> BackendError {
    BackendError::Failed { message: error.to_string(), help: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_copy_lacks_is_told_line_by_line() {
        let copied =
            Snapshot { blocks: 2, wal_bytes: 30, left_out: vec!["b.block: gone".to_owned()], ..Snapshot::default() };
        let lines = told(&copied, Path::new("/copy"), 7, &["a.block is damaged".to_owned()]);
        assert_eq!(
            lines.lines().collect::<Vec<_>>(),
            [
                "2 blocks and 30 bytes of the log are in /copy, and 7 bytes that wait for the storage engine",
                "warning: the copy is as damaged as what was copied: a.block is damaged",
                "warning: the copy has not all of a file: b.block: gone",
            ]
        );
    }
}
