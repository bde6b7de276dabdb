//! One self-contained HTML file: no script, nothing from elsewhere; a policy in the page forbids both.

use std::fmt::Write as _;

use belfry_model::report::{Block, Cell, Report, Stat, Table};

use super::number::{plain, with_unit};
use super::when::Zone;
use super::{TABLE_ROWS_MAX, cell_text, chart, flatten_json, markdown};

pub(super) const STYLE: &str = include_str!("style.css");

/// Text as text, also inside a quoted attribute. Control characters that HTML does not allow are shown as such.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            // Overrides of direction could make text look like other text.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.push('\u{fffd}'),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

pub(super) fn render(report: &Report) -> String {
    let zone = Zone::new(&report.time_zone);
    let title = escape(&report.title);
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta http-equiv=\"Content-Security-\
         Policy\" content=\"default-src &#39;none&#39;; style-src &#39;unsafe-inline&#39;\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<header>\n<h1>{title}</h1>\n<p \
         class=\"period\">{}</p>\n",
        escape(&zone.period(report.start, report.end))
    );
    if let Some(due) = report.made_up_for {
        let _ = writeln!(
            out,
            "<p class=\"notice\">Made up later: Belfry was not running when this report was due ({}).</p>",
            escape(&zone.minute(due))
        );
    }
    out.push_str("</header>\n<main>\n");
    for section in &report.sections {
        let _ = writeln!(out, "<section>\n<h2>{}</h2>", escape(&section.title));
        match &section.outcome {
            Ok(blocks) if blocks.is_empty() => out.push_str("<p class=\"none\">Nothing to report.</p>\n"),
            Ok(blocks) => blocks.iter().for_each(|b| block(&mut out, b, report, &zone)),
            Err(why) => {
                let _ = writeln!(
                    out,
                    "<p class=\"failed\"><strong>This section could not be written.</strong> {} (plugin {})</p>",
                    escape(why),
                    escape(&section.plugin)
                );
            }
        }
        out.push_str("</section>\n");
    }
    let _ = write!(
        out,
        "</main>\n<footer>Made by Belfry on {} · times in {}</footer>\n</body>\n</html>\n",
        escape(&zone.minute(report.made_at)),
        escape(&report.time_zone)
    );
    out
}

fn block(out: &mut String, block: &Block, report: &Report, zone: &Zone) {
    match block {
        Block::Heading(text) => {
            let _ = writeln!(out, "<h3>{}</h3>", escape(text));
        }
        Block::Markdown(text) => {
            let _ = write!(out, "<div class=\"text\">\n{}</div>\n", markdown::to_html(text));
        }
        Block::Stats(stats) => {
            out.push_str("<div class=\"stats\">\n");
            stats.iter().for_each(|s| stat(out, s));
            out.push_str("</div>\n");
        }
        Block::Table(t) => table(out, t, zone),
        Block::Chart(c) => out.push_str(&chart::render(c, zone, report.start, report.end)),
        Block::Other { kind, json } => {
            let _ = writeln!(out, "<div class=\"table\"><table><caption>{}</caption><tbody>", escape(kind));
            for (key, value) in flatten_json(json) {
                let _ = writeln!(out, "<tr><th>{}</th><td>{}</td></tr>", escape(&key), escape(&value));
            }
            out.push_str("</tbody></table></div>\n");
        }
    }
}

/// A word of our own for the style sheet: never the plugin's.
fn status_class(status: &str) -> &'static str {
    match status {
        "ok" | "resolved" | "healthy" | "up" => "ok",
        "warning" | "pending" | "degraded" => "warning",
        "critical" | "error" | "firing" | "failing" | "down" => "critical",
        _ => "unknown",
    }
}

fn stat(out: &mut String, stat: &Stat) {
    let class = stat.status.as_deref().map_or("", status_class);
    let unit = stat.unit.as_deref();
    let _ = write!(
        out,
        "<div class=\"stat {class}\"><div class=\"name\">{}</div><div class=\"value\">{}</div>",
        escape(&stat.title),
        escape(&with_unit(stat.value, unit))
    );
    if let Some(previous) = stat.previous.filter(|p| p.is_finite()) {
        let _ = write!(
            out,
            "<div class=\"before\">{}before: {}</div>",
            escape(&change(stat.value, previous)),
            escape(&with_unit(previous, unit)).replace(' ', "&#160;")
        );
    }
    out.push_str("</div>\n");
}

/// How much it changed, where that says something.
fn change(value: f64, previous: f64) -> String {
    let percent = (value - previous) / previous.abs() * 100.0;
    if !percent.is_finite() {
        return String::new();
    }
    if percent.abs() < 0.05 {
        return "unchanged · ".to_owned();
    }
    if percent.abs() > 999.0 {
        return String::new();
    }
    let sign = if percent > 0.0 { "▲" } else { "▼" };
    let digits = if percent.abs() >= 10.0 { percent.abs().round() } else { (percent.abs() * 10.0).round() / 10.0 };
    format!("{sign} {} % · ", plain(digits))
}

fn table(out: &mut String, table: &Table, zone: &Zone) {
    out.push_str("<div class=\"table\"><table>");
    if !table.title.is_empty() {
        let _ = write!(out, "<caption>{}</caption>", escape(&table.title));
    }
    let is_number = |i: usize| {
        let mut cells = table.rows.iter().filter_map(|r| r.get(i)).filter(|c| **c != Cell::Empty).peekable();
        cells.peek().is_some() && cells.all(|c| matches!(c, Cell::Number(_) | Cell::DurationMs(_)))
    };
    let numeric: Vec<bool> = (0..table.columns.len()).map(is_number).collect();
    let class = |i: usize| if numeric.get(i) == Some(&true) { " class=\"n\"" } else { "" };
    out.push_str("<thead><tr>");
    for (i, column) in table.columns.iter().enumerate() {
        let _ = write!(out, "<th{}>{}</th>", class(i), escape(&column.title));
    }
    out.push_str("</tr></thead><tbody>\n");
    for row in table.rows.iter().take(TABLE_ROWS_MAX) {
        out.push_str("<tr>");
        // A row of another length than the headings is cut or filled up.
        for (i, column) in table.columns.iter().enumerate() {
            let cell = row.get(i).unwrap_or(&Cell::Empty);
            let text = escape(&cell_text(cell, column.unit.as_deref(), zone));
            let _ = match cell {
                Cell::Status(s) => {
                    write!(out, "<td{}><span class=\"badge {}\">{text}</span></td>", class(i), status_class(s))
                }
                Cell::Time(_) => write!(out, "<td class=\"when\">{text}</td>"),
                _ => write!(out, "<td{}>{text}</td>", class(i)),
            };
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
    match table.rows.len() {
        0 => out.push_str("<p class=\"none\">No rows.</p>\n"),
        n if n > TABLE_ROWS_MAX => {
            let _ = writeln!(out, "<p class=\"none\">{} more rows are not shown.</p>", n - TABLE_ROWS_MAX);
        }
        _ => {}
    }
}
