//! What becomes of one target's answers: samples with the right labels and times, stale markers, and the series that
//! tell of the scrape itself.
//!
//! Invariant: each scrape is one batch. A failed one ends every series of the target and says `up` 0.
//! Not here: HTTP, clocks.

use std::sync::Arc;
use std::time::Duration;

use belfry_model::sample::stale_nan;
use belfry_model::write::Times;
use belfry_model::{Batch, Exemplar, Labels, LabelsBuilder, METRIC_NAME, SeriesRef, TimestampMs};

use super::before::Before;
use super::families::{Families, News};
use super::lines::Lines;
use super::slots::{LastExemplar, Slots};
use super::{Job, ScrapeError, Target, number};
use crate::beside::cut;
use crate::exposition::{
    Event, ExemplarText, HistogramSample, ProtobufParser, Sample, TextFormat, TextParser, series_labels, series_pairs,
};
use crate::labels::{METRIC_TYPE, METRIC_UNIT};
use crate::relabel;
use crate::writer::{AppendError, Ingest, OpenError};

/// Labels of a scraped series, whatever the job's own limit: as many as a pushed one may have.
pub const LABELS_SCRAPED_MAX: usize = 128;
/// Bytes of a label's name or value.
const LABEL_BYTES_MAX: usize = 8192;
/// Bytes of a name that a message repeats.
const TOLD_BYTES_MAX: usize = 100;

/// The format of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFormat {
    /// One of the text formats.
    Text(TextFormat),
    /// Delimited `io.prometheus.client.MetricFamily` messages.
    Protobuf,
}

/// An answer that came in time.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// Unpacked.
    pub body: &'a [u8],
    /// As its content type says.
    pub format: BodyFormat,
}

/// What a scrape came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Why `up` is 0.
    pub error: Option<ScrapeError>,
    /// Why nothing was written; `up` may be 1 all the same.
    pub lost: Option<AppendError>,
    /// Samples in the answer, up to where it is bad.
    pub scraped: u64,
    /// Those of them that relabelling left, beyond the job's limit too.
    pub kept: u64,
    /// Series that were not there before, also of an answer of which nothing was written.
    pub added: u64,
    /// Series that were refused because their labels cannot be stored.
    pub refused: u64,
    /// What was left out, because of a limit of Belfry's or because it cannot be stored; `up` is 1 all the same.
    pub shed: Option<String>,
}

impl Outcome {
    /// What the target's page says went wrong; empty when nothing did.
    pub fn told(&self) -> String {
        let error = self.error.as_ref().map(ScrapeError::to_string);
        error.or_else(|| self.shed.clone()).unwrap_or_default()
    }
}

/// The series that tell of the scrape itself, in the order of [`Reports::values`].
const REPORTS: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
];
/// And those for `extra_metrics`.
const EXTRA_REPORTS: [&str; 3] = ["scrape_timeout_seconds", "scrape_sample_limit", "scrape_body_size_bytes"];

/// What `scrape_body_size_bytes` says of an answer that is over its limit.
const BODY_TOO_LARGE: f64 = -1.0;

/// One target's memory from scrape to scrape.
pub struct Scraper {
    job: Arc<Job>,
    target: Arc<Target>,
    producer: Arc<str>,
    lines: Lines,
    slots: Slots,
    reports: Vec<SeriesRef>,
    families: Families,
    before: Before,
    /// Where the key of a series is made.
    key: String,
    /// Series of the job as it was before a reload, until the next answer says which go on.
    before_reload: Vec<SeriesRef>,
    /// Those that told of its scrapes.
    reports_before_reload: Vec<SeriesRef>,
    /// Series of targets in whose place this one came, until the next answer; none of them counts as its own.
    taken_over: Vec<SeriesRef>,
    scrape: u32,
    samples_last: usize,
}

/// What is gathered while an answer is read.
struct Reading {
    batch: Batch,
    at: TimestampMs,
    scrape: u32,
    seen: usize,
    scraped: u64,
    kept: u64,
    added: u64,
    refused: u64,
    /// Series that were left out, and why the first one was.
    shed: u64,
    shed_by: Option<OpenError>,
    declared: Vec<Box<str>>,
    /// Lines that were there before may stand for other series now.
    retyped: bool,
}

