//! Reports as data: sections answer blocks, and HTML, JSON and CSV are made from the same blocks.

use serde::{Deserialize, Serialize};

use crate::labels::Labels;
use crate::time::TimestampMs;

/// One cell of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type", content = "value")]
pub enum Cell {
    /// Nothing.
    Empty,
    /// Words.
    Text(String),
    /// A number in the column's unit.
    Number(f64),
    /// An instant.
    Time(TimestampMs),
    /// A length of time.
    DurationMs(u64),
    /// `ok`, `warning`, `critical`, `unknown` or another word.
    Status(String),
}

/// Heading of a table's column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Heading.
    pub title: String,
    /// Unit of its numbers.
    pub unit: Option<String>,
}

/// Rows under headings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Caption.
    pub title: String,
    /// Headings.
    pub columns: Vec<Column>,
    /// Each as long as `columns`.
    pub rows: Vec<Vec<Cell>>,
}

/// One big number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stat {
    /// What it is.
    pub title: String,
    /// The number.
    pub value: f64,
    /// Its unit.
    pub unit: Option<String>,
    /// The period before.
    pub previous: Option<f64>,
    /// `ok`, `warning` or `critical`.
    pub status: Option<String>,
}

/// One line of a chart. `times` and `values` are of one length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChartSeries {
    /// In the legend.
    pub name: String,
    /// Where it comes from.
    pub labels: Labels,
    /// Ascending.
    pub times: Vec<TimestampMs>,
    /// NaN is a gap.
    pub values: Vec<f64>,
}

/// A chart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chart {
    /// Caption.
    pub title: String,
    /// `line`, `area` or `bar`; others are drawn as lines.
    pub kind: String,
    /// Of the values.
    pub unit: Option<String>,
    /// The lines.
    pub series: Vec<ChartSeries>,
    /// Horizontal marks.
    pub thresholds: Vec<f64>,
}

/// A piece of a section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "block", content = "content")]
pub enum Block {
    /// A heading inside the section.
    Heading(String),
    /// Text; only emphasis, code, links and lists are rendered, never HTML.
    Markdown(String),
    /// Big numbers side by side.
    Stats(Vec<Stat>),
    /// Rows.
    Table(Table),
    /// Lines.
    Chart(Chart),
    /// A kind that later hosts know; shown as a table of its JSON.
    Other {
        /// Its name.
        kind: String,
        /// Its content.
        json: String,
    },
}

/// What a section plugin is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SectionRequest {
    /// Heading of the section.
    pub title: String,
    /// The period's first instant.
    pub start: TimestampMs,
    /// The first instant after it.
    pub end: TimestampMs,
    /// Start of the period before, for comparison; it ends at `start`.
    pub previous_start: TimestampMs,
    /// IANA name.
    pub time_zone: String,
    /// BCP 47.
    pub locale: String,
    /// JSON of the section's own parameters.
    pub parameters: String,
}

/// A section as it stands in a finished report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Section {
    /// Heading.
    pub title: String,
    /// The plugin that wrote it.
    pub plugin: String,
    /// What it wrote, or why it could not.
    pub outcome: Result<Vec<Block>, String>,
}

/// A finished report, before it is rendered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Name of the `[[report]]`.
    pub name: String,
    /// For people.
    pub title: String,
    /// The period's first instant.
    pub start: TimestampMs,
    /// The first instant after it.
    pub end: TimestampMs,
    /// When it was made.
    pub made_at: TimestampMs,
    /// IANA name; times are shown in it.
    pub time_zone: String,
    /// Set when the run was missed and made up later: when it had been due.
    pub made_up_for: Option<TimestampMs>,
    /// In order.
    pub sections: Vec<Section>,
}

/// One file of a rendered report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// `text/html`, `application/json` or `text/csv`.
    pub media_type: String,
    /// With extension.
    pub file_name: String,
    /// Its bytes.
    pub data: Vec<u8>,
}
