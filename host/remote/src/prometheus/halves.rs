//! What an engine refuses as a whole goes in parts: version 1 says not which sample was bad, and Prometheus keeps nothing
//! of a request that has one.
//!
//! Invariant: the samples of a series go in the order of their times; each sample is in one part at a time, and what is
//! given up is counted once; a shipment costs twice [`REFUSALS_MAX`] requests, and never more but for those that had no
//! answer.
//! Not here: requests, what an answer means, what the engine has already.

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
    /// It was sent before, and nobody knows what became of it.
    pub may_be_there: bool,
}

impl Part {
    /// All of a shipment.
    pub fn whole(shipment: Shipment, may_be_there: bool) -> Self {
        Self { shipment, split: 0, is_cut_in_time: false, may_be_there }
    }
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
    /// Of a shipment that was refused: what [`Part::whole`] makes of it is its first part.
    pub fn of(shipment: &Shipment, by: Protocol) -> Self {
        Self {
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
        }
    }

    /// Is it this shipment's? One that was interrupted goes on where it was: parts that were taken are not sent again.
    pub fn is_of(&self, shipment: &Shipment) -> bool {
        self.of == which(shipment)
    }

    /// The part to be sent next; one of [`Halves::taken`], [`Halves::refused`], [`Halves::lacks`] and [`Halves::again`] follows.
    pub fn next(&mut self) -> Option<Part> {
        loop {
            if let Some(part) = self.waiting.pop_front() {
                return Some(part);
            }
            // All series that are good first, then what is good of the others.
            let worth =
                |p: &Part| (p.shipment.series.len() > 1, self.fruitful.contains(&p.split), p.shipment.samples());
            let (best, _) = self.refused.iter().enumerate().max_by_key(|(_, p)| worth(p))?;
            let part = self.refused.swap_remove(best);
            self.refusals_of_series = 0;
            self.split_or_give_up(part);
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
            self.split_or_give_up(part);
        }
    }

    /// The engine refused it, and lacks `missing` of it. The rest was taken when it was sent before.
    pub fn lacks(&mut self, part: Part, missing: Shipment, reason: String) {
        let part = Part { may_be_there: false, ..part };
        if missing.samples() == part.shipment.samples() {
            return self.refused(part, reason);
        }
        self.taken(&part, 0, None);
        if missing != Shipment::default() {
            self.waiting.push_front(Part { shipment: missing, ..part });
        }
    }

    /// Nobody knows what became of it.
    pub fn again(&mut self, part: Part) {
        self.waiting.push_front(Part { may_be_there: true, ..part });
    }

