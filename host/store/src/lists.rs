//! Very many short lists of numbers, without an allocation each.
//!
//! Lists of one length lie in one vector, so that the place of one that is gone is right for the next one.
//!
//! Invariant: a list is what it was set to until it is removed.
//! Not here: what the numbers mean (`index`).

/// Where a list is: among those of its length.
#[derive(Clone, Copy, Default)]
struct Place {
    at: u32,
    length: u32,
}

/// All lists of one length, one behind the other.
#[derive(Default)]
struct Pool {
    numbers: Vec<u32>,
    /// Places without a list.
    free: Vec<u32>,
}

/// See the module. A list that was never set is empty.
#[derive(Default)]
pub struct Lists {
    places: Vec<Place>,
    /// By length.
    pools: Vec<Pool>,
}

impl Lists {
    /// The list of this number.
    pub fn get(&self, id: u32) -> &[u32] {
        let place = self.places.get(id as usize).copied().unwrap_or_default();
        let (at, length) = (place.at as usize, place.length as usize);
        let pool = self.pools.get(length);
        pool.and_then(|p| p.numbers.get(at * length..(at + 1) * length)).unwrap_or_default()
    }

    /// Sets the list of this number, which is empty.
    pub fn set(&mut self, id: u32, list: &[u32]) {
        let length = list.len();
        if self.pools.len() <= length {
            self.pools.resize_with(length + 1, Pool::default);
        }
        if self.places.len() <= id as usize {
            self.places.resize(id as usize + 1, Place::default());
        }
        let (Some(pool), Some(place)) = (self.pools.get_mut(length), self.places.get_mut(id as usize)) else { return };
        if length == 0 {
            return;
        }
        let at = match pool.free.pop() {
            Some(at) => {
                if let Some(room) = pool.numbers.get_mut(at as usize * length..(at as usize + 1) * length) {
                    room.copy_from_slice(list);
                }
                at
            }
            None => {
                pool.numbers.extend_from_slice(list);
                (pool.numbers.len() / length) as u32 - 1
            }
        };
        *place = Place { at, length: length as u32 };
    }

    /// Places for numbers, free ones included.
    #[cfg(test)]
    pub fn places(&self) -> usize {
        self.pools.iter().map(|p| p.numbers.len()).sum()
    }

    /// Empties the list of this number.
    pub fn remove(&mut self, id: u32) {
        let Some(place) = self.places.get_mut(id as usize).map(std::mem::take) else { return };
        if let Some(pool) = self.pools.get_mut(place.length as usize).filter(|_| place.length > 0) {
            pool.free.push(place.at);
        }
    }

    /// Closes ranks where more than half of the places are free, and gives back what is not needed.
    pub fn shrink(&mut self) {
        while self.places.last().is_some_and(|p| p.length == 0) {
            self.places.pop();
        }
        if self.places.capacity() > self.places.len() * 4 {
            self.places.shrink_to_fit();
        }
        for (length, pool) in self.pools.iter_mut().enumerate().skip(1) {
            if pool.free.len() * length * 2 <= pool.numbers.len() {
                continue;
            }
            let mut numbers = Vec::with_capacity(pool.numbers.len() - pool.free.len() * length);
            for place in self.places.iter_mut().filter(|p| p.length as usize == length) {
                let from = place.at as usize * length;
                place.at = (numbers.len() / length) as u32;
                numbers.extend_from_slice(pool.numbers.get(from..from + length).unwrap_or_default());
            }
            *pool = Pool { numbers, free: Vec::new() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn places_are_used_again_and_given_back() {
        let mut lists = Lists::default();
        for round in 0..50u32 {
            for id in 0..100 {
                lists.set(id, &[round, id, 7]);
            }
            assert_eq!(lists.get(99), [round, 99, 7]);
            (0..100).for_each(|id| lists.remove(id));
        }
        assert_eq!(lists.pools[3].numbers.len(), 300);
        lists.set(1, &[5, 5, 5]);
        lists.shrink();
        assert_eq!((lists.pools[3].numbers.len(), lists.pools[3].free.len(), lists.places.len()), (3, 0, 2));
        assert_eq!(lists.get(1), [5, 5, 5]);
    }

    proptest! {
        #[test]
        fn a_list_is_what_it_was_set_to(
            steps in proptest::collection::vec((0u32..20, proptest::option::of(proptest::collection::vec(any::<u32>(), 0..5))), 0..200),
        ) {
            let (mut lists, mut expected) = (Lists::default(), std::collections::HashMap::new());
            for (i, (id, list)) in steps.into_iter().enumerate() {
                lists.remove(id);
                expected.remove(&id);
                if let Some(list) = list {
                    lists.set(id, &list);
                    expected.insert(id, list);
                }
                if i % 16 == 0 {
                    lists.shrink();
                }
                for id in 0..22 {
                    prop_assert_eq!(lists.get(id), expected.get(&id).map_or(&[][..], Vec::as_slice));
                }
            }
        }
    }
}
