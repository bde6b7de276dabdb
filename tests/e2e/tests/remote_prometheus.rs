//! Engines that speak Prometheus, real ones: Prometheus and VictoriaMetrics.
//!
//! They are looked for in the folder that `BELFRY_PEERS` names; without them these tests say so and are skipped.

#[path = "remote_prometheus/broken.rs"]
mod broken;
#[path = "remote_prometheus/exact.rs"]
mod exact;
#[path = "remote_prometheus/newest.rs"]
mod newest;
#[path = "remote_prometheus/passed.rs"]
mod passed;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use belfry_client::ClientOptions;
use belfry_e2e::{Belfry, Home, Receiver, Series, peer, wait_until};
use belfry_prompb::{TimeSeries, WriteRequest};
use belfry_remote::http::{Ask, HttpClient};
use prost::Message as _;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use url::Url;

/// The machine may be busy.
const UP_WITHIN: Duration = Duration::from_secs(60);
/// The queue tries again with growing pauses.
const DELIVERED_WITHIN: Duration = Duration::from_secs(120);
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// An engine of its own, on a port of its own. Dropped, it is killed.
struct Engine {
    child: Option<Child>,
    folder: TempDir,
    program: PathBuf,
    arguments: Vec<String>,
    address: String,
    client: HttpClient,
}

fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").to_string()
}

impl Engine {
    async fn prometheus() -> Option<Self> {
        Self::prometheus_with(&[]).await
    }

    async fn prometheus_with(more: &[&str]) -> Option<Self> {
        let arguments =
            ["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.enable-remote-write-receiver"];
        Self::begin("prometheus", &[&arguments, more].concat(), "--web.listen-address=").await
    }

    /// With all that it has for histograms and exemplars.
    async fn prometheus_exact() -> Option<Self> {
        let arguments = [
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            "--web.enable-remote-write-receiver",
            "--enable-feature=native-histograms,exemplar-storage",
        ];
        Self::begin("prometheus", &arguments, "--web.listen-address=").await
    }

    async fn victoria_metrics() -> Option<Self> {
        Self::begin("victoria-metrics", &["-storageDataPath=data", "-retentionPeriod=100y"], "-httpListenAddr=").await
    }

    async fn begin(name: &str, arguments: &[&str], listen: &str) -> Option<Self> {
        let program = peer(name)?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("prometheus.yml"), "{}\n").expect("the config is written");
        let address = free_address();
        let mut arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        arguments.push(format!("{listen}{address}"));
        let client = HttpClient::new(ClientOptions::default()).expect("a client");
        let mut engine = Self { child: None, folder, program, arguments, address, client };
        engine.start().await;
        Some(engine)
    }

    /// Starts it where it was, with what it had.
    async fn start(&mut self) {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(self.folder.path()).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().expect("the peer starts"));
        // One may be told to evaluate nothing.
        let ready: Url = format!("{}/-/ready", self.url()).parse().expect("an address");
        wait_until("the engine answers", UP_WITHIN, async || {
            let answer = self.client.ask(Ask::get(ready.clone(), UP_WITHIN, ANSWER_BYTES_MAX)).await.ok()?;
            answer.status.is_success().then_some(())
        })
        .await;
    }

    async fn stop(&mut self) {
        let mut child = self.child.take().expect("it runs");
        let id = child.id().expect("it runs").to_string();
        // So that it keeps what it has.
        Command::new("kill").args(["-TERM", &id]).status().await.expect("kill");
        child.wait().await.expect("it ends");
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it answers to an expression now.
    async fn ask(&self, expression: &str) -> Option<Value> {
        // VictoriaMetrics hides what is newest unless told not to.
        self.ask_with(&[("query", expression), ("latency_offset", "1ms")]).await
    }

    /// What it answers to an expression at a time, to the second.
    async fn ask_at(&self, expression: &str, at: i64) -> Value {
        let answer = self.ask_with(&[("query", expression), ("time", &(at / 1000).to_string())]).await;
        answer.unwrap_or_else(|| panic!("{expression}: no answer"))
    }

    async fn ask_with(&self, pairs: &[(&str, &str)]) -> Option<Value> {
        let mut url: Url = format!("{}/api/v1/query", self.url()).parse().expect("an address");
        url.query_pairs_mut().extend_pairs(pairs);
        let answer = self.client.ask(Ask::get(url, UP_WITHIN, ANSWER_BYTES_MAX)).await.ok()?;
        let answer: Value = serde_json::from_slice(&answer.body).ok()?;
        (answer["status"] == "success").then(|| answer["data"].clone())
    }

    /// The samples of each series that it has.
    async fn samples(&self, selector: &str) -> Vec<Series> {
        self.ask(&format!("{selector}[1h]")).await.map(|data| Series::of(&data)).unwrap_or_default()
    }
}

fn config(url: &str, replica: &str, more: &str) -> String {
    format!(
        "[storage]\nbackend = \"prometheus\"\nexternal_labels = {{ replica = \"{replica}\" }}\n{more}\n\
         [storage.prometheus]\nurl = \"{url}\"\n"
    )
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    i64::try_from(since.as_millis()).expect("it is before the year 292277026")
}

