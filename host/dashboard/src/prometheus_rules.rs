//! Prometheus' HTTP API: rules and alerts, with its filters and pages.
//! <https://prometheus.io/docs/prometheus/latest/querying/api/#rules>

use std::collections::HashSet;

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use belfry_model::{Labels, Matcher, TimestampMs};
use serde_json::{Map, Value, json};

use crate::App;
use crate::prometheus::{ApiError, Parameters, number, success};
use crate::rule_groups::{GroupAlert, GroupRule, RuleGroup, Texts};

/// Go's zero time: never.
const NEVER: &str = "0001-01-01T00:00:00Z";

pub(crate) fn routes() -> Router<App> {
    Router::new().route("/rules", get(rules)).route("/alerts", get(alerts))
}

async fn alerts(State(app): State<App>) -> Response {
    let groups = app.backend.rule_groups();
    let all = groups.iter().flat_map(|g| &g.rules).filter_map(|r| r.alerting.as_ref()).flat_map(|a| &a.alerts);
    success(json!({"alerts": all.map(alert).collect::<Vec<_>>()}))
}

async fn rules(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let p = Parameters::of(request).await?;
    p.whole()?;
    let filter = Filter::of(&p)?;
    let page = Page::of(&p)?;
    let mut groups = app.backend.rule_groups();
    groups.sort_by(|a, b| (&a.file, &a.name).cmp(&(&b.file, &b.name)));
    groups.retain(|g| filter.takes_group(g));
    let data = answer(&groups, &filter, &page)?;
    Ok(match app.backend.refused_rule_files() {
        refused if refused.is_empty() => success(data),
        // A file that is refused is missing here, or stands here as it was: who reads only this is to know.
        refused => Json(json!({"status": "success", "data": data, "warnings": refused})).into_response(),
    })
}

fn answer(groups: &[RuleGroup], filter: &Filter, page: &Page) -> Result<Value, ApiError> {
    let begin = match &page.token {
        None => 0,
        Some(token) => groups
            .iter()
            .position(|g| token_of(g) == *token)
            .ok_or_else(|| ApiError::bad_data("invalid group_next_token. were rule groups changed?"))?,
    };
    let mut shown = Vec::new();
    let mut next = None;
    for group in &groups[begin..] {
        let rules: Vec<Value> = group.rules.iter().filter(|r| filter.takes_rule(r)).map(|r| rule(r, filter)).collect();
        if rules.is_empty() {
            continue;
        }
        if page.limit > 0 && shown.len() == page.limit {
            next = Some(token_of(group));
            break;
        }
        shown.push(json!({
            "name": group.name,
            "file": group.file,
            "rules": rules,
            "interval": group.interval.as_secs_f64(),
            "limit": group.limit,
            "evaluationTime": group.evaluation_time.as_secs_f64(),
            "lastEvaluation": time(group.last_evaluation),
        }));
    }
    let mut data = Map::new();
    data.insert("groups".into(), shown.into());
    if let Some(token) = next {
        data.insert("groupNextToken".into(), token.into());
    }
    Ok(Value::Object(data))
}

/// Which rules are asked for.
#[derive(Debug, Default)]
struct Filter {
    alerting: Option<bool>,
    names: HashSet<String>,
    groups: HashSet<String>,
    files: HashSet<String>,
    matchers: Vec<Vec<Matcher>>,
    no_alerts: bool,
}

impl Filter {
    fn of(p: &Parameters) -> Result<Self, ApiError> {
        let set = |name: &str| p.all(name).map(str::to_owned).collect::<HashSet<_>>();
        let alerting = match p.get("type").map(str::to_lowercase).as_deref() {
            None => None,
            Some("alert") => Some(true),
            Some("record") => Some(false),
            Some(other) => {
                return Err(ApiError::bad_data(format!("invalid parameter \"type\": not supported value {other:?}")));
            }
        };
        let no_alerts = match p.get("exclude_alerts") {
            None => false,
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => true,
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => false,
            Some(other) => {
                let message = format!("invalid parameter \"exclude_alerts\": {other:?} is neither true nor false");
                return Err(ApiError::bad_data(message));
            }
        };
        let bad = |e| ApiError::bad_data(format!("invalid parameter \"match[]\": {e}"));
        let matchers =
            p.all("match[]").map(|text| belfry_promql::parse_selector(text).map_err(bad)).collect::<Result<_, _>>()?;
        Ok(Self {
            alerting,
            names: set("rule_name[]"),
            groups: set("rule_group[]"),
            files: set("file[]"),
            matchers,
            no_alerts,
        })
    }

