//! Scraping against unmodified peers where their own protocol matters: TLS with certificates of both sides and a
//! password, targets from a web service and from a name server, native histograms. The peers are looked for in the folder
//! that `BELFRY_PEERS` names; a test whose peer is not there says so and is skipped.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::get;
use belfry_e2e::{Belfry, Home, SOON, peer, wait_until};
use rcgen::{CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

/// A peer that writes to nowhere. Dropped, it is killed.
fn start(program: &Path, folder: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.kill_on_drop(true).spawn().expect("the peer starts")
}

/// An address that was free a moment ago.
fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").to_string()
}

/// For what comes with the next scrape; a lookup of a name may have to run into its time-out first.
const PATIENCE: Duration = Duration::from_secs(60);

async fn until(belfry: &Belfry, promql: &str, wanted: Option<f64>) {
    let what = format!("{promql} to be {wanted:?}\n{}", belfry.log());
    wait_until(&what, PATIENCE, async || {
        let found = belfry.query(promql).await.first().map(|s| s.last());
        (found == wanted).then_some(())
    })
    .await;
}

/// Why the target of a job is down.
async fn reason(belfry: &Belfry, job: &str) -> String {
    let targets = belfry.json("/api/v1/targets").await;
    let active = targets["data"]["activeTargets"].as_array().expect("targets").clone();
    let found = active.iter().find(|t| t["labels"]["job"] == job).expect("the job has a target");
    found["lastError"].as_str().unwrap_or_default().to_owned()
}

/// A certificate authority's files, a server's and a client's, in this folder.
fn certificates(folder: &Path) {
    let key = || KeyPair::generate().expect("a key");
    let mut authority = CertificateParams::new(Vec::<String>::new()).expect("a name");
    authority.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, key()).expect("an authority");
    let write = |name: &str, text: String| std::fs::write(folder.join(name), text).expect("written");
    write("ca.pem", authority.pem());
    let issuer: &Issuer<'_, _> = &authority;
    let signed = |name: &str, purpose: ExtendedKeyUsagePurpose| {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        params.extended_key_usages = vec![purpose];
        let key = key();
        let signed = params.signed_by(&key, issuer).expect("a certificate");
        write(&format!("{name}.pem"), signed.pem());
        write(&format!("{name}.key"), key.serialize_pem());
    };
    signed("server", ExtendedKeyUsagePurpose::ServerAuth);
    signed("client", ExtendedKeyUsagePurpose::ClientAuth);
}

/// `open sesame`, by bcrypt.
const WEB: &str = r#"
tls_server_config:
  cert_file: server.pem
  key_file: server.key
  client_ca_file: ca.pem
  client_auth_type: RequireAndVerifyClientCert
basic_auth_users:
  belfry: $2b$04$abcdefghijklmnopqrstuu/LVz6MZlItEy42I2juLihZ66HnQx/cy
"#;

