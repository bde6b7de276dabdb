//! The newest sample of each series of a selection, in columns: an instant query over many series wants no more.
//!
//! Most series end in the head, and the newest sample of one that came in order is known without decoding. So nothing is
//! made per series but its place in the columns; the label sets are those that are kept (`known`).
//!
//! Invariant: the sample is the last one of what a select over the same range decodes to.
//! Not here: series with samples in a block within the range; they are selected (`read`).

use std::collections::HashMap;
use std::sync::Arc;

use belfry_model::read::ReadError;
use belfry_model::{Histogram, Labels, Matcher, Newest, SampleBuf, SampleSource, SelectLimits, TimeRange};
use roaring::RoaringBitmap;

use crate::downsample::Want;
use crate::head::Head;
use crate::index::resolve;
use crate::known::{Known, Ordered};
use crate::order::order;
use crate::own::Own;
use crate::read::{GroupsSeen, Parts, Snapshot, Source, Wanted, head_parts, over};
use crate::store::Shared;

/// In place of a time: there is no sample. Nothing is so old.
const NOTHING: i64 = i64::MIN;

/// What the head has of a selection, by place among its numbers.
#[derive(Default)]
struct Found {
    times: Vec<i64>,
    floats: Vec<f64>,
    /// Series that must be decoded.
    others: Vec<(u32, Parts)>,
    snapshot: Snapshot,
}

/// The label sets of a selection.
enum Sets {
    InOrder(Arc<Ordered>),
    /// To be put in order, outside of the head's lock, and to be kept.
    ById {
        labels: Vec<Labels>,
        ids: Arc<RoaringBitmap>,
        removed: u64,
        known: Arc<Known>,
    },
}

impl Sets {
    fn in_order(self) -> Arc<Ordered> {
        match self {
            Self::InOrder(ordered) => ordered,
            Self::ById { labels, ids, removed, known } => {
                let numbers: Vec<u32> = ids.iter().collect();
                let ordered = Arc::new(Ordered::new(&numbers, &labels, &order(&labels)));
                known.keep(ids, removed, || ordered.clone());
                ordered
            }
        }
    }
}

impl Shared {
    /// The newest samples of what matches; `None` when they are not in memory alone.
    pub(crate) fn newest(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        limits: SelectLimits,
    ) -> Result<Option<Newest>, ReadError> {
        let wanted = Wanted { matchers, range, limit: limits.series_max, samples: true };
        let (sets, mut found, blocks, warnings) = {
            let state = self.state.read();
            let (sets, found) = look(&state.head, &wanted)?;
            let blocks: Vec<_> = state.blocks.iter().filter(|b| b.overlaps(range)).cloned().collect();
            (sets, found, blocks, state.missing(range))
        };
        // A block that cannot be read is told of by whoever selects.
        if blocks.iter().any(|b| resolve(&**b, matchers).map_or(true, |ids| !ids.is_empty())) {
            return Ok(None);
        }
        let histograms = match found.decode_others(range) {
            // So is this: what stands before the damage is not the newest.
            Err(ReadError::Damaged(_)) => return Ok(None),
            outcome => outcome?,
        };
        let ordered = sets.in_order();
        let newest = found.in_order(&ordered, &histograms, limits)?;
        Ok(Some(Newest { warnings, ..newest }))
    }
}

impl Found {
    /// Fills in those that must be decoded; yields their histograms.
    fn decode_others(&mut self, range: TimeRange) -> Result<HashMap<u32, Arc<Histogram>>, ReadError> {
        let snapshot = Arc::new(std::mem::take(&mut self.snapshot));
        let mut histograms = HashMap::new();
        let mut buf = SampleBuf::default();
        for (place, parts) in std::mem::take(&mut self.others) {
            buf.clear();
            Source { snapshot: snapshot.clone(), parts, range, want: Want::Plain }.decode(range, &mut buf)?;
            let (Some(at), Some(float)) = (buf.times.last(), buf.floats.last()) else { continue };
            if let (Some(time), Some(value)) = (self.times.get_mut(place as usize), self.floats.get_mut(place as usize))
            {
                (*time, *value) = (*at, *float);
            }
            if let Some(Some(h)) = buf.histograms.last() {
                histograms.insert(place, h.clone());
            }
        }
        Ok(histograms)
    }

