use std::time::Duration;

use super::*;
use belfry_sdk::http::Response;
use belfry_sdk::testing::Host;
use belfry_sdk::{Alert, Document, Label};
use serde_json::{Value, json};

fn labels(pairs: &[(&str, &str)]) -> Vec<Label> {
    pairs.iter().map(|(n, v)| Label { name: (*n).into(), value: (*v).into() }).collect()
}

fn group() -> AlertGroup {
    let alert = |core: &str, status: &str, ended| Alert {
        fingerprint: "00ff".into(),
        rule: "High CPU".into(),
        status: status.into(),
        severity: "warning".into(),
        labels: labels(&[("alertname", "High CPU"), ("core", core)]),
        annotations: labels(&[("summary", "busy \"core\"")]),
        value: 97.0,
        started: 1_700_000_000_123,
        ended,
        url: "http://127.0.0.1:8089/alerts".into(),
    };
    AlertGroup {
        dedup_key: "k1".into(),
        status: "firing".into(),
        channel: "ops".into(),
        group_labels: labels(&[("alertname", "High CPU")]),
        common_labels: labels(&[("alertname", "High CPU")]),
        common_annotations: Vec::new(),
        alerts: vec![alert("0", "firing", None), alert("1", "resolved", Some(1_700_000_060_000))],
        truncated: 0,
        attempt: 1,
        repetition: 0,
        previous_receipt: None,
        external_url: "http://127.0.0.1:8089".into(),
        attributes: Vec::new(),
    }
}

fn webhook(host: &Host, more: &str) -> Webhook {
    host.configure(&format!(r#"{{"url": "https://hooks.example/a"{more}}}"#)).unwrap()
}

fn posted(host: &Host) -> Value {
    serde_json::from_slice(host.requests().last().unwrap().body_bytes()).unwrap()
}

#[test]
fn a_group_is_alertmanagers_version_4() {
    let host = Host::new();
    host.on_http(|_| Ok(Response::new(200, "")));
    webhook(&host, "").deliver(group()).unwrap();
    let alert = |core: &str, status: &str, ends_at: &str| {
        json!({
            "status": status,
            "labels": {"alertname": "High CPU", "core": core},
            "annotations": {"summary": "busy \"core\""},
            "startsAt": "2023-11-14T22:13:20.123Z",
            "endsAt": ends_at,
            "generatorURL": "http://127.0.0.1:8089/alerts",
            "fingerprint": "00ff",
        })
    };
    assert_eq!(
        posted(&host),
        json!({
            "version": "4",
            "groupKey": "ops:{alertname=\"High CPU\"}",
            "truncatedAlerts": 0,
            "status": "firing",
            "receiver": "ops",
            "groupLabels": {"alertname": "High CPU"},
            "commonLabels": {"alertname": "High CPU"},
            "commonAnnotations": {},
            "externalURL": "http://127.0.0.1:8089",
            "alerts": [
                alert("0", "firing", "0001-01-01T00:00:00Z"),
                alert("1", "resolved", "2023-11-14T22:14:20.000Z"),
            ],
        })
    );
}

#[test]
fn headers_keep_their_placeholders_for_the_host_to_fill() {
    let host = Host::new();
    host.on_http(|_| Ok(Response::new(202, "")));
    let config = r#", "headers": {"authorization": "Bearer {{secret.token}}"}"#;
    let receipt = webhook(&host, config).deliver(group()).unwrap();
    let request = host.requests().pop().unwrap();
    assert_eq!(request.header_value("Authorization"), Some("Bearer {{secret.token}}"));
    assert_eq!(request.header_value("idempotency-key"), Some("k1"));
    assert_eq!(receipt.note.as_deref(), Some("status 202"));
}

#[test]
fn the_status_says_whether_to_try_again() {
    let host = Host::new();
    let answer = |status: u16| {
        host.on_http(move |_| Ok(Response::new(status, "no").with_header("retry-after", "30")));
        webhook(&host, "").deliver(group()).unwrap_err()
    };
    assert!(answer(500).is_retryable());
    let Error::Unavailable { retry_after, .. } = answer(429) else { panic!("429 is retryable") };
    assert_eq!(retry_after, Some(Duration::from_secs(30)));
    assert_eq!(answer(404), Error::Rejected("status 404: no".into()));
    assert!(!answer(302).is_retryable());
}

#[test]
fn alerts_past_the_maximum_are_counted() {
    let host = Host::new();
    host.on_http(|_| Ok(Response::new(200, "")));
    webhook(&host, r#", "max_alerts": 1"#).deliver(group()).unwrap();
    assert_eq!(posted(&host)["alerts"].as_array().unwrap().len(), 1);
    assert_eq!(posted(&host)["truncatedAlerts"], 1);
}

#[test]
fn a_report_goes_with_its_files() {
    let host = Host::new();
    host.on_http(|_| Ok(Response::new(200, "")));
    let report = Report {
        name: "daily".into(),
        title: "Daily".into(),
        start: 0,
        end: 86_400_000,
        summary: "quiet".into(),
        documents: vec![Document {
            media_type: "text/csv".into(),
            file_name: "daily.csv".into(),
            data: b"foobar".to_vec(),
        }],
        url: String::new(),
        attributes: Vec::new(),
    };
    webhook(&host, "").deliver_report(report.clone()).unwrap();
    let file = &posted(&host)["documents"][0];
    assert_eq!(*file, json!({"mediaType": "text/csv", "fileName": "daily.csv", "size": 6, "base64": "Zm9vYmFy"}));
    webhook(&host, r#", "report_files": false"#).deliver_report(report).unwrap();
    assert!(posted(&host)["documents"][0].get("base64").is_none());
}
