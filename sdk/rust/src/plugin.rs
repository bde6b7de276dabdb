//! What a plugin author implements.
//!
//! Not here: how it reaches the host (`export`).

use serde::de::DeserializeOwned;

use crate::bindings::base::exports::belfry::plugin::plugin as wire;
use crate::bindings::imports::belfry::plugin::types::Attribute;
use crate::errors::Result;
use crate::series::Metric;

pub use crate::bindings::alert_handler::exports::belfry::plugin::alert_handler::{Alert, AlertGroup, Receipt};
pub use crate::bindings::imports::belfry::plugin::types::Label;
pub use crate::bindings::metric_source::exports::belfry::plugin::metric_source::{Health, Identity};
pub use crate::bindings::report_handler::exports::belfry::plugin::report_handler::{Document, Report};

/// Every plugin: what it is, and how an instance is made from its config.
pub trait Plugin: Sized + 'static {
    /// The instance's config: any type serde can read from JSON. `()` where there is nothing to set.
    type Config: DeserializeOwned;

    /// What this plugin is. Called without any instance.
    fn describe() -> Descriptor;

    /// Makes the instance. Called once, before anything else.
    ///
    /// # Errors
    /// When the plugin cannot work with this config ([`Error::Config`](crate::Error::Config)).
    fn configure(config: Self::Config) -> Result<Self>;
}

/// Measures, on a schedule.
pub trait Collector: Plugin {
    /// Sets metrics; they leave together when it returns ok, and none of them when it does not.
    ///
    /// # Errors
    /// When there is nothing worth keeping of this round.
    fn collect(&mut self) -> Result<()>;
}

/// Stands for one monitored thing.
pub trait MetricSource: Plugin {
    /// Who it is.
    ///
    /// # Errors
    /// When that cannot be found out now.
    fn identify(&mut self) -> Result<Identity>;

    /// How it is; its numbers are set as in [`Collector::collect`].
    ///
    /// # Errors
    /// When the plugin itself failed. That the monitored thing is down is no error but [`Health::Down`].
    fn snapshot(&mut self) -> Result<Health>;
}

/// Delivers grouped alerts.
pub trait AlertHandler: Plugin {
    /// Returns once the whole group is accepted. May be called again with a `dedup_key` it has seen.
    ///
    /// # Errors
    /// Retryable ones are tried again after the host's back-off.
    fn deliver(&mut self, group: AlertGroup) -> Result<Receipt>;
}

/// Takes finished reports, beside [`AlertHandler`].
pub trait ReportHandler: Plugin {
    /// Delivers one.
    ///
    /// # Errors
    /// Retryable ones are tried again after the host's back-off.
    fn deliver_report(&mut self, report: Report) -> Result<()>;
}

/// Writes one section of a report.
pub trait ReportSection: Plugin {
    /// Answers data, never markup.
    ///
    /// # Errors
    /// Shown in the report in place of the section.
    fn render(&mut self, request: crate::report::SectionRequest) -> Result<Vec<crate::report::Block>>;
}

/// What a plugin says of itself.
#[derive(Clone, Debug)]
pub struct Descriptor {
    inner: wire::Descriptor,
}

impl Descriptor {
    /// A plugin called `name` (`<kind>-<subject>`), usually with `env!("CARGO_PKG_VERSION")`; `summary` is one sentence.
    pub fn new(name: &str, version: &str, summary: &str) -> Self {
        Self {
            inner: wire::Descriptor {
                name: name.into(),
                version: version.into(),
                summary: summary.into(),
                metrics: Vec::new(),
                config_schema: r#"{"type":"object","additionalProperties":false}"#.into(),
                wants: Vec::new(),
                default_interval_ms: None,
                attributes: Vec::new(),
            },
        }
    }

    /// The metrics it sets. One that is missing here is refused when it is set.
    pub fn metrics(mut self, metrics: &[&dyn Metric]) -> Self {
        self.inner.metrics.extend(metrics.iter().map(|m| m.def().to_wire()));
        self
    }

    /// JSON Schema of [`Plugin::Config`]: the host checks the config against it and shows its descriptions. Usually
    /// `include_str!("../config.schema.json")`.
    pub fn config_schema(mut self, schema: &str) -> Self {
        self.inner.config_schema = schema.into();
        self
    }

    /// A grant it would like to have, as shown when it is installed: `want("system", "cpu")`. Grants nothing.
    pub fn want(mut self, capability: &str, value: &str) -> Self {
        self.inner.wants.push(Attribute { key: capability.into(), value: value.into() });
        self
    }

    /// How often to ask it when the config says nothing, in milliseconds.
    pub fn default_interval_ms(mut self, ms: u32) -> Self {
        self.inner.default_interval_ms = Some(ms);
        self
    }

    /// An extension point: keys are documented with the host.
    pub fn attribute(mut self, key: &str, value: &str) -> Self {
        self.inner.attributes.push(Attribute { key: key.into(), value: value.into() });
        self
    }

    /// As it crosses the boundary; tests look at it.
    pub fn into_wire(self) -> wire::Descriptor {
        self.inner
    }
}
