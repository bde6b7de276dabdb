//! The bytes of one record: what one `append` brought (docs/formats/queue.md).
//!
//! Invariant: decoding any bytes neither panics nor takes more memory than a small multiple of them; what was encoded is
//! decoded equal, bit for bit.
//! Not here: framing and checksums (`segment`), which record is next.

use std::collections::HashMap;
use std::sync::Arc;

use belfry_model::sample::{ResetHint, Span};
use belfry_model::{
    Exemplar, Histogram, Labels, LabelsBuilder, MetricKind, MetricMetadata, Sample, TimestampMs, Value,
};

use super::bytes::{Bad, Reader, Write};

/// Sections of a record.
const SERIES: u8 = 1;
const FLOATS: u8 = 2;
const FLOATS_EACH: u8 = 3;
const FLOATS_STARTS: u8 = 4;
const HISTOGRAMS: u8 = 5;
const EXEMPLARS: u8 = 6;
const METADATA: u8 = 7;

/// Kinds by their number in the file; a new one goes to the end.
const KINDS: [MetricKind; 8] = [
    MetricKind::Unknown,
    MetricKind::Gauge,
    MetricKind::Counter,
    MetricKind::Histogram,
    MetricKind::Summary,
    MetricKind::Info,
    MetricKind::StateSet,
    MetricKind::GaugeHistogram,
];

/// Builds one record.
#[derive(Debug, Default)]
pub(super) struct RecordBuilder {
    body: Vec<u8>,
    samples: u64,
}

impl RecordBuilder {
    pub fn series(&mut self, all: &[(u32, Labels)]) {
        if all.is_empty() {
            return;
        }
        self.section(SERIES, all.len());
        for (id, labels) in all {
            self.body.varint(u64::from(*id));
            write_labels(&mut self.body, labels);
        }
    }

    pub fn floats(&mut self, at: TimestampMs, all: &[(u32, f64)]) {
        if all.is_empty() {
            return;
        }
        self.body.push(FLOATS);
        self.body.zigzag(at.0);
        self.body.varint(all.len() as u64);
        for (id, value) in all {
            self.body.varint(u64::from(*id));
            self.body.float(*value);
        }
        self.samples += all.len() as u64;
    }

    pub fn floats_each(&mut self, all: &[(u32, TimestampMs, f64)]) {
        if all.is_empty() {
            return;
        }
        self.section(FLOATS_EACH, all.len());
        for (id, at, value) in all {
            self.body.varint(u64::from(*id));
            self.body.zigzag(at.0);
            self.body.float(*value);
        }
        self.samples += all.len() as u64;
    }

    pub fn floats_starts(&mut self, all: &[(u32, TimestampMs, TimestampMs, f64)]) {
        if all.is_empty() {
            return;
        }
        self.section(FLOATS_STARTS, all.len());
        for (id, at, start, value) in all {
            self.body.varint(u64::from(*id));
            self.body.zigzag(at.0);
            self.body.zigzag(start.0);
            self.body.float(*value);
        }
        self.samples += all.len() as u64;
    }

    pub fn histograms(&mut self, all: &[(u32, TimestampMs, Option<TimestampMs>, Arc<Histogram>)]) {
        if all.is_empty() {
            return;
        }
        self.section(HISTOGRAMS, all.len());
        for (id, at, start, h) in all {
            self.body.varint(u64::from(*id));
            self.body.zigzag(at.0);
            self.body.push(u8::from(start.is_some()));
            if let Some(start) = start {
                self.body.zigzag(start.0);
            }
            write_histogram(&mut self.body, h);
        }
        self.samples += all.len() as u64;
    }

    pub fn exemplars(&mut self, all: &[(u32, Exemplar)]) {
        if all.is_empty() {
            return;
        }
        self.section(EXEMPLARS, all.len());
        for (id, e) in all {
            self.body.varint(u64::from(*id));
            self.body.zigzag(e.at.0);
            self.body.float(e.value);
            write_labels(&mut self.body, &e.labels);
        }
    }

    pub fn metadata(&mut self, all: &[MetricMetadata]) {
        if all.is_empty() {
            return;
        }
        self.section(METADATA, all.len());
        for m in all {
            let kind = KINDS.iter().position(|k| *k == m.kind).unwrap_or(0);
            self.body.push(u8::try_from(kind).unwrap_or(0));
            self.body.text(&m.name);
            self.body.text(&m.unit);
            self.body.text(&m.help);
        }
    }

    /// The payload of the record, and how many samples it has; `None` when nothing was put in.
    pub fn finish(self, written: TimestampMs) -> Option<(Vec<u8>, u64)> {
        if self.body.is_empty() {
            return None;
        }
        let mut out = Vec::with_capacity(self.body.len() + 16);
        out.varint(self.samples);
        out.zigzag(written.0);
        out.extend_from_slice(&self.body);
        Some((out, self.samples))
    }

    fn section(&mut self, tag: u8, n: usize) {
        self.body.push(tag);
        self.body.varint(n as u64);
    }
}

/// The beginning of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub samples: u64,
    pub written: TimestampMs,
}

