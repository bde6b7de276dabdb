//! Sends lines and understands what is answered.
//!
//! Invariant: a shipment is taken only when each of its bodies was; a body that was refused, or points of it, is counted and
//! does not keep the others from being sent; but what a place refuses that refuses an empty body, too, waits.
//! Not here: how lines are written (`lines`), when something is sent again.

use std::io::Write as _;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, HeaderValue};
use url::Url;

use super::lines::{self, BODY_BYTES_MAX};
use super::{Place, at};
use crate::engine::{SendError, Sent, Shipment};
use crate::http::{Ask, HttpAnswer, HttpClient, is_same_refusal};

/// Bytes of an answer to a write. InfluxDB 3 names each line that it refuses.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// Writes to one server.
pub struct Sender {
    client: HttpClient,
    url: Url,
    timeout: Duration,
}

impl Sender {
    /// To this place.
    pub fn new(client: HttpClient, base: &Url, place: &Place, timeout: Duration) -> Self {
        Self { client, url: write_url(base, place), timeout }
    }

    /// Sends all of it.
    pub async fn send(&self, shipment: &Shipment) -> Result<Sent, SendError> {
        let lines = lines::encode(shipment, BODY_BYTES_MAX);
        let mut refused: Option<(String, u64)> = None;
        let mut looks_at_lines = false;
        for body in &lines.bodies {
            match understand(&self.write(&body.text).await?, body.samples)? {
                Taken::All => looks_at_lines = true,
                Taken::Without { samples, reason, is_whole } => {
                    if is_whole && !std::mem::replace(&mut looks_at_lines, true) {
                        self.looks_at_lines(&reason).await?;
                    }
                    let (_, all) = refused.get_or_insert((reason, 0));
                    *all += samples.min(body.samples);
                }
            }
        }
        match refused {
            None => Ok(Sent { left_out: lines.left_out }),
            Some((reason, samples)) => Err(SendError::Refused { reason, samples: Some(samples + lines.left_out) }),
        }
    }

    async fn write(&self, text: &str) -> Result<HttpAnswer, SendError> {
        let ask = Ask::post(self.url.clone(), "text/plain; charset=utf-8", pack(text), self.timeout, ANSWER_BYTES_MAX)
            .with(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        let answer = self.client.ask(ask).await;
        answer.map_err(|e| SendError::Away { reason: e.to_string(), retry_after_ms: None })
    }

    /// Does the place that refused with `refusal` take any lines at all? Else it is the wrong one: nobody has looked at the
    /// lines, and they wait. VictoriaMetrics and vmauth answer 400 to a path that they do not know.
    async fn looks_at_lines(&self, refusal: &str) -> Result<(), SendError> {
        let probe = self.write("").await?;
        match understand(&probe, 0)? {
            Taken::Without { reason, .. } if is_same_refusal(refusal, &reason) => {
                let reason = format!("it refuses an empty request, too, so its address may be wrong: {reason}");
                Err(SendError::Away { reason, retry_after_ms: probe.retry_after_ms() })
            }
            _ => Ok(()),
        }
    }
}

fn write_url(base: &Url, place: &Place) -> Url {
    match place {
        Place::V1 { database, retention_policy } => {
            let mut pairs = vec![("db", database.as_str()), ("precision", "ms")];
            pairs.extend(retention_policy.as_deref().map(|rp| ("rp", rp)));
            at(base, "write", &pairs)
        }
        Place::V2 { org, bucket, .. } => {
            at(base, "api/v2/write", &[("org", org.as_str()), ("bucket", bucket.as_str()), ("precision", "ms")])
        }
        Place::V3 { database } => {
            at(base, "api/v3/write_lp", &[("db", database.as_str()), ("precision", "millisecond")])
        }
    }
}

fn pack(text: &str) -> Vec<u8> {
    // The fastest one: lines are much alike. Writing to memory does not fail.
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 8), Compression::fast());
    encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish()).unwrap_or_default()
}

/// What a server did with a body.
#[derive(Debug, PartialEq, Eq)]
enum Taken {
    All,
    /// `is_whole`: it does not say that it took any.
    Without {
        samples: u64,
        reason: String,
        is_whole: bool,
    },
}

fn understand(answer: &HttpAnswer, lines: u64) -> Result<Taken, SendError> {
    let status = answer.status.as_u16();
    let reason = answer.reason();
    match status {
        200..=299 => Ok(Taken::All),
        // It does not know what to do with these lines.
        400 | 413 | 422 => {
            let dropped = dropped(&answer.body);
            let is_whole = dropped.is_none() && status != 413;
            Ok(Taken::Without { samples: dropped.unwrap_or(lines), reason, is_whole })
        }
        // Everything else is about the server, the way to it, or who we are: a person or time will mend it.
        _ => Err(SendError::Away { reason, retry_after_ms: answer.retry_after_ms() }),
    }
}

