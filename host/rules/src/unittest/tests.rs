//! What promtool's documentation says of tests, case by case.

use super::*;
use crate::file::RuleFile;

const RULES: &str = r#"
groups:
  - name: alerts
    rules:
      - alert: InstanceDown
        expr: up == 0
        for: 5m
        labels: {severity: page}
        annotations:
          summary: "Instance {{ $labels.instance }} down"
          where: "{{ $externalLabels.cluster }} {{ externalURL }} {{ $value }}"
      - alert: AlwaysFiring
        expr: 1
  - name: rules
    rules:
      - record: job:test:count_over_time1m
        expr: sum without(instance) (count_over_time(test[1m]))
      - record: fixed_data
        expr: 1
"#;

fn rules(text: &str) -> RuleFile {
    crate::file::parse(text, "rules.yml").expect("rules")
}

#[track_caller]
fn outcome(rules_text: &str, test: &str) -> TestOutcome {
    let file = parse(test, "test.yml").expect("test file");
    run(&file, &[rules(rules_text)], &Options::default())
}

#[track_caller]
fn passes(rules_text: &str, test: &str) {
    let o = outcome(rules_text, test);
    let failures: Vec<_> = o.groups.iter().flat_map(|g| &g.failures).collect();
    assert!(o.passed(), "{failures:#?}");
    assert!(!o.groups.is_empty(), "nothing was run");
}

/// The failures, one line each, then the lines of their diffs.
fn fails(rules_text: &str, test: &str) -> String {
    let o = outcome(rules_text, test);
    let line = |f: &Failure| {
        let diff: String = f.diff.iter().map(|(c, l)| format!("{c} {l}\n")).collect();
        format!("{} {}\n{diff}", f.at, f.what)
    };
    o.groups.iter().flat_map(|g| &g.failures).map(line).collect()
}

#[test]
fn samples_are_where_the_interval_puts_them_and_stale_ones_are_gone() {
    passes(
        RULES,
        r#"
tests:
  - interval: 1m
    input_series:
      - {series: test_full, values: "0 0"}
      - {series: test_stale, values: "0 stale"}
      - {series: test_missing, values: "0 _ _ _ _ _ _ 0"}
    promql_expr_test:
      - {expr: timestamp(test_full), eval_time: 1m, exp_samples: [{value: 60}]}
      - {expr: timestamp(test_full), eval_time: 2m, exp_samples: [{value: 60}]}
      - {expr: test_stale, eval_time: 59s, exp_samples: [{labels: test_stale, value: 0}]}
      - {expr: test_stale, eval_time: 1m, exp_samples: []}
      - {expr: timestamp(test_missing), eval_time: 4m59s999ms, exp_samples: [{value: 0}]}
      - {expr: timestamp(test_missing), eval_time: 5m, exp_samples: []}
"#,
    );
}

#[test]
fn alerts_fire_after_their_hold_with_labels_annotations_and_series_of_their_own() {
    passes(
        RULES,
        r#"
evaluation_interval: 1m
tests:
  - interval: 1m
    external_labels: {cluster: prod}
    external_url: http://localhost:9090
    input_series:
      - {series: 'up{job="prometheus", instance="localhost:9090"}', values: "0+0x1440"}
    promql_expr_test:
      - expr: count(ALERTS) by (alertname, alertstate)
        eval_time: 4m
        exp_samples:
          - {labels: '{alertname="AlwaysFiring",alertstate="firing"}', value: 1}
          - {labels: '{alertname="InstanceDown",alertstate="pending"}', value: 1}
      - {expr: 'count(ALERTS{alertname="InstanceDown"}) by (alertstate)', eval_time: 5m, exp_samples: [{labels: '{alertstate="firing"}', value: 1}]}
      - {expr: 'ALERTS_FOR_STATE{alertname="InstanceDown"}', eval_time: 5m, exp_samples: [{labels: 'ALERTS_FOR_STATE{alertname="InstanceDown",instance="localhost:9090",job="prometheus",severity="page"}', value: 0}]}
      - {expr: 'count_over_time(fixed_data[1h])', eval_time: 1h, exp_samples: [{value: 60}]}
    alert_rule_test:
      - {eval_time: 1d, alertname: AlwaysFiring, exp_alerts: [{}]}
      - {eval_time: 0, alertname: InstanceDown, exp_alerts: []}
      - eval_time: 1d
        alertname: InstanceDown
        exp_alerts:
          - exp_labels: {severity: page, instance: "localhost:9090", job: prometheus}
            exp_annotations: {summary: "Instance localhost:9090 down", where: "prod http://localhost:9090 0"}
"#,
    );
}

