//! HTTP/1.1 as far as a scrape needs it (RFC 9112): where the body of an answer begins and ends.
//!
//! Invariant: no bytes panic; an answer whose end is not certain is refused, or read until the connection is closed and
//! then not followed by another. What is held beside the body is bounded by [`HEAD_BYTES_MAX`].
//! Not here: sockets (`connection`), what an answer means (`client`).

use std::mem::MaybeUninit;

use httparse::{Header, ParserConfig, Response, Status};

/// Of an answer's head, and of the frame of a chunk: far more than any exporter sends.
pub(super) const HEAD_BYTES_MAX: usize = 64 << 10;
/// More lines in a head are a mistake of the target.
const HEADERS_MAX: usize = 100;

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// After so many bytes.
    Bytes(u64),
    /// With the last chunk.
    Chunked,
    /// With the connection.
    UntilClose,
}

/// What stands before a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub status: u16,
    pub length: Length,
    /// The connection can take another request afterwards.
    pub keeps: bool,
    pub content_type: Option<String>,
    pub encoding: Option<String>,
    pub location: Option<String>,
}

/// Reads the head of an answer to a GET, those of interim answers included, and how many bytes they take; `None` when
/// there is more to come.
pub(super) fn head(bytes: &[u8]) -> Result<Option<(Head, usize)>, &'static str> {
    let mut begin = 0;
    loop {
        let mut space = [MaybeUninit::<Header<'_>>::uninit(); HEADERS_MAX];
        let mut response = Response::new(&mut []);
        let rest = bytes.get(begin..).unwrap_or_default();
        let parsed = ParserConfig::default().parse_response_with_uninit_headers(&mut response, rest, &mut space);
        match parsed {
            Ok(Status::Complete(length)) => begin += length,
            Ok(Status::Partial) if bytes.len() > HEAD_BYTES_MAX => return Err("its head is too long"),
            Ok(Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => return Err("its head has too many lines"),
            Err(_) => return Err("its head is no HTTP"),
        }
        match response.code {
            // Nothing was asked for that a connection could switch to.
            Some(101) => return Err("it switches protocols"),
            // Interim: the answer itself follows.
            Some(100..200) => {}
            status => {
                let status = status.unwrap_or_default();
                return Ok(Some((read_head(status, response.version == Some(1), response.headers)?, begin)));
            }
        }
    }
}

fn read_head(status: u16, is_1_1: bool, headers: &[Header<'_>]) -> Result<Head, &'static str> {
    let mut head =
        Head { status, length: Length::UntilClose, keeps: is_1_1, content_type: None, encoding: None, location: None };
    let (mut bytes, mut coded, mut chunked, mut close) = (None, false, false, false);
    for Header { name, value } in headers {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        let text = || Some(String::from_utf8_lossy(value).trim().to_owned());
        if is("content-length") {
            let n: Option<u64> = std::str::from_utf8(value).ok().and_then(|v| v.trim().parse().ok());
            if n.is_none() || bytes.is_some_and(|before| Some(before) != n) {
                return Err("it does not say how long it is");
            }
            bytes = n;
        } else if is("transfer-encoding") {
            coded = true;
            // Only as the last one it tells where the body ends.
            chunked = items(value).last().is_some_and(|v| v.eq_ignore_ascii_case(b"chunked"));
        } else if is("connection") {
            close |= items(value).any(|v| v.eq_ignore_ascii_case(b"close"));
            head.keeps |= items(value).any(|v| v.eq_ignore_ascii_case(b"keep-alive"));
        } else if is("content-type") {
            head.content_type = text();
        } else if is("content-encoding") {
            head.encoding = text();
        } else if is("location") {
            head.location = text();
        }
    }
    head.length = match bytes {
        _ if chunked => Length::Chunked,
        // Both: the length is not to be believed, and neither is what comes behind it.
        Some(n) if !coded => Length::Bytes(n),
        _ => Length::UntilClose,
    };
    head.keeps &= !close && head.length != Length::UntilClose && !(coded && bytes.is_some());
    Ok(head)
}

fn items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(<[u8]>::trim_ascii)
}

enum Expect {
    Size,
    Data(u64),
    EndOfData,
    Trailers,
    Nothing,
}

/// Takes chunks out of their frames, in place, as they come.
pub(super) struct Chunks {
    /// Up to here the bytes are body, or what stands before it.
    end: usize,
    expect: Expect,
    trailer_bytes: usize,
}

impl Chunks {
    /// The first chunk's frame begins at `at`.
    pub fn new(at: usize) -> Self {
        Self { end: at, expect: Expect::Size, trailer_bytes: 0 }
    }

    /// Where the body ends that was taken out so far.
    pub fn end(&self) -> usize {
        self.end
    }

    /// Takes out what has come. `true` when that was the last chunk: then nothing, or what does not belong to the answer,
    /// stands behind [`Chunks::end`].
    pub fn take(&mut self, bytes: &mut Vec<u8>) -> Result<bool, &'static str> {
        let mut at = self.end;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            match self.expect {
                Expect::Size => match httparse::parse_chunk_size(rest) {
                    Ok(Status::Complete((frame, size))) => {
                        at += frame;
                        self.expect = if size == 0 { Expect::Trailers } else { Expect::Data(size) };
                    }
                    Ok(Status::Partial) if rest.len() <= HEAD_BYTES_MAX => break,
                    _ => return Err("a chunk has no size"),
                },
                Expect::Data(left) => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    bytes.copy_within(at..at + here, self.end);
                    (at, self.end) = (at + here, self.end + here);
                    match left - here as u64 {
                        0 => self.expect = Expect::EndOfData,
                        left => {
                            self.expect = Expect::Data(left);
                            break;
                        }
                    }
                }
                Expect::EndOfData => match rest {
                    [b'\r', b'\n', ..] => (at, self.expect) = (at + 2, Expect::Size),
                    [] | [b'\r'] => break,
                    _ => return Err("a chunk does not end where it should"),
                },
                Expect::Trailers => {
                    let Some(line) = rest.iter().position(|b| *b == b'\n') else {
                        if self.trailer_bytes + rest.len() > HEAD_BYTES_MAX {
                            return Err("what follows its last chunk is too long");
                        }
                        break;
                    };
                    let is_last = matches!(rest.get(..line), Some([] | [b'\r']));
                    at += line + 1;
                    self.trailer_bytes += line + 1;
                    if self.trailer_bytes > HEAD_BYTES_MAX {
                        return Err("what follows its last chunk is too long");
                    }
                    if is_last {
                        self.expect = Expect::Nothing;
                    }
                }
                Expect::Nothing => break,
            }
        }
        let left = bytes.len() - at;
        bytes.copy_within(at.., self.end);
        bytes.truncate(self.end + left);
        Ok(matches!(self.expect, Expect::Nothing))
    }
}

