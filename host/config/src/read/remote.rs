//! `[storage] backend = "prometheus"` and `"influxdb"`.

use std::time::Duration;

use belfry_model::duration::format_duration;
use belfry_model::labels::is_legacy_name;
use url::Url;

use super::Context;
use super::scrape::{Files, http, source};
use crate::types::remote::*;
use crate::types::scrape::{Http, HttpAuth};
use crate::view::View;

/// What may wait for the engine, unless the config says otherwise.
const QUEUE_BYTES: u64 = 1 << 30;
/// How long samples are kept here beside an engine, unless the config says otherwise.
const LOCAL_RETENTION: Duration = Duration::from_secs(6 * 3600);
/// A smaller queue is of no use.
const QUEUE_BYTES_MIN: u64 = 1 << 20;
/// Rules and dashboards look back an hour and more.
const LOCAL_RETENTION_MIN: Duration = Duration::from_secs(3600);

/// `None` when samples are kept here alone, or something was reported.
pub(super) fn remote(view: View<'_>, context: &mut Context<'_>) -> Option<Remote> {
    let backend = view.text("backend")?;
    let is_remote = ["prometheus", "influxdb"].contains(&backend);
    for key in ["local_retention", "queue_bytes", "query", "external_labels", "prometheus", "influxdb"] {
        let is_meant = if ["prometheus", "influxdb"].contains(&key) { backend == key } else { is_remote };
        if !is_meant && view.node(key).is_some() {
            let message = format!("`{key}` has no effect with backend = \"{backend}\"");
            context.warning(view.place(key), message, "remove it, or set `backend`");
        }
    }
    if !is_remote {
        return None;
    }
    if view.node("retention").is_some() {
        let message =
            format!("`retention` is for samples from before backend = \"{backend}\": the engine decides about others");
        context.warning(view.place("retention"), message, "set `local_retention` for what is kept here of those");
    }
    if view.node("retention_size").is_some() {
        let message = format!("`retention_size` has no effect with backend = \"{backend}\": the engine decides");
        context.warning(view.place("retention_size"), message, "set `local_retention` for what is kept here");
    }
    // Said, it is meant; left out, nobody said that what was here is to go.
    let retention_before = match view.text("retention") {
        Some(text) if view.node("retention").is_some() && text != "forever" => view.duration("retention"),
        _ => None,
    };
    let queue_bytes = view.bytes("queue_bytes").unwrap_or(QUEUE_BYTES);
    if queue_bytes < QUEUE_BYTES_MIN {
        context.error(view.place("queue_bytes"), "`queue_bytes` is too small to be of use", "use 1MiB or more");
    }
    let external_labels = view.labels("external_labels");
    for l in &external_labels {
        if !is_legacy_name(&l.name) || l.name.starts_with("__") {
            let help = "use letters, digits and `_`, not two of them first";
            context.error(view.place("external_labels"), format!("`{}` is no name for a label", l.name), help);
        }
    }
    let table = view.table(backend);
    if !table.is_there() {
        let message = format!("backend = \"{backend}\" needs [storage.{backend}]");
        context.error(view.place("backend"), message, format!("add [storage.{backend}] with `url`"));
        return None;
    }
    let engine = if backend == "prometheus" { prometheus(table, context)? } else { influx(table, context)? };
    let pass_queries = view.text("query") != Some("local");
    Some(Remote { engine, queue_bytes, pass_queries, external_labels, retention_before })
}

/// How long samples are kept here beside an engine.
pub(super) fn local_retention(view: View<'_>, context: &mut Context<'_>) -> Duration {
    let kept = view.duration("local_retention").unwrap_or(LOCAL_RETENTION);
    if kept < LOCAL_RETENTION_MIN {
        let message = format!("`local_retention` ({}) is too short for rules and dashboards", format_duration(kept));
        context.error(view.place("local_retention"), message, "use 1h or more");
    }
    kept
}

