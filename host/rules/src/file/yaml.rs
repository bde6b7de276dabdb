//! YAML → a tree in which every node knows its place.
//!
//! Invariant: what is built is bounded ([`NODES_MAX`], aliases counted as often as they stand for something).
//! Not here: what the nodes mean. serde would stop at the first field that is wrong; a tree tells of all of them.

use std::collections::HashMap;
use std::sync::Arc;

use granit_parser::{Event, Parser, ScalarStyle, Span};

use super::place::{Place, Problem, Text};

/// Nodes of one file, each alias counted with all it stands for: far above any rule file, far below what would hurt.
pub const NODES_MAX: usize = 1_000_000;

/// Keys of one mapping: labels and annotations are few, and keys are compared one by one.
pub const KEYS_MAX: usize = 1_000;

/// A node of the tree.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub at: Place,
    pub kind: NodeKind,
    /// Nodes within, itself included.
    weight: usize,
}

#[derive(Clone, Debug)]
pub(crate) enum NodeKind {
    Null,
    Scalar(Text),
    List(Vec<Arc<Node>>),
    Map(Vec<(Text, Arc<Node>)>),
}

impl Node {
    /// An empty document.
    pub fn nothing(at: Place) -> Self {
        Self { at, kind: NodeKind::Null, weight: 1 }
    }

    /// As messages name it.
    pub fn what(&self) -> &'static str {
        match self.kind {
            NodeKind::Null => "nothing",
            NodeKind::Scalar(_) => "a single value",
            NodeKind::List(_) => "a list",
            NodeKind::Map(_) => "a mapping",
        }
    }
}

/// The first document of `text`; `None` when there is none. `later` is set to the place of a second one.
pub(crate) fn parse(text: &str, later: &mut Option<Place>) -> Result<Option<Arc<Node>>, Vec<Problem>> {
    let mut builder = Builder { text, open: Vec::new(), anchors: HashMap::new(), root: None, nodes: 0 };
    let mut problems = Vec::new();
    let mut documents = 0;
    for next in Parser::new_from_str(text) {
        let (event, span) = match next {
            Ok(next) => next,
            Err(error) => {
                let mark = error.marker();
                let at = Place { line: mark.line() as u32, column: mark.col() as u32 + 1 };
                let help = "check quotes, indentation and colons around this place";
                problems.push(Problem::new(at, format!("no YAML: {}", error.info()), help));
                break;
            }
        };
        match event {
            Event::DocumentStart(..) => {
                documents += 1;
                if documents > 1 {
                    *later = Some(start_of(&span));
                    break;
                }
            }
            event => {
                if let Err(problem) = builder.take(event, &span, &mut problems) {
                    problems.push(problem);
                    break;
                }
            }
        }
    }
    if problems.is_empty() { Ok(builder.root) } else { Err(problems) }
}

fn start_of(span: &Span) -> Place {
    Place { line: span.start.line() as u32, column: span.start.col() as u32 + 1 }
}

enum Open {
    List { at: Place, anchor: usize, items: Vec<Arc<Node>> },
    Map { at: Place, anchor: usize, entries: Vec<(Text, Arc<Node>)>, key: Option<Text>, merged: Vec<Arc<Node>> },
}

