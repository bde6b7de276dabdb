//! The one place where compiled code is taken from a file.
//!
//! Not here: the check that makes it safe (`cache.rs`).

use std::path::Path;

use wasmtime::Engine;
use wasmtime::component::Component;

/// Maps a `.cwasm` file. The caller has checked its MAC, in a folder that only this user can write to.
#[allow(unsafe_code)]
pub(crate) fn load(engine: &Engine, checked: &Path) -> wasmtime::Result<Component> {
    // SAFETY: wasmtime asks that the file be its own compiler's output and stay unmodified while mapped. The MAC under
    // this installation's key says the former; the folder is 0700 and ours, and files are only ever replaced by rename.
    unsafe { Component::deserialize_file(engine, checked) }
}
