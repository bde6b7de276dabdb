//! The functions that Prometheus adds to Go's.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use belfry_model::duration::parse_duration;

use crate::functions::{Context, Table, arity, wrong_type};
use crate::gofmt::{float, four_digits};
use crate::gotime;
use crate::value::{Sample, Value};

/// A query's answer inside a template may not have more elements than this.
pub const QUERY_SAMPLES_MAX: usize = 100_000;

pub(crate) const PROMETHEUS: Table = &[
    ("query", |c, a| query(c, a)),
    ("first", |_, a| match samples(a, 0, 1)?.first() {
        Some(s) => Ok(Value::Sample(s.clone())),
        None => Err("first() called on vector with no elements".to_owned()),
    }),
    ("label", |_, a| Ok(label(sample(a, 1, 2)?, text(a, 0, 2)?))),
    ("value", |_, a| Ok(Value::from(&sample(a, 0, 1)?.value))),
    ("strvalue", |_, a| Ok(label(sample(a, 0, 1)?, "__value__"))),
    ("sortByLabel", |_, a| {
        let (by, mut all) = (text(a, 0, 2)?, samples(a, 1, 2)?.to_vec());
        all.sort_by(|a, b| a.labels.get(by).unwrap_or("").cmp(b.labels.get(by).unwrap_or("")));
        Ok(Value::Samples(all.into()))
    }),
    ("args", |_, a| {
        let all: BTreeMap<String, Value> = a.iter().enumerate().map(|(i, v)| (format!("arg{i}"), v.clone())).collect();
        Ok(Value::Map(Arc::new(all)))
    }),
    // Text is never markup here, so there is nothing to switch off.
    ("safeHtml", |_, a| Ok(Value::string(text(a, 0, 1)?))),
    ("graphLink", |_, a| Ok(Value::string(format!("/graph?g0.expr={}&g0.tab=0", gotmpl::url_encode(text(a, 0, 1)?))))),
    ("tableLink", |_, a| Ok(Value::string(format!("/graph?g0.expr={}&g0.tab=1", gotmpl::url_encode(text(a, 0, 1)?))))),
    ("urlQueryEscape", |_, a| Ok(Value::string(gotmpl::url_encode(text(a, 0, 1)?)))),
    ("externalURL", |c, a| arity(a, 0).map(|()| Value::string(c.external_url))),
    ("pathPrefix", |c, a| {
        arity(a, 0)?;
        let url = url::Url::parse(c.external_url).ok();
        // Go keeps an empty path empty where the url crate writes `/`.
        let path = url.map_or(String::new(), |u| u.path().to_owned());
        Ok(Value::string(if path == "/" && !c.external_url.ends_with('/') { String::new() } else { path }))
    }),
    ("humanize", |_, a| Ok(Value::string(humanize(number(a)?)))),
    ("humanize1024", |_, a| Ok(Value::string(humanize1024(number(a)?)))),
    ("humanizeDuration", |_, a| Ok(Value::string(humanize_duration(number(a)?)))),
    ("humanizePercentage", |_, a| Ok(Value::string(four_digits(number(a)? * 100.0) + "%"))),
    ("humanizeTimestamp", |_, a| {
        let v = number(a)?;
        Ok(Value::string(if v.is_finite() { gotime::time(timestamp(v)?) } else { four_digits(v) }))
    }),
    ("toTime", |_, a| {
        let v = number(a)?;
        if v.is_finite() { timestamp(v).map(Value::Time) } else { Err("value is NaN or Inf".to_owned()) }
    }),
    ("toDuration", |_, a| {
        let v = number(a)?;
        let ns = v * 1e9;
        if !v.is_finite() {
            return Err("value is NaN or Inf".to_owned());
        }
        if !fits(ns) {
            return Err(format!(
                "{} cannot be represented as a nanoseconds duration since it overflows int64",
                float(v)
            ));
        }
        Ok(Value::Duration(ns as i64))
    }),
    ("now", |c, a| arity(a, 0).map(|()| Value::Float(c.now.as_secs_f64()))),
    ("title", |_, a| Ok(Value::string(title(text(a, 0, 1)?)))),
    ("toUpper", |_, a| Ok(Value::string(one_by_one(text(a, 0, 1)?, char::to_uppercase)))),
    ("toLower", |_, a| Ok(Value::string(one_by_one(text(a, 0, 1)?, char::to_lowercase)))),
    ("match", |_, a| {
        let (pattern, subject) = (text(a, 0, 2)?, text(a, 1, 2)?);
        Ok(Value::Bool(regex(pattern)?.is_match(subject)))
    }),
    ("reReplaceAll", |_, a| {
        let (pattern, with, subject) = (text(a, 0, 3)?, text(a, 1, 3)?, text(a, 2, 3)?);
        Ok(Value::string(regex(pattern)?.replace_all(subject, with).as_ref()))
    }),
    ("stripPort", |_, a| {
        let host_port = text(a, 0, 1)?;
        Ok(Value::string(split_host_port(host_port).map_or(host_port, |(host, _)| host)))
    }),
    ("stripDomain", |_, a| Ok(Value::string(strip_domain(text(a, 0, 1)?)))),
    ("parseDuration", |_, a| {
        let text = text(a, 0, 1)?;
        let d = parse_duration(text).map_err(|_| match text {
            "" => "empty duration string".to_owned(),
            text => format!("not a valid duration string: {text:?}"),
        })?;
        Ok(Value::Float(d.as_secs_f64()))
    }),
];

