//! An answer read in pieces.
//!
//! Invariant: no more than one piece is held; the stream keeps one of the plugin's requests at a time until it is
//! dropped or at its end, and ends at the request's deadline.
//! Not here: the request itself (`egress`).

use std::time::Instant;

use bytes::{Buf, Bytes};
use http_body_util::BodyExt;

use super::egress::{Answer, causes, too_long};
use super::error::HttpError;

/// The largest piece, whatever the plugin asks for.
const PIECE_BYTES_MAX: usize = 1 << 20;

/// The body of an answer.
pub struct BodyStream {
    /// `None` at the end.
    answer: Option<Answer>,
    /// Received, not yet read.
    ready: Bytes,
    received: usize,
    bytes_max: usize,
}

impl BodyStream {
    pub(super) fn new(answer: Answer, bytes_max: usize) -> Self {
        Self { answer: Some(answer), ready: Bytes::new(), received: 0, bytes_max }
    }

    /// Up to `bytes_max` more bytes, at least one; `None` at the end.
    pub async fn read(&mut self, bytes_max: u32) -> Result<Option<Vec<u8>>, HttpError> {
        let most = (bytes_max as usize).min(PIECE_BYTES_MAX);
        if most == 0 {
            return Err(HttpError::invalid("a piece has at least one byte"));
        }
        while self.ready.is_empty() {
            let Some(deadline) = self.answer.as_ref().map(|answer| answer.deadline) else { return Ok(None) };
            let left = deadline.saturating_duration_since(Instant::now());
            let received = match tokio::time::timeout(left, self.receive()).await {
                Ok(received) => received,
                Err(_) => Err(HttpError::timeout("the answer did not end within the request's time")),
            };
            if received.is_err() {
                self.answer = None;
            }
            received?;
        }
        let piece = self.ready.slice(..most.min(self.ready.len()));
        self.ready.advance(piece.len());
        Ok(Some(piece.to_vec()))
    }

    async fn receive(&mut self) -> Result<(), HttpError> {
        let Some(answer) = &mut self.answer else { return Ok(()) };
        match answer.body.frame().await {
            None => {
                self.ready = answer.echoes.finish().into();
                self.answer = None;
            }
            Some(Err(error)) => {
                return Err(HttpError::unreachable(format!("the answer broke off: {}", causes(&error))));
            }
            Some(Ok(frame)) => {
                let Some(data) = frame.data_ref() else { return Ok(()) };
                self.received += data.len();
                if self.received > self.bytes_max {
                    return Err(too_long(self.bytes_max));
                }
                self.ready = answer.echoes.push(data).into();
            }
        }
        Ok(())
    }
}
