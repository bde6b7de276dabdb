//! Remote read: `POST /api/v1/read`, a snappy-compressed protobuf message in, another out.
//! <https://github.com/prometheus/prometheus/blob/main/prompb/remote.proto>
//!
//! Invariant: what is asked and answered is bounded before memory is taken for it.
//! Not here: streamed chunks; a client that takes only those is told.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use belfry_model::read::{ReadError, SelectHints, SelectLimits, SeriesSet};
use belfry_model::sample::ResetHint;
use belfry_model::{Histogram, MatchOp, Matcher, SampleBuf, TimeRange, TimestampMs};
use prost::Message;

use crate::App;
use crate::prometheus::ApiError;

/// A request decompresses to at most this.
const REQUEST_BYTES_MAX: usize = 4 << 20;
/// Queries of one request: a Prometheus sends one.
const QUERIES_MAX: usize = 64;
/// Samples of one answer, about 200 MB: as Prometheus' `storage.remote.read-sample-limit`, which has 50 million.
const SAMPLES_MAX: u64 = 10_000_000;

pub(crate) fn routes() -> Router<App> {
    Router::new().route("/read", post(read))
}

async fn read(State(app): State<App>, body: Bytes) -> Result<Response, ApiError> {
    let request = decompress(&body).and_then(|bytes| ReadRequest::decode(&*bytes).map_err(|e| e.to_string()));
    let request = request.map_err(ApiError::bad_data)?;
    if !request.accepted_response_types.is_empty() && !request.accepted_response_types.contains(&SAMPLES) {
        return Err(ApiError::bad_data("only the response type SAMPLES is supported"));
    }
    if request.queries.len() > QUERIES_MAX {
        return Err(ApiError::bad_data(format!("{QUERIES_MAX} queries at most")));
    }
    let reader = app.backend.reader();
    let limits = SelectLimits { samples_max: SAMPLES_MAX, ..SelectLimits::default() };
    let mut sets = Vec::new();
    for query in &request.queries {
        let matchers = query.matchers.iter().map(matcher).collect::<Result<Vec<_>, _>>()?;
        let range = TimeRange::inclusive(TimestampMs(query.start), TimestampMs(query.end))
            .ok_or_else(|| ApiError::bad_data("the end of a query is before its start"))?;
        sets.push((range, reader.select(&matchers, range, &SelectHints::default(), limits).await?));
    }
    // Decoding and compressing are work for a thread of their own.
    let answered = tokio::task::spawn_blocking(move || answer(&sets)).await;
    let bytes = answered.map_err(|e| ApiError::internal(e.to_string()))??;
    let headers = [(header::CONTENT_TYPE, "application/x-protobuf"), (header::CONTENT_ENCODING, "snappy")];
    Ok((headers, bytes).into_response())
}

fn decompress(body: &[u8]) -> Result<Vec<u8>, String> {
    let len = snap::raw::decompress_len(body).map_err(|e| format!("not snappy: {e}"))?;
    if len > REQUEST_BYTES_MAX {
        return Err(format!("the request has {len} bytes; {REQUEST_BYTES_MAX} are the most"));
    }
    snap::raw::Decoder::new().decompress_vec(body).map_err(|e| format!("not snappy: {e}"))
}

fn matcher(m: &LabelMatcher) -> Result<Matcher, ApiError> {
    let op = match m.r#type {
        0 => MatchOp::Equal,
        1 => MatchOp::NotEqual,
        2 => MatchOp::Regex,
        3 => MatchOp::NotRegex,
        other => return Err(ApiError::bad_data(format!("matcher type {other} is not known"))),
    };
    Matcher::new(&*m.name, op, &*m.value).map_err(|e| ApiError::bad_data(e.to_string()))
}

fn answer(sets: &[(TimeRange, SeriesSet)]) -> Result<Vec<u8>, ReadError> {
    let mut samples = 0_u64;
    let mut results = Vec::with_capacity(sets.len());
    let mut buf = SampleBuf::default();
    for (range, set) in sets {
        let mut timeseries = Vec::new();
        for series in &set.series {
            buf.clear();
            series.samples.decode(*range, &mut buf)?;
            samples += buf.len() as u64;
            if samples > SAMPLES_MAX {
                return Err(ReadError::TooManySamples { limit: SAMPLES_MAX });
            }
            if !buf.is_empty() {
                timeseries.push(time_series(&series.labels, &buf));
            }
        }
        results.push(QueryResult { timeseries });
    }
    let bytes = ReadResponse { results }.encode_to_vec();
    snap::raw::Encoder::new().compress_vec(&bytes).map_err(|e| ReadError::Unavailable(e.to_string()))
}

