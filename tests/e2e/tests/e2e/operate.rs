//! Who may ask and manage, what is refused at the start and how it is said, and how it ends.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use belfry_e2e::{Ended, Home, SOON, wait_until};
use serde_json::json;

use crate::SYSTEM;

#[tokio::test]
async fn it_is_alive_and_ready_keeps_strangers_out_and_ends_when_asked() {
    let home = Home::new(SYSTEM);
    let belfry = home.start().await;
    assert_eq!(belfry.json("/health").await, json!({"status": "alive"}));
    let ready = belfry.json("/ready").await;
    assert_eq!(ready["ready"], true, "{ready}");
    let checks = ready["checks"].as_array().expect("checks");
    for name in ["storage", "state", "plugins", "rules", "notify"] {
        assert!(checks.iter().any(|c| c["name"] == name && c["status"] == "ok"), "{name}: {ready}");
    }

    // A page of another site, by a name of its own or by a request of its own.
    let misdirected = belfry.ask("GET", "/api/sources", &[("host", "evil.example")], "").await;
    assert_eq!(misdirected.status, 421, "{misdirected:?}");
    assert!(misdirected.body.contains("allowed_hosts"), "{misdirected:?}");
    let foreign = belfry.ask("GET", "/api/sources", &[("origin", "http://evil.example")], "").await;
    assert_eq!(foreign.status, 403, "{foreign:?}");
    belfry.ask("GET", "/api/sources", &[("origin", belfry.url())], "").await.expect(200);

    // Managing needs the token, and every request has an id.
    let body = r#"{"level": "debug"}"#;
    let json_body = ("content-type", "application/json");
    let stranger = belfry.ask("PUT", "/api/admin/log-level", &[json_body], body).await;
    assert_eq!(stranger.status, 401, "{stranger:?}");
    assert!(stranger.body.contains("admin-token"), "{stranger:?}");
    assert!(!stranger.headers["x-request-id"].is_empty());
    let wrong = [json_body, ("authorization", "Bearer 0123")];
    belfry.ask("PUT", "/api/admin/log-level", &wrong, body).await.expect(401);
    for path in ["/-/reload", "/api/plugins/system/reload", "/api/reports/none/run"] {
        belfry.ask("POST", path, &[], "").await.expect(401);
    }

    assert!(!belfry.log().contains("DEBUG"), "debug lines before they were asked for");
    let changed = belfry.manage("PUT", "/api/admin/log-level", body).await.expect(200);
    assert_eq!(changed.json(), json!({"level": "debug"}));
    wait_until("debug lines", SOON, async || belfry.log().contains("DEBUG").then_some(())).await;
    let refused = belfry.manage("PUT", "/api/admin/log-level", r#"{"level": "belfry=lots"}"#).await;
    assert_eq!(refused.status, 400, "{refused:?}");
    assert_eq!(belfry.manage("GET", "/api/admin/log-level", "").await.expect(200).json(), json!({"level": "debug"}));
    belfry.manage("POST", "/api/plugins/none/reload", "").await.expect(404);

    belfry.signal("TERM").await;
    let (status, log) = belfry.ended().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("draining") && log.contains("stopped"), "{log}");
    assert!(!log.contains("not everything ended"), "{log}");

    let again = home.start().await;
    assert!(!again.log().contains("cut a write"), "a clean end leaves no torn write: {}", again.log());
}

#[tokio::test]
async fn beyond_loopback_everything_but_health_needs_the_token() {
    let home = Home::new(&format!("{SYSTEM}\n[server.auth]\ntoken_file = \"token\"\n"));
    std::fs::write(home.path("token"), "open-sesame\n").expect("written");
    let belfry = home.start_at("0.0.0.0:0").await;
    belfry.get("/health").await.expect(200);
    belfry.get("/ready").await.expect(200);
    for path in ["/api/sources", "/metrics", "/api/v1/query?query=up", "/api/openapi.json"] {
        belfry.get(path).await.expect(401);
        belfry.ask("GET", path, &[("authorization", "Bearer open-sesame")], "").await.expect(200);
    }
}

