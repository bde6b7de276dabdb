//! How the engine and its queue are: metrics, notices, a check.
//!
//! Invariant: an engine that is away makes nothing fail; it is told.

use std::time::Duration;

use belfry_dashboard::dto::{Notice, NoticeLevel};
use belfry_model::TimestampMs;

use super::StorageEngine;
use crate::app::App;
use crate::telemetry::own::OwnMetrics;

/// An engine that is away no longer than this is no news: it may be restarting.
const AWAY_NEWS: Duration = Duration::from_secs(15);
/// A refusal is told for this long.
const REFUSAL_NEWS: Duration = Duration::from_secs(600);

const AWAY: &str = "engine_away";
const QUEUE: &str = "engine_queue";
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
fn news(engine: &StorageEngine, now: TimestampMs) -> [(&'static str, Option<News>); 3] {
    let queue = engine.queue.stats();
    let kind = engine.engine.kind();
    let away = engine.health.away().filter(|(since, _)| now.since(*since) >= AWAY_NEWS).map(|(since, why)| {
        let used = queue.bytes.saturating_mul(100) / queue.bytes_max.max(1);
        let text = format!("{why}. Samples wait on disk: {used} % of the queue is used.");
        News::warning(format!("The storage engine ({kind}) does not answer"), text, since)
    });
    let trouble = if let Some(why) = &queue.failing {
        Some(News::error("Samples cannot be queued for the storage engine", why.clone(), now))
    } else if queue.shed > 0 {
        let text = format!("{} samples were shed since the start, the oldest first.", queue.shed);
        Some(News::error("The queue for the storage engine is full, or was", text, now))
    } else {
        queue.damage.map(|what| News::error("A file of the queue is damaged", what, now))
    };
    let refusal = engine.shipper.lock().stats().refusal.filter(|(at, _)| now.since(*at) < REFUSAL_NEWS);
    let refused =
        refusal.map(|(at, why)| News::warning(format!("The storage engine ({kind}) refuses samples"), why, at));
    [(AWAY, away), (QUEUE, trouble), (REFUSED, refused)]
}

fn help(code: &str) -> &'static str {
    match code {
        AWAY => "look at the engine and at [storage]; Belfry goes on, and sends what waits once the engine answers",
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
    let away = engine.health.away().map(|(_, why)| why);
    trouble_of(away.as_deref(), engine.queue.stats().failing.as_deref())
}

/// Of both the worse one first: what cannot be queued is lost to the engine.
fn trouble_of(away: Option<&str>, failing: Option<&str>) -> Option<String> {
    match (away, failing) {
        (None, None) => None,
        (Some(away), None) => Some(format!("it does not answer, samples wait on disk: {away}")),
        (None, Some(failing)) => Some(format!("samples cannot be queued: {failing}")),
        (Some(away), Some(failing)) => {
            Some(format!("samples cannot be queued: {failing}; and it does not answer: {away}"))
        }
    }
}

/// For `/metrics`.
pub fn metrics(app: &App, own: &mut OwnMetrics) {
    let Some(engine) = &app.engine else { return };
    let (queue, sent) = (engine.queue.stats(), engine.shipper.lock().stats());
    let lag = queue.waiting_since.map_or(Duration::ZERO, |since| app.clock.now().since(since));
    let up = f64::from(u8::from(engine.health.away().is_none()));
    own.gauge("belfry_engine_up", "1 when the storage engine answered the last time.")
        .set(&[("kind", engine.engine.kind())], up);
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
    fn what_cannot_be_queued_is_told_whether_the_engine_answers_or_not() {
        assert_eq!(trouble_of(None, None), None);
        let told = |away, failing| trouble_of(away, failing).unwrap_or_default();
        assert!(told(Some("refused"), None).contains("samples wait on disk: refused"));
        for away in [None, Some("refused")] {
            assert!(told(away, Some("no space")).contains("cannot be queued: no space"));
        }
    }
}
