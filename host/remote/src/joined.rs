//! What the house reads: the engine and the local window as one.
//!
//! The local window has what the engine has not yet; the engine has what is older, and what others wrote. Where both
//! have a sample at a time the local one stands.
//!
//! Invariant: an answer without the engine says so in a warning, and is given only for times that the local window
//! covers; else reading fails, and says why. Lists are given for any time, and whoever answers with one asks
//! [`EngineHealth`] afterwards whether to say so.
//! Not here: evaluation, sending.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use belfry_model::read::{ReadError, readable};
use belfry_model::{
    Clock, Exemplar, Labels, Matcher, MetricMetadata, SampleBuf, SampleSource, SelectHints, SelectLimits, Series,
    SeriesRead, SeriesSet, TimeRange, TimestampMs,
};

use crate::behind::lacking;
use crate::health::EngineHealth;
use crate::queue::{Queue, with_external};

/// The engine is not asked for what is later than this from now: it would be asked for ever.
const AHEAD: Duration = Duration::from_secs(86_400);

/// Both as one.
pub struct Joined {
    /// Has everything but the newest.
    pub engine: Arc<dyn SeriesRead>,
    /// Has the newest.
    pub local: Arc<dyn SeriesRead>,
    /// What local series get when they are sent.
    pub external: Labels,
    /// How far back the local window reaches.
    pub window: Duration,
    /// What the engine has not yet.
    pub queue: Arc<Queue>,
    /// Whether the engine answers.
    pub health: Arc<EngineHealth>,
    /// What is now.
    pub clock: Arc<dyn Clock>,
}

/// What the engine answered, or why the local window stands alone.
enum FromEngine<T> {
    Answer(T),
    /// The range is in the local window.
    LocalOnly(String),
}

impl Joined {
    /// What the engine is asked for: from 1970 on, and not for ever.
    fn asked(&self, range: TimeRange) -> Option<TimeRange> {
        let latest = self.clock.now().plus(AHEAD);
        TimeRange::new(range.start().max(TimestampMs(0)), range.end().min(latest))
    }

    /// Is all of the range in the local window?
    fn is_local(&self, range: TimeRange) -> bool {
        range.start() >= self.clock.now().minus(self.window)
    }

    /// Judges the engine's answer; `partial_ok` where a part of the answer is better than none.
    fn judge<T>(
        &self,
        answer: Result<T, ReadError>,
        range: TimeRange,
        partial_ok: bool,
    ) -> Result<FromEngine<T>, ReadError> {
        match answer {
            Ok(answer) => {
                self.health.read();
                Ok(FromEngine::Answer(answer))
            }
            Err(ReadError::Unavailable(why)) => {
                self.health.cannot_be_read(self.clock.now(), &why);
                self.without_engine(why, range, partial_ok)
            }
            Err(other) => Err(other),
        }
    }

    fn without_engine<T>(&self, why: String, range: TimeRange, partial_ok: bool) -> Result<FromEngine<T>, ReadError> {
        if partial_ok || self.is_local(range) {
            return Ok(FromEngine::LocalOnly(why));
        }
        let window = belfry_model::duration::format_duration(self.window);
        let text = format!("{why}; without it there are only the last {window} of this Belfry's own series");
        Err(ReadError::Unavailable(text))
    }

    async fn ask<T>(
        &self,
        range: TimeRange,
        partial_ok: bool,
        question: impl Future<Output = Result<T, ReadError>>,
    ) -> Result<FromEngine<T>, ReadError> {
        match self.health.reading.do_not_ask(self.clock.now()) {
            Some(why) => self.without_engine(why, range, partial_ok),
            None => self.judge(question.await, range, partial_ok),
        }
    }

