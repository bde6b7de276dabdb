//! Memory, load, network, sensors, and what the machine is.
//!
//! Not here: CPUs, disks, processes (files of their own).

use std::fs;
use std::path::Path;

use procfs::{Current, CurrentSI};

use crate::bindings::belfry::plugin::system::{HostInfo, Load, Memory, Network, Sensor};

pub(super) fn load() -> Result<Load, String> {
    let load = procfs::LoadAverage::current().map_err(|error| format!("/proc/loadavg: {error}"))?;
    Ok(Load { one: f64::from(load.one), five: f64::from(load.five), fifteen: f64::from(load.fifteen) })
}

/// `used` is what cannot be had: `total - available` (the kernel's own estimate, which counts caches as available).
pub(super) fn memory() -> Result<Memory, String> {
    let m = procfs::Meminfo::current().map_err(|error| format!("/proc/meminfo: {error}"))?;
    let cached = m.cached + m.s_reclaimable.unwrap_or(0);
    // Kernels before 3.14 do not estimate.
    let available = m.mem_available.unwrap_or(m.mem_free + m.buffers + cached).min(m.mem_total);
    Ok(Memory {
        total: m.mem_total,
        used: m.mem_total - available,
        available,
        free: m.mem_free,
        cached,
        buffers: m.buffers,
        swap_total: m.swap_total,
        swap_used: m.swap_total.saturating_sub(m.swap_free),
    })
}

pub(super) fn networks() -> Result<Vec<Network>, String> {
    let devices = procfs::net::dev_status().map_err(|error| format!("/proc/net/dev: {error}"))?;
    let mut networks: Vec<_> = devices
        .into_values()
        .map(|d| Network {
            name: d.name,
            received_bytes: d.recv_bytes,
            sent_bytes: d.sent_bytes,
            received_packets: d.recv_packets,
            sent_packets: d.sent_packets,
            receive_errors: d.recv_errs,
            send_errors: d.sent_errs,
        })
        .collect();
    networks.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(networks)
}

/// Temperatures; empty on most virtual machines.
pub(super) fn sensors() -> Vec<Sensor> {
    let Ok(components) = sysinfo::Components::new_with_refreshed_list() else { return Vec::new() };
    <[sysinfo::Component]>::iter(&components)
        .filter_map(|component| {
            let celsius = f64::from(component.temperature()?);
            celsius.is_finite().then(|| Sensor { name: component.label().to_owned(), celsius })
        })
        .collect()
}

pub(super) fn host() -> Result<HostInfo, String> {
    let read = |path: &str| {
        fs::read_to_string(path).map(|text| text.trim().to_owned()).map_err(|error| format!("{path}: {error}"))
    };
    let stats = procfs::KernelStats::current().map_err(|error| format!("/proc/stat: {error}"))?;
    let uptime = procfs::Uptime::current().map_err(|error| format!("/proc/uptime: {error}"))?;
    let release = read("/etc/os-release").unwrap_or_default();
    Ok(HostInfo {
        name: read("/proc/sys/kernel/hostname")?,
        os: os_name(&release).unwrap_or_else(|| "Linux".to_owned()),
        kernel: read("/proc/sys/kernel/osrelease")?,
        uptime_s: uptime.uptime as u64,
        boot_ms: stats.btime as i64 * 1000,
        container: is_container(),
    })
}

/// `PRETTY_NAME` of os-release(5).
fn os_name(release: &str) -> Option<String> {
    let value = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    let name = value.trim_matches(['"', '\'']);
    (!name.is_empty()).then(|| name.to_owned())
}

/// What Docker, Podman, systemd-nspawn and Kubernetes leave behind for programs to see.
fn is_container() -> bool {
    Path::new("/.dockerenv").exists()
        || Path::new("/run/.containerenv").exists()
        || Path::new("/run/systemd/container").exists()
        || std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_is_called_what_it_calls_itself() {
        assert_eq!(os_name("ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 13\"\n").as_deref(), Some("Debian GNU/Linux 13"));
        assert_eq!(os_name("ID=x\n"), None);
        assert_eq!(os_name("PRETTY_NAME=\"\"\n"), None);
    }
}
