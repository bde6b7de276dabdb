//! Versions 2 and 3, of which no server can be had here.
//!
//! The writes of version 2 go to a real server all the same: VictoriaMetrics takes them, behind vmauth, which looks at the
//! token. What version 3 is asked is compared byte by byte with what InfluxData documents:
//! <https://docs.influxdata.com/influxdb3/core/write-data/http-api/v3-write-lp/>,
//! <https://docs.influxdata.com/influxdb3/core/query-data/execute-queries/influxdb-v1-api/>.

use std::io::Read as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use belfry_client::{Auth, ClientOptions, Secret};
use belfry_e2e::{Belfry, Home, Series, wait_until};
use belfry_model::{
    Labels, METRIC_NAME, Matcher, Sample, SampleBuf, SelectHints, SelectLimits, TimeRange, TimestampMs, Value,
};
use belfry_remote::engine::{Engine, SendError, Sent, SeriesSamples, Shipment};
use belfry_remote::influx::{Influx, InfluxConfig, Place};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use crate::belfry::{DELIVERED_WITHIN, noticed, now_ms};
use crate::peers::{Server, victoria_metrics, vmauth};

const TOKEN: &str = "secret-of-the-bucket";

fn config(url: &Url, token: &str) -> String {
    format!(
        "[storage]\nbackend = \"influxdb\"\n[storage.influxdb]\nurl = \"{url}\"\nversion = 2\norg = \"an org\"\n\
         bucket = \"belfry\"\ntoken = \"{token}\"\n"
    )
}

/// Ten samples of two series, the first at `start`.
async fn import(belfry: &Belfry, start: i64) {
    let line = |n: i64, of: &str| format!("sent{{of=\"{of}\"}} {}.25 {}\n", n * of.len() as i64, start + n * 1000);
    let text: String = (0..10).flat_map(|n| [line(n, "a b"), line(n, "c,d=\\\\e")]).collect();
    belfry.ask("POST", "/api/v1/import/prometheus", &[], text).await.expect(200);
}

async fn there(server: &Server) -> Vec<Series> {
    let answer = server.get("api/v1/query", &[("query", "sent_value[3h]"), ("latency_offset", "1ms")]).await;
    let json: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    Series::of(&json["data"])
}

#[tokio::test]
async fn version_2_with_its_token_brings_everything_in_the_end_though_the_token_was_wrong_at_first() {
    let Some(server) = victoria_metrics().await else { return };
    let Some(guard) = vmauth(TOKEN, &server.url()).await else { return };
    let url = guard.url().join("influx").expect("an address");
    let home = Home::new(&config(&url, "another"));
    let belfry = home.start().await;
    let start = now_ms() / 1000 * 1000 - 3_600_000;
    import(&belfry, start).await;
    noticed(&belfry).await;
    assert_eq!(there(&server).await, []);
    belfry.get("/ready").await.expect(200);
    belfry.kill().await;

    home.configure(&config(&url, TOKEN));
    let belfry = home.start().await;
    import(&belfry, start + 10_000).await;
    let found = wait_until("all samples are there", DELIVERED_WITHIN, async || {
        let found = there(&server).await;
        (found.iter().map(|s| s.samples.len()).sum::<usize>() == 40).then_some(found)
    })
    .await;
    // A backslash is written as another character: no line of the protocol can have it everywhere.
    for (of, times) in [("a b", 3), ("c,d=⧵e", 7)] {
        let series = found.iter().find(|s| s.labels["of"] == of).unwrap_or_else(|| panic!("{of} in {found:?}"));
        let expected = |n: i64| (start + n * 1000, ((n % 10) * times) as f64 + 0.25);
        assert_eq!(series.samples, (0..20).map(expected).collect::<Vec<_>>(), "{of}");
    }
}

/// What was asked: the first line, the headers in order of their names, the body unpacked.
type Asked = Arc<Mutex<Vec<(String, Vec<String>, String)>>>;

