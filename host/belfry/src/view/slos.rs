//! Service level objectives, as their recorded series and generated alerts tell of them.
//!
//! Invariant: what is shown is what was recorded and what the alerts compare: nothing is worked out a second way.
//! Not here: which rules an objective becomes (`belfry_rules::slo`), their evaluation.

use std::sync::Arc;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

use belfry_config::types::slo as config;
use belfry_dashboard::backend::{BackendError, QueryOptions};
use belfry_dashboard::dto::{
    SERIES_PER_SLO_MAX, SloAlert, SloBurn, SloDetail, SloRecorded, SloSeries, SloState, SloView, Slos, finite,
};
use belfry_model::duration::format_duration;
use belfry_model::{AlertState, Labels, METRIC_NAME, TimestampMs};
use belfry_promql::{PointValue, QueryTime, QueryValue, VectorPoint};
use belfry_rules::file::RuleKind;
use belfry_rules::groups::{GroupSnapshot, Health, RuleView};
use belfry_rules::slo::{BURNS, FILE_NAME, Slo, Windows};

use crate::app::App;
use crate::slos::spec;

/// What is recorded of an objective and shown.
const RECORDED: &str = "slo:(error_ratio|burn_rate|error_budget_remaining|good:rate|total:rate|unmatched_good:count)";
/// A recorded sample stands for this many intervals, and for [`LOOKBACK_MIN`] at least.
const LOOKBACK_INTERVALS: u32 = 3;
const LOOKBACK_MIN: Duration = Duration::from_secs(300);

/// All of them, in the order of the config.
pub async fn slos(app: &App) -> Result<Slos, BackendError> {
    let now = app.clock.now();
    let (loaded, groups) = (app.loaded.load(), app.rule_files.snapshot());
    let each = loaded.config.slos.iter().map(|slo| view(app, slo, &groups, now));
    let slos = futures::future::try_join_all(each).await?;
    Ok(Slos { now_ms: now, slos })
}

/// One of them with its detail.
pub async fn slo(app: &App, name: &str) -> Result<SloView, BackendError> {
    let (loaded, groups) = (app.loaded.load(), app.rule_files.snapshot());
    let slo = loaded.config.slos.iter().find(|s| s.name == name);
    let slo = slo.ok_or_else(|| BackendError::NotFound { what: "objective", name: name.to_owned() })?;
    let mut view = view(app, slo, &groups, app.clock.now()).await?;
    view.detail = Some(detail(slo, group(&groups, name)));
    Ok(view)
}

fn group<'g>(groups: &'g [GroupSnapshot], name: &str) -> Option<&'g GroupSnapshot> {
    groups.iter().find(|g| &*g.file == FILE_NAME && g.name == name)
}

async fn view(
    app: &App,
    config: &config::Slo,
    groups: &[GroupSnapshot],
    now: TimestampMs,
) -> Result<SloView, BackendError> {
    let (slo, group) = (spec(config), group(groups, &config.name));
    let name = serde_json::Value::from(slo.name.as_str());
    let window = format_duration(slo.window);
    let lookback = Some((slo.interval * LOOKBACK_INTERVALS).max(LOOKBACK_MIN));
    let ask = async |query: String| {
        let options = QueryOptions { lookback, ..QueryOptions::default() };
        let asked = app.queries.ask(&query, QueryTime::Instant(now), options).await;
        match asked.map(|a| Arc::unwrap_or_clone(a.answer).value) {
            Ok(QueryValue::Vector(points)) => Ok(points),
            Ok(_) => Ok(Vec::new()),
            Err(fault) => Err(BackendError::Unavailable { message: fault.to_string() }),
        }
    };
    let recorded = ask(format!("{{__name__=~\"{RECORDED}\",slo={name}}}")).await?;
    let since = ask(format!("ts_of_first_over_time(slo:total:rate{{slo={name}}}[{window}])")).await?;
    let mut read = Recorded::of(&slo, recorded);
    for point in since {
        if let (Some(series), Some(at)) = (read.series.get_mut(&bare(&slo, &point.labels)), float(&point)) {
            series.known_since_ms = Some(TimestampMs((at * 1000.0) as i64));
        }
    }
    let reason = reason(&slo, group, &read);
    let mut series: Vec<SloSeries> =
        read.series.into_iter().map(|(labels, series)| judged(&slo, SloSeries { labels, ..series })).collect();
    series.sort_by(worst_first);
    let series_total = series.len() as u64;
    let state = series.iter().map(|s| s.state).max().unwrap_or_default();
    series.truncate(SERIES_PER_SLO_MAX);
    Ok(SloView {
        name: slo.name,
        description: config.description.clone(),
        objective_percent: slo.objective,
        window_seconds: slo.window.as_secs_f64(),
        window,
        interval_seconds: slo.interval.as_secs_f64(),
        labels: slo.labels,
        state,
        reason,
        last_evaluation_ms: group.and_then(|g| g.last_evaluation),
        series,
        series_total,
        detail: None,
    })
}

