//! Rows: series that get their samples together, at one time, as those of a scrape do.
//!
//! A row is taken in one go: one look at the time stands for that of every series. Some rows later they are sealed: a
//! compressed column a series.
//!
//! Invariant: the times of a group's slabs and rows ascend; a time of a series stands here or in what came for it alone,
//! never in both; a series is in one group at most.
//! Not here: what came for a series alone (`own`), how sealed rows look (`slab`), how a row looks in the log
//! (`row_record`).

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use belfry_model::write::SeriesRef;
use belfry_model::{SampleBuf, TimeRange, TimestampMs};

use crate::codec::Corrupt;
use crate::series::{Point, Standing};
use crate::slab::Slab;

/// Fewer series than this are not worth a group.
pub const GROUP_SERIES_MIN: usize = 8;
/// A group's rows are sealed when there are so many: raw, each is 8 bytes a series.
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
    /// Sealed rows.
    pub slabs: Vec<Arc<Slab>>,
    /// What is not sealed yet.
    pub rows: Vec<Row>,
    /// The column that was found last.
    found: AtomicUsize,
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

    /// No samples?
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.slabs.is_empty()
    }

    /// The column of a series. Whoever asks for one asks for the next one next.
    fn column(&self, id: u32) -> Option<usize> {
        let is = |r: Option<&SeriesRef>| r.is_some_and(|r| r.0 as u32 == id);
        // No more than a hint: others may look meanwhile.
        let found = match self.found.load(Ordering::Relaxed) + 1 {
            next if is(self.refs.get(next)) => next,
            _ => self.refs.iter().position(|r| is(Some(r)))?,
        };
        self.found.store(found, Ordering::Relaxed);
        Some(found)
    }

    /// What stands at the sample's time in the series' column.
    pub fn standing(&self, id: u32, p: &Point<'_>) -> Result<Standing, Corrupt> {
        let Some(column) = self.column(id).filter(|_| !self.is_empty()) else { return Ok(Standing::Nothing) };
        standing(&self.slabs, &self.rows, column, p)
    }
}

/// What stands at the sample's time in a column of slabs and rows.
pub fn standing(slabs: &[Arc<Slab>], rows: &[Row], column: usize, p: &Point<'_>) -> Result<Standing, Corrupt> {
    let of = |same: bool| if same { Standing::Same } else { Standing::Other };
    if let Ok(i) = rows.binary_search_by_key(&p.at, |r| r.at) {
        let value = rows.get(i).and_then(|r| r.values.get(column));
        return Ok(value.map_or(Standing::Nothing, |v| of(p.is(*v, None))));
    }
    let i = slabs.partition_point(|s| s.span().is_some_and(|(_, max)| max < p.at));
    let (Some(slab), Some(range)) = (slabs.get(i), p.instant()) else { return Ok(Standing::Nothing) };
    let mut buf = SampleBuf::default();
    slab.decode(column, range, &mut buf)?;
    Ok(if buf.is_empty() { Standing::Nothing } else { of(p.is_at(&buf, 0)) })
}

/// The numbers of a group's series, and its sealed rows.
pub type Sealed = (Box<[u32]>, Box<[Arc<Slab>]>);

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
            slabs: Vec::new(),
            rows: Vec::new(),
            found: AtomicUsize::new(0),
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

    /// Takes the sealed rows of all groups, each with the numbers of its series.
    pub fn take_slabs(&mut self) -> Vec<Sealed> {
        let all = self.groups.iter_mut().flatten().filter(|g| !g.slabs.is_empty());
        all.map(|g| (g.ids().collect(), std::mem::take(&mut g.slabs).into())).collect()
    }

    /// Sealed columns.
    pub fn chunks(&self) -> usize {
        self.groups.iter().flatten().map(|g| g.slabs.len() * g.refs.len()).sum()
    }

    /// Takes a group away, with its samples.
    pub fn remove(&mut self, number: u32) -> Option<Box<Group>> {
        let group = self.groups.get_mut(number as usize)?.take()?;
        self.free.push(number);
        Some(group)
    }
}

/// What a group has within a range, as it was when it was read.
#[derive(Clone)]
pub struct Columns {
    /// When the samples of each series were.
    times: Box<[i64]>,
    /// Sealed rows, and which of them are within the range.
    slabs: Box<[(Arc<Slab>, Range<usize>)]>,
    /// Rows behind them.
    rows: Box<[Row]>,
}

impl Columns {
    /// The parts within `range`; `None` when there are none.
    pub fn within(slabs: &[Arc<Slab>], rows: &[Row], range: TimeRange) -> Option<Self> {
        let slabs: Box<[_]> =
            slabs.iter().filter(|s| s.overlaps(range)).map(|s| (s.clone(), s.within(range))).collect();
        let rows: Box<[Row]> = rows.iter().filter(|r| range.contains(TimestampMs(r.at))).cloned().collect();
        let sealed = slabs.iter().flat_map(|(s, within)| s.times().get(within.clone()).unwrap_or_default());
        let times: Box<[i64]> = sealed.copied().chain(rows.iter().map(|r| r.at)).collect();
        (!times.is_empty()).then_some(Self { times, slabs, rows })
    }

    /// First and last time.
    pub fn span(&self) -> Option<(i64, i64)> {
        Some((*self.times.first()?, *self.times.last()?))
    }

    /// How many samples of a series within `range`.
    pub fn count(&self, range: TimeRange) -> u64 {
        self.chosen(range).len() as u64
    }

    /// Which of its times are within `range`.
    fn chosen(&self, range: TimeRange) -> Range<usize> {
        // Nearly always all: it was asked for what is needed.
        if self.span().is_some_and(|(first, last)| range.start().0 <= first && last < range.end().0) {
            return 0..self.times.len();
        }
        let from = self.times.partition_point(|t| *t < range.start().0);
        from..self.times.partition_point(|t| *t < range.end().0).max(from)
    }

    /// Appends the samples of a column within `range` to `into`, whose last time must be before them.
    pub fn decode(&self, column: usize, range: TimeRange, into: &mut SampleBuf) -> Result<(), Corrupt> {
        let chosen = self.chosen(range);
        let before = into.floats.len();
        if let Err(e) = self.values(column, chosen.clone(), &mut into.floats) {
            into.floats.truncate(before);
            return Err(e);
        }
        into.times.extend_from_slice(self.times.get(chosen).unwrap_or_default());
        if !into.starts.is_empty() {
            into.starts.resize(into.times.len(), 0);
        }
        if !into.histograms.is_empty() {
            into.histograms.resize(into.times.len(), None);
        }
        Ok(())
    }

    /// Appends the values of a column at the times of these numbers.
    fn values(&self, column: usize, chosen: Range<usize>, into: &mut Vec<f64>) -> Result<(), Corrupt> {
        into.reserve(chosen.len());
        let mut at = 0;
        for (slab, within) in &self.slabs {
            // Of the slab's rows, those that are chosen.
            let from = within.start + chosen.start.saturating_sub(at).min(within.len());
            let to = within.start + chosen.end.saturating_sub(at).min(within.len());
            at += within.len();
            if from < to {
                slab.values(column, from..to, into)?;
            }
        }
        let open = chosen.start.saturating_sub(at)..chosen.end.saturating_sub(at);
        for row in self.rows.get(open).unwrap_or_default() {
            into.push(*row.values.get(column).ok_or(Corrupt("a row has no such column"))?);
        }
        Ok(())
    }
}
