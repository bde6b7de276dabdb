//! Go templates as Prometheus has them in labels and annotations of alerts.
//!
//! Invariant: a [`Template`] that exists was accepted by the rules of Go's parser; expanding it is bounded in steps,
//! depth and output, and never panics.
//! Not here: evaluation of queries (the caller's [`QueryFunc`]), a clock, files, HTML mode.
//!
//! The parser is `gotmpl`'s; the walk over its tree is ours, because templates see Go's types (a missing key of
//! `map[string]string` is the empty string, a sample has fields, a time has methods) and errors name their place.

mod adjacent;
mod balance;
mod check;
mod exec;
mod functions;
mod gofmt;
mod gotime;
mod print;
mod prometheus;
mod value;

use std::collections::HashMap;
use std::sync::Arc;

use belfry_model::{Labels, TimestampMs};
use gotmpl::TemplateError;
use gotmpl::parse::{DefineNode, ListNode, Parser, Pos, SmolStr};

use check::Checker;
pub use check::LabelUse;
use exec::Tree;
use functions::{Context, GO, Table};
use prometheus::PROMETHEUS;
pub use prometheus::QUERY_SAMPLES_MAX;
pub use value::QuerySample;
use value::Value;

/// Nodes that one expansion may walk.
pub const STEPS_MAX: u64 = 1_000_000;
/// Bytes that one expansion may write; a text in between may not be longer either.
pub const OUTPUT_BYTES_MAX: usize = 1 << 20;
/// Pipelines, branches and templates inside each other: a bound of the stack.
pub const DEPTH_MAX: usize = 100;
/// A longer text is no template.
pub const SOURCE_BYTES_MAX: usize = 1 << 20;

/// What Prometheus puts before every template, so that places in errors are its own.
const PRELUDE: &str = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}\
                       {{$value := .Value}}";

const TABLES: &[Table] = &[PROMETHEUS, GO];

/// Answers `query` inside a template.
pub trait QueryFunc {
    /// The samples of `expression` at `at`, or why there are none.
    fn query(&self, expression: &str, at: TimestampMs) -> Result<Vec<QuerySample<DataValue>>, String>;
}

/// For templates that must not ask.
pub struct NoQueries;

impl QueryFunc for NoQueries {
    fn query(&self, _: &str, _: TimestampMs) -> Result<Vec<QuerySample<DataValue>>, String> {
        Err("queries are not answered here".to_owned())
    }
}

impl<V, F> QueryFunc for F
where
    V: Into<DataValue>,
    F: Fn(&str, TimestampMs) -> Result<Vec<QuerySample<V>>, String>,
{
    fn query(&self, expression: &str, at: TimestampMs) -> Result<Vec<QuerySample<DataValue>>, String> {
        let samples = self(expression, at)?;
        Ok(samples.into_iter().map(|s| QuerySample { labels: s.labels, value: s.value.into() }).collect())
    }
}

/// A float as Go's `%v` prints it: `1e+06`, `+Inf`.
pub fn go_float(v: f64) -> String {
    gofmt::float(v)
}

/// The value of an alert.
#[derive(Clone, Debug, PartialEq)]
pub enum DataValue {
    /// A float.
    Number(f64),
    /// A native histogram, as it is printed.
    Histogram(String),
}

impl From<f64> for DataValue {
    fn from(v: f64) -> Self {
        Self::Number(v)
    }
}

/// What a template is expanded over.
#[derive(Clone, Debug)]
pub struct Data {
    /// `$labels`
    pub labels: Labels,
    /// `$externalLabels`
    pub external_labels: Labels,
    /// `$externalURL`
    pub external_url: String,
    /// `$value`
    pub value: DataValue,
}

/// The text is no template: show where.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("template: {name}:{line}: {message}")]
pub struct ParseError {
    /// Of the template.
    pub name: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters; 0 where it is not known.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

/// The template could not be expanded over this data.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("error executing template {name}: {message}")]
pub struct ExpandError {
    /// Of the template.
    pub name: String,
    /// Go's words, place included.
    pub message: String,
}

/// A template of an alert's label or annotation. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Template(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    tree: Option<Tree>,
    text: String,
    name: String,
    label_uses: Vec<LabelUse>,
    queries: bool,
    expressions: Vec<(String, usize)>,
}

