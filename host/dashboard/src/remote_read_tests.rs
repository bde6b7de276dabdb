use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use belfry_model::Labels;
use belfry_model::read::SampleSource;
use belfry_prompb::chunk::{FLOAT_HISTOGRAM, XOR};
use belfry_prompb::read::{LabelMatcher, Query};

use super::*;
use crate::testing::{Fake, Reply};

#[test]
fn a_bomb_and_a_broken_message_are_refused_before_they_are_unpacked() {
    // Snappy's header says how long it would become.
    let bomb = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
    assert!(decompress(&bomb).unwrap_err().contains("are the most"));
    assert!(decompress(b"").is_err());
    assert!(decompress(b"\x05no").is_err());
}

/// CRC-32C bit by bit.
fn checksum(bytes: &[u8]) -> u32 {
    let bit = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), bit))
}

/// The messages of a stream, and how long each frame is.
fn unframed(mut bytes: &[u8]) -> Vec<(usize, ChunkedReadResponse)> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let length = prost::encoding::decode_varint(&mut bytes).unwrap() as usize;
        let (sum, rest) = bytes.split_at(4);
        let (message, rest) = rest.split_at(length);
        assert_eq!(checksum(message).to_be_bytes(), sum);
        all.push((length, ChunkedReadResponse::decode(message).unwrap()));
        bytes = rest;
    }
    all
}

/// A line for each frame: query, labels, and kind, number of samples and first and last time of each chunk.
fn told(bytes: &[u8]) -> Vec<String> {
    let line = |(_, frame): (usize, ChunkedReadResponse)| {
        assert_eq!(frame.chunked_series.len(), 1);
        let series = &frame.chunked_series[0];
        let labels: Vec<_> = series.labels.iter().map(|l| format!("{}={}", l.name, l.value)).collect();
        let chunk = |c: &belfry_prompb::chunk::Chunk| {
            let n = u16::from_be_bytes([c.data[0], c.data[1]]);
            format!(" {}:{n}@{}-{}", c.encoding, c.min_time_ms, c.max_time_ms)
        };
        format!("{} {}{}", frame.query_index, labels.join(","), series.chunks.iter().map(chunk).collect::<String>())
    };
    unframed(bytes).into_iter().map(line).collect()
}

fn query(metric: &str, end: i64) -> Query {
    let matcher = LabelMatcher { kind: 0, name: "__name__".into(), value: metric.into() };
    Query { start_timestamp_ms: 0, end_timestamp_ms: end, matchers: vec![matcher] }
}

async fn asked(fake: &Fake, queries: &[Query], accepted: &[i32]) -> Reply {
    let request = ReadRequest { queries: queries.to_vec(), accepted_response_types: accepted.to_vec() };
    fake.ask("POST", "/api/v1/read", &[], belfry_prompb::packed(&request).unwrap()).await
}

fn fake() -> Fake {
    let mut fake = Fake::at(TimestampMs(1_000));
    for at in 0..150 {
        fake.float(&[("__name__", "up"), ("job", "a")], at, 1.0);
    }
    fake.float(&[("__name__", "up"), ("job", "b")], 3, 1.0);
    fake.float(&[("__name__", "mixed")], 1, 1.0);
    fake.histogram(&[("__name__", "mixed")], 2);
    fake
}

#[tokio::test]
async fn a_query_without_matchers_has_no_series() {
    let nothing = Query { start_timestamp_ms: 0, end_timestamp_ms: 1_000, matchers: Vec::new() };
    let reply = asked(&fake(), std::slice::from_ref(&nothing), &[]).await;
    let read = ReadResponse::decode(&*decompress(&reply.bytes).unwrap()).unwrap();
    assert_eq!((reply.status, read), (200, ReadResponse { results: vec![QueryResult { timeseries: Vec::new() }] }));
    assert_eq!(asked(&fake(), &[nothing], &[1]).await.bytes.len(), 0);
}

#[tokio::test]
async fn of_what_the_client_takes_the_first_is_answered_that_is_known() {
    let fake = fake();
    let samples = ("application/x-protobuf", Some("snappy"));
    let streamed = ("application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse", None);
    for (accepted, kind) in [
        (&[][..], samples),
        (&[0], samples),
        (&[1], streamed),
        (&[1, 0], streamed),
        (&[0, 1], samples),
        (&[7, 1], streamed),
    ] {
        let reply = asked(&fake, &[query("up", 1_000)], accepted).await;
        let encoding = reply.headers.get("content-encoding").map(|v| v.to_str().unwrap());
        assert_eq!((reply.status, (&*reply.content_type, encoding)), (200, kind), "{accepted:?}");
    }
    let refused = asked(&fake, &[query("up", 1_000)], &[7]).await;
    assert_eq!((refused.status, &refused.json()["errorType"]), (400, &"bad_data".into()));
}

