//! A mail server of a few lines: takes what it is told to take, keeps what it heard.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// How it behaves.
#[derive(Clone, Default)]
pub struct Script {
    /// Answer to `RCPT`.
    pub rcpt: Option<&'static str>,
    /// Answer to the message.
    pub data: Option<&'static str>,
    /// Answer to a login; without it there is no login.
    pub auth: Option<&'static str>,
    /// STARTTLS (or TLS at once) with this.
    pub tls: Option<TlsAcceptor>,
    /// TLS from the first byte.
    pub implicit: bool,
    /// Says nothing.
    pub silent: bool,
}

/// What it heard, over all connections: `!tls` where TLS began, commands, the message's lines.
pub type Heard = Arc<Mutex<Vec<String>>>;

/// Listens on a free port until the test ends.
pub async fn start(script: Script) -> (u16, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = listener.local_addr().expect("address").port();
    let heard = Heard::default();
    let log = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, script.clone(), Arc::clone(&log)));
        }
    });
    (port, heard)
}

async fn serve(stream: TcpStream, script: Script, heard: Heard) -> std::io::Result<()> {
    if script.silent {
        std::future::pending::<()>().await;
    }
    if let (true, Some(tls)) = (script.implicit, script.tls.clone()) {
        let stream = tls.accept(stream).await?;
        heard.lock().push("!tls".into());
        return converse(stream, &script, &heard, true).await.map(drop);
    }
    if let Some(stream) = converse(stream, &script, &heard, false).await? {
        let Some(tls) = &script.tls else { return Ok(()) };
        let stream = tls.accept(stream).await?;
        heard.lock().push("!tls".into());
        converse(stream, &script, &heard, true).await?;
    }
    Ok(())
}

/// Answers the bare stream when the client asked for TLS.
async fn converse<S>(stream: S, script: &Script, heard: &Heard, secured: bool) -> std::io::Result<Option<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut stream = BufReader::new(stream);
    // RFC 3207: after STARTTLS the client speaks first.
    if !secured || script.implicit {
        stream.write_all(b"220 test\r\n").await?;
    }
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let command = line.trim_end().to_owned();
        heard.lock().push(command.clone());
        let answer = match command.split([' ', ':']).next().unwrap_or_default() {
            "EHLO" => {
                let mut lines = vec!["250-test"];
                if script.tls.is_some() && !secured {
                    lines.push("250-STARTTLS");
                }
                if script.auth.is_some() {
                    lines.push("250-AUTH PLAIN");
                }
                lines.push("250 8BITMIME");
                lines.join("\r\n")
            }
            "STARTTLS" => {
                stream.write_all(b"220 go\r\n").await?;
                return Ok(Some(stream.into_inner()));
            }
            "AUTH" => script.auth.unwrap_or("503 no").to_owned(),
            "RCPT" => script.rcpt.unwrap_or("250 ok").to_owned(),
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await?;
                loop {
                    line.clear();
                    if stream.read_line(&mut line).await? == 0 || line == ".\r\n" {
                        break;
                    }
                    heard.lock().push(line.trim_end().to_owned());
                }
                script.data.unwrap_or("250 taken").to_owned()
            }
            "QUIT" => {
                stream.write_all(b"221 bye\r\n").await?;
                return Ok(None);
            }
            _ => "250 ok".to_owned(),
        };
        stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
}
