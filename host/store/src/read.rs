//! Reading: one snapshot of head and blocks, merged by series.
//!
//! Invariant: where the boundaries between head and blocks fall changes no answer.
//! Not here: PromQL; when blocks are made.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use belfry_model::duration::format_duration;
use belfry_model::read::ReadError;
use belfry_model::{
    Exemplar, Labels, Matcher, MetricMetadata, Newest, SampleBuf, SampleSource, SelectHints, SelectLimits, Series,
    SeriesRead, SeriesSet, TimeRange,
};
use roaring::RoaringBitmap;

use crate::block::{Block, ChunkPlace, ScanError};
use crate::chunk::or_nothing;
use crate::codec::Corrupt;
use crate::downsample::{Want, merge_coarse};
use crate::frozen::Frozen;
use crate::head::Head;
use crate::index::resolve;
use crate::known::{Known, Ordered};
use crate::order::order;
use crate::own::Own;
use crate::rows::Columns;
use crate::series::{estimate, merge};
use crate::slab::Slab;
use crate::store::{Shared, State, Store};

/// What the series of one answer share. Each has the places of its samples in here.
#[derive(Default)]
pub(crate) struct Snapshot {
    /// In the order of their ranks.
    blocks: Vec<Arc<Block>>,
    /// By number of the block.
    chunks: Vec<Vec<ChunkPlace>>,
    pub(crate) frozen: Option<Arc<Frozen>>,
    live: Vec<Taken>,
    groups: Vec<Columns>,
}

/// What a series had alone, and its first and last time.
struct Taken {
    own: Own,
    span: Option<(i64, i64)>,
}

/// Chunks of one series in one block.
struct Span {
    block: u32,
    from: usize,
    to: usize,
}

/// One series of a snapshot: where its samples are.
#[derive(Default)]
pub(crate) struct Parts {
    blocks: Vec<Span>,
    /// Its number, if it is among what was set aside.
    frozen: Option<u32>,
    live: Option<u32>,
    /// Which group's rows, and the column of them.
    rows: Option<(u32, u32)>,
}

pub(crate) struct Source {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) parts: Parts,
    /// What was asked for; the snapshot holds no more.
    pub(crate) range: TimeRange,
    pub(crate) want: Want,
}

