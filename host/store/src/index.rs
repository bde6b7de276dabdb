//! Which series have which labels: postings as roaring bitmaps, and matchers over them.
//!
//! Invariant: a matcher finds exactly the series for which [`Matcher::matches_labels`] holds, those without the label
//! included (an absent label has the value "").
//! Not here: samples, time; where the postings are kept (the head in memory, a block in its file).

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use belfry_model::labels::Label;
use belfry_model::{Labels, MatchOp, Matcher};
use hashbrown::{DefaultHashBuilder, HashTable};
use roaring::{MultiOps, RoaringBitmap};

use crate::known::Known;
use crate::lists::Lists;
use crate::pattern::Pattern;

/// Label name → value → series, wherever it is kept. `E` is what reading can fail with.
pub trait Postings {
    /// Why reading failed.
    type Error;
    /// Every series.
    fn all(&self) -> Result<RoaringBitmap, Self::Error>;
    /// The series with exactly this label.
    fn of(&self, name: &str, value: &str) -> Result<RoaringBitmap, Self::Error>;
    /// The series with one of the values of `name` that `keep` accepts.
    fn of_any(&self, name: &str, keep: &mut dyn FnMut(&str) -> bool) -> Result<RoaringBitmap, Self::Error>;
}

/// The series that satisfy all `matchers`.
pub fn resolve<P: Postings>(postings: &P, matchers: &[Matcher]) -> Result<RoaringBitmap, P::Error> {
    let mut found: Option<RoaringBitmap> = None;
    let mut without: Vec<RoaringBitmap> = Vec::new();
    // Exact ones first: they are cheap and leave little for the rest.
    let mut ordered: Vec<&Matcher> = matchers.iter().collect();
    ordered.sort_by_key(|m| m.op() != MatchOp::Equal);
    for m in ordered {
        if found.as_ref().is_some_and(RoaringBitmap::is_empty) {
            return Ok(RoaringBitmap::new());
        }
        if m.matches("") {
            // Series that lack the label match too: take away those whose value does not.
            without.push(with_label(postings, m, false)?);
            continue;
        }
        let hit = with_label(postings, m, true)?;
        found = Some(match found {
            Some(f) => f & hit,
            None => hit,
        });
    }
    let mut found = match found {
        Some(f) => f,
        None => postings.all()?,
    };
    for w in without {
        found -= w;
    }
    Ok(found)
}

/// The series that have the matcher's label, with a value that matches or, if `!matching`, does not.
fn with_label<P: Postings>(postings: &P, m: &Matcher, matching: bool) -> Result<RoaringBitmap, P::Error> {
    let name = m.name();
    // Of the plain form of the operator: `=` or `=~`.
    let plain = matching == matches!(m.op(), MatchOp::Equal | MatchOp::Regex);
    if matches!(m.op(), MatchOp::Equal | MatchOp::NotEqual) && plain {
        return postings.of(name, m.value());
    }
    if let Some(values) = m.values() {
        if plain {
            return values.iter().map(|v| postings.of(name, v)).union();
        }
        return postings.of_any(name, &mut |v| m.matches(v) == matching);
    }
    match Pattern::of(m) {
        any if any.is_any() && !plain => Ok(RoaringBitmap::new()),
        pattern => postings
            .of_any(name, &mut |v| pattern.matches(v).map_or_else(|| m.matches(v) == matching, |hit| hit == plain)),
    }
}

/// Series numbers. Many a label stands on one series only, and a bitmap of one costs ten times as much.
enum Ids {
    One(u32),
    Many(Box<RoaringBitmap>),
}

impl Ids {
    fn insert(&mut self, id: u32) {
        match self {
            Self::One(one) if *one == id => {}
            Self::One(one) => *self = Self::Many(Box::new([*one, id].into_iter().collect())),
            Self::Many(ids) => drop(ids.insert(id)),
        }
    }

    /// Removes `id`; `true` when nothing is left.
    fn remove(&mut self, id: u32) -> bool {
        match self {
            Self::One(one) => *one == id,
            Self::Many(ids) => {
                ids.remove(id);
                ids.is_empty()
            }
        }
    }

