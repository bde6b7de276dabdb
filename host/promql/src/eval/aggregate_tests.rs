//! What is added in columns is what is added value by value, to the bit.

use proptest::prelude::*;

use super::super::vector::ABSENT;
use super::*;

const OPS: [Op; 8] = [Op::Sum, Op::Avg, Op::Min, Op::Max, Op::Count, Op::Group, Op::Stddev, Op::Stdvar];

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => -100.0..100.0f64,
        4 => Just(ABSENT),
        2 => (-3i32..1000).prop_map(f64::from),
        1 => Just(-0.0),
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        1 => Just(f64::NEG_INFINITY),
        1 => Just(1.7e308),
        1 => Just(-1e308),
        1 => Just(1e-308),
        1 => Just(4503599627370497.5),
    ]
}

fn tame() -> impl Strategy<Value = f64> {
    prop_oneof![12 => -100.0..100.0f64, 2 => Just(ABSENT), 1 => Just(1e17), 1 => Just(1e-300), 1 => Just(-0.0)]
}

fn series(value: impl Strategy<Value = f64>) -> impl Strategy<Value = Vec<Vec<f64>>> {
    prop::collection::vec(prop::collection::vec(value, 9), 1..12)
}

fn bits(column: &Column) -> Vec<Option<u64>> {
    let float = |i| column.get(i)?.float();
    (0..column.len()).map(|i| float(i).map(|f| if f.is_nan() { f64::NAN.to_bits() } else { f.to_bits() })).collect()
}

proptest! {
    #[test]
    fn columns_add_up_as_values_do(series in prop_oneof![series(value()), series(tame())]) {
        for op in OPS {
            let mut alone = vec![Acc::default(); 9];
            let span = Span { start: 0, end: 0 };
            let mut group = Group::new();
            for column in &series {
                for (acc, f) in alone.iter_mut().zip(column).filter(|(_, f)| !is_stale(**f)) {
                    acc.add_float(op, *f);
                }
                let s = OutSeries {
                    labels: Labels::empty(),
                    drop_name: false,
                    column: Column { floats: column.clone(), histograms: Vec::new() },
                };
                let values = s.column.span();
                let lacks = group.lacks(&values);
                group.grow(op, &values, lacks);
                if !group.add(op, &s, span, &mut Notes::default()) {
                    group.spread();
                    assert!(group.add(op, &s, span, &mut Notes::default()));
                }
            }
            let together = group.finish(op, 9, span, &mut Notes::default());
            let alone = Group { drop_name: false, from: 0, steps: Steps::Any(alone) };
            let alone = alone.finish(op, 9, span, &mut Notes::default());
            prop_assert_eq!(bits(&together), bits(&alone), "{:?}", op);
        }
    }
}
