//! Queries that would take all memory there is stay within the limit: what is counted, and what is really allocated.
#![allow(unsafe_code, reason = "a global allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use belfry_model::read::Cancel;
use belfry_model::{Histogram, Labels, METRIC_NAME, Sample, TimestampMs, Value};
use belfry_promql::syntax::ast::ValueType;
use belfry_promql::syntax::functions::Function;
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
fn run(store: &MemorySeries, text: &str, time: QueryTime, bytes_max: u64) -> (Result<Usage, QueryError>, usize) {
    let limits = QueryLimits { bytes_max, ..QueryLimits::default() };
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    let answer = Query::parse(text, time, limits).and_then(|query| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(query.fetch(store))?.evaluate_measured(&Cancel::default(), &Alone).map(|(_, usage)| usage)
    });
    (answer, PEAK.load(Relaxed) - before)
}

/// Series that live for a minute, one after the other: at each step a few of them, over all steps very many. A column for
/// each would take three times the limit.
const PODS: i64 = 400;
const LIFE_MS: i64 = 60_000;
const PODS_LIMIT: u64 = 4 << 20;

fn churn() -> QueryTime {
    let step = Duration::from_millis(6_000);
    QueryTime::Range { start: TimestampMs(0), end: TimestampMs(PODS * LIFE_MS), step }
}

fn pods() -> MemorySeries {
    let mut m = MemorySeries::new();
    for pod in 0..PODS {
        let labels = |name: &str, more: &[(&str, String)]| {
            let own = [(METRIC_NAME, name.to_owned()), ("pod", pod.to_string())];
            let identity = [("instance", pod.to_string()), ("job", "j".to_owned())];
            Labels::from_pairs(own.into_iter().chain(identity).chain(more.iter().cloned()))
        };
        let start = TimestampMs(pod * LIFE_MS);
        let mut floats = |labels: Labels, scale: f64| {
            let values: Vec<f64> = (0..4).map(|i| scale * (pod * 31 + i) as f64).collect();
            m.push_floats(&labels, start, LIFE_MS / 4, &values);
        };
        floats(labels("a", &[]), 1.0);
        floats(labels("b", &[]), 2.0);
        floats(labels("target_info", &[("version", pod.to_string())]), 0.0);
        for (le, scale) in [("1", 1.0), ("5", 2.0), ("+Inf", 3.0)] {
            floats(labels("c_bucket", &[("le", le.to_owned())]), scale);
        }
        for i in 0..4 {
            let count = (pod + i) as f64;
            let h = Histogram { count, sum: count, zero_count: count, ..Histogram::default() };
            let at = TimestampMs(start.0 + i * LIFE_MS / 4);
            m.push(&labels("h", &[]), Sample { at, value: Value::Histogram(h.into()), start: None });
        }
    }
    m
}

/// A call of `f` over `vector`.
fn call(f: Function, vector: &str) -> String {
    let spec = f.spec();
    let argument = |t: &ValueType| match t {
        ValueType::Vector if spec.name == "info" => None,
        ValueType::Vector => Some(vector.to_owned()),
        ValueType::Matrix => Some(format!("{vector}[1m]")),
        ValueType::Scalar => Some("0.5".to_owned()),
        ValueType::String if spec.name == "label_replace" => Some("\"$1\"".to_owned()),
        ValueType::String => Some("\"pod\"".to_owned()),
    };
    let arguments: Vec<String> = match spec.name {
        "info" => vec![vector.to_owned()],
        _ => spec.args.iter().filter_map(argument).collect(),
    };
    format!("{}({})", spec.name, arguments.join(", "))
}

