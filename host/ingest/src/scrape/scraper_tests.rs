use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use belfry_model::sample::is_stale;
use belfry_model::{Appended, MetricKind, MetricMetadata, WriteError, Writer};

use super::*;
use crate::relabel::{Action, Relabel, RelabelSpec};
use crate::scrape::{Group, Targets, test_job};
use crate::writer::IngestLimits;

/// A store that only remembers what it was given.
#[derive(Default)]
struct Book {
    series: Mutex<Vec<Labels>>,
    /// `time series = value`, in order of arrival.
    samples: Mutex<Vec<String>>,
    metadata: Mutex<Vec<MetricMetadata>>,
    /// References that it no longer knows: those below this.
    forgotten: Mutex<u64>,
    /// It takes no new series.
    full: Mutex<bool>,
}

#[async_trait]
impl Writer for Book {
    fn open(&self, labels: &Labels) -> Result<SeriesRef, WriteError> {
        if *self.full.lock().unwrap() && !self.series.lock().unwrap().contains(labels) {
            return Err(WriteError::SeriesLimit { limit: 1 });
        }
        self.open_always(labels)
    }

    fn open_always(&self, labels: &Labels) -> Result<SeriesRef, WriteError> {
        let mut series = self.series.lock().unwrap();
        let forgotten = *self.forgotten.lock().unwrap() as usize;
        let known = series.iter().skip(forgotten).position(|l| l == labels).map(|n| n + forgotten);
        Ok(SeriesRef(known.unwrap_or_else(|| {
            series.push(labels.clone());
            series.len() - 1
        }) as u64))
    }

    async fn append(&self, batch: Batch) -> Result<Appended, WriteError> {
        let mut appended = Appended::default();
        let series = self.series.lock().unwrap();
        let mut told = self.samples.lock().unwrap();
        for (i, (r, value)) in batch.refs.iter().zip(&batch.values).enumerate() {
            if r.0 < *self.forgotten.lock().unwrap() {
                appended.unknown_series += 1;
                continue;
            }
            let at = match &batch.times {
                Times::One(at) => *at,
                Times::Each(times) => times[i],
            };
            let value = if is_stale(*value) { "stale".to_owned() } else { value.to_string() };
            let start = batch.starts.get(i).filter(|s| **s != 0).map(|s| format!(" since {s}")).unwrap_or_default();
            told.push(format!("{} {} = {value}{start}", at.0, series[r.0 as usize]));
            appended.accepted += 1;
        }
        for (r, at, _, histogram) in &batch.histograms {
            told.push(format!("{} {} = histogram of {}", at.0, series[r.0 as usize], histogram.count));
        }
        for (r, exemplar) in &batch.exemplars {
            told.push(format!("{} {} # {}", exemplar.at.0, series[r.0 as usize], exemplar.labels));
        }
        Ok(appended)
    }

    fn declare(&self, metadata: MetricMetadata) {
        self.metadata.lock().unwrap().push(metadata);
    }
}

/// Labels: the target's and ours.
#[path = "scraper_label_tests.rs"]
mod labels;

#[path = "scraper_handover_tests.rs"]
mod handover;

/// What each scrape says of itself.
#[path = "scraper_report_tests.rs"]
mod reports;

struct Bench {
    book: Arc<Book>,
    ingest: Ingest,
    scraper: Scraper,
    at: i64,
}

fn target(job: &Job) -> Arc<Target> {
    let group = Group { addresses: vec!["h:1".to_owned()], labels: Labels::empty() };
    Targets::of(job, &[group]).active.remove(0)
}

impl Bench {
    fn new(job: Job) -> Self {
        Self::with_limits(job, None, IngestLimits::default())
    }

    fn with_limits(job: Job, series_max: Option<u64>, limits: IngestLimits) -> Self {
        let book = Arc::new(Book::default());
        let ingest = Ingest::new(book.clone(), limits);
        ingest.register("t", Labels::empty(), series_max);
        let (target, job) = (target(&job), Arc::new(job));
        Self { book, ingest, scraper: Scraper::new(job, target, "t"), at: 0 }
    }

    /// One scrape; a second passes. Gives what was written but the reports, without the target's labels.
    fn scrape(&mut self, text: &str) -> Vec<String> {
        self.answer(Ok(Answer { body: text.as_bytes(), format: BodyFormat::Text(TextFormat::Prometheus) })).1
    }

    fn answer(&mut self, answer: Result<Answer<'_>, ScrapeError>) -> (Outcome, Vec<String>) {
        self.at += 1000;
        let took = Duration::from_millis(250);
        let outcome = block_on(self.scraper.scraped(&self.ingest, TimestampMs(self.at), took, answer));
        (outcome, self.written().into_iter().filter(|l| !l.contains(" up") && !l.contains(" scrape_")).collect())
    }

