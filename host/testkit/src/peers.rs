//! Other people's programs, unmodified, and how a test says that it was skipped without one.

use std::io::Write as _;
use std::path::PathBuf;

/// A peer's program in the folder that `BELFRY_PEERS` names; `None`, said aloud, when it is not there.
pub fn peer(name: &str) -> Option<PathBuf> {
    let found = std::env::var_os("BELFRY_PEERS").map(|f| PathBuf::from(f).join(name)).filter(|p| p.is_file());
    if found.is_none() {
        skipped(&format!("BELFRY_PEERS names no folder with {name}"));
    }
    found
}

/// Says that a test was skipped, past the test runner, which shows what passing tests print to nobody.
pub fn skipped(why: &str) {
    // Nobody may be there to read it.
    let _ = std::io::stderr().write_all(format!("SKIPPED: {why}\n").as_bytes());
}
