//! The host's spans at a real OTLP receiver, and their trace on the requests that a plugin makes.

use std::collections::BTreeMap;

use belfry_e2e::{Home, Receiver, SOON, wait_until};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let value = attributes.iter().find(|a| a.key == key)?.value.clone()?;
    match value {
        AnyValue { value: Some(Value::StringValue(text)) } => Some(text),
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Spans by id, with the service that they are of.
fn spans(collector: &Receiver) -> BTreeMap<String, (String, Span)> {
    let mut all = BTreeMap::new();
    for request in collector.seen().iter().filter(|r| r.path == "/v1/traces") {
        let request = ExportTraceServiceRequest::decode(request.body.as_slice()).expect("OTLP");
        for resource in request.resource_spans {
            let attributes = resource.resource.map(|r| r.attributes).unwrap_or_default();
            let service = text(&attributes, "service.name").unwrap_or_default();
            for span in resource.scope_spans.into_iter().flat_map(|s| s.spans) {
                all.insert(hex(&span.span_id), (service.clone(), span));
            }
        }
    }
    all
}

#[tokio::test]
async fn spans_are_sent_and_a_plugins_request_belongs_to_one_of_them() {
    let (collector, site) = (Receiver::start().await, Receiver::start().await);
    let home = Home::new(&format!(
        r#"
[telemetry]
otlp_endpoint = "{}"
service_name = "watch-tower"

[[plugin]]
name = "probe"
source = "builtin:collector-http"
interval = "500ms"
timeout = "500ms"
config = {{ targets = [{{ name = "site", url = "{1}/" }}] }}
grants = {{ http = ["{1}"] }}
"#,
        collector.origin(),
        site.origin()
    ));
    let belfry = home.start().await;
    let probe = wait_until("a probe", SOON, async || site.seen().first().cloned()).await;
    let parts: Vec<&str> = probe.header("traceparent").split('-').collect();
    let [version, trace, parent, flags] = parts[..] else { panic!("traceparent: {:?}", probe.headers) };
    assert_eq!((version, flags), ("00", "01"), "{probe:?}");

    let (service, span) = wait_until("the span of that probe", SOON, async || spans(&collector).remove(parent)).await;
    assert_eq!((service.as_str(), hex(&span.trace_id).as_str()), ("watch-tower", trace));
    assert!(span.end_time_unix_nano > span.start_time_unix_nano, "{span:?}");
    let of_trace = |s: &Span| hex(&s.trace_id) == trace;
    wait_until("the pull it was made for", SOON, async || {
        let all = spans(&collector);
        all.into_values()
            .map(|(_, s)| s)
            .find(|s| of_trace(s) && s.name == "pull" && text(&s.attributes, "source").as_deref() == Some("probe"))
    })
    .await;

    // The rest is sent when the process ends.
    let asked = belfry.get("/api/sources").await.expect(200);
    let id = asked.headers["x-request-id"].to_str().expect("text").to_owned();
    belfry.signal("TERM").await;
    let (status, log) = belfry.ended().await;
    assert_eq!(status.code(), Some(0), "{log}");
    let of_request =
        |s: &Span| s.attributes.iter().any(|a| text(std::slice::from_ref(a), &a.key).as_ref() == Some(&id));
    assert!(spans(&collector).values().any(|(_, s)| of_request(s)), "no span of request {id}");
}
