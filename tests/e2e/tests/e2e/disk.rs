//! A disk that is full or damaged: Belfry says so on `/ready` and on the dashboard, and what it had is there.

use belfry_e2e::{Belfry, Home, SOON, skipped, wait_until};
use serde_json::Value;
use tokio::process::Command;

const FAST: &str = r#"
[collection]
interval = "200ms"
timeout = "200ms"

[[plugin]]
name = "system"
source = "builtin:collector-system"
grants = { system = ["cpu", "memory"] }
"#;

/// No file of the process may grow beyond this any more; false where the machine has no way to say so.
async fn files_at_most(belfry: &Belfry, bytes: &str) -> bool {
    let limit = format!("--fsize={bytes}:");
    match Command::new("prlimit").args(["--pid", &belfry.process().to_string(), &limit]).status().await {
        Ok(status) => status.success(),
        Err(_) => false,
    }
}

async fn check(belfry: &Belfry, name: &str) -> (u16, Value) {
    let ready = belfry.get("/ready").await;
    let status = ready.status;
    let all = ready.json();
    let found = all["checks"].as_array().expect("checks").iter().find(|c| c["name"] == name).cloned();
    (status, found.unwrap_or_default())
}

async fn notice(belfry: &Belfry, code: &str) -> Option<Value> {
    let overview = belfry.json("/api/overview").await;
    overview["notices"].as_array().expect("notices").iter().find(|n| n["code"] == code).cloned()
}

