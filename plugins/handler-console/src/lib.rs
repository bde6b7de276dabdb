//! Alerts and reports as readable lines in Belfry's log.
//!
//! Invariant: a group is at most `max_alerts` + 2 lines, so the host's limit of lines is never met.
//! Not here: colours, files (the log decides where lines go).

mod lines;

use belfry_sdk::log::{self, Level};
use belfry_sdk::prelude::*;

/// The instance's config.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Each alert's labels behind it.
    pub labels: bool,
    /// Alerts of a group that get a line of their own.
    pub max_alerts: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { labels: true, max_alerts: 20 }
    }
}

/// The handler.
#[derive(Debug)]
pub struct Console(Config);

impl Plugin for Console {
    type Config = Config;

    fn describe() -> Descriptor {
        Descriptor::new(
            "handler-console",
            env!("CARGO_PKG_VERSION"),
            "Writes alerts and reports as readable lines into the log.",
        )
        .config_schema(include_str!("../config.schema.json"))
    }

    fn configure(config: Config) -> Result<Self> {
        Ok(Self(config))
    }
}

impl AlertHandler for Console {
    fn deliver(&mut self, group: AlertGroup) -> Result<Receipt> {
        for (level, line) in lines::group(&group, self.0.labels, self.0.max_alerts) {
            log::write(level, &line, &[]);
        }
        Ok(Receipt { reference: None, note: Some(format!("{} alerts written", group.alerts.len())) })
    }
}

impl ReportHandler for Console {
    fn deliver_report(&mut self, report: Report) -> Result<()> {
        for line in lines::report(&report) {
            log::write(Level::Info, &line, &[]);
        }
        Ok(())
    }
}

belfry_sdk::export!(Console: alert_handler, report_handler);

#[cfg(test)]
mod tests;
