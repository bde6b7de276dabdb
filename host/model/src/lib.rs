//! The words every organ shares: time, labels, samples, alerts, reports, and the seams between crates.
//!
//! Invariant: a value that exists is valid (names checked, ranges non-empty, labels sorted and unique).
//! Not here: I/O, a real clock, any knowledge of who produces or consumes these values.

pub mod alert;
pub mod cron;
pub mod duration;
pub mod journal;
pub mod labels;
pub mod matcher;
pub mod metric;
pub mod organ;
pub mod phase;
pub mod re2;
pub mod read;
pub mod report;
pub mod sample;
pub mod time;
pub mod write;

pub use alert::{Alert, AlertEvent, AlertState, Fingerprint, Severity};
pub use journal::JournalEntry;
pub use labels::{Label, Labels, LabelsBuilder, METRIC_NAME};
pub use matcher::{MatchOp, Matcher};
pub use metric::{MetricKind, MetricMetadata};
pub use organ::Organ;
pub use phase::Phase;
pub use read::{
    Coarse, Newest, Rollup, SampleBuf, SampleSource, SelectHints, SelectLimits, Series, SeriesRead, SeriesSet,
};
pub use sample::{Exemplar, Histogram, Sample, Value};
pub use time::{Clock, TimeRange, TimestampMs};
pub use write::{Appended, Batch, Refusal, Refused, SeriesRef, WriteError, Writer};
