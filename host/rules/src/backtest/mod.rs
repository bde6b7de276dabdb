//! `belfry rules backtest`: when would an alert have fired over recorded data?
//!
//! Invariant: alerts move as in the running organ; what came before the first evaluation counts as not there.
//! Not here: asking for the data, printing.

use std::collections::BTreeMap;
use std::time::Duration;

use belfry_model::{Labels, TimestampMs};
use belfry_promql::{MatrixRow, VectorPoint};
use belfry_template::QueryFunc;
use serde::Serialize;

use crate::file::{RuleFile, RuleKind};
use crate::unittest::machine::rules_of;

/// Evaluations of one backtest: a year at one a minute.
pub const EVALUATIONS_MAX: u64 = 600_000;
/// Times of firing that are kept; further ones are counted.
pub const FIRINGS_MAX: usize = 10_000;

/// One alert, from the time it fired until it did no more.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Firing {
    /// Of the alert.
    pub labels: Labels,
    /// When it fired.
    pub from: TimestampMs,
    /// The first evaluation at which it did not; `None` when it still fires at the end.
    pub to: Option<TimestampMs>,
    /// The value at `from`; for a native histogram its sum.
    pub value: f64,
}

/// What would have happened.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Backtest {
    /// Evaluations made.
    pub evaluations: u64,
    /// In order of time.
    pub firings: Vec<Firing>,
    /// Firings beyond [`FIRINGS_MAX`].
    pub further: u64,
    /// Different alerts that fired.
    pub series: usize,
    /// Different series that the expression gave.
    pub breached: usize,
    /// Time at which at least one fired, in seconds.
    pub seconds_firing: f64,
    /// The longest firing, in seconds; one that goes on counts up to the end.
    pub seconds_longest: f64,
    /// Why evaluations failed, each reason once, and how often.
    pub failures: BTreeMap<String, u64>,
}

/// The evaluation times: `from`, `from + interval`, … up to `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    /// The first.
    pub from: TimestampMs,
    /// None after this.
    pub to: TimestampMs,
    /// Distance; not zero.
    pub interval: Duration,
}

impl Steps {
    /// How many there are.
    pub fn count(self) -> u64 {
        let interval = self.interval.as_millis().max(1);
        if self.to < self.from {
            return 0;
        }
        u64::try_from(self.to.since(self.from).as_millis() / interval).unwrap_or(u64::MAX).saturating_add(1)
    }
}

/// What templates of labels see beside the alert.
pub struct Around<'a> {
    /// `$externalLabels`.
    pub external_labels: &'a Labels,
    /// `$externalURL`.
    pub external_url: &'a str,
    /// Answers `query`.
    pub query: &'a dyn QueryFunc,
}

/// Replays the rule `rule` of the group `group` over what its expression gave at `steps`. A recording rule, or one that
/// is not there, never fires.
pub fn backtest(
    file: &RuleFile,
    group: usize,
    rule: usize,
    rows: &[MatrixRow],
    steps: Steps,
    around: &Around<'_>,
) -> Backtest {
    let mut result = Backtest { breached: rows.len(), ..Backtest::default() };
    let kind = file.groups.get(group).and_then(|g| g.rules.get(rule)).map(|r| r.kind);
    // Nobody reads them, and their queries would be asked for at every step.
    let mut file = file.clone();
    file.groups.iter_mut().flat_map(|g| &mut g.rules).for_each(|r| r.annotations.clear());
    let mut runs = rules_of(&file, around.external_labels, around.external_url);
    let Some(run) = runs.get_mut(group).and_then(|g| g.get_mut(rule)).filter(|_| kind == Some(RuleKind::Alert)) else {
        return result;
    };
    // Where each row is: points ascend.
    let mut next = vec![0usize; rows.len()];
    let mut open: BTreeMap<Labels, usize> = BTreeMap::new();
    let mut ever = std::collections::BTreeSet::new();
    let mut last = steps.from;
    let count = steps.count().min(EVALUATIONS_MAX);
    for i in 0..count {
        let at = TimestampMs(steps.from.0.saturating_add(i as i64 * steps.interval.as_millis() as i64));
        let mut vector: Vec<VectorPoint> = Vec::new();
        for (row, n) in rows.iter().zip(&mut next) {
            while row.points.get(*n).is_some_and(|(t, _)| *t < at) {
                *n += 1;
            }
            if let Some((_, value)) = row.points.get(*n).filter(|(t, _)| *t == at) {
                vector.push(VectorPoint { labels: row.labels.clone(), at, value: value.clone() });
            }
        }
        if !open.is_empty() {
            result.seconds_firing += at.since(last).as_secs_f64();
        }
        last = at;
        result.evaluations += 1;
        if let Err(error) = run.answer(at, vector, around.query) {
            *result.failures.entry(error).or_default() += 1;
        }
        let mut firing: BTreeMap<Labels, f64> = run.firing().map(|a| (a.labels.clone(), a.value)).collect();
        open.retain(|labels, index| {
            let on = firing.remove(labels).is_some();
            if !on && let Some(f) = result.firings.get_mut(*index) {
                f.to = Some(at);
            }
            on
        });
        for (labels, value) in firing {
            ever.insert(labels.clone());
            if result.firings.len() >= FIRINGS_MAX {
                result.further += 1;
                open.insert(labels, usize::MAX);
                continue;
            }
            open.insert(labels.clone(), result.firings.len());
            result.firings.push(Firing { labels, from: at, to: None, value });
        }
    }
    result.series = ever.len();
    let length = |f: &Firing| f.to.unwrap_or(last).since(f.from).as_secs_f64();
    result.seconds_longest = result.firings.iter().map(length).fold(0.0, f64::max);
    result
}

