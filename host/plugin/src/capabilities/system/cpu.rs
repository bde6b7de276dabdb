//! CPU seconds by mode, and how busy each core was since the reading before.
//!
//! Not here: load average (`facts`).

use std::fs;

use crate::bindings::belfry::plugin::system::Cpu;

/// `/proc/stat`'s line of one core, in seconds.
#[derive(Clone, Debug, Default, PartialEq)]
struct Seconds {
    user: f64,
    nice: f64,
    system: f64,
    idle: f64,
    iowait: f64,
    irq: f64,
    softirq: f64,
    steal: f64,
}

impl Seconds {
    fn total(&self) -> f64 {
        self.idle() + self.user + self.nice + self.system + self.irq + self.softirq + self.steal
    }

    fn idle(&self) -> f64 {
        self.idle + self.iowait
    }
}

/// One reading, with what the next needs.
#[derive(Clone)]
pub(super) struct Reading {
    cores: Vec<(String, Seconds)>,
    pub cpus: Vec<Cpu>,
}

/// Reads `/proc/stat`; usage is since `last`, or since the machine was started.
pub(super) fn read(last: Option<&Reading>) -> Result<Reading, String> {
    let text = fs::read_to_string("/proc/stat").map_err(|error| format!("/proc/stat: {error}"))?;
    let ticks = procfs::ticks_per_second();
    Ok(reading(parse(&text, ticks as f64), last, frequency_mhz))
}

/// A machine in a container or with cores switched off skips numbers: the line says which core it is of.
fn parse(text: &str, ticks_per_second: f64) -> Vec<(String, Seconds)> {
    text.lines()
        .filter_map(|line| {
            let (core, rest) = line.strip_prefix("cpu")?.split_once(' ')?;
            if core.is_empty() || !core.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            let mut fields = rest.split_whitespace().map(|n| n.parse::<u64>().unwrap_or(0) as f64 / ticks_per_second);
            // Columns that an old kernel lacks are 0. Guest time is part of `user` and `nice` already.
            let mut next = || fields.next().unwrap_or(0.0);
            let (user, nice, system, idle) = (next(), next(), next(), next());
            let (iowait, irq, softirq, steal) = (next(), next(), next(), next());
            Some((core.to_owned(), Seconds { user, nice, system, idle, iowait, irq, softirq, steal }))
        })
        .collect()
}

fn reading(cores: Vec<(String, Seconds)>, last: Option<&Reading>, mhz: impl Fn(&str) -> u64) -> Reading {
    let zero = Seconds::default();
    let cpus = cores
        .iter()
        .map(|(core, now)| {
            let before = last.and_then(|last| last.cores.iter().find(|(name, _)| name == core));
            Cpu {
                core: core.clone(),
                user_s: now.user,
                system_s: now.system,
                idle_s: now.idle,
                iowait_s: now.iowait,
                steal_s: now.steal,
                other_s: now.nice + now.irq + now.softirq,
                usage_percent: usage_percent(before.map_or(&zero, |(_, seconds)| seconds), now),
                frequency_mhz: mhz(core),
            }
        })
        .collect();
    Reading { cores, cpus }
}

/// Waiting for a disk is not being busy. iowait and idle can go back a little between two reads; so the clamp.
fn usage_percent(before: &Seconds, now: &Seconds) -> f64 {
    let total = now.total() - before.total();
    if total <= 0.0 {
        return 0.0;
    }
    (100.0 * (1.0 - (now.idle() - before.idle()) / total)).clamp(0.0, 100.0)
}

/// 0 where the kernel does not tell (most virtual machines).
fn frequency_mhz(core: &str) -> u64 {
    fs::read_to_string(format!("/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq"))
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok())
        .map_or(0, |khz| khz / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "cpu  1000 0 500 8000 200 0 0 300\ncpu0 500 0 250 4000 100 0 0 150 20 0\ncpu2 500 10 250 4000 100 5 6 150\nintr 1\n";

    #[test]
    fn seconds_are_by_mode_and_core() {
        let cpus = reading(parse(BEFORE, 100.0), None, |_| 2400).cpus;
        assert_eq!(cpus.iter().map(|c| c.core.as_str()).collect::<Vec<_>>(), ["0", "2"], "core 1 is switched off");
        let cpu = &cpus[0];
        assert_eq!((cpu.user_s, cpu.system_s, cpu.idle_s, cpu.iowait_s, cpu.steal_s), (5.0, 2.5, 40.0, 1.0, 1.5));
        assert!((cpus[1].other_s - 0.21).abs() < 1e-9, "nice and both kinds of interrupts");
        assert_eq!(cpu.frequency_mhz, 2400);
    }

    #[test]
    fn usage_is_since_the_reading_before() {
        let first = reading(parse(BEFORE, 100.0), None, |_| 0);
        // 100 ticks passed: 60 in user, 40 idle.
        let second = reading(parse("cpu0 560 0 250 4040 100 0 0 150\n", 100.0), Some(&first), |_| 0);
        assert!((second.cpus[0].usage_percent - 60.0).abs() < 1e-9);
        let third = reading(parse("cpu0 560 0 250 4040 100 0 0 150\n", 100.0), Some(&second), |_| 0);
        assert_eq!(third.cpus[0].usage_percent, 0.0, "no time passed");
        let back = reading(parse("cpu0 570 0 250 4030 100 0 0 150\ncpu1 1\n", 100.0), Some(&second), |_| 0);
        assert!((0.0..=100.0).contains(&back.cpus[0].usage_percent), "idle went back");
        assert_eq!(back.cpus[1].usage_percent, 100.0, "a core that was switched on: since then");
    }
}
