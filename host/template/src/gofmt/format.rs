//! The walk over a format: Go's `doPrintf`, with its order of questions, so that its errors come out as well.

use super::{Flags, Printer};
use crate::value::Value;

/// Larger widths, precisions and numbers of arguments count as none.
const NUMBER_MAX: i64 = 1_000_000;

/// Where the walk is.
struct At<'a> {
    format: &'a str,
    i: usize,
    args: &'a [Value],
    next: usize,
    /// Some verb named its argument: those that are left over are not told of.
    reordered: bool,
    /// The index that this verb names is there.
    good: bool,
}

impl At<'_> {
    fn byte(&self) -> Option<u8> {
        self.format.as_bytes().get(self.i).copied()
    }

    /// A number, if one stands here. Too long a one swallows the rest of the format.
    fn number(&mut self, end: usize) -> Option<usize> {
        let (mut n, mut any) = (0i64, false);
        while let Some(digit) = self.byte().filter(|b| self.i < end && b.is_ascii_digit()) {
            if n > NUMBER_MAX {
                self.i = end;
                return None;
            }
            n = n * 10 + i64::from(digit - b'0');
            any = true;
            self.i += 1;
        }
        usize::try_from(n).ok().filter(|_| any)
    }

    /// `[3]`; was there one?
    fn index(&mut self) -> bool {
        if self.byte() != Some(b'[') {
            return false;
        }
        self.reordered = true;
        let rest = self.format.get(self.i..).unwrap_or("");
        let Some(close) = rest.find(']').filter(|_| rest.len() >= 3) else {
            self.i += 1;
            self.good = false;
            return false;
        };
        let behind = self.i + close + 1;
        self.i += 1;
        let number = self.number(behind - 1).filter(|_| self.i == behind - 1);
        self.i = behind;
        let index = number.and_then(|n| n.checked_sub(1)).filter(|n| *n < self.args.len());
        match index {
            Some(index) => self.next = index,
            None => self.good = false,
        }
        number.is_some()
    }

    /// The number that `*` takes from the arguments.
    fn taken(&mut self) -> Option<i64> {
        let value = self.args.get(self.next)?;
        self.next += 1;
        match value {
            Value::Int(n) | Value::Duration(n) | Value::Named(n, ..) => {
                Some(*n).filter(|n| (-NUMBER_MAX..=NUMBER_MAX).contains(n))
            }
            _ => None,
        }
    }
}

impl Printer {
    /// `fmt.Sprintf`
    pub(super) fn format(&mut self, format: &str, args: &[Value]) {
        let mut at = At { format, i: 0, args, next: 0, reordered: false, good: true };
        while at.i < format.len() && !self.full {
            let rest = format.get(at.i..).unwrap_or("");
            let Some((text, _)) = rest.split_once('%') else {
                self.write(rest);
                break;
            };
            self.write(text);
            at.i += text.len() + 1;
            if !self.verb(&mut at) {
                break;
            }
        }
        let left = args.get(at.next..).unwrap_or(&[]);
        if !at.reordered && !left.is_empty() {
            self.flags = Flags::default();
            self.write("%!(EXTRA ");
            for (i, arg) in left.iter().enumerate() {
                if i > 0 {
                    self.write(", ");
                }
                match arg {
                    Value::Nil | Value::Missing => self.write("<nil>"),
                    arg => {
                        self.write(arg.go_type());
                        self.write("=");
                        self.argument(arg, 'v');
                    }
                }
            }
            self.write(")");
        }
    }

    /// What follows a `%`; `false` when the format ends in it.
    fn verb(&mut self, at: &mut At<'_>) -> bool {
        self.flags = Flags::default();
        at.good = true;
        while let Some(flag) = at.byte() {
            match flag {
                b'#' => self.flags.sharp = true,
                b'0' => self.flags.zero = true,
                b'+' => self.flags.plus = true,
                b'-' => self.flags.minus = true,
                b' ' => self.flags.space = true,
                _ => break,
            }
            at.i += 1;
        }
        let mut indexed = at.index();
        let end = at.format.len();
        if at.byte() == Some(b'*') {
            at.i += 1;
            match at.taken() {
                Some(n) => {
                    self.flags.width = usize::try_from(n.unsigned_abs()).ok();
                    if n < 0 {
                        self.flags.minus = true;
                        self.flags.zero = false;
                    }
                }
                None => self.write("%!(BADWIDTH)"),
            }
            indexed = false;
        } else {
            self.flags.width = at.number(end);
            if indexed && self.flags.width.is_some() {
                at.good = false;
            }
        }
        // A point at the end is taken for a verb.
        if at.byte() == Some(b'.') && at.i + 1 < end {
            at.i += 1;
            if indexed {
                at.good = false;
            }
            indexed = at.index();
            if at.byte() == Some(b'*') {
                at.i += 1;
                let n = at.taken();
                self.flags.precision = n.and_then(|n| usize::try_from(n).ok());
                if self.flags.precision.is_none() {
                    self.write("%!(BADPREC)");
                }
                indexed = false;
            } else {
                self.flags.precision = Some(at.number(end).unwrap_or(0));
            }
        }
        if !indexed {
            at.index();
        }
        let Some(verb) = at.format.get(at.i..).and_then(|rest| rest.chars().next()) else {
            self.write("%!(NOVERB)");
            return false;
        };
        at.i += verb.len_utf8();
        let failed = |p: &mut Self, why: &str| p.write(&format!("%!{verb}({why})"));
        match (verb, at.args.get(at.next)) {
            ('%', _) => self.write("%"),
            _ if !at.good => failed(self, "BADINDEX"),
            (_, None) => failed(self, "MISSING"),
            (_, Some(arg)) => {
                if matches!(verb, 'v' | 'w') {
                    self.flags.sharp_v = std::mem::take(&mut self.flags.sharp);
                    self.flags.plus_v = std::mem::take(&mut self.flags.plus);
                }
                self.argument(arg, verb);
                at.next += 1;
            }
        }
        true
    }
}
