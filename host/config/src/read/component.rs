//! What runs components: `[[plugin]]`, `[[channel]]`, `[[report]]` and its sections.

use std::collections::BTreeMap;
use std::path::Path;

use belfry_model::cron::{BadSchedule, Schedule, time_zone_names};
use belfry_model::labels::{METRIC_NAME, RESERVED, is_legacy_name};

use super::server::pace;
use super::{Context, list};
use crate::problem::{Origin, did_you_mean};
use crate::tree::{Node, Value};
use crate::types::*;
use crate::view::View;

/// Who wants a component.
#[derive(Clone, Copy, PartialEq)]
enum For {
    Plugin,
    Channel,
    Section,
}

impl For {
    /// Built-in plugins are named by their kind.
    fn prefixes(self) -> &'static [&'static str] {
        match self {
            Self::Plugin => &["collector-", "source-"],
            Self::Channel => &["handler-"],
            Self::Section => &["section-"],
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::Plugin => "collector or metric source",
            Self::Channel => "alert handler",
            Self::Section => "report section",
        }
    }
}

pub(super) fn plugins(views: &[View<'_>], all: Option<&Collection>, context: &mut Context<'_>) -> Vec<Plugin> {
    views.iter().filter_map(|v| plugin(*v, all, context)).collect()
}

fn plugin(view: View<'_>, all: Option<&Collection>, context: &mut Context<'_>) -> Option<Plugin> {
    let name = view.string("name");
    if let Some(name) = &name {
        check_plugin_name(name, view.place("name"), context);
    }
    let component = component(view, "source", For::Plugin, context);
    with_pace(view, name, component, all, context)
}

/// A component in `[plugins] dir`: the file gives name and source, `NAME.toml` beside it the rest.
pub(super) fn dropped(view: View<'_>, file: &Path, all: &Collection, context: &mut Context<'_>) -> Option<Plugin> {
    let name = file.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    check_plugin_name(&name, view.at, context);
    let component = settings(view, Source::File(file.to_owned()), context);
    with_pace(view, Some(name), Some(component), Some(all), context)
}

fn check_plugin_name(name: &str, at: Origin, context: &mut Context<'_>) {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !name.is_empty() && (!name.chars().all(plain) || name.starts_with('.')) {
        let help = "use letters, digits, `-`, `_` and `.`";
        context.error(at, format!("`{name}` is no name for a plugin"), help);
    }
}

fn with_pace(
    view: View<'_>,
    name: Option<String>,
    component: Option<Component>,
    all: Option<&Collection>,
    context: &mut Context<'_>,
) -> Option<Plugin> {
    let labels = labels(view, context);
    let interval = view.duration("interval").or(all.map(|a| a.interval));
    let timeout = match (view.duration("timeout"), all, interval) {
        (Some(timeout), ..) => Some(timeout),
        // A plugin that is asked more often than others must answer sooner.
        (None, Some(all), Some(interval)) => Some(all.timeout.min(interval)),
        _ => None,
    };
    if let (Some(interval), Some(timeout)) = (interval, timeout)
        && (view.node("interval").is_some() || view.node("timeout").is_some())
    {
        pace(view, interval, timeout, context);
    }
    if !view.bool("enabled") {
        return None;
    }
    Some(Plugin { name: name?, component: component?, interval: interval?, timeout: timeout?, labels })
}

fn labels(view: View<'_>, context: &mut Context<'_>) -> belfry_model::Labels {
    let labels = view.labels("labels");
    for label in &labels {
        if RESERVED.contains(&&*label.name) || &*label.name == METRIC_NAME {
            let message = format!("the label `{}` is set by Belfry", label.name);
            context.error(view.place("labels"), message, "choose another name");
        } else if !is_legacy_name(&label.name) {
            let message = format!("`{}` is no label name", label.name);
            context.error(view.place("labels"), message, "use letters, digits and `_`, no digit first");
        }
    }
    labels
}

