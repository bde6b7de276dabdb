//! Any engine that takes Prometheus' remote write and answers its HTTP API: Prometheus, VictoriaMetrics, Mimir, Thanos,
//! GreptimeDB.
//!
//! Not here: the queue, retries, evaluation.

mod answer;
#[doc(hidden)]
pub mod fuzz;
mod json;
mod read;
mod write;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use belfry_client::ClientOptions;
use belfry_model::{MetricMetadata, SeriesRead};
use http::header::{CONTENT_ENCODING, HeaderName, HeaderValue};
use parking_lot::Mutex;
use url::Url;

use crate::engine::{Engine, QueryBackend, SendError, Sent, Shipment};
use crate::http::{Ask, HttpClient, HttpError};

/// Bytes of an answer to a write: it says little.
const WRITE_ANSWER_BYTES_MAX: usize = 64 << 10;
/// Metrics whose metadata is remembered for version 2.
const METADATA_MAX: usize = 50_000;

/// Which remote write is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// 1.0: everybody understands it; no start timestamps.
    #[default]
    V1,
    /// 2.0; falls back to 1.0 for an engine that does not understand it.
    V2,
}

/// Where and how.
#[derive(Clone, Debug)]
pub struct PrometheusOptions {
    /// Where remote write goes: `http://host:9090/api/v1/write`.
    pub write_url: Url,
    /// What `/api/v1/query` and the others stand behind: `http://host:9090`.
    pub read_url: Url,
    /// Which remote write.
    pub protocol: Protocol,
    /// How it is asked.
    pub http: ClientOptions,
    /// Of one exchange.
    pub timeout: Duration,
}

/// The engine.
pub struct Prometheus {
    shared: Arc<Shared>,
}

struct Shared {
    client: HttpClient,
    options: PrometheusOptions,
    /// The engine does not understand 2.0.
    only_v1: AtomicBool,
    metadata: Mutex<HashMap<String, MetricMetadata>>,
    /// How raw samples are read: see `read`.
    reads: AtomicU8,
}

impl Prometheus {
    /// Fails when a certificate or key cannot be read; the error says which. Asks nothing yet.
    pub fn new(options: PrometheusOptions) -> Result<Self, String> {
        let client = HttpClient::new(options.http.clone())?;
        let shared = Shared {
            client,
            options,
            only_v1: AtomicBool::new(false),
            metadata: Mutex::default(),
            reads: AtomicU8::new(0),
        };
        Ok(Self { shared: Arc::new(shared) })
    }
}

impl Shared {
    async fn write(
        &self,
        message: &impl prost::Message,
        version: Protocol,
    ) -> Result<crate::http::HttpAnswer, SendError> {
        let away = |reason: String| SendError::Away { reason, retry_after_ms: None };
        let packed = belfry_prompb::packed(message).map_err(|e| away(e.to_string()))?;
        let (content_type, number) = match version {
            Protocol::V1 => ("application/x-protobuf", "0.1.0"),
            Protocol::V2 => ("application/x-protobuf;proto=io.prometheus.write.v2.Request", "2.0.0"),
        };
        let o = &self.options;
        let ask = Ask::post(o.write_url.clone(), content_type, packed, o.timeout, WRITE_ANSWER_BYTES_MAX)
            .with(CONTENT_ENCODING, HeaderValue::from_static("snappy"))
            .with(HeaderName::from_static("x-prometheus-remote-write-version"), HeaderValue::from_static(number));
        self.client.ask(ask).await.map_err(|e: HttpError| away(e.to_string()))
    }

    async fn write_v2(&self, shipment: &Shipment) -> Result<V2, SendError> {
        let samples = shipment.samples();
        let message = {
            let mut known = self.metadata.lock();
            for m in &shipment.metadata {
                if known.len() < METADATA_MAX || known.contains_key(&m.name) {
                    known.insert(m.name.clone(), m.clone());
                }
            }
            write::v2(shipment, &known)
        };
        let answer = self.write(&message, Protocol::V2).await?;
        // Who does not say how much was written has taken the request for one of version 1, and wrote nothing.
        let understood = write::written(&answer).is_some() || samples == 0;
        if answer.status == http::StatusCode::UNSUPPORTED_MEDIA_TYPE || answer.status.is_success() && !understood {
            return Ok(V2::NotUnderstood);
        }
        if answer.status == http::StatusCode::PAYLOAD_TOO_LARGE && shipment.series.len() > 1 {
            return Ok(V2::TooLarge);
        }
        write::outcome(&answer, samples).map(|()| V2::Taken)
    }
}

/// What became of a request of version 2.
enum V2 {
    Taken,
    /// Smaller ones may be taken.
    TooLarge,
    NotUnderstood,
}

impl Prometheus {
    /// What a proxy or an engine finds too large goes in two parts, and those again if they must.
    async fn send_in_halves(&self, shipment: &Shipment) -> Result<Sent, SendError> {
        let (first, second) = shipment.series.split_at(shipment.series.len() / 2);
        let (mut sent, mut refused, mut why) = (Sent::default(), 0, None);
        for (series, metadata) in [(first, shipment.metadata.as_slice()), (second, &[])] {
            let half = Shipment { series: series.to_vec(), metadata: metadata.to_vec() };
            match self.send(&half).await {
                Ok(done) => sent.left_out += done.left_out,
                Err(SendError::Refused { reason, samples }) => {
                    refused += samples.unwrap_or_else(|| half.samples());
                    why = Some(reason);
                }
                // All of it is sent again.
                Err(away) => return Err(away),
            }
        }
        match why {
            Some(reason) => Err(SendError::Refused { reason, samples: Some(refused) }),
            None => Ok(sent),
        }
    }
}

#[async_trait]
impl Engine for Prometheus {
    fn kind(&self) -> &'static str {
        "prometheus"
    }

    async fn send(&self, shipment: &Shipment) -> Result<Sent, SendError> {
        let shared = &self.shared;
        if shared.options.protocol == Protocol::V2 && !shared.only_v1.load(Ordering::Relaxed) {
            match shared.write_v2(shipment).await? {
                V2::Taken => return Ok(Sent::default()),
                V2::TooLarge if shipment.series.len() > 1 => return self.send_in_halves(shipment).await,
                V2::TooLarge | V2::NotUnderstood => {}
            }
            tracing::warn!("the storage engine does not understand remote write 2.0: it gets 1.0 from now on");
            shared.only_v1.store(true, Ordering::Relaxed);
        }
        let (message, left_out) = write::v1(shipment);
        let answer = shared.write(&message, Protocol::V1).await?;
        if answer.status == http::StatusCode::PAYLOAD_TOO_LARGE && shipment.series.len() > 1 {
            return self.send_in_halves(shipment).await;
        }
        write::outcome(&answer, shipment.samples()).map(|()| Sent { left_out })
    }

    fn reader(&self) -> Arc<dyn SeriesRead> {
        Arc::new(read::Reader(self.shared.clone()))
    }

    fn query_backend(&self) -> Option<Arc<dyn QueryBackend>> {
        Some(Arc::new(read::Reader(self.shared.clone())))
    }
}

#[cfg(test)]
#[path = "send_tests.rs"]
mod tests;
