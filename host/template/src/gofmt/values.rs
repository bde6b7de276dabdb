//! What is printed of a value by a verb: Go's `printArg` and `printValue`.

use std::sync::Arc;

use super::Printer;
use crate::gotime;
use crate::value::{Sample, Value};

/// Verbs that print an address.
const OF_POINTERS: &str = "vpbodxX";
/// Go counts seconds from the year 1.
const YEAR_ONE_S: i64 = -62_135_596_800;
const SECOND_NS: i64 = 1_000_000_000;

/// The fields of `template.sample`.
pub(super) fn fields(s: &Sample) -> [(&'static str, Value); 2] {
    [("Labels", Value::Labels(s.labels.clone())), ("Value", Value::from(&s.value))]
}

impl Printer {
    /// `printArg`
    pub(super) fn argument(&mut self, v: &Value, verb: char) {
        match (v, verb) {
            (Value::Nil | Value::Missing, 'T' | 'v') => self.pad("<nil>"),
            (Value::Nil | Value::Missing, _) => self.bad_verb(v, verb),
            (_, 'T') => self.plain(v.go_type()),
            (_, 'p') if is_reference(v) => self.value(v, 'v', 0),
            (_, 'p') => self.bad_verb(v, verb),
            _ if self.method(v, verb) => {}
            _ => self.value(v, verb, 0),
        }
    }

    /// `%!verb(type=value)`
    fn bad_verb(&mut self, v: &Value, verb: char) {
        self.erring = true;
        self.write(&format!("%!{verb}("));
        match v {
            Value::Nil | Value::Missing => self.write("<nil>"),
            v => {
                self.write(v.go_type());
                self.write("=");
                self.argument(v, 'v');
            }
        }
        self.write(")");
        self.erring = false;
    }

    /// Prints what has a method for it: `String` or `GoString`.
    fn method(&mut self, v: &Value, verb: char) -> bool {
        if self.erring {
            return false;
        }
        if verb == 'w' {
            // Errors are wrapped by `Errorf` only.
            self.bad_verb(v, verb);
            return true;
        }
        let text = match (v, self.flags.sharp_v) {
            (Value::Time(ns), true) => {
                let text = gotime::go_string(*ns);
                self.plain(&text);
                return true;
            }
            (Value::Histogram(text), _) => Arc::clone(text),
            (_, true) => return false,
            (Value::Time(ns), _) => gotime::time(*ns).into(),
            (Value::Duration(ns), _) => gotime::duration(*ns).into(),
            (Value::Named(_, text, _), _) => (*text).into(),
            _ => return false,
        };
        let has = matches!(verb, 'v' | 's' | 'x' | 'X' | 'q');
        if has {
            self.text(&text, verb, v);
        }
        has
    }

    /// `printValue`; `depth` counts what it is inside of.
    fn value(&mut self, v: &Value, verb: char, depth: usize) {
        if self.full || depth > crate::DEPTH_MAX {
            self.full = true;
            return;
        }
        if depth > 0 && self.method(v, verb) {
            return;
        }
        match v {
            Value::Nil | Value::Missing => self.write(if self.flags.sharp_v { "interface {}(nil)" } else { "<nil>" }),
            Value::Bool(b) if matches!(verb, 't' | 'v') => self.pad(if *b { "true" } else { "false" }),
            Value::Bool(_) => self.bad_verb(v, verb),
            Value::Int(n) | Value::Duration(n) | Value::Named(n, ..) => match verb {
                'v' | 'd' | 'b' | 'o' | 'O' | 'x' | 'X' => self.integer(*n, verb),
                'c' => self.character(*n),
                'q' => self.quoted_character(*n),
                'U' => self.unicode(*n),
                _ => self.bad_verb(v, verb),
            },
            Value::Float(f) => match verb {
                'v' => self.float(*f, 'g', None),
                'b' | 'g' | 'G' | 'x' | 'X' => self.float(*f, verb, None),
                'f' | 'e' | 'E' | 'F' => self.float(*f, verb, Some(6)),
                _ => self.bad_verb(v, verb),
            },
            Value::String(s) => self.text(s, verb, v),
            Value::Labels(l) => {
                let entries = l.iter().map(|l| (&*l.name, Value::String(l.value.clone())));
                self.map(v.go_type(), entries, verb, depth);
            }
            Value::Map(m) => {
                self.map(v.go_type(), m.iter().map(|(k, v)| (k.as_str(), v.clone())), verb, depth);
            }
            Value::List(l) => self.list(v.go_type(), l.iter().cloned(), verb, depth),
            Value::Samples(s) => self.list(v.go_type(), s.iter().cloned().map(Value::Sample), verb, depth),
            // Go prints where an inner one is.
            Value::Sample(_) | Value::Time(_) if depth > 0 && !OF_POINTERS.contains(verb) => self.bad_verb(v, verb),
            Value::Sample(s) => {
                self.write("&");
                self.structure("template.sample", &fields(s), verb, depth + 1);
            }
            Value::Time(ns) => {
                self.write("&");
                let zone = if verb == 'v' { Value::Nil } else { Value::Int(0) };
                let (nanoseconds, seconds) = (ns.rem_euclid(SECOND_NS), ns.div_euclid(SECOND_NS) - YEAR_ONE_S);
                let fields = [("wall", Value::Int(nanoseconds)), ("ext", Value::Int(seconds)), ("loc", zone)];
                self.structure("time.Time", &fields, verb, depth + 1);
            }
            // Its fields are not known here.
            Value::Histogram(text) => self.plain(text),
            Value::Struct(fields, name) => self.structure(name, fields, verb, depth),
        }
    }

    fn text(&mut self, s: &str, verb: char, v: &Value) {
        match verb {
            'v' if self.flags.sharp_v && matches!(v, Value::String(_)) => self.quoted(s),
            'v' | 's' => self.plain(s),
            'x' | 'X' => self.bytes(s, verb == 'X'),
            'q' => self.quoted(s),
            _ => self.bad_verb(v, verb),
        }
    }

    fn map<'a>(&mut self, name: &str, entries: impl Iterator<Item = (&'a str, Value)>, verb: char, depth: usize) {
        let entries = entries.map(|(key, value)| (Some(Value::string(key)), value));
        let (open, close) = if self.flags.sharp_v { ("{", "}") } else { ("[", "]") };
        self.write(if self.flags.sharp_v { name } else { "map" });
        self.enclosed((open, close), entries, verb, depth);
    }

    fn list(&mut self, name: &str, items: impl Iterator<Item = Value>, verb: char, depth: usize) {
        if self.flags.sharp_v {
            self.write(name);
        }
        let brackets = if self.flags.sharp_v { ("{", "}") } else { ("[", "]") };
        self.enclosed(brackets, items.map(|v| (None, v)), verb, depth);
    }

    fn enclosed(
        &mut self,
        (open, close): (&str, &str),
        items: impl Iterator<Item = (Option<Value>, Value)>,
        verb: char,
        depth: usize,
    ) {
        self.write(open);
        for (i, (key, value)) in items.enumerate() {
            if i > 0 {
                self.write(if self.flags.sharp_v { ", " } else { " " });
            }
            if let Some(key) = key {
                self.value(&key, verb, depth + 1);
                self.write(":");
            }
            self.value(&value, verb, depth + 1);
            if self.full {
                return;
            }
        }
        self.write(close);
    }

    /// A struct of this name.
    pub(super) fn structure(&mut self, name: &str, fields: &[(&'static str, Value)], verb: char, depth: usize) {
        if self.flags.sharp_v {
            self.write(name);
        }
        self.write("{");
        for (i, (field, value)) in fields.iter().enumerate() {
            if i > 0 {
                self.write(if self.flags.sharp_v { ", " } else { " " });
            }
            if self.flags.plus_v || self.flags.sharp_v {
                self.write(field);
                self.write(":");
            }
            self.value(value, verb, depth + 1);
        }
        self.write("}");
    }
}

/// Has it an address?
fn is_reference(v: &Value) -> bool {
    matches!(
        v,
        Value::Labels(_)
            | Value::Map(_)
            | Value::List(_)
            | Value::Samples(_)
            | Value::Sample(_)
            | Value::Time(_)
            | Value::Histogram(_)
    )
}
