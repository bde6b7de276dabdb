//! The program as a whole: its parts, put together in the order in which they need each other.
//!
//! Not here: what each part does.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use arc_swap::ArcSwap;
use belfry_config::{Config, LoadInput, Loaded};
use belfry_dashboard::backend::LIVE_EVENTS_QUEUED_MAX;
use belfry_dashboard::dto::{LiveEvent, Notice};
use belfry_ingest::{CollectInput, Collection, Ingest, IngestLimits};
use belfry_model::{Clock, JournalEntry, SeriesRead, TimestampMs, Writer};
use belfry_notify::{Notify, NotifyInput};
use belfry_plugin::{Builtins, CompileMode, HostServices, Runtime, RuntimeConfig};
use belfry_reports::{Reports, ReportsInput};
use belfry_rules::{Rules, RulesInput};
use belfry_state::State;
use belfry_store::Store;
use parking_lot::Mutex;
use tokio::sync::broadcast;

use crate::adapters::host_services::{IngestSeries, Reads, StateKv};
use crate::adapters::late_writes::LateWrites;
use crate::changes::Changes;
use crate::driver::notify::Channels;
use crate::driver::reports::Making;
use crate::driver::{Letters, Mailbox, mailbox};
use crate::plugins::PluginSet;
use crate::queries::Queries;
use crate::sources::Sources;
use crate::telemetry::logs::LogControl;
use crate::{builtins, spec};

/// Ways to tell the organs something.
pub struct Inputs {
    /// The collection organ.
    pub collect: Mailbox<CollectInput>,
    /// The rules organ.
    pub rules: Mailbox<RulesInput>,
    /// The notify organ.
    pub notify: Mailbox<NotifyInput>,
    /// The reports organ.
    pub reports: Mailbox<ReportsInput>,
}

/// The other ends.
pub struct Outputs {
    /// The collection organ's.
    pub collect: Letters<CollectInput>,
    /// The rules organ's.
    pub rules: Letters<RulesInput>,
    /// The notify organ's.
    pub notify: Letters<NotifyInput>,
    /// The reports organ's.
    pub reports: Letters<ReportsInput>,
}

/// The organs, shared with those who look at them.
pub struct Organs {
    /// When is who pulled?
    pub collection: Arc<Mutex<Collection>>,
    /// Which condition holds for how long?
    pub rules: Arc<Mutex<Rules>>,
    /// Who hears of it?
    pub notify: Arc<Mutex<Notify>>,
    /// Which report is due?
    pub reports: Arc<Mutex<Reports>>,
}

/// Everything.
pub struct App {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// When the process began.
    pub started: TimestampMs,
    /// What the config was read with.
    pub load_input: LoadInput,
    /// The config of now.
    pub loaded: ArcSwap<Loaded>,
    /// The config of the start: what cannot change while running still runs by it.
    pub started_with: Config,
    /// Where people find it.
    pub external_url: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Samples.
    pub store: Arc<Store>,
    /// Where they go beyond this machine.
    pub engine: Option<Arc<crate::engine::StorageEngine>>,
    /// What reads them: the store, and the engine.
    reader: Arc<dyn SeriesRead>,
    /// Everything else that is kept.
    pub state: Arc<State>,
    /// The way into the store.
    pub ingest: Arc<Ingest>,
    /// Targets that are scraped.
    pub scraping: crate::driver::scrape::Scraping,
    /// Rule files, and who evaluates them.
    pub rule_files: Arc<crate::rule_files::RuleFiles>,
    /// What others push.
    pub push: Arc<belfry_ingest::push::Push>,
    /// What others import.
    pub import: Arc<belfry_ingest::push::Import>,
    /// PromQL.
    pub queries: Arc<Queries>,
    /// What runs.
    pub plugins: Arc<PluginSet>,
    /// Who is pulled.
    pub sources: Arc<Sources>,
    /// What decides.
    pub organs: Organs,
    /// To tell the organs.
    pub inputs: Inputs,
    /// Handlers by channel.
    pub channels: Arc<ArcSwap<Channels>>,
    /// Reports being made.
    pub making: Arc<Mutex<BTreeMap<String, Making>>>,
    /// The log level.
    pub logs: LogControl,
    /// Marks for the publisher.
    pub changes: Changes,
    /// To every open page.
    pub live: broadcast::Sender<LiveEvent>,
    /// What a person should know.
    pub notices: Mutex<BTreeMap<String, Notice>>,
    /// For the overview.
    pub rates: crate::view::overview::Rates,
    /// When the config of now was read.
    pub config_read: Mutex<TimestampMs>,
    /// One reload at a time.
    pub reloading: tokio::sync::Mutex<()>,
}

