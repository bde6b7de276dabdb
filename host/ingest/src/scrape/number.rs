//! Numbers in the labels `le` and `quantile`, written in one way: since Prometheus 3, `le="1"` and `le="1.0"` are one
//! series, whatever format an exporter speaks.

use belfry_model::{Labels, LabelsBuilder, MetricKind};

/// As OpenMetrics writes a float (`1.0`, `0.05`, `1e+06`, `+Inf`); `None` when the text is no number.
pub(crate) fn canonical(text: &str) -> Option<String> {
    fast_float2::parse(text).ok().map(openmetrics_float)
}

/// Writes the numbers in a series' labels in the one way, where its family is one that has them: others may say in `le`
/// what they like. `kind_of` says what kind of metric a family is.
pub(crate) fn write_alike(own: &Labels, labels: &mut LabelsBuilder, kind_of: impl Fn(&str) -> Option<MetricKind>) {
    const BUCKETED: &[MetricKind] = &[MetricKind::Histogram, MetricKind::GaugeHistogram];
    for (name, kinds, suffix) in [("le", BUCKETED, "_bucket"), ("quantile", &[MetricKind::Summary], "")] {
        let Some(value) = own.get(name) else { continue };
        let family = own.metric().and_then(|m| m.strip_suffix(suffix));
        if family.and_then(&kind_of).is_some_and(|kind| kinds.contains(&kind))
            && let Some(written) = canonical(value)
            && written != value
        {
            labels.set(name, written);
        }
    }
}

/// A float as OpenMetrics writes it.
pub(crate) fn openmetrics_float(number: f64) -> String {
    match number {
        n if n.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        n => general(n),
    }
}

/// Go's shortest `%g`, with `.0` where neither a point nor an exponent would stand.
fn general(n: f64) -> String {
    let scientific = format!("{n:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if n != 0.0 && !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        // Go's exponents have two digits at least; the mantissa keeps its own way.
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{n}");
    if plain.contains('.') { plain } else { plain + ".0" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_prometheus_writes_them() {
        for (text, written) in [
            ("1", "1.0"),
            ("1.000", "1.0"),
            ("0", "0.0"),
            ("-2", "-2.0"),
            ("0.05", "0.05"),
            ("5e-2", "0.05"),
            ("0.00001", "1e-05"),
            ("100000", "100000.0"),
            ("1000000", "1e+06"),
            ("1.234567e6", "1.234567e+06"),
            ("1e100", "1e+100"),
            ("+Inf", "+Inf"),
            ("inf", "+Inf"),
            ("-inf", "-Inf"),
            ("NaN", "NaN"),
        ] {
            assert_eq!(canonical(text).as_deref(), Some(written), "{text}");
        }
        assert_eq!(canonical("big"), None);
    }
}