pub(super) fn channels(views: &[View<'_>], context: &mut Context<'_>) -> Vec<Channel> {
    views
        .iter()
        .filter_map(|view| {
            let component = component(*view, "handler", For::Channel, context);
            Some(Channel { name: view.string("name")?, component: component? })
        })
        .collect()
}

fn component(view: View<'_>, key: &str, wanted: For, context: &mut Context<'_>) -> Option<Component> {
    let source = view.text(key).and_then(|text| source(text, view.place(key), wanted, context));
    // A placeholder where the source is bad: the rest is checked all the same.
    let settings = settings(view, Source::Builtin(String::new()), context);
    Some(Component { source: source?, ..settings })
}

fn settings(view: View<'_>, source: Source, context: &mut Context<'_>) -> Component {
    let grants = grants(view.table("grants"), context);
    let limits = limits(view.table("limits"));
    let secrets = secrets(view, &grants, context);
    if let Some(config) = view.node("config") {
        let declared: Vec<&str> = view.named_tables("secrets").into_iter().map(|(name, _)| name).collect();
        placeholders(config, &declared, context);
    }
    Component { source, config: view.json("config"), grants, limits, secrets }
}

fn source(text: &str, at: Origin, wanted: For, context: &mut Context<'_>) -> Option<Source> {
    if let Some(name) = text.strip_prefix("builtin:") {
        if !context.builtins.iter().any(|b| b == name) {
            let fitting = |b: &&str| wanted.prefixes().iter().any(|p| b.starts_with(p));
            let known: Vec<&str> = context.builtins.iter().map(String::as_str).filter(fitting).collect();
            let help = match did_you_mean(name, known.iter().copied()) {
                Some(close) => format!("did you mean \"builtin:{close}\"?"),
                None => format!("known: {}", known.join(", ")),
            };
            context.error(at, format!("there is no built-in plugin `{name}`"), help);
            return None;
        }
        if !wanted.prefixes().iter().any(|p| name.starts_with(p)) {
            let help = format!("name one that begins with `{}`", wanted.prefixes().join("` or `"));
            context.error(at, format!("`{text}` is no {}", wanted.what()), help);
            return None;
        }
        return Some(Source::Builtin(name.to_owned()));
    }
    if text.starts_with("oci://") {
        context.error(
            at,
            "plugins from registries are not supported yet",
            "download the component and name its path, like \"plugins/github.wasm\"",
        );
        return None;
    }
    if text.ends_with(".wasm") || text.contains('/') {
        let path = context.path(text);
        if !path.is_file() {
            context.error(
                at,
                format!("there is no plugin file `{text}`"),
                "paths are relative to the config file; built-in ones are written \"builtin:NAME\"",
            );
            return None;
        }
        if let Some(Err(refused)) = context.inspect.map(|inspect| inspect(&path)) {
            context.error(at, format!("`{text}`: {}", refused.message), refused.help);
            return None;
        }
        return Some(Source::File(path));
    }
    if wanted != For::Plugin && context.plugins.contains(text) {
        return Some(Source::Plugin(text.to_owned()));
    }
    let builtin = context.builtins.iter().find(|b| *b == text);
    let help = match (builtin, did_you_mean(text, context.plugins.iter().map(String::as_str))) {
        (Some(name), _) => format!("did you mean \"builtin:{name}\"?"),
        (None, Some(close)) if wanted != For::Plugin => format!("did you mean `{close}`?"),
        _ if wanted == For::Plugin => "write \"builtin:NAME\" or the path of a .wasm file".to_owned(),
        _ if context.plugins.is_empty() => {
            "write \"builtin:NAME\", the path of a .wasm file or the name of a [[plugin]]".to_owned()
        }
        _ => format!("write \"builtin:NAME\", the path of a .wasm file, or one of {}", list(&context.plugins)),
    };
    context.error(at, format!("unknown plugin `{text}`"), help);
    None
}

fn grants(view: View<'_>, context: &mut Context<'_>) -> Grants {
    for (origin, at) in view.texts_at("http") {
        check_origin(origin, at, context);
    }
    for (address, at) in view.texts_at("mail") {
        let good = address == "*" || address.split_once('@').is_some_and(|(u, h)| !u.is_empty() && !h.is_empty());
        if !good {
            let help = "write \"ops@example.org\", \"*@example.org\" or \"*\"";
            context.error(at, format!("\"{address}\" is not a mail address"), help);
        }
    }
    Grants {
        http: view.texts("http"),
        system: view.texts("system"),
        query: view.bool("query"),
        mail: view.texts("mail"),
        kv: view.bool("kv"),
    }
}

fn check_origin(text: &str, at: Origin, context: &mut Context<'_>) {
    let help = "write scheme, host and port if it is not the usual one, like \"https://api.github.com\"";
    let Ok(url) = url::Url::parse(text) else {
        context.error(at, format!("\"{text}\" is not an origin"), help);
        return;
    };
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        context.error(at, format!("\"{text}\" is not an origin"), help);
    } else if !bare {
        let origin = url.origin().ascii_serialization();
        context.error(at, format!("\"{text}\" is more than an origin"), format!("write \"{origin}\""));
    } else if url.host_str().is_some_and(|h| h.trim_start_matches("*.").contains('*')) {
        let help = "`*.` may stand before a domain, like \"https://*.example.org\"";
        context.error(at, format!("\"{text}\": `*` can only stand for subdomains"), help);
    }
}

