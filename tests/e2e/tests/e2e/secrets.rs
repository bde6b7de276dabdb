//! A secret is used by a plugin that never sees it, and is shown nowhere.

use belfry_e2e::{Home, Receiver, SOON, wait_until};

use crate::SYSTEM;

const SECRET: &str = "s3cr3t-of-the-tower";

#[tokio::test]
async fn a_secret_arrives_where_it_may_go_and_nowhere_else() {
    let hook = Receiver::start().await;
    let home = Home::new(&format!(
        r#"{SYSTEM}
[[channel]]
name = "hook"
handler = "builtin:handler-webhook"
config = {{ url = "{0}/alerts", headers = {{ authorization = "Bearer {{{{secret.token}}}}" }} }}
grants = {{ http = ["{0}"] }}
secrets = {{ token = {{ file = "token", for = ["{0}"] }} }}

[route]
channel = "hook"
group_wait = "100ms"

[[rule]]
name = "Always"
metric = "system_uptime_seconds"
condition = "greater_than"
threshold = 0.0
interval = "500ms"
"#,
        hook.origin()
    ));
    std::fs::write(home.path("token"), SECRET).expect("written");
    let belfry = home.start().await;
    belfry.manage("PUT", "/api/admin/log-level", r#"{"level": "trace"}"#).await.expect(200);
    let told = wait_until("the alert", SOON, async || hook.taken("firing")).await;
    assert_eq!(told.header("authorization"), format!("Bearer {SECRET}"));
    assert!(!String::from_utf8_lossy(&told.body).contains(SECRET));

    let plugin = belfry.get("/api/plugins/channel:hook").await.expect(200).body;
    assert!(plugin.contains("{{secret.token}}"), "the config is shown as it is written: {plugin}");
    let shown = home.run(&["config", "show"]).await;
    assert_eq!(shown.code, Some(0), "{shown:?}");
    let overview = belfry.get("/api/overview").await.body;
    for (place, text) in
        [("API", &plugin), ("overview", &overview), ("config show", &shown.stdout), ("log", &belfry.log())]
    {
        assert!(!text.contains(SECRET), "the secret stands in the {place}: {text}");
    }
}
