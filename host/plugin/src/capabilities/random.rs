//! `random`: a stream of its own for every instance, drawn from one seed, so that knowing the seed is enough to replay
//! what a guest saw.

use crate::bindings::belfry::plugin::random::Host;
use crate::state::InstanceState;

/// The contract's bound of one call.
const RANDOM_BYTES_MAX: u32 = 4096;

/// BLAKE3 in keyed mode as an extendable output (Aumasson et al. 2020, §2.6).
pub(crate) struct RandomStream(blake3::OutputReader);

impl RandomStream {
    pub(crate) fn from_seed(seed: &[u8; 32]) -> Self {
        Self(blake3::Hasher::new_keyed(seed).finalize_xof())
    }
}

impl Host for InstanceState {
    fn bytes(&mut self, len: u32) -> wasmtime::Result<Vec<u8>> {
        // The contract has no error here: asking for more is a bug of the guest, and ends as one.
        if len > RANDOM_BYTES_MAX {
            return Err(wasmtime::Error::msg(format!(
                "asked for {len} random bytes; at most {RANDOM_BYTES_MAX} a call"
            )));
        }
        let mut out = vec![0; len as usize];
        self.random.0.fill(&mut out);
        Ok(out)
    }
}
