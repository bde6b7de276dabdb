//! From a component's bytes to code that can run: out of the cache, or compiled into it.
//!
//! Invariant: compiling happens in a child process unless told otherwise: it takes hundreds of megabytes that a host
//! would keep, and a compiler that dies takes nobody with it.
//! Not here: what makes a cached file trustworthy (`cache.rs`).

use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::cache::{Cache, CacheKey, write_private};
use crate::engine::{self, EngineSettings};
use crate::precompiled;

/// A compile that takes longer is stopped: Python's 18 MB take 10 s on a slow machine.
const COMPILE_TIME_MAX: Duration = Duration::from_secs(180);
/// At a time: one uses a core and up to half a gigabyte.
const COMPILES_AT_A_TIME: usize = 1;
/// Of what the compiler says.
const MESSAGE_BYTES_MAX: usize = 2_000;

/// Where components are compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompileMode {
    /// In a child process: `exe` with `args` must end in [`compile_main`].
    ChildProcess {
        /// The program, usually this one.
        exe: PathBuf,
        /// What makes it call [`compile_main`] with the arguments after these.
        args: Vec<String>,
    },
    /// In this process: for tests and tools.
    InProcess,
}

/// Compiles and remembers.
pub(crate) struct Compiler {
    engine: Engine,
    settings: EngineSettings,
    cache: Arc<Cache>,
    mode: CompileMode,
    permits: Semaphore,
}

impl Compiler {
    pub(crate) fn new(engine: Engine, settings: EngineSettings, cache: Cache, mode: CompileMode) -> Self {
        Self { engine, settings, cache: Arc::new(cache), mode, permits: Semaphore::new(COMPILES_AT_A_TIME) }
    }

    /// The component of `bytes`, whose digest the caller knows. The error is for people.
    pub(crate) async fn component(&self, bytes: Vec<u8>, digest: &str) -> Result<Component, String> {
        let key = CacheKey { digest: digest.to_owned(), engine: fingerprint(&self.engine) };
        if let Some(component) = self.cached(&key).await {
            return Ok(component);
        }
        let _permit = self.permits.acquire().await.map_err(|e| e.to_string())?;
        // Another load of the same component may have been first.
        if let Some(component) = self.cached(&key).await {
            return Ok(component);
        }
        let compiled = match &self.mode {
            CompileMode::InProcess => self.compile_here(bytes).await?,
            CompileMode::ChildProcess { exe, args } => self.compile_in_child(exe, args, bytes).await?,
        };
        let (cache, engine) = (self.cache.clone(), self.engine.clone());
        blocking(move || {
            let file = cache.put(&key, &compiled).map_err(|e| format!("cannot keep the compiled component: {e}"))?;
            precompiled::load(&engine, &file).map_err(|e| format!("cannot load the compiled component: {e:#}"))
        })
        .await
    }

    async fn cached(&self, key: &CacheKey) -> Option<Component> {
        let (cache, engine, key) = (self.cache.clone(), self.engine.clone(), key.clone());
        blocking(move || {
            let file = cache.get(&key).ok_or_else(String::new)?;
            precompiled::load(&engine, &file).map_err(|e| e.to_string())
        })
        .await
        .ok()
    }

    async fn compile_here(&self, bytes: Vec<u8>) -> Result<PathBuf, String> {
        let (engine, output) = (self.engine.clone(), self.cache.scratch("cwasm-tmp"));
        blocking(move || {
            let code = engine.precompile_component(&bytes).map_err(|e| format!("{e:#}"))?;
            write_private(&output, &code).map_err(|e| e.to_string())?;
            Ok(output)
        })
        .await
    }

    async fn compile_in_child(&self, exe: &Path, args: &[String], bytes: Vec<u8>) -> Result<PathBuf, String> {
        let input = Scratch(self.cache.scratch("wasm-tmp"));
        let output = Scratch(self.cache.scratch("cwasm-tmp"));
        let path = input.0.clone();
        blocking(move || write_private(&path, &bytes).map_err(|e| e.to_string())).await?;
        let settings = serde_json::to_string(&self.settings).map_err(|e| e.to_string())?;
        let child = tokio::process::Command::new(exe)
            .args(args)
            .arg(settings)
            .args([&input.0, &output.0])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| format!("cannot start the compiler {}: {e}", exe.display()))?;
        let done = tokio::time::timeout(COMPILE_TIME_MAX, child.wait_with_output())
            .await
            .map_err(|_| format!("compiling took longer than {COMPILE_TIME_MAX:?}"))?
            .map_err(|e| format!("lost the compiler: {e}"))?;
        if !done.status.success() {
            let said = String::from_utf8_lossy(&done.stderr);
            let said: String = said.trim().chars().take(MESSAGE_BYTES_MAX).collect();
            return Err(if said.is_empty() { format!("the compiler ended with {}", done.status) } else { said });
        }
        Ok(output.keep())
    }
}

/// A file that goes when this does.
struct Scratch(PathBuf);

impl Scratch {
    fn keep(mut self) -> PathBuf {
        std::mem::take(&mut self.0)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            let _ = std::fs::remove_file(&self.0);
        }
    }
}

async fn blocking<T: Send + 'static>(f: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(f).await.map_err(|e| e.to_string())?
}

/// Of everything compiled code depends on: wasmtime's version, its settings, the CPU's features.
fn fingerprint(engine: &Engine) -> u64 {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

/// Compiles one component and ends: what [`CompileMode::ChildProcess`] runs. The arguments are the engine's settings as
/// JSON, the component and the file to write; messages go to stderr.
pub fn compile_main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match compile_file(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            let _ = writeln!(std::io::stderr(), "{message}");
            ExitCode::FAILURE
        }
    }
}

fn compile_file(args: impl IntoIterator<Item = OsString>) -> Result<(), String> {
    let args: Vec<OsString> = args.into_iter().collect();
    let [settings, input, output] = args.as_slice() else {
        return Err("usage: SETTINGS COMPONENT OUTPUT".to_owned());
    };
    let settings: EngineSettings =
        serde_json::from_slice(settings.as_encoded_bytes()).map_err(|e| format!("bad engine settings: {e}"))?;
    let engine = engine::engine(settings).map_err(|e| format!("{e:#}"))?;
    let bytes = std::fs::read(input).map_err(|e| format!("cannot read {}: {e}", input.display()))?;
    let code = engine.precompile_component(&bytes).map_err(|e| format!("{e:#}"))?;
    write_private(Path::new(output), &code).map_err(|e| format!("cannot write {}: {e}", output.display()))
}
