//! "Something of this kind changed": told by the drivers, gathered by the publisher of live events.
//!
//! Invariant: telling never waits and never piles up: a kind is either marked or not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::Notify;

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Changed {
    /// Samples came in.
    Overview = 1,
    /// Health or counters of a source.
    Sources = 2,
    /// An alert.
    Alerts = 4,
    /// A plugin.
    Plugins = 8,
    /// A report.
    Reports = 16,
}

/// Marks, shared.
#[derive(Clone, Default)]
pub struct Changes(Arc<Inner>);

#[derive(Default)]
struct Inner {
    marks: AtomicU8,
    notify: Notify,
}

impl Changes {
    /// Marks a kind. Whoever waits is woken by the first mark only: scrapes tell hundreds of times a second.
    pub fn tell(&self, what: Changed) {
        if self.0.marks.fetch_or(what as u8, Ordering::AcqRel) & what as u8 == 0 {
            self.0.notify.notify_one();
        }
    }

    /// Wakes whoever waits: somebody new wants to know.
    pub fn wake(&self) {
        self.0.notify.notify_one();
    }

    /// Waits for a mark.
    pub async fn wait(&self) {
        self.0.notify.notified().await;
    }

    /// Takes all marks.
    pub fn take(&self) -> Marks {
        Marks(self.0.marks.swap(0, Ordering::AcqRel))
    }
}

/// What had changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks(u8);

impl Marks {
    /// This kind?
    pub fn has(self, what: Changed) -> bool {
        self.0 & what as u8 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_mark_wakes_once_and_again_when_it_was_taken() {
        let changes = Changes::default();
        let woken = || tokio::time::timeout(std::time::Duration::ZERO, changes.wait());
        changes.tell(Changed::Sources);
        assert!(woken().await.is_ok());
        changes.tell(Changed::Sources);
        assert!(woken().await.is_err(), "it is marked already");
        changes.wake();
        assert!(woken().await.is_ok());
        changes.take();
        changes.tell(Changed::Sources);
        assert!(woken().await.is_ok());
    }

    #[test]
    fn a_kind_is_marked_once_however_often_it_is_told() {
        let changes = Changes::default();
        changes.tell(Changed::Alerts);
        changes.tell(Changed::Alerts);
        changes.tell(Changed::Reports);
        let marks = changes.take();
        assert!(marks.has(Changed::Alerts) && marks.has(Changed::Reports) && !marks.has(Changed::Sources));
        assert_eq!(changes.take(), Marks::default());
    }
}
