//! Outages of known size, a minute a step.

use std::time::Duration;

use belfry_model::Labels;

use super::*;
use crate::check::{Facts, check};
use crate::unittest::{Options, TestOutcome, parse, run};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn api(window: Duration) -> Slo {
    Slo {
        name: "api availability".into(),
        objective: 99.9,
        window,
        interval: Windows::of(window).interval(),
        indicator: Indicator::Ratio {
            good: r#"sum(rate(http_requests_total{code!~"5.."}[$window]))"#.into(),
            total: "sum(rate(http_requests_total[$window])) # all of them".into(),
        },
        labels: Labels::from_pairs([("team", "web")]),
    }
}

fn probe() -> Slo {
    let indicator = Indicator::Threshold {
        query: "http_probe_duration_seconds".into(),
        condition: Condition::LessThan,
        threshold: 0.3,
    };
    Slo { name: "fast \"enough\"\\".into(), objective: 99.0, indicator, ..api(30 * DAY) }
}

#[track_caller]
fn passes(slo: &Slo, test: &str) {
    let file = parse(test, "test.yml").expect("a test file");
    let outcome: TestOutcome = run(&file, &[slo.rules().expect("rules")], &Options::default());
    let failures: Vec<_> = outcome.groups.iter().flat_map(|g| &g.failures).collect();
    assert!(outcome.passed() && !outcome.groups.is_empty(), "{failures:#?}");
}

#[test]
fn the_table_is_the_workbooks_for_30_days() {
    let windows = Windows::of(30 * DAY);
    let minutes = |d: Duration| d.as_secs() / 60;
    let rows: Vec<_> =
        BURNS.iter().map(|b| (b.rate, minutes(windows.long(b)), minutes(windows.short(b)), b.severity)).collect();
    let (page, ticket) = ("page", "ticket");
    assert_eq!(rows, [(14.4, 60, 5, page), (6.0, 360, 30, page), (3.0, 1440, 120, ticket), (1.0, 4320, 360, ticket)]);
    assert_eq!((windows.shortest().as_secs(), windows.interval().as_secs()), (300, 60));
}

#[test]
fn other_windows_scale_it_so_that_an_alert_stands_for_the_same_share_of_the_budget() {
    for days in [1, 7, 28, 90] {
        let windows = Windows::of(days * DAY);
        let share = |b: &Burn| b.rate * windows.long(b).as_secs_f64() / (days * DAY).as_secs_f64();
        let shares = BURNS.map(|b| (share(&b) * 1000.0).round() / 10.0);
        assert_eq!(shares, [2.0, 5.0, 10.0, 10.0], "{days} days");
    }
}

#[test]
fn what_is_generated_is_a_rule_file_in_which_no_check_finds_a_fault() {
    for slo in [api(30 * DAY), api(DAY), probe()] {
        let text = slo.rules_text();
        let file = slo.rules().unwrap_or_else(|p| panic!("{p:?}\n{text}"));
        assert!(file.warnings.is_empty(), "{:?}", file.warnings);
        let names: Vec<&str> = file.groups[0].rules.iter().map(|r| r.name.as_str()).collect();
        let matched = usize::from(slo.good_and_total("5m").is_some());
        assert_eq!(names.len(), matched + 3 + 8 + 2 + 4, "{names:?}");
        let findings = check(&[file], &[&text], &Facts::default());
        assert!(findings.iter().all(Vec::is_empty), "{findings:#?}\n{text}");
    }
}

/// A day of requests, all good; then `bad` of 1000 fail for `minutes`; then an hour of good ones again. Four samples a
/// minute.
fn requests(bad: u64, minutes: u64, cases: &[String]) -> String {
    let (good, bad, steps) = (1000 - bad, bad, 4 * minutes - 1);
    let (before, after) = (1000 * 5760, 1000 * 5760 + good * 4 * minutes);
    format!(
        r#"
evaluation_interval: 1m
tests:
  - interval: 15s
    input_series:
      - {{series: 'http_requests_total{{code="200"}}', values: '0+1000x5760 {}+{good}x{steps} {}+1000x240'}}
      - {{series: 'http_requests_total{{code="500"}}', values: '7000+0x5760 {}+{bad}x{steps} {}+0x240'}}
    promql_expr_test:
{}"#,
        before + good,
        after + 1000,
        7000 + bad,
        7000 + bad * 4 * minutes,
        cases.concat()
    )
}