impl Reading {
    fn new(producer: Arc<str>, at: TimestampMs, scrape: u32, samples: usize) -> Self {
        let mut batch = Batch::at(producer, at);
        batch.refs.reserve(samples);
        batch.values.reserve(samples);
        Self {
            batch,
            at,
            scrape,
            seen: 0,
            scraped: 0,
            kept: 0,
            added: 0,
            refused: 0,
            shed: 0,
            shed_by: None,
            declared: Vec::new(),
            retyped: false,
        }
    }

    fn shed(&mut self, series: u64, by: OpenError) {
        self.shed += series;
        self.shed_by.get_or_insert(by);
    }

    #[inline]
    fn push(&mut self, series: SeriesRef, value: f64, own_time: Option<i64>, start: Option<i64>) {
        if own_time.is_some() && matches!(self.batch.times, Times::One(_)) {
            self.batch.times = Times::Each(vec![self.at; self.batch.refs.len()]);
        }
        if let Times::Each(times) = &mut self.batch.times {
            times.push(own_time.map_or(self.at, TimestampMs));
        }
        if start.is_some() || !self.batch.starts.is_empty() {
            self.batch.starts.resize(self.batch.refs.len(), 0);
            self.batch.starts.push(start.unwrap_or(0));
        }
        self.batch.refs.push(series);
        self.batch.values.push(value);
    }
}

impl Scraper {
    /// For one target; `producer` is its name in ingest, where it must be registered.
    pub fn new(job: Arc<Job>, target: Arc<Target>, producer: impl Into<Arc<str>>) -> Self {
        Self {
            job,
            target,
            producer: producer.into(),
            lines: Lines::default(),
            slots: Slots::default(),
            reports: Vec::new(),
            families: Families::default(),
            before: Before::default(),
            key: String::new(),
            before_reload: Vec::new(),
            reports_before_reload: Vec::new(),
            taken_over: Vec::new(),
            scrape: 0,
            samples_last: 0,
        }
    }

    /// The target goes on under a changed job: what the next answer no longer brings ends then.
    pub fn reconfigure(&mut self, job: Arc<Job>, target: Arc<Target>) {
        self.before_reload.extend(self.slots.iter().filter_map(|s| s.series));
        self.reports_before_reload.append(&mut self.reports);
        self.lines.forget();
        self.slots.clear();
        self.before.forget();
        (self.job, self.target) = (job, target);
    }

    /// The target came in the place of another that has the same labels: of the other's series those end that the next
    /// answer does not bring. The other is forgotten.
    pub async fn take_over(&mut self, ingest: &Ingest, other: Self, at: TimestampMs) -> Result<(), AppendError> {
        self.taken_over.extend(other.slots.iter().filter_map(|s| s.series));
        for series in [other.before_reload, other.reports, other.reports_before_reload, other.taken_over] {
            self.taken_over.extend(series);
        }
        ingest.retire(&other.producer, at).await
    }

    /// What is asked.
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// The target goes on at another pace, or was found with other `__meta_` labels; its labels and address are the same.
    pub fn follow(&mut self, target: Arc<Target>) {
        self.target = target;
    }

    /// Bytes that the memory of the last answer takes, without the series' texts.
    pub fn bytes(&self) -> usize {
        self.lines.bytes()
    }

    /// Writes what a scrape at `at` brought, or that it failed.
    pub async fn scraped(
        &mut self,
        ingest: &Ingest,
        at: TimestampMs,
        took: Duration,
        answer: Result<Answer<'_>, ScrapeError>,
    ) -> Outcome {
        let outcome = self.scraped_once(ingest, at, took, answer.clone()).await;
        match outcome {
            // The store forgot some series (retention, a restore); it does not say which: all are opened again.
            Ok((_, unknown)) if unknown > 0 => {
                self.forget(ingest);
                match self.scraped_once(ingest, at, took, answer).await {
                    Ok((outcome, _)) | Err(outcome) => outcome,
                }
            }
            Ok((outcome, _)) | Err(outcome) => outcome,
        }
    }

