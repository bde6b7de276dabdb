//! Sums and means of many histograms, with what rounding lost kept beside (Kahan-Neumaier summation).

use belfry_model::Histogram;

use super::{
    Incompatible, Sparse, add, align, divide, has_overflow, negative, positive, scale, set_negative, set_positive,
};
use crate::eval::kahan;

/// A running sum. Means come from the sum while that does not overflow, incrementally from then on.
#[derive(Clone)]
pub(crate) struct Total {
    sum: Histogram,
    /// What rounding lost; of the same layout as `sum`.
    lost: Histogram,
    count: f64,
    incremental: bool,
    pub bounds_reconciled: bool,
}

impl Total {
    pub fn new(h: &Histogram) -> Self {
        let lost = Histogram {
            schema: h.schema,
            zero_threshold: h.zero_threshold,
            custom_bounds: h.custom_bounds.clone(),
            ..Histogram::default()
        };
        Self { sum: h.clone(), lost, count: 1.0, incremental: false, bounds_reconciled: false }
    }

    /// True when custom bounds had to be made the same.
    pub fn add(&mut self, h: &Histogram) -> Result<bool, Incompatible> {
        self.count += 1.0;
        self.accumulate(h)
    }

    /// As [`Total::add`], for a mean.
    pub fn add_to_mean(&mut self, h: &Histogram) -> Result<bool, Incompatible> {
        self.count += 1.0;
        let n = self.count;
        if !self.incremental {
            let before = self.clone();
            let reconciled = self.accumulate(h)?;
            if !has_overflow(&self.sum) {
                return Ok(reconciled);
            }
            *self = before;
            self.incremental = true;
            divide(&mut self.sum, n - 1.0);
            divide(&mut self.lost, n - 1.0);
        }
        scale(&mut self.sum, (n - 1.0) / n);
        scale(&mut self.lost, (n - 1.0) / n);
        let mut part = h.clone();
        divide(&mut part, n);
        self.accumulate(&part)
    }

    fn accumulate(&mut self, h: &Histogram) -> Result<bool, Incompatible> {
        let mut h = h.clone();
        let aligned = align(&mut self.sum, &mut h)?;
        // The lost part lies within the sum's buckets, so it only ever becomes coarser with them.
        let mut like = self.sum.clone();
        align(&mut self.lost, &mut like)?;
        super::join_hints(&mut self.sum, h.reset_hint);
        let (s, l) = (&mut self.sum, &mut self.lost);
        (s.count, l.count) = kahan(h.count, s.count, l.count);
        (s.sum, l.sum) = kahan(h.sum, s.sum, l.sum);
        (s.zero_count, l.zero_count) = kahan(h.zero_count, s.zero_count, l.zero_count);
        let (sum, lost) = kahan_buckets(&positive(s), &positive(l), &positive(&h));
        set_positive(s, &sum);
        set_positive(l, &lost);
        let (sum, lost) = kahan_buckets(&negative(s), &negative(l), &negative(&h));
        set_negative(s, &sum);
        set_negative(l, &lost);
        s.integer = false;
        self.bounds_reconciled |= aligned;
        Ok(aligned)
    }

    pub fn sum(mut self) -> Histogram {
        let hint = self.sum.reset_hint;
        // Of one layout, so they always go together.
        let _ = add(&mut self.sum, &self.lost, 1.0);
        self.sum.reset_hint = hint;
        self.sum
    }

    pub fn mean(mut self) -> Histogram {
        if !self.incremental {
            divide(&mut self.sum, self.count);
            divide(&mut self.lost, self.count);
        }
        self.sum()
    }
}

fn kahan_buckets(sum: &Sparse, lost: &Sparse, inc: &Sparse) -> (Sparse, Sparse) {
    let mut indices: Vec<i32> = sum.iter().chain(lost).chain(inc).map(|b| b.0).collect();
    indices.sort_unstable();
    indices.dedup();
    let at = |list: &Sparse, i: i32| list.binary_search_by_key(&i, |b| b.0).map_or(0.0, |k| list[k].1);
    indices
        .into_iter()
        .map(|i| {
            let (s, c) = kahan(at(inc, i), at(sum, i), at(lost, i));
            ((i, s), (i, c))
        })
        .unzip()
}
