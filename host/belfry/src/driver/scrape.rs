//! Scraping's loops: one task a job, one a discovery, one a target.
//!
//! Invariant: a slow or dead target delays no other; a reload leaves what did not change alone, and series that a change
//! takes away end; at the end of the process nothing ends, since the targets go on.
//! Not here: what a scrape means (`ingest::scrape`).

mod discover;
mod spec;
mod thread;
mod watch;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use belfry_config::types::scrape::{HttpTls, Scrape};
use belfry_ingest::Ingest;
use belfry_ingest::scrape::client::{ACCEPT_TEXT, Ask, AskPace, Body, JobClient, accept_native};
use belfry_ingest::scrape::{
    ActiveTarget, Answer, Group, Job, JobStatus, Kept, Outcome, Pace, ScrapeError, Scraper, Target, TargetHealth,
    Targets,
};
use belfry_model::{Clock, Labels, TimestampMs};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::changes::{Changed, Changes};
use thread::{ScrapeThread, beside};

/// Series open at a time of one target unless its job says otherwise: ten times what a large exporter has.
const SERIES_PER_TARGET: u64 = 100_000;
/// The clock can be set while we sleep: we look at it at least this often.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// An answer of more bytes takes so long to read that other targets must not wait for it: some 10,000 series.
const LONG_BYTES: usize = 1 << 20;
/// Certificates and keys are read again when they have changed: so often it is looked.
const RENEWED_EVERY: Duration = Duration::from_secs(10);
/// News from discoveries that wait for their job: it reads them all before it acts.
const NEWS_MAX: usize = 16;

/// What runs and what is known of it.
pub struct Scraping {
    shared: Shared,
    thread: ScrapeThread,
    jobs: tokio::sync::Mutex<BTreeMap<String, Running>>,
    /// By job.
    status: Statuses,
    /// By job.
    targets: Mutex<BTreeMap<String, JobTargets>>,
}

type JobTargets = Arc<Mutex<BTreeMap<u64, TargetStatus>>>;

type Statuses = Arc<Mutex<BTreeMap<String, JobStatus>>>;
type TargetStatus = Arc<Mutex<ActiveTarget>>;
/// Done once a target is to stop.
type Stopped<'a> = Pin<&'a mut WaitForCancellationFutureOwned>;

#[derive(Clone)]
struct Shared {
    ingest: Arc<Ingest>,
    clock: Arc<dyn Clock>,
    changes: Changes,
}

struct Running {
    config: Scrape,
    stop: CancellationToken,
    task: JoinHandle<Left>,
}

/// What a job that was stopped leaves: its targets' memory, by key.
type Left = BTreeMap<u64, Scraper>;

impl Scraping {
    /// Nothing is scraped yet.
    pub fn new(ingest: Arc<Ingest>, clock: Arc<dyn Clock>, changes: Changes) -> Self {
        let shared = Shared { ingest: ingest.clone(), clock, changes };
        Self {
            shared,
            // One write for all targets whose answers were there.
            thread: ScrapeThread::new(move || ingest.write_out()),
            jobs: tokio::sync::Mutex::default(),
            status: Statuses::default(),
            targets: Mutex::default(),
        }
    }

    /// Makes what runs follow the config.
    pub async fn apply(&self, wanted: &[Scrape]) {
        let mut jobs = self.jobs.lock().await;
        let gone: Vec<String> = jobs.keys().filter(|j| !wanted.iter().any(|w| w.job == **j)).cloned().collect();
        for job in gone {
            if let Some(running) = jobs.remove(&job) {
                let left = halt(running).await;
                self.shared.end(left).await;
                self.status.lock().remove(&job);
                self.targets.lock().remove(&job);
            }
        }
        for config in wanted {
            if jobs.get(&config.job).is_some_and(|r| r.config == *config && !r.task.is_finished()) {
                continue;
            }
            let left = match jobs.remove(&config.job) {
                Some(running) => halt(running).await,
                None => Left::new(),
            };
            match self.start(config, left) {
                Ok(running) => drop(jobs.insert(config.job.clone(), running)),
                Err((left, error)) => {
                    self.targets.lock().remove(&config.job);
                    tracing::error!(job = config.job, error, "the job is not scraped");
                    let status = JobStatus { job: config.job.clone(), errors: vec![error], ..JobStatus::default() };
                    self.status.lock().insert(config.job.clone(), status);
                    self.shared.end(left).await;
                }
            }
        }
        self.shared.changes.tell(Changed::Sources);
    }

