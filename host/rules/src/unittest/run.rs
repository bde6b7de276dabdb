//! Runs a test file: evaluation after evaluation, then what was expected.
//!
//! Invariant: at each evaluation rules see the samples up to it, and what rules before them wrote.

use std::collections::BTreeMap;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use belfry_model::duration::format_duration;
use belfry_model::read::Cancel;
use belfry_model::sample::is_stale;
use belfry_model::{Alert, Labels, TimestampMs, Value};
use belfry_promql::{Expr, PointValue, Query, QueryLimits, QueryTime, QueryValue, VectorPoint};
use belfry_template::{DataValue, QuerySample};

use super::file::{AlertCase, AlertExpected, ExprCase, ExprExpected, TestFile, TestGroup};
use super::histogram::written;
use super::machine::{RuleRun, rules_of};
use super::memory::Memory;
use crate::file::{Group, Place, Rule, RuleFile, RuleKind};
use crate::groups::template_value;

/// Evaluations of one test; a longer one is a mistake in `eval_time` or `evaluation_interval`.
pub const EVALUATIONS_MAX: u64 = 1_000_000;
/// Samples that one test may put in.
pub const INPUT_SAMPLES_MAX: usize = 20_000_000;

/// Which tests are run, and what they stop at.
#[derive(Clone, Default)]
pub struct Options {
    /// Tests whose name this finds; all without it.
    pub only: Option<regex::Regex>,
    /// End at the first failure: enough to know that there is one.
    pub first_failure: bool,
    /// Set when nobody waits any more.
    pub cancel: Cancel,
}

/// A rule among all files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleKey {
    /// Index of its file in the list given to [`run`].
    pub file: usize,
    /// Index of its group.
    pub group: usize,
    /// Index within the group.
    pub rule: usize,
}

/// What was otherwise than expected.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// The case in the test file.
    pub at: Place,
    /// The case in words.
    pub what: String,
    /// Lines of what was expected and what came: ` ` both, `-` expected only, `+` came only.
    pub diff: Vec<(char, String)>,
}

/// How one test went.
#[derive(Clone, Debug)]
pub struct GroupOutcome {
    /// Its name, or its number.
    pub name: String,
    /// In order of time, alerts first.
    pub failures: Vec<Failure>,
    /// Cases that were looked at.
    pub cases: usize,
}

/// How a file went.
#[derive(Clone, Debug, Default)]
pub struct TestOutcome {
    /// One for each test that was run.
    pub groups: Vec<GroupOutcome>,
    /// Rules that fired or recorded something in some test.
    pub came_true: Vec<RuleKey>,
}

impl TestOutcome {
    /// All as expected?
    pub fn passed(&self) -> bool {
        self.groups.iter().all(|g| g.failures.is_empty())
    }
}

/// Runs all tests of `file` over the rules of `rules`.
pub fn run(file: &TestFile, rules: &[RuleFile], options: &Options) -> TestOutcome {
    let mut outcome = TestOutcome::default();
    for (i, group) in file.tests.iter().enumerate() {
        let name = if group.name.is_empty() { format!("#{}", i + 1) } else { group.name.clone() };
        if options.only.as_ref().is_some_and(|r| !r.is_match(&group.name)) {
            continue;
        }
        let mut test = Test::new(file, group, rules);
        let failures = test.run(options).err().unwrap_or_default();
        outcome.came_true.extend(test.rules.iter().filter(|r| r.run.came_true).map(|r| r.key.clone()));
        let failed = !failures.is_empty();
        outcome.groups.push(GroupOutcome { name, failures, cases: group.alerts.len() + group.exprs.len() });
        if failed && options.first_failure {
            break;
        }
    }
    outcome.came_true.sort();
    outcome.came_true.dedup();
    outcome
}

struct Running<'a> {
    key: RuleKey,
    rule: &'a Rule,
    offset: Duration,
    run: RuleRun,
}

struct Test<'a> {
    file: &'a TestFile,
    group: &'a TestGroup,
    memory: Memory,
    rules: Vec<Running<'a>>,
}

