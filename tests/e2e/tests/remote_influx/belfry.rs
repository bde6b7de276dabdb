//! The built program with InfluxDB as its engine.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use belfry_e2e::{Belfry, Home, Series, wait_until};
use belfry_model::read::Cancel;
use belfry_model::{Labels, METRIC_NAME, TimestampMs};
use belfry_promql::{PointValue, Query, QueryLimits, QueryTime, QueryValue};
use belfry_testkit::MemorySeries;

use crate::peers::{Server, influxd};

/// Between two samples.
const STEP_MS: i64 = 15_000;
/// Samples of each series in each part of the test.
const PART: i64 = 40;
/// The queue tries again with growing pauses, and the machine may be busy.
pub const DELIVERED_WITHIN: Duration = Duration::from_secs(120);

fn config(server: &Server) -> String {
    format!(
        "[storage]\nbackend = \"influxdb\"\n[storage.influxdb]\nurl = \"{}\"\nversion = 1\ndatabase = \"belfry\"\n",
        server.url()
    )
}

pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    i64::try_from(since.as_millis()).expect("it is before the year 292277026")
}

/// Imports a part of eight old counters, and one sample of now.
async fn import(belfry: &Belfry, memory: &mut MemorySeries, start: i64, part: i64) {
    let mut text = format!("live{{part=\"{part}\"}} {part}\n");
    for n in part * PART..(part + 1) * PART {
        let at = start + n * STEP_MS;
        for (i, path) in ["/", "/a b", "C:\\", "two\nlines"].iter().enumerate() {
            for code in ["200", "500"] {
                // It starts again now and then.
                let value = ((n * (i as i64 + 2)) % 170) as f64 + 0.25;
                let labels = Labels::from_pairs([(METRIC_NAME, "requests_total"), ("path", path), ("code", code)]);
                memory.push_floats(&labels, TimestampMs(at), 1, &[value]);
                writeln!(text, "requests_total{{path={path:?},code=\"{code}\"}} {value} {at}").expect("it is a text");
            }
        }
    }
    belfry.ask("POST", "/api/v1/import/prometheus", &[], text).await.expect(200);
}

/// How many points of a metric InfluxDB has.
async fn count(server: &Server, metric: &str) -> i64 {
    let answer = server.ask(&format!("SELECT COUNT(\"value\") FROM {metric}")).await;
    answer["results"][0]["series"][0]["values"][0][1].as_i64().unwrap_or(0)
}

async fn delivered(server: &Server, parts: i64) {
    wait_until("everything is in InfluxDB", DELIVERED_WITHIN, async || {
        let all = (count(server, "requests_total").await, count(server, "live").await);
        (all == (parts * PART * 8, parts)).then_some(())
    })
    .await;
}

/// Waits until Belfry has found out that its engine does not answer.
pub async fn noticed(belfry: &Belfry) {
    wait_until("the outage is noticed", DELIVERED_WITHIN, async || {
        let own = belfry.get("/metrics").await.expect(200).body;
        own.contains("belfry_engine_up{kind=\"influxdb\",for=\"writing\"} 0").then_some(())
    })
    .await;
}

type Rows = BTreeMap<BTreeMap<String, String>, Vec<(i64, f64)>>;

async fn from_memory(memory: &MemorySeries, promql: &str, time: QueryTime) -> Rows {
    let query = Query::parse(promql, time, QueryLimits::default()).expect("it is PromQL");
    let answer = query.fetch(memory).await.expect("series").evaluate(&Cancel::default()).expect("an answer");
    let QueryValue::Matrix(rows) = answer.value else { panic!("{:?}", answer.value) };
    let rows = rows.into_iter().map(|row| {
        let labels = row.labels.iter().map(|l| (l.name.to_string(), l.value.to_string())).collect();
        let points = row.points.into_iter().map(|(at, value)| match value {
            PointValue::Float(v) => (at.0, v),
            other => panic!("{other:?}"),
        });
        (labels, points.collect())
    });
    rows.collect()
}

#[tokio::test]
async fn nothing_is_missing_after_an_outage_and_what_is_old_is_read_from_influxdb() {
    let Some(mut server) = influxd().await else { return };
    let home = Home::new(&config(&server));
    let belfry = home.start().await;
    // Two days ago: long before what is kept here, too.
    let start = (now_ms() - 2 * 86_400_000) / 60_000 * 60_000;
    let mut memory = MemorySeries::new();
    import(&belfry, &mut memory, start, 0).await;
    delivered(&server, 1).await;

    server.stop().await;
    import(&belfry, &mut memory, start, 1).await;
    noticed(&belfry).await;
    belfry.kill().await;
    let belfry = home.start().await;
    import(&belfry, &mut memory, start, 2).await;
    noticed(&belfry).await;
    server.start().await;
    delivered(&server, 3).await;

    let (from, to) = (start + 5 * 60_000, start + 3 * PART * STEP_MS);
    let time = QueryTime::Range { start: TimestampMs(from), end: TimestampMs(to), step: Duration::from_secs(60) };
    for (promql, escaped) in [
        ("sum by (path) (rate(requests_total[5m]))", "sum+by+(path)+(rate(requests_total%5B5m%5D))"),
        ("sum(requests_total{path!=\"/\"})", "sum(requests_total%7Bpath!=%22/%22%7D)"),
    ] {
        let range = format!("start={}&end={}&step=60", from as f64 / 1e3, to as f64 / 1e3);
        let answer = belfry.json(&format!("/api/v1/query_range?query={escaped}&{range}")).await;
        let series = Series::of(&answer["data"]).into_iter().map(|s| (s.labels, s.samples));
        let expected = from_memory(&memory, promql, time).await;
        assert!(expected.values().all(|points| points.len() > 20), "{expected:?}");
        assert_eq!(series.collect::<Rows>(), expected, "{promql}");
    }
    let values = belfry.json(&format!("/api/v1/label/path/values?start={}&end={}", from / 1000, to / 1000)).await;
    assert_eq!(values["data"], serde_json::json!(["/", "/a b", "C:\\", "two\nlines"]));
    let own = belfry.get("/metrics").await.expect(200).body;
    for outcome in ["refused", "shed", "left_out"] {
        let none = format!("belfry_engine_samples_total{{outcome=\"{outcome}\"}} 0");
        assert!(own.contains(&none), "{outcome}: {own}");
    }
}
