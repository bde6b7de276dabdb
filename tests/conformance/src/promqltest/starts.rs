//! `name{…}@st -30s-1mx2 _ 0`: the start timestamps of the series of the same name, each as its distance from its sample.

use std::collections::BTreeMap;

use belfry_model::Labels;
use belfry_model::duration::parse_duration;

/// Of each series, by the number of the sample.
pub(super) type Starts = BTreeMap<Labels, Vec<Option<i64>>>;

/// A distance with its sign; a bare `0` needs no unit.
fn distance(text: &str) -> Option<i64> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    parse_duration(rest).ok().map(|d| sign * d.as_millis() as i64)
}

/// `_`, `_x3`, `-1s`, `-1sx3`, `-30s-1mx2`.
fn item(text: &str, out: &mut Vec<Option<i64>>) -> Option<()> {
    let (value, times) = match text.split_once('x') {
        Some((value, times)) => (value, times.parse::<usize>().ok()?),
        None => (text, 0),
    };
    if value == "_" {
        out.resize(out.len() + times.max(1), None);
        return Some(());
    }
    let step = value.rfind(['-', '+']).filter(|at| *at > 0);
    let (first, step) = value.split_at(step.unwrap_or(value.len()));
    let first = distance(first)?;
    let step = if step.is_empty() { 0 } else { distance(step)? };
    out.extend((0..=times as i64).map(|i| Some(first + step * i)));
    Some(())
}

pub(super) fn parse(text: &str) -> Option<Vec<Option<i64>>> {
    let mut out = Vec::new();
    text.split_whitespace().try_for_each(|t| item(t, &mut out))?;
    Some(out)
}

#[test]
fn distances_are_repeated_and_stepped() {
    assert_eq!(parse("_ -30s-1mx1 0 1msx1"), Some(vec![None, Some(-30_000), Some(-90_000), Some(0), Some(1), Some(1)]));
    assert_eq!(parse("-"), None);
}
