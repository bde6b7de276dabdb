//! Probes HTTP endpoints side by side: does it answer as it should, how long does each phase take, when does its
//! certificate end.
//!
//! Invariant: each target says `http_probe_up` in every round, whatever happens to the others.
//! Not here: DNS, TLS, limits of concurrency (the host's `http`).

mod config;
mod outcome;

use belfry_sdk::http::Request;
use belfry_sdk::prelude::*;

use config::{Config, Target};
use outcome::Outcome;

/// Longer bodies are not read: what a probe looks for stands near the beginning.
const BODY_BYTES_MAX: u32 = 1 << 20;

/// The host's default limits: requests at a time, and the wall time of a call.
const AT_A_TIME: usize = 8;
const CALL_MS: u64 = 5_000;

static UP: Gauge = Gauge::new("http_probe_up", "1 when the target answered as expected.");
static STATUS: Gauge = Gauge::new("http_probe_status_code", "Status of the answer.");
static DURATION: Gauge = Gauge::new("http_probe_duration_seconds", "From connecting to the last byte.").unit("seconds");
static PHASE: Gauge = Gauge::new(
    "http_probe_phase_seconds",
    "Time by phase: resolve, connect, tls, processing (to the first byte), transfer.",
)
.unit("seconds");
static CERTIFICATE: Gauge =
    Gauge::new("http_probe_certificate_expiry_timestamp_seconds", "When the certificate ends.").unit("seconds");
static CERTIFICATE_LEFT: Gauge =
    Gauge::new("http_probe_certificate_remaining_seconds", "How long the certificate is still good.").unit("seconds");
static TLS: Info = Info::new("http_probe_tls_info", "Version of TLS, and who the certificate is for and from.");
static BODY_MATCH: Gauge = Gauge::new("http_probe_body_match", "1 when the body is as expected; only where asked for.");
static LENGTH: Gauge = Gauge::new("http_probe_content_length_bytes", "Length of the body.").unit("bytes");
static FAILURES: Counter = Counter::new(
    "http_probe_failures_total",
    "Failed probes by reason: status, body, timeout, unreachable, limit, denied or another code of the host.",
);

/// The collector.
#[derive(Debug)]
pub struct HttpCollector {
    targets: Vec<Target>,
}

impl Plugin for HttpCollector {
    type Config = Config;

    fn describe() -> Descriptor {
        Descriptor::new(
            "collector-http",
            env!("CARGO_PKG_VERSION"),
            "Probes HTTP endpoints: status, latency by phase, certificate expiry, body.",
        )
        .metrics(&[
            &UP,
            &STATUS,
            &DURATION,
            &PHASE,
            &CERTIFICATE,
            &CERTIFICATE_LEFT,
            &TLS,
            &BODY_MATCH,
            &LENGTH,
            &FAILURES,
        ])
        .config_schema(include_str!("../config.schema.json"))
        .want("http", "the origins of `urls` and `targets`")
        .default_interval_ms(15_000)
    }

    fn configure(config: Config) -> Result<Self> {
        let targets = config.into_targets()?;
        let slowest = targets.iter().map(Target::timeout_ms).max().unwrap_or(0);
        let worst_ms = slowest.saturating_mul(targets.len().div_ceil(AT_A_TIME) as u64);
        if worst_ms >= CALL_MS {
            warn!(
                "{} targets that all hang take {worst_ms} ms: keep `limits.call_time` above that, or lower `timeout`",
                targets.len()
            );
        }
        for target in &targets {
            // So that the first failure is an increase.
            for reason in ["status", "timeout", "unreachable"] {
                FAILURES.with([("target", target.name.as_str()), ("reason", reason)]).add(0.0);
            }
        }
        Ok(Self { targets })
    }
}

impl Collector for HttpCollector {
    fn collect(&mut self) -> Result<()> {
        let requests: Vec<Request> = self.targets.iter().map(|t| t.request(BODY_BYTES_MAX)).collect();
        let answers = http::send_all(&requests);
        let now = clock::now_ms();
        for (target, answer) in self.targets.iter().zip(answers) {
            if let Err(error) = &answer
                && error.is_denied()
            {
                warn!("{}: {error}", target.name);
            }
            record(&target.name, &Outcome::of(target, &answer), now);
        }
        Ok(())
    }
}

fn record(name: &str, outcome: &Outcome, now_ms: i64) {
    let target = ("target", name);
    UP.with([target]).set(f64::from(u8::from(outcome.failure.is_none())));
    if let Some(reason) = &outcome.failure {
        FAILURES.with([target, ("reason", reason)]).add(1.0);
    }
    if let Some(matched) = outcome.body_match {
        BODY_MATCH.with([target]).set(f64::from(u8::from(matched)));
    }
    let Some(answer) = &outcome.answer else { return };
    STATUS.with([target]).set(f64::from(answer.status));
    LENGTH.with([target]).set(answer.length);
    DURATION.with([target]).set(answer.total_s);
    for (phase, seconds) in answer.phases_s {
        PHASE.with([target, ("phase", phase)]).set(seconds);
    }
    if let Some(tls) = &answer.tls {
        CERTIFICATE.with([target]).set(tls.not_after_ms as f64 / 1000.0);
        CERTIFICATE_LEFT.with([target]).set((tls.not_after_ms - now_ms) as f64 / 1000.0);
        let labels = [
            target,
            ("version", tls.version.as_str()),
            ("subject", tls.subject.as_str()),
            ("issuer", tls.issuer.as_str()),
        ];
        TLS.set(labels);
    }
}

belfry_sdk::export!(HttpCollector: collector);

#[cfg(test)]
mod tests;
