//! Between the contract's records and the model's values.
//!
//! Not here: checks of names and limits (`capabilities/sink.rs`), which need the plugin's state.

use belfry_model::report::{Block, Cell, Chart, ChartSeries, Column, Stat, Table};
use belfry_model::sample::{Histogram, ResetHint, Span};
use belfry_model::{Labels, MetricKind, MetricMetadata, TimestampMs};

use crate::bindings::belfry::plugin::{sink, types};
use crate::bindings::exports::belfry::plugin::report_section as section;

/// As records, in order of name.
pub(crate) fn labels_to_guest(labels: &Labels) -> Vec<types::Label> {
    labels.iter().map(|l| types::Label { name: l.name.to_string(), value: l.value.to_string() }).collect()
}

/// As a label set.
pub(crate) fn labels_from_guest(labels: Vec<types::Label>) -> Labels {
    Labels::from_pairs(labels.into_iter().map(|l| (l.name, l.value)))
}

/// As pairs, in the guest's order.
pub(crate) fn attributes(attributes: Vec<types::Attribute>) -> Vec<(String, String)> {
    attributes.into_iter().map(|a| (a.key, a.value)).collect()
}

/// A metric's metadata.
pub(crate) fn metric(m: sink::Metric) -> MetricMetadata {
    MetricMetadata {
        name: m.name,
        kind: match m.kind {
            sink::MetricKind::Gauge => MetricKind::Gauge,
            sink::MetricKind::Counter => MetricKind::Counter,
            sink::MetricKind::Histogram => MetricKind::Histogram,
            sink::MetricKind::Summary => MetricKind::Summary,
            sink::MetricKind::Info => MetricKind::Info,
            sink::MetricKind::StateSet => MetricKind::StateSet,
            sink::MetricKind::Unknown => MetricKind::Unknown,
        },
        unit: m.unit.unwrap_or_default(),
        help: m.help,
    }
}

fn spans(spans: &[sink::Span]) -> Vec<Span> {
    spans.iter().map(|s| Span { offset: s.offset, length: s.length }).collect()
}

fn buckets(spans: &[Span]) -> u64 {
    spans.iter().map(|s| u64::from(s.length)).sum()
}

/// A native histogram, or what is wrong with it.
pub(crate) fn histogram(h: sink::Histogram) -> Result<Histogram, String> {
    let (positive_spans, negative_spans) = (spans(&h.positive_spans), spans(&h.negative_spans));
    let custom = h.schema == Histogram::CUSTOM_BOUNDS;
    if !custom && !(-4..=8).contains(&h.schema) {
        return Err(format!("a histogram's schema is -4 to 8 or {}, not {}", Histogram::CUSTOM_BOUNDS, h.schema));
    }
    if buckets(&positive_spans) != h.positive_counts.len() as u64
        || buckets(&negative_spans) != h.negative_counts.len() as u64
    {
        return Err("a histogram's spans and counts are of different length".to_owned());
    }
    let overlap = |spans: &[Span]| spans.iter().skip(1).any(|s| s.offset < 0);
    if overlap(&positive_spans) || overlap(&negative_spans) {
        return Err("a histogram's spans overlap".to_owned());
    }
    if custom && (!negative_spans.is_empty() || !h.custom_bounds.is_sorted_by(|a, b| a < b)) {
        return Err("custom bounds must ascend, and have no negative buckets".to_owned());
    }
    // Buckets of custom bounds are numbered from 0; the last one reaches to infinity.
    let last: i64 = positive_spans.iter().map(|s| i64::from(s.offset) + i64::from(s.length)).sum();
    if custom && (positive_spans.first().is_some_and(|s| s.offset < 0) || last > h.custom_bounds.len() as i64 + 1) {
        return Err("a histogram has buckets outside its bounds".to_owned());
    }
    if !custom && !h.custom_bounds.is_empty() {
        return Err(format!("custom bounds need schema {}", Histogram::CUSTOM_BOUNDS));
    }
    let counts = || h.positive_counts.iter().chain(&h.negative_counts).chain([&h.count, &h.zero_count]);
    let integer = counts().all(|c| c.fract() == 0.0 && *c >= 0.0);
    let negative = counts().any(|c| *c < 0.0);
    if negative && !h.gauge {
        return Err("a histogram's counts cannot be negative".to_owned());
    }
    Ok(Histogram {
        schema: h.schema,
        count: h.count,
        sum: h.sum,
        zero_threshold: h.zero_threshold,
        zero_count: h.zero_count,
        positive_spans,
        positive_counts: h.positive_counts,
        negative_spans,
        negative_counts: h.negative_counts,
        custom_bounds: h.custom_bounds,
        reset_hint: if h.gauge { ResetHint::Gauge } else { ResetHint::Unknown },
        integer,
    })
}

fn cell(c: section::Cell) -> Cell {
    match c {
        section::Cell::Empty => Cell::Empty,
        section::Cell::Text(s) => Cell::Text(s),
        section::Cell::Number(n) => Cell::Number(n),
        section::Cell::Time(t) => Cell::Time(TimestampMs(t)),
        section::Cell::DurationMs(d) => Cell::DurationMs(d),
        section::Cell::Status(s) => Cell::Status(s),
    }
}

