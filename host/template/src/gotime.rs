//! Go's `time.Time` and `time.Duration`, as far as templates use them. All in UTC, as Prometheus has them.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::functions::wrong_type;
use crate::value::Value;

const SECOND: i64 = 1_000_000_000;

/// Go rounds times from the beginning of the year 1.
const YEAR_ONE_S: i64 = -62_135_596_800;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// `time.Time.String`: `2015-06-23 13:19:44.128 +0000 UTC`.
pub(crate) fn time(ns: i64) -> String {
    format(ns, "2006-01-02 15:04:05.999999999 -0700 MST")
}

/// `time.Time.GoString`: `time.Date(2015, time.June, 23, 13, 19, 44, 128000000, time.UTC)`.
pub(crate) fn go_string(ns: i64) -> String {
    let (s, fraction) = (ns.div_euclid(SECOND).rem_euclid(86_400), ns.rem_euclid(SECOND));
    let clock = format!("{}, {}, {}, {fraction}", s / 3_600, s / 60 % 60, s % 60);
    format(ns, "time.Date(2006, time.January, 2, ") + &clock + ", time.UTC)"
}

/// `time.Duration.String`: `1h2m0.01s`, `1.5ms`, `0s`.
pub(crate) fn duration(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    let u = ns.unsigned_abs();
    let fraction = |n: u64, unit: u64| {
        let mut s = format!("{}", n / unit);
        if !n.is_multiple_of(unit) {
            let width = unit.ilog10() as usize;
            let digits = format!("{:0width$}", n % unit);
            s = format!("{s}.{}", digits.trim_end_matches('0'));
        }
        s
    };
    let second = SECOND as u64;
    match u {
        0 => "0s".to_owned(),
        _ if u < 1_000 => format!("{sign}{u}ns"),
        _ if u < 1_000_000 => format!("{sign}{}µs", fraction(u, 1_000)),
        _ if u < second => format!("{sign}{}ms", fraction(u, 1_000_000)),
        _ => {
            let (minutes, rest) = (u / (60 * second), u % (60 * second));
            let mut out = sign.to_owned();
            if minutes >= 60 {
                let _ = write!(out, "{}h", minutes / 60);
            }
            if minutes > 0 {
                let _ = write!(out, "{}m", minutes % 60);
            }
            out + &fraction(rest, second) + "s"
        }
    }
}

/// Longest first where one is a prefix of another.
const LAYOUT: [&str; 31] = [
    "January",
    "Jan",
    "Monday",
    "Mon",
    "MST",
    "2006",
    "-07:00:00",
    "-07:00",
    "-070000",
    "-0700",
    "-07",
    "Z07:00",
    "Z0700",
    "Z07",
    "002",
    "01",
    "02",
    "03",
    "04",
    "05",
    "06",
    "15",
    "PM",
    "pm",
    "__2",
    "_2",
    "1",
    "2",
    "3",
    "4",
    "5",
];

