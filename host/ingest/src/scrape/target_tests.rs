use super::*;
use crate::relabel::{Action, Relabel, RelabelSpec};
use crate::scrape::test_job as job;

fn group(addresses: &[&str], labels: &[(&str, &str)]) -> Group {
    Group {
        addresses: addresses.iter().map(|a| (*a).to_owned()).collect(),
        labels: Labels::from_pairs(labels.iter().copied()),
    }
}

fn rule(source: &str, target: &str, replacement: &str) -> Relabel {
    Relabel::new(RelabelSpec {
        source_labels: vec![source.to_owned()],
        target_label: target.to_owned(),
        replacement: replacement.to_owned(),
        ..RelabelSpec::default()
    })
    .unwrap()
}

#[test]
fn a_target_has_job_instance_and_the_labels_of_its_group() {
    let targets =
        Targets::of(&job(), &[group(&["localhost:9100", "[::1]:9100"], &[("env", "prod"), ("__meta_x", "y")])]);
    let told: Vec<_> = targets.active.iter().map(|t| format!("{} {}", t.url, t.labels)).collect();
    assert_eq!(
        told,
        [
            r#"http://localhost:9100/metrics {env="prod", instance="localhost:9100", job="node"}"#,
            r#"http://[::1]:9100/metrics {env="prod", instance="[::1]:9100", job="node"}"#,
        ]
    );
    assert_eq!(targets.active[0].discovered.get("__meta_x"), Some("y"));
    assert_eq!(targets.active[0].discovered.get("__scrape_interval__"), Some("10s"));
}

/// What a blackbox exporter needs: the address becomes a parameter.
#[test]
fn relabelling_reaches_address_scheme_path_and_parameters() {
    let mut job = job();
    job.params = [("module".to_owned(), vec!["http_2xx".to_owned(), "more".to_owned()])].into();
    job.relabel = vec![
        rule("__address__", "__param_target", "https://$1/ä?"),
        rule("__param_target", "instance", "$1"),
        rule("none", "__address__", "probe:9115"),
        rule("none", "__scheme__", "https"),
        rule("none", "__metrics_path__", "/probe"),
        rule("none", "__param_module", "tcp"),
        rule("none", "__scrape_interval__", "1m"),
    ];
    let targets = Targets::of(&job, &[group(&["example.org"], &[])]);
    assert_eq!(targets.failed, []);
    let target = &targets.active[0];
    assert_eq!(
        target.url.as_str(),
        "https://probe:9115/probe?module=tcp&module=more&target=https%3A%2F%2Fexample.org%2F%C3%A4%3F"
    );
    assert_eq!(target.labels.get("instance"), Some("https://example.org/ä?"));
    assert_eq!(target.interval, Duration::from_secs(60));
}

#[test]
fn what_is_dropped_or_cannot_be_scraped_is_told() {
    let mut job = job();
    let drop = RelabelSpec {
        source_labels: vec!["__address__".to_owned()],
        regex: "secret.*".to_owned(),
        action: Action::Drop,
        ..RelabelSpec::default()
    };
    job.relabel = vec![Relabel::new(drop).unwrap(), rule("bad", "__scheme__", "$1")];
    let found = [
        group(&["secret:1", "ok:1", "ok:1", "http://ok:1", "a b:1", ":1"], &[("bad", "http")]),
        group(&["ftp:1"], &[("bad", "ftp")]),
    ];
    let targets = Targets::of(&job, &found);
    assert_eq!(targets.active.len(), 1, "the same target twice is one");
    assert_eq!(targets.dropped.len(), 1);
    let reasons: Vec<_> = targets.failed.iter().map(|f| f.1.as_str()).collect();
    assert_eq!(
        reasons,
        [
            "`http://ok:1` is no address: it must be host:port, without scheme and path",
            "`a b:1` is no address: write it like host:port or [::1]:port",
            "`:1` is no address: write it like host:port or [::1]:port",
            "`__scheme__` is `ftp`: only http and https can be scraped",
        ]
    );
}

