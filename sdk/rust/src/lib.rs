//! Write Belfry plugins in Rust.
//!
//! A plugin is a struct with [`Plugin::describe`] and [`Plugin::configure`], one trait for each kind it has, and one
//! [`export!`] line. Series handles, label caching, JSON config and errors are taken care of.
//!
//! ```
//! use belfry_sdk::prelude::*;
//!
//! static DEPTH: Gauge = Gauge::new("queue_depth", "Messages that wait.");
//!
//! #[derive(Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Config {
//!     url: String,
//! }
//!
//! struct Queue(Config);
//!
//! impl Plugin for Queue {
//!     type Config = Config;
//!     fn describe() -> Descriptor {
//!         Descriptor::new("collector-queue", env!("CARGO_PKG_VERSION"), "Depth of a queue.")
//!             .metrics(&[&DEPTH])
//!             .config_schema(
//!                 r#"{"type": "object", "required": ["url"], "additionalProperties": false,
//!                     "properties": {"url": {"type": "string", "x-belfry-grant": "http"}}}"#,
//!             )
//!     }
//!     fn configure(config: Config) -> Result<Self> {
//!         Ok(Self(config))
//!     }
//! }
//!
//! impl Collector for Queue {
//!     fn collect(&mut self) -> Result<()> {
//!         let depths: Vec<(String, f64)> = http::get(&self.0.url).send()?.ok()?.json()?;
//!         for (name, depth) in &depths {
//!             DEPTH.with([("queue", name.as_str())]).set(*depth);
//!         }
//!         info!("read {} queues", depths.len());
//!         Ok(())
//!     }
//! }
//!
//! belfry_sdk::export!(Queue: collector);
//!
//! // Natively the host is a fake one, so plugins are tested like any other code.
//! # fn main() {
//! let host = belfry_sdk::testing::Host::new();
//! host.on_http(|_| Ok(http::Response::new(200, r#"[["mail", 3]]"#)));
//! let mut plugin = host.configure::<Queue>(r#"{"url": "https://queue.example/depths"}"#).unwrap();
//! host.collect(&mut plugin).unwrap();
//! assert_eq!(host.value("queue_depth", &[("queue", "mail")]), Some(3.0));
//! # }
//! ```
//!
//! Built for `wasm32-unknown-unknown` with the linker `wasm-component-ld` (see the plugin guide), the crate becomes a
//! component that imports only what it calls: a plugin that never calls [`http`] does not ask for it.
//!
//! Not here: anything of the host. The contract (`wit/`) is the only link between the two.

pub mod bindings;
pub mod clock;
pub mod config;
mod errors;
mod export;
mod host;
pub mod http;
pub mod kv;
pub mod log;
pub mod mail;
mod plugin;
pub mod query;
pub mod random;
pub mod report;
mod series;
pub mod system;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

#[doc(hidden)]
pub use crate::export::private as __private;
pub use errors::{Error, Result};
pub use plugin::{
    Alert, AlertGroup, AlertHandler, Collector, Descriptor, Document, Health, Identity, Label, MetricSource, Plugin,
    Receipt, Report, ReportHandler, ReportSection,
};
pub use series::{Counter, CounterSeries, Gauge, GaugeSeries, Info, LabelSet, Metric, MetricDef};

/// JSON, for plugins that read or write it.
pub use serde_json;

/// What most plugins use.
pub mod prelude {
    pub use crate::{
        AlertGroup, AlertHandler, Collector, Counter, Descriptor, Error, Gauge, Health, Identity, Info, Metric,
        MetricSource, Plugin, Receipt, Report, ReportHandler, ReportSection, Result, clock, debug, error, http, info,
        kv, mail, query, report, system, warn,
    };
    pub use serde::{Deserialize, Serialize};
}
