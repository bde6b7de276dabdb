//! `belfry run` and `belfry demo`: start, serve, reload on SIGHUP, drain on SIGTERM.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use belfry_config::{Config, LoadInput, Loaded, Problem};
use belfry_dashboard::AccessPolicy;
use belfry_dashboard::dto::{Notice, NoticeLevel};
use belfry_model::{Clock, JournalEntry, Labels, TimestampMs};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::start;
use crate::app::{self, App, Opened, Outputs};
use crate::cli::{ConfigArgs, DemoArgs, RunArgs};
use crate::clock::SystemClock;
use crate::driver::lock_watch::LockFile;
use crate::driver::maintain::Syncing;
use crate::driver::{self, Perform};
use crate::retention::Retention;
use crate::say;
use crate::sources::{HealthCell, Source};
use crate::telemetry::{logs, traces};
use crate::view::backend::Dashboard;
use crate::view::publisher;
use crate::{demo, engine, reload, telemetry, token};

/// Open requests get this long when the process drains.
const DRAIN: Duration = Duration::from_secs(5);

/// Runs until a signal.
pub fn run(arguments: &RunArgs) -> Result<ExitCode> {
    reactor()?.block_on(serve(input(arguments), None, CancellationToken::new()))
}

/// What the config of a run is read with.
pub fn input(arguments: &RunArgs) -> LoadInput {
    let flags = [
        ("--listen", "server.listen", arguments.listen.clone()),
        ("--data", "storage.path", arguments.data.as_ref().map(|p| p.display().to_string())),
    ];
    super::config::input(&arguments.config, &flags)
}

/// Runs the demo until a signal.
pub fn demo(arguments: &DemoArgs) -> Result<ExitCode> {
    reactor()?.block_on(async {
        let stop = CancellationToken::new();
        let ends = demo::start(stop.clone()).await?;
        let (folder, temporary) = match &arguments.data {
            Some(folder) => (folder.clone(), false),
            None => (std::env::temp_dir().join(format!("belfry-demo-{}", std::process::id())), true),
        };
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let file = folder.join("demo.toml");
        std::fs::write(&file, demo::config(&ends)).with_context(|| format!("cannot write {}", file.display()))?;
        let config = ConfigArgs { config: Some(file), ..ConfigArgs::default() };
        let data = folder.join("data").display().to_string();
        let flags =
            [("--listen", "server.listen", Some(arguments.listen.clone())), ("--data", "storage.path", Some(data))];
        let input = super::config::input(&config, &flags);
        let outcome = serve(input, Some(&ends), stop).await;
        if temporary {
            // What is left of a temporary folder is the system's to clean.
            let _ = std::fs::remove_dir_all(&folder);
        }
        outcome
    })
}

fn reactor() -> Result<tokio::runtime::Runtime> {
    // One provider for all TLS in the process: mixing two panics at run time.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("belfry").build().context("no reactor")
}

async fn serve(input: LoadInput, demo: Option<&demo::Demo>, stop: CancellationToken) -> Result<ExitCode> {
    let begin = Instant::now();
    // Whether there is a version of a rule file that is away shows once the data folder is open.
    let loaded = load(&LoadInput { rule_files_may_be_away: true, ..input.clone() })?;
    let tracing = traces::Traces::new(&loaded.config.telemetry)?;
    let logs = logs::install(&loaded.config.telemetry, tracing.as_ref())?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let outcome = serve_with(loaded, input, logs, demo, stop, begin).await;
    if let Some(tracing) = tracing {
        // Sending the last spans blocks.
        let _ = tokio::task::spawn_blocking(move || tracing.shutdown()).await;
    }
    outcome
}

fn load(input: &LoadInput) -> Result<Loaded> {
    Config::load(input).map_err(|problems| anyhow::anyhow!("the config is refused\n{problems}"))
}

/// Blocks and connections are open files, and the 1,024 that many systems begin with are few; programs that cannot have
/// more are why.
fn open_as_many_files_as_allowed() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "no more than {:?} files can be open", limit.current);
    }
}

