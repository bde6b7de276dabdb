//! The time by which is judged what is too old to be kept: the machine's clock, once it can be believed.
//!
//! Invariant: while the clock goes on evenly it is that clock; after a jump it goes on by what has passed for certain,
//! until the clock was even for a while. So a wrong clock deletes nothing, a right one that was wrong before (or a machine
//! that was off for a year) deletes late, and what passes while Belfry runs always counts, so that nothing is kept for ever.
//! Each jump ahead is waited for by itself: a machine that is off for most of each day is some days late, and no more.
//! Not here: the clock, the store, files (time and what was remembered come in, what is to be remembered goes out).

use std::time::Duration;

use belfry_model::TimestampMs;
use serde::{Deserialize, Serialize};

/// A step of the clock by no more than this is believed: it deletes at most an hour too early.
const STEP_MAX: Duration = Duration::from_secs(3600);
/// A jump is believed after this part of it …
const WAIT_PART: u32 = 4;
/// … but not later than this: long enough for somebody to notice, and for a time service to mend it.
const WAIT_MAX: Duration = Duration::from_secs(86_400);
/// So much of what is remembered may be lost when the process ends.
const REMEMBER_EVERY: Duration = Duration::from_secs(600);
/// The same while something is waited for: else what starts again and again would wait for ever.
const REMEMBER_DOUBTED_EVERY: Duration = Duration::from_secs(60);
/// Beyond that many jumps a new one counts to the last.
const DOUBTS_MAX: usize = 64;

/// What outlives the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// By which was judged.
    pub judged_ms: i64,
    /// What the clock said then.
    pub clock_ms: i64,
    /// Nothing when the clock is believed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doubts: Vec<Doubt>,
}

/// A jump of the clock that is not believed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubt {
    /// Ahead, in milliseconds; below zero it was back.
    pub by_ms: i64,
    /// How long the clock must still be even for it to be believed.
    pub wait_ms: u64,
}

impl Doubt {
    /// Of a jump that just was.
    fn new(by_ms: i64) -> Self {
        Self { by_ms, wait_ms: millis(wait_for(Duration::from_millis(by_ms.unsigned_abs()))).max(1) }
    }
}

/// See the module.
#[derive(Debug)]
pub struct JudgedTime {
    judged: TimestampMs,
    /// What the clock said last …
    clock: TimestampMs,
    /// … and when that was by the one that only goes on; nothing before the first look of this process.
    looked: Option<Duration>,
    /// The oldest first.
    doubts: Vec<Doubt>,
    remembered: Option<Remembered>,
}

/// What a look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// The clock is believed.
    Sure,
    /// It is not, from this look on: it is off by so much, and has to be even for so long.
    Doubted(Duration, Duration),
    /// It is not, as before.
    StillDoubted,
    /// It is again.
    SureAgain,
}

impl JudgedTime {
    /// Goes on from what was remembered. Without that nobody knows how long this machine was off: then from the newest
    /// sample, unless it is later than the clock, and without samples from the clock.
    pub fn new(remembered: Option<Remembered>, newest: Option<TimestampMs>, now: TimestampMs) -> Self {
        let judged = remembered.as_ref().map_or(newest.unwrap_or(now).min(now), |r| TimestampMs(r.judged_ms));
        let clock = remembered.as_ref().map_or(judged, |r| TimestampMs(r.clock_ms));
        let doubts = remembered.as_ref().map_or_else(Vec::new, |r| r.doubts.clone());
        Self { judged, clock, looked: None, doubts, remembered }
    }

    /// Looks at both clocks; what is deleted from then on is judged by [`JudgedTime::at`].
    pub fn look(&mut self, now: TimestampMs, monotonic: Duration) -> Judged {
        let passed = self.looked.replace(monotonic).map_or(Duration::ZERO, |then| monotonic.saturating_sub(then));
        let expected = self.clock + passed;
        self.clock = now;
        self.judged = self.judged + passed;
        let was_doubted = !self.doubts.is_empty();
        self.wait_for_doubts(passed);
        if apart(now, self.judged) > STEP_MAX {
            self.doubt(now, expected);
        } else {
            self.doubts.clear();
        }
        match (was_doubted, self.wait()) {
            (false, Some(wait)) => Judged::Doubted(apart(now, self.judged), wait),
            (true, Some(_)) => Judged::StillDoubted,
            (doubted, None) => {
                self.judged = now;
                if doubted { Judged::SureAgain } else { Judged::Sure }
            }
        }
    }

