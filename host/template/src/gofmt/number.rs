//! Integers, characters and floats: Go's `strconv` and the number half of its `fmt`.

use super::{Printer, text};

/// No double has more digits behind its point, nor more that are not zero.
const DIGITS_MAX: usize = 1_100;
const FRACTION_BITS: i32 = 52;
const BIAS: i32 = 1_023;
/// `%x` has so many digits at most behind its point.
const HEX_DIGITS: usize = 15;

impl Printer {
    /// `%b`, `%d`, `%x`, …: with base and digits of the verb. `verb` is one of them.
    pub(super) fn integer(&mut self, n: i64, verb: char) {
        let f = self.flags;
        let u = n.unsigned_abs();
        let sign = if n < 0 {
            "-"
        } else if f.plus {
            "+"
        } else if f.space {
            " "
        } else {
            ""
        };
        let least = match (f.precision, f.width) {
            (Some(0), _) if u == 0 => return self.pad_with_spaces(""),
            (Some(precision), _) => precision,
            (None, Some(width)) if f.zero && !f.minus => width.saturating_sub(sign.len()),
            _ => 0,
        };
        let mut digits = match verb {
            'b' => format!("{u:b}"),
            'o' | 'O' => format!("{u:o}"),
            'x' => format!("{u:x}"),
            'X' => format!("{u:X}"),
            _ => u.to_string(),
        };
        let zeros = least.saturating_sub(digits.len());
        if zeros > self.limit {
            self.full = true;
            return;
        }
        digits.insert_str(0, &"0".repeat(zeros));
        let mut prefix = match verb {
            'b' if f.sharp => "0b",
            'o' | 'O' if f.sharp && !digits.starts_with('0') => "0",
            'x' if f.sharp => "0x",
            'X' if f.sharp => "0X",
            _ => "",
        }
        .to_owned();
        if verb == 'O' {
            prefix.insert_str(0, "0o");
        }
        self.pad_with_spaces(&format!("{sign}{prefix}{digits}"));
    }

    /// `%c`
    pub(super) fn character(&mut self, n: i64) {
        self.pad(&character(n).to_string());
    }

    /// `%q` of a character.
    pub(super) fn quoted_character(&mut self, n: i64) {
        let quoted = text::quoted(&character(n).to_string(), '\'', self.flags.plus);
        self.pad(&quoted);
    }

    /// `%U`
    pub(super) fn unicode(&mut self, n: i64) {
        let digits = self.flags.precision.unwrap_or(0).max(4);
        if digits > self.limit {
            self.full = true;
            return;
        }
        let mut out = format!("{n:X}");
        out.insert_str(0, &"0".repeat(digits.saturating_sub(out.len())));
        out.insert_str(0, "U+");
        let shown = u32::try_from(n).ok().and_then(char::from_u32).filter(|c| text::is_printed(*c));
        if let Some(c) = shown.filter(|_| self.flags.sharp) {
            out.push_str(&format!(" '{c}'"));
        }
        self.pad_with_spaces(&out);
    }

    /// A float; without a precision in the format it has `precision`, or as few digits as read back.
    pub(super) fn float(&mut self, v: f64, verb: char, precision: Option<usize>) {
        let f = self.flags;
        let precision = f.precision.or(precision);
        if precision.is_some_and(|p| p > self.limit) {
            self.full = true;
            return;
        }
        let mut out = float(v, if verb == 'F' { 'f' } else { verb }, precision);
        if !out.starts_with(['+', '-']) {
            out.insert(0, '+');
        }
        if f.space && !f.plus && out.starts_with('+') {
            out.replace_range(..1, " ");
        }
        if !v.is_finite() {
            let bare = v.is_nan() && !f.space && !f.plus;
            return self.pad_with_spaces(if bare { &out[1..] } else { &out });
        }
        if f.sharp && verb != 'b' {
            out = with_point(&out, verb, precision);
        }
        if !f.plus && out.starts_with('+') {
            return self.pad(&out[1..]);
        }
        match f.width {
            // The sign stands before the zeros.
            Some(width) if f.zero && !f.minus && width > out.len() => {
                self.write(&out[..1]);
                self.padding(width - out.len());
                self.write(&out[1..]);
            }
            _ => self.pad(&out),
        }
    }
}

