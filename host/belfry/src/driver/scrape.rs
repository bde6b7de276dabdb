//! Scraping's loops: one task a job, one a discovery, one a target.
//!
//! Invariant: a slow or dead target delays no other; a reload leaves what did not change alone, and series that a change
//! takes away end; at the end of the process nothing ends, since the targets go on.
//! Not here: what a scrape means (`ingest::scrape`).

mod credentials;
mod discover;
mod found;
mod job;
mod spec;
mod target;
#[cfg(test)]
mod tests;
mod thread;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use belfry_config::types::scrape::Scrape;
use belfry_ingest::Ingest;
use belfry_ingest::scrape::{ActiveTarget, Job, JobStatus};
use belfry_model::Clock;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::changes::{Changed, Changes};
use found::Found;
use job::JobWork;
use target::Memory;
use thread::ScrapeThread;

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

/// What a job that was stopped leaves to the one that goes on.
#[derive(Default)]
struct Left {
    /// Its targets' memory, by key.
    scrapers: BTreeMap<u64, Memory>,
    /// What its discoveries found last.
    found: Found,
    /// Keys of targets that a discovery found which a reload took away.
    waiting: BTreeSet<u64>,
    /// As it was; `None` when there was none.
    job: Option<Arc<Job>>,
}

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
                self.shared.end(left.scrapers).await;
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
                None => Left::default(),
            };
            match self.start(config, left).await {
                Ok(running) => drop(jobs.insert(config.job.clone(), running)),
                Err((left, error)) => {
                    self.targets.lock().remove(&config.job);
                    tracing::error!(job = config.job, error, "the job is not scraped");
                    let status = JobStatus { job: config.job.clone(), errors: vec![error], ..JobStatus::default() };
                    self.status.lock().insert(config.job.clone(), status);
                    self.shared.end(left.scrapers).await;
                }
            }
        }
        self.shared.changes.tell(Changed::Sources);
    }

    async fn start(&self, config: &Scrape, left: Left) -> Result<Running, (Left, String)> {
        let job = match spec::job(config) {
            Ok(job) => job,
            Err(error) => return Err((left, error)),
        };
        let stop = CancellationToken::new();
        let targets = JobTargets::default();
        let name = config.job.clone();
        self.targets.lock().insert(name.clone(), targets.clone());
        self.status.lock().insert(name.clone(), JobStatus { job: name, ..JobStatus::default() });
        let work =
            JobWork::new(self.shared.clone(), config, Arc::new(job), left).await.told_to(self.status.clone(), targets);
        let task = self.thread.spawn(work.run(stop.clone()));
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
    async fn end(&self, scrapers: BTreeMap<u64, Memory>) {
        for memory in scrapers.into_values() {
            if let Err(error) = memory.scraper.end(&self.ingest, self.clock.now()).await {
                tracing::warn!(%error, "the end of a target's series was not written");
            }
        }
    }
}
