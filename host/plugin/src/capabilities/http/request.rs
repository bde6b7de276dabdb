//! What a plugin asks for and gets.
//!
//! Invariant: a request that passed [`Plan::new`] has a method and headers that a plugin may choose.
//! Not here: the check of the URL (`secrets`), which happens again on every hop.

use std::time::Duration;

use hyper::Method;
use hyper::header::{self, HeaderName, HeaderValue};

use super::connect::{Timings, TlsFacts};
use super::error::HttpError;
use super::origin::Origin;
use super::secrets::Secrets;

/// When the plugin names none.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// The longest a plugin may name.
const TIMEOUT_MAX: Duration = Duration::from_secs(300);
/// Headers of a request.
const HEADERS_MAX: usize = 64;
/// Bytes of a request's URL.
const URL_BYTES_MAX: usize = 16 << 10;

/// As a plugin sends it; `{{secret.NAME}}` not filled in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `POST`, …
    pub method: String,
    /// Absolute.
    pub url: String,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// May be empty.
    pub body: Vec<u8>,
    /// Of the whole exchange.
    pub timeout: Option<Duration>,
    /// Of the answer's body.
    pub max_bytes: Option<usize>,
    /// Up to ten.
    pub follow_redirects: bool,
    /// Known: `basic-auth` = `user:password` (either may be a secret). Others are ignored.
    pub options: Vec<(String, String)>,
}

/// As a plugin gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// 100 to 999.
    pub status: u16,
    /// In the order they came.
    pub headers: Vec<(String, String)>,
    /// Empty when it is read as a stream.
    pub body: Vec<u8>,
    /// Of the last hop; the total is of all.
    pub timings: Timings,
    /// With `https`.
    pub tls: Option<TlsFacts>,
    /// After redirects; without secrets.
    pub final_url: String,
}

/// A request, checked, with its placeholders.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub method: Method,
    pub headers: Vec<(HeaderName, String)>,
    pub basic_auth: Option<String>,
    pub body: Vec<u8>,
}

/// Headers on their way to one origin.
pub(super) struct FilledHeaders {
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Credentials as they are sent: not to be echoed.
    pub encoded: Option<String>,
}

/// What a request may take, whatever the plugin names.
pub(super) fn time_limit(asked: Option<Duration>) -> Duration {
    asked.unwrap_or(TIMEOUT_DEFAULT).min(TIMEOUT_MAX)
}

impl Plan {
    pub fn new(request: &Request) -> Result<Self, HttpError> {
        if request.url.len() > URL_BYTES_MAX {
            return Err(HttpError::limit(format!("the URL is longer than {URL_BYTES_MAX} bytes")));
        }
        if request.headers.len() > HEADERS_MAX {
            return Err(HttpError::limit(format!("more than {HEADERS_MAX} headers")));
        }
        let method = Method::from_bytes(request.method.as_bytes())
            .map_err(|_| HttpError::invalid(format!("`{}` is no HTTP method", request.method)))?;
        if matches!(method, Method::CONNECT | Method::TRACE) {
            return Err(HttpError::denied(format!("the method {method} is not for plugins")));
        }
        let mut headers = Vec::with_capacity(request.headers.len());
        for (name, value) in &request.headers {
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| HttpError::invalid(format!("`{name}` is no header name")))?;
            if is_hosts_own(&name) {
                return Err(HttpError::denied(format!("the header `{name}` is set by the host alone")));
            }
            headers.push((name, value.clone()));
        }
        let basic_auth =
            request.options.iter().find(|(key, _)| key == "basic-auth").map(|(_, credentials)| credentials.clone());
        Ok(Self { method, headers, basic_auth, body: request.body.clone() })
    }

    /// What a redirect with `status` makes of it (RFC 9110, 15.4): 303, and by custom 301 and 302 of a POST, become GET.
    pub fn redirected(&mut self, status: u16, from: &Origin, to: &Origin, secrets: &Secrets) {
        let becomes_get = match status {
            303 => self.method != Method::HEAD,
            301 | 302 => self.method == Method::POST,
            _ => false,
        };
        if becomes_get {
            self.method = Method::GET;
            self.body.clear();
            self.headers.retain(|(name, _)| !name.as_str().starts_with("content-"));
        }
        if from != to {
            // Credentials stay with the origin they were meant for.
            self.basic_auth = None;
            self.headers.retain(|(name, value)| {
                *name != header::AUTHORIZATION
                    && *name != header::COOKIE
                    && !secrets.withheld_from(value.as_bytes(), to)
            });
        }
    }

    /// The headers with their secrets.
    pub fn filled_headers(&self, origin: &Origin, secrets: &Secrets) -> Result<FilledHeaders, HttpError> {
        let mut headers = Vec::with_capacity(self.headers.len() + 1);
        for (name, template) in &self.headers {
            headers.push((name.clone(), sensitive(name, &secrets.fill(template.as_bytes(), origin)?)?));
        }
        let Some(credentials) = &self.basic_auth else { return Ok(FilledHeaders { headers, encoded: None }) };
        let encoded = base64(&secrets.fill(credentials.as_bytes(), origin)?);
        headers
            .push((header::AUTHORIZATION, sensitive(&header::AUTHORIZATION, format!("Basic {encoded}").as_bytes())?));
        Ok(FilledHeaders { headers, encoded: Some(encoded) })
    }
}

