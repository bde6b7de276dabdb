use std::collections::BTreeMap;

use belfry_model::{Labels, Sample, TimestampMs, Value};
use belfry_prompb::read;
use belfry_testkit::SimClock;
use prost::Message as _;

use super::*;
use crate::engine::SeriesSamples;
use crate::fake::{Asked, serve};

/// What an engine does with version 2.
#[derive(Clone, Copy, PartialEq)]
enum Version2 {
    /// It says how much it wrote.
    Understands,
    /// 415.
    SaysNo,
    /// It reads a request of version 1 without series, and says that all is well.
    TakesForVersion1,
    /// It refuses what it cannot read.
    RefusesTheBody,
}

/// An engine as Prometheus is without a window for what comes late: each series has its samples in order of time, and a
/// request of version 1 with a sample that is not behind the last one is refused whole.
struct World {
    version_2: Version2,
    /// Larger requests are answered 413.
    bytes_max: usize,
    series: BTreeMap<String, Vec<i64>>,
    /// Series of which nothing is taken.
    never: fn(&str) -> bool,
    /// The paths it knows, or all are refused, whatever is sent.
    knows_the_address: bool,
    refuses_empty: bool,
    /// Which request it takes without an answer …
    breaks_at: Option<usize>,
    /// … or does not even take.
    is_lost: bool,
    /// Versions of writes that were asked; 0 for a read.
    asked: Vec<u8>,
    reads: Reads,
}

/// What an engine does with reads.
#[derive(Clone, Copy, PartialEq)]
enum Reads {
    /// It answers them raw.
    Raw,
    /// All of them with this status.
    Says(&'static str),
}

type Shared<T> = Arc<Mutex<T>>;

fn world() -> Shared<World> {
    Arc::new(Mutex::new(World {
        version_2: Version2::Understands,
        bytes_max: usize::MAX,
        series: BTreeMap::new(),
        never: |_| false,
        knows_the_address: true,
        refuses_empty: false,
        breaks_at: None,
        is_lost: false,
        asked: Vec::new(),
        reads: Reads::Raw,
    }))
}

impl World {
    fn answer(&mut self, asked: &Asked) -> Option<(String, Vec<u8>)> {
        let is_read = asked.head.lines().next().is_some_and(|line| line.contains("/api/v1/"));
        let breaks = self.breaks_at == Some(self.asked.len() + 1);
        if is_read || breaks && self.is_lost {
            self.asked.push(0);
            return (!breaks).then(|| self.answer_to_read(asked));
        }
        let plain = snap::raw::Decoder::new().decompress_vec(&asked.body).expect("packed");
        let is_v2 = asked.head.contains("write.v2.request");
        self.asked.push(if is_v2 { 2 } else { 1 });
        let answer = self.answer_to(asked.body.len(), &plain, is_v2);
        (!breaks).then_some((answer.0, answer.1.into_bytes()))
    }

    fn answer_to_read(&self, asked: &Asked) -> (String, Vec<u8>) {
        if let Reads::Says(status) = self.reads {
            return (status.to_owned(), Vec::new());
        }
        let plain = snap::raw::Decoder::new().decompress_vec(&asked.body).expect("packed");
        let request = read::ReadRequest::decode(&*plain).expect("a request");
        let [query] = &request.queries[..] else { panic!("{request:?}") };
        let [of] = &query.matchers[..] else { panic!("{query:?}") };
        let names = regex::Regex::new(&format!("^(?:{})$", of.value)).expect("an expression");
        let series = self.series.iter().filter(|(name, _)| names.is_match(name)).map(|(name, times)| {
            let within = times.iter().filter(|t| (query.start_timestamp_ms..=query.end_timestamp_ms).contains(*t));
            let sample = |at: &i64| belfry_prompb::Sample { value: *at as f64, timestamp: *at, ..Default::default() };
            belfry_prompb::TimeSeries {
                labels: vec![belfry_prompb::Label { name: "__name__".into(), value: name.clone() }],
                samples: within.map(sample).collect(),
                ..Default::default()
            }
        });
        let answer = read::ReadResponse { results: vec![read::QueryResult { timeseries: series.collect() }] };
        let packed = belfry_prompb::packed(&answer).expect("an answer");
        ("200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-encoding: snappy".to_owned(), packed)
    }