/// At a minute of the outage an expression gives this, or nothing.
fn gives(expr: &str, minute: u64, value: Option<f64>) -> String {
    let samples = value.map_or_else(String::new, |v| format!("{{value: {v}}}"));
    format!("      - {{expr: '{expr}', eval_time: {}m, exp_samples: [{samples}]}}\n", 1440 + minute)
}

/// The alert of a window fires from this minute of the outage on.
fn fires(window: &str, severity: &str, minute: u64) -> String {
    let labels = r#"alertname="SLOBurnRate",alertstate="firing",slo="api availability",team="web""#;
    let alerts = format!(r#"count(ALERTS{{{labels},window="{window}",severity="{severity}"}})"#);
    gives(&alerts, minute - 1, None) + &gives(&alerts, minute, Some(1.0))
}

const FIRING: &str = r#"count(ALERTS{alertstate="firing"})"#;
const REMAINING: &str = "sum(round(slo:error_budget_remaining, 0.001))";

#[test]
fn a_total_outage_pages_after_a_minute_and_no_other_alert_does() {
    // A minute of errors is 1.7 % of the last hour: more than 14.4 times 0.1 %.
    passes(&api(30 * DAY), &requests(1000, 9, &[fires("1h", "page", 1), gives(FIRING, 1, Some(1.0))]));
}

#[test]
fn two_percent_of_errors_page_after_44_minutes_and_end_with_the_short_window() {
    // 2 % for 44 of 60 minutes: 1.47 %.
    let cases = [
        fires("1h", "page", 44),
        gives(FIRING, 44, Some(1.0)),
        gives(FIRING, 45, Some(1.0)),
        gives(FIRING, 46, None),
        gives(REMAINING, 0, Some(1.0)),
        // 2 % of 44 minutes of a day and an hour: 0.0587 %, of 0.1 %.
        gives(REMAINING, 60, Some(0.413)),
    ];
    passes(&api(30 * DAY), &requests(20, 44, &cases));
}

#[test]
fn one_percent_of_errors_pages_by_the_longer_windows() {
    // 1 % for 216 of 360 minutes: 0.6 %, more than 6 times 0.1 %; an hour never sees 1.44 %.
    let never = gives(r#"count(ALERTS{window="1h"})"#, 230, None);
    passes(&api(30 * DAY), &requests(10, 240, &[fires("6h", "page", 216), never]));
}

#[test]
fn a_slow_burn_is_a_ticket() {
    // 0.4 % for 1081 of 1440 minutes: more than 0.3 %. What is recorded of each minute lags by one to two.
    let no_page = gives(r#"count(ALERTS{severity="page"})"#, 1090, None);
    let cases = [fires("1d", "ticket", 1082), no_page];
    passes(&api(30 * DAY), &requests(4, 1100, &cases));
}

#[test]
fn errors_within_the_objective_alert_nobody() {
    let cases = [gives("count(ALERTS)", 600, None), gives(REMAINING, 0, Some(1.0))];
    passes(&api(30 * DAY), &requests(1, 600, &cases));
}

#[test]
fn without_a_single_good_event_all_are_errors_and_without_events_nothing_is_known() {
    let test = r#"
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series: [{series: 'http_requests_total{code="500"}', values: '0+60x10'}]
    promql_expr_test:
      - {expr: 'count(slo:error_ratio == 1)', eval_time: 10m, exp_samples: [{value: 8}]}
      - {expr: sum(slo:error_budget_remaining), eval_time: 10m, exp_samples: [{value: -999}]}
      - {expr: 'count(ALERTS{alertstate="firing"})', eval_time: 10m, exp_samples: [{value: 4}]}
  - interval: 1m
    input_series: [{series: 'http_requests_total{code="200"}', values: '7+0x10'}]
    promql_expr_test:
      - {expr: 'count(slo:error_ratio)', eval_time: 10m, exp_samples: []}
      - {expr: 'sum(slo:objective_ratio)', eval_time: 10m, exp_samples: [{value: 0.999}]}
"#;
    passes(&api(30 * DAY), test);
}

#[test]
fn a_threshold_counts_the_time_at_which_it_did_not_hold() {
    // 9 of 60 minutes are 15 %, more than 14.4 times 1 %. The other series stays as it should be.
    let test = r#"
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'http_probe_duration_seconds{target="a"}', values: '0.1+0x1440 0.9+0x8 0.1+0x60'}
      - {series: 'http_probe_duration_seconds{target="b"}', values: '0.2+0x1510'}
    promql_expr_test:
      - {expr: 'count(ALERTS{alertstate="firing"})', eval_time: 1448m, exp_samples: []}
      - {expr: 'count by (target, severity, window) (ALERTS{alertstate="firing"})', eval_time: 1449m, exp_samples: [{labels: '{target="a",severity="page",window="1h"}', value: 1}]}
      - {expr: 'sum by (target) (round(slo:error_budget_remaining, 0.001))', eval_time: 1500m, exp_samples: [{labels: '{target="a"}', value: 0.4}, {labels: '{target="b"}', value: 1}]}
"#;
    passes(&probe(), test);
}

#[test]
fn a_budget_that_cannot_burn_so_fast_has_no_such_alert() {
    let slo = Slo { objective: 90.0, ..api(30 * DAY) };
    let rules = slo.rules().expect("rules");
    let alerts = rules.groups[0].rules.iter().filter(|r| r.name.as_str() == "SLOBurnRate").count();
    assert_eq!((slo.budget(), alerts), (0.1, 3));
}

/// A quiet half day without an error, then a busy one in which 0.2 % fail: 20 times as many requests as before. A mean of
/// ratios would say 0.1 %.
#[test]
fn a_busy_hour_weighs_as_much_as_its_requests_and_not_as_its_minutes() {
    let test = format!(
        r#"
evaluation_interval: 1m
tests:
  - interval: 15s
    input_series:
      - {{series: 'http_requests_total{{code="200"}}', values: '0+100x2880 {}+1996x2879'}}
      - {{series: 'http_requests_total{{code="500"}}', values: '0+0x2880 4+4x2879'}}
    promql_expr_test:
{}"#,
        100 * 2880 + 1996,
        // 11520 of 6048000 are bad: 0.1905 %, and the budget is 0.1 %. Rates lag by minutes, so the third digit may differ.
        gives("sum(round(slo:error_budget_remaining, 0.01))", 0, Some(-0.9)),
    );
    passes(&api(30 * DAY), &test);
}

#[test]
fn sides_with_other_labels_record_no_errors_but_say_so() {
    let by_code = r#"sum by (code) (rate(http_requests_total{code!~"5.."}[$window]))"#;
    let indicator = Indicator::Ratio { good: by_code.into(), total: "sum(rate(http_requests_total[$window]))".into() };
    let test = r#"
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'http_requests_total{code="200"}', values: '0+60x10'}
      - {series: 'http_requests_total{code="204"}', values: '0+60x10'}
    promql_expr_test:
      - {expr: 'count(slo:error_ratio)', eval_time: 10m, exp_samples: []}
      - {expr: 'sum(slo:unmatched_good:count)', eval_time: 10m, exp_samples: [{value: 2}]}
      - {expr: 'count(slo:total:rate)', eval_time: 10m, exp_samples: [{value: 1}]}
      - {expr: 'count(ALERTS)', eval_time: 10m, exp_samples: []}
"#;
    passes(&Slo { indicator, ..api(30 * DAY) }, test);
}
