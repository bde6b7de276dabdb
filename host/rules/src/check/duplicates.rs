//! Rules of one name and labels: promtool's lint, over all files and groups.

use std::collections::BTreeMap;

use super::{Finding, Subject};
use crate::check::Facts;
use crate::file::{Place, RuleFile, RuleKind};

/// File and finding; the first of each set is not told of.
pub(crate) fn find(files: &[RuleFile]) -> Vec<(usize, Finding)> {
    let (facts, recorded) = (Facts::default(), Default::default());
    let mut seen: BTreeMap<(String, String), (usize, Place, String)> = BTreeMap::new();
    let mut out = Vec::new();
    for (i, file) in files.iter().enumerate() {
        for group in &file.groups {
            for rule in &group.rules {
                let s = Subject { group, rule, facts: &facts, recorded: &recorded };
                let labels: Vec<String> = rule.labels_in(group).iter().map(|(n, v)| format!("{n}={v:?}")).collect();
                let key = (rule.name.as_str().to_owned(), labels.join(","));
                let query = belfry_promql::format_expr(&rule.query);
                let Some((first, at, same)) = seen.get(&key) else {
                    seen.insert(key, (i, rule.at, query));
                    continue;
                };
                let (kind, what) = match rule.kind {
                    RuleKind::Alert => ("alert", "labels"),
                    RuleKind::Record => ("recorded series", "labels"),
                };
                let where_ = if *first == i {
                    format!("line {}", at.line)
                } else {
                    format!("{} line {}", files[*first].name, at.line)
                };
                let message = if *same == query {
                    format!(
                        "the {kind} `{}` with this expression and these labels is there already, at {where_}",
                        key.0
                    )
                } else {
                    format!("the {kind} `{}` with the same {what} is there already, at {where_}", key.0)
                };
                let help = if s.is_alert() && *same != query {
                    "give one another name or a label of its own: their series may meet"
                } else {
                    "remove one of the two"
                };
                out.push((i, Finding::new(rule.name.at(), "duplicate-rule", message, help)));
            }
        }
    }
    out
}
