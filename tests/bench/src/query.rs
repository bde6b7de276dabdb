//! `cargo xtask bench query`: the same samples in each server, the same queries to each, over HTTP; and whether Belfry
//! answers what Prometheus answers.
//!
//! Servers are asked in turn, some times each, so that what else the machine does meets all. Before its turn a server has
//! the machine to itself: what another still does behind its last answer (collecting garbage, say) is waited for. Each
//! repetition ends a second earlier than the one before: no server can answer from what it kept.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::body::{self, SAMPLES_PER_REQUEST};
use crate::client::Client;
use crate::server::{Kind, Running, Server};

const SCRAPE_MS: i64 = 15_000;
const HOUR_MS: i64 = 3_600_000;
/// As many rounds, or as many as fit into [`QUERY_FOR`]; at least three.
const ROUNDS: i64 = 7;
/// In each, a server is asked so often.
const TURN: i64 = 3;
const QUERY_FOR: Duration = Duration::from_secs(6);
/// The others are at rest when they use no processor time for so long. That is waited for at most [`REST_WITHIN`].
const REST: Duration = Duration::from_millis(30);
const REST_WITHIN: Duration = Duration::from_secs(2);
/// Answers that differ by less are the same.
const RELATIVE: f64 = 1e-9;
/// What a server does behind the last write (Prometheus cuts a month into blocks) is done when it uses less than this
/// share of a processor for so long. That is waited for at most [`SETTLE_WITHIN`].
const SETTLED: f64 = 0.05;
const SETTLE: Duration = Duration::from_secs(5);
const SETTLE_WITHIN: Duration = Duration::from_secs(600);

/// How much there is of each metric; tenths for a quick look.
#[derive(Clone, Copy)]
struct Scale(usize);

