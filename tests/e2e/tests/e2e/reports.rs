//! A report, made on demand: in the archive, in the channel, as files that can be read.

use base64::Engine as _;
use belfry_e2e::{Home, Receiver, SOON, wait_until};
use serde_json::Value;

use crate::SYSTEM;

fn config(hook: &str) -> String {
    format!(
        r#"{SYSTEM}
[[channel]]
name = "hook"
handler = "builtin:handler-webhook"
config = {{ url = "{hook}/reports" }}
grants = {{ http = ["{hook}"] }}

[route]
channel = "hook"

[[report]]
name = "weekly"
title = "The <week>"
schedule = "0 9 * * 1"
time_zone = "Europe/Berlin"
period = "15m"
formats = ["html", "json", "csv"]
deliver = ["hook"]

[[report.section]]
plugin = "builtin:section-metrics"
title = "This machine"

[[report.section]]
plugin = "builtin:section-alerts"
title = "Alerts & more"
"#
    )
}

#[tokio::test]
async fn a_report_is_archived_delivered_and_readable_in_every_format() {
    let hook = Receiver::start().await;
    let home = Home::new(&config(&hook.origin()));
    let belfry = home.start().await;
    wait_until("some samples", SOON, async || {
        belfry.one("system_uptime_seconds[1m]").await.filter(|s| s.samples.len() > 3)
    })
    .await;
    let begun = home.run(&["report", "run", "weekly", "--server", belfry.url(), "--token", &belfry.token()]).await;
    assert_eq!(begun.code, Some(0), "{begun:?}");
    let archived = wait_until("it is in the archive", SOON, async || {
        belfry.json("/api/reports/archive?name=weekly").await.as_array().and_then(|all| all.first().cloned())
    })
    .await;
    assert_eq!((&archived["title"], &archived["failed_sections"]), (&"The <week>".into(), &0.into()), "{archived}");
    let period = archived["end_ms"].as_i64().zip(archived["start_ms"].as_i64()).map(|(end, start)| end - start);
    assert_eq!(period, Some(15 * 60 * 1_000), "{archived}");

    let mut files = Vec::new();
    for document in archived["documents"].as_array().expect("documents") {
        let (name, media) = (document["file_name"].as_str().expect("a name"), document["media_type"].as_str());
        let file = belfry.get(&format!("/api/reports/archive/{}/{name}", archived["id"])).await.expect(200);
        assert_eq!(document["size_bytes"].as_u64(), Some(file.body.len() as u64), "{name}");
        match media {
            Some("text/html") => html_is_self_contained(&file.body),
            Some("application/json") => json_has_both_sections(&file.body),
            Some("text/csv") => csv_has_rows(&file.body),
            other => panic!("{other:?}"),
        }
        files.push((name.to_owned(), file.body));
    }
    assert_eq!(files.len(), 3);

    let delivered =
        wait_until("it is delivered", SOON, async || hook.seen().into_iter().find(|s| s.json()["kind"] == "report"))
            .await
            .json();
    assert_eq!((&delivered["name"], &delivered["title"]), (&"weekly".into(), &"The <week>".into()));
    for (name, body) in &files {
        let documents = delivered["documents"].as_array().expect("documents");
        let sent = documents.iter().find(|d| &d["fileName"] == name).unwrap_or_else(|| panic!("{name} was not sent"));
        let bytes = base64::engine::general_purpose::STANDARD.decode(sent["base64"].as_str().expect("its bytes"));
        assert_eq!(String::from_utf8(bytes.expect("base64")).as_deref(), Ok(body.as_str()), "{name}");
    }
    let shown = belfry.named("/api/reports", "weekly").await.expect("the report");
    assert_eq!((&shown["last_archive_id"], &shown["last_error"]), (&archived["id"], &Value::Null), "{shown}");
}

fn html_is_self_contained(text: &str) {
    assert!(text.starts_with("<!doctype html>") || text.starts_with("<!DOCTYPE html>"), "{:.200}", text);
    for outside in ["src=\"http", "src='http", "<script src", "<link ", "@import", "url(http"] {
        assert!(!text.contains(outside), "`{outside}` would fetch something");
    }
    assert!(text.contains("The &lt;week&gt;") && !text.contains("The <week>"), "text is never markup");
    for part in ["This machine", "Alerts &amp; more", "<svg"] {
        assert!(text.contains(part), "`{part}` is missing");
    }
}

fn json_has_both_sections(text: &str) {
    let report: Value = serde_json::from_str(text).expect("JSON");
    assert_eq!(report["name"], "weekly");
    let sections = report["sections"].as_array().expect("sections");
    let titles: Vec<_> = sections.iter().filter_map(|s| s["title"].as_str()).collect();
    assert_eq!(titles, ["This machine", "Alerts & more"]);
}

fn csv_has_rows(text: &str) {
    assert!(text.lines().count() > 3, "{text}");
    assert!(text.contains("This machine"), "{text:.500}");
    // RFC 4180: quotes come in pairs, whatever stands between them.
    assert_eq!(text.matches('"').count() % 2, 0, "a quote is open");
}
