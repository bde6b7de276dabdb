//! The front of the queue: records put together to shipments.
//!
//! Invariant: a parcel is of one file; what it says has been sent is remembered only when [`Queue::sent`] is told so; where
//! it ends is remembered, on disk too, before it is handed out. So a parcel that comes again is the same one: an engine
//! that had it already, and refuses it for that, refuses nothing that it never saw.
//! Not here: writing, shedding (`Queue`).

use std::collections::HashMap;

use belfry_model::{Sample, TimestampMs, Value};

use super::Queue;
use super::position::{self, Position};
use super::record::{self, Item, Names};
use super::segment::{self, Next};
use crate::engine::{SeriesSamples, Shipment};

/// Samples of a shipment, about: what Prometheus' own senders use is 2,000, and engines take more at less cost each.
pub const SHIPMENT_SAMPLES: u64 = 10_000;
/// Bytes of records of a shipment, about.
const SHIPMENT_BYTES: usize = 1 << 20;

/// A shipment and where the queue stands once the engine has it.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// What is sent.
    pub shipment: Shipment,
    /// Samples in it.
    pub samples: u64,
    /// When the first record of it was appended.
    pub first_written: TimestampMs,
    /// Samples beside it that cannot be sent.
    nameless: u64,
    last_written: TimestampMs,
    until: Position,
}

/// What is known of the file at the front.
#[derive(Default)]
pub(super) struct Reading {
    file: u64,
    /// The series that it introduces …
    names: Names,
    /// … before this place.
    names_until: u64,
    /// Some of its bytes.
    ahead: Vec<u8>,
    /// The place of the first of them.
    ahead_from: u64,
}

/// The file at the front.
struct Front {
    position: Position,
    end: u64,
    /// Where the shipment ends that was begun here and of which nobody knows what became.
    begun_until: Option<u64>,
    is_last: bool,
}

impl Queue {
    /// The next shipment; `None` when nothing waits. Blocks for as long as the disk takes. Asked again before
    /// [`Queue::sent`], it answers the same samples and no more, after a crash too.
    pub fn next_parcel(&self) -> Option<Parcel> {
        let mut reading = self.reading.lock();
        loop {
            let front = self.front()?;
            if reading.file != front.position.segment {
                *reading = Reading { file: front.position.segment, ..Reading::default() };
            }
            let parcel = self.read_parcel(&mut reading, &front);
            if let Some(parcel) = parcel {
                self.begun(parcel.until);
                return Some(parcel);
            }
            if front.is_last {
                return None;
            }
            // Nothing left here: on to the next file.
            let next = Position { segment: front.position.segment + 1, offset: segment::HEADER_BYTES };
            let mut inner = self.inner.lock();
            inner.position = inner.position.max(next);
            drop(inner);
            self.forget_sent();
        }
    }

    /// A shipment that ends here is about to be sent.
    fn begun(&self, until: Position) {
        if std::mem::replace(&mut self.inner.lock().attempt, until) == until {
            return;
        }
        if let Err(e) = position::save(&*self.disk, &self.config.folder, position::ATTEMPT, until) {
            tracing::warn!("where a shipment for the storage engine ends cannot be written down: {e}");
        }
    }

    /// The engine has everything up to the end of this parcel.
    pub fn sent(&self, parcel: &Parcel) {
        let mut inner = self.inner.lock();
        // Else it was shed meanwhile.
        if inner.position < parcel.until {
            inner.position = parcel.until;
            if parcel.nameless > 0 {
                let samples = parcel.nameless;
                tracing::error!(samples, "samples of series whose beginning in the queue is damaged are skipped");
                inner.stats.nameless += samples;
            }
            inner.stats.waiting_since = (super::waiting(&inner) > 0).then_some(parcel.last_written);
        }
        let position = inner.position;
        drop(inner);
        self.forget_sent();
        if let Err(e) = position::save(&*self.disk, &self.config.folder, position::POSITION, position) {
            tracing::warn!("how far the storage engine has the queue cannot be written down: {e}");
        }
    }

