//! What to probe, as the config says it and as it is used.
//!
//! Not here: host calls.

use std::collections::{BTreeMap, BTreeSet};

use belfry_sdk::config::Span;
use belfry_sdk::http::{self, Request};
use belfry_sdk::{Error, Result};
use regex_lite::Regex;
use serde::Deserialize;

/// The host's limit of requests in a call, by default.
const TARGETS_MAX: usize = 64;

/// The instance's config.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// URLs to probe with the defaults.
    pub urls: Vec<String>,
    /// Probes with settings of their own.
    pub targets: Vec<TargetConfig>,
    /// For all that say nothing else.
    pub timeout: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self { urls: Vec::new(), targets: Vec::new(), timeout: Span::from_ms(3_000) }
    }
}

/// One probe.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetConfig {
    url: String,
    name: Option<String>,
    #[serde(default = "get")]
    method: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
    #[serde(default)]
    expect_status: Vec<u16>,
    body_contains: Option<String>,
    body_matches: Option<String>,
    timeout: Option<Span>,
    #[serde(default = "yes")]
    follow_redirects: bool,
}

fn get() -> String {
    "GET".into()
}

fn yes() -> bool {
    true
}

impl TargetConfig {
    fn plain(url: String) -> Self {
        Self {
            url,
            name: None,
            method: get(),
            headers: BTreeMap::new(),
            body: String::new(),
            expect_status: Vec::new(),
            body_contains: None,
            body_matches: None,
            timeout: None,
            follow_redirects: true,
        }
    }
}

/// What the body must be.
#[derive(Clone, Debug)]
pub enum Expect {
    /// It has this in it.
    Contains(String),
    /// It matches this.
    Matches(Regex),
}

impl Expect {
    /// Is it?
    pub fn holds(&self, body: &str) -> bool {
        match self {
            Self::Contains(text) => body.contains(text.as_str()),
            Self::Matches(regex) => regex.is_match(body),
        }
    }
}

/// One probe, ready.
#[derive(Clone, Debug)]
pub struct Target {
    /// Unique.
    pub name: String,
    /// All of them must hold.
    pub expect_body: Vec<Expect>,
    config: TargetConfig,
    timeout: Span,
}

impl Target {
    /// The request of a round.
    pub fn request(&self, body_bytes_max: u32) -> Request {
        let c = &self.config;
        let mut request = http::request(c.method.as_str(), c.url.as_str())
            .timeout(self.timeout.duration())
            .max_bytes(body_bytes_max)
            .follow_redirects(c.follow_redirects)
            .body(c.body.as_bytes());
        for (name, value) in &c.headers {
            request = request.header(name.as_str(), value.as_str());
        }
        request
    }

    /// How long it may take.
    pub fn timeout_ms(&self) -> u64 {
        self.timeout.ms()
    }

    /// Is this status fine?
    pub fn expects(&self, status: u16) -> bool {
        if self.config.expect_status.is_empty() {
            let redirect = !self.config.follow_redirects && (300..400).contains(&status);
            return (200..300).contains(&status) || redirect;
        }
        self.config.expect_status.contains(&status)
    }
}

impl Config {
    /// Checks what a schema cannot.
    pub fn into_targets(self) -> Result<Vec<Target>> {
        let all: Vec<TargetConfig> = self.urls.into_iter().map(TargetConfig::plain).chain(self.targets).collect();
        if all.is_empty() {
            return Err(Error::config("nothing to probe: set `urls` or `targets`"));
        }
        if all.len() > TARGETS_MAX {
            return Err(Error::config(format!(
                "{} targets are more than {TARGETS_MAX}: use several plugins",
                all.len()
            )));
        }
        let mut names = BTreeSet::new();
        let mut targets = Vec::new();
        for config in all {
            let name = config.name.clone().unwrap_or_else(|| shown(&config.url));
            if !names.insert(name.clone()) {
                return Err(Error::config(format!("two targets are called `{name}`: give one of them another `name`")));
            }
            let mut expect_body: Vec<Expect> = config.body_contains.clone().map(Expect::Contains).into_iter().collect();
            if let Some(pattern) = &config.body_matches {
                let regex = Regex::new(pattern)
                    .map_err(|e| Error::config(format!("`body_matches` of `{name}` is no regular expression: {e}")))?;
                expect_body.push(Expect::Matches(regex));
            }
            let timeout = config.timeout.unwrap_or(self.timeout);
            targets.push(Target { name, expect_body, config, timeout });
        }
        Ok(targets)
    }
}

/// The URL without what may be secret or endless: credentials, query, fragment.
fn shown(url: &str) -> String {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let url = &url[..end];
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or(authority);
    format!("{scheme}://{host}{path}")
}
