//! How much memory the indexes of all blocks may hold.
//!
//! Invariant: once an index was read, all that are held are no more than [`INDEX_BYTES_MAX`], or are this one alone. Who
//! reads one that must go has it until they are done.
//! Not here: when an index is read, and that one that rests is given back (`read`).

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};

/// Bytes of indexes that are held. One of a million series is 40 MB.
pub const INDEX_BYTES_MAX: usize = 64 << 20;

/// Where a block holds its index.
pub type Place<T> = Arc<RwLock<Option<Arc<T>>>>;

/// A place that may be gone, and the bytes of what it holds.
type Entry<T> = (Weak<RwLock<Option<Arc<T>>>>, usize);

/// See the module.
pub struct Room<T> {
    /// The one that was read first is in front.
    held: Mutex<VecDeque<Entry<T>>>,
}

impl<T> Default for Room<T> {
    fn default() -> Self {
        Self { held: Mutex::default() }
    }
}

impl<T> Room<T> {
    /// An index of so many bytes is held at `place` now: those that were read first go if there is no room for them.
    pub fn enter(&self, place: &Place<T>, bytes: usize) {
        let mut held = self.held.lock();
        held.retain(|(p, _)| p.upgrade().is_some_and(|p| !Arc::ptr_eq(&p, place) && p.read().is_some()));
        held.push_back((Arc::downgrade(place), bytes));
        while held.len() > 1 && held.iter().map(|(_, bytes)| bytes).sum::<usize>() > INDEX_BYTES_MAX {
            if let Some(first) = held.pop_front().and_then(|(p, _)| p.upgrade()) {
                *first.write() = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_first_goes_when_there_is_no_room() {
        let room = Room::default();
        let places: Vec<Place<u8>> = (0..4).map(|i| Arc::new(RwLock::new(Some(Arc::new(i))))).collect();
        let enter = |i: usize, part: usize| room.enter(&places[i], INDEX_BYTES_MAX / part);
        let held = || places.iter().map(|p| p.read().is_some()).collect::<Vec<_>>();
        enter(0, 3);
        enter(1, 3);
        // Read again: it is the last one then.
        enter(0, 3);
        enter(2, 3);
        assert_eq!(held(), [true; 4]);
        enter(3, 3);
        assert_eq!(held(), [true, false, true, true]);
        *places[0].write() = None;
        *places[1].write() = Some(Arc::new(9));
        enter(1, 3);
        assert_eq!(held(), [false, true, true, true], "one that was given back takes no room");
        room.enter(&places[2], 2 * INDEX_BYTES_MAX);
        assert_eq!(held(), [false, false, true, false], "one alone may be larger");
    }
}
