//! The routes.
//!
//! Invariant: a body is bounded before it is read and again before it is unfolded. An answer of 4xx means that sending
//! the same again cannot help; 503 that it can.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http_body_util::BodyExt as _;
use tokio::sync::SemaphorePermit;

use super::intake::{Version, unfolded_length};
use super::outcome::{Failed, Failure, Refusals, Written, cut};
use super::{BODY_BYTES_MAX, Push};

/// A body must have come within this: a slow one holds room that others need.
pub(super) const BODY_WITHIN: Duration = Duration::from_secs(30);
/// Bytes of the longest answer: senders log it.
const ANSWER_BYTES_MAX: usize = 1024;
/// After so many seconds a sender that was sent away may come again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

const SAMPLES_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-samples-written");
const HISTOGRAMS_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-histograms-written");
const EXEMPLARS_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-exemplars-written");

/// Receivers. The server they are merged into guards them.
pub fn routes(push: Arc<Push>) -> Router {
    Router::new().route("/api/v1/write", post(write)).with_state(push)
}

pub(super) async fn write(State(push): State<Arc<Push>>, request: Request) -> Response {
    let version = match version(request.headers()) {
        Ok(version) => version,
        Err(failure) => return refuse(&failure),
    };
    let outcome = receive(&push, version, request).await;
    match outcome {
        Ok((written, refused)) => answer(version, written, &refused),
        Err(Failed { failure, written }) => {
            if failure == Failure::Busy {
                push.counts.shed.fetch_add(1, Ordering::Relaxed);
            }
            tracing::debug!(%failure, "a remote write was refused");
            let mut response = refuse(&failure);
            tell(version, written, response.headers_mut());
            response
        }
    }
}

async fn receive(push: &Arc<Push>, version: Version, request: Request) -> Result<(Written, Refusals), Failed> {
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    let most = announced.unwrap_or(BODY_BYTES_MAX);
    if most > BODY_BYTES_MAX {
        return Err(too_large(BODY_BYTES_MAX).into());
    }
    let mut permit = room(push, most)?;
    let mut scratch = push.scratch();
    let read = tokio::time::timeout(BODY_WITHIN, read(request.into_body(), &mut scratch.body, BODY_BYTES_MAX)).await;
    let checked = read.unwrap_or(Err(Failure::TooSlow)).and_then(|()| {
        // The bytes themselves, and about as much again for their columns.
        let unfolded = unfolded_length(&scratch.body)?;
        room(push, unfolded.saturating_mul(2))
    });
    match checked {
        Ok(more) => permit.merge(more),
        Err(failure) => {
            push.give_back(scratch);
            return Err(failure.into());
        }
    }
    let outcome = push.take(version, scratch).await;
    drop(permit);
    outcome
}

fn room(push: &Push, bytes: usize) -> Result<SemaphorePermit<'_>, Failure> {
    let kib = u32::try_from(bytes >> 10).unwrap_or(u32::MAX).saturating_add(1);
    push.room.try_acquire_many(kib).map_err(|_| Failure::Busy)
}

/// Reads a body of at most `most` bytes.
pub(super) async fn read(mut body: Body, into: &mut Vec<u8>, most: usize) -> Result<(), Failure> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| Failure::BrokeOff(e.to_string()))?;
        let Some(data) = frame.data_ref() else { continue };
        if into.len() + data.len() > most {
            return Err(too_large(most));
        }
        into.extend_from_slice(data);
    }
    Ok(())
}

pub(super) fn too_large(most: usize) -> Failure {
    Failure::TooLarge(format!("the body is longer than {most} bytes; send smaller ones"))
}

/// Which message the headers announce. Senders of the first hour announce nothing.
fn version(headers: &HeaderMap) -> Result<Version, Failure> {
    let text = |name| headers.get(name).map(|v| v.to_str().unwrap_or("?").trim());
    if let Some(encoding) = text(header::CONTENT_ENCODING)
        && !encoding.is_empty()
        && !encoding.eq_ignore_ascii_case("snappy")
    {
        return Err(unsupported("content encoding", encoding, "snappy"));
    }
    let Some(content_type) = text(header::CONTENT_TYPE).filter(|t| !t.is_empty()) else { return Ok(Version::One) };
    let mut parts = content_type.split(';').map(str::trim);
    let known = "application/x-protobuf, with proto=prometheus.WriteRequest or proto=io.prometheus.write.v2.Request";
    if !parts.next().is_some_and(|t| t.eq_ignore_ascii_case("application/x-protobuf")) {
        return Err(unsupported("content type", content_type, known));
    }
    let proto = parts.filter_map(|p| p.split_once('=')).find(|(name, _)| name.trim().eq_ignore_ascii_case("proto"));
    match proto.map(|(_, value)| value.trim().trim_matches('"')) {
        None | Some("prometheus.WriteRequest") => Ok(Version::One),
        Some("io.prometheus.write.v2.Request") => Ok(Version::Two),
        Some(_) => Err(unsupported("content type", content_type, known)),
    }
}

fn unsupported(what: &str, given: &str, known: &str) -> Failure {
    Failure::Unsupported(format!("the {what} {given:?} is not supported; send {known}"))
}

fn answer(version: Version, written: Written, refused: &Refusals) -> Response {
    let mut response = match refused.any() {
        false => StatusCode::NO_CONTENT.into_response(),
        true => said(StatusCode::BAD_REQUEST, refused),
    };
    tell(version, written, response.headers_mut());
    response
}

/// Version 2 wants to know how much was written, whatever else is answered.
fn tell(version: Version, written: Written, headers: &mut HeaderMap) {
    if version == Version::Two {
        headers.insert(SAMPLES_WRITTEN, written.samples.into());
        headers.insert(HISTOGRAMS_WRITTEN, written.histograms.into());
        headers.insert(EXEMPLARS_WRITTEN, written.exemplars.into());
    }
}

pub(super) fn refuse(failure: &Failure) -> Response {
    let status = match failure {
        Failure::Malformed(_)
        | Failure::NotSnappy(_)
        | Failure::NotGzip(_)
        | Failure::BadQuery(_)
        | Failure::BrokeOff(_) => StatusCode::BAD_REQUEST,
        Failure::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        Failure::Unsupported(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Failure::TooSlow => StatusCode::REQUEST_TIMEOUT,
        // Not 429: Prometheus drops what it is answered to with 429, unless it is told otherwise.
        Failure::Busy | Failure::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    let mut response = said(status, failure);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
    }
    response
}

/// One line of text.
fn said(status: StatusCode, what: &impl Display) -> Response {
    let mut text = cut(what.to_string(), ANSWER_BYTES_MAX);
    text.push('\n');
    (status, text).into_response()
}
