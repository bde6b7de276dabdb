//! Alerts as Alertmanager's webhook (version 4) and reports, posted as JSON.
//!
//! Invariant: one group is one POST; 2xx is accepted, 408, 425, 429 and 5xx are tried again (after `Retry-After`), other
//! statuses are not.
//! Not here: retries and their times (the host), secrets (filled in by the host).

mod payload;

use std::collections::BTreeMap;

use belfry_sdk::config::Span;
use belfry_sdk::prelude::*;

/// The instance's config.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to post.
    pub url: String,
    /// Headers to send.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// From connecting to the end of the answer.
    #[serde(default = "timeout")]
    pub timeout: Span,
    /// Alerts of a group that are sent; 0 for all.
    #[serde(default)]
    pub max_alerts: usize,
    /// Send a report's files with it.
    #[serde(default = "yes")]
    pub report_files: bool,
}

/// Below the host's time limit of a call, so that a slow receiver is a retryable answer and no trap.
fn timeout() -> Span {
    Span::from_ms(4_000)
}

fn yes() -> bool {
    true
}

/// The handler.
#[derive(Debug)]
pub struct Webhook(Config);

impl Webhook {
    fn post<T: Serialize>(&self, key: &str, payload: &T) -> Result<u16> {
        let mut request = http::post(self.0.url.as_str())
            .json(payload)?
            .header("idempotency-key", key)
            .timeout(self.0.timeout.duration())
            .follow_redirects(false);
        for (name, value) in &self.0.headers {
            request = request.header(name.as_str(), value.as_str());
        }
        Ok(request.send()?.ok()?.status())
    }
}

impl Plugin for Webhook {
    type Config = Config;

    fn describe() -> Descriptor {
        Descriptor::new(
            "handler-webhook",
            env!("CARGO_PKG_VERSION"),
            "Posts alerts as Alertmanager's webhook does, and reports, to a URL.",
        )
        .config_schema(include_str!("../config.schema.json"))
        .want("http", "the origin of `url`")
    }

    fn configure(config: Config) -> Result<Self> {
        Ok(Self(config))
    }
}

impl AlertHandler for Webhook {
    fn deliver(&mut self, group: AlertGroup) -> Result<Receipt> {
        let status = self.post(&group.dedup_key, &payload::alerts(&group, self.0.max_alerts))?;
        Ok(Receipt { reference: None, note: Some(format!("status {status}")) })
    }
}

impl ReportHandler for Webhook {
    fn deliver_report(&mut self, report: Report) -> Result<()> {
        let key = format!("{}:{}", report.name, report.end);
        self.post(&key, &payload::report(&report, self.0.report_files)).map(drop)
    }
}

belfry_sdk::export!(Webhook: alert_handler, report_handler);

#[cfg(test)]
mod tests;
