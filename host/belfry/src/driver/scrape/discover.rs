//! The loops of discovery: look, tell, wait.
//!
//! Invariant: what cannot be had now is told as an error, and what was known before goes on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use belfry_config::types::scrape::{Discovery, Http};
use belfry_config::{target_files, targets_from_file, targets_from_json};
use belfry_ingest::scrape::Group;
use belfry_ingest::scrape::client::{Ask, AskPace, JobClient};
use belfry_ingest::scrape::discovery::{Dns, DnsKind};
use belfry_model::LabelsBuilder;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::found::Places;
use super::spec;
use super::watch::Watch;

/// Bytes of a list of targets.
const LIST_BYTES_MAX: u64 = 32 << 20;
/// A list of targets is there within this, or not at all.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);

/// Whose news, and what.
pub type News = (usize, Look);

/// What a look found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Look {
    /// All groups there are, those of earlier looks among them where something failed now; `None`: nothing is known.
    pub places: Option<Places>,
    /// What could not be had.
    pub error: Option<String>,
}

impl Look {
    /// Of several places, each of which was asked by itself: one that fails does not hold back the others' news.
    /// `told`: groups were told before. Then none are left, instead of nothing being known.
    fn of(known: &Places, failed: &[String], told: bool) -> Self {
        let nothing = known.is_empty() && !failed.is_empty() && !told;
        let places = (!nothing).then(|| known.clone());
        Self { places, error: (!failed.is_empty()).then(|| failed.join("; ")) }
    }

    /// Of one place.
    fn whole(place: &str, found: Result<Vec<Group>, String>) -> Self {
        match found {
            Ok(groups) => Self { places: Some([(place.to_owned(), groups)].into()), error: None },
            Err(error) => Self { places: None, error: Some(error) },
        }
    }
}

