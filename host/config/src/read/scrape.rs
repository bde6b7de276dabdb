//! `[[scrape]]`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::server::pace;
use super::{Context, is_pattern, matching, plain};
use crate::problem::Origin;
use crate::types::Collection;
use crate::types::SecretText;
use crate::types::scrape::*;
use crate::view::View;

pub(super) fn scrapes(views: &[View<'_>], all: Option<&Collection>, context: &mut Context<'_>) -> Vec<Scrape> {
    let mut seen: BTreeMap<&str, Origin> = BTreeMap::new();
    for view in views {
        let Some(job) = view.text("job") else { continue };
        if job.trim().is_empty() {
            context.error(view.place("job"), "`job` is empty", "name each job: it becomes the label `job`");
        } else if let Some(first) = seen.get(job) {
            let first = context.report.sources.place(*first);
            let message = format!("two scrape jobs are named `{job}`");
            context.error(view.place("job"), message, format!("the other one is at {first}; rename one"));
        } else {
            seen.insert(job, view.place("job"));
        }
    }
    views.iter().filter_map(|v| scrape(*v, all, context)).collect()
}

fn scrape(view: View<'_>, all: Option<&Collection>, context: &mut Context<'_>) -> Option<Scrape> {
    let interval = view.duration("interval").or(all.map(|a| a.interval));
    let timeout = view.duration("timeout").or(all.zip(interval).map(|(a, i)| a.timeout.min(i)));
    if let (Some(interval), Some(timeout)) = (interval, timeout)
        && (view.node("interval").is_some() || view.node("timeout").is_some())
    {
        pace(view, interval, timeout, context);
    }
    let groups = groups(view, context);
    let discoveries = discoveries(view, context);
    let nowhere = ["targets", "static", "file", "dns", "http"].iter().all(|k| view.node(k).is_none());
    if nowhere {
        let help = "add targets = [\"localhost:9100\"], or [[scrape.file]], [[scrape.dns]] or [[scrape.http]]";
        context.error(view.at, "a scrape job without targets", help);
    }
    if view.node("labels").is_some() && view.node("targets").is_none() {
        let help = "put labels into [[scrape.static]], or set them with [[scrape.relabel]]";
        context.error(view.place("labels"), "`labels` belong to `targets`, which are not there", help);
    }
    let path = view.string("path")?;
    if !path.starts_with('/') {
        let message = format!("`path`: \"{path}\" does not begin with `/`");
        context.error(view.place("path"), message, "write it like \"/metrics\"");
    }
    let params = params(view, context);
    let http = http(view, Files::MayCome, context);
    let limits = limits(view.table("limits"));
    let relabel = rules(view, "relabel", context);
    let metric_relabel = rules(view, "metric_relabel", context);
    if !view.bool("enabled") {
        return None;
    }
    Some(Scrape {
        job: view.string("job")?,
        groups,
        discoveries,
        interval: interval?,
        timeout: timeout?,
        scheme: view.string("scheme")?,
        path,
        params,
        http,
        compression: view.bool("compression"),
        fallback_format: view.string("fallback_format"),
        honor_labels: view.bool("honor_labels"),
        honor_timestamps: view.bool("honor_timestamps"),
        track_timestamps_staleness: view.bool("track_timestamps_staleness"),
        native_histograms: view.bool("native_histograms"),
        classic_histograms: view.bool("classic_histograms"),
        type_and_unit_labels: match view.node("type_and_unit_labels") {
            Some(_) => view.bool("type_and_unit_labels"),
            None => all.is_some_and(|a| a.type_and_unit_labels),
        },
        extra_metrics: view.bool("extra_metrics"),
        limits: limits?,
        relabel,
        metric_relabel,
    })
}

fn groups(view: View<'_>, context: &mut Context<'_>) -> Vec<StaticGroup> {
    let with_targets = view.node("targets").is_some().then_some(view);
    with_targets
        .into_iter()
        .chain(view.tables("static"))
        .map(|group| {
            let relabelled = !view.tables("relabel").is_empty();
            for (target, at) in group.texts_at("targets") {
                check_target(target, at, relabelled, context);
            }
            let labels = group.labels("labels");
            // Any UTF-8 is a name, as in Prometheus 3.
            if labels.iter().any(|l| l.name.is_empty()) {
                context.error(group.place("labels"), "a label has no name".to_owned(), "give it one, or take it away");
            }
            StaticGroup { targets: group.texts("targets"), labels }
        })
        .collect()
}

/// Relabelling may make an address of anything; without it a target with a path, or a URL, is never reached.
fn check_target(target: &str, at: Origin, relabelled: bool, context: &mut Context<'_>) {
    if target.trim().is_empty() {
        context.error(at, "an empty target", "write it like \"localhost:9100\"");
        return;
    }
    if relabelled || !target.contains('/') {
        return;
    }
    let url = url::Url::parse(target).ok().filter(|u| matches!(u.scheme(), "http" | "https") && target.contains("://"));
    let (message, plain) = match url {
        Some(url) => {
            let host = url.host_str().unwrap_or_default();
            let port = url.port().map(|p| format!(":{p}")).unwrap_or_default();
            let message = format!("the target \"{target}\" is a URL: it needs relabelling to become an address");
            (message, format!("\"{host}{port}\" with scheme = \"{}\" and path", url.scheme()))
        }
        None => {
            let (address, path) = target.split_at(target.find('/').unwrap_or(target.len()));
            (format!("the target \"{target}\" has a path"), format!("\"{address}\" with path = \"{path}\""))
        }
    };
    // A probe's target is a URL that relabelling turns into a parameter.
    let help = format!(
        "for a plain target write {plain}; for a probe set `__param_target` and `__address__` with [[scrape.relabel]]"
    );
    context.error(at, message, help);
}

fn params(view: View<'_>, context: &mut Context<'_>) -> BTreeMap<String, Vec<String>> {
    let mut out = BTreeMap::new();
    let read: serde_json::Value = serde_json::from_str(&view.json("params")).unwrap_or_default();
    for (name, value) in read.as_object().into_iter().flatten() {
        let values: Option<Vec<String>> = match value {
            serde_json::Value::String(text) => Some(vec![text.clone()]),
            serde_json::Value::Array(items) => items.iter().map(|i| i.as_str().map(str::to_owned)).collect(),
            _ => None,
        };
        match values {
            Some(values) => drop(out.insert(name.clone(), values)),
            None => {
                let message = format!("`params.{name}` is neither a string nor a list of strings");
                context.error(view.place("params"), message, "write it like { module = [\"http_2xx\"] }");
            }
        }
    }
    out
}

fn discoveries(view: View<'_>, context: &mut Context<'_>) -> Vec<Discovery> {
    let mut out = Vec::new();
    let refresh = |table: View<'_>, context: &mut Context<'_>| {
        let refresh = table.duration("refresh")?;
        if refresh < std::time::Duration::from_secs(1) {
            context.error(table.place("refresh"), "`refresh` is too short", "use 1s or more");
        }
        Some(refresh)
    };
    for table in view.tables("file") {
        let mut files: Vec<PathBuf> = Vec::new();
        for (text, at) in table.texts_at("files") {
            let known = [".json", ".yml", ".yaml"].iter().any(|e| text.ends_with(e));
            if !known || text.rsplit_once('/').is_some_and(|(folder, _)| folder.contains('*')) {
                let help = "name files that end in .json, .yml or .yaml; `*` may stand in the file's name alone";
                context.error(at, format!("`{text}` is no file of targets"), help);
            }
            let pattern = context.path(text);
            if is_pattern(&pattern)
                && let Err(e) = matching(&pattern)
            {
                let help = "create the folder or correct the path; paths are relative to the config file";
                context.warning(at, format!("cannot look for `{text}`: {}", plain(&e)), help);
            }
            files.push(pattern);
        }
        out.extend(refresh(table, context).map(|refresh| Discovery::File { files, refresh }));
    }
    for table in view.tables("dns") {
        let kind = table.string("type").unwrap_or_default();
        let port = table.whole("port").and_then(|p| u16::try_from(p).ok());
        if port.is_none() && kind != "SRV" && !kind.is_empty() {
            let message = format!("`port` is missing: an {kind} record does not tell one");
            context.error(table.at, message, "add port = 9100, for example");
        }
        let server = table.text("server").and_then(|text| {
            let found = name_server(text);
            if found.is_none() {
                let message = format!("`server`: \"{text}\" is no address of a name server");
                context.error(table.place("server"), message, "write it like \"10.0.0.2\" or \"127.0.0.1:5353\"");
            }
            found
        });
        let names = table.texts("names");
        out.extend(refresh(table, context).map(|refresh| Discovery::Dns { names, kind, port, server, refresh }));
    }
    for table in view.tables("http") {
        let Some(url) = table.string("url") else { continue };
        if !url::Url::parse(&url).is_ok_and(|u| matches!(u.scheme(), "http" | "https") && u.has_host()) {
            let message = format!("`url`: \"{url}\" is not an address");
            context.error(table.place("url"), message, "write it like \"http://localhost:8000/targets\"");
        }
        let http = http(table, Files::MayCome, context);
        out.extend(refresh(table, context).map(|refresh| Discovery::Http { url, http, refresh }));
    }
    out
}

/// By number: a name would have to be looked up first.
fn name_server(text: &str) -> Option<SocketAddr> {
    let found: Option<SocketAddr> = text.parse().ok();
    found.or_else(|| Some((text.parse::<IpAddr>().ok()?, 53).into())).filter(|a| a.port() != 0)
}

/// Files that a client reads: certificates, keys, secrets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Files {
    /// Without them there is no start.
    MustBeThere,
    /// They are looked for again and again: a job's targets are down until they are there, and nobody else is. The check
    /// says so, which tries them.
    MayCome,
}

