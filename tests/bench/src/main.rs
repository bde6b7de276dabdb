//! `cargo xtask bench store`: what Belfry's store costs, beside its peers in the same run, and whether that is enough.
//!
//! Each server is started on a free port of loopback with a fresh folder, one after the other, and is given the same
//! load, made from nothing but its numbers. What is measured is the server's process: its CPU time, its resident
//! memory, its files. Peers are looked for in the folder that `BELFRY_PEERS` names; one that is not there is left out
//! aloud.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is a tool for people at a terminal")]

mod board;
mod body;
mod churn;
mod client;
mod disk;
mod exporter;
mod kill;
mod machine;
mod memory;
#[path = "../../../host/store/benches/node/mod.rs"]
mod node;
mod query;
mod scrape;
mod server;
mod simulated;
mod start;
mod write;

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::Parser;

use crate::board::{Board, Figure};

/// Measures the store beside Belfry's peers: all parts, or those that are named.
#[derive(Parser)]
struct Arguments {
    /// The release build of Belfry.
    #[arg(long)]
    belfry: PathBuf,
    /// Only Belfry.
    #[arg(long)]
    alone: bool,
    #[command(flatten)]
    parts: Parts,
    /// For remote write: series and samples of each, as SERIES×ROWS or SERIESxROWS; may be given several times.
    #[arg(long, default_values = ["10000x240", "100000x120"])]
    load: Vec<write::Load>,
    /// For remote write: send version 2.0 instead of 1.0.
    #[arg(long)]
    v2: bool,
    /// For scraping: measure over so many seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// For scraping: targets pack their answers when they are asked to; else they never do.
    #[arg(long)]
    gzip: bool,
    /// Instead: measure and compare queries.
    #[arg(long)]
    query: bool,
    /// With `--query`: how much there is to ask for, in tenths of the full load.
    #[arg(long, default_value_t = 10)]
    tenths: usize,
    /// With `--query`: only queries that contain this.
    #[arg(long)]
    only: Option<String>,
    /// Instead: the part `--kill` with so many rounds.
    #[arg(long)]
    kill_rounds: Option<u32>,
}

/// How often Belfry is killed unless told otherwise.
const KILL_ROUNDS: u32 = 200;

/// What to measure; all of it when nothing is named.
#[derive(clap::Args)]
struct Parts {
    /// Remote write of the loads.
    #[arg(long)]
    write: bool,
    /// Scraping 40 targets of 500 series every second.
    #[arg(long)]
    scrape: bool,
    /// Bytes on disk after compaction, and what decoding costs.
    #[arg(long)]
    disk: bool,
    /// Resident memory at 100k and at 1M series, and while the head becomes a block.
    #[arg(long)]
    memory: bool,
    /// Belfry's cost of a sample at 10k, 100k, 300k and 1M series.
    #[arg(long)]
    linear: bool,
    /// Two simulated days in which a tenth of the series is replaced each hour.
    #[arg(long)]
    churn: bool,
    /// Belfry's start with a day of 100k series in log and blocks.
    #[arg(long)]
    start: bool,
    /// Acknowledged samples that are lost by 200 times `kill -9`.
    #[arg(long)]
    kill: bool,
}

impl Parts {
    fn all(&self) -> bool {
        let Self { write, scrape, disk, memory, linear, churn, start, kill } = *self;
        !(write || scrape || disk || memory || linear || churn || start || kill)
    }
}

fn main() {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let done = match given.split_first() {
        Some((word, rest)) if word == simulated::WORD => simulated::serve(rest),
        _ => run(&Arguments::parse()),
    };
    if let Err(error) = done {
        eprintln!("error: {error:#}");
        std::process::exit(1);
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    if let Some(rounds) = arguments.kill_rounds {
        return kill::rounds(&arguments.belfry, rounds);
    }
    let servers = server::all(&arguments.belfry, arguments.alone);
    println!("{}\n", machine::line());
    if arguments.query {
        return query::compare(&servers, arguments.tenths, arguments.only.as_deref());
    }
    let (parts, mut board) = (&arguments.parts, Board::default());
    let all = parts.all();
    if all || parts.write {
        for load in &arguments.load {
            write::compare(&servers, *load, arguments.v2, &mut board)?;
        }
    }
    if all || parts.scrape {
        scrape::compare(&servers, arguments.seconds, arguments.gzip, &mut board)?;
    }
    if all || parts.memory {
        if !board.has(Figure::Memory100k) {
            write::compare(&servers, write::LARGE, false, &mut board)?;
        }
        memory::compare(&servers, &mut board)?;
        memory::through_a_block(&server::Server::belfry(&arguments.belfry), &mut board)?;
    }
    if all || parts.disk {
        disk::compare(&servers, &mut board)?;
    }
    let belfry = server::Server::belfry(&arguments.belfry);
    if all || parts.linear {
        memory::linear(&belfry, &mut board)?;
    }
    if all || parts.churn {
        churn::simulate(&mut board)?;
    }
    if all || parts.start {
        start::measure(&belfry, &mut board)?;
    }
    let killed = if all || parts.kill { kill::rounds(&arguments.belfry, KILL_ROUNDS) } else { Ok(()) };
    board.close().and(killed)
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64
}
