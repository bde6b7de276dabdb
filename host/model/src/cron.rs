//! Crontab schedules as vixie's cron reads them, in a time zone.
//!
//! Five fields (minute, hour, day of month, month, day of week), lists, ranges, steps, English names, Sunday as 0 or 7,
//! `@daily` and its like. When neither day field begins with `*`, a day that satisfies *either* is meant; else both must
//! hold (so `0 0 */2 * mon` is a Monday with an odd date, as in vixie's cron).
//!
//! Daylight saving: a time that the clock skips runs once, right after the gap (several skipped ones together); a time
//! that the clock shows twice runs the first time only. A schedule of every hour (`*/5 * * * *`) means intervals rather
//! than times of day, so it follows real time: it runs in both passes of a doubled hour and makes up nothing for a
//! skipped one.
//!
//! Invariant: `next_after(t) > t`, and nothing between the two is due.
//! Not here: a clock; seconds; `@reboot`. The crate `cron` asks for seconds, counts weekdays from Sunday = 1, ANDs the
//! two day fields and knows neither gap nor fold: the tests compare its field sets with these.

use std::sync::OnceLock;

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, ToSpan};

use crate::time::TimestampMs;

/// A date that has not come within this many years never comes. The rarest one, 29 February on a given weekday, is at
/// most 40 years away (over 2100, which is no leap year).
const HORIZON_YEARS: i16 = 41;

/// Why a text is no schedule.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadSchedule {
    /// The crontab text.
    #[error("{problem}")]
    Crontab {
        /// What is wrong.
        problem: String,
        /// How to mend it.
        help: String,
    },
    /// The time zone.
    #[error("unknown time zone `{0}`")]
    Zone(String),
}

impl BadSchedule {
    /// How to mend it.
    pub fn help(&self) -> &str {
        match self {
            Self::Crontab { help, .. } => help,
            Self::Zone(_) => "use an IANA name such as \"Europe/Berlin\" or \"UTC\"",
        }
    }
}

fn bad(problem: impl Into<String>, help: impl Into<String>) -> BadSchedule {
    BadSchedule::Crontab { problem: problem.into(), help: help.into() }
}

/// The time zone database of this build: the same answers on every machine.
fn zones() -> &'static TimeZoneDatabase {
    static ZONES: OnceLock<TimeZoneDatabase> = OnceLock::new();
    ZONES.get_or_init(TimeZoneDatabase::bundled)
}

/// The zone of an IANA name.
pub fn time_zone(name: &str) -> Result<TimeZone, BadSchedule> {
    zones().get(name).map_err(|_| BadSchedule::Zone(name.to_owned()))
}

/// All IANA names, for suggestions.
pub fn time_zone_names() -> Vec<String> {
    zones().available().map(|name| name.to_string()).collect()
}

/// When something is due, over and over.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    text: String,
    fields: Fields,
    zone: TimeZone,
}

/// One bit per allowed number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fields {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    /// Bit 0 is Sunday; bit 7 is never set.
    weekdays: u64,
    /// Either day field is enough.
    either_day: bool,
}

struct FieldKind {
    name: &'static str,
    min: u32,
    max: u32,
    /// The first stands for `min`.
    names: &'static [&'static str],
}

