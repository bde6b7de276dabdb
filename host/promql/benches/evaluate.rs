//! How long evaluation alone takes, over samples in plain columns: `cargo bench -p belfry-promql --bench evaluate`.
//! Words after `--` choose the queries that contain one of them. Prints the median of several runs.
//!
//! Not here: finding series, decoding chunks, HTTP (`cargo xtask bench query` measures the whole way).
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints, and stops where it cannot go on")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use belfry_model::read::{Cancel, ReadError};
use belfry_model::{
    Labels, METRIC_NAME, Matcher, SampleBuf, SampleSource, Series, SeriesRead, SeriesSet, TimeRange, TimestampMs,
};
use belfry_promql::{Query, QueryLimits, QueryTime};
use belfry_testkit::SelectOnly;

/// Where the data ends.
const END: i64 = 1_700_000_000_000;
const SCRAPE: i64 = 15_000;
/// A query is repeated for about this long.
const RUN: Duration = Duration::from_millis(1500);

/// One series: its times are shared with all others of its metric.
struct Columns {
    times: Arc<Vec<i64>>,
    floats: Vec<f64>,
}

impl SampleSource for Columns {
    fn decode(&self, range: TimeRange, into: &mut SampleBuf) -> Result<(), ReadError> {
        let from = self.times.partition_point(|t| *t < range.start().0);
        let to = self.times.partition_point(|t| *t < range.end().0);
        into.times.extend_from_slice(&self.times[from..to]);
        into.floats.extend_from_slice(&self.floats[from..to]);
        Ok(())
    }

    fn estimate(&self) -> u64 {
        self.times.len() as u64
    }
}

#[derive(Default)]
struct Memory(HashMap<String, Vec<Series>>);

