//! What Belfry answers, and what of it the tests look at.

use std::collections::BTreeMap;

use http::HeaderMap;
use serde_json::Value;

/// An HTTP answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e} in {self:?}"))
    }

    /// Fails unless the status is this one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }
}

/// A series with its samples: time in milliseconds, value.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// With `__name__`.
    pub labels: BTreeMap<String, String>,
    /// In order of time.
    pub samples: Vec<(i64, f64)>,
}

impl Series {
    /// All of the `data` that `/api/v1/query` and `query_range` answer.
    pub fn of(data: &Value) -> Vec<Self> {
        let result = data["result"].as_array().unwrap_or_else(|| panic!("no result: {data}"));
        result.iter().map(Self::one).collect()
    }

    fn one(value: &Value) -> Self {
        let labels = value["metric"].as_object().expect("labels");
        let labels = labels.iter().map(|(n, v)| (n.clone(), v.as_str().expect("a label's value").to_owned()));
        let pairs = value["values"].as_array().cloned().unwrap_or_else(|| vec![value["value"].clone()]);
        Self { labels: labels.collect(), samples: pairs.iter().map(sample).collect() }
    }

    /// The newest value.
    pub fn last(&self) -> f64 {
        self.samples.last().expect("a series has samples").1
    }
}

fn sample(pair: &Value) -> (i64, f64) {
    let seconds = pair[0].as_f64().expect("a time");
    let value = pair[1].as_str().and_then(|v| v.parse().ok()).expect("a value");
    ((seconds * 1_000.0).round() as i64, value)
}
