//! Text exposition with times, of any age: `POST /api/v1/import/prometheus`.
//!
//! Invariant: a line that is wrong is told with its number and costs no other line. What is older than [`LIVE`] goes to
//! the store's backfill, where there is one: it writes blocks, and refuses nothing for its age but what retention would
//! delete at once.
//! Not here: the grammar (`exposition`).

use std::collections::HashMap;
use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use belfry_model::write::Times;
use belfry_model::{
    Appended, Batch, Exemplar, Labels, MetricMetadata, Sample, SeriesRef, TimestampMs, Value, WriteError,
};
use serde::Serialize;

use super::AHEAD_MAX;
use super::labels::checked_series;
use super::outcome::Failure;
use crate::exposition::{Event, ParseError, TextFormat, TextParser, series_labels};
use crate::scrape::write_alike;
use crate::{AppendError, Ingest, OpenError};

/// Producer of what is imported.
pub const IMPORT: &str = "import";
/// Bytes of an import as it comes; a longer one is answered 413.
pub const IMPORT_BODY_BYTES_MAX: usize = 64 << 20;
/// Bytes of an import's text, unfolded.
pub const IMPORT_TEXT_BYTES_MAX: usize = 128 << 20;
/// Samples as old as this are new: they take the way of all others.
pub const LIVE: Duration = Duration::from_secs(300);

/// Imports worked on at a time; others are answered 503.
pub(crate) const IMPORTS_MAX: usize = 2;
/// With so many bad lines it is no such text, and the rest is not looked at.
const BAD_LINES_MAX: u64 = 1000;
/// Bad lines that are told.
const BAD_LINES_TOLD_MAX: usize = 10;
const TOO_OLD: &str = "older than may be written";
const AHEAD: &str = "too far ahead of the clock";
const DUPLICATE: &str = "another value stands at that time";
const EXEMPLAR_OLD: &str = "exemplars of samples older than five minutes are left out";
const EXEMPLAR_LONG: &str = "an exemplar whose labels are wrong or too long is left out";
/// Samples that go to the store at a time.
const BATCH_SAMPLES: usize = 10_000;

/// What became of samples that went to blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backfilled {
    /// Written, or there already.
    pub accepted: u64,
    /// Another value stands at their time.
    pub duplicate: u64,
    /// Before 1970, or retention would delete them at once.
    pub too_old: u64,
    /// Later than now.
    pub too_new: u64,
}

/// Writes samples of any age; the store's, by an adapter.
pub trait Backfill: Send {
    /// Takes a sample. May block.
    fn push(&mut self, labels: &Labels, sample: Sample) -> Result<(), WriteError>;
    /// Writes what is left; returns when it is on the disk.
    fn finish(self: Box<Self>) -> Result<Backfilled, WriteError>;
}

/// Begins a backfill at a time.
pub type BeginBackfill = Box<dyn Fn(TimestampMs) -> Box<dyn Backfill> + Send + Sync>;

/// Takes imports.
pub struct Import {
    pub(crate) ingest: Arc<Ingest>,
    pub(crate) clock: Arc<dyn belfry_model::Clock>,
    backfill: Option<BeginBackfill>,
    pub(crate) room: tokio::sync::Semaphore,
    /// Imports so far.
    pub(crate) requests: AtomicU64,
}

/// What a request says beside its text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wishes {
    pub format: Option<TextFormat>,
    pub gzip: bool,
    /// Of samples that say none.
    pub timestamp: Option<i64>,
    /// Added to each series, unless it has them.
    pub labels: Vec<(String, String)>,
}

/// What became of an import.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    /// Samples written, or there already.
    pub written: u64,
    /// Samples that are older than may be written.
    pub too_old: u64,
    /// Samples ahead of the clock.
    pub ahead: u64,
    /// Samples whose series has another value at their time.
    pub duplicate: u64,
    /// Samples of series that cannot be kept, or are beyond a limit.
    pub series_refused: u64,
    /// Exemplars that are not kept though their samples are: of samples that go to blocks, or too long.
    pub exemplars_left_out: u64,
    /// Lines that are not read.
    pub bad_lines: u64,
    /// The first of them, and the first of what else was refused.
    pub errors: Vec<BadLine>,
}

/// A line that is not read, or a sample that is not written.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct BadLine {
    /// From 1; the first of those that the message names.
    pub line: usize,
    /// What was expected, or why it was refused.
    pub message: String,
}

