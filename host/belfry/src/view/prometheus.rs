//! What Prometheus' API says of the program, and what its administration does.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use belfry_dashboard::backend::{About, BackendError};
use belfry_dashboard::dto::Accepted;
use belfry_model::duration::format_duration;
use belfry_model::{Matcher, TimeRange, TimestampMs};

use crate::app::App;
use crate::copies::{NAME_ANOTHER, copy, failed};
use crate::process;

/// Snapshots stand here, in the data folder.
const SNAPSHOTS: &str = "snapshots";

/// The program itself.
pub fn about(app: &App) -> About {
    let loaded = app.loaded.load();
    let config = &loaded.config;
    let stats = app.store.stats();
    let refused = app.notices.lock().get(crate::reload::REFUSED).map(|n| n.text.clone());
    About {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        hostname: process::host_name(),
        listen: app.address.to_string(),
        started: app.started,
        config_read: *app.config_read.lock(),
        config_error: refused,
        config: loaded.shown_yaml(),
        retention: config.storage.retention.map_or_else(|| "forever".to_owned(), format_duration),
        query_flags: vec![
            ("query.lookback-delta", format_duration(config.queries.lookback)),
            ("query.timeout", format_duration(config.queries.timeout)),
            ("query.max-samples", config.queries.samples.to_string()),
        ],
        series: stats.series,
        head_chunks: stats.head_chunks,
        is_damaged: app.store.damage().is_some(),
    }
}

/// Deletes samples; what is in memory is written to a block for it, so aside of the reactor.
pub async fn delete_series(app: &App, matchers: Vec<Matcher>, range: TimeRange) -> Result<(), BackendError> {
    let store = app.store.clone();
    let done = tokio::task::spawn_blocking(move || store.delete(&matchers, range)).await;
    app.queries.samples_changed(TimestampMs::MIN);
    match done {
        Ok(Ok(deleted)) => {
            tracing::info!(series = deleted.series, blocks = deleted.blocks, "deleted samples");
            Ok(())
        }
        Ok(Err(error)) => Err(failed(&error)),
        Err(error) => Err(failed(&error)),
    }
}

/// Makes a copy below the data folder.
pub async fn snapshot(app: &Arc<App>) -> Result<String, BackendError> {
    // A name that sorts by time and that file systems take.
    let name = app.clock.now().to_string().replace(':', "");
    let folder = app.loaded.load().config.storage.path.join(SNAPSHOTS).join(&name);
    copy(app, std::path::absolute(folder).map_err(|e| failed(&e))?).await?;
    Ok(name)
}

/// Makes a copy of store and state that a Belfry can be started on.
pub async fn backup(app: &Arc<App>, folder: PathBuf) -> Result<Accepted, BackendError> {
    let refused = |message| Err(BackendError::Invalid { message, help: Some(NAME_ANOTHER.to_owned()) });
    if !folder.is_absolute() || folder.components().any(|c| c == Component::ParentDir) {
        return refused(format!("`{}` is not an absolute path without `..`", folder.display()));
    }
    let data = app.loaded.load().config.storage.path.clone();
    if is_within(&folder, &data) && !is_within(&folder, &data.join(SNAPSHOTS)) {
        return refused(format!("{} is in the data folder, {}", folder.display(), data.display()));
    }
    copy(app, folder).await
}

/// By their real names, as far as they are there.
fn is_within(folder: &Path, data: &Path) -> bool {
    let real = |path: &Path| {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let there = path.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
        let rest = |above: &Path| path.strip_prefix(above).map(Path::to_owned).unwrap_or_default();
        there.map(|(above, real)| real.join(rest(above))).unwrap_or(path.clone())
    };
    real(folder).starts_with(real(data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_within_another_by_whatever_name() {
        let home = tempfile::tempdir().expect("a folder");
        let data = home.path().join("data");
        std::fs::create_dir_all(data.join("wal")).expect("made");
        std::os::unix::fs::symlink(&data, home.path().join("alias")).expect("made");
        for (folder, within) in [
            ("data", true),
            ("data/wal", true),
            ("data/new/copy", true),
            ("alias/new", true),
            ("data2", false),
            ("copies/data", false),
        ] {
            assert_eq!(is_within(&home.path().join(folder), &data), within, "{folder}");
        }
    }
}
