//! A new config, good or bad, while the old one runs.

use belfry_e2e::{Belfry, Home, Receiver, SOON, wait_until};
use serde_json::Value;

use crate::SYSTEM;

async fn notice(belfry: &Belfry, code: &str) -> Option<Value> {
    let overview = belfry.json("/api/overview").await;
    overview["notices"].as_array().expect("notices").iter().find(|n| n["code"] == code).cloned()
}

#[tokio::test]
async fn a_good_config_is_taken_and_a_bad_one_changes_nothing() {
    let site = Receiver::start().await;
    let home = Home::new(SYSTEM);
    let belfry = home.start().await;
    wait_until("a sample", SOON, async || belfry.one("system_uptime_seconds").await).await;
    assert!(belfry.named("/api/plugins", "probe").await.is_none());

    let more = format!(
        r#"{SYSTEM}
[[plugin]]
name = "probe"
source = "builtin:collector-http"
config = {{ targets = [{{ name = "site", url = "{0}/" }}] }}
grants = {{ http = ["{0}"] }}

[[rule]]
name = "Site down"
metric = "http_probe_up"
condition = "less_than"
threshold = 1.0
"#,
        site.origin()
    );
    home.configure(&more);
    belfry.signal("HUP").await;
    wait_until("the new plugin measures", SOON, async || belfry.one("http_probe_up == 1").await).await;
    let rule = belfry.named("/api/rules", "Site down").await.expect("the new rule");
    assert_eq!(rule["query"], "http_probe_up < 1");

    // Two problems, and a rule less: nothing of it happens.
    home.configure(&format!("{SYSTEM}\n[[rule]]\nname = \"Other\"\nmetric = \"up{{\"\ncondition = \"over\"\n"));
    belfry.signal("HUP").await;
    let refused = wait_until("a notice", SOON, async || notice(&belfry, "config_refused").await).await;
    let text = refused["text"].as_str().expect("a text");
    assert_eq!(refused["level"], "error");
    let answer = belfry.manage("POST", "/-/reload", "").await;
    assert_eq!(answer.status, 400, "{answer:?}");
    for said in [text, answer.json()["message"].as_str().expect("a message")] {
        assert!(said.contains("belfry.toml:14:13: error: `condition` cannot be \"over\""), "{said}");
        assert!(said.contains("`threshold` is missing in [rule]"), "{said}");
    }
    assert!(belfry.named("/api/rules", "Site down").await.is_some(), "the old rule goes on");
    assert!(belfry.named("/api/rules", "Other").await.is_none());
    let pulls = async || belfry.named("/api/sources", "probe").await.expect("the source")["pulls_total"].as_u64();
    let before = pulls().await;
    wait_until("the old plugin goes on", SOON, async || (pulls().await > before).then_some(())).await;

    // A file that is no component is found before anything is changed.
    std::fs::write(home.path("no.wasm"), "no component").expect("written");
    home.configure(&format!("{SYSTEM}\n[[plugin]]\nname = \"other\"\nsource = \"no.wasm\"\n"));
    let answer = belfry.manage("POST", "/-/reload", "").await;
    let said = answer.json()["message"].as_str().expect("a message").to_owned();
    assert!(said.contains("belfry.toml:13:10: error: `no.wasm`: it is not WebAssembly"), "{said}");
    assert!(belfry.named("/api/plugins", "other").await.is_none());
    assert!(belfry.named("/api/plugins", "probe").await.is_some(), "the old config goes on");

    // What cannot change while it runs is told of, the rest is taken.
    home.configure(&format!("{SYSTEM}\n[storage]\nretention = \"30d\"\n"));
    // A second reload of the same makes nothing of it true.
    for _ in 0..2 {
        let answer = belfry.manage("POST", "/-/reload", "").await.expect(200).json();
        let said = "the config was read again; a part of it waits for a restart: [storage] changed";
        assert_eq!(answer["message"], said);
        assert!(notice(&belfry, "config_refused").await.is_none(), "the notice is gone with its reason");
        let waits = notice(&belfry, "config_waits").await.expect("a notice");
        assert_eq!(waits["text"], "[storage] changed");
    }
    let logged = async || (belfry.log().matches("waits for a restart: [storage] changed").count() == 2).then_some(());
    wait_until("the log names it, too", SOON, logged).await;
    assert!(belfry.named("/api/plugins", "probe").await.is_none(), "it is wanted no more");
    assert!(belfry.named("/api/rules", "Site down").await.is_none());
    wait_until("its series end", SOON, async || belfry.query("http_probe_up").await.is_empty().then_some(())).await;
    assert_eq!(belfry.named("/api/plugins", "system").await.expect("kept")["swaps_total"], 0, "it was left alone");

    // As it runs again: there is nothing to wait for.
    home.configure(SYSTEM);
    let answer = belfry.manage("POST", "/-/reload", "").await.expect(200).json();
    assert_eq!(answer["message"], "the config was read again");
    assert!(notice(&belfry, "config_waits").await.is_none());
}