#[tokio::test]
async fn each_series_of_each_query_is_streamed_with_its_chunks() {
    let reply = asked(&fake(), &[query("up", 130), query("none", 9), query("mixed", 9)], &[STREAMED_XOR_CHUNKS]).await;
    assert_eq!(
        told(&reply.bytes),
        [
            format!("0 __name__=up,job=a {XOR}:120@0-119 {XOR}:11@120-130"),
            format!("0 __name__=up,job=b {XOR}:1@3-3"),
            format!("2 __name__=mixed {XOR}:1@1-1 {FLOAT_HISTOGRAM}:1@2-2"),
        ]
    );
    let nothing = asked(&fake(), &[query("none", 9)], &[STREAMED_XOR_CHUNKS]).await;
    assert_eq!((nothing.status, nothing.bytes.len()), (200, 0));
}

/// Samples that do not shrink; counts how often they are read.
struct Noise {
    samples: i64,
    estimate: u64,
    read: Arc<AtomicUsize>,
    outcome: Result<(), ReadError>,
}

impl SampleSource for Noise {
    fn decode(&self, range: TimeRange, into: &mut SampleBuf) -> Result<(), ReadError> {
        self.read.fetch_add(1, Ordering::SeqCst);
        let noise = |at: i64| f64::from_bits((at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        (0..self.samples).filter(|at| range.contains(TimestampMs(*at))).for_each(|at| into.push_float(at, noise(at)));
        self.outcome.clone()
    }

    fn estimate(&self) -> u64 {
        self.estimate
    }
}

/// Series of so many samples each.
fn noise(lengths: &[i64], outcome: Result<(), ReadError>) -> (Frames, Arc<AtomicUsize>) {
    let read = Arc::new(AtomicUsize::new(0));
    let series = lengths.iter().zip(0..).map(|(samples, n)| Series {
        labels: Labels::from_pairs([("n", format!("{n:03}"))]),
        samples: Arc::new(Noise {
            samples: *samples,
            estimate: *samples as u64,
            read: read.clone(),
            outcome: outcome.clone(),
        }),
    });
    let set = SeriesSet { series: series.collect(), warnings: Vec::new() };
    (Frames::of(vec![(TimeRange::ALL, set)]), read)
}

#[tokio::test]
async fn a_long_series_goes_on_in_the_next_frame() {
    let (mut frames, _) = noise(&[300_000, 0, 5], Ok(()));
    let mut bytes = Vec::new();
    while let Some((some, rest)) = frames.next().await.unwrap() {
        bytes.extend_from_slice(&some);
        frames = rest;
    }
    let all = unframed(&bytes);
    // A chunk of 120 samples of nine bytes is the most that a frame is too long.
    assert!(all.iter().all(|(length, _)| *length < FRAME_BYTES_MAX + 2_000));
    let labels: Vec<_> = all.iter().map(|(_, f)| &*f.chunked_series[0].labels[0].value).collect();
    assert_eq!(labels, ["000", "000", "000", "002"], "and one without samples is none");
    let times: Vec<_> = all.iter().flat_map(|(_, f)| &f.chunked_series[0].chunks).map(|c| c.min_time_ms).collect();
    let want: Vec<i64> = (0..300_000).step_by(120).chain([0]).collect();
    assert_eq!(times, want);
}

#[tokio::test]
async fn nothing_is_read_before_the_client_has_taken_what_was_made() {
    let (frames, read) = noise(&[50_000; 20], Ok(()));
    let (_, rest) = frames.next().await.unwrap().expect("frames");
    let before = read.load(Ordering::SeqCst);
    assert!((1..5).contains(&before), "{before} series for a first mebibyte");
    rest.next().await.unwrap().expect("frames");
    assert!(read.load(Ordering::SeqCst) < 2 * before + 1);
}

#[tokio::test]
async fn what_is_damaged_is_missing_and_other_faults_end_the_stream() {
    let (frames, _) = noise(&[2], Err(ReadError::Damaged("block 7".into())));
    let (bytes, _) = frames.next().await.unwrap().expect("what could be read");
    assert_eq!(told(&bytes), [format!("0 n=000 {XOR}:2@0-1")]);
    let away = ReadError::Unavailable("away".into());
    let (frames, _) = noise(&[2], Err(away.clone()));
    assert_eq!(frames.next().await.err(), Some(away));
    let (frames, _) = noise(&[SAMPLES_MAX as i64 + 1], Ok(()));
    assert_eq!(frames.next().await.err(), Some(ReadError::TooManySamples { limit: SAMPLES_MAX }));
}

/// A Prometheus that has no samples but those it reads from `from`, and its answer to `query`; `None`, said aloud, where
/// there is none.
async fn prometheus_reads(from: std::net::SocketAddr, query: &str, at: i64) -> Option<serde_json::Value> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let program = belfry_testkit::peer("prometheus")?;
    let folder = std::env::temp_dir().join(format!("belfry-remote-read-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let config = format!("remote_read: [{{url: 'http://{from}/api/v1/read', read_recent: true}}]\n");
    std::fs::write(folder.join("prometheus.yml"), config).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let child = tokio::process::Command::new(program)
        .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
        .arg(format!("--web.listen-address={free}"))
        .current_dir(&folder)
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let ask = async |path: &str| -> Option<String> {
        let mut stream = tokio::net::TcpStream::connect(free).await.ok()?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.contains(" 200 ").then(|| body.to_owned())
    };
    let ready = async {
        while ask("/-/ready").await.is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), ready).await.expect("Prometheus is ready");
    let answer = ask(&format!("/api/v1/query?query={query}&time={at}")).await.expect("an answer");
    drop(child);
    let _ = std::fs::remove_dir_all(folder);
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    Some(answer["data"]["result"].clone())
}

#[tokio::test]
async fn an_unmodified_prometheus_reads_the_stream() {
    const AT: i64 = 1_700_000_000;
    let mut fake = Fake::at(TimestampMs(AT * 1_000));
    let mut want = Vec::new();
    for n in 0..250 {
        // Odd distances, whole numbers, fractions and the same again.
        let (at, v) =
            (AT * 1_000 - 3_000_000 + n * 10_000 + n % 7, (n / 3) as f64 * if n % 2 == 0 { 1.0 } else { 0.1 });
        fake.float(&[("__name__", "read"), ("kind", "float")], at, v);
        want.push(serde_json::json!([crate::prometheus::seconds(TimestampMs(at)), crate::prometheus::number(v)]));
    }
    let mut sums = [Vec::new(), Vec::new()];
    for (integer, kind) in [(true, "integer"), (false, "real")] {
        for n in 0..150 {
            let count = f64::from(n) * if integer { 1.0 } else { 0.5 };
            let h = belfry_model::Histogram {
                schema: 1,
                count: 3.0 * count,
                sum: 0.1 * f64::from(n),
                zero_threshold: 0.001,
                zero_count: count,
                positive_spans: vec![belfry_model::sample::Span { offset: n / 100, length: 2 }],
                positive_counts: vec![count, count],
                integer,
                ..belfry_model::Histogram::default()
            };
            let value = belfry_model::Value::Histogram(Arc::new(h));
            fake.push(&[("__name__", "read"), ("kind", kind)], AT * 1_000 - 2_000_000 + i64::from(n) * 10_000, value);
            let sum = crate::prometheus::number(0.1 * f64::from(n));
            sums[usize::from(!integer)].push((crate::prometheus::number(3.0 * count), sum));
        }
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let kinds = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = kinds.clone();
    let watched = fake.routes().layer(axum::middleware::map_response(move |answer: Response| {
        seen.lock().unwrap().push(answer.headers()[header::CONTENT_TYPE].clone());
        std::future::ready(answer)
    }));
    let server = tokio::spawn(axum::serve(listener, watched).into_future());
    let Some(read) = prometheus_reads(address, "read[1h]", AT).await else { return };
    server.abort();
    assert_eq!(*kinds.lock().unwrap(), [STREAMED]);
    assert_eq!(read.as_array().map(Vec::len), Some(3), "{read}");
    assert_eq!((&read[0]["metric"]["kind"], &read[0]["values"]), (&"float".into(), &want.into()));
    for (n, sums) in [(1, &sums[0]), (2, &sums[1])] {
        let all = read[n]["histograms"].as_array().expect("histograms");
        let text = |v: &serde_json::Value| v.as_str().unwrap().to_owned();
        let got: Vec<_> = all.iter().map(|h| (text(&h[1]["count"]), text(&h[1]["sum"]))).collect();
        assert_eq!(got, *sums);
        assert_eq!(all[120][1]["buckets"].as_array().map(Vec::len), Some(3));
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        if let Ok(bytes) = decompress(&bytes) {
            let _ = ReadRequest::decode(&*bytes);
        }
        let _ = ReadRequest::decode(&*bytes);
    }
}
