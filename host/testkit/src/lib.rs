//! What tests share: a simulated clock, [`belfry_model::SeriesRead`]s without a store, and where peers are.
//!
//! Not here: anything a running Belfry needs; this crate is only ever a dev-dependency.

pub mod clock;
pub mod peers;
pub mod series;

pub use clock::SimClock;
pub use peers::{peer, skipped};
pub use series::{MemorySeries, SelectOnly};
