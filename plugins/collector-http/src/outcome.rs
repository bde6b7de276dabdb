//! What one answer means.
//!
//! Not here: host calls.

use belfry_sdk::Result;
use belfry_sdk::http::{Response, TlsFacts};

use crate::config::Target;

/// A probe's result.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Why it is not up.
    pub failure: Option<String>,
    /// Where a body was expected and one came.
    pub body_match: Option<bool>,
    /// What came.
    pub answer: Option<Answer>,
}

/// The measured answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Bytes of its body.
    pub length: f64,
    /// From connecting to the last byte.
    pub total_s: f64,
    /// Its parts; they add up to the whole.
    pub phases_s: [(&'static str, f64); 5],
    /// Of an `https` connection.
    pub tls: Option<TlsFacts>,
}

impl Outcome {
    /// Judges an answer.
    pub fn of(target: &Target, answer: &Result<Response>) -> Self {
        let response = match answer {
            Ok(response) => response,
            Err(error) => return Self { failure: Some(error.code().to_owned()), body_match: None, answer: None },
        };
        let text = response.text();
        let body_match =
            (!target.expect_body.is_empty()).then(|| target.expect_body.iter().all(|expect| expect.holds(&text)));
        let failure = if !target.expects(response.status()) {
            Some("status".to_owned())
        } else if body_match == Some(false) {
            Some("body".to_owned())
        } else {
            None
        };
        Self { failure, body_match, answer: Some(Answer::of(response)) }
    }
}

impl Answer {
    fn of(response: &Response) -> Self {
        let t = response.timings();
        let seconds = |us: u64| us as f64 / 1e6;
        let before = t.dns_us + t.connect_us + t.tls_us + t.first_byte_us;
        Self {
            status: response.status(),
            length: response.body().len() as f64,
            total_s: seconds(t.total_us),
            phases_s: [
                ("resolve", seconds(t.dns_us)),
                ("connect", seconds(t.connect_us)),
                ("tls", seconds(t.tls_us)),
                ("processing", seconds(t.first_byte_us)),
                ("transfer", seconds(t.total_us.saturating_sub(before))),
            ],
            tls: response.tls().cloned(),
        }
    }
}
