//! What is asked of which version. That the answers are right is shown with a real server (tests/e2e/remote_influx).

use std::sync::Mutex;

use belfry_model::TimestampMs;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::influx::{Influx, InfluxConfig};
use belfry_client::{Auth, ClientOptions, Secret};

/// What was asked: the method, the statement, and the whole head.
type Asked = Arc<Mutex<Vec<(String, String, String)>>>;

/// Answers lists with what is there, and everything else with nothing.
async fn server() -> (Url, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("its address"));
    let asked = Asked::default();
    let log = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let log = log.clone();
            tokio::spawn(async move {
                while let Some((head, body)) = request(&mut stream).await {
                    let pairs = if body.is_empty() { query(&head) } else { body };
                    let pairs = url::form_urlencoded::parse(pairs.as_bytes());
                    let statement = pairs.filter(|(k, _)| k == "q").map(|(_, v)| v.into_owned()).collect::<String>();
                    let answer = answer(&statement);
                    let method = head.split(' ').next().unwrap_or("").to_owned();
                    log.lock().expect("no panic holds it").push((method, statement, head));
                    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}", answer.len());
                    stream.write_all(answer.as_bytes()).await.ok();
                }
            });
        }
    });
    (url.parse().expect("an address"), asked)
}

fn query(head: &str) -> String {
    let target = head.split(' ').nth(1).unwrap_or("");
    target.split_once('?').map_or(String::new(), |(_, q)| q.to_owned())
}

async fn request(stream: &mut tokio::net::TcpStream) -> Option<(String, String)> {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|l| l.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |n| n.parse().expect("a number")) {
                return Some((head.to_owned(), body.to_owned()));
            }
        }
        let mut buf = [0; 4096];
        let n = stream.read(&mut buf).await.ok().filter(|n| *n > 0)?;
        read.extend_from_slice(&buf[..n]);
    }
}

fn answer(statement: &str) -> &'static str {
    match statement.split(" FROM").next() {
        Some("SHOW MEASUREMENTS") => {
            r#"{"results":[{"series":[{"name":"measurements","columns":["name"],"values":[["m1"],["m2"],["other"]]}]}]}"#
        }
        Some(s) if s.starts_with("SELECT COUNT") => {
            r#"{"results":[{"series":[{"name":"m1","tags":{"a":"x"},"columns":["time","count"],"values":[[0,1]]}]}]}"#
        }
        _ => r#"{"results":[{"statement_id":0}]}"#,
    }
}

fn reader(url: Url, place: Place) -> Arc<dyn SeriesRead> {
    let timeout = Duration::from_secs(30);
    let auth = Auth::Token { kind: String::new(), token: Secret::Text("secret".into()) };
    let http = ClientOptions { auth, ..ClientOptions::default() };
    let config = InfluxConfig { url, place, http, write_timeout: timeout, read_timeout: timeout };
    crate::engine::Engine::reader(&Influx::new(config).expect("an engine"))
}

fn range() -> TimeRange {
    TimeRange::new(TimestampMs(0), TimestampMs(1000)).expect("a range")
}

fn statements(asked: &Asked) -> Vec<String> {
    std::mem::take(&mut *asked.lock().expect("no panic holds it")).into_iter().map(|(_, s, _)| s).collect()
}

const WITHIN: &str = "time >= '1970-01-01T00:00:00.000Z' AND time < '1970-01-01T00:00:01.000Z'";

#[tokio::test]
async fn a_select_asks_for_the_range_and_what_the_version_understands() {
    let matchers = [r#"__name__=~"m.""#, r#"a="x""#, r#"b!="y""#].map(|m| m.parse().expect("a matcher"));
    let fields = r#"SELECT "value","special","histogram","start" FROM "m1","m2" WHERE"#;
    for (place, conditions, database, token) in [
        (
            Place::V2 { org: "o".into(), bucket: "b".into(), database: None },
            r#""a" = 'x' AND "b" != 'y' AND"#,
            "db=b&",
            "authorization: Token secret",
        ),
        (Place::V3 { database: "d".into() }, r#""a" = 'x' AND"#, "db=d&", "authorization: Bearer secret"),
    ] {
        let (url, asked) = server().await;
        let reader = reader(url, place);
        let found = reader.select(&matchers, range(), &SelectHints::default(), SelectLimits::default()).await;
        assert!(found.expect("an answer").series.is_empty());
        let heads: Vec<_> = asked.lock().expect("no panic holds it").iter().map(|(_, _, head)| head.clone()).collect();
        assert!(heads.iter().all(|h| h.contains(database) && h.contains(token)), "{heads:?}");
        assert!(heads.iter().all(|h| h.contains("epoch=ms&chunked=true")), "{heads:?}");
        let select = format!("{fields} {conditions} {WITHIN} GROUP BY *");
        assert_eq!(statements(&asked), ["SHOW MEASUREMENTS".to_owned(), select]);
    }
}

#[tokio::test]
async fn version_3_lists_series_by_their_points_and_tags_within_the_range() {
    let (url, asked) = server().await;
    let reader = reader(url, Place::V3 { database: "d".into() });
    let matchers = [Matcher::equal(METRIC_NAME, "m1"), r#"a!="y""#.parse().expect("a matcher")];
    let series = reader.series(&matchers, range(), 0).await.expect("an answer");
    assert_eq!(series, [Labels::from_pairs([(METRIC_NAME, "m1"), ("a", "x")])]);
    let counts = r#"SELECT COUNT("value"),COUNT("special"),COUNT("histogram") FROM "m1" WHERE"#;
    assert_eq!(statements(&asked), [format!("{counts} {WITHIN} GROUP BY *")]);

    reader.label_values("time", &matchers[..1], range(), 0).await.expect("an answer");
    let values = format!("SHOW TAG VALUES FROM \"m1\" WITH KEY = \"␦time\" WHERE {WITHIN}");
    assert_eq!(statements(&asked), [values]);
}

#[tokio::test]
async fn a_long_statement_goes_into_the_body() {
    let (url, asked) = server().await;
    let reader = reader(url, Place::V1 { database: "d".into(), retention_policy: Some("rp".into()) });
    let long = "x".repeat(ADDRESS_BYTES_MAX);
    let matchers = [Matcher::equal(METRIC_NAME, "m1"), Matcher::equal("a", long.as_str())];
    reader.series(&matchers, range(), 0).await.expect("an answer");
    let (method, statement, head) = asked.lock().expect("no panic holds it")[0].clone();
    assert_eq!((method.as_str(), statement), ("POST", format!("SHOW SERIES FROM \"m1\" WHERE \"a\" = '{long}'")));
    assert!(head.starts_with("POST /query?db=d&rp=rp&epoch=ms&"), "{head}");
}
