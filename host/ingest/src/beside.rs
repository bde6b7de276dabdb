//! Bounds of what comes beside samples: labels of exemplars, texts of metadata.
//!
//! Invariant: whoever brings them, the store gets no exemplar and no metadata that is longer than the constants here;
//! what is left out or cut is counted.
//! Not here: how many are kept (the store), how many a request may carry (`push`).

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};

use belfry_model::{Labels, MetricMetadata};

use crate::writer::Ingest;

/// Characters of an exemplar's labels, names and values together; one with more is left out. OpenMetrics and Prometheus
/// have the same bound.
/// <https://github.com/OpenObservability/OpenMetrics/blob/main/specification/OpenMetrics.md#exemplars>
pub const EXEMPLAR_CHARS_MAX: usize = 128;
/// Bytes of a metric's help, which is cut: the longest of common exporters has a quarter of it.
pub const HELP_BYTES_MAX: usize = 4096;
/// Bytes of a metric's unit, which is cut.
pub const UNIT_BYTES_MAX: usize = 256;
/// Bytes of the name of what metadata tells of; longer ones are left out, as no series has such a name.
pub const METADATA_NAME_BYTES_MAX: usize = 8192;

/// What was left out or cut so far.
#[derive(Default)]
pub(crate) struct Counts {
    pub exemplars: AtomicU64,
    pub metadata: AtomicU64,
}

/// May an exemplar have these names and values?
pub(crate) fn fits<'a>(pairs: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> bool {
    // Of a character's bytes all but the first begin with 10.
    let chars = |text: &[u8]| text.iter().filter(|b| **b & 0xc0 != 0x80).count();
    let mut bytes = 0;
    let mut all = 0;
    pairs.into_iter().all(|(name, value)| {
        bytes += name.len() + value.len();
        // A character has at most four bytes: what is much too long need not be counted.
        if bytes > 4 * EXEMPLAR_CHARS_MAX {
            return false;
        }
        all += chars(name) + chars(value);
        all <= EXEMPLAR_CHARS_MAX
    })
}

/// The beginning of a text that has no more than `bytes_max` bytes.
pub(crate) fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or_default()
}

/// The same of bytes that should be UTF-8, so that no more is copied than is kept. One more is left, by which
/// [`Ingest::declare`] sees that it was longer.
pub(crate) fn cut_bytes(text: &[u8], bytes_max: usize) -> Cow<'_, str> {
    String::from_utf8_lossy(text.get(..bytes_max + 1).unwrap_or(text))
}

impl Ingest {
    /// Remembers what a metric is. A long help or unit is cut.
    pub fn declare(&self, mut metadata: MetricMetadata) {
        if metadata.name.len() > METADATA_NAME_BYTES_MAX {
            self.beside.metadata.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut was_cut = false;
        for (text, max) in [(&mut metadata.help, HELP_BYTES_MAX), (&mut metadata.unit, UNIT_BYTES_MAX)] {
            if text.len() > max {
                // A new one: cutting alone would keep the memory.
                *text = cut(text, max).to_owned();
                was_cut = true;
            }
        }
        self.beside.metadata.fetch_add(u64::from(was_cut), Ordering::Relaxed);
        self.writer.declare(metadata);
    }

    /// Whether an exemplar with these labels is kept; counts one that is not.
    pub(crate) fn takes_exemplar(&self, labels: &Labels) -> bool {
        self.takes_exemplar_of(labels.iter().map(|l| (l.name.as_bytes(), l.value.as_bytes())))
    }

    /// The same before its labels are made.
    pub(crate) fn takes_exemplar_of<'a>(&self, pairs: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> bool {
        let takes = fits(pairs);
        self.beside.exemplars.fetch_add(u64::from(!takes), Ordering::Relaxed);
        takes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exemplar_has_128_characters_however_many_bytes_they_are() {
        let fits = |name: &str, value: &str| fits([(name.as_bytes(), value.as_bytes())]);
        assert!(fits("id", &"x".repeat(126)));
        assert!(!fits("id", &"x".repeat(127)));
        assert!(fits("id", &"😀".repeat(126)));
        assert!(!fits("id", &"ü".repeat(127)));
        assert!(super::fits([]));
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!((cut("süß", 2), cut("süß", 3), cut("süß", 9)), ("s", "sü", "süß"));
        assert_eq!(cut_bytes("süß".as_bytes(), 9), "süß");
        assert_eq!(cut_bytes(b"help", 2), "hel", "one more, so that it can be seen");
    }
}
