use std::sync::Arc;

use async_trait::async_trait;
use belfry_dashboard::backend::QueryOptions;
use belfry_model::{Clock as _, Labels, METRIC_NAME, TimestampMs};
use belfry_promql::{PointValue, QueryValue};
use belfry_remote::engine::{
    Engine, EngineAnswer, EngineQueryError, EngineValue, QueryBackend, SendError, Sent, SeriesSamples, Shipment, When,
};
use belfry_remote::shipper::Step;
use belfry_rules::groups::shared::Shared;
use belfry_testkit::{MemorySeries, SimClock};
use parking_lot::Mutex;

use super::*;
use crate::engine::StorageEngine;

const NOW: i64 = 100_000;
/// What the engine says is told from what is evaluated here, where each value is 1.
const THERE: f64 = 7.0;

/// An engine that answers every expression with series of its own.
struct Fake {
    series: usize,
    points: usize,
    is_silent: bool,
    /// Its series differ by their names alone.
    by_name: bool,
    asked: Mutex<Vec<(String, When)>>,
}

#[async_trait]
impl QueryBackend for Fake {
    async fn query(&self, text: &str, when: When, _: Option<Duration>) -> Result<EngineAnswer, EngineQueryError> {
        self.asked.lock().push((text.to_owned(), when));
        if self.is_silent {
            std::future::pending::<()>().await;
        }
        let labels = |i: usize| if self.by_name { named(["a", "b"][i], 0) } else { named("a", i) };
        let value = match when {
            When::Instant(at) if self.points > 1 => {
                let points: Vec<_> =
                    (0..self.points).map(|i| (at.minus(Duration::from_secs(i as u64)), THERE)).collect();
                EngineValue::Matrix((0..self.series).map(|i| (labels(i), points.clone())).collect())
            }
            When::Instant(at) => EngineValue::Vector((0..self.series).map(|i| (labels(i), at, THERE)).collect()),
            When::Range { start, end, step } => {
                let mut points = Vec::new();
                let mut at = start;
                while at <= end {
                    points.push((at, THERE));
                    at = at.plus(step);
                }
                EngineValue::Matrix((0..self.series).map(|i| (labels(i), points.clone())).collect())
            }
        };
        Ok(EngineAnswer { value, warnings: Vec::new(), infos: Vec::new() })
    }
}

struct Away;

#[async_trait]
impl Engine for Away {
    fn kind(&self) -> &'static str {
        "fake"
    }

    async fn send(&self, _: &Shipment) -> Result<Sent, SendError> {
        Err(SendError::Away { reason: "it is not there".to_owned(), retry_after_ms: None })
    }

    fn reader(&self) -> Arc<dyn SeriesRead> {
        Arc::new(MemorySeries::new())
    }
}

fn named(name: &str, i: usize) -> Labels {
    Labels::from_pairs([(METRIC_NAME, name.to_owned()), ("i", i.to_string())])
}

fn at(seconds: i64) -> TimestampMs {
    TimestampMs(seconds * 1000)
}

/// An engine with a window of six hours, and who asks.
struct House {
    fake: Arc<Fake>,
    engine: Arc<StorageEngine>,
    clock: Arc<SimClock>,
    queries: Queries,
    _folder: tempfile::TempDir,
}

impl House {
    fn new(fake: Fake, bounds: impl FnOnce(&mut belfry_config::types::queries::Queries)) -> Self {
        let mut store = MemorySeries::new();
        store.push_floats(&named("a", 0), at(NOW - 50_000), 10_000, &[1.0; 5_001]);
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Arc::new(SimClock::at(at(NOW)));
        let window = Duration::from_secs(6 * 3600);
        let engine = StorageEngine::of(Arc::new(Away), folder.path(), window, clock.clone()).expect("a queue");
        let mut config = belfry_config::types::queries::Queries {
            lookback: LOOKBACK,
            timeout: Duration::from_secs(60),
            series: 100,
            samples: 100_000,
            points: 100_000,
            memory_bytes: 1 << 30,
            concurrent: None,
            waiting: 10,
        };
        bounds(&mut config);
        let (store, fake) = (Arc::new(store), Arc::new(fake));
        let pass = Pass::new(fake.clone(), engine.clone());
        let queries = Queries::new(store.clone(), clock.clone(), Duration::MAX, &config, Duration::from_secs(60));
        Self { fake, engine, clock, queries: queries.passing(Some(pass), store), _folder: folder }
    }

