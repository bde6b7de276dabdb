//! Where a reader gives the newest sample of each series, the answer is the one that comes of all samples, to the bit.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use belfry_model::read::{Cancel, ReadError};
use belfry_model::sample::{Histogram, stale_nan};
use belfry_model::{
    Exemplar, Labels, METRIC_NAME, Matcher, MetricMetadata, Sample, SelectHints, SelectLimits, SeriesRead, SeriesSet,
    TimeRange, TimestampMs, Value,
};
use belfry_promql::{Answer, Query, QueryError, QueryLimits, QueryTime};
use belfry_testkit::MemorySeries;
use proptest::prelude::*;

const EXPRESSIONS: [&str; 26] = [
    "a",
    "count(a)",
    "count by (x) ({y!=\"\"})",
    "sum by (x) (a)",
    "sum without (x) ({__name__=~\"a|b\"})",
    "avg by (y) (a)",
    "group by (__name__) ({y!=\"\"})",
    "min by (x, z) (a)",
    "max by (y) (a offset 40s)",
    "stddev by (x) (a)",
    "stdvar(a)",
    "quantile(0.3, a)",
    "topk(2, a)",
    "count_values by (x) (\"v\", a)",
    "sum by (x) (a > 1) + on (x) group_left sum by (x, y) (b)",
    "sum(a * 2) / count(a @ 100)",
    "timestamp(a)",
    "sum(timestamp(a @ end()))",
    "a / on (x, y) b",
    "a or b",
    "histogram_count(a)",
    "sum(a @ 50) + sum(sum_over_time(a[1m:10s] @ 50 offset 1m)) or sum(a)",
    "absent(a) or sum by (x) (-a)",
    "sum(rate(a[1m])) + sum(a)",
    "info(a, {__name__=\"b\"})",
    "max_over_time(sum by (x) (a)[1m:1m])",
];

/// The same series, by selects alone.
struct Selected(MemorySeries);

#[async_trait]
impl SeriesRead for Selected {
    async fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        hints: &SelectHints,
        limits: SelectLimits,
    ) -> Result<SeriesSet, ReadError> {
        self.0.select(matchers, range, hints, limits).await
    }

    async fn series(&self, matchers: &[Matcher], range: TimeRange, limit: usize) -> Result<Vec<Labels>, ReadError> {
        self.0.series(matchers, range, limit).await
    }

    async fn label_names(&self, m: &[Matcher], range: TimeRange, limit: usize) -> Result<Vec<String>, ReadError> {
        self.0.label_names(m, range, limit).await
    }

    async fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<String>, ReadError> {
        self.0.label_values(name, matchers, range, limit).await
    }

    async fn exemplars(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, ReadError> {
        self.0.exemplars(matchers, range).await
    }

    async fn metadata(&self, metric: Option<&str>) -> Result<Vec<MetricMetadata>, ReadError> {
        self.0.metadata(metric).await
    }
}

fn limits() -> QueryLimits {
    QueryLimits { lookback: Duration::from_secs(60), ..QueryLimits::default() }
}

fn answer(reader: &dyn SeriesRead, text: &str, at: i64, limits: QueryLimits) -> Result<Answer, QueryError> {
    let query = Query::parse(text, QueryTime::Instant(TimestampMs(at)), limits).expect("a query");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(query.fetch(reader))?.evaluate(&Cancel::default())
}

/// What counts of an answer: what it took is another matter. NaN is no reason to differ.
fn shown(answer: Result<Answer, QueryError>) -> String {
    match answer {
        Ok(a) => format!("{:?} {:?} {:?}", a.value, a.warnings, a.infos),
        Err(e) => e.to_string(),
    }
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        8 => (0i32..40).prop_map(|n| Value::Float(f64::from(n) / 7.0)),
        1 => Just(Value::Float(stale_nan())),
        1 => Just(Value::Float(f64::NAN)),
        1 => Just(Value::Float(f64::INFINITY)),
        1 => (1u8..9).prop_map(|n| {
            let count = f64::from(n);
            Value::Histogram(Arc::new(Histogram { count, sum: count * 2.0, zero_count: count, ..Histogram::default() }))
        }),
    ]
}

proptest! {
    #[test]
    fn the_newest_samples_are_as_good_as_all(
        series in proptest::collection::vec(
            (0usize..3, 0u8..3, 0u8..3, proptest::collection::vec((0i64..200_000, value()), 1..6)), 0..12,
        ),
        at in 0i64..260_000,
    ) {
        let mut memory = MemorySeries::new();
        for (name, x, y, samples) in series {
            let set = Labels::from_pairs([
                (METRIC_NAME, ["a", "a", "b"][name].to_owned()), ("x", x.to_string()), ("y", y.to_string()),
            ]);
            for (at, value) in samples {
                memory.push(&set, Sample { at: TimestampMs(at), value, start: None });
            }
        }
        let selected = Selected(memory.clone());
        for text in EXPRESSIONS {
            let (newest, all) = (answer(&memory, text, at, limits()), answer(&selected, text, at, limits()));
            prop_assert_eq!(shown(newest), shown(all), "{} at {}", text, at);
        }
    }
}

#[test]
fn limits_hold_for_the_newest_samples_too() {
    let mut memory = MemorySeries::new();
    for i in 0..100 {
        let set = Labels::from_pairs([(METRIC_NAME, "a".to_owned()), ("i", format!("{i:03}"))]);
        memory.push_floats(&set, TimestampMs(0), 1_000, &[1.0, 2.0]);
    }
    for limits in [
        QueryLimits { series_max: 99, ..limits() },
        QueryLimits { samples_max: 99, ..limits() },
        QueryLimits { points_max: 99, ..limits() },
        QueryLimits { bytes_max: 10_000, ..limits() },
    ] {
        let error = answer(&memory, "sum by (i) (a)", 2_000, limits).expect_err("a limit");
        assert!(matches!(error, QueryError::Limit(_)), "{error}");
    }
    assert!(answer(&memory, "sum by (i) (a)", 2_000, limits()).is_ok());
}
