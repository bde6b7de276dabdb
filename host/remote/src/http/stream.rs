//! Answers that are read piece by piece: long ones that nobody should hold whole.

use std::io::Write as _;

use http::header;
use http_body_util::BodyExt as _;

use super::{Ask, HttpAnswer, HttpClient, HttpError, reason};

impl HttpClient {
    /// Asks once and hands the body of a good answer to `each` as it comes, unpacked; the answer returned has an empty
    /// body then. `each` says whether it wants more. Any other status is returned as by [`HttpClient::ask`]. The ask's
    /// limits hold for all of the answer.
    pub async fn ask_in_pieces(
        &self,
        ask: Ask,
        mut each: impl FnMut(&[u8]) -> bool + Send,
    ) -> Result<HttpAnswer, HttpError> {
        let timeout = ask.timeout;
        let work = self.exchange_in_pieces(ask, &mut each);
        tokio::time::timeout(timeout, work).await.unwrap_or(Err(HttpError::TimedOut(timeout)))
    }

    async fn exchange_in_pieces(
        &self,
        ask: Ask,
        each: &mut (impl FnMut(&[u8]) -> bool + Send),
    ) -> Result<HttpAnswer, HttpError> {
        let limit = ask.answer_bytes_max;
        let request = self.request(ask)?;
        let answer = self.client.request(request).await.map_err(|e| HttpError::Failed(reason(&e)))?;
        let (head, mut incoming) = answer.into_parts();
        if !head.status.is_success() {
            let body = super::read(incoming, &head.headers, limit).await?;
            return Ok(HttpAnswer { status: head.status, headers: head.headers, body });
        }
        let packed = match head.headers.get(header::CONTENT_ENCODING).map(|v| v.as_bytes()) {
            None | Some(b"" | b"identity") => false,
            Some(b"gzip") => true,
            Some(_) => {
                return Err(HttpError::Failed("the answer is packed in a way that was not asked for".to_owned()));
            }
        };
        let mut unpack = packed.then(|| flate2::write::MultiGzDecoder::new(Vec::new()));
        let broken = |e: &dyn std::fmt::Display| HttpError::Failed(format!("the answer cannot be unpacked: {e}"));
        let mut read = 0;
        let mut more = true;
        while more && let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(|e| HttpError::Failed(format!("the answer broke off: {e}")))?;
            let Some(data) = frame.data_ref() else { continue };
            let Some(unpack) = &mut unpack else {
                read += data.len();
                more = read <= limit && each(data);
                continue;
            };
            // A small piece of what came must not grow large before it is looked at.
            for piece in data.chunks(PACKED_PIECE_BYTES) {
                unpack.write_all(piece).map_err(|e| broken(&e))?;
                let out = unpack.get_mut();
                read += out.len();
                more = more && read <= limit && each(out);
                out.clear();
            }
        }
        if read > limit {
            return Err(HttpError::TooLarge(limit));
        }
        if let Some(unpack) = unpack.filter(|_| more) {
            // What is missing at the end is seen here.
            let rest = unpack.finish().map_err(|e| broken(&e))?;
            if read + rest.len() > limit {
                return Err(HttpError::TooLarge(limit));
            }
            each(&rest);
        }
        Ok(HttpAnswer { status: head.status, headers: head.headers, body: Vec::new() })
    }
}

/// Packed bytes unpack to about a thousand times as many at most.
const PACKED_PIECE_BYTES: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use url::Url;

    use super::*;
    use belfry_client::ClientOptions;

    async fn served(status: &str, headers: &str, body: &[u8]) -> Url {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/query", listener.local_addr().expect("its address"));
        let mut answer = format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n", body.len()).into_bytes();
        answer.extend_from_slice(body);
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut buf = [0; 4096];
            let read = stream.read(&mut buf).await.expect("a request");
            assert!(read > 0);
            stream.write_all(&answer).await.ok();
            stream.shutdown().await.ok();
        });
        url.parse().expect("an address")
    }

    async fn read(url: Url, limit: usize, enough: usize) -> (Result<HttpAnswer, HttpError>, Vec<u8>) {
        let client = HttpClient::new(ClientOptions::default()).expect("a client");
        let mut got = Vec::new();
        let ask = Ask::get(url, Duration::from_secs(30), limit);
        let answer = client.ask_in_pieces(ask, |piece| {
            got.extend_from_slice(piece);
            got.len() < enough
        });
        (answer.await, got)
    }

    fn pack(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).expect("it is packed");
        encoder.finish().expect("it is packed")
    }

    #[tokio::test]
    async fn all_of_a_good_answer_comes_in_pieces() {
        let body: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
        let (answer, got) = read(served("200 OK", "", &body).await, usize::MAX, usize::MAX).await;
        assert!(answer.expect("an answer").body.is_empty());
        assert_eq!(got, body);
        let url = served("200 OK", "content-encoding: gzip\r\n", &pack(&body)).await;
        let (answer, got) = read(url, usize::MAX, usize::MAX).await;
        answer.expect("an answer");
        assert_eq!(got, body);
    }

    #[tokio::test]
    async fn more_than_the_limit_is_refused_and_reading_stops_when_it_is_enough() {
        let bomb = pack(&vec![b'x'; 64 << 20]);
        let url = served("200 OK", "content-encoding: gzip\r\n", &bomb).await;
        let (answer, got) = read(url, 1 << 20, usize::MAX).await;
        assert_eq!(answer.expect_err("too large"), HttpError::TooLarge(1 << 20));
        assert!(got.len() <= 1 << 20);
        let (answer, got) = read(served("200 OK", "", &[b'x'; 1 << 20]).await, usize::MAX, 1).await;
        answer.expect("an answer");
        assert!(got.len() < 1 << 20);
    }

    #[tokio::test]
    async fn an_answer_that_is_not_good_is_whole_and_a_torn_one_is_an_error() {
        let (answer, got) = read(served("404 Not Found", "", b"no db").await, 100, usize::MAX).await;
        assert_eq!(answer.expect("an answer").reason(), "status 404: no db");
        assert!(got.is_empty());
        let torn = pack(b"some text that is cut");
        let url = served("200 OK", "content-encoding: gzip\r\n", &torn[..torn.len() - 9]).await;
        assert!(matches!(read(url, 100, usize::MAX).await.0, Err(HttpError::Failed(_))));
    }
}