impl<'a> Test<'a> {
    fn new(file: &'a TestFile, group: &'a TestGroup, rules: &'a [RuleFile]) -> Self {
        let order = |g: &Group| file.group_eval_order.iter().position(|n| n == g.name.as_str()).unwrap_or(0);
        let mut groups: Vec<(usize, usize, &'a Group)> = rules
            .iter()
            .enumerate()
            .flat_map(|(f, file)| file.groups.iter().enumerate().map(move |(g, group)| (f, g, group)))
            .collect();
        // As promtool: groups that are not named are level with the first that is.
        groups.sort_by_key(|(_, _, g)| order(g));
        let mut runs: BTreeMap<(usize, usize), Vec<RuleRun>> = BTreeMap::new();
        for (f, file) in rules.iter().enumerate() {
            let of_file = rules_of(file, &group.external_labels, &group.external_url);
            runs.extend(of_file.into_iter().enumerate().map(|(g, of_group)| ((f, g), of_group)));
        }
        let mut all = Vec::new();
        for (f, g, group) in groups {
            let runs = runs.remove(&(f, g)).unwrap_or_default();
            for (r, (rule, run)) in group.rules.iter().zip(runs).enumerate() {
                let offset = group.query_offset.map_or(Duration::ZERO, |o| o.value);
                all.push(Running { key: RuleKey { file: f, group: g, rule: r }, rule, offset, run });
            }
        }
        Self { file, group, memory: Memory::new(group.start), rules: all }
    }

    fn failure(&self, at: Place, what: String) -> Failure {
        Failure { at, what, diff: Vec::new() }
    }

    fn load(&mut self) -> Result<(), Failure> {
        let samples: usize = self.group.input.iter().map(|s| s.points.len()).sum();
        if samples > INPUT_SAMPLES_MAX {
            return Err(self.failure(self.group.at, format!("the input has more than {INPUT_SAMPLES_MAX} values")));
        }
        for series in &self.group.input {
            let mut at = self.group.start;
            for point in &series.points {
                if let Some(value) = point {
                    self.memory.push(&series.labels, at, value.clone());
                }
                at = at + self.group.interval;
            }
        }
        Ok(())
    }

    fn run(&mut self, options: &Options) -> Result<(), Vec<Failure>> {
        self.load().map_err(|f| vec![f])?;
        let (start, interval) = (self.group.start, self.file.evaluation_interval);
        let alert_times = self.group.alerts.iter().map(|a| a.eval_time);
        let last = alert_times.chain(self.group.exprs.iter().map(|e| e.eval_time)).max().unwrap_or_default();
        if last.as_millis() / interval.as_millis().max(1) > u128::from(EVALUATIONS_MAX) {
            let what = format!(
                "{} of evaluations every {} are more than {EVALUATIONS_MAX}",
                format_duration(last),
                format_duration(interval)
            );
            return Err(vec![self.failure(self.group.at, what)]);
        }
        let mut cases: Vec<&'a AlertCase> = self.group.alerts.iter().collect();
        cases.sort_by_key(|c| c.eval_time);
        let mut cases = cases.into_iter().peekable();

        let mut failures = Vec::new();
        let mut passed = Duration::ZERO;
        while passed <= last {
            if options.cancel.is_cancelled() {
                return Err(vec![self.failure(self.group.at, "cancelled".to_owned())]);
            }
            let errors = self.evaluate(start + passed, passed);
            if !errors.is_empty() {
                failures.extend(errors);
                return Err(failures);
            }
            let next = passed.saturating_add(interval);
            while let Some(case) = cases.next_if(|c| c.eval_time < next) {
                failures.extend(self.alert_case(case));
            }
            if options.first_failure && !failures.is_empty() {
                return Err(failures);
            }
            passed = next;
        }
        for case in &self.group.exprs {
            failures.extend(self.expr_case(case));
        }
        if failures.is_empty() { Ok(()) } else { Err(failures) }
    }

    /// Every rule once, in order.
    fn evaluate(&mut self, at: TimestampMs, passed: Duration) -> Vec<Failure> {
        self.memory.horizon = at;
        let mut failures = Vec::new();
        for i in 0..self.rules.len() {
            let (rule, offset) = (self.rules[i].rule, self.rules[i].offset);
            let when = at - offset;
            let written = self.ask(&rule.query, when).and_then(|vector| {
                let (memory, limits) = (&self.memory, self.limits());
                let query = |text: &str, at: TimestampMs| template_query(memory, text, at, &limits);
                self.rules[i].run.answer(at, vector, &query)
            });
            if let Err(e) = written.and_then(|samples| self.write(i, when, samples)) {
                let what = format!("rule: {}, time: {}, err: {e}", rule.name.as_str(), format_duration(passed));
                failures.push(self.failure(self.group.at, what));
            }
        }
        failures
    }

    /// Writes what a rule gave; the error is that of the last series that something else wrote.
    fn write(&mut self, rule: usize, at: TimestampMs, samples: Vec<(Labels, PointValue)>) -> Result<(), String> {
        let mut outcome = Ok(());
        for (labels, value) in samples {
            let ends = matches!(value, PointValue::Float(v) if is_stale(v));
            // The end of a series that another rule goes on with is no conflict.
            if let Err(reason) = self.memory.append(&labels, at, stored(value))
                && !ends
            {
                self.rules[rule].run.disown(&labels);
                outcome = Err(reason.to_owned());
            }
        }
        outcome
    }

    fn limits(&self) -> QueryLimits {
        QueryLimits { subquery_step: self.file.evaluation_interval, ..QueryLimits::default() }
    }

    fn ask(&self, expr: &Expr, at: TimestampMs) -> Result<Vec<VectorPoint>, String> {
        let query = Query::new(expr, QueryTime::Instant(at), self.limits()).map_err(|e| e.to_string())?;
        vector(answer_now(&query, &self.memory)?)
    }

    fn alert_case(&self, case: &AlertCase) -> Option<Failure> {
        let firing =
            self.rules.iter().filter(|r| r.rule.kind == RuleKind::Alert && r.rule.name.as_str() == case.alertname);
        let mut got: Vec<AlertExpected> = firing.flat_map(|r| r.run.firing().map(|a| came(r.rule, a))).collect();
        got.sort();
        if got == case.expected {
            return None;
        }
        let lines = |alerts: &[AlertExpected]| -> Vec<String> { alerts.iter().flat_map(alert_lines).collect() };
        Some(Failure {
            at: case.at,
            what: format!("alertname: {}, time: {}", case.alertname, format_duration(case.eval_time)),
            diff: diff(&lines(&case.expected), &lines(&got)),
        })
    }

    fn expr_case(&self, case: &ExprCase) -> Option<Failure> {
        let what = format!("expr: {:?}, time: {}", case.expr.as_str(), format_duration(case.eval_time));
        let at = self.group.start + case.eval_time;
        let got = Query::parse(&case.expr, QueryTime::Instant(at), self.limits())
            .map_err(|e| e.to_string())
            .and_then(|q| vector(answer_now(&q, &self.memory)?));
        let mut got = match got {
            Ok(got) => got,
            Err(e) => return Some(self.failure(case.at, format!("{what}, err: {e}"))),
        };
        got.sort_by(|a, b| a.labels.cmp(&b.labels));
        let mut expected = case.expected.clone();
        expected.sort_by(|a, b| a.labels.cmp(&b.labels));
        let same = expected.len() == got.len()
            && expected
                .iter()
                .zip(&got)
                .all(|(e, p)| e.labels == p.labels && same_value(e, &p.value, self.file.fuzzy_compare));
        if same {
            return None;
        }
        let wanted: Vec<String> =
            expected.iter().map(|e| format!("{} {}", shown(&e.labels), expected_value(e))).collect();
        let came: Vec<String> = got.iter().map(|p| format!("{} {}", shown(&p.labels), value(&p.value))).collect();
        Some(Failure { at: case.at, what, diff: diff(&wanted, &came) })
    }
}

fn template_query(
    memory: &Memory,
    text: &str,
    at: TimestampMs,
    limits: &QueryLimits,
) -> Result<Vec<QuerySample<DataValue>>, String> {
    let query = Query::parse(text, QueryTime::Instant(at), limits.clone()).map_err(|e| e.to_string())?;
    let all = vector(answer_now(&query, memory)?)?;
    Ok(all.into_iter().map(|p| QuerySample { value: template_value(&p.value), labels: p.labels }).collect())
}

/// Memory never waits: one poll is enough.
fn answer_now(query: &Query, memory: &Memory) -> Result<QueryValue, String> {
    let mut fetch = std::pin::pin!(query.fetch(memory));
    match fetch.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(fetched) => {
            fetched.and_then(|f| f.evaluate(&Cancel::default())).map(|a| a.value).map_err(|e| e.to_string())
        }
        Poll::Pending => Err("the samples of a test are not at hand".to_owned()),
    }
}

