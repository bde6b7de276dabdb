//! The dashboard's `Backend`, answered by the views.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use belfry_dashboard::backend::{About, Backend, BackendError, DocumentBytes, QueryAnswer, QueryFailure, QueryOptions};
use belfry_dashboard::dto::{
    Accepted, AlertEpisodeView, Alerts, ArchiveQuery, ArchivedReport, ChannelView, CheckStatus, CurrentMetrics,
    LiveEvent, MetricsQuery, Overview, PluginView, Readiness, ReadinessCheck, ReportView, RuleView, SloView, Slos,
    Source, TimeSeries, TimeSeriesRequest,
};
use belfry_dashboard::prometheus_targets::ScrapePool;
use belfry_model::read::ReadError;
use belfry_model::{JournalEntry, Matcher, SeriesRead, Severity, TimeRange, TimestampMs};
use belfry_promql::workers::Workers;
use belfry_promql::{QueryError, QueryTime};
use belfry_reports::ReportsInput;
use belfry_store::Health;
use tokio::sync::broadcast;

use super::{alerts, metrics, overview, plugins, prometheus, reports, scrape, series, slos, sources, storage};
use crate::app::App;
use crate::changes::Changed;
use crate::driver::{clock_watch, lock_watch, series_watch};
use crate::queries::QueryFault;
use crate::reload;

/// The program behind the routes.
pub struct Dashboard(pub Arc<App>);

#[async_trait]
impl Backend for Dashboard {
    fn now(&self) -> TimestampMs {
        self.0.clock.now()
    }

    async fn overview(&self) -> Overview {
        overview::overview(&self.0, true).await
    }

    async fn metrics(&self, query: MetricsQuery) -> Result<CurrentMetrics, BackendError> {
        series::current(&self.0, query).await
    }

    async fn sources(&self) -> Vec<Source> {
        sources::sources(&self.0)
    }

    async fn time_series(&self, request: TimeSeriesRequest) -> Result<TimeSeries, BackendError> {
        series::bucketed(&self.0, request).await
    }

    async fn alerts(&self) -> Alerts {
        alerts::alerts(&self.0)
    }

    async fn alert_history(&self, limit: u32) -> Result<Vec<AlertEpisodeView>, BackendError> {
        let mut all = self.0.state.episodes(TimeRange::ALL).await.map_err(reports::failed)?;
        all.sort_by_key(|e| std::cmp::Reverse(e.started));
        Ok(all
            .into_iter()
            .take(limit as usize)
            .map(|e| AlertEpisodeView {
                severity: Severity::ALL.into_iter().find(|s| s.as_str() == e.severity).unwrap_or_default(),
                rule: e.rule,
                labels: e.labels,
                started_ms: e.started,
                fired_ms: e.fired,
                resolved_ms: e.resolved,
            })
            .collect())
    }

    async fn rules(&self) -> Vec<RuleView> {
        alerts::rules(&self.0)
    }

    fn rule_groups(&self) -> Vec<belfry_dashboard::rule_groups::RuleGroup> {
        super::rules::groups(&self.0)
    }

    fn refused_rule_files(&self) -> Vec<String> {
        super::rules::refused(&self.0)
    }

    async fn slos(&self) -> Result<Slos, BackendError> {
        slos::slos(&self.0).await
    }

    async fn slo(&self, name: &str) -> Result<SloView, BackendError> {
        slos::slo(&self.0, name).await
    }

    async fn channels(&self) -> Vec<ChannelView> {
        alerts::channels(&self.0)
    }

    async fn plugins(&self) -> Vec<PluginView> {
        plugins::plugins(&self.0)
    }

    async fn plugin(&self, name: &str) -> Result<PluginView, BackendError> {
        plugins::plugin(&self.0, name).await.ok_or_else(|| not_found("plugin", name))
    }

    async fn reload_plugin(&self, name: &str) -> Result<Accepted, BackendError> {
        match self.0.plugins.reload(name).await {
            None => Err(not_found("plugin", name)),
            Some(Ok(())) => Ok(Accepted { message: format!("{name} was read again and runs") }),
            Some(Err(e)) => Err(BackendError::Failed { message: e.reason, help: Some(e.help) }),
        }
    }

    async fn reports(&self) -> Vec<ReportView> {
        reports::reports(&self.0)
    }

    async fn report_archive(&self, query: ArchiveQuery) -> Result<Vec<ArchivedReport>, BackendError> {
        reports::archive(&self.0, query).await
    }

    async fn report_document(&self, id: i64, file_name: &str) -> Result<DocumentBytes, BackendError> {
        reports::document(&self.0, id, file_name).await
    }

