//! What is pushed, as a source and as metrics.

use std::collections::BTreeMap;

use belfry_dashboard::dto;
use belfry_ingest::push::REMOTE_WRITE;

use crate::app::App;
use crate::telemetry::own::OwnMetrics;

/// The source; `None` as long as nobody has pushed anything.
pub fn source(app: &App) -> Option<dto::Source> {
    let pushed = app.push.stats();
    let last = pushed.last?;
    let counts = app.ingest.producer_stats(REMOTE_WRITE).unwrap_or_default();
    let rejected = [
        ("too_old", counts.samples.too_old),
        ("duplicate", counts.samples.duplicate),
        ("lost", counts.samples_lost),
        ("series_shed", counts.series_shed),
        ("series_refused", counts.series_refused),
        ("ahead", pushed.ahead),
        ("bad_histogram", pushed.bad_histograms),
        ("request_shed", pushed.shed),
        ("exemplar_or_metadata_shed", pushed.shed_beside),
    ];
    let rejected: BTreeMap<String, u64> =
        rejected.into_iter().filter(|(_, n)| *n > 0).map(|(reason, n)| (reason.to_owned(), n)).collect();
    Some(dto::Source {
        name: REMOTE_WRITE.to_owned(),
        kind: "push".to_owned(),
        title: "Remote write".to_owned(),
        health: dto::Health::Up,
        last_pull_ms: Some(last),
        last_samples: pushed.last_samples,
        series: counts.series,
        pulls_total: pushed.requests,
        errors_total: pushed.failed,
        samples_total: counts.samples.accepted,
        rejected,
        ..dto::Source::default()
    })
}

/// Adds what is counted beside the counters of all producers.
pub fn metrics(app: &App, own: &mut OwnMetrics) {
    let pushed = app.push.stats();
    let whole = pushed.requests.saturating_sub(pushed.failed + pushed.partial);
    own.counter("belfry_push_requests", "Remote-write requests, by outcome.")
        .set(&[("outcome", "written")], whole as f64)
        .set(&[("outcome", "partly_refused")], pushed.partial as f64)
        .set(&[("outcome", "failed")], pushed.failed as f64)
        .set(&[("outcome", "shed")], pushed.shed as f64);
    own.counter("belfry_push_rejected", "Pushed samples that were refused before they reached ingest, by reason.")
        .set(&[("reason", "ahead")], pushed.ahead as f64)
        .set(&[("reason", "bad_histogram")], pushed.bad_histograms as f64)
        .set(&[("reason", "exemplar_or_metadata_shed")], pushed.shed_beside as f64);
    own.counter("belfry_push_body_bytes", "Bytes of remote-write bodies, compressed.")
        .set(&[], pushed.body_bytes as f64);
}
