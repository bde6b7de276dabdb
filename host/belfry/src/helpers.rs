//! Threads that help to evaluate queries, as many as there are processors that no query keeps busy.
//!
//! Invariant: evaluations and those who help them are together at most as many as there are processors, save where the
//! evaluations alone are more. A query that begins gets its share: who helps another goes home at the next piece.
//! The threads wait for work: a new one costs as much as a short query, and the system may begin it where another runs.
//! Not here: what a piece is (`belfry_promql::workers`), how many queries are evaluated at a time (`queries`).

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use belfry_promql::workers::Workers;
use rayon::{ThreadPool, ThreadPoolBuilder};
use rustix::thread::{CpuSet, Pid, gettid, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// Who is at work.
#[derive(Debug)]
pub struct Helpers {
    processors: usize,
    evaluating: AtomicUsize,
    helping: AtomicUsize,
    /// `None` where the system has none.
    threads: Option<Threads>,
}

/// One less than there are processors: an evaluation has a thread of its own.
#[derive(Debug)]
struct Threads {
    pool: ThreadPool,
    ids: Vec<Pid>,
    /// Where they may run.
    allowed: CpuSet,
    /// The processor that they were told to leave to an evaluation.
    left: AtomicUsize,
}

impl Threads {
    fn new(n: usize) -> Result<Self, Box<dyn std::error::Error>> {
        let pool = ThreadPoolBuilder::new().num_threads(n).thread_name(|_| "query-helper".to_owned()).build()?;
        let ids = pool.broadcast(|_| gettid());
        Ok(Self { pool, ids, allowed: sched_getaffinity(None)?, left: AtomicUsize::new(usize::MAX) })
    }

    /// Leaves the caller's processor to the caller. Kernels that pack the work of a virtual machine onto few processors
    /// begin a thread where it was woken, though another processor is idle: it would run when the caller is done.
    fn leave_processor(&self) {
        let here = sched_getcpu();
        if here >= CpuSet::MAX_CPU || self.left.swap(here, Relaxed) == here {
            return;
        }
        let mut others = self.allowed;
        others.unset(here);
        if others.count() > 0 {
            for id in &self.ids {
                // Where it is not allowed all is as the system has it.
                let _ = sched_setaffinity(Some(*id), &others);
            }
        }
    }
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
        let threads = processors
            .checked_sub(1)
            .filter(|n| *n > 0)
            .and_then(|n| Threads::new(n).inspect_err(|e| tracing::warn!("each query has one processor: {e}")).ok());
        Self { processors, evaluating: AtomicUsize::new(0), helping: AtomicUsize::new(0), threads }
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
        let Some(threads) = &self.threads else { return own() };
        // Of several evaluations each has a processor already.
        if self.evaluating.load(Relaxed) <= 1 {
            threads.leave_processor();
        }
        threads.pool.in_place_scope(|scope| {
            for at_work in (1..self.processors).map_while(|_| self.helper()) {
                scope.spawn(move |_| {
                    help();
                    drop(at_work);
                });
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