    fn split_or_give_up(&mut self, part: Part) {
        if self.refusals >= REFUSALS_MAX || self.refusals_of_series >= SERIES_REFUSALS_MAX {
            self.gone += part.shipment.samples();
        } else {
            self.split(part);
        }
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
            self.waiting.push_front(Part { shipment, split: self.splits, is_cut_in_time, may_be_there: false });
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use belfry_model::{Labels, Sample, TimestampMs, Value};

    use super::*;
    use crate::engine::SeriesSamples;

    /// Of the shipment.
    const SERIES: i64 = 80;
    const SAMPLES: i64 = 3;
    /// Three bad series among them are found in so many requests, whatever is there already.
    const REQUESTS_MAX: usize = 60;

    fn shipment() -> Shipment {
        shipment_of(SERIES, SAMPLES)
    }

    fn shipment_of(series: i64, samples: i64) -> Shipment {
        let sample = |at| Sample { at: TimestampMs(at), value: Value::Float(0.0), start: None };
        let one = |n: i64| SeriesSamples {
            labels: Labels::from_pairs([("n", n.to_string())]),
            samples: (0..samples).map(sample).collect(),
            exemplars: Vec::new(),
        };
        Shipment { series: (0..series).map(one).collect(), metadata: Vec::new() }
    }

    /// Takes a request whole, or nothing of it when one of its samples is bad or comes before what its series has.
    #[derive(Clone)]
    struct Engine {
        has: BTreeMap<String, Vec<i64>>,
        never: fn(i64) -> bool,
    }

    impl Engine {
        /// With a series that goes on in the middle of the shipment.
        fn new(never: fn(i64) -> bool) -> Self {
            Self { has: BTreeMap::from([("40".to_owned(), vec![1])]), never }
        }

        fn takes(&mut self, request: &Shipment) -> bool {
            let is_bad = |s: &SeriesSamples| {
                let newest = self.has.get(&name(s)).and_then(|times| times.last());
                let is_late = s.samples.first().is_some_and(|s| newest.is_some_and(|newest| s.at.0 < *newest));
                is_late || (self.never)(name(s).parse().expect("a number"))
            };
            if request.series.iter().any(is_bad) {
                return false;
            }
            for s in &request.series {
                let times = self.has.entry(name(s)).or_default();
                times.extend(s.samples.iter().map(|s| s.at.0));
                // The last one once more is no news.
                times.dedup();
            }
            true
        }

        /// What a shipment has that it has not.
        fn lacks(&self, shipment: &Shipment) -> Shipment {
            let mut rest = shipment.clone();
            for s in &mut rest.series {
                let has = self.has.get(&name(s));
                s.samples.retain(|s| has.is_none_or(|times| !times.contains(&s.at.0)));
            }
            rest.series.retain(|s| !s.samples.is_empty());
            rest
        }

        /// It is sent a part.
        fn get(&mut self, halves: &mut Halves, part: Part) {
            if self.takes(&part.shipment) {
                halves.taken(&part, 0, None);
            } else if part.may_be_there {
                let missing = self.lacks(&part.shipment);
                halves.lacks(part, missing, String::new());
            } else {
                halves.refused(part, String::new());
            }
        }
    }

    fn name(series: &SeriesSamples) -> String {
        series.labels.get("n").expect("a name").to_owned()
    }

    /// When a process dies.
    #[derive(Clone, Copy)]
    struct Death {
        at_request: usize,
        /// The engine has seen that request.
        seen: bool,
    }

    /// A process sends the shipment until it is done or dies: the requests (what it asks of one that may be there beside
    /// them), and how much was given up if it was done.
    fn live(engine: &mut Engine, may_be_there: bool, death: Option<Death>) -> (usize, Option<u64>) {
        let mut requests = 0;
        let mut halves = Halves::of(&shipment(), Protocol::V1);
        let mut next = Some(Part::whole(shipment(), may_be_there));
        while let Some(part) = next {
            requests += 1;
            if let Some(death) = death.filter(|death| death.at_request == requests) {
                let _ = death.seen && engine.takes(&part.shipment);
                return (requests, None);
            }
            engine.get(&mut halves, part);
            next = halves.next();
        }
        (requests, Some(halves.gone))
    }

    #[test]
    fn nothing_good_is_lost_at_whatever_request_the_process_dies() {
        // Apart from one another, side by side, and none.
        for never in [|n| n % 37 == 5, |n| n == 70 || n == 71, |_| false] {
            let mut whole = Engine::new(never);
            let (requests, gone) = live(&mut whole, false, None);
            let bad = (0..SERIES).filter(|n| never(*n)).count() as i64;
            // Of the series that goes on, the first sample is late and the second is there.
            assert_eq!(gone, Some((bad * SAMPLES + 1) as u64), "the bounds are wide enough");
            let deaths = |requests, step| {
                let all = (1..=requests).step_by(step);
                all.flat_map(|at_request| [false, true].map(|seen| Death { at_request, seen }))
            };
            for first in deaths(requests, 1) {
                let mut engine = Engine::new(never);
                assert_eq!(live(&mut engine, true, Some(first)).1, None);
                let mut once = engine.clone();
                let (requests, left) = live(&mut once, true, None);
                assert_eq!(once.has, whole.has, "dead at request {}, seen: {}", first.at_request, first.seen);
                assert_eq!(left, gone, "what is there is not given up");
                assert!(requests <= REQUESTS_MAX, "{requests} requests after death at {}", first.at_request);
                // And again, somewhere on the way.
                for second in deaths(requests, 7) {
                    let mut twice = engine.clone();
                    live(&mut twice, true, Some(second));
                    live(&mut twice, true, None);
                    assert_eq!(twice.has, whole.has, "dead at request {} and {}", first.at_request, second.at_request);
                }
            }
        }
    }

    #[test]
    fn what_is_refused_whatever_is_done_takes_a_bounded_number_of_requests() {
        for may_be_there in [false, true] {
            let (requests, gone) = live(&mut Engine::new(|_| true), may_be_there, None);
            assert!(requests <= 2 * REFUSALS_MAX + 2, "{requests}");
            // The engine has one of them.
            let there = i64::from(may_be_there);
            assert_eq!(gone, Some((SERIES * SAMPLES - there) as u64), "all of it is counted, once");
        }
    }

    #[test]
    fn long_series_of_which_half_is_there_get_the_other_half_at_once() {
        let halved = |n: i64| (n.to_string(), (0..500).collect::<Vec<_>>());
        let mut engine = Engine { has: (0..10).map(halved).collect(), never: |_| false };
        let all = shipment_of(10, 1_000);
        let mut halves = Halves::of(&all, Protocol::V1);
        engine.get(&mut halves, Part::whole(all, true));
        let rest = halves.next().expect("the other half");
        engine.get(&mut halves, rest);
        assert!(halves.next().is_none());
        assert!(engine.has.values().all(|times| times.len() == 1_000));
        assert_eq!(halves.outcome(), Ok(Sent::default()), "nothing was refused");
    }

    #[test]
    fn parts_without_an_answer_take_nothing_from_what_others_may_cost() {
        let never = |n| n % 37 == 5;
        let mut whole = Engine::new(never);
        let (requests, _) = live(&mut whole, false, None);
        for (first, second) in
            (1..requests).flat_map(|first| (first + 1..requests + 2).map(move |second| (first, second)))
        {
            let mut engine = Engine::new(never);
            let mut halves = Halves::of(&shipment(), Protocol::V1);
            engine.get(&mut halves, Part::whole(shipment(), false));
            for request in 1.. {
                let Some(part) = halves.next() else { break };
                if request == first || request == second {
                    engine.takes(&part.shipment);
                    halves.again(part);
                } else {
                    engine.get(&mut halves, part);
                }
            }
            assert_eq!(engine.has, whole.has, "no answer to {first} and {second}");
        }
    }
}
