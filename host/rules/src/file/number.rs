//! Numbers as YAML writes them, for fields that are numbers: `0x10`, `1_000`, `0o17`, `010` (eight), `1e3`.
//!
//! Invariant: what Prometheus' reader takes has the value here that it has there.
//! Not here: PromQL's numbers.

/// An integer, written as one or as a float without a fraction.
pub(crate) fn integer(text: &str) -> Option<i64> {
    let digits = bare(text)?;
    based(&digits).or_else(|| {
        let v = decimal(&digits)?;
        // Up to here every whole float is one integer.
        (v.fract() == 0.0 && v.abs() <= 9_007_199_254_740_992.0).then_some(v as i64)
    })
}

/// A float, or an integer; neither `.inf` nor `.nan`.
pub(crate) fn float(text: &str) -> Option<f64> {
    let digits = bare(text)?;
    based(&digits).map(|v| v as f64).or_else(|| decimal(&digits))
}

/// Without the `_` that may stand anywhere but first.
fn bare(text: &str) -> Option<String> {
    let begins = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
    begins.then(|| text.replace('_', ""))
}

fn based(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let of = |radix: u32, digits: &str| {
        // `from_str_radix` would take a second sign.
        let digits = Some(digits).filter(|d| !d.starts_with(['+', '-']))?;
        let v = i128::from_str_radix(digits, radix).ok()?;
        i64::try_from(if negative { -v } else { v }).ok()
    };
    let prefix = digits.get(..2).map(str::to_ascii_lowercase);
    match (prefix.as_deref(), digits.get(2..)) {
        (Some("0x"), Some(rest)) => of(16, rest),
        (Some("0b"), Some(rest)) => of(2, rest),
        (Some("0o"), Some(rest)) => of(8, rest),
        _ => of(if digits.len() > 1 && digits.starts_with('0') { 8 } else { 10 }, digits),
    }
}

fn decimal(text: &str) -> Option<f64> {
    let plain = text.chars().all(|c| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E'));
    text.parse::<f64>().ok().filter(|v| plain && v.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each was given to promtool 3.5.3, beside series of the value.
    #[test]
    fn numbers_are_what_yaml_says() {
        for (text, value) in [
            ("0x10", 16.0),
            ("-0x10", -16.0),
            ("+0x10", 16.0),
            ("0X10", 16.0),
            ("0x_10", 16.0),
            ("1_000", 1000.0),
            ("1__0", 10.0),
            ("1_", 1.0),
            ("1_000.5", 1000.5),
            (".5_0", 0.5),
            ("010", 8.0),
            ("-010", -8.0),
            ("0o17", 15.0),
            ("0b11", 3.0),
            ("08", 8.0),
            ("1e3", 1000.0),
            ("09.5", 9.5),
            ("+5", 5.0),
            ("1.", 1.0),
            ("1_000e1", 10_000.0),
        ] {
            assert_eq!(float(text), Some(value), "{text}");
            assert_eq!(integer(text), Some(value as i64).filter(|v| *v as f64 == value), "{text}");
        }
        for text in ["_1", "0x", "0o8", "0b2", "1e400", "5e", "1:30", "", "inf", "NaN", "0x1p4", "--5", "+-5", "0x-5"] {
            assert_eq!((float(text), integer(text)), (None, None), "{text}");
        }
        assert_eq!(integer("99999999999999999999"), None);
    }
}
