//! When each source is pulled.
//!
//! Invariant: a source has at most one pull in flight; the times its samples are stamped with lie on its own grid
//! (but for the first one) and ascend while the clock does. A due time that passes while the source is busy is skipped
//! and counted, never queued.
//! Not here: a clock, the pulling itself, what was pulled.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use belfry_model::{Batch, Organ, Phase, TimestampMs};

/// Something that is asked for samples on a schedule. Owned here, implemented by adapters.
#[async_trait]
pub trait Producer: Send + Sync {
    /// Measures once. `at` is the time the samples are stamped with. Ends by itself within the source's time-out.
    async fn pull(&self, at: TimestampMs) -> Result<Batch, PullError>;
}

/// Why a pull brought nothing.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum PullError {
    /// The thing that is measured, or the plugin, said no.
    #[error("{0}")]
    Failed(String),
    /// It took too long.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// It is being restarted after a crash; the schedule goes on.
    #[error("not ready: {0}")]
    NotReady(String),
}

/// When a source is pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullSchedule {
    /// Name of the source.
    pub source: String,
    /// Every …
    pub interval: Duration,
}

/// What the collection organ is told.
#[derive(Clone, Debug)]
pub enum CollectInput {
    /// The sources from now on. A source that stays keeps its phase; a new one is pulled at once.
    Configure(Vec<PullSchedule>),
    /// A pull ended.
    Pulled {
        /// Name of the source.
        source: String,
        /// The time it was for.
        at: TimestampMs,
    },
}

/// What the collection organ wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CollectEffect {
    /// Pull the source and answer with [`CollectInput::Pulled`].
    Pull {
        /// Name of the source.
        source: String,
        /// The time the samples are stamped with: the time it was due.
        at: TimestampMs,
    },
    /// The source was still busy with an earlier pull: one was left out.
    Skipped {
        /// Name of the source.
        source: String,
        /// When it was due.
        at: TimestampMs,
    },
}

/// A source as it stands, for the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceSchedule {
    /// Its name.
    pub source: String,
    /// How often it is pulled.
    pub interval: Duration,
    /// When it is pulled next.
    pub next_due: TimestampMs,
    /// The time of the pull that is in flight.
    pub in_flight: Option<TimestampMs>,
    /// The time of the last pull that was begun.
    pub last_pull: Option<TimestampMs>,
    /// Pulls begun.
    pub pulls: u64,
    /// Due times left out because the source was busy.
    pub skipped: u64,
}

#[derive(Debug)]
struct Source {
    phase: Phase,
    due: TimestampMs,
    in_flight: Option<TimestampMs>,
    last_pull: Option<TimestampMs>,
    pulls: u64,
    skipped: u64,
}

impl Source {
    fn new(phase: Phase, now: TimestampMs) -> Self {
        Self { phase, due: now, in_flight: None, last_pull: None, pulls: 0, skipped: 0 }
    }

    /// The first instant of the grid at least half an interval after `t`: so a first pull, which is off the grid, is
    /// not followed by another at once.
    fn due_after(&self, t: TimestampMs) -> TimestampMs {
        self.phase.after(t.plus(self.phase.interval() / 2))
    }

    /// No due time is ever planned farther ahead than this.
    fn horizon(&self) -> Duration {
        self.phase.interval().saturating_mul(3) / 2
    }

    fn reschedule(&mut self, phase: Phase, now: TimestampMs) {
        if self.phase != phase {
            self.phase = phase;
            let from = self.last_pull.unwrap_or(now);
            self.due = self.due_after(from).max(now);
        }
    }

    fn step(&mut self, name: &str, now: TimestampMs, effects: &mut Vec<CollectEffect>) {
        if self.due > now {
            // The clock went back by more than the plan reaches: waiting would be a gap of that length.
            if self.due.since(now) > self.horizon() {
                self.due = self.phase.after(now);
            }
            return;
        }
        // Late by an interval or more (the machine slept, the clock was set forward): the times in between are gone,
        // and a sample must not be stamped far from when it was measured.
        let at = if now.since(self.due) < self.phase.interval() { self.due } else { self.phase.at_or_before(now) };
        if self.in_flight.is_some() {
            self.skipped += 1;
            effects.push(CollectEffect::Skipped { source: name.to_owned(), at });
        } else {
            self.in_flight = Some(at);
            self.pulls += 1;
            effects.push(CollectEffect::Pull { source: name.to_owned(), at });
            self.last_pull = Some(at);
        }
        self.due = if self.phase.at_or_before(at) == at { self.phase.after(at) } else { self.due_after(at) };
        if self.due <= now {
            self.due = self.phase.after(now);
        }
    }
}