fn address(view: View<'_>, key: &str, context: &mut Context<'_>) -> Option<Url> {
    let text = view.text(key)?;
    let url = Url::parse(text).ok().filter(|u| matches!(u.scheme(), "http" | "https") && u.has_host());
    match url {
        // An address is printed; credentials in it would be, too.
        Some(url) if !url.username().is_empty() || url.password().is_some() => {
            let message = format!("`{key}` has credentials in it");
            context.error(view.place(key), message, "use `basic_auth` or `authorization`, which are never printed");
            None
        }
        Some(url) if url.query().is_some() || url.fragment().is_some() => {
            let message = format!("`{key}`: an address with `?` or `#` cannot be used");
            context.error(view.place(key), message, "name the address alone; `headers` can carry a tenant");
            None
        }
        Some(url) => Some(url),
        None => {
            let message = format!("`{key}`: \"{text}\" is not an address");
            context.error(view.place(key), message, "write it like \"http://localhost:9090\"");
            None
        }
    }
}

fn timeout(view: View<'_>, context: &mut Context<'_>) -> Option<Duration> {
    let timeout = view.duration("timeout")?;
    if timeout.is_zero() {
        context.error(view.place("timeout"), "`timeout` is zero: no answer is that quick", "use 30s, for example");
    }
    Some(timeout)
}

fn prometheus(view: View<'_>, context: &mut Context<'_>) -> Option<RemoteEngine> {
    let url = address(view, "url", context);
    let (write, read) = (address(view, "write_url", context), address(view, "read_url", context));
    let is_said = |key| view.node(key).is_some();
    let both = is_said("write_url") && is_said("read_url");
    if !is_said("url") && !both {
        let help = "add url = \"http://localhost:9090\", or both `write_url` and `read_url`";
        context.error(view.at, "`url` is missing", help);
    }
    let http = http(view, Files::MustBeThere, context);
    let timeout = timeout(view, context)?;
    let write_url = write.or_else(|| {
        let mut url = url.clone()?;
        url.path_segments_mut().ok()?.pop_if_empty().extend(["api", "v1", "write"]);
        Some(url)
    })?;
    let protocol_2 = view.text("protocol")? == "2.0";
    Some(RemoteEngine::Prometheus { write_url, read_url: read.or(url)?, protocol_2, http, timeout })
}

fn influx(view: View<'_>, context: &mut Context<'_>) -> Option<RemoteEngine> {
    let url = address(view, "url", context);
    let version = view.whole("version").and_then(|v| u8::try_from(v).ok());
    let mut http: Http = http(view, Files::MustBeThere, context);
    let timeout = timeout(view, context)?;
    let version = version?;
    let wanted = if version == 2 { "bucket" } else { "database" };
    if view.node(wanted).is_none() {
        let message = format!("`{wanted}` is missing: version {version} needs it");
        context.error(view.at, message, format!("add {wanted} = \"belfry\", for example"));
    }
    if version == 2 && view.node("org").is_none() {
        context.error(view.at, "`org` is missing: version 2 needs it", "add org = \"my-org\", for example");
    }
    let with_user = view.node("username").is_some();
    let with_token = view.node("token").is_some() || view.node("token_file").is_some();
    let of = [("bucket", 2), ("org", 2), ("username", 1), ("retention_policy", 1)];
    for (key, is_meant) in of.map(|(key, of)| (key, version == of)) {
        if !is_meant && view.node(key).is_some() {
            let message = format!("`{key}` has no meaning with version {version}");
            context.error(view.place(key), message, "remove it, or set `version`");
        }
    }
    if with_user && with_token {
        context.error(view.place("username"), "`username` and a token are both set", "keep one of them");
    } else if with_user {
        if let (Some(password), Some(name)) =
            (source(view, "password", Files::MustBeThere, context), view.string("username"))
        {
            http.auth = HttpAuth::Basic(name, password);
        }
    } else if with_token && let Some(token) = source(view, "token", Files::MustBeThere, context) {
        let kind = if version == 2 { "Token" } else { "Bearer" };
        http.auth = HttpAuth::Token(kind.to_owned(), token);
    }
    Some(RemoteEngine::Influx {
        url: url?,
        version,
        database: view.string("database"),
        bucket: view.string("bucket").unwrap_or_default(),
        retention_policy: view.string("retention_policy"),
        org: view.string("org").unwrap_or_default(),
        http,
        timeout,
    })
}
