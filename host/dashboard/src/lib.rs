//! Dashboard: HTTP routes, DTOs, auth and the embedded web UI.
//!
//! Invariant: Host and Origin are checked on every request; nothing here knows how an organ works: it asks a trait.
//! Not here: evaluation, storage, plugins.