const MINUTE: FieldKind = FieldKind { name: "minute", min: 0, max: 59, names: &[] };
const HOUR: FieldKind = FieldKind { name: "hour", min: 0, max: 23, names: &[] };
const DAY: FieldKind = FieldKind { name: "day of month", min: 1, max: 31, names: &[] };
const MONTH: FieldKind = FieldKind {
    name: "month",
    min: 1,
    max: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAY: FieldKind =
    FieldKind { name: "day of week", min: 0, max: 7, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

const MACROS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

const EXAMPLE: &str = "write minute, hour, day of month, month, day of week, like \"0 9 * * 1-5\"";

impl Schedule {
    /// Reads a crontab line (without a command) that is meant in the zone of that IANA name.
    pub fn parse(text: &str, zone: &str) -> Result<Self, BadSchedule> {
        let zone = time_zone(zone)?;
        let fields = Fields::parse(text)?;
        Ok(Self { text: text.trim().to_owned(), fields, zone })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where its times are meant.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The first time after `after` that is due; `None` at the end of the calendar.
    pub fn next_after(&self, after: TimestampMs) -> Option<TimestampMs> {
        let after = Timestamp::from_millisecond(after.0).ok()?;
        let next =
            if self.fields.hours == all(&HOUR) { self.next_interval(after) } else { self.next_time_of_day(after) };
        next.map(|t| TimestampMs(t.as_millisecond()))
    }

    /// The last time at or before `at` that was due and is later than `since`.
    pub fn last_between(&self, since: TimestampMs, at: TimestampMs) -> Option<TimestampMs> {
        // Look back over windows that grow, so that a report of every minute and one of every year are both quick.
        let mut window_ms: i64 = 3_600_000;
        loop {
            let from = TimestampMs(at.0.saturating_sub(window_ms)).max(since);
            let mut last = None;
            let mut t = from;
            while let Some(next) = self.next_after(t).filter(|n| *n <= at) {
                last = Some(next);
                t = next;
            }
            if last.is_some() || from <= since {
                return last;
            }
            window_ms = window_ms.saturating_mul(8);
        }
    }

    /// Times of day: each once, whatever the clock does.
    fn next_time_of_day(&self, after: Timestamp) -> Option<Timestamp> {
        let mut from = ceil_minute(self.zone.to_datetime(after))?;
        loop {
            let due = self.fields.next_civil(from)?;
            let instant = self.first_instant_of(due)?;
            if instant > after {
                return Some(instant);
            }
            from = due.checked_add(1.minute()).ok()?;
        }
    }

    /// Intervals: between two changes of the clock, plain arithmetic.
    fn next_interval(&self, after: Timestamp) -> Option<Timestamp> {
        let mut from = after.checked_add(1.millisecond()).ok()?;
        loop {
            let offset = self.zone.to_offset(from);
            let change = self.zone.following(from).next().map(|t| t.timestamp());
            let due = self.fields.next_civil(ceil_minute(offset.to_datetime(from))?)?;
            let instant = offset.to_timestamp(due).ok()?;
            match change {
                Some(change) if instant >= change => from = change,
                _ => return Some(instant),
            }
        }
    }

    /// The first instant at which the clock shows `wanted`, or the end of the gap that swallowed it.
    fn first_instant_of(&self, wanted: DateTime) -> Option<Timestamp> {
        match self.zone.to_ambiguous_timestamp(wanted).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(wanted).ok(),
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(wanted).ok(),
            AmbiguousOffset::Gap { after, .. } => {
                let inside = after.to_timestamp(wanted).ok()?;
                self.zone.following(inside).next().map(|t| t.timestamp())
            }
        }
    }
}

/// The same moment when it is a whole minute, else the next one.
fn ceil_minute(t: DateTime) -> Option<DateTime> {
    let floor = t.date().at(t.hour(), t.minute(), 0, 0);
    if floor == t { Some(t) } else { floor.checked_add(1.minute()).ok() }
}

impl Fields {
    fn parse(text: &str) -> Result<Self, BadSchedule> {
        let text = text.trim();
        if text.starts_with('@') {
            return match MACROS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
                Some((_, meaning)) => Self::parse(meaning),
                None => Err(bad(
                    format!("unknown schedule `{text}`"),
                    "use @hourly, @daily, @weekly, @monthly, @yearly or five fields",
                )),
            };
        }
        let parts: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = parts[..] else {
            let help =
                if parts.len() == 6 { format!("there is no field for seconds: {EXAMPLE}") } else { EXAMPLE.to_owned() };
            return Err(bad(format!("a schedule has 5 fields, this one has {}", parts.len()), help));
        };
        let mut fields = Self {
            minutes: parse_field(minute, &MINUTE)?,
            hours: parse_field(hour, &HOUR)?,
            days: parse_field(day, &DAY)?,
            months: parse_field(month, &MONTH)?,
            weekdays: parse_field(weekday, &WEEKDAY)?,
            either_day: !day.starts_with('*') && !weekday.starts_with('*'),
        };
        if fields.weekdays & 1 << 7 != 0 {
            fields.weekdays = (fields.weekdays | 1) & !(1 << 7);
        }
        fields.check_some_day_comes(text)?;
        Ok(fields)
    }

    fn check_some_day_comes(&self, text: &str) -> Result<(), BadSchedule> {
        let longest = (1..=12).filter(|m| has(self.months, *m)).map(longest_month).max().unwrap_or(0);
        if self.either_day || self.days.trailing_zeros() <= longest {
            return Ok(());
        }
        Err(bad(
            format!("`{text}` is never due: no such month has a day {}", self.days.trailing_zeros()),
            "choose a day that the month has",
        ))
    }

    fn day_matches(&self, date: Date) -> bool {
        let day = has(self.days, date.day() as u32);
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset() as u32);
        if self.either_day { day || weekday } else { day && weekday }
    }

    /// The first matching minute at or after `from`, by the calendar alone.
    fn next_civil(&self, from: DateTime) -> Option<DateTime> {
        let last_year = from.year().saturating_add(HORIZON_YEARS);
        let mut date = from.date();
        let mut first = (from.hour() as u32, from.minute() as u32);
        while date.year() <= last_year {
            if !has(self.months, date.month() as u32) {
                date = date.last_of_month().tomorrow().ok()?;
                first = (0, 0);
                continue;
            }
            if self.day_matches(date)
                && let Some((hour, minute)) = self.next_minute(first)
            {
                return Some(date.at(hour as i8, minute as i8, 0, 0));
            }
            date = date.tomorrow().ok()?;
            first = (0, 0);
        }
        None
    }

    /// The first matching minute of a day at or after this one.
    fn next_minute(&self, (hour, minute): (u32, u32)) -> Option<(u32, u32)> {
        let same_hour = has(self.hours, hour).then(|| first_from(self.minutes, minute)).flatten();
        match same_hour {
            Some(m) => Some((hour, m)),
            None => Some((first_from(self.hours, hour + 1)?, first_from(self.minutes, 0)?)),
        }
    }
}

