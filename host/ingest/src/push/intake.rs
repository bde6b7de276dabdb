//! A remote-write request from its compressed bytes to the store's answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use belfry_model::{Appended, Batch, Refusal, TimestampMs, WriteError};

use super::decoded::Decoded;
use super::outcome::{Failed, Failure, Place, Refusals, Why, Written};
use super::resolve::Prepared;
use super::v2::Symbols;
use super::{DECODED_BYTES_MAX, Push, v1, v2};
use crate::AppendError;

/// Bytes of a work area's buffers that are kept for the next request.
const KEPT_BYTES_MAX: usize = 2 << 20;
/// A longer body is worked on beside the reactor, which has others to serve.
const INLINE_BYTES_MAX: usize = 256 << 10;
/// Snappy's copies make at most 64 bytes of 3: a block that says more lies.
const SNAPPY_RATIO_MAX: usize = 24;

/// Which message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    One,
    Two,
}

/// Where a request is worked on; reused.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// As it came.
    pub body: Vec<u8>,
    /// Unfolded; the message is its first `length` bytes.
    pub bytes: Vec<u8>,
    pub length: usize,
    pub decoded: Decoded,
    pub symbols: Symbols,
    /// Reference of each of `decoded.series`.
    pub found: Vec<u64>,
    /// Samples of the last request: about as many will come again.
    pub samples_before: usize,
}

impl Scratch {
    /// Gives back what an unusually large request left.
    pub fn tidy(&mut self) {
        self.body.clear();
        if self.body.capacity() > KEPT_BYTES_MAX {
            self.body = Vec::new();
        }
        if self.bytes.capacity() > KEPT_BYTES_MAX {
            self.bytes = Vec::new();
        }
        if self.decoded.series.capacity() * size_of::<super::decoded::SeriesPart>() > KEPT_BYTES_MAX {
            self.decoded = Decoded::default();
            self.symbols = Symbols::default();
            self.found = Vec::new();
        }
        self.samples_before = self.samples_before.min(KEPT_BYTES_MAX / size_of::<f64>());
    }

    /// Unfolds the body.
    fn unfold(&mut self) -> Result<(), Failure> {
        let broken = |e: snap::Error| Failure::NotSnappy(e.to_string());
        let length = unfolded_length(&self.body)?;
        if self.bytes.len() < length {
            self.bytes.resize(length, 0);
        }
        let into = self.bytes.get_mut(..length).unwrap_or_default();
        self.length = snap::raw::Decoder::new().decompress(&self.body, into).map_err(broken)?;
        Ok(())
    }

    fn decode(&mut self, version: Version, keys: &super::Keys) -> Result<(), Failure> {
        self.decoded.clear();
        self.symbols.clear();
        self.decoded.values.reserve(self.samples_before);
        self.decoded.times.reserve(self.samples_before);
        let bytes = self.bytes.get(..self.length).unwrap_or_default();
        match version {
            Version::One => v1::decode(bytes, keys, &mut self.decoded)?,
            Version::Two => v2::decode(bytes, keys, &mut self.symbols, &mut self.decoded)?,
        }
        self.samples_before = self.decoded.values.len();
        Ok(())
    }
}

/// What a snappy block says it unfolds to.
pub(crate) fn unfolded_length(body: &[u8]) -> Result<usize, Failure> {
    let length = snap::raw::decompress_len(body).map_err(|e| Failure::NotSnappy(e.to_string()))?;
    if length > DECODED_BYTES_MAX {
        let text =
            format!("the body unfolds to {length} bytes; at most {DECODED_BYTES_MAX} are taken, send smaller ones");
        return Err(Failure::TooLarge(text));
    }
    if length > body.len().saturating_mul(SNAPPY_RATIO_MAX) {
        return Err(Failure::NotSnappy(format!("{} bytes cannot unfold to {length}", body.len())));
    }
    Ok(length)
}

impl Push {
    /// Takes the request whose body is in `scratch`.
    pub(crate) async fn take(
        self: &Arc<Self>,
        version: Version,
        scratch: Box<Scratch>,
    ) -> Result<(Written, Refusals), Failed> {
        let now = self.clock.now();
        self.counts.requests.fetch_add(1, Ordering::Relaxed);
        self.counts.body_bytes.fetch_add(scratch.body.len() as u64, Ordering::Relaxed);
        self.counts.last.store(now.0, Ordering::Relaxed);
        let outcome = self.take_at(now, version, scratch).await;
        match &outcome {
            Ok((written, refused)) => {
                self.counts.last_samples.store(written.samples + written.histograms, Ordering::Relaxed);
                self.counts.partial.fetch_add(u64::from(refused.any()), Ordering::Relaxed);
            }
            Err(_) => drop(self.counts.failed.fetch_add(1, Ordering::Relaxed)),
        }
        outcome
    }

