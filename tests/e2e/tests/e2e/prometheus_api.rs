//! What clients of Prometheus' HTTP API rely on beside the answers to queries.

use belfry_e2e::Home;

const FORM: [(&str, &str); 1] = [("content-type", "application/x-www-form-urlencoded")];

#[tokio::test]
async fn limits_say_that_they_cut_and_names_come_escaped() {
    let home = Home::new("[storage]\nretention = \"forever\"\n");
    let belfry = home.start().await;
    let text = "t{room=\"a\"} 1 946684800000\nt{room=\"b\"} 2 946684800000\n{\"t\",\"a.b\"=\"x\"} 3 946684800000\n";
    belfry.ask("POST", "/api/v1/import/prometheus", &[], text).await.expect(200);
    let range = "start=946684800&end=946684860";
    for path in ["labels?match[]=t&", "label/room/values?", "series?match[]=t&"] {
        let path = path.replace("[]", "%5B%5D");
        let cut = belfry.json(&format!("/api/v1/{path}limit=1&{range}")).await;
        assert_eq!(cut["data"].as_array().expect("a list").len(), 1, "{cut}");
        assert_eq!(cut["warnings"][0], "results truncated due to limit", "{path}");
        let whole = belfry.json(&format!("/api/v1/{path}limit=3&{range}")).await;
        assert!(whole.get("warnings").is_none(), "{whole}");
    }
    let values = belfry.json(&format!("/api/v1/label/U__a_2e_b/values?{range}")).await;
    assert_eq!(values["data"], serde_json::json!(["x"]));
}

#[tokio::test]
async fn parameters_are_read_and_refused_as_prometheus_does() {
    let home = Home::new("");
    let belfry = home.start().await;
    let both = belfry.ask("POST", "/api/v1/query?query=2", &FORM, "query=1").await.expect(200).json();
    assert_eq!(both["data"]["result"][1], "1", "the form decides");
    let wrong = belfry.get("/api/v1/query?query=sum(").await.expect(400).json();
    assert_eq!(wrong["errorType"], "bad_data");
    assert!(
        wrong["error"].as_str().expect("why").starts_with("invalid parameter \"query\": 1:5: parse error:"),
        "{wrong}"
    );
    for refused in ["metadata?limit_per_metric=x", "status/tsdb?limit=0", "targets/metadata?limit=x"] {
        belfry.get(&format!("/api/v1/{refused}")).await.expect(400);
    }
    for there in
        ["alertmanagers", "notifications", "status/walreplay", "targets/metadata", "metadata?limit_per_metric=1"]
    {
        assert_eq!(belfry.json(&format!("/api/v1/{there}")).await["status"], "success", "{there}");
    }
}

#[tokio::test]
async fn no_time_has_no_series_and_options_say_what_a_route_takes() {
    let home = Home::new("");
    let belfry = home.start().await;
    for path in ["labels?", "label/source/values?", "series?match%5B%5D=%7Bsource%3D~%22.%2B%22%7D&"] {
        let none = belfry.json(&format!("/api/v1/{path}start=100&end=50")).await;
        assert_eq!(none["data"], serde_json::json!([]), "{path}");
    }
    belfry.get("/api/v1/query_exemplars?query=up&start=100&end=50").await.expect(400);
    for (path, allow) in [("/api/v1/query", "GET,HEAD,POST"), ("/api/overview", "GET,HEAD")] {
        let answer = belfry.ask("OPTIONS", path, &[], "").await.expect(204);
        assert!(answer.headers["allow"] == allow && answer.body.is_empty(), "{path}: {answer:?}");
        let theirs = belfry.ask("OPTIONS", path, &[("origin", "http://other.example")], "").await.expect(403);
        assert!(theirs.headers.get("access-control-allow-origin").is_none(), "{:?}", theirs.headers);
    }
}

#[tokio::test]
async fn belfrys_own_metrics_come_in_the_format_that_is_asked_for() {
    let home = Home::new("");
    let belfry = home.start().await;
    let ask = async |accept: &'static str| belfry.ask("GET", "/metrics", &[("accept", accept)], "").await.expect(200);
    let open = ask("application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1").await;
    assert!(open.body.ends_with("# EOF\n") && open.body.contains("# TYPE belfry_queries counter\n"), "{}", open.body);
    let text = ask("*/*").await;
    assert!(text.headers["content-type"].to_str().is_ok_and(|t| t.starts_with("text/plain; version=0.0.4")));
    assert!(
        text.body.contains("# TYPE belfry_queries_total counter\n") && !text.body.contains("# EOF"),
        "{}",
        text.body
    );
    let Some(promtool) = belfry_e2e::peer("promtool") else { return };
    std::fs::write(home.path("metrics"), &text.body).expect("written");
    let checked = std::process::Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(std::fs::File::open(home.path("metrics")).expect("it is there"))
        .output()
        .expect("promtool runs");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
