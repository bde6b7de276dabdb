//! Short adapters that join one crate's trait to another's type. No logic of their own.

pub mod backfill;
pub mod client_options;
pub mod deliver;
pub mod host_services;
pub mod late_writes;
pub mod producer;