/// Reads the beginning alone.
pub(super) fn head(payload: &[u8]) -> Result<Head, Bad> {
    read_head(&mut Reader::new(payload))
}

fn read_head(r: &mut Reader<'_>) -> Result<Head, Bad> {
    Ok(Head { samples: r.varint()?, written: TimestampMs(r.zigzag()?) })
}

/// One thing that a record holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Item {
    Sample(u32, Sample),
    Exemplar(u32, Exemplar),
    Metadata(MetricMetadata),
}

/// Series of a segment by their number there.
pub(super) type Names = HashMap<u32, Labels>;

/// Goes through a record: new series go into `names` (with `external` added where they lack them), all else to `each`.
pub(super) fn decode(
    payload: &[u8],
    external: &Labels,
    names: &mut Names,
    mut each: impl FnMut(Item),
) -> Result<Head, Bad> {
    let mut r = Reader::new(payload);
    let head = read_head(&mut r)?;
    while !r.is_at_end() {
        let tag = r.byte()?;
        let one = if tag == FLOATS { Some(TimestampMs(r.zigzag()?)) } else { None };
        let n = r.count()?;
        for _ in 0..n {
            if tag == METADATA {
                let kind = KINDS.get(usize::from(r.byte()?)).copied().unwrap_or_default();
                let (name, unit, help) = (r.text()?.to_owned(), r.text()?.to_owned(), r.text()?.to_owned());
                each(Item::Metadata(MetricMetadata { name, kind, unit, help }));
                continue;
            }
            let id = u32::try_from(r.varint()?).map_err(|_| Bad)?;
            match tag {
                SERIES => {
                    let labels = read_labels(&mut r)?;
                    names.insert(id, with_external(labels, external));
                }
                FLOATS | FLOATS_EACH | FLOATS_STARTS => {
                    let at = match one {
                        Some(at) => at,
                        None => TimestampMs(r.zigzag()?),
                    };
                    let start = if tag == FLOATS_STARTS { Some(TimestampMs(r.zigzag()?)) } else { None };
                    each(Item::Sample(id, Sample { at, value: Value::Float(r.float()?), start }));
                }
                HISTOGRAMS => {
                    let at = TimestampMs(r.zigzag()?);
                    let start = if r.byte()? == 1 { Some(TimestampMs(r.zigzag()?)) } else { None };
                    let value = Value::Histogram(Arc::new(read_histogram(&mut r)?));
                    each(Item::Sample(id, Sample { at, value, start }));
                }
                EXEMPLARS => {
                    let at = TimestampMs(r.zigzag()?);
                    let value = r.float()?;
                    each(Item::Exemplar(id, Exemplar { labels: read_labels(&mut r)?, value, at }));
                }
                _ => return Err(Bad),
            }
        }
    }
    Ok(head)
}

/// `labels`, with those of `external` that it lacks: as Prometheus adds its external labels.
pub fn with_external(labels: Labels, external: &Labels) -> Labels {
    if external.iter().all(|l| labels.get(&l.name).is_some()) {
        return labels;
    }
    let mut b: LabelsBuilder = labels.to_builder();
    for l in external.iter().filter(|l| labels.get(&l.name).is_none()) {
        b.set(l.name.clone(), l.value.clone());
    }
    b.build()
}

fn write_labels(out: &mut Vec<u8>, labels: &Labels) {
    out.varint(labels.len() as u64);
    for l in labels {
        out.text(&l.name);
        out.text(&l.value);
    }
}

fn read_labels(r: &mut Reader<'_>) -> Result<Labels, Bad> {
    let n = r.count()?;
    let mut pairs = Vec::new();
    for _ in 0..n {
        pairs.push((r.text()?, r.text()?));
    }
    if pairs.iter().any(|(name, _)| name.is_empty()) {
        return Err(Bad);
    }
    Ok(Labels::from_pairs(pairs))
}

fn write_histogram(out: &mut Vec<u8>, h: &Histogram) {
    out.zigzag(i64::from(h.schema));
    let hint = match h.reset_hint {
        ResetHint::Unknown => 0,
        ResetHint::Reset => 1,
        ResetHint::NotReset => 2,
        ResetHint::Gauge => 3,
    };
    out.push(hint | u8::from(h.integer) << 2);
    for v in [h.count, h.sum, h.zero_threshold, h.zero_count] {
        out.float(v);
    }
    for (spans, counts) in [(&h.positive_spans, &h.positive_counts), (&h.negative_spans, &h.negative_counts)] {
        out.varint(spans.len() as u64);
        for s in spans {
            out.zigzag(i64::from(s.offset));
            out.varint(u64::from(s.length));
        }
        out.floats(counts);
    }
    out.floats(&h.custom_bounds);
}

