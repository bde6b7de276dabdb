//! Grants: what is not granted is denied and the plugin is told; what is granted is granted alone.
//!
//! The guest `asks` calls each capability and pushes what it was answered as labels.
#![allow(missing_docs)]

mod common;

use std::collections::BTreeMap;

use belfry_model::TimestampMs;
use belfry_plugin::{Grants, PluginSpec, Secret};
use common::{Host, spec};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const AT: TimestampMs = TimestampMs(50_000);

/// With what has to be added to the config to have it.
const CAPABILITIES: [(&str, &str); 11] = [
    ("kv", "grants.kv"),
    ("http", "grants.http"),
    ("query", "grants.query"),
    ("mail", "grants.mail"),
    ("system/cpu", "\"cpu\" to `grants.system`"),
    ("system/memory", "\"memory\" to `grants.system`"),
    ("system/disk", "\"disk\" to `grants.system`"),
    ("system/network", "\"network\" to `grants.system`"),
    ("system/process", "\"process\" to `grants.system`"),
    ("system/sensors", "\"sensors\" to `grants.system`"),
    ("system/host", "\"host\" to `grants.system`"),
];

fn asking(url: &str) -> PluginSpec {
    let capabilities: Vec<_> = CAPABILITIES.iter().map(|(name, _)| *name).collect();
    spec("asks", json!({ "capabilities": capabilities, "url": url, "key": "{{secret.key}}" }))
}

/// What each capability answered: code and message.
async fn answers(host: &Host, spec: PluginSpec) -> BTreeMap<String, (String, String)> {
    let plugin = host.runtime.load(spec).await.expect("loads with whatever grants");
    let batch = plugin.collect(AT).await.expect("being denied is no failure");
    let answers = batch.refs.iter().map(|series| {
        let labels = host.series.labels(*series);
        let label = |name: &str| labels.get(name).unwrap_or_default().to_owned();
        (label("capability"), (label("code"), label("message")))
    });
    answers.collect()
}

/// Answers every request with its `x-key` header.
async fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            let request = String::from_utf8(request).unwrap();
            let key = request.lines().find_map(|line| line.strip_prefix("x-key: ")).unwrap_or("none").to_owned();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{key}", key.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    url
}

#[tokio::test]
async fn without_grants_every_capability_is_denied_and_says_what_to_grant() {
    let host = Host::new();
    let answers = answers(&host, asking("https://api.example.com/")).await;
    assert_eq!(answers.len(), CAPABILITIES.len());
    for (capability, fix) in CAPABILITIES {
        let (code, message) = &answers[capability];
        assert_eq!(code, "denied", "{capability}: {message}");
        assert!(message.contains(fix), "{capability}: {message}");
    }
}

#[tokio::test]
async fn what_is_granted_answers() {
    let host = Host::new();
    let url = echo().await;
    let mut spec = asking(&url);
    spec.grants = Grants {
        http: vec![url],
        system: ["cpu", "memory", "disk", "network", "process", "sensors", "host"].map(str::to_owned).to_vec(),
        query: true,
        mail: vec!["*@example.com".to_owned()],
        kv: true,
    };
    spec.secrets.insert("key".into(), Secret { value: "abcdefgh".into(), origins: Vec::new() });
    let answers = answers(&host, spec).await;
    assert_eq!(answers["kv"], ("ok".into(), "value".into()));
    assert_eq!(answers["query"], ("ok".into(), "1 series".into()));
    // The server got the secret and repeated it; the plugin did not get it.
    assert_eq!(answers["http"], ("ok".into(), "200 [redacted]".into()));
    // Granted, but this host has no mail server.
    assert_eq!(answers["mail"].0, "config");
    for (capability, _) in CAPABILITIES.iter().filter(|(name, _)| name.starts_with("system/")) {
        assert_eq!(answers[*capability], ("ok".into(), "true".into()), "{capability}");
    }
}

#[tokio::test]
async fn an_area_of_the_system_is_granted_alone() {
    let host = Host::new();
    for area in ["cpu", "memory", "disk", "network", "process", "sensors", "host"] {
        let mut spec = asking("https://api.example.com/");
        spec.name = format!("asks-{area}");
        spec.grants.system = vec![area.to_owned()];
        for (capability, (code, message)) in answers(&host, spec).await {
            let want = if capability == format!("system/{area}") { "ok" } else { "denied" };
            assert_eq!(code, want, "{capability} with {area}: {message}");
        }
    }
}

#[tokio::test]
async fn one_plugins_grants_are_not_anothers() {
    let host = Host::new();
    let mut granted = asking("https://api.example.com/");
    granted.grants.kv = true;
    assert_eq!(answers(&host, granted.clone()).await["kv"].0, "ok");
    let mut other = asking("https://api.example.com/");
    other.name = "other".into();
    assert_eq!(answers(&host, other).await["kv"].0, "denied");
}

#[tokio::test]
async fn a_grant_that_means_nothing_is_refused_when_the_plugin_is_loaded() {
    let host = Host::new();
    let mut wrong = asking("https://api.example.com/");
    wrong.grants.http = vec!["api.example.com".to_owned()];
    let error = host.runtime.load(wrong).await.unwrap_err();
    assert_eq!(error.plugin, "asks");
    assert!(error.reason.contains("`api.example.com`") && error.help.contains("https://host"), "{error}");
}
