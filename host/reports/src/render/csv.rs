//! Tables, numbers and charts one after the other, for spreadsheets (RFC 4180).
//!
//! Invariant: every record has its fields quoted where needed; no text begins like a formula.

use belfry_model::report::{Block, Cell, Chart, Report, Table};

use super::flatten_json;
use super::when::Zone;

pub(super) fn render(report: &Report) -> String {
    let zone = Zone::new(&report.time_zone);
    let mut out = String::new();
    record(&mut out, [text("Report"), text(&report.title)]);
    record(&mut out, [text("Period"), text(&zone.period(report.start, report.end))]);
    if let Some(due) = report.made_up_for {
        record(&mut out, [text("Made up for"), text(&zone.minute(due))]);
    }
    for section in &report.sections {
        match &section.outcome {
            Err(why) => {
                head(&mut out, &section.title, "");
                record(&mut out, [text("Not written"), text(why)]);
            }
            Ok(blocks) => blocks.iter().for_each(|b| block(&mut out, &section.title, b, &zone)),
        }
    }
    out
}

/// An empty line, then the section and what follows.
fn head(out: &mut String, section: &str, title: &str) {
    out.push_str("\r\n");
    record(out, [text(section), text(title)]);
}

fn block(out: &mut String, section: &str, block: &Block, zone: &Zone) {
    match block {
        // Words have no columns.
        Block::Heading(_) | Block::Markdown(_) => {}
        Block::Stats(stats) => {
            head(out, section, "");
            record(out, ["Name", "Value", "Unit", "Previous", "Status"].map(text));
            for s in stats {
                let previous = s.previous.map(number).unwrap_or_default();
                let (unit, status) = (s.unit.as_deref().unwrap_or(""), s.status.as_deref().unwrap_or(""));
                record(out, [text(&s.title), number(s.value), text(unit), previous, text(status)]);
            }
        }
        Block::Table(t) => {
            head(out, section, &t.title);
            table(out, t, zone);
        }
        Block::Chart(c) => {
            head(out, section, &c.title);
            chart(out, c, zone);
        }
        Block::Other { kind, json } => {
            head(out, section, kind);
            flatten_json(json).iter().for_each(|(key, value)| record(out, [text(key), text(value)]));
        }
    }
}

fn table(out: &mut String, table: &Table, zone: &Zone) {
    record(
        out,
        table.columns.iter().map(|c| match &c.unit {
            Some(unit) => text(&format!("{} ({unit})", c.title)),
            None => text(&c.title),
        }),
    );
    for row in &table.rows {
        record(
            out,
            row.iter().map(|cell| match cell {
                Cell::Empty => String::new(),
                Cell::Text(t) | Cell::Status(t) => text(t),
                Cell::Number(n) => number(*n),
                Cell::Time(t) => zone.second(*t),
                Cell::DurationMs(ms) => number(*ms as f64 / 1000.0),
            }),
        );
    }
}

/// One record a point: charts of several series need not share their times.
fn chart(out: &mut String, chart: &Chart, zone: &Zone) {
    let value = match &chart.unit {
        Some(unit) => format!("Value ({unit})"),
        None => "Value".to_owned(),
    };
    record(out, [text("Series"), text("Time"), text(&value)]);
    for series in &chart.series {
        for (at, value) in series.times.iter().zip(&series.values) {
            record(out, [text(&series.name), zone.second(*at), number(*value)]);
        }
    }
}

fn record(out: &mut String, fields: impl IntoIterator<Item = String>) {
    for (i, field) in fields.into_iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        out.push_str(&field);
    }
    out.push_str("\r\n");
}

/// Gaps are empty.
fn number(value: f64) -> String {
    if value.is_nan() { String::new() } else { value.to_string() }
}

fn text(text: &str) -> String {
    // A spreadsheet would run what begins like this; the apostrophe says that it is text (OWASP, CSV injection).
    let guarded =
        if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) { format!("'{text}") } else { text.to_owned() };
    if guarded.contains([',', '"', '\n', '\r']) { format!("\"{}\"", guarded.replace('"', "\"\"")) } else { guarded }
}
