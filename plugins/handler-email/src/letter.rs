//! Subject, text and HTML of a mail.
//!
//! HTML is tables and inline styles: what every mail program shows alike.
//! Not here: host calls.

use belfry_sdk::clock::rfc3339;
use belfry_sdk::{Alert, AlertGroup, Label, Report};

/// A mail's words.
#[derive(Clone, Debug, PartialEq)]
pub struct Letter {
    /// One line.
    pub subject: String,
    /// Plain.
    pub text: String,
    /// The same, for programs that show HTML.
    pub html: String,
}

/// The same for every mail about a group: its conversation.
pub fn thread(group: &AlertGroup) -> String {
    format!("{}:{}", group.channel, written(&group.group_labels, &[]))
}

/// About a group, with at most `max` of its alerts.
pub fn alerts(group: &AlertGroup, max: usize) -> Letter {
    let firing: Vec<&Alert> = group.alerts.iter().filter(|a| a.status == "firing").collect();
    let resolved: Vec<&Alert> = group.alerts.iter().filter(|a| a.status != "firing").collect();
    let (state, count) = if firing.is_empty() { ("RESOLVED", resolved.len()) } else { ("FIRING", firing.len()) };
    let subject = one_line(&format!("[{state}:{count}] {}", title(group)));

    let mut text = format!("{}\n", title(group));
    let mut html = heading(&title(group));
    let mut left = max;
    for (name, alerts) in [("Firing", &firing), ("Resolved", &resolved)] {
        if alerts.is_empty() || left == 0 {
            continue;
        }
        text.push_str(&format!("\n{name} ({})\n", alerts.len()));
        html.push_str(&format!("<h3 style=\"font-size:15px;margin:20px 0 8px\">{name} ({})</h3>", alerts.len()));
        for alert in alerts.iter().take(left) {
            text.push_str(&alert_text(alert));
            html.push_str(&alert_html(alert));
        }
        left -= alerts.len().min(left);
    }
    let more = group.alerts.len().saturating_sub(max) + group.truncated as usize;
    if more > 0 {
        text.push_str(&format!("\nand {more} more\n"));
        html.push_str(&format!("<p>and {more} more</p>"));
    }
    if !group.external_url.is_empty() {
        text.push_str(&format!("\n{}\n", group.external_url));
        html.push_str(&link(&group.external_url, "Open Belfry"));
    }
    Letter { subject, text, html: page(&html) }
}

/// About a report. Its own HTML file goes into the mail where there is one.
pub fn report(report: &Report) -> Letter {
    let title = if report.title.is_empty() { &report.name } else { &report.title };
    let period = format!("{} to {}", rfc3339(report.start), rfc3339(report.end));
    let mut text = format!("{title}\n{period}\n");
    if !report.summary.is_empty() {
        text.push_str(&format!("\n{}\n", report.summary));
    }
    if !report.url.is_empty() {
        text.push_str(&format!("\n{}\n", report.url));
    }
    let inline = report.documents.iter().find(|d| d.media_type.starts_with("text/html"));
    let html = match inline {
        Some(document) => String::from_utf8_lossy(&document.data).into_owned(),
        None => {
            let mut html = heading(title);
            html.push_str(&format!("<p>{}</p><p>{}</p>", escaped(&period), escaped(&report.summary)));
            if !report.url.is_empty() {
                html.push_str(&link(&report.url, "Open the report"));
            }
            page(&html)
        }
    };
    Letter { subject: one_line(title), text, html }
}

fn title(group: &AlertGroup) -> String {
    let name = |labels: &[Label]| labels.iter().find(|l| l.name == "alertname").map(|l| l.value.clone());
    let name = name(&group.group_labels).or_else(|| name(&group.common_labels)).or_else(|| match &group.alerts[..] {
        [only] => Some(only.rule.clone()),
        _ => None,
    });
    let rest = written(&group.group_labels, &["alertname"]);
    match (name, rest.is_empty()) {
        (Some(name), true) => name,
        (Some(name), false) => format!("{name} ({rest})"),
        (None, false) => rest,
        (None, true) => format!("alerts to {}", group.channel),
    }
}

