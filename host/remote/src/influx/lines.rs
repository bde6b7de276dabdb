//! Line protocol: one line a sample.
//!
//! `measurement,tag=text,… value=1.5 1700000000000`. Fields: `value` for finite numbers, `special` for the others,
//! `histogram` for native histograms, `start` beside them where the sample has a start timestamp.
//!
//! Invariant: whatever the labels are, a line stays one line of one series; no body is longer than was asked.
//! Not here: which characters are written as others (`names`), packing, sending.

use belfry_model::sample::{Sample, Value};
use belfry_model::{Labels, METRIC_NAME};

use super::{names, special};
use crate::engine::Shipment;

/// Bytes of one body before packing. Small enough for a proxy's usual limit of 1 MiB, and 5,000 to 10,000 lines, which is
/// what InfluxDB advises.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// Bytes of measurement and tags. InfluxDB refuses 65,536.
pub const SERIES_BYTES_MAX: usize = 60_000;
/// Bytes of a histogram's text. InfluxDB 1 and 2 refuse 65,536 of a text field.
pub const HISTOGRAM_BYTES_MAX: usize = 60_000;
/// InfluxDB counts nanoseconds in 64 bits: from 1677 to 2262. A second is left at both ends, where it has marks of its own.
pub const TIME_MAX_MS: i64 = i64::MAX / 1_000_000 - 1_000;
const TIME_MIN_MS: i64 = -TIME_MAX_MS;

/// One request's worth.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Body {
    /// Whole lines.
    pub text: String,
    /// How many.
    pub samples: u64,
}

/// A shipment as line protocol.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lines {
    /// In order.
    pub bodies: Vec<Body>,
    /// Samples that cannot be written so.
    pub left_out: u64,
}

/// Writes a shipment as bodies of at most `body_bytes_max` bytes, or of one line where a line is longer.
pub fn encode(shipment: &Shipment, body_bytes_max: usize) -> Lines {
    let mut lines = Lines::default();
    let mut key = String::new();
    let mut line = String::new();
    for series in &shipment.series {
        key.clear();
        push_key(&mut key, &series.labels);
        if key.len() > SERIES_BYTES_MAX {
            lines.left_out += series.samples.len() as u64;
            continue;
        }
        for sample in &series.samples {
            line.clear();
            line.push_str(&key);
            match push_fields(&mut line, sample) {
                Some(()) => push_line(&mut lines.bodies, &line, body_bytes_max),
                None => lines.left_out += 1,
            }
        }
    }
    lines
}

fn push_line(bodies: &mut Vec<Body>, line: &str, body_bytes_max: usize) {
    match bodies.last_mut().filter(|b| b.text.len() + line.len() <= body_bytes_max) {
        Some(body) => {
            body.text.push_str(line);
            body.samples += 1;
        }
        None => bodies.push(Body { text: line.to_owned(), samples: 1 }),
    }
}

fn push_key(out: &mut String, labels: &Labels) {
    push_escaped(out, &names::encode_measurement(labels.metric().unwrap_or("")), &[',', ' ']);
    for label in labels.iter().filter(|l| &*l.name != METRIC_NAME) {
        out.push(',');
        push_escaped(out, &names::encode_key(&label.name), &[',', '=', ' ']);
        out.push('=');
        push_escaped(out, &names::encode(&label.value), &[',', '=', ' ']);
    }
}

/// Nothing that comes here holds a backslash, so this can be undone.
fn push_escaped(out: &mut String, text: &str, special: &[char]) {
    for c in text.chars() {
        if special.contains(&c) {
            out.push('\\');
        }
        out.push(c);
    }
}

/// Fields, time and the end of the line; `None` when they cannot be written.
fn push_fields(out: &mut String, sample: &Sample) -> Option<()> {
    if !(TIME_MIN_MS..=TIME_MAX_MS).contains(&sample.at.0) {
        return None;
    }
    match &sample.value {
        // `{:?}` is the shortest text that gives the same number, with an exponent where that is shorter.
        Value::Float(v) if v.is_finite() => out.push_str(&format!(" value={v:?}")),
        Value::Float(v) => push_text(out, " special=", &special::encode(*v)),
        Value::Histogram(h) => {
            let text = special::encode_histogram(h).filter(|t| t.len() <= HISTOGRAM_BYTES_MAX)?;
            push_text(out, " histogram=", &text);
        }
    }
    if let Some(start) = sample.start {
        out.push_str(&format!(",start={}i", start.0));
    }
    out.push_str(&format!(" {}\n", sample.at.0));
    Some(())
}

fn push_text(out: &mut String, field: &str, text: &str) {
    out.push_str(field);
    out.push('"');
    push_escaped(out, text, &['"', '\\']);
    out.push('"');
}

/// A series' key as `SHOW SERIES` tells it: `measurement,tag=text,…` with the escapes of a line.
pub fn decode_key(text: &str) -> Labels {
    let mut parts = split(text, ',').into_iter();
    let measurement = unescape(parts.next().unwrap_or(""));
    let mut pairs = vec![(METRIC_NAME.to_owned(), names::decode_measurement(&measurement).into_owned())];
    for tag in parts {
        let mut halves = split(tag, '=').into_iter();
        if let (Some(key), Some(value)) = (halves.next(), halves.next()) {
            pairs.push((names::decode(&unescape(key)).into_owned(), names::decode(&unescape(value)).into_owned()));
        }
    }
    Labels::from_pairs(pairs.into_iter().filter(|(name, _)| !name.is_empty()))
}

/// At each `at` that has no backslash before it.
fn split(text: &str, at: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut from, mut before) = (0, None);
    for (i, c) in text.char_indices() {
        if c == at && before != Some('\\') {
            parts.push(&text[from..i]);
            from = i + c.len_utf8();
        }
        before = Some(c);
    }
    parts.push(&text[from..]);
    parts
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some(&next @ (',' | '=' | ' '))) => {
                out.push(next);
                chars.next();
            }
            (c, _) => out.push(c),
        }
    }
    out
}

#[cfg(test)]
#[path = "lines_tests.rs"]
pub(crate) mod tests;