    /// The target is gone: its series end at `at`, and it is forgotten.
    pub async fn end(mut self, ingest: &Ingest, at: TimestampMs) -> Result<(), AppendError> {
        let mut reading = Reading::new(self.producer.clone(), at, self.scrape, self.slots.len());
        let reports = std::mem::take(&mut self.reports);
        self.end_series(&mut reading, true);
        self.end_before_reload(&mut reading);
        for series in reports {
            reading.push(series, stale_nan(), None, None);
        }
        let written = match reading.batch.refs.is_empty() {
            true => Ok(()),
            false => ingest.append_as_is(reading.batch, at).await.map(drop),
        };
        ingest.retire(&self.producer, at).await?;
        written
    }

    fn forget(&mut self, ingest: &Ingest) {
        ingest.hand_back(&self.producer, self.live() as u64);
        ingest.hand_back_report(&self.producer, self.reports.len() as u64);
        self.lines.forget();
        self.slots.clear();
        self.before.forget();
        self.reports.clear();
        self.before_reload.clear();
        self.taken_over.clear();
    }

    fn live(&self) -> usize {
        self.slots.iter().filter(|s| s.series.is_some()).count()
    }

    async fn scraped_once(
        &mut self,
        ingest: &Ingest,
        at: TimestampMs,
        took: Duration,
        answer: Result<Answer<'_>, ScrapeError>,
    ) -> Result<(Outcome, u64), Outcome> {
        self.scrape = self.scrape.wrapping_add(1).max(1);
        let mut reading = Reading::new(self.producer.clone(), at, self.scrape, self.samples_last + REPORTS.len());
        // What was there before a reload takes no place beside what goes on of it.
        ingest.hand_back(&self.producer, self.before_reload.len() as u64);
        ingest.hand_back_report(&self.producer, self.reports_before_reload.len() as u64);
        // First: what the answer brings must not take the places of what says how it went.
        self.open_reports(ingest, &mut reading);
        let body_bytes = match &answer {
            Ok(answer) => answer.body.len() as f64,
            Err(ScrapeError::BodyTooLarge(_)) => BODY_TOO_LARGE,
            Err(ScrapeError::ContentType { body_bytes, .. }) => *body_bytes as f64,
            Err(_) => 0.0,
        };
        let read = answer.and_then(|answer| match answer.format {
            BodyFormat::Text(format) => self.read_text(ingest, &mut reading, answer.body, format),
            BodyFormat::Protobuf => self.read_protobuf(ingest, &mut reading, answer.body),
        });
        let error = read.and_then(|()| self.check_samples(&reading)).err();
        self.declare(ingest, &reading);
        if error.is_some() {
            // Nothing of a bad answer is kept.
            let Reading { scraped, kept, added, refused, .. } = reading;
            reading = Reading::new(self.producer.clone(), at, self.scrape, self.slots.len());
            reading = Reading { scraped, kept, added, refused, ..reading };
            let gone = self.live();
            self.end_series(&mut reading, false);
            self.lines.forget();
            self.before.failed(&self.slots, self.scrape);
            self.slots.clear();
            ingest.hand_back(&self.producer, gone as u64);
            self.end_before_reload(&mut reading);
        } else {
            self.samples_last = reading.batch.refs.len();
            // An answer without anything is as good as none for what is news, as in Prometheus.
            if body_bytes == 0.0 {
                self.before.failed(&self.slots, self.scrape);
            }
            self.end_vanished(ingest, &mut reading);
            if body_bytes > 0.0 {
                self.before.succeeded(self.slots.len());
            }
        }
        self.report(&mut reading, error.is_none(), took, body_bytes);
        ingest.refused(&self.producer, reading.refused);
        let mut batch = reading.batch;
        if !batch.starts.is_empty() {
            batch.starts.resize(batch.refs.len(), 0);
        }
        let mut outcome = Outcome {
            error,
            lost: None,
            scraped: reading.scraped,
            kept: reading.kept,
            added: reading.added,
            refused: reading.refused,
            shed: reading.shed_by.map(|by| format!("{} series of the scrape were left out: {by}", reading.shed)),
        };
        match ingest.append_collected(batch, at).await {
            Ok(appended) => Ok((outcome, appended.unknown_series)),
            Err(e) => {
                outcome.lost = Some(e);
                Err(outcome)
            }
        }
    }

