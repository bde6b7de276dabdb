use std::time::Duration;

use super::test_server::{Heard, Script, start};
use super::*;
use crate::bindings::belfry::plugin::mail::Attachment;
use crate::capabilities::test_tls::TestCa;

fn message(to: &[&str]) -> Message {
    Message {
        to: to.iter().map(|t| (*t).to_owned()).collect(),
        cc: Vec::new(),
        subject: "High CPU".into(),
        text: "It is high.".into(),
        html: None,
        thread_key: None,
        attachments: Vec::new(),
    }
}

fn plain(port: u16) -> SmtpSettings {
    let mut settings = SmtpSettings::new("127.0.0.1", port, "Belfry <belfry@example.com>");
    settings.tls = SmtpTls::None;
    settings
}

fn grants(grants: &[&str]) -> Vec<String> {
    grants.iter().map(|g| (*g).to_owned()).collect()
}

async fn sent(script: Script, message: Message) -> (Result<(), GuestError>, Heard) {
    let (port, heard) = start(script).await;
    let result = Mailer::new(Some(plain(port))).send(&grants(&["*@example.com"]), message).await;
    (result, heard)
}

fn text(heard: &Heard) -> String {
    heard.lock().join("\n")
}

#[test]
fn a_grant_names_an_address_a_domain_or_all() {
    let check = |grant: &str, address: &str| granted(&[grant.to_owned()], address);
    assert!(check("ops@example.com", "Ops@Example.com"));
    assert!(check("*@example.com", "anyone@EXAMPLE.com"));
    assert!(check("*", "anyone@anywhere.example"));
    assert!(!check("ops@example.com", "dev@example.com"));
    assert!(!check("*@example.com", "a@sub.example.com"));
    assert!(!check("*@example.com", "a@evilexample.com"));
    assert!(!granted(&[], "ops@example.com"));
}

#[tokio::test]
async fn a_recipient_that_is_not_granted_stops_the_message_before_any_connection() {
    let (port, heard) = start(Script::default()).await;
    let mailer = Mailer::new(Some(plain(port)));
    let mut m = message(&["ops@example.com"]);
    m.cc.push("Spy <spy@evil.example>".into());
    let error = mailer.send(&grants(&["*@example.com"]), m).await.expect_err("denied");
    assert_eq!((error.code.as_str(), error.retryable), ("denied", false));
    assert!(error.message.contains("spy@evil.example") && error.message.contains("grants.mail"), "{}", error.message);
    let error = mailer.send(&[], message(&["ops@example.com"])).await.expect_err("nothing granted");
    assert_eq!(error.code, "denied");
    assert_eq!(text(&heard), "");
}

#[tokio::test]
async fn a_message_goes_out_in_the_hosts_name_to_all_of_its_recipients() {
    let mut m = message(&["ops@example.com", "Mary <mary@example.com>"]);
    m.cc.push("cc@example.com".into());
    let (result, heard) = sent(Script::default(), m).await;
    result.expect("sent");
    let heard = text(&heard);
    for line in [
        "MAIL FROM:<belfry@example.com>",
        "RCPT TO:<ops@example.com>",
        "RCPT TO:<mary@example.com>",
        "RCPT TO:<cc@example.com>",
        "From: Belfry <belfry@example.com>",
        "Subject: High CPU",
        "Auto-Submitted: auto-generated",
        "It is high.",
    ] {
        assert!(heard.contains(line), "{line} is missing in\n{heard}");
    }
}

#[tokio::test]
async fn html_pictures_and_files_have_their_parts() {
    let mut m = message(&["ops@example.com"]);
    m.html = Some("<b>high</b> <img src=\"cid:chart\">".into());
    let attachment = |name: &str, id: Option<&str>| Attachment {
        name: name.into(),
        media_type: "text/plain".into(),
        inline_id: id.map(str::to_owned),
        data: b"data".to_vec(),
    };
    m.attachments = vec![attachment("chart.txt", Some("chart")), attachment("report.txt", None)];
    let (result, heard) = sent(Script::default(), m).await;
    result.expect("sent");
    let heard = text(&heard);
    let at = |what: &str| heard.find(what).unwrap_or_else(|| panic!("{what} is missing in\n{heard}"));
    assert!(at("multipart/mixed") < at("multipart/alternative"));
    assert!(at("multipart/alternative") < at("multipart/related"));
    assert!(at("Content-ID: <chart>") < at("filename=\"report.txt\""));
}

#[tokio::test]
async fn mails_of_one_thread_refer_to_the_same_message() {
    let referred = async |key: &str| {
        let mut m = message(&["ops@example.com"]);
        m.thread_key = Some(key.into());
        let (_, heard) = sent(Script::default(), m).await;
        let text = text(&heard);
        let line = |name: &str| text.lines().find_map(|l| l.strip_prefix(name)).map(str::to_owned).expect("header");
        assert_eq!(line("References: "), line("In-Reply-To: "));
        (line("References: "), line("Message-ID: "))
    };
    let (a, b, other) = (referred("cpu").await, referred("cpu").await, referred("disk").await);
    assert_eq!(a.0, b.0);
    assert_ne!(a.0, other.0);
    assert_ne!(a.1, b.1);
    assert!(a.0.ends_with("@example.com>") && !a.0.contains("cpu"), "{}", a.0);
}

