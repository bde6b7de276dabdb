//! The whole exchange against real servers.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::connect::Resolve;
use super::egress::{HttpClient, HttpEgress, HttpSettings};
use super::error::{HttpError, code};
use super::request::{Request, Response};
use super::test_peer::{Peer, Reply};
use crate::capabilities::test_tls::{NOT_AFTER_MS, TestCa};
use crate::{Grants, Limits, Secret};

/// Every name leads to one address.
struct Always(IpAddr);

#[async_trait]
impl Resolve for Always {
    async fn resolve(&self, _host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(vec![self.0])
    }
}

#[derive(Default)]
struct Setup {
    settings: HttpSettings,
    secrets: BTreeMap<String, Secret>,
    limits: Limits,
}

impl Setup {
    fn secret(mut self, name: &str, value: &str, origins: &[&str]) -> Self {
        let origins = origins.iter().map(|o| (*o).to_owned()).collect();
        self.secrets.insert(name.to_owned(), Secret { value: value.to_owned(), origins });
        self
    }

    fn resolve_to(mut self, address: &str) -> Self {
        self.settings.resolver = Some(Arc::new(Always(address.parse().expect("address"))));
        self
    }

    fn client(&self, grants: &[&str]) -> HttpClient {
        let grants = Grants { http: grants.iter().map(|g| (*g).to_owned()).collect(), ..Grants::default() };
        let egress = HttpEgress::with(self.settings.clone()).expect("egress");
        egress.client(&grants, &self.secrets, &self.limits).expect("client")
    }
}

fn client(grants: &[&str]) -> HttpClient {
    Setup::default().client(grants)
}

fn get(url: impl Into<String>) -> Request {
    Request { method: "GET".into(), url: url.into(), follow_redirects: true, ..Request::default() }
}

fn code_of(result: Result<Response, HttpError>) -> &'static str {
    result.expect_err("an error").code
}

#[tokio::test]
async fn a_granted_origin_answers_with_status_headers_body_and_times() {
    let peer = Peer::start(|asked| Reply {
        headers: vec![("x-test", "1".into())],
        ..Reply::ok(format!("{} {}", asked.method, asked.target))
    })
    .await;
    let request = Request {
        method: "POST".into(),
        headers: vec![("X-Key".into(), "k".into())],
        body: b"hello".to_vec(),
        ..get(format!("{}/a?b=c#d", peer.origin()))
    };
    let response = client(&[&peer.origin()]).fetch(request).await.expect("answer");
    assert_eq!((response.status, response.body.as_slice()), (200, b"POST /a?b=c".as_slice()));
    assert!(response.headers.contains(&("x-test".into(), "1".into())));
    assert!(response.timings.connect_us > 0 && response.timings.first_byte_us > 0);
    assert_eq!((response.timings.tls_us, response.tls), (0, None));
    assert!(response.timings.total_us >= response.timings.connect_us + response.timings.first_byte_us);
    let asked = &peer.asked()[0];
    assert_eq!((asked.body.as_str(), asked.headers["x-key"].as_str()), ("hello", "k"));
    assert_eq!(asked.headers["host"], format!("127.0.0.1:{}", peer.port));
    assert!(asked.headers["user-agent"].starts_with("belfry/"));
}

#[tokio::test]
async fn what_is_not_granted_is_denied_before_any_connection() {
    let peer = Peer::start(|_| Reply::ok("")).await;
    let url = format!("{}/", peer.origin());
    for grants in [vec![], vec!["https://api.example.com"], vec!["http://127.0.0.1:1"], vec!["https://127.0.0.1"]] {
        let error = client(&grants).fetch(get(&url)).await.expect_err("denied");
        assert_eq!((error.code, error.retryable), (code::DENIED, false));
        assert!(error.message.contains("grants.http") && error.message.contains(&peer.origin()), "{error}");
    }
    let host = Request { headers: vec![("Host".into(), "granted.example".into())], ..get(&url) };
    assert_eq!(code_of(client(&[&peer.origin()]).fetch(host).await), code::DENIED);
    assert!(peer.asked().is_empty());
}