#[test]
fn rules_run_at_the_evaluation_interval_not_at_that_of_the_values() {
    passes(
        RULES,
        r#"
tests:
  - interval: 1s
    input_series: [{series: 'test{job="test", instance="x:0"}', values: "0+1x120"}]
    promql_expr_test:
      - {expr: 'job:test:count_over_time1m', eval_time: 0, exp_samples: [{value: 1, labels: 'job:test:count_over_time1m{job="test"}'}]}
      - {expr: 'timestamp(job:test:count_over_time1m)', eval_time: 10s, exp_samples: [{value: 0, labels: '{job="test"}'}]}
      - {expr: 'job:test:count_over_time1m', eval_time: 1m, exp_samples: [{value: 60, labels: 'job:test:count_over_time1m{job="test"}'}]}
      - {expr: 'timestamp(job:test:count_over_time1m)', eval_time: 2m59s999ms, exp_samples: [{value: 120, labels: '{job="test"}'}]}
"#,
    );
}

#[test]
fn a_start_moves_everything() {
    passes(
        RULES,
        r#"
tests:
  - start_timestamp: "2024-01-01T00:00:00Z"
    input_series: [{series: 'my_metric{label="test"}', values: "10+10x15"}]
    promql_expr_test:
      - {expr: time(), eval_time: 5m, exp_samples: [{value: 1704067500}]}
      - {expr: my_metric@1704067320, eval_time: 5m, exp_samples: [{labels: 'my_metric{label="test"}', value: 30}]}
  - start_timestamp: 1609459200
    promql_expr_test: [{expr: time(), eval_time: 10m, exp_samples: [{value: 1609459800}]}]
"#,
    );
}

#[test]
fn histograms_compare_bucket_by_bucket() {
    let test = |histogram: &str| {
        format!(
            "tests:\n  - input_series: [{{series: h, values: '{{{{schema:0 sum:3 count:4 buckets:[1 2 1]}}}}x5'}}]\n    promql_expr_test:\n      - {{expr: h, eval_time: 2m, exp_samples: [{{labels: h, histogram: '{histogram}'}}]}}\n"
        )
    };
    passes(RULES, &test("{{schema:0 sum:3 count:4 counter_reset_hint:not_reset buckets:[1 2 1]}}"));
    let told = fails(RULES, &test("{{schema:0 sum:3 count:4 buckets:[1 3 0]}}"));
    assert!(told.contains("- h {{count:4 sum:3 buckets:[1 3]}}"), "{told}");
    assert!(told.contains("+ h {{count:4 sum:3 counter_reset_hint:not_reset buckets:[1 2 1]}}"), "{told}");
}

#[test]
fn fuzzy_compare_forgives_one_bit() {
    let test = |fuzzy: bool| {
        format!(
            "fuzzy_compare: {fuzzy}\ntests:\n  - input_series: [{{series: t, values: 3.0000000000000004}}]\n    promql_expr_test: [{{expr: t, eval_time: 0, exp_samples: [{{labels: t, value: 3}}]}}]\n"
        )
    };
    passes(RULES, &test(true));
    assert_eq!(fails(RULES, &test(false)), "4:24 expr: \"t\", time: 0s\n- t 3\n+ t 3.0000000000000004\n");
}

#[test]
fn what_differs_is_shown_line_by_line() {
    let told = fails(
        RULES,
        r#"
tests:
  - input_series: [{series: 'up{instance="a"}', values: "0x10"}]
    alert_rule_test:
      - eval_time: 6m
        alertname: InstanceDown
        exp_alerts:
          - exp_labels: {severity: page, instance: a}
            exp_annotations: {summary: "Instance b down", where: "  0"}
"#,
    );
    assert_eq!(
        told,
        "5:9 alertname: InstanceDown, time: 6m\n  {alertname=\"InstanceDown\", instance=\"a\", severity=\"page\"}\n-     summary: Instance b down\n+     summary: Instance a down\n      where:   0\n"
    );
}

