//! What is shipped works as it stands: the embedded config, the demo, the example.

use std::path::Path;

use belfry_e2e::{Belfry, Home, SOON, wait_until};
use serde_json::Value;

/// Every rule must have something to look at: a metric that nobody measures never fires.
async fn rules_have_series(belfry: &Belfry) {
    let rules = belfry.json("/api/rules").await;
    let rules = rules.as_array().expect("rules");
    assert!(!rules.is_empty());
    // Those that are made of objectives know something when the objectives do.
    for rule in rules.iter().filter(|r| r["kind"] == "threshold") {
        let query = rule["query"].as_str().expect("a query");
        let selector = query.rsplitn(3, ' ').nth(2).expect("a selector, a comparison and a threshold");
        wait_until(&format!("{} has series: {selector}", rule["name"]), SOON, async || {
            (!belfry.query(selector).await.is_empty()).then_some(())
        })
        .await;
    }
}

async fn all_is_well(belfry: &Belfry) {
    let plugins = belfry.json("/api/plugins").await;
    for plugin in plugins.as_array().expect("plugins") {
        assert_eq!((&plugin["state"], &plugin["reason"]), (&"running".into(), &"".into()), "{plugin}");
        assert_eq!(plugin["denied"].as_array().map(Vec::len), Some(0), "it asks for what it is not given: {plugin}");
    }
    let overview = belfry.json("/api/overview").await;
    assert_eq!(overview["notices"].as_array().map(Vec::len), Some(0), "{}", overview["notices"]);
    assert!(!belfry.log().contains(" ERROR "), "{}", belfry.log());
    for chart in overview["charts"].as_array().expect("charts") {
        let query = chart["query"].as_str().expect("a query");
        let what = format!("the chart {} has lines: {query}", chart["title"]);
        wait_until(&what, SOON, async || (!belfry.query(query).await.is_empty()).then_some(())).await;
    }
}

#[tokio::test]
async fn without_a_config_file_this_machine_is_watched() {
    let home = Home::new("");
    std::fs::remove_file(home.config()).expect("removed");
    let belfry = home.start_as(&["run", "--data", "data", "--listen", "127.0.0.1:0"], "data").await;
    rules_have_series(&belfry).await;
    all_is_well(&belfry).await;
    // The file to start from is what ran.
    let defaults = home.run(&["config", "defaults"]).await;
    home.configure(&defaults.stdout);
    assert_eq!(home.run(&["check", "--reload"]).await.code, Some(0));
}

#[tokio::test]
async fn the_demo_has_something_to_show() {
    let home = Home::new("");
    let belfry = home.start_as(&["demo", "--data", "demo", "--listen", "127.0.0.1:0"], "demo/data").await;
    rules_have_series(&belfry).await;
    wait_until("each objective has a budget", SOON, async || {
        let slos = belfry.json("/api/slos").await;
        let slos = slos["slos"].as_array().expect("objectives");
        let known = |s: &&Value| s["reason"] == "" && s["series"][0]["budget_remaining_ratio"].is_number();
        (slos.len() == 2 && slos.iter().filter(known).count() == 2).then_some(())
    })
    .await;
    wait_until("the MCP server is measured", SOON, async || belfry.one("mcp_probe_tools == 3").await).await;
    all_is_well(&belfry).await;
    belfry.signal("TERM").await;
    let (status, log) = belfry.ended().await;
    assert_eq!(status.code(), Some(0), "{log}");
}

#[tokio::test]
async fn the_example_config_is_right() {
    let home = Home::new("");
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/belfry.toml");
    let checked = home.run(&["check", "--config", example.to_str().expect("a path in UTF-8")]).await;
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(checked.stdout.starts_with("ok: "), "{checked:?}");
}
