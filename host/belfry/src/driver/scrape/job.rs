//! One job: which targets run, by what its discoveries tell.
//!
//! Invariant: those targets run that are named in the config or were found last, each by its newest settings; the series
//! of one that goes end at once, unless another with the same labels comes in its place, or is there: they go on with that
//! one's next answer, and only what it does not bring ends.
//! Not here: asking them (`target`), what was found (`found`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use belfry_config::types::scrape::Scrape;
use belfry_ingest::scrape::client::{ACCEPT_TEXT, Body, JobClient, accept_native};
use belfry_ingest::scrape::{ActiveTarget, Group, Job, Kept, ScrapeError, Scraper, Target, TargetHealth, Targets};
use belfry_model::Labels;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::credentials::Credentials;
use super::found::Found;
use super::target::{Memory, Orders, TargetWork};
use super::{JobTargets, Left, Shared, Statuses, discover, spec};
use crate::changes::Changed;

/// Series open at a time of one target unless its job says otherwise: ten times what a large exporter has.
const SERIES_PER_TARGET: u64 = 100_000;
/// News from discoveries that wait for their job: it reads them all before it acts.
const NEWS_MAX: usize = 16;

/// A target's loop.
struct Asked {
    stop: CancellationToken,
    task: JoinHandle<Option<Memory>>,
    orders: watch::Sender<Orders>,
}

/// One job.
pub struct JobWork {
    shared: Shared,
    /// The program's own, for long work.
    reactor: Handle,
    config: Scrape,
    job: Arc<Job>,
    /// Or why there is none.
    client: Result<JobClient, ScrapeError>,
    credentials: Credentials,
    series_max: u64,
    status: Statuses,
    targets: JobTargets,
    /// Named in the config.
    fixed: Vec<Group>,
    found: Found,
    running: BTreeMap<u64, Asked>,
    /// From before a reload, until they go on or are known to be gone.
    left: BTreeMap<u64, Memory>,
    /// Of those, what a discovery found that the reload took away: another may find them when it first looks.
    waiting: BTreeSet<u64>,
    /// Why no target is asked just now.
    refused: Option<ScrapeError>,
}

impl JobWork {
    /// Goes on where `left` ended.
    pub async fn new(shared: Shared, config: &Scrape, job: Arc<Job>, left: Left) -> Self {
        let (credentials, client) = Credentials::of(config).await;
        let Left { scrapers, found: mut before, mut waiting, job: job_before } = left;
        let found = Found::begin(&config.discoveries, &mut before);
        if let Some(job_before) = job_before {
            let groups: Vec<Group> = before.groups().cloned().collect();
            waiting.extend(Targets::of(&job_before, &groups).active.iter().map(|t| t.key()));
        }
        Self {
            shared,
            reactor: Handle::current(),
            config: config.clone(),
            job,
            client,
            credentials,
            series_max: config.limits.series.unwrap_or(SERIES_PER_TARGET),
            status: Statuses::default(),
            targets: JobTargets::default(),
            fixed: config.groups.iter().map(spec::group).collect(),
            found,
            running: BTreeMap::new(),
            left: scrapers,
            waiting,
            refused: None,
        }
    }

    /// Tells there how the job and its targets are.
    pub fn told_to(self, status: Statuses, targets: JobTargets) -> Self {
        Self { status, targets, ..self }
    }