/// One place that has samples of a series, each of them in order.
enum Part<'a> {
    Block(&'a Block, &'a [ChunkPlace]),
    Head(&'a Own, Option<(i64, i64)>),
    Sealed(&'a [Arc<Slab>], usize),
    Rows(&'a Columns, usize),
}

impl Part<'_> {
    /// First and last time.
    fn span(&self) -> Option<(i64, i64)> {
        match self {
            Self::Block(_, places) => Some((places.first()?.min, places.last()?.max)),
            Self::Head(_, span) => *span,
            Self::Sealed(slabs, _) => Some((slabs.first()?.span()?.0, slabs.last()?.span()?.1)),
            Self::Rows(columns, _) => columns.span(),
        }
    }

    fn estimate(&self, range: TimeRange) -> u64 {
        match self {
            Self::Block(_, places) => places.iter().map(|c| estimate(c.min, c.max, c.count, range)).sum(),
            Self::Head(own, _) => own.estimate(range),
            Self::Sealed(slabs, _) => slabs.iter().map(|s| s.count(range)).sum(),
            Self::Rows(columns, _) => columns.count(range),
        }
    }

    /// Appends what can be read; what cannot is noted.
    fn decode(&self, want: Want, range: TimeRange, into: &mut SampleBuf, unread: &mut Unread) -> Result<(), ReadError> {
        match self {
            Self::Block(block, places) => {
                let wanted = |c: &&ChunkPlace| c.min < range.end().0 && c.max >= range.start().0;
                places.iter().filter(wanted).try_for_each(|c| unread.note(block.decode_for(want, c, range, into)))
            }
            Self::Head(own, _) => unread.note(or_nothing(into, |into| own.decode(range, into)).map_err(in_memory)),
            Self::Sealed(slabs, column) => {
                slabs.iter().try_for_each(|s| unread.note(s.decode(*column, range, into).map_err(in_memory)))
            }
            Self::Rows(columns, column) => unread.note(columns.decode(*column, range, into).map_err(in_memory)),
        }
    }
}

/// What was left out of a series because it is damaged.
#[derive(Default)]
struct Unread {
    first: Option<String>,
    more: usize,
}

impl Unread {
    /// Damage is kept for later; any other error ends the read.
    fn note(&mut self, outcome: Result<(), ReadError>) -> Result<(), ReadError> {
        match outcome {
            Err(ReadError::Damaged(what)) => {
                self.more += usize::from(self.first.is_some());
                self.first.get_or_insert(what);
                Ok(())
            }
            outcome => outcome,
        }
    }

    fn told(self) -> Result<(), ReadError> {
        match self.first {
            None => Ok(()),
            Some(what) => Err(ReadError::Damaged(and_more(what, self.more))),
        }
    }
}

/// The first of several, with how many there are beside it.
pub(crate) fn and_more(first: String, more: usize) -> String {
    if more == 0 { first } else { format!("{first} (and {more} more)") }
}

fn in_memory(e: Corrupt) -> ReadError {
    ReadError::Damaged(format!("a chunk in memory: {e}"))
}

impl Snapshot {
    fn span(&self, span: &Span) -> Option<(&Arc<Block>, &[ChunkPlace])> {
        let block = span.block as usize;
        Some((self.blocks.get(block)?, self.chunks.get(block)?.get(span.from..span.to)?))
    }

    /// Parts that lie apart in order of time, so that they can be read one after the other; others as they are taken for a
    /// merge: by rank, for where two have a sample at one time that of the lower rank stands.
    fn put_in_order(&self, parts: &mut [Span]) {
        let places = |span: &Span| self.span(span).map_or(&[][..], |(_, places)| places);
        let are_apart = |a: &Span, b: &Span| places(a).last().map(|c| c.max) < places(b).first().map(|c| c.min);
        if parts.is_sorted_by(are_apart) {
            return;
        }
        parts.sort_by_key(|span| places(span).first().map(|c| c.min));
        if !parts.is_sorted_by(are_apart) {
            // Blocks are numbered in the order of their ranks.
            parts.sort_by_key(|span| span.block);
        }
    }

    /// A series' parts, in order of time where they do not overlap.
    fn all<'a>(&'a self, parts: &'a Parts) -> impl Iterator<Item = Part<'a>> {
        let blocks = parts.blocks.iter().filter_map(|s| self.span(s)).map(|(b, places)| Part::Block(b, places));
        let frozen = || self.frozen.as_ref().zip(parts.frozen);
        let sealed = frozen().and_then(|(f, id)| f.column(id)).map(|(slabs, column)| Part::Sealed(slabs, column));
        let own = frozen().and_then(|(f, id)| f.own(id)).map(|own| Part::Head(own, own.span()));
        let live = parts.live.and_then(|at| self.live.get(at as usize)).map(|t| Part::Head(&t.own, t.span));
        let rows = parts.rows.and_then(|(at, column)| Some(Part::Rows(self.groups.get(at as usize)?, column as usize)));
        blocks.chain(sealed).chain(own).chain(live).chain(rows)
    }
}

impl Source {
    fn all(&self) -> impl Iterator<Item = Part<'_>> {
        self.snapshot.all(&self.parts)
    }
}