/// Decides when each source is pulled.
#[derive(Debug, Default)]
pub struct Collection {
    sources: BTreeMap<String, Source>,
}

impl Collection {
    /// Without sources.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every source, in order of name.
    pub fn snapshot(&self) -> Vec<SourceSchedule> {
        self.sources
            .iter()
            .map(|(name, s)| SourceSchedule {
                source: name.clone(),
                interval: s.phase.interval(),
                next_due: s.due,
                in_flight: s.in_flight,
                last_pull: s.last_pull,
                pulls: s.pulls,
                skipped: s.skipped,
            })
            .collect()
    }

    fn configure(&mut self, now: TimestampMs, schedules: Vec<PullSchedule>) {
        let mut old = std::mem::take(&mut self.sources);
        for PullSchedule { source, interval } in schedules {
            let phase = Phase::of(&source, interval);
            let kept = match old.remove(&source) {
                Some(mut kept) => {
                    kept.reschedule(phase, now);
                    kept
                }
                None => Source::new(phase, now),
            };
            self.sources.insert(source, kept);
        }
    }
}

impl Organ for Collection {
    type Input = CollectInput;
    type Effect = CollectEffect;

    fn next_due(&self) -> Option<TimestampMs> {
        self.sources.values().map(|s| s.due).min()
    }