impl App {
    /// Makes the organs as they were, and the plugin runtime. Loads no plugin yet.
    pub async fn open(
        loaded: Loaded,
        load_input: LoadInput,
        (store, state): Opened,
        logs: LogControl,
        clock: Arc<dyn Clock>,
        address: SocketAddr,
    ) -> Result<(Arc<Self>, Outputs)> {
        let config = &loaded.config;
        let now = clock.now();
        let engine = crate::engine::open(&config.storage, clock.clone())?;
        let reader = engine.as_ref().map_or_else(|| store.clone() as Arc<dyn SeriesRead>, |e| e.reader(store.clone()));
        let new_queries = |on_time| {
            Queries::new(reader.clone(), clock.clone(), on_time, &config.queries, config.rule_settings.interval)
        };
        let queries = match &engine {
            None => new_queries(crate::queries::ON_TIME),
            // Others write to the engine, too: nothing that was read from it is final.
            Some(e) => new_queries(Duration::MAX).passing(e.pass(), store.clone()),
        };
        let queries = Arc::new(queries);
        let limits = IngestLimits { series_total: config.storage.series_limit, ..IngestLimits::default() };
        let writer = engine.as_ref().map_or_else(|| store.clone() as Arc<dyn Writer>, |e| e.writer(store.clone()));
        let writer = Arc::new(LateWrites { writer, queries: queries.clone() });
        let ingest = Arc::new(Ingest::new(writer, limits));
        let push = Arc::new(belfry_ingest::push::Push::new(ingest.clone(), clock.clone(), None));
        push.durable_acks(config.storage.durable_ack);
        let backfill = match &engine {
            None => crate::adapters::backfill::of(store.clone(), queries.clone()),
            Some(e) => e.backfill(store.clone()),
        };
        let import = Arc::new(belfry_ingest::push::Import::new(ingest.clone(), clock.clone(), Some(backfill)));
        let services = HostServices {
            clock: clock.clone(),
            series: Arc::new(IngestSeries(ingest.clone())),
            kv: Arc::new(StateKv(state.clone())),
            query: Arc::new(Reads { queries: queries.clone(), state: state.clone() }),
        };
        let runtime = Runtime::new(runtime_config(config)?, services)?;
        let sources = Arc::new(Sources::default());
        let changes = Changes::default();
        let (inputs, outputs) = channels();
        let plugins = Arc::new(PluginSet::new(
            runtime,
            ingest.clone(),
            state.clone(),
            sources.clone(),
            inputs.collect.clone(),
            changes.clone(),
            clock.clone(),
        ));
        let remembered = state.alerts().await?;
        let organs = Organs {
            collection: Arc::new(Mutex::new(Collection::new())),
            rules: Arc::new(Mutex::new(Rules::new(remembered.clone()))),
            notify: Arc::new(Mutex::new(Notify::new(state.notify_groups().await?))),
            reports: Arc::new(Mutex::new(Reports::new())),
        };
        // What rules and notify remember may differ by what was between the two when the process ended.
        let rule_files = Arc::new(crate::rule_files::RuleFiles::open(&state).await?);
        let of_files = rule_files.remembered().iter().copied();
        let known = remembered.iter().map(|a| a.fingerprint).chain(of_files).collect();
        inputs.notify.send(NotifyInput::Remembered(known)).await;
        let (live, _) = broadcast::channel(LIVE_EVENTS_QUEUED_MAX);
        let entry = JournalEntry::Started {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            config_digest: loaded.digest.clone(),
        };
        // A full disk is no reason not to watch: what can be read is read, and what is too old is deleted.
        if let Err(error) = state.journal_append(now, vec![entry]).await {
            tracing::error!(%error, "the start is not in the journal");
        }
        let app = Self {
            scraping: crate::driver::scrape::Scraping::new(ingest.clone(), clock.clone(), changes.clone()),
            started: now,
            external_url: config.server.external_url.clone().unwrap_or_else(|| format!("http://{address}")),
            address,
            started_with: config.clone(),
            loaded: ArcSwap::from_pointee(loaded),
            channels: Arc::default(),
            making: Arc::default(),
            notices: Mutex::default(),
            reloading: tokio::sync::Mutex::default(),
            config_read: Mutex::new(now),
            rates: Default::default(),
            clock,
            load_input,
            engine,
            reader,
            store,
            state,
            ingest,
            push,
            import,
            rule_files,
            queries,
            plugins,
            sources,
            organs,
            inputs,
            logs,
            changes,
            live,
        };
        Ok((Arc::new(app), outputs))
    }

