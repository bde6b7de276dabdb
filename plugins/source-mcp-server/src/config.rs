//! The instance's config.

use std::collections::BTreeMap;

use belfry_sdk::config::Span;
use serde::Deserialize;

/// The instance's config.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The endpoint.
    pub url: String,
    /// For people.
    pub title: Option<String>,
    /// To send with each request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// For each request.
    #[serde(default = "timeout")]
    pub timeout: Span,
    /// For all requests of a round.
    #[serde(default = "budget")]
    pub budget: Span,
    /// Longer is degraded.
    #[serde(default = "slow_after")]
    pub slow_after: Span,
    /// Ask for the tools.
    #[serde(default = "yes")]
    pub list_tools: bool,
}

fn timeout() -> Span {
    Span::from_ms(1_500)
}

/// Below the host's time limit of a call: a server that hangs is a measurement, not a trap.
fn budget() -> Span {
    Span::from_ms(4_000)
}

fn slow_after() -> Span {
    Span::from_ms(1_000)
}

fn yes() -> bool {
    true
}

impl Config {
    /// The URL without what may be secret: credentials, query, fragment.
    pub fn shown_url(&self) -> String {
        let url = &self.url[..self.url.find(['?', '#']).unwrap_or(self.url.len())];
        let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        format!("{scheme}://{}{path}", authority.rsplit('@').next().unwrap_or(authority))
    }
}
