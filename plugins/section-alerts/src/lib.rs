//! What fired in a report's period: how much, how long, and what still does.
//!
//! Invariant: an episode that overlaps the period is counted once, and its time only as far as it lies in the period.
//! Not here: drawing (the host makes HTML, JSON and CSV from the blocks).

mod episodes;

use belfry_sdk::prelude::*;
use belfry_sdk::report::{Block, Cell, SectionRequest, Stat, Table};

use episodes::Episode;

/// What to show: of the instance, or of one report.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Read by the host; allowed here so that a report's config passes as it is.
    period: Option<String>,
    /// Only these; all when empty.
    pub severities: Vec<String>,
    /// Episodes in the table.
    pub max_rows: usize,
    /// Those, too, that ended before they fired.
    pub pending: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { period: None, severities: Vec::new(), max_rows: 100, pending: false }
    }
}

/// The section.
#[derive(Debug)]
pub struct Alerts(Config);

impl Plugin for Alerts {
    type Config = Config;

    fn describe() -> Descriptor {
        Descriptor::new(
            "section-alerts",
            env!("CARGO_PKG_VERSION"),
            "What fired in the period: by severity, by rule, the longest, and what still does.",
        )
        .config_schema(include_str!("../config.schema.json"))
        .want("query", "the alerts' history")
    }

    fn configure(config: Config) -> Result<Self> {
        Ok(Self(config))
    }
}

impl ReportSection for Alerts {
    fn render(&mut self, request: SectionRequest) -> Result<Vec<Block>> {
        let config = match request.parameters.trim() {
            "" | "{}" | "null" => self.0.clone(),
            json => serde_json::from_str(json).map_err(|e| Error::config(format!("parameters: {e}")))?,
        };
        let within = |start, end| -> Result<Vec<Episode>> {
            Ok(episodes::within(query::alerts(start, end)?, start, end, &config.severities, config.pending))
        };
        let now = within(request.start, request.end)?;
        let before = within(request.previous_start, request.start)?;
        let mut blocks = vec![Block::Stats(stats(&now, &before))];
        if now.is_empty() {
            blocks.push(Block::Markdown("No alert fired in this period.".into()));
            return Ok(blocks);
        }
        let still: Vec<&Episode> = now.iter().filter(|e| e.still_firing()).collect();
        if !still.is_empty() {
            blocks.push(Block::Table(episode_table("Still firing", &still, config.max_rows)));
        }
        blocks.push(Block::Table(rule_table(&now)));
        blocks.push(Block::Table(episode_table("Episodes", &now.iter().collect::<Vec<_>>(), config.max_rows)));
        if now.len() > config.max_rows {
            blocks.push(Block::Markdown(format!("and {} more episodes", now.len() - config.max_rows)));
        }
        Ok(blocks)
    }
}

fn stats(now: &[Episode], before: &[Episode]) -> Vec<Stat> {
    let plain = |title: &str, value: f64, previous: f64, unit: Option<&str>| Stat {
        title: title.into(),
        value,
        unit: unit.map(str::to_owned),
        previous: Some(previous),
        status: None,
    };
    let mut stats = vec![plain("Alerts", now.len() as f64, before.len() as f64, None)];
    for severity in episodes::SEVERITIES {
        let count = |list: &[Episode]| list.iter().filter(|e| e.severity == severity).count() as f64;
        let (n, previous) = (count(now), count(before));
        if n > 0.0 || previous > 0.0 {
            let status = if n == 0.0 { "ok" } else { episodes::status(severity) };
            stats.push(Stat { status: Some(status.into()), ..plain(severity, n, previous, None) });
        }
    }
    let firing = now.iter().filter(|e| e.still_firing()).count();
    let status = if firing == 0 { "ok" } else { "critical" };
    stats.push(Stat { previous: None, status: Some(status.into()), ..plain("Still firing", firing as f64, 0.0, None) });
    let longest = |list: &[Episode]| list.iter().map(|e| e.length_ms).max().unwrap_or(0) as f64 / 1000.0;
    stats.push(plain("Longest", longest(now), longest(before), Some("seconds")));
    stats
}

fn rule_table(all: &[Episode]) -> Table {
    let columns = [("Rule", None), ("Severity", None), ("Episodes", None), ("Total time", None), ("Longest", None)];
    let mut table = Table::new("By rule", &columns);
    table.rows = episodes::by_rule(all)
        .into_iter()
        .map(|rule| {
            vec![
                Cell::text(rule.name),
                Cell::Status(rule.severity.to_owned()),
                Cell::Number(rule.count as f64),
                Cell::DurationMs(rule.total_ms),
                Cell::DurationMs(rule.longest_ms),
            ]
        })
        .collect();
    table
}

fn episode_table(title: &str, episodes: &[&Episode], max_rows: usize) -> Table {
    let columns = [
        ("Rule", None),
        ("Severity", None),
        ("Labels", None),
        ("Since", None),
        ("Resolved", None),
        ("Time in period", None),
        ("Acknowledged by", None),
    ];
    let mut table = Table::new(title, &columns);
    table.rows = episodes
        .iter()
        .take(max_rows)
        .map(|e| {
            let resolved = match e.resolved {
                Some(at) => Cell::Time(at),
                None if e.fired => Cell::Status("firing".into()),
                None => Cell::Status("pending".into()),
            };
            vec![
                Cell::text(e.rule.as_str()),
                Cell::Status(e.severity.clone()),
                Cell::text(e.labels.as_str()),
                Cell::Time(e.since),
                resolved,
                Cell::DurationMs(e.length_ms),
                e.acknowledged_by.clone().map_or(Cell::Empty, Cell::Text),
            ]
        })
        .collect();
    table
}

belfry_sdk::export!(Alerts: report_section);

#[cfg(test)]
mod tests;
