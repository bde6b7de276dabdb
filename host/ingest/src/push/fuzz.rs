//! Doors for fuzzers: each takes any bytes, and must neither panic nor use memory beyond the bounds of a request.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use belfry_model::{
    Appended, Batch, Clock, Labels, MetricMetadata, Sample, SeriesRef, TimestampMs, WriteError, Writer,
};

use super::decoded::{Decoded, LabelsAt};
use super::import::{Backfill, Backfilled, Import, Wishes};
use super::intake::unfolded_length;
use super::key::Keys;
use super::labels::Pairs;
use super::v2::Symbols;
use super::wire::Malformed;
use super::{labels, v1, v2};
use crate::beside::{HELP_BYTES_MAX, cut_bytes, fits};
use crate::exposition::TextFormat;
use crate::writer::{Ingest, IngestLimits};

/// The body of a remote write 1.0, unfolded.
pub fn remote_write_1(bytes: &[u8]) {
    let mut decoded = Decoded::default();
    if v1::decode(bytes, &Keys::default(), &mut decoded).is_ok() {
        look_up(&decoded, bytes, |named| labels::pairs_v1(named, 1));
    }
}

/// The body of a remote write 2.0, unfolded.
pub fn remote_write_2(bytes: &[u8]) {
    let (mut decoded, mut symbols) = (Decoded::default(), Symbols::default());
    if v2::decode(bytes, &Keys::default(), &mut symbols, &mut decoded).is_ok() {
        look_up(&decoded, bytes, |refs| symbols.pairs(bytes, refs));
        for at in decoded.series.iter().filter_map(|s| s.metadata) {
            for reference in [at.help, at.unit] {
                let text = symbols.text(bytes, u64::from(reference)).unwrap_or_default();
                // A character that is cut becomes another, of up to three bytes.
                assert!(cut_bytes(text, HELP_BYTES_MAX).len() <= 3 * (HELP_BYTES_MAX + 1));
            }
        }
    }
}

/// What naming and exemplars go through. Refusing them is as good as taking them.
fn look_up<'a>(decoded: &'a Decoded, bytes: &'a [u8], pairs: impl Fn(&'a [u8]) -> Result<Pairs<'a>, Malformed>) {
    let found = |at: LabelsAt| {
        let from = if at.gathered { decoded.gathered.as_slice() } else { bytes };
        from.get(at.range()).and_then(|named| pairs(named).ok())
    };
    for pairs in decoded.series.iter().filter_map(|s| found(s.labels)) {
        let _ = labels::checked_series(pairs);
    }
    for pairs in decoded.exemplars.iter().filter_map(|e| found(e.labels)) {
        if fits(pairs.iter().copied()) {
            let _ = labels::checked(pairs);
        }
    }
}

/// The body of a remote write 1.0 as it comes.
pub fn remote_write_body(bytes: &[u8]) {
    let Ok(length) = unfolded_length(bytes) else { return };
    let mut unfolded = vec![0; length];
    if snap::raw::Decoder::new().decompress(bytes, &mut unfolded).is_ok() {
        remote_write_1(&unfolded);
    }
}

/// The body of an import. The first byte says its format (1: OpenMetrics), whether it is packed (2), and whether old
/// samples go another way (4).
pub fn import(bytes: &[u8]) {
    let Some((wish, body)) = bytes.split_first() else { return };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() else { return };
    let _entered = runtime.enter();
    let ingest = Arc::new(Ingest::new(Arc::new(Nowhere), IngestLimits::default()));
    let begin: super::import::BeginBackfill = Box::new(|_| Box::new(Nowhere));
    let import = Import::new(ingest, Arc::new(Nowhere), (wish & 4 != 0).then_some(begin));
    let wishes =
        Wishes { format: (wish & 1 != 0).then_some(TextFormat::OpenMetrics), gzip: wish & 2 != 0, ..Wishes::default() };
    // Refusing it is as good as taking it.
    let _ = import.take(body, &wishes);
}

/// Takes everything and keeps nothing; it is always the same time.
struct Nowhere;

#[async_trait]
impl Writer for Nowhere {
    fn open(&self, _: &Labels) -> Result<SeriesRef, WriteError> {
        Ok(SeriesRef(1))
    }

    async fn append(&self, batch: Batch) -> Result<Appended, WriteError> {
        Ok(Appended { accepted: batch.refs.len() as u64, ..Appended::default() })
    }

    fn declare(&self, _: MetricMetadata) {}
}

impl Backfill for Nowhere {
    fn push(&mut self, _: &Labels, _: Sample) -> Result<(), WriteError> {
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Backfilled, WriteError> {
        Ok(Backfilled::default())
    }
}

impl Clock for Nowhere {
    fn now(&self) -> TimestampMs {
        TimestampMs(1_700_000_000_000)
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}
