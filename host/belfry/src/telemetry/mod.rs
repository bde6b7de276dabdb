//! What Belfry tells of itself: logs, spans, own metrics.
//!
//! Not here: what is worth telling (each organ has its counters), the routes that show it.

pub mod logs;
pub mod own;
pub mod source;
pub mod traces;
