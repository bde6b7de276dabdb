//! A test file as it was written: promtool's format.
//!
//! Invariant: what is here can be run; series, values, durations and expected samples were read.
//! Not here: the rule files it names.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use belfry_model::duration::parse_duration;
use belfry_model::{Histogram, Labels, TimestampMs};

use super::series::{self, Point};
use crate::file::number;
use crate::file::yaml::{self, Node, NodeKind};
use crate::file::{Place, Problem, Text, UnknownFields};

/// Groups and rules are evaluated so often where nothing else is said.
pub const EVALUATION_INTERVAL: Duration = Duration::from_secs(60);

/// Cases of one file.
const CASES_MAX: usize = 100_000;

/// One test file.
#[derive(Clone, Debug)]
pub struct TestFile {
    /// As it was named to the reader.
    pub name: String,
    /// Patterns, relative to the file's folder.
    pub rule_files: Vec<Text>,
    /// Groups are evaluated so often.
    pub evaluation_interval: Duration,
    /// These first, in this order.
    pub group_eval_order: Vec<String>,
    /// Values one bit apart are the same.
    pub fuzzy_compare: bool,
    /// In order.
    pub tests: Vec<TestGroup>,
}

/// Series and what is expected of the rules over them.
#[derive(Clone, Debug)]
pub struct TestGroup {
    /// Where it begins.
    pub at: Place,
    /// Empty when it has none.
    pub name: String,
    /// Distance of the values.
    pub interval: Duration,
    /// When the first value is.
    pub start: TimestampMs,
    /// What there is.
    pub input: Vec<InputSeries>,
    /// For templates.
    pub external_labels: Labels,
    /// For templates.
    pub external_url: String,
    /// Cases of alerts.
    pub alerts: Vec<AlertCase>,
    /// Cases of expressions.
    pub exprs: Vec<ExprCase>,
}

/// A series with its values.
#[derive(Clone, Debug)]
pub struct InputSeries {
    /// Metric name included.
    pub labels: Labels,
    pub(crate) points: Vec<Point>,
}

/// `alert_rule_test`
#[derive(Clone, Debug)]
pub struct AlertCase {
    /// Where it begins.
    pub at: Place,
    /// After the start.
    pub eval_time: Duration,
    /// Of the alerts.
    pub alertname: String,
    /// All that fire.
    pub expected: Vec<AlertExpected>,
}

/// An expected alert.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AlertExpected {
    /// `alertname` included. One that is expected to be empty is no label that is not there: promtool's words.
    pub labels: BTreeMap<String, String>,
    /// As expanded; empty ones too.
    pub annotations: BTreeMap<String, String>,
}

/// `promql_expr_test`
#[derive(Clone, Debug)]
pub struct ExprCase {
    /// Where it begins.
    pub at: Place,
    /// As written.
    pub expr: Text,
    /// After the start.
    pub eval_time: Duration,
    /// All samples.
    pub expected: Vec<ExprExpected>,
}

/// An expected sample.
#[derive(Clone, Debug)]
pub struct ExprExpected {
    /// Metric name included, where there is one.
    pub labels: Labels,
    /// A float, unless there is a histogram.
    pub value: f64,
    /// A histogram.
    pub histogram: Option<Arc<Histogram>>,
}

/// Reads a test file. All problems are reported at once, in order of place.
pub fn parse(text: &str, file_name: &str) -> Result<TestFile, Vec<Problem>> {
    parse_with(text, file_name, UnknownFields::Refused)
}

/// As [`parse`], and says what becomes of unknown fields.
pub fn parse_with(text: &str, file_name: &str, unknown: UnknownFields) -> Result<TestFile, Vec<Problem>> {
    let mut later = None;
    let root = yaml::parse(text, &mut later)?;
    // As for promtool, a file without anything in it has no tests, and none fails.
    let root = root.unwrap_or_else(|| Arc::new(Node::nothing(Place { line: 1, column: 1 })));
    let mut reader = Reader { unknown, ..Reader::default() };
    let file = reader.file(&root, file_name);
    if reader.problems.is_empty() {
        return Ok(file);
    }
    reader.problems.sort();
    Err(reader.problems)
}

