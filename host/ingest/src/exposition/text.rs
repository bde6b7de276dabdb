//! The text formats: Prometheus' 0.0.4 (and 1.0.0, which adds quoted names) and OpenMetrics 1.0.
//!
//! Invariant: accepts and refuses what Prometheus 3 accepts and refuses; hands out slices of the input.
//! Not here: what a known series saves (`scrape::cache` asks [`TextParser::known_sample`]).

use std::borrow::Cow;

use belfry_model::MetricKind;
use memchr::{memchr, memmem};

use super::created::Created;
use super::series::{Blanks, Fault, name_end, scan, scan_labels, unescape, word};
use super::{Event, ExemplarText, ParseError, Sample, normal_nan};

/// Which text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextFormat {
    /// 0.0.4 and 1.0.0: times in milliseconds.
    Prometheus,
    /// OpenMetrics 0.0.1 and 1.0: times in seconds, exemplars, `# EOF` at the end.
    OpenMetrics,
}

/// A pull parser over a whole body.
pub struct TextParser<'a> {
    body: &'a [u8],
    at: usize,
    value_at: usize,
    format: TextFormat,
    /// Only where the text has such lines at all.
    created: Option<Created<'a>>,
    done: bool,
}

type Parsed<T> = Result<T, (usize, Cow<'static, str>)>;

/// Is this infinity or NaN by name? A number that is too large is neither, and a NaN has no sign, as in Go.
fn is_named(text: &[u8]) -> bool {
    match text {
        [b'n' | b'N', ..] => true,
        [b'+' | b'-', rest @ ..] | rest => matches!(rest, [b'i' | b'I', ..]),
    }
}

fn plain((at, message): Fault) -> (usize, Cow<'static, str>) {
    (at, Cow::Borrowed(message))
}

impl<'a> TextParser<'a> {
    /// Over `body`.
    pub fn new(body: &'a [u8], format: TextFormat) -> Self {
        let created = format == TextFormat::OpenMetrics && memmem::find(body, b"_created").is_some();
        Self { body, at: 0, value_at: 0, format, created: created.then(Created::new), done: false }
    }

    /// Bytes read so far: always the beginning of a line between two events.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Where the number of the last sample stands that [`Self::next_event`] gave.
    pub fn value_position(&self) -> usize {
        self.value_at
    }

    /// Does what a line means depend on lines before it? Then [`Self::known_sample`] must not be used.
    pub fn needs_context(&self) -> bool {
        self.created.is_some()
    }

    /// `None` at the end. After an error, [`Self::skip_line`] goes on behind the bad line.
    pub fn next_event(&mut self) -> Result<Option<Event<'a>>, ParseError> {
        if self.done {
            return Ok(None);
        }
        let next = match self.format {
            TextFormat::Prometheus => self.next_prometheus(),
            TextFormat::OpenMetrics => self.next_openmetrics(),
        };
        next.map_err(|(at, message)| self.error(at, message))
    }

    /// Leaves the line out that stands next; after an error, the bad one.
    pub fn skip_line(&mut self) {
        self.at = self.line_end(self.at).map_or(self.body.len(), |n| n + 1);
    }

    /// A sample whose line, comments before it included, begins with `prefix` (the series and the blank after it): the
    /// caller has seen it before and knows what it means. `None` when the text goes on differently, or is malformed:
    /// then [`Self::next_event`] finds out. Gives value and time.
    #[inline]
    pub fn known_sample(&mut self, prefix: &[u8]) -> Option<(f64, Option<i64>)> {
        let rest = self.body.get(self.at..)?;
        if self.done || rest.get(..prefix.len())? != prefix {
            return None;
        }
        let value_at = self.at + prefix.len();
        let (value, end) = self.float(value_at).ok()?;
        if self.body.get(end) == Some(&b'\n') {
            self.at = end + 1;
            return Some((value, None));
        }
        // Whatever else stands there (a time, an exemplar, the end) is for the long way, but for a plain time.
        let (at, end) = match self.format {
            TextFormat::Prometheus => self.millis(self.blanks(end)).ok()?,
            TextFormat::OpenMetrics => return None,
        };
        (self.body.get(end) == Some(&b'\n')).then(|| {
            self.at = end + 1;
            (value, Some(at))
        })
    }

    fn error(&self, at: usize, message: Cow<'static, str>) -> ParseError {
        let before = self.body.get(..at.min(self.body.len())).unwrap_or_default();
        // A quoted string that was never closed runs over lines: the line where the entry began is at fault.
        let line = memchr::memchr_iter(b'\n', before).count() + 1;
        ParseError { line, message: message.into_owned(), is_sample: false }
    }

    fn line_end(&self, from: usize) -> Option<usize> {
        memchr(b'\n', self.body.get(from..)?).map(|n| from + n)
    }

    fn blanks(&self, from: usize) -> usize {
        let rest = self.body.get(from..).unwrap_or_default();
        from + rest.iter().take_while(|b| matches!(b, b' ' | b'\t')).count()
    }

    fn text(&self, from: usize, to: usize, what: &'static str) -> Parsed<&'a str> {
        let bytes = self.body.get(from..to).unwrap_or_default();
        std::str::from_utf8(bytes).map_err(|_| (from, Cow::Borrowed(what)))
    }

    /// A float that ends at a blank or the line's end; gives where it ends.
    #[inline]
    fn float(&self, from: usize) -> Parsed<(f64, usize)> {
        let rest = self.body.get(from..).unwrap_or_default();
        if let Ok((value, n)) = fast_float2::parse_partial::<f64, _>(rest)
            && n > 0
            && matches!(rest.get(n), None | Some(b' ' | b'\t' | b'\n'))
            && (value.is_finite() || is_named(rest))
        {
            return Ok((normal_nan(value), from + n));
        }
        let end = rest.iter().position(|b| matches!(b, b' ' | b'\t' | b'\n')).unwrap_or(rest.len());
        let text = String::from_utf8_lossy(rest.get(..end.min(40)).unwrap_or_default()).into_owned();
        let why = if text.is_empty() { "expected a value".into() } else { format!("`{text}` is no number").into() };
        Err((from, why))
    }

    /// A time in whole milliseconds.
    fn millis(&self, from: usize) -> Parsed<(i64, usize)> {
        let rest = self.body.get(from..).unwrap_or_default();
        let end = rest.iter().position(|b| !b.is_ascii_digit() && *b != b'-').unwrap_or(rest.len());
        let number = rest.get(..end).and_then(|t| std::str::from_utf8(t).ok()).and_then(|t| t.parse().ok());
        let fault = (from, Cow::Borrowed("expected a time in whole milliseconds, or the end of the line"));
        number.map(|n| (n, from + end)).ok_or(fault)
    }

    /// A time in seconds, as milliseconds.
    fn seconds(&self, from: usize) -> Parsed<(i64, usize)> {
        let (seconds, end) = self.float(from)?;
        if !seconds.is_finite() {
            return Err((from, Cow::Borrowed("a time must be finite")));
        }
        Ok(((seconds * 1000.0) as i64, end))
    }

    fn next_prometheus(&mut self) -> Parsed<Option<Event<'a>>> {
        loop {
            let start = self.blanks(self.at);
            match self.body.get(start) {
                None => {
                    self.at = start;
                    self.done = true;
                    return Ok(None);
                }
                Some(b'\n') => self.at = start + 1,
                Some(b'#') => {
                    let end = self.line_end(start).unwrap_or(self.body.len());
                    let event = self.comment(start, end)?;
                    self.at = (end + 1).min(self.body.len());
                    if event.is_some() {
                        return Ok(event);
                    }
                }
                Some(_) => return self.sample(start).map(Some),
            }
        }
    }

    /// `# HELP name text` or `# TYPE name kind`; anything else after `#` is for people.
    fn comment(&self, start: usize, end: usize) -> Parsed<Option<Event<'a>>> {
        let word_at = self.blanks(start + 1);
        let keyword = self.body.get(word_at..end.min(word_at + 4)).unwrap_or_default();
        let after = word_at + 4;
        let is_keyword = matches!(keyword, b"HELP" | b"TYPE") && word_at > start + 1;
        if !is_keyword || !matches!(self.body.get(after), Some(b' ' | b'\t')) {
            return Ok(None);
        }
        let name_at = self.blanks(after);
        let (metric, name_end) = self.family(name_at, end)?;
        let rest = self.text((name_end + 1).min(end), end, "the text is not UTF-8")?;
        Ok(Some(match keyword {
            b"HELP" => Event::Help { metric, text: unescape(rest, false) },
            _ => {
                let kind = self.kind(rest.trim_matches([' ', '\t']), name_end + 1)?;
                Event::Type { metric, kind }
            }
        }))
    }

    /// A family's name, perhaps quoted.
    fn family(&self, from: usize, line_end: usize) -> Parsed<(Cow<'a, str>, usize)> {
        const FAULT: &str = "expected a metric name after the keyword";
        let line = self.body.get(..line_end).unwrap_or_default();
        let end = if line.get(from) == Some(&b'"') {
            let mut escaped = false;
            let closing = line.get(from + 1..).unwrap_or_default().iter().position(|b| {
                let closes = *b == b'"' && !escaped;
                escaped = *b == b'\\' && !escaped;
                closes
            });
            from + 2 + closing.ok_or((from, Cow::Borrowed(FAULT)))?
        } else {
            name_end(line, from)
        };
        if end == from || !matches!(line.get(end), None | Some(b' ' | b'\t')) {
            return Err((from, Cow::Borrowed(FAULT)));
        }
        Ok((word(self.text(from, end, "a metric name is not UTF-8")?), end))
    }

    fn kind(&self, text: &str, at: usize) -> Parsed<MetricKind> {
        let kind = match (text, self.format) {
            ("counter", _) => MetricKind::Counter,
            ("gauge", _) => MetricKind::Gauge,
            ("histogram", _) => MetricKind::Histogram,
            ("summary", _) => MetricKind::Summary,
            ("untyped", TextFormat::Prometheus) | ("unknown", TextFormat::OpenMetrics) => MetricKind::Unknown,
            ("gaugehistogram", TextFormat::OpenMetrics) => MetricKind::GaugeHistogram,
            ("info", TextFormat::OpenMetrics) => MetricKind::Info,
            ("stateset", TextFormat::OpenMetrics) => MetricKind::StateSet,
            _ => {
                let short: String = text.chars().take(40).collect();
                return Err((at, format!("`{short}` is no metric type").into()));
            }
        };
        Ok(kind)
    }

    fn sample(&mut self, start: usize) -> Parsed<Event<'a>> {
        let series_end = scan(self.body, start, Blanks::Allowed).map_err(plain)?;
        let series = self.text(start, series_end, "the labels are not UTF-8")?;
        self.value_at = self.blanks(series_end);
        let (value, end) = self.float(self.value_at)?;
        let mut end = self.blanks(end);
        let mut at = None;
        if !matches!(self.body.get(end), None | Some(b'\n')) {
            let (time, time_end) = self.millis(end)?;
            at = Some(time);
            end = self.blanks(time_end);
            if !matches!(self.body.get(end), None | Some(b'\n')) {
                return Err((end, Cow::Borrowed("expected the end of the line after the time")));
            }
        }
        self.at = (end + 1).min(self.body.len());
        Ok(Event::Sample(Sample { series, value, at, start: None, exemplar: None }))
    }

    fn next_openmetrics(&mut self) -> Parsed<Option<Event<'a>>> {
        loop {
            let start = self.at;
            match self.body.get(start) {
                None => return Err((start, Cow::Borrowed("the text does not end with `# EOF`"))),
                Some(b'#') => return self.openmetrics_comment(start),
                Some(_) => {
                    let sample = self.openmetrics_sample(start)?;
                    if !self.created.as_ref().is_some_and(|c| c.is_created(sample.series)) {
                        return Ok(Some(Event::Sample(sample)));
                    }
                }
            }
        }
    }

    fn openmetrics_comment(&mut self, start: usize) -> Parsed<Option<Event<'a>>> {
        let rest = self.body.get(start..).unwrap_or_default();
        if let Some(after) = rest.strip_prefix(b"# EOF") {
            if !matches!(after, b"" | b"\n") {
                return Err((start + 5, Cow::Borrowed("there is more after `# EOF`")));
            }
            self.at = self.body.len();
            self.done = true;
            return Ok(None);
        }
        let end = self.line_end(start).ok_or((start, Cow::Borrowed("the text does not end with `# EOF`")))?;
        let keyword = rest.get(..7).unwrap_or_default();
        if !matches!(keyword, b"# HELP " | b"# TYPE " | b"# UNIT ") {
            return Err((start, Cow::Borrowed("expected `# HELP`, `# TYPE`, `# UNIT`, `# EOF` or a sample")));
        }
        let name_at = start + 7;
        let (metric, name_end) = self.family(name_at, end)?;
        if self.body.get(name_end) != Some(&b' ') {
            return Err((name_end, Cow::Borrowed("expected a text after the metric's name")));
        }
        let text = self.text(name_end + 1, end, "the text is not UTF-8")?;
        self.at = end + 1;
        Ok(Some(match keyword {
            b"# HELP " => Event::Help { metric, text: unescape(text, true) },
            b"# UNIT " => {
                let fits = metric.strip_suffix(text).is_some_and(|m| m.len() > 1 && m.ends_with('_'));
                if !text.is_empty() && !fits {
                    return Err((start, format!("unit `{text}` is not the last part of `{metric}`").into()));
                }
                Event::Unit { metric, unit: text }
            }
            _ => {
                let kind = self.kind(text, name_end + 1)?;
                let family = self.text(name_at, name_end, "a metric name is not UTF-8")?.trim_matches('"');
                let rest = self.body.get(self.at..).unwrap_or_default();
                if let Some(created) = &mut self.created {
                    created.begin(family, kind, rest);
                }
                Event::Type { metric, kind }
            }
        }))
    }

    fn openmetrics_sample(&mut self, start: usize) -> Parsed<Sample<'a>> {
        let series_end = scan(self.body, start, Blanks::Refused).map_err(plain)?;
        let series = self.text(start, series_end, "the labels are not UTF-8")?;
        if series.contains('\n') {
            return Err((start, Cow::Borrowed("the quotes of a label value are not closed")));
        }
        self.value_at = self.one_blank(series_end, "expected a value after the series")?;
        let (value, mut end) = self.float(self.value_at)?;
        let (mut at, mut exemplar) = (None, None);
        if self.body.get(end) == Some(&b' ') && self.body.get(end + 1) != Some(&b'#') {
            let (time, time_end) = self.seconds(end + 1)?;
            (at, end) = (Some(time), time_end);
        }
        if self.body.get(end..end + 4) == Some(b" # {") {
            let found;
            (found, end) = self.exemplar(end + 3)?;
            exemplar = Some(found);
        }
        match self.body.get(end) {
            Some(b'\n') => self.at = end + 1,
            None => return Err((end, Cow::Borrowed("the text does not end with `# EOF`"))),
            Some(_) => return Err((end, Cow::Borrowed("expected the end of the line"))),
        }
        let start = self.created.as_ref().and_then(|c| c.start(series));
        Ok(Sample { series, value, at, start, exemplar })
    }

    fn exemplar(&self, start: usize) -> Parsed<(ExemplarText<'a>, usize)> {
        let labels_end = scan_labels(self.body, start, Blanks::Refused, None).map_err(plain)?;
        let labels = self.text(start, labels_end, "the exemplar's labels are not UTF-8")?;
        let value_at = self.one_blank(labels_end, "expected a value after the exemplar's labels")?;
        let (value, mut end) = self.float(value_at)?;
        let mut at = None;
        if self.body.get(end) == Some(&b' ') {
            let (time, time_end) = self.seconds(end + 1)?;
            (at, end) = (Some(time), time_end);
        }
        Ok((ExemplarText { labels, value, at }, end))
    }

    fn one_blank(&self, at: usize, fault: &'static str) -> Parsed<usize> {
        (self.body.get(at) == Some(&b' ')).then_some(at + 1).ok_or((at, Cow::Borrowed(fault)))
    }
}