    fn answer_to(&mut self, bytes: usize, plain: &[u8], is_v2: bool) -> (String, String) {
        let refuse = |why: &str| ("400 Bad Request".to_owned(), why.to_owned());
        if !self.knows_the_address {
            return refuse(&format!("request {}: unsupported path", self.asked.len()));
        }
        if bytes > self.bytes_max {
            return ("413 Too Large".to_owned(), String::new());
        }
        let mut series: Vec<(String, Vec<i64>)> = Vec::new();
        if is_v2 {
            match self.version_2 {
                Version2::Understands => {}
                Version2::SaysNo => return ("415 Not This".to_owned(), String::new()),
                Version2::TakesForVersion1 => return ("204 Fine".to_owned(), String::new()),
                Version2::RefusesTheBody => return refuse("cannot unmarshal"),
            }
            let request = belfry_prompb::v2::Request::decode(plain).expect("a request");
            for s in request.timeseries {
                let name = request.symbols[s.labels_refs[1] as usize].clone();
                series.push((name, s.samples.iter().map(|s| s.timestamp).collect()));
            }
        } else {
            let request = belfry_prompb::WriteRequest::decode(plain).expect("a request");
            if request.timeseries.is_empty() && self.refuses_empty {
                return refuse("nothing to write");
            }
            for s in request.timeseries {
                series.push((s.labels[0].value.clone(), s.samples.iter().map(|s| s.timestamp).collect()));
            }
        }
        let (mut kept, mut written, mut bad) = (self.series.clone(), 0, 0);
        for (name, times) in series {
            for at in times {
                let all = kept.entry(name.clone()).or_default();
                // The last one once more is no news.
                if (self.never)(&name) || all.last().is_some_and(|last| at < *last) {
                    bad += 1;
                } else {
                    all.push(at);
                    all.dedup();
                    written += 1;
                }
            }
        }
        if is_v2 || bad == 0 {
            self.series = kept;
        }
        let head = if bad == 0 { "204 Fine" } else { "400 Bad Request" };
        let count =
            if is_v2 { format!("\r\nx-prometheus-remote-write-samples-written: {written}") } else { String::new() };
        (format!("{head}{count}"), if bad == 0 { String::new() } else { "out of order sample".to_owned() })
    }

    /// How many samples it has, and which versions it was asked by.
    fn seen(&self) -> (usize, Vec<u8>) {
        (self.has(), self.asked.clone())
    }

