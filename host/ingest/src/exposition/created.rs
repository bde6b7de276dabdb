//! OpenMetrics' `_created` lines: when the counters of a family began. They may stand before or after the samples they
//! tell of, so a family's are gathered when it begins.
//!
//! Invariant: two passes over the text at most, whatever it holds.

use std::hash::{BuildHasher as _, Hasher as _};

use belfry_model::MetricKind;
use memchr::memchr;

use super::series::{Blanks, scan, series_pairs};

/// When the series of one family began.
pub(super) struct Created<'a> {
    family: &'a str,
    kind: MetricKind,
    /// By the hash of the labels, unsorted: families are small or have none.
    starts: Vec<(u64, i64)>,
    hasher: std::hash::RandomState,
}

impl<'a> Created<'a> {
    pub fn new() -> Self {
        Self { family: "", kind: MetricKind::Unknown, starts: Vec::new(), hasher: std::hash::RandomState::new() }
    }

    /// A family begins; `rest` is the text after its `# TYPE` line.
    pub fn begin(&mut self, family: &'a str, kind: MetricKind, rest: &'a [u8]) {
        self.family = family;
        self.kind = kind;
        self.starts.clear();
        if !matches!(kind, MetricKind::Counter | MetricKind::Histogram | MetricKind::Summary) {
            return;
        }
        let mut rest = rest;
        while !rest.is_empty() && !rest.starts_with(b"# TYPE ") {
            let (line, after) = match memchr(b'\n', rest) {
                Some(n) => (rest.get(..n).unwrap_or_default(), rest.get(n + 1..).unwrap_or_default()),
                None => (rest, Default::default()),
            };
            if let Some((hash, start)) = self.line(line) {
                self.starts.push((hash, start));
            }
            rest = after;
        }
        self.starts.sort_unstable();
    }

    /// A `_created` line of the family; one that is malformed is reported where it is parsed.
    fn line(&self, line: &[u8]) -> Option<(u64, i64)> {
        if !line.strip_prefix(self.family.as_bytes())?.starts_with(b"_created") {
            return None;
        }
        let end = scan(line, 0, Blanks::Refused).ok()?;
        let series = std::str::from_utf8(line.get(..end)?).ok()?;
        let value = line.get(end + 1..)?.split(|b| *b == b' ').next()?;
        let seconds: f64 = fast_float2::parse(value).ok()?;
        self.is_created(series).then(|| (self.hash(series), (seconds * 1000.0) as i64))
    }

    /// Is this a line that only tells when another series began?
    pub fn is_created(&self, series: &str) -> bool {
        let tells = matches!(self.kind, MetricKind::Counter | MetricKind::Histogram | MetricKind::Summary);
        tells && self.suffix(series) == Some("_created")
    }

    /// When `series` began.
    pub fn start(&self, series: &str) -> Option<i64> {
        if self.starts.is_empty() {
            return None;
        }
        let fits = match self.suffix(series)? {
            "" => self.kind == MetricKind::Summary,
            "_total" => self.kind == MetricKind::Counter,
            "_bucket" => self.kind == MetricKind::Histogram,
            "_count" | "_sum" => self.kind != MetricKind::Counter,
            _ => false,
        };
        let hash = fits.then(|| self.hash(series))?;
        let i = self.starts.binary_search_by_key(&hash, |s| s.0).ok()?;
        self.starts.get(i).map(|s| s.1)
    }

    /// What follows the family's name in the metric's.
    fn suffix<'s>(&self, series: &'s str) -> Option<&'s str> {
        let rest = if series.starts_with('{') {
            series.strip_prefix("{\"")?.strip_prefix(self.family)?
        } else {
            series.strip_prefix(self.family)?
        };
        Some(rest.split(['{', '"']).next().unwrap_or(rest))
    }

    /// Of the labels in any order, but what only splits one distribution into its parts.
    fn hash(&self, series: &str) -> u64 {
        let mut sum = 0_u64;
        for (name, value) in series_pairs(series) {
            let splits = match self.kind {
                MetricKind::Histogram => name == "le",
                MetricKind::Summary => name == "quantile",
                _ => false,
            };
            if name == belfry_model::METRIC_NAME || splits {
                continue;
            }
            let mut hasher = self.hasher.build_hasher();
            hasher.write(name.as_bytes());
            hasher.write_u8(0xff);
            hasher.write(value.as_bytes());
            sum = sum.wrapping_add(hasher.finish());
        }
        sum
    }
}
