//! Series as test files write them: `name{a="b"}` and `1+2x3 _ stale {{count:1}}x2`.

use std::sync::Arc;

use belfry_model::labels::is_legacy_metric_name;
use belfry_model::sample::{ResetHint, Span, stale_nan};
use belfry_model::{Histogram, Labels, METRIC_NAME, Value};
use belfry_promql::syntax::quote::unquote;

/// Values of one series: `x` makes many of little text.
pub(crate) const POINTS_MAX: usize = 1_000_000;

/// Of native histograms with bounds of their own.
const CUSTOM_SCHEMA: i32 = -53;

/// A point of a series; `None` is a gap.
pub(crate) type Point = Option<Value>;

/// PromQL's operators: no metric is called so without quotes.
const OPERATORS: &[&str] = &["inf", "nan", "bool", "on", "ignoring", "group_left", "group_right", "atan2"];

/// `inf`, `nan` and decimal numbers, as PromQL has them: `_` may part digits, and none is too large.
pub(crate) fn number(text: &str) -> Option<f64> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    let rest = rest.to_ascii_lowercase();
    match rest.as_str() {
        "inf" => Some(sign * f64::INFINITY),
        "nan" => Some(f64::NAN),
        r if r.starts_with(|c: char| c.is_ascii_digit() || c == '.') => {
            let parts_digits =
                |(i, _)| [i - 1, i + 1].iter().all(|i| r.as_bytes().get(*i).is_some_and(u8::is_ascii_digit));
            let parted = r.match_indices('_').all(parts_digits);
            let bare = r.replace('_', "");
            // As in Go a zero in front makes it octal, where all its digits are.
            let digits = bare.strip_prefix('0').filter(|d| d.bytes().all(|b| b.is_ascii_digit()));
            let octal = digits.and_then(|d| i64::from_str_radix(d, 8).ok()).map(|v| v as f64);
            let v = octal.or_else(|| bare.parse::<f64>().ok());
            v.filter(|v| parted && v.is_finite()).map(|v| sign * v)
        }
        _ => None,
    }
}

/// A series as test files put it in: with labels, and its braces right behind its name.
pub(crate) fn series(text: &str) -> Option<Labels> {
    let named = text.trim();
    let parted = named.find(char::is_whitespace).is_some_and(|i| !named[..i].contains('{'));
    labels(text).filter(|labels| !parted && !labels.is_empty())
}

/// `name{a="b"}`, `{a="b"}` or `{"na.me", a="b"}`.
pub(crate) fn labels(text: &str) -> Option<Labels> {
    let text = text.trim();
    let end = text.find(['{', ' ', '\t']).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let mut pairs: Vec<(String, String)> = Vec::new();
    if !name.is_empty() {
        if !is_legacy_metric_name(name) || OPERATORS.iter().any(|o| name.eq_ignore_ascii_case(o)) {
            return None;
        }
        pairs.push((METRIC_NAME.to_owned(), name.to_owned()));
    }
    let mut rest = rest.trim();
    if rest.is_empty() {
        return Some(Labels::from_pairs(pairs));
    }
    rest = rest.strip_prefix('{')?.trim_start();
    while !rest.starts_with('}') {
        let (key, after) = if rest.starts_with(['"', '\'', '`']) {
            let n = quoted(rest)?;
            (unquote(&rest[..n])?, &rest[n..])
        } else {
            let n = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))?;
            let begins = |c: char| c.is_ascii_alphabetic() || c == '_';
            (rest[..n].strip_prefix(begins).map(|_| rest[..n].to_owned())?, &rest[n..])
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
        let (last, earlier) = pairs.split_last()?;
        if !name.is_empty() && last.0 == METRIC_NAME {
            // As in Prometheus: the name before the braces holds.
            pairs.pop();
        } else if last.0.is_empty() || earlier.iter().any(|(name, _)| *name == last.0) {
            return None;
        }
        rest = match rest.strip_prefix(',') {
            Some(rest) => rest.trim_start(),
            None if rest.starts_with('}') => rest,
            None => return None,
        };
    }
    rest[1..].trim().is_empty().then(|| Labels::from_pairs(pairs))
}

/// Length of the quoted string at the start.
fn quoted(text: &str) -> Option<usize> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\'' | '`'))?;
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

/// All points of a `values` text; the error is the item that is none.
pub(crate) fn points(text: &str) -> Result<Vec<Point>, String> {
    let mut out = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let mut depth = 0;
        let end = rest.char_indices().find(|(_, c)| {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            depth == 0 && c.is_whitespace()
        });
        let end = end.map_or(rest.len(), |(i, _)| i);
        item(&rest[..end], &mut out).ok_or_else(|| rest[..end].to_owned())?;
        if out.len() > POINTS_MAX {
            return Err(format!("more than {POINTS_MAX} values"));
        }
        rest = rest[end..].trim_start();
    }
    Ok(out)
}

