//! `system`: facts about this machine, from one sampler that all plugins share.
//!
//! Invariant: what two plugins ask for within [`FRESH`] is read once, so that they disturb neither each other's deltas
//! nor the machine; a read that hangs (a dead disk) keeps one thread busy, never more.
//! Not here: other machines; what becomes of the numbers.
//!
//! - `cpu`: seconds by mode, usage
//! - `disk`: mounts and I/O counters
//! - `process`: the largest processes
//! - `facts`: memory, load, network, sensors, the machine itself

mod cpu;
mod disk;
mod facts;
mod process;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::{GuestError, denied, unavailable};
use crate::bindings::belfry::plugin::system::{self, Host};
use crate::state::InstanceState;

/// How long a reading is given to everyone who asks.
const FRESH: Duration = Duration::from_millis(200);
/// Processes are thousands of files to read.
const PROCESSES_FRESH: Duration = Duration::from_secs(1);
/// Of each ranking in one answer.
const PROCESSES_MAX: u32 = 500;

/// One area's last reading.
struct Cached<T> {
    last: Arc<Mutex<Option<(Instant, T)>>>,
    fresh: Duration,
}

impl<T: Clone + Send + 'static> Cached<T> {
    fn new(fresh: Duration, first: Option<T>) -> Self {
        Self { last: Arc::new(Mutex::new(first.map(|value| (Instant::now(), value)))), fresh }
    }

    /// The last reading while it is fresh; else `read` makes one, given the last. The lock goes along into the blocking
    /// thread: who gives up waiting does not let another thread into the same hanging read.
    async fn get(&self, read: impl FnOnce(Option<&T>) -> Result<T, String> + Send + 'static) -> Result<T, GuestError> {
        let mut last = Arc::clone(&self.last).lock_owned().await;
        if let Some((at, value)) = &*last
            && at.elapsed() < self.fresh
        {
            return Ok(value.clone());
        }
        let reading = tokio::task::spawn_blocking(move || {
            let value = read(last.as_ref().map(|(_, value)| value))?;
            *last = Some((Instant::now(), value.clone()));
            Ok::<_, String>(value)
        });
        match reading.await {
            Ok(value) => value.map_err(unavailable),
            Err(error) => Err(unavailable(format!("the reading failed: {error}"))),
        }
    }
}

/// The one sampler that all plugins share.
pub(crate) struct SystemSampler {
    cpus: Cached<cpu::Reading>,
    load: Cached<system::Load>,
    memory: Cached<system::Memory>,
    disks: Cached<Vec<system::Disk>>,
    networks: Cached<Vec<system::Network>>,
    processes: Cached<Arc<[process::Seen]>>,
    sensors: Cached<Vec<system::Sensor>>,
    host: Cached<system::HostInfo>,
}

impl SystemSampler {
    /// Reads the CPUs once, so that the first to ask gets a usage since now and not since the machine was started.
    pub(crate) fn new() -> Self {
        Self {
            cpus: Cached::new(FRESH, cpu::read(None).ok()),
            load: Cached::new(FRESH, None),
            memory: Cached::new(FRESH, None),
            disks: Cached::new(FRESH, None),
            networks: Cached::new(FRESH, None),
            processes: Cached::new(PROCESSES_FRESH, None),
            sensors: Cached::new(FRESH, None),
            host: Cached::new(FRESH, None),
        }
    }
}

impl InstanceState {
    fn system_granted(&self, area: &str) -> Result<(), GuestError> {
        if self.grants.system.iter().any(|granted| granted == area) {
            return Ok(());
        }
        Err(denied(&format!("system `{area}`"), &format!("add \"{area}\" to `grants.system`")))
    }
}

impl Host for InstanceState {
    async fn cpus(&mut self) -> Result<Vec<system::Cpu>, GuestError> {
        self.system_granted("cpu")?;
        Ok(self.shared.system.cpus.get(cpu::read).await?.cpus)
    }

    async fn load_average(&mut self) -> Result<system::Load, GuestError> {
        self.system_granted("cpu")?;
        self.shared.system.load.get(|_| facts::load()).await
    }

