//! Series as the scripts write them: `name{a="b"} 1+2x3 _ stale {{count:1}}`.

use std::sync::Arc;

use belfry_model::sample::{ResetHint, Span, stale_nan};
use belfry_model::{Histogram, Labels, METRIC_NAME};
use belfry_promql::syntax::quote::unquote;

/// A point of a series; `None` is a gap.
pub type Point = Option<PointValue>;

/// A value with what the script says of it.
#[derive(Clone, Debug)]
pub enum PointValue {
    /// A number.
    Float(f64),
    /// A histogram; true when the script names its reset hint.
    Histogram(Arc<Histogram>, bool),
}

/// `inf`, `nan` and decimal numbers.
pub fn number(text: &str) -> Option<f64> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    match rest.to_ascii_lowercase().as_str() {
        "inf" => Some(sign * f64::INFINITY),
        "nan" => Some(f64::NAN),
        r if r.starts_with(|c: char| c.is_ascii_digit() || c == '.') => r.parse::<f64>().ok().map(|v| sign * v),
        _ => None,
    }
}

/// Labels and the rest of the line.
pub fn labels(line: &str) -> Option<(Labels, &str)> {
    let end = line.find(|c: char| c == '{' || c == '@' || c.is_whitespace()).unwrap_or(line.len());
    let (name, mut rest) = line.split_at(end);
    let mut pairs: Vec<(String, String)> = Vec::new();
    if !name.is_empty() {
        pairs.push((METRIC_NAME.to_owned(), name.to_owned()));
    }
    if rest.starts_with('{') && !rest.starts_with("{{") {
        rest = rest[1..].trim_start();
        while !rest.starts_with('}') {
            let (key, after) = if rest.starts_with(['"', '\'', '`']) {
                let n = quoted(rest)?;
                (unquote(&rest[..n])?, &rest[n..])
            } else {
                let n = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))?;
                (rest[..n].to_owned(), &rest[n..])
            };
            rest = after.trim_start();
            if let Some(value) = rest.strip_prefix('=') {
                let value = value.trim_start();
                let n = quoted(value)?;
                pairs.push((key, unquote(&value[..n])?));
                rest = value[n..].trim_start();
            } else {
                pairs.push((METRIC_NAME.to_owned(), key));
            }
            rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
            if rest.is_empty() {
                return None;
            }
        }
        rest = &rest[1..];
    }
    Some((Labels::from_pairs(pairs), rest.trim()))
}

/// Length of the quoted string at the start.
fn quoted(text: &str) -> Option<usize> {
    let quote = text.chars().next()?;
    let mut escaped = false;
    for (i, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote != '`' => escaped = true,
            c if c == quote => return Some(i + 1),
            _ => {}
        }
    }
    None
}

/// All points of a line.
pub fn points(mut text: &str) -> Option<Vec<Point>> {
    let mut out = Vec::new();
    loop {
        text = text.trim_start();
        if text.is_empty() {
            return Some(out);
        }
        let mut depth = 0;
        let end = text
            .char_indices()
            .find(|(_, c)| {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ => {}
                }
                depth == 0 && c.is_whitespace()
            })
            .map_or(text.len(), |(i, _)| i);
        item(&text[..end], &mut out)?;
        text = &text[end..];
    }
}

