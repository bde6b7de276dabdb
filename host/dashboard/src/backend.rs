//! What the dashboard asks of the program. Owned here, implemented by the wiring in `belfry`.
//!
//! Invariant: every answer is a snapshot and comes fast: nothing here waits for a plugin, except
//! [`Backend::reload_plugin`]; nothing here is called under a lock of the routes.
//! Not here: HTTP, who may call (the routes check tokens first), how an organ works.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use belfry_model::{Matcher, SeriesRead, TimeRange, TimestampMs};
use belfry_promql::workers::Workers;
use belfry_promql::{Answer, QueryTime, Usage};
use tokio::sync::broadcast;

use crate::dto::{
    Accepted, AlertEpisodeView, Alerts, ArchiveQuery, ArchivedReport, ChannelView, ChartKind, ChartSpec,
    CurrentMetrics, LiveEvent, MetricsQuery, Overview, PluginView, Readiness, ReportView, RuleView, SloView, Slos,
    Source, TimeSeries, TimeSeriesRequest,
};
use crate::prometheus_targets::ScrapePool;

/// Events that a slow client may fall behind: about ten seconds of all kinds. One that falls further is told so by
/// the channel, misses what was dropped, and is right again with the next event of each kind.
pub const LIVE_EVENTS_QUEUED_MAX: usize = 64;

/// Why the program did not do what was asked. The variants differ in the status that the routes answer.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum BackendError {
    /// There is no such thing: 404.
    #[error("there is no {what} `{name}`")]
    NotFound {
        /// `plugin`, `report`, `archived report`, …
        what: &'static str,
        /// As asked for.
        name: String,
    },
    /// The request is wrong: 400.
    #[error("{message}")]
    Invalid {
        /// What is wrong.
        message: String,
        /// How to mend it.
        help: Option<String>,
    },
    /// It cannot be done in this state (a report is being made already): 409.
    #[error("{message}")]
    Conflict {
        /// Why.
        message: String,
    },
    /// Trying again later may help (shutting down, a queue is full, the query was cancelled or too long): 503.
    #[error("{message}")]
    Unavailable {
        /// Why.
        message: String,
    },
    /// The request was right and was tried, but failed (a component was refused, a file is damaged): 500.
    #[error("{message}")]
    Failed {
        /// What happened.
        message: String,
        /// What to do about it.
        help: Option<String>,
    },
}

/// Why a PromQL query gave no answer. The variants are Prometheus' `errorType`s.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum QueryFailure {
    /// `bad_data`, 400: it does not parse or its parameters are wrong.
    #[error("{0}")]
    BadData(String),
    /// `execution`, 422: it cannot be evaluated, or passes a limit.
    #[error("{0}")]
    Execution(String),
    /// `timeout`, 503.
    #[error("{0}")]
    Timeout(String),
    /// `unavailable`, 503: what it reads is not there at the moment.
    #[error("{0}")]
    Unavailable(String),
    /// `canceled`, 503.
    #[error("the query was cancelled")]
    Cancelled,
    /// `internal`, 500.
    #[error("{0}")]
    Internal(String),
}

/// What a request may say about the evaluation of its query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueryOptions {
    /// How far back an instant selector looks; the default where absent.
    pub lookback: Option<Duration>,
    /// Are samples to be counted by step? Then no answer that was kept is taken.
    pub statistics: bool,
}

/// An answer and what it took.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryAnswer {
    /// The answer; it may be kept for the next query as well.
    pub answer: Arc<Answer>,
    /// What evaluating it took; nothing of what was not evaluated here.
    pub usage: Usage,
    /// Where its time went.
    pub timings: QueryTimings,
}

/// Where the time of a query went. What a result cache knew took none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueryTimings {
    /// Waiting for other queries.
    pub queued: Duration,
    /// Parsing, planning and finding the series.
    pub prepared: Duration,
    /// Reading and computing.
    pub evaluated: Duration,
    /// From the request to the answer.
    pub total: Duration,
}

