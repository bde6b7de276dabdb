//! The metric source for MCP servers, with a real one that goes away and comes back.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use belfry_e2e::{Belfry, Home, SOON, wait_until};
use rmcp::model::{CallToolResult, ContentBlock};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{tool, tool_router};
use serde_json::Value;
use tokio::runtime::Runtime;

#[derive(Clone)]
struct Harbour;

#[tool_router(server_handler)]
impl Harbour {
    #[tool(name = "tide", description = "The tide of now")]
    fn tide(&self) -> CallToolResult {
        CallToolResult::success(vec![ContentBlock::text("low")])
    }

    #[tool(name = "ships", description = "How many ships there are")]
    fn ships(&self) -> CallToolResult {
        CallToolResult::success(vec![ContentBlock::text("4")])
    }
}

/// Serves on threads of its own, so that stopping it closes every connection as the end of a process does.
struct Server(Option<Runtime>);

impl Server {
    fn start(listener: TcpListener) -> Self {
        listener.set_nonblocking(true).expect("a listener for tokio");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        runtime.spawn(async move {
            let config = StreamableHttpServerConfig::default();
            let service = StreamableHttpService::new(|| Ok(Harbour), Arc::new(LocalSessionManager::default()), config);
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            axum::serve(listener, axum::Router::new().nest_service("/mcp", service)).await.expect("it serves");
        });
        Self(Some(runtime))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.take().expect("dropped once").shutdown_background();
    }
}

async fn health_is(belfry: &Belfry, health: &str) -> Value {
    wait_until(&format!("it is {health}"), SOON, async || {
        belfry.named("/api/sources", "harbour").await.filter(|s| s["health"] == health)
    })
    .await
}

#[tokio::test]
async fn a_server_is_measured_missed_and_found_again() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address: SocketAddr = listener.local_addr().expect("its address");
    let server = Server::start(listener);
    let home = Home::new(&format!(
        r#"
[[plugin]]
name = "harbour"
source = "builtin:source-mcp-server"
interval = "500ms"
timeout = "500ms"
config = {{ url = "http://{address}/mcp", timeout = "300ms", budget = "450ms", title = "The harbour" }}
grants = {{ http = ["http://{address}"] }}
"#
    ));
    let belfry = home.start().await;
    wait_until("it answers", SOON, async || belfry.one("mcp_probe_up == 1").await).await;
    let source = health_is(&belfry, "up").await;
    assert_eq!((&source["kind"], &source["title"]), (&"metric_source".into(), &"The harbour".into()), "{source}");
    let tools = wait_until("its tools", SOON, async || belfry.one("mcp_probe_tools").await).await;
    assert_eq!(tools.last(), 2.0);
    let info = belfry.one("mcp_probe_info").await.expect("what it calls itself");
    assert!(info.labels.values().any(|v| v.starts_with("202") && v.len() == 10), "a protocol version: {info:?}");
    for method in ["initialize", "ping", "tools/list"] {
        let took = format!(r#"mcp_probe_response_seconds{{method="{method}"}}"#);
        let took = wait_until(method, SOON, async || belfry.one(&took).await).await;
        assert!(took.last() > 0.0, "{took:?}");
    }

    drop(server);
    wait_until("it does not answer", SOON, async || belfry.one("mcp_probe_up == 0").await).await;
    let down = health_is(&belfry, "down").await;
    assert_ne!(down["reason"], "", "{down}");
    assert!(belfry.query("sum(mcp_probe_errors_total) > 0").await.len() == 1, "errors are counted");
    assert_eq!(belfry.named("/api/plugins", "harbour").await.expect("the plugin")["state"], "running", "it is well");

    let _server = Server::start(TcpListener::bind(address).expect("the same port"));
    wait_until("it answers again", SOON, async || belfry.one("mcp_probe_up == 1").await).await;
    health_is(&belfry, "up").await;
}
