//! Remote-write bodies as a Prometheus that scrapes node_exporters would send them.
//!
//! Invariant: the same numbers make the same bytes, so that every server is sent the same.

use std::collections::HashMap;

/// Samples of a request, as Prometheus sends them.
pub const SAMPLES_PER_REQUEST: usize = 2_000;
/// Series of one node.
const NODE_SERIES: usize = 500;

/// A load's series, ready to be put into requests.
pub struct Bodies {
    /// Version 1: label fields. Version 2: packed references.
    labels: Vec<Vec<u8>>,
    v2: bool,
    numbers: HashMap<String, u32>,
    symbols: Vec<String>,
    of_series: Vec<Vec<u32>>,
    raw: Vec<u8>,
}

impl Bodies {
    /// Series as those of [`labels_of`].
    pub fn new(series: usize, v2: bool) -> Self {
        let mut all = Self::empty(v2);
        (0..series).for_each(|i| all.set(i, labels_of(i).iter().map(|(n, v)| (*n, v.as_str()))));
        all
    }

    /// No series yet.
    pub fn empty(v2: bool) -> Self {
        Self {
            labels: Vec::new(),
            v2,
            numbers: HashMap::new(),
            symbols: Vec::new(),
            of_series: Vec::new(),
            raw: Vec::new(),
        }
    }

    /// Series `i` has these labels from now on, in order of their names.
    pub fn set<'l>(&mut self, i: usize, labels: impl Iterator<Item = (&'l str, &'l str)>) {
        let (mut fields, mut refs) = (Vec::new(), Vec::new());
        for (name, value) in labels {
            if self.v2 {
                for text in [name, value] {
                    let next = self.numbers.len() as u32;
                    refs.push(*self.numbers.entry(text.to_owned()).or_insert_with(|| {
                        self.symbols.push(text.to_owned());
                        next
                    }));
                }
                continue;
            }
            let mut label = Vec::new();
            put_bytes(1, name.as_bytes(), &mut label);
            put_bytes(2, value.as_bytes(), &mut label);
            put_bytes(1, &label, &mut fields);
        }
        let len = self.len().max(i + 1);
        if self.v2 {
            self.of_series.resize_with(len, Vec::new);
            self.of_series[i] = refs;
        } else {
            self.labels.resize_with(len, Vec::new);
            self.labels[i] = fields;
        }
    }

    fn len(&self) -> usize {
        self.labels.len().max(self.of_series.len())
    }

    /// Requests of one row: every series once, at `at`, with the values of [`value`].
    pub fn row(&mut self, row: usize, at: i64, send: impl FnMut(Vec<u8>)) {
        self.requests(|i| (at, value(i, row)), send);
    }

    /// Requests of one sample of each series: its time and value.
    pub fn requests(&mut self, mut sample: impl FnMut(usize) -> (i64, f64), mut send: impl FnMut(Vec<u8>)) {
        let series = self.len();
        for from in (0..series).step_by(SAMPLES_PER_REQUEST) {
            let to = (from + SAMPLES_PER_REQUEST).min(series);
            let mut raw = std::mem::take(&mut self.raw);
            raw.clear();
            match self.v2 {
                true => self.request_2(from, to, &mut sample, &mut raw),
                false => self.request_1(from, to, &mut sample, &mut raw),
            }
            let packed = snap::raw::Encoder::new().compress_vec(&raw).unwrap_or_default();
            self.raw = raw;
            send(packed);
        }
    }

    fn request_1(&self, from: usize, to: usize, sample: &mut impl FnMut(usize) -> (i64, f64), into: &mut Vec<u8>) {
        let mut one = Vec::new();
        for i in from..to {
            let (at, value) = sample(i);
            one.clear();
            one.extend_from_slice(&self.labels[i]);
            put_sample(value, at, &mut one);
            put_bytes(1, &one, into);
        }
    }

    fn request_2(&self, from: usize, to: usize, sample: &mut impl FnMut(usize) -> (i64, f64), into: &mut Vec<u8>) {
        // Each request has a table of its own, with the empty string first.
        let mut numbers = HashMap::new();
        put_bytes(4, b"", into);
        let mut series = Vec::new();
        let (mut one, mut packed) = (Vec::new(), Vec::new());
        for i in from..to {
            one.clear();
            packed.clear();
            for symbol in &self.of_series[i] {
                let next = numbers.len() as u64 + 1;
                let number = *numbers.entry(*symbol).or_insert_with(|| {
                    put_bytes(4, self.symbols[*symbol as usize].as_bytes(), into);
                    next
                });
                put_varint(number, &mut packed);
            }
            put_bytes(1, &packed, &mut one);
            let (at, value) = sample(i);
            put_sample(value, at, &mut one);
            put_bytes(5, &one, &mut series);
        }
        into.extend_from_slice(&series);
    }
}