/// Answers each request in turn with one of these: a status, a body.
async fn server(answers: &'static [(&'static str, &'static str)]) -> (Url, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("its address"));
    let asked = Asked::default();
    let seen = asked.clone();
    tokio::spawn(async move {
        for (status, body) in answers {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let request = request(&mut stream).await;
            seen.lock().expect("no panic holds it").push(request);
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            stream.write_all(format!("{head}{body}").as_bytes()).await.expect("the answer is taken");
        }
    });
    (url.parse().expect("an address"), asked)
}

async fn request(stream: &mut TcpStream) -> (String, Vec<String>, String) {
    let mut read = Vec::new();
    let (head, length) = loop {
        let mut buf = [0; 4096];
        let n = stream.read(&mut buf).await.expect("a request");
        assert!(n > 0, "it ends before it is whole");
        read.extend_from_slice(&buf[..n]);
        let Some(head) = read.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
        let text = String::from_utf8(read[..head].to_vec()).expect("text");
        let length = text.lines().find_map(|l| l.strip_prefix("content-length: "));
        let length = head + 4 + length.map_or(0, |n| n.parse::<usize>().expect("a number"));
        if read.len() >= length {
            assert_eq!(read.len(), length, "nothing comes behind the body");
            break (text, head + 4);
        }
    };
    let (first, headers) = head.split_once("\r\n").expect("a first line");
    let mut headers: Vec<String> = headers.split("\r\n").map(str::to_owned).collect();
    headers.sort();
    let mut body = String::new();
    let packed = &read[length..];
    match headers.iter().any(|h| h == "content-encoding: gzip") {
        true => flate2::read::GzDecoder::new(packed).read_to_string(&mut body).map(drop).expect("gzip"),
        false => body = String::from_utf8(packed.to_vec()).expect("text"),
    }
    // How long the packed body is, is not what is looked at.
    headers.retain(|h| !h.starts_with("content-length: ") && !h.starts_with("host: "));
    (first.to_owned(), headers, body)
}

fn version_3(url: Url) -> Influx {
    let auth = Auth::Token { kind: String::new(), token: Secret::Text("apiv3_abc".to_owned()) };
    let timeout = Duration::from_secs(60);
    let config = InfluxConfig {
        url,
        place: Place::V3 { database: "my db".to_owned() },
        http: ClientOptions { auth, ..ClientOptions::default() },
        write_timeout: timeout,
        read_timeout: timeout,
    };
    Influx::new(config).expect("an engine")
}

fn labels() -> Labels {
    Labels::from_pairs([(METRIC_NAME, "requests total"), ("path", "/a b,c=d")])
}

fn shipment() -> Shipment {
    let sample = |at, value, start| Sample { at: TimestampMs(at), value: Value::Float(value), start };
    let samples = vec![
        sample(1_700_000_000_000, 1.5, None),
        sample(1_700_000_015_000, 3.0, Some(TimestampMs(1_699_999_999_000))),
        sample(1_700_000_030_000, f64::INFINITY, None),
    ];
    let series = vec![SeriesSamples { labels: labels(), samples, ..SeriesSamples::default() }];
    Shipment { series, ..Shipment::default() }
}

/// As InfluxDB 3 answers where it has taken the other lines: `accept_partial` is true unless told otherwise.
const PARTIAL: &str = r#"{"error":"partial write of line protocol occurred","data":[{"original_line":"x","line_number":2,"error_message":"invalid column type"}]}"#;

