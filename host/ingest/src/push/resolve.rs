//! From a request's columns to a batch: its series looked up, new ones opened, what cannot be written left out.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use belfry_model::write::Times;
use belfry_model::{Batch, Exemplar, Labels, MetricKind, MetricMetadata, SeriesRef, TimestampMs};

use super::book::Tick;
use super::decoded::{Decoded, Key, LabelsAt, MetadataAt, SeriesPart};
use super::intake::{Scratch, Version};
use super::key::Keys;
use super::labels::{Pairs, checked, checked_series, metric_of, pairs_v1};
use super::outcome::{Place, Refusals, SERIES_BYTES_MAX, Why, cut};
use super::v1::{kind_of, word_of};
use super::wire::Malformed;
use super::{AHEAD_MAX, Push};
use crate::Ingest;
use crate::beside::{HELP_BYTES_MAX, UNIT_BYTES_MAX, cut_bytes};
use crate::labels::{METRIC_TYPE, METRIC_UNIT};
use crate::writer::lock;

/// Not a reference: the series is not open.
const MISSING: u64 = u64::MAX;

/// What is to be written of a request.
pub(crate) struct Prepared {
    /// Written first.
    pub floats: Option<Batch>,
    /// Native histograms. The exemplars of the request are with the last batch.
    pub histograms: Option<Batch>,
    pub refused: Refusals,
    /// Of the book.
    pub generation: u64,
}

/// A message's bytes and how its labels are told.
struct Message<'a> {
    version: Version,
    /// Series say their metric's kind and unit.
    typed: bool,
    scratch: &'a Scratch,
}

impl Message<'_> {
    fn pairs(&self, at: LabelsAt) -> Result<Pairs<'_>, Malformed> {
        let body = self.scratch.bytes.get(..self.scratch.length).unwrap_or_default();
        let from = if at.gathered { self.scratch.decoded.gathered.as_slice() } else { body };
        let named = from.get(at.range()).unwrap_or_default();
        match self.version {
            Version::One => pairs_v1(named, 1),
            Version::Two => self.scratch.symbols.pairs(body, named),
        }
    }

    fn labels(&self, part: &SeriesPart) -> Result<Labels, String> {
        let mut pairs = self.pairs(part.labels).map_err(|e| e.to_string())?;
        let (kind, unit) = self.told(part);
        if !(kind.is_empty() && unit.is_empty()) {
            // Metadata is meant, not what the sender wrote into labels.
            let said = [(METRIC_TYPE.as_bytes(), kind.as_bytes()), (METRIC_UNIT.as_bytes(), unit)];
            pairs.retain(|(name, _)| said.iter().all(|(s, _)| s != name));
            pairs.extend(said.into_iter().filter(|(_, value)| !value.is_empty()));
        }
        checked_series(pairs)
    }

    /// As it came, for people.
    fn series(&self, at: LabelsAt) -> String {
        let text = match self.pairs(at).map_err(|e| e.to_string()).and_then(checked) {
            Ok(labels) => labels.to_string(),
            Err(reason) => reason,
        };
        cut(text, SERIES_BYTES_MAX)
    }

    fn sample(&self, series: usize, at: i64) -> String {
        let part = self.scratch.decoded.series.get(series);
        format!("{} at {}", part.map_or_else(String::new, |part| self.series(part.labels)), TimestampMs(at))
    }

    /// What `__type__` and `__unit__` are to say; empty for nothing.
    fn told(&self, part: &SeriesPart) -> (&'static str, &[u8]) {
        let Some(at) = part.metadata.filter(|_| self.typed) else { return ("", b"") };
        let body = self.scratch.bytes.get(..self.scratch.length).unwrap_or_default();
        let unit = self.scratch.symbols.text(body, u64::from(at.unit)).unwrap_or_default();
        (word_of(u64::from(at.kind)), unit)
    }

    /// Of the series as it is stored: its kind and its unit are a part of what it is.
    #[inline]
    fn key(&self, keys: &Keys, part: &SeriesPart) -> Key {
        let Some(at) = part.metadata.filter(|_| self.typed) else { return part.key };
        let (kind, unit) = self.told(part);
        if kind.is_empty() && unit.is_empty() {
            return part.key;
        }
        keys.with(part.key, at.kind, self.scratch.symbols.hash_of(at.unit))
    }

    /// A number that differs when the metadata does; 0 for none.
    fn metadata_hash(&self, at: Option<MetadataAt>) -> u32 {
        let Some(at) = at.filter(|m| *m != MetadataAt::default()) else { return 0 };
        let symbols = &self.scratch.symbols;
        let hash = symbols.hash_of(at.help).rotate_left(7) ^ symbols.hash_of(at.unit) ^ u64::from(at.kind) << 56;
        (hash >> 32) as u32 ^ hash as u32 | 1
    }

    fn metadata(&self, series: &SeriesPart, name: &str) -> Option<MetricMetadata> {
        let at = series.metadata?;
        let body = self.scratch.bytes.get(..self.scratch.length).unwrap_or_default();
        // Many series may name one long text: no more of it is copied than is kept.
        let text = |n: u32, max: usize| {
            cut_bytes(self.scratch.symbols.text(body, u64::from(n)).unwrap_or_default(), max).into_owned()
        };
        let kind = kind_of(u64::from(at.kind));
        Some(MetricMetadata {
            name: family(name, kind).to_owned(),
            kind,
            unit: text(at.unit, UNIT_BYTES_MAX),
            help: text(at.help, HELP_BYTES_MAX),
        })
    }
}