#[tokio::test]
async fn a_public_name_that_leads_inside_is_denied_whatever_the_grant() {
    let peer = Peer::start(|_| Reply::ok("inside")).await;
    let origin = format!("http://rebound.example.com:{}", peer.port);
    for inside in ["127.0.0.1", "::1", "10.0.0.1", "169.254.169.254", "::ffff:127.0.0.1", "100.64.0.1", "fd00::1"] {
        let client =
            Setup::default().resolve_to(inside).client(&[&origin, &format!("http://*.example.com:{}", peer.port)]);
        let error = client.fetch(get(&origin)).await.expect_err(inside);
        assert_eq!(error.code, code::DENIED, "{inside}: {error}");
        assert!(error.message.contains("to allow it, grant"), "{error}");
    }
    // The address itself, granted beside the name, allows it.
    let client = Setup::default().resolve_to("127.0.0.1").client(&[&origin, &peer.origin()]);
    let response = client.fetch(get(&origin)).await.expect("both are granted");
    assert_eq!(response.body, b"inside");
    assert!(response.timings.dns_us < 1_000_000);
    assert_eq!(peer.asked()[0].headers["host"], format!("rebound.example.com:{}", peer.port));
    assert_eq!(peer.asked().len(), 1);
}

#[tokio::test]
async fn localhost_is_granted_by_its_name() {
    let peer = Peer::start(|_| Reply::ok("here")).await;
    let origin = format!("http://localhost:{}", peer.port);
    assert_eq!(client(&[&origin]).fetch(get(&origin)).await.expect("answer").body, b"here");
}

#[tokio::test]
async fn redirects_are_followed_only_to_what_is_granted() {
    let target = Peer::start(|asked| Reply::ok(asked.method.clone())).await;
    let to = format!("{}/there", target.origin());
    let first = Peer::start(move |asked| match asked.target.as_str() {
        "/out" => Reply::redirect(302, &to),
        "/within" => Reply::redirect(307, "/end"),
        "/loop" => Reply::redirect(302, "/loop"),
        "/file" => Reply::redirect(302, "file:///etc/passwd"),
        _ => Reply::ok("end"),
    })
    .await;
    let url = |path: &str| format!("{}{path}", first.origin());
    let one = client(&[&first.origin()]);
    let error = one.fetch(get(url("/out"))).await.expect_err("the second origin is not granted");
    assert_eq!(error.code, code::DENIED);
    assert!(error.message.contains(&target.origin()), "{error}");
    assert!(target.asked().is_empty());

    let both = client(&[&first.origin(), &target.origin()]);
    let response =
        both.fetch(Request { method: "POST".into(), body: b"x".to_vec(), ..get(url("/out")) }).await.expect("both");
    assert_eq!(
        (response.body.as_slice(), response.final_url),
        (b"GET".as_slice(), format!("{}/there", target.origin()))
    );
    assert_eq!(one.fetch(get(url("/within"))).await.expect("same origin").final_url, url("/end"));
    assert_eq!(code_of(one.fetch(get(url("/file"))).await), code::DENIED);
    assert_eq!(code_of(one.fetch(get(url("/loop"))).await), code::REJECTED);
    let stays = Request { follow_redirects: false, ..get(url("/out")) };
    assert_eq!(one.fetch(stays).await.expect("the redirect itself").status, 302);
}

#[tokio::test]
async fn credentials_do_not_follow_a_redirect_to_another_origin() {
    let target = Peer::start(|_| Reply::ok("")).await;
    let to = target.origin();
    let first = Peer::start(move |asked| Reply::redirect(307, &format!("{to}/?from={}", asked.headers["x-key"]))).await;
    let plain = Peer::start({
        let to = target.origin();
        move |_| Reply::redirect(307, &to)
    })
    .await;
    let setup = Setup::default().secret("token", "tooooken", &[&first.origin(), &plain.origin()]).secret(
        "password",
        "paaassword",
        &[],
    );
    let grants = [first.origin(), plain.origin(), target.origin()];
    let client = setup.client(&grants.each_ref().map(String::as_str));
    let request = |url: String| Request {
        headers: vec![
            ("X-Key".into(), "{{secret.token}}".into()),
            ("Authorization".into(), "Bearer x".into()),
            ("X-Other".into(), "1".into()),
        ],
        options: vec![("basic-auth".into(), "me:{{secret.password}}".into())],
        ..get(url)
    };
    client.fetch(request(plain.origin())).await.expect("followed");
    let headers = &target.asked()[0].headers;
    assert!(
        !headers.contains_key("x-key") && !headers.contains_key("authorization") && headers.contains_key("x-other"),
        "{headers:?}"
    );
    // A server that puts the secret into the address of another origin.
    let error = client.fetch(request(first.origin())).await.expect_err("it would leak");
    assert_eq!(error.code, code::DENIED);
    assert!(!error.message.contains("tooooken"));
    assert_eq!(target.asked().len(), 1);
    // A body with a secret is not sent on.
    let body = Request { method: "POST".into(), body: b"{{secret.token}}".to_vec(), ..get(plain.origin()) };
    assert_eq!(code_of(client.fetch(body).await), code::DENIED);
}

