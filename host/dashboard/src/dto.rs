//! The JSON that the dashboard's API speaks: the contract between the program's wiring, the routes and the web UI.
//!
//! Invariant: every number's unit stands in its name or its doc (`_ms` is milliseconds since the epoch for instants,
//! `_seconds` is a length of time, `_bytes`, `_percent` is 0 to 100, `_ratio` is 0 to 1); numbers that are not finite are
//! `null`. Fields are added, never renamed: the UI ignores what it does not know.
//! Not here: how any of it is found out (see [`crate::backend`]), routes, Prometheus' own JSON.

mod alerts;
mod overview;
mod plugins;
mod reports;
mod schema;
mod series;
mod slos;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use alerts::*;
pub use overview::*;
pub use plugins::*;
pub use reports::*;
pub use series::*;
pub use slos::*;

/// How a dependency is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckStatus {
    /// It works.
    Ok,
    /// It works in part; Belfry is still ready.
    Degraded,
    /// It does not work.
    #[default]
    Failed,
}

/// `GET /ready`: 200 when `ready`, else 503.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Readiness {
    /// May traffic come?
    pub ready: bool,
    /// By dependency: `storage`, `state`, `ingest`, `rules`, `notify`, `plugins`, `reports`, …
    pub checks: Vec<ReadinessCheck>,
}

/// One dependency.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct ReadinessCheck {
    /// Its name.
    pub name: String,
    /// How it is.
    pub status: CheckStatus,
    /// Does Belfry need it to be ready?
    pub required: bool,
    /// What it found, for people.
    pub message: String,
    /// How long the check took.
    pub duration_seconds: f64,
}

/// Body and answer of `PUT /api/admin/log-level`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogLevel {
    /// `trace`, `debug`, `info`, `warn`, `error`, or directives (`info,belfry_store=debug`).
    pub level: String,
}

/// Answer of an action (`POST`): it was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Accepted {
    /// What happens now, for people.
    pub message: String,
}

/// Body of every answer that is no success (Prometheus' routes have their own).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ErrorBody {
    /// Stable: `not_found`, `invalid`, `unauthorized`, `forbidden`, `conflict`, `unavailable`, `internal`.
    pub error: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// Which part of the picture an event brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// [`Overview`]: whenever a collection brought new samples, at most once a second and at least every five.
    Overview,
    /// All [`Source`]s: whenever the health or the counters of one changed; at most once a second.
    Sources,
    /// [`Alerts`]: whenever one changed its state or value; at most once a second.
    Alerts,
    /// All [`PluginView`]s: whenever the state of one changed, and every five seconds for the counters.
    Plugins,
    /// All [`ReportView`]s: whenever one was made, failed or is due at another time.
    Reports,
}

impl EventKind {
    /// The SSE field `event`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Overview => "overview",
            Self::Sources => "sources",
            Self::Alerts => "alerts",
            Self::Plugins => "plugins",
            Self::Reports => "reports",
        }
    }
}

/// What `GET /api/events` sends. Each is a whole picture of its kind (never a difference), so that a client that missed
/// some is right again with the next one; the routes send one of each kind on connecting. Written once for all clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveEvent {
    /// The SSE field `event`.
    pub kind: EventKind,
    /// The SSE field `data`: the JSON that the route of that kind answers, on one line.
    pub json: Arc<str>,
}

impl LiveEvent {
    /// How things are.
    pub fn overview(overview: &Overview) -> Self {
        Self::of(EventKind::Overview, overview)
    }

    /// All sources.
    pub fn sources(sources: &[Source]) -> Self {
        Self::of(EventKind::Sources, sources)
    }

    /// The alerts.
    pub fn alerts(alerts: &Alerts) -> Self {
        Self::of(EventKind::Alerts, alerts)
    }

    /// All plugins.
    pub fn plugins(plugins: &[PluginView]) -> Self {
        Self::of(EventKind::Plugins, plugins)
    }

    /// All reports.
    pub fn reports(reports: &[ReportView]) -> Self {
        Self::of(EventKind::Reports, reports)
    }

    fn of<T: Serialize + ?Sized>(kind: EventKind, value: &T) -> Self {
        // These types have string keys and no foreign `Serialize`: writing them cannot fail.
        Self { kind, json: serde_json::to_string(value).unwrap_or_else(|_| "null".into()).into() }
    }
}

/// `Some` when it is a number that JSON can write.
pub fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_carries_the_json_of_its_route() {
        let source = Source { name: "host".into(), health: Health::Degraded, ..Source::default() };
        let event = LiveEvent::sources(std::slice::from_ref(&source));
        assert_eq!(event.kind.as_str(), "sources");
        let sent: serde_json::Value = serde_json::from_str(&event.json).unwrap();
        assert_eq!(sent, serde_json::to_value([source]).unwrap());
        assert_eq!(sent[0]["health"], "degraded");
    }

    #[test]
    fn what_is_not_finite_is_null() {
        assert_eq!(finite(f64::NAN), None);
        assert_eq!(finite(f64::NEG_INFINITY), None);
        assert_eq!(finite(-0.5), Some(-0.5));
    }
}
