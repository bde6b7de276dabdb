//! What is said of names before anything is read is what becomes of them.

use std::sync::Arc;

use belfry_model::read::Cancel;
use belfry_model::{Histogram, Labels, METRIC_NAME, Sample, TimestampMs, Value};
use belfry_promql::syntax::functions::Function;
use belfry_promql::{Names, Query, QueryLimits, QueryTime, QueryValue, ValueType};
use belfry_testkit::MemorySeries;

const NOW: QueryTime = QueryTime::Instant(TimestampMs(600_000));

fn planned(text: &str) -> Query {
    Query::parse(text, NOW, QueryLimits::default()).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn names(text: &str) -> Names {
    planned(text).names()
}

/// Two series of floats in buckets, the same ones of native histograms.
fn store() -> MemorySeries {
    let mut store = MemorySeries::new();
    for le in ["1", "+Inf"] {
        let labels =
            |name: &str| Labels::from_pairs([(METRIC_NAME, name), ("le", le), ("job", "j"), ("instance", "i")]);
        store.push_floats(&labels("a"), TimestampMs(0), 10_000, &[3.0; 61]);
        store.push_floats(&labels("b"), TimestampMs(0), 10_000, &[2.0; 61]);
        for i in 0..61 {
            let h = Histogram { count: 1.0, sum: 1.0, zero_count: 1.0, ..Histogram::default() };
            let value = Value::Histogram(Arc::new(h));
            store.push(&labels("h"), Sample { at: TimestampMs(i * 10_000), value, start: Some(TimestampMs(0)) });
        }
    }
    store
}

/// Has any series of the answer a name? `None`: there is none.
fn has_names(text: &str) -> Option<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let fetched = runtime.block_on(planned(text).fetch(&store())).expect("series");
    let answer = fetched.evaluate(&Cancel::default()).unwrap_or_else(|e| panic!("{text}: {e}"));
    let labels: Vec<Labels> = match answer.value {
        QueryValue::Vector(points) => points.into_iter().map(|p| p.labels).collect(),
        QueryValue::Matrix(rows) => rows.into_iter().map(|r| r.labels).collect(),
        QueryValue::Scalar(..) | QueryValue::String(..) => vec![Labels::empty()],
    };
    (!labels.is_empty()).then(|| labels.iter().any(|l| l.metric().is_some()))
}

/// A call of it whose answer is not empty.
fn call(f: Function) -> String {
    let spec = f.spec();
    match f {
        Function::Absent => return "absent(missing)".to_owned(),
        Function::AbsentOverTime => return "absent_over_time(missing[1m])".to_owned(),
        Function::LabelReplace => return "label_replace(a, \"x\", \"$1\", \"le\", \"(.*)\")".to_owned(),
        Function::HistogramQuantiles => return "histogram_quantiles(a, \"q\", 0.5, 0.9)".to_owned(),
        Function::DoubleExponentialSmoothing => return "double_exponential_smoothing(a[1m], 0.5, 0.5)".to_owned(),
        Function::Info => return "info(a)".to_owned(),
        _ => {}
    }
    let of = match f {
        Function::HistogramQuantile | Function::HistogramFraction => "a",
        _ if spec.name.starts_with("histogram_") || f == Function::StartTimestamp => "h",
        _ => "a",
    };
    let argument = |t: &ValueType| match t {
        ValueType::Scalar => "0.5".to_owned(),
        ValueType::String => "\"x\"".to_owned(),
        ValueType::Vector => of.to_owned(),
        ValueType::Matrix => format!("{of}[1m]"),
    };
    let arguments: Vec<String> = spec.args.iter().map(argument).collect();
    format!("{}({})", spec.name, arguments.join(", "))
}

#[test]
fn every_function_does_with_names_what_is_said_of_it() {
    for f in Function::ALL {
        let text = call(*f);
        let has = has_names(&text).unwrap_or_else(|| panic!("{text}: the answer is empty"));
        assert_eq!(names(&text), if has { Names::Kept } else { Names::None }, "{text}");
    }
}

#[test]
fn every_operator_does_with_names_what_is_said_of_it() {
    for text in [
        "a",
        "(a)",
        "+a",
        "-a",
        "a[1m]",
        "a + 1",
        "1 * a",
        "a > 1",
        "1 < a",
        "a > bool 1",
        "a + b",
        "a % b",
        "a > b",
        "a > bool b",
        "a > on (le) b",
        "a >= on (__name__, le) a",
        "a > ignoring (job) b",
        "a > ignoring (__name__) b",
        "a > on (le) group_left b",
        "a > on (le) group_left (__name__) b",
        "a + on (le) group_left (__name__) b",
        "b < on (le) group_right a",
        "a and b",
        "a or b",
        "a unless missing",
        "a or vector(1)",
        "-a or vector(1)",
        "sum(a)",
        "sum by (le) (a)",
        "sum by (__name__) (a)",
        "sum without (le) (a)",
        "topk(1, a)",
        "topk by (__name__) (1, a)",
        "bottomk(1, -a)",
        "limitk(1, a)",
        "limit_ratio(1, a)",
        "quantile(0.5, a)",
        "count_values(\"v\", a)",
        "count_values(\"__name__\", a)",
        "count_values(\"__name__\", rate(a[1m]))",
        "count_values without (le) (\"__name__\", a)",
        "sum(-a or b)",
        "max_over_time(a[2m:10s])",
        "last_over_time(a[2m:10s])",
        "last_over_time(rate(a[1m])[2m:10s])",
        "sort(rate(a[1m]))",
        "label_replace(a, \"x\", \"$1\", \"__name__\", \"(.*)\")",
        "label_replace(sum(a), \"__name__\", \"n\", \"\", \"\")",
        "label_join(sum by (le) (a), \"__name__\", \"-\", \"le\", \"job\")",
        "sum by (__name__) (sum by (le) (rate(a[1m])))",
        "a * scalar(rate(b{le=\"1\"}[1m]))",
    ] {
        let has = has_names(text).unwrap_or_else(|| panic!("{text}: the answer is empty"));
        assert_eq!(names(text), if has { Names::Kept } else { Names::None }, "{text}");
    }
}

#[test]
fn names_that_are_gone_matter_to_who_looks_at_them_and_beside_those_that_are_not() {
    for text in [
        "sum by (__name__) (max_over_time(a[1m]))",
        "topk by (__name__) (1, round(a))",
        "count_values by (__name__) (\"v\", -a)",
        "a + on (__name__, le) round(a)",
        "round(a) and on (__name__) b",
        "a > on (le) group_left (__name__) round(b)",
        "label_replace(round(a), \"x\", \"$1\", \"__name__\", \"(.*)\")",
        "label_join(round(a), \"x\", \"\", \"le\", \"__name__\")",
        "sort_by_label(round(a), \"__name__\")",
        "a or round(b)",
        "sum(a) or (a or max_over_time(b[1m]))",
        "label_replace(round(a), \"__name__\", \"n\", \"le\", \"1\")",
        // Far within, and in what gives a scalar or is a parameter.
        "sum(sum by (__name__) (max_over_time(a[1m])))",
        "vector(scalar(sum by (__name__) (round(a))))",
        "topk(scalar(sum by (__name__) (round(a))), b)",
        "max_over_time(sum by (__name__) (rate(a[1m]))[5m:])",
        "1 + (1 + a * on (__name__) round(a))",
    ] {
        assert_eq!(names(text), Names::Mixed, "{text}");
    }
}
