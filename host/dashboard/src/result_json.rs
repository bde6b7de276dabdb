//! Answers of queries as Prometheus writes them, straight into bytes: large ones have millions of points.
//! <https://prometheus.io/docs/prometheus/latest/querying/api/#expression-query-result-formats>
//!
//! Invariant: what Prometheus writes for the same values: floats as Go's shortest form, times as seconds with three places
//! where they are no whole seconds (of a scalar or a text Prometheus leaves out the last zeros of the time; the number is
//! the same).
//! Not here: what else an answer says (`prometheus`).

use std::convert::Infallible;
use std::io::Write as _;
use std::ops::Range;

use belfry_model::{Histogram, Labels, TimestampMs};
use belfry_promql::syntax::quote::replace_raw_bytes;
use belfry_promql::workers::{AHEAD, Workers, in_order};
use belfry_promql::{MatrixRow, PointValue, QueryValue};

/// A point takes so many bytes, or fewer: a number of seconds and a float of 17 digits.
const POINT_BYTES: usize = 40;

/// A thread writes about so many points before it looks for more to do: some 100 µs.
const PIECE_POINTS: usize = 4_096;

/// No time in seconds is longer.
const INSTANT_BYTES: usize = 24;

/// Floats of these magnitudes have no exponent.
const FIXED: std::ops::Range<f64> = 1e-3..1e15;

/// The name of the result's type.
pub(crate) fn kind(value: &QueryValue) -> &'static str {
    match value {
        QueryValue::Scalar(..) => "scalar",
        QueryValue::String(..) => "string",
        QueryValue::Vector(_) => "vector",
        QueryValue::Matrix(_) => "matrix",
    }
}

/// How many series it has; `None` where it is no list of them.
pub(crate) fn series(value: &QueryValue) -> Option<usize> {
    match value {
        QueryValue::Scalar(..) | QueryValue::String(..) => None,
        QueryValue::Vector(points) => Some(points.len()),
        QueryValue::Matrix(rows) => Some(rows.len()),
    }
}

/// How many points it has.
pub(crate) fn points(value: &QueryValue) -> usize {
    match value {
        QueryValue::Scalar(..) | QueryValue::String(..) => 1,
        QueryValue::Vector(points) => points.len(),
        QueryValue::Matrix(rows) => rows.iter().map(|r| r.points.len()).sum(),
    }
}

/// Appends the result; of a list only the first `limit` series. Large ones are written by several threads.
pub(crate) fn write(value: &QueryValue, limit: usize, workers: &dyn Workers, out: &mut Vec<u8>) {
    out.reserve(points(value).saturating_mul(POINT_BYTES));
    match value {
        // Here alone Go's format `f` is used: no exponent.
        QueryValue::Scalar(at, v) => {
            point(*at, out, |out| string(&belfry_promql::syntax::number(*v), out));
        }
        QueryValue::String(at, s) => point(*at, out, |out| string(s, out)),
        QueryValue::Vector(points) => list(points.iter().take(limit), out, |p, out| {
            out.extend_from_slice(b"{\"metric\":");
            labels(&p.labels, out);
            match &p.value {
                PointValue::Float(v) => {
                    out.extend_from_slice(b",\"value\":");
                    point(p.at, out, |out| float(*v, out));
                }
                PointValue::Histogram(h) => {
                    out.extend_from_slice(b",\"histogram\":");
                    point(p.at, out, |out| histogram(h, out));
                }
            }
            out.push(b'}');
        }),
        QueryValue::Matrix(rows) => {
            let rows = rows.get(..limit).unwrap_or(rows);
            let pieces = pieces(rows);
            out.push(b'[');
            let begun = out.len();
            let whole = in_order(
                workers,
                pieces.len(),
                AHEAD,
                Instants::default,
                |instants, i| {
                    let rows = &rows[pieces[i].clone()];
                    let mut piece = Vec::with_capacity(rows.iter().map(bytes_of).sum());
                    for r in rows {
                        row(r, instants, &mut piece);
                        piece.push(b',');
                    }
                    piece
                },
                |piece| {
                    out.extend_from_slice(&piece);
                    Ok::<_, Infallible>(())
                },
            );
            if whole != Ok(true) {
                // One that helped panicked: what is wrong with its piece shows here.
                out.truncate(begun);
                rows.iter().for_each(|r| {
                    row(r, &mut Instants::default(), out);
                    out.push(b',');
                });
            }
            out.pop_if(|b| *b == b',');
            out.push(b']');
        }
    }
}

/// The rows in runs of [`PIECE_POINTS`] points or more.
fn pieces(rows: &[MatrixRow]) -> Vec<Range<usize>> {
    let mut pieces = Vec::new();
    let (mut from, mut points) = (0, 0);
    for (i, row) in rows.iter().enumerate() {
        points += row.points.len();
        if points >= PIECE_POINTS || i + 1 == rows.len() {
            pieces.push(from..i + 1);
            (from, points) = (i + 1, 0);
        }
    }
    pieces
}

fn bytes_of(row: &MatrixRow) -> usize {
    row.points.len() * POINT_BYTES + row.labels.iter().map(|l| l.name.len() + l.value.len() + 8).sum::<usize>()
}

