//! A request as columns, before its series are looked up.
//!
//! Invariant: what it holds is bounded by the constants here, whatever the request says; labels are not copied but named
//! by where they stand in the request.

use std::ops::Range;
use std::sync::Arc;

use belfry_model::sample::is_stale;
use belfry_model::{Histogram, MetricMetadata};

use super::wire::Malformed;

/// Samples and histograms of a request: Prometheus sends 2,000 at a time, vmagent 10,000.
pub const REQUEST_SAMPLES_MAX: usize = 500_000;
/// Buckets of a request's native histograms, 16 MB as numbers.
pub const REQUEST_BUCKETS_MAX: usize = 2_000_000;
/// Exemplars of a request; further ones are shed.
pub const REQUEST_EXEMPLARS_MAX: usize = 50_000;
/// Metadata of a request; further ones are shed.
pub const REQUEST_METADATA_MAX: usize = 50_000;

/// Stands for a label set: a keyed hash of the bytes that name it. Two sets share one by accident once in 2^96 pairs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Key {
    pub hi: u64,
    pub lo: u32,
}

/// Where a series' labels stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LabelsAt {
    pub start: u32,
    pub end: u32,
    /// Not in the request but in [`Decoded::gathered`]: they did not stand together.
    pub gathered: bool,
}

impl LabelsAt {
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// One series of the request; its samples end where the next one's begin.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SeriesPart {
    pub key: Key,
    pub labels: LabelsAt,
    /// Behind its last sample in the columns.
    pub samples_end: u32,
    /// Kind, help and unit, as references (v2).
    pub metadata: Option<MetadataAt>,
    /// Its last value is a stale marker.
    pub stale: bool,
}

/// Metadata by the symbols that name it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct MetadataAt {
    pub kind: u32,
    pub help: u32,
    pub unit: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct HistogramPart {
    pub series: u32,
    pub at: i64,
    pub start: i64,
    pub histogram: Arc<Histogram>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct ExemplarPart {
    pub series: u32,
    pub at: i64,
    pub value: f64,
    pub labels: LabelsAt,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Decoded {
    pub series: Vec<SeriesPart>,
    pub values: Vec<f64>,
    pub times: Vec<i64>,
    /// Empty, or one each.
    pub starts: Vec<i64>,
    pub histograms: Vec<HistogramPart>,
    pub exemplars: Vec<ExemplarPart>,
    pub metadata: Vec<MetricMetadata>,
    /// Label bytes that did not stand together.
    pub gathered: Vec<u8>,
    /// Buckets so far.
    pub buckets: usize,
    /// Histograms that cannot be stored, and the first reason.
    pub bad_histograms: u64,
    pub bad_histogram: Option<String>,
    /// Labels of its series.
    pub first_bad_histogram: Option<LabelsAt>,
    /// Series of a kind that must have something to write, and has nothing.
    pub empty: u64,
    /// Labels of the first of those.
    pub first_empty: Option<LabelsAt>,
    /// Exemplars and metadata beyond the bounds.
    pub shed: u64,
}

impl Decoded {
    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        self.series.clear();
        self.values.clear();
        self.times.clear();
        self.starts.clear();
        self.histograms.clear();
        self.exemplars.clear();
        self.metadata.clear();
        self.gathered.clear();
        self.buckets = 0;
        self.bad_histograms = 0;
        self.bad_histogram = None;
        self.first_bad_histogram = None;
        self.empty = 0;
        self.first_empty = None;
        self.shed = 0;
    }

    /// Adds a sample to the series that is being read.
    #[inline]
    pub fn sample(&mut self, at: i64, value: f64, start: i64) -> Result<(), Malformed> {
        if self.values.len() + self.histograms.len() >= REQUEST_SAMPLES_MAX {
            return Err(Malformed::TooMany { what: "samples", limit: REQUEST_SAMPLES_MAX });
        }
        self.values.push(value);
        self.times.push(at);
        if start != 0 || !self.starts.is_empty() {
            self.starts.resize(self.values.len() - 1, 0);
            self.starts.push(start);
        }
        Ok(())
    }

    /// Adds a histogram to the series that is being read.
    pub fn histogram(&mut self, at: i64, start: i64, histogram: Histogram) -> Result<(), Malformed> {
        if self.values.len() + self.histograms.len() >= REQUEST_SAMPLES_MAX {
            return Err(Malformed::TooMany { what: "samples", limit: REQUEST_SAMPLES_MAX });
        }
        let series = self.series.len() as u32;
        self.histograms.push(HistogramPart { series, at, start, histogram: Arc::new(histogram) });
        Ok(())
    }

    /// Counts a histogram that cannot be stored.
    pub fn bad_histogram(&mut self, reason: String) {
        self.bad_histograms += 1;
        self.bad_histogram.get_or_insert(reason);
    }

    /// Counts a series that is refused for having nothing.
    pub fn empty_series(&mut self, labels: LabelsAt) {
        self.empty += 1;
        self.first_empty.get_or_insert(labels);
    }

    /// Adds an exemplar to the series that is being read.
    pub fn exemplar(&mut self, at: i64, value: f64, labels: LabelsAt) {
        if self.exemplars.len() >= REQUEST_EXEMPLARS_MAX {
            self.shed += 1;
            return;
        }
        self.exemplars.push(ExemplarPart { series: self.series.len() as u32, at, value, labels });
    }

    /// Adds metadata.
    pub fn metadata(&mut self, metadata: MetricMetadata) {
        if self.metadata.len() >= REQUEST_METADATA_MAX {
            self.shed += 1;
            return;
        }
        self.metadata.push(metadata);
    }

    /// Ends the series that is being read. One without anything to write is left out.
    #[inline]
    pub fn end_series(&mut self, key: Key, labels: LabelsAt, metadata: Option<MetadataAt>) {
        if self.bad_histogram.is_some() {
            self.first_bad_histogram.get_or_insert(labels);
        }
        let number = self.series.len() as u32;
        let before = self.series.last().map_or(0, |s| s.samples_end);
        let samples_end = self.values.len() as u32;
        let histogram = self.histograms.last().filter(|h| h.series == number);
        let more = histogram.is_some() || self.exemplars.last().is_some_and(|e| e.series == number);
        let stale = match histogram {
            Some(h) => h.histogram.is_stale(),
            None => samples_end > before && self.values.last().is_some_and(|v| is_stale(*v)),
        };
        if samples_end > before || more {
            self.series.push(SeriesPart { key, labels, samples_end, metadata, stale });
        }
    }

    /// Samples of series `i`.
    #[inline]
    pub fn samples_of(&self, i: usize) -> Range<usize> {
        let from = i.checked_sub(1).and_then(|b| self.series.get(b)).map_or(0, |s| s.samples_end);
        from as usize..self.series.get(i).map_or(from, |s| s.samples_end) as usize
    }
}
