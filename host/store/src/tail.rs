//! The newest samples of a series, not compressed yet.
//!
//! Invariant: times ascend strictly; there are never more than [`TAIL_SAMPLES`].
//! Not here: what happens to a full tail (`series`).
//!
//! The columns stand in the series itself: an append touches one place in memory instead of three.

use std::sync::Arc;

use belfry_model::SampleBuf;
use belfry_model::sample::Histogram;

use crate::series::{Point, Standing};

/// The tail is sealed when it has so many samples.
pub const TAIL_SAMPLES: usize = 16;

/// See the module.
#[derive(Clone, Default)]
pub struct Tail {
    len: u8,
    times: [i64; TAIL_SAMPLES],
    floats: [f64; TAIL_SAMPLES],
    /// Only with series that have histograms or start timestamps.
    extra: Option<Box<Extra>>,
}

#[derive(Clone, Default)]
struct Extra {
    histograms: [Option<Arc<Histogram>>; TAIL_SAMPLES],
    starts: [i64; TAIL_SAMPLES],
}

impl Tail {
    /// How many samples.
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// None?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Must it be sealed?
    pub fn is_full(&self) -> bool {
        self.len() == TAIL_SAMPLES
    }

    /// When the samples were.
    pub fn times(&self) -> &[i64] {
        &self.times[..self.len()]
    }

    /// Puts a sample at its place. The tail must not be full, and nothing may stand at the time.
    pub fn insert(&mut self, p: &Point<'_>) {
        let n = self.len();
        debug_assert!(n < TAIL_SAMPLES);
        // Nearly always the end.
        let i = match self.times[..n].last() {
            Some(last) if *last > p.at => self.times().partition_point(|t| *t < p.at),
            _ => n,
        };
        self.times.copy_within(i..n, i + 1);
        self.floats.copy_within(i..n, i + 1);
        self.times[i] = p.at;
        self.floats[i] = p.value;
        self.len += 1;
        if self.extra.is_some() || p.histogram.is_some() || p.start != 0 {
            let extra = self.extra.get_or_insert_default();
            extra.starts.copy_within(i..n, i + 1);
            extra.starts[i] = p.start;
            extra.histograms[i..=n].rotate_right(1);
            extra.histograms[i] = p.histogram.cloned();
        }
    }

    /// What stands at the sample's time.
    pub fn standing(&self, p: &Point<'_>) -> Standing {
        let Ok(i) = self.times().binary_search(&p.at) else { return Standing::Nothing };
        let histogram = self.extra.as_ref().and_then(|e| e.histograms[i].as_ref());
        if p.is(self.floats[i], histogram) { Standing::Same } else { Standing::Other }
    }

    /// The samples with times from `start` to before `end`, by number.
    pub fn within(&self, start: i64, end: i64) -> std::ops::Range<usize> {
        let times = self.times();
        let from = times.partition_point(|t| *t < start);
        from..times.partition_point(|t| *t < end).max(from)
    }

    /// Appends the samples of these numbers to `into`.
    pub fn append_to(&self, range: std::ops::Range<usize>, into: &mut SampleBuf) {
        if range.is_empty() {
            return;
        }
        let n = into.len();
        into.times.extend_from_slice(&self.times[range.clone()]);
        into.floats.extend_from_slice(&self.floats[range.clone()]);
        let total = into.times.len();
        let extra = self.extra.as_deref();
        let histograms = extra.map(|e| &e.histograms[range.clone()]).filter(|h| h.iter().any(Option::is_some));
        match histograms {
            Some(h) => {
                into.histograms.resize(n, None);
                into.histograms.extend_from_slice(h);
            }
            None if into.histograms.is_empty() => {}
            None => into.histograms.resize(total, None),
        }
        match extra.map(|e| &e.starts[range]).filter(|s| s.iter().any(|s| *s != 0)) {
            Some(s) => {
                into.starts.resize(n, 0);
                into.starts.extend_from_slice(s);
            }
            None if into.starts.is_empty() => {}
            None => into.starts.resize(total, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_stand_in_order_of_time_whatever_their_kind() {
        let h = Arc::new(Histogram { sum: 5.0, ..Histogram::default() });
        let point = |at, histogram, start| Point { at, value: at as f64, start, histogram };
        let mut tail = Tail::default();
        for p in
            [point(30, None, 0), point(10, None, 0), point(20, Some(&h), 0), point(15, None, 7), point(40, None, 0)]
        {
            assert_eq!(tail.standing(&p), Standing::Nothing);
            tail.insert(&p);
            assert_eq!(tail.standing(&p), Standing::Same);
        }
        assert_eq!(tail.standing(&Point { value: 11.0, ..point(10, None, 0) }), Standing::Other);
        assert_eq!(tail.standing(&point(20, None, 0)), Standing::Other, "a float is no histogram");
        let mut buf = SampleBuf::default();
        tail.append_to(tail.within(10, 40), &mut buf);
        assert_eq!(buf.times, [10, 15, 20, 30]);
        assert_eq!(buf.starts, [0, 7, 0, 0]);
        assert_eq!(buf.histograms, [None, None, Some(h), None]);
        buf.clear();
        tail.append_to(tail.within(30, 41), &mut buf);
        assert_eq!((buf.times.len(), buf.starts.len(), buf.histograms.len()), (2, 0, 0));
    }
}
