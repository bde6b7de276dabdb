//! The host as an HTTP client: whom it trusts, and who it says it is. The same for a scraped target, a list of targets
//! and a storage engine.
//!
//! Invariant: a secret is never printed, and an error names a file, not its folder.
//! Not here: requests, answers, time limits, redirects: each client has its own (`ingest::scrape`, `remote::http`).
//! Plugins' requests go another way, through their grants (`plugin`), but trust the same certificates (`Trust`).

mod secret;
mod tls;

use base64::Engine as _;
use http::HeaderMap;
use http::header::{self, HeaderName, HeaderValue};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::pki_types::ServerName;

pub use secret::Secret;
pub use tls::{TlsOptions, Trust, reread_system_roots, system_roots, tls_words};

/// Opens connections as the options say.
pub type Connector = HttpsConnector<HttpConnector>;

/// A file cannot be read or used, or a text cannot be sent. Trying again helps once somebody has mended it; the text
/// says what, and holds no secret.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct OptionsError(pub String);

/// Who we say we are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// Nobody.
    #[default]
    None,
    /// A name and a password.
    Basic {
        /// Name.
        username: String,
        /// Password.
        password: Secret,
    },
    /// A token, with the word before it.
    Token {
        /// `Bearer` unless the config says otherwise; InfluxDB 2 says `Token`.
        kind: String,
        /// The token.
        token: Secret,
    },
}

/// How somebody is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientOptions {
    /// Who we say we are.
    pub auth: Auth,
    /// Sent with each request.
    pub headers: Vec<(String, Secret)>,
    /// How connections are secured.
    pub tls: TlsOptions,
}

impl ClientOptions {
    /// What opens connections, plain or with TLS. Fails when a certificate or a key cannot be used.
    pub fn connector(&self) -> Result<Connector, OptionsError> {
        let tls = tls::config(&self.tls).map_err(OptionsError)?;
        let builder = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let Some(name) = &self.tls.server_name else {
            return Ok(builder.enable_http1().wrap_connector(tcp));
        };
        let bad = |_| OptionsError(format!("`server_name`: `{name}` is no host name"));
        let name = ServerName::try_from(name.clone()).map_err(bad)?;
        Ok(builder.with_server_name_resolver(FixedServerNameResolver::new(name)).enable_http1().wrap_connector(tcp))
    }

    /// Puts the options' headers and the credentials into a request. For the asked one's own address only: whoever
    /// follows a redirect elsewhere leaves them out. Secrets' files are read now.
    pub fn sign(&self, headers: &mut HeaderMap) -> Result<(), OptionsError> {
        let bad = |what: &str| OptionsError(format!("{what} cannot be sent"));
        for (name, value) in &self.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad("a header's name"))?;
            headers.insert(name, sensitive(value.read()?).ok_or_else(|| bad("a header's value"))?);
        }
        let authorization = match &self.auth {
            Auth::None => return Ok(()),
            Auth::Basic { username, password } => {
                let both = format!("{username}:{}", password.read()?);
                format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(both))
            }
            Auth::Token { kind, token } => format!("{kind} {}", token.read()?),
        };
        headers.insert(header::AUTHORIZATION, sensitive(authorization).ok_or_else(|| bad("the credentials"))?);
        Ok(())
    }
}

/// The innermost cause says the most; none of them holds a header. One of TLS is told for people.
pub fn innermost(e: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = e;
    loop {
        if let Some(tls) = tls_error(cause) {
            return tls_words(tls);
        }
        let Some(source) = cause.source() else { return cause.to_string() };
        cause = source;
    }
}

/// An I/O error hides what it holds, which may be another one: its source is the source of that.
fn tls_error<'a>(e: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let mut e = e;
    while let Some(held) = e.downcast_ref::<std::io::Error>().and_then(|io| io.get_ref()) {
        e = held;
    }
    e.downcast_ref()
}

fn sensitive(text: String) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(kind: &str, text: &str) -> Auth {
        Auth::Token { kind: kind.to_owned(), token: Secret::Text(text.to_owned()) }
    }

    #[test]
    fn headers_and_credentials_are_set_and_marked_as_secret() {
        let key = ("X-Key".to_owned(), Secret::Text("k".to_owned()));
        let options = ClientOptions { auth: token("Token", "t"), headers: vec![key], ..ClientOptions::default() };
        let mut headers = HeaderMap::new();
        options.sign(&mut headers).expect("both can be sent");
        assert_eq!(headers["authorization"], "Token t");
        assert_eq!(headers["x-key"], "k");
        assert!(headers.values().all(HeaderValue::is_sensitive));
    }

    #[test]
    fn a_name_and_a_password_are_sent_as_basic() {
        let password = Secret::Text("open sesame".to_owned());
        let auth = Auth::Basic { username: "Aladdin".to_owned(), password };
        let mut headers = HeaderMap::new();
        ClientOptions { auth, ..ClientOptions::default() }.sign(&mut headers).expect("it can be sent");
        // The example of RFC 7617.
        assert_eq!(headers["authorization"], "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    }

    #[test]
    fn what_cannot_be_sent_is_said_without_the_secret() {
        let options = ClientOptions { auth: token("Bearer", "two\nlines"), ..ClientOptions::default() };
        let e = options.sign(&mut HeaderMap::new()).expect_err("a line break");
        assert_eq!(e.to_string(), "the credentials cannot be sent");
        assert!(!format!("{options:?}").contains("two"), "{options:?}");
    }

    #[test]
    fn a_server_name_that_is_none_is_named() {
        let tls = TlsOptions { server_name: Some("not a name".to_owned()), ..TlsOptions::default() };
        let e = ClientOptions { tls, ..ClientOptions::default() }.connector().expect_err("it has spaces");
        assert_eq!(e.to_string(), "`server_name`: `not a name` is no host name");
    }

    #[test]
    fn an_error_of_tls_is_told_for_people_however_it_is_wrapped() {
        use std::io;
        let tls = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        // As tokio-rustls and hyper-rustls do it, one in the other.
        let e = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, tls));
        assert!(innermost(&e).contains("its issuer is unknown"), "{}", innermost(&e));
        let e = io::Error::other(io::Error::other("another one"));
        assert_eq!(innermost(&e), "another one");
    }

    #[test]
    fn a_certificate_that_cannot_be_read_is_named_without_its_folder() {
        let tls = TlsOptions { ca_file: Some("/nowhere/at/all/ca.pem".into()), ..TlsOptions::default() };
        let e = ClientOptions { tls, ..ClientOptions::default() }.connector().expect_err("it is not there");
        assert!(e.to_string().contains("`ca.pem`") && !e.to_string().contains("nowhere"), "{e}");
    }
}
