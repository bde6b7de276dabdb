//! Settings of Prometheus that Belfry has not: what Prometheus refuses of them is refused all the same.
//!
//! Not here: what is said of those that it takes (`Import::note`).

use super::http::{check_tls, one_of};
use super::shapes::Fault;
use super::yaml::{Kind, Node};

/// Keys of a proxy, which jobs, discovery over HTTP and OAuth have in common.
pub(super) const PROXY: [&str; 4] = ["proxy_url", "no_proxy", "proxy_from_environment", "proxy_connect_header"];

/// Keys of `oauth2` that are one text.
const OAUTH_TEXTS: [&str; 13] = [
    "client_id",
    "client_secret",
    "client_secret_file",
    "client_secret_ref",
    "client_certificate_key_id",
    "client_certificate_key",
    "client_certificate_key_file",
    "client_certificate_key_ref",
    "grant_type",
    "signature_algorithm",
    "iss",
    "audience",
    "token_url",
];

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// The value of a key, whichever table it stands in.
pub(super) fn check(key: &str, node: &Node) -> Result<(), Fault> {
    match key {
        "native_histogram_bucket_limit" | "keep_dropped_targets" => node.count(key).map(drop),
        "native_histogram_min_bucket_factor" => node.number(key),
        "convert_classic_histograms_to_nhcb" | "enable_http2" | "proxy_from_environment" => node.flag(key).map(drop),
        "scrape_failure_log_file" | "query_log_file" | "no_proxy" => node.text(key).map(drop),
        "rule_query_offset" | "evaluation_interval" => node.duration(key).map(drop),
        "rule_files" | "scrape_config_files" => node.texts_or_empty(key).map(drop),
        "remote_write" | "remote_read" => node.items(key)?.into_iter().try_for_each(|item| item.entries(key).map(drop)),
        "runtime" | "storage" | "tracing" | "otlp" | "alerting" => node.entries(key).map(drop),
        "external_labels" => {
            for (name, value) in node.entries(key)? {
                value.text(name)?;
                if name.is_empty() {
                    return Err(value.fault("`external_labels`: a label has no name"));
                }
            }
            Ok(())
        }
        "proxy_url" => match go_url_fault(node.text(key)?) {
            Some(why) => Err(node.fault(format!("`proxy_url`: `{}` is no address: {why}", node.text(key)?))),
            None => Ok(()),
        },
        "proxy_connect_header" => {
            node.entries(key)?.into_iter().try_for_each(|(name, values)| values.texts_or_empty(name).map(drop))
        }
        "oauth2" => oauth2(node),
        _ => Ok(()),
    }
}

/// Does the value say what Belfry does anyway?
pub(super) fn is_ours(key: &str, node: &Node) -> bool {
    match key {
        "proxy_url" | "no_proxy" => node.text(key).is_ok_and(str::is_empty),
        "proxy_connect_header" => matches!(&node.kind, Kind::Map(headers) if headers.is_empty()),
        "enable_http2" | "proxy_from_environment" => node.flag(key).is_ok_and(|on| !on),
        _ => false,
    }
}

/// Which of a proxy's keys go together.
pub(super) fn check_proxy(table: &Node) -> Result<(), Fault> {
    for key in PROXY {
        table.get(key).map_or(Ok(()), |node| check(key, node))?;
    }
    let set = |key: &'static str| table.get(key).filter(|node| !is_ours(key, node));
    if let Some(node) = set("proxy_from_environment") {
        for other in ["proxy_url", "no_proxy"] {
            if set(other).is_some() {
                return Err(
                    node.fault(format!("`proxy_from_environment` and `{other}` are both set: keep one of them"))
                );
            }
        }
    } else if let Some(node) = set("proxy_connect_header").filter(|_| set("proxy_url").is_none()) {
        return Err(node.fault("`proxy_connect_header` needs `proxy_url` or `proxy_from_environment`"));
    } else if let Some(node) = set("no_proxy").filter(|_| table.get("proxy_url").is_none()) {
        return Err(node.fault("`no_proxy` needs `proxy_url`"));
    }
    Ok(())
}

fn oauth2(table: &Node) -> Result<(), Fault> {
    let mut texts = Vec::new();
    for (key, node) in table.entries("oauth2")? {
        match key {
            _ if OAUTH_TEXTS.contains(&key) => texts.push((key, node.text(key)?)),
            "scopes" => drop(node.texts_or_empty(key)?),
            "claims" => drop(node.entries(key)?),
            "endpoint_params" => node.entries(key)?.into_iter().try_for_each(|(name, n)| n.text(name).map(drop))?,
            "tls_config" => check_tls(node)?,
            _ if PROXY.contains(&key) => {}
            other => return Err(node.fault(format!("`{other}` is not known to Prometheus in `oauth2`"))),
        }
    }
    let text = |key: &str| texts.iter().find(|(k, _)| *k == key).map_or("", |(_, text)| text);
    for needed in ["client_id", "token_url"] {
        if text(needed).is_empty() {
            return Err(table.fault(format!("`oauth2` needs `{needed}`")));
        }
    }
    let secrets = match text("grant_type") {
        JWT_BEARER => ["client_certificate_key", "client_certificate_key_file", "client_certificate_key_ref"],
        _ => ["client_secret", "client_secret_file", "client_secret_ref"],
    };
    one_of(table, &secrets)?;
    check_proxy(table)
}