#[tokio::test]
async fn version_3_is_written_to_as_documented() {
    let (url, asked) = server(&[("204 No Content", ""), ("400 Bad Request", PARTIAL), ("401 Unauthorized", "")]).await;
    let engine = version_3(url);
    assert_eq!(engine.send(&shipment()).await, Ok(Sent { left_out: 0 }));
    let refused = engine.send(&shipment()).await;
    assert!(matches!(refused, Err(SendError::Refused { samples: Some(1), .. })), "{refused:?}");
    let away = engine.send(&shipment()).await;
    assert!(matches!(away, Err(SendError::Away { .. })), "{away:?}");

    let asked = asked.lock().expect("no panic holds it");
    assert_eq!(asked.len(), 3);
    let version = env!("CARGO_PKG_VERSION");
    for (first, headers, body) in &*asked {
        assert_eq!(first, "POST /api/v3/write_lp?db=my+db&precision=millisecond HTTP/1.1");
        let expected = [
            "accept-encoding: gzip".to_owned(),
            "authorization: Bearer apiv3_abc".to_owned(),
            "content-encoding: gzip".to_owned(),
            "content-type: text/plain; charset=utf-8".to_owned(),
            format!("user-agent: Belfry/{version}"),
        ];
        assert_eq!(*headers, expected);
        let lines = [
            r"requests\ total,path=/a\ b\,c\=d value=1.5 1700000000000",
            r"requests\ total,path=/a\ b\,c\=d value=3.0,start=1699999999000i 1700000015000",
            r#"requests\ total,path=/a\ b\,c\=d special="+Inf" 1700000030000"#,
        ];
        assert_eq!(body.lines().collect::<Vec<_>>(), lines);
        assert!(body.ends_with('\n'));
    }
}

/// As `/query` answers in chunks: JSON objects one after the other.
const ROWS: &str = concat!(
    r#"{"results":[{"statement_id":0,"series":[{"name":"requests total","tags":{"path":"/a b,c=d"},"#,
    r#""columns":["time","value","special","histogram","start"],"#,
    r#""values":[[1700000000000,1.5,null,null,null],[1700000015000,3.0,null,null,1699999999000]]}],"partial":true}]}"#,
    "\n",
    r#"{"results":[{"statement_id":0,"series":[{"name":"requests total","tags":{"path":"/a b,c=d"},"#,
    r#""columns":["time","value","special","histogram","start"],"values":[[1700000030000,null,"+Inf",null,null]]}]}]}"#,
    "\n",
);

#[tokio::test]
async fn version_3_is_asked_as_documented_and_its_answer_is_understood() {
    let (url, asked) = server(&[("200 OK", ROWS)]).await;
    let reader = version_3(url).reader();
    let matchers = [Matcher::equal(METRIC_NAME, "requests total"), Matcher::equal("path", "/a b,c=d")];
    let range = TimeRange::new(TimestampMs(1_700_000_000_000), TimestampMs(1_700_000_060_000)).expect("a range");
    let set = reader.select(&matchers, range, &SelectHints::default(), SelectLimits::default()).await;
    let set = set.expect("an answer");
    assert_eq!(set.series.iter().map(|s| s.labels.clone()).collect::<Vec<_>>(), [labels()]);
    let mut samples = SampleBuf::default();
    set.series[0].samples.decode(range, &mut samples).expect("samples");
    let found: Vec<Sample> = (0..samples.len()).filter_map(|i| samples.get(i)).collect();
    assert_eq!(found, shipment().series[0].samples);

    let asked = asked.lock().expect("no panic holds it");
    let [(first, headers, body)] = &asked[..] else { panic!("{asked:?}") };
    let statement = concat!(
        r#"SELECT "value","special","histogram","start" FROM "requests total" WHERE "path" = '/a b,c=d' AND "#,
        "time >= '2023-11-14T22:13:20.000Z' AND time < '2023-11-14T22:14:20.000Z' GROUP BY *",
    );
    let target = first.strip_prefix("GET ").and_then(|t| t.strip_suffix(" HTTP/1.1")).expect("a GET");
    let url: Url = format!("http://x{target}").parse().expect("an address");
    let pairs: Vec<_> = url.query_pairs().map(|(n, v)| (n.into_owned(), v.into_owned())).collect();
    let expected = [("db", "my db"), ("epoch", "ms"), ("chunked", "true"), ("chunk_size", "10000"), ("q", statement)];
    assert_eq!(pairs, expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
    assert_eq!((url.path(), body.as_str()), ("/query", ""));
    let version = env!("CARGO_PKG_VERSION");
    let expected =
        ["accept-encoding: gzip", "authorization: Bearer apiv3_abc", &format!("user-agent: Belfry/{version}")];
    assert_eq!(*headers, expected);
}
