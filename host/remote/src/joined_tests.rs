use belfry_model::{Sample, Value};
use belfry_testkit::{MemorySeries, SimClock};
use parking_lot::Mutex;

use super::*;
use crate::fake;

const NOW: TimestampMs = TimestampMs(1_700_000_000_000);
const HOUR: i64 = 3_600_000;

/// An engine that can be switched off; counts how often it is asked.
#[derive(Default)]
struct Engine {
    has: MemorySeries,
    away: std::sync::atomic::AtomicBool,
    asked: Mutex<u32>,
}

impl Engine {
    fn answer<T>(&self, answer: T) -> Result<T, ReadError> {
        *self.asked.lock() += 1;
        match self.away.load(std::sync::atomic::Ordering::SeqCst) {
            true => Err(ReadError::Unavailable("connection refused".to_owned())),
            false => Ok(answer),
        }
    }
}

#[async_trait]
impl SeriesRead for Engine {
    async fn select(
        &self,
        m: &[Matcher],
        r: TimeRange,
        h: &SelectHints,
        l: SelectLimits,
    ) -> Result<SeriesSet, ReadError> {
        assert!(r.start().0 >= 0 && r.end() <= NOW.plus(AHEAD), "not for ever");
        self.answer(self.has.select(m, r, h, l).await?)
    }
    async fn series(&self, m: &[Matcher], r: TimeRange, limit: usize) -> Result<Vec<Labels>, ReadError> {
        self.answer(self.has.series(m, r, limit).await?)
    }
    async fn label_names(&self, m: &[Matcher], r: TimeRange, limit: usize) -> Result<Vec<String>, ReadError> {
        self.answer(self.has.label_names(m, r, limit).await?)
    }
    async fn label_values(&self, n: &str, m: &[Matcher], r: TimeRange, limit: usize) -> Result<Vec<String>, ReadError> {
        self.answer(self.has.label_values(n, m, r, limit).await?)
    }
    async fn exemplars(&self, m: &[Matcher], r: TimeRange) -> Result<Vec<(Labels, Vec<Exemplar>)>, ReadError> {
        self.answer(self.has.exemplars(m, r).await?)
    }
    async fn metadata(&self, metric: Option<&str>) -> Result<Vec<MetricMetadata>, ReadError> {
        self.answer(self.has.metadata(metric).await?)
    }
}

fn labels(name: &str, replica: &str) -> Labels {
    Labels::from_pairs([("__name__", name), ("replica", replica)])
}

fn push(series: &mut MemorySeries, labels: &Labels, samples: &[(i64, f64)]) {
    for (at, value) in samples {
        series.push(labels, Sample { at: TimestampMs(NOW.0 + at), value: Value::Float(*value), start: None });
    }
}

/// The engine has `m` of replica a until 10 s ago, and of replica b; here is what comes after, and a little of before.
fn house() -> (Joined, Arc<Engine>, Arc<SimClock>) {
    let mut engine = Engine::default();
    push(&mut engine.has, &labels("m", "a"), &[(-9 * HOUR, 1.0), (-20_000, 2.0), (-10_000, 3.0)]);
    push(&mut engine.has, &labels("m", "b"), &[(-15_000, 7.0)]);
    let mut local = MemorySeries::new();
    push(&mut local, &labels("m", ""), &[(-10_000, 30.0), (-5_000, 4.0)]);
    push(&mut local, &labels("new", ""), &[(-1_000, 5.0)]);
    let (engine, clock) = (Arc::new(engine), Arc::new(SimClock::at(NOW)));
    let joined = Joined {
        engine: engine.clone(),
        local: Arc::new(local),
        external: Labels::from_pairs([("replica", "a")]),
        window: Duration::from_secs(6 * 3600),
        queue: fake::queue(),
        health: Arc::default(),
        clock: clock.clone(),
    };
    (joined, engine, clock)
}

async fn select(joined: &Joined, matchers: &[&str], range: TimeRange) -> Result<(Vec<String>, Vec<String>), ReadError> {
    let matchers: Vec<Matcher> = matchers.iter().map(|m| m.parse().expect("a matcher")).collect();
    let set = joined.select(&matchers, range, &SelectHints::default(), SelectLimits::default()).await?;
    let mut rows = Vec::new();
    for s in &set.series {
        let mut buf = SampleBuf::default();
        s.samples.decode(range, &mut buf)?;
        rows.push(format!("{} {:?}", s.labels, buf.floats));
    }
    Ok((rows, set.warnings))
}

fn last(ms: i64) -> TimeRange {
    TimeRange::new(TimestampMs(NOW.0 - ms), NOW).expect("a range")
}

