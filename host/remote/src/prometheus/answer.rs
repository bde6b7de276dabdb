//! Remote read's answer, series by series.
//!
//! Invariant: the limits hold while it is read: what a few bytes would make large in memory is counted first.
//! Not here: what was asked.

use std::sync::Arc;

use belfry_model::read::ReadError;
use belfry_model::{self as model, Labels, SampleBuf, SelectLimits, Series, SeriesSet, TimeRange, TimestampMs, Value};
use belfry_prompb::{Histogram, Label, Sample};
use prost::Message as _;

use super::read::{ANSWER_BYTES_MAX, SAMPLE_BYTES, away};
use crate::samples::Samples;

/// Labels of a series, those without a name included: an empty one has two bytes in a message and 48 in memory.
const LABELS_MAX: usize = 1000;
/// Memory of an answer's native histograms: an empty one has two bytes in a message and some 250 in memory.
const HISTOGRAM_BYTES_MAX: usize = 1 << 30;

/// Series as they come in, within the limits.
pub(super) struct Collected {
    limits: SelectLimits,
    samples: u64,
    series: Vec<Series>,
    boundless: u64,
}

impl Collected {
    pub(super) fn new(limits: SelectLimits) -> Self {
        Self { limits, samples: 0, series: Vec::new(), boundless: 0 }
    }

    /// How many samples there may be more.
    fn room(&self) -> u64 {
        self.limits.samples_max.saturating_sub(self.samples)
    }

    pub(super) fn add(&mut self, labels: Labels, buf: SampleBuf) -> Result<(), ReadError> {
        if buf.is_empty() {
            return Ok(());
        }
        if buf.len() as u64 > self.room() {
            return Err(ReadError::TooManySamples { limit: self.limits.samples_max });
        }
        self.samples += buf.len() as u64;
        if self.series.len() >= self.limits.series_max {
            return Err(ReadError::TooManySeries { limit: self.limits.series_max });
        }
        self.series.push(Series { labels, samples: Arc::new(Samples(buf)) });
        Ok(())
    }

    pub(super) fn finish(mut self, mut warnings: Vec<String>) -> SeriesSet {
        if self.boundless > 0 {
            warnings.push(format!(
                "the storage engine did not tell the bounds of {} native histograms with custom buckets (Prometheus up to \
                 3.8): they are left out; `query = \"pass\"` lets it evaluate them",
                self.boundless
            ));
        }
        self.series.sort_by(|a, b| a.labels.cmp(&b.labels));
        self.series.dedup_by(|a, b| a.labels == b.labels);
        SeriesSet { series: self.series, warnings }
    }
}

fn broken(what: &str) -> ReadError {
    away(format!("its answer cannot be read: {what}"))
}

/// Unpacks an answer, and reads it.
pub(super) fn unfold(packed: &[u8], range: TimeRange, limits: SelectLimits) -> Result<SeriesSet, ReadError> {
    let not_packed = |_| broken("it is not packed as it says");
    let length = snap::raw::decompress_len(packed).map_err(not_packed)?;
    if length > ANSWER_BYTES_MAX {
        return Err(ReadError::TooManySamples { limit: ANSWER_BYTES_MAX as u64 / SAMPLE_BYTES });
    }
    let bytes = snap::raw::Decoder::new().decompress_vec(packed).map_err(not_packed)?;
    decode(&bytes, range, limits)
}

/// Reads an answer: `prometheus.ReadResponse`.
pub(super) fn decode(bytes: &[u8], range: TimeRange, limits: SelectLimits) -> Result<SeriesSet, ReadError> {
    let mut all = Collected::new(limits);
    let mut histogram_bytes = HISTOGRAM_BYTES_MAX;
    // ReadResponse.results, then QueryResult.timeseries: both are field 1.
    for result in fields(bytes) {
        let (1, result) = result? else { continue };
        for series in fields(result) {
            let (1, series) = series? else { continue };
            let mut budget =
                Budget { room: all.room(), histogram_bytes: &mut histogram_bytes, boundless: &mut all.boundless };
            let (labels, buf) = one(series, range, &mut budget).map_err(|e| match e {
                ReadError::TooManySamples { .. } => ReadError::TooManySamples { limit: limits.samples_max },
                e => e,
            })?;
            all.add(labels, buf)?;
        }
    }
    Ok(all.finish(Vec::new()))
}

