//! Labels as texts.

use belfry_model::Labels;
use prost::Message;

/// `prometheus.Label`.
#[derive(Clone, PartialEq, Message)]
pub struct Label {
    /// `__name__` is the metric's.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Not empty, but for careless senders.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// Names and values, as they come.
pub fn labels<N: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Vec<Label> {
    pairs.into_iter().map(|(name, value)| Label { name: name.into(), value: value.into() }).collect()
}

/// Those of a series.
pub fn labels_of(labels: &Labels) -> Vec<Label> {
    self::labels(labels.iter().map(|l| (&*l.name, &*l.value)))
}
