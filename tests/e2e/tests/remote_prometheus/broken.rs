//! What goes wrong on the way: a bad series beside good ones, an answer that never comes, a wrong address.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::routing::post;
use belfry_client::ClientOptions;
use belfry_e2e::{Belfry, Home, wait_until};
use belfry_remote::http::{Ask, HttpClient};
use url::Url;

use crate::{ANSWER_BYTES_MAX, DELIVERED_WITHIN, Engine, UP_WITHIN, config, delivered, import, metric, now_ms};

/// What is said of the protocol, and which it is.
const PROTOCOLS: [&str; 2] = ["", "protocol = \"1.0\"\n"];

const REFUSED: &str = r#"belfry_engine_samples_total{outcome="refused"}"#;

#[tokio::test]
async fn a_series_that_prometheus_refuses_costs_itself_alone() {
    for protocol in PROTOCOLS {
        let Some(engine) = Engine::prometheus().await else { return };
        let home = Home::new(&format!("{}{protocol}", config(&engine.url(), "a", "")));
        let belfry = home.start().await;
        let at = now_ms() - 60_000;
        let push = async |text: String| {
            belfry.ask("POST", "/api/v1/import/prometheus", &[], text).await.expect(200);
        };
        push(format!("late 2 {at}\n")).await;
        wait_until("the newer sample is there", DELIVERED_WITHIN, async || {
            (engine.samples("late").await.len() == 1).then_some(())
        })
        .await;
        // Late enough for Prometheus, which has no window for that, and not for Belfry.
        let mut text = format!("late 1 {}\n", at - 30_000);
        for i in 0..300 {
            text.extend((0..3).map(|row| format!("good{{i=\"{i}\"}} {row} {}\n", at + row * 1000)));
        }
        push(text).await;
        wait_until("all good series are there, whole", DELIVERED_WITHIN, async || {
            let good = engine.samples("good").await;
            (good.len() == 300 && good.iter().all(|s| s.samples.len() == 3)).then_some(())
        })
        .await;
        wait_until("it is counted", DELIVERED_WITHIN, async || (metric(&belfry, REFUSED).await > 0.0).then_some(()))
            .await;
        assert_eq!(metric(&belfry, REFUSED).await, 1.0, "the late one alone, {protocol}");
        assert_eq!(engine.samples("late").await[0].samples.len(), 1);
    }
}

/// Between Belfry and the engine: takes writes there, and loses an answer when it is told to.
struct Proxy {
    url: String,
    state: Arc<ProxyState>,
}

struct ProxyState {
    client: HttpClient,
    engine: Url,
    /// Requests so far.
    writes: AtomicUsize,
    /// The answer to this one is to be lost …
    lose: AtomicUsize,
    /// … and was: the engine has that request.
    lost: AtomicBool,
}

