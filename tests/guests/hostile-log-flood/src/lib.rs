//! Writes log lines without end, each longer than a line may be.

use belfry_sdk::prelude::*;

/// How many.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Lines of a call.
    pub lines: u64,
    /// Bytes of a line.
    pub bytes: usize,
}

/// The plugin.
#[derive(Debug)]
pub struct Flood(Config);

impl Plugin for Flood {
    type Config = Config;
    fn describe() -> Descriptor {
        Descriptor::new("hostile-log-flood", "0.1.0", "Writes log lines without end.")
            .config_schema(r#"{"type": "object"}"#)
    }
    fn configure(config: Config) -> Result<Self> {
        Ok(Self(config))
    }
}

impl Collector for Flood {
    fn collect(&mut self) -> Result<()> {
        let text = "flood ".repeat(self.0.bytes / 6);
        for line in 0..self.0.lines {
            info!("{line} {text}");
        }
        Ok(())
    }
}

belfry_sdk::export!(Flood: collector);
