//! What a fuzzer calls: any bytes, and it must come back soon, without a panic and without much memory.
//!
//! Not here: where bytes come from; a fuzzer's harness, or the test below.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use belfry_model::read::{Cancel, ReadError};
use belfry_model::sample::{ResetHint, Span, stale_nan};
use belfry_model::{
    Histogram, Labels, METRIC_NAME, Matcher, SampleBuf, SampleSource, Series, SeriesSet, TimeRange, TimestampMs,
};

use crate::query::Selected;
use crate::syntax::functions::Function;
use crate::{
    Answer, Fetched, Query, QueryError, QueryLimits, QueryTime, ValueType, format_expr, parse, parse_recovering,
};

/// Parses the bytes as text; what parses must be printed and parsed again to the same.
///
/// # Panics
/// When printing and parsing again gives something else: that is a defect.
pub fn parser(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = parse_recovering(&text);
    round_trip(&text);
}

fn round_trip(text: &str) {
    let Ok(expr) = parse(text) else { return };
    let printed = expr.to_string();
    for form in [&printed, &format_expr(&expr)] {
        let again = parse(form).map(|e| e.to_string());
        assert_eq!(again.as_deref(), Ok(&*printed), "{text}");
    }
}

/// Makes a query and some samples of the bytes and evaluates the one over the other.
///
/// # Panics
/// When the query is printed as something else: that is a defect.
pub fn evaluator(data: &[u8]) {
    let _ = evaluate(data);
}

/// `None`: the query makes no sense.
fn evaluate(data: &[u8]) -> Option<Result<Answer, QueryError>> {
    let mut source = Source { data, at: 0 };
    let series = source.all_series();
    let step = Duration::from_secs(1 + u64::from(source.byte() % 120));
    let start = TimestampMs(i64::from(source.byte()) * 10_000 - 100_000);
    let end = start + step * u32::from(source.byte() % 24);
    let time = if source.flip() { QueryTime::Instant(end) } else { QueryTime::Range { start, end, step } };
    let mut text = String::new();
    source.vector(&mut text, 0);
    round_trip(&text);
    let limits = QueryLimits { series_max: 1_000, samples_max: 200_000, points_max: 200_000, ..QueryLimits::default() };
    let query = Query::parse(&text, time, limits).ok()?;
    let select = |matchers: &[Matcher]| SeriesSet {
        series: series.iter().filter(|s| matchers.iter().all(|m| m.matches_labels(&s.labels))).cloned().collect(),
        warnings: Vec::new(),
    };
    let sets = query.selections.iter().map(|s| Selected::Series(select(&s.matchers))).collect();
    Some(Fetched { query, sets }.evaluate(&Cancel::default()))
}

/// Samples as they are.
struct Held(SampleBuf);

impl SampleSource for Held {
    fn decode(&self, range: TimeRange, into: &mut SampleBuf) -> Result<(), ReadError> {
        let within = (0..self.0.len()).filter_map(|i| self.0.get(i)).filter(|s| range.contains(s.at));
        within.for_each(|s| into.push(&s));
        Ok(())
    }

    fn estimate(&self) -> u64 {
        self.0.len() as u64
    }
}

/// Bytes as choices; zero when they are used up.
struct Source<'d> {
    data: &'d [u8],
    at: usize,
}

/// Beyond this depth only simple things are made.
const DEPTH_MAX: usize = 5;

