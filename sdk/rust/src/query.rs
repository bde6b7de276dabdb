//! Reads of what Belfry knows. Needs the grant `query`.

use crate::errors::Result;
use crate::host;

pub use crate::bindings::imports::belfry::plugin::query::{AlertEpisode, Points};

/// PromQL at one instant (milliseconds since 1970).
///
/// # Errors
/// When the expression is wrong, too large or not granted.
pub fn instant(expression: &str, at: i64) -> Result<Vec<Points>> {
    Ok(host::query::instant(expression, at)?)
}

/// PromQL from `start` to `end`, a point each `step_ms`.
///
/// # Errors
/// When the expression is wrong, too large or not granted.
pub fn range(expression: &str, start: i64, end: i64, step_ms: u64) -> Result<Vec<Points>> {
    Ok(host::query::range(expression, start, end, step_ms)?)
}

/// Alerts that were active between `start` and `end`.
///
/// # Errors
/// When it is not granted.
pub fn alerts(start: i64, end: i64) -> Result<Vec<AlertEpisode>> {
    Ok(host::query::alerts(start, end)?)
}
