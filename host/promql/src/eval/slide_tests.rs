//! What slides says the same, to the bit, as each window by itself.

use proptest::prelude::*;

use super::super::notes::Notes;
use super::super::range_calls::apply;
use super::super::rate::Subject;
use super::super::vector::Cell;
use super::*;
use crate::syntax::span::Span;

const FUNCTIONS: [F; 20] = [
    F::Rate,
    F::Increase,
    F::Delta,
    F::CountOverTime,
    F::PresentOverTime,
    F::AbsentOverTime,
    F::FirstOverTime,
    F::LastOverTime,
    F::TsOfFirstOverTime,
    F::TsOfLastOverTime,
    F::Changes,
    F::Resets,
    F::SumOverTime,
    F::AvgOverTime,
    F::MaxOverTime,
    F::MinOverTime,
    F::TsOfMaxOverTime,
    F::TsOfMinOverTime,
    F::StdvarOverTime,
    F::QuantileOverTime,
];

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => -3i32..1000,
        2 => -3i32..3,
    ]
    .prop_map(f64::from)
}

fn odd_value() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => -100.0..100.0f64,
        2 => value(),
        1 => Just(0.0),
        1 => Just(-0.0),
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        1 => Just(f64::NEG_INFINITY),
        1 => Just(1e308),
        1 => Just(-1e308),
        1 => Just(1e-308),
        1 => Just(4503599627370497.5),
    ]
}

fn counter() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec((0.0..10.0f64, 0u8..20), 0..80).prop_map(|steps| {
        let mut at = 0.0;
        let next = |(by, reset): (f64, u8)| {
            at = if reset == 0 { by } else { at + by };
            at
        };
        steps.into_iter().map(next).collect()
    })
}

/// Values with the distances of their times.
fn samples() -> impl Strategy<Value = (Vec<f64>, Vec<i64>)> {
    let values = prop_oneof![
        prop::collection::vec(value(), 0..80),
        prop::collection::vec(odd_value(), 0..80),
        prop::collection::vec(-1e3..1e3f64, 0..80),
        counter(),
    ];
    let gaps = prop_oneof![Just(vec![15_000; 80]), prop::collection::vec(1i64..60_000, 80)];
    (values, gaps)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn every_step_is_as_its_window_alone(
        (floats, gaps) in samples(),
        range in prop_oneof![Just(300_000i64), 1i64..1_000_000],
        step in prop_oneof![Just(15_000i64), 1i64..200_000],
        start in -300_000i64..600_000,
        n in 1usize..60,
        offset in prop_oneof![Just(0i64), -100_000i64..100_000],
        q in 0.0..=1.0f64,
    ) {
        let mut at = 0;
        let next = |gap: &i64| { at += gap; at };
        let float_times: Vec<i64> = gaps.iter().map(next).take(floats.len()).collect();
        let rising = !floats.windows(2).any(|p| p[1] < p[0]);
        let points = Points { float_times, floats, rising, ..Points::default() };
        let windows = Windows { range, offset, at: None, extended: None, cancel: Cancel::default() };
        let frame = Frame { start, step, n };
        let mut scratch = Scratch::default();
        let subject = Subject { metric: "", span: Span::default() };
        for f in FUNCTIONS {
            let args: Vec<Vec<f64>> = if f == F::QuantileOverTime { vec![vec![q; n]] } else { Vec::new() };
            prop_assert!(handles(f, &points, &windows, &args));
            let mut got = vec![ABSENT; n];
            scratch.spans = Spans::default();
            evaluate(f, &points, &windows, frame, &args, &mut scratch, &mut got);
            let mut wanted = vec![ABSENT; n];
            windows.each(&points, frame, 0, &mut |i, w| {
                let cell = apply(f, &w, &[q], subject, subject.span, &mut Notes::default())?;
                wanted[i] = cell.as_ref().and_then(Cell::float).unwrap_or(ABSENT);
                Ok(())
            }).unwrap();
            for (i, (got, wanted)) in got.iter().zip(&wanted).enumerate() {
                let same = got.to_bits() == wanted.to_bits()
                    || got.is_nan() && wanted.is_nan() && is_present(*got) && is_present(*wanted);
                prop_assert!(same, "{f:?} at step {i}: {got} instead of {wanted}");
            }
        }
    }
}

fn is_present(f: f64) -> bool {
    !belfry_model::sample::is_stale(f)
}
