//! Never returns, in the call that its config names.

use belfry_sdk::prelude::*;

/// Where it loops.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `configure` or `collect`.
    pub at: String,
}

/// The plugin.
#[derive(Debug)]
pub struct Loop;

fn forever() -> ! {
    loop {
        std::hint::black_box(());
    }
}

impl Plugin for Loop {
    type Config = Config;
    fn describe() -> Descriptor {
        Descriptor::new("hostile-endless-loop", "0.1.0", "Never returns.").config_schema(r#"{"type": "object"}"#)
    }
    fn configure(config: Config) -> Result<Self> {
        if config.at == "configure" { forever() } else { Ok(Self) }
    }
}

impl Collector for Loop {
    fn collect(&mut self) -> Result<()> {
        forever()
    }
}

belfry_sdk::export!(Loop: collector);
