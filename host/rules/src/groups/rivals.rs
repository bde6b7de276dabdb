//! Rules of one group that may write the same series: of an evaluation the first has it, a later one with another value
//! fails, as in Prometheus.
//!
//! Invariant: rules that are no rivals ([`rivals`]) never write the same series; nothing is remembered of them.
//! Not here: rules of other groups: those are not evaluated at the same instant.

use std::collections::HashMap;

use belfry_model::sample::is_stale;
use belfry_model::{Labels, TimestampMs};
use belfry_promql::PointValue;
use belfry_template::go_float;

use crate::file::{Group, Rule, RuleKind};

/// Of more rules of one name than this every one is taken for a rival: comparing them all would be slow.
const COMPARED_MAX: usize = 100;

/// Which rules may write a series that another of the group writes.
pub(super) fn rivals(group: &Group) -> Vec<bool> {
    let mut by_name: HashMap<(RuleKind, &str), Vec<usize>> = HashMap::new();
    for (i, rule) in group.rules.iter().enumerate() {
        by_name.entry((rule.kind, rule.name.as_str())).or_default().push(i);
    }
    let mut rivals = vec![false; group.rules.len()];
    for alike in by_name.into_values().filter(|alike| alike.len() > 1) {
        let labels: Vec<_> = alike.iter().map(|i| plain_labels(&group.rules[*i], group)).collect();
        for (i, rule) in alike.iter().enumerate() {
            let meets = |(j, other): (usize, &HashMap<_, _>)| i != j && !differ(&labels[i], other);
            rivals[*rule] = alike.len() > COMPARED_MAX || labels.iter().enumerate().any(meets);
        }
    }
    rivals
}

/// Those that are known before anything is evaluated.
fn plain_labels(rule: &Rule, group: &Group) -> HashMap<std::sync::Arc<str>, std::sync::Arc<str>> {
    let is_plain = |value: &str| rule.kind == RuleKind::Record || !value.contains("{{");
    rule.labels_in(group).into_iter().filter(|(_, value)| is_plain(value)).collect()
}

/// Is there a label that both set, each to another value?
fn differ<K: std::hash::Hash + Eq, V: Eq>(a: &HashMap<K, V>, b: &HashMap<K, V>) -> bool {
    a.iter().any(|(name, value)| b.get(name).is_some_and(|other| other != value))
}

/// What the rivals of one evaluation wrote. As many entries as they have series, gone with the evaluation.
#[derive(Debug, Default)]
pub(super) struct Written(HashMap<Labels, PointValue>);

/// What a rule may not write.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Refused {
    /// Series that another rule wrote.
    pub series: Vec<Labels>,
    /// Why, of the last one.
    pub reason: Option<String>,
}

impl Written {
    /// Takes the samples of a rule; those of a series that a rule before it wrote are taken out.
    pub fn admit(&mut self, at: TimestampMs, samples: &mut Vec<(Labels, PointValue)>) -> Refused {
        let mut refused = Refused::default();
        samples.retain(|(labels, value)| {
            let Some(existing) = self.0.get(labels) else {
                self.0.insert(labels.clone(), value.clone());
                return true;
            };
            // The end of a series that another rule goes on with, and one value twice, are no conflict.
            let ends = matches!(value, PointValue::Float(v) if is_stale(*v));
            if !ends && let Some(reason) = conflict(at, existing, value) {
                refused.series.push(labels.clone());
                refused.reason = Some(reason);
            }
            false
        });
        refused
    }
}

/// In Prometheus' words.
fn conflict(at: TimestampMs, existing: &PointValue, new: &PointValue) -> Option<String> {
    let told = "duplicate sample for timestamp";
    match (existing, new) {
        (PointValue::Float(a), PointValue::Float(b)) => (a.to_bits() != b.to_bits()).then(|| {
            let (a, b) = (go_float(*a), go_float(*b));
            format!("{told} {}; overrides not allowed: existing {a}, new value {b}", at.0)
        }),
        (PointValue::Histogram(_), PointValue::Float(b)) => {
            let b = go_float(*b);
            Some(format!("{told} {}; overrides not allowed: existing is a histogram, new value {b}", at.0))
        }
        (PointValue::Histogram(a), PointValue::Histogram(b)) if a == b => None,
        (_, PointValue::Histogram(_)) => Some(told.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rules: &str) -> String {
        let rules: String = rules.lines().map(|r| format!("  - {r}\n")).collect();
        let text = format!("groups:\n- name: g\n  labels: {{team: a}}\n  rules:\n{rules}");
        let file = crate::file::parse(&text, "r.yml").expect("valid");
        rivals(&file.groups[0]).iter().map(|r| if *r { 'r' } else { '.' }).collect()
    }

    #[test]
    fn rivals_have_one_name_and_no_label_that_tells_them_apart() {
        assert_eq!(of("{record: a, expr: x}\n{record: b, expr: x}\n{record: a, expr: y}"), "r.r");
        assert_eq!(of("{record: a, expr: x}\n{alert: a, expr: x}"), "..", "one is `a`, the other `ALERTS`");
        let (one, two) = ("labels: {kind: one}", "labels: {kind: two}");
        assert_eq!(of(&format!("{{record: a, expr: x, {one}}}\n{{record: a, expr: x, {two}}}")), "..");
        assert_eq!(of(&format!("{{record: a, expr: x, {one}}}\n{{record: a, expr: x}}")), "rr", "x may have the label");
        assert_eq!(of("{record: a, expr: x}\n{record: a, expr: y, labels: {team: b}}"), "..", "the group's label");
        let template = "labels: {kind: '{{ $value }}'}";
        assert_eq!(of(&format!("{{alert: a, expr: x, {one}}}\n{{alert: a, expr: x, {template}}}")), "rr");
        assert_eq!(of(&"{record: a, expr: x}\n".repeat(COMPARED_MAX + 1)), "r".repeat(COMPARED_MAX + 1));
    }

    #[test]
    fn the_first_has_the_series_and_another_value_is_refused_in_prometheus_words() {
        let series = |name: &str| Labels::from_pairs([(belfry_model::METRIC_NAME, name)]);
        let mut written = Written::default();
        let mut admit = |samples: &[(&str, f64)]| {
            let mut samples: Vec<_> = samples.iter().map(|(n, v)| (series(n), PointValue::Float(*v))).collect();
            let refused = written.admit(TimestampMs(1_700_000_000_000), &mut samples);
            (samples.iter().map(|(l, _)| l.to_string()).collect::<Vec<_>>().join(" "), refused)
        };
        assert_eq!(admit(&[("a", 1.0), ("b", 2.0)]), ("a b".into(), Refused::default()));
        let reason = "duplicate sample for timestamp 1700000000000; overrides not allowed: existing 1, new value 1e+06";
        let refused = Refused { series: vec![series("a")], reason: Some(reason.into()) };
        assert_eq!(admit(&[("a", 1e6), ("c", 3.0)]), ("c".into(), refused));
        assert_eq!(admit(&[("b", 2.0)]), (String::new(), Refused::default()), "the same value");
        assert_eq!(admit(&[("a", belfry_model::sample::stale_nan())]), (String::new(), Refused::default()));
    }
}