/// A metric: its name, how many series, how many samples of each, their distance, labels, values.
struct Metric {
    name: &'static str,
    series: usize,
    rows: i64,
    every: i64,
    labels: fn(usize) -> Vec<(&'static str, String)>,
    value: fn(usize, i64) -> f64,
}

fn noise(s: usize, i: i64) -> f64 {
    let mut h = (s as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (i as u64).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    h = (h ^ (h >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb);
    // Fine enough that no two are equal: which of two equals `topk` takes is nowhere said.
    (h >> 24) as f64 / 1e10
}

fn cpu(s: usize) -> Vec<(&'static str, String)> {
    let modes = ["idle", "user", "system", "iowait", "nice", "irq", "softirq", "steal"];
    vec![
        ("cpu", (s / 8 % 16).to_string()),
        ("instance", format!("host-{}:9100", s / 128)),
        ("job", format!("job-{}", s / 128 % 10)),
        ("mode", modes[s % 8].to_owned()),
    ]
}

fn bucket(s: usize) -> Vec<(&'static str, String)> {
    let le = if s % 10 == 9 { "+Inf".to_owned() } else { format!("{}", 0.005 * f64::from(1 << (s % 10))) };
    vec![("instance", format!("host-{}", s / 10)), ("job", format!("api-{}", s / 10 % 5)), ("le", le)]
}

fn pod(s: usize) -> Vec<(&'static str, String)> {
    vec![("namespace", format!("ns-{}", s % 50)), ("node", format!("n{}", s % 200)), ("pod", format!("pod-{s:06}"))]
}

/// In the order in which they are written: a server may refuse what is older than what it has.
fn metrics(scale: Scale) -> Vec<Metric> {
    let n = |series: usize| (series * scale.0 / 10).max(10);
    let counter = |s: usize, i: i64| (i * (s as i64 % 100 + 1)) as f64 + noise(s, i) / 100.0;
    vec![
        Metric { name: "long_gauge", series: n(100), rows: 30 * 288, every: 300_000, labels: pod, value: noise },
        Metric {
            name: "node_cpu_seconds_total",
            series: n(1_000),
            rows: 300,
            every: SCRAPE_MS,
            labels: cpu,
            value: counter,
        },
        Metric {
            name: "node_cpu_large_seconds_total",
            series: n(10_000),
            rows: 300,
            every: SCRAPE_MS,
            labels: cpu,
            value: counter,
        },
        Metric {
            name: "latency_seconds_bucket",
            series: n(1_000),
            rows: 300,
            every: SCRAPE_MS,
            labels: bucket,
            value: |s, i| (i * (s as i64 % 10 + 1) * 3 + s as i64 % 7) as f64,
        },
        Metric { name: "memory_bytes", series: n(10_000), rows: 260, every: SCRAPE_MS, labels: pod, value: noise },
        Metric {
            name: "node_info",
            series: 200,
            rows: 260,
            every: SCRAPE_MS,
            labels: |s| vec![("node", format!("n{s}")), ("zone", format!("z{}", s % 3))],
            value: |_, _| 1.0,
        },
        Metric { name: "pods", series: n(100_000), rows: 4, every: SCRAPE_MS, labels: pod, value: noise },
    ]
}

/// A query, how many hours back it begins (0: an instant query), and its step in seconds.
type Question = (&'static str, i64, i64);

const MEASURED: &[Question] = &[
    ("sum by(job)(rate(node_cpu_seconds_total[5m]))", 1, 15),
    ("sum by(job)(rate(node_cpu_large_seconds_total[5m]))", 1, 15),
    ("topk(10, memory_bytes)", 1, 15),
    ("topk(5, rate(node_cpu_large_seconds_total[5m]))", 1, 15),
    ("histogram_quantile(0.99, sum by(le)(rate(latency_seconds_bucket[5m])))", 1, 15),
    ("histogram_quantile(0.9, sum by(le, job)(rate(latency_seconds_bucket[5m])))", 1, 15),
    ("count(pods{pod=~\"pod-.*[13579]\"})", 0, 0),
    ("count(pods{pod=~\"pod-0[0-4].*\"})", 0, 0),
    ("sum by(namespace)(pods)", 0, 0),
    ("avg by(namespace)(avg_over_time(long_gauge[1h]))", 24 * 30, 3_600),
    ("max_over_time(long_gauge[1d])", 24 * 30, 3_600),
    ("quantile_over_time(0.9, node_cpu_seconds_total[30m])", 1, 15),
    ("sum by(zone)(memory_bytes * on(node) group_left(zone) node_info)", 1, 15),
];

/// Compared with Prometheus, beside those that are measured.
const COMPARED: &[Question] = &[
    ("node_cpu_seconds_total", 1, 60),
    ("increase(node_cpu_seconds_total[7m])", 1, 45),
    ("irate(node_cpu_seconds_total[1m])", 1, 30),
    ("delta(memory_bytes{pod=~\"pod-00000.\"}[10m])", 1, 30),
    ("deriv(memory_bytes{pod=~\"pod-00000.\"}[10m])", 1, 30),
    ("predict_linear(memory_bytes{pod=~\"pod-00000.\"}[10m], 600)", 1, 30),
    ("sum without(cpu, mode)(rate(node_cpu_seconds_total[2m]))", 1, 30),
    ("stddev by(job)(node_cpu_seconds_total)", 1, 30),
    ("quantile by(job)(0.3, node_cpu_seconds_total)", 1, 30),
    ("count_values(\"v\", node_info)", 1, 60),
    ("bottomk(3, node_cpu_seconds_total)", 1, 60),
    ("count by(mode)(node_cpu_seconds_total > 5000)", 1, 15),
    ("sum_over_time(memory_bytes{pod=~\"pod-0000..\"}[17m])", 1, 15),
    ("avg_over_time(memory_bytes{pod=~\"pod-0000..\"}[17m])", 1, 15),
    ("stdvar_over_time(memory_bytes{pod=~\"pod-0000..\"}[17m])", 1, 15),
    ("min_over_time(memory_bytes{pod=~\"pod-0000..\"}[17m])", 1, 15),
    ("changes(memory_bytes{pod=~\"pod-0000..\"}[17m])", 1, 15),
    ("resets(memory_bytes{pod=~\"pod-0000..\"}[17m])", 1, 15),
    ("last_over_time(memory_bytes{pod=~\"pod-0000..\"}[1m])", 1, 15),
    ("absent_over_time(memory_bytes{pod=\"none\"}[1m])", 1, 60),
    ("absent(memory_bytes{pod=\"none\"})", 1, 60),
    ("max_over_time(sum by(job)(rate(node_cpu_seconds_total[5m]))[20m:1m])", 1, 30),
    ("avg_over_time(node_info[5m:30s] offset 2m)", 1, 30),
    ("sum by(job)(node_cpu_seconds_total offset 5m)", 1, 30),
    ("sum by(job)(node_cpu_seconds_total @ end())", 1, 300),
    ("sum(node_cpu_seconds_total{mode=\"idle\"}) / sum(node_cpu_seconds_total)", 1, 15),
    ("node_cpu_seconds_total{mode=\"idle\"} - ignoring(mode) node_cpu_seconds_total{mode=\"user\"}", 1, 60),
    ("node_cpu_seconds_total{mode=\"idle\"} and on(instance) (node_cpu_seconds_total{cpu=\"1\"} > 100)", 1, 60),
    ("memory_bytes{pod=~\"pod-0000..\"} > bool 50", 1, 60),
    ("clamp(memory_bytes{pod=~\"pod-0000..\"}, 10, 50) % 7 ^ 2", 1, 60),
    ("label_replace(node_info, \"z\", \"$1\", \"zone\", \"z(.)\")", 1, 300),
    ("sort_desc(sum by(job)(node_cpu_seconds_total))", 0, 0),
    ("topk(3, memory_bytes)", 0, 0),
    ("histogram_quantile(0.5, latency_seconds_bucket)", 1, 60),
    ("scalar(sum(node_info)) * vector(time())", 1, 60),
    ("hour(node_info) + minute(node_info)", 1, 300),
    ("round(rate(node_cpu_seconds_total{mode!~\"idle|user\"}[5m]), 0.01)", 1, 60),
    ("sum by(namespace)(long_gauge)", 24 * 30, 3_600),
    ("rate(long_gauge[6h])", 24 * 30, 7_200),
    ("quantile_over_time(0.2, long_gauge[1d])", 24 * 30, 7_200),
];

pub fn compare(servers: &[Server], tenths: usize, only: Option<&str>) -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
    let now = now / SCRAPE_MS * SCRAPE_MS;
    let mut running = Vec::new();
    for server in servers {
        let folder = tempfile::tempdir()?;
        let (process, _) = server.start_to_keep(folder.path())?;
        let begin = Instant::now();
        load(server, &process, Scale(tenths), now).with_context(|| format!("loading {}", server.name()))?;
        eprintln!("{} has its samples after {:.1} s", server.name(), begin.elapsed().as_secs_f64());
        running.push((server, process, folder));
    }
    let asked: Vec<(&Server, &Running)> = running.iter().map(|(server, process, _)| (*server, process)).collect();
    settle(&asked)?;
    latency(&asked, now, only)?;
    let differing = answers(&asked, now, only)?;
    if differing > 0 {
        bail!("{differing} answers differ from Prometheus'");
    }
    Ok(())
}

fn load(server: &Server, process: &Running, scale: Scale, now: i64) -> Result<()> {
    let mut client = Client::connect(&process.address)?;
    for m in metrics(scale) {
        let labels: Vec<_> = (0..m.series).map(m.labels).collect();
        // Some rows of a series in a request, so that many old rows take few requests.
        let together = if m.rows > 1_000 { 20 } else { 4 };
        for from in (0..m.rows).step_by(together) {
            let rows = from..m.rows.min(from + together as i64);
            for some in (0..m.series).collect::<Vec<_>>().chunks(SAMPLES_PER_REQUEST / together) {
                let series = some.iter().map(|s| {
                    let samples = rows.clone().map(|i| (now - (m.rows - 1 - i) * m.every, (m.value)(*s, i))).collect();
                    (m.name, &labels[*s][..], samples)
                });
                let (status, said) = client.write(&body::request(series), false)?;
                if !matches!(status, 200 | 204) {
                    bail!("{} was refused: {status} {said}", m.name);
                }
            }
        }
    }
    if server.kind == Kind::VictoriaMetrics {
        client.get("/internal/force_flush")?;
    }
    Ok(())
}

/// The path of a question that ends at `end`.
fn path(question: Question, end: i64) -> String {
    let (query, hours, step) = question;
    let query: String = query
        .bytes()
        .map(|b| if b.is_ascii_alphanumeric() { (b as char).to_string() } else { format!("%{b:02X}") })
        .collect();
    let end_s = end as f64 / 1000.0;
    match hours {
        0 => format!("/api/v1/query?query={query}&time={end_s}&nocache=1"),
        h => {
            let start = (end - h * HOUR_MS) as f64 / 1000.0;
            format!("/api/v1/query_range?query={query}&start={start}&end={end_s}&step={step}&nocache=1")
        }
    }
}

/// Is the question among those that are wanted?
fn wanted(question: &Question, only: Option<&str>) -> bool {
    only.is_none_or(|only| question.0.contains(only))
}

/// The median of the times, and the processor time of one repetition: what else the machine does changes that less.
fn latency(servers: &[(&Server, &Running)], now: i64, only: Option<&str>) -> Result<()> {
    print!("{:<76}", "median ms / processor ms");
    servers.iter().for_each(|(s, _)| print!("{:>20}", s.name()));
    println!("{:>16}", "best peer / us");
    for question in MEASURED.iter().filter(|q| wanted(q, only)) {
        let mut times: Vec<Vec<f64>> = vec![Vec::new(); servers.len()];
        let mut cpu = vec![Duration::ZERO; servers.len()];
        let begin = Instant::now();
        for round in 0..ROUNDS {
            if round >= 3 && begin.elapsed() > QUERY_FOR {
                break;
            }
            for (((server, process), times), cpu) in servers.iter().zip(&mut times).zip(&mut cpu) {
                // A server may end a connection that is old.
                let mut client = Client::connect(&process.address)?;
                rest(servers)?;
                let before = process.cpu()?;
                for i in round * TURN..(round + 1) * TURN {
                    let path = path(*question, now - i * 1_000);
                    let begin = Instant::now();
                    let (status, said) = client.get(&path)?;
                    times.push(begin.elapsed().as_secs_f64() * 1000.0);
                    if status != 200 {
                        bail!("{} answers {status} to {}: {}", server.name(), question.0, &said[..said.len().min(300)]);
                    }
                }
                *cpu += process.cpu()?.saturating_sub(before);
            }
        }
        let medians: Vec<f64> = times
            .iter_mut()
            .map(|t| {
                t.sort_by(f64::total_cmp);
                t[t.len() / 2]
            })
            .collect();
        print!("{:<76}", question.0);
        for ((median, cpu), times) in medians.iter().zip(&cpu).zip(&times) {
            let cpu = cpu.as_secs_f64() * 1000.0 / times.len() as f64;
            print!("{:>20}", format!("{median:.2} / {cpu:.1}"));
        }
        match medians.split_first() {
            Some((ours, peers)) if !peers.is_empty() => {
                println!("{:>16.1}", peers.iter().fold(f64::INFINITY, |a, b| a.min(*b)) / ours);
            }
            _ => println!(),
        }
    }
    Ok(())
}

/// Waits until all servers are done with what they were given, or for [`SETTLE_WITHIN`]; then it says who is not.
fn settle(servers: &[(&Server, &Running)]) -> Result<()> {
    let begin = Instant::now();
    let mut busy = servers.to_vec();
    while !busy.is_empty() && begin.elapsed() < SETTLE_WITHIN {
        let used = || servers.iter().map(|(_, process)| process.cpu()).collect::<Result<Vec<Duration>>>();
        let before = used()?;
        std::thread::sleep(SETTLE);
        let most = SETTLE.mul_f64(SETTLED);
        let all = servers.iter().zip(before).zip(used()?);
        busy = all.filter(|((_, before), now)| now.saturating_sub(*before) > most).map(|((s, _), _)| *s).collect();
    }
    for (server, _) in busy {
        eprintln!("{} is not at rest after {SETTLE_WITHIN:?}: others have less of the machine", server.name());
    }
    eprintln!("all are measured {:.0} s behind the last write", begin.elapsed().as_secs_f64());
    Ok(())
}

/// Waits until no server does anything, or for [`REST_WITHIN`]: one that never rests is no reason to wait for ever.
fn rest(servers: &[(&Server, &Running)]) -> Result<()> {
    let used = || servers.iter().map(|(_, process)| process.cpu()).sum::<Result<Duration>>();
    let begin = Instant::now();
    let (mut before, mut since) = (used()?, Instant::now());
    while since.elapsed() < REST && begin.elapsed() < REST_WITHIN {
        std::thread::sleep(Duration::from_millis(2));
        let now = used()?;
        if now != before {
            (before, since) = (now, Instant::now());
        }
    }
    Ok(())
}

/// How many answers of Belfry differ from Prometheus'.
fn answers(servers: &[(&Server, &Running)], now: i64, only: Option<&str>) -> Result<usize> {
    let of = |kind: Kind| servers.iter().find(|(s, _)| s.kind == kind).map(|(_, process)| process);
    let (Some(ours), Some(theirs)) = (of(Kind::Belfry), of(Kind::Prometheus)) else {
        println!("answers were not compared: there is no Prometheus");
        return Ok(0);
    };
    let (mut same, mut all) = (0, 0);
    for question in MEASURED.iter().chain(COMPARED).filter(|q| wanted(q, only)) {
        let path = path(*question, now);
        let ask =
            |of: &Running| -> Result<Value> { Ok(serde_json::from_str(&Client::connect(&of.address)?.get(&path)?.1)?) };
        let (mine, other) = (ask(ours)?, ask(theirs)?);
        all += 1;
        match difference(&mine, &other) {
            None => same += 1,
            Some(what) => println!("differs: {}: {what}", question.0),
        }
    }
    println!("{same} of {all} answers are Prometheus' (to {RELATIVE:e})");
    Ok(all - same)
}

/// Series by labels, each with its values by time.
type Rows = BTreeMap<String, BTreeMap<i64, f64>>;

fn rows(answer: &Value) -> Option<Rows> {
    let result = answer.get("data")?.get("result")?.as_array()?;
    let point = |p: &Value| {
        let text = p.get(1)?.as_str()?;
        let value = match text {
            "+Inf" => f64::INFINITY,
            "-Inf" => f64::NEG_INFINITY,
            text => text.parse().ok()?,
        };
        Some(((p.get(0)?.as_f64()? * 1000.0).round() as i64, value))
    };
    let mut rows = Rows::new();
    for series in result {
        let labels: BTreeMap<&String, &Value> = series.get("metric")?.as_object()?.iter().collect();
        let points = match series.get("values") {
            Some(values) => values.as_array()?.iter().map(point).collect::<Option<_>>()?,
            None => BTreeMap::from([point(series.get("value")?)?]),
        };
        rows.insert(format!("{labels:?}"), points);
    }
    Some(rows)
}

fn difference(mine: &Value, other: &Value) -> Option<String> {
    let (Some(a), Some(b)) = (rows(mine), rows(other)) else {
        let (mine, other) = (mine.to_string(), other.to_string());
        return Some(format!("{:.200} and {:.200}", mine, other));
    };
    if b.is_empty() {
        return Some("Prometheus has nothing: that compares nothing".to_owned());
    }
    if a.keys().ne(b.keys()) {
        let odd = a.keys().find(|k| !b.contains_key(*k)).or_else(|| b.keys().find(|k| !a.contains_key(*k)));
        return Some(format!("{} series and {}, such as {odd:?}", a.len(), b.len()));
    }
    for ((labels, a), b) in a.iter().zip(b.values()) {
        if a.keys().ne(b.keys()) {
            return Some(format!("{labels} has {} points and {}", a.len(), b.len()));
        }
        for ((t, a), b) in a.iter().zip(b.values()) {
            let near = (a - b).abs() <= RELATIVE * a.abs().max(b.abs());
            if a != b && !(a.is_nan() && b.is_nan()) && !near {
                return Some(format!("{labels} at {t}: {a} and {b}"));
            }
        }
    }
    None
}
