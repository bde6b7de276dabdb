//! A folder with a config, a data folder and a plugin folder, in which the program is started.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::Belfry;

/// A command that should end by itself gets this long.
const END_WITHIN: Duration = Duration::from_secs(30);

/// A world of its own.
pub struct Home {
    folder: TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Home {
    /// With this config.
    pub fn new(config: &str) -> Self {
        let home = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        home.configure(config);
        home
    }

    /// Writes another config; what runs does not know of it yet.
    pub fn configure(&self, config: &str) {
        std::fs::write(self.config(), config).expect("the config is written");
    }

    /// The config file.
    pub fn config(&self) -> PathBuf {
        self.path("belfry.toml")
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Something in this world.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts Belfry on a port of its own; returns when it serves.
    pub async fn start(&self) -> Belfry {
        self.start_at("127.0.0.1:0").await
    }

    /// Starts Belfry at this address; returns when it serves.
    pub async fn start_at(&self, listen: &str) -> Belfry {
        self.start_as(&["run", "--config", "belfry.toml", "--data", "data", "--listen", listen], "data").await
    }

    /// Starts `belfry` with these arguments, in this folder; `data` is where it keeps its data then.
    pub async fn start_as(&self, arguments: &[&str], data: &str) -> Belfry {
        let mut command = self.command();
        command.args(arguments);
        Belfry::start(command, &self.path(data)).await
    }

    /// Runs `belfry` with these arguments, in this folder, until it ends.
    pub async fn run(&self, arguments: &[&str]) -> Ended {
        self.run_with(arguments, "").await
    }

    /// As [`Self::run`], with this on standard input.
    pub async fn run_with(&self, arguments: &[&str], input: &str) -> Ended {
        let run = async {
            let mut command = self.command();
            command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().expect("the program starts");
            let mut stdin = child.stdin.take().expect("piped");
            // Who does not read it is not tested for that; what these tests pour in fits into the pipe.
            let _ = stdin.write_all(input.as_bytes()).await;
            drop(stdin);
            child.wait_with_output().await.expect("its output is read")
        };
        let output = tokio::time::timeout(END_WITHIN, run).await;
        let output = output.unwrap_or_else(|_| panic!("`belfry {}` did not end", arguments.join(" ")));
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(program());
        command.current_dir(self.folder.path()).stdin(Stdio::null()).kill_on_drop(true);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("BELFRY_")) {
            command.env_remove(name);
        }
        // Compiled components are kept between tests: compiling is not what they test.
        command.env("XDG_CACHE_HOME", built("e2e-cache"));
        command
    }
}

/// Something in cargo's folder of this profile, beside which the tests were built.
fn built(name: &str) -> PathBuf {
    let exe = std::env::current_exe().expect("this test's own path");
    exe.parent().and_then(Path::parent).expect("cargo builds into a folder of a folder").join(name)
}

fn program() -> PathBuf {
    let program = built("belfry");
    assert!(program.is_file(), "build it first: cargo build -p belfry ({} is not there)", program.display());
    program
}

/// A built-in plugin as `cargo xtask plugins` leaves it.
pub(crate) fn component(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/plugins");
    let file = folder.join(format!("{name}.wasm"));
    assert!(file.is_file(), "build it first: cargo xtask plugins ({} is not there)", file.display());
    file
}

impl Home {
    /// Puts a built-in plugin's component into the plugin folder, as one move, with its settings beside it.
    pub fn drop_in(&self, name: &str, component_of: &str, settings: &str) {
        let folder = self.path("plugins");
        std::fs::create_dir_all(&folder).expect("the plugin folder");
        std::fs::write(folder.join(format!("{name}.toml")), settings).expect("the settings are written");
        let bytes = std::fs::read(component(component_of)).expect("the component is read");
        self.put_component(name, &bytes);
    }

    /// Puts these bytes into the plugin folder, as one move.
    pub fn put_component(&self, name: &str, bytes: &[u8]) {
        let aside = self.path(&format!("{name}.wasm.part"));
        std::fs::write(&aside, bytes).expect("the component is written");
        std::fs::rename(&aside, self.path("plugins").join(format!("{name}.wasm"))).expect("the component is moved");
    }
}
