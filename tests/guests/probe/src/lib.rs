//! A plugin of every kind that does what its script says: step `n` of the script in second `n` of the host's clock, so
//! that a test with a simulated clock decides what each call does.
//!
//! Not here: anything hostile; those guests are crates of their own.

use belfry_sdk::bindings::imports::belfry::plugin::{query, random, sink};
use belfry_sdk::prelude::*;
use belfry_sdk::report::{Block, SectionRequest};

/// The instance's config.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// One step a second, from the start again after the last.
    #[serde(default)]
    pub script: Vec<String>,
    /// What `configure` does.
    #[serde(default)]
    pub configure: String,
    /// `version` label of what it pushes.
    #[serde(default)]
    pub label: String,
}

/// The plugin.
#[derive(Debug)]
pub struct Probe {
    config: Config,
    calls: f64,
}

impl Plugin for Probe {
    type Config = Config;

    fn describe() -> Descriptor {
        Descriptor::new("probe", "1.2.3", "Does what it is told.").config_schema(
            r#"{"type": "object", "additionalProperties": false, "properties": {
                "script": {"type": "array", "items": {"type": "string"}},
                "configure": {"type": "string"}, "label": {"type": "string"}}}"#,
        )
    }

    fn configure(config: Config) -> Result<Self> {
        match config.configure.as_str() {
            "refuse" => return Err(Error::config("this config is not to its taste")),
            "trap" => panic!("told to trap in configure"),
            _ => {}
        }
        Ok(Self { config, calls: 0.0 })
    }
}

fn label(name: &str, value: &str) -> sink::Label {
    sink::Label { name: name.into(), value: value.into() }
}

impl Probe {
    fn step(&mut self) -> Result<()> {
        self.calls += 1.0;
        if self.config.script.is_empty() {
            return Ok(());
        }
        let second = clock::now_ms() / 1000;
        let index = second.rem_euclid(self.config.script.len() as i64) as usize;
        let step = self.config.script[index].clone();
        step.split(' ').try_for_each(|part| self.part(part))
    }

    fn part(&mut self, part: &str) -> Result<()> {
        let (verb, argument) = part.split_once(':').unwrap_or((part, ""));
        match verb {
            // One sample for each name: of value 1, or of the instance's number of calls.
            "push" => {
                for name in argument.split(',') {
                    let mut labels = vec![label("name", name)];
                    if !self.config.label.is_empty() {
                        labels.push(label("version", &self.config.label));
                    }
                    let id = sink::open("probe_value", &labels)?;
                    sink::push(&[id], &[1.0], None)?;
                }
            }
            "calls" => {
                let id = sink::open("probe_calls", &[])?;
                sink::push(&[id], &[self.calls], None)?;
            }
            "rows" => sink::push_samples(&[sink::Sample {
                metric: "probe_row".into(),
                labels: vec![label("name", argument)],
                value: 2.0,
                at: Some(123_000),
                start: Some(100_000),
            }])?,
            "close" => {
                let id = sink::open("probe_value", &[label("name", argument)])?;
                sink::close(&[id]);
            }
            "many" => {
                let ids: Vec<u32> = (0..number(argument))
                    .map(|i| sink::open("probe_many", &[label("i", &i.to_string())]))
                    .collect::<Result<_, _>>()?;
                sink::push(&ids, &vec![1.0; ids.len()], None)?;
            }
            "reserved" => drop(sink::open("probe_value", &[label("job", "mine")])?),
            "unknown" => sink::push(&[4_000_000], &[1.0], None)?,
            "declare" => sink::declare(&sink::Metric {
                name: argument.into(),
                kind: sink::MetricKind::Gauge,
                unit: None,
                help: "Declared later.".into(),
            })?,
            "log" => (0..number(argument)).for_each(|i| info!("line {i}")),
            "fail" => return Err(Error::failed("told to fail")),
            "trap" => panic!("told to trap"),
            "spin" => loop {
                std::hint::black_box(());
            },
            "grow" => {
                let mut hoard: Vec<Vec<u8>> = Vec::new();
                loop {
                    hoard.push(vec![1; 1 << 20]);
                    std::hint::black_box(&hoard);
                }
            }
            "random" => assert_ne!(random::bytes(16), random::bytes(16)),
            "greedy" => drop(random::bytes(5_000)),
            "kv-set" => kv::set("seen", argument.as_bytes())?,
            "kv-get" => {
                let value = kv::get("seen")?.unwrap_or_default();
                if value != argument.as_bytes() {
                    return Err(Error::failed(format!("found {:?}", String::from_utf8_lossy(&value))));
                }
            }
            "query" => drop(query::instant("up", 0)?),
            _ => return Err(Error::failed(format!("no step {part}"))),
        }
        Ok(())
    }
}

fn number(text: &str) -> u32 {
    text.parse().unwrap_or_default()
}

impl Collector for Probe {
    fn collect(&mut self) -> Result<()> {
        self.step()
    }
}

impl MetricSource for Probe {
    fn identify(&mut self) -> Result<Identity> {
        Ok(Identity {
            id: "probe-1".into(),
            title: "Probe".into(),
            kind: "test".into(),
            description: "A thing to look at.".into(),
            labels: vec![belfry_sdk::Label { name: "zone".into(), value: "a".into() }],
            attributes: Vec::new(),
        })
    }

    fn snapshot(&mut self) -> Result<Health> {
        self.step()?;
        Ok(Health::Degraded("told so".into()))
    }
}

impl AlertHandler for Probe {
    fn deliver(&mut self, group: AlertGroup) -> Result<Receipt> {
        self.step()?;
        Ok(Receipt {
            reference: Some(format!("{}#{}", group.dedup_key, group.attempt)),
            note: Some(format!("{} alerts", group.alerts.len())),
        })
    }
}

impl ReportHandler for Probe {
    fn deliver_report(&mut self, report: Report) -> Result<()> {
        match report.documents.is_empty() {
            true => Err(Error::failed("a report without documents")),
            false => Ok(()),
        }
    }
}

impl ReportSection for Probe {
    fn render(&mut self, request: SectionRequest) -> Result<Vec<Block>> {
        Ok(vec![Block::Heading(request.title)])
    }
}

belfry_sdk::export!(Probe: collector, metric_source, alert_handler, report_handler, report_section);