fn limits(view: View<'_>) -> Limits {
    Limits {
        call_time: view.duration("call_time"),
        cpu_time: view.duration("cpu_time"),
        memory_bytes: view.bytes("memory"),
        hostcall_bytes: view.bytes("hostcall_bytes"),
        log_lines: view.whole_u32("log_lines"),
        log_line_bytes: view.bytes("log_line_bytes"),
        series: view.whole_u32("series"),
        samples_per_call: view.whole_u32("samples_per_call"),
        http_requests: view.whole_u32("http_requests"),
        http_concurrent: view.whole_u32("http_concurrent"),
        http_response_bytes: view.bytes("http_response_bytes"),
        kv_bytes: view.bytes("kv_bytes"),
    }
}

fn secrets(view: View<'_>, grants: &Grants, context: &mut Context<'_>) -> BTreeMap<String, Secret> {
    let mut out = BTreeMap::new();
    for (name, secret) in view.named_tables("secrets") {
        for (origin, at) in secret.texts_at("for") {
            check_origin(origin, at, context);
            if !grants.http.is_empty() && !grants.http.iter().any(|g| g == origin || g.contains("*.")) {
                context.warning(
                    at,
                    format!("the secret `{name}` is for \"{origin}\", which is not granted"),
                    "add it to `grants.http`, or the secret is never sent",
                );
            }
        }
        if let Some(value) = secret_value(name, secret, context) {
            let origins = secret.texts("for");
            out.insert(name.to_owned(), Secret { value: SecretText(value), origins });
        }
    }
    out
}

/// Reports `{{secret.NAME}}` in a config where no such secret is declared: the plugin could only send it as it stands.
fn placeholders(node: &Node, declared: &[&str], context: &mut Context<'_>) {
    match &node.value {
        Value::Text { text, .. } => {
            for part in text.split("{{secret.").skip(1) {
                let Some((name, _)) = part.split_once("}}") else { continue };
                if declared.contains(&name) {
                    continue;
                }
                let help = match did_you_mean(name, declared.iter().copied()) {
                    Some(close) => format!("did you mean `{{{{secret.{close}}}}}`?"),
                    None => format!("declare it: secrets = {{ {name} = {{ env = \"NAME\" }} }}"),
                };
                context.error(node.at, format!("there is no secret `{name}`"), help);
            }
        }
        Value::Array(items) => items.iter().for_each(|n| placeholders(n, declared, context)),
        Value::Table(t) => t.0.iter().for_each(|e| placeholders(&e.node, declared, context)),
        _ => {}
    }
}

