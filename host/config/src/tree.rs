//! TOML as a tree that remembers where everything was written.
//!
//! Invariant: keys of a table are unique; every node knows its place.
//! Not here: what keys mean.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use crate::problem::{Origin, Report};

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub at: Origin,
    pub value: Value,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// With the text as written, where variables were filled in: what may be printed.
    Text {
        text: String,
        written: Option<String>,
    },
    Integer(i64),
    Float(f64),
    Bool(bool),
    /// A TOML date or time, as written.
    Time(String),
    /// Was reported already; nothing more is said of it.
    Broken,
    Array(Vec<Node>),
    Table(Table),
}

/// In the order of the file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table(pub Vec<Entry>);

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub key: String,
    pub key_at: Origin,
    pub node: Node,
}

impl Table {
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.0.iter().find(|e| e.key == key)
    }

    pub fn get_mut(&mut self, key: &str) -> Option<&mut Entry> {
        self.0.iter_mut().find(|e| e.key == key)
    }
}

impl Value {
    /// With its article, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text { .. } | Self::Broken => "a string",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Bool(_) => "true or false",
            Self::Time(_) => "a date",
            Self::Array(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

/// Parses one file. What cannot be parsed is reported and left out.
pub(crate) fn parse(source: u32, text: &str, report: &mut Report) -> Table {
    let (table, errors) = DeTable::parse_recoverable(text);
    for e in errors {
        let at = Origin { source, offset: e.span().map_or(0, |s| s.start as u32) };
        report.error(at, format!("this is no TOML: {}", e.message()), "see https://toml.io/en/v1.0.0");
    }
    convert_table(source, table.get_ref(), report)
}

fn convert_table(source: u32, table: &DeTable<'_>, report: &mut Report) -> Table {
    let mut entries: Vec<Entry> = table
        .iter()
        .filter_map(|(key, value)| {
            Some(Entry {
                key: key.get_ref().to_string(),
                key_at: Origin { source, offset: key.span().start as u32 },
                node: convert(source, value, report)?,
            })
        })
        .collect();
    entries.sort_by_key(|e| e.key_at);
    Table(entries)
}

fn convert(source: u32, value: &toml::Spanned<DeValue<'_>>, report: &mut Report) -> Option<Node> {
    let at = Origin { source, offset: value.span().start as u32 };
    let value = match value.get_ref() {
        DeValue::String(s) => Value::Text { text: s.to_string(), written: None },
        DeValue::Integer(i) => match i64::from_str_radix(i.as_str(), i.radix()) {
            Ok(n) => Value::Integer(n),
            Err(_) => {
                report.error(at, format!("`{i}` is too large for a whole number"), "numbers have 64 bits");
                return None;
            }
        },
        DeValue::Float(f) => Value::Float(f.as_str().parse().ok()?),
        DeValue::Boolean(b) => Value::Bool(*b),
        DeValue::Datetime(d) => Value::Time(d.to_string()),
        DeValue::Array(items) => Value::Array(items.iter().filter_map(|v| convert(source, v, report)).collect()),
        DeValue::Table(t) => Value::Table(convert_table(source, t, report)),
    };
    Some(Node { at, value })
}

/// Adds the keys of `more` to `base`: tables join, lists of tables grow, anything else may be set only once.
pub(crate) fn merge(base: &mut Table, more: Table, report: &mut Report) {
    for entry in more.0 {
        let Some(old) = base.get_mut(&entry.key) else {
            base.0.push(entry);
            continue;
        };
        match (&mut old.node.value, entry.node.value) {
            (Value::Table(old), Value::Table(new)) => merge(old, new, report),
            (Value::Array(old), Value::Array(new))
                if old.iter().chain(&new).all(|n| matches!(n.value, Value::Table(_))) =>
            {
                old.extend(new);
            }
            _ => {
                let first = report.sources.place(old.key_at);
                report.error(
                    entry.key_at,
                    format!("`{}` is set twice", entry.key),
                    format!("it is already set at {first}; keep one"),
                );
            }
        }
    }
}

/// Fills `${VAR}` and `${VAR:-default}` in all strings from `env`. `$${` is a plain `${`.
pub(crate) fn expand(table: &mut Table, env: &BTreeMap<String, String>, report: &mut Report) {
    for entry in &mut table.0 {
        expand_node(&mut entry.node, env, report);
    }
}

fn expand_node(node: &mut Node, env: &BTreeMap<String, String>, report: &mut Report) {
    match &mut node.value {
        Value::Text { text, written } if text.contains("${") => match expand_text(text, env) {
            Ok(filled) => *written = Some(std::mem::replace(text, filled)),
            Err((message, help)) => {
                report.error(node.at, message, help);
                node.value = Value::Broken;
            }
        },
        Value::Array(items) => items.iter_mut().for_each(|n| expand_node(n, env, report)),
        Value::Table(t) => expand(t, env, report),
        _ => {}
    }
}

fn expand_text(text: &str, env: &BTreeMap<String, String>) -> Result<String, (String, String)> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            out.push_str(&rest[..at - 1]);
            out.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let Some(end) = rest[at..].find('}') else {
            return Err((
                "`${` without `}`".to_owned(),
                "write ${VAR} or ${VAR:-default}; write $${ for a plain ${".to_owned(),
            ));
        };
        let inside = &rest[at + 2..at + end];
        if !inside.is_empty() && inside.bytes().all(|b| b.is_ascii_digit()) {
            // A group of a regular expression; no variable is named so.
            out.push_str(&rest[at..=at + end]);
            rest = &rest[at + end + 1..];
            continue;
        }
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        let valid = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !valid {
            return Err((
                format!("`${{{inside}}}` names no environment variable"),
                "write ${VAR} or ${VAR:-default}; write $${ for a plain ${".to_owned(),
            ));
        }
        // As in a shell: `:-` also replaces an empty value.
        match (env.get(name).filter(|v| default.is_none() || !v.is_empty()), default) {
            (Some(value), _) => out.push_str(value),
            (None, Some(default)) => out.push_str(default),
            (None, None) => {
                return Err((
                    format!("the environment variable `{name}` is not set"),
                    format!("set it, or give a default: ${{{name}:-…}}"),
                ));
            }
        }
        rest = &rest[at + end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in_as_in_a_shell() {
        let env = BTreeMap::from([("A".to_owned(), "1".to_owned()), ("EMPTY".to_owned(), String::new())]);
        for (text, want) in [
            ("x${A}y", Some("x1y")),
            ("${B:-2}${A}", Some("21")),
            ("${EMPTY}|${EMPTY:-d}", Some("|d")),
            ("$${A} $A", Some("${A} $A")),
            ("${1}-$1-${12}", Some("${1}-$1-${12}")),
            ("${B:-}", Some("")),
            ("${B}", None),
            ("${A", None),
            ("${}", None),
            ("${a b}", None),
        ] {
            assert_eq!(expand_text(text, &env).ok().as_deref(), want, "{text}");
        }
    }
}