    fn add_to(&self, out: &mut RoaringBitmap) {
        match self {
            Self::One(one) => drop(out.insert(*one)),
            Self::Many(ids) => *out |= &**ids,
        }
    }
}

/// A label and the series that have it.
struct Entry {
    label: Label,
    ids: Ids,
}

/// The head's index. Each label (name and value together) has a number, and a series is the list of its labels'
/// numbers: four bytes a label.
#[derive(Default)]
pub struct MemIndex {
    all: RoaringBitmap,
    labels: Vec<Option<Entry>>,
    free_labels: Vec<u32>,
    /// Finds a label's number.
    by_label: HashTable<u32>,
    /// The numbers of the labels with this name.
    names: HashMap<Arc<str>, RoaringBitmap>,
    /// By number of series: its labels' numbers, in order of name.
    series: Lists,
    /// Finds a series' number.
    by_labels: HashTable<u32>,
    hasher: DefaultHashBuilder,
    scratch: Vec<u32>,
    known: Arc<Known>,
    /// Series that were removed so far.
    removed: u64,
    /// And added.
    added: u64,
}

/// A table this much larger than what it holds is made smaller.
const TABLE_SLACK: usize = 4;

fn shrink_vec<T>(v: &mut Vec<T>) {
    if v.capacity() > v.len() * TABLE_SLACK {
        v.shrink_to_fit();
    }
}

impl MemIndex {
    /// The series with these labels.
    pub fn get(&self, labels: &Labels) -> Option<u32> {
        let mut numbers = [0u32; 32];
        if labels.len() > numbers.len() {
            let numbers = labels.iter().map(|l| self.label_number(l)).collect::<Option<Vec<_>>>()?;
            return self.find(&numbers);
        }
        for (n, l) in numbers.iter_mut().zip(labels) {
            *n = self.label_number(l)?;
        }
        self.find(&numbers[..labels.len()])
    }

    /// How many series.
    pub fn len(&self) -> usize {
        self.by_labels.len()
    }

    /// Adds series `id`, which must be new.
    pub fn insert(&mut self, labels: &Labels, id: u32) {
        let mut numbers = std::mem::take(&mut self.scratch);
        numbers.clear();
        for l in labels {
            let number = match self.label_number(l) {
                Some(known) => {
                    if let Some(Some(e)) = self.labels.get_mut(known as usize) {
                        e.ids.insert(id);
                    }
                    known
                }
                None => self.add_label(l, id),
            };
            numbers.push(number);
        }
        let hash = self.hasher.hash_one(numbers.as_slice());
        self.series.set(id, &numbers);
        self.scratch = numbers;
        let (series, hasher) = (&self.series, &self.hasher);
        let hash_of = |id: &u32| hasher.hash_one(series.get(*id));
        self.by_labels.insert_unique(hash, id, hash_of);
        self.added += 1;
        self.all.insert(id);
    }

    /// Forgets a series, and the labels that only it had.
    pub fn remove(&mut self, id: u32) {
        let mut numbers = std::mem::take(&mut self.scratch);
        numbers.clear();
        numbers.extend_from_slice(self.series.get(id));
        self.series.remove(id);
        if let Ok(found) = self.by_labels.find_entry(self.hasher.hash_one(numbers.as_slice()), |other| *other == id) {
            found.remove();
        }
        self.all.remove(id);
        self.removed += 1;
        for n in numbers.iter().copied() {
            let Some(slot) = self.labels.get_mut(n as usize) else { continue };
            if slot.as_mut().is_some_and(|e| e.ids.remove(id))
                && let Some(e) = slot.take()
            {
                if let Ok(found) = self.by_label.find_entry(hash_label(&self.hasher, &e.label), |other| *other == n) {
                    found.remove();
                }
                if self.names.get_mut(&e.label.name).is_some_and(|of| of.remove(n) && of.is_empty()) {
                    self.names.remove(&e.label.name);
                }
                self.free_labels.push(n);
            }
        }
        self.scratch = numbers;
    }