    /// What reads go to.
    pub fn store_reader(&self) -> Arc<dyn SeriesRead> {
        self.reader.clone()
    }

    /// Shows a notice until it is taken back.
    pub fn notice(&self, notice: Notice) {
        self.notices.lock().insert(notice.code.clone(), notice);
        self.changes.tell(crate::changes::Changed::Overview);
    }

    /// Takes a notice back.
    pub fn no_notice(&self, code: &str) {
        if self.notices.lock().remove(code).is_some() {
            self.changes.tell(crate::changes::Changed::Overview);
        }
    }
}

/// The state's file in the data folder.
pub const STATE_FILE: &str = "state.sqlite";

/// What is kept.
pub type Opened = (Arc<Store>, Arc<State>);

/// Opens what is kept.
pub async fn open_data(config: &Config, now: TimestampMs) -> Result<Opened> {
    let storage = config.storage.clone();
    let opened = tokio::task::spawn_blocking(move || -> Result<_> {
        if storage.backend == belfry_config::types::Backend::Disk {
            crate::commands::backup::refuse_half_restored(&storage.path)?;
        }
        let (store, recovery) = Store::open(store_config(&storage), Arc::new(belfry_store::RealDisk), now)?;
        if recovery.torn_bytes > 0 {
            tracing::info!(bytes = recovery.torn_bytes, "cut a write that a crash interrupted");
        }
        let state = match storage.backend {
            belfry_config::types::Backend::Memory => State::in_memory()?,
            belfry_config::types::Backend::Disk => State::open(storage.path.join(STATE_FILE))?,
        };
        if let Some(salvaged) = state.salvaged() {
            tracing::error!("{salvaged}; {}", salvaged.help());
        }
        Ok((store, Arc::new(state)))
    });
    opened.await.context("opening the data folder failed")?
}

fn store_config(storage: &belfry_config::types::Storage) -> belfry_store::StoreConfig {
    use belfry_config::types::{Backend, Fsync};
    let base = match storage.backend {
        Backend::Memory => belfry_store::StoreConfig::memory(),
        Backend::Disk => belfry_store::StoreConfig::folder(&storage.path),
    };
    belfry_store::StoreConfig {
        fsync: match storage.fsync {
            Fsync::Always => belfry_store::FsyncPolicy::Always,
            Fsync::Every(_) => belfry_store::FsyncPolicy::Interval,
            Fsync::Never => belfry_store::FsyncPolicy::Never,
        },
        retention: storage.retention,
        retention_bytes: storage.retention_bytes,
        out_of_order_window: storage.out_of_order_window,
        series_max: storage.series_limit,
        downsample: storage.downsample.iter().map(downsample).collect(),
        ..base
    }
}

fn downsample(step: &belfry_config::types::Downsample) -> belfry_store::Downsample {
    belfry_store::Downsample { after: step.after, resolution: step.resolution }
}

fn runtime_config(config: &Config) -> Result<RuntimeConfig> {
    let exe = std::env::current_exe().context("cannot tell which program this is")?;
    let compile = CompileMode::ChildProcess { exe, args: vec!["compile-component".to_owned()] };
    let cache = component_cache(config);
    let carried = Builtins::Embedded(Arc::new(builtins::component));
    let mut runtime = RuntimeConfig::new(cache, compile, carried);
    runtime.memory_slot_bytes = usize::try_from(config.plugin_memory_slot_bytes).unwrap_or(usize::MAX);
    runtime.instances_max = config.plugin_instances;
    runtime.http.traces = Some(Arc::new(crate::telemetry::traces::traceparent));
    runtime.smtp = config.smtp.as_ref().map(spec::smtp);
    Ok(runtime)
}

/// Compiled components are the user's, not the data folder's: another data folder need not compile them again.
fn component_cache(config: &Config) -> PathBuf {
    let var = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    var("XDG_CACHE_HOME")
        .or_else(|| var("HOME").map(|home| home.join(".cache")))
        .map_or_else(|| config.storage.path.join("cache"), |cache| cache.join("belfry").join("components"))
}

fn channels() -> (Inputs, Outputs) {
    let (collect, collect_out) = mailbox();
    let (rules, rules_out) = mailbox();
    let (notify, notify_out) = mailbox();
    let (reports, reports_out) = mailbox();
    let inputs = Inputs { collect, rules, notify, reports };
    (inputs, Outputs { collect: collect_out, rules: rules_out, notify: notify_out, reports: reports_out })
}
