//! Remote write 2: `io.prometheus.write.v2`. Texts stand once in a table, everything else has their numbers.

use std::collections::HashMap;

use belfry_model::Labels;
use prost::Message;

use crate::{Histogram, Sample};

/// The body of remote write 2.
#[derive(Clone, PartialEq, Message)]
pub struct Request {
    /// The first is empty.
    #[prost(string, repeated, tag = "4")]
    pub symbols: Vec<String>,
    /// Series with their samples.
    #[prost(message, repeated, tag = "5")]
    pub timeseries: Vec<TimeSeries>,
}

/// Of one series.
#[derive(Clone, PartialEq, Message)]
pub struct TimeSeries {
    /// Name, value, name, value, ….
    #[prost(uint32, repeated, tag = "1")]
    pub labels_refs: Vec<u32>,
    /// In order of time; either these or histograms.
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
    /// In order of time.
    #[prost(message, repeated, tag = "3")]
    pub histograms: Vec<Histogram>,
    /// In order of time.
    #[prost(message, repeated, tag = "4")]
    pub exemplars: Vec<Exemplar>,
    /// The metric's.
    #[prost(message, optional, tag = "5")]
    pub metadata: Option<Metadata>,
    /// Before 2.0-rc.4 the start stood once for the series; receivers of that time look here.
    #[prost(int64, tag = "6")]
    pub created_timestamp: i64,
}

/// As in version 1, with numbers for its texts.
#[derive(Clone, PartialEq, Message)]
pub struct Exemplar {
    /// Name, value, name, value, ….
    #[prost(uint32, repeated, tag = "1")]
    pub labels_refs: Vec<u32>,
    /// What was measured.
    #[prost(double, tag = "2")]
    pub value: f64,
    /// Milliseconds.
    #[prost(int64, tag = "3")]
    pub timestamp: i64,
}

/// Of the series' metric.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Metadata {
    /// See [`crate::kind_number`].
    #[prost(int32, tag = "1")]
    pub kind: i32,
    /// For people.
    #[prost(uint32, tag = "3")]
    pub help_ref: u32,
    /// `seconds` and so on.
    #[prost(uint32, tag = "4")]
    pub unit_ref: u32,
}

/// A table of texts as it is made: texts by number, the first of them empty.
#[derive(Clone, Debug)]
pub struct Symbols {
    texts: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl Default for Symbols {
    fn default() -> Self {
        Self { texts: vec![String::new()], numbers: HashMap::from([(String::new(), 0)]) }
    }
}

impl Symbols {
    /// The number of a text, the same each time.
    pub fn number(&mut self, text: &str) -> u32 {
        if let Some(n) = self.numbers.get(text) {
            return *n;
        }
        // More texts than numbers would be 100 GB of them.
        let n = u32::try_from(self.texts.len()).unwrap_or(0);
        self.texts.push(text.to_owned());
        self.numbers.insert(text.to_owned(), n);
        n
    }

    /// Names and values in turn, as they come.
    pub fn labels<'t>(&mut self, pairs: impl IntoIterator<Item = (&'t str, &'t str)>) -> Vec<u32> {
        pairs.into_iter().flat_map(|(name, value)| [self.number(name), self.number(value)]).collect()
    }

    /// Those of a series.
    pub fn labels_of(&mut self, labels: &Labels) -> Vec<u32> {
        self.labels(labels.iter().map(|l| (&*l.name, &*l.value)))
    }

    /// For [`Request::symbols`].
    pub fn into_texts(self) -> Vec<String> {
        self.texts
    }
}