fn vector(value: QueryValue) -> Result<Vec<VectorPoint>, String> {
    match value {
        QueryValue::Vector(points) => Ok(points),
        QueryValue::Scalar(at, v) => Ok(vec![VectorPoint { labels: Labels::empty(), at, value: PointValue::Float(v) }]),
        QueryValue::String(..) | QueryValue::Matrix(_) => Err("rule result is not a vector or scalar".to_owned()),
    }
}

fn stored(value: PointValue) -> Value {
    match value {
        PointValue::Float(v) => Value::Float(v),
        PointValue::Histogram(h) => Value::Histogram(h),
    }
}

fn same_value(expected: &ExprExpected, got: &PointValue, fuzzy: bool) -> bool {
    match (got, &expected.histogram) {
        (PointValue::Float(v), None) => {
            let e = expected.value;
            // One bit apart is what a different order of additions makes.
            e == *v || (e.is_nan() && v.is_nan()) || (fuzzy && (e.next_up() == *v || e.next_down() == *v))
        }
        (PointValue::Histogram(got), Some(e)) => written(e) == written(got),
        _ => false,
    }
}

fn shown(labels: &Labels) -> String {
    labels.to_string()
}

fn value(v: &PointValue) -> String {
    match v {
        PointValue::Float(v) => v.to_string(),
        PointValue::Histogram(h) => written(h),
    }
}