#[cfg(test)]
mod tests {
    use belfry_promql::PointValue;
    use belfry_template::QuerySample;

    use super::*;

    const MINUTE: i64 = 60_000;

    fn replay(rule: &str, series: &[(&str, &str)]) -> Backtest {
        let text = format!("groups: [{{name: g, rules: [{{alert: A, expr: x > 1, {rule}}}]}}]");
        let file = crate::file::parse(&text, "r.yml").expect("a rule");
        let rows: Vec<MatrixRow> = series
            .iter()
            .map(|(name, marks)| MatrixRow {
                labels: Labels::from_pairs([("a", *name)]),
                points: marks
                    .char_indices()
                    .filter(|(_, c)| *c == '#')
                    .map(|(i, _)| (TimestampMs(i as i64 * MINUTE), PointValue::Float(2.0)))
                    .collect(),
            })
            .collect();
        let longest = series.iter().map(|(_, m)| m.len()).max().unwrap_or(1);
        let steps = Steps {
            from: TimestampMs(0),
            to: TimestampMs((longest as i64 - 1) * MINUTE),
            interval: Duration::from_secs(60),
        };
        let external_labels = Labels::from_pairs([("region", "eu")]);
        let query = |text: &str, at: TimestampMs| {
            assert_eq!(text, "owner", "annotations are nobody's");
            let labels = Labels::from_pairs([("team", format!("t{}", at.0 / MINUTE))]);
            Ok(vec![QuerySample { labels, value: 1.0 }])
        };
        let around = Around { external_labels: &external_labels, external_url: "http://b", query: &query };
        backtest(&file, 0, 0, &rows, steps, &around)
    }

    fn shown(b: &Backtest) -> Vec<String> {
        let minute = |t: TimestampMs| t.0 / MINUTE;
        b.firings
            .iter()
            .map(|f| format!("{} {}–{}", f.labels.get("a").unwrap_or(""), minute(f.from), f.to.map_or(-1, minute)))
            .collect()
    }

    #[test]
    fn firings_are_listed_with_their_ends() {
        let b = replay("for: 2m", &[("x", "..####..###..##"), ("y", "###............")]);
        assert_eq!(shown(&b), ["y 2–3", "x 4–6", "x 10–11"]);
        assert_eq!((b.evaluations, b.series, b.breached), (15, 2, 2));
        assert_eq!((b.seconds_firing, b.seconds_longest), (240.0, 120.0));
    }

    #[test]
    fn what_still_fires_at_the_end_has_no_end() {
        let b = replay("for: 0s", &[("x", "..##")]);
        assert_eq!(shown(&b), ["x 2–-1"]);
        assert_eq!(b.seconds_longest, 60.0);
    }

    #[test]
    fn templates_of_labels_ask_and_see_what_they_do_live() {
        let labels = r#"labels: {t: '{{ with query "owner" }}{{ (first .).Labels.team }}{{ end }}', r: '{{ $externalLabels.region }}', u: '{{ externalURL }}'}"#;
        let b = replay(&format!("{labels}, annotations: {{s: '{{{{ query \"annotations\" }}}}'}}"), &[("x", "..##")]);
        let fired: Vec<String> = b.firings.iter().map(|f| f.labels.to_string()).collect();
        let expected = |t: &str| format!(r#"{{a="x", alertname="A", r="eu", t="{t}", u="http://b"}}"#);
        assert_eq!(fired, [expected("t2"), expected("t3")], "asked at each evaluation");
    }

    #[test]
    fn keep_firing_for_bridges_gaps() {
        let b = replay("keep_firing_for: 3m", &[("x", "#..#.....")]);
        assert_eq!(shown(&b), ["x 0–7"]);
    }

    #[test]
    fn an_answer_that_cannot_be_used_is_counted() {
        let b = replay("labels: {a: same}", &[("x", "##"), ("y", "##")]);
        assert_eq!(b.failures.values().sum::<u64>(), 2);
        assert!(b.firings.is_empty());
    }
}
