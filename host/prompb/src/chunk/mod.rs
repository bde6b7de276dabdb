//! Samples as Prometheus' own chunks: what a streamed remote read carries.
//! <https://github.com/prometheus/prometheus/blob/main/tsdb/docs/format/chunks.md>
//!
//! Invariant: what a reader of chunks gets is what was put in, in order and bit for bit; it is told that a histogram is no
//! reset only where the histogram before it says so too.
//! Not here: reading chunks.

mod bits;
mod histogram;
mod xor;

use belfry_model::SampleBuf;
use prost::Message;

use histogram::HistogramChunk;
use xor::XorChunk;

/// Samples of a chunk, as Prometheus has them.
const CHUNK_SAMPLES_MAX: u16 = 120;

/// `prometheus.Chunk.Encoding`: floats.
pub const XOR: i32 = 1;
/// Native histograms of whole numbers.
pub const HISTOGRAM: i32 = 2;
/// Native histograms of floats.
pub const FLOAT_HISTOGRAM: i32 = 3;

/// `prometheus.Chunk`.
#[derive(Clone, PartialEq, Message)]
pub struct Chunk {
    /// Milliseconds: of its first sample.
    #[prost(int64, tag = "1")]
    pub min_time_ms: i64,
    /// Milliseconds: of its last sample.
    #[prost(int64, tag = "2")]
    pub max_time_ms: i64,
    /// [`XOR`], [`HISTOGRAM`] or [`FLOAT_HISTOGRAM`].
    #[prost(int32, tag = "3")]
    pub encoding: i32,
    /// In that encoding.
    #[prost(bytes = "vec", tag = "4")]
    pub data: Vec<u8>,
}

/// The chunk that is being filled.
enum Open {
    Xor(XorChunk),
    Histogram(Box<HistogramChunk>),
}

impl Open {
    fn end(self) -> Chunk {
        match self {
            Self::Xor(c) => c.end(),
            Self::Histogram(c) => c.end(),
        }
    }
}

/// Makes chunks of a series' samples, each when it is asked for.
pub struct Chunks<'a> {
    samples: &'a SampleBuf,
    next: usize,
}

impl<'a> Chunks<'a> {
    /// Of samples from `from` on.
    pub fn new(samples: &'a SampleBuf, from: usize) -> Self {
        Self { samples, next: from }
    }

    /// The first sample that is in no chunk yet.
    pub fn position(&self) -> usize {
        self.next
    }
}

impl Iterator for Chunks<'_> {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        let mut open: Option<Open> = None;
        while let (Some(at), Some(value)) = (self.samples.times.get(self.next), self.samples.floats.get(self.next)) {
            let h = self.samples.histograms.get(self.next).and_then(Option::as_deref);
            let taken = match (&mut open, h) {
                (None, None) => {
                    open = Some(Open::Xor(XorChunk::of(*at, *value)));
                    true
                }
                (None, Some(h)) => {
                    open = Some(Open::Histogram(Box::new(HistogramChunk::of(*at, h))));
                    true
                }
                (Some(Open::Xor(c)), None) => c.push(*at, *value),
                (Some(Open::Histogram(c)), Some(h)) => c.push(*at, h),
                (Some(_), _) => false,
            };
            if !taken {
                break;
            }
            self.next += 1;
        }
        open.map(Open::end)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