pub(super) fn http(view: View<'_>, files: Files, context: &mut Context<'_>) -> Http {
    let mut headers = Vec::new();
    for label in &view.labels("headers") {
        check_header(&label.name, view.place("headers"), context);
        headers.push((label.name.to_string(), SecretSource::Text(SecretText(label.value.to_string()))));
    }
    for (name, secret) in view.named_tables("secret_headers") {
        check_header(name, secret.at, context);
        if let Some(value) = header_secret(name, secret, files, context) {
            headers.push((name.to_owned(), value));
        }
    }
    let (basic, token) = (view.table_if_known("basic_auth"), view.table_if_known("authorization"));
    if let (Some(_), Some(token)) = (basic, token) {
        context.error(token.at, "`basic_auth` and `authorization` are both set", "a request has one: keep one of them");
    }
    let mut auth = HttpAuth::None;
    if let Some((basic, name)) = basic.and_then(|b| Some((b, b.string("username")?))) {
        auth = match source(basic, "password", files, context) {
            Some(password) => HttpAuth::Basic(name, password),
            None => HttpAuth::None,
        };
    } else if let Some((token, kind)) = token.and_then(|t| Some((t, t.string("type")?))) {
        auth = match source(token, "token", files, context) {
            Some(token) => HttpAuth::Token(kind, token),
            None => HttpAuth::None,
        };
    }
    let follow_redirects = view.knows("follow_redirects") && view.bool("follow_redirects");
    Http { auth, headers, tls: tls(view.table("tls"), files, context), follow_redirects }
}

