//! Doors for fuzzers: each takes any bytes, and must neither panic nor use memory beyond what the bytes can hold.

use belfry_model::{SampleBuf, SelectLimits, TimeRange};
use belfry_prompb::read::{QueryResult, ReadResponse};
use belfry_prompb::{BucketSpan, Histogram, Sample, TimeSeries, labels};
use prost::Message as _;

use super::answer;
use super::json::{self, Envelope};

/// An engine's answer to a remote read, as it comes.
pub fn remote_read_body(bytes: &[u8]) {
    look(answer::unfold(bytes, TimeRange::ALL, SelectLimits::default()));
}

/// The same, unpacked.
pub fn remote_read(bytes: &[u8]) {
    look(answer::decode(bytes, TimeRange::ALL, SelectLimits::default()));
}

fn look(answer: Result<belfry_model::SeriesSet, belfry_model::read::ReadError>) {
    for series in answer.map(|set| set.series).unwrap_or_default() {
        let mut buf = SampleBuf::default();
        if series.samples.decode(TimeRange::ALL, &mut buf).is_ok() {
            assert!(buf.times.is_sorted_by(|a, b| a < b), "{}", series.labels);
        }
    }
}

/// An answer of the query API, whatever was asked.
pub fn query_answer(bytes: &[u8]) {
    if let Ok(envelope) = serde_json::from_slice(bytes) {
        // Refusing it is as good as taking it.
        let _ = json::answer(envelope);
    }
    let _ = serde_json::from_slice::<Envelope<json::Rows<json::LabelMap>>>(bytes);
    let _ = serde_json::from_slice::<Envelope<Vec<String>>>(bytes);
    let _ = serde_json::from_slice::<Envelope<json::Metadata>>(bytes);
    let exemplars = serde_json::from_slice::<Envelope<json::Rows<json::ExemplarsOf>>>(bytes);
    for of in exemplars.ok().and_then(|e| e.data).unwrap_or_default().0 {
        of.exemplars.0.into_iter().for_each(|e| _ = json::time(e.timestamp));
    }
}

/// For [`remote_read`].
pub fn remote_reads() -> Vec<Vec<u8>> {
    let samples =
        (0..3).map(|i| Sample { value: i as f64 / 3.0, timestamp: 1_700_000_000_000 + i, ..Sample::default() });
    let integer = Histogram {
        count_int: Some(6),
        zero_count_int: Some(1),
        sum: 18.4,
        schema: 1,
        positive_spans: vec![BucketSpan { offset: 0, length: 2 }, BucketSpan { offset: 1, length: 1 }],
        positive_deltas: vec![1, 1, -1],
        negative_spans: vec![BucketSpan { offset: -1, length: 1 }],
        negative_deltas: vec![1],
        reset_hint: 2,
        timestamp: 7,
        ..Histogram::default()
    };
    let custom = Histogram {
        count_float: Some(4.5),
        schema: -53,
        positive_spans: vec![BucketSpan { offset: 1, length: 2 }],
        positive_counts: vec![1.5, 3.0],
        custom_values: vec![0.1, 1.0, 10.0],
        ..Histogram::default()
    };
    let of = |name: &str| TimeSeries { labels: labels([("__name__", name), ("job", "a")]), ..TimeSeries::default() };
    let floats = TimeSeries { samples: samples.collect(), ..of("up") };
    let histograms = TimeSeries { histograms: vec![integer, custom], ..of("latency") };
    [vec![floats.clone(), histograms.clone()], vec![floats], vec![histograms]].iter().map(|s| message(s)).collect()
}

fn message(timeseries: &[TimeSeries]) -> Vec<u8> {
    ReadResponse { results: vec![QueryResult { timeseries: timeseries.to_vec() }] }.encode_to_vec()
}

/// An answer as it comes.
#[cfg(test)]
pub(super) fn packed(series: &[TimeSeries]) -> Vec<u8> {
    pack(&message(series))
}

fn pack(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).unwrap_or_default()
}

/// For [`remote_read_body`].
pub fn remote_read_bodies() -> Vec<Vec<u8>> {
    remote_reads().iter().map(|m| pack(m)).collect()
}

/// For [`query_answer`].
pub fn query_answers() -> Vec<Vec<u8>> {
    [
        r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"up","a":"\u00e4\n"},"values":[[1700000000.123,"1.5"],[1700000015,"+Inf"],[2,null]]}]},"warnings":["w"],"infos":["i"]}"#,
        r#"{"data":{"result":[{"metric":{},"value":[1,"NaN"]},{"metric":{"a":"b"},"histogram":[1,{"count":"1","buckets":[[0,"0","1","1"]]}]}],"resultType":"vector"},"status":"success"}"#,
        r#"{"status":"success","data":{"resultType":"scalar","result":[-1.5e3,"2"]}}"#,
        r#"{"status":"success","data":{"resultType":"string","result":[1,"text"]}}"#,
        r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#,
        r#"{"status":"success","data":["__name__","job"]}"#,
        r#"{"status":"success","data":[{"__name__":"up","job":"a"},{"__name__":"up"}]}"#,
        r#"{"status":"success","data":{"up":[{"type":"gauge","help":"Is it?","unit":""}],"x":[]}}"#,
        r#"{"status":"success","data":[{"seriesLabels":{"__name__":"x"},"exemplars":[{"labels":{"trace_id":"7"},"value":"6","timestamp":1600096945.479}]}]}"#,
    ]
    .map(|s| s.as_bytes().to_vec())
    .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_are_understood() {
        let series = |bytes: &Vec<u8>| {
            remote_read(bytes);
            answer::decode(bytes, TimeRange::ALL, SelectLimits::default()).expect("well-formed").series.len()
        };
        assert_eq!(remote_reads().iter().map(series).collect::<Vec<_>>(), [2, 1, 1]);
        for bytes in remote_read_bodies() {
            assert!(answer::unfold(&bytes, TimeRange::ALL, SelectLimits::default()).is_ok());
        }
        let answers = query_answers();
        answers.iter().for_each(|a| query_answer(a));
        let read = |bytes: &Vec<u8>| json::answer(serde_json::from_slice(bytes).ok()?).ok();
        assert_eq!(
            answers.iter().map(|a| read(a).is_some()).take(5).collect::<Vec<_>>(),
            [true, false, true, true, false]
        );
        assert!(serde_json::from_slice::<Envelope<Vec<String>>>(&answers[5]).is_ok());
        assert!(serde_json::from_slice::<Envelope<json::Rows<json::LabelMap>>>(&answers[6]).is_ok());
        assert!(serde_json::from_slice::<Envelope<json::Metadata>>(&answers[7]).is_ok());
        assert!(serde_json::from_slice::<Envelope<json::Rows<json::ExemplarsOf>>>(&answers[8]).is_ok());
    }
}
