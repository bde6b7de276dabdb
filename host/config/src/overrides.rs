//! `BELFRY_SECTION__KEY` from the environment, and flags: they replace what the files say.

use crate::keys::ROOT;
use crate::load::LoadInput;
use crate::problem::{Origin, Report, did_you_mean};
use crate::spec::{Kind, TableSpec};
use crate::tree::{Entry, Node, Table, Value};

const PREFIX: &str = "BELFRY_";

/// Applies all, flags last; answers names and values for the digest.
pub(crate) fn apply(root: &mut Table, input: &LoadInput, report: &mut Report) -> Vec<(String, String)> {
    let mut applied = Vec::new();
    for (name, value) in &input.env {
        // A variable without `__` is none of ours, or a flag's (`BELFRY_CONFIG`).
        let Some(path) = name.strip_prefix(PREFIX).filter(|p| p.contains("__")) else { continue };
        let at = report.sources.add_override(name);
        let path: Vec<String> = path.split("__").map(str::to_lowercase).collect();
        set(root, &ROOT, &path, value, at, report);
        applied.push((name.clone(), value.clone()));
    }
    for flag in &input.flags {
        let at = report.sources.add_override(&flag.flag);
        let path: Vec<String> = flag.key.split('.').map(str::to_owned).collect();
        set(root, &ROOT, &path, &flag.value, at, report);
        applied.push((flag.flag.clone(), flag.value.clone()));
    }
    applied
}

fn set(table: &mut Table, spec: &TableSpec, path: &[String], value: &str, at: Origin, report: &mut Report) {
    let Some((first, rest)) = path.split_first() else { return };
    let Some(key) = spec.keys.iter().find(|k| k.name == first) else {
        let names: Vec<&str> = spec.keys.iter().map(|k| k.name).collect();
        let help = match did_you_mean(first, names.iter().copied()) {
            Some(close) => format!("did you mean `{}`?", close.to_uppercase()),
            None => format!("known here: {}", names.join(", ").to_uppercase()),
        };
        report.error(at, format!("there is no setting `{}`", first.to_uppercase()), help);
        return;
    };
    match (&key.kind, rest.is_empty()) {
        (Kind::Table(below), false) => {
            if table.get(first).is_none() {
                table.0.push(Entry {
                    key: first.clone(),
                    key_at: at,
                    node: Node { at, value: Value::Table(Table::default()) },
                });
            }
            if let Some(Entry { node: Node { value: Value::Table(t), .. }, .. }) = table.get_mut(first) {
                set(t, below, rest, value, at, report);
            }
        }
        (Kind::Tables(_) | Kind::TableMap(_) | Kind::TextMap | Kind::SecretMap | Kind::Anything, _)
        | (Kind::Table(_), true)
        | (_, false) => {
            report.error(
                at,
                format!("`{}` cannot be set by one value", first.to_uppercase()),
                "write it in the config file; ${VAR} works in every string there",
            );
        }
        (kind, true) => {
            let node = Node { at, value: convert(kind, value, at) };
            match table.get_mut(first) {
                Some(old) => old.node = node,
                None => table.0.push(Entry { key: first.clone(), key_at: at, node }),
            }
        }
    }
}

/// What does not fit stays a text, and the check of types says so.
fn convert(kind: &Kind, text: &str, at: Origin) -> Value {
    let plain = || Value::Text { text: text.to_owned(), written: None };
    match kind {
        Kind::Whole { .. } => text.parse().map_or_else(|_| plain(), Value::Integer),
        Kind::Number => text.parse().map_or_else(|_| plain(), Value::Float),
        Kind::Bool => text.parse().map_or_else(|_| plain(), Value::Bool),
        Kind::Texts | Kind::Words(_) => Value::Array(
            text.split(',')
                .map(str::trim)
                .filter(|t| !t.is_empty())
                .map(|t| Node { at, value: Value::Text { text: t.to_owned(), written: None } })
                .collect(),
        ),
        _ => plain(),
    }
}
