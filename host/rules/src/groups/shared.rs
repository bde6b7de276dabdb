//! What the rules of one evaluation of a group read, read once: a thousand rules over the same series look them up, and
//! gather their samples, as often as there are evaluations.
//!
//! Invariant: a rule sees what it would have seen when the first rule that asks for the same was evaluated, and all that
//! rules of its group recorded before it. What is kept goes with the evaluation.
//! Not here: decoding and evaluation, which each rule does for itself.

use std::collections::BTreeSet;
use std::sync::Mutex;

use async_trait::async_trait;
use belfry_model::read::{Newest, ReadError};
use belfry_model::{
    Exemplar, Labels, METRIC_NAME, MatchOp, Matcher, MetricMetadata, SelectHints, SelectLimits, SeriesRead, SeriesSet,
    TimeRange,
};

/// Series of all selections that are kept: some 100 bytes each. What is more is read again by each rule.
pub const SERIES_KEPT_MAX: usize = 100_000;
/// Selections that are kept: rules that differ in all they read leave nothing to share.
pub const SELECTIONS_KEPT_MAX: usize = 64;

struct Selection {
    matchers: Vec<Matcher>,
    range: TimeRange,
    hints: SelectHints,
    samples_max: u64,
    set: SeriesSet,
}

impl Selection {
    /// May a series of one of these names be among what was selected?
    fn reads(&self, names: &BTreeSet<&str>) -> bool {
        let name = self.matchers.iter().find(|m| m.name() == METRIC_NAME && m.op() == MatchOp::Equal);
        name.is_none_or(|m| names.contains(m.value()))
    }
}

/// Selections of one evaluation of a group.
#[derive(Default)]
pub struct Shared(Mutex<Vec<Selection>>);

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Shared({} selections)", self.kept().len())
    }
}

impl Shared {
    /// Reads through `reader` what was not read yet.
    pub fn over<'a>(&'a self, reader: &'a dyn SeriesRead) -> SharedReads<'a> {
        SharedReads { shared: self, reader }
    }

    /// These were written: what may lack them is forgotten.
    pub(super) fn recorded<'l>(&self, series: impl Iterator<Item = &'l Labels>) {
        let names: BTreeSet<&str> = series.filter_map(|l| l.metric()).collect();
        if !names.is_empty() {
            self.kept().retain(|s| !s.reads(&names));
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Vec<Selection>> {
        // A list of whole entries: a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn find(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        hints: &SelectHints,
        limits: SelectLimits,
    ) -> Option<SeriesSet> {
        let kept = self.kept();
        let same = |s: &&Selection| {
            s.range == range && s.hints == *hints && s.samples_max == limits.samples_max && s.matchers == matchers
        };
        // One that has more series than this query may have fails as it does without us.
        kept.iter().find(same).map(|s| s.set.clone()).filter(|set| set.series.len() <= limits.series_max)
    }

    fn keep(&self, selection: Selection) {
        let mut kept = self.kept();
        // Rules side by side may have read the same.
        let is_there = |s: &Selection| {
            s.range == selection.range && s.hints == selection.hints && s.matchers == selection.matchers
        };
        if kept.iter().any(is_there) {
            return;
        }
        let series: usize = kept.iter().map(|s| s.set.series.len()).sum();
        if kept.len() < SELECTIONS_KEPT_MAX && series + selection.set.series.len() <= SERIES_KEPT_MAX {
            kept.push(selection);
        }
    }
}

/// A reader that shares its selections with the other rules of an evaluation.
pub struct SharedReads<'a> {
    shared: &'a Shared,
    reader: &'a dyn SeriesRead,
}

#[async_trait]
impl SeriesRead for SharedReads<'_> {
    async fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        hints: &SelectHints,
        limits: SelectLimits,
    ) -> Result<SeriesSet, ReadError> {
        if let Some(set) = self.shared.find(matchers, range, hints, limits) {
            return Ok(set);
        }
        let set = self.reader.select(matchers, range, hints, limits).await?;
        let (matchers, hints, samples_max) = (matchers.to_vec(), hints.clone(), limits.samples_max);
        self.shared.keep(Selection { matchers, range, hints, samples_max, set: set.clone() });
        Ok(set)
    }

    async fn newest(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        limits: SelectLimits,
    ) -> Result<Option<Newest>, ReadError> {
        self.reader.newest(matchers, range, limits).await
    }

    async fn series(&self, matchers: &[Matcher], range: TimeRange, limit: usize) -> Result<Vec<Labels>, ReadError> {
        self.reader.series(matchers, range, limit).await
    }

    async fn label_names(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<String>, ReadError> {
        self.reader.label_names(matchers, range, limit).await
    }

    async fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<String>, ReadError> {
        self.reader.label_values(name, matchers, range, limit).await
    }

    async fn exemplars(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, ReadError> {
        self.reader.exemplars(matchers, range).await
    }

    async fn metadata(&self, metric: Option<&str>) -> Result<Vec<MetricMetadata>, ReadError> {
        self.reader.metadata(metric).await
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Waker};

    use belfry_model::TimestampMs;
    use belfry_testkit::SelectOnly;

    use super::*;

    fn range(minutes: i64) -> TimeRange {
        TimeRange::new(TimestampMs(0), TimestampMs(minutes * 60_000)).expect("a range")
    }

    fn named(name: &str) -> Vec<Matcher> {
        vec![Matcher::new(METRIC_NAME, MatchOp::Equal, name).expect("a matcher")]
    }

    /// Each asks for a metric, or for any of a job, over so many minutes; the answer is how often the store was asked.
    fn asked(shared: &Shared, questions: &[(&str, i64)]) -> usize {
        let count = AtomicUsize::new(0);
        let reader = SelectOnly(|_: &[Matcher]| {
            count.fetch_add(1, Ordering::Relaxed);
            SeriesSet::default()
        });
        for (name, minutes) in questions {
            let matchers = match *name {
                "" => vec![Matcher::new("job", MatchOp::Equal, "a").expect("a matcher")],
                name => named(name),
            };
            let reads = shared.over(&reader);
            let hints = SelectHints::default();
            let mut select = std::pin::pin!(reads.select(&matchers, range(*minutes), &hints, SelectLimits::default()));
            let answer = select.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(answer, Poll::Ready(Ok(_))));
        }
        count.load(Ordering::Relaxed)
    }

    #[test]
    fn the_same_is_read_once_and_again_when_a_rule_wrote_it() {
        let shared = Shared::default();
        assert_eq!(asked(&shared, &[("a", 5), ("a", 5), ("a", 6), ("b", 5), ("", 5), ("", 5)]), 4);
        let written = Labels::from_pairs([(METRIC_NAME, "a")]);
        shared.recorded([&written].into_iter());
        assert_eq!(asked(&shared, &[("b", 5)]), 0, "nobody wrote it");
        assert_eq!(asked(&shared, &[("a", 5), ("a", 6), ("", 5)]), 3, "a selector without a name may read it");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let shared = Shared::default();
        let minutes: Vec<i64> = (1..=SELECTIONS_KEPT_MAX as i64 + 10).collect();
        let questions: Vec<(&str, i64)> = minutes.iter().map(|m| ("a", *m)).collect();
        asked(&shared, &questions);
        assert_eq!(asked(&shared, &questions), 10);
    }
}
