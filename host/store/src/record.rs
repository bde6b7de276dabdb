//! What a record of the write-ahead log says: one batch, as far as it was accepted.
//!
//! Invariant: a record stands alone but for rows: reading it needs no other record but those that introduced its series.
//! Not here: framing and checksums (`wal`), whether a sample is acceptable (`head`).

use std::sync::Arc;

use belfry_model::sample::Histogram;
use belfry_model::{Exemplar, Labels, MetricKind, MetricMetadata, TimestampMs};

use crate::chunk::{POW10, scaled};
use crate::codec::{
    Corrupt, Reader, put_f64, put_histogram, put_ivarint, put_labels, put_str, put_uvarint, read_histogram,
};
use crate::row_record::{ReadRow, RowReader, put_group, put_row};
use crate::rows::Group;

const SERIES: u8 = 1;
const SAMPLES: u8 = 2;
const SAMPLE_WITH_START: u8 = 3;
const HISTOGRAM: u8 = 4;
const EXEMPLAR: u8 = 5;
const METADATA: u8 = 6;
const GROUP: u8 = 7;
const ROW: u8 = 8;
const TIMED_SAMPLES: u8 = 9;

/// Numbers are tried as decimals of up to so many places; the others stand as they are.
const PLACES_TRIED: usize = 3;
const NO_DECIMAL: u8 = 0xff;

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

/// One thing that a record says. Series numbers hold within a generation of the log.
pub enum Entry<'a> {
    /// From here on `id` means this series.
    Series(u32, Labels),
    /// A float: series, time, value, start timestamp (0 for "not known").
    Float(u32, i64, f64, i64),
    /// A native histogram: series, time, value, start timestamp (0 for "not known").
    Histogram(u32, i64, Arc<Histogram>, i64),
    /// An exemplar of a series.
    Exemplar(u32, Exemplar),
    /// What a metric is.
    Metadata(MetricMetadata),
    /// From here on the number means that these series come in rows.
    Group(u32, &'a [u32]),
    /// A row of a group.
    Row(ReadRow<'a>),
}

/// Builds one record. Reuse it.
#[derive(Default)]
pub struct RecordBuilder {
    out: Vec<u8>,
    run: Vec<u8>,
    run_samples: u64,
    run_time: i64,
    run_last: u32,
    /// Each sample of the run has its own time.
    run_is_timed: bool,
    /// The run's first time and value.
    run_first: (i64, f64),
    /// How many groups the log was told of.
    groups: u32,
}

impl RecordBuilder {
    /// Introduces a series.
    pub fn series(&mut self, id: u32, labels: &Labels) {
        // In front of the samples that stand in the open run: those are written when the run ends.
        self.out.push(SERIES);
        put_uvarint(&mut self.out, u64::from(id));
        put_labels(&mut self.out, labels);
    }

    /// A float. Samples of one time in a row share it; where the second has another, each has its own.
    pub fn float(&mut self, id: u32, at: i64, value: f64, start: i64) {
        if start != 0 {
            self.end_run();
            self.out.push(SAMPLE_WITH_START);
            self.place(id, at);
            put_f64(&mut self.out, value);
            put_ivarint(&mut self.out, at.wrapping_sub(start));
            return;
        }
        if self.run_samples > 0 && !self.run_is_timed && self.run_time != at {
            if self.run_samples == 1 {
                let ((first, value), id) = (self.run_first, self.run_last);
                self.run.clear();
                (self.run_is_timed, self.run_last, self.run_time) = (true, 0, first);
                self.put_timed(id, first, value);
            } else {
                self.end_run();
            }
        }
        if self.run_samples == 0 {
            (self.run_is_timed, self.run_first) = (false, (at, value));
        }
        self.run_samples += 1;
        if self.run_is_timed {
            self.put_timed(id, at, value);
            return;
        }
        self.run_time = at;
        put_ivarint(&mut self.run, i64::from(id) - i64::from(self.run_last));
        self.run_last = id;
        put_f64(&mut self.run, value);
    }

    fn put_timed(&mut self, id: u32, at: i64, value: f64) {
        put_ivarint(&mut self.run, i64::from(id) - i64::from(self.run_last));
        put_ivarint(&mut self.run, at.wrapping_sub(self.run_time));
        put_number(&mut self.run, value);
        (self.run_last, self.run_time) = (id, at);
    }

    /// A native histogram.
    pub fn histogram(&mut self, id: u32, at: i64, histogram: &Histogram, start: i64) {
        self.end_run();
        self.out.push(HISTOGRAM);
        self.place(id, at);
        put_ivarint(&mut self.out, start);
        put_histogram(&mut self.out, histogram, None);
    }

    /// An exemplar.
    pub fn exemplar(&mut self, id: u32, exemplar: &Exemplar) {
        self.end_run();
        self.out.push(EXEMPLAR);
        self.place(id, exemplar.at.0);
        put_f64(&mut self.out, exemplar.value);
        put_labels(&mut self.out, &exemplar.labels);
    }

    /// A row of a group. The first one in an epoch of the log says what the group is.
    pub fn row(&mut self, group: &mut Group, at: i64, values: &[f64], epoch: u64) {
        self.end_run();
        if group.introduced != epoch as u32 {
            self.groups = self.groups.wrapping_add(1);
            (group.introduced, group.log_number, group.logged) = (epoch as u32, self.groups, 0);
            self.out.push(GROUP);
            put_group(&mut self.out, group);
        }
        self.out.push(ROW);
        put_row(&mut self.out, group, at, values);
    }

    /// What a metric is.
    pub fn metadata(&mut self, m: &MetricMetadata) {
        self.end_run();
        self.out.push(METADATA);
        put_str(&mut self.out, &m.name);
        self.out.push(KINDS.iter().position(|k| *k == m.kind).unwrap_or(0) as u8);
        put_str(&mut self.out, &m.unit);
        put_str(&mut self.out, &m.help);
    }

    /// The finished record; empty when nothing was said. The builder starts anew with [`RecordBuilder::clear`].
    pub fn finish(&mut self) -> &[u8] {
        self.end_run();
        &self.out
    }

    /// About how long the record is by now.
    pub fn len(&self) -> usize {
        self.out.len() + self.run.len()
    }

    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.out.clear();
        self.run.clear();
        self.run_samples = 0;
        self.run_last = 0;
        self.run_is_timed = false;
    }

    fn place(&mut self, id: u32, at: i64) {
        put_uvarint(&mut self.out, u64::from(id));
        put_ivarint(&mut self.out, at);
    }

    fn end_run(&mut self) {
        if self.run_samples == 0 {
            return;
        }
        self.out.push(if self.run_is_timed { TIMED_SAMPLES } else { SAMPLES });
        put_ivarint(&mut self.out, self.run_first.0);
        put_uvarint(&mut self.out, self.run_samples);
        self.out.extend_from_slice(&self.run);
        self.run.clear();
        self.run_samples = 0;
        self.run_last = 0;
    }
}

