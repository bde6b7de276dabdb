//! From what was discovered to what is scraped: defaults, relabelling, the labels that remain, the address.
//!
//! Invariant: a target's URL and labels come from its discovered labels alone, so that the same discovery gives the same
//! targets; two targets with the same labels and address are one.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use belfry_model::duration::{format_duration, parse_duration};
use belfry_model::{Labels, LabelsBuilder};
use url::{Host, Position, Url};

use super::{Job, ScrapeError};
use crate::relabel;

/// Targets beyond a job's limit that are listed, and have `up` 0: enough to see which they are. A discovery that went
/// wrong may find 100,000, and the limit is there so that they cost nothing.
pub const TARGETS_OVER_MAX: usize = 1000;
/// A name that never is (RFC 6761), for the URLs of targets whose host cannot be one.
const NO_HOST: &str = "no-host.invalid";

/// Addresses that a discovery found together, with what is known of all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// `host:port`, or whatever relabelling makes one of.
    pub addresses: Vec<String>,
    /// Of all of them; `__meta_…` among them.
    pub labels: Labels,
}

/// Something to scrape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// On every series: `job`, `instance` and what relabelling left.
    pub labels: Labels,
    /// Before relabelling.
    pub discovered: Labels,
    /// What is asked.
    pub url: Url,
    /// The host where it is a number that is no address, like `1.2.3`: Prometheus takes it for a name, which nobody can
    /// have, while a URL would make it the address `1.2.0.3`. Such a target is down without being asked.
    pub no_host: Option<String>,
    /// How often.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
}

impl Target {
    /// Tells targets of a job apart, and is the same after a restart.
    pub fn key(&self) -> u64 {
        let mut all = self.labels.to_builder();
        all.set("__url__", self.shown_url());
        all.build().stable_hash()
    }

    /// What is asked, for people.
    pub fn shown_url(&self) -> String {
        let Some(host) = &self.no_host else { return self.url.to_string() };
        format!("{}{host}{}", &self.url[..Position::BeforeHost], &self.url[Position::AfterHost..])
    }

    /// Why it is not asked at all.
    pub fn unreachable(&self) -> Option<ScrapeError> {
        self.no_host.as_ref().map(|host| ScrapeError::Failed(format!("cannot connect: there is no host `{host}`")))
    }
}

/// What became of one discovered address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placed {
    /// It is scraped.
    Active(Box<Target>),
    /// A rule dropped it; these were its labels.
    Dropped(Labels),
}

/// The targets of a job.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    /// In the order of discovery.
    pub active: Vec<Arc<Target>>,
    /// Their labels before relabelling.
    pub dropped: Vec<Labels>,
    /// What was discovered but cannot be a target, and why.
    pub failed: Vec<(Labels, String)>,
}

impl Targets {
    /// Of everything that was discovered for `job`.
    pub fn of(job: &Job, groups: &[Group]) -> Self {
        let mut all = Self::default();
        let mut seen = BTreeSet::new();
        for (group, address) in groups.iter().flat_map(|g| g.addresses.iter().map(move |a| (g, a))) {
            let discovered = discovered_labels(job, group, address);
            match place(job, discovered.clone()) {
                Ok(Placed::Active(target)) if seen.insert(target.key()) => all.active.push(Arc::from(target)),
                Ok(Placed::Active(_)) => {}
                Ok(Placed::Dropped(labels)) => all.dropped.push(labels),
                Err(reason) => all.failed.push((discovered, reason)),
            }
        }
        all
    }

    /// Why none may be asked: there are more than the job may have. So many as it may have stay, and
    /// [`TARGETS_OVER_MAX`] more.
    pub fn refuse(&mut self, job: &Job) -> Option<ScrapeError> {
        let (found, limit) = (self.active.len() as u64, job.limits.targets);
        if limit == 0 || found <= limit {
            return None;
        }
        self.active.truncate(usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(TARGETS_OVER_MAX));
        Some(ScrapeError::TooManyTargets { found, limit })
    }
}

/// The labels that relabelling sees.
fn discovered_labels(job: &Job, group: &Group, address: &str) -> Labels {
    let mut labels = LabelsBuilder::default();
    labels.set("job", job.name.as_str());
    labels.set("__scrape_interval__", format_duration(job.interval));
    labels.set("__scrape_timeout__", format_duration(job.timeout));
    labels.set("__metrics_path__", job.path.as_str());
    labels.set("__scheme__", job.scheme.as_str());
    for (name, values) in &job.params {
        if let Some(first) = values.first() {
            labels.set(format!("__param_{name}"), first.as_str());
        }
    }
    for label in &group.labels {
        labels.set(label.name.clone(), label.value.clone());
    }
    labels.set("__address__", address);
    labels.build()
}