    /// Matchers for the local window: those on external labels are judged apart, as series get them when they are sent.
    fn split<'m>(&self, matchers: &'m [Matcher]) -> (Vec<Matcher>, Vec<&'m Matcher>) {
        let is_external = |m: &&Matcher| self.external.get(m.name()).is_some();
        let here = matchers.iter().filter(|m| !is_external(m)).cloned().collect();
        (here, matchers.iter().filter(is_external).collect())
    }

    /// The labels as the engine has them, if they satisfy the matchers on external labels.
    fn seen(&self, labels: Labels, apart: &[&Matcher]) -> Option<Labels> {
        let labels = with_external(labels, &self.external);
        apart.iter().all(|m| m.matches_labels(&labels)).then_some(labels)
    }

    async fn local_select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        hints: &SelectHints,
        limits: SelectLimits,
    ) -> Result<SeriesSet, ReadError> {
        let (here, apart) = self.split(matchers);
        // Two readers' samples are merged one by one: segments have no place in that.
        let hints = SelectHints { coarse: false, ..hints.clone() };
        let mut set = self.local.select(&here, range, &hints, limits).await?;
        let series = std::mem::take(&mut set.series).into_iter();
        set.series =
            series.filter_map(|s| Some(Series { labels: self.seen(s.labels, &apart)?, samples: s.samples })).collect();
        set.series.sort_by(|a, b| a.labels.cmp(&b.labels));
        set.series.dedup_by(|a, b| a.labels == b.labels);
        Ok(set)
    }

    async fn local_series(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<Labels>, ReadError> {
        let (here, apart) = self.split(matchers);
        let limit = if apart.is_empty() { limit } else { 0 };
        let found = self.local.series(&here, range, limit).await?;
        Ok(found.into_iter().filter_map(|l| self.seen(l, &apart)).collect())
    }
}

/// What an answer says that was given without the engine.
pub fn alone(why: &str) -> String {
    format!("the storage engine is away: only this Belfry's own series are in the answer ({why})")
}

/// A series that both have.
struct Both {
    engine: Arc<dyn SampleSource>,
    local: Arc<dyn SampleSource>,
}

impl SampleSource for Both {
    fn decode(&self, range: TimeRange, into: &mut SampleBuf) -> Result<(), ReadError> {
        let (mut engine, mut local) = (SampleBuf::default(), SampleBuf::default());
        let outcome = self.local.decode(range, &mut local);
        readable(outcome.clone())?;
        self.engine.decode(range, &mut engine)?;
        let (mut e, mut l) = (0, 0);
        loop {
            let next = match (engine.times.get(e), local.times.get(l)) {
                (None, None) => return outcome,
                (Some(a), Some(b)) if a < b => engine.get(e),
                (Some(_), None) => engine.get(e),
                (_, Some(_)) => local.get(l),
            };
            let Some(next) = next else { return outcome };
            into.push(&next);
            e += usize::from(engine.times.get(e) == Some(&next.at.0));
            l += usize::from(local.times.get(l) == Some(&next.at.0));
        }
    }

    fn estimate(&self) -> u64 {
        self.engine.estimate().max(self.local.estimate())
    }
}

/// Two lists in order of labels as one.
fn merge(engine: Vec<Series>, local: Vec<Series>) -> Vec<Series> {
    let mut out = Vec::with_capacity(engine.len().max(local.len()));
    let (mut engine, mut local) = (engine.into_iter().peekable(), local.into_iter().peekable());
    loop {
        let order = match (engine.peek(), local.peek()) {
            (None, None) => return out,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(e), Some(l)) => e.labels.cmp(&l.labels),
        };
        let (from_engine, from_local) = match order {
            std::cmp::Ordering::Less => (engine.next(), None),
            std::cmp::Ordering::Greater => (None, local.next()),
            std::cmp::Ordering::Equal => (engine.next(), local.next()),
        };
        match (from_engine, from_local) {
            (Some(e), Some(l)) => {
                let samples = Arc::new(Both { engine: e.samples, local: l.samples });
                out.push(Series { labels: e.labels, samples });
            }
            (one, other) => out.extend(one.or(other)),
        }
    }
}

fn united<T: Ord>(engine: FromEngine<Vec<T>>, mut local: Vec<T>, limit: usize) -> Vec<T> {
    if let FromEngine::Answer(more) = engine {
        local.extend(more);
    }
    local.sort();
    local.dedup();
    if limit > 0 {
        local.truncate(limit);
    }
    local
}

