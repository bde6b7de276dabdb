//! Errors, split by what the caller does next.

use std::time::Duration;

/// A plugin call failed. The variants differ in what the caller must do.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum CallError {
    /// The guest answered "no"; its instance is still healthy.
    #[error("plugin `{plugin}`: {message}")]
    Refused {
        /// Its name.
        plugin: String,
        /// What it said.
        message: String,
        /// Machine-readable.
        code: String,
        /// The same call may succeed later.
        retryable: bool,
        /// Not before this.
        retry_after: Option<Duration>,
    },
    /// The call used up its time; the instance is thrown away.
    #[error("plugin `{plugin}` used up its {limit:?} time limit")]
    TimedOut {
        /// Its name.
        plugin: String,
        /// The limit.
        limit: Duration,
    },
    /// The instance may be half-updated and is thrown away.
    #[error("plugin `{plugin}` trapped: {reason}")]
    Trapped {
        /// Its name.
        plugin: String,
        /// What happened.
        reason: String,
    },
    /// It crashed too often; a new instance is made after `retry_after`.
    #[error("plugin `{plugin}` is restarting after {failures} failures; next try in {retry_after:?}")]
    BackingOff {
        /// Its name.
        plugin: String,
        /// In a row.
        failures: u32,
        /// Until the next instance.
        retry_after: Duration,
    },
    /// It does not export that kind.
    #[error("plugin `{plugin}` is no {kind}")]
    WrongKind {
        /// Its name.
        plugin: String,
        /// What was wanted.
        kind: &'static str,
    },
    /// Its queue is full.
    #[error("plugin `{plugin}` is busy: {queued} calls wait already")]
    Busy {
        /// Its name.
        plugin: String,
        /// How many wait.
        queued: usize,
    },
    /// It was removed.
    #[error("plugin `{plugin}` is gone")]
    Gone {
        /// Its name.
        plugin: String,
    },
}

/// A component was not loaded; the one before it, if any, goes on.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("plugin `{plugin}`: {reason}\n  help: {help}")]
pub struct LoadError {
    /// Name of the plugin.
    pub plugin: String,
    /// What is wrong.
    pub reason: String,
    /// How to mend it.
    pub help: String,
}
