//! A copy of all data, made while it is written, and a Belfry started on it.

use belfry_e2e::{Home, Receiver, SOON, Seen, wait_until};

use crate::SYSTEM;

#[tokio::test]
async fn a_backup_is_made_while_it_runs_and_a_belfry_starts_on_what_was_restored() {
    let home = Home::new(SYSTEM);
    let belfry = home.start().await;
    let many = r"count_over_time(system_uptime_seconds[10m]) > 3";
    wait_until("some samples", SOON, async || belfry.one(many).await).await;
    let cutoff = "system_uptime_seconds[10m]";
    let before = belfry.one(cutoff).await.expect("samples").samples;
    let (url, token) = (belfry.url().to_owned(), belfry.token());

    let stranger = home.run(&["backup", "copy", "--server", &url, "--token", "guess"]).await;
    assert_eq!(stranger.code, Some(1), "{stranger:?}");
    assert!(!home.path("copy").exists());
    let backup = ["backup", "copy", "--server", &url, "--token", &token];
    let made = home.run(&backup).await;
    assert_eq!(made.code, Some(0), "{made:?}");
    let again = home.run(&backup).await;
    assert_eq!(again.code, Some(1), "it writes over nothing: {again:?}");
    assert!(!home.path("copy/admin-token").exists(), "a token is no data");

    let over = home.run(&["restore", "copy", "--config", "belfry.toml"]).await;
    assert!(over.code == Some(1) && over.stderr.contains("holds data already"), "{over:?}");
    let no_backup = home.run(&["restore", ".", "--config", "belfry.toml", "--data", "restored"]).await;
    assert!(no_backup.code == Some(1) && no_backup.stderr.contains("is no backup"), "{no_backup:?}");
    belfry.signal("TERM").await;
    belfry.ended().await;

    let restored = home.run(&["restore", "copy", "--config", "belfry.toml", "--data", "restored"]).await;
    assert_eq!(restored.code, Some(0), "{restored:?}");
    std::fs::rename(home.path("data"), home.path("old")).expect("moved away");
    std::fs::rename(home.path("restored"), home.path("data")).expect("moved");
    let belfry = home.start().await;
    let after = belfry.one(cutoff).await.expect("samples").samples;
    assert_eq!(after[..before.len()], before, "what was there before the backup is there again");
}

#[tokio::test]
async fn a_damaged_backup_is_refused_with_the_place_and_what_is_left_of_it_is_restored_on_demand() {
    let home = Home::new(SYSTEM);
    let belfry = home.start().await;
    let many = r"count_over_time(system_uptime_seconds[10m]) > 3";
    wait_until("some samples", SOON, async || belfry.one(many).await).await;
    let (url, token) = (belfry.url().to_owned(), belfry.token());
    let made = home.run(&["backup", "copy", "--server", &url, "--token", &token]).await;
    assert_eq!(made.code, Some(0), "{made:?}");
    belfry.signal("TERM").await;
    belfry.ended().await;

    // In the log's first record, of several.
    let log = std::fs::read_dir(home.path("copy/wal")).expect("the log").next().expect("a segment").expect("its name");
    let mut bytes = std::fs::read(log.path()).expect("the segment");
    bytes[40] ^= 1;
    std::fs::write(log.path(), bytes).expect("damaged");

    let restore = ["restore", "copy", "--config", "belfry.toml", "--data", "restored"];
    let refused = home.run(&restore).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let place = format!("copy/wal/{} is damaged at byte 16", log.file_name().display());
    assert!(refused.stderr.contains(&place) && refused.stderr.contains("--force"), "{refused:?}");
    assert!(!home.path("restored").exists() && !home.path("restored.restoring").exists(), "nothing is left of the try");

    let forced = home.run(&[&restore[..], &["--force"]].concat()).await;
    assert!(forced.code == Some(0) && forced.stdout.contains(&place), "{forced:?}");
    assert!(home.path("restored/wal").exists());
}

/// Of a remote write, packed.
fn has_sample_of(write: &Seen, name: &str) -> bool {
    let bytes = snap::raw::Decoder::new().decompress_vec(&write.body).unwrap_or_default();
    bytes.windows(name.len()).any(|w| w == name.as_bytes())
}

#[tokio::test]
async fn what_waits_for_the_engine_is_in_a_backup_and_is_sent_after_a_restore() {
    let engine = Receiver::start().await;
    engine.answer(503);
    let home = Home::new(&format!(
        "[storage]\nbackend = \"prometheus\"\nquery = \"local\"\n[storage.prometheus]\nurl = \"{}\"\n",
        engine.origin()
    ));
    let belfry = home.start().await;
    // Too old for the local window: it stands in the queue alone.
    let sample = "only_in_the_queue 7 1500000000000\n".to_owned();
    belfry.ask("POST", "/api/v1/import/prometheus", &[], sample).await.expect(200);
    let (url, token) = (belfry.url().to_owned(), belfry.token());
    let made = home.run(&["backup", "copy", "--server", &url, "--token", &token]).await;
    assert!(made.code == Some(0) && made.stdout.contains("wait for the storage engine"), "{made:?}");
    belfry.signal("TERM").await;
    belfry.ended().await;

    let file = home.path("copy/queue").read_dir().expect("it is there").next().expect("a file").expect("its name");
    let aside = home.path("aside");
    std::fs::rename(file.path(), &aside).expect("moved away");
    let restore = ["restore", "copy", "--config", "belfry.toml", "--data", "restored"];
    let refused = home.run(&restore).await;
    assert!(refused.code == Some(1) && refused.stderr.contains("is missing"), "{refused:?}");
    std::fs::rename(&aside, file.path()).expect("put back");
    let restored = home.run(&restore).await;
    assert!(restored.code == Some(0) && restored.stdout.contains("wait for the storage engine"), "{restored:?}");

    std::fs::rename(home.path("data"), home.path("old")).expect("moved away");
    std::fs::rename(home.path("restored"), home.path("data")).expect("moved");
    std::fs::write(home.path("without.toml"), "").expect("written");
    let check = home.run(&["check", "--config", "without.toml", "--data", "data", "--listen", "127.0.0.1:0"]).await;
    assert!(check.code == Some(0) && check.stdout.contains("wait in `queue`"), "{check:?}");

    engine.answer(204);
    let _belfry = home.start().await;
    wait_until("the sample came", SOON, async || {
        let seen = engine.seen();
        seen.iter().any(|s| s.answered == 204 && has_sample_of(s, "only_in_the_queue")).then_some(())
    })
    .await;
}
