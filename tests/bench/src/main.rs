//! `cargo xtask bench store`: what a remote-written sample costs Belfry, and its peers in the same run.
//!
//! Each server is started on a free port of loopback with a fresh folder, one after the other, and is sent the same
//! bodies, made from nothing but their numbers. What is measured is the server's process: its CPU time, its resident
//! memory, its files. Peers are looked for in the folder that `BELFRY_PEERS` names; one that is not there is left out
//! aloud.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is a tool for people at a terminal")]

mod body;
mod client;
mod kill;
mod query;
mod server;
mod write;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;

/// Measures the write path beside Belfry's peers.
#[derive(Parser)]
struct Arguments {
    /// The release build of Belfry.
    #[arg(long)]
    belfry: PathBuf,
    /// Series and samples of each, as SERIES×ROWS or SERIESxROWS; may be given several times.
    #[arg(long, default_values = ["10000x240", "100000x120"])]
    load: Vec<write::Load>,
    /// Send remote write 2.0 instead of 1.0.
    #[arg(long)]
    v2: bool,
    /// Only Belfry.
    #[arg(long)]
    alone: bool,
    /// Instead: measure and compare queries.
    #[arg(long)]
    query: bool,
    /// With `--query`: how much there is to ask for, in tenths of the full load.
    #[arg(long, default_value_t = 10)]
    tenths: usize,
    /// Instead: kill Belfry with signal 9 so many times while it is written to, and count what it lost.
    #[arg(long)]
    kill_rounds: Option<u32>,
}

fn main() {
    let arguments = Arguments::parse();
    if let Err(error) = run(&arguments) {
        eprintln!("error: {error:#}");
        std::process::exit(1);
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    if let Some(rounds) = arguments.kill_rounds {
        return kill::rounds(&arguments.belfry, rounds);
    }
    let servers = server::all(&arguments.belfry, arguments.alone);
    if arguments.query {
        return query::compare(&servers, arguments.tenths);
    }
    for load in &arguments.load {
        write::compare(&servers, *load, arguments.v2)?;
    }
    Ok(())
}
