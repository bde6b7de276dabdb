//! Prometheus' HTTP API: queries and what is known of series, in Prometheus' JSON.
//! <https://prometheus.io/docs/prometheus/latest/querying/api/>

use std::collections::HashMap;
use std::time::Duration;

use axum::extract::{FromRequest as _, Path, Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Form, Json, Router};
use belfry_model::{Matcher, TimeRange, TimestampMs};
use belfry_promql::{PointValue, QueryTime, QueryValue};
use serde_json::{Map, Value, json};

use crate::App;
use crate::backend::{BackendError, QueryAnswer, QueryFailure, QueryOptions};
use crate::params;

/// Steps of a range query: Prometheus' bound.
const STEPS_MAX: i64 = 11_000;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/query", get(query).post(query))
        .route("/query_range", get(query_range).post(query_range))
        .route("/series", get(series).post(series))
        .route("/labels", get(labels).post(labels))
        .route("/label/{name}/values", get(label_values))
        .route("/metadata", get(metadata))
}

/// Parameters of the query string and, for POST, of the form; names may repeat (`match[]`).
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub async fn of(request: Request) -> Result<Self, ApiError> {
        let said = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(request.uri())
            .map(|q| q.0)
            .map_err(|e| ApiError::bad_data(format!("bad query string: {e}")))?;
        let mut all = Vec::new();
        if request.method() == Method::POST {
            let Form(form) = Form::<Vec<(String, String)>>::from_request(request, &())
                .await
                .map_err(|e| ApiError::bad_data(e.to_string()))?;
            // What both say, the form decides.
            all = form;
        }
        all.extend(said);
        Ok(Self(all))
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str()).filter(|v| !v.is_empty())
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub fn instant(&self, name: &str) -> Result<Option<TimestampMs>, ApiError> {
        self.get(name).map(|text| params::instant(text).ok_or_else(|| bad_time(name, text))).transpose()
    }

    pub fn needed_instant(&self, name: &str) -> Result<TimestampMs, ApiError> {
        self.instant(name)?.ok_or_else(|| bad_time(name, ""))
    }

    /// `start` and `end`; all time where they are left out.
    pub fn range(&self) -> Result<TimeRange, ApiError> {
        let start = self.instant("start")?.unwrap_or(TimestampMs::MIN);
        let end = self.instant("end")?.unwrap_or(TimestampMs(i64::MAX - 1));
        TimeRange::inclusive(start, end)
            .ok_or_else(|| ApiError::bad_data("invalid parameter \"end\": end timestamp must not be before start time"))
    }

    pub fn limit(&self) -> Result<usize, ApiError> {
        self.number("limit")
    }

    /// A number of things; 0 where nothing is said.
    pub fn number(&self, name: &str) -> Result<usize, ApiError> {
        let Some(text) = self.get(name) else { return Ok(0) };
        text.parse().map_err(|_| ApiError::bad_data(format!("invalid parameter {name:?}: cannot parse {text:?}")))
    }

    /// A length of time.
    fn duration(&self, name: &str) -> Result<Option<Duration>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let bad =
            || ApiError::bad_data(format!("invalid parameter {name:?}: cannot parse {text:?} to a valid duration"));
        params::step(text).map(Some).ok_or_else(bad)
    }
}

fn bad_time(name: &str, text: &str) -> ApiError {
    ApiError::bad_data(format!("invalid parameter {name:?}: cannot parse {text:?} to a valid timestamp"))
}

/// What Prometheus answers when it has no data: `errorType` and `error`.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

impl ApiError {
    pub fn bad_data(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, kind: "bad_data", message: message.into() }
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, kind: "internal", message: message.into() }
    }
}