fn sensitive(name: &HeaderName, value: &[u8]) -> Result<HeaderValue, HttpError> {
    let mut value = HeaderValue::from_bytes(value)
        .map_err(|_| HttpError::invalid(format!("the header `{name}` has a character that headers cannot carry")))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Headers that say where a message goes and where it ends (RFC 9110, 7.6.1): a plugin that could set them could reach
/// another virtual host than the one granted, or smuggle a second request.
fn is_hosts_own(name: &HeaderName) -> bool {
    const NAMES: [&str; 11] = [
        "host",
        "connection",
        "content-length",
        "expect",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "http2-settings",
    ];
    NAMES.contains(&name.as_str()) || name.as_str().starts_with("proxy-")
}

/// RFC 4648, 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let [a, b, c] = [chunk[0], *chunk.get(1).unwrap_or(&0), *chunk.get(2).unwrap_or(&0)];
        let bits = u32::from_be_bytes([0, a, b, c]);
        for n in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * n)) as usize & 63];
            out.push(if n <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capabilities::http::error::code;

    fn plan(method: &str, headers: &[(&str, &str)]) -> Result<Plan, HttpError> {
        Plan::new(&Request {
            method: method.into(),
            url: "https://example.com".into(),
            headers: headers.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect(),
            ..Request::default()
        })
    }

    #[test]
    fn headers_that_say_where_a_message_goes_or_ends_are_the_hosts() {
        for name in
            ["Host", "connection", "Transfer-Encoding", "content-length", "Proxy-Authorization", "Upgrade", "TE"]
        {
            assert_eq!(plan("GET", &[(name, "x")]).expect_err(name).code, code::DENIED, "{name}");
        }
        assert!(plan("GET", &[("Accept", "application/json"), ("X-Api-Key", "1")]).is_ok());
        assert_eq!(plan("GET", &[("a b", "x")]).expect_err("name").code, code::INVALID);
        let many = vec![("a", "b"); HEADERS_MAX + 1];
        assert_eq!(plan("GET", &many).expect_err("many").code, code::LIMIT);
    }

    #[test]
    fn tunnels_are_not_for_plugins() {
        assert_eq!(plan("CONNECT", &[]).expect_err("tunnel").code, code::DENIED);
        assert_eq!(plan("TRACE", &[]).expect_err("trace").code, code::DENIED);
        assert_eq!(plan("GE T", &[]).expect_err("no method").code, code::INVALID);
        assert!(plan("PROPFIND", &[]).is_ok());
    }

    #[test]
    fn a_header_cannot_break_out_of_its_line() {
        let origin = Origin::of(&url::Url::parse("https://example.com").expect("url")).expect("origin");
        let plan = plan("GET", &[("x", "a\r\nHost: evil")]).expect("checked when it is filled");
        let error = plan.filled_headers(&origin, &Secrets::default()).err().expect("refused");
        assert_eq!(error.code, code::INVALID);
        assert!(!error.message.contains("evil"), "{error}");
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }
}
