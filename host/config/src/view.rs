//! Typed reading of a table that `spec::check` has passed.
//!
//! Invariant: what is not there, or was reported as malformed, reads as its default or as `None`; reading never reports.

use std::time::Duration;

use belfry_model::Labels;
use belfry_model::duration::parse_duration;

use crate::problem::Origin;
use crate::spec::{Kind, Need, TableSpec, parse_bytes};
use crate::tree::{Entry, Node, Table, Value};

/// A table (or its absence) with the keys it may have.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    table: Option<&'a Table>,
    /// The place of the table; of its parent where it is not there.
    pub at: Origin,
    spec: &'static TableSpec,
}

impl<'a> View<'a> {
    pub fn new(table: &'a Table, at: Origin, spec: &'static TableSpec) -> Self {
        Self { table: Some(table), at, spec }
    }

    pub fn is_there(&self) -> bool {
        self.table.is_some()
    }

    /// Is there such a key here at all?
    pub fn knows(&self, key: &str) -> bool {
        self.spec.keys.iter().any(|k| k.name == key)
    }

    pub fn node(&self, key: &str) -> Option<&'a Node> {
        debug_assert!(self.knows(key), "`{key}` is in no table of keys");
        self.table?.get(key).map(|e| &e.node)
    }

    /// The place of a key's value, or of the table.
    pub fn place(&self, key: &str) -> Origin {
        self.node(key).map_or(self.at, |n| n.at)
    }

    /// The default of a key as the table of keys has it, without quotes.
    fn default_text(&self, key: &str) -> Option<&'static str> {
        match self.spec.keys.iter().find(|k| k.name == key)?.need {
            Need::Default(text) => Some(text.trim_matches('"')),
            _ => None,
        }
    }

    pub fn text(&self, key: &str) -> Option<&'a str> {
        match self.node(key) {
            Some(Node { value: Value::Text { text, .. }, .. }) => Some(text),
            Some(_) => None,
            None => self.default_text(key),
        }
    }

    pub fn string(&self, key: &str) -> Option<String> {
        self.text(key).map(str::to_owned)
    }

    pub fn duration(&self, key: &str) -> Option<Duration> {
        parse_duration(self.text(key)?).ok()
    }

    pub fn bytes(&self, key: &str) -> Option<u64> {
        match self.node(key) {
            Some(Node { value: Value::Integer(n), .. }) => u64::try_from(*n).ok(),
            _ => parse_bytes(self.text(key)?),
        }
    }

    pub fn whole(&self, key: &str) -> Option<i64> {
        match self.node(key) {
            Some(Node { value: Value::Integer(n), .. }) => Some(*n),
            Some(_) => None,
            None => self.default_text(key)?.parse().ok(),
        }
    }

    pub fn whole_u32(&self, key: &str) -> Option<u32> {
        self.whole(key).and_then(|n| u32::try_from(n).ok())
    }

    pub fn number(&self, key: &str) -> Option<f64> {
        match self.node(key)?.value {
            Value::Integer(n) => Some(n as f64),
            Value::Float(n) => Some(n),
            _ => None,
        }
    }

    pub fn bool(&self, key: &str) -> bool {
        match self.node(key) {
            Some(Node { value: Value::Bool(b), .. }) => *b,
            _ => self.default_text(key) == Some("true"),
        }
    }

    /// Texts of a list with their places.
    pub fn texts_at(&self, key: &str) -> Vec<(&'a str, Origin)> {
        let Some(Node { value: Value::Array(items), .. }) = self.node(key) else { return Vec::new() };
        items
            .iter()
            .filter_map(|n| match &n.value {
                Value::Text { text, .. } => Some((text.as_str(), n.at)),
                _ => None,
            })
            .collect()
    }

    pub fn texts(&self, key: &str) -> Vec<String> {
        self.texts_at(key).into_iter().map(|(t, _)| t.to_owned()).collect()
    }

    pub fn labels(&self, key: &str) -> Labels {
        let Some(Node { value: Value::Table(t), .. }) = self.node(key) else { return Labels::empty() };
        Labels::from_pairs(t.0.iter().filter_map(|e| match &e.node.value {
            Value::Text { text, .. } => Some((e.key.as_str(), text.as_str())),
            _ => None,
        }))
    }

    /// The texts of a table below: key, text and place.
    pub fn texts_below(&self, key: &str) -> Vec<(&'a str, &'a str, Origin)> {
        let Some(Node { value: Value::Table(t), .. }) = self.node(key) else { return Vec::new() };
        let text = |e: &'a Entry| match &e.node.value {
            Value::Text { text, .. } => Some((e.key.as_str(), text.as_str(), e.node.at)),
            _ => None,
        };
        t.0.iter().filter_map(text).collect()
    }

    /// A table below, if such a one may be here and is.
    pub fn table_if_known(&self, key: &str) -> Option<View<'a>> {
        self.knows(key).then(|| self.table(key)).filter(View::is_there)
    }

    /// A table below, there or not.
    pub fn table(&self, key: &str) -> View<'a> {
        let spec = self.spec_below(key);
        match self.node(key) {
            Some(Node { at, value: Value::Table(t) }) => View { table: Some(t), at: *at, spec },
            _ => View { table: None, at: self.at, spec },
        }
    }

    /// The tables of a list.
    pub fn tables(&self, key: &str) -> Vec<View<'a>> {
        let spec = self.spec_below(key);
        let Some(Node { value: Value::Array(items), .. }) = self.node(key) else { return Vec::new() };
        items
            .iter()
            .filter_map(|n| match &n.value {
                Value::Table(t) => Some(View { table: Some(t), at: n.at, spec }),
                _ => None,
            })
            .collect()
    }

    /// The tables of a table, by name.
    pub fn named_tables(&self, key: &str) -> Vec<(&'a str, View<'a>)> {
        let spec = self.spec_below(key);
        let Some(Node { value: Value::Table(t), .. }) = self.node(key) else { return Vec::new() };
        t.0.iter()
            .filter_map(|e| match &e.node.value {
                Value::Table(t) => Some((e.key.as_str(), View { table: Some(t), at: e.node.at, spec })),
                _ => None,
            })
            .collect()
    }

    /// A free table as a JSON object.
    pub fn json(&self, key: &str) -> String {
        match self.node(key) {
            Some(Node { value: value @ Value::Table(_), .. }) => to_json(value).to_string(),
            _ => "{}".to_owned(),
        }
    }

    fn spec_below(&self, key: &str) -> &'static TableSpec {
        static EMPTY: TableSpec = TableSpec { doc: "", keys: &[] };
        match self.spec.keys.iter().find(|k| k.name == key).map(|k| &k.kind) {
            Some(Kind::Table(s) | Kind::Tables(s) | Kind::TableMap(s)) => s,
            _ => &EMPTY,
        }
    }
}

fn to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Text { text, .. } | Value::Time(text) => text.as_str().into(),
        Value::Broken => serde_json::Value::Null,
        Value::Integer(n) => (*n).into(),
        Value::Float(n) => (*n).into(),
        Value::Bool(b) => (*b).into(),
        Value::Array(items) => items.iter().map(|n| to_json(&n.value)).collect(),
        Value::Table(t) => serde_json::Value::Object(
            t.0.iter().map(|e| (e.key.clone(), to_json(&e.node.value))).collect::<serde_json::Map<_, _>>(),
        ),
    }
}
