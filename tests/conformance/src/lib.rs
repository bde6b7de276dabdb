//! Runs test scripts written by others against Belfry. The scripts are read from the folder that the environment
//! variable `BELFRY_CONFORMANCE_DATA` names; without it the tests say that they were skipped.
//!
//! Not here: the scripts themselves.

pub mod promqltest;
pub mod values;

use std::path::PathBuf;

/// The folder with the scripts, if there is one.
pub fn data() -> Option<PathBuf> {
    std::env::var_os("BELFRY_CONFORMANCE_DATA").map(PathBuf::from)
}

/// Says that a test was skipped, past the test runner, which shows what passing tests print to nobody.
pub fn skipped(why: &str) {
    // Nobody may be there to read it.
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("skipped: {why}\n").as_bytes());
}
