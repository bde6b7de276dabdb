//! A small client of a running Belfry's API, for the command line.

use anyhow::{Context as _, Result, bail};
use http::Method;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::cli::ServerArgs;

/// A longer answer is refused.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Asks and answers the JSON; an error carries the server's message and help.
pub async fn ask(server: &ServerArgs, method: Method, path: &str) -> Result<Value> {
    let url = format!("{}{path}", server.server.trim_end_matches('/'));
    let mut request = http::Request::builder().method(method).uri(&url);
    if let Some(token) = server.token.clone().or_else(token_of_this_folder) {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let request = request.body(Full::<bytes::Bytes>::default()).with_context(|| format!("bad address {url}"))?;
    let client = Client::builder(TokioExecutor::new()).build_http();
    let response = client.request(request).await.with_context(|| {
        format!("no Belfry answers at {}\n  help: start one with `belfry run`, or give --server", server.server)
    })?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
        .collect()
        .await
        .map_err(|e| anyhow::anyhow!("the answer of {url} broke off: {e}"))?
        .to_bytes();
    let value: Value = serde_json::from_slice(&body)
        .with_context(|| format!("{url} answered {status} and no JSON: is it a Belfry?"))?;
    if !status.is_success() {
        let message = value["message"].as_str().or(value["error"].as_str()).unwrap_or("no reason given");
        let help = value["help"].as_str().map(|h| format!("\n  help: {h}")).unwrap_or_default();
        bail!("{message}{help}");
    }
    Ok(value)
}

/// The token that a Belfry started in this folder with the default data folder has made.
fn token_of_this_folder() -> Option<String> {
    let text = std::fs::read_to_string("data/admin-token").ok()?;
    Some(text.trim().to_owned()).filter(|t| !t.is_empty())
}

/// For a query string or a path.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(b)),
            b => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_query_survives_the_query_string() {
        assert_eq!(super::escape("up{a=\"b\"}"), "up%7Ba%3D%22b%22%7D");
    }
}
