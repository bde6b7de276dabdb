//! The loops of discovery: look, tell, wait.
//!
//! Invariant: what cannot be had now is told as an error, and what was known before goes on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use belfry_config::types::scrape::Discovery;
use belfry_config::{target_files, targets_from_file, targets_from_json};
use belfry_ingest::scrape::Group;
use belfry_ingest::scrape::client::{Ask, AskPace, JobClient};
use belfry_ingest::scrape::discovery::{Dns, DnsKind};
use belfry_model::LabelsBuilder;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::spec;

/// Bytes of a list of targets.
const LIST_BYTES_MAX: u64 = 32 << 20;
/// A list of targets is there within this, or not at all.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);
/// A file is written in several steps: it is read when it has been quiet for this long.
const QUIET: Duration = Duration::from_millis(100);

/// Whose news, and what: groups, or why there are none.
pub type News = (usize, Result<Vec<Group>, String>);

/// Looks again and again until `stop`; ends earlier when nobody listens.
pub async fn run(number: usize, discovery: Discovery, tell: mpsc::Sender<News>, stop: CancellationToken) {
    let mut watch = match &discovery {
        Discovery::File { files, .. } => Watch::new(files),
        _ => Watch::none(),
    };
    let refresh = match &discovery {
        Discovery::File { refresh, .. } | Discovery::Dns { refresh, .. } | Discovery::Http { refresh, .. } => *refresh,
    };
    let (mut last, mut names) = (None, BTreeMap::new());
    loop {
        let found = tokio::select! {
            () = stop.cancelled() => return,
            found = look(&discovery, &mut names) => found,
        };
        if let Err(error) = &found {
            tracing::warn!(error, "targets could not be discovered; those known go on");
        }
        if last.as_ref() != Some(&found) {
            last = Some(found.clone());
            if tell.send((number, found)).await.is_err() {
                return;
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = watch.changed() => {}
            () = tokio::time::sleep(refresh) => {}
        }
    }
}

/// What was found last for each name of DNS.
type Names = BTreeMap<String, Vec<Group>>;

async fn look(discovery: &Discovery, known: &mut Names) -> Result<Vec<Group>, String> {
    match discovery {
        Discovery::File { files, .. } => {
            let files = files.clone();
            let read = tokio::task::spawn_blocking(move || read_files(&files)).await;
            read.unwrap_or_else(|e| Err(e.to_string()))
        }
        Discovery::Dns { names, kind, port, server, .. } => {
            let dns = Dns::new(*server)?;
            let (mut answered, mut failed) = (false, Vec::new());
            for name in names {
                match dns.look_up(name, DnsKind::named(kind), port.unwrap_or(0)).await {
                    Ok(groups) => {
                        answered = true;
                        known.insert(name.clone(), groups);
                    }
                    Err(error) => failed.push(error),
                }
            }
            // A name that fails does not hold back the others' news, as with Prometheus.
            let error = failed.join("; ");
            if !failed.is_empty() && !answered {
                return Err(error);
            }
            if !failed.is_empty() {
                tracing::warn!(error, "names could not be looked up; their targets that are known go on");
            }
            Ok(known.values().flatten().cloned().collect())
        }
        Discovery::Http { url, http, refresh } => {
            let client = JobClient::new(spec::http(http, None))?;
            let parsed = Url::parse(url).map_err(|e| e.to_string())?;
            let ask = Ask {
                url: &parsed,
                timeout: LIST_TIMEOUT,
                body_bytes_max: LIST_BYTES_MAX,
                accept: "application/json",
                pace: AskPace::Refresh(*refresh),
            };
            let mut body = Vec::new();
            // The address may hold a token; its host says enough.
            let host = parsed.host_str().unwrap_or_default();
            client.fetch_any(ask, &mut body).await.map_err(|e| format!("{host}: {e}"))?;
            let text = String::from_utf8(body).map_err(|_| format!("{host}: the list of targets is not UTF-8"))?;
            let groups = targets_from_json(&text).map_err(|e| format!("{host}: the list of targets: {e}"))?;
            let name = |i: usize| format!("{}:{i}", parsed.path());
            Ok(groups.iter().enumerate().map(|(i, g)| with(spec::group(g), "__meta_url", &name(i))).collect())
        }
    }
}

/// Of all files; one that cannot be read fails the whole look, so that its targets go on.
fn read_files(patterns: &[PathBuf]) -> Result<Vec<Group>, String> {
    let mut groups = Vec::new();
    for pattern in patterns {
        for path in target_files(pattern)? {
            for group in targets_from_file(&path)? {
                groups.push(with(spec::group(&group), "__meta_filepath", &path.display().to_string()));
            }
        }
    }
    Ok(groups)
}

fn with(mut group: Group, name: &str, value: &str) -> Group {
    let mut labels: LabelsBuilder = group.labels.to_builder();
    labels.set(name, value);
    group.labels = labels.build();
    group
}

/// Tells when files changed.
struct Watch {
    /// Held, not read: dropping it ends the watching.
    _watcher: Option<notify::RecommendedWatcher>,
    told: mpsc::Receiver<()>,
    /// So that `told` does not end where nothing is watched.
    _tell: mpsc::Sender<()>,
}

impl Watch {
    fn none() -> Self {
        let (tell, told) = mpsc::channel(1);
        Self { _watcher: None, told, _tell: tell }
    }

    fn new(patterns: &[PathBuf]) -> Self {
        use notify::Watcher as _;
        let (tell, told) = mpsc::channel(1);
        let mark = tell.clone();
        let watcher = notify::recommended_watcher(move |_: notify::Result<notify::Event>| {
            // One mark is enough, however many events there are.
            let _ = mark.try_send(());
        });
        let watcher = watcher.and_then(|mut w| {
            for folder in patterns.iter().filter_map(|p| p.parent()) {
                let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
                w.watch(folder, notify::RecursiveMode::NonRecursive)?;
            }
            Ok(w)
        });
        let watcher = watcher.inspect_err(|error| {
            tracing::warn!(%error, "files of targets are only read again after `refresh`");
        });
        Self { _watcher: watcher.ok(), told, _tell: tell }
    }

    async fn changed(&mut self) {
        if self.told.recv().await.is_none() {
            return std::future::pending().await;
        }
        while tokio::time::timeout(QUIET, self.told.recv()).await.is_ok() {}
    }
}
