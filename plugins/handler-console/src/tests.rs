use super::*;
use belfry_sdk::testing::Host;
use belfry_sdk::{Alert, Document, Label};

fn labels(pairs: &[(&str, &str)]) -> Vec<Label> {
    pairs.iter().map(|(n, v)| Label { name: (*n).into(), value: (*v).into() }).collect()
}

fn alert(status: &str, severity: &str) -> Alert {
    Alert {
        fingerprint: "1".into(),
        rule: "High CPU".into(),
        status: status.into(),
        severity: severity.into(),
        labels: labels(&[("alertname", "High CPU"), ("core", "3"), ("severity", severity)]),
        annotations: labels(&[("summary", "core 3\nis busy")]),
        value: 97.123456,
        started: 0,
        ended: None,
        url: String::new(),
    }
}

fn group(alerts: Vec<Alert>) -> AlertGroup {
    AlertGroup {
        dedup_key: "k".into(),
        status: "firing".into(),
        channel: "ops".into(),
        group_labels: labels(&[("alertname", "High CPU")]),
        common_labels: Vec::new(),
        common_annotations: Vec::new(),
        alerts,
        truncated: 0,
        attempt: 1,
        repetition: 0,
        previous_receipt: None,
        external_url: String::new(),
        attributes: Vec::new(),
    }
}

fn delivered(group: AlertGroup, config: &str) -> Vec<(Level, String)> {
    let host = Host::new();
    host.configure::<Console>(config).unwrap().deliver(group).unwrap();
    host.logs()
}

#[test]
fn a_group_is_a_head_and_a_line_for_each_alert() {
    let lines = delivered(group(vec![alert("firing", "critical"), alert("resolved", "warning")]), "{}");
    assert_eq!(
        lines,
        [
            (Level::Error, r#"alerts to ops: 1 firing, 1 resolved of alertname="High CPU""#.to_owned()),
            (Level::Error, r#"  CRITICAL High CPU: core 3 is busy (value 97.12) {core="3"}"#.to_owned()),
            (Level::Info, r#"  RESOLVED High CPU: core 3 is busy (value 97.12) {core="3"}"#.to_owned()),
        ]
    );
}

#[test]
fn a_flood_is_counted_instead_of_written() {
    let mut flood = group(vec![alert("firing", "warning"); 50]);
    flood.truncated = 7;
    let lines = delivered(flood, r#"{"max_alerts": 2, "labels": false}"#);
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[3].1, "  and 55 more");
}

#[test]
fn a_report_names_its_files() {
    let host = Host::new();
    let report = Report {
        name: "daily".into(),
        title: "Daily summary".into(),
        start: 0,
        end: 1,
        summary: "Daily summary\n2 alerts\n".into(),
        documents: vec![Document { media_type: "text/html".into(), file_name: "daily.html".into(), data: vec![0; 9] }],
        url: "http://127.0.0.1:8089/reports/1".into(),
        attributes: Vec::new(),
    };
    host.configure::<Console>("").unwrap().deliver_report(report).unwrap();
    let lines: Vec<_> = host.logs().into_iter().map(|(_, line)| line).collect();
    assert_eq!(
        lines,
        [
            "report Daily summary",
            "  2 alerts",
            "  daily.html (text/html, 9 bytes)",
            "  http://127.0.0.1:8089/reports/1"
        ]
    );
}

#[test]
fn unknown_keys_fail() {
    let error = Host::new().configure::<Console>(r#"{"colour": true}"#).unwrap_err();
    assert_eq!(error.code(), "config");
    assert!(error.message().contains("colour"), "{error}");
}

#[test]
fn the_schema_and_the_config_agree() {
    let schema = belfry_sdk::serde_json::from_str(include_str!("../config.schema.json")).unwrap();
    let defaults = belfry_sdk::testing::schema_defaults(&schema);
    let config: Config = belfry_sdk::serde_json::from_value(defaults).unwrap();
    assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
}
