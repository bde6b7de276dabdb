//! One scrape over HTTP: kept connections, a bounded body, packed or not.
//!
//! Invariant: no more than the job's limit is held of an answer, before and after unpacking; credentials go to the
//! target's own origin only, and no error or log line holds one.
//! Not here: when (`Pace`), what it means (`Scraper`).

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use belfry_client::{Auth, ClientOptions, Connector, OptionsError, innermost};
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use url::{Position, Url};

use super::connection::{Kept, Prepared};
use super::{BodyFormat, ScrapeError};
use crate::exposition::{PROTOBUF_CONTENT_TYPE, TextFormat};

/// More is a loop.
const REDIRECTS_MAX: usize = 10;
/// Connections kept to one target that nothing asks just now.
const IDLE_CONNECTIONS_MAX: usize = 2;
/// A connection is kept over a pause of this length: longer than any usual interval.
const IDLE_TIME: Duration = Duration::from_secs(300);
/// What packing adds at most to an answer that cannot be packed, for its head and tail.
const PACKING_BYTES: usize = 1 << 10;

/// How a job's targets are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpOptions {
    /// Whom we trust, and who we say we are.
    pub client: ClientOptions,
    /// Go where an answer points.
    pub follow_redirects: bool,
    /// Ask for compressed answers.
    pub compression: bool,
    /// What an answer without a known content type is.
    pub fallback: Option<BodyFormat>,
}

/// The body of the last answer; its memory is used again.
#[derive(Debug, Default)]
pub struct Body {
    /// As it came, behind its head.
    bytes: Vec<u8>,
    start: usize,
    unpacked: Vec<u8>,
    is_unpacked: bool,
}

impl Body {
    /// Unpacked; empty when there is none.
    pub fn text(&self) -> &[u8] {
        if self.is_unpacked { &self.unpacked } else { self.bytes.get(self.start..).unwrap_or_default() }
    }

    /// Bytes that are held for it.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity().max(self.unpacked.capacity())
    }

    fn clear(&mut self) {
        (self.start, self.is_unpacked) = (0, false);
        self.bytes.clear();
        self.unpacked.clear();
    }
}

/// What one request needs to know.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Where.
    pub url: &'a Url,
    /// In all.
    pub timeout: Duration,
    /// Of the answer, unpacked; 0 is no limit.
    pub body_bytes_max: u64,
    /// Formats wanted.
    pub accept: &'a str,
    /// What the target is told of our pace.
    pub pace: AskPace,
}

/// What the one that is asked is told of our pace.
#[derive(Clone, Copy, Debug)]
pub enum AskPace {
    /// A scrape: how long we wait.
    Timeout,
    /// A list of targets: how often we ask.
    Refresh(Duration),
}

/// What Prometheus 3 asks for.
pub const ACCEPT_TEXT: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

/// The same with protobuf first: the one format with native histograms.
pub fn accept_native() -> String {
    format!("{PROTOBUF_CONTENT_TYPE};escaping=allow-utf-8;q=0.7,{ACCEPT_TEXT}")
}

impl From<OptionsError> for ScrapeError {
    fn from(e: OptionsError) -> Self {
        Self::Failed(e.to_string())
    }
}

/// The HTTP client of a job.
#[derive(Clone)]
pub struct JobClient {
    connector: Connector,
    /// For discovery, and for wherever an answer points.
    client: Client<Connector, Empty<Bytes>>,
    options: Arc<HttpOptions>,
}

impl JobClient {
    /// Fails when a certificate or key cannot be read; the error says which.
    pub fn new(options: HttpOptions) -> Result<Self, String> {
        let connector = options.client.connector().map_err(|e| e.to_string())?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build(connector.clone());
        Ok(Self { connector, client, options: Arc::new(options) })
    }

    /// Asks once, over the connection that was kept if it is still there. The answer is put into `body`, and its format
    /// answered. `kept` and `body` are of one client and target.
    pub async fn fetch(&self, kept: &mut Kept, ask: Ask<'_>, body: &mut Body) -> Result<BodyFormat, ScrapeError> {
        body.clear();
        let exchange = tokio::time::timeout(ask.timeout, self.exchange_over(kept, ask, body));
        let said = exchange.await.unwrap_or(Err(ScrapeError::TimedOut(ask.timeout)));
        if said.is_err() {
            body.clear();
        }
        let said = said?;
        said.as_deref().and_then(format_of).or(self.options.fallback).ok_or_else(|| ScrapeError::ContentType {
            said: said.unwrap_or_default().chars().take(100).collect(),
            body_bytes: body.text().len(),
        })
    }

    /// The same for discovery: any content type will do.
    pub async fn fetch_any(&self, ask: Ask<'_>, body: &mut Vec<u8>) -> Result<(), ScrapeError> {
        self.exchange_within(ask, body).await.map(drop)
    }

