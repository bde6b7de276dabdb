//! `[route]`, `[rules]`, `[[rule]]`.

use std::time::Duration;

use belfry_model::labels::is_legacy_name;
use belfry_model::{Matcher, Severity};

use super::{Context, list};
use crate::types::*;
use crate::view::View;

const GROUP_WAIT: Duration = Duration::from_secs(30);
const GROUP_INTERVAL: Duration = Duration::from_secs(5 * 60);
const REPEAT_INTERVAL: Duration = Duration::from_secs(4 * 3600);

/// Deeper trees are a mistake, and reading them recurses.
const ROUTE_DEPTH_MAX: usize = 32;

pub(super) fn route(root: View<'_>, context: &mut Context<'_>) -> Option<Route> {
    let view = root.table("route");
    if !view.is_there() {
        let mut names = context.channels.iter();
        return match (names.next(), names.next()) {
            (Some(only), None) => Some(default_route(only.clone())),
            (Some(first), Some(_)) => {
                let at = root.place("channel");
                let message = format!("[route] is missing: there are several channels ({})", list(&context.channels));
                let help = format!("say where alerts go: [route] with channel = \"{first}\"");
                context.error(at, message, help);
                None
            }
            (None, _) => None,
        };
    }
    if view.node("matchers").is_some() {
        let help = "the root takes every alert; put matchers into [[route.routes]]";
        context.error(view.place("matchers"), "`matchers` at the root of [route]", help);
    }
    if view.text("channel").is_none() {
        context.error(view.at, "`channel` is missing in [route]", "say where alerts go that match no other route");
    }
    let parent = default_route(view.string("channel").unwrap_or_default());
    node(view, &parent, 0, context)
}

fn default_route(channel: String) -> Route {
    Route {
        matchers: Vec::new(),
        channel,
        group_by: vec!["alertname".to_owned()],
        group_wait: GROUP_WAIT,
        group_interval: GROUP_INTERVAL,
        repeat_interval: REPEAT_INTERVAL,
        continue_: false,
        routes: Vec::new(),
    }
}

fn node(view: View<'_>, parent: &Route, depth: usize, context: &mut Context<'_>) -> Option<Route> {
    if depth > ROUTE_DEPTH_MAX {
        context.error(view.at, "[route] is nested too deeply", format!("use at most {ROUTE_DEPTH_MAX} levels"));
        return None;
    }
    if let Some(channel) = view.text("channel") {
        context.known_channel(view.place("channel"), channel);
    }
    let mut matchers = Vec::new();
    for (text, at) in view.texts_at("matchers") {
        match text.parse::<Matcher>() {
            Ok(m) => matchers.push(m),
            Err(e) => {
                // The error carries advice of its own; here it stands in the help.
                let why = e.to_string();
                let why = why.split("; write").next().unwrap_or_default();
                context.error(
                    at,
                    format!("bad matcher: {why}"),
                    "write it like 'severity=\"critical\"' or 'job=~\"web.*\"'",
                );
            }
        }
    }
    let groups = view.texts_at("group_by");
    for (label, at) in &groups {
        if *label == "..." && groups.len() > 1 {
            context.error(*at, "`...` groups by all labels and stands alone", "write group_by = [\"...\"]");
        } else if *label != "..." && !is_legacy_name(label) {
            context.error(*at, format!("`{label}` is no label name"), "use letters, digits and `_`, no digit first");
        }
    }
    let or = |key: &str, inherited: Duration| view.duration(key).unwrap_or(inherited);
    for key in ["group_interval", "repeat_interval"] {
        if view.duration(key).is_some_and(|d| d.is_zero()) {
            context.error(view.place(key), format!("`{key}` is zero"), "use 5m, for example");
        }
    }
    let mut route = Route {
        matchers,
        channel: view.string("channel").unwrap_or_else(|| parent.channel.clone()),
        group_by: if view.node("group_by").is_some() { view.texts("group_by") } else { parent.group_by.clone() },
        group_wait: or("group_wait", parent.group_wait),
        group_interval: or("group_interval", parent.group_interval),
        repeat_interval: or("repeat_interval", parent.repeat_interval),
        continue_: view.bool("continue"),
        routes: Vec::new(),
    };
    let children: Vec<Route> =
        view.tables("routes").into_iter().filter_map(|child| node(child, &route, depth + 1, context)).collect();
    route.routes = children;
    Some(route)
}

