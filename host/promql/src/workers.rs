//! Threads that a caller lends to an evaluation: pieces of work side by side, taken in order.
//!
//! Invariant: what is made of the pieces does not depend on how many threads make them; at most [`AHEAD`] pieces are on
//! their way or wait to be taken.
//! Not here: threads (the caller has them), what a piece is.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Pieces that may be done or on their way before the next one in order is taken: enough that nobody waits for one slow
/// piece, few enough that they take little memory.
pub const AHEAD: usize = 8;

/// Lends threads. The answer is the same whatever it lends.
pub trait Workers: Send + Sync {
    /// Calls `own` on this thread and, meanwhile, `help` on others, if there are any to spare. Comes back when `own` has,
    /// and no `help` runs any more. `help` returns when there is nothing left to do, or [`Workers::is_wanted`] says no.
    fn run(&self, help: &(dyn Fn() + Sync), own: &mut dyn FnMut());

    /// Is a thread that helps still to spare? Asked between two pieces.
    fn is_wanted(&self) -> bool {
        true
    }
}

/// No thread but the caller's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Workers for Alone {
    fn run(&self, _: &(dyn Fn() + Sync), own: &mut dyn FnMut()) {
        own();
    }
}

struct State<T> {
    /// The next piece that nobody makes yet.
    next: usize,
    /// The next piece to be taken.
    taken: usize,
    made: BTreeMap<usize, T>,
    /// Nobody takes pieces any more.
    over: bool,
    /// A piece was lost: who made it panicked.
    lost: bool,
}

struct Row<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    n: usize,
    ahead: usize,
}

impl<T> Row<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Every change is whole: a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'g>(&self, state: MutexGuard<'g, State<T>>) -> MutexGuard<'g, State<T>> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// A piece to make, unless there is none, or none may be made yet.
    fn claim(&self, state: &mut State<T>) -> Option<usize> {
        let free = !state.over && state.next < self.n && state.next < state.taken + self.ahead;
        free.then(|| {
            state.next += 1;
            state.next - 1
        })
    }

    fn make(&self, at: usize, work: impl FnOnce(usize) -> T) {
        let mut unfinished = Unfinished { row: self, armed: true };
        let piece = work(at);
        unfinished.armed = false;
        self.lock().made.insert(at, piece);
        self.changed.notify_all();
    }
}

/// Tells the others when a piece is lost.
struct Unfinished<'r, T> {
    row: &'r Row<T>,
    armed: bool,
}

impl<T> Drop for Unfinished<'_, T> {
    fn drop(&mut self) {
        if self.armed {
            self.row.lock().lost = true;
            self.row.changed.notify_all();
        }
    }
}

/// Lets those who help go home, also when taking a piece panics.
struct Over<'r, T>(&'r Row<T>);

impl<T> Drop for Over<'_, T> {
    fn drop(&mut self) {
        self.0.lock().over = true;
        self.0.changed.notify_all();
    }
}

/// Makes `n` pieces, at most `ahead` before they are taken, and hands them to `take`, on this thread and in order, until
/// that fails. Each thread has a state of
/// its own, from `begin`. `false`: a piece is missing, because making it panicked elsewhere.
pub fn in_order<S, T: Send, E>(
    workers: &dyn Workers,
    n: usize,
    ahead: usize,
    begin: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize) -> T + Sync,
    mut take: impl FnMut(T) -> Result<(), E>,
) -> Result<bool, E> {
    if n <= 1 {
        let mut state = begin();
        (0..n).try_for_each(|at| take(work(&mut state, at)))?;
        return Ok(true);
    }
    let state = State { next: 0, taken: 0, made: BTreeMap::new(), over: false, lost: false };
    let row = Row { state: Mutex::new(state), changed: Condvar::new(), n, ahead: ahead.clamp(1, AHEAD) };
    let help = || {
        let mut mine = begin();
        while workers.is_wanted() {
            let mut state = row.lock();
            let at = loop {
                if state.over || state.lost || state.next >= row.n {
                    return;
                }
                match row.claim(&mut state) {
                    Some(at) => break at,
                    None => state = row.wait(state),
                }
            };
            drop(state);
            row.make(at, |at| work(&mut mine, at));
        }
    };
    let mut outcome = Ok(true);
    let mut own = || {
        let _over = Over(&row);
        let mut mine = begin();
        let mut state = row.lock();
        while state.taken < n {
            let due = state.taken;
            if let Some(piece) = state.made.remove(&due) {
                state.taken += 1;
                drop(state);
                row.changed.notify_all();
                if let Err(e) = take(piece) {
                    outcome = Err(e);
                    return;
                }
                state = row.lock();
            } else if state.lost {
                outcome = Ok(false);
                return;
            } else if let Some(at) = row.claim(&mut state) {
                drop(state);
                row.make(at, |at| work(&mut mine, at));
                state = row.lock();
            } else {
                state = row.wait(state);
            }
        }
    };
    workers.run(&help, &mut own);
    outcome
}

#[cfg(test)]
#[path = "workers_tests.rs"]
mod tests;