    fn takes_group(&self, group: &RuleGroup) -> bool {
        (self.groups.is_empty() || self.groups.contains(&group.name))
            && (self.files.is_empty() || self.files.contains(&group.file))
    }

    fn takes_rule(&self, rule: &GroupRule) -> bool {
        self.alerting.is_none_or(|alerting| rule.alerting.is_some() == alerting)
            && (self.names.is_empty() || self.names.contains(&rule.name))
            && (self.matchers.is_empty() || self.matchers.iter().any(|set| satisfied(set, &rule.labels)))
    }
}

fn satisfied(matchers: &[Matcher], labels: &Texts) -> bool {
    matchers.iter().all(|m| m.matches(labels.get(m.name()).map_or("", String::as_str)))
}

/// Which part of a long answer is asked for.
#[derive(Debug, Default)]
struct Page {
    limit: usize,
    token: Option<String>,
}

impl Page {
    fn of(p: &Parameters) -> Result<Self, ApiError> {
        let token = p.get("group_next_token").map(str::to_owned);
        let limit = match p.get("group_limit") {
            Some(text) => text.parse().ok().filter(|n| *n > 0).ok_or_else(|| {
                ApiError::bad_data(format!("invalid parameter \"group_limit\": {text:?} is no number above zero"))
            })?,
            None if token.is_some() => {
                let message = "invalid parameter \"group_limit\": group_limit needs to be present in order to paginate over the groups";
                return Err(ApiError::bad_data(message));
            }
            None => 0,
        };
        Ok(Self { limit, token })
    }
}

/// Names a group without saying it; the same at every start.
fn token_of(group: &RuleGroup) -> String {
    format!("{:016x}", Labels::from_pairs([("file", &*group.file), ("group", &*group.name)]).stable_hash())
}

fn rule(r: &GroupRule, filter: &Filter) -> Value {
    let mut out = Map::new();
    if let Some(a) = &r.alerting {
        out.insert("state".into(), a.state.as_str().into());
    }
    out.insert("name".into(), r.name.clone().into());
    out.insert("query".into(), r.query.clone().into());
    if let Some(a) = &r.alerting {
        out.insert("duration".into(), json!(a.hold.as_secs_f64()));
        out.insert("keepFiringFor".into(), json!(a.keep_firing_for.as_secs_f64()));
        out.insert("labels".into(), json!(r.labels));
        out.insert("annotations".into(), json!(a.annotations));
        let alerts = if filter.no_alerts { Vec::new() } else { a.alerts.iter().map(alert).collect() };
        out.insert("alerts".into(), alerts.into());
    } else if !r.labels.is_empty() {
        out.insert("labels".into(), json!(r.labels));
    }
    let health = match &r.health {
        None => "unknown",
        Some(Ok(())) => "ok",
        Some(Err(_)) => "err",
    };
    out.insert("health".into(), health.into());
    if let Some(Err(reason)) = &r.health {
        out.insert("lastError".into(), reason.clone().into());
    }
    out.insert("evaluationTime".into(), json!(r.evaluation_time.as_secs_f64()));
    out.insert("lastEvaluation".into(), time(r.last_evaluation).into());
    out.insert("type".into(), if r.alerting.is_some() { "alerting" } else { "recording" }.into());
    Value::Object(out)
}

fn alert(a: &GroupAlert) -> Value {
    let mut out = Map::new();
    out.insert("labels".into(), json!(a.labels));
    out.insert("annotations".into(), json!(a.annotations));
    out.insert("state".into(), a.state.as_str().into());
    out.insert("activeAt".into(), time(Some(a.active_at)).into());
    if let Some(since) = a.keep_firing_since {
        out.insert("keepFiringSince".into(), time(Some(since)).into());
    }
    out.insert("value".into(), exponent(a.value).into());
    Value::Object(out)
}

fn time(at: Option<TimestampMs>) -> String {
    at.map_or_else(|| NEVER.to_owned(), |t| t.to_string())
}

/// Go's `strconv.FormatFloat(v, 'e', -1, 64)`.
fn exponent(v: f64) -> String {
    if !v.is_finite() {
        return number(v);
    }
    let text = format!("{v:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |d| ('-', d));
    format!("{mantissa}e{sign}{digits:0>2}")
}

#[cfg(test)]
#[path = "prometheus_rules_tests.rs"]
mod tests;
