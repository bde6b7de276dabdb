//! What tests share: a simulated clock and an in-memory [`belfry_model::SeriesRead`].
//!
//! Not here: anything a running Belfry needs; this crate is only ever a dev-dependency.

pub mod clock;

pub use clock::SimClock;
