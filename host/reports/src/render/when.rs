//! Instants in the report's time zone, and where to put the ticks of an axis of time.

use belfry_model::TimestampMs;
use belfry_model::cron::time_zone;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

/// The report's zone; UTC where the name is unknown (the config checks it).
pub(super) struct Zone(TimeZone);

impl Zone {
    pub fn new(name: &str) -> Self {
        Self(time_zone(name).unwrap_or(TimeZone::UTC))
    }

    fn zoned(&self, t: TimestampMs) -> Option<Zoned> {
        Some(Timestamp::from_millisecond(t.0).ok()?.to_zoned(self.0.clone()))
    }

    fn show(&self, t: TimestampMs, format: &str) -> String {
        self.zoned(t).map_or_else(|| t.to_string(), |z| z.strftime(format).to_string())
    }

    pub fn second(&self, t: TimestampMs) -> String {
        self.show(t, "%Y-%m-%d %H:%M:%S")
    }

    pub fn minute(&self, t: TimestampMs) -> String {
        self.show(t, "%-d %b %Y, %H:%M %Z")
    }

    pub fn file_stamp(&self, t: TimestampMs) -> String {
        self.zoned(t).map_or_else(|| t.0.to_string(), |z| z.strftime("%Y-%m-%d-%H%M").to_string())
    }

    /// From and to, with the day once where it is one day.
    pub fn period(&self, start: TimestampMs, end: TimestampMs) -> String {
        let (from, to) = (self.show(start, "%-d %b %Y"), self.show(end, "%-d %b %Y"));
        if from == to {
            format!("{from}, {} – {}", self.show(start, "%H:%M"), self.show(end, "%H:%M %Z"))
        } else {
            format!("{} – {}", self.show(start, "%-d %b %Y, %H:%M"), self.show(end, "%-d %b %Y, %H:%M %Z"))
        }
    }

    /// At most about nine round times within the range, with short labels; a day's first is its date.
    pub fn ticks(&self, start: TimestampMs, end: TimestampMs) -> Vec<(TimestampMs, String)> {
        const STEPS_MINUTES: [i64; 15] =
            [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2 * 1440, 7 * 1440, 14 * 1440];
        /// Fewer fit where labels are longer.
        const TICKS_MAX: i64 = 9;
        let minutes = end.since(start).as_millis() as i64 / 60_000;
        let step =
            STEPS_MINUTES.into_iter().find(|s| minutes / s < TICKS_MAX).unwrap_or(minutes / 7 / 1440 * 1440 + 1440);
        let (Some(first), Some(_)) = (self.zoned(start), self.zoned(end)) else { return Vec::new() };
        let mut civil = first.date().at(0, 0, 0, 0);
        if step < 1440 {
            // From midnight on, so that ticks are round on the wall; close to the start, so that it takes no long walk.
            let since_midnight = i64::from(first.hour()) * 60 + i64::from(first.minute());
            civil = civil.checked_add((since_midnight / step * step).minutes()).unwrap_or(civil);
        }
        let mut ticks: Vec<(TimestampMs, String)> = Vec::new();
        while ticks.len() < 2 * TICKS_MAX as usize {
            let Ok(at) = self.0.to_ambiguous_zoned(civil).compatible() else { break };
            let t = TimestampMs(at.timestamp().as_millisecond());
            if t >= end {
                break;
            }
            if t >= start && ticks.last().is_none_or(|(last, _)| *last < t) {
                let midnight = civil.hour() == 0 && civil.minute() == 0;
                ticks.push((t, at.strftime(if midnight { "%-d %b" } else { "%H:%M" }).to_string()));
            }
            let Ok(next) = civil.checked_add(step.minutes()) else { break };
            civil = next;
        }
        ticks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> TimestampMs {
        TimestampMs(text.parse::<Timestamp>().unwrap().as_millisecond())
    }

    fn labels(zone: &str, start: &str, end: &str) -> Vec<String> {
        Zone::new(zone).ticks(at(start), at(end)).into_iter().map(|(_, l)| l).collect()
    }

    #[test]
    fn ticks_are_round_on_the_wall_of_the_zone() {
        assert_eq!(
            labels("Europe/Berlin", "2026-01-05T08:00:00Z", "2026-01-06T08:00:00Z"),
            ["09:00", "12:00", "15:00", "18:00", "21:00", "6 Jan", "03:00", "06:00"].map(str::to_owned)
        );
        // A day with a change of the clock keeps its round hours.
        assert_eq!(
            labels("Europe/Berlin", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
            ["29 Mar", "03:00", "06:00", "09:00", "12:00", "15:00", "18:00", "21:00"].map(str::to_owned)
        );
        assert_eq!(labels("UTC", "2026-01-05T08:03:00Z", "2026-01-05T08:09:30Z").len(), 7);
        assert_eq!(labels("UTC", "2026-01-01T00:00:00Z", "2026-03-01T00:00:00Z").len(), 9);
        assert!(labels("UTC", "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z").len() <= 1);
    }
}
