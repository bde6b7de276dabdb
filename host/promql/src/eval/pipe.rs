//! What is made of each series by itself (a selector, a function over windows, operators with scalars behind them): in
//! batches, by as many threads as the caller lends, and handed on in order.
//!
//! Invariant: the same values, notes and errors, in the same order, however many threads there are.
//! Not here: what a series becomes (`select`, `range_calls`, `binary` say), threads (`workers`).

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use belfry_model::read::{Cancel, ReadError};
use belfry_model::{Labels, SampleBuf};

use super::coarse::Met;
use super::memory::SERIES_BYTES;
use super::notes::Notes;
use super::range_calls::Over;
use super::rate::Subject;
use super::select::{self, Points};
use super::slide;
use super::steps::{self, StepCounts};
use super::vector::{Column, Frame, OutSeries};
use super::{Evaluator, Result, Sink, binary};
use crate::plan::{BinaryPlan, Select, Selection};
use crate::query::Selected;
use crate::syntax::ast::Extended;
use crate::syntax::span::Span;
use crate::workers::{AHEAD, in_order};
use crate::{QueryError, QueryLimits};

/// Samples and steps of a batch, about: enough that handing it over costs nothing beside it.
const BATCH_WORK: u64 = 1 << 15;
/// Series of a batch.
const BATCH_SERIES_MAX: usize = 512;
/// Fewer batches are made by one thread: calling another takes as long.
const BATCHES_MIN: usize = 4;
/// Batches that wait take no more than this, unless one alone does.
const WAITING_BYTES_MAX: u64 = 32 << 20;
/// Where a step's window lies.
const STEP_BYTES: u64 = 48;
/// A sample that is being looked at: as it was read, and without stale markers.
const SAMPLE_BYTES: u64 = 40;
/// What a series costs beside its samples and steps, in the same unit.
const SERIES_WORK: u64 = 64;

/// Where the series come from.
pub(super) enum From<'p> {
    /// A selector's samples, at each step the newest; where the selector stands.
    Select(&'p Select, Span),
    /// A function over the windows of a selector.
    Windows(&'p Select, Over),
    /// A function over the windows of a subquery's values.
    Columns { series: Vec<OutSeries>, inner: Frame, over: Over },
}

/// An operator with a scalar.
pub(super) struct WithScalar<'p> {
    pub plan: &'p BinaryPlan,
    pub scalar: Vec<f64>,
    pub swap: bool,
    pub span: Span,
}

/// See the module.
pub(super) struct Pipe<'p> {
    pub from: From<'p>,
    pub then: Vec<WithScalar<'p>>,
    pub frame: Frame,
    pub lookback: i64,
    /// Are samples to be counted by step?
    pub counts_steps: bool,
}

/// What all who make series of a query read.
#[derive(Clone, Copy)]
pub(super) struct Sources<'a> {
    pub sets: &'a [Selected],
    pub selections: &'a [Selection],
    pub limits: &'a QueryLimits,
    pub cancel: &'a Cancel,
    pub damage: &'a Damage,
}

/// What of the samples could not be read. The answer is made of the rest, and says so.
#[derive(Default)]
pub(crate) struct Damage(Mutex<BTreeSet<String>>);

/// Places that are named.
const DAMAGES_NAMED: usize = 10;

impl Damage {
    fn note(&self, what: String) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() <= DAMAGES_NAMED {
            all.insert(what);
        }
    }

    /// One warning a place.
    pub fn warnings(self) -> Vec<String> {
        let all = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        let more =
            (all.len() > DAMAGES_NAMED).then(|| "samples are missing from this answer in more places".to_owned());
        let named = all.into_iter().take(DAMAGES_NAMED);
        named.map(|what| format!("samples are missing from this answer: {what}")).chain(more).collect()
    }
}