/// Three series, a sample each, at a time of their own.
async fn import(belfry: &Belfry, at: i64, value: i64) {
    let text: String = ["x", "y z", "\\\"quoted\\\""]
        .iter()
        .map(|l| format!("sent{{of=\"{l}\"}} {}.5 {at}\n", value * l.len() as i64))
        .collect();
    belfry.ask("POST", "/api/v1/import/prometheus", &[], text).await.expect(200);
}

fn values(series: &[Series]) -> Vec<Vec<f64>> {
    let mut all: Vec<Vec<f64>> = series.iter().map(|s| s.samples.iter().map(|p| p.1).collect()).collect();
    all.sort_by(|a, b| a.partial_cmp(b).expect("numbers"));
    all
}

fn expected(n: i64) -> Vec<Vec<f64>> {
    [1, 3, 10].iter().map(|l| (1..=n).map(|i| (i * l) as f64 + 0.5).collect()).collect()
}

async fn delivered(engine: &Engine, n: i64) {
    wait_until(&format!("{n} samples of each series are in the engine"), DELIVERED_WITHIN, async || {
        (values(&engine.samples("sent").await) == expected(n)).then_some(())
    })
    .await;
}

/// A counter or gauge of `/metrics`.
async fn metric(belfry: &Belfry, name: &str) -> f64 {
    metric_in(&belfry.get("/metrics").await.expect(200).body, name)
}

fn metric_in(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|v| v.split(' ').next()?.parse().ok()).unwrap_or_else(|| panic!("{name} is in\n{text}"))
}

