//! Series in memory, behind the same trait as the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use belfry_model::read::{ReadError, SampleSource, SelectHints, SelectLimits, Series, SeriesRead, SeriesSet};
use belfry_model::{Exemplar, Labels, Matcher, MetricMetadata, Newest, Sample, SampleBuf, TimeRange, TimestampMs};

/// A reader of which nothing but selections is asked: it answers with what the function makes of the matchers, whatever the
/// range. It knows no names, exemplars or metadata.
#[derive(Debug)]
pub struct SelectOnly<F>(pub F);

#[async_trait]
impl<F: Fn(&[Matcher]) -> SeriesSet + Send + Sync> SeriesRead for SelectOnly<F> {
    async fn select(
        &self,
        matchers: &[Matcher],
        _: TimeRange,
        _: &SelectHints,
        _: SelectLimits,
    ) -> Result<SeriesSet, ReadError> {
        Ok(self.0(matchers))
    }

    async fn series(&self, _: &[Matcher], _: TimeRange, _: usize) -> Result<Vec<Labels>, ReadError> {
        Ok(Vec::new())
    }

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

/// Holds what it is given; a second sample at one time replaces the first.
#[derive(Clone, Debug, Default)]
pub struct MemorySeries {
    series: BTreeMap<Labels, Arc<Samples>>,
}

#[derive(Clone, Debug, Default)]
struct Samples(BTreeMap<i64, Sample>);

impl SampleSource for Samples {
    fn decode(&self, range: TimeRange, into: &mut SampleBuf) -> Result<(), ReadError> {
        self.0.range(range.start().0..range.end().0).for_each(|(_, s)| into.push(s));
        Ok(())
    }

    fn estimate(&self) -> u64 {
        self.0.len() as u64
    }
}

impl MemorySeries {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one sample.
    pub fn push(&mut self, labels: &Labels, sample: Sample) {
        let samples = self.series.entry(labels.clone()).or_default();
        Arc::make_mut(samples).0.insert(sample.at.0, sample);
    }

    /// Adds floats at `start`, `start + step`, …
    pub fn push_floats(&mut self, labels: &Labels, start: TimestampMs, step_ms: i64, values: &[f64]) {
        for (i, v) in values.iter().enumerate() {
            let at = TimestampMs(start.0 + step_ms * i as i64);
            self.push(labels, Sample { at, value: belfry_model::Value::Float(*v), start: None });
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.series.clear();
    }

    /// All series with their samples, in order of labels.
    pub fn iter(&self) -> impl Iterator<Item = (&Labels, impl Iterator<Item = &Sample>)> {
        self.series.iter().map(|(l, s)| (l, s.0.values()))
    }

    fn matching(&self, matchers: &[Matcher], range: TimeRange) -> impl Iterator<Item = (&Labels, &Arc<Samples>)> {
        self.series.iter().filter(move |(l, s)| {
            matchers.iter().all(|m| m.matches_labels(l)) && s.0.range(range.start().0..range.end().0).next().is_some()
        })
    }
}

fn limited<T>(items: impl Iterator<Item = T>, limit: usize) -> Vec<T> {
    items.take(if limit == 0 { usize::MAX } else { limit }).collect()
}

#[async_trait]
impl SeriesRead for MemorySeries {
    async fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        _hints: &SelectHints,
        limits: SelectLimits,
    ) -> Result<SeriesSet, ReadError> {
        let series: Vec<Series> = self
            .matching(matchers, range)
            .map(|(l, s)| Series { labels: l.clone(), samples: s.clone() as Arc<dyn SampleSource> })
            .collect();
        if series.len() > limits.series_max {
            return Err(ReadError::TooManySeries { limit: limits.series_max });
        }
        Ok(SeriesSet { series, warnings: Vec::new() })
    }

    async fn newest(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        limits: SelectLimits,
    ) -> Result<Option<Newest>, ReadError> {
        let mut newest = Newest::default();
        let mut labels = Vec::new();
        for (of, samples) in self.matching(matchers, range) {
            let mut buf = SampleBuf::default();
            samples.decode(range, &mut buf)?;
            let (Some(at), Some(value)) = (buf.times.last(), buf.floats.last()) else { continue };
            newest.of.push(labels.len() as u32);
            labels.push(of.clone());
            newest.times.push(*at);
            newest.floats.push(*value);
            newest.histograms.push(buf.histograms.last().cloned().flatten());
        }
        if labels.len() > limits.series_max {
            return Err(ReadError::TooManySeries { limit: limits.series_max });
        }
        newest.labels = labels.into();
        Ok(Some(newest))
    }

    async fn series(&self, matchers: &[Matcher], range: TimeRange, limit: usize) -> Result<Vec<Labels>, ReadError> {
        Ok(limited(self.matching(matchers, range).map(|(l, _)| l.clone()), limit))
    }

    async fn label_names(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<String>, ReadError> {
        let names: std::collections::BTreeSet<String> =
            self.matching(matchers, range).flat_map(|(l, _)| l.iter().map(|l| l.name.to_string())).collect();
        Ok(limited(names.into_iter(), limit))
    }

    async fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<String>, ReadError> {
        let values: std::collections::BTreeSet<String> =
            self.matching(matchers, range).filter_map(|(l, _)| l.get(name).map(str::to_owned)).collect();
        Ok(limited(values.into_iter(), limit))
    }

    async fn exemplars(
        &self,
        _matchers: &[Matcher],
        _range: TimeRange,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, ReadError> {
        Ok(Vec::new())
    }

    async fn metadata(&self, _metric: Option<&str>) -> Result<Vec<MetricMetadata>, ReadError> {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use belfry_model::METRIC_NAME;

    #[test]
    fn samples_come_back_in_order_and_within_the_range() {
        let labels = Labels::from_pairs([(METRIC_NAME, "up")]);
        let mut m = MemorySeries::new();
        m.push_floats(&labels, TimestampMs(10), 10, &[1.0, 2.0, 3.0]);
        let range = TimeRange::inclusive(TimestampMs(10), TimestampMs(20)).unwrap_or(TimeRange::ALL);
        let found: Vec<_> = m.matching(&[Matcher::equal(METRIC_NAME, "up")], range).collect();
        assert_eq!(found.len(), 1);
        let mut buf = SampleBuf::default();
        assert_eq!(found[0].1.decode(range, &mut buf), Ok(()));
        assert_eq!((buf.times, buf.floats), (vec![10, 20], vec![1.0, 2.0]));
        assert_eq!(m.matching(&[Matcher::equal(METRIC_NAME, "down")], range).count(), 0);
    }
}
