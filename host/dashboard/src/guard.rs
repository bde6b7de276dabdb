//! Who may ask: Host and Origin against rebinding and cross-site requests, tokens for what needs one.
//!
//! Invariant: no route runs before [`check`]. A token is compared in constant time and never logged.
//!
//! A browser page of another site can reach a server on loopback in two ways: by a request of its own (it carries a
//! foreign `Origin`) or by a name it controls that resolves to 127.0.0.1 (it carries a foreign `Host`). Both are refused
//! (see "DNS rebinding", Jackson et al. 2007).

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use subtle::ConstantTimeEq as _;
use tracing::Instrument as _;

use crate::App;
use crate::reply::Failure;

/// What the config says of access.
#[derive(Clone, Default)]
pub struct AccessPolicy {
    /// For managing; and for reading too when `reads_need_token`.
    pub token: String,
    /// Listening beyond loopback: everything but `/health`, `/ready` and the UI's files needs the token.
    pub reads_need_token: bool,
    /// Names (without port) that may stand in `Host` beside `localhost` and IP addresses.
    pub allowed_hosts: Vec<String>,
}

/// Decides; see [`AccessPolicy`].
pub struct Access {
    policy: AccessPolicy,
}

/// What a path needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Nothing,
    Read,
    Manage,
}

impl Access {
    /// By this policy. An empty token lets nobody manage.
    pub fn new(policy: AccessPolicy) -> Self {
        Self { policy }
    }

    fn host_is_ours(&self, host: &str) -> bool {
        let name = host_name(host);
        name.eq_ignore_ascii_case("localhost")
            || name.parse::<IpAddr>().is_ok()
            || self.policy.allowed_hosts.iter().any(|h| h.eq_ignore_ascii_case(name))
    }

    fn has_token(&self, headers: &HeaderMap) -> bool {
        let Some(given) = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(credential) else {
            return false;
        };
        !self.policy.token.is_empty() && bool::from(given.as_bytes().ct_eq(self.policy.token.as_bytes()))
    }

    fn decide(&self, method: &Method, path: &str, headers: &HeaderMap, authority: Option<&str>) -> Result<(), Failure> {
        let host = headers.get(header::HOST).and_then(|v| v.to_str().ok()).or(authority).unwrap_or("");
        if !self.host_is_ours(host) {
            return Err(Failure::new(
                StatusCode::MISDIRECTED_REQUEST,
                "forbidden",
                format!("the host `{}` is not one of Belfry's names", host_name(host).escape_debug()),
                Some("open it by address, or add the name to `allowed_hosts` in [server]"),
            ));
        }
        if let Some(origin) = headers.get(header::ORIGIN) {
            let origin = origin.to_str().unwrap_or("");
            let theirs = origin.split_once("://").map_or("", |(_, rest)| rest);
            if !theirs.eq_ignore_ascii_case(host) {
                return Err(Failure::new(
                    StatusCode::FORBIDDEN,
                    "forbidden",
                    "requests from pages of other sites are refused",
                    None,
                ));
            }
        }
        if *method == Method::OPTIONS {
            return Ok(());
        }
        let needed = match need(method, path) {
            Need::Nothing => false,
            Need::Read => self.policy.reads_need_token,
            Need::Manage => true,
        };
        if needed && !self.has_token(headers) {
            return Err(Failure::new(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "this needs the token",
                Some(
                    "send `Authorization: Bearer TOKEN`: the one in [server.auth], or in the file admin-token of the data folder",
                ),
            ));
        }
        Ok(())
    }
}

fn need(method: &Method, path: &str) -> Need {
    match path {
        "/health" | "/ready" | "/health/ready" | "/-/healthy" | "/-/ready" => return Need::Nothing,
        "/-/reload" => return Need::Manage,
        _ => {}
    }
    if path.starts_with("/api/admin/") || path.starts_with("/api/v1/admin/") {
        return Need::Manage;
    }
    let is_api = path.starts_with("/api/") || path == "/metrics" || path == "/federate";
    // Prometheus' queries may be posted as forms: they change nothing. What is pushed there adds samples, and an unmodified
    // Prometheus on this machine may do that without a token; a page in a browser may not, by its Origin.
    let reads = matches!(*method, Method::GET | Method::HEAD) || path.starts_with("/api/v1/");
    match (is_api, reads) {
        (_, false) => Need::Manage,
        (true, true) => Need::Read,
        (false, true) => Need::Nothing,
    }
}

fn host_name(host: &str) -> &str {
    if let Some(inner) = host.strip_prefix('[') {
        return inner.split(']').next().unwrap_or("");
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

/// The token of `Bearer TOKEN`, or the password of `Basic`.
fn credential(value: &str) -> Option<String> {
    let (scheme, rest) = value.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().to_owned());
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let bytes = base64::engine::general_purpose::STANDARD.decode(rest.trim()).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        return text.split_once(':').map(|(_, password)| password.to_owned());
    }
    None
}

