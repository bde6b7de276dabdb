//! A running Belfry: asked over HTTP, told by signals.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};

use crate::{Answer, Series, wait_until};

/// The first start compiles the components, and the machine may be busy.
const UP_WITHIN: Duration = Duration::from_secs(60);
/// The drain may take a few seconds.
const END_WITHIN: Duration = Duration::from_secs(20);
/// No answer takes longer.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// A running Belfry. Dropped, it is killed.
pub struct Belfry {
    child: Child,
    log: Arc<Mutex<String>>,
    client: Client<HttpConnector, Full<Bytes>>,
    url: String,
    token_file: PathBuf,
}

impl Belfry {
    pub(crate) async fn start(mut command: Command, data: &Path) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let log = Arc::new(Mutex::new(String::new()));
        for stream in [
            Box::new(child.stdout.take().expect("piped")) as Box<dyn AsyncRead + Send + Unpin>,
            Box::new(child.stderr.take().expect("piped")),
        ] {
            tokio::spawn(keep(stream, log.clone()));
        }
        let client = Client::builder(TokioExecutor::new()).build_http();
        let mut belfry = Self { child, log, client, url: String::new(), token_file: data.join("admin-token") };
        belfry.url = wait_until("Belfry says where it is", UP_WITHIN, async || {
            if let Ok(Some(status)) = belfry.child.try_wait() {
                panic!("it ended: {status}\n{}", belfry.log());
            }
            let log = belfry.log();
            let line = log.lines().find_map(|l| l.trim().strip_prefix("dashboard ").map(str::trim))?;
            // An address that stands for all of them cannot be asked.
            Some(line.replace("0.0.0.0", "127.0.0.1"))
        })
        .await;
        belfry
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its host and port.
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// Its process number.
    pub fn process(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// What it has written so far, logs and all.
    pub fn log(&self) -> String {
        self.log.lock().expect("no panic holds it").clone()
    }

    /// The token for managing.
    pub fn token(&self) -> String {
        std::fs::read_to_string(&self.token_file).expect("the token is in the data folder").trim().to_owned()
    }

    /// Asks, and reads the whole answer.
    pub async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Answer {
        let work = async {
            let (status, headers, body) = self.open(method, path, headers, body).await;
            let body = body.collect().await.unwrap_or_else(|e| panic!("{path}: {e}")).to_bytes();
            Answer { status, headers, body: String::from_utf8_lossy(&body).into_owned() }
        };
        tokio::time::timeout(ANSWER_WITHIN, work).await.unwrap_or_else(|_| panic!("{path}: no answer"))
    }

    /// Asks, and leaves the body unread: for answers that do not end.
    pub async fn open(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> (u16, http::HeaderMap, Incoming) {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body.as_ref()))).expect("a request");
        let answer = self.client.request(request).await.unwrap_or_else(|e| panic!("{path}: {e:?}"));
        let (head, body) = answer.into_parts();
        (head.status.as_u16(), head.headers, body)
    }

    /// Reads.
    pub async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "").await
    }

    /// Reads JSON that must be there.
    pub async fn json(&self, path: &str) -> Value {
        self.get(path).await.expect(200).json()
    }

    /// Does something, with the token.
    pub async fn manage(&self, method: &str, path: &str, body: &str) -> Answer {
        let bearer = format!("Bearer {}", self.token());
        self.ask(method, path, &[("authorization", &bearer), ("content-type", "application/json")], body).await
    }

    /// PromQL, now. `metric[5m]` gives the samples as they are kept.
    pub async fn query(&self, promql: &str) -> Vec<Series> {
        let answer = self.json(&format!("/api/v1/query?query={}", escape(promql))).await;
        Series::of(&answer["data"])
    }

    /// The one series that PromQL finds now; `None` when there is none.
    pub async fn one(&self, promql: &str) -> Option<Series> {
        let mut found = self.query(promql).await;
        assert!(found.len() <= 1, "{promql}: {found:?}");
        found.pop()
    }

    /// The entry of that name in a list like `/api/plugins`.
    pub async fn named(&self, path: &str, name: &str) -> Option<Value> {
        let list = self.json(path).await;
        list.as_array().expect("a list").iter().find(|e| e["name"] == name).cloned()
    }

    /// Sends a signal: `HUP`, `TERM`.
    pub async fn signal(&self, name: &str) {
        let id = self.child.id().expect("it runs").to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &id]).status().await.expect("kill");
        assert!(sent.success(), "kill -{name} {id}: {sent}");
    }

    /// `kill -9`, and waits until it is gone.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("it can be killed");
    }

    /// Waits until it has ended by itself; how, and what it had written.
    pub async fn ended(mut self) -> (ExitStatus, String) {
        let ended = tokio::time::timeout(END_WITHIN, self.child.wait()).await;
        let status = ended.unwrap_or_else(|_| panic!("it did not end in {END_WITHIN:?}")).expect("it is ours");
        (status, self.log())
    }
}

impl Drop for Belfry {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("--- {} wrote:\n{}---", self.url, self.log.lock().map(|l| l.clone()).unwrap_or_default());
        }
    }
}

async fn keep(stream: impl AsyncRead + Unpin, log: Arc<Mutex<String>>) {
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let mut log = log.lock().expect("no panic holds it");
        log.push_str(&line);
        log.push('\n');
    }
}

/// For a query string.
fn escape(text: &str) -> String {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_.~".contains(b);
    text.bytes().map(|b| if plain(&b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
