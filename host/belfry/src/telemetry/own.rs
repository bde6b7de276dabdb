//! Belfry's own metrics, gathered once: `/metrics` writes them as OpenMetrics, and the same go into Belfry's own store.
//!
//! Invariant: a plugin, channel or rule that is gone is gone from the metrics too: nothing is registered, everything is
//! read from the organs when asked.

use std::fmt;

use belfry_model::{Labels, METRIC_NAME, MetricKind, MetricMetadata};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

/// One metric with its series.
#[derive(Clone, Debug)]
pub struct OwnMetric {
    /// Without `_total`.
    pub name: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// `Counter` or `Gauge`.
    pub kind: MetricKind,
    /// Labels and value.
    pub series: Vec<(Vec<(&'static str, String)>, f64)>,
}

/// Everything, as it is now.
#[derive(Clone, Debug, Default)]
pub struct OwnMetrics(pub Vec<OwnMetric>);

impl OwnMetrics {
    /// A counter.
    pub fn counter(&mut self, name: &'static str, help: &'static str) -> &mut OwnMetric {
        self.add(name, help, MetricKind::Counter)
    }

    /// A gauge.
    pub fn gauge(&mut self, name: &'static str, help: &'static str) -> &mut OwnMetric {
        self.add(name, help, MetricKind::Gauge)
    }

    fn add(&mut self, name: &'static str, help: &'static str, kind: MetricKind) -> &mut OwnMetric {
        // One entry a name: the text format wants a metric's series together.
        let i = self.0.iter().position(|m| m.name == name).unwrap_or_else(|| {
            self.0.push(OwnMetric { name, help, kind, series: Vec::new() });
            self.0.len() - 1
        });
        &mut self.0[i]
    }

    /// OpenMetrics text, `# EOF` included.
    pub fn text(&self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Snapshot(self.0.clone())));
        let mut out = String::new();
        // Writing into a string cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut out, &registry);
        out
    }

    /// The same as samples for the store.
    pub fn samples(&self) -> Vec<(Labels, f64)> {
        let mut out = Vec::new();
        for m in &self.0 {
            for (labels, value) in &m.series {
                let name = (METRIC_NAME, m.stored_name());
                let pairs = labels.iter().map(|(n, v)| (*n, v.clone()));
                out.push((Labels::from_pairs(pairs.chain([name])), *value));
            }
        }
        out
    }

    /// What the store should know of them.
    pub fn metadata(&self) -> impl Iterator<Item = MetricMetadata> + '_ {
        self.0.iter().map(|m| MetricMetadata {
            name: m.stored_name(),
            kind: m.kind,
            unit: String::new(),
            help: m.help.to_owned(),
        })
    }
}

impl OwnMetric {
    /// Adds a series.
    pub fn set(&mut self, labels: &[(&'static str, &str)], value: f64) -> &mut Self {
        self.series.push((labels.iter().map(|(n, v)| (*n, (*v).to_owned())).collect(), value));
        self
    }

    fn stored_name(&self) -> String {
        match self.kind {
            MetricKind::Counter => format!("{}_total", self.name),
            _ => self.name.to_owned(),
        }
    }
}

struct Snapshot(Vec<OwnMetric>);

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Snapshot({} metrics)", self.0.len())
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        for m in &self.0 {
            let kind = if m.kind == MetricKind::Counter { MetricType::Counter } else { MetricType::Gauge };
            // The library ends a help text with a full stop of its own.
            let mut metric = encoder.encode_descriptor(m.name, m.help.trim_end_matches('.'), None, kind)?;
            for (labels, value) in &m.series {
                if labels.is_empty() {
                    encode(&mut metric, m.kind, *value)?;
                } else {
                    encode(&mut metric.encode_family(labels)?, m.kind, *value)?;
                }
            }
        }
        Ok(())
    }
}

fn encode(encoder: &mut prometheus_client::encoding::MetricEncoder<'_>, kind: MetricKind, value: f64) -> fmt::Result {
    match kind {
        MetricKind::Counter => encoder.encode_counter::<NoLabelSet, f64, f64>(&value, None),
        _ => encoder.encode_gauge(&value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_and_the_samples_say_the_same() {
        let mut own = OwnMetrics::default();
        own.counter("belfry_things", "Things.").set(&[("plugin", "a")], 3.0).set(&[("plugin", "b")], 4.0);
        own.gauge("belfry_level", "A level.").set(&[], 0.5);
        let text = own.text();
        assert!(text.contains("belfry_things_total{plugin=\"a\"} 3"), "{text}");
        assert!(text.contains("belfry_level 0.5"), "{text}");
        assert!(text.ends_with("# EOF\n"));
        let samples = own.samples();
        assert_eq!(samples[1].0.to_string(), r#"belfry_things_total{plugin="b"}"#);
        assert_eq!(samples[2], (Labels::from_pairs([(METRIC_NAME, "belfry_level")]), 0.5));
    }
}
