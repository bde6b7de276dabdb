//! One round: what is asked, and what the answers mean.

use belfry_sdk::config::Span;
use belfry_sdk::{Error, Health, Result};
use serde_json::{Value, json};

use crate::config::Config;
use crate::counts::Counts;
use crate::message;
use crate::session::{Failure, Session};

/// A server that always has another page is broken.
const TOOL_PAGES_MAX: usize = 20;

/// A server as it introduces itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Server {
    /// `serverInfo.name`
    pub name: String,
    /// `serverInfo.title`, for people.
    pub title: String,
    /// `serverInfo.version`
    pub version: String,
    /// The revision it speaks.
    pub protocol: String,
}

/// What a round found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Probed {
    /// When `initialize` was answered.
    pub server: Option<Server>,
    /// By method, of those that were answered.
    pub response_s: Vec<(&'static str, f64)>,
    /// When they could be listed.
    pub tools: Option<usize>,
    /// What went wrong, in order.
    pub failures: Vec<String>,
}

impl Probed {
    /// Down without `initialize`; degraded when anything after it failed or took too long.
    pub fn health(&self, slow_after: Span) -> Health {
        if self.server.is_none() {
            return Health::Down(self.failures.join("; "));
        }
        let slow = self.response_s.iter().filter(|(_, s)| *s * 1000.0 > slow_after.ms() as f64);
        let slow = slow.map(|(method, s)| format!("`{method}` took {:.0} ms", s * 1000.0));
        let reasons: Vec<String> = self.failures.iter().cloned().chain(slow).collect();
        if reasons.is_empty() { Health::Up } else { Health::Degraded(reasons.join("; ")) }
    }
}

/// One round with a session of its own.
///
/// # Errors
/// Only when the plugin may not even try: then nothing was measured.
pub fn run(config: &Config, counts: &mut Counts) -> Result<Probed> {
    let mut round = Round { session: Session::new(config), counts, probed: Probed::default(), denied: None };
    round.run(config.list_tools);
    round.session.end();
    match round.denied {
        Some(message) => Err(Error::Denied(message)),
        None => Ok(round.probed),
    }
}

struct Round<'a> {
    session: Session<'a>,
    counts: &'a mut Counts,
    probed: Probed,
    denied: Option<String>,
}

impl Round<'_> {
    fn run(&mut self, list_tools: bool) {
        let Some(hello) = self.call("initialize", message::hello()) else { return };
        let server = server_of(&hello);
        if server.protocol.is_empty() {
            self.fail("initialize", "protocol", "the answer to `initialize` names no protocol version".into());
            return;
        }
        self.session.set_protocol(&server.protocol);
        self.probed.server = Some(server);
        if let Err(Failure { reason, message }) = self.session.notify("notifications/initialized") {
            self.fail("notifications/initialized", &reason, message);
            return;
        }
        self.call("ping", json!({}));
        if list_tools && hello["capabilities"].get("tools").is_some() {
            self.list_tools();
        }
    }

    fn list_tools(&mut self) {
        let mut count = 0;
        let mut cursor: Option<String> = None;
        for _ in 0..TOOL_PAGES_MAX {
            let params = cursor.as_ref().map_or_else(|| json!({}), |c| json!({ "cursor": c }));
            let Some(page) = self.call("tools/list", params) else { return };
            let Some(tools) = page["tools"].as_array() else {
                self.fail("tools/list", "protocol", "the answer to `tools/list` has no tools".into());
                return;
            };
            count += tools.len();
            match page["nextCursor"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => {
                    self.probed.tools = Some(count);
                    return;
                }
            }
        }
        self.fail("tools/list", "protocol", format!("more than {TOOL_PAGES_MAX} pages of tools"));
    }

    /// Asks, unless the server has gone silent in this round: that was said once.
    fn call(&mut self, method: &'static str, params: Value) -> Option<Value> {
        if self.session.is_gone() {
            return None;
        }
        self.counts.request(method);
        let (answer, seconds) = self.session.call(method, params);
        match answer {
            Ok(result) => {
                // Of several pages the first: what a client waits for.
                if !self.probed.response_s.iter().any(|(m, _)| *m == method) {
                    self.probed.response_s.push((method, seconds));
                }
                Some(result)
            }
            Err(Failure { reason, message }) => {
                self.fail(method, &reason, message);
                None
            }
        }
    }

    fn fail(&mut self, method: &str, reason: &str, message: String) {
        if reason == "denied" {
            self.denied = Some(message.clone());
        }
        self.counts.error(method, reason);
        let named = if message.contains(method) { message } else { format!("`{method}`: {message}") };
        self.probed.failures.push(named);
    }
}

fn server_of(hello: &Value) -> Server {
    let text = |value: &Value| value.as_str().unwrap_or_default().chars().take(100).collect();
    let info = &hello["serverInfo"];
    Server {
        name: text(&info["name"]),
        title: text(&info["title"]),
        version: text(&info["version"]),
        protocol: text(&hello["protocolVersion"]),
    }
}
