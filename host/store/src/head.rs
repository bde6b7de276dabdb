//! The head: open series, the samples that are not in a block yet, exemplars and metadata.
//!
//! Invariant: a sample is in the head or in a block, and wherever it is, the same samples are accepted and refused.
//! Not here: files (`wal`, `block`), threads and locks (`store`).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use belfry_model::read::ReadError;
use belfry_model::write::SeriesRef;
use belfry_model::{Exemplar, Labels, MetricMetadata, SampleBuf, TimeRange, TimestampMs};

use crate::block::Block;
use crate::chunk::Encoder;
use crate::index::MemIndex;
use crate::series::{Point, Run, Standing};

/// Exemplars kept in all; the oldest go first. About 10 MB.
pub const EXEMPLARS_MAX: usize = 50_000;
/// Metrics whose metadata is kept; further ones are shed.
pub const METADATA_MAX: usize = 100_000;

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It is new.
    New,
    /// It was there already.
    Same,
    /// Another value stands at its time.
    Duplicate,
    /// It is too far behind its series' newest sample.
    TooOld,
}

/// One open series.
pub struct MemSeries {
    /// Its labels.
    pub labels: Labels,
    /// What came since the head was last frozen.
    pub live: Run,
    /// What is being written to a block.
    pub frozen: Option<Arc<Run>>,
    /// Time of its newest sample, wherever that is; `i64::MIN` for none.
    newest: i64,
    /// `newest` covers the blocks.
    knows_blocks: bool,
    /// The write-ahead log's generation that introduced it last.
    pub introduced: u64,
    serial: u32,
    exemplars: Vec<Exemplar>,
    /// Since when it is known to be open without a sample.
    unused_since: Option<i64>,
}

/// See the module.
#[derive(Default)]
pub struct Head {
    /// Which series have which labels.
    pub index: MemIndex,
    slots: Vec<Option<Box<MemSeries>>>,
    free: Vec<u32>,
    next_serial: u32,
    encoder: Encoder,
    /// Whose exemplar came when: the order in which they go.
    exemplar_order: VecDeque<u32>,
    metadata: BTreeMap<String, MetricMetadata>,
    /// Metadata that the log's generation does not have yet.
    new_metadata: Vec<MetricMetadata>,
    /// Time of the newest sample of any block; `i64::MIN` for none.
    blocks_max: i64,
    has_live: bool,
}

impl Head {
    /// The reference of the series with these labels, made if it is new.
    pub fn open(&mut self, labels: &Labels) -> SeriesRef {
        if let Some(known) = self.get(labels) {
            return known;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        let labels = self.index.insert(labels, id);
        self.next_serial = self.next_serial.wrapping_add(1);
        let series = MemSeries {
            labels,
            live: Run::default(),
            frozen: None,
            newest: i64::MIN,
            knows_blocks: false,
            introduced: 0,
            serial: self.next_serial,
            exemplars: Vec::new(),
            unused_since: None,
        };
        let reference = series.reference(id);
        self.slots[id as usize] = Some(Box::new(series));
        reference
    }

    /// The reference of an open series.
    pub fn get(&self, labels: &Labels) -> Option<SeriesRef> {
        let id = self.index.get(labels)?;
        self.series(id).map(|s| s.reference(id))
    }

    /// How many series are open.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// An open series.
    pub fn series(&self, id: u32) -> Option<&MemSeries> {
        self.slots.get(id as usize)?.as_deref()
    }

    /// The same, to change.
    pub fn series_mut(&mut self, id: u32) -> Option<&mut MemSeries> {
        self.slots.get_mut(id as usize)?.as_deref_mut()
    }

    /// Every open series.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &MemSeries)> {
        self.slots.iter().enumerate().filter_map(|(i, s)| Some((i as u32, s.as_deref()?)))
    }

    /// The number behind a reference; `None` when the series was forgotten.
    pub fn resolve(&self, reference: SeriesRef) -> Option<u32> {
        let id = reference.0 as u32;
        self.series(id).filter(|s| s.serial == (reference.0 >> 32) as u32).map(|_| id)
    }

