//! Reading: one snapshot of head and blocks, merged by series.
//!
//! Invariant: where the boundaries between head and blocks fall changes no answer.
//! Not here: PromQL; when blocks are made.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use belfry_model::read::ReadError;
use belfry_model::{
    Exemplar, Labels, Matcher, MetricMetadata, SampleBuf, SampleSource, SelectHints, SelectLimits, Series, SeriesRead,
    SeriesSet, TimeRange,
};

use crate::block::{Block, ChunkPlace};
use crate::codec::Corrupt;
use crate::frozen::Frozen;
use crate::head::Head;
use crate::index::resolve;
use crate::own::Own;
use crate::rows::{Column, Row};
use crate::series::{estimate, merge};
use crate::store::{Shared, Store};

/// One series of a snapshot: where its samples are.
#[derive(Default)]
struct Parts {
    blocks: Vec<(Arc<Block>, Vec<ChunkPlace>)>,
    frozen: Option<(Arc<Frozen>, u32)>,
    live: Option<Box<Own>>,
    rows: Option<Column>,
}

struct Source {
    parts: Parts,
    /// What was asked for; the snapshot holds no more.
    range: TimeRange,
}

/// One place that has samples of a series, each of them in order.
enum Part<'a> {
    Block(&'a Block, &'a [ChunkPlace]),
    Head(&'a Own),
    Rows(&'a Column),
}

impl Part<'_> {
    /// First and last time.
    fn span(&self) -> Option<(i64, i64)> {
        match self {
            Self::Block(_, places) => Some((places.first()?.min, places.last()?.max)),
            Self::Head(own) => own.min().zip(own.max()),
            Self::Rows(column) => column.span(),
        }
    }

    fn estimate(&self, range: TimeRange) -> u64 {
        match self {
            Self::Block(_, places) => places.iter().map(|c| estimate(c.min, c.max, c.count, range)).sum(),
            Self::Head(own) => own.estimate(range),
            Self::Rows(column) => column.count(range),
        }
    }

    fn decode(&self, range: TimeRange, into: &mut SampleBuf) -> Result<(), ReadError> {
        match self {
            Self::Block(block, places) => {
                let wanted = |c: &&ChunkPlace| c.min < range.end().0 && c.max >= range.start().0;
                places.iter().filter(wanted).try_for_each(|c| block.decode(c, range, into))
            }
            Self::Head(own) => own.decode(range, into).map_err(in_memory),
            Self::Rows(column) => {
                column.append_to(range, into);
                Ok(())
            }
        }
    }
}

fn in_memory(e: Corrupt) -> ReadError {
    ReadError::Damaged(format!("a chunk in memory: {e}"))
}

impl Parts {
    /// In order of time, where they do not overlap.
    fn all(&self) -> impl Iterator<Item = Part<'_>> {
        let blocks = self.blocks.iter().map(|(b, places)| Part::Block(b, places));
        let frozen = self.frozen.iter().filter_map(|(f, at)| f.own(*at as usize)).map(Part::Head);
        let live = self.live.as_deref().map(Part::Head);
        blocks.chain(frozen).chain(live).chain(self.rows.as_ref().map(Part::Rows))
    }
}

impl SampleSource for Source {
    fn decode(&self, range: TimeRange, into: &mut SampleBuf) -> Result<(), ReadError> {
        let (start, end) = (range.start().max(self.range.start()), range.end().min(self.range.end()));
        let Some(range) = TimeRange::new(start, end) else { return Ok(()) };
        let mut last = None;
        let ascends = |span: (i64, i64)| last.replace(span.1).is_none_or(|last| last < span.0);
        if self.parts.all().filter_map(|p| p.span()).all(ascends) {
            return self.parts.all().try_for_each(|p| p.decode(range, into));
        }
        // Late samples: parts overlap.
        let mut decoded = Vec::new();
        for part in self.parts.all() {
            let mut buf = SampleBuf::default();
            part.decode(range, &mut buf)?;
            decoded.push(buf);
        }
        merge(&decoded, into);
        Ok(())
    }

    fn estimate(&self) -> u64 {
        self.parts.all().map(|p| p.estimate(self.range)).sum()
    }
}

struct Found {
    series: Vec<(Labels, Parts)>,
    warnings: Vec<String>,
}

/// What a snapshot is asked for.
struct Wanted<'a> {
    matchers: &'a [Matcher],
    range: TimeRange,
    /// More series are an error.
    limit: usize,
    /// Where the samples are, too.
    samples: bool,
}

