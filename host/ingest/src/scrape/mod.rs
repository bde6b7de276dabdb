//! Scraping: which targets a job has, when each is asked, and what becomes of what it answers.
//!
//! Invariant: a target's answer is taken whole or, when it is malformed or over a limit, not at all (then `up` is 0 and
//! its series end); what was there at the last scrape and is not now gets a stale marker; a line that was there before
//! costs a comparison and a number, and no allocation.
//! Not here: loops and clocks (the driver in `belfry` asks [`Pace`] and sleeps).

mod before;
pub mod client;
mod connection;
pub mod discovery;
mod families;
pub mod fuzz;
mod http1;
mod lines;
mod number;
mod pace;
mod scraper;
mod slots;
mod status;
mod target;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::relabel::Relabel;

pub use connection::Kept;
pub(crate) use number::{openmetrics_float, write_alike};
pub use pace::Pace;
pub use scraper::{Answer, BodyFormat, LABELS_SCRAPED_MAX, Outcome, Scraper};
pub use status::{ActiveTarget, JobStatus, TargetHealth};
pub use target::{Group, Placed, TARGETS_OVER_MAX, Target, Targets, place};

/// Bounds of a job; 0 is "none", as in Prometheus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobLimits {
    /// Of an answer, decompressed.
    pub body_bytes: u64,
    /// Of a scrape, after relabelling.
    pub samples: u64,
    /// Of a series.
    pub labels: u64,
    /// Of a label's name.
    pub label_name_bytes: u64,
    /// Of a label's value.
    pub label_value_bytes: u64,
    /// Of the job, after relabelling.
    pub targets: u64,
}

/// Bytes of an answer unless the job says otherwise: some fifty times what a large exporter says.
pub const BODY_BYTES_DEFAULT: u64 = 64 << 20;

impl Default for JobLimits {
    fn default() -> Self {
        Self {
            body_bytes: BODY_BYTES_DEFAULT,
            samples: 0,
            labels: 0,
            label_name_bytes: 0,
            label_value_bytes: 0,
            targets: 0,
        }
    }
}

/// What the targets of a job have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Unique; the label `job` unless relabelling says otherwise.
    pub name: String,
    /// How often.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// `http` or `https`.
    pub scheme: String,
    /// Where metrics are.
    pub path: String,
    /// Query parameters.
    pub params: BTreeMap<String, Vec<String>>,
    /// Labels of the target's own win over ours; else they become `exported_…`.
    pub honor_labels: bool,
    /// Times that the target gives are taken.
    pub honor_timestamps: bool,
    /// Series with times of their own get stale markers too.
    pub track_timestamps_staleness: bool,
    /// Ask for protobuf first, which alone carries native histograms.
    pub native_histograms: bool,
    /// Of a histogram that is both native and classic, take the classic buckets too.
    pub classic_histograms: bool,
    /// Series say their metric's kind and unit, in the labels `__type__` and `__unit__`.
    pub type_and_unit_labels: bool,
    /// Write the series of limits and sizes too.
    pub extra_metrics: bool,
    /// Bounds.
    pub limits: JobLimits,
    /// For targets.
    pub relabel: Vec<Relabel>,
    /// For samples.
    pub metric_relabel: Vec<Relabel>,
}

/// Why a scrape failed; what the target's page says.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ScrapeError {
    /// No answer, or none that is complete.
    #[error("{0}")]
    Failed(String),
    /// Too slow.
    #[error("no answer within {}", belfry_model::duration::format_duration(*.0))]
    TimedOut(Duration),
    /// Not 200.
    #[error("the target answered with status {0}")]
    Status(u16),
    /// Neither text nor OpenMetrics nor protobuf.
    #[error("the target answered with content type `{said}`, which is no format of metrics")]
    ContentType {
        /// As it came, cut.
        said: String,
        /// Of the answer, unpacked.
        body_bytes: usize,
    },
    /// Also when it is a small answer that grows on unpacking.
    #[error("the answer has more than {0} bytes; see the job's `limits.body_size`")]
    BodyTooLarge(u64),
    /// It is not what its format allows.
    #[error("bad answer: {0}")]
    Malformed(String),
    /// More than the job's limit.
    #[error("the answer has more than {0} samples; see the job's `limits.samples`")]
    TooManySamples(u64),
    /// A label is over one of the job's limits.
    #[error("{0}")]
    Labels(String),
    /// The job has too many targets.
    #[error("target limit exceeded: the job has {found} targets, and its `limits.targets` is {limit}")]
    TooManyTargets {
        /// After relabelling.
        found: u64,
        /// That it may have.
        limit: u64,
    },
}

#[cfg(test)]
pub(crate) fn test_job() -> Job {
    Job {
        name: "node".to_owned(),
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(5),
        scheme: "http".to_owned(),
        path: "/metrics".to_owned(),
        params: BTreeMap::new(),
        honor_labels: false,
        honor_timestamps: true,
        track_timestamps_staleness: false,
        native_histograms: false,
        classic_histograms: false,
        type_and_unit_labels: false,
        extra_metrics: false,
        limits: JobLimits::default(),
        relabel: Vec::new(),
        metric_relabel: Vec::new(),
    }
}
