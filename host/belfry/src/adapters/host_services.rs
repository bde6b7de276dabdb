//! What plugins may ask of the host: series, state, reads.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use belfry_ingest::Ingest;
use belfry_model::{Labels, SeriesRef, TimeRange, TimestampMs};
use belfry_plugin::{AlertEpisode, KvStore, QueryPoints, QueryService, SeriesOpener};
use belfry_promql::{PointValue, QueryTime, QueryValue};
use belfry_state::State;

use crate::queries::Queries;

/// Opens series in ingest.
pub struct IngestSeries(pub Arc<Ingest>);

impl SeriesOpener for IngestSeries {
    fn open(&self, producer: &str, labels: &Labels) -> Result<SeriesRef, String> {
        self.0.open(producer, labels).map_err(|e| e.to_string())
    }
}

/// Keeps plugins' state in SQLite.
pub struct StateKv(pub Arc<State>);

#[async_trait]
impl KvStore for StateKv {
    async fn get(&self, plugin: &str, key: &str) -> Result<Option<Vec<u8>>, String> {
        self.0.kv_get(plugin, key).await.map_err(|e| e.to_string())
    }

    async fn put(&self, plugin: &str, key: &str, value: Option<Vec<u8>>, bytes_max: usize) -> Result<(), String> {
        self.0.kv_put(plugin, key, value, bytes_max).await.map_err(|e| e.to_string())
    }

    async fn keys(&self, plugin: &str, prefix: &str) -> Result<Vec<String>, String> {
        self.0.kv_keys(plugin, prefix).await.map_err(|e| e.to_string())
    }
}

/// Reads of series and alerts.
pub struct Reads {
    /// PromQL.
    pub queries: Arc<Queries>,
    /// Alerts.
    pub state: Arc<State>,
}

#[async_trait]
impl QueryService for Reads {
    async fn instant(&self, expression: &str, at: TimestampMs) -> Result<Vec<QueryPoints>, String> {
        self.ask(expression, QueryTime::Instant(at)).await
    }

    async fn range(
        &self,
        expression: &str,
        start: TimestampMs,
        end: TimestampMs,
        step: Duration,
    ) -> Result<Vec<QueryPoints>, String> {
        self.ask(expression, QueryTime::Range { start, end, step }).await
    }

    async fn alerts(&self, start: TimestampMs, end: TimestampMs) -> Result<Vec<AlertEpisode>, String> {
        let range = TimeRange::new(start, end).ok_or("the range is empty")?;
        let episodes = self.state.episodes(range).await.map_err(|e| e.to_string())?;
        Ok(episodes
            .into_iter()
            .map(|e| AlertEpisode {
                rule: e.rule,
                severity: e.severity,
                labels: e.labels,
                started: e.started,
                fired: e.fired,
                resolved: e.resolved,
            })
            .collect())
    }
}

impl Reads {
    async fn ask(&self, expression: &str, time: QueryTime) -> Result<Vec<QueryPoints>, String> {
        let answer = self.queries.evaluate(expression, time).await.map_err(|e| e.to_string())?;
        Ok(points(answer.value))
    }
}

/// Series of floats; histograms and strings have no place in the contract's `points`.
fn points(value: QueryValue) -> Vec<QueryPoints> {
    let float = |v: &PointValue| match v {
        PointValue::Float(f) => Some(*f),
        PointValue::Histogram(_) => None,
    };
    match value {
        QueryValue::Scalar(at, v) => vec![QueryPoints { labels: Labels::empty(), points: vec![(at, v)] }],
        QueryValue::String(..) => Vec::new(),
        QueryValue::Vector(all) => all
            .into_iter()
            .filter_map(|p| Some(QueryPoints { points: vec![(p.at, float(&p.value)?)], labels: p.labels }))
            .collect(),
        QueryValue::Matrix(rows) => rows
            .into_iter()
            .map(|r| QueryPoints {
                labels: r.labels,
                points: r.points.iter().filter_map(|(at, v)| Some((*at, float(v)?))).collect(),
            })
            .collect(),
    }
}