    fn step(&mut self, now: TimestampMs, inputs: Vec<CollectInput>) -> Vec<CollectEffect> {
        for input in inputs {
            match input {
                CollectInput::Configure(schedules) => self.configure(now, schedules),
                CollectInput::Pulled { source, at } => {
                    // A pull of a source that was removed and added again in the meantime ends nothing.
                    if let Some(s) = self.sources.get_mut(&source).filter(|s| s.in_flight == Some(at)) {
                        s.in_flight = None;
                    }
                }
            }
        }
        let mut effects = Vec::new();
        for (name, source) in &mut self.sources {
            source.step(name, now, &mut effects);
        }
        effects
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: i64 = 1_700_000_000_000;

    fn every(source: &str, seconds: u64) -> PullSchedule {
        PullSchedule { source: source.to_owned(), interval: Duration::from_secs(seconds) }
    }

    /// Steps once a second from `from` for `seconds`; `busy(source, at)` says for how long a pull lasts.
    struct Run {
        organ: Collection,
        ends: Vec<(i64, String, TimestampMs)>,
        log: Vec<(i64, CollectEffect)>,
    }

    impl Run {
        fn new(now: i64, schedules: Vec<PullSchedule>) -> Self {
            let mut run = Self { organ: Collection::new(), ends: Vec::new(), log: Vec::new() };
            run.step(now, vec![CollectInput::Configure(schedules)], 0);
            run
        }

        fn step(&mut self, now: i64, mut inputs: Vec<CollectInput>, lasts_ms: i64) {
            self.ends.retain(|(end, source, at)| {
                if *end <= now {
                    inputs.push(CollectInput::Pulled { source: source.clone(), at: *at });
                }
                *end > now
            });
            for effect in self.organ.step(TimestampMs(now), inputs) {
                if let CollectEffect::Pull { source, at } = &effect {
                    self.ends.push((now + lasts_ms, source.clone(), *at));
                }
                self.log.push((now, effect));
            }
        }

        /// Wakes when the organ asks to, up to `until`.
        fn until(&mut self, until: i64, lasts_ms: i64) {
            while let Some(due) = self.organ.next_due().filter(|d| d.0 <= until) {
                self.step(due.0, Vec::new(), lasts_ms);
            }
        }

        fn pulls(&self, of: &str) -> Vec<i64> {
            self.log
                .iter()
                .filter_map(|(_, e)| match e {
                    CollectEffect::Pull { source, at } if source == of => Some(at.0),
                    _ => None,
                })
                .collect()
        }
    }

    #[test]
    fn a_new_source_is_pulled_at_once_and_then_on_its_own_grid() {
        let mut run = Run::new(T0, vec![every("a", 10), every("b", 10)]);
        run.until(T0 + 120_000, 10);
        let (a, b) = (run.pulls("a"), run.pulls("b"));
        assert_eq!((a[0], b[0]), (T0, T0));
        for pulls in [&a, &b] {
            assert!((5_000..=15_000).contains(&(pulls[1] - pulls[0])), "{pulls:?}");
            assert!(pulls[1..].windows(2).all(|w| w[1] - w[0] == 10_000), "{pulls:?}");
        }
        assert_ne!(a[1], b[1], "two sources on one interval are staggered");
    }

    #[test]
    fn a_restart_does_not_move_the_phase() {
        let mut first = Run::new(T0, vec![every("a", 10)]);
        first.until(T0 + 60_000, 10);
        let mut second = Run::new(T0 + 63_217, vec![every("a", 10)]);
        second.until(T0 + 120_000, 10);
        assert_eq!((first.pulls("a")[1] - second.pulls("a")[1]) % 10_000, 0);
    }

    #[test]
    fn a_source_that_stays_keeps_its_phase_over_a_reload() {
        let mut run = Run::new(T0, vec![every("a", 10)]);
        run.until(T0 + 30_000, 10);
        let due = run.organ.next_due();
        run.step(T0 + 30_001, vec![CollectInput::Configure(vec![every("a", 10), every("new", 10)])], 10);
        assert_eq!(run.pulls("new"), [T0 + 30_001]);
        assert_eq!(run.organ.snapshot()[0].next_due, due.unwrap());
    }

    #[test]
    fn a_slow_source_is_skipped_and_counted_and_delays_no_other() {
        let mut run = Run::new(T0, vec![every("fast", 10), every("slow", 10)]);
        // `slow` never answers.
        run.ends.clear();
        for _ in 0..20 {
            let due = run.organ.next_due().unwrap();
            let answered = run.log.iter().filter_map(|(_, e)| match e {
                CollectEffect::Pull { source, at } if source == "fast" => {
                    Some(CollectInput::Pulled { source: source.clone(), at: *at })
                }
                _ => None,
            });
            let inputs = answered.collect();
            run.step(due.0, inputs, i64::MAX / 2);
        }
        let [fast, slow] = &run.organ.snapshot()[..] else { panic!("two sources") };
        assert_eq!((slow.pulls, slow.in_flight), (1, Some(TimestampMs(T0))));
        assert_eq!(fast.skipped, 0);
        assert!(slow.skipped >= 9 && fast.pulls >= 9, "{fast:?} {slow:?}");
    }

    #[test]
    fn after_a_jump_forward_there_is_one_pull_and_its_stamp_is_near() {
        let mut run = Run::new(T0, vec![every("a", 10)]);
        run.until(T0 + 30_000, 10);
        let before = run.pulls("a").len();
        let woken = T0 + 3_600_123;
        run.step(woken, Vec::new(), 10);
        let pulls = run.pulls("a");
        assert_eq!(pulls.len(), before + 1);
        assert!((0..10_000).contains(&(woken - pulls[before])));
        assert!(run.organ.next_due().unwrap().0 > woken);
    }

    #[test]
    fn after_a_jump_back_the_schedule_goes_on_in_the_new_time() {
        let mut run = Run::new(T0, vec![every("a", 10)]);
        run.until(T0 + 30_000, 10);
        let back = T0 - 3_600_000;
        run.ends.iter_mut().for_each(|(end, ..)| *end = back);
        run.step(back, Vec::new(), 10);
        assert!(run.organ.next_due().unwrap().0 <= back + 10_000);
        run.until(back + 60_000, 10);
        assert!(run.pulls("a").iter().filter(|at| **at < T0).count() >= 5);
    }

    #[test]
    fn a_step_back_shorter_than_the_interval_moves_nothing() {
        let mut run = Run::new(T0, vec![every("a", 10)]);
        run.until(T0 + 30_000, 10);
        let due = run.organ.next_due();
        run.step(due.unwrap().0 - 12_000, Vec::new(), 10);
        assert_eq!(run.organ.next_due(), due);
    }

    proptest::proptest! {
        /// Whatever the clock does, no step emits more than one effect a source, and one is due within 1.5 intervals.
        #[test]
        fn any_clock_is_survived(jumps in proptest::collection::vec(-100_000i64..100_000, 1..50)) {
            let mut run = Run::new(T0, vec![every("a", 10), every("b", 7)]);
            let mut now = T0;
            for jump in jumps {
                now += jump;
                let before = run.log.len();
                run.step(now, Vec::new(), 5);
                proptest::prop_assert!(run.log.len() - before <= 2);
                for s in run.organ.snapshot() {
                    proptest::prop_assert!(s.next_due.0 > now, "{s:?} at {now}");
                    proptest::prop_assert!(s.next_due.0 - now <= s.interval.as_millis() as i64 * 3 / 2, "{s:?} at {now}");
                }
            }
        }
    }
}
