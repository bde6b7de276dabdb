//! Late samples and histograms of one series that are not in a block yet.
//!
//! Invariant: the samples of a [`Run`] have ascending, distinct times; its sealed chunks lie one behind the other and
//! before its tail.
//! Not here: which series it is, blocks, limits (`head`).

use std::sync::Arc;

use belfry_model::sample::Histogram;
use belfry_model::{SampleBuf, TimeRange, TimestampMs};

use crate::chunk::{self, Encoder};
use crate::codec::{Corrupt, same_histogram};
use crate::tail::{TAIL_SAMPLES, Tail};

/// Sealed chunks are joined up to this many samples: each costs some 80 bytes beside its samples.
pub const HEAD_CHUNK_SAMPLES: usize = 8 * TAIL_SAMPLES;

/// One sample by reference.
#[derive(Clone, Copy, Debug)]
pub struct Point<'a> {
    /// When.
    pub at: i64,
    /// What; a histogram's sum.
    pub value: f64,
    /// Start timestamp; 0 for "not known".
    pub start: i64,
    /// The histogram, if it is one.
    pub histogram: Option<&'a Arc<Histogram>>,
}

impl Point<'_> {
    /// Is it this value? Start timestamps do not count.
    pub fn is(&self, value: f64, histogram: Option<&Arc<Histogram>>) -> bool {
        match (self.histogram, histogram) {
            (None, None) => self.value.to_bits() == value.to_bits(),
            (Some(a), Some(b)) => same_histogram(a, b),
            _ => false,
        }
    }

    /// Is it what stands at `i`?
    pub fn is_at(&self, buf: &SampleBuf, i: usize) -> bool {
        self.is(buf.floats[i], buf.histograms.get(i).and_then(Option::as_ref))
    }

    /// The range that holds its time alone.
    pub fn instant(&self) -> Option<TimeRange> {
        TimeRange::inclusive(TimestampMs(self.at), TimestampMs(self.at))
    }

    /// About how much memory it takes among late samples and histograms.
    pub fn bytes(&self) -> usize {
        16 + self.histogram.map_or(0, |h| (h.positive_counts.len() + h.negative_counts.len()) * 8 + 160)
    }

    fn insert(&self, buf: &mut SampleBuf, i: usize) {
        let n = buf.times.len();
        buf.times.insert(i, self.at);
        buf.floats.insert(i, self.value);
        if self.histogram.is_some() {
            buf.histograms.resize(n, None);
        }
        if self.histogram.is_some() || !buf.histograms.is_empty() {
            buf.histograms.insert(i, self.histogram.cloned());
        }
        if self.start != 0 {
            buf.starts.resize(n, 0);
        }
        if self.start != 0 || !buf.starts.is_empty() {
            buf.starts.insert(i, self.start);
        }
    }
}

/// What stands at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// No sample.
    Nothing,
    /// The same value.
    Same,
    /// Another value.
    Other,
    /// Samples were around it that are gone: nobody can say whether it was one of them.
    Downsampled,
}

impl Standing {
    /// Among samples in order.
    pub fn at(buf: &SampleBuf, p: &Point<'_>) -> Self {
        match buf.times.binary_search(&p.at) {
            Err(_) => Self::Nothing,
            Ok(i) if p.is_at(buf, i) => Self::Same,
            Ok(_) => Self::Other,
        }
    }
}

/// A compressed piece of a run.
#[derive(Clone)]
pub struct Sealed {
    min: i64,
    max: i64,
    count: u32,
    bytes: Arc<[u8]>,
}

/// Samples in order of time: sealed chunks, then a tail that is not compressed yet.
#[derive(Clone, Default)]
pub struct Run {
    sealed: Vec<Sealed>,
    tail: Tail,
}

impl Run {
    /// Time of the first sample.
    pub fn min(&self) -> Option<i64> {
        self.sealed.first().map(|c| c.min).or(self.tail.times().first().copied())
    }

    /// Time of the last sample.
    pub fn max(&self) -> Option<i64> {
        self.tail.times().last().copied().or(self.sealed.last().map(|c| c.max))
    }

    /// How many compressed chunks.
    pub fn chunks(&self) -> usize {
        self.sealed.len()
    }

    /// How many samples within `range`, assuming that they are evenly spread within a chunk.
    pub fn estimate(&self, range: TimeRange) -> u64 {
        let of = |c: &Sealed| estimate(c.min, c.max, c.count, range);
        let tail = self.tail.within(range.start().0, range.end().0).len();
        self.sealed.iter().map(of).sum::<u64>() + tail as u64
    }

    /// Adds a sample later than all sealed ones. Nothing may stand at its time.
    pub fn push(&mut self, p: &Point<'_>, encoder: &mut Encoder) {
        self.tail.insert(p);
        if self.tail.is_full() {
            let mut buf = std::mem::take(&mut encoder.samples);
            buf.clear();
            std::mem::take(&mut self.tail).append_to(0..TAIL_SAMPLES, &mut buf);
            self.sealed.push(seal(&buf, 0, buf.len(), encoder));
            encoder.samples = buf;
            self.join(encoder);
        }
    }