/// One sample in a request of version 1, for tests of durability.
pub fn single(name: &str, labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Vec<u8> {
    let mut one = Vec::new();
    for (name, value) in [("__name__", name)].iter().chain(labels) {
        let mut label = Vec::new();
        put_bytes(1, name.as_bytes(), &mut label);
        put_bytes(2, value.as_bytes(), &mut label);
        put_bytes(1, &label, &mut one);
    }
    for (at, value) in samples {
        put_sample(*value, *at, &mut one);
    }
    let mut raw = Vec::new();
    put_bytes(1, &one, &mut raw);
    snap::raw::Encoder::new().compress_vec(&raw).unwrap_or_default()
}

/// A request of version 1 with these series: name, labels but the name in order, samples.
pub fn request<'l>(
    series: impl Iterator<Item = (&'static str, &'l [(&'static str, String)], Vec<(i64, f64)>)>,
) -> Vec<u8> {
    let (mut raw, mut one, mut label) = (Vec::new(), Vec::new(), Vec::new());
    for (name, labels, samples) in series {
        one.clear();
        for (name, value) in [("__name__", name)].into_iter().chain(labels.iter().map(|(n, v)| (*n, &v[..]))) {
            label.clear();
            put_bytes(1, name.as_bytes(), &mut label);
            put_bytes(2, value.as_bytes(), &mut label);
            put_bytes(1, &label, &mut one);
        }
        for (at, value) in samples {
            put_sample(value, at, &mut one);
        }
        put_bytes(1, &one, &mut raw);
    }
    snap::raw::Encoder::new().compress_vec(&raw).unwrap_or_default()
}

fn put_sample(value: f64, at: i64, into: &mut Vec<u8>) {
    let mut sample = Vec::with_capacity(16);
    if value.to_bits() != 0 {
        sample.push(0x09);
        sample.extend_from_slice(&value.to_bits().to_le_bytes());
    }
    sample.push(0x10);
    put_varint(at as u64, &mut sample);
    put_bytes(2, &sample, into);
}

fn put_bytes(field: u8, bytes: &[u8], into: &mut Vec<u8>) {
    into.push(field << 3 | 2);
    put_varint(bytes.len() as u64, into);
    into.extend_from_slice(bytes);
}

fn put_varint(mut n: u64, into: &mut Vec<u8>) {
    while n >= 0x80 {
        into.push(n as u8 | 0x80);
        n >>= 7;
    }
    into.push(n as u8);
}

/// Of series `i`, name first.
pub fn labels_of(i: usize) -> Vec<(&'static str, String)> {
    let (node, k) = (i / NODE_SERIES, i % NODE_SERIES);
    const METRICS: [&str; 10] = [
        "node_cpu_seconds_total",
        "node_disk_read_bytes_total",
        "node_filesystem_avail_bytes",
        "node_memory_Active_anon_bytes",
        "node_netstat_Tcp_RetransSegs",
        "node_network_receive_bytes_total",
        "node_schedstat_running_seconds_total",
        "node_softnet_processed_total",
        "node_systemd_unit_state",
        "node_vmstat_pgfault",
    ];
    let mut labels = vec![
        ("__name__", format!("{}{}", METRICS[k % METRICS.len()], if k < 250 { "" } else { "_more" })),
        ("cpu", (k / METRICS.len() % 16).to_string()),
        ("device", format!("dev{}", k / 160)),
        ("instance", format!("node-{node:05}.dc1.example.com:9100")),
        ("job", "node".to_owned()),
        ("mode", ["idle", "user", "system", "iowait", "irq"][k / 10 % 5].to_owned()),
    ];
    labels.push(("n", k.to_string()));
    labels
}

/// Constants, counters, gauges with two places, some that are no decimals.
pub fn value(series: usize, row: usize) -> f64 {
    let noise = (series.wrapping_mul(2_654_435_761) ^ row.wrapping_mul(40_503)) % 1000;
    match series % 10 {
        0..=2 => (series % 13) as f64,
        3..=5 => (row * (series % 977) + noise) as f64,
        6..=8 => (5000 + noise) as f64 / 100.0,
        _ => (noise as f64).sqrt(),
    }
}
