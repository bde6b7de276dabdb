//! Prometheus' HTTP API beside queries: exemplars, formatting, status, administration.
//! <https://prometheus.io/docs/prometheus/latest/querying/api/>
//!
//! Invariant: members have Prometheus' names; one that means nothing here (Go's runtime) has its zero value, so that
//! clients which want it there go on.
//! Not here: what a deletion or a snapshot is (the store), who may ask for one (the guard).

use std::collections::HashMap;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use belfry_model::read::SelectLimits;
use belfry_model::{Labels, METRIC_NAME, TimeRange};
use belfry_promql::ExprKind;
use serde_json::{Value, json};

use crate::App;
use crate::prometheus::{ApiError, Parameters, number, seconds, selection, success, warned};
use crate::prometheus_ast;

/// The version of Prometheus whose API this is: clients choose what they ask for by it.
const API_VERSION: &str = "3.14.0";
/// Lines of each table of `status/tsdb` where the request names no limit, as in Prometheus.
const TABLE_LINES: usize = 10;
/// Who acts: there is one token, so far.
const USER: &str = "token";

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/query_exemplars", get(query_exemplars).post(query_exemplars))
        .route("/format_query", get(format_query).post(format_query))
        .route("/parse_query", get(parse_query).post(parse_query))
        .route("/status/buildinfo", get(build_info))
        .route("/status/runtimeinfo", get(runtime_info))
        .route("/status/flags", get(flags))
        .route("/status/config", get(config))
        .route("/status/tsdb", get(tsdb))
        .route("/status/walreplay", get(wal_replay))
        .route("/alertmanagers", get(alertmanagers))
        .route("/notifications", get(notifications))
        .route("/admin/tsdb/delete_series", post(delete_series).put(delete_series))
        .route("/admin/tsdb/clean_tombstones", post(clean_tombstones).put(clean_tombstones))
        .route("/admin/tsdb/snapshot", post(snapshot).put(snapshot))
}

async fn query_exemplars(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let p = Parameters::of(request).await?;
    let expr = parsed(&p)?;
    let range = p.range()?;
    let mut selectors = Vec::new();
    expr.walk(&mut |e| match &e.kind {
        ExprKind::Vector(v) => selectors.push(v.all_matchers()),
        ExprKind::Matrix(m) => selectors.push(m.selector.all_matchers()),
        _ => {}
    });
    let reader = app.backend.reader();
    let mut by_series = std::collections::BTreeMap::new();
    for matchers in &selectors {
        by_series.extend(reader.exemplars(matchers, range).await?);
    }
    let rows: Vec<Value> = by_series
        .into_iter()
        .filter(|(_, exemplars)| !exemplars.is_empty())
        .map(|(labels, exemplars)| {
            let each = |e: &belfry_model::Exemplar| json!({"labels": e.labels, "value": number(e.value), "timestamp": seconds(e.at)});
            json!({"seriesLabels": labels, "exemplars": exemplars.iter().map(each).collect::<Vec<_>>()})
        })
        .collect();
    Ok(warned(rows.into(), app.backend.unasked().into_iter().collect()))
}

async fn format_query(request: Request) -> Result<Response, ApiError> {
    let p = Parameters::of(request).await?;
    Ok(success(belfry_promql::format_expr(&parsed(&p)?).into()))
}

async fn parse_query(request: Request) -> Result<Response, ApiError> {
    let p = Parameters::of(request).await?;
    let tree = prometheus_ast::tree(&parsed(&p)?);
    let levels = prometheus_ast::LEVELS_MAX;
    Ok(success(tree.ok_or_else(|| ApiError::bad_data(format!("the expression has more than {levels} levels")))?))
}

fn parsed(p: &Parameters) -> Result<belfry_promql::Expr, ApiError> {
    belfry_promql::parse(p.get("query").unwrap_or(""))
        .map_err(|e| ApiError::bad_data(format!("invalid parameter \"query\": {e}")))
}

async fn build_info(State(app): State<App>) -> Response {
    let about = app.backend.about();
    success(json!({
        "version": format!("{API_VERSION}+belfry.{}", about.version),
        "revision": "", "branch": "", "buildUser": "", "buildDate": "", "goVersion": "",
        "application": "Belfry",
    }))
}

async fn runtime_info(State(app): State<App>) -> Response {
    let about = app.backend.about();
    success(json!({
        "startTime": about.started.to_string(),
        "CWD": "",
        "hostname": about.hostname,
        "serverTime": app.backend.now().to_string(),
        "reloadConfigSuccess": about.config_error.is_none(),
        "lastConfigTime": about.config_read.to_string(),
        "corruptionCount": u64::from(about.is_damaged),
        "goroutineCount": 0,
        "GOMAXPROCS": std::thread::available_parallelism().map_or(1, usize::from),
        "GOMEMLIMIT": 0, "GOGC": "", "GODEBUG": "",
        "storageRetention": about.retention,
    }))
}

async fn flags(State(app): State<App>) -> Response {
    let about = app.backend.about();
    let mut flags = json!({
        "web.listen-address": about.listen,
        "storage.tsdb.retention.time": about.retention,
        "web.enable-remote-write-receiver": "true",
        "web.enable-admin-api": "true",
    });
    for (name, value) in about.query_flags {
        flags[name] = value.into();
    }
    success(flags)
}

