use super::*;
use belfry_sdk::http::{Request, Response};
use belfry_sdk::testing::Host;
use serde_json::{Value, json};

const CONFIG: &str =
    r#"{"url": "https://u:p@mcp.example/mcp?key=1", "headers": {"authorization": "{{secret.token}}"}}"#;

/// A small server of the transport; `broken` methods answer as given.
fn server(host: &Host, sse: bool, broken: Vec<(&'static str, Result<Response>)>) {
    host.on_http(move |request| {
        if request.method() == "DELETE" {
            return Ok(Response::new(405, ""));
        }
        let message: Value = serde_json::from_slice(request.body_bytes()).unwrap();
        let method = message["method"].as_str().unwrap();
        if let Some((_, answer)) = broken.iter().find(|(m, _)| *m == method) {
            return answer.clone();
        }
        let result = match method {
            "initialize" => json!({
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "weather", "title": "Weather", "version": "1.2"},
            }),
            "notifications/initialized" => return Ok(Response::new(202, "")),
            "ping" => json!({}),
            "tools/list" if message["params"]["cursor"] == "2" => json!({"tools": [{"name": "c"}]}),
            "tools/list" => json!({"tools": [{"name": "a"}, {"name": "b"}], "nextCursor": "2"}),
            other => panic!("{other}"),
        };
        let answer = json!({"jsonrpc": "2.0", "id": message["id"], "result": result});
        let response = if sse {
            let noise = r#"data: {"jsonrpc":"2.0","method":"notifications/message","params":{}}"#;
            Response::new(200, format!("{noise}\n\nevent: message\ndata: {answer}\n\n"))
                .with_header("content-type", "text/event-stream; charset=utf-8")
        } else {
            Response::new(200, answer.to_string()).with_header("content-type", "application/json")
        };
        Ok(if method == "initialize" { response.with_header("Mcp-Session-Id", "s-1") } else { response })
    });
}

fn methods(host: &Host) -> Vec<String> {
    let name = |r: &Request| match serde_json::from_slice::<Value>(r.body_bytes()) {
        Ok(message) => message["method"].as_str().unwrap_or_default().to_owned(),
        Err(_) => r.method().to_owned(),
    };
    host.requests().iter().map(name).collect()
}

fn snapshot(host: &Host) -> Health {
    let mut plugin = host.configure::<McpServer>(CONFIG).unwrap();
    host.snapshot(&mut plugin).unwrap()
}

#[test]
fn a_round_is_a_whole_session() {
    for sse in [false, true] {
        let host = Host::new();
        server(&host, sse, vec![]);
        assert_eq!(snapshot(&host), Health::Up);
        assert_eq!(
            methods(&host),
            ["initialize", "notifications/initialized", "ping", "tools/list", "tools/list", "DELETE"]
        );
        for request in &host.requests()[1..] {
            assert_eq!(request.header_value("mcp-session-id"), Some("s-1"));
            assert_eq!(request.header_value("mcp-protocol-version"), Some("2025-06-18"));
            assert_eq!(request.header_value("authorization"), Some("{{secret.token}}"));
        }
        assert_eq!(host.value("mcp_probe_up", &[]), Some(1.0));
        assert_eq!(host.value("mcp_probe_tools", &[]), Some(3.0));
        assert_eq!(host.value("mcp_probe_requests_total", &[("method", "tools/list")]), Some(2.0));
        assert!(host.value("mcp_probe_response_seconds", &[("method", "ping")]).is_some());
        let info = [("server", "weather"), ("version", "1.2"), ("protocol_version", "2025-06-18")];
        assert_eq!(host.value("mcp_probe_info", &info), Some(1.0));
    }
}

#[test]
fn no_initialize_is_down() {
    for (broken, reason) in [
        (Err(Error::Timeout("1500 ms are over".into())), "timeout"),
        (Ok(Response::new(401, "")), "status"),
        (Ok(Response::new(200, "<html>")), "protocol"),
        (Ok(Response::new(200, r#"{"id":1,"error":{"code":-32000,"message":"full"}}"#)), "rpc"),
        (Ok(Response::new(200, r#"{"id":1,"result":{}}"#)), "protocol"),
    ] {
        let host = Host::new();
        server(&host, false, vec![("initialize", broken)]);
        assert!(matches!(snapshot(&host), Health::Down(_)));
        assert_eq!(host.value("mcp_probe_up", &[]), Some(0.0));
        let labels = [("method", "initialize"), ("reason", reason)];
        assert_eq!(host.value("mcp_probe_errors_total", &labels), Some(1.0), "{reason}");
    }
}

#[test]
fn a_method_that_fails_is_degraded() {
    let host = Host::new();
    server(&host, false, vec![("tools/list", Ok(Response::new(500, "")))]);
    assert_eq!(snapshot(&host), Health::Degraded("status 500 to `tools/list`".into()));
    assert_eq!(host.value("mcp_probe_up", &[]), Some(1.0));
    assert_eq!(host.value("mcp_probe_tools", &[]), None, "no answer is not zero tools");
}

#[test]
fn a_server_that_hangs_is_asked_nothing_more_in_that_round() {
    let host = Host::new();
    server(&host, false, vec![("ping", Err(Error::Timeout("1500 ms are over".into())))]);
    assert_eq!(snapshot(&host), Health::Degraded("`ping`: 1500 ms are over".into()));
    assert_eq!(methods(&host), ["initialize", "notifications/initialized", "ping"]);
}

#[test]
fn slow_is_degraded() {
    let probed = Probed { server: Some(Server::default()), response_s: vec![("ping", 1.5)], ..Probed::default() };
    assert_eq!(probed.health(belfry_sdk::config::Span::from_ms(1_000)), Health::Degraded("`ping` took 1500 ms".into()));
}

#[test]
fn not_granted_is_an_error_and_no_outage() {
    let host = Host::new();
    let mut plugin = host.configure::<McpServer>(CONFIG).unwrap();
    assert!(host.snapshot(&mut plugin).unwrap_err().is_denied());
    assert_eq!(host.pushes(), 0);
}

#[test]
fn counters_go_on_after_a_restart_where_kv_is_granted() {
    let host = Host::new();
    host.allow_kv();
    server(&host, false, vec![]);
    for starts in 1..=3 {
        snapshot(&host);
        assert_eq!(host.value("mcp_probe_requests_total", &[("method", "ping")]), Some(f64::from(starts)));
    }
    let other = r#"{"url": "https://other.example/"}"#;
    let mut plugin = host.configure::<McpServer>(other).unwrap();
    host.snapshot(&mut plugin).unwrap();
    assert_eq!(host.value("mcp_probe_requests_total", &[("method", "ping")]), Some(1.0), "another server");
}

#[test]
fn it_is_called_what_the_server_calls_itself() {
    let host = Host::new();
    server(&host, true, vec![]);
    let mut plugin = host.configure::<McpServer>(CONFIG).unwrap();
    let identity = plugin.identify().unwrap();
    assert_eq!((identity.id.as_str(), identity.title.as_str()), ("https://mcp.example/mcp", "Weather"));
    server(&host, true, vec![("initialize", Ok(Response::new(503, "")))]);
    let mut plugin = host.configure::<McpServer>(CONFIG).unwrap();
    assert_eq!(plugin.identify().unwrap().title, "https://mcp.example/mcp", "it is listed while it is down, too");
}