fn expected_value(e: &ExprExpected) -> String {
    match &e.histogram {
        Some(h) => written(h),
        None => e.value.to_string(),
    }
}

/// An alert as promtool compares it. An annotation that became empty is none of the alert's, but one of its rule's.
fn came(rule: &Rule, alert: &Alert) -> AlertExpected {
    let annotation = |name: &str| (name.to_owned(), alert.annotations.get(name).unwrap_or_default().to_owned());
    AlertExpected {
        labels: alert.labels.iter().map(|l| (l.name.to_string(), l.value.to_string())).collect(),
        annotations: rule.annotations.iter().map(|pair| annotation(pair.name.as_str())).collect(),
    }
}

fn alert_lines(alert: &AlertExpected) -> Vec<String> {
    let labels: Vec<String> = alert.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    let annotations = alert.annotations.iter().map(|(name, value)| format!("    {name}: {value}"));
    std::iter::once(format!("{{{}}}", labels.join(", "))).chain(annotations).collect()
}

/// Longer lists are shown one after the other.
const DIFF_LINES_MAX: usize = 2_000;

/// The longest common subsequence stays, the rest is marked.
pub(crate) fn diff(expected: &[String], got: &[String]) -> Vec<(char, String)> {
    let (n, m) = (expected.len(), got.len());
    let mark = |c: char, lines: &[String]| lines.iter().map(move |l| (c, l.clone())).collect::<Vec<_>>();
    if n > DIFF_LINES_MAX || m > DIFF_LINES_MAX {
        return [mark('-', expected), mark('+', got)].concat();
    }
    let mut common: BTreeMap<(usize, usize), u32> = BTreeMap::new();
    let at = |c: &BTreeMap<(usize, usize), u32>, i: usize, j: usize| c.get(&(i, j)).copied().unwrap_or(0);
    for i in (0..n).rev() {
        for j in (0..m).rev() {
            let best = match expected[i] == got[j] {
                true => at(&common, i + 1, j + 1) + 1,
                false => at(&common, i + 1, j).max(at(&common, i, j + 1)),
            };
            if best > 0 {
                common.insert((i, j), best);
            }
        }
    }
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while i < n || j < m {
        if i < n && j < m && expected[i] == got[j] {
            out.push((' ', expected[i].clone()));
            (i, j) = (i + 1, j + 1);
        } else if j >= m || (i < n && at(&common, i + 1, j) >= at(&common, i, j + 1)) {
            out.push(('-', expected[i].clone()));
            i += 1;
        } else {
            out.push(('+', got[j].clone()));
            j += 1;
        }
    }
    out
}
