//! `cargo xtask fuzz`: changes seeds at random, and gives them to everything that reads bytes of strangers, for a bounded
//! time.
//!
//! Each target runs in a process of its own, so that one that takes too long or too much memory is found out and ended.
//! What breaks a target is kept in `tests/fuzz/found`, and is best made a seed. The numbers that made it are printed:
//! the same `--seed` gives the same inputs.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is a tool for people at a terminal")]

mod mutate;
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use clap::Parser;

use crate::mutate::Random;
use crate::targets::{TARGETS, Target};

/// An input that takes longer is a defect.
const INPUT_WITHIN: Duration = Duration::from_secs(5);
/// More memory than this is a defect: bodies are bounded, and what is made of them too.
const MEMORY_BYTES_MAX: u64 = 1 << 30;

/// Fuzzes what reads bytes of strangers.
#[derive(Parser)]
struct Arguments {
    /// Only these targets.
    targets: Vec<String>,
    /// Seconds for each target.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Where the random numbers begin; by default the time of day.
    #[arg(long)]
    seed: Option<u64>,
    /// Run one target in this process.
    #[arg(long, hide = true)]
    child: bool,
}

fn main() {
    let arguments = Arguments::parse();
    if let Err(error) = run(&arguments) {
        eprintln!("error: {error:#}");
        std::process::exit(1);
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let wanted = |t: &&Target| arguments.targets.is_empty() || arguments.targets.iter().any(|n| n == t.name);
    let targets: Vec<&Target> = TARGETS.iter().filter(wanted).collect();
    if targets.is_empty() {
        let names: Vec<_> = TARGETS.iter().map(|t| t.name).collect();
        bail!("there is no such target; there are {}", names.join(", "));
    }
    let seed =
        arguments.seed.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| d.as_secs()));
    let budget = Duration::from_secs(arguments.seconds);
    if arguments.child {
        return targets.iter().try_for_each(|t| fuzz(t, budget, seed));
    }
    let mut broken = Vec::new();
    for target in targets {
        let mut child = Command::new(std::env::current_exe()?);
        child.args(["--child", "--seconds", &arguments.seconds.to_string(), "--seed", &seed.to_string(), target.name]);
        if !child.stdin(Stdio::null()).status()?.success() {
            broken.push(target.name);
        }
    }
    match broken.is_empty() {
        true => Ok(()),
        false => bail!("broken: {}; the inputs are in tests/fuzz/found", broken.join(", ")),
    }
}

/// What is being tried, for the watch.
#[derive(Default)]
struct Trying {
    number: AtomicU64,
    input: Mutex<Vec<u8>>,
}

fn fuzz(target: &Target, budget: Duration, seed: u64) -> Result<()> {
    let mut seeds = (target.seeds)();
    seeds.extend(files(&folder("seeds").join(target.name)));
    let mut random = Random::new(seed);
    let trying = Arc::new(Trying::default());
    watch(target.name, trying.clone());
    // A panic is told with its input, once.
    std::panic::set_hook(Box::new(|_| {}));
    let begin = Instant::now();
    let mut tried = 0u64;
    while begin.elapsed() < budget {
        // The seeds themselves come first.
        let input = match seeds.get(tried as usize) {
            Some(seed) => seed.clone(),
            None => mutate::mutated(&seeds, &mut random),
        };
        tried += 1;
        trying.input.lock().map_err(|_| anyhow::anyhow!("the watch is gone"))?.clone_from(&input);
        trying.number.store(tried, Ordering::SeqCst);
        if catch_unwind(AssertUnwindSafe(|| (target.run)(&input))).is_err() {
            let file = keep(target.name, &input)?;
            bail!("{}: input {tried} of seed {seed} panics: {}", target.name, file.display());
        }
    }
    let _ = std::panic::take_hook();
    let memory = peak_bytes();
    if memory > MEMORY_BYTES_MAX {
        bail!("{}: {} MB of memory were used", target.name, memory >> 20);
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!("{:<24}{tried:>12} inputs in {seconds:.0} s, at most {} MB, seed {seed}", target.name, memory >> 20);
    Ok(())
}

/// Ends the process when an input takes too long.
fn watch(name: &'static str, trying: Arc<Trying>) {
    std::thread::spawn(move || {
        let (mut before, mut since) = (0, Instant::now());
        loop {
            std::thread::sleep(Duration::from_millis(200));
            let now = trying.number.load(Ordering::SeqCst);
            if now != before {
                (before, since) = (now, Instant::now());
            } else if since.elapsed() > INPUT_WITHIN {
                let input = trying.input.lock().map(|i| i.clone()).unwrap_or_default();
                let file = keep(name, &input).map_or_else(|e| e.to_string(), |f| f.display().to_string());
                eprintln!("error: {name}: input {now} takes longer than {INPUT_WITHIN:?}: {file}");
                std::process::exit(1);
            }
        }
    });
}

fn keep(name: &str, input: &[u8]) -> Result<PathBuf> {
    let folder = folder("found");
    std::fs::create_dir_all(&folder)?;
    let sum = input.iter().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3));
    let file = folder.join(format!("{name}-{sum:016x}"));
    std::fs::write(&file, input).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn files(folder: &Path) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|e| e.path()).collect();
    paths.sort();
    paths.iter().filter_map(|p| std::fs::read(p).ok()).collect()
}

fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) * 1024
}
