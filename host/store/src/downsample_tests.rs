use std::sync::Arc;

use belfry_model::sample::stale_nan;
use belfry_model::{Sample, TimestampMs, Value};
use proptest::prelude::*;

use super::*;

const R5: i64 = 300_000;
const R60: i64 = 3_600_000;

fn labels(name: &str) -> Labels {
    Labels::from_pairs([("__name__", name)])
}

fn of(points: &[(i64, f64)]) -> SampleBuf {
    let mut buf = SampleBuf::default();
    points.iter().for_each(|(t, v)| buf.push_float(*t, *v));
    buf
}

fn down(name: &str, input: &SampleBuf, resolution: i64) -> SampleBuf {
    let mut out = SampleBuf::default();
    downsample(&labels(name), input, resolution, &mut out);
    out
}

/// Minutes and values of what is left, and how many samples each stands for.
fn left(buf: &SampleBuf) -> Vec<(i64, f64, u32)> {
    (0..buf.len()).map(|i| (buf.times[i] / 60_000, buf.floats[i], buf.coarse.rows[i].count)).collect()
}

fn minutes(points: &[(i64, f64)]) -> SampleBuf {
    of(&points.iter().map(|(m, v)| (m * 60_000, *v)).collect::<Vec<_>>())
}

#[test]
fn a_bucket_keeps_its_first_and_last_sample_and_what_all_of_them_were() {
    let buf = minutes(&[(1, 5.0), (2, 3.0), (3, 9.0), (4, 4.0), (5, 6.0), (6, 7.0), (7, 6.0), (10, 8.0)]);
    let found = down("gauge", &minutes(&[(1, 5.0), (2, 6.0), (4, 7.0), (5, 9.0), (6, 7.0), (10, 8.0)]), R5);
    assert_eq!(left(&found), [(1, 5.0, 0), (5, 9.0, 4), (6, 7.0, 0), (10, 8.0, 2)]);
    assert_eq!(found.coarse.rows[1], Rollup { count: 4, since: 60_000, min: 5.0, max: 9.0, sum: 27.0 });
    // More falls than buckets, and no name of a counter.
    let found = down("gauge", &buf, R5);
    assert_eq!(left(&found), [(1, 5.0, 0), (5, 6.0, 5), (6, 7.0, 0), (10, 8.0, 3)]);
    assert_eq!(found.coarse.rows[1], Rollup { count: 5, since: 60_000, min: 3.0, max: 9.0, sum: 27.0 });
}

#[test]
fn the_samples_around_a_reset_stay() {
    let buf = minutes(&[(1, 5.0), (2, 6.0), (3, 1.0), (4, 2.0), (5, 1.0), (6, 7.0), (10, 3.0)]);
    let expected = [(1, 5.0, 0), (2, 6.0, 2), (3, 1.0, 0), (4, 2.0, 2), (5, 1.0, 1), (6, 7.0, 1), (10, 3.0, 1)];
    assert_eq!(left(&down("requests_total", &buf, R5)), expected);
}

#[test]
fn a_gap_a_stale_marker_and_a_new_start_part_segments() {
    let buf = minutes(&[(1, 1.0), (2, 2.0), (8, 3.0), (9, 4.0), (10, stale_nan()), (11, 5.0), (12, 6.0)]);
    let found = down("x", &buf, R60);
    let expected = [(1, 0), (2, 2), (8, 0), (9, 2), (10, 1), (11, 0), (12, 2)];
    assert_eq!(left(&found).iter().map(|(m, _, c)| (*m, *c)).collect::<Vec<_>>(), expected);
    let mut buf = SampleBuf::default();
    for m in 1..=6 {
        let start = Some(TimestampMs(if m < 4 { 1 } else { 200_000 }));
        buf.push(&Sample { at: TimestampMs(m * 60_000), value: Value::Float(m as f64), start });
    }
    let found = down("x", &buf, R60);
    assert_eq!(left(&found), [(1, 1.0, 0), (3, 3.0, 3), (4, 4.0, 0), (6, 6.0, 3)]);
    assert_eq!(found.starts, [1, 1, 200_000, 200_000]);
}

#[test]
fn native_histograms_keep_first_last_and_the_sides_of_a_reset() {
    let histogram = |n: f64| Arc::new(Histogram { count: n, sum: n, positive_counts: vec![n], ..Histogram::default() });
    let mut buf = SampleBuf::default();
    for (m, n) in [(1, 5.0), (2, 6.0), (3, 7.0), (4, 1.0), (5, 2.0), (6, 9.0)] {
        buf.push(&Sample { at: TimestampMs(m * 60_000), value: Value::Histogram(histogram(n)), start: None });
    }
    let found = down("h", &buf, R60);
    assert_eq!(left(&found), [(1, 5.0, 0), (3, 7.0, 3), (4, 1.0, 0), (6, 9.0, 3)]);
    assert_eq!(found.histograms.iter().flatten().count(), 4);
}

