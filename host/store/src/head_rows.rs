//! The head's side of rows: which batches are one, and where their samples go.
//!
//! Invariant: a row is taken only when each of its samples is the newest of its series; whatever else comes for a
//! series of a group finds the group's rows moved on before.
//! Not here: samples that come alone (`head`).

use std::sync::Arc;

use belfry_model::write::SeriesRef;

use crate::head::Head;
use crate::own::Own;
use crate::rows::{ALONE, CROWDED_SERIES, Group, ROWS_MAX, ROWS_MAX_CROWDED, Row};

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
        if g.rows.len() >= most {
            self.move_on(number);
        }
    }

    /// Hands the samples of a group's rows to their series.
    pub fn move_on(&mut self, number: u32) {
        let Some(g) = self.groups.get_mut(number).filter(|g| !g.rows.is_empty()) else { return };
        let rows = std::mem::take(&mut g.rows);
        let Some(newest) = rows.last().map(|r| r.at) else { return };
        for (column, id) in g.ids().enumerate() {
            let Some(s) = self.slots.get_mut(id as usize) else { continue };
            s.newest = newest;
            let own: &mut Own = s.own.get_or_insert_default();
            let samples = rows.iter().filter_map(|r| Some((r.at, *r.values.get(column)?)));
            self.live_bytes += own.push_floats(samples);
        }
    }

    /// Takes a group apart. Its series come alone from now on, until a batch of theirs comes again.
    pub fn dissolve(&mut self, number: u32) {
        if number == ALONE {
            return;
        }
        self.move_on(number);
        let Some(group) = self.groups.remove(number) else { return };
        for id in group.ids() {
            if let Some(s) = self.slots.get_mut(id as usize).filter(|s| s.group == number) {
                s.group = ALONE;
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

    /// The group that a series is in, and the rows that have not moved on.
    pub fn rows(&self, id: u32) -> Option<(u32, &[Row])> {
        let number = self.slot(id)?.group;
        let rows = &self.groups.get(number)?.rows;
        (!rows.is_empty()).then_some((number, rows))
    }

    /// The series of a group, in order.
    pub fn group_ids(&self, number: u32) -> Vec<u32> {
        self.groups.get(number).map_or_else(Vec::new, |g| g.ids().collect())
    }

    /// Groups learn what the newest sample of their series is. They must have no rows.
    pub fn note_newest_of_groups(&mut self) {
        for number in 0..self.groups.end() {
            let Some(g) = self.groups.get_mut(number) else { continue };
            let slots = &self.slots;
            let newest = g.ids().filter_map(|id| slots.get(id as usize)).map(|s| s.newest).max();
            g.newest = newest.unwrap_or(g.newest).max(g.newest);
        }
    }

    /// Copies the rows of a group: they are few, and their values are shared.
    pub fn rows_of(&self, number: u32) -> Arc<[Row]> {
        self.groups.get(number).map_or_else(|| Arc::from([]), |g| g.rows.as_slice().into())
    }
}
