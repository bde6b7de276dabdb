//! Threads that help to evaluate queries, as many as there are processors that no query keeps busy.
//!
//! Invariant: evaluations and those who help them are together at most as many as there are processors, save where the
//! evaluations alone are more. A query that begins gets its share: who helps another goes home at the next piece.
//! Not here: what a piece is (`belfry_promql::workers`), how many queries are evaluated at a time (`queries`).

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use belfry_promql::workers::Workers;

/// Who is at work.
#[derive(Debug)]
pub struct Helpers {
    processors: usize,
    evaluating: AtomicUsize,
    helping: AtomicUsize,
}

/// One more at work, until it is dropped.
pub struct AtWork<'h>(&'h AtomicUsize);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Helpers {
    /// For so many processors.
    pub fn new(processors: usize) -> Self {
        Self { processors, evaluating: AtomicUsize::new(0), helping: AtomicUsize::new(0) }
    }

    /// An evaluation begins; it is over when the result is dropped.
    pub fn evaluation(&self) -> AtWork<'_> {
        self.evaluating.fetch_add(1, Relaxed);
        AtWork(&self.evaluating)
    }

    /// One who helps, if a processor is free.
    fn helper(&self) -> Option<AtWork<'_>> {
        let room = self.processors.saturating_sub(self.evaluating.load(Relaxed));
        self.helping.fetch_update(Relaxed, Relaxed, |n| (n < room).then_some(n + 1)).ok()?;
        Some(AtWork(&self.helping))
    }
}

impl Workers for Helpers {
    fn run(&self, help: &(dyn Fn() + Sync), own: &mut dyn FnMut()) {
        std::thread::scope(|scope| {
            for at_work in (1..self.processors).map_while(|_| self.helper()) {
                let work = move || {
                    help();
                    drop(at_work);
                };
                let thread = std::thread::Builder::new().name("query-helper".to_owned());
                // Where the system has no thread to give, the evaluation goes on without.
                if thread.spawn_scoped(scope, work).is_err() {
                    break;
                }
            }
            own();
        });
    }

    fn is_wanted(&self) -> bool {
        self.evaluating.load(Relaxed) + self.helping.load(Relaxed) <= self.processors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many helped.
    fn helped(helpers: &Helpers) -> usize {
        let came = AtomicUsize::new(0);
        let help = || {
            came.fetch_add(1, Relaxed);
        };
        helpers.run(&help, &mut || {});
        came.into_inner()
    }

    #[test]
    fn a_query_alone_has_all_processors_and_several_share_them() {
        let helpers = Helpers::new(2);
        let first = helpers.evaluation();
        assert_eq!(helped(&helpers), 1);
        assert!(helpers.is_wanted());
        let _second = helpers.evaluation();
        assert_eq!(helped(&helpers), 0);
        let at_work = helpers.helper();
        assert!(at_work.is_none());
        drop(first);
        assert!(helpers.helper().is_some());
    }

    #[test]
    fn who_helps_goes_home_when_another_query_begins() {
        let helpers = Helpers::new(2);
        let _first = helpers.evaluation();
        let _helper = helpers.helper().expect("a free processor");
        assert!(helpers.is_wanted());
        let _second = helpers.evaluation();
        assert!(!helpers.is_wanted());
    }
}