fn worst_first(a: &SloSeries, b: &SloSeries) -> Ordering {
    match (a.budget_remaining_ratio, b.budget_remaining_ratio) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        (a, b) => a.is_none().cmp(&b.is_none()),
    }
    .then_with(|| a.labels.cmp(&b.labels))
}

/// What was recorded of one objective.
#[derive(Default)]
struct Recorded {
    /// By the labels of the indicator.
    series: BTreeMap<Labels, SloSeries>,
    /// Labels of good events that belong to no total.
    unmatched: Option<Labels>,
}

impl Recorded {
    fn of(slo: &Slo, points: Vec<VectorPoint>) -> Self {
        let windows = Windows::of(slo.window);
        let whole = format_duration(slo.window);
        let mut all = Self::default();
        let (mut good, mut is_unmatched) = (BTreeMap::new(), false);
        for point in points {
            let Some(value) = float(&point) else { continue };
            let name = point.labels.get(METRIC_NAME).unwrap_or_default().to_owned();
            let labels = bare(slo, &point.labels);
            match &*name {
                "slo:unmatched_good:count" => is_unmatched = true,
                "slo:good:rate" => drop(good.insert(labels, value)),
                _ => {
                    let series = all.series.entry(labels).or_insert_with(|| SloSeries {
                        burns: BURNS
                            .iter()
                            .map(|b| SloBurn {
                                threshold: b.rate,
                                severity: b.severity.to_owned(),
                                long: format_duration(windows.long(b)),
                                short: format_duration(windows.short(b)),
                                possible: b.is_possible(slo.budget()),
                                ..SloBurn::default()
                            })
                            .collect(),
                        ..SloSeries::default()
                    });
                    let window = point.labels.get("window").unwrap_or_default();
                    match &*name {
                        "slo:total:rate" => series.total = Some(value),
                        "slo:error_ratio" if window == whole => series.good_ratio = Some(1.0 - value),
                        "slo:error_budget_remaining" => series.budget_remaining_ratio = Some(value),
                        "slo:burn_rate" => {
                            for burn in &mut series.burns {
                                if burn.long == window {
                                    burn.long_rate = Some(value);
                                }
                                if burn.short == window {
                                    burn.short_rate = Some(value);
                                }
                            }
                        }
                        _ => {}
                    }
                }
            }
        }
        for (labels, value) in good {
            match all.series.get_mut(&labels) {
                Some(series) => series.good = Some(value),
                None if is_unmatched => all.unmatched = Some(labels),
                None => {}
            }
        }
        all
    }
}

fn float(point: &VectorPoint) -> Option<f64> {
    match point.value {
        PointValue::Float(v) => finite(v),
        PointValue::Histogram(_) => None,
    }
}

/// Without what every series of the objective has.
fn bare(slo: &Slo, labels: &Labels) -> Labels {
    let own = |name: &str| matches!(name, METRIC_NAME | "slo" | "window") || slo.labels.get(name).is_some();
    Labels::from_pairs(labels.iter().filter(|l| !own(&l.name)).map(|l| (l.name.clone(), l.value.clone())))
}

