//! Components put into the plugin folder, replaced, broken and removed, while samples are collected.

use std::time::{Duration, Instant};

use belfry_e2e::{Belfry, Home, SOON, wait_until};
use serde_json::Value;

use crate::SYSTEM;

const SETTINGS: &str = "interval = \"1s\"\ntimeout = \"1s\"\ngrants = { system = [\"memory\", \"host\"] }\n";
/// Samples stand at the times they were due: one that is missing makes a gap of two intervals.
const MISSED_MS: i64 = 2_000;

async fn plugin(belfry: &Belfry) -> Value {
    belfry.named("/api/plugins", "dropped").await.expect("the plugin")
}

async fn samples(belfry: &Belfry, plugin: &str) -> Vec<i64> {
    let kept = belfry.one(&format!(r#"system_memory_usage_bytes{{type="used",plugin="{plugin}"}}[10m]"#)).await;
    kept.map(|s| s.samples.iter().map(|(t, _)| *t).collect()).unwrap_or_default()
}

async fn some_more(belfry: &Belfry, many: usize) {
    let before = samples(belfry, "dropped").await.len();
    wait_until("more samples", SOON, async || (samples(belfry, "dropped").await.len() >= before + many).then_some(()))
        .await;
}

/// Another build of a component: the same code, and one custom section more.
fn rebuilt(component: &[u8]) -> Vec<u8> {
    const SECTION: &[u8] = b"\x00\x08\x05buildv2";
    [component, SECTION].concat()
}

#[tokio::test]
async fn a_component_is_loaded_replaced_kept_from_harm_and_removed_without_a_gap() {
    let system = SYSTEM.replace("500ms", "1s");
    let home = Home::new(&format!("{system}\n[plugins]\ndir = \"plugins\"\n"));
    let belfry = home.start().await;
    wait_until("a sample of the neighbour", SOON, async || samples(&belfry, "system").await.first().copied()).await;

    let put = Instant::now();
    home.drop_in("dropped", "collector-system", SETTINGS);
    wait_until("it measures", SOON, async || samples(&belfry, "dropped").await.first().copied()).await;
    assert!(put.elapsed() < Duration::from_secs(10), "the first sample came after {:?}", put.elapsed());
    let first = plugin(&belfry).await;
    assert_eq!((&first["state"], &first["reason"]), (&"running".into(), &"".into()), "{first}");

    // Replaced: swapped.
    some_more(&belfry, 3).await;
    let bytes = std::fs::read(home.path("plugins/dropped.wasm")).expect("read");
    home.put_component("dropped", &rebuilt(&bytes));
    let second = wait_until("the other build runs", SOON, async || {
        Some(plugin(&belfry).await).filter(|p| p["digest"] != first["digest"] && p["state"] == "running")
    })
    .await;
    assert_eq!(second["swaps_total"], 1, "{second}");
    some_more(&belfry, 4).await;

    // Broken: the old one goes on, and it is said why.
    home.put_component("dropped", b"this is no component");
    let broken =
        wait_until("the reason", SOON, async || Some(plugin(&belfry).await).filter(|p| p["reason"] != "")).await;
    assert_eq!((&broken["state"], &broken["digest"]), (&"running".into(), &second["digest"]), "{broken}");
    some_more(&belfry, 4).await;
    assert!(belfry.log().contains("not loaded"), "the log says so too");

    // A good component with settings that it refuses: no less.
    std::fs::write(home.path("plugins/dropped.toml"), format!("{SETTINGS}config = {{ cores = \"many\" }}\n"))
        .expect("written");
    home.put_component("dropped", &bytes);
    wait_until("another reason", SOON, async || {
        Some(plugin(&belfry).await).filter(|p| p["reason"] != "" && p["reason"] != broken["reason"])
    })
    .await;
    some_more(&belfry, 2).await;

    // Copied slowly, in two halves: whatever was made of the first, the whole one runs in the end.
    let file = home.path("plugins/dropped.wasm");
    std::fs::write(home.path("plugins/dropped.toml"), SETTINGS).expect("written");
    std::fs::write(&file, &bytes[..bytes.len() / 2]).expect("written");
    some_more(&belfry, 2).await;
    std::fs::write(&file, &bytes).expect("written");

    wait_until("the first build runs again", SOON, async || {
        Some(plugin(&belfry).await).filter(|p| p["reason"] == "" && p["digest"] == first["digest"])
    })
    .await;
    some_more(&belfry, 2).await;

    for name in ["dropped", "system"] {
        let times = samples(&belfry, name).await;
        let widest = times.windows(2).map(|w| w[1] - w[0]).max().expect("samples");
        assert!(widest < MISSED_MS, "{name} missed a collection, the gap is {widest} ms: {times:?}");
    }

    // Removed: drained, and its series end.
    std::fs::remove_file(home.path("plugins/dropped.wasm")).expect("removed");
    std::fs::remove_file(home.path("plugins/dropped.toml")).expect("removed");
    wait_until("it is gone", SOON, async || belfry.named("/api/plugins", "dropped").await.is_none().then_some(()))
        .await;
    wait_until("its series end", SOON, async || belfry.query(r#"{plugin="dropped"}"#).await.is_empty().then_some(()))
        .await;
    assert!(belfry.named("/api/sources", "dropped").await.is_none());
    assert!(!samples(&belfry, "dropped").await.is_empty(), "what it measured stays");
}
