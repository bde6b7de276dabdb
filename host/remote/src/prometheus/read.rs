//! Series back from the engine.
//!
//! Raw samples come by remote read, which is exact: stale markers, native histograms. An engine that has none
//! (VictoriaMetrics) is asked for a range selector at an instant, which gives floats without stale markers.
//!
//! Invariant: an answer longer than the limits allow is not held.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use belfry_model::read::ReadError;
use belfry_model::{
    Exemplar, Labels, Matcher, MetricMetadata, SampleBuf, SelectHints, SelectLimits, SeriesRead, SeriesSet, TimeRange,
    TimestampMs,
};
use belfry_prompb::read;
use http::header::{CONTENT_ENCODING, HeaderName};
use http::{HeaderValue, StatusCode};
use serde::de::DeserializeOwned;
use url::Url;

use super::Shared;
use super::answer::{Collected, unfold};
use super::json::{self, Envelope};
use crate::engine::{EngineAnswer, EngineQueryError, QueryBackend, When};
use crate::http::{Ask, HttpAnswer, HttpError};

/// Bytes of an answer, and of what it unfolds to.
pub(super) const ANSWER_BYTES_MAX: usize = 256 << 20;
/// Bytes of a list of names, values, exemplars or metadata: small texts become large things in memory.
const LIST_BYTES_MAX: usize = 64 << 20;
/// A sample takes about so many bytes of an answer at most.
pub(super) const SAMPLE_BYTES: u64 = 64;
/// And a series' labels.
const SERIES_BYTES: u64 = 8 << 10;

/// `Shared::reads`: not known yet, remote read, or the query API.
const BY_UNKNOWN: u8 = 0;
const BY_REMOTE_READ: u8 = 1;
const BY_QUERY: u8 = 2;

/// Reads from the engine.
pub(super) struct Reader(pub Arc<Shared>);

pub(super) fn away(reason: impl ToString) -> ReadError {
    ReadError::Unavailable(reason.to_string())
}

/// Why nothing was read.
pub(super) struct NotRead {
    pub error: ReadError,
    /// It gave no answer, or one that says "later"; else it would answer the same again.
    pub is_away: bool,
}

impl From<ReadError> for NotRead {
    fn from(error: ReadError) -> Self {
        Self { error, is_away: false }
    }
}

impl From<NotRead> for ReadError {
    fn from(e: NotRead) -> Self {
        e.error
    }
}

/// An answer with this status is none to the question.
fn no_answer(status: StatusCode, reason: impl ToString) -> NotRead {
    let is_later = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status);
    let is_at_fault = status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED;
    NotRead { error: away(reason), is_away: is_later || is_at_fault }
}

/// How long an answer within `limits` may be.
fn bytes_max(limits: SelectLimits) -> usize {
    let samples = limits.samples_max.saturating_mul(SAMPLE_BYTES);
    let all = samples.saturating_add((limits.series_max as u64).saturating_mul(SERIES_BYTES));
    usize::try_from(all).unwrap_or(usize::MAX).clamp(64 << 10, ANSWER_BYTES_MAX)
}

impl Reader {
    fn url(&self, path: &[&str]) -> Result<Url, ReadError> {
        let mut url = self.0.options.read_url.clone();
        let mut segments = url.path_segments_mut().map_err(|()| away("the address cannot have a path"))?;
        segments.pop_if_empty().extend(["api", "v1"]).extend(path);
        drop(segments);
        Ok(url)
    }

    async fn ask(&self, ask: Ask) -> Result<HttpAnswer, NotRead> {
        let limit = ask.answer_bytes_max;
        self.0.client.ask(ask).await.map_err(|e| match e {
            HttpError::TooLarge(_) => ReadError::TooManySamples { limit: limit as u64 / SAMPLE_BYTES }.into(),
            other => NotRead { error: away(other), is_away: true },
        })
    }

