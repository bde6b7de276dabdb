//! Runs test scripts written by others against Belfry. The scripts are read from the folder that the environment
//! variable `BELFRY_CONFORMANCE_DATA` names; without it the tests say that they were skipped.
//!
//! Not here: the scripts themselves.

pub mod promqltest;
pub mod values;

use std::path::PathBuf;

pub use belfry_testkit::skipped;

/// The folder with the scripts, if there is one.
pub fn data() -> Option<PathBuf> {
    std::env::var_os("BELFRY_CONFORMANCE_DATA").map(PathBuf::from)
}
