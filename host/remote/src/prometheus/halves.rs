//! What an engine refuses as a whole goes in parts: version 1 says not which sample was bad, and Prometheus keeps nothing
//! of a request that has one.
//!
//! Invariant: the samples of a series go in the order of their times; each sample is in one part at a time, and what is
//! given up is counted once; a shipment costs twice [`REFUSALS_MAX`] requests, never more.
//! Not here: requests, what an answer means.

use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::Protocol;
use crate::engine::{SendError, Sent, Shipment};

/// So many requests of a shipment may be refused before what is left is given up: enough to find three or four bad series
/// among a thousand. A shipment that is refused whatever is done with it shall not hold up those behind it.
pub(super) const REFUSALS_MAX: usize = 64;
/// Of these, so many for the samples of one series: it shall not take what others need.
const SERIES_REFUSALS_MAX: usize = 16;

/// A part of a shipment.
pub(super) struct Part {
    pub shipment: Shipment,
    /// Which split made it.
    split: usize,
    /// It has some of a series' samples.
    is_cut_in_time: bool,
}

/// A shipment on its way in parts.
pub(super) struct Halves {
    /// Which shipment it is.
    of: u64,
    /// How its parts go.
    pub by: Protocol,
    /// To be sent, the first one first.
    waiting: VecDeque<Part>,
    /// Refused, and to be split once nothing waits.
    refused: Vec<Part>,
    /// Splits of which a part was taken: what is bad is in the other one, which is split first.
    fruitful: HashSet<usize>,
    splits: usize,
    refusals: usize,
    refusals_of_series: usize,
    left_out: u64,
    gone: u64,
    reason: String,
}

impl Halves {
    /// Of a shipment that was refused.
    pub fn of(shipment: &Shipment, by: Protocol, reason: String) -> Self {
        let mut halves = Self {
            of: which(shipment),
            by,
            waiting: VecDeque::new(),
            refused: Vec::new(),
            fruitful: HashSet::new(),
            splits: 0,
            refusals: 0,
            refusals_of_series: 0,
            left_out: 0,
            gone: 0,
            reason: String::new(),
        };
        halves.refused(Part { shipment: shipment.clone(), split: 0, is_cut_in_time: false }, reason);
        halves
    }

    /// Is it this shipment's? One that was interrupted goes on where it was: parts that were taken are not sent again.
    pub fn is_of(&self, shipment: &Shipment) -> bool {
        self.of == which(shipment)
    }

    /// The part to be sent next; one of [`Halves::taken`], [`Halves::refused`] and [`Halves::again`] follows.
    pub fn next(&mut self) -> Option<Part> {
        loop {
            if let Some(part) = self.waiting.pop_front() {
                return Some(part);
            }
            if self.refusals >= REFUSALS_MAX {
                self.gone += self.refused.drain(..).map(|p| p.shipment.samples()).sum::<u64>();
                return None;
            }
            // All series that are good first, then what is good of the others.
            let worth =
                |p: &Part| (p.shipment.series.len() > 1, self.fruitful.contains(&p.split), p.shipment.samples());
            let (best, _) = self.refused.iter().enumerate().max_by_key(|(_, p)| worth(p))?;
            let part = self.refused.swap_remove(best);
            self.refusals_of_series = 0;
            self.split(part);
        }
    }

    /// The engine has it, without `refused` of its samples.
    pub fn taken(&mut self, part: &Part, left_out: u64, refused: Option<(u64, String)>) {
        self.fruitful.insert(part.split);
        self.left_out += left_out;
        if let Some((samples, reason)) = refused {
            self.gone += samples;
            self.reason = reason;
        }
    }

    /// The engine has nothing of it.
    pub fn refused(&mut self, part: Part, reason: String) {
        self.reason = reason;
        self.refusals += 1;
        let has_one_series = part.shipment.series.len() <= 1;
        if has_one_series && part.shipment.samples() <= 1 {
            self.gone += part.shipment.samples();
        } else if !part.is_cut_in_time {
            self.refused.push(part);
        } else {
            // Its second half waits for this one: later samples must not go before earlier ones.
            self.refusals_of_series += 1;
            if self.refusals >= REFUSALS_MAX || self.refusals_of_series >= SERIES_REFUSALS_MAX {
                self.gone += part.shipment.samples();
            } else {
                self.split(part);
            }
        }
    }

    /// Nobody knows what became of it.
    pub fn again(&mut self, part: Part) {
        self.waiting.push_front(part);
    }

    fn split(&mut self, part: Part) {
        self.splits += 1;
        let mut first = part.shipment;
        let mut second = Shipment::default();
        let is_cut_in_time = match &mut first.series[..] {
            [series] => {
                let mut later = series.clone();
                later.samples = series.samples.split_off(series.samples.len() / 2);
                let from = later.samples.first().map(|s| s.at);
                series.exemplars.retain(|e| from.is_none_or(|from| e.at < from));
                later.exemplars.retain(|e| from.is_some_and(|from| e.at >= from));
                second.series.push(later);
                true
            }
            all => {
                let middle = all.len() / 2;
                second.series = first.series.split_off(middle);
                false
            }
        };
        for shipment in [second, first] {
            self.waiting.push_front(Part { shipment, split: self.splits, is_cut_in_time });
        }
    }

    /// What became of all of it.
    pub fn outcome(self) -> Result<Sent, SendError> {
        match self.gone {
            0 => Ok(Sent { left_out: self.left_out }),
            gone => Err(SendError::Refused { reason: self.reason, samples: Some(gone + self.left_out) }),
        }
    }
}

/// Tells shipments apart, and knows the same one again.
fn which(shipment: &Shipment) -> u64 {
    let mut hasher = DefaultHasher::new();
    for s in &shipment.series {
        s.labels.hash(&mut hasher);
        s.samples.len().hash(&mut hasher);
        s.samples.iter().for_each(|sample| sample.at.0.hash(&mut hasher));
    }
    hasher.finish()
}