impl Report {
    /// Is all written?
    pub fn is_whole(&self) -> bool {
        self.too_old + self.ahead + self.duplicate + self.series_refused + self.bad_lines == 0
    }
}

impl Import {
    /// Writes through `ingest`, and what is old through what `backfill` begins.
    pub fn new(ingest: Arc<Ingest>, clock: Arc<dyn belfry_model::Clock>, backfill: Option<BeginBackfill>) -> Self {
        ingest.register(IMPORT, Labels::empty(), Some(ingest.limits.series_total));
        let room = tokio::sync::Semaphore::new(IMPORTS_MAX);
        Self { ingest, clock, backfill, room, requests: AtomicU64::new(0) }
    }

    /// Takes a text. Blocks: for a thread that may, of a runtime.
    pub(crate) fn take(&self, body: &[u8], wishes: &Wishes) -> Result<Report, Failure> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let unfolded;
        let text = match wishes.gzip {
            true => {
                unfolded = gunzip(body)?;
                unfolded.as_slice()
            }
            false => body,
        };
        let now = self.clock.now();
        let mut run = Run {
            import: self,
            wishes,
            now,
            report: Report::default(),
            live: HashMap::new(),
            old: HashMap::new(),
            batch: empty(now),
            batch_lines: Lines::default(),
            backfill: None,
            backfill_lines: Lines::default(),
            line: 0,
            opened: 0,
            metadata: HashMap::new(),
        };
        let outcome = run.all(text);
        self.ingest.hand_back(IMPORT, run.opened);
        outcome?;
        let report = run.report;
        self.ingest.refused(IMPORT, report.series_refused);
        Ok(report)
    }
}

fn gunzip(body: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    let mut reader = flate2::read::MultiGzDecoder::new(body).take(IMPORT_TEXT_BYTES_MAX as u64 + 1);
    reader.read_to_end(&mut text).map_err(|e| Failure::NotGzip(e.to_string()))?;
    if text.len() > IMPORT_TEXT_BYTES_MAX {
        let said = format!("the body unfolds to more than {IMPORT_TEXT_BYTES_MAX} bytes; send it in parts");
        return Err(Failure::TooLarge(said));
    }
    Ok(text)
}

fn empty(now: TimestampMs) -> Batch {
    Batch { times: Times::Each(Vec::new()), ..Batch::at(IMPORT, now) }
}

/// From which line to which: the store says how many samples it refused, not which.
#[derive(Clone, Copy, Debug, Default)]
struct Lines(Option<(usize, usize)>);

impl Lines {
    fn add(&mut self, line: usize) {
        self.0 = Some((self.0.map_or(line, |(first, _)| first), line));
    }
}

/// One import on its way.
struct Run<'a> {
    import: &'a Import,
    wishes: &'a Wishes,
    now: TimestampMs,
    report: Report,
    /// `None`: it was refused.
    live: HashMap<&'a str, Option<SeriesRef>>,
    old: HashMap<&'a str, Option<Labels>>,
    batch: Batch,
    batch_lines: Lines,
    backfill: Option<Box<dyn Backfill>>,
    backfill_lines: Lines,
    /// Where the event stands that is worked on.
    line: usize,
    opened: u64,
    metadata: HashMap<String, MetricMetadata>,
}

