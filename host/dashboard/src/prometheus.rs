//! Prometheus' HTTP API: queries and what is known of series, in Prometheus' JSON.
//! <https://prometheus.io/docs/prometheus/latest/querying/api/>

use std::collections::HashMap;
use std::time::Duration;

use axum::extract::{FromRequest as _, Path, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Form, Json, Router};
use belfry_model::{Matcher, TimeRange, TimestampMs};
use belfry_promql::{Answer, QueryTime};
use serde_json::{Value, json};

use crate::App;
use crate::backend::{BackendError, QueryAnswer, QueryFailure, QueryOptions};
use crate::{params, result_json};

/// Steps of a range query: Prometheus' bound.
const STEPS_MAX: i64 = 11_000;
/// A larger answer is written aside: this many points take less than a millisecond.
const POINTS_AT_ONCE: usize = 10_000;

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

    /// `start` and `end`; all time where they are left out. `None` where the end is before the start.
    pub fn range_or_none(&self) -> Result<Option<TimeRange>, ApiError> {
        let start = self.instant("start")?.unwrap_or(TimestampMs::MIN);
        let end = self.instant("end")?.unwrap_or(TimestampMs(i64::MAX - 1));
        Ok(TimeRange::inclusive(start, end))
    }

    /// As [`Parameters::range_or_none`], where an end before the start is refused.
    pub fn range(&self) -> Result<TimeRange, ApiError> {
        self.range_or_none()?.ok_or_else(|| ApiError::bad_data("end timestamp must not be before start timestamp"))
    }

    pub fn limit(&self) -> Result<usize, ApiError> {
        self.number("limit")
    }

    /// A number of things; 0 where nothing is said.
    pub fn number(&self, name: &str) -> Result<usize, ApiError> {
        let Some(text) = self.get(name) else { return Ok(0) };
        text.parse().map_err(|_| ApiError::bad_data(format!("invalid parameter {name:?}: cannot parse {text:?}")))
    }

    /// How far back an instant selector looks. Nothing, or less, means the default.
    fn lookback(&self) -> Result<Option<Duration>, ApiError> {
        let name = "lookback_delta";
        let is_none = |text: &str| match text.parse::<f64>() {
            Ok(seconds) => seconds <= 0.0,
            Err(_) => belfry_model::duration::parse_duration(text).is_ok_and(|d| d.is_zero()),
        };
        if self.get(name).is_some_and(is_none) { Ok(None) } else { self.duration(name) }
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
    let stats = p.get("stats");
    let options = QueryOptions { lookback: p.lookback()?, statistics: stats.is_some() };
    let asked = app.backend.query(expression, time, options);
    let asked = match p.duration("timeout")? {
        None => asked.await?,
        Some(timeout) => tokio::time::timeout(timeout, asked)
            .await
            .map_err(|_| QueryFailure::Timeout("query timed out in expression evaluation".into()))??,
    };
    let stats = stats.map(|which| statistics(&asked, which == "all"));
    if result_json::points(&asked.answer.value) < POINTS_AT_ONCE {
        return Ok(body(asked.answer, limit, stats));
    }
    // Others wait on this thread.
    tokio::task::spawn_blocking(move || body(asked.answer, limit, stats))
        .await
        .map_err(|e| ApiError::internal(format!("the answer cannot be written: {e}")))
}

fn body(answer: Answer, limit: usize, stats: Option<Value>) -> Response {
    let Answer { value, mut warnings, infos, .. } = answer;
    let limit = if limit == 0 { usize::MAX } else { limit };
    if result_json::series(&value).is_some_and(|n| n > limit) {
        warnings.push("results truncated due to limit".to_owned());
    }
    let mut out = Vec::new();
    out.extend_from_slice(b"{\"status\":\"success\",\"data\":{\"resultType\":\"");
    out.extend_from_slice(result_json::kind(&value).as_bytes());
    out.extend_from_slice(b"\",\"result\":");
    result_json::write(&value, limit, &mut out);
    let member = |out: &mut Vec<u8>, name: &str, value: Value| {
        out.push(b',');
        result_json::string(name, out);
        out.push(b':');
        // Writing to memory does not fail.
        let _ = serde_json::to_writer(out, &value);
    };
    if let Some(stats) = stats {
        member(&mut out, "stats", stats);
    }
    out.push(b'}');
    for (name, texts) in [("warnings", warnings), ("infos", infos)] {
        if !texts.is_empty() {
            member(&mut out, name, texts.into());
        }
    }
    out.push(b'}');
    ([(CONTENT_TYPE, "application/json")], out).into_response()
}

/// As Prometheus gives them; `stats=all` adds the samples of each step.
fn statistics(asked: &QueryAnswer, by_step: bool) -> Value {
    let t = asked.timings;
    let steps = &asked.usage.samples_per_step;
    let mut samples = json!({
        "totalQueryableSamples": steps.iter().map(|(_, n)| n).sum::<u64>(),
        "peakSamples": asked.answer.points_peak,
    });
    if by_step && !steps.is_empty() {
        samples["totalQueryableSamplesPerStep"] = steps.iter().map(|(at, n)| json!([seconds(*at), n])).collect();
    }
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
        "samples": samples,
    })
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
    // Where two texts of the shortest length are as near as each other, Go takes the even one; Rust's own does not.
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(v);
    if text.contains('e') { format!("{v}") } else { text.strip_suffix(".0").unwrap_or(text).to_owned() }
}

/// `match[]`, `start` and `end`. Without matchers every series is meant; no time at all, where the end is before the
/// start, has no series: Prometheus answers so.
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
    match p.range_or_none()? {
        Some(range) => Ok((sets, range)),
        None => Ok((Vec::new(), TimeRange::ALL)),
    }
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
    use belfry_promql::Usage;

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
        let value = belfry_promql::QueryValue::Scalar(TimestampMs(0), 1.0);
        let answer = Answer { value, warnings: Vec::new(), infos: Vec::new(), samples_read: 5, points_peak: 3 };
        let samples_per_step = vec![(TimestampMs(1_000), 3), (TimestampMs(2_500), 4)];
        let usage = Usage { samples_per_step, ..Usage::default() };
        let timings = crate::backend::QueryTimings {
            queued: Duration::from_millis(250),
            prepared: Duration::from_millis(500),
            evaluated: Duration::from_millis(1_000),
            total: Duration::from_millis(1_750),
        };
        let asked = QueryAnswer { answer, usage, timings };
        assert_eq!(
            statistics(&asked, true)["samples"],
            json!({"totalQueryableSamples": 7, "peakSamples": 3, "totalQueryableSamplesPerStep": [[1, 3], [2.5, 4]]})
        );
        assert_eq!(
            statistics(&asked, false),
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
    fn a_lookback_of_nothing_is_the_default() {
        let lookback = |text: &str| Parameters(vec![("lookback_delta".to_owned(), text.to_owned())]).lookback();
        for none in ["", "0", "0s", "-5", "0.0"] {
            assert_eq!(lookback(none).ok(), Some(None), "{none}");
        }
        assert_eq!(lookback("90").ok(), Some(Some(Duration::from_secs(90))));
        assert_eq!(lookback("7m").ok(), Some(Some(Duration::from_secs(420))));
        assert!(lookback("long").is_err());
    }
}
