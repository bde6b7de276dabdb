//! Doors for fuzzers: each takes any bytes, and must neither panic nor use memory beyond what the bytes can hold.

use belfry_model::{Labels, SampleBuf, SelectLimits};

use super::answer::AnswerReader;
use super::rows::Samples;

type Found = Result<(Vec<(Labels, SampleBuf)>, Vec<String>), String>;

/// An InfluxDB's answer to a `SELECT`. Where the pieces end in which it comes must not matter.
///
/// # Panics
/// When it does: that is a defect.
pub fn answer(bytes: &[u8]) {
    let cut = bytes.len() / 3;
    let whole = read(&[bytes]);
    let pieces = read(&[&bytes[..cut], &bytes[cut..]]);
    match (&whole, &pieces) {
        (Ok((whole, _)), Ok((pieces, _))) => {
            assert_eq!(whole.len(), pieces.len());
            for ((labels, samples), (again, others)) in whole.iter().zip(pieces) {
                assert_eq!((labels, &samples.times), (again, &others.times));
                assert!(samples.times.is_sorted_by(|a, b| a < b), "{labels}");
            }
        }
        _ => assert_eq!(whole.is_err(), pieces.is_err()),
    }
}

fn read(pieces: &[&[u8]]) -> Found {
    let mut samples = Samples::new(&[], SelectLimits::default());
    let mut reader = AnswerReader::default();
    for piece in pieces {
        reader.feed(piece, &mut samples).map_err(|e| e.to_string())?;
    }
    reader.end().map_err(|e| e.to_string())?;
    let warnings = samples.warnings();
    Ok((samples.into_series(), warnings))
}

/// Answers to begin with.
pub fn answers() -> Vec<Vec<u8>> {
    let series = concat!(
        r#"{"results":[{"statement_id":0,"series":[{"name":"m","tags":{"a":"z\u00e4","b":""},"#,
        r#""columns":["time","value","special","histogram","start"],"#,
        r#""values":[[1,2.5,null,null,null],[3,null,"stale",null,null],[2,null,"+Inf",null,-7],[4e0,1e300,true,[],{}]]},"#,
        r#"{"name":"m","columns":["time","value"],"values":[[1,3]],"partial":true}],"partial":true}]}"#,
    );
    let error = r#"{"results":[{"statement_id":0,"error":"unable to parse \"x\": \ud83d\ude00"}]}"#;
    [series, error, &format!("{series}\n{series}")].map(|s| s.as_bytes().to_vec()).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_are_understood() {
        let read: Vec<_> = answers().iter().map(|a| read(&[a])).collect();
        answers().iter().for_each(|a| answer(a));
        assert!(matches!(&read[0], Ok((series, _)) if series.len() == 2), "{:?}", read[0]);
        assert!(matches!(&read[1], Err(e) if e.contains("unable to parse")), "{:?}", read[1]);
        assert!(read[2].is_ok(), "{:?}", read[2]);
    }
}
