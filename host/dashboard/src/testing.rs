//! A program for tests of the routes: series in memory, and nothing behind the rest.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use belfry_model::read::{Newest, ReadError, SelectHints, SelectLimits, SeriesSet};
use belfry_model::{
    Exemplar, Histogram, Labels, Matcher, MetricMetadata, Sample, SeriesRead, TimeRange, TimestampMs, Value,
};
use belfry_promql::workers::{Alone, Workers};
use belfry_promql::{Answer, QueryTime, QueryValue, Usage};
use belfry_testkit::MemorySeries;
use tokio::sync::{broadcast, watch};
use tower::ServiceExt as _;

use crate::backend::*;
use crate::dto::*;
use crate::prometheus_targets::ScrapePool;
use crate::{AccessPolicy, router};

/// What a test says of the program.
#[derive(Clone)]
pub(crate) struct Fake {
    now: TimestampMs,
    series: MemorySeries,
    pub metadata: Vec<MetricMetadata>,
    pub pools: Vec<ScrapePool>,
    pub refused_rule_files: Vec<String>,
    /// Warnings, and when there is something missing.
    pub missing: Vec<(TimeRange, String)>,
    /// What is said of an engine that cannot be asked.
    pub unasked: Option<String>,
    /// Can its reader find newest samples the short way?
    pub knows_newest: bool,
    /// How often series were deleted.
    pub deletions: Arc<Mutex<usize>>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub status: u16,
    pub content_type: String,
    pub headers: axum::http::HeaderMap,
    /// Empty where it is no text.
    pub body: String,
    pub bytes: axum::body::Bytes,
}

impl Reply {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

impl Fake {
    /// The header of who may manage.
    pub const TOKEN: (&'static str, &'static str) = ("authorization", "Bearer s3cret");
    /// The header of a form.
    pub const FORM: (&'static str, &'static str) = ("content-type", "application/x-www-form-urlencoded");

    pub fn at(now: TimestampMs) -> Self {
        Self {
            now,
            series: MemorySeries::new(),
            metadata: Vec::new(),
            pools: Vec::new(),
            refused_rule_files: Vec::new(),
            missing: Vec::new(),
            unasked: None,
            knows_newest: true,
            deletions: Arc::default(),
        }
    }

    pub fn float(&mut self, labels: &[(&'static str, &'static str)], at: i64, value: f64) {
        self.push(labels, at, Value::Float(value));
    }

    pub fn histogram(&mut self, labels: &[(&'static str, &'static str)], at: i64) {
        self.push(labels, at, Value::Histogram(Arc::new(Histogram { count: 1.0, ..Histogram::default() })));
    }

    pub fn push(&mut self, labels: &[(&'static str, &'static str)], at: i64, value: Value) {
        let labels = Labels::from_pairs(labels.iter().copied());
        self.series.push(&labels, Sample { at: TimestampMs(at), value, start: None });
    }

    /// All routes, as they are served.
    pub fn routes(&self) -> Router {
        let policy = AccessPolicy { token: "s3cret".into(), ..AccessPolicy::default() };
        let (_closing, closes) = watch::channel(false);
        router(Arc::new(self.clone()), policy, closes, Router::new())
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, &[], "").await
    }

    pub async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Reply {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.routes().oneshot(request.body(body.into()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 1 << 24).await.unwrap();
        Reply {
            status: parts.status.as_u16(),
            content_type: parts.headers.get("content-type").map_or(String::new(), |v| v.to_str().unwrap().to_owned()),
            headers: parts.headers,
            body: String::from_utf8(bytes.to_vec()).unwrap_or_default(),
            bytes,
        }
    }
}

fn nobody_asks() -> ! {
    panic!("no test asks for this")
}

#[async_trait]
impl SeriesRead for Fake {
    async fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        hints: &SelectHints,
        limits: SelectLimits,
    ) -> Result<SeriesSet, ReadError> {
        self.series.select(matchers, range, hints, limits).await
    }

    async fn newest(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        limits: SelectLimits,
    ) -> Result<Option<Newest>, ReadError> {
        if self.knows_newest { self.series.newest(matchers, range, limits).await } else { Ok(None) }
    }

    async fn series(&self, matchers: &[Matcher], range: TimeRange, limit: usize) -> Result<Vec<Labels>, ReadError> {
        self.series.series(matchers, range, limit).await
    }

    async fn label_names(&self, matchers: &[Matcher], range: TimeRange, n: usize) -> Result<Vec<String>, ReadError> {
        self.series.label_names(matchers, range, n).await
    }

    async fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<String>, ReadError> {
        self.series.label_values(name, matchers, range, limit).await
    }

    async fn exemplars(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, ReadError> {
        self.series.exemplars(matchers, range).await
    }

    async fn metadata(&self, metric: Option<&str>) -> Result<Vec<MetricMetadata>, ReadError> {
        Ok(self.metadata.iter().filter(|m| metric.is_none_or(|name| name == m.name)).cloned().collect())
    }
}

#[async_trait]
impl Backend for Fake {
    fn now(&self) -> TimestampMs {
        self.now
    }

