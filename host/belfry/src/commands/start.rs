//! What can stop a start beside the config itself: the components it names, the address, the data folder, the engine's
//! files.
//!
//! Invariant: `belfry run` and `belfry check` say the same of it, with the place in the config. The check changes nothing,
//! and of the samples' files it reads no more than tells their kind and version: what is damaged behind that it does not
//! find.

use std::net::TcpListener;
use std::path::Path;

use belfry_config::types::Backend;
use belfry_config::{Level, Loaded, Place, Problem, Refused};
use belfry_store::RealDisk;

use crate::engine::QUEUE_FOLDER;

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

/// Everything that would stop a start with this config now, and (as warnings) what would be damaged for it. Leaves nothing
/// behind.
pub fn obstacles(loaded: &Loaded) -> Vec<Problem> {
    let config = &loaded.config;
    let place = &loaded.places.storage;
    let mut found: Vec<Problem> = listen(loaded).err().into_iter().collect();
    if config.storage.backend == Backend::Disk {
        let data = &config.storage.path;
        if super::backup::is_half_restored(data) {
            found.push(half_restored(place, data));
        }
        match belfry_store::check_folder(data, &RealDisk) {
            Err(error) => found.push(problem(place, error.to_string(), error.help())),
            Ok(()) => {
                let state = belfry_state::State::check(data.join(crate::app::STATE_FILE));
                found.extend(state.err().map(|error| Problem {
                    // A start goes on with what can be read.
                    level: match error {
                        belfry_state::OpenError::Damaged { .. } => Level::Warning,
                        _ => Level::Error,
                    },
                    ..problem(place, error.to_string(), error.help())
                }));
                let help = "the folder and what is in it must belong to the user that runs belfry";
                found.extend(crate::token::check(config).err().map(|e| problem(place, format!("{e:#}"), help)));
            }
        }
    }
    if let Err(error) = crate::engine::check(&config.storage) {
        let help = "check the files and addresses that [storage] names, and `queue` in the data folder";
        found.push(problem(place, format!("{error:#}"), help));
    }
    found
}

fn half_restored(place: &Place, data: &Path) -> Problem {
    let message = format!("a restore to {} did not come to its end", data.display());
    problem(place, message, "run `belfry restore` again, with the same backup")
}

/// What waits in the data folder for a storage engine that this config does not name: nobody sends it, and imports that
/// went to the engine alone cannot be read.
pub fn left_in_queue(loaded: &Loaded) -> Option<Problem> {
    let storage = &loaded.config.storage;
    if storage.remote.is_some() || storage.backend != Backend::Disk {
        return None;
    }
    let waiting = belfry_remote::queue::look(&storage.path.join(QUEUE_FOLDER), &RealDisk).ok()?;
    (waiting.bytes > 0).then(|| {
        let message = format!(
            "{} bytes of samples wait in `{QUEUE_FOLDER}` of the data folder for a storage engine, and [storage] names none: \
             they are not sent",
            waiting.bytes
        );
        let help = "start with the engine's `backend` again until nothing waits, or remove the folder while Belfry is stopped; \
                    what is collected without the engine is not sent later";
        Problem { level: Level::Warning, ..problem(&loaded.places.storage, message, help) }
    })
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

pub(super) fn problem(place: &Place, message: String, help: &str) -> Problem {
    Problem { place: place.clone(), level: Level::Error, message, help: Some(help.to_owned()) }
}