pub(super) fn rules(views: &[View<'_>], all: Option<&Collection>, context: &mut Context<'_>) -> Vec<Rule> {
    views.iter().filter_map(|v| rule(*v, all, context)).collect()
}

pub(super) fn condition(word: &str) -> Condition {
    match word {
        "greater_than" => Condition::GreaterThan,
        "less_than" => Condition::LessThan,
        "equals" => Condition::Equals,
        "not_equals" => Condition::NotEquals,
        "greater_or_equal" => Condition::GreaterOrEqual,
        _ => Condition::LessOrEqual,
    }
}

fn rule(view: View<'_>, all: Option<&Collection>, context: &mut Context<'_>) -> Option<Rule> {
    if let Some(metric) = view.text("metric")
        && let Err(errors) = belfry_promql::parse_selector(metric)
    {
        let why = errors.0.first().map_or("", |e| e.message.as_str());
        context.error(
            view.place("metric"),
            format!("`metric`: \"{metric}\" is no selector: {why}"),
            "write a metric's name, like system_cpu_usage_percent, or name{label=\"value\"}",
        );
    }
    for key in ["labels", "annotations"] {
        for label in view.labels(key).iter().filter(|l| !is_legacy_name(&l.name)) {
            let help = "use letters, digits and `_`, no digit first";
            context.error(view.place(key), format!("`{}` is no name in `{key}`", label.name), help);
        }
    }
    templates(view, context);
    if view.labels("labels").get("severity").is_some() {
        context.error(view.place("labels"), "`severity` among the labels", "use the rule's own key: severity = \"…\"");
    }
    if view.number("threshold").is_some_and(f64::is_nan) {
        context.error(view.place("threshold"), "`threshold` is not a number", "nothing compares with nan");
    }
    if view.duration("interval").is_some_and(|d| d.is_zero()) {
        context.error(view.place("interval"), "`interval` is zero", "use 10s, for example");
    }
    if !view.bool("enabled") {
        return None;
    }
    Some(Rule {
        name: view.string("name")?,
        description: view.string("description").unwrap_or_default(),
        metric: view.string("metric")?,
        condition: condition(view.text("condition")?),
        threshold: view.number("threshold")?,
        duration: view.duration("duration")?,
        severity: Severity::ALL.into_iter().find(|s| Some(s.as_str()) == view.text("severity"))?,
        labels: view.labels("labels"),
        annotations: view.labels("annotations"),
        interval: view.duration("interval").or(all.map(|a| a.interval))?,
    })
}

/// Annotations, and the description that becomes one.
fn templates(view: View<'_>, context: &mut Context<'_>) {
    let name = format!("__alert_{}", view.text("name").unwrap_or_default());
    let texts =
        view.texts_below("annotations").into_iter().map(|(key, text, at)| (format!("annotations.{key}"), text, at));
    let description = view.text("description").map(|text| ("description".to_owned(), text, view.place("description")));
    for (key, text, at) in texts.chain(description) {
        match belfry_template::Template::named(&name, text) {
            Err(e) => context.error(
                at,
                format!("`{key}` is no template: {}", e.message),
                "write it as in Prometheus: {{ $labels.core }} is at {{ $value }}",
            ),
            Ok(template) if template.queries() => context.error(
                at,
                format!("`{key}` asks a query, and nothing answers one in [[rule]]"),
                "write the alert in a rule file: [rules] files = [\"rules/*.yml\"]",
            ),
            Ok(_) => {}
        }
    }
}
