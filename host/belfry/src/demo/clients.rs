//! Clients of the demo's MCP server: most ask properly, one now and then forgets its argument.

use std::net::SocketAddr;
use std::time::Duration;

use rmcp::ServiceExt as _;
use rmcp::model::CallToolRequestParams;
use rmcp::transport::StreamableHttpClientTransport;
use tokio_util::sync::CancellationToken;

/// Between two calls of a client.
const PAUSE: Duration = Duration::from_millis(700);
/// Before a client whose connection failed tries again.
const RECONNECT: Duration = Duration::from_secs(3);
const TOWNS: [&str; 3] = ["Lisbon", "Tromsø", "Kyoto"];

/// One client a town, until `stop`.
pub async fn run(server: SocketAddr, stop: CancellationToken) {
    let all = TOWNS.into_iter().map(|town| client(server, town));
    tokio::select! {
        () = stop.cancelled() => {}
        _ = futures::future::join_all(all) => {}
    }
}

async fn client(server: SocketAddr, town: &'static str) {
    loop {
        if let Err(error) = session(server, town).await {
            tracing::debug!(target: "belfry::demo", town, error = %error, "a client lost its session");
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

async fn session(server: SocketAddr, town: &'static str) -> anyhow::Result<()> {
    let transport = StreamableHttpClientTransport::from_uri(format!("http://{server}/mcp"));
    let client = ().serve(transport).await?;
    for turn in 0_u64.. {
        let tool = ["forecast", "history", "stations"][(turn % 3) as usize];
        // Every eleventh call is wrong, as real clients' calls are at times.
        let argument = if turn % 11 == 10 { "" } else { town };
        let mut request = CallToolRequestParams::new(tool);
        if tool != "stations" {
            let arguments = serde_json::json!({ "town": argument });
            request = request.with_arguments(arguments.as_object().cloned().unwrap_or_default());
        }
        client.call_tool(request).await?;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}
