//! PromQL on a pool of its own size: parse, fetch, evaluate on a blocking thread; a dropped query stops. Steps of range
//! queries that cannot change any more are kept for the next refresh.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use belfry_dashboard::backend::{QueryAnswer, QueryOptions, QueryTimings};
use belfry_model::duration::format_duration;
use belfry_model::read::Cancel;
use belfry_model::{Clock, SeriesRead, TimestampMs};
use belfry_promql::cache::{CacheCounts, ResultCache};
use belfry_promql::{Answer, Query, QueryError, QueryLimits, QueryTime, Usage};
use belfry_rules::groups::shared::Shared;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};

use crate::engine::Pass;
use crate::helpers::Helpers;

mod passed;

/// Queries evaluated at a time: they are bound by the CPU, and two more keep it busy while others read.
const SPARE_QUERIES: usize = 2;

/// Samples arrive within this, as a rule: steps that are older are kept. What comes later takes them back.
pub const ON_TIME: Duration = Duration::from_secs(60);

/// Evaluates queries over one reader.
pub struct Queries {
    reader: Arc<dyn SeriesRead>,
    /// What is here alone, where `reader` reads more.
    here: Option<Arc<dyn SeriesRead>>,
    /// Who evaluates instead of us.
    pass: Option<Pass>,
    clock: Arc<dyn Clock>,
    /// Samples older than this have come, as a rule.
    on_time: Duration,
    kept: Mutex<ResultCache>,
    places: Arc<Semaphore>,
    helpers: Arc<Helpers>,
    waiting: AtomicU64,
    evaluated: AtomicU64,
    failed: AtomicU64,
    /// What one query may take: [`belfry_config::types::queries`] has the defaults.
    limits: QueryLimits,
    time_max: Duration,
    waiting_max: u64,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryFault {
    /// The query itself.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// Too many wait already.
    #[error("{0} queries wait already (`waiting` in [queries]); try again later")]
    Busy(u64),
    /// It takes too long.
    #[error("query timed out in expression evaluation: it takes longer than {} (`timeout` in [queries])", format_duration(*.0))]
    TimedOut(Duration),
    /// The evaluation panicked: a defect.
    #[error("the evaluation failed: {0}")]
    Broken(String),
}

/// Cancels the evaluation when nobody waits for it any more.
struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Queries {
    /// Over this reader. Steps older than `on_time` are kept. A subquery that names no step has `subquery_step`.
    pub fn new(
        reader: Arc<dyn SeriesRead>,
        clock: Arc<dyn Clock>,
        on_time: Duration,
        config: &belfry_config::types::queries::Queries,
        subquery_step: Duration,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            reader,
            here: None,
            pass: None,
            clock,
            on_time,
            kept: Mutex::default(),
            places: Arc::new(Semaphore::new(config.concurrent.map_or(cores + SPARE_QUERIES, |n| n as usize))),
            helpers: Arc::new(Helpers::new(cores)),
            waiting: AtomicU64::new(0),
            evaluated: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            limits: QueryLimits {
                series_max: usize::try_from(config.series).unwrap_or(usize::MAX),
                samples_max: config.samples,
                points_max: config.points,
                bytes_max: config.memory_bytes,
                lookback: config.lookback,
                subquery_step,
            },
            time_max: config.timeout,
            waiting_max: config.waiting.into(),
        }
    }

    /// Hands expressions on to `pass`; `here` is what is read where the engine must not be waited for.
    pub fn passing(self, pass: Option<Pass>, here: Arc<dyn SeriesRead>) -> Self {
        Self { pass, here: Some(here), ..self }
    }

    /// Expressions that were evaluated elsewhere.
    pub fn passed(&self) -> u64 {
        self.pass.as_ref().map_or(0, Pass::count)
    }

    /// Evaluates over what is on this machine alone: for what is asked every second.
    pub async fn evaluate_here(&self, expression: &str, time: QueryTime) -> Result<Answer, QueryFault> {
        let Some(here) = &self.here else { return self.evaluate(expression, time).await };
        let query = Query::parse(expression, time, self.limits.clone())?;
        self.compute(query, &**here, &mut QueryTimings::default()).await.map(|(answer, _)| answer)
    }

    /// The threads that help to evaluate, for what else takes long with an answer.
    pub fn helpers(&self) -> Arc<Helpers> {
        self.helpers.clone()
    }

