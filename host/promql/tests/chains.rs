//! Operators in a row: what tools generate is long, not nested, and is answered on a small stack.

use std::time::Duration;

use belfry_model::read::Cancel;
use belfry_model::{Labels, METRIC_NAME, TimestampMs};
use belfry_promql::{PointValue, Query, QueryError, QueryLimits, QueryTime, QueryValue};
use belfry_testkit::MemorySeries;

/// A level of the stack for each operator would take more.
const STACK_BYTES: usize = 1 << 20;
/// Enough for as many brackets as are allowed, without optimization.
const NESTED_STACK_BYTES: usize = 16 << 20;

fn store() -> MemorySeries {
    let mut m = MemorySeries::new();
    for (name, x) in [("a", 1.0), ("b", 2.0)] {
        m.push_floats(&Labels::from_pairs([(METRIC_NAME, name), ("job", "j")]), TimestampMs(0), 15_000, &[x; 5]);
    }
    m
}

/// The first value of the answer; parsing, planning, evaluating and forgetting all happen on the small stack.
fn ask(text: String, time: QueryTime, stack_bytes: usize) -> Result<f64, QueryError> {
    let small = std::thread::Builder::new().stack_size(stack_bytes);
    let thread = small.spawn(move || {
        let store = store();
        let query = Query::parse(&text, time, QueryLimits::default())?;
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let answer = runtime.block_on(query.fetch(&store))?.evaluate(&Cancel::default())?;
        let float = |v: &PointValue| match v {
            PointValue::Float(f) => *f,
            PointValue::Histogram(_) => f64::NAN,
        };
        Ok(match &answer.value {
            QueryValue::Scalar(_, v) => *v,
            QueryValue::Vector(all) => float(&all.first().expect("a series").value),
            QueryValue::Matrix(all) => float(&all.first().expect("a series").points.first().expect("a point").1),
            QueryValue::String(..) => f64::NAN,
        })
    });
    thread.expect("a thread").join().expect("no stack ends")
}

#[test]
fn long_chains_are_answered() {
    let now = QueryTime::Instant(TimestampMs(60_000));
    let over_time = QueryTime::Range { start: TimestampMs(0), end: TimestampMs(60_000), step: Duration::from_secs(15) };
    for time in [now, over_time] {
        assert_eq!(ask(vec!["1"; 65_537].join(" + "), time, STACK_BYTES), Ok(65_537.0));
        assert_eq!(ask(format!("a{}", " + 1".repeat(20_000)), time, STACK_BYTES), Ok(20_001.0));
        assert_eq!(ask(format!("sum(a{}) by (job)", " * 1".repeat(20_000)), time, STACK_BYTES), Ok(1.0));
        assert_eq!(ask(format!("{} + a", vec!["1"; 20_000].join(" + ")), time, STACK_BYTES), Ok(20_001.0));
        assert_eq!(ask(vec!["a"; 1_500].join(" + "), time, STACK_BYTES), Ok(1_500.0));
        assert_eq!(ask(vec!["a"; 3_000].join(" or "), time, STACK_BYTES), Ok(1.0));
        assert_eq!(ask(format!("a @ 30{}", " + a @ 30".repeat(2_000)), time, STACK_BYTES), Ok(2_001.0));
    }
}

#[test]
fn what_has_too_many_operators_is_told_so() {
    let now = QueryTime::Instant(TimestampMs(60_000));
    for text in [vec!["1"; 65_538].join("+"), vec![vec!["1"; 1_000].join("+"); 66].join("+("), "1+".repeat(500_000)] {
        let said = ask(text, now, STACK_BYTES * 4).expect_err("too long").to_string();
        assert!(said.contains("the query has more than 65536 operators"), "{said}");
    }
    let nested = ask(format!("{}1{}", "1+(".repeat(300), ")".repeat(300)), now, NESTED_STACK_BYTES)
        .expect_err("too deep")
        .to_string();
    assert!(nested.contains("nested deeper than 256 levels"), "{nested}");
}

/// Where trees are walked by those who do not know of such lengths.
#[test]
fn a_tree_for_others_is_bounded() {
    let said = belfry_promql::parse(&vec!["a"; 1_500].join(" + ")).expect_err("too long").to_string();
    assert!(said.contains("expression has more than 1024 operators in a row"), "{said}");
}