/// Why Go's `url.Parse` does not take a text, which takes more than a browser.
pub(super) fn go_url_fault(text: &str) -> Option<&'static str> {
    if text.chars().any(|c| c.is_ascii_control()) {
        return Some("it has a control character");
    }
    let (before_fragment, fragment) = text.split_once('#').unwrap_or((text, ""));
    let whole = before_fragment.split_once('?').map_or(before_fragment, |(path, _)| path);
    if whole.starts_with(':') {
        return Some("its scheme is missing");
    }
    let scheme = whole.split_once(':').filter(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    });
    let rest = scheme.map_or(whole, |(_, rest)| rest);
    if is_badly_escaped(fragment) {
        return Some("`%` begins no escape in it");
    }
    let Some(after) = rest.strip_prefix("//") else {
        if scheme.is_none() && rest.split('/').next().is_some_and(|first| first.contains(':')) {
            return Some("a path cannot begin with a name with `:`");
        }
        let is_opaque = scheme.is_some() && !rest.starts_with('/');
        return (!is_opaque && is_badly_escaped(rest)).then_some("`%` begins no escape in it");
    };
    let (authority, path) = after.split_at(after.find('/').unwrap_or(after.len()));
    if is_badly_escaped(path) {
        return Some("`%` begins no escape in it");
    }
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let is_of_user = |c: char| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c);
    if is_badly_escaped(user) || !user.chars().all(is_of_user) {
        return Some("its user is none");
    }
    if host.contains([' ', '\\', '^', '`', '{', '}', '|', '%']) {
        return Some("its host is none");
    }
    let port = match host.strip_prefix('[').map(|inner| inner.split_once(']')) {
        Some(None) => return Some("`]` is missing"),
        Some(Some((_, port))) => port,
        None => host.rfind(':').map_or("", |at| &host[at..]),
    };
    let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(|p| p.bytes().all(|b| b.is_ascii_digit()));
    (!is_port).then_some("its port is none")
}

fn is_badly_escaped(text: &str) -> bool {
    text.split('%').skip(1).any(|after| !after.as_bytes().get(..2).is_some_and(|d| d.iter().all(u8::is_ascii_hexdigit)))
}

/// Is a name of a metric or label that is not of letters, digits and `_` asked for although it is not to be taken? What a
/// job does not say, `global` does; what that does not say follows from which names are taken.
pub(super) fn check_names(global: Option<&Node>, job: &Node) -> Result<(), Fault> {
    let said = |table: Option<&Node>, key: &str| -> Result<Option<(String, u32)>, Fault> {
        let Some(node) = table.and_then(|t| t.get(key)) else { return Ok(None) };
        Ok(Some((node.text(key)?.to_owned(), node.line)).filter(|(text, _)| !text.is_empty()))
    };
    let (scheme, escaping) = ("metric_name_validation_scheme", "metric_name_escaping_scheme");
    let of_all = said(global, scheme)?;
    let legacy = |said: &Option<(String, u32)>| said.as_ref().is_some_and(|(text, _)| text == "legacy");
    let escaped = match said(Some(job), escaping)? {
        Some(own) => Some(own),
        None => said(global, escaping)?,
    };
    let taken = match said(Some(job), scheme)? {
        Some(own) => Some(own),
        None => of_all.clone(),
    };
    let asked = escaped.as_ref().map_or(!legacy(&of_all), |(text, _)| text == "allow-utf-8");
    if !legacy(&taken) || !asked {
        return Ok(());
    }
    let line = taken.map_or(job.line, |(_, line)| line);
    let why =
        format!("`{scheme}: legacy` needs an `{escaping}` other than `allow-utf-8`: set `underscores`, for example");
    Err((line, why))
}

impl Node {
    /// A number as YAML has them, fractions and infinities among them.
    fn number(&self, key: &str) -> Result<(), Fault> {
        let Kind::Text { text, plain } = &self.kind else { return self.count(key).map(drop) };
        let bare = text.trim_start_matches(['+', '-']).replace('_', "");
        let word = matches!(bare.as_str(), ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN");
        let digits = bare.trim_start_matches('.').starts_with(|c: char| c.is_ascii_digit());
        let float = digits && bare.parse().is_ok_and(f64::is_finite);
        if *plain && (word || float || self.count(key).is_ok()) {
            return Ok(());
        }
        Err(self.fault(format!("`{key}`: `{text}` is no number, without quotes")))
    }
}
