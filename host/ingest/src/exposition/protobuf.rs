//! Prometheus' protobuf format: `io.prometheus.client.MetricFamily` messages, each behind its length. The one format
//! that carries native histograms.
//!
//! Invariant: a family is decoded metric by metric, so that memory stays near the size of the largest one.
//! What comes out looks like the text formats, so that one path leads on from here.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;

use belfry_model::labels::{is_legacy_metric_name, is_legacy_name};
use belfry_model::sample::{ResetHint, Span};
use belfry_model::{Histogram, MetricKind};
use prost::Message as _;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::wire::{self, Metric};
use super::{Event, ExemplarText, HistogramSample, ParseError, Sample, normal_nan};
use crate::push::histogram::check;
use crate::scrape::openmetrics_float;

/// Content type of the format, as asked for and as answered.
pub const PROTOBUF_CONTENT_TYPE: &str =
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";

/// Bytes of one metric: a histogram of thousands of buckets with exemplars is far below. What is decoded takes up to
/// sixty times as much.
const METRIC_BYTES_MAX: usize = 1 << 20;
/// Bytes of a name, a help text or a unit.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// The classic histogram's standard kinds by number.
const KINDS: [MetricKind; 6] = [
    MetricKind::Counter,
    MetricKind::Gauge,
    MetricKind::Summary,
    MetricKind::Unknown,
    MetricKind::Histogram,
    MetricKind::GaugeHistogram,
];
const GAUGE_HISTOGRAM: u64 = 5;

/// A pull parser over a whole body.
pub struct ProtobufParser<'a> {
    rest: &'a [u8],
    native: bool,
    classic: bool,
    message: usize,
    /// Of the family that is read now.
    family: Family<'a>,
    pending: VecDeque<Found>,
    current: Option<Found>,
}

#[derive(Default)]
struct Family<'a> {
    name: String,
    kind: u64,
    /// What is left of the message.
    rest: &'a [u8],
}

enum Found {
    Help(String, String),
    Type(String, MetricKind),
    Unit(String, String),
    Float {
        series: String,
        value: f64,
        at: Option<i64>,
        start: Option<i64>,
        exemplar: Option<OwnedExemplar>,
    },
    Native {
        series: String,
        histogram: Arc<Histogram>,
        at: Option<i64>,
        start: Option<i64>,
        exemplars: Vec<OwnedExemplar>,
    },
    /// A native histogram that cannot be, and why.
    Impossible(String),
}

struct OwnedExemplar {
    labels: String,
    value: f64,
    at: Option<i64>,
}

impl OwnedExemplar {
    fn text(&self) -> ExemplarText<'_> {
        ExemplarText { labels: &self.labels, value: self.value, at: self.at }
    }
}

impl<'a> ProtobufParser<'a> {
    /// Over `body`. With `native`, a native histogram comes as one; its classic buckets, where it has both, only with
    /// `classic`.
    pub fn new(body: &'a [u8], native: bool, classic: bool) -> Self {
        Self {
            rest: body,
            native,
            classic,
            message: 0,
            family: Family::default(),
            pending: VecDeque::new(),
            current: None,
        }
    }

