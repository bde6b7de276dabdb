//! Go's `fmt`: how values are printed.
//!
//! `gotmpl` has Go's verbs; they are reached through templates of its own, one for each number of arguments.
//! Not here: times and durations (`gotime`).

use std::fmt::Write as _;
use std::sync::LazyLock;

use gotmpl::Value as Go;

use crate::gotime;
use crate::value::{Sample, Value};

/// Arguments of one `printf`, its format included.
const ARGUMENTS_MAX: usize = 64;

/// From this power of ten on, `%v` prints an exponent.
const EXPONENT_FROM: i32 = 6;

/// Widths and precisions with more digits than this would print what nobody reads.
const WIDTH_DIGITS_MAX: usize = 3;

/// As an action prints it: what a pointer points to.
pub(crate) fn printed(v: &Value) -> String {
    match v {
        Value::Sample(s) => sample(s),
        v => display(v),
    }
}

fn sample(s: &Sample) -> String {
    format!("{{{} {}}}", plain(&Value::Labels(s.labels.clone())), display(&Value::from(&s.value)))
}

/// As `%v` prints it.
pub(crate) fn display(v: &Value) -> String {
    match v {
        Value::Missing => "<no value>".to_owned(),
        Value::String(s) => s.to_string(),
        Value::Float(v) => float(*v),
        other => plain(other).to_string(),
    }
}

