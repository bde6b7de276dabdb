//! The samples that one series got on its own since the head was last frozen.
//!
//! Invariant: a time stands in the stream or in the rest, never in both.
//! Not here: rows, in which many series get a sample at one time (`rows`); blocks; limits (`head`).

use belfry_model::{SampleBuf, TimeRange};

use crate::chunk::Encoder;
use crate::codec::Corrupt;
use crate::series::{Point, Run, Standing, merge};
use crate::stream::Stream;

/// See the module.
#[derive(Clone, Default)]
pub struct Own {
    /// Floats that came in order of time.
    stream: Stream,
    /// Late samples and histograms.
    rest: Option<Box<Run>>,
}

impl Own {
    /// Adds a sample later than all others. Yields about how much memory it took.
    pub fn push(&mut self, p: &Point<'_>, encoder: &mut Encoder) -> usize {
        if p.histogram.is_none() {
            return self.stream.push(p.at, p.value, p.start);
        }
        let rest = self.rest.get_or_insert_default();
        // It is the latest: nothing has to be read, so nothing can be found damaged.
        let _ = rest.insert(p, encoder);
        p.bytes()
    }

    /// Adds a sample anywhere. Nothing may stand at its time. Yields about how much memory it took.
    pub fn insert(&mut self, p: &Point<'_>, encoder: &mut Encoder) -> Result<usize, Corrupt> {
        if self.max().is_none_or(|max| max < p.at) {
            return Ok(self.push(p, encoder));
        }
        self.rest.get_or_insert_default().insert(p, encoder)?;
        Ok(p.bytes())
    }

    /// What stands at the sample's time.
    pub fn standing(&self, p: &Point<'_>) -> Result<Standing, Corrupt> {
        match self.stream.last() {
            Some((at, bits)) if at == p.at => {
                let same = p.histogram.is_none() && p.value.to_bits() == bits;
                return Ok(if same { Standing::Same } else { Standing::Other });
            }
            Some((at, _)) if at < p.at => {}
            _ => {
                if let Some(range) = p.instant() {
                    let mut buf = SampleBuf::default();
                    self.stream.decode(range, &mut buf)?;
                    if !buf.is_empty() {
                        return Ok(if p.is_at(&buf, 0) { Standing::Same } else { Standing::Other });
                    }
                }
            }
        }
        self.rest.as_ref().map_or(Ok(Standing::Nothing), |r| r.standing(p))
    }

    /// Time of the last sample and bytes of all, where there are floats in order of time and nothing else.
    pub fn plain(&self) -> Option<(i64, usize)> {
        if self.rest.is_some() {
            return None;
        }
        self.stream.max().map(|max| (max, self.stream.bytes()))
    }

    /// Appends the samples within `range` to `into`, in order; its last time must be before them.
    pub fn decode(&self, range: TimeRange, into: &mut SampleBuf) -> Result<(), Corrupt> {
        let Some(rest) = &self.rest else { return self.stream.decode(range, into) };
        let mut parts = [SampleBuf::default(), SampleBuf::default()];
        self.stream.decode(range, &mut parts[0])?;
        rest.decode(range, &mut parts[1])?;
        merge(&parts, into);
        Ok(())
    }

    /// Of floats that came in order the newest within `range`. `None`: finding it takes a longer look.
    pub fn newest(&self, range: TimeRange) -> Option<Option<(i64, f64)>> {
        if self.rest.is_some() { None } else { self.stream.newest(range) }
    }

    /// A copy of what overlaps `range`; reading it must cut it.
    pub fn snapshot(&self, range: TimeRange) -> Option<Self> {
        let stream = self.stream.snapshot(range);
        let rest = self.rest.as_ref().and_then(|r| r.snapshot(range)).map(Box::new);
        (stream.is_some() || rest.is_some()).then(|| Self { stream: stream.unwrap_or_default(), rest })
    }

    /// Are there samples within `range`?
    pub fn overlaps(&self, range: TimeRange) -> bool {
        let stream = self.stream.min().zip(self.stream.max());
        stream.is_some_and(|(min, max)| min < range.end().0 && max >= range.start().0)
            || self.rest.as_ref().is_some_and(|r| r.overlaps(range))
    }

    /// Time of the first sample.
    pub fn min(&self) -> Option<i64> {
        let rest = self.rest.as_ref().and_then(|r| r.min());
        self.stream.min().into_iter().chain(rest).min()
    }

    /// Time of the last sample.
    pub fn max(&self) -> Option<i64> {
        let rest = self.rest.as_ref().and_then(|r| r.max());
        self.stream.max().into_iter().chain(rest).max()
    }

    /// First and last time.
    pub fn span(&self) -> Option<(i64, i64)> {
        self.min().zip(self.max())
    }

    /// How many compressed chunks.
    pub fn chunks(&self) -> usize {
        self.stream.chunks() + usize::from(!self.stream.is_empty()) + self.rest.as_ref().map_or(0, |r| r.chunks())
    }

    /// How many samples within `range`, about.
    pub fn estimate(&self, range: TimeRange) -> u64 {
        self.stream.estimate(range) + self.rest.as_ref().map_or(0, |r| r.estimate(range))
    }
}
