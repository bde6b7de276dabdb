//! A real HTTP server: it answers as it is told, and remembers what it was asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The server. Dropped, it takes no more connections.
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

struct Shared {
    status: Mutex<StatusCode>,
    seen: Mutex<Vec<Seen>>,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its path.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
    /// What it was answered.
    pub answered: u16,
}

impl Seen {
    /// A header, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("")
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e} in {self:?}"))
    }

    /// Was it a group of alerts of this status (`firing`, `resolved`), and taken?
    pub fn is_taken(&self, status: &str) -> bool {
        self.answered == 200 && self.json()["status"] == status
    }
}

impl Receiver {
    /// On a port of its own; it answers 200.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared { status: Mutex::new(StatusCode::OK), seen: Mutex::default() });
        let routes = Router::new().fallback(take).with_state(shared.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, routes).await.expect("it serves") });
        Self { address, shared, serving }
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers with this status from now on.
    pub fn answer(&self, status: u16) {
        *self.shared.status.lock().expect("no panic holds it") = StatusCode::from_u16(status).expect("a status");
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().expect("no panic holds it").clone()
    }

    /// The first taken group of alerts of this status.
    pub fn taken(&self, status: &str) -> Option<Seen> {
        self.seen().into_iter().find(|seen| seen.is_taken(status))
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn take(State(shared): State<Arc<Shared>>, request: Request) -> StatusCode {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return StatusCode::BAD_REQUEST };
    let status = *shared.status.lock().expect("no panic holds it");
    shared.seen.lock().expect("no panic holds it").push(Seen {
        path: head.uri.path().to_owned(),
        headers: head.headers,
        body: body.to_bytes().to_vec(),
        answered: status.as_u16(),
    });
    status
}
