//! Rules: those of files and thresholds, as Prometheus' API and the dashboard tell of them.

use std::time::Duration;

use belfry_dashboard::dto::RuleView;
use belfry_dashboard::rule_groups::{Alerting, GroupAlert, GroupRule, RuleGroup, Texts};
use belfry_model::{Alert, AlertState, Labels, Severity};
use belfry_rules::RuleSnapshot;
use belfry_rules::file::RuleKind;
use belfry_rules::groups::{self, GroupSnapshot, Health, Words};

use crate::app::App;
use crate::rule_files::Refused;
use crate::telemetry::own::OwnMetrics;

/// Group and file under which thresholds appear.
const THRESHOLDS: (&str, &str) = ("rule", "belfry.toml");

/// Refused files that are named by a metric: a folder of wrong files is no reason for as many series.
const REFUSED_NAMED_MAX: usize = 100;

/// All groups, thresholds as a group of their own.
pub fn groups(app: &App) -> Vec<RuleGroup> {
    let mut all: Vec<RuleGroup> = app.rule_files.snapshot().iter().map(group).collect();
    all.extend(thresholds(&app.organs.rules.lock().snapshot()));
    all
}

fn group(g: &GroupSnapshot) -> RuleGroup {
    RuleGroup {
        name: g.name.clone(),
        file: g.file.to_string(),
        interval: g.interval,
        limit: g.limit,
        evaluation_time: g.evaluation_time,
        last_evaluation: g.last_evaluation,
        rules: g.rules.iter().map(rule).collect(),
    }
}

fn rule(r: &groups::RuleView) -> GroupRule {
    let alerting = |r: &groups::RuleView| Alerting {
        state: r.state,
        hold: r.spec.hold,
        keep_firing_for: r.spec.keep_firing_for,
        annotations: texts(&r.spec.annotations),
        alerts: r
            .alerts
            .iter()
            .filter(|a| is_active(&a.alert))
            .map(|a| {
                let annotations = annotations(&r.spec.annotations, &a.alert.annotations);
                GroupAlert { annotations, keep_firing_since: a.keep_firing_since, ..active(&a.alert) }
            })
            .collect(),
    };
    GroupRule {
        name: r.spec.name.to_string(),
        query: r.spec.query.clone(),
        labels: texts(&r.spec.labels),
        health: match &r.health {
            Health::Unknown => None,
            Health::Ok => Some(Ok(())),
            Health::Bad(reason) => Some(Err(reason.clone())),
        },
        evaluation_time: r.evaluation_time,
        last_evaluation: r.last_evaluation,
        alerting: (r.spec.kind == RuleKind::Alert).then(|| alerting(r)),
    }
}

fn texts(pairs: &[(std::sync::Arc<str>, Words)]) -> Texts {
    pairs.iter().map(|(name, words)| (name.to_string(), words.text().to_string())).collect()
}

/// All that the rule has: of an alert those that became empty are left out.
fn annotations(of_rule: &[(std::sync::Arc<str>, Words)], of_alert: &Labels) -> Texts {
    let mut all: Texts = of_rule.iter().map(|(name, _)| (name.to_string(), String::new())).collect();
    all.extend(as_texts(of_alert));
    all
}

fn as_texts(labels: &Labels) -> Texts {
    labels.iter().map(|l| (l.name.to_string(), l.value.to_string())).collect()
}

fn is_active(alert: &Alert) -> bool {
    matches!(alert.state, AlertState::Pending | AlertState::Firing)
}

fn active(a: &Alert) -> GroupAlert {
    GroupAlert {
        labels: a.labels.clone(),
        annotations: as_texts(&a.annotations),
        state: a.state,
        active_at: a.active_since,
        keep_firing_since: None,
        value: a.value,
    }
}

fn thresholds(rules: &[RuleSnapshot]) -> Option<RuleGroup> {
    let first = rules.first()?;
    let of = |r: &RuleSnapshot| {
        let mut labels = r.rule.labels.to_builder();
        labels.set("severity", r.rule.severity.as_str());
        GroupRule {
            name: r.rule.name.clone(),
            query: r.rule.query(),
            labels: as_texts(&labels.build()),
            health: r.last_evaluation.map(|_| r.last_error.clone().map_or(Ok(()), Err)),
            evaluation_time: r.last_duration.unwrap_or_default(),
            last_evaluation: r.last_evaluation,
            alerting: Some(Alerting {
                state: r.state,
                hold: r.rule.duration,
                keep_firing_for: Duration::ZERO,
                annotations: as_texts(&r.rule.annotations),
                alerts: r.alerts.iter().filter(|a| is_active(a)).map(active).collect(),
            }),
        }
    };
    Some(RuleGroup {
        name: THRESHOLDS.0.to_owned(),
        file: THRESHOLDS.1.to_owned(),
        interval: first.rule.interval,
        limit: 0,
        evaluation_time: rules.iter().filter_map(|r| r.last_duration).sum(),
        last_evaluation: rules.iter().filter_map(|r| r.last_evaluation).max(),
        rules: rules.iter().map(of).collect(),
    })
}

/// Rule files that are refused, a sentence each.
pub fn refused(app: &App) -> Vec<String> {
    let sentence = |r: Refused| match r.has_good {
        true => format!("rule file {} is refused; its last good version goes on", r.file),
        false => format!("rule file {} is refused; nothing of it is evaluated", r.file),
    };
    app.rule_files.refused().into_iter().map(sentence).collect()
}