/// The `n` of `x n`.
fn times(text: &str) -> Option<usize> {
    text.parse::<usize>().ok().map(|n| n.min(POINTS_MAX))
}

fn item(text: &str, out: &mut Vec<Point>) -> Option<()> {
    if let Some(rest) = text.strip_prefix('_') {
        let n = match rest.strip_prefix('x') {
            Some(n) => times(n)?,
            None if rest.is_empty() => 1,
            None => return None,
        };
        out.resize(out.len() + n, None);
        return Some(());
    }
    if text.starts_with("{{") {
        return histogram_item(text, out);
    }
    if text == "stale" {
        out.push(Some(Value::Float(stale_nan())));
        return Some(());
    }
    // `0x3` is three more zeros: there are no hexadecimal values here.
    let (body, n) = match text.split_once('x') {
        Some((body, n)) => (body, times(n)?),
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
        None => (number(body)?, 0.0),
    };
    // Steps are taken a number of times, and `infx2` is a word of its own.
    let (repeated, ends_in_digits) = (text.len() > body.len(), !body.ends_with(|c: char| c.is_ascii_alphabetic()));
    if (step_at.is_some() && !repeated) || (repeated && !ends_in_digits) {
        return None;
    }
    let mut v = start;
    for _ in 0..=n {
        out.push(Some(Value::Float(v)));
        if step_at.is_some() {
            v += step;
        }
    }
    Some(())
}

fn histogram_item(text: &str, out: &mut Vec<Point>) -> Option<()> {
    let end = text.find("}}")? + 2;
    let first = histogram(&text[..end])?;
    let rest = &text[end..];
    let mut push = |h: &Histogram| {
        let below_zero = h.positive_counts.iter().chain(&h.negative_counts).any(|c| *c < 0.0);
        // As a store refuses them.
        if below_zero || (h.schema != CUSTOM_SCHEMA && !h.custom_bounds.is_empty()) {
            return None;
        }
        out.push(Some(Value::Histogram(Arc::new(h.clone()))));
        Some(())
    };
    push(&first)?;
    if rest.is_empty() {
        return Some(());
    }
    if let Some(n) = rest.strip_prefix('x') {
        return (0..times(n)?).try_for_each(|_| push(&first));
    }
    let (sign, rest) = match rest.split_at_checked(1)? {
        ("+", rest) => (1.0, rest),
        ("-", rest) => (-1.0, rest),
        _ => return None,
    };
    let end = rest.find("}}")? + 2;
    let step = histogram(&rest[..end])?;
    let mut h = first;
    for _ in 0..times(rest[end..].strip_prefix('x')?)? {
        h = belfry_promql::add_histograms(&h, &step, sign)?;
        h.reset_hint = step.reset_hint;
        push(&h)?;
    }
    Some(())
}

