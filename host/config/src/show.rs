//! The config as it is in effect, for people: defaults filled in, secrets taken out.
//!
//! Invariant: no secret is printed: neither keys that hold one, nor what `${VAR}` was filled with.

use crate::keys::ROOT;
use crate::spec::{Kind, Need, TableSpec};
use crate::tree::{Node, Table, Value};

const REDACTED: &str = "<redacted>";

/// A plugin's own key of such a name probably holds a secret.
const SECRET_WORDS: [&str; 7] = ["password", "token", "secret", "api_key", "apikey", "credential", "authorization"];

pub(crate) fn show(root: &Table) -> String {
    toml::to_string_pretty(&known(Some(root), &ROOT)).unwrap_or_default()
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
