//! What tests share: a simulated clock and an in-memory [`belfry_model::SeriesRead`].
//!
//! Not here: anything a running Belfry needs; this crate is only ever a dev-dependency.

pub mod clock;
pub mod series;

pub use clock::SimClock;
pub use series::MemorySeries;
