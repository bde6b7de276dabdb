//! Samples of one test in memory.
//!
//! Invariant: a reader sees nothing later than the horizon: what has not happened yet at an evaluation.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use belfry_model::read::{ReadError, SampleSource, SelectHints, SelectLimits, Series, SeriesRead, SeriesSet};
use belfry_model::{
    Exemplar, Labels, METRIC_NAME, MatchOp, Matcher, MetricMetadata, Sample, SampleBuf, TimeRange, TimestampMs, Value,
};

use super::histogram;

#[derive(Clone, Debug, Default)]
struct Samples(Vec<Sample>);

impl SampleSource for Samples {
    fn decode(&self, range: TimeRange, into: &mut SampleBuf) -> Result<(), ReadError> {
        let from = self.0.partition_point(|s| s.at < range.start());
        let to = self.0.partition_point(|s| s.at < range.end());
        self.0.get(from..to).unwrap_or(&[]).iter().for_each(|s| into.push(s));
        Ok(())
    }

    fn estimate(&self) -> u64 {
        self.0.len() as u64
    }
}

/// The part of [`Samples`] that has happened.
struct Past {
    samples: Arc<Samples>,
    horizon: TimestampMs,
}

impl SampleSource for Past {
    fn decode(&self, range: TimeRange, into: &mut SampleBuf) -> Result<(), ReadError> {
        let end = range.end().min(TimestampMs(self.horizon.0.saturating_add(1)));
        TimeRange::new(range.start(), end).map_or(Ok(()), |r| self.samples.decode(r, into))
    }

    fn estimate(&self) -> u64 {
        self.samples.estimate()
    }
}

/// All series, by metric.
pub(crate) struct Memory {
    series: BTreeMap<String, BTreeMap<Labels, Arc<Samples>>>,
    pub horizon: TimestampMs,
}

impl Memory {
    pub fn new(horizon: TimestampMs) -> Self {
        Self { series: BTreeMap::new(), horizon }
    }

    /// Adds one sample; a time that has one already keeps it, as Prometheus refuses a second.
    pub fn push(&mut self, labels: &Labels, at: TimestampMs, value: Value) {
        let by_labels = self.series.entry(labels.metric().unwrap_or("").to_owned()).or_default();
        let samples = &mut Arc::make_mut(by_labels.entry(labels.clone()).or_default()).0;
        let i = samples.partition_point(|s| s.at < at);
        if samples.get(i).is_none_or(|s| s.at != at) {
            let previous = i.checked_sub(1).and_then(|p| samples.get(p)).map(|s| &s.value);
            let value = histogram::stored(previous, value);
            samples.insert(i, Sample { at, value, start: None });
        }
    }

    /// Adds what a rule wrote, as Prometheus would: after all samples of its series that have happened.
    pub fn append(&mut self, labels: &Labels, at: TimestampMs, value: Value) -> Result<(), &'static str> {
        let by_labels = labels.metric().and_then(|name| self.series.get(name)).and_then(|all| all.get(labels));
        let past = by_labels.map(|s| s.0.partition_point(|s| s.at <= self.horizon));
        let last = past.and_then(|n| n.checked_sub(1)).and_then(|i| by_labels?.0.get(i));
        match last {
            Some(last) if last.at > at => return Err("out of order sample"),
            Some(last) if last.at == at => {
                let before = self.before(labels, at);
                let is_same = match (&last.value, histogram::stored(before, value)) {
                    (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
                    (a, b) => *a == b,
                };
                return if is_same { Ok(()) } else { Err("duplicate sample for timestamp") };
            }
            _ => self.push(labels, at, value),
        }
        Ok(())
    }

    fn before(&self, labels: &Labels, at: TimestampMs) -> Option<&Value> {
        let samples = &self.series.get(labels.metric()?)?.get(labels)?.0;
        samples.partition_point(|s| s.at < at).checked_sub(1).and_then(|i| samples.get(i)).map(|s| &s.value)
    }

    fn matching<'a>(&'a self, matchers: &'a [Matcher]) -> impl Iterator<Item = (&'a Labels, &'a Arc<Samples>)> {
        let name = matchers.iter().find(|m| m.name() == METRIC_NAME && m.op() == MatchOp::Equal).map(Matcher::value);
        let of_one = name.into_iter().filter_map(|n| self.series.get(n));
        let of_all = self.series.values().filter(move |_| name.is_none());
        of_one.chain(of_all).flatten().filter(|(l, _)| matchers.iter().all(|m| m.matches_labels(l)))
    }
}

#[async_trait]
impl SeriesRead for Memory {
    async fn select(
        &self,
        matchers: &[Matcher],
        _range: TimeRange,
        _hints: &SelectHints,
        limits: SelectLimits,
    ) -> Result<SeriesSet, ReadError> {
        let mut series: Vec<Series> = self
            .matching(matchers)
            .map(|(l, s)| Series {
                labels: l.clone(),
                samples: Arc::new(Past { samples: s.clone(), horizon: self.horizon }),
            })
            .collect();
        if series.len() > limits.series_max {
            return Err(ReadError::TooManySeries { limit: limits.series_max });
        }
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(SeriesSet { series, warnings: Vec::new() })
    }

    async fn series(&self, matchers: &[Matcher], _range: TimeRange, limit: usize) -> Result<Vec<Labels>, ReadError> {
        let limit = if limit == 0 { usize::MAX } else { limit };
        Ok(self.matching(matchers).map(|(l, _)| l.clone()).take(limit).collect())
    }

    // `info()` asks for series only; nothing in a test asks for the rest.
    async fn label_names(&self, _: &[Matcher], _: TimeRange, _: usize) -> Result<Vec<String>, ReadError> {
        Ok(Vec::new())
    }

    async fn label_values(&self, _: &str, _: &[Matcher], _: TimeRange, _: usize) -> Result<Vec<String>, ReadError> {
        Ok(Vec::new())
    }

    async fn exemplars(&self, _: &[Matcher], _: TimeRange) -> Result<Vec<(Labels, Vec<Exemplar>)>, ReadError> {
        Ok(Vec::new())
    }

    async fn metadata(&self, _: Option<&str>) -> Result<Vec<MetricMetadata>, ReadError> {
        Ok(Vec::new())
    }
}
