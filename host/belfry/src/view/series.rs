//! Current values and bucketed series.

use std::collections::BTreeMap;

use belfry_dashboard::backend::BackendError;
use belfry_dashboard::dto::{
    self, Aggregator, BucketedSeries, CurrentMetric, CurrentMetrics, CurrentValue, MetricsQuery, SourceMetrics,
    TimeSeries, TimeSeriesRequest,
};
use belfry_model::read::{ReadError, SelectLimits, readable};
use belfry_model::sample::is_stale;
use belfry_model::{
    METRIC_NAME, MatchOp, Matcher, MetricMetadata, SampleBuf, SelectHints, SeriesRead as _, TimeRange, TimestampMs,
};

use crate::app::App;
use crate::spec::SOURCE_LABEL;

/// Series in one answer of `/api/metrics`.
const CURRENT_SERIES_MAX: usize = 10_000;
/// How old a current value may be.
const CURRENT: std::time::Duration = std::time::Duration::from_secs(300);

/// The newest value of every series that had one lately.
pub async fn current(app: &App, query: MetricsQuery) -> Result<CurrentMetrics, BackendError> {
    let now = app.clock.now();
    let mut matchers = vec![match &query.metric {
        Some(metric) => Matcher::equal(METRIC_NAME, metric.clone()),
        None => Matcher::new(METRIC_NAME, MatchOp::NotEqual, "").map_err(|e| invalid(e.to_string()))?,
    }];
    matchers.extend(query.source.map(|s| Matcher::equal(SOURCE_LABEL, s)));
    let range = TimeRange::inclusive(now.minus(CURRENT), now).ok_or_else(|| invalid("the clock is off"))?;
    let hints = SelectHints { limit: CURRENT_SERIES_MAX + 1, ..SelectHints::default() };
    // The newest values of this Belfry's own sources: they are here.
    let set = app.store.select(&matchers, range, &hints, SelectLimits::default()).await.map_err(read)?;
    let metadata = metadata(app).await?;
    let truncated = set.series.len() > CURRENT_SERIES_MAX;
    let series: Vec<_> = set.series.into_iter().take(CURRENT_SERIES_MAX).collect();
    let sources = blocking(move || {
        let mut by_source: BTreeMap<String, BTreeMap<String, Vec<CurrentValue>>> = BTreeMap::new();
        let mut buf = SampleBuf::default();
        for s in &series {
            buf.clear();
            readable(s.samples.decode(range, &mut buf))?;
            let Some(last) = buf.len().checked_sub(1).filter(|i| !is_stale(buf.floats[*i])) else { continue };
            let source = s.labels.get(SOURCE_LABEL).unwrap_or("").to_owned();
            let metric = s.labels.metric().unwrap_or("").to_owned();
            by_source.entry(source).or_default().entry(metric).or_default().push(CurrentValue {
                labels: s.labels.without_name(),
                value: dto::finite(buf.floats[last]),
                at_ms: TimestampMs(buf.times[last]),
            });
        }
        Ok(by_source)
    })
    .await?;
    let describe = |(name, series): (String, Vec<CurrentValue>)| {
        let m = metadata.get(&name).cloned().unwrap_or_default();
        CurrentMetric { name, kind: m.kind, unit: m.unit, help: m.help, series }
    };
    let sources = sources
        .into_iter()
        .map(|(source, metrics)| SourceMetrics { source, metrics: metrics.into_iter().map(describe).collect() });
    Ok(CurrentMetrics { now_ms: now, sources: sources.collect(), truncated })
}