    /// Which samples are new is judged against these blocks too.
    pub fn set_blocks(&mut self, blocks: &[Arc<Block>]) {
        self.blocks_max = blocks.iter().map(|b| b.meta().max).max().unwrap_or(i64::MIN);
    }

    /// Takes a sample unless it is too old or contradicts another. A block that cannot be read contradicts nothing.
    pub fn insert(&mut self, id: u32, p: &Point<'_>, window_ms: i64, blocks: &[Arc<Block>]) -> Inserted {
        let Some(Some(s)) = self.slots.get_mut(id as usize) else { return Inserted::TooOld };
        if !s.knows_blocks && p.at <= self.blocks_max {
            s.newest = blocks.iter().map(|b| newest_in(b, &s.labels)).fold(s.newest, i64::max);
            s.knows_blocks = true;
        }
        if p.at > s.newest {
            s.live.push(p, &mut self.encoder);
            s.newest = p.at;
        } else if p.at < s.newest.saturating_sub(window_ms) {
            return Inserted::TooOld;
        } else {
            match s.standing(p, blocks) {
                Standing::Same => return Inserted::Same,
                Standing::Other => return Inserted::Duplicate,
                Standing::Nothing => {}
            }
            if s.live.insert(p, &mut self.encoder).is_err() {
                return Inserted::Duplicate;
            }
        }
        self.has_live = true;
        Inserted::New
    }

    /// Takes a sample that was accepted before the process was restarted.
    pub fn restore(&mut self, id: u32, p: &Point<'_>) -> bool {
        let Some(Some(s)) = self.slots.get_mut(id as usize) else { return false };
        let taken = if p.at > s.newest {
            s.live.push(p, &mut self.encoder);
            s.newest = p.at;
            true
        } else {
            matches!(s.live.standing(p), Ok(Standing::Nothing)) && s.live.insert(p, &mut self.encoder).is_ok()
        };
        self.has_live = true;
        taken
    }

    /// Keeps an exemplar, unless it is the one that its series got last.
    pub fn add_exemplar(&mut self, id: u32, exemplar: &Exemplar) -> bool {
        let Some(Some(s)) = self.slots.get_mut(id as usize) else { return false };
        if s.exemplars.last() == Some(exemplar) {
            return false;
        }
        s.exemplars.push(exemplar.clone());
        self.exemplar_order.push_back(id);
        if self.exemplar_order.len() > EXEMPLARS_MAX
            && let Some(oldest) = self.exemplar_order.pop_front()
            && let Some(s) = self.series_mut(oldest).filter(|s| !s.exemplars.is_empty())
        {
            s.exemplars.remove(0);
        }
        true
    }

    /// Remembers what a metric is; `false` when it was shed.
    pub fn declare(&mut self, m: MetricMetadata) -> bool {
        if self.metadata.get(&m.name) == Some(&m) {
            return true;
        }
        if self.metadata.len() >= METADATA_MAX && !self.metadata.contains_key(&m.name) {
            return false;
        }
        self.new_metadata.push(m.clone());
        self.metadata.insert(m.name.clone(), m);
        true
    }

    /// Metadata that the log does not have yet.
    pub fn take_new_metadata(&mut self) -> Vec<MetricMetadata> {
        std::mem::take(&mut self.new_metadata)
    }

    /// All metadata, by name.
    pub fn metadata(&self) -> &BTreeMap<String, MetricMetadata> {
        &self.metadata
    }

    /// Sets aside what is in the head, to be written to a block. What was set aside before must have been released.
    pub fn freeze(&mut self) {
        self.has_live = false;
        for s in self.slots.iter_mut().flatten() {
            debug_assert!(s.frozen.is_none());
            if !s.live.is_empty() {
                s.frozen = Some(Arc::new(std::mem::take(&mut s.live)));
            }
        }
    }

    /// Forgets what was set aside: it is in a block now.
    pub fn release_frozen(&mut self) {
        for s in self.slots.iter_mut().flatten() {
            s.frozen = None;
        }
    }