    fn start(&self, config: &Scrape, left: Left) -> Result<Running, (Left, String)> {
        let made = spec::job(config).and_then(|job| Ok((job, JobClient::new(spec::http(&config.http, Some(config)))?)));
        let (job, client) = match made {
            Ok(made) => made,
            Err(error) => return Err((left, error)),
        };
        let stop = CancellationToken::new();
        let targets = JobTargets::default();
        let name = config.job.clone();
        self.targets.lock().insert(name.clone(), targets.clone());
        self.status.lock().insert(name.clone(), JobStatus { job: name, ..JobStatus::default() });
        let work = JobWork {
            shared: self.shared.clone(),
            reactor: Handle::current(),
            job: Arc::new(job),
            client,
            series_max: config.limits.series.unwrap_or(SERIES_PER_TARGET),
            status: self.status.clone(),
            targets,
            running: BTreeMap::new(),
            left,
        };
        let task = self.thread.spawn(work.run(config.clone(), stop.clone()));
        Ok(Running { config: config.clone(), stop, task })
    }

    /// How everything is now, by job.
    pub fn snapshot(&self) -> Vec<JobStatus> {
        let mut all = self.status.lock().clone();
        for (name, targets) in self.targets.lock().iter() {
            if let Some(status) = all.get_mut(name) {
                status.active = targets.lock().values().map(|t| t.lock().clone()).collect();
            }
        }
        all.into_values().collect()
    }

    /// Stops; series do not end, for the process will be back.
    pub async fn close(&self) {
        let jobs = std::mem::take(&mut *self.jobs.lock().await);
        for running in jobs.into_values() {
            halt(running).await;
        }
    }
}

async fn halt(running: Running) -> Left {
    running.stop.cancel();
    running.task.await.unwrap_or_default()
}

impl Shared {
    async fn end(&self, left: Left) {
        for scraper in left.into_values() {
            if let Err(error) = scraper.end(&self.ingest, self.clock.now()).await {
                tracing::warn!(%error, "the end of a target's series was not written");
            }
        }
    }
}

struct JobWork {
    shared: Shared,
    /// The program's own, for long work.
    reactor: Handle,
    job: Arc<Job>,
    client: JobClient,
    series_max: u64,
    status: Statuses,
    targets: JobTargets,
    running: BTreeMap<u64, (CancellationToken, JoinHandle<Option<Scraper>>)>,
    /// From before a reload, until the discoveries have told which targets go on.
    left: Left,
}

