//! One session with the server: requests, their answers, its end.
//!
//! Invariant: after `initialize` every request carries the session and the protocol version, as the transport asks.

use std::time::Duration;

use belfry_sdk::http::{self, Request, Response};
use belfry_sdk::{Error, clock};
use serde_json::Value;

use crate::config::Config;
use crate::message::{self, Answer, Events};

/// Longer answers are cut off: a list of tools has a few kB.
const ANSWER_BYTES_MAX: usize = 2 << 20;
/// How much is read at a time.
const PIECE_BYTES: u32 = 64 << 10;

/// Why a request failed, as the errors' label `reason` and for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// Few and fixed words.
    pub reason: String,
    /// What happened.
    pub message: String,
}

impl Failure {
    fn new(reason: &str, message: impl Into<String>) -> Self {
        Self { reason: reason.to_owned(), message: message.into() }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(error.code(), error.message())
    }
}

/// A session.
#[derive(Debug)]
pub struct Session<'a> {
    config: &'a Config,
    id: Option<String>,
    protocol: Option<String>,
    next_request: u64,
    deadline_ns: u64,
    /// It did not answer in time, or not at all: nothing more is asked of it.
    gone: bool,
}

impl<'a> Session<'a> {
    /// None yet: `initialize` makes it.
    pub fn new(config: &'a Config) -> Self {
        let deadline_ns = clock::monotonic_ns() + config.budget.ms() * 1_000_000;
        Self { config, id: None, protocol: None, next_request: 1, deadline_ns, gone: false }
    }

    /// Speaks this version from now on.
    pub fn set_protocol(&mut self, version: &str) {
        self.protocol = Some(version.to_owned());
    }

    /// Whether it makes sense to ask anything more.
    pub fn is_gone(&self) -> bool {
        self.gone || self.left().is_none()
    }

    fn left(&self) -> Option<Duration> {
        let left = self.deadline_ns.saturating_sub(clock::monotonic_ns());
        (left > 0).then(|| Duration::from_nanos(left))
    }

    /// Asks; answers the result and how long it took in seconds.
    pub fn call(&mut self, method: &str, params: Value) -> (Result<Value, Failure>, f64) {
        let started = clock::monotonic_ns();
        let answer = self.exchange(method, params);
        self.note(&answer);
        let seconds = clock::monotonic_ns().saturating_sub(started) as f64 / 1e9;
        (answer, seconds)
    }

    fn note<T>(&mut self, answer: &Result<T, Failure>) {
        self.gone |= answer.as_ref().is_err_and(|f| matches!(f.reason.as_str(), "timeout" | "unreachable" | "denied"));
    }

    fn exchange(&mut self, method: &str, params: Value) -> Result<Value, Failure> {
        let id = self.next_request;
        self.next_request += 1;
        let (response, body) = self.post(&message::request(id, method, params))?.open()?;
        if let Some(session) = response.header("mcp-session-id") {
            self.id = Some(session.to_owned());
        }
        if !(200..300).contains(&response.status()) {
            return Err(Failure::new("status", format!("status {} to `{method}`", response.status())));
        }
        match read_answer(&response, &body, id)? {
            Some(Answer::Result(result)) => Ok(result),
            Some(Answer::Error { code, message }) => {
                Err(Failure::new("rpc", format!("error {code} to `{method}`: {message}")))
            }
            None => Err(Failure::new("protocol", format!("no JSON-RPC answer to `{method}`"))),
        }
    }

    /// Says something that is not answered.
    pub fn notify(&mut self, method: &str) -> Result<(), Failure> {
        let said = self.say(method);
        self.note(&said);
        said
    }

    fn say(&self, method: &str) -> Result<(), Failure> {
        let response = self.post(&serde_json::json!({ "jsonrpc": "2.0", "method": method }))?.send()?;
        match response.status() {
            200..300 => Ok(()),
            status => Err(Failure::new("status", format!("status {status} to `{method}`"))),
        }
    }

    /// Ends it, so that probes leave no sessions behind. Servers may refuse (405): that is no failure.
    pub fn end(&mut self) {
        let Some(id) = self.id.take().filter(|_| !self.is_gone()) else { return };
        let request = self.with_headers(http::request("DELETE", self.config.url.as_str()));
        if let Err(error) = request.header("mcp-session-id", id).send() {
            belfry_sdk::debug!("the session could not be ended: {error}");
        }
    }

    fn post(&self, message: &Value) -> Result<Request, Failure> {
        let request = http::post(self.config.url.as_str())
            .json(message)?
            .header("accept", "application/json, text/event-stream")
            .max_bytes(ANSWER_BYTES_MAX as u32);
        let request = self.with_headers(request);
        Ok(match &self.id {
            Some(id) => request.header("mcp-session-id", id.as_str()),
            None => request,
        })
    }

    fn with_headers(&self, mut request: Request) -> Request {
        let timeout = self.config.timeout.duration();
        request = request.timeout(self.left().map_or(Duration::from_millis(1), |left| left.min(timeout)));
        if let Some(version) = &self.protocol {
            request = request.header("mcp-protocol-version", version.as_str());
        }
        for (name, value) in &self.config.headers {
            request = request.header(name.as_str(), value.as_str());
        }
        request
    }
}

/// Reads until the answer is there: an event stream may stay open after it.
fn read_answer(response: &Response, body: &http::Body, id: u64) -> Result<Option<Answer>, Failure> {
    let is_stream = response.header("content-type").is_some_and(|t| t.trim_start().starts_with("text/event-stream"));
    let mut events = Events::default();
    let mut whole = Vec::new();
    let mut read = 0;
    while let Some(piece) = body.read(PIECE_BYTES)? {
        read += piece.len();
        if read > ANSWER_BYTES_MAX {
            return Err(Failure::new("limit", format!("the answer is longer than {ANSWER_BYTES_MAX} bytes")));
        }
        if !is_stream {
            whole.extend_from_slice(&piece);
            continue;
        }
        if let Some(answer) = events.push(&piece).iter().find_map(|data| message::answer_in(data, id)) {
            return Ok(Some(answer));
        }
    }
    Ok(std::str::from_utf8(&whole).ok().and_then(|json| message::answer_in(json, id)))
}
