//! What the runtime's tests share: a host in memory, and the guests that `cargo xtask guests` built.
#![allow(dead_code, missing_docs)] // each test file uses its part

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use belfry_model::sample::is_stale;
use belfry_model::{Batch, Clock, Labels, SeriesRef, TimestampMs};
use belfry_plugin::{
    AlertEpisode, Builtins, CompileMode, ComponentSource, Grants, HostServices, KvStore, Limits, PluginSpec,
    QueryPoints, QueryService, Runtime, RuntimeConfig, SeriesOpener,
};
use parking_lot::Mutex;

/// The folder of built guests.
pub fn guests() -> PathBuf {
    std::env::var_os("BELFRY_GUESTS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/guests"), PathBuf::from)
}

/// A built guest; the test fails with what to do when it is not there.
pub fn guest(name: &str) -> PathBuf {
    let path = guests().join(format!("{name}.wasm"));
    assert!(path.is_file(), "{} is missing: run `cargo xtask guests`", path.display());
    path
}

/// One cache for all tests: a guest is compiled once.
pub fn compiled() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("cwasm")
}

/// Moves only when told to.
#[derive(Default)]
pub struct TestClock(Mutex<i64>);

impl TestClock {
    pub fn set(&self, ms: i64) {
        *self.0.lock() = ms;
    }
    pub fn advance(&self, by: Duration) {
        *self.0.lock() += by.as_millis() as i64;
    }
}

impl Clock for TestClock {
    fn now(&self) -> TimestampMs {
        TimestampMs(*self.0.lock())
    }
    fn monotonic(&self) -> Duration {
        Duration::from_millis(*self.0.lock() as u64)
    }
}

/// Series by label set.
#[derive(Default)]
pub struct Series(Mutex<Vec<Labels>>);

impl Series {
    pub fn labels(&self, series: SeriesRef) -> Labels {
        self.0.lock()[series.0 as usize].clone()
    }

    /// A batch as text, in order: `probe_value{name="a"} 1`, with `stale` for the marker.
    pub fn show(&self, batch: &Batch) -> Vec<String> {
        let mut rows: Vec<String> = batch
            .refs
            .iter()
            .zip(&batch.values)
            .map(|(r, v)| {
                let value = if is_stale(*v) { "stale".to_owned() } else { v.to_string() };
                format!("{} {value}", self.labels(*r))
            })
            .collect();
        rows.sort();
        rows
    }
}

impl SeriesOpener for Series {
    fn open(&self, _producer: &str, labels: &Labels) -> Result<SeriesRef, String> {
        let mut all = self.0.lock();
        let found = all.iter().position(|l| l == labels);
        let index = found.unwrap_or_else(|| {
            all.push(labels.clone());
            all.len() - 1
        });
        Ok(SeriesRef(index as u64))
    }
}

#[derive(Default)]
pub struct Kv(Mutex<HashMap<(String, String), Vec<u8>>>);

#[async_trait]
impl KvStore for Kv {
    async fn get(&self, plugin: &str, key: &str) -> Result<Option<Vec<u8>>, String> {
        Ok(self.0.lock().get(&(plugin.to_owned(), key.to_owned())).cloned())
    }
    async fn put(&self, plugin: &str, key: &str, value: Option<Vec<u8>>, _: usize) -> Result<(), String> {
        let key = (plugin.to_owned(), key.to_owned());
        match value {
            Some(value) => drop(self.0.lock().insert(key, value)),
            None => drop(self.0.lock().remove(&key)),
        }
        Ok(())
    }
    async fn keys(&self, plugin: &str, prefix: &str) -> Result<Vec<String>, String> {
        let all = self.0.lock();
        let mut keys: Vec<_> =
            all.keys().filter(|(p, k)| p == plugin && k.starts_with(prefix)).map(|(_, k)| k.clone()).collect();
        keys.sort();
        Ok(keys)
    }
}

pub struct NoQuery;

#[async_trait]
impl QueryService for NoQuery {
    async fn instant(&self, _: &str, at: TimestampMs) -> Result<Vec<QueryPoints>, String> {
        Ok(vec![QueryPoints { labels: Labels::from_pairs([("a", "b")]), points: vec![(at, 1.0)] }])
    }
    async fn range(&self, _: &str, _: TimestampMs, _: TimestampMs, _: Duration) -> Result<Vec<QueryPoints>, String> {
        Ok(Vec::new())
    }
    async fn alerts(&self, _: TimestampMs, _: TimestampMs) -> Result<Vec<AlertEpisode>, String> {
        Ok(Vec::new())
    }
}

/// A runtime with everything in memory but what it compiled.
pub struct Host {
    pub runtime: Arc<Runtime>,
    pub clock: Arc<TestClock>,
    pub series: Arc<Series>,
}

impl Host {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut RuntimeConfig)) -> Self {
        let (clock, series) = (Arc::<TestClock>::default(), Arc::<Series>::default());
        let services = HostServices {
            clock: clock.clone(),
            series: series.clone(),
            kv: Arc::<Kv>::default(),
            query: Arc::new(NoQuery),
        };
        let mut config = RuntimeConfig::new(compiled(), CompileMode::InProcess, Builtins::Folder(guests()));
        config.instances_max = 16;
        change(&mut config);
        let runtime = Runtime::new(config, services).expect("a runtime");
        Self { runtime, clock, series }
    }

    /// The second of the host's clock: which step of a probe's script comes next.
    pub fn second(&self, second: i64) {
        self.clock.set(second * 1_000);
    }
}

/// A plugin `probe` with a script, nothing granted.
pub fn probe(script: &[&str]) -> PluginSpec {
    spec("probe", serde_json::json!({ "script": script }))
}

pub fn spec(guest_name: &str, config: serde_json::Value) -> PluginSpec {
    PluginSpec {
        name: guest_name.to_owned(),
        source: ComponentSource::File(guest(guest_name)),
        config: config.to_string(),
        grants: Grants::default(),
        limits: Limits::default(),
        secrets: BTreeMap::new(),
        host_labels: Labels::from_pairs([("plugin", guest_name)]),
    }
}
