//! Belfry's store behind its remote-write receiver in a process of its own, on a clock that runs as it is told: a day of
//! upkeep (blocks every half hour, merges, series forgotten) passes in a minute.
//!
//! Invariant: what runs is the store, ingest and the receiver that `belfry run` has; only who calls upkeep differs.
//! Not here: what is written and how often (`churn`, `disk`, `start`).

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::extract::{Path as PathPart, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use belfry_ingest::push::{Push, routes};
use belfry_ingest::{Ingest, IngestLimits};
use belfry_model::{
    Clock as _, Matcher, SampleBuf, SelectHints, SelectLimits, SeriesRead as _, TimeRange, TimestampMs,
};
use belfry_store::{RealDisk, Store, StoreConfig};
use belfry_testkit::SimClock;

use crate::server::{Running, free_address, launch};

/// The word that makes this program the server.
pub const WORD: &str = "simulate";

/// Starts one over `data` (below `folder`) at `start`.
pub fn start(folder: &Path, start: i64) -> Result<Running> {
    let address = free_address()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(WORD).arg(folder.join("data")).arg(&address).arg(start.to_string());
    Ok(launch(command, address, "/ready", folder)?.0)
}

struct Simulated {
    store: Arc<Store>,
    clock: Arc<SimClock>,
}

type Failed = (StatusCode, String);

fn failed(e: impl std::fmt::Display) -> Failed {
    (StatusCode::INTERNAL_SERVER_ERROR, e.to_string())
}

/// Serves until it is killed: `arguments` are folder, address and the clock's start.
pub fn serve(arguments: &[String]) -> Result<()> {
    let [data, address, start] = arguments else { anyhow::bail!("{WORD} FOLDER ADDRESS START") };
    let start = TimestampMs(start.parse()?);
    let reactor = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    reactor.block_on(async {
        let clock = Arc::new(SimClock::at(start));
        let (store, _) = Store::open(StoreConfig::folder(data), Arc::new(RealDisk), start)?;
        store.refuse_ahead_of(clock.clone());
        let ingest = Arc::new(Ingest::new(store.clone(), IngestLimits::default()));
        let push = Arc::new(Push::new(ingest, clock.clone(), None));
        let simulated = Arc::new(Simulated { store, clock });
        let router = Router::new()
            .route("/ready", get(async || "ready"))
            .route("/at/{ms}", post(at))
            .route("/flush", post(flush))
            .route("/merge", post(merge))
            .route("/scan", get(scan))
            .with_state(simulated)
            .merge(routes(push));
        let listener = tokio::net::TcpListener::bind(address).await?;
        axum::serve(listener, router).await.context("the server ended")
    })
}

/// It is this time now: upkeep does what is due, blocks are merged where they are to be.
async fn at(
    State(simulated): State<Arc<Simulated>>,
    PathPart(ms): PathPart<i64>,
) -> Result<Json<serde_json::Value>, Failed> {
    let ahead = u64::try_from(ms - simulated.clock.now().0).unwrap_or(0);
    simulated.clock.advance(Duration::from_millis(ahead));
    let (store, now) = (simulated.store.clone(), simulated.clock.now());
    let stats = tokio::task::spawn_blocking(move || {
        store.maintain(now).map_err(failed)?;
        store.sync().map_err(failed)?;
        Ok(store.stats())
    });
    let stats = stats.await.map_err(failed)??;
    Ok(Json(serde_json::json!({
        "series": stats.series,
        "blocks": stats.blocks,
        "block_bytes": stats.block_bytes,
        "block_samples": stats.block_samples,
        "forgotten": stats.series_forgotten,
    })))
}

async fn flush(State(simulated): State<Arc<Simulated>>) -> Result<(), Failed> {
    let work = tokio::task::spawn_blocking(move || simulated.store.flush().map_err(failed));
    work.await.map_err(failed)?
}

async fn merge(State(simulated): State<Arc<Simulated>>) -> Result<(), Failed> {
    let work = tokio::task::spawn_blocking(move || simulated.store.compact().map(drop).map_err(failed));
    work.await.map_err(failed)?
}

/// Decodes every sample once, as a query over everything does: nanoseconds of this thread, and samples.
async fn scan(State(simulated): State<Arc<Simulated>>) -> Result<Json<(f64, usize)>, Failed> {
    let limits = SelectLimits { series_max: usize::MAX, samples_max: u64::MAX };
    let matchers = [Matcher::equal("job", "node")];
    let hints = SelectHints::default();
    let set = simulated.store.select(&matchers, TimeRange::ALL, &hints, limits).await.map_err(failed)?;
    let work = tokio::task::spawn_blocking(move || {
        let (mut buf, mut samples) = (SampleBuf::default(), 0);
        let begin = thread_cpu();
        for series in &set.series {
            buf.clear();
            series.samples.decode(TimeRange::ALL, &mut buf).map_err(failed)?;
            samples += std::hint::black_box(&buf).len();
        }
        Ok(Json(((thread_cpu() - begin).as_nanos() as f64, samples)))
    });
    work.await.map_err(failed)?
}

fn thread_cpu() -> Duration {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}