/// Rules of files for the dashboard, and files that are refused: they stand first, with their problems as the error.
pub fn of_files(app: &App) -> Vec<RuleView> {
    let refused = app.rule_files.refused().into_iter().map(|r| RuleView {
        name: r.file,
        kind: "file".to_owned(),
        group: None,
        file: None,
        enabled: r.has_good,
        description: match r.has_good {
            true => "This rule file is refused; its last good version goes on.".to_owned(),
            false => "This rule file is refused; nothing of it is evaluated.".to_owned(),
        },
        query: String::new(),
        duration_seconds: 0.0,
        severity: Severity::Error,
        labels: Labels::empty(),
        state: AlertState::Inactive,
        active: 0,
        last_evaluation_ms: None,
        last_duration_seconds: None,
        last_error: Some(r.problems),
    });
    let groups = app.rule_files.snapshot();
    let rules = groups.iter().flat_map(|g| g.rules.iter().map(move |r| (g, r))).map(|(g, r)| RuleView {
        name: r.spec.name.to_string(),
        kind: if r.spec.kind == RuleKind::Alert { "alerting" } else { "recording" }.to_owned(),
        group: Some(g.name.clone()),
        file: Some(g.file.to_string()),
        enabled: true,
        description: String::new(),
        query: r.spec.query.clone(),
        duration_seconds: r.spec.hold.as_secs_f64(),
        severity: r.spec.severity(),
        labels: Labels::from_pairs(texts(&r.spec.labels)),
        state: r.state,
        active: r.alerts.iter().filter(|a| is_active(&a.alert)).count() as u64,
        last_evaluation_ms: r.last_evaluation,
        last_duration_seconds: r.last_evaluation.map(|_| r.evaluation_time.as_secs_f64()),
        last_error: match &r.health {
            Health::Bad(reason) => Some(reason.clone()),
            Health::Unknown | Health::Ok => None,
        },
    });
    refused.chain(rules).collect()
}

/// Alerts of rule files with the condition of their rule.
pub fn alerts_of_files(app: &App) -> Vec<(Alert, String)> {
    let groups = app.rule_files.snapshot();
    let rules = groups.iter().flat_map(|g| &g.rules);
    rules.flat_map(|r| r.alerts.iter().map(|a| (a.alert.clone(), r.spec.query.clone()))).collect()
}

/// Per-group metrics.
pub fn metrics(app: &App, own: &mut OwnMetrics) {
    for g in app.rule_files.snapshot() {
        let group = [("rule_group", &*g.key)];
        own.counter("belfry_rule_group_iterations", "Evaluations due, by group.").set(&group, g.iterations as f64);
        own.counter("belfry_rule_group_iterations_missed", "Evaluations left out, by group.")
            .set(&group, g.missed as f64);
        let sum = |f: fn(&groups::RuleView) -> u64| g.rules.iter().map(f).sum::<u64>() as f64;
        own.counter("belfry_rule_group_evaluations", "Rules evaluated, by group.").set(&group, sum(|r| r.evaluations));
        own.counter("belfry_rule_group_failures", "Rules that failed, by group.").set(&group, sum(|r| r.failures));
        own.gauge("belfry_rule_group_rules", "Rules, by group.").set(&group, g.rules.len() as f64);
        own.gauge("belfry_rule_group_interval_seconds", "How often it is evaluated.")
            .set(&group, g.interval.as_secs_f64());
        own.gauge("belfry_rule_group_lag_seconds", "How late the last evaluation began.")
            .set(&group, g.lag.as_secs_f64());
        if let Some(at) = g.last_evaluation {
            own.gauge("belfry_rule_group_last_evaluation_timestamp_seconds", "Time of the last evaluation.")
                .set(&group, at.as_secs_f64());
            own.gauge("belfry_rule_group_last_duration_seconds", "How long the last evaluation took.")
                .set(&group, g.evaluation_time.as_secs_f64());
            own.gauge("belfry_rule_group_last_evaluation_samples", "Samples that it wrote.")
                .set(&group, g.samples as f64);
        }
    }
    refused_metrics(&app.rule_files.refused(), own);
}

fn refused_metrics(refused: &[Refused], own: &mut OwnMetrics) {
    own.gauge("belfry_rule_files_refused", "Rule files that cannot be read.").set(&[], refused.len() as f64);
    for r in refused.iter().take(REFUSED_NAMED_MAX) {
        own.gauge("belfry_rule_file_refused", "1 for a rule file that cannot be read; the first 100 of them.")
            .set(&[("file", &*r.file)], 1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_empty_of_a_rule_and_its_alerts_is_told() {
        let plain = |name: &str, text: &str| (std::sync::Arc::<str>::from(name), Words::Plain(text.into()));
        let rule = [plain("summary", "written"), plain("runbook", "")];
        let pairs = |all: [(&str, &str); 2]| Texts::from(all.map(|(n, v)| (n.to_owned(), v.to_owned())));
        assert_eq!(texts(&rule), pairs([("summary", "written"), ("runbook", "")]));
        let alert = Labels::from_pairs([("summary", "expanded")]);
        assert_eq!(annotations(&rule, &alert), pairs([("summary", "expanded"), ("runbook", "")]));
    }

    #[test]
    fn refused_files_are_counted_and_the_first_hundred_named() {
        let refused = |n: usize| Refused { file: format!("{n:03}.yml"), problems: String::new(), has_good: false };
        for (count, named) in [(0, 0), (2, 2), (250, 100)] {
            let mut own = OwnMetrics::default();
            refused_metrics(&(0..count).map(refused).collect::<Vec<_>>(), &mut own);
            let text = own.text();
            assert!(text.contains(&format!("belfry_rule_files_refused {count}")), "{text}");
            assert_eq!(text.matches("belfry_rule_file_refused{file=").count(), named);
            assert_eq!(text.contains("belfry_rule_file_refused{file=\"001.yml\"} 1"), named > 1, "{text}");
        }
    }
}
