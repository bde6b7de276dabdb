//! Does nothing, or pushes a number of samples: what a call costs.

use belfry_sdk::bindings::imports::belfry::plugin::sink;
use belfry_sdk::prelude::*;

static VALUE: Gauge = Gauge::new("bench_value", "A value.");

/// What a call does.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `nothing`, `fill` (the guest's own work), `push` (and over the boundary), `sdk` (by labels, as authors write).
    pub mode: String,
    /// How many.
    pub samples: u32,
}

/// The plugin.
#[derive(Debug)]
pub struct Bench {
    config: Config,
    ids: Vec<u32>,
    values: Vec<f64>,
    names: Vec<String>,
    round: f64,
}

impl Plugin for Bench {
    type Config = Config;
    fn describe() -> Descriptor {
        Descriptor::new("bench", "0.1.0", "What a call costs.")
            .metrics(&[&VALUE])
            .config_schema(r#"{"type": "object"}"#)
    }
    fn configure(config: Config) -> Result<Self> {
        Ok(Self { config, ids: Vec::new(), values: Vec::new(), names: Vec::new(), round: 0.0 })
    }
}

impl Bench {
    fn prepare(&mut self) -> Result<()> {
        self.names = (0..self.config.samples).map(|n| format!("series-{n}")).collect();
        self.values = vec![0.0; self.names.len()];
        for name in &self.names {
            let label = sink::Label { name: "name".into(), value: name.clone() };
            self.ids.push(sink::open("bench_raw", &[label])?);
        }
        Ok(())
    }
}

impl Collector for Bench {
    fn collect(&mut self) -> Result<()> {
        if self.config.mode == "nothing" {
            return Ok(());
        }
        if self.names.is_empty() {
            self.prepare()?;
        }
        self.round += 1.0;
        if self.config.mode == "sdk" {
            for name in &self.names {
                VALUE.with([("name", name.as_str())]).set(self.round);
            }
            return Ok(());
        }
        for (n, value) in self.values.iter_mut().enumerate() {
            *value = self.round + n as f64;
        }
        std::hint::black_box(&self.values);
        if self.config.mode == "push" {
            sink::push(&self.ids, &self.values, None)?;
        }
        Ok(())
    }
}

belfry_sdk::export!(Bench: collector);