/// Metadata is of the metric, and the series of a classic histogram or a summary have names made from it.
fn family(name: &str, kind: MetricKind) -> &str {
    let suffixes: &[&str] = match kind {
        MetricKind::Histogram => &["_bucket", "_sum", "_count"],
        MetricKind::GaugeHistogram => &["_bucket", "_gsum", "_gcount", "_sum", "_count"],
        MetricKind::Summary => &["_sum", "_count"],
        _ => &[],
    };
    suffixes.iter().find_map(|s| name.strip_suffix(s)).unwrap_or(name)
}

impl Push {
    /// Looks up the series of what `scratch` holds, opens new ones, and makes batches.
    pub(super) fn resolve(&self, now: TimestampMs, version: Version, scratch: &mut Scratch) -> Prepared {
        let mut refused = Refusals::default();
        let (generation, mut declared) = self.look_up(now, version, scratch, &mut refused);
        let latest = now.plus(AHEAD_MAX).0;
        let d = &mut scratch.decoded;
        refused.histograms += d.bad_histograms;
        refused.empty += d.empty;
        let bad_histogram = d.bad_histogram.take();
        let mut ahead = None;
        let mut floats = floats(&self.producer, d, &scratch.found, latest, &mut refused, &mut ahead);
        let mut histograms = histograms(&self.producer, d, &scratch.found, latest, &mut refused, &mut ahead);
        let message = Message { version, typed: self.typed.load(Ordering::Relaxed), scratch };
        if let Some((series, at)) = ahead {
            refused.example(Why::Ahead, || message.sample(series, at));
        }
        if let Some(reason) = bad_histogram {
            let of = message.scratch.decoded.first_bad_histogram;
            refused.example(Why::Histogram, || match of {
                Some(labels) => format!("{}: {reason}", message.series(labels)),
                None => reason,
            });
        }
        if let Some(labels) = message.scratch.decoded.first_empty {
            refused.example(Why::Empty, || message.series(labels));
        }
        let exemplars = exemplars(&self.ingest, &Message { version, typed: false, scratch });
        // With the last batch: an engine beyond this machine refuses those of a series that it has no sample of yet.
        if let Some(batch) = histograms.as_mut().or(floats.as_mut()) {
            batch.exemplars = exemplars;
        } else if !exemplars.is_empty() {
            let mut batch = Batch::at(self.producer.clone(), now);
            batch.exemplars = exemplars;
            histograms = Some(batch);
        }
        for m in scratch.decoded.metadata.drain(..).filter(|m| !m.name.is_empty()) {
            self.ingest.declare(m);
            declared = true;
        }
        if declared && floats.is_none() && histograms.is_none() {
            // With it goes what was declared: the answer says that it is kept.
            floats = Some(Batch::at(self.producer.clone(), now));
        }
        self.count(&refused, scratch.decoded.shed);
        Prepared { floats, histograms, refused, generation }
    }

