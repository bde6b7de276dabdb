//! The largest processes, by CPU time and by memory.
//!
//! Invariant: command lines and environments are not read: they hold secrets.
//! Not here: a process's history; rates are the store's business.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;

use procfs::CurrentSI;
use procfs::process::{Process as Proc, all_processes};

use crate::bindings::belfry::plugin::system::Process;

/// A process as one walk over `/proc` saw it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    pid: u32,
    name: String,
    uid: Option<u32>,
    cpu_s: f64,
    resident_bytes: u64,
    threads: u32,
    started_ms: i64,
}

pub(super) fn read() -> Result<Arc<[Seen]>, String> {
    let boot_s = procfs::KernelStats::current().map_err(|error| format!("/proc/stat: {error}"))?.btime;
    let ticks = procfs::ticks_per_second() as f64;
    let page = procfs::page_size();
    let all = all_processes().map_err(|error| format!("/proc: {error}"))?;
    // Processes end while they are read: those are left out.
    let seen = all.flatten().filter_map(|process| {
        let stat = process.stat().ok()?;
        Some(Seen {
            pid: u32::try_from(stat.pid).ok()?,
            uid: process.uid().ok(),
            cpu_s: (stat.utime + stat.stime) as f64 / ticks,
            resident_bytes: stat.rss * page,
            threads: u32::try_from(stat.num_threads).unwrap_or(0),
            started_ms: boot_s as i64 * 1000 + (stat.starttime as f64 / ticks * 1000.0) as i64,
            name: stat.comm,
        })
    });
    Ok(seen.collect())
}

/// The `limit` with the most CPU time and the `limit` with the most memory, each once, by CPU time.
pub(super) fn largest(all: &[Seen], limit: usize) -> Vec<Process> {
    let users = users();
    ranked(all, limit)
        .into_iter()
        .map(|seen| Process {
            pid: seen.pid,
            name: seen.name.clone(),
            user: seen.uid.map_or_else(String::new, |uid| users.get(&uid).cloned().unwrap_or_else(|| uid.to_string())),
            cpu_s: seen.cpu_s,
            resident_bytes: seen.resident_bytes,
            threads: seen.threads,
            // Other users' are hidden from a host that does not run as root.
            open_files: i32::try_from(seen.pid)
                .ok()
                .and_then(|pid| Proc::new(pid).ok())
                .and_then(|process| process.fd_count().ok())
                .and_then(|count| u32::try_from(count).ok()),
            started_ms: seen.started_ms,
        })
        .collect()
}

fn ranked(all: &[Seen], limit: usize) -> Vec<&Seen> {
    let mut by_cpu: Vec<&Seen> = all.iter().collect();
    let mut by_memory = by_cpu.clone();
    by_cpu.sort_by(|a, b| b.cpu_s.total_cmp(&a.cpu_s).then(a.pid.cmp(&b.pid)));
    by_memory.sort_by(|a, b| b.resident_bytes.cmp(&a.resident_bytes).then(a.pid.cmp(&b.pid)));
    let kept: Vec<u32> = by_cpu.iter().take(limit).chain(by_memory.iter().take(limit)).map(|seen| seen.pid).collect();
    by_cpu.retain(|seen| kept.contains(&seen.pid));
    by_cpu
}

fn users() -> HashMap<u32, String> {
    fs::read_to_string("/etc/passwd").map(|text| parse_users(&text)).unwrap_or_default()
}

fn parse_users(passwd: &str) -> HashMap<u32, String> {
    passwd
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            Some((fields.nth(1)?.parse().ok()?, name.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(pid: u32, cpu_s: f64, resident_bytes: u64) -> Seen {
        Seen { pid, name: format!("p{pid}"), uid: Some(0), cpu_s, resident_bytes, threads: 1, started_ms: 0 }
    }

    #[test]
    fn both_rankings_are_there_and_none_twice() {
        let all = [seen(1, 9.0, 1), seen(2, 1.0, 900), seen(3, 5.0, 5), seen(4, 8.0, 800), seen(5, 0.0, 0)];
        let pids: Vec<_> = ranked(&all, 2).iter().map(|seen| seen.pid).collect();
        assert_eq!(pids, [1, 4, 2]);
        assert!(ranked(&all, 0).is_empty());
    }

    #[test]
    fn users_are_named_as_the_machine_names_them() {
        let users = parse_users("root:x:0:0:root:/root:/bin/sh\nbad line\nmary:x:1000:1000::/home/mary:/bin/sh\n");
        assert_eq!(
            (users.get(&0).map(String::as_str), users.get(&1000).map(String::as_str)),
            (Some("root"), Some("mary"))
        );
        assert_eq!(users.len(), 2);
    }

    #[test]
    fn this_test_is_a_process() {
        let all = read().expect("processes");
        let own = all.iter().find(|seen| seen.pid == std::process::id()).expect("this one");
        assert!(own.resident_bytes > 0 && own.threads > 0 && own.started_ms > 0, "{own:?}");
    }
}
