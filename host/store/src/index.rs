//! Which series have which labels: postings as roaring bitmaps, and matchers over them.
//!
//! Invariant: a matcher finds exactly the series for which [`Matcher::matches_labels`] holds, those without the label
//! included (an absent label has the value "").
//! Not here: samples, time; where the postings are kept (the head in memory, a block in its file).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use belfry_model::{Labels, MatchOp, Matcher};
use roaring::RoaringBitmap;

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
            without.push(match m.op() {
                MatchOp::NotEqual => postings.of(m.name(), m.value())?,
                _ => postings.of_any(m.name(), &mut |v| !m.matches(v))?,
            });
            continue;
        }
        let hit = match m.op() {
            MatchOp::Equal => postings.of(m.name(), m.value())?,
            _ => postings.of_any(m.name(), &mut |v| m.matches(v))?,
        };
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

/// Series numbers. Many a label value stands on one series only, and a bitmap of one costs ten times as much.
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

/// The head's index.
#[derive(Default)]
pub struct MemIndex {
    all: RoaringBitmap,
    postings: HashMap<Arc<str>, BTreeMap<Arc<str>, Ids>>,
    ids: HashMap<Labels, u32>,
    symbols: HashSet<Arc<str>>,
}

impl MemIndex {
    /// The series with these labels.
    pub fn get(&self, labels: &Labels) -> Option<u32> {
        self.ids.get(labels).copied()
    }

    /// How many series.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Adds series `id`, which must be new, and yields its labels with their strings shared.
    pub fn insert(&mut self, labels: &Labels, id: u32) -> Labels {
        let pairs: Vec<_> = labels.iter().map(|l| (self.intern(&l.name), self.intern(&l.value))).collect();
        for (name, value) in &pairs {
            let values = self.postings.entry(name.clone()).or_default();
            values.entry(value.clone()).or_insert(Ids::One(id)).insert(id);
        }
        let labels = Labels::from_pairs(pairs);
        self.all.insert(id);
        self.ids.insert(labels.clone(), id);
        labels
    }

    /// Forgets a series, and the strings that only it used.
    pub fn remove(&mut self, labels: &Labels, id: u32) {
        self.ids.remove(labels);
        self.all.remove(id);
        for l in labels {
            let Some(values) = self.postings.get_mut(&l.name) else { continue };
            if values.get_mut(&l.value).is_some_and(|ids| ids.remove(id)) {
                values.remove(&l.value);
            }
            if values.is_empty() {
                self.postings.remove(&l.name);
            }
        }
    }

    /// Gives back the memory of strings that no series uses any more.
    pub fn drop_unused_symbols(&mut self) {
        self.symbols.retain(|s| Arc::strong_count(s) > 1);
    }

    /// How many different strings are held.
    pub fn symbols(&self) -> usize {
        self.symbols.len()
    }

    fn intern(&mut self, s: &Arc<str>) -> Arc<str> {
        match self.symbols.get(s) {
            Some(known) => known.clone(),
            None => {
                // A copy of its own: the caller's may be a slice of something larger.
                let own: Arc<str> = Arc::from(&**s);
                self.symbols.insert(own.clone());
                own
            }
        }
    }
}

impl Postings for MemIndex {
    type Error = std::convert::Infallible;

    fn all(&self) -> Result<RoaringBitmap, Self::Error> {
        Ok(self.all.clone())
    }

    fn of(&self, name: &str, value: &str) -> Result<RoaringBitmap, Self::Error> {
        let mut out = RoaringBitmap::new();
        if let Some(ids) = self.postings.get(name).and_then(|v| v.get(value)) {
            ids.add_to(&mut out);
        }
        Ok(out)
    }

    fn of_any(&self, name: &str, keep: &mut dyn FnMut(&str) -> bool) -> Result<RoaringBitmap, Self::Error> {
        let mut out = RoaringBitmap::new();
        for (value, ids) in self.postings.get(name).into_iter().flatten() {
            if keep(value) {
                ids.add_to(&mut out);
            }
        }
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
        let l = index.insert(&labels(&[("__name__", "up"), ("job", "a")]), 7);
        index.remove(&l, 7);
        drop(l);
        index.drop_unused_symbols();
        assert_eq!((index.len(), index.symbols(), index.postings.len()), (0, 0, 0));
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
