//! What can stop a start beside the config itself: the components it names, the address, the data folder.
//!
//! Invariant: `belfry run` and `belfry check` say the same of it, with the place in the config.

use std::net::TcpListener;
use std::path::Path;

use belfry_config::types::{Backend, Config};
use belfry_config::{Level, Loaded, Place, Problem, Refused};
use belfry_store::RealDisk;

/// Is this file a component that Belfry can load?
pub fn component(file: &Path) -> Result<(), Refused> {
    let refused = |message: String, help: String| Refused { message, help };
    let bytes = std::fs::read(file)
        .map_err(|e| refused(format!("cannot read it: {e}"), "make it readable for Belfry".to_owned()))?;
    belfry_plugin::inspect(&bytes).map(drop).map_err(|e| refused(e.reason, e.help))
}

/// Listens at `[server] listen`.
pub fn listen(loaded: &Loaded) -> Result<TcpListener, Problem> {
    let listen = &loaded.config.server.listen;
    let bound = TcpListener::bind(listen).and_then(|l| l.set_nonblocking(true).map(|()| l));
    bound.map_err(|error| {
        let help = "is another Belfry running? stop it, or set `[server] listen` or --listen";
        problem(&loaded.places.listen, format!("cannot listen at {listen}: {error}"), help)
    })
}

/// Why the data folder cannot be opened. `None` when it is no matter of the folder.
pub fn data_folder(loaded: &Loaded, error: &anyhow::Error) -> Option<Problem> {
    let place = &loaded.places.storage;
    if let Some(error) = error.downcast_ref::<belfry_store::OpenError>() {
        return Some(problem(place, error.to_string(), error.help()));
    }
    let error = error.downcast_ref::<belfry_state::OpenError>()?;
    Some(problem(place, error.to_string(), error.help()))
}

/// Everything that would stop a start with this config now. Leaves nothing behind.
pub fn obstacles(loaded: &Loaded) -> Vec<Problem> {
    let mut found: Vec<Problem> = listen(loaded).err().into_iter().collect();
    if let Err(error) = folder(&loaded.config) {
        found.push(problem(&loaded.places.storage, error.to_string(), error.help()));
    }
    found
}

/// What a start with this config would do with samples that were here before the storage engine.
pub fn before_engine(loaded: &Loaded) -> Option<Problem> {
    let storage = &loaded.config.storage;
    let remote = storage.remote.as_ref().filter(|_| crate::retention::is_first_with_engine(storage))?;
    let kept = match remote.retention_before {
        Some(retention) => format!("for `retention` ({})", belfry_model::duration::format_duration(retention)),
        None => "until `retention` says for how long".to_owned(),
    };
    let message = "the data folder has samples from before the storage engine: they are not sent to it";
    let help = format!("they are kept here {kept}; see \"Samples from before the engine\" in docs/operations.md");
    Some(Problem { level: Level::Warning, ..problem(&loaded.places.storage, message.to_owned(), &help) })
}

fn folder(config: &Config) -> Result<(), belfry_store::OpenError> {
    match config.storage.backend {
        Backend::Memory => Ok(()),
        Backend::Disk => belfry_store::check_folder(&config.storage.path, &RealDisk),
    }
}

fn problem(place: &Place, message: String, help: &str) -> Problem {
    Problem { place: place.clone(), level: Level::Error, message, help: Some(help.to_owned()) }
}