struct Builder<'a> {
    text: &'a str,
    open: Vec<Open>,
    anchors: HashMap<usize, Arc<Node>>,
    root: Option<Arc<Node>>,
    nodes: usize,
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, span: &Span, problems: &mut Vec<Problem>) -> Result<(), Problem> {
        let at = start_of(span);
        match event {
            Event::Scalar(value, style, anchor, tag) => {
                let source = span.start.byte_offset().and_then(|o| self.text.get(o..)).unwrap_or("");
                let text = Text::new(value.into_owned(), at, source, style);
                let null = style == ScalarStyle::Plain
                    && tag.is_none()
                    && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL");
                let kind = if null { NodeKind::Null } else { NodeKind::Scalar(text.clone()) };
                self.put(Arc::new(Node { at, kind, weight: 1 }), Some(text), anchor, false, problems)
            }
            Event::SequenceStart(_, anchor, _) => {
                self.open.push(Open::List { at, anchor, items: Vec::new() });
                Ok(())
            }
            Event::MappingStart(_, anchor, _) => {
                self.open.push(Open::Map { at, anchor, entries: Vec::new(), key: None, merged: Vec::new() });
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List { at, anchor, items }) => {
                    let weight = items.iter().map(|n| n.weight).fold(1, usize::saturating_add);
                    self.put(Arc::new(Node { at, kind: NodeKind::List(items), weight }), None, anchor, false, problems)
                }
                Some(Open::Map { at, anchor, mut entries, merged, .. }) => {
                    merge(&mut entries, &merged, problems);
                    let weight = entries.iter().map(|(_, n)| n.weight).fold(1, usize::saturating_add);
                    self.put(Arc::new(Node { at, kind: NodeKind::Map(entries), weight }), None, anchor, false, problems)
                }
                None => Ok(()),
            },
            Event::Alias(id) => {
                let Some(node) = self.anchors.get(&id).cloned() else {
                    return Err(Problem::new(
                        at,
                        "an alias to a node that is not finished",
                        "an alias cannot hold itself",
                    ));
                };
                let key = match &node.kind {
                    NodeKind::Scalar(text) => Some(text.clone()),
                    _ => None,
                };
                self.put(node, key, 0, true, problems)
            }
            _ => Ok(()),
        }
    }

    fn put(
        &mut self,
        node: Arc<Node>,
        as_key: Option<Text>,
        anchor: usize,
        alias: bool,
        problems: &mut Vec<Problem>,
    ) -> Result<(), Problem> {
        // What is no alias was counted part by part when the parts came.
        self.nodes = self.nodes.saturating_add(if alias { node.weight } else { 1 });
        if self.nodes > NODES_MAX || node.weight > NODES_MAX {
            let message = format!("more than {NODES_MAX} nodes, aliases counted as what they stand for");
            return Err(Problem::new(node.at, message, "split the file"));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, key, merged, .. }) => match key.take() {
                None => match as_key {
                    Some(text) => *key = Some(text),
                    None => {
                        return Err(Problem::new(
                            node.at,
                            format!("{} as a key", node.what()),
                            "a key is a plain name",
                        ));
                    }
                },
                Some(name) if name.as_str() == "<<" => merged.push(node),
                Some(name) => match entries.iter().find(|(other, _)| *other == name) {
                    Some((first, _)) => {
                        let message = format!("mapping key \"{}\" already defined at line {}", &*name, first.at().line);
                        problems.push(Problem::new(name.at(), message, "keep one of the two"));
                    }
                    None if entries.len() >= KEYS_MAX => {
                        let message = format!("a mapping with more than {KEYS_MAX} keys");
                        return Err(Problem::plain(name.at(), message));
                    }
                    None => entries.push((name, node)),
                },
            },
        }
        Ok(())
    }
}

/// YAML 1.1's merge key `<<`: what is written in the mapping itself wins, then what was merged first.
fn merge(entries: &mut Vec<(Text, Arc<Node>)>, merged: &[Arc<Node>], problems: &mut Vec<Problem>) {
    for node in merged {
        let sources: Vec<&Arc<Node>> = match &node.kind {
            NodeKind::List(items) => items.iter().collect(),
            _ => vec![node],
        };
        for source in sources {
            let NodeKind::Map(more) = &source.kind else {
                let message = format!("map merge requires map or sequence of maps as the value, not {}", source.what());
                problems.push(Problem::new(source.at, message, "merge a mapping: `<<: *anchor`"));
                continue;
            };
            for (key, value) in more {
                if !entries.iter().any(|(k, _)| k == key) {
                    entries.push((key.clone(), value.clone()));
                }
            }
        }
    }
}