    /// `None` at the end. An error ends it.
    pub fn next_event(&mut self) -> Result<Option<Event<'_>>, ParseError> {
        while self.pending.is_empty() {
            let more = if self.family.rest.is_empty() { self.family() } else { self.metric() };
            let line = self.message;
            match more {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(message) => {
                    (self.rest, self.family.rest) = (&[], &[]);
                    return Err(ParseError { line, message, is_sample: false });
                }
            }
        }
        self.current = self.pending.pop_front();
        let Some(found) = &self.current else { return Ok(None) };
        Ok(Some(match found {
            Found::Help(metric, text) => Event::Help { metric: metric.into(), text: text.into() },
            Found::Type(metric, kind) => Event::Type { metric: metric.into(), kind: *kind },
            Found::Unit(metric, unit) => Event::Unit { metric: metric.into(), unit },
            Found::Float { series, value, at, start, exemplar } => Event::Sample(Sample {
                series,
                value: normal_nan(*value),
                at: *at,
                start: *start,
                exemplar: exemplar.as_ref().map(OwnedExemplar::text),
            }),
            Found::Native { series, histogram, at, start, exemplars } => Event::Histogram(HistogramSample {
                series,
                histogram: histogram.clone(),
                at: *at,
                start: *start,
                exemplars: exemplars.iter().map(OwnedExemplar::text).collect(),
            }),
            Found::Impossible(message) => {
                (self.rest, self.family.rest) = (&[], &[]);
                self.pending.clear();
                return Err(ParseError { line: self.message, message: message.clone(), is_sample: true });
            }
        }))
    }

    /// The head of the next message; false at the end.
    fn family(&mut self) -> Result<bool, String> {
        if self.rest.is_empty() {
            return Ok(false);
        }
        self.message += 1;
        let mut message = take(&mut self.rest)?;
        let mut family = Family { rest: message, ..Family::default() };
        let (mut help, mut unit, mut metrics) = (String::new(), String::new(), false);
        while !message.is_empty() {
            let (tag, kind) = decode_key(&mut message).map_err(bad)?;
            match (tag, kind) {
                (1, WireType::LengthDelimited) => family.name = text(take(&mut message)?)?,
                (2, WireType::LengthDelimited) => help = text(take(&mut message)?)?,
                (3, WireType::Varint) => family.kind = decode_varint(&mut message).map_err(bad)?,
                (4, WireType::LengthDelimited) => {
                    metrics = true;
                    take(&mut message)?;
                }
                (5, WireType::LengthDelimited) => unit = text(take(&mut message)?)?,
                _ => skip_field(kind, tag, &mut message, DecodeContext::default()).map_err(bad)?,
            }
        }
        if family.name.is_empty() {
            return Err("a metric family has no name".to_owned());
        }
        let kind = KINDS.get(family.kind as usize).copied();
        let kind = kind.ok_or_else(|| format!("`{}` has the unknown type {}", family.name, family.kind))?;
        if !metrics {
            family.rest = &[];
        }
        self.pending.push_back(Found::Help(family.name.clone(), help));
        self.pending.push_back(Found::Type(family.name.clone(), kind));
        if !unit.is_empty() {
            self.pending.push_back(Found::Unit(family.name.clone(), unit));
        }
        self.family = family;
        Ok(true)
    }

    /// The next metric of the family.
    fn metric(&mut self) -> Result<bool, String> {
        while !self.family.rest.is_empty() {
            let (tag, kind) = decode_key(&mut self.family.rest).map_err(bad)?;
            if (tag, kind) != (4, WireType::LengthDelimited) {
                skip_field(kind, tag, &mut self.family.rest, DecodeContext::default()).map_err(bad)?;
                continue;
            }
            let bytes = take(&mut self.family.rest)?;
            if bytes.len() > METRIC_BYTES_MAX {
                return Err(format!("a metric of `{}` has {} bytes", self.family.name, bytes.len()));
            }
            let metric = Metric::decode(bytes).map_err(|e| format!("`{}`: {e}", self.family.name))?;
            return self.floats_and_histograms(metric).map(|()| true);
        }
        Ok(true)
    }

    fn floats_and_histograms(&mut self, metric: Metric) -> Result<(), String> {
        let at = (metric.timestamp_ms != 0).then_some(metric.timestamp_ms);
        let name = std::mem::take(&mut self.family.name);
        let made = self.made(&name, at, metric);
        self.family.name = name;
        made
    }

    fn made(&mut self, name: &str, at: Option<i64>, metric: Metric) -> Result<(), String> {
        let labels = &metric.label;
        let mut float = |suffix: &str, extra: Option<(&str, f64)>, value: f64, start, exemplar| {
            let series = series(name, suffix, labels, extra);
            self.pending.push_back(Found::Float { series, value, at, start, exemplar });
        };
        match (self.family.kind, metric.counter, metric.gauge, metric.summary, metric.untyped, metric.histogram) {
            (0, Some(c), ..) => {
                float("", None, c.value, millis(c.created_timestamp), c.exemplar.map(exemplar));
            }
            (1, _, Some(g), ..) => float("", None, g.value, None, None),
            (2, _, _, Some(s), ..) => {
                let start = millis(s.created_timestamp);
                float("_count", None, s.sample_count as f64, start, None);
                float("_sum", None, s.sample_sum, start, None);
                for q in &s.quantile {
                    float("", Some(("quantile", q.quantile)), q.value, start, None);
                }
            }
            (3, _, _, _, Some(u), _) => float("", None, u.value, None, None),
            (4 | 5, _, _, _, _, Some(h)) => {
                let is_native = h.is_native();
                let start = millis(h.created_timestamp);
                // One that is native alone has no classic series to go with it.
                if !(is_native && self.native) || self.classic && !h.bucket.is_empty() {
                    let count = h.count();
                    float("_count", None, count, start, None);
                    float("_sum", None, h.sample_sum, start, None);
                    let mut infinite = false;
                    for b in &h.bucket {
                        infinite |= b.upper_bound == f64::INFINITY;
                        let n = if b.cumulative_count_float > 0.0 {
                            b.cumulative_count_float
                        } else {
                            b.cumulative_count as f64
                        };
                        float("_bucket", Some(("le", b.upper_bound)), n, start, b.exemplar.clone().map(exemplar));
                    }
                    if !infinite {
                        float("_bucket", Some(("le", f64::INFINITY)), count, start, None);
                    }
                }
                if is_native && self.native {
                    let series = series(name, "", labels, None);
                    let gauge = self.family.kind == GAUGE_HISTOGRAM;
                    let mut exemplars: Vec<_> = h.exemplars.iter().cloned().map(exemplar).collect();
                    if exemplars.is_empty() {
                        let timed =
                            h.bucket.iter().filter_map(|b| b.exemplar.clone()).filter(|e| e.timestamp.is_some());
                        exemplars = timed.map(exemplar).collect();
                    }
                    self.pending.push_back(match native(h, gauge) {
                        Ok(h) => Found::Native { series, histogram: Arc::new(h), at, start, exemplars },
                        Err(e) => Found::Impossible(format!("`{series}`: {e}")),
                    });
                }
            }
            _ => return Err(format!("a metric of `{name}` has no value of the family's type")),
        }
        Ok(())
    }
}

