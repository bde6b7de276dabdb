//! Randomness from the host.

use crate::host;

/// `len` random bytes; at most 4096.
pub fn bytes(len: u32) -> Vec<u8> {
    host::random::bytes(len)
}