    /// Names the samples that the store refused. `scratch` is decoded again, and has the series found for it at `now`.
    pub(super) fn name_refused(&self, now: TimestampMs, version: Version, scratch: &Scratch, refused: &mut Refusals) {
        let latest = now.plus(AHEAD_MAX).0;
        let d = &scratch.decoded;
        let is_open = |series: u32| scratch.found.get(series as usize).is_some_and(|r| *r != MISSING);
        let message = Message { version, typed: false, scratch };
        for Place { why, native, place } in std::mem::take(&mut refused.places) {
            let at = match native {
                false => samples(d, &scratch.found).filter(|(_, at)| *at <= latest).nth(place),
                true => {
                    let open = d.histograms.iter().filter(|h| h.at <= latest && is_open(h.series));
                    open.map(|h| (h.series as usize, h.at)).nth(place)
                }
            };
            if let Some((series, at)) = at {
                refused.example(why, || message.sample(series, at));
            }
        }
    }

    fn count(&self, refused: &Refusals, shed: u64) {
        use Ordering::Relaxed;
        self.counts.ahead.fetch_add(refused.ahead, Relaxed);
        self.counts.bad_histograms.fetch_add(refused.histograms, Relaxed);
        self.counts.shed_beside.fetch_add(shed, Relaxed);
        self.ingest.refused(&self.producer, refused.labels);
    }

    /// Fills `scratch.found`; answers the generation of the book that the references are of, and whether metadata was
    /// declared.
    fn look_up(
        &self,
        now: TimestampMs,
        version: Version,
        scratch: &mut Scratch,
        refused: &mut Refusals,
    ) -> (u64, bool) {
        let tick = Tick::of(now);
        let mut found = std::mem::take(&mut scratch.found);
        found.clear();
        let message = Message { version, typed: self.typed.load(Ordering::Relaxed), scratch };
        let series = &message.scratch.decoded.series;
        let mut missing = Vec::new();
        let mut news = Vec::new();
        let generation = {
            let mut book = lock(&self.book);
            book.sweep(tick, false);
            for (i, s) in series.iter().enumerate() {
                match book.get(message.key(&self.keys, s), tick, s.stale, message.metadata_hash(s.metadata)) {
                    Some((reference, changed)) => {
                        found.push(reference.0);
                        if changed {
                            news.push(i);
                        }
                    }
                    None => {
                        found.push(MISSING);
                        missing.push(i);
                    }
                }
            }
            book.generation()
        };
        if !missing.is_empty() {
            self.open(&message, &missing, tick, &mut found, refused);
        }
        let declared = self.declare(&message, missing.iter().chain(&news).copied());
        let held = lock(&self.book).len();
        self.ingest.holds(&self.producer, held);
        scratch.found = found;
        (generation, declared)
    }

    fn open(&self, message: &Message<'_>, missing: &[usize], tick: Tick, found: &mut [u64], refused: &mut Refusals) {
        let series = &message.scratch.decoded.series;
        let mut swept = false;
        for &i in missing {
            let (Some(part), Some(slot)) = (series.get(i), found.get_mut(i)) else { continue };
            let labels = match message.labels(part) {
                Ok(labels) => labels,
                Err(reason) => {
                    refused.labels += 1;
                    refused.example(Why::Labels, || reason);
                    continue;
                }
            };
            let opened = match swept {
                false => self.ingest.try_open_as_is(&self.producer, &labels),
                true => self.ingest.open_as_is(&self.producer, &labels),
            };
            let opened = if opened.is_err() && !swept {
                // Once a request: the places of series that ended, and of idle ones when that is due.
                swept = true;
                let held = {
                    let mut book = lock(&self.book);
                    book.sweep(tick, true);
                    book.len()
                };
                self.ingest.holds(&self.producer, held);
                self.ingest.open_as_is(&self.producer, &labels)
            } else {
                opened
            };
            match opened {
                Ok(reference) => {
                    let hash = message.metadata_hash(part.metadata);
                    if !lock(&self.book).put(message.key(&self.keys, part), reference, tick, part.stale, hash) {
                        self.ingest.hand_back(&self.producer, 1);
                    }
                    *slot = reference.0;
                }
                Err(error) => {
                    refused.limit += 1;
                    refused.example(Why::Limit, || format!("{labels}: {error}"));
                }
            }
        }
    }

    fn declare(&self, message: &Message<'_>, series: impl Iterator<Item = usize>) -> bool {
        let mut told = HashSet::new();
        for part in series.filter_map(|i| message.scratch.decoded.series.get(i)) {
            let hash = message.metadata_hash(part.metadata);
            if hash == 0 {
                continue;
            }
            let Ok(labels) = message.labels(part) else { continue };
            if let Some(m) = message.metadata(part, metric_of(&labels))
                && told.insert((m.name.clone(), hash))
            {
                self.ingest.declare(m);
            }
        }
        !told.is_empty()
    }
}

