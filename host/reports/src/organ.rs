//! When each report is due.
//!
//! Invariant: each due time leads to at most one run, and however many were missed, one run makes up for the latest.
//! A schedule that does not parse (the config checks it) is never due; such a report can still be asked for.

use std::time::Duration;

use belfry_model::cron::Schedule;
use belfry_model::{Organ, TimestampMs};

use crate::{ReportSpec, ReportsEffect, ReportsInput};

/// A run that is later than this says so: the host was down or asleep. Less is only a busy host.
pub const LATE_AFTER: Duration = Duration::from_secs(60);

/// Decides when reports are made.
#[derive(Debug, Default)]
pub struct Reports {
    reports: Vec<Planned>,
}

#[derive(Debug)]
struct Planned {
    spec: ReportSpec,
    schedule: Option<Schedule>,
    /// The due time of the last run.
    last: Option<TimestampMs>,
    next: Option<TimestampMs>,
}

impl Reports {
    /// Without reports, until it is told of some.
    pub fn new() -> Self {
        Self::default()
    }

    /// The reports there are, each with the next time it is due.
    pub fn planned(&self) -> impl Iterator<Item = (&ReportSpec, Option<TimestampMs>)> {
        self.reports.iter().map(|r| (&r.spec, r.next))
    }

    fn configure(&mut self, specs: Vec<(ReportSpec, Option<TimestampMs>)>, now: TimestampMs) {
        let before = std::mem::take(&mut self.reports);
        self.reports = specs
            .into_iter()
            .map(|(spec, archived)| {
                // The archive may lag behind what was already asked for.
                let known = before.iter().find(|r| r.spec.name == spec.name).and_then(|r| r.last);
                let last = archived.max(known);
                let schedule = Schedule::parse(&spec.schedule, &spec.time_zone).ok();
                // A report that never ran has missed nothing; one from the future (a clock set back) neither.
                let since = last.map_or(now, |l| l.min(now));
                let next = schedule.as_ref().and_then(|s| s.next_after(since));
                Planned { spec, schedule, last, next }
            })
            .collect();
    }
}

impl Planned {
    /// The run that is due at `now`, if one is.
    fn run(&mut self, now: TimestampMs) -> Option<ReportsEffect> {
        let schedule = self.schedule.as_ref()?;
        let first = self.next.filter(|next| *next <= now)?;
        // Of several that were missed, the latest is the one people still want.
        let due = schedule.last_between(first, now).unwrap_or(first);
        self.last = Some(due);
        self.next = schedule.next_after(due);
        let late = now.since(due) > LATE_AFTER;
        Some(make(&self.spec, due, Some(due), late.then_some(due)))
    }
}

fn make(
    spec: &ReportSpec,
    end: TimestampMs,
    due: Option<TimestampMs>,
    made_up_for: Option<TimestampMs>,
) -> ReportsEffect {
    ReportsEffect::Make { spec: spec.clone(), start: end.minus(spec.period), end, due, made_up_for }
}

impl Organ for Reports {
    type Input = ReportsInput;
    type Effect = ReportsEffect;

    fn next_due(&self) -> Option<TimestampMs> {
        self.reports.iter().filter_map(|r| r.next).min()
    }

