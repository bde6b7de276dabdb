//! Takes a config: at the start, and again while running.
//!
//! Invariant: a config that is refused changes nothing. What cannot change while running (address, storage) is told of
//! and waits for a restart.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use belfry_config::types::Source;
use belfry_config::{Config, Loaded};
use belfry_dashboard::dto::{Notice, NoticeLevel};
use belfry_model::JournalEntry;
use belfry_notify::NotifyInput;
use belfry_reports::ReportsInput;
use belfry_rules::RulesInput;

use crate::app::App;
use crate::changes::Changed;
use crate::driver::notify::Channels;
use crate::plugins::{Wanted, name_of};
use crate::spec;

/// Code of the notice about a refused config.
pub const REFUSED: &str = "config_refused";
/// Code of the notice about what waits for a restart.
const WAITS: &str = "config_waits";

/// Reads the files again. Answers with what of the new config waits for a restart. The error has every problem; the old
/// config goes on.
pub async fn reload(app: &Arc<App>) -> Result<Vec<String>, String> {
    let _one = app.reloading.lock().await;
    let now = app.clock.now();
    match Config::load(&app.load_input) {
        Ok(loaded) => {
            let entry = JournalEntry::ConfigLoaded { digest: loaded.digest.clone(), refused: None };
            journal(app, entry).await;
            for warning in &loaded.warnings {
                tracing::warn!("{warning}");
            }
            // What runs is what counts: a second reload of the same files changes nothing of it.
            let waits = waits_for_restart(&app.started_with, &loaded.config);
            app.loaded.store(Arc::new(loaded));
            *app.config_read.lock() = now;
            app.no_notice(REFUSED);
            belfry_client::reread_system_roots();
            tell_what_waits(app, &waits);
            tracing::info!("config read again");
            apply(app).await;
            Ok(waits)
        }
        Err(problems) => {
            let text = problems.to_string();
            tracing::error!("the new config is refused, the old one goes on:\n{text}");
            let entry = JournalEntry::ConfigLoaded { digest: String::new(), refused: Some(text.clone()) };
            journal(app, entry).await;
            app.notice(Notice {
                code: REFUSED.to_owned(),
                level: NoticeLevel::Error,
                title: "The new config is refused; the old one goes on".to_owned(),
                text: text.clone(),
                help: Some("mend it and reload; `belfry check` says the same without touching what runs".to_owned()),
                since_ms: now,
            });
            Err(text)
        }
    }
}

async fn journal(app: &App, entry: JournalEntry) {
    if let Err(error) = app.state.journal_append(app.clock.now(), vec![entry]).await {
        tracing::error!(%error, "the journal was not written");
    }
}

fn tell_what_waits(app: &App, waits: &[String]) {
    if waits.is_empty() {
        return app.no_notice(WAITS);
    }
    tracing::warn!("a part of the new config waits for a restart: {}", waits.join(", "));
    let since_ms = app.notices.lock().get(WAITS).map_or_else(|| app.clock.now(), |n| n.since_ms);
    app.notice(Notice {
        code: WAITS.to_owned(),
        level: NoticeLevel::Warning,
        title: "A part of the new config waits for a restart".to_owned(),
        text: waits.join("\n"),
        help: Some("restart Belfry when it suits".to_owned()),
        since_ms,
    });
}

/// What differs from what runs.
fn waits_for_restart(old: &Config, new: &Config) -> Vec<String> {
    let mut waits = Vec::new();
    let mut compare = |same: bool, what: &str| {
        if !same {
            waits.push(format!("{what} changed"));
        }
    };
    compare(old.server == new.server, "[server]");
    compare(old.storage == new.storage, "[storage]");
    compare(old.queries == new.queries, "[queries]");
    compare(old.smtp == new.smtp, "[smtp]");
    let engine = |c: &Config| (c.plugin_memory_slot_bytes, c.plugin_instances);
    compare(engine(old) == engine(new), "[plugins] memory_slot or instances");
    compare(old.telemetry == new.telemetry, "[telemetry]");
    waits
}

/// Makes what runs follow the config of now and the plugin folder. Called again when the folder changes.
pub async fn apply(app: &Arc<App>) {
    let loaded = app.loaded.load_full();
    let config = &loaded.config;
    app.channels.store(Arc::new(channels(config)));
    if let Some(route) = &config.route {
        let input = NotifyInput::Configure {
            route: spec::route(route),
            retry: spec::retry(config.retry),
            external_labels: config.rule_settings.external_labels.clone(),
        };
        // Before the rules: an event that comes to a notify without routes is lost until it is resent.
        app.inputs.notify.send_and_wait(input).await;
    }
    let external_labels = &config.rule_settings.external_labels;
    let rules = config.rules.iter().map(|r| spec::rule(r, external_labels, &app.external_url)).collect();
    app.inputs.rules.send(RulesInput::Configure(rules)).await;
    crate::rule_files::apply(app).await;
    let mut reports = Vec::new();
    for report in &config.reports {
        let last = app.state.report_last_due(&report.name).await.unwrap_or_else(|error| {
            tracing::error!(%error, "when a report was last made is not known");
            None
        });
        reports.push((spec::report(report), last));
    }
    app.inputs.reports.send(ReportsInput::Configure(reports)).await;
    app.changes.tell(Changed::Reports);
    app.changes.tell(Changed::Alerts);
    let mut wanted = wanted(config);
    wanted.extend(from_folder(app, &loaded, &wanted));
    app.push.type_and_unit_labels(config.collection.type_and_unit_labels);
    app.scraping.apply(&config.scrapes).await;
    app.plugins.apply(wanted).await;
    // Rules and reports may have come or gone without any plugin changing.
    app.plugins.reschedule().await;
}

