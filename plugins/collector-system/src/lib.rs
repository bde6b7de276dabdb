//! This machine's CPU, load, memory, disks, network, processes, temperatures and uptime.
//!
//! Invariant: an area that is not granted is left out and said once; it never stops the others.
//! Not here: sampling and deltas (the host's sampler), rates (queries).

mod metrics;

use std::collections::BTreeSet;

use belfry_sdk::prelude::*;
use belfry_sdk::system::{Disk, Network};

/// The instance's config.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// A series for each core, beside the sum.
    pub per_core: bool,
    /// How many of the largest processes get series of their own; 0 for none.
    pub top_processes: u32,
    /// Areas to measure; all by default.
    pub areas: Vec<Area>,
    /// Mount points that begin with one of these are left out.
    pub ignore_mounts: Vec<String>,
    /// File systems that are left out.
    pub ignore_filesystems: Vec<String>,
    /// Interfaces that begin with one of these are left out.
    pub ignore_interfaces: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        let words = |list: &[&str]| list.iter().map(|w| (*w).to_owned()).collect();
        Self {
            per_core: true,
            top_processes: 0,
            areas: Area::ALL.to_vec(),
            ignore_mounts: words(&["/proc", "/sys", "/dev", "/run/user", "/snap"]),
            ignore_filesystems: words(&[
                "tmpfs", "devtmpfs", "squashfs", "overlay", "ramfs", "proc", "sysfs", "cgroup2",
            ]),
            ignore_interfaces: words(&["veth"]),
        }
    }
}

/// One area, as in `grants.system`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
pub enum Area {
    /// CPU and load.
    Cpu,
    /// Memory and swap.
    Memory,
    /// Disks.
    Disk,
    /// Interfaces.
    Network,
    /// Processes.
    Process,
    /// Temperatures.
    Sensors,
    /// Uptime and the machine's name.
    Host,
}

impl Area {
    const ALL: [Self; 7] =
        [Self::Cpu, Self::Memory, Self::Disk, Self::Network, Self::Process, Self::Sensors, Self::Host];

    fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Network => "network",
            Self::Process => "process",
            Self::Sensors => "sensors",
            Self::Host => "host",
        }
    }

    fn measure(self, config: &Config) -> Result<()> {
        match self {
            Self::Cpu => {
                metrics::cpus(&system::cpus()?, config.per_core);
                metrics::load(&system::load_average()?);
            }
            Self::Memory => metrics::memory(&system::memory_now()?),
            Self::Disk => metrics::disks(&config.disks(system::disks()?)),
            Self::Network => metrics::networks(&config.networks(system::networks()?)),
            Self::Process => metrics::processes(&system::processes(config.top_processes.max(1))?, config.top_processes),
            Self::Sensors => metrics::sensors(&system::sensors()?),
            Self::Host => metrics::host(&system::host_facts()?),
        }
        Ok(())
    }
}

impl Config {
    fn disks(&self, mut disks: Vec<Disk>) -> Vec<Disk> {
        let ignored = |d: &Disk| {
            d.total == 0
                || self.ignore_filesystems.contains(&d.filesystem)
                || self.ignore_mounts.iter().any(|m| d.mount == *m || d.mount.starts_with(&format!("{m}/")))
        };
        // A container's root is an overlay: leaving it out would leave nothing.
        disks.retain(|d| d.mount == "/" || !ignored(d));
        disks
    }

    fn networks(&self, mut networks: Vec<Network>) -> Vec<Network> {
        networks.retain(|n| !self.ignore_interfaces.iter().any(|i| n.name.starts_with(i.as_str())));
        networks
    }
}

/// The collector.
#[derive(Debug)]
pub struct SystemCollector {
    config: Config,
    /// Areas whose refusal was said already.
    refused: BTreeSet<Area>,
}

impl Plugin for SystemCollector {
    type Config = Config;

    fn describe() -> Descriptor {
        let mut descriptor = Descriptor::new(
            "collector-system",
            env!("CARGO_PKG_VERSION"),
            "CPU, memory, disks, network, processes and temperatures of this machine.",
        )
        .metrics(metrics::ALL)
        .config_schema(include_str!("../config.schema.json"))
        .default_interval_ms(5_000);
        for area in Area::ALL {
            descriptor = descriptor.want("system", area.as_str());
        }
        descriptor
    }

    fn configure(config: Config) -> Result<Self> {
        if config.areas.is_empty() {
            return Err(Error::config("`areas` is empty: nothing would be measured"));
        }
        Ok(Self { config, refused: BTreeSet::new() })
    }
}

impl Collector for SystemCollector {
    fn collect(&mut self) -> Result<()> {
        let mut failed = None;
        let mut measured = 0;
        for &area in &self.config.areas {
            match area.measure(&self.config) {
                Ok(()) => measured += 1,
                Err(e) if e.is_denied() => {
                    if self.refused.insert(area) {
                        info!("{} is not granted and is left out", area.as_str());
                    }
                }
                Err(e) => {
                    warn!("cannot read {}: {e}", area.as_str());
                    failed = Some(e);
                }
            }
        }
        match failed {
            // One broken area does not hide the others.
            Some(e) if measured == 0 => Err(e),
            _ if measured == 0 => Err(Error::Denied("no area of `system` is granted".into())),
            _ => Ok(()),
        }
    }
}

belfry_sdk::export!(SystemCollector: collector);

#[cfg(test)]
mod tests;
