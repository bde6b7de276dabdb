//! However many threads help, the answer is the same to the bit, and a cancelled query stops all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use belfry_model::read::{Cancel, ReadError};
use belfry_model::{Labels, METRIC_NAME, SampleBuf, SampleSource, Series, TimeRange, TimestampMs};
use belfry_promql::workers::Workers;
use belfry_promql::{Answer, Query, QueryError, QueryLimits, QueryTime};
use belfry_testkit::MemorySeries;
use proptest::prelude::*;

/// So many threads help from the beginning; each goes home after some questions, as where others need it more.
struct Threads {
    n: usize,
    stays: usize,
    asked: AtomicUsize,
}

impl Threads {
    fn new(n: usize, stays: usize) -> Self {
        Self { n, stays, asked: AtomicUsize::new(0) }
    }
}

impl Workers for Threads {
    fn run(&self, help: &(dyn Fn() + Sync), own: &mut dyn FnMut()) {
        std::thread::scope(|s| {
            (0..self.n).for_each(|_| drop(s.spawn(help)));
            own();
        });
    }

    fn is_wanted(&self) -> bool {
        self.asked.fetch_add(1, SeqCst) % self.stays != self.stays - 1
    }
}

const EXPRESSIONS: [&str; 20] = [
    "a",
    "sum(a)",
    "avg by (x) (a)",
    "stddev by (y) (a * 3)",
    "sum by (x) (rate(a[2m]))",
    "sum(sum_over_time(a[3m]))",
    "avg_over_time(a[2m])",
    "topk(3, a)",
    "topk by (x) (2, rate(a[1m]) > 0)",
    "quantile(0.3, a)",
    "count_values(\"v\", a > 50)",
    "2 - (a ^ 2) % 7 > bool 3",
    "max_over_time((a * 2)[4m:30s])",
    "sum(avg_over_time(rate(a[1m])[3m:20s]))",
    "a / on (x, y) a",
    "absent_over_time(a[1m]) or a",
    "quantile_over_time(1.5, a[1m])",
    "last_over_time(a[1m] @ end())",
    "deriv(a[2m]) + 1",
    "a unless (a > 40)",
];

fn to_the_bit(answer: &Result<Answer, QueryError>) -> String {
    // Debug prints the shortest text that is read back as the same float.
    format!("{answer:?}")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn helpers_do_not_change_the_answer(
        values in prop::collection::vec(prop_oneof![
            6 => -100.0..100.0f64, 1 => Just(1e300), 1 => Just(f64::NAN), 1 => Just(f64::INFINITY),
        ], 200..2_000),
        series in 1usize..1_500,
        expression in 0..EXPRESSIONS.len(),
        helpers in 1usize..4,
        stays in 2usize..9,
        instant in any::<bool>(),
        samples_max in prop_oneof![3 => Just(1_000_000u64), 1 => 10u64..5_000],
    ) {
        let mut store = MemorySeries::new();
        for s in 0..series {
            let pairs = [(METRIC_NAME, "a".to_owned()), ("x", format!("{}", s % 7)), ("y", format!("{s}"))];
            let of = |i: usize| values[(s * 31 + i * 7) % values.len()];
            store.push_floats(&Labels::from_pairs(pairs), TimestampMs(s as i64 % 3), 15_000, &(0..20).map(of).collect::<Vec<_>>());
        }
        let (start, end) = (TimestampMs(60_000), TimestampMs(290_000));
        let time = if instant { QueryTime::Instant(end) } else { QueryTime::Range { start, end, step: Duration::from_secs(10) } };
        let limits = QueryLimits { samples_max, ..QueryLimits::default() };
        let query = Query::parse(EXPRESSIONS[expression], time, limits).expect("a query");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        // What the reader refuses itself is the same with and without helpers.
        let Ok(fetched) = runtime.block_on(query.fetch(&store)) else { return Ok(()) };
        let alone = to_the_bit(&fetched.evaluate(&Cancel::default()));
        let helped = to_the_bit(&fetched.evaluate_with(&Cancel::default(), &Threads::new(helpers, stays)));
        prop_assert_eq!(alone, helped);
    }
}

/// A series; somebody cancels while it is read.
struct Slow {
    reads: Arc<AtomicUsize>,
    cancel: Cancel,
}

/// Reads after which somebody cancels.
const READS: usize = 500;

impl SampleSource for Slow {
    fn decode(&self, _: TimeRange, into: &mut SampleBuf) -> Result<(), ReadError> {
        if self.reads.fetch_add(1, SeqCst) == READS {
            self.cancel.cancel();
        }
        into.push_float(1_000, 1.0);
        Ok(())
    }

    fn estimate(&self) -> u64 {
        1
    }
}

#[test]
fn a_cancelled_query_stops_all_who_help_at_their_next_series() {
    let cancel = Cancel::default();
    let reads = Arc::new(AtomicUsize::new(0));
    let source: Arc<dyn SampleSource> = Arc::new(Slow { reads: reads.clone(), cancel: cancel.clone() });
    let series = |i: usize| Series { labels: Labels::from_pairs([("i", i.to_string())]), samples: source.clone() };
    let store = Given((0..100_000).map(series).collect());
    let time = QueryTime::Instant(TimestampMs(1_000));
    let query = Query::parse("sum by (i) ({i!=\"\"})", time, QueryLimits::default()).expect("a query");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let fetched = runtime.block_on(query.fetch(&store)).expect("series");
    let answer = fetched.evaluate_with(&cancel, &Threads::new(3, usize::MAX));
    assert_eq!(answer, Err(QueryError::Cancelled));
    // Each thread may have been on its way to a series; what it read before that is in the count of others.
    let read = reads.load(SeqCst);
    assert!(read <= READS + 1 + 4, "{read} series were read");
}

/// Whatever is asked for.
struct Given(Vec<Series>);

#[async_trait::async_trait]
impl belfry_model::SeriesRead for Given {
    async fn select(
        &self,
        _: &[belfry_model::Matcher],
        _: TimeRange,
        _: &belfry_model::SelectHints,
        _: belfry_model::SelectLimits,
    ) -> Result<belfry_model::SeriesSet, ReadError> {
        Ok(belfry_model::SeriesSet { series: self.0.clone(), warnings: Vec::new() })
    }

    async fn series(&self, _: &[belfry_model::Matcher], _: TimeRange, _: usize) -> Result<Vec<Labels>, ReadError> {
        Ok(Vec::new())
    }

    async fn label_names(&self, _: &[belfry_model::Matcher], _: TimeRange, _: usize) -> Result<Vec<String>, ReadError> {
        Ok(Vec::new())
    }

    async fn label_values(
        &self,
        _: &str,
        _: &[belfry_model::Matcher],
        _: TimeRange,
        _: usize,
    ) -> Result<Vec<String>, ReadError> {
        Ok(Vec::new())
    }

    async fn exemplars(
        &self,
        _: &[belfry_model::Matcher],
        _: TimeRange,
    ) -> Result<Vec<(Labels, Vec<belfry_model::Exemplar>)>, ReadError> {
        Ok(Vec::new())
    }

    async fn metadata(&self, _: Option<&str>) -> Result<Vec<belfry_model::MetricMetadata>, ReadError> {
        Ok(Vec::new())
    }
}
