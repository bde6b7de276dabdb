//! The servers under test, and what the system says of their processes.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::client::Client;

const UP_WITHIN: Duration = Duration::from_secs(120);
const END_WITHIN: Duration = Duration::from_secs(60);
/// What `/proc/PID/stat` counts in, on every Linux there is.
const TICK: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Belfry,
    VictoriaMetrics,
    Prometheus,
}

/// A server that can be started.
pub struct Server {
    pub kind: Kind,
    program: PathBuf,
}

/// Belfry and the peers that are there.
pub fn all(belfry: &Path, alone: bool) -> Vec<Server> {
    let mut all = vec![Server { kind: Kind::Belfry, program: belfry.to_owned() }];
    let folder = std::env::var_os("BELFRY_PEERS").map(PathBuf::from);
    for (kind, name) in [(Kind::VictoriaMetrics, "victoria-metrics"), (Kind::Prometheus, "prometheus")] {
        if alone {
            continue;
        }
        match folder.as_ref().map(|f| f.join(name)).filter(|p| p.is_file()) {
            Some(program) => all.push(Server { kind, program }),
            None => eprintln!("{name} is left out: BELFRY_PEERS names no folder with it"),
        }
    }
    all
}

impl Server {
    pub fn belfry(program: &Path) -> Self {
        Self { kind: Kind::Belfry, program: program.to_owned() }
    }

    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::Belfry => "belfry",
            Kind::VictoriaMetrics => "victoria-metrics",
            Kind::Prometheus => "prometheus",
        }
    }

    /// Starts it over `folder`; answers when it is ready, and how long that took.
    pub fn start(&self, folder: &Path) -> Result<(Running, Duration)> {
        self.start_with(folder, "", &[])
    }

    /// As [`Server::start`], but samples of any age are taken and kept.
    pub fn start_to_keep(&self, folder: &Path) -> Result<(Running, Duration)> {
        match self.kind {
            Kind::Belfry => self.start_with(folder, "[storage]\nretention = \"forever\"\n", &[]),
            Kind::VictoriaMetrics => self.start_with(folder, "", &[]),
            Kind::Prometheus => {
                let config = "storage: {tsdb: {out_of_order_time_window: 3h}}\n";
                self.start_with(folder, config, &["--storage.tsdb.retention.time=10y", "--web.enable-admin-api"])
            }
        }
    }

    /// Starts it with room for so many series.
    pub fn start_with_room(&self, folder: &Path, series: usize) -> Result<Running> {
        let config = match self.kind {
            Kind::Belfry => format!("[storage]\nseries_limit = {series}\n"),
            Kind::VictoriaMetrics | Kind::Prometheus => String::new(),
        };
        Ok(self.start_with(folder, &config, &[])?.0)
    }

    /// Starts it, with `targets` to scrape every second.
    pub fn start_to_scrape(&self, folder: &Path, targets: &[String]) -> Result<Running> {
        let started = match self.kind {
            Kind::Belfry => {
                let config =
                    format!("[[scrape]]\njob = \"node\"\ninterval = \"1s\"\ntimeout = \"1s\"\ntargets = {targets:?}\n");
                self.start_with(folder, &config, &[])
            }
            Kind::VictoriaMetrics | Kind::Prometheus => {
                let config = format!(
                    "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
                     scrape_configs: [{{job_name: node, static_configs: [{{targets: {targets:?}}}]}}]\n"
                );
                let file = folder.join("scrape.yml");
                std::fs::write(&file, &config)?;
                match self.kind {
                    Kind::Prometheus => self.start_with(folder, &config, &[]),
                    _ => self.start_with(folder, "", &[&format!("-promscrape.config={}", file.display())]),
                }
            }
        };
        started.map(|(running, _)| running)
    }

    fn start_with(&self, folder: &Path, configuration: &str, arguments: &[&str]) -> Result<(Running, Duration)> {
        let address = free_address()?;
        let data = folder.join("data");
        let mut command = Command::new(&self.program);
        match self.kind {
            Kind::Belfry => {
                let config = folder.join("belfry.toml");
                std::fs::write(&config, configuration)?;
                command.arg("run").arg("--config").arg(config).arg("--data").arg(data);
                command.args(["--listen", &address]);
            }
            Kind::VictoriaMetrics => {
                command.arg(format!("-storageDataPath={}", data.display()));
                command.arg(format!("-httpListenAddr={address}")).arg("-retentionPeriod=10y");
            }
            Kind::Prometheus => {
                let config = folder.join("prometheus.yml");
                std::fs::write(&config, configuration)?;
                command.arg(format!("--config.file={}", config.display()));
                command.arg(format!("--storage.tsdb.path={}", data.display()));
                command.arg(format!("--web.listen-address={address}")).arg("--web.enable-remote-write-receiver");
            }
        }
        command.args(arguments);
        let ready = if self.kind == Kind::Belfry { "/ready" } else { "/-/ready" };
        launch(command, address, ready, folder)
    }
}

