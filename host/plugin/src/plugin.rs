//! A loaded plugin, as the rest of Belfry calls it.
//!
//! Invariant: no call waits longer than the calls before it and its own limits take; a full queue is told at once.
//! Not here: schedules, retries.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use belfry_model::report::{Block, SectionRequest};
use belfry_model::{Batch, MetricMetadata, TimestampMs};
use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use crate::actor::{self, Message, PLUGIN_QUEUE_CALLS_MAX, Typed};
use crate::calls::{self, AlertGroupInput, Answer, Health, Identity, Receipt, ReportInput};
use crate::capabilities::sink::Carry;
use crate::error::{CallError, LoadError};
use crate::inspect::Kind;
use crate::instance::Instance;
use crate::prepared::{Descriptor, Prepared};
use crate::runtime::Inner;
use crate::spec::PluginSpec;
use crate::status::{Board, PluginState, PluginStatus};

/// What of a plugin changes with a swap.
struct Current {
    prepared: Arc<Prepared>,
    descriptor: Arc<Descriptor>,
}

struct Shared {
    name: Arc<str>,
    runtime: Arc<Inner>,
    current: ArcSwap<Current>,
    board: Arc<Board>,
    queue: mpsc::Sender<Message>,
    /// One swap at a time: the one that came last must win.
    swapping: tokio::sync::Mutex<()>,
}

/// A loaded plugin. Cheap to clone; when the last clone goes, it is unloaded.
#[derive(Clone)]
pub struct Plugin {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin").field("name", &self.shared.name).field("digest", &self.digest()).finish()
    }
}

impl Plugin {
    pub(crate) async fn load(runtime: Arc<Inner>, spec: PluginSpec) -> Result<Self, LoadError> {
        let name: Arc<str> = Arc::from(spec.name.as_str());
        let ring = Arc::default();
        let board = Arc::new(Board::new(Arc::clone(&ring)));
        let prepared = runtime.prepare(spec, ring).await?;
        let (instance, descriptor) = prepared.first_instance().await?;
        let queue = actor::start(prepared.clone(), instance, board.clone());
        let current = ArcSwap::from_pointee(Current { prepared, descriptor: Arc::new(descriptor) });
        Ok(Self { shared: Arc::new(Shared { name, runtime, current, board, queue, swapping: Default::default() }) })
    }

    /// Replaces component, config, grants and limits. The old instance goes on until the new one is configured, and
    /// finishes the calls that came before; on failure it simply goes on.
    pub async fn swap(&self, spec: PluginSpec) -> Result<(), LoadError> {
        let shared = &self.shared;
        let _one = shared.swapping.lock().await;
        if *spec.name != *shared.name {
            return Err(LoadError {
                plugin: spec.name,
                reason: format!("it cannot take the place of `{}`", shared.name),
                help: "a swap keeps the name; unload one plugin and load the other".to_owned(),
            });
        }
        let prepared = shared.runtime.prepare(spec, shared.board.ring.clone()).await?;
        let (instance, descriptor) = prepared.first_instance().await?;
        let next = Arc::new(Current { prepared: prepared.clone(), descriptor: Arc::new(descriptor) });
        let (done, swapped) = oneshot::channel();
        let gone = || LoadError {
            plugin: shared.name.to_string(),
            reason: "it was removed meanwhile".to_owned(),
            help: "load it again".to_owned(),
        };
        let message = Message::Swap { instance: Box::new(instance), prepared, done };
        shared.queue.send(message).await.map_err(|_| gone())?;
        swapped.await.map_err(|_| gone())?;
        shared.current.store(next);
        Ok(())
    }

    /// Finishes what it has, then ends. Answers stale markers for the series that were live; later calls get
    /// [`CallError::Gone`].
    pub async fn drain(&self) -> Batch {
        self.shared.board.set_state(PluginState::Draining);
        let empty = Batch::at(self.shared.name.clone(), self.now());
        let (done, last) = oneshot::channel();
        if self.shared.queue.send(Message::Stop { done }).await.is_err() {
            self.shared.board.set_state(PluginState::Gone);
            return empty;
        }
        last.await.unwrap_or(empty)
    }

    /// The store has forgotten some of its series ([`belfry_model::Appended::unknown_series`]): from the next call on it
    /// uses new references.
    pub async fn reopen_series(&self) {
        let _ = self.shared.queue.send(Message::Reopen).await;
    }

    /// Its name in the config.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// What it can do.
    pub fn kinds(&self) -> Vec<Kind> {
        self.shared.current.load().prepared.linked.info.kinds.clone()
    }

    /// What it says of itself.
    pub fn descriptor(&self) -> Arc<Descriptor> {
        self.shared.current.load().descriptor.clone()
    }

    /// BLAKE3 of its component, in hex.
    pub fn digest(&self) -> String {
        self.shared.current.load().prepared.linked.info.digest.clone()
    }

    /// What it was told to be.
    pub fn spec(&self) -> PluginSpec {
        self.shared.current.load().prepared.spec.clone()
    }