    async fn overview(&self) -> Overview {
        nobody_asks()
    }

    async fn metrics(&self, _: MetricsQuery) -> Result<CurrentMetrics, BackendError> {
        nobody_asks()
    }

    async fn sources(&self) -> Vec<Source> {
        nobody_asks()
    }

    async fn time_series(&self, _: TimeSeriesRequest) -> Result<TimeSeries, BackendError> {
        nobody_asks()
    }

    async fn alerts(&self) -> Alerts {
        nobody_asks()
    }

    async fn alert_history(&self, _: u32) -> Result<Vec<AlertEpisodeView>, BackendError> {
        nobody_asks()
    }

    async fn rules(&self) -> Vec<RuleView> {
        nobody_asks()
    }

    fn rule_groups(&self) -> Vec<crate::rule_groups::RuleGroup> {
        Vec::new()
    }

    fn refused_rule_files(&self) -> Vec<String> {
        self.refused_rule_files.clone()
    }

    async fn slos(&self) -> Result<Slos, BackendError> {
        nobody_asks()
    }

    async fn slo(&self, _: &str) -> Result<SloView, BackendError> {
        nobody_asks()
    }

    async fn channels(&self) -> Vec<ChannelView> {
        nobody_asks()
    }

    async fn plugins(&self) -> Vec<PluginView> {
        nobody_asks()
    }

    async fn plugin(&self, _: &str) -> Result<PluginView, BackendError> {
        nobody_asks()
    }

    async fn reload_plugin(&self, _: &str) -> Result<Accepted, BackendError> {
        nobody_asks()
    }

    async fn reports(&self) -> Vec<ReportView> {
        nobody_asks()
    }

    async fn report_archive(&self, _: ArchiveQuery) -> Result<Vec<ArchivedReport>, BackendError> {
        nobody_asks()
    }

    async fn report_document(&self, _: i64, _: &str) -> Result<DocumentBytes, BackendError> {
        nobody_asks()
    }

    async fn run_report(&self, _: &str) -> Result<Accepted, BackendError> {
        nobody_asks()
    }

    async fn readiness(&self) -> Readiness {
        nobody_asks()
    }

    fn own_metrics(&self) -> String {
        nobody_asks()
    }

    fn log_level(&self) -> String {
        nobody_asks()
    }

    fn set_log_level(&self, _: &str) -> Result<(), BackendError> {
        nobody_asks()
    }

    async fn reload_config(&self) -> Result<Accepted, BackendError> {
        nobody_asks()
    }

    /// Answers with the expression itself.
    async fn query(&self, text: &str, _: QueryTime, _: QueryOptions) -> Result<QueryAnswer, QueryFailure> {
        let value = QueryValue::String(self.now, text.to_owned());
        let answer = Answer { value, warnings: Vec::new(), infos: Vec::new(), samples_read: 0, points_peak: 0 };
        Ok(QueryAnswer { answer: Arc::new(answer), usage: Usage::default(), timings: QueryTimings::default() })
    }

    fn workers(&self) -> Arc<dyn Workers> {
        Arc::new(Alone)
    }

    fn reader(&self) -> Arc<dyn SeriesRead> {
        Arc::new(self.clone())
    }

    fn missing(&self, range: TimeRange) -> Vec<String> {
        self.missing.iter().filter(|(lost, _)| lost.overlaps(range)).map(|(_, text)| text.clone()).collect()
    }

    fn unasked(&self) -> Option<String> {
        self.unasked.clone()
    }

    fn scrape_pools(&self) -> Vec<ScrapePool> {
        self.pools.clone()
    }

    fn about(&self) -> About {
        About {
            version: String::new(),
            hostname: String::new(),
            listen: String::new(),
            started: self.now,
            config_read: self.now,
            config_error: None,
            config: String::new(),
            retention: String::new(),
            query_flags: Vec::new(),
            series: 0,
            head_chunks: 0,
            is_damaged: false,
        }
    }

    async fn span(&self) -> Option<(TimestampMs, TimestampMs)> {
        nobody_asks()
    }

    async fn delete_series(&self, _: Vec<Matcher>, _: TimeRange) -> Result<(), BackendError> {
        *self.deletions.lock().unwrap() += 1;
        Ok(())
    }

    async fn snapshot(&self) -> Result<String, BackendError> {
        Ok("20231114T221320Z".to_owned())
    }

    async fn backup(&self, _: PathBuf) -> Result<Accepted, BackendError> {
        nobody_asks()
    }

    fn subscribe(&self) -> broadcast::Receiver<LiveEvent> {
        nobody_asks()
    }

    async fn journal_action(&self, _: &str, _: &str, _: &str) {}
}
