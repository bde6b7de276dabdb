use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::Response;
use belfry_model::write::{SeriesRef, WriteError, Writer};
use belfry_model::{
    Appended, Batch, Histogram, Matcher, MetricKind, SampleBuf, SelectHints, SelectLimits, SeriesRead, TimeRange,
};
use belfry_prompb as m;
use belfry_prompb::v2::{self, Symbols};
use belfry_store::{RealDisk, Store, StoreConfig};
use belfry_testkit::SimClock;
use http_body_util::BodyExt as _;
use proptest::prelude::*;

use super::*;
use crate::IngestLimits;

mod beside;
mod refused;

const NOW: i64 = 1_700_000_000_000;
const V2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

/// The store, which can be told to fail or to forget.
struct Moody {
    store: Arc<Store>,
    full: AtomicBool,
    /// Did the last batch ask to be on the disk first?
    asked_durable: AtomicBool,
    /// Is there no room for histograms alone?
    histograms_full: AtomicBool,
    forgets: AtomicBool,
}

#[async_trait]
impl Writer for Moody {
    fn open(&self, labels: &Labels) -> Result<SeriesRef, WriteError> {
        self.store.open(labels)
    }

    async fn append(&self, mut batch: Batch) -> Result<Appended, WriteError> {
        let histograms_full = !batch.histograms.is_empty() && self.histograms_full.load(Ordering::SeqCst);
        if self.full.load(Ordering::SeqCst) || histograms_full {
            return Err(WriteError::DiskFull("no space left".to_owned()));
        }
        self.asked_durable.store(batch.durable, Ordering::SeqCst);
        if self.forgets.swap(false, Ordering::SeqCst) {
            batch.refs.iter_mut().for_each(|r| r.0 ^= 0x7777 << 32);
            batch.exemplars.iter_mut().for_each(|(r, _)| r.0 ^= 0x7777 << 32);
        }
        self.store.append(batch).await
    }

    fn declare(&self, metadata: belfry_model::MetricMetadata) {
        self.store.declare(metadata);
    }
}

struct World {
    push: Arc<Push>,
    writer: Arc<Moody>,
}

fn world_of(series_max: Option<u64>) -> World {
    let (store, _) = Store::open(StoreConfig::memory(), Arc::new(RealDisk), TimestampMs(NOW)).unwrap();
    let [full, histograms_full, forgets] = Default::default();
    let writer = Arc::new(Moody { store, full, asked_durable: AtomicBool::default(), histograms_full, forgets });
    let ingest = Arc::new(Ingest::new(writer.clone(), IngestLimits::default()));
    let clock = Arc::new(SimClock::at(TimestampMs(NOW)));
    World { push: Arc::new(Push::new(ingest, clock, series_max)), writer }
}

fn world() -> World {
    world_of(None)
}

impl World {
    async fn send(&self, headers: &[(&str, &str)], body: Vec<u8>) -> (u16, String, axum::http::HeaderMap) {
        let mut request = Request::builder().method("POST").uri("/api/v1/write");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body)).unwrap();
        let response: Response = http::write(State(self.push.clone()), request).await;
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head.status.as_u16(), String::from_utf8(body.to_vec()).unwrap(), head.headers)
    }

    async fn v1(&self, request: &m::WriteRequest) -> (u16, String) {
        let headers = [("content-type", "application/x-protobuf"), ("content-encoding", "snappy")];
        let (status, said, _) = self.send(&headers, snappy(request)).await;
        (status, said)
    }

    /// Status, text, and the three numbers that are written in the headers.
    async fn v2(&self, request: &v2::Request) -> (u16, String, [u64; 3]) {
        let (status, said, headers) = self.send(&[("content-type", V2)], snappy(request)).await;
        let number = |what: &str| {
            let name = format!("x-prometheus-remote-write-{what}-written");
            headers[name].to_str().unwrap().parse().unwrap()
        };
        (status, said, [number("samples"), number("histograms"), number("exemplars")])
    }

    /// Every series with its samples.
    async fn read(&self) -> Vec<(String, SampleBuf)> {
        let any = [Matcher::new("__name__", belfry_model::MatchOp::NotEqual, "").unwrap()];
        let limits = SelectLimits::default();
        let set = self.writer.store.select(&any, TimeRange::ALL, &SelectHints::default(), limits).await.unwrap();
        let decode = |s: &belfry_model::Series| {
            let mut buf = SampleBuf::default();
            s.samples.decode(TimeRange::ALL, &mut buf).unwrap();
            (s.labels.to_string(), buf)
        };
        set.series.iter().map(decode).collect()
    }

    async fn floats(&self) -> Vec<(String, Vec<(i64, f64)>)> {
        let all = self.read().await.into_iter();
        all.map(|(l, b)| (l, b.times.iter().copied().zip(b.floats).collect())).collect()
    }
}

