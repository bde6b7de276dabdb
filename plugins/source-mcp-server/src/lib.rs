//! Probes an MCP server over Streamable HTTP, as a client meets it: a session of its own in every round, with
//! `initialize`, `ping`, `tools/list` and its end.
//!
//! Invariant: whatever the server answers is a measurement; only a fault of this plugin or of its grants is an error.
//! Not here: what other clients do with the server (a gateway would see that).

mod config;
mod counts;
mod message;
mod probe;
mod session;

use belfry_sdk::Label;
use belfry_sdk::prelude::*;

use config::Config;
use counts::Counts;
use probe::{Probed, Server};

static UP: Gauge = Gauge::new("mcp_probe_up", "1 when the server answered `initialize`.");
static REQUESTS: Counter =
    Counter::new("mcp_probe_requests_total", "Requests this probe made by method, since it first ran.");
static ERRORS: Counter = Counter::new(
    "mcp_probe_errors_total",
    "Requests of this probe that failed by method and reason: timeout, unreachable, status, protocol, rpc, …",
);
static RESPONSE: Gauge =
    Gauge::new("mcp_probe_response_seconds", "How long the server took to answer a method.").unit("seconds");
static TOOLS: Gauge = Gauge::new("mcp_probe_tools", "Tools that the server lists.");
static INFO: Info = Info::new("mcp_probe_info", "What the server calls itself, and the protocol version it speaks.");

/// The source.
#[derive(Debug)]
pub struct McpServer {
    config: Config,
    counts: Counts,
    /// As it introduced itself last.
    server: Option<Server>,
}

impl Plugin for McpServer {
    type Config = Config;

    fn describe() -> Descriptor {
        Descriptor::new(
            "source-mcp-server",
            env!("CARGO_PKG_VERSION"),
            "Stands for an MCP server and probes it over Streamable HTTP.",
        )
        .metrics(&[&UP, &REQUESTS, &ERRORS, &RESPONSE, &TOOLS, &INFO])
        .config_schema(include_str!("../config.schema.json"))
        .want("http", "the origin of `url`")
        .want("kv", "to keep its counters over restarts")
        .default_interval_ms(15_000)
    }

    fn configure(config: Config) -> Result<Self> {
        let counts = Counts::load(&config.url)?;
        Ok(Self { config, counts, server: None })
    }
}

impl McpServer {
    fn probe(&mut self) -> Result<Probed> {
        let probed = probe::run(&self.config, &mut self.counts)?;
        if probed.server.is_some() {
            self.server.clone_from(&probed.server);
        }
        self.counts.save()?;
        Ok(probed)
    }
}

impl MetricSource for McpServer {
    fn identify(&mut self) -> Result<Identity> {
        if self.server.is_none() {
            self.probe()?;
        }
        Ok(identity(&self.config, self.server.as_ref()))
    }

    fn snapshot(&mut self) -> Result<Health> {
        let probed = self.probe()?;
        UP.set(f64::from(u8::from(probed.server.is_some())));
        for (method, seconds) in &probed.response_s {
            RESPONSE.with([("method", *method)]).set(*seconds);
        }
        if let Some(tools) = probed.tools {
            TOOLS.set(tools as f64);
        }
        if let Some(server) = &probed.server {
            INFO.set([
                ("server", server.name.as_str()),
                ("version", server.version.as_str()),
                ("protocol_version", server.protocol.as_str()),
            ]);
        }
        for (method, n) in self.counts.requests() {
            REQUESTS.with([("method", method)]).set_total(n);
        }
        for (method, reason, n) in self.counts.errors() {
            ERRORS.with([("method", method), ("reason", reason)]).set_total(n);
        }
        Ok(probed.health(self.config.slow_after))
    }
}

fn identity(config: &Config, server: Option<&Server>) -> Identity {
    let said = server.map(|s| if s.title.is_empty() { s.name.clone() } else { s.title.clone() });
    let title = config.title.clone().or(said.filter(|t| !t.is_empty())).unwrap_or_else(|| config.shown_url());
    let label = |name: &str, value: &str| Label { name: name.into(), value: value.into() };
    let labels = server.map_or_else(Vec::new, |s| {
        vec![label("server", &s.name), label("server_version", &s.version), label("protocol_version", &s.protocol)]
    });
    Identity {
        id: config.shown_url(),
        title,
        kind: "mcp-server".into(),
        description: format!("MCP server at {}", config.shown_url()),
        labels,
        attributes: Vec::new(),
    }
}

belfry_sdk::export!(McpServer: metric_source);

#[cfg(test)]
mod tests;