fn annotation<'a>(alert: &'a Alert, name: &str) -> Option<&'a str> {
    let found = alert.annotations.iter().find(|l| l.name == name).map(|l| l.value.trim());
    found.filter(|text| !text.is_empty())
}

/// What there is to say, shortest first: what is measured, then what it means.
fn said(alert: &Alert) -> impl Iterator<Item = &str> {
    ["summary", "description"].into_iter().filter_map(|name| annotation(alert, name))
}

fn facts(alert: &Alert) -> Vec<(&'static str, String)> {
    let mut facts = vec![("Severity", alert.severity.clone()), ("Since", rfc3339(alert.started))];
    if let Some(ended) = alert.ended {
        facts.push(("Until", rfc3339(ended)));
    }
    if alert.value.is_finite() {
        facts.push(("Value", alert.value.to_string()));
    }
    let labels = written(&alert.labels, &["alertname", "severity"]);
    if !labels.is_empty() {
        facts.push(("Labels", labels));
    }
    facts
}

fn alert_text(alert: &Alert) -> String {
    let mut text = format!("\n* {}", alert.rule);
    for (i, said) in said(alert).enumerate() {
        text.push_str(&format!("{}{said}", if i == 0 { ": " } else { "\n  " }));
    }
    text.push('\n');
    for (name, value) in facts(alert) {
        text.push_str(&format!("  {name}: {value}\n"));
    }
    if !alert.url.is_empty() {
        text.push_str(&format!("  {}\n", alert.url));
    }
    text
}

fn alert_html(alert: &Alert) -> String {
    let colour = match (alert.status.as_str(), alert.severity.as_str()) {
        ("firing", "critical" | "error") => "#c62828",
        ("firing", "info") => "#1565c0",
        ("firing", _) => "#b26a00",
        _ => "#2e7d32",
    };
    let mut html = format!(
        "<table role=\"presentation\" width=\"100%\" style=\"border-left:4px solid {colour};background:#f7f7f8;\
         margin:0 0 10px;border-collapse:separate\"><tr><td style=\"padding:10px 14px\"><strong>{}</strong>",
        escaped(&alert.rule)
    );
    for said in said(alert) {
        html.push_str(&format!("<div style=\"margin:4px 0\">{}</div>", escaped(said)));
    }
    html.push_str("<table role=\"presentation\" style=\"font-size:13px;color:#444\">");
    for (name, value) in facts(alert) {
        html.push_str(&format!(
            "<tr><td style=\"padding:1px 12px 1px 0;color:#777;vertical-align:top\">{name}</td><td>{}</td></tr>",
            escaped(&value)
        ));
    }
    html.push_str("</table>");
    if !alert.url.is_empty() {
        html.push_str(&link(&alert.url, "Details"));
    }
    html.push_str("</td></tr></table>");
    html
}

fn heading(text: &str) -> String {
    format!("<h2 style=\"font-size:18px;margin:0 0 12px\">{}</h2>", escaped(text))
}

fn page(body: &str) -> String {
    format!(
        "<!doctype html><html><body style=\"margin:0;padding:24px;font-family:-apple-system,'Segoe UI',Roboto,Arial,\
         sans-serif;font-size:14px;color:#222;background:#fff\"><div style=\"max-width:640px\">{body}</div></body></html>"
    )
}

/// A link, unless the address could run something.
fn link(url: &str, text: &str) -> String {
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return String::new();
    }
    format!(
        "<p style=\"margin:8px 0 0\"><a href=\"{}\" style=\"color:#1565c0\">{}</a></p>",
        escaped(url),
        escaped(text)
    )
}

fn written(labels: &[Label], without: &[&str]) -> String {
    let kept = labels.iter().filter(|l| !without.contains(&l.name.as_str()));
    kept.map(|l| format!("{}={}", l.name, l.value)).collect::<Vec<_>>().join(", ")
}

/// A subject is a header: a line break in it would begin another one.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}
