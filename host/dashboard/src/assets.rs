//! The web UI's files, carried in the binary.

use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use rust_embed::RustEmbed;

use crate::reply::Failure;

/// What `cargo xtask web` built. A release build carries it; a development build reads the folder.
#[derive(RustEmbed)]
#[folder = "web/dist/"]
#[allow_missing = true]
struct Web;

/// Shown in place of a UI that was not built.
const MISSING: &str = "<!doctype html><meta charset=utf-8><title>Belfry</title><body style='font:16px/1.5 system-ui;margin:3rem'>\
<h1>The web UI is not in this binary</h1><p>Build it with <code>cargo xtask web</code> and build Belfry again, or start \
everything with <code>cargo xtask run</code>. The HTTP API works: see <a href='/api/openapi.json'>/api/openapi.json</a>.";

/// Does this binary carry the web UI?
pub fn web_ui_is_built() -> bool {
    Web::get("index.html").is_some()
}

/// A file of the UI; its index for any other path that is not the API's.
pub(crate) async fn serve(method: Method, uri: Uri) -> Response {
    let path = uri.path().trim_start_matches('/');
    if path.starts_with("api/") || path.starts_with("-/") || !matches!(method, Method::GET | Method::HEAD) {
        let message = format!("there is no {method} {}", uri.path());
        return Failure::new(StatusCode::NOT_FOUND, "not_found", message, Some("see /api/openapi.json"))
            .into_response();
    }
    match Web::get(path) {
        Some(file) if !path.is_empty() => file_response(path, file.data.into_owned()),
        _ => match Web::get("index.html") {
            Some(index) => file_response("index.html", index.data.into_owned()),
            None => (StatusCode::SERVICE_UNAVAILABLE, Html(MISSING)).into_response(),
        },
    }
}

fn file_response(path: &str, data: Vec<u8>) -> Response {
    let mut response = data.into_response();
    let media_type = mime_guess::from_path(path).first_or_octet_stream();
    if let Ok(value) = HeaderValue::from_str(media_type.as_ref()) {
        response.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    // Vite puts a hash of the content into the name of everything below assets/.
    let caching = if path.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    response
}
