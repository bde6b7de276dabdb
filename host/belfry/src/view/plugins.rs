//! Plugins: what they are, may, did and said.

use std::collections::BTreeMap;

use belfry_dashboard::dto::{self, ComponentRun, LOG_LINES_MAX, PluginDetail, PluginView};
use belfry_plugin::{ComponentSource, Grants, Kind, Limits, PluginSpec, PluginState};

use crate::app::App;
use crate::plugins::Entry;

/// All plugins in order of name, without detail.
pub fn plugins(app: &App) -> Vec<PluginView> {
    app.plugins.all().iter().map(|(name, e)| view(name, e)).collect()
}

/// One with its detail.
pub async fn plugin(app: &App, name: &str) -> Option<PluginView> {
    let entry = app.plugins.entry(name)?;
    let mut v = view(name, &entry);
    let spec = &entry.wanted.spec;
    let status = entry.plugin.as_ref().map(|p| p.status());
    let log = status.as_ref().map(|s| {
        let skip = s.log.len().saturating_sub(LOG_LINES_MAX);
        let line = |l: &belfry_plugin::LogLine| dto::LogLine {
            at_ms: l.at,
            level: l.level.to_owned(),
            message: l.message.clone(),
            attributes: BTreeMap::new(),
        };
        s.log.iter().skip(skip).map(line).collect()
    });
    let history = app.state.component_history(Some(name)).await.unwrap_or_default();
    v.detail = Some(PluginDetail {
        description: status.as_ref().map(|s| s.summary.clone()).unwrap_or_default(),
        grants: grants(&spec.grants),
        denied_calls: BTreeMap::new(),
        limits: limits(&spec.limits),
        config: serde_json::from_str(&spec.config).unwrap_or_default(),
        secrets: spec.secrets.iter().map(|(n, s)| (n.clone(), s.origins.clone())).collect(),
        log: log.unwrap_or_default(),
        log_dropped_total: status.as_ref().map_or(0, |s| s.log_lines_dropped),
        history: history
            .into_iter()
            .map(|h| ComponentRun { digest: h.digest, version: h.version, from_ms: h.from, to_ms: h.to })
            .collect(),
    });
    Some(v)
}

fn view(name: &str, entry: &Entry) -> PluginView {
    let spec = &entry.wanted.spec;
    let refused = entry.refused.as_ref().map(|e| format!("{}; {}", e.reason, e.help));
    let mut v = PluginView {
        name: name.to_owned(),
        source: match &spec.source {
            ComponentSource::Builtin(b) => format!("builtin:{b}"),
            ComponentSource::File(path) => path.display().to_string(),
        },
        loaded_ms: entry.loaded,
        reason: refused.clone().unwrap_or_default(),
        ..PluginView::default()
    };
    let Some(plugin) = &entry.plugin else {
        v.state = if entry.busy { dto::PluginState::Starting } else { dto::PluginState::Failed };
        return v;
    };
    let s = plugin.status();
    v.state = match s.state {
        PluginState::Running => dto::PluginState::Running,
        PluginState::BackingOff | PluginState::Failed => dto::PluginState::Restarting,
        PluginState::Draining | PluginState::Gone => dto::PluginState::Draining,
    };
    if v.reason.is_empty() && s.state != PluginState::Running {
        v.reason = s.last_error.as_ref().map(|(_, e)| e.clone()).unwrap_or_default();
    }
    v.title = s.summary;
    v.version = s.version;
    v.digest = s.digest;
    v.component_bytes = s.component_bytes as u64;
    v.kinds = s.kinds.iter().map(|k: &Kind| k.as_str().replace('-', "_")).collect();
    v.denied = denied(&s.imports, spec);
    v.imports = s.imports;
    v.calls_total = s.calls;
    v.errors = s.errors.iter().map(|(k, n)| ((*k).to_owned(), *n)).collect();
    v.last_error = s.last_error.as_ref().map(|(_, e)| e.clone());
    v.last_error_ms = s.last_error.map(|(at, _)| at);
    if s.calls > 0 {
        v.last_call_seconds = Some(s.call_time_last.as_secs_f64());
        v.average_call_seconds = Some(s.call_time_total.as_secs_f64() / s.calls as f64);
        v.max_call_seconds = Some(s.call_time_max.as_secs_f64());
    }
    v.cpu_seconds_total = s.cpu_time.as_secs_f64();
    v.memory_bytes = s.memory_bytes as u64;
    v.memory_peak_bytes = s.memory_peak_bytes as u64;
    v.restarts_total = s.restarts;
    v.swaps_total = s.swaps;
    v.series = s.open_series as u64;
    v
}

/// Capabilities asked for and given nothing of. Log, clock, random and sink are always there.
fn denied(imports: &[String], spec: &PluginSpec) -> Vec<String> {
    let given = grants(&spec.grants);
    let needs_grant = ["http", "system", "query", "mail", "kv", "net"];
    imports.iter().filter(|i| needs_grant.contains(&i.as_str()) && !given.contains_key(i.as_str())).cloned().collect()
}

fn grants(g: &Grants) -> BTreeMap<String, Vec<String>> {
    let mut out = BTreeMap::new();
    let mut put = |name: &str, values: Vec<String>| {
        if !values.is_empty() {
            out.insert(name.to_owned(), values);
        }
    };
    let granted = |yes: bool| if yes { vec!["granted".to_owned()] } else { Vec::new() };
    put("http", g.http.clone());
    put("system", g.system.clone());
    put("mail", g.mail.clone());
    put("query", granted(g.query));
    put("kv", granted(g.kv));
    out
}

fn limits(l: &Limits) -> BTreeMap<String, f64> {
    [
        ("call_time_seconds", l.call_time.as_secs_f64()),
        ("cpu_time_seconds", l.cpu_time.as_secs_f64()),
        ("memory_bytes", l.memory_bytes as f64),
        ("hostcall_bytes", l.hostcall_bytes as f64),
        ("log_lines", f64::from(l.log_lines)),
        ("log_line_bytes", l.log_line_bytes as f64),
        ("series", f64::from(l.series)),
        ("samples_per_call", f64::from(l.samples_per_call)),
        ("http_requests", f64::from(l.http_requests)),
        ("http_concurrent", f64::from(l.http_concurrent)),
        ("http_response_bytes", l.http_response_bytes as f64),
        ("kv_bytes", l.kv_bytes as f64),
    ]
    .into_iter()
    .map(|(n, v)| (n.to_owned(), v))
    .collect()
}
