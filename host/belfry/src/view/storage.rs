//! How what is kept is: what a person should know of the disk, and from when on there are samples.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use belfry_dashboard::dto::{Notice, NoticeLevel};
use belfry_model::TimestampMs;
use belfry_store::{Health, Store};
use parking_lot::Mutex;

use crate::app::App;

/// Finding the oldest sample looks at every series: no more often than this.
const OLDEST_EVERY: Duration = Duration::from_secs(30);

/// What is remembered from one look to the next.
#[derive(Default)]
pub struct Looked {
    /// When each trouble that there is was seen first.
    since: Mutex<BTreeMap<&'static str, TimestampMs>>,
    /// When it was found, by the clock that only goes on, and what.
    oldest: Mutex<Option<(Duration, Option<TimestampMs>)>>,
}

/// Notices about the disk.
pub fn notices(app: &App, now: TimestampMs) -> Vec<Notice> {
    app.rates.storage.told(app.store.health(), app.store.damage(), now)
}

impl Looked {
    fn told(&self, health: Health, damage: Option<String>, now: TimestampMs) -> Vec<Notice> {
        let mut troubles = Vec::new();
        let room = "make room in the data folder, or set [storage] retention_size; Belfry goes on by itself, and nothing that \
                    was acknowledged is lost";
        match health {
            Health::Ok => {}
            Health::Degraded(why) => troubles.push((
                "storage_degraded",
                "Samples are kept, but work on what is stored cannot be done",
                why,
                "make room in the data folder or look at the disk; merging goes on by itself, an import or a deletion is to \
                 be made again",
            )),
            Health::DiskFull(why) => troubles.push(("disk_full", "The disk is full: samples are not kept", why, room)),
            Health::Failing(why) => troubles.push((
                "disk_failing",
                "The disk refuses to write: samples are not kept",
                why,
                "look at the disk and at who owns the data folder; Belfry goes on by itself once it can write",
            )),
        }
        if let Some(why) = damage {
            let help = "everything else is read and written; look at the disk, and restore the file if there is a copy; of \
                        what was lost of the log you are told until retention has passed it";
            troubles.push(("data_damaged", "Some of the data cannot be read", why, help));
        }
        let mut since = self.since.lock();
        since.retain(|code, _| troubles.iter().any(|t| t.0 == *code));
        let notice = |(code, title, text, help): (&'static str, &str, String, &str)| Notice {
            code: code.to_owned(),
            level: if code == "storage_degraded" { NoticeLevel::Warning } else { NoticeLevel::Error },
            title: title.to_owned(),
            text,
            help: Some(help.to_owned()),
            since_ms: *since.entry(code).or_insert(now),
        };
        troubles.into_iter().map(notice).collect()
    }
}

/// Time of the oldest sample.
pub async fn oldest(app: &App) -> Option<TimestampMs> {
    let monotonic = app.clock.monotonic();
    let known = *app.rates.storage.oldest.lock();
    match known {
        Some((found, oldest)) if oldest.is_some() && monotonic.saturating_sub(found) < OLDEST_EVERY => oldest,
        _ => {
            let oldest = span(app.store.clone()).await.map(|(oldest, _)| oldest);
            *app.rates.storage.oldest.lock() = Some((monotonic, oldest));
            oldest
        }
    }
}

/// Times of the oldest and newest sample.
pub async fn span(store: Arc<Store>) -> Option<(TimestampMs, TimestampMs)> {
    tokio::task::spawn_blocking(move || store.span()).await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_told_with_when_it_began_and_goes_when_it_is_over() {
        let looked = Looked::default();
        let codes = |health: Health, damage: Option<&str>, at: i64| -> Vec<(String, i64)> {
            let told = looked.told(health, damage.map(str::to_owned), TimestampMs(at));
            assert!(told.iter().all(|n| n.help.is_some() && n.level == NoticeLevel::Error));
            told.into_iter().map(|n| (n.code, n.since_ms.0)).collect()
        };
        let full = || Health::DiskFull("no space".into());
        assert_eq!(codes(Health::Ok, None, 1), []);
        assert_eq!(codes(full(), None, 2), [("disk_full".to_owned(), 2)]);
        assert_eq!(codes(full(), Some("block 7"), 3), [("disk_full".to_owned(), 2), ("data_damaged".to_owned(), 3)]);
        assert_eq!(codes(Health::Failing("read-only".into()), Some("block 7"), 4)[0], ("disk_failing".to_owned(), 4));
        assert_eq!(codes(full(), None, 5), [("disk_full".to_owned(), 5)]);
    }

    #[test]
    fn what_keeps_no_sample_away_is_a_warning() {
        let told = Looked::default().told(Health::Degraded("blocks cannot be merged".into()), None, TimestampMs(1));
        assert_eq!((told.len(), told[0].code.as_str(), told[0].level), (1, "storage_degraded", NoticeLevel::Warning));
    }
}
