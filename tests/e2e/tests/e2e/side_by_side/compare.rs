//! Are two answers the same?
//!
//! Not compared, because newer versions of Prometheus than the peer say it otherwise: where in the query a warning
//! points and which metric it names, and that `sort` means nothing to a range query.

use std::collections::BTreeSet;

use serde_json::Value;

/// Floats may differ by this much of themselves.
const TOLERANCE: f64 = 1e-12;

/// What differs; `None` when nothing does.
pub fn difference(query: &str, ours: &Value, theirs: &Value) -> Option<String> {
    for member in ["code", "status", "errorType"] {
        if ours[member] != theirs[member] {
            return Some(format!(
                "{member}: {} / {}; {} / {}",
                ours[member], theirs[member], ours["error"], theirs["error"]
            ));
        }
    }
    if ours["status"] == "error" {
        return None;
    }
    let (a, b) = (&ours["data"], &theirs["data"]);
    if a["resultType"] != b["resultType"] {
        return Some(format!("resultType: {} / {}", a["resultType"], b["resultType"]));
    }
    let result = match a["resultType"].as_str() {
        Some("scalar" | "string") => sample(&a["result"], &b["result"]),
        Some(kind) => rows(kind == "vector" && keeps_order(query), &a["result"], &b["result"]),
        None => Some("no resultType".to_owned()),
    };
    result.or_else(|| notes(ours, theirs))
}

/// Prometheus promises an order for these alone, when they are outermost.
fn keeps_order(query: &str) -> bool {
    ["sort(", "sort_desc(", "sort_by_label(", "sort_by_label_desc("].iter().any(|f| query.starts_with(f))
}

fn notes(ours: &Value, theirs: &Value) -> Option<String> {
    ["warnings", "infos"].into_iter().find_map(|member| {
        let (a, b) = (essence(&ours[member]), essence(&theirs[member]));
        (a != b).then(|| format!("{member}: {a:?} / {b:?}"))
    })
}

/// What the notes say, without names and places.
fn essence(notes: &Value) -> BTreeSet<String> {
    let all = notes.as_array().into_iter().flatten().filter_map(Value::as_str);
    all.filter(|n| !n.contains("sort is ineffective"))
        .map(|n| {
            let n = n.rsplit_once(" (").map_or(n, |(n, _)| n);
            let n = n.split_once(" for metric name ").map_or(n, |(n, _)| n);
            n.split_once(": \"").map_or(n, |(n, _)| n).to_owned()
        })
        .collect()
}

fn rows(ordered: bool, ours: &Value, theirs: &Value) -> Option<String> {
    let all = |v: &Value| {
        let mut rows: Vec<(String, Value)> =
            v.as_array().into_iter().flatten().map(|r| (r["metric"].to_string(), r.clone())).collect();
        if !ordered {
            rows.sort_by(|a, b| a.0.cmp(&b.0));
        }
        rows
    };
    let (mut a, mut b) = (all(ours), all(theirs));
    if ordered {
        // Equals may be in any order.
        settle(&mut a);
        settle(&mut b);
    }
    let names = |rows: &[(String, Value)]| rows.iter().map(|r| r.0.clone()).collect::<Vec<_>>();
    if names(&a) != names(&b) {
        let (a, b) = (names(&a), names(&b));
        let extra: Vec<_> = a.iter().filter(|n| !b.contains(n)).take(3).collect();
        let missing: Vec<_> = b.iter().filter(|n| !a.contains(n)).take(3).collect();
        return Some(format!("series: {} / {}; only ours {extra:?}, only theirs {missing:?}", a.len(), b.len()));
    }
    a.iter().zip(&b).find_map(|((name, a), (_, b))| {
        let of = |v: &Value, one: &str, many: &str| match &v[one] {
            Value::Null => v[many].as_array().cloned().unwrap_or_default(),
            single => vec![single.clone()],
        };
        for (one, many) in [("value", "values"), ("histogram", "histograms")] {
            let (a, b) = (of(a, one, many), of(b, one, many));
            if a.len() != b.len() {
                return Some(format!("{name} {many}: {} / {} points", a.len(), b.len()));
            }
            if let Some(d) = a.iter().zip(&b).find_map(|(a, b)| sample(a, b)) {
                return Some(format!("{name}: {d}"));
            }
        }
        None
    })
}

/// A pair of time and value.
fn sample(ours: &Value, theirs: &Value) -> Option<String> {
    let same = ours[0].as_f64() == theirs[0].as_f64() && same_value(&ours[1], &theirs[1]);
    (!same).then(|| format!("{ours} / {theirs}"))
}

fn same_value(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::String(a), Value::String(b)) => a == b || close(a, b),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_value(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(k, v)| b.get(k).is_some_and(|w| same_value(v, w)))
        }
        _ => ours == theirs,
    }
}

fn close(a: &str, b: &str) -> bool {
    let (Ok(a), Ok(b)) = (a.parse::<f64>(), b.parse::<f64>()) else { return false };
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs())
}

/// Rows of equal values in order of their names; the values stay in theirs.
fn settle(rows: &mut [(String, Value)]) {
    for run in rows.chunk_by_mut(|a, b| same_value(&a.1["value"][1], &b.1["value"][1])) {
        run.sort_by(|a, b| a.0.cmp(&b.0));
    }
}
