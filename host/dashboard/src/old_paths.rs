//! Addresses of Prometheus' pages: links that its templates write (`graphLink`, `tableLink`) and that people know by heart.
//!
//! Invariant: who opens one comes to the page of the UI that shows the same, with the expression that the link had.
//! Not here: the UI's own addresses, which stand behind a `#` and never reach the program.

use std::fmt::Write as _;

use axum::http::Uri;
use belfry_model::duration::parse_duration;

use crate::form;

/// Where in the UI the page of this address is, told from that address, since a proxy may have taken a folder from it;
/// `None` when there never was such a page.
pub(crate) fn page(uri: &Uri) -> Option<String> {
    let path = uri.path();
    let page = match path.strip_suffix('/').unwrap_or(path) {
        "/graph" | "/query" => explore(uri.query().unwrap_or("")),
        "/alerts" => "alerts".to_owned(),
        "/rules" => "alerts?tab=rules".to_owned(),
        "/targets" | "/service-discovery" => "sources".to_owned(),
        "/status" | "/config" | "/flags" | "/tsdb-status" => "status".to_owned(),
        // So notifications about reports linked to them.
        path => format!("reports/{}", path.strip_prefix("/reports/")?.parse::<u64>().ok()?),
    };
    let root = match path.matches('/').count() {
        0 | 1 => "./".to_owned(),
        folders => "../".repeat(folders - 1),
    };
    Some(format!("{root}#/{page}"))
}

/// `g0.expr` and `g0.range_input` are Prometheus'; a page of it may have more than one expression, ours has the first.
fn explore(query: &str) -> String {
    let mut pairs = form::Pairs::new();
    // What of it cannot be read is left out.
    let _ = form::urlencoded(query.as_bytes(), &mut pairs);
    let named = |name: &str| pairs.iter().find(|(n, v)| n == name && !v.is_empty()).map(|(_, v)| v.as_str());
    let mut to = "explore".to_owned();
    if let Some(expression) = named("g0.expr").or_else(|| named("expr")) {
        to.push_str("?q=");
        escape(expression, &mut to);
        if let Some(range) = named("g0.range_input").and_then(|t| parse_duration(t).ok()) {
            let _ = write!(to, "&range={}", range.as_secs());
        }
    }
    to
}

fn escape(text: &str, into: &mut String) {
    for b in text.bytes() {
        match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => into.push(char::from(b)),
            b => {
                let _ = write!(into, "%{b:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use belfry_model::TimestampMs;

    use crate::testing::Fake;

    #[tokio::test]
    async fn addresses_of_prometheus_pages_lead_to_the_page_that_shows_the_same() {
        let fake = Fake::at(TimestampMs(0));
        for (asked, page) in [
            ("/graph?g0.expr=up&g0.tab=0", "./#/explore?q=up"),
            ("/graph?g0.expr=up+%3D%3D+1&g0.tab=1", "./#/explore?q=up%20%3D%3D%201"),
            ("/graph?g0.expr=a%7Bb%3D%22c%26d%23%3F%25%22%7D", "./#/explore?q=a%7Bb%3D%22c%26d%23%3F%25%22%7D"),
            ("/graph?g0.expr=%C3%A9&g0.range_input=1h30m", "./#/explore?q=%C3%A9&range=5400"),
            ("/graph?g0.expr=up&g0.range_input=long", "./#/explore?q=up"),
            ("/graph?g0.expr=&g1.expr=up", "./#/explore"),
            ("/graph?g0.expr=%0d%0aset-cookie:x", "./#/explore?q=%0D%0Aset-cookie%3Ax"),
            ("/query?g0.expr=up", "./#/explore?q=up"),
            ("/graph", "./#/explore"),
            ("/alerts", "./#/alerts"),
            ("/alerts/", "../#/alerts"),
            ("/rules", "./#/alerts?tab=rules"),
            ("/targets?search=x", "./#/sources"),
            ("/status", "./#/status"),
            ("/reports/12", "../#/reports/12"),
        ] {
            let reply = fake.get(asked).await;
            assert_eq!((reply.status, reply.headers["location"].to_str().unwrap()), (302, page), "{asked}");
        }
    }

    #[tokio::test]
    async fn no_other_address_and_no_other_method_is_led_elsewhere() {
        let fake = Fake::at(TimestampMs(0));
        for asked in ["/graphs", "/alerts/x", "/reports/x", "/api/v1/rules", "/api/v1/alerts", "/"] {
            assert!(!fake.get(asked).await.headers.contains_key("location"), "{asked}");
        }
        let posted = fake.ask("POST", "/graph?g0.expr=up", &[Fake::TOKEN], "").await;
        assert_eq!(posted.status, 404);
    }
}
