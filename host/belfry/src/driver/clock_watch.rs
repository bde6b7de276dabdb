//! Notices when the machine's clock does not go on evenly: it was set, or the machine slept.
//!
//! Invariant: only reads and tells; every organ takes the time as it is.
//! Not here: what the store does with samples that are too old or too far ahead.

use std::sync::Arc;
use std::time::Duration;

use belfry_dashboard::dto::{Notice, NoticeLevel};
use belfry_model::TimestampMs;
use belfry_model::duration::format_duration;
use belfry_store::AHEAD_MAX;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::view::storage;

/// The code of the notice.
pub const JUMPED: &str = "clock_jumped";
/// How often both clocks are compared.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Less is what a time service corrects, and no harm.
const JUMP_MIN: Duration = Duration::from_secs(10);
/// While a clock that was set back is told of, it is looked this often whether there is anything ahead of it still.
const LOOK_AHEAD_EVERY: Duration = Duration::from_secs(30);
/// How long a jump ahead is told of.
const TOLD_FOR: Duration = Duration::from_secs(3600);

/// Compares the wall's clock with the one that only goes on.
#[derive(Debug, Default)]
struct Watch {
    last: Option<(TimestampMs, Duration)>,
    told: Option<Told>,
}

/// What is told of, until when.
#[derive(Clone, Copy, Debug)]
enum Told {
    Ahead(TimestampMs),
    /// Sooner when nothing is ahead any more.
    Back(TimestampMs),
}

/// What a look found.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    /// By so much, at this time.
    Ahead(Duration, TimestampMs),
    /// By so much, from this time.
    Back(Duration, TimestampMs),
    /// What was told is over.
    Over,
}

impl Watch {
    /// When samples are there that are further ahead than a sender's clock may be.
    fn begin(&mut self, now: TimestampMs, newest: Option<TimestampMs>) -> Found {
        match newest {
            Some(newest) if newest.since(now) > AHEAD_MAX => {
                self.told = Some(Told::Back(newest));
                Found::Back(newest.since(now), newest)
            }
            _ => Found::Nothing,
        }
    }

    fn look(&mut self, now: TimestampMs, monotonic: Duration) -> Found {
        let Some((then, before)) = self.last.replace((now, monotonic)) else { return Found::Nothing };
        let expected = then + monotonic.saturating_sub(before);
        if now.since(expected) > JUMP_MIN {
            self.told = Some(Told::Ahead(now + TOLD_FOR));
            return Found::Ahead(now.since(expected), now);
        }
        if expected.since(now) > JUMP_MIN {
            self.told = Some(Told::Back(expected));
            return Found::Back(expected.since(now), expected);
        }
        match self.told {
            Some(Told::Ahead(until) | Told::Back(until)) if until <= now => {
                self.told = None;
                Found::Over
            }
            _ => Found::Nothing,
        }
    }

    /// Is it of interest which sample is the newest?
    fn tells_of_samples(&self) -> bool {
        matches!(self.told, Some(Told::Back(_)))
    }

    /// What is ahead may have been deleted, or never have been. A sender that is ahead itself makes it no longer.
    fn newest_is(&mut self, newest: Option<TimestampMs>) {
        if let Some(Told::Back(until)) = &mut self.told {
            *until = newest.map_or(TimestampMs(0), |newest| newest.min(*until));
        }
    }
}

/// Looks until `stop`.
pub async fn run(app: Arc<App>, stop: CancellationToken) {
    let mut watch = Watch::default();
    let newest = newest(&app).await;
    let first = watch.begin(app.clock.now(), newest);
    tell(&app, first);
    let mut looked_ahead = app.clock.monotonic();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let monotonic = app.clock.monotonic();
        if watch.tells_of_samples() && monotonic.saturating_sub(looked_ahead) >= LOOK_AHEAD_EVERY {
            looked_ahead = monotonic;
            watch.newest_is(self::newest(&app).await);
        }
        let found = watch.look(app.clock.now(), app.clock.monotonic());
        tell(&app, found);
    }
}

/// The time of the newest sample. What is deleted counts until its block is written anew, within a minute or so.
async fn newest(app: &App) -> Option<TimestampMs> {
    storage::span(app.store.clone()).await.map(|(_, newest)| newest)
}

