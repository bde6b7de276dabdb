//! A target's own connection, kept from scrape to scrape and driven by whoever asks: no task and no pool stands between
//! a request and its answer, which is read into memory that is used again.
//!
//! Invariant: one request at a time; what broke off or was given up is closed, never used again. A kept connection that
//! turns out to be closed is made anew once.
//! Not here: what is asked and what an answer means (`client`), how answers are framed (`http1`).

use std::time::{Duration, Instant};

use belfry_client::{Connector, innermost};
use hyper::service::Service as _;
use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use url::Url;

use super::ScrapeError;
use super::http1::{self, Body, Head, Length, ToCome};

type Stream = TokioIo<MaybeHttpsStream<TokioIo<TcpStream>>>;

/// A connection is not used again after a pause of this length: who knows what forgot it on the way.
const IDLE_MAX: Duration = Duration::from_secs(300);
/// Room for the first read of an answer: most answers come whole.
const READ_BYTES_MIN: usize = 16 << 10;
/// Room that is made at once for a body, whatever length its head claims.
const READ_BYTES_MAX: usize = 1 << 20;
/// What targets send, unasked, on a connection that they close because nothing came over it.
const REQUEST_TIMEOUT: u16 = 408;

/// What is kept of a target's connection from scrape to scrape.
#[derive(Default)]
pub struct Kept {
    /// Empty at first, and after whatever went wrong.
    connection: Option<Connection>,
    /// The last request, if it had no secrets: the next one is the same.
    pub(super) request: Option<Prepared>,
}

/// A request, and what it was made of.
pub(super) struct Prepared {
    pub url: Url,
    pub accept: String,
    pub timeout: Duration,
    pub bytes: Vec<u8>,
}

/// Open, and at rest or in use.
struct Connection {
    stream: Stream,
    used: Instant,
}

/// An answer whose head was read; the first bytes of its body may be there.
pub(super) struct Answer {
    pub head: Head,
    connection: Connection,
    /// Where the body begins.
    pub start: usize,
}

impl Kept {
    /// Sends `request` to `url`'s host, over the connection that was kept if it is still there, and reads the head of the
    /// answer into `bytes`, with what comes along.
    pub(super) async fn ask(
        &mut self,
        connector: &Connector,
        url: &Url,
        request: &[u8],
        bytes: &mut Vec<u8>,
    ) -> Result<Answer, ScrapeError> {
        if let Some(mut connection) = self.connection.take().filter(|c| c.used.elapsed() < IDLE_MAX) {
            match connection.head(request, bytes).await {
                Ok((head, start)) if head.status != REQUEST_TIMEOUT => return Ok(Answer { head, connection, start }),
                // The target closed it meanwhile.
                Ok(_) => {}
                Err(_) if bytes.is_empty() => {}
                Err(e) => return Err(e),
            }
        }
        let mut connection = Connection::open(connector, url).await?;
        let (head, start) = connection.head(request, bytes).await?;
        Ok(Answer { head, connection, start })
    }

    /// Reads the body of `answer` behind its head, and keeps the connection for the next request if it can take one. A
    /// body of more than `bytes_max` bytes is not read to its end: then `Ok` is false.
    pub(super) async fn read(
        &mut self,
        answer: Answer,
        bytes: &mut Vec<u8>,
        bytes_max: usize,
    ) -> Result<bool, ScrapeError> {
        let Answer { head, mut connection, start } = answer;
        let broke_off = |e: &str| ScrapeError::Failed(format!("the answer broke off: {e}"));
        let mut body = Body::new(head.length, start);
        loop {
            let to_come = body.take(bytes).map_err(bad)?;
            let length = body.len(bytes);
            if length > bytes_max {
                return Ok(false);
            }
            let room = match to_come {
                ToCome::Nothing => {
                    // What stands behind the answer was not asked for.
                    let is_clean = bytes.len() == start + length;
                    bytes.truncate(start + length);
                    if head.keeps && is_clean {
                        connection.used = Instant::now();
                        self.connection = Some(connection);
                    }
                    return Ok(true);
                }
                ToCome::Bytes(n) => usize::try_from(n).unwrap_or(usize::MAX).min(READ_BYTES_MAX),
                ToCome::Unknown => READ_BYTES_MIN,
            };
            bytes.reserve(room);
            match connection.stream.read_buf(bytes).await {
                Ok(0) if head.length == Length::UntilClose => return Ok(true),
                Ok(0) => return Err(broke_off("the target closed the connection")),
                Ok(_) => {}
                Err(e) => return Err(broke_off(&e.to_string())),
            }
        }
    }
}

impl Connection {
    /// Connects to `url`'s host.
    async fn open(connector: &Connector, url: &Url) -> Result<Self, ScrapeError> {
        let uri = url.as_str().parse().map_err(|_| ScrapeError::Failed("the address cannot be sent".to_owned()))?;
        let stream = TowerToHyperService::new(connector.clone()).call(uri).await;
        let stream = stream.map_err(|e| ScrapeError::Failed(format!("cannot connect: {}", innermost(&*e))))?;
        Ok(Self { stream: TokioIo::new(stream), used: Instant::now() })
    }

    /// Sends a request, and reads the head of its answer; nothing is in `bytes` when the target did not answer at all.
    async fn head(&mut self, request: &[u8], bytes: &mut Vec<u8>) -> Result<(Head, usize), ScrapeError> {
        bytes.clear();
        let failed = |e: std::io::Error| ScrapeError::Failed(e.to_string());
        self.stream.write_all(request).await.map_err(failed)?;
        // Behind TLS it may still wait to be sent.
        self.stream.flush().await.map_err(failed)?;
        loop {
            bytes.reserve(READ_BYTES_MIN);
            if self.stream.read_buf(bytes).await.map_err(failed)? == 0 {
                return Err(ScrapeError::Failed("the target closed the connection before it answered".to_owned()));
            }
            if let Some(found) = http1::head(bytes).map_err(bad)? {
                return Ok(found);
            }
        }
    }
}

fn bad(what: &'static str) -> ScrapeError {
    ScrapeError::Failed(format!("the answer cannot be read: {what}"))
}
