//! Panics in every call.

use belfry_sdk::prelude::*;

/// No keys.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {}

/// The plugin.
#[derive(Debug)]
pub struct Panics;

impl Plugin for Panics {
    type Config = Config;
    fn describe() -> Descriptor {
        Descriptor::new("hostile-panic", "0.1.0", "Panics.")
    }
    fn configure(_: Config) -> Result<Self> {
        Ok(Self)
    }
}

impl Collector for Panics {
    fn collect(&mut self) -> Result<()> {
        panic!("out of ideas")
    }
}

belfry_sdk::export!(Panics: collector);