    fn front(&self) -> Option<Front> {
        let mut inner = self.inner.lock();
        let now = inner.position.segment;
        let found = inner.segments.iter().find(|s| s.number >= now).copied()?;
        if found.number > now {
            inner.position = Position { segment: found.number, offset: segment::HEADER_BYTES };
        }
        let is_last = inner.segments.back().is_some_and(|s| s.number == found.number);
        let attempt = Some(inner.attempt).filter(|a| a.segment == found.number && *a > inner.position);
        Some(Front { position: inner.position, end: found.bytes, begun_until: attempt.map(|a| a.offset), is_last })
    }

    /// Reads from the front; what is before it is read for the names alone, once after a start.
    fn read_parcel(&self, reading: &mut Reading, front: &Front) -> Option<Parcel> {
        let begin = front.position.offset.max(segment::HEADER_BYTES);
        let from = begin.min(reading.names_until.max(segment::HEADER_BYTES));
        if begin >= front.end || !self.read_ahead(reading, from, front) {
            return None;
        }
        let mut place = from;
        let mut building = Building::default();
        let mut bytes = 0;
        loop {
            let offset = usize::try_from(place.saturating_sub(reading.ahead_from)).unwrap_or(usize::MAX);
            let (outcome, after) = match segment::next(&reading.ahead, offset) {
                Next::End => break,
                Next::Bad => (Err(Rest::Unreadable), segment::next_record(&reading.ahead, offset)),
                Next::Record(payload, after) => {
                    let wanted = (place >= begin).then_some(&mut building);
                    let outcome = read_record(payload, &self.config.external, &mut reading.names, wanted);
                    if outcome.is_ok() && place >= begin {
                        bytes += payload.len();
                    }
                    (outcome, Some(after))
                }
            };
            let after = after.map_or(front.end, |after| reading.ahead_from + after as u64);
            if matches!(outcome, Err(Rest::OfTheNext)) {
                break;
            }
            if outcome.is_err() {
                // What was read goes first: only then is it known where the engine has everything.
                if building.begun {
                    break;
                }
                if place >= begin {
                    self.damaged(front, place, after);
                }
            }
            place = after;
            reading.names_until = reading.names_until.max(place);
            let is_all_of_it = building.begun && front.begun_until.is_some_and(|until| place >= until);
            if is_all_of_it || building.samples >= SHIPMENT_SAMPLES || bytes >= SHIPMENT_BYTES {
                break;
            }
        }
        if !building.begun {
            return None;
        }
        Some(Parcel {
            samples: building.samples,
            nameless: building.nameless,
            first_written: building.first,
            last_written: building.last,
            shipment: building.finish(),
            until: Position { segment: front.position.segment, offset: place },
        })
    }

    /// Makes sure that the bytes of the file between `from` and its end are there.
    fn read_ahead(&self, reading: &mut Reading, from: u64, front: &Front) -> bool {
        let held_until = reading.ahead_from + reading.ahead.len() as u64;
        if reading.ahead_from <= from && held_until >= front.end {
            return true;
        }
        let path = segment::path(&self.config.folder, front.position.segment);
        let at = if from <= segment::HEADER_BYTES { 0 } else { from };
        match segment::read(&*self.disk, &path, at, Some(front.end)) {
            Ok(bytes) => {
                if at == 0 && !segment::is_ours(&bytes) {
                    // Its records have checksums of their own.
                    self.damaged(front, 0, segment::HEADER_BYTES);
                }
                (reading.ahead, reading.ahead_from) = (bytes, at);
                true
            }
            // Shed meanwhile.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => false,
            Err(e) => {
                tracing::error!("cannot read the queue: {e}");
                self.damaged(front, at, front.end);
                false
            }
        }
    }

    /// A part of a file cannot be read: it is named and skipped.
    fn damaged(&self, front: &Front, at: u64, until: u64) {
        let number = front.position.segment;
        let name = segment::path(&self.config.folder, number);
        let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let which = if until >= front.end { "the rest of it" } else { "what stands there" };
        let left = until.saturating_sub(at);
        let what = format!("{name} is damaged at byte {at}; {which} ({left} bytes) is skipped");
        tracing::error!("the queue for the storage engine: {what}");
        let mut inner = self.inner.lock();
        inner.stats.damaged += 1;
        inner.stats.damage = Some(what);
        // Nothing more may be written behind what cannot be read.
        if inner.segments.back().is_some_and(|s| s.number == number) {
            inner.writing = None;
        }
        inner.position = inner.position.max(Position { segment: number, offset: until });
    }
}

