//! `[[slo]]`.

use std::collections::BTreeSet;
use std::time::Duration;

use belfry_model::duration::format_duration;
use belfry_model::labels::is_legacy_name;
use belfry_promql::syntax::ast::{AggregateOp, Grouping};
use belfry_promql::{Expr, ExprKind, ValueType};

use super::Context;
use super::rules::condition;
use crate::types::slo::{Indicator, Slo};
use crate::types::{Collection, Storage};
use crate::view::View;

const PLACEHOLDER: &str = "$window";
/// What parsing puts in place of [`PLACEHOLDER`].
const ANY_WINDOW: &str = "5m";

/// The shortest window of an SLO's alerts is this part of its own: 5 m of 30 d.
const SHORTEST_PART: u32 = 8640;
/// With a shorter window the shortest one of an alert would be less than a second.
const WINDOW_MIN: Duration = Duration::from_secs(SHORTEST_PART as u64);
/// Samples that a rate needs at least. With one the answer is empty, and an alert over it never fires.
const SAMPLES_MIN: u32 = 2;
const WINDOW_MAX: Duration = Duration::from_secs(366 * 86_400);

/// Beyond this the error budget is too small a number to count with.
const OBJECTIVE_MAX: f64 = 99.999_999;

/// Nobody promises less than this; who writes less has a fraction in mind.
const OBJECTIVE_LIKELY_MIN: f64 = 50.0;

/// Aggregations whose answers have the labels they group by, and no others.
const SUMS: [AggregateOp; 5] =
    [AggregateOp::Sum, AggregateOp::Count, AggregateOp::Avg, AggregateOp::Min, AggregateOp::Max];

/// Labels that its series and alerts have anyway.
const OWN_LABELS: [&str; 4] = ["alertname", "severity", "slo", "window"];

