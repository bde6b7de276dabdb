//! The document against the router, the types and their values.

use std::collections::BTreeSet;

use belfry_model as model;
use schemars::JsonSchema;
use serde::Serialize;

use super::*;
use crate::dto::*;

/// The source of each module that has routes, and what stands before their paths.
const SOURCES: &[(&str, &str, &str)] = &[
    ("api", "", include_str!("../api.rs")),
    ("federate", "", include_str!("../federate.rs")),
    ("events", "", include_str!("../events.rs")),
    ("manage", "", include_str!("../manage.rs")),
    ("operate", "", include_str!("../operate.rs")),
    ("openapi", "", include_str!("../openapi.rs")),
    ("slos", "", include_str!("../slos.rs")),
    ("prometheus", "/api/v1", include_str!("../prometheus.rs")),
    ("prometheus_rules", "/api/v1", include_str!("../prometheus_rules.rs")),
    ("prometheus_status", "/api/v1", include_str!("../prometheus_status.rs")),
    ("prometheus_targets", "/api/v1", include_str!("../prometheus_targets.rs")),
    ("remote_read", "/api/v1", include_str!("../remote_read.rs")),
];

/// Method and path of each `.route("…", get(…).post(…))`: axum's router cannot be asked.
fn routes_in(source: &str, prefix: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for call in source.split(".route(").skip(1) {
        let call = call.split("\n}").next().unwrap();
        let path = call.split('"').nth(1).unwrap();
        for method in ["get", "post", "put", "delete", "patch"] {
            if call.contains(&format!(" {method}(")) || call.contains(&format!(".{method}(")) {
                found.insert(format!("{method} {prefix}{path}"));
            }
        }
    }
    found
}

fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            all.push((method.clone(), path.clone(), operation.clone()));
        }
    }
    all
}

#[test]
fn it_describes_exactly_the_routes_of_the_router() {
    let router: BTreeSet<String> = SOURCES.iter().flat_map(|(_, prefix, source)| routes_in(source, prefix)).collect();
    let described: BTreeSet<String> =
        operations(&description()).into_iter().map(|(method, path, _)| format!("{method} {path}")).collect();
    assert_eq!(router, described);
}

