use std::time::Duration;

use belfry_model::AlertState;

use super::*;
use crate::rule_groups::Alerting;

fn rule_named(name: &str, alerting: bool, label: &str) -> GroupRule {
    let alert = GroupAlert {
        labels: Labels::from_pairs([("alertname", name)]),
        annotations: [("runbook".to_owned(), String::new())].into(),
        state: AlertState::Firing,
        active_at: TimestampMs(1_700_000_000_000),
        keep_firing_since: None,
        value: 12.5,
    };
    GroupRule {
        name: name.into(),
        query: "up == 0".into(),
        labels: [("team".to_owned(), label.to_owned())].into(),
        health: alerting.then_some(Ok(())),
        evaluation_time: Duration::from_millis(2),
        last_evaluation: alerting.then_some(TimestampMs(1_700_000_000_000)),
        alerting: alerting.then(|| Alerting {
            state: AlertState::Firing,
            hold: Duration::from_secs(300),
            keep_firing_for: Duration::ZERO,
            annotations: [("runbook".to_owned(), String::new())].into(),
            alerts: vec![alert],
        }),
    }
}

fn group(file: &str, name: &str) -> RuleGroup {
    RuleGroup {
        name: name.into(),
        file: file.into(),
        interval: Duration::from_secs(60),
        limit: 0,
        evaluation_time: Duration::ZERO,
        last_evaluation: None,
        rules: vec![rule_named("Down", true, "ops"), rule_named("up:sum", false, "web")],
    }
}

fn names(answer: &Value) -> Vec<String> {
    let groups = answer["groups"].as_array().expect("groups").iter();
    groups
        .flat_map(|g| {
            g["rules"]
                .as_array()
                .expect("rules")
                .iter()
                .map(|r| format!("{}/{}", g["name"], r["name"]).replace('"', ""))
        })
        .collect()
}

#[test]
fn rules_have_prometheus_fields() {
    let answer = answer(&[group("a.yml", "g")], &Filter::default(), &Page::default()).expect("an answer");
    let rules = &answer["groups"][0]["rules"];
    assert_eq!(
        rules[0],
        json!({
            "state": "firing", "name": "Down", "query": "up == 0", "duration": 300.0, "keepFiringFor": 0.0,
            "labels": {"team": "ops"}, "annotations": {"runbook": ""}, "health": "ok", "evaluationTime": 0.002,
            "lastEvaluation": "2023-11-14T22:13:20.000Z", "type": "alerting",
            "alerts": [{
                "labels": {"alertname": "Down"}, "annotations": {"runbook": ""}, "state": "firing",
                "activeAt": "2023-11-14T22:13:20.000Z", "value": "1.25e+01",
            }],
        })
    );
    assert_eq!(
        rules[1],
        json!({
            "name": "up:sum", "query": "up == 0", "labels": {"team": "web"}, "health": "unknown",
            "evaluationTime": 0.002, "lastEvaluation": NEVER, "type": "recording",
        })
    );
}

#[test]
fn filters_leave_what_is_asked_for() {
    let groups = [group("a.yml", "g"), group("b.yml", "h")];
    let filtered = |filter: Filter| {
        let groups: Vec<RuleGroup> = groups.iter().filter(|g| filter.takes_group(g)).cloned().collect();
        names(&answer(&groups, &filter, &Page::default()).expect("an answer"))
    };
    assert_eq!(filtered(Filter { alerting: Some(true), ..Filter::default() }), ["g/Down", "h/Down"]);
    assert_eq!(
        filtered(Filter { names: HashSet::from(["up:sum".into()]), ..Filter::default() }),
        ["g/up:sum", "h/up:sum"]
    );
    assert_eq!(filtered(Filter { files: HashSet::from(["b.yml".into()]), ..Filter::default() }).len(), 2);
    assert_eq!(filtered(Filter { groups: HashSet::from(["x".into()]), ..Filter::default() }).len(), 0);
    let matchers = vec![vec![Matcher::equal("team", "web")]];
    assert_eq!(filtered(Filter { matchers, ..Filter::default() }), ["g/up:sum", "h/up:sum"]);
}

#[test]
fn pages_follow_each_other_by_their_tokens() {
    let groups: Vec<RuleGroup> = (0..5).map(|n| group("a.yml", &format!("g{n}"))).collect();
    let mut page = Page { limit: 2, token: None };
    let mut seen = Vec::new();
    loop {
        let answer = answer(&groups, &Filter { alerting: Some(true), ..Filter::default() }, &page).expect("a page");
        seen.push(names(&answer).len());
        match answer["groupNextToken"].as_str() {
            Some(token) => page.token = Some(token.to_owned()),
            None => break,
        }
    }
    assert_eq!(seen, [2, 2, 1]);
    let gone = Page { limit: 2, token: Some("x".into()) };
    assert!(answer(&groups, &Filter::default(), &gone).is_err());
}

#[test]
fn values_are_written_as_go_writes_them() {
    for (v, text) in [(1.0, "1e+00"), (0.0, "0e+00"), (-2.5e-7, "-2.5e-07"), (1e100, "1e+100"), (f64::INFINITY, "+Inf")]
    {
        assert_eq!(exponent(v), text);
    }
}

#[tokio::test]
async fn files_that_are_refused_are_warnings_beside_the_rules_there_are() {
    let mut fake = crate::testing::Fake::at(TimestampMs(0));
    assert_eq!(fake.get("/api/v1/rules").await.json(), json!({"status": "success", "data": {"groups": []}}));
    fake.refused_rule_files = vec!["rule file a.yml is refused".to_owned()];
    let expected = json!({"status": "success", "data": {"groups": []}, "warnings": ["rule file a.yml is refused"]});
    assert_eq!(fake.get("/api/v1/rules").await.json(), expected);
}