impl Memory {
    /// `count` series whose labels and values are made from their number.
    fn add(
        &mut self,
        name: &str,
        count: usize,
        span: Duration,
        every: i64,
        labels: impl Fn(usize) -> Vec<(&'static str, String)>,
        value: impl Fn(usize, usize) -> f64,
    ) {
        let n = (span.as_millis() as i64 / every) as usize;
        let times: Arc<Vec<i64>> = Arc::new((0..n).map(|i| END - every * (n - 1 - i) as i64).collect());
        let mut all: Vec<Series> = (0..count)
            .map(|s| {
                let pairs = labels(s).into_iter().chain([(METRIC_NAME, name.to_owned())]);
                let floats = (0..n).map(|i| value(s, i)).collect();
                Series {
                    labels: Labels::from_pairs(pairs),
                    samples: Arc::new(Columns { times: times.clone(), floats }),
                }
            })
            .collect();
        all.sort_by(|a, b| a.labels.cmp(&b.labels));
        self.0.insert(name.to_owned(), all);
    }

    fn reader(&self) -> impl SeriesRead {
        SelectOnly(|matchers: &[Matcher]| {
            let name = matchers.iter().find(|m| m.name() == METRIC_NAME).map_or("", |m| m.value());
            let rest: Vec<&Matcher> = matchers.iter().filter(|m| m.name() != METRIC_NAME).collect();
            let all = self.0.get(name).map_or(&[][..], |v| v);
            let series = all.iter().filter(|s| rest.iter().all(|m| m.matches_labels(&s.labels))).cloned().collect();
            SeriesSet { series, warnings: Vec::new() }
        })
    }
}

fn hours(n: u64) -> Duration {
    Duration::from_secs(3600 * n)
}

/// A number that looks random and is the same in every run.
fn noise(s: usize, i: usize) -> f64 {
    let mut h = (s as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (i as u64).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    h = (h ^ (h >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((h >> 40) % 10_000) as f64 / 100.0
}

fn data() -> Memory {
    let mut m = Memory::default();
    let cpu = |s: usize| {
        let modes = ["idle", "user", "system", "iowait", "nice", "irq", "softirq", "steal"];
        vec![
            ("cpu", (s / 8 % 16).to_string()),
            ("instance", format!("host-{}:9100", s / 128)),
            ("job", format!("job-{}", s / 128 % 10)),
            ("mode", modes[s % 8].to_owned()),
        ]
    };
    let counter = |s: usize, i: usize| (i * (s % 100 + 1)) as f64 + noise(s, i) / 100.0;
    m.add("node_cpu_seconds_total", 1_000, hours(2), SCRAPE, cpu, counter);
    m.add("node_cpu_seconds_large_total", 10_000, hours(2), SCRAPE, cpu, counter);
    let bucket = |s: usize| {
        let le = if s % 10 == 9 { "+Inf".to_owned() } else { format!("{}", 0.005 * f64::from(1 << (s % 10))) };
        vec![("le", le), ("instance", format!("host-{}", s / 10)), ("job", "api".to_owned())]
    };
    m.add("latency_bucket", 1_000, hours(2), SCRAPE, bucket, |s, i| (i * (s % 10 + 1) * 3) as f64);
    let pod = |s: usize| {
        vec![("pod", format!("pod-{s:05}")), ("namespace", format!("ns-{}", s % 50)), ("node", format!("n{}", s % 200))]
    };
    m.add("memory_bytes", 10_000, hours(2), SCRAPE, pod, noise);
    m.add("pods", 100_000, Duration::from_secs(600), 60_000, pod, noise);
    m.add("long_gauge", 50, hours(24 * 31), 60_000, pod, noise);
    m.add(
        "kube_node",
        200,
        hours(2),
        SCRAPE,
        |s| vec![("node", format!("n{s}")), ("zone", format!("z{}", s % 3))],
        |_, _| 1.0,
    );
    m
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let data = data();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let end = TimestampMs(END);
    let range = |hours: i64, step: u64| QueryTime::Range {
        start: TimestampMs(END - hours * 3_600_000),
        end,
        step: Duration::from_secs(step),
    };
    let hour = range(1, 15);
    let queries = [
        ("sum by(job)(rate(node_cpu_seconds_total[5m]))", hour),
        ("sum by(job)(rate(node_cpu_seconds_large_total[5m]))", hour),
        ("sum(node_cpu_seconds_total)", hour),
        ("rate(node_cpu_seconds_total[5m])", hour),
        ("node_cpu_seconds_total", hour),
        ("topk(10, memory_bytes)", hour),
        ("topk(10, avg_over_time(memory_bytes[10m]))", hour),
        ("quantile(0.9, memory_bytes)", hour),
        ("count_values(\"v\", kube_node)", hour),
        ("histogram_quantile(0.99, sum by(le)(rate(latency_bucket[5m])))", hour),
        ("histogram_quantile(0.99, rate(latency_bucket[5m]))", hour),
        ("avg_over_time(node_cpu_seconds_total[1h])", hour),
        ("sum_over_time(node_cpu_seconds_total[1h])", hour),
        ("max_over_time(node_cpu_seconds_total[1h])", hour),
        ("quantile_over_time(0.9, node_cpu_seconds_total[1h])", hour),
        ("stddev_over_time(node_cpu_seconds_total[1h])", hour),
        ("deriv(node_cpu_seconds_total[1h])", hour),
        ("changes(node_cpu_seconds_total[1h])", hour),
        ("sum by(namespace)(memory_bytes{pod=~\"pod-0.*\"})", hour),
        ("avg by(namespace)(rate(long_gauge[1h]))", range(24 * 30, 3600)),
        ("max_over_time(long_gauge[1d])", range(24 * 30, 3600)),
        ("memory_bytes * on(node) group_left(zone) kube_node", hour),
        ("node_cpu_seconds_total / node_cpu_seconds_total", hour),
        ("memory_bytes > 50 and memory_bytes < 80", hour),
        ("max_over_time(rate(node_cpu_seconds_total[5m])[30m:1m])", hour),
        ("sum by(namespace)(pods)", QueryTime::Instant(end)),
        ("topk(10, pods)", QueryTime::Instant(end)),
        ("pods > 99", QueryTime::Instant(end)),
        ("count(pods{pod=~\"pod-.*[13579]\"})", QueryTime::Instant(end)),
    ];
    for (text, time) in queries {
        if !wanted.is_empty() && !wanted.iter().any(|w| text.contains(w.as_str())) {
            continue;
        }
        let query = Query::parse(text, time, QueryLimits::default()).unwrap();
        let mut times = Vec::new();
        let mut samples = 0;
        let begun = Instant::now();
        while times.len() < 3 || begun.elapsed() < RUN && times.len() < 200 {
            let fetched = runtime.block_on(query.fetch(&data.reader())).unwrap();
            let start = Instant::now();
            let answer = fetched.evaluate(&Cancel::default());
            times.push(start.elapsed());
            samples = answer.unwrap_or_else(|e| panic!("{text}: {e}")).samples_read;
        }
        times.sort();
        let median = times[times.len() / 2];
        println!("{:>9.2} ms  {:>10} samples  {text}", median.as_secs_f64() * 1000.0, samples);
    }
}
