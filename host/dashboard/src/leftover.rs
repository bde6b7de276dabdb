//! Bodies of requests that are answered before they were read: refused, of a wrong type, to a path that takes none.
//!
//! Invariant: after such an answer the connection is either at its next request, or the answer said that it ends. Without
//! this the server closes it, and a client that keeps connections loses its next request, which was never at fault
//! (RFC 9112, 9.3 and 9.6).
//! Not here: limits of bodies that are read.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderValue, Version, header};
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt as _;
use tokio::sync::oneshot;

/// So much is read away to keep a connection; opening another costs less than a longer rest.
const REST_BYTES_MAX: u64 = 64 << 10;
/// A client that sends slower than this has its connection closed: the answer does not wait for it.
const REST_WAIT: Duration = Duration::from_secs(1);

/// Runs around everything that answers.
pub(crate) async fn take(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    if body.is_end_stream() {
        return next.run(Request::from_parts(parts, body)).await;
    }
    // Who waits for a `100 Continue` sends nothing before it: there is no rest, and reading would ask for one.
    let waits = parts.headers.contains_key(header::EXPECT);
    let is_http1 = parts.version <= Version::HTTP_11;
    let (back, mut left) = oneshot::channel();
    let body = Body::new(Returned { body: Some(body), back: Some(back) });
    let mut response = next.run(Request::from_parts(parts, body)).await;
    // Only a body that somebody has let go of comes back at once; who still reads takes care of it.
    let Ok(rest) = left.try_recv() else { return response };
    let is_read = !waits && tokio::time::timeout(REST_WAIT, read_away(rest)).await.unwrap_or(false);
    if !is_read && is_http1 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Is it at its end?
async fn read_away(mut rest: Body) -> bool {
    if rest.size_hint().lower() > REST_BYTES_MAX {
        return false;
    }
    let mut read = 0;
    while let Some(frame) = rest.frame().await {
        let Ok(frame) = frame else { return false };
        read += frame.data_ref().map_or(0, |d| d.len() as u64);
        if read > REST_BYTES_MAX {
            return false;
        }
    }
    true
}

/// A body that comes back when it is dropped before its end.
struct Returned {
    body: Option<Body>,
    back: Option<oneshot::Sender<Body>>,
}

impl HttpBody for Returned {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, axum::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        // What broke off has no rest.
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.as_ref().map_or_else(|| http_body::SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Returned {
    fn drop(&mut self) {
        if let (Some(body), Some(back)) = (self.body.take().filter(|b| !b.is_end_stream()), self.back.take()) {
            let _ = back.send(body);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::Router;
    use belfry_model::TimestampMs;
    use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::watch;

    use super::*;
    use crate::testing::Fake;
    use crate::{AccessPolicy, router};

    /// One connection that is kept, as clients with a pool have it.
    struct Client(BufReader<TcpStream>);

    impl Client {
        async fn new() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let policy = AccessPolicy { token: "s3cret".into(), ..AccessPolicy::default() };
            let (closing, closes) = watch::channel(false);
            let routes = router(Arc::new(Fake::at(TimestampMs(0))), policy, closes, Router::new());
            tokio::spawn(async move {
                let _open = closing;
                axum::serve(listener, routes).await.unwrap();
            });
            Self(BufReader::new(TcpStream::connect(address).await.unwrap()))
        }

        /// Sends the head, and after a while the body: they come in packets of their own.
        async fn send(&mut self, head: &str, body: &[u8]) {
            let head = format!("{head}\r\nhost: localhost\r\n\r\n");
            self.0.get_mut().write_all(head.as_bytes()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            // A server that closes early takes no more.
            let _ = self.0.get_mut().write_all(body).await;
        }

        /// The status, and whether the server says that it closes; `None` when it closed without a word.
        async fn answer(&mut self) -> Option<(u16, bool)> {
            let (mut status, mut closes, mut length) = (None, false, 0);
            loop {
                let mut line = String::new();
                if self.0.read_line(&mut line).await.unwrap_or(0) == 0 {
                    return None;
                }
                let line = line.trim_end().to_ascii_lowercase();
                match line.split_once(": ") {
                    Some(("content-length", n)) => length = n.parse().unwrap(),
                    Some(("connection", how)) => closes = how == "close",
                    None if line.is_empty() => break,
                    None => status = line.split(' ').nth(1).map(|s| s.parse().unwrap()),
                    _ => {}
                }
            }
            self.0.read_exact(&mut vec![0; length]).await.unwrap();
            Some((status?, closes))
        }
    }

    const REFUSED: [(&str, u16); 5] = [
        ("POST /api/v1/label/job/values HTTP/1.1", 405),
        ("POST /api/v1/nope HTTP/1.1", 404),
        ("POST /api/v1/admin/tsdb/snapshot HTTP/1.1", 401),
        ("POST /api/v1/query HTTP/1.1\r\norigin: http://evil.example", 403),
        ("GET /health HTTP/1.1", 200),
    ];

    #[tokio::test]
    async fn a_request_that_is_answered_before_its_body_came_leaves_the_connection_to_the_next_one() {
        for (head, status) in REFUSED {
            let mut client = Client::new().await;
            for (framing, body) in [
                ("content-length: 10", b"a=12345678".to_vec()),
                ("content-length: 65536", vec![b'x'; 65_536]),
                ("transfer-encoding: chunked", b"3\r\na=1\r\n0\r\n\r\n".to_vec()),
            ] {
                client.send(&format!("{head}\r\n{framing}"), &body).await;
                assert_eq!(client.answer().await, Some((status, false)), "{head} {framing}");
            }
        }
    }

    #[tokio::test]
    async fn where_the_rest_is_not_read_the_answer_says_that_the_connection_ends() {
        for (head, status) in REFUSED {
            for (framing, body) in [
                ("content-length: 65537", vec![b'x'; 65_537]),
                ("content-length: 9999999999", vec![b'x'; 10]),
                // It never comes.
                ("content-length: 10", Vec::new()),
                ("content-length: 10\r\nexpect: 100-continue", Vec::new()),
            ] {
                let mut client = Client::new().await;
                client.send(&format!("{head}\r\n{framing}"), &body).await;
                assert_eq!(client.answer().await, Some((status, true)), "{head} {framing}");
            }
        }
    }

    #[tokio::test]
    async fn a_body_that_is_read_to_its_end_is_nobodys_rest() {
        let mut client = Client::new().await;
        let form = "content-type: application/x-www-form-urlencoded\r\ncontent-length: 7";
        for _ in 0..2 {
            client.send(&format!("POST /api/v1/query HTTP/1.1\r\n{form}"), b"query=1").await;
            assert_eq!(client.answer().await, Some((200, false)));
        }
    }
}