    async fn run_report(&self, name: &str) -> Result<Accepted, BackendError> {
        if !self.0.loaded.load().config.reports.iter().any(|r| r.name == name) {
            return Err(not_found("report", name));
        }
        if self.0.making.lock().get(name).is_some_and(|m| m.running) {
            return Err(BackendError::Conflict { message: format!("report {name} is being made already") });
        }
        let input = ReportsInput::RunNow { name: name.to_owned() };
        if !self.0.inputs.reports.send(input).await {
            return Err(BackendError::Unavailable { message: "Belfry is shutting down".to_owned() });
        }
        Ok(Accepted { message: format!("report {name} is being made; it will be in the archive") })
    }

    async fn readiness(&self) -> Readiness {
        readiness(&self.0).await
    }

    fn own_metrics(&self) -> String {
        metrics::own(&self.0).text()
    }

    fn log_level(&self) -> String {
        self.0.logs.directives()
    }

    fn set_log_level(&self, directives: &str) -> Result<(), BackendError> {
        self.0.logs.set(directives).map_err(|e| BackendError::Invalid {
            message: format!("{e:#}"),
            help: Some("trace, debug, info, warn, error, or info,belfry_store=debug".to_owned()),
        })
    }

    async fn reload_config(&self) -> Result<Accepted, BackendError> {
        match reload::reload(&self.0).await {
            Ok(waits) => {
                let mut message = "the config was read again".to_owned();
                if !waits.is_empty() {
                    message = format!("{message}; a part of it waits for a restart: {}", waits.join(", "));
                }
                match self.0.rule_files.refused() {
                    refused if refused.is_empty() => Ok(Accepted { message }),
                    refused => Err(BackendError::Failed {
                        message: format!(
                            "{message}, but rule files are refused:\n{}",
                            refused.into_iter().map(|r| r.problems).collect::<Vec<_>>().join("\n")
                        ),
                        help: Some("mend them; their last good versions go on".to_owned()),
                    }),
                }
            }
            Err(text) => Err(BackendError::Invalid { message: text, help: Some("the old config goes on".to_owned()) }),
        }
    }

    async fn query(
        &self,
        expression: &str,
        time: QueryTime,
        options: QueryOptions,
    ) -> Result<QueryAnswer, QueryFailure> {
        self.0.queries.ask(expression, time, options).await.map_err(|fault| match fault {
            QueryFault::Busy(_) | QueryFault::TimedOut(_) => QueryFailure::Timeout(fault.to_string()),
            QueryFault::Broken(_) => QueryFailure::Internal(fault.to_string()),
            QueryFault::Query(error) => query_failure(&error),
        })
    }

    fn workers(&self) -> Arc<dyn Workers> {
        self.0.queries.helpers()
    }

    fn reader(&self) -> Arc<dyn SeriesRead> {
        self.0.store_reader()
    }

    fn missing(&self, range: TimeRange) -> Vec<String> {
        let lacking = self.0.engine.as_ref().and_then(|e| e.lacking(range.start()));
        self.0.store.missing(range).into_iter().chain(lacking).collect()
    }

    fn unasked(&self) -> Option<String> {
        self.0.engine.as_ref()?.unasked()
    }

    fn scrape_pools(&self) -> Vec<ScrapePool> {
        scrape::pools(&self.0)
    }

    fn about(&self) -> About {
        prometheus::about(&self.0)
    }

    async fn span(&self) -> Option<(TimestampMs, TimestampMs)> {
        storage::span(self.0.store.clone()).await
    }

    async fn delete_series(&self, matchers: Vec<Matcher>, range: TimeRange) -> Result<(), BackendError> {
        prometheus::delete_series(&self.0, matchers, range).await
    }

    async fn snapshot(&self) -> Result<String, BackendError> {
        prometheus::snapshot(&self.0).await
    }

    async fn backup(&self, folder: PathBuf) -> Result<Accepted, BackendError> {
        prometheus::backup(&self.0, folder).await
    }

    fn subscribe(&self) -> broadcast::Receiver<LiveEvent> {
        let live = self.0.live.subscribe();
        // A second picture right behind the first: two points make a line.
        self.0.changes.tell(Changed::Overview);
        self.0.changes.wake();
        live
    }

    async fn journal_action(&self, user: &str, action: &str, subject: &str) {
        let entry =
            JournalEntry::UserAction { user: user.to_owned(), action: action.to_owned(), subject: subject.to_owned() };
        if let Err(error) = self.0.state.journal_append(self.0.clock.now(), vec![entry]).await {
            tracing::error!(%error, "the journal was not written");
        }
    }
}

fn query_failure(error: &QueryError) -> QueryFailure {
    match error {
        QueryError::Parse(_) | QueryError::BadData(_) => QueryFailure::BadData(error.to_string()),
        QueryError::Cancelled => QueryFailure::Cancelled,
        // The storage engine is away: trying again helps, another query does not.
        QueryError::Read(ReadError::Unavailable(_)) => QueryFailure::Unavailable(error.to_string()),
        _ => QueryFailure::Execution(error.to_string()),
    }
}

fn not_found(what: &'static str, name: &str) -> BackendError {
    BackendError::NotFound { what, name: name.to_owned() }
}

