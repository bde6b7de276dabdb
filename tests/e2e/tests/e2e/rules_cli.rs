//! `belfry rules`: check, test, mutate and backtest as people call them.

use belfry_e2e::{Ended, Home, SOON, wait_until};
use serde_json::Value;

use crate::SYSTEM;

const RULES: &str = r#"groups:
- name: node
  rules:
  - alert: Down
    expr: up{job="node"} == 0
    for: 5m
    labels: {severity: page}
    annotations: {summary: "{{ $labels.instance }} is down"}
  - alert: Untested
    expr: nothing > 1
    for: 5m
"#;

const TESTS: &str = r#"rule_files: [rules.yml]
tests:
- name: a node that is down
  input_series:
  - {series: 'up{job="node", instance="a"}', values: 0x20}
  alert_rule_test:
  - {eval_time: 4m, alertname: Down, exp_alerts: []}
  - eval_time: 10m
    alertname: Down
    exp_alerts:
    - exp_labels: {severity: page, job: node, instance: a}
      exp_annotations: {summary: a is down}
"#;

fn home() -> Home {
    let home = Home::new("");
    std::fs::write(home.path("rules.yml"), RULES).expect("the rules are written");
    std::fs::write(home.path("test.yml"), TESTS).expect("the tests are written");
    home
}

fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|e| panic!("{e}: {ended:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tells_errors_from_warnings_and_says_what_it_could_not_look_for() {
    let home = home();
    let good = home.run(&["rules", "check", "rules.yml"]).await;
    assert_eq!(good.code, Some(0), "{good:?}");
    assert!(good.stdout.contains("note: unknown metrics are not looked for: give --server or --config"), "{good:?}");
    assert!(good.stdout.ends_with("ok: 1 files, 2 rules, 0 errors, 0 warnings\n"), "{good:?}");

    std::fs::write(home.path("odd.yml"), RULES.replace("== 0", "> 1")).expect("written");
    let odd = home.run(&["rules", "check", "odd.yml"]).await;
    assert_eq!(odd.code, Some(0), "{odd:?}");
    assert!(odd.stdout.contains("odd.yml:5:26: warning: "), "{odd:?}");
    let strict = home.run(&["rules", "check", "--strict", "--output", "json", "o*.yml"]).await;
    assert_eq!(strict.code, Some(1), "{strict:?}");
    assert_eq!(json(&strict)["warnings"][0]["lint"], "never-true");

    std::fs::write(home.path("bad.yml"), RULES.replace("== 0", "==")).expect("written");
    let bad = home.run(&["rules", "check", "rules.yml", "bad.yml"]).await;
    assert_eq!(bad.code, Some(1), "{bad:?}");
    assert!(bad.stdout.contains("bad.yml:5:"), "{bad:?}");
    home.configure(
        "[collection]\ninterval = \"20s\"\n[rules]\nfiles = [\"odd.yml\"]\n[server]\nlisten = \"127.0.0.1:1\"\n",
    );
    std::fs::write(home.path("odd.yml"), RULES.replace("up{job=\"node\"} == 0", "rate(x[1m]) > 1")).expect("written");
    let named = home.run(&["rules", "check", "--config", "belfry.toml"]).await;
    assert!(named.stdout.contains("`rate` over 1m with samples every 20s"), "{named:?}");
    assert!(
        named.stdout.contains("note: unknown metrics are not looked for: no Belfry answers at 127.0.0.1:1\n"),
        "{named:?}"
    );
    assert_eq!(home.run(&["rules", "check"]).await.code, Some(2));
    assert_eq!(home.run(&["rules", "check", "nowhere.yml"]).await.code, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn check_reads_standard_input() {
    let home = home();
    let good = home.run_with(&["rules", "check", "-"], RULES).await;
    assert_eq!(good.code, Some(0), "{good:?}");
    assert!(good.stdout.ends_with("ok: 1 files, 2 rules, 0 errors, 0 warnings\n"), "{good:?}");
    let bad = home.run_with(&["rules", "check", "rules.yml", "-"], &RULES.replace("== 0", "==")).await;
    assert_eq!(bad.code, Some(1), "{bad:?}");
    assert!(bad.stdout.contains("standard input:5:"), "{bad:?}");
    assert!(bad.stdout.ends_with("failed: 2 files, 2 rules, 1 errors, 0 warnings\n"), "{bad:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tests_pass_or_show_a_diff_and_name_the_rules_they_leave_out() {
    let home = home();
    let passed = home.run(&["rules", "test", "test.yml"]).await;
    assert_eq!(passed.code, Some(0), "{passed:?}");
    assert_eq!(
        passed.stdout,
        "test.yml: ok (1 tests, 2 cases)\ncoverage: 1 of 2 rules fire or record a value in a test (50 %)\n  untested: rules.yml:9:5: alert Untested\n"
    );
    assert_eq!(home.run(&["rules", "test", "--coverage-min", "80", "test.yml"]).await.code, Some(1));

    std::fs::write(home.path("test.yml"), TESTS.replace("a is down", "b is down")).expect("written");
    let failed = home.run(&["rules", "test", "test.yml", "--junit", "out.xml"]).await;
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(failed.stdout.contains("    -     summary: b is down\n    +     summary: a is down\n"), "{failed:?}");
    let xml = std::fs::read_to_string(home.path("out.xml")).expect("the report");
    assert!(xml.contains("<testsuite name=\"test.yml\" tests=\"1\" failures=\"1\" errors=\"0\">"), "{xml}");
    let skipped = home.run(&["rules", "test", "test.yml", "--run", "another", "--output", "json"]).await;
    assert_eq!((skipped.code, &json(&skipped)["ok"]), (Some(0), &Value::Bool(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn mutations_that_no_test_notices_are_named() {
    let home = home();
    let told = home.run(&["rules", "mutate", "test.yml"]).await;
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.stdout.contains("rules.yml:6:10: not noticed: for Down: for: 5m → for: 10m\n"), "{told:?}");
    assert!(told.stdout.contains("rules.yml:9:5: untested: no test makes Untested true\n"), "{told:?}");
    assert_eq!(home.run(&["rules", "mutate", "--fail", "test.yml"]).await.code, Some(1));
}

const LIVE: &str = "groups:\n- name: g\n  interval: 500ms\n  rules:\n  - alert: Watched\n    expr: count({source=~\".+\"}) > 0\n    for: 1h\n";

/// Live each evaluation is a range of its own: its start and end are its time. Over the range of the whole backtest the end
/// would have more samples than the steps before it, and the start fewer.
const BOUND: &str = r#"groups:
- name: g
  interval: 1s
  rules:
  - alert: MoreAtTheEnd
    expr: count_over_time(system_uptime_seconds[1h] @ end()) > count_over_time(system_uptime_seconds[1h])
  - alert: FewerAtTheStart
    expr: count_over_time(system_uptime_seconds[1h]) unless count_over_time(system_uptime_seconds[1h] @ start())
  - alert: Long
    expr: vector(range()) > 0
  - alert: Always
    expr: count(count_over_time(system_uptime_seconds[1h] @ end()) == count_over_time(system_uptime_seconds[1h] @ start())) > 0
"#;

fn assert_only_always_fires(answer: &Value) {
    let rules = answer["rules"].as_array().expect("rules");
    let fired = rules.iter().filter(|r| r["result"]["series"] != 0).map(|r| r["rule"].as_str().expect("a name"));
    assert_eq!(fired.collect::<Vec<_>>(), ["Always"], "{answer}");
    assert!(rules.iter().all(|r| r["result"]["failures"].as_object().is_some_and(|f| f.is_empty())), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backtest_says_when_a_rule_would_have_fired_and_how_the_live_one_does() {
    let home = Home::new(&format!("{SYSTEM}\n[rules]\nfiles = [\"live.yml\"]\n"));
    std::fs::write(home.path("live.yml"), LIVE).expect("written");
    std::fs::write(home.path("bound.yml"), BOUND).expect("written");
    std::fs::write(home.path("new.yml"), LIVE.replace("1h", "0s")).expect("written");
    let belfry = home.start().await;
    wait_until("something is recorded", SOON, async || belfry.one("count({source=~\".+\"})").await).await;
    let url = belfry.url().to_owned();
    let over = ["--from", "-1m", "--interval", "1s", "--output", "json"];
    let ask = |file: &'static str| {
        let (home, url) = (&home, url.as_str());
        async move {
            let mut arguments = vec!["rules", "backtest", "--server", url];
            arguments.extend(over);
            arguments.push(file);
            home.run(&arguments).await
        }
    };
    let new = wait_until("a step of the backtest sees it", SOON, async || {
        let ended = ask("new.yml").await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let answer = json(&ended);
        (answer["rules"][0]["result"]["series"] == 1).then_some(answer)
    })
    .await;
    let rule = &new["rules"][0];
    assert_eq!((&rule["rule"], &rule["live"]["state"]), (&"Watched".into(), &"other".into()), "{new}");
    assert_eq!(rule["live"]["result"]["firings"].as_array().map(Vec::len), Some(0), "{new}");
    let same = json(&ask("live.yml").await);
    assert_eq!(same["rules"][0]["live"]["state"], "same", "{same}");

    assert_only_always_fires(&json(&ask("bound.yml").await));

    // The folder itself, once nobody runs on it.
    let busy = home.run(&["rules", "backtest", "--data", "data", "--from", "-1m", "new.yml"]).await;
    assert_eq!(busy.code, Some(1), "{busy:?}");
    assert!(busy.stderr.contains("in use"), "{busy:?}");
    belfry.signal("TERM").await;
    belfry.ended().await;
    let text = home.run(&["rules", "backtest", "--data", "data", "--from", "-5m", "--interval", "1s", "new.yml"]).await;
    assert_eq!(text.code, Some(0), "{text:?}");
    assert!(text.stdout.contains("rule     fired  series"), "{text:?}");
    assert!(text.stdout.contains("Watched  1      1"), "{text:?}");
    let mut arguments = vec!["rules", "backtest", "--data", "data"];
    arguments.extend(over);
    arguments.push("bound.yml");
    assert_only_always_fires(&json(&home.run(&arguments).await));
}