impl Sources<'_> {
    pub fn check_cancelled(&self) -> Result<()> {
        if self.cancel.is_cancelled() { Err(QueryError::Cancelled) } else { Ok(()) }
    }

    /// Reads the samples of one series, as far as they can be read.
    pub fn decode(&self, id: usize, index: usize, into: &mut SampleBuf) -> Result<()> {
        self.check_cancelled()?;
        into.clear();
        if let Some(set) = self.sets.get(id) {
            match set.decode(index, self.selections[id].range, into) {
                Err(ReadError::Damaged(what)) => self.damage.note(what),
                outcome => outcome?,
            }
        }
        Ok(())
    }

    pub fn labels(&self, id: usize, index: usize) -> Labels {
        self.sets.get(id).and_then(|s| s.labels(index)).map_or_else(Labels::empty, Labels::clone)
    }
}

/// One thread's memory, used again for every series.
#[derive(Default)]
pub(super) struct Hand {
    pub buf: SampleBuf,
    pub points: Points,
    pub newest: select::Newest,
    pub scratch: slide::Scratch,
    pub step_args: Vec<f64>,
}

/// What reading took.
#[derive(Clone, Copy, Default)]
pub(super) struct Read {
    pub samples: u64,
    /// Most samples of one series.
    pub longest: u64,
    pub coarse: Met,
}

impl Read {
    fn add(&mut self, samples: usize) {
        self.samples += samples as u64;
        self.longest = self.longest.max(samples as u64);
    }
}

/// Some series of a pipe.
struct Batch {
    series: Vec<OutSeries>,
    notes: Notes,
    read: Read,
    steps: Option<StepCounts>,
    /// What went wrong behind them.
    error: Option<QueryError>,
}

impl Pipe<'_> {
    fn len(&self, sources: &Sources<'_>) -> usize {
        match &self.from {
            From::Select(s, _) | From::Windows(s, _) => sources.sets.get(s.id).map_or(0, Selected::len),
            From::Columns { series, .. } => series.len(),
        }
    }

    /// Samples of the first series: most others have as many. What is read in all is limited by itself.
    fn longest(&self, sources: &Sources<'_>) -> u64 {
        match &self.from {
            From::Select(s, _) | From::Windows(s, _) => sources.sets.get(s.id).map_or(0, |s| s.estimate(0)),
            From::Columns { inner, .. } => inner.n as u64,
        }
    }

    /// How many series make a batch.
    fn batch(&self, sources: &Sources<'_>) -> usize {
        let each = self.longest(sources) + self.frame.n as u64 + SERIES_WORK;
        (BATCH_WORK / each).clamp(1, BATCH_SERIES_MAX as u64) as usize
    }

    fn make_batch(&self, sources: &Sources<'_>, hand: &mut Hand, from: usize, to: usize) -> Batch {
        let steps = self.counts_steps.then(|| vec![0; self.frame.n]);
        let series = Vec::with_capacity(to - from);
        let mut batch = Batch { series, notes: Notes::default(), read: Read::default(), steps, error: None };
        for index in from..to {
            match self.make(sources, hand, index, &mut batch) {
                Ok(Some(s)) => batch.series.push(s),
                Ok(None) => {}
                Err(e) => {
                    batch.error = Some(e);
                    break;
                }
            }
            if batch.read.samples > sources.limits.samples_max {
                break;
            }
        }
        batch
    }

    /// One series; `None` when nothing is left of it.
    fn make(
        &self,
        sources: &Sources<'_>,
        hand: &mut Hand,
        index: usize,
        batch: &mut Batch,
    ) -> Result<Option<OutSeries>> {
        let Batch { notes, read, steps, .. } = batch;
        let mut s = match &self.from {
            From::Select(select, span) => {
                let labels = self.read(sources, hand, select, index, read)?;
                let column = if select.extended == Some(Extended::Smoothed) {
                    hand.points.fill(&mut hand.buf);
                    let subject = Subject { metric: labels.metric().unwrap_or(""), span: *span };
                    select::smoothed_column(&hand.points, select, self.frame, self.lookback, subject, notes)
                } else {
                    hand.newest.column(&hand.buf, select, self.frame, self.lookback)
                };
                if let Some(counts) = steps {
                    steps::count_values(counts, &column);
                }
                OutSeries { labels, drop_name: false, column }
            }
            From::Windows(select, over) => {
                let labels = self.read(sources, hand, select, index, read)?;
                hand.points.fill(&mut hand.buf);
                self.over(over, hand, (labels, false), notes, steps.as_mut())?
            }
            From::Columns { series, inner, over } => {
                sources.check_cancelled()?;
                let Some(s) = series.get(index) else { return Ok(None) };
                hand.points.fill_from_column(&s.column, *inner);
                self.over(over, hand, (s.labels.clone(), s.drop_name), notes, steps.as_mut())?
            }
        };
        if s.column.is_all_absent() {
            return Ok(None);
        }
        for t in &self.then {
            binary::with_scalar(t.plan, &mut s, &t.scalar, t.swap, t.span, notes);
            if s.column.is_all_absent() {
                return Ok(None);
            }
        }
        Ok(Some(s))
    }

    /// Reads one series; yields its labels.
    fn read(
        &self,
        sources: &Sources<'_>,
        hand: &mut Hand,
        select: &Select,
        index: usize,
        read: &mut Read,
    ) -> Result<Labels> {
        sources.decode(select.id, index, &mut hand.buf)?;
        read.add(hand.buf.len());
        if select.statistics {
            select::tell_resets(&mut hand.buf);
        }
        sources.refine(select, self.frame, &mut hand.buf, &mut read.coarse);
        Ok(sources.labels(select.id, index))
    }

    fn over(
        &self,
        over: &Over,
        hand: &mut Hand,
        (labels, dropped): (Labels, bool),
        notes: &mut Notes,
        steps: Option<&mut StepCounts>,
    ) -> Result<OutSeries> {
        let mut column = Column::absent(self.frame.n);
        over.column(hand, &labels, self.frame, self.lookback, notes, &mut column)?;
        if let Some(counts) = steps {
            over.windows.count(&hand.points, self.frame, self.lookback, counts)?;
        }
        Ok(OutSeries { labels, drop_name: dropped || !over.keeps_name(), column })
    }
}

