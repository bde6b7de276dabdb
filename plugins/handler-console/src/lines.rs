//! Text of a group and of a report.
//!
//! Not here: host calls.

use belfry_sdk::log::Level;
use belfry_sdk::{Alert, AlertGroup, Label, Report};

/// One line for the group, one for each of its first `max` alerts, one for the rest.
pub fn group(group: &AlertGroup, labels: bool, max: usize) -> Vec<(Level, String)> {
    let firing = group.alerts.iter().filter(|a| a.status == "firing").count();
    let resolved = group.alerts.len() - firing;
    let mut counts = Vec::new();
    if firing > 0 {
        counts.push(format!("{firing} firing"));
    }
    if resolved > 0 {
        counts.push(format!("{resolved} resolved"));
    }
    let of = plain_labels(&group.group_labels, &[]);
    let again = if group.repetition > 0 { ", again" } else { "" };
    let head = if of.is_empty() { counts.join(", ") } else { format!("{} of {of}", counts.join(", ")) };
    let mut lines = vec![(level(&group.alerts), format!("alerts to {}: {head}{again}", group.channel))];
    lines.extend(group.alerts.iter().take(max).map(|a| (level(std::slice::from_ref(a)), alert(a, labels))));
    let more = group.alerts.len().saturating_sub(max) + group.truncated as usize;
    if more > 0 {
        lines.push((Level::Info, format!("  and {more} more")));
    }
    lines
}

/// Lines of a report's summary; more belong into the report itself.
const SUMMARY_LINES_MAX: usize = 20;

/// One line for the report, then its summary, its files and its address.
pub fn report(report: &Report) -> Vec<String> {
    let title = one_line(if report.title.is_empty() { &report.name } else { &report.title });
    let mut lines = vec![format!("report {title}")];
    // The summary begins with the title, too.
    let summary = report.summary.lines().map(one_line).filter(|line| !line.is_empty() && *line != title);
    lines.extend(summary.take(SUMMARY_LINES_MAX).map(|line| format!("  {line}")));
    lines.extend(
        report
            .documents
            .iter()
            .take(20)
            .map(|d| format!("  {} ({}, {} bytes)", one_line(&d.file_name), one_line(&d.media_type), d.data.len())),
    );
    if !report.url.is_empty() {
        lines.push(format!("  {}", report.url));
    }
    lines
}

fn alert(a: &Alert, labels: bool) -> String {
    let status = if a.status == "firing" { a.severity.to_ascii_uppercase() } else { "RESOLVED".to_owned() };
    let mut line = format!("  {status} {}", a.rule);
    let said = ["summary", "description"].into_iter().find_map(|name| value(&a.annotations, name));
    if let Some(said) = said {
        line.push_str(": ");
        line.push_str(&one_line(said));
    }
    if a.value.is_finite() {
        line.push_str(&format!(" (value {})", short(a.value)));
    }
    if labels {
        let rest = plain_labels(&a.labels, &["alertname", "severity"]);
        if !rest.is_empty() {
            line.push_str(&format!(" {{{rest}}}"));
        }
    }
    line
}

fn level(alerts: &[Alert]) -> Level {
    let bad = |a: &Alert| a.status == "firing" && matches!(a.severity.as_str(), "error" | "critical");
    if alerts.iter().any(bad) {
        Level::Error
    } else if alerts.iter().any(|a| a.status == "firing") {
        Level::Warn
    } else {
        Level::Info
    }
}

fn value<'a>(labels: &'a [Label], name: &str) -> Option<&'a str> {
    labels.iter().find(|l| l.name == name).map(|l| l.value.as_str()).filter(|v| !v.trim().is_empty())
}

fn plain_labels(labels: &[Label], without: &[&str]) -> String {
    let kept = labels.iter().filter(|l| !without.contains(&l.name.as_str()));
    kept.map(|l| format!("{}={:?}", l.name, l.value)).collect::<Vec<_>>().join(", ")
}

/// Annotations come from templates over labels: a line break in one must not make a second log line.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Four significant digits are enough for people.
fn short(value: f64) -> String {
    let digits = if value == 0.0 { 0 } else { (3 - value.abs().log10().floor() as i32).clamp(0, 9) };
    let text = format!("{value:.*}", digits as usize);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}
