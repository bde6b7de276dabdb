//! Scrape targets among the sources, and for Prometheus' API.

use std::collections::BTreeMap;

use belfry_dashboard::dto::{Health, HealthCounts, Source};
use belfry_dashboard::prometheus_targets::{ScrapePool, ScrapeTarget};
use belfry_ingest::scrape::{ActiveTarget, JobStatus, TargetHealth};

use crate::app::App;

/// Every target that is scraped, in order of job, and what keeps others from being targets.
pub fn sources(app: &App) -> Vec<Source> {
    let of_job = |mut job: JobStatus| {
        let active = std::mem::take(&mut job.active);
        let failed = failed(&job);
        active.into_iter().map(|t| source(app, t)).chain(failed)
    };
    app.scraping.snapshot().into_iter().flat_map(of_job).collect()
}

/// How many targets are in which state.
pub fn count(app: &App, counts: &mut HealthCounts) {
    for job in app.scraping.snapshot() {
        counts.down += u64::from(reason(&job).is_some());
        for target in job.active {
            match target.health {
                TargetHealth::Unknown => counts.unknown += 1,
                TargetHealth::Up => counts.up += 1,
                TargetHealth::Down => counts.down += 1,
            }
        }
    }
}

/// Targets that are named in a reason.
const FAILED_NAMED: usize = 3;

/// Why some, or all, of what a job should scrape is not scraped.
fn reason(job: &JobStatus) -> Option<String> {
    let mut all = job.errors.clone();
    for (labels, why) in job.failed.iter().take(FAILED_NAMED) {
        all.push(format!("{} is no target: {why}", labels.get("__address__").unwrap_or_default()));
    }
    if let Some(more @ 1..) = job.failed.len().checked_sub(FAILED_NAMED) {
        all.push(format!("and {more} more"));
    }
    (!all.is_empty()).then(|| all.join("; "))
}

fn failed(job: &JobStatus) -> Option<Source> {
    Some(Source {
        name: format!("scrape/{}", job.job),
        kind: "scrape".to_owned(),
        title: job.job.clone(),
        plugin: None,
        health: Health::Down,
        reason: reason(job)?,
        health_since_ms: None,
        last_pull_ms: None,
        last_duration_seconds: None,
        interval_seconds: 0.0,
        last_samples: 0,
        series: 0,
        pulls_total: 0,
        errors_total: 0,
        samples_total: 0,
        rejected: BTreeMap::new(),
        recent_pull_seconds: Vec::new(),
        labels: Default::default(),
    })
}

/// The same by job, for Prometheus' API.
pub fn pools(app: &App) -> Vec<ScrapePool> {
    let pool = |job: JobStatus| ScrapePool {
        job: job.job,
        active: job.active.into_iter().map(target).collect(),
        dropped: job.dropped,
    };
    app.scraping.snapshot().into_iter().map(pool).collect()
}

fn target(t: ActiveTarget) -> ScrapeTarget {
    ScrapeTarget {
        discovered_labels: t.discovered_labels,
        labels: t.labels,
        url: t.scrape_url,
        up: match t.health {
            TargetHealth::Unknown => None,
            TargetHealth::Up => Some(true),
            TargetHealth::Down => Some(false),
        },
        last_error: t.last_error,
        last_scrape: t.last_scrape,
        last_duration: t.last_duration.unwrap_or_default(),
        interval: t.interval,
        timeout: t.timeout,
    }
}

fn source(app: &App, t: ActiveTarget) -> Source {
    let counts = app.ingest.producer_stats(&t.producer).unwrap_or_default();
    let rejected = [
        ("too_old", counts.samples.too_old),
        ("duplicate", counts.samples.duplicate),
        ("lost", counts.samples_lost),
        ("series_shed", counts.series_shed),
        ("series_refused", counts.series_refused),
    ];
    let rejected: BTreeMap<String, u64> =
        rejected.into_iter().filter(|(_, n)| *n > 0).map(|(r, n)| (r.to_owned(), n)).collect();
    let instance = t.labels.get("instance").unwrap_or_default();
    Source {
        name: t.producer.clone(),
        kind: "scrape".to_owned(),
        title: format!("{} {instance}", t.job),
        plugin: None,
        health: match t.health {
            TargetHealth::Unknown => Health::Unknown,
            TargetHealth::Up => Health::Up,
            TargetHealth::Down => Health::Down,
        },
        reason: t.last_error,
        health_since_ms: t.health_since,
        last_pull_ms: t.last_scrape,
        last_duration_seconds: t.last_duration.map(|d| d.as_secs_f64()),
        interval_seconds: t.interval.as_secs_f64(),
        last_samples: t.last_samples,
        series: counts.series,
        pulls_total: t.scrapes,
        errors_total: t.failures,
        samples_total: counts.samples.accepted,
        rejected,
        recent_pull_seconds: Vec::new(),
        labels: t.labels,
    }
}