    fn step(&mut self, now: TimestampMs, inputs: Vec<ReportsInput>) -> Vec<ReportsEffect> {
        let mut effects = Vec::new();
        for input in inputs {
            match input {
                ReportsInput::Configure(specs) => self.configure(specs, now),
                // One that is not there was just removed: whoever asks looks at the config first.
                ReportsInput::RunNow { name } => {
                    effects.extend(
                        self.reports.iter().find(|r| r.spec.name == name).map(|r| make(&r.spec, now, None, None)),
                    );
                }
            }
        }
        effects.extend(self.reports.iter_mut().filter_map(|r| r.run(now)));
        effects
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Format;

    fn at(text: &str) -> TimestampMs {
        TimestampMs(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    fn daily(name: &str) -> ReportSpec {
        ReportSpec {
            name: name.to_owned(),
            title: name.to_owned(),
            schedule: "0 9 * * *".to_owned(),
            time_zone: "Europe/Berlin".to_owned(),
            period: Duration::from_secs(86_400),
            formats: vec![Format::Html],
            deliver: Vec::new(),
            sections: Vec::new(),
        }
    }

    /// Lets the organ run as its driver would, from one due time to the next; what it made, and when.
    fn simulate(reports: &mut Reports, until: TimestampMs) -> Vec<(TimestampMs, ReportsEffect)> {
        let mut made = Vec::new();
        while let Some(now) = reports.next_due().filter(|t| *t <= until) {
            made.extend(reports.step(now, vec![]).into_iter().map(|e| (now, e)));
        }
        made
    }

    fn configured(last: Option<TimestampMs>, now: TimestampMs) -> (Reports, Vec<ReportsEffect>) {
        let mut reports = Reports::new();
        let effects = reports.step(now, vec![ReportsInput::Configure(vec![(daily("d"), last)])]);
        (reports, effects)
    }

    #[test]
    fn a_report_is_made_each_day_at_nine_on_the_wall_across_a_change_of_the_clock() {
        let (mut reports, effects) = configured(None, at("2026-03-27T12:00:00Z"));
        assert_eq!(effects, [], "one that never ran has missed nothing");
        let made = simulate(&mut reports, at("2026-03-30T12:00:00Z"));
        let ends: Vec<_> = made
            .iter()
            .map(|(now, e)| {
                let ReportsEffect::Make { start, end, made_up_for, .. } = e;
                assert_eq!((end, end.since(*start), *made_up_for), (now, Duration::from_secs(86_400), None));
                end.to_string()
            })
            .collect();
        assert_eq!(ends, ["2026-03-28T08:00:00.000Z", "2026-03-29T07:00:00.000Z", "2026-03-30T07:00:00.000Z"]);
    }

    #[test]
    fn missed_runs_are_made_up_once_for_the_latest_and_say_so() {
        let now = at("2026-01-10T12:00:00Z");
        let (mut reports, effects) = configured(Some(at("2026-01-05T08:00:00Z")), now);
        let due = at("2026-01-10T08:00:00Z");
        assert_eq!(effects, [make(&daily("d"), due, Some(due), Some(due))]);
        assert_eq!(reports.next_due(), Some(at("2026-01-11T08:00:00Z")));
        assert_eq!(reports.step(now, vec![]), [], "once");
    }

    #[test]
    fn a_host_that_slept_makes_up_as_well() {
        let (mut reports, _) = configured(None, at("2026-01-05T12:00:00Z"));
        let effects = reports.step(at("2026-01-08T08:00:30Z"), vec![]);
        let due = at("2026-01-08T08:00:00Z");
        assert_eq!(effects, [make(&daily("d"), due, Some(due), None)], "half a minute late is on time");
        let effects = reports.step(at("2026-01-09T20:00:00Z"), vec![]);
        let due = at("2026-01-09T08:00:00Z");
        assert_eq!(effects, [make(&daily("d"), due, Some(due), Some(due))]);
    }

    #[test]
    fn a_reload_repeats_nothing_and_forgets_what_is_gone() {
        let (mut reports, _) = configured(None, at("2026-01-05T12:00:00Z"));
        assert_eq!(simulate(&mut reports, at("2026-01-06T08:00:00Z")).len(), 1);
        // The archive does not know of that run yet.
        let reload = ReportsInput::Configure(vec![(daily("d"), None), (daily("e"), None)]);
        assert_eq!(reports.step(at("2026-01-06T08:00:10Z"), vec![reload]), []);
        assert_eq!(reports.planned().count(), 2);
        reports.step(at("2026-01-06T08:00:20Z"), vec![ReportsInput::Configure(vec![])]);
        assert_eq!(reports.next_due(), None);
    }

    #[test]
    fn one_can_be_asked_for_and_the_schedule_stays() {
        let (mut reports, _) = configured(None, at("2026-01-05T12:00:00Z"));
        let now = at("2026-01-05T15:00:00Z");
        let run = |name: &str| vec![ReportsInput::RunNow { name: name.to_owned() }];
        assert_eq!(reports.step(now, run("d")), [make(&daily("d"), now, None, None)]);
        assert_eq!(reports.step(now, run("unknown")), []);
        assert_eq!(reports.next_due(), Some(at("2026-01-06T08:00:00Z")));
    }

    #[test]
    fn a_last_run_from_the_future_does_not_stop_a_report() {
        let (reports, effects) = configured(Some(at("2030-01-01T00:00:00Z")), at("2026-01-05T12:00:00Z"));
        assert_eq!(effects, []);
        assert_eq!(reports.next_due(), Some(at("2026-01-06T08:00:00Z")));
    }
}
