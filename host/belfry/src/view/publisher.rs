//! Live events: gathers what changed and sends whole pictures to all open pages, written once for all of them.

use std::sync::Arc;
use std::time::Duration;

use belfry_dashboard::dto::LiveEvent;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::changes::Changed;

/// No kind is sent more often.
const EVERY_AT_MOST: Duration = Duration::from_secs(1);
/// Overview and plugins are sent at least so often, for their counters.
const EVERY_AT_LEAST: Duration = Duration::from_secs(5);

/// Publishes until `stop`.
pub async fn run(app: Arc<App>, stop: CancellationToken) {
    loop {
        let quiet = tokio::select! {
            () = stop.cancelled() => return,
            () = app.changes.wait() => false,
            () = tokio::time::sleep(EVERY_AT_LEAST) => true,
        };
        // Nobody looks: nothing is gathered, and whoever comes next need not wait for a pause to end.
        if app.live.receiver_count() == 0 {
            continue;
        }
        publish(&app, quiet).await;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY_AT_MOST) => {}
        }
    }
}

async fn publish(app: &App, quiet: bool) {
    let marks = app.changes.take();
    // Sending fails only when the last page has gone meanwhile.
    let send = |event| drop(app.live.send(event));
    if marks.has(Changed::Sources) {
        send(LiveEvent::sources(&super::sources::sources(app)));
    }
    if marks.has(Changed::Alerts) {
        send(LiveEvent::alerts(&super::alerts::alerts(app)));
    }
    if marks.has(Changed::Plugins) || quiet {
        send(LiveEvent::plugins(&super::plugins::plugins(app)));
    }
    if marks.has(Changed::Reports) {
        send(LiveEvent::reports(&super::reports::reports(app)));
    }
    if marks.has(Changed::Overview) || quiet {
        send(LiveEvent::overview(&super::overview::overview(app, false).await));
    }
}