#[tokio::test]
async fn a_target_behind_tls_wants_its_authority_a_certificate_and_a_password() {
    let Some(program) = peer("prometheus-node-exporter") else { return };
    let certificates_of_both = tempfile::tempdir().expect("a folder");
    let folder = certificates_of_both.path();
    certificates(folder);
    std::fs::write(folder.join("web.yml"), WEB).expect("written");
    std::fs::write(folder.join("password"), "open sesame\n").expect("written");
    std::fs::write(folder.join("wrong"), "open barley\n").expect("written");
    let address = free_address();
    let port = address.rsplit_once(':').expect("a port").1;
    let listen = format!("--web.listen-address={address}");
    let _node = start(&program, folder, &["--web.config.file=web.yml", &listen]);
    let job = |name: &str, tls: &str, password: &str| {
        let at = |file: &str| folder.join(file).display().to_string();
        let tls = tls.replace("@", &format!("{}/", folder.display()));
        let password = at(password);
        format!(
            "[[scrape]]\njob = \"{name}\"\nscheme = \"https\"\ninterval = \"1s\"\ntimeout = \"1s\"\n\
             targets = [\"localhost:{port}\"]\ntls = {{ {tls} }}\n\
             basic_auth = {{ username = \"belfry\", password_file = \"{password}\" }}\n\n"
        )
    };
    let both = r#"ca_file = "@ca.pem", cert_file = "@client.pem", key_file = "@client.key""#;
    let config = job("right", both, "password")
        + &job("wrong password", both, "wrong")
        + &job("no certificate", r#"ca_file = "@ca.pem""#, "password")
        + &job("unknown authority", r#"cert_file = "@client.pem", key_file = "@client.key""#, "password");
    let home = Home::new(&config);
    let belfry = home.start().await;
    until(&belfry, r#"up{job="right"}"#, Some(1.0)).await;
    until(&belfry, r#"count(node_boot_time_seconds{job="right"} > 0)"#, Some(1.0)).await;
    for (job, why) in
        [("wrong password", "401"), ("no certificate", ""), ("unknown authority", "its issuer is unknown")]
    {
        until(&belfry, &format!(r#"up{{job="{job}"}}"#), Some(0.0)).await;
        // The peer may not have listened yet at the first try.
        let what = format!("{job} is refused for {why:?}\n{}", belfry.log());
        wait_until(&what, SOON, async || {
            let said = reason(&belfry, job).await;
            (!said.is_empty() && said.contains(why) && !said.contains("refused")).then_some(())
        })
        .await;
    }
    assert!(!belfry.log().contains("open sesame"), "the password is in the log");
}

type Told = Arc<Mutex<(Value, Vec<HeaderMap>)>>;

#[tokio::test]
async fn targets_follow_a_web_service() {
    let Some(program) = peer("prometheus-node-exporter") else { return };
    let nodes = [free_address(), free_address()];
    let folder = tempfile::tempdir().expect("a folder");
    let listen = nodes.each_ref().map(|a| format!("--web.listen-address={a}"));
    let _nodes = listen.each_ref().map(|l| start(&program, folder.path(), &[l]));
    let told: Told = Arc::new(Mutex::new((json!([{"targets": [nodes[0]], "labels": {"zone": "a"}}]), Vec::new())));
    let answer = async |State(told): State<Told>, headers: HeaderMap| {
        let mut told = told.lock().expect("no panic holds it");
        told.1.push(headers);
        Json(told.0.clone())
    };
    let service = axum::Router::new().route("/targets", get(answer)).with_state(told.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/targets", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, service).await });
    let home = Home::new(&format!(
        "[[scrape]]\njob = \"found\"\ninterval = \"500ms\"\ntimeout = \"500ms\"\n[[scrape.http]]\nurl = \"{url}\"\nrefresh = \"1s\"\n"
    ));
    let belfry = home.start().await;
    until(&belfry, r#"count(up{job="found",zone="a"} == 1)"#, Some(1.0)).await;
    {
        let told = told.lock().expect("no panic holds it");
        let sent = &told.1[0];
        assert!(sent["accept"].to_str().is_ok_and(|a| a.contains("application/json")), "{sent:?}");
        assert_eq!(sent["x-prometheus-refresh-interval-seconds"], "1");
        assert!(sent["user-agent"].to_str().is_ok_and(|a| a.starts_with("Belfry/")), "{sent:?}");
    }
    told.lock().expect("no panic holds it").0 = json!([{"targets": nodes, "labels": {"zone": "b"}}]);
    until(&belfry, r#"count(up{job="found",zone="b"} == 1)"#, Some(2.0)).await;
    until(&belfry, r#"count(up{zone="a"})"#, None).await;
    // What is no list of targets changes nothing.
    told.lock().expect("no panic holds it").0 = json!({"targets": "none"});
    let asked = told.lock().expect("no panic holds it").1.len();
    wait_until("it asks twice more", SOON, async || {
        (told.lock().expect("no panic holds it").1.len() > asked + 1).then_some(())
    })
    .await;
    until(&belfry, r#"count(up{job="found",zone="b"} == 1)"#, Some(2.0)).await;
    told.lock().expect("no panic holds it").0 = json!([]);
    until(&belfry, "count(up)", None).await;
}

/// dnsmasq with these records, by their flags; what is not of `belfry.test` it refuses to answer.
fn name_server(program: &Path, folder: &Path, address: &str, records: &[String]) -> Child {
    let port = address.rsplit_once(':').expect("a port").1;
    let mut flags = ["--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--bind-interfaces"]
        .map(str::to_owned)
        .to_vec();
    flags.extend(["--listen-address=127.0.0.1", "--user=", "--pid-file="].map(str::to_owned));
    flags.push(format!("--port={port}"));
    flags.extend_from_slice(records);
    start(program, folder, &flags.iter().map(String::as_str).collect::<Vec<_>>())
}

/// A target that says `a 1`. Answers its port.
async fn target() -> u16 {
    let answer = async || ([("content-type", "text/plain; version=0.0.4")], "a 1\n");
    let service = axum::Router::new().route("/metrics", get(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move { axum::serve(listener, service).await });
    port
}

#[tokio::test]
async fn targets_follow_a_name_server() {
    let Some(program) = peer("dnsmasq") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (one, two) = (target().await, target().await);
    let address = free_address();
    let known = "--local=/belfry.test/".to_owned();
    let node = "--host-record=nodes.belfry.test,127.0.0.1".to_owned();
    let service = |port: u16| format!("--srv-host=_metrics._tcp.belfry.test,localhost,{port}");
    let names = |records: &[String]| name_server(&program, folder.path(), &address, records);
    let mut server = names(&[known.clone(), node.clone(), service(one)]);
    let job = |job: &str, dns: &str| {
        format!(
            "[[scrape]]\njob = \"{job}\"\ninterval = \"500ms\"\ntimeout = \"500ms\"\n\
             [[scrape.dns]]\nserver = \"{address}\"\nrefresh = \"1s\"\n{dns}\n\
             [[scrape.relabel]]\naction = \"labelmap\"\nregex = \"__meta_dns_(.+)\"\n"
        )
    };
    // The second name is one that this server never answers: it does not hold back the first.
    let services = job("services", r#"names = ["_metrics._tcp.belfry.test", "_metrics._tcp.elsewhere.test"]"#);
    let nodes = job("nodes", &format!("names = [\"nodes.belfry.test\"]\ntype = \"A\"\nport = {one}"));
    let home = Home::new(&(services + &nodes));
    let belfry = home.start().await;
    let labels = format!(
        r#"job="services",name="_metrics._tcp.belfry.test",srv_record_target="localhost.",srv_record_port="{one}""#
    );
    until(&belfry, &format!(r#"up{{{labels},instance="localhost:{one}"}}"#), Some(1.0)).await;
    until(
        &belfry,
        &format!(r#"up{{job="nodes",name="nodes.belfry.test",srv_record_port="",instance="127.0.0.1:{one}"}}"#),
        Some(1.0),
    )
    .await;
    assert!(belfry.log().contains("DNS: _metrics._tcp.elsewhere.test"), "{}", belfry.log());
    // A server that answers nothing: what is known stays.
    server.kill().await.expect("it is ended");
    server = names(&[]);
    for name in ["_metrics._tcp", "nodes"] {
        let complaint = format!("DNS: {name}.belfry.test");
        wait_until(&complaint, PATIENCE, async || belfry.log().contains(&complaint).then_some(())).await;
    }
    until(&belfry, "count(up == 1)", Some(2.0)).await;
    // Another service comes.
    server.kill().await.expect("it is ended");
    server = names(&[known.clone(), node, service(one), service(two)]);
    until(&belfry, r#"count(up{job="services"} == 1)"#, Some(2.0)).await;
    // That there is none any more is an answer.
    server.kill().await.expect("it is ended");
    let _server = names(&[known]);
    until(&belfry, "count(up)", None).await;
}

/// What `/api/v1/query` says of the one histogram there is, without its time.
fn histogram(answer: &Value) -> Option<Value> {
    let result = answer["data"]["result"].as_array()?;
    match result.as_slice() {
        [one] => one["histogram"].get(1).cloned(),
        _ => None,
    }
}

/// Which ends belong to a bucket, its bounds, and its count.
fn buckets(histogram: &Value) -> Vec<[f64; 4]> {
    let number = |v: &Value| v.as_f64().or_else(|| v.as_str()?.parse().ok()).expect("a number");
    let all = histogram["buckets"].as_array().expect("buckets");
    all.iter().map(|b| [0, 1, 2, 3].map(|i| number(&b[i]))).collect()
}

#[tokio::test]
async fn a_native_histogram_is_what_prometheus_reads_of_itself() {
    let Some(program) = peer("prometheus") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let address = free_address();
    let config = format!(
        "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\nscrape_configs:\n- job_name: self\n  static_configs:\n  - targets: ['{address}']\n"
    );
    std::fs::write(folder.path().join("prometheus.yml"), config).expect("written");
    let listen = format!("--web.listen-address={address}");
    let flags =
        ["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--enable-feature=native-histograms", &listen];
    let _prometheus = start(&program, folder.path(), &flags);
    let home = Home::new(&format!(
        "[[scrape]]\njob = \"prometheus\"\ninterval = \"1s\"\ntimeout = \"1s\"\nnative_histograms = true\ntargets = [\"{address}\"]\n"
    ));
    let belfry = home.start().await;
    until(&belfry, r#"up{job="prometheus"}"#, Some(1.0)).await;
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .build_http::<http_body_util::Full<axum::body::Bytes>>();
    let ask = async |path: &str| -> Option<Value> {
        let uri = format!("http://{address}{path}").parse().ok()?;
        let answer = client.get(uri).await.ok()?.into_body();
        let bytes = http_body_util::BodyExt::collect(answer).await.ok()?.to_bytes();
        serde_json::from_slice(&bytes).ok()
    };
    // A handler that nobody asks but here: its histogram stands still afterwards.
    for _ in 0..7 {
        ask("/api/v1/status/buildinfo").await.expect("Prometheus answers");
    }
    let query = "/api/v1/query?query=prometheus_http_request_duration_seconds%7Bhandler%3D%22%2Fapi%2Fv1%2Fstatus%2Fbuildinfo%22%7D";
    let (theirs, ours) = wait_until("both have all seven requests", SOON, async || {
        let theirs = histogram(&ask(query).await?)?;
        let ours = histogram(&belfry.json(query).await)?;
        (theirs["count"] == "7" && ours["count"] == "7").then_some((theirs, ours))
    })
    .await;
    assert!(theirs["buckets"].as_array().is_some_and(|b| !b.is_empty()), "{theirs}");
    assert_eq!((&ours["count"], &ours["sum"]), (&theirs["count"], &theirs["sum"]));
    assert_eq!(buckets(&ours).len(), buckets(&theirs).len(), "{ours}\n{theirs}");
    for (ours, theirs) in buckets(&ours).into_iter().zip(buckets(&theirs)) {
        // Bounds are powers of a root of two: another library may round the last digit in another way.
        let near = ours.iter().zip(&theirs).all(|(a, b)| (a - b).abs() <= b.abs() * 1e-14);
        assert!(near, "{ours:?} {theirs:?}");
    }
}