fn text(args: &[Value], i: usize, want: usize) -> Result<&str, String> {
    arity(args, want)?;
    match &args[i] {
        Value::String(s) => Ok(s),
        other => Err(wrong_type("string", other)),
    }
}

fn samples(args: &[Value], i: usize, want: usize) -> Result<&[Arc<Sample>], String> {
    arity(args, want)?;
    match &args[i] {
        Value::Samples(s) => Ok(s),
        Value::Nil => Ok(&[]),
        other => Err(wrong_type("template.queryResult", other)),
    }
}

fn sample(args: &[Value], i: usize, want: usize) -> Result<&Sample, String> {
    arity(args, want)?;
    match &args[i] {
        Value::Sample(s) => Ok(s),
        other => Err(wrong_type("*template.sample", other)),
    }
}

fn label(s: &Sample, name: &str) -> Value {
    Value::string(s.labels.get(name).unwrap_or(""))
}

fn query(c: &Context<'_>, args: &[Value]) -> Result<Value, String> {
    let mut all = c.query.query(text(args, 0, 1)?, c.now)?;
    if all.len() > QUERY_SAMPLES_MAX {
        return Err(format!("the query has more than {QUERY_SAMPLES_MAX} results"));
    }
    Ok(Value::Samples(all.drain(..).map(Arc::new).collect()))
}

/// `convertToFloat`
fn number(args: &[Value]) -> Result<f64, String> {
    arity(args, 1)?;
    match &args[0] {
        Value::Float(v) => Ok(*v),
        Value::Int(n) => Ok(*n as f64),
        Value::Duration(ns) => Ok(*ns as f64 / 1e9),
        Value::String(s) => parse_float(s).map_err(|why| format!("strconv.ParseFloat: parsing {s:?}: {why}")),
        other => Err(format!("can't convert {} to float", other.go_type())),
    }
}

/// Go's `strconv.ParseFloat` for decimals.
fn parse_float(s: &str) -> Result<f64, &'static str> {
    const NO_NUMBER: &str = "invalid syntax";
    let bare = s.trim_start_matches(['+', '-']).to_ascii_lowercase();
    if s.len() - bare.len() > 1 {
        return Err(NO_NUMBER);
    }
    let is_digit = |i: Option<usize>| i.and_then(|i| bare.as_bytes().get(i)).is_some_and(u8::is_ascii_digit);
    let parts_digits = |(i, _): (usize, &str)| is_digit(i.checked_sub(1)) && is_digit(Some(i + 1));
    if !bare.match_indices('_').all(parts_digits) {
        return Err(NO_NUMBER);
    }
    let v = match bare.as_str() {
        "inf" | "infinity" => f64::INFINITY,
        "nan" => f64::NAN,
        digits if digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') => {
            let v: f64 = digits.replace('_', "").parse().map_err(|_| NO_NUMBER)?;
            if v.is_infinite() {
                return Err("value out of range");
            }
            v
        }
        _ => return Err(NO_NUMBER),
    };
    Ok(if s.starts_with('-') { -v } else { v })
}

fn fits(ns: f64) -> bool {
    (i64::MIN as f64..=i64::MAX as f64).contains(&ns)
}

/// Seconds → nanoseconds, cut to milliseconds as Prometheus' times are.
fn timestamp(v: f64) -> Result<i64, String> {
    let ns = v * 1e9;
    if !fits(ns) {
        return Err(format!("{} cannot be represented as a nanoseconds timestamp since it overflows int64", float(v)));
    }
    Ok(ns as i64 / 1_000_000 * 1_000_000)
}

fn scaled(mut v: f64, factor: f64, prefixes: [&'static str; 8], done: fn(f64) -> bool) -> (f64, &'static str) {
    let mut prefix = "";
    for p in prefixes {
        if done(v.abs()) {
            break;
        }
        prefix = p;
        v *= factor;
    }
    (v, prefix)
}

const SMALL: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];

