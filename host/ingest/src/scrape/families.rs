//! What a target says of its metrics: kind, unit and help by family; and which family a series is of.
//!
//! Invariant: a family is what was said of it last, also when later answers say nothing of it: a line that is as it was
//! is not read again. No more than [`FAMILIES_MAX`] are known.

use std::collections::HashMap;
use std::fmt::Write as _;

use belfry_model::{METRIC_NAME, MetricKind, MetricMetadata};

use crate::beside::{HELP_BYTES_MAX, METADATA_NAME_BYTES_MAX, UNIT_BYTES_MAX, cut};
use crate::exposition::{Event, series_pairs};

/// Metrics whose kind and help are remembered for a target.
const FAMILIES_MAX: usize = 20_000;
/// Bytes of their names and texts; beyond that none is remembered any more.
const FAMILIES_BYTES_MAX: usize = 8 << 20;

/// Series are not always named as their family: what may follow its name, and in families of which type.
const PARTS: [(&str, &[MetricKind]); 7] = [
    ("_total", &[MetricKind::Counter]),
    ("_bucket", &[MetricKind::Histogram, MetricKind::GaugeHistogram]),
    ("_sum", &[MetricKind::Histogram, MetricKind::Summary, MetricKind::GaugeHistogram]),
    ("_count", &[MetricKind::Histogram, MetricKind::Summary, MetricKind::GaugeHistogram]),
    ("_gsum", &[MetricKind::GaugeHistogram]),
    ("_gcount", &[MetricKind::GaugeHistogram]),
    ("_info", &[MetricKind::Info]),
];

/// What is remembered of a text: a character more than is kept of it, so that it is seen and counted.
fn kept(text: &str, bytes_max: usize) -> &str {
    cut(text, bytes_max + 4)
}

/// What is new of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// The text for people.
    Help,
    /// Kind or unit.
    Meaning,
}

/// By name.
#[derive(Default)]
pub(super) struct Families {
    by_name: HashMap<Box<str>, MetricMetadata>,
    bytes: usize,
}

impl Families {
    /// What an event says that was not known, and of which family.
    pub fn learn<'e>(&mut self, event: &'e Event<'_>) -> Option<(&'e str, News)> {
        let name = match event {
            Event::Help { metric, .. } | Event::Type { metric, .. } | Event::Unit { metric, .. } => &**metric,
            Event::Sample(_) | Event::Histogram(_) => return None,
        };
        let is_new = !self.by_name.contains_key(name);
        if is_new {
            if self.by_name.len() >= FAMILIES_MAX
                || self.bytes >= FAMILIES_BYTES_MAX
                || name.len() > METADATA_NAME_BYTES_MAX
            {
                return None;
            }
            self.bytes += 2 * name.len();
            let metadata = MetricMetadata { name: name.to_owned(), ..MetricMetadata::default() };
            self.by_name.insert(name.into(), metadata);
        }
        let known = self.by_name.get_mut(name)?;
        match event {
            Event::Help { text, .. } if known.help != *kept(text, HELP_BYTES_MAX) => {
                let text = kept(text, HELP_BYTES_MAX);
                let bytes = self.bytes - known.help.len() + text.len();
                if bytes > FAMILIES_BYTES_MAX {
                    return None;
                }
                self.bytes = bytes;
                known.help = text.to_owned();
                Some((name, News::Help))
            }
            Event::Type { kind, .. } if known.kind != *kind => {
                known.kind = *kind;
                Some((name, News::Meaning))
            }
            Event::Unit { unit, .. } if known.unit != *kept(unit, UNIT_BYTES_MAX) => {
                known.unit = kept(unit, UNIT_BYTES_MAX).to_owned();
                Some((name, News::Meaning))
            }
            // Of an unknown kind and without help it is known all the same.
            _ => is_new.then_some((name, News::Help)),
        }
    }

    /// What was said of the family `name`.
    pub fn get(&self, name: &str) -> Option<&MetricMetadata> {
        self.by_name.get(name)
    }

    /// What `__type__` and `__unit__` say of the series of metric `name`; empty for nothing.
    pub fn told(&self, name: &str) -> (&'static str, &str) {
        let of_part = |(suffix, kinds): &(&str, &[MetricKind])| {
            let family = self.by_name.get(name.strip_suffix(suffix)?)?;
            kinds.contains(&family.kind).then_some(family)
        };
        let family = self.by_name.get(name).or_else(|| PARTS.iter().find_map(of_part));
        let word = |kind: MetricKind| if kind == MetricKind::Unknown { "" } else { kind.as_str() };
        family.map_or(("", ""), |f| (word(f.kind), &f.unit))
    }

    /// Writes what tells `series` from others, also from itself with another type or unit.
    pub fn write_key(&self, series: &str, key: &mut String) {
        let name = series_pairs(series).find(|(name, _)| name == METRIC_NAME).map(|(_, metric)| metric);
        let (word, unit) = self.told(&name.unwrap_or_default());
        key.clear();
        // Writing into a string cannot fail. The length keeps a unit's end apart from the series' beginning.
        let _ = write!(key, "{word} {} {unit}{series}", unit.len());
    }
}