fn row(row: &MatrixRow, instants: &mut Instants, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"metric\":");
    labels(&row.labels, out);
    let floats = row.points.iter().filter_map(|(at, v)| match v {
        PointValue::Float(v) => Some((*at, *v)),
        PointValue::Histogram(_) => None,
    });
    let histograms = row.points.iter().filter_map(|(at, v)| match v {
        PointValue::Float(_) => None,
        PointValue::Histogram(h) => Some((*at, h)),
    });
    if floats.clone().next().is_some() {
        out.extend_from_slice(b",\"values\":");
        list(floats.enumerate(), out, |(i, (at, v)), out| {
            out.push(b'[');
            instants.write(i, at, out);
            out.push(b',');
            float(v, out);
            out.push(b']');
        });
    }
    if histograms.clone().next().is_some() {
        out.extend_from_slice(b",\"histograms\":");
        list(histograms, out, |(at, h), out| point(at, out, |out| histogram(h, out)));
    }
    out.push(b'}');
}

/// Times as text: most series of an answer have points at the same ones.
#[derive(Default)]
struct Instants {
    of: Vec<TimestampMs>,
    /// Each with its length.
    texts: Vec<([u8; INSTANT_BYTES], usize)>,
}

impl Instants {
    /// Appends the time of the point at place `i`.
    fn write(&mut self, i: usize, at: TimestampMs, out: &mut Vec<u8>) {
        if self.of.get(i) == Some(&at)
            && let Some((text, len)) = self.texts.get(i)
        {
            return out.extend_from_slice(&text[..*len]);
        }
        let from = out.len();
        seconds(at, out);
        let text = &out[from..];
        let mut padded = [0; INSTANT_BYTES];
        padded[..text.len()].copy_from_slice(text);
        if i == self.of.len() {
            self.of.push(at);
            self.texts.push((padded, text.len()));
        } else if i < self.of.len() {
            self.of[i] = at;
            self.texts[i] = (padded, text.len());
        }
    }
}

fn list<T>(items: impl Iterator<Item = T>, out: &mut Vec<u8>, mut each: impl FnMut(T, &mut Vec<u8>)) {
    out.push(b'[');
    for (i, item) in items.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        each(item, out);
    }
    out.push(b']');
}

fn point(at: TimestampMs, out: &mut Vec<u8>, value: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'[');
    seconds(at, out);
    out.push(b',');
    value(out);
    out.push(b']');
}

fn labels(labels: &Labels, out: &mut Vec<u8>) {
    out.push(b'{');
    for (i, l) in labels.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        string(&l.name, out);
        out.push(b':');
        string(&l.value, out);
    }
    out.push(b'}');
}

/// Appends a text in quotes. Bytes that are no UTF-8 (`"\xff"` in a query) become U+FFFD, as Go writes them.
pub(crate) fn string(text: &str, out: &mut Vec<u8>) {
    // What stands for such a byte begins with 0xf4, and so does hardly anything else.
    let plain = text.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\' && b != 0x7f && b != 0xf4);
    if plain {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return;
    }
    // Writing to memory does not fail.
    let _ = serde_json::to_writer(out, &replace_raw_bytes(text));
}

fn seconds(at: TimestampMs, out: &mut Vec<u8>) {
    if at.0 < 0 {
        out.push(b'-');
    }
    let ms = at.0.unsigned_abs();
    out.extend_from_slice(itoa::Buffer::new().format(ms / 1_000).as_bytes());
    let fraction = ms % 1_000;
    if fraction != 0 {
        let _ = write!(out, ".{fraction:03}");
    }
}

fn float(v: f64, out: &mut Vec<u8>) {
    out.push(b'"');
    number(v, out);
    out.push(b'"');
}

/// As Go's `strconv.FormatFloat` writes it: the shortest text that is read back the same.
fn number(v: f64, out: &mut Vec<u8>) {
    if v.is_nan() {
        return out.extend_from_slice(b"NaN");
    }
    if v.is_infinite() {
        return out.extend_from_slice(if v > 0.0 { b"+Inf" } else { b"-Inf" });
    }
    // Whole numbers are common, and exact.
    let whole = v as i64;
    if v.abs() < 1e15 && whole as f64 == v && (v != 0.0 || v.is_sign_positive()) {
        return out.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes());
    }
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(v);
    if !FIXED.contains(&v.abs()) && text.contains('e') {
        return out.extend_from_slice(crate::prometheus::number(v).as_bytes());
    }
    out.extend_from_slice(text.strip_suffix(".0").unwrap_or(text).as_bytes());
}

/// `count`, `sum` and the filled buckets as `[boundary rule, low, high, count]` (0 open left, 1 open right, 2 open, 3 closed).
fn histogram(h: &Histogram, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"count\":");
    float(h.count, out);
    out.extend_from_slice(b",\"sum\":");
    float(h.sum, out);
    let buckets = belfry_promql::histogram_buckets(h);
    if !buckets.is_empty() {
        out.extend_from_slice(b",\"buckets\":");
        list(buckets.into_iter(), out, |b, out| {
            let rule: &[u8] = match (b.lower_inclusive, b.upper_inclusive) {
                (false, true) => b"[0,",
                (true, false) => b"[1,",
                (false, false) => b"[2,",
                (true, true) => b"[3,",
            };
            out.extend_from_slice(rule);
            float(b.lower, out);
            out.push(b',');
            float(b.upper, out);
            out.push(b',');
            float(b.count, out);
            out.push(b']');
        });
    }
    out.push(b'}');
}

#[cfg(test)]
#[path = "result_json_tests.rs"]
mod tests;