#[tokio::test]
async fn what_a_plugin_writes_cannot_add_headers_or_recipients() {
    let mut m = message(&["ops@example.com"]);
    m.subject = "a\r\nBcc: spy@evil.example\r\n\r\nbody".into();
    let (result, heard) = sent(Script::default(), m).await;
    result.expect("sent");
    let heard = text(&heard);
    assert!(!heard.lines().any(|line| line.starts_with("Bcc:")), "{heard}");
    for bad in ["ops@example.com\r\nRCPT TO:<spy@evil.example>", "no address", "a@example.com, b@evil.example", ""] {
        let (result, heard) = sent(Script::default(), message(&[bad])).await;
        assert_eq!(result.expect_err(bad).code, "invalid", "{bad}");
        assert_eq!(text(&heard), "");
    }
    assert_eq!(sent(Script::default(), message(&[])).await.0.expect_err("nobody").code, "invalid");
}

#[tokio::test]
async fn later_is_told_from_never() {
    let run = async |script: Script| {
        let error = sent(script, message(&["ops@example.com"])).await.0.expect_err("refused");
        (error.code, error.retryable, error.message)
    };
    let (code, retryable, message) = run(Script { rcpt: Some("451 greylisted"), ..Script::default() }).await;
    assert_eq!((code.as_str(), retryable), ("unavailable", true));
    assert!(message.contains("greylisted"), "{message}");
    let (code, retryable, _) = run(Script { rcpt: Some("550 no such user"), ..Script::default() }).await;
    assert_eq!((code.as_str(), retryable), ("rejected", false));
    let (code, retryable, _) = run(Script { data: Some("554 spam"), ..Script::default() }).await;
    assert_eq!((code.as_str(), retryable), ("rejected", false));
}

#[tokio::test]
async fn a_server_that_is_not_there_may_be_there_later() {
    let unused = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = unused.local_addr().expect("address").port();
    drop(unused);
    let error =
        Mailer::new(Some(plain(port))).send(&grants(&["*"]), message(&["a@b.example"])).await.expect_err("none");
    assert_eq!((error.code.as_str(), error.retryable), ("unreachable", true), "{}", error.message);

    let (port, _) = start(Script { silent: true, ..Script::default() }).await;
    let mut settings = plain(port);
    settings.timeout = Duration::from_millis(50);
    let error = Mailer::new(Some(settings)).send(&grants(&["*"]), message(&["a@b.example"])).await.expect_err("silent");
    assert_eq!((error.code.as_str(), error.retryable), ("timeout", true), "{}", error.message);
}

#[tokio::test]
async fn the_connection_is_secured_as_the_settings_say() {
    let ca = TestCa::new();
    for (tls, implicit) in [(SmtpTls::StartTls, false), (SmtpTls::Tls, true)] {
        let script = Script { tls: Some(ca.acceptor()), implicit, auth: Some("235 ok"), ..Script::default() };
        let (port, heard) = start(script).await;
        let mut settings = plain(port);
        settings.tls = tls;
        settings.host = "localhost".into();
        settings.hello = Some("belfry.example.com".into());
        settings.credentials = Some(("belfry".into(), "hunter2hunter2".into()));
        let untrusting = Mailer::new(Some(settings.clone())).send(&grants(&["*"]), message(&["a@b.example"])).await;
        assert!(untrusting.is_err(), "a certificate of nobody's");
        assert!(!text(&heard).contains("AUTH"), "no password to a stranger");
        settings.ca_file = Some(ca.file());
        let mailer = Mailer::new(Some(settings));
        mailer.send(&grants(&["*"]), message(&["a@b.example"])).await.expect("sent");
        let heard = heard.lock();
        let tls_at = heard.iter().rposition(|line| line == "!tls").expect("TLS");
        assert!(heard[tls_at..].iter().any(|line| line.starts_with("AUTH PLAIN")));
        assert!(heard.contains(&"EHLO belfry.example.com".to_owned()));
    }
}

#[tokio::test]
async fn a_server_without_starttls_gets_nothing_when_the_settings_insist() {
    let (port, heard) = start(Script::default()).await;
    let mut settings = plain(port);
    settings.tls = SmtpTls::StartTls;
    let result = Mailer::new(Some(settings)).send(&grants(&["*"]), message(&["a@b.example"])).await;
    assert!(result.is_err());
    assert!(!text(&heard).contains("MAIL FROM"));
}

#[tokio::test]
async fn the_password_stays_here() {
    let script = Script { auth: Some("535 wrong password hunter2hunter2"), ..Script::default() };
    let (port, _) = start(script).await;
    let mut settings = plain(port);
    settings.credentials = Some(("belfry".into(), "hunter2hunter2".into()));
    assert!(!format!("{settings:?}").contains("hunter2"));
    let error =
        Mailer::new(Some(settings)).send(&grants(&["*"]), message(&["a@b.example"])).await.expect_err("refused");
    assert!(error.message.contains("535") || error.message.contains("[redacted]"), "{}", error.message);
    assert!(!error.message.contains("hunter2"), "{}", error.message);
}

#[tokio::test]
async fn without_settings_the_plugin_is_told_what_is_missing() {
    let error = Mailer::new(None).send(&grants(&["*"]), message(&["a@b.example"])).await.expect_err("none");
    assert_eq!(error.code, "config");
    assert!(error.message.contains("[smtp]"), "{}", error.message);
    let wrong = SmtpSettings::new("localhost", 25, "nobody");
    assert!(wrong.check().expect_err("no address").contains("`nobody`"));
}
