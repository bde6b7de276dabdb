//! From a well-formed tree to a [`Config`]: what keys mean together.
//!
//! Invariant: every problem is reported at its place; a `Config` is handed out only when there was none.

mod component;
mod queries;
mod remote;
mod rule_files;
mod rules;
mod scrape;
mod server;
mod slo;
mod storage;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::keys::{DROPPED, ROOT};
use crate::load::Inspect;
use crate::problem::{Origin, Report, did_you_mean};
use crate::tree::Table;
use crate::types::{Collection, Config, Plugin};
use crate::view::View;
pub use rule_files::rule_files;
pub(crate) use rule_files::{is_pattern, matching};
pub(crate) use scrape::{is_settable_header, needs_target_label, regex_fault};
pub(crate) use server::INTERVAL_MIN;

/// What reading needs beside the tree.
pub(crate) struct Context<'a> {
    pub report: &'a mut Report,
    pub env: &'a BTreeMap<String, String>,
    /// Relative paths start here.
    pub base: &'a Path,
    /// Names of built-in plugins.
    pub builtins: &'a [String],
    /// Looks into components.
    pub inspect: Option<Inspect>,
    /// As in [`crate::LoadInput`].
    pub rule_files_may_be_away: bool,
    /// Names of `[[plugin]]`s.
    pub plugins: BTreeSet<String>,
    /// Names of `[[channel]]`s.
    pub channels: BTreeSet<String>,
}

impl Context<'_> {
    pub fn error(&mut self, at: Origin, message: impl Into<String>, help: impl Into<String>) {
        self.report.error(at, message, help);
    }

    pub fn warning(&mut self, at: Origin, message: impl Into<String>, help: impl Into<String>) {
        self.report.warning(at, message, help);
    }

    pub fn path(&self, text: &str) -> PathBuf {
        self.base.join(text)
    }

    /// The first line of a file that holds a secret.
    fn secret_file(&mut self, at: Origin, text: &str) -> Option<String> {
        let path = self.path(text);
        match std::fs::read_to_string(&path) {
            Ok(content) if content.trim().is_empty() => {
                self.error(at, format!("the secret file `{text}` is empty"), "put the secret on its first line");
                None
            }
            Ok(content) => content.trim().lines().next().map(str::to_owned),
            Err(e) => {
                self.error(
                    at,
                    format!("cannot read the secret file `{text}`: {}", plain(&e)),
                    "put the secret there, readable for Belfry; paths are relative to the config file",
                );
                None
            }
        }
    }

    /// `key` or `key_file`, not both.
    fn text_or_file(&mut self, view: View<'_>, key: &str, file_key: &str) -> Option<String> {
        match (view.text(key), view.text(file_key)) {
            (Some(_), Some(_)) => {
                self.error(
                    view.place(file_key),
                    format!("`{key}` and `{file_key}` are both set"),
                    format!("keep one; `{file_key}` keeps the secret out of the config"),
                );
                None
            }
            (Some(text), None) => Some(text.to_owned()),
            (None, Some(file)) => self.secret_file(view.place(file_key), file),
            (None, None) => None,
        }
    }

    /// Reports names that occur twice among `views`.
    fn unique_names(&mut self, views: &[View<'_>], what: &str) {
        let mut seen: BTreeMap<&str, Origin> = BTreeMap::new();
        for view in views {
            let Some(name) = view.text("name") else { continue };
            if name.trim().is_empty() {
                self.error(view.place("name"), "`name` is empty", format!("name each {what}"));
            } else if let Some(first) = seen.get(name) {
                let first = self.report.sources.place(*first);
                self.error(
                    view.place("name"),
                    format!("two {what}s are named `{name}`"),
                    format!("the other one is at {first}; rename one"),
                );
            } else {
                seen.insert(name, view.place("name"));
            }
        }
    }

    /// Reports a channel that is not there.
    fn known_channel(&mut self, at: Origin, name: &str) {
        if self.channels.contains(name) {
            return;
        }
        let help = match did_you_mean(name, self.channels.iter().map(String::as_str)) {
            Some(close) => format!("did you mean `{close}`?"),
            None if self.channels.is_empty() => format!("add a [[channel]] with name = \"{name}\""),
            None => format!("known: {}", list(&self.channels)),
        };
        self.error(at, format!("there is no channel `{name}`"), help);
    }
}

