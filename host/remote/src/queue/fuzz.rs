//! Doors for fuzzers: each takes any bytes, and must neither panic nor use memory beyond what the bytes can hold.

use std::path::Path;
use std::sync::Arc;

use belfry_model::{Exemplar, Histogram, Labels, MetricMetadata, TimestampMs};
use belfry_store::disk::{Disk, SimDisk};

use super::record::{self, Names, RecordBuilder};
use super::{Queue, QueueConfig, segment};

/// The payload of one record. What is told of its beginning must be what reading it whole tells.
///
/// # Panics
/// When it is not: that is a defect.
pub fn record(bytes: &[u8]) {
    let external = Labels::from_pairs([("replica", "a")]);
    if let Ok(head) = record::decode(bytes, &external, &mut Names::new(), drop) {
        assert_eq!(record::head(bytes), Ok(head));
    }
}

/// A queue's only file. The checksums that a mutation broke are made right, so that what is behind them is read.
///
/// # Panics
/// When reading does not come to an end: that is a defect.
pub fn file(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    mend(&mut bytes);
    let (disk, folder) = (SimDisk::default(), Path::new("/q"));
    let written = disk
        .create_dir_all(folder)
        .and_then(|()| disk.create(&segment::path(folder, 1)))
        .and_then(|file| file.append(&bytes));
    let config = QueueConfig {
        folder: folder.into(),
        bytes_max: 1 << 20,
        sync_each: false,
        sync: false,
        external: Labels::empty(),
    };
    if written.is_err() {
        return;
    }
    let Ok(queue) = Queue::open(config, Arc::new(disk)) else { return };
    // A parcel has at least one byte of the file.
    for _ in 0..=bytes.len() {
        let Some(parcel) = queue.next_parcel() else { return };
        queue.sent(&parcel);
    }
    panic!("more parcels than bytes");
}

fn mend(bytes: &mut [u8]) {
    let mut at = segment::HEADER_BYTES as usize;
    while let Some(length) = bytes.get(at..).and_then(<[u8]>::first_chunk::<4>).map(|l| u32::from_le_bytes(*l) as usize)
    {
        let begin = at + segment::FRAME_BYTES;
        let Some(crc) = bytes.get(begin..begin.saturating_add(length)).map(crc32fast::hash) else { return };
        bytes[at + 4..begin].copy_from_slice(&crc.to_le_bytes());
        at = begin + length;
    }
}

/// Payloads with one of everything.
pub fn records() -> Vec<Vec<u8>> {
    let at = TimestampMs(1_700_000_000_000);
    let labels = |name: &str| Labels::from_pairs([("__name__", name), ("job", "a")]);
    let histogram = Arc::new(Histogram { count: 3.0, positive_counts: vec![1.0, 2.0], ..Histogram::default() });
    let exemplar = Exemplar { labels: Labels::from_pairs([("trace_id", "7")]), value: 1.5, at };
    let metadata = MetricMetadata { name: "up".into(), help: "Is it?".into(), ..MetricMetadata::default() };
    let (mut first, mut second) = (RecordBuilder::default(), RecordBuilder::default());
    first.series(&[(1, labels("up")), (2, labels("h"))]);
    first.floats(at, &[(1, 1.0), (2, -0.0)]);
    first.histograms(&[(2, at, None, histogram.clone()), (2, at, Some(at), histogram)]);
    first.exemplars(&[(1, exemplar)]);
    first.metadata(&[metadata]);
    second.floats_each(&[(1, TimestampMs(-5), f64::INFINITY)]);
    second.floats_starts(&[(1, at, TimestampMs(9), 2.0)]);
    [first, second].into_iter().filter_map(|r| r.finish(at)).map(|(payload, _)| payload).collect()
}

/// A file with these records.
pub fn files() -> Vec<Vec<u8>> {
    let framed = records().iter().map(|r| segment::frame(r)).collect::<Vec<_>>();
    vec![[segment::header(), &framed.concat()].concat()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_are_read_whole() {
        let mut names = Names::new();
        let mut items = 0;
        for payload in records() {
            record(&payload);
            record::decode(&payload, &Labels::empty(), &mut names, |_| items += 1).expect("well-formed");
        }
        assert_eq!((names.len(), items), (2, 8));
        for bytes in files() {
            assert_eq!(segment::whole_bytes(&bytes), bytes.len());
            file(&bytes);
        }
    }

    #[test]
    fn what_a_mutation_broke_is_made_right() {
        let mut bytes = files().remove(0);
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert!(segment::whole_bytes(&bytes) < bytes.len());
        mend(&mut bytes);
        assert_eq!(segment::whole_bytes(&bytes), bytes.len());
    }
}
