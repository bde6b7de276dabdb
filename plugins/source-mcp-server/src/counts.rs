//! Requests and errors so far, kept over restarts where the config grants `kv`.
//!
//! Invariant: counts only grow; without the grant they begin again at zero with each instance.

use std::collections::BTreeMap;

use belfry_sdk::{Result, info, kv};
use serde::{Deserialize, Serialize};

const KEY: &str = "counts";

/// How often a method was called, and how it failed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Another server has counts of its own.
    url: String,
    requests: BTreeMap<String, u64>,
    errors: BTreeMap<String, BTreeMap<String, u64>>,
    #[serde(skip)]
    kept: bool,
}

impl Counts {
    /// What was kept for this server, or zeros.
    pub fn load(url: &str) -> Result<Self> {
        let (kept, counts) = match kv::get_json::<Self>(KEY) {
            Ok(found) => (true, found),
            Err(e) if e.is_denied() => {
                info!("`kv` is not granted: counters begin at zero with each start");
                (false, None)
            }
            // Written by another version: begin anew rather than never start.
            Err(e) if e.code() == "json" => (true, None),
            Err(e) => return Err(e),
        };
        let counts = counts.filter(|c| c.url == url).unwrap_or_default();
        Ok(Self { url: url.to_owned(), kept, ..counts })
    }

    /// Keeps them.
    pub fn save(&self) -> Result<()> {
        if self.kept { kv::set_json(KEY, self) } else { Ok(()) }
    }

    /// A request is made.
    pub fn request(&mut self, method: &str) {
        *self.requests.entry(method.to_owned()).or_default() += 1;
        // So that the first error is an increase.
        self.errors.entry(method.to_owned()).or_default().entry("timeout".to_owned()).or_default();
    }

    /// It failed.
    pub fn error(&mut self, method: &str, reason: &str) {
        *self.errors.entry(method.to_owned()).or_default().entry(reason.to_owned()).or_default() += 1;
    }

    /// Method and count.
    pub fn requests(&self) -> impl Iterator<Item = (&str, f64)> {
        self.requests.iter().map(|(method, n)| (method.as_str(), *n as f64))
    }

    /// Method, reason and count.
    pub fn errors(&self) -> impl Iterator<Item = (&str, &str, f64)> {
        self.errors.iter().flat_map(|(method, reasons)| {
            reasons.iter().map(move |(reason, n)| (method.as_str(), reason.as_str(), *n as f64))
        })
    }
}
