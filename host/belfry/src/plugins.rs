//! The set of plugins: loads, swaps and drains until what runs is what is wanted.
//!
//! Invariant: a plugin that cannot be loaded, or whose newer component is refused, is told of (log, journal, API), and
//! whatever ran before goes on. Plugins are handled side by side: one never waits for another's compile.
//! Not here: where the wish comes from (config, plugin folder), the runtime itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use belfry_ingest::{CollectInput, Ingest};
use belfry_model::{Clock, JournalEntry, TimestampMs};
use belfry_plugin::{ComponentSource, Kind, LoadError, Plugin, PluginSpec, Runtime};
use belfry_state::State;
use parking_lot::Mutex;

use crate::adapters::producer::PluginProducer;
use crate::changes::{Changed, Changes};
use crate::driver::Mailbox;
use crate::sources::{HealthCell, Source, Sources};

/// A plugin that ought to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// What it is.
    pub spec: PluginSpec,
    /// Set when it is pulled: how often.
    pub interval: Option<Duration>,
}

/// How a component file was when it was last read: enough to see that it was replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FileMark(Option<(SystemTime, u64)>);

impl FileMark {
    fn of(source: &ComponentSource) -> Self {
        match source {
            ComponentSource::Builtin(_) => Self(None),
            ComponentSource::File(path) => {
                let meta = std::fs::metadata(path).ok();
                Self(meta.and_then(|m| Some((m.modified().ok()?, m.len()))))
            }
        }
    }
}

/// One plugin of the set.
#[derive(Clone)]
pub struct Entry {
    /// What was wanted last.
    pub wanted: Wanted,
    /// What runs; `None` when nothing could be loaded.
    pub plugin: Option<Plugin>,
    /// Why the last wish was not followed.
    pub refused: Option<LoadError>,
    /// Since when.
    pub refused_at: Option<TimestampMs>,
    /// When what runs was loaded.
    pub loaded: Option<TimestampMs>,
    /// Being loaded or swapped.
    pub busy: bool,
    mark: FileMark,
}

/// What the set needs of its surroundings.
pub struct PluginSet {
    runtime: Arc<Runtime>,
    ingest: Arc<Ingest>,
    state: Arc<State>,
    sources: Arc<Sources>,
    schedule: Mailbox<CollectInput>,
    changes: Changes,
    clock: Arc<dyn Clock>,
    entries: Mutex<BTreeMap<String, Entry>>,
    /// One `apply` at a time: the wish that came last must win.
    applying: tokio::sync::Mutex<()>,
}

impl PluginSet {
    /// An empty set.
    pub fn new(
        runtime: Arc<Runtime>,
        ingest: Arc<Ingest>,
        state: Arc<State>,
        sources: Arc<Sources>,
        schedule: Mailbox<CollectInput>,
        changes: Changes,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (entries, applying) = Default::default();
        Self { runtime, ingest, state, sources, schedule, changes, clock, entries, applying }
    }

    /// The plugin of that name, if it runs.
    pub fn get(&self, name: &str) -> Option<Plugin> {
        self.entries.lock().get(name).and_then(|e| e.plugin.clone())
    }

    /// All, in order of name.
    pub fn all(&self) -> Vec<(String, Entry)> {
        self.entries.lock().iter().map(|(n, e)| (n.clone(), e.clone())).collect()
    }

    /// One.
    pub fn entry(&self, name: &str) -> Option<Entry> {
        self.entries.lock().get(name).cloned()
    }

    /// Makes what runs what is wanted: loads the new, swaps the changed (also those whose file changed), drains the
    /// rest. Returns when all is done or refused.
    pub async fn apply(&self, wanted: Vec<Wanted>) {
        let _one = self.applying.lock().await;
        let names: BTreeSet<String> = wanted.iter().map(|w| w.spec.name.clone()).collect();
        let gone: Vec<String> = self.entries.lock().keys().filter(|n| !names.contains(*n)).cloned().collect();
        let removals = gone.iter().map(|name| self.remove(name));
        let news = wanted.into_iter().filter(|w| self.is_news(w));
        // Those that measure come first: their samples cannot be had later.
        let (sources, others): (Vec<_>, Vec<_>) = news.partition(|w| w.interval.is_some());
        let changes = async {
            futures::future::join_all(sources.into_iter().map(|w| self.put(w))).await;
            futures::future::join_all(others.into_iter().map(|w| self.put(w))).await;
        };
        futures::join!(futures::future::join_all(removals), changes);
    }

    /// Reads the plugin's component again and swaps it in.
    pub async fn reload(&self, name: &str) -> Option<Result<(), LoadError>> {
        let _one = self.applying.lock().await;
        let wanted = self.entry(name)?.wanted;
        Some(self.put(wanted).await)
    }

    /// Drains all: the process ends.
    pub async fn close(&self) {
        let _one = self.applying.lock().await;
        let plugins: Vec<Plugin> = self.entries.lock().values().filter_map(|e| e.plugin.clone()).collect();
        futures::future::join_all(plugins.iter().map(Plugin::drain)).await;
    }

    fn is_news(&self, wanted: &Wanted) -> bool {
        let entries = self.entries.lock();
        entries
            .get(&wanted.spec.name)
            .is_none_or(|e| e.wanted != *wanted || e.mark != FileMark::of(&wanted.spec.source))
    }

