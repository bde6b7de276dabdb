//! How things are, at a glance.

use std::sync::atomic::{AtomicU64, Ordering};

use belfry_dashboard::backend::overview_charts;
use belfry_dashboard::dto::{
    self, AlertCounts, ChartPoints, Health, HealthCounts, IngestSummary, LabelledValue, Notice, NoticeLevel, Overview,
    PluginCounts, ProcessUse, StorageSummary,
};
use belfry_model::{AlertState, TimestampMs};
use belfry_promql::{PointValue, QueryTime, QueryValue};

use super::storage;
use crate::app::App;
use crate::process;

/// Remembers the counters of a moment ago, for rates.
#[derive(Default)]
pub struct Rates {
    last: parking_lot::Mutex<Option<Moment>>,
    samples_per_second: AtomicU64,
    cpu_percent: AtomicU64,
    /// Of the disk.
    pub storage: storage::Looked,
}

#[derive(Clone, Copy)]
struct Moment {
    at: f64,
    samples: u64,
    cpu: f64,
}

/// Rates are over at least this long.
const RATE_WINDOW_SECONDS: f64 = 2.0;

impl Rates {
    fn update(&self, at: f64, samples: u64, cpu: f64) -> (f64, f64) {
        let mut last = self.last.lock();
        let load = |a: &AtomicU64| f64::from_bits(a.load(Ordering::Relaxed));
        match *last {
            Some(before) if at - before.at < RATE_WINDOW_SECONDS => {}
            Some(before) => {
                let seconds = at - before.at;
                let rate = samples.saturating_sub(before.samples) as f64 / seconds;
                let percent = ((cpu - before.cpu) / seconds * 100.0).max(0.0);
                self.samples_per_second.store(rate.to_bits(), Ordering::Relaxed);
                self.cpu_percent.store(percent.to_bits(), Ordering::Relaxed);
                *last = Some(Moment { at, samples, cpu });
            }
            // Nobody looked before: the mean since the start.
            None => {
                let seconds = at.max(1.0);
                self.samples_per_second.store((samples as f64 / seconds).to_bits(), Ordering::Relaxed);
                self.cpu_percent.store((cpu / seconds * 100.0).to_bits(), Ordering::Relaxed);
                *last = Some(Moment { at, samples, cpu });
            }
        }
        (load(&self.samples_per_second), load(&self.cpu_percent))
    }
}

/// How things are; with the charts' specs when `whole`.
pub async fn overview(app: &App, whole: bool) -> Overview {
    let now = app.clock.now();
    let ingest = app.ingest.stats();
    let store = app.store.stats();
    let used = process::now();
    let samples: u64 = ingest.producers.iter().map(|p| p.samples.accepted).sum();
    let uptime = app.clock.monotonic().as_secs_f64();
    let (per_second, cpu_percent) = app.rates.update(uptime, samples, used.cpu.map_or(0.0, |d| d.as_secs_f64()));
    let loaded = app.loaded.load();
    let kept = &loaded.config.storage;
    let charts = overview_charts();
    Overview {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host_name: process::host_name(),
        started_ms: app.started,
        now_ms: now,
        uptime_seconds: uptime,
        process: ProcessUse {
            memory_resident_bytes: used.resident_bytes.unwrap_or_default(),
            cpu_percent: used.cpu.map(|_| cpu_percent),
            open_files: used.open_files,
            threads: used.threads,
        },
        ingest: IngestSummary {
            samples_per_second: per_second,
            samples_total: samples,
            rejected_total: ingest
                .producers
                .iter()
                .map(|p| p.samples.too_old + p.samples.duplicate + p.samples_lost + p.series_shed)
                .sum(),
            series: store.series,
        },
        storage: StorageSummary {
            used_bytes: Some(store.bytes_on_disk),
            free_bytes: process::free_bytes(&kept.path),
            downsampled_blocks: store.blocks_by_resolution.iter().filter(|(r, _)| **r > 0).map(|(_, n)| n).sum(),
            retention_seconds: kept.retention.map(|d| d.as_secs_f64()),
            oldest_ms: storage::oldest(app).await,
        },
        sources: sources(app),
        alerts: alerts(app, now),
        plugins: plugins(app),
        rules: (loaded.config.rules.len() + super::rules::of_files(app).len()) as u64,
        reports: loaded.config.reports.len() as u64,
        notices: notices(app, now),
        points: points(app, &charts, now).await,
        charts: if whole { charts } else { Vec::new() },
    }
}

fn sources(app: &App) -> HealthCounts {
    let mut c = HealthCounts::default();
    for s in app.sources.all() {
        match s.status.lock().health {
            Health::Up => c.up += 1,
            Health::Degraded => c.degraded += 1,
            Health::Down => c.down += 1,
            Health::Unknown => c.unknown += 1,
        }
    }
    super::scrape::count(app, &mut c);
    c
}

fn alerts(app: &App, now: TimestampMs) -> AlertCounts {
    let hour_ago = now.minus(std::time::Duration::from_secs(3600));
    let mut c = AlertCounts::default();
    let thresholds = app.organs.rules.lock().snapshot().into_iter().flat_map(|r| r.alerts);
    for a in thresholds.chain(super::rules::alerts_of_files(app).into_iter().map(|(alert, _)| alert)) {
        match a.state {
            AlertState::Pending => c.pending += 1,
            AlertState::Firing => {
                c.firing += 1;
                *c.firing_by_severity.entry(a.severity.as_str().to_owned()).or_default() += 1;
            }
            AlertState::Resolved if a.resolved_at.is_some_and(|t| t >= hour_ago) => c.resolved_recent += 1,
            AlertState::Resolved | AlertState::Inactive => {}
        }
    }
    c
}

fn plugins(app: &App) -> PluginCounts {
    let mut c = PluginCounts::default();
    for v in super::plugins::plugins(app) {
        match v.state {
            dto::PluginState::Running => c.running += 1,
            dto::PluginState::Restarting => c.restarting += 1,
            dto::PluginState::Failed => c.failed += 1,
            dto::PluginState::Starting | dto::PluginState::Draining => {}
        }
    }
    c
}

/// What was told, and what can be seen from the organs.
fn notices(app: &App, now: TimestampMs) -> Vec<Notice> {
    let mut all: Vec<Notice> = app.notices.lock().values().cloned().collect();
    all.extend(storage::notices(app, now));
    for v in super::plugins::plugins(app).into_iter().filter(|v| !v.reason.is_empty()) {
        all.push(Notice {
            code: format!("plugin_{}", v.name),
            level: NoticeLevel::Warning,
            title: format!("Plugin {} has a problem", v.name),
            text: v.reason,
            help: None,
            since_ms: app.plugins.entry(&v.name).and_then(|e| e.refused_at).or(v.last_error_ms).unwrap_or(now),
        });
    }
    all
}

/// The newest points of the charts. A chart whose query fails has none: the page shows its own state then.
async fn points(app: &App, charts: &[dto::ChartSpec], now: TimestampMs) -> Vec<ChartPoints> {
    let asked = charts.iter().map(|c| async {
        let answer = app.queries.evaluate_here(&c.query, QueryTime::Instant(now)).await.ok()?;
        let QueryValue::Vector(points) = answer.value else { return None };
        let values = points.into_iter().map(|p| LabelledValue {
            labels: p.labels,
            value: match p.value {
                PointValue::Float(v) => dto::finite(v),
                PointValue::Histogram(_) => None,
            },
        });
        Some(ChartPoints { id: c.id.clone(), at_ms: now, values: values.collect() })
    });
    futures::future::join_all(asked).await.into_iter().flatten().collect()
}
