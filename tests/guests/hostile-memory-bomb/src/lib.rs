//! Takes all the memory that it can get, and touches it.

use belfry_sdk::prelude::*;

/// No keys.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {}

/// The plugin, with its hoard.
#[derive(Debug)]
pub struct Bomb(Vec<Vec<u8>>);

impl Plugin for Bomb {
    type Config = Config;
    fn describe() -> Descriptor {
        Descriptor::new("hostile-memory-bomb", "0.1.0", "Takes all memory.")
    }
    fn configure(_: Config) -> Result<Self> {
        Ok(Self(Vec::new()))
    }
}

impl Collector for Bomb {
    fn collect(&mut self) -> Result<()> {
        loop {
            self.0.push(vec![1; 1 << 20]);
            std::hint::black_box(&self.0);
        }
    }
}

belfry_sdk::export!(Bomb: collector);
