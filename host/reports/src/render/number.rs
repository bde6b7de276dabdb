//! Numbers with their units, short enough to read.

/// A number in its unit: `1.5 GiB`, `12.3 %`, `1m 30s`, `1,234`.
pub(super) fn with_unit(value: f64, unit: Option<&str>) -> String {
    if !value.is_finite() {
        return if value.is_nan() {
            "–".to_owned()
        } else if value > 0.0 {
            "∞".to_owned()
        } else {
            "−∞".to_owned()
        };
    }
    match unit.unwrap_or_default() {
        "" => plain(value),
        "bytes" | "byte" | "B" | "By" => bytes(value),
        "bytes/s" | "bytes_per_second" | "B/s" | "By/s" => format!("{}/s", bytes(value)),
        "s" | "seconds" | "second" => seconds(value),
        "ms" | "milliseconds" => seconds(value / 1000.0),
        "%" | "percent" => format!("{} %", plain(value)),
        "ratio" => format!("{} %", plain(value * 100.0)),
        "celsius" => format!("{} °C", plain(value)),
        "hertz" | "Hz" => scaled(value, 1000.0, &["Hz", "kHz", "MHz", "GHz", "THz"]),
        other => format!("{} {other}", plain(value)),
    }
}

/// A unit that has no short form: it stands once above a chart rather than at each of its numbers.
pub(super) fn word(unit: Option<&str>) -> Option<&str> {
    const SHORT: [&str; 16] = [
        "",
        "bytes",
        "byte",
        "B",
        "By",
        "bytes/s",
        "bytes_per_second",
        "B/s",
        "By/s",
        "s",
        "seconds",
        "second",
        "ms",
        "milliseconds",
        "%",
        "percent",
    ];
    unit.filter(|u| !SHORT.contains(u) && !matches!(*u, "ratio" | "celsius" | "hertz" | "Hz"))
}

/// Does its axis go in powers of two?
pub(super) fn is_bytes(unit: Option<&str>) -> bool {
    matches!(unit, Some("bytes" | "byte" | "B" | "By" | "bytes/s" | "bytes_per_second" | "B/s" | "By/s"))
}

fn bytes(value: f64) -> String {
    scaled(value, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"])
}

fn scaled(value: f64, base: f64, units: &[&str]) -> String {
    let mut scaled = value;
    let mut at = 0;
    // Where rounding would show the base itself, the next unit is meant.
    while scaled.abs() >= base - 0.5 && at + 1 < units.len() {
        scaled /= base;
        at += 1;
    }
    format!("{} {}", plain(scaled), units[at])
}

/// A length of time: `350 ms`, `12.5 s`, `1m 30s`, `2d 4h`.
pub(super) fn seconds(value: f64) -> String {
    let sign = if value < 0.0 { "−" } else { "" };
    let abs = value.abs();
    if abs == 0.0 {
        return "0 s".to_owned();
    }
    if abs < 1e-3 {
        return format!("{} µs", plain(value * 1e6));
    }
    if abs < 1.0 {
        return format!("{} ms", plain(value * 1e3));
    }
    if abs < 60.0 {
        return format!("{} s", plain(value));
    }
    if abs > 1e15 {
        return format!("{value:e} s");
    }
    let whole = abs.round() as u64;
    let parts = [(whole / 86_400, "d"), (whole / 3600 % 24, "h"), (whole / 60 % 60, "m"), (whole % 60, "s")];
    let from = parts.iter().position(|(n, _)| *n > 0).unwrap_or(3);
    let shown: Vec<String> =
        parts[from..].iter().take(2).filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
    format!("{sign}{}", shown.join(" "))
}

/// About four digits, thousands apart, no needless zeros.
pub(super) fn plain(value: f64) -> String {
    let abs = value.abs();
    if abs != 0.0 && !(1e-4..1e12).contains(&abs) {
        return format!("{value:.2e}").replace('-', "−");
    }
    let decimals = match abs {
        _ if abs >= 100.0 || value == value.trunc() => 0,
        _ if abs >= 10.0 => 1,
        _ if abs >= 1.0 => 2,
        _ if abs >= 0.01 => 3,
        _ => 5,
    };
    let text = format!("{abs:.decimals$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut out = String::new();
    if value < 0.0 && text.bytes().any(|b| (b'1'..=b'9').contains(&b)) {
        out.push('−');
    }
    for (i, c) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(c);
    }
    let fraction = fraction.trim_end_matches('0');
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_carry_their_unit() {
        for (value, unit, text) in [
            (0.0, None, "0"),
            (1234.0, None, "1,234"),
            (-1234567.8, None, "−1,234,568"),
            (12.345, Some("percent"), "12.3 %"),
            (0.123456, Some("ratio"), "12.3 %"),
            (0.0421, None, "0.042"),
            (1536.0, Some("bytes"), "1.5 KiB"),
            (1023.9 * 1024.0, Some("bytes"), "1 MiB"),
            (8.0 * 1024.0 * 1024.0 * 1024.0, Some("bytes"), "8 GiB"),
            (0.35, Some("seconds"), "350 ms"),
            (90.0, Some("seconds"), "1m 30s"),
            (187_200.0, Some("s"), "2d 4h"),
            (3.0, Some("requests"), "3 requests"),
            (f64::NAN, Some("bytes"), "–"),
            (f64::INFINITY, None, "∞"),
            (1e20, None, "1.00e20"),
        ] {
            assert_eq!(with_unit(value, unit), text);
        }
    }
}