/// A float as a decimal of few places, else its bits.
fn put_number(out: &mut Vec<u8>, value: f64) {
    match (0..=PLACES_TRIED).find_map(|p| Some((p, scaled(value, p)?))) {
        Some((places, n)) => {
            out.push(places as u8);
            put_ivarint(out, n);
        }
        None => {
            out.push(NO_DECIMAL);
            out.extend_from_slice(&value.to_bits().to_le_bytes());
        }
    }
}

fn read_number(r: &mut Reader<'_>) -> Result<f64, Corrupt> {
    match r.u8()? {
        NO_DECIMAL => r.u64().map(f64::from_bits),
        places => {
            let scale = POW10.get(usize::from(places)).ok_or(Corrupt("a number's scale is out of range"))?;
            Ok(r.ivarint()? as f64 / scale)
        }
    }
}

/// Hands the entries of a record to `on_entry`, in order. `rows` is what the generation's records before it said of
/// groups.
pub fn read(record: &[u8], rows: &mut RowReader, mut on_entry: impl FnMut(Entry<'_>)) -> Result<(), Corrupt> {
    let mut r = Reader::new(record);
    while !r.is_empty() {
        let tag = r.u8()?;
        if tag == SAMPLES {
            let at = r.ivarint()?;
            let n = r.count()?;
            let mut id = 0i64;
            for _ in 0..n {
                id = id.wrapping_add(r.ivarint()?);
                on_entry(Entry::Float(series_id(id as u64)?, at, r.f64()?, 0));
            }
            continue;
        }
        if tag == TIMED_SAMPLES {
            let mut at = r.ivarint()?;
            let n = r.count()?;
            let mut id = 0i64;
            for _ in 0..n {
                id = id.wrapping_add(r.ivarint()?);
                at = at.wrapping_add(r.ivarint()?);
                on_entry(Entry::Float(series_id(id as u64)?, at, read_number(&mut r)?, 0));
            }
            continue;
        }
        if tag == METADATA {
            let name = r.str()?.to_owned();
            let kind = KINDS.get(usize::from(r.u8()?)).copied().unwrap_or_default();
            on_entry(Entry::Metadata(MetricMetadata { name, kind, unit: r.str()?.into(), help: r.str()?.into() }));
            continue;
        }
        if tag == GROUP {
            let (number, ids) = rows.group(&mut r)?;
            on_entry(Entry::Group(number, ids));
            continue;
        }
        if tag == ROW {
            on_entry(Entry::Row(rows.row(&mut r)?));
            continue;
        }
        let id = series_id(r.uvarint()?)?;
        if tag == SERIES {
            on_entry(Entry::Series(id, r.labels()?));
            continue;
        }
        let at = r.ivarint()?;
        on_entry(match tag {
            SAMPLE_WITH_START => Entry::Float(id, at, r.f64()?, at.wrapping_sub(r.ivarint()?)),
            HISTOGRAM => {
                let start = r.ivarint()?;
                Entry::Histogram(id, at, Arc::new(read_histogram(&mut r, None)?), start)
            }
            EXEMPLAR => {
                let value = r.f64()?;
                Entry::Exemplar(id, Exemplar { labels: r.labels()?, value, at: TimestampMs(at) })
            }
            _ => return Err(Corrupt("an entry is of an unknown kind")),
        });
    }
    Ok(())
}

fn series_id(id: u64) -> Result<u32, Corrupt> {
    u32::try_from(id).map_err(|_| Corrupt("a series number is out of range"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn said(e: Entry<'_>) -> String {
        match e {
            Entry::Series(id, labels) => format!("series {id} {labels}"),
            Entry::Float(id, at, v, start) => format!("float {id} {at} {v} {start}"),
            Entry::Histogram(id, at, h, start) => format!("histogram {id} {at} {h:?} {start}"),
            Entry::Exemplar(id, e) => format!("exemplar {id} {e:?}"),
            Entry::Metadata(m) => format!("metadata {m:?}"),
            Entry::Group(number, ids) => format!("group {number} {ids:?}"),
            Entry::Row(row) => format!("row {} {:?}", row.at, row.values),
        }
    }

    #[test]
    fn what_is_written_is_read_with_series_before_their_samples() {
        let labels = Labels::from_pairs([("__name__", "up")]);
        let exemplar = Exemplar { labels: labels.clone(), value: 0.5, at: TimestampMs(3) };
        let meta = MetricMetadata { name: "up".into(), kind: MetricKind::Gauge, ..MetricMetadata::default() };
        let mut b = RecordBuilder::default();
        b.float(7, 1000, 1.0, 0);
        b.series(9, &labels);
        b.float(9, 1000, 2.5, 0);
        b.float(7, 1001, 3.0, -5);
        b.histogram(9, 1002, &Histogram::default(), 0);
        b.exemplar(9, &exemplar);
        b.metadata(&meta);
        let mut entries = Vec::new();
        read(b.finish(), &mut RowReader::default(), |e| entries.push(said(e))).unwrap();
        let expected = [
            Entry::Series(9, labels),
            Entry::Float(7, 1000, 1.0, 0),
            Entry::Float(9, 1000, 2.5, 0),
            Entry::Float(7, 1001, 3.0, -5),
            Entry::Histogram(9, 1002, Arc::new(Histogram::default()), 0),
            Entry::Exemplar(9, exemplar),
            Entry::Metadata(meta),
        ];
        assert_eq!(entries, expected.map(said));
    }

    #[test]
    fn every_kind_of_metric_has_a_number_of_its_own_and_a_later_one_is_unknown() {
        for (number, kind) in KINDS.into_iter().enumerate() {
            let meta = MetricMetadata { name: "m".into(), kind, ..MetricMetadata::default() };
            let mut b = RecordBuilder::default();
            b.metadata(&meta);
            let mut bytes = b.finish().to_vec();
            let at = bytes.len() - 3;
            assert_eq!(bytes[at], number as u8, "before two empty texts");
            let kinds = |bytes: &[u8]| {
                let mut kinds = Vec::new();
                let each = |e: Entry<'_>| kinds.extend(if let Entry::Metadata(m) = e { Some(m.kind) } else { None });
                read(bytes, &mut RowReader::default(), each).unwrap();
                kinds
            };
            assert_eq!(kinds(&bytes), [kind]);
            bytes[at] = KINDS.len() as u8;
            assert_eq!(kinds(&bytes), [MetricKind::Unknown]);
        }
    }

    #[test]
    fn samples_with_times_of_their_own_read_back_bit_for_bit() {
        let values = [0.0, -0.0, 1.5, -271.828, 0.1 + 0.2, 1e300, f64::NAN, f64::INFINITY, 9e15, 123.0];
        let samples: Vec<_> = (0..100u32)
            .map(|i| (i * 7 % 50, 1_700_000_000_000 + i64::from(i * i % 977), values[i as usize % values.len()]))
            .collect();
        for n in [1, 2, 3, 100] {
            let mut b = RecordBuilder::default();
            for (id, at, v) in &samples[..n] {
                b.float(*id, *at, *v, 0);
            }
            let mut found = Vec::new();
            let on_entry = |e: Entry<'_>| {
                let Entry::Float(id, at, v, 0) = e else { panic!("{}", said(e)) };
                found.push((id, at, v.to_bits()));
            };
            read(b.finish(), &mut RowReader::default(), on_entry).unwrap();
            assert!(
                found.iter().eq(samples[..n]
                    .iter()
                    .map(|(id, at, v)| (*id, *at, v.to_bits()))
                    .collect::<Vec<_>>()
                    .iter())
            );
        }
    }

    #[test]
    fn a_row_of_small_numbers_costs_few_bytes() {
        let mut b = RecordBuilder::default();
        (0..1000).for_each(|i| b.float(i, 1_700_000_000_000, f64::from(i % 10), 0));
        let bytes = b.finish().len();
        assert!(bytes <= 4000, "{bytes} bytes for 1000 samples");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes, &mut RowReader::default(), |_| ());
        }
    }
}
