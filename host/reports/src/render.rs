//! One report, three formats.
//!
//! Invariant: nothing a plugin wrote becomes markup, a script, or a spreadsheet's formula; the same report gives the
//! same bytes.

mod chart;
mod csv;
mod html;
mod json;
mod markdown;
mod number;
mod when;

use belfry_model::report::{Block, Cell, Document, Report};

use crate::Format;
use when::Zone;

/// Rows of a table that are shown; what is left out is said.
pub const TABLE_ROWS_MAX: usize = 5_000;
/// Lines of a chart that are drawn; what is left out is said.
pub const CHART_SERIES_MAX: usize = 24;

/// Renders each format once, in the order asked for.
pub fn render(report: &Report, formats: &[Format]) -> Vec<Document> {
    let mut done: Vec<Format> = Vec::new();
    let mut documents = Vec::new();
    for format in formats {
        if done.contains(format) {
            continue;
        }
        done.push(*format);
        let (media_type, extension, data) = match format {
            Format::Html => ("text/html", "html", html::render(report)),
            Format::Json => ("application/json", "json", json::render(report)),
            Format::Csv => ("text/csv", "csv", csv::render(report)),
        };
        documents.push(Document {
            media_type: media_type.to_owned(),
            file_name: format!("{}.{extension}", file_stem(report)),
            data: data.into_bytes(),
        });
    }
    documents
}

/// A few lines of plain text for channels that show no documents.
pub fn summary(report: &Report) -> String {
    let zone = Zone::new(&report.time_zone);
    let mut out = format!("{}\n{}\n", report.title, zone.period(report.start, report.end));
    if let Some(due) = report.made_up_for {
        out.push_str(&format!("Made up later: it was due {}.\n", zone.minute(due)));
    }
    for section in &report.sections {
        match &section.outcome {
            Err(why) => out.push_str(&format!("{}: not written: {why}\n", section.title)),
            Ok(blocks) => {
                let stats = blocks.iter().filter_map(|b| match b {
                    Block::Stats(stats) => Some(stats),
                    _ => None,
                });
                let stats: Vec<String> = stats
                    .flatten()
                    .map(|s| format!("{} {}", s.title, number::with_unit(s.value, s.unit.as_deref())))
                    .collect();
                if !stats.is_empty() {
                    out.push_str(&format!("{}: {}\n", section.title, stats.join(", ")));
                }
            }
        }
    }
    out
}

/// The report's name and day, safe as a file name.
fn file_stem(report: &Report) -> String {
    /// Longer names are cut: file systems take 255 bytes.
    const NAME_CHARS_MAX: usize = 80;
    let name: String = report
        .name
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(NAME_CHARS_MAX)
        .collect();
    let name = name.split('-').filter(|p| !p.is_empty()).collect::<Vec<_>>().join("-");
    let name = if name.is_empty() { "report" } else { &name };
    format!("{name}-{}", Zone::new(&report.time_zone).file_stamp(report.end))
}

/// A cell as text for people.
fn cell_text(cell: &Cell, unit: Option<&str>, zone: &Zone) -> String {
    match cell {
        Cell::Empty => String::new(),
        Cell::Text(t) | Cell::Status(t) => t.clone(),
        Cell::Number(n) => number::with_unit(*n, unit),
        Cell::Time(t) => zone.second(*t),
        Cell::DurationMs(ms) => number::seconds(*ms as f64 / 1000.0),
    }
}

/// Rows of a block of a kind that this version does not know: its JSON, flattened.
fn flatten_json(text: &str) -> Vec<(String, String)> {
    fn walk(path: &str, value: &serde_json::Value, out: &mut Vec<(String, String)>) {
        if out.len() >= TABLE_ROWS_MAX {
            return;
        }
        let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        match value {
            serde_json::Value::Object(map) => map.iter().for_each(|(k, v)| walk(&below(k), v, out)),
            serde_json::Value::Array(items) => {
                items.iter().enumerate().for_each(|(i, v)| walk(&below(&i.to_string()), v, out));
            }
            serde_json::Value::String(s) => out.push((path.to_owned(), s.clone())),
            other => out.push((path.to_owned(), other.to_string())),
        }
    }
    let mut out = Vec::new();
    match serde_json::from_str(text) {
        Ok(value) => walk("", &value, &mut out),
        Err(_) => out.push((String::new(), text.to_owned())),
    }
    out
}

#[cfg(test)]
mod tests;