/// `time.Time.Format`, with Go's reference time as the layout.
pub(crate) fn format(ns: i64, layout: &str) -> String {
    let Ok(at) = Timestamp::from_nanosecond(i128::from(ns)) else { return ns.to_string() };
    let t = at.to_zoned(TimeZone::UTC);
    let mut out = String::new();
    let mut rest = layout;
    while !rest.is_empty() {
        if let Some((text, used)) = fraction(rest, t.subsec_nanosecond()) {
            out.push_str(&text);
            rest = &rest[used..];
            continue;
        }
        let Some(word) = LAYOUT.iter().find(|w| rest.starts_with(**w)) else {
            let c = rest.chars().next().unwrap_or(' ');
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        rest = &rest[word.len()..];
        let hour12 = if t.hour() % 12 == 0 { 12 } else { t.hour() % 12 };
        let _ = match *word {
            "January" => write!(out, "{}", t.strftime("%B")),
            "Jan" => write!(out, "{}", t.strftime("%b")),
            "Monday" => write!(out, "{}", t.strftime("%A")),
            "Mon" => write!(out, "{}", t.strftime("%a")),
            "MST" => write!(out, "UTC"),
            "2006" => write!(out, "{:04}", t.year()),
            "06" => write!(out, "{:02}", t.year().rem_euclid(100)),
            "-07:00:00" => write!(out, "+00:00:00"),
            "-07:00" => write!(out, "+00:00"),
            "-070000" => write!(out, "+000000"),
            "-0700" => write!(out, "+0000"),
            "-07" => write!(out, "+00"),
            "Z07:00" | "Z0700" | "Z07" => write!(out, "Z"),
            "002" => write!(out, "{:03}", t.day_of_year()),
            "__2" => write!(out, "{:3}", t.day_of_year()),
            "01" => write!(out, "{:02}", t.month()),
            "02" => write!(out, "{:02}", t.day()),
            "_2" => write!(out, "{:2}", t.day()),
            "15" => write!(out, "{:02}", t.hour()),
            "03" => write!(out, "{hour12:02}"),
            "04" => write!(out, "{:02}", t.minute()),
            "05" => write!(out, "{:02}", t.second()),
            "1" => write!(out, "{}", t.month()),
            "2" => write!(out, "{}", t.day()),
            "3" => write!(out, "{hour12}"),
            "4" => write!(out, "{}", t.minute()),
            "5" => write!(out, "{}", t.second()),
            "PM" => write!(out, "{}", if t.hour() >= 12 { "PM" } else { "AM" }),
            _ => write!(out, "{}", if t.hour() >= 12 { "pm" } else { "am" }),
        };
    }
    out
}

/// `.000` prints so many digits, `.999` without trailing zeros.
fn fraction(layout: &str, ns: i32) -> Option<(String, usize)> {
    let kind = layout.strip_prefix(['.', ','])?.chars().next().filter(|c| matches!(c, '0' | '9'))?;
    let digits = layout[1..].chars().take_while(|c| *c == kind).count();
    if digits > 9 || layout[1 + digits..].starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let text = format!("{ns:09}");
    let mut text = text[..digits].to_owned();
    if kind == '9' {
        text.truncate(text.trim_end_matches('0').len());
    }
    let text = if text.is_empty() { text } else { format!("{}{text}", &layout[..1]) };
    Some((text, 1 + digits))
}

/// A method of `*time.Time`; `None` when there is none of that name.
pub(crate) fn time_method(ns: i64, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
    let Ok(at) = Timestamp::from_nanosecond(i128::from(ns)) else {
        return Some(Err("the time is out of range".to_owned()));
    };
    let t = at.to_zoned(TimeZone::UTC);
    Some(Ok(match (name, args) {
        ("Format", [Value::String(layout)]) => Value::string(format(ns, layout)),
        ("String", []) => Value::string(time(ns)),
        ("UTC" | "Local", []) => Value::Time(ns),
        ("Unix", []) => Value::Int(ns.div_euclid(SECOND)),
        ("UnixMilli", []) => Value::Int(ns.div_euclid(1_000_000)),
        ("UnixNano", []) => Value::Int(ns),
        ("Year", []) => Value::Int(t.year().into()),
        ("UnixMicro", []) => Value::Int(ns.div_euclid(1_000)),
        ("Location", []) => Value::string("UTC"),
        ("IsDST", []) => Value::Bool(false),
        ("Month", []) => named(t.month().into(), 1, &MONTHS, "time.Month"),
        ("Weekday", []) => named(t.weekday().to_sunday_zero_offset().into(), 0, &WEEKDAYS, "time.Weekday"),
        ("Day", []) => Value::Int(t.day().into()),
        ("YearDay", []) => Value::Int(t.day_of_year().into()),
        ("Hour", []) => Value::Int(t.hour().into()),
        ("Minute", []) => Value::Int(t.minute().into()),
        ("Second", []) => Value::Int(t.second().into()),
        ("Nanosecond", []) => Value::Int(t.subsec_nanosecond().into()),
        // A number that is written out is a duration in nanoseconds.
        ("Add", [Value::Duration(d) | Value::Int(d)]) => Value::Time(ns.saturating_add(*d)),
        ("Truncate", [Value::Duration(d) | Value::Int(d)]) => Value::Time(rounded(ns, *d, false)),
        ("Round", [Value::Duration(d) | Value::Int(d)]) => Value::Time(rounded(ns, *d, true)),
        ("Add" | "Truncate" | "Round", [other]) => return Some(Err(wrong_type("time.Duration", other))),
        ("AddDate", [Value::Int(y), Value::Int(m), Value::Int(d)]) => match add_date(ns, *y, *m, *d) {
            Some(ns) => Value::Time(ns),
            None => return Some(Err("the time is out of range".to_owned())),
        },
        ("Compare", [Value::Time(other)]) => Value::Int(ns.cmp(other) as i64),
        ("Sub", [Value::Time(other)]) => Value::Duration(ns.saturating_sub(*other)),
        ("After", [Value::Time(other)]) => Value::Bool(ns > *other),
        ("Before", [Value::Time(other)]) => Value::Bool(ns < *other),
        ("Equal", [Value::Time(other)]) => Value::Bool(ns == *other),
        ("IsZero", []) => Value::Bool(false),
        _ => return None,
    }))
}

fn named(n: i64, first: i64, names: &[&'static str], go_type: &'static str) -> Value {
    let name = usize::try_from(n - first).ok().and_then(|i| names.get(i)).copied();
    Value::Named(n, name.unwrap_or_default(), go_type)
}

/// `Truncate`, or `Round` with halves up; a step that is not positive changes nothing.
fn rounded(ns: i64, step: i64, nearest: bool) -> i64 {
    if step <= 0 {
        return ns;
    }
    let step = i128::from(step);
    let beyond = (i128::from(ns) - i128::from(YEAR_ONE_S) * i128::from(SECOND)).rem_euclid(step);
    let up = nearest && beyond * 2 >= step;
    let rounded = i128::from(ns) - beyond + if up { step } else { 0 };
    i64::try_from(rounded).unwrap_or(ns)
}

/// Months and days beyond their end go on into the next, as Go has it: 31 January and a month is 3 March.
fn add_date(ns: i64, years: i64, months: i64, days: i64) -> Option<i64> {
    let t = Timestamp::from_nanosecond(i128::from(ns)).ok()?.to_zoned(TimeZone::UTC);
    let month = years.checked_mul(12)?.checked_add(months)?.checked_add(i64::from(t.month()) - 1)?;
    let year = i16::try_from(i64::from(t.year()).checked_add(month.div_euclid(12))?).ok()?;
    let first = jiff::civil::Date::new(year, i8::try_from(month.rem_euclid(12) + 1).ok()?, 1).ok()?;
    let day = days.checked_add(i64::from(t.day()) - 1)?;
    let date = first.checked_add(jiff::Span::new().try_days(day).ok()?).ok()?;
    let moved = date.to_datetime(t.time()).to_zoned(TimeZone::UTC).ok()?;
    i64::try_from(moved.timestamp().as_nanosecond()).ok()
}

/// A method of `*time.Duration`; `None` when there is none of that name.
pub(crate) fn duration_method(ns: i64, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
    Some(Ok(match (name, args) {
        ("String", []) => Value::string(duration(ns)),
        ("Hours", []) => Value::Float(ns as f64 / (3600 * SECOND) as f64),
        ("Minutes", []) => Value::Float(ns as f64 / (60 * SECOND) as f64),
        ("Seconds", []) => Value::Float(ns as f64 / SECOND as f64),
        ("Milliseconds", []) => Value::Int(ns / 1_000_000),
        ("Microseconds", []) => Value::Int(ns / 1_000),
        ("Nanoseconds", []) => Value::Int(ns),
        ("Abs", []) => Value::Duration(ns.saturating_abs()),
        ("Truncate", [Value::Duration(m)]) if *m > 0 => Value::Duration(ns - ns % m),
        ("Truncate" | "Round", [Value::Duration(_)]) => Value::Duration(ns),
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_durations_are_printed_as_go_prints_them() {
        assert_eq!(time(1_435_065_584_128_000_000), "2015-06-23 13:19:44.128 +0000 UTC");
        assert_eq!(time(0), "1970-01-01 00:00:00 +0000 UTC");
        assert_eq!(
            format(1_435_065_584_128_000_000, "Mon, 02 Jan 2006 15:04:05.000 MST"),
            "Tue, 23 Jun 2015 13:19:44.128 UTC"
        );
        assert_eq!(format(1_435_065_584_128_000_000, "2006-01-02T15:04:05Z07:00"), "2015-06-23T13:19:44Z");
        for (ns, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (2_200_000, "2.2ms"),
            (3_300_000_000, "3.3s"),
            (245_000_000_000, "4m5s"),
            (245_001_000_000, "4m5.001s"),
            (18_367_001_000_000, "5h6m7.001s"),
            (-90_000_000_000, "-1m30s"),
            (3_600_000_000_000, "1h0m0s"),
        ] {
            assert_eq!(duration(ns), text);
        }
    }
}