/// Samples of this machine within the last ten minutes.
async fn samples(belfry: &Belfry) -> usize {
    belfry.query(r#"{source="system"}[10m]"#).await.iter().map(|s| s.samples.len()).sum()
}

#[tokio::test]
async fn a_full_disk_is_told_of_and_is_over_when_there_is_room() {
    let home = Home::new(FAST);
    let belfry = home.start().await;
    let before = wait_until("samples", SOON, async || Some(samples(&belfry).await).filter(|n| *n > 100)).await;
    if !files_at_most(&belfry, "1").await {
        return skipped("there is no prlimit here");
    }
    let full = wait_until("not ready", SOON, async || {
        let (status, storage) = check(&belfry, "storage").await;
        (status == 503 && storage["status"] == "failed").then_some(storage)
    })
    .await;
    assert!(full["message"].as_str().is_some_and(|m| m.contains("the disk is full")), "{full}");
    let told = notice(&belfry, "disk_full").await.expect("the dashboard tells of it");
    assert!(told["help"].as_str().is_some_and(|h| h.contains("make room")), "{told}");
    assert_eq!(
        told["since_ms"],
        notice(&belfry, "disk_full").await.expect("still")["since_ms"],
        "since when it is full"
    );
    assert!(samples(&belfry).await >= before, "what is there can be read");
    belfry.get("/health").await.expect(200);

    assert!(files_at_most(&belfry, "unlimited").await);
    wait_until("ready again", SOON, async || (check(&belfry, "storage").await.0 == 200).then_some(())).await;
    assert_eq!(notice(&belfry, "disk_full").await, None);
    let now = samples(&belfry).await;
    wait_until("new samples", SOON, async || (samples(&belfry).await > now).then_some(())).await;
    let after = samples(&belfry).await;
    belfry.kill().await;
    let again = home.start().await;
    assert!(samples(&again).await >= after, "nothing that was seen is lost");
}

#[tokio::test]
async fn damage_is_named_and_the_rest_is_read() {
    let home = Home::new(FAST);
    let belfry = home.start().await;
    wait_until("samples", SOON, async || (samples(&belfry).await > 300).then_some(())).await;
    assert_eq!(check(&belfry, "data").await.1, Value::Null, "nothing is damaged");
    let oldest = belfry.json("/api/overview").await["storage"]["oldest_ms"].as_i64().expect("the oldest sample");
    let tsdb = belfry.json("/api/v1/status/tsdb").await;
    assert_eq!(tsdb["data"]["headStats"]["minTime"].as_i64(), Some(oldest));
    assert!(tsdb["data"]["headStats"]["maxTime"].as_i64() > Some(oldest), "{tsdb}");
    belfry.kill().await;

    let log = std::fs::read_dir(home.data().join("wal")).expect("the log's folder");
    let log = log.map(|f| f.expect("a file").path()).min().expect("a segment");
    let mut bytes = std::fs::read(&log).expect("the segment");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    std::fs::write(&log, bytes).expect("written");

    let belfry = home.start().await;
    let name = log.file_name().and_then(|n| n.to_str()).expect("a name");
    let (status, data) = check(&belfry, "data").await;
    assert_eq!((status, &data["status"]), (200, &Value::from("degraded")), "{data}");
    assert!(data["message"].as_str().is_some_and(|m| m.contains(name)), "{data}");
    let told = notice(&belfry, "data_damaged").await.expect("the dashboard tells of it");
    assert!(told["text"].as_str().is_some_and(|t| t.contains(name)), "{told}");
    assert!(samples(&belfry).await > 0, "the rest is read");
    let now = samples(&belfry).await;
    wait_until("new samples", SOON, async || (samples(&belfry).await > now).then_some(())).await;
}

/// Beside it the samples are well, and so is the rest of the state.
#[tokio::test]
async fn a_damaged_state_is_put_aside_and_the_start_goes_on() {
    let home = Home::new(FAST);
    let belfry = home.start().await;
    wait_until("samples", SOON, async || (samples(&belfry).await > 100).then_some(())).await;
    assert_eq!(check(&belfry, "state").await.1["status"], "ok");
    belfry.signal("TERM").await;
    belfry.ended().await;

    let file = home.data().join("state.sqlite");
    // SQLite would take pages from its log for those of the file.
    for log in ["state.sqlite-wal", "state.sqlite-shm"] {
        let _ = std::fs::remove_file(home.data().join(log));
    }
    // What is behind the header is of no database either.
    let bytes = vec![0xa5; 8_192];
    std::fs::write(&file, &bytes).expect("written");

    let checked = home.run(&["check", "--config", "belfry.toml", "--data", "data", "--listen", "127.0.0.1:0"]).await;
    assert_eq!(checked.code, Some(0), "a start goes on: {checked:?}");
    assert!(checked.stdout.contains("warning: ") && checked.stdout.contains("state.sqlite is damaged"), "{checked:?}");
    assert_eq!(std::fs::read(&file).expect("still there"), bytes, "checking changes nothing");

    let belfry = home.start().await;
    let (status, state) = check(&belfry, "state").await;
    assert_eq!((status, &state["status"]), (200, &Value::from("degraded")), "{state}");
    let told = notice(&belfry, "state_salvaged").await.expect("the dashboard tells of it");
    for text in [&state["message"], &told["text"]] {
        let text = text.as_str().expect("a text");
        assert!(text.contains("state.sqlite.damaged-") && text.contains("journal"), "{text}");
    }
    let names = std::fs::read_dir(home.data()).expect("the folder").map(|e| e.expect("an entry").path());
    let aside = names.filter(|p| p.to_string_lossy().contains("state.sqlite.damaged-"));
    let aside: Vec<Vec<u8>> = aside.map(|p| std::fs::read(p).expect("a file")).collect();
    assert!(aside.contains(&bytes), "it is kept as it was");
    assert!(samples(&belfry).await > 0, "what was stored is read");
    let now = samples(&belfry).await;
    wait_until("new samples", SOON, async || (samples(&belfry).await > now).then_some(())).await;

    belfry.kill().await;
    let belfry = home.start().await;
    assert_eq!(check(&belfry, "state").await.1["status"], "ok", "it is told until the next start");
    assert_eq!(notice(&belfry, "state_salvaged").await, None);
}
