//! What is fuzzed. A target is a line here; it takes any bytes, and must come back soon, without a panic and without much
//! memory. Further seeds are the files of `tests/fuzz/seeds/NAME`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use belfry_ingest::exposition::{self, TextFormat};
use belfry_ingest::{push, scrape};
use belfry_remote::{influx, prometheus, queue};
use belfry_store::fuzz::seeds;

/// Something that reads bytes of strangers.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "remote_write_1", run: push::fuzz::remote_write_1, seeds: write_1 },
    Target { name: "remote_write_2", run: push::fuzz::remote_write_2, seeds: write_2 },
    Target { name: "remote_write_body", run: push::fuzz::remote_write_body, seeds: bodies },
    Target { name: "import", run: push::fuzz::import, seeds: imports },
    Target { name: "text", run: |b| _ = exposition::fuzz_text(b, TextFormat::Prometheus), seeds: text },
    Target { name: "openmetrics", run: |b| _ = exposition::fuzz_text(b, TextFormat::OpenMetrics), seeds: openmetrics },
    Target { name: "protobuf", run: |b| _ = exposition::fuzz_protobuf(b), seeds: protobuf },
    Target { name: "scrape_answer", run: scrape::fuzz::answer, seeds: answers },
    Target { name: "promql", run: belfry_promql::fuzz::parser, seeds: promql },
    Target { name: "promql_evaluation", run: belfry_promql::fuzz::evaluator, seeds: promql },
    Target { name: "wal", run: belfry_store::fuzzing::fuzz_wal, seeds: logs },
    Target { name: "wal_records", run: belfry_store::fuzzing::fuzz_wal_records, seeds: logs },
    Target { name: "queue_file", run: queue::fuzz::file, seeds: queue::fuzz::files },
    Target { name: "queue_record", run: queue::fuzz::record, seeds: queue::fuzz::records },
    Target { name: "influx_answer", run: influx::fuzz::answer, seeds: influx::fuzz::answers },
    Target { name: "prometheus_read", run: prometheus::fuzz::remote_read, seeds: prometheus::fuzz::remote_reads },
    Target {
        name: "prometheus_read_body",
        run: prometheus::fuzz::remote_read_body,
        seeds: prometheus::fuzz::remote_read_bodies,
    },
    Target { name: "prometheus_query", run: prometheus::fuzz::query_answer, seeds: prometheus::fuzz::query_answers },
    Target { name: "block_file", run: belfry_store::fuzz::block_file, seeds: blocks },
    Target { name: "block_index", run: belfry_store::fuzz::block_index, seeds: || seeds::indexes(&blocks()) },
    Target { name: "block_values", run: belfry_store::fuzz::values, seeds: seeds::values },
    Target { name: "block_chunk_1", run: belfry_store::fuzz::chunk_1, seeds: seeds::chunks_1 },
    Target { name: "block_deleted", run: belfry_store::fuzz::deleted, seeds: seeds::deleted },
];

/// Segments of the log, as each version of the format wrote them.
fn logs() -> Vec<Vec<u8>> {
    golden("wal", "wal")
}

/// Blocks, as each version of the format wrote them.
fn blocks() -> Vec<Vec<u8>> {
    golden("blocks", "block")
}

/// The store's own golden files: those of `*/folder/*.ending`.
fn golden(folder: &str, ending: &str) -> Vec<Vec<u8>> {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../host/store/tests/golden");
    let list = |path: &Path| {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|e| e.path()).collect::<BTreeSet<PathBuf>>()
    };
    let files = list(&all).into_iter().flat_map(|version| list(&version.join(folder)));
    let found: Vec<_> = files.filter(|f| f.extension().is_some_and(|e| e == ending)).collect();
    assert!(!found.is_empty(), "the store has no golden `{ending}` files");
    found.iter().filter_map(|f| std::fs::read(f).ok()).collect()
}

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut all = vec![number << 3 | 2];
    let mut n = bytes.len();
    while n >= 0x80 {
        all.push(n as u8 | 0x80);
        n >>= 7;
    }
    all.push(n as u8);
    all.extend_from_slice(bytes);
    all
}

fn sample(value: f64) -> Vec<u8> {
    let mut all = vec![0x09];
    all.extend(value.to_bits().to_le_bytes());
    all.extend([0x10, 0x80, 0xd0, 0x95, 0xff, 0xbc, 0x31]);
    all
}

/// Integer: count 3, schema 1, a span of two buckets, two deltas. Custom: schema -53, counts, two bounds.
fn histograms() -> [Vec<u8>; 2] {
    let integer = [vec![0x08, 3, 0x20, 2, 0x78, 9], field(11, &[0x08, 2, 0x10, 2]), field(12, &[2, 2])].concat();
    let counts = [1f64, 2.0].map(|v| v.to_bits().to_le_bytes()).concat();
    let custom = [vec![0x20, 105, 0x78, 9], field(11, &[0x10, 2]), field(13, &counts)].concat();
    let bounds = [vec![0x82, 0x01, 16], counts].concat();
    [integer, [custom, bounds].concat()]
}

fn write_1() -> Vec<Vec<u8>> {
    let label = |n: &str, v: &str| field(1, &[field(1, n.as_bytes()), field(2, v.as_bytes())].concat());
    let labels = [label("__name__", "up"), label("instance", "a:9100"), label("job", "node")].concat();
    let exemplar = [label("trace_id", "abc"), sample(1.0)].concat();
    let [integer, custom] = histograms();
    let series = |parts: &[Vec<u8>]| field(1, &[labels.clone(), parts.concat()].concat());
    let metadata = [vec![0x08, 1], field(2, b"up"), field(4, b"Help."), field(5, b"seconds")].concat();
    vec![
        series(&[field(2, &sample(1.0)), field(2, &sample(f64::NAN))]),
        [series(&[field(2, &sample(0.5)), field(3, &exemplar)]), series(&[field(4, &integer)])].concat(),
        [series(&[field(4, &custom)]), field(3, &metadata)].concat(),
    ]
}