/// A check that takes longer counts as failed: readiness must answer.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

async fn readiness(app: &App) -> Readiness {
    let mut checks = Vec::new();
    let (status, message) = match app.store.health() {
        Health::Ok => (CheckStatus::Ok, "samples are written".to_owned()),
        Health::Degraded(why) => (CheckStatus::Degraded, format!("samples are written, but {why}")),
        Health::DiskFull(why) => (CheckStatus::Failed, format!("the disk is full: {why}")),
        Health::Failing(why) => (CheckStatus::Failed, why),
    };
    // While samples are taken Belfry is ready.
    checks.push(check("storage", status, status != CheckStatus::Degraded, message, 0.0));
    if let Some(why) = app.store.damage() {
        // The rest is read and written: not ready would take that away too.
        let message = format!("some of the data cannot be read: {why}");
        checks.push(check("data", CheckStatus::Degraded, false, message, 0.0));
    }
    if let Some(n) = app.notices.lock().get(lock_watch::LOST) {
        // Taken away from two that write to one folder, readiness would help neither.
        let help = n.help.as_deref().unwrap_or_default();
        let message = format!("{}: {}; {help}", n.title, n.text);
        checks.push(check("lock", CheckStatus::Degraded, false, message, 0.0));
    }
    if let Some(engine) = &app.engine {
        // Samples wait on disk: an engine that is away must not take Belfry away, too.
        checks.push(match crate::engine::view::trouble(engine) {
            None => check("engine", CheckStatus::Ok, false, "it answers".to_owned(), 0.0),
            Some(why) => check("engine", CheckStatus::Degraded, false, why, 0.0),
        });
    }
    let start = app.clock.monotonic();
    let alive = tokio::time::timeout(CHECK_TIMEOUT, app.state.ping()).await;
    let took = app.clock.monotonic().saturating_sub(start).as_secs_f64();
    let (status, message) = match alive {
        Ok(Ok(())) => match (app.state.damage(), app.state.salvaged()) {
            (None, None) => (CheckStatus::Ok, "alerts and journal are kept".to_owned()),
            (None, Some(salvaged)) => (CheckStatus::Degraded, format!("alerts and journal are kept, but {salvaged}")),
            (Some(why), _) => (CheckStatus::Degraded, format!("the last write succeeded, but {why}")),
        },
        Ok(Err(error)) => (CheckStatus::Failed, error.to_string()),
        Err(_) => (CheckStatus::Failed, format!("no answer within {CHECK_TIMEOUT:?}")),
    };
    checks.push(check("state", status, status != CheckStatus::Degraded, message, took));
    let jumped = app.notices.lock().get(clock_watch::JUMPED).map(|n| format!("{} {}", n.title, n.text));
    checks.push(match jumped {
        None => check("clock", CheckStatus::Ok, false, "it goes on evenly".to_owned(), 0.0),
        Some(why) => check("clock", CheckStatus::Degraded, false, why, 0.0),
    });
    // What is open goes on: not ready would take that away too.
    checks.push(match app.notices.lock().get(series_watch::SHED) {
        None => check("series", CheckStatus::Ok, false, "new ones are taken".to_owned(), 0.0),
        Some(n) => check("series", CheckStatus::Degraded, false, format!("{}. {}", n.title, n.text), 0.0),
    });
    let bad: Vec<String> = plugins::plugins(app).into_iter().filter(|p| !p.reason.is_empty()).map(|p| p.name).collect();
    checks.push(match bad.is_empty() {
        true => check("plugins", CheckStatus::Ok, false, "all run".to_owned(), 0.0),
        false => check("plugins", CheckStatus::Degraded, false, format!("with a problem: {}", bad.join(", ")), 0.0),
    });
    let failing: Vec<String> =
        alerts::rules(app).into_iter().filter(|r| r.last_error.is_some()).map(|r| r.name).collect();
    checks.push(match failing.is_empty() {
        true => check("rules", CheckStatus::Ok, false, "all are evaluated".to_owned(), 0.0),
        false => check("rules", CheckStatus::Degraded, false, format!("failing: {}", failing.join(", ")), 0.0),
    });
    let told = app.organs.notify.lock().snapshot();
    let silent: Vec<String> =
        told.channels.into_iter().filter(|c| c.failures_in_a_row > 0).map(|c| c.channel).collect();
    checks.push(match silent.is_empty() {
        true => check("notify", CheckStatus::Ok, false, "channels accept".to_owned(), 0.0),
        false => check("notify", CheckStatus::Degraded, false, format!("failing: {}", silent.join(", ")), 0.0),
    });
    Readiness { ready: checks.iter().all(|c| !c.required || c.status == CheckStatus::Ok), checks }
}

fn check(name: &str, status: CheckStatus, required: bool, message: String, seconds: f64) -> ReadinessCheck {
    ReadinessCheck { name: name.to_owned(), status, required, message, duration_seconds: seconds }
}
