//! Answers with far more than any host would want: one long text, or very many small things.

use belfry_sdk::prelude::*;
use belfry_sdk::report::{Block, SectionRequest};

/// How much.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Bytes of the text in `identify`, blocks in `render`.
    pub size: usize,
}

/// The plugin.
#[derive(Debug)]
pub struct Giant(Config);

impl Plugin for Giant {
    type Config = Config;
    fn describe() -> Descriptor {
        Descriptor::new("hostile-giant-return", "0.1.0", "Answers with too much.")
            .config_schema(r#"{"type": "object"}"#)
    }
    fn configure(config: Config) -> Result<Self> {
        Ok(Self(config))
    }
}

impl MetricSource for Giant {
    fn identify(&mut self) -> Result<Identity> {
        Ok(Identity {
            id: "giant".into(),
            title: "Giant".into(),
            kind: "test".into(),
            description: "x".repeat(self.0.size),
            labels: Vec::new(),
            attributes: Vec::new(),
        })
    }
    fn snapshot(&mut self) -> Result<Health> {
        Ok(Health::Down("x".repeat(self.0.size)))
    }
}

impl ReportSection for Giant {
    fn render(&mut self, _: SectionRequest) -> Result<Vec<Block>> {
        Ok((0..self.0.size / 64).map(|_| Block::Heading(String::new())).collect())
    }
}

belfry_sdk::export!(Giant: metric_source, report_section);
