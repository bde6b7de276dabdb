//! The web UI's files, carried in the binary.

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use rust_embed::RustEmbed;

use crate::old_paths;
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

/// A file of the UI; its index for any other path, where a browser asks for a page. Everybody else is told that there is
/// nothing: to a program a page with status 200 looks like an answer.
pub(crate) async fn serve(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    if matches!(method, Method::GET | Method::HEAD)
        && let Some(page) = old_paths::page(&uri)
    {
        return (StatusCode::FOUND, [(header::LOCATION, page)]).into_response();
    }
    let path = uri.path().trim_start_matches('/');
    let accepted = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("");
    let is_page = matches!(path, "" | "index.html") || accepted.contains("text/html");
    // The API's paths are no pages for a browser either.
    let first = path.split('/').next().unwrap_or("");
    let is_ours =
        matches!(first, "api" | "-" | "federate" | "metrics") || !matches!(method, Method::GET | Method::HEAD);
    if is_ours || !(is_page || Web::get(path).is_some()) {
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

/// A path of the API, but not this method: in plain text where Prometheus' clients ask, as theirs is.
pub(crate) async fn method_not_allowed(method: Method, uri: Uri) -> Response {
    let path = uri.path();
    if path.starts_with("/api/v1/") || path == "/federate" {
        return (StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n").into_response();
    }
    let message = format!("{path} does not take {method}");
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, "not_allowed", message, Some("see /api/openapi.json")).into_response()
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

#[cfg(test)]
mod tests {
    use belfry_model::TimestampMs;

    use crate::testing::Fake;

    #[tokio::test]
    async fn no_program_takes_a_page_for_an_answer_and_a_browser_gets_one_anywhere_else() {
        let fake = Fake::at(TimestampMs(0));
        let browser = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
        for (path, program, person) in [
            ("/", "page", "page"),
            ("/index.html", "page", "page"),
            ("/nosuch", "404", "page"),
            ("/api", "404", "404"),
            ("/api/v1/nosuch", "404", "404"),
            ("/api/v2/query", "404", "404"),
            ("/federate/x", "404", "404"),
            ("/metrics/x", "404", "404"),
            ("/-/nosuch", "404", "404"),
        ] {
            for (headers, expected) in [(&[][..], program), (&[browser][..], person)] {
                let reply = fake.ask("GET", path, headers, "").await;
                // A build without the UI says so on a page, with 503.
                let is_page = reply.content_type.starts_with("text/html") && reply.status != 404;
                assert_eq!(if is_page { "page".to_owned() } else { reply.status.to_string() }, expected, "{path}");
                if expected == "404" {
                    assert_eq!(reply.json()["error"], "not_found", "{path}");
                }
            }
        }
    }

    #[tokio::test]
    async fn a_method_that_a_path_does_not_take_is_plain_text_as_prometheus_has_it_and_json_elsewhere() {
        let fake = Fake::at(TimestampMs(0));
        let theirs = fake.ask("PUT", "/api/v1/query", &[], "").await;
        assert_eq!((theirs.status, &*theirs.body), (405, "Method Not Allowed\n"));
        assert_eq!(theirs.headers["allow"], "GET,HEAD,POST");
        let ours = fake.ask("POST", "/api/overview", &[Fake::TOKEN], "").await;
        assert_eq!((ours.status, &ours.json()["error"]), (405, &"not_allowed".into()));
    }
}