#[derive(Default)]
struct Reader {
    problems: Vec<Problem>,
    cases: usize,
    unknown: UnknownFields,
}

type Entries<'a> = &'a [(Text, Arc<Node>)];

impl Reader {
    fn problem(&mut self, at: Place, message: impl Into<String>, help: impl Into<String>) {
        self.problems.push(Problem::new(at, message, help));
    }

    fn entries<'a>(&mut self, node: &'a Node, what: &str, known: &[&str]) -> Entries<'a> {
        match &node.kind {
            NodeKind::Map(entries) => {
                let refused = self.unknown == UnknownFields::Refused;
                for (key, _) in entries.iter().filter(|(k, _)| refused && !known.contains(&k.as_str())) {
                    self.problem(
                        key.at(),
                        format!("field {} not found in {what}", key.as_str()),
                        format!("known here: {}", known.join(", ")),
                    );
                }
                entries
            }
            NodeKind::Null => &[],
            _ => {
                self.problem(
                    node.at,
                    format!("{what} is {}, not a mapping", node.what()),
                    format!("write its fields: {}", known.join(", ")),
                );
                &[]
            }
        }
    }

    fn list<'a>(&mut self, entries: Entries<'a>, name: &str) -> &'a [Arc<Node>] {
        match get(entries, name).map(|n| (&n.kind, n)) {
            None => &[],
            Some((NodeKind::List(items), _)) => items,
            Some((_, node)) => {
                self.problem(node.at, format!("`{name}` is {}, not a list", node.what()), "begin each entry with `- `");
                &[]
            }
        }
    }

    fn text<'a>(&mut self, entries: Entries<'a>, name: &str) -> Option<&'a Text> {
        let node = get(entries, name)?;
        match &node.kind {
            NodeKind::Scalar(text) => Some(text),
            _ => {
                self.problem(
                    node.at,
                    format!("`{name}` is {}, not a single value", node.what()),
                    "write a single value",
                );
                None
            }
        }
    }

    fn duration(&mut self, entries: Entries<'_>, name: &str) -> Option<Duration> {
        let text = self.text(entries, name)?;
        match parse_duration(text) {
            Ok(d) => Some(d),
            Err(e) => {
                self.problem(text.at(), format!("`{name}`: {e}"), "write it like 30s, 1m30s or 2h");
                None
            }
        }
    }

    fn labels(&mut self, entries: Entries<'_>, name: &str) -> Labels {
        Labels::from_pairs(self.pairs(entries, name))
    }

    fn pairs(&mut self, entries: Entries<'_>, name: &str) -> Vec<(String, String)> {
        let Some(node) = get(entries, name) else { return Vec::new() };
        let NodeKind::Map(pairs) = &node.kind else {
            self.problem(
                node.at,
                format!("`{name}` is {}, not a mapping", node.what()),
                "write one `name: value` a line",
            );
            return Vec::new();
        };
        let mut all = Vec::with_capacity(pairs.len());
        for (key, value) in pairs {
            match &value.kind {
                NodeKind::Scalar(text) => all.push((key.as_str().to_owned(), text.as_str().to_owned())),
                NodeKind::Null => all.push((key.as_str().to_owned(), String::new())),
                _ => self.problem(
                    value.at,
                    format!("`{}` is {}, not a single value", key.as_str(), value.what()),
                    "quote what has braces",
                ),
            }
        }
        all
    }

    fn file(&mut self, root: &Node, name: &str) -> TestFile {
        const KNOWN: &[&str] = &["rule_files", "evaluation_interval", "group_eval_order", "fuzzy_compare", "tests"];
        let f = self.entries(root, "a test file", KNOWN);
        let texts = |nodes: &[Arc<Node>]| -> Vec<Text> {
            nodes
                .iter()
                .filter_map(|n| match &n.kind {
                    NodeKind::Scalar(t) => Some(t.clone()),
                    _ => None,
                })
                .collect()
        };
        let order = texts(self.list(f, "group_eval_order"));
        for (i, group) in order.iter().enumerate() {
            if order[..i].contains(group) {
                self.problem(
                    group.at(),
                    format!("group name repeated in evaluation order: {}", group.as_str()),
                    "remove one",
                );
            }
        }
        let evaluation_interval =
            self.duration(f, "evaluation_interval").filter(|d| !d.is_zero()).unwrap_or(EVALUATION_INTERVAL);
        let fuzzy_compare = self
            .text(f, "fuzzy_compare")
            .is_some_and(|t| matches!(t.as_str(), "true" | "True" | "TRUE" | "yes" | "on"));
        let tests = self.list(f, "tests").iter().map(|n| self.group(n, evaluation_interval)).collect();
        TestFile {
            name: name.to_owned(),
            rule_files: texts(self.list(f, "rule_files")),
            evaluation_interval,
            group_eval_order: order.iter().map(|t| t.as_str().to_owned()).collect(),
            fuzzy_compare,
            tests,
        }
    }

    fn group(&mut self, node: &Node, default_interval: Duration) -> TestGroup {
        const KNOWN: &[&str] = &[
            "interval",
            "input_series",
            "name",
            "alert_rule_test",
            "promql_expr_test",
            "external_labels",
            "external_url",
            "start_timestamp",
        ];
        let f = self.entries(node, "a test", KNOWN);
        let name = self.text(f, "name").map(|t| t.as_str().to_owned()).unwrap_or_default();
        let interval = self.duration(f, "interval").filter(|d| !d.is_zero()).unwrap_or(default_interval);
        let start = self.start(f);
        // Named twice, a series is what the last says, as in promtool.
        let input = self.list(f, "input_series").iter().filter_map(|n| self.series(n));
        let input: BTreeMap<Labels, InputSeries> = input.map(|s| (s.labels.clone(), s)).collect();
        let input = input.into_values().collect();
        let alerts = self.list(f, "alert_rule_test").iter().filter_map(|n| self.alert(n, &name)).collect();
        let exprs = self.list(f, "promql_expr_test").iter().filter_map(|n| self.expr(n)).collect();
        TestGroup {
            at: node.at,
            name,
            interval,
            start,
            input,
            external_labels: self.labels(f, "external_labels"),
            external_url: self.text(f, "external_url").map(|t| t.as_str().to_owned()).unwrap_or_default(),
            alerts,
            exprs,
        }
    }

    /// RFC 3339, or seconds since the epoch.
    fn start(&mut self, f: Entries<'_>) -> TimestampMs {
        let Some(text) = self.text(f, "start_timestamp") else { return TimestampMs(0) };
        if let Some(seconds) = series::number(text).filter(|v| v.abs() < 1e15) {
            return TimestampMs::from_secs_f64(seconds);
        }
        match TimestampMs::from_rfc3339(text) {
            Some(at) => at,
            None => {
                self.problem(
                    text.at(),
                    format!("`start_timestamp`: `{}` is no time", text.as_str()),
                    "write it like 2024-01-01T00:00:00Z, or as seconds since the epoch",
                );
                TimestampMs(0)
            }
        }
    }

    fn series(&mut self, node: &Node) -> Option<InputSeries> {
        let f = self.entries(node, "an input series", &["series", "values"]);
        let Some(name) = self.text(f, "series") else {
            self.problem(node.at, "an input series without `series`", "write its name and labels");
            return None;
        };
        let values = self.text(f, "values");
        let Some(labels) = series::series(name) else {
            self.problem(name.at(), format!("`{}` is no series", name.as_str()), "write it like up{job=\"node\"}");
            return None;
        };
        match series::points(values.map_or("", Text::as_str)) {
            Ok(points) => Some(InputSeries { labels, points }),
            Err(item) => {
                let help = "write numbers, `_`, `stale`, `a+bxn` or {{…}} histograms";
                self.problem(values.map_or(node.at, Text::at), format!("`{item}` is no value"), help);
                None
            }
        }
    }

    fn case_counts(&mut self, at: Place) {
        self.cases += 1;
        if self.cases == CASES_MAX + 1 {
            self.problem(at, format!("more than {CASES_MAX} cases in one file"), "split the file");
        }
    }

    fn alert(&mut self, node: &Node, group: &str) -> Option<AlertCase> {
        self.case_counts(node.at);
        let f = self.entries(node, "an alert_rule_test", &["eval_time", "alertname", "exp_alerts"]);
        let eval_time = self.duration(f, "eval_time").unwrap_or_default();
        let alertname = self.text(f, "alertname").map(|t| t.as_str().to_owned()).unwrap_or_default();
        if alertname.is_empty() {
            let of = if group.is_empty() { String::new() } else { format!(" (in TestGroup {group})") };
            let message = format!("an item under alert_rule_test misses required attribute alertname{of}");
            self.problem(node.at, message, "say which alert is tested");
            return None;
        }
        let mut expected = Vec::new();
        for n in self.list(f, "exp_alerts") {
            let e = self.entries(n, "an expected alert", &["exp_labels", "exp_annotations"]);
            // Prometheus adds it, so that people need not.
            let mut labels: BTreeMap<String, String> = self.pairs(e, "exp_labels").into_iter().collect();
            labels.insert("alertname".to_owned(), alertname.clone());
            let annotations = self.pairs(e, "exp_annotations").into_iter().collect();
            expected.push(AlertExpected { labels, annotations });
        }
        expected.sort();
        Some(AlertCase { at: node.at, eval_time, alertname, expected })
    }

    fn expr(&mut self, node: &Node) -> Option<ExprCase> {
        self.case_counts(node.at);
        let f = self.entries(node, "a promql_expr_test", &["expr", "eval_time", "exp_samples"]);
        let eval_time = self.duration(f, "eval_time").unwrap_or_default();
        let Some(expr) = self.text(f, "expr") else {
            self.problem(node.at, "a promql_expr_test without `expr`", "say what is evaluated, in PromQL");
            return None;
        };
        let mut expected = Vec::new();
        for n in self.list(f, "exp_samples") {
            let e = self.entries(n, "an expected sample", &["labels", "value", "histogram"]);
            let labels = match self.text(e, "labels") {
                None => Labels::empty(),
                Some(t) => match series::labels(t) {
                    Some(l) => l,
                    None => {
                        self.problem(
                            t.at(),
                            format!("labels `{}` cannot be read", t.as_str()),
                            "write them like up{job=\"node\"}",
                        );
                        continue;
                    }
                },
            };
            let value = match self.text(e, "value") {
                None => 0.0,
                Some(t) => match number::float(t).or_else(|| yaml_word(t)) {
                    Some(v) => v,
                    None => {
                        self.problem(t.at(), format!("`value`: `{}` is no number", t.as_str()), "write a number");
                        continue;
                    }
                },
            };
            let histogram = match self.text(e, "histogram") {
                None => None,
                Some(t) => match series::histogram(t) {
                    Some(h) => Some(Arc::new(h)),
                    None => {
                        self.problem(
                            t.at(),
                            "`histogram` cannot be read",
                            "write it like {{schema:0 count:1 sum:1 buckets:[1]}}",
                        );
                        continue;
                    }
                },
            };
            expected.push(ExprExpected { labels, value, histogram });
        }
        Some(ExprCase { at: node.at, expr: expr.clone(), eval_time, expected })
    }
}

/// YAML writes infinity and NaN with a dot.
/// What is a float without being a number. PromQL's words are taken as well, which promtool refuses.
fn yaml_word(text: &str) -> Option<f64> {
    let word = match text {
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => "Inf",
        "-.inf" | "-.Inf" | "-.INF" => "-Inf",
        ".nan" | ".NaN" | ".NAN" => "NaN",
        other => other,
    };
    series::number(word).filter(|v| !v.is_finite())
}

/// `None` for a field that is not there or is null.
fn get<'a>(entries: Entries<'a>, name: &str) -> Option<&'a Node> {
    let (_, node) = entries.iter().find(|(k, _)| k.as_str() == name)?;
    (!matches!(node.kind, NodeKind::Null)).then_some(&**node)
}
