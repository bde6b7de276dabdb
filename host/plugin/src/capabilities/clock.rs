//! `clock`: the host's clock, so that a simulated one is simulated for guests too.

use crate::bindings::belfry::plugin::clock::Host;
use crate::state::InstanceState;

impl Host for InstanceState {
    fn now(&mut self) -> wasmtime::Result<i64> {
        Ok(self.shared.services.clock.now().0)
    }

    fn monotonic_ns(&mut self) -> wasmtime::Result<u64> {
        Ok(u64::try_from(self.shared.services.clock.monotonic().as_nanos()).unwrap_or(u64::MAX))
    }
}
