//! The runtime: one engine, one compiler, one of each shared capability, for all plugins.
//!
//! Not here: which plugins there are (`belfry` holds them), when they are loaded.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::crypto::CryptoProvider;
use wasmtime::Engine;
use wasmtime::component::Linker;

use crate::cache::Cache;
use crate::capabilities::grants;
use crate::capabilities::http::{HttpEgress, HttpSettings};
use crate::capabilities::log::LogRing;
use crate::capabilities::mail::{Mailer, SmtpSettings};
use crate::capabilities::system::SystemSampler;
use crate::capabilities::{Shared, SharedRef};
use crate::compile::{CompileMode, Compiler};
use crate::component::Linked;
use crate::convert;
use crate::engine::{self, EngineSettings, Ticker};
use crate::error::LoadError;
use crate::inspect::inspect;
use crate::plugin::Plugin;
use crate::prepared::Prepared;
use crate::services::HostServices;
use crate::spec::{ComponentSource, PluginSpec};
use crate::state::{self, InstanceState};

/// Bytes of a component file: Python's are 18 MB.
const COMPONENT_BYTES_MAX: usize = 128 << 20;

/// Answers the component of a built-in plugin by its name.
pub type FindBuiltin = Arc<dyn Fn(&str) -> Option<Vec<u8>> + Send + Sync>;

/// Where built-in components come from.
#[derive(Clone)]
pub enum Builtins {
    /// `NAME.wasm` in a folder.
    Folder(PathBuf),
    /// The binary carries them: by name.
    Embedded(FindBuiltin),
}

/// Settings of the runtime.
#[derive(Clone)]
pub struct RuntimeConfig {
    /// Compiled components are kept here; made if it is not there, and must be private to this user.
    pub cache_dir: PathBuf,
    /// The most memory that any plugin can be allowed (`[plugins] memory_slot`).
    pub memory_slot_bytes: usize,
    /// Instances at a time (`[plugins] instances`).
    pub instances_max: u32,
    /// Where components are compiled.
    pub compile: CompileMode,
    /// Where mail goes out, if it does.
    pub smtp: Option<SmtpSettings>,
    /// Trust, resolver and traces of plugins' HTTP.
    pub http: HttpSettings,
    /// Where `builtin:NAME` is looked for.
    pub builtins: Builtins,
}

impl RuntimeConfig {
    /// The most memory that any plugin can be allowed, unless told otherwise: QuickJS and Python fit.
    pub const MEMORY_SLOT_BYTES: usize = 256 << 20;
    /// Instances at a time, unless told otherwise.
    pub const INSTANCES_MAX: u32 = 256;

    /// The defaults, with a cache, a compiler and built-ins of the caller's.
    pub fn new(cache_dir: PathBuf, compile: CompileMode, builtins: Builtins) -> Self {
        Self {
            cache_dir,
            memory_slot_bytes: Self::MEMORY_SLOT_BYTES,
            instances_max: Self::INSTANCES_MAX,
            compile,
            smtp: None,
            http: HttpSettings::default(),
            builtins,
        }
    }
}

/// What plugins and their instances hold on to.
pub(crate) struct Inner {
    pub engine: Engine,
    pub ticker: Ticker,
    pub shared: SharedRef,
    pub random: CryptoProvider,
    linker: Linker<InstanceState>,
    compiler: Compiler,
    builtins: Builtins,
    memory_slot_bytes: usize,
}

/// Loads plugins.
pub struct Runtime {
    inner: Arc<Inner>,
}

impl Runtime {
    /// Makes the engine and its pool, and starts the thread that ticks.
    pub fn new(config: RuntimeConfig, services: HostServices) -> Result<Arc<Self>, LoadError> {
        let settings =
            EngineSettings { memory_slot_bytes: config.memory_slot_bytes, instances_max: config.instances_max };
        let engine = engine::engine(settings).map_err(|e| {
            failed(
                format!("cannot make the WebAssembly engine: {e:#}"),
                format!(
                    "it reserves address space for {} instances: lower `[plugins] instances`, or raise `ulimit -v` and \
                     `vm.max_map_count`",
                    config.instances_max
                ),
            )
        })?;
        let random = rustls::crypto::ring::default_provider();
        let cache = Cache::open(&config.cache_dir, &random).map_err(|e| {
            failed(
                format!("cannot use the cache of compiled plugins {}: {e}", config.cache_dir.display()),
                "it must be a folder that belongs to the user Belfry runs as, with mode 0700",
            )
        })?;
        let mut linker = Linker::new(&engine);
        state::add_capabilities(&mut linker)
            .map_err(|e| failed(format!("cannot link the host's capabilities: {e:#}"), "this is a bug of Belfry"))?;
        let ticker = Ticker::start(&engine)
            .map_err(|e| failed(format!("cannot start a thread: {e}"), "raise the limit of threads (`ulimit -u`)"))?;
        let http = HttpEgress::with(config.http)
            .map_err(|e| failed(format!("cannot set up plugins' HTTP: {e}"), "check the CA file of `[plugins]`"))?;
        let shared = Arc::new(Shared { services, http, system: SystemSampler::new(), mail: Mailer::new(config.smtp) });
        let compiler = Compiler::new(engine.clone(), settings, cache, config.compile);
        Ok(Arc::new(Self {
            inner: Arc::new(Inner {
                engine,
                ticker,
                shared,
                random,
                linker,
                compiler,
                builtins: config.builtins,
                memory_slot_bytes: config.memory_slot_bytes,
            }),
        }))
    }

