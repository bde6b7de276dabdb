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
use belfry_model::read::{ReadError, SelectHints, SelectLimits, SeriesSet, readable};
use belfry_model::{Matcher, SampleBuf, TimeRange, TimestampMs};
use belfry_prompb::read::{QueryResult, ReadRequest, ReadResponse, SAMPLES};
use belfry_prompb::{Histogram, Sample, TimeSeries, labels_of};
use prost::Message as _;

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
        let matchers = query.matchers.iter().map(Matcher::try_from).collect::<Result<Vec<_>, _>>();
        let matchers = matchers.map_err(|e| ApiError::bad_data(e.to_string()))?;
        let range = TimeRange::inclusive(TimestampMs(query.start_timestamp_ms), TimestampMs(query.end_timestamp_ms))
            .ok_or_else(|| ApiError::bad_data("the end of a query is before its start"))?;
        // As in Prometheus: a query that says nothing asks for nothing.
        let set = match &matchers[..] {
            [] => SeriesSet::default(),
            some => reader.select(some, range, &SelectHints::default(), limits).await?,
        };
        sets.push((range, set));
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

fn answer(sets: &[(TimeRange, SeriesSet)]) -> Result<Vec<u8>, ReadError> {
    let mut samples = 0_u64;
    let mut results = Vec::with_capacity(sets.len());
    let mut buf = SampleBuf::default();
    for (range, set) in sets {
        let mut timeseries = Vec::new();
        for series in &set.series {
            buf.clear();
            readable(series.samples.decode(*range, &mut buf))?;
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
    belfry_prompb::packed(&ReadResponse { results }).map_err(|e| ReadError::Unavailable(e.to_string()))
}

fn time_series(labels: &belfry_model::Labels, buf: &SampleBuf) -> TimeSeries {
    let mut series = TimeSeries { labels: labels_of(labels), ..TimeSeries::default() };
    for (i, (timestamp, value)) in buf.times.iter().zip(&buf.floats).enumerate() {
        match buf.histograms.get(i) {
            Some(Some(h)) => series.histograms.push(Histogram::of(h, *timestamp)),
            _ => series.samples.push(Sample { value: *value, timestamp: *timestamp, ..Sample::default() }),
        }
    }
    series
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

    #[tokio::test]
    async fn a_query_without_matchers_has_no_series() {
        let mut fake = crate::testing::Fake::at(TimestampMs(60_000));
        fake.float(&[("__name__", "up"), ("job", "a")], 1_000, 1.0);
        let nothing = belfry_prompb::read::Query { start_timestamp_ms: 0, end_timestamp_ms: 60_000, matchers: vec![] };
        let request = ReadRequest { queries: vec![nothing], accepted_response_types: Vec::new() };
        let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap();
        let headers = [("content-type", "application/x-protobuf"), ("content-encoding", "snappy")];
        let reply = fake.ask("POST", "/api/v1/read", &headers, body).await;
        let read = ReadResponse::decode(&*decompress(reply.body.as_bytes()).unwrap()).unwrap();
        assert_eq!((reply.status, read), (200, ReadResponse { results: vec![QueryResult { timeseries: vec![] }] }));
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
