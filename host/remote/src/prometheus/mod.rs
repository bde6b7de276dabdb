//! Any engine that takes Prometheus' remote write and answers its HTTP API: Prometheus, VictoriaMetrics, Mimir, Thanos,
//! GreptimeDB.
//!
//! Not here: the queue, retries, evaluation.

mod answer;
#[doc(hidden)]
pub mod fuzz;
mod halves;
mod json;
mod read;
mod there;
mod write;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use belfry_client::ClientOptions;
use belfry_model::{Clock, MetricMetadata, SeriesRead};
use http::header::{CONTENT_ENCODING, HeaderName, HeaderValue};
use parking_lot::Mutex;
use url::Url;

use crate::engine::{Engine, QueryBackend, SendError, Sent, Shipment};
use crate::http::{Ask, HttpAnswer, HttpClient, HttpError};
use halves::{Halves, Part};
use write::Answered;

/// Bytes of an answer to a write: Prometheus has a line for each sample that it refuses.
const WRITE_ANSWER_BYTES_MAX: usize = 8 << 20;
/// Metrics whose metadata is remembered for version 2.
const METADATA_MAX: usize = 50_000;
/// An engine that did not understand version 2 is asked again after this: it may have been replaced by a newer one.
const VERSION_2_AGAIN: Duration = Duration::from_secs(3_600);

/// Which remote write is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// 1.0: everybody understands it; no start timestamps, and Prometheus keeps nothing of a request with a bad sample.
    V1,
    /// 2.0; falls back to 1.0 for an engine that does not understand it.
    #[default]
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
    clock: Arc<dyn Clock>,
    /// When the engine was found not to understand 2.0, by the monotonic clock.
    only_v1: Mutex<Option<Duration>>,
    /// A shipment was begun, perhaps by the process before this one, and nobody knows what of it the engine has.
    underway: AtomicBool,
    /// The shipment that was refused as a whole, and is on its way in parts.
    halves: Mutex<Option<Halves>>,
    metadata: Mutex<HashMap<String, MetricMetadata>>,
    /// How raw samples are read: see `read`.
    reads: AtomicU8,
}

impl Prometheus {
    /// Fails when a certificate or key cannot be read; the error says which. Asks nothing yet.
    pub fn new(options: PrometheusOptions, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let client = HttpClient::new(options.http.clone())?;
        let shared = Shared {
            client,
            options,
            clock,
            only_v1: Mutex::default(),
            underway: AtomicBool::new(true),
            halves: Mutex::default(),
            metadata: Mutex::default(),
            reads: AtomicU8::new(0),
        };
        Ok(Self { shared: Arc::new(shared) })
    }
}

