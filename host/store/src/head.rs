//! The head: open series, the samples that are not in a block yet, exemplars and metadata.
//!
//! Invariant: a sample is in the head or in a block, and wherever it is, the same samples are accepted and refused.
//! Not here: files (`wal`, `block`), threads and locks (`store`).

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use belfry_model::read::ReadError;
use belfry_model::write::SeriesRef;
use belfry_model::{Exemplar, Labels, Matcher, MetricMetadata, SampleBuf, TimeRange, TimestampMs};

use crate::block::Block;
use crate::chunk::Encoder;
use crate::downsample::Want;
use crate::frozen::Frozen;
use crate::index::MemIndex;
use crate::own::Own;
use crate::rows::{ALONE, Groups};
use crate::series::{Point, Standing};
use crate::slab::{Sealer, Slab};
use crate::watch::Watch;

/// Exemplars kept in all; the oldest go first. About 10 MB.
pub const EXEMPLARS_MAX: usize = 50_000;
/// Bytes of them, for those who say much in each; likewise.
pub const EXEMPLARS_BYTES_MAX: usize = 32 << 20;
/// Metrics whose metadata is kept; further ones are shed.
pub const METADATA_MAX: usize = 100_000;
/// Bytes of all metadata's texts; what would be beyond is shed. Answers of the API repeat them, and each generation of
/// the log.
pub const METADATA_BYTES_MAX: usize = 32 << 20;

/// The head is written to a block when its samples take about this much, so that memory has a bound of its own.
pub const HEAD_BYTES_MAX: usize = 64 << 20;

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It is new.
    New,
    /// It was there already.
    Same,
    /// Another value stands at its time.
    Duplicate,
    /// It is too far behind its series' newest sample, or its time was downsampled.
    TooOld,
}

/// One open series. Its labels are in the index.
pub(crate) struct Slot {
    /// Time of its newest sample, wherever that is; `i64::MIN` for none.
    pub newest: i64,
    /// What came for it alone since the head was last frozen.
    pub own: Option<Box<Own>>,
    /// Its group, or [`ALONE`].
    pub group: u32,
    /// Part of its references; 0 when the slot is free.
    serial: u32,
    /// The write-ahead log's epoch that introduced it last, cut to 32 bits.
    introduced: u32,
    /// `newest` covers the blocks.
    pub knows_blocks: bool,
    /// Rounds of upkeep that found it without a sample ever.
    unused_rounds: u8,
}

/// A series that never got a sample is forgotten after so many rounds, a block's span apart.
pub const UNUSED_ROUNDS_MAX: u8 = 3;
/// The same where places are short, and rounds a minute apart: by then whoever opened it would have written.
pub const UNUSED_ROUNDS_CROWDED: u8 = 1;

/// See the module.
#[derive(Default)]
pub struct Head {
    /// Which series have which labels.
    pub index: MemIndex,
    pub(crate) slots: Vec<Slot>,
    free: Vec<u32>,
    pub(crate) groups: Groups,
    frozen: Option<Arc<Frozen>>,
    exemplars: HashMap<u32, VecDeque<Exemplar>>,
    /// About how much memory the samples take that came since the last freeze.
    pub(crate) live_bytes: usize,
    next_serial: u32,
    pub(crate) encoder: Encoder,
    pub(crate) sealer: Sealer,
    /// Whose exemplar came when: the order in which they go.
    exemplar_order: VecDeque<u32>,
    exemplar_bytes: usize,
    metadata: BTreeMap<String, MetricMetadata>,
    metadata_bytes: usize,
    /// Names of metadata that the log's generation does not have yet: however often it changed.
    new_metadata: BTreeSet<String>,
    /// Time of the newest sample of any block; `i64::MIN` for none.
    pub(crate) blocks_max: i64,
    pub(crate) has_live: bool,
    /// What an import must know of that is being written.
    pub(crate) watch: Option<Box<Watch>>,
    /// Bytes that many small pieces left free, about, since somebody asked.
    pub(crate) freed_bytes: usize,
}

impl Head {
    /// The reference of the series with these labels, made if it is new.
    pub fn open(&mut self, labels: &Labels) -> SeriesRef {
        if let Some(known) = self.get(labels) {
            return known;
        }
        // 0 is for free slots.
        self.next_serial = self.next_serial.wrapping_add(1).max(1);
        let slot = Slot {
            newest: i64::MIN,
            own: None,
            group: ALONE,
            serial: self.next_serial,
            introduced: 0,
            knows_blocks: self.blocks_max == i64::MIN,
            unused_rounds: 0,
        };
        let id = match self.free.pop() {
            Some(id) => {
                self.slots[id as usize] = slot;
                id
            }
            None => {
                self.slots.push(slot);
                self.slots.len() as u32 - 1
            }
        };
        self.index.insert(labels, id);
        reference(self.next_serial, id)
    }

