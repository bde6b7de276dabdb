//! Warnings and infos of an evaluation, each once, in Prometheus' words.

use std::collections::BTreeSet;

use crate::syntax::quote::quote;
use crate::syntax::span::Span;

/// What Prometheus says beside an answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes {
    warnings: BTreeSet<(String, Span2)>,
    infos: BTreeSet<(String, Span2)>,
}

type Span2 = (u32, u32);

/// More than this of each kind is cut off and counted.
const NOTES_MAX: usize = 10_000;

fn for_metric(text: &str, metric: &str) -> String {
    if metric.is_empty() { text.to_owned() } else { format!("{text} for metric name {}", quote(metric)) }
}

/// From here on Go's `%g` writes an exponent.
const G_EXPONENT: i32 = 6;

/// `%g` as Go writes it.
pub(crate) fn format_g(v: f64) -> String {
    if v.is_nan() {
        return "NaN".to_owned();
    }
    if v.is_infinite() {
        return if v > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let exponent =
        if v == 0.0 { 0 } else { format!("{v:e}").split_once('e').map_or(0, |(_, e)| e.parse().unwrap_or(0)) };
    if !(-4..G_EXPONENT).contains(&exponent) {
        let text = format!("{v:e}");
        let (mantissa, e) = text.split_once('e').unwrap_or((&text, "0"));
        let e: i32 = e.parse().unwrap_or(0);
        return format!("{mantissa}e{}{:02}", if e < 0 { '-' } else { '+' }, e.abs());
    }
    format!("{v}")
}

impl Notes {
    pub fn warn(&mut self, span: Span, text: impl AsRef<str>) {
        if self.warnings.len() < NOTES_MAX {
            self.warnings.insert((format!("PromQL warning: {}", text.as_ref()), (span.start, span.end)));
        }
    }

    pub fn info(&mut self, span: Span, text: impl AsRef<str>) {
        if self.infos.len() < NOTES_MAX {
            self.infos.insert((format!("PromQL info: {}", text.as_ref()), (span.start, span.end)));
        }
    }

    /// Takes over what another noted.
    pub fn join(&mut self, other: Self) {
        for (into, from) in [(&mut self.warnings, other.warnings), (&mut self.infos, other.infos)] {
            let room = NOTES_MAX.saturating_sub(into.len());
            into.extend(from.into_iter().take(room));
        }
    }

    /// Warnings and infos, with places when the query's text is known.
    pub fn texts(&self, query: &str) -> (Vec<String>, Vec<String>) {
        let list = |set: &BTreeSet<(String, Span2)>| {
            let mut out: Vec<String> = set
                .iter()
                .map(|(text, (start, end))| match query {
                    "" => text.clone(),
                    _ => format!("{text} ({})", Span { start: *start, end: *end }.place(query)),
                })
                .collect();
            out.dedup();
            out
        };
        (list(&self.warnings), list(&self.infos))
    }

    pub fn invalid_quantile(&mut self, span: Span, q: f64) {
        self.warn(span, format!("quantile value should be between 0 and 1, got {}", format_g(q)));
    }

    pub fn invalid_ratio(&mut self, span: Span, r: f64, to: f64) {
        let (r, to) = (format_g(r), format_g(to));
        self.warn(span, format!("ratio value should be between -1 and 1, got {r}, capping to {to}"));
    }

    pub fn bad_bucket_label(&mut self, span: Span, metric: &str, le: &str) {
        let text = format!("bucket label \"le\" is missing or has a malformed value of {}", quote(le));
        self.warn(span, for_metric(&text, metric));
    }

    pub fn mixed_floats_histograms(&mut self, span: Span, metric: &str) {
        self.warn(span, format!("encountered a mix of histograms and floats for metric name {}", quote(metric)));
    }

    pub fn mixed_floats_histograms_agg(&mut self, span: Span) {
        self.warn(span, "encountered a mix of histograms and floats for aggregation");
    }

    pub fn mixed_classic_native(&mut self, span: Span, metric: &str) {
        self.warn(span, for_metric("vector contains a mix of classic and native histograms", metric));
    }

    pub fn not_a_counter(&mut self, span: Span, metric: &str) {
        self.warn(span, format!("this native histogram metric is not a counter: {}", quote(metric)));
    }

    pub fn not_a_gauge(&mut self, span: Span, metric: &str) {
        self.warn(span, format!("this native histogram metric is not a gauge: {}", quote(metric)));
    }

    pub fn mixed_schemas(&mut self, span: Span, metric: &str) {
        let text = "vector contains a mix of histograms with exponential and custom buckets schemas for metric name";
        self.warn(span, format!("{text} {}", quote(metric)));
    }

    pub fn incompatible_layout(&mut self, span: Span, op: &str) {
        self.warn(span, format!("incompatible bucket layout encountered for binary operator {op}"));
    }

    pub fn reset_collision(&mut self, span: Span, during: &str) {
        self.warn(span, format!("conflicting counter resets during histogram {during}"));
    }

    pub fn bounds_reconciled(&mut self, span: Span, during: &str) {
        self.info(span, format!("mismatched custom buckets were reconciled during {during}"));
    }

    /// Of a rate: `kind` is what the series itself says that it is, if it does; else its name must tell.
    pub fn unless_a_counter(&mut self, span: Span, metric: &str, kind: &str) {
        let text = match kind {
            "counter" | "histogram" => return,
            "" if ["_total", "_sum", "_count", "_bucket"].iter().any(|s| metric.ends_with(s)) => return,
            "" => "metric might not be a counter, name does not end in _total/_sum/_count/_bucket".to_owned(),
            _ => {
                let text = "metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\"";
                format!("{text}, got {}", quote(kind))
            }
        };
        self.info(span, format!("{text}: {}", quote(metric)));
    }

    pub fn forced_monotonicity(&mut self, span: Span, metric: &str) {
        let text = "input to histogram_quantile needed to be fixed for monotonicity (see \
                    https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)";
        self.info(span, for_metric(text, metric));
    }

    pub fn incompatible_types(&mut self, span: Span, left: &str, op: &str, right: &str) {
        let text =
            format!("incompatible sample types encountered for binary operator {}: {left} {op} {right}", quote(op));
        self.info(span, text);
    }

    pub fn histogram_ignored(&mut self, span: Span, aggregation: &str) {
        self.info(span, format!("ignored histogram in {aggregation} aggregation"));
    }

    pub fn histogram_ignored_in_range(&mut self, span: Span, metric: &str) {
        let text = "ignored histograms in a range containing both floats and histograms for metric name";
        self.info(span, format!("{text} {}", quote(metric)));
    }

    pub fn quantile_nan(&mut self, span: Span, metric: &str) {
        self.info(span, for_metric("input to histogram_quantile has NaN observations, result is NaN", metric));
    }

    pub fn quantile_skewed(&mut self, span: Span, metric: &str) {
        let text = "input to histogram_quantile has NaN observations, result is skewed higher";
        self.info(span, for_metric(text, metric));
    }

    pub fn fraction_nan(&mut self, span: Span, metric: &str) {
        let text = "input to histogram_fraction has NaN observations, which are excluded from all fractions";
        self.info(span, for_metric(text, metric));
    }
}

#[cfg(test)]
mod tests {
    use super::format_g;

    #[test]
    fn numbers_are_written_as_go_does() {
        for (v, want) in [
            (0.0, "0"),
            (-0.5, "-0.5"),
            (123_456.75, "123456.75"),
            (999_999.0, "999999"),
            (1e6, "1e+06"),
            (-1_234_567.5, "-1.2345675e+06"),
            (4.27e11, "4.27e+11"),
            (1e100, "1e+100"),
            (0.0001, "0.0001"),
            (0.000_01, "1e-05"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(format_g(v), want);
        }
    }
}
