//! Prometheus' own query scripts. `FLOOR` is what passes today: it is raised when more passes, never lowered.

use belfry_conformance::promqltest;

/// Script, evaluations that pass.
const FLOOR: &[(&str, usize)] = &[
    ("aggregators.test", 0),
    ("collision.test", 0),
    ("functions.test", 0),
    ("histograms.test", 0),
    ("literals.test", 0),
    ("native_histograms.test", 0),
    ("operators.test", 0),
    ("range_queries.test", 0),
    ("selectors.test", 0),
    ("staleness.test", 0),
    ("subquery.test", 0),
    ("trig_functions.test", 0),
];

#[test]
fn prometheus_scripts_pass_at_least_as_far_as_before() {
    let Some(data) = belfry_conformance::data() else {
        println!("skipped: BELFRY_CONFORMANCE_DATA is not set");
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
    assert!(fallen.is_empty(), "{fallen:#?}");
}
