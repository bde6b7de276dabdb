//! Label sets: sorted by name, unique, no empty values.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The label that holds the metric's name.
pub const METRIC_NAME: &str = "__name__";

/// Labels that the host sets; a plugin cannot.
pub const RESERVED: &[&str] = &["plugin", "source", "job", "instance"];

/// One name and value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    /// Non-empty UTF-8.
    pub name: Arc<str>,
    /// Non-empty UTF-8: an empty value means that the label is not there.
    pub value: Arc<str>,
}

/// An immutable label set, cheap to clone. Sorted by name, names unique, values non-empty.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Labels(Arc<[Label]>);

impl Default for Labels {
    fn default() -> Self {
        Self::empty()
    }
}

impl Labels {
    /// No labels.
    pub fn empty() -> Self {
        Self(Arc::from(Vec::new()))
    }

    /// From pairs in any order; the last value of a name wins, empty values are dropped.
    pub fn from_pairs<N: Into<Arc<str>>, V: Into<Arc<str>>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut b = LabelsBuilder::default();
        for (name, value) in pairs {
            b.set(name, value);
        }
        b.build()
    }

    /// From labels that are in order already, as a store keeps them: much cheaper than [`Labels::from_pairs`]. Labels
    /// that are not in order, or empty, are sorted out as there.
    pub fn from_sorted(labels: impl IntoIterator<Item = Label>) -> Self {
        let labels: Arc<[Label]> = labels.into_iter().collect();
        let in_order = labels.windows(2).all(|w| w[0].name < w[1].name) && labels.iter().all(|l| !l.value.is_empty());
        if in_order {
            return Self(labels);
        }
        Self::from_pairs(labels.iter().map(|l| (l.name.clone(), l.value.clone())))
    }

    /// The value of `name`, if it is there.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.binary_search_by(|l| (*l.name).cmp(name)).ok().map(|i| &*self.0[i].value)
    }

    /// The metric name, if it is there.
    pub fn metric(&self) -> Option<&str> {
        self.get(METRIC_NAME)
    }

    /// In order of name.
    pub fn iter(&self) -> std::slice::Iter<'_, Label> {
        self.0.iter()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// None at all?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A builder that starts from these.
    pub fn to_builder(&self) -> LabelsBuilder {
        LabelsBuilder { labels: self.0.to_vec() }
    }

    /// Without the metric name.
    pub fn without_name(&self) -> Self {
        self.without(&[METRIC_NAME])
    }

    /// Without `names`.
    pub fn without(&self, names: &[&str]) -> Self {
        if !self.0.iter().any(|l| names.contains(&&*l.name)) {
            return self.clone();
        }
        Self(self.0.iter().filter(|l| !names.contains(&&*l.name)).cloned().collect())
    }

    /// Only `names`.
    pub fn only(&self, names: &[&str]) -> Self {
        Self(self.0.iter().filter(|l| names.contains(&&*l.name)).cloned().collect())
    }

    /// A stable 64-bit FNV-1a hash of names and values: equal on every machine and version.
    pub fn stable_hash(&self) -> u64 {
        let mut h: u64 = 0xcbf2_9ce4_8422_2325;
        for l in self.iter() {
            for b in l.name.bytes().chain([0xff]).chain(l.value.bytes()).chain([0xff]) {
                h = (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        h
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = &'a Label;
    type IntoIter = std::slice::Iter<'a, Label>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Prometheus' order of label sets: by name, then value, pair by pair.
impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

/// As Prometheus writes a series: `name{a="b"}`.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let metric = self.metric();
        if let Some(m) = metric {
            f.write_str(m)?;
        }
        let mut rest = self.iter().filter(|l| &*l.name != METRIC_NAME).peekable();
        if metric.is_some() && rest.peek().is_none() {
            return Ok(());
        }
        f.write_str("{")?;
        let mut first = true;
        for l in rest {
            if !std::mem::take(&mut first) {
                f.write_str(", ")?;
            }
            if is_legacy_name(&l.name) {
                write!(f, "{}={:?}", l.name, &*l.value)?;
            } else {
                write!(f, "{:?}={:?}", &*l.name, &*l.value)?;
            }
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A JSON object of strings, in order of name.
impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut m = s.serialize_map(Some(self.len()))?;
        for l in self {
            m.serialize_entry(&*l.name, &*l.value)?;
        }
        m.end()
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let map = std::collections::BTreeMap::<String, String>::deserialize(d)?;
        Ok(Self::from_pairs(map))
    }
}

/// Builds a [`Labels`].
#[derive(Clone, Debug, Default)]
pub struct LabelsBuilder {
    labels: Vec<Label>,
}

impl LabelsBuilder {
    /// Sets `name`, replacing what was there; an empty value removes it.
    pub fn set(&mut self, name: impl Into<Arc<str>>, value: impl Into<Arc<str>>) -> &mut Self {
        let (name, value) = (name.into(), value.into());
        match self.labels.binary_search_by(|l| l.name.cmp(&name)) {
            Ok(i) if value.is_empty() => drop(self.labels.remove(i)),
            Ok(i) => self.labels[i].value = value,
            Err(_) if value.is_empty() => {}
            Err(i) => self.labels.insert(i, Label { name, value }),
        }
        self
    }

    /// Removes `name`.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.labels.retain(|l| &*l.name != name);
        self
    }

    /// The value that `name` has now.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.labels.binary_search_by(|l| (*l.name).cmp(name)).ok().map(|i| &*self.labels[i].value)
    }

    /// What is there now, in order of name.
    pub fn iter(&self) -> std::slice::Iter<'_, Label> {
        self.labels.iter()
    }

    /// Keeps what `keep` says yes to.
    pub fn retain(&mut self, keep: impl FnMut(&Label) -> bool) -> &mut Self {
        self.labels.retain(keep);
        self
    }

    /// The finished set.
    pub fn build(&self) -> Labels {
        Labels(Arc::from(self.labels.as_slice()))
    }
}

/// `[a-zA-Z_][a-zA-Z0-9_]*`: a label name that needs no quotes in PromQL.
pub fn is_legacy_name(name: &str) -> bool {
    !name.is_empty()
        && !name.as_bytes()[0].is_ascii_digit()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// `[a-zA-Z_:][a-zA-Z0-9_:]*`: a metric name that needs no quotes in PromQL.
pub fn is_legacy_metric_name(name: &str) -> bool {
    !name.is_empty()
        && !name.as_bytes()[0].is_ascii_digit()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_sorted_unique_and_never_empty() {
        let l = Labels::from_pairs([("b", "1"), ("a", "x"), ("b", "2"), ("c", "")]);
        assert_eq!(l.to_string(), r#"{a="x", b="2"}"#);
        assert_eq!(l.get("c"), None);
    }

    #[test]
    fn labels_that_are_in_order_are_taken_as_they_are_and_others_sorted_out() {
        let label = |n: &str, v: &str| Label { name: n.into(), value: v.into() };
        let sorted = Labels::from_sorted([label("a", "x"), label("b", "2")]);
        assert_eq!(sorted.to_string(), r#"{a="x", b="2"}"#);
        assert_eq!(Labels::from_sorted([label("b", "2"), label("c", ""), label("a", "x")]), sorted);
    }

    #[test]
    fn the_metric_name_stands_before_the_braces() {
        assert_eq!(Labels::from_pairs([(METRIC_NAME, "up")]).to_string(), "up");
        assert_eq!(Labels::from_pairs([(METRIC_NAME, "up"), ("job", "a\"b")]).to_string(), r#"up{job="a\"b"}"#);
    }
}