async fn config(State(app): State<App>) -> Response {
    success(json!({"yaml": app.backend.about().config}))
}

/// It is over before anything is served.
async fn wal_replay() -> Response {
    success(json!({"min": 0, "max": 0, "current": 0}))
}

/// Alerts are routed here, not by another program.
async fn alertmanagers() -> Response {
    success(json!({"activeAlertmanagers": [], "droppedAlertmanagers": []}))
}

/// Prometheus' own notes for its user interface; ours are on the overview.
async fn notifications() -> Response {
    success(json!([]))
}

async fn tsdb(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let p = Parameters::of(request).await?;
    let lines = match p.get("limit") {
        None => TABLE_LINES,
        Some(_) => match p.limit() {
            Ok(lines) if lines > 0 => lines,
            _ => return Err(ApiError::bad_data("limit must be a positive number")),
        },
    };
    let about = app.backend.about();
    let all = app.backend.reader().series(&[], TimeRange::ALL, SelectLimits::default().series_max).await?;
    let span = app.backend.span().await;
    let counted = tokio::task::spawn_blocking(move || Cardinality::of(&all, lines));
    let c = counted.await.map_err(|e| ApiError::internal(e.to_string()))?;
    Ok(success(json!({
        "headStats": {
            "numSeries": about.series,
            "numLabelPairs": c.label_pairs,
            "chunkCount": about.head_chunks,
            "minTime": span.map(|(oldest, _)| oldest.0),
            "maxTime": span.map(|(_, newest)| newest.0),
        },
        "seriesCountByMetricName": c.by_metric,
        "labelValueCountByLabelName": c.values_by_name,
        "memoryInBytesByLabelName": c.bytes_by_name,
        "seriesCountByLabelValuePair": c.by_pair,
    })))
}

/// Where the many series come from.
struct Cardinality {
    label_pairs: usize,
    by_metric: Vec<Value>,
    values_by_name: Vec<Value>,
    bytes_by_name: Vec<Value>,
    by_pair: Vec<Value>,
}

impl Cardinality {
    fn of(series: &[Labels], lines: usize) -> Self {
        let mut pairs: HashMap<(&str, &str), u64> = HashMap::new();
        for label in series.iter().flat_map(Labels::iter) {
            *pairs.entry((&label.name, &label.value)).or_default() += 1;
        }
        let (mut values, mut bytes) = (HashMap::<&str, u64>::new(), HashMap::<&str, u64>::new());
        for (name, value) in pairs.keys() {
            *values.entry(name).or_default() += 1;
            *bytes.entry(name).or_default() += value.len() as u64;
        }
        let by_metric = pairs.iter().filter(|((name, _), _)| *name == METRIC_NAME);
        Self {
            label_pairs: pairs.len(),
            by_metric: top(by_metric.map(|((_, metric), n)| ((*metric).to_owned(), *n)), lines),
            values_by_name: top(values.into_iter().map(|(name, n)| (name.to_owned(), n)), lines),
            bytes_by_name: top(bytes.into_iter().map(|(name, n)| (name.to_owned(), n)), lines),
            by_pair: top(pairs.iter().map(|((name, value), n)| (format!("{name}={value}"), *n)), lines),
        }
    }
}

/// The largest, in order; names decide between equals.
fn top(counts: impl Iterator<Item = (String, u64)>, lines: usize) -> Vec<Value> {
    let mut all: Vec<_> = counts.collect();
    all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    all.into_iter().take(lines).map(|(name, value)| json!({"name": name, "value": value})).collect()
}

async fn delete_series(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let p = Parameters::of(request).await?;
    let (sets, range) = selection(&p, true)?;
    let subject = p.all("match[]").collect::<Vec<_>>().join(", ");
    for matchers in sets {
        app.backend.delete_series(matchers, range).await?;
    }
    app.backend.journal_action(USER, "delete_series", &subject).await;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// What is deleted leaves the disk with the next merge of its block: there is nothing to hurry.
async fn clean_tombstones() -> StatusCode {
    StatusCode::NO_CONTENT
}

async fn snapshot(State(app): State<App>) -> Result<Response, ApiError> {
    let name = app.backend.snapshot().await?;
    app.backend.journal_action(USER, "snapshot", &name).await;
    Ok(success(json!({"name": name})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_come_first_and_equals_in_order_of_name() {
        let series = [
            Labels::from_pairs([(METRIC_NAME, "a"), ("job", "x"), ("id", "1")]),
            Labels::from_pairs([(METRIC_NAME, "a"), ("job", "x"), ("id", "2")]),
            Labels::from_pairs([(METRIC_NAME, "b"), ("job", "x"), ("id", "1")]),
        ];
        let c = Cardinality::of(&series, 2);
        assert_eq!(c.label_pairs, 5);
        assert_eq!(c.by_metric, [json!({"name": "a", "value": 2}), json!({"name": "b", "value": 1})]);
        assert_eq!(c.values_by_name, [json!({"name": "__name__", "value": 2}), json!({"name": "id", "value": 2})]);
        assert_eq!(c.by_pair, [json!({"name": "job=x", "value": 3}), json!({"name": "__name__=a", "value": 2})]);
    }
}
