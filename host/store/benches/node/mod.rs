//! Data as node_exporter makes it: what the store's figures are measured on.
//!
//! Invariant: the same seed gives the same samples. Every value is what a text exposition would carry: whole counters,
//! decimals of two to nine places, byte counts in pages.

use belfry_model::Labels;

/// Series of one target.
pub const SERIES_PER_TARGET: usize = 500;
/// Milliseconds between scrapes.
pub const INTERVAL_MS: i64 = 15_000;

/// How a series behaves. The numbers say how many of a target's series are of each kind: those of a node_exporter 1.9
/// on a machine with eight cores, two disks and two network interfaces, brought to 500.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Sizes, limits, `_info`, error counters that stay at zero.
    Constant,
    /// Flags and counters that change a few times a day.
    Rare,
    /// Events of a quiet device: most scrapes add nothing.
    SlowCounter,
    /// Packets, interrupts, context switches.
    Counter,
    /// Bytes received and sent.
    ByteCounter,
    /// `node_cpu_seconds_total`: hundredths of a second.
    CpuSeconds,
    /// `node_disk_io_time_seconds_total`: thousandths.
    DiskSeconds,
    /// `node_memory_*_bytes`: multiples of a page.
    Memory,
    /// Loads and temperatures: one or two decimals.
    Gauge,
    /// Sockets, processes, file handles: small whole numbers.
    Level,
    /// `node_scrape_collector_duration_seconds`, `node_time_seconds`: nanoseconds in a float.
    Float,
}

/// Every shape and how many series of a target have it.
pub const SHAPES: [(Shape, usize); 11] = [
    (Shape::Constant, 228),
    (Shape::Rare, 22),
    (Shape::SlowCounter, 50),
    (Shape::Counter, 58),
    (Shape::ByteCounter, 8),
    (Shape::CpuSeconds, 44),
    (Shape::DiskSeconds, 12),
    (Shape::Memory, 38),
    (Shape::Gauge, 10),
    (Shape::Level, 14),
    (Shape::Float, 16),
];

/// xorshift64*: enough for test data.
#[derive(Clone)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        let mut rng = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        (0..4).for_each(|_| _ = rng.next());
        rng
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 11) % n.max(1)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Roughly normal, deviation 1.
    fn noise(&mut self) -> f64 {
        (0..6).map(|_| self.unit()).sum::<f64>() * std::f64::consts::SQRT_2 - 3.0 * std::f64::consts::SQRT_2
    }
}

/// One series as it goes on.
pub struct Signal {
    shape: Shape,
    rng: Rng,
    value: f64,
    rate: f64,
    load: f64,
}

impl Signal {
    pub fn new(shape: Shape, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let rate = 10f64.powf(rng.unit() * 3.0);
        let value = match shape {
            Shape::Constant => [0.0, 0.0, 0.0, 1.0, 1500.0, 4096.0, 3.4e9, 4_294_967_296.0][rng.below(8) as usize],
            Shape::Rare => rng.below(5) as f64,
            Shape::SlowCounter => rng.below(10_000) as f64,
            Shape::Counter => rng.below(100_000_000) as f64,
            Shape::ByteCounter => rng.below(1 << 40) as f64,
            Shape::CpuSeconds | Shape::DiskSeconds => rng.below(1_000_000) as f64,
            Shape::Memory => (rng.below(1 << 21) * 4096) as f64,
            Shape::Gauge => rng.unit() * 40.0,
            Shape::Level => rng.below(500) as f64,
            Shape::Float => rng.unit() * 1e-3,
        };
        Self { shape, rng, value, rate, load: 0.5 }
    }

    /// The value at the next scrape, as its text says it.
    pub fn next(&mut self) -> f64 {
        let r = &mut self.rng;
        self.load = (self.load + r.noise() * 0.02).clamp(0.05, 1.0);
        match self.shape {
            Shape::Constant => {}
            Shape::Rare => self.value += if r.below(1500) == 0 { 1.0 } else { 0.0 },
            Shape::SlowCounter => self.value += if r.below(12) == 0 { 1.0 + r.below(3) as f64 } else { 0.0 },
            Shape::Counter => self.value += (self.rate * self.load * (1.0 + 0.2 * r.noise())).max(0.0).round(),
            Shape::ByteCounter => {
                self.value += (self.rate * 900.0 * self.load * (1.0 + 0.3 * r.noise())).max(0.0).round()
            }
            Shape::CpuSeconds => {
                // Idle takes nearly all of the 15 s, the others little; the kernel counts in hundredths.
                let share = if self.rate > 500.0 { 1.0 - 0.1 * self.load } else { self.rate * 2e-4 * self.load };
                self.value += (15.0 * share * (1.0 + 0.05 * r.noise())).max(0.0);
                return places(self.value, 2);
            }
            Shape::DiskSeconds => {
                self.value += (self.rate * 1e-3 * self.load * (1.0 + 0.3 * r.noise())).max(0.0);
                return places(self.value, 3);
            }
            Shape::Memory => {
                if r.below(10) < 6 {
                    let pages = (r.noise() * self.rate).round();
                    self.value = (self.value + pages * 4096.0).max(0.0);
                }
            }
            Shape::Gauge => {
                self.value = (self.value + r.noise() * 0.08).clamp(0.0, 90.0);
                return places(self.value, if self.rate > 30.0 { 2 } else { 1 });
            }
            Shape::Level => self.value = (self.value + if r.below(3) == 0 { r.noise().round() } else { 0.0 }).max(0.0),
            Shape::Float => return places(self.value * (1.0 + 0.15 * r.noise()), 9),
        }
        self.value
    }
}

/// As printed with so many decimals and read again.
fn places(v: f64, n: i32) -> f64 {
    let scale = 10f64.powi(n);
    (v * scale).round() / scale
}

/// The shape of series `i` of a target.
pub fn shape_of(i: usize) -> Shape {
    let mut left = i % SERIES_PER_TARGET;
    for (shape, n) in SHAPES {
        if left < n {
            return shape;
        }
        left -= n;
    }
    Shape::Constant
}

/// The labels of series `i` of `target`.
pub fn labels(target: usize, i: usize) -> Labels {
    let metric = format!("node_{:?}_{:03}_total", shape_of(i), i / 8).to_lowercase();
    Labels::from_pairs([
        ("__name__", metric),
        ("instance", format!("host-{target:04}.example.org:9100")),
        ("job", "node".to_owned()),
        ("device", format!("dev{}", i % 8)),
        ("mode", ["idle", "user", "system", "iowait"][i % 4].to_owned()),
    ])
}

/// When `target` answers scrape `n`: every series of it at the same millisecond, a few late.
pub fn scrape_time(start: i64, target: usize, n: usize) -> i64 {
    let jitter = Rng::new((target as u64) << 32 | n as u64).below(4) as i64;
    start + (target as i64 * 373) % INTERVAL_MS + n as i64 * INTERVAL_MS + jitter
}
