//! How the engine and its queue are: metrics, notices, a check.
//!
//! Invariant: an engine that is away makes nothing fail; it is told.

use std::time::Duration;

use belfry_dashboard::dto::{Notice, NoticeLevel};
use belfry_model::TimestampMs;
use belfry_remote::queue::Shedding;

use super::StorageEngine;
use crate::app::App;
use crate::telemetry::own::OwnMetrics;

/// An engine that is away no longer than this is no news: it may be restarting.
const AWAY_NEWS: Duration = Duration::from_secs(15);
/// What a full queue lost is told for this long after it ended.
const LOSS_NEWS: Duration = Duration::from_secs(86_400);
/// A refusal is told for this long.
const REFUSAL_NEWS: Duration = Duration::from_secs(600);

const AWAY: &str = "engine_away";
const QUEUE: &str = "engine_queue";
const SHED: &str = "engine_shed";
const REFUSED: &str = "engine_refused";

/// What a person should know.
struct News {
    level: NoticeLevel,
    title: String,
    text: String,
    since: TimestampMs,
}

impl News {
    fn error(title: &str, text: String, since: TimestampMs) -> Self {
        Self { level: NoticeLevel::Error, title: title.to_owned(), text, since }
    }

    fn warning(title: String, text: String, since: TimestampMs) -> Self {
        Self { level: NoticeLevel::Warning, title, text, since }
    }
}

/// By code; `None` is no news.
fn news(engine: &StorageEngine, now: TimestampMs) -> [(&'static str, Option<News>); 4] {
    let queue = engine.queue.stats();
    let shedding = &queue.shedding;
    let kind = engine.engine.kind();
    let lasts = |(since, _): &(TimestampMs, String)| now.since(*since) >= AWAY_NEWS;
    let used = queue.bytes.saturating_mul(100) / queue.bytes_max.max(1);
    let health = &engine.health;
    let away = away_news(kind, used, health.writing.away().filter(lasts), health.reading.away().filter(lasts));
    let trouble = if let Some(why) = &queue.failing {
        Some(News::error("Samples cannot be queued for the storage engine", why.clone(), now))
    } else if let Some(shedding) = shedding.as_ref().filter(|s| s.goes_on(now)) {
        Some(News::error(
            &format!("The queue for the storage engine {}", fullness(shedding)),
            shed_text(shedding),
            shedding.since,
        ))
    } else {
        queue.damage.map(|what| News::error("A file of the queue is damaged", what, now))
    };
    let lost = shedding.as_ref().and_then(|s| lost_news(s, now));
    let refusal = engine.shipper.lock().stats().refusal.filter(|(at, _)| now.since(*at) < REFUSAL_NEWS);
    let refused =
        refusal.map(|(at, why)| News::warning(format!("The storage engine ({kind}) refuses samples"), why, at));
    [(AWAY, away), (QUEUE, trouble), (SHED, lost), (REFUSED, refused)]
}

fn fullness(shedding: &Shedding) -> &'static str {
    if shedding.is_full { "is full" } else { "was full just now" }
}

fn shed_text(shedding: &Shedding) -> String {
    format!(
        "{} samples were shed since {}, the oldest first: the engine never gets them",
        shedding.samples, shedding.since
    )
}

/// What is told once shedding has ended: the numbers of a loss are wanted most when it is over.
fn lost_news(shedding: &Shedding, now: TimestampMs) -> Option<News> {
    let Shedding { samples, since, last, .. } = shedding;
    if shedding.goes_on(now) || now.since(*last) >= LOSS_NEWS {
        return None;
    }
    let title = "Samples for the storage engine were lost".to_owned();
    let text = format!("{samples} samples were shed between {since} and {last}, while its queue was full.");
    Some(News::warning(title, text, *last))
}

