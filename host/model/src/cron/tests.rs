//! Schedules as a specification, across changes of the clock.

use super::*;
use cron::TimeUnitSpec;

fn at(text: &str) -> TimestampMs {
    TimestampMs(text.parse::<Timestamp>().unwrap().as_millisecond())
}

/// The next runs after `after`, as the clock on the wall shows them.
fn runs(schedule: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let s = Schedule::parse(schedule, zone).unwrap();
    let mut t = at(after);
    (0..count)
        .map_while(|_| {
            t = s.next_after(t)?;
            let local = Timestamp::from_millisecond(t.0).unwrap().to_zoned(s.zone().clone());
            Some(local.strftime("%a %Y-%m-%d %H:%M %:z").to_string())
        })
        .collect()
}

#[test]
fn the_usual_schedules() {
    assert_eq!(
        runs("0 9 * * 1-5", "UTC", "2026-01-02T09:00:00Z", 2),
        ["Mon 2026-01-05 09:00 +00:00", "Tue 2026-01-06 09:00 +00:00"]
    );
    assert_eq!(
        runs("*/20 8-9 * jan,mar *", "UTC", "2026-01-31T09:30:00Z", 2),
        ["Sat 2026-01-31 09:40 +00:00", "Sun 2026-03-01 08:00 +00:00"]
    );
    assert_eq!(
        runs("@weekly", "UTC", "2026-01-01T00:00:00Z", 2),
        ["Sun 2026-01-04 00:00 +00:00", "Sun 2026-01-11 00:00 +00:00"]
    );
    assert_eq!(runs("0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", 1), ["Fri 2104-02-29 00:00 +00:00"]);
}

#[test]
fn sunday_is_0_and_7_and_sun() {
    for day in ["0", "7", "sun", "SUN", "0,7"] {
        let line = format!("0 12 * * {day}");
        assert_eq!(runs(&line, "UTC", "2026-01-01T00:00:00Z", 1), ["Sun 2026-01-04 12:00 +00:00"], "{day}");
    }
    for days in ["5-7", "fri-sun", "fri-7"] {
        let names: Vec<String> = runs(&format!("0 0 * * {days}"), "UTC", "2026-01-01T12:00:00Z", 4);
        let names: Vec<&str> = names.iter().map(|n| &n[..3]).collect();
        assert_eq!(names, ["Fri", "Sat", "Sun", "Fri"], "{days}");
    }
    assert_eq!(Fields::parse("0 0 * * */2").unwrap().weekdays, 0b101_0101);
}

#[test]
fn when_both_day_fields_are_set_either_is_enough() {
    assert_eq!(
        runs("0 0 13 * fri", "UTC", "2026-01-01T00:00:00Z", 4),
        [
            "Fri 2026-01-02 00:00 +00:00",
            "Fri 2026-01-09 00:00 +00:00",
            "Tue 2026-01-13 00:00 +00:00",
            "Fri 2026-01-16 00:00 +00:00"
        ]
    );
    // A field that begins with `*` does not count as set, even with a step.
    assert_eq!(
        runs("0 0 */2 * mon", "UTC", "2026-01-01T00:00:00Z", 2),
        ["Mon 2026-01-05 00:00 +00:00", "Mon 2026-01-19 00:00 +00:00"]
    );
}

