//! Lints that must speak, and far more expressions of which nothing may be said.

use super::*;

fn findings(rule: &str, facts: &Facts) -> Vec<Finding> {
    let text = format!("groups:\n- name: g\n  interval: 1m\n  rules:\n  - {rule}\n");
    let file = crate::file::parse(&text, "r.yml").unwrap_or_else(|p| panic!("{rule}: {p:?}"));
    check(&[file], &[&text], facts).remove(0)
}

fn of_expr(expr: &str) -> Vec<&'static str> {
    let rule = format!("{{alert: A, expr: {expr:?}, for: 5m}}");
    findings(&rule, &Facts::default()).into_iter().map(|f| f.lint).collect()
}

#[test]
fn comparisons_that_cannot_hold_are_found() {
    for expr in [
        "up > 1",
        "up < 0",
        "up == 2",
        "1 < up",
        "absent(up) == 0",
        "count(up) < 1",
        "count by (job) (up) == 0",
        "hour() > 23",
        "day_of_week() >= 7",
        "abs(x) < 0",
        "clamp_max(x, 10) > 10",
        "(x > 5) < 3",
        "x > 5 and x < 3",
        "5 < x and x <= 5",
        "avg(up) > 1",
        "max_over_time(up[5m]) > 1",
        "avg_over_time(up[5m]) * 100 > 100",
        "1 - up > 1",
        "up{job=\"a\", job=\"b\"}",
        "up{job=\"a\", job!~\"a|b\"}",
        "(x > bool 3) == 2",
        "vector(1) > 2",
        "sum by (job) (x) > 5 and sum by (job) (x) < 3",
        "x + y > 5 and x + y < 3",
        "rate({__name__=~\"a|b\"}[10m]) > 5 and rate({__name__=~\"a|b\"}[10m]) < 3",
        "last_over_time(x[10m]) > 5 and last_over_time(x[10m]) < 3",
    ] {
        assert_eq!(of_expr(expr), ["never-true"], "{expr}");
    }
}

#[test]
fn what_may_hold_is_left_alone() {
    for expr in [
        "up == 0",
        "up < 1",
        "up != 1",
        "up >= 1",
        "sum(up) > 1",
        "sum by (job) (up) / count by (job) (up) > 1",
        "avg_over_time(up[5m]) < 0.9",
        "avg_over_time(up[5m]) * 100 < 90",
        "(1 - avg_over_time(up[5m])) * 100 > 5",
        "count(up == 1) > 5",
        "x > 5 or x < 3",
        "x > 3 and x < 5",
        "x >= 5 and x <= 5",
        "x > 5 and on(job) x < 3",
        "x > 5 unless x < 3",
        // `and` does not look at the metric's name: `a` meets `b`.
        "{__name__=~\"a|b\"} > 5 and {__name__=~\"a|b\"} < 3",
        "(a or b) > 5 and (a or b) < 3",
        "last_over_time({__name__=~\"a|b\"}[10m]) > 5 and last_over_time({__name__=~\"a|b\"}[10m]) < 3",
        "topk(3, {job=\"a\"}) > 5 and topk(3, {job=\"a\"}) < 3",
        "max by (__name__, job) ({job=\"a\"}) > 5 and max by (__name__, job) ({job=\"a\"}) < 3",
        "x > y",
        "x > x offset 5m",
        "-up < 0",
        "2 - up > 1",
        "up * 2 > 1",
        "up / 0.5 > 1",
        "0.1 + up * 0.2 >= 0.3",
        "clamp_min(x, 10) > 10",
        "clamp(x, 1, 10) == 10",
        "rate(x[10m]) < 0",
        "deriv(x[10m]) < 0",
        "time() - x > 300",
        "up{job=~\"a.*\", job!=\"ab\"}",
        "up{job!=\"\"}",
        "quantile(0.5, up) > 1",
        "histogram_quantile(0.9, sum by (le) (rate(x_bucket[10m]))) > 1",
        "histogram_quantile(0.9, sum(rate(native[10m]))) > 1",
        "label_replace(sum by (a) (x), \"b\", \"$1\", \"a\", \"(.*)\") > on(b) y",
        "sum by (a, b) (x) / on(a) group_left(c) y > 0",
        "sum without (a) (x) * on(b) group_left y > 1",
        "absent(up{job=\"a\"})",
        "sum by (pod) (label_replace(x, \"pod\", \"$1\", \"p\", \".*\")) > 1",
        "count_values(\"v\", x) > 1",
        "sum by (v) (count_values(\"v\", x)) > 1",
        "topk by (a) (3, x) > 1",
        "info(x) > 1",
        "sum by (version) (info(x)) > 1",
        "minute() < 5 and on() x > 3",
        "stddev(x) > 0",
        "changes(x[10m]) > 0",
        "x % 2 == 1",
        "sgn(x) == -1",
    ] {
        assert_eq!(of_expr(expr), [] as [&str; 0], "{expr}");
    }
}

