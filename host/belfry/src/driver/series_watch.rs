//! Notices when new series are shed because as many are open as may be: who brings them is not always who is hurt.
//!
//! Invariant: only reads and tells; what is told goes when nothing was shed for a while.
//! Not here: the limits (`ingest`, the store), those of one target or producer alone (they are its own fault, and its
//! source tells of them).

use std::sync::Arc;
use std::time::Duration;

use belfry_dashboard::dto::{Notice, NoticeLevel};
use tokio_util::sync::CancellationToken;

use crate::app::App;

/// The code of the notice.
pub const SHED: &str = "series_shed";
/// How often the counter is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long shedding is told of after the last time: longer than most scrape intervals, at each of which it comes again.
const TOLD_FOR: Duration = Duration::from_secs(300);

/// What was shed by the last look.
#[derive(Debug, Default)]
struct Watch {
    seen: u64,
    /// When something was shed last, while it is told of.
    last: Option<Duration>,
}

/// What a look found.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    /// Series are shed from now on.
    Begun,
    /// No more.
    Over,
}

impl Watch {
    fn look(&mut self, shed: u64, monotonic: Duration) -> Found {
        if shed != std::mem::replace(&mut self.seen, shed) {
            return if self.last.replace(monotonic).is_none() { Found::Begun } else { Found::Nothing };
        }
        match self.last {
            Some(last) if monotonic.saturating_sub(last) >= TOLD_FOR => {
                self.last = None;
                Found::Over
            }
            _ => Found::Nothing,
        }
    }
}

/// Looks until `stop`.
pub async fn run(app: Arc<App>, stop: CancellationToken) {
    let mut watch = Watch::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        match watch.look(app.ingest.series_shed(), app.clock.monotonic()) {
            Found::Nothing => {}
            Found::Begun => tell(&app),
            Found::Over => {
                tracing::info!("new series find room again");
                app.no_notice(SHED);
            }
        }
    }
}

fn tell(app: &App) {
    let limit = app.ingest.limits().series_total;
    let title = "New series are not kept: there are as many as there may be";
    let text = format!(
        "`[storage] series_limit` is {limit}. Series that are open go on; new ones of every target and sender are left out, \
         and counted in belfry_ingest_rejected_total as series_shed."
    );
    tracing::warn!(limit, "{title}. {text}");
    app.notice(Notice {
        code: SHED.to_owned(),
        level: NoticeLevel::Error,
        title: title.to_owned(),
        text,
        help: Some(
            "look for what brings new series all the time (scrape_series_added), drop its labels or set its \
             limits.series; or raise series_limit"
                .to_owned(),
        ),
        since_ms: app.clock.now(),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shedding_is_told_once_and_until_there_was_none_for_five_minutes() {
        let mut watch = Watch::default();
        let mut look = |shed: u64, at: u64| watch.look(shed, Duration::from_secs(at));
        assert_eq!(look(0, 0), Found::Nothing);
        assert_eq!(look(7, 2), Found::Begun);
        assert_eq!(look(9, 62), Found::Nothing, "it goes on");
        assert_eq!(look(9, 361), Found::Nothing);
        assert_eq!(look(9, 362), Found::Over);
        assert_eq!(look(9, 900), Found::Nothing);
        assert_eq!(look(10, 902), Found::Begun);
    }
}
