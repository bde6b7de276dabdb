//! What fuzzers begin with: each made by the code that writes the format, with one of everything in it.
//!
//! Not here: files of older versions. Those are the golden ones of `tests/golden`.

use std::path::Path;
use std::sync::Arc;

use belfry_model::sample::{Histogram, Sample, Value};
use belfry_model::{Labels, SampleBuf, TimestampMs};

use crate::block::{BlockMeta, BlockWriter, Gone};
use crate::chunk;
use crate::disk::{Disk, SimDisk};
use crate::downsample::downsample;
use crate::values::{Effort, ValueEncoder};

/// Kinds of columns; the last has histograms.
const KINDS: u32 = 6;
/// The value of a column's sample.
type Of = fn(i64) -> f64;

/// So many columns, each with its length, that they have every form.
const COLUMNS: &[(Of, i64)] = &[
    (|_| 1.0, 3),
    (|i| i as f64, 9),
    (|i| (i * i) as f64, 40),
    (|i| (i as f64).sin(), 12),
    (|i| (i / 50) as f64, 200),
    (|i| (i * 7919 % 31) as f64 / 10.0, 500),
    (|i| if i % 11 == 0 { f64::NAN } else { i as f64 / 4.0 }, 60),
    (|i| ((i * 7919) % 4001) as f64 / 1000.0, 400),
    (|i| 1.0 + ((i * 7919) % 13) as f64 * f64::EPSILON, 400),
];

/// Samples of one kind.
fn column(kind: u32, samples: i64) -> SampleBuf {
    let mut buf = SampleBuf::default();
    for i in 0..samples {
        let at = TimestampMs(i * 15_000);
        let value = match kind {
            0 => Value::Float(1.0),
            1 => Value::Float((i * i) as f64),
            2 => Value::Float((i as f64).sin()),
            3 => Value::Float((i / 300) as f64),
            4 => Value::Float((i * 7919 % 31) as f64 / 10.0),
            _ if i > 20 => break,
            _ => Value::Histogram(Arc::new(Histogram { count: i as f64, ..Histogram::default() })),
        };
        buf.push(&Sample { at, value, start: (kind == 4).then_some(TimestampMs(5)) });
    }
    buf
}

/// A block with every kind of column of so many samples, downsampled unless the resolution is 0.
pub fn block(samples: i64, resolution: i64) -> Vec<u8> {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::default());
    let write = || {
        let mut w = BlockWriter::create(disk.clone(), Path::new("/"), 1, Effort::Small, resolution)?;
        for kind in 0..KINDS {
            let mut buf = column(kind, samples);
            let labels = Labels::from_pairs([("__name__", "m".to_owned()), ("kind", kind.to_string())]);
            if resolution > 0 {
                let all = std::mem::take(&mut buf);
                downsample(&labels, &all, resolution, &mut buf);
            }
            w.add(&labels, &buf)?;
        }
        w.seal(BlockMeta::default())?.publish()?;
        disk.read(Path::new("/0000000001.block"))
    };
    write().map(|bytes| bytes.to_vec()).unwrap_or_default()
}

/// For [`super::block_index`]: the index of each of these blocks, and of one of now.
pub fn indexes(blocks: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let now = block(30, 0);
    blocks.iter().chain([&now]).filter_map(|b| index(b)).collect()
}

/// The sections one after the other, the ends of the first three before them.
fn index(block: &[u8]) -> Option<Vec<u8>> {
    let (mut ends, mut sections) = (Vec::new(), Vec::new());
    for place in super::section_places(block)? {
        sections.extend_from_slice(block.get(place)?);
        ends.push(u16::try_from(sections.len()).ok()?);
    }
    ends.pop();
    Some(ends.into_iter().flat_map(u16::to_le_bytes).chain(sections).collect())
}

/// For [`super::values`].
pub fn values() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for (of, samples) in COLUMNS {
        let column: Vec<f64> = (0..*samples).map(of).collect();
        for effort in [Effort::Quick, Effort::Small] {
            let mut bytes = vec![0; super::VALUES_HEAD_BYTES];
            bytes[0] = ValueEncoder::default().put(&column, effort, &mut bytes);
            bytes[1..3].copy_from_slice(&(column.len() as u16 - 1).to_le_bytes());
            all.push(bytes);
        }
    }
    all.sort();
    all.dedup();
    all
}

/// For [`super::chunk_1`].
pub fn chunks_1() -> Vec<Vec<u8>> {
    let chunk = |kind| {
        let buf = column(kind, 120);
        chunk::Encoder::default().encode(&buf, 0, buf.len())
    };
    (0..KINDS).map(chunk).collect()
}

/// For [`super::deleted`].
pub fn deleted() -> Vec<Vec<u8>> {
    let mut gone = Gone::default();
    for series in [0, 1, 7, 300] {
        for span in 0..3 {
            gone.add(series, 1_700_000_000_000 + span * 60_000, 1_700_000_000_000 + span * 60_000 + 30_000);
        }
    }
    gone.add(u32::MAX, i64::MIN, i64::MAX);
    vec![gone.to_bytes(), Gone::default().to_bytes()]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use belfry_model::TimeRange;

    use super::*;
    use crate::codec::Reader;
    use crate::values::ValueDecoder;

    #[test]
    fn indexes_name_all_series() {
        for bytes in indexes(&[block(500, 60_000)]) {
            super::super::block_index(&bytes);
            let index = super::super::index(&bytes, 3).expect("an index");
            assert_eq!(index.len(), Ok(KINDS));
            let series = index.series(3).expect("a series");
            assert_eq!(series.labels.get("kind"), Some("3"));
            assert_eq!(index.find(&series.labels), Ok(Some(3)));
            assert_eq!(index.of("kind", "3").expect("a posting").len(), 1);
        }
    }

    #[test]
    fn values_have_every_form_and_are_read_whole() {
        let mut forms = BTreeSet::new();
        for bytes in values() {
            super::super::values(&bytes);
            let n = usize::from(u16::from_le_bytes([bytes[1], bytes[2]])) + 1;
            let mut read = Vec::new();
            let mut reader = Reader::new(&bytes[super::super::VALUES_HEAD_BYTES..]);
            ValueDecoder::default().read(&mut reader, bytes[0], n, &mut read).expect("well-formed");
            assert_eq!(read.len(), n);
            forms.insert(bytes[0]);
        }
        assert_eq!(forms.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn chunks_and_notes_of_what_was_deleted_are_read_whole() {
        for (kind, bytes) in (0..).zip(chunks_1()) {
            let mut buf = SampleBuf::default();
            chunk::decode(&bytes, TimeRange::ALL, &mut buf).expect("well-formed");
            assert_eq!(buf.times, column(kind, 120).times);
        }
        for bytes in deleted() {
            super::super::deleted(&bytes);
            assert!(Gone::from_bytes(&bytes).is_ok());
        }
    }
}