fn bad(e: prost::DecodeError) -> String {
    e.to_string()
}

/// The bytes behind a length.
fn take<'b>(from: &mut &'b [u8]) -> Result<&'b [u8], String> {
    let length = decode_varint(from).map_err(bad)?;
    let taken = usize::try_from(length).ok().and_then(|n| from.split_at_checked(n));
    let (taken, rest) = taken.ok_or_else(|| "the message is cut short".to_owned())?;
    *from = rest;
    Ok(taken)
}

fn text(bytes: &[u8]) -> Result<String, String> {
    if bytes.len() > TEXT_BYTES_MAX {
        return Err(format!("a text has {} bytes; at most {TEXT_BYTES_MAX} are read", bytes.len()));
    }
    String::from_utf8(bytes.to_vec()).map_err(|_| "a text is not UTF-8".to_owned())
}

fn millis(time: Option<wire::Timestamp>) -> Option<i64> {
    let time = time?;
    Some(time.seconds.checked_mul(1000)?.saturating_add(i64::from(time.nanos) / 1_000_000))
}

fn exemplar(e: wire::Exemplar) -> OwnedExemplar {
    OwnedExemplar { labels: label_text(None, &e.label, None), value: e.value, at: millis(e.timestamp) }
}

fn series(name: &str, suffix: &str, labels: &[wire::LabelPair], extra: Option<(&str, f64)>) -> String {
    label_text(Some((name, suffix)), labels, extra)
}

