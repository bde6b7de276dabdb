//! Organs have no loops and no clock of their own. One driver in `belfry` sleeps until the earliest due time, steps the
//! organ and performs its effects: that is what lets weeks be simulated in seconds.

use crate::time::TimestampMs;

/// A part of Belfry that decides. Pure: time and inputs come in, effects go out.
pub trait Organ {
    /// What it is told.
    type Input;
    /// What it wants done. Results of an effect come back as an input.
    type Effect;

    /// When `step` next has something to do without an input; `None` for never.
    fn next_due(&self) -> Option<TimestampMs>;

    /// One step at `now`. Calling it early or twice is harmless.
    fn step(&mut self, now: TimestampMs, inputs: Vec<Self::Input>) -> Vec<Self::Effect>;
}