impl From<QueryFailure> for ApiError {
    fn from(failure: QueryFailure) -> Self {
        let message = match &failure {
            QueryFailure::BadData(why) => format!("invalid parameter \"query\": {why}"),
            other => other.to_string(),
        };
        let (status, kind) = match failure {
            QueryFailure::BadData(_) => (StatusCode::BAD_REQUEST, "bad_data"),
            QueryFailure::Execution(_) => (StatusCode::UNPROCESSABLE_ENTITY, "execution"),
            QueryFailure::Timeout(_) => (StatusCode::SERVICE_UNAVAILABLE, "timeout"),
            QueryFailure::Cancelled => (StatusCode::SERVICE_UNAVAILABLE, "canceled"),
            QueryFailure::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        Self { status, kind, message }
    }
}

impl From<BackendError> for ApiError {
    fn from(error: BackendError) -> Self {
        let message = error.to_string();
        let (status, kind) = match error {
            BackendError::NotFound { .. } => (StatusCode::NOT_FOUND, "not_found"),
            BackendError::Invalid { .. } | BackendError::Conflict { .. } => (StatusCode::BAD_REQUEST, "bad_data"),
            BackendError::Unavailable { .. } => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            BackendError::Failed { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        Self { status, kind, message }
    }
}

impl From<belfry_model::read::ReadError> for ApiError {
    fn from(error: belfry_model::read::ReadError) -> Self {
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, kind: "execution", message: error.to_string() }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({"status": "error", "errorType": self.kind, "error": self.message});
        (self.status, Json(body)).into_response()
    }
}

pub(crate) fn success(data: Value) -> Response {
    Json(json!({"status": "success", "data": data})).into_response()
}

async fn query(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let p = Parameters::of(request).await?;
    let at = p.instant("time")?.unwrap_or_else(|| app.backend.now());
    evaluate(&app, &p, QueryTime::Instant(at)).await
}

async fn query_range(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let p = Parameters::of(request).await?;
    let (start, end) = (p.needed_instant("start")?, p.needed_instant("end")?);
    if end < start {
        return Err(ApiError::bad_data("invalid parameter \"end\": end timestamp must not be before start time"));
    }
    let text = p.get("step").unwrap_or("");
    let step = params::step(text).ok_or_else(|| {
        ApiError::bad_data(format!(
            "invalid parameter \"step\": cannot parse {text:?} to a valid duration; zero or negative query resolution \
             step widths are not accepted. Try a positive integer"
        ))
    })?;
    if (end.0 - start.0) / step.as_millis() as i64 > STEPS_MAX {
        return Err(ApiError::bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ));
    }
    evaluate(&app, &p, QueryTime::Range { start, end, step }).await
}

async fn evaluate(app: &App, p: &Parameters, time: QueryTime) -> Result<Response, ApiError> {
    let expression = p.get("query").unwrap_or("");
    let limit = p.limit()?;
    let options = QueryOptions { lookback: p.duration("lookback_delta")? };
    let asked = app.backend.query(expression, time, options);
    let asked = match p.duration("timeout")? {
        None => asked.await?,
        Some(timeout) => tokio::time::timeout(timeout, asked)
            .await
            .map_err(|_| QueryFailure::Timeout("query timed out in expression evaluation".into()))??,
    };
    let stats = p.get("stats").map(|_| statistics(&asked));
    let answer = asked.answer;
    let mut warnings = answer.warnings;
    let (kind, result) = render(&answer.value, limit, &mut warnings);
    let mut body = Map::new();
    body.insert("status".into(), "success".into());
    let mut data = json!({"resultType": kind, "result": result});
    if let Some(stats) = stats {
        data["stats"] = stats;
    }
    body.insert("data".into(), data);
    if !warnings.is_empty() {
        body.insert("warnings".into(), warnings.into());
    }
    if !answer.infos.is_empty() {
        body.insert("infos".into(), answer.infos.into());
    }
    Ok(Json(Value::Object(body)).into_response())
}

/// As Prometheus gives them for `stats=1`; `stats=all` adds nothing here, because samples are read by series and not by
/// step. For the same reason a sample that several steps look at counts once.
fn statistics(asked: &QueryAnswer) -> Value {
    let t = asked.timings;
    json!({
        "timings": {
            "evalTotalTime": (t.prepared + t.evaluated).as_secs_f64(),
            // Series are in order as they are evaluated.
            "resultSortTime": 0.0,
            "queryPreparationTime": t.prepared.as_secs_f64(),
            "innerEvalTime": t.evaluated.as_secs_f64(),
            "execQueueTime": t.queued.as_secs_f64(),
            "execTotalTime": t.total.as_secs_f64(),
        },
        "samples": {
            "totalQueryableSamples": asked.answer.samples_read,
            "peakSamples": asked.answer.points_peak,
        },
    })
}

fn render(value: &QueryValue, limit: usize, warnings: &mut Vec<String>) -> (&'static str, Value) {
    let keep = |n: usize, warnings: &mut Vec<String>| {
        if limit == 0 || n <= limit {
            return n;
        }
        warnings.push("results truncated due to limit".to_owned());
        limit
    };
    match value {
        QueryValue::Scalar(at, v) => ("scalar", json!([seconds(*at), number(*v)])),
        QueryValue::String(at, s) => ("string", json!([seconds(*at), s])),
        QueryValue::Vector(points) => {
            let n = keep(points.len(), warnings);
            let row = |p: &belfry_promql::VectorPoint| match &p.value {
                PointValue::Float(v) => json!({"metric": p.labels, "value": [seconds(p.at), number(*v)]}),
                PointValue::Histogram(h) => json!({"metric": p.labels, "histogram": [seconds(p.at), histogram(h)]}),
            };
            ("vector", points[..n].iter().map(row).collect())
        }
        QueryValue::Matrix(rows) => {
            let n = keep(rows.len(), warnings);
            ("matrix", rows[..n].iter().map(matrix_row).collect())
        }
    }
}

fn matrix_row(row: &belfry_promql::MatrixRow) -> Value {
    let mut values = Vec::new();
    let mut histograms = Vec::new();
    for (at, value) in &row.points {
        match value {
            PointValue::Float(v) => values.push(json!([seconds(*at), number(*v)])),
            PointValue::Histogram(h) => histograms.push(json!([seconds(*at), histogram(h)])),
        }
    }
    let mut out = Map::new();
    out.insert("metric".into(), json!(row.labels));
    if !values.is_empty() {
        out.insert("values".into(), values.into());
    }
    if !histograms.is_empty() {
        out.insert("histograms".into(), histograms.into());
    }
    Value::Object(out)
}

/// Seconds with milliseconds, a whole number where it is one.
pub(crate) fn seconds(at: TimestampMs) -> Value {
    if at.0 % 1_000 == 0 { json!(at.0 / 1_000) } else { json!(at.as_secs_f64()) }
}

/// As Go's `strconv.FormatFloat` writes it: the shortest text that is read back the same.
pub(crate) fn number(v: f64) -> String {
    if v.is_nan() {
        return "NaN".to_owned();
    }
    if v.is_infinite() {
        return if v > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let magnitude = v.abs();
    if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        // Go writes at least two digits of exponent, with its sign.
        let text = format!("{v:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |d| ('-', d));
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    format!("{v}")
}

/// `count`, `sum` and the filled buckets as `[boundary rule, low, high, count]` (0 open left, 1 open right, 3 closed).
fn histogram(h: &belfry_model::Histogram) -> Value {
    let mut buckets = Vec::new();
    let mut negative = exponential(h.schema, &h.negative_spans, &h.negative_counts);
    negative.reverse();
    for (low, high, count) in negative.into_iter().filter(|b| b.2 != 0.0) {
        buckets.push(json!([1, number(-high), number(-low), number(count)]));
    }
    if h.zero_count != 0.0 {
        buckets.push(json!([3, number(-h.zero_threshold), number(h.zero_threshold), number(h.zero_count)]));
    }
    let positive = if h.schema == belfry_model::Histogram::CUSTOM_BOUNDS {
        custom(&h.custom_bounds, &h.positive_spans, &h.positive_counts)
    } else {
        exponential(h.schema, &h.positive_spans, &h.positive_counts)
    };
    for (low, high, count) in positive.into_iter().filter(|b| b.2 != 0.0) {
        let rule = if low.is_infinite() { 3 } else { 0 };
        buckets.push(json!([rule, number(low), number(high), number(count)]));
    }
    let mut out = Map::new();
    out.insert("count".into(), number(h.count).into());
    out.insert("sum".into(), number(h.sum).into());
    if !buckets.is_empty() {
        out.insert("buckets".into(), buckets.into());
    }
    Value::Object(out)
}

fn indexed(spans: &[belfry_model::sample::Span], counts: &[f64]) -> Vec<(i32, f64)> {
    let mut index = 0_i32;
    let mut all = counts.iter();
    let mut out = Vec::with_capacity(counts.len());
    for span in spans {
        index = index.saturating_add(span.offset);
        for _ in 0..span.length {
            let Some(count) = all.next() else { return out };
            out.push((index, *count));
            index = index.saturating_add(1);
        }
    }
    out
}

/// Bucket `i` covers `(base^(i-1), base^i]` with `base = 2^(2^-schema)`.
fn exponential(schema: i32, spans: &[belfry_model::sample::Span], counts: &[f64]) -> Vec<(f64, f64, f64)> {
    let bound = |i: i32| f64::from(i) * 2f64.powi(schema.saturating_neg());
    let edges = |i: i32| (bound(i.saturating_sub(1)).exp2(), bound(i).exp2());
    indexed(spans, counts).into_iter().map(|(i, n)| (edges(i).0, edges(i).1, n)).collect()
}

fn custom(bounds: &[f64], spans: &[belfry_model::sample::Span], counts: &[f64]) -> Vec<(f64, f64, f64)> {
    let edge = |i: i32| usize::try_from(i).ok().and_then(|i| bounds.get(i).copied());
    let low = |i: i32| if i <= 0 { f64::NEG_INFINITY } else { edge(i - 1).unwrap_or(f64::INFINITY) };
    indexed(spans, counts).into_iter().map(|(i, n)| (low(i), edge(i).unwrap_or(f64::INFINITY), n)).collect()
}

/// `match[]`, `start` and `end`. Without matchers every series is meant.
pub(crate) fn selection(p: &Parameters, needed: bool) -> Result<(Vec<Vec<Matcher>>, TimeRange), ApiError> {
    let mut sets = Vec::new();
    for text in p.all("match[]") {
        sets.push(
            belfry_promql::parse_selector(text)
                .map_err(|e| ApiError::bad_data(format!("invalid parameter \"match[]\": {e}")))?,
        );
    }
    if needed && sets.is_empty() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    if sets.is_empty() {
        sets.push(Vec::new());
    }
    let range = p.range()?;
    Ok((sets, range))
}

async fn series(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let p = Parameters::of(request).await?;
    let (sets, range) = selection(&p, true)?;
    let limit = p.limit()?;
    let reader = app.backend.reader();
    let mut all = Vec::new();
    for matchers in &sets {
        all.extend(reader.series(matchers, range, one_more(limit)).await?);
    }
    Ok(listed(all, limit))
}

async fn labels(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let p = Parameters::of(request).await?;
    let (sets, range) = selection(&p, false)?;
    let limit = p.limit()?;
    let reader = app.backend.reader();
    let mut all = Vec::new();
    for matchers in &sets {
        all.extend(reader.label_names(matchers, range, one_more(limit)).await?);
    }
    Ok(listed(all, limit))
}

async fn label_values(
    State(app): State<App>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let p = Parameters::of(request).await?;
    let (sets, range) = selection(&p, false)?;
    let (name, limit) = (unescaped(&name).unwrap_or(name), p.limit()?);
    let reader = app.backend.reader();
    let mut all = Vec::new();
    for matchers in &sets {
        all.extend(reader.label_values(&name, matchers, range, one_more(limit)).await?);
    }
    Ok(listed(all, limit))
}

/// The name behind `U__label_2e_with_2e_dots`: how one that a path cannot carry is escaped.
/// <https://prometheus.io/docs/prometheus/latest/querying/api/#querying-label-values>
fn unescaped(name: &str) -> Option<String> {
    let mut rest = name.strip_prefix("U__")?;
    let mut out = String::new();
    while let Some((plain, after)) = rest.split_once('_') {
        out.push_str(plain);
        if let Some(after) = after.strip_prefix('_') {
            out.push('_');
            rest = after;
        } else {
            let (code, after) = after.split_once('_')?;
            out.push(char::from_u32(u32::from_str_radix(code, 16).ok()?)?);
            rest = after;
        }
    }
    out.push_str(rest);
    Some(out)
}

async fn metadata(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let p = Parameters::of(request).await?;
    let (limit, per_metric) = (p.limit()?, p.number("limit_per_metric")?);
    let mut by_metric: HashMap<String, Vec<Value>> = HashMap::new();
    for m in app.backend.reader().metadata(p.get("metric")).await? {
        if limit > 0 && by_metric.len() >= limit && !by_metric.contains_key(&m.name) {
            break;
        }
        let all = by_metric.entry(m.name).or_default();
        if per_metric == 0 || all.len() < per_metric {
            all.push(json!({"type": m.kind.as_str(), "help": m.help, "unit": m.unit}));
        }
    }
    Ok(success(json!(by_metric)))
}

/// Whether there is more than is answered shows only when more is asked for.
fn one_more(limit: usize) -> usize {
    if limit == 0 { 0 } else { limit.saturating_add(1) }
}

/// In order, each once, and no more than the limit: then it says so.
fn listed<T: Ord + serde::Serialize>(mut all: Vec<T>, limit: usize) -> Response {
    all.sort();
    all.dedup();
    if limit == 0 || all.len() <= limit {
        return success(json!(all));
    }
    all.truncate(limit);
    Json(json!({"status": "success", "data": all, "warnings": ["results truncated due to limit"]})).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_label_names_are_read_as_prometheus_writes_them() {
        for (escaped, name) in [
            ("U__label_2e_with_2e_dots", Some("label.with.dots")),
            ("U__a__b", Some("a_b")),
            ("U__h_e9_llo", Some("héllo")),
            ("U__bad_zz_", None),
            ("U__bad_2e", None),
            ("plain", None),
        ] {
            assert_eq!(unescaped(escaped).as_deref(), name, "{escaped}");
        }
    }

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        for (v, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.5, "1.5"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.5e-7, "1.5e-07"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(number(v), text);
        }
    }

    #[test]
    fn statistics_have_prometheus_members_in_seconds() {
        let value = QueryValue::Scalar(TimestampMs(0), 1.0);
        let answer =
            belfry_promql::Answer { value, warnings: Vec::new(), infos: Vec::new(), samples_read: 7, points_peak: 3 };
        let timings = crate::backend::QueryTimings {
            queued: Duration::from_millis(250),
            prepared: Duration::from_millis(500),
            evaluated: Duration::from_millis(1_000),
            total: Duration::from_millis(1_750),
        };
        assert_eq!(
            statistics(&QueryAnswer { answer, timings }),
            json!({
                "timings": {
                    "evalTotalTime": 1.5, "resultSortTime": 0.0, "queryPreparationTime": 0.5, "innerEvalTime": 1.0,
                    "execQueueTime": 0.25, "execTotalTime": 1.75,
                },
                "samples": {"totalQueryableSamples": 7, "peakSamples": 3},
            })
        );
    }

    #[test]
    fn a_histogram_lists_its_filled_buckets_from_low_to_high() {
        let h = belfry_model::Histogram {
            schema: 0,
            count: 4.0,
            sum: 3.0,
            zero_threshold: 0.5,
            zero_count: 1.0,
            positive_spans: vec![belfry_model::sample::Span { offset: 0, length: 2 }],
            positive_counts: vec![1.0, 1.0],
            negative_spans: vec![belfry_model::sample::Span { offset: 0, length: 1 }],
            negative_counts: vec![1.0],
            ..Default::default()
        };
        assert_eq!(
            histogram(&h)["buckets"],
            json!([[1, "-1", "-0.5", "1"], [3, "-0.5", "0.5", "1"], [0, "0.5", "1", "1"], [0, "1", "2", "1"]])
        );
    }
}
