//! Tree → rule file, with all of Prometheus' checks; every problem is found, each with its place.
//!
//! Invariant: a file without problems here is one that Prometheus loads, and the other way round.
//! Not here: YAML itself, files.

use std::sync::Arc;
use std::time::Duration;

use belfry_model::duration::parse_duration;
use belfry_model::{METRIC_NAME, labels::is_legacy_name};
use belfry_template::Template;

use super::number;
use super::place::{Located, Place, Problem, Text};
use super::types::{Group, Pair, Rule, RuleFile, RuleKind};
use super::yaml::{self, Node, NodeKind};

/// A longer file is refused.
pub const FILE_BYTES_MAX: usize = 16 << 20;

/// Reads a rule file. `file_name` is only remembered. All problems are reported at once, in order of place.
pub fn parse(text: &str, file_name: &str) -> Result<RuleFile, Vec<Problem>> {
    parse_with(text, file_name, UnknownFields::Refused)
}

/// What becomes of fields that nobody knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownFields {
    /// They are problems, as for Prometheus itself.
    #[default]
    Refused,
    /// They are passed over, as by promtool's `--ignore-unknown-fields`.
    Ignored,
}

/// As [`parse`], and says what becomes of unknown fields.
pub fn parse_with(text: &str, file_name: &str, unknown: UnknownFields) -> Result<RuleFile, Vec<Problem>> {
    if text.len() > FILE_BYTES_MAX {
        let message = format!("a rule file of more than {FILE_BYTES_MAX} bytes");
        return Err(vec![Problem::new(Place { line: 1, column: 1 }, message, "split it")]);
    }
    let mut later = None;
    let root = yaml::parse(text, &mut later)?;
    let mut reader = Reader { unknown, ..Reader::default() };
    if let Some(at) = later {
        let message = "a second document: only the first is read";
        reader.warnings.push(Problem::new(at, message, "use a file of its own, or one list of groups"));
    }
    let groups = root.map(|root| reader.file(&root)).unwrap_or_default();
    if reader.problems.is_empty() {
        return Ok(RuleFile { name: file_name.to_owned(), groups, warnings: reader.warnings });
    }
    reader.problems.sort();
    Err(reader.problems)
}

#[derive(Default)]
struct Reader {
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    unknown: UnknownFields,
}

/// The entries of a mapping; asking takes one, what is left over is unknown.
struct Fields<'a> {
    what: &'static str,
    known: &'static [&'static str],
    entries: &'a [(Text, Arc<Node>)],
}

impl<'a> Fields<'a> {
    /// `None` for a field that is not there or is null: YAML's "nothing" leaves a field as if it were not written.
    fn get(&self, name: &str) -> Option<(&'a Text, &'a Node)> {
        let (key, node) = self.entries.iter().find(|(k, _)| k.as_str() == name)?;
        (!matches!(node.kind, NodeKind::Null)).then_some((key, &**node))
    }
}

impl Reader {
    fn problem(&mut self, at: Place, message: impl Into<String>, help: impl Into<String>) {
        self.problems.push(Problem::new(at, message, help));
    }