fn has(set: u64, n: u32) -> bool {
    set >> n & 1 == 1
}

fn first_from(set: u64, n: u32) -> Option<u32> {
    let rest = set >> n << n;
    (rest != 0).then(|| rest.trailing_zeros())
}

fn longest_month(month: u32) -> u32 {
    match month {
        2 => 29,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn all(kind: &FieldKind) -> u64 {
    range_set(kind.min, kind.max, 1)
}

fn range_set(from: u32, to: u32, step: u32) -> u64 {
    (from..=to).step_by(step as usize).fold(0, |set, n| set | 1 << n)
}

fn parse_field(text: &str, kind: &FieldKind) -> Result<u64, BadSchedule> {
    text.split(',').try_fold(0, |set, item| Ok(set | parse_item(item, kind)?))
}

/// `*`, `n`, `a-b`, and `*/step` or `a-b/step`.
fn parse_item(item: &str, kind: &FieldKind) -> Result<u64, BadSchedule> {
    let (range, step) = match item.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (item, None),
    };
    let (from, to) = if range == "*" {
        // Sunday is 0 here, not 0 and 7: a step would count it twice.
        (kind.min, if kind.max == 7 { 6 } else { kind.max })
    } else if let Some((from, to)) = range.split_once('-') {
        let (from, to) = (parse_number(from, kind)?, parse_number(to, kind)?);
        // `fri-sun`: Sunday ends the week as well as it begins one.
        if to == 0 && kind.max == 7 && from > 0 { (from, 7) } else { (from, to) }
    } else {
        let n = parse_number(range, kind)?;
        if step.is_some() {
            return Err(bad(
                format!("`{item}` in the {} field: a step needs a range", kind.name),
                format!("write `{range}-{}/{}` or `*/{}`", kind.max, step.unwrap_or("1"), step.unwrap_or("1")),
            ));
        }
        (n, n)
    };
    if from > to {
        return Err(bad(
            format!("`{item}` in the {} field goes backwards", kind.name),
            format!(
                "write two ranges: `{from}-{},{}-{to}`",
                kind.max.min(if kind.max == 7 { 6 } else { 99 }),
                kind.min
            ),
        ));
    }
    let step = match step.map(|s| (s, parse_digits(s))) {
        None => 1,
        Some((_, Some(n))) if n > 0 => n,
        Some((s, _)) => {
            return Err(bad(
                format!("`{s}` is no step in the {} field", kind.name),
                "a step is a whole number from 1 on, like `*/5`",
            ));
        }
    };
    Ok(range_set(from, to, step))
}

fn parse_digits(text: &str) -> Option<u32> {
    // `parse` alone would take a sign.
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

fn parse_number(text: &str, kind: &FieldKind) -> Result<u32, BadSchedule> {
    let named = kind.names.iter().position(|n| n.eq_ignore_ascii_case(text)).map(|i| i as u32 + kind.min);
    match named.or_else(|| parse_digits(text)) {
        Some(n) if (kind.min..=kind.max).contains(&n) => Ok(n),
        Some(_) => Err(bad(
            format!("`{text}` is out of range in the {} field", kind.name),
            format!("use {} to {}", kind.min, kind.max),
        )),
        None if kind.names.is_empty() => Err(bad(
            format!("`{text}` is no number in the {} field", kind.name),
            format!("use {} to {}, `*`, a list `1,2`, a range `1-5` or a step `*/2`", kind.min, kind.max),
        )),
        None => Err(bad(
            format!("`{text}` is no {}", kind.name),
            format!("use {} to {} or {} to {}", kind.min, kind.max, kind.names[0], kind.names[kind.names.len() - 1]),
        )),
    }
}

#[cfg(test)]
mod tests;
