//! The head's side of rows: which batches are one, and where their samples go.
//!
//! Invariant: a row is taken only when each of its samples is the newest of its series; whatever else comes for a
//! series of a group is judged by the group's samples too.
//! Not here: samples that come alone (`head`).

use std::sync::Arc;

use belfry_model::write::SeriesRef;
use belfry_model::{SampleBuf, TimeRange};

use crate::head::Head;
use crate::rows::{ALONE, CROWDED_SERIES, Group, ROWS_MAX, ROWS_MAX_CROWDED, Row};
use crate::series::Point;

impl Head {
    /// The group of a batch's series, if they are one: it may be made by this. `None` for series that come alone.
    pub fn group_of(&mut self, refs: &[SeriesRef]) -> Option<u32> {
        let id = self.resolve(*refs.first()?)?;
        let number = self.slots[id as usize].group;
        if self.groups.get(number).is_some_and(|g| *g.refs == *refs) {
            return Some(number);
        }
        if self.groups.comes_again(refs) { self.form_group(refs) } else { None }
    }

    /// Makes a group of these series, which leave those that they were in; `None` when one is not known or stands
    /// there twice.
    pub fn form_group(&mut self, refs: &[SeriesRef]) -> Option<u32> {
        let ids = refs.iter().map(|r| self.resolve(*r)).collect::<Option<Vec<_>>>()?;
        let mut sorted = ids.clone();
        sorted.sort_unstable();
        if sorted.windows(2).any(|w| w[0] == w[1]) {
            return None;
        }
        let mut newest = i64::MIN;
        for id in &ids {
            self.dissolve(self.slots[*id as usize].group);
            newest = newest.max(self.slots[*id as usize].newest);
        }
        let number = self.groups.add(refs, newest);
        ids.iter().for_each(|id| self.slots[*id as usize].group = number);
        Some(number)
    }

    /// Can a row be taken at `at`, without a look at each series?
    pub fn takes_row(&mut self, number: u32, at: i64) -> bool {
        let Some(g) = self.groups.get_mut(number).filter(|g| g.newest < at) else { return false };
        if at > self.blocks_max || g.knows_blocks {
            return true;
        }
        let slots = &self.slots;
        let all_know = g.ids().all(|id| slots.get(id as usize).is_some_and(|s| s.knows_blocks));
        g.knows_blocks = all_know;
        all_know
    }

    /// Takes a row: [`Head::takes_row`] was true for it, and there are as many values as series.
    pub fn push_row(&mut self, number: u32, at: i64, values: &[f64]) {
        let most = if self.slots.len() > CROWDED_SERIES { ROWS_MAX_CROWDED } else { ROWS_MAX };
        let Some(g) = self.groups.get_mut(number) else { return };
        g.newest = at;
        g.rows.push(Row { at, values: values.into() });
        self.has_live = true;
        // A first slab is shorter, by another number of rows in each group. Else the rows of all would be sealed at one
        // time, and before that all would be there.
        let first = g.slabs.is_empty().then_some(1 + number as usize % most);
        if g.rows.len() >= first.unwrap_or(most) {
            self.seal(number);
        }
    }

    /// Seals a group's rows.
    pub fn seal(&mut self, number: u32) {
        let Some(g) = self.groups.get_mut(number).filter(|g| !g.rows.is_empty()) else { return };
        let newest = g.rows.last().map_or(i64::MIN, |r| r.at);
        let slab = self.sealer.seal(&g.rows, g.refs.len());
        g.rows = Vec::new();
        self.live_bytes += slab.memory();
        g.slabs.push(Arc::new(slab));
        for id in g.ids() {
            if let Some(s) = self.slots.get_mut(id as usize) {
                s.newest = s.newest.max(newest);
            }
        }
    }

    /// Takes a group apart: its series have their samples alone from now on, until a batch of theirs comes again.
    pub fn dissolve(&mut self, number: u32) {
        if number == ALONE {
            return;
        }
        self.seal(number);
        let Some(group) = self.groups.remove(number) else { return };
        let mut buf = SampleBuf::default();
        for (column, id) in group.ids().enumerate() {
            let Some(s) = self.slots.get_mut(id as usize) else { continue };
            if s.group == number {
                s.group = ALONE;
            }
            buf.clear();
            // What was just encoded can be decoded.
            let _ = group.slabs.iter().try_for_each(|slab| slab.decode(column, TimeRange::ALL, &mut buf));
            if buf.is_empty() {
                continue;
            }
            let own = s.own.get_or_insert_default();
            for (at, value) in buf.times.iter().zip(&buf.floats) {
                let p = Point { at: *at, value: *value, start: 0, histogram: None };
                let _ = own.insert(&p, &mut self.encoder);
            }
        }
    }

    /// All numbers of groups are below this.
    pub fn groups_end(&self) -> u32 {
        self.groups.end()
    }

    /// A group, to write it to the log.
    pub fn group_mut(&mut self, number: u32) -> Option<&mut Group> {
        self.groups.get_mut(number)
    }

    /// The group that a series is in, if it has samples.
    pub fn group_with_samples(&self, id: u32) -> Option<(u32, &Group)> {
        let number = self.slot(id)?.group;
        Some((number, self.groups.get(number).filter(|g| !g.is_empty())?))
    }

    /// The series of a group, in order.
    pub fn group_ids(&self, number: u32) -> Vec<u32> {
        self.groups.get(number).map_or_else(Vec::new, |g| g.ids().collect())
    }

    /// Groups learn what the newest sample of their series is. They must have no samples.
    pub fn note_newest_of_groups(&mut self) {
        for number in 0..self.groups.end() {
            let Some(g) = self.groups.get_mut(number) else { continue };
            let slots = &self.slots;
            let newest = g.ids().filter_map(|id| slots.get(id as usize)).map(|s| s.newest).max();
            g.newest = newest.unwrap_or(g.newest).max(g.newest);
        }
    }
}
