//! Prometheus rule files: recorded series, alerts with their `for` clock over a crash, reloads.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use belfry_e2e::{Belfry, Home, Receiver, SOON, wait_until};
use belfry_model::TimestampMs;
use serde_json::Value;

const RULES: &str = r#"
groups:
- name: site
  interval: 300ms
  labels: {team: web}
  rules:
  - record: site:down
    expr: 1 - http_probe_up
  - alert: SiteDown
    expr: site:down > 0
    for: FOR
    labels: {severity: page}
    annotations:
      summary: '{{ $labels.target }} is down ({{ $value }}), {{ with query "count(http_probe_up)" }}{{ . | first | value }}{{ end }} watched'
- name: always
  interval: 300ms
  rules:
  - alert: Watchdog
    expr: vector(1)
    for: 1h
"#;

struct World {
    home: Home,
    site: Receiver,
    pager: Receiver,
}

impl World {
    async fn new(hold: &str) -> Self {
        let (site, pager) = (Receiver::start().await, Receiver::start().await);
        let (at, to) = (site.origin(), pager.origin());
        let home = Home::new(&format!(
            r#"
[[plugin]]
name = "probe"
source = "builtin:collector-http"
interval = "300ms"
timeout = "300ms"
config = {{ targets = [{{ name = "site", url = "{at}/" }}] }}
grants = {{ http = ["{at}"] }}

[[channel]]
name = "pager"
handler = "builtin:handler-webhook"
config = {{ url = "{to}/alerts" }}
grants = {{ http = ["{to}"] }}

[route]
channel = "pager"
group_wait = "200ms"
group_interval = "500ms"

[rules]
files = ["rules/*.yml"]
"#
        ));
        std::fs::create_dir_all(home.path("rules")).expect("a folder");
        let world = Self { home, site, pager };
        world.write(&RULES.replace("FOR", hold));
        world
    }

    fn write(&self, rules: &str) {
        std::fs::write(self.home.path("rules/site.yml"), rules).expect("the rules are written");
    }
}

async fn alert(belfry: &Belfry, name: &str) -> Option<Value> {
    let answer = belfry.json("/api/v1/alerts").await;
    let all = answer["data"]["alerts"].as_array().expect("alerts");
    all.iter().find(|a| a["labels"]["alertname"] == name).cloned()
}

async fn alert_is(belfry: &Belfry, name: &str, state: &str) -> Value {
    wait_until(&format!("{name} is {state}"), SOON, async || alert(belfry, name).await.filter(|a| a["state"] == state))
        .await
}