/// Starts `command`, which listens at `address`; answers when `ready` does with 200, and how long that took.
pub fn launch(mut command: Command, address: String, ready: &str, folder: &Path) -> Result<(Running, Duration)> {
    let log = std::fs::File::create(folder.join("log"))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let begin = Instant::now();
    let child = command.spawn().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    let mut running = Running { child, address };
    loop {
        let answered = Client::connect(&running.address).and_then(|mut c| c.get(ready));
        if answered.is_ok_and(|(status, _)| status == 200) {
            return Ok((running, begin.elapsed()));
        }
        if let Some(status) = running.child.try_wait()? {
            let said = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
            bail!("{:?} ended: {status}\n{said}", command.get_program());
        }
        if begin.elapsed() > UP_WITHIN {
            bail!("{:?} is not ready after {UP_WITHIN:?}", command.get_program());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A running server. Dropped, it is killed.
pub struct Running {
    child: Child,
    pub address: String,
}

impl Running {
    /// User and system time of all its threads. Fails where the system does not tell: nothing would look like little.
    pub fn cpu(&self) -> Result<Duration> {
        let file = format!("/proc/{}/stat", self.child.id());
        let stat = std::fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
        // Behind the name, which may hold anything, they are the 12th and 13th field.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: Vec<u32> = fields.skip(11).take(2).filter_map(|f| f.parse().ok()).collect();
        match ticks[..] {
            [user, system] => Ok(TICK * user.saturating_add(system)),
            _ => bail!("{file} does not tell the CPU time: {stat}"),
        }
    }

    /// Bytes of memory that are resident, files that are mapped included.
    pub fn resident(&self) -> Result<u64> {
        self.status("VmRSS:")
    }

    /// The most that were resident so far.
    pub fn resident_peak(&self) -> Result<u64> {
        self.status("VmHWM:")
    }

    fn status(&self, what: &str) -> Result<u64> {
        let file = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
        let line = status.lines().find_map(|l| l.strip_prefix(what)).unwrap_or_default();
        let found = line.split_whitespace().next().and_then(|n| n.parse::<u64>().ok());
        Ok(found.with_context(|| format!("{file} does not tell {what}"))? * 1024)
    }

    /// Signal 9.
    pub fn kill(mut self) {
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end, and waits.
    pub fn end(mut self) -> Result<()> {
        Command::new("kill").arg(self.child.id().to_string()).status()?;
        let begin = Instant::now();
        while self.child.try_wait()?.is_none() {
            if begin.elapsed() > END_WITHIN {
                bail!("it did not end in {END_WITHIN:?}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Of loopback, with a port that nobody has just now.
pub fn free_address() -> Result<String> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

/// Bytes of the files below a folder, as the disk holds them.
pub fn bytes_of(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|e| match e.metadata() {
        Ok(m) if m.is_dir() => bytes_of(&e.path()),
        Ok(m) => m.blocks() * 512,
        Err(_) => 0,
    });
    sizes.sum()
}
