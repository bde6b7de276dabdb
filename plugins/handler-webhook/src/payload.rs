//! The JSON that is posted.
//!
//! The alerts' form is Alertmanager's, documented under "webhook_config" in its configuration reference: receivers
//! written for it work unchanged.
//! Not here: host calls.

use std::collections::BTreeMap;

use belfry_sdk::clock::rfc3339;
use belfry_sdk::{AlertGroup, Label, Report};
use serde::Serialize;

/// What Alertmanager writes for "no end yet" (Go's zero time).
const NO_END: &str = "0001-01-01T00:00:00Z";

type Labels<'a> = BTreeMap<&'a str, &'a str>;

/// Version 4.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Alerts<'a> {
    version: &'static str,
    group_key: String,
    truncated_alerts: usize,
    status: &'a str,
    receiver: &'a str,
    group_labels: Labels<'a>,
    common_labels: Labels<'a>,
    common_annotations: Labels<'a>,
    #[serde(rename = "externalURL")]
    external_url: &'a str,
    alerts: Vec<Alert<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Alert<'a> {
    status: &'a str,
    labels: Labels<'a>,
    annotations: Labels<'a>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: &'a str,
    fingerprint: &'a str,
}

/// A finished report.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportPayload<'a> {
    version: &'static str,
    kind: &'static str,
    name: &'a str,
    title: &'a str,
    start: String,
    end: String,
    summary: &'a str,
    url: &'a str,
    documents: Vec<Document<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    media_type: &'a str,
    file_name: &'a str,
    size: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

/// Of a group; at most `max` of its alerts unless that is 0.
pub fn alerts(group: &AlertGroup, max: usize) -> Alerts<'_> {
    let sent = if max == 0 { group.alerts.len() } else { group.alerts.len().min(max) };
    Alerts {
        version: "4",
        group_key: group_key(group),
        truncated_alerts: group.alerts.len() - sent + group.truncated as usize,
        status: &group.status,
        receiver: &group.channel,
        group_labels: labels(&group.group_labels),
        common_labels: labels(&group.common_labels),
        common_annotations: labels(&group.common_annotations),
        external_url: &group.external_url,
        alerts: group.alerts[..sent].iter().map(alert).collect(),
    }
}

/// Of a report.
pub fn report(report: &Report, files: bool) -> ReportPayload<'_> {
    let document = |d: &'_ belfry_sdk::Document| files.then(|| base64(&d.data));
    ReportPayload {
        version: "1",
        kind: "report",
        name: &report.name,
        title: &report.title,
        start: rfc3339(report.start),
        end: rfc3339(report.end),
        summary: &report.summary,
        url: &report.url,
        documents: report
            .documents
            .iter()
            .map(|d| Document {
                media_type: &d.media_type,
                file_name: &d.file_name,
                size: d.data.len(),
                base64: document(d),
            })
            .collect(),
    }
}

fn alert(a: &belfry_sdk::Alert) -> Alert<'_> {
    Alert {
        status: &a.status,
        labels: labels(&a.labels),
        annotations: labels(&a.annotations),
        starts_at: rfc3339(a.started),
        ends_at: a.ended.map_or_else(|| NO_END.to_owned(), rfc3339),
        generator_url: &a.url,
        fingerprint: &a.fingerprint,
    }
}

/// The same for every notification of a group, as Alertmanager's is (unlike the dedup key, which names one of them).
fn group_key(group: &AlertGroup) -> String {
    let labels: Vec<String> = group.group_labels.iter().map(|l| format!("{}={:?}", l.name, l.value)).collect();
    format!("{}:{{{}}}", group.channel, labels.join(", "))
}

fn labels(list: &[Label]) -> Labels<'_> {
    list.iter().map(|l| (l.name.as_str(), l.value.as_str())).collect()
}

/// RFC 4648, with padding.
fn base64(data: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(data.len().div_ceil(3) * 4);
    for chunk in data.chunks(3) {
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            let six = (bits >> (18 - 6 * i)) as usize & 63;
            text.push(if i <= chunk.len() { char::from(ALPHABET[six]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_as_in_rfc_4648() {
        for (data, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(data.as_bytes()), text);
        }
    }
}
