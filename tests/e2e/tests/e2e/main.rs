//! The built program with real peers. One binary, so that its tests run side by side; one file a topic.

mod alerts;
mod backup;
mod collect;
mod defaults;
mod disk;
mod durability;
mod hot;
mod mail;
mod mcp;
mod operate;
mod otlp;
mod prometheus_api;
mod promtool;
mod query_limits;
mod reload;
mod remote_write;
mod reports;
mod rules_cli;
mod rules_files;
mod scrape;
mod secrets;
mod side_by_side;
mod slo;

/// This machine, twice a second.
const SYSTEM: &str = r#"
[collection]
interval = "500ms"
timeout = "500ms"

[[plugin]]
name = "system"
source = "builtin:collector-system"
grants = { system = ["cpu", "memory", "disk", "network", "process", "sensors", "host"] }
"#;
