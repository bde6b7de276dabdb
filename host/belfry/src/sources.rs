//! Sources: who is pulled, and how each is.
//!
//! Not here: when (the collection organ decides), how a plugin is called (see [`crate::adapters::producer`]).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use belfry_dashboard::dto::{Health, RECENT_PULLS_MAX};
use belfry_ingest::{Producer, PullError, PullSchedule};
use belfry_model::{Labels, TimestampMs};
use parking_lot::Mutex;

/// Failed pulls in a row after which a source counts as down; before that it is degraded.
const FAILURES_UNTIL_DOWN: u32 = 2;

/// What a source says of itself beside its batch.
#[derive(Debug, Default)]
pub struct HealthCell {
    health: Mutex<Option<(Health, String)>>,
    written: AtomicU64,
}

impl HealthCell {
    /// From the last pull.
    pub fn set(&self, health: Health, reason: impl Into<String>) {
        *self.health.lock() = Some((health, reason.into()));
    }

    /// Samples that the producer has written itself in this pull.
    pub fn wrote(&self, samples: u64) {
        self.written.store(samples, Ordering::Relaxed);
    }

    /// Takes what [`HealthCell::wrote`] told.
    pub fn take_written(&self) -> u64 {
        self.written.swap(0, Ordering::Relaxed)
    }

    fn get(&self) -> Option<(Health, String)> {
        self.health.lock().clone()
    }
}

/// One source.
pub struct Source {
    /// Unique.
    pub name: String,
    /// `collector`, `metric_source` or `internal`.
    pub kind: &'static str,
    /// The plugin that it runs in.
    pub plugin: Option<String>,
    /// Distance of pulls.
    pub interval: Duration,
    /// Host labels on its series.
    pub labels: Labels,
    /// Asked for samples.
    pub producer: Arc<dyn Producer>,
    /// Filled by the producer when the thing behind it tells its health.
    pub told: Arc<HealthCell>,
    /// For people.
    pub title: Mutex<String>,
    /// How it is.
    pub status: Mutex<SourceStatus>,
}

/// How a source is, by its pulls.
#[derive(Clone, Debug, Default)]
pub struct SourceStatus {
    /// By the last pulls.
    pub health: Health,
    /// Why it is not up.
    pub reason: String,
    /// Since when.
    pub health_since: Option<TimestampMs>,
    /// The last one.
    pub last_pull: Option<TimestampMs>,
    /// Of the last one.
    pub last_duration: Option<Duration>,
    /// Of the last one.
    pub last_samples: u64,
    /// Since the start.
    pub pulls: u64,
    /// Since the start.
    pub errors: u64,
    /// Due times left out because it was busy.
    pub skipped: u64,
    /// In seconds, oldest first.
    pub recent: VecDeque<Option<f64>>,
    failures_in_a_row: u32,
}

impl Source {
    /// Remembers how a pull ended; true when the health changed.
    pub fn pulled(&self, at: TimestampMs, took: Duration, outcome: &Result<u64, PullError>) -> bool {
        let mut s = self.status.lock();
        s.pulls += 1;
        s.last_pull = Some(at);
        s.last_duration = Some(took);
        if s.recent.len() >= RECENT_PULLS_MAX {
            s.recent.pop_front();
        }
        let (health, reason) = match outcome {
            Ok(samples) => {
                s.last_samples = *samples;
                s.failures_in_a_row = 0;
                s.recent.push_back(Some(took.as_secs_f64()));
                self.told.get().unwrap_or((Health::Up, String::new()))
            }
            Err(error) => {
                s.errors += 1;
                s.last_samples = 0;
                s.failures_in_a_row += 1;
                s.recent.push_back(None);
                let down = s.failures_in_a_row >= FAILURES_UNTIL_DOWN;
                (if down { Health::Down } else { Health::Degraded }, error.to_string())
            }
        };
        let changed = s.health != health;
        if changed {
            s.health_since = Some(at);
        }
        s.health = health;
        s.reason = reason;
        changed
    }
}

/// All sources by name.
#[derive(Default)]
pub struct Sources {
    all: Mutex<BTreeMap<String, Arc<Source>>>,
}

impl Sources {
    /// Adds or replaces one; its counters go on when it was there.
    pub fn put(&self, source: Source) {
        let mut all = self.all.lock();
        if let Some(old) = all.get(&source.name) {
            *source.status.lock() = old.status.lock().clone();
        }
        all.insert(source.name.clone(), Arc::new(source));
    }

    /// Removes one.
    pub fn remove(&self, name: &str) {
        self.all.lock().remove(name);
    }

    /// One by its name.
    pub fn get(&self, name: &str) -> Option<Arc<Source>> {
        self.all.lock().get(name).cloned()
    }

    /// All, in order of name.
    pub fn all(&self) -> Vec<Arc<Source>> {
        self.all.lock().values().cloned().collect()
    }

    /// For the collection organ.
    pub fn schedules(&self) -> Vec<PullSchedule> {
        self.all.lock().values().map(|s| PullSchedule { source: s.name.clone(), interval: s.interval }).collect()
    }
}