    /// Compile → instantiate → describe → check the config → configure.
    pub async fn load(&self, spec: PluginSpec) -> Result<Plugin, LoadError> {
        Plugin::load(self.inner.clone(), spec).await
    }
}

impl Inner {
    /// Everything up to the first instance.
    pub(crate) async fn prepare(
        self: &Arc<Self>,
        spec: PluginSpec,
        ring: Arc<Mutex<LogRing>>,
    ) -> Result<Arc<Prepared>, LoadError> {
        let named = |mut e: LoadError| {
            e.plugin.clone_from(&spec.name);
            e
        };
        if spec.limits.memory_bytes > self.memory_slot_bytes {
            return Err(named(failed(
                format!(
                    "its `limits.memory` ({}) is more than the engine gives any plugin ({})",
                    convert::bytes(spec.limits.memory_bytes),
                    convert::bytes(self.memory_slot_bytes)
                ),
                "lower it, or raise `[plugins] memory_slot`",
            )));
        }
        if let Err((reason, help)) = grants::check(&spec.grants, &spec.secrets) {
            return Err(named(failed(reason, help)));
        }
        let bytes = self.read(&spec.source).await.map_err(named)?;
        let info = inspect(&bytes).map_err(named)?;
        let component = self.compiler.component(bytes, &info.digest).await.map_err(|reason| {
            named(failed(
                format!("it cannot be compiled: {reason}"),
                "build it again; if it loads nowhere, its toolchain is at fault",
            ))
        })?;
        let linked = Linked::new(&self.linker, &component, info).map_err(|e| {
            named(failed(
                format!("it does not fit the contract: {e:#}"),
                "build it again with the SDK of this Belfry's version",
            ))
        })?;
        Ok(Prepared::new(self.clone(), linked, spec, ring))
    }

    async fn read(&self, source: &ComponentSource) -> Result<Vec<u8>, LoadError> {
        let path = match (source, &self.builtins) {
            (ComponentSource::File(path), _) => path.clone(),
            (ComponentSource::Builtin(name), Builtins::Embedded(find)) => {
                return find(name).ok_or_else(|| {
                    failed(
                        format!("there is no built-in plugin `{name}`"),
                        "`belfry plugin list` prints those that this binary carries",
                    )
                });
            }
            (ComponentSource::Builtin(name), Builtins::Folder(folder)) => {
                let path = folder.join(format!("{name}.wasm"));
                if !path.is_file() {
                    return Err(no_builtin(name, folder));
                }
                path
            }
        };
        let shown = path.display().to_string();
        let read = tokio::task::spawn_blocking(move || {
            let bytes = std::fs::metadata(&path)?.len();
            if bytes > COMPONENT_BYTES_MAX as u64 {
                return Err(std::io::Error::other(format!("it has {bytes} bytes; at most {COMPONENT_BYTES_MAX}")));
            }
            std::fs::read(&path)
        });
        match read.await {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(e)) => Err(failed(format!("cannot read {shown}: {e}"), "check the path and its permissions")),
            Err(e) => Err(failed(format!("cannot read {shown}: {e}"), "try again")),
        }
    }
}

fn no_builtin(name: &str, folder: &std::path::Path) -> LoadError {
    let mut there: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.strip_suffix(".wasm").map(str::to_owned))
        .collect();
    there.sort();
    let help = if there.is_empty() {
        format!("no built-in plugin is in {}: build them with `cargo xtask plugins`", folder.display())
    } else {
        format!("there are {}", there.join(", "))
    };
    failed(format!("there is no built-in plugin `{name}`"), help)
}

fn failed(reason: impl Into<String>, help: impl Into<String>) -> LoadError {
    LoadError { plugin: "runtime".to_owned(), reason: reason.into(), help: help.into() }
}
