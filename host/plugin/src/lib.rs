//! Plugins: WebAssembly components, sandboxed, limited, swapped while running.
//!
//! Invariant: a guest gets exactly what its grants say; whatever it does, its neighbours keep their schedule.
//! Not here: when a plugin is called (`ingest`, `notify`, `reports` decide), what becomes of its samples.
//! `wasmtime` appears in no other crate.

mod bindings;
mod capabilities;
mod convert;
mod error;
mod limiter;
mod services;
mod spec;
mod state;

pub use capabilities::http::{HttpSettings, Resolve, TraceProvider};
pub use capabilities::mail::{SmtpSettings, SmtpTls};
pub use error::{CallError, LoadError};
pub use services::{AlertEpisode, HostServices, KvStore, QueryPoints, QueryService, SeriesOpener};
pub use spec::{ComponentSource, Grants, Limits, PluginSpec, Secret};
