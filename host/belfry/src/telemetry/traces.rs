//! The host's spans, sent to an OTLP endpoint when one is configured, and the `traceparent` of the current one.

use std::time::Duration;

use anyhow::{Context as _, Result};
use belfry_config::types::{OtlpProtocol, Telemetry};
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer};

/// An endpoint that does not answer must not hold spans, or the end of the process, for longer.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends spans until it is shut down.
pub struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// `None` when no endpoint is configured.
    pub fn new(telemetry: &Telemetry) -> Result<Option<Self>> {
        let Some(endpoint) = &telemetry.otlp_endpoint else { return Ok(None) };
        let exporter = match telemetry.otlp_protocol {
            OtlpProtocol::Http => SpanExporter::builder()
                .with_http()
                .with_endpoint(http_endpoint(endpoint))
                .with_timeout(EXPORT_TIMEOUT)
                .build(),
            OtlpProtocol::Grpc => {
                SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(EXPORT_TIMEOUT).build()
            }
        }
        .with_context(|| format!("cannot send spans to {endpoint}"))?;
        let resource = Resource::builder().with_service_name(telemetry.service_name.clone()).build();
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
        Ok(Some(Self { provider }))
    }

    /// Takes spans from `tracing`: Belfry's own, from `info` up.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: tracing::Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let own = EnvFilter::new("off,belfry=info,belfry_plugin=info,belfry_dashboard=info,belfry_ingest=info");
        tracing_opentelemetry::layer().with_tracer(self.provider.tracer("belfry")).with_filter(own)
    }

    /// Sends what waits; blocks for at most a few seconds.
    pub fn shutdown(&self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// OTLP over HTTP wants the signal's path.
fn http_endpoint(endpoint: &str) -> String {
    let base = endpoint.trim_end_matches('/');
    if base.ends_with("/v1/traces") { base.to_owned() } else { format!("{base}/v1/traces") }
}

/// The W3C `traceparent` of the current span; `None` when spans are not sent.
pub fn traceparent() -> Option<String> {
    let context = tracing::Span::current().context();
    let span = context.span();
    let ids = span.span_context();
    ids.is_valid().then(|| format!("00-{}-{}-{:02x}", ids.trace_id(), ids.span_id(), ids.trace_flags().to_u8()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signals_path_is_added_once() {
        assert_eq!(http_endpoint("http://h:4318/"), "http://h:4318/v1/traces");
        assert_eq!(http_endpoint("http://h:4318/v1/traces"), "http://h:4318/v1/traces");
    }
}