fn read_histogram(r: &mut Reader<'_>) -> Result<Histogram, Bad> {
    let schema = i32::try_from(r.zigzag()?).map_err(|_| Bad)?;
    let flags = r.byte()?;
    let reset_hint = match flags & 3 {
        1 => ResetHint::Reset,
        2 => ResetHint::NotReset,
        3 => ResetHint::Gauge,
        _ => ResetHint::Unknown,
    };
    let mut h = Histogram { schema, reset_hint, integer: flags & 4 != 0, ..Histogram::default() };
    (h.count, h.sum, h.zero_threshold, h.zero_count) = (r.float()?, r.float()?, r.float()?, r.float()?);
    (h.positive_spans, h.positive_counts) = (read_spans(r)?, r.floats()?);
    (h.negative_spans, h.negative_counts) = (read_spans(r)?, r.floats()?);
    h.custom_bounds = r.floats()?;
    Ok(h)
}

fn read_spans(r: &mut Reader<'_>) -> Result<Vec<Span>, Bad> {
    let n = r.count()?;
    let mut spans = Vec::new();
    for _ in 0..n {
        let offset = i32::try_from(r.zigzag()?).map_err(|_| Bad)?;
        spans.push(Span { offset, length: u32::try_from(r.varint()?).map_err(|_| Bad)? });
    }
    Ok(spans)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(payload: &[u8]) -> Result<(Head, Names, Vec<Item>), Bad> {
        let (mut names, mut items) = (Names::new(), Vec::new());
        let head = decode(payload, &Labels::empty(), &mut names, |i| items.push(i))?;
        Ok((head, names, items))
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let at = TimestampMs(1_700_000_000_123);
        let labels = Labels::from_pairs([("__name__", "up"), ("job", "a")]);
        let h = Arc::new(Histogram {
            schema: -2,
            count: 3.0,
            sum: f64::from_bits(0x7ff0_0000_0000_0002),
            positive_spans: vec![Span { offset: -7, length: 2 }],
            positive_counts: vec![1.0, 2.0],
            custom_bounds: vec![0.5],
            reset_hint: ResetHint::Gauge,
            integer: true,
            ..Histogram::default()
        });
        let exemplar = Exemplar { labels: Labels::from_pairs([("trace_id", "7")]), value: 1.5, at };
        let meta = MetricMetadata {
            name: "up".into(),
            kind: MetricKind::GaugeHistogram,
            unit: "".into(),
            help: "Is it?".into(),
        };
        let mut b = RecordBuilder::default();
        b.series(&[(4, labels.clone())]);
        b.floats(at, &[(4, -0.0)]);
        b.floats_each(&[(4, TimestampMs(-5), f64::INFINITY)]);
        b.floats_starts(&[(4, at, TimestampMs(9), 2.0)]);
        b.histograms(&[(4, at, None, h.clone()), (4, at, Some(TimestampMs(8)), h.clone())]);
        b.exemplars(&[(4, exemplar.clone())]);
        b.metadata(std::slice::from_ref(&meta));
        let (payload, samples) = b.finish(TimestampMs(77)).expect("not empty");
        assert_eq!(samples, 5);
        let (read, names, items) = decoded(&payload).expect("well-formed");
        assert_eq!(read, Head { samples: 5, written: TimestampMs(77) });
        assert_eq!(names.get(&4), Some(&labels));
        let float =
            |at: i64, v: f64, start| Item::Sample(4, Sample { at: TimestampMs(at), value: Value::Float(v), start });
        assert_eq!(
            items[..3],
            [float(at.0, -0.0, None), float(-5, f64::INFINITY, None), float(at.0, 2.0, Some(TimestampMs(9)))]
        );
        let Item::Sample(4, Sample { value: Value::Histogram(read), start: Some(TimestampMs(8)), .. }) = &items[4]
        else {
            panic!("{items:?}")
        };
        assert_eq!(read.sum.to_bits(), h.sum.to_bits());
        assert_eq!(Histogram { sum: 0.0, ..(**read).clone() }, Histogram { sum: 0.0, ..(*h).clone() });
        assert_eq!(items[5..], [Item::Exemplar(4, exemplar), Item::Metadata(meta)]);
    }

    #[test]
    fn external_labels_are_added_where_they_are_missing() {
        let external = Labels::from_pairs([("replica", "a"), ("zone", "x")]);
        let own = Labels::from_pairs([("__name__", "up"), ("zone", "mine")]);
        let both = with_external(own, &external);
        assert_eq!(both.to_string(), r#"up{replica="a", zone="mine"}"#);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decoded(&bytes);
        }

        /// Bytes that are nearly a record get deeper than random ones.
        #[test]
        fn no_change_of_a_record_panics(at in 0_usize..60, byte: u8, cut in 0_usize..60) {
            let mut b = RecordBuilder::default();
            b.series(&[(1, Labels::from_pairs([("__name__", "up"), ("a", "b")]))]);
            b.floats(TimestampMs(1), &[(1, 1.0), (1, 2.0)]);
            b.histograms(&[(1, TimestampMs(1), None, Arc::default())]);
            let (mut payload, _) = b.finish(TimestampMs(1)).expect("not empty");
            if let Some(b) = payload.get_mut(at) {
                *b = byte;
            }
            payload.truncate(payload.len().saturating_sub(cut));
            let _ = decoded(&payload);
        }
    }
}