    async fn put(&self, wanted: Wanted) -> Result<(), LoadError> {
        let name = wanted.spec.name.clone();
        let mark = FileMark::of(&wanted.spec.source);
        let old = {
            let mut entries = self.entries.lock();
            let entry = entries.entry(name.clone()).or_insert_with(|| Entry {
                wanted: wanted.clone(),
                plugin: None,
                refused: None,
                refused_at: None,
                loaded: None,
                busy: true,
                mark: mark.clone(),
            });
            entry.busy = true;
            entry.plugin.clone()
        };
        self.changes.tell(Changed::Plugins);
        let before = old.as_ref().map(Plugin::digest);
        if wanted.interval.is_some() {
            let limit = u64::from(wanted.spec.limits.series);
            self.ingest.register(&name, wanted.spec.host_labels.clone(), Some(limit));
        }
        let outcome = match old {
            Some(plugin) => plugin.swap(wanted.spec.clone()).await.map(|()| plugin),
            None => self.runtime.load(wanted.spec.clone()).await,
        };
        let now = self.clock.now();
        let result = match outcome {
            Ok(plugin) => {
                self.took_over(&plugin, &wanted, before, now).await;
                self.finish(&name, |e| {
                    e.wanted = wanted;
                    e.plugin = Some(plugin);
                    e.refused = None;
                    e.refused_at = None;
                    e.loaded = Some(now);
                    e.mark = mark;
                });
                Ok(())
            }
            Err(error) => {
                tracing::error!(plugin = name, reason = error.reason, help = error.help, "not loaded");
                let reason = format!("{}; {}", error.reason, error.help);
                self.journal(now, JournalEntry::PluginRefused { plugin: name.clone(), digest: None, reason }).await;
                self.finish(&name, |e| {
                    // The wish is remembered, so that only a change of it or of the file tries again.
                    e.wanted = wanted;
                    e.mark = mark;
                    e.refused = Some(error.clone());
                    e.refused_at = Some(now);
                });
                Err(error)
            }
        };
        self.changes.tell(Changed::Plugins);
        result
    }

    fn finish(&self, name: &str, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.entries.lock().get_mut(name) {
            change(entry);
            entry.busy = false;
        }
    }

    async fn took_over(&self, plugin: &Plugin, wanted: &Wanted, before: Option<String>, now: TimestampMs) {
        let name = wanted.spec.name.clone();
        let (digest, descriptor) = (plugin.digest(), plugin.descriptor());
        if before.as_ref() != Some(&digest) {
            tracing::info!(
                plugin = name,
                version = descriptor.version,
                digest = &digest[..12.min(digest.len())],
                "loaded"
            );
            let entry = JournalEntry::PluginSwapped {
                plugin: name.clone(),
                from: before,
                to: Some(digest.clone()),
                version: descriptor.version.clone(),
            };
            self.journal(now, entry).await;
            if let Err(error) = self.state.component_started(&name, &digest, &descriptor.version, now).await {
                tracing::error!(%error, "which component ran was not kept");
            }
        }
        let Some(interval) = wanted.interval else { return };
        for metadata in plugin.metadata() {
            self.ingest.declare(metadata);
        }
        let kinds = plugin.kinds();
        let is_source = kinds.contains(&Kind::MetricSource);
        if !is_source && !kinds.contains(&Kind::Collector) {
            return;
        }
        let told = Arc::new(HealthCell::default());
        let producer = PluginProducer { plugin: plugin.clone(), ingest: self.ingest.clone(), told: told.clone() };
        let mut title = descriptor.summary.clone();
        if is_source && let Ok(identity) = plugin.identify().await {
            title = identity.title;
        }
        self.sources.put(Source {
            name: name.clone(),
            kind: if is_source { "metric_source" } else { "collector" },
            plugin: Some(name),
            interval,
            labels: wanted.spec.host_labels.clone(),
            producer: Arc::new(producer),
            told,
            title: Mutex::new(title),
            status: Mutex::default(),
        });
        self.reschedule().await;
    }

    async fn remove(&self, name: &str) {
        let Some(entry) = self.entry(name) else { return };
        self.sources.remove(name);
        self.reschedule().await;
        let now = self.clock.now();
        if let Some(plugin) = entry.plugin {
            let last = plugin.drain().await;
            if let Err(error) = self.ingest.append(last).await {
                tracing::warn!(plugin = name, %error, "its series were not marked as ended");
            }
            let entry = JournalEntry::PluginSwapped {
                plugin: name.to_owned(),
                from: Some(plugin.digest()),
                to: None,
                version: String::new(),
            };
            self.journal(now, entry).await;
            if let Err(error) = self.state.component_ended(name, now).await {
                tracing::error!(%error, "which component ran was not kept");
            }
        }
        if entry.wanted.interval.is_some()
            && let Err(error) = self.ingest.retire(name, now).await
        {
            tracing::warn!(plugin = name, %error, "its series were not closed");
        }
        self.entries.lock().remove(name);
        tracing::info!(plugin = name, "removed");
        self.changes.tell(Changed::Plugins);
        self.changes.tell(Changed::Sources);
    }

    /// Tells the collection organ who is pulled.
    pub async fn reschedule(&self) {
        self.schedule.send(CollectInput::Configure(self.sources.schedules())).await;
    }

    async fn journal(&self, at: TimestampMs, entry: JournalEntry) {
        if let Err(error) = self.state.journal_append(at, vec![entry]).await {
            tracing::error!(%error, "the journal was not written");
        }
    }
}

/// What a plugin of the plugin folder is called: its file's name without the ending.
pub fn name_of(path: &Path) -> Option<String> {
    let stem = path.file_stem()?.to_str()?;
    (path.extension()? == "wasm" && !stem.starts_with('.') && !stem.is_empty()).then(|| stem.to_owned())
}