    /// `data` of an answer, and its warnings.
    async fn data<T: DeserializeOwned>(&self, ask: Ask) -> Result<(T, Vec<String>), NotRead> {
        let answer = self.ask(ask).await?;
        let parsed = serde_json::from_slice::<Envelope<T>>(&answer.body);
        match parsed {
            Ok(Envelope { status, data: Some(data), warnings, .. }) if status == "success" => Ok((data, warnings.0)),
            Ok(envelope) if !envelope.error.is_empty() => Err(no_answer(answer.status, envelope.error)),
            Err(e) if answer.status.is_success() => Err(away(format!("its answer cannot be read: {e}")).into()),
            _ => Err(no_answer(answer.status, answer.reason())),
        }
    }

    fn form(&self, path: &[&str], pairs: &[(&str, &str)], limit: usize) -> Result<Ask, ReadError> {
        Ok(Ask::form(self.url(path)?, pairs, self.0.options.timeout, limit))
    }

    /// Samples as they are, by the best way that it has.
    pub(super) async fn raw(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        limits: SelectLimits,
    ) -> Result<SeriesSet, NotRead> {
        let by = self.0.reads.load(Ordering::Relaxed);
        if by != BY_QUERY
            && let Some(set) = self.remote_read(matchers, range, limits).await?
        {
            self.0.reads.store(BY_REMOTE_READ, Ordering::Relaxed);
            return Ok(set);
        }
        let set = self.query_read(matchers, range, limits).await?;
        if by == BY_UNKNOWN {
            tracing::info!("the storage engine has no remote read: it is asked by queries");
            self.0.reads.store(BY_QUERY, Ordering::Relaxed);
        }
        Ok(set)
    }

    async fn remote_read(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        limits: SelectLimits,
    ) -> Result<Option<SeriesSet>, NotRead> {
        let query = read::Query {
            start_timestamp_ms: range.start().0,
            end_timestamp_ms: range.end().0 - 1,
            matchers: matchers.iter().map(read::LabelMatcher::from).collect(),
        };
        let request = read::ReadRequest { queries: vec![query], ..read::ReadRequest::default() };
        let packed = belfry_prompb::packed(&request).map_err(away)?;
        let timeout = self.0.options.timeout;
        let ask = Ask::post(self.url(&["read"])?, "application/x-protobuf", packed, timeout, bytes_max(limits))
            .with(CONTENT_ENCODING, HeaderValue::from_static("snappy"))
            .with(HeaderName::from_static("x-prometheus-remote-read-version"), HeaderValue::from_static("0.1.0"));
        let answer = self.ask(ask).await?;
        let is_protobuf = answer.headers.get(http::header::CONTENT_TYPE).map(HeaderValue::as_bytes)
            == Some(b"application/x-protobuf".as_slice());
        if answer.status.is_success() && is_protobuf {
            return Ok(Some(unfold(&answer.body, range, limits)?));
        }
        let known = self.0.reads.load(Ordering::Relaxed) == BY_REMOTE_READ;
        let not_there = answer.status.is_client_error() && ![401, 403, 429].contains(&answer.status.as_u16());
        if known || !(not_there || answer.status.is_success() || answer.status.as_u16() == 501) {
            return Err(no_answer(answer.status, answer.reason()));
        }
        Ok(None)
    }

    async fn query_read(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        limits: SelectLimits,
    ) -> Result<SeriesSet, NotRead> {
        // Left-open, as Prometheus 3 has it: (start - 1, end - 1]. Whatever else comes is cut off.
        let width = range.end().0.saturating_sub(range.start().0);
        let query = format!("{}[{width}ms]", selector(matchers));
        let at = seconds(TimestampMs(range.end().0 - 1));
        let ask = self.form(&["query"], &[("query", &query), ("time", &at)], bytes_max(limits))?;
        let (data, warnings) = self.data::<json::QueryData>(ask).await?;
        let json::QueryData::Matrix(rows) = data else { return Err(away("it did not answer with raw samples").into()) };
        let mut all = Collected::new(limits);
        for row in rows.0 {
            let mut points: Vec<(i64, f64)> = row.values.iter().map(|(at, v)| (json::time(*at).0, v.0)).collect();
            points.retain(|(at, _)| range.contains(TimestampMs(*at)));
            let mut buf = SampleBuf::default();
            for (at, value) in points {
                if buf.times.last().is_none_or(|last| *last < at) {
                    buf.push_float(at, value);
                }
            }
            all.add(row.metric.0, buf)?;
        }
        Ok(all.finish(warnings))
    }
}

