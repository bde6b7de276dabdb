//! Mail to a real SMTP server: envelope, headers, and the text in both of its forms.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use belfry_e2e::{Home, SOON, wait_until};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::SYSTEM;

/// A mail as it came.
#[derive(Clone, Debug, Default)]
struct Mail {
    from: String,
    to: Vec<String>,
    data: String,
}

/// Speaks SMTP (RFC 5321) as far as a client needs it.
async fn serve(stream: TcpStream, mails: Arc<Mutex<Vec<Mail>>>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 test ESMTP\r\n").await?;
    let mut mail = Mail::default();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let (verb, rest) = line.trim_end().split_at(line.trim_end().find([' ', ':']).unwrap_or(line.trim_end().len()));
        let address = || rest.split(['<', '>']).nth(1).unwrap_or("").to_owned();
        let answer: &[u8] = match verb.to_ascii_uppercase().as_str() {
            "EHLO" => b"250-test\r\n250 8BITMIME\r\n",
            "MAIL" => {
                mail.from = address();
                b"250 ok\r\n"
            }
            "RCPT" => {
                mail.to.push(address());
                b"250 ok\r\n"
            }
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await?;
                loop {
                    let mut line = String::new();
                    if stream.read_line(&mut line).await? == 0 {
                        return Ok(());
                    }
                    if line == ".\r\n" {
                        break;
                    }
                    mail.data.push_str(line.strip_prefix('.').unwrap_or(&line));
                }
                mails.lock().expect("no panic holds it").push(std::mem::take(&mut mail));
                b"250 taken\r\n"
            }
            "QUIT" => {
                stream.write_all(b"221 bye\r\n").await?;
                return Ok(());
            }
            _ => b"250 ok\r\n",
        };
        stream.write_all(answer).await?;
    }
}

/// A part of a message (RFC 2045): its headers, and its body with the transfer encoding undone.
struct Part {
    headers: BTreeMap<String, String>,
    body: String,
}

impl Part {
    fn of(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").expect("headers and a body");
        let unfolded = head.replace("\r\n ", " ").replace("\r\n\t", " ");
        let headers = unfolded.split("\r\n").filter_map(|l| l.split_once(": "));
        let headers: BTreeMap<_, _> = headers.map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned())).collect();
        let body = match headers.get("content-transfer-encoding").map(String::as_str) {
            Some("base64") => base64_text(body),
            Some("quoted-printable") => quoted_printable(body),
            _ => body.to_owned(),
        };
        Self { headers, body }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    fn parts(&self) -> Vec<Part> {
        let (_, boundary) = self.header("content-type").split_once("boundary=").expect("several parts");
        let boundary = boundary.split(';').next().unwrap_or("").trim_matches('"');
        let all: Vec<&str> = self.body.split(&format!("--{boundary}")).collect();
        // Before the first boundary and after the last there is nothing.
        all[1..all.len() - 1].iter().map(|text| Part::of(text.trim_start_matches("\r\n"))).collect()
    }
}

fn base64_text(body: &str) -> String {
    let whole: String = body.split_whitespace().collect();
    let bytes = base64::engine::general_purpose::STANDARD.decode(whole).expect("base64");
    String::from_utf8(bytes).expect("UTF-8")
}

fn quoted_printable(body: &str) -> String {
    let joined = body.replace("=\r\n", "");
    let mut pieces = joined.split('=');
    let mut bytes = pieces.next().unwrap_or("").as_bytes().to_vec();
    for piece in pieces {
        let (code, rest) = piece.split_at(2);
        bytes.push(u8::from_str_radix(code, 16).expect("two hex digits"));
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).expect("UTF-8")
}

fn config(port: u16, threshold: f64) -> String {
    format!(
        r#"{SYSTEM}
[smtp]
host = "127.0.0.1"
port = {port}
tls = "none"
from = "Belfry <belfry@example.org>"

[[channel]]
name = "mail"
handler = "builtin:handler-email"
config = {{ to = ["ops@example.com", "night@example.com"], cc = ["boss@example.net"], subject_prefix = "[tower]" }}
grants = {{ mail = ["*@example.com", "boss@example.net"] }}

[route]
channel = "mail"
group_by = ["alertname"]
group_wait = "200ms"
group_interval = "500ms"

[[rule]]
name = "Memory in use"
description = "More than <nothing> is used & it should not be."
metric = 'system_memory_usage_bytes{{type="used"}}'
condition = "greater_than"
threshold = {threshold:?}
interval = "500ms"
severity = "critical"
"#
    )
}

#[tokio::test]
async fn an_alert_and_its_end_are_one_conversation_by_mail() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let mails = Arc::new(Mutex::new(Vec::new()));
    let taken = mails.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, taken.clone()));
        }
    });
    let mail = async |number: usize| {
        wait_until(&format!("mail {number}"), SOON, async || mails.lock().expect("held by none").get(number).cloned())
            .await
    };
    let home = Home::new(&config(port, 0.0));
    let belfry = home.start().await;

    let firing = mail(0).await;
    assert_eq!(firing.from, "belfry@example.org");
    assert_eq!(firing.to, ["ops@example.com", "night@example.com", "boss@example.net"]);
    let message = Part::of(&firing.data);
    assert!(message.header("from").contains("belfry@example.org"), "{}", message.header("from"));
    assert!(message.header("to").contains("ops@example.com") && message.header("to").contains("night@example.com"));
    assert_eq!(message.header("cc"), "boss@example.net");
    let subject = message.header("subject");
    assert!(subject.starts_with("[tower] ") && subject.contains("Memory in use"), "{subject}");
    assert!(message.header("content-type").starts_with("multipart/alternative"), "{}", message.header("content-type"));
    assert_ne!(message.header("message-id"), "");
    let parts = message.parts();
    let kinds: Vec<_> = parts.iter().map(|p| p.header("content-type").split(';').next().unwrap_or("")).collect();
    assert_eq!(kinds, ["text/plain", "text/html"]);
    assert!(parts[0].body.contains("More than <nothing> is used & it should not be."), "{}", parts[0].body);
    assert!(parts[1].body.contains("More than &lt;nothing&gt; is used &amp; it should not be."), "{}", parts[1].body);

    // The threshold is put out of reach: the alert ends.
    home.configure(&config(port, 1e18));
    belfry.signal("HUP").await;
    let resolved = Part::of(&mail(1).await.data);
    assert!(resolved.header("subject").to_lowercase().contains("resolved"), "{}", resolved.header("subject"));
    let thread = resolved.header("references");
    assert!(!thread.is_empty() && thread == message.header("references"), "{:?}", resolved.headers);
}