/// Bytes of one document of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentBytes {
    /// `text/html`, `application/json` or `text/csv`.
    pub media_type: String,
    /// Its content.
    pub data: bytes::Bytes,
}

/// The program itself, for `/api/v1/status/…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Of Belfry.
    pub version: String,
    /// Of the machine.
    pub hostname: String,
    /// The address it listens at.
    pub listen: String,
    /// When the process began.
    pub started: TimestampMs,
    /// When the config of now was read.
    pub config_read: TimestampMs,
    /// Why a later one was refused.
    pub config_error: Option<String>,
    /// The config of now as YAML, secrets redacted.
    pub config: String,
    /// How long samples are kept: `15d`, `forever`.
    pub retention: String,
    /// Prometheus' names of what `[queries]` says, and that.
    pub query_flags: Vec<(&'static str, String)>,
    /// Open series.
    pub series: u64,
    /// Chunks in memory.
    pub head_chunks: u64,
    /// Some file is damaged.
    pub is_damaged: bool,
}

/// The program, as the dashboard sees it.
#[async_trait]
pub trait Backend: Send + Sync {
    /// The program's clock: what `now` means in a request.
    fn now(&self) -> TimestampMs;

    /// How things are, with the charts of the overview page (see [`overview_charts`]).
    async fn overview(&self) -> Overview;

    /// The newest value of every series that had one lately, by source.
    async fn metrics(&self, query: MetricsQuery) -> Result<CurrentMetrics, BackendError>;

    /// All sources in order of name.
    async fn sources(&self) -> Vec<Source>;

    /// Samples in buckets.
    async fn time_series(&self, request: TimeSeriesRequest) -> Result<TimeSeries, BackendError>;

    /// Pending, firing and lately resolved alerts.
    async fn alerts(&self) -> Alerts;

    /// Alerts of the past, newest first; at most `limit`.
    async fn alert_history(&self, limit: u32) -> Result<Vec<AlertEpisodeView>, BackendError>;

    /// All rules in the order of the config.
    async fn rules(&self) -> Vec<RuleView>;

    /// All rule groups: a copy of what they are now.
    fn rule_groups(&self) -> Vec<crate::rule_groups::RuleGroup>;

    /// Rule files that are refused, each with what becomes of its rules: one sentence a file.
    fn refused_rule_files(&self) -> Vec<String>;

    /// Service level objectives in the order of the config, without `detail`.
    async fn slos(&self) -> Result<Slos, BackendError>;

    /// One objective with its `detail`.
    async fn slo(&self, name: &str) -> Result<SloView, BackendError>;

    /// All channels in the order of the config.
    async fn channels(&self) -> Vec<ChannelView>;

    /// All plugins in order of name, without `detail`.
    async fn plugins(&self) -> Vec<PluginView>;

    /// One plugin with its `detail`.
    async fn plugin(&self, name: &str) -> Result<PluginView, BackendError>;

    /// Reads the plugin's component and config again and swaps it in; the old one goes on when the new one is refused.
    async fn reload_plugin(&self, name: &str) -> Result<Accepted, BackendError>;

    /// All reports in the order of the config.
    async fn reports(&self) -> Vec<ReportView>;

    /// The archive, newest first.
    async fn report_archive(&self, query: ArchiveQuery) -> Result<Vec<ArchivedReport>, BackendError>;

    /// One file of the archive.
    async fn report_document(&self, id: i64, file_name: &str) -> Result<DocumentBytes, BackendError>;

    /// Makes a report now. Answers when it is begun; an event `reports` tells when it is done.
    async fn run_report(&self, name: &str) -> Result<Accepted, BackendError>;

    /// Checks by dependency.
    async fn readiness(&self) -> Readiness;

    /// Belfry's own metrics in the OpenMetrics text format, `# EOF` included.
    fn own_metrics(&self) -> String;

    /// The directives that are logged by now.
    fn log_level(&self) -> String;

    /// Logs by these directives from now on.
    fn set_log_level(&self, directives: &str) -> Result<(), BackendError>;

    /// Reads the config again; the old one stays when the new one is refused, and the message has all its problems.
    async fn reload_config(&self) -> Result<Accepted, BackendError>;

