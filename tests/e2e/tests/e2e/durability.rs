//! What was acknowledged, and what a query has shown, is there after `kill -9`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use belfry_e2e::{Belfry, Home, SOON, wait_until};
use belfry_prompb::{Sample, TimeSeries, WriteRequest, labels, packed};
use http::Request;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

const ROUNDS: usize = 5;

const CONFIG: &str = r#"
[collection]
interval = "100ms"
timeout = "100ms"

[[plugin]]
name = "system"
source = "builtin:collector-system"
grants = { system = ["cpu", "memory", "disk", "network", "process", "sensors", "host"] }
"#;

type Kept = BTreeMap<BTreeMap<String, String>, BTreeSet<(i64, u64)>>;

/// All samples of this machine, by series; values by their bits.
async fn kept(belfry: &Belfry) -> Kept {
    let all = belfry.query(r#"{source="system"}[10m]"#).await;
    all.into_iter().map(|s| (s.labels, s.samples.into_iter().map(|(t, v)| (t, v.to_bits())).collect())).collect()
}

fn count(kept: &Kept) -> usize {
    kept.values().map(BTreeSet::len).sum()
}

#[tokio::test]
async fn no_sample_that_was_seen_is_lost_by_being_killed() {
    let home = Home::new(CONFIG);
    let mut seen = Kept::new();
    for round in 1..=ROUNDS {
        let belfry = home.start().await;
        let found = kept(&belfry).await;
        for (labels, samples) in &seen {
            let now = found.get(labels).unwrap_or_else(|| panic!("round {round}: {labels:?} is gone"));
            let lost: Vec<_> = samples.difference(now).collect();
            assert!(lost.is_empty(), "round {round}: {labels:?} lost {lost:?}");
        }
        let before = count(&found);
        seen = wait_until("more samples", SOON, async || {
            let now = kept(&belfry).await;
            (count(&now) > before + 300).then_some(now)
        })
        .await;
        // In the middle of a pull or a write, as it happens.
        belfry.kill().await;
    }
    assert!(count(&seen) > 300 * ROUNDS, "{} samples", count(&seen));
}

/// Who write at the same time.
const WRITERS: usize = 3;
/// Samples of a request, a millisecond apart.
const SAMPLES: i64 = 20;

/// A writer of remote write: sample `n` has the value `n`, and is so many milliseconds behind `base`.
#[derive(Clone)]
struct Sender {
    name: String,
    base: i64,
    acknowledged: Arc<AtomicI64>,
}

impl Sender {
    fn new(name: String) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_millis();
        Self { name, base: i64::try_from(now).expect("a time") - 3_000_000, acknowledged: Arc::default() }
    }

    fn labels(&self) -> [(String, String); 2] {
        [("__name__".to_owned(), "kept".to_owned()), ("writer".to_owned(), self.name.clone())]
    }

    /// One request after the other, until one is not acknowledged.
    async fn send(self, url: String) {
        let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        for first in (0..).step_by(SAMPLES as usize) {
            let sample = |n: i64| Sample { value: n as f64, timestamp: self.base + n, ..Sample::default() };
            let samples = (first..first + SAMPLES).map(sample).collect();
            let series = TimeSeries { labels: labels(self.labels()), samples, ..TimeSeries::default() };
            let body = packed(&WriteRequest { timeseries: vec![series], metadata: Vec::new() }).expect("it fits");
            let request = Request::post(format!("{url}/api/v1/write"))
                .header("content-type", "application/x-protobuf")
                .header("content-encoding", "snappy")
                .body(Full::new(body.into()))
                .expect("a request");
            match client.request(request).await {
                Ok(answer) if answer.status() == 204 => drop(self.acknowledged.fetch_add(SAMPLES, Ordering::SeqCst)),
                _ => return,
            }
        }
    }

    /// All that was acknowledged is there, as it was sent.
    async fn check(&self, belfry: &Belfry) {
        let found = belfry.one(&format!(r#"kept{{writer="{}"}}[2h]"#, self.name)).await;
        let samples = found.map(|s| s.samples).unwrap_or_default();
        let (wanted, there) = (self.acknowledged.load(Ordering::SeqCst), samples.len());
        assert!(there as i64 >= wanted, "of {wanted} samples that {} was told are kept {there} are there", self.name);
        for (n, (at, value)) in samples.into_iter().enumerate() {
            assert_eq!((at, value), (self.base + n as i64, n as f64), "sample {n} of {}", self.name);
        }
    }
}

#[tokio::test]
async fn no_sample_that_was_acknowledged_is_lost_by_being_killed() {
    let home = Home::new("");
    let mut senders: Vec<Sender> = Vec::new();
    for round in 1..=ROUNDS {
        let belfry = home.start().await;
        for sender in &senders {
            sender.check(&belfry).await;
        }
        let new: Vec<Sender> = (0..WRITERS).map(|w| Sender::new(format!("{round}-{w}"))).collect();
        let writing: Vec<_> = new.iter().map(|s| tokio::spawn(s.clone().send(belfry.url().to_owned()))).collect();
        // In the middle of a request, as it happens; each round at another point.
        let enough = SAMPLES * (10 + 7 * round as i64);
        wait_until("acknowledged samples", SOON, async || {
            new.iter().all(|s| s.acknowledged.load(Ordering::SeqCst) >= enough).then_some(())
        })
        .await;
        belfry.kill().await;
        for task in writing {
            task.await.expect("the writer ends");
        }
        senders.extend(new);
    }
    let belfry = home.start().await;
    for sender in &senders {
        sender.check(&belfry).await;
    }
}