impl Template {
    /// Parses. Errors call the template `alert`; see [`Template::named`].
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        Self::named("alert", text)
    }

    /// Parses under the name that errors have; Prometheus' is `__alert_` and the alert's name.
    pub fn named(name: &str, text: &str) -> Result<Self, ParseError> {
        if !text.contains("{{") {
            return Ok(Self::literal(name, text));
        }
        Self::build(name, PRELUDE, text)
    }

    fn literal(name: &str, text: &str) -> Self {
        Self(Arc::new(Parts {
            tree: None,
            text: text.to_owned(),
            name: name.to_owned(),
            label_uses: Vec::new(),
            queries: false,
            expressions: Vec::new(),
        }))
    }

    fn build(name: &str, prelude: &str, text: &str) -> Result<Self, ParseError> {
        let source = format!("{prelude}{text}");
        let at = |pos: Pos, message: String| {
            let end = (0..=pos.offset.min(source.len())).rev().find(|i| source.is_char_boundary(*i)).unwrap_or(0);
            let before = source[..end].strip_prefix(prelude).unwrap_or("");
            let line = before.rsplit('\n').next().unwrap_or("");
            ParseError {
                name: name.to_owned(),
                line: 1 + before.matches('\n').count(),
                column: 1 + line.chars().count(),
                message,
            }
        };
        if text.len() > SOURCE_BYTES_MAX {
            return Err(at(Pos::new(0, 1), format!("a template has at most {SOURCE_BYTES_MAX} bytes")));
        }
        let refused = |e| match e {
            TemplateError::Parse { line, col, message, .. } | TemplateError::Lex { line, col, message, .. } => {
                let column = if line == 1 { col.saturating_sub(prelude.len()) } else { col };
                ParseError { name: name.to_owned(), line: line.max(1), column, message }
            }
            other => at(Pos::new(0, 1), other.to_string()),
        };
        let parser = Parser::new(&source, "{{", "}}").map_err(refused)?;
        balance::check(&source).and_then(|()| adjacent::check(&source)).map_err(|(pos, message)| at(pos, message))?;
        let (body, defines) = parser.parse().map_err(refused)?;
        let defines = merge(defines).map_err(|(pos, message)| at(pos, message))?;

        let mut checker = Checker::new(TABLES);
        defines
            .values()
            .try_for_each(|d| checker.define(d))
            .and_then(|()| checker.list(&body))
            .map_err(|(pos, message)| at(pos, message))?;
        let in_text = |offset: usize| offset.saturating_sub(prelude.len());
        let label_uses = checker
            .labels
            .into_iter()
            .map(|(name, offset, external)| LabelUse { name, offset: in_text(offset), external })
            .collect();
        let expressions = checker.expressions.into_iter().map(|(e, offset)| (e, in_text(offset))).collect();
        let queries = checker.queries;
        let tree = Some(Tree { name: name.to_owned(), source, body, defines });
        let (text, name) = (text.to_owned(), name.to_owned());
        Ok(Self(Arc::new(Parts { tree, text, name, label_uses, queries, expressions })))
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Is it plain text, without any action?
    pub fn is_literal(&self) -> bool {
        self.0.tree.is_none()
    }

    /// May expanding ask [`QueryFunc`]?
    pub fn queries(&self) -> bool {
        self.0.queries
    }

    /// Queries that are written out, and their byte offsets in the text.
    pub fn expressions(&self) -> &[(String, usize)] {
        &self.0.expressions
    }

    /// Labels that it names.
    pub fn label_uses(&self) -> &[LabelUse] {
        &self.0.label_uses
    }

    /// Expands.
    pub fn expand(&self, data: &Data, query: &dyn QueryFunc, now: TimestampMs) -> Result<String, ExpandError> {
        let value = Value::from(&data.value);
        let root = Value::Struct(
            [
                ("Labels", Value::Labels(data.labels.clone())),
                ("ExternalLabels", Value::Labels(data.external_labels.clone())),
                ("ExternalURL", Value::string(data.external_url.as_str())),
                ("Value", value),
            ]
            .into(),
            "struct { Labels map[string]string; ExternalLabels map[string]string; ExternalURL string; Value interface {} }",
        );
        self.run(root, &data.external_url, query, now)
    }

    /// Expands; an error becomes the text that Prometheus puts in its place.
    pub fn expand_or_say(&self, data: &Data, query: &dyn QueryFunc, now: TimestampMs) -> String {
        self.expand(data, query, now).unwrap_or_else(|e| format!("<error expanding template: {e}>"))
    }

    fn run(&self, root: Value, url: &str, query: &dyn QueryFunc, now: TimestampMs) -> Result<String, ExpandError> {
        let Some(tree) = &self.0.tree else { return Ok(self.0.text.clone()) };
        let context = Context { query, now, external_url: url };
        exec::run(tree, TABLES, &context, root).map_err(|message| ExpandError { name: self.0.name.clone(), message })
    }
}

/// Go's rule: of two definitions of one name, only one may have a body.
fn merge(defines: Vec<DefineNode>) -> Result<HashMap<SmolStr, ListNode>, (Pos, String)> {
    let mut all: HashMap<SmolStr, ListNode> = HashMap::new();
    for d in defines {
        match all.get(&d.name) {
            Some(there) if there.is_empty_tree() => drop(all.insert(d.name, d.body)),
            Some(_) if d.body.is_empty_tree() => {}
            Some(_) => return Err((d.pos, format!("template: multiple definition of template {:?}", d.name.as_str()))),
            None => drop(all.insert(d.name, d.body)),
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
