//! `http`: requests to granted origins, made by the host.
//!
//! Invariant: scheme, host and port of the URL are granted, on every hop; the connection goes to an address that was
//! checked; a secret goes only where it is granted for, and comes back to nobody.
//! Not here: serving HTTP (`dashboard`).
//!
//! - `origin`: what a grant names and what a URL asks for
//! - `address`: which addresses an origin may lead to
//! - `secrets`: placeholders, redaction
//! - `connect`: resolving, TCP, TLS, their times
//! - `request`: what a plugin sends, checked
//! - `egress`: the exchange, redirects, limits
//! - `stream`: an answer in pieces
//! - this file: the contract's records

mod address;
mod connect;
mod egress;
mod error;
mod origin;
mod request;
mod secrets;
mod stream;

#[cfg(test)]
mod test_peer;
#[cfg(test)]
mod tests;

use std::time::Duration;

use wasmtime::component::Resource;

pub use connect::Resolve;
pub(crate) use egress::HttpEgress;
pub use egress::{HttpSettings, TraceProvider};
pub(crate) use origin::OriginPattern;
pub use stream::BodyStream;

use self::error::HttpError;
use super::{GuestError, limit, unavailable};
use crate::bindings::belfry::plugin::http::{Header, Host, HostBodyStream, Request, Response, Timings, TlsFacts};
use crate::convert;
use crate::state::{HANDLES_MAX, InstanceState};

/// Requests of one `fetch-all`; the limit of a call's requests is checked besides.
const FETCH_ALL_MAX: usize = 1_000;

/// One instance's HTTP.
#[derive(Default)]
pub(crate) struct HttpState {
    /// Made at the first request: most plugins make none.
    client: Option<egress::HttpClient>,
    /// Streams that the guest holds.
    streams: usize,
}

impl HttpState {
    /// A call begins: its counters start again.
    pub(crate) fn begin_call(&mut self) {
        if let Some(client) = &self.client {
            client.begin_call(None);
        }
    }
}

impl InstanceState {
    fn http_client(&mut self) -> Result<egress::HttpClient, GuestError> {
        if let Some(client) = &self.http.client {
            return Ok(client.clone());
        }
        let client = self
            .shared
            .http
            .client(&self.grants, &self.secrets, &self.limits)
            .map_err(|message| super::error("config", message, false))?;
        Ok(self.http.client.insert(client).clone())
    }
}

impl Host for InstanceState {
    async fn fetch(&mut self, request: Request) -> Result<Response, GuestError> {
        let client = self.http_client()?;
        client.fetch(request.into()).await.map(Response::from).map_err(GuestError::from)
    }

    async fn fetch_all(&mut self, requests: Vec<Request>) -> Vec<Result<Response, GuestError>> {
        let client = match self.http_client() {
            Ok(_) if requests.len() > FETCH_ALL_MAX => {
                Err(limit(format!("more than {FETCH_ALL_MAX} requests at once")))
            }
            client => client,
        };
        match client {
            Err(error) => requests.iter().map(|_| Err(error.clone())).collect(),
            Ok(client) => {
                let answers = client.fetch_all(requests.into_iter().map(Into::into).collect()).await;
                answers.into_iter().map(|answer| answer.map(Response::from).map_err(GuestError::from)).collect()
            }
        }
    }

    async fn open(&mut self, request: Request) -> Result<(Response, Resource<BodyStream>), GuestError> {
        if self.http.streams >= HANDLES_MAX {
            return Err(limit(format!("more than {HANDLES_MAX} answers are open; drop those that were read")));
        }
        let client = self.http_client()?;
        let (response, stream) = client.open(request.into()).await?;
        let stream = self.table.push(stream).map_err(|error| unavailable(error.to_string()))?;
        self.http.streams += 1;
        Ok((response.into(), stream))
    }
}

impl HostBodyStream for InstanceState {
    async fn read(&mut self, stream: Resource<BodyStream>, max_bytes: u32) -> Result<Option<Vec<u8>>, GuestError> {
        let stream = self.table.get_mut(&stream).map_err(|error| super::invalid(error.to_string()))?;
        stream.read(max_bytes).await.map_err(GuestError::from)
    }

    async fn drop(&mut self, stream: Resource<BodyStream>) -> wasmtime::Result<()> {
        self.table.delete(stream)?;
        self.http.streams = self.http.streams.saturating_sub(1);
        Ok(())
    }
}

impl From<HttpError> for GuestError {
    fn from(error: HttpError) -> Self {
        super::error(error.code, error.message, error.retryable)
    }
}

impl From<Request> for request::Request {
    fn from(r: Request) -> Self {
        Self {
            method: r.method,
            url: r.url,
            headers: r.headers.into_iter().map(|h| (h.name, h.value)).collect(),
            body: r.body,
            timeout: r.timeout_ms.map(|ms| Duration::from_millis(u64::from(ms))),
            max_bytes: r.max_bytes.map(|bytes| bytes as usize),
            follow_redirects: r.follow_redirects,
            options: convert::attributes(r.options),
        }
    }
}

impl From<request::Response> for Response {
    fn from(r: request::Response) -> Self {
        let t = r.timings;
        Self {
            status: r.status,
            headers: r.headers.into_iter().map(|(name, value)| Header { name, value }).collect(),
            body: r.body,
            timings: Timings {
                dns_us: t.dns_us,
                connect_us: t.connect_us,
                tls_us: t.tls_us,
                first_byte_us: t.first_byte_us,
                total_us: t.total_us,
            },
            tls: r.tls.map(|tls| TlsFacts {
                version: tls.version,
                not_after_ms: tls.not_after_ms,
                subject: tls.subject,
                issuer: tls.issuer,
            }),
            final_url: r.final_url,
        }
    }
}