fn channels(config: &Config) -> Channels {
    let handler = |c: &belfry_config::types::Channel| match &c.component.source {
        Source::Plugin(name) => name.clone(),
        _ => spec::channel_name(&c.name),
    };
    config.channels.iter().map(|c| (c.name.clone(), handler(c))).collect()
}

/// What the config wants to run.
pub fn wanted(config: &Config) -> Vec<Wanted> {
    let mut all = Vec::new();
    for p in &config.plugins {
        all.extend(source(p));
    }
    for c in &config.channels {
        let spec = spec::plugin(&spec::channel_name(&c.name), &c.component, belfry_model::Labels::empty());
        all.extend(spec.map(|spec| Wanted { spec, interval: None }));
    }
    for r in &config.reports {
        for (i, s) in r.sections.iter().enumerate() {
            let name = spec::section_name(&r.name, i);
            let spec = spec::plugin(&name, &s.component, belfry_model::Labels::empty());
            all.extend(spec.map(|spec| Wanted { spec, interval: None }));
        }
    }
    all
}

fn source(p: &belfry_config::types::Plugin) -> Option<Wanted> {
    let mut spec = spec::plugin(&p.name, &p.component, spec::host_labels(&p.name, &p.labels))?;
    if p.component.limits.call_time.is_none() {
        spec.limits.call_time = p.timeout;
    }
    Some(Wanted { spec, interval: Some(p.interval) })
}

/// Components in the plugin folder. One whose name the config has already is left out and told of; one whose side file
/// is wrong runs on as it was.
fn from_folder(app: &App, loaded: &Loaded, config: &[Wanted]) -> Vec<Wanted> {
    let Some(folder) = &loaded.config.plugin_dir else { return Vec::new() };
    let mut found = Vec::new();
    for path in components(folder) {
        let Some(name) = name_of(&path) else { continue };
        if config.iter().any(|w| w.spec.name == name) {
            tracing::warn!(plugin = name, file = %path.display(), "the config has a plugin of this name: left out");
            continue;
        }
        let code = format!("plugin_file_{name}");
        match belfry_config::load_dropped(&path, &loaded.config.collection, &app.load_input.env) {
            Ok(plugin) => {
                app.no_notice(&code);
                found.extend(plugin.as_ref().and_then(source));
            }
            Err(problems) => {
                let text = problems.to_string();
                tracing::error!(plugin = name, "its side file is refused:\n{text}");
                app.notice(Notice {
                    code,
                    level: NoticeLevel::Error,
                    title: format!("The side file of plugin {name} is refused"),
                    text,
                    help: Some("mend it: it is read again when it changes".to_owned()),
                    since_ms: app.clock.now(),
                });
                found.extend(app.plugins.entry(&name).map(|e| e.wanted));
            }
        }
    }
    found
}

fn components(folder: &std::path::Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|e| e.path()).filter(|p| p.is_file() && name_of(p).is_some()).collect();
    paths.sort();
    paths
}

/// Watches the plugin folder until the process ends.
pub async fn watch_folder(app: Arc<App>, stop: tokio_util::sync::CancellationToken) {
    /// A copy is many writes: we look when it has been quiet for this long.
    const QUIET: Duration = Duration::from_millis(200);
    /// Where no event comes (network file systems), we look this often.
    const LOOK_EVERY: Duration = Duration::from_secs(10);
    let (tell, mut told) = tokio::sync::mpsc::channel::<()>(1);
    let mut watcher = notify::recommended_watcher(move |_: notify::Result<notify::Event>| {
        // One mark is enough, however many events there are.
        let _ = tell.try_send(());
    })
    .inspect_err(|error| tracing::warn!(%error, "the plugin folder is looked at every few seconds instead of watched"))
    .ok();
    let mut watched: Option<PathBuf> = None;
    let mut last = folder_marks(&app);
    loop {
        let folder = app.loaded.load().config.plugin_dir.clone();
        if folder != watched {
            if let (Some(w), Some(dir)) = (watcher.as_mut(), &folder) {
                use notify::Watcher as _;
                let _ = std::fs::create_dir_all(dir);
                if let Err(error) = w.watch(dir, notify::RecursiveMode::NonRecursive) {
                    tracing::warn!(%error, folder = %dir.display(), "cannot watch the plugin folder");
                }
            }
            watched = folder;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            _ = told.recv() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        while tokio::time::timeout(QUIET, told.recv()).await.is_ok() {}
        let marks = folder_marks(&app);
        if marks != last {
            last = marks;
            let _one = app.reloading.lock().await;
            apply(&app).await;
        }
    }
}

type Marks = Vec<(PathBuf, Option<std::time::SystemTime>, u64)>;

/// What is in the folder: to tell a change from a mere look.
fn folder_marks(app: &App) -> Marks {
    let Some(folder) = app.loaded.load().config.plugin_dir.clone() else { return Vec::new() };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut marks: Marks = entries
        .filter(|e| e.path().extension().is_some_and(|x| x == "wasm" || x == "toml"))
        .filter_map(|e| {
            let meta = e.metadata().ok()?;
            Some((e.path(), meta.modified().ok(), meta.len()))
        })
        .collect();
    marks.sort();
    marks
}
