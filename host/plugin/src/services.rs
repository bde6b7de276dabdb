//! What the host gives to all plugins, as traits that adapters implement.
//!
//! Not here: who implements them, which plugin may use what (grants are checked in `capabilities/`).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use belfry_model::{Labels, SeriesRef, TimestampMs};

/// Opens series for a plugin (`ingest` behind an adapter): applies names, host labels and the total limit of series.
pub trait SeriesOpener: Send + Sync {
    /// The reference of a series, or why there is none. `producer` is the plugin's name.
    fn open(&self, producer: &str, labels: &Labels) -> Result<SeriesRef, String>;
}

/// Keeps plugins' own small state.
#[async_trait]
pub trait KvStore: Send + Sync {
    /// The value of `key`.
    async fn get(&self, plugin: &str, key: &str) -> Result<Option<Vec<u8>>, String>;
    /// Sets or (with `None`) deletes it; refuses when the plugin would keep more than `bytes_max`.
    async fn put(&self, plugin: &str, key: &str, value: Option<Vec<u8>>, bytes_max: usize) -> Result<(), String>;
    /// Keys with `prefix`, in order.
    async fn keys(&self, plugin: &str, prefix: &str) -> Result<Vec<String>, String>;
}

/// Points of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryPoints {
    /// Its labels.
    pub labels: Labels,
    /// Times and values.
    pub points: Vec<(TimestampMs, f64)>,
}

/// One alert's life from its start to its end.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertEpisode {
    /// Name of the rule.
    pub rule: String,
    /// How bad.
    pub severity: String,
    /// Its labels.
    pub labels: Labels,
    /// When its condition began to hold.
    pub started: TimestampMs,
    /// When it fired.
    pub fired: Option<TimestampMs>,
    /// When it was resolved.
    pub resolved: Option<TimestampMs>,
}

/// Answers plugins' reads of what Belfry knows.
#[async_trait]
pub trait QueryService: Send + Sync {
    /// PromQL at an instant.
    async fn instant(&self, expression: &str, at: TimestampMs) -> Result<Vec<QueryPoints>, String>;
    /// PromQL over a range.
    async fn range(
        &self,
        expression: &str,
        start: TimestampMs,
        end: TimestampMs,
        step: Duration,
    ) -> Result<Vec<QueryPoints>, String>;
    /// Alerts that were active in the range.
    async fn alerts(&self, start: TimestampMs, end: TimestampMs) -> Result<Vec<AlertEpisode>, String>;
}

/// What the host gives to all plugins.
#[derive(Clone)]
pub struct HostServices {
    /// Time.
    pub clock: Arc<dyn belfry_model::Clock>,
    /// Series.
    pub series: Arc<dyn SeriesOpener>,
    /// State.
    pub kv: Arc<dyn KvStore>,
    /// Reads.
    pub query: Arc<dyn QueryService>,
}
