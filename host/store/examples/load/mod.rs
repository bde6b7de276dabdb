//! What the examples write.

/// Node-like: constants, counters, gauges with two places, some that are no decimals.
pub fn value(series: usize, row: usize) -> f64 {
    let noise = (series.wrapping_mul(2_654_435_761) ^ row.wrapping_mul(40_503)) % 1000;
    match series % 10 {
        0..=2 => (series % 13) as f64,
        3..=5 => (row * (series % 977) + noise) as f64,
        6..=8 => (5000 + noise) as f64 / 100.0,
        _ => (noise as f64).sqrt(),
    }
}
