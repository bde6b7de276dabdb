//! What a guest may ask of the host: one file a capability, one grant each.
//!
//! Invariant: a capability that the grants do not name answers an error with code "denied" and does nothing.
//! `log`, `clock`, `random` and `sink` need no grant: they reach nothing outside the plugin.
//!
//! Each file implements its interface's `Host` for [`InstanceState`](crate::state::InstanceState), which carries the
//! plugin's grants, limits and secrets, what the current call has used so far, and [`Shared`]: what all plugins share.
//! Not here: limits of time and memory (`instance.rs`, `limiter.rs`).

pub(crate) mod clock;
pub(crate) mod grants;
pub(crate) mod http;
pub(crate) mod kv;
pub(crate) mod log;
pub(crate) mod mail;
pub(crate) mod net;
pub(crate) mod query;
pub(crate) mod random;
pub(crate) mod sink;
pub(crate) mod system;
#[cfg(test)]
mod test_tls;

use std::sync::Arc;

use crate::bindings::belfry::plugin::types;
use crate::services::HostServices;

/// What every instance of every plugin shares, made once a runtime.
pub(crate) struct Shared {
    /// What the rest of Belfry gives.
    pub services: HostServices,
    /// HTTP out.
    pub http: http::HttpEgress,
    /// Facts about this machine.
    pub system: system::SystemSampler,
    /// Mail out.
    pub mail: mail::Mailer,
}

/// The error a guest gets.
pub(crate) type GuestError = types::Error;

/// Not granted. `fix` is what would have to stand in the plugin's config.
pub(crate) fn denied(what: &str, fix: &str) -> GuestError {
    error("denied", format!("{what} is not granted; {fix}"), false)
}

/// A limit was reached; another call may have room again.
pub(crate) fn limit(message: impl Into<String>) -> GuestError {
    error("limit", message.into(), false)
}

/// Something of the host failed; it may work later.
pub(crate) fn unavailable(message: impl Into<String>) -> GuestError {
    error("unavailable", message.into(), true)
}

/// The guest asked for something that makes no sense.
pub(crate) fn invalid(message: impl Into<String>) -> GuestError {
    error("invalid", message.into(), false)
}

/// An error with a code of the open set in `types.wit`.
pub(crate) fn error(code: &str, message: String, retryable: bool) -> GuestError {
    GuestError { message, retryable, retry_after_ms: None, code: code.to_owned() }
}

/// What a plugin shares with its instances (they come and go, it stays).
pub(crate) type SharedRef = Arc<Shared>;
