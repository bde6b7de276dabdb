//! How scraping is just now: for the API and the dashboard.

use std::time::Duration;

use belfry_model::{Labels, TimestampMs};

/// How a target is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetHealth {
    /// Not scraped yet.
    #[default]
    Unknown,
    /// The last scrape worked.
    Up,
    /// It did not.
    Down,
}

/// One target that is scraped, as `/api/v1/targets` tells of it.
#[derive(Clone, Debug, PartialEq)]
pub struct ActiveTarget {
    /// Its job; Prometheus' `scrapePool`.
    pub job: String,
    /// Before relabelling.
    pub discovered_labels: Labels,
    /// On its series.
    pub labels: Labels,
    /// What is asked.
    pub scrape_url: String,
    /// By the last scrape.
    pub health: TargetHealth,
    /// Why it is down, or what a limit leaves out although it is up; else empty.
    pub last_error: String,
    /// When the last scrape began.
    pub last_scrape: Option<TimestampMs>,
    /// How long it took.
    pub last_duration: Option<Duration>,
    /// How often.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Since when its health is what it is.
    pub health_since: Option<TimestampMs>,
    /// Samples that the last scrape kept.
    pub last_samples: u64,
    /// Scrapes so far.
    pub scrapes: u64,
    /// Those that failed.
    pub failures: u64,
    /// Its name in ingest's counters.
    pub producer: String,
}

/// One job.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobStatus {
    /// Its name.
    pub job: String,
    /// Scraped.
    pub active: Vec<ActiveTarget>,
    /// Labels of what relabelling dropped.
    pub dropped: Vec<Labels>,
    /// Discovered, but no target: labels and reason.
    pub failed: Vec<(Labels, String)>,
    /// What keeps the whole job from working: a discovery that does not answer, too many targets.
    pub errors: Vec<String>,
}