pub(super) fn slos(
    views: &[View<'_>],
    storage: Option<&Storage>,
    collection: Option<&Collection>,
    context: &mut Context<'_>,
) -> Vec<Slo> {
    views.iter().filter_map(|v| slo(*v, storage, collection, context)).collect()
}

fn slo(
    view: View<'_>,
    storage: Option<&Storage>,
    collection: Option<&Collection>,
    context: &mut Context<'_>,
) -> Option<Slo> {
    if let Some(objective) = view.number("objective")
        && !(objective > 0.0 && objective <= OBJECTIVE_MAX)
    {
        let help =
            format!("write the percentage that must be good, more than 0 and at most {OBJECTIVE_MAX}, like 99.9");
        context.error(view.place("objective"), format!("`objective` cannot be {objective}"), help);
    }
    fraction(view, context);
    window(view, storage, context);
    for label in &view.labels("labels") {
        if !is_legacy_name(&label.name) || label.name.starts_with("__") {
            let help = "use letters, digits and `_`, no digit and no `__` first";
            context.error(view.place("labels"), format!("`{}` is no name in `labels`", label.name), help);
        } else if OWN_LABELS.contains(&&*label.name) {
            let help = "its series and alerts have a label of that name already; use another";
            context.error(view.place("labels"), format!("`{}` among the labels", label.name), help);
        }
    }
    let indicator = indicator(view, context);
    if let (Some(Indicator::Ratio { .. }), Some(collection)) = (&indicator, collection) {
        samples(view, collection.interval, context);
    }
    if !view.bool("enabled") {
        return None;
    }
    Some(Slo {
        name: view.string("name")?,
        description: view.string("description").unwrap_or_default(),
        objective: view.number("objective")?,
        window: view.duration("window")?,
        interval: view.duration("interval"),
        indicator: indicator?,
        labels: view.labels("labels"),
    })
}

/// 0.999 is as good a percentage as any, but hardly what was meant: nothing would ever be said of such an objective.
fn fraction(view: View<'_>, context: &mut Context<'_>) {
    let Some(objective) = view.number("objective").filter(|o| *o > 0.0 && *o < OBJECTIVE_LIKELY_MIN) else { return };
    // Rid of what the multiplication adds: 0.29 is 29 %, not 28.999999999999996.
    let percent = (objective * 1e10).round() / 1e8;
    let help = match objective < 1.0 {
        true => format!("it is a percentage: did you mean {percent}?"),
        false => "it is the percentage that must be good, like 99.9".to_owned(),
    };
    let message = format!("`objective` is {objective} %: it is kept though most of what happens is bad");
    context.warning(view.place("objective"), message, help);
}

fn window(view: View<'_>, storage: Option<&Storage>, context: &mut Context<'_>) {
    let Some(window) = view.duration("window") else { return };
    let at = view.place("window");
    if window < WINDOW_MIN {
        let message = format!("`window` is too short: {}", format_duration(window));
        let help = format!(
            "use {} or longer; its alerts look at windows down to a {SHORTEST_PART}th of it",
            format_duration(WINDOW_MIN)
        );
        return context.error(at, message, help);
    }
    if window > WINDOW_MAX {
        let help = format!("use at most {}", format_duration(WINDOW_MAX));
        return context.error(at, format!("`window` is too long: {}", format_duration(window)), help);
    }
    if let Some(retention) = storage.and_then(|s| s.retention)
        && retention < window
    {
        let (kept, window) = (format_duration(retention), format_duration(window));
        let message = format!("`window` is {window}, but samples are kept for {kept}");
        context.warning(at, message, format!("set [storage] retention = \"{window}\" or longer"));
    }
    let shortest = window / SHORTEST_PART;
    let Some(interval) = view.duration("interval") else { return };
    let at = view.place("interval");
    if interval.is_zero() {
        context.error(at, "`interval` is zero", "leave it out, or use 1m, for example");
    } else if interval > shortest / 2 {
        let shortest = format_duration(Duration::from_millis(u64::try_from(shortest.as_millis()).unwrap_or(u64::MAX)));
        let message = format!("`interval` is too long: an alert of this SLO looks at the last {shortest}");
        context.error(at, message, "use at most half of that, or leave it out");
    }
}

/// Are there samples enough in the shortest window? A warning, no error: what the indicator selects may be collected more
/// often than `[collection]` says, and a window made longer in silence would no longer be the one that is documented. A
/// threshold is asked at instants, and sees the last sample in a window without any.
fn samples(view: View<'_>, collected: Duration, context: &mut Context<'_>) {
    let Some(window) = view.duration("window").filter(|w| (WINDOW_MIN..=WINDOW_MAX).contains(w)) else { return };
    let shortest = window / SHORTEST_PART;
    let needed = collected.saturating_mul(SAMPLES_MIN);
    if shortest >= needed {
        return;
    }
    let whole_ms = |d: Duration| Duration::from_millis(u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
    let message = format!(
        "an alert of this SLO looks at the last {}, and samples come every {}: it finds no rate there and never fires",
        format_duration(whole_ms(shortest)),
        format_duration(collected)
    );
    let (every, long_enough) = (whole_ms(shortest / SAMPLES_MIN), needed.saturating_mul(SHORTEST_PART));
    let lower = format!("collect every {} or more often ([collection] interval)", format_duration(every));
    let help = match long_enough <= WINDOW_MAX {
        true => format!("use a `window` of {} or longer, or {lower}", format_duration(long_enough)),
        false => lower,
    };
    context.warning(view.place("window"), message, help);
}

const FORMS: &str = "give `good` and `total`, or `query`, `condition` and `threshold`";

fn indicator(view: View<'_>, context: &mut Context<'_>) -> Option<Indicator> {
    let has = |keys: &[&str]| keys.iter().filter(|k| view.node(k).is_some()).count();
    match (has(&["good", "total"]), has(&["query", "condition", "threshold"])) {
        (2, 0) => {
            let good = expression(view, "good", true, context);
            let total = expression(view, "total", true, context);
            if let (Some(good), Some(total)) = (&good, &total) {
                same_labels(view, good, total, context);
            }
            Some(Indicator::Ratio { good: good?, total: total? })
        }
        (0, 3) => {
            if view.number("threshold").is_some_and(f64::is_nan) {
                context.error(view.place("threshold"), "`threshold` is not a number", "nothing compares with nan");
            }
            let query = expression(view, "query", false, context)?;
            filter(view, &query, context);
            let condition = condition(view.text("condition")?);
            Some(Indicator::Threshold { query, condition, threshold: view.number("threshold")? })
        }
        (0, 0) => {
            context.error(view.at, "[slo] does not say what is good", FORMS);
            None
        }
        (_, 0) | (0, _) => {
            context.error(view.at, "[slo] says only in part what is good", FORMS);
            None
        }
        _ => {
            context.error(view.at, "[slo] says twice what is good", FORMS);
            None
        }
    }
}

/// What a filter leaves out is counted neither as good nor as bad.
fn filter(view: View<'_>, query: &str, context: &mut Context<'_>) {
    let Ok(expr) = belfry_promql::parse(query) else { return };
    if let ExprKind::Binary(b) = &expr.unwrap_parens().kind
        && b.op.is_comparison()
        && !b.return_bool
    {
        let message = "`query` is a filter: a value that it leaves out counts neither as good nor as bad";
        let help = "write the value alone, and its bound as `condition` and `threshold`";
        context.warning(view.place("query"), message, help);
    }
}

/// An expression that gives an instant vector.
fn expression(view: View<'_>, key: &str, with_window: bool, context: &mut Context<'_>) -> Option<String> {
    let (text, at) = (view.text(key)?, view.place(key));
    let filled = if with_window { text.replace(PLACEHOLDER, ANY_WINDOW) } else { text.to_owned() };
    if let Some(unknown) = placeholder(text).filter(|p| !with_window || *p != PLACEHOLDER) {
        let help = match with_window {
            true => "`$window` is the only placeholder: the window over which is counted",
            false => "`query` is a value at one time and has no placeholders; use `good` and `total` for counts",
        };
        context.error(at, format!("`{key}`: unknown placeholder `{unknown}`"), help);
        return None;
    }
    if with_window && !text.contains(PLACEHOLDER) {
        let help = "write it where the range stands, like 'sum(rate(requests_total[$window]))'";
        context.error(at, format!("`{key}` has no `$window`"), help);
        return None;
    }
    match belfry_promql::parse(&filled) {
        Err(errors) => {
            let why = errors.0.first().map_or("", |e| e.message.as_str());
            let help = "try it on the Explore page, with a range like 5m for `$window`";
            context.error(at, format!("`{key}` is no PromQL: {why}"), help);
            None
        }
        Ok(expr) if expr.value_type() != ValueType::Vector => {
            let message = format!("`{key}` gives no instant vector");
            context.error(at, message, "write an expression that gives a number for each set of labels");
            None
        }
        Ok(_) => Some(text.to_owned()),
    }
}

/// Sides with other labels cannot be divided: nothing would be known of the objective, for ever.
fn same_labels(view: View<'_>, good: &str, total: &str, context: &mut Context<'_>) {
    let labels = |text: &str| grouping(&belfry_promql::parse(&text.replace(PLACEHOLDER, ANY_WINDOW)).ok()?);
    let (Some(of_good), Some(of_total)) = (labels(good), labels(total)) else { return };
    if of_good != of_total {
        let said = |labels: &BTreeSet<String>| match labels.is_empty() {
            true => "no labels".to_owned(),
            false => labels.iter().map(|l| format!("`{l}`")).collect::<Vec<_>>().join(", "),
        };
        let message =
            format!("`good` has {}, `total` has {}: they cannot be compared", said(&of_good), said(&of_total));
        context.warning(view.place("good"), message, "aggregate both sides by the same labels");
    }
}

/// The labels of an answer, where the expression says them: it sums up, or calculates with such a sum.
fn grouping(expr: &Expr) -> Option<BTreeSet<String>> {
    match &expr.unwrap_parens().kind {
        ExprKind::Aggregate(a) if SUMS.contains(&a.op) => match &a.grouping {
            Grouping::None => Some(BTreeSet::new()),
            Grouping::By(labels) => Some(labels.iter().cloned().collect()),
            Grouping::Without(_) => None,
        },
        ExprKind::Binary(b) if b.rhs.value_type() == ValueType::Scalar => grouping(&b.lhs),
        ExprKind::Binary(b) if b.lhs.value_type() == ValueType::Scalar => grouping(&b.rhs),
        _ => None,
    }
}

/// The first unknown one if there is one, else the first: `$` and a word, outside of quotes.
fn placeholder(text: &str) -> Option<&str> {
    let mut first = None;
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some(q), '\\') if q != '`' => escaped = true,
            (Some(q), _) if q == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '$') => {
                let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
                let length = text[at + 1..].find(|c| !word(c)).unwrap_or(text.len() - at - 1);
                let found = &text[at..at + 1 + length];
                if found != PLACEHOLDER {
                    return Some(found);
                }
                first = first.or(Some(found));
            }
            _ => {}
        }
    }
    first
}
