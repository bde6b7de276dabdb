use std::io::Write as _;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use belfry_client::{Auth, Secret};

use super::*;

/// Answers one request with these bytes; gives back what was asked.
async fn server(answer: Vec<u8>) -> (Url, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/write", listener.local_addr().expect("its address"));
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut asked = Vec::new();
        let mut buf = [0; 4096];
        while !asked.ends_with(b"the body") {
            let n = stream.read(&mut buf).await.expect("a request");
            asked.extend_from_slice(&buf[..n]);
        }
        stream.write_all(&answer).await.expect("the answer is taken");
        String::from_utf8_lossy(&asked).into_owned()
    });
    (url.parse().expect("an address"), asked)
}

fn client(options: ClientOptions) -> HttpClient {
    HttpClient::new(options).expect("a client")
}

fn ask(url: Url, limit: usize) -> Ask {
    Ask::post(url, "text/plain", "the body", Duration::from_secs(30), limit)
}

fn plain(body: &[u8], headers: &str) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 429 Slow\r\n{headers}content-length: {}\r\n\r\n", body.len()).into_bytes();
    answer.extend_from_slice(body);
    answer
}

#[tokio::test]
async fn credentials_and_headers_are_sent_and_any_status_is_an_answer() {
    let (url, asked) = server(plain(b"not  now\n", "retry-after: 7\r\n")).await;
    let options = ClientOptions {
        auth: Auth::Basic { username: "ada".into(), password: Secret::Text("pw".into()) },
        headers: vec![("x-scope-orgid".into(), Secret::Text("tenant".into()))],
        ..ClientOptions::default()
    };
    let answer = client(options).ask(ask(url, 100)).await.expect("an answer");
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.retry_after_ms(), Some(7000));
    assert_eq!(answer.reason(), "status 429: not now");
    let asked = asked.await.expect("a request");
    for part in ["POST /write ", "authorization: Basic YWRhOnB3", "x-scope-orgid: tenant", "user-agent: Belfry/"] {
        assert!(asked.contains(part), "{part} in {asked}");
    }
}

#[tokio::test]
async fn a_packed_answer_is_unpacked_and_a_bomb_is_refused() {
    let pack = |bytes: &[u8]| {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gz.write_all(bytes).expect("packed");
        plain(&gz.finish().expect("packed"), "content-encoding: gzip\r\n")
    };
    let (url, _asked) = server(pack(b"hello")).await;
    assert_eq!(client(ClientOptions::default()).ask(ask(url, 5)).await.expect("an answer").body, b"hello");
    let (url, _asked) = server(pack(&[0; 1_000_000])).await;
    let refused = client(ClientOptions::default()).ask(ask(url, 5_000)).await.expect_err("too long");
    assert_eq!(refused, HttpError::TooLarge(5_000));
}

#[tokio::test]
async fn a_plain_answer_beyond_the_limit_is_refused() {
    let (url, _asked) = server(plain(&[b'x'; 101], "")).await;
    assert_eq!(client(ClientOptions::default()).ask(ask(url, 100)).await.expect_err("long"), HttpError::TooLarge(100));
}

#[tokio::test]
async fn who_is_not_there_is_a_failure_that_says_so_without_secrets() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("its address")).parse().expect("an address");
    drop(listener);
    let options = ClientOptions {
        auth: Auth::Token { kind: "Bearer".into(), token: Secret::Text("s3cret".into()) },
        ..Default::default()
    };
    let debug = format!("{options:?}");
    let error = client(options).ask(ask(url, 100)).await.expect_err("nobody").to_string();
    assert!(error.starts_with("cannot connect"), "{error}");
    assert!(!debug.contains("s3cret") && !error.contains("s3cret"));
}
