//! What tests share: a simulated clock and [`belfry_model::SeriesRead`]s without a store.
//!
//! Not here: anything a running Belfry needs; this crate is only ever a dev-dependency.

pub mod clock;
pub mod series;

pub use clock::SimClock;
pub use series::{MemorySeries, SelectOnly};
