//! Rule files of others: all of them load, and every expression evaluates in the groups' own organ.

use std::collections::BTreeSet;
use std::time::Duration;

use belfry_model::read::Cancel;
use belfry_model::{Labels, METRIC_NAME, Organ as _, TimestampMs};
use belfry_promql::{PointValue, Query, QueryLimits, QueryTime, QueryValue, VectorPoint};
use belfry_rules::file;
use belfry_rules::groups::{Defaults, GroupSpec, Groups, GroupsEffect, GroupsInput, Health, Job, NoQueries, Row};
use belfry_testkit::MemorySeries;

const NOW: TimestampMs = TimestampMs(1_700_000_000_000);

fn defaults() -> Defaults {
    Defaults {
        interval: Duration::from_secs(60),
        query_offset: Duration::ZERO,
        external_labels: Labels::empty(),
        external_url: "http://belfry".to_owned(),
    }
}

/// A rising series for every word of an expression that could be a metric, so that something comes out of most.
fn something(expressions: &[&str]) -> MemorySeries {
    let word = regex::Regex::new("[a-zA-Z_:][a-zA-Z0-9_:]*").expect("a pattern");
    let words: BTreeSet<&str> = expressions.iter().flat_map(|e| word.find_iter(e)).map(|m| m.as_str()).collect();
    let mut series = MemorySeries::new();
    let values: Vec<f64> = (0..120).map(|n| f64::from(n) * 1e3).collect();
    for name in words {
        let labels = [(METRIC_NAME, name), ("instance", "i"), ("job", "j"), ("namespace", "monitoring"), ("le", "1")];
        series.push_floats(&Labels::from_pairs(labels), TimestampMs(NOW.0 - 3_600_000), 30_000, &values);
    }
    series
}

fn evaluate(runtime: &tokio::runtime::Runtime, series: &MemorySeries, job: &Job) -> Result<Vec<Row>, String> {
    let query = Query::parse(&job.rule.expr, QueryTime::Instant(job.query_at), QueryLimits::default());
    let query = query.map_err(|e| e.to_string())?;
    let fetched = runtime.block_on(query.fetch(series)).map_err(|e| e.to_string())?;
    let points = match fetched.evaluate(&Cancel::default()).map_err(|e| e.to_string())?.value {
        QueryValue::Vector(points) => points,
        QueryValue::Scalar(at, v) => vec![VectorPoint { labels: Labels::empty(), at, value: PointValue::Float(v) }],
        _ => return Err("neither a vector nor a scalar".to_owned()),
    };
    job.rule.rows(points, &NoQueries, job.at)
}

#[test]
fn all_rule_files_load_and_their_expressions_evaluate() {
    let Some(data) = belfry_conformance::data() else {
        belfry_conformance::skipped("BELFRY_CONFORMANCE_DATA is not set");
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let (mut files, mut rules, mut alerts) = (0, 0, 0);
    let folder = data.join("rules");
    for entry in std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())).flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("a text");
        let file = file::parse(&text, &name).unwrap_or_else(|problems| {
            panic!("{}", problems.iter().map(|p| p.in_file(&name)).collect::<Vec<_>>().join("\n"))
        });
        let expressions: Vec<&str> = file.groups.iter().flat_map(|g| &g.rules).map(|r| r.expr.as_str()).collect();
        let series = something(&expressions);
        let mut organ = Groups::new(Vec::new(), Vec::new());
        let groups = GroupSpec::of_file(&file, &defaults());
        let mut now = NOW;
        let mut inputs = vec![GroupsInput::Configure { groups, unread: Vec::new() }];
        // Long enough that every group comes round.
        while now < NOW + Duration::from_secs(300) {
            for effect in organ.step(now, std::mem::take(&mut inputs)) {
                if let GroupsEffect::Evaluate(job) = effect {
                    let outcome = evaluate(&runtime, &series, &job);
                    inputs.push(GroupsInput::Evaluated {
                        group: job.group,
                        serial: job.serial,
                        took: Duration::ZERO,
                        outcome,
                    });
                }
            }
            if inputs.is_empty() {
                now = organ.next_due().expect("groups").max(now);
            }
        }
        for group in organ.snapshot() {
            for rule in &group.rules {
                assert!(rule.evaluations > 0, "{name}: {} was not evaluated", rule.spec.name);
                // One series a metric: what joins and groups must find it, so that only labels can collide.
                if let Health::Bad(reason) = &rule.health {
                    panic!("{name}: {}: {reason}", rule.spec.name);
                }
                rules += 1;
                alerts += rule.alerts.len();
            }
        }
        files += 1;
    }
    println!("{files} files, {rules} rules, {alerts} alerts");
    assert!(files > 0 && rules > 0 && alerts > 0);
}