/// Every function, aggregation and operator over series that come and go.
fn every_form() -> Vec<String> {
    let calls = Function::ALL.iter().flat_map(|f| {
        let over: &[&str] = if f.spec().name.starts_with("histogram") { &["h", "c_bucket"] } else { &["a"] };
        over.iter().map(|v| call(*f, v))
    });
    let calls = calls.filter(|c| !c.contains("label_replace")).chain([
        "label_replace(a, \"x\", \"$1\", \"pod\", \"(.*)\")".to_owned(),
        "histogram_quantiles(h, \"q\", 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)".to_owned(),
        "histogram_quantile(0.5, sum by (le, pod) (rate(c_bucket[1m])))".to_owned(),
        "info(sum by (instance, job, pod) (a))".to_owned(),
        "timestamp(a * 2)".to_owned(),
        "sum_over_time((a + 1)[1h:1m])".to_owned(),
        "absent(a{pod=\"none\"})".to_owned(),
    ]);
    let plain = ["sum", "avg", "count", "min", "max", "group", "stddev", "stdvar"].map(str::to_owned);
    let with = ["topk", "bottomk", "limitk"].map(|op| format!("{op}(2, "));
    let many = ["topk", "bottomk"].map(|op| format!("{op}(2000, "));
    let with = with.into_iter().chain(many).chain(["limit_ratio(0.5, ", "quantile(0.5, "].map(str::to_owned));
    let heads = plain.map(|op| format!("{op}(")).into_iter().chain(with).chain(["count_values(\"v\", ".to_owned()]);
    let aggregations = heads.flat_map(|head| {
        let (op, rest) = head.split_once('(').unwrap();
        ["", " by (pod)"]
            .into_iter()
            .flat_map(|by| ["a", "h"].map(|v| format!("{op}{by} ({rest}{v})")))
            .collect::<Vec<_>>()
    });
    let operators =
        ["+", "-", "*", "/", "%", "^", "atan2", "==", "!=", ">", "<", ">=", "<=", "> bool", "and", "or", "unless"];
    let operators = operators.into_iter().flat_map(|op| {
        let sides = if op.starts_with(char::is_alphabetic) && op != "atan2" { None } else { Some(["a", "2"]) };
        let scalars = sides.map(|[a, n]| [format!("{a} {op} {n}"), format!("{n} {op} {a}"), format!("h {op} {n}")]);
        let on = if sides.is_some() { "on (pod) group_left (job)" } else { "on (pod)" };
        let vectors = [format!("a {op} on (pod) b"), format!("a {op} {on} b"), format!("h {op} ignoring (job) h")];
        scalars.into_iter().flatten().chain(vectors)
    });
    let others = ["a", "h", "-a", "-h", "a offset 1m", "a @ 60", "h @ 60", "a * on (job) group_left (pod) topk(1, b)"];
    let others = others.into_iter().chain([
        "a + on (pod) fill (1) b{pod=\"none\"}",
        "a{pod=\"none\"} + on (pod) fill (1) b",
        "b + on (job) group_left (pod) fill_right (1) topk(1, a)",
        "sum(max by (pod) (a) * 2) + 1",
    ]);
    calls.chain(aggregations).chain(operators).chain(others.map(str::to_owned)).collect()
}

/// What series that come and go have is answered where only values need to be kept.
const ANSWERED: [&str; 13] = [
    "a",
    "a * 2",
    "rate(a[1m])",
    "timestamp(a)",
    "sum(a)",
    "sum by (pod) (a)",
    "max by (pod) (rate(a[1m])) * 2 > 0",
    "stddev without (job) (a)",
    "count(max by (pod) (a))",
    "topk(2, a)",
    "bottomk(2, a) / 2",
    "topk(2, sum by (pod) (rate(a[1m])))",
    "sum(topk(2, a))",
];

fn churning_series_are_counted_before_they_are_made() {
    let store = pods();
    for text in ANSWERED {
        let (answer, peak) = run(&store, text, churn(), PODS_LIMIT);
        let counted = answer.unwrap_or_else(|e| panic!("{text}: {e}")).bytes_peak;
        assert!(counted <= PODS_LIMIT && peak <= 2 * PODS_LIMIT as usize, "{text}: {counted} counted, {peak} bytes");
    }
    let (mut answered, mut refused) = (0, 0);
    for text in every_form() {
        let (answer, peak) = run(&store, &text, churn(), PODS_LIMIT);
        match answer {
            Ok(usage) => {
                assert!(usage.bytes_peak <= PODS_LIMIT, "{text}: {} counted", usage.bytes_peak);
                answered += 1;
            }
            Err(QueryError::Limit(_)) => refused += 1,
            Err(QueryError::Execution(said)) if said.contains("match") || said.contains("labelset") => {}
            Err(e) => panic!("{text}: {e}"),
        }
        assert!(peak <= 2 * PODS_LIMIT as usize, "{text}: {peak} bytes");
    }
    assert!(answered > 50 && refused > 50, "{answered} answered, {refused} refused");
}

/// One test: the allocator counts what others do at the same time.
#[test]
fn queries_end_before_they_take_more_than_the_limit() {
    hostile_queries_are_refused();
    churning_series_are_counted_before_they_are_made();
}

fn hostile_queries_are_refused() {
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
        let (answer, peak) = run(&store, text, time, LIMIT);
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
        let (answer, peak) = run(&store, text, time, LIMIT);
        let counted = answer.unwrap_or_else(|e| panic!("{text}: {e}")).bytes_peak;
        assert!(counted <= LIMIT && peak <= LIMIT as usize + SLACK, "{text}: {counted} counted, {peak} bytes");
    }
}