    /// How many samples it has.
    fn has(&self) -> usize {
        self.series.values().map(Vec::len).sum()
    }
}

async fn engine_of(world: &Shared<World>, protocol: Protocol) -> Prometheus {
    engine_at(world, protocol, Arc::new(SimClock::at(TimestampMs(0)))).await
}

async fn engine_at(world: &Shared<World>, protocol: Protocol, clock: Arc<SimClock>) -> Prometheus {
    let answers = world.clone();
    let write_url = serve(move |asked| answers.lock().answer(&asked)).await;
    let options = PrometheusOptions {
        read_url: write_url.clone(),
        write_url,
        protocol,
        http: ClientOptions::default(),
        timeout: Duration::from_secs(30),
    };
    Prometheus::new(options, clock).expect("an engine")
}

/// `series` of so many samples each, at these times.
fn shipment(series: usize, times: std::ops::Range<i64>) -> Shipment {
    let sample = |at| Sample { at: TimestampMs(at), value: Value::Float(at as f64), start: None };
    let one = |i: usize| SeriesSamples {
        labels: Labels::from_pairs([("__name__".to_owned(), format!("metric_{i}_{}", i * 7_919))]),
        samples: times.clone().map(sample).collect(),
        exemplars: Vec::new(),
    };
    Shipment { series: (0..series).map(one).collect(), metadata: Vec::new() }
}

fn name(series: usize) -> String {
    format!("metric_{series}_{}", series * 7_919)
}

#[track_caller]
fn refused(outcome: &Result<Sent, SendError>) -> u64 {
    match outcome {
        Err(SendError::Refused { samples: Some(samples), .. }) => *samples,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_too_large_goes_in_parts_and_only_what_is_too_large_alone_is_refused() {
    for protocol in [Protocol::V1, Protocol::V2] {
        let world = world();
        world.lock().bytes_max = 700;
        let engine = engine_of(&world, protocol).await;
        assert_eq!(engine.send(&shipment(100, 0..1)).await, Ok(Sent::default()));
        assert_eq!(world.lock().has(), 100);
        let written = world.lock().asked.iter().copied().filter(|v| *v > 0).collect::<Vec<_>>();
        assert!(written.iter().all(|v| (*v == 2) == (protocol == Protocol::V2)), "in the version it speaks");
        world.lock().bytes_max = 10;
        assert_eq!(refused(&engine.send(&shipment(3, 5..6)).await), 3);
    }
}

#[tokio::test]
async fn a_bad_series_costs_itself_alone() {
    // Two of them ask what is there of the first shipment: the names are too long for one.
    for (protocol, requests_max) in [(Protocol::V1, 26), (Protocol::V2, 1)] {
        let world = world();
        world.lock().never = |name| name.starts_with("metric_617_");
        let outcome = engine_of(&world, protocol).await.send(&shipment(1_000, 0..2)).await;
        assert_eq!((refused(&outcome), world.lock().has()), (2, 1_998), "{protocol:?}");
        let requests = world.lock().asked.len();
        assert!(requests <= requests_max, "{requests} requests by {protocol:?}");
    }
}

#[tokio::test]
async fn samples_that_came_too_late_do_not_take_the_later_ones_of_their_series_with_them() {
    let world = world();
    world.lock().series.insert(name(3), vec![1_002]);
    let outcome = engine_of(&world, Protocol::V1).await.send(&shipment(8, 1_000..1_100)).await;
    // The one at 1,002 it has already.
    assert_eq!((refused(&outcome), world.lock().has()), (2, 798));
    assert!(world.lock().series.values().all(|times| times.is_sorted()));
}

#[tokio::test]
async fn what_is_refused_whatever_is_done_takes_a_bounded_number_of_requests() {
    for series in [1, 2, 2_000] {
        let world = world();
        let engine = engine_of(&world, Protocol::V1).await;
        assert_eq!(engine.send(&shipment(1, 0..1)).await, Ok(Sent::default()), "nothing is unsure any more");
        world.lock().never = |_| true;
        world.lock().asked.clear();
        let outcome = engine.send(&shipment(series, 1..4)).await;
        assert_eq!(refused(&outcome), 3 * series as u64, "all of it is counted, once");
        let requests = world.lock().asked.len();
        assert!(requests <= 2 * halves::REFUSALS_MAX + 2, "{requests} requests for {series} series");
    }
}

#[tokio::test]
async fn a_break_at_any_request_loses_nothing_when_the_shipment_comes_again() {
    for bad in [false, true] {
        let whole = world();
        let never: fn(&str) -> bool = if bad { |name| name.starts_with("metric_17_") } else { |_| false };
        whole.lock().never = never;
        let _ = engine_of(&whole, Protocol::V1).await.send(&shipment(40, 0..5)).await;
        let requests = whole.lock().asked.len();
        for breaks_at in 1..=requests {
            let world = world();
            world.lock().never = never;
            world.lock().breaks_at = Some(breaks_at);
            let engine = engine_of(&world, Protocol::V1).await;
            let first = engine.send(&shipment(40, 0..5)).await;
            assert!(matches!(first, Err(SendError::Away { .. })), "{first:?}");
            let _ = engine.send(&shipment(40, 0..5)).await;
            // And another one after it.
            let _ = engine.send(&shipment(40, 5..7)).await;
            let good = if bad { 39 } else { 40 };
            assert_eq!(
                world.lock().has(),
                good * 7,
                "a break at request {breaks_at} of {requests}, a bad series: {bad}"
            );
        }
    }
}

#[tokio::test]
async fn killed_at_any_request_it_loses_nothing_good_and_asks_little_more_than_before() {
    let never: fn(&str) -> bool = |name| name.starts_with("metric_5_") || name.starts_with("metric_22_");
    let whole = world();
    whole.lock().never = never;
    assert_eq!(refused(&engine_of(&whole, Protocol::V1).await.send(&shipment(24, 0..3)).await), 6);
    let requests = whole.lock().asked.len();
    for (dies_at, is_lost) in (1..=requests).flat_map(|at| [(at, false), (at, true)]) {
        let world = world();
        (world.lock().never, world.lock().breaks_at, world.lock().is_lost) = (never, Some(dies_at), is_lost);
        let first = engine_of(&world, Protocol::V1).await.send(&shipment(24, 0..3)).await;
        assert!(matches!(first, Err(SendError::Away { .. })), "{first:?}");
        world.lock().asked.clear();
        world.lock().breaks_at = None;
        let then = engine_of(&world, Protocol::V1).await.send(&shipment(24, 0..3)).await;
        let what = format!("dead at request {dies_at} of {requests}, lost: {is_lost}");
        assert_eq!((refused(&then), world.lock().has()), (6, 22 * 3), "{what}");
        let asked = world.lock().asked.clone();
        assert_eq!(asked.iter().filter(|version| **version == 0).count(), 1, "one read, {what}");
        // What is there may leave the bad ones where they are found later.
        assert!(asked.len() <= requests + 6, "{} requests, {what}", asked.len());
    }
}

#[tokio::test]
async fn what_is_all_there_takes_three_requests_and_counts_as_sent() {
    for times in [2, 500] {
        let world = world();
        assert_eq!(engine_of(&world, Protocol::V1).await.send(&shipment(30, 0..times)).await, Ok(Sent::default()));
        world.lock().asked.clear();
        assert_eq!(engine_of(&world, Protocol::V1).await.send(&shipment(30, 0..times)).await, Ok(Sent::default()));
        assert_eq!(world.lock().asked, [1, 1, 0], "all of it, nothing, and the read");
    }
}

#[tokio::test]
async fn an_engine_that_cannot_be_read_now_is_away_and_one_that_never_can_is_sent_halves() {
    let never: fn(&str) -> bool = |name| name.starts_with("metric_7_");
    for status in ["503 Later", "429 Slower", "500 Broken"] {
        let world = world();
        (world.lock().never, world.lock().reads) = (never, Reads::Says(status));
        let engine = engine_of(&world, Protocol::V1).await;
        let outcome = engine.send(&shipment(20, 0..2)).await;
        let Err(SendError::Away { reason, .. }) = outcome else { panic!("{outcome:?}") };
        assert!(reason.contains("cannot be read"), "{reason}");
        assert_eq!(world.lock().has(), 0, "nothing is tried meanwhile");
        world.lock().reads = Reads::Raw;
        assert_eq!((refused(&engine.send(&shipment(20, 0..2)).await), world.lock().has()), (2, 38));
    }
    for status in ["404 No", "403 No", "400 No", "501 No", "200 What"] {
        let world = world();
        (world.lock().never, world.lock().reads) = (never, Reads::Says(status));
        let outcome = engine_of(&world, Protocol::V1).await.send(&shipment(20, 0..2)).await;
        assert_eq!((refused(&outcome), world.lock().has()), (2, 38), "{status}");
    }
}

#[tokio::test]
async fn a_search_that_breaks_off_goes_on_where_it_was() {
    let never: fn(&str) -> bool = |name| name.starts_with("metric_17_");
    let whole = world();
    whole.lock().never = never;
    let _ = engine_of(&whole, Protocol::V1).await.send(&shipment(40, 0..1)).await;
    let requests = whole.lock().asked.len();
    // The first three ask for all of it, for nothing, and what is there.
    for breaks_at in 3..=requests {
        let world = world();
        world.lock().never = never;
        world.lock().breaks_at = Some(breaks_at);
        let engine = engine_of(&world, Protocol::V1).await;
        let first = engine.send(&shipment(40, 0..1)).await;
        assert!(matches!(first, Err(SendError::Away { .. })), "{first:?}");
        assert_eq!((refused(&engine.send(&shipment(40, 0..1)).await), world.lock().has()), (1, 39));
        let asked = world.lock().asked.len();
        assert!(asked <= requests + 2, "the request that broke off, and what is there: {asked}, not {requests}");
    }
}

#[tokio::test]
async fn a_place_that_refuses_an_empty_request_too_is_a_wrong_address_and_samples_wait() {
    for protocol in [Protocol::V1, Protocol::V2] {
        let world = world();
        world.lock().knows_the_address = false;
        let engine = engine_of(&world, protocol).await;
        let outcome = engine.send(&shipment(4, 0..1)).await;
        let Err(SendError::Away { reason, .. }) = outcome else { panic!("{outcome:?}") };
        assert!(reason.contains("address") && reason.contains("unsupported path"), "{reason}");
        assert_eq!(world.lock().asked.len(), if protocol == Protocol::V1 { 2 } else { 3 }, "one probe");
        world.lock().knows_the_address = true;
        assert_eq!(engine.send(&shipment(4, 0..1)).await, Ok(Sent::default()));
    }
}

#[tokio::test]
async fn an_engine_that_refuses_what_is_empty_for_being_empty_is_the_right_one() {
    let world = world();
    world.lock().never = |name| name.starts_with("metric_1_");
    world.lock().refuses_empty = true;
    let outcome = engine_of(&world, Protocol::V1).await.send(&shipment(4, 0..1)).await;
    assert_eq!((refused(&outcome), world.lock().has()), (1, 3));
}

#[tokio::test]
async fn an_engine_that_does_not_understand_version_2_gets_1_and_is_asked_again_after_an_hour() {
    for version_2 in [Version2::SaysNo, Version2::TakesForVersion1, Version2::RefusesTheBody] {
        let world = world();
        world.lock().version_2 = version_2;
        let clock = Arc::new(SimClock::at(TimestampMs(0)));
        let engine = engine_at(&world, Protocol::default(), clock.clone()).await;
        let mut now = 0;
        let mut send_for = async |until: i64| {
            for at in std::mem::replace(&mut now, until)..until {
                assert_eq!(engine.send(&shipment(2, at..at + 1)).await, Ok(Sent::default()));
            }
        };
        send_for(3).await;
        assert_eq!(world.lock().seen(), (6, vec![2, 1, 1, 1]));
        world.lock().version_2 = Version2::Understands;
        clock.advance(VERSION_2_AGAIN - Duration::from_millis(1));
        send_for(4).await;
        assert_eq!(world.lock().seen(), (8, vec![2, 1, 1, 1, 1]), "the hour is not over");
        clock.advance(Duration::from_millis(1));
        send_for(6).await;
        assert_eq!(world.lock().seen(), (12, vec![2, 1, 1, 1, 1, 2, 2]));
    }
}

#[tokio::test]
async fn a_bad_series_is_found_for_an_engine_that_does_not_understand_version_2_as_well() {
    let world = world();
    world.lock().version_2 = Version2::RefusesTheBody;
    world.lock().never = |name| name.starts_with("metric_5_");
    let engine = engine_of(&world, Protocol::V2).await;
    assert_eq!((refused(&engine.send(&shipment(16, 0..1)).await), world.lock().has()), (1, 15));
    let by_2 = world.lock().asked.iter().filter(|v| **v == 2).count();
    assert_eq!(by_2, 1, "its parts are not tried by version 2");
}
