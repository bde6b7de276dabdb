//! Sources and their health.

use std::collections::BTreeMap;

use belfry_dashboard::dto;

use crate::app::App;

/// All sources in order of name.
pub fn sources(app: &App) -> Vec<dto::Source> {
    app.sources
        .all()
        .iter()
        .map(|s| {
            let status = s.status.lock().clone();
            let counts = app.ingest.producer_stats(&s.name).unwrap_or_default();
            let rejected = [
                ("too_old", counts.samples.too_old),
                ("duplicate", counts.samples.duplicate),
                ("too_far_ahead", counts.samples.too_far_ahead),
                ("lost", counts.samples_lost),
                ("series_shed", counts.series_shed),
                ("series_refused", counts.series_refused),
            ];
            let rejected: BTreeMap<String, u64> =
                rejected.into_iter().filter(|(_, n)| *n > 0).map(|(r, n)| (r.to_owned(), n)).collect();
            dto::Source {
                name: s.name.clone(),
                kind: s.kind.to_owned(),
                title: s.title.lock().clone(),
                plugin: s.plugin.clone(),
                health: status.health,
                reason: status.reason,
                health_since_ms: status.health_since,
                last_pull_ms: status.last_pull,
                last_duration_seconds: status.last_duration.map(|d| d.as_secs_f64()),
                interval_seconds: s.interval.as_secs_f64(),
                last_samples: status.last_samples,
                series: counts.series,
                pulls_total: status.pulls,
                errors_total: status.errors,
                samples_total: counts.samples.accepted,
                rejected,
                recent_pull_seconds: status.recent.into(),
                labels: s.labels.clone(),
            }
        })
        .chain(super::push::source(app))
        .chain(super::scrape::sources(app))
        .collect()
}
