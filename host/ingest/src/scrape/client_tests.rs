use std::io::Write as _;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use belfry_client::{Auth, Secret, TlsOptions};

use super::*;

/// Answers each connection in turn with one of `answers`, and gives the requests it saw.
async fn peer(answers: Vec<Vec<u8>>) -> (Url, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/metrics", listener.local_addr().unwrap())).unwrap();
    let served = tokio::spawn(async move {
        let mut seen = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).await.unwrap() == 0 {
                    break;
                }
                request.push(byte[0]);
            }
            seen.push(String::from_utf8(request).unwrap());
            stream.write_all(&answer).await.unwrap();
        }
        seen
    });
    (url, served)
}

fn answer(head: &str, body: &[u8]) -> Vec<u8> {
    let mut all =
        format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len()).into_bytes();
    all.extend_from_slice(body);
    all
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

fn options() -> HttpOptions {
    HttpOptions { follow_redirects: true, compression: true, ..HttpOptions::default() }
}

async fn fetch(url: &Url, options: HttpOptions, max: u64) -> (Result<BodyFormat, ScrapeError>, String) {
    let mut body = Body::default();
    let ask =
        Ask { url, timeout: Duration::from_secs(5), body_bytes_max: max, accept: ACCEPT_TEXT, pace: AskPace::Timeout };
    let got = JobClient::new(options).unwrap().fetch(&mut Kept::default(), ask, &mut body).await;
    (got, String::from_utf8(body.text().to_vec()).unwrap())
}

const TEXT: &str = "200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8";

#[tokio::test]
async fn plain_and_packed_answers_are_read() {
    let packed = answer(&format!("{TEXT}\r\nContent-Encoding: gzip"), &gzip(b"a 1\n"));
    let (url, served) = peer(vec![answer(TEXT, b"a 1\n"), packed]).await;
    for _ in 0..2 {
        let (format, body) = fetch(&url, options(), 4).await;
        assert_eq!((format, body.as_str()), (Ok(BodyFormat::Text(TextFormat::Prometheus)), "a 1\n"));
    }
    let seen = served.await.unwrap();
    assert!(seen[0].contains("accept: application/openmetrics-text;version=1.0.0"), "{}", seen[0]);
    assert!(seen[0].contains("x-prometheus-scrape-timeout-seconds: 5\r\n"), "{}", seen[0]);
}

#[tokio::test]
async fn a_small_answer_that_unpacks_to_much_is_refused() {
    let bomb = gzip(&vec![b'\n'; 64 << 20]);
    assert!(bomb.len() < 100_000);
    let (url, _) =
        peer(vec![answer(&format!("{TEXT}\r\nContent-Encoding: gzip"), &bomb), answer(TEXT, b"12345")]).await;
    let (refused, body) = fetch(&url, options(), 1 << 20).await;
    assert_eq!((refused, body.len()), (Err(ScrapeError::BodyTooLarge(1 << 20)), 0));
    assert_eq!(fetch(&url, options(), 4).await.0, Err(ScrapeError::BodyTooLarge(4)));
}

#[tokio::test]
async fn credentials_are_sent_to_the_target_alone() {
    let (other, other_served) = peer(vec![answer(TEXT, b"a 1\n")]).await;
    let (url, served) = peer(vec![answer(&format!("302 Found\r\nLocation: {other}"), b"")]).await;
    let with = HttpOptions {
        client: ClientOptions {
            auth: Auth::Basic { username: "u".to_owned(), password: Secret::Text("hidden".to_owned()) },
            headers: vec![("X-Key".to_owned(), Secret::Text("also".to_owned()))],
            ..ClientOptions::default()
        },
        ..options()
    };
    assert!(!format!("{with:?}").contains("hidden"));
    assert!(fetch(&url, with, 0).await.0.is_ok());
    let seen = served.await.unwrap();
    assert!(seen[0].contains("authorization: Basic dTpoaWRkZW4=\r\n") && seen[0].contains("x-key: also\r\n"));
    let elsewhere = other_served.await.unwrap();
    assert!(!elsewhere[0].contains("authorization") && !elsewhere[0].contains("x-key"), "{}", elsewhere[0]);
}