/// How many points a server says that it did not take, if it took the others. Versions 1 and 2: `partial write: …
/// dropped=N`, and one `unable to parse` for each line that it did not understand. Version 3: a list of lines.
fn dropped(body: &[u8]) -> Option<u64> {
    let json: serde_json::Value = serde_json::from_slice(body).ok()?;
    let text = |key: &str| json.get(key).and_then(serde_json::Value::as_str);
    let message = text("error").or_else(|| text("message"))?;
    let partial = message.find("partial write")?;
    if let Some(lines) = json.get("data").and_then(serde_json::Value::as_array) {
        return Some(lines.len() as u64);
    }
    let said = message.get(partial..)?;
    let not_parsed = said.matches("unable to parse").count() as u64;
    let dropped = said.rsplit_once("dropped=").map(|(_, n)| n);
    let digits = dropped.map(|n| n.chars().take_while(char::is_ascii_digit).collect::<String>());
    Some(not_parsed + digits?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;

    fn answer(status: u16, body: &str) -> HttpAnswer {
        let status = StatusCode::from_u16(status).expect("a status");
        HttpAnswer { status, headers: HeaderMap::new(), body: body.as_bytes().to_vec() }
    }

    #[track_caller]
    fn refused(status: u16, body: &str) -> u64 {
        match understand(&answer(status, body), 1000) {
            Ok(Taken::Without { samples, .. }) => samples,
            other => panic!("{other:?}"),
        }
    }

    /// A server that gives these answers to what has lines, and to what has none; what becomes of a sample there.
    async fn sent(lines: (&'static str, &'static str), empty: (&'static str, &'static str)) -> Result<Sent, SendError> {
        let url = crate::fake::serve(move |asked| {
            let mut text = String::new();
            std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&asked.body[..]), &mut text).expect("gzip");
            let (head, body) = if text.is_empty() { empty } else { lines };
            Some((head.to_owned(), body.to_owned()))
        });
        let place = Place::V2 { org: "o".into(), bucket: "b".into(), database: None };
        let client = HttpClient::new(belfry_client::ClientOptions::default()).expect("a client");
        let sample = belfry_model::Sample {
            at: belfry_model::TimestampMs(1),
            value: belfry_model::Value::Float(1.0),
            start: None,
        };
        let labels = belfry_model::Labels::from_pairs([("__name__", "m")]);
        let series = crate::engine::SeriesSamples { labels, samples: vec![sample], exemplars: Vec::new() };
        let shipment = Shipment { series: vec![series], metadata: Vec::new() };
        Sender::new(client, &url.await, &place, Duration::from_secs(30)).send(&shipment).await
    }

    #[tokio::test]
    async fn a_place_that_refuses_an_empty_body_too_is_a_wrong_address_and_samples_wait() {
        let (bad, fine) = ("400 Bad Request", ("204 Fine", ""));
        let route = (bad, "missing route for \"/nope/api/v2/write\"");
        let Err(SendError::Away { reason, .. }) = sent(route, route).await else { panic!("they are given up") };
        assert!(reason.contains("address") && reason.contains("missing route"), "{reason}");
        let is_refused = |outcome| matches!(outcome, Err(SendError::Refused { samples: Some(1), .. }));
        let line = (bad, r#"{"error":"unable to parse 'm value=1 1'"}"#);
        assert!(is_refused(sent(line, fine).await));
        // InfluxDB 2.0 up to 2.0.8.
        let empty = (bad, r#"{"code":"invalid","message":"writing requires points"}"#);
        assert!(is_refused(sent(line, empty).await), "for being empty");
        assert!(is_refused(sent(("413 Too Large", ""), ("413 Too Large", "")).await));
        let away = sent(line, ("401 Unauthorized", "")).await;
        assert!(matches!(away, Err(SendError::Away { .. })), "{away:?}");
    }

    #[test]
    fn what_is_partly_taken_is_counted_as_the_server_says() {
        let text = r#"{"error":"partial write: field type conflict: input field \"value\" is type string dropped=3"}"#;
        assert_eq!(refused(400, text), 3);
        let text = r#"{"error":"partial write: unable to parse 'a': x\nunable to parse 'b': y dropped=0"}"#;
        assert_eq!(refused(400, text), 2);
        let text = r#"{"code":"unprocessable entity","message":"failure writing points to database: partial write: points beyond retention policy dropped=7"}"#;
        assert_eq!(refused(422, text), 7);
        let text = r#"{"error":"partial write of line protocol occurred","data":[{"original_line":"x","line_number":1,"error_message":"y"}]}"#;
        assert_eq!(refused(400, text), 1);
    }

    #[test]
    fn what_is_not_taken_at_all_counts_whole() {
        assert_eq!(refused(400, r#"{"error":"unable to parse 'm,a= value=1': missing tag value"}"#), 1000);
        assert_eq!(refused(413, ""), 1000);
        assert_eq!(refused(400, "<html>"), 1000);
    }

    #[test]
    fn what_time_or_a_person_mends_is_kept() {
        for status in [301, 401, 403, 404, 408, 429, 500, 503] {
            let away = understand(&answer(status, r#"{"error":"database not found: \"x\""}"#), 1);
            assert!(matches!(away, Err(SendError::Away { .. })), "{status}: {away:?}");
        }
        assert_eq!(understand(&answer(204, ""), 1), Ok(Taken::All));
    }

    #[test]
    fn each_version_is_written_to_where_it_listens() {
        let base: Url = "https://tsdb.example/influx/".parse().expect("an address");
        let v1 = Place::V1 { database: "a&b".into(), retention_policy: Some("two years".into()) };
        let v2 = Place::V2 { org: "o".into(), bucket: "b/c".into(), database: None };
        let v3 = Place::V3 { database: "d".into() };
        let write = |place| write_url(&base, &place).to_string();
        assert_eq!(write(v1), "https://tsdb.example/influx/write?db=a%26b&precision=ms&rp=two+years");
        assert_eq!(write(v2), "https://tsdb.example/influx/api/v2/write?org=o&bucket=b%2Fc&precision=ms");
        assert_eq!(write(v3), "https://tsdb.example/influx/api/v3/write_lp?db=d&precision=millisecond");
    }
}
