//! The exchange: one request out, its redirects, one answer in, within the plugin's limits.
//!
//! Invariant: every hop is checked like the first; requests at a time, requests of a call and bytes of an answer are
//! bounded; what a failure says carries no secret.
//! Not here: pooling. Each request is a fresh connection: a probe measures what a stranger would, and a plugin calls
//! seldom enough.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::AbortOnDropHandle;
use url::{Position, Url};

use super::connect::{Connect, Phase, READING, Resolve, SystemResolver, Timings, TlsFacts, WAITING, micros};
use super::error::HttpError;
use super::origin::{Origin, OriginPattern};
use super::request::{FilledHeaders, Plan, Request, Response, time_limit};
use super::secrets::{Redactor, Secrets, Target};
use super::stream::BodyStream;
use crate::{Grants, Limits, Secret};

/// More is a loop.
const REDIRECTS_MAX: usize = 10;
/// Bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Bytes of a streamed answer when the plugin names no limit: it reads in pieces, so memory is not at stake.
const STREAM_BYTES_MAX: usize = 64 << 20;

/// Says which trace a request belongs to: a `traceparent` header (W3C Trace Context), if there is one now.
pub type TraceProvider = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// What all plugins' HTTP shares.
#[derive(Clone, Default)]
pub struct HttpSettings {
    /// More certificates to trust than Mozilla's and the system's, in PEM.
    pub ca_file: Option<PathBuf>,
    /// Asked at each request that [`HttpClient::begin_call`] gave no trace.
    pub traces: Option<TraceProvider>,
    /// Instead of the machine's own.
    pub resolver: Option<Arc<dyn Resolve>>,
}

/// Makes the plugins' requests. One per host.
#[derive(Clone)]
pub struct HttpEgress {
    connect: Arc<Connect>,
    traces: Option<TraceProvider>,
}

impl HttpEgress {
    /// Fails when the CA file cannot be read.
    pub fn with(settings: HttpSettings) -> Result<Self, String> {
        let resolver = settings.resolver.unwrap_or_else(|| Arc::new(SystemResolver::default()));
        let mut connect = Connect::new(resolver)?;
        if let Some(path) = &settings.ca_file {
            connect.trust_also(path)?;
        }
        Ok(Self { connect: Arc::new(connect), traces: settings.traces })
    }

    /// For one plugin. Fails when a grant or a secret names something that is no origin.
    pub fn client(
        &self,
        grants: &Grants,
        secrets: &BTreeMap<String, Secret>,
        limits: &Limits,
    ) -> Result<HttpClient, String> {
        let origins = grants.http.iter().map(|text| OriginPattern::parse(text)).collect::<Result<_, _>>()?;
        Ok(HttpClient {
            shared: Arc::new(Shared {
                egress: self.clone(),
                grants: origins,
                secrets: Secrets::new(secrets)?,
                permits: Arc::new(Semaphore::new(limits.http_concurrent.max(1) as usize)),
                requests_max: limits.http_requests,
                response_bytes_max: limits.http_response_bytes,
                requests: AtomicU32::new(0),
                traceparent: Mutex::new(None),
            }),
        })
    }
}

/// One plugin's HTTP.
#[derive(Clone)]
pub struct HttpClient {
    shared: Arc<Shared>,
}

struct Shared {
    egress: HttpEgress,
    grants: Vec<OriginPattern>,
    secrets: Secrets,
    permits: Arc<Semaphore>,
    requests_max: u32,
    response_bytes_max: usize,
    /// Made since the call began.
    requests: AtomicU32,
    traceparent: Mutex<Option<String>>,
}

/// An answer's head, its body still to come.
#[expect(dead_code, reason = "the connection and the permit are held, not read")]
pub(super) struct Answer {
    pub head: hyper::http::response::Parts,
    pub body: Incoming,
    pub timings: Timings,
    pub tls: Option<TlsFacts>,
    pub url: Url,
    pub echoes: Redactor,
    /// Ends the connection when dropped.
    pub connection: AbortOnDropHandle<()>,
    /// Held for as long as the answer is read.
    pub permit: OwnedSemaphorePermit,
    pub started: Instant,
    pub deadline: Instant,
}

impl HttpClient {
    /// A call into the plugin begins: its requests are counted anew and belong to `traceparent`.
    pub fn begin_call(&self, traceparent: Option<String>) {
        self.shared.requests.store(0, Ordering::Relaxed);
        *self.shared.traceparent.lock() = traceparent;
    }