fn tell(app: &App, found: Found) {
    let (title, text, help) = match found {
        Found::Nothing => return,
        Found::Over => return app.no_notice(JUMPED),
        Found::Ahead(by, at) => (
            "The clock jumped ahead",
            format!(
                "by {}, to {at}: it was set, or the machine slept. Between the two nothing was measured.",
                rough(by)
            ),
            "nothing, if the time is right now; this notice goes after an hour",
        ),
        Found::Back(by, until) => (
            "The clock is behind the newest samples",
            format!(
                "by {}: it was set back, or was wrong before. Samples that are older than those there are may be refused \
                 until {until}.",
                rough(by)
            ),
            "set the clock if it is wrong; if it is right, wait, or delete the samples that are ahead of it: see \"When the \
             clock was wrong\" in docs/operations.md",
        ),
    };
    tracing::warn!("{title} {text}");
    app.notice(Notice {
        code: JUMPED.to_owned(),
        level: NoticeLevel::Warning,
        title: title.to_owned(),
        text,
        help: Some(help.to_owned()),
        since_ms: app.clock.now(),
    });
}

/// Without milliseconds.
fn rough(by: Duration) -> String {
    format_duration(Duration::from_secs(by.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1000;

    /// Looks at (wall, monotonic) in seconds.
    fn look(watch: &mut Watch, wall: i64, monotonic: u64) -> Found {
        watch.look(TimestampMs(wall * S), Duration::from_secs(monotonic))
    }

    #[test]
    fn an_even_clock_says_nothing_and_small_corrections_are_none() {
        let mut watch = Watch::default();
        for (wall, monotonic) in [(1000, 0), (1002, 2), (1013, 4), (1008, 6), (1100, 98)] {
            assert_eq!(look(&mut watch, wall, monotonic), Found::Nothing);
        }
    }

    #[test]
    fn a_jump_ahead_is_told_for_an_hour() {
        let mut watch = Watch::default();
        look(&mut watch, 1000, 0);
        let found = look(&mut watch, 8202, 2);
        assert_eq!(found, Found::Ahead(Duration::from_secs(7200), TimestampMs(8202 * S)));
        assert_eq!(look(&mut watch, 11_801, 3601), Found::Nothing);
        assert_eq!(look(&mut watch, 11_802, 3602), Found::Over);
        assert_eq!(look(&mut watch, 11_804, 3604), Found::Nothing);
    }

    #[test]
    fn a_clock_set_back_is_told_until_it_is_where_it_was() {
        let mut watch = Watch::default();
        look(&mut watch, 1000, 0);
        let found = look(&mut watch, 902, 2);
        assert_eq!(found, Found::Back(Duration::from_secs(100), TimestampMs(1002 * S)));
        assert_eq!(look(&mut watch, 1001, 101), Found::Nothing);
        assert_eq!(look(&mut watch, 1002, 102), Found::Over);
    }

    #[test]
    fn it_is_told_no_longer_than_there_is_something_ahead() {
        let day = TimestampMs(86_400 * S);
        let ahead = || {
            let mut watch = Watch::default();
            look(&mut watch, 86_400, 0);
            assert_eq!(
                look(&mut watch, 1002, 2),
                Found::Back(Duration::from_secs(85_400), day + Duration::from_secs(2))
            );
            watch
        };
        // Still there.
        let mut watch = ahead();
        watch.newest_is(Some(day));
        assert_eq!(look(&mut watch, 1004, 4), Found::Nothing);
        // Deleted.
        watch.newest_is(Some(TimestampMs(1003 * S)));
        assert_eq!(look(&mut watch, 1006, 6), Found::Over);
        // Nothing was written meanwhile, or all was deleted.
        let mut watch = ahead();
        watch.newest_is(None);
        assert_eq!(look(&mut watch, 1004, 4), Found::Over);
        // What is left is of a sender that is nine minutes ahead, and stays so.
        let mut watch = ahead();
        for second in (1004..1542).step_by(2) {
            watch.newest_is(Some(TimestampMs((second + 540) * S)));
            assert_eq!(look(&mut watch, second, second as u64 - 1000), Found::Nothing, "{second}");
        }
        watch.newest_is(Some(TimestampMs(2084 * S)));
        assert_eq!(look(&mut watch, 1544, 544), Found::Over);
        // A jump ahead is no matter of samples.
        look(&mut watch, 9999, 546);
        assert!(!watch.tells_of_samples());
        watch.newest_is(None);
        assert_eq!(look(&mut watch, 10_001, 548), Found::Nothing);
    }

    #[test]
    fn samples_from_the_future_are_told_of_at_the_start_unless_a_sender_may_be_that_far_ahead() {
        let mut watch = Watch::default();
        assert_eq!(watch.begin(TimestampMs(0), None), Found::Nothing);
        assert_eq!(watch.begin(TimestampMs(9 * S), Some(TimestampMs(609 * S))), Found::Nothing);
        let day = TimestampMs(86_400 * S);
        assert_eq!(watch.begin(TimestampMs(0), Some(day)), Found::Back(Duration::from_secs(86_400), day));
        assert_eq!(look(&mut watch, 86_401, 0), Found::Nothing);
        assert_eq!(look(&mut watch, 86_403, 2), Found::Over);
    }
}
