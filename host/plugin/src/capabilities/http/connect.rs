//! Connections: resolve, check the address, connect to what was checked, TLS, each timed.
//!
//! Invariant: no connection is made to an address that `address::allowed` did not allow.
//! Not here: HTTP itself (`egress`).

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use belfry_client::{Trust, tls_words};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;

use super::address;
use super::error::HttpError;
use super::origin::{Origin, OriginPattern, Scheme};

/// Before the next address of a name is tried.
const ATTEMPT_MAX: Duration = Duration::from_secs(3);
/// Addresses of a name that are tried.
const ADDRESSES_MAX: usize = 8;

/// Turns a name into addresses.
#[async_trait]
pub trait Resolve: Send + Sync {
    /// At least one, or why there is none.
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// Lookups at a time: each holds a thread of the blocking pool, which everything else needs, too, until the machine's
/// resolver gives up, whoever still waits for it.
const LOOKUPS_MAX: usize = 32;

/// The machine's own way: hosts file, local names, DNS.
#[derive(Clone, Debug)]
pub struct SystemResolver {
    lookups: Arc<Semaphore>,
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self { lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)) }
    }
}

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let permit = Arc::clone(&self.lookups).acquire_owned().await.map_err(io::Error::other)?;
        let host = host.to_owned();
        let lookup = tokio::task::spawn_blocking(move || {
            let addresses =
                (host.as_str(), 0).to_socket_addrs().map(|found| found.map(|address| address.ip()).collect());
            drop(permit);
            addresses
        });
        lookup.await.map_err(io::Error::other)?
    }
}

/// Microseconds of each phase of an exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Name to addresses.
    pub dns_us: u64,
    /// TCP.
    pub connect_us: u64,
    /// TLS; 0 without it.
    pub tls_us: u64,
    /// From the request's first byte out to the answer's head in.
    pub first_byte_us: u64,
    /// From the call to the answer's last byte, redirects included.
    pub total_us: u64,
}

/// What a TLS connection showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFacts {
    /// `TLSv1_3`.
    pub version: String,
    /// When the server's certificate ends.
    pub not_after_ms: i64,
    /// Whom it names.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
}

/// Where an exchange is, for the message of a time-out.
#[derive(Debug, Default)]
pub struct Phase(AtomicU8);

impl Phase {
    const NAMES: [&'static str; 6] = [
        "waiting for a free request",
        "resolving",
        "connecting",
        "negotiating TLS",
        "waiting for the answer",
        "reading the answer",
    ];

    pub(super) fn enter(&self, phase: u8) {
        self.0.store(phase, Ordering::Relaxed);
    }

    pub(super) fn name(&self) -> &'static str {
        Self::NAMES[usize::from(self.0.load(Ordering::Relaxed)).min(Self::NAMES.len() - 1)]
    }
}

pub(super) const RESOLVING: u8 = 1;
pub(super) const CONNECTING: u8 = 2;
pub(super) const TLS: u8 = 3;
pub(super) const WAITING: u8 = 4;
pub(super) const READING: u8 = 5;

/// A byte stream, with or without TLS.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

pub(super) struct Connected {
    pub io: Box<dyn Io>,
    pub timings: Timings,
    pub tls: Option<TlsFacts>,
}

/// Makes connections for all plugins.
pub struct Connect {
    resolver: Arc<dyn Resolve>,
    trust: Trust,
    tls: TlsConnector,
}

impl Connect {
    /// Trusts Mozilla's roots and the system's.
    pub fn new(resolver: Arc<dyn Resolve>) -> Result<Self, String> {
        let trust = Trust::public();
        Ok(Self { resolver, tls: connector(trust.clone())?, trust })
    }

    /// Trusts, beside those, the certificates of a PEM file.
    pub fn trust_also(&mut self, path: &Path) -> Result<(), String> {
        self.trust.add_file(path)?;
        self.tls = connector(self.trust.clone())?;
        Ok(())
    }