    /// Adds a sample anywhere. Nothing may stand at its time.
    pub fn insert(&mut self, p: &Point<'_>, encoder: &mut Encoder) -> Result<(), Corrupt> {
        if self.sealed.last().is_none_or(|c| c.max < p.at) {
            self.push(p, encoder);
            return Ok(());
        }
        // The chunk that spans the time, or the one before the gap that it falls into.
        let i = self.sealed.partition_point(|c| c.min <= p.at).saturating_sub(1);
        let mut buf = SampleBuf::default();
        chunk::decode(&self.sealed[i].bytes, TimeRange::ALL, &mut buf)?;
        let at = buf.times.partition_point(|t| *t < p.at);
        p.insert(&mut buf, at);
        let n = buf.len();
        if n > HEAD_CHUNK_SAMPLES {
            let parts = [seal(&buf, 0, n / 2, encoder), seal(&buf, n / 2, n, encoder)];
            self.sealed.splice(i..=i, parts);
        } else {
            self.sealed[i] = seal(&buf, 0, n, encoder);
        }
        Ok(())
    }

    /// What stands at the sample's time.
    pub fn standing(&self, p: &Point<'_>) -> Result<Standing, Corrupt> {
        let i = self.sealed.partition_point(|c| c.max < p.at);
        let Some(c) = self.sealed.get(i) else { return Ok(self.tail.standing(p)) };
        if c.min > p.at {
            return Ok(Standing::Nothing);
        }
        let mut buf = SampleBuf::default();
        chunk::decode(&c.bytes, TimeRange::ALL, &mut buf)?;
        Ok(Standing::at(&buf, p))
    }

    /// Appends the samples within `range` to `into`, whose last time must be before them.
    pub fn decode(&self, range: TimeRange, into: &mut SampleBuf) -> Result<(), Corrupt> {
        for c in &self.sealed {
            if c.min < range.end().0 && c.max >= range.start().0 {
                chunk::decode(&c.bytes, range, into)?;
            }
        }
        self.tail.append_to(self.tail.within(range.start().0, range.end().0), into);
        Ok(())
    }

    /// Are there samples within `range`?
    pub fn overlaps(&self, range: TimeRange) -> bool {
        // A chunk that only spans the range may have a gap there; "may have samples" is all that is promised.
        self.sealed.iter().any(|c| c.min < range.end().0 && c.max >= range.start().0)
            || !self.tail.within(range.start().0, range.end().0).is_empty()
    }

    /// The part that a read of `range` needs; `None` when it has no samples there.
    pub fn snapshot(&self, range: TimeRange) -> Option<Self> {
        let overlaps = |c: &&Sealed| c.min < range.end().0 && c.max >= range.start().0;
        let sealed: Vec<_> = self.sealed.iter().filter(overlaps).cloned().collect();
        // A tail that is only partly asked for comes whole: reading cuts it.
        let tail = !self.tail.within(range.start().0, range.end().0).is_empty();
        let tail = if tail { self.tail.clone() } else { Tail::default() };
        (!sealed.is_empty() || !tail.is_empty()).then_some(Self { sealed, tail })
    }

    /// Small chunks in a row become one.
    fn join(&mut self, encoder: &mut Encoder) {
        let n = self.sealed.len();
        let Some(from) = n.checked_sub(HEAD_CHUNK_SAMPLES / TAIL_SAMPLES) else { return };
        if self.sealed[from..].iter().any(|c| c.count as usize != TAIL_SAMPLES) {
            return;
        }
        let mut buf = SampleBuf::default();
        for c in &self.sealed[from..] {
            // What was just encoded can be decoded; were it not so, the chunks stay as they are.
            if chunk::decode(&c.bytes, TimeRange::ALL, &mut buf).is_err() {
                return;
            }
        }
        let joined = seal(&buf, 0, buf.len(), encoder);
        self.sealed.truncate(from);
        self.sealed.push(joined);
    }
}

fn seal(buf: &SampleBuf, from: usize, to: usize, encoder: &mut Encoder) -> Sealed {
    let bytes = encoder.encode(buf, from, to).into();
    Sealed { min: buf.times[from], max: buf.times[to - 1], count: (to - from) as u32, bytes }
}

/// The share of a chunk's `count` samples that lies within `range`.
pub fn estimate(min: i64, max: i64, count: u32, range: TimeRange) -> u64 {
    let (from, to) = (min.max(range.start().0), max.min(range.end().0.saturating_sub(1)));
    if from > to {
        return 0;
    }
    let share = (to as f64 - from as f64 + 1.0) / (max as f64 - min as f64 + 1.0);
    (f64::from(count) * share) as u64
}

/// Appends samples `from..to` of `other`.
pub fn append(into: &mut SampleBuf, other: &SampleBuf, from: usize, to: usize) {
    if from >= to {
        return;
    }
    let n = into.len();
    into.times.extend_from_slice(&other.times[from..to]);
    into.floats.extend_from_slice(&other.floats[from..to]);
    let total = into.times.len();
    match other.histograms.get(from..to) {
        Some(h) => {
            into.histograms.resize(n, None);
            into.histograms.extend_from_slice(h);
        }
        None if into.histograms.is_empty() => {}
        None => into.histograms.resize(total, None),
    }
    match other.starts.get(from..to) {
        Some(s) => {
            into.starts.resize(n, 0);
            into.starts.extend_from_slice(s);
        }
        None if into.starts.is_empty() => {}
        None => into.starts.resize(total, 0),
    }
}

/// Merges runs that each ascend. Where two have a sample at one time the earlier part's stands.
pub fn merge(parts: &[SampleBuf], into: &mut SampleBuf) {
    let mut at = vec![0; parts.len()];
    loop {
        let next = parts.iter().zip(&at).enumerate().filter_map(|(k, (p, i))| Some((*p.times.get(*i)?, k))).min();
        let Some((time, k)) = next else { return };
        append(into, &parts[k], at[k], at[k] + 1);
        for (p, i) in parts.iter().zip(&mut at) {
            if p.times.get(*i) == Some(&time) {
                *i += 1;
            }
        }
    }
}
