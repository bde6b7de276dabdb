use super::*;
use belfry_sdk::Label;
use belfry_sdk::query::Points;
use belfry_sdk::testing::Host;

const DAY: i64 = 86_400_000;

fn request(parameters: &str) -> SectionRequest {
    SectionRequest {
        title: "Machine".into(),
        start: DAY,
        end: 2 * DAY,
        previous_start: 0,
        time_zone: "UTC".into(),
        locale: "en".into(),
        parameters: parameters.into(),
    }
}

fn points(labels: &[(&str, &str)], times: &[i64], values: &[f64]) -> Points {
    let labels = labels.iter().map(|(n, v)| Label { name: (*n).into(), value: (*v).into() }).collect();
    Points { labels, times: times.to_vec(), values: values.to_vec() }
}

fn rendered(host: &Host, parameters: &str) -> Vec<Block> {
    host.configure::<Metrics>("{}").unwrap().render(request(parameters)).unwrap()
}

#[test]
fn a_panel_of_one_series_is_a_number_a_row_and_a_chart() {
    let host = Host::new();
    host.on_query(|expression, start, _| {
        assert_eq!(expression, "cpu");
        let values = if start == 0 { [10.0, 10.0] } else { [20.0, 40.0] };
        Ok(vec![points(&[("__name__", "cpu")], &[start, start + 360_000], &values)])
    });
    let blocks =
        rendered(&host, r#"{"panels": [{"title": "CPU", "query": "cpu", "unit": "percent", "thresholds": [90]}]}"#);
    let [Block::Stats(stats), Block::Table(table), Block::Chart(chart)] = &blocks[..] else { panic!("{blocks:?}") };
    assert_eq!((stats[0].title.as_str(), stats[0].value, stats[0].previous), ("CPU, average", 30.0, Some(10.0)));
    let numbers: Vec<f64> =
        table.rows[0].iter().filter_map(|c| if let Cell::Number(n) = c { Some(*n) } else { None }).collect();
    assert_eq!(numbers, [40.0, 30.0, 40.0, 10.0, 200.0], "last, average, maximum, before, change");
    assert_eq!((chart.kind.as_str(), chart.series[0].name.as_str()), ("line", "CPU"));
    assert_eq!(chart.thresholds, [90.0]);
}

#[test]
fn the_highest_series_are_shown_and_the_rest_counted() {
    let host = Host::new();
    host.on_query(|_, start, _| {
        Ok((0..5).map(|i| points(&[("core", &i.to_string())], &[start], &[f64::from(i)])).collect())
    });
    let blocks = rendered(&host, r#"{"panels": [{"query": "cpu", "max_series": 2}], "table": false}"#);
    let [Block::Chart(chart), Block::Markdown(note)] = &blocks[..] else { panic!("{blocks:?}") };
    let names: Vec<&str> = chart.series.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["4", "3"]);
    assert_eq!(note, "- cpu: 3 more series");
}

#[test]
fn a_gap_is_a_gap() {
    let host = Host::new();
    // A day in 240 points is a point each 6 minutes.
    host.on_query(|_, start, _| Ok(vec![points(&[], &[start, start + 360_000, start + 3_600_000], &[1.0, 2.0, 3.0])]));
    let blocks = rendered(&host, r#"{"panels": [{"query": "up"}], "stats": false, "table": false}"#);
    let [Block::Chart(chart)] = &blocks[..] else { panic!("{blocks:?}") };
    assert_eq!(chart.series[0].times, [DAY, DAY + 360_000, DAY + 720_000, DAY + 3_600_000]);
    assert!(chart.series[0].values[2].is_nan());
}

#[test]
fn a_panel_that_fails_stops_no_other() {
    let host = Host::new();
    host.on_query(|expression, start, _| match expression {
        "bad" => Err(Error::failed("1:1: unknown function")),
        "empty" => Ok(Vec::new()),
        _ => Ok(vec![points(&[], &[start], &[1.0])]),
    });
    let blocks = rendered(&host, r#"{"panels": [{"query": "bad"}, {"query": "empty"}, {"query": "good"}]}"#);
    assert!(matches!(&blocks[0], Block::Stats(stats) if stats.len() == 1));
    let Some(Block::Markdown(notes)) = blocks.last() else { panic!("{blocks:?}") };
    assert_eq!(notes, "- bad: 1:1: unknown function\n- empty: no data in this period");
}

#[test]
fn the_overview_shows_what_is_there() {
    let host = Host::new();
    host.on_query(|expression, start, _| {
        let there = expression.contains("system_memory");
        Ok(if there { vec![points(&[], &[start], &[50.0])] } else { Vec::new() })
    });
    let blocks = rendered(&host, "");
    assert_eq!(blocks.len(), 3, "{blocks:?}");
    let host = Host::new();
    host.on_query(|_, _, _| Ok(Vec::new()));
    assert_eq!(rendered(&host, "{}"), [Block::Markdown("No data in this period.".into())]);
}

#[test]
fn without_the_grant_the_section_says_so() {
    let error = Host::new().configure::<Metrics>("{}").unwrap().render(request("{}")).unwrap_err();
    assert!(error.is_denied());
}

#[test]
fn the_schema_and_the_config_agree() {
    let schema = serde_json::from_str(include_str!("../config.schema.json")).unwrap();
    let config: Config = serde_json::from_value(belfry_sdk::testing::schema_defaults(&schema)).unwrap();
    assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
}