#[tokio::test]
async fn a_rule_file_records_alerts_and_takes_back() {
    let world = World::new("500ms").await;
    let belfry = world.home.start().await;
    wait_until("the site is recorded", SOON, async || belfry.one("site:down == 0").await).await;
    world.site.answer(500);
    let firing = alert_is(&belfry, "SiteDown", "firing").await;
    assert_eq!(firing["labels"]["severity"], "page");
    assert_eq!((&firing["labels"]["team"], &firing["value"]), (&"web".into(), &"1e+00".into()), "{firing}");
    assert_eq!(firing["annotations"]["summary"], "site is down (1), 1 watched");
    wait_until("ALERTS", SOON, async || belfry.one(r#"ALERTS{alertname="SiteDown",alertstate="firing"}"#).await).await;
    let told = wait_until("the pager is told", SOON, async || world.pager.taken("firing")).await;
    assert_eq!(told.json()["alerts"][0]["labels"]["alertname"], "SiteDown");

    let rules = belfry.json("/api/v1/rules?rule_group[]=site").await;
    let group = &rules["data"]["groups"][0];
    assert_eq!((&group["name"], &group["interval"]), (&"site".into(), &0.3.into()), "{rules}");
    let kinds: Vec<&Value> = group["rules"].as_array().expect("rules").iter().map(|r| &r["type"]).collect();
    assert_eq!(kinds, ["recording", "alerting"]);
    assert!(group["rules"].as_array().expect("rules").iter().all(|r| r["health"] == "ok"), "{rules}");
    let seen = belfry.named("/api/rules", "SiteDown").await.expect("on the alerts page, too");
    assert_eq!((&seen["kind"], &seen["state"], &seen["active"]), (&"alerting".into(), &"firing".into(), &1.into()));
    let metrics = belfry.get("/metrics").await.expect(200).body;
    assert!(
        metrics.contains("belfry_rule_group_iterations_total{rule_group=\"rules/site.yml;site\"}")
            || metrics.contains("site.yml;site\"}"),
        "{metrics}"
    );

    world.site.answer(200);
    wait_until("the pager is told of the end", SOON, async || world.pager.taken("resolved")).await;
    assert!(alert(&belfry, "SiteDown").await.is_none());
    wait_until("ALERTS ends", SOON, async || {
        belfry.query(r#"ALERTS{alertname="SiteDown"}"#).await.is_empty().then_some(())
    })
    .await;
}

async fn recorded(belfry: &Belfry, query: &str) {
    wait_until(query, SOON, async || belfry.one(query).await).await;
}

/// Since when the alert's condition holds.
fn began(alert: &Value) -> TimestampMs {
    alert["activeAt"].as_str().and_then(TimestampMs::from_rfc3339).expect("a time")
}

#[tokio::test]
async fn the_for_clock_goes_on_after_a_crash() {
    /// So much of the hold passes before the crash: longer than a restart takes.
    const BEFORE: Duration = Duration::from_secs(8);
    let world = World::new("12s").await;
    world.site.answer(500);
    let belfry = world.home.start().await;
    let pending = alert_is(&belfry, "SiteDown", "pending").await;
    let seen = Instant::now();
    let watchdog = alert_is(&belfry, "Watchdog", "pending").await;
    // Its samples are written behind what a restart remembers.
    recorded(&belfry, r#"ALERTS{alertname="Watchdog",alertstate="pending"}"#).await;
    wait_until("most of the hold has passed", SOON, async || (seen.elapsed() >= BEFORE).then_some(())).await;
    assert_eq!(alert(&belfry, "SiteDown").await.expect("it is there")["state"], "pending", "it is not over yet");
    belfry.kill().await;
    let crashed = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let crashed = TimestampMs(crashed.as_millis() as i64);
    // The time away is not counted: the clock is put forward by it. One that began anew would begin after the crash.
    let goes_on = |before: &Value, after: &Value| {
        let (began, moved_to) = (began(before), began(after));
        assert!(began <= moved_to, "the time away is counted: {began} {moved_to}");
        assert!(moved_to < crashed, "what passed before the crash is lost: {moved_to} {crashed}");
    };

    let belfry = world.home.start().await;
    let after = alert(&belfry, "Watchdog").await.expect("remembered from the first moment on");
    assert_eq!(after["state"], "pending");
    goes_on(&watchdog, &after);
    let firing = alert_is(&belfry, "SiteDown", "firing").await;
    goes_on(&pending, &firing);
    recorded(&belfry, r#"ALERTS{alertname="SiteDown",alertstate="firing"}"#).await;
    belfry.kill().await;

    let belfry = world.home.start().await;
    let still = alert(&belfry, "SiteDown").await.expect("remembered");
    assert_eq!((&still["state"], &still["activeAt"]), (&"firing".into(), &firing["activeAt"]));
}

#[tokio::test]
async fn a_bad_file_keeps_its_last_good_version_and_is_named_until_it_is_mended() {
    let world = World::new("1h").await;
    world.site.answer(500);
    let belfry = world.home.start().await;
    let before = alert_is(&belfry, "SiteDown", "pending").await;

    world.write(&RULES.replace("FOR", "1h").replace("site:down > 0", "site:down >"));
    let named = wait_until("the file is named", SOON, async || {
        let rules = belfry.json("/api/rules").await;
        rules.as_array()?.iter().find(|r| r["kind"] == "file").cloned()
    })
    .await;
    let error = named["last_error"].as_str().expect("problems");
    assert!(error.contains("site.yml:") && error.contains("could not parse expression"), "{error}");
    assert!(belfry.log().contains("is refused; its last good version goes on"), "{}", belfry.log());
    let ready = belfry.get("/ready").await;
    assert!(ready.body.contains("site.yml"), "{}", ready.body);
    let file = named["name"].as_str().expect("its path");
    let warnings = belfry.json("/api/v1/rules").await["warnings"].clone();
    assert_eq!(warnings, serde_json::json!([format!("rule file {file} is refused; its last good version goes on")]));
    let metric = format!("belfry_rule_file_refused{{file=\"{file}\"}} 1");
    assert!(belfry.get("/metrics").await.body.contains(&metric), "{metric}");
    let notices = belfry.json("/api/overview").await["notices"].clone();
    let is_about = |n: &serde_json::Value| n["code"] == format!("rule_file_{file}");
    assert!(notices.as_array().expect("notices").iter().any(is_about), "{notices}");
    assert_eq!(alert(&belfry, "SiteDown").await.expect("it goes on")["activeAt"], before["activeAt"]);

    // Mended, with another expression: the alert is the same.
    world.write(&RULES.replace("FOR", "0s").replace("site:down > 0", "site:down >= 1"));
    let firing = alert_is(&belfry, "SiteDown", "firing").await;
    assert_eq!(firing["activeAt"], before["activeAt"], "state is kept by name and labels");
    let rules = belfry.json("/api/rules").await;
    assert!(rules.as_array().expect("rules").iter().all(|r| r["kind"] != "file"));
    assert!(belfry.json("/api/v1/rules").await.get("warnings").is_none());
    assert!(!belfry.get("/metrics").await.body.contains("belfry_rule_file_refused{"));

    std::fs::remove_file(world.home.path("rules/site.yml")).expect("removed");
    wait_until("its alerts end", SOON, async || alert(&belfry, "SiteDown").await.is_none().then_some(())).await;
    wait_until("its series end", SOON, async || belfry.query("site:down").await.is_empty().then_some(())).await;
}

/// The entry of a file that is refused.
async fn refused(belfry: &Belfry) -> Value {
    wait_until("the file is named", SOON, async || {
        let rules = belfry.json("/api/rules").await;
        rules.as_array()?.iter().find(|r| r["kind"] == "file").cloned()
    })
    .await
}

/// Its rules are evaluated by this process, not only remembered.
async fn is_evaluated(belfry: &Belfry, rule: &str) {
    let evaluated = || async {
        let rule = belfry.named("/api/rules", rule).await?;
        rule["last_evaluation_ms"].as_i64().filter(|_| rule["last_error"].is_null())
    };
    let first = wait_until(&format!("{rule} is evaluated"), SOON, evaluated).await;
    wait_until(&format!("{rule} goes on"), SOON, async || evaluated().await.filter(|at| *at > first)).await;
}

#[tokio::test]
async fn a_bad_file_keeps_its_last_good_version_over_a_restart() {
    let world = World::new("1h").await;
    world.site.answer(500);
    let belfry = world.home.start().await;
    let before = alert_is(&belfry, "SiteDown", "pending").await;
    recorded(&belfry, r#"ALERTS{alertname="SiteDown"}"#).await;
    belfry.kill().await;

    world.write(&RULES.replace("FOR", "1h").replace("site:down > 0", "site:down >"));
    // Twice: the version of before is not lost by a start that only used it.
    for _ in 0..2 {
        let belfry = world.home.start().await;
        let named = refused(&belfry).await;
        let said = named["description"].as_str().expect("a description");
        assert!(said.contains("its last good version goes on") && named["enabled"] == true, "{named}");
        assert!(named["last_error"].as_str().expect("problems").contains("could not parse expression"), "{named}");
        assert!(belfry.log().contains("is refused; its last good version goes on"), "{}", belfry.log());
        assert!(belfry.get("/ready").await.body.contains("site.yml"));
        is_evaluated(&belfry, "SiteDown").await;
        let after = alert(&belfry, "SiteDown").await.expect("it goes on");
        assert_eq!((&after["state"], &after["labels"]), (&"pending".into(), &before["labels"]));
        belfry.kill().await;
    }

    let belfry = world.home.start().await;
    world.write(&RULES.replace("FOR", "0s"));
    alert_is(&belfry, "SiteDown", "firing").await;
    assert!(belfry.named("/api/rules", "SiteDown").await.is_some());
    let rules = belfry.json("/api/rules").await;
    assert!(rules.as_array().expect("rules").iter().all(|r| r["kind"] != "file"), "{rules}");
}

#[tokio::test]
async fn a_file_that_is_named_and_away_at_the_start_goes_on_and_one_that_the_config_gave_up_does_not() {
    const NAMED: &str = "[rules]\nfiles = [\"named.yml\"]\ninterval = \"300ms\"\n";
    let rules = "groups: [{name: g, rules: [{alert: Always, expr: vector(1)}]}]";
    let home = Home::new(NAMED);
    std::fs::write(home.path("named.yml"), rules).expect("written");
    let belfry = home.start().await;
    alert_is(&belfry, "Always", "firing").await;
    belfry.kill().await;

    std::fs::remove_file(home.path("named.yml")).expect("removed");
    let belfry = home.start().await;
    let named = refused(&belfry).await;
    assert!(named["last_error"].as_str().expect("a problem").contains("there is no such file"), "{named}");
    is_evaluated(&belfry, "Always").await;
    belfry.kill().await;

    // Taken out of the config: nothing of it lives on, and what is named again later is named anew.
    home.configure("");
    let belfry = home.start().await;
    assert!(belfry.named("/api/rules", "Always").await.is_none());
    belfry.kill().await;
    home.configure(NAMED);
    let ended = home.run(&["run", "--config", "belfry.toml", "--data", "data", "--listen", "127.0.0.1:0"]).await;
    assert!(ended.code == Some(1) && ended.stderr.contains("no rule file matches `named.yml`"), "{ended:?}");
}
