//! The config as it is in effect, for people: defaults filled in, secrets taken out.
//!
//! Invariant: no secret is printed: neither keys that hold one, nor the values of headers, nor what stands before the host
//! or behind the path of an address, nor what `${VAR}` was filled with.

use crate::keys::ROOT;
use crate::keys::remote::{BESIDE_ENGINE, ENGINES};
use crate::spec::{Kind, Need, TableSpec};
use crate::tree::{Node, Table, Value};

const REDACTED: &str = "<redacted>";

/// A plugin's own key of such a name probably holds a secret.
const SECRET_WORDS: [&str; 7] = ["password", "token", "secret", "api_key", "apikey", "credential", "authorization"];

pub(crate) fn show(root: &Table) -> String {
    let mut shown = known(Some(root), &ROOT);
    if let Some(toml::Value::Table(storage)) = shown.get_mut("storage") {
        beside_engine(storage, root);
    }
    toml::to_string_pretty(&shown).unwrap_or_default()
}

/// Beside an engine other keys of `[storage]` have defaults, and `retention` has none.
fn beside_engine(storage: &mut toml::Table, root: &Table) {
    if !storage.get("backend").and_then(toml::Value::as_str).is_some_and(|b| ENGINES.contains(&b)) {
        return;
    }
    for (key, text) in BESIDE_ENGINE {
        storage.entry(key).or_insert_with(|| text.into());
    }
    let is_said = match root.get("storage").map(|e| &e.node.value) {
        Some(Value::Table(said)) => said.get("retention").is_some(),
        _ => false,
    };
    if !is_said {
        storage.remove("retention");
    }
}

fn known(table: Option<&Table>, spec: &TableSpec) -> toml::Table {
    let mut out = toml::Table::new();
    for key in spec.keys {
        let node = table.and_then(|t| t.get(key.name)).map(|e| &e.node);
        let value = match (node, &key.kind) {
            (Some(node), kind) => Some(value(node, kind)),
            // Sections that are always in effect are shown even where nobody wrote them.
            (None, Kind::Table(below)) if has_defaults(below) => Some(toml::Value::Table(known(None, below))),
            (None, _) => match key.need {
                Need::Default(text) => default_value(text),
                _ => None,
            },
        };
        if let Some(value) = value {
            out.insert(key.name.to_owned(), value);
        }
    }
    out
}

fn has_defaults(spec: &TableSpec) -> bool {
    let required = spec.keys.iter().any(|k| matches!(k.need, Need::Required));
    !required && spec.keys.iter().any(|k| matches!(k.need, Need::Default(_)))
}

fn default_value(text: &str) -> Option<toml::Value> {
    format!("v = {text}").parse::<toml::Table>().ok()?.remove("v")
}

fn value(node: &Node, kind: &Kind) -> toml::Value {
    match (kind, &node.value) {
        (Kind::Secret, _) => REDACTED.into(),
        (Kind::SecretMap, Value::Table(t)) => {
            toml::Value::Table(t.0.iter().map(|e| (e.key.clone(), REDACTED.into())).collect())
        }
        (Kind::Url, Value::Text { text, written }) => url(written.as_ref().unwrap_or(text)).into(),
        (Kind::Table(spec), Value::Table(t)) => toml::Value::Table(known(Some(t), spec)),
        (Kind::Tables(spec), Value::Array(items)) => items
            .iter()
            .filter_map(|n| match &n.value {
                Value::Table(t) => Some(toml::Value::Table(known(Some(t), spec))),
                _ => None,
            })
            .collect::<Vec<_>>()
            .into(),
        (Kind::TableMap(spec), Value::Table(t)) => toml::Value::Table(
            t.0.iter().map(|e| (e.key.clone(), value(&e.node, &Kind::Table(spec)))).collect::<toml::Table>(),
        ),
        (_, other) => free(other),
    }
}

/// Without user and password, and without its query: a token may be any of them.
fn url(text: &str) -> String {
    let (address, query) = text.split_at(text.find(['?', '#']).unwrap_or(text.len()));
    let mut out = match url::Url::parse(address) {
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            let port = url.port().map(|p| format!(":{p}")).unwrap_or_default();
            format!("{}://{REDACTED}@{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
        }
        Ok(_) => address.to_owned(),
        // With variables in it, or no address at all.
        Err(_) => match (address.find("://"), address.rfind('@')) {
            (Some(begin), Some(end)) if begin < end => {
                format!("{}://{REDACTED}{}", &address[..begin], &address[end..])
            }
            (None, Some(_)) => REDACTED.to_owned(),
            _ => address.to_owned(),
        },
    };
    if !query.is_empty() {
        out.push_str(&query[..1]);
        out.push_str(REDACTED);
    }
    out
}

fn free(value: &Value) -> toml::Value {
    match value {
        Value::Text { text, written } => written.as_ref().unwrap_or(text).as_str().into(),
        Value::Time(text) => text.as_str().into(),
        Value::Broken => "".into(),
        Value::Integer(n) => (*n).into(),
        Value::Float(n) => (*n).into(),
        Value::Bool(b) => (*b).into(),
        Value::Array(items) => items.iter().map(|n| free(&n.value)).collect::<Vec<_>>().into(),
        Value::Table(t) => toml::Value::Table(
            t.0.iter()
                .map(|e| {
                    let key = e.key.to_lowercase();
                    let secret = SECRET_WORDS.iter().any(|w| key.contains(w));
                    (e.key.clone(), if secret { REDACTED.into() } else { free(&e.node.value) })
                })
                .collect::<toml::Table>(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::url;

    #[test]
    fn of_an_address_host_and_path_are_shown() {
        for (written, shown) in [
            ("http://localhost:8000/targets", "http://localhost:8000/targets"),
            ("http://localhost:8000", "http://localhost:8000"),
            ("https://user:pass@sd.example:8443/a@b", "https://<redacted>@sd.example:8443/a@b"),
            ("https://token@sd.example/", "https://<redacted>@sd.example/"),
            ("http:user:pass@sd.example", "http://<redacted>@sd.example/"),
            ("https://sd.example/list?token=abc&x=1", "https://sd.example/list?<redacted>"),
            ("https://sd.example/list#abc", "https://sd.example/list#<redacted>"),
            ("https://user:${PASSWORD}@sd.example:${PORT}/", "https://<redacted>@sd.example:${PORT}/"),
            ("${URL:-http://user:pass@sd.example/}", "${URL:-http://<redacted>@sd.example/}"),
            ("${URL}", "${URL}"),
        ] {
            assert_eq!(url(written), shown);
        }
    }
}
