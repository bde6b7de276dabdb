//! Facts about this machine, from one sampler that the host owns. Each area needs its word in `grants.system`.

use crate::errors::Result;
use crate::host;

pub use crate::bindings::imports::belfry::plugin::system::{
    Cpu, Disk, HostInfo, Load, Memory, Network, Process, Sensor,
};

macro_rules! area {
    ($(#[$doc:meta])* $name:ident() -> $ty:ty, $grant:literal) => {
        $(#[$doc])*
        ///
        /// # Errors
        #[doc = concat!("`Denied` without the grant `", $grant, "`.")]
        pub fn $name() -> Result<$ty> {
            Ok(host::system::$name()?)
        }
    };
}

area!(/// Each core, and their sum where the host has one.
    cpus() -> Vec<Cpu>, "cpu");
area!(/// Load averages.
    load_average() -> Load, "cpu");
area!(/// Memory and swap, in bytes.
    memory_now() -> Memory, "memory");
area!(/// Mounted disks.
    disks() -> Vec<Disk>, "disk");
area!(/// Network interfaces.
    networks() -> Vec<Network>, "network");
area!(/// Temperatures.
    sensors() -> Vec<Sensor>, "sensors");
area!(/// Name, system and uptime.
    host_facts() -> HostInfo, "host");

/// The `limit` largest processes by CPU time and by memory.
///
/// # Errors
/// `Denied` without the grant `process`.
pub fn processes(limit: u32) -> Result<Vec<Process>> {
    Ok(host::system::processes(limit)?)
}