#[test]
fn segments_that_lie_over_each_other_become_one() {
    let (a, b) = (
        down("x_total", &minutes(&[(1, 1.0), (2, 2.0), (4, 4.0)]), R5),
        down("x_total", &minutes(&[(3, 3.0), (5, 5.0)]), R5),
    );
    let mut both = SampleBuf::default();
    merge_coarse(&[a, b], &mut both);
    let found = down("x_total", &both, R5);
    assert_eq!(left(&found), [(1, 1.0, 0), (5, 5.0, 5)]);
    assert_eq!(found.coarse.rows[1].sum, 15.0);
}

/// Steps of seconds and what a series does at each.
fn series() -> impl Strategy<Value = Vec<(i64, f64)>> {
    let step = prop_oneof![20 => 5i64..60, 2 => 200i64..400, 1 => 1_000i64..9_000];
    let growth = prop_oneof![20 => (0u32..50).prop_map(Some), 1 => Just(None)];
    let special = prop_oneof![40 => Just(0.0), 1 => Just(stale_nan())];
    proptest::collection::vec((step, growth, special), 1..600).prop_map(|steps| {
        let (mut at, mut value) = (1_700_000_000_000, 0.0);
        let point = |(step, growth, special): (i64, Option<u32>, f64)| {
            at += step * 1000;
            value = growth.map_or(0.0, |g| value + f64::from(g));
            (at, if special.is_nan() { special } else { value })
        };
        steps.into_iter().map(point).collect()
    })
}

fn bits(buf: &SampleBuf) -> Vec<(i64, u64, u32, i64, u64, u64, u64)> {
    let row = |i: usize| {
        let r = buf.coarse.rows[i];
        (buf.times[i], buf.floats[i].to_bits(), r.count, r.since, r.min.to_bits(), r.max.to_bits(), r.sum.to_bits())
    };
    (0..buf.len()).map(row).collect()
}

/// First, last, reset-adjusted increase, count, sum, smallest and largest of a bucket's plain samples.
fn summary(points: &[(i64, f64)]) -> Option<(i64, i64, f64, usize, f64, f64, f64)> {
    let kept: Vec<_> = points.iter().filter(|p| !is_stale(p.1)).collect();
    let (first, last) = (kept.first()?, kept.last()?);
    let rise = kept.windows(2).map(|p| if p[1].1 < p[0].1 { p[1].1 } else { p[1].1 - p[0].1 }).sum();
    let fold = |f: fn(f64, f64) -> f64| kept.iter().map(|p| p.1).reduce(f).unwrap_or(0.0);
    Some((first.0, last.0, rise, kept.len(), kept.iter().map(|p| p.1).sum(), fold(f64::min), fold(f64::max)))
}

proptest! {
    #[test]
    fn the_same_again_changes_nothing_and_two_steps_are_as_one(points in series()) {
        let raw = of(&points);
        let five = down("x_total", &raw, R5);
        prop_assert_eq!(bits(&down("x_total", &five, R5)), bits(&five));
        prop_assert_eq!(bits(&down("x_total", &five, R60)), bits(&down("x_total", &raw, R60)));
        prop_assert!(five.len() <= raw.len() && five.times.is_sorted());
    }

    #[test]
    fn windows_of_whole_buckets_say_the_same_as_before(
        points in series(),
        resolution in prop_oneof![Just(R5), Just(R60)],
        from in 0i64..20,
        len in 1i64..20,
    ) {
        let coarse = down("x_total", &of(&points), resolution);
        let start = (points[0].0 / resolution + from - 2) * resolution;
        let within = |t: i64| start < t && t <= start + len * resolution;
        let expected = summary(&points.iter().copied().filter(|p| within(p.0)).collect::<Vec<_>>());
        let rows: Vec<usize> = (0..coarse.len()).filter(|i| within(coarse.times[*i])).collect();
        let kept = summary(&rows.iter().map(|i| (coarse.times[*i], coarse.floats[*i])).collect::<Vec<_>>());
        let found = kept.map(|(first, last, rise, ..)| {
            let real = || rows.iter().map(|i| coarse.coarse.rows[*i]).filter(|r| r.count > 0 && !is_stale(r.sum));
            let count = real().map(|r| r.count as usize).sum();
            let fold = |f: fn(f64, f64) -> f64, of: fn(Rollup) -> f64| real().map(of).reduce(f).unwrap_or(0.0);
            (first, last, rise, count, real().map(|r| r.sum).sum::<f64>(), fold(f64::min, |r| r.min), fold(f64::max, |r| r.max))
        });
        prop_assert_eq!(found, expected);
    }
}
