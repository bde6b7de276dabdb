//! Queries that would take all memory there is stay within the limit: what is counted, and what is really allocated.
#![allow(unsafe_code, reason = "a global allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use belfry_model::read::Cancel;
use belfry_model::{Labels, METRIC_NAME, TimestampMs};
use belfry_promql::workers::Alone;
use belfry_promql::{Query, QueryError, QueryLimits, QueryTime, Usage};
use belfry_testkit::MemorySeries;

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(now, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const LIMIT: u64 = 16 << 20;
/// What allocation costs beside what is asked for: vectors double as they grow, and are copied then.
const SLACK: usize = 2 * LIMIT as usize;

fn store() -> MemorySeries {
    let mut m = MemorySeries::new();
    for s in 0..2_000 {
        let pairs = [(METRIC_NAME, "a".to_owned()), ("x", (s % 10).to_string()), ("y", s.to_string())];
        let values: Vec<f64> = (0..20).map(|i| f64::from(s * 31 + i)).collect();
        m.push_floats(&Labels::from_pairs(pairs), TimestampMs(0), 15_000, &values);
    }
    m
}

/// What became of it, and the most bytes that it took.
fn run(store: &MemorySeries, text: &str, time: QueryTime) -> (Result<Usage, QueryError>, usize) {
    let limits = QueryLimits { bytes_max: LIMIT, ..QueryLimits::default() };
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    let answer = Query::parse(text, time, limits).and_then(|query| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(query.fetch(store))?.evaluate_measured(&Cancel::default(), &Alone).map(|(_, usage)| usage)
    });
    (answer, PEAK.load(Relaxed) - before)
}

/// One test: the allocator counts what others do at the same time.
#[test]
fn hostile_queries_end_before_they_take_more_than_the_limit() {
    let store = store();
    let hour = |step| QueryTime::Range {
        start: TimestampMs(0),
        end: TimestampMs(3_600_000),
        step: Duration::from_millis(step),
    };
    let now = QueryTime::Instant(TimestampMs(300_000));
    let grow = |n: usize| {
        let inner = (0..n)
            .fold("a".to_owned(), |e, _| format!("label_replace({e}, \"z\", \"$1$1$1$1$1$1$1$1\", \"z\", \"(.*)\")"));
        inner.replacen("(a,", "(label_replace(a, \"z\", \"0123456789\", \"y\", \".*\"),", 1)
    };
    let joined = (0..30).fold("a".to_owned(), |e, _| format!("label_join({e}, \"z\", \"-\", \"z\", \"z\", \"y\")"));
    let sums = ["a"; 6].join(" + on (y) ");
    let refused: [(&str, QueryTime); 16] = [
        ("a", hour(300)),
        ("a * 2 > 1", hour(300)),
        ("a @ 100", hour(300)),
        ("rate(a[5m])", hour(300)),
        ("a * on (x, y) group_left a", hour(1_000)),
        ("sum by (y) (a)", hour(300)),
        ("stddev by (y) (a)", hour(300)),
        ("quantile by (y) (0.5, a)", hour(300)),
        ("topk(1000, a)", hour(300)),
        ("count_values(\"v\", a)", hour(1_000)),
        ("max_over_time(a[1h:100ms])", now),
        ("max_over_time(vector(1)[10000d:1s])", now),
        ("sum_over_time(sum_over_time(sum_over_time(a[1h:1s])[1h:1s])[1h:1s])", now),
        (
            "vector(1) + time()",
            QueryTime::Range { start: TimestampMs(0), end: TimestampMs(40_000_000), step: Duration::from_millis(2) },
        ),
        (&grow(9), now),
        (&joined, now),
    ];
    for (text, time) in refused {
        let (answer, peak) = run(&store, text, time);
        let shown = &text[..text.len().min(80)];
        match answer {
            Err(QueryError::Limit(said)) => {
                assert!(said.contains("bytes of memory") || said.contains("points"), "{shown}: {said}")
            }
            other => panic!("{shown}: {} bytes, {:?}", peak, other.map(|a| a.bytes_peak)),
        }
        assert!(peak <= LIMIT as usize + SLACK, "{shown}: {peak} bytes");
    }
    // What is dropped on the way does not count.
    for (text, time) in
        [(&*sums, now), ("sum(rate(a[5m]))", hour(1_000)), ("topk(3, a)", hour(1_000)), ("count(a or a)", now)]
    {
        let (answer, peak) = run(&store, text, time);
        let counted = answer.unwrap_or_else(|e| panic!("{text}: {e}")).bytes_peak;
        assert!(counted <= LIMIT && peak <= LIMIT as usize + SLACK, "{text}: {counted} counted, {peak} bytes");
    }
}