/// A float as `%v` prints it: the shortest digits that read back, with an exponent below 1e-4 and from 1e6 on.
pub(crate) fn float(v: f64) -> String {
    if v.is_nan() {
        return "NaN".to_owned();
    }
    if v.is_infinite() {
        return if v > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{v:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if v != 0.0 && !(-4..EXPONENT_FROM).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    format!("{v}")
}

/// `%.4g`
pub(crate) fn four_digits(v: f64) -> String {
    sprintf("%.4g", &[Value::Float(v)]).unwrap_or_else(|_| float(v))
}

/// `fmt.Sprintf`
pub(crate) fn sprintf(format: &str, args: &[Value]) -> Result<String, String> {
    for a in args {
        if let (true, Value::Int(n)) = (format.contains('*'), a)
            && n.unsigned_abs() >= 10u64.pow(WIDTH_DIGITS_MAX as u32)
        {
            return Err(format!("a width of more than {WIDTH_DIGITS_MAX} digits"));
        }
    }
    let mut plain_args: Vec<Go> = args.iter().map(plain).collect();
    let format = float_directives(format, args, &mut plain_args)?;
    let all = std::iter::once(Go::String(format.into())).chain(plain_args);
    call(&PRINTF, all.collect())
}

/// `gotmpl` prints `%v` of a float without an exponent, infinities in small letters, and takes `%d` for a float. Those
/// become texts here.
fn float_directives(format: &str, args: &[Value], plain_args: &mut [Go]) -> Result<String, String> {
    let mut out = String::with_capacity(format.len());
    let mut chars = format.chars().peekable();
    let mut next = 0;
    while let Some(c) = chars.next() {
        out.push(c);
        if c != '%' {
            continue;
        }
        let mut spec = String::new();
        let verb = loop {
            match chars.next() {
                Some(c) if "+-# 0123456789.*[]".contains(c) => spec.push(c),
                other => break other,
            }
        };
        if spec.split(|c: char| !c.is_ascii_digit()).any(|n| n.len() > WIDTH_DIGITS_MAX) {
            return Err(format!("a number of more than {WIDTH_DIGITS_MAX} digits in the format {format:?}"));
        }
        // Explicit indexes and widths from arguments are too rare to be worth following.
        let simple = !spec.contains(['*', '[']);
        next += spec.matches('*').count();
        let mut verb = verb;
        let text = match (verb, args.get(next)) {
            _ if !simple => None,
            (Some('T'), Some(arg)) => Some(arg.go_type().to_owned()),
            (Some(verb), Some(arg)) if !fits(verb, arg) => {
                Some(format!("%!{verb}({}={})", arg.go_type(), display(arg)))
            }
            (Some(_), Some(Value::Float(v))) if !v.is_finite() => Some(float(*v)),
            (Some('v'), Some(Value::Float(_))) if spec.contains('.') => {
                verb = Some('g');
                None
            }
            (Some('v'), Some(Value::Float(v))) => Some(float(*v)),
            (Some('F'), Some(Value::Float(_))) => {
                verb = Some('f');
                None
            }
            (Some('x'), Some(Value::Float(v))) if !spec.contains('.') => Some(hexadecimal(*v)),
            (Some('X'), Some(Value::Float(v))) if !spec.contains('.') => Some(hexadecimal(*v).to_uppercase()),
            (Some('x'), Some(Value::String(s))) if spec == " " => Some(spaced(s, |b| format!("{b:02x}"))),
            (Some('X'), Some(Value::String(s))) if spec == " " => Some(spaced(s, |b| format!("{b:02X}"))),
            (Some('q'), Some(Value::String(s))) if spec == "+" => Some(ascii_quoted(s)),
            (Some('v'), Some(Value::String(_))) if spec == "#" => {
                spec.clear();
                verb = Some('q');
                None
            }
            (Some('s'), Some(arg @ (Value::Labels(_) | Value::Map(_)))) => Some(display(arg)),
            (Some('b' | 'c' | 'd' | 'o' | 'x' | 'X'), Some(Value::Duration(n) | Value::Named(n, ..))) => {
                if let Some(slot) = plain_args.get_mut(next) {
                    *slot = Go::Int(*n);
                }
                None
            }
            _ => None,
        };
        match (text, plain_args.get_mut(next)) {
            (Some(text), Some(slot)) => {
                // A wrong verb is printed without its width.
                let width = if text.starts_with("%!") { "" } else { spec.split('.').next().unwrap_or("") };
                *slot = Go::String(text.into());
                out.push_str(width.trim_start_matches(['0', '+', ' ', '#']));
                out.push('s');
            }
            _ => {
                out.push_str(&spec);
                out.extend(verb);
            }
        }
        if verb != Some('%') {
            next += 1;
        }
    }
    Ok(out)
}

/// `%x` of a float: `0x1.4p+01`.
fn hexadecimal(v: f64) -> String {
    const FRACTION_BITS: i32 = 52;
    let sign = if v.is_sign_negative() { "-" } else { "" };
    if v == 0.0 {
        return format!("{sign}0x0p+00");
    }
    let bits = v.abs().to_bits();
    let (fraction, biased) = (bits & ((1 << FRACTION_BITS) - 1), (bits >> FRACTION_BITS) as i32);
    let (fraction, exponent) = if biased == 0 {
        // A subnormal begins at its first bit.
        let shift = fraction.leading_zeros() as i32 - (63 - FRACTION_BITS);
        ((fraction << shift) & ((1 << FRACTION_BITS) - 1), -1022 - shift)
    } else {
        (fraction, biased - 1023)
    };
    let digits = format!("{fraction:013x}");
    let digits = digits.trim_end_matches('0');
    let point = if digits.is_empty() { "" } else { "." };
    let exponent_sign = if exponent < 0 { '-' } else { '+' };
    format!("{sign}0x1{point}{digits}p{exponent_sign}{:02}", exponent.abs())
}

fn spaced(s: &str, byte: fn(u8) -> String) -> String {
    s.bytes().map(byte).collect::<Vec<_>>().join(" ")
}

/// `%+q`
fn ascii_quoted(s: &str) -> String {
    let mut out = String::from("\"");
    for c in s.chars() {
        let _ = match c {
            '"' | '\\' => write!(out, "\\{c}"),
            '\x07' => write!(out, "\\a"),
            '\x08' => write!(out, "\\b"),
            '\x0c' => write!(out, "\\f"),
            '\n' => write!(out, "\\n"),
            '\r' => write!(out, "\\r"),
            '\t' => write!(out, "\\t"),
            '\x0b' => write!(out, "\\v"),
            ' '..='~' => write!(out, "{c}"),
            '\0'..='\x7f' => write!(out, "\\x{:02x}", u32::from(c)),
            '\u{80}'..='\u{ffff}' => write!(out, "\\u{:04x}", u32::from(c)),
            _ => write!(out, "\\U{:08x}", u32::from(c)),
        };
    }
    out + "\""
}

/// Does Go print such a value with this verb?
fn fits(verb: char, value: &Value) -> bool {
    let verbs = match value {
        Value::Float(_) => "vTbeEfFgGxX",
        Value::Int(_) => "vTbcdoOqUxX",
        Value::String(_) => "vTsxXq",
        Value::Bool(_) => "vTt",
        _ => return true,
    };
    verb == '%' || !verb.is_ascii_alphabetic() || verbs.contains(verb)
}

/// `fmt.Sprint`: a space between neighbours of which neither is a text.
pub(crate) fn sprint(args: &[Value]) -> String {
    let mut out = String::new();
    let mut text_before = true;
    for a in args {
        let text = matches!(a, Value::String(_));
        if !text && !text_before {
            out.push(' ');
        }
        text_before = text;
        out.push_str(&operand(a));
    }
    out
}

fn operand(v: &Value) -> String {
    match v {
        Value::Missing => "<nil>".to_owned(),
        v => display(v),
    }
}

/// `fmt.Sprintln`
pub(crate) fn sprintln(args: &[Value]) -> String {
    let mut out = String::new();
    for (i, a) in args.iter().enumerate() {
        let _ = write!(out, "{}{}", if i > 0 { " " } else { "" }, operand(a));
    }
    out.push('\n');
    out
}

static PRINTF: LazyLock<Vec<Option<gotmpl::Template>>> = LazyLock::new(|| {
    (0..=ARGUMENTS_MAX)
        .map(|n| {
            let args: String = (0..n).map(|i| format!(" (index . {i})")).collect();
            gotmpl::Template::new("").parse(&format!("{{{{printf{args}}}}}")).ok()
        })
        .collect()
});

fn call(callers: &[Option<gotmpl::Template>], args: Vec<Go>) -> Result<String, String> {
    let Some(Some(template)) = callers.get(args.len()) else {
        return Err(format!("more than {ARGUMENTS_MAX} arguments"));
    };
    template.execute_to_string(&Go::List(args.into())).map_err(|e| e.to_string())
}

/// The nearest value that `gotmpl` prints as Go prints ours.
fn plain(v: &Value) -> Go {
    let map = |entries: Vec<(String, Go)>| Go::from(entries.into_iter().collect::<std::collections::HashMap<_, _>>());
    match v {
        Value::Nil | Value::Missing => Go::Nil,
        Value::Bool(b) => Go::Bool(*b),
        Value::Int(n) => Go::Int(*n),
        Value::Float(f) => Go::Float(*f),
        Value::String(s) => Go::String(s.clone()),
        Value::Labels(l) => map(l.iter().map(|l| (l.name.to_string(), Go::String(l.value.clone()))).collect()),
        Value::Map(m) => map(m.iter().map(|(k, v)| (k.clone(), inside(v))).collect()),
        Value::List(l) => Go::List(l.iter().map(inside).collect()),
        Value::Samples(s) => Go::List(s.iter().map(|s| plain(&Value::Sample(s.clone()))).collect()),
        Value::Sample(s) => Go::String(format!("&{}", sample(s)).into()),
        Value::Histogram(text) => Go::String(text.clone()),
        Value::Named(_, text, _) => Go::String((*text).into()),
        Value::Time(t) => Go::String(gotime::time(*t).into()),
        Value::Duration(d) => Go::String(gotime::duration(*d).into()),
        Value::Struct(fields, _) => {
            let all: Vec<String> = fields.iter().map(|(_, v)| operand(v)).collect();
            Go::String(format!("{{{}}}", all.join(" ")).into())
        }
    }
}

/// Inside a list or a map, `gotmpl` cannot be told how to print floats.
fn inside(v: &Value) -> Go {
    match v {
        Value::Float(v) => Go::String(float(*v).into()),
        v => plain(v),
    }
}
