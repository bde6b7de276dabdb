//! The HTTP client of all engines: kept connections, a bounded answer, packed or not, one time limit for all of it.
//!
//! Invariant: no more than the asked limit is held of an answer, before and after unpacking; credentials go to the
//! engine's own address only (redirects are not followed), and no error or log line holds one.
//! Not here: what is sent, what an answer means, when to try again.

mod stream;

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use belfry_client::{ClientOptions, Connector, OptionsError, innermost};
use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use url::Url;

/// Connections that nothing uses just now.
const IDLE_CONNECTIONS_MAX: usize = 4;
/// They are kept over a pause of this length; shorter than what servers and balancers usually allow.
const IDLE_TIME: Duration = Duration::from_secs(50);
/// What packing adds at most to an answer that cannot be packed, for its head and tail.
const PACKING_BYTES: usize = 1 << 10;
/// Bytes of an answer's body that are shown in a reason.
const REASON_BYTES_MAX: usize = 300;
/// A pause that an engine asks for is believed up to this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// One request.
#[derive(Clone, Debug)]
pub struct Ask {
    /// `GET` or `POST`.
    pub method: Method,
    /// Where; with its query.
    pub url: Url,
    /// Beside those of the options.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Empty for `GET`.
    pub body: Bytes,
    /// In all, the answer's body included.
    pub timeout: Duration,
    /// Of the answer, unpacked.
    pub answer_bytes_max: usize,
}

impl Ask {
    /// A `GET`.
    pub fn get(url: Url, timeout: Duration, answer_bytes_max: usize) -> Self {
        Self { method: Method::GET, url, headers: Vec::new(), body: Bytes::new(), timeout, answer_bytes_max }
    }

    /// A `POST` with a body of this content type.
    pub fn post(
        url: Url,
        content_type: &'static str,
        body: impl Into<Bytes>,
        timeout: Duration,
        answer_bytes_max: usize,
    ) -> Self {
        let headers = vec![(header::CONTENT_TYPE, HeaderValue::from_static(content_type))];
        Self { method: Method::POST, url, headers, body: body.into(), timeout, answer_bytes_max }
    }

    /// A `POST` of a form, as long queries are sent.
    pub fn form(url: Url, pairs: &[(&str, &str)], timeout: Duration, answer_bytes_max: usize) -> Self {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        Self::post(url, "application/x-www-form-urlencoded", body, timeout, answer_bytes_max)
    }

    /// The same with one header more.
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// What came back, whatever its status.
#[derive(Clone, Debug)]
pub struct HttpAnswer {
    /// 200 and so on.
    pub status: StatusCode,
    /// As they came.
    pub headers: HeaderMap,
    /// Unpacked, but for snappy.
    pub body: Vec<u8>,
}

impl HttpAnswer {
    /// What the engine asks to be waited: `Retry-After` in seconds (a date is not looked at). At most five minutes.
    pub fn retry_after_ms(&self) -> Option<u64> {
        let seconds: u64 = self.headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
        Some(seconds.min(RETRY_AFTER_MAX.as_secs()) * 1000)
    }

    /// The status and the beginning of the body, on one line: for people.
    pub fn reason(&self) -> String {
        let shown = self.body.get(..REASON_BYTES_MAX).unwrap_or(&self.body);
        let text: String = String::from_utf8_lossy(shown).split_whitespace().collect::<Vec<_>>().join(" ");
        match text.is_empty() {
            true => format!("status {}", self.status.as_u16()),
            false => format!("status {}: {text}", self.status.as_u16()),
        }
    }
}

/// Do two reasons for a refusal say the same? Words with a digit are left out: numbers of requests and times differ. Who
/// refuses an empty body for being empty (InfluxDB 2.0) says something else of it than of what was not empty.
pub(crate) fn is_same_refusal(one: &str, other: &str) -> bool {
    // `status 400: …`: the status stands.
    let words = |text: &str| -> Vec<String> {
        let mut words: Vec<String> = text.split_whitespace().take(2).map(str::to_owned).collect();
        let plain = text.split_whitespace().skip(2).filter(|w| !w.contains(|c: char| c.is_ascii_digit()));
        words.extend(plain.map(str::to_owned));
        words
    };
    words(one) == words(other)
}

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum HttpError {
    /// Connection, TLS, a secret's file: trying again may help. Without secrets.
    #[error("{0}")]
    Failed(String),
    /// Trying again may help.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The same request will get the same answer.
    #[error("the answer is longer than {0} bytes")]
    TooLarge(usize),
}

impl From<OptionsError> for HttpError {
    fn from(e: OptionsError) -> Self {
        Self::Failed(e.to_string())
    }
}

/// The client of one engine.
#[derive(Clone)]
pub struct HttpClient {
    client: Client<Connector, Full<Bytes>>,
    options: Arc<ClientOptions>,
}

impl HttpClient {
    /// Fails when a certificate or key cannot be read; the error says which.
    pub fn new(options: ClientOptions) -> Result<Self, String> {
        let connector = options.connector().map_err(|e| e.to_string())?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build(connector);
        Ok(Self { client, options: Arc::new(options) })
    }

