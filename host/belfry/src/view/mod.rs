//! The program as the dashboard sees it: organs and stores turned into DTOs.
//!
//! Invariant: every answer is a snapshot; nothing here changes anything.

mod alerts;
pub mod backend;
pub mod metrics;
pub mod overview;
mod plugins;
mod prometheus;
pub mod publisher;
mod push;
mod reports;
mod rules;
mod scrape;
mod series;
mod slos;
mod sources;
pub mod storage;
