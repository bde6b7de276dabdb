//! Prometheus' HTTP API: queries and what is known of series, in Prometheus' JSON.
//! <https://prometheus.io/docs/prometheus/latest/querying/api/>

use std::collections::HashMap;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use belfry_model::read::ReadError;
use belfry_model::{Matcher, TimeRange, TimestampMs};
use belfry_promql::syntax::quote;
use belfry_promql::workers::{Alone, Workers};
use belfry_promql::{Answer, QueryTime};
use serde_json::{Value, json};

use crate::App;
use crate::backend::{BackendError, QueryAnswer, QueryFailure, QueryOptions};
use crate::{form, result_json};

pub(crate) use crate::parameters::Parameters;

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

    /// More was sent than is read.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self { status: StatusCode::PAYLOAD_TOO_LARGE, kind: "bad_data", message: message.into() }
    }

    /// What went wrong, in words.
    pub fn message(&self) -> &str {
        &self.message
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
            QueryFailure::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
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

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        let (status, kind) = match error {
            ReadError::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            _ => (StatusCode::UNPROCESSABLE_ENTITY, "execution"),
        };
        Self { status, kind, message: error.to_string() }
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
    let step = p.step()?;
    if end.0.saturating_sub(start.0) / step.as_millis() as i64 > STEPS_MAX {
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
    let asked = match p.timeout()? {
        None => asked.await?,
        Some(timeout) => tokio::time::timeout(timeout, asked)
            .await
            .map_err(|_| QueryFailure::Timeout("query timed out in expression evaluation".into()))??,
    };
    let stats = stats.map(|which| statistics(&asked, which == "all"));
    if result_json::points(&asked.answer.value) < POINTS_AT_ONCE {
        return Ok(body(&asked.answer, limit, stats, &Alone));
    }
    let workers = app.backend.workers();
    // Others wait on this thread.
    tokio::task::spawn_blocking(move || body(&asked.answer, limit, stats, &*workers))
        .await
        .map_err(|e| ApiError::internal(format!("the answer cannot be written: {e}")))
}

fn body(answer: &Answer, limit: usize, stats: Option<Value>, workers: &dyn Workers) -> Response {
    let Answer { value, infos, .. } = answer;
    let mut warnings = answer.warnings.clone();
    let limit = if limit == 0 { usize::MAX } else { limit };
    if result_json::series(value).is_some_and(|n| n > limit) {
        warnings.push("results truncated due to limit".to_owned());
    }
    let mut out = Vec::new();
    out.extend_from_slice(b"{\"status\":\"success\",\"data\":{\"resultType\":\"");
    out.extend_from_slice(result_json::kind(value).as_bytes());
    out.extend_from_slice(b"\",\"result\":");
    result_json::write(value, limit, workers, &mut out);
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
    for (name, kind, texts) in [("warnings", "warning", warnings), ("infos", "info", infos.clone())] {
        if !texts.is_empty() {
            member(&mut out, name, json!(annotations(kind, texts)));
        }
    }
    out.push(b'}');
    ([(CONTENT_TYPE, "application/json")], out).into_response()
}

/// Warnings, or infos, of an answer: Prometheus sends no more of each.
const ANNOTATIONS_MAX: usize = 10;

/// The first of them, and how many more there are, as Prometheus says it. What is said of the samples that were read comes
/// before what is said of the expression: it is rare, and no other request says it.
fn annotations(kind: &str, mut texts: Vec<String>) -> Vec<String> {
    let more = texts.len().saturating_sub(ANNOTATIONS_MAX);
    if more > 0 {
        texts.sort_by_key(|t| t.starts_with("PromQL "));
        texts.truncate(ANNOTATIONS_MAX);
        texts.push(format!("{more} more {kind} annotations omitted"));
    }
    texts
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
        let mut buffer = zmij::Buffer::new();
        let text = buffer.format_finite(v);
        let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
        let digits = exponent.trim_start_matches(['+', '-']);
        let sign = if exponent.starts_with('-') { '-' } else { '+' };
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    belfry_promql::syntax::number(v)
}

/// `match[]`, `start` and `end`. Without matchers every series is meant; no time at all, where the end is before the
/// start, has no series: Prometheus answers so.
pub(crate) fn selection(p: &Parameters, needed: bool) -> Result<(Vec<Vec<Matcher>>, TimeRange), ApiError> {
    p.whole()?;
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
    Ok(listed(all, limit, missing(&app, &sets, range)))
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
    Ok(listed(all, limit, missing(&app, &sets, range)))
}

async fn label_values(
    State(app): State<App>,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let Ok(Path(name)) = name else {
        return Err(ApiError::bad_data(format!("invalid label name: {}", shown_name(request.uri().path()))));
    };
    let p = Parameters::of(request).await?;
    let (sets, range) = selection(&p, false)?;
    let (name, limit) = (unescaped(&name).unwrap_or(name), p.limit()?);
    let reader = app.backend.reader();
    let mut all = Vec::new();
    for matchers in &sets {
        all.extend(reader.label_values(&name, matchers, range, one_more(limit)).await?);
    }
    Ok(listed(all, limit, missing(&app, &sets, range)))
}

/// The name within `/label/{name}/values` where it is no UTF-8, as Go quotes it.
fn shown_name(path: &str) -> String {
    let name = path.strip_suffix("/values").unwrap_or(path).rsplit('/').next().unwrap_or("");
    let bytes = form::percent_decoded(name.as_bytes()).unwrap_or_else(|_| name.as_bytes().to_vec());
    let token: String = bytes.iter().map(|b| format!("\\x{b:02x}")).collect();
    quote::quote(&quote::unquote(&format!("\"{token}\"")).unwrap_or_default())
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
    let limit = p.count("limit")?.unwrap_or(usize::MAX);
    let per_metric = p.count("limit_per_metric")?.filter(|n| *n > 0).unwrap_or(usize::MAX);
    let mut by_metric: HashMap<String, Vec<Value>> = HashMap::new();
    for m in app.backend.reader().metadata(p.get("metric")).await? {
        if by_metric.len() >= limit && !by_metric.contains_key(&m.name) {
            break;
        }
        let all = by_metric.entry(m.name).or_default();
        if all.len() < per_metric {
            all.push(json!({"type": m.kind.as_str(), "help": m.help, "unit": m.unit}));
        }
    }
    Ok(success(json!(by_metric)))
}

/// Whether there is more than is answered shows only when more is asked for.
fn one_more(limit: usize) -> usize {
    if limit == 0 { 0 } else { limit.saturating_add(1) }
}

/// To be asked for behind the reading: that may be what finds the damage.
fn missing(app: &App, sets: &[Vec<Matcher>], range: TimeRange) -> Vec<String> {
    if sets.is_empty() { Vec::new() } else { app.backend.missing(range) }
}

/// In order, each once, and no more than the limit: then it says so.
fn listed<T: Ord + serde::Serialize>(mut all: Vec<T>, limit: usize, mut warnings: Vec<String>) -> Response {
    all.sort();
    all.dedup();
    if limit > 0 && all.len() > limit {
        all.truncate(limit);
        warnings.push("results truncated due to limit".to_owned());
    }
    let mut answer = json!({"status": "success", "data": all});
    if !warnings.is_empty() {
        answer["warnings"] = warnings.into();
    }
    Json(answer).into_response()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use belfry_promql::Usage;

    use super::*;
    use crate::testing::Fake;

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
    fn what_is_away_is_unavailable_and_no_fault_of_the_query() {
        let of = |error: ApiError| (error.status.as_u16(), error.kind);
        let away = || ReadError::Unavailable("refused".to_owned());
        assert_eq!(of(away().into()), (503, "unavailable"));
        assert_eq!(of(QueryFailure::Unavailable(away().to_string()).into()), (503, "unavailable"));
        assert_eq!(of(ReadError::TooManySeries { limit: 1 }.into()), (422, "execution"));
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
            (2f64.powi(-25), "2.9802322387695312e-08"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(number(v), text);
        }
    }

    #[test]
    fn ten_annotations_are_sent_and_the_others_counted() {
        let some = |n: usize| (0..n).map(|i| format!("PromQL warning: {i:02}")).collect::<Vec<_>>();
        assert_eq!(annotations("warning", some(10)), some(10));
        let cut = annotations("warning", some(13));
        assert_eq!((&cut[..10], &*cut[10], cut.len()), (&some(10)[..], "3 more warning annotations omitted", 11));
        let lost = "samples are missing from this answer: x".to_owned();
        let cut = annotations("info", some(10).into_iter().chain([lost.clone()]).collect());
        assert_eq!((&cut[0], &*cut[10]), (&lost, "1 more info annotations omitted"));
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
        let asked = QueryAnswer { answer: Arc::new(answer), usage, timings };
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
    const DELETE: &str = "/api/v1/admin/tsdb/delete_series?match[]=up";

    #[tokio::test]
    async fn parameters_of_the_url_are_enough_for_a_post_and_a_put() {
        let mut fake = Fake::at(TimestampMs(1_000));
        fake.float(&[("__name__", "temp")], 500, 1.0);
        fake.float(&[("__name__", "up")], 500, 1.0);
        let asked = fake.ask("POST", "/api/v1/query?query=2", &[], "").await;
        assert_eq!((asked.status, &asked.json()["data"]["result"][1]), (200, &json!("2")));
        let both = fake.ask("POST", "/api/v1/query?query=2", &[Fake::FORM], "query=3").await;
        assert_eq!(both.json()["data"]["result"][1], "3", "the form decides");
        let json_body = ("content-type", "application/json");
        let other = fake.ask("POST", "/api/v1/query?query=2", &[json_body], "{\"query\":3}").await;
        assert_eq!(other.json()["data"]["result"][1], "2", "no form");
        let series = fake.ask("POST", "/api/v1/series?match[]=temp", &[], "").await;
        assert_eq!(series.json()["data"], json!([{"__name__": "temp"}]));
        let series = fake.ask("POST", "/api/v1/series?match[]=temp", &[Fake::FORM], "match[]=up").await;
        assert_eq!(series.json()["data"], json!([{"__name__": "temp"}, {"__name__": "up"}]));
        for method in ["POST", "PUT"] {
            assert_eq!(fake.ask(method, DELETE, &[Fake::TOKEN], "").await.status, 204, "{method}");
            assert_eq!(fake.ask(method, "/api/v1/admin/tsdb/snapshot", &[Fake::TOKEN], "").await.status, 200);
            assert_eq!(fake.ask(method, "/api/v1/admin/tsdb/clean_tombstones", &[Fake::TOKEN], "").await.status, 204);
        }
        assert_eq!(*fake.deletions.lock().unwrap(), 2);
    }

    #[tokio::test]
    async fn nothing_is_deleted_by_a_request_that_cannot_be_read_in_full() {
        let fake = Fake::at(TimestampMs(1_000));
        for more in ["&end=%zz", "&match[]=%zz", "&start=x", "&a;b=1"] {
            let refused = fake.ask("POST", &format!("{DELETE}{more}"), &[Fake::TOKEN], "").await;
            assert_eq!((refused.status, &refused.json()["errorType"]), (400, &json!("bad_data")), "{more}");
        }
        assert_eq!(*fake.deletions.lock().unwrap(), 0);
    }

    #[tokio::test]
    async fn a_form_of_some_mebibytes_is_taken_and_one_above_ten_is_too_large() {
        let fake = Fake::at(TimestampMs(1_000));
        let form = |bytes: usize| format!("query=1&pad={}", "x".repeat(bytes));
        assert_eq!(fake.ask("POST", "/api/v1/query", &[Fake::FORM], form(3 << 20)).await.status, 200);
        let refused = fake.ask("POST", "/api/v1/query", &[Fake::FORM], form(10 << 20)).await;
        assert_eq!(refused.status, 413);
        assert_eq!(
            refused.json(),
            json!({
                "status": "error", "errorType": "bad_data",
                "error": "error parsing form values: http: POST too large",
            })
        );
    }

    #[tokio::test]
    async fn a_label_name_that_is_no_utf_8_is_refused_as_json() {
        for (name, shown) in [("%FF", "\\xff"), ("a%FFb%22", "a\\xffb\\\"")] {
            let refused = Fake::at(TimestampMs(1_000)).get(&format!("/api/v1/label/{name}/values")).await;
            assert_eq!(refused.status, 400);
            assert_eq!(refused.json()["error"], format!("invalid label name: \"{shown}\""));
        }
    }

    #[tokio::test]
    async fn lists_say_that_a_part_of_the_store_cannot_be_read() {
        let mut fake = Fake::at(TimestampMs(1_000));
        fake.float(&[("__name__", "up"), ("job", "a")], 500, 1.0);
        fake.float(&[("__name__", "up"), ("job", "b")], 500, 1.0);
        let lost = "samples are missing from this answer: block 7";
        let paths = ["series?match[]=up&", "labels?", "label/job/values?"].map(|p| format!("/api/v1/{p}"));
        for path in &paths {
            assert_eq!(fake.get(path).await.json()["warnings"], Value::Null, "{path}");
        }
        fake.missing.push((TimeRange::inclusive(TimestampMs(0), TimestampMs(600_000)).unwrap(), lost.to_owned()));
        for path in &paths {
            assert_eq!(fake.get(path).await.json()["warnings"], json!([lost]), "{path}");
            let both = fake.get(&format!("{path}limit=1")).await.json();
            assert_eq!(both["warnings"], json!([lost, "results truncated due to limit"]), "{path}");
            let elsewhere = fake.get(&format!("{path}start=601&end=602")).await.json();
            assert_eq!(elsewhere["warnings"], Value::Null, "{path}");
            let never = fake.get(&format!("{path}start=2&end=1")).await.json();
            assert_eq!(never["warnings"], Value::Null, "{path}");
        }
    }

    #[tokio::test]
    async fn times_as_far_apart_as_they_can_be_are_too_many_steps() {
        let path = "/api/v1/query_range?query=up&start=-9.1e15&end=9.1e15&step=1";
        let refused = Fake::at(TimestampMs(1_000)).get(path).await;
        assert_eq!(refused.status, 400);
        assert!(refused.body.contains("exceeded maximum resolution of 11,000 points"), "{}", refused.body);
    }

    #[tokio::test]
    async fn metadata_is_cut_off_where_a_limit_says_so() {
        let mut fake = Fake::at(TimestampMs(1_000));
        let metadata = |name: &str| belfry_model::MetricMetadata {
            name: name.into(),
            kind: belfry_model::MetricKind::Gauge,
            unit: String::new(),
            help: String::new(),
        };
        fake.metadata = vec![metadata("a"), metadata("b"), metadata("b")];
        for (query, metrics, entries) in
            [("", 2, 3), ("limit=1", 1, 1), ("limit=0", 0, 0), ("limit=-1", 2, 3), ("limit_per_metric=1", 2, 2)]
        {
            let all = fake.get(&format!("/api/v1/metadata?{query}")).await.json();
            let all = all["data"].as_object().expect("metrics");
            let n: usize = all.values().map(|v| v.as_array().map_or(0, Vec::len)).sum();
            assert_eq!((all.len(), n), (metrics, entries), "{query}");
        }
        assert_eq!(fake.get("/api/v1/metadata?limit=x").await.json()["error"], "limit must be a number");
    }
}
