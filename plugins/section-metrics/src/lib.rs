//! Numbers and charts of a report's period, compared with the period before.
//!
//! Invariant: a panel whose query fails or finds nothing says so and stops no other.
//! Not here: drawing (the host makes HTML, JSON and CSV from the blocks).

mod config;
mod summary;

use belfry_sdk::prelude::*;
use belfry_sdk::report::{Block, Cell, Chart, SectionRequest, Series, Stat, Table};

use config::{Config, Panel};
use summary::{Line, Period};

/// Rows of the table; the rest are counted.
const ROWS_MAX: usize = 200;

/// The section.
#[derive(Debug)]
pub struct Metrics(Config);

impl Plugin for Metrics {
    type Config = Config;

    fn describe() -> Descriptor {
        Descriptor::new(
            "section-metrics",
            env!("CARGO_PKG_VERSION"),
            "Numbers and charts of the period, compared with the one before.",
        )
        .config_schema(include_str!("../config.schema.json"))
        .want("query", "every series its queries read")
    }

    fn configure(config: Config) -> Result<Self> {
        Ok(Self(config))
    }
}

/// One panel's answers.
struct Answered<'a> {
    panel: &'a Panel,
    lines: Vec<Line>,
    hidden: usize,
}

impl ReportSection for Metrics {
    fn render(&mut self, request: SectionRequest) -> Result<Vec<Block>> {
        let config = Config::of_request(&self.0, &request.parameters)?;
        let period = Period::new(request.previous_start, request.start, request.end)
            .ok_or_else(|| Error::config("the period is empty"))?;
        let (overview, panels) = match &config.panels[..] {
            [] => (true, config::overview()),
            panels => (false, panels.to_vec()),
        };
        let mut answered = Vec::new();
        let mut notes = Vec::new();
        for panel in &panels {
            match ask(panel, &period) {
                // What the overview offers is not measured everywhere.
                Ok(a) if a.lines.is_empty() && overview => {}
                Ok(a) if a.lines.is_empty() => notes.push(format!("- {}: no data in this period", panel.title())),
                Ok(a) => answered.push(a),
                Err(e) if e.is_denied() => return Err(e),
                Err(e) => notes.push(format!("- {}: {e}", panel.title())),
            }
        }
        if answered.is_empty() && notes.is_empty() {
            notes.push("No data in this period.".to_owned());
        }
        Ok(blocks(&config, &answered, notes))
    }
}

fn ask<'a>(panel: &'a Panel, period: &Period) -> Result<Answered<'a>> {
    let now = query::range(&panel.query, period.start, period.end, period.step_ms)?;
    let before = query::range(&panel.query, period.previous_start, period.start, period.step_ms)?;
    let mut lines = summary::lines(now, &before, period);
    let hidden = lines.len().saturating_sub(panel.max_series);
    lines.truncate(panel.max_series);
    Ok(Answered { panel, lines, hidden })
}

fn blocks(config: &Config, answered: &[Answered<'_>], notes: Vec<String>) -> Vec<Block> {
    let mut blocks = Vec::new();
    if config.stats {
        let stats: Vec<Stat> = answered.iter().filter_map(stat).collect();
        if !stats.is_empty() {
            blocks.push(Block::Stats(stats));
        }
    }
    if config.table && !answered.is_empty() {
        blocks.push(Block::Table(table(answered)));
    }
    if config.charts {
        blocks.extend(answered.iter().map(chart).map(Block::Chart));
    }
    let hidden = answered.iter().filter(|a| a.hidden > 0);
    let notes: Vec<String> =
        notes.into_iter().chain(hidden.map(|a| format!("- {}: {} more series", a.panel.title(), a.hidden))).collect();
    if !notes.is_empty() {
        blocks.push(Block::Markdown(notes.join("\n")));
    }
    blocks
}

/// A big number stands for a panel of one series.
fn stat(answered: &Answered<'_>) -> Option<Stat> {
    let [line] = &answered.lines[..] else { return None };
    Some(Stat {
        title: format!("{}, average", answered.panel.title()),
        value: line.average,
        unit: answered.panel.unit.clone(),
        previous: line.previous_average,
        status: None,
    })
}

fn table(answered: &[Answered<'_>]) -> Table {
    let columns = [
        ("Metric", None),
        ("Series", None),
        ("Unit", None),
        ("Last", None),
        ("Average", None),
        ("Maximum", None),
        ("Average before", None),
        ("Change", Some("percent")),
    ];
    let number = |v: Option<f64>| v.filter(|v| v.is_finite()).map_or(Cell::Empty, Cell::Number);
    let mut table = Table::new("Summary", &columns);
    let rows = answered.iter().flat_map(|a| a.lines.iter().map(move |line| (a.panel, line)));
    table.rows = rows
        .take(ROWS_MAX)
        .map(|(panel, line)| {
            vec![
                Cell::text(panel.title()),
                Cell::text(line.name.as_str()),
                panel.unit.clone().map_or(Cell::Empty, Cell::Text),
                number(Some(line.last)),
                number(Some(line.average)),
                number(Some(line.maximum)),
                number(line.previous_average),
                number(line.change_percent()),
            ]
        })
        .collect();
    table
}

fn chart(answered: &Answered<'_>) -> Chart {
    let series = |line: &Line| Series {
        name: if line.name.is_empty() { answered.panel.title().to_owned() } else { line.name.clone() },
        labels: line.labels.clone(),
        times: line.times.clone(),
        values: line.values.clone(),
    };
    Chart {
        title: answered.panel.title().to_owned(),
        kind: answered.panel.kind.as_str().to_owned(),
        unit: answered.panel.unit.clone(),
        series: answered.lines.iter().map(series).collect(),
        thresholds: answered.panel.thresholds.clone(),
    }
}

belfry_sdk::export!(Metrics: report_section);

#[cfg(test)]
mod tests;