/// What a start with this config says is what stands in `tests/golden/startup/NAME.err`, but for what differs from run
/// to run; and a check says the same.
async fn as_golden(home: &Home, name: &str, config: &str, names: &[(&str, &str)]) {
    let file = format!("{name}.toml");
    std::fs::write(home.path(&file), config).expect("written");
    let ended = home.run(&["run", "--config", &file]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let checked = home.run(&["check", "--config", &file]).await;
    assert_eq!(checked.code, Some(1), "{checked:?}");
    let problem = ended.stderr.split_once('\n').expect("two lines").1;
    assert_eq!(checked.stdout, problem, "check and run differ");
    let mut said = ended.stderr.clone();
    for (what, name) in names {
        said = said.replace(what, name);
    }
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/startup").join(format!("{name}.err"));
    if std::env::var_os("BELFRY_BLESS").is_some() {
        std::fs::write(&golden, &said).expect("the golden file is written");
    }
    assert_eq!(said, std::fs::read_to_string(&golden).expect("the golden file"), "{name}");
}

#[track_caller]
fn refused(ended: &Ended, lines: &[&str]) {
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let said = format!("{}{}", ended.stdout, ended.stderr);
    for line in lines {
        assert!(said.contains(line), "`{line}` is not in\n{said}");
    }
}

#[tokio::test]
async fn what_cannot_start_says_why_and_what_helps() {
    let home = Home::new(SYSTEM);
    let belfry = home.start().await;
    let taken = belfry.address().to_owned();
    let process = belfry.process().to_string();
    let free = "[server]\nlisten = \"127.0.0.1:0\"\n";
    let config = format!("[server]\nlisten = \"{taken}\"\n[storage]\npath = \"other\"\n");
    as_golden(&home, "address-taken", &config, &[(&taken, "ADDRESS")]).await;
    let config = format!("{free}[storage]\npath = \"data\"\n");
    as_golden(&home, "data-folder-in-use", &config, &[(&process, "PROCESS")]).await;
    // A file in its place: nobody can write into that, whoever runs the test.
    std::fs::write(home.path("file"), "").expect("written");
    as_golden(&home, "data-folder-not-writable", &format!("{free}[storage]\npath = \"file\"\n"), &[]).await;
    std::fs::write(home.path("no.wasm"), "no component").expect("written");
    let config = format!("{free}\n[[plugin]]\nname = \"x\"\nsource = \"no.wasm\"\n");
    as_golden(&home, "no-component", &config, &[]).await;
    let open = ["run", "--config", "belfry.toml", "--data", "other", "--listen", "0.0.0.0:0"];
    refused(
        &home.run(&open).await,
        &[
            "error: the config is refused",
            "--listen: error: `listen` (0.0.0.0:0) is open to the network and nobody has to log in",
            "help: set `token_file` in [server.auth], or listen on \"127.0.0.1:8089\"",
        ],
    );
    assert!(!home.path("other").join("admin-token").exists(), "a start that is refused leaves nothing behind");
    // Before a reload, the address and the folder are rightly taken.
    let reload = home.run(&["check", "--config", "belfry.toml", "--listen", &taken, "--reload"]).await;
    assert_eq!(reload.code, Some(0), "{reload:?}");
    // The one that runs has noticed none of it.
    belfry.get("/ready").await.expect(200);
}

#[tokio::test]
async fn check_finds_every_problem_and_starts_nothing() {
    let home = Home::new(SYSTEM);
    let good = home.run(&["check", "--config", "belfry.toml", "--listen", "127.0.0.1:0"]).await;
    assert_eq!((good.code, good.stdout.as_str()), (Some(0), "ok: 1 plugins, 0 channels, 0 rules, 0 reports\n"));
    home.configure("[[rule]]\nname = \"x\"\nmetrik = \"a\"\ncondition = \"above\"\nthreshold = 1\n");
    std::fs::write(home.path("no.wasm"), "no component").expect("written");
    let bad = home.run(&["check", "--config", "belfry.toml"]).await;
    refused(
        &bad,
        &[
            "belfry.toml:3:1: error: unknown key `metrik` in [rule]\n  help: did you mean `metric`?",
            "belfry.toml:4:13: error: `condition` cannot be \"above\"",
        ],
    );
    home.configure("[[plugin]]\nname = \"x\"\nsource = \"no.wasm\"\n");
    refused(
        &home.run(&["check", "--config", "belfry.toml"]).await,
        &["belfry.toml:3:10: error: `no.wasm`: ", "help: "],
    );
    assert!(!home.data().exists() && !home.path("data").exists(), "checking makes no data folder");
    refused(&home.run(&["check", "--config", "none.toml"]).await, &["none.toml: error: cannot read the config"]);
}

/// They hold back no start: the job is down until they are good.
#[tokio::test]
async fn check_names_the_certificates_and_secrets_that_a_job_cannot_use() {
    let home = Home::new(
        r#"[[scrape]]
job = "node"
targets = ["localhost:9100"]
tls = { ca_file = "ca.pem" }
[[scrape]]
job = "probe"
authorization = { token_file = "token" }
[[scrape.http]]
url = "https://localhost/targets"
tls = { cert_file = "own.pem", key_file = "own.pem" }
"#,
    );
    let checked = async || home.run(&["check", "--config", "belfry.toml", "--listen", "127.0.0.1:0"]).await;
    let list = "belfry.toml:6:7: error: the job `probe` cannot ask for its targets: cannot read the certificate file `own.pem`: ";
    refused(
        &checked().await,
        &[
            "belfry.toml:2:7: error: the job `node` cannot be scraped: cannot read the certificate file `ca.pem`: No such",
            "belfry.toml:6:7: error: the job `probe` cannot be scraped: cannot read the secret file `token`: ",
            list,
        ],
    );
    std::fs::write(home.path("ca.pem"), "hello").expect("written");
    std::fs::write(home.path("token"), "secret").expect("written");
    let told = checked().await;
    refused(
        &told,
        &["cannot read the certificate file `ca.pem`: there is no certificate in it\n  help: mend the file", list],
    );
    assert!(!told.stdout.contains("token"), "{told:?}");
    let reload = home.run(&["check", "--config", "belfry.toml", "--reload"]).await;
    assert_eq!((reload.code, reload.stdout), (told.code, told.stdout), "a reload is told the same");
}

/// Names and lengths of all that is in a folder.
fn contents(folder: &Path) -> BTreeMap<PathBuf, u64> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path());
    let each = entries.flat_map(|path| match path.is_dir() {
        true => contents(&path).into_iter().chain([(path, 0)]).collect::<Vec<_>>(),
        false => vec![(path.clone(), path.metadata().expect("there").len())],
    });
    each.collect()
}

