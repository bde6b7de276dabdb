//! Targets to scrape: each a port of its own that answers as a node_exporter does, with values that go on from answer to
//! answer.
//!
//! Invariant: the same target gives the same answers in the same order, so that every server reads the same.
//! Not here: how often it is asked.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use anyhow::Result;

use crate::node::{self, SERIES_PER_TARGET, Shape, Signal};

/// Targets that answer until this is dropped.
pub struct Exporters {
    addresses: Vec<String>,
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

/// One target's text: what never changes, and what each line counts.
struct Node {
    lines: Vec<(String, Signal)>,
    text: String,
}

impl Exporters {
    /// So many targets; with `pack` they answer packed when they are asked to, as exporters in Go do.
    pub fn start(targets: usize, pack: bool) -> Result<Self> {
        let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (mut addresses, mut threads) = (Vec::new(), Vec::new());
        for target in 0..targets {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            addresses.push(listener.local_addr()?.to_string());
            let node = Arc::new(Mutex::new(Node::new(target)));
            let (stop, answers) = (stop.clone(), answers.clone());
            threads.push(std::thread::spawn(move || {
                for stream in listener.incoming() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let (node, answers) = (node.clone(), answers.clone());
                    // It ends when the server closes the connection.
                    std::thread::spawn(move || stream.map(|s| serve(s, &node, &answers, pack)));
                }
            }));
        }
        Ok(Self { addresses, stop, answers, threads })
    }

    /// `host:port` of each.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// How often they were asked.
    pub fn answers(&self) -> u64 {
        self.answers.load(Ordering::SeqCst)
    }
}

impl Drop for Exporters {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for address in &self.addresses {
            // Wakes the thread that accepts.
            drop(TcpStream::connect(address));
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn serve(stream: TcpStream, node: &Mutex<Node>, answers: &AtomicU64, pack: bool) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let (mut line, mut answer) = (String::new(), Vec::new());
    loop {
        let mut packed = false;
        loop {
            line.clear();
            if stream.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line == "\r\n" {
                break;
            }
            let header = line.to_ascii_lowercase();
            packed |= pack && header.starts_with("accept-encoding:") && header.contains("gzip");
        }
        answer.clear();
        if let Ok(mut node) = node.lock() {
            node.answer(packed, &mut answer)?;
        }
        stream.get_mut().write_all(&answer)?;
        answers.fetch_add(1, Ordering::SeqCst);
    }
}

impl Node {
    fn new(target: usize) -> Self {
        let (mut lines, mut family) = (Vec::new(), String::new());
        for i in 0..SERIES_PER_TARGET {
            let labels = node::labels(target, i);
            let metric = labels.metric().unwrap_or_default();
            let shape = node::shape_of(i);
            let mut line = String::new();
            if metric != family {
                family = metric.to_owned();
                let kind = match shape {
                    Shape::Constant | Shape::Memory | Shape::Gauge | Shape::Level | Shape::Float => "gauge",
                    _ => "counter",
                };
                let _ = writeln!(line, "# HELP {metric} What the kernel says of {metric}, by device and mode.");
                let _ = writeln!(line, "# TYPE {metric} {kind}");
            }
            let of = |name| labels.get(name).unwrap_or_default();
            let _ = write!(line, "{metric}{{device=\"{}\",mode=\"{}\"}} ", of("device"), of("mode"));
            lines.push((line, Signal::new(shape, (target * SERIES_PER_TARGET + i) as u64)));
        }
        Self { lines, text: String::new() }
    }

    fn answer(&mut self, pack: bool, into: &mut Vec<u8>) -> Result<()> {
        self.text.clear();
        for (line, signal) in &mut self.lines {
            self.text.push_str(line);
            put_number(signal.next(), &mut self.text);
            self.text.push('\n');
        }
        let (body, encoding) = match pack {
            true => {
                let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                packer.write_all(self.text.as_bytes())?;
                (&packer.finish()?[..], "Content-Encoding: gzip\r\n")
            }
            false => (self.text.as_bytes(), ""),
        };
        write!(
            into,
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n{encoding}\
             Content-Length: {}\r\n\r\n",
            body.len()
        )?;
        into.extend_from_slice(body);
        Ok(())
    }
}

/// As Go prints a float (`%g`, the shortest that reads back the same): large ones get an exponent.
fn put_number(value: f64, into: &mut String) {
    let before = into.len();
    let _ = write!(into, "{value:e}");
    let text = into.split_off(before);
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let _ = match exponent {
        -4..6 => write!(into, "{value}"),
        // Go gives an exponent two digits.
        _ => write!(into, "{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs()),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_printed_as_go_prints_them() {
        for (value, text) in
            [(0.0, "0"), (1500.0, "1500"), (123_456.0, "123456"), (1_234_567.0, "1.234567e+06"), (0.25, "0.25")]
        {
            let mut printed = String::new();
            put_number(value, &mut printed);
            assert_eq!(printed, text);
        }
        let mut printed = String::new();
        put_number(0.000_012_5, &mut printed);
        assert_eq!(printed, "1.25e-05");
    }
}