fn write_2() -> Vec<Vec<u8>> {
    let symbols = ["", "__name__", "up", "job", "node", "Help."].map(|s| field(4, s.as_bytes())).concat();
    let [integer, custom] = histograms();
    let series = |parts: &[Vec<u8>]| field(5, &[field(1, &[1, 2, 3, 4]), parts.concat()].concat());
    let started = [sample(2.0), vec![0x18, 7]].concat();
    let exemplar = [field(1, &[3, 4]), sample(1.0)].concat();
    vec![
        [symbols.clone(), series(&[field(2, &started), field(4, &exemplar), field(5, &[0x08, 1, 0x18, 5])])].concat(),
        [symbols, series(&[field(3, &integer)]), series(&[field(3, &custom), vec![0x30, 9]])].concat(),
    ]
}

fn bodies() -> Vec<Vec<u8>> {
    let packed = |raw: &Vec<u8>| snap::raw::Encoder::new().compress_vec(raw).unwrap_or_default();
    write_1().iter().map(packed).collect()
}

fn text() -> Vec<Vec<u8>> {
    let all = "# HELP a_total Helps \\\\ and \\n.\n# TYPE a_total counter\na_total{b=\"c\",d=\"\\\"e\\\\\"} 1.5e3 1700000000000\n\
               # TYPE h histogram\nh_bucket{le=\"+Inf\"} 3\nh_sum NaN\nh_count 3\n{\"süß\", a=\"b\"} -Inf\n";
    vec![all.into(), b"a 1\nb 2\n".to_vec()]
}

/// Gzip that packs nothing: `a 1` and `b 2`, each on a line.
const PACKED: [u8; 31] = [
    0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0x03, 0x01, 0x08, 0x00, 0xf7, 0xff, 0x61, 0x20, 0x31, 0x0a,
    0x62, 0x20, 0x32, 0x0a, 0x7e, 0x4e, 0x8f, 0x97, 0x08, 0x00, 0x00, 0x00,
];

/// Texts of each format, plain and packed, behind what says so.
fn imports() -> Vec<Vec<u8>> {
    let of = |wish: u8, texts: Vec<Vec<u8>>| texts.into_iter().map(move |text| [vec![wish], text].concat());
    of(0, text()).chain(of(5, openmetrics())).chain(of(6, vec![PACKED.to_vec()])).collect()
}

/// Answers over HTTP, of a known length, in chunks, and to the end of the connection, each behind the size of its pieces.
fn answers() -> Vec<Vec<u8>> {
    [
        "\u{7}HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: 8\r\n\r\na 1\nb 2\n",
        "\u{3}HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n4\r\na 1\n\r\n0A;x=y\r\nb 2\nccccc\n\r\n0\r\nT: x\r\n\r\n",
        "\u{0}HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.0 302 Found\r\nLocation: /m\r\nConnection: keep-alive\r\n\r\nx",
    ]
    .map(|s| s.as_bytes().to_vec())
    .into_iter()
    .chain([[&b"\x07HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 31\r\n\r\n"[..], &PACKED].concat()])
    .collect()
}

fn openmetrics() -> Vec<Vec<u8>> {
    let all = "# TYPE a counter\n# UNIT a_seconds seconds\n# HELP a Helps.\na_total{b=\"c\"} 1 1.5 # {trace_id=\"x\"} 0.5 1.2\n\
               a_created{b=\"c\"} 1.0\n# TYPE s stateset\ns{s=\"on\"} 1\n# EOF\n";
    vec![all.into()]
}

/// `io.prometheus.client.MetricFamily`, with its length before it.
fn protobuf() -> Vec<Vec<u8>> {
    let label = field(1, &[field(1, b"job"), field(2, b"node")].concat());
    let counter = field(3, &[vec![0x09], 2f64.to_bits().to_le_bytes().to_vec()].concat());
    let bucket = field(3, &[0x08, 2, 0x11, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f]);
    let native = [vec![0x08, 3, 0x28, 2], bucket, field(12, &[0x08, 2, 0x10, 2]), field(13, &[2, 2])].concat();
    let family = |kind: u8, metric: &[u8]| {
        [field(1, b"a_total"), field(2, b"Helps."), vec![0x18, kind], field(4, metric)].concat()
    };
    let delimited = |f: Vec<u8>| field(0, &f).split_off(1);
    vec![
        delimited(family(0, &[label.clone(), counter].concat())),
        delimited(family(4, &[label, field(7, &native)].concat())),
    ]
}

fn promql() -> Vec<Vec<u8>> {
    [
        "sum by (job) (rate(http_requests_total{code=~\"5..\", job!=\"x\"}[5m] offset 1h)) / on(job) group_left() up > bool 0.5",
        "histogram_quantile(0.9, sum by (le) (rate(h_bucket[5m:30s] @ end())))",
        "label_replace(up, \"a\", \"$1\", \"b\", \"(.*)\") unless -1e3 ^ 0x1F % Inf or vector(NaN)",
        "{\"süß\", a=\"\\u00e4\"} and absent_over_time(a[1d]) # comment",
        "a % Inf ^ b - -Inf ^ +Inf ^ c",
    ]
    .map(|s| s.as_bytes().to_vec())
    .to_vec()
}