fn is_header_name(name: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !name.is_empty() && name.bytes().all(token)
}

/// A header's name, and none of those that Belfry sets itself.
pub(crate) fn is_settable_header(name: &str) -> bool {
    let ours = ["authorization", "host", "accept", "accept-encoding", "user-agent", "content-length", "connection"];
    is_header_name(name) && !ours.contains(&name.to_ascii_lowercase().as_str())
}

fn check_header(name: &str, at: Origin, context: &mut Context<'_>) {
    if !is_header_name(name) {
        context.error(at, format!("`{name}` is no name for a header"), "use letters, digits and `-`");
    } else if !is_settable_header(name) {
        let help = "use `basic_auth` or `authorization` for credentials; the others are set by Belfry";
        context.error(at, format!("the header `{name}` cannot be set"), help);
    }
}

fn header_secret(name: &str, view: View<'_>, files: Files, context: &mut Context<'_>) -> Option<SecretSource> {
    match (view.text("env"), view.text("file")) {
        (Some(variable), None) => match context.env.get(variable).filter(|v| !v.is_empty()) {
            Some(value) => Some(SecretSource::Text(SecretText(value.clone()))),
            None => {
                let message = format!("the environment variable `{variable}` is not set");
                context.error(view.place("env"), message, "set it, or use `file`");
                None
            }
        },
        (None, Some(file)) => file_source(view.place("file"), file, files, context),
        _ => {
            let message = format!("the header `{name}` needs `env` or `file`, and only one of them");
            context.error(view.at, message, "write { env = \"VARIABLE\" } or { file = \"path\" }");
            None
        }
    }
}

