//! The rules of docs/ARCHITECTURE.md as a test: which crate may use which, and what must never meet.
#![allow(clippy::print_stderr, reason = "file sizes are reported, not enforced")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Adding an edge is an architecture change: edit docs/ARCHITECTURE.md too.
const ALLOWED: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("promql", &["model"]),
    ("store", &["model"]),
    ("state", &["model"]),
    ("config", &["model", "promql", "template"]),
    ("plugin", &["model", "client"]),
    ("client", &[]),
    ("prompb", &["model"]),
    ("ingest", &["model", "store", "client"]),
    ("remote", &["model", "store", "client", "prompb"]),
    ("rules", &["model", "promql", "template"]),
    ("notify", &["model"]),
    ("reports", &["model", "promql"]),
    ("dashboard", &["model", "promql", "prompb"]),
    ("template", &["model"]),
    ("testkit", &["model"]),
    (
        "belfry",
        &[
            "model",
            "promql",
            "store",
            "state",
            "config",
            "plugin",
            "ingest",
            "rules",
            "notify",
            "reports",
            "dashboard",
            "template",
            "remote",
            "client",
        ],
    ),
];

/// A library that may be used by these crates only (`belfry` wires, and may use all but wasmtime).
const ONLY_IN: &[(&str, &[&str])] = &[
    ("wasmtime", &["plugin"]),
    ("axum", &["dashboard", "ingest", "belfry"]),
    ("toml", &["config", "belfry"]),
    ("granit-parser", &["rules", "config"]),
    ("rusqlite", &["state"]),
    ("lettre", &["plugin"]),
    ("hyper", &["plugin", "dashboard", "ingest", "remote"]),
    ("sysinfo", &["plugin"]),
    ("webpki-roots", &["client"]),
    ("rustls-native-certs", &["client"]),
];

/// No real clock, no threads, no files, no network in what decides.
const PURE: &[&str] = &["promql", "rules", "notify", "reports"];
const IMPURE: &[&str] =
    &["SystemTime::now", "Instant::now", "std::fs", "std::net", "std::thread", "tokio::", "Timestamp::now"];

/// A file that passes this is two things (docs/ARCHITECTURE.md).
const FILE_LINES_MAX: usize = 800;

#[test]
fn crates_depend_only_on_what_the_map_allows() {
    let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    let mut wrong = Vec::new();
    for (name, dependencies) in crates() {
        let Some(may) = allowed.get(name.as_str()) else {
            wrong.push(format!("host/{name} is not in the map"));
            continue;
        };
        for d in &dependencies {
            if let Some(other) = d.strip_prefix("belfry-")
                && !may.contains(&other)
            {
                wrong.push(format!("{name} → {other}"));
            }
            if let Some((_, only)) = ONLY_IN.iter().find(|(lib, _)| lib == d)
                && !only.contains(&name.as_str())
            {
                wrong.push(format!("{name} uses {d}, which belongs to {only:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "not allowed: {wrong:#?}");
}

#[test]
fn the_map_names_exactly_the_crates_there_are() {
    let map = std::fs::read_to_string(root().join("docs/ARCHITECTURE.md")).expect("docs/ARCHITECTURE.md");
    let named: BTreeSet<String> =
        map.lines().filter_map(|l| l.strip_prefix("| `host/")?.split('`').next().map(str::to_owned)).collect();
    let there: BTreeSet<String> = crates().into_keys().collect();
    assert_eq!(named, there, "the table of crates in docs/ARCHITECTURE.md and the folders of host/ differ");
}

#[test]
fn what_decides_knows_no_clock_and_does_no_io() {
    let mut wrong = Vec::new();
    for name in PURE {
        let sources = rust_files(&root().join("host").join(name).join("src"));
        // A test may read its golden files.
        for file in
            sources.into_iter().filter(|f| !f.file_stem().is_some_and(|s| s.to_string_lossy().ends_with("tests")))
        {
            let text = std::fs::read_to_string(&file).expect("source");
            for (n, line) in code_lines(&text) {
                if let Some(word) = IMPURE.iter().find(|w| line.contains(**w)) {
                    wrong.push(format!("{}:{n}: {word}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "not pure: {wrong:#?}");
}

#[test]
fn guests_and_host_meet_only_in_the_contract() {
    for folder in ["sdk", "plugins", "examples", "tests/guests"] {
        for manifest in files(&root().join(folder), "toml").filter(|p| p.ends_with("Cargo.toml")) {
            let text = std::fs::read_to_string(&manifest).expect("manifest");
            assert!(!text.contains("host/"), "{} reaches into host/", manifest.display());
        }
    }
}

#[test]
fn no_file_is_two_things() {
    let mut sizes: Vec<(usize, PathBuf)> = ["host", "xtask", "tests", "sdk", "plugins"]
        .iter()
        .flat_map(|f| rust_files(&root().join(f)))
        .map(|f| (std::fs::read_to_string(&f).expect("source").lines().count(), f))
        .collect();
    sizes.sort();
    for (lines, file) in sizes.iter().rev().take(5) {
        eprintln!("{lines:>5} {}", file.display());
    }
    let over: Vec<_> = sizes.iter().filter(|(lines, _)| *lines > FILE_LINES_MAX).collect();
    assert!(over.is_empty(), "over {FILE_LINES_MAX} lines: {over:#?}");
}

#[test]
fn a_test_says_in_one_way_that_it_is_skipped() {
    let one = root().join("host/testkit/src/peers.rs");
    let tests = ["host", "plugins", "sdk", "tests"].into_iter().filter(|f| root().join(f).is_dir());
    for file in tests.flat_map(|f| rust_files(&root().join(f))).filter(|f| *f != one) {
        // A program that measures, and says itself what it leaves out.
        if file.starts_with(root().join("tests/bench")) {
            continue;
        }
        let text = std::fs::read_to_string(&file).expect("source");
        let of_its_own =
            ["\"BELFRY_PEERS\"", "SKIPPED", "\"skipped: ", "\"left out: "].into_iter().find(|w| text.contains(w));
        assert_eq!(of_its_own, None, "{}: use belfry_testkit::{{peer, skipped}}", file.display());
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is in the checkout")
}

/// Folder under host/ → what its Cargo.toml lists under `[dependencies]`.
fn crates() -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(root().join("host")).expect("host/").flatten() {
        let Ok(text) = std::fs::read_to_string(entry.path().join("Cargo.toml")) else { continue };
        let section = text.split("\n[dependencies]").nth(1).unwrap_or_default();
        let section = section.split("\n[").next().unwrap_or_default();
        let names = section.lines().filter_map(|l| {
            let name = l.split(['=', '.', ' ']).next()?.trim();
            (!name.is_empty() && !name.starts_with('#')).then(|| name.to_owned())
        });
        all.insert(entry.file_name().to_string_lossy().into_owned(), names.collect());
    }
    all
}

/// Lines of code, numbered from 1: no comments, and nothing after a file's own tests begin.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(n, l)| (n + 1, l))
        .take_while(|(_, l)| l.trim() != "#[cfg(test)]")
        .filter(|(_, l)| !l.trim_start().starts_with("//"))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    files(folder, "rs").collect()
}

fn files(folder: &Path, extension: &'static str) -> impl Iterator<Item = PathBuf> + use<> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name();
            if path.is_dir() {
                if !["target", "node_modules", "dist", ".git"].iter().any(|skip| name == *skip) {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|e| e == extension) {
                found.push(path);
            }
        }
    }
    found.into_iter()
}
