//! A series as text, `name{label="value"}` or `{"a name", label="value"}`: checked, walked, decoded.
//!
//! Invariant: [`scan`] accepts exactly what [`series_pairs`] can walk.

use std::borrow::Cow;

use belfry_model::{Labels, LabelsBuilder, METRIC_NAME};
use memchr::memchr2;

/// Which whitespace a format allows between the parts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Blanks {
    /// Any (text 0.0.4).
    Allowed,
    /// None (OpenMetrics).
    Refused,
}

/// What is wrong, and at which offset.
pub(super) type Fault = (usize, &'static str);

pub(super) fn is_name_start(b: u8) -> bool {
    b.is_ascii_alphabetic() || b == b'_' || b == b':'
}

fn is_name_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b == b':'
}

/// The end of the metric name that begins at `i`; `i` itself when there is none.
pub(super) fn name_end(text: &[u8], i: usize) -> usize {
    match text.get(i) {
        Some(b) if is_name_start(*b) => end_while(text, i, is_name_byte),
        _ => i,
    }
}

fn end_while(text: &[u8], i: usize, keep: impl Fn(u8) -> bool) -> usize {
    text.get(i..).and_then(|rest| rest.iter().position(|b| !keep(*b))).map_or(text.len(), |n| i + n)
}

fn skip_blanks(text: &[u8], i: usize, blanks: Blanks) -> usize {
    match blanks {
        Blanks::Allowed => end_while(text, i, |b| b == b' ' || b == b'\t'),
        Blanks::Refused => i,
    }
}

/// The end of the quoted string that begins at `i` (with its quote), after its closing quote.
fn quoted_end(text: &[u8], i: usize) -> Option<usize> {
    let mut at = i + 1;
    loop {
        let found = at + memchr2(b'"', b'\\', text.get(at..)?)?;
        if text.get(found) == Some(&b'"') {
            return Some(found + 1);
        }
        at = found + 2;
    }
}

/// The end of a label set that begins at `i` (with its brace). `named` says whether the metric's name came already;
/// in an exemplar (`None`) there is none.
pub(super) fn scan_labels(text: &[u8], i: usize, blanks: Blanks, named: Option<bool>) -> Result<usize, Fault> {
    let mut named_now = named.unwrap_or(true);
    let mut at = skip_blanks(text, i + 1, blanks);
    loop {
        let start = at;
        match text.get(at) {
            Some(b'}') if named_now => return Ok(at + 1),
            Some(b'}') => return Err((at, "the metric's name is missing")),
            Some(b'"') => at = quoted_end(text, at).ok_or((start, "the quotes of a name are not closed"))?,
            Some(b) if is_name_start(*b) && *b != b':' => {
                at = end_while(text, at, |b| is_name_byte(b) && b != b':');
            }
            _ => return Err((at, "expected a label name or `}`")),
        }
        at = skip_blanks(text, at, blanks);
        match text.get(at) {
            Some(b'=') => {
                at = skip_blanks(text, at + 1, blanks);
                if text.get(at) != Some(&b'"') {
                    return Err((at, "expected a label value in double quotes"));
                }
                at = quoted_end(text, at).ok_or((at, "the quotes of a label value are not closed"))?;
                at = skip_blanks(text, at, blanks);
            }
            Some(b',' | b'}') if text.get(start) == Some(&b'"') && named.is_some() => {
                if named_now {
                    return Err((start, "the metric's name is given twice"));
                }
                named_now = true;
            }
            _ => return Err((at, "expected `=`")),
        }
        match text.get(at) {
            Some(b',') => at = skip_blanks(text, at + 1, blanks),
            Some(b'}') => {}
            _ => return Err((at, "expected `,` or `}`")),
        }
    }
}

/// The end of the series that begins at `i`.
pub(super) fn scan(text: &[u8], i: usize, blanks: Blanks) -> Result<usize, Fault> {
    let end = name_end(text, i);
    let brace = skip_blanks(text, end, blanks);
    if text.get(brace) == Some(&b'{') {
        return scan_labels(text, brace, blanks, Some(end > i));
    }
    if end == i { Err((i, "expected a metric name")) } else { Ok(end) }
}

/// The names and values of a series as a parser gave it: the metric's name first, where it is written first.
pub fn series_pairs(series: &str) -> SeriesPairs<'_> {
    let end = name_end(series.as_bytes(), 0);
    SeriesPairs { text: series, at: end, name: (end > 0).then(|| series.get(..end)).flatten() }
}

/// Names and values of a series, unescaped.
#[derive(Clone)]
pub struct SeriesPairs<'a> {
    text: &'a str,
    at: usize,
    name: Option<&'a str>,
}

impl<'a> Iterator for SeriesPairs<'a> {
    type Item = (Cow<'a, str>, Cow<'a, str>);

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(name) = self.name.take() {
            return Some((Cow::Borrowed(METRIC_NAME), Cow::Borrowed(name)));
        }
        let text = self.text.as_bytes();
        let start = end_while(text, self.at, |b| matches!(b, b' ' | b'\t' | b'{' | b','));
        let end = match text.get(start)? {
            b'"' => quoted_end(text, start)?,
            b if is_name_start(*b) => end_while(text, start, is_name_byte),
            _ => return None,
        };
        let name = word(self.text.get(start..end)?);
        let after = skip_blanks(text, end, Blanks::Allowed);
        if text.get(after) != Some(&b'=') {
            self.at = after;
            return Some((Cow::Borrowed(METRIC_NAME), name));
        }
        let value = skip_blanks(text, after + 1, Blanks::Allowed);
        self.at = quoted_end(text, value)?;
        Some((name, word(self.text.get(value..self.at)?)))
    }
}

/// Without its quotes and escapes.
pub(super) fn word(text: &str) -> Cow<'_, str> {
    match text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) {
        Some(inner) => unescape(inner, true),
        None => Cow::Borrowed(text),
    }
}

/// `\\`, `\n` and (with `quotes`) `\"`; any other backslash stays, as in Prometheus.
pub(super) fn unescape(text: &str, quotes: bool) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let plain = match (c, chars.peek()) {
            ('\\', Some('\\')) => '\\',
            ('\\', Some('n')) => '\n',
            ('\\', Some('"')) if quotes => '"',
            _ => {
                out.push(c);
                continue;
            }
        };
        chars.next();
        out.push(plain);
    }
    Cow::Owned(out)
}

/// The labels of a series as a parser gave it, or of an exemplar. Fails when a name stands twice.
pub fn series_labels(series: &str) -> Result<Labels, String> {
    let mut names: Vec<Cow<'_, str>> = Vec::new();
    let mut builder = LabelsBuilder::default();
    for (name, value) in series_pairs(series) {
        if names.contains(&name) {
            return Err(format!("label `{name}` stands twice in `{series}`"));
        }
        builder.set(&*name, &*value);
        names.push(name);
    }
    Ok(builder.build())
}
