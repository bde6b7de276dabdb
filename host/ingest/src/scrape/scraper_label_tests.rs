use super::*;

#[test]
fn labels_of_the_target_win_unless_the_job_honors_its_own() {
    let text = "a{job=\"x\",exported_job=\"y\",instance=\"i\",other=\"z\"} 1\n";
    assert_eq!(
        Bench::new(test_job()).scrape(text),
        [r#"1000 a{exported_exported_job="x", exported_instance="i", exported_job="y", instance="h:1", job="node", other="z"} = 1"#
            .replace(r#"instance="h:1", job="node""#, "..")]
    );
    let mut honest = Bench::new(Job { honor_labels: true, ..test_job() });
    assert_eq!(honest.scrape(text), [r#"1000 a{exported_job="y", instance="i", job="x", other="z"} = 1"#]);
}

#[test]
fn an_empty_label_that_is_honored_keeps_ours_off() {
    let text = "a{instance=\"\",job=\"backup\"} 1\n";
    let mut honest = Bench::new(Job { honor_labels: true, ..test_job() });
    assert_eq!(honest.scrape(text), [r#"1000 a{job="backup"} = 1"#]);
    assert_eq!(Bench::new(test_job()).scrape(text), [r#"1000 a{exported_job="backup", ..} = 1"#]);
}

/// What Prometheus 3.5 makes of it.
#[test]
fn the_shortest_name_makes_way_first() {
    let job = test_job();
    let group = Group { addresses: vec!["h:1".to_owned()], labels: Labels::from_pairs([("exported_job", "t")]) };
    let mut bench = Bench::new(job.clone());
    bench.scraper.reconfigure(Arc::new(job.clone()), Targets::of(&job, &[group]).active.remove(0));
    assert_eq!(
        bench.scrape("c{exported_job=\"q\",job=\"z\"} 1\n"),
        [r#"1000 c{exported_exported_exported_job="q", exported_exported_job="z", exported_job="t", .."#.to_owned()
            + "} = 1"]
    );
}
