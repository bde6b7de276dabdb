//! From a probe of a real server to a real webhook receiver, through rules, routes and retries, and over a crash.

use belfry_e2e::{Belfry, Home, Receiver, SOON, wait_until};
use serde_json::Value;

struct Ends {
    /// What is probed.
    site: Receiver,
    /// Hears of critical alerts.
    pager: Receiver,
    /// Hears of the rest.
    ops: Receiver,
}

async fn ends() -> Ends {
    Ends { site: Receiver::start().await, pager: Receiver::start().await, ops: Receiver::start().await }
}

fn config(ends: &Ends) -> String {
    let (site, pager, ops) = (ends.site.origin(), ends.pager.origin(), ends.ops.origin());
    let rule = |name: &str, severity: &str| {
        format!(
            r#"
[[rule]]
name = "{name}"
description = "The site does not answer as it should."
metric = "http_probe_up"
condition = "less_than"
threshold = 1.0
duration = "300ms"
interval = "300ms"
severity = "{severity}"
labels = {{ team = "web" }}
"#
        )
    };
    format!(
        r#"
[[plugin]]
name = "probe"
source = "builtin:collector-http"
interval = "300ms"
timeout = "300ms"
config = {{ targets = [{{ name = "site", url = "{site}/" }}] }}
grants = {{ http = ["{site}"] }}

[[channel]]
name = "pager"
handler = "builtin:handler-webhook"
config = {{ url = "{pager}/alerts" }}
grants = {{ http = ["{pager}"] }}

[[channel]]
name = "ops"
handler = "builtin:handler-webhook"
config = {{ url = "{ops}/alerts" }}
grants = {{ http = ["{ops}"] }}

[route]
channel = "ops"
group_by = ["alertname"]
group_wait = "200ms"
group_interval = "500ms"

[[route.routes]]
matchers = ['severity="critical"', 'team=~"web|data"']
channel = "pager"

[notify.retry]
initial = "100ms"
max = "1s"
{}{}"#,
        rule("Site down", "critical"),
        rule("Site unwell", "warning"),
    )
}

async fn alert(belfry: &Belfry, rule: &str) -> Option<Value> {
    let alerts = belfry.json("/api/alerts").await;
    alerts["alerts"].as_array().expect("alerts").iter().find(|a| a["rule"] == rule).cloned()
}

async fn alert_is(belfry: &Belfry, rule: &str, state: &str) -> Value {
    wait_until(&format!("{rule} is {state}"), SOON, async || alert(belfry, rule).await.filter(|a| a["state"] == state))
        .await
}

#[tokio::test]
async fn an_alert_reaches_the_channel_of_its_route_through_failures_and_is_taken_back() {
    let ends = ends().await;
    let home = Home::new(&config(&ends));
    let belfry = home.start().await;
    wait_until("the site is probed", SOON, async || belfry.one("http_probe_up == 1").await).await;
    assert!(alert(&belfry, "Site down").await.is_none(), "nothing is wrong yet");

    ends.pager.answer(503);
    ends.site.answer(500);
    let firing = alert_is(&belfry, "Site down", "firing").await;
    assert_eq!(firing["severity"], "critical");
    assert_eq!(firing["value"], 0.0);
    assert_eq!((&firing["labels"]["target"], &firing["labels"]["team"]), (&"site".into(), &"web".into()), "{firing}");
    wait_until("the pager refused twice", SOON, async || (ends.pager.seen().len() >= 2).then_some(())).await;
    let shown = alert_is(&belfry, "Site down", "firing").await;
    assert!(shown["deliveries"].as_array().is_some_and(|d| d.iter().any(|d| d["status"] == "retrying")), "{shown}");
    ends.pager.answer(200);
    let paged = wait_until("the pager is told", SOON, async || ends.pager.taken("firing")).await;
    let payload = paged.json();
    assert_eq!((&payload["version"], &payload["receiver"]), (&"4".into(), &"pager".into()));
    assert_eq!(payload["alerts"][0]["labels"]["alertname"], "Site down");
    assert_eq!(payload["alerts"][0]["status"], "firing");
    let page = format!("{}/#/alerts/{}", belfry.url(), shown["fingerprint"].as_str().expect("a fingerprint"));
    assert_eq!(payload["alerts"][0]["generatorURL"], page, "it opens this alert");
    let key = paged.header("idempotency-key");
    assert!(!key.is_empty() && ends.pager.seen().iter().all(|s| s.header("idempotency-key") == key), "one message");
    let told = wait_until("ops are told", SOON, async || ends.ops.taken("firing")).await;
    assert_eq!(told.json()["alerts"][0]["labels"]["alertname"], "Site unwell");

    ends.site.answer(200);
    let resolved = wait_until("the pager is told of the end", SOON, async || ends.pager.taken("resolved")).await;
    assert_eq!(resolved.json()["alerts"][0]["status"], "resolved");
    assert_ne!(resolved.json()["alerts"][0]["endsAt"], "0001-01-01T00:00:00Z");
    wait_until("ops are told of the end", SOON, async || ends.ops.taken("resolved")).await;
    assert!(ends.pager.seen().iter().all(|s| s.json()["commonLabels"]["severity"] == "critical"));
    assert!(ends.ops.seen().iter().all(|s| s.json()["commonLabels"]["severity"] == "warning"));

    let history = wait_until("the history has its end", SOON, async || {
        let history = belfry.json("/api/alerts/history").await;
        let of_rule = history.as_array()?.iter().find(|e| e["rule"] == "Site down")?.clone();
        of_rule["resolved_ms"].is_i64().then_some(of_rule)
    })
    .await;
    assert!(history["started_ms"].as_i64() <= history["fired_ms"].as_i64(), "{history}");
    assert!(history["fired_ms"].as_i64() < history["resolved_ms"].as_i64(), "{history}");
    let channel = belfry.named("/api/channels", "pager").await.expect("the channel");
    assert_eq!((&channel["delivered_total"], &channel["retrying"]), (&2.into(), &0.into()), "{channel}");
}