/// Runs before every route: decides, gives the request an id and a span, and adds the headers a browser should see.
pub(crate) async fn check(State(app): State<App>, request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let span = tracing::info_span!(
        "http",
        request_id = %id,
        method = %request.method(),
        path = %request.uri().path(),
        status = tracing::field::Empty,
    );
    let decision = app.access.decide(
        request.method(),
        request.uri().path(),
        request.headers(),
        request.uri().authority().map(|a| a.as_str()),
    );
    let is_options = *request.method() == Method::OPTIONS;
    let mut response = match decision {
        // The router adds what the route takes. A page of another site is not told that it may ask: it is refused.
        Ok(()) if is_options => StatusCode::NO_CONTENT.into_response(),
        Ok(()) => next.run(request).instrument(span.clone()).await,
        Err(failure) => failure.into_response(),
    };
    span.record("status", response.status().as_u16());
    span.in_scope(|| tracing::debug!(status = response.status().as_u16(), "answered"));
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert("x-request-id", value);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'; \
         base-uri 'none'; form-action 'none'",
    ));
    response
}

/// The caller's id when it is short and plain, else one of our own.
fn request_id(headers: &HeaderMap) -> String {
    use std::hash::{BuildHasher, Hasher};
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let given = headers.get("x-request-id").and_then(|v| v.to_str().ok());
    if let Some(id) = given
        && (1..=64).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    {
        return id.to_owned();
    }
    let mut hasher = std::hash::RandomState::new().build_hasher();
    hasher.write_u64(COUNT.fetch_add(1, Ordering::Relaxed));
    format!("{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(reads_need_token: bool, method: Method, path: &str, headers: &[(&str, &str)]) -> u16 {
        let access = Access::new(AccessPolicy {
            token: "s3cret".into(),
            reads_need_token,
            allowed_hosts: vec!["belfry.example".into()],
        });
        let mut map = HeaderMap::new();
        map.insert(header::HOST, HeaderValue::from_static("127.0.0.1:8089"));
        for (name, value) in headers {
            let name = header::HeaderName::from_bytes(name.as_bytes()).unwrap();
            map.insert(name, HeaderValue::from_str(value).unwrap());
        }
        access.decide(&method, path, &map, None).map_or_else(|f| f.into_response().status().as_u16(), |()| 200)
    }

    #[test]
    fn only_own_names_are_answered() {
        for (host, status) in [
            ("127.0.0.1:8089", 200),
            ("localhost:1", 200),
            ("[::1]:8089", 200),
            ("belfry.example", 200),
            ("evil.example:8089", 421),
            ("127.0.0.1.evil.example", 421),
            ("", 421),
        ] {
            assert_eq!(ask(false, Method::GET, "/api/overview", &[("host", host)]), status, "{host}");
        }
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        for (origin, status) in [
            ("http://127.0.0.1:8089", 200),
            ("http://127.0.0.1:9999", 403),
            ("https://evil.example", 403),
            ("null", 403),
        ] {
            assert_eq!(ask(false, Method::GET, "/api/overview", &[("origin", origin)]), status, "{origin}");
        }
    }

    #[test]
    fn managing_always_needs_the_token_and_reading_only_beyond_loopback() {
        let good = ("authorization", "Bearer s3cret");
        let basic = ("authorization", "Basic YW55Om4wdA==");
        for (beyond, method, path, headers, status) in [
            (false, Method::GET, "/api/plugins", &[][..], 200),
            (true, Method::GET, "/api/plugins", &[], 401),
            (true, Method::GET, "/api/plugins", &[good], 200),
            (true, Method::GET, "/api/plugins", &[basic], 401),
            (true, Method::GET, "/health", &[], 200),
            (true, Method::GET, "/", &[], 200),
            (true, Method::GET, "/metrics", &[], 401),
            (false, Method::GET, "/federate", &[], 200),
            (true, Method::GET, "/federate", &[], 401),
            (false, Method::POST, "/api/v1/query", &[], 200),
            (true, Method::POST, "/api/v1/query", &[], 401),
            (false, Method::POST, "/api/v1/write", &[], 200),
            (true, Method::POST, "/api/v1/write", &[], 401),
            (true, Method::POST, "/api/v1/write", &[good], 200),
            (false, Method::POST, "/api/plugins/x/reload", &[], 401),
            (false, Method::POST, "/api/plugins/x/reload", &[good], 200),
            (false, Method::PUT, "/api/admin/log-level", &[("authorization", "Bearer wrong")], 401),
            (false, Method::GET, "/api/admin/log-level", &[], 401),
            (false, Method::POST, "/-/reload", &[], 401),
            (false, Method::OPTIONS, "/api/overview", &[], 200),
            (true, Method::OPTIONS, "/api/v1/query", &[("origin", "http://evil.example")], 403),
        ] {
            assert_eq!(ask(beyond, method.clone(), path, headers), status, "{method} {path} {headers:?}");
        }
    }

    #[test]
    fn without_a_token_nobody_manages() {
        let access = Access::new(AccessPolicy::default());
        let mut map = HeaderMap::new();
        map.insert(header::HOST, HeaderValue::from_static("localhost"));
        map.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer "));
        assert!(access.decide(&Method::POST, "/-/reload", &map, None).is_err());
    }
}
