//! Where a series is cut into chunks.
//!
//! Invariant: series with the same times are cut at the same places, and a sample that one of them lacks changes only the
//! chunk it would stand in: so their columns of times stay shared. A chunk has at least [`CHUNK_SAMPLES`] samples, unless
//! the series has fewer, and at most [`CHUNK_SAMPLES_MAX`].
//! Not here: how a chunk is written.

use super::CHUNK_SAMPLES;
use crate::chunk::CHUNK_SAMPLES_MAX;

/// Windows are as long as so many usual steps, or up to twice as long: then each has enough for a chunk even when some
/// samples are missing.
const WINDOW_STEPS: i64 = 512;

/// The ends of the chunks of a series with these times, in order; the last is `times.len()`.
///
/// Cuts stand on a grid that depends on the distance between samples alone: at a multiple of a power of two.
pub fn cuts(times: &[i64], scratch: &mut Vec<i64>, out: &mut Vec<usize>) {
    out.clear();
    let n = times.len();
    if n < 2 * CHUNK_SAMPLES {
        if n > 0 {
            out.push(n);
        }
        return;
    }
    scratch.clear();
    scratch.extend(times.windows(2).map(|w| w[1].wrapping_sub(w[0])));
    let middle = scratch.len() / 2;
    let step = *scratch.select_nth_unstable(middle).1;
    let shift = 64 - step.max(1).saturating_mul(WINDOW_STEPS).saturating_sub(1).leading_zeros().max(2);
    let mut from = 0;
    while n - from >= 2 * CHUNK_SAMPLES {
        // The first border that leaves enough samples before it.
        let window = times[from + CHUNK_SAMPLES - 1] >> shift;
        let rest = &times[from + CHUNK_SAMPLES..];
        let to = from + CHUNK_SAMPLES + rest.partition_point(|t| *t >> shift == window);
        // A burst within one window has no border to be cut at.
        let to = to.min(from + CHUNK_SAMPLES_MAX);
        if n - to < CHUNK_SAMPLES {
            break;
        }
        out.push(to);
        from = to;
    }
    while n - from > CHUNK_SAMPLES_MAX {
        from += CHUNK_SAMPLES_MAX / 2;
        out.push(from);
    }
    out.push(n);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(times: &[i64]) -> Vec<usize> {
        let mut out = Vec::new();
        cuts(times, &mut Vec::new(), &mut out);
        out
    }

    #[test]
    fn a_missing_sample_changes_one_chunk_only() {
        let times: Vec<i64> = (0..3000).map(|i| 1_700_000_000_000 + i * 15_000 + (i * 7) % 3).collect();
        let mut less = times.clone();
        less.remove(700);
        let at = |times: &[i64]| cut(times).iter().map(|c| times[c - 1]).collect::<Vec<_>>();
        assert!(cut(&times).len() >= 4, "{:?}", cut(&times));
        assert_eq!(at(&times), at(&less));
    }

    proptest! {
        #[test]
        fn chunks_are_neither_small_nor_large(
            steps in proptest::collection::vec(prop_oneof![9 => 1i64..20_000, 1 => 1i64..i64::MAX / 4096], 0..3000),
            dense in any::<bool>(),
        ) {
            let mut at = -5_000_000i64;
            let times: Vec<i64> = steps.iter().map(|s| {
                at = at.saturating_add(if dense { 1 } else { *s });
                at
            }).collect();
            let ends = cut(&times);
            prop_assert_eq!(ends.last().copied().unwrap_or(0), times.len());
            let mut from = 0;
            for to in ends {
                prop_assert!(to - from >= CHUNK_SAMPLES.min(times.len()) && to - from <= CHUNK_SAMPLES_MAX);
                from = to;
            }
        }
    }
}
