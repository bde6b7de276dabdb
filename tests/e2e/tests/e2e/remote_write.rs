//! Unmodified senders write to Belfry, and what is read back is what they have themselves.
//!
//! The senders are looked for in the folder that `BELFRY_PEERS` names; without them these tests say so and are skipped.

use std::path::PathBuf;
use std::process::Stdio;

use belfry_e2e::{Belfry, Home, SOON, Series, peer, wait_until};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::process::{Child, Command};

/// Samples that must be the same at both ends.
const ENOUGH: usize = 5;

fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").to_string()
}

fn start(program: PathBuf, arguments: &[String], home: &Home) -> Child {
    let log = std::fs::File::create(home.path("peer.log")).expect("a log");
    let mut command = Command::new(program);
    command.args(arguments).current_dir(home.path("")).stdin(Stdio::null());
    command.stdout(log.try_clone().expect("a log")).stderr(log).kill_on_drop(true);
    command.spawn().expect("the peer starts")
}

/// What another server answers; `None` while it does not.
async fn ask(url: String) -> Option<Value> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let answer = client.get(url.parse().expect("a URL")).await.ok()?;
    let body = answer.into_body().collect().await.ok()?.to_bytes();
    serde_json::from_slice(&body).ok()
}

/// A Prometheus that scrapes itself every half second and writes what it has to Belfry.
async fn prometheus(belfry: &Belfry, home: &Home, message: &str) -> Option<(Child, String)> {
    let program = peer("prometheus")?;
    let address = free_address();
    let config = format!(
        r#"
global: {{ scrape_interval: 500ms, scrape_timeout: 400ms, external_labels: {{ site: lab }} }}
scrape_configs:
  - job_name: itself
    static_configs: [ {{ targets: ["{address}"] }} ]
remote_write:
  - url: {}/api/v1/write
    protobuf_message: {message}
    send_native_histograms: true
    send_exemplars: true
    queue_config: {{ batch_send_deadline: 200ms }}
    metadata_config: {{ send_interval: 500ms }}
"#,
        belfry.url()
    );
    std::fs::write(home.path("prometheus.yml"), config).expect("the config is written");
    let arguments = [
        "--config.file=prometheus.yml".to_owned(),
        "--storage.tsdb.path=prometheus-data".to_owned(),
        format!("--web.listen-address={address}"),
        "--enable-feature=metadata-wal-records,created-timestamp-zero-ingestion".to_owned(),
    ];
    Some((start(program, &arguments, home), address))
}

async fn writes_what_it_has(message: &str) {
    let home = Home::new("");
    let belfry = home.start().await;
    let Some((_peer, address)) = prometheus(&belfry, &home, message).await else { return };
    let metric = "prometheus_tsdb_head_samples_appended_total";
    let selector = format!("{metric}{{type=\"float\"}}[1h]");
    let ours = wait_until("samples from Prometheus", SOON, async || {
        belfry.one(&selector).await.filter(|s| s.samples.len() >= ENOUGH)
    })
    .await;
    assert_eq!(ours.labels["job"], "itself");
    assert_eq!(ours.labels["instance"], address);
    assert_eq!(ours.labels["site"], "lab");
    let url = format!("http://{address}/api/v1/query?query={metric}%7Btype%3D%22float%22%7D%5B1h%5D");
    let theirs = ask(url).await.expect("Prometheus answers");
    let theirs = Series::of(&theirs["data"]).pop().expect("it has the series");
    let (from, to) = (ours.samples[0].0, ours.samples[ours.samples.len() - 1].0);
    let between: Vec<_> = theirs.samples.into_iter().filter(|(at, _)| (from..=to).contains(at)).collect();
    assert_eq!(ours.samples, between);

    let known = wait_until("metadata", SOON, async || {
        let all = belfry.json(&format!("/api/v1/metadata?metric={metric}")).await;
        all["data"][metric][0]["type"].as_str().map(str::to_owned)
    })
    .await;
    assert_eq!(known, "counter");
    let source = belfry.named("/api/sources", "remote_write").await.expect("it is a source");
    assert_eq!((source["kind"].as_str(), source["health"].as_str()), (Some("push"), Some("up")), "{source}");
    let own = belfry.get("/metrics").await.expect(200).body;
    assert!(own.contains("belfry_push_requests_total{outcome=\"failed\"} 0"), "{own}");
    assert!(own.contains("belfry_ingest_samples_total{producer=\"remote_write\"}"), "{own}");
}

#[tokio::test]
async fn prometheus_writes_what_it_has_by_version_1() {
    writes_what_it_has("prometheus.WriteRequest").await;
}

#[tokio::test]
async fn prometheus_writes_what_it_has_by_version_2() {
    writes_what_it_has("io.prometheus.write.v2.Request").await;
}