    fn plain() -> Self {
        Self::new(Fake { series: 1, points: 1, is_silent: false, by_name: false, asked: Mutex::default() }, |_| ())
    }

    async fn ask(&self, text: &str, time: QueryTime) -> Result<Answer, QueryFault> {
        let asked = self.queries.ask(text, time, QueryOptions::default()).await;
        asked.map(|asked| Arc::unwrap_or_clone(asked.answer))
    }

    /// The labels of the answer's series, and its values without their times.
    async fn labels_and_values(&self, text: &str, time: QueryTime) -> (Vec<String>, Vec<f64>) {
        let float = |v: &PointValue| if let PointValue::Float(v) = v { *v } else { panic!("a histogram") };
        match self.ask(text, time).await.expect("an answer").value {
            QueryValue::Vector(all) => all.iter().map(|p| (p.labels.to_string(), float(&p.value))).unzip(),
            QueryValue::Matrix(rows) => {
                let values = rows.iter().flat_map(|r| r.points.iter().map(|p| float(&p.1))).collect();
                (rows.iter().map(|r| r.labels.to_string()).collect(), values)
            }
            other => panic!("{other:?} is no vector"),
        }
    }

    /// Samples of a series are acknowledged, in order of time.
    fn write(&self, times: &[i64]) {
        let sample = |t: &i64| belfry_model::Sample { at: at(*t), value: belfry_model::Value::Float(1.0), start: None };
        let series =
            SeriesSamples { labels: named("a", 0), samples: times.iter().map(sample).collect(), exemplars: Vec::new() };
        self.engine.queue.append_series(&series, self.clock.now()).expect("it is queued");
        self.queries.written(at(times[0]));
    }

    /// The engine's answer to all that waits.
    fn ship(&self, outcome: &Result<Sent, SendError>) {
        while let Step::Send(parcel) = self.engine.next_step(self.clock.now()) {
            self.engine.outcome(self.clock.now(), &parcel, outcome.clone());
        }
    }

    /// Does the engine answer this, so many seconds ago?
    async fn is_passed(&self, text: &str, ago: i64) -> bool {
        self.fake.asked.lock().clear();
        let time = QueryTime::Instant(self.queries.clock.now().minus(Duration::from_secs(ago.unsigned_abs())));
        self.ask(text, time).await.expect("an answer");
        !self.fake.asked.lock().is_empty()
    }
}

fn floats(answer: &Answer) -> Vec<(i64, f64)> {
    let QueryValue::Matrix(rows) = &answer.value else { panic!("{:?} is no matrix", answer.value) };
    let [row] = &rows[..] else { panic!("{} rows", rows.len()) };
    let float = |v: &PointValue| match v {
        PointValue::Float(v) => *v,
        PointValue::Histogram(_) => panic!("no histogram was written"),
    };
    row.points.iter().map(|(at, v)| (at.0 / 1000 - NOW, float(v))).collect()
}

#[tokio::test]
async fn the_engine_is_asked_for_what_is_older_than_a_minute() {
    let house = House::plain();
    assert!(!house.is_passed("a", 0).await);
    assert!(!house.is_passed("a", 60).await);
    assert!(house.is_passed("a", 61).await);
    assert!(house.is_passed("a offset 2m", 0).await);
    assert!(!house.is_passed("a + a offset 2m", 0).await);
    assert!(!house.is_passed("max_over_time(a[6h])", 0).await);
    assert!(!house.is_passed("a + a offset 1w", 0).await, "little is read of what is far back");
}

#[tokio::test]
async fn nobody_is_asked_for_what_needs_no_series() {
    let house = House::plain();
    for text in ["\"text\"", "1 + 1", "vector(time())"] {
        assert!(!house.is_passed(text, 600).await, "{text}");
    }
}

#[tokio::test]
async fn what_only_the_engine_understands_goes_there_as_it_is() {
    let house = House::plain();
    assert!(house.is_passed("rollup(a[1m]) keep_metric_names", 0).await);
    assert_eq!(house.fake.asked.lock()[0].0, "rollup(a[1m]) keep_metric_names");
}