fn humanize(v: f64) -> String {
    if v == 0.0 || !v.is_finite() {
        return four_digits(v);
    }
    let (v, prefix) = if v.abs() >= 1.0 {
        let mut v = v;
        let mut prefix = "";
        for p in ["k", "M", "G", "T", "P", "E", "Z", "Y"] {
            if v.abs() < 1000.0 {
                break;
            }
            prefix = p;
            v /= 1000.0;
        }
        (v, prefix)
    } else {
        scaled(v, 1000.0, SMALL, |v| v >= 1.0)
    };
    four_digits(v) + prefix
}

fn humanize1024(v: f64) -> String {
    if v.abs() <= 1.0 || !v.is_finite() {
        return four_digits(v);
    }
    let (v, prefix) = scaled(v, 1.0 / 1024.0, ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"], |v| v < 1024.0);
    four_digits(v) + prefix
}

fn humanize_duration(v: f64) -> String {
    if !v.is_finite() {
        return four_digits(v);
    }
    if v == 0.0 {
        return four_digits(v) + "s";
    }
    if v.abs() < 1.0 {
        let (v, prefix) = scaled(v, 1000.0, SMALL, |v| v >= 1.0);
        return format!("{}{prefix}s", four_digits(v));
    }
    let (sign, v) = (if v < 0.0 { "-" } else { "" }, v.abs());
    let whole = v as i64;
    let (days, hours, minutes, seconds) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60, whole % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{sign}{}s", four_digits(v)),
        (0, 0, _) => format!("{sign}{minutes}m {seconds}s"),
        (0, ..) => format!("{sign}{hours}h {minutes}m {seconds}s"),
        _ => format!("{sign}{days}d {hours}h {minutes}m {seconds}s"),
    }
}

/// `cases.Title` with `NoLower`: the first letter of each word becomes a capital. A word goes on over a single apostrophe,
/// full stop or colon between letters.
fn title(s: &str) -> String {
    let mut out = String::with_capacity(s.len());
    let mut chars = s.chars().peekable();
    let (mut in_word, mut before) = (false, ' ');
    while let Some(c) = chars.next() {
        let cased = c.is_lowercase() || c.is_uppercase();
        if cased && !in_word {
            let mut upper = c.to_uppercase();
            out.extend(upper.next());
            out.extend(upper.flat_map(char::to_lowercase));
        } else {
            out.push(c);
        }
        let joins = matches!(c, '\'' | '.' | ':' | '·' | '’' | '‘' | '․')
            && before.is_alphabetic()
            && chars.peek().is_some_and(|c| c.is_alphabetic());
        in_word = cased || (in_word && (joins || c.is_alphanumeric() || c == '_'));
        before = c;
    }
    out
}

/// Go maps letter by letter: one whose capital is several stays, like `ß`.
fn one_by_one<I: Iterator<Item = char>>(s: &str, map: fn(char) -> I) -> String {
    let one = |c: char| {
        let mut mapped = map(c);
        match (mapped.next(), mapped.next()) {
            (Some(one), None) => one,
            // Of the dotted capital I, Go leaves the dot away.
            _ if c == 'İ' => 'i',
            _ => c,
        }
    };
    s.chars().map(one).collect()
}

fn regex(pattern: &str) -> Result<regex::Regex, String> {
    belfry_model::re2::anywhere(pattern).map_err(|e| format!("error parsing regexp: {e}"))
}

/// Go's `net.SplitHostPort`; `None` where that errs.
fn split_host_port(s: &str) -> Option<(&str, &str)> {
    let colon = s.rfind(':')?;
    if let Some(inner) = s.strip_prefix('[') {
        let end = inner.find(']')? + 1;
        let host = &s[1..end];
        let clean = end + 1 == colon && !host.contains('[') && !s[end + 1..].contains(['[', ']']);
        return clean.then(|| (host, &s[colon + 1..]));
    }
    let host = &s[..colon];
    (!host.contains([':', '[', ']']) && !s[colon..].contains(['[', ']'])).then(|| (host, &s[colon + 1..]))
}

fn strip_domain(host_port: &str) -> String {
    let (host, port) = split_host_port(host_port).unwrap_or((host_port, ""));
    if host.parse::<IpAddr>().is_ok() {
        return host_port.to_owned();
    }
    let host = host.split('.').next().unwrap_or(host);
    match port {
        "" => host.to_owned(),
        port if host.contains(':') => format!("[{host}]:{port}"),
        port => format!("{host}:{port}"),
    }
}