#[test]
fn an_error_of_a_rule_ends_the_test() {
    let told = fails(
        "groups: [{name: g, rules: [{record: r, expr: 'label_replace(up, \"a\", \"\", \"a\", \".*\")'}]}]",
        "tests: [{input_series: [{series: 'up{a=\"1\"}', values: 1}, {series: 'up{a=\"2\"}', values: 1}], promql_expr_test: [{expr: r, eval_time: 0, exp_samples: []}]}]",
    );
    assert!(told.contains("rule: r, time: 0s, err: "), "{told}");
}

#[test]
fn a_series_that_is_there_with_another_value_fails_the_rule_that_writes_it() {
    let rules = |expr: &str| {
        format!(
            "groups:\n- name: g\n  rules: [{{record: one, expr: vector(1)}}]\n- name: h\n  query_offset: 1m\n  rules: \
             [{{record: late, expr: vector(1)}}]\n- name: i\n  rules: [{{record: one, expr: {expr}}}]\n"
        )
    };
    let test = |series: &str| {
        format!(
            "tests:\n- interval: 1m\n  input_series: [{{series: {series}, values: 1x10}}]\n  promql_expr_test:\n  \
             - {{expr: vector(1), eval_time: 1m, exp_samples: [{{labels: '{{}}', value: 1}}]}}\n"
        )
    };
    passes(&rules("vector(1)"), &test("other"));
    // In promtool's words.
    assert_eq!(
        fails(&rules("vector(2)"), &test("other")),
        "2:3 rule: one, time: 0s, err: duplicate sample for timestamp\n"
    );
    assert_eq!(fails(&rules("vector(1)"), &test("late")), "2:3 rule: late, time: 0s, err: out of order sample\n");
    passes(&rules("vector(1)"), &test("one"));
    assert!(fails(&rules("vector(1)"), &test("one").replace("1x10", "3x10")).contains("err: duplicate sample"));
    // What will come is no conflict.
    passes(&rules("vector(1)"), &test("one").replace("1x10", "1 1 7"));
}

#[test]
fn groups_are_evaluated_in_the_order_asked_for() {
    let rules_text = "groups:\n- {name: second, rules: [{record: b, expr: a + 1}]}\n- {name: first, rules: [{record: a, expr: vector(time())}]}\n";
    let test = "group_eval_order: [first, second]\ntests: [{promql_expr_test: [{expr: b, eval_time: 1m, exp_samples: [{labels: b, value: 61}]}]}]";
    passes(rules_text, test);
    assert!(fails(rules_text, &test.replace("group_eval_order: [first, second]\n", "")).contains("+ b 1"));
}

#[test]
fn keep_firing_for_and_templates_that_query() {
    passes(
        "groups: [{name: g, rules: [{alert: A, expr: up == 0, keep_firing_for: 3m, annotations: {n: '{{ query \"count(up)\" | first | value }}'}}]}]",
        r#"
tests:
  - input_series: [{series: up, values: "0 1x10"}]
    alert_rule_test:
      - {eval_time: 0, alertname: A, exp_alerts: [{exp_annotations: {n: "1"}}]}
      - {eval_time: 3m, alertname: A, exp_alerts: [{exp_annotations: {n: "1"}}]}
      - {eval_time: 4m, alertname: A, exp_alerts: []}
"#,
    );
}