/// Samples arrive as they were; the engine goes, Belfry goes on and is killed; the engine comes, and has everything.
async fn nothing_is_lost(mut engine: Engine, protocol: &str) {
    let home = Home::new(&format!("{}{protocol}", config(&engine.url(), "a", "")));
    let belfry = home.start().await;
    let start = now_ms() - 60_000;
    for n in 1..=5 {
        import(&belfry, start + n * 1000, n).await;
    }
    delivered(&engine, 5).await;
    let one = engine.samples(r#"sent{of="y z",replica="a"}"#).await;
    assert_eq!(one.len(), 1, "with its labels and the external one: {one:?}");

    engine.stop().await;
    for n in 6..=8 {
        import(&belfry, start + n * 1000, n).await;
    }
    let here = belfry.query("sent[10m]").await;
    assert_eq!(values(&here), expected(8), "the local window answers");
    let answer = belfry.json("/api/v1/query?query=sent").await;
    assert!(answer["warnings"].to_string().contains("the storage engine is away"), "{answer}");
    let beyond = format!("/api/v1/query?query=sent&time={}", (start - 86_400_000) / 1000);
    let refused = belfry.get(&beyond).await.expect(503).body;
    assert!(refused.contains("unavailable"), "what is beyond the window is not there now: {refused}");
    belfry.get("/ready").await.expect(200);
    belfry.kill().await;
    let belfry = home.start().await;
    import(&belfry, start + 9_000, 9).await;
    assert!(metric(&belfry, "belfry_engine_queue_bytes").await > 0.0);

    engine.start().await;
    delivered(&engine, 9).await;
    wait_until("nothing waits", DELIVERED_WITHIN, async || {
        (metric(&belfry, "belfry_engine_lag_seconds").await < 1.0).then_some(())
    })
    .await;
    assert_eq!(values(&belfry.query("sent[10m]").await), expected(9), "read back as it was sent");
}

#[tokio::test]
async fn prometheus_has_everything_in_the_end_though_it_was_away_and_belfry_was_killed() {
    for protocol in ["", "protocol = \"1.0\"\n"] {
        if let Some(engine) = Engine::prometheus().await {
            nothing_is_lost(engine, protocol).await;
        }
    }
}

#[tokio::test]
async fn victoria_metrics_has_everything_in_the_end_though_it_was_away_and_belfry_was_killed() {
    // It does not understand 2.0, and gets 1.0 after the first request.
    if let Some(engine) = Engine::victoria_metrics().await {
        nothing_is_lost(engine, "").await;
    }
}

#[tokio::test]
async fn lists_without_a_range_have_what_is_older_than_a_day() {
    let Some(engine) = Engine::victoria_metrics().await else { return };
    let home = Home::new(&config(&engine.url(), "a", ""));
    let belfry = home.start().await;
    // Too old for the local window.
    import(&belfry, now_ms() - 25 * 3_600_000, 1).await;
    for path in ["/api/v1/series?match[]=sent", "/api/v1/label/of/values?match[]=sent"] {
        wait_until(path, DELIVERED_WITHIN, async || {
            let found = belfry.json(path).await["data"].as_array().expect("a list").len();
            (found == 3).then_some(())
        })
        .await;
    }
    wait_until("names", DELIVERED_WITHIN, async || {
        let names = belfry.json("/api/v1/labels?match[]=sent").await;
        (names["data"] == serde_json::json!(["__name__", "of", "replica"])).then_some(())
    })
    .await;
}

#[tokio::test]
async fn two_share_an_engine_and_see_each_others_series() {
    let Some(engine) = Engine::prometheus().await else { return };
    let homes =
        [Home::new(&config(&engine.url(), "a", "")), Home::new(&config(&engine.url(), "b", "query = \"local\""))];
    let (passing, local) = (homes[0].start().await, homes[1].start().await);
    let at = now_ms() - 2_000;
    import(&passing, at, 1).await;
    import(&local, at, 2).await;
    for belfry in [&passing, &local] {
        wait_until("both are seen", DELIVERED_WITHIN, async || {
            let found = belfry.query("sum by (replica) (last_over_time(sent[10m]))").await;
            let mut sums: Vec<f64> = found.iter().map(Series::last).collect();
            sums.sort_by(f64::total_cmp);
            // 1 + 3 + 10 and a half each; and twice that.
            (sums == [15.5, 29.5]).then_some(())
        })
        .await;
    }
    wait_until("the engine evaluates", DELIVERED_WITHIN, async || {
        // What is newer than a minute is evaluated here.
        passing.query("sent offset 2m").await;
        (metric(&passing, "belfry_engine_queries_total").await > 0.0).then_some(())
    })
    .await;
    assert_eq!(metric(&local, "belfry_engine_queries_total").await, 0.0);
}

/// How many samples of `many` an engine that takes everything was given, by the import that brought them.
fn delivered_by_import(engine: &Receiver, start: i64) -> BTreeMap<i64, usize> {
    let mut by_import = BTreeMap::new();
    for seen in engine.seen().into_iter().filter(|s| s.answered == 204 && s.path.ends_with("/write")) {
        let bytes = snap::raw::Decoder::new().decompress_vec(&seen.body).expect("it is packed");
        let request = WriteRequest::decode(&*bytes).expect("a message");
        let is_ours = |s: &&TimeSeries| s.labels.iter().any(|l| l.name == "__name__" && l.value == "many");
        for sample in request.timeseries.iter().filter(is_ours).flat_map(|s| &s.samples) {
            *by_import.entry((sample.timestamp - start) / STEPS).or_insert(0) += 1;
        }
    }
    by_import
}

/// Times of an import, in milliseconds, with a sample of each of a hundred series.
const STEPS: i64 = 200;
const SERIES: i64 = 100;

#[tokio::test]
async fn a_full_queue_sheds_its_oldest_samples_and_says_so() {
    let engine = Receiver::start().await;
    engine.answer(503);
    let home = Home::new(&config(&engine.origin(), "a", "queue_bytes = \"1MiB\""));
    let belfry = home.start().await;
    let start = now_ms() - 250_000;
    let mut imports = 0;
    wait_until("samples are shed", DELIVERED_WITHIN, async || {
        let times = (0..STEPS).map(|t| start + imports * STEPS + t);
        let text: String = times.flat_map(|t| (0..SERIES).map(move |i| format!("many{{i=\"{i}\"}} 1 {t}\n"))).collect();
        imports += 1;
        belfry.ask("POST", "/api/v1/import/prometheus", &[], text).await.expect(200);
        (metric(&belfry, r#"belfry_engine_samples_total{outcome="shed"}"#).await > 0.0).then_some(())
    })
    .await;
    assert!(metric(&belfry, "belfry_engine_queue_bytes").await <= 1_200_000.0);
    let ready = belfry.get("/ready").await.expect(200).body;
    assert!(ready.contains("its queue is full") && ready.contains("samples were shed since"), "{ready}");
    wait_until("the overview tells", DELIVERED_WITHIN, async || {
        let overview = belfry.get("/api/overview").await.expect(200).body;
        overview.contains("The queue for the storage engine is full").then_some(())
    })
    .await;

    engine.answer(204);
    let (queued, shed) =
        wait_until("nothing waits, and what was queued is sent or shed", DELIVERED_WITHIN, async || {
            let text = belfry.get("/metrics").await.expect(200).body;
            let [waits, queued, sent, shed] = [
                "belfry_engine_queue_bytes",
                "belfry_engine_queued_samples_total",
                r#"belfry_engine_samples_total{outcome="sent"}"#,
                r#"belfry_engine_samples_total{outcome="shed"}"#,
            ]
            .map(|name| metric_in(&text, name));
            (waits == 0.0 && queued == sent + shed).then_some((queued, shed))
        })
        .await;
    assert!(0.0 < shed && shed < queued, "{shed} of {queued}");
    // Only the oldest one that came may lack samples, and of all before it nothing came.
    let whole = (STEPS * SERIES) as usize;
    let mut by_import = delivered_by_import(&engine, start);
    let (oldest, came) = by_import.pop_first().expect("something came");
    assert!(came <= whole);
    assert_eq!(by_import, (oldest + 1..imports).map(|import| (import, whole)).collect());
    let lost = (oldest + 1) as usize * whole - came;
    assert!(lost as f64 <= shed, "{lost} did not come, {shed} were counted");
}
