//! Why a request was not made or has no answer.
//!
//! Invariant: what reaches the plugin carries no secret (`egress` redacts it); `retryable` says what to do next.

/// An answer "no" to a plugin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct HttpError {
    /// For people.
    pub message: String,
    /// The same call may succeed later.
    pub retryable: bool,
    /// Machine-readable; the constants of [`code`].
    pub code: &'static str,
}

/// Codes, as in `types.wit`.
pub mod code {
    /// The config grants it not.
    pub const DENIED: &str = "denied";
    /// A limit of the plugin is used up.
    pub const LIMIT: &str = "limit";
    /// It took too long.
    pub const TIMEOUT: &str = "timeout";
    /// The other side cannot be reached or broke off.
    pub const UNREACHABLE: &str = "unreachable";
    /// The other side's certificate is not trusted.
    pub const TLS: &str = "tls";
    /// The request cannot be made as it is written.
    pub const INVALID: &str = "invalid";
    /// The other side refuses, for good.
    pub const REJECTED: &str = "rejected";
    /// Not now.
    pub const UNAVAILABLE: &str = "unavailable";
}

impl HttpError {
    fn new(code: &'static str, retryable: bool, message: impl Into<String>) -> Self {
        Self { message: message.into(), retryable, code }
    }

    /// Not granted.
    pub fn denied(message: impl Into<String>) -> Self {
        Self::new(code::DENIED, false, message)
    }

    /// Past a limit.
    pub fn limit(message: impl Into<String>) -> Self {
        Self::new(code::LIMIT, false, message)
    }

    /// Too late.
    pub fn timeout(message: impl Into<String>) -> Self {
        Self::new(code::TIMEOUT, true, message)
    }

    /// No connection, or a broken one.
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self::new(code::UNREACHABLE, true, message)
    }

    /// Not a trusted peer.
    pub fn tls(message: impl Into<String>) -> Self {
        Self::new(code::TLS, false, message)
    }

    /// Malformed.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(code::INVALID, false, message)
    }

    /// Refused by the other side for good.
    pub fn rejected(message: impl Into<String>) -> Self {
        Self::new(code::REJECTED, false, message)
    }

    /// Cannot be had now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(code::UNAVAILABLE, true, message)
    }
}