#[tokio::test]
async fn the_last_steps_of_a_range_are_evaluated_here_and_the_others_there() {
    let house = House::plain();
    let step = Duration::from_secs(30);
    let time = QueryTime::Range { start: at(NOW - 150), end: at(NOW), step };
    let answer = house.ask("a", time).await.expect("an answer");
    let asked = When::Range { start: at(NOW - 150), end: at(NOW - 90), step };
    assert_eq!(*house.fake.asked.lock(), [("a".to_owned(), asked)]);
    let all = [(-150, THERE), (-120, THERE), (-90, THERE), (-60, 1.0), (-30, 1.0), (0, 1.0)];
    assert_eq!(floats(&answer), all);
}

#[tokio::test]
async fn a_rule_is_never_passed_on() {
    let house = House::plain();
    for text in ["a", "a offset 1h", "max_over_time(a[12h])"] {
        let time = QueryTime::Instant(at(NOW));
        house.queries.evaluate_sharing(text, time, &Shared::default()).await.expect("an answer");
        house.queries.evaluate_rule(text, time).await.expect("an answer");
    }
    assert!(house.fake.asked.lock().is_empty());
}

#[tokio::test]
async fn what_was_written_late_is_read_here_until_the_engine_shows_it() {
    let house = House::plain();
    house.queries.written(at(NOW - 1800));
    assert!(house.is_passed("a", 1900).await);
    assert!(!house.is_passed("a", 1700).await);
    // Nothing waits in the queue.
    house.clock.advance(Duration::from_secs(61));
    assert!(house.is_passed("a", 1700).await);
}

#[tokio::test]
async fn what_waits_is_read_here_and_who_reads_back_too_far_is_warned() {
    let house = House::plain();
    let long = async || {
        let answer = house.ask("max_over_time(a[13h])", QueryTime::Instant(house.queries.clock.now())).await;
        answer.expect("an answer").warnings
    };
    assert_eq!(long().await, [""; 0], "nothing waits");
    let sample = belfry_model::Sample { at: at(NOW), value: belfry_model::Value::Float(1.0), start: None };
    let series = SeriesSamples { labels: named("a", 0), samples: vec![sample], exemplars: Vec::new() };
    house.engine.queue.append_series(&series, at(NOW)).expect("it is queued");
    house.queries.written(at(NOW));
    house.clock.advance(Duration::from_secs(1200));
    assert!(!house.is_passed("a", 1100).await);
    assert!(house.is_passed("a", 1201).await);
    let warnings = long().await;
    assert!(matches!(&warnings[..], [one] if one.contains("have waited for it for 20m")), "{warnings:?}");
}

#[tokio::test]
async fn an_engine_that_is_behind_for_longer_than_the_window_is_asked_for_what_is_before_the_window() {
    let house = House::plain();
    let sample = belfry_model::Sample { at: at(NOW), value: belfry_model::Value::Float(1.0), start: None };
    let series = SeriesSamples { labels: named("a", 0), samples: vec![sample], exemplars: Vec::new() };
    house.engine.queue.append_series(&series, at(NOW)).expect("it is queued");
    house.queries.written(at(NOW));
    house.clock.advance(Duration::from_secs(86_400));
    let now = house.queries.clock.now();
    let (hour, step) = (Duration::from_secs(3600), Duration::from_secs(600));
    let time = QueryTime::Range { start: now.minus(hour * 12), end: now, step };
    house.ask("a", time).await.expect("an answer");
    let until = now.minus(hour * 6 + step);
    let asked = When::Range { start: now.minus(hour * 12), end: until, step };
    assert_eq!(*house.fake.asked.lock(), [("a".to_owned(), asked)]);
}

