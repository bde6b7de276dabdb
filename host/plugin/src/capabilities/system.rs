//! Facts about this machine, from one sampler.

use super::{GuestError, denied};
use crate::bindings::belfry::plugin::system::{self, Host};
use crate::state::InstanceState;

/// The one sampler that all plugins share: they do not disturb each other's deltas.
pub(crate) struct SystemSampler {}

impl SystemSampler {
    pub(crate) fn new() -> Self {
        Self {}
    }
}

fn not_granted(group: &str) -> GuestError {
    denied(&format!("system `{group}`"), &format!("add \"{group}\" to `grants.system`"))
}

impl Host for InstanceState {
    async fn cpus(&mut self) -> Result<Vec<system::Cpu>, GuestError> {
        Err(not_granted("cpu"))
    }
    async fn load_average(&mut self) -> Result<system::Load, GuestError> {
        Err(not_granted("cpu"))
    }
    async fn memory_now(&mut self) -> Result<system::Memory, GuestError> {
        Err(not_granted("memory"))
    }
    async fn disks(&mut self) -> Result<Vec<system::Disk>, GuestError> {
        Err(not_granted("disk"))
    }
    async fn networks(&mut self) -> Result<Vec<system::Network>, GuestError> {
        Err(not_granted("network"))
    }
    async fn processes(&mut self, _limit: u32) -> Result<Vec<system::Process>, GuestError> {
        Err(not_granted("process"))
    }
    async fn sensors(&mut self) -> Result<Vec<system::Sensor>, GuestError> {
        Err(not_granted("sensors"))
    }
    async fn host_facts(&mut self) -> Result<system::HostInfo, GuestError> {
        Err(not_granted("host"))
    }
}
