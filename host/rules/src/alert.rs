//! One alert's state machine: inactive → pending → firing → resolved.
//!
//! Invariant: an alert fires only after its condition was seen to hold at every evaluation for the rule's duration;
//! what happened while nobody looked is not counted as held.
//! Not here: labels, values, where the answers come from.

use std::time::Duration;

use belfry_model::{Alert, AlertState, TimestampMs};

/// A pending alert that should have fired this long ago did not, because Belfry was not there to see: it starts anew.
/// Prometheus' outage tolerance.
pub const OUTAGE_TOLERANCE: Duration = Duration::from_secs(3600);

/// How far an alert's past can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Every evaluation since it became active was seen.
    Watched,
    /// It comes from before a restart or a gap and was not seen since.
    Unconfirmed,
}

/// One evaluation: moves `alert` and answers the state it had when that changed. Pure.
///
/// An alert is [`AlertState::Inactive`] before its first breach; the caller forgets one that becomes inactive again.
pub fn step(
    alert: &mut Alert,
    trust: &mut Trust,
    breached: bool,
    now: TimestampMs,
    hold: Duration,
) -> Option<AlertState> {
    let from = alert.state;
    let confirmed = std::mem::replace(trust, Trust::Watched) == Trust::Watched;
    // The clock went back: nothing can be active since the future.
    alert.active_since = alert.active_since.min(now);
    match (from, breached) {
        (AlertState::Inactive | AlertState::Resolved, true) => {
            alert.active_since = now;
            alert.fired_at = None;
            alert.resolved_at = None;
            alert.state = AlertState::Pending;
            fire_when_held(alert, now, hold);
        }
        (AlertState::Pending, true) => {
            if !confirmed && now.since(alert.active_since.plus(hold)) > OUTAGE_TOLERANCE {
                alert.active_since = now;
            }
            // The first sight after a gap only confirms: that the condition held before the gap and holds now does not
            // say that it held throughout.
            if confirmed {
                fire_when_held(alert, now, hold);
            }
        }
        (AlertState::Firing, false) => {
            alert.state = AlertState::Resolved;
            alert.resolved_at = Some(now);
        }
        (AlertState::Pending, false) => alert.state = AlertState::Inactive,
        (AlertState::Firing, true) | (AlertState::Inactive | AlertState::Resolved, false) => {}
    }
    (alert.state != from).then_some(from)
}

fn fire_when_held(alert: &mut Alert, now: TimestampMs, hold: Duration) {
    if now.since(alert.active_since) >= hold {
        alert.state = AlertState::Firing;
        alert.fired_at = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use belfry_model::{Fingerprint, Labels, Severity};

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const T0: TimestampMs = TimestampMs(1_700_000_000_000);

    fn fresh() -> Alert {
        Alert {
            fingerprint: Fingerprint(1),
            rule: "r".into(),
            severity: Severity::Warning,
            labels: Labels::empty(),
            annotations: Labels::empty(),
            state: AlertState::Inactive,
            value: 0.0,
            active_since: T0,
            fired_at: None,
            resolved_at: None,
        }
    }

    /// One column per minute. Below: `#` breached, `.` not, `|` a restart (and its minute) in which nobody looks.
    /// Expected: F fired, R resolved, `p` became pending, `i` gave up being pending.
    #[track_caller]
    fn check(hold_minutes: u32, breached: &str, expected: &str) {
        let (mut alert, mut trust) = (fresh(), Trust::Watched);
        let mut now = T0;
        let mut seen = String::new();
        for c in breached.chars() {
            if c == '|' {
                trust = Trust::Unconfirmed;
                seen.push('.');
            } else {
                let from = step(&mut alert, &mut trust, c == '#', now, MINUTE * hold_minutes);
                seen.push(match (from, alert.state) {
                    (None, _) => '.',
                    (_, AlertState::Pending) => 'p',
                    (_, AlertState::Firing) => 'F',
                    (_, AlertState::Resolved) => 'R',
                    (_, AlertState::Inactive) => 'i',
                });
            }
            now = now + MINUTE;
        }
        assert_eq!(seen, expected, "hold {hold_minutes}m over {breached}");
    }

    #[test]
    fn fires_once_the_hold_has_passed_and_resolves_on_recovery() {
        check(
            2, ".####..", //
            ".p.F.R.",
        );
    }

    #[test]
    fn fires_at_once_without_a_hold() {
        check(
            0, ".##.#.", //
            ".F.RFR",
        );
    }

    #[test]
    fn a_breach_shorter_than_the_hold_never_fires() {
        check(
            3,
            ".##.##.###.", //
            ".p.ip.ip..i",
        );
    }

    #[test]
    fn a_resolved_alert_waits_for_the_hold_again() {
        check(
            1, "##.##.#.", //
            "pFRpFRpi",
        );
    }

    #[test]
    fn a_restart_keeps_what_has_been_held_and_confirms_before_it_fires() {
        check(
            3, "##|####", //
            "p...F..",
        );
        check(
            2, "##|#.##", //
            "p...ip.",
        );
    }

    #[test]
    fn a_restart_neither_fires_again_nor_resolves_what_goes_on() {
        check(
            1, "###|###.", //
            "pF.....R",
        );
    }

    #[test]
    fn what_recovered_while_nobody_looked_resolves() {
        check(
            1, "###||..", //
            "pF...R.",
        );
    }

    #[test]
    fn an_outage_longer_than_the_tolerance_starts_anew() {
        let gap = "|".repeat(70);
        check(2, &format!("#{gap}####"), &format!("p{}..F.", ".".repeat(70)));
    }

    #[test]
    fn a_clock_that_went_back_does_not_fire_early_and_does_not_wait_forever() {
        let (mut alert, mut trust) = (fresh(), Trust::Watched);
        step(&mut alert, &mut trust, true, T0 + MINUTE * 60, MINUTE);
        assert_eq!(step(&mut alert, &mut trust, true, T0, MINUTE), None);
        assert_eq!(step(&mut alert, &mut trust, true, T0 + MINUTE, MINUTE), Some(AlertState::Pending));
        assert_eq!(alert.state, AlertState::Firing);
    }

    proptest::proptest! {
        /// Whatever the answers: firing means a hold of unbroken breaches before it, resolved follows only firing.
        #[test]
        fn nothing_fires_without_an_unbroken_hold(bits in proptest::collection::vec(proptest::bool::ANY, 1..80), hold in 0u32..6) {
            let (mut alert, mut trust) = (fresh(), Trust::Watched);
            let mut run = 0;
            for (i, breached) in bits.iter().enumerate() {
                run = if *breached { run + 1 } else { 0 };
                let from = step(&mut alert, &mut trust, *breached, T0 + MINUTE * i as u32, MINUTE * hold);
                match (from, alert.state) {
                    (Some(_), AlertState::Firing) => proptest::prop_assert_eq!(run, hold + 1),
                    (Some(from), AlertState::Resolved) => proptest::prop_assert_eq!(from, AlertState::Firing),
                    _ => {}
                }
                proptest::prop_assert_eq!(alert.state == AlertState::Firing, run > hold);
            }
        }
    }
}