impl<'a> Run<'a> {
    fn all(&mut self, text: &'a [u8]) -> Result<(), Failure> {
        let mut parser = TextParser::new(text, self.wishes.format.unwrap_or(TextFormat::Prometheus));
        let (mut counted, mut breaks) = (0, 0);
        loop {
            let next = parser.next_event();
            let read = text.get(counted..parser.position()).unwrap_or_default();
            (counted, breaks) = (parser.position(), breaks + memchr::memchr_iter(b'\n', read).count());
            match next {
                Ok(None) => break,
                Ok(Some(event)) => {
                    // The event's line is behind us, with its end unless it is the last.
                    let ended = text.get(..counted).is_some_and(|t| t.ends_with(b"\n"));
                    self.line = breaks + usize::from(!ended);
                    self.event(event)?;
                }
                Err(error) => {
                    self.bad(error);
                    let before = parser.position();
                    parser.skip_line();
                    // Of a text that ends within a bad line, the end is not a second fault.
                    let cut_off = parser.position() >= text.len() && !text.ends_with(b"\n");
                    if self.report.bad_lines >= BAD_LINES_MAX || parser.position() == before || cut_off {
                        break;
                    }
                }
            }
        }
        self.flush()?;
        let metadata = std::mem::take(&mut self.metadata);
        if !metadata.is_empty() {
            metadata.into_values().for_each(|m| self.import.ingest.declare(m));
            self.write(empty(self.now))?;
        }
        let Some(backfill) = self.backfill.take() else { return Ok(()) };
        let done = backfill.finish().map_err(unavailable)?;
        self.report.written += done.accepted;
        self.report.duplicate += done.duplicate;
        self.report.too_old += done.too_old;
        self.report.ahead += done.too_new;
        let lines = std::mem::take(&mut self.backfill_lines);
        self.refuse_in(lines, done.too_old, TOO_OLD);
        self.refuse_in(lines, done.too_new, AHEAD);
        self.refuse_in(lines, done.duplicate, DUPLICATE);
        let counted = Appended {
            accepted: done.accepted,
            duplicate: done.duplicate,
            too_old: done.too_old,
            ..Appended::default()
        };
        self.import.ingest.count(IMPORT, counted, self.now);
        Ok(())
    }

    fn bad(&mut self, error: ParseError) {
        self.report.bad_lines += 1;
        if self.report.errors.len() < BAD_LINES_TOLD_MAX {
            self.report.errors.push(BadLine { line: error.line, message: error.message });
        }
    }

    fn refuse(&mut self, line: usize, message: String) {
        if self.report.errors.len() < BAD_LINES_TOLD_MAX {
            self.report.errors.push(BadLine { line, message });
        }
    }

    /// Counts an exemplar whose sample is written without it, and tells of the first.
    fn leave_out(&mut self, why: &str) {
        if self.report.exemplars_left_out == 0 {
            self.refuse(self.line, why.to_owned());
        }
        self.report.exemplars_left_out += 1;
    }

    /// Tells that `samples` of those in `lines` were refused.
    fn refuse_in(&mut self, lines: Lines, samples: u64, why: &str) {
        let Some((first, last)) = lines.0.filter(|_| samples > 0) else { return };
        let message = match first == last {
            true => why.to_owned(),
            false => format!("{samples} of the samples in lines {first} to {last}: {why}"),
        };
        self.refuse(first, message);
    }

    fn event(&mut self, event: Event<'a>) -> Result<(), Failure> {
        match event {
            Event::Help { metric, text } => self.of_metric(&metric).help = text.into_owned(),
            Event::Type { metric, kind, .. } => self.of_metric(&metric).kind = kind,
            Event::Unit { metric, unit } => self.of_metric(&metric).unit = unit.to_owned(),
            Event::Sample(s) => {
                let at = TimestampMs(s.at.or(self.wishes.timestamp).unwrap_or(self.now.0));
                if at > self.now.plus(AHEAD_MAX) {
                    self.report.ahead += 1;
                    self.refuse(self.line, AHEAD.to_owned());
                } else if at < self.now.minus(LIVE) && self.import.backfill.is_some() {
                    if s.exemplar.is_some() {
                        self.leave_out(EXEMPLAR_OLD);
                    }
                    return self.old(s.series, at, s.value, s.start);
                } else {
                    let is_given = s.exemplar.is_some();
                    let exemplar = s.exemplar.and_then(|e| {
                        let labels = series_labels(e.labels).ok().filter(|l| self.import.ingest.takes_exemplar(l))?;
                        Some(Exemplar { labels, value: e.value, at: e.at.map_or(at, TimestampMs) })
                    });
                    if is_given && exemplar.is_none() {
                        self.leave_out(EXEMPLAR_LONG);
                    }
                    return self.live(s.series, at, s.value, s.start, exemplar);
                }
            }
            // Only protobuf has them.
            Event::Histogram(_) => {}
        }
        Ok(())
    }

    fn of_metric(&mut self, metric: &str) -> &mut MetricMetadata {
        let name = metric.to_owned();
        self.metadata.entry(name.clone()).or_insert_with(|| MetricMetadata { name, ..MetricMetadata::default() })
    }