    /// The reference of an open series.
    pub fn get(&self, labels: &Labels) -> Option<SeriesRef> {
        let id = self.index.get(labels)?;
        self.slot(id).map(|s| reference(s.serial, id))
    }

    /// How many series are open.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    pub(crate) fn slot(&self, id: u32) -> Option<&Slot> {
        self.slots.get(id as usize).filter(|s| s.serial != 0)
    }

    /// The reference of the open series of this number.
    pub fn reference(&self, id: u32) -> SeriesRef {
        reference(self.slot(id).map_or(0, |s| s.serial), id)
    }

    /// The number behind a reference; `None` when the series was forgotten.
    pub fn resolve(&self, reference: SeriesRef) -> Option<u32> {
        let (serial, id) = ((reference.0 >> 32) as u32, reference.0 as u32);
        self.slot(id).filter(|s| s.serial == serial).map(|_| id)
    }

    /// What came for a series alone since the last freeze.
    pub fn own(&self, id: u32) -> Option<&Own> {
        self.slot(id)?.own.as_deref()
    }

    /// Notes that the log's epoch knows the series; `true` when it did not yet.
    pub fn introduce(&mut self, id: u32, epoch: u64) -> bool {
        let epoch = epoch as u32;
        let Some(s) = self.slots.get_mut(id as usize).filter(|s| s.introduced != epoch) else { return false };
        s.introduced = epoch;
        true
    }

    /// Which samples are new is judged against these blocks too.
    pub fn set_blocks(&mut self, blocks: &[Arc<Block>]) {
        self.blocks_max = blocks.iter().map(|b| b.meta().max).max().unwrap_or(i64::MIN);
    }

    /// Blocks may hold newer samples of any series than the head has seen.
    pub fn doubt_blocks(&mut self) {
        self.slots.iter_mut().for_each(|s| s.knows_blocks = false);
        self.groups.doubt_blocks();
    }

    /// Samples of the series that satisfy `matchers` were deleted from blocks: where one within `range` was the newest,
    /// what is the newest now is looked up again. Else a series whose samples from a wrong clock were deleted would
    /// refuse right ones until that time comes.
    pub fn forget_newest(&mut self, matchers: &[Matcher], range: TimeRange) {
        let mut groups = BTreeSet::new();
        for id in self.index.matching(matchers).iter() {
            let Some(s) = self.slots.get(id as usize) else { continue };
            let row = self.groups.get(s.group).and_then(|g| g.rows.last()).map_or(i64::MIN, |r| r.at);
            if !range.contains(TimestampMs(s.newest.max(row))) {
                continue;
            }
            let in_memory = self.newest_in_memory(id).max(row);
            if let Some(s) = self.slots.get_mut(id as usize) {
                s.newest = in_memory;
                s.knows_blocks = self.blocks_max == i64::MIN;
                groups.insert(s.group);
            }
        }
        for number in groups {
            let Some(g) = self.groups.get_mut(number) else { continue };
            let slots = &self.slots;
            let of_series = g.ids().filter_map(|id| slots.get(id as usize)).map(|s| s.newest);
            g.newest = of_series.chain(g.rows.last().map(|r| r.at)).max().unwrap_or(i64::MIN);
            g.knows_blocks = false;
        }
    }

    /// Time of a series' newest sample in the head, but for open rows.
    fn newest_in_memory(&self, id: u32) -> i64 {
        let own = self.own(id).and_then(Own::max);
        let of = |slabs: &[Arc<Slab>]| slabs.last().and_then(|s| s.span()).map(|(_, max)| max);
        let in_rows = self.slot(id).and_then(|s| self.groups.get(s.group)).and_then(|g| of(&g.slabs));
        let frozen = self.frozen.as_ref();
        let frozen = [
            frozen.and_then(|f| f.own(id)).and_then(Own::max),
            frozen.and_then(|f| f.column(id)).and_then(|(slabs, _)| of(slabs)),
        ];
        [own, in_rows].into_iter().chain(frozen).flatten().max().unwrap_or(i64::MIN)
    }

    /// Takes a sample unless it is too old or contradicts another. A block that cannot be read contradicts nothing.
    pub fn insert(&mut self, id: u32, p: &Point<'_>, window_ms: i64, blocks: &[Arc<Block>]) -> Inserted {
        let group = self.slot(id).map_or(ALONE, |s| s.group);
        if let (Some(g), Some(s)) = (self.groups.get(group), self.slots.get_mut(id as usize)) {
            s.newest = g.rows.last().map_or(s.newest, |r| s.newest.max(r.at));
            s.knows_blocks |= g.knows_blocks;
        }
        let inserted = self.insert_alone(id, p, window_ms, blocks);
        if let (Some(g), Some(s)) = (self.groups.get_mut(group), self.slots.get(id as usize)) {
            g.newest = g.newest.max(s.newest);
        }
        inserted
    }

    fn insert_alone(&mut self, id: u32, p: &Point<'_>, window_ms: i64, blocks: &[Arc<Block>]) -> Inserted {
        let Some(s) = self.slots.get_mut(id as usize) else { return Inserted::TooOld };
        if !s.knows_blocks && p.at <= self.blocks_max {
            let labels = self.index.labels(id);
            // A block that ends before the sample has nothing newer: to look into each for each series would take minutes.
            let newer = blocks.iter().filter(|b| b.meta().max >= p.at);
            s.newest = newer.map(|b| newest_in(b, &labels)).fold(s.newest, i64::max);
            s.knows_blocks = true;
        }
        if p.at > s.newest {
            self.live_bytes += s.own.get_or_insert_default().push(p, &mut self.encoder);
            s.newest = p.at;
            // What is newer than all blocks is newer than what they have of its series; so are the blocks that the head
            // becomes.
            s.knows_blocks |= p.at > self.blocks_max;
        } else if p.at < s.newest.saturating_sub(window_ms) {
            return Inserted::TooOld;
        } else {
            match self.standing(id, p, blocks) {
                Standing::Same => return Inserted::Same,
                Standing::Other => return Inserted::Duplicate,
                Standing::Downsampled => return Inserted::TooOld,
                Standing::Nothing => {}
            }
            let own = self.slots[id as usize].own.get_or_insert_default();
            match own.insert(p, &mut self.encoder) {
                Ok(bytes) => self.live_bytes += bytes,
                Err(_) => return Inserted::Duplicate,
            }
        }
        self.has_live = true;
        if let Some(watch) = &mut self.watch {
            watch.note(id, p, &self.index);
        }
        Inserted::New
    }

    /// What stands at the sample's time in a series, open or not, blocks aside.
    pub fn stands_here(&self, labels: &Labels, p: &Point<'_>) -> Standing {
        self.index.get(labels).map_or(Standing::Nothing, |id| self.standing_here(id, p))
    }

    fn standing(&self, id: u32, p: &Point<'_>, blocks: &[Arc<Block>]) -> Standing {
        match self.standing_here(id, p) {
            Standing::Nothing => standing_in_blocks(blocks, p, || self.index.labels(id)),
            standing => standing,
        }
    }

    fn standing_here(&self, id: u32, p: &Point<'_>) -> Standing {
        let group = self.slot(id).map_or(ALONE, |s| s.group);
        let in_group = self.groups.get(group).map(|g| g.standing(id, p));
        let frozen = self.frozen.as_ref().map(|f| f.standing(id, p));
        for standing in in_group.into_iter().chain(frozen).chain(self.own(id).map(|own| own.standing(p))) {
            match standing {
                Ok(Standing::Nothing) | Err(_) => {}
                Ok(other) => return other,
            }
        }
        Standing::Nothing
    }

    /// Keeps an exemplar, unless it is the one that its series got last.
    pub fn add_exemplar(&mut self, id: u32, exemplar: &Exemplar) -> bool {
        if self.slots.get(id as usize).is_none_or(|s| s.serial == 0) {
            return false;
        }
        let kept = self.exemplars.entry(id).or_default();
        if kept.back() == Some(exemplar) {
            return false;
        }
        kept.push_back(exemplar.clone());
        self.exemplar_order.push_back(id);
        self.exemplar_bytes += bytes_of(exemplar);
        while self.exemplar_order.len() > EXEMPLARS_MAX || self.exemplar_bytes > EXEMPLARS_BYTES_MAX {
            let Some(oldest) = self.exemplar_order.pop_front() else { break };
            let Some(kept) = self.exemplars.get_mut(&oldest) else { continue };
            self.exemplar_bytes -= kept.pop_front().as_ref().map_or(0, bytes_of);
            if kept.is_empty() {
                self.exemplars.remove(&oldest);
            }
        }
        true
    }

    /// Remembers what a metric is; `false` when it was shed.
    pub fn declare(&mut self, m: MetricMetadata) -> bool {
        if self.metadata.get(&m.name) == Some(&m) {
            return true;
        }
        let known = self.metadata.get(&m.name);
        let bytes = self.metadata_bytes - known.map_or(0, text_bytes) + text_bytes(&m);
        if bytes > METADATA_BYTES_MAX || known.is_none() && self.metadata.len() >= METADATA_MAX {
            return false;
        }
        self.metadata_bytes = bytes;
        self.new_metadata.insert(m.name.clone());
        self.metadata.insert(m.name.clone(), m);
        true
    }

    /// Metadata that the log does not have yet.
    pub fn take_new_metadata(&mut self) -> Vec<MetricMetadata> {
        let names = std::mem::take(&mut self.new_metadata);
        names.iter().filter_map(|name| self.metadata.get(name)).cloned().collect()
    }

    /// All metadata, by name.
    pub fn metadata(&self) -> &BTreeMap<String, MetricMetadata> {
        &self.metadata
    }

    /// Sets aside what is in the head, to be written to a block. What was set aside before must have been released.
    pub fn freeze(&mut self) {
        debug_assert!(self.frozen.is_none());
        (0..self.groups.end()).for_each(|g| self.seal(g));
        self.has_live = false;
        self.live_bytes = 0;
        let set_aside = |(id, s): (usize, &mut Slot)| Some((id as u32, s.own.take()?));
        let own: Vec<_> = self.slots.iter_mut().enumerate().filter_map(set_aside).collect();
        self.frozen = Some(Arc::new(Frozen::new(own, self.groups.take_slabs())));
    }

    /// What was set aside.
    pub fn frozen(&self) -> Option<&Arc<Frozen>> {
        self.frozen.as_ref()
    }

    /// Forgets what was set aside: it is in a block now.
    pub fn release_frozen(&mut self) -> Option<Arc<Frozen>> {
        self.frozen.take()
    }

    /// How many series have had no sample since `before`, or never had one.
    pub fn idle(&self, before: i64) -> usize {
        let newest = |s: &Slot| self.groups.get(s.group).map_or(s.newest, |g| g.newest.max(s.newest));
        let is_idle = |s: &&Slot| s.serial != 0 && newest(s) < before;
        self.slots.iter().filter(is_idle).count()
    }

    /// Forgets series without samples in the head whose newest is more than `idle_ms` before `now`, and those that never
    /// got one for more than so many rounds; returns how many.
    pub fn forget_idle(&mut self, now: i64, idle_ms: i64, unused_rounds_max: u8) -> usize {
        let before = now.saturating_sub(idle_ms);
        let mut forgotten = 0;
        let mut groups_gone = BTreeSet::new();
        for (id, s) in self.slots.iter_mut().enumerate().filter(|(_, s)| s.serial != 0) {
            let id = id as u32;
            let in_group = self.groups.get(s.group).is_some_and(|g| !g.is_empty());
            if s.own.is_some() || in_group || self.frozen.as_ref().is_some_and(|f| f.has(id)) {
                continue;
            }
            if s.newest == i64::MIN {
                s.unused_rounds = s.unused_rounds.saturating_add(1);
            }
            if s.unused_rounds > unused_rounds_max || (s.newest != i64::MIN && s.newest < before) {
                s.serial = 0;
                groups_gone.insert(std::mem::replace(&mut s.group, ALONE));
                self.index.remove(id);
                self.free.push(id);
                forgotten += 1;
            }
        }
        groups_gone.into_iter().for_each(|g| self.dissolve(g));
        if forgotten > 0 {
            self.watch.iter_mut().for_each(|w| w.forget_series());
            // The highest numbers go, so that the table can become shorter again; low ones are used first.
            while self.slots.last().is_some_and(|s| s.serial == 0) {
                self.slots.pop();
            }
            let left = self.slots.len();
            self.free.retain(|id| (*id as usize) < left);
            self.free.sort_unstable_by(|a, b| b.cmp(a));
            self.index.shrink();
        }
        forgotten
    }

    /// Drops exemplars from before `before` and those of forgotten series.
    pub fn drop_exemplars(&mut self, before: i64) {
        let slots = &self.slots;
        self.exemplars.retain(|id, kept| {
            kept.retain(|e| e.at.0 >= before);
            kept.shrink_to_fit();
            !kept.is_empty() && slots.get(*id as usize).is_some_and(|s| s.serial != 0)
        });
        self.exemplar_bytes = self.exemplars.values().flatten().map(bytes_of).sum();
        let mut left: HashMap<u32, usize> = self.exemplars.iter().map(|(id, kept)| (*id, kept.len())).collect();
        // From the newest on: the last ones in the order belong to the exemplars that are left.
        let mut kept: VecDeque<u32> = VecDeque::new();
        for id in self.exemplar_order.iter().rev() {
            if let Some(left) = left.get_mut(id).filter(|n| **n > 0) {
                *left -= 1;
                kept.push_front(*id);
            }
        }
        self.exemplar_order = kept;
    }

    /// The exemplars of a series, in the order they came.
    pub fn exemplars(&self, id: u32) -> impl Iterator<Item = &Exemplar> {
        self.exemplars.get(&id).into_iter().flatten()
    }

    /// The series that have exemplars.
    pub fn with_exemplars(&self) -> Vec<u32> {
        self.exemplars.keys().copied().collect()
    }

    /// Compressed chunks in memory.
    pub fn chunks(&self) -> usize {
        let alone = self.slots.iter().filter_map(|s| s.own.as_ref()).map(|own| own.chunks()).sum::<usize>();
        alone + self.groups.chunks() + self.frozen.as_ref().map_or(0, |f| f.chunks())
    }

    /// About how much memory the samples take that came since the last freeze.
    pub fn live_bytes(&self) -> usize {
        self.live_bytes
    }

    /// Has anything come since the head was last frozen?
    pub fn has_live_samples(&self) -> bool {
        self.has_live
    }
}