/// What of a body is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ToCome {
    /// Nothing: it is whole.
    Nothing,
    /// So many bytes.
    Bytes(u64),
    /// Nobody knows.
    Unknown,
}

/// The body of an answer, as it comes.
pub(super) struct Body {
    start: usize,
    length: Length,
    chunks: Option<Chunks>,
}

impl Body {
    /// It begins at `start`.
    pub fn new(length: Length, start: usize) -> Self {
        Self { start, length, chunks: (length == Length::Chunked).then(|| Chunks::new(start)) }
    }

    /// Takes what has come: `bytes` has the head and all that followed it.
    pub fn take(&mut self, bytes: &mut Vec<u8>) -> Result<ToCome, &'static str> {
        match (&mut self.chunks, self.length) {
            (Some(chunks), _) => Ok(if chunks.take(bytes)? { ToCome::Nothing } else { ToCome::Unknown }),
            (None, Length::Bytes(n)) => match n.saturating_sub((bytes.len() - self.start) as u64) {
                0 => Ok(ToCome::Nothing),
                left => Ok(ToCome::Bytes(left)),
            },
            (None, _) => Ok(ToCome::Unknown),
        }
    }

    /// How many bytes it has: those that its head promises, or those that have come.
    pub fn len(&self, bytes: &[u8]) -> usize {
        match (&self.chunks, self.length) {
            (Some(chunks), _) => chunks.end() - self.start,
            (None, Length::Bytes(n)) => usize::try_from(n).unwrap_or(usize::MAX),
            (None, _) => bytes.len() - self.start,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head_of(text: &str) -> Head {
        let (head, length) = head(text.as_bytes()).unwrap().unwrap();
        assert_eq!(length, text.len());
        head
    }

    fn length_of(lines: &str) -> (Length, bool) {
        let head = head_of(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n"));
        (head.length, head.keeps)
    }

    #[test]
    fn a_head_says_where_its_body_ends_and_whether_another_may_follow() {
        assert_eq!(length_of("Content-Length: 12\r\n"), (Length::Bytes(12), true));
        assert_eq!(length_of("content-length: 12\r\nConnection: Close\r\n"), (Length::Bytes(12), false));
        assert_eq!(length_of("Content-Length: 5\r\nContent-Length: 5\r\n"), (Length::Bytes(5), true));
        assert_eq!(length_of("Transfer-Encoding: chunked\r\n"), (Length::Chunked, true));
        assert_eq!(length_of("Transfer-Encoding: gzip, chunked\r\n"), (Length::Chunked, true));
        assert_eq!(length_of("Transfer-Encoding: chunked, gzip\r\n"), (Length::UntilClose, false));
        // As a smuggler has it: the chunks count, and nothing behind them.
        assert_eq!(length_of("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), (Length::Chunked, false));
        assert_eq!(length_of(""), (Length::UntilClose, false));
        let old = head_of("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n");
        assert_eq!((old.length, old.keeps), (Length::Bytes(1), false));
        assert!(head_of("HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\n").keeps);
        for bad in ["Content-Length: x\r\n", "Content-Length: -1\r\n", "Content-Length: 1\r\nContent-Length: 2\r\n"] {
            assert!(head(format!("HTTP/1.1 200 OK\r\n{bad}\r\n").as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_interim_answer_is_passed_over_and_a_head_may_come_in_pieces() {
        let text = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 302 Found\r\nLocation: /m \r\n\
                    Content-Type: text/plain\r\nContent-Encoding: gzip\r\n\r\n";
        for cut in 0..text.len() {
            assert_eq!(head(&text.as_bytes()[..cut]), Ok(None), "{cut} bytes");
        }
        let head = head_of(text);
        assert_eq!((head.status, head.location.as_deref()), (302, Some("/m")));
        assert_eq!((head.content_type.as_deref(), head.encoding.as_deref()), (Some("text/plain"), Some("gzip")));
        assert!(super::head(b"SSH-2.0-OpenSSH_9.2\r\n").is_err());
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(HEAD_BYTES_MAX));
        assert_eq!(super::head(endless.as_bytes()), Err("its head is too long"));
    }

    /// What is taken out of `text` that comes in pieces of so many bytes, behind "head", and what is left behind it.
    fn taken(text: &str, piece: usize) -> Result<(String, String), &'static str> {
        let mut bytes = b"head".to_vec();
        let mut chunks = Chunks::new(4);
        let mut done = false;
        for part in text.as_bytes().chunks(piece) {
            bytes.extend_from_slice(part);
            done = chunks.take(&mut bytes)?;
        }
        let all = String::from_utf8(bytes).unwrap();
        let (body, left) = all.split_at(chunks.end());
        if done { Ok((body.to_owned(), left.to_owned())) } else { Err("not done") }
    }

    #[test]
    fn chunks_are_taken_out_however_they_are_cut() {
        for piece in 1..60 {
            let text = "4\r\na 1\n\r\n0A;note=x\r\nb 2\nccccc\n\r\n0\r\nTrailer: x\r\n\r\n";
            assert_eq!(taken(text, piece), Ok(("heada 1\nb 2\nccccc\n".to_owned(), String::new())), "{piece}");
        }
        assert_eq!(taken("1\r\nx\r\n0\r\n\r\nHTTP", 99), Ok(("headx".to_owned(), "HTTP".to_owned())));
        for bad in ["x\r\n", "1\r\nabc\r\n0\r\n\r\n", "4\r\nab\r\n", "1\r\nx\r\n0\r\n", "fffffffffffffffff\r\n"] {
            assert!(taken(bad, 99).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_stands_around_chunks_is_bounded() {
        let long = "x".repeat(HEAD_BYTES_MAX + 1);
        for bad in [format!("1;{long}"), format!("0\r\n{long}"), format!("0\r\n{}", "x: y\r\n".repeat(HEAD_BYTES_MAX))]
        {
            assert!(taken(&bad, 4096).is_err_and(|e| e != "not done"));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0_usize..200) {
            let _ = head(&bytes);
            let mut bytes = bytes;
            let mut chunks = Chunks::new(at.min(bytes.len()));
            let _ = chunks.take(&mut bytes);
            prop_assert!(chunks.end() <= bytes.len());
        }
    }
}
