//! Logs: pretty for people, JSON for machines, on standard error; the level can be changed while running.

use anyhow::{Context as _, Result};
use belfry_config::types::{LogFormat, Telemetry};
use parking_lot::Mutex;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, reload};

use super::traces::Traces;

/// Libraries that tell too much at `info`. `notify` warns of each watched folder that is removed, which the watch of the files
/// of targets looks for itself.
const QUIETER: &str =
    "hyper=warn,rmcp=off,opentelemetry=warn,opentelemetry_sdk=warn,cranelift=warn,wasmtime=warn,notify=error";

/// Changes what is logged.
pub struct LogControl {
    filter: reload::Handle<EnvFilter, Registry>,
    directives: Mutex<String>,
}

impl LogControl {
    /// The directives of now.
    pub fn directives(&self) -> String {
        self.directives.lock().clone()
    }

    /// Logs by `directives` from now on; an error says what is wrong with them.
    pub fn set(&self, directives: &str) -> Result<()> {
        self.filter.reload(filter(directives)?).context("cannot change the log level")?;
        *self.directives.lock() = directives.to_owned();
        Ok(())
    }
}

fn filter(directives: &str) -> Result<EnvFilter> {
    // What the user says comes last and wins.
    EnvFilter::builder()
        .parse(format!("{QUIETER},{directives}"))
        .with_context(|| format!("`{directives}` is no log level; write info, or info,belfry_store=debug"))
}

/// Sets logs and spans up for the whole process; once.
pub fn install(telemetry: &Telemetry, traces: Option<&Traces>) -> Result<LogControl> {
    let (filter, handle) = reload::Layer::new(filter(&telemetry.log_level)?);
    let lines = match telemetry.log_format {
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed(),
        LogFormat::Pretty => {
            fmt::layer().compact().with_target(true).with_writer(std::io::stderr).with_ansi(colours()).boxed()
        }
    };
    let lines = lines.with_filter(filter);
    let registry: Registry = tracing_subscriber::registry();
    let spans = traces.map(Traces::layer);
    registry.with(lines).with(spans).try_init().context("logs are set up already")?;
    Ok(LogControl { filter: handle, directives: Mutex::new(telemetry.log_level.clone()) })
}

fn colours() -> bool {
    use std::io::IsTerminal as _;
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

#[cfg(test)]
mod tests {
    use tracing::Level;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn a_watched_folder_that_is_removed_is_no_warning_unless_somebody_asks_for_it() {
        for (directives, told) in [("info", false), ("debug", false), ("info,notify=warn", true)] {
            let subscriber = Registry::default().with(filter(directives).expect("directives"));
            tracing::subscriber::with_default(subscriber, || {
                let warned = tracing::enabled!(target: "notify::inotify", Level::WARN);
                assert_eq!(warned, told, "{directives}");
                assert!(tracing::enabled!(target: "notify::inotify", Level::ERROR), "{directives}");
                assert!(tracing::enabled!(target: "belfry_notify", Level::WARN), "{directives}");
            });
        }
    }
}
