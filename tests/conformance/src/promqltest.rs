//! Prometheus' test scripts: `load`, `clear`, `eval`. Strict: values within a relative 1e-6, labels, order where the
//! script asks for it, and what it says of failures, warnings and infos. Instant queries are also run as range queries,
//! whose middle step must say the same.

mod compare;
mod load;
mod starts;

use std::path::Path;
use std::time::Duration;

use belfry_model::duration::parse_duration;
use belfry_model::read::Cancel;
use belfry_model::{Labels, TimestampMs};
use belfry_promql::syntax::quote::unquote;
use belfry_promql::{Answer, Query, QueryError, QueryLimits, QueryTime};
use belfry_testkit::MemorySeries;
use regex::Regex;

use crate::values::{self, Point};

/// What became of a script.
#[derive(Debug, Default)]
pub struct Report {
    /// Evaluations that did as the script says.
    pub passed: usize,
    /// All evaluations.
    pub total: usize,
    /// The others: line, query, what was wrong.
    pub failures: Vec<String>,
}

#[derive(Debug)]
enum Expect {
    Message(String),
    Pattern(Regex),
}

impl Expect {
    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Message(m) => m == text,
            Self::Pattern(p) => p.is_match(text),
        }
    }
}

/// What a script expects of a query.
#[derive(Debug, Default)]
struct Expected {
    ordered: bool,
    fail: Option<Expect>,
    warns: Vec<Expect>,
    infos: Vec<Expect>,
    no_warn: bool,
    no_info: bool,
    string: Option<String>,
    /// Start, step of an expected range vector.
    range_vector: Option<(i64, i64)>,
    scalar: Option<f64>,
    series: Vec<(Labels, Vec<Point>)>,
}

struct Eval<'t> {
    line: usize,
    text: &'t str,
    time: QueryTime,
}

/// Runs the script at `path`.
pub fn run(path: &Path) -> std::io::Result<Report> {
    let script = std::fs::read_to_string(path)?;
    let lines: Vec<&str> = script.lines().map(|l| l.trim()).map(|l| if l.starts_with('#') { "" } else { l }).collect();
    let mut report = Report::default();
    let mut store = MemorySeries::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let mut i = 0;
    while i < lines.len() {
        let head = lines[i];
        let mut end = i + 1;
        while end < lines.len() && !lines[end].is_empty() && !starts_command(lines[end]) {
            end += 1;
        }
        let body = &lines[i + 1..end];
        if head == "clear" {
            store.clear();
        } else if head.starts_with("load") {
            if let Err(e) = load::load(&mut store, head, body) {
                report.failures.push(format!("{}: cannot load: {e}", i + 1));
            }
        } else if head.starts_with("eval") {
            report.total += 1;
            let outcome = evaluation(i + 1, head, body).and_then(|(eval, expected)| {
                let check = |eval: &Eval<'_>| runtime.block_on(ask(&store, eval.text, eval.time));
                judge(&eval, &expected, &check)
            });
            match outcome {
                Ok(()) => report.passed += 1,
                Err(e) => report.failures.push(format!("{}: {head}: {e}", i + 1)),
            }
        }
        i = end.max(i + 1);
    }
    Ok(report)
}

fn starts_command(line: &str) -> bool {
    line == "clear" || line.starts_with("load ") || line.starts_with("load_with") || line.starts_with("eval")
}

async fn ask(store: &MemorySeries, text: &str, time: QueryTime) -> Result<Answer, QueryError> {
    let query = Query::parse(text, time, QueryLimits::default())?;
    query.fetch(store).await?.evaluate(&Cancel::default())
}

fn ms(text: &str) -> Result<i64, String> {
    parse_duration(text).map(|d| d.as_millis() as i64).map_err(|e| e.to_string())
}