/// What metadata counts towards [`METADATA_BYTES_MAX`]: its name stands twice.
pub fn text_bytes(m: &MetricMetadata) -> usize {
    2 * m.name.len() + m.unit.len() + m.help.len()
}

fn reference(serial: u32, id: u32) -> SeriesRef {
    SeriesRef(u64::from(serial) << 32 | u64::from(id))
}

/// What stands at the sample's time in these blocks. What cannot be read stands nowhere.
pub fn standing_in_blocks(blocks: &[Arc<Block>], p: &Point<'_>, labels: impl Fn() -> Labels) -> Standing {
    let Some(range) = p.instant() else { return Standing::Nothing };
    let (mut known, mut found) = (None, Standing::Nothing);
    for b in blocks.iter().filter(|b| b.overlaps(range)) {
        match standing_in(b, known.get_or_insert_with(&labels), p, range) {
            Ok(Standing::Nothing) | Err(_) => {}
            // A sample of that very time, in another block, says more.
            Ok(Standing::Downsampled) => found = Standing::Downsampled,
            Ok(other) => return other,
        }
    }
    found
}

fn standing_in(block: &Block, labels: &Labels, p: &Point<'_>, range: TimeRange) -> Result<Standing, ReadError> {
    let Some(i) = block.find(labels)? else { return Ok(Standing::Nothing) };
    let mut buf = SampleBuf::default();
    for c in block.series(i)?.chunks.iter().filter(|c| c.min <= p.at && p.at <= c.max) {
        // Of a downsampled block the segments that the time lies in, too.
        block.decode_for(Want::Counts, c, range, &mut buf)?;
    }
    Ok(match Standing::at(&buf, p) {
        Standing::Nothing if !buf.is_empty() => Standing::Downsampled,
        standing => standing,
    })
}

fn newest_in(block: &Block, labels: &Labels) -> i64 {
    let newest = || -> Result<i64, ReadError> {
        let Some(i) = block.find(labels)? else { return Ok(i64::MIN) };
        let chunks = block.series(i)?.chunks;
        if !block.gone().touches(i) {
            return Ok(chunks.last().map_or(i64::MIN, |c| c.max));
        }
        // What was deleted was the newest, as often as not.
        let mut buf = SampleBuf::default();
        for c in chunks.iter().rev() {
            block.decode(c, TimeRange::ALL, &mut buf)?;
            if let Some(newest) = buf.times.last() {
                return Ok(*newest);
            }
        }
        Ok(i64::MIN)
    };
    newest().unwrap_or(i64::MIN)
}
/// About what an exemplar takes.
fn bytes_of(exemplar: &Exemplar) -> usize {
    let texts: usize = exemplar.labels.iter().map(|l| l.name.len() + l.value.len()).sum();
    size_of::<Exemplar>() + exemplar.labels.len() * size_of::<belfry_model::Label>() + texts
}
