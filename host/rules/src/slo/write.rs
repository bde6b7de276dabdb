//! The rule file of an SLO.
//!
//! What is recorded, in the order in which one needs the other:
//! `slo:unmatched_good:count` (label sets of `good` that `total` has not: there is none when all is well),
//! `slo:good:rate` and `slo:total:rate` (the indicator over the shortest window), `slo:objective_ratio`,
//! `slo:error_ratio` for each window, `slo:burn_rate` for each window, `slo:error_budget_remaining`.
//!
//! Invariant: an error ratio is bad events over all events of its window, however traffic varies: never a mean of ratios.
//! Long windows divide the mean of good rates by the mean of all rates: both have the same times, so this is the sum of
//! good events over the sum of all.

use std::fmt::Write as _;
use std::time::Duration;

use belfry_model::duration::format_duration;

use super::{BURNS, Indicator, Slo, UNMATCHED, Windows};

/// JSON's strings are strings of YAML and of PromQL, too.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

pub(super) fn text(slo: &Slo) -> String {
    let windows = Windows::of(slo.window);
    let (whole, shortest) = (format_duration(slo.window), format_duration(windows.shortest()));
    let mut out = Out { labels: labels(slo), text: String::new() };
    let _ = write!(
        out.text,
        "groups:\n- name: {}\n  interval: {}\n  rules:\n",
        quoted(&slo.name),
        format_duration(slo.interval)
    );
    if let Some((good, total)) = slo.good_and_total(&shortest) {
        out.record(UNMATCHED, &format!("count(({good}\n) >= 0 unless ({total}\n))"), None);
    }
    let (good, total) = events(slo, &shortest);
    out.record("slo:good:rate", &good, None);
    out.record("slo:total:rate", &total, None);
    out.record("slo:objective_ratio", &format!("vector({})", number(1.0 - slo.budget())), None);
    let name = quoted(&slo.name);
    for window in windows.all() {
        let asked = windows.is_asked(window);
        let window = format_duration(window);
        let (good, total) = if asked {
            events(slo, &window)
        } else {
            let mean = |what: &str| format!("avg_over_time(slo:{what}:rate{{slo={name}}}[{window}])");
            (mean("good"), mean("total"))
        };
        // Without events nothing is known: no sample. Rates are estimates: more good ones than all are all.
        let expr = format!("clamp_min(1 - ({good}) / (({total}) > 0), 0)");
        out.record("slo:error_ratio", &expr, Some(&window));
    }
    let budget = number(slo.budget());
    out.record("slo:burn_rate", &format!("slo:error_ratio{{slo={name}}} / {budget}"), None);
    let remaining =
        format!("1 - sum without (window) (slo:error_ratio{{slo={name},window={}}}) / {budget}", quoted(&whole));
    out.record("slo:error_budget_remaining", &remaining, None);
    for burn in BURNS.iter().filter(|b| b.is_possible(slo.budget())) {
        let (long, short) = (windows.long(burn), windows.short(burn));
        out.alert(slo, burn.rate, burn.severity, long, short);
    }
    out.text
}

/// Good and all events of a window. What is not a number is not good; a good count that is missing is none: unless there
/// are good ones that belong to no total, for then the two sides have other labels and nothing can be said.
fn events(slo: &Slo, window: &str) -> (String, String) {
    let Some((good, total)) = slo.good_and_total(window) else {
        let (good, total) = held(slo, window);
        return (format!("{good} or {total} * 0"), total);
    };
    let matched = format!("unless on () {UNMATCHED}{{slo={}}}", quoted(&slo.name));
    // The line's end ends a comment.
    (format!("({good}\n) >= 0 or (({total}\n) >= 0) * 0 {matched}"), format!("({total}\n) >= 0"))
}

/// Evaluations at which a threshold held, and all.
pub(super) fn held(slo: &Slo, window: &str) -> (String, String) {
    let Indicator::Threshold { query, condition, threshold } = &slo.indicator else { return Default::default() };
    let (step, operator, threshold) = (format_duration(slo.interval), condition.operator(), number(*threshold));
    (
        format!("sum_over_time((({query}\n) {operator} bool {threshold})[{window}:{step}])"),
        format!("count_over_time(({query}\n)[{window}:{step}])"),
    )
}

/// As PromQL reads it.
fn number(value: f64) -> String {
    match value {
        v if v == f64::INFINITY => "Inf".to_owned(),
        v if v == f64::NEG_INFINITY => "-Inf".to_owned(),
        // One minus a share of 12 digits shows the 16th one.
        v if v.abs() < 1.0 => ((v * 1e12).round() / 1e12).to_string(),
        v => v.to_string(),
    }
}

fn labels(slo: &Slo) -> String {
    let own = slo.labels.iter().map(|l| format!("{}: {}", quoted(&l.name), quoted(&l.value)));
    own.chain([format!("slo: {}", quoted(&slo.name))]).collect::<Vec<_>>().join(", ")
}

struct Out {
    labels: String,
    text: String,
}

impl Out {
    fn record(&mut self, name: &str, expr: &str, window: Option<&str>) {
        let window = window.map_or_else(String::new, |w| format!(", window: {}", quoted(w)));
        let (expr, labels) = (quoted(expr), &self.labels);
        let _ = write!(self.text, "  - record: {name}\n    expr: {expr}\n    labels: {{{labels}{window}}}\n");
    }

    fn alert(&mut self, slo: &Slo, rate: f64, severity: &str, long: Duration, short: Duration) {
        let name = quoted(&slo.name);
        let (long, short, whole) = (format_duration(long), format_duration(short), format_duration(slo.window));
        let burns = |window: &str| format!("slo:burn_rate{{slo={name},window={}}} > {rate}", quoted(window));
        let expr = quoted(&format!("{} and ignoring (window) {}", burns(&long), burns(&short)));
        // The labels come with the series: here they would be templates.
        let summary = quoted("{{ $labels.slo }}: the error budget burns {{ $value | printf \"%.1f\" }} times too fast");
        let description = quoted(&format!(
            "In the last {long}, and still in the last {short}, errors were more than {rate} times as many as the \
             objective of {} % over {whole} allows.",
            slo.objective
        ));
        let _ = write!(
            self.text,
            "  - alert: SLOBurnRate\n    expr: {expr}\n    labels: {{severity: {severity}, window: {}}}\n    \
             annotations:\n      summary: {summary}\n      description: {description}\n",
            quoted(&long)
        );
    }
}
