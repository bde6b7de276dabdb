//! From when on the engine may not show yet what was written.
//!
//! Invariant: what was acknowledged is either said to be unseen, or left the queue [`SHOWN_AFTER`] ago and before that.
//! Not here: a clock, the queue, what the engine never gets (`lost`).

use std::collections::VecDeque;
use std::time::Duration;

use belfry_model::TimestampMs;

/// An engine shows what it took within this: VictoriaMetrics after some seconds. Samples younger than this are always
/// unseen, so that steps are not handed on of which others' last samples are still on their way.
pub const SHOWN_AFTER: Duration = Duration::from_secs(60);
/// Writes within this are one.
const SPAN: Duration = Duration::from_secs(10);
/// A day of an engine that is away; of what is older the spans grow.
const SPANS_MAX: usize = 8_640;

/// What was written within a span of time.
#[derive(Clone, Copy, Debug)]
struct Span {
    first_write: TimestampMs,
    last_write: TimestampMs,
    /// The time of the oldest sample.
    oldest: TimestampMs,
    /// When the engine was first found to have all of it.
    sent: Option<TimestampMs>,
}

/// What the engine may not show yet.
#[derive(Debug, Default)]
pub struct Unseen(VecDeque<Span>);

impl Unseen {
    /// Of a queue in which something waits since nobody knows when, and nobody knows what.
    pub fn unknown(now: TimestampMs) -> Self {
        let first_write = TimestampMs::MIN;
        Self([Span { first_write, last_write: now, oldest: TimestampMs::MIN, sent: None }].into())
    }

    /// At `now` samples were written, none of them before `oldest`. `waiting`: since when does the oldest of what waits?
    pub fn wrote(&mut self, now: TimestampMs, oldest: TimestampMs, waiting: impl FnOnce() -> Option<TimestampMs>) {
        if let Some(span) = self.0.back_mut()
            && now >= span.first_write
            && now.since(span.first_write) < SPAN
        {
            span.last_write = span.last_write.max(now);
            span.oldest = span.oldest.min(oldest);
            span.sent = None;
            return;
        }
        self.forget_shown(now, waiting());
        if self.0.len() >= SPANS_MAX
            && let Some(first) = self.0.pop_front()
            && let Some(second) = self.0.front_mut()
        {
            second.oldest = second.oldest.min(first.oldest);
            second.first_write = second.first_write.min(first.first_write);
        }
        self.0.push_back(Span { first_write: now, last_write: now, oldest, sent: None });
    }

    /// Of what has not been sent, what may have been written before this: the time of the oldest sample, and when the last
    /// one was written.
    pub fn unsent_before(&self, written: TimestampMs) -> impl Iterator<Item = (TimestampMs, TimestampMs)> {
        let unsent = self.0.iter().filter(move |s| s.sent.is_none() && s.first_write <= written);
        unsent.map(|s| (s.oldest, s.last_write))
    }

    /// Samples before this are shown.
    pub fn from(&mut self, now: TimestampMs, waiting: Option<TimestampMs>) -> TimestampMs {
        self.forget_shown(now, waiting);
        let oldest = self.0.iter().map(|s| s.oldest).min();
        oldest.unwrap_or(TimestampMs::MAX).min(now.minus(SHOWN_AFTER))
    }

    fn forget_shown(&mut self, now: TimestampMs, waiting: Option<TimestampMs>) {
        self.0.retain_mut(|span| {
            if waiting.is_some_and(|since| since <= span.last_write) {
                span.sent = None;
                return true;
            }
            // A clock that went back makes it wait anew.
            let sent = span.sent.map_or(now, |sent| sent.min(now));
            span.sent = Some(sent);
            now.since(sent) < SHOWN_AFTER
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: i64) -> TimestampMs {
        TimestampMs(seconds * 1000)
    }

    #[test]
    fn the_last_minute_is_unseen_also_when_nothing_was_written() {
        assert_eq!(Unseen::default().from(at(1000), None), at(940));
    }

    #[test]
    fn what_was_written_late_is_unseen_until_a_minute_after_it_was_sent() {
        let mut unseen = Unseen::default();
        unseen.wrote(at(1000), at(400), || None);
        assert_eq!(unseen.from(at(1001), Some(at(1000))), at(400), "it waits");
        assert_eq!(unseen.from(at(1900), Some(at(1000))), at(400), "and waits");
        assert_eq!(unseen.from(at(2000), None), at(400), "it was sent just now, as far as anybody knows");
        assert_eq!(unseen.from(at(2059), Some(at(2030))), at(400));
        assert_eq!(unseen.from(at(2060), Some(at(2030))), at(2000));
    }

    #[test]
    fn what_was_written_since_the_oldest_that_waits_is_unseen() {
        let mut unseen = Unseen::default();
        for second in 0..100 {
            unseen.wrote(at(1000 + second), at(990 + second), || Some(at(1000)));
        }
        // Those of the first 50 seconds were sent.
        assert_eq!(unseen.from(at(1100), Some(at(1050))), at(990), "sent just now, as far as anybody knows");
        assert_eq!(unseen.from(at(1170), Some(at(1050))), at(1040));
        assert_eq!(unseen.from(at(1171), None), at(1040));
        assert_eq!(unseen.from(at(1231), None), at(1171));
    }

    #[test]
    fn what_waits_at_the_start_may_be_of_any_time() {
        let mut unseen = Unseen::unknown(at(1000));
        unseen.wrote(at(1020), at(1020), || Some(at(1)));
        assert_eq!(unseen.from(at(5000), Some(at(1))), TimestampMs::MIN);
        assert_eq!(unseen.from(at(5000), None), TimestampMs::MIN);
        assert_eq!(unseen.from(at(5060), None), at(5000));
    }

    #[test]
    fn what_is_gone_from_the_queue_is_what_was_not_sent_and_was_written_before_what_comes_next() {
        let mut unseen = Unseen::unknown(at(900));
        for second in [1000, 1005, 1020, 1040] {
            unseen.wrote(at(second), at(second - 100), || Some(at(1)));
        }
        let gone = |unseen: &Unseen, written| unseen.unsent_before(at(written)).collect::<Vec<_>>();
        assert_eq!(gone(&unseen, 500), [(TimestampMs::MIN, at(900))]);
        assert_eq!(gone(&unseen, 1019), [(TimestampMs::MIN, at(900)), (at(900), at(1005))]);
        assert_eq!(gone(&unseen, 1020).len(), 3, "some of what was written at that time may be gone");
        unseen.from(at(1050), Some(at(1010)));
        assert_eq!(gone(&unseen, 2000), [(at(920), at(1020)), (at(940), at(1040))]);
    }

    #[test]
    fn a_clock_that_goes_back_forgets_nothing() {
        let mut unseen = Unseen::default();
        unseen.wrote(at(1000), at(400), || None);
        unseen.from(at(1001), None);
        assert_eq!(unseen.from(at(500), None), at(400));
        assert_eq!(unseen.from(at(559), None), at(400));
        assert_eq!(unseen.from(at(560), None), at(500));
    }

    #[test]
    fn a_long_wait_takes_bounded_memory_and_forgets_nothing() {
        let mut unseen = Unseen::default();
        for n in 0..20_000 {
            unseen.wrote(at(n * 10), at(n * 10 - 5), || Some(at(0)));
        }
        assert!(unseen.0.len() <= SPANS_MAX);
        assert_eq!(unseen.from(at(200_000), Some(at(0))), at(-5));
    }
}
