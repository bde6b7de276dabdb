//! Real exporters are scraped. They are looked for in the folder that `BELFRY_PEERS` names; a test whose exporter is not
//! there says so and is skipped.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use belfry_e2e::{Belfry, Home, SOON, peer, wait_until};

/// A peer that runs; dropped, it is killed.
struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn start(program: &PathBuf, arguments: &[String]) -> Peer {
    let child = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    Peer(child.expect("the peer starts"))
}

fn node_exporter() -> Option<(Peer, u16)> {
    let program = peer("prometheus-node-exporter")?;
    let port = free_port();
    Some((start(&program, &[format!("--web.listen-address=127.0.0.1:{port}")]), port))
}

async fn value(belfry: &Belfry, promql: &str) -> Option<f64> {
    belfry.query(promql).await.first().map(|s| s.last())
}

async fn until(belfry: &Belfry, promql: &str, wanted: Option<f64>) {
    let what = format!("{promql} to be {wanted:?}\n{}", belfry.log());
    wait_until(&what, SOON, async || (value(belfry, promql).await == wanted).then_some(())).await;
}

#[tokio::test]
async fn an_exporter_is_scraped_relabelled_and_ends_when_it_is_killed() {
    let Some((node, port)) = node_exporter() else { return };
    let home = Home::new(&format!(
        r#"
[[scrape]]
job = "node"
targets = ["127.0.0.1:{port}"]
labels = {{ env = "test" }}
interval = "200ms"
timeout = "200ms"

[[scrape.relabel]]
source_labels = ["__address__"]
regex = '(.*):\d+'
target_label = "instance"
replacement = "${{1}}"

[[scrape.metric_relabel]]
source_labels = ["__name__"]
regex = "go_.*"
action = "drop"
"#
    ));
    let belfry = home.start().await;
    until(&belfry, r#"up{job="node",instance="127.0.0.1",env="test"}"#, Some(1.0)).await;
    assert!(value(&belfry, r#"count({job="node"})"#).await > Some(100.0));
    assert!(value(&belfry, r#"node_cpu_seconds_total{job="node",cpu="0",mode="idle"}"#).await > Some(0.0));
    assert_eq!(value(&belfry, r#"count({__name__=~"go_.*"})"#).await, None, "relabelling dropped them");
    assert!(value(&belfry, "scrape_samples_scraped - scrape_samples_post_metric_relabeling").await > Some(10.0));
    until(&belfry, "scrape_series_added", Some(0.0)).await;
    let sources = belfry.get("/api/sources").await.expect(200).json();
    let source = sources.as_array().unwrap().iter().find(|s| s["kind"] == "scrape").expect("a source");
    assert_eq!((&source["health"], &source["labels"]["job"]), (&"up".into(), &"node".into()));

    drop(node);
    until(&belfry, r#"up{job="node"}"#, Some(0.0)).await;
    // Stale markers end the series at once; without them they would be seen for five minutes.
    until(&belfry, r#"count({job="node",__name__!~"up|scrape_.*"})"#, None).await;
    assert!(value(&belfry, r#"count(count_over_time(node_load1[1m]))"#).await > Some(0.0), "what was is kept");
}

#[tokio::test]
async fn targets_follow_their_file() {
    let Some((_node, port)) = node_exporter() else { return };
    let home = Home::new(
        "[[scrape]]\njob = \"found\"\ninterval = \"200ms\"\ntimeout = \"200ms\"\n[[scrape.file]]\nfiles = [\"targets/*.yml\"]\n",
    );
    let folder = home.path("targets");
    std::fs::create_dir_all(&folder).unwrap();
    let belfry = home.start().await;
    let group = |name: &str| format!("- targets: ['127.0.0.1:{port}']\n  labels: {{name: {name}}}\n");
    std::fs::write(folder.join("a.yml"), group("first")).unwrap();
    until(&belfry, r#"up{name="first"}"#, Some(1.0)).await;
    std::fs::write(folder.join("a.yml"), group("second")).unwrap();
    until(&belfry, r#"up{name="second"}"#, Some(1.0)).await;
    until(&belfry, r#"count({name="first"})"#, None).await;
    // What cannot be read changes nothing.
    std::fs::write(folder.join("a.yml"), "- tragets: [").unwrap();
    wait_until("the complaint", SOON, async || belfry.log().contains("could not be discovered").then_some(())).await;
    assert_eq!(value(&belfry, r#"up{name="second"}"#).await, Some(1.0));
    std::fs::remove_file(folder.join("a.yml")).unwrap();
    until(&belfry, r#"count({job="found"})"#, None).await;
}

#[tokio::test]
async fn a_probe_is_told_its_target_by_relabelling() {
    let Some((_node, target)) = node_exporter() else { return };
    let Some(program) = peer("prometheus-blackbox-exporter") else { return };
    let folder = Home::new("");
    let file = folder.path("blackbox.yml");
    std::fs::write(&file, "modules:\n  plain:\n    prober: http\n    timeout: 2s\n").unwrap();
    let port = free_port();
    let arguments = [format!("--web.listen-address=127.0.0.1:{port}"), format!("--config.file={}", file.display())];
    let _blackbox = start(&program, &arguments);
    let home = Home::new(&format!(
        r#"
[[scrape]]
job = "probe"
path = "/probe"
params = {{ module = ["plain"] }}
targets = ["http://127.0.0.1:{target}/metrics", "http://127.0.0.1:1/"]
interval = "2s"
timeout = "2s"

[[scrape.relabel]]
source_labels = ["__address__"]
target_label = "__param_target"

[[scrape.relabel]]
source_labels = ["__param_target"]
target_label = "instance"

[[scrape.relabel]]
target_label = "__address__"
replacement = "127.0.0.1:{port}"
"#
    ));
    let belfry = home.start().await;
    until(&belfry, &format!(r#"probe_success{{instance="http://127.0.0.1:{target}/metrics"}}"#), Some(1.0)).await;
    until(&belfry, r#"probe_success{instance="http://127.0.0.1:1/"}"#, Some(0.0)).await;
    assert_eq!(value(&belfry, r#"sum(up{job="probe"})"#).await, Some(2.0));
}

#[tokio::test]
async fn a_reload_ends_what_it_takes_away_and_leaves_the_rest_alone() {
    let Some((_node, port)) = node_exporter() else { return };
    let job = |name: &str, more: &str| {
        format!(
            "[[scrape]]\njob = \"{name}\"\ntargets = [\"127.0.0.1:{port}\"]\ninterval = \"200ms\"\ntimeout = \"200ms\"\n{more}\n"
        )
    };
    let drop_load =
        "[[scrape.metric_relabel]]\nsource_labels = [\"__name__\"]\nregex = \"node_load1\"\naction = \"drop\"\n";
    let home = Home::new(&(job("stays", "") + &job("changes", "") + &job("goes", "")));
    let belfry = home.start().await;
    until(&belfry, r#"sum(up)"#, Some(3.0)).await;
    until(&belfry, r#"sum(scrape_series_added)"#, Some(0.0)).await;
    home.configure(&(job("stays", "") + &job("changes", drop_load)));
    belfry.signal("HUP").await;
    until(&belfry, r#"count({job="goes"})"#, None).await;
    until(&belfry, r#"count(node_load1{job="changes"})"#, None).await;
    assert_eq!(value(&belfry, r#"count(node_load5{job="changes"})"#).await, Some(1.0));
    let begun = |job: &str| belfry.log().matches(&format!("target is up job=\"{job}\"")).count();
    assert_eq!((begun("stays"), begun("changes")), (1, 2));
}

#[tokio::test]
async fn a_prometheus_config_is_imported() {
    let home = Home::new("");
    let yaml = "scrape_configs:\n- job_name: node\n  static_configs: [{targets: ['a:1']}]\n  ec2_sd_configs: []\n";
    std::fs::write(home.path("prometheus.yml"), yaml).unwrap();
    let ended = home.run(&["config", "import", "prometheus.yml"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.starts_with("[[scrape]]\njob = \"node\"\n"), "{}", ended.stdout);
    let told: Vec<_> = ended.stderr.lines().collect();
    assert!(told[0].starts_with("prometheus.yml:2: not carried over: series without a bound"), "{told:?}");
    assert!(told[1].starts_with("prometheus.yml:4: not carried over: discovery by ec2"), "{told:?}");
}