impl SampleSource for Source {
    fn decode(&self, range: TimeRange, into: &mut SampleBuf) -> Result<(), ReadError> {
        let (start, end) = (range.start().max(self.range.start()), range.end().min(self.range.end()));
        let Some(range) = TimeRange::new(start, end) else { return Ok(()) };
        let mut last = None;
        let ascends = |span: (i64, i64)| last.replace(span.1).is_none_or(|last| last < span.0);
        let mut unread = Unread::default();
        if self.all().filter_map(|p| p.span()).all(ascends) {
            self.all().try_for_each(|p| p.decode(self.want, range, into, &mut unread))?;
            return unread.told();
        }
        // Late samples: parts overlap.
        let mut decoded = Vec::new();
        for part in self.all() {
            let mut buf = SampleBuf::default();
            part.decode(self.want, range, &mut buf, &mut unread)?;
            decoded.push(buf);
        }
        match decoded.iter().all(|b| b.coarse.rows.is_empty()) {
            true => merge(&decoded, into),
            false => merge_coarse(&decoded, into),
        }
        unread.told()
    }

    fn estimate(&self) -> u64 {
        self.all().map(|p| p.estimate(self.range)).sum()
    }
}

#[derive(Default)]
struct Found {
    /// In order of labels.
    series: Vec<(Labels, Parts)>,
    snapshot: Snapshot,
    warnings: Vec<String>,
}

/// What a snapshot is asked for.
pub(crate) struct Wanted<'a> {
    pub(crate) matchers: &'a [Matcher],
    pub(crate) range: TimeRange,
    /// More series are an error.
    pub(crate) limit: usize,
    /// Where the samples are, too.
    pub(crate) samples: bool,
}

impl Shared {
    /// Every series that may have samples in the range, in order of labels.
    fn gather(&self, wanted: &Wanted<'_>) -> Result<Found, ReadError> {
        let mut found = Found::default();
        let (head, blocks) = {
            let state = self.state.read();
            let head = gather_head(&state.head, wanted, &mut found.snapshot)?;
            let blocks: Vec<_> = state.blocks.iter().filter(|b| b.overlaps(wanted.range)).cloned().collect();
            found.warnings = state.missing(wanted.range);
            (head, blocks)
        };
        found.series = head.in_order();
        for block in blocks {
            match found.add_block(block, wanted) {
                Ok(()) => {}
                // The rest stays readable; whoever asks is told what is missing. The block has logged it, once.
                Err(ReadError::Damaged(what)) => found.warnings.push(missing(&what)),
                Err(e) => return Err(e),
            }
        }
        let Found { series, snapshot, .. } = &mut found;
        series.iter_mut().for_each(|(_, parts)| snapshot.put_in_order(&mut parts.blocks));
        Ok(found)
    }

    /// What is readable of exactly one series, segments and all; damage is left out without a word.
    pub(crate) fn samples_of(&self, labels: &Labels, range: TimeRange) -> Result<SampleBuf, ReadError> {
        let matchers: Vec<Matcher> = labels.iter().map(|l| Matcher::equal(&*l.name, &*l.value)).collect();
        let found = self.gather(&Wanted { matchers: &matchers, range, limit: usize::MAX, samples: true })?;
        let mut samples = SampleBuf::default();
        let outcome = match found.series.into_iter().find(|(l, _)| l == labels) {
            Some((_, parts)) => Source { snapshot: Arc::new(found.snapshot), parts, range, want: Want::Counts }
                .decode(range, &mut samples),
            None => Ok(()),
        };
        match outcome {
            Ok(()) | Err(ReadError::Damaged(_)) => Ok(samples),
            Err(e) => Err(e),
        }
    }

    fn label_sets(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<Labels>, ReadError> {
        let wanted = Wanted { matchers, range, limit: usize::MAX, samples: false };
        Ok(self.gather(&wanted)?.series.into_iter().map(|(labels, _)| labels).collect())
    }
}

/// The warning that goes with an answer.
fn missing(what: &str) -> String {
    format!("samples are missing from this answer: {what}")
}

impl State {
    /// What answers over `range` lack whatever they ask for, and what they may have too much.
    pub(crate) fn missing(&self, range: TimeRange) -> Vec<String> {
        let lost = self.lost.iter().filter(|l| l.may_overlap(range)).map(|l| missing(&l.to_string()));
        let back = self.blocks.iter().filter(|b| b.overlaps(range)).filter_map(|b| {
            let why = b.lost_deletions()?;
            Some(format!("what was deleted may be back in this answer: block {}: {why}", b.id()))
        });
        let of_log = self.lost_log.missing(range).map(|what| missing(&what));
        lost.chain(back).chain(of_log).collect()
    }
}

impl Found {
    /// Whoever counts or sums up samples must know that some are gone.
    fn tell_of_coarse(&mut self) {
        let resolution = |s: &Span| self.snapshot.blocks.get(s.block as usize).map_or(0, |b| b.meta().resolution);
        let coarsest = self.series.iter().flat_map(|(_, parts)| parts.blocks.iter().map(resolution)).max().unwrap_or(0);
        if let Ok(ms @ 1..) = u64::try_from(coarsest) {
            let width = format_duration(Duration::from_millis(ms));
            self.warnings.push(format!("some of the data is downsampled to {width}: samples between others are gone"));
        }
    }