#[tokio::test]
async fn both_are_one_and_the_local_sample_stands_where_both_have_one() {
    let (joined, ..) = house();
    let (rows, warnings) = select(&joined, &["__name__=~\".+\""], TimeRange::ALL).await.expect("an answer");
    assert_eq!(
        rows,
        [r#"m{replica="a"} [1.0, 2.0, 30.0, 4.0]"#, r#"m{replica="b"} [7.0]"#, r#"new{replica="a"} [5.0]"#]
    );
    assert_eq!(warnings, [""; 0]);
}

#[tokio::test]
async fn matchers_see_the_external_labels_of_local_series() {
    let (joined, ..) = house();
    let (rows, _) = select(&joined, &["replica=\"a\""], last(HOUR)).await.expect("an answer");
    assert_eq!(rows, [r#"m{replica="a"} [2.0, 30.0, 4.0]"#, r#"new{replica="a"} [5.0]"#]);
    let (rows, _) = select(&joined, &["replica=\"b\""], last(HOUR)).await.expect("an answer");
    assert_eq!(rows, [r#"m{replica="b"} [7.0]"#]);
    let all = joined.label_values("replica", &[], last(HOUR), 0).await.expect("values");
    assert_eq!(all, ["a", "b"]);
    let names = joined.label_names(&[], last(HOUR), 0).await.expect("names");
    assert_eq!(names, ["__name__", "replica"]);
    let series = joined.series(&["replica=\"a\"".parse().expect("a matcher")], last(HOUR), 0).await.expect("series");
    assert_eq!(series, [labels("m", "a"), labels("new", "a")]);
}

#[tokio::test]
async fn without_the_engine_the_local_window_answers_with_a_warning_and_older_times_fail() {
    let (joined, engine, clock) = house();
    engine.away.store(true, std::sync::atomic::Ordering::SeqCst);
    let (rows, warnings) = select(&joined, &["__name__=~\".+\""], last(HOUR)).await.expect("the local window");
    assert_eq!(rows, [r#"m{replica="a"} [30.0, 4.0]"#, r#"new{replica="a"} [5.0]"#]);
    assert!(warnings[0].contains("the storage engine is away") && warnings[0].contains("connection refused"));
    let error = select(&joined, &["__name__=\"m\""], last(9 * HOUR)).await.expect_err("older than the window");
    assert!(error.to_string().contains("connection refused; without it there are only the last 6h"), "{error}");
    assert_eq!(joined.label_values("replica", &[], last(9 * HOUR), 0).await, Ok(vec!["a".to_owned()]));
    assert_eq!(*engine.asked.lock(), 1, "readers do not wait for it again and again");
    clock.advance(crate::health::ASK_AGAIN);
    engine.away.store(false, std::sync::atomic::Ordering::SeqCst);
    let (rows, warnings) = select(&joined, &["__name__=\"m\""], last(9 * HOUR + 1)).await.expect("it is back");
    assert_eq!((rows.len(), warnings.len()), (2, 0));
    assert_eq!(joined.health.reading.away(), None);
}

#[tokio::test]
async fn while_an_import_waits_for_the_engine_answers_say_so() {
    let (joined, ..) = house();
    let sample = Sample { at: TimestampMs(NOW.0 - 8 * HOUR), value: Value::Float(1.0), start: None };
    let series =
        crate::engine::SeriesSamples { labels: labels("m", "a"), samples: vec![sample], exemplars: Vec::new() };
    joined.queue.append_series(&series, NOW).expect("written");
    let (_, warnings) = select(&joined, &["__name__=\"m\""], last(9 * HOUR)).await.expect("an answer");
    assert!(warnings.len() == 1 && warnings[0].contains("behind: imported samples wait"), "{warnings:?}");
    joined.queue.sent(&joined.queue.next_parcel().expect("something waits"));
    let (_, warnings) = select(&joined, &["__name__=\"m\""], last(9 * HOUR)).await.expect("an answer");
    assert_eq!(warnings, [""; 0]);
}

#[tokio::test]
async fn an_engine_that_takes_no_samples_is_read_all_the_same() {
    let (joined, engine, _) = house();
    joined.health.writing.is_away(NOW, "status 404");
    let (rows, warnings) = select(&joined, &["__name__=\"m\""], last(9 * HOUR + 1)).await.expect("it answers");
    assert_eq!((rows.len(), warnings.len()), (2, 0));
    assert!(joined.health.writing.away().is_some(), "a read says nothing of writing");
    engine.away.store(true, std::sync::atomic::Ordering::SeqCst);
    joined.health.writing.answered();
    select(&joined, &["__name__=\"m\""], last(HOUR)).await.expect("the local window");
    assert!(joined.health.reading.away().is_some() && joined.health.writing.away().is_none());
    joined.health.writing.answered();
    assert!(joined.health.reading.away().is_some(), "a write says nothing of reading");
}

#[tokio::test]
async fn an_engine_that_could_not_be_read_is_looked_at_also_where_nobody_else_asks() {
    let (joined, engine, clock) = house();
    joined.health.look(&*engine, &*clock).await;
    assert_eq!(*engine.asked.lock(), 0, "there is nothing to find out");
    engine.away.store(true, std::sync::atomic::Ordering::SeqCst);
    select(&joined, &["__name__=\"m\""], last(HOUR)).await.expect("the local window");
    joined.health.look(&*engine, &*clock).await;
    assert_eq!(*engine.asked.lock(), 1, "it was just asked");
    clock.advance(crate::health::ASK_AGAIN);
    joined.health.look(&*engine, &*clock).await;
    assert_eq!(*engine.asked.lock(), 2);
    assert!(joined.health.reading.away().is_some_and(|(since, _)| since == NOW));
    clock.advance(crate::health::ASK_AGAIN);
    engine.away.store(false, std::sync::atomic::Ordering::SeqCst);
    joined.health.look(&*engine, &*clock).await;
    assert_eq!(joined.health.reading.away(), None);
}
