//! Instants, ranges and the clock as an argument.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z; may be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TimestampMs(pub i64);

impl TimestampMs {
    /// Earlier than every sample.
    pub const MIN: Self = Self(i64::MIN);
    /// Later than every sample.
    pub const MAX: Self = Self(i64::MAX);

    /// The instant `seconds` after the epoch, rounded to milliseconds; saturates.
    pub fn from_secs_f64(seconds: f64) -> Self {
        Self((seconds * 1000.0).round() as i64)
    }

    /// `2024-01-01T00:00:00Z` and the other forms of RFC 3339; `None` for anything else.
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|t| Self(t.as_millisecond()))
    }

    /// Seconds since the epoch.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// Time from `earlier` to `self`; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0).max(0) as u64)
    }

    /// `self + d`, saturating.
    pub fn plus(self, d: Duration) -> Self {
        Self(self.0.saturating_add(millis(d)))
    }

    /// `self - d`, saturating.
    pub fn minus(self, d: Duration) -> Self {
        Self(self.0.saturating_sub(millis(d)))
    }
}

fn millis(d: Duration) -> i64 {
    i64::try_from(d.as_millis()).unwrap_or(i64::MAX)
}

impl Add<Duration> for TimestampMs {
    type Output = Self;
    fn add(self, d: Duration) -> Self {
        self.plus(d)
    }
}

impl Sub<Duration> for TimestampMs {
    type Output = Self;
    fn sub(self, d: Duration) -> Self {
        self.minus(d)
    }
}

/// RFC 3339 in UTC with milliseconds; the plain number where a calendar cannot hold it.
impl fmt::Display for TimestampMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(t) => write!(f, "{t:.3}"),
            Err(_) => write!(f, "{}", self.0),
        }
    }
}

/// Half-open, `start <= t < end`; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimeRange {
    start: TimestampMs,
    end: TimestampMs,
}

impl TimeRange {
    /// Every instant there is.
    pub const ALL: Self = Self { start: TimestampMs::MIN, end: TimestampMs::MAX };

    /// `None` when it would be empty.
    pub fn new(start: TimestampMs, end: TimestampMs) -> Option<Self> {
        (start < end).then_some(Self { start, end })
    }

    /// Both ends included, as Prometheus' APIs mean it; `None` when `last < first`.
    pub fn inclusive(first: TimestampMs, last: TimestampMs) -> Option<Self> {
        Self::new(first, TimestampMs(last.0.saturating_add(1)))
    }

    /// The first instant inside.
    pub fn start(self) -> TimestampMs {
        self.start
    }

    /// The first instant after it.
    pub fn end(self) -> TimestampMs {
        self.end
    }

    /// Is `t` inside?
    pub fn contains(self, t: TimestampMs) -> bool {
        self.start <= t && t < self.end
    }

    /// Do the two share an instant?
    pub fn overlaps(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// The only door to the time of day. Logic takes time as an argument; drivers hold a `Clock`.
pub trait Clock: Send + Sync {
    /// The wall clock.
    fn now(&self) -> TimestampMs;
    /// Never goes back; from an arbitrary start.
    fn monotonic(&self) -> Duration;
}