    /// Merges in what a block has. Both are in order of labels.
    fn add_block(&mut self, block: Arc<Block>, wanted: &Wanted<'_>) -> Result<(), ReadError> {
        let ids = resolve(&*block, wanted.matchers)?;
        let before = std::mem::take(&mut self.series);
        let mut total = before.len();
        let mut merged = Vec::with_capacity(total.max(ids.len() as usize));
        let mut before = before.into_iter().peekable();
        let mut chunks = Vec::new();
        let number = self.snapshot.blocks.len() as u32;
        let outcome = block.scan(&ids, wanted.range, &mut chunks, |scan, from, to| {
            let span = Span { block: number, from, to };
            while let Some((labels, _)) = before.peek() {
                match scan.compare(labels)? {
                    Ordering::Less => break,
                    Ordering::Greater => merged.extend(before.next()),
                    Ordering::Equal => {
                        merged.extend(before.next().map(|(labels, mut parts): (Labels, Parts)| {
                            parts.blocks.push(span);
                            (labels, parts)
                        }));
                        return Ok(());
                    }
                }
            }
            total += 1;
            over(total, wanted.limit).map_err(ScanError::Stopped)?;
            merged.push((scan.labels()?, Parts { blocks: vec![span], ..Parts::default() }));
            Ok(())
        });
        merged.extend(before);
        self.series = merged;
        self.snapshot.blocks.push(block);
        self.snapshot.chunks.push(chunks);
        outcome
    }
}

/// What the head has of a selection.
enum FromHead {
    InOrder(Vec<(Labels, Parts)>),
    Unordered {
        /// In order of their numbers.
        series: Vec<(Labels, Parts)>,
        /// All that matched, whether there are samples in the range or not, and how many series had been removed.
        ids: Arc<RoaringBitmap>,
        removed: u64,
        known: Arc<Known>,
    },
}

impl FromHead {
    /// Puts it in order, outside of the head's lock, and remembers the order of whole selections.
    fn in_order(self) -> Vec<(Labels, Parts)> {
        let (series, ids, removed, known) = match self {
            Self::InOrder(series) => return series,
            Self::Unordered { series, ids, removed, known } => (series, ids, removed, known),
        };
        let (labels, parts): (Vec<_>, Vec<_>) = series.into_iter().unzip();
        let order = order(&labels);
        if ids.len() == labels.len() as u64 {
            let numbers: Vec<u32> = ids.iter().collect();
            known.keep(ids, removed, || Arc::new(Ordered::new(&numbers, &labels, &order)));
        }
        let mut unordered: Vec<_> = labels.into_iter().zip(parts).map(Some).collect();
        order.into_iter().filter_map(|at| unordered.get_mut(at as usize)?.take()).collect()
    }
}

/// Copies what the head has: little and compressed, for appends wait meanwhile.
fn gather_head(head: &Head, wanted: &Wanted<'_>, snapshot: &mut Snapshot) -> Result<FromHead, ReadError> {
    let ids = head.index.matching(wanted.matchers);
    let (known, removed) = head.index.known();
    snapshot.frozen = head.frozen().cloned();
    let mut groups = GroupsSeen::new(wanted.range);
    let mut series = Vec::with_capacity(ids.len() as usize);
    if let Some(ordered) = known.find(&ids, removed) {
        for (id, labels) in ordered.ids.iter().zip(&*ordered.labels) {
            if let Some(parts) = head_parts(head, *id, wanted, &mut groups, snapshot) {
                over(series.len() + 1, wanted.limit)?;
                series.push((labels.clone(), parts));
            }
        }
        return Ok(FromHead::InOrder(series));
    }
    for id in &*ids {
        if let Some(parts) = head_parts(head, id, wanted, &mut groups, snapshot) {
            over(series.len() + 1, wanted.limit)?;
            series.push((head.index.labels(id), parts));
        }
    }
    Ok(FromHead::Unordered { series, ids, removed, known: known.clone() })
}

/// Where the head has samples of a series within the range; `None` when it has none.
pub(crate) fn head_parts(
    head: &Head,
    id: u32,
    wanted: &Wanted<'_>,
    groups: &mut GroupsSeen,
    snapshot: &mut Snapshot,
) -> Option<Parts> {
    let range = wanted.range;
    let own = head.own(id);
    let mut parts = Parts {
        frozen: head.frozen().is_some_and(|f| f.overlaps(id, range)).then_some(id),
        rows: groups.column(head, id, &mut snapshot.groups),
        ..Parts::default()
    };
    let live = match wanted.samples {
        true => own.and_then(|own| own.snapshot(range)).is_some_and(|own| {
            parts.live = Some(snapshot.live.len() as u32);
            snapshot.live.push(Taken { span: own.span(), own });
            true
        }),
        false => own.is_some_and(|own| own.overlaps(range)),
    };
    (live || parts.frozen.is_some() || parts.rows.is_some()).then_some(parts)
}

/// The groups that a snapshot met: what each has is taken once.
pub(crate) struct GroupsSeen {
    range: TimeRange,
    seen: HashMap<u32, Option<GroupSeen>>,
}

struct GroupSeen {
    /// Which one of the snapshot.
    at: u32,
    /// A series' number and its column, in order.
    columns: Vec<(u32, u32)>,
}

impl GroupsSeen {
    /// None yet.
    pub(crate) fn new(range: TimeRange) -> Self {
        Self { range, seen: HashMap::new() }
    }

