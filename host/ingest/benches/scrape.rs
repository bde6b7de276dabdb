//! What a scraped sample costs before it reaches the store: parsing, memory of lines, batch. The store takes nothing
//! here, and HTTP is left out.
//!
//! `cargo bench -p belfry-ingest --bench scrape` prints nanoseconds a sample: of answers whose lines are known, of the
//! first answer, and of one in which every tenth line is new.
#![allow(missing_docs)]

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use belfry_ingest::exposition::TextFormat;
use belfry_ingest::scrape::{Answer, BodyFormat, Group, Job, JobLimits, Scraper, Targets};
use belfry_ingest::{Ingest, IngestLimits};
use belfry_model::{Appended, Batch, Labels, MetricMetadata, SeriesRef, TimestampMs, WriteError, Writer};

const TARGETS: usize = 40;
const SERIES: usize = 500;
const ROUNDS: usize = 200;

/// Takes everything and keeps nothing.
#[derive(Default)]
struct Nowhere(AtomicU64);

#[async_trait]
impl Writer for Nowhere {
    fn open(&self, _: &Labels) -> Result<SeriesRef, WriteError> {
        Ok(SeriesRef(self.0.fetch_add(1, Ordering::Relaxed)))
    }
    async fn append(&self, batch: Batch) -> Result<Appended, WriteError> {
        std::hint::black_box(&batch);
        Ok(Appended { accepted: batch.refs.len() as u64, ..Appended::default() })
    }
    fn declare(&self, _: MetricMetadata) {}
}

/// Like a node exporter's: ten series a metric, two labels, values of all lengths. Every tenth line is named by `new`.
fn answer(round: usize, new: usize) -> String {
    let mut text = String::new();
    for n in 0..SERIES {
        if n % 10 == 0 {
            let _ = writeln!(
                text,
                "# HELP node_metric_{}_total What it counts.\n# TYPE node_metric_{0}_total counter",
                n / 10
            );
        }
        let value = (n * 7919 + round * 104_729) as f64 / if n % 3 == 0 { 1.0 } else { 128.0 };
        let device = if n % 10 == 9 { new } else { 0 };
        let _ = writeln!(text, "node_metric_{}_total{{cpu=\"{n}\",device=\"sda{device}\"}} {value}", n / 10);
    }
    text
}

fn job() -> Job {
    Job {
        name: "node".to_owned(),
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        scheme: "http".to_owned(),
        path: "/metrics".to_owned(),
        params: Default::default(),
        honor_labels: false,
        honor_timestamps: true,
        track_timestamps_staleness: false,
        native_histograms: false,
        classic_histograms: false,
        type_and_unit_labels: false,
        extra_metrics: false,
        limits: JobLimits::default(),
        relabel: Vec::new(),
        metric_relabel: Vec::new(),
    }
}

async fn round(scrapers: &mut [Scraper], ingest: &Ingest, at: i64, text: &str) {
    for scraper in scrapers {
        let answer = Answer { body: text.as_bytes(), format: BodyFormat::Text(TextFormat::Prometheus) };
        let outcome = scraper.scraped(ingest, TimestampMs(at), Duration::ZERO, Ok(answer)).await;
        assert_eq!((outcome.error, outcome.scraped), (None, SERIES as u64));
    }
}

fn tell(what: &str, took: Duration, rounds: usize) {
    println!("{what}: {:.0} ns a sample", took.as_nanos() as f64 / (rounds * TARGETS * SERIES) as f64);
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let ingest = Ingest::new(Arc::new(Nowhere::default()), IngestLimits::default());
    let job = Arc::new(job());
    let addresses = (0..TARGETS).map(|n| format!("host{n}:9100")).collect();
    let targets = Targets::of(&job, &[Group { addresses, labels: Labels::empty() }]);
    let mut scrapers: Vec<Scraper> = Vec::new();
    for (n, target) in targets.active.into_iter().enumerate() {
        ingest.register(&format!("t{n}"), Labels::empty(), None);
        scrapers.push(Scraper::new(job.clone(), target, format!("t{n}")));
    }
    let begin = Instant::now();
    round(&mut scrapers, &ingest, 0, &answer(0, 0)).await;
    tell("first answer", begin.elapsed(), 1);
    let answers: Vec<String> = (1..9).map(|n| answer(n, 0)).collect();
    let begin = Instant::now();
    for n in 0..ROUNDS {
        round(&mut scrapers, &ingest, n as i64, &answers[n % answers.len()]).await;
    }
    tell("known lines", begin.elapsed(), ROUNDS);
    let answers: Vec<String> = (1..9).map(|n| answer(n, n)).collect();
    let begin = Instant::now();
    for n in 0..ROUNDS {
        round(&mut scrapers, &ingest, n as i64, &answers[n % answers.len()]).await;
    }
    tell("every tenth line is new", begin.elapsed(), ROUNDS);
    println!("memory of lines: {} bytes a series", scrapers[0].bytes() / SERIES);
}
