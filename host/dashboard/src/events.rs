//! One multiplexed stream of server-sent events for each page.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use axum::routing::get;
use futures::stream::{self, Stream, StreamExt as _};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};

use crate::App;
use crate::backend::Backend;
use crate::dto::LiveEvent;

/// Proxies close a silent connection after a minute or less.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(crate) fn routes() -> Router<App> {
    Router::new().route("/api/events", get(events))
}

/// A whole picture of each kind at once, then whatever changes. Ends when the process drains.
async fn events(State(app): State<App>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    // Subscribed before the first picture is taken, so that nothing falls between.
    let live = app.backend.subscribe();
    let first = stream::iter(pictures(&*app.backend).await);
    let rest = stream::unfold((live, app.closing.clone()), next_event);
    let all = first.chain(rest).map(|e| Ok(Event::default().event(e.kind.as_str()).data(&*e.json)));
    Sse::new(all).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

async fn pictures(backend: &dyn Backend) -> [LiveEvent; 5] {
    [
        LiveEvent::overview(&backend.overview().await),
        LiveEvent::sources(&backend.sources().await),
        LiveEvent::alerts(&backend.alerts().await),
        LiveEvent::plugins(&backend.plugins().await),
        LiveEvent::reports(&backend.reports().await),
    ]
}

type Subscription = (broadcast::Receiver<LiveEvent>, watch::Receiver<bool>);

async fn next_event((mut live, mut closing): Subscription) -> Option<(LiveEvent, Subscription)> {
    loop {
        if *closing.borrow() {
            return None;
        }
        tokio::select! {
            changed = closing.changed() => changed.ok()?,
            event = live.recv() => match event {
                Ok(event) => return Some((event, (live, closing))),
                // Each event is a whole picture: the next ones make up for what was missed.
                Err(RecvError::Lagged(missed)) => tracing::debug!(missed, "a slow page missed events"),
                Err(RecvError::Closed) => return None,
            },
        }
    }
}