impl Proxy {
    async fn to(engine: &Engine) -> Self {
        let state = Arc::new(ProxyState {
            client: HttpClient::new(ClientOptions::default()).expect("a client"),
            engine: format!("{}/api/v1/write", engine.url()).parse().expect("an address"),
            writes: AtomicUsize::new(0),
            lose: AtomicUsize::new(0),
            lost: AtomicBool::new(false),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/api/v1/write", listener.local_addr().expect("its address"));
        let router = Router::new().route("/api/v1/write", post(pass_on)).with_state(state.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, state }
    }

    /// Nothing is answered until the engine has the next request; then it is not answered at all.
    async fn lose_the_answer_to(&self, send: impl AsyncFnOnce()) {
        self.lose_the_answer_number(1, send).await;
    }

    /// The same with a later one of the requests that follow.
    async fn lose_the_answer_number(&self, number: usize, send: impl AsyncFnOnce()) {
        self.state.lose.store(self.writes() + number, Ordering::SeqCst);
        send().await;
        wait_until("the engine has it", DELIVERED_WITHIN, async || {
            self.state.lost.load(Ordering::SeqCst).then_some(())
        })
        .await;
    }

    fn writes(&self) -> usize {
        self.state.writes.load(Ordering::SeqCst)
    }
}

async fn pass_on(
    State(proxy): State<Arc<ProxyState>>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, HeaderMap, Vec<u8>) {
    let mut ask = Ask::post(proxy.engine.clone(), "application/x-protobuf", body, UP_WITHIN, ANSWER_BYTES_MAX);
    for name in
        [header::CONTENT_TYPE, header::CONTENT_ENCODING, HeaderName::from_static("x-prometheus-remote-write-version")]
    {
        if let Some(value) = headers.get(&name) {
            ask = ask.with(name, value.clone());
        }
    }
    let number = proxy.writes.fetch_add(1, Ordering::SeqCst) + 1;
    let answer = proxy.client.ask(ask).await.expect("the engine answers");
    if proxy.lose.load(Ordering::SeqCst) == number {
        proxy.lost.store(true, Ordering::SeqCst);
        std::future::pending::<()>().await;
    }
    // What a sender of version 2 looks at; the others are of the connection.
    let is_count = |name: &HeaderName| name.as_str().starts_with("x-prometheus-remote-write-");
    let counts = answer.headers.iter().filter(|(name, _)| is_count(name));
    (answer.status, counts.map(|(name, value)| (name.clone(), value.clone())).collect(), answer.body)
}

/// Two rows of each series in one request, so that the first is behind the last one when it comes again.
async fn two_rows(belfry: &Belfry, start: i64, n: i64) {
    let mut text = String::new();
    for n in [n, n + 1] {
        for label in ["x", "y z", "\\\"quoted\\\""] {
            let value = n * label.len() as i64;
            text += &format!("sent{{of=\"{label}\"}} {value}.5 {}\n", start + n * 1000);
        }
    }
    belfry.ask("POST", "/api/v1/import/prometheus", &[], text).await.expect(200);
}

#[tokio::test]
async fn a_request_whose_answer_never_comes_takes_nothing_with_it() {
    for protocol in PROTOCOLS {
        for is_killed in [false, true] {
            let Some(engine) = Engine::prometheus().await else { return };
            let proxy = Proxy::to(&engine).await;
            let timeout = if is_killed { "1h" } else { "3s" };
            let home = Home::new(&format!(
                "[storage]\nbackend = \"prometheus\"\nquery = \"local\"\nexternal_labels = {{ replica = \"a\" }}\n\
                 [storage.prometheus]\nwrite_url = \"{}\"\nread_url = \"{}\"\ntimeout = \"{timeout}\"\n{protocol}",
                proxy.url,
                engine.url()
            ));
            let mut belfry = home.start().await;
            let start = now_ms() - 60_000;
            import(&belfry, start + 1000, 1).await;
            delivered(&engine, 1).await;
            proxy.lose_the_answer_to(async || two_rows(&belfry, start, 2).await).await;
            // These must not go down with what comes again.
            for n in 4..=8 {
                import(&belfry, start + n * 1000, n).await;
            }
            if is_killed {
                belfry.kill().await;
                belfry = home.start().await;
            }
            delivered(&engine, 8).await;
            drop(belfry);
        }
    }
}

/// Of [`killed_in_the_middle_of_a_search_it_asks_what_is_there`].
const GOOD: usize = 60;

/// So many rows of each good series, from a time on.
fn rows(of: std::ops::Range<i64>, start: i64) -> String {
    let row = |row: i64| (0..GOOD).map(move |i| format!("good{{i=\"{i}\"}} {row} {}\n", start + row * 1000));
    of.flat_map(row).collect()
}

#[tokio::test]
async fn killed_in_the_middle_of_a_search_it_asks_what_is_there() {
    // The first two are all of it and the probe; then come parts, some of which are taken.
    for lost in [5, 9] {
        let Some(engine) = Engine::prometheus().await else { return };
        let proxy = Proxy::to(&engine).await;
        let home = Home::new(&format!(
            "[storage]\nbackend = \"prometheus\"\nquery = \"local\"\nexternal_labels = {{ replica = \"a\" }}\n\
             [storage.prometheus]\nwrite_url = \"{}\"\nread_url = \"{}\"\ntimeout = \"1h\"\nprotocol = \"1.0\"\n",
            proxy.url,
            engine.url()
        ));
        let belfry = home.start().await;
        let push = async |belfry: &Belfry, text: String| {
            belfry.ask("POST", "/api/v1/import/prometheus", &[], text).await.expect(200);
        };
        let start = now_ms() - 60_000;
        let late =
            |value: i64, at: i64| -> String { (0..3).map(|i| format!("late{{i=\"{i}\"}} {value} {at}\n")).collect() };
        push(&belfry, late(2, start + 30_000)).await;
        wait_until("the newer samples are there", DELIVERED_WITHIN, async || {
            (engine.samples("late").await.len() == 3).then_some(())
        })
        .await;
        let mixed = late(1, start) + &rows(0..5, start);
        proxy.lose_the_answer_number(lost, async || push(&belfry, mixed).await).await;
        push(&belfry, rows(5..8, start)).await;
        belfry.kill().await;

        let before = proxy.writes();
        let belfry = home.start().await;
        wait_until("all good series are there, whole", DELIVERED_WITHIN, async || {
            let good = engine.samples("good").await;
            (good.len() == GOOD && good.iter().all(|s| s.samples.len() == 8)).then_some(())
        })
        .await;
        wait_until("nothing waits", DELIVERED_WITHIN, async || {
            (metric(&belfry, "belfry_engine_queue_bytes").await == 0.0).then_some(())
        })
        .await;
        assert_eq!(metric(&belfry, REFUSED).await, 3.0, "the late ones alone: what was there counts as sent");
        let writes = proxy.writes() - before;
        assert!(writes <= 60, "{writes} requests after the kill, {lost}");
    }
}

#[tokio::test]
async fn a_wrong_address_gives_nothing_up() {
    let Some(engine) = Engine::victoria_metrics().await else { return };
    // It says 400 to a path that it does not know.
    let home = Home::new(&config(&format!("{}/wrong", engine.url()), "a", ""));
    let belfry = home.start().await;
    let start = now_ms() - 60_000;
    for n in 1..=3 {
        import(&belfry, start + n * 1000, n).await;
    }
    wait_until("it was tried more than once", DELIVERED_WITHIN, async || {
        (metric(&belfry, "belfry_engine_retries_total").await > 1.0).then_some(())
    })
    .await;
    assert_eq!(metric(&belfry, REFUSED).await, 0.0);
    assert!(metric(&belfry, "belfry_engine_queue_bytes").await > 0.0);
    let ready = belfry.get("/ready").await.expect(200).body;
    assert!(ready.contains("unsupported path requested"), "{ready}");
    belfry.kill().await;
    home.configure(&config(&engine.url(), "a", ""));
    let _belfry = home.start().await;
    delivered(&engine, 3).await;
}
