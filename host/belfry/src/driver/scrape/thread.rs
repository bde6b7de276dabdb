//! The thread that scrapes: a reactor of its own for the jobs' tasks.
//!
//! A scrape is a dozen short steps (a timer, a few reads, the store's answer). Where all processors share the steps,
//! each one wakes a thread that looks for work, which costs more than the step itself.
//!
//! Invariant: the thread exists from the first job on and ends when this is dropped; where the system has no thread to
//! give, jobs run on the program's own reactor.
//! Not here: long work; what takes more than a moment goes to the program's own reactor (`beside`).

use std::future::Future;
use std::sync::{Arc, OnceLock};

use tokio::runtime::{Builder, Handle};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Where scraping happens.
pub struct ScrapeThread {
    before_rest: Arc<dyn Fn() + Send + Sync>,
    reactor: OnceLock<Handle>,
    stop: CancellationToken,
}

impl ScrapeThread {
    /// No thread yet. It does `before_rest` whenever nothing is left to do.
    pub fn new(before_rest: impl Fn() + Send + Sync + 'static) -> Self {
        Self { before_rest: Arc::new(before_rest), reactor: OnceLock::new(), stop: CancellationToken::new() }
    }

    /// Runs a job's task. Called on the program's own reactor.
    pub fn spawn<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.reactor
            .get_or_init(|| begin(&self.stop, self.before_rest.clone()).unwrap_or_else(Handle::current))
            .spawn(task)
    }
}

impl Drop for ScrapeThread {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn begin(stop: &CancellationToken, before_rest: Arc<dyn Fn() + Send + Sync>) -> Option<Handle> {
    let stop = stop.clone();
    let begun =
        Builder::new_current_thread().enable_all().on_thread_park(move || before_rest()).build().and_then(|reactor| {
            let handle = reactor.handle().clone();
            let thread = std::thread::Builder::new().name("scrape".to_owned());
            thread.spawn(move || reactor.block_on(stop.cancelled())).map(|_| handle)
        });
    match begun {
        Ok(handle) => Some(handle),
        Err(error) => {
            tracing::warn!(%error, "scraping has no thread of its own");
            None
        }
    }
}

/// Does `task` on `reactor`; `None` when it broke off there.
pub async fn beside<T: Send + 'static>(reactor: &Handle, task: impl Future<Output = T> + Send + 'static) -> Option<T> {
    reactor.spawn(task).await.ok()
}
