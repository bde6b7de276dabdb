//! Other people's programs, unmodified. They are looked for in the folder that `BELFRY_PEERS` names; a test whose peer is
//! not there says so and is skipped.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::{Answer, Ended, peer, wait_until};

/// The machine may be busy.
const UP_WITHIN: Duration = Duration::from_secs(60);
/// A program that should end by itself, and an answer, get this long.
const WITHIN: Duration = Duration::from_secs(60);

/// Runs a peer in a folder until it ends.
pub async fn run_peer(program: &Path, folder: &Path, arguments: &[&str]) -> Ended {
    let output = Command::new(program).args(arguments).current_dir(folder).stdin(Stdio::null()).output();
    let output = tokio::time::timeout(WITHIN, output).await;
    let output = output.unwrap_or_else(|_| panic!("{} did not end", program.display())).expect("the peer starts");
    Ended {
        code: ExitStatus::code(&output.status),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A Prometheus of its own that scrapes nothing and takes remote writes. Dropped, it is killed.
pub struct Prometheus {
    _child: Child,
    folder: TempDir,
    url: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Prometheus {
    /// With these feature flags; `None` when there is no such program here.
    pub async fn start(features: &str) -> Option<Self> {
        let program = peer("prometheus")?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("prometheus.yml"), "{}\n").expect("the config is written");
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("an address").to_string();
        drop(free);
        let log = std::fs::File::create(folder.path().join("log")).expect("a log");
        let mut command = Command::new(program);
        command
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--storage.tsdb.retention.time=100y"])
            .arg("--web.enable-remote-write-receiver")
            .arg(format!("--web.listen-address={address}"))
            .arg(format!("--enable-feature={features}"))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .kill_on_drop(true);
        let child = command.spawn().expect("the peer starts");
        let client = Client::builder(TokioExecutor::new()).build_http();
        let peer = Self { _child: child, folder, url: format!("http://{address}"), client };
        wait_until("Prometheus is ready", UP_WITHIN, async || {
            let answer = peer.try_ask("GET", "/-/ready", &[], Vec::new()).await;
            answer.filter(|a| a.status == 200).map(|_| ())
        })
        .await;
        Some(peer)
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Asks, and reads the whole answer.
    pub async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let answer = tokio::time::timeout(WITHIN, self.try_ask(method, path, headers, body)).await;
        answer.ok().flatten().unwrap_or_else(|| panic!("{path}: no answer; it wrote:\n{}", self.log()))
    }

    async fn try_ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Option<Answer> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body))).expect("a request");
        let (head, body) = self.client.request(request).await.ok()?.into_parts();
        let body = body.collect().await.ok()?.to_bytes();
        Some(Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }
}
