use super::*;

const RULES: &str = "groups:\n- name: g\n  rules:\n  - alert: Down\n    expr: up{job=\"a\"} == 0\n    for: 5m\n  - record: r\n    expr: sum(rate(x{code=~\"5..\"}[5m])) > 2\n";

fn files() -> Vec<RuleFile> {
    vec![crate::file::parse(RULES, "r.yml").expect("rules")]
}

fn suite(tests: &str) -> Vec<Suite> {
    vec![Suite { tests: crate::unittest::parse(tests, "t.yml").expect("tests"), files: vec![0] }]
}

#[test]
fn comparators_thresholds_hold_times_and_matchers_are_changed() {
    let all: Vec<String> = mutations(&files())
        .iter()
        .map(|m| format!("{} {} {}: {} → {}", m.at, m.name, m.kind, m.before, m.after))
        .collect();
    assert_eq!(
        all,
        [
            "5:23 Down comparator: == → !=",
            "5:26 Down threshold: 0 → 1",
            "5:26 Down threshold: 0 → -1",
            "5:11 Down matcher: job=\"a\" → job!=\"a\"",
            "5:11 Down matcher: job=\"a\" → nothing",
            "6:10 Down for: for: 5m → for: 0s",
            "6:10 Down for: for: 5m → for: 10m",
            "8:41 r comparator: > → >=",
            "8:41 r comparator: > → <",
            "8:43 r threshold: 2 → 2.2",
            "8:43 r threshold: 2 → 1.8",
            "8:20 r matcher: code=~\"5..\" → code!~\"5..\"",
            "8:20 r matcher: code=~\"5..\" → nothing",
        ]
    );
}

#[test]
fn a_threshold_that_is_calculated_is_changed_too() {
    let thresholds = |expr: &str| -> Vec<String> {
        let all = edit::edits(&belfry_promql::parse(expr).expect("PromQL"));
        all.iter().filter(|e| e.kind == "threshold").map(|e| format!("{} → {}", e.before, e.after)).collect()
    };
    assert_eq!(thresholds("x > 14.4 * 0.001"), ["14.4 * 0.001 → 0.01584", "14.4 * 0.001 → 0.01296"]);
    assert_eq!(thresholds("x > (14.4 * (1 - 0.999))").len(), 2);
    assert_eq!(thresholds("-2 ^ 2 < x"), ["-4 → -3.6", "-4 → -4.4"]);
    assert_eq!(thresholds("x > 1 / 0"), [] as [&str; 0], "a tenth more than infinity is infinity");
    assert_eq!(thresholds("x > y * 2"), [] as [&str; 0]);
}

#[test]
fn what_no_test_notices_is_named() {
    // The boundary of `for` is tested on one side only, and no other job is there.
    let tests = "tests:\n- input_series: [{series: 'up{job=\"a\"}', values: 0x20}]\n  alert_rule_test:\n  - {eval_time: 4m, alertname: Down, exp_alerts: []}\n  - {eval_time: 20m, alertname: Down, exp_alerts: [{exp_labels: {job: a}}]}\n";
    let report = mutate(&files(), &suite(tests), MUTATIONS_MAX).expect("tests pass");
    let survived: Vec<String> = report.survived.iter().map(|m| format!("{} → {}", m.before, m.after)).collect();
    assert_eq!(survived, ["job=\"a\" → nothing", "for: 5m → for: 10m"]);
    assert_eq!((report.noticed, report.left_out), (5, 0));
    assert_eq!(report.untested, [RuleKey { file: 0, group: 0, rule: 1 }]);
}

#[test]
fn sharper_tests_notice_everything() {
    let tests = "tests:\n- input_series: [{series: 'up{job=\"a\"}', values: 0x20}, {series: 'up{job=\"b\"}', values: 0x20}]\n  alert_rule_test:\n  - {eval_time: 4m, alertname: Down, exp_alerts: []}\n  - {eval_time: 5m, alertname: Down, exp_alerts: [{exp_labels: {job: a}}]}\n";
    let report = mutate(&files(), &suite(tests), MUTATIONS_MAX).expect("tests pass");
    assert!(report.survived.is_empty(), "{:?}", report.survived);
}

#[test]
fn the_number_of_changes_is_bounded_and_tests_must_pass_first() {
    let tests = "tests:\n- input_series: [{series: 'up{job=\"a\"}', values: 0x20}]\n  alert_rule_test:\n  - {eval_time: 20m, alertname: Down, exp_alerts: [{exp_labels: {job: a}}]}\n";
    let report = mutate(&files(), &suite(tests), 3).expect("tests pass");
    assert_eq!((report.noticed + report.survived.len(), report.left_out), (3, 4));
    let wrong = tests.replace("job: a}", "job: b}");
    assert_eq!(mutate(&files(), &suite(&wrong), 3).err(), Some(vec!["t.yml".to_owned()]));
}

proptest::proptest! {
    #[test]
    fn every_change_can_be_applied_and_changes_something(i in 0usize..13) {
        let files = files();
        let m = &mutations(&files)[i];
        let changed = m.apply(&files).expect("applies");
        proptest::prop_assert_ne!(changed, files);
    }
}
