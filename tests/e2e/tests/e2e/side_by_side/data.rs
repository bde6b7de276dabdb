//! The data that both servers get: every kind of series there is, made by a formula, so that each run has the same.

use belfry_prompb::{BucketSpan, Histogram, Sample, TimeSeries, WriteRequest, labels, packed};

/// Sunday 2025-06-15 22:30:00 UTC: hours and days change under way.
pub const BEGIN: i64 = 1_750_026_600_000;
/// Distance of samples.
pub const EVERY: i64 = 15_000;
/// Samples of a series without gaps: two hours.
pub const ROWS: i64 = 480;
/// Rows in a request.
const ROWS_PER_REQUEST: i64 = 60;
/// What ends a series.
const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// After the last sample.
pub const END: i64 = BEGIN + ROWS * EVERY;

enum Point {
    Float(f64),
    Histogram(Box<Histogram>),
}

impl From<Histogram> for Point {
    fn from(h: Histogram) -> Self {
        Self::Histogram(Box::new(h))
    }
}

struct Series {
    labels: Vec<(String, String)>,
    /// Milliseconds by which its samples are off the grid.
    shift: i64,
    at: Box<dyn Fn(i64) -> Option<Point>>,
}

/// Requests in order of time.
pub fn requests() -> Vec<Vec<u8>> {
    let all = series();
    let block = |from: i64| {
        let rows = from..(from + ROWS_PER_REQUEST).min(ROWS);
        let timeseries = all.iter().filter_map(|s| s.rows(rows.clone())).collect();
        packed(&WriteRequest { timeseries, metadata: Vec::new() }).expect("it fits")
    };
    (0..ROWS).step_by(ROWS_PER_REQUEST as usize).map(block).collect()
}

impl Series {
    fn rows(&self, rows: std::ops::Range<i64>) -> Option<TimeSeries> {
        let mut out = TimeSeries { labels: labels(self.labels.iter().cloned()), ..TimeSeries::default() };
        for row in rows {
            let timestamp = BEGIN + row * EVERY + self.shift;
            match (self.at)(row) {
                None => {}
                Some(Point::Float(value)) => out.samples.push(Sample { value, timestamp, ..Sample::default() }),
                Some(Point::Histogram(h)) => out.histograms.push(Histogram { timestamp, ..*h }),
            }
        }
        (!out.samples.is_empty() || !out.histograms.is_empty()).then_some(out)
    }
}

struct World(Vec<Series>);

impl World {
    fn add(&mut self, name: &str, labels: &[(&str, &str)], shift: i64, at: impl Fn(i64) -> Option<Point> + 'static) {
        let pairs = std::iter::once(("__name__", name)).chain(labels.iter().copied());
        let mut labels: Vec<_> = pairs.map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        labels.sort();
        self.0.push(Series { labels, shift, at: Box::new(at) });
    }

    fn float(&mut self, name: &str, labels: &[(&str, &str)], shift: i64, at: impl Fn(i64) -> f64 + 'static) {
        self.add(name, labels, shift, move |row| Some(Point::Float(at(row))));
    }
}