    /// Believes what was waited for long enough. What stands before a jump back is not waited for meanwhile: the clock
    /// has left that time.
    fn wait_for_doubts(&mut self, passed: Duration) {
        let from = self.doubts.iter().rposition(|d| d.by_ms < 0).unwrap_or(0);
        let judged = &mut self.judged;
        let passed = millis(passed);
        let mut place = 0;
        self.doubts.retain_mut(|doubt| {
            place += 1;
            if place <= from {
                return true;
            }
            doubt.wait_ms = doubt.wait_ms.saturating_sub(passed);
            if doubt.wait_ms == 0 {
                *judged = TimestampMs(judged.0.saturating_add(doubt.by_ms));
            }
            doubt.wait_ms > 0
        });
    }

    /// Takes up the jump between what the clock was expected to say and what it says, if it is one.
    fn doubt(&mut self, now: TimestampMs, expected: TimestampMs) {
        if apart(now, expected) <= STEP_MAX {
            if self.doubts.is_empty() {
                // Many small steps, of starts one after the other.
                self.doubts.push(Doubt::new(now.0.saturating_sub(self.judged.0)));
            }
            return;
        }
        let jump = now.0.saturating_sub(expected.0);
        // What takes back the jump before it was that one's end: only what is left of both is new. The jumps before them
        // were what they are; a clock that begins in 1970 at each start changes nothing about the hours before.
        let takes_back = |last: &mut Doubt| {
            (last.by_ms < 0) != (jump < 0) && (jump > 0 || last.by_ms.saturating_add(jump) >= -millis_of(STEP_MAX))
        };
        let is_back_again = |last: &mut Doubt| last.by_ms < 0 && jump < 0;
        if let Some(last) = self.doubts.pop_if(|last| takes_back(last) || is_back_again(last)) {
            let left = last.by_ms.saturating_add(jump);
            if left.unsigned_abs() > millis(STEP_MAX) {
                self.doubts.push(Doubt::new(left));
            }
        } else if self.doubts.len() < DOUBTS_MAX {
            self.doubts.push(Doubt::new(jump));
        } else if let Some(last) = self.doubts.last_mut() {
            let wait_ms = last.wait_ms.max(Doubt::new(jump).wait_ms);
            *last = Doubt { by_ms: last.by_ms.saturating_add(jump), wait_ms };
        }
    }

    /// By which to judge. Never later than the clock: then that was wrong before.
    pub fn at(&self) -> TimestampMs {
        self.judged.min(self.clock)
    }

    /// How long the clock must still be even to be believed.
    pub fn wait(&self) -> Option<Duration> {
        self.doubts.iter().map(|d| Duration::from_millis(d.wait_ms)).max()
    }

