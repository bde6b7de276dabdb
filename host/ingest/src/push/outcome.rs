//! What became of a request, in the words of the protocol.

use std::fmt;

use super::wire::Malformed;

/// Bytes of an example, with its series: senders log a line, and labels may be long.
const EXAMPLE_BYTES_MAX: usize = 200;
/// Of these, bytes of a series beside which more is said.
pub(super) const SERIES_BYTES_MAX: usize = 150;

/// Why a part was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    TooOld,
    Duplicate,
    Ahead,
    Labels,
    Limit,
    Histogram,
    Empty,
}

/// A part that was not written although the rest was. Sending it again cannot help.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refusals {
    /// Samples behind the out-of-order window.
    pub too_old: u64,
    /// Samples whose series has another value at their time.
    pub duplicate: u64,
    /// Samples too far ahead of the clock.
    pub ahead: u64,
    /// Series with labels that cannot be kept.
    pub labels: u64,
    /// Series beyond a limit.
    pub limit: u64,
    /// Histograms that contradict themselves.
    pub histograms: u64,
    /// Series that have nothing to write.
    pub empty: u64,
    /// Samples of series that the store forgot while they were written.
    pub unknown: u64,
    /// The first of each reason, for the log of the sender.
    pub examples: Vec<(Why, String)>,
    /// What the store refused first: to be made an example.
    pub places: Vec<Place>,
}

/// A sample of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub why: Why,
    /// Of the native histograms?
    pub native: bool,
    pub place: usize,
}

impl Refusals {
    pub fn any(&self) -> bool {
        self.reasons().iter().any(|(n, ..)| *n > 0)
    }

    pub fn example(&mut self, why: Why, text: impl FnOnce() -> String) {
        if self.examples.iter().all(|(w, _)| *w != why) {
            self.examples.push((why, cut(text(), EXAMPLE_BYTES_MAX)));
        }
    }

    fn reasons(&self) -> [(u64, &'static str, Option<Why>); 8] {
        [
            (self.too_old, "samples older than the out-of-order window", Some(Why::TooOld)),
            (self.duplicate, "samples whose series has another value at their time", Some(Why::Duplicate)),
            (self.ahead, "samples more than 10 minutes ahead of the clock", Some(Why::Ahead)),
            (self.labels, "series with labels that cannot be kept", Some(Why::Labels)),
            (self.limit, "series beyond a limit", Some(Why::Limit)),
            (self.histograms, "native histograms that contradict themselves", Some(Why::Histogram)),
            (self.empty, "series without a sample or histogram", Some(Why::Empty)),
            (self.unknown, "samples of series that were deleted meanwhile", None),
        ]
    }
}

/// The beginning of a text that is too long.
pub(super) fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        let end = (0..=most).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

/// One line: senders log the first.
impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refused ")?;
        let mut first = true;
        for (n, what, why) in self.reasons().iter().filter(|(n, ..)| *n > 0) {
            write!(f, "{}{n} {what}", if first { "" } else { ", " })?;
            first = false;
            if let Some((_, example)) = self.examples.iter().find(|(w, _)| Some(*w) == *why) {
                write!(f, " (such as {example})")?;
            }
        }
        f.write_str("; the rest was written")
    }
}

/// What was written of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    pub samples: u64,
    pub histograms: u64,
    pub exemplars: u64,
}

/// A request that failed, and what of it was written before it did: that is told too.
#[derive(Debug)]
pub(crate) struct Failed {
    pub failure: Failure,
    pub written: Written,
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self { failure, written: Written::default() }
    }
}

/// Nothing of a request was written, or not all that could have been. The variants differ in what the sender must do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// Drop it: it is no such message.
    #[error("the body is no remote-write message: {0}")]
    Malformed(#[from] Malformed),
    /// Drop it: it is no snappy block.
    #[error("the body is no block of snappy: {0}")]
    NotSnappy(String),
    /// Drop it: it is not gzip.
    #[error("the body is not gzip: {0}")]
    NotGzip(String),
    /// Send smaller ones.
    #[error("{0}")]
    TooLarge(String),
    /// Ask rightly.
    #[error("{0} is no parameter of an import; there are timestamp=MILLISECONDS and extra_label=NAME=VALUE")]
    BadQuery(String),
    /// Send another kind.
    #[error("{0}")]
    Unsupported(String),
    /// Send it faster.
    #[error("the body did not come in time")]
    TooSlow,
    /// The connection broke.
    #[error("the body broke off: {0}")]
    BrokeOff(String),
    /// Send it again, later.
    #[error("too much is being written at the moment; send it again")]
    Busy,
    /// Send it again, when somebody has made room or mended the disk.
    #[error("{0}")]
    Unavailable(String),
}
