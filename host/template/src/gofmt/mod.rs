//! Go's `fmt`: how values are printed.
//!
//! Invariant: prints what Go prints, whatever the format says; only addresses, which nobody can expect (what they lead
//! to is printed), and what is inside a time or a histogram are not followed. What a format makes has at most
//! [`OUTPUT_BYTES_MAX`] bytes.
//! Not here: times and durations (`gotime`).

mod format;
mod number;
mod text;
mod values;

use crate::OUTPUT_BYTES_MAX;
use crate::value::{Sample, Value};

/// What stands between `%` and a verb.
#[derive(Clone, Copy, Debug, Default)]
struct Flags {
    width: Option<usize>,
    precision: Option<usize>,
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    /// `%+v`
    plus_v: bool,
    /// `%#v`
    sharp_v: bool,
}

/// Go's `pp`: the text so far, and how the verb at hand is to be printed.
struct Printer {
    out: String,
    flags: Flags,
    /// Inside `%!verb(type=value)`: methods are not asked.
    erring: bool,
    /// Bytes that it may come to.
    limit: usize,
    /// Something was left out, as it would be longer.
    full: bool,
}

impl Printer {
    fn new(limit: usize) -> Self {
        Self { out: String::new(), flags: Flags::default(), erring: false, limit, full: false }
    }

    /// Without widths a text is no longer than its value; who writes it looks at the length.
    fn without_widths() -> Self {
        Self::new(usize::MAX)
    }

    fn write(&mut self, text: &str) {
        if self.out.len().saturating_add(text.len()) > self.limit {
            self.full = true;
        } else {
            self.out.push_str(text);
        }
    }

    fn repeat(&mut self, c: char, n: usize) {
        if self.out.len().saturating_add(n.saturating_mul(c.len_utf8())) > self.limit {
            self.full = true;
        } else {
            self.out.extend(std::iter::repeat_n(c, n));
        }
    }

    /// Zeros stand on the left only.
    fn padding(&mut self, n: usize) {
        let c = if self.flags.zero && !self.flags.minus { '0' } else { ' ' };
        self.repeat(c, n);
    }

    /// Writes `text`, filled up to the width.
    fn pad(&mut self, text: &str) {
        let missing = self.flags.width.map_or(0, |w| w.saturating_sub(text.chars().count()));
        if !self.flags.minus {
            self.padding(missing);
        }
        self.write(text);
        if self.flags.minus {
            self.padding(missing);
        }
    }

    /// As [`Self::pad`], never with zeros.
    fn pad_with_spaces(&mut self, text: &str) {
        let zero = std::mem::replace(&mut self.flags.zero, false);
        self.pad(text);
        self.flags.zero = zero;
    }

    fn done(self) -> Result<String, String> {
        if self.full { Err(format!("a text of more than {} bytes", self.limit)) } else { Ok(self.out) }
    }
}

/// As an action prints it: what a pointer points to.
pub(crate) fn printed(v: &Value) -> String {
    match v {
        Value::Sample(s) => sample(s),
        v => display(v),
    }
}

fn sample(s: &Sample) -> String {
    let mut p = Printer::without_widths();
    p.structure("template.sample", &values::fields(s), 'v', 0);
    p.out
}

/// As `%v` prints it.
pub(crate) fn display(v: &Value) -> String {
    match v {
        Value::Missing => "<no value>".to_owned(),
        Value::String(s) => s.to_string(),
        other => operand(other),
    }
}

/// A float as `%v` prints it: the shortest digits that read back, with an exponent below 1e-4 and from 1e6 on.
pub(crate) fn float(v: f64) -> String {
    number::float(v, 'g', None)
}

/// `%.4g`
pub(crate) fn four_digits(v: f64) -> String {
    number::float(v, 'g', Some(4))
}

/// `fmt.Sprintf`
pub(crate) fn sprintf(format: &str, args: &[Value]) -> Result<String, String> {
    let mut p = Printer::new(OUTPUT_BYTES_MAX);
    p.format(format, args);
    p.done()
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
    let mut p = Printer::without_widths();
    p.argument(v, 'v');
    p.out
}

/// `fmt.Sprintln`
pub(crate) fn sprintln(args: &[Value]) -> String {
    let mut out = args.iter().map(operand).collect::<Vec<_>>().join(" ");
    out.push('\n');
    out
}
