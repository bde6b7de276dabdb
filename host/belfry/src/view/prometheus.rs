//! What Prometheus' API says of the program, and what its administration does.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use belfry_dashboard::backend::{About, BackendError};
use belfry_dashboard::dto::Accepted;
use belfry_model::duration::format_duration;
use belfry_model::{Matcher, TimeRange, TimestampMs};

use crate::app::{App, STATE_FILE};
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
    backup(app, std::path::absolute(folder).map_err(|e| failed(&e))?).await?;
    Ok(name)
}

/// Makes a copy of store and state that a Belfry can be started on.
pub async fn backup(app: &Arc<App>, folder: PathBuf) -> Result<Accepted, BackendError> {
    if !folder.is_absolute() {
        let message = format!("`{}` is not an absolute path", folder.display());
        return Err(BackendError::Invalid { message, help: None });
    }
    let store = app.store.clone();
    let into = folder.clone();
    let copied = tokio::task::spawn_blocking(move || store.snapshot(&into)).await.map_err(|e| failed(&e))?;
    let copied = copied.map_err(|error| match error.kind() {
        ErrorKind::Unsupported | ErrorKind::AlreadyExists | ErrorKind::NotADirectory => BackendError::Invalid {
            message: error.to_string(),
            help: Some("name a folder that is absent or empty".to_owned()),
        },
        _ => failed(&error),
    })?;
    app.state.backup(folder.join(STATE_FILE)).await.map_err(|e| failed(&e))?;
    let mut message =
        format!("{} blocks and {} bytes of the log are in {}", copied.blocks, copied.wal_bytes, folder.display());
    for missing in app.store.missing(TimeRange::ALL) {
        message.push_str("\nwarning: the copy is as damaged as what was copied: ");
        message.push_str(&missing);
    }
    Ok(Accepted { message })
}

fn failed(error: &dyn std::error::Error) -> BackendError {
    BackendError::Failed { message: error.to_string(), help: None }
}