#[tokio::test]
async fn check_finds_in_the_data_folder_what_a_start_would_find_and_changes_nothing() {
    let engine = "[storage]\nbackend = \"prometheus\"\n[storage.prometheus]\nurl = \"http://127.0.0.1:1\"\n";
    let home = Home::new(engine);
    let belfry = home.start().await;
    belfry.signal("TERM").await;
    belfry.ended().await;
    let free = ["--config", "belfry.toml", "--data", "data", "--listen", "127.0.0.1:0"];
    let asked = async |command: &str| home.run(&[&[command][..], &free].concat()).await;
    assert_eq!(asked("check").await.code, Some(0));

    let data = home.data();
    // SQLite would take pages from its log for those of the file.
    for log in ["state.sqlite-wal", "state.sqlite-shm"] {
        let _ = std::fs::remove_file(data.join(log));
    }
    std::fs::write(home.path("bad.pem"), "hello").expect("written");
    let in_place_of = |name: &str, what: &str| {
        let (path, aside) = (data.join(name), home.path("aside"));
        if path.exists() {
            std::fs::rename(&path, aside).expect("moved away");
        }
        match what {
            "" => std::fs::create_dir_all(path).expect("made"),
            text => std::fs::write(path, text).expect("written"),
        }
    };
    for (name, what, told) in [
        (".restoring", "", "did not come to its end"),
        ("state.sqlite", "", "state.sqlite"),
        ("admin-token", "", "admin-token"),
        ("wal", "x", "data/wal"),
        ("queue", "x", "data/queue"),
        ("queue/000000000009.queue", "BLFYQUE9xxxx", "has format version 9"),
        ("../bad.pem", "hello", "bad.pem"),
    ] {
        in_place_of(name, what);
        if name == "../bad.pem" {
            home.configure(&format!("{engine}tls = {{ ca_file = \"bad.pem\" }}\n"));
        }
        let before = contents(&data);
        let checked = asked("check").await;
        assert!(checked.code == Some(1) && checked.stdout.contains(told), "{name}: {checked:?}");
        assert_eq!(contents(&data), before, "{name}");
        let started = asked("run").await;
        assert_eq!(started.code, Some(1), "{name}: {started:?}");
        let path = data.join(name);
        if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) }.expect("removed");
        if home.path("aside").exists() {
            std::fs::rename(home.path("aside"), path).expect("put back");
        }
    }
}
