//! What rows of answers become: samples by series, series, names.
//!
//! Invariant: a series' samples ascend strictly by time; only series that satisfy the matchers are kept; limits hold at
//! every row.
//! Not here: asking (`read`).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use belfry_model::read::ReadError;
use belfry_model::sample::{Sample, Value};
use belfry_model::{Labels, METRIC_NAME, Matcher, SampleBuf, SelectLimits, TimestampMs};

use super::answer::{Cell, Head, Rows};
use super::{lines, names, special};

fn labels_of(head: &Head) -> Labels {
    let tags = head.tags.iter().map(|(k, v)| (names::decode(k), names::decode(v)));
    let name = (METRIC_NAME.into(), names::decode_measurement(&head.name));
    Labels::from_pairs(tags.chain([name]).filter(|(k, _)| !k.is_empty()))
}

fn fit(labels: &Labels, matchers: &[Matcher]) -> bool {
    matchers.iter().all(|m| m.matches_labels(labels))
}

/// Where the columns of samples are.
#[derive(Clone, Copy, Debug, Default)]
struct Columns {
    time: Option<usize>,
    value: Option<usize>,
    special: Option<usize>,
    histogram: Option<usize>,
    start: Option<usize>,
}

/// Samples by series.
pub struct Samples<'a> {
    matchers: &'a [Matcher],
    limits: SelectLimits,
    found: HashMap<Labels, SampleBuf>,
    /// The series that rows belong to now; `None` for one that nobody asked for.
    current: Option<(Labels, SampleBuf)>,
    columns: Columns,
    samples: u64,
    not_understood: u64,
}

impl<'a> Samples<'a> {
    /// Of series that satisfy these.
    pub fn new(matchers: &'a [Matcher], limits: SelectLimits) -> Self {
        let (found, current, columns) = (HashMap::new(), None, Columns::default());
        Self { matchers, limits, found, current, columns, samples: 0, not_understood: 0 }
    }

    /// What the user should know.
    pub fn warnings(&self) -> Vec<String> {
        match self.not_understood {
            0 => Vec::new(),
            n => vec![format!("{n} points of InfluxDB were left out: they are not as Belfry writes them")],
        }
    }

    /// In order of labels.
    pub fn into_series(mut self) -> Vec<(Labels, SampleBuf)> {
        self.put_back();
        let mut all: Vec<_> = self.found.into_iter().filter(|(_, samples)| !samples.is_empty()).collect();
        for (_, samples) in &mut all {
            put_in_order(samples);
        }
        all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        all
    }

    fn put_back(&mut self) {
        if let Some((labels, samples)) = self.current.take() {
            self.found.insert(labels, samples);
        }
    }
}

/// A server answers in order; one that does not is put right.
fn put_in_order(samples: &mut SampleBuf) {
    if samples.times.is_sorted_by(|a, b| a < b) {
        return;
    }
    let mut all: Vec<Sample> = (0..samples.len()).filter_map(|i| samples.get(i)).collect();
    all.sort_by_key(|s| s.at);
    all.dedup_by_key(|s| s.at);
    samples.clear();
    all.iter().for_each(|s| samples.push(s));
}

impl Rows for Samples<'_> {
    fn head(&mut self, head: &Head) -> Result<(), ReadError> {
        self.columns = Columns {
            time: head.column("time"),
            value: head.column("value"),
            special: head.column("special"),
            histogram: head.column("histogram"),
            start: head.column("start"),
        };
        let labels = labels_of(head);
        if self.current.as_ref().is_some_and(|(current, _)| *current == labels) {
            return Ok(());
        }
        self.put_back();
        if !fit(&labels, self.matchers) {
            return Ok(());
        }
        let samples = self.found.remove(&labels).unwrap_or_default();
        if self.found.len() >= self.limits.series_max {
            return Err(ReadError::TooManySeries { limit: self.limits.series_max });
        }
        self.current = Some((labels, samples));
        Ok(())
    }

    fn row(&mut self, cells: &[Cell]) -> Result<(), ReadError> {
        let Some((_, samples)) = &mut self.current else { return Ok(()) };
        let Some(sample) = sample_of(cells, self.columns) else {
            self.not_understood += 1;
            return Ok(());
        };
        self.samples += 1;
        if self.samples > self.limits.samples_max {
            return Err(ReadError::TooManySamples { limit: self.limits.samples_max });
        }
        samples.push(&sample);
        Ok(())
    }
}