/// Relabels one address. The error says why it cannot be a target.
pub fn place(job: &Job, discovered: Labels) -> Result<Placed, String> {
    let mut labels = discovered.to_builder();
    if !relabel::apply(&job.relabel, &mut labels) {
        return Ok(Placed::Dropped(discovered));
    }
    let address = labels.get("__address__").ok_or("it has no `__address__`")?.to_owned();
    if address.contains('/') {
        return Err(format!("`{address}` is no address: it must be host:port, without scheme and path"));
    }
    let duration = |name: &str| {
        let text = labels.get(name).unwrap_or_default();
        parse_duration(text).map_err(|e| format!("`{name}`: {e}"))
    };
    let (interval, timeout) = (duration("__scrape_interval__")?, duration("__scrape_timeout__")?);
    if interval.is_zero() || timeout.is_zero() {
        return Err("`__scrape_interval__` and `__scrape_timeout__` cannot be zero".to_owned());
    }
    if timeout > interval {
        return Err("`__scrape_timeout__` is longer than `__scrape_interval__`".to_owned());
    }
    let (url, no_host) = url_of(job, &labels, &address)?;
    if labels.get("instance").is_none() {
        labels.set("instance", address);
    }
    labels.retain(|l| !l.name.starts_with("__"));
    Ok(Placed::Active(Box::new(Target { labels: labels.build(), discovered, url, no_host, interval, timeout })))
}

/// And the host, where it is a number that is no address.
fn url_of(job: &Job, labels: &LabelsBuilder, address: &str) -> Result<(Url, Option<String>), String> {
    let scheme = labels.get("__scheme__").unwrap_or("http");
    if !matches!(scheme, "http" | "https") {
        return Err(format!("`__scheme__` is `{scheme}`: only http and https can be scraped"));
    }
    let bad = || format!("`{address}` is no address: write it like host:port or [::1]:port");
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let parsed = Url::parse(&format!("{scheme}://{address}"));
    let no_host = match &parsed {
        Ok(url) => {
            let more = url.path() != "/" || url.query().is_some() || url.fragment().is_some() || address.contains('@');
            if url.host_str().is_none_or(str::is_empty) || more {
                return Err(bad());
            }
            matches!(url.host(), Some(Host::Ipv4(ip)) if host.parse::<Ipv4Addr>() != Ok(ip))
        }
        Err(_) => ends_in_number(host),
    };
    let no_host = no_host.then(|| host.to_owned());
    let mut url = match &no_host {
        Some(host) => {
            let port = address.strip_prefix(host.as_str()).unwrap_or_default();
            Url::parse(&format!("{scheme}://{NO_HOST}{port}")).map_err(|_| bad())?
        }
        None => parsed.map_err(|_| bad())?,
    };
    url.set_path(&escaped_path(labels.get("__metrics_path__").unwrap_or_default()));
    let mut params = job.params.clone();
    for label in labels.iter() {
        if let Some(name) = label.name.strip_prefix("__param_") {
            let values = params.entry(name.to_owned()).or_default();
            match values.first_mut() {
                Some(first) => *first = label.value.to_string(),
                None => values.push(label.value.to_string()),
            }
        }
    }
    if params.values().any(|v| !v.is_empty()) {
        let mut query = url.query_pairs_mut();
        for (name, values) in &params {
            for value in values {
                query.append_pair(name, value);
            }
        }
    }
    Ok((url, no_host))
}

/// Would a URL take such a host for an address, or for a bad one? (WHATWG URL, "ends in a number".)
fn ends_in_number(host: &str) -> bool {
    let last = host.strip_suffix('.').unwrap_or(host).rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x").is_some_and(|h| h.bytes().all(|b| b.is_ascii_hexdigit()));
    let number = hex || (!last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()));
    number && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// As Go's `url.URL` writes a path: it is text, in which a `%` is a `%` and a `?` begins no query.
fn escaped_path(path: &str) -> String {
    let mut escaped = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
#[path = "target_tests.rs"]
mod tests;