/// Samples in buckets.
pub async fn bucketed(app: &App, request: TimeSeriesRequest) -> Result<TimeSeries, BackendError> {
    let mut matchers = belfry_promql::parse_selector(&request.metric).map_err(|e| invalid(format!("`metric`: {e}")))?;
    matchers.extend(request.source.clone().map(|s| Matcher::equal(SOURCE_LABEL, s)));
    let range = TimeRange::new(request.from_ms, request.to_ms).ok_or_else(|| invalid("the range is empty"))?;
    let set = app
        .store_reader()
        .select(&matchers, range, &SelectHints::default(), SelectLimits::default())
        .await
        .map_err(read)?;
    let metric = set.series.first().and_then(|s| s.labels.metric()).unwrap_or("").to_owned();
    let unit = metadata(app).await?.remove(&metric).map(|m| m.unit).unwrap_or_default();
    let (width, aggregator) = (request.interval_ms, request.aggregator);
    let series = blocking(move || {
        let mut out = Vec::new();
        let mut buf = SampleBuf::default();
        for s in &set.series {
            buf.clear();
            readable(s.samples.decode(range, &mut buf))?;
            let points = buckets(&buf, width, aggregator);
            if !points.is_empty() {
                out.push(BucketedSeries { labels: s.labels.without_name(), points });
            }
        }
        Ok(out)
    })
    .await?;
    Ok(TimeSeries {
        metric: request.metric,
        unit,
        aggregator,
        from_ms: TimestampMs(request.from_ms.0.div_euclid(width) * width),
        to_ms: request.to_ms,
        interval_seconds: width as f64 / 1_000.0,
        series,
        warnings: set.warnings,
    })
}

fn buckets(buf: &SampleBuf, width: i64, aggregator: Aggregator) -> Vec<(i64, Option<f64>)> {
    let mut out: Vec<(i64, Option<f64>)> = Vec::new();
    let mut i = 0;
    while i < buf.len() {
        let start = buf.times[i].div_euclid(width) * width;
        let end = buf.times[i..].iter().position(|t| *t >= start + width).map_or(buf.len(), |n| i + n);
        let values: Vec<f64> = buf.floats[i..end].iter().copied().filter(|v| !is_stale(*v)).collect();
        if !values.is_empty() {
            out.push((start, dto::finite(aggregate(&values, aggregator))));
        }
        i = end;
    }
    out
}

fn aggregate(values: &[f64], aggregator: Aggregator) -> f64 {
    let sum = || values.iter().sum::<f64>();
    match aggregator {
        Aggregator::Sum => sum(),
        Aggregator::Avg => sum() / values.len() as f64,
        Aggregator::Min => values.iter().copied().fold(f64::INFINITY, f64::min),
        Aggregator::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        Aggregator::Count => values.len() as f64,
    }
}

async fn metadata(app: &App) -> Result<BTreeMap<String, MetricMetadata>, BackendError> {
    let all = app.store.metadata(None).await.map_err(read)?;
    Ok(all.into_iter().map(|m| (m.name.clone(), m)).collect())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
) -> Result<T, BackendError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| BackendError::Failed { message: e.to_string(), help: None })?.map_err(read)
}

fn invalid(message: impl Into<String>) -> BackendError {
    BackendError::Invalid { message: message.into(), help: None }
}

fn read(error: ReadError) -> BackendError {
    match error {
        ReadError::TooManySeries { .. } | ReadError::TooManySamples { .. } => invalid(error.to_string()),
        ReadError::Cancelled | ReadError::Unavailable(_) => BackendError::Unavailable { message: error.to_string() },
        ReadError::Damaged(_) => BackendError::Failed { message: error.to_string(), help: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_start_at_multiples_of_their_width_and_leave_gaps_out() {
        let mut buf = SampleBuf::default();
        for (at, v) in [(1_000, 1.0), (9_000, 3.0), (10_000, 5.0), (35_000, f64::NAN)] {
            buf.push_float(at, v);
        }
        let at = |a| buckets(&buf, 10_000, a);
        assert_eq!(at(Aggregator::Avg), [(0, Some(2.0)), (10_000, Some(5.0)), (30_000, None)]);
        assert_eq!(at(Aggregator::Max)[0], (0, Some(3.0)));
        assert_eq!(at(Aggregator::Count)[0], (0, Some(2.0)));
    }
}