    /// Hits and misses of the answers that are kept, and their bytes.
    pub fn kept(&self) -> CacheCounts {
        self.kept.lock().counts()
    }

    /// Samples changed from `at` on (a late write, backfill, deletion): what is kept and may depend on them is forgotten.
    pub fn samples_changed(&self, at: TimestampMs) {
        if at <= self.clock.now() - self.on_time {
            self.kept.lock().forget_from(at);
        }
    }

    /// Samples were written, none of them before `at`.
    pub fn written(&self, at: TimestampMs) {
        self.samples_changed(at);
        if let Some(pass) = &self.pass {
            pass.wrote(at);
        }
    }

    /// Queries answered, and failed, since the start.
    pub fn counts(&self) -> (u64, u64) {
        (self.evaluated.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }

    /// The answer; dropping the future stops the work.
    pub async fn evaluate(&self, expression: &str, time: QueryTime) -> Result<Answer, QueryFault> {
        self.ask(expression, time, QueryOptions::default()).await.map(|asked| Arc::unwrap_or_clone(asked.answer))
    }

    /// As [`Queries::evaluate`], for a rule: it sees what was just written, however far back it reads. So no engine
    /// evaluates it.
    pub async fn evaluate_rule(&self, expression: &str, time: QueryTime) -> Result<Answer, QueryFault> {
        let answer = self.ask_uncounted(expression, time, QueryOptions::default(), &*self.reader, Whose::Rule).await;
        self.count(&answer);
        answer.map(|asked| Arc::unwrap_or_clone(asked.answer))
    }

    /// As [`Queries::evaluate_rule`]: what other rules of its evaluation have read is not read again.
    pub async fn evaluate_sharing(
        &self,
        expression: &str,
        time: QueryTime,
        shared: &Shared,
    ) -> Result<Answer, QueryFault> {
        let reader = shared.over(&*self.reader);
        let answer = self.ask_uncounted(expression, time, QueryOptions::default(), &reader, Whose::Rule).await;
        self.count(&answer);
        answer.map(|asked| Arc::unwrap_or_clone(asked.answer))
    }

    /// As [`Queries::evaluate`], with what the request says, and what it took.
    pub async fn ask(
        &self,
        expression: &str,
        time: QueryTime,
        options: QueryOptions,
    ) -> Result<QueryAnswer, QueryFault> {
        let answer = self.ask_uncounted(expression, time, options, &*self.reader, Whose::User).await;
        self.count(&answer);
        answer
    }

    fn count(&self, answer: &Result<QueryAnswer, QueryFault>) {
        let counter = if answer.is_ok() { &self.evaluated } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    async fn ask_uncounted(
        &self,
        expression: &str,
        time: QueryTime,
        options: QueryOptions,
        reader: &dyn SeriesRead,
        whose: Whose,
    ) -> Result<QueryAnswer, QueryFault> {
        // Whoever evaluates, and also when somebody else has tried first.
        let asked = self.ask_within_time(expression, time, options, reader, whose);
        tokio::time::timeout(self.time_max, asked).await.unwrap_or(Err(QueryFault::TimedOut(self.time_max)))
    }

    async fn ask_within_time(
        &self,
        expression: &str,
        time: QueryTime,
        options: QueryOptions,
        reader: &dyn SeriesRead,
        whose: Whose,
    ) -> Result<QueryAnswer, QueryFault> {
        let begun = self.clock.monotonic();
        // The lookback is part of what the kept answers are found by.
        let lookback = options.lookback.unwrap_or(self.limits.lookback);
        let limits = QueryLimits { lookback, ..self.limits.clone() };
        let mut timings = QueryTimings::default();
        if whose == Whose::User
            && let Some((answer, usage)) = self.passed_on(expression, time, &limits, reader, &mut timings).await?
        {
            timings.total = self.clock.monotonic().saturating_sub(begun);
            timings.evaluated = timings.total.saturating_sub(timings.queued);
            return Ok(QueryAnswer { answer: Arc::new(answer), usage, timings });
        }
        let mut query = Query::parse(expression, time, limits.clone())?;
        if options.statistics {
            query = query.counting_steps();
        }
        timings.prepared = self.clock.monotonic().saturating_sub(begun);
        let key = query.cache_key();
        let now = self.clock.now();
        let generation = self.kept.lock().generation();
        // What a kept answer took is not known.
        let known = key.as_ref().filter(|_| !options.statistics);
        let known = known.and_then(|key| self.kept.lock().find(key, time, now));
        let (answer, usage) = match known {
            None => self.compute(query, reader, &mut timings).await?,
            Some(known) => match known.rest {
                None => (known.alone(), Usage::default()),
                Some(rest) => {
                    let rest = Query::parse(expression, rest, limits)?;
                    let (rest, usage) = self.compute(rest, reader, &mut timings).await?;
                    (known.join(rest), usage)
                }
            },
        };
        let answer = Arc::new(answer);
        if let Some(key) = key {
            let mut kept = self.kept.lock();
            // Old samples that were changed meanwhile may have been read before.
            let changed =
                kept.changed_since(generation).map_or(TimestampMs::MAX, |at| TimestampMs(at.0.saturating_sub(1)));
            kept.keep(key, time, &answer, changed.min(now - self.on_time), now);
        }
        timings.total = self.clock.monotonic().saturating_sub(begun);
        Ok(QueryAnswer { answer, usage, timings })
    }

    async fn compute(
        &self,
        query: Query,
        reader: &dyn SeriesRead,
        timings: &mut QueryTimings,
    ) -> Result<(Answer, Usage), QueryFault> {
        let waiting = self.wait()?;
        tokio::time::timeout(self.time_max, async {
            let mut lap = Lap { clock: &*self.clock, begun: self.clock.monotonic() };
            let place = self.places.clone().acquire_owned().await;
            drop(waiting);
            timings.queued += lap.next();
            let place = place.map_err(|_| QueryFault::Busy(self.waiting_max))?;
            let fetched = query.fetch(reader).await?;
            timings.prepared += lap.next();
            let cancel = Cancel::default();
            let _cancel_on_drop = CancelOnDrop(cancel.clone());
            let (send, answer) = oneshot::channel();
            let helpers = self.helpers.clone();
            let work = tokio::task::spawn_blocking(move || {
                let at_work = helpers.evaluation();
                // Nobody may wait for it any more.
                let _ = send.send(fetched.evaluate_measured(&cancel, &*helpers));
                drop(at_work);
                // The answer need not wait until the series are given back; the next query does.
                drop(fetched);
                drop(place);
            });
            let answer = match answer.await {
                Ok(answer) => answer?,
                Err(_) => {
                    let what = work.await.map_or_else(|e| e.to_string(), |()| "it gave no answer".to_owned());
                    return Err(QueryFault::Broken(what));
                }
            };
            timings.evaluated += lap.next();
            Ok(answer)
        })
        .await
        .unwrap_or(Err(QueryFault::TimedOut(self.time_max)))
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// A rule, which follows upon another.
    Rule,
    /// Anybody else.
    User,
}

/// Time between one point of the way and the next.
struct Lap<'q> {
    clock: &'q dyn Clock,
    begun: Duration,
}

impl Lap<'_> {
    fn next(&mut self) -> Duration {
        let now = self.clock.monotonic();
        let passed = now.saturating_sub(self.begun);
        self.begun = now;
        passed
    }
}

/// A query that waits for its place.
struct Waiting<'q>(&'q AtomicU64);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use belfry_model::read::ReadError;
    use belfry_model::{Labels, Matcher, SampleBuf, SampleSource, Series, SeriesSet, TimeRange};
    use belfry_promql::QueryValue;
    use belfry_testkit::SelectOnly;

    use super::*;
    use crate::clock::SystemClock;

    /// Series without end: each sample read takes a little, and somebody counts.
    #[derive(Default)]
    struct Endless {
        decoded: AtomicU64,
        stopped: AtomicBool,
    }

    struct Slow(Arc<Endless>);

    impl SampleSource for Slow {
        fn decode(&self, _: TimeRange, into: &mut SampleBuf) -> Result<(), ReadError> {
            self.0.decoded.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_micros(200));
            into.push_float(0, 1.0);
            Ok(())
        }

        fn estimate(&self) -> u64 {
            1
        }
    }

    impl Drop for Slow {
        fn drop(&mut self) {
            self.0.stopped.store(true, Ordering::SeqCst);
        }
    }

    /// A reader of so many slow series: a hundred thousand take 20 s.
    fn reader(endless: Arc<Endless>, count: u32) -> impl SeriesRead + 'static {
        SelectOnly(move |_: &[Matcher]| {
            let samples: Arc<dyn SampleSource> = Arc::new(Slow(endless.clone()));
            let labels = |i: u32| Labels::from_pairs([("i", i.to_string())]);
            let series = (0..count).map(|i| Series { labels: labels(i), samples: samples.clone() }).collect();
            SeriesSet { series, warnings: Vec::new() }
        })
    }

    /// As many as may wait in these tests.
    const WAITING: u32 = 7;

    fn over(reader: impl SeriesRead + 'static) -> Queries {
        let config = belfry_config::types::queries::Queries {
            lookback: Duration::from_secs(300),
            timeout: Duration::from_secs(120),
            series: 500_000,
            samples: 50_000_000,
            points: 50_000_000,
            memory_bytes: 1 << 30,
            concurrent: None,
            waiting: WAITING,
        };
        Queries::new(Arc::new(reader), Arc::new(SystemClock::new()), Duration::ZERO, &config, Duration::from_secs(60))
    }

    fn slow() -> (Queries, Arc<Endless>) {
        let endless = Arc::new(Endless::default());
        (over(reader(endless.clone(), 100_000)), endless)
    }

    async fn until(mut condition: impl FnMut() -> bool) {
        let wait = async {
            while !condition() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.expect("within ten seconds");
    }

    /// The only sample is 400 s old at the first step.
    #[tokio::test]
    async fn an_answer_depends_on_the_lookback_also_where_answers_are_kept() {
        let queries = over(reader(Arc::default(), 1));
        let (start, end) = (TimestampMs(400_000), TimestampMs(460_000));
        let time = QueryTime::Range { start, end, step: Duration::from_secs(60) };
        let points = async |lookback| {
            let options = QueryOptions { lookback, ..QueryOptions::default() };
            let asked = queries.ask("{i!=\"\"}", time, options).await.expect("an answer");
            let t = asked.timings;
            assert!(t.queued + t.evaluated <= t.total, "{t:?}");
            let QueryValue::Matrix(rows) = &asked.answer.value else { panic!("a range query gives a matrix") };
            rows.iter().map(|r| r.points.len()).sum::<usize>()
        };
        for _ in 0..2 {
            assert_eq!(points(None).await, 0);
            assert_eq!(points(Some(Duration::from_secs(420))).await, 1);
            assert_eq!(points(Some(Duration::from_secs(600))).await, 2);
        }
        assert_eq!(queries.kept().hits, 3);
    }

    #[tokio::test]
    async fn a_query_that_nobody_waits_for_stops() {
        let (queries, endless) = slow();
        {
            let query = queries.evaluate("sum({i!=\"\"})", QueryTime::Instant(TimestampMs(0)));
            tokio::pin!(query);
            tokio::select! {
                _ = &mut query => panic!("it takes 20 s"),
                () = until(|| endless.decoded.load(Ordering::SeqCst) > 10) => {}
            }
        }
        until(|| endless.stopped.load(Ordering::SeqCst)).await;
        assert!(endless.decoded.load(Ordering::SeqCst) < 100_000);
    }

    #[tokio::test]
    async fn a_query_that_takes_too_long_is_stopped_and_says_so() {
        let (mut queries, endless) = slow();
        queries.time_max = Duration::from_millis(50);
        let answer = queries.evaluate("sum({i!=\"\"})", QueryTime::Instant(TimestampMs(0))).await;
        assert!(matches!(answer, Err(QueryFault::TimedOut(_))), "{answer:?}");
        until(|| endless.stopped.load(Ordering::SeqCst)).await;
    }

    #[tokio::test]
    async fn too_many_waiting_queries_are_refused_and_those_who_left_are_not_counted() {
        let (queries, _) = slow();
        let all = queries.places.available_permits() as u32;
        let places = queries.places.acquire_many(all).await.expect("places");
        let ask = || Box::pin(queries.evaluate("x", QueryTime::Instant(TimestampMs(0))));
        let mut waiting: Vec<_> = (0..WAITING).map(|_| ask()).collect();
        for w in &mut waiting {
            assert!(futures::poll!(w).is_pending());
        }
        assert!(matches!(ask().await, Err(QueryFault::Busy(7))));
        drop(waiting);
        let mut next = ask();
        assert!(futures::poll!(&mut next).is_pending());
        drop(places);
    }
}