    fn read_text(
        &mut self,
        ingest: &Ingest,
        reading: &mut Reading,
        body: &[u8],
        format: TextFormat,
    ) -> Result<(), ScrapeError> {
        // Nothing at all is an answer without samples, in Prometheus too; only what has begun needs its end.
        let format = if body.is_empty() { TextFormat::Prometheus } else { format };
        let mut parser = TextParser::new(body, format);
        let known = !parser.needs_context();
        self.lines.begin();
        loop {
            if known && !reading.retyped {
                while let Some((text, slot)) = self.lines.expected()
                    && let Some((value, time)) = parser.known_sample(text)
                {
                    self.lines.matched();
                    reading.scraped += 1;
                    self.take(reading, slot, value, time, None);
                }
            }
            let piece = parser.position();
            let sample = loop {
                match parser.next_event().map_err(|e| ScrapeError::Malformed(e.to_string()))? {
                    Some(Event::Sample(sample)) => break Some(sample),
                    Some(event) => self.learn(reading, &event),
                    None => break None,
                }
            };
            let Some(sample) = sample else { break };
            let slot = self.float(ingest, reading, &sample)?;
            if known && let Some(slot) = slot {
                let was = self.slots.get_mut(slot).map_or(u32::MAX, |s| s.line);
                self.lines.found(body.get(piece..parser.value_position()).unwrap_or_default(), slot, was);
            }
        }
        let slots = &mut self.slots;
        self.lines.finish(|slot, line| {
            if let Some(slot) = slots.get_mut(slot) {
                slot.line = line;
            }
        });
        Ok(())
    }

    fn read_protobuf(&mut self, ingest: &Ingest, reading: &mut Reading, body: &[u8]) -> Result<(), ScrapeError> {
        self.lines.forget();
        let mut parser = ProtobufParser::new(body, self.job.native_histograms, self.job.classic_histograms);
        loop {
            let event = parser.next_event().map_err(|e| {
                reading.scraped += u64::from(e.is_sample);
                ScrapeError::Malformed(e.to_string())
            })?;
            match event {
                Some(Event::Sample(sample)) => drop(self.float(ingest, reading, &sample)?),
                Some(Event::Histogram(sample)) => self.histogram(ingest, reading, &sample)?,
                Some(event) => self.learn(reading, &event),
                None => return Ok(()),
            }
        }
    }

    /// A known or new float; `None` when it could not be opened now and may be next time.
    fn float(
        &mut self,
        ingest: &Ingest,
        reading: &mut Reading,
        sample: &Sample<'_>,
    ) -> Result<Option<u32>, ScrapeError> {
        reading.scraped += 1;
        let slot = self.slot(ingest, reading, sample.series)?;
        let Some(number) = slot else {
            // Relabelling left it, whatever became of it then.
            self.count(reading);
            return Ok(None);
        };
        let taken = self.take(reading, number, sample.value, sample.at, sample.start);
        if taken && let Some(exemplar) = &sample.exemplar {
            self.exemplar(ingest, reading, number, exemplar, sample.at);
        }
        Ok(slot)
    }

    fn histogram(
        &mut self,
        ingest: &Ingest,
        reading: &mut Reading,
        sample: &HistogramSample<'_>,
    ) -> Result<(), ScrapeError> {
        let own_time = sample.at.filter(|_| self.job.honor_timestamps);
        reading.scraped += 1;
        let Some(number) = self.slot(ingest, reading, sample.series)? else {
            self.count(reading);
            return Ok(());
        };
        let Some(series) = self.see(reading, number, own_time.is_some()) else { return Ok(()) };
        if !self.count(reading) {
            return Ok(());
        }
        let at = own_time.map_or(reading.at, TimestampMs);
        reading.batch.histograms.push((series, at, sample.start.map(TimestampMs), sample.histogram.clone()));
        // One without a time cannot be told from its repetition: a histogram has several. Prometheus drops them too.
        let timed = sample.exemplars.iter().filter(|e| e.at.is_some());
        timed.for_each(|e| self.exemplar(ingest, reading, number, e, sample.at));
        Ok(())
    }

