//! Calls itself without end: with large frames (they overflow the stack in the guest's own memory) or with small ones
//! (they overflow the stack that the host runs it on).

use belfry_sdk::prelude::*;

/// How it goes down.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Large frames.
    pub large: bool,
}

/// The plugin.
#[derive(Debug)]
pub struct Deep(Config);

// The array and the black boxes keep the compiler from making a loop of it.
fn large(n: u64) -> u64 {
    let here = std::hint::black_box([n; 16]);
    if here[0] == u64::MAX { 0 } else { large(std::hint::black_box(n + 1)) + std::hint::black_box(here)[15] }
}

// Nothing here needs an address, and the result cannot be accumulated on the way down.
#[inline(never)]
fn small(n: u64) -> u64 {
    if n == u64::MAX { 0 } else { small(n + 1).rotate_left(7) ^ n }
}

impl Plugin for Deep {
    type Config = Config;
    fn describe() -> Descriptor {
        Descriptor::new("hostile-stack-overflow", "0.1.0", "Calls itself without end.")
            .config_schema(r#"{"type": "object"}"#)
    }
    fn configure(config: Config) -> Result<Self> {
        Ok(Self(config))
    }
}

impl Collector for Deep {
    fn collect(&mut self) -> Result<()> {
        let result = if self.0.large { large(0) } else { small(0) };
        Err(Error::failed(result.to_string()))
    }
}

belfry_sdk::export!(Deep: collector);
