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
use crate::slab::PIECES;

/// Samples that a group takes over from its series at most: 8 MB while it does.
const GATHERED_MAX: usize = 1 << 20;
/// What a series gives back when its group takes over its samples: at least what two pieces take.
const ALONE_BYTES: usize = 128;

impl Head {
    /// The group of a batch's series, if they are one: it may be made by this. `None` for series that come alone.
    pub fn group_of(&mut self, refs: &[SeriesRef]) -> Option<u32> {
        let known = self.known_group(refs);
        if known.is_none() && self.groups.comes_again(refs) { self.form_group(refs) } else { known }
    }

    /// The group of exactly these series.
    fn known_group(&self, refs: &[SeriesRef]) -> Option<u32> {
        let number = self.slot(self.resolve(*refs.first()?)?)?.group;
        self.groups.get(number).filter(|g| *g.refs == *refs).map(|_| number)
    }

    /// The group that the log says these series are, made unless it is there.
    pub fn restore_group(&mut self, refs: &[SeriesRef]) -> Option<u32> {
        self.known_group(refs).or_else(|| self.form_group(refs))
    }

    /// Takes a row that the log brought back, and yields how many samples of it were not here; `None` when they are for
    /// their series alone. Whether it is the newest was judged before: only where records are missing or stand there
    /// twice is it not.
    pub fn restore_row(&mut self, number: u32, at: i64, values: &[f64]) -> Option<usize> {
        let g = self.groups.get(number).filter(|g| g.refs.len() == values.len())?;
        if g.newest >= at {
            let is_here =
                g.rows.iter().any(|r| r.at == at) || g.slabs.iter().any(|s| s.times().binary_search(&at).is_ok());
            return is_here.then_some(0);
        }
        self.push_row(number, at, values);
        Some(values.len())
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

    /// Takes a row: it is behind everything that its series have, and there are as many values as series.
    pub fn push_row(&mut self, number: u32, at: i64, values: &[f64]) {
        let most = self.rows_most();
        self.gather(number, most);
        let Some(g) = self.groups.get_mut(number) else { return };
        g.newest = at;
        // A row behind all blocks is behind what they have of each of its series. Without this the first row that comes
        // after a block was cut would be looked up in that block, series by series.
        g.knows_blocks |= at > self.blocks_max;
        g.rows.push(Row { at, values: values.into() });
        self.has_live = true;
        if let Some(watch) = self.watch.as_mut().filter(|w| w.covers(at)) {
            for (id, value) in g.ids().zip(values) {
                watch.note(id, &Point { at, value: *value, start: 0, histogram: None }, &self.index);
            }
        }
        // A first slab is shorter, by another number of rows in each group. Else the rows of all would be sealed at one
        // time, and before that all would be there.
        let first = g.slabs.is_empty().then_some(1 + number as usize % most);
        if g.rows.len() >= first.unwrap_or(most) {
            self.seal(number);
        }
    }

    fn rows_most(&self) -> usize {
        if self.slots.len() > CROWDED_SERIES { ROWS_MAX_CROWDED } else { ROWS_MAX }
    }

    /// A group without samples takes over those that its series have alone, where all have had the same times: the sample
    /// that came before they were known as a group, or what the log brought back. A stream takes 130 bytes before its
    /// first sample.
    fn gather(&mut self, number: u32, most: usize) {
        let Some(g) = self.groups.get(number).filter(|g| g.is_empty()) else { return };
        let slots = &self.slots;
        let own = |id: u32| slots.get(id as usize)?.own.as_deref();
        let mut last = None;
        let mut bytes = 0;
        for id in g.ids() {
            let Some((max, of_series)) = own(id).and_then(|o| o.plain()) else { return };
            if *last.get_or_insert(max) != max {
                return;
            }
            bytes += of_series;
        }
        let columns = g.refs.len();
        let (mut times, mut values, mut buf) = (Vec::new(), Vec::new(), SampleBuf::default());
        for id in g.ids() {
            buf.clear();
            if own(id).is_none_or(|o| o.decode(TimeRange::ALL, &mut buf).is_err()) || !buf.starts.is_empty() {
                return;
            }
            if values.is_empty() {
                times.clone_from(&buf.times);
            }
            if times != buf.times || times.len() * columns > GATHERED_MAX {
                return;
            }
            values.extend_from_slice(&buf.floats);
        }
        let value = |column: usize, row: usize| values.get(column * times.len() + row).copied().unwrap_or_default();
        let row = |(row, at): (usize, &i64)| Row { at: *at, values: (0..columns).map(|c| value(c, row)).collect() };
        let mut rows: Vec<Row> = times.iter().enumerate().map(row).collect();
        // As many stay open as if they had come one by one, another number in each group.
        let open = rows.split_off(times.len().saturating_sub(number as usize % most));
        let slabs: Vec<_> = rows.chunks(most).map(|rows| Arc::new(self.sealer.seal(rows, columns))).collect();
        let Some(g) = self.groups.get_mut(number) else { return };
        for id in g.ids() {
            if let Some(s) = self.slots.get_mut(id as usize) {
                s.own = None;
            }
        }
        self.live_bytes = self.live_bytes.saturating_sub(bytes) + slabs.iter().map(|s| s.memory()).sum::<usize>();
        self.freed_bytes += columns * ALONE_BYTES + bytes;
        (g.slabs, g.rows) = (slabs, open);
    }

    /// Seals a group's rows.
    pub fn seal(&mut self, number: u32) {
        let Some(g) = self.groups.get_mut(number).filter(|g| !g.rows.is_empty()) else { return };
        let newest = g.rows.last().map_or(i64::MIN, |r| r.at);
        let slab = self.sealer.seal(&g.rows, g.refs.len());
        g.rows = Vec::new();
        self.live_bytes += slab.memory();
        g.slabs.push(Arc::new(slab));
        // The oldest of those that are not joined: a group that takes over samples has many at once.
        let single = g.slabs.iter().rev().take_while(|s| !s.is_joined()).count();
        let parts = g.slabs.len() - single..g.slabs.len() - single + PIECES;
        if let Some(slabs) = g.slabs.get(parts.clone())
            && let Some(joined) = self.sealer.join(slabs)
        {
            let bytes: usize = slabs.iter().map(|s| s.memory()).sum();
            self.live_bytes = (self.live_bytes + joined.memory()).saturating_sub(bytes);
            g.slabs.splice(parts, [Arc::new(joined)]);
        }
        for id in g.ids() {
            if let Some(s) = self.slots.get_mut(id as usize) {
                s.newest = s.newest.max(newest);
                s.knows_blocks |= g.knows_blocks;
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

    /// Groups learn what the newest sample of their series is, of those that came alone too.
    pub fn note_newest_of_groups(&mut self) {
        for number in 0..self.groups.end() {
            let Some(g) = self.groups.get_mut(number) else { continue };
            let slots = &self.slots;
            let newest = g.ids().filter_map(|id| slots.get(id as usize)).map(|s| s.newest).max();
            g.newest = newest.unwrap_or(g.newest).max(g.newest);
        }
    }
}
