//! Opens series after series, whatever it is answered.

use belfry_sdk::bindings::imports::belfry::plugin::sink;
use belfry_sdk::prelude::*;

/// How it floods.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Give up at the first refusal, or go on.
    pub stubborn: bool,
}

/// The plugin.
#[derive(Debug)]
pub struct Flood {
    config: Config,
    opened: u64,
}

impl Plugin for Flood {
    type Config = Config;
    fn describe() -> Descriptor {
        Descriptor::new("hostile-series-flood", "0.1.0", "Opens series after series.")
            .config_schema(r#"{"type": "object"}"#)
    }
    fn configure(config: Config) -> Result<Self> {
        Ok(Self { config, opened: 0 })
    }
}

impl Collector for Flood {
    fn collect(&mut self) -> Result<()> {
        loop {
            self.opened += 1;
            let label = sink::Label { name: "n".into(), value: self.opened.to_string() };
            let opened = sink::open("flood_value", &[label]);
            if !self.config.stubborn {
                sink::push(&[opened?], &[1.0], None)?;
            }
        }
    }
}

belfry_sdk::export!(Flood: collector);
