//! A target's own connection, kept from scrape to scrape and driven by whoever asks: no task and no pool stands between
//! a request and its answer.
//!
//! Invariant: one request at a time; what broke off or was given up is closed, never used again. A kept connection that
//! turns out to be closed is made anew once.
//! Not here: what is asked and what an answer means (`client`).

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, Instant};

use belfry_client::{Connector, innermost};
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Request, Response, Uri};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::service::Service as _;
use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;

use super::ScrapeError;

type Driver = Pin<Box<http1::Connection<Stream, Empty<Bytes>>>>;
type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// A connection is not used again after a pause of this length: who knows what forgot it on the way.
const IDLE_MAX: Duration = Duration::from_secs(300);

/// Where a connection waits for the next scrape. Empty at first, and after whatever went wrong.
#[derive(Default)]
pub struct Kept(Option<Connection>);

/// Open, and at rest or in use.
pub(super) struct Connection {
    sender: http1::SendRequest<Empty<Bytes>>,
    /// `None` when it has ended.
    driver: Option<Driver>,
    used: Instant,
}

impl Kept {
    /// The connection, if it is likely to be alive.
    pub(super) fn take(&mut self) -> Option<Connection> {
        self.0.take().filter(|c| c.used.elapsed() < IDLE_MAX)
    }

    /// Keeps it for the next request. Its last answer must have been read to the end.
    pub(super) fn put(&mut self, mut connection: Connection) {
        connection.used = Instant::now();
        self.0 = Some(connection).filter(|c| c.driver.is_some());
    }
}

impl Connection {
    /// Connects to `uri`'s host.
    pub(super) async fn open(connector: &Connector, uri: &Uri) -> Result<Self, ScrapeError> {
        let stream = TowerToHyperService::new(connector.clone()).call(uri.clone()).await;
        let stream = stream.map_err(|e| ScrapeError::Failed(format!("cannot connect: {}", innermost(&*e))))?;
        let (sender, driver) = http1::handshake(stream).await.map_err(failed)?;
        Ok(Self { sender, driver: Some(Box::pin(driver)), used: Instant::now() })
    }

    /// Sends a request whose address is whole.
    pub(super) async fn send(
        &mut self,
        mut request: Request<Empty<Bytes>>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        let uri = std::mem::take(request.uri_mut());
        if let Some(host) = uri.authority().and_then(|a| HeaderValue::from_str(a.as_str()).ok()) {
            request.headers_mut().insert(header::HOST, host);
        }
        let path = uri.path_and_query().map_or("/", |p| p.as_str());
        *request.uri_mut() = path.parse().unwrap_or_default();
        let Self { sender, driver, .. } = self;
        drive(driver, async {
            sender.ready().await?;
            sender.send_request(request).await
        })
        .await
    }

    /// Does `work`, which needs what comes over the connection.
    pub(super) async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        drive(&mut self.driver, work).await
    }
}

/// Lets the connection get on whenever `work` cannot.
async fn drive<T>(driver: &mut Option<Driver>, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(done);
        }
        if driver.as_mut().is_some_and(|d| d.as_mut().poll(cx).is_ready()) {
            // How it ended, the request or the body says, once the connection is gone.
            *driver = None;
        }
        work.as_mut().poll(cx)
    })
    .await
}

pub(super) fn failed(e: hyper::Error) -> ScrapeError {
    ScrapeError::Failed(innermost(&e))
}