fn time_series(labels: &belfry_model::Labels, buf: &SampleBuf) -> TimeSeries {
    let labels = labels.iter().map(|l| Label { name: l.name.to_string(), value: l.value.to_string() }).collect();
    let mut series = TimeSeries { labels, ..TimeSeries::default() };
    for (i, (timestamp, value)) in buf.times.iter().zip(&buf.floats).enumerate() {
        match buf.histograms.get(i) {
            Some(Some(h)) => series.histograms.push(histogram(h, *timestamp)),
            _ => series.samples.push(Sample { value: *value, timestamp: *timestamp }),
        }
    }
    series
}

fn histogram(h: &Histogram, timestamp: i64) -> WireHistogram {
    let spans = |all: &[belfry_model::sample::Span]| {
        all.iter().map(|s| BucketSpan { offset: s.offset, length: s.length }).collect()
    };
    let mut wire = WireHistogram {
        sum: h.sum,
        schema: h.schema,
        zero_threshold: h.zero_threshold,
        negative_spans: spans(&h.negative_spans),
        positive_spans: spans(&h.positive_spans),
        reset_hint: match h.reset_hint {
            ResetHint::Unknown => 0,
            ResetHint::Reset => 1,
            ResetHint::NotReset => 2,
            ResetHint::Gauge => 3,
        },
        timestamp,
        custom_values: h.custom_bounds.clone(),
        ..WireHistogram::default()
    };
    if h.integer {
        wire.count_int = Some(h.count as u64);
        wire.zero_count_int = Some(h.zero_count as u64);
        wire.negative_deltas = deltas(&h.negative_counts);
        wire.positive_deltas = deltas(&h.positive_counts);
    } else {
        wire.count_float = Some(h.count);
        wire.zero_count_float = Some(h.zero_count);
        wire.negative_counts.clone_from(&h.negative_counts);
        wire.positive_counts.clone_from(&h.positive_counts);
    }
    wire
}

fn deltas(counts: &[f64]) -> Vec<i64> {
    let mut before = 0_i64;
    let delta = |count: &f64| {
        let now = *count as i64;
        now.saturating_sub(std::mem::replace(&mut before, now))
    };
    counts.iter().map(delta).collect()
}

/// `ReadRequest.ResponseType`.
const SAMPLES: i32 = 0;

#[derive(Clone, PartialEq, Message)]
struct ReadRequest {
    #[prost(message, repeated, tag = "1")]
    queries: Vec<ReadQuery>,
    #[prost(int32, repeated, tag = "2")]
    accepted_response_types: Vec<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct ReadQuery {
    #[prost(int64, tag = "1")]
    start: i64,
    #[prost(int64, tag = "2")]
    end: i64,
    #[prost(message, repeated, tag = "3")]
    matchers: Vec<LabelMatcher>,
}

#[derive(Clone, PartialEq, Message)]
struct LabelMatcher {
    #[prost(int32, tag = "1")]
    r#type: i32,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct ReadResponse {
    #[prost(message, repeated, tag = "1")]
    results: Vec<QueryResult>,
}

#[derive(Clone, PartialEq, Message)]
struct QueryResult {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    histograms: Vec<WireHistogram>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct BucketSpan {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

/// `Histogram`; the members of its two `oneof`s stand beside each other here.
#[derive(Clone, PartialEq, Message)]
struct WireHistogram {
    #[prost(uint64, optional, tag = "1")]
    count_int: Option<u64>,
    #[prost(double, optional, tag = "2")]
    count_float: Option<f64>,
    #[prost(double, tag = "3")]
    sum: f64,
    #[prost(sint32, tag = "4")]
    schema: i32,
    #[prost(double, tag = "5")]
    zero_threshold: f64,
    #[prost(uint64, optional, tag = "6")]
    zero_count_int: Option<u64>,
    #[prost(double, optional, tag = "7")]
    zero_count_float: Option<f64>,
    #[prost(message, repeated, tag = "8")]
    negative_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "9")]
    negative_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "10")]
    negative_counts: Vec<f64>,
    #[prost(message, repeated, tag = "11")]
    positive_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "12")]
    positive_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "13")]
    positive_counts: Vec<f64>,
    #[prost(int32, tag = "14")]
    reset_hint: i32,
    #[prost(int64, tag = "15")]
    timestamp: i64,
    #[prost(double, repeated, tag = "16")]
    custom_values: Vec<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bomb_and_a_broken_message_are_refused_before_they_are_unpacked() {
        // Snappy's header says how long it would become.
        let bomb = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
        assert!(decompress(&bomb).unwrap_err().contains("are the most"));
        assert!(decompress(b"").is_err());
        assert!(decompress(b"\x05no").is_err());
    }

    #[test]
    fn counts_are_written_as_differences() {
        assert_eq!(deltas(&[3.0, 1.0, 1.0, 4.0]), [3, -2, 0, 3]);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            if let Ok(bytes) = decompress(&bytes) {
                let _ = ReadRequest::decode(&*bytes);
            }
            let _ = ReadRequest::decode(&*bytes);
        }
    }
}