fn sample_of(cells: &[Cell], columns: Columns) -> Option<Sample> {
    let cell = |column: Option<usize>| cells.get(column?);
    let value = if let Some(v) = cell(columns.value).and_then(Cell::float) {
        Value::Float(v)
    } else if let Some(text) = cell(columns.special).and_then(Cell::text) {
        Value::Float(special::decode(text)?)
    } else {
        let text = cell(columns.histogram).and_then(Cell::text)?;
        Value::Histogram(Arc::new(special::decode_histogram(text)?))
    };
    let start = cell(columns.start).and_then(Cell::int).map(TimestampMs);
    Some(Sample { at: TimestampMs(cell(columns.time)?.int()?), value, start })
}

/// Keeps a label set that fits.
fn keep(found: &mut BTreeSet<Labels>, labels: Labels, matchers: &[Matcher], max: usize) -> Result<(), ReadError> {
    if fit(&labels, matchers) {
        found.insert(labels);
    }
    if found.len() > max { Err(ReadError::TooManySeries { limit: max }) } else { Ok(()) }
}

/// `SHOW SERIES`: a row a series.
pub struct Keys<'a> {
    matchers: &'a [Matcher],
    found: &'a mut BTreeSet<Labels>,
    max: usize,
    column: Option<usize>,
}

impl<'a> Keys<'a> {
    /// Adds to `found`, up to `max`.
    pub fn new(matchers: &'a [Matcher], found: &'a mut BTreeSet<Labels>, max: usize) -> Self {
        Self { matchers, found, max, column: None }
    }
}

impl Rows for Keys<'_> {
    fn head(&mut self, head: &Head) -> Result<(), ReadError> {
        self.column = head.column("key");
        Ok(())
    }

    fn row(&mut self, cells: &[Cell]) -> Result<(), ReadError> {
        let key = self.column.and_then(|c| cells.get(c)).and_then(Cell::text);
        key.map_or(Ok(()), |key| keep(self.found, lines::decode_key(key), self.matchers, self.max))
    }
}

/// A `SELECT` with `GROUP BY *` of which the heads alone are looked at.
pub struct Heads<'a> {
    matchers: &'a [Matcher],
    found: &'a mut BTreeSet<Labels>,
    max: usize,
}

impl<'a> Heads<'a> {
    /// Adds to `found`, up to `max`.
    pub fn new(matchers: &'a [Matcher], found: &'a mut BTreeSet<Labels>, max: usize) -> Self {
        Self { matchers, found, max }
    }
}

impl Rows for Heads<'_> {
    fn head(&mut self, head: &Head) -> Result<(), ReadError> {
        keep(self.found, labels_of(head), self.matchers, self.max)
    }

    fn row(&mut self, _: &[Cell]) -> Result<(), ReadError> {
        Ok(())
    }
}

/// Names of one list: more than this is too many to look at.
const NAMES_MAX: usize = 1_000_000;

/// One column of texts.
pub struct Names {
    name: &'static str,
    column: Option<usize>,
    found: BTreeSet<String>,
}

impl Names {
    /// The column of that name.
    pub fn new(name: &'static str) -> Self {
        Self { name, column: None, found: BTreeSet::new() }
    }

    /// In order, each once.
    pub fn into_sorted(self) -> Vec<String> {
        self.found.into_iter().collect()
    }
}

impl Rows for Names {
    fn head(&mut self, head: &Head) -> Result<(), ReadError> {
        self.column = head.column(self.name);
        Ok(())
    }

    fn row(&mut self, cells: &[Cell]) -> Result<(), ReadError> {
        if let Some(text) = self.column.and_then(|c| cells.get(c)).and_then(Cell::text) {
            self.found.insert(text.to_owned());
        }
        if self.found.len() > NAMES_MAX {
            return Err(ReadError::Unavailable(format!(
                "InfluxDB lists more than {NAMES_MAX} names; narrow the query"
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
