//! Errors as a plugin author meets them, and their mapping to the contract's record.
//!
//! Invariant: a variant says what the host does next; mapping to the record and back loses nothing.

use std::fmt;
use std::time::Duration;

use crate::bindings::imports::belfry::plugin::types::Error as Wire;

/// What a plugin's functions answer.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, told by what the host should do next.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// The capability, or this value of it, is not granted (code `denied`). Retrying cannot help.
    Denied(String),
    /// A limit of this plugin is used up (code `limit`). Retrying the same call cannot help.
    Limit(String),
    /// The instance's config is wrong (code `config`). Retrying cannot help.
    Config(String),
    /// It took too long (code `timeout`). May succeed later.
    Timeout(String),
    /// The other side could not be reached (code `unreachable`). May succeed later.
    Unreachable(String),
    /// The other side cannot now, but may later (code `unavailable`).
    Unavailable {
        /// For people.
        message: String,
        /// Not before this much time has passed.
        retry_after: Option<Duration>,
    },
    /// The other side said no, and will say so again (code `rejected`).
    Rejected(String),
    /// Anything else, with a code of its own.
    Other {
        /// Machine-readable.
        code: String,
        /// For people.
        message: String,
        /// The same call may succeed later.
        retryable: bool,
        /// Not before this much time has passed.
        retry_after: Option<Duration>,
    },
}

impl Error {
    /// Something failed that this plugin has no better word for; not retryable.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Other { code: "failed".into(), message: message.into(), retryable: false, retry_after: None }
    }

    /// The config is wrong.
    pub fn config(message: impl Into<String>) -> Self {
        Self::Config(message.into())
    }

    /// The same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Timeout(_) | Self::Unreachable(_) | Self::Unavailable { .. } => true,
            Self::Other { retryable, .. } => *retryable,
            Self::Denied(_) | Self::Limit(_) | Self::Config(_) | Self::Rejected(_) => false,
        }
    }

    /// Not granted: a plugin usually goes on without what it asked for.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Denied(_))
    }

    /// The machine-readable code.
    pub fn code(&self) -> &str {
        match self {
            Self::Denied(_) => "denied",
            Self::Limit(_) => "limit",
            Self::Config(_) => "config",
            Self::Timeout(_) => "timeout",
            Self::Unreachable(_) => "unreachable",
            Self::Unavailable { .. } => "unavailable",
            Self::Rejected(_) => "rejected",
            Self::Other { code, .. } => code,
        }
    }

    /// What is told to people.
    pub fn message(&self) -> &str {
        match self {
            Self::Denied(m)
            | Self::Limit(m)
            | Self::Config(m)
            | Self::Timeout(m)
            | Self::Unreachable(m)
            | Self::Rejected(m)
            | Self::Unavailable { message: m, .. }
            | Self::Other { message: m, .. } => m,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } | Self::Other { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for Error {}

impl From<Wire> for Error {
    fn from(wire: Wire) -> Self {
        let Wire { message, retryable, retry_after_ms, code } = wire;
        let retry_after = retry_after_ms.map(|ms| Duration::from_millis(u64::from(ms)));
        match (code.as_str(), retryable, retry_after) {
            ("denied", false, None) => Self::Denied(message),
            ("limit", false, None) => Self::Limit(message),
            ("config", false, None) => Self::Config(message),
            ("timeout", true, None) => Self::Timeout(message),
            ("unreachable", true, None) => Self::Unreachable(message),
            ("unavailable", true, retry_after) => Self::Unavailable { message, retry_after },
            ("rejected", false, None) => Self::Rejected(message),
            _ => Self::Other { code, message, retryable, retry_after },
        }
    }
}

impl From<Error> for Wire {
    fn from(error: Error) -> Self {
        let retryable = error.is_retryable();
        let retry_after_ms = error.retry_after().map(|d| u32::try_from(d.as_millis()).unwrap_or(u32::MAX));
        Wire { code: error.code().to_owned(), message: error.message().to_owned(), retryable, retry_after_ms }
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::Other { code: "json".into(), message: error.to_string(), retryable: false, retry_after: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapping_to_the_record_and_back_loses_nothing() {
        let soon = Some(Duration::from_millis(1500));
        for error in [
            Error::Denied("a".into()),
            Error::Limit("b".into()),
            Error::Config("c".into()),
            Error::Timeout("d".into()),
            Error::Unreachable("e".into()),
            Error::Unavailable { message: "f".into(), retry_after: soon },
            Error::Unavailable { message: "g".into(), retry_after: None },
            Error::Rejected("h".into()),
            Error::failed("i"),
            // A known code with another flag than usual must not be flattened.
            Error::Other { code: "limit".into(), message: "j".into(), retryable: true, retry_after: soon },
        ] {
            assert_eq!(Error::from(Wire::from(error.clone())), error);
        }
    }
}
