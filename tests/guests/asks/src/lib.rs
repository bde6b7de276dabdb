//! Asks for each capability once and pushes what it was told: `asked{capability, code, message}`, 1.

use belfry_sdk::prelude::*;

static ASKED: Gauge = Gauge::new("asked", "What the host answered.");

/// What it asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `kv`, `http`, `query`, `mail`, `system/cpu`, …
    pub capabilities: Vec<String>,
    /// For `http`.
    #[serde(default)]
    pub url: String,
    /// For `http`: sent as the header `x-key`.
    #[serde(default)]
    pub key: String,
}

/// The plugin.
#[derive(Debug)]
pub struct Asks(Config);

impl Plugin for Asks {
    type Config = Config;
    fn describe() -> Descriptor {
        Descriptor::new("asks", "0.1.0", "Asks for each capability.")
            .metrics(&[&ASKED])
            .config_schema(r#"{"type": "object"}"#)
    }
    fn configure(config: Config) -> Result<Self> {
        Ok(Self(config))
    }
}

impl Asks {
    /// What there was to see, in short.
    fn ask(&self, capability: &str) -> Result<String> {
        Ok(match capability {
            "kv" => {
                kv::set("key", b"value")?;
                String::from_utf8_lossy(&kv::get("key")?.unwrap_or_default()).into_owned()
            }
            "http" => {
                let response = http::get(&self.0.url).header("x-key", &self.0.key).send()?;
                format!("{} {}", response.status(), response.text())
            }
            "query" => format!("{} series", query::instant("up", 0)?.len()),
            "mail" => {
                mail::Message::new("subject", "text").to(&["ops@example.com".to_owned()]).send()?;
                "sent".to_owned()
            }
            "system/cpu" => format!("{}", !system::cpus()?.is_empty() && system::load_average()?.one >= 0.0),
            "system/memory" => format!("{}", system::memory_now()?.total > 0),
            "system/disk" => format!("{}", system::disks()?.len() < 1_000),
            "system/network" => format!("{}", !system::networks()?.is_empty()),
            "system/process" => format!("{}", !system::processes(3)?.is_empty()),
            "system/sensors" => format!("{}", system::sensors()?.len() < 1_000),
            "system/host" => format!("{}", system::host_facts()?.uptime_s > 0),
            other => return Err(Error::failed(format!("no capability {other}"))),
        })
    }
}

impl Collector for Asks {
    fn collect(&mut self) -> Result<()> {
        for capability in &self.0.capabilities {
            let (code, message) = match self.ask(capability) {
                Ok(seen) => ("ok".to_owned(), seen),
                Err(error) => (error.code().to_owned(), error.message().to_owned()),
            };
            ASKED
                .with([("capability", capability.as_str()), ("code", code.as_str()), ("message", message.as_str())])
                .set(1.0);
        }
        Ok(())
    }
}

belfry_sdk::export!(Asks: collector);