/// What a series may still have, and what was left out so far.
struct Budget<'b> {
    room: u64,
    histogram_bytes: &'b mut usize,
    boundless: &'b mut u64,
}

/// Custom buckets without any bound: those that only have the one up to infinity cannot be told from those whose bounds
/// were lost on the way, which would be read as that.
fn is_boundless(h: &Histogram) -> bool {
    h.schema == model::Histogram::CUSTOM_BOUNDS && h.custom_values.is_empty() && !h.positive_spans.is_empty()
}

/// `prometheus.TimeSeries`.
fn one(series: &[u8], range: TimeRange, budget: &mut Budget<'_>) -> Result<(Labels, SampleBuf), ReadError> {
    let malformed = |_| broken("malformed series");
    let (mut labels, mut samples) = (Vec::new(), Vec::new());
    for field in fields(series) {
        let (at, value) = match field? {
            (1, bytes) => {
                let label = Label::decode(bytes).map_err(malformed)?;
                if labels.len() >= LABELS_MAX {
                    return Err(broken("a series has too many labels"));
                }
                labels.push((label.name, label.value));
                continue;
            }
            (2, bytes) => {
                let sample = Sample::decode(bytes).map_err(malformed)?;
                (sample.timestamp, Value::Float(sample.value))
            }
            (4, bytes) => {
                // Each of its numbers has at least a byte in the message.
                let memory = size_of::<Histogram>() + bytes.len() * 2 * size_of::<f64>();
                let Some(left) = budget.histogram_bytes.checked_sub(memory) else {
                    return Err(away("it has too many native histograms; narrow the query"));
                };
                *budget.histogram_bytes = left;
                let message = Histogram::decode(bytes).map_err(malformed)?;
                if is_boundless(&message) {
                    *budget.boundless += u64::from(range.contains(TimestampMs(message.timestamp)));
                    continue;
                }
                (message.timestamp, Value::Histogram(Arc::new(message.into_model())))
            }
            // Exemplars are asked for apart.
            _ => continue,
        };
        if !range.contains(TimestampMs(at)) {
            continue;
        }
        if samples.len() as u64 >= budget.room {
            return Err(ReadError::TooManySamples { limit: budget.room });
        }
        samples.push((at, value));
    }
    samples.sort_by_key(|(at, _)| *at);
    samples.dedup_by_key(|(at, _)| *at);
    let mut buf = SampleBuf::default();
    for (at, value) in samples {
        buf.push(&belfry_model::Sample { at: TimestampMs(at), value, start: None });
    }
    labels.retain(|(name, _)| !name.is_empty());
    Ok((Labels::from_pairs(labels), buf))
}

/// The fields of a message that are bytes, each with its number; an error where it is malformed, and the end then.
fn fields(mut bytes: &[u8]) -> impl Iterator<Item = Result<(u32, &[u8]), ReadError>> {
    use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
    std::iter::from_fn(move || {
        while !bytes.is_empty() {
            let Ok((tag, wire)) = decode_key(&mut bytes) else { break };
            if wire != WireType::LengthDelimited {
                if skip_field(wire, tag, &mut bytes, DecodeContext::default()).is_err() {
                    break;
                }
                continue;
            }
            let length = decode_varint(&mut bytes).ok().and_then(|n| usize::try_from(n).ok());
            let Some((field, rest)) = length.and_then(|n| bytes.split_at_checked(n)) else { break };
            bytes = rest;
            return Some(Ok((tag, field)));
        }
        if bytes.is_empty() {
            return None;
        }
        bytes = &[];
        Some(Err(broken("malformed message")))
    })
}
