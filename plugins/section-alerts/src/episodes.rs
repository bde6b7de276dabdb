//! Episodes as a report counts them.
//!
//! Not here: host calls.

use std::collections::BTreeMap;

use belfry_sdk::query::AlertEpisode;

/// Worst first.
pub const SEVERITIES: [&str; 4] = ["critical", "error", "warning", "info"];

/// One alert from its firing to its end.
#[derive(Clone, Debug, PartialEq)]
pub struct Episode {
    /// Name of the rule.
    pub rule: String,
    /// How bad.
    pub severity: String,
    /// For people, without what stands in other columns.
    pub labels: String,
    /// When it fired, or began if it has not.
    pub since: i64,
    /// It fired.
    pub fired: bool,
    /// When it ended, if it did within the period.
    pub resolved: Option<i64>,
    /// As far as it lies in the period.
    pub length_ms: u64,
    /// Who took it.
    pub acknowledged_by: Option<String>,
}

impl Episode {
    /// At the end of the period.
    pub fn still_firing(&self) -> bool {
        self.fired && self.resolved.is_none()
    }
}

/// A rule's episodes together.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule<'a> {
    /// Its name.
    pub name: &'a str,
    /// The worst of its episodes.
    pub severity: &'a str,
    /// How many.
    pub count: usize,
    /// Together.
    pub total_ms: u64,
    /// The longest.
    pub longest_ms: u64,
}

/// As the report's big numbers show it.
pub fn status(severity: &str) -> &'static str {
    match severity {
        "critical" | "error" => "critical",
        "warning" => "warning",
        _ => "ok",
    }
}

fn badness(severity: &str) -> usize {
    SEVERITIES.iter().position(|s| *s == severity).unwrap_or(SEVERITIES.len())
}

/// Those that overlap the period, newest first.
pub fn within(all: Vec<AlertEpisode>, start: i64, end: i64, severities: &[String], pending: bool) -> Vec<Episode> {
    let mut episodes: Vec<Episode> = all
        .into_iter()
        .filter(|e| severities.is_empty() || severities.contains(&e.severity))
        .filter_map(|e| {
            // What happened after the period is not known to its report.
            let fired_at = e.fired.filter(|at| *at < end);
            let resolved = e.resolved.filter(|at| *at < end);
            if fired_at.is_none() && !pending {
                return None;
            }
            let since = fired_at.unwrap_or(e.started);
            let until = resolved.unwrap_or(end);
            if since >= end || until <= start {
                return None;
            }
            let kept = e.labels.iter().filter(|l| l.name != "alertname" && l.name != "severity");
            Some(Episode {
                labels: kept.map(|l| format!("{}={}", l.name, l.value)).collect::<Vec<_>>().join(", "),
                rule: e.rule,
                severity: e.severity,
                since,
                fired: fired_at.is_some(),
                resolved,
                length_ms: u64::try_from(until - since.max(start)).unwrap_or(0),
                acknowledged_by: e.acknowledged_by,
            })
        })
        .collect();
    episodes
        .sort_by(|a, b| b.since.cmp(&a.since).then_with(|| a.rule.cmp(&b.rule)).then_with(|| a.labels.cmp(&b.labels)));
    episodes
}

/// The rules, longest together first.
pub fn by_rule(episodes: &[Episode]) -> Vec<Rule<'_>> {
    let mut rules: BTreeMap<&str, Rule<'_>> = BTreeMap::new();
    for e in episodes {
        let rule = rules.entry(&e.rule).or_insert(Rule {
            name: &e.rule,
            severity: &e.severity,
            count: 0,
            total_ms: 0,
            longest_ms: 0,
        });
        rule.count += 1;
        rule.total_ms += e.length_ms;
        rule.longest_ms = rule.longest_ms.max(e.length_ms);
        if badness(&e.severity) < badness(rule.severity) {
            rule.severity = &e.severity;
        }
    }
    let mut rules: Vec<_> = rules.into_values().collect();
    rules.sort_by(|a, b| b.total_ms.cmp(&a.total_ms).then_with(|| a.name.cmp(b.name)));
    rules
}
