//! JSON schemas of the model's types, which know nothing of schemas themselves.
//!
//! Invariant: words are asked of `serde`, so the schema cannot say another one than the answer does.
//! Not here: the schemas of the DTOs: those are derived.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::iter::successors;

use belfry_model as model;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

/// By name.
pub(super) type Labels = BTreeMap<String, String>;

pub(super) enum Fingerprint {}

impl JsonSchema for Fingerprint {
    fn schema_name() -> Cow<'static, str> {
        "Fingerprint".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "pattern": "^[0-9a-f]{16}$", "description": "Identity of an alert: a stable hash of its labels."
        })
    }
}

pub(super) enum Severity {}

impl JsonSchema for Severity {
    fn schema_name() -> Cow<'static, str> {
        "Severity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        words("How bad.", model::Severity::ALL)
    }
}

pub(super) enum AlertState {}

impl JsonSchema for AlertState {
    fn schema_name() -> Cow<'static, str> {
        "AlertState".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        use model::AlertState::{Firing, Inactive, Pending, Resolved};
        // A walk, so that a new state does not compile before it has its place here.
        let all = successors(Some(Inactive), |state| match state {
            Inactive => Some(Pending),
            Pending => Some(Firing),
            Firing => Some(Resolved),
            Resolved => None,
        });
        words("Where an alert stands.", all)
    }
}

pub(super) enum MetricKind {}

impl JsonSchema for MetricKind {
    fn schema_name() -> Cow<'static, str> {
        "MetricKind".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        use model::MetricKind::{Counter, Gauge, GaugeHistogram, Histogram, Info, StateSet, Summary, Unknown};
        // A walk, as above.
        let all = successors(Some(Gauge), |kind| match kind {
            Gauge => Some(Counter),
            Counter => Some(Histogram),
            Histogram => Some(GaugeHistogram),
            GaugeHistogram => Some(Summary),
            Summary => Some(Info),
            Info => Some(StateSet),
            StateSet => Some(Unknown),
            Unknown => None,
        });
        words("What a metric's numbers mean (OpenMetrics).", all)
    }
}

fn words<T: Serialize>(description: &str, all: impl IntoIterator<Item = T>) -> Schema {
    let all: Vec<T> = all.into_iter().collect();
    json_schema!({"type": "string", "description": description, "enum": all})
}