/// Values that a text or a compression could harm on the way, each a series with the time that it is served with.
const STEADY: [(&str, f64); 7] = [
    ("tenth", 0.1),
    ("third", 1.0 / 3.0),
    ("negative", -273.15),
    ("large", 9_007_199_254_740_993.0),
    ("huge", 1.797_693_134_862_315_7e308),
    ("small", 5e-324),
    ("endless", f64::NEG_INFINITY),
];

/// A target that says [`STEADY`] at the time `at`, and at each scrape one more of `1/1, 1/2, 1/3, …`.
async fn target(at: i64) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let steady: String =
        STEADY.iter().map(|(name, v)| format!("steady{{name=\"{name}\",path=\"/é\"}} {v} {at}\n")).collect();
    let steady = steady.replace("-inf", "-Inf");
    let scrapes = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let metrics = move || {
        let n = scrapes.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
        std::future::ready(format!("# TYPE part gauge\npart {}\n{steady}", 1.0 / f64::from(n)))
    };
    let routes = axum::Router::new().route("/metrics", axum::routing::get(metrics));
    tokio::spawn(async move { axum::serve(listener, routes).await.expect("it serves") });
    address
}

#[tokio::test]
async fn vmagent_writes_what_it_scrapes() {
    let home = Home::new("");
    let belfry = home.start().await;
    let Some(program) = peer("vmagent") else { return };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let at = i64::try_from(now.as_millis()).expect("before the year 292 million") - 1_000;
    let (address, target) = (free_address(), target(at).await);
    let config = format!(
        "global: {{ scrape_interval: 500ms, scrape_timeout: 400ms }}\nscrape_configs:\n  - job_name: fixed\n    honor_timestamps: true\n    \
         static_configs: [ {{ targets: [\"{target}\"] }} ]\n"
    );
    std::fs::write(home.path("scrape.yml"), config).expect("the config is written");
    let arguments = [
        "-promscrape.config=scrape.yml".to_owned(),
        format!("-remoteWrite.url={}/api/v1/write", belfry.url()),
        "-remoteWrite.tmpDataPath=vmagent-data".to_owned(),
        "-remoteWrite.flushInterval=200ms".to_owned(),
        format!("-httpListenAddr={address}"),
    ];
    let _peer = start(program, &arguments, &home);
    let part = wait_until("samples from vmagent", SOON, async || {
        belfry.one("part{job=\"fixed\"}[1h]").await.filter(|s| s.samples.len() >= ENOUGH)
    })
    .await;
    // Every scrape is there, in order, with the value that was served.
    assert_eq!(part.labels["instance"], target);
    for (n, (_, value)) in (1_u32..).zip(&part.samples) {
        assert_eq!(*value, 1.0 / f64::from(n), "{:?}", part.samples);
    }
    assert!(part.samples.windows(2).all(|w| w[0].0 < w[1].0), "{:?}", part.samples);
    for (name, value) in STEADY {
        let series = belfry.one(&format!("steady{{name=\"{name}\"}}[1h]")).await.expect(name);
        assert_eq!(series.labels["path"], "/é");
        assert_eq!(series.samples, [(at, value)], "{name}");
    }
    let up = belfry.one("up{job=\"fixed\"}[1h]").await.expect("vmagent's own");
    assert!(up.samples.iter().all(|(_, v)| *v == 1.0), "{up:?}");
}

#[tokio::test]
async fn text_of_any_age_is_imported_and_read_back() {
    let home = Home::new("[storage]\nretention = \"forever\"\n");
    let belfry = home.start().await;
    let text = "# TYPE t gauge\nt{room=\"a\"} 20.5 946684800000\nt{room=\"a\"} 21.5 946684860000\n";
    let report = belfry.ask("POST", "/api/v1/import/prometheus", &[], text).await.expect(200).json();
    assert_eq!(report["written"], 2, "{report}");
    let answer = belfry.json("/api/v1/query?query=t%5B1h%5D&time=946684860").await;
    let series = Series::of(&answer["data"]);
    assert_eq!(series[0].samples, [(946_684_800_000, 20.5), (946_684_860_000, 21.5)]);
    let refused = belfry.ask("POST", "/api/v1/import/prometheus", &[], "t nothing\n").await.expect(400).json();
    assert_eq!(refused["errors"][0]["line"], 1, "{refused}");
}

#[tokio::test]
async fn a_page_of_another_site_cannot_write() {
    let home = Home::new("");
    let belfry = home.start().await;
    for path in ["/api/v1/write", "/api/v1/import/prometheus"] {
        belfry.ask("POST", path, &[("origin", "http://evil.example")], "t 1\n").await.expect(403);
        belfry.ask("POST", path, &[("host", "evil.example")], "t 1\n").await.expect(421);
    }
    assert_eq!(belfry.query("t").await, []);
}
