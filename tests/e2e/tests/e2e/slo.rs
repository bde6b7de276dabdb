//! Service level objectives: an outage burns the budget, pages, and is over.

use belfry_e2e::{Home, Receiver, SOON, wait_until};
use serde_json::Value;

/// The window is a 240th of 30 days: 5 minutes are 1.25 seconds, an hour is 15.
fn config(site: &str, pager: &str, slos: &str) -> String {
    format!(
        r#"
[[plugin]]
name = "probe"
source = "builtin:collector-http"
interval = "250ms"
timeout = "250ms"
config = {{ targets = [{{ name = "site", url = "{site}/" }}] }}
grants = {{ http = ["{site}"] }}

[[channel]]
name = "pager"
handler = "builtin:handler-webhook"
config = {{ url = "{pager}/alerts" }}
grants = {{ http = ["{pager}"] }}

[[channel]]
name = "log"
handler = "builtin:handler-console"

[route]
channel = "log"
[[route.routes]]
matchers = ['team="web"', 'severity="page"']
channel = "pager"
group_wait = "100ms"
group_interval = "300ms"
{slos}"#
    )
}

const SLOS: &str = r#"
[[slo]]
name = "site is up"
objective = 99.0
window = "3h"
query = "http_probe_up"
condition = "equals"
threshold = 1
labels = { team = "web" }

[[slo]]
name = "probes are good"
objective = 99.0
window = "3h"
good = "sum(sum_over_time(http_probe_up[$window]))"
total = "sum(count_over_time(http_probe_up[$window]))"
labels = { team = "web" }
"#;

#[tokio::test]
async fn an_outage_burns_the_budget_pages_and_ends() {
    let (site, pager) = (Receiver::start().await, Receiver::start().await);
    let home = Home::new(&config(&site.origin(), &pager.origin(), SLOS));
    let belfry = home.start().await;
    for slo in ["site is up", "probes are good"] {
        let whole = format!(r#"sum(slo:error_budget_remaining{{slo="{slo}",team="web"}}) == 1"#);
        wait_until(&whole, SOON, async || belfry.one(&whole).await).await;
    }
    assert_eq!(belfry.query(r#"ALERTS{alertname="SLOBurnRate"}"#).await.len(), 0);

    site.answer(500);
    for slo in ["site is up", "probes are good"] {
        let fires = format!(
            r#"count(ALERTS{{alertname="SLOBurnRate",alertstate="firing",slo="{slo}",severity="page",window="15s"}})"#
        );
        wait_until(&fires, SOON, async || belfry.one(&fires).await).await;
        let less = format!(r#"sum(slo:error_budget_remaining{{slo="{slo}"}}) < 1"#);
        wait_until(&less, SOON, async || belfry.one(&less).await).await;
    }
    let told = wait_until("the pager is told", SOON, async || pager.taken("firing")).await.json();
    let alert = &told["alerts"][0];
    assert_eq!((&alert["labels"]["team"], &alert["labels"]["severity"]), (&"web".into(), &"page".into()), "{told}");
    let summary = alert["annotations"]["summary"].as_str().unwrap_or_default();
    assert!(summary.contains("the error budget burns"), "{told}");
    let rules = belfry.json("/api/v1/rules").await;
    let groups = rules["data"]["groups"].as_array().expect("groups");
    let bad = groups.iter().flat_map(|g| g["rules"].as_array().expect("rules")).filter(|r| r["health"] != "ok");
    assert_eq!((groups.len(), bad.collect::<Vec<&Value>>().len()), (2, 0), "{rules}");

    let is_gone = |slo: &&Value| {
        let series = &slo["series"][0];
        slo["state"] == "exhausted"
            && slo["reason"] == ""
            && series["budget_remaining_ratio"].as_f64().is_some_and(|left| left < 0.0)
            && series["known_since_ms"].as_i64() > Some(0)
            && series["burns"].as_array().map(Vec::len) == Some(4)
    };
    wait_until("both budgets are gone", SOON, async || {
        let slos = belfry.json("/api/slos").await;
        (slos["slos"].as_array().expect("objectives").iter().filter(is_gone).count() == 2).then_some(())
    })
    .await;
    wait_until("the alert is told with its objective", SOON, async || {
        let slo = belfry.json("/api/slos/probes%20are%20good").await;
        assert_eq!(slo["detail"]["total_query"], "sum(count_over_time(http_probe_up[1s250ms]))", "{slo}");
        let alerts = slo["detail"]["alerts"].as_array().expect("alerts");
        alerts.iter().any(|a| a["state"] == "firing" && a["active"][0].is_string()).then_some(())
    })
    .await;
    belfry.get("/api/slos/none").await.expect(404);

    site.answer(200);
    wait_until("the pager is told of the end", SOON, async || pager.taken("resolved")).await;

    // Without objectives nothing is watched any more.
    home.configure(&config(&site.origin(), &pager.origin(), ""));
    belfry.manage("POST", "/-/reload", "").await.expect(200);
    wait_until("the groups are gone", SOON, async || {
        let rules = belfry.json("/api/v1/rules").await;
        rules["data"]["groups"].as_array().is_some_and(Vec::is_empty).then_some(())
    })
    .await;
}