    /// One request, its whole answer.
    pub async fn fetch(&self, request: Request) -> Result<Response, HttpError> {
        let phase = Phase::default();
        self.within(&request, &phase, async {
            let mut answer = self.exchange(&request, &phase).await?;
            phase.enter(READING);
            let bytes_max = request.max_bytes.unwrap_or(usize::MAX).min(self.shared.response_bytes_max);
            let body = read_whole(&mut answer, bytes_max).await?;
            answer.timings.total_us = micros(answer.started);
            Ok(response(&answer, body))
        })
        .await
    }

    /// Side by side; answers in the order of the requests.
    pub async fn fetch_all(&self, requests: Vec<Request>) -> Vec<Result<Response, HttpError>> {
        futures::future::join_all(requests.into_iter().map(|request| self.fetch(request))).await
    }

    /// One request; its answer's body is read piece by piece. The time-out is of the whole, the reading included.
    pub async fn open(&self, request: Request) -> Result<(Response, BodyStream), HttpError> {
        let phase = Phase::default();
        let mut answer = self.within(&request, &phase, self.exchange(&request, &phase)).await?;
        answer.timings.total_us = micros(answer.started);
        let bytes_max = request.max_bytes.unwrap_or(STREAM_BYTES_MAX).min(STREAM_BYTES_MAX);
        Ok((response(&answer, Vec::new()), BodyStream::new(answer, bytes_max)))
    }

    /// Runs `work` within the request's time; takes the secrets out of what a failure says.
    async fn within<T>(
        &self,
        request: &Request,
        phase: &Phase,
        work: impl Future<Output = Result<T, HttpError>>,
    ) -> Result<T, HttpError> {
        let limit = time_limit(request.timeout);
        let result = match tokio::time::timeout(limit, work).await {
            Ok(result) => result,
            Err(_) => Err(HttpError::timeout(format!("no answer within {limit:?}: still {}", phase.name()))),
        };
        result.map_err(|mut error| {
            error.message = self.shared.secrets.redact(&error.message);
            error
        })
    }

    fn count_request(&self) -> Result<(), HttpError> {
        let shared = &self.shared;
        let counted = shared.requests.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |made| {
            (made < shared.requests_max).then_some(made + 1)
        });
        counted.map(drop).map_err(|_| {
            HttpError::limit(format!(
                "more than {} HTTP requests in a call (`limits.http_requests`)",
                shared.requests_max
            ))
        })
    }

    async fn exchange(&self, request: &Request, phase: &Phase) -> Result<Answer, HttpError> {
        let shared = &self.shared;
        let started = Instant::now();
        let mut plan = Plan::new(request)?;
        let mut target = shared.secrets.fill_url(&shared.grants, &request.url)?;
        self.count_request()?;
        let permit = Arc::clone(&shared.permits).acquire_owned().await;
        let permit = permit.map_err(|_| HttpError::unavailable("the plugin is going away"))?;
        for _ in 0..=REDIRECTS_MAX {
            let hop = self.hop(&plan, &target, phase).await?;
            let status = hop.head.status.as_u16();
            let location = request.follow_redirects.then(|| redirect(&hop.head, &target.url)).flatten();
            let Some(url) = location else {
                let deadline = started + time_limit(request.timeout);
                let Hop { head, body, timings, tls, echoes, connection } = hop;
                let url = target.url;
                return Ok(Answer { head, body, timings, tls, url, echoes, connection, permit, started, deadline });
            };
            drop(hop);
            let next = self.check_redirect(url?)?;
            plan.redirected(status, &target.origin, &next.origin, &shared.secrets);
            target = next;
            self.count_request()?;
        }
        Err(HttpError::rejected(format!("more than {REDIRECTS_MAX} redirects")))
    }

    /// A redirect is a new request: its origin must be granted, and no secret may ride on it to where it is not granted.
    fn check_redirect(&self, url: Url) -> Result<Target, HttpError> {
        let shared = &self.shared;
        let origin = Origin::of(&url).ok_or_else(|| HttpError::denied("redirected to something that is not HTTP"))?;
        super::secrets::check_granted(&shared.grants, &origin)
            .map_err(|error| HttpError::denied(format!("redirected: {}", error.message)))?;
        if shared.secrets.leaks(&url, &origin) {
            return Err(HttpError::denied(format!(
                "redirected to `{origin}` with a secret that is not granted for it"
            )));
        }
        Ok(Target { url, origin })
    }

    async fn hop(&self, plan: &Plan, target: &Target, phase: &Phase) -> Result<Hop, HttpError> {
        let shared = &self.shared;
        let origin = &target.origin;
        let request = self.message(plan, target)?;
        let mut echoes = shared.secrets.echoes();
        if let Some(encoded) = &request.1 {
            echoes.also(encoded);
        }
        let connected = shared.egress.connect.open(&shared.grants, origin, phase).await?;
        phase.enter(WAITING);
        let broken = |error: hyper::Error| HttpError::unreachable(format!("`{origin}` broke off: {}", causes(&error)));
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .handshake(TokioIo::new(connected.io))
            .await
            .map_err(broken)?;
        // Its failure is seen by the request as well.
        let connection = AbortOnDropHandle::new(tokio::spawn(async move { drop(connection.await) }));
        let sent = Instant::now();
        let (head, body) = sender.send_request(request.0).await.map_err(broken)?.into_parts();
        let timings = Timings { first_byte_us: micros(sent), ..connected.timings };
        Ok(Hop { head, body, timings, tls: connected.tls, echoes, connection })
    }

    /// The message for one hop, its secrets filled in; beside it what else must not be echoed.
    fn message(
        &self,
        plan: &Plan,
        target: &Target,
    ) -> Result<(hyper::Request<Full<Bytes>>, Option<String>), HttpError> {
        let shared = &self.shared;
        let FilledHeaders { headers, encoded } = plan.filled_headers(&target.origin, &shared.secrets)?;
        let body = shared.secrets.fill(&plan.body, &target.origin)?;
        let path = &target.url[Position::BeforePath..Position::AfterQuery];
        let mut message = hyper::Request::new(Full::new(Bytes::from(body)));
        *message.method_mut() = plan.method.clone();
        *message.uri_mut() =
            path.parse().map_err(|_| HttpError::invalid("the URL has a character that HTTP cannot carry"))?;
        let map = message.headers_mut();
        let authority = HeaderValue::try_from(target.origin.authority());
        map.insert(header::HOST, authority.map_err(|_| HttpError::invalid("the host cannot be written in a header"))?);
        map.insert(header::USER_AGENT, HeaderValue::from_static(concat!("belfry/", env!("CARGO_PKG_VERSION"))));
        map.insert(header::CONNECTION, HeaderValue::from_static("close"));
        let trace = shared.traceparent.lock().clone().or_else(|| shared.egress.traces.as_ref().and_then(|ask| ask()));
        let mut own_agent = false;
        for (name, value) in headers {
            if name == header::USER_AGENT && !own_agent {
                own_agent = true;
                map.insert(name, value);
            } else {
                map.append(name, value);
            }
        }
        if let Some(trace) = trace.and_then(|trace| HeaderValue::try_from(trace).ok()) {
            map.insert("traceparent", trace);
        }
        Ok((message, encoded))
    }
}

