use super::*;
use belfry_sdk::Label;
use belfry_sdk::query::AlertEpisode;
use belfry_sdk::testing::Host;

const HOUR: i64 = 3_600_000;

/// An episode in hours.
fn episode(rule: &str, severity: &str, started: i64, fired: Option<i64>, resolved: Option<i64>) -> AlertEpisode {
    let label = |name: &str, value: &str| Label { name: name.into(), value: value.into() };
    AlertEpisode {
        rule: rule.into(),
        severity: severity.into(),
        labels: vec![label("alertname", rule), label("core", "0"), label("severity", severity)],
        started: started * HOUR,
        fired: fired.map(|h| h * HOUR),
        resolved: resolved.map(|h| h * HOUR),
        acknowledged_by: None,
        attributes: Vec::new(),
    }
}

/// A report of the hours 24 to 48; the host's answers are not cut to what was asked.
fn rendered(alerts: Vec<AlertEpisode>, parameters: &str) -> Vec<Block> {
    let host = Host::new();
    host.set_alerts(alerts);
    let request = SectionRequest {
        title: "Alerts".into(),
        start: 24 * HOUR,
        end: 48 * HOUR,
        previous_start: 0,
        time_zone: "UTC".into(),
        locale: "en".into(),
        parameters: parameters.into(),
    };
    host.configure::<Alerts>("{}").unwrap().render(request).unwrap()
}

fn stat(blocks: &[Block], title: &str) -> Option<(f64, Option<f64>)> {
    let Block::Stats(stats) = &blocks[0] else { panic!("{blocks:?}") };
    stats.iter().find(|s| s.title == title).map(|s| (s.value, s.previous))
}

fn table<'a>(blocks: &'a [Block], title: &str) -> &'a Table {
    let found = blocks.iter().find_map(|b| match b {
        Block::Table(t) if t.title == title => Some(t),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("no table {title}: {blocks:?}"))
}

fn some() -> Vec<AlertEpisode> {
    vec![
        episode("CPU", "warning", 1, Some(2), Some(3)),
        // Over the edge: counted in both periods, each with its own part.
        episode("CPU", "warning", 20, Some(20), Some(26)),
        episode("Disk", "critical", 40, Some(41), None),
        episode("Blip", "info", 30, None, Some(31)),
        episode("Later", "info", 50, Some(51), None),
    ]
}

#[test]
fn counts_are_by_severity_and_compared_with_the_period_before() {
    let blocks = rendered(some(), "");
    assert_eq!(stat(&blocks, "Alerts"), Some((2.0, Some(2.0))));
    assert_eq!(stat(&blocks, "critical"), Some((1.0, Some(0.0))));
    assert_eq!(stat(&blocks, "warning"), Some((1.0, Some(2.0))));
    assert_eq!(stat(&blocks, "info"), None);
    assert_eq!(stat(&blocks, "Still firing"), Some((1.0, None)));
    assert_eq!(stat(&blocks, "Longest"), Some((7.0 * 3600.0, Some(4.0 * 3600.0))));
}

#[test]
fn time_is_counted_only_as_far_as_it_lies_in_the_period() {
    let blocks = rendered(some(), "");
    let cpu = table(&blocks, "Episodes").rows.iter().find(|row| row[0] == Cell::text("CPU")).unwrap();
    assert_eq!(cpu[5], Cell::DurationMs(2 * HOUR as u64));
    assert_eq!(cpu[2], Cell::text("core=0"));
}

#[test]
fn the_newest_stand_first_and_what_still_fires_stands_apart() {
    let blocks = rendered(some(), "");
    let rules: Vec<&Cell> = table(&blocks, "Episodes").rows.iter().map(|row| &row[0]).collect();
    assert_eq!(rules, [&Cell::text("Disk"), &Cell::text("CPU")]);
    let still = table(&blocks, "Still firing");
    assert_eq!((still.rows.len(), &still.rows[0][4]), (1, &Cell::Status("firing".into())));
}

#[test]
fn rules_are_ordered_by_their_time() {
    let alerts = (0..3).map(|i| episode("Often", "info", 30 + i, Some(30 + i), Some(31 + i)));
    let blocks = rendered(alerts.chain([episode("Once", "error", 30, Some(30), Some(32))]).collect(), "");
    let rows = &table(&blocks, "By rule").rows;
    assert_eq!(rows[0][..3], [Cell::text("Often"), Cell::Status("info".into()), Cell::Number(3.0)]);
    assert_eq!(rows[1][0], Cell::text("Once"));
}

#[test]
fn a_quiet_period_says_so() {
    let blocks = rendered(Vec::new(), "{}");
    assert_eq!(blocks[1], Block::Markdown("No alert fired in this period.".into()));
}

#[test]
fn a_report_can_narrow_what_it_shows() {
    let blocks = rendered(some(), r#"{"period": "24h", "severities": ["critical"]}"#);
    assert_eq!(stat(&blocks, "Alerts"), Some((1.0, Some(0.0))));
    let blocks = rendered(some(), r#"{"pending": true, "max_rows": 1}"#);
    assert_eq!(stat(&blocks, "Alerts"), Some((3.0, Some(2.0))));
    assert_eq!(blocks.last(), Some(&Block::Markdown("and 2 more episodes".into())));
}

#[test]
fn the_schema_and_the_config_agree() {
    let schema = serde_json::from_str(include_str!("../config.schema.json")).unwrap();
    let config: Config = serde_json::from_value(belfry_sdk::testing::schema_defaults(&schema)).unwrap();
    assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
}