    /// A fresh connection to `origin`, whose grant was checked, at an address that is allowed.
    pub(super) async fn open(
        &self,
        grants: &[OriginPattern],
        origin: &Origin,
        phase: &Phase,
    ) -> Result<Connected, HttpError> {
        let mut timings = Timings::default();
        let started = Instant::now();
        phase.enter(RESOLVING);
        let addresses = match origin.address {
            Some(address) => vec![address],
            None => self
                .resolver
                .resolve(&origin.host)
                .await
                .map_err(|error| HttpError::unreachable(format!("cannot resolve `{}`: {error}", origin.host)))?,
        };
        if origin.address.is_none() {
            timings.dns_us = micros(started);
        }
        let checked = checked(grants, origin, &addresses)?;

        phase.enter(CONNECTING);
        let started = Instant::now();
        let tcp = connect_any(&checked, origin).await?;
        // A probe measures single small requests; waiting to fill a segment would be measured, too.
        let _ = tcp.set_nodelay(true);
        timings.connect_us = micros(started);
        if origin.scheme == Scheme::Http {
            return Ok(Connected { io: Box::new(tcp), timings, tls: None });
        }

        phase.enter(TLS);
        let started = Instant::now();
        let name = match origin.address {
            Some(address) => ServerName::IpAddress(address.into()),
            None => ServerName::try_from(origin.host.clone())
                .map_err(|_| HttpError::invalid(format!("`{}` is no host name", origin.host)))?,
        };
        let stream = self.tls.connect(name, tcp).await.map_err(|error| tls_error(origin, &error))?;
        timings.tls_us = micros(started);
        let tls = tls_facts(stream.get_ref().1);
        Ok(Connected { io: Box::new(stream), timings, tls })
    }
}

fn connector(trust: Trust) -> Result<TlsConnector, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|e| e.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(trust.verifier()?)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The addresses that are allowed, or why none is.
fn checked(grants: &[OriginPattern], origin: &Origin, addresses: &[IpAddr]) -> Result<Vec<IpAddr>, HttpError> {
    let mut refused = None;
    let mut checked = Vec::new();
    for address in addresses {
        match address::allowed(grants, origin, *address) {
            Ok(()) if checked.len() < ADDRESSES_MAX && !checked.contains(address) => checked.push(*address),
            Ok(()) => {}
            Err(why) => refused = Some(why),
        }
    }
    match (checked.is_empty(), refused) {
        (false, _) => Ok(checked),
        (true, Some(why)) => Err(HttpError::denied(why)),
        (true, None) => Err(HttpError::unreachable(format!("`{}` has no address", origin.host))),
    }
}

async fn connect_any(addresses: &[IpAddr], origin: &Origin) -> Result<TcpStream, HttpError> {
    let mut last = None;
    for (n, address) in addresses.iter().enumerate() {
        let attempt = TcpStream::connect(SocketAddr::new(*address, origin.port));
        // The last address gets whatever time the request has left.
        let result = if n + 1 < addresses.len() {
            tokio::time::timeout(ATTEMPT_MAX, attempt).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        } else {
            attempt.await
        };
        match result {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    let why = last.map_or_else(String::new, |error| format!(": {error}"));
    Err(HttpError::unreachable(format!("cannot connect to `{origin}`{why}")))
}

fn tls_error(origin: &Origin, error: &io::Error) -> HttpError {
    let rustls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match rustls {
        // A connection that broke off may work the next time; a certificate does not mend itself.
        None => HttpError::unreachable(format!("TLS with `{origin}` failed: {error}")),
        Some(error) => HttpError::tls(format!("TLS with `{origin}` failed: {}", tls_words(error))),
    }
}

fn tls_facts(connection: &rustls::ClientConnection) -> Option<TlsFacts> {
    let version = connection.protocol_version()?;
    let certificate = connection.peer_certificates()?.first()?;
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(TlsFacts {
        version: version.as_str().unwrap_or("unknown").to_owned(),
        not_after_ms: parsed.validity().not_after.timestamp().saturating_mul(1000),
        subject: parsed.subject().to_string(),
        issuer: parsed.issuer().to_string(),
    })
}

pub(super) fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}