#[test]
fn a_skipped_time_runs_once_after_the_gap() {
    // Berlin goes from 02:00 to 03:00.
    assert_eq!(
        runs("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2),
        ["Sun 2026-03-29 03:00 +02:00", "Mon 2026-03-30 02:30 +02:00"]
    );
    // Several skipped times are one run, also where the gap's end is due by itself.
    assert_eq!(
        runs("*/15 2,3 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2),
        ["Sun 2026-03-29 03:00 +02:00", "Sun 2026-03-29 03:15 +02:00"]
    );
    assert_eq!(
        runs("5 2 * * sun", "America/New_York", "2026-03-07T12:00:00Z", 2),
        ["Sun 2026-03-08 03:00 -04:00", "Sun 2026-03-15 02:05 -04:00"]
    );
    // Lord Howe goes from 02:00 to 02:30.
    assert_eq!(
        runs("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", 2),
        ["Sun 2026-10-04 02:30 +11:00", "Mon 2026-10-05 02:15 +11:00"]
    );
    // Beirut goes from 00:00 to 01:00: midnight is skipped.
    assert_eq!(
        runs("@daily", "Asia/Beirut", "2026-03-28T12:00:00Z", 2),
        ["Sun 2026-03-29 01:00 +03:00", "Mon 2026-03-30 00:00 +03:00"]
    );
}

#[test]
fn a_doubled_time_runs_the_first_time_only() {
    assert_eq!(
        runs("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
        ["Sun 2026-10-25 02:30 +02:00", "Mon 2026-10-26 02:30 +01:00"]
    );
    assert_eq!(
        runs("*/30 1 * * *", "America/New_York", "2026-10-31T12:00:00Z", 3),
        ["Sun 2026-11-01 01:00 -04:00", "Sun 2026-11-01 01:30 -04:00", "Mon 2026-11-02 01:00 -05:00"]
    );
    // Lord Howe goes from 02:00 back to 01:30.
    assert_eq!(
        runs("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00:00Z", 2),
        ["Sun 2026-04-05 01:45 +11:00", "Mon 2026-04-06 01:45 +10:30"]
    );
    // Asked between the two passes, the second one does not count.
    assert_eq!(runs("30 2 * * *", "Europe/Berlin", "2026-10-25T00:45:00Z", 1), ["Mon 2026-10-26 02:30 +01:00"]);
}

#[test]
fn a_schedule_of_every_hour_follows_real_time() {
    assert_eq!(
        runs("30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", 2),
        ["Sun 2026-03-29 01:30 +01:00", "Sun 2026-03-29 03:30 +02:00"]
    );
    assert_eq!(
        runs("30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", 3),
        ["Sun 2026-10-25 02:30 +02:00", "Sun 2026-10-25 02:30 +01:00", "Sun 2026-10-25 03:30 +01:00"]
    );
}

#[test]
fn a_whole_day_can_be_skipped() {
    // Samoa had no 30 December 2011.
    assert_eq!(
        runs("0 9 * * *", "Pacific/Apia", "2011-12-29T12:00:00Z", 3),
        ["Thu 2011-12-29 09:00 -10:00", "Sat 2011-12-31 00:00 +14:00", "Sat 2011-12-31 09:00 +14:00"]
    );
}

#[test]
fn the_last_run_is_found_from_far_away() {
    let minutely = Schedule::parse("* * * * *", "UTC").unwrap();
    assert_eq!(minutely.last_between(TimestampMs(0), at("2026-01-01T00:00:30Z")), Some(at("2026-01-01T00:00:00Z")));
    let yearly = Schedule::parse("@yearly", "UTC").unwrap();
    assert_eq!(yearly.last_between(TimestampMs(0), at("2026-07-01T00:00:00Z")), Some(at("2026-01-01T00:00:00Z")));
    assert_eq!(yearly.last_between(at("2026-01-01T00:00:00Z"), at("2026-07-01T00:00:00Z")), None);
}

#[test]
fn what_is_no_schedule_says_why() {
    for (text, problem) in [
        ("", "a schedule has 5 fields, this one has 0"),
        ("0 0 9 * * *", "a schedule has 5 fields, this one has 6"),
        ("60 * * * *", "`60` is out of range in the minute field"),
        ("0 24 * * *", "`24` is out of range in the hour field"),
        ("0 0 0 * *", "`0` is out of range in the day of month field"),
        ("0 0 * * 8", "`8` is out of range in the day of week field"),
        ("0 0 * foo *", "`foo` is no month"),
        ("x * * * *", "`x` is no number in the minute field"),
        ("+5 * * * *", "`+5` is no number in the minute field"),
        ("*/0 * * * *", "`0` is no step in the minute field"),
        ("5/10 * * * *", "`5/10` in the minute field: a step needs a range"),
        ("0 22-2 * * *", "`22-2` in the hour field goes backwards"),
        ("0 0 31 4,6 *", "`0 0 31 4,6 *` is never due: no such month has a day 31"),
        ("@reboot", "unknown schedule `@reboot`"),
    ] {
        assert_eq!(Schedule::parse(text, "UTC").unwrap_err().to_string(), problem, "{text}");
    }
    assert_eq!(Schedule::parse("@daily", "Mars/Olympus").unwrap_err(), BadSchedule::Zone("Mars/Olympus".into()));
}

mod props {
    use super::*;
    use proptest::prelude::*;

    /// The definition, minute by minute: `shown` is the latest civil minute the clock has shown so far; what lies
    /// between it and the minute shown now has been reached or skipped just now.
    fn oracle(s: &Schedule, after: Timestamp, minutes: i64) -> Option<Timestamp> {
        let intervals = s.fields.hours == all(&HOUR);
        let matches = |c: DateTime| {
            let f = &s.fields;
            has(f.minutes, c.minute() as u32)
                && has(f.hours, c.hour() as u32)
                && has(f.months, c.month() as u32)
                && f.day_matches(c.date())
        };
        // Begin early enough to have seen the first pass of a doubled hour.
        let start = after.as_second().div_euclid(60) * 60 - 4 * 3600;
        let mut shown = s.zone.to_datetime(Timestamp::from_second(start).unwrap());
        for minute in 1..minutes + 240 {
            let t = Timestamp::from_second(start + minute * 60).unwrap();
            let now = s.zone.to_datetime(t);
            let mut due = intervals && matches(now);
            while !intervals && shown < now {
                shown = shown.checked_add(1.minute()).unwrap();
                due |= matches(shown);
            }
            if due && t > after {
                return Some(t);
            }
        }
        None
    }

    fn field(min: u32, max: u32) -> impl Strategy<Value = String> {
        prop_oneof![
            3 => Just("*".to_owned()),
            2 => (1u32..=max).prop_map(|step| format!("*/{step}")),
            3 => (min..=max).prop_map(|n| n.to_string()),
            2 => (min..=max, min..=max).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
            1 => (min..=max, min..=max).prop_map(|(a, b)| format!("{a},{b}")),
        ]
    }

    fn zone() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "UTC",
            "Europe/Berlin",
            "America/New_York",
            "Australia/Lord_Howe",
            "Asia/Kathmandu",
            "Asia/Beirut",
        ])
    }

    /// Near a change of the clock in 2026, or anywhere.
    fn instant() -> impl Strategy<Value = i64> {
        let changes = [
            "2026-03-29T01:00:00Z",
            "2026-10-25T01:00:00Z",
            "2026-03-08T07:00:00Z",
            "2026-11-01T06:00:00Z",
            "2026-04-04T15:00:00Z",
            "2026-10-03T15:30:00Z",
        ];
        let near: Vec<i64> = changes.iter().map(|c| at(c).0).collect();
        prop_oneof![
            4 => (prop::sample::select(near), -20_000_000i64..20_000_000).prop_map(|(t, d)| t + d),
            1 => 1_700_000_000_000i64..1_800_000_000_000,
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn the_next_run_is_what_a_walk_through_every_minute_finds(
            minute in field(0, 59), hour in field(0, 23), day in field(1, 31), month in field(1, 12),
            weekday in field(0, 7), zone in zone(), after in instant(),
        ) {
            let text = format!("{minute} {hour} {day} {month} {weekday}");
            let Ok(s) = Schedule::parse(&text, zone) else { return Ok(()) };
            let after = Timestamp::from_millisecond(after).unwrap();
            const MINUTES: i64 = 10 * 1440;
            let found = s.next_after(TimestampMs(after.as_millisecond())).unwrap();
            let found = Timestamp::from_millisecond(found.0).unwrap();
            match oracle(&s, after, MINUTES) {
                Some(t) => prop_assert_eq!(found, t, "{} in {}", text, zone),
                None => prop_assert!(found > after + (MINUTES - 1).minutes(), "{} in {}: {}", text, zone, found),
            }
        }

        #[test]
        fn the_field_sets_are_those_of_the_crate_cron(
            minute in field(0, 59), hour in field(0, 23), day in field(1, 31), month in field(1, 12),
        ) {
            let Ok(ours) = Fields::parse(&format!("{minute} {hour} {day} {month} *")) else { return Ok(()) };
            let theirs: cron::Schedule = format!("0 {minute} {hour} {day} {month} *").parse().unwrap();
            for n in 0..60 {
                prop_assert_eq!(has(ours.minutes, n), theirs.minutes().includes(n));
                prop_assert_eq!(n < 24 && has(ours.hours, n), theirs.hours().includes(n));
                prop_assert_eq!(has(ours.days, n), theirs.days_of_month().includes(n));
                prop_assert_eq!(has(ours.months, n), theirs.months().includes(n));
            }
        }

        #[test]
        fn no_text_panics(text in "[-*/,0-9a-z@ ]{0,24}|.{0,20}") {
            if let Ok(s) = Schedule::parse(&text, "Europe/Berlin") {
                let _ = s.next_after(TimestampMs(1_790_000_000_000));
                let _ = s.next_after(TimestampMs::MAX);
            }
        }
    }
}
