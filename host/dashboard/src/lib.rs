//! Dashboard: HTTP routes, DTOs, auth and the embedded web UI.
//!
//! Invariant: Host and Origin are checked on every request; nothing here knows how an organ works: it asks a trait.
//! Not here: evaluation, storage, plugins.

mod api;
mod assets;
pub mod backend;
pub mod dto;
mod events;
mod extract;
mod federate;
mod form;
mod guard;
mod leftover;
mod manage;
mod old_paths;
mod openapi;
mod operate;
mod parameters;
mod params;
mod prometheus;
mod prometheus_ast;
mod prometheus_rules;
mod prometheus_status;
pub mod prometheus_targets;
mod remote_read;
mod reply;
mod result_json;
pub mod rule_groups;
mod slos;
#[cfg(test)]
mod testing;

use std::sync::Arc;

use axum::Router;
use axum::middleware;
use tokio::sync::watch;
use tower_http::compression::CompressionLayer;

pub use assets::web_ui_is_built;
pub use backend::Backend;
pub use guard::{Access, AccessPolicy};

/// Bytes of a request's body; a longer one is answered 413. Forms of Prometheus' API may be longer, and so may what
/// `receivers` take.
pub const REQUEST_BODY_BYTES_MAX: usize = 1 << 20;

/// What every route has at hand.
#[derive(Clone)]
pub(crate) struct App {
    pub backend: Arc<dyn Backend>,
    pub access: Arc<Access>,
    pub closing: watch::Receiver<bool>,
}

/// All routes, and `receivers`, which take what is pushed: they are guarded like the others. `closing` turns true when the
/// process drains: event streams end then.
pub fn router(
    backend: Arc<dyn Backend>,
    access: AccessPolicy,
    closing: watch::Receiver<bool>,
    receivers: Router,
) -> Router {
    let app = App { backend, access: Arc::new(Access::new(access)), closing };
    Router::new()
        .merge(api::routes())
        .merge(events::routes())
        .merge(manage::routes())
        .merge(operate::routes())
        .merge(federate::routes())
        .merge(openapi::routes())
        .merge(slos::routes())
        .nest("/api/v1", prometheus::routes())
        .nest("/api/v1", prometheus_status::routes())
        .nest("/api/v1", prometheus_targets::routes())
        .nest("/api/v1", remote_read::routes())
        .nest("/api/v1", prometheus_rules::routes())
        .merge(receivers.with_state(()))
        .method_not_allowed_fallback(assets::method_not_allowed)
        .fallback(assets::serve)
        // It leaves alone what is small, is compressed, or is a stream of events.
        .layer(CompressionLayer::new())
        .layer(axum::extract::DefaultBodyLimit::max(REQUEST_BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(app.clone(), guard::check))
        // Outermost: who is refused has sent a body, too.
        .layer(middleware::from_fn(leftover::take))
        .with_state(app)
}
