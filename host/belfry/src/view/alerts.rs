//! Alerts, rules, channels.

use std::collections::BTreeMap;

use belfry_config::types::Source;
use belfry_dashboard::dto::{
    self, AlertView, Alerts, ChannelView, DELIVERIES_PER_ALERT_MAX, DeliveryStatus, DeliveryView, RuleView,
};
use belfry_model::AlertState;
use belfry_notify::{NotifySnapshot, RecentDelivery};
use belfry_plugin::Kind;

use crate::app::App;

/// Pending, firing and lately resolved alerts: firing first, worst first, newest first.
pub fn alerts(app: &App) -> Alerts {
    let rules = app.organs.rules.lock().snapshot();
    let told = app.organs.notify.lock().snapshot();
    let thresholds = rules.iter().flat_map(|r| {
        let condition = format!("{} {}", r.rule.condition.operator(), r.rule.threshold);
        r.alerts.iter().map(move |a| (a.clone(), condition.clone()))
    });
    let mut alerts: Vec<AlertView> = thresholds
        .chain(super::rules::alerts_of_files(app))
        .map(|(a, condition)| AlertView {
            fingerprint: a.fingerprint,
            severity: a.severity,
            state: a.state,
            value: dto::finite(a.value),
            condition,
            active_since_ms: a.active_since,
            fired_ms: a.fired_at,
            resolved_ms: a.resolved_at,
            deliveries: deliveries_of(&told, &a),
            rule: a.rule,
            labels: a.labels,
            annotations: a.annotations,
        })
        .collect();
    let rank = |s: AlertState| match s {
        AlertState::Firing => 0,
        AlertState::Pending => 1,
        AlertState::Resolved => 2,
        AlertState::Inactive => 3,
    };
    alerts.sort_by_key(|a| (rank(a.state), std::cmp::Reverse(a.severity), std::cmp::Reverse(a.active_since_ms)));
    Alerts { now_ms: app.clock.now(), alerts }
}

/// Deliveries of the groups that the alert is or was in.
fn deliveries_of(told: &NotifySnapshot, alert: &belfry_model::Alert) -> Vec<DeliveryView> {
    told.recent
        .iter()
        .filter(|d| d.alerts.contains(&alert.fingerprint))
        .take(DELIVERIES_PER_ALERT_MAX)
        .map(delivery)
        .collect()
}

fn delivery(d: &RecentDelivery) -> DeliveryView {
    DeliveryView {
        channel: d.channel.clone(),
        at_ms: d.at,
        status: match (&d.error, d.will_retry) {
            (None, _) => DeliveryStatus::Delivered,
            (Some(_), true) => DeliveryStatus::Retrying,
            (Some(_), false) => DeliveryStatus::Failed,
        },
        attempt: d.attempt,
        error: d.error.clone(),
        what: if d.firing { "firing" } else { "resolved" }.to_owned(),
    }
}

/// All rules: thresholds in the order of the config, then those of rule files.
pub fn rules(app: &App) -> Vec<RuleView> {
    let mut all = thresholds(app);
    all.extend(super::rules::of_files(app));
    all
}

fn thresholds(app: &App) -> Vec<RuleView> {
    let by_name: BTreeMap<String, _> =
        app.organs.rules.lock().snapshot().into_iter().map(|r| (r.rule.name.clone(), r)).collect();
    let loaded = app.loaded.load();
    loaded
        .config
        .rules
        .iter()
        .filter_map(|given| by_name.get(&given.name))
        .map(|r| RuleView {
            name: r.rule.name.clone(),
            kind: "threshold".to_owned(),
            group: None,
            file: None,
            enabled: true,
            description: r.rule.description.clone(),
            query: r.rule.query(),
            duration_seconds: r.rule.duration.as_secs_f64(),
            severity: r.rule.severity,
            labels: r.rule.labels.clone(),
            state: r.state,
            active: r.alerts.iter().filter(|a| matches!(a.state, AlertState::Firing | AlertState::Pending)).count()
                as u64,
            last_evaluation_ms: r.last_evaluation,
            last_duration_seconds: r.last_duration.map(|d| d.as_secs_f64()),
            last_error: r.last_error.clone(),
        })
        .collect()
}

/// All channels in the order of the config.
pub fn channels(app: &App) -> Vec<ChannelView> {
    let told = app.organs.notify.lock().snapshot();
    let loaded = app.loaded.load();
    let config = &loaded.config;
    let handlers = app.channels.load();
    config
        .channels
        .iter()
        .map(|c| {
            let health = told.channels.iter().find(|h| h.channel == c.name).cloned().unwrap_or_default();
            let kinds = handlers.get(&c.name).and_then(|h| app.plugins.get(h)).map(|p| p.kinds()).unwrap_or_default();
            let retrying = told.groups.iter().filter(|g| g.channel == c.name && g.attempt.is_some_and(|a| a > 1));
            ChannelView {
                name: c.name.clone(),
                handler: match &c.component.source {
                    Source::Builtin(name) => format!("builtin:{name}"),
                    Source::File(path) => path.display().to_string(),
                    Source::Plugin(name) => name.clone(),
                },
                is_default: config.route.as_ref().is_some_and(|r| r.channel == c.name),
                takes_alerts: kinds.contains(&Kind::AlertHandler),
                takes_reports: kinds.contains(&Kind::ReportHandler),
                delivered_total: health.accepted,
                failed_total: health.given_up,
                retrying: retrying.count() as u64,
                recent: told
                    .recent
                    .iter()
                    .filter(|d| d.channel == c.name)
                    .take(DELIVERIES_PER_ALERT_MAX)
                    .map(delivery)
                    .collect(),
            }
        })
        .collect()
}
