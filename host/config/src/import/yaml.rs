//! YAML as a tree that knows its lines.
//!
//! Invariant: bounded, aliases counted with what they stand for; keys of a mapping are texts and unique.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use granit_parser::{Event, Parser, ScalarStyle};

/// Nodes of a file, aliases counted as often as they are used: far above any config.
const NODES_MAX: usize = 500_000;

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub line: u32,
    pub kind: Kind,
    weight: usize,
}

/// Of a mapping.
type Entry = (String, Arc<Node>);

#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// Nothing, `~` or `null`: what is not set.
    Null,
    Text {
        text: String,
        /// Without quotes: it may be meant as a number or a truth value.
        plain: bool,
    },
    List(Vec<Arc<Node>>),
    Map(Vec<Entry>),
}

struct Open {
    line: u32,
    anchor: usize,
    items: Vec<Arc<Node>>,
    /// Of a mapping; in a list there are none.
    keys: Option<Vec<String>>,
    seen: HashSet<String>,
}

/// The first document; a null where there is none. The error has its line.
pub(super) fn parse(text: &str) -> Result<Node, (u32, String)> {
    let mut open: Vec<Open> = Vec::new();
    let mut anchors: HashMap<usize, Arc<Node>> = HashMap::new();
    let mut total = 0_usize;
    for next in Parser::new_from_str(text) {
        let (event, span) = next.map_err(|e| (e.marker().line() as u32, format!("this is no YAML: {}", e.info())))?;
        let line = span.start.line() as u32;
        let (done, anchor) = match event {
            Event::Scalar(value, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && tag.is_none();
                let kind = match &*value {
                    "" | "~" | "null" | "Null" | "NULL" if plain => Kind::Null,
                    _ => Kind::Text { text: value.into_owned(), plain },
                };
                (Node { line, kind, weight: 1 }, anchor)
            }
            Event::SequenceStart(_, anchor, _) => {
                open.push(Open { line, anchor, items: Vec::new(), keys: None, seen: HashSet::new() });
                continue;
            }
            Event::MappingStart(_, anchor, _) => {
                open.push(Open { line, anchor, items: Vec::new(), keys: Some(Vec::new()), seen: HashSet::new() });
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(closed) = open.pop() else { continue };
                let weight = closed.items.iter().map(|n| n.weight).fold(1, usize::saturating_add);
                let kind = match closed.keys {
                    None => Kind::List(closed.items),
                    Some(keys) => Kind::Map(merged(keys.into_iter().zip(closed.items).collect())?),
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
            Some(Open { keys: Some(keys), items, seen, .. }) if keys.len() == items.len() => {
                let Kind::Text { text, .. } = &done.kind else {
                    return Err((line, "a key that is no text: write `key: value`".to_owned()));
                };
                if text != MERGE && !seen.insert(text.clone()) {
                    return Err((line, format!("`{text}` is set twice: keep one")));
                }
                keys.push(text.clone());
            }
            Some(Open { items, .. }) => items.push(done),
        }
    }
    Ok(Node { line: 1, kind: Kind::Null, weight: 1 })
}

const MERGE: &str = "<<";

/// `<<: *other` and `<<: [*first, *second]` bring in other mappings' entries. As Prometheus reads it: what is written
/// later wins, and in a list what is listed first.
fn merged(entries: Vec<Entry>) -> Result<Vec<Entry>, (u32, String)> {
    if !entries.iter().any(|(key, _)| key == MERGE) {
        return Ok(entries);
    }
    let mut out: Vec<Entry> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut set = |key: &str, node: &Arc<Node>| match places.get(key).and_then(|at| out.get_mut(*at)) {
        Some((_, old)) => *old = node.clone(),
        None => {
            places.insert(key.to_owned(), out.len());
            out.push((key.to_owned(), node.clone()));
        }
    };
    for (key, node) in &entries {
        if key != MERGE {
            set(key, node);
            continue;
        }
        let sources: Vec<&Node> = match &node.kind {
            Kind::List(items) => items.iter().rev().map(|n| &**n).collect(),
            _ => vec![node],
        };
        for source in sources {
            let Kind::Map(more) = &source.kind else {
                return Err((source.line, "`<<` takes a mapping or a list of them: write `<<: *name`".to_owned()));
            };
            more.iter().for_each(|(key, node)| set(key, node));
        }
    }
    Ok(out)
}