#[test]
fn an_alert_without_for_is_found_behind_and_or_and_unless() {
    let lint = |expr: &str| {
        let found = findings(&format!("{{alert: A, expr: {expr:?}}}"), &Facts::default());
        found.iter().map(|f| f.lint).collect::<Vec<_>>()
    };
    for expr in [
        "up == 0",
        "up == 0 and on (instance) x > 5",
        "(up == 0) unless on () maintenance",
        "up == 0 or x > 5",
        "rate(x[10m]) > 5 or up == 0",
        "x and on (job) y > 5",
        "((up == 0 and on () y) unless on () z)",
    ] {
        assert_eq!(lint(expr), ["missing-for"], "{expr}");
    }
    for expr in [
        "rate(x[10m]) > 5",
        "rate(x[10m]) > 5 or changes(y[10m]) > 3",
        "up == 0 and on (instance) rate(x[10m]) > 5",
        "up == 0 and on (instance) time() - start > 300",
        "up unless on () maintenance == 1",
        "absent(up)",
        "absent(up) or absent(x)",
        "job:errors:ratio_rate1h > 0.01 and job:errors:ratio_rate5m > 0.01",
    ] {
        assert_eq!(lint(expr), [] as [&str; 0], "{expr}");
    }
}

#[test]
fn labels_that_cannot_be_there_are_found() {
    for expr in [
        "sum by (a) (sum by (b) (x)) > 1",
        "sum by (a) (x) / on(b) sum by (a) (y) > 1",
        "x * on(a) group_left(b) sum by (a) (y) > 1",
        "sum by (a) (sum without (a) (x)) > 1",
        "sum by (a) (x{a=\"\"}) > 1",
        "histogram_quantile(0.9, sum by (job) (rate(x_bucket[10m]))) > 1",
        "sum by (le) (histogram_quantile(0.9, rate(x_bucket[10m]))) > 1",
    ] {
        assert!(of_expr(expr).contains(&"label-never-there"), "{expr}: {:?}", of_expr(expr));
    }
}

#[test]
fn labels_of_templates_are_those_of_the_series() {
    let lint = |expr: &str, text: &str| {
        let rule =
            format!("{{alert: A, expr: {expr:?}, for: 5m, labels: {{severity: page}}, annotations: {{s: {text:?}}}}}");
        findings(&rule, &Facts::default()).iter().map(|f| format!("{} {}", f.lint, f.help)).collect::<Vec<_>>()
    };
    assert!(lint("sum by (job) (x) > 1", "{{ $labels.job }}").is_empty());
    assert!(lint("x > 1", "{{ $labels.anything }}").is_empty());
    assert!(lint("sum by (job) (x) > 1", "{{ $labels.instance }}")[0].starts_with("label-never-there keep `instance`"));
    assert!(lint("sum by (job) (x) > 1", "{{ $labels.severity }}")[0].contains("without the rule's own `severity`"));
    for other_way in
        ["{{ .Labels.instance }}", "{{ index $labels \"instance\" }}", "{{ $x := $labels }}{{ $x.instance }}"]
    {
        let found = lint("sum by (job) (x) > 1", other_way);
        assert!(found[0].starts_with("label-never-there keep `instance`"), "{other_way}: {found:?}");
    }
    assert!(lint("x > 1", "{{ query \"up ==\" | first | value }}")[0].starts_with("bad-template-query"));
}

#[test]
fn windows_are_measured_against_what_is_known() {
    let lint = |expr: &str, facts: &Facts| {
        let rule = format!("{{record: r, expr: {expr:?}}}");
        findings(&rule, facts).iter().map(|f| f.lint).collect::<Vec<_>>()
    };
    let scraped = Facts { scrape_interval: Some(Duration::from_secs(30)), ..Facts::default() };
    assert_eq!(lint("rate(x[1m])", &scraped), ["short-window"]);
    assert_eq!(lint("irate(x[1m])", &scraped), [] as [&str; 0]);
    assert_eq!(lint("rate(x[2m])", &scraped), [] as [&str; 0]);
    // The group's own interval is all that is known.
    assert_eq!(lint("increase(x[1m])", &Facts::default()), ["short-window"]);
    assert_eq!(lint("increase(x[2m])", &Facts::default()), [] as [&str; 0]);
    assert_eq!(lint("max_over_time(x[10s])", &scraped), [] as [&str; 0]);
    // A window with samples enough, but no longer than the group's interval of a minute.
    let often = Facts { scrape_interval: Some(Duration::from_secs(5)), ..Facts::default() };
    assert_eq!(lint("rate(x[1m])", &often), ["short-window"]);
    assert_eq!(lint("rate(x[61s])", &often), [] as [&str; 0]);
}

#[test]
fn metrics_are_looked_for_where_somebody_could_be_asked() {
    let facts = Facts { metrics: Some(["up".to_owned(), "http_requests_total".to_owned()].into()), ..Facts::default() };
    let lint = |expr: &str| {
        let rule = format!("{{alert: A, expr: {expr:?}, for: 5m}}");
        findings(&rule, &facts).iter().map(|f| f.help.clone()).collect::<Vec<_>>()
    };
    assert!(lint("up == 0 and ALERTS unless absent(nothing)").is_empty());
    assert_eq!(lint("rate(http_request_total[5m]) > 1"), ["did you mean `http_requests_total`?"]);
    assert_eq!(lint("nothing > 1"), ["check its name, and that something delivers it"]);
}

#[test]
fn a_comment_excuses() {
    let text = "groups:\n- name: g\n  rules:\n  # belfry: allow missing-for\n  - alert: A\n    expr: up == 0\n  - alert: B\n    expr: up == 0\n";
    let file = crate::file::parse(text, "r.yml").expect("valid");
    let found = check(&[file], &[text], &Facts::default()).remove(0);
    assert_eq!(found.iter().map(|f| (f.lint, f.at.line)).collect::<Vec<_>>(), [("missing-for", 7)]);
}
