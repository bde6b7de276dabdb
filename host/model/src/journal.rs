//! What cannot be rebuilt later, from the first day: `explain`, audit and exact replay of pages stand on it.

use serde::{Deserialize, Serialize};

use crate::alert::{AlertEvent, Fingerprint};

/// One line of the journal. The journal gives it its number and time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum JournalEntry {
    /// The process began to run with this config.
    Started {
        /// Belfry's version.
        version: String,
        /// Digest of the config as read.
        config_digest: String,
    },
    /// The process ended in order.
    Stopped {},
    /// A config was taken, or refused with its reason.
    ConfigLoaded {
        /// Digest of the config as read.
        digest: String,
        /// Why it was refused.
        refused: Option<String>,
    },
    /// An alert changed its state.
    Transition(AlertEvent),
    /// A rule could not be evaluated.
    RuleFailed {
        /// Its name.
        rule: String,
        /// Why.
        reason: String,
    },
    /// A delivery was tried.
    Delivery {
        /// Channel.
        channel: String,
        /// Identity of the group.
        dedup_key: String,
        /// Its alerts.
        alerts: Vec<Fingerprint>,
        /// 1, 2, …
        attempt: u32,
        /// Why it failed; `None` when it was accepted.
        error: Option<String>,
        /// Will it be tried again?
        will_retry: bool,
    },
    /// A plugin runs another component from now on.
    PluginSwapped {
        /// Name of the plugin.
        plugin: String,
        /// Digest before; `None` when it is new.
        from: Option<String>,
        /// Digest now; `None` when it was removed.
        to: Option<String>,
        /// Version of the component that it tells itself.
        version: String,
    },
    /// A component was refused; the old one, if any, goes on.
    PluginRefused {
        /// Name of the plugin.
        plugin: String,
        /// Digest of the refused one, where it could be read.
        digest: Option<String>,
        /// Why.
        reason: String,
    },
    /// A report was made.
    ReportMade {
        /// Its name.
        report: String,
        /// Identity in the archive.
        archive_id: i64,
    },
    /// Somebody did something through the API.
    UserAction {
        /// Who, as far as auth tells.
        user: String,
        /// What.
        action: String,
        /// On what.
        subject: String,
    },
}