    /// Gives back memory that the tables do not need any more.
    pub fn shrink(&mut self) {
        self.series.shrink();
        while self.labels.last().is_some_and(Option::is_none) {
            self.labels.pop();
        }
        let left = self.labels.len();
        self.free_labels.retain(|n| (*n as usize) < left);
        // Low numbers are used first, so that the highest become free.
        self.free_labels.sort_unstable_by(|a, b| b.cmp(a));
        shrink_vec(&mut self.labels);
        shrink_vec(&mut self.free_labels);
        let (series, labels, hasher) = (&self.series, &self.labels, &self.hasher);
        if self.by_labels.capacity() > self.by_labels.len() * TABLE_SLACK {
            let hash_of = |id: &u32| hasher.hash_one(series.get(*id));
            self.by_labels.shrink_to_fit(hash_of);
        }
        if self.by_label.capacity() > self.by_label.len() * TABLE_SLACK {
            self.by_label.shrink_to_fit(|n| hash_number(hasher, labels, *n));
        }
    }

    /// The labels of a series.
    pub fn labels(&self, id: u32) -> Labels {
        let numbers = self.series.get(id);
        // Exactly as many as there are numbers, so that the set is made in one go. A number always has its label.
        let nothing = || Label { name: Arc::from(""), value: Arc::from("") };
        let label = |n: &u32| self.entry(*n).map_or_else(nothing, |e| e.label.clone());
        Labels::from_sorted(numbers.iter().map(label))
    }

    /// The series that satisfy all `matchers`.
    pub fn matching(&self, matchers: &[Matcher]) -> Arc<RoaringBitmap> {
        self.known.matching(matchers, self.added + self.removed, || {
            let Ok(ids) = resolve(self, matchers);
            ids
        })
    }

    /// What is known of selections in order of labels, and how many series were removed so far.
    pub fn known(&self) -> (&Arc<Known>, u64) {
        (&self.known, self.removed)
    }

    /// The numbers of a series' labels, in order of name. They hold until a series is removed.
    pub fn label_numbers(&self, id: u32) -> &[u32] {
        self.series.get(id)
    }

    /// All labels by number, free numbers as `None`.
    pub fn all_labels(&self) -> Vec<Option<Label>> {
        self.labels.iter().map(|e| e.as_ref().map(|e| e.label.clone())).collect()
    }

    /// How many different labels and names are held.
    pub fn symbols(&self) -> usize {
        self.by_label.len() + self.names.len()
    }

    /// Places for labels, and for labels' numbers in series: free ones count.
    #[cfg(test)]
    pub fn entries(&self) -> (usize, usize) {
        (self.labels.len(), self.series.places())
    }

    fn label_number(&self, l: &Label) -> Option<u32> {
        let is = |n: &u32| matches!(self.labels.get(*n as usize), Some(Some(e)) if e.label == *l);
        self.by_label.find(hash_label(&self.hasher, l), is).copied()
    }

    fn find(&self, numbers: &[u32]) -> Option<u32> {
        let is = |id: &u32| self.series.get(*id) == numbers;
        self.by_labels.find(self.hasher.hash_one(numbers), is).copied()
    }

    fn add_label(&mut self, l: &Label, id: u32) -> u32 {
        let number = self.free_labels.pop().unwrap_or_else(|| {
            self.labels.push(None);
            self.labels.len() as u32 - 1
        });
        let name = match self.names.get_key_value(&l.name) {
            Some((known, _)) => known.clone(),
            None => Arc::from(&*l.name),
        };
        // A copy of its own: the caller's may be a slice of something larger.
        let label = Label { name: name.clone(), value: Arc::from(&*l.value) };
        let hash = hash_label(&self.hasher, &label);
        self.labels[number as usize] = Some(Entry { label, ids: Ids::One(id) });
        self.names.entry(name).or_default().insert(number);
        let (labels, hasher) = (&self.labels, &self.hasher);
        self.by_label.insert_unique(hash, number, |n| hash_number(hasher, labels, *n));
        number
    }

    fn entry(&self, number: u32) -> Option<&Entry> {
        self.labels.get(number as usize)?.as_ref()
    }
}