impl Shared {
    /// Every series that may have samples in the range, in order of labels.
    fn gather(&self, wanted: &Wanted<'_>) -> Result<Found, ReadError> {
        let mut found = Found { series: Vec::new(), warnings: Vec::new() };
        let blocks: Vec<Arc<Block>> = {
            let state = self.state.read();
            gather_head(&state.head, wanted, &mut found)?;
            state.blocks.iter().filter(|b| b.overlaps(wanted.range)).cloned().collect()
        };
        if !blocks.is_empty() {
            self.gather_blocks(&blocks, wanted, &mut found)?;
        }
        found.series.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    fn gather_blocks(&self, blocks: &[Arc<Block>], wanted: &Wanted<'_>, found: &mut Found) -> Result<(), ReadError> {
        let mut by_labels: HashMap<Labels, Parts> = found.series.drain(..).collect();
        for block in blocks {
            match gather_block(block, wanted, &mut by_labels) {
                Ok(()) => {}
                // The rest stays readable; whoever asks is told what is missing.
                Err(ReadError::Damaged(what)) => {
                    tracing::error!("a block was left out of an answer: {what}");
                    found.warnings.push(format!("samples are missing from this answer: {what}"));
                }
                Err(e) => return Err(e),
            }
        }
        for parts in by_labels.values_mut() {
            parts.blocks.sort_by_key(|(b, places)| (places.first().map(|c| c.min), b.id()));
        }
        found.series.extend(by_labels);
        Ok(())
    }

    /// What is readable of exactly one series.
    pub(crate) fn samples_of(&self, labels: &Labels, range: TimeRange) -> Result<SampleBuf, ReadError> {
        let matchers: Vec<Matcher> = labels.iter().map(|l| Matcher::equal(&*l.name, &*l.value)).collect();
        let found = self.gather(&Wanted { matchers: &matchers, range, limit: usize::MAX, samples: true })?;
        let mut samples = SampleBuf::default();
        match found.series.into_iter().find(|(l, _)| l == labels) {
            Some((_, parts)) => Source { parts, range }.decode(range, &mut samples).map(|()| samples),
            None => Ok(samples),
        }
    }

    fn label_sets(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<Labels>, ReadError> {
        let wanted = Wanted { matchers, range, limit: usize::MAX, samples: false };
        Ok(self.gather(&wanted)?.series.into_iter().map(|(labels, _)| labels).collect())
    }
}

/// Copies what the head has: little and compressed, for appends wait meanwhile.
fn gather_head(head: &Head, wanted: &Wanted<'_>, found: &mut Found) -> Result<(), ReadError> {
    let range = wanted.range;
    let Ok(ids) = resolve(&head.index, wanted.matchers);
    let mut rows = RowsSeen { range, groups: HashMap::new() };
    for id in ids {
        let own = head.own(id);
        let frozen = head.frozen().and_then(|f| Some((f, f.find(id)?)));
        let frozen = frozen.filter(|(f, at)| f.own(*at).is_some_and(|own| own.overlaps(range)));
        let parts = if wanted.samples {
            Parts {
                blocks: Vec::new(),
                frozen: frozen.map(|(f, at)| (f.clone(), at as u32)),
                live: own.and_then(|own| own.snapshot(range)).map(Box::new),
                rows: rows.column(head, id),
            }
        } else {
            Parts::default()
        };
        let hit = match wanted.samples {
            true => parts.live.is_some() || parts.rows.is_some(),
            false => own.is_some_and(|own| own.overlaps(range)) || rows.column(head, id).is_some(),
        };
        if frozen.is_some() || hit {
            over(found.series.len() + 1, wanted.limit)?;
            found.series.push((head.index.labels(id), parts));
        }
    }
    Ok(())
}

/// The rows of the groups that a snapshot met: each is copied once.
struct RowsSeen {
    range: TimeRange,
    groups: HashMap<u32, Option<GroupSeen>>,
}

struct GroupSeen {
    rows: Arc<[Row]>,
    /// A series' number and its column, in order.
    columns: Vec<(u32, u32)>,
}

impl RowsSeen {
    fn column(&mut self, head: &Head, id: u32) -> Option<Column> {
        let (number, rows) = head.rows(id)?;
        let range = self.range;
        let seen = self.groups.entry(number).or_insert_with(|| {
            let hit = rows.iter().any(|r| range.start().0 <= r.at && r.at < range.end().0);
            hit.then(|| {
                let mut columns: Vec<_> = head.group_ids(number).into_iter().zip(0..).collect();
                columns.sort_unstable();
                GroupSeen { rows: head.rows_of(number), columns }
            })
        });
        let seen = seen.as_ref()?;
        let at = seen.columns.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(Column::new(seen.rows.clone(), seen.columns.get(at)?.1))
    }
}

fn over(series: usize, limit: usize) -> Result<(), ReadError> {
    if series > limit { Err(ReadError::TooManySeries { limit }) } else { Ok(()) }
}

fn gather_block(block: &Arc<Block>, wanted: &Wanted<'_>, found: &mut HashMap<Labels, Parts>) -> Result<(), ReadError> {
    let range = wanted.range;
    for i in resolve(&**block, wanted.matchers)? {
        let mut series = block.series(i)?;
        series.chunks.retain(|c| c.min < range.end().0 && c.max >= range.start().0);
        if !series.chunks.is_empty() {
            found.entry(series.labels).or_default().blocks.push((block.clone(), series.chunks));
            over(found.len(), wanted.limit)?;
        }
    }
    Ok(())
}

impl Store {
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
        self.aside(matchers, move |shared, matchers| {
            let found = shared.gather(&Wanted { matchers, range, limit: limits.series_max, samples: true })?;
            let mut samples = 0u64;
            let mut series = Vec::with_capacity(found.series.len());
            for (labels, parts) in found.series {
                let source = Source { parts, range };
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
        let Ok(ids) = resolve(&state.head.index, matchers);
        let mut out = Vec::new();
        for id in ids {
            let kept = state.head.exemplars(id).iter();
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
