//! Remote read. Its answer as a whole is for a server; a client of bounded memory takes the series one by one.

use belfry_model::matcher::BadRegex;
use belfry_model::{MatchOp, Matcher};
use prost::Message;

use crate::chunk::Chunk;
use crate::{Label, TimeSeries};

/// `prometheus.ReadRequest.ResponseType.SAMPLES`: the answer is a [`ReadResponse`].
pub const SAMPLES: i32 = 0;
/// `STREAMED_XOR_CHUNKS`: the answer is frames (see [`crate::framed`]) of a [`ChunkedReadResponse`] each.
pub const STREAMED_XOR_CHUNKS: i32 = 1;

/// `prometheus.ReadRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct ReadRequest {
    /// Each is answered by a [`QueryResult`].
    #[prost(message, repeated, tag = "1")]
    pub queries: Vec<Query>,
    /// In order of preference; none is [`SAMPLES`].
    #[prost(int32, repeated, tag = "2")]
    pub accepted_response_types: Vec<i32>,
}

/// `prometheus.Query`.
#[derive(Clone, PartialEq, Message)]
pub struct Query {
    /// Milliseconds.
    #[prost(int64, tag = "1")]
    pub start_timestamp_ms: i64,
    /// Milliseconds, inclusive.
    #[prost(int64, tag = "2")]
    pub end_timestamp_ms: i64,
    /// All of them must match.
    #[prost(message, repeated, tag = "3")]
    pub matchers: Vec<LabelMatcher>,
}

/// `prometheus.LabelMatcher`.
#[derive(Clone, PartialEq, Message)]
pub struct LabelMatcher {
    /// 0 `=`, 1 `!=`, 2 `=~`, 3 `!~`.
    #[prost(int32, tag = "1")]
    pub kind: i32,
    /// The label's.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Or a regular expression.
    #[prost(string, tag = "3")]
    pub value: String,
}

/// `prometheus.ReadResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct ReadResponse {
    /// One a query.
    #[prost(message, repeated, tag = "1")]
    pub results: Vec<QueryResult>,
}

/// `prometheus.QueryResult`.
#[derive(Clone, PartialEq, Message)]
pub struct QueryResult {
    /// In order of labels.
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
}

/// `prometheus.ChunkedReadResponse`: a frame of the answer.
#[derive(Clone, PartialEq, Message)]
pub struct ChunkedReadResponse {
    /// One; a long one goes on in the next frame, with its labels again.
    #[prost(message, repeated, tag = "1")]
    pub chunked_series: Vec<ChunkedSeries>,
    /// Which of the queries it answers, from 0 on.
    #[prost(int64, tag = "2")]
    pub query_index: i64,
}

/// `prometheus.ChunkedSeries`.
#[derive(Clone, PartialEq, Message)]
pub struct ChunkedSeries {
    /// Sorted by name.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    /// In order of time.
    #[prost(message, repeated, tag = "2")]
    pub chunks: Vec<Chunk>,
}

/// Why a message is no matcher: ask differently.
#[derive(Debug, thiserror::Error)]
pub enum NoMatcher {
    /// Of a later protocol, or of none.
    #[error("matcher type {0} is not known")]
    Kind(i32),
    /// Its expression cannot be read.
    #[error(transparent)]
    Expression(#[from] BadRegex),
}

impl From<&Matcher> for LabelMatcher {
    fn from(m: &Matcher) -> Self {
        let kind = match m.op() {
            MatchOp::Equal => 0,
            MatchOp::NotEqual => 1,
            MatchOp::Regex => 2,
            MatchOp::NotRegex => 3,
        };
        Self { kind, name: m.name().to_owned(), value: m.value().to_owned() }
    }
}

impl TryFrom<&LabelMatcher> for Matcher {
    type Error = NoMatcher;

    fn try_from(m: &LabelMatcher) -> Result<Self, NoMatcher> {
        let op = match m.kind {
            0 => MatchOp::Equal,
            1 => MatchOp::NotEqual,
            2 => MatchOp::Regex,
            3 => MatchOp::NotRegex,
            other => return Err(NoMatcher::Kind(other)),
        };
        Ok(Self::new(&*m.name, op, &*m.value)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matcher_comes_back_as_it_went() {
        for text in [r#"a="b""#, r#"a!="b""#, r#"a=~"b.*""#, r#"a!~"b|""#] {
            let matcher: Matcher = text.parse().expect("a matcher");
            assert_eq!(Matcher::try_from(&LabelMatcher::from(&matcher)).expect("the same").to_string(), text);
        }
    }

    #[test]
    fn what_is_no_matcher_is_said() {
        let odd = |kind: i32, value: &str| LabelMatcher { kind, name: "a".to_owned(), value: value.to_owned() };
        assert_eq!(Matcher::try_from(&odd(4, "b")).unwrap_err().to_string(), "matcher type 4 is not known");
        assert!(Matcher::try_from(&odd(2, "(")).is_err());
    }
}
