//! The metrics, and what of the host's facts goes into them.
//!
//! Not here: host calls.

use belfry_sdk::system::{Cpu, Disk, HostInfo, Load, Memory, Network, Process, Sensor};
use belfry_sdk::{Counter, Gauge, Info, Metric};

/// The name that the host gives to the sum over all cores.
const SUM: &str = "total";

static CPU_USAGE: Gauge = Gauge::new("system_cpu_usage_percent", "Busy share of a core.").unit("percent");
static CPU_SECONDS: Counter =
    Counter::new("system_cpu_seconds_total", "CPU time by what it was spent on, over all cores.").unit("seconds");
static CPU_FREQUENCY: Gauge = Gauge::new("system_cpu_frequency_hertz", "Clock of a core.").unit("hertz");
static CPU_COUNT: Gauge = Gauge::new("system_cpu_count", "Cores.");
static LOAD: Gauge = Gauge::new("system_load_average", "Runnable tasks, averaged over 1m, 5m or 15m.");
static MEMORY: Gauge =
    Gauge::new("system_memory_usage_bytes", "Memory by type: used, available, free, cached, buffers.").unit("bytes");
static MEMORY_TOTAL: Gauge = Gauge::new("system_memory_total_bytes", "Installed memory.").unit("bytes");
static MEMORY_USED_PERCENT: Gauge = Gauge::new("system_memory_usage_percent", "Used share of memory.").unit("percent");
static SWAP: Gauge = Gauge::new("system_swap_usage_bytes", "Swap by type: used, free.").unit("bytes");
static DISK: Gauge = Gauge::new("system_disk_usage_bytes", "Disk space by type: used, free, total.").unit("bytes");
static DISK_PERCENT: Gauge = Gauge::new("system_disk_usage_percent", "Used share of a disk.").unit("percent");
static DISK_IO_BYTES: Counter =
    Counter::new("system_disk_io_bytes_total", "Bytes read from and written to a device.").unit("bytes");
static DISK_IO_OPERATIONS: Counter =
    Counter::new("system_disk_io_operations_total", "Reads from and writes to a device.");
static DISK_IO_TIME: Counter =
    Counter::new("system_disk_io_time_seconds_total", "Time a device was busy.").unit("seconds");
static NETWORK_BYTES: Counter =
    Counter::new("system_network_traffic_bytes_total", "Bytes through an interface by direction.").unit("bytes");
static NETWORK_PACKETS: Counter =
    Counter::new("system_network_packets_total", "Packets through an interface by direction.");
static NETWORK_ERRORS: Counter = Counter::new("system_network_errors_total", "Errors of an interface by direction.");
static PROCESS_CPU: Counter =
    Counter::new("system_process_cpu_seconds_total", "CPU time of one of the largest processes.").unit("seconds");
static PROCESS_MEMORY: Gauge =
    Gauge::new("system_process_memory_bytes", "Resident memory of one of the largest processes.").unit("bytes");
static PROCESS_THREADS: Gauge = Gauge::new("system_process_threads", "Threads of one of the largest processes.");
static TEMPERATURE: Gauge = Gauge::new("system_temperature_celsius", "What a sensor shows.").unit("celsius");
static UPTIME: Gauge = Gauge::new("system_uptime_seconds", "Since the machine was started.").unit("seconds");
static HOST: Info = Info::new("system_info", "Name, system and kernel of the machine.");

/// As the descriptor names them.
pub const ALL: &[&dyn Metric] = &[
    &CPU_USAGE,
    &CPU_SECONDS,
    &CPU_FREQUENCY,
    &CPU_COUNT,
    &LOAD,
    &MEMORY,
    &MEMORY_TOTAL,
    &MEMORY_USED_PERCENT,
    &SWAP,
    &DISK,
    &DISK_PERCENT,
    &DISK_IO_BYTES,
    &DISK_IO_OPERATIONS,
    &DISK_IO_TIME,
    &NETWORK_BYTES,
    &NETWORK_PACKETS,
    &NETWORK_ERRORS,
    &PROCESS_CPU,
    &PROCESS_MEMORY,
    &PROCESS_THREADS,
    &TEMPERATURE,
    &UPTIME,
    &HOST,
];

/// Counts of bytes and the like; exact up to 2^53.
fn count(n: u64) -> f64 {
    n as f64
}

fn percent(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| 100.0 * count(part) / count(whole))
}

/// Picks one of a core's times.
type Seconds = fn(&Cpu) -> f64;