#[tokio::test]
async fn the_bounds_of_queries_hold_for_what_the_engine_answers() {
    let fake = |series, points| Fake { series, points, is_silent: false, by_name: false, asked: Mutex::default() };
    let error = async |fake, time, bounds: fn(&mut belfry_config::types::queries::Queries)| {
        let answer = House::new(fake, bounds).ask("a", time).await;
        answer.map_or_else(|e| e.to_string(), |a| format!("{:?}", a.value))
    };
    let instant = QueryTime::Instant(at(NOW - 600));
    let range = QueryTime::Range { start: at(NOW - 700), end: at(NOW - 600), step: Duration::from_secs(1) };
    let text = error(fake(6, 1), instant, |q| q.series = 5).await;
    assert!(text.starts_with("the query selects more than 5 series"), "{text}");
    let text = error(fake(5, 1), instant, |q| q.series = 5).await;
    assert!(text.starts_with("Vector"), "{text}");
    let text = error(fake(2, 11), instant, |q| q.samples = 20).await;
    assert!(text.starts_with("the query reads more than 20 samples"), "{text}");
    let text = error(fake(2, 1), range, |q| q.points = 200).await;
    assert!(text.starts_with("the query needs more than 200 points at a time"), "{text}");
    let text = error(fake(1, 1), range, |q| q.points = 100).await;
    assert!(text.starts_with("the query has 101 steps, more than 100 points"), "{text}");
}

#[tokio::test]
async fn an_engine_that_does_not_answer_takes_no_longer_than_a_query_may() {
    let fake = Fake { series: 1, points: 1, is_silent: true, by_name: false, asked: Mutex::default() };
    let house = House::new(fake, |q| q.timeout = Duration::from_millis(50));
    let answer = house.ask("a", QueryTime::Instant(at(NOW - 600))).await;
    assert!(matches!(answer, Err(QueryFault::TimedOut(_))), "{answer:?}");
    assert_eq!(house.fake.asked.lock().len(), 1);
}