#[tokio::test]
async fn a_token_comes_from_its_file_each_time() {
    let folder = std::env::temp_dir().join(format!("belfry-scrape-token-{}", std::process::id()));
    std::fs::write(&folder, "first\n").unwrap();
    let (url, served) = peer(vec![answer(TEXT, b""), answer(TEXT, b"")]).await;
    let client = JobClient::new(HttpOptions {
        client: ClientOptions {
            auth: Auth::Token { kind: "Bearer".to_owned(), token: Secret::File(folder.clone()) },
            ..ClientOptions::default()
        },
        ..options()
    })
    .unwrap();
    let mut kept = Kept::default();
    let ask = Ask {
        url: &url,
        timeout: Duration::from_secs(5),
        body_bytes_max: 0,
        accept: ACCEPT_TEXT,
        pace: AskPace::Timeout,
    };
    client.fetch(&mut kept, ask, &mut Body::default()).await.unwrap();
    std::fs::write(&folder, "second\n").unwrap();
    client.fetch(&mut kept, ask, &mut Body::default()).await.unwrap();
    std::fs::remove_file(&folder).unwrap();
    let gone = client.fetch(&mut kept, ask, &mut Body::default()).await.unwrap_err().to_string();
    assert!(gone.starts_with("cannot read the secret file") && !gone.contains('/'), "{gone}");
    let seen = served.await.unwrap();
    assert!(
        seen[0].contains("authorization: Bearer first\r\n") && seen[1].contains("authorization: Bearer second\r\n")
    );
}