#[test]
fn no_module_with_routes_is_left_out_of_that_comparison() {
    let merged: BTreeSet<&str> = include_str!("../lib.rs")
        .split("::routes()")
        .filter_map(|before| before.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_').next())
        .filter(|name| !name.is_empty())
        .collect();
    assert_eq!(merged, SOURCES.iter().map(|(name, ..)| *name).collect());
}

fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|v| references(v, found));
        }
        Value::Array(items) => items.iter().for_each(|v| references(v, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_to_a_schema_and_every_schema_is_referred_to() {
    let document = description();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let there: BTreeSet<String> = schemas.keys().map(|name| format!("#{COMPONENTS}/{name}")).collect();
    assert_eq!(found, there.iter().map(String::as_str).collect());
    assert!(!document.to_string().contains("$defs"));
}

#[test]
fn every_json_answer_has_a_schema() {
    for (method, path, operation) in operations(&description()) {
        for (status, response) in operation["responses"].as_object().unwrap() {
            let Some(content) = response["content"].get(JSON) else { continue };
            let schema = content["schema"].as_object().unwrap();
            assert!(!schema.is_empty() || path == "/api/openapi.json", "{method} {path} {status}");
        }
    }
}

#[test]
fn operations_have_names_of_their_own() {
    let all = operations(&description());
    let names: BTreeSet<&str> = all.iter().map(|(.., o)| o["operationId"].as_str().unwrap()).collect();
    assert_eq!(names.len(), all.len());
}

#[test]
fn parameters_of_the_path_are_those_in_the_path() {
    for route in ROUTES {
        let told: BTreeSet<&str> = route.parameters.iter().filter(|p| p.place == "path").map(|p| p.name).collect();
        let there: BTreeSet<&str> = route.path.split('{').skip(1).map(|rest| rest.split('}').next().unwrap()).collect();
        assert_eq!(told, there, "{}", route.path);
    }
}

/// Name and whether it is needed.
fn members<T: JsonSchema>() -> BTreeSet<(String, bool)> {
    let schema = schemars::schema_for!(T).to_value();
    let needed = |name: &str| schema["required"].as_array().is_some_and(|all| all.iter().any(|n| n == name));
    schema["properties"].as_object().unwrap().keys().map(|name| (name.clone(), needed(name))).collect()
}

#[test]
fn parameters_are_those_that_the_routes_read() {
    for (path, read) in [
        ("/api/metrics", members::<MetricsQuery>()),
        ("/api/timeseries", members::<TimeSeriesQuery>()),
        ("/api/reports/archive", members::<ArchiveQuery>()),
    ] {
        let route = ROUTES.iter().find(|r| r.path == path).unwrap();
        let told = route.parameters.iter().map(|p| (p.name.to_owned(), p.required)).collect();
        assert_eq!(read, told, "{path}");
    }
}

/// Checks values against the schema that the document has for their type.
struct Checker(Value);

impl Checker {
    #[track_caller]
    fn check<T: Serialize + JsonSchema>(&self, value: &T) {
        let name = T::schema_name();
        assert!(self.0["components"]["schemas"].get(&*name).is_some(), "{name} is not in the document");
        let schema = json!({"$ref": format!("#{COMPONENTS}/{name}"), "components": self.0["components"]});
        let validator = jsonschema::validator_for(&schema).unwrap();
        let value = serde_json::to_value(value).unwrap();
        let problems: Vec<String> = validator.iter_errors(&value).map(|e| e.to_string()).collect();
        assert!(problems.is_empty(), "{name}: {problems:#?}\n{value:#}");
        assert!(!validator.is_valid(&json!(["no such thing"])), "{name} takes anything");
    }
}

fn alert(state: model::AlertState, severity: model::Severity) -> AlertView {
    let labels = model::Labels::from_pairs([("alertname", "hot"), ("core", "0")]);
    AlertView {
        fingerprint: model::Fingerprint::of(&labels),
        rule: "hot".into(),
        severity,
        state,
        value: None,
        condition: "> 90".into(),
        active_since_ms: model::TimestampMs(1_000),
        fired_ms: Some(model::TimestampMs(2_000)),
        resolved_ms: None,
        labels,
        annotations: model::Labels::default(),
        deliveries: vec![DeliveryView::default()],
    }
}

#[test]
fn values_are_as_their_schemas_say() {
    let checker = Checker(description());
    checker.check(&Overview {
        charts: vec![ChartSpec { min: Some(0.0), ..ChartSpec::default() }],
        points: vec![ChartPoints { values: vec![LabelledValue::default()], ..ChartPoints::default() }],
        notices: vec![Notice::default()],
        ..Overview::default()
    });
    let metric = CurrentMetric {
        kind: model::MetricKind::StateSet,
        series: vec![CurrentValue::default()],
        ..Default::default()
    };
    checker.check(&CurrentMetrics {
        sources: vec![SourceMetrics { metrics: vec![metric, CurrentMetric::default()], ..Default::default() }],
        ..Default::default()
    });
    checker.check(&Source { recent_pull_seconds: vec![None, Some(0.5)], ..Source::default() });
    checker.check(&TimeSeries {
        series: vec![BucketedSeries { points: vec![(0, Some(1.0)), (10_000, None)], ..Default::default() }],
        ..TimeSeries::default()
    });
    for state in [
        model::AlertState::Inactive,
        model::AlertState::Pending,
        model::AlertState::Firing,
        model::AlertState::Resolved,
    ] {
        let alerts = model::Severity::ALL.map(|severity| alert(state, severity)).to_vec();
        checker.check(&Alerts { alerts, ..Alerts::default() });
    }
    let gone = alert(model::AlertState::Resolved, model::Severity::Info);
    checker.check(&AlertEpisodeView {
        rule: gone.rule,
        severity: gone.severity,
        labels: gone.labels.clone(),
        started_ms: gone.active_since_ms,
        fired_ms: gone.fired_ms,
        resolved_ms: None,
    });
    checker.check(&RuleView {
        name: "hot".into(),
        kind: "threshold".into(),
        group: None,
        file: None,
        enabled: true,
        description: String::new(),
        query: "cpu > 90".into(),
        duration_seconds: 60.0,
        severity: gone.severity,
        labels: gone.labels,
        state: gone.state,
        active: 0,
        last_evaluation_ms: None,
        last_duration_seconds: Some(0.001),
        last_error: None,
    });
    let alert = SloAlert {
        severity: "page".into(),
        window: "1h".into(),
        query: "slo:burn_rate > 14.4".into(),
        state: model::AlertState::Firing,
        active: vec![model::Fingerprint(7)],
        error: None,
    };
    let recorded = vec![SloRecorded { window: Some("1h".into()), ..SloRecorded::default() }, SloRecorded::default()];
    let detail = SloDetail { alerts: vec![alert], recorded, ..SloDetail::default() };
    let burns = vec![SloBurn { long_rate: Some(2.0), ..SloBurn::default() }];
    let series = vec![SloSeries { burns, ..SloSeries::default() }];
    for state in [SloState::NoData, SloState::Ok, SloState::BurningSlow, SloState::BurningFast, SloState::Exhausted] {
        let slo = SloView { state, series: series.clone(), ..SloView::default() };
        checker.check(&Slos { slos: vec![slo.clone()], ..Slos::default() });
        checker.check(&SloView { detail: Some(detail.clone()), ..slo });
    }
    checker.check(&ChannelView { recent: vec![DeliveryView::default()], ..ChannelView::default() });
    checker.check(&PluginView::default());
    let detail = PluginDetail {
        config: json!({"any": [1, null]}),
        log: vec![LogLine::default()],
        history: vec![ComponentRun::default()],
        ..PluginDetail::default()
    };
    checker.check(&PluginView { detail: Some(detail), ..PluginView::default() });
    checker.check(&ReportView::default());
    checker.check(&ArchivedReport { documents: vec![ArchivedDocument::default()], ..Default::default() });
    checker.check(&Readiness { checks: vec![ReadinessCheck::default()], ..Readiness::default() });
    checker.check(&LogLevel::default());
    checker.check(&Accepted::default());
    checker.check(&ErrorBody::default());
    checker.check(&ErrorBody { help: Some("mend it".into()), ..ErrorBody::default() });
}

#[test]
fn what_may_be_null_is_said_and_is_there() {
    let document = description();
    let value = &document["components"]["schemas"]["CurrentValue"];
    assert_eq!(value["properties"]["value"]["type"], json!(["number", "null"]));
    assert!(value["required"].as_array().unwrap().contains(&json!("value")));
    // Only on the page of one plugin.
    let plugin = &document["components"]["schemas"]["PluginView"];
    assert!(!plugin["required"].as_array().unwrap().contains(&json!("detail")));
}

#[test]
fn descriptions_are_the_docs_without_their_links() {
    let document = description();
    let source = &document["components"]["schemas"]["Source"];
    assert_eq!(source["properties"]["reason"]["description"], "Why it is not up; empty when it is.");
    assert_eq!(source["properties"]["recent_pull_seconds"]["maxItems"], RECENT_PULLS_MAX);
    assert!(!document.to_string().contains("[`"));
}