    /// One that says no time has that of its sample, which is `sample_at` or the scrape's; unless it is the last one
    /// again.
    fn exemplar(
        &mut self,
        ingest: &Ingest,
        reading: &mut Reading,
        slot: u32,
        exemplar: &ExemplarText<'_>,
        sample_at: Option<i64>,
    ) {
        let sample_at = sample_at.filter(|_| self.job.honor_timestamps);
        let Some(slot) = self.slots.get_mut(slot) else { return };
        if slot.exemplar.as_ref().is_some_and(|last| last.is(exemplar)) {
            return;
        }
        if let (Some(series), Ok(labels)) = (slot.series, series_labels(exemplar.labels)) {
            if !ingest.takes_exemplar(&labels) {
                return;
            }
            slot.exemplar = Some(Box::new(LastExemplar::new(exemplar)));
            let at = exemplar.at.or(sample_at).map_or(reading.at, TimestampMs);
            reading.batch.exemplars.push((series, Exemplar { labels, value: exemplar.value, at }));
        }
    }

    /// False where the job's limit forbids it.
    #[inline]
    fn take(&mut self, reading: &mut Reading, slot: u32, value: f64, time: Option<i64>, start: Option<i64>) -> bool {
        let own_time = time.filter(|_| self.job.honor_timestamps);
        let Some(series) = self.see(reading, slot, own_time.is_some()) else { return true };
        let within = self.count(reading);
        if within {
            reading.push(series, value, own_time, start);
        }
        within
    }

    /// Marks a slot as seen; its series, unless relabelling drops it.
    #[inline]
    fn see(&mut self, reading: &mut Reading, slot: u32, own_time: bool) -> Option<SeriesRef> {
        let slot = self.slots.get_mut(slot)?;
        if slot.seen != reading.scrape {
            slot.seen = reading.scrape;
            reading.seen += 1;
        }
        slot.own_time = own_time;
        slot.series
    }

    /// False beyond the job's limit: nothing of such an answer is kept, but it is counted to its end, so that the series
    /// of the scrape say by how much it is too long.
    #[inline]
    fn count(&self, reading: &mut Reading) -> bool {
        reading.kept += 1;
        !self.is_over(reading.kept)
    }

    fn is_over(&self, kept: u64) -> bool {
        self.job.limits.samples > 0 && kept > self.job.limits.samples
    }

    fn check_samples(&self, reading: &Reading) -> Result<(), ScrapeError> {
        if self.is_over(reading.kept) { Err(ScrapeError::TooManySamples(self.job.limits.samples)) } else { Ok(()) }
    }

    /// The slot of a series' text, made if it is new.
    fn slot(&mut self, ingest: &Ingest, reading: &mut Reading, text: &str) -> Result<Option<u32>, ScrapeError> {
        if !self.job.type_and_unit_labels {
            return self.slot_of(ingest, reading, text, text);
        }
        let mut key = std::mem::take(&mut self.key);
        self.families.write_key(text, &mut key);
        let slot = self.slot_of(ingest, reading, &key, text);
        self.key = key;
        slot
    }

    fn slot_of(
        &mut self,
        ingest: &Ingest,
        reading: &mut Reading,
        key: &str,
        text: &str,
    ) -> Result<Option<u32>, ScrapeError> {
        if let Some(slot) = self.slots.find(key) {
            return Ok(Some(slot));
        }
        let Some(labels) = self.labels(text)? else {
            return Ok(Some(self.slots.add(key, None, reading.scrape)));
        };
        if self.is_over(reading.kept + 1) {
            return Ok(None);
        }
        if let Some(reason) = unstorable(&labels) {
            // Not remembered: each scrape that brings it is to tell of it.
            reading.refused += 1;
            reading.shed(1, OpenError::BadLabels(reason));
            return Ok(None);
        }
        match ingest.open_as_is(&self.producer, &labels) {
            Ok(series) => {
                reading.added += u64::from(!self.before.had(key));
                Ok(Some(self.slots.add(key, Some(series), reading.scrape)))
            }
            // It is counted already.
            Err(e) => {
                tracing::debug!(%labels, error = %e, "a scraped series was not opened");
                reading.shed(1, e);
                Ok(None)
            }
        }
    }