impl Source<'_> {
    fn byte(&mut self) -> u8 {
        let b = self.data.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        b
    }

    fn flip(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::from(self.byte()) % of.len()]
    }

    fn value(&mut self) -> f64 {
        match self.byte() {
            0 => f64::NAN,
            1 => f64::INFINITY,
            2 => f64::NEG_INFINITY,
            3 => stale_nan(),
            4 => 1e308,
            5 => -0.0,
            b => f64::from(b) * 0.7 - 20.0,
        }
    }

    fn histogram(&mut self) -> Histogram {
        let counts: Vec<f64> = (0..self.byte() % 4).map(|_| f64::from(self.byte())).collect();
        let spans = |n: usize, offset: i32| {
            if n == 0 { Vec::new() } else { vec![Span { offset, length: n as u32 }] }
        };
        let custom = self.byte().is_multiple_of(4);
        Histogram {
            schema: if custom { Histogram::CUSTOM_BOUNDS } else { i32::from(self.byte() % 13) - 4 },
            count: counts.iter().sum::<f64>() + f64::from(self.byte() % 2),
            sum: self.value(),
            zero_threshold: if custom { 0.0 } else { 1e-9 },
            zero_count: 0.0,
            positive_spans: spans(counts.len(), if custom { 0 } else { i32::from(self.byte()) - 128 }),
            custom_bounds: if custom { (0..counts.len()).map(|i| i as f64).collect() } else { Vec::new() },
            positive_counts: counts,
            reset_hint: self.pick(&[ResetHint::Unknown, ResetHint::Reset, ResetHint::NotReset, ResetHint::Gauge]),
            ..Histogram::default()
        }
    }

    fn all_series(&mut self) -> Vec<Series> {
        let mut all: Vec<Series> = Vec::new();
        for i in 0..self.byte() % 8 {
            let name = self.pick(&["a", "b_total", "h_bucket", "target_info"]);
            let pairs = [
                (METRIC_NAME, name.to_owned()),
                ("x", (self.byte() % 3).to_string()),
                ("job", "j".to_owned()),
                ("le", if name == "h_bucket" { self.pick(&["1", "2", "+Inf", "z"]).to_owned() } else { String::new() }),
                ("i", i.to_string()),
            ];
            let mut buf = SampleBuf::default();
            let mut at = i64::from(self.byte()) * 1_000;
            let histograms = self.byte().is_multiple_of(4);
            for _ in 0..self.byte() % 40 {
                at += 1 + i64::from(self.byte()) * 400;
                if histograms && self.flip() {
                    let value = belfry_model::Value::Histogram(Arc::new(self.histogram()));
                    buf.push(&belfry_model::Sample { at: TimestampMs(at), value, start: None });
                } else {
                    buf.push_float(at, self.value());
                }
            }
            all.push(Series { labels: Labels::from_pairs(pairs), samples: Arc::new(Held(buf)) });
        }
        all.sort_by(|a, b| a.labels.cmp(&b.labels));
        all
    }

    fn selector(&mut self, out: &mut String) {
        out.push_str(self.pick(&["a", "b_total", "h_bucket", "{x!=\"9\"}", "a{x=~\"1|2\"}", "{__name__=~\".+\"}"]));
    }

    fn modifiers(&mut self, out: &mut String) {
        out.push_str(self.pick(&[
            "",
            "",
            "",
            " offset 1m",
            " offset -30s",
            " @ 100",
            " @ end()",
            " @ start() offset 5s",
        ]));
    }

    fn matrix(&mut self, out: &mut String, depth: usize) {
        let range = self.pick(&["1s", "30s", "5m", "1h", "step()", "max_of(1m, range())"]);
        if depth < DEPTH_MAX && self.flip() {
            out.push('(');
            self.vector(out, depth + 1);
            let _ = write!(out, ")[{range}:{}]", self.pick(&["", "10s", "1m", "7s"]));
        } else {
            self.selector(out);
            let _ = write!(out, "[{range}{}]", self.pick(&["", "", "", " anchored", " smoothed"]));
        }
        self.modifiers(out);
    }

    fn scalar(&mut self, out: &mut String, depth: usize) {
        match self.byte() % 8 {
            0 if depth < DEPTH_MAX => {
                out.push_str("scalar(");
                self.vector(out, depth + 1);
                out.push(')');
            }
            1 => out.push_str("time()"),
            2 => out.push_str("-1"),
            3 => out.push_str("NaN"),
            4 => out.push_str("1e300"),
            _ => {
                let _ = write!(out, "{}", f64::from(self.byte()) / 50.0);
            }
        }
    }

    fn vector(&mut self, out: &mut String, depth: usize) {
        let kind = if depth >= DEPTH_MAX { 0 } else { self.byte() % 5 };
        match kind {
            0 => {
                self.selector(out);
                self.modifiers(out);
            }
            1 => self.call(out, depth + 1),
            2 => {
                let op = self.pick(&[
                    "sum",
                    "avg",
                    "min",
                    "max",
                    "count",
                    "group",
                    "stddev",
                    "stdvar",
                    "topk(2, ",
                    "bottomk(1, ",
                    "limitk(2, ",
                    "limit_ratio(0.5, ",
                    "quantile(0.3, ",
                    "count_values(\"v\", ",
                ]);
                let (name, param) = op.split_once('(').unwrap_or((op, ""));
                let _ = write!(out, "{name}{}({param}", self.pick(&["", " by (x)", " without (i)", " by (job, le)"]));
                self.vector(out, depth + 1);
                out.push(')');
            }
            _ => {
                out.push('(');
                self.operand(out, depth + 1);
                let op = self.pick(&[
                    "+",
                    "-",
                    "*",
                    "/",
                    "%",
                    "^",
                    "atan2",
                    "==",
                    "!= bool",
                    ">",
                    "< bool",
                    ">=",
                    "and",
                    "or",
                    "unless",
                    "and on (x)",
                    "+ on (x)",
                    "/ ignoring (i) group_left",
                    "* on (x) group_right (le)",
                    "</",
                    ">/",
                    "- on (x, i) fill (1)",
                ]);
                let _ = write!(out, ") {op} (");
                self.operand(out, depth + 1);
                out.push(')');
            }
        }
    }

    fn operand(&mut self, out: &mut String, depth: usize) {
        if self.byte().is_multiple_of(4) { self.scalar(out, depth) } else { self.vector(out, depth) }
    }

    fn call(&mut self, out: &mut String, depth: usize) {
        let all = Function::ALL;
        let f = all[usize::from(self.byte()) % all.len()];
        let spec = f.spec();
        let _ = write!(out, "{}(", spec.name);
        let least = spec.args.len().saturating_sub(usize::from(spec.variadic != 0));
        let count = least + usize::from(spec.variadic != 0 && self.flip());
        for i in 0..count {
            if i > 0 {
                out.push_str(", ");
            }
            match spec.args.get(i).or(spec.args.last()) {
                Some(ValueType::Matrix) => self.matrix(out, depth),
                Some(ValueType::Scalar) => self.scalar(out, depth),
                Some(ValueType::String) => out.push_str(self.pick(&["\"x\"", "\"y\"", "\"(.*)\"", "\"$1\"", "\"\""])),
                _ if f == Function::Info && i == 1 => out.push_str("{job=\"j\"}"),
                _ => self.vector(out, depth),
            }
        }
        out.push(')');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A fuzzer whose queries are all refused finds nothing.
    #[test]
    fn most_queries_that_are_made_can_be_evaluated() {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        let (mut sensible, mut evaluated) = (0, 0);
        for _ in 0..1_000 {
            let data: Vec<u8> = (0..800).map(|_| next()).collect();
            let answer = evaluate(&data);
            sensible += usize::from(answer.is_some());
            evaluated += usize::from(matches!(answer, Some(Ok(_))));
        }
        assert!(sensible > 500 && evaluated > 250, "{sensible} make sense, {evaluated} were evaluated");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]
        #[test]
        fn no_bytes_make_the_evaluator_panic(data in prop::collection::vec(any::<u8>(), 0..600)) {
            evaluator(&data);
        }

        #[test]
        fn no_bytes_make_the_parser_panic(data in prop::collection::vec(any::<u8>(), 0..100)) {
            parser(&data);
        }
    }
}