/// A series as the text formats write it.
fn label_text(name: Option<(&str, &str)>, labels: &[wire::LabelPair], extra: Option<(&str, f64)>) -> String {
    let mut out = String::new();
    let mut first = true;
    match name {
        Some((name, suffix)) if is_legacy_metric_name(name) => {
            out.push_str(name);
            out.push_str(suffix);
            if labels.is_empty() && extra.is_none() {
                return out;
            }
            out.push('{');
        }
        Some((name, suffix)) => {
            out.push('{');
            quote(&mut out, &format!("{name}{suffix}"));
            first = false;
        }
        None => out.push('{'),
    }
    for label in labels {
        if !std::mem::take(&mut first) {
            out.push(',');
        }
        if is_legacy_name(&label.name) {
            out.push_str(&label.name);
        } else {
            quote(&mut out, &label.name);
        }
        out.push('=');
        quote(&mut out, &label.value);
    }
    if let Some((name, number)) = extra {
        if !first {
            out.push(',');
        }
        // Writing into a string cannot fail.
        let _ = write!(out, "{name}=\"{}\"", openmetrics_float(number));
    }
    out.push('}');
    out
}

fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
}

fn native(h: wire::Histogram, gauge: bool) -> Result<Histogram, String> {
    let schema = h.schema.unwrap_or(0);
    if !(-4..=8).contains(&schema) {
        return Err(format!("schema {schema} is not known"));
    }
    let integer = h.sample_count_float <= 0.0
        && h.zero_count_float <= 0.0
        && h.positive_count.is_empty()
        && h.negative_count.is_empty();
    let count = h.count();
    let zero_count = if integer { h.zero_count as f64 } else { h.zero_count_float };
    let (positive_spans, positive_counts) = buckets(&h.positive_span, &h.positive_delta, h.positive_count, integer)?;
    let (negative_spans, negative_counts) = buckets(&h.negative_span, &h.negative_delta, h.negative_count, integer)?;
    let histogram = Histogram {
        schema,
        count,
        sum: normal_nan(h.sample_sum),
        zero_threshold: h.zero_threshold,
        zero_count,
        positive_spans,
        positive_counts,
        negative_spans,
        negative_counts,
        custom_bounds: Vec::new(),
        reset_hint: if gauge { ResetHint::Gauge } else { ResetHint::Unknown },
        integer,
    };
    check(&histogram).map(|()| histogram)
}

fn buckets(
    spans: &[wire::BucketSpan],
    deltas: &[i64],
    counts: Vec<f64>,
    integer: bool,
) -> Result<(Vec<Span>, Vec<f64>), String> {
    let counts = if integer {
        let mut sum = 0_i64;
        let absolute = deltas.iter().map(|d| {
            sum = sum.checked_add(*d).filter(|n| *n >= 0).ok_or("a bucket's count is negative")?;
            Ok(sum as f64)
        });
        absolute.collect::<Result<Vec<_>, &str>>()?
    } else {
        counts
    };
    if counts.iter().any(|c| *c < 0.0) {
        return Err("a bucket's count is negative".to_owned());
    }
    let length: u64 = spans.iter().map(|s| u64::from(s.length)).sum();
    if length != counts.len() as u64 {
        return Err(format!("its spans have {length} buckets, its counts {}", counts.len()));
    }
    if spans.iter().skip(1).any(|s| s.offset < 0) {
        return Err("a span begins before the end of the one before it".to_owned());
    }
    Ok((spans.iter().map(|s| Span { offset: s.offset, length: s.length }).collect(), counts))
}

#[cfg(test)]
#[path = "protobuf_tests.rs"]
mod tests;