#[tokio::test]
async fn a_plugin_uses_a_secret_that_it_never_sees() {
    let peer = Peer::start(|asked| Reply {
        headers: vec![("x-echo", asked.headers["x-key"].clone())],
        ..Reply::ok(format!(
            "you said {} {} {} {}",
            asked.target, asked.headers["authorization"], asked.headers["x-key"], asked.body
        ))
    })
    .await;
    let setup = Setup::default().secret("token", "s3cr3t-token", &[]).secret(
        "unused",
        "other-value",
        &["https://api.example.com"],
    );
    let client = setup.client(&[&peer.origin(), "https://api.example.com"]);
    let request = Request {
        method: "POST".into(),
        headers: vec![("X-Key".into(), "k={{secret.token}}".into())],
        options: vec![("basic-auth".into(), "me:{{secret.token}}".into())],
        body: b"body {{secret.token}}".to_vec(),
        ..get(format!("{}/{{{{secret.token}}}}?q={{{{secret.token}}}}", peer.origin()))
    };
    let response = client.fetch(request).await.expect("answer");
    let asked = &peer.asked()[0];
    assert_eq!(asked.target, "/s3cr3t-token?q=s3cr3t-token");
    assert_eq!((asked.headers["x-key"].as_str(), asked.body.as_str()), ("k=s3cr3t-token", "body s3cr3t-token"));
    assert_eq!(asked.headers["authorization"], "Basic bWU6czNjcjN0LXRva2Vu");
    let all = format!("{response:?} {}", String::from_utf8_lossy(&response.body));
    assert!(!all.contains("s3cr3t") && !all.contains("bWU6czNjcjN0LXRva2Vu"), "{all}");
    assert!(all.contains("[redacted]"));

    let elsewhere = Request { body: b"{{secret.unused}}".to_vec(), ..get(peer.origin()) };
    assert_eq!(code_of(client.fetch(elsewhere).await), code::DENIED);
    assert_eq!(peer.asked().len(), 1);
}

#[tokio::test]
async fn no_failure_tells_a_secret() {
    let setup =
        Setup::default().secret("hook", "http://127.0.0.1:1/hooks/abcdef", &[]).secret("token", "s3cr3t-token", &[]);
    let client = setup.client(&["http://127.0.0.1:1"]);
    for url in
        ["{{secret.hook}}", "http://127.0.0.1:1/{{secret.token}}", "{{secret.token}}", "http://[{{secret.token}}"]
    {
        let error = client.fetch(get(url)).await.expect_err(url);
        assert!(!error.message.contains("abcdef") && !error.message.contains("s3cr3t"), "{error}");
    }
}

#[tokio::test]
async fn answers_are_bounded() {
    let peer = Peer::start(|_| Reply::ok(vec![b'x'; 10_000])).await;
    let mut setup = Setup::default();
    setup.limits.http_response_bytes = 9_999;
    let bounded = setup.client(&[&peer.origin()]);
    let error = bounded.fetch(get(peer.origin())).await.expect_err("too long");
    assert_eq!((error.code, error.retryable), (code::LIMIT, false));
    let asks_for_more = Request { max_bytes: Some(20_000), ..get(peer.origin()) };
    assert_eq!(code_of(bounded.fetch(asks_for_more).await), code::LIMIT);
    let own = Request { max_bytes: Some(9_999), ..get(peer.origin()) };
    assert_eq!(code_of(client(&[&peer.origin()]).fetch(own).await), code::LIMIT);
    assert_eq!(client(&[&peer.origin()]).fetch(get(peer.origin())).await.expect("it fits").body.len(), 10_000);
}

