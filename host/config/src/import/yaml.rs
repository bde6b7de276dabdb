//! YAML as a tree that knows its lines.
//!
//! Invariant: bounded, aliases counted with what they stand for.

use std::collections::HashMap;
use std::sync::Arc;

use granit_parser::{Event, Parser};

/// Nodes of a file, aliases counted as often as they are used: far above any config.
const NODES_MAX: usize = 500_000;

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub line: u32,
    pub kind: Kind,
    weight: usize,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Text(String),
    List(Vec<Arc<Node>>),
    Map(Vec<(String, Arc<Node>)>),
}

impl Node {
    /// Of a scalar; empty for anything else.
    pub fn text(&self) -> &str {
        match &self.kind {
            Kind::Text(text) => text,
            _ => "",
        }
    }

    pub fn items(&self) -> impl Iterator<Item = &Node> {
        let items = match &self.kind {
            Kind::List(items) => items.as_slice(),
            _ => &[],
        };
        items.iter().map(|n| &**n)
    }

    pub fn entries(&self) -> impl Iterator<Item = (&str, &Node)> {
        let entries = match &self.kind {
            Kind::Map(entries) => entries.as_slice(),
            _ => &[],
        };
        entries.iter().map(|(k, n)| (k.as_str(), &**n))
    }

    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().find(|(k, _)| *k == key).map(|(_, n)| n)
    }
}

struct Open {
    line: u32,
    anchor: usize,
    items: Vec<Arc<Node>>,
    /// Of a mapping; in a list there are none.
    keys: Option<Vec<String>>,
}

/// The first document. The error has its line.
pub(super) fn parse(text: &str) -> Result<Node, (u32, String)> {
    let mut open: Vec<Open> = Vec::new();
    let mut anchors: HashMap<usize, Arc<Node>> = HashMap::new();
    let mut total = 0_usize;
    for next in Parser::new_from_str(text) {
        let (event, span) = next.map_err(|e| (e.marker().line() as u32, format!("this is no YAML: {}", e.info())))?;
        let line = span.start.line() as u32;
        let (done, anchor) = match event {
            Event::Scalar(value, _, anchor, _) => {
                (Node { line, kind: Kind::Text(value.into_owned()), weight: 1 }, anchor)
            }
            Event::SequenceStart(_, anchor, _) => {
                open.push(Open { line, anchor, items: Vec::new(), keys: None });
                continue;
            }
            Event::MappingStart(_, anchor, _) => {
                open.push(Open { line, anchor, items: Vec::new(), keys: Some(Vec::new()) });
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(closed) = open.pop() else { continue };
                let weight = closed.items.iter().map(|n| n.weight).fold(1, usize::saturating_add);
                let kind = match closed.keys {
                    None => Kind::List(closed.items),
                    Some(keys) => Kind::Map(merged(keys.into_iter().zip(closed.items).collect())),
                };
                (Node { line: closed.line, kind, weight }, closed.anchor)
            }
            Event::Alias(id) => {
                let node = anchors.get(&id).ok_or((line, "an alias to nothing that is finished".to_owned()))?;
                ((**node).clone(), 0)
            }
            _ => continue,
        };
        total = total.saturating_add(done.weight);
        if total > NODES_MAX {
            return Err((line, format!("more than {NODES_MAX} nodes, aliases counted with what they stand for")));
        }
        let done = Arc::new(done);
        if anchor != 0 {
            anchors.insert(anchor, done.clone());
        }
        match open.last_mut() {
            None => return Ok(Arc::unwrap_or_clone(done)),
            Some(Open { keys: Some(keys), items, .. }) if keys.len() == items.len() => {
                keys.push(done.text().to_owned())
            }
            Some(Open { items, .. }) => items.push(done),
        }
    }
    Err((1, "the file is empty".to_owned()))
}

/// `<<: *other` brings in what is not there already.
fn merged(entries: Vec<(String, Arc<Node>)>) -> Vec<(String, Arc<Node>)> {
    let (merges, mut own): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(key, _)| key == "<<");
    for (_, node) in merges {
        for (key, value) in node.entries() {
            if !own.iter().any(|(k, _)| k == key) {
                own.push((key.to_owned(), Arc::new(value.clone())));
            }
        }
    }
    own
}