/// Looks again and again until `stop`; ends earlier when nobody listens. `known` was found before a reload.
pub async fn run(
    number: usize,
    discovery: Discovery,
    known: Option<Places>,
    tell: mpsc::Sender<News>,
    stop: CancellationToken,
) {
    let mut watch = match &discovery {
        Discovery::File { files, .. } => Watch::new(files),
        _ => Watch::none(),
    };
    let refresh = match &discovery {
        Discovery::File { refresh, .. } | Discovery::Dns { refresh, .. } | Discovery::Http { refresh, .. } => *refresh,
    };
    watch.begin().await;
    // One that a reload brought tells of its first look, whatever that finds.
    let mut last = Look { places: known.clone(), error: None };
    let mut known = known.unwrap_or_default();
    loop {
        let found = tokio::select! {
            () = stop.cancelled() => return,
            found = look(&discovery, &mut known, last.places.is_some()) => found,
        };
        if last != found {
            // Said once, not at every look.
            if let Some(error) = found.error.as_ref().filter(|_| last.error != found.error) {
                tracing::warn!(error, "targets could not be discovered; those known go on");
            }
            last = found.clone();
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

async fn look(discovery: &Discovery, known: &mut Places, told: bool) -> Look {
    match discovery {
        Discovery::File { files, .. } => {
            let (files, mut before) = (files.clone(), known.clone());
            let read = tokio::task::spawn_blocking(move || {
                let failed = read_files(&files, &mut before);
                (before, failed)
            });
            match read.await {
                Ok((now, failed)) => {
                    *known = now;
                    Look::of(known, &failed, told)
                }
                Err(e) => Look::whole("", Err(e.to_string())),
            }
        }
        Discovery::Dns { names, kind, port, server, .. } => {
            let dns = match Dns::new(*server) {
                Ok(dns) => dns,
                Err(error) => return Look::whole("", Err(error)),
            };
            let mut failed = Vec::new();
            for name in names {
                match dns.look_up(name, DnsKind::named(kind), port.unwrap_or(0)).await {
                    Ok(groups) => drop(known.insert(name.clone(), groups)),
                    Err(error) => failed.push(error),
                }
            }
            Look::of(known, &failed, told)
        }
        Discovery::Http { url, http, refresh } => Look::whole(url, ask(url, http, *refresh).await),
    }
}

/// The list of targets at an address.
async fn ask(url: &str, http: &Http, refresh: Duration) -> Result<Vec<Group>, String> {
    let client = JobClient::new(spec::http(http, None))?;
    let parsed = Url::parse(url).map_err(|e| e.to_string())?;
    let ask = Ask {
        url: &parsed,
        timeout: LIST_TIMEOUT,
        body_bytes_max: LIST_BYTES_MAX,
        accept: "application/json",
        pace: AskPace::Refresh(refresh),
    };
    let mut body = Vec::new();
    // The address may hold a token; its host says enough.
    let host = parsed.host_str().unwrap_or_default();
    client.fetch_any(ask, &mut body).await.map_err(|e| format!("{host}: {e}"))?;
    let text = String::from_utf8(body).map_err(|_| format!("{host}: the list of targets is not UTF-8"))?;
    let groups = targets_from_json(&text).map_err(|e| format!("{host}: the list of targets: {e}"))?;
    let name = without_secrets(parsed.clone());
    Ok(groups.iter().map(|g| with(spec::group(g), "__meta_url", &name)).collect())
}

/// An address without what may be a password or a token: labels of targets are shown to whoever may read.
fn without_secrets(mut url: Url) -> String {
    url.set_query(None);
    // An address that cannot have them has none.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.into()
}

/// Reads all files there are. Of one that cannot be read the groups go on that were there; why is yielded.
fn read_files(patterns: &[PathBuf], known: &mut Places) -> Vec<String> {
    let mut failed = Vec::new();
    let mut now = Places::new();
    for pattern in patterns {
        let paths = match target_files(pattern) {
            Ok(paths) => paths,
            Err(error) => {
                failed.push(error);
                let there = known.extract_if(.., |name, _| Path::new(name).parent() == pattern.parent());
                now.extend(there);
                continue;
            }
        };
        for path in paths {
            let name = path.display().to_string();
            match targets_from_file(&path) {
                Ok(groups) => {
                    let groups = groups.iter().map(|g| with(spec::group(g), "__meta_filepath", &name)).collect();
                    now.insert(name, groups);
                }
                Err(error) => {
                    failed.push(error);
                    now.extend(known.remove_entry(&name));
                }
            }
        }
    }
    *known = now;
    failed
}

fn with(mut group: Group, name: &str, value: &str) -> Group {
    let mut labels: LabelsBuilder = group.labels.to_builder();
    labels.set(name, value);
    group.labels = labels.build();
    group
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_read_holds_back_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let patterns = [folder.path().join("*.json")];
        let (mut known, mut told) = (Places::new(), false);
        let mut look = || {
            let failed = read_files(&patterns, &mut known);
            let look = Look::of(&known, &failed, told);
            told |= look.places.is_some();
            let targets = look.places.map(|p| p.into_values().flatten().flat_map(|g| g.addresses).collect::<Vec<_>>());
            (targets, look.error.is_some())
        };
        let found = |targets: &[&str]| Some(targets.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>());
        put("b.json", "[");
        assert_eq!(look(), (None, true), "nothing is known");
        put("a.json", r#"[{"targets": ["a:1"]}]"#);
        assert_eq!(look(), (found(&["a:1"]), true));
        put("b.json", r#"[{"targets": ["b:1"]}]"#);
        assert_eq!(look(), (found(&["a:1", "b:1"]), false));
        put("b.json", "oops");
        put("a.json", r#"[{"targets": ["a:2"]}]"#);
        assert_eq!(look(), (found(&["a:2", "b:1"]), true), "what was known of the broken one goes on");
        std::fs::remove_file(folder.path().join("b.json")).unwrap();
        assert_eq!(look(), (found(&["a:2"]), false));
        put("never.json", "[");
        std::fs::remove_file(folder.path().join("a.json")).unwrap();
        assert_eq!(look(), (found(&[]), true), "targets of a deleted file go, whatever another file holds");
    }

    #[test]
    fn an_address_among_labels_has_no_secrets() {
        let url = Url::parse("https://me:word@sd.example.com/targets?token=x").unwrap();
        assert_eq!(without_secrets(url), "https://sd.example.com/targets");
    }
}