impl Shared {
    async fn write(&self, message: &impl prost::Message, version: Protocol) -> Result<HttpAnswer, SendError> {
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

    /// By version 2; `None` when the engine does not understand that.
    async fn write_v2(&self, shipment: &Shipment) -> Result<Option<Answered>, SendError> {
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
        let understood = write::written(&answer).is_some();
        if answer.status == http::StatusCode::UNSUPPORTED_MEDIA_TYPE || answer.status.is_success() && !understood {
            return Ok(None);
        }
        match write::outcome(&answer, samples)? {
            // Who reads such a request strictly as one of version 1 refuses it, whatever is in it.
            Answered::Refused { is_too_large: false, .. } => Ok(None),
            answered => Ok(Some(answered)),
        }
    }

    async fn write_v1(&self, shipment: &Shipment) -> Result<Answered, SendError> {
        let (message, left_out) = write::v1(shipment);
        let answer = self.write(&message, Protocol::V1).await?;
        match write::outcome(&answer, shipment.samples())? {
            Answered::Taken { refused, .. } => Ok(Answered::Taken { left_out, refused }),
            other => Ok(other),
        }
    }

    /// By the newest version that is wanted and understood, and by which it went.
    async fn write_by(&self, shipment: &Shipment, version: Protocol) -> Result<(Answered, Protocol), SendError> {
        if version == Protocol::V1 {
            return Ok((self.write_v1(shipment).await?, Protocol::V1));
        }
        if let Some(answered) = self.write_v2(shipment).await? {
            if matches!(answered, Answered::Taken { .. }) {
                *self.only_v1.lock() = None;
            }
            return Ok((answered, Protocol::V2));
        }
        let answered = self.write_v1(shipment).await?;
        // Only then it was the version that was not understood.
        let was_version = matches!(answered, Answered::Taken { .. }) && shipment.samples() > 0;
        if was_version && self.only_v1.lock().replace(self.clock.monotonic()).is_none() {
            tracing::warn!("the storage engine does not understand remote write 2.0: it gets 1.0 from now on");
        }
        Ok((answered, Protocol::V1))
    }

    fn version(&self) -> Protocol {
        match *self.only_v1.lock() {
            Some(found) if self.clock.monotonic().saturating_sub(found) < VERSION_2_AGAIN => Protocol::V1,
            _ => self.options.protocol,
        }
    }

    /// Does the place that refused with `refusal` take any samples at all? Else it is the wrong one: nobody has looked at
    /// the samples, and they wait. VictoriaMetrics and vmauth answer 400 to a path that they do not know.
    async fn looks_at_samples(&self, refusal: &str) -> Result<(), SendError> {
        let probe = self.write(&belfry_prompb::WriteRequest::default(), Protocol::V1).await?;
        match write::outcome(&probe, 0)? {
            Answered::Refused { reason, .. } if crate::http::is_same_refusal(refusal, &reason) => {
                let reason =
                    format!("it refuses an empty request, too, so its address or tenant may be wrong: {reason}");
                Err(SendError::Away { reason, retry_after_ms: probe.retry_after_ms() })
            }
            _ => Ok(()),
        }
    }

    /// Takes what was refused as a whole to the engine in parts. Interrupted, it goes on there when the shipment comes again.
    async fn send_in_halves(self: &Arc<Self>, mut halves: Halves) -> Result<Sent, SendError> {
        while let Some(part) = halves.next() {
            let went = match self.write_by(&part.shipment, halves.by).await {
                Ok((Answered::Taken { left_out, refused }, _)) => {
                    halves.taken(&part, left_out, refused);
                    Ok(())
                }
                Ok((Answered::Refused { reason, .. }, _)) => self.refused(&mut halves, part, reason).await,
                Err(away) => {
                    halves.again(part);
                    Err(away)
                }
            };
            if let Err(away) = went {
                *self.halves.lock() = Some(halves);
                return Err(away);
            }
        }
        halves.outcome()
    }

    /// A part was refused. If it may be there, that may be why: the engine is asked what it has of it.
    async fn refused(self: &Arc<Self>, halves: &mut Halves, part: Part, reason: String) -> Result<(), SendError> {
        if !part.may_be_there {
            halves.refused(part, reason);
            return Ok(());
        }
        match there::missing(&read::Reader(self.clone()), &part.shipment).await {
            Ok(missing) => {
                halves.lacks(part, missing, reason);
                Ok(())
            }
            Err(away) => {
                halves.again(part);
                Err(away)
            }
        }
    }

    /// Sends a shipment, some of which `may_be_there` from a time before.
    async fn send(self: &Arc<Self>, shipment: &Shipment, may_be_there: bool) -> Result<Sent, SendError> {
        let interrupted = self.halves.lock().take();
        if let Some(halves) = interrupted.filter(|h| h.is_of(shipment)) {
            return self.send_in_halves(halves).await;
        }
        match self.write_by(shipment, self.version()).await? {
            (Answered::Taken { left_out, refused: None }, _) => Ok(Sent { left_out }),
            (Answered::Taken { left_out, refused: Some((samples, reason)) }, _) => {
                Err(SendError::Refused { reason, samples: Some(samples + left_out) })
            }
            (Answered::Refused { reason, is_too_large }, by) => {
                if !is_too_large {
                    self.looks_at_samples(&reason).await?;
                }
                let mut halves = Halves::of(shipment, by);
                let asked = self.refused(&mut halves, Part::whole(shipment.clone(), may_be_there), reason).await;
                if let Err(away) = asked {
                    *self.halves.lock() = Some(halves);
                    return Err(away);
                }
                self.send_in_halves(halves).await
            }
        }
    }
}

#[async_trait]
impl Engine for Prometheus {
    fn kind(&self) -> &'static str {
        "prometheus"
    }

    async fn send(&self, shipment: &Shipment) -> Result<Sent, SendError> {
        let may_be_there = self.shared.underway.swap(true, Ordering::AcqRel);
        let sent = self.shared.send(shipment, may_be_there).await;
        let is_known = !matches!(sent, Err(SendError::Away { .. }));
        self.shared.underway.store(!is_known, Ordering::Release);
        sent
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