#[tokio::test]
async fn series_have_the_names_that_promql_leaves_them_whoever_evaluates() {
    let house = House::plain();
    let range = QueryTime::Range { start: at(NOW - 150), end: at(NOW), step: Duration::from_secs(75) };
    let old = QueryTime::Instant(at(NOW - 600));
    for (text, labels) in [("max_over_time(a[1s])", r#"{i="0"}"#), ("last_over_time(a[1s])", r#"a{i="0"}"#)] {
        assert!(house.is_passed(text, 600).await);
        assert_eq!(house.labels_and_values(text, range).await, (vec![labels.to_owned()], vec![THERE, THERE, 1.0]));
        assert_eq!(house.labels_and_values(text, old).await, (vec![labels.to_owned()], vec![THERE]));
    }
}

#[tokio::test]
async fn the_value_has_the_type_that_promql_gives_it_whoever_evaluates() {
    let old = QueryTime::Instant(at(NOW - 600));
    let asked = async |series, text| {
        let fake = Fake { series, points: 1, is_silent: false, by_name: false, asked: Mutex::default() };
        match House::new(fake, |_| ()).ask(text, old).await.expect("an answer").value {
            QueryValue::Scalar(at, value) => (at, value),
            other => panic!("{other:?} is no scalar"),
        }
    };
    assert_eq!(asked(1, "scalar(a)").await, (at(NOW - 600), THERE));
    assert!(asked(0, "scalar(a)").await.1.is_nan());
    assert_eq!(asked(2, "scalar(a)").await.1, 1.0, "that is no answer, so it is evaluated here");
}

#[tokio::test]
async fn samples_as_they_are_and_subqueries_are_not_passed_on_unless_they_are_long() {
    let house = House::plain();
    for text in ["a[1m]", "a[1m] @ 1000", "a[1m:20s]"] {
        assert!(!house.is_passed(text, 600).await, "{text}");
    }
    assert!(house.is_passed("max_over_time(a[1m])", 600).await);
    assert!(house.is_passed("a[13h]", 600).await);
}

#[tokio::test]
async fn what_would_be_one_series_twice_is_evaluated_here() {
    let fake = || Fake { series: 2, points: 1, is_silent: false, by_name: true, asked: Mutex::default() };
    let house = House::new(fake(), |_| ());
    let range = QueryTime::Range { start: at(NOW - 150), end: at(NOW), step: Duration::from_secs(75) };
    let old = QueryTime::Instant(at(NOW - 600));
    let here = |values: &[f64]| (vec![r#"{i="0"}"#.to_owned()], values.to_vec());
    assert_eq!(house.labels_and_values("round({i=\"0\"})", old).await, here(&[1.0]));
    assert_eq!(house.labels_and_values("round({i=\"0\"})", range).await, here(&[1.0; 3]));
    assert_eq!(house.fake.asked.lock().len(), 2, "only its answer shows it");
    assert_eq!(house.labels_and_values("{i=\"0\"}", old).await.1, [THERE; 2]);
}

#[tokio::test]
async fn what_looks_at_names_that_are_gone_is_not_passed_on() {
    let house = House::plain();
    for text in [
        "sum by (__name__) (max_over_time(a[1m]))",
        "a or round(a)",
        "label_replace(round(a), \"x\", \"$1\", \"__name__\", \"(.*)\")",
        "sum by (__name__) (max_over_time(a[13h]))",
    ] {
        assert!(!house.is_passed(text, 600).await, "{text}");
    }
    assert!(house.is_passed("sum by (__name__) (a)", 600).await);
}

#[tokio::test]
async fn what_the_engine_refused_is_read_here_and_who_reads_back_too_far_is_warned() {
    let house = House::plain();
    house.write(&[NOW - 3600, NOW]);
    house.ship(&Err(SendError::Refused { reason: "too old".to_owned(), samples: Some(1) }));
    house.clock.advance(Duration::from_secs(4000));
    house.write(&[NOW + 4000]);
    house.ship(&Ok(Sent::default()));
    house.clock.advance(Duration::from_secs(61));
    let now = NOW + 4061;
    let is_passed = async |text, time: i64| house.is_passed(text, now - time).await;
    let minute = "last_over_time(a[1m])";
    assert!(!is_passed(minute, NOW - 3600).await);
    assert!(!is_passed(minute, NOW - 3541).await);
    assert!(!is_passed(minute, NOW).await);
    assert!(is_passed(minute, NOW - 3601).await);
    assert!(is_passed(minute, NOW - 3540).await, "between what was refused");
    assert!(is_passed(minute, NOW + 3900).await);
    let warnings = async |text| house.ask(text, QueryTime::Instant(at(now))).await.expect("an answer").warnings;
    for text in ["max_over_time(a[13h])", "rollup(a[1m]) keep_metric_names"] {
        let warnings = warnings(text).await;
        assert!(matches!(&warnings[..], [one] if one.contains("refused samples")), "{text}: {warnings:?}");
    }
    assert_eq!(warnings("max_over_time(a[13h] offset 2d)").await, [""; 0]);
    // Of a range the steps before are passed on.
    let time = QueryTime::Range { start: at(NOW - 7200), end: at(now), step: Duration::from_secs(600) };
    house.fake.asked.lock().clear();
    house.ask(minute, time).await.expect("an answer");
    let asked = When::Range { start: at(NOW - 7200), end: at(NOW - 4200), step: Duration::from_secs(600) };
    assert_eq!(*house.fake.asked.lock(), [(minute.to_owned(), asked)]);
    // Once it has left the window, nobody but the engine has anything of that time.
    house.clock.advance(Duration::from_secs(6 * 3600));
    assert!(house.is_passed(minute, now - NOW + 6 * 3600).await);
    assert_eq!(warnings("max_over_time(a[13h])").await, [""; 0]);
}

#[tokio::test]
async fn what_a_full_queue_shed_is_read_here() {
    let house = House::plain();
    let mut batches = 0;
    while house.engine.queue.stats().shed == 0 {
        let times: Vec<i64> = (0..500).map(|i| NOW + batches * 600 - 500 + i).collect();
        (0..20).for_each(|_| house.write(&times));
        batches += 1;
        house.clock.advance(Duration::from_secs(600));
        assert!(batches < 30, "the queue has no bound");
        // The engine is asked, and is away.
        drop(house.engine.next_step(house.clock.now()));
    }
    house.ship(&Ok(Sent::default()));
    assert!(!house.is_passed("a", 600).await, "it was sent just now");
    house.clock.advance(Duration::from_secs(61));
    let now = NOW + batches * 600 + 61;
    let is_passed = async |time: i64| house.is_passed("last_over_time(a[1m])", now - time).await;
    assert!(!is_passed(NOW - 490).await, "the first ones");
    assert!(!is_passed(NOW).await);
    assert!(is_passed(NOW - 501).await, "what is older");
    assert!(is_passed(NOW + (batches - 1) * 600).await, "what was sent");
}