struct Hop {
    head: hyper::http::response::Parts,
    body: Incoming,
    timings: Timings,
    tls: Option<TlsFacts>,
    echoes: Redactor,
    connection: AbortOnDropHandle<()>,
}

/// Where a redirect leads; `None` when this is no redirect.
fn redirect(head: &hyper::http::response::Parts, base: &Url) -> Option<Result<Url, HttpError>> {
    if !matches!(head.status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = head.headers.get(header::LOCATION)?;
    let url = location.to_str().ok().and_then(|text| base.join(text).ok());
    Some(url.ok_or_else(|| HttpError::rejected("redirected to something that is no URL")))
}

fn response(answer: &Answer, body: Vec<u8>) -> Response {
    let headers = answer
        .head
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), answer.echoes.text(&String::from_utf8_lossy(value.as_bytes()))))
        .collect();
    Response {
        status: answer.head.status.as_u16(),
        headers,
        body,
        timings: answer.timings,
        tls: answer.tls.clone(),
        final_url: answer.echoes.text(answer.url.as_str()),
    }
}

pub(super) fn too_long(bytes_max: usize) -> HttpError {
    HttpError::limit(format!("the answer is longer than {bytes_max} bytes (`max-bytes`, `limits.http_response_bytes`)"))
}

async fn read_whole(answer: &mut Answer, bytes_max: usize) -> Result<Vec<u8>, HttpError> {
    let mut body = Vec::new();
    let mut received = 0;
    while let Some(frame) = answer.body.frame().await {
        let frame =
            frame.map_err(|error| HttpError::unreachable(format!("the answer broke off: {}", causes(&error))))?;
        let Some(data) = frame.data_ref() else { continue };
        received += data.len();
        if received > bytes_max {
            return Err(too_long(bytes_max));
        }
        body.extend(answer.echoes.push(data));
    }
    body.extend(answer.echoes.finish());
    Ok(body)
}

/// An error and what caused it: hyper says "connection error", its source why.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