/// Number of a series and a time.
type At = (usize, i64);

fn floats(
    producer: &Arc<str>,
    d: &mut Decoded,
    found: &[u64],
    latest: i64,
    refused: &mut Refusals,
    first_ahead: &mut Option<At>,
) -> Option<Batch> {
    if d.values.is_empty() {
        return None;
    }
    let mut batch = Batch::at(producer.clone(), TimestampMs(0));
    batch.refs.reserve_exact(d.values.len());
    for (i, reference) in found.iter().enumerate() {
        let n = d.samples_of(i).len();
        batch.refs.extend(std::iter::repeat_n(SeriesRef(*reference), n));
    }
    let newest = d.times.iter().copied().fold(i64::MIN, i64::max);
    if newest > latest {
        *first_ahead = samples(d, found).find(|(_, at)| *at > latest);
    }
    let mut times = std::mem::take(&mut d.times);
    batch.values = std::mem::take(&mut d.values);
    batch.starts = std::mem::take(&mut d.starts);
    if !batch.starts.is_empty() {
        batch.starts.resize(batch.values.len(), 0);
    }
    if newest > latest || found.contains(&MISSING) {
        leave_out(&mut batch, &mut times, latest, refused);
    }
    let first = *times.first()?;
    batch.times = match times.iter().all(|t| *t == first) {
        true => Times::One(TimestampMs(first)),
        false => Times::Each(times.into_iter().map(TimestampMs).collect()),
    };
    Some(batch)
}

/// Samples of series that are open, in the order of a batch.
fn samples<'a>(d: &'a Decoded, found: &'a [u64]) -> impl Iterator<Item = At> {
    let open = found.iter().enumerate().filter(|(_, reference)| **reference != MISSING);
    open.flat_map(|(i, _)| d.times.get(d.samples_of(i)).unwrap_or_default().iter().map(move |at| (i, *at)))
}

/// Keeps what can be written.
fn leave_out(batch: &mut Batch, times: &mut Vec<i64>, latest: i64, refused: &mut Refusals) {
    let keep: Vec<bool> = batch
        .refs
        .iter()
        .zip(times.iter())
        .map(|(reference, at)| {
            let ahead = *at > latest;
            refused.ahead += u64::from(ahead && reference.0 != MISSING);
            !ahead && reference.0 != MISSING
        })
        .collect();
    fn retain<T>(column: &mut Vec<T>, keep: &[bool]) {
        let mut keep = keep.iter();
        column.retain(|_| keep.next().copied().unwrap_or(false));
    }
    retain(&mut batch.refs, &keep);
    retain(&mut batch.values, &keep);
    retain(&mut batch.starts, &keep);
    retain(times, &keep);
}

fn histograms(
    producer: &Arc<str>,
    d: &mut Decoded,
    found: &[u64],
    latest: i64,
    refused: &mut Refusals,
    first_ahead: &mut Option<At>,
) -> Option<Batch> {
    let mut batch = Batch::at(producer.clone(), TimestampMs(0));
    for h in d.histograms.drain(..) {
        let Some(reference) = found.get(h.series as usize).filter(|r| **r != MISSING) else { continue };
        if h.at > latest {
            refused.ahead += 1;
            first_ahead.get_or_insert((h.series as usize, h.at));
            continue;
        }
        let start = Some(TimestampMs(h.start)).filter(|s| s.0 != 0);
        batch.histograms.push((SeriesRef(*reference), TimestampMs(h.at), start, h.histogram));
    }
    (!batch.histograms.is_empty()).then_some(batch)
}

/// Exemplars that can be kept. The others are left out, and counted where they are too long; nobody is told: they are
/// examples.
fn exemplars(ingest: &Ingest, message: &Message<'_>) -> Vec<(SeriesRef, Exemplar)> {
    let parts = &message.scratch.decoded.exemplars;
    let found = &message.scratch.found;
    let kept = parts.iter().filter_map(|e| {
        let reference = found.get(e.series as usize).filter(|r| **r != MISSING)?;
        let pairs = message.pairs(e.labels).ok()?;
        // Before they are copied: many may name one long text.
        if !ingest.takes_exemplar_of(pairs.iter().copied()) {
            return None;
        }
        let labels = checked(pairs).ok()?;
        Some((SeriesRef(*reference), Exemplar { labels, value: e.value, at: TimestampMs(e.at) }))
    });
    kept.collect()
}
