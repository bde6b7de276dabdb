//! Notices when the machine's clock does not go on evenly: it was set, or the machine slept.
//!
//! Invariant: only reads and tells; every organ takes the time as it is.
//! Not here: what the store does with samples that are too old or too far ahead.

use std::sync::Arc;
use std::time::Duration;

use belfry_dashboard::dto::{Notice, NoticeLevel};
use belfry_model::TimestampMs;
use belfry_model::duration::format_duration;
use tokio_util::sync::CancellationToken;

use crate::app::App;

/// The code of the notice.
pub const JUMPED: &str = "clock_jumped";
/// How often both clocks are compared.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Less is what a time service corrects, and no harm.
const JUMP_MIN: Duration = Duration::from_secs(10);
/// How long a jump ahead is told of.
const TOLD_FOR: Duration = Duration::from_secs(3600);

/// Compares the wall's clock with the one that only goes on.
#[derive(Debug, Default)]
struct Watch {
    last: Option<(TimestampMs, Duration)>,
    /// What is told of, until when.
    until: Option<TimestampMs>,
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
    /// When samples are there that are newer than now.
    fn begin(&mut self, now: TimestampMs, newest: Option<TimestampMs>) -> Found {
        match newest {
            Some(newest) if newest.since(now) > JUMP_MIN => {
                self.until = Some(newest);
                Found::Back(newest.since(now), newest)
            }
            _ => Found::Nothing,
        }
    }

    fn look(&mut self, now: TimestampMs, monotonic: Duration) -> Found {
        let Some((then, before)) = self.last.replace((now, monotonic)) else { return Found::Nothing };
        let expected = then + monotonic.saturating_sub(before);
        if now.since(expected) > JUMP_MIN {
            self.until = Some(now + TOLD_FOR);
            return Found::Ahead(now.since(expected), now);
        }
        if expected.since(now) > JUMP_MIN {
            self.until = Some(expected);
            return Found::Back(expected.since(now), expected);
        }
        match self.until {
            Some(until) if until <= now => {
                self.until = None;
                Found::Over
            }
            _ => Found::Nothing,
        }
    }
}

/// Looks until `stop`.
pub async fn run(app: Arc<App>, stop: CancellationToken) {
    let store = app.store.clone();
    let span = tokio::task::spawn_blocking(move || store.span()).await.ok().flatten();
    let mut watch = Watch::default();
    let first = watch.begin(app.clock.now(), span.map(|(_, newest)| newest));
    tell(&app, first);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let found = watch.look(app.clock.now(), app.clock.monotonic());
        tell(&app, found);
    }
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
            "set the clock if it is wrong; if it is right, wait, or delete the samples that are ahead of it",
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
    fn samples_from_the_future_are_told_of_at_the_start() {
        let mut watch = Watch::default();
        assert_eq!(watch.begin(TimestampMs(0), None), Found::Nothing);
        assert_eq!(watch.begin(TimestampMs(9 * S), Some(TimestampMs(12 * S))), Found::Nothing);
        let day = TimestampMs(86_400 * S);
        assert_eq!(watch.begin(TimestampMs(0), Some(day)), Found::Back(Duration::from_secs(86_400), day));
        assert_eq!(look(&mut watch, 86_401, 0), Found::Nothing);
        assert_eq!(look(&mut watch, 86_403, 2), Found::Over);
    }
}