#[test]
fn targets_beyond_the_limit_are_listed_up_to_a_bound_and_all_are_refused() {
    let addresses: Vec<String> = (0..TARGETS_OVER_MAX + 10).map(|n| format!("h{n}:1")).collect();
    let found = |n: usize, limit: u64| {
        let mut job = job();
        job.limits.targets = limit;
        let group = Group { addresses: addresses[..n].to_vec(), labels: Labels::empty() };
        let mut targets = Targets::of(&job, &[group]);
        let refused = targets.refuse(&job).map(|e| e.to_string());
        (targets.active.len(), refused)
    };
    assert_eq!((found(2, 0), found(2, 2)), ((2, None), (2, None)));
    let told = |n: usize, limit: u64| {
        Some(format!("target limit exceeded: the job has {n} targets, and its `limits.targets` is {limit}"))
    };
    assert_eq!(found(3, 2), (3, told(3, 2)));
    assert_eq!(found(TARGETS_OVER_MAX + 10, 2), (TARGETS_OVER_MAX + 2, told(TARGETS_OVER_MAX + 10, 2)));
}

#[test]
fn a_key_is_the_same_after_a_restart_and_differs_between_targets() {
    let found = [group(&["a:1", "b:1"], &[])];
    let (one, two) = (Targets::of(&job(), &found), Targets::of(&job(), &found));
    assert_eq!(one.active[0].key(), two.active[0].key());
    assert_ne!(one.active[0].key(), one.active[1].key());
}

/// Each as Prometheus 3.5 asks it.
#[test]
fn a_path_is_text_and_none_is_the_root() {
    let asked = |path: &str| {
        let job = Job { relabel: vec![rule("path", "__metrics_path__", "$1")], ..job() };
        let targets = Targets::of(&job, &[group(&["h:1"], &[("path", path)])]);
        targets.active[0].url.path().to_owned()
    };
    for (path, sent) in [
        ("", "/"),
        ("a", "/a"),
        ("/a%2Fb", "/a%252Fb"),
        ("/%", "/%25"),
        ("/a b", "/a%20b"),
        ("/ä", "/%C3%A4"),
        ("/x?y=1#z", "/x%3Fy=1%23z"),
        ("\\x", "/%5Cx"),
        ("//x", "//x"),
        ("/a;b,c:d@e&f=g+h$i!j*k'l(m)n~o", "/a;b,c:d@e&f=g+h$i%21j%2Ak%27l%28m%29n~o"),
        ("/a[b]|d^e`f{g}\"<h>", "/a%5Bb%5D%7Cd%5Ee%60f%7Bg%7D%22%3Ch%3E"),
    ] {
        assert_eq!(asked(path), sent, "{path}");
    }
    let empty = Targets::of(&job(), &[group(&["h:1"], &[("__metrics_path__", "")])]);
    assert_eq!(empty.active[0].url.path(), "/metrics", "a group's empty label says nothing");
}

/// A URL makes addresses of these; they are names to Prometheus, and nobody has such a name.
#[test]
fn a_number_that_is_no_address_is_a_name_that_nobody_has() {
    let numbers = ["1.2.3:9", "173", "0x7f.1:9", "999.1.1.1:9", "1.2.3.4.5", "127.0.0.01:9", "%31.2.3:9"];
    let targets = Targets::of(&job(), &[group(&numbers, &[])]);
    assert_eq!(targets.failed, []);
    for (target, address) in targets.active.iter().zip(numbers) {
        assert_eq!(target.shown_url(), format!("http://{address}/metrics"));
        assert_eq!(target.labels.get("instance"), Some(address));
        let host = address.strip_suffix(":9").unwrap_or(address);
        let why = target.unreachable().map(|e| e.to_string());
        assert_eq!(why, Some(format!("cannot connect: there is no host `{host}`")));
    }
    let keys: BTreeSet<u64> = targets.active.iter().map(|t| t.key()).collect();
    assert_eq!(keys.len(), numbers.len());
    let there = ["127.0.0.1:9", "1.2.3.4", "[::1]:9", "[::ffff:1.2.3.4]:9", "h1:9", "1.2.3.example:9"];
    let targets = Targets::of(&job(), &[group(&there, &[])]);
    assert_eq!(targets.active.iter().filter(|t| t.unreachable().is_none()).count(), there.len());
    let bad = Targets::of(&job(), &[group(&["1.2.3:x", "1.2.3?x:9", "u@1.2.3:9", "1.2.3#x"], &[])]);
    assert_eq!(bad.failed.len(), 4);
}
