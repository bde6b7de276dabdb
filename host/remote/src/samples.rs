//! Samples that are held in memory: what an engine answered.

use belfry_model::read::ReadError;
use belfry_model::{SampleBuf, SampleSource, TimeRange};

/// One series' samples, times ascending.
#[derive(Debug, Default)]
pub struct Samples(pub SampleBuf);

impl SampleSource for Samples {
    fn decode(&self, range: TimeRange, into: &mut SampleBuf) -> Result<(), ReadError> {
        let from = self.0.times.partition_point(|t| *t < range.start().0);
        let to = self.0.times.partition_point(|t| *t < range.end().0);
        for i in from..to {
            match self.0.get(i) {
                Some(sample) => into.push(&sample),
                None => break,
            }
        }
        Ok(())
    }

    fn estimate(&self) -> u64 {
        self.0.len() as u64
    }
}
