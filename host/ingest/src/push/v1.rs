//! Remote write 1.0: `prometheus.WriteRequest`.
//!
//! Invariant: either the whole request is read or none of it; labels of series are not looked into, only hashed.
//! <https://prometheus.io/docs/specs/prw/remote_write_spec/>

use belfry_model::{MetricKind, MetricMetadata};

use super::decoded::{Decoded, LabelsAt};
use super::histogram;
use super::key::Keys;
use super::wire::{Field, Malformed, Reader};
use crate::beside::{HELP_BYTES_MAX, METADATA_NAME_BYTES_MAX, UNIT_BYTES_MAX, cut_bytes};

/// Tags as they stand in nearly every request: length-delimited fields 1 and 2, a double in field 1, a number in field 2.
const LABEL: u8 = 0x0a;
const SAMPLE: u8 = 0x12;
const VALUE: u8 = 0x09;
const TIME: u8 = 0x10;

/// Reads a request into `into`, which is empty.
pub(crate) fn decode(body: &[u8], keys: &Keys, into: &mut Decoded) -> Result<(), Malformed> {
    let mut r = Reader::new(body);
    while let Some((n, field)) = r.field()? {
        match n {
            1 => {
                let series = field.bytes(n)?;
                time_series(series, r.position() - series.len(), keys, into)?;
            }
            3 => into.metadata(metadata(field.bytes(n)?)?),
            _ => {}
        }
    }
    Ok(())
}

/// `offset` is where `series` begins in the request.
fn time_series(series: &[u8], offset: usize, keys: &Keys, into: &mut Decoded) -> Result<(), Malformed> {
    let mut r = Reader::new(series);
    while r.peek() == Some(LABEL) {
        r.skip_byte();
        r.span()?;
    }
    let mut labels = LabelsAt { start: offset as u32, end: (offset + r.position()) as u32, gathered: false };
    while r.peek() == Some(SAMPLE) {
        r.skip_byte();
        let (at, value, start) = sample(r.bytes()?)?;
        into.sample(at, value, start)?;
    }
    let mut rest = r;
    while let Some((n, field)) = rest.field()? {
        match n {
            1 => labels.gathered = true,
            2 => {
                let (at, value, start) = sample(field.bytes(n)?)?;
                into.sample(at, value, start)?;
            }
            3 => {
                let bytes = field.bytes(n)?;
                exemplar(bytes, offset + rest.position() - bytes.len(), into)?;
            }
            4 => {
                let timed = histogram::read(field.bytes(n)?, &mut into.buckets)?;
                match timed.histogram {
                    Ok(h) => into.histogram(timed.at, timed.start, h)?,
                    Err(reason) => into.bad_histogram(reason),
                }
            }
            _ => {}
        }
    }
    let named = if labels.gathered {
        labels = gather(series, into)?;
        into.gathered.get(labels.range()).unwrap_or_default()
    } else {
        series.get(..labels.range().len()).unwrap_or_default()
    };
    let key = keys.of_bytes(named);
    into.end_series(key, labels, None);
    Ok(())
}

/// Labels that stand between other fields, one behind the other.
fn gather(series: &[u8], into: &mut Decoded) -> Result<LabelsAt, Malformed> {
    let start = into.gathered.len() as u32;
    let mut r = Reader::new(series);
    loop {
        let from = r.position();
        let Some((n, _)) = r.field()? else { break };
        if n == 1 {
            into.gathered.extend_from_slice(series.get(from..r.position()).unwrap_or_default());
        }
    }
    Ok(LabelsAt { start, end: into.gathered.len() as u32, gathered: true })
}

/// Time, value and start timestamp, which only version 2 has.
#[inline]
pub(super) fn sample(bytes: &[u8]) -> Result<(i64, f64, i64), Malformed> {
    let mut r = Reader::new(bytes);
    let (mut at, mut value, mut start) = (0, 0.0, 0);
    if r.peek() == Some(VALUE) {
        r.skip_byte();
        value = f64::from_bits(r.fixed64()?);
    }
    if r.peek() == Some(TIME) {
        r.skip_byte();
        at = r.varint()? as i64;
    }
    while let Some((n, field)) = r.field()? {
        match n {
            1 => value = field.double(n)?,
            2 => at = field.int(n)?,
            3 => start = field.int(n)?,
            _ => {}
        }
    }
    Ok((at, value, start))
}

/// Its labels stay where they are: the whole message, which begins at `start` of the request, is named, and field 1 of
/// it is read when it is needed.
fn exemplar(bytes: &[u8], start: usize, into: &mut Decoded) -> Result<(), Malformed> {
    let (mut at, mut value) = (0, 0.0);
    let mut r = Reader::new(bytes);
    while let Some((n, field)) = r.field()? {
        match n {
            1 => drop(field.bytes(n)?),
            2 => value = field.double(n)?,
            3 => at = field.int(n)?,
            _ => {}
        }
    }
    into.exemplar(at, value, LabelsAt { start: start as u32, end: (start + bytes.len()) as u32, gathered: false });
    Ok(())
}

fn metadata(bytes: &[u8]) -> Result<MetricMetadata, Malformed> {
    let mut m = MetricMetadata::default();
    let mut r = Reader::new(bytes);
    let text = |b: &[u8], max: usize| cut_bytes(b, max).into_owned();
    while let Some((n, field)) = r.field()? {
        match (n, field) {
            (1, Field::Varint(kind)) => m.kind = kind_of(kind),
            (2, Field::Bytes(b)) => m.name = text(b, METADATA_NAME_BYTES_MAX),
            (4, Field::Bytes(b)) => m.help = text(b, HELP_BYTES_MAX),
            (5, Field::Bytes(b)) => m.unit = text(b, UNIT_BYTES_MAX),
            (1 | 2 | 4 | 5, _) => return Err(Malformed::Type(n)),
            _ => {}
        }
    }
    Ok(m)
}

/// What `__type__` says; empty for what is not known.
pub(super) fn word_of(number: u64) -> &'static str {
    match kind_of(number) {
        MetricKind::Unknown => "",
        kind => kind.as_str(),
    }
}

/// Both versions number the kinds alike.
pub(super) fn kind_of(number: u64) -> MetricKind {
    match number {
        1 => MetricKind::Counter,
        2 => MetricKind::Gauge,
        3 => MetricKind::Histogram,
        4 => MetricKind::GaugeHistogram,
        5 => MetricKind::Summary,
        6 => MetricKind::Info,
        7 => MetricKind::StateSet,
        _ => MetricKind::Unknown,
    }
}
