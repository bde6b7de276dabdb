//! The functions of Go's `text/template`, and how a function is found by its name.
//!
//! Invariant: an error's text is the one Go gives, without the place (the executor adds that).

use std::cmp::Ordering;
use std::sync::Arc;

use crate::gofmt;
use crate::value::Value;

/// What a function may ask of its surroundings.
pub(crate) struct Context<'a> {
    /// Answers `query`.
    pub query: &'a dyn crate::QueryFunc,
    /// The time of the evaluation.
    pub now: belfry_model::TimestampMs,
    /// Where people reach the server.
    pub external_url: &'a str,
}

pub(crate) type Function = fn(&Context<'_>, &[Value]) -> Result<Value, String>;

/// A table of functions by name. Alertmanager's templates will have one of their own beside Prometheus'.
pub(crate) type Table = &'static [(&'static str, Function)];

pub(crate) fn find(tables: &[Table], name: &str) -> Option<Function> {
    tables.iter().flat_map(|t| t.iter()).find(|(n, _)| *n == name).map(|(_, f)| *f)
}

/// `and` and `or` stand here for the parser; the executor evaluates their arguments one by one.
pub(crate) const GO: Table = &[
    ("and", |_, _| Ok(Value::Nil)),
    ("or", |_, _| Ok(Value::Nil)),
    ("not", |_, a| arity(a, 1).map(|()| Value::Bool(!a[0].is_true()))),
    ("eq", |_, a| eq(a)),
    ("ne", |_, a| arity(a, 2).and_then(|()| Ok(Value::Bool(!equal(&a[0], &a[1])?)))),
    ("lt", |_, a| compare(a, |o| o == Some(Ordering::Less))),
    ("le", |_, a| compare(a, |o| matches!(o, Some(Ordering::Less | Ordering::Equal)))),
    ("gt", |_, a| compare(a, |o| o == Some(Ordering::Greater))),
    ("ge", |_, a| compare(a, |o| matches!(o, Some(Ordering::Greater | Ordering::Equal)))),
    ("len", |_, a| len(a)),
    ("index", |_, a| index(a)),
    ("slice", |_, a| slice(a)),
    ("call", |_, _| Err("call of nil".to_owned())),
    ("print", |_, a| Ok(Value::string(gofmt::sprint(a)))),
    ("println", |_, a| Ok(Value::string(gofmt::sprintln(a)))),
    ("printf", |_, a| match a.split_first() {
        Some((Value::String(format), rest)) => gofmt::sprintf(format, rest).map(Value::string),
        Some((other, _)) => Err(wrong_type("string", other)),
        None => Err("wrong number of args for printf: want at least 1 got 0".to_owned()),
    }),
    ("html", |_, a| escape(a, gotmpl::html_escape)),
    ("js", |_, a| escape(a, gotmpl::js_escape)),
    ("urlquery", |_, a| escape(a, gotmpl::url_encode)),
];

pub(crate) fn wrong_type(expected: &str, got: &Value) -> String {
    match got {
        Value::Nil | Value::Missing => format!("invalid value; expected {expected}"),
        got => format!("wrong type for value; expected {expected}; got {}", got.go_type()),
    }
}

/// The executor names the function in front.
pub(crate) fn arity(args: &[Value], want: usize) -> Result<(), String> {
    if args.len() == want { Ok(()) } else { Err(format!("{ARITY}want {want} got {}", args.len())) }
}

/// Marks an error of arity: Go words it differently from one inside the function.
pub(crate) const ARITY: &str = "\u{0}arity: ";

fn escape(args: &[Value], f: fn(&str) -> String) -> Result<Value, String> {
    let text = match args {
        [Value::String(s)] => s.to_string(),
        [Value::Nil] => "<no value>".to_owned(),
        args => gofmt::sprint(args),
    };
    Ok(Value::string(f(&text)))
}

#[derive(PartialEq)]
enum Kind {
    Bool,
    Int,
    Float,
    String,
    Nil,
}

const BAD_TYPE: &str = "invalid type for comparison";
const BAD_PAIR: &str = "incompatible types for comparison";

fn kind(v: &Value) -> Result<Kind, String> {
    Ok(match v {
        Value::Bool(_) => Kind::Bool,
        Value::Int(_) | Value::Duration(_) | Value::Named(..) => Kind::Int,
        Value::Float(_) => Kind::Float,
        Value::String(_) => Kind::String,
        Value::Nil | Value::Missing => Kind::Nil,
        _ => return Err(BAD_TYPE.to_owned()),
    })
}