/// As promtool 3.5 compares: an empty annotation is one, an empty label is none.
#[test]
fn empty_annotations_and_labels_are_compared_as_promtool_does() {
    const RULES: &str = r#"groups: [{name: g, rules: [{alert: A, expr: up, annotations: {n: "", q: '{{ with query "none" }}x{{ end }}'}, labels: {sev: ""}}, {alert: B, expr: up}]}]"#;
    let test = |alert: &str, expected: &str| {
        format!(
            "tests: [{{input_series: [{{series: up, values: 1x3}}], alert_rule_test: [{{eval_time: 1m, alertname: {alert}, exp_alerts: [{expected}]}}]}}]"
        )
    };
    passes(RULES, &test("A", r#"{exp_annotations: {n: "", q: ""}}"#));
    passes(RULES, &test("A", "{exp_annotations: {n: , q: }}"));
    passes(RULES, &test("B", "{}"));
    assert!(fails(RULES, &test("A", "{}")).contains("+     n: "));
    assert!(fails(RULES, &test("B", r#"{exp_annotations: {n: ""}}"#)).contains("-     n: "));
    assert!(fails(RULES, &test("B", r#"{exp_labels: {sev: ""}}"#)).contains(r#"- {alertname="B", sev=""}"#));
    let both = test("A", r#"{exp_labels: {sev: ""}, exp_annotations: {n: "", q: ""}}"#);
    assert!(fails(RULES, &both).contains(r#"- {alertname="A", sev=""}"#));
}

/// As promtool 3.5 prints it.
#[test]
fn a_native_histogram_is_printed_with_its_buckets() {
    passes(
        r#"groups: [{name: g, rules: [{alert: H, expr: h, annotations: {v: '{{ $value }}', q: '{{ query "h" | first | value }}'}}]}]"#,
        r#"
tests:
  - input_series: [{series: h, values: "{{schema:0 count:5 sum:10 buckets:[1 2 2]}}x3"}]
    alert_rule_test:
      - {eval_time: 1m, alertname: H, exp_alerts: [{exp_annotations: {v: "{count:5, sum:10, (0.5,1]:1, (1,2]:2, (2,4]:2}", q: "{count:5, sum:10, (0.5,1]:1, (1,2]:2, (2,4]:2}"}}]}
"#,
    );
}

#[test]
fn coverage_names_what_no_test_makes_true() {
    let files = [rules(RULES)];
    let file = parse("tests: [{input_series: [{series: up, values: 0x3}], promql_expr_test: [{expr: time(), eval_time: 3m, exp_samples: [{value: 180}]}]}]", "t").expect("test file");
    let o = run(&file, &files, &Options::default());
    let c = coverage::coverage(&files, [&o]);
    let names: Vec<&str> = c.untested.iter().map(|u| u.name.as_str()).collect();
    assert_eq!((names, c.rules, c.percent()), (vec!["InstanceDown", "job:test:count_over_time1m"], 4, 50.0));
}

#[test]
fn a_file_that_cannot_be_read_says_why_and_where() {
    for (text, says) in [
        ("tests:\n  - intervall: 1m\n", "2:5: field intervall not found in a test"),
        ("tests:\n  - input_series: [{series: 'up{', values: 1}]\n", "is no series"),
        ("tests:\n  - input_series: [{series: up, values: '1 b'}]\n", "`b` is no value"),
        ("tests:\n  - alert_rule_test: [{eval_time: 1m}]\n", "misses required attribute alertname"),
        ("group_eval_order: [a, a]\n", "group name repeated in evaluation order: a"),
        ("evaluation_interval: soon\n", "`soon` is not a duration"),
    ] {
        let problems = parse(text, "t").expect_err(text);
        let told: Vec<String> = problems.iter().map(|p| format!("{}:{}: {}", p.line, p.column, p.message)).collect();
        assert!(told.iter().any(|t| t.contains(says)), "{text}: {told:?}");
    }
}

#[test]
fn the_junit_report_is_well_formed() {
    let o = outcome(RULES, "tests: [{name: 'a<b', promql_expr_test: [{expr: time(), eval_time: 0, exp_samples: []}]}]");
    let xml = junit::junit(&[("t.yml".into(), Ok(o)), ("u.yml".into(), Err("no \"file\"".into()))]);
    assert!(xml.contains("<testcase name=\"a&lt;b\" classname=\"t.yml\">"), "{xml}");
    assert!(xml.contains("<failure message=\"expr: &quot;time()&quot;, time: 0s\">+ {} 0\n</failure>"), "{xml}");
    assert!(xml.contains("<error>no &quot;file&quot;</error>"), "{xml}");
}