    fn written(&self) -> Vec<String> {
        let all = std::mem::take(&mut *self.book.samples.lock().unwrap());
        all.into_iter().map(|l| l.replace(r#"instance="h:1", job="node""#, "..")).collect()
    }

    fn held(&self) -> u64 {
        self.ingest.producer_stats("t").unwrap().series
    }
}

/// Nothing here waits.
fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn each_scrape_tells_of_itself() {
    let mut bench = Bench::new(Job { extra_metrics: true, ..test_job() });
    bench.scraper.job = Arc::new(Job { extra_metrics: true, ..test_job() });
    block_on(bench.scraper.scraped(
        &bench.ingest,
        TimestampMs(1000),
        Duration::from_millis(250),
        Ok(Answer { body: b"a 1\nb 2\n", format: BodyFormat::Text(TextFormat::Prometheus) }),
    ));
    assert_eq!(
        bench.written(),
        [
            "1000 a{..} = 1",
            "1000 b{..} = 2",
            "1000 up{..} = 1",
            "1000 scrape_duration_seconds{..} = 0.25",
            "1000 scrape_samples_scraped{..} = 2",
            "1000 scrape_samples_post_metric_relabeling{..} = 2",
            "1000 scrape_series_added{..} = 2",
            "1000 scrape_timeout_seconds{..} = 5",
            "1000 scrape_sample_limit{..} = 0",
            "1000 scrape_body_size_bytes{..} = 8",
        ]
    );
}

#[test]
fn what_vanishes_ends_and_what_stays_goes_on() {
    let mut bench = Bench::new(test_job());
    assert_eq!(
        bench.scrape("a 1\nb{x=\"1\"} 2\nc 3\n"),
        ["1000 a{..} = 1", "1000 b{.., x=\"1\"} = 2", "1000 c{..} = 3"]
    );
    assert_eq!(bench.held(), 8);
    assert_eq!(bench.scrape("a 4\nc 5\n"), ["2000 a{..} = 4", "2000 c{..} = 5", "2000 b{.., x=\"1\"} = stale"]);
    assert_eq!(bench.held(), 7);
    assert_eq!(bench.scrape("a 6\nnew 7\nc 8\n"), ["3000 a{..} = 6", "3000 new{..} = 7", "3000 c{..} = 8"]);
    assert_eq!(bench.scrape("a 6\nnew 7\nc 8\n"), ["4000 a{..} = 6", "4000 new{..} = 7", "4000 c{..} = 8"]);
    assert_eq!(bench.scrape("").sorted(), ["5000 a{..} = stale", "5000 c{..} = stale", "5000 new{..} = stale"]);
    assert_eq!(bench.held(), 5);
    assert_eq!(bench.scrape("b{x=\"1\"} 2\n"), ["6000 b{.., x=\"1\"} = 2"]);
}

trait Sorted {
    fn sorted(self) -> Self;
}

impl Sorted for Vec<String> {
    fn sorted(mut self) -> Self {
        self.sort();
        self
    }
}

#[test]
fn a_failed_scrape_ends_all_series_and_says_up_0() {
    let mut bench = Bench::new(test_job());
    bench.scrape("a 1\nb 2\n");
    let (outcome, written) = bench.answer(Err(ScrapeError::Status(503)));
    assert_eq!(outcome.error.unwrap().to_string(), "the target answered with status 503");
    assert_eq!(written.sorted(), ["2000 a{..} = stale", "2000 b{..} = stale"]);
    assert_eq!((bench.held(), bench.scrape("a 3\n")), (5, vec!["3000 a{..} = 3".to_owned()]));
    let bad = Answer { body: b"a 4\nb nonsense\n", format: BodyFormat::Text(TextFormat::Prometheus) };
    let (outcome, written) = bench.answer(Ok(bad));
    assert_eq!(outcome.error.unwrap().to_string(), "bad answer: line 2: `nonsense` is no number");
    assert_eq!(written, ["4000 a{..} = stale"], "nothing of a bad answer is kept");
    block_on(bench.scraper.scraped(&bench.ingest, TimestampMs(9), Duration::ZERO, Err(ScrapeError::Status(500))));
    assert_eq!(bench.written()[0], "9 up{..} = 0");
}

#[test]
fn what_only_a_bad_answer_brought_never_ends() {
    let mut bench = Bench::new(test_job());
    bench.scrape("a 1\n");
    let bad = Answer { body: b"up 0\na 2\nb 3\nc nonsense\n", format: BodyFormat::Text(TextFormat::Prometheus) };
    let mut written = Vec::new();
    for at in [2000, 3000] {
        let scraped = bench.scraper.scraped(&bench.ingest, TimestampMs(at), Duration::ZERO, Ok(bad));
        assert!(block_on(scraped).error.is_some());
        written.extend(bench.written().into_iter().filter(|l| !l.contains("scrape_")));
    }
    assert_eq!(written, ["2000 a{..} = stale", "2000 up{..} = 0", "3000 up{..} = 0"]);
    assert_eq!(bench.held(), 5);
}

#[test]
fn up_goes_on_when_the_target_says_it_too_and_no_more() {
    let mut bench = Bench::new(test_job());
    for (at, answer) in [(1000, Ok("up 1\na 1\n")), (2000, Ok("a 1\n")), (3000, Ok("up 1\n")), (4000, Err(()))] {
        let format = BodyFormat::Text(TextFormat::Prometheus);
        let answer = answer.map(|text| Answer { body: text.as_bytes(), format }).map_err(|()| ScrapeError::Status(500));
        block_on(bench.scraper.scraped(&bench.ingest, TimestampMs(at), Duration::ZERO, answer));
    }
    let up: Vec<String> = bench.written().into_iter().filter(|l| l.contains(" up{")).collect();
    assert_eq!(
        up,
        [
            "1000 up{..} = 1",
            "1000 up{..} = 1",
            "2000 up{..} = 1",
            "3000 up{..} = 1",
            "3000 up{..} = 1",
            "4000 up{..} = 0"
        ]
    );
}

#[test]
fn at_the_end_everything_ends() {
    let mut bench = Bench::new(test_job());
    bench.scrape("a 1\nb 2 500\n");
    block_on(bench.scraper.end(&bench.ingest, TimestampMs(2000))).unwrap();
    let written = std::mem::take(&mut *bench.book.samples.lock().unwrap());
    assert_eq!(written.len(), 7);
    assert!(written.iter().all(|l| l.starts_with("2000 ") && l.ends_with(" = stale")), "{written:?}");
    assert!(bench.ingest.producer_stats("t").is_none());
}

#[test]
fn times_of_the_target_are_taken_and_then_its_end_is_not_ours_to_tell() {
    let mut bench = Bench::new(test_job());
    assert_eq!(bench.scrape("a 1\nb 2 77\nc 3\n"), ["1000 a{..} = 1", "77 b{..} = 2", "1000 c{..} = 3"]);
    assert_eq!(bench.scrape("a 1\n"), ["2000 a{..} = 1", "2000 c{..} = stale"]);
    let mut strict = Bench::new(Job { honor_timestamps: false, ..test_job() });
    assert_eq!(strict.scrape("b 2 77\n"), ["1000 b{..} = 2"]);
    let mut tracked = Bench::new(Job { track_timestamps_staleness: true, ..test_job() });
    tracked.scrape("b 2 77\n");
    assert_eq!(tracked.scrape(""), ["2000 b{..} = stale"]);
}

#[test]
fn metric_relabelling_drops_and_renames() {
    let rule = |spec| Relabel::new(spec).unwrap();
    let mut bench = Bench::new(Job {
        metric_relabel: vec![
            rule(RelabelSpec {
                source_labels: vec![METRIC_NAME.to_owned()],
                regex: "go_.*".to_owned(),
                action: Action::Drop,
                ..RelabelSpec::default()
            }),
            rule(RelabelSpec {
                source_labels: vec!["x".to_owned()],
                target_label: "__tmp".to_owned(),
                ..RelabelSpec::default()
            }),
            rule(RelabelSpec { regex: "x".to_owned(), action: Action::LabelDrop, ..RelabelSpec::default() }),
        ],
        ..test_job()
    });
    for time in ["1000", "2000"] {
        assert_eq!(bench.scrape("go_gc 1\na{x=\"1\"} 2\n"), [format!("{time} a{{__tmp=\"1\", ..}} = 2")]);
    }
    let answer = Answer { body: b"go_gc 1\na{x=\"1\"} 2\n", format: BodyFormat::Text(TextFormat::Prometheus) };
    let outcome = bench.answer(Ok(answer)).0;
    assert_eq!((outcome.scraped, outcome.kept, outcome.added), (2, 1, 0));
}

#[test]
fn limits_fail_the_whole_scrape() {
    let with = |change: fn(&mut JobLimits), text: &str| {
        let mut job = test_job();
        change(&mut job.limits);
        let answer = Answer { body: text.as_bytes(), format: BodyFormat::Text(TextFormat::Prometheus) };
        Bench::new(job).answer(Ok(answer)).0.error.map(|e| e.to_string())
    };
    use crate::scrape::JobLimits;
    let text = "a{label=\"value\"} 1\nb 2\n";
    assert_eq!(with(|l| l.samples = 2, text), None);
    let said = with(|l| l.samples = 1, text).unwrap();
    assert_eq!(said, "the answer has more than 1 samples; see the job's `limits.samples`");
    let said = with(|l| l.labels = 3, text).unwrap();
    assert_eq!(said, "`a` has 4 labels, more than `limits.labels` allows");
    let said = with(|l| l.label_name_bytes = 7, text).unwrap();
    assert_eq!(said, "label `__name__` of `a` is longer than `limits.label_name` allows");
    let said = with(|l| l.label_value_bytes = 4, text).unwrap();
    assert_eq!(said, "the value of `label` of `a` is longer than `limits.label_value` allows");
}

#[test]
fn numbers_in_bucket_labels_are_written_alike() {
    let mut bench = Bench::new(test_job());
    let text = "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\n# TYPE g gauge\ng{le=\"1\"} 3\n";
    assert_eq!(
        bench.scrape(text).iter().map(|l| l.replace("..", "")).collect::<Vec<_>>(),
        [r#"1000 h_bucket{, le="1.0"} = 1"#, r#"1000 h_bucket{, le="+Inf"} = 2"#, r#"1000 g{, le="1"} = 3"#]
    );
}

#[test]
fn openmetrics_brings_start_times_and_exemplars_and_metadata() {
    let mut bench = Bench::new(test_job());
    let text = "# HELP c Help.\n# TYPE c counter\nc_total 1 # {t=\"x\"} 1\nc_created 5\n# TYPE g gauge\ng 2\n# EOF\n";
    for at in [1000, 2000] {
        let answer = Answer { body: text.as_bytes(), format: BodyFormat::Text(TextFormat::OpenMetrics) };
        let mut expected = vec![format!("{at} c_total{{..}} = 1 since 5000"), format!("{at} g{{..}} = 2")];
        expected.extend((at == 1000).then(|| format!("{at} c_total{{..}} # {{t=\"x\"}}")));
        assert_eq!(bench.answer(Ok(answer)).1, expected);
    }
    let declared = bench.book.metadata.lock().unwrap();
    assert_eq!(declared.len(), 2, "what is known already is not told again");
    assert_eq!((declared[0].help.as_str(), declared[0].kind), ("Help.", MetricKind::Counter));
}

#[test]
fn a_metric_of_unknown_kind_is_known_too() {
    let mut bench = Bench::new(test_job());
    for _ in 0..2 {
        bench.scrape("# TYPE u untyped\nu 1\n# HELP h\nh 2\n# TYPE alone untyped\n");
    }
    let declared = bench.book.metadata.lock().unwrap();
    let told: Vec<_> = declared.iter().map(|m| (m.name.as_str(), m.kind, m.help.as_str())).collect();
    assert_eq!(
        told,
        [("u", MetricKind::Unknown, ""), ("h", MetricKind::Unknown, ""), ("alone", MetricKind::Unknown, "")]
    );
}

#[test]
fn an_exemplar_is_news_when_its_labels_value_or_time_are() {
    let mut bench = Bench::new(test_job());
    let mut exemplars = |line: &str| {
        let text = format!("# TYPE c counter\n{line}\n# EOF\n");
        let answer = Answer { body: text.as_bytes(), format: BodyFormat::Text(TextFormat::OpenMetrics) };
        bench.answer(Ok(answer)).1.into_iter().filter(|l| l.contains(" # ")).collect::<Vec<_>>()
    };
    let none: [&str; 0] = [];
    assert_eq!(exemplars("c_total 1 # {t=\"x\",u=\"y\"} 1"), [r#"1000 c_total{..} # {t="x", u="y"}"#]);
    assert_eq!(exemplars("c_total 2 # {t=\"x\",u=\"y\"} 1"), none);
    assert_eq!(exemplars("c_total 2 # {u=\"y\",t=\"x\"} 1"), none);
    assert_eq!(exemplars("c_total 2"), none);
    assert_eq!(exemplars("c_total 2 # {t=\"x\",u=\"y\"} 1"), none);
    assert_eq!(exemplars("c_total 3 # {t=\"x\",u=\"y\"} 2"), [r#"6000 c_total{..} # {t="x", u="y"}"#]);
    assert_eq!(exemplars("c_total 3 # {t=\"x\"} 2"), [r#"7000 c_total{..} # {t="x"}"#]);
    assert_eq!(exemplars("c_total 3 # {t=\"x\"} 2 7"), [r#"7000 c_total{..} # {t="x"}"#]);
    assert_eq!(exemplars("c_total 3 # {t=\"x\"} 2 7"), none);
    assert_eq!(exemplars("c_total 4 9.5 # {t=\"z\"} 2"), [r#"9500 c_total{..} # {t="z"}"#], "its sample's time");
}

#[test]
fn series_that_the_store_forgot_are_opened_again() {
    let mut bench = Bench::new(test_job());
    bench.scrape("a 1\nb 2\n");
    *bench.book.forgotten.lock().unwrap() = 99;
    bench.book.series.lock().unwrap().resize(99, Labels::empty());
    assert_eq!(bench.scrape("a 3\nb 4\n"), ["2000 a{..} = 3", "2000 b{..} = 4"]);
    assert_eq!(bench.held(), 7);
}

#[test]
fn after_a_reload_only_what_changed_ends() {
    let mut bench = Bench::new(test_job());
    bench.scrape("a 1\nb 2\n");
    let drop = RelabelSpec {
        source_labels: vec![METRIC_NAME.to_owned()],
        regex: "b".to_owned(),
        action: Action::Drop,
        ..RelabelSpec::default()
    };
    let job = Job { metric_relabel: vec![Relabel::new(drop).unwrap()], ..test_job() };
    bench.scraper.reconfigure(Arc::new(job.clone()), target(&job));
    assert_eq!(bench.scrape("a 3\nb 4\n"), ["2000 a{..} = 3", "2000 b{..} = stale"]);
    assert_eq!(bench.held(), 6);
}

#[test]
fn a_series_limit_leaves_the_scrapes_own_series_alone_and_is_told() {
    let own = |limits, total| {
        let mut bench =
            Bench::with_limits(test_job(), limits, IngestLimits { series_total: total, ..IngestLimits::default() });
        let answer = Answer { body: b"a 1\nb 2\nc 3\n", format: BodyFormat::Text(TextFormat::Prometheus) };
        let outcome =
            block_on(bench.scraper.scraped(&bench.ingest, TimestampMs(1000), Duration::from_secs(1), Ok(answer)));
        (bench.written().join("; "), outcome.told(), bench)
    };
    let reports = "1000 up{..} = 1; 1000 scrape_duration_seconds{..} = 1; 1000 scrape_samples_scraped{..} = 3; \
        1000 scrape_samples_post_metric_relabeling{..} = 3; 1000 scrape_series_added{..} = 2";
    // The target's: what tells of the scrape is beside it.
    let (written, told, mut bench) = own(Some(2), 1000);
    assert_eq!(written, format!("1000 a{{..}} = 1; 1000 b{{..}} = 2; {reports}"));
    let limit = "producer `t` has 2 series open, its limit; raise `limits.series` or drop labels";
    assert_eq!((told, bench.held()), (format!("1 series of the scrape were left out: {limit}"), 7));
    bench.ingest.register("t", Labels::empty(), Some(3));
    bench.at = 1000;
    let whole = Answer { body: b"a 1\nb 2\nc 3\n", format: BodyFormat::Text(TextFormat::Prometheus) };
    let (outcome, written) = bench.answer(Ok(whole));
    assert_eq!((outcome.told().as_str(), written.len()), ("", 3));
    // That of all together: what tells of the scrape comes first.
    let (written, told, _) = own(None, 7);
    assert_eq!(written, format!("1000 a{{..}} = 1; 1000 b{{..}} = 2; {reports}"));
    assert!(told.starts_with("1 series of the scrape were left out: 7 series are open, the limit of all"), "{told}");
    let (written, told, bench) = own(None, 1);
    let reports = reports.replace("scrape_series_added{..} = 2", "scrape_series_added{..} = 0");
    assert_eq!((written, bench.held()), (reports, 5), "those find room whatever the limit is");
    assert!(told.starts_with("3 series of the scrape were left out: 1 series are open"), "{told}");
}

#[test]
fn a_failure_after_a_reload_ends_what_was_there_and_not_up() {
    let mut bench = Bench::new(Job { extra_metrics: true, ..test_job() });
    bench.scrape("a 1\n");
    bench.scraper.reconfigure(Arc::new(test_job()), target(&test_job()));
    block_on(bench.scraper.scraped(&bench.ingest, TimestampMs(2000), Duration::ZERO, Err(ScrapeError::Status(500))));
    let written = bench.written();
    let of = |metric: &str| -> Vec<&str> {
        written.iter().map(String::as_str).filter(|l| l.contains(&format!(" {metric}{{"))).collect()
    };
    assert_eq!((of("a"), of("up")), (vec!["2000 a{..} = stale"], vec!["2000 up{..} = 0"]));
    assert_eq!(of("scrape_timeout_seconds"), ["2000 scrape_timeout_seconds{..} = stale"]);
    assert_eq!(bench.held(), 5);
}

#[test]
fn a_reload_at_a_limit_leaves_nothing_out() {
    let mut bench =
        Bench::with_limits(test_job(), Some(2), IngestLimits { series_total: 7, ..IngestLimits::default() });
    bench.scrape("a 1\nb 2\n");
    bench.scraper.reconfigure(Arc::new(test_job()), target(&test_job()));
    assert_eq!(bench.scrape("a 3\nb 4\n"), ["2000 a{..} = 3", "2000 b{..} = 4"]);
    assert_eq!(bench.held(), 7);
}

/// Whatever lines come, go, move or repeat between scrapes, what is written is what a scraper without memory would
/// write, plus stale markers for what is gone.
#[test]
fn memory_changes_nothing_but_the_cost() {
    let mut seed = 7_u64;
    let mut random = move |n: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % n
    };
    let mut bench = Bench::new(test_job());
    let mut before: BTreeMap<String, ()> = BTreeMap::new();
    for _ in 0..300 {
        let mut names: Vec<u64> = (0..12).filter(|_| random(4) > 0).collect();
        if random(3) == 0 {
            let (a, b) = (random(12) as usize % names.len().max(1), random(12) as usize % names.len().max(1));
            names.get(a).copied().zip(names.get(b).copied()).inspect(|_| names.swap(a, b));
        }
        let mut text = String::new();
        let mut expected = Vec::new();
        for n in &names {
            if random(5) == 0 {
                text += &format!("# HELP s{n} {}\n", random(2));
            }
            let value = random(100);
            text += &format!("s{n}{{l=\"{n}\"}} {value}{}\n", if random(6) == 0 { " " } else { "" });
            expected.push(format!("{} s{n}{{.., l=\"{n}\"}} = {value}", bench.at + 1000));
        }
        let now: BTreeMap<String, ()> = names.iter().map(|n| (format!("s{n}{{.., l=\"{n}\"}}"), ())).collect();
        for gone in before.keys().filter(|k| !now.contains_key(*k)) {
            expected.push(format!("{} {gone} = stale", bench.at + 1000));
        }
        before = now;
        assert_eq!(bench.scrape(&text).sorted(), expected.sorted(), "{text}");
    }
}

fn typed() -> Job {
    Job { type_and_unit_labels: true, ..test_job() }
}

/// The series of an answer without their times, values and the target's labels.
fn series_of(job: Job, body: &[u8], format: BodyFormat) -> Vec<String> {
    let (outcome, written) = Bench::new(job).answer(Ok(Answer { body, format }));
    assert_eq!((outcome.error, outcome.refused), (None, 0));
    let series = |l: &String| l.trim_start_matches("1000 ").split(" = ").next().unwrap().replace("..", "");
    written.iter().map(series).collect()
}

#[test]
fn series_say_kind_and_unit_only_where_the_job_wants_it() {
    let text = b"# TYPE a_total counter\na_total 1\n\
        # TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n\
        # TYPE s summary\ns{quantile=\"0.5\"} 1\ns_sum 1\n\
        # TYPE u untyped\nu 1\nnobody 1\n";
    let format = BodyFormat::Text(TextFormat::Prometheus);
    assert_eq!(
        series_of(typed(), text, format),
        [
            r#"a_total{__type__="counter", }"#,
            r#"h_bucket{__type__="histogram", , le="+Inf"}"#,
            r#"h_sum{__type__="histogram", }"#,
            r#"h_count{__type__="histogram", }"#,
            r#"s{__type__="summary", , quantile="0.5"}"#,
            r#"s_sum{__type__="summary", }"#,
            "u{}",
            "nobody{}",
        ]
    );
    let untyped = series_of(test_job(), text, format);
    assert_eq!((untyped.len(), untyped.iter().any(|s| s.contains("__type__"))), (8, false));
}

#[test]
fn openmetrics_tells_units_and_more_kinds() {
    let text = b"# TYPE a_seconds counter\n# UNIT a_seconds seconds\na_seconds_total 1\n\
        # TYPE build info\nbuild_info 1\n\
        # TYPE g gaugehistogram\ng_bucket{le=\"+Inf\"} 1\ng_gcount 1\n\
        # TYPE st stateset\nst{st=\"x\"} 1\n\
        # TYPE b_bytes unknown\n# UNIT b_bytes bytes\nb_bytes 1\n# EOF\n";
    let format = BodyFormat::Text(TextFormat::OpenMetrics);
    assert_eq!(
        series_of(typed(), text, format),
        [
            r#"a_seconds_total{__type__="counter", __unit__="seconds", }"#,
            r#"build_info{__type__="info", }"#,
            r#"g_bucket{__type__="gaugehistogram", , le="+Inf"}"#,
            r#"g_gcount{__type__="gaugehistogram", }"#,
            r#"st{__type__="stateset", , st="x"}"#,
            r#"b_bytes{__unit__="bytes", }"#,
        ]
    );
    let untyped = series_of(test_job(), text, format);
    assert_eq!((untyped.len(), untyped.iter().any(|s| s.contains("__"))), (6, false));
}

#[test]
fn protobuf_tells_kind_and_unit_of_floats_and_native_histograms() {
    // Length-delimited fields of a message; all are short.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
    }
    fn family(name: &str, kind: u8, unit: &str, metric: &[u8]) -> Vec<u8> {
        let message =
            [field(1, name.as_bytes()), vec![3 << 3, kind], field(4, metric), field(5, unit.as_bytes())].concat();
        [&[message.len() as u8][..], &message].concat()
    }
    // One observation; with a zero threshold it is a native histogram, whose zero bucket has it.
    let observed = [8, 1];
    let native = [&observed[..], &[6 << 3 | 1], &1_f64.to_le_bytes(), &[7 << 3, 1]].concat();
    let body = [
        family("a_total", 0, "", &field(3, &[])),
        family("t_seconds", 1, "seconds", &field(2, &[])),
        family("h", 4, "bytes", &field(7, &native)),
        family("gh", 5, "", &field(7, &observed)),
    ]
    .concat();
    let native = |job: Job| Job { native_histograms: true, ..job };
    assert_eq!(
        series_of(native(typed()), &body, BodyFormat::Protobuf),
        [
            r#"a_total{__type__="counter", }"#,
            r#"t_seconds{__type__="gauge", __unit__="seconds", }"#,
            r#"gh_count{__type__="gaugehistogram", }"#,
            r#"gh_sum{__type__="gaugehistogram", }"#,
            r#"gh_bucket{__type__="gaugehistogram", , le="+Inf"}"#,
            r#"h{__type__="histogram", __unit__="bytes", }"#,
        ]
    );
    let untyped = series_of(native(test_job()), &body, BodyFormat::Protobuf);
    assert_eq!((untyped.len(), untyped.iter().any(|s| s.contains("__"))), (6, false));
}

#[test]
fn what_a_target_writes_into_the_labels_itself_counts_only_where_it_says_nothing_else() {
    let text = "# TYPE a counter\na{__type__=\"gauge\",__unit__=\"own\",__x__=\"y\"} 1\nb{__type__=\"gauge\"} 1\n";
    assert_eq!(
        Bench::new(typed()).scrape(text),
        [r#"1000 a{__type__="counter", __unit__="own", __x__="y", ..} = 1"#, r#"1000 b{__type__="gauge", ..} = 1"#]
    );
    assert_eq!(
        Bench::new(test_job()).scrape(text),
        [r#"1000 a{__type__="gauge", __unit__="own", __x__="y", ..} = 1"#, r#"1000 b{__type__="gauge", ..} = 1"#],
        "they are labels like others where they are not asked for"
    );
}

#[test]
fn relabelling_sees_kind_and_unit_and_may_drop_them() {
    let spec = RelabelSpec { regex: "__type__".to_owned(), action: Action::LabelDrop, ..RelabelSpec::default() };
    let mut bench = Bench::new(Job { metric_relabel: vec![Relabel::new(spec).unwrap()], ..typed() });
    assert_eq!(bench.scrape("# TYPE a counter\na 1\n"), ["1000 a{..} = 1"]);
}

#[test]
fn a_metric_that_becomes_another_is_another_series_and_known_lines_stay_known() {
    let mut bench = Bench::new(typed());
    let (counter, gauge) = (r#"a{__type__="counter", .., x="1"}"#, r#"b{__type__="gauge", .., x="1"}"#);
    let text = "# TYPE a counter\na{x=\"1\"} 1\na{x=\"2\"} 1\n# TYPE b gauge\nb{x=\"1\"} 1\n";
    assert_eq!(bench.scrape(text).len(), 3);
    assert_eq!(bench.scrape(text).len(), 3);
    // A new line behind lines that are as they were still has the kind that was told before them.
    let more = text.replace("# TYPE b", "a{x=\"3\"} 1\n# TYPE b");
    assert!(bench.scrape(&more).contains(&r#"3000 a{__type__="counter", .., x="3"} = 1"#.to_owned()));
    // Only one comment changes, and lines behind it that did not change change with it.
    let other = text.replace("a counter", "a gauge");
    let mut written = bench.scrape(&other);
    written.sort();
    assert_eq!(
        written,
        [
            format!("4000 {counter} = stale"),
            format!("4000 {} = stale", counter.replace("\"1", "\"2")),
            format!("4000 {} = stale", counter.replace("\"1", "\"3")),
            format!("4000 {} = 1", gauge.replace('b', "a")),
            format!("4000 {} = 1", gauge.replace('b', "a").replace("\"1", "\"2")),
            format!("4000 {gauge} = 1"),
        ]
    );
    let (outcome, written) =
        bench.answer(Ok(Answer { body: other.as_bytes(), format: BodyFormat::Text(TextFormat::Prometheus) }));
    assert_eq!((outcome.added, written.len(), bench.held()), (0, 3, 8));
}

#[test]
fn turned_on_while_it_runs_it_ends_the_series_that_go_on_under_other_labels() {
    let mut bench = Bench::new(test_job());
    let text = "# TYPE a counter\na 1\nb 1\n";
    assert_eq!(bench.scrape(text), ["1000 a{..} = 1", "1000 b{..} = 1"]);
    bench.scraper.reconfigure(Arc::new(typed()), target(&typed()));
    assert_eq!(bench.scrape(text), [r#"2000 a{__type__="counter", ..} = 1"#, "2000 b{..} = 1", "2000 a{..} = stale"]);
}

/// Whatever is told and told again between scrapes, a series has the kind that its metric was said to have last.
#[test]
fn memory_does_not_hide_what_a_metric_is() {
    let mut seed = 11_u64;
    let mut random = move |n: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % n
    };
    let mut bench = Bench::new(typed());
    let mut before: BTreeMap<String, ()> = BTreeMap::new();
    let mut kinds = [""; 4];
    for _ in 0..300 {
        let (mut text, mut expected, mut now) = (String::new(), Vec::new(), BTreeMap::new());
        for (f, kind) in kinds.iter_mut().enumerate() {
            let told = match random(12) {
                0..8 => *kind,
                8 | 9 => "",
                10 => "counter",
                _ => "gauge",
            };
            if !told.is_empty() {
                *kind = told;
                text += &format!("# TYPE f{f} {told}\n");
            }
            for l in 0..3 {
                if random(5) == 0 {
                    continue;
                }
                let value = random(100);
                text += &format!("f{f}{{l=\"{l}\"}} {value}\n");
                let kind = if kind.is_empty() { String::new() } else { format!("__type__=\"{kind}\", ") };
                let series = format!("f{f}{{{kind}.., l=\"{l}\"}}");
                expected.push(format!("{} {series} = {value}", bench.at + 1000));
                now.insert(series, ());
            }
        }
        let gone = before.keys().filter(|k| !now.contains_key(*k));
        expected.extend(gone.map(|gone| format!("{} {gone} = stale", bench.at + 1000)));
        before = now;
        assert_eq!(bench.scrape(&text).sorted(), expected.sorted(), "{text}");
    }
}

#[test]
fn what_starts_with_underscores_stays_as_in_prometheus() {
    let rule = RelabelSpec { target_label: "__tmp".to_owned(), replacement: "x".to_owned(), ..RelabelSpec::default() };
    let mut bench = Bench::new(Job { metric_relabel: vec![Relabel::new(rule).unwrap()], ..test_job() });
    assert_eq!(bench.scrape("a{__own=\"y\"} 1\n"), [r#"1000 a{__own="y", __tmp="x", ..} = 1"#]);
}

#[test]
fn a_series_that_cannot_be_kept_is_told_and_counted_at_each_scrape() {
    let many: Vec<String> = (0..LABELS_SCRAPED_MAX).map(|n| format!("l{n}=\"v\"")).collect();
    let long = "n".repeat(LABEL_BYTES_MAX + 1);
    let mut bench = Bench::new(test_job());
    for (n, text, said) in [
        (1, format!("ok 1\nwide{{{}}} 1\n", many.join(",")), "`wide` has 131 labels, and a series at most 128"),
        (
            2,
            format!("ok 1\n{long} 1\n"),
            &*format!("`__name__` of `{}` has 8193 bytes, and a label's name or value at most 8192", &long[..100]),
        ),
    ] {
        let answer = || Answer { body: text.as_bytes(), format: BodyFormat::Text(TextFormat::Prometheus) };
        for again in 0..2 {
            let (outcome, written) = bench.answer(Ok(answer()));
            assert_eq!((outcome.error.as_ref(), outcome.scraped, outcome.kept, outcome.refused), (None, 2, 2, 1));
            assert_eq!(outcome.told(), format!("1 series of the scrape were left out: bad labels: {said}"));
            assert_eq!(written.iter().filter(|l| l.contains("ok{")).count(), 1);
            let stats = bench.ingest.producer_stats("t").unwrap();
            assert_eq!((stats.series_refused, stats.series_shed), (2 * n - 1 + again, 0));
        }
    }
}

#[test]
fn a_full_store_sheds_what_is_new_once_a_scrape_and_never_what_tells_of_the_scrape() {
    let mut bench = Bench::new(test_job());
    *bench.book.full.lock().unwrap() = true;
    let answer = || Answer { body: b"a 1\nb 2\n", format: BodyFormat::Text(TextFormat::Prometheus) };
    for scrape in 1..=2 {
        bench.at += 1000;
        let told = block_on(bench.scraper.scraped(&bench.ingest, TimestampMs(bench.at), Duration::ZERO, Ok(answer())));
        assert_eq!((told.kept, told.added, told.refused), (2, 0, 0));
        assert!(told.told().starts_with("2 series of the scrape were left out: limit of 1 series reached"), "{told:?}");
        let written = bench.written();
        assert!(written.contains(&format!("{} up{{..}} = 1", bench.at)), "{written:?}");
        assert!(written.contains(&format!("{} scrape_samples_post_metric_relabeling{{..}} = 2", bench.at)));
        let stats = bench.ingest.producer_stats("t").unwrap();
        assert_eq!((stats.series_shed, stats.series_refused), (2 * scrape, 0));
        assert_eq!(bench.ingest.series_shed(), 2 * scrape);
    }
}

#[test]
fn with_all_places_taken_a_new_target_still_tells_of_itself() {
    let limits = IngestLimits { series_total: 0, ..IngestLimits::default() };
    let mut bench = Bench::with_limits(test_job(), None, limits);
    bench.scraper.scrape = 0;
    let answer = Answer { body: b"a 1\n", format: BodyFormat::Text(TextFormat::Prometheus) };
    let told = block_on(bench.scraper.scraped(&bench.ingest, TimestampMs(1000), Duration::ZERO, Ok(answer)));
    assert_eq!((told.added, bench.ingest.series_shed()), (0, 1));
    assert!(bench.written().contains(&"1000 up{..} = 1".to_owned()));
}

#[test]
fn an_empty_answer_is_an_answer_in_every_format() {
    let mut bench = Bench::new(test_job());
    assert_eq!(bench.scrape("a 1\n"), ["1000 a{..} = 1"]);
    for (body, up) in [("", true), ("a 1\n", false)] {
        let answer = Answer { body: body.as_bytes(), format: BodyFormat::Text(TextFormat::OpenMetrics) };
        let (outcome, _) = bench.answer(Ok(answer));
        assert_eq!(outcome.error.is_none(), up, "{body:?} {outcome:?}");
    }
}

#[test]
fn exemplars_and_help_are_bounded() {
    let mut bench = Bench::new(test_job());
    let (fits, long) = ("x".repeat(127), "x".repeat(128));
    let help = "h".repeat(crate::HELP_BYTES_MAX);
    let text = format!(
        "# HELP c {help}more\n# TYPE c counter\nc_total{{a=\"1\"}} 1 # {{t=\"{fits}\"}} 1\nc_total{{a=\"2\"}} 1 # {{t=\"{long}\"}} 1\n# EOF\n"
    );
    for scrape in 1..=2 {
        let answer = Answer { body: text.as_bytes(), format: BodyFormat::Text(TextFormat::OpenMetrics) };
        let written = bench.answer(Ok(answer)).1;
        let exemplars: Vec<_> = written.iter().filter(|l| l.contains(" # ")).collect();
        assert_eq!(exemplars.len(), usize::from(scrape == 1), "{written:?}");
        assert!(exemplars.iter().all(|l| l.contains("a=\"1\"")));
        let stats = bench.ingest.stats();
        assert_eq!((stats.exemplars_too_long, stats.metadata_cut), (scrape, 1), "what is known is not declared again");
    }
    let declared = bench.book.metadata.lock().unwrap();
    assert_eq!((declared.len(), &declared[0].help), (1, &help));
}