    /// Evaluates PromQL on the program's CPU pool; dropping the future cancels it.
    async fn query(
        &self,
        expression: &str,
        time: QueryTime,
        options: QueryOptions,
    ) -> Result<QueryAnswer, QueryFailure>;

    /// Threads to spare, for the writing of large answers.
    fn workers(&self) -> Arc<dyn Workers>;

    /// For `/api/v1/series`, `labels`, `label/*/values` and `metadata`.
    fn reader(&self) -> Arc<dyn SeriesRead>;

    /// What lists of series and labels over `range` may lack because a part of the store cannot be read, as warnings: the
    /// reader's own answers to [`SeriesRead::series`] and its like cannot carry them.
    fn missing(&self, range: TimeRange) -> Vec<String>;

    /// Scraped jobs with their targets.
    fn scrape_pools(&self) -> Vec<ScrapePool>;

    /// The program itself.
    fn about(&self) -> About;

    /// Times of the oldest and the newest sample.
    async fn span(&self) -> Option<(TimestampMs, TimestampMs)>;

    /// Deletes the samples within `range` of the series that satisfy all `matchers`.
    async fn delete_series(&self, matchers: Vec<Matcher>, range: TimeRange) -> Result<(), BackendError>;

    /// Makes a copy of all data below the data folder; the answer is its name there.
    async fn snapshot(&self) -> Result<String, BackendError>;

    /// Makes a copy of all data in a folder that is absent or empty.
    async fn backup(&self, folder: PathBuf) -> Result<Accepted, BackendError>;

    /// Live events from now on; a channel of [`LIVE_EVENTS_QUEUED_MAX`].
    fn subscribe(&self) -> broadcast::Receiver<LiveEvent>;

    /// Writes to the journal that `user` did `action` on `subject`.
    async fn journal_action(&self, user: &str, action: &str, subject: &str);
}

/// The charts of the overview page over the built-in collector's and Belfry's own metrics. The backend puts them into
/// [`Overview::charts`] and evaluates each `query` for [`Overview::points`].
pub fn overview_charts() -> Vec<ChartSpec> {
    let chart = |id: &str, title: &str, query: &str, unit: &str, kind, legend: &str| ChartSpec {
        id: id.into(),
        title: title.into(),
        query: query.into(),
        unit: unit.into(),
        kind,
        legend: legend.into(),
        min: (kind != ChartKind::Mirrored).then_some(0.0),
        max: (unit == "percent").then_some(100.0),
    };
    let line = ChartKind::Line;
    vec![
        // The collector's sum over all cores has the core `total`: the UI calls it so and draws it thicker.
        chart("cpu", "CPU", "system_cpu_usage_percent", "percent", line, "core {{core}}"),
        chart(
            "memory",
            "Memory",
            r#"system_memory_usage_bytes{type=~"used|cached|available"}"#,
            "bytes",
            line,
            "{{type}}",
        ),
        chart(
            "network",
            "Network",
            r#"sum by (direction) (rate(system_network_traffic_bytes_total{interface!="lo"}[30s]))"#,
            "bytes_per_second",
            line,
            "{{direction}}",
        ),
        chart(
            "disk_io",
            "Disk traffic",
            "sum by (direction) (rate(system_disk_io_bytes_total[30s]))",
            "bytes_per_second",
            line,
            "{{direction}}",
        ),
        chart("disk", "Disk space used", "max by (path) (system_disk_usage_percent)", "percent", line, "{{path}}"),
        chart(
            "ingest",
            "Samples ingested",
            "sum(rate(belfry_ingest_samples_total[30s]))",
            "per_second",
            line,
            "samples",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charts_have_ids_of_their_own_and_say_what_they_show() {
        let charts = overview_charts();
        let ids: std::collections::BTreeSet<_> = charts.iter().map(|c| c.id.as_str()).collect();
        assert_eq!(ids.len(), charts.len());
        assert!(charts.iter().all(|c| !c.title.is_empty() && !c.query.is_empty() && !c.legend.is_empty()));
    }
}
