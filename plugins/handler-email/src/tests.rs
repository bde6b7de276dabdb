use super::*;
use belfry_sdk::testing::Host;
use belfry_sdk::{Alert, Document, Label};

fn labels(pairs: &[(&str, &str)]) -> Vec<Label> {
    pairs.iter().map(|(n, v)| Label { name: (*n).into(), value: (*v).into() }).collect()
}

fn alert(core: &str, status: &str) -> Alert {
    Alert {
        fingerprint: core.into(),
        rule: "High CPU".into(),
        status: status.into(),
        severity: "critical".into(),
        labels: labels(&[("alertname", "High CPU"), ("core", core)]),
        annotations: labels(&[("summary", "<script>alert(1)</script> & more"), ("description", "Look at core 0.")]),
        value: 97.5,
        started: 1_700_000_000_000,
        ended: (status != "firing").then_some(1_700_000_060_000),
        url: "javascript:alert(1)".into(),
    }
}

fn group(alerts: Vec<Alert>) -> AlertGroup {
    AlertGroup {
        dedup_key: "n1".into(),
        status: "firing".into(),
        channel: "ops".into(),
        group_labels: labels(&[("alertname", "High\r\nCPU"), ("host", "a")]),
        common_labels: Vec::new(),
        common_annotations: Vec::new(),
        alerts,
        truncated: 0,
        attempt: 1,
        repetition: 0,
        previous_receipt: None,
        external_url: "https://belfry.example/".into(),
        attributes: Vec::new(),
    }
}

fn host() -> Host {
    let host = Host::new();
    host.on_mail(Ok(()));
    host
}

const CONFIG: &str = r#"{"to": ["ops@example.org"], "cc": ["boss@example.org"], "subject_prefix": "[prod]"}"#;

#[test]
fn the_subject_says_state_count_and_what() {
    let host = host();
    let mut plugin = host.configure::<Email>(CONFIG).unwrap();
    plugin.deliver(group(vec![alert("0", "firing"), alert("1", "resolved")])).unwrap();
    plugin.deliver(group(vec![alert("0", "resolved")])).unwrap();
    let mails = host.mails();
    assert_eq!(mails[0].subject, "[prod] [FIRING:1] High CPU (host=a)");
    assert_eq!(mails[1].subject, "[prod] [RESOLVED:1] High CPU (host=a)");
    assert_eq!((mails[0].to.len(), mails[0].cc.len()), (1, 1));
    assert_eq!(mails[0].thread_key, mails[1].thread_key, "one conversation");
}

#[test]
fn text_and_html_say_the_same_and_nothing_becomes_markup() {
    let host = host();
    host.configure::<Email>(CONFIG).unwrap().deliver(group(vec![alert("0", "firing")])).unwrap();
    let mail = host.mails().remove(0);
    let html = mail.html.unwrap();
    for fact in ["2023-11-14T22:13:20.000Z", "97.5", "core=0", "Look at core 0."] {
        assert!(mail.text.contains(fact), "{fact} in {}", mail.text);
        assert!(html.contains(fact), "{fact} in {html}");
    }
    assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt; &amp; more"));
    assert!(!html.contains("<script") && !html.contains("javascript:"));
}

#[test]
fn a_flood_is_counted_instead_of_written() {
    let host = host();
    let alerts = (0..100).map(|i| alert(&i.to_string(), if i < 70 { "firing" } else { "resolved" })).collect();
    host.configure::<Email>(CONFIG).unwrap().deliver(group(alerts)).unwrap();
    let mail = host.mails().remove(0);
    assert_eq!(mail.text.matches("* High CPU").count(), 50);
    assert!(mail.text.contains("and 50 more"));
}

#[test]
fn a_report_is_in_the_mail_and_beside_it() {
    let host = host();
    let document = |media_type: &str, file_name: &str, data: &str| Document {
        media_type: media_type.into(),
        file_name: file_name.into(),
        data: data.into(),
    };
    let report = Report {
        name: "daily".into(),
        title: "Daily summary".into(),
        start: 0,
        end: 86_400_000,
        summary: "2 alerts".into(),
        documents: vec![
            document("application/json", "daily.json", "{}"),
            document("text/html", "daily.html", "<h1>Daily</h1>"),
        ],
        url: String::new(),
        attributes: Vec::new(),
    };
    host.configure::<Email>(CONFIG).unwrap().deliver_report(report).unwrap();
    let mail = host.mails().remove(0);
    assert_eq!(mail.subject, "[prod] Daily summary");
    assert_eq!(mail.html.as_deref(), Some("<h1>Daily</h1>"));
    assert_eq!(mail.attachments.len(), 2);
    assert!(mail.text.contains("2 alerts"));
}

#[test]
fn what_the_mail_server_says_decides_about_another_try() {
    let host = host();
    let busy = Error::Unavailable { message: "421 later".into(), retry_after: None };
    host.on_mail(Err(busy.clone()));
    let mut plugin = host.configure::<Email>(CONFIG).unwrap();
    assert_eq!(plugin.deliver(group(vec![alert("0", "firing")])).unwrap_err(), busy);
}