/// `{{schema:0 sum:5 count:4 buckets:[1 2 1]}}`
pub(crate) fn histogram(text: &str) -> Option<Histogram> {
    let inner = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    let mut h = Histogram::default();
    let (mut offset, mut n_offset) = (0, 0);
    let mut seen: Vec<&str> = Vec::new();
    let mut rest = inner.trim_end();
    // Promtool's tokens: nothing stands between the braces and the first key.
    if rest.starts_with(char::is_whitespace) {
        return None;
    }
    while !rest.is_empty() {
        let (key, after) = rest.split_once(':')?;
        let end = match after.starts_with('[') {
            true => after.find(']')? + 1,
            false => after.find(char::is_whitespace).unwrap_or(after.len()),
        };
        let (value, after) = after.split_at(end);
        // `+Inf` is how it is printed, here and in promtool.
        if (value.starts_with('+') && value != "+Inf") || seen.contains(&key) {
            return None;
        }
        seen.push(key);
        let list = || -> Option<Vec<f64>> {
            let inside = value.strip_prefix('[')?.strip_suffix(']')?;
            let padded = inside.is_empty() || inside.trim() != inside;
            if padded { None } else { inside.split_whitespace().map(number).collect() }
        };
        match key {
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
    Some(h)
}

#[cfg(test)]
mod tests {
    use belfry_model::sample::is_stale;

    use super::*;

    fn floats(text: &str) -> Vec<Option<f64>> {
        points(text)
            .unwrap_or_default()
            .into_iter()
            .map(|p| match p {
                Some(Value::Float(f)) => Some(f),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn values_expand_as_documented() {
        let some = |v: &[f64]| v.iter().map(|v| Some(*v)).collect::<Vec<_>>();
        assert_eq!(floats("-2+4x3"), some(&[-2.0, 2.0, 6.0, 10.0]));
        assert_eq!(floats(" 1-2x4"), some(&[1.0, -1.0, -3.0, -5.0, -7.0]));
        assert_eq!(floats("1x4"), some(&[1.0; 5]));
        assert_eq!(floats("0x3"), some(&[0.0; 4]));
        assert_eq!(floats("10x2"), some(&[10.0; 3]));
        assert_eq!(floats("0+0x2 1e3 1e-1+1x1"), some(&[0.0, 0.0, 0.0, 1000.0, 0.1, 1.1]));
        assert_eq!(floats("1 _x2 3"), [Some(1.0), None, None, Some(3.0)]);
        assert!(matches!(points("stale").unwrap_or_default()[..], [Some(Value::Float(f))] if is_stale(f)));
        assert!(
            matches!(&points("{{count:3 sum:2 buckets:[1 2]}}x1").unwrap_or_default()[..], [Some(Value::Histogram(h)), Some(_)] if h.count == 3.0)
        );
        assert_eq!(points("1 two 3"), Err("two".to_owned()));
    }

    /// Each was given to promtool 3.5.3.
    #[test]
    fn what_promtool_takes_is_taken_and_what_it_refuses_is_refused() {
        for text in [
            "1_000",
            "1_000+1_0x2",
            "inf+1x2",
            "nan+1x2",
            "5.",
            ".5",
            "1.5x2",
            "1e3x2",
            "007x1",
            "{{}}",
            "{{ }}",
            "{{schema:0 }}",
            "{{schema:0  sum:1}}",
            "{{buckets:[1  2]}}",
            "{{sum:1_000}}",
            "{{count:-5}}",
            "{{schema:-53 custom_values:[1 2]}}",
        ] {
            assert!(points(text).is_ok(), "{text}");
        }
        assert_eq!(floats("1_000+1_0x1"), [Some(1000.0), Some(1010.0)]);
        assert_eq!(floats("010x1 0_10 09 010.0 -017 00"), [8.0, 8.0, 8.0, 9.0, 10.0, -15.0, 0.0].map(Some));
        assert_eq!(histogram("{{sum:010}}").map(|h| h.sum), Some(8.0));
        for text in [
            "1,2",
            "1 ,2",
            "Infx1",
            "NaNx1",
            "-nanx2",
            "+Infx1",
            "stalex2",
            "1+infx2",
            "1+2",
            "infinity",
            "1e400",
            "1__0",
            "1_",
            "{{ schema:0 }}",
            "{{ schema:0}}",
            "{{schema :0}}",
            "{{schema:0 schema:0}}",
            "{{sum:1 sum:1}}",
            "{{buckets:[]}}",
            "{{buckets:[ 1 2 ]}}",
            "{{sum:+5}}",
            "{{offset:+1 buckets:[1]}}",
            "{{buckets:[-1]}}",
            "{{custom_values:[1]}}",
        ] {
            assert!(points(text).is_err(), "{text}");
        }
        for text in
            ["x", "sum", "stale", "x{__name__=\"y\"}", "{\"x\",}", "x{ i = \"1\" }", "x{\"i.j\"=\"1\"}", "x{by=\"1\"}"]
        {
            assert!(series(text).is_some(), "{text}");
        }
        for text in [
            "x{,}",
            "x{i=\"1\",i=\"2\"}",
            "x{i=\"1\",i=\"1\"}",
            "x {i=\"1\"}",
            "inf",
            "NaN",
            "bool",
            "on",
            "x{i=\"1\",,}",
            "{}",
            "",
            "{\"x\",\"y\"}",
            "x{i.j=\"1\"}",
            "x{1=\"a\"}",
            "x{\"\"=\"1\"}",
            "{\"\"}",
        ] {
            assert!(series(text).is_none(), "{text}");
        }
    }

    #[test]
    fn series_are_read_with_and_without_labels() {
        for (text, read) in [
            ("up", "up"),
            ("up{}", "up"),
            ("up{ job = \"a\" , instance='b', }", "up{instance=\"b\", job=\"a\"}"),
            ("{job=\"a\"}", "{job=\"a\"}"),
            ("{\"my.metric\", a=\"b\"}", "my.metric{a=\"b\"}"),
            ("x{__name__=\"y\"}", "x"),
            ("x{\"y\", a=\"b\"}", "x{a=\"b\"}"),
        ] {
            assert_eq!(labels(text).map(|l| l.to_string()).as_deref(), Some(read), "{text}");
        }
        for text in ["up{", "up{a}x", "up{a=b}", "up} ", "up{a=\"b\"} 1"] {
            assert!(labels(text).is_none(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "([0-9.x+_ -]|stale|\\{\\{|\\}\\}|count:|buckets:\\[1 2\\]|é){0,20}") {
            let _ = points(&text);
            let _ = labels(&text);
        }
    }
}