/// Why a record is not taken into a shipment.
enum Rest {
    /// Its checksum is right, and it cannot be read.
    Unreadable,
    /// It has floats of a series of which the shipment has native histograms, or the other way round: its end, as a rule.
    /// Prometheus keeps a request's floats first, and then finds the histograms too old, without a word.
    OfTheNext,
}

fn read_record(
    payload: &[u8],
    external: &belfry_model::Labels,
    names: &mut Names,
    mut building: Option<&mut Building>,
) -> Result<(), Rest> {
    let mut items = Vec::new();
    let head = record::decode(payload, external, names, |item| items.push(item)).map_err(|_| Rest::Unreadable)?;
    if let Some(building) = &mut building {
        if building.has_other_kinds(&items) {
            return Err(Rest::OfTheNext);
        }
        building.written(head.written);
        items.into_iter().for_each(|item| building.add(item, names));
    }
    Ok(())
}

/// A shipment in the making.
#[derive(Default)]
struct Building {
    shipment: Shipment,
    /// Place in `shipment.series` by the file's number.
    places: HashMap<u32, usize>,
    samples: u64,
    first: TimestampMs,
    last: TimestampMs,
    begun: bool,
    has_histograms: bool,
    /// Samples of series that nothing has introduced.
    nameless: u64,
}

impl Building {
    fn written(&mut self, at: TimestampMs) {
        if !std::mem::replace(&mut self.begun, true) {
            self.first = at;
        }
        self.last = at;
    }

    /// Is there a series of which it has native histograms and these are floats, or the other way round?
    fn has_other_kinds(&self, items: &[Item]) -> bool {
        let is_histogram = |sample: &Sample| matches!(sample.value, Value::Histogram(_));
        let mut samples = items.iter().filter_map(|item| match item {
            Item::Sample(id, sample) => Some((id, is_histogram(sample))),
            _ => None,
        });
        (self.has_histograms || samples.clone().any(|(_, is_histogram)| is_histogram))
            && samples.any(|(id, kind)| {
                let known = self.places.get(id).and_then(|place| self.shipment.series.get(*place));
                known.and_then(|s| s.samples.last()).is_some_and(|before| is_histogram(before) != kind)
            })
    }

    fn add(&mut self, item: Item, names: &Names) {
        self.has_histograms |= matches!(&item, Item::Sample(_, Sample { value: Value::Histogram(_), .. }));
        match item {
            Item::Metadata(m) => self.shipment.metadata.push(m),
            Item::Sample(id, sample) => match self.series(id, names) {
                Some(series) => {
                    series.samples.push(sample);
                    self.samples += 1;
                }
                None => self.nameless += 1,
            },
            Item::Exemplar(id, exemplar) => {
                if let Some(series) = self.series(id, names) {
                    series.exemplars.push(exemplar);
                }
            }
        }
    }

    fn series(&mut self, id: u32, names: &Names) -> Option<&mut SeriesSamples> {
        let place = match self.places.get(&id) {
            Some(place) => *place,
            None => {
                let labels = names.get(&id)?.clone();
                self.shipment.series.push(SeriesSamples { labels, ..SeriesSamples::default() });
                let place = self.shipment.series.len() - 1;
                self.places.insert(id, place);
                place
            }
        };
        self.shipment.series.get_mut(place)
    }

    /// Samples of a series go in the order of their times; the first of a time wins, as in the store.
    fn finish(mut self) -> Shipment {
        for s in &mut self.shipment.series {
            if !s.samples.windows(2).all(|w| matches!(w, [a, b] if a.at < b.at)) {
                s.samples.sort_by_key(|sample| sample.at);
                s.samples.dedup_by_key(|sample| sample.at);
            }
            s.exemplars.sort_by_key(|e| e.at);
        }
        self.shipment
    }
}