    /// The labels that a series is stored with; `None` when relabelling drops it.
    fn labels(&self, text: &str) -> Result<Option<Labels>, ScrapeError> {
        let own = series_labels(text).map_err(ScrapeError::Malformed)?;
        let mut labels = own.to_builder();
        self.write_numbers_alike(&own, &mut labels);
        self.say_type_and_unit(&own, &mut labels);
        for label in &self.target.labels {
            // An empty one says that there is to be none: a push gateway's `instance=""`.
            if self.job.honor_labels && series_pairs(text).any(|(name, _)| *name == *label.name) {
                continue;
            }
            labels.set(label.name.clone(), label.value.clone());
        }
        if !self.job.honor_labels {
            self.rename_own(&own, &mut labels);
        }
        if !relabel::apply(&self.job.metric_relabel, &mut labels) {
            return Ok(None);
        }
        if labels.get(METRIC_NAME).is_none() {
            return Err(ScrapeError::Malformed(format!("`{text}` has no metric name after relabelling")));
        }
        let labels = labels.build();
        self.check_limits(&labels)?;
        Ok(Some(labels))
    }

    /// Out of the way of ours: `job` becomes `exported_job`. As in Prometheus the shortest name is renamed first, which
    /// matters where the new name is taken too.
    fn rename_own(&self, own: &Labels, labels: &mut LabelsBuilder) {
        let ours = self.target.labels.iter();
        let mut renamed: Vec<_> = ours.filter_map(|l| own.get(&l.name).map(|value| (&*l.name, value))).collect();
        renamed.sort_by_key(|(name, _)| name.len());
        for (name, value) in renamed {
            let mut free = format!("exported_{name}");
            while labels.get(&free).is_some() {
                free = format!("exported_{free}");
            }
            labels.set(free, value);
        }
    }

    /// What the target says in comments is meant, not what it writes into labels; those stay where it says nothing.
    fn say_type_and_unit(&self, own: &Labels, labels: &mut LabelsBuilder) {
        if !self.job.type_and_unit_labels {
            return;
        }
        let (word, unit) = self.families.told(own.metric().unwrap_or_default());
        for (name, value) in [(METRIC_TYPE, word), (METRIC_UNIT, unit)] {
            if !value.is_empty() {
                labels.set(name, value);
            }
        }
    }

    /// `le="1"` and `le="1.0"` are one.
    fn write_numbers_alike(&self, own: &Labels, labels: &mut LabelsBuilder) {
        number::write_alike(own, labels, |family| self.families.get(family).map(|f| f.kind));
    }

    fn check_limits(&self, labels: &Labels) -> Result<(), ScrapeError> {
        let limits = &self.job.limits;
        let over = |n: usize, limit: u64| limit > 0 && n as u64 > limit;
        let metric = labels.metric().unwrap_or_default();
        if over(labels.len(), limits.labels) {
            let n = labels.len();
            return Err(ScrapeError::Labels(format!("`{metric}` has {n} labels, more than `limits.labels` allows")));
        }
        for label in labels {
            if over(label.name.len(), limits.label_name_bytes) {
                let text = format!("label `{}` of `{metric}` is longer than `limits.label_name` allows", label.name);
                return Err(ScrapeError::Labels(text));
            }
            if over(label.value.len(), limits.label_value_bytes) {
                let name = &label.name;
                let text = format!("the value of `{name}` of `{metric}` is longer than `limits.label_value` allows");
                return Err(ScrapeError::Labels(text));
            }
        }
        Ok(())
    }

    /// Kind, unit and help.
    fn learn(&mut self, reading: &mut Reading, event: &Event<'_>) {
        let Some((name, news)) = self.families.learn(event) else { return };
        reading.retyped |= news == News::Meaning && self.job.type_and_unit_labels;
        if reading.declared.last().is_none_or(|last| **last != *name) {
            reading.declared.push(name.into());
        }
    }

    fn declare(&self, ingest: &Ingest, reading: &Reading) {
        for name in &reading.declared {
            if let Some(family) = self.families.get(name) {
                ingest.declare(family.clone());
            }
        }
    }