    async fn exchange_within(&self, ask: Ask<'_>, body: &mut Vec<u8>) -> Result<HeaderMap, ScrapeError> {
        let exchange = tokio::time::timeout(ask.timeout, self.exchange(ask.url.clone(), ask, body));
        exchange.await.unwrap_or(Err(ScrapeError::TimedOut(ask.timeout)))
    }

    /// Yields what the answer says its content type is.
    async fn exchange_over(
        &self,
        kept: &mut Kept,
        ask: Ask<'_>,
        body: &mut Body,
    ) -> Result<Option<String>, ScrapeError> {
        let has_secrets = self.options.client.auth != Auth::None || !self.options.client.headers.is_empty();
        let same = |p: &Prepared| p.url == *ask.url && p.accept == ask.accept && p.timeout == ask.timeout;
        let prepared = match kept.request.take().filter(|p| !has_secrets && same(p)) {
            Some(prepared) => prepared,
            None => Prepared {
                url: ask.url.clone(),
                accept: ask.accept.to_owned(),
                timeout: ask.timeout,
                bytes: self.request_bytes(&ask)?,
            },
        };
        let asked = kept.ask(&self.connector, ask.url, &prepared.bytes, &mut body.bytes).await;
        if !has_secrets {
            kept.request = Some(prepared);
        }
        let answer = asked?;
        if let Some(url) = self.elsewhere(answer.head.status, answer.head.location.as_deref(), ask.url)? {
            body.clear();
            let headers = self.exchange(url, ask, &mut body.bytes).await?;
            return Ok(headers.get(header::CONTENT_TYPE).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned()));
        }
        if answer.head.status != StatusCode::OK.as_u16() {
            return Err(ScrapeError::Status(answer.head.status));
        }
        let is_packed = is_packed(answer.head.encoding.as_deref().map(str::as_bytes))?;
        let limit = limit_of(ask.body_bytes_max);
        let (start, said) = (answer.start, answer.head.content_type.clone());
        if !kept.read(answer, &mut body.bytes, limit.saturating_add(PACKING_BYTES)).await? {
            return Err(ScrapeError::BodyTooLarge(ask.body_bytes_max));
        }
        let read = body.bytes.get(start..).unwrap_or_default();
        if is_packed && !read.is_empty() {
            unpack(read, limit, &mut body.unpacked)?;
            body.is_unpacked = true;
        } else if read.len() > limit {
            return Err(ScrapeError::BodyTooLarge(ask.body_bytes_max));
        }
        body.start = start;
        Ok(said)
    }

    /// Where an answer points, if we go there.
    fn elsewhere(&self, status: u16, location: Option<&str>, url: &Url) -> Result<Option<Url>, ScrapeError> {
        if !self.options.follow_redirects || !(300..400).contains(&status) {
            return Ok(None);
        }
        let to = location.and_then(|l| url.join(l).ok()).filter(|u| matches!(u.scheme(), "http" | "https"));
        to.map(Some).ok_or(ScrapeError::Status(status))
    }

    async fn exchange(&self, mut url: Url, ask: Ask<'_>, body: &mut Vec<u8>) -> Result<HeaderMap, ScrapeError> {
        for _ in 0..=REDIRECTS_MAX {
            let ours = url.origin() == ask.url.origin();
            let request = self.request(&url, &ask, ours)?;
            let answer = self.client.request(request).await.map_err(|e| ScrapeError::Failed(reason(&e)))?;
            let (head, incoming) = answer.into_parts();
            let location = head.headers.get(header::LOCATION).and_then(|l| l.to_str().ok());
            if let Some(to) = self.elsewhere(head.status.as_u16(), location, &url)? {
                url = to;
                continue;
            }
            if head.status != StatusCode::OK {
                return Err(ScrapeError::Status(head.status.as_u16()));
            }
            read(incoming, &head.headers, ask.body_bytes_max, body).await?;
            return Ok(head.headers);
        }
        Err(ScrapeError::Failed(format!("more than {REDIRECTS_MAX} redirects")))
    }

    /// A request to the target itself, as it goes over the wire.
    fn request_bytes(&self, ask: &Ask<'_>) -> Result<Vec<u8>, ScrapeError> {
        let request = self.request(ask.url, ask, true)?;
        let url = ask.url;
        let mut bytes = Vec::new();
        for part in ["GET ", &url[Position::BeforePath..Position::AfterQuery], " HTTP/1.1\r\nhost: "] {
            bytes.extend_from_slice(part.as_bytes());
        }
        bytes.extend_from_slice(url[Position::BeforeHost..Position::AfterPort].as_bytes());
        bytes.extend_from_slice(b"\r\n");
        for (name, value) in request.headers().iter().filter(|(name, _)| *name != header::HOST) {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                bytes.extend_from_slice(part);
            }
        }
        bytes.extend_from_slice(b"\r\n");
        Ok(bytes)
    }

    fn request(&self, url: &Url, ask: &Ask<'_>, ours: bool) -> Result<Request<Empty<Bytes>>, ScrapeError> {
        let bad = |what: &str| ScrapeError::Failed(format!("{what} cannot be sent"));
        let mut request = Request::get(url.as_str()).body(Empty::new()).map_err(|_| bad("the address"))?;
        let headers = request.headers_mut();
        let (pace, seconds) = match ask.pace {
            AskPace::Timeout => ("x-prometheus-scrape-timeout-seconds", ask.timeout),
            AskPace::Refresh(refresh) => ("x-prometheus-refresh-interval-seconds", refresh),
        };
        headers.insert(header::ACCEPT, HeaderValue::from_str(ask.accept).map_err(|_| bad("`Accept`"))?);
        headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("Belfry/", env!("CARGO_PKG_VERSION"))));
        if let Ok(seconds) = HeaderValue::from_str(&seconds.as_secs_f64().to_string()) {
            headers.insert(pace, seconds);
        }
        let packed = if self.options.compression { "gzip" } else { "identity" };
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(packed));
        if ours {
            self.options.client.sign(headers)?;
        }
        Ok(request)
    }
}