    async fn memory_now(&mut self) -> Result<system::Memory, GuestError> {
        self.system_granted("memory")?;
        self.shared.system.memory.get(|_| facts::memory()).await
    }

    async fn disks(&mut self) -> Result<Vec<system::Disk>, GuestError> {
        self.system_granted("disk")?;
        self.shared.system.disks.get(|_| disk::read()).await
    }

    async fn networks(&mut self) -> Result<Vec<system::Network>, GuestError> {
        self.system_granted("network")?;
        self.shared.system.networks.get(|_| facts::networks()).await
    }

    async fn processes(&mut self, limit: u32) -> Result<Vec<system::Process>, GuestError> {
        self.system_granted("process")?;
        let all = self.shared.system.processes.get(|_| process::read()).await?;
        let limit = limit.min(PROCESSES_MAX) as usize;
        let largest = tokio::task::spawn_blocking(move || process::largest(&all, limit));
        largest.await.map_err(|error| unavailable(format!("the reading failed: {error}")))
    }

    async fn sensors(&mut self) -> Result<Vec<system::Sensor>, GuestError> {
        self.system_granted("sensors")?;
        self.shared.system.sensors.get(|_| Ok(facts::sensors())).await
    }

    async fn host_facts(&mut self) -> Result<system::HostInfo, GuestError> {
        self.system_granted("host")?;
        self.shared.system.host.get(|_| facts::host()).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn what_is_asked_for_at_a_time_is_read_once() {
        let reads = Arc::new(AtomicU32::new(0));
        let cached = Cached::new(Duration::from_secs(60), None);
        let read = || {
            let reads = Arc::clone(&reads);
            cached.get(move |_| Ok(reads.fetch_add(1, Ordering::SeqCst)))
        };
        let (a, b, c) = tokio::join!(read(), read(), read());
        assert_eq!((a.expect("read"), b.expect("read"), c.expect("read")), (0, 0, 0));
        assert_eq!(reads.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_reading_gets_the_one_before_it_and_a_failure_keeps_that() {
        let cached = Cached::new(Duration::ZERO, Some(1));
        assert_eq!(cached.get(|last| Ok(last.copied().unwrap_or(0) + 1)).await.expect("read"), 2);
        assert_eq!(cached.get(|_| Err("gone".into())).await.expect_err("failed").message, "gone");
        assert_eq!(cached.get(|last| Ok(last.copied().unwrap_or(0) + 1)).await.expect("read"), 3);
    }

    #[tokio::test]
    async fn this_machine_has_all_that_the_contract_names() {
        let sampler = SystemSampler::new();
        let cpus = sampler.cpus.get(cpu::read).await.expect("cpus").cpus;
        assert!(!cpus.is_empty() && cpus[0].core == "0");
        assert!(cpus.iter().all(|cpu| cpu.idle_s > 0.0 && (0.0..=100.0).contains(&cpu.usage_percent)), "{cpus:?}");
        let memory = sampler.memory.get(|_| facts::memory()).await.expect("memory");
        assert!(memory.total > 0 && memory.used + memory.available == memory.total, "{memory:?}");
        assert!(sampler.load.get(|_| facts::load()).await.expect("load").one >= 0.0);
        let disks = sampler.disks.get(|_| disk::read()).await.expect("disks");
        assert!(disks.iter().all(|d| d.total > 0 && d.used <= d.total), "{disks:?}");
        let networks = sampler.networks.get(|_| facts::networks()).await.expect("networks");
        assert!(networks.iter().any(|n| n.name == "lo"), "{networks:?}");
        let all = sampler.processes.get(|_| process::read()).await.expect("processes");
        let largest = process::largest(&all, 3);
        assert!(!largest.is_empty() && largest.len() <= 6);
        let host = sampler.host.get(|_| facts::host()).await.expect("host");
        assert!(!host.name.is_empty() && !host.kernel.is_empty() && host.boot_ms > 0, "{host:?}");
    }
}