/// What is told of an engine that takes no samples, cannot be read, or neither.
fn away_news(
    kind: &str,
    used: u64,
    writing: Option<(TimestampMs, String)>,
    reading: Option<(TimestampMs, String)>,
) -> Option<News> {
    let writes = |why| format!("{why}. Samples wait on disk: {used} % of the queue is used.");
    let reads = |why| format!("{why}. Answers have this Belfry's own newest series alone.");
    let title = |what| format!("The storage engine ({kind}) {what}");
    match (writing, reading) {
        (None, None) => None,
        (Some((since, why)), None) => Some(News::warning(title("takes no samples"), writes(why), since)),
        (None, Some((since, why))) => Some(News::warning(title("cannot be read"), reads(why), since)),
        (Some((since, why)), Some((also, unread))) => {
            let text = format!("{} It cannot be read either: {}", writes(why), reads(unread));
            Some(News::warning(title("does not answer"), text, since.min(also)))
        }
    }
}

fn help(code: &str) -> &'static str {
    match code {
        AWAY => "look at the engine and at [storage]; Belfry goes on, and sends what waits once the engine answers",
        SHED => "the local window may still have them; raise [storage] queue_bytes for outages as long as this one",
        QUEUE => "make room, raise [storage] queue_bytes, or bring the engine back",
        _ => "refused samples are not sent again; the engine's log says more",
    }
}

/// Puts notices up, or takes them back.
pub fn tell(app: &App, engine: &StorageEngine) {
    let now = app.clock.now();
    for (code, news) in news(engine, now) {
        let Some(News { level, title, text, since }) = news else {
            app.no_notice(code);
            continue;
        };
        let told = app.notices.lock().get(code).map(|n| (n.since_ms, n.title == title && n.text == text));
        if told.is_none_or(|(_, same)| !same) {
            let (help, since_ms) = (Some(help(code).to_owned()), told.map_or(since, |(since, _)| since));
            app.notice(Notice { code: code.to_owned(), level, title, text, help, since_ms });
        }
    }
}

/// For `/ready`: what is wrong, if something is. Never a reason not to be ready.
pub fn trouble(engine: &StorageEngine) -> Option<String> {
    let why = |away: Option<(TimestampMs, String)>| away.map(|(_, why)| why);
    let queue = engine.queue.stats();
    let shedding = queue.shedding.filter(|s| s.goes_on(engine.clock.now()));
    let its_queue = format!("its queue {}", shedding.as_ref().map_or("", fullness));
    trouble_of([
        ("samples cannot be queued", queue.failing),
        (&*its_queue, shedding.as_ref().map(shed_text)),
        ("it takes no samples, they wait on disk", why(engine.health.writing.away())),
        ("it cannot be read", why(engine.health.reading.away())),
    ])
}

