//! Prometheus and Belfry are sent the same data and asked the same: their answers are the same, errors, warnings and
//! infos included.
//!
//! `known.txt` names the queries that the peer's version answers otherwise than the one that Belfry follows, and why.

mod backtest;
mod compare;
mod data;
mod grammar;
mod statistics;

use std::collections::HashSet;

use belfry_e2e::{Belfry, Home, Prometheus};
use serde_json::Value;

/// What is experimental in the peer.
const FEATURES: &str = "promql-experimental-functions,promql-duration-expr,promql-delayed-name-removal,promql-per-step-stats,\
     native-histograms,exemplar-storage";
const WRITE: [(&str, &str); 3] = [
    ("content-type", "application/x-protobuf"),
    ("content-encoding", "snappy"),
    ("x-prometheus-remote-write-version", "0.1.0"),
];
const FORM: [(&str, &str); 1] = [("content-type", "application/x-www-form-urlencoded")];
/// Queries that must be left to compare.
const ENOUGH: usize = 800;
/// A question is asked so often at most.
const ASKED_MAX: usize = 12;
/// Differences printed.
const SHOWN: usize = 200;

struct Pair {
    home: Home,
    belfry: Belfry,
    prometheus: Prometheus,
}

impl Pair {
    /// Both have the data; `None` when there is no Prometheus.
    async fn new() -> Option<Self> {
        let prometheus = Prometheus::start(FEATURES).await?;
        let home = Home::new("[storage]\nretention = \"forever\"\n");
        let belfry = home.start().await;
        for body in data::requests() {
            let theirs = prometheus.ask("POST", "/api/v1/write", &WRITE, body.clone()).await;
            assert!(theirs.status < 300, "{}: {}\n{}", theirs.status, theirs.body, prometheus.log());
            let ours = belfry.ask("POST", "/api/v1/write", &WRITE, body).await;
            assert!(ours.status < 300, "{}: {}", ours.status, ours.body);
        }
        Some(Self { home, belfry, prometheus })
    }

    async fn both(&self, path: &str, form: &str) -> (Value, Value) {
        let ours = self.belfry.ask("POST", path, &FORM, form).await;
        let theirs = self.prometheus.ask("POST", path, &FORM, form.as_bytes().to_vec()).await;
        let (mut a, mut b) = (ours.json(), theirs.json());
        a["code"] = ours.status.into();
        b["code"] = theirs.status.into();
        (a, b)
    }

    /// What differs, however often both are asked: histograms of the peer's version are at times those of a query before.
    async fn difference(&self, query: &str, path: &str, form: &str) -> Option<String> {
        let mut last = None;
        for _ in 0..ASKED_MAX {
            let (ours, theirs) = self.both(path, form).await;
            last = compare::difference(query, &ours, &theirs);
            last.as_ref()?;
        }
        last
    }
}

fn escape(text: &str) -> String {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_.~".contains(b);
    text.bytes().map(|b| if plain(&b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// Instants on and off the samples, and ranges of a coarse and a fine step.
fn forms(query: &str) -> Vec<(&'static str, String)> {
    let q = escape(query);
    let seconds = |ms: i64| format!("{}.{:03}", ms / 1_000, ms % 1_000);
    let middle = data::BEGIN + (data::END - data::BEGIN) / 2;
    let mut all: Vec<(&str, String)> = [middle, middle + 1_003_007, data::END + 100_000]
        .iter()
        .map(|at| ("/api/v1/query", format!("query={q}&time={}", seconds(*at))))
        .collect();
    for (start, end, step) in [(data::BEGIN - 60_000, data::END + 400_000, 177), (middle, middle + 900_000, 10)] {
        let (start, end) = (seconds(start), seconds(end));
        all.push(("/api/v1/query_range", format!("query={q}&start={start}&end={end}&step={step}")));
    }
    all
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|l| !l.is_empty() && !l.starts_with("# "))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_answers_the_same() {
    let Some(pair) = Pair::new().await else { return };
    let mut queries: Vec<String> = lines(include_str!("curated.txt")).map(str::to_owned).collect();
    queries.extend(grammar::queries());
    let known: HashSet<&str> = lines(include_str!("known.txt")).collect();
    queries.retain(|q| !known.contains(q.as_str()));
    assert!(queries.len() >= ENOUGH, "{}", queries.len());
    let mut different = Vec::new();
    for query in &queries {
        for (path, form) in forms(query) {
            if let Some(difference) = pair.difference(query, path, &form).await {
                different
                    .push(format!("{query}\n    {path}?{}\n    {difference}", form.split_once('&').expect("a time").1));
                break;
            }
        }
    }
    println!("{} queries, {} differ", queries.len(), different.len());
    let shown = &different[..different.len().min(SHOWN)];
    assert!(different.is_empty(), "ours / theirs:\n{}", shown.join("\n"));
}
