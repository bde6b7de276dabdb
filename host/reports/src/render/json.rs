//! The blocks as they are, for machines. Numbers that JSON does not have are null.

use belfry_model::report::{Block, Report};
use serde_json::{Value, json};

use super::when::Zone;

/// Changes when a reader would have to.
const FORMAT: &str = "belfry-report/1";

pub(super) fn render(report: &Report) -> String {
    let sections: Vec<Value> = report
        .sections
        .iter()
        .map(|s| match &s.outcome {
            Ok(blocks) => json!({
                "title": s.title,
                "plugin": s.plugin,
                "blocks": blocks.iter().map(block).collect::<Vec<_>>(),
            }),
            Err(why) => json!({ "title": s.title, "plugin": s.plugin, "error": why }),
        })
        .collect();
    let zone = Zone::new(&report.time_zone);
    let value = json!({
        "format": FORMAT,
        "name": report.name,
        "title": report.title,
        "period": zone.period(report.start, report.end),
        "start_ms": report.start,
        "end_ms": report.end,
        "made_at_ms": report.made_at,
        "made_up_for_ms": report.made_up_for,
        "time_zone": report.time_zone,
        "sections": sections,
    });
    format!("{value:#}\n")
}

fn block(block: &Block) -> Value {
    match block {
        // What the plugin meant as JSON is given as JSON.
        Block::Other { kind, json } => {
            let content = serde_json::from_str(json).unwrap_or_else(|_| Value::String(json.clone()));
            json!({ "block": "other", "content": { "kind": kind, "json": content } })
        }
        known => serde_json::to_value(known).unwrap_or(Value::Null),
    }
}