/// Even noise in 0..1.
fn noise(seed: i64, row: i64) -> f64 {
    let mut x = (seed as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (row as u64).wrapping_mul(0xD1B5_4A32_D192_ED03);
    for _ in 0..3 {
        x ^= x >> 29;
        x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    }
    (x >> 11) as f64 / (1u64 << 53) as f64
}

/// A counter's increments since its last restart.
fn since_restart(seed: i64, row: i64, restart: i64) -> f64 {
    let from = if restart > 0 { row - row % restart } else { 0 };
    (from..=row).map(|r| (noise(seed, r) * 20.0).floor()).sum()
}

fn series() -> Vec<Series> {
    let mut w = World(Vec::new());
    let instances = [("api", "a:1"), ("api", "b:1"), ("web", "a:2"), ("web", "b:2"), ("web", "c:2")];
    for (i, (job, instance)) in instances.into_iter().enumerate() {
        let (i, shift) = (i as i64, i as i64 * 1_234);
        for (k, (method, code)) in
            [("GET", "200"), ("GET", "500"), ("POST", "200"), ("POST", "404")].into_iter().enumerate()
        {
            let seed = i * 10 + k as i64;
            let labels = [("job", job), ("instance", instance), ("method", method), ("code", code)];
            w.float("http_requests_total", &labels, shift, move |row| {
                since_restart(seed, row, [0, 97, 0, 200, 333][i as usize])
            });
        }
        let labels = [("job", job), ("instance", instance)];
        w.float("up", &labels, shift, move |row| if noise(100 + i, row / 12) < 0.15 { 0.0 } else { 1.0 });
        w.float("memory_bytes", &labels, shift, move |row| {
            (1e9 + 1e8 * noise(200 + i, row) + (row * 1000) as f64).floor()
        });
        w.float("temperature_celsius", &labels, shift, move |row| {
            ((row as f64 / 40.0 + i as f64).sin() * 250.0 + noise(300 + i, row) * 10.0).round() / 10.0
        });
        w.float("process_start_time_seconds", &labels, shift, move |row| {
            (BEGIN / 1000 - 3600 + 100 * (row / 97)) as f64
        });
        let version = if i % 2 == 0 { "1.0" } else { "1.1" };
        w.float("build_info", &[("job", job), ("instance", instance), ("version", version)], shift, |_| 1.0);
        let env = ["prod", "dev", "prod", "test", "prod"][i as usize];
        w.float(
            "target_info",
            &[("job", job), ("instance", instance), ("env", env), ("k8s.cluster", "eu")],
            shift,
            |_| 1.0,
        );
        classic(&mut w, &labels, i, shift);
        native(&mut w, &labels, i, shift);
    }
    gaps(&mut w);
    odd(&mut w);
    w.0
}

fn classic(w: &mut World, labels: &[(&str, &str)], i: i64, shift: i64) {
    let bounds = ["0.005", "0.05", "0.25", "1", "2.5", "10", "+Inf"];
    for (b, le) in bounds.into_iter().enumerate() {
        let mut labels = labels.to_vec();
        labels.push(("le", le));
        w.float("request_duration_seconds_bucket", &labels, shift, move |row| {
            let each = |r: i64| (0..=b as i64).map(|k| (noise(400 + i * 10 + k, r) * 5.0).floor()).sum::<f64>();
            (row - row % 250..=row).map(each).sum()
        });
    }
    w.float("request_duration_seconds_count", labels, shift, move |row| since_restart(500 + i, row, 250));
    w.float("request_duration_seconds_sum", labels, shift, move |row| since_restart(520 + i, row, 250) * 0.37);
}

fn native(w: &mut World, labels: &[(&str, &str)], i: i64, shift: i64) {
    let counts = move |row: i64, restart: i64| -> Vec<f64> {
        let from = if restart > 0 { row - row % restart } else { 0 };
        // Far enough from zero that it does not matter whether a rate looks where a counter would have been zero.
        (0..5).map(|b| 1000.0 + (from..=row).map(|r| (noise(600 + i * 10 + b, r) * 4.0).floor()).sum::<f64>()).collect()
    };
    w.add("rpc_seconds", labels, shift, move |row| {
        let c = counts(row, [0, 130, 0, 0, 220][i as usize]);
        Some(Point::from(Histogram {
            count_float: Some(c.iter().sum::<f64>() + 2.0),
            sum: c.iter().enumerate().map(|(b, n)| n * (b as f64 + 0.7)).sum(),
            // Resolution may differ between instances, and change under way.
            schema: if i == 1 || (i == 3 && row > 240) { 1 } else { 0 },
            zero_threshold: if i == 2 { 0.01 } else { 0.001 },
            zero_count_float: Some(2.0),
            positive_spans: vec![BucketSpan { offset: -2, length: 2 }, BucketSpan { offset: 1, length: 3 }],
            positive_counts: c,
            ..Histogram::default()
        }))
    });
    w.add("balance_change", labels, shift, move |row| {
        let n = |b: i64| (noise(700 + i * 10 + b, row) * 9.0).floor();
        Some(Point::from(Histogram {
            count_float: Some(n(0) + n(1) + n(2) + n(3) + n(4)),
            sum: n(3) + n(4) * 2.5 - n(1) - n(2) * 2.5,
            schema: 2,
            zero_threshold: 1e-6,
            zero_count_float: Some(n(0)),
            negative_spans: vec![BucketSpan { offset: 0, length: 2 }],
            negative_counts: vec![n(1), n(2)],
            positive_spans: vec![BucketSpan { offset: 1, length: 1 }, BucketSpan { offset: 3, length: 1 }],
            positive_counts: vec![n(3), n(4)],
            reset_hint: 3,
            ..Histogram::default()
        }))
    });
    w.add("body_bytes", labels, shift, move |row| {
        let c = counts(row, 0);
        let bounds = vec![100.0, 500.0, 1000.0, 10000.0];
        Some(Point::from(Histogram {
            count_float: Some(c.iter().sum()),
            sum: c.iter().enumerate().map(|(b, n)| n * (b as f64 + 0.5) * 100.0).sum(),
            schema: -53,
            positive_spans: vec![BucketSpan { offset: 0, length: 5 }],
            positive_counts: c,
            custom_values: bounds,
            ..Histogram::default()
        }))
    });
}

/// Series that come and go.
fn gaps(w: &mut World) {
    let ends = |row: i64| (row / 40) % 3;
    w.add("gappy", &[("kind", "marked")], 0, move |row| match ends(row) {
        2 if row % 40 == 0 => Some(Point::Float(STALE)),
        2 => None,
        _ => Some(Point::Float(row as f64)),
    });
    w.add("gappy", &[("kind", "silent")], 7_000, move |row| (ends(row) != 2).then_some(Point::Float(-row as f64)));
    w.add("gappy", &[("kind", "late")], 0, |row| (row > 300).then_some(Point::Float(7.0)));
    w.add("gappy", &[("kind", "short")], 100, |row| (row < 100).then_some(Point::Float(row as f64 * 0.1)));
    w.add("gappy", &[("kind", "sparse")], 0, |row| (row % 33 == 0).then_some(Point::Float(noise(1, row))));
    w.add("gappy", &[("kind", "once")], 1, |row| (row == 240).then_some(Point::Float(42.0)));
    w.add("mixed", &[("kind", "both")], 0, |row| {
        let h = Histogram {
            count_float: Some(row as f64),
            sum: row as f64 * 1.5,
            zero_threshold: 0.001,
            zero_count_float: Some(0.0),
            positive_spans: vec![BucketSpan { offset: 0, length: 1 }],
            positive_counts: vec![row as f64],
            ..Histogram::default()
        };
        Some(if (row / 30) % 2 == 0 { Point::Float(row as f64) } else { Point::from(h) })
    });
    w.float("mixed", &[("kind", "float")], 0, |row| row as f64 * 2.0);
}

/// What breaks naive code.
fn odd(w: &mut World) {
    let at = |v: f64| move |_| v;
    for (kind, value) in [
        ("nan", f64::NAN),
        ("inf", f64::INFINITY),
        ("-inf", f64::NEG_INFINITY),
        ("zero", 0.0),
        ("big", 1.797e308),
        ("tiny", 1e-300),
        ("third", 1.0 / 3.0),
    ] {
        w.float("special", &[("kind", kind)], 0, at(value));
    }
    w.float("special", &[("kind", "waves")], 0, |row| match row % 7 {
        3 => f64::NAN,
        5 => f64::INFINITY,
        _ => row as f64,
    });
    w.float("my.metric.total", &[("label.with.dots", "x"), ("héllo", "wörld"), ("job", "api")], 0, |row| {
        row as f64 * 3.0
    });
    w.float("my.metric.total", &[("label.with.dots", "y \"quoted\"\\ \n"), ("job", "web")], 0, |row| row as f64 * 5.0);
    for (n, size) in [("v1.2", 3.0), ("v1.10", 1.0), ("v1.9", 2.0), ("V2", 2.0)] {
        w.float("versions", &[("version", n)], 0, at(size));
    }
    // Not monotonic, with buckets missing and one that is no number.
    for (le, n) in [("0.1", 5.0), ("0.5", 4.0), ("1", 9.0), ("5", 9.000000000000002), ("+Inf", 9.0)] {
        w.float("broken_bucket", &[("kind", "falling"), ("le", le)], 0, move |row| n * row as f64);
    }
    w.float("broken_bucket", &[("kind", "no_inf"), ("le", "1")], 0, at(3.0));
    w.float("broken_bucket", &[("kind", "words"), ("le", "soon")], 0, at(3.0));
    w.float("broken_bucket", &[("kind", "words"), ("le", "+Inf")], 0, at(3.0));
    w.float("broken_bucket", &[("kind", "none")], 0, at(3.0));
}