    /// Asks once. Any status is an answer, a redirect too: what follows is the caller's to say.
    pub async fn ask(&self, ask: Ask) -> Result<HttpAnswer, HttpError> {
        let timeout = ask.timeout;
        tokio::time::timeout(timeout, self.exchange(ask)).await.unwrap_or(Err(HttpError::TimedOut(timeout)))
    }

    async fn exchange(&self, ask: Ask) -> Result<HttpAnswer, HttpError> {
        let limit = ask.answer_bytes_max;
        let request = self.request(ask)?;
        let answer = self.client.request(request).await.map_err(|e| HttpError::Failed(reason(&e)))?;
        let (head, incoming) = answer.into_parts();
        let body = read(incoming, &head.headers, limit).await?;
        Ok(HttpAnswer { status: head.status, headers: head.headers, body })
    }

    fn request(&self, ask: Ask) -> Result<Request<Full<Bytes>>, HttpError> {
        let bad = |what: &str| HttpError::Failed(format!("{what} cannot be sent"));
        let request = Request::builder().method(ask.method).uri(ask.url.as_str()).body(Full::new(ask.body));
        let mut request = request.map_err(|_| bad("the address"))?;
        let headers = request.headers_mut();
        headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("Belfry/", env!("CARGO_PKG_VERSION"))));
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        self.options.sign(headers)?;
        for (name, value) in ask.headers {
            headers.insert(name, value);
        }
        Ok(request)
    }
}

fn reason(e: &hyper_util::client::legacy::Error) -> String {
    let cause = innermost(e);
    if e.is_connect() { format!("cannot connect: {cause}") } else { cause }
}

/// Reads the body, and unpacks it.
async fn read(mut incoming: hyper::body::Incoming, headers: &HeaderMap, limit: usize) -> Result<Vec<u8>, HttpError> {
    let packed = match headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        // Remote read says `snappy` of its message: whoever asks for that unpacks it.
        None | Some(b"" | b"identity" | b"snappy") => false,
        Some(b"gzip") => true,
        Some(other) => {
            let other = String::from_utf8_lossy(other).chars().take(40).collect::<String>();
            return Err(HttpError::Failed(format!("the answer is packed as `{other}`, which was not asked for")));
        }
    };
    // Packing can make a tiny answer longer.
    let read_max = if packed { limit.saturating_add(PACKING_BYTES) } else { limit };
    let mut body = Vec::new();
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|e| HttpError::Failed(format!("the answer broke off: {e}")))?;
        if let Some(data) = frame.data_ref() {
            if body.len() + data.len() > read_max {
                return Err(HttpError::TooLarge(limit));
            }
            body.extend_from_slice(data);
        }
    }
    if packed { unpack(&body, limit) } else { Ok(body) }
}

/// Stops one byte past the limit: what a small answer grows to is never held.
fn unpack(packed: &[u8], limit: usize) -> Result<Vec<u8>, HttpError> {
    let mut body = Vec::new();
    let reader = flate2::read::MultiGzDecoder::new(packed);
    let read = reader.take((limit as u64).saturating_add(1)).read_to_end(&mut body);
    read.map_err(|e| HttpError::Failed(format!("the answer cannot be unpacked: {e}")))?;
    if body.len() > limit { Err(HttpError::TooLarge(limit)) } else { Ok(body) }
}

#[cfg(test)]
mod tests;