fn hash_label(hasher: &DefaultHashBuilder, l: &Label) -> u64 {
    hasher.hash_one((&*l.name, &*l.value))
}

fn hash_number(hasher: &DefaultHashBuilder, labels: &[Option<Entry>], n: u32) -> u64 {
    labels.get(n as usize).and_then(Option::as_ref).map_or(0, |e| hash_label(hasher, &e.label))
}

impl Postings for MemIndex {
    type Error = std::convert::Infallible;

    fn all(&self) -> Result<RoaringBitmap, Self::Error> {
        Ok(self.all.clone())
    }

    fn of(&self, name: &str, value: &str) -> Result<RoaringBitmap, Self::Error> {
        let mut out = RoaringBitmap::new();
        let label = |e: &Entry| *e.label.name == *name && *e.label.value == *value;
        let hash = self.hasher.hash_one((name, value));
        if let Some(n) = self.by_label.find(hash, |n| self.entry(*n).is_some_and(label))
            && let Some(e) = self.entry(*n)
        {
            e.ids.add_to(&mut out);
        }
        Ok(out)
    }

    fn of_any(&self, name: &str, keep: &mut dyn FnMut(&str) -> bool) -> Result<RoaringBitmap, Self::Error> {
        let mut out = RoaringBitmap::new();
        // Together: a bitmap is slow to take many numbers one by one.
        let mut ones = Vec::new();
        for n in self.names.get(name).into_iter().flatten() {
            match self.entry(n).filter(|e| keep(&e.label.value)).map(|e| &e.ids) {
                Some(Ids::One(id)) => ones.push(*id),
                Some(Ids::Many(ids)) => out |= &**ids,
                None => {}
            }
        }
        ones.sort_unstable();
        out |= RoaringBitmap::from_sorted_iter(ones.iter().copied()).unwrap_or_else(|_| ones.iter().collect());
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().map(|(n, v)| (*n, *v)))
    }

    #[test]
    fn a_forgotten_series_leaves_nothing_behind() {
        let mut index = MemIndex::default();
        let (kept, gone) = (labels(&[("__name__", "up"), ("job", "b")]), labels(&[("__name__", "up"), ("job", "a")]));
        index.insert(&kept, 3);
        index.insert(&gone, 7);
        assert_eq!((index.get(&gone), index.labels(7)), (Some(7), gone.clone()));
        index.remove(7);
        index.shrink();
        assert_eq!((index.get(&gone), index.get(&kept), index.symbols()), (None, Some(3), 4));
        index.remove(3);
        assert_eq!((index.len(), index.symbols(), index.names.len(), index.all.len()), (0, 0, 0, 0));
        assert!(index.labels.iter().all(Option::is_none));
    }

    proptest! {
        #[test]
        fn matchers_find_what_a_scan_finds(
            series in proptest::collection::hash_set((0u8..3, 0u8..4, 0u8..4), 0..30),
            matchers in proptest::collection::vec((0usize..3, 0usize..4, prop_oneof![
                Just(""), Just("1"), Just("2"), Just("1|2"), Just(".*"), Just(".+"), Just("1|"),
            ]), 0..4),
        ) {
            let mut index = MemIndex::default();
            let mut all = Vec::new();
            for (i, (a, b, c)) in series.into_iter().enumerate() {
                // 0 is an empty value: the label is not there.
                let v = |n: u8| if n == 0 { String::new() } else { n.to_string() };
                let l = Labels::from_pairs([("x", v(a)), ("y", v(b)), ("z", v(c))]);
                index.insert(&l, i as u32);
                all.push((i as u32, l));
            }
            let ops = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];
            let matchers: Vec<_> = matchers.into_iter()
                .map(|(n, op, v)| Matcher::new(["x", "y", "w"][n], ops[op], v).unwrap()).collect();
            let Ok(found) = resolve(&index, &matchers);
            let scan: RoaringBitmap =
                all.iter().filter(|(_, l)| matchers.iter().all(|m| m.matches_labels(l))).map(|(i, _)| *i).collect();
            prop_assert_eq!(found, scan);
        }
    }
}
