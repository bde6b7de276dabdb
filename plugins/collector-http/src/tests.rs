use super::*;
use belfry_sdk::http::{Response, Timings, TlsFacts};
use belfry_sdk::testing::Host;

const CONFIG: &str = r#"{
    "urls": ["https://user:pw@a.example/health?token=1"],
    "targets": [
        {"name": "shop", "url": "https://shop.example/", "body_contains": "Welcome", "body_matches": "v[0-9]+"},
        {"name": "old", "url": "http://old.example/", "expect_status": [301, 410], "follow_redirects": false},
        {"name": "gone", "url": "http://gone.example/", "method": "HEAD", "timeout": "500ms"}
    ]
}"#;

fn host() -> Host {
    let host = Host::new();
    host.on_http(|request| {
        Ok(match request.url() {
            "https://shop.example/" => Response::new(200, "Welcome to v12"),
            "http://old.example/" => Response::new(301, ""),
            "http://gone.example/" => return Err(Error::Timeout("500 ms are over".into())),
            _ => Response::new(503, "busy")
                .with_timings(Timings {
                    dns_us: 1_000,
                    connect_us: 2_000,
                    tls_us: 3_000,
                    first_byte_us: 4_000,
                    total_us: 15_000,
                })
                .with_tls(TlsFacts {
                    version: "TLSv1.3".into(),
                    not_after_ms: 1_700_000_000_000 + 86_400_000,
                    subject: "CN=a".into(),
                    issuer: "CN=ca".into(),
                }),
        })
    });
    host
}

fn up(host: &Host, target: &str) -> Option<f64> {
    host.value("http_probe_up", &[("target", target)])
}

#[test]
fn each_target_is_judged_by_its_own_expectations() {
    let host = host();
    let mut plugin = host.configure::<HttpCollector>(CONFIG).unwrap();
    host.collect(&mut plugin).unwrap();
    assert_eq!(up(&host, "shop"), Some(1.0));
    assert_eq!(host.value("http_probe_body_match", &[("target", "shop")]), Some(1.0));
    assert_eq!(up(&host, "old"), Some(1.0), "a redirect that is not followed is an answer");
    assert_eq!(up(&host, "gone"), Some(0.0));
    assert_eq!(host.value("http_probe_failures_total", &[("target", "gone"), ("reason", "timeout")]), Some(1.0));
    assert_eq!(host.value("http_probe_status_code", &[("target", "gone")]), None);
}

#[test]
fn phases_and_certificate_are_measured_even_when_the_status_is_wrong() {
    let host = host();
    let mut plugin = host.configure::<HttpCollector>(CONFIG).unwrap();
    host.collect(&mut plugin).unwrap();
    let target = ("target", "https://a.example/health");
    assert_eq!(up(&host, target.1), Some(0.0));
    assert_eq!(host.value("http_probe_status_code", &[target]), Some(503.0));
    assert_eq!(host.value("http_probe_duration_seconds", &[target]), Some(0.015));
    assert_eq!(host.value("http_probe_phase_seconds", &[target, ("phase", "transfer")]), Some(0.005));
    assert_eq!(host.value("http_probe_certificate_remaining_seconds", &[target]), Some(86_400.0));
}

#[test]
fn a_body_that_does_not_match_is_down() {
    let host = host();
    let config = r#"{"targets": [{"name": "shop", "url": "https://shop.example/", "body_matches": "^Closed"}]}"#;
    let mut plugin = host.configure::<HttpCollector>(config).unwrap();
    host.collect(&mut plugin).unwrap();
    assert_eq!(up(&host, "shop"), Some(0.0));
    assert_eq!(host.value("http_probe_body_match", &[("target", "shop")]), Some(0.0));
    assert_eq!(host.value("http_probe_failures_total", &[("target", "shop"), ("reason", "body")]), Some(1.0));
}

#[test]
fn failures_begin_at_zero_and_add_up() {
    let host = host();
    let mut plugin = host.configure::<HttpCollector>(CONFIG).unwrap();
    let failures = |host: &Host| host.value("http_probe_failures_total", &[("target", "gone"), ("reason", "timeout")]);
    host.collect(&mut plugin).unwrap();
    host.collect(&mut plugin).unwrap();
    assert_eq!(failures(&host), Some(2.0));
    assert_eq!(host.value("http_probe_failures_total", &[("target", "shop"), ("reason", "status")]), Some(0.0));
}

#[test]
fn more_targets_than_a_call_has_time_for_are_said_at_the_start() {
    let host = host();
    let urls = |n: usize| (0..n).map(|i| format!("\"http://{i}.example/\"")).collect::<Vec<_>>().join(",");
    for (targets, lines) in [(8, 0), (9, 1)] {
        let before = host.logs().len();
        host.configure::<HttpCollector>(&format!(r#"{{"urls": [{}]}}"#, urls(targets))).unwrap();
        assert_eq!(host.logs().len() - before, lines, "{targets} targets");
    }
}

#[test]
fn the_request_is_as_configured() {
    let host = host();
    let mut plugin = host.configure::<HttpCollector>(CONFIG).unwrap();
    host.collect(&mut plugin).unwrap();
    let request = host.requests().into_iter().find(|r| r.url() == "http://gone.example/").unwrap();
    assert_eq!(request.method(), "HEAD");
}

#[test]
fn wrong_configs_say_what_to_do() {
    let refused = |config: &str| Host::new().configure::<HttpCollector>(config).unwrap_err().to_string();
    assert!(refused("{}").contains("set `urls` or `targets`"));
    assert!(refused(r#"{"urls": ["http://a/?x=1", "http://a/?x=2"]}"#).contains("another `name`"));
    assert!(refused(r#"{"targets": [{"url": "http://a/", "body_matches": "("}]}"#).contains("no regular expression"));
    assert!(refused(r#"{"targets": [{"url": "http://a/", "timeout": "soon"}]}"#).contains("`soon` is no duration"));
}

#[test]
fn the_schema_and_the_config_agree() {
    let schema = belfry_sdk::serde_json::from_str(include_str!("../config.schema.json")).unwrap();
    let defaults = belfry_sdk::testing::schema_defaults(&schema);
    let config: Config = belfry_sdk::serde_json::from_value(defaults).unwrap();
    assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
}
