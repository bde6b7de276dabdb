//! The files that a job's connections are secured by, read again when they have changed.
//!
//! Invariant: a client is made after its files were looked at, so that no change in between is missed; one that could not
//! be made is tried again until it can.

use std::path::PathBuf;
use std::time::Duration;

use belfry_config::types::scrape::Scrape;
use belfry_ingest::scrape::ScrapeError;
use belfry_ingest::scrape::client::JobClient;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::spec;

/// So often it is looked.
const RENEWED_EVERY: Duration = Duration::from_secs(10);

/// The files that a job's connections are secured by.
pub struct Credentials {
    files: Vec<PathBuf>,
    /// What they held; `None` for one that could not be read.
    held: Vec<Option<Vec<u8>>>,
    /// Is there no client yet?
    wanting: bool,
    /// Whoever waits gives up whenever targets change: it goes on all the same.
    next_look: Option<Interval>,
}

impl Credentials {
    /// As they are now, and the client by them. The error says which file is no good.
    pub async fn of(config: &Scrape) -> (Self, Result<JobClient, ScrapeError>) {
        let tls = &config.http.tls;
        let identity = tls.identity.iter().flat_map(|(certificate, key)| [certificate, key]);
        let files: Vec<PathBuf> = tls.ca_file.iter().chain(identity).cloned().collect();
        let held = read_all(&files).await;
        let client = client(config);
        (Self { files, held, wanting: client.is_err(), next_look: None }, client.map_err(ScrapeError::Failed))
    }

    /// A client with what the files hold, once that has changed and is good; while there is none, also why there is still
    /// none once the files have changed. For ever, where there are none. May be given up and called again.
    pub async fn renewed(&mut self, config: &Scrape) -> Result<JobClient, ScrapeError> {
        if self.files.is_empty() {
            return std::future::pending().await;
        }
        loop {
            self.next_look.get_or_insert_with(looks).tick().await;
            let now = read_all(&self.files).await;
            let is_new = now != self.held;
            if !is_new && !self.wanting {
                continue;
            }
            self.held = now;
            match client(config) {
                Ok(client) => {
                    self.wanting = false;
                    tracing::info!(job = config.job, "certificates were read again");
                    return Ok(client);
                }
                // Said once, not at every look.
                Err(_) if !is_new => {}
                Err(error) if self.wanting => return Err(ScrapeError::Failed(error)),
                // Half of them may be written.
                Err(error) => {
                    tracing::warn!(job = config.job, error, "changed certificates are no good; the old go on")
                }
            }
        }
    }
}

fn looks() -> Interval {
    let mut looks = tokio::time::interval_at(Instant::now() + RENEWED_EVERY, RENEWED_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    looks
}

fn client(config: &Scrape) -> Result<JobClient, String> {
    JobClient::new(spec::http(&config.http, Some(config)))
}

async fn read_all(files: &[PathBuf]) -> Vec<Option<Vec<u8>>> {
    futures::future::join_all(files.iter().map(async |f| tokio::fs::read(f).await.ok())).await
}