/// Matchers as a selector. One that has none, or none that asks for anything, would be refused.
fn selector(matchers: &[Matcher]) -> String {
    let quoted = |text: &str| {
        let escaped = text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
        format!("\"{escaped}\"")
    };
    let one = |m: &Matcher| {
        let plain = belfry_model::labels::is_legacy_name(m.name());
        let name = if plain { m.name().to_owned() } else { quoted(m.name()) };
        format!("{name}{}{}", m.op().as_str(), quoted(m.value()))
    };
    let mut all: Vec<String> = matchers.iter().map(one).collect();
    if matchers.iter().all(|m| m.matches("")) {
        all.push("__name__!=\"\"".to_owned());
    }
    format!("{{{}}}", all.join(","))
}

/// Seconds with milliseconds, exactly.
fn seconds(at: TimestampMs) -> String {
    let sign = if at.0 < 0 { "-" } else { "" };
    let ms = at.0.unsigned_abs();
    format!("{sign}{}.{:03}", ms / 1000, ms % 1000)
}

/// What a list is asked for: first and last time. VictoriaMetrics takes a start of 0 for none, and looks at the last five
/// minutes alone then; nothing of before 1970 is asked for.
fn bounds(range: TimeRange) -> (String, String) {
    (seconds(range.start().max(TimestampMs(1))), seconds(TimestampMs(range.end().0 - 1)))
}