    /// Which one of `taken`, and which column of it.
    fn column(&mut self, head: &Head, id: u32, taken: &mut Vec<Columns>) -> Option<(u32, u32)> {
        let (number, group) = head.group_with_samples(id)?;
        let seen = self.seen.entry(number).or_insert_with(|| {
            taken.push(Columns::within(&group.slabs, &group.rows, self.range)?);
            let mut columns: Vec<_> = group.ids().zip(0..).collect();
            columns.sort_unstable();
            Some(GroupSeen { at: taken.len() as u32 - 1, columns })
        });
        let seen = seen.as_ref()?;
        let at = seen.columns.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some((seen.at, seen.columns.get(at)?.1))
    }
}

pub(crate) fn over(series: usize, limit: usize) -> Result<(), ReadError> {
    if series > limit { Err(ReadError::TooManySeries { limit }) } else { Ok(()) }
}

impl Store {
    /// Warnings that belong to every answer over `range`: blocks that cannot be read, deletions that may be back, what was
    /// lost of the log. Those of [`SeriesRead::select`] and [`SeriesRead::newest`] have them already; who hands on a list of series or labels adds
    /// them.
    pub fn missing(&self, range: TimeRange) -> Vec<String> {
        let state = self.shared.state.read();
        let mut warnings = state.missing(range);
        let unreadable = state.blocks.iter().filter(|b| b.overlaps(range)).filter_map(|b| b.lost_index());
        warnings.extend(unreadable.map(missing));
        warnings
    }