    /// Stale markers for what is not there any more.
    fn end_vanished(&mut self, ingest: &Ingest, reading: &mut Reading) {
        let mut gone = 0;
        if reading.seen < self.slots.len() {
            let (track, reports) = (self.job.track_timestamps_staleness, &self.reports);
            self.slots.sweep(reading.scrape, |slot| {
                let Some(series) = slot.series else { return };
                gone += 1;
                // The target may say `up` itself: ours goes on.
                if (track || !slot.own_time) && !reports.contains(&series) {
                    reading.push(series, stale_nan(), None, None);
                }
            });
        }
        ingest.hand_back(&self.producer, gone as u64);
        self.end_before_reload(reading);
    }

    /// Stale markers for what the job had before a reload, or another target in this one's place, and is there no more.
    fn end_before_reload(&mut self, reading: &mut Reading) {
        let none = [&self.before_reload, &self.reports_before_reload, &self.taken_over].iter().all(|s| s.is_empty());
        if none {
            return;
        }
        let mut there: Vec<SeriesRef> = self.slots.iter().filter_map(|s| s.series).collect();
        there.extend(&self.reports);
        there.sort_unstable();
        let mut before = std::mem::take(&mut self.before_reload);
        before.append(&mut self.reports_before_reload);
        if !self.taken_over.is_empty() {
            // Several may have had the same.
            before.append(&mut self.taken_over);
            before.sort_unstable();
            before.dedup();
        }
        for series in before.into_iter().filter(|s| there.binary_search(s).is_err()) {
            reading.push(series, stale_nan(), None, None);
        }
    }

    /// Stale markers for all that had a sample; at the end of a target also for series whose times are their own.
    fn end_series(&self, reading: &mut Reading, all: bool) {
        let track = all || self.job.track_timestamps_staleness;
        for slot in self.slots.iter().filter(|slot| track || !slot.own_time) {
            // What a bad answer alone brought was never written; and ours goes on, if the target says `up` itself.
            let had_sample = all || slot.made != reading.scrape;
            if let Some(series) = slot.series.filter(|s| had_sample && !self.reports.contains(s)) {
                reading.push(series, stale_nan(), None, None);
            }
        }
    }

    /// Those that are not open yet, `up` first.
    fn open_reports(&mut self, ingest: &Ingest, reading: &mut Reading) {
        let extra = EXTRA_REPORTS.iter().filter(|_| self.job.extra_metrics);
        for name in REPORTS.iter().chain(extra).skip(self.reports.len()) {
            let mut labels = self.target.labels.to_builder();
            labels.set(METRIC_NAME, *name);
            match ingest.open_report(&self.producer, &labels.build()) {
                Ok(series) => self.reports.push(series),
                Err(error) => {
                    tracing::warn!(producer = &*self.producer, %error, "a series of the scrape itself was not opened");
                    reading.shed(1, error);
                    return;
                }
            }
        }
    }

    fn report(&self, reading: &mut Reading, up: bool, took: Duration, body_bytes: f64) {
        let values = [
            f64::from(u8::from(up)),
            took.as_secs_f64(),
            reading.scraped as f64,
            reading.kept as f64,
            reading.added as f64,
            self.target.timeout.as_secs_f64(),
            self.job.limits.samples as f64,
            body_bytes,
        ];
        for (series, value) in self.reports.iter().zip(values) {
            reading.push(*series, value, None, None);
        }
    }
}

/// Why a series cannot be kept.
fn unstorable(labels: &Labels) -> Option<String> {
    let metric = cut(labels.metric().unwrap_or_default(), TOLD_BYTES_MAX);
    if labels.len() > LABELS_SCRAPED_MAX {
        let n = labels.len();
        return Some(format!("`{metric}` has {n} labels, and a series at most {LABELS_SCRAPED_MAX}"));
    }
    let long = labels.iter().find(|l| l.name.len().max(l.value.len()) > LABEL_BYTES_MAX)?;
    let (name, n) = (cut(&long.name, TOLD_BYTES_MAX), long.name.len().max(long.value.len()));
    Some(format!("`{name}` of `{metric}` has {n} bytes, and a label's name or value at most {LABEL_BYTES_MAX}"))
}

#[cfg(test)]
#[path = "scraper_tests.rs"]
mod tests;