impl JobWork {
    async fn run(mut self, config: Scrape, stop: CancellationToken) -> Left {
        let (tell, mut told) = mpsc::channel(NEWS_MAX);
        let mut discoveries = JoinSet::new();
        for (i, discovery) in config.discoveries.iter().enumerate() {
            discoveries.spawn(discover::run(i, discovery.clone(), tell.clone(), stop.clone()));
        }
        drop(tell);
        let fixed: Vec<Group> = config.groups.iter().map(spec::group).collect();
        let mut found: Vec<Option<Vec<Group>>> = vec![None; config.discoveries.len()];
        let mut errors: Vec<Option<String>> = vec![None; config.discoveries.len()];
        let mut credentials = Credentials::of(&config.http.tls).await;
        loop {
            self.sync(&fixed, &found, &errors).await;
            let news = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(news) = told.recv() => Some(news),
                client = credentials.renewed(&config) => {
                    self.halt().await;
                    self.client = client;
                    None
                }
            };
            let mut next = news;
            while let Some((i, news)) = next {
                if let (Some(found), Some(error)) = (found.get_mut(i), errors.get_mut(i)) {
                    if news.groups.is_some() {
                        *found = news.groups;
                    }
                    *error = news.error;
                }
                next = told.try_recv().ok();
            }
        }
        self.halt().await;
        self.left
    }

    /// Stops all targets; what they know is kept.
    async fn halt(&mut self) {
        for (stop, _) in self.running.values() {
            stop.cancel();
        }
        for (key, (_, task)) in std::mem::take(&mut self.running) {
            if let Ok(Some(scraper)) = task.await {
                self.left.insert(key, scraper);
            }
        }
    }

    /// Starts and stops targets until those run that there are.
    async fn sync(&mut self, fixed: &[Group], found: &[Option<Vec<Group>>], errors: &[Option<String>]) {
        let groups: Vec<Group> = fixed.iter().chain(found.iter().flatten().flatten()).cloned().collect();
        let mut targets = Targets::of(&self.job, &groups);
        let mut errors: Vec<String> = errors.iter().flatten().cloned().collect();
        if targets.too_many(&self.job) {
            let error = ScrapeError::TooManyTargets(self.job.limits.targets);
            tracing::warn!(job = self.job.name, %error, "no target of the job is scraped");
            errors.push(error.to_string());
            targets.active.clear();
        }
        let wanted: BTreeMap<u64, Arc<Target>> = targets.active.into_iter().map(|t| (t.key(), t)).collect();
        let all_known = found.iter().all(Option::is_some);
        let mut ended = Left::new();
        if all_known {
            let gone: Vec<u64> = self.running.keys().copied().filter(|k| !wanted.contains_key(k)).collect();
            for key in gone {
                self.targets.lock().remove(&key);
                if let Some((stop, task)) = self.running.remove(&key) {
                    stop.cancel();
                    ended.extend(task.await.ok().flatten().map(|scraper| (key, scraper)));
                }
            }
        }
        for (key, target) in wanted {
            if !self.running.contains_key(&key) {
                self.start(key, target);
            }
        }
        if all_known {
            ended.append(&mut self.left);
        }
        self.shared.end(ended).await;
        if let Some(status) = self.status.lock().get_mut(&self.job.name) {
            (status.dropped, status.failed, status.errors) = (targets.dropped, targets.failed, errors);
        }
        self.shared.changes.tell(Changed::Sources);
    }

    fn start(&mut self, key: u64, target: Arc<Target>) {
        // The key keeps targets apart that differ only in path or parameters.
        let instance = target.labels.get("instance").unwrap_or_default();
        let producer = format!("scrape/{}/{instance}#{:08x}", self.job.name, key as u32);
        let scraper = match self.left.remove(&key) {
            Some(mut scraper) => {
                scraper.reconfigure(self.job.clone(), target.clone());
                scraper
            }
            None => Scraper::new(self.job.clone(), target.clone(), producer.as_str()),
        };
        self.shared.ingest.register(&producer, Labels::empty(), Some(self.series_max));
        let status = Arc::new(Mutex::new(ActiveTarget {
            job: self.job.name.clone(),
            discovered_labels: target.discovered.clone(),
            labels: target.labels.clone(),
            scrape_url: target.shown_url(),
            health: TargetHealth::Unknown,
            last_error: String::new(),
            last_scrape: None,
            last_duration: None,
            interval: target.interval,
            timeout: target.timeout,
            health_since: None,
            last_samples: 0,
            scrapes: 0,
            failures: 0,
            producer,
        }));
        self.targets.lock().insert(key, status.clone());
        let stop = CancellationToken::new();
        let work = TargetWork {
            shared: self.shared.clone(),
            reactor: self.reactor.clone(),
            job: self.job.clone(),
            target,
            client: self.client.clone(),
            scraper,
            status,
            connection: Kept::default(),
            accept: if self.job.native_histograms { accept_native() } else { ACCEPT_TEXT.to_owned() },
            body: Body::default(),
        };
        let task = tokio::spawn(work.run(stop.clone()));
        self.running.insert(key, (stop, task));
    }
}

/// The files that a job's connections are secured by.
struct Credentials {
    files: Vec<PathBuf>,
    /// What they held; `None` for one that could not be read.
    held: Vec<Option<Vec<u8>>>,
}

impl Credentials {
    async fn of(tls: &HttpTls) -> Self {
        let identity = tls.identity.iter().flat_map(|(certificate, key)| [certificate, key]);
        let files: Vec<PathBuf> = tls.ca_file.iter().chain(identity).cloned().collect();
        let held = read_all(&files).await;
        Self { files, held }
    }

    /// A client with what the files hold, once that has changed and is good. For ever, where there are none.
    async fn renewed(&mut self, config: &Scrape) -> JobClient {
        if self.files.is_empty() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(RENEWED_EVERY).await;
            let now = read_all(&self.files).await;
            if now == self.held {
                continue;
            }
            self.held = now;
            match JobClient::new(spec::http(&config.http, Some(config))) {
                Ok(client) => {
                    tracing::info!(job = config.job, "certificates were read again");
                    return client;
                }
                // Half of them may be written.
                Err(error) => {
                    tracing::warn!(job = config.job, error, "changed certificates are no good; the old go on")
                }
            }
        }
    }
}