fn item(text: &str, out: &mut Vec<Point>) -> Option<()> {
    if let Some(rest) = text.strip_prefix('_') {
        let n: usize = match rest.strip_prefix('x') {
            Some(n) => n.parse().ok()?,
            None => 1,
        };
        out.resize(out.len() + n, None);
        return Some(());
    }
    if text.starts_with("{{") {
        return histogram_item(text, out);
    }
    if text == "stale" {
        out.push(Some(PointValue::Float(stale_nan())));
        return Some(());
    }
    let (body, times) = match text.rsplit_once('x') {
        Some((body, n)) => (body, n.parse::<usize>().ok()?),
        None => (text, 0),
    };
    // A sign that does not belong to an exponent parts start and step.
    let step_at = body
        .char_indices()
        .skip(1)
        .find(|(i, c)| matches!(c, '+' | '-') && !body[..*i].ends_with(['e', 'E']))
        .map(|(i, _)| i);
    let (start, step) = match step_at {
        Some(i) => (number(&body[..i])?, number(&body[i..])?),
        None => (number(body).or_else(|| (body == "stale").then(stale_nan))?, 0.0),
    };
    let mut v = start;
    for _ in 0..=times {
        out.push(Some(PointValue::Float(v)));
        if step_at.is_some() {
            v += step;
        }
    }
    Some(())
}

fn histogram_item(text: &str, out: &mut Vec<Point>) -> Option<()> {
    let end = text.find("}}")? + 2;
    let (first, mut hinted) = histogram(&text[..end])?;
    let rest = &text[end..];
    let mut push = |h: &Histogram, hinted: bool| out.push(Some(PointValue::Histogram(Arc::new(h.clone()), hinted)));
    push(&first, hinted);
    if rest.is_empty() {
        return Some(());
    }
    if let Some(n) = rest.strip_prefix('x') {
        for _ in 0..n.parse::<usize>().ok()? {
            push(&first, hinted);
        }
        return Some(());
    }
    let sign = if rest.starts_with('-') { -1.0 } else { 1.0 };
    let rest = &rest[1..];
    let end = rest.find("}}")? + 2;
    let (step, step_hinted) = histogram(&rest[..end])?;
    hinted = step_hinted;
    let n: usize = rest[end..].strip_prefix('x')?.parse().ok()?;
    let mut h = first;
    for _ in 0..n {
        h = belfry_promql::add_histograms(&h, &step, sign)?;
        push(&h, hinted);
    }
    Some(())
}

/// `{{schema:0 sum:5 count:4 buckets:[1 2 1]}}`
fn histogram(text: &str) -> Option<(Histogram, bool)> {
    let inner = text.strip_prefix("{{")?.strip_suffix("}}")?;
    let mut h = Histogram::default();
    let mut hinted = false;
    let (mut offset, mut n_offset) = (0, 0);
    let mut rest = inner.trim();
    while !rest.is_empty() {
        let (key, after) = rest.split_once(':')?;
        let end = if after.starts_with('[') {
            after.find(']')? + 1
        } else {
            after.find(char::is_whitespace).unwrap_or(after.len())
        };
        let (value, after) = after.split_at(end);
        let list = || -> Option<Vec<f64>> { value.trim_matches(['[', ']']).split_whitespace().map(number).collect() };
        match key.trim() {
            "schema" => h.schema = value.parse().ok()?,
            "sum" => h.sum = number(value)?,
            "count" => h.count = number(value)?,
            "z_bucket" => h.zero_count = number(value)?,
            "z_bucket_w" => h.zero_threshold = number(value)?,
            "buckets" => h.positive_counts = list()?,
            "n_buckets" => h.negative_counts = list()?,
            "custom_values" => h.custom_bounds = list()?,
            "offset" => offset = value.parse().ok()?,
            "n_offset" => n_offset = value.parse().ok()?,
            "counter_reset_hint" => {
                hinted = true;
                h.reset_hint = match value {
                    "unknown" => ResetHint::Unknown,
                    "reset" => ResetHint::Reset,
                    "not_reset" => ResetHint::NotReset,
                    "gauge" => ResetHint::Gauge,
                    _ => return None,
                };
            }
            _ => return None,
        }
        rest = after.trim();
    }
    let spans = |offset: i32, counts: &[f64]| match counts.len() {
        0 => Vec::new(),
        n => vec![Span { offset, length: n as u32 }],
    };
    h.positive_spans = spans(offset, &h.positive_counts);
    h.negative_spans = spans(n_offset, &h.negative_counts);
    Some((h, hinted))
}
