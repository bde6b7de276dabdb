//! `scrape_samples_scraped`, `scrape_samples_post_metric_relabeling`, `scrape_series_added` and `scrape_body_size_bytes`
//! of good and bad answers, as a Prometheus 3.5 says them of the same ones.

use super::*;
use crate::scrape::JobLimits;

/// Protobuf's fields; all are short.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
}

/// A delimited family of gauges `g{a="0"}` and so on, each with these labels besides.
fn gauges(labels: &[&[(&str, &str)]]) -> Vec<u8> {
    let one = |i: usize, more: &[(&str, &str)]| {
        let number = i.to_string();
        let pair =
            |(name, value): (&str, &str)| field(1, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat());
        let labels: Vec<u8> = [("a", &*number)].into_iter().chain(more.iter().copied()).flat_map(pair).collect();
        field(4, &[labels, field(2, &[&[9][..], &1.0_f64.to_le_bytes()].concat())].concat())
    };
    let metrics: Vec<u8> = labels.iter().enumerate().flat_map(|(i, l)| one(i, l)).collect();
    let family = [field(1, b"g"), vec![0x18, 1], metrics].concat();
    let mut length = family.len();
    let mut out = Vec::new();
    while length > 127 {
        out.push(length as u8 | 128);
        length >>= 7;
    }
    out.push(length as u8);
    [out, family].concat()
}

/// The same as text.
fn lines(labels: &[&[(&str, &str)]]) -> String {
    let pairs = |i: usize, l: &[(&str, &str)]| -> String {
        [format!("a=\"{i}\"")].into_iter().chain(l.iter().map(|(n, v)| format!(",{n}=\"{v}\""))).collect()
    };
    labels.iter().enumerate().map(|(i, l)| format!("g{{{}}} 1\n", pairs(i, l))).collect()
}

/// Nine samples in each format; `bad` comes after the fifth, as text and in protobuf.
fn nine(fifth: &'static [(&'static str, &'static str)], bad: Option<(&str, &[u8])>) -> [(BodyFormat, Vec<u8>); 3] {
    let labels: [&[(&str, &str)]; 9] = [&[], &[], &[], &[], fifth, &[], &[], &[], &[]];
    let (mut text, mut protobuf) = (lines(&labels), gauges(&labels));
    if let Some((line, message)) = bad {
        text = format!("{}{line}\n{}", lines(&labels[..5]), lines(&labels[5..]));
        protobuf = [gauges(&labels[..5]), message.to_vec(), gauges(&labels[5..])].concat();
    }
    let open = format!("{text}# EOF\n");
    [
        (BodyFormat::Text(TextFormat::Prometheus), text.into_bytes()),
        (BodyFormat::Text(TextFormat::OpenMetrics), open.into_bytes()),
        (BodyFormat::Protobuf, protobuf),
    ]
}

/// `up`, scraped, kept and added of the same answer twice.
fn told(job: &Job, format: BodyFormat, body: &[u8]) -> [Vec<String>; 2] {
    let mut bench = Bench::new(job.clone());
    [(); 2].map(|()| {
        bench.at += 1000;
        let answer = Ok(Answer { body, format });
        block_on(bench.scraper.scraped(&bench.ingest, TimestampMs(bench.at), Duration::ZERO, answer));
        let written = bench.written();
        let value = |name: &str| {
            let line = written.iter().find(|l| l.contains(&format!(" {name}{{"))).expect("it is written");
            line.rsplit(' ').next().unwrap_or_default().to_owned()
        };
        assert!(value("up") == "1" || !written.iter().any(|l| l.contains(" g{")), "nothing of it is kept: {written:?}");
        ["up", "scrape_samples_scraped", "scrape_samples_post_metric_relabeling", "scrape_series_added"]
            .map(value)
            .to_vec()
    })
}

fn check(limits: JobLimits, bodies: [(BodyFormat, Vec<u8>); 3], first: [&str; 4], second: [&str; 4]) {
    let job = Job { limits, native_histograms: true, ..test_job() };
    for (format, body) in bodies {
        assert_eq!(told(&job, format, &body), [first, second], "{format:?}");
    }
}

#[test]
fn a_good_answer_tells_its_samples_and_what_of_them_is_new() {
    check(JobLimits::default(), nine(&[], None), ["1", "9", "9", "9"], ["1", "9", "9", "0"]);
}

#[test]
fn an_answer_with_too_many_samples_is_counted_to_its_end() {
    let limits = JobLimits { samples: 3, ..JobLimits::default() };
    check(limits, nine(&[], None), ["0", "9", "9", "3"], ["0", "9", "9", "0"]);
    let job = Job {
        limits: JobLimits { samples: 3, ..JobLimits::default() },
        metric_relabel: vec![
            Relabel::new(RelabelSpec {
                source_labels: vec!["a".to_owned()],
                regex: "[0-2]".to_owned(),
                action: Action::Drop,
                ..RelabelSpec::default()
            })
            .unwrap(),
        ],
        ..test_job()
    };
    for (format, body) in nine(&[], None) {
        assert_eq!(told(&job, format, &body), [["0", "9", "6", "3"], ["0", "9", "6", "0"]], "{format:?}");
    }
}

