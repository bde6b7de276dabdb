//! The time-series store: write-ahead log, head, blocks, index, retention.
//!
//! Invariant: an acknowledged batch survives `kill -9`; a torn tail is cut, damage before it is an error that names the
//! file and keeps the rest readable.
//! Not here: PromQL, rules, who produces the samples.
