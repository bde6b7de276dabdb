//! Rule files beside what `belfry rules check` says of them: `tests/golden/rules/lints/NAME.yml` and `NAME.out`, at least
//! one for each lint. A first line `# facts: scrape_interval=30s metrics=a,b` says what is known besides.
//! `BELFRY_BLESS=1` writes the outputs anew; read them before committing.
#![allow(clippy::print_stderr, reason = "what is skipped, and how much was found, is said")]

use std::path::{Path, PathBuf};

use belfry_model::duration::parse_duration;
use belfry_rules::check::{Facts, LINTS, check};
use belfry_rules::file;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/rules/lints")
}

fn facts(text: &str) -> Facts {
    let mut facts = Facts::default();
    let line = text.lines().next().and_then(|l| l.strip_prefix("# facts: ")).unwrap_or("");
    for (name, value) in line.split_whitespace().filter_map(|f| f.split_once('=')) {
        match name {
            "scrape_interval" => facts.scrape_interval = parse_duration(value).ok(),
            "evaluation_interval" => facts.evaluation_interval = parse_duration(value).ok(),
            "metrics" => facts.metrics = Some(value.split(',').map(str::to_owned).collect()),
            other => panic!("unknown fact {other}"),
        }
    }
    facts
}

fn said(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let parsed = file::parse(&text, &name).unwrap_or_else(|p| panic!("{name} is no rule file: {p:?}"));
    let found = check(&[parsed], &[&text], &facts(&text)).remove(0);
    found.iter().map(|f| f.in_file(&name) + "\n").collect()
}

#[test]
fn every_lint_says_exactly_this() {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder()).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "yml"));
    files.sort();
    let mut wrong = String::new();
    for path in files {
        let (got, out) = (said(&path), path.with_extension("out"));
        if std::env::var_os("BELFRY_BLESS").is_some() {
            std::fs::write(&out, &got).unwrap();
        }
        let want = std::fs::read_to_string(&out).unwrap_or_else(|_| "(no file)".to_owned());
        if got != want {
            wrong.push_str(&format!("== {}\n-- expected\n{want}-- got\n{got}", path.file_name().unwrap().display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_lint_has_a_file_in_which_it_speaks() {
    for (lint, _) in LINTS {
        let out = std::fs::read_to_string(folder().join(format!("{lint}.out"))).unwrap_or_default();
        assert!(out.contains(&format!("[{lint}]")), "no {lint}.yml in which it is found");
    }
}

/// Rule files that others use and have looked after: what is found there is looked at by hand.
#[test]
fn files_in_wide_use_are_hardly_complained_about() {
    let Some(data) = std::env::var_os("BELFRY_CONFORMANCE_DATA") else {
        return belfry_testkit::skipped("BELFRY_CONFORMANCE_DATA is not set");
    };
    let mut rules = 0;
    let mut found = Vec::new();
    for entry in std::fs::read_dir(Path::new(&data).join("rules")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let parsed = file::parse(&text, &name).unwrap_or_else(|p| panic!("{name}: {p:?}"));
        rules += parsed.groups.iter().map(|g| g.rules.len()).sum::<usize>();
        for f in check(&[parsed], &[&text], &Facts::default()).remove(0) {
            found.push((f.lint, f.in_file(&name)));
        }
    }
    // A missing `for` is a matter of taste in some of them.
    let serious: Vec<&String> = found.iter().filter(|(l, _)| *l != "missing-for").map(|(_, text)| text).collect();
    eprintln!("{rules} rules, {} findings, {} besides missing-for", found.len(), serious.len());
    assert!(rules > 100, "the rule files are gone");
    assert!(!found.iter().any(|(l, _)| *l == "never-true"), "{serious:#?}");
    if std::env::var_os("BELFRY_SHOW").is_some() {
        eprintln!("{serious:#?}");
    }
}
