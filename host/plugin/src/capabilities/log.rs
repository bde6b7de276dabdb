//! `log`: lines into the host's log and into a small ring that people see beside the plugin.
//!
//! Invariant: however much a guest writes, a call keeps at most `limits.log_lines` lines of `limits.log_line_bytes`
//! bytes; the rest is dropped and counted.

use std::collections::VecDeque;
use std::sync::Arc;

use belfry_model::TimestampMs;
use parking_lot::Mutex;

use crate::bindings::belfry::plugin::log::{Host, Level};
use crate::bindings::belfry::plugin::types::Attribute;
use crate::state::InstanceState;

/// Lines kept for people: two screens.
pub(crate) const LOG_RING_LINES_MAX: usize = 50;

/// A line that a plugin wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When.
    pub at: TimestampMs,
    /// `trace`, `debug`, `info`, `warn` or `error`.
    pub level: &'static str,
    /// What it said, with its attributes as `key=value` behind it.
    pub message: String,
}

/// The last lines of a plugin and how many were dropped; outlives its instances.
#[derive(Debug, Default)]
pub(crate) struct LogRing {
    pub lines: VecDeque<LogLine>,
    pub dropped: u64,
}

impl LogRing {
    fn push(&mut self, line: LogLine) {
        if self.lines.len() == LOG_RING_LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }
}

/// What one instance has written in the current call.
pub(crate) struct LogState {
    ring: Arc<Mutex<LogRing>>,
    lines: u32,
}

impl LogState {
    pub(crate) fn new(ring: Arc<Mutex<LogRing>>) -> Self {
        Self { ring, lines: 0 }
    }

    pub(crate) fn begin_call(&mut self) {
        self.lines = 0;
    }
}

/// Makes one line of a message and its attributes, no longer than `bytes_max` and without control characters: a guest
/// must not be able to forge lines or colours in a terminal.
fn one_line(message: &str, attributes: &[Attribute], bytes_max: usize) -> String {
    let mut line = String::with_capacity(message.len().min(bytes_max));
    let parts = attributes.iter().flat_map(|a| [" ", a.key.as_str(), "=", a.value.as_str()]);
    'parts: for part in std::iter::once(message).chain(parts) {
        for c in part.chars() {
            let c = if c.is_control() { ' ' } else { c };
            if line.len() + c.len_utf8() > bytes_max {
                break 'parts;
            }
            line.push(c);
        }
    }
    line
}

impl Host for InstanceState {
    fn write(&mut self, level: Level, message: String, attributes: Vec<Attribute>) -> wasmtime::Result<()> {
        if self.log.lines >= self.limits.log_lines {
            self.log.ring.lock().dropped += 1;
            return Ok(());
        }
        self.log.lines += 1;
        let message = one_line(&message, &attributes, self.limits.log_line_bytes);
        let plugin = &*self.plugin;
        let level = match level {
            Level::Trace => {
                tracing::trace!(target: "belfry::guest", plugin, "{message}");
                "trace"
            }
            Level::Debug => {
                tracing::debug!(target: "belfry::guest", plugin, "{message}");
                "debug"
            }
            Level::Info => {
                tracing::info!(target: "belfry::guest", plugin, "{message}");
                "info"
            }
            Level::Warn => {
                tracing::warn!(target: "belfry::guest", plugin, "{message}");
                "warn"
            }
            Level::Error => {
                tracing::error!(target: "belfry::guest", plugin, "{message}");
                "error"
            }
        };
        let at = self.shared.services.clock.now();
        self.log.ring.lock().push(LogLine { at, level, message });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_and_is_cut_at_a_character() {
        let attributes = [Attribute { key: "k".into(), value: "v".into() }];
        assert_eq!(one_line("a\nb\u{1b}[31m", &attributes, 100), "a b [31m k=v");
        assert_eq!(one_line("aé", &[], 2), "a");
    }

    #[test]
    fn the_ring_keeps_the_last_lines() {
        let mut ring = LogRing::default();
        for i in 0..=LOG_RING_LINES_MAX {
            ring.push(LogLine { at: TimestampMs(0), level: "info", message: i.to_string() });
        }
        assert_eq!(ring.lines.len(), LOG_RING_LINES_MAX);
        assert_eq!(ring.lines[0].message, "1");
    }
}
