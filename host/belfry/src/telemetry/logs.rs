//! Logs: pretty for people, JSON for machines, on standard error; the level can be changed while running.

use anyhow::{Context as _, Result};
use belfry_config::types::{LogFormat, Telemetry};
use parking_lot::Mutex;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, reload};

use super::traces::Traces;

/// Libraries that tell too much at `info`.
const QUIETER: &str = "hyper=warn,rmcp=off,opentelemetry=warn,opentelemetry_sdk=warn,cranelift=warn,wasmtime=warn";

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