    pub async fn run(mut self, stop: CancellationToken) -> Left {
        let (tell, mut told) = mpsc::channel(NEWS_MAX);
        let mut discoveries = JoinSet::new();
        for (i, discovery) in self.config.discoveries.iter().enumerate() {
            let known = self.found.places(i);
            discoveries.spawn(discover::run(i, discovery.clone(), known, tell.clone(), stop.clone()));
        }
        drop(tell);
        loop {
            self.sync().await;
            let news = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(news) = told.recv() => Some(news),
                client = self.credentials.renewed(&self.config) => {
                    // Those that run have the old one.
                    if client.is_ok() {
                        self.halt().await;
                    }
                    self.client = client;
                    None
                }
            };
            let mut next = news;
            while let Some((number, look)) = next {
                self.found.take(number, look);
                next = told.try_recv().ok();
            }
        }
        self.halt().await;
        Left { scrapers: self.left, found: self.found, waiting: self.waiting, job: Some(self.job) }
    }

    /// Stops all targets; what they know is kept.
    async fn halt(&mut self) {
        for asked in self.running.values() {
            asked.stop.cancel();
        }
        for (key, asked) in std::mem::take(&mut self.running) {
            if let Ok(Some(memory)) = asked.task.await {
                self.left.insert(key, memory);
            }
        }
    }

    /// Starts and stops targets until those run that there are.
    async fn sync(&mut self) {
        let groups: Vec<Group> = self.fixed.iter().chain(self.found.groups()).cloned().collect();
        let mut targets = Targets::of(&self.job, &groups);
        let mut errors: Vec<String> = self.found.errors().cloned().collect();
        let too_many = targets.refuse(&self.job);
        let refused = too_many.or_else(|| self.client.as_ref().err().cloned());
        if let Some(error) = &refused {
            // Said once, not at every look.
            if self.refused != refused {
                let listed = targets.active.len();
                tracing::warn!(job = self.job.name, %error, listed, "no target of the job is scraped");
            }
            errors.push(error.to_string());
        }
        self.refused = refused;
        let wanted: BTreeMap<u64, Arc<Target>> = targets.active.into_iter().map(|t| (t.key(), t)).collect();
        let mut ended = BTreeMap::new();
        let gone: Vec<u64> = self.running.keys().copied().filter(|k| !wanted.contains_key(k)).collect();
        for key in gone {
            self.targets.lock().remove(&key);
            ended.extend(self.stop(key).await.map(|memory| (key, memory)));
        }
        if !self.found.waits() {
            self.waiting.clear();
        }
        // Before others begin: they may have series in common.
        let ended = self.hand_over(ended, &wanted).await;
        self.shared.end(ended).await;
        for (key, target) in wanted {
            self.order(key, Orders { target, refused: self.refused.clone() });
        }
        if let Some(status) = self.status.lock().get_mut(&self.job.name) {
            (status.dropped, status.failed, status.errors) = (targets.dropped, targets.failed, errors);
        }
        self.shared.changes.tell(Changed::Sources);
    }

    async fn stop(&mut self, key: u64) -> Option<Memory> {
        let asked = self.running.remove(&key)?;
        asked.stop.cancel();
        asked.task.await.ok().flatten()
    }

    /// Gives what is known of targets that ended, and of those from before a reload that are not wanted, to the wanted ones
    /// with the same labels: a target whose address or path changed goes on. Yields those that nobody goes on with.
    async fn hand_over(
        &mut self,
        mut ended: BTreeMap<u64, Memory>,
        wanted: &BTreeMap<u64, Arc<Target>>,
    ) -> BTreeMap<u64, Memory> {
        if ended.is_empty() && self.left.is_empty() {
            return ended;
        }
        let heirs: BTreeMap<&Labels, u64> = wanted.iter().map(|(key, target)| (&target.labels, *key)).collect();
        let heir = |memory: &Memory| heirs.get(&memory.scraper.target().labels).copied();
        let waiting = &self.waiting;
        ended.extend(self.left.extract_if(.., |key, memory| {
            !wanted.contains_key(key) && (!waiting.contains(key) || heir(memory).is_some())
        }));
        let mut nobodys = BTreeMap::new();
        for (key, memory) in ended {
            let Some((to, target)) = heir(&memory).and_then(|to| Some((to, wanted.get(&to)?))) else {
                nobodys.insert(key, memory);
                continue;
            };
            // It begins anew, with what both know.
            let own = match self.stop(to).await {
                Some(own) => Some(own),
                None => self.left.remove(&to),
            };
            let mut own = own.unwrap_or_else(|| Memory { scraper: self.scraper(to, target), due: memory.due });
            own.due = own.due.min(memory.due);
            if let Err(error) =
                own.scraper.take_over(&self.shared.ingest, memory.scraper, self.shared.clock.now()).await
            {
                tracing::warn!(%error, "the end of a target was not written");
            }
            self.left.insert(to, own);
        }
        nobodys
    }

    /// The key keeps targets apart that differ only in path or parameters.
    fn producer(&self, key: u64, target: &Target) -> String {
        let instance = target.labels.get("instance").unwrap_or_default();
        format!("scrape/{}/{instance}#{:08x}", self.job.name, key as u32)
    }

    fn scraper(&self, key: u64, target: &Arc<Target>) -> Scraper {
        Scraper::new(self.job.clone(), target.clone(), self.producer(key, target).as_str())
    }

    /// Starts a target, or tells one that runs what changed: it goes on without a gap in its series.
    fn order(&mut self, key: u64, orders: Orders) {
        let Some(asked) = self.running.get(&key) else { return self.start(key, orders) };
        let changed = asked.orders.send_if_modified(|now| {
            let changed = *now != orders;
            *now = orders.clone();
            changed
        });
        let status = self.targets.lock().get(&key).filter(|_| changed).cloned();
        if let Some(status) = status {
            let (mut status, target) = (status.lock(), orders.target);
            status.discovered_labels = target.discovered.clone();
            (status.interval, status.timeout) = (target.interval, target.timeout);
        }
    }

    fn start(&mut self, key: u64, orders: Orders) {
        let target = orders.target.clone();
        let producer = self.producer(key, &target);
        let (scraper, due) = match self.left.remove(&key) {
            Some(Memory { mut scraper, due }) => {
                scraper.reconfigure(self.job.clone(), target.clone());
                (scraper, Some(due))
            }
            None => (self.scraper(key, &target), None),
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
        let (tell, news) = watch::channel(orders.clone());
        let work = TargetWork {
            shared: self.shared.clone(),
            reactor: self.reactor.clone(),
            job: self.job.clone(),
            orders,
            news,
            client: self.client.clone().ok(),
            scraper,
            due,
            status,
            connection: Kept::default(),
            accept: if self.job.native_histograms { accept_native() } else { ACCEPT_TEXT.to_owned() },
            body: Body::default(),
        };
        let task = tokio::spawn(work.run(stop.clone()));
        self.running.insert(key, Asked { stop, task, orders: tell });
    }
}
