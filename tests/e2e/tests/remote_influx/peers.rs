//! The servers.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use belfry_client::ClientOptions;
use belfry_e2e::{peer, wait_until};
use belfry_remote::http::{Ask, HttpAnswer, HttpClient};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use url::Url;

/// The machine may be busy.
const UP_WITHIN: Duration = Duration::from_secs(60);
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A server of its own, on a port of its own. Dropped, it is killed.
pub struct Server {
    child: Option<Child>,
    folder: TempDir,
    program: std::path::PathBuf,
    arguments: Vec<String>,
    ready: &'static str,
    url: Url,
    client: HttpClient,
}

fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").to_string()
}

/// InfluxDB 1 with a database `belfry`; `None` when there is no such program here.
pub async fn influxd() -> Option<Server> {
    let program = peer("influxd")?;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (http, rpc) = (free_address(), free_address());
    let at = |name: &str| folder.path().join(name).display().to_string();
    let config = format!(
        "reporting-disabled = true\nbind-address = \"{rpc}\"\n[meta]\ndir = {:?}\n[data]\ndir = {:?}\nwal-dir = {:?}\n\
         [http]\nbind-address = \"{http}\"\n[monitor]\nstore-enabled = false\n",
        at("meta"),
        at("data"),
        at("wal"),
    );
    std::fs::write(folder.path().join("influxdb.conf"), config).expect("the config is written");
    let arguments = vec!["-config".to_owned(), "influxdb.conf".to_owned()];
    let mut server = Server::new(program, folder, arguments, "ping", &http);
    server.start().await;
    server.ask("CREATE DATABASE belfry").await;
    Some(server)
}

/// VictoriaMetrics; `None` when there is no such program here.
pub async fn victoria_metrics() -> Option<Server> {
    let program = peer("victoria-metrics")?;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let http = free_address();
    let arguments =
        vec![format!("-httpListenAddr={http}"), "-storageDataPath=data".to_owned(), "-retentionPeriod=100y".to_owned()];
    let mut server = Server::new(program, folder, arguments, "health", &http);
    server.start().await;
    Some(server)
}

/// What stands before a server and asks for this token; `None` when there is no such program here.
pub async fn vmauth(token: &str, before: &Url) -> Option<Server> {
    let program = peer("vmauth")?;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let http = free_address();
    let auth = format!("users:\n- bearer_token: \"{token}\"\n  url_prefix: \"{before}\"\n");
    std::fs::write(folder.path().join("auth.yml"), auth).expect("the config is written");
    let arguments = vec![format!("-httpListenAddr={http}"), "-auth.config=auth.yml".to_owned()];
    let mut server = Server::new(program, folder, arguments, "health", &http);
    server.start().await;
    Some(server)
}

impl Server {
    fn new(
        program: std::path::PathBuf,
        folder: TempDir,
        arguments: Vec<String>,
        ready: &'static str,
        address: &str,
    ) -> Self {
        let url = format!("http://{address}/").parse().expect("an address");
        let client = HttpClient::new(ClientOptions::default()).expect("a client");
        Self { child: None, folder, program, arguments, ready, url, client }
    }

    /// Starts it; again where it was.
    pub async fn start(&mut self) {
        let log = |name: &str| {
            let path: &Path = self.folder.path();
            std::fs::OpenOptions::new().create(true).append(true).open(path.join(name)).expect("a log")
        };
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        command.stdout(log("log")).stderr(log("log")).kill_on_drop(true);
        self.child = Some(command.spawn().expect("the peer starts"));
        let ready = self.url.join(self.ready).expect("an address");
        wait_until("the peer is ready", UP_WITHIN, async || {
            let answer = self.client.ask(Ask::get(ready.clone(), ANSWER_WITHIN, ANSWER_BYTES_MAX)).await.ok()?;
            answer.status.is_success().then_some(())
        })
        .await;
    }

    /// `kill -9`, and waits until it is gone.
    pub async fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().await.expect("it can be killed");
        }
    }

    /// Where it is.
    pub fn url(&self) -> Url {
        self.url.clone()
    }

    /// Reads a path with these parameters.
    pub async fn get(&self, path: &str, pairs: &[(&str, &str)]) -> HttpAnswer {
        let mut url = self.url.join(path).expect("an address");
        url.query_pairs_mut().extend_pairs(pairs);
        let answer = self.client.ask(Ask::get(url, ANSWER_WITHIN, ANSWER_BYTES_MAX)).await;
        answer.unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    /// InfluxQL, as a person would ask.
    pub async fn ask(&self, statement: &str) -> serde_json::Value {
        let url = self.url.join("query?db=belfry&epoch=ms").expect("an address");
        let ask = Ask::form(url, &[("q", statement)], ANSWER_WITHIN, ANSWER_BYTES_MAX);
        let answer = self.client.ask(ask).await.unwrap_or_else(|e| panic!("{statement}: {e}"));
        let json: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert!(json["results"][0]["error"].is_null() && json["error"].is_null(), "{statement}: {json}");
        json
    }

    /// Writes these lines as another program would.
    pub async fn write(&self, lines: &'static str) {
        let url = self.url.join("write?db=belfry&precision=ms").expect("an address");
        let ask = Ask::post(url, "text/plain", lines, ANSWER_WITHIN, ANSWER_BYTES_MAX);
        let answer = self.client.ask(ask).await.unwrap_or_else(|e| panic!("{lines}: {e}"));
        assert!(answer.status.is_success(), "{lines}: {}", answer.reason());
    }
}