#[tokio::test]
async fn other_answers_say_what_is_wrong() {
    let (url, _) = peer(vec![
        answer("503 Busy", b""),
        answer("200 OK\r\nContent-Type: text/html", b"<html>"),
        answer("200 OK", b"a 1\n"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort".to_vec(),
    ])
    .await;
    assert_eq!(fetch(&url, options(), 0).await.0, Err(ScrapeError::Status(503)));
    let page = ScrapeError::ContentType { said: "text/html".to_owned(), body_bytes: 6 };
    assert_eq!(fetch(&url, options(), 0).await.0, Err(page));
    let text = BodyFormat::Text(TextFormat::Prometheus);
    assert_eq!(fetch(&url, HttpOptions { fallback: Some(text), ..options() }, 0).await.0, Ok(text));
    let broken = fetch(&url, options(), 0).await.0.unwrap_err().to_string();
    assert!(broken.starts_with("the answer broke off"), "{broken}");
    let nobody = Url::parse("http://127.0.0.1:1/").unwrap();
    let refused = fetch(&nobody, options(), 0).await.0.unwrap_err().to_string();
    assert!(refused.starts_with("cannot connect: "), "{refused}");
}

#[test]
fn a_protobuf_answer_must_be_the_right_message() {
    assert_eq!(format_of(PROTOBUF_CONTENT_TYPE), Some(BodyFormat::Protobuf));
    assert_eq!(format_of("application/vnd.google.protobuf; proto=other; encoding=delimited"), None);
    assert_eq!(
        format_of("application/openmetrics-text; version=1.0.0; charset=utf-8"),
        Some(BodyFormat::Text(TextFormat::OpenMetrics))
    );
}

#[test]
fn a_certificate_that_is_not_there_is_named_without_its_folder() {
    let tls = TlsOptions { ca_file: Some("/nowhere/at/all/ca.pem".into()), ..TlsOptions::default() };
    let said = JobClient::new(HttpOptions { client: ClientOptions { tls, ..ClientOptions::default() }, ..options() })
        .err()
        .unwrap();
    assert!(said.starts_with("cannot read the certificate file `ca.pem`") && !said.contains("nowhere"), "{said}");
}

/// Takes connections one after the other, answers so many requests on each and closes it.
async fn keeping_peer(requests: Vec<usize>) -> (Url, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/metrics", listener.local_addr().unwrap())).unwrap();
    let served = tokio::spawn(async move {
        for n in requests {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = tokio::io::BufReader::new(stream);
            for _ in 0..n {
                let mut line = String::new();
                while line != "\r\n" {
                    line.clear();
                    tokio::io::AsyncBufReadExt::read_line(&mut stream, &mut line).await.unwrap();
                }
                let text = format!("HTTP/1.1 {TEXT}\r\nContent-Length: 4\r\n\r\na 1\n");
                stream.write_all(text.as_bytes()).await.unwrap();
            }
        }
    });
    (url, served)
}

#[tokio::test]
async fn a_connection_is_kept_and_made_anew_when_the_target_closed_it() {
    // Were a new connection made for each request, the third one would find nobody.
    let (url, served) = keeping_peer(vec![2, 1]).await;
    let client = JobClient::new(options()).unwrap();
    let (mut kept, mut body) = (Kept::default(), Body::default());
    let ask = Ask {
        url: &url,
        timeout: Duration::from_secs(30),
        body_bytes_max: 0,
        accept: ACCEPT_TEXT,
        pace: AskPace::Timeout,
    };
    for n in 0..3 {
        let format = client.fetch(&mut kept, ask, &mut body).await;
        assert_eq!(format, Ok(BodyFormat::Text(TextFormat::Prometheus)), "request {n}");
        assert_eq!(body.text(), b"a 1\n");
    }
    served.await.unwrap();
    assert!(client.fetch(&mut kept, ask, &mut body).await.is_err(), "nobody listens any more");
}

/// Answers one request after the other with `answers`, on one connection; then takes further connections, one answer
/// each.
async fn answering_peer(on_one: Vec<&'static str>, then: Vec<&'static str>) -> (Url, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/metrics", listener.local_addr().unwrap())).unwrap();
    let served = tokio::spawn(async move {
        for answers in std::iter::once(on_one).chain(then.into_iter().map(|a| vec![a])) {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = tokio::io::BufReader::new(stream);
            for answer in answers {
                let mut line = String::new();
                while line != "\r\n" {
                    line.clear();
                    tokio::io::AsyncBufReadExt::read_line(&mut stream, &mut line).await.unwrap();
                }
                // In pieces, as a slow network brings it.
                for piece in answer.as_bytes().chunks(17) {
                    stream.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
        }
    });
    (url, served)
}

#[tokio::test]
async fn chunked_and_interim_answers_leave_the_connection_for_the_next_request() {
    let chunked = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n\
                   4\r\na 1\n\r\n4\r\nb 2\n\r\n0\r\n\r\n";
    let interim = "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\
                   Content-Length: 8\r\n\r\na 1\nb 2\n";
    // Idle for long: it says so, and closes.
    let given_up = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n";
    let old = "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\na 1\nb 2\n";
    let (url, served) = answering_peer(vec![chunked, interim, chunked, given_up], vec![old, interim]).await;
    let client = JobClient::new(options()).unwrap();
    let (mut kept, mut body) = (Kept::default(), Body::default());
    let ask = Ask {
        url: &url,
        timeout: Duration::from_secs(30),
        body_bytes_max: 8,
        accept: ACCEPT_TEXT,
        pace: AskPace::Timeout,
    };
    for n in 0..5 {
        let format = client.fetch(&mut kept, ask, &mut body).await;
        assert_eq!(format, Ok(BodyFormat::Text(TextFormat::Prometheus)), "request {n}");
        assert_eq!(body.text(), b"a 1\nb 2\n", "request {n}");
    }
    served.await.unwrap();
}

#[tokio::test]
async fn an_answer_without_a_known_length_is_bounded_too() {
    let endless = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n\
                   ffffff\r\na 1\na 1\na 1\n";
    let closing = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n{}", "a 1\n".repeat(600));
    let (url, served) = peer(vec![closing.into_bytes(), endless.repeat(200).into_bytes()]).await;
    for _ in 0..2 {
        assert_eq!(fetch(&url, options(), 4).await.0, Err(ScrapeError::BodyTooLarge(4)));
    }
    served.abort();
}

/// As Prometheus' `http_sd_configs` asks, with our own name.
#[tokio::test]
async fn a_service_of_targets_is_told_who_asks_and_how_often() {
    let (url, served) = peer(vec![answer("200 OK\r\nContent-Type: application/json", b"[]")]).await;
    let pace = AskPace::Refresh(Duration::from_millis(1500));
    let ask = Ask { url: &url, timeout: Duration::from_secs(5), body_bytes_max: 0, accept: "application/json", pace };
    let mut body = Vec::new();
    JobClient::new(options()).unwrap().fetch_any(ask, &mut body).await.unwrap();
    assert_eq!(body, b"[]");
    let seen = served.await.unwrap().remove(0);
    for line in ["x-prometheus-refresh-interval-seconds: 1.5", "accept: application/json", "user-agent: Belfry/"] {
        assert!(seen.contains(&format!("\r\n{line}")), "{seen}");
    }
    assert!(!seen.contains("scrape-timeout"), "{seen}");
}