async fn serve_with(
    loaded: Loaded,
    input: LoadInput,
    logs: logs::LogControl,
    demo: Option<&demo::Demo>,
    stop: CancellationToken,
    begin: Instant,
) -> Result<ExitCode> {
    open_as_many_files_as_allowed();
    let listener = start::listen(&loaded).map_err(cannot_start)?;
    let listener = TcpListener::from_std(listener).context("the address it listens at")?;
    let address = listener.local_addr().context("the address it listens at")?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let missing = crate::builtins::missing();
    if !missing.is_empty() {
        tracing::warn!(
            "built-in plugins that this binary does not carry: {}; build them with `cargo xtask plugins`",
            missing.join(", ")
        );
    }
    if let Some(warning) = start::before_engine(&loaded) {
        tracing::warn!("{warning}");
    }
    let left_in_queue = start::left_in_queue(&loaded);
    let opened = open_data(&loaded, clock.now()).await?;
    let lock = LockFile::of(&loaded.config.storage);
    opened.0.refuse_ahead_of(clock.clone());
    let retention = open_retention(&loaded, &opened, clock.now()).await?;
    let (app, outputs) = App::open(loaded, input, opened, logs, clock, address).await?;
    if app.rule_files.lacks_a_version(&app.loaded.load().config.rule_settings.patterns) {
        load(&app.load_input)?;
    }
    let admin = token::admin(&app.loaded.load().config)?;
    let organs_stop = CancellationToken::new();
    // Before anything is acknowledged.
    let syncing = start_syncing(&app, &organs_stop)?;
    let beyond_loopback = !address.ip().is_loopback();
    let policy = AccessPolicy {
        token: admin.clone(),
        reads_need_token: beyond_loopback,
        allowed_hosts: app.loaded.load().config.server.allowed_hosts.clone(),
    };
    let (closing_tell, closing) = tokio::sync::watch::channel(false);
    let routes = belfry_dashboard::router(
        Arc::new(Dashboard(app.clone())),
        policy,
        closing.clone(),
        belfry_ingest::push::routes(app.push.clone()).merge(belfry_ingest::push::import_routes(app.import.clone())),
    );
    let mut closed = closing.clone();
    let http = tokio::spawn(async move {
        axum::serve(listener, routes)
            .with_graceful_shutdown(async move {
                let _ = closed.wait_for(|c| *c).await;
            })
            .await
    });
    let mut tasks = start_organs(&app, outputs, syncing, retention, &organs_stop);
    if let Some(left) = left_in_queue {
        tell_left(&app, left);
    }
    tell_salvaged(&app);
    tasks.spawn(driver::lock_watch::run(app.clone(), lock, organs_stop.clone()));
    own_source(&app);
    reload::apply(&app).await;
    tasks.spawn(reload::watch_folder(app.clone(), organs_stop.clone()));
    tasks.spawn(publisher::run(app.clone(), organs_stop.clone()));
    tasks.spawn(driver::clock_watch::run(app.clone(), organs_stop.clone()));
    tasks.spawn(driver::series_watch::run(app.clone(), organs_stop.clone()));
    greet(&app, demo, &admin, begin);
    until_signal(&app).await?;

    tracing::info!("draining; a second signal forces");
    let forced = tokio::spawn(second_signal());
    let _ = closing_tell.send(true);
    organs_stop.cancel();
    stop.cancel();
    let drained = tokio::time::timeout(DRAIN, async {
        while tasks.join_next().await.is_some() {}
        app.scraping.close().await;
        app.plugins.close().await;
        let _ = http.await;
    });
    if drained.await.is_err() {
        tracing::warn!("not everything ended in {DRAIN:?}");
    }
    let stopped = app.state.journal_append(app.clock.now(), vec![JournalEntry::Stopped {}]).await;
    if let Err(error) = stopped {
        tracing::error!(%error, "the journal was not written");
    }
    let store = app.store.clone();
    let _ = tokio::task::spawn_blocking(move || store.close()).await;
    if let Err(error) = app.state.close().await {
        // What was acknowledged stands in its log.
        tracing::warn!(%error, "the log of the state was not moved into its file");
    }
    forced.abort();
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// For as long as it runs: what waits stays until a start with the engine.
fn tell_left(app: &App, left: Problem) {
    tracing::warn!("{left}");
    app.notice(Notice {
        code: "engine_queue_left".to_owned(),
        level: NoticeLevel::Warning,
        title: "Samples wait for a storage engine that is switched off".to_owned(),
        text: left.message,
        help: left.help,
        since_ms: app.clock.now(),
    });
}

/// Until the next start, so that nobody misses what may be missing.
fn tell_salvaged(app: &App) {
    let Some(salvaged) = app.state.salvaged() else { return };
    app.notice(Notice {
        code: "state_salvaged".to_owned(),
        level: NoticeLevel::Error,
        title: "Some of the alerts, journal or reports may be missing".to_owned(),
        text: salvaged.to_string(),
        help: Some(salvaged.help()),
        since_ms: app.started,
    });
}

async fn open_data(loaded: &Loaded, now: TimestampMs) -> Result<Opened> {
    app::open_data(&loaded.config, now).await.map_err(|error| match start::data_folder(loaded, &error) {
        Some(problem) => cannot_start(problem),
        None => error,
    })
}

/// After the store, before anything is written to it.
async fn open_retention(loaded: &Loaded, opened: &Opened, now: TimestampMs) -> Result<Retention> {
    let storage = loaded.config.storage.clone();
    let store = opened.0.clone();
    tokio::task::spawn_blocking(move || Retention::open(&storage, &store, now)).await?.context(
        "what is in memory cannot be written to a block, as it must be before the first start with a storage engine",
    )
}

fn cannot_start(problem: Problem) -> anyhow::Error {
    anyhow::anyhow!("cannot start\n{problem}")
}

/// The thread that syncs the log, where the policy wants one.
fn start_syncing(app: &App, stop: &CancellationToken) -> Result<Option<Syncing>> {
    let belfry_config::types::Fsync::Every(every) = app.loaded.load().config.storage.fsync else { return Ok(None) };
    let syncing = Syncing::start(app.store.clone(), every, stop.clone());
    let why = "cannot start the thread that syncs the log; allow the process more threads (`ulimit -u`, a container's \
               limit of pids)";
    syncing.map(Some).context(why)
}

fn start_organs(
    app: &Arc<App>,
    outputs: Outputs,
    syncing: Option<Syncing>,
    retention: Retention,
    stop: &CancellationToken,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let collector: Arc<dyn Perform<_>> = Arc::new(driver::collect::Collector {
        sources: app.sources.clone(),
        ingest: app.ingest.clone(),
        inputs: app.inputs.collect.clone(),
        changes: app.changes.clone(),
        clock: app.clock.clone(),
    });
    let evaluator: Arc<dyn Perform<_>> = Arc::new(driver::rules::Evaluator {
        queries: app.queries.clone(),
        ingest: app.ingest.clone(),
        state: app.state.clone(),
        inputs: app.inputs.rules.clone(),
        notify: app.inputs.notify.clone(),
        changes: app.changes.clone(),
    });
    let messenger: Arc<dyn Perform<_>> = Arc::new(driver::notify::Messenger {
        plugins: app.plugins.clone(),
        channels: app.channels.clone(),
        state: app.state.clone(),
        inputs: app.inputs.notify.clone(),
        external_url: app.external_url.clone(),
        changes: app.changes.clone(),
        clock: app.clock.clone(),
    });
    let publisher: Arc<dyn Perform<_>> = Arc::new(driver::reports::Publisher {
        plugins: app.plugins.clone(),
        channels: app.channels.clone(),
        state: app.state.clone(),
        making: app.making.clone(),
        external_url: app.external_url.clone(),
        changes: app.changes.clone(),
        clock: app.clock.clone(),
    });
    let (clock, organs) = (&app.clock, &app.organs);
    tasks.spawn(driver::drive(organs.collection.clone(), outputs.collect, collector, clock.clone(), stop.clone()));
    tasks.spawn(driver::drive(organs.rules.clone(), outputs.rules, evaluator, clock.clone(), stop.clone()));
    tasks.spawn(driver::drive(organs.notify.clone(), outputs.notify, messenger, clock.clone(), stop.clone()));
    tasks.spawn(driver::drive(organs.reports.clone(), outputs.reports, publisher, clock.clone(), stop.clone()));
    tasks.spawn(crate::rule_files::evaluate(app.clone(), stop.clone()));
    tasks.spawn(crate::rule_files::watch(app.clone(), stop.clone()));
    if let Some(engine) = &app.engine {
        tasks.spawn(engine::run(app.clone(), engine.clone(), stop.clone()));
        tasks.spawn(engine::sync(engine.clone(), stop.clone()));
        tasks.spawn(engine::watch(engine.clone(), stop.clone()));
    }
    let upkeep = driver::maintain::Upkeep {
        store: app.store.clone(),
        state: app.state.clone(),
        retention: Arc::new(Mutex::new(retention)),
        app: app.clone(),
        syncing,
    };
    tasks.spawn(driver::maintain::run(upkeep, clock.clone(), stop.clone()));
    tasks
}

/// Belfry is a source too.
fn own_source(app: &Arc<App>) {
    let told = Arc::new(HealthCell::default());
    let producer = telemetry::source::OwnProducer::new(Arc::downgrade(app), told.clone());
    app.sources.put(Source {
        name: telemetry::source::NAME.to_owned(),
        kind: "internal",
        plugin: None,
        interval: app.loaded.load().config.collection.interval,
        labels: Labels::from_pairs([(crate::spec::SOURCE_LABEL, telemetry::source::NAME)]),
        producer: Arc::new(producer),
        told,
        title: Mutex::new("Belfry itself".to_owned()),
        status: Mutex::default(),
    });
}

/// Says where to look. On standard output: it is the answer of the command, not a log line.
fn greet(app: &App, demo: Option<&demo::Demo>, admin: &str, begin: Instant) {
    let config = &app.loaded.load().config;
    say!("Belfry {} is up after {:.2} s", env!("CARGO_PKG_VERSION"), begin.elapsed().as_secs_f64());
    say!("  dashboard  http://{}", app.address);
    if config.server.token.is_none() {
        let file: PathBuf = token::path(config);
        say!("  manage     http://{}/#token={admin}   (the token is in {})", app.address, file.display());
    }
    say!("  data       {}", config.storage.path.display());
    if let Some(demo) = demo {
        say!(
            "  watching   this machine, and an MCP server at http://{}/mcp that is down 25 s of every minute",
            demo.mcp
        );
        say!("  expect     an alert within a minute, resolved within two; a report every three minutes");
    }
}

/// The same number on every system that Belfry runs on.
const SIGXFSZ: i32 = 25;

async fn until_signal(app: &Arc<App>) -> Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // A limit on the size of files would end the process; taken, it is a write that fails, and told as a full disk.
    let _too_large = signal(SignalKind::from_raw(SIGXFSZ))?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            // What was wrong is in the log, the journal and on the dashboard.
            _ = hangup.recv() => drop(reload::reload(app).await),
        }
    }
}

async fn second_signal() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::warn!("forced");
    std::process::exit(1);
}
