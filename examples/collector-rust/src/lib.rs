//! A collector to start from: asks an HTTP service for a queue's length and makes it a metric.

use belfry_sdk::prelude::*;

static JOBS: Gauge = Gauge::new("example_jobs", "Jobs by queue and state.");
static ANSWERS: Counter = Counter::new("example_answers_total", "Answers read since the plugin started.");

/// What `config = { … }` in belfry.toml holds. `config.schema.json` says the same to Belfry, which checks it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the queues are listed.
    url: String,
    /// Only queues whose names begin with this.
    #[serde(default)]
    prefix: String,
}

/// One line of the service's answer.
#[derive(Deserialize)]
struct Queue {
    name: String,
    waiting: u64,
    running: u64,
}

/// The plugin: whatever it has to remember between two rounds goes in here.
pub struct Jobs {
    config: Config,
}

impl Plugin for Jobs {
    type Config = Config;

    fn describe() -> Descriptor {
        Descriptor::new("collector-example", env!("CARGO_PKG_VERSION"), "Jobs that wait and run, by queue.")
            .metrics(&[&JOBS, &ANSWERS])
            .config_schema(include_str!("../config.schema.json"))
            .want("http", "the origin of `url`")
            .default_interval_ms(15_000)
    }

    fn configure(config: Config) -> Result<Self> {
        Ok(Self { config })
    }
}

impl Collector for Jobs {
    fn collect(&mut self) -> Result<()> {
        // Any error ends the round: nothing of it is kept, and Belfry shows why.
        let queues: Vec<Queue> = http::get(&self.config.url).send()?.ok()?.json()?;
        for queue in queues.iter().filter(|q| q.name.starts_with(&self.config.prefix)) {
            let name = queue.name.as_str();
            JOBS.with([("queue", name), ("state", "waiting")]).set(queue.waiting as f64);
            JOBS.with([("queue", name), ("state", "running")]).set(queue.running as f64);
        }
        ANSWERS.add(1.0);
        debug!("read {} queues", queues.len());
        Ok(())
    }
}

belfry_sdk::export!(Jobs: collector);

#[cfg(test)]
mod tests {
    use belfry_sdk::testing::Host;

    use super::*;

    const CONFIG: &str = r#"{"url": "https://jobs.example/queues", "prefix": "mail"}"#;

    #[test]
    fn queues_become_series() {
        let host = Host::new();
        host.on_http(|request| {
            assert_eq!(request.url(), "https://jobs.example/queues");
            Ok(http::Response::new(
                200,
                r#"[{"name": "mail-out", "waiting": 7, "running": 2}, {"name": "video", "waiting": 1, "running": 1}]"#,
            ))
        });
        let mut plugin = host.configure::<Jobs>(CONFIG).unwrap();
        host.collect(&mut plugin).unwrap();
        assert_eq!(host.value("example_jobs", &[("queue", "mail-out"), ("state", "waiting")]), Some(7.0));
        assert_eq!(host.value("example_jobs", &[("queue", "video"), ("state", "waiting")]), None);
        assert_eq!(host.value("example_answers_total", &[]), Some(1.0));
    }

    #[test]
    fn a_busy_service_is_asked_again_later() {
        let host = Host::new();
        host.on_http(|_| Ok(http::Response::new(503, "busy")));
        let mut plugin = host.configure::<Jobs>(CONFIG).unwrap();
        assert!(host.collect(&mut plugin).unwrap_err().is_retryable());
        assert_eq!(host.pushes(), 0);
    }
}
