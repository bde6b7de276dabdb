//! The files that a job's connections are secured by, read again when they have changed.

use std::path::PathBuf;
use std::time::Duration;

use belfry_config::types::scrape::{HttpTls, Scrape};
use belfry_ingest::scrape::client::JobClient;

use super::spec;

/// So often it is looked.
const RENEWED_EVERY: Duration = Duration::from_secs(10);

/// The files that a job's connections are secured by.
pub struct Credentials {
    files: Vec<PathBuf>,
    /// What they held; `None` for one that could not be read.
    held: Vec<Option<Vec<u8>>>,
}

impl Credentials {
    /// As they are now.
    pub async fn of(tls: &HttpTls) -> Self {
        let identity = tls.identity.iter().flat_map(|(certificate, key)| [certificate, key]);
        let files: Vec<PathBuf> = tls.ca_file.iter().chain(identity).cloned().collect();
        let held = read_all(&files).await;
        Self { files, held }
    }

    /// A client with what the files hold, once that has changed and is good. For ever, where there are none.
    pub async fn renewed(&mut self, config: &Scrape) -> JobClient {
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