/// `key` or `key_file`; the file is read at each request.
pub(super) fn source(
    view: View<'_>,
    key: &'static str,
    files: Files,
    context: &mut Context<'_>,
) -> Option<SecretSource> {
    let file_key = if key == "password" { "password_file" } else { "token_file" };
    if let (None, Some(file)) = (view.text(key), view.text(file_key)) {
        return file_source(view.place(file_key), file, files, context);
    }
    let said = view.text(key).is_some();
    let text = context.text_or_file(view, key, file_key);
    if !said {
        context.error(
            view.at,
            format!("`{key}` is missing"),
            format!("set `{file_key}`, or {key} = \"${{VARIABLE}}\""),
        );
    }
    text.map(|t| SecretSource::Text(SecretText(t)))
}

fn file_source(at: Origin, file: &str, files: Files, context: &mut Context<'_>) -> Option<SecretSource> {
    let path = context.path(file);
    if files == Files::MustBeThere || std::fs::File::open(&path).is_ok() {
        context.secret_file(at, file)?;
    }
    Some(SecretSource::File(path))
}

fn tls(view: View<'_>, files: Files, context: &mut Context<'_>) -> HttpTls {
    let file = |key: &str, context: &mut Context<'_>| {
        let text = view.text(key)?;
        let path = context.path(text);
        if files == Files::MustBeThere
            && let Err(e) = std::fs::File::open(&path)
        {
            let help = "put the PEM file there, readable for Belfry; paths are relative to the config file";
            context.error(view.place(key), format!("cannot read `{text}`: {}", plain(&e)), help);
        }
        Some(path)
    };
    let (ca_file, certificate, key) = (file("ca_file", context), file("cert_file", context), file("key_file", context));
    if certificate.is_some() != key.is_some() {
        context.error(view.at, "`cert_file` and `key_file` go together", "set both, or none");
    }
    HttpTls {
        ca_file,
        identity: certificate.zip(key),
        server_name: view.string("server_name"),
        insecure_skip_verify: view.bool("insecure_skip_verify"),
    }
}

fn limits(view: View<'_>) -> Option<ScrapeLimits> {
    let count = |key: &str| view.whole(key).and_then(|n| u64::try_from(n).ok());
    Some(ScrapeLimits {
        body_bytes: view.bytes("body_size")?,
        samples: count("samples")?,
        labels: count("labels")?,
        label_name_bytes: count("label_name")?,
        label_value_bytes: count("label_value")?,
        targets: count("targets")?,
        series: count("series").map(|n| if n == 0 { i64::MAX.unsigned_abs() } else { n }),
    })
}

fn rules(view: View<'_>, key: &str, context: &mut Context<'_>) -> Vec<RelabelRule> {
    view.tables(key).into_iter().filter_map(|v| rule(v, context)).collect()
}

/// Why it is no regular expression, if it is none.
pub(crate) fn regex_fault(regex: &str) -> Option<String> {
    belfry_model::re2::whole(regex).err().map(|e| e.to_string())
}

/// Has the action a use for `target_label`? Then it must be there.
pub(crate) fn needs_target_label(action: &str) -> bool {
    ["replace", "hashmod", "lowercase", "uppercase", "keepequal", "dropequal"].contains(&action)
}

fn rule(view: View<'_>, context: &mut Context<'_>) -> Option<RelabelRule> {
    let action = view.string("action")?;
    let regex = view.string("regex")?;
    if let Some(why) = regex_fault(&regex) {
        let help = "write it as Prometheus and RE2 have it: no look-around, no back-references";
        context.error(view.place("regex"), format!("`regex`: \"{regex}\" is no regular expression: {why}"), help);
    }
    let target = view.string("target_label").unwrap_or_default();
    let needs_target = needs_target_label(&action);
    if needs_target && target.is_empty() {
        context.error(
            view.at,
            format!("`{action}` needs `target_label`"),
            "add target_label = \"instance\", for example",
        );
    }
    if !needs_target && !target.is_empty() {
        context.error(view.place("target_label"), format!("`{action}` has no use for `target_label`"), "remove it");
    }
    if action == "hashmod" && view.node("modulus").is_none() {
        context.error(view.at, "`hashmod` needs `modulus`", "add modulus = 4, for example");
    }
    Some(RelabelRule {
        source_labels: view.texts("source_labels"),
        separator: view.string("separator")?,
        regex,
        modulus: view.whole("modulus").and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
        target_label: target,
        replacement: view.string("replacement")?,
        action,
    })
}
