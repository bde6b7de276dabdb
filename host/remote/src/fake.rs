//! What tests share: an empty queue, and an engine that answers with a closure, one request a connection.

use std::sync::Arc;

use belfry_model::Labels;
use belfry_store::disk::SimDisk;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use crate::queue::{Queue, QueueConfig};

/// An empty queue on a disk of its own.
pub(crate) fn queue() -> Arc<Queue> {
    let config = QueueConfig {
        folder: "/q".into(),
        bytes_max: 1 << 20,
        sync_each: false,
        sync: true,
        external: Labels::empty(),
    };
    Arc::new(Queue::open(config, Arc::new(SimDisk::default())).expect("a queue"))
}

/// What came.
pub(crate) struct Asked {
    /// In small letters.
    pub head: String,
    pub body: Vec<u8>,
}

/// Answers with what `answer` says: a status line's end and headers, a body; `None` breaks the connection off.
pub(crate) async fn serve<B: AsRef<[u8]> + Send>(
    mut answer: impl FnMut(Asked) -> Option<(String, B)> + Send + 'static,
) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/write", listener.local_addr().expect("its address"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let Some((head, body)) = answer(asked(&mut stream).await) else { continue };
            let length = if head.starts_with("204") {
                String::new()
            } else {
                format!("content-length: {}\r\n", body.as_ref().len())
            };
            let head = format!("HTTP/1.1 {head}\r\nconnection: close\r\n{length}\r\n");
            stream.write_all(&[head.as_bytes(), body.as_ref()].concat()).await.expect("the answer is taken");
        }
    });
    url.parse().expect("an address")
}

async fn asked(stream: &mut TcpStream) -> Asked {
    let (mut all, mut buf) = (Vec::new(), [0; 4096]);
    loop {
        let n = stream.read(&mut buf).await.expect("a request");
        all.extend_from_slice(&buf[..n]);
        let Some(end) = all.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&all[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
        if all.len() >= end + 4 + length.expect("a length") {
            return Asked { head, body: all.split_off(end + 4) };
        }
    }
}
