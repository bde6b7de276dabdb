//! What is taken live while an import is written.
//!
//! An import looks at what stands in the store, writes a block of what does not, and puts the block there: that takes
//! seconds, and appends go on. What they take at a time that the import has a sample for, too, was there first. It is kept
//! here, and left out of the block by a note of deletions that is written before the block gets its name.
//!
//! Invariant: of the times that an import has in a range, each that the head took a sample for since the watch began is
//! known, with the value; memory is bounded by the import's samples.
//! Not here: locks, and when the watch begins and ends (`backfill`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use belfry_model::{Labels, Sample, TimeRange, TimestampMs, Value};

use crate::backfill::{Backfilled, same};
use crate::block::Gone;
use crate::head::Head;
use crate::index::MemIndex;
use crate::series::Point;

/// Series in order of their labels, the samples of each in order of time.
pub type Import = Vec<(Labels, Vec<Sample>)>;

/// What was taken, by the place of the series in the import and time.
pub type Taken = BTreeMap<(usize, i64), Value>;

/// See the module.
pub struct Watch {
    import: Arc<Import>,
    range: TimeRange,
    /// Which series of the import an open one is.
    known: HashMap<u32, Option<usize>>,
    taken: Taken,
}

impl Watch {
    /// Begins: nothing was taken yet.
    pub fn new(import: Arc<Import>, range: TimeRange) -> Self {
        Self { import, range, known: HashMap::new(), taken: Taken::new() }
    }

    /// May the import have a sample at this time?
    pub fn covers(&self, at: i64) -> bool {
        self.range.contains(TimestampMs(at))
    }

    /// A sample of an open series was taken.
    pub fn note(&mut self, id: u32, p: &Point<'_>, index: &MemIndex) {
        if !self.covers(p.at) {
            return;
        }
        let import = &*self.import;
        let find = || {
            let labels = index.labels(id);
            import.binary_search_by(|(of, _)| of.cmp(&labels)).ok()
        };
        let Some(series) = *self.known.entry(id).or_insert_with(find) else { return };
        let samples = import.get(series).map_or(&[][..], |(_, samples)| samples);
        if samples.binary_search_by_key(&p.at, |s| s.at.0).is_ok() {
            let value = p.histogram.map_or(Value::Float(p.value), |h| Value::Histogram(h.clone()));
            self.taken.insert((series, p.at), value);
        }
    }

    /// Open series were forgotten: their numbers may become those of others.
    pub fn forget_series(&mut self) {
        self.known.clear();
    }
}

impl Head {
    /// Begins a watch, or ends it.
    pub fn watch(&mut self, watch: Option<Watch>) {
        self.watch = watch.map(Box::new);
    }

    /// What was taken since the watch began, or since somebody asked.
    pub fn taken(&mut self) -> Taken {
        self.watch.as_mut().map_or_else(Taken::new, |w| std::mem::take(&mut w.taken))
    }
}

/// A block of an import, and what of it others took first.
pub struct Overtaken<'a> {
    import: &'a Import,
    /// By number in the block: which series of the import, and its times there.
    written: Vec<(usize, Vec<i64>)>,
    left_out: BTreeMap<usize, BTreeSet<i64>>,
    gone: Gone,
}

impl<'a> Overtaken<'a> {
    /// Of a block without a series yet.
    pub fn new(import: &'a Import) -> Self {
        Self { import, written: Vec::new(), left_out: BTreeMap::new(), gone: Gone::default() }
    }

    /// The block's next series: its place in the import, and its times.
    pub fn add(&mut self, series: usize, times: &[i64]) {
        self.written.push((series, times.to_vec()));
    }

    /// Leaves out what was taken, and counts it as what it is now: it was taken for new.
    pub fn leave_out(&mut self, taken: Taken, counted: &mut Backfilled) {
        let mut touched = BTreeSet::new();
        for ((series, at), value) in taken {
            let Ok(number) = self.written.binary_search_by_key(&series, |(series, _)| *series) else { continue };
            let is_written = self.written.get(number).is_some_and(|(_, times)| times.binary_search(&at).is_ok());
            if !is_written || !self.left_out.entry(number).or_default().insert(at) {
                continue;
            }
            touched.insert(number);
            let samples = self.import.get(series).map_or(&[][..], |(_, samples)| samples);
            let from = samples.partition_point(|s| s.at.0 < at);
            let of_time = &samples[from..from + samples[from..].partition_point(|s| s.at.0 == at)];
            for s in of_time {
                let was_accepted = of_time.first().is_some_and(|first| same(&first.value, &s.value));
                match (was_accepted, same(&value, &s.value)) {
                    (true, false) => {
                        (counted.accepted, counted.duplicate) = (counted.accepted - 1, counted.duplicate + 1)
                    }
                    (false, true) => {
                        (counted.accepted, counted.duplicate) = (counted.accepted + 1, counted.duplicate - 1)
                    }
                    _ => {}
                }
            }
        }
        for number in touched {
            let Some(((_, times), left_out)) = self.written.get(number).zip(self.left_out.get(&number)) else {
                continue;
            };
            // Times that nothing is kept between are one span.
            let runs = times.chunk_by(|a, b| left_out.contains(a) == left_out.contains(b));
            let spans = runs.filter_map(|run| Some((*run.first()?, *run.last()?))).filter(|s| left_out.contains(&s.0));
            self.gone.set(number as u32, spans);
        }
    }

    /// Is nothing of the block left?
    pub fn is_all(&self) -> bool {
        let left_out: usize = self.left_out.values().map(BTreeSet::len).sum();
        left_out == self.written.iter().map(|(_, times)| times.len()).sum::<usize>()
    }

    /// What to leave out of the block.
    pub fn gone(&self) -> &Gone {
        &self.gone
    }
}
