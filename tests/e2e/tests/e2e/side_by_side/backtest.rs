//! A backtest says when alerts would have fired: the same from Prometheus' data and from Belfry's, and the same as what
//! Prometheus' answers at each evaluation say by `for` and `keep_firing_for`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Pair, data, escape};

const RULES: &str = r#"groups:
- name: site
  interval: 30s
  rules:
  - {alert: Down, expr: up == 0, for: 2m}
  - {alert: DownAtOnce, expr: up == 0, labels: {severity: page}}
  - {alert: Hot, expr: temperature_celsius > 15, for: 5m, keep_firing_for: 2m}
  - {alert: Errors, expr: 'sum by (job) (rate(http_requests_total{code=~"4..|5.."}[5m])) > 2', for: 1m}
  - {alert: Slow, expr: 'histogram_quantile(0.9, sum by (job, le) (rate(request_duration_seconds_bucket[5m]))) > 5'}
  - {alert: Lost, expr: 'absent(gappy{kind="sparse"})', for: 1m}
  - {alert: Rpc, expr: 'histogram_quantile(0.5, rate(rpc_seconds[5m])) > 1.9', for: 90s}
"#;
const EVERY: i64 = 30_000;

/// Labels, from, to.
type Firing = (String, i64, Option<i64>);

/// Name, expression, `for` and `keep_firing_for` in milliseconds, as in [`RULES`].
fn rules() -> Vec<(String, String, i64, i64)> {
    let of = |line: &str, field: &str| -> Option<String> {
        let rest = line.split_once(&format!("{field}: "))?.1;
        Some(match rest.strip_prefix('\'') {
            Some(quoted) => quoted.split('\'').next()?.to_owned(),
            None => rest.split([',', '}']).next()?.to_owned(),
        })
    };
    let ms = |text: Option<String>| match text.as_deref() {
        None => 0,
        Some("90s") => 90_000,
        Some(minutes) => minutes.trim_end_matches('m').parse::<i64>().expect("minutes") * 60_000,
    };
    let lines = RULES.lines().filter(|l| l.contains("{alert:"));
    lines
        .map(|l| {
            let (name, expr) = (of(l, "alert").expect("a name"), of(l, "expr").expect("an expression"));
            (name, expr, ms(of(l, ", for")), ms(of(l, "keep_firing_for")))
        })
        .collect()
}

/// When the alert fires, by what Prometheus answers.
async fn expected(pair: &Pair, expr: &str, hold: i64, keep: i64) -> Vec<Firing> {
    let seconds = |ms: i64| format!("{}.{:03}", ms / 1_000, ms % 1_000);
    let (start, end) = (seconds(data::BEGIN), seconds(data::END));
    let form = format!("query={}&start={start}&end={end}&step={}", escape(expr), EVERY / 1_000);
    let (_, theirs) = pair.both("/api/v1/query_range", &form).await;
    let mut firings = Vec::new();
    for series in theirs["data"]["result"].as_array().expect("series") {
        let mut labels: BTreeMap<&str, &str> =
            series["metric"].as_object().expect("labels").iter().map(|(n, v)| (&n[..], v.as_str().unwrap())).collect();
        labels.remove("__name__");
        let values = series["values"].as_array().expect("values");
        let there: Vec<i64> = values.iter().map(|v| (v[0].as_f64().unwrap() * 1_000.0).round() as i64).collect();
        let (mut active, mut fires, mut kept) = (None, None, None);
        for at in (data::BEGIN..=data::END).step_by(EVERY as usize) {
            if there.contains(&at) {
                kept = None;
                let since = *active.get_or_insert(at);
                if at - since >= hold {
                    fires.get_or_insert(at);
                }
            } else if fires.is_some() && keep > 0 && at - *kept.get_or_insert(at) < keep {
                // It goes on without its series.
            } else {
                active = None;
                firings.extend(fires.take().map(|from| (format!("{labels:?}"), from, Some(at))));
            }
        }
        firings.extend(fires.map(|from| (format!("{labels:?}"), from, None)));
    }
    firings.sort();
    firings
}

fn said(rule: &Value) -> Vec<Firing> {
    let time = |v: &Value| v.as_i64();
    let mut all: Vec<Firing> = Vec::new();
    for f in rule["result"]["firings"].as_array().expect("firings") {
        let labels = f["labels"].as_object().expect("labels").iter().map(|(n, v)| (&n[..], v.as_str().unwrap()));
        let labels: BTreeMap<&str, &str> = labels.filter(|(n, _)| *n != "alertname" && *n != "severity").collect();
        all.push((format!("{labels:?}"), time(&f["from"]).expect("a time"), time(&f["to"])));
    }
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backtest_says_when_alerts_would_have_fired() {
    let Some(pair) = Pair::new().await else { return };
    std::fs::write(pair.home.path("rules.yml"), RULES).expect("the rules are written");
    let (from, to) = ((data::BEGIN / 1_000).to_string(), (data::END / 1_000).to_string());
    let mut answers = Vec::new();
    for server in [pair.belfry.url(), pair.prometheus.url()] {
        let arguments =
            ["rules", "backtest", "--server", server, "--from", &from, "--to", &to, "--output", "json", "rules.yml"];
        let ended = pair.home.run(&arguments).await;
        assert_eq!(ended.code, Some(0), "{server}: {}{}", ended.stdout, ended.stderr);
        answers.push(serde_json::from_str::<Value>(&ended.stdout).expect("JSON"));
    }
    let mut fired = 0;
    for (i, (name, expr, hold, keep)) in rules().into_iter().enumerate() {
        let (ours, theirs) = (&answers[0]["rules"][i], &answers[1]["rules"][i]);
        assert_eq!(ours["rule"], name.as_str());
        let expected = expected(&pair, &expr, hold, keep).await;
        assert_eq!(said(ours), expected, "{name}, from Belfry's data");
        assert_eq!(said(theirs), expected, "{name}, from Prometheus' data");
        fired += usize::from(!expected.is_empty());
    }
    assert!(fired >= 5, "only {fired} of the rules fire: they show too little");
}
