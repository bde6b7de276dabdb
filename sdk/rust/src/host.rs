//! Where the SDK meets the host: in a component the contract's imports, natively the fake host of [`crate::testing`].
//!
//! Invariant: both sides have the same functions with the same types, so nothing above knows which it is.

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use crate::testing::imports::{clock, http, kv, log, mail, query, random, sink, system};

#[cfg(target_arch = "wasm32")]
pub(crate) use crate::bindings::imports::belfry::plugin::{clock, http, kv, log, mail, query, random, sink, system};