fn eq(args: &[Value]) -> Result<Value, String> {
    let Some((first, rest)) = args.split_first().filter(|(_, rest)| !rest.is_empty()) else {
        return Err("missing argument for comparison".to_owned());
    };
    for other in rest {
        if equal(first, other)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn equal(a: &Value, b: &Value) -> Result<bool, String> {
    let nil = |v: &Value| matches!(v, Value::Nil | Value::Missing);
    if nil(a) || nil(b) {
        // Anything can be compared with nil, maps too; nothing that templates see is a nil of a type.
        return Ok(nil(a) && nil(b));
    }
    Ok(match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Float(a), Value::Float(b)) => a == b,
        (Value::String(a), Value::String(b)) => a == b,
        (a, b) => match (integer(a), integer(b)) {
            (Some(a), Some(b)) => a == b,
            _ => {
                let (ka, kb) = (kind(a)?, kind(b)?);
                if ka != kb {
                    return Err(BAD_PAIR.to_owned());
                }
                false
            }
        },
    })
}

fn integer(v: &Value) -> Option<i128> {
    match v {
        Value::Int(n) | Value::Duration(n) | Value::Named(n, ..) => Some(i128::from(*n)),
        _ => None,
    }
}

fn compare(args: &[Value], holds: fn(Option<Ordering>) -> bool) -> Result<Value, String> {
    arity(args, 2)?;
    let order = match (&args[0], &args[1]) {
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (a, b) => match (integer(a), integer(b)) {
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            _ => {
                let (ka, kb) = (kind(a)?, kind(b)?);
                return Err(if ka == kb { BAD_TYPE } else { BAD_PAIR }.to_owned());
            }
        },
    };
    Ok(Value::Bool(holds(order)))
}

fn len(args: &[Value]) -> Result<Value, String> {
    arity(args, 1)?;
    let n = match &args[0] {
        Value::String(s) => s.len(),
        Value::Labels(l) => l.len(),
        Value::Map(m) => m.len(),
        Value::List(l) => l.len(),
        Value::Samples(s) => s.len(),
        Value::Nil | Value::Missing => return Err("len of nil pointer".to_owned()),
        other => return Err(format!("len of type {}", other.go_type())),
    };
    Ok(Value::Int(n as i64))
}

fn position(v: &Value, len: usize, past_end: bool) -> Result<usize, String> {
    let Some(n) = integer(v) else {
        return Err(match v {
            Value::Nil | Value::Missing => "cannot index slice/array with nil".to_owned(),
            v => format!("cannot index slice/array with type {}", v.go_type()),
        });
    };
    let max = len as i128 + i128::from(past_end);
    usize::try_from(n).ok().filter(|_| n < max).ok_or_else(|| format!("index out of range: {n}"))
}

fn index(args: &[Value]) -> Result<Value, String> {
    let Some((first, rest)) = args.split_first() else {
        return Err("wrong number of args for index: want at least 1 got 0".to_owned());
    };
    let mut at = first.clone();
    for key in rest {
        at = match (&at, key) {
            (Value::Labels(l), Value::String(k)) => Value::string(l.get(k).unwrap_or("")),
            (Value::Map(m), Value::String(k)) => m.get(&**k).cloned().unwrap_or(Value::Nil),
            (Value::Labels(_) | Value::Map(_), k) => return Err(wrong_type("string", k)),
            (Value::List(l), k) => l[position(k, l.len(), false)?].clone(),
            (Value::Samples(s), k) => Value::Sample(s[position(k, s.len(), false)?].clone()),
            (Value::String(s), k) => Value::Int(s.as_bytes()[position(k, s.len(), false)?].into()),
            (Value::Nil | Value::Missing, _) => return Err("index of untyped nil".to_owned()),
            (other, _) => return Err(format!("can't index item of type {}", other.go_type())),
        };
    }
    Ok(at)
}

fn slice(args: &[Value]) -> Result<Value, String> {
    let (Some(item), bounds) = (args.first(), args.get(1..).unwrap_or(&[])) else {
        return Err("wrong number of args for slice: want at least 1 got 0".to_owned());
    };
    if bounds.len() > 3 {
        return Err(format!("too many slice indexes: {}", bounds.len()));
    }
    let len = match item {
        Value::String(_) if bounds.len() == 3 => return Err("cannot 3-index slice a string".to_owned()),
        Value::String(s) => s.len(),
        Value::List(l) => l.len(),
        Value::Samples(s) => s.len(),
        Value::Nil | Value::Missing => return Err("slice of untyped nil".to_owned()),
        other => return Err(format!("can't slice item of type {}", other.go_type())),
    };
    let from = bounds.first().map_or(Ok(0), |b| position(b, len, true))?;
    let to = bounds.get(1).map_or(Ok(len), |b| position(b, len, true))?;
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    Ok(match item {
        Value::String(s) => Value::string(String::from_utf8_lossy(&s.as_bytes()[from..to]).as_ref()),
        Value::List(l) => Value::List(Arc::from(&l[from..to])),
        Value::Samples(s) => Value::Samples(Arc::from(&s[from..to])),
        other => other.clone(),
    })
}