/// CPU time and usage. A host that has no row for the sum gets one here.
pub fn cpus(cpus: &[Cpu], per_core: bool) {
    let cores: Vec<&Cpu> = cpus.iter().filter(|c| c.core != SUM).collect();
    if cores.is_empty() {
        return;
    }
    let mean = cores.iter().map(|c| c.usage_percent).sum::<f64>() / cores.len() as f64;
    let total = cpus.iter().find(|c| c.core == SUM);
    CPU_USAGE.with([("core", SUM)]).set(total.map_or(mean, |t| t.usage_percent));
    CPU_COUNT.set(cores.len() as f64);
    let spent = |of: Seconds| total.map_or_else(|| cores.iter().map(|c| of(c)).sum(), of);
    let modes: [(&str, Seconds); 6] = [
        ("user", |c| c.user_s),
        ("system", |c| c.system_s),
        ("idle", |c| c.idle_s),
        ("iowait", |c| c.iowait_s),
        ("steal", |c| c.steal_s),
        ("other", |c| c.other_s),
    ];
    for (mode, of) in modes {
        CPU_SECONDS.with([("mode", mode)]).set_total(spent(of));
    }
    if per_core {
        for core in cores {
            let labels = [("core", core.core.as_str())];
            CPU_USAGE.with(labels).set(core.usage_percent);
            if core.frequency_mhz > 0 {
                CPU_FREQUENCY.with(labels).set(count(core.frequency_mhz) * 1e6);
            }
        }
    }
}

/// Load averages.
pub fn load(load: &Load) {
    for (period, value) in [("1m", load.one), ("5m", load.five), ("15m", load.fifteen)] {
        LOAD.with([("period", period)]).set(value);
    }
}

/// Memory and swap.
pub fn memory(m: &Memory) {
    let types =
        [("used", m.used), ("available", m.available), ("free", m.free), ("cached", m.cached), ("buffers", m.buffers)];
    for (kind, bytes) in types {
        MEMORY.with([("type", kind)]).set(count(bytes));
    }
    MEMORY_TOTAL.set(count(m.total));
    if let Some(used) = percent(m.used, m.total) {
        MEMORY_USED_PERCENT.set(used);
    }
    if m.swap_total > 0 {
        SWAP.with([("type", "used")]).set(count(m.swap_used));
        SWAP.with([("type", "free")]).set(count(m.swap_total.saturating_sub(m.swap_used)));
    }
}

/// Space by mount, I/O by device.
pub fn disks(disks: &[Disk]) {
    for d in disks {
        for (kind, bytes) in [("used", d.used), ("free", d.free), ("total", d.total)] {
            DISK.with([("path", d.mount.as_str()), ("type", kind)]).set(count(bytes));
        }
        if let Some(used) = percent(d.used, d.used.saturating_add(d.free)) {
            DISK_PERCENT.with([("path", d.mount.as_str())]).set(used);
        }
        // Two mounts of one device set the same series to the same value: within a call a series is pushed once.
        let device = d.device.as_str();
        for (direction, bytes, operations) in [("read", d.read_bytes, d.reads), ("write", d.written_bytes, d.writes)] {
            let labels = [("device", device), ("direction", direction)];
            DISK_IO_BYTES.with(labels).set_total(count(bytes));
            DISK_IO_OPERATIONS.with(labels).set_total(count(operations));
        }
        DISK_IO_TIME.with([("device", device)]).set_total(d.io_s);
    }
}

/// Interfaces.
pub fn networks(networks: &[Network]) {
    for n in networks {
        let directions = [
            ("receive", n.received_bytes, n.received_packets, n.receive_errors),
            ("transmit", n.sent_bytes, n.sent_packets, n.send_errors),
        ];
        for (direction, bytes, packets, errors) in directions {
            let labels = [("interface", n.name.as_str()), ("direction", direction)];
            NETWORK_BYTES.with(labels).set_total(count(bytes));
            NETWORK_PACKETS.with(labels).set_total(count(packets));
            NETWORK_ERRORS.with(labels).set_total(count(errors));
        }
    }
}

/// The largest processes, when asked for.
pub fn processes(processes: &[Process], top: u32) {
    if top == 0 {
        return;
    }
    for p in processes {
        let pid = p.pid.to_string();
        let labels = [("name", p.name.as_str()), ("pid", pid.as_str())];
        PROCESS_CPU.with(labels).set_total(p.cpu_s);
        PROCESS_MEMORY.with(labels).set(count(p.resident_bytes));
        PROCESS_THREADS.with(labels).set(f64::from(p.threads));
    }
}

/// Temperatures.
pub fn sensors(sensors: &[Sensor]) {
    for s in sensors.iter().filter(|s| s.celsius.is_finite()) {
        TEMPERATURE.with([("sensor", s.name.as_str())]).set(s.celsius);
    }
}

/// Uptime and identity.
pub fn host(host: &HostInfo) {
    UPTIME.set(count(host.uptime_s));
    HOST.set([("host", host.name.as_str()), ("os", host.os.as_str()), ("kernel", host.kernel.as_str())]);
}