impl<'a> Evaluator<'a> {
    /// Hands the series of a pipe to `sink`.
    pub(super) fn run(&mut self, pipe: &Pipe<'_>, sink: Sink<'_, 'a>) -> Result<()> {
        let (sources, workers) = (self.sources, self.workers);
        let n = pipe.len(&sources);
        let size = pipe.batch(&sources);
        let batches = n.div_ceil(size);
        // What each who works here needs, and what waits to be taken.
        let steps = pipe.frame.n as u64;
        let piece = size as u64 * (8 * steps + SERIES_BYTES);
        let ahead = (WAITING_BYTES_MAX / piece.max(1)).clamp(1, AHEAD as u64);
        self.check_bytes(piece * ahead + (STEP_BYTES * steps + SAMPLE_BYTES * pipe.longest(&sources)) * 2)?;
        let make = |hand: &mut Hand, at: usize| pipe.make_batch(&sources, hand, at * size, n.min((at + 1) * size));
        let alone = crate::workers::Alone;
        let workers = if batches < BATCHES_MIN { &alone } else { workers };
        let whole = in_order(workers, batches, ahead as usize, Hand::default, make, |batch| self.take(batch, sink))?;
        if whole { Ok(()) } else { Err(QueryError::Execution("a part of the evaluation was lost".to_owned())) }
    }

    fn take(&mut self, batch: Batch, sink: Sink<'_, 'a>) -> Result<()> {
        self.notes.join(batch.notes);
        self.add_steps(batch.steps);
        self.count_read(batch.read)?;
        for s in batch.series {
            sink(self, s)?;
        }
        batch.error.map_or(Ok(()), Err)
    }

    /// Adds to what was read, within the limit.
    pub(super) fn count_read(&mut self, read: Read) -> Result<()> {
        self.samples_read += read.samples;
        self.note_coarse(read.coarse);
        self.points_peak.set(self.points_peak.get().max(read.longest));
        if self.samples_read > self.sources.limits.samples_max {
            return Err(QueryError::Limit(format!(
                "query processing would load too many samples into memory in query execution: more than {} (`samples` in \
                 [queries])",
                self.sources.limits.samples_max
            )));
        }
        Ok(())
    }
}
