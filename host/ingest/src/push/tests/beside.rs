//! What comes beside samples: metadata and exemplars.

use super::*;

#[tokio::test]
async fn metadata_of_version_1_is_kept() {
    let w = world();
    let metadata = vec![m::MetricMetadata {
        kind: 2,
        metric_family_name: "temperature_celsius".into(),
        help: "How warm it is.".into(),
        unit: "celsius".into(),
    }];
    assert_eq!(w.v1(&m::WriteRequest { timeseries: Vec::new(), metadata }).await.0, 204);
    let known = w.writer.store.metadata(Some("temperature_celsius")).await.unwrap();
    assert_eq!((known[0].kind, known[0].unit.as_str()), (MetricKind::Gauge, "celsius"));

    let sizes = |kind| m::MetricMetadata { kind, metric_family_name: "sizes".into(), ..m::MetricMetadata::default() };
    for (number, kind) in [(3, MetricKind::Histogram), (4, MetricKind::GaugeHistogram), (99, MetricKind::Unknown)] {
        let metadata = vec![sizes(number)];
        assert_eq!(w.v1(&m::WriteRequest { timeseries: Vec::new(), metadata }).await.0, 204);
        assert_eq!(w.writer.store.metadata(Some("sizes")).await.unwrap()[0].kind, kind);
    }
}

/// An answer of success promises that it was written, also where no samples came with it.
#[tokio::test]
async fn metadata_alone_is_written_before_it_is_acknowledged() {
    let w = world();
    let of = |help: &str| m::MetricMetadata {
        kind: 1,
        metric_family_name: "alone".into(),
        help: help.into(),
        ..m::MetricMetadata::default()
    };
    let send = |help| m::WriteRequest { timeseries: Vec::new(), metadata: vec![of(help)] };
    w.writer.full.store(true, Ordering::SeqCst);
    assert_eq!(w.v1(&send("first")).await.0, 503);
    w.writer.full.store(false, Ordering::SeqCst);
    assert_eq!(w.v1(&send("second")).await, (204, String::new()));

    let mut t = Symbols::default();
    let metadata = Some(v2::Metadata { kind: 2, help_ref: t.number("third"), unit_ref: 0 });
    let ahead = m::Sample { value: 1.0, timestamp: NOW + 3_600_000, start_timestamp: 0 };
    let labels_refs = t.labels([("__name__", "alone")]);
    let series = v2::TimeSeries { labels_refs, metadata, samples: vec![ahead], ..Default::default() };
    w.writer.full.store(true, Ordering::SeqCst);
    let request = v2::Request { symbols: t.into_texts(), timeseries: vec![series] };
    assert_eq!(w.v2(&request).await.0, 503, "the sample is refused, the metadata is not");
}

/// 60 writes like the first one were 2.6 GB.
#[tokio::test]
async fn long_texts_beside_samples_are_cut_and_long_exemplars_left_out() {
    let w = world();
    let metadata = vec![m::MetricMetadata {
        kind: 1,
        metric_family_name: "long".into(),
        help: "ü".repeat(1 << 20),
        unit: "u".repeat(1000),
    }];
    assert_eq!(w.v1(&m::WriteRequest { timeseries: Vec::new(), metadata }).await.0, 204);
    let known = w.writer.store.metadata(Some("long")).await.unwrap();
    assert_eq!((known[0].help.as_str(), known[0].unit.len()), (&*"ü".repeat(2048), crate::UNIT_BYTES_MAX));
    let mut t = Symbols::default();
    let labels = t.labels([("__name__", "e")]);
    let exemplar = |labels_refs| v2::Exemplar { labels_refs, value: 1.0, timestamp: NOW };
    let (fits, more) = ("x".repeat(127), "x".repeat(128));
    let (short, long) = (t.labels([("t", fits.as_str())]), t.labels([("t", more.as_str())]));
    let one = v2::TimeSeries {
        labels_refs: labels,
        samples: vec![m::Sample { value: 1.0, timestamp: NOW, start_timestamp: 0 }],
        exemplars: vec![exemplar(short), exemplar(long)],
        metadata: Some(v2::Metadata { kind: 1, help_ref: t.number(&"h".repeat(1 << 20)), unit_ref: 0 }),
        ..Default::default()
    };
    let (status, said, written) = w.v2(&v2::Request { timeseries: vec![one], symbols: t.into_texts() }).await;
    assert_eq!((status, written), (204, [1, 0, 1]), "{said}");
    assert_eq!(w.writer.store.metadata(Some("e")).await.unwrap()[0].help.len(), crate::HELP_BYTES_MAX);
    let stats = w.push.ingest.stats();
    assert_eq!((stats.exemplars_too_long, stats.metadata_cut), (1, 2));
}