    fn fields<'a>(&mut self, node: &'a Node, what: &'static str, known: &'static [&'static str]) -> Option<Fields<'a>> {
        let entries: &[_] = match &node.kind {
            NodeKind::Map(entries) => entries,
            _ => {
                self.problem(
                    node.at,
                    format!("{what} is {}, not a mapping", node.what()),
                    format!("write its fields: {}", known.join(", ")),
                );
                return None;
            }
        };
        let fields = Fields { what, known, entries };
        let refused = self.unknown == UnknownFields::Refused;
        for (key, _) in entries.iter().filter(|(k, _)| refused && !known.contains(&k.as_str())) {
            let help = match nearest(key, fields.known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", fields.known.join(", ")),
            };
            self.problem(key.at(), format!("field {} not found in {}", key.as_str(), fields.what), help);
        }
        Some(fields)
    }

    fn list<'a>(&mut self, fields: &Fields<'a>, name: &str) -> &'a [Arc<Node>] {
        match fields.get(name) {
            None => &[],
            Some((_, node)) => match &node.kind {
                NodeKind::List(items) => items,
                _ => {
                    self.problem(
                        node.at,
                        format!("`{name}` is {}, not a list", node.what()),
                        "begin each entry with `- `",
                    );
                    &[]
                }
            },
        }
    }

    fn text(&mut self, fields: &Fields<'_>, name: &str) -> Option<Text> {
        let (_, node) = fields.get(name)?;
        match &node.kind {
            NodeKind::Scalar(text) => Some(text.clone()),
            _ => {
                self.problem(node.at, format!("`{name}` is {}, not a text", node.what()), "write a single value");
                None
            }
        }
    }

    fn duration(&mut self, fields: &Fields<'_>, name: &str) -> Option<Located<Duration>> {
        let text = self.text(fields, name)?;
        match parse_duration(&text) {
            Ok(value) => Some(Located { value, at: text.at() }),
            Err(_) => {
                let message = format!("`{name}`: not a valid duration string: \"{}\"", text.as_str());
                self.problem(text.at(), message, "write it like 30s, 1m30s, 2h or 15d");
                None
            }
        }
    }

    fn pairs(&mut self, fields: &Fields<'_>, name: &str) -> Vec<Pair> {
        let Some((_, node)) = fields.get(name) else { return Vec::new() };
        let NodeKind::Map(entries) = &node.kind else {
            self.problem(
                node.at,
                format!("`{name}` is {}, not a mapping", node.what()),
                "write one `name: value` a line",
            );
            return Vec::new();
        };
        let mut pairs = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let value = match &value.kind {
                NodeKind::Scalar(text) => text.clone(),
                NodeKind::Null => Text::default(),
                _ => {
                    let message = format!("`{}` in `{name}` is {}, not a text", key.as_str(), value.what());
                    self.problem(value.at, message, "write a single value, quoted where it has braces");
                    continue;
                }
            };
            pairs.push(Pair { name: key.clone(), value });
        }
        pairs
    }

    fn labels(&mut self, fields: &Fields<'_>) -> Vec<Pair> {
        let pairs = self.pairs(fields, "labels");
        for pair in &pairs {
            if pair.name.is_empty() || pair.name.as_str() == METRIC_NAME {
                let help = "any name but the empty one and `__name__`";
                self.problem(pair.name.at(), format!("invalid label name: {}", pair.name.as_str()), help);
            }
        }
        pairs
    }

    fn file(&mut self, root: &Node) -> Vec<Group> {
        if matches!(root.kind, NodeKind::Null) {
            return Vec::new();
        }
        let Some(fields) = self.fields(root, "a rule file", &["groups"]) else { return Vec::new() };
        let mut groups: Vec<Group> = Vec::new();
        for node in self.list(&fields, "groups") {
            let Some(group) = self.group(node) else { continue };
            if let Some(first) = groups.iter().find(|g| g.name == group.name).filter(|_| !group.name.is_empty()) {
                let message = format!("groupname: \"{}\" is repeated in the same file", group.name.as_str());
                let help = format!("the first is at line {}; give one another name", first.name.at().line);
                self.problem(group.name.at(), message, help);
            }
            groups.push(group);
        }
        groups
    }

    fn group(&mut self, node: &Node) -> Option<Group> {
        const KNOWN: &[&str] = &["name", "interval", "query_offset", "limit", "labels", "rules"];
        let fields = self.fields(node, "a rule group", KNOWN)?;
        let name = self.text(&fields, "name").unwrap_or_default();
        if name.is_empty() {
            self.problem(node.at, "Groupname must not be empty", "give the group a `name`");
        }
        let limit = self.text(&fields, "limit").and_then(|text| match number::integer(&text) {
            Some(value) => Some(Located { value, at: text.at() }),
            None => {
                self.problem(
                    text.at(),
                    format!("`limit`: \"{}\" is no whole number", text.as_str()),
                    "write 100, or leave it out",
                );
                None
            }
        });
        Some(Group {
            at: node.at,
            interval: self.duration(&fields, "interval"),
            query_offset: self.duration(&fields, "query_offset"),
            limit,
            labels: self.labels(&fields),
            rules: self.list(&fields, "rules").iter().filter_map(|rule| self.rule(rule)).collect(),
            name,
        })
    }

    fn rule(&mut self, node: &Node) -> Option<Rule> {
        const KNOWN: &[&str] = &["record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations"];
        let fields = self.fields(node, "a rule", KNOWN)?;
        let present = |text: Option<Text>| text.filter(|t| !t.is_empty());
        let record = present(self.text(&fields, "record"));
        let alert = present(self.text(&fields, "alert"));
        let named = match (record, alert) {
            (Some(record), Some(_)) => {
                self.problem(record.at(), "only one of 'record' and 'alert' must be set", "make two rules of it");
                None
            }
            (None, None) => {
                self.problem(node.at, "one of 'record' or 'alert' must be set", "say what the rule makes");
                None
            }
            (Some(record), None) => Some((RuleKind::Record, record)),
            (None, Some(alert)) => Some((RuleKind::Alert, alert)),
        };
        let expr = present(self.text(&fields, "expr"));
        let query = match &expr {
            Some(text) => self.query(text),
            None => {
                self.problem(node.at, "field 'expr' must be set in rule", "say what is evaluated, in PromQL");
                None
            }
        };
        let (hold, keep_firing_for) = (self.duration(&fields, "for"), self.duration(&fields, "keep_firing_for"));
        let (labels, annotations) = (self.labels(&fields), self.pairs(&fields, "annotations"));
        match &named {
            Some((RuleKind::Record, name)) => {
                self.record_name(name);
                let given = [
                    ("for", hold.is_some_and(|d| !d.value.is_zero())),
                    ("keep_firing_for", keep_firing_for.is_some_and(|d| !d.value.is_zero())),
                    ("annotations", !annotations.is_empty()),
                ];
                for (field, _) in given.into_iter().filter(|(_, given)| *given) {
                    let at = fields.get(field).map_or(node.at, |(key, _)| key.at());
                    let message = format!("invalid field '{field}' in recording rule");
                    self.problem(at, message, "it belongs to alerts; remove it");
                }
            }
            Some((RuleKind::Alert, name)) => {
                for pair in &annotations {
                    if pair.name.is_empty() {
                        self.problem(pair.name.at(), "invalid annotation name: ", "give it a name");
                    }
                }
                self.templates("label", name, &labels);
                self.templates("annotation", name, &annotations);
            }
            None => {}
        }
        let (kind, name) = named?;
        Some(Rule { at: node.at, kind, name, query: query?, expr: expr?, hold, keep_firing_for, labels, annotations })
    }

    fn query(&mut self, text: &Text) -> Option<Arc<belfry_promql::Expr>> {
        match belfry_promql::parse(text) {
            Ok(expr) => Some(Arc::new(expr)),
            Err(errors) => {
                let mut told: Vec<Problem> = Vec::with_capacity(errors.0.len());
                for error in errors.0 {
                    let at = text.place(error.span.start as usize);
                    let problem = Problem::plain(at, format!("could not parse expression: {}", error.message));
                    // The parser recovers at the place of an error, and may meet the same one again.
                    if !told.contains(&problem) {
                        told.push(problem);
                    }
                }
                self.problems.extend(told);
                None
            }
        }
    }

    fn record_name(&mut self, name: &Text) {
        if name.contains(['{', '}']) {
            let message =
                format!("braces present in the recording rule name; should it be in expr?: {}", name.as_str());
            self.problem(name.at(), message, "`record` is the name of a series; labels go to `labels`");
        }
    }

    fn templates(&mut self, what: &str, alert: &str, pairs: &[Pair]) {
        for pair in pairs {
            let Err(error) = Template::named(&format!("__alert_{alert}"), &pair.value) else { continue };
            let at = pair.value.place(offset_of(&pair.value, error.line, error.column));
            self.problems.push(Problem::plain(at, format!("{what} \"{}\": {error}", pair.name.as_str())));
        }
    }
}

/// The byte at a line and column (in characters) of a text, both from 1.
fn offset_of(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let rest = text.get(before..).unwrap_or("");
    before + rest.char_indices().nth(column.saturating_sub(1)).map_or(0, |(i, _)| i)
}

/// The known name that was probably meant.
fn nearest(given: &str, known: &'static [&'static str]) -> Option<&'static str> {
    let folded = |s: &str| s.to_lowercase().replace(['-', '_'], "");
    let exact = known.iter().find(|k| folded(k) == folded(given));
    let near = |k: &&&'static str| is_legacy_name(given) && distance(&folded(k), &folded(given)) <= 2;
    exact.or_else(|| known.iter().find(near)).copied()
}

/// Letters to change, add or remove (Levenshtein); names are short.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let changed = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