    fn labels(&self, series: &str) -> Result<Labels, String> {
        let mut labels = series_labels(series)?;
        if self.wishes.format == Some(TextFormat::OpenMetrics) {
            // As when it is scraped, and as promtool makes blocks of it.
            let mut alike = labels.to_builder();
            write_alike(&labels, &mut alike, |family| self.metadata.get(family).map(|m| m.kind));
            labels = alike.build();
        }
        let own = labels.iter().map(|l| (l.name.as_bytes(), l.value.as_bytes()));
        let more = self.wishes.labels.iter().filter(|(n, _)| labels.get(n).is_none());
        checked_series(own.chain(more.map(|(n, v)| (n.as_bytes(), v.as_bytes()))))
    }

    fn old(&mut self, series: &'a str, at: TimestampMs, value: f64, start: Option<i64>) -> Result<(), Failure> {
        if !self.old.contains_key(series) {
            let labels = self.labels(series).map_err(|reason| self.refuse(self.line, reason)).ok();
            self.old.insert(series, labels);
        }
        let Some(Some(labels)) = self.old.get(series) else {
            self.report.series_refused += 1;
            return Ok(());
        };
        if self.backfill.is_none() {
            self.backfill = self.import.backfill.as_ref().map(|begin| begin(self.now));
        }
        let Some(into) = &mut self.backfill else { return Ok(()) };
        self.backfill_lines.add(self.line);
        let sample = Sample { at, value: Value::Float(value), start: start.map(TimestampMs) };
        match into.push(labels, sample) {
            Err(WriteError::BadLabels(reason)) => {
                self.report.series_refused += 1;
                self.refuse(self.line, reason);
                Ok(())
            }
            other => other.map_err(unavailable),
        }
    }

    fn live(
        &mut self,
        series: &'a str,
        at: TimestampMs,
        value: f64,
        start: Option<i64>,
        exemplar: Option<Exemplar>,
    ) -> Result<(), Failure> {
        let reference = match self.live.get(series) {
            Some(known) => *known,
            None => {
                let opened = self.labels(series).and_then(|labels| self.open(&labels));
                let reference = opened.map_err(|reason| self.refuse(self.line, reason)).ok();
                self.live.insert(series, reference);
                reference
            }
        };
        let Some(reference) = reference else {
            self.report.series_refused += 1;
            return Ok(());
        };
        let n = self.batch.refs.len();
        self.batch_lines.add(self.line);
        self.batch.refs.push(reference);
        self.batch.values.push(value);
        if let Times::Each(times) = &mut self.batch.times {
            times.push(at);
        }
        if start.is_some() || !self.batch.starts.is_empty() {
            self.batch.starts.resize(n, 0);
            self.batch.starts.push(start.unwrap_or(0));
        }
        self.batch.exemplars.extend(exemplar.map(|e| (reference, e)));
        if n + 1 >= BATCH_SAMPLES { self.flush() } else { Ok(()) }
    }

    fn open(&mut self, labels: &Labels) -> Result<SeriesRef, String> {
        let opened = self.import.ingest.open_as_is(IMPORT, labels);
        self.opened += u64::from(opened.is_ok());
        opened.map_err(|e: OpenError| format!("{labels}: {e}"))
    }

    fn flush(&mut self) -> Result<(), Failure> {
        let batch = std::mem::replace(&mut self.batch, empty(self.now));
        let lines = std::mem::take(&mut self.batch_lines);
        if batch.refs.is_empty() {
            return Ok(());
        }
        let done = self.write(batch)?;
        self.report.written += done.accepted;
        self.report.too_old += done.too_old;
        self.report.duplicate += done.duplicate;
        self.report.ahead += done.too_far_ahead;
        self.report.series_refused += done.unknown_series;
        self.refuse_in(lines, done.too_old, TOO_OLD);
        self.refuse_in(lines, done.duplicate, DUPLICATE);
        self.refuse_in(lines, done.too_far_ahead, AHEAD);
        self.refuse_in(lines, done.unknown_series, "their series was deleted meanwhile");
        Ok(())
    }

    /// With the batch goes what was declared before.
    fn write(&self, batch: Batch) -> Result<Appended, Failure> {
        let work = self.import.ingest.append_as_is(batch, self.now);
        tokio::runtime::Handle::current().block_on(work).map_err(|e| match e {
            AppendError::Busy { .. } => Failure::Busy,
            other => Failure::Unavailable(other.to_string()),
        })
    }
}

fn unavailable(error: WriteError) -> Failure {
    Failure::Unavailable(error.to_string())
}