fn sample(timestamp: i64, value: f64) -> m::Sample {
    m::Sample { value, timestamp, ..m::Sample::default() }
}

fn snappy(message: &impl prost::Message) -> Vec<u8> {
    m::packed(message).unwrap()
}

fn series(pairs: &[(&str, &str)], samples: &[(i64, f64)]) -> m::TimeSeries {
    let samples = samples.iter().map(|(at, v)| sample(NOW + at, *v)).collect();
    m::TimeSeries { labels: m::labels(pairs.iter().copied()), samples, ..m::TimeSeries::default() }
}

fn request(timeseries: Vec<m::TimeSeries>) -> m::WriteRequest {
    m::WriteRequest { timeseries, metadata: Vec::new() }
}

#[tokio::test]
async fn what_is_sent_is_there_again_with_its_labels_times_and_values() {
    let w = world();
    let up = [("__name__", "up"), ("instance", "a:9100"), ("job", "node"), ("source", "theirs")];
    let one = request(vec![
        series(&up, &[(-15_000, 1.0), (0, 0.0)]),
        series(&[("__name__", "t"), ("job", "node")], &[(-7_000, -0.5)]),
    ]);
    assert_eq!(w.v1(&one).await, (204, String::new()));
    assert_eq!(w.v1(&request(vec![series(&up, &[(5_000, f64::INFINITY)])])).await.0, 204);
    let up = r#"up{instance="a:9100", job="node", source="theirs"}"#.to_owned();
    assert_eq!(
        w.floats().await,
        [
            (r#"t{job="node"}"#.to_owned(), vec![(NOW - 7_000, -0.5)]),
            (up, vec![(NOW - 15_000, 1.0), (NOW, 0.0), (NOW + 5_000, f64::INFINITY)]),
        ]
    );
    let stats = w.push.ingest.producer_stats(REMOTE_WRITE).unwrap();
    assert_eq!((stats.series, stats.samples.accepted, stats.batches), (2, 4, 2));
    assert_eq!(w.push.stats().requests, 2);
}

#[tokio::test]
async fn sending_the_same_again_changes_nothing_and_is_no_error() {
    let w = world();
    let one = request(vec![series(&[("__name__", "up")], &[(0, 1.0), (1, 2.0)])]);
    for _ in 0..3 {
        assert_eq!(w.v1(&one).await.0, 204);
    }
    assert_eq!(w.floats().await, [("up".to_owned(), vec![(NOW, 1.0), (NOW + 1, 2.0)])]);
}

#[tokio::test]
async fn the_good_is_written_and_the_bad_is_told() {
    let w = world();
    let good = [("__name__", "good")];
    assert_eq!(w.v1(&request(vec![series(&good, &[(0, 1.0)])])).await.0, 204);
    let hour = 3_600_000;
    let mixed = request(vec![
        series(&[("job", "nameless")], &[(0, 1.0)]),
        series(&[("__name__", "twice"), ("a", "1"), ("a", "2")], &[(0, 1.0)]),
        series(&good, &[(0, 2.0), (-2 * hour, 1.0), (hour, 1.0), (1, 3.0)]),
    ]);
    let (status, said) = w.v1(&mixed).await;
    assert_eq!(status, 400);
    assert_eq!(
        said,
        format!(
            "refused 1 samples older than the out-of-order window (such as good at {}), 1 samples whose series has another \
             value at their time (such as good at {}), 1 samples more than 10 minutes ahead of the clock (such as good at \
             {}), 2 series with labels that cannot be kept (such as {{job=\"nameless\"}} has no metric name); the rest was \
             written\n",
            TimestampMs(NOW - 2 * hour),
            TimestampMs(NOW),
            TimestampMs(NOW + hour),
        )
    );
    assert_eq!(w.floats().await, [("good".to_owned(), vec![(NOW, 1.0), (NOW + 1, 3.0)])]);
    let stats = w.push.ingest.producer_stats(REMOTE_WRITE).unwrap();
    assert_eq!((stats.samples.too_old, stats.samples.duplicate, stats.series_refused), (1, 1, 2));
    assert_eq!((w.push.stats().ahead, w.push.stats().partial), (1, 1));
}

#[tokio::test]
async fn the_order_of_labels_and_fields_makes_no_other_series() {
    use prost::Message as _;
    let w = world();
    let sorted = series(&[("__name__", "up"), ("a", "1"), ("b", "2")], &[(0, 1.0)]);
    let turned = series(&[("b", "2"), ("__name__", "up"), ("a", "1")], &[(1, 2.0)]);
    assert_eq!(w.v1(&request(vec![sorted, turned])).await.0, 204);
    // Fields between each other, as no encoder does it and every decoder must take it.
    let mut odd = Vec::new();
    for part in [series(&[("__name__", "up")], &[]), series(&[], &[(2, 3.0)]), series(&[("a", "1"), ("b", "2")], &[])] {
        odd.extend(part.encode_to_vec());
    }
    let mut raw = vec![0x0a, odd.len() as u8];
    raw.extend(odd);
    let body = snap::raw::Encoder::new().compress_vec(&raw).unwrap();
    assert_eq!(w.send(&[], body).await.0, 204);
    let want = vec![(NOW, 1.0), (NOW + 1, 2.0), (NOW + 2, 3.0)];
    assert_eq!(w.floats().await, [(r#"up{a="1", b="2"}"#.to_owned(), want)]);
}

#[tokio::test]
async fn version_2_brings_metadata_exemplars_histograms_and_start_times() {
    let w = world();
    let mut t = Symbols::default();
    let integer = m::Histogram {
        count_int: Some(6),
        sum: 18.4,
        schema: 1,
        zero_threshold: 0.001,
        zero_count_int: Some(1),
        positive_spans: vec![m::BucketSpan { offset: 0, length: 2 }, m::BucketSpan { offset: 1, length: 1 }],
        positive_deltas: vec![1, 1, -1],
        negative_spans: vec![m::BucketSpan { offset: -1, length: 1 }],
        negative_deltas: vec![1],
        reset_hint: 2,
        timestamp: NOW,
        start_timestamp: NOW - 70,
        ..m::Histogram::default()
    };
    let custom = m::Histogram {
        count_float: Some(4.5),
        sum: 3.0,
        schema: -53,
        positive_spans: vec![m::BucketSpan { offset: 1, length: 2 }],
        positive_counts: vec![1.5, 3.0],
        custom_values: vec![0.1, 1.0, 10.0],
        timestamp: NOW,
        ..m::Histogram::default()
    };
    let counter = v2::TimeSeries {
        labels_refs: t.labels([("__name__", "requests_total"), ("job", "web")]),
        samples: vec![m::Sample { value: 5.0, timestamp: NOW, start_timestamp: NOW - 60 }],
        exemplars: vec![v2::Exemplar { labels_refs: t.labels([("trace_id", "abc")]), value: 1.0, timestamp: NOW }],
        metadata: Some(v2::Metadata { kind: 1, help_ref: t.number("Requests."), unit_ref: 0 }),
        ..v2::TimeSeries::default()
    };
    let older = v2::TimeSeries {
        labels_refs: t.labels([("__name__", "older_total")]),
        samples: vec![sample(NOW, 7.0)],
        created_timestamp: NOW - 90,
        ..v2::TimeSeries::default()
    };
    let of = |labels_refs, h: &m::Histogram| v2::TimeSeries {
        labels_refs,
        histograms: vec![h.clone()],
        ..v2::TimeSeries::default()
    };
    let exponential = of(t.labels([("__name__", "latency")]), &integer);
    let nhcb = of(t.labels([("__name__", "size")]), &custom);
    let sent = v2::Request { timeseries: vec![counter, older, exponential, nhcb], symbols: t.into_texts() };
    assert_eq!(w.v2(&sent).await, (204, String::new(), [2, 2, 1]));

    let all = w.read().await;
    let histogram = |name: &str| {
        let (_, buf) = all.iter().find(|(l, _)| l == name).unwrap();
        buf.histograms[0].clone().unwrap()
    };
    let h = histogram("latency");
    assert_eq!((h.schema, h.count, h.sum, h.zero_count, h.integer), (1, 6.0, 18.4, 1.0, true));
    assert_eq!((h.positive_counts.clone(), h.negative_counts.clone()), (vec![1.0, 2.0, 1.0], vec![1.0]));
    assert_eq!((h.positive_spans.len(), h.positive_spans[1].offset), (2, 1));
    let h = histogram("size");
    assert_eq!((h.schema, h.integer, h.custom_bounds.clone()), (Histogram::CUSTOM_BOUNDS, false, vec![0.1, 1.0, 10.0]));
    assert_eq!(h.positive_counts, [1.5, 3.0]);
    let starts: Vec<_> = all.iter().map(|(l, b)| (l.as_str(), b.starts.first().copied())).collect();
    let want = [
        ("latency", Some(NOW - 70)),
        ("older_total", Some(NOW - 90)),
        (r#"requests_total{job="web"}"#, Some(NOW - 60)),
        ("size", None),
    ];
    assert_eq!(starts, want);

    let known = w.writer.store.metadata(Some("requests_total")).await.unwrap();
    assert_eq!((known[0].kind, known[0].help.as_str()), (MetricKind::Counter, "Requests."));
    let any = [Matcher::equal("__name__", "requests_total")];
    let exemplars = w.writer.store.exemplars(&any, TimeRange::ALL).await.unwrap();
    assert_eq!(exemplars[0].1[0].labels.get("trace_id"), Some("abc"));
}

#[tokio::test]
async fn version_2_is_told_what_was_written_not_what_was_sent() {
    let w = world();
    let long = "x".repeat(PUSHED_VALUE_BYTES_MAX + 1);
    let sent = |exemplar: &str| {
        let mut t = Symbols::default();
        let mut of = |name: &str, at: i64| v2::TimeSeries {
            labels_refs: t.labels([("__name__", name)]),
            samples: vec![sample(at, 1.0)],
            histograms: vec![m::Histogram { count_int: Some(0), timestamp: at + 1, ..m::Histogram::default() }],
            exemplars: vec![v2::Exemplar { labels_refs: t.labels([("id", exemplar)]), value: 1.0, timestamp: at }],
            ..v2::TimeSeries::default()
        };
        let ahead = AHEAD_MAX.as_millis() as i64;
        let timeseries = vec![of("good", NOW), of("", NOW), of("early", NOW + ahead + 1)];
        v2::Request { timeseries, symbols: t.into_texts() }
    };
    // The series without a name is not opened, so that nothing of it is written.
    let (status, _, written) = w.v2(&sent("a")).await;
    assert_eq!((status, written), (400, [1, 1, 2]));
    assert_eq!(w.v2(&sent("a")).await.2, [1, 1, 2], "what is there already counts as written");
    assert_eq!(w.v2(&sent(&long)).await.2, [1, 1, 0], "labels that cannot be kept");

    // The exemplars go with the last batch, here the histograms', which fails: the samples were written before.
    w.writer.histograms_full.store(true, Ordering::SeqCst);
    let (status, _, written) = w.v2(&sent("b")).await;
    assert_eq!((status, written), (503, [1, 0, 0]));
}

#[tokio::test]
async fn series_of_version_2_say_kind_and_unit_only_where_that_is_wanted() {
    let mut t = Symbols::default();
    let mut of = |pairs: &[(&str, &str)], kind: i32, unit: &str, at: i64| v2::TimeSeries {
        labels_refs: t.labels(pairs.iter().copied()),
        samples: vec![sample(NOW + at, 1.0)],
        metadata: Some(v2::Metadata { kind, help_ref: 0, unit_ref: t.number(unit) }),
        ..v2::TimeSeries::default()
    };
    let claimed = [("__name__", "claimed"), ("__type__", "gauge"), ("__unit__", "own")];
    let timeseries = vec![
        of(&[("__name__", "a_total")], 1, "seconds", 0),
        // The same labels, but of another kind.
        of(&[("__name__", "a_total")], 2, "seconds", 1),
        of(&[("__name__", "h_bucket"), ("le", "1.0")], 3, "", 0),
        of(&[("__name__", "gh_bucket"), ("le", "1.0")], 4, "", 0),
        of(&[("__name__", "none")], 0, "", 0),
        of(&claimed, 1, "", 0),
    ];
    let sent = v2::Request { timeseries, symbols: t.into_texts() };

    let w = world();
    assert_eq!(w.v2(&sent).await.0, 204);
    let as_sent = [
        "a_total",
        r#"claimed{__type__="gauge", __unit__="own"}"#,
        r#"gh_bucket{le="1.0"}"#,
        r#"h_bucket{le="1.0"}"#,
        "none",
    ];
    let names = |all: Vec<(String, SampleBuf)>| all.into_iter().map(|(l, _)| l).collect::<Vec<_>>();
    let mut labels = names(w.read().await);
    labels.sort();
    assert_eq!(labels, as_sent);

    let w = world();
    w.push.type_and_unit_labels(true);
    // The second time they are known.
    for _ in 0..2 {
        assert_eq!(w.v2(&sent).await, (204, String::new(), [6, 0, 0]));
        let mut labels = names(w.read().await);
        labels.sort();
        assert_eq!(
            labels,
            [
                r#"a_total{__type__="counter", __unit__="seconds"}"#,
                r#"a_total{__type__="gauge", __unit__="seconds"}"#,
                r#"claimed{__type__="counter"}"#,
                r#"gh_bucket{__type__="gaugehistogram", le="1.0"}"#,
                r#"h_bucket{__type__="histogram", le="1.0"}"#,
                "none",
            ]
        );
    }
    // Who is told so while Belfry runs goes on with the labels as they are sent.
    w.push.type_and_unit_labels(false);
    assert_eq!(w.v2(&sent).await.0, 204);
    assert!(names(w.read().await).contains(&"a_total".to_owned()));
}

#[tokio::test]
async fn a_histogram_that_contradicts_itself_is_refused_alone() {
    let w = world();
    let bad = m::Histogram { count_int: Some(9), timestamp: NOW, ..m::Histogram::default() };
    let mut one = series(&[("__name__", "h")], &[]);
    one.histograms = vec![bad];
    let (status, said) = w.v1(&request(vec![one, series(&[("__name__", "good")], &[(0, 1.0)])])).await;
    assert_eq!(status, 400);
    assert!(said.contains("the buckets hold 0 observations, the histogram 9"), "{said}");
    assert_eq!(w.floats().await.len(), 1);
}

#[tokio::test]
async fn the_message_is_told_by_its_content_type() {
    let w = world();
    let body = snappy(&request(vec![series(&[("__name__", "up")], &[(0, 1.0)])]));
    for (headers, status) in [
        (&[][..], 204),
        (&[("content-type", "application/x-protobuf")], 204),
        (&[("content-type", "application/x-protobuf; proto=prometheus.WriteRequest")], 204),
        (&[("content-type", V2)], 204),
        (&[("content-type", "application/x-protobuf;proto=io.prometheus.write.v3.Request")], 415),
        (&[("content-type", "application/json")], 415),
        (&[("content-encoding", "zstd")], 415),
        (&[("content-encoding", "SNAPPY")], 204),
    ] {
        assert_eq!(w.send(headers, body.clone()).await.0, status, "{headers:?}");
    }
}

#[tokio::test]
async fn bombs_and_rubbish_are_refused_before_they_cost_anything() {
    let w = world();
    let length = |n: u64| {
        let mut bytes = Vec::new();
        prost::encoding::encode_varint(n, &mut bytes);
        bytes
    };
    let over = DECODED_BYTES_MAX as u64 + 1;
    let broken = snap::raw::Encoder::new().compress_vec(&[0x0a, 0x7f, 1]).unwrap();
    for (body, status, said) in [
        (length(over), 413, "unfolds to"),
        (length(u64::from(u32::MAX)), 413, "unfolds to"),
        (length(1000), 400, "cannot unfold"),
        (vec![0xff; 40], 400, "snappy"),
        (Vec::new(), 400, "snappy"),
        (broken, 400, "ends within a field"),
        (vec![0; BODY_BYTES_MAX + 1], 413, "longer than"),
    ] {
        let (got, text, _) = w.send(&[], body).await;
        assert!(got == status && text.contains(said), "{got} {text}");
    }
    assert_eq!(w.floats().await, []);
    let all = IN_FLIGHT_BYTES_MAX >> 10;
    assert_eq!(w.push.room.available_permits(), all, "room is given back");
}

#[tokio::test]
async fn without_room_or_disk_the_sender_is_asked_to_come_again() {
    let w = world();
    let one = request(vec![series(&[("__name__", "up")], &[(0, 1.0)])]);
    let held = w.push.room.acquire_many((IN_FLIGHT_BYTES_MAX >> 10) as u32).await.unwrap();
    let (status, _, headers) = w.send(&[], snappy(&one)).await;
    assert_eq!((status, headers["retry-after"].to_str().unwrap()), (503, "1"));
    assert_eq!(w.push.stats().shed, 1);
    drop(held);

    w.writer.full.store(true, Ordering::SeqCst);
    let (status, said, headers) = w.send(&[("content-type", V2)], snappy(&v2::Request::default())).await;
    assert_eq!((status, said), (204, String::new()), "nothing to write needs no disk");
    assert_eq!(headers["x-prometheus-remote-write-samples-written"], "0");
    let (status, said) = w.v1(&one).await;
    assert_eq!((status, said.as_str()), (503, "the disk is full: no space left\n"));
    assert_eq!(w.push.ingest.producer_stats(REMOTE_WRITE).unwrap().samples_lost, 1);
    w.writer.full.store(false, Ordering::SeqCst);
    assert_eq!(w.v1(&one).await.0, 204);
}

#[tokio::test]
async fn samples_are_to_be_on_the_disk_before_the_answer_where_that_is_wanted() {
    let w = world();
    let one = |at| request(vec![series(&[("__name__", "up")], &[(at, 1.0)])]);
    for (n, wanted) in [false, true, false].into_iter().enumerate() {
        w.push.durable_acks(wanted);
        assert_eq!(w.v1(&one(n as i64)).await.0, 204);
        assert_eq!(w.writer.asked_durable.load(Ordering::SeqCst), wanted);
    }
}

#[tokio::test]
async fn series_that_the_store_forgot_are_opened_again() {
    let w = world();
    let one = |at| request(vec![series(&[("__name__", "up")], &[(at, 1.0)])]);
    assert_eq!(w.v1(&one(0)).await.0, 204);
    w.writer.forgets.store(true, Ordering::SeqCst);
    assert_eq!(w.v1(&one(1)).await, (204, String::new()));
    assert_eq!(w.floats().await, [("up".to_owned(), vec![(NOW, 1.0), (NOW + 1, 1.0)])]);
    assert_eq!(w.push.ingest.producer_stats(REMOTE_WRITE).unwrap().series, 1);
}

#[tokio::test]
async fn a_limit_sheds_new_series_and_never_old_ones_until_places_are_free() {
    let w = world_of(Some(2));
    let of = |name: &'static str, at, v| series(&[("__name__", name)], &[(at, v)]);
    assert_eq!(w.v1(&request(vec![of("a", 0, 1.0), of("b", 0, 1.0)])).await.0, 204);
    let (status, said) = w.v1(&request(vec![of("a", 1, 1.0), of("c", 1, 1.0)])).await;
    assert_eq!(status, 400);
    assert!(said.starts_with("refused 1 series beyond a limit (such as c: "), "{said}");
    let stats = w.push.ingest.producer_stats(REMOTE_WRITE).unwrap();
    assert_eq!(
        (stats.series, stats.series_shed),
        (2, 1),
        "shed once, though it was tried again after the places of ended series were looked for"
    );
    assert_eq!(w.v1(&request(vec![of("b", 2, belfry_model::sample::stale_nan())])).await.0, 204);
    assert_eq!(w.v1(&request(vec![of("c", 3, 1.0)])).await.0, 204);
    assert_eq!(w.push.ingest.producer_stats(REMOTE_WRITE).unwrap().series, 2);
}

fn any_request() -> impl Strategy<Value = (m::WriteRequest, v2::Request)> {
    let label = ("[a-z_]{0,4}", "[a-z]{0,4}");
    let one = (proptest::collection::vec(label, 0..4), proptest::collection::vec((any::<i64>(), any::<f64>()), 0..4));
    proptest::collection::vec(one, 0..6).prop_map(|all| {
        let mut table = Symbols::default();
        let mut two = v2::Request::default();
        let mut first = m::WriteRequest::default();
        for (pairs, samples) in all {
            let pairs: Vec<_> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            let samples: Vec<_> = samples.into_iter().map(|(at, v)| sample(at, v)).collect();
            let h = m::Histogram {
                count_int: Some(3),
                positive_spans: vec![m::BucketSpan { offset: 1, length: 2 }],
                positive_deltas: vec![1, 1],
                ..m::Histogram::default()
            };
            two.timeseries.push(v2::TimeSeries {
                labels_refs: table.labels(pairs.iter().copied()),
                samples: samples.clone(),
                histograms: vec![h.clone()],
                metadata: Some(v2::Metadata { kind: 1, help_ref: table.number("help"), unit_ref: 0 }),
                ..v2::TimeSeries::default()
            });
            first.timeseries.push(m::TimeSeries {
                labels: m::labels(pairs.iter().copied()),
                samples,
                histograms: vec![h],
                ..m::TimeSeries::default()
            });
        }
        two.symbols = table.into_texts();
        (first, two)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_body_panics(
        (one, two) in any_request(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<proptest::sample::Index>(),
        rubbish in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        use prost::Message as _;
        fuzz::remote_write_1(&rubbish);
        fuzz::remote_write_2(&rubbish);
        fuzz::remote_write_body(&rubbish);
        fuzz::import(&rubbish);
        let text = "\u{5}# TYPE h histogram\nh_bucket{le=\"1\"} 1 1.5 # {t=\"x\"} 0.5 1.2\na 1 1600000000\n# EOF\n";
        for (door, mut bytes) in [
            (fuzz::remote_write_1 as fn(&[u8]), one.encode_to_vec()),
            (fuzz::remote_write_2, two.encode_to_vec()),
            (fuzz::remote_write_body, snappy(&one)),
            (fuzz::import, text.as_bytes().to_vec()),
        ] {
            if bytes.is_empty() {
                continue;
            }
            for (at, byte) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            door(&bytes);
            bytes.truncate(cut.index(bytes.len()));
            door(&bytes);
        }
    }

    #[test]
    fn both_versions_say_the_same((one, two) in any_request()) {
        use prost::Message as _;
        let keys = key::Keys::default();
        let (mut a, mut b) = (decoded::Decoded::default(), decoded::Decoded::default());
        v1::decode(&one.encode_to_vec(), &keys, &mut a).unwrap();
        super::v2::decode(&two.encode_to_vec(), &keys, &mut super::v2::Symbols::default(), &mut b).unwrap();
        let bits = |d: &decoded::Decoded| d.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(&a), bits(&b));
        prop_assert_eq!(&a.times, &b.times);
        prop_assert_eq!(a.series.iter().map(|s| s.samples_end).collect::<Vec<_>>(), b.series.iter().map(|s| s.samples_end).collect::<Vec<_>>());
        prop_assert_eq!(a.histograms.len(), b.histograms.len());
    }
}

mod import {
    use axum::extract::Query;
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::push::import::{Backfill, Backfilled, BeginBackfill, Import};
    use crate::push::import_http::take;

    /// What would be written to blocks.
    type Old = Arc<Mutex<Vec<(String, i64, f64)>>>;

    struct Blocks(Old, u64);

    impl Backfill for Blocks {
        fn push(&mut self, labels: &Labels, sample: belfry_model::Sample) -> Result<(), WriteError> {
            let belfry_model::Value::Float(v) = sample.value else { panic!("a float") };
            lock(&self.0).push((labels.to_string(), sample.at.0, v));
            self.1 += 1;
            Ok(())
        }

        fn finish(self: Box<Self>) -> Result<Backfilled, WriteError> {
            Ok(Backfilled { accepted: self.1, ..Backfilled::default() })
        }
    }

    async fn send(
        w: &World,
        old: &Old,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> (u16, Json) {
        let blocks = old.clone();
        let begin: BeginBackfill = Box::new(move |_| Box::new(Blocks(blocks.clone(), 0)));
        let import = Arc::new(Import::new(w.push.ingest.clone(), w.push.clock.clone(), Some(begin)));
        let mut request = Request::builder().method("POST").uri("/api/v1/import/prometheus");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let query = query.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let response = take(State(import), Query(query), request.body(Body::from(body)).unwrap()).await;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or_else(|_| json!(String::from_utf8_lossy(&body))))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn new_samples_go_the_way_of_all_and_old_ones_to_blocks() {
        let (w, old) = (world(), Old::default());
        let year = 31_536_000_000;
        let text = format!(
            "# HELP t Warmth.\n# TYPE t gauge\nt{{room=\"a\"}} 20 {}\nt{{room=\"a\"}} 21 {NOW}\nt{{room=\"b\"}} 22\n",
            NOW - year
        );
        let (status, report) = send(&w, &old, &[("extra_label", "site=x")], &[], text.into_bytes()).await;
        assert_eq!((status, &report["written"]), (200, &json!(3)), "{report}");
        assert_eq!(*lock(&old), [(r#"t{room="a", site="x"}"#.to_owned(), NOW - year, 20.0)]);
        assert_eq!(
            w.floats().await,
            [
                (r#"t{room="a", site="x"}"#.to_owned(), vec![(NOW, 21.0)]),
                (r#"t{room="b", site="x"}"#.to_owned(), vec![(NOW, 22.0)])
            ]
        );
        assert_eq!(w.writer.store.metadata(Some("t")).await.unwrap()[0].help, "Warmth.");
        let stats = w.push.ingest.producer_stats("import").unwrap();
        assert_eq!((stats.samples.accepted, stats.series), (3, 0));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn openmetrics_writes_numbers_in_labels_as_a_scrape_does() {
        let (w, old) = (world(), Old::default());
        let year = NOW / 1000 - 31_536_000;
        let text = format!(
            "# TYPE h histogram\nh_bucket{{le=\"1\"}} 1 {year}\nh_bucket{{le=\"+Inf\"}} 1 {year}\nh_count 1 {year}\nh_sum 1 {year}\n\
             # TYPE s summary\ns{{quantile=\"0.50\"}} 1 {year}\n# TYPE g gauge\ng{{le=\"1\"}} 1 {year}\n# EOF\n"
        );
        let openmetrics = [("content-type", "application/openmetrics-text"), ("content-encoding", "IDENTITY")];
        let (status, report) = send(&w, &old, &[], &openmetrics, text.into_bytes()).await;
        assert_eq!(status, 200, "{report}");
        let series: Vec<String> = lock(&old).iter().map(|s| s.0.clone()).collect();
        let expected = [
            r#"h_bucket{le="1.0"}"#,
            r#"h_bucket{le="+Inf"}"#,
            "h_count",
            "h_sum",
            r#"s{quantile="0.5"}"#,
            r#"g{le="1"}"#,
        ];
        assert_eq!(series, expected);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn exemplars_that_are_left_out_are_counted_and_said() {
        let (w, old) = (world(), Old::default());
        let (new, year) = (NOW / 1000, NOW / 1000 - 31_536_000);
        let long = "x".repeat(200);
        let text = format!(
            "# TYPE a counter\na_total 1 {year} # {{id=\"1\"}} 1\na_total 2 {} # {{id=\"2\"}} 1\na_total 3 {new} # {{id=\"3\"}} 1\n\
             # TYPE b counter\nb_total 1 {new} # {{id=\"{long}\"}} 1\n# EOF\n",
            year + 1
        );
        let openmetrics = [("content-type", "application/openmetrics-text")];
        let (status, report) = send(&w, &old, &[], &openmetrics, text.into_bytes()).await;
        // The samples are all there.
        assert_eq!(
            (status, &report["written"], &report["exemplars_left_out"]),
            (200, &json!(4), &json!(3)),
            "{report}"
        );
        assert_eq!(faults(&report).0, ["2: exemplars of samples older than five minutes are left out"]);
        let any = [Matcher::equal("__name__", "a_total")];
        let kept = w.writer.store.exemplars(&any, TimeRange::ALL).await.unwrap();
        assert_eq!(kept[0].1.len(), 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn bad_lines_are_told_with_their_numbers_and_cost_no_other() {
        let (w, old) = (world(), Old::default());
        let (ahead, long) = (NOW + 3_600_000, "x".repeat(PUSHED_VALUE_BYTES_MAX + 1));
        let text = format!("a 1\nb{{x=1}} 2\nc 3\nd nothing\nf{{x=\"{long}\"}} 1\ne 1 {ahead}\n");
        let (status, report) = send(&w, &old, &[], &[], text.into_bytes()).await;
        assert_eq!(status, 400);
        assert_eq!((&report["written"], &report["bad_lines"], &report["ahead"]), (&json!(2), &json!(2), &json!(1)));
        assert_eq!((&report["errors"][0]["line"], &report["errors"][1]["line"]), (&json!(2), &json!(4)), "{report}");
        assert_eq!(report["series_refused"], 1);
    }

    /// `line: message`, and how many lines were bad.
    fn faults(report: &Json) -> (Vec<String>, u64) {
        let told = report["errors"].as_array().unwrap().iter();
        let told = told.map(|e| format!("{}: {}", e["line"], e["message"].as_str().unwrap())).collect();
        (told, report["bad_lines"].as_u64().unwrap())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_refused_is_told_with_its_line() {
        let (w, old) = (world(), Old::default());
        let (ahead, long) = (NOW + 3_600_000, "x".repeat(PUSHED_VALUE_BYTES_MAX + 1));
        let text = format!("# HELP a A.\n\nf{{x=\"{long}\"}} 1\na 1\nb 1\ne 1 {ahead}\na 2");
        let (status, report) = send(&w, &old, &[], &[], text.into_bytes()).await;
        let (told, bad) = faults(&report);
        assert_eq!((status, bad, told.len()), (400, 0, 3), "{report}");
        assert!(told[0].starts_with("3: ") && told[0].contains("\"x\""), "{told:?}");
        assert_eq!(told[1], "6: too far ahead of the clock");
        assert_eq!(told[2], "4: 1 of the samples in lines 4 to 7: another value stands at that time");
        let (_, report) = send(&w, &old, &[], &[], b"c 1\n".to_vec()).await;
        assert_eq!(faults(&report), (vec![], 0));
        let (_, report) = send(&w, &old, &[], &[], b"\nc 2\n".to_vec()).await;
        assert_eq!(faults(&report), (vec!["2: another value stands at that time".to_owned()], 0));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_missing_end_is_one_fault() {
        let (w, old) = (world(), Old::default());
        let openmetrics = [("content-type", "application/openmetrics-text")];
        for (text, line) in [("a 1\n", 2), ("a 1", 1), ("b 1\na 1", 2)] {
            let (_, report) = send(&w, &old, &[], &openmetrics, text.into()).await;
            assert_eq!(faults(&report), (vec![format!("{line}: the text does not end with `# EOF`")], 1), "{text}");
        }
        let (_, report) = send(&w, &old, &[], &openmetrics, b"a 1\nb x\n".to_vec()).await;
        assert_eq!(faults(&report).1, 2, "the end is missing beside what is bad");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn gzip_is_taken_and_its_bombs_are_not() {
        use std::io::Write as _;
        let (w, old) = (world(), Old::default());
        let gzip = |text: &[u8], times: usize| {
            let mut e = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            (0..times).for_each(|_| e.write_all(text).unwrap());
            e.finish().unwrap()
        };
        let header = [("content-encoding", "gzip")];
        assert_eq!(send(&w, &old, &[], &header, gzip(b"a 1\n", 1)).await.0, 200);
        assert_eq!(send(&w, &old, &[], &header, b"a 1\n".to_vec()).await.0, 400);
        let bomb = gzip(&[b'#'; 1 << 20], 1 + (crate::push::import::IMPORT_TEXT_BYTES_MAX >> 20));
        let (status, said) = send(&w, &old, &[], &header, bomb).await;
        assert_eq!(status, 413, "{said}");
        assert_eq!(send(&w, &old, &[], &[("content-encoding", "br")], Vec::new()).await.0, 415);
        let (status, said) = send(&w, &old, &[("timestamp", "yesterday")], &[], Vec::new()).await;
        assert_eq!(status, 400);
        assert!(said.as_str().unwrap().contains("timestamp=MILLISECONDS"), "{said}");
    }
}
