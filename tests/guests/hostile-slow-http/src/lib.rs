//! Waits for a server that never answers, with as many requests as it may.

use std::time::Duration;

use belfry_sdk::prelude::*;

/// Whom it asks.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Accepts and stays silent.
    pub url: String,
}

/// The plugin.
#[derive(Debug)]
pub struct Slow(Config);

impl Plugin for Slow {
    type Config = Config;
    fn describe() -> Descriptor {
        Descriptor::new("hostile-slow-http", "0.1.0", "Waits for a server that never answers.")
            .config_schema(r#"{"type": "object"}"#)
    }
    fn configure(config: Config) -> Result<Self> {
        Ok(Self(config))
    }
}

impl Collector for Slow {
    fn collect(&mut self) -> Result<()> {
        let request = || http::get(&self.0.url).timeout(Duration::from_secs(300));
        let requests: Vec<_> = (0..32).map(|_| request()).collect();
        http::send_all(&requests).into_iter().try_for_each(|answer| answer.map(drop))
    }
}

belfry_sdk::export!(Slow: collector);