fn reason(e: &hyper_util::client::legacy::Error) -> String {
    let cause = innermost(e);
    if e.is_connect() { format!("cannot connect: {cause}") } else { cause }
}

fn format_of(said: &str) -> Option<BodyFormat> {
    let said = said.to_ascii_lowercase();
    let mut parts = said.split(';').map(str::trim);
    match parts.next()? {
        "text/plain" => Some(BodyFormat::Text(TextFormat::Prometheus)),
        "application/openmetrics-text" => Some(BodyFormat::Text(TextFormat::OpenMetrics)),
        "application/vnd.google.protobuf" => {
            let fits = parts.all(|p| match p.split_once('=') {
                Some(("proto", proto)) => proto == "io.prometheus.client.metricfamily",
                Some(("encoding", encoding)) => encoding == "delimited",
                _ => true,
            });
            fits.then_some(BodyFormat::Protobuf)
        }
        _ => None,
    }
}

fn limit_of(bytes_max: u64) -> usize {
    if bytes_max == 0 { usize::MAX } else { usize::try_from(bytes_max).unwrap_or(usize::MAX) }
}

pub(super) fn is_packed(encoding: Option<&[u8]>) -> Result<bool, ScrapeError> {
    match encoding {
        None | Some(b"" | b"identity") => Ok(false),
        Some(b"gzip") => Ok(true),
        Some(other) => {
            let other = String::from_utf8_lossy(other).chars().take(40).collect::<String>();
            Err(ScrapeError::Failed(format!("the answer is packed as `{other}`, which was not asked for")))
        }
    }
}

/// Reads the body, and unpacks it.
async fn read(
    mut incoming: hyper::body::Incoming,
    headers: &HeaderMap,
    bytes_max: u64,
    body: &mut Vec<u8>,
) -> Result<(), ScrapeError> {
    body.clear();
    let limit = limit_of(bytes_max);
    let mut packed = Vec::new();
    let is_packed = is_packed(headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes))?;
    let into = if is_packed { &mut packed } else { &mut *body };
    // Packing can make a tiny answer longer.
    let limit_read = limit.saturating_add(PACKING_BYTES);
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|e| ScrapeError::Failed(format!("the answer broke off: {e}")))?;
        if let Some(data) = frame.data_ref() {
            if into.len() + data.len() > limit_read {
                return Err(ScrapeError::BodyTooLarge(bytes_max));
            }
            into.extend_from_slice(data);
        }
    }
    if !packed.is_empty() {
        return unpack(&packed, limit, body);
    }
    if body.len() > limit { Err(ScrapeError::BodyTooLarge(bytes_max)) } else { Ok(()) }
}

/// Stops one byte past the limit: what a small answer grows to is never held.
pub(super) fn unpack(packed: &[u8], limit: usize, body: &mut Vec<u8>) -> Result<(), ScrapeError> {
    body.clear();
    let reader = flate2::read::MultiGzDecoder::new(packed);
    let read = reader.take((limit as u64).saturating_add(1)).read_to_end(body);
    read.map_err(|e| ScrapeError::Failed(format!("the answer cannot be unpacked: {e}")))?;
    if body.len() > limit {
        body.clear();
        return Err(ScrapeError::BodyTooLarge(limit as u64));
    }
    Ok(())
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
