//! Panics before it has said who it is.

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
        panic!("nobody")
    }
    fn configure(_: Config) -> Result<Self> {
        Ok(Self)
    }
}

impl Collector for Panics {
    fn collect(&mut self) -> Result<()> {
        Ok(())
    }
}

belfry_sdk::export!(Panics: collector);
