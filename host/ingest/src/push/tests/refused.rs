//! What the answer says of what was refused.

use super::*;

/// The bucket counts contradict the histogram's.
fn contradicting() -> m::Histogram {
    m::Histogram { count_int: Some(9), timestamp: NOW, ..m::Histogram::default() }
}

fn empty_histogram(at: i64) -> m::Histogram {
    m::Histogram { count_int: Some(0), timestamp: NOW + at, ..m::Histogram::default() }
}

#[tokio::test]
async fn the_first_of_each_reason_is_named_with_its_series_and_time() {
    let w = world();
    let hour = 3_600_000;
    let of = |name: &'static str, samples: &[(i64, f64)]| series(&[("__name__", name), ("job", "x")], samples);
    assert_eq!(w.v1(&request(vec![of("a", &[(0, 1.0)]), of("b", &[(0, 1.0), (1, 1.0)])])).await.0, 204);
    let mut contradicts = of("h", &[]);
    contradicts.histograms = vec![contradicting()];
    // What is left out before the store does not shift what it names.
    let sent = request(vec![
        series(&[("job", "nameless")], &[(0, 1.0), (1, 1.0)]),
        of("a", &[(2 * hour, 1.0), (1, 1.0)]),
        contradicts,
        of("b", &[(3 * hour, 1.0), (2, 1.0), (1, 2.0), (0, 2.0), (-2 * hour, 1.0), (-3 * hour, 1.0)]),
    ]);
    let at = |ms: i64| TimestampMs(NOW + ms);
    let (status, said) = w.v1(&sent).await;
    assert_eq!(status, 400);
    assert_eq!(
        said,
        format!(
            "refused 2 samples older than the out-of-order window (such as b{{job=\"x\"}} at {}), 2 samples whose series has \
             another value at their time (such as b{{job=\"x\"}} at {}), 2 samples more than 10 minutes ahead of the clock \
             (such as a{{job=\"x\"}} at {}), 1 series with labels that cannot be kept (such as {{job=\"nameless\"}} has no \
             metric name), 1 native histograms that contradict themselves (such as h{{job=\"x\"}}: the buckets hold 0 \
             observations, the histogram 9); the rest was written\n",
            at(-2 * hour),
            at(1),
            at(2 * hour),
        )
    );
}

#[tokio::test]
async fn histograms_are_named_too_in_both_versions() {
    let w = world();
    let mut one = series(&[("__name__", "h")], &[]);
    one.histograms = vec![empty_histogram(0), empty_histogram(1)];
    assert_eq!(w.v1(&request(vec![one.clone()])).await.0, 204);
    one.histograms[1].sum = 5.0;
    let expected = format!("(such as h at {})", TimestampMs(NOW + 1));
    let (status, said) = w.v1(&request(vec![series(&[("__name__", "a")], &[(0, 1.0)]), one.clone()])).await;
    assert!(status == 400 && said.contains(&expected), "{said}");
    let mut t = Symbols::default();
    let of = v2::TimeSeries {
        labels_refs: t.labels([("__name__", "h")]),
        histograms: one.histograms,
        ..v2::TimeSeries::default()
    };
    let (status, said, written) = w.v2(&v2::Request { timeseries: vec![of], symbols: t.into_texts() }).await;
    assert!(status == 400 && said.contains(&expected), "{said}");
    assert_eq!(written, [0, 1, 0]);
}

#[tokio::test]
async fn a_long_series_is_cut_and_its_time_is_not() {
    let w = world();
    let long = "é".repeat(200);
    let one = |v| request(vec![series(&[("__name__", "up"), ("path", &long)], &[(0, v)])]);
    assert_eq!(w.v1(&one(1.0)).await.0, 204);
    let (_, said) = w.v1(&one(2.0)).await;
    assert!(said.contains(&format!("… at {})", TimestampMs(NOW))), "{said}");
    assert!(said.len() < 300, "{said}");
}

/// The specification: a series has at least one sample or histogram. Prometheus' exemplars come without.
#[tokio::test]
async fn a_series_of_version_2_without_anything_is_refused_and_its_neighbours_are_written() {
    let w = world();
    let mut t = Symbols::default();
    let metadata = |t: &mut Symbols| Some(v2::Metadata { kind: 1, help_ref: t.number("Help."), unit_ref: 0 });
    let alone = v2::TimeSeries {
        labels_refs: t.labels([("__name__", "alone_total")]),
        metadata: metadata(&mut t),
        ..v2::TimeSeries::default()
    };
    let good = v2::TimeSeries {
        labels_refs: t.labels([("__name__", "good_total")]),
        samples: vec![sample(NOW, 1.0)],
        metadata: metadata(&mut t),
        ..v2::TimeSeries::default()
    };
    let exemplar = v2::TimeSeries {
        labels_refs: t.labels([("__name__", "good_total")]),
        exemplars: vec![v2::Exemplar { labels_refs: t.labels([("id", "a")]), value: 1.0, timestamp: NOW }],
        ..v2::TimeSeries::default()
    };
    let sent = |timeseries| v2::Request { timeseries, symbols: t.clone().into_texts() };
    let (status, said, written) = w.v2(&sent(vec![alone.clone(), good.clone(), exemplar.clone()])).await;
    assert_eq!((status, written), (400, [1, 0, 1]));
    assert_eq!(said, "refused 1 series without a sample or histogram (such as alone_total); the rest was written\n");
    let known = w.writer.store.metadata(None).await.unwrap();
    assert_eq!(known.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["good_total"]);
    assert_eq!(w.v2(&sent(vec![good, exemplar])).await.0, 204);
    assert_eq!(w.v2(&sent(vec![alone])).await.2, [0, 0, 0]);
    assert_eq!(w.push.stats().partial, 2);
}
