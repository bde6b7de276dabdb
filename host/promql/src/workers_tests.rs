//! Pieces come in order, each once, whoever makes them.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use super::*;

/// So many threads help.
struct Threads(usize);

impl Workers for Threads {
    fn run(&self, help: &(dyn Fn() + Sync), own: &mut dyn FnMut()) {
        std::thread::scope(|s| {
            (0..self.0).for_each(|_| drop(s.spawn(help)));
            own();
        });
    }
}

#[test]
fn pieces_come_in_order_and_each_is_made_once() {
    for helpers in [0, 1, 3] {
        for n in [0, 1, 2, AHEAD, 100, 1_000] {
            let made = AtomicUsize::new(0);
            let mut taken = Vec::new();
            let work = |mine: &mut usize, at| {
                *mine += 1;
                made.fetch_add(1, SeqCst);
                at * 2
            };
            let take = |piece| {
                taken.push(piece);
                Ok::<_, ()>(())
            };
            assert_eq!(in_order(&Threads(helpers), n, AHEAD, || 0, work, take), Ok(true));
            assert_eq!(taken, (0..n).map(|at| at * 2).collect::<Vec<_>>());
            assert_eq!(made.load(SeqCst), n);
        }
    }
}

#[test]
fn nobody_runs_far_ahead_of_what_is_taken() {
    let taken = AtomicUsize::new(0);
    let work = |(): &mut (), at: usize| assert!(at <= taken.load(SeqCst) + 3, "piece {at}");
    let take = |()| {
        taken.fetch_add(1, SeqCst);
        Ok::<_, ()>(())
    };
    assert_eq!(in_order(&Threads(3), 500, 3, || (), work, take), Ok(true));
}

#[test]
fn a_failure_ends_the_work_of_all() {
    let made = AtomicUsize::new(0);
    let work = |(): &mut (), at| {
        made.fetch_add(1, SeqCst);
        at
    };
    let outcome = in_order(&Threads(3), 1_000_000, AHEAD, || (), work, |at| if at == 10 { Err("ten") } else { Ok(()) });
    assert_eq!(outcome, Err("ten"));
    assert!(made.load(SeqCst) <= 10 + AHEAD + 1);
}

/// Who takes must not wait for a piece that never comes.
#[test]
fn a_panic_of_a_helper_reaches_the_caller() {
    let caller = std::thread::current().id();
    let helped = AtomicBool::new(false);
    let work = |(): &mut (), at: usize| {
        if std::thread::current().id() != caller {
            helped.store(true, SeqCst);
            panic!("a defect in piece {at}");
        }
        while !helped.load(SeqCst) {
            std::thread::yield_now();
        }
    };
    let all = AssertUnwindSafe(|| in_order(&Threads(1), 1_000, AHEAD, || (), work, |()| Ok::<_, ()>(())));
    assert!(std::panic::catch_unwind(all).is_err());
}