#[tokio::test]
async fn requests_of_a_call_are_counted_with_their_redirects() {
    let peer = Peer::start(|asked| if asked.target == "/r" { Reply::redirect(302, "/") } else { Reply::ok("") }).await;
    let mut setup = Setup::default();
    setup.limits.http_requests = 3;
    let client = setup.client(&[&peer.origin()]);
    client.fetch(get(format!("{}/r", peer.origin()))).await.expect("two");
    client.fetch(get(peer.origin())).await.expect("three");
    let error = client.fetch(get(peer.origin())).await.expect_err("four");
    assert_eq!(error.code, code::LIMIT);
    assert!(error.message.contains("limits.http_requests"), "{error}");
    client.begin_call(None);
    client.fetch(get(peer.origin())).await.expect("a new call");
    assert_eq!(peer.asked().len(), 4);
}

#[tokio::test]
async fn fetch_all_goes_side_by_side_within_the_limit_and_answers_in_order() {
    let wait = Duration::from_millis(60);
    let peer = Peer::start(move |asked| Reply { after: wait, ..Reply::ok(asked.target.clone()) }).await;
    let mut setup = Setup::default();
    setup.limits.http_concurrent = 3;
    let client = setup.client(&[&peer.origin()]);
    let mut requests: Vec<_> = (0..6).map(|n| get(format!("{}/{n}", peer.origin()))).collect();
    requests.push(get("https://not.granted.example/"));
    let started = Instant::now();
    let answers = client.fetch_all(requests).await;
    let took = started.elapsed();
    let bodies: Vec<_> = answers
        .iter()
        .map(|a| a.as_ref().map(|r| String::from_utf8_lossy(&r.body).into_owned()).map_err(|e| e.code))
        .collect();
    let want: Vec<_> = (0..6).map(|n| Ok(format!("/{n}"))).chain([Err(code::DENIED)]).collect();
    assert_eq!(bodies, want);
    assert!(took >= wait * 2, "three at a time: {took:?}");
    assert!(took < wait * 6, "not one after another: {took:?}");
}

#[tokio::test]
async fn a_slow_answer_times_out_and_says_where_it_was() {
    let peer = Peer::start(|_| Reply { after: Duration::from_secs(60), ..Reply::ok("") }).await;
    let request = Request { timeout: Some(Duration::from_millis(50)), ..get(peer.origin()) };
    let error = client(&[&peer.origin()]).fetch(request).await.expect_err("too slow");
    assert_eq!((error.code, error.retryable), (code::TIMEOUT, true));
    assert!(error.message.contains("waiting for the answer"), "{error}");
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let error = client(&["http://127.0.0.1:1"]).fetch(get("http://127.0.0.1:1/")).await.expect_err("nobody");
    assert_eq!((error.code, error.retryable), (code::UNREACHABLE, true));
    let error = client(&["http://nobody.invalid"]).fetch(get("http://nobody.invalid/")).await.expect_err("no name");
    assert_eq!((error.code, error.retryable), (code::UNREACHABLE, true), "{error}");
}

#[tokio::test]
async fn tls_shows_the_certificate_and_trusts_only_known_roots() {
    let ca = TestCa::new();
    let peer = Peer::tls(ca.acceptor(), |_| Reply::ok("over TLS")).await;
    let origin = format!("https://localhost:{}", peer.port);
    let error = client(&[&origin]).fetch(get(&origin)).await.expect_err("nobody's authority");
    assert_eq!((error.code, error.retryable), (code::TLS, false), "{error}");

    let mut setup = Setup::default();
    setup.settings.ca_file = Some(ca.file());
    let by_address = format!("https://127.0.0.1:{}", peer.port);
    let trusting = setup.client(&[&origin, &by_address]);
    for url in [&origin, &by_address] {
        let response = trusting.fetch(get(url)).await.expect("trusted");
        let tls = response.tls.expect("facts");
        assert_eq!(
            (response.body.as_slice(), tls.version.as_str(), tls.not_after_ms),
            (b"over TLS".as_slice(), "TLSv1_3", NOT_AFTER_MS)
        );
        assert!(tls.subject.contains("belfry-test-server") && tls.issuer.contains("Belfry test authority"), "{tls:?}");
        assert!(response.timings.tls_us > 0);
    }
    assert_eq!(peer.asked().len(), 2);
}

