//! The times of samples that the engine never gets: it refused them, or the full queue shed them.
//!
//! Invariant: what was told is remembered until it has left the local window; what is forgotten for lack of room makes a
//! span of others longer, never shorter.
//! Not here: which series they are of; what was lost before the start, or before the window.

use std::time::Duration;

use belfry_model::{TimeRange, TimestampMs};

/// Samples so near to each other are of one span: less than queries look back, as a rule.
const SPAN: Duration = Duration::from_secs(10);
/// A day in which something is refused each minute; beyond that the oldest spans become one.
const SPANS_MAX: usize = 1_440;

/// A span that begins and ends with a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    oldest: TimestampMs,
    newest: TimestampMs,
}

/// What the engine never gets.
#[derive(Debug, Default)]
pub struct Lost {
    /// In order of time, with more than [`SPAN`] between two.
    spans: Vec<Span>,
    /// Samples that the queue had shed when it was last looked at.
    pub shed: u64,
}

impl Lost {
    /// Samples of these times are lost.
    pub fn samples(&mut self, times: impl IntoIterator<Item = TimestampMs>) {
        let all = times.into_iter().map(|at| Span { oldest: at, newest: at });
        self.spans.extend(all);
        self.tidy();
    }

    /// Samples between these are lost, nobody knows which.
    pub fn between(&mut self, oldest: TimestampMs, newest: TimestampMs) {
        self.spans.push(Span { oldest, newest: newest.max(oldest) });
        self.tidy();
    }

    fn tidy(&mut self) {
        self.spans.sort_unstable();
        self.spans.dedup_by(|next, before| {
            let is_near = next.oldest <= before.newest.plus(SPAN);
            before.newest = if is_near { before.newest.max(next.newest) } else { before.newest };
            is_near
        });
        let too_many = self.spans.len().saturating_sub(SPANS_MAX);
        if let Some(last) = self.spans.get(too_many).filter(|_| too_many > 0) {
            let newest = last.newest;
            self.spans.drain(1..=too_many);
            self.spans[0].newest = newest;
        }
    }

    /// The times of what is lost since `from`; what is from before is forgotten.
    pub fn since(&mut self, from: TimestampMs) -> Vec<TimeRange> {
        self.spans.retain(|s| s.newest >= from);
        self.spans.iter().filter_map(|s| TimeRange::inclusive(s.oldest.max(from), s.newest)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: i64) -> TimestampMs {
        TimestampMs(seconds * 1000)
    }

    /// In seconds, both ends included.
    fn since(lost: &mut Lost, from: i64) -> Vec<(i64, i64)> {
        let seconds = |t: TimestampMs| t.0.div_euclid(1000);
        lost.since(at(from)).into_iter().map(|r| (seconds(r.start()), seconds(r.end()))).collect()
    }

    #[test]
    fn what_is_near_is_one_span_and_what_lies_between_others_is_not_lost() {
        let mut lost = Lost::default();
        lost.samples([400, 100, 105, 401].map(at));
        assert_eq!(since(&mut lost, 0), [(100, 105), (400, 401)]);
        lost.between(at(110), at(120));
        lost.between(at(300), at(350));
        lost.samples([at(131), at(104)]);
        assert_eq!(since(&mut lost, 0), [(100, 120), (131, 131), (300, 350), (400, 401)]);
        lost.between(at(0), at(1000));
        assert_eq!(since(&mut lost, 0), [(0, 1000)]);
    }

    #[test]
    fn what_is_before_the_window_is_forgotten() {
        let mut lost = Lost::default();
        lost.between(TimestampMs::MIN, at(50));
        lost.between(at(100), at(200));
        assert_eq!(since(&mut lost, 20), [(20, 50), (100, 200)]);
        assert_eq!(since(&mut lost, 150), [(150, 200)]);
        assert_eq!(since(&mut lost, 201), []);
        assert_eq!(since(&mut lost, 0), []);
    }

    #[test]
    fn an_engine_that_refuses_something_each_minute_for_ever_takes_bounded_memory_and_leaves_the_time_between() {
        let mut lost = Lost::default();
        for minute in 0..10_000 {
            lost.samples([at(minute * 60), at(minute * 60 + 1)]);
            assert!(lost.spans.len() <= SPANS_MAX);
        }
        let spans = since(&mut lost, 0);
        let oldest = (10_000 - 1_440) * 60;
        assert_eq!(spans[0], (0, oldest + 1));
        assert_eq!(spans[1], (oldest + 60, oldest + 61));
        assert_eq!(spans.last(), Some(&(9_999 * 60, 9_999 * 60 + 1)));
    }
}
