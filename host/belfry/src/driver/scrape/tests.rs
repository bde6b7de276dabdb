//! Jobs by a simulated clock: what becomes of their targets' series when discoveries and settings change. Nobody listens
//! where they ask, so `up` is 0 as long as a target is scraped.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use belfry_config::types::scrape::Discovery;
use belfry_ingest::IngestLimits;
use belfry_ingest::scrape::TargetHealth;
use belfry_model::sample::is_stale;
use belfry_model::write::Times;
use belfry_model::{Appended, Batch, Labels, MetricMetadata, SeriesRef, TimestampMs, WriteError, Writer};
use tokio::time::Instant;

use super::*;

/// Goes with the simulated time of tokio.
struct Simulated(Instant);

impl Clock for Simulated {
    fn now(&self) -> TimestampMs {
        TimestampMs(1_700_000_000_000 + self.monotonic().as_millis() as i64)
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A store that remembers what became of `up`.
#[derive(Default)]
struct Book(Mutex<Vec<Labels>>, Mutex<Vec<Up>>);

#[derive(Clone, Debug, PartialEq)]
struct Up {
    instance: String,
    at: i64,
    stale: bool,
}

#[async_trait]
impl Writer for Book {
    fn open(&self, labels: &Labels) -> Result<SeriesRef, WriteError> {
        let mut series = self.0.lock();
        let known = series.iter().position(|l| l == labels);
        Ok(SeriesRef(known.unwrap_or_else(|| {
            series.push(labels.clone());
            series.len() - 1
        }) as u64))
    }

    async fn append(&self, batch: Batch) -> Result<Appended, WriteError> {
        let series = self.0.lock();
        for (i, (r, value)) in batch.refs.iter().zip(&batch.values).enumerate() {
            let at = match &batch.times {
                Times::One(at) => at.0,
                Times::Each(times) => times[i].0,
            };
            let labels = &series[r.0 as usize];
            if labels.metric() == Some("up") {
                let instance = labels.get("instance").unwrap_or_default().to_owned();
                self.1.lock().push(Up { instance, at, stale: is_stale(*value) });
            }
        }
        Ok(Appended { accepted: batch.refs.len() as u64, ..Appended::default() })
    }

    fn declare(&self, _: MetricMetadata) {}
}

struct Bench {
    book: Arc<Book>,
    shared: Shared,
    status: Statuses,
    targets: JobTargets,
    folder: tempfile::TempDir,
    stop: CancellationToken,
    task: Option<JoinHandle<Left>>,
}

impl Bench {
    fn new() -> Self {
        let book = Arc::new(Book::default());
        let ingest = Arc::new(Ingest::new(book.clone(), IngestLimits::default()));
        let clock = Arc::new(Simulated(Instant::now()));
        Self {
            book,
            shared: Shared { ingest, clock, changes: Changes::default() },
            status: Statuses::default(),
            targets: JobTargets::default(),
            folder: tempfile::tempdir().unwrap(),
            stop: CancellationToken::new(),
            task: None,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Targets, each with these labels as JSON has them.
    fn put(&self, name: &str, targets: &[&str], labels: &str) {
        let targets = serde_json::to_string(targets).unwrap();
        std::fs::write(self.file(name), format!(r#"[{{"targets": {targets}, "labels": {{{labels}}}}}]"#)).unwrap();
    }

    /// A start or a reload.
    async fn apply(&mut self, config: &Scrape) {
        let left = match self.task.take() {
            Some(task) => {
                self.stop.cancel();
                task.await.unwrap()
            }
            None => Left::default(),
        };
        self.stop = CancellationToken::new();
        self.targets = JobTargets::default();
        let job = Arc::new(spec::job(config).unwrap());
        let status = JobStatus { job: config.job.clone(), ..JobStatus::default() };
        self.status.lock().insert(config.job.clone(), status);
        let work = JobWork::new(self.shared.clone(), config, job, left)
            .await
            .told_to(self.status.clone(), self.targets.clone());
        self.task = Some(tokio::spawn(work.run(self.stop.clone())));
    }

    /// What is written of `up` within so many simulated seconds: `target` for one that is scraped on, `target ends` for
    /// one that is not.
    async fn within(&self, seconds: u64) -> String {
        self.book.1.lock().clear();
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let ups = self.book.1.lock().clone();
        let mut last: BTreeMap<&str, &str> = BTreeMap::new();
        for up in &ups {
            last.insert(&up.instance, if up.stale { " ends" } else { "" });
        }
        let mut told = String::new();
        last.iter().for_each(|(instance, end)| write!(told, "{instance}{end}; ").unwrap());
        told.trim_end_matches("; ").to_owned()
    }

    /// Times of `up`, and no stale marker.
    fn times(&self, instance: &str) -> Vec<i64> {
        let ups = self.book.1.lock();
        assert!(ups.iter().all(|up| !up.stale), "{ups:?}");
        ups.iter().filter(|up| up.instance == instance).map(|up| up.at).collect()
    }

    fn active(&self) -> Vec<ActiveTarget> {
        self.targets.lock().values().map(|t| t.lock().clone()).collect()
    }
}

/// A job that asks each second.
fn job(discoveries: Vec<Discovery>) -> Scrape {
    Scrape {
        job: "j".to_owned(),
        groups: Vec::new(),
        discoveries,
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        scheme: "http".to_owned(),
        path: "/metrics".to_owned(),
        params: BTreeMap::new(),
        http: Default::default(),
        compression: true,
        fallback_format: None,
        honor_labels: false,
        honor_timestamps: true,
        track_timestamps_staleness: false,
        native_histograms: false,
        classic_histograms: false,
        type_and_unit_labels: false,
        extra_metrics: false,
        limits: Default::default(),
        relabel: Vec::new(),
        metric_relabel: Vec::new(),
    }
}

const REFRESH: Duration = Duration::from_secs(2);

fn files(path: &Path) -> Discovery {
    Discovery::File { files: vec![path.to_owned()], refresh: REFRESH }
}

/// A web service that is not there.
fn down() -> Discovery {
    Discovery::Http { url: "http://127.0.0.1:1/".to_owned(), http: Default::default(), refresh: REFRESH }
}

const ONE: &str = "127.0.0.1:11";
const TWO: &str = "127.0.0.1:12";

#[tokio::test(start_paused = true)]
async fn what_a_discovery_lists_no_more_goes_though_another_never_answered() {
    let mut bench = Bench::new();
    bench.put("t.json", &[ONE, TWO], "");
    bench.apply(&job(vec![down(), files(&bench.file("t.json"))])).await;
    assert_eq!(bench.within(5).await, format!("{ONE}; {TWO}"));
    bench.put("t.json", &[TWO], "");
    assert_eq!(bench.within(5).await, format!("{ONE} ends; {TWO}"));
    assert_eq!(bench.within(5).await, TWO);
}

#[tokio::test(start_paused = true)]
async fn after_a_reload_targets_of_a_discovery_that_is_down_are_scraped_with_the_new_settings() {
    let mut bench = Bench::new();
    bench.put("a.json", &[ONE], "");
    bench.put("b.json", &[TWO], "");
    let mut config = job(vec![files(&bench.file("*.json"))]);
    bench.apply(&config).await;
    assert_eq!(bench.within(5).await, format!("{ONE}; {TWO}"));
    // One of two places is down, then both.
    for (name, interval) in [("b.json", 2), ("a.json", 3)] {
        std::fs::write(bench.file(name), "[").unwrap();
        config.interval = Duration::from_secs(interval);
        if let Discovery::File { refresh, .. } = &mut config.discoveries[0] {
            *refresh += REFRESH;
        }
        bench.apply(&config).await;
        assert_eq!(bench.within(20).await, format!("{ONE}; {TWO}"));
        for target in [ONE, TWO] {
            let times = bench.times(target);
            assert_eq!(times[2] - times[1], interval as i64 * 1000);
        }
        assert!(bench.active().iter().all(|t| t.interval == config.interval));
    }
    bench.put("a.json", &[], "");
    assert_eq!(bench.within(10).await, format!("{ONE} ends; {TWO}"));
}

#[tokio::test(start_paused = true)]
async fn a_reload_that_changes_a_discovery_ends_what_the_new_one_does_not_find() {
    let mut bench = Bench::new();
    bench.put("a.json", &[ONE, TWO], "");
    bench.put("b.json", &[TWO], "");
    bench.apply(&job(vec![files(&bench.file("a.json"))])).await;
    assert_eq!(bench.within(5).await, format!("{ONE}; {TWO}"));
    bench.apply(&job(vec![files(&bench.file("b.json")), down()])).await;
    assert_eq!(bench.within(5).await, format!("{ONE} ends; {TWO}"));
    // The other goes on without a break.
    assert!(bench.book.1.lock().iter().all(|up| up.instance == ONE || !up.stale));
    // One that is down finds nothing.
    bench.apply(&job(vec![files(&bench.file("none.json"))])).await;
    assert_eq!(bench.within(5).await, format!("{TWO} ends"));
}

#[tokio::test(start_paused = true)]
async fn what_a_reload_takes_from_the_config_goes_at_once() {
    let mut bench = Bench::new();
    let named = |targets: &[&str]| {
        let targets = targets.iter().map(|t| (*t).to_owned()).collect();
        let group = belfry_config::types::scrape::StaticGroup { targets, labels: Labels::empty() };
        Scrape { groups: vec![group], ..job(vec![down()]) }
    };
    bench.apply(&named(&[ONE, TWO])).await;
    assert_eq!(bench.within(5).await, format!("{ONE}; {TWO}"));
    bench.apply(&named(&[ONE])).await;
    assert_eq!(bench.within(5).await, format!("{ONE}; {TWO} ends"));
}

#[tokio::test(start_paused = true)]
async fn a_running_target_follows_a_change_of_pace_and_meta_labels_without_a_gap() {
    let mut bench = Bench::new();
    let labels = |interval: u64, timeout: u64, meta: &str| {
        format!(r#""__scrape_interval__": "{interval}s", "__scrape_timeout__": "{timeout}s", "__meta_x": "{meta}""#)
    };
    bench.put("t.json", &[ONE], &labels(1, 1, "one"));
    bench.apply(&job(vec![files(&bench.file("t.json"))])).await;
    assert_eq!(bench.within(20).await, ONE);
    let before = bench.times(ONE);
    for (interval, timeout, meta) in [(4, 2, "two"), (1, 1, "three")] {
        bench.put("t.json", &[ONE], &labels(interval, timeout, meta));
        assert_eq!(bench.within(20).await, ONE);
        let times = bench.times(ONE);
        let apart: Vec<i64> = times.windows(2).map(|w| w[1] - w[0]).collect();
        assert!(apart.iter().all(|ms| *ms <= 4000), "{apart:?}");
        assert!(apart.ends_with(&[interval as i64 * 1000; 3]), "{apart:?}");
        let active = bench.active();
        assert_eq!(active[0].interval, Duration::from_secs(interval));
        assert_eq!(active[0].timeout, Duration::from_secs(timeout));
        assert_eq!(active[0].discovered_labels.get("__meta_x"), Some(meta));
        assert!(active[0].scrapes > before.len() as u64, "its counts go on");
    }
}

#[tokio::test(start_paused = true)]
async fn beyond_the_limit_all_targets_are_down_unasked_and_come_back_below_it() {
    let mut bench = Bench::new();
    let mut config = job(vec![files(&bench.file("t.json"))]);
    config.limits.targets = 1;
    bench.put("t.json", &[ONE], "");
    bench.apply(&config).await;
    bench.within(10).await;
    let asked = reasons(&bench);
    assert!(asked[0].1.starts_with("cannot connect"), "{asked:?}");
    bench.put("t.json", &[ONE, TWO], "");
    assert_eq!(bench.within(10).await, format!("{ONE}; {TWO}"), "`up` goes on");
    let told = "target limit exceeded: the job has 2 targets, and its `limits.targets` is 1".to_owned();
    assert_eq!(reasons(&bench), vec![(TargetHealth::Down, told.clone()); 2]);
    assert_eq!(bench.status.lock()["j"].errors, [told]);
    bench.put("t.json", &[TWO], "");
    assert_eq!(bench.within(10).await, format!("{ONE} ends; {TWO}"));
    assert_eq!(reasons(&bench), asked, "it is asked again");
    assert!(bench.status.lock()["j"].errors.is_empty());
}

fn reasons(bench: &Bench) -> Vec<(TargetHealth, String)> {
    bench.active().into_iter().map(|t| (t.health, t.last_error)).collect()
}

/// Of a certificate that can be used.
const GOOD: &str = include_str!("../../../../client/src/tls/version_1.pem");

#[tokio::test(start_paused = true)]
async fn with_a_damaged_certificate_targets_are_down_and_come_back_by_themselves_once_it_is_good() {
    let mut bench = Bench::new();
    bench.put("t.json", &[ONE], "");
    let mut config = job(vec![files(&bench.file("t.json"))]);
    config.http.tls.ca_file = Some(bench.file("ca.pem"));
    // At a start, missing or damaged.
    for (damage, why) in [(None, "No such file"), (Some("hello"), "there is no certificate in it")] {
        let _ = std::fs::remove_file(bench.file("ca.pem"));
        if let Some(text) = damage {
            std::fs::write(bench.file("ca.pem"), text).unwrap();
        }
        bench.apply(&config).await;
        assert_eq!(bench.within(15).await, ONE, "`up` is written");
        let told = reasons(&bench);
        let named = format!("cannot read the certificate file `ca.pem`: {why}");
        assert!(told[0].0 == TargetHealth::Down && told[0].1.starts_with(&named), "{told:?}");
        assert_eq!(bench.status.lock()["j"].errors, [told[0].1.as_str()]);
        std::fs::write(bench.file("ca.pem"), "-----BEGIN CERTIFICATE-----\n").unwrap();
        assert_eq!(bench.within(15).await, ONE);
        let told = reasons(&bench);
        assert!(told[0].1.contains("line 1: its end is missing"), "no good either: {told:?}");
        assert_eq!(bench.status.lock()["j"].errors, [told[0].1.as_str()]);
        std::fs::write(bench.file("ca.pem"), GOOD).unwrap();
        assert_eq!(bench.within(15).await, ONE);
        assert!(reasons(&bench)[0].1.starts_with("cannot connect"), "it is asked: {:?}", reasons(&bench));
        assert!(bench.status.lock()["j"].errors.is_empty());
    }
    // While it runs, the last good ones go on.
    std::fs::write(bench.file("ca.pem"), "hello").unwrap();
    assert_eq!(bench.within(25).await, ONE);
    assert!(reasons(&bench)[0].1.starts_with("cannot connect"), "{:?}", reasons(&bench));
    // A reload begins anew: its series go on.
    config.interval = Duration::from_secs(2);
    bench.apply(&config).await;
    assert_eq!(bench.within(15).await, ONE);
    assert!(reasons(&bench)[0].1.contains("`ca.pem`"), "{:?}", reasons(&bench));
    bench.times(ONE);
}

#[tokio::test(start_paused = true)]
async fn certificates_are_looked_at_however_often_targets_change() {
    let mut bench = Bench::new();
    bench.put("t.json", &[ONE], "");
    std::fs::write(bench.file("ca.pem"), "hello").unwrap();
    let mut config = job(vec![files(&bench.file("t.json"))]);
    config.http.tls.ca_file = Some(bench.file("ca.pem"));
    bench.apply(&config).await;
    std::fs::write(bench.file("ca.pem"), GOOD).unwrap();
    for n in 0..8 {
        bench.put("t.json", &[ONE], &format!(r#""__meta_n": "{n}""#));
        bench.within(2).await;
    }
    assert!(reasons(&bench)[0].1.starts_with("cannot connect"), "{:?}", reasons(&bench));
}

/// `up` of the instance `i` within so many seconds after `last`: it never ends, and no time lies further from the one
/// before than `apart_ms`. Yields the last.
async fn goes_on(bench: &Bench, last: Option<i64>, seconds: u64, apart_ms: i64) -> Option<i64> {
    assert_eq!(bench.within(seconds).await, "i");
    let times: Vec<i64> = last.into_iter().chain(bench.times("i")).collect();
    assert!(times.windows(2).all(|w| w[0] < w[1] && w[1] - w[0] <= apart_ms), "{times:?}");
    times.last().copied()
}

const ALIKE: &str = r#""instance": "i""#;

#[tokio::test(start_paused = true)]
async fn a_target_whose_address_changes_under_the_same_labels_goes_on_without_a_gap_or_an_end() {
    let mut bench = Bench::new();
    let config = Scrape { interval: Duration::from_secs(10), ..job(vec![files(&bench.file("t.json"))]) };
    bench.put("t.json", &["127.0.0.1:11"], ALIKE);
    bench.apply(&config).await;
    let mut last = goes_on(&bench, None, 20, 10_000).await;
    for port in 12..20 {
        let address = format!("127.0.0.1:{port}");
        bench.put("t.json", &[&address], ALIKE);
        last = goes_on(&bench, last, 25, 10_000).await;
        let active = bench.active();
        assert!(active.len() == 1 && active[0].scrape_url.contains(&address), "{active:?}");
    }
    bench.put("t.json", &[], "");
    assert_eq!(bench.within(5).await, "i ends");
}

#[tokio::test(start_paused = true)]
async fn a_new_address_beside_the_old_one_goes_on_when_the_old_one_goes() {
    let mut bench = Bench::new();
    let config = Scrape { interval: Duration::from_secs(10), ..job(vec![files(&bench.file("t.json"))]) };
    bench.put("t.json", &[ONE], ALIKE);
    bench.apply(&config).await;
    let mut last = goes_on(&bench, None, 20, 10_000).await;
    for there in [&[ONE, TWO][..], &[TWO], &[ONE, TWO], &[ONE]] {
        bench.put("t.json", there, ALIKE);
        last = goes_on(&bench, last, 25, 10_000).await;
        assert_eq!(bench.active().len(), there.len());
    }
}

#[tokio::test(start_paused = true)]
async fn a_reload_that_changes_the_path_leaves_no_gap_and_ends_nothing() {
    let mut bench = Bench::new();
    let mut config = Scrape { interval: Duration::from_secs(10), ..job(vec![files(&bench.file("t.json"))]) };
    bench.put("t.json", &[ONE], ALIKE);
    bench.apply(&config).await;
    let mut last = goes_on(&bench, None, 20, 10_000).await;
    for path in ["/a", "/b", "/c", "/d"] {
        config.path = path.to_owned();
        bench.apply(&config).await;
        last = goes_on(&bench, last, 25, 10_000).await;
        assert!(bench.active()[0].scrape_url.ends_with(path));
    }
    // Other labels are other series.
    bench.put("t.json", &[ONE], r#""instance": "other""#);
    assert_eq!(bench.within(25).await, "i ends; other");
}
