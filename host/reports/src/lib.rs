//! Reports: when each is due, its assembly from sections, and its rendering as HTML, JSON and CSV.
//!
//! Invariant: all three formats come from the same blocks; text of a plugin is never markup. A missed run is made up
//! once and says so.
//! Not here: a clock, I/O, plugins (sections come in as data).

mod organ;
mod render;

pub use organ::Reports;
pub use render::{render, summary};

use std::time::Duration;

use belfry_model::TimestampMs;

/// What a report is rendered as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// One self-contained file.
    Html,
    /// The blocks.
    Json,
    /// The tables and charts, one after the other.
    Csv,
}

/// A section of a `[[report]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct SectionSpec {
    /// Name of the section's plugin instance (the wiring loads it).
    pub plugin: String,
    /// Heading.
    pub title: String,
    /// JSON for the request's `parameters`.
    pub parameters: String,
}

/// A `[[report]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportSpec {
    /// Unique.
    pub name: String,
    /// For people.
    pub title: String,
    /// Five-field crontab, checked by the config.
    pub schedule: String,
    /// IANA name.
    pub time_zone: String,
    /// How much it covers, ending when it is due.
    pub period: Duration,
    /// What is kept in the archive and sent.
    pub formats: Vec<Format>,
    /// Channels that take reports.
    pub deliver: Vec<String>,
    /// In order.
    pub sections: Vec<SectionSpec>,
}

/// What the organ is told.
#[derive(Clone, Debug)]
pub enum ReportsInput {
    /// The reports from now on, each with the time of its last run as the archive knows it.
    Configure(Vec<(ReportSpec, Option<TimestampMs>)>),
    /// Somebody wants one now.
    RunNow {
        /// Its name.
        name: String,
    },
}

/// What the organ wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum ReportsEffect {
    /// Ask the sections, assemble, render, archive and deliver.
    Make {
        /// The report.
        spec: ReportSpec,
        /// The period's first instant.
        start: TimestampMs,
        /// The first instant after it.
        end: TimestampMs,
        /// When it was due by its schedule; `None` when somebody asked for it.
        due: Option<TimestampMs>,
        /// Set when it was missed: when it had been due.
        made_up_for: Option<TimestampMs>,
    },
}