#[tokio::test]
async fn a_firing_alert_survives_a_crash_and_is_told_of_once() {
    let ends = ends().await;
    ends.site.answer(500);
    let home = Home::new(&config(&ends));
    let belfry = home.start().await;
    let before = alert_is(&belfry, "Site down", "firing").await;
    let told = wait_until("the pager is told", SOON, async || ends.pager.taken("firing")).await;
    belfry.kill().await;

    let belfry = home.start().await;
    let after = alert(&belfry, "Site down").await.expect("remembered from the first moment on");
    assert_eq!(after["state"], "firing");
    for same in ["fingerprint", "active_since_ms", "fired_ms", "labels"] {
        assert_eq!(after[same], before[same], "{same}");
    }
    // Some evaluations later it still fires, and nobody was told of another alert.
    let probes = ends.site.seen().len();
    wait_until("more probes", SOON, async || (ends.site.seen().len() > probes + 5).then_some(())).await;
    assert_eq!(alert(&belfry, "Site down").await.expect("still there")["fired_ms"], before["fired_ms"]);
    let again = ends.pager.seen().into_iter().filter(|s| s.json()["status"] == "firing");
    for message in again {
        assert_eq!(message.header("idempotency-key"), told.header("idempotency-key"), "the same message at most");
    }

    ends.site.answer(200);
    let end = wait_until("the pager is told of the end", SOON, async || ends.pager.taken("resolved")).await;
    assert_eq!(end.json()["alerts"][0]["labels"], told.json()["alerts"][0]["labels"]);
    assert_eq!(end.json()["alerts"][0]["startsAt"], told.json()["alerts"][0]["startsAt"]);
}

#[tokio::test]
async fn what_was_not_told_before_a_crash_is_told_after_it() {
    let ends = ends().await;
    let (site_down, firing) = ("Site down", "firing");
    ends.pager.answer(503);
    ends.site.answer(500);
    let home = Home::new(&config(&ends));
    let belfry = home.start().await;
    let refused = wait_until("an attempt", SOON, async || ends.pager.seen().first().cloned()).await;
    belfry.kill().await;

    // The message that no one took is sent again, as the same one.
    ends.pager.answer(200);
    let belfry = home.start().await;
    let told = wait_until("the pager is told", SOON, async || ends.pager.taken(firing)).await;
    assert_eq!(told.header("idempotency-key"), refused.header("idempotency-key"));
    belfry.kill().await;

    // The site recovers while nobody looks.
    ends.site.answer(200);
    let belfry = home.start().await;
    wait_until("the pager is told of the end", SOON, async || ends.pager.taken("resolved")).await;
    wait_until("it is resolved", SOON, async || {
        alert(&belfry, site_down).await.is_none_or(|a| a["state"] == "resolved").then_some(())
    })
    .await;

    // It fails again, which is another message; then its rule is taken out of the config, which is an end as well.
    let taken = async |status: &str| ends.pager.seen().into_iter().filter(|s| s.is_taken(status)).collect::<Vec<_>>();
    ends.site.answer(500);
    let second = wait_until("the pager is told again", SOON, async || {
        taken(firing).await.into_iter().find(|s| s.header("idempotency-key") != told.header("idempotency-key"))
    })
    .await;
    assert_ne!(second.json()["alerts"][0]["startsAt"], told.json()["alerts"][0]["startsAt"]);
    let config = config(&ends);
    let without_rules = config.split("[[rule]]").next().expect("what stands before the rules");
    home.configure(without_rules);
    belfry.signal("HUP").await;
    wait_until("the end of a rule is the end of its alerts", SOON, async || {
        (taken("resolved").await.len() == 2).then_some(())
    })
    .await;
}