    /// Forgets series without samples in the head whose newest is more than `idle_ms` before `now`, and those that
    /// were opened as long ago and never got one; returns how many.
    pub fn forget_idle(&mut self, now: i64, idle_ms: i64) -> usize {
        let before = now.saturating_sub(idle_ms);
        let mut forgotten = 0;
        for id in 0..self.slots.len() {
            let Some(s) = &mut self.slots[id] else { continue };
            if !s.live.is_empty() || s.frozen.is_some() || !s.exemplars.is_empty() {
                continue;
            }
            let last = if s.newest == i64::MIN { *s.unused_since.get_or_insert(now) } else { s.newest };
            if last < before {
                let labels = s.labels.clone();
                self.index.remove(&labels, id as u32);
                self.slots[id] = None;
                self.free.push(id as u32);
                forgotten += 1;
            }
        }
        if forgotten > 0 {
            self.index.drop_unused_symbols();
        }
        forgotten
    }

    /// Drops exemplars from before `before`, so that their series can be forgotten.
    pub fn drop_exemplars(&mut self, before: i64) {
        for s in self.slots.iter_mut().flatten().filter(|s| !s.exemplars.is_empty()) {
            s.exemplars.retain(|e| e.at.0 >= before);
            s.exemplars.shrink_to_fit();
        }
        let mut left: HashMap<u32, usize> = HashMap::new();
        let slots = &self.slots;
        let count = |id: u32| slots.get(id as usize).and_then(Option::as_ref).map_or(0, |s| s.exemplars.len());
        // From the newest on: the last ones in the order belong to the exemplars that are left.
        let mut kept: VecDeque<u32> = VecDeque::new();
        for id in self.exemplar_order.iter().rev() {
            let left = left.entry(*id).or_insert_with(|| count(*id));
            if *left > 0 {
                *left -= 1;
                kept.push_front(*id);
            }
        }
        self.exemplar_order = kept;
    }

    /// Has anything come since the head was last frozen?
    pub fn has_live_samples(&self) -> bool {
        self.has_live
    }
}

impl MemSeries {
    /// Its exemplars, in the order they came.
    pub fn exemplars(&self) -> &[Exemplar] {
        &self.exemplars
    }

    fn reference(&self, id: u32) -> SeriesRef {
        SeriesRef(u64::from(self.serial) << 32 | u64::from(id))
    }

    fn standing(&self, p: &Point<'_>, blocks: &[Arc<Block>]) -> Standing {
        for run in self.frozen.as_deref().into_iter().chain([&self.live]) {
            match run.standing(p) {
                Ok(Standing::Nothing) | Err(_) => {}
                Ok(other) => return other,
            }
        }
        let at = TimestampMs(p.at);
        let Some(range) = TimeRange::inclusive(at, at) else { return Standing::Nothing };
        let in_block = |b: &Block| -> Result<Standing, ReadError> {
            let Some(i) = b.find(&self.labels)? else { return Ok(Standing::Nothing) };
            let mut buf = SampleBuf::default();
            for c in b.series(i)?.chunks.iter().filter(|c| c.min <= p.at && p.at <= c.max) {
                b.decode(c, range, &mut buf)?;
            }
            Ok(match buf.len() {
                0 => Standing::Nothing,
                _ if p.is_at(&buf, 0) => Standing::Same,
                _ => Standing::Other,
            })
        };
        let hits = blocks.iter().filter(|b| b.overlaps(range)).map(|b| in_block(b).unwrap_or(Standing::Nothing));
        hits.into_iter().find(|s| *s != Standing::Nothing).unwrap_or(Standing::Nothing)
    }
}

fn newest_in(block: &Block, labels: &Labels) -> i64 {
    let newest = || -> Result<i64, ReadError> {
        let Some(i) = block.find(labels)? else { return Ok(i64::MIN) };
        Ok(block.series(i)?.chunks.last().map_or(i64::MIN, |c| c.max))
    };
    newest().unwrap_or(i64::MIN)
}