fn evaluation<'t>(line: usize, head: &'t str, body: &[&str]) -> Result<(Eval<'t>, Expected), String> {
    let instant = Regex::new(r"^eval(?:_fail)?\s+instant\s+(?:at\s+(\S+))?\s+(.+)$").map_err(|e| e.to_string())?;
    let range =
        Regex::new(r"^eval\s+range\s+from\s+(\S+)\s+to\s+(\S+)\s+step\s+(\S+)\s+(.+)$").map_err(|e| e.to_string())?;
    let group = |c: &regex::Captures<'t>, i: usize| c.get(i).map_or("", |m| m.as_str());
    let (text, time) = if let Some(c) = instant.captures(head) {
        (group(&c, 2), QueryTime::Instant(TimestampMs(ms(group(&c, 1))?)))
    } else if let Some(c) = range.captures(head) {
        let (start, end) = (TimestampMs(ms(group(&c, 1))?), TimestampMs(ms(group(&c, 2))?));
        (group(&c, 4), QueryTime::Range { start, end, step: Duration::from_millis(ms(group(&c, 3))? as u64) })
    } else {
        return Err("unknown form of eval".to_owned());
    };
    let mut expected = Expected::default();
    if head.starts_with("eval_fail") {
        expected.fail = Some(Expect::Pattern(Regex::new("").map_err(|e| e.to_string())?));
    }
    for l in body {
        if let Some(rest) = l.strip_prefix("expect ") {
            expectation(rest.trim(), &mut expected)?;
        } else if let Some(v) = values::number(l) {
            expected.scalar = Some(v);
        } else {
            let (labels, rest) = values::labels(l).ok_or_else(|| format!("cannot read labels of `{l}`"))?;
            let points = values::points(rest).ok_or_else(|| format!("cannot read values of `{l}`"))?;
            expected.series.push((labels, points));
        }
    }
    Ok((Eval { line, text, time }, expected))
}

fn expectation(text: &str, expected: &mut Expected) -> Result<(), String> {
    if let Some(literal) = text.strip_prefix("string ") {
        expected.string = Some(unquote(literal.trim()).ok_or("bad string")?);
        return Ok(());
    }
    if let Some(rest) = text.strip_prefix("range vector from ") {
        let words: Vec<&str> = rest.split_whitespace().collect();
        let [from, "to", _, "step", step] = words[..] else { return Err("bad range vector".to_owned()) };
        expected.range_vector = Some((ms(from)?, ms(step)?));
        return Ok(());
    }
    let (kind, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let rest = rest.trim();
    let expect = if let Some(m) = rest.strip_prefix("msg:") {
        Expect::Message(m.trim().to_owned())
    } else {
        let pattern = rest.strip_prefix("regex:").map_or(".*", str::trim);
        Expect::Pattern(Regex::new(pattern).map_err(|e| e.to_string())?)
    };
    match kind {
        "fail" => expected.fail = Some(expect),
        "warn" => expected.warns.push(expect),
        "info" => expected.infos.push(expect),
        "no_warn" => expected.no_warn = true,
        "no_info" => expected.no_info = true,
        "ordered" => expected.ordered = true,
        _ => return Err(format!("unknown expectation `{kind}`")),
    }
    Ok(())
}

/// Functions whose value says how the query was asked: they differ between instant and range queries.
const ABOUT_THE_QUERY: [&str; 4] = ["start()", "end()", "step()", "range()"];

fn judge(
    eval: &Eval<'_>,
    expected: &Expected,
    ask: &dyn Fn(&Eval<'_>) -> Result<Answer, QueryError>,
) -> Result<(), String> {
    let answer = match (ask(eval), &expected.fail) {
        (Err(e), Some(expect)) if expect.matches(&e.to_string()) => return Ok(()),
        (Err(e), _) => return Err(format!("failed: {e}")),
        (Ok(_), Some(_)) => return Err("did not fail".to_owned()),
        (Ok(a), None) => a,
    };
    notes("warning", &expected.warns, expected.no_warn, &answer.warnings)?;
    notes("info", &expected.infos, expected.no_info, &answer.infos)?;
    compare::compare(expected, eval.time, &answer.value)?;
    let QueryTime::Instant(at) = eval.time else { return Ok(()) };
    let special = expected.ordered || expected.string.is_some() || expected.range_vector.is_some();
    if special || ABOUT_THE_QUERY.iter().any(|f| eval.text.contains(f)) {
        return Ok(());
    }
    let minute = Duration::from_secs(60);
    let time = QueryTime::Range { start: at - minute, end: at + minute, step: minute };
    let answer = ask(&Eval { time, ..*eval }).map_err(|e| format!("as a range query (line {}): {e}", eval.line))?;
    compare::compare_middle(expected, at, &answer.value).map_err(|e| format!("as a range query: {e}"))
}

fn notes(kind: &str, expected: &[Expect], none: bool, got: &[String]) -> Result<(), String> {
    if none && !got.is_empty() {
        return Err(format!("unexpected {kind}: {got:?}"));
    }
    if expected.is_empty() {
        return Ok(());
    }
    if got.is_empty() {
        return Err(format!("expected {kind}, got none"));
    }
    if let Some(e) = expected.iter().find(|e| !got.iter().any(|g| e.matches(g))) {
        return Err(format!("expected {kind} {e:?}, got {got:?}"));
    }
    match got.iter().find(|g| !expected.iter().any(|e| e.matches(g))) {
        Some(g) => Err(format!("unexpected {kind} {g}")),
        None => Ok(()),
    }
}
