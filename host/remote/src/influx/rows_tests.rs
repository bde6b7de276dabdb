use belfry_model::sample::is_stale;

use super::*;
use crate::influx::answer::AnswerReader;

fn read(
    matchers: &[Matcher],
    limits: SelectLimits,
    answer: &str,
) -> Result<(Vec<(Labels, SampleBuf)>, usize), ReadError> {
    let mut samples = Samples::new(matchers, limits);
    let mut reader = AnswerReader::default();
    reader.feed(answer.as_bytes(), &mut samples)?;
    reader.end()?;
    let warnings = samples.warnings().len();
    Ok((samples.into_series(), warnings))
}

fn answer(series: &[(&str, &str)]) -> String {
    let series: Vec<_> = series
        .iter()
        .map(|(tag, rows)| {
            let columns = r#"["time","value","special","histogram","start"]"#;
            format!(r#"{{"name":"m","tags":{{"a":"{tag}","b":""}},"columns":{columns},"values":[{rows}]}}"#)
        })
        .collect();
    format!(r#"{{"results":[{{"statement_id":0,"series":[{}]}}]}}"#, series.join(","))
}

#[test]
fn rows_become_samples_of_their_series() {
    let text = answer(&[
        ("z", "[1,2.5,null,null,null],[2,null,\"stale\",null,null]"),
        ("y", "[1,3,null,null,7]"),
        ("z", "[3,null,\"+Inf\",null,null]"),
    ]);
    let (series, warnings) = read(&[], SelectLimits::default(), &text).expect("it is read");
    assert_eq!(warnings, 0);
    let labels: Vec<_> = series.iter().map(|(l, _)| l.to_string()).collect();
    assert_eq!(labels, [r#"m{a="y"}"#, r#"m{a="z"}"#]);
    assert_eq!((series[0].1.floats[0], series[0].1.starts[0]), (3.0, 7));
    assert_eq!(series[1].1.times, [1, 2, 3]);
    assert!(is_stale(series[1].1.floats[1]) && series[1].1.floats[2] == f64::INFINITY);
}

#[test]
fn what_nobody_asked_for_is_not_kept() {
    let matcher: Matcher = r#"a!="y""#.parse().expect("a matcher");
    let (series, _) =
        read(&[matcher], SelectLimits::default(), &answer(&[("y", "[1,3]"), ("z", "[1,2]")])).expect("read");
    assert_eq!(series.len(), 1);
    assert_eq!(series[0].0.get("a"), Some("z"));
}

#[test]
fn limits_hold_while_reading() {
    let text = answer(&[("y", "[1,3],[2,3]"), ("z", "[1,2]")]);
    let limits = |series_max, samples_max| SelectLimits { series_max, samples_max };
    assert_eq!(read(&[], limits(1, 100), &text).err(), Some(ReadError::TooManySeries { limit: 1 }));
    assert_eq!(read(&[], limits(9, 2), &text).err(), Some(ReadError::TooManySamples { limit: 2 }));
    assert!(read(&[], limits(2, 3), &text).is_ok());
}

#[test]
fn rows_that_others_wrote_are_left_out_and_told_and_order_is_put_right() {
    let text = answer(&[("y", "[5,1],[3,2],[5,9],[4,null,\"x\",null,null],[null,1],[6,null,null,\"{}\",null]")]);
    let (series, warnings) = read(&[], SelectLimits::default(), &text).expect("it is read");
    assert_eq!((series[0].1.times.as_slice(), series[0].1.floats.as_slice()), (&[3, 5][..], &[2.0, 1.0][..]));
    assert_eq!(warnings, 1);
}

#[test]
fn keys_and_names_are_lists() {
    let mut found = BTreeSet::new();
    let matchers = [r#"a="x,y""#.parse().expect("a matcher")];
    let mut keys = Keys::new(&matchers, &mut found, 10);
    let head = Head { columns: vec!["key".into()], ..Head::default() };
    keys.head(&head).expect("a head");
    for key in [r"m,a=x\,y,␦time=⧵", "m,a=z", "m"] {
        keys.row(&[Cell::Text(key.into())]).expect("a row");
    }
    let found: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert_eq!(found, [r#"m{a="x,y", time="\\"}"#]);
}
