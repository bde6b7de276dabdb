//! Puts label sets in order.
//!
//! Label sets of one snapshot share their strings, and most begin with the same labels. So they are sorted label by
//! label: where all of a group have the same one nothing is compared, else eight bytes of the value stand for it in the
//! comparison, those that follow what all of the group have in common.
//!
//! Invariant: the order is that of [`Labels`].
//! Not here: merging lists that are in order (`read`).

use std::cmp::Ordering;
use std::sync::Arc;

use belfry_model::Labels;
use belfry_model::labels::Label;

/// Groups up to this size are sorted by whole comparisons.
const GROUP_SMALL: usize = 6;

#[derive(Clone, Copy)]
struct Item {
    /// The next bytes of the value, the first one highest.
    key: u64,
    /// Which one of the label sets.
    at: u32,
}

/// The numbers of the label sets, in order.
pub fn order(sets: &[Labels]) -> Vec<u32> {
    let mut items: Vec<Item> = (0..sets.len() as u32).map(|at| Item { key: 0, at }).collect();
    sort(sets, &mut items, 0);
    items.into_iter().map(|i| i.at).collect()
}

fn label<'a>(sets: &'a [Labels], item: &Item, depth: usize) -> Option<&'a Label> {
    sets.get(item.at as usize)?.iter().as_slice().get(depth)
}

fn same(a: &Label, b: &Label) -> bool {
    (Arc::ptr_eq(&a.value, &b.value) || a.value == b.value) && (Arc::ptr_eq(&a.name, &b.name) || a.name == b.name)
}

/// Sorts what has the same labels up to `depth`. It calls itself once a label at most.
fn sort(sets: &[Labels], mut items: &mut [Item], mut depth: usize) {
    while items.len() > GROUP_SMALL {
        let Some(first) = items.first().and_then(|i| label(sets, i, depth)) else { break };
        let all_same = items.iter().all(|i| label(sets, i, depth).is_some_and(|l| same(first, l)));
        if !all_same {
            break;
        }
        depth += 1;
    }
    if items.len() <= GROUP_SMALL || !set_keys(sets, items, depth) {
        items.sort_unstable_by(|a, b| compare(sets, a, b, depth));
        return;
    }
    items.sort_unstable_by(|a, b| a.key.cmp(&b.key).then_with(|| values(sets, a, b, depth)));
    while let Some(first) = items.first() {
        let of = |i: &Item| label(sets, i, depth);
        let end =
            items.partition_point(|i| i.key == first.key && of(i).zip(of(first)).is_some_and(|(a, b)| same(a, b)));
        let (group, rest) = std::mem::take(&mut items).split_at_mut(end.max(1));
        if group.len() > 1 {
            sort(sets, group, depth + 1);
        }
        items = rest;
    }
}

/// Sets the keys of items that all have a label of the same name at `depth`; `false` when they do not.
fn set_keys(sets: &[Labels], items: &mut [Item], depth: usize) -> bool {
    let Some(first) = items.first().and_then(|i| label(sets, i, depth)) else { return false };
    let mut common = first.value.len();
    for i in items.iter() {
        let Some(l) = label(sets, i, depth) else { return false };
        if !Arc::ptr_eq(&l.name, &first.name) && l.name != first.name {
            return false;
        }
        let alike = l.value.bytes().zip(first.value.bytes()).take(common).take_while(|(a, b)| a == b);
        common = alike.count();
    }
    for i in items.iter_mut() {
        let mut key = [0; 8];
        let value = label(sets, i, depth).map_or(&[][..], |l| l.value.as_bytes());
        // Short values end in zeros: equal keys say nothing, and the values are compared.
        key.iter_mut().zip(value.get(common..).unwrap_or(&[])).for_each(|(k, v)| *k = *v);
        i.key = u64::from_be_bytes(key);
    }
    true
}

fn values(sets: &[Labels], a: &Item, b: &Item, depth: usize) -> Ordering {
    match (label(sets, a, depth), label(sets, b, depth)) {
        (Some(a), Some(b)) if Arc::ptr_eq(&a.value, &b.value) => Ordering::Equal,
        (a, b) => a.map(|l| &l.value).cmp(&b.map(|l| &l.value)),
    }
}

fn compare(sets: &[Labels], a: &Item, b: &Item, depth: usize) -> Ordering {
    let rest = |i: &Item| sets.get(i.at as usize).map_or(&[][..], |l| l.iter().as_slice()).get(depth..).unwrap_or(&[]);
    let (a, b) = (rest(a), rest(b));
    let differ = a.iter().zip(b).find(|(a, b)| !(Arc::ptr_eq(&a.value, &b.value) && Arc::ptr_eq(&a.name, &b.name)));
    // Two labels of the same strings may still be copies of each other: then the rest decides.
    match differ {
        Some((x, y)) if x != y => x.cmp(y),
        Some(_) => a.cmp(b),
        None => a.len().cmp(&b.len()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_order_is_that_of_label_sets(
            sets in proptest::collection::vec(proptest::collection::vec((
                prop_oneof![4 => Just("a"), 4 => Just("b"), 1 => Just("c")],
                prop_oneof!["[xy\u{0}]{0,3}", "/long/beginning/[xy]{0,2}", "same"],
            ), 0..4), 0..60),
        ) {
            let sets: Vec<Labels> = sets.into_iter().map(Labels::from_pairs).collect();
            let ordered: Vec<&Labels> = order(&sets).into_iter().map(|i| &sets[i as usize]).collect();
            let mut expected: Vec<&Labels> = sets.iter().collect();
            expected.sort();
            prop_assert_eq!(ordered, expected);
        }
    }
}