#[tokio::test]
async fn a_certificate_that_ended_or_names_another_host_is_not_trusted() {
    let ended = TestCa::until(2021);
    let peer = Peer::tls(ended.acceptor(), |_| Reply::ok("")).await;
    let mut setup = Setup::default();
    setup.settings.ca_file = Some(ended.file());
    let origin = format!("https://localhost:{}", peer.port);
    let error = setup.client(&[&origin]).fetch(get(&origin)).await.expect_err("it ended");
    assert_eq!(error.code, code::TLS);
    assert!(error.message.contains("expired"), "{error}");

    let ca = TestCa::new();
    let peer = Peer::tls(ca.acceptor(), |_| Reply::ok("")).await;
    let mut setup = Setup::default().resolve_to("127.0.0.1");
    setup.settings.ca_file = Some(ca.file());
    let other = format!("https://other.localhost:{}", peer.port);
    assert_eq!(code_of(setup.client(&[&other]).fetch(get(&other)).await), code::TLS);
}

#[tokio::test]
async fn a_trace_goes_along_and_the_plugin_cannot_replace_it() {
    let peer = Peer::start(|_| Reply::ok("")).await;
    let mut setup = Setup::default();
    setup.settings.traces = Some(Arc::new(|| Some("00-provider".to_owned())));
    let client = setup.client(&[&peer.origin()]);
    let own = Request { headers: vec![("traceparent".into(), "00-own".into())], ..get(peer.origin()) };
    client.fetch(own).await.expect("answer");
    client.begin_call(Some("00-call".to_owned()));
    client.fetch(get(peer.origin())).await.expect("answer");
    let seen: Vec<_> = peer.asked().iter().map(|asked| asked.headers["traceparent"].clone()).collect();
    assert_eq!(seen, ["00-provider", "00-call"]);
}

#[tokio::test]
async fn a_long_answer_is_read_in_pieces() {
    let body: Vec<u8> = (0..100_000u32).map(|n| (n % 251) as u8).collect();
    let peer = Peer::start({
        let body = body.clone();
        move |_| Reply::ok(body.clone())
    })
    .await;
    let client = client(&[&peer.origin()]);
    let (response, mut stream) = client.open(get(peer.origin())).await.expect("open");
    assert_eq!((response.status, response.body.len()), (200, 0));
    let mut read = Vec::new();
    while let Some(piece) = stream.read(1_000).await.expect("piece") {
        assert!(!piece.is_empty() && piece.len() <= 1_000);
        read.extend(piece);
    }
    assert!(read == body);
    assert_eq!(stream.read(1).await, Ok(None), "the end stays the end");

    let bounded = Request { max_bytes: Some(50_000), ..get(peer.origin()) };
    let (_, mut stream) = client.open(bounded).await.expect("open");
    let error = loop {
        if let Err(error) = stream.read(10_000).await {
            break error;
        }
    };
    assert_eq!(error.code, code::LIMIT);
    assert_eq!(
        client.open(get(peer.origin())).await.expect("open").1.read(0).await.expect_err("nothing").code,
        code::INVALID
    );
}

#[tokio::test]
async fn an_open_answer_is_a_request_at_a_time() {
    let peer = Peer::start(|_| Reply::ok(vec![0; 1_000_000])).await;
    let mut setup = Setup::default();
    setup.limits.http_concurrent = 1;
    let client = setup.client(&[&peer.origin()]);
    let (_, stream) = client.open(get(peer.origin())).await.expect("open");
    let request = Request { timeout: Some(Duration::from_millis(30)), ..get(peer.origin()) };
    let error = client.fetch(request.clone()).await.expect_err("the stream holds the only place");
    assert!(error.message.contains("waiting for a free request"), "{error}");
    drop(stream);
    client.fetch(Request { timeout: None, ..request }).await.expect("free again");
}
