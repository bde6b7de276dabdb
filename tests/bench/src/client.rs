//! A connection to a server under test: as little HTTP as it takes.

use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

/// No answer takes longer: merging a day of samples takes minutes on a busy machine.
const ANSWER_WITHIN: Duration = Duration::from_secs(900);

/// A connection is used for so long: VictoriaMetrics ends one that is two minutes old.
const USED_FOR: Duration = Duration::from_secs(60);

pub struct Client {
    address: String,
    since: Instant,
    /// The server said that it closes it.
    ends: bool,
    stream: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        Ok(Self { address: address.to_owned(), since: Instant::now(), ends: false, stream: BufReader::new(stream) })
    }

    /// Sends a request and reads the answer. A connection that the server has ended meanwhile is made anew, once: what is
    /// asked here may be asked twice.
    fn exchange(&mut self, request: &[u8]) -> Result<(u16, String)> {
        if self.ends || self.since.elapsed() > USED_FOR {
            *self = Self::connect(&self.address)?;
        }
        if self.send(request)? {
            return self.answer();
        }
        *self = Self::connect(&self.address)?;
        ensure!(self.send(request)?, "the connection was closed");
        self.answer()
    }

    /// Sends a request. `false`: the connection is closed, and no answer will come.
    fn send(&mut self, request: &[u8]) -> Result<bool> {
        let sent = self.stream.get_mut().write_all(request);
        match sent.and_then(|()| Ok(!self.stream.fill_buf()?.is_empty())) {
            Err(e) if matches!(e.kind(), BrokenPipe | ConnectionReset | ConnectionAborted) => Ok(false),
            outcome => Ok(outcome?),
        }
    }

    /// Sends a remote write; the answer's status and text.
    pub fn write(&mut self, body: &[u8], v2: bool) -> Result<(u16, String)> {
        let (proto, version) = match v2 {
            true => (";proto=io.prometheus.write.v2.Request", "2.0.0"),
            false => ("", "0.1.0"),
        };
        let head = format!(
            "POST /api/v1/write HTTP/1.1\r\nHost: {}\r\nContent-Encoding: snappy\r\n\
             Content-Type: application/x-protobuf{proto}\r\nX-Prometheus-Remote-Write-Version: {version}\r\n\
             Content-Length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        let mut request = head.into_bytes();
        request.extend_from_slice(body);
        self.exchange(&request)
    }

    pub fn get(&mut self, path: &str) -> Result<(u16, String)> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        self.exchange(request.as_bytes())
    }

    /// Asks for something to be done.
    pub fn post(&mut self, path: &str) -> Result<String> {
        self.post_with(path, "")
    }

    /// Asks for something that needs the token for managing.
    pub fn post_as(&mut self, path: &str, token: &str) -> Result<String> {
        self.post_with(path, &format!("Authorization: Bearer {token}\r\n"))
    }

    fn post_with(&mut self, path: &str, headers: &str) -> Result<String> {
        let request = format!("POST {path} HTTP/1.1\r\nHost: {}\r\n{headers}Content-Length: 0\r\n\r\n", self.address);
        match self.exchange(request.as_bytes())? {
            (200..=204, said) => Ok(said),
            (status, said) => bail!("{path}: {status} {said}"),
        }
    }

    /// Sends a remote write 1.0 that must be taken whole.
    pub fn must_write(&mut self, body: &[u8]) -> Result<()> {
        match self.write(body, false)? {
            (200 | 204, _) => Ok(()),
            (status, said) => bail!("a write was refused: {status} {said}"),
        }
    }

    fn answer(&mut self) -> Result<(u16, String)> {
        let status = self.line()?;
        let status: u16 = status.split(' ').nth(1).and_then(|s| s.parse().ok()).context("no status line")?;
        let (mut length, mut chunked) = (0, false);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(n) = line.strip_prefix("content-length:") {
                length = n.trim().parse()?;
            }
            self.ends |= line.starts_with("connection:") && line.contains("close");
            chunked |= line.starts_with("transfer-encoding:") && line.contains("chunked");
        }
        let mut body = Vec::new();
        if chunked {
            loop {
                let size = usize::from_str_radix(&self.line()?, 16)?;
                let start = body.len();
                body.resize(start + size, 0);
                self.stream.read_exact(&mut body[start..])?;
                self.line()?;
                if size == 0 {
                    break;
                }
            }
        } else {
            body.resize(length, 0);
            self.stream.read_exact(&mut body)?;
        }
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            bail!("the connection was closed");
        }
        Ok(line.trim_end().to_owned())
    }
}
