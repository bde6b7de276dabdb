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
use crate::index::resolve;
use crate::series::{Run, estimate, merge};
use crate::store::Store;

/// One series of a snapshot: where its samples are.
#[derive(Default)]
struct Parts {
    blocks: Vec<(Arc<Block>, Vec<ChunkPlace>)>,
    runs: Vec<Run>,
}

struct Source {
    parts: Parts,
    /// What was asked for; the snapshot holds no more.
    range: TimeRange,
}

impl Parts {
    fn estimate(&self, range: TimeRange) -> u64 {
        let places = self.blocks.iter().flat_map(|(_, places)| places);
        let blocks: u64 = places.map(|c| estimate(c.min, c.max, c.count, range)).sum();
        blocks + self.runs.iter().map(|r| r.estimate(range)).sum::<u64>()
    }

    /// First and last time of each part that has samples.
    fn spans(&self) -> Vec<(i64, i64)> {
        let blocks = self.blocks.iter().filter_map(|(_, p)| Some((p.first()?.min, p.last()?.max)));
        blocks.chain(self.runs.iter().filter_map(|r| Some((r.min()?, r.max()?)))).collect()
    }

    fn decode_part(&self, i: usize, range: TimeRange, into: &mut SampleBuf) -> Result<(), ReadError> {
        let Some((block, places)) = self.blocks.get(i) else {
            let run = &self.runs[i - self.blocks.len()];
            return run.decode(range, into).map_err(|e| ReadError::Damaged(format!("a chunk in memory: {e}")));
        };
        let wanted = |c: &&ChunkPlace| c.min < range.end().0 && c.max >= range.start().0;
        places.iter().filter(wanted).try_for_each(|c| block.decode(c, range, into))
    }
}

impl SampleSource for Source {
    fn decode(&self, range: TimeRange, into: &mut SampleBuf) -> Result<(), ReadError> {
        let (start, end) = (range.start().max(self.range.start()), range.end().min(self.range.end()));
        let Some(range) = TimeRange::new(start, end) else { return Ok(()) };
        let spans = self.parts.spans();
        if spans.windows(2).all(|w| w[0].1 < w[1].0) {
            return (0..spans.len()).try_for_each(|i| self.parts.decode_part(i, range, into));
        }
        // Late samples: parts overlap.
        let mut decoded = vec![SampleBuf::default(); spans.len()];
        for (i, buf) in decoded.iter_mut().enumerate() {
            self.parts.decode_part(i, range, buf)?;
        }
        merge(&decoded, into);
        Ok(())
    }

    fn estimate(&self) -> u64 {
        self.parts.estimate(self.range)
    }
}

struct Found {
    series: HashMap<Labels, Parts>,
    warnings: Vec<String>,
}

impl Store {
    /// Every series that may have samples in `range`; with `samples`, also where they are.
    fn gather(&self, matchers: &[Matcher], range: TimeRange, limit: usize, samples: bool) -> Result<Found, ReadError> {
        let mut found = Found { series: HashMap::new(), warnings: Vec::new() };
        let blocks: Vec<Arc<Block>> = {
            let state = self.shared.state.read();
            let Ok(ids) = resolve(&state.head.index, matchers);
            for id in ids {
                let Some(s) = state.head.series(id) else { continue };
                let runs = s.frozen.as_deref().into_iter().chain([&s.live]);
                let (runs, hit): (Vec<Run>, bool) = if samples {
                    let runs: Vec<Run> = runs.filter_map(|r| r.snapshot(range)).collect();
                    let hit = !runs.is_empty();
                    (runs, hit)
                } else {
                    (Vec::new(), runs.into_iter().any(|r| r.overlaps(range)))
                };
                if hit {
                    found.series.insert(s.labels.clone(), Parts { blocks: Vec::new(), runs });
                    over(&found, limit)?;
                }
            }
            state.blocks.iter().filter(|b| b.overlaps(range)).cloned().collect()
        };
        for block in blocks {
            if let Err(e) = gather_block(&block, matchers, range, limit, &mut found) {
                match e {
                    // The rest stays readable; whoever asks is told what is missing.
                    ReadError::Damaged(what) => {
                        tracing::error!("a block was left out of an answer: {what}");
                        found.warnings.push(format!("samples are missing from this answer: {what}"));
                    }
                    e => return Err(e),
                }
            }
        }
        for parts in found.series.values_mut() {
            parts.blocks.sort_by_key(|(b, places)| (places.first().map(|c| c.min), b.id()));
        }
        Ok(found)
    }

    fn label_sets(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<Labels>, ReadError> {
        let mut labels: Vec<_> = self.gather(matchers, range, usize::MAX, false)?.series.into_keys().collect();
        labels.sort();
        Ok(labels)
    }
}

fn over(found: &Found, limit: usize) -> Result<(), ReadError> {
    if found.series.len() > limit { Err(ReadError::TooManySeries { limit }) } else { Ok(()) }
}

fn gather_block(
    block: &Arc<Block>,
    matchers: &[Matcher],
    range: TimeRange,
    limit: usize,
    found: &mut Found,
) -> Result<(), ReadError> {
    for i in resolve(&**block, matchers)? {
        let mut series = block.series(i)?;
        series.chunks.retain(|c| c.min < range.end().0 && c.max >= range.start().0);
        if !series.chunks.is_empty() {
            found.series.entry(series.labels).or_default().blocks.push((block.clone(), series.chunks));
            over(found, limit)?;
        }
    }
    Ok(())
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
        let found = self.gather(matchers, range, limits.series_max, true)?;
        let mut samples = 0u64;
        let mut series = Vec::with_capacity(found.series.len());
        for (labels, parts) in found.series {
            samples = samples.saturating_add(parts.estimate(range));
            if samples > limits.samples_max {
                return Err(ReadError::TooManySamples { limit: limits.samples_max });
            }
            series.push(Series { labels, samples: Arc::new(Source { parts, range }) });
        }
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(SeriesSet { series: limited(series, hints.limit), warnings: found.warnings })
    }

    async fn series(&self, matchers: &[Matcher], range: TimeRange, limit: usize) -> Result<Vec<Labels>, ReadError> {
        Ok(limited(self.label_sets(matchers, range)?, limit))
    }

    async fn label_names(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<String>, ReadError> {
        let sets = self.label_sets(matchers, range)?;
        let names: BTreeSet<&str> = sets.iter().flatten().map(|l| &*l.name).collect();
        Ok(limited(names.into_iter().map(str::to_owned).collect(), limit))
    }

    async fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<String>, ReadError> {
        let sets = self.label_sets(matchers, range)?;
        let values: BTreeSet<&str> = sets.iter().filter_map(|l| l.get(name)).collect();
        Ok(limited(values.into_iter().map(str::to_owned).collect(), limit))
    }

    async fn exemplars(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, ReadError> {
        let state = self.shared.state.read();
        let Ok(ids) = resolve(&state.head.index, matchers);
        let mut out = Vec::new();
        for s in ids.into_iter().filter_map(|id| state.head.series(id)) {
            let mut hits: Vec<Exemplar> = s.exemplars().iter().filter(|e| range.contains(e.at)).cloned().collect();
            if !hits.is_empty() {
                hits.sort_by_key(|e| e.at);
                out.push((s.labels.clone(), hits));
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