fn character(n: i64) -> char {
    u32::try_from(n).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// What `#` does to a signed float: a point in any case, and with `%g` the zeros behind the last digit.
fn with_point(signed: &str, verb: char, precision: Option<usize>) -> String {
    let mut digits = match verb {
        // Not of `X`: Go forgets it.
        'g' | 'G' | 'x' => precision.unwrap_or(6),
        _ => 0,
    };
    let exponent = if matches!(verb, 'x' | 'X') { ['p', 'P'] } else { ['e', 'E'] };
    let (number, tail) = signed.split_at(signed.find(exponent).unwrap_or(signed.len()));
    let mut significant = false;
    for c in number.chars().skip(1).filter(|c| *c != '.') {
        significant |= c != '0';
        if significant {
            digits = digits.saturating_sub(1);
        }
    }
    let mut out = number.to_owned();
    if !number.contains('.') {
        if &number[1..] == "0" {
            digits = digits.saturating_sub(1);
        }
        out.push('.');
    }
    out.push_str(&"0".repeat(digits));
    out + tail
}

/// `strconv.FormatFloat`; without a precision as few digits as read back.
pub(super) fn float(v: f64, format: char, precision: Option<usize>) -> String {
    if v.is_nan() {
        return "NaN".to_owned();
    }
    let sign = if v.is_sign_negative() { "-" } else { "" };
    if v.is_infinite() {
        return if v > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let v = v.abs();
    let unsigned = match format {
        'b' => binary(v),
        'x' => hexadecimal(v, precision),
        'X' => hexadecimal(v, precision).to_uppercase(),
        'f' => {
            let precision = precision.unwrap_or(0);
            let exact = precision.min(DIGITS_MAX);
            format!("{v:.exact$}{}", "0".repeat(precision - exact))
        }
        'e' | 'E' => {
            let d = Digits::of(v, precision.map(|p| p.saturating_add(1)));
            d.with_exponent(precision.unwrap_or(d.digits.len().saturating_sub(1)), format)
        }
        _ => general(v, format, precision),
    };
    format!("{sign}{unsigned}")
}

/// Decimal digits, without zeros at their end; the point stands before the digit `point`.
struct Digits {
    digits: String,
    point: i32,
}

impl Digits {
    /// Rounded to so many digits, or as few as read back.
    fn of(v: f64, digits: Option<usize>) -> Self {
        let text = match digits {
            Some(n) => format!("{v:.0$e}", n.clamp(1, DIGITS_MAX) - 1),
            None => format!("{v:e}"),
        };
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
        let digits = digits.trim_end_matches('0').to_owned();
        let point = if digits.is_empty() { 0 } else { exponent.parse::<i32>().unwrap_or(0) + 1 };
        Self { digits, point }
    }

    fn at(&self, i: i32) -> char {
        usize::try_from(i).ok().and_then(|i| self.digits.as_bytes().get(i)).map_or('0', |b| char::from(*b))
    }

    fn with_exponent(&self, precision: usize, e: char) -> String {
        let exponent = if self.digits.is_empty() { 0 } else { self.point - 1 };
        let mut out = String::from(self.at(0));
        if precision > 0 {
            out.push('.');
            let kept = self.digits.get(1..).unwrap_or("");
            out.push_str(kept.get(..precision).unwrap_or(kept));
            out.push_str(&"0".repeat(precision.saturating_sub(kept.len())));
        }
        let sign = if exponent < 0 { '-' } else { '+' };
        out + &format!("{e}{sign}{:02}", exponent.abs())
    }

    fn plain(&self, precision: usize) -> String {
        let mut out: String =
            if self.point > 0 { (0..self.point).map(|i| self.at(i)).collect() } else { "0".to_owned() };
        if precision > 0 {
            out.push('.');
            out.extend((0..precision).map(|i| self.at(self.point.saturating_add_unsigned(i as u32))));
        }
        out
    }
}

/// `%g`: with an exponent where that is shorter.
fn general(v: f64, format: char, precision: Option<usize>) -> String {
    /// From this power of ten on the shortest digits have an exponent.
    const EXPONENT_FROM: usize = 6;
    let wanted = precision.map(|p| p.max(1));
    let d = Digits::of(v, wanted);
    let (count, point) = (d.digits.len(), d.point);
    let wanted = wanted.unwrap_or(count);
    let limit = match precision {
        None => EXPONENT_FROM,
        Some(_) if wanted > count && count as i32 >= point => count,
        Some(_) => wanted,
    };
    let exponent = point - 1;
    if exponent < -4 || i64::from(exponent) >= limit as i64 {
        return d.with_exponent(wanted.min(count).saturating_sub(1), if format == 'G' { 'E' } else { 'e' });
    }
    let wanted = if wanted as i64 > i64::from(point) { count } else { wanted };
    d.plain(usize::try_from(wanted as i64 - i64::from(point)).unwrap_or(0))
}

/// Mantissa and the power of two that it is multiplied with.
fn parts(v: f64) -> (u64, i32) {
    let bits = v.to_bits();
    let (fraction, exponent) = (bits & ((1 << FRACTION_BITS) - 1), (bits >> FRACTION_BITS) as i32);
    match exponent {
        0 => (fraction, 1 - BIAS - FRACTION_BITS),
        _ => (fraction | 1 << FRACTION_BITS, exponent - BIAS - FRACTION_BITS),
    }
}

/// `%b`: `4503599627370496p-52`.
fn binary(v: f64) -> String {
    let (mantissa, exponent) = parts(v);
    format!("{mantissa}p{exponent:+}")
}

/// `%x`: `0x1.4p+01`.
fn hexadecimal(v: f64, precision: Option<usize>) -> String {
    const ONE: u32 = 60;
    let (mut mantissa, mut exponent) = parts(v);
    exponent += FRACTION_BITS;
    if mantissa == 0 {
        exponent = 0;
    } else {
        // The first bit is moved to the place before the point.
        let shift = mantissa.leading_zeros() - (63 - ONE);
        exponent -= shift as i32 - (ONE as i32 - FRACTION_BITS);
        mantissa <<= shift;
    }
    if let Some(kept) = precision.filter(|p| *p < HEX_DIGITS) {
        let dropped = ONE - kept as u32 * 4;
        let rest = mantissa & ((1 << dropped) - 1);
        let half = 1u64 << (dropped - 1);
        let mut head = mantissa >> dropped;
        if rest > half || (rest == half && head & 1 == 1) {
            head += 1;
        }
        mantissa = head << dropped;
        if mantissa >> (ONE + 1) != 0 {
            mantissa >>= 1;
            exponent += 1;
        }
    }
    let digits = format!("{:015x}", mantissa & ((1 << ONE) - 1));
    let digits = match precision {
        None => digits.trim_end_matches('0').to_owned(),
        Some(p) if p <= HEX_DIGITS => digits[..p].to_owned(),
        Some(p) => format!("{digits}{}", "0".repeat(p - HEX_DIGITS)),
    };
    let point = if digits.is_empty() { "" } else { "." };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("0x{}{point}{digits}p{sign}{:02}", mantissa >> ONE, exponent.abs())
}