/// The worst comes first: what cannot be queued is lost to the engine.
fn trouble_of<const N: usize>(all: [(&str, Option<String>); N]) -> Option<String> {
    let all: Vec<String> = all.into_iter().filter_map(|(what, why)| Some(format!("{what}: {}", why?))).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// For `/metrics`.
pub fn metrics(app: &App, own: &mut OwnMetrics) {
    let Some(engine) = &app.engine else { return };
    let (queue, sent) = (engine.queue.stats(), engine.shipper.lock().stats());
    let lag = queue.waiting_since.map_or(Duration::ZERO, |since| app.clock.now().since(since));
    let up = |away: Option<_>| f64::from(u8::from(away.is_none()));
    let kind = ("kind", engine.engine.kind());
    own.gauge("belfry_engine_up", "1 when the storage engine answered the last time, by what it was asked for.")
        .set(&[kind, ("for", "reading")], up(engine.health.reading.away()))
        .set(&[kind, ("for", "writing")], up(engine.health.writing.away()));
    own.gauge("belfry_engine_queue_bytes", "Bytes that wait for the storage engine.").set(&[], queue.bytes as f64);
    own.gauge("belfry_engine_queue_bytes_max", "More than this and the oldest are shed.")
        .set(&[], queue.bytes_max as f64);
    own.gauge("belfry_engine_queue_segments", "Files of the queue.").set(&[], queue.segments as f64);
    own.gauge("belfry_engine_lag_seconds", "How long the oldest sample that waits has waited.")
        .set(&[], lag.as_secs_f64());
    own.counter("belfry_engine_queued_samples", "Samples queued for the storage engine.")
        .set(&[], queue.appended as f64);
    own.counter("belfry_engine_requests", "Requests that the storage engine has taken.").set(&[], sent.requests as f64);
    own.counter("belfry_engine_retries", "Requests that failed and are sent again.").set(&[], sent.retries as f64);
    own.counter("belfry_engine_samples", "Samples by what became of them.")
        .set(&[("outcome", "sent")], sent.sent as f64)
        .set(&[("outcome", "shed")], queue.shed as f64)
        .set(&[("outcome", "refused")], sent.refused as f64)
        .set(&[("outcome", "left_out")], sent.left_out as f64)
        .set(&[("outcome", "not_queued")], queue.failed as f64)
        .set(&[("outcome", "unreadable")], queue.nameless as f64);
    own.counter(
        "belfry_engine_queue_damaged_segments",
        "Places of the queue that could not be read, and missing files.",
    )
    .set(&[], queue.damaged as f64);
    own.counter("belfry_engine_queries", "Expressions that the storage engine evaluated.")
        .set(&[], app.queries.passed() as f64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_wrong_is_told_in_order() {
        let told = |a: Option<&str>, b: Option<&str>| {
            trouble_of([("first", a.map(str::to_owned)), ("then", b.map(str::to_owned))])
        };
        assert_eq!(told(None, None), None);
        assert_eq!(told(None, Some("refused")).as_deref(), Some("then: refused"));
        assert_eq!(told(Some("no space"), Some("refused")).as_deref(), Some("first: no space; then: refused"));
    }

    #[test]
    fn a_loss_is_told_with_its_times_for_a_day_once_it_has_ended() {
        let at = |seconds: i64| TimestampMs(1_700_000_000_000 + seconds * 1000);
        let loss = Shedding { since: at(0), last: at(60), samples: 46_103, is_full: false };
        assert!(lost_news(&loss, at(300)).is_none(), "it may go on: that is told");
        let news = lost_news(&loss, at(400)).expect("it has ended");
        assert_eq!(
            news.text,
            "46103 samples were shed between 2023-11-14T22:13:20.000Z and 2023-11-14T22:14:20.000Z, while its queue was full."
        );
        assert!(lost_news(&Shedding { is_full: true, ..loss.clone() }, at(400)).is_none());
        assert!(lost_news(&loss, at(60 + 86_400)).is_none());
    }

    #[test]
    fn an_engine_that_only_cannot_be_read_makes_nothing_wait_and_the_other_way_round() {
        let since = |at, why: &str| Some((TimestampMs(at), why.to_owned()));
        let told =
            |writing, reading| away_news("prometheus", 7, writing, reading).map(|n: News| (n.title, n.text, n.since.0));
        assert_eq!(told(None, None), None);
        let (title, text, _) = told(None, since(1, "status 403")).expect("news");
        assert!(
            title.ends_with("cannot be read") && text.starts_with("status 403") && !text.contains("wait"),
            "{text}"
        );
        let (title, text, _) = told(since(1, "status 404"), None).expect("news");
        assert!(title.ends_with("takes no samples") && text.contains("wait on disk: 7 %"), "{text}");
        assert!(!text.contains("read"), "{text}");
        let (title, text, at) = told(since(5, "refused"), since(3, "timeout")).expect("news");
        assert!(
            title.ends_with("does not answer") && text.contains("wait on disk") && text.contains("either: timeout"),
            "{text}"
        );
        assert_eq!(at, 3);
    }
}
