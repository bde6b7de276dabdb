//! Rows: series that get their samples together, at one time, as those of a scrape do.
//!
//! A row is taken in one go: one look at the time stands for that of every series. Some rows later the samples move on
//! to their series, many at a time.
//!
//! Invariant: while a group has rows, nothing else is later than them in any of its series; a series is in one group
//! at most.
//! Not here: what the series had before (`own`), how a row looks in the log (`row_record`).

use std::collections::HashMap;
use std::sync::Arc;

use belfry_model::write::SeriesRef;
use belfry_model::{SampleBuf, TimeRange};

/// Fewer series than this are not worth a group.
pub const GROUP_SERIES_MIN: usize = 8;
/// A group's rows move on to their series when there are so many: raw, each is 8 bytes a series.
pub const ROWS_MAX: usize = 16;
/// So many when there are many series.
pub const ROWS_MAX_CROWDED: usize = 8;
/// More open series than this are many.
pub const CROWDED_SERIES: usize = 250_000;
/// Batches whose series may become a group when they come again; all are forgotten beyond it.
const CANDIDATES_MAX: usize = 16_384;
/// No group: a series of this number in a slot is alone.
pub const ALONE: u32 = u32::MAX;

/// One time, and the value of each series of the group.
#[derive(Clone)]
pub struct Row {
    /// When.
    pub at: i64,
    /// In the group's order.
    pub values: Arc<[f64]>,
}

/// Series that get their samples together.
pub struct Group {
    /// In the order of the batches.
    pub refs: Box<[SeriesRef]>,
    /// Time of the newest sample of any of them, in a row or not.
    pub newest: i64,
    /// `newest` covers the blocks.
    pub knows_blocks: bool,
    /// What has not moved on to the series.
    pub rows: Vec<Row>,
    /// The bits of the last row that the log has: the next one is written as the difference.
    pub base: Box<[u64]>,
    /// Rows in the log since it was told of the group.
    pub logged: u32,
    /// The log's epoch that was told of the group, cut to 32 bits.
    pub introduced: u32,
    /// Its number in the log: a new one each time that the log is told, so that no row is ever taken for another's.
    pub log_number: u32,
}

impl Group {
    /// The series' numbers, in order.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = u32> + '_ {
        self.refs.iter().map(|r| r.0 as u32)
    }
}

/// All groups.
#[derive(Default)]
pub struct Groups {
    groups: Vec<Option<Box<Group>>>,
    free: Vec<u32>,
    /// First series of a batch, and what the whole batch looked like.
    candidates: HashMap<u32, u64>,
}

impl Groups {
    /// A group.
    pub fn get(&self, number: u32) -> Option<&Group> {
        self.groups.get(number as usize)?.as_deref()
    }

    /// The same, to change.
    pub fn get_mut(&mut self, number: u32) -> Option<&mut Group> {
        self.groups.get_mut(number as usize)?.as_deref_mut()
    }

    /// What a group's newest sample is must be looked up in the blocks again.
    pub fn doubt_blocks(&mut self) {
        self.groups.iter_mut().flatten().for_each(|g| g.knows_blocks = false);
    }

    /// All numbers in use are below this.
    pub fn end(&self) -> u32 {
        self.groups.len() as u32
    }

    /// Did the batch before this one that began with the same series have the same series?
    pub fn comes_again(&mut self, refs: &[SeriesRef]) -> bool {
        let Some(first) = refs.first().filter(|_| refs.len() >= GROUP_SERIES_MIN) else { return false };
        let looks =
            refs.iter().fold(refs.len() as u64, |h, r| (h.rotate_left(5) ^ r.0).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        if self.candidates.len() >= CANDIDATES_MAX {
            self.candidates.clear();
        }
        self.candidates.insert(first.0 as u32, looks) == Some(looks)
    }

    /// Adds a group and yields its number. Its series must be in no other.
    pub fn add(&mut self, refs: &[SeriesRef], newest: i64) -> u32 {
        let group = Box::new(Group {
            refs: refs.into(),
            newest,
            knows_blocks: false,
            rows: Vec::new(),
            base: vec![0; refs.len()].into(),
            logged: 0,
            introduced: 0,
            log_number: 0,
        });
        self.candidates.remove(&refs.first().map_or(ALONE, |r| r.0 as u32));
        match self.free.pop() {
            Some(number) => {
                self.groups[number as usize] = Some(group);
                number
            }
            None => {
                self.groups.push(Some(group));
                self.groups.len() as u32 - 1
            }
        }
    }

    /// Takes a group away. Its rows must have moved on.
    pub fn remove(&mut self, number: u32) -> Option<Box<Group>> {
        let group = self.groups.get_mut(number as usize)?.take()?;
        debug_assert!(group.rows.is_empty());
        self.free.push(number);
        Some(group)
    }
}

/// One column of rows, as they were when they were read.
#[derive(Clone)]
pub struct Column {
    rows: Arc<[Row]>,
    column: u32,
}

impl Column {
    /// The column of this number. There must be rows.
    pub fn new(rows: Arc<[Row]>, column: u32) -> Self {
        Self { rows, column }
    }

    /// First and last time.
    pub fn span(&self) -> Option<(i64, i64)> {
        Some((self.rows.first()?.at, self.rows.last()?.at))
    }

    /// How many samples within `range`.
    pub fn count(&self, range: TimeRange) -> u64 {
        self.rows.iter().filter(|r| range.start().0 <= r.at && r.at < range.end().0).count() as u64
    }

    /// Appends the samples within `range` to `into`, whose last time must be before them.
    pub fn append_to(&self, range: TimeRange, into: &mut SampleBuf) {
        for row in self.rows.iter().filter(|r| range.start().0 <= r.at && r.at < range.end().0) {
            if let Some(v) = row.values.get(self.column as usize) {
                into.push_float(row.at, *v);
            }
        }
    }
}