#[async_trait]
impl SeriesRead for Reader {
    async fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        _: &SelectHints,
        limits: SelectLimits,
    ) -> Result<SeriesSet, ReadError> {
        Ok(self.raw(matchers, range, limits).await?)
    }

    async fn series(&self, matchers: &[Matcher], range: TimeRange, limit: usize) -> Result<Vec<Labels>, ReadError> {
        let (start, end) = bounds(range);
        let (selector, most) = (selector(matchers), limit.to_string());
        let pairs = [("match[]", &*selector), ("start", &start), ("end", &end), ("limit", &most)];
        let ask = self.form(&["series"], if limit == 0 { &pairs[..3] } else { &pairs }, ANSWER_BYTES_MAX)?;
        let (found, _) = self.data::<json::Rows<json::LabelMap>>(ask).await?;
        let mut found: Vec<Labels> = found.0.into_iter().map(|l| l.0).collect();
        found.sort();
        found.dedup();
        Ok(cut(found, limit))
    }

    async fn label_names(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<String>, ReadError> {
        let (start, end) = bounds(range);
        let (selector, most) = (selector(matchers), limit.to_string());
        let mut pairs = vec![("start", &*start), ("end", &*end)];
        if !matchers.is_empty() {
            pairs.push(("match[]", &selector));
        }
        if limit > 0 {
            pairs.push(("limit", &most));
        }
        let (mut found, _) = self.data::<Vec<String>>(self.form(&["labels"], &pairs, LIST_BYTES_MAX)?).await?;
        found.sort();
        Ok(cut(found, limit))
    }

    async fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<String>, ReadError> {
        let mut url = self.url(&["label", name, "values"])?;
        {
            let mut query = url.query_pairs_mut();
            let (start, end) = bounds(range);
            query.append_pair("start", &start).append_pair("end", &end);
            if !matchers.is_empty() {
                query.append_pair("match[]", &selector(matchers));
            }
            if limit > 0 {
                query.append_pair("limit", &limit.to_string());
            }
        }
        let (mut found, _) = self.data::<Vec<String>>(Ask::get(url, self.0.options.timeout, LIST_BYTES_MAX)).await?;
        found.sort();
        Ok(cut(found, limit))
    }

    async fn exemplars(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, ReadError> {
        let (start, end) = bounds(range);
        let pairs = [("query", &*selector(matchers)), ("start", &start), ("end", &end)];
        let (found, _) = self
            .data::<Option<json::Rows<json::ExemplarsOf>>>(self.form(&["query_exemplars"], &pairs, LIST_BYTES_MAX)?)
            .await?;
        let exemplar =
            |e: json::ExemplarOf| Exemplar { labels: e.labels.0, value: e.value.0, at: json::time(e.timestamp) };
        let series = |s: json::ExemplarsOf| (s.series.0, s.exemplars.0.into_iter().map(exemplar).collect::<Vec<_>>());
        let mut found: Vec<_> = found.unwrap_or_default().0.into_iter().map(series).collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    async fn metadata(&self, metric: Option<&str>) -> Result<Vec<MetricMetadata>, ReadError> {
        let mut url = self.url(&["metadata"])?;
        if let Some(metric) = metric {
            url.query_pairs_mut().append_pair("metric", metric);
        }
        let (found, _) = self.data::<json::Metadata>(Ask::get(url, self.0.options.timeout, LIST_BYTES_MAX)).await?;
        let mut all: Vec<MetricMetadata> = found
            .into_iter()
            .filter_map(|(name, of)| {
                let m = of.0.into_iter().next()?;
                Some(MetricMetadata { name, kind: json::kind(&m.r#type), unit: m.unit, help: m.help })
            })
            .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }
}

fn cut<T>(mut all: Vec<T>, limit: usize) -> Vec<T> {
    if limit > 0 {
        all.truncate(limit);
    }
    all
}

#[async_trait]
impl QueryBackend for Reader {
    async fn query(
        &self,
        expression: &str,
        when: When,
        lookback: Option<Duration>,
    ) -> Result<EngineAnswer, EngineQueryError> {
        // VictoriaMetrics hides the last 30 s unless told not to; others do not know the word.
        let mut pairs = vec![("query", expression.to_owned()), ("latency_offset", "1ms".to_owned())];
        let path = match when {
            When::Instant(at) => {
                pairs.push(("time", seconds(at)));
                "query"
            }
            When::Range { start, end, step } => {
                pairs.push(("start", seconds(start)));
                pairs.push(("end", seconds(end)));
                pairs.push(("step", step.as_secs_f64().to_string()));
                // VictoriaMetrics moves the steps to where it can keep their values unless told not to.
                pairs.push(("nocache", "1".to_owned()));
                "query_range"
            }
        };
        if let Some(lookback) = lookback {
            pairs.push(("lookback_delta", lookback.as_secs_f64().to_string()));
            pairs.push(("max_lookback", format!("{}ms", lookback.as_millis())));
        }
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let lost = |e: &dyn std::fmt::Display| EngineQueryError::Away(e.to_string());
        let ask = self.form(&[path], &pairs, ANSWER_BYTES_MAX).map_err(|e| lost(&e))?;
        let answer = match self.0.client.ask(ask).await {
            Ok(answer) => answer,
            // One that is too much for it says nothing of the others.
            Err(e @ (HttpError::TooLarge(_) | HttpError::TimedOut(_))) => {
                return Err(EngineQueryError::NotThis(e.to_string()));
            }
            Err(e) => return Err(lost(&e)),
        };
        let took_too_long = answer.status == 503 && answer.reason().contains("timeout");
        if took_too_long || [400, 413, 422].contains(&answer.status.as_u16()) {
            return Err(EngineQueryError::NotThis(answer.reason()));
        }
        if !answer.status.is_success() {
            return Err(lost(&answer.reason()));
        }
        let envelope = serde_json::from_slice(&answer.body).map_err(|e| EngineQueryError::NotThis(e.to_string()))?;
        json::answer(envelope).map_err(EngineQueryError::NotThis)
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