    /// What to remember, if it is time to.
    pub fn due(&mut self) -> Option<Remembered> {
        let every = if self.doubts.is_empty() { REMEMBER_EVERY } else { REMEMBER_DOUBTED_EVERY };
        let is_due = self.remembered.as_ref().is_none_or(|old| {
            let moved = apart(TimestampMs(old.judged_ms), self.judged) >= every;
            let known = old.doubts.iter().map(|d| d.by_ms);
            moved || !known.eq(self.doubts.iter().map(|d| d.by_ms))
        });
        is_due.then(|| {
            let new = Remembered { judged_ms: self.judged.0, clock_ms: self.clock.0, doubts: self.doubts.clone() };
            self.remembered = Some(new.clone());
            new
        })
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn millis_of(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn apart(a: TimestampMs, b: TimestampMs) -> Duration {
    a.since(b).max(b.since(a))
}

fn wait_for(jump: Duration) -> Duration {
    (jump / WAIT_PART).min(WAIT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: Duration = Duration::from_secs(86_400);
    const YEAR: Duration = Duration::from_secs(366 * 86_400);
    const T0: TimestampMs = TimestampMs(1_700_000_000_000);

    /// A machine: both clocks, and what Belfry makes of them, looked at every minute.
    struct Machine {
        clock: TimestampMs,
        monotonic: Duration,
        time: JudgedTime,
        kept: Option<Remembered>,
    }

    impl Machine {
        fn new() -> Self {
            Self { clock: T0, monotonic: Duration::ZERO, time: JudgedTime::new(None, None, T0), kept: None }.run(HOUR)
        }

        fn run(mut self, time: Duration) -> Self {
            let minute = Duration::from_secs(60);
            for _ in 0..time.as_secs() / 60 {
                (self.clock, self.monotonic) = (self.clock + minute, self.monotonic + minute);
                self.time.look(self.clock, self.monotonic);
                self.kept = self.time.due().or(self.kept.take());
            }
            self
        }

        fn ahead(mut self, by: Duration) -> Self {
            self.clock = self.clock + by;
            self
        }

        fn back(mut self, by: Duration) -> Self {
            self.clock = self.clock.minus(by);
            self
        }

        fn restart(mut self) -> Self {
            self.monotonic = Duration::ZERO;
            self.time = JudgedTime::new(self.kept.clone(), None, self.clock);
            self
        }

        /// By how much is judged too late?
        fn late(&self) -> Duration {
            assert!(self.time.at() <= self.clock);
            self.clock.since(self.time.at())
        }
    }

    #[test]
    fn an_even_clock_is_believed_and_so_are_small_steps() {
        let machine = Machine::new().run(DAY);
        assert_eq!((machine.late(), machine.time.wait()), (Duration::ZERO, None));
        let machine = machine.ahead(HOUR / 2).run(HOUR / 60);
        assert_eq!(machine.late(), Duration::ZERO);
    }

    #[test]
    fn what_a_wrong_clock_says_is_not_judged_by() {
        let machine = Machine::new().ahead(YEAR).run(HOUR * 20);
        assert_eq!(machine.late(), YEAR, "what passed for certain counts");
        let machine = machine.back(YEAR).run(HOUR);
        assert_eq!((machine.late(), machine.time.wait()), (Duration::ZERO, None), "all is as it was");
    }

    #[test]
    fn a_restart_in_the_middle_of_the_wrong_clock_does_not_make_it_right() {
        let machine = Machine::new().ahead(YEAR).restart().run(HOUR * 10).restart().run(HOUR * 10);
        assert!(machine.late() > YEAR - HOUR, "{:?}", machine.late());
        // Nor does one in the middle of the jump.
        let machine = Machine::new().restart().ahead(YEAR).run(HOUR);
        assert!(machine.late() >= YEAR, "{:?}", machine.late());
    }

    #[test]
    fn after_a_year_off_the_clock_is_believed_a_day_later_also_with_restarts() {
        let off = || Machine::new().restart().ahead(YEAR);
        assert!(off().run(HOUR * 23).late() > YEAR - HOUR);
        assert_eq!(off().run(HOUR * 25).late(), Duration::ZERO);
        let mut machine = off();
        for _ in 0..5 {
            machine = machine.run(HOUR * 6).restart();
        }
        assert_eq!(machine.run(HOUR).late(), Duration::ZERO);
    }

    #[test]
    fn a_second_wrong_time_is_not_believed_because_the_first_one_was_waited_for() {
        let machine = Machine::new().ahead(YEAR).run(HOUR * 20).back(YEAR / 2).run(HOUR * 20);
        assert_eq!(machine.late(), YEAR - YEAR / 2);
        assert_eq!(machine.run(HOUR * 5).late(), Duration::ZERO);
    }

    #[test]
    fn a_machine_that_sleeps_each_night_is_judged_rightly_each_day() {
        let mut machine = Machine::new();
        for _ in 0..10 {
            machine = machine.ahead(HOUR * 10).run(HOUR * 14);
            assert_eq!(machine.late(), Duration::ZERO);
        }
    }

    #[test]
    fn a_machine_that_is_off_for_most_of_each_day_is_judged_some_days_late() {
        for (hours, days) in [(8, 1), (4, 2), (1, 8)] {
            let mut machine = Machine::new();
            for _ in 0..60 {
                machine = machine.restart().ahead(HOUR * (24 - hours)).run(HOUR * hours);
            }
            assert!(machine.late() <= DAY * days, "{hours} hours a day: {:?}", machine.late());
        }
    }

    #[test]
    fn a_clock_that_is_wrong_for_a_while_at_each_start_does_not_make_it_later_day_by_day() {
        // How the clock is wrong, for how long, how long the machine runs, and how late may be judged in the end.
        let since_1970 = Duration::from_millis(T0.0 as u64);
        for (ahead, wrong, minutes, hours, days) in [
            (Duration::ZERO, since_1970, 2, 14, 1),
            (Duration::ZERO, since_1970, 2, 4, 2),
            (HOUR * 8, Duration::ZERO, 5, 4, 2),
            (YEAR, Duration::ZERO, 30, 8, 1),
        ] {
            let (mut machine, mut latest) = (Machine::new(), Duration::ZERO);
            let (wrong_for, right_for) = (HOUR * minutes / 60, HOUR * hours - HOUR * minutes / 60);
            for _ in 0..60 {
                machine = machine.restart().ahead(HOUR * (24 - hours) + ahead).back(wrong).run(wrong_for);
                machine = machine.back(ahead).ahead(wrong).run(right_for);
                latest = latest.max(machine.late());
            }
            assert!(latest <= DAY * days, "{ahead:?} {wrong:?} {hours} hours a day: {latest:?}");
        }
    }

    #[test]
    fn what_a_jump_back_has_left_is_not_waited_for() {
        // A year ahead for most of the wait, then back by more than that for as long.
        let machine = Machine::new().ahead(YEAR).run(HOUR * 20).back(YEAR * 2).run(HOUR * 20);
        let machine = machine.ahead(YEAR * 2).run(HOUR * 3);
        assert!(machine.late() > YEAR - DAY, "four hours of the wait were left");
        assert_eq!(machine.run(HOUR * 22).late(), Duration::ZERO);
    }

    #[test]
    fn what_starts_again_every_few_minutes_believes_its_clock_in_the_end() {
        let mut machine = Machine::new().restart().ahead(YEAR);
        // A minute of each is not seen; for what that is in all is waited as well.
        for _ in 0..30 * 12 + 60 {
            machine = machine.run(HOUR / 12).restart();
        }
        assert_eq!(machine.run(HOUR / 6).late(), Duration::ZERO);
    }

    #[test]
    fn more_jumps_than_are_counted_are_still_waited_for() {
        let mut machine = Machine::new();
        for _ in 0..100 {
            machine = machine.restart().ahead(DAY).run(HOUR / 60);
        }
        assert_eq!(machine.time.doubts.len(), DOUBTS_MAX);
        assert!(machine.late() >= DAY * 100);
        assert_eq!(machine.run(HOUR * 7).late(), Duration::ZERO);
    }

    #[test]
    fn a_clock_that_begins_in_1970_at_each_start_changes_nothing() {
        let mut machine = Machine::new();
        for _ in 0..5 {
            let since_1970 = Duration::from_millis(machine.clock.0 as u64);
            machine = machine.restart().back(since_1970).run(HOUR);
            assert_eq!(machine.late(), Duration::ZERO);
            machine = machine.ahead(since_1970).run(HOUR * 12);
            assert_eq!(machine.late(), Duration::ZERO);
        }
    }

    #[test]
    fn without_a_memory_the_newest_sample_tells_when_it_ran_last_unless_it_is_from_the_future() {
        let time = |newest| {
            let mut time = JudgedTime::new(None, newest, T0);
            time.look(T0, Duration::ZERO);
            time.at()
        };
        assert_eq!(time(None), T0);
        assert_eq!(time(Some(T0.minus(HOUR / 2))), T0);
        assert_eq!(time(Some(T0.minus(YEAR))), T0.minus(YEAR));
        assert_eq!(time(Some(T0 + YEAR)), T0);
    }
}
