//! Lengths of time as people write them: `90s`, `1m30s`, `2h`, `15d`, `500ms` (Prometheus' grammar).

use std::time::Duration;

/// Why a text is not a duration.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a duration; write it like 500ms, 10s, 1m30s, 2h or 15d")]
pub struct BadDuration(pub String);

const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Units fall from large to small, each at most once; a bare `0` is allowed. Errors on overflow too.
pub fn parse_duration(text: &str) -> Result<Duration, BadDuration> {
    let bad = || BadDuration(text.to_owned());
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut total: u64 = 0;
    let mut next_unit = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().map_err(|_| bad())?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = UNITS.iter().position(|(u, _)| *u == &rest[..letters]).ok_or_else(bad)?;
        if unit < next_unit {
            return Err(bad());
        }
        next_unit = unit + 1;
        total = number.checked_mul(UNITS[unit].1).and_then(|ms| total.checked_add(ms)).ok_or_else(bad)?;
        rest = &rest[letters..];
    }
    if text.is_empty() || total > i64::MAX as u64 {
        return Err(bad());
    }
    Ok(Duration::from_millis(total))
}

/// The shortest text that [`parse_duration`] reads back, as Prometheus prints it (`1d12h`, `90m` is `1h30m`).
pub fn format_duration(d: Duration) -> String {
    let mut ms = u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    for (unit, size) in UNITS {
        // Years and weeks only where they divide the rest, so that 15d stays 15d.
        if matches!(unit, "y" | "w") && !ms.is_multiple_of(size) {
            continue;
        }
        if ms >= size {
            out.push_str(&format!("{}{unit}", ms / size));
            ms %= size;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_prometheus_reads_them() {
        for (text, ms) in [("0", 0), ("500ms", 500), ("10s", 10_000), ("1m30s", 90_000), ("15d", 1_296_000_000)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "10", "s", "1.5h", "30s1m", "1m1m", "-1s", "1 s", "99999999999999y"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_printed_is_read_back(ms in 0u64..=i64::MAX as u64) {
            let d = Duration::from_millis(ms);
            proptest::prop_assert_eq!(parse_duration(&format_duration(d)), Ok(d));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = parse_duration(&text);
        }
    }
}
