//! Config: files → spans → checked values.
//!
//! Invariant: what this crate hands out is valid; all problems of all files are reported at once, each with its place
//! and its fix. Keys, types, defaults, `config show` and the JSON schema come from one table (`keys`).
//! Not here: anything that acts on the config; a clock; the process's own environment (it is an argument).

mod import;
mod keys;
mod load;
mod overrides;
mod problem;
mod read;
mod schema;
mod show;
mod spec;
mod targets;
mod tree;
pub mod types;
mod view;

pub use import::{Imported, import_prometheus};
pub use load::{Inspect, LoadInput, Loaded, Places, Refused, SetByFlag, load_dropped};
pub use problem::{Level, Place, Problem, Problems};
pub use read::rule_files;
pub use schema::schema;
pub use targets::{target_files, targets_from_file, targets_from_json};
pub use types::{Config, LogFormat, OtlpProtocol, Telemetry};