    /// Runs a read on a thread that may block: it walks indexes, and files that may have to come from the disk first.
    async fn aside<T: Send + 'static>(
        &self,
        matchers: &[Matcher],
        read: impl FnOnce(&Shared, &[Matcher]) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return read(&self.shared, matchers) };
        let (shared, matchers) = (self.shared.clone(), matchers.to_vec());
        // A read that ended without an answer panicked, or the runtime is going down: nobody can use an answer then.
        runtime.spawn_blocking(move || read(&shared, &matchers)).await.unwrap_or(Err(ReadError::Cancelled))
    }
}

/// What of downsampled blocks a reader can use.
fn want(hints: &SelectHints) -> Want {
    match hints.function {
        _ if !hints.coarse => Want::Plain,
        Some("min_over_time" | "max_over_time" | "sum_over_time" | "avg_over_time") => Want::All,
        _ => Want::Counts,
    }
}

fn limited<T>(mut items: Vec<T>, limit: usize) -> Vec<T> {
    if limit > 0 {
        items.truncate(limit);
    }
    items
}

#[async_trait]
impl SeriesRead for Store {
    async fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        hints: &SelectHints,
        limits: SelectLimits,
    ) -> Result<SeriesSet, ReadError> {
        let limit = hints.limit;
        let want = want(hints);
        self.aside(matchers, move |shared, matchers| {
            let mut found = shared.gather(&Wanted { matchers, range, limit: limits.series_max, samples: true })?;
            if want == Want::Plain {
                found.tell_of_coarse();
            }
            let mut samples = 0u64;
            let mut series = Vec::with_capacity(found.series.len());
            let snapshot = Arc::new(found.snapshot);
            for (labels, parts) in found.series {
                let source = Source { snapshot: snapshot.clone(), parts, range, want };
                samples = samples.saturating_add(source.estimate());
                if samples > limits.samples_max {
                    return Err(ReadError::TooManySamples { limit: limits.samples_max });
                }
                series.push(Series { labels, samples: Arc::new(source) });
            }
            Ok(SeriesSet { series: limited(series, limit), warnings: found.warnings })
        })
        .await
    }

    async fn newest(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        limits: SelectLimits,
    ) -> Result<Option<Newest>, ReadError> {
        self.aside(matchers, move |shared, matchers| shared.newest(matchers, range, limits)).await
    }

    async fn series(&self, matchers: &[Matcher], range: TimeRange, limit: usize) -> Result<Vec<Labels>, ReadError> {
        self.aside(matchers, move |shared, matchers| Ok(limited(shared.label_sets(matchers, range)?, limit))).await
    }

    async fn label_names(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<String>, ReadError> {
        self.aside(matchers, move |shared, matchers| {
            let sets = shared.label_sets(matchers, range)?;
            let names: BTreeSet<&str> = sets.iter().flatten().map(|l| &*l.name).collect();
            Ok(limited(names.into_iter().map(str::to_owned).collect(), limit))
        })
        .await
    }

    async fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<String>, ReadError> {
        let name = name.to_owned();
        self.aside(matchers, move |shared, matchers| {
            let sets = shared.label_sets(matchers, range)?;
            let values: BTreeSet<&str> = sets.iter().filter_map(|l| l.get(&name)).collect();
            Ok(limited(values.into_iter().map(str::to_owned).collect(), limit))
        })
        .await
    }

    async fn exemplars(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, ReadError> {
        let state = self.shared.state.read();
        let ids = state.head.index.matching(matchers);
        let mut out = Vec::new();
        for id in &*ids {
            let kept = state.head.exemplars(id);
            let mut hits: Vec<Exemplar> = kept.filter(|e| range.contains(e.at)).cloned().collect();
            if !hits.is_empty() {
                hits.sort_by_key(|e| e.at);
                out.push((state.head.index.labels(id), hits));
            }
        }
        out.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(out)
    }

    async fn metadata(&self, metric: Option<&str>) -> Result<Vec<MetricMetadata>, ReadError> {
        let state = self.shared.state.read();
        Ok(match metric {
            Some(name) => state.head.metadata().get(name).cloned().into_iter().collect(),
            None => state.head.metadata().values().cloned().collect(),
        })
    }
}
