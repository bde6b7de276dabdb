//! Storage engines beyond this machine: Prometheus-compatible ones and InfluxDB.
//!
//! What is written goes into a bounded queue on disk first and from there to the engine, in order, at least once; what is
//! read is asked of the engine.
//!
//! Invariant: a batch that was acknowledged is in the queue's file or was taken by the engine; what a full queue sheds is
//! counted.
//! Not here: what a sample may be (`ingest`), the local store (`store`), evaluation (`promql`), loops and the clock.

pub mod behind;
pub mod engine;
#[cfg(test)]
mod fake;
pub mod health;
pub mod http;
pub mod influx;
pub mod joined;
pub mod prometheus;
pub mod queue;
pub mod samples;
pub mod shipper;
pub mod tee;