    async fn take_at(
        self: &Arc<Self>,
        now: TimestampMs,
        version: Version,
        scratch: Box<Scratch>,
    ) -> Result<(Written, Refusals), Failed> {
        let (scratch, prepared) = self.clone().beside(scratch, move |push, scratch| {
            scratch.unfold()?;
            scratch.decode(version, &push.keys)?;
            Ok(push.resolve(now, version, scratch))
        })?;
        let generation = prepared.generation;
        let outcome = self.append(prepared, now).await;
        let unknown = matches!(&outcome, Ok((_, refused)) if refused.unknown > 0);
        if !unknown {
            return self.told(scratch, outcome, now, version);
        }
        // The store has forgotten some of the series. Which ones it does not say: all are opened again, and what was
        // written is there already and accepted again.
        crate::writer::lock(&self.book).clear(generation);
        let (scratch, prepared) = self.clone().beside(scratch, move |push, scratch| {
            scratch.decode(version, &push.keys)?;
            Ok(push.resolve(now, version, scratch))
        })?;
        let outcome = self.append(prepared, now).await;
        self.told(scratch, outcome, now, version)
    }

    /// Names what the store refused: only then the message is read a second time, as its samples have gone to the store.
    fn told(
        self: &Arc<Self>,
        scratch: Box<Scratch>,
        mut outcome: Result<(Written, Refusals), Failed>,
        now: TimestampMs,
        version: Version,
    ) -> Result<(Written, Refusals), Failed> {
        let Ok((_, refused)) = outcome.as_mut() else {
            self.give_back(scratch);
            return outcome;
        };
        if refused.places.is_empty() {
            self.give_back(scratch);
            return outcome;
        }
        let mut named = std::mem::take(refused);
        let (scratch, named) = self.clone().beside(scratch, move |push, scratch| {
            scratch.decode(version, &push.keys)?;
            push.name_refused(now, version, scratch, &mut named);
            Ok(named)
        })?;
        *refused = named;
        self.give_back(scratch);
        outcome
    }

    /// Does the work of the processor, beside the reactor when there is much of it.
    fn beside<T>(
        self: Arc<Self>,
        mut scratch: Box<Scratch>,
        work: impl FnOnce(&Self, &mut Scratch) -> Result<T, Failure> + Send + 'static,
    ) -> Result<(Box<Scratch>, T), Failure> {
        let multi = || tokio::runtime::Handle::current().runtime_flavor() == tokio::runtime::RuntimeFlavor::MultiThread;
        let done = match scratch.body.len() > INLINE_BYTES_MAX && multi() {
            true => tokio::task::block_in_place(|| work(&self, &mut scratch)),
            false => work(&self, &mut scratch),
        };
        match done {
            Ok(result) => Ok((scratch, result)),
            Err(failure) => {
                self.give_back(scratch);
                Err(failure)
            }
        }
    }

    async fn append(&self, prepared: Prepared, now: TimestampMs) -> Result<(Written, Refusals), Failed> {
        let Prepared { floats, histograms, mut refused, .. } = prepared;
        let mut written = Written::default();
        // One after the other, so that each is counted exactly; requests with both are rare.
        for (batch, native) in [(floats, false), (histograms, true)] {
            let Some(mut batch) = batch else { continue };
            batch.durable = self.durable.load(Ordering::Relaxed);
            let appended = match self.append_one(batch, now).await {
                Ok(appended) => appended,
                Err(failure) => return Err(Failed { failure, written }),
            };
            *(if native { &mut written.histograms } else { &mut written.samples }) = appended.accepted;
            written.exemplars += appended.exemplars;
            refused.too_old += appended.too_old;
            refused.duplicate += appended.duplicate;
            refused.unknown += appended.unknown_series;
            refused.ahead += appended.too_far_ahead;
            let all = if native { appended.refused.histograms } else { appended.refused.floats };
            for (why, refusal) in [(Why::TooOld, Refusal::TooOld), (Why::Duplicate, Refusal::Duplicate)] {
                let first = all.iter().find(|(_, of)| *of == refusal);
                refused.places.extend(first.map(|(place, _)| Place { why, native, place: *place }));
            }
        }
        Ok((written, refused))
    }

    async fn append_one(&self, batch: Batch, now: TimestampMs) -> Result<Appended, Failure> {
        self.ingest.append_as_is(batch, now).await.map_err(|e| match e {
            AppendError::Busy { .. } => Failure::Busy,
            AppendError::Malformed { .. } => Failure::Unavailable(e.to_string()),
            AppendError::Store(WriteError::Closed) => Failure::Unavailable("Belfry is shutting down".to_owned()),
            AppendError::Store(e) => Failure::Unavailable(e.to_string()),
        })
    }
}