fn chart(c: section::Chart) -> Result<Chart, String> {
    let series = c
        .series
        .into_iter()
        .map(|s| {
            if s.times.len() != s.values.len() {
                return Err(format!("chart {:?}: {} times but {} values", c.title, s.times.len(), s.values.len()));
            }
            Ok(ChartSeries {
                name: s.name,
                labels: labels_from_guest(s.labels),
                times: s.times.into_iter().map(TimestampMs).collect(),
                values: s.values,
            })
        })
        .collect::<Result<_, _>>()?;
    Ok(Chart { title: c.title, kind: c.kind, unit: c.unit, series, thresholds: c.thresholds })
}

fn table(t: section::Table) -> Result<Table, String> {
    if let Some(row) = t.rows.iter().find(|r| r.len() != t.columns.len()) {
        return Err(format!("table {:?}: a row of {} cells under {} columns", t.title, row.len(), t.columns.len()));
    }
    Ok(Table {
        title: t.title,
        columns: t.columns.into_iter().map(|c| Column { title: c.title, unit: c.unit }).collect(),
        rows: t.rows.into_iter().map(|r| r.into_iter().map(cell).collect()).collect(),
    })
}

/// A section's block, or what does not fit together in it.
pub(crate) fn block(b: section::Block) -> Result<Block, String> {
    Ok(match b {
        section::Block::Heading(s) => Block::Heading(s),
        section::Block::Markdown(s) => Block::Markdown(s),
        section::Block::Stats(stats) => Block::Stats(
            stats
                .into_iter()
                .map(|s| Stat { title: s.title, value: s.value, unit: s.unit, previous: s.previous, status: s.status })
                .collect(),
        ),
        section::Block::Table(t) => Block::Table(table(t)?),
        section::Block::Chart(c) => Block::Chart(chart(c)?),
        section::Block::Other(o) => Block::Other { kind: o.kind, json: o.json },
    })
}

/// `32 MiB`, as the config spells it.
pub(crate) fn bytes(n: usize) -> String {
    match n {
        n if n >= 1 << 30 && n % (1 << 30) == 0 => format!("{} GiB", n >> 30),
        n if n >= 1 << 20 => format!("{} MiB", n.div_ceil(1 << 20)),
        n if n >= 1 << 10 => format!("{} KiB", n.div_ceil(1 << 10)),
        n => format!("{n} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn custom(offset: i32, counts: &[f64], bounds: &[f64]) -> sink::Histogram {
        sink::Histogram {
            series: 0,
            at: None,
            start: None,
            schema: Histogram::CUSTOM_BOUNDS,
            count: counts.iter().sum(),
            sum: 1.0,
            zero_threshold: 0.0,
            zero_count: 0.0,
            positive_spans: vec![sink::Span { offset, length: counts.len() as u32 }],
            positive_counts: counts.to_vec(),
            negative_spans: Vec::new(),
            negative_counts: Vec::new(),
            custom_bounds: bounds.to_vec(),
            gauge: false,
        }
    }

    #[test]
    fn a_histogram_that_fits_is_taken() {
        let h = histogram(custom(1, &[2.0, 3.0], &[0.1, 0.5])).unwrap();
        assert_eq!((h.count, h.integer, h.reset_hint), (5.0, true, ResetHint::Unknown));
        assert!(!histogram(custom(0, &[0.5], &[0.1])).unwrap().integer);
    }

    #[test]
    fn a_histogram_that_does_not_fit_is_told_why() {
        let why = |h: sink::Histogram| histogram(h).unwrap_err();
        assert!(why(custom(2, &[1.0, 1.0], &[0.1, 0.5])).contains("outside its bounds"));
        assert!(why(custom(-1, &[1.0], &[0.1])).contains("outside its bounds"));
        assert!(why(custom(0, &[1.0], &[0.5, 0.1])).contains("must ascend"));
        assert!(why(custom(0, &[-1.0], &[0.1])).contains("cannot be negative"));
        let exponential = sink::Histogram { schema: 9, custom_bounds: Vec::new(), ..custom(0, &[1.0], &[]) };
        assert!(why(exponential).contains("-4 to 8"));
        let ragged = sink::Histogram { positive_counts: vec![1.0, 2.0], ..custom(0, &[1.0], &[0.1, 0.2]) };
        assert!(why(ragged).contains("different length"));
    }

    #[test]
    fn a_table_with_a_short_row_is_refused() {
        let t = section::Table {
            title: "t".into(),
            columns: vec![section::Column { title: "a".into(), unit: None }],
            rows: vec![vec![]],
        };
        assert!(block(section::Block::Table(t)).unwrap_err().contains("0 cells under 1 columns"));
    }

    #[test]
    fn sizes_read_as_the_config_spells_them() {
        assert_eq!(
            [bytes(7), bytes(32 << 20), bytes(2 << 30), bytes((32 << 20) + 1)],
            ["7 B", "32 MiB", "2 GiB", "33 MiB"]
        );
    }
}