/// With its state and the time it has left.
fn judged(slo: &Slo, series: SloSeries) -> SloSeries {
    let burns_for = |severity: &str| {
        let over = |rate: Option<f64>, b: &SloBurn| rate.is_some_and(|r| r > b.threshold);
        series.burns.iter().any(|b| b.severity == severity && over(b.long_rate, b) && over(b.short_rate, b))
    };
    let state = match series.budget_remaining_ratio {
        None => SloState::NoData,
        Some(left) if left <= 0.0 => SloState::Exhausted,
        Some(_) if burns_for("page") => SloState::BurningFast,
        Some(_) if burns_for("ticket") => SloState::BurningSlow,
        Some(_) => SloState::Ok,
    };
    let rate = series.burns.first().and_then(|b| b.long_rate);
    let share = series.budget_remaining_ratio.zip(rate).map(|(left, rate)| left / rate);
    let exhausted_in_seconds = share.filter(|s| (0.0..=1.0).contains(s)).map(|s| s * slo.window.as_secs_f64());
    SloSeries { state, exhausted_in_seconds, ..series }
}

/// Why nothing is known, or what hinders the evaluation.
fn reason(slo: &Slo, group: Option<&GroupSnapshot>, read: &Recorded) -> String {
    let rules = group.map_or(&[][..], |g| &g.rules);
    if let Some((rule, why)) = rules.iter().find_map(|r| Some((&r.spec.name, failure(r)?))) {
        return format!("{rule} cannot be evaluated: {why}");
    }
    if let Some(labels) = &read.unmatched {
        let total = read.series.keys().next();
        return format!(
            "`good` and `total` have other labels, so they cannot be compared: {} and {}. Aggregate both sides by the \
             same labels.",
            names(labels),
            total.map_or_else(|| "nothing at all".to_owned(), names)
        );
    }
    if read.series.values().any(|s| s.budget_remaining_ratio.is_some()) {
        return String::new();
    }
    if group.is_none_or(|g| g.last_evaluation.is_none()) {
        return format!("It was not evaluated yet; it is every {}.", format_duration(slo.interval));
    }
    match (slo.good_and_total("5m").is_some(), read.series.is_empty()) {
        (true, true) => "`total` finds no series: check its names and labels on the Explore page.".to_owned(),
        (false, true) => "`query` finds no series: check its names and labels on the Explore page.".to_owned(),
        (_, false) => format!("There were no events in the last {}.", format_duration(slo.window)),
    }
}

fn names(labels: &Labels) -> String {
    match labels.is_empty() {
        true => "no labels".to_owned(),
        false => labels.iter().map(|l| &*l.name).collect::<Vec<_>>().join(", "),
    }
}

fn failure(rule: &RuleView) -> Option<String> {
    match &rule.health {
        Health::Bad(why) => Some(why.clone()),
        Health::Ok | Health::Unknown => None,
    }
}