async fn read_all(files: &[PathBuf]) -> Vec<Option<Vec<u8>>> {
    futures::future::join_all(files.iter().map(async |f| tokio::fs::read(f).await.ok())).await
}

struct TargetWork {
    shared: Shared,
    reactor: Handle,
    job: Arc<Job>,
    target: Arc<Target>,
    client: JobClient,
    scraper: Scraper,
    status: TargetStatus,
    connection: Kept,
    /// Formats that are asked for.
    accept: String,
    /// The last answer; its memory is used again.
    body: Body,
}

impl TargetWork {
    /// Until `stop`; `None` when a round broke off, and with it the memory.
    async fn run(mut self, stop: CancellationToken) -> Option<Scraper> {
        let (clock, reactor) = (self.shared.clock.clone(), self.reactor.clone());
        let pace = Pace::new(self.target.interval, self.target.key());
        let mut due = pace.next_due(clock.now());
        // One for all waits: each new one would enter the list of those to be woken and leave it again.
        let mut stopped = pin!(stop.clone().cancelled_owned());
        loop {
            let now = clock.now();
            if now < due {
                let pause = due.since(now).min(SLEEP_MAX);
                // A clock that was set back must not stop the scraping for the length of the jump.
                due = due.min(pace.next_due(now));
                tokio::select! {
                    () = &mut stopped => return Some(self.scraper),
                    () = tokio::time::sleep(pause) => continue,
                }
            }
            // What an answer takes is known from those before it.
            let long = self.body.capacity() > LONG_BYTES;
            let done = if long {
                let (stop, stamp) = (stop.clone(), pace.stamp(due, now));
                let round = async move {
                    let done = self.round(now, stamp, pin!(stop.cancelled_owned())).await;
                    done.0.shared.ingest.write_out();
                    done
                };
                beside(&reactor, round).await
            } else {
                Some(self.round(now, pace.stamp(due, now), stopped.as_mut()).await)
            };
            self = match done? {
                (work, true) => work,
                (work, false) => return Some(work.scraper),
            };
            due = pace.next_due(clock.now().max(due));
        }
    }

    /// Asks once at `now` and writes what came, with the time `stamp`; false when it was stopped instead.
    async fn round(mut self, now: TimestampMs, stamp: TimestampMs, stopped: Stopped<'_>) -> (Self, bool) {
        let clock = self.shared.clock.clone();
        let begin = clock.monotonic();
        let ask = Ask {
            url: &self.target.url,
            timeout: self.target.timeout,
            body_bytes_max: self.job.limits.body_bytes,
            accept: &self.accept,
            pace: AskPace::Timeout,
        };
        let fetched = match self.target.unreachable() {
            Some(error) => Some(Err(error)),
            None => tokio::select! {
                () = stopped => None,
                fetched = self.client.fetch(&mut self.connection, ask, &mut self.body) => Some(fetched),
            },
        };
        let Some(fetched) = fetched else { return (self, false) };
        let took = clock.monotonic().saturating_sub(begin);
        let answer = fetched.map(|format| Answer { body: self.body.text(), format });
        let outcome = self.scraper.scraped(&self.shared.ingest, stamp, took, answer).await;
        self.tell(now, took, &outcome);
        (self, true)
    }

    fn tell(&self, at: TimestampMs, took: Duration, outcome: &Outcome) {
        if let Some(error) = &outcome.lost {
            tracing::warn!(job = self.job.name, %error, "what a scrape brought was not written");
        }
        let mut status = self.status.lock();
        let health = if outcome.error.is_some() { TargetHealth::Down } else { TargetHealth::Up };
        let error = outcome.told();
        if status.health != health {
            status.health_since = Some(at);
            let instance = self.target.labels.get("instance").unwrap_or_default();
            match health {
                TargetHealth::Down => tracing::warn!(job = self.job.name, instance, error, "target is down"),
                _ => tracing::info!(job = self.job.name, instance, "target is up"),
            }
        }
        // Once, not at every scrape.
        if let Some(shed) = outcome.shed.as_ref().filter(|_| status.last_error.is_empty()) {
            let instance = self.target.labels.get("instance").unwrap_or_default();
            tracing::warn!(job = self.job.name, instance, "{shed}");
        }
        status.failures += u64::from(outcome.error.is_some());
        status.scrapes += 1;
        (status.health, status.last_error) = (health, error);
        (status.last_scrape, status.last_duration, status.last_samples) = (Some(at), Some(took), outcome.kept);
        drop(status);
        self.shared.changes.tell(Changed::Sources);
    }
}
