//! Numbers for label sets by some of their labels: the groups of an aggregation, the pairs of a join.
//!
//! Invariant: two label sets get the same number exactly when the labels that count are the same; no label set is built
//! to find a number that is there already.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use belfry_model::labels::Label;
use belfry_model::{Labels, METRIC_NAME};

use crate::syntax::ast::Grouping;

const NONE: u32 = u32::MAX;

/// Which labels count.
pub(super) struct Keys {
    names: Vec<String>,
    /// Only those named count; else all but those.
    only: bool,
    hasher: RandomState,
    /// Hash → the first number with it.
    first: HashMap<u64, u32>,
    /// Number → the next with its hash.
    next: Vec<u32>,
    labels: Vec<Labels>,
    last: usize,
    /// Where only one name counts: where its label stood in the last set, and that label. Sets of one reader share their
    /// strings.
    last_label: Option<(usize, Label)>,
}

impl Keys {
    pub fn only(names: &[String]) -> Self {
        Self::new(names.to_vec(), true)
    }

    pub fn without(names: impl IntoIterator<Item = String>) -> Self {
        Self::new(names.into_iter().collect(), false)
    }

    pub fn grouping(grouping: &Grouping) -> Self {
        match grouping {
            Grouping::None => Self::only(&[]),
            Grouping::By(names) => Self::only(names),
            Grouping::Without(names) => Self::without(names.iter().cloned().chain([METRIC_NAME.to_owned()])),
        }
    }

    fn new(names: Vec<String>, only: bool) -> Self {
        let (hasher, first) = (RandomState::new(), HashMap::new());
        Self { names, only, hasher, first, next: Vec::new(), labels: Vec::new(), last: 0, last_label: None }
    }

    fn counts(&self, l: &Label) -> bool {
        self.names.iter().any(|n| **n == *l.name) == self.only
    }

    fn is_key(&self, key: &Labels, labels: &Labels) -> bool {
        labels.iter().filter(|l| self.counts(l)).eq(key.iter())
    }

    /// The labels that count, of number `at`.
    pub fn labels(&self, at: usize) -> &Labels {
        &self.labels[at]
    }

    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// The number of `labels`, a new one if need be: numbers start at 0 and leave nothing out.
    pub fn number(&mut self, labels: &Labels) -> usize {
        if self.only && self.names.is_empty() {
            if self.labels.is_empty() {
                self.labels.push(Labels::empty());
            }
            return 0;
        }
        if let Some((at, l)) = &self.last_label
            && let Some(same) = labels.iter().as_slice().get(*at)
            && Arc::ptr_eq(&l.value, &same.value)
            && Arc::ptr_eq(&l.name, &same.name)
        {
            return self.last;
        }
        let number = self.number_of(labels);
        let one = self.only && self.names.len() == 1;
        let label = labels.iter().enumerate().find(|(_, l)| one && self.counts(l));
        self.last_label = label.map(|(at, l)| (at, l.clone()));
        number
    }

    fn number_of(&mut self, labels: &Labels) -> usize {
        // Series come in order of labels, so neighbours often belong together.
        if self.labels.get(self.last).is_some_and(|key| self.is_key(key, labels)) {
            return self.last;
        }
        let mut hasher = self.hasher.build_hasher();
        for l in labels.iter().filter(|l| self.counts(l)) {
            hasher.write(l.name.as_bytes());
            hasher.write_u8(0xff);
            hasher.write(l.value.as_bytes());
            hasher.write_u8(0xff);
        }
        let hash = hasher.finish();
        let head = self.first.get(&hash).copied().unwrap_or(NONE);
        let mut at = head;
        while at != NONE {
            if self.is_key(&self.labels[at as usize], labels) {
                self.last = at as usize;
                return self.last;
            }
            at = self.next[at as usize];
        }
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        self.last = self.labels.len();
        self.labels.push(if self.only { labels.only(&names) } else { labels.without(&names) });
        self.next.push(head);
        self.first.insert(hash, self.last as u32);
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Labels {
        Labels::from_pairs(text.split(',').filter_map(|p| p.split_once('=')))
    }

    #[test]
    fn only_labels_that_count_tell_numbers_apart() {
        let sets = ["__name__=a,x=1,y=1", "__name__=b,x=1,y=2", "__name__=a,x=2,y=1", "x=1", "y=1", "__name__=a,x=2"];
        let numbers = |mut keys: Keys| sets.map(|s| keys.number(&labels(s)));
        assert_eq!(numbers(Keys::only(&["x".to_owned()])), [0, 0, 1, 0, 2, 1]);
        assert_eq!(numbers(Keys::only(&[])), [0; 6]);
        assert_eq!(numbers(Keys::grouping(&Grouping::Without(vec!["y".to_owned()]))), [0, 0, 1, 0, 2, 1]);
        assert_eq!(numbers(Keys::without([])), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_number_knows_its_labels() {
        let mut keys = Keys::only(&["x".to_owned()]);
        let at = keys.number(&labels("__name__=a,x=1,y=1"));
        assert_eq!((keys.len(), keys.labels(at)), (1, &labels("x=1")));
    }
}
