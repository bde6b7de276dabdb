//! Alerts as rules emit them and notify routes them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::labels::Labels;
use crate::time::TimestampMs;

/// How bad.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Look at it today.
    #[default]
    Warning,
    /// Look at it now.
    Error,
    /// Wake somebody.
    Critical,
}

impl Severity {
    /// In order of badness.
    pub const ALL: [Self; 4] = [Self::Info, Self::Warning, Self::Error, Self::Critical];

    /// As in the config and in the `severity` label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }
}

/// Where an alert stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// The condition does not hold.
    Inactive,
    /// It holds, but not yet long enough.
    Pending,
    /// It has held long enough.
    Firing,
    /// It fired and does not hold any more.
    Resolved,
}

impl AlertState {
    /// As in the APIs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

/// Identity of an alert: a stable hash of its labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub u64);

impl Fingerprint {
    /// Of a label set.
    pub fn of(labels: &Labels) -> Self {
        Self(labels.stable_hash())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl std::str::FromStr for Fingerprint {
    type Err = std::num::ParseIntError;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(s, 16).map(Self)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// One alert: a rule and a label set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Hash of `labels`.
    pub fingerprint: Fingerprint,
    /// Name of the rule.
    pub rule: String,
    /// How bad.
    pub severity: Severity,
    /// `alertname`, `severity`, the series' labels and the rule's.
    pub labels: Labels,
    /// For people: `summary`, `description`.
    pub annotations: Labels,
    /// Where it stands.
    pub state: AlertState,
    /// The value that was last compared. NaN and infinities are written as null in JSON.
    #[serde(with = "nan_as_null")]
    pub value: f64,
    /// Since when the condition holds.
    pub active_since: TimestampMs,
    /// When it fired.
    pub fired_at: Option<TimestampMs>,
    /// When it was resolved.
    pub resolved_at: Option<TimestampMs>,
}

/// What rules tell notify and the journal: an alert changed its state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertEvent {
    /// When it was decided.
    pub at: TimestampMs,
    /// The state before.
    pub from: AlertState,
    /// The alert as it is now.
    pub alert: Alert,
}

mod nan_as_null {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(v: &f64, s: S) -> Result<S::Ok, S::Error> {
        if v.is_finite() { s.serialize_f64(*v) } else { s.serialize_none() }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
        Ok(Option::<f64>::deserialize(d)?.unwrap_or(f64::NAN))
    }
}
