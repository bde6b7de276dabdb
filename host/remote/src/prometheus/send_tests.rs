use belfry_model::{Labels, Sample, TimestampMs, Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::engine::SeriesSamples;

/// Takes requests of at most so many bytes; tells how large those were that it took.
async fn server(bytes_max: usize) -> (Url, tokio::sync::mpsc::UnboundedReceiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/write", listener.local_addr().expect("its address"));
    let (tell, told) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            answer(stream, bytes_max, &tell).await;
        }
    });
    (url.parse().expect("an address"), told)
}

/// One request a connection.
async fn answer(mut stream: TcpStream, bytes_max: usize, tell: &tokio::sync::mpsc::UnboundedSender<usize>) {
    let (mut asked, mut buf) = (Vec::new(), [0; 4096]);
    let length = loop {
        let n = stream.read(&mut buf).await.expect("a request");
        asked.extend_from_slice(&buf[..n]);
        let text = String::from_utf8_lossy(&asked).to_ascii_lowercase();
        let Some(head) = asked.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
        let length = text.lines().find_map(|l| l.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
        let length = length.expect("a length");
        if asked.len() >= head + 4 + length {
            break length;
        }
    };
    let status = if length > bytes_max { "413 Too Large" } else { "204 Fine" };
    if length <= bytes_max {
        tell.send(length).expect("the test waits");
    }
    let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    let answer = if length > bytes_max { answer } else { answer.replace("content-length: 0\r\n", "") };
    stream.write_all(answer.as_bytes()).await.expect("the answer is taken");
}

fn shipment(series: usize) -> Shipment {
    let one = |i: usize| SeriesSamples {
        labels: Labels::from_pairs([("__name__".to_owned(), format!("metric_{i}_{}", i * 7_919))]),
        samples: vec![Sample { at: TimestampMs(i as i64), value: Value::Float(i as f64), start: None }],
        exemplars: Vec::new(),
    };
    Shipment { series: (0..series).map(one).collect(), metadata: Vec::new() }
}

fn engine(write_url: Url) -> Prometheus {
    let options = PrometheusOptions {
        read_url: write_url.clone(),
        write_url,
        protocol: Protocol::V1,
        http: ClientOptions::default(),
        timeout: Duration::from_secs(30),
    };
    Prometheus::new(options).expect("an engine")
}

#[tokio::test]
async fn what_is_too_large_goes_in_parts_and_only_what_is_too_large_alone_is_refused() {
    let (url, mut told) = server(700).await;
    assert_eq!(engine(url).send(&shipment(100)).await, Ok(Sent::default()));
    let mut parts = 0;
    while told.try_recv().is_ok() {
        parts += 1;
    }
    assert!(parts >= 4, "{parts} parts");
    let (url, _told) = server(10).await;
    let refused = engine(url).send(&shipment(3)).await;
    assert!(matches!(refused, Err(SendError::Refused { samples: Some(3), .. })), "{refused:?}");
}