#[test]
fn one_that_grows_beyond_the_limit_is_counted_to_its_end_too() {
    let mut bench = Bench::new(Job { limits: JobLimits { samples: 2, ..JobLimits::default() }, ..test_job() });
    let text = BodyFormat::Text(TextFormat::Prometheus);
    let mut scrape = |body: &str| {
        let (outcome, written) = bench.answer(Ok(Answer { body: body.as_bytes(), format: text }));
        ((outcome.scraped, outcome.kept, outcome.added), written.len(), bench.held())
    };
    assert_eq!(scrape("a 1\nb 1\n"), ((2, 2, 2), 2, 7));
    assert_eq!(scrape("a 1\nb 1\nc 1\nd 1\n"), ((4, 4, 0), 2, 5), "both end, and nothing is held");
    assert_eq!(scrape("a 1\nb 1\n"), ((2, 2, 0), 2, 7), "they come back and are no news");
    assert_eq!(scrape("a 1\nc 1\n"), ((2, 2, 1), 3, 7));
}

#[test]
fn an_answer_with_a_bad_line_is_counted_up_to_it() {
    let bad = Some(("g{ 5", &[2, 0xff, 0xff][..]));
    check(JobLimits::default(), nine(&[], bad), ["0", "5", "5", "5"], ["0", "5", "5", "0"]);
    let limits = JobLimits { samples: 3, ..JobLimits::default() };
    check(limits.clone(), nine(&[], bad), ["0", "5", "5", "3"], ["0", "5", "5", "0"]);
    let job = Job { limits, ..test_job() };
    let [(format, body), ..] = nine(&[], bad);
    let outcome = Bench::new(job).answer(Ok(Answer { body: &body, format })).0;
    assert!(outcome.told().starts_with("bad answer: line 6"), "what cannot be read is told first: {}", outcome.told());
}

#[test]
fn the_sample_that_breaks_a_label_limit_is_scraped_and_not_kept() {
    let limits = JobLimits { labels: 4, ..JobLimits::default() };
    check(limits, nine(&[("b", "1"), ("c", "2")], None), ["0", "5", "4", "4"], ["0", "5", "4", "0"]);
    let limits = JobLimits { label_name_bytes: 8, ..JobLimits::default() };
    check(limits, nine(&[("much_too_long", "1")], None), ["0", "5", "4", "4"], ["0", "5", "4", "0"]);
}

#[test]
fn a_histogram_that_cannot_be_is_scraped_and_not_kept() {
    // Nine observations, five in its one bucket.
    let histogram =
        [vec![8, 9, 0x28, 0, 0x62, 4, 8, 0, 16, 1, 0x68, 10], vec![0x31], 0.5_f64.to_le_bytes().to_vec()].concat();
    let family = [field(1, b"h"), vec![0x18, 4], field(4, &field(7, &histogram))].concat();
    let message = [vec![family.len() as u8], family].concat();
    let [_, _, (format, body)] = nine(&[], Some(("", &message)));
    let job = Job { native_histograms: true, ..test_job() };
    assert_eq!(told(&job, format, &body), [["0", "6", "5", "5"], ["0", "6", "5", "0"]]);
}

#[test]
fn after_a_failure_only_what_was_not_there_before_is_new() {
    let mut bench = Bench::new(test_job());
    let mut added = |answer: Result<&str, ()>| {
        let format = BodyFormat::Text(TextFormat::Prometheus);
        let answer = answer.map(|text| Answer { body: text.as_bytes(), format }).map_err(|()| ScrapeError::Status(500));
        bench.answer(answer).0.added
    };
    assert_eq!(added(Ok("a 1\nb 1\n")), 2);
    assert_eq!([added(Err(())), added(Err(())), added(Ok("a 1\nc 1\n"))], [0, 0, 1]);
    assert_eq!(added(Ok("a 1\nb 1\n")), 1, "a good answer without `b` was in between");
    assert_eq!(
        [added(Ok("")), added(Ok("")), added(Ok("a 1\nd 1\n"))],
        [0, 0, 1],
        "one without anything counts for none"
    );
}

#[test]
fn bad_answers_leave_a_bounded_memory() {
    let mut bench = Bench::new(test_job());
    let bad = |from: usize| (from..from + 600).map(|i| format!("g{{n=\"{i}\"}} 1\n")).collect::<String>() + "bad\n";
    let mut added = |body: String| {
        let format = BodyFormat::Text(TextFormat::Prometheus);
        bench.answer(Ok(Answer { body: body.as_bytes(), format })).0.added
    };
    assert_eq!([added(bad(0)), added(bad(0)), added(bad(600)), added(bad(600))], [600, 0, 600, 0]);
    assert_eq!(added(bad(0)), 600, "1,000 more than the last good one had are remembered; past that the newest alone");
}

#[test]
fn the_size_of_an_answer_is_told_also_of_one_that_is_no_metrics_and_of_one_too_large_that_it_is() {
    let mut bench = Bench::new(Job { extra_metrics: true, ..test_job() });
    let page = ScrapeError::ContentType { said: "text/html".to_owned(), body_bytes: 131 };
    let text = BodyFormat::Text(TextFormat::Prometheus);
    let bad = Answer { body: b"a nonsense\n", format: text };
    for (answer, size) in [
        (Err(page), "131"),
        (Err(ScrapeError::BodyTooLarge(50)), "-1"),
        (Err(ScrapeError::Status(500)), "0"),
        (Ok(bad), "11"),
    ] {
        block_on(bench.scraper.scraped(&bench.ingest, TimestampMs(1000), Duration::ZERO, answer));
        let written = bench.written();
        assert!(written.contains(&format!("1000 scrape_body_size_bytes{{..}} = {size}")), "{written:?}");
        assert!(written.contains(&"1000 scrape_samples_scraped{..} = 0".to_owned()), "{written:?}");
    }
}
