//! InfluxDB as an engine, against real servers: InfluxDB 1 (Debian's), and VictoriaMetrics for the writes of version 2.
//!
//! They are looked for in the folder that `BELFRY_PEERS` names; without them these tests say so and are skipped.

#[path = "remote_influx/belfry.rs"]
mod belfry;
#[path = "remote_influx/engine.rs"]
mod engine;
#[path = "remote_influx/peers.rs"]
mod peers;
#[path = "remote_influx/versions.rs"]
mod versions;
