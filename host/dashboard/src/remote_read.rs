//! Remote read: `POST /api/v1/read`, a snappy-compressed protobuf message in, another out.
//! <https://github.com/prometheus/prometheus/blob/main/prompb/remote.proto>
//!
//! Invariant: what is asked and answered is bounded before memory is taken for it. A streamed answer holds the samples of
//! one series and a few frames, however long it is, and is made no faster than it is read.
//! Not here: what is damaged is missing from the answer, which the protocol has no words for.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use belfry_model::read::{ReadError, SelectHints, SelectLimits, Series, SeriesSet, readable};
use belfry_model::{Matcher, SampleBuf, TimeRange, TimestampMs};
use belfry_prompb::chunk::Chunks;
use belfry_prompb::read::{
    ChunkedReadResponse, ChunkedSeries, QueryResult, ReadRequest, ReadResponse, SAMPLES, STREAMED_XOR_CHUNKS,
};
use belfry_prompb::{Histogram, Sample, TimeSeries, framed, labels_of};
use futures::{StreamExt as _, stream};
use prost::Message as _;
use prost::encoding::message;

use crate::App;
use crate::prometheus::ApiError;

/// A request decompresses to at most this.
const REQUEST_BYTES_MAX: usize = 4 << 20;
/// Queries of one request: a Prometheus sends one.
const QUERIES_MAX: usize = 64;
/// Samples of one answer that is no stream, about 200 MB: as Prometheus' `storage.remote.read-sample-limit`, which has 50
/// million. In a stream, of one series: it is read as a whole.
const SAMPLES_MAX: u64 = 10_000_000;
/// A frame ends with the chunk that passes this, as Prometheus' `storage.remote.read-max-bytes-in-frame`.
const FRAME_BYTES_MAX: usize = 1 << 20;

const STREAMED: &str = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";

pub(crate) fn routes() -> Router<App> {
    Router::new().route("/read", post(read))
}

async fn read(State(app): State<App>, body: Bytes) -> Result<Response, ApiError> {
    let request = decompress(&body).and_then(|bytes| ReadRequest::decode(&*bytes).map_err(|e| e.to_string()));
    let request = request.map_err(ApiError::bad_data)?;
    let streamed = response_type(&request.accepted_response_types)? == STREAMED_XOR_CHUNKS;
    if request.queries.len() > QUERIES_MAX {
        return Err(ApiError::bad_data(format!("{QUERIES_MAX} queries at most")));
    }
    let reader = app.backend.reader();
    let samples_max = if streamed { u64::MAX } else { SAMPLES_MAX };
    let limits = SelectLimits { samples_max, ..SelectLimits::default() };
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
    if streamed {
        return stream(Frames::of(sets)).await;
    }
    // Decoding and compressing are work for a thread of their own.
    let answered = tokio::task::spawn_blocking(move || answer(&sets)).await;
    let bytes = answered.map_err(|e| ApiError::internal(e.to_string()))??;
    let headers = [(header::CONTENT_TYPE, "application/x-protobuf"), (header::CONTENT_ENCODING, "snappy")];
    Ok((headers, bytes).into_response())
}

/// The first that is known of those that the client takes, which it likes best.
fn response_type(accepted: &[i32]) -> Result<i32, ApiError> {
    let known = |t: &i32| [SAMPLES, STREAMED_XOR_CHUNKS].contains(t);
    match accepted.iter().copied().find(known) {
        Some(found) => Ok(found),
        None if accepted.is_empty() => Ok(SAMPLES),
        None => Err(ApiError::bad_data(format!(
            "none of the response types {accepted:?} is supported: there are SAMPLES ({SAMPLES}) and STREAMED_XOR_CHUNKS ({STREAMED_XOR_CHUNKS})"
        ))),
    }
}

/// Frames as the client reads them: it waits for the next ones, and they for it.
async fn stream(frames: Frames) -> Result<Response, ApiError> {
    // What goes wrong with the first ones can still be told.
    let Some((first, frames)) = frames.next().await? else {
        return Ok(([(header::CONTENT_TYPE, STREAMED)], ()).into_response());
    };
    let rest = stream::try_unfold(frames, Frames::next);
    let body = Body::from_stream(stream::once(async { Ok::<_, ReadError>(first) }).chain(rest));
    Ok(([(header::CONTENT_TYPE, STREAMED)], body).into_response())
}

/// What is left to be answered.
struct Frames {
    /// Number and range of a query, and a series of its answer. Each is given back when it is done.
    series: Box<dyn Iterator<Item = (i64, TimeRange, Series)> + Send>,
    /// The one whose samples are in `samples`.
    current: Option<(i64, Series)>,
    samples: SampleBuf,
    /// Of `samples`, those that were written.
    written: usize,
}

impl Frames {
    fn of(sets: Vec<(TimeRange, SeriesSet)>) -> Self {
        let of_set =
            |(n, (range, set)): (i64, (TimeRange, SeriesSet))| set.series.into_iter().map(move |s| (n, range, s));
        let series = Box::new((0..).zip(sets).flat_map(of_set));
        Self { series, current: None, samples: SampleBuf::default(), written: 0 }
    }

    /// The next ones, about as many bytes as one may have. Reading and packing are work for a thread of their own, but it
    /// does not wait for the client.
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, ReadError> {
        let made = tokio::task::spawn_blocking(move || {
            let mut bytes = Vec::new();
            while bytes.len() < FRAME_BYTES_MAX && self.put(&mut bytes)? {}
            Ok((!bytes.is_empty()).then(|| (bytes.into(), self)))
        });
        made.await.unwrap_or_else(|e| Err(ReadError::Unavailable(e.to_string())))
    }

    /// Appends a frame; `false` when there is none left.
    fn put(&mut self, into: &mut Vec<u8>) -> Result<bool, ReadError> {
        while self.written >= self.samples.len() {
            let Some((query, range, series)) = self.series.next() else { return Ok(false) };
            if series.samples.estimate() > SAMPLES_MAX {
                return Err(ReadError::TooManySamples { limit: SAMPLES_MAX });
            }
            self.samples.clear();
            self.written = 0;
            readable(series.samples.decode(range, &mut self.samples))?;
            self.current = Some((query, series));
        }
        let Some((query, series)) = &self.current else { return Ok(false) };
        let labels = labels_of(&series.labels);
        let mut bytes: usize = labels.iter().map(|l| l.encoded_len()).sum();
        let mut all = Chunks::new(&self.samples, self.written);
        let mut chunks = Vec::new();
        while bytes < FRAME_BYTES_MAX
            && let Some(chunk) = all.next()
        {
            bytes += message::encoded_len(2, &chunk);
            chunks.push(chunk);
        }
        // Labels alone never fill a frame, or nothing would ever be written.
        chunks.extend(if chunks.is_empty() { all.next() } else { None });
        self.written = all.position();
        framed(
            &ChunkedReadResponse { chunked_series: vec![ChunkedSeries { labels, chunks }], query_index: *query },
            into,
        );
        Ok(true)
    }
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
#[path = "remote_read_tests.rs"]
mod tests;
