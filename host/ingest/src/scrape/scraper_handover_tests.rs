//! One target in another's place.

use super::*;

/// The same labels elsewhere.
fn elsewhere(bench: &mut Bench, producer: &str) -> Scraper {
    bench.ingest.register(producer, Labels::empty(), None);
    let job = Job { path: "/elsewhere".to_owned(), ..test_job() };
    std::mem::replace(&mut bench.scraper, Scraper::new(Arc::new(job.clone()), target(&job), producer))
}

/// A target with `a` and `b`, and another that comes in its place.
fn handed_over() -> Bench {
    let mut bench = Bench::new(test_job());
    bench.scrape("a 1\nb 2\n");
    let before = elsewhere(&mut bench, "next");
    block_on(bench.scraper.take_over(&bench.ingest, before, TimestampMs(1500))).unwrap();
    assert_eq!(bench.written(), [""; 0], "nothing ends yet");
    assert!(bench.ingest.producer_stats("t").is_none(), "the other is forgotten");
    bench
}

#[test]
fn series_of_both_go_on_and_those_of_the_first_alone_end_with_the_next_answer() {
    let mut bench = handed_over();
    assert_eq!(bench.scrape("a 3\nc 4\n"), ["2000 a{..} = 3", "2000 c{..} = 4", "2000 b{..} = stale"]);
    assert_eq!(bench.ingest.producer_stats("next").unwrap().series, 2 + 5, "what was taken over does not count");
    assert_eq!(bench.scrape("a 5\nc 6\n"), ["3000 a{..} = 5", "3000 c{..} = 6"]);
}

#[test]
fn all_end_when_the_next_scrape_fails_but_up_goes_on() {
    let mut bench = handed_over();
    block_on(bench.scraper.scraped(&bench.ingest, TimestampMs(2000), Duration::ZERO, Err(ScrapeError::Status(500))));
    let written = bench.written();
    let ends: Vec<_> = written.iter().filter(|l| l.ends_with("stale")).collect();
    assert_eq!(ends, ["2000 a{..} = stale", "2000 b{..} = stale"]);
    assert!(written.contains(&"2000 up{..} = 0".to_owned()), "{written:?}");
}

#[test]
fn one_that_goes_before_it_was_scraped_ends_what_it_took_over() {
    let mut bench = handed_over();
    let next = elsewhere(&mut bench, "another");
    block_on(next.end(&bench.ingest, TimestampMs(2000))).unwrap();
    let written = bench.written();
    assert_eq!(written.len(), 2 + 5, "{written:?}");
    assert!(written.iter().all(|l| l.ends_with("= stale")), "{written:?}");
}

#[test]
fn what_two_had_ends_once() {
    let mut bench = handed_over();
    bench.scrape("b 3\n");
    let before = elsewhere(&mut bench, "another");
    bench.scrape("b 4\n");
    bench.scraper.reconfigure(Arc::new(test_job()), target(&test_job()));
    block_on(bench.scraper.take_over(&bench.ingest, before, TimestampMs(2600))).unwrap();
    assert_eq!(bench.scrape("a 1\n"), ["4000 a{..} = 1", "4000 b{..} = stale"]);
}
