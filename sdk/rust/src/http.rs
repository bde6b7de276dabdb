//! HTTP to what the config grants.
//!
//! ```no_run
//! # fn main() -> belfry_sdk::Result<()> {
//! use std::time::Duration;
//! let answer = belfry_sdk::http::get("https://api.github.com/rate_limit")
//!     .header("authorization", "Bearer {{secret.token}}") // filled in by the host: the plugin never sees it
//!     .timeout(Duration::from_secs(2))
//!     .send()?;
//! let left: serde_json::Value = answer.json()?;
//! # Ok(()) }
//! ```

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::imports::belfry::plugin::http::{Header, Request as WireRequest, Response as WireResponse};
use crate::bindings::imports::belfry::plugin::types::Attribute;
use crate::errors::{Error, Result};
use crate::host;

pub use crate::bindings::imports::belfry::plugin::http::{Timings, TlsFacts};

/// A request being written. Redirects are followed unless said otherwise.
#[derive(Clone, Debug)]
pub struct Request(WireRequest);

/// `GET url`.
pub fn get(url: impl Into<String>) -> Request {
    request("GET", url)
}

/// `POST url`.
pub fn post(url: impl Into<String>) -> Request {
    request("POST", url)
}

/// Any method.
pub fn request(method: impl Into<String>, url: impl Into<String>) -> Request {
    Request(WireRequest {
        method: method.into(),
        url: url.into(),
        headers: Vec::new(),
        body: Vec::new(),
        timeout_ms: None,
        max_bytes: None,
        follow_redirects: true,
        options: Vec::new(),
    })
}

impl Request {
    /// Adds a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.headers.push(Header { name: name.into(), value: value.into() });
        self
    }

    /// The body as it is.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.0.body = body.into();
        self
    }

    /// A JSON body, with its content type.
    ///
    /// # Errors
    /// When the value has no JSON form (a map with keys that are no strings).
    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Result<Self> {
        Ok(self.header("content-type", "application/json").body(serde_json::to_vec(value)?))
    }

    /// From connecting to the last byte.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.0.timeout_ms = Some(u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX));
        self
    }

    /// Longer answers are an error with code `limit`.
    pub fn max_bytes(mut self, bytes: u32) -> Self {
        self.0.max_bytes = Some(bytes);
        self
    }

    /// Whether to follow redirects; each hop must be granted.
    pub fn follow_redirects(mut self, follow: bool) -> Self {
        self.0.follow_redirects = follow;
        self
    }

    /// An extension point: keys are documented with the host.
    pub fn option(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.options.push(Attribute { key: key.into(), value: value.into() });
        self
    }

    /// The method.
    pub fn method(&self) -> &str {
        &self.0.method
    }

    /// Where it goes.
    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// What it carries.
    pub fn body_bytes(&self) -> &[u8] {
        &self.0.body
    }

    /// The first header of that name, in any case.
    pub fn header_value(&self, name: &str) -> Option<&str> {
        find(&self.0.headers, name)
    }

    /// Sends it. Any status is an answer; [`Response::ok`] turns bad ones into errors.
    ///
    /// # Errors
    /// `Denied` when the origin is not granted, `Timeout`, `Unreachable`, `Limit`.
    pub fn send(&self) -> Result<Response> {
        host::http::fetch(&self.0).map(Response).map_err(Error::from)
    }

    /// Sends it and reads the answer in pieces: the returned response has an empty body.
    ///
    /// # Errors
    /// As [`Request::send`].
    pub fn open(&self) -> Result<(Response, Body)> {
        let (response, stream) = host::http::open(&self.0)?;
        Ok((Response(response), Body(stream)))
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn from_wire(wire: WireRequest) -> Self {
        Self(wire)
    }
}

/// Sends all of them side by side; the answers come in the order of the requests.
pub fn send_all(requests: &[Request]) -> Vec<Result<Response>> {
    let wire: Vec<_> = requests.iter().map(|r| r.0.clone()).collect();
    host::http::fetch_all(&wire).into_iter().map(|r| r.map(Response).map_err(Error::from)).collect()
}

/// The body of an answer that is read in pieces; dropping it ends the exchange.
#[derive(Debug)]
pub struct Body(host::http::BodyStream);

impl Body {
    /// The next piece, at most this long; `None` at the end.
    ///
    /// # Errors
    /// When the connection breaks, or takes too long.
    pub fn read(&self, max_bytes: u32) -> Result<Option<Vec<u8>>> {
        Ok(self.0.read(max_bytes)?)
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Response(WireResponse);

impl Response {
    /// An answer as tests give it.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self(WireResponse {
            status,
            headers: Vec::new(),
            body: body.into(),
            timings: Timings { dns_us: 0, connect_us: 0, tls_us: 0, first_byte_us: 0, total_us: 0 },
            tls: None,
            final_url: String::new(),
        })
    }

    /// With a header.
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.0.headers.push(Header { name: name.into(), value: value.into() });
        self
    }

    /// With other timings.
    pub fn with_timings(mut self, timings: Timings) -> Self {
        self.0.timings = timings;
        self
    }

    /// With the facts of a TLS connection.
    pub fn with_tls(mut self, tls: TlsFacts) -> Self {
        self.0.tls = Some(tls);
        self
    }

    /// The status code.
    pub fn status(&self) -> u16 {
        self.0.status
    }

    /// The first header of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.0.headers, name)
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        &self.0.body
    }

    /// The body as text; what is no UTF-8 is replaced.
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.0.body)
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// When it is not such a value.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        Ok(serde_json::from_slice(&self.0.body)?)
    }

    /// How long each phase took.
    pub fn timings(&self) -> &Timings {
        &self.0.timings
    }

    /// The TLS connection, if there was one.
    pub fn tls(&self) -> Option<&TlsFacts> {
        self.0.tls.as_ref()
    }

    /// Where it came from after redirects.
    pub fn final_url(&self) -> &str {
        &self.0.final_url
    }

    /// Bad statuses as errors, told by what to do next: 408, 425, 429 and 5xx may succeed later (after `Retry-After`, where
    /// it is a number of seconds), other statuses than 2xx will not.
    ///
    /// # Errors
    /// `Unavailable` or `Rejected`, with the beginning of the body.
    pub fn ok(self) -> Result<Self> {
        let status = self.0.status;
        if (200..300).contains(&status) {
            return Ok(self);
        }
        let body = self.text();
        let body = body.trim();
        let start: String = body.chars().take(200).collect();
        let message = if start.is_empty() { format!("status {status}") } else { format!("status {status}: {start}") };
        Err(match status {
            408 | 425 | 429 | 500..=599 => {
                let seconds = self.header("retry-after").and_then(|v| v.trim().parse().ok());
                Error::Unavailable { message, retry_after: seconds.map(Duration::from_secs) }
            }
            _ => Error::Rejected(message),
        })
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn into_wire(self) -> WireResponse {
        self.0
    }
}

fn find<'a>(headers: &'a [Header], name: &str) -> Option<&'a str> {
    headers.iter().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_say_whether_to_try_again() {
        assert!(Response::new(204, "").ok().is_ok());
        assert_eq!(Response::new(404, "gone").ok().unwrap_err(), Error::Rejected("status 404: gone".into()));
        let busy = Response::new(429, "").with_header("Retry-After", "7").ok().unwrap_err();
        assert_eq!(
            busy,
            Error::Unavailable { message: "status 429".into(), retry_after: Some(Duration::from_secs(7)) }
        );
        assert!(Response::new(503, "").ok().unwrap_err().is_retryable());
    }
}
