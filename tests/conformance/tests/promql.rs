//! Prometheus' own query scripts. `FLOOR` is what passes today: it is raised when more passes, never lowered. Further
//! scripts that lie beside them are run as well, and told of.

use std::path::{Path, PathBuf};

use belfry_conformance::promqltest;

/// Script, evaluations that pass.
const FLOOR: &[(&str, usize)] = &[
    ("aggregators.test", 160),
    ("collision.test", 2),
    ("functions.test", 431),
    ("histograms.test", 185),
    ("literals.test", 25),
    ("native_histograms.test", 522),
    ("operators.test", 214),
    ("range_queries.test", 18),
    ("selectors.test", 31),
    ("staleness.test", 17),
    ("subquery.test", 34),
    ("trig_functions.test", 19),
];

#[test]
fn prometheus_scripts_pass_at_least_as_far_as_before() {
    let Some(data) = belfry_conformance::data() else {
        belfry_conformance::skipped("BELFRY_CONFORMANCE_DATA is not set");
        return;
    };
    let verbose = std::env::var_os("BELFRY_CONFORMANCE_VERBOSE").is_some();
    let (mut passed, mut total, mut fallen) = (0, 0, Vec::new());
    for (file, floor) in FLOOR {
        let path = data.join("promqltest").join(file);
        let report = promqltest::run(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        println!("{file}: {}/{}", report.passed, report.total);
        if verbose {
            report.failures.iter().for_each(|f| println!("  {f}"));
        }
        passed += report.passed;
        total += report.total;
        if report.passed < *floor {
            fallen.push(format!("{file}: {} pass, {floor} did before", report.passed));
        }
    }
    println!("all: {passed}/{total}");
    for path in further(&data.join("promqltest")) {
        let report = promqltest::run(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        println!("{}: {}/{}", path.display(), report.passed, report.total);
        report.failures.iter().for_each(|f| println!("  {f}"));
    }
    assert!(fallen.is_empty(), "{fallen:#?}");
}

/// Scripts that have no floor.
fn further(folder: &Path) -> Vec<PathBuf> {
    let all = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path());
    let known = |p: &PathBuf| FLOOR.iter().any(|(file, _)| p.ends_with(file));
    let mut out: Vec<PathBuf> = all.filter(|p| p.extension().is_some_and(|e| e == "test") && !known(p)).collect();
    out.sort();
    out
}
