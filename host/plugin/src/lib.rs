//! Plugins: WebAssembly components, sandboxed, limited, swapped while running.
//!
//! Invariant: a guest gets exactly what its grants say; whatever it does, its neighbours keep their schedule.
//! Not here: when a plugin is called (`ingest`, `notify`, `reports` decide), what becomes of its samples.
//! `wasmtime` appears in no other crate.
//!
//! A [`Runtime`] loads a [`Plugin`] from a [`PluginSpec`]: `inspect` → `compile` (through `cache`) → `component` →
//! `prepared` → `instance`. From then on the `actor` task owns the instance, and `calls` are made through it.

mod actor;
mod bindings;
mod breaker;
mod budget;
mod cache;
mod calls;
mod capabilities;
mod compile;
mod component;
mod config_grants;
mod convert;
mod engine;
mod error;
mod inspect;
mod instance;
mod limiter;
mod plugin;
mod precompiled;
mod prepared;
mod runtime;
mod services;
mod spec;
mod state;
mod status;

pub use calls::{AlertGroupInput, AlertInput, Health, Identity, Receipt, ReportInput};
pub use capabilities::http::{HttpSettings, Resolve, TraceProvider};
pub use capabilities::log::LogLine;
pub use capabilities::mail::{SmtpSettings, SmtpTls};
pub use compile::{CompileMode, compile_main};
pub use error::{CallError, LoadError};
pub use inspect::{CONTRACT_VERSION, ComponentInfo, Kind, inspect};
pub use plugin::Plugin;
pub use prepared::Descriptor;
pub use runtime::{Builtins, FindBuiltin, Runtime, RuntimeConfig};
pub use services::{AlertEpisode, HostServices, KvStore, QueryPoints, QueryService, SeriesOpener};
pub use spec::{ComponentSource, Grants, Limits, PluginSpec, Secret};
pub use status::{PluginState, PluginStatus};
