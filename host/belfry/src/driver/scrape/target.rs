//! One target: asked again and again, at its own pace.
//!
//! Invariant: each round is written before the next begins; a round that broke off takes the target's memory with it.
//! Not here: what an answer means (`ingest::scrape`), which targets there are (`job`).

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use belfry_ingest::scrape::client::{Ask, AskPace, Body, JobClient};
use belfry_ingest::scrape::{Answer, Job, Kept, Outcome, Pace, ScrapeError, Scraper, Target, TargetHealth};
use belfry_model::TimestampMs;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::thread::beside;
use super::{Shared, TargetStatus};
use crate::changes::Changed;

/// The clock can be set while we sleep: we look at it at least this often.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// An answer of more bytes takes so long to read that other targets must not wait for it: some 10,000 series.
const LONG_BYTES: usize = 1 << 20;

/// How a target is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Orders {
    /// Its newest settings.
    pub target: Arc<Target>,
    /// Why it is not: its job has too many, or no client.
    pub refused: Option<ScrapeError>,
}

/// What a target that stopped leaves to the one that goes on.
pub struct Memory {
    pub scraper: Scraper,
    /// When its next round was due, or one that broke off.
    pub due: TimestampMs,
}

/// Done once a target is to stop.
type Stopped<'a> = Pin<&'a mut WaitForCancellationFutureOwned>;

pub struct TargetWork {
    pub shared: Shared,
    pub reactor: Handle,
    pub job: Arc<Job>,
    pub orders: Orders,
    /// They change while it runs: then it goes on by the new ones, from the next round on.
    pub news: watch::Receiver<Orders>,
    /// None where all is refused.
    pub client: Option<JobClient>,
    pub scraper: Scraper,
    /// The first round is then at the latest: no series has a gap because its target is another now.
    pub due: Option<TimestampMs>,
    pub status: TargetStatus,
    pub connection: Kept,
    /// Formats that are asked for.
    pub accept: String,
    /// The last answer; its memory is used again.
    pub body: Body,
}

impl Orders {
    fn pace(&self) -> Pace {
        Pace::new(self.target.interval, self.target.key())
    }
}

impl TargetWork {
    /// Until `stop`; `None` when a round broke off, and with it the memory.
    pub async fn run(mut self, stop: CancellationToken) -> Option<Memory> {
        let (clock, reactor) = (self.shared.clock.clone(), self.reactor.clone());
        let mut pace = self.orders.pace();
        let next = pace.next_due(clock.now());
        let mut due = self.due.map_or(next, |due| due.min(next));
        // One for all waits: each new one would enter the list of those to be woken and leave it again.
        let mut stopped = pin!(stop.clone().cancelled_owned());
        loop {
            if self.news.has_changed().unwrap_or(false) {
                self.orders = self.news.borrow_and_update().clone();
                self.scraper.follow(self.orders.target.clone());
                pace = self.orders.pace();
            }
            let now = clock.now();
            if now < due {
                let pause = due.since(now).min(SLEEP_MAX);
                // A clock that was set back must not stop the scraping for the length of the jump; nor the interval before
                // for its own.
                due = due.min(pace.next_due(now));
                tokio::select! {
                    () = &mut stopped => return Some(Memory { scraper: self.scraper, due }),
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
                (work, false) => return Some(Memory { scraper: work.scraper, due }),
            };
            due = pace.next_due(clock.now().max(due));
        }
    }

    /// Asks once at `now` and writes what came, with the time `stamp`; false when it was stopped instead.
    async fn round(mut self, now: TimestampMs, stamp: TimestampMs, stopped: Stopped<'_>) -> (Self, bool) {
        let clock = self.shared.clock.clone();
        let begin = clock.monotonic();
        let ask = Ask {
            url: &self.orders.target.url,
            timeout: self.orders.target.timeout,
            body_bytes_max: self.job.limits.body_bytes,
            accept: &self.accept,
            pace: AskPace::Timeout,
        };
        let fetched = match (self.orders.refused.clone().or_else(|| self.orders.target.unreachable()), &self.client) {
            (Some(error), _) => Some(Err(error)),
            (None, None) => Some(Err(ScrapeError::Failed("there is nothing to ask it with".to_owned()))),
            (None, Some(client)) => tokio::select! {
                () = stopped => None,
                fetched = client.fetch(&mut self.connection, ask, &mut self.body) => Some(fetched),
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
            let instance = self.orders.target.labels.get("instance").unwrap_or_default();
            match health {
                // The job says it once for all of them.
                TargetHealth::Down if self.orders.refused.is_some() => {}
                TargetHealth::Down => tracing::warn!(job = self.job.name, instance, error, "target is down"),
                _ => tracing::info!(job = self.job.name, instance, "target is up"),
            }
        }
        // Once, not at every scrape.
        if let Some(shed) = outcome.shed.as_ref().filter(|_| status.last_error.is_empty()) {
            let instance = self.orders.target.labels.get("instance").unwrap_or_default();
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
