//! Which keys there are: one table that the check of keys and types, the overrides, `config show` and the JSON schema
//! all read, so that none of them can disagree with another.
//!
//! Not here: what values mean together (`read`).

use std::time::Duration;

use belfry_model::duration::parse_duration;

use crate::problem::{Report, did_you_mean};
use crate::tree::{Node, Table, Value};

/// A table and its keys.
pub(crate) struct TableSpec {
    pub doc: &'static str,
    pub keys: &'static [Key],
}

/// One key.
pub(crate) struct Key {
    pub name: &'static str,
    pub kind: Kind,
    pub need: Need,
    pub doc: &'static str,
}

pub(crate) enum Need {
    /// Must be there.
    Required,
    /// May be left out; nothing then.
    Optional,
    /// May be left out; this then (TOML).
    Default(&'static str),
}

pub(crate) enum Kind {
    Text,
    /// Never shown.
    Secret,
    /// An address: shown without user, password and query, which may hold a token.
    Url,
    Duration,
    /// A duration or `forever`.
    DurationOrForever,
    /// `always`, `never` or a duration.
    Fsync,
    Bytes,
    Whole {
        min: i64,
        max: i64,
    },
    Number,
    Bool,
    Texts,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Some of these words.
    Words(&'static [&'static str]),
    /// Names and texts.
    TextMap,
    /// Names and texts that are never shown.
    SecretMap,
    /// Whatever the plugin makes of it.
    Anything,
    Table(&'static TableSpec),
    Tables(&'static TableSpec),
    /// Tables by free names.
    TableMap(&'static TableSpec),
}

impl Kind {
    fn wanted(&self) -> String {
        match self {
            Self::Text | Self::Secret | Self::Url => "a string".to_owned(),
            Self::Duration => "a duration in quotes, like \"10s\" or \"1h30m\"".to_owned(),
            Self::DurationOrForever => "a duration in quotes, like \"15d\", or \"forever\"".to_owned(),
            Self::Fsync => "\"always\", \"never\" or a duration in quotes, like \"100ms\"".to_owned(),
            Self::Bytes => "a size in quotes, like \"32MiB\" or \"10GB\"".to_owned(),
            Self::Whole { min, max: i64::MAX } => format!("a whole number from {min} on"),
            Self::Whole { min, max } => format!("a whole number from {min} to {max}"),
            Self::Number => "a number".to_owned(),
            Self::Bool => "true or false, without quotes".to_owned(),
            Self::Texts => "a list of strings, like [\"a\", \"b\"]".to_owned(),
            Self::Word(words) => format!("one of {}", quoted(words)),
            Self::Words(words) => format!("a list of {}", quoted(words)),
            Self::TextMap | Self::SecretMap => "a table of strings, like { team = \"web\" }".to_owned(),
            Self::Anything | Self::Table(_) => "a table".to_owned(),
            Self::Tables(_) => "a list of tables ([[…]])".to_owned(),
            Self::TableMap(_) => "a table of tables".to_owned(),
        }
    }
}

pub(crate) fn quoted(words: &[&str]) -> String {
    words.iter().map(|w| format!("\"{w}\"")).collect::<Vec<_>>().join(", ")
}

/// Bytes as people write them: `512`, `64KiB`, `32MiB`, `10GB`.
pub(crate) fn parse_bytes(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 10] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("kB", 1_000),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("B", 1),
    ];
    let (number, unit) = UNITS
        .iter()
        .find_map(|(name, size)| text.strip_suffix(name).map(|n| (n.trim_end(), *size)))
        .unwrap_or((text, 1));
    if !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    number.parse::<u64>().ok()?.checked_mul(unit).filter(|n| *n <= i64::MAX as u64)
}

/// Checks keys and types of `table` and below. What fails is reported and removed, so that reading meets only what is
/// well-formed.
pub(crate) fn check(table: &mut Table, spec: &TableSpec, path: &str, report: &mut Report) {
    table.0.retain_mut(|entry| {
        let Some(key) = spec.keys.iter().find(|k| k.name == entry.key) else {
            let names: Vec<&str> = spec.keys.iter().map(|k| k.name).collect();
            let help = match did_you_mean(&entry.key, names.iter().copied()) {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("known here: {}", names.join(", ")),
            };
            report.error(entry.key_at, format!("unknown key `{}`{}", entry.key, within(path)), help);
            return false;
        };
        check_value(&mut entry.node, &key.kind, &join(path, key.name), report)
    });
}

/// Reports required keys that are not there, unless an unknown key was meant for it: one slip is one problem.
fn check_required(node: &Node, table: &Table, spec: &TableSpec, path: &str, report: &mut Report) {
    let names = || spec.keys.iter().map(|k| k.name);
    let meant: Vec<&str> =
        table.0.iter().filter(|e| !names().any(|n| n == e.key)).filter_map(|e| did_you_mean(&e.key, names())).collect();
    for key in spec.keys {
        let missing = table.get(key.name).is_none() && !meant.contains(&key.name);
        if matches!(key.need, Need::Required) && missing {
            report.error(
                node.at,
                format!("`{}` is missing{}", key.name, within(path)),
                format!("add `{} = …`: {}", key.name, key.doc),
            );
        }
    }
}

fn within(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!(" in [{path}]") }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn check_value(node: &mut Node, kind: &Kind, path: &str, report: &mut Report) -> bool {
    let key = path.rsplit('.').next().unwrap_or(path);
    let at = node.at;
    let well_formed = match (kind, &mut node.value) {
        (_, Value::Broken) => return false,
        (Kind::Text | Kind::Secret | Kind::Url, Value::Text { .. })
        | (Kind::Number, Value::Integer(_) | Value::Float(_))
        | (Kind::Bool, Value::Bool(_))
        | (Kind::Anything, Value::Table(_)) => true,
        (Kind::Duration, Value::Text { text, .. }) => match parse_duration(text) {
            Ok(_) => true,
            Err(e) => {
                report.error(
                    at,
                    format!("`{key}`: `{}` is not a duration", e.0),
                    "write it like 500ms, 10s, 1m30s, 2h or 15d",
                );
                return false;
            }
        },
        (Kind::DurationOrForever, Value::Text { text, .. }) => text == "forever" || parse_duration(text).is_ok(),
        (Kind::Fsync, Value::Text { text, .. }) => {
            matches!(text.as_str(), "always" | "never") || parse_duration(text).is_ok_and(|d| d > Duration::ZERO)
        }
        (Kind::Bytes, Value::Text { text, .. }) => parse_bytes(text).is_some(),
        (Kind::Bytes, Value::Integer(n)) => *n >= 0,
        (Kind::Whole { min, max }, Value::Integer(n)) => (min..=max).contains(&&*n),
        (Kind::Word(words), Value::Text { text, .. }) => {
            if words.contains(&text.as_str()) {
                return true;
            }
            let help = match did_you_mean(text, words.iter().copied()) {
                Some(w) => format!("did you mean \"{w}\"? Known: {}", quoted(words)),
                None => format!("use {}", kind.wanted()),
            };
            report.error(at, format!("`{key}` cannot be \"{text}\""), help);
            return false;
        }
        (Kind::Texts, Value::Array(items)) => {
            let mut ok = true;
            for item in items.iter().filter(|i| !matches!(i.value, Value::Text { .. })) {
                report.error(item.at, format!("`{key}` holds {}", item.value.kind()), format!("use {}", kind.wanted()));
                ok = false;
            }
            return ok;
        }
        (Kind::Words(words), Value::Array(items)) => {
            let word = Kind::Word(words);
            // Every item is checked, also after a bad one.
            let bad = items.iter_mut().filter_map(|i| (!check_value(i, &word, path, report)).then_some(())).count();
            return bad == 0;
        }
        (Kind::TextMap | Kind::SecretMap, Value::Table(t)) => {
            for e in t.0.iter().filter(|e| !matches!(e.node.value, Value::Text { .. })) {
                let message = format!("`{key}.{}` must be a string, this is {}", e.key, e.node.value.kind());
                report.error(e.node.at, message, format!("use {}", kind.wanted()));
            }
            t.0.retain(|e| matches!(e.node.value, Value::Text { .. }));
            true
        }
        (Kind::Table(spec), Value::Table(_)) => {
            check_table(node, spec, path, report);
            true
        }
        (Kind::Tables(spec), Value::Array(items)) => {
            items.retain_mut(|item| match item.value {
                Value::Table(_) => {
                    check_table(item, spec, path, report);
                    true
                }
                _ => {
                    let message = format!("`{key}` holds {}", item.value.kind());
                    report.error(item.at, message, format!("write each as a table under [[{path}]]"));
                    false
                }
            });
            true
        }
        (Kind::TableMap(spec), Value::Table(t)) => {
            t.0.retain_mut(|e| match e.node.value {
                Value::Table(_) => {
                    check_table(&mut e.node, spec, &join(path, &e.key), report);
                    true
                }
                _ => {
                    let message = format!("`{key}.{}` must be a table, this is {}", e.key, e.node.value.kind());
                    report.error(e.node.at, message, format!("write {}", example_of(spec)));
                    false
                }
            });
            true
        }
        _ => false,
    };
    if !well_formed {
        let said = match &node.value {
            Value::Text { text, .. } => format!("`{key}` cannot be \"{text}\""),
            Value::Integer(n) if matches!(kind, Kind::Whole { .. }) => format!("`{key}` cannot be {n}"),
            other => format!("`{key}` cannot be {}", other.kind()),
        };
        report.error(at, said, format!("use {}", kind.wanted()));
    }
    well_formed
}

fn check_table(node: &mut Node, spec: &TableSpec, path: &str, report: &mut Report) {
    if let Value::Table(t) = &mut node.value {
        // What is required is checked before the badly-formed goes, so that one slip is one problem.
        let present = t.clone();
        check(t, spec, path, report);
        check_required(node, &present, spec, path, report);
    }
}

fn example_of(spec: &TableSpec) -> String {
    let keys: Vec<String> = spec.keys.iter().map(|k| format!("{{ {} = … }}", k.name)).collect();
    keys.join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in
            [("512", Some(512)), ("64KiB", Some(65_536)), ("10 MB", Some(10_000_000)), ("1GiB", Some(1 << 30))]
        {
            assert_eq!(parse_bytes(text), bytes, "{text}");
        }
        for text in ["", "MiB", "-1B", "1.5GiB", "99999999999TiB", "ten"] {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
    }
}