    /// Its metrics: those of the descriptor and those declared since.
    pub fn metadata(&self) -> Vec<MetricMetadata> {
        let declared = self.shared.board.counts.lock().declared.clone();
        let mut all = self.descriptor().metrics.clone();
        all.retain(|m| declared.iter().all(|d| d.name != m.name));
        all.extend(declared);
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// One collection. The samples are stamped `at` unless the plugin gives them times of their own.
    pub async fn collect(&self, at: TimestampMs) -> Result<Batch, CallError> {
        self.call(batch_len, move |instance| calls::collect(instance, at)).await
    }

    /// Who the monitored thing is.
    pub async fn identify(&self) -> Result<Identity, CallError> {
        let at = self.now();
        self.call(|_| 0, move |instance| calls::identify(instance, at)).await
    }

    /// How the monitored thing is, with its numbers.
    pub async fn snapshot(&self, at: TimestampMs) -> Result<(Health, Batch), CallError> {
        self.call(|(_, batch)| batch_len(batch), move |instance| calls::snapshot(instance, at)).await
    }

    /// Delivers a group of alerts, whole or not at all.
    pub async fn deliver(&self, group: &AlertGroupInput) -> Result<Receipt, CallError> {
        let (at, group) = (self.now(), group.into());
        self.call(|_| 0, move |instance| calls::deliver(instance, at, group)).await
    }

    /// Delivers a report.
    pub async fn deliver_report(&self, report: &ReportInput) -> Result<(), CallError> {
        let (at, report) = (self.now(), report.into());
        self.call(|()| 0, move |instance| calls::deliver_report(instance, at, report)).await
    }

    /// Writes one section of a report.
    pub async fn render(&self, request: SectionRequest) -> Result<Vec<Block>, CallError> {
        let (at, request) = (self.now(), calls::section_request(&request));
        self.call(|_| 0, move |instance| calls::render(instance, at, request)).await
    }

    /// At a glance.
    pub fn status(&self) -> PluginStatus {
        let current = self.shared.current.load();
        let info = &current.prepared.linked.info;
        let (log, log_lines_dropped) = {
            let ring = self.shared.board.ring.lock();
            (ring.lines.iter().cloned().collect(), ring.dropped)
        };
        let c = self.shared.board.counts.lock();
        PluginStatus {
            name: self.shared.name.to_string(),
            state: c.state,
            version: current.descriptor.version.clone(),
            summary: current.descriptor.summary.clone(),
            digest: info.digest.clone(),
            component_bytes: info.size,
            contract: info.contract.clone(),
            kinds: info.kinds.clone(),
            imports: info.imports.clone(),
            grants: current.prepared.grants().as_ref().clone(),
            calls: c.calls,
            errors: c.errors.clone(),
            last_error: c.last_error.clone(),
            call_time_total: c.call_time_total,
            call_time_last: c.call_time_last,
            call_time_max: c.call_time_max,
            cpu_time: c.cpu_time,
            memory_bytes: c.memory_bytes,
            memory_peak_bytes: c.memory_peak_bytes,
            memory_limit_bytes: current.prepared.spec.limits.memory_bytes,
            open_series: c.open_series,
            samples: c.samples,
            restarts: c.restarts,
            swaps: c.swaps,
            queued: PLUGIN_QUEUE_CALLS_MAX - self.shared.queue.capacity(),
            log_lines_dropped,
            log,
        }
    }

    /// Collects `rounds` times back to back, without the queue between: for each call the time in the guest and in the
    /// host on its behalf, and the time of the whole call with its guards. For benchmarks.
    #[doc(hidden)]
    pub async fn collect_repeatedly(
        &self,
        at: TimestampMs,
        rounds: u32,
    ) -> Result<Vec<(Duration, Duration)>, CallError> {
        self.call(
            |_| 0,
            move |instance| {
                Box::pin(async move {
                    let mut times = Vec::with_capacity(rounds as usize);
                    for _ in 0..rounds {
                        let begin = Instant::now();
                        if let Err(error) = calls::collect(instance, at).await? {
                            return Ok(Err(error));
                        }
                        times.push((instance.usage.cpu, begin.elapsed()));
                    }
                    Ok(Ok(times))
                })
            },
        )
        .await
    }

    /// Makes `rounds` instances, one after the other, and answers what each took. For benchmarks.
    #[doc(hidden)]
    pub async fn instantiate_repeatedly(&self, rounds: u32) -> Result<Vec<Duration>, CallError> {
        let prepared = self.shared.current.load().prepared.clone();
        let mut times = Vec::with_capacity(rounds as usize);
        for _ in 0..rounds {
            let begin = Instant::now();
            let instance = Instance::new(&prepared, Carry::new()).await;
            times.push(begin.elapsed());
            instance.map_err(|(failure, _)| prepared.failed(failure))?;
        }
        Ok(times)
    }

    fn now(&self) -> TimestampMs {
        self.shared.runtime.shared.services.clock.now()
    }

    async fn call<R, F>(&self, samples: fn(&R) -> usize, call: F) -> Result<R, CallError>
    where
        R: Send + 'static,
        F: for<'a> FnOnce(&'a mut Instance) -> BoxFuture<'a, Answer<R>> + Send + 'static,
    {
        let plugin = || self.shared.name.to_string();
        let (reply, answer) = oneshot::channel();
        // The guest's work belongs to the caller's span, though another task does it.
        let span = tracing::Span::current();
        let work = Message::Work(Box::new(Typed { call, samples, span, reply }));
        if let Err(refused) = self.shared.queue.try_send(work) {
            let error = match refused {
                mpsc::error::TrySendError::Full(_) => {
                    CallError::Busy { plugin: plugin(), queued: PLUGIN_QUEUE_CALLS_MAX }
                }
                mpsc::error::TrySendError::Closed(_) => CallError::Gone { plugin: plugin() },
            };
            self.shared.board.error(self.now(), &error);
            return Err(error);
        }
        answer.await.unwrap_or_else(|_| Err(CallError::Gone { plugin: plugin() }))
    }
}

fn batch_len(batch: &Batch) -> usize {
    batch.refs.len() + batch.histograms.len()
}