fn detail(config: &config::Slo, group: Option<&GroupSnapshot>) -> SloDetail {
    let slo = spec(config);
    let shortest = format_duration(Windows::of(slo.window).shortest());
    let (good_query, total_query) = slo.events(&shortest);
    let (kind, good, total) = match &config.indicator {
        config::Indicator::Ratio { good, total } => ("ratio", good.clone(), total.clone()),
        config::Indicator::Threshold { query, condition, threshold } => {
            let operator = crate::spec::condition(*condition).operator();
            ("threshold", format!("{query} {operator} {threshold}"), String::new())
        }
    };
    let rules = group.map_or(&[][..], |g| &g.rules);
    let label = |r: &RuleView, name: &str| {
        r.spec.labels.iter().find(|(n, _)| &**n == name).map(|(_, words)| words.text().to_string())
    };
    let (alerts, recorded): (Vec<_>, Vec<_>) = rules.iter().partition(|r| r.spec.kind == RuleKind::Alert);
    SloDetail {
        kind: kind.to_owned(),
        good_query,
        total_query,
        good,
        total,
        shortest_window: shortest,
        alerts: alerts
            .into_iter()
            .map(|r| SloAlert {
                severity: label(r, "severity").unwrap_or_default(),
                window: label(r, "window").unwrap_or_default(),
                query: r.spec.query.clone(),
                state: r.state,
                active: r
                    .alerts
                    .iter()
                    .filter(|a| matches!(a.alert.state, AlertState::Pending | AlertState::Firing))
                    .map(|a| a.alert.fingerprint)
                    .collect(),
                error: failure(r),
            })
            .collect(),
        recorded: recorded
            .into_iter()
            .map(|r| SloRecorded {
                name: r.spec.name.to_string(),
                window: label(r, "window"),
                query: r.spec.query.clone(),
                error: failure(r),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use belfry_rules::slo::Indicator;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn api() -> Slo {
        Slo {
            name: "api".into(),
            objective: 99.0,
            window: 30 * DAY,
            interval: Duration::from_secs(60),
            indicator: Indicator::Ratio { good: "good[$window]".into(), total: "total[$window]".into() },
            labels: Labels::from_pairs([("team", "web")]),
        }
    }

    fn point(name: &str, labels: &[(&str, &str)], value: f64) -> VectorPoint {
        let own = [(METRIC_NAME, name), ("slo", "api"), ("team", "web")];
        let labels = Labels::from_pairs(own.into_iter().chain(labels.iter().copied()));
        VectorPoint { labels, at: TimestampMs(0), value: PointValue::Float(value) }
    }

    /// The budget left, and the burn rates of 1h, 5m, 3d and 6h.
    fn series(left: f64, rates: [f64; 4]) -> SloSeries {
        let mut points = vec![
            point("slo:total:rate", &[], 10.0),
            point("slo:good:rate", &[], 9.0),
            point("slo:error_ratio", &[("window", "30d")], 0.002),
            point("slo:error_ratio", &[("window", "1h")], 0.5),
            point("slo:error_budget_remaining", &[], left),
        ];
        for (window, rate) in ["1h", "5m", "3d", "6h"].into_iter().zip(rates) {
            points.push(point("slo:burn_rate", &[("window", window)], rate));
        }
        let mut read = Recorded::of(&api(), points);
        assert_eq!(read.series.len(), 1);
        judged(&api(), read.series.remove(&Labels::empty()).expect("no labels but those of all"))
    }

    #[test]
    fn an_objective_is_as_bad_as_what_its_alerts_would_say_and_exhausted_without_budget() {
        let state = |left, rates| series(left, rates).state;
        assert_eq!(state(0.8, [0.2, 0.2, 0.2, 0.2]), SloState::Ok);
        assert_eq!(state(0.8, [20.0, 20.0, 2.0, 0.2]), SloState::BurningFast);
        // It has stopped: the short window says so.
        assert_eq!(state(0.8, [20.0, 1.0, 2.0, 0.2]), SloState::Ok);
        assert_eq!(state(0.8, [2.0, 2.0, 2.0, 2.0]), SloState::BurningSlow);
        assert_eq!(state(0.0, [20.0, 20.0, 2.0, 2.0]), SloState::Exhausted);
        assert_eq!(judged(&api(), SloSeries::default()).state, SloState::NoData);
        let s = series(0.8, [0.2; 4]);
        assert_eq!((s.good_ratio, s.total, s.good), (Some(0.998), Some(10.0), Some(9.0)));
        let windows: Vec<_> = s.burns.iter().map(|b| (&*b.long, &*b.short)).collect();
        assert_eq!(windows, [("1h", "5m"), ("6h", "30m"), ("1d", "2h"), ("3d", "6h")]);
    }

    #[test]
    fn the_time_left_follows_from_the_last_hour_and_is_not_told_beyond_the_window() {
        let left = |left, rate| series(left, [rate; 4]).exhausted_in_seconds;
        assert_eq!(left(0.5, 10.0), Some(1.5 * 86_400.0));
        assert_eq!(left(0.5, 0.4), None);
        assert_eq!(left(0.5, 0.0), None);
        assert_eq!(left(-0.5, 10.0), None);
    }

    #[test]
    fn sides_with_other_labels_are_named() {
        let points = vec![
            point("slo:total:rate", &[], 10.0),
            point("slo:good:rate", &[("code", "200")], 9.0),
            point("slo:unmatched_good:count", &[], 1.0),
        ];
        let read = Recorded::of(&api(), points);
        assert_eq!(read.series.len(), 1);
        let why = reason(&api(), None, &read);
        assert!(why.contains("cannot be compared: code and no labels"), "{why}");
    }
}
