//! What `[queries]` says.

use std::time::Duration;

/// `[queries]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queries {
    /// How far back a selector without a range looks.
    pub lookback: Duration,
    /// No query takes longer.
    pub timeout: Duration,
    /// Series that a query may select.
    pub series: u64,
    /// Samples that a query may read.
    pub samples: u64,
    /// Points that a query may hold at any step on its way, or answer.
    pub points: u64,
    /// Bytes that a query may hold.
    pub memory_bytes: u64,
    /// Queries evaluated at a time; `None`: by the number of processors.
    pub concurrent: Option<u32>,
    /// Queries that may wait.
    pub waiting: u32,
}