#[async_trait]
impl SeriesRead for Joined {
    async fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        hints: &SelectHints,
        limits: SelectLimits,
    ) -> Result<SeriesSet, ReadError> {
        let local = self.local_select(matchers, range, hints, limits).await?;
        let Some(asked) = self.asked(range) else { return Ok(local) };
        let lacks = lacking(&self.queue.stats(), self.window, self.clock.now(), range.start());
        match self.ask(range, false, self.engine.select(matchers, asked, hints, limits)).await? {
            FromEngine::Answer(engine) => {
                let series = merge(engine.series, local.series);
                if series.len() > limits.series_max {
                    return Err(ReadError::TooManySeries { limit: limits.series_max });
                }
                let warnings = engine.warnings.into_iter().chain(local.warnings).chain(lacks).collect();
                Ok(SeriesSet { series, warnings })
            }
            FromEngine::LocalOnly(why) => {
                let mut set = local;
                set.warnings.push(alone(&why));
                Ok(set)
            }
        }
    }

    async fn series(&self, matchers: &[Matcher], range: TimeRange, limit: usize) -> Result<Vec<Labels>, ReadError> {
        let local = self.local_series(matchers, range, limit).await?;
        let Some(asked) = self.asked(range) else { return Ok(local) };
        let engine = self.ask(range, true, self.engine.series(matchers, asked, limit)).await?;
        Ok(united(engine, local, limit))
    }

    async fn label_names(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<String>, ReadError> {
        let (here, apart) = self.split(matchers);
        let mut local = match apart.is_empty() {
            true => self.local.label_names(&here, range, limit).await?,
            false => {
                let found = self.local_series(matchers, range, 0).await?;
                found.iter().flat_map(|l| l.iter().map(|l| l.name.to_string())).collect()
            }
        };
        if !local.is_empty() {
            local.extend(self.external.iter().map(|l| l.name.to_string()));
        }
        let Some(asked) = self.asked(range) else {
            return Ok(united(FromEngine::LocalOnly(String::new()), local, limit));
        };
        let engine = self.ask(range, true, self.engine.label_names(matchers, asked, limit)).await?;
        Ok(united(engine, local, limit))
    }

    async fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<String>, ReadError> {
        let (here, apart) = self.split(matchers);
        let local = if apart.is_empty() && self.external.get(name).is_none() {
            self.local.label_values(name, &here, range, limit).await?
        } else {
            let found = self.local_series(matchers, range, 0).await?;
            found.iter().filter_map(|l| l.get(name).map(str::to_owned)).collect()
        };
        let Some(asked) = self.asked(range) else {
            return Ok(united(FromEngine::LocalOnly(String::new()), local, limit));
        };
        let engine = self.ask(range, true, self.engine.label_values(name, matchers, asked, limit)).await?;
        Ok(united(engine, local, limit))
    }

    async fn exemplars(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, ReadError> {
        let (here, apart) = self.split(matchers);
        let local = self.local.exemplars(&here, range).await?;
        let local = local.into_iter().filter_map(|(l, e)| Some((self.seen(l, &apart)?, e)));
        let mut all: std::collections::BTreeMap<Labels, Vec<Exemplar>> = local.collect();
        let Some(asked) = self.asked(range) else { return Ok(all.into_iter().collect()) };
        if let FromEngine::Answer(more) = self.ask(range, false, self.engine.exemplars(matchers, asked)).await? {
            for (labels, exemplars) in more {
                let of = all.entry(labels).or_default();
                of.extend(exemplars);
                // Some may have one time.
                of.sort_by(|a, b| a.at.cmp(&b.at).then(a.value.total_cmp(&b.value)).then(a.labels.cmp(&b.labels)));
                of.dedup();
            }
        }
        Ok(all.into_iter().collect())
    }

    async fn metadata(&self, metric: Option<&str>) -> Result<Vec<MetricMetadata>, ReadError> {
        let mut all = self.local.metadata(metric).await?;
        if let FromEngine::Answer(more) = self.ask(TimeRange::ALL, true, self.engine.metadata(metric)).await? {
            // What is known here stands first, and stays.
            all.extend(more);
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all.dedup_by(|a, b| a.name == b.name);
        Ok(all)
    }
}

#[cfg(test)]
#[path = "joined_tests.rs"]
mod tests;
