//! Something to watch: a real small MCP server that has outages, clients that use it (some of them wrongly), and a
//! receiver of webhooks. All on loopback.
//!
//! Not here: the config that watches them (`demo.toml` beside this file).

mod clients;
mod server;
mod webhook;

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The demo's ends, running until the token is cancelled.
pub struct Demo {
    /// The MCP server.
    pub mcp: SocketAddr,
    /// Takes webhooks and prints them.
    pub webhook: SocketAddr,
}

/// Starts everything on free ports.
pub async fn start(stop: CancellationToken) -> Result<Demo> {
    let (mcp_listener, mcp) = listen().await?;
    let (hook_listener, webhook) = listen().await?;
    tokio::spawn(server::serve(mcp_listener, stop.clone()));
    tokio::spawn(webhook::serve(hook_listener, stop.clone()));
    tokio::spawn(clients::run(mcp, stop));
    Ok(Demo { mcp, webhook })
}

/// The config of the demo, with the ends' addresses filled in.
pub fn config(demo: &Demo) -> String {
    include_str!("demo.toml")
        .replace("@MCP@", &format!("http://{}", demo.mcp))
        .replace("@WEBHOOK@", &format!("http://{}", demo.webhook))
}

async fn listen() -> Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("no free port on loopback for the demo")?;
    let address = listener.local_addr().context("the demo's own address")?;
    Ok((listener, address))
}
