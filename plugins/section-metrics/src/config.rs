//! The section's config: of the instance, or of one report.

use belfry_sdk::{Error, Result};
use serde::Deserialize;

/// What to show.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Read by the host; allowed here so that a report's config passes as it is.
    period: Option<String>,
    /// What to show; empty for the overview.
    pub panels: Vec<Panel>,
    /// Big numbers.
    pub stats: bool,
    /// The table.
    pub table: bool,
    /// The charts.
    pub charts: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { period: None, panels: Vec::new(), stats: true, table: true, charts: true }
    }
}

/// One query.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Panel {
    title: Option<String>,
    /// PromQL.
    pub query: String,
    /// Of its values.
    pub unit: Option<String>,
    /// How it is drawn.
    #[serde(default)]
    pub kind: Kind,
    /// Horizontal marks.
    #[serde(default)]
    pub thresholds: Vec<f64>,
    /// The most that are shown.
    #[serde(default = "ten")]
    pub max_series: usize,
}

fn ten() -> usize {
    10
}

/// How a chart is drawn.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Lines.
    #[default]
    Line,
    /// Filled.
    Area,
    /// Bars.
    Bar,
}

impl Kind {
    /// As the report's chart names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::Area => "area",
            Self::Bar => "bar",
        }
    }
}

impl Panel {
    /// Its heading.
    pub fn title(&self) -> &str {
        self.title.as_deref().unwrap_or(&self.query)
    }
}

impl Config {
    /// A report's own parameters go before the instance's config.
    pub fn of_request(instance: &Self, parameters: &str) -> Result<Self> {
        match parameters.trim() {
            "" | "{}" | "null" => Ok(instance.clone()),
            json => serde_json::from_str(json).map_err(|e| Error::config(format!("parameters: {e}"))),
        }
    }
}

/// What `collector-system` measures.
pub fn overview() -> Vec<Panel> {
    let panel = |title: &str, query: &str, unit: &str, kind| Panel {
        title: Some(title.to_owned()),
        query: query.to_owned(),
        unit: Some(unit.to_owned()),
        kind,
        thresholds: Vec::new(),
        max_series: ten(),
    };
    vec![
        panel("CPU", r#"avg(system_cpu_usage_percent{core="total"})"#, "percent", Kind::Area),
        panel("Memory", "avg(system_memory_usage_percent)", "percent", Kind::Area),
        panel("Disk space used", "max by (path) (system_disk_usage_percent)", "percent", Kind::Line),
        panel(
            "Network",
            r#"sum by (direction) (rate(system_network_traffic_bytes_total{interface!="lo"}[5m]))"#,
            "bytes_per_second",
            Kind::Line,
        ),
        panel(
            "Disk traffic",
            "sum by (direction) (rate(system_disk_io_bytes_total[5m]))",
            "bytes_per_second",
            Kind::Line,
        ),
        panel("Load (5m)", r#"max(system_load_average{period="5m"})"#, "tasks", Kind::Line),
        panel("HTTP probes up", "avg(http_probe_up) * 100", "percent", Kind::Area),
        panel("MCP probes up", "avg(mcp_probe_up) * 100", "percent", Kind::Area),
    ]
}