fn secret_value(name: &str, view: View<'_>, context: &mut Context<'_>) -> Option<String> {
    match (view.text("env"), view.text("file"), view.text("value")) {
        (Some(variable), None, None) => {
            let value = context.env.get(variable).filter(|v| !v.is_empty()).cloned();
            if value.is_none() {
                context.error(
                    view.place("env"),
                    format!("the secret `{name}` is missing: the environment variable `{variable}` is not set"),
                    format!("set `{variable}` before Belfry starts, or use `file`"),
                );
            }
            value
        }
        (None, Some(file), None) => context.secret_file(view.place("file"), file),
        (None, None, Some(value)) => Some(value.to_owned()),
        _ => {
            let help = "set one of them: { env = \"NAME\" }, { file = \"PATH\" } or { value = \"…\" }";
            context.error(view.at, format!("the secret `{name}` needs exactly one of `env`, `file` and `value`"), help);
            None
        }
    }
}

pub(super) fn reports(views: &[View<'_>], context: &mut Context<'_>) -> Vec<Report> {
    views.iter().filter_map(|v| report(*v, context)).collect()
}

fn report(view: View<'_>, context: &mut Context<'_>) -> Option<Report> {
    let schedule = schedule(view, context);
    for (channel, at) in view.texts_at("deliver") {
        context.known_channel(at, channel);
    }
    let sections: Vec<Option<Section>> = view.tables("section").into_iter().map(|s| section(s, context)).collect();
    if sections.is_empty() && view.node("section").is_some() {
        context.error(view.place("section"), "a report without sections", "add a [[report.section]]");
    }
    let mut formats: Vec<ReportFormat> = view
        .texts("formats")
        .iter()
        .map(|f| match f.as_str() {
            "json" => ReportFormat::Json,
            "csv" => ReportFormat::Csv,
            _ => ReportFormat::Html,
        })
        .collect();
    if formats.is_empty() {
        if view.node("formats").is_some() {
            context.error(view.place("formats"), "`formats` is empty", "use \"html\", \"json\" or \"csv\"");
        }
        formats.push(ReportFormat::Html);
    }
    let period = view.duration("period")?;
    if period.is_zero() {
        context.error(view.place("period"), "`period` is zero", "use 24h, for example");
    }
    if !view.bool("enabled") {
        return None;
    }
    let name = view.string("name")?;
    Some(Report {
        title: view.string("title").unwrap_or_else(|| name.clone()),
        name,
        schedule: schedule?,
        time_zone: view.string("time_zone")?,
        period,
        formats,
        deliver: view.texts("deliver"),
        sections: sections.into_iter().flatten().collect(),
    })
}

fn schedule(view: View<'_>, context: &mut Context<'_>) -> Option<Schedule> {
    let zone = view.text("time_zone");
    let known_zone = zone.filter(|z| belfry_model::cron::time_zone(z).is_ok());
    if let (Some(zone), None) = (zone, known_zone) {
        let names = time_zone_names();
        let bad = BadSchedule::Zone(zone.to_owned());
        let help = match did_you_mean(zone, names.iter().map(String::as_str)) {
            Some(close) => format!("did you mean \"{close}\"?"),
            None => bad.help().to_owned(),
        };
        context.error(view.place("time_zone"), bad.to_string(), help);
    }
    // The line is checked in any zone, so that both can be wrong at once.
    match Schedule::parse(view.text("schedule")?, known_zone.unwrap_or("UTC")) {
        Ok(schedule) => Some(schedule),
        Err(bad) => {
            context.error(view.place("schedule"), format!("bad schedule: {bad}"), bad.help());
            None
        }
    }
}

fn section(view: View<'_>, context: &mut Context<'_>) -> Option<Section> {
    let component = component(view, "plugin", For::Section, context)?;
    let name = match &component.source {
        Source::Builtin(name) | Source::Plugin(name) => name.trim_start_matches("section-").to_owned(),
        Source::File(path) => path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default(),
    };
    let title = view.string("title").unwrap_or_else(|| {
        let mut chars = name.chars();
        chars.next().map(|c| c.to_uppercase().chain(chars).collect()).unwrap_or_default()
    });
    Some(Section { title, component })
}