fn list(names: &BTreeSet<String>) -> String {
    names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")
}

/// An I/O error without the system's number.
pub(crate) fn plain(e: &std::io::Error) -> String {
    match e.kind() {
        std::io::ErrorKind::NotFound => "there is no such file or folder".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        std::io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
        _ => e.to_string(),
    }
}

fn names(views: &[View<'_>]) -> BTreeSet<String> {
    views.iter().filter_map(|v| v.string("name")).collect()
}

/// Reads `NAME.toml` beside a component in `[plugins] dir`. `None` when it is switched off or something was reported.
pub(crate) fn dropped(
    table: &Table,
    at: Origin,
    file: &Path,
    all: &Collection,
    context: &mut Context<'_>,
) -> Option<Plugin> {
    component::dropped(View::new(table, at, &DROPPED), file, all, context)
}

/// Where `server.listen` and `storage.path` stand; where they do not, their section, or the start of the first file. And
/// where each scrape job does.
pub(crate) fn places(root: &Table) -> (Origin, Origin, Vec<(String, Origin)>) {
    let root = View::new(root, Origin { source: 0, offset: 0 }, &ROOT);
    let jobs = root.tables("scrape").into_iter().filter_map(|v| Some((v.string("job")?, v.place("job"))));
    (root.table("server").place("listen"), root.table("storage").place("path"), jobs.collect())
}

/// Reads the whole tree. `None` only when something was reported.
pub(crate) fn config(root: &Table, context: &mut Context<'_>) -> Option<Config> {
    let at = Origin { source: 0, offset: 0 };
    let root = View::new(root, at, &ROOT);
    let (plugins, channels) = (root.tables("plugin"), root.tables("channel"));
    let (rules, slos, reports) = (root.tables("rule"), root.tables("slo"), root.tables("report"));
    // Nobody can use a plugin that is switched off.
    let enabled: Vec<View<'_>> = plugins.iter().copied().filter(|p| p.bool("enabled")).collect();
    context.plugins = names(&enabled);
    context.channels = names(&channels);
    for (views, what) in
        [(&plugins, "plugin"), (&channels, "channel"), (&rules, "rule"), (&slos, "slo"), (&reports, "report")]
    {
        context.unique_names(views, what);
    }

    // Everything is read before anything is given up, so that all problems are found.
    let server = server::server(root.table("server"), context);
    let storage = server::storage(root.table("storage"), context);
    let collection = server::collection(root.table("collection"), context);
    let queries = queries::queries(root.table("queries"), context);
    let telemetry = server::telemetry(root.table("telemetry"), context);
    let smtp = server::smtp(root.table("smtp"), context);
    let retry = server::retry(root.table("notify").table("retry"), context);
    let engine = root.table("plugins");
    let plugin_dir = engine.text("dir").map(|d| context.path(d));
    let plugins = component::plugins(&plugins, collection.as_ref(), context);
    let scrapes = scrape::scrapes(&root.tables("scrape"), collection.as_ref(), context);
    let channels = component::channels(&channels, context);
    let route = rules::route(root, context);
    let (rule_files, rule_settings) = rule_files::files(root.table("rules"), context);
    let rules = rules::rules(&rules, collection.as_ref(), context);
    let slos = slo::slos(&slos, storage.as_ref(), collection.as_ref(), context);
    let reports = component::reports(&reports, context);
    if route.is_none() && !rules.is_empty() && context.channels.is_empty() {
        let first = root.place("rule");
        context.warning(
            first,
            "there are rules but no channel: alerts are on the dashboard and go nowhere else",
            "add a [[channel]], for example with handler = \"builtin:handler-console\"",
        );
    }
    Some(Config {
        server: server?,
        storage: storage?,
        collection: collection?,
        plugin_dir,
        plugin_memory_slot_bytes: engine.bytes("memory_slot")?,
        plugin_instances: engine.whole_u32("instances")?,
        plugins,
        scrapes,
        channels,
        route,
        retry: retry?,
        smtp,
        queries: queries?,
        rule_files,
        rule_settings,
        rules,
        slos,
        reports,
        telemetry: telemetry?,
    })
}
