//! A target's series by the text that stands for them: what relabelling made of each, and when it was last seen.
//!
//! Invariant: what one answer brings and the next does not is removed after that next one, so a target's memory is
//! bounded by its two last answers.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use belfry_model::SeriesRef;

use crate::exposition::{ExemplarText, series_labels};

/// FNV over eight bytes at a time: texts come from targets that an operator chose, and are compared in full.
#[derive(Default)]
pub(super) struct TextHasher(u64);

impl std::hash::Hasher for TextHasher {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0_u8; 8];
            word.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
            self.0 = (self.0.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }
}

/// What a series' text means.
#[derive(Clone)]
pub(super) struct Slot {
    /// `None`: relabelling drops it, or it cannot be stored.
    pub series: Option<SeriesRef>,
    /// Number of the scrape that made it.
    pub made: u32,
    /// Number of the scrape that saw it last.
    pub seen: u32,
    /// Its line then.
    pub line: u32,
    /// It came with a time of its own: then its end is not ours to tell.
    pub own_time: bool,
    /// The last one it brought, where it brings any.
    pub exemplar: Option<Box<LastExemplar>>,
    text: Arc<str>,
}

impl Slot {
    /// What stands for it.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// An exemplar as it came, to tell whether the next one is news: targets repeat them until there is a new one.
#[derive(Clone)]
pub(super) struct LastExemplar {
    /// As text.
    labels: Box<str>,
    value: f64,
    /// Its own time.
    at: Option<i64>,
}

impl LastExemplar {
    pub fn new(exemplar: &ExemplarText<'_>) -> Self {
        Self { labels: exemplar.labels.into(), value: exemplar.value, at: exemplar.at }
    }

    /// By labels, value and, where one has it, time; as Prometheus compares them.
    pub fn is(&self, exemplar: &ExemplarText<'_>) -> bool {
        self.value.to_bits() == exemplar.value.to_bits()
            && self.at == exemplar.at
            && (*self.labels == *exemplar.labels || series_labels(&self.labels) == series_labels(exemplar.labels))
    }
}

/// By text.
#[derive(Default)]
pub(super) struct Slots {
    by_text: HashMap<Arc<str>, u32, BuildHasherDefault<TextHasher>>,
    slots: Vec<Slot>,
    free: Vec<u32>,
}

impl Slots {
    pub fn find(&self, text: &str) -> Option<u32> {
        self.by_text.get(text).copied()
    }

    pub fn add(&mut self, text: &str, series: Option<SeriesRef>, made: u32) -> u32 {
        let text: Arc<str> = text.into();
        let slot = Slot { series, made, seen: 0, line: u32::MAX, own_time: false, exemplar: None, text: text.clone() };
        let number = match self.free.pop() {
            Some(number) => number,
            None => {
                self.slots.push(slot.clone());
                (self.slots.len() - 1) as u32
            }
        };
        if let Some(place) = self.slots.get_mut(number as usize) {
            *place = slot;
        }
        self.by_text.insert(text, number);
        number
    }

    #[inline]
    pub fn get_mut(&mut self, number: u32) -> Option<&mut Slot> {
        self.slots.get_mut(number as usize)
    }

    /// How many texts are known.
    pub fn len(&self) -> usize {
        self.by_text.len()
    }

    /// Removes what scrape `now` did not see, and calls `gone` with each.
    pub fn sweep(&mut self, now: u32, mut gone: impl FnMut(&Slot)) {
        let (slots, free) = (&self.slots, &mut self.free);
        self.by_text.retain(|_, number| {
            let Some(slot) = slots.get(*number as usize) else { return false };
            if slot.seen == now {
                return true;
            }
            gone(slot);
            free.push(*number);
            false
        });
        for number in &self.free {
            if let Some(slot) = self.slots.get_mut(*number as usize) {
                slot.text = Arc::from("");
                slot.series = None;
                slot.exemplar = None;
            }
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.by_text.values().filter_map(|n| self.slots.get(*n as usize))
    }

    pub fn clear(&mut self) {
        self.by_text.clear();
        self.slots.clear();
        self.free.clear();
    }
}