    fn in_order(
        &self,
        ordered: &Ordered,
        histograms: &HashMap<u32, Arc<Histogram>>,
        limits: SelectLimits,
    ) -> Result<Newest, ReadError> {
        let count = self.times.iter().filter(|at| **at != NOTHING).count();
        over(count, limits.series_max)?;
        if count as u64 > limits.samples_max {
            return Err(ReadError::TooManySamples { limit: limits.samples_max });
        }
        // Which place among the numbers a label set has.
        let mut places = vec![0u32; ordered.ranks.len()];
        for (place, rank) in ordered.ranks.iter().enumerate() {
            if let Some(of) = places.get_mut(*rank as usize) {
                *of = place as u32;
            }
        }
        let mut newest = Newest { labels: ordered.labels.clone(), ..Newest::default() };
        newest.of.reserve_exact(count);
        newest.times.reserve_exact(count);
        newest.floats.reserve_exact(count);
        for (rank, place) in places.iter().enumerate() {
            let (Some(at), Some(value)) = (self.times.get(*place as usize), self.floats.get(*place as usize)) else {
                continue;
            };
            if *at == NOTHING {
                continue;
            }
            if !histograms.is_empty() {
                newest.histograms.push(histograms.get(place).cloned());
            }
            newest.of.push(rank as u32);
            newest.times.push(*at);
            newest.floats.push(*value);
        }
        Ok(newest)
    }
}

/// What the head has: appends wait meanwhile.
fn look(head: &Head, wanted: &Wanted<'_>) -> Result<(Sets, Found), ReadError> {
    let ids = head.index.matching(wanted.matchers);
    let (known, removed) = head.index.known();
    let mut found = Found::default();
    let n = ids.len() as usize;
    found.times.reserve_exact(n);
    found.floats.reserve_exact(n);
    found.snapshot.frozen = head.frozen().cloned();
    let mut groups = GroupsSeen::new(wanted.range);
    let mut rows = RowsSeen { range: wanted.range, seen: HashMap::new(), last: None };
    for (place, id) in ids.iter().enumerate() {
        let newest = newest_of(head, id, wanted.range, &mut rows);
        let (at, value) = newest.flatten().unwrap_or((NOTHING, 0.0));
        found.times.push(at);
        found.floats.push(value);
        if newest.is_none()
            && let Some(parts) = head_parts(head, id, wanted, &mut groups, &mut found.snapshot)
        {
            found.others.push((place as u32, parts));
        }
    }
    let sets = match known.find(&ids, removed) {
        Some(ordered) => Sets::InOrder(ordered),
        None => {
            over(n, wanted.limit)?;
            let labels = ids.iter().map(|id| head.index.labels(id)).collect();
            Sets::ById { labels, ids, removed, known: known.clone() }
        }
    };
    Ok((sets, found))
}

/// The newest sample of a series within the range, if there is one. `None`: it must be decoded.
fn newest_of(head: &Head, id: u32, range: TimeRange, rows: &mut RowsSeen) -> Option<Option<(i64, f64)>> {
    if head.frozen().is_some_and(|f| f.overlaps(id, range)) {
        return None;
    }
    let own = head.own(id);
    let Some(row) = rows.newest(head, id)? else {
        return own.map_or(Some(None), |own| own.newest(range));
    };
    // What came for it alone may have come later, or late.
    match own.and_then(Own::max) {
        Some(max) if max >= row.0 => None,
        _ => Some(Some(row)),
    }
}

/// The newest rows of the groups that were met.
struct RowsSeen {
    range: TimeRange,
    seen: HashMap<u32, Row>,
    /// The group that was asked for last: whoever asks for one asks for it again.
    last: Option<(u32, Row)>,
}

/// What a group has within the range.
#[derive(Clone)]
enum Row {
    Nothing,
    /// It must be decoded.
    Sealed,
    One {
        at: i64,
        values: Arc<[f64]>,
        /// A series' number and its column, in order.
        columns: Arc<[(u32, u32)]>,
    },
}

impl RowsSeen {
    /// The series' sample in its group's newest row, if there is one. `None`: it must be decoded.
    fn newest(&mut self, head: &Head, id: u32) -> Option<Option<(i64, f64)>> {
        let Some((number, group)) = head.group_with_samples(id) else { return Some(None) };
        if self.last.as_ref().is_none_or(|(last, _)| *last != number) {
            let range = self.range;
            let row = self.seen.entry(number).or_insert_with(|| {
                let end = group.rows.partition_point(|r| r.at < range.end().0);
                match end.checked_sub(1).and_then(|i| group.rows.get(i)) {
                    Some(row) if row.at < range.start().0 => Row::Nothing,
                    Some(row) => {
                        let mut columns: Vec<_> = group.ids().zip(0..).collect();
                        columns.sort_unstable();
                        Row::One { at: row.at, values: row.values.clone(), columns: columns.into() }
                    }
                    None if group.slabs.iter().any(|s| s.overlaps(range)) => Row::Sealed,
                    None => Row::Nothing,
                }
            });
            self.last = Some((number, row.clone()));
        }
        match self.last.as_ref().map(|(_, row)| row)? {
            Row::Nothing => Some(None),
            Row::Sealed => None,
            Row::One { at, values, columns } => {
                let place = columns.binary_search_by_key(&id, |(id, _)| *id).ok()?;
                Some(Some((*at, *values.get(columns.get(place)?.1 as usize)?)))
            }
        }
    }
}
