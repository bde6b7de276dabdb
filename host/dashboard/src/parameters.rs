//! What a request to Prometheus' API says: parameters of its URL and of its form, with Prometheus' refusals.
//!
//! Invariant: as Go merges them: the fields of an `application/x-www-form-urlencoded` body, then those of the URL, then
//! those of a `multipart/form-data` body; the first value counts. A body of any other type is not looked at. At most
//! [`FORM_BYTES_MAX`] are read.
//! Not here: which parameters a route has.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{Method, header};
use belfry_model::{TimeRange, TimestampMs};
use futures::StreamExt as _;
use http_body::Body as _;

use crate::form::{self, Pairs};
use crate::params;
use crate::prometheus::ApiError;

/// Bytes of a form, as Go's `ParseForm`; a longer one is answered 413. Queries that a program writes may be long.
pub(crate) const FORM_BYTES_MAX: usize = 10 << 20;

/// Names may repeat (`match[]`).
pub(crate) struct Parameters {
    pairs: Pairs,
    /// What could not be read was left out.
    fault: Option<String>,
}

impl Parameters {
    pub async fn of(request: Request) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let mut said = Self { pairs: Vec::new(), fault: None };
        let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
        let media_type = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        let has_form = matches!(parts.method, Method::POST | Method::PUT | Method::PATCH);
        if has_form && media_type == "application/x-www-form-urlencoded" {
            let text = bytes_of(body).await?;
            said.fault = form::urlencoded(&text, &mut said.pairs).err();
            said.url(parts.uri.query());
        } else {
            said.url(parts.uri.query());
            let boundary = form::parameter(content_type, "boundary").filter(|_| media_type == "multipart/form-data");
            if let Some(boundary) = boundary.filter(|b| has_form && !b.is_empty()) {
                let told = form::multipart(&bytes_of(body).await?, &boundary, &mut said.pairs);
                said.fault = said.fault.or(told.err());
            }
        }
        Ok(said)
    }

    fn url(&mut self, query: Option<&str>) {
        let told = form::urlencoded(query.unwrap_or("").as_bytes(), &mut self.pairs);
        self.fault = self.fault.take().or(told.err());
    }

    /// Refuses what could not be read: where a parameter left out would mean more than was asked for.
    pub fn whole(&self) -> Result<(), ApiError> {
        self.fault.as_ref().map_or(Ok(()), |why| Err(ApiError::bad_data(unreadable(why))))
    }

    /// Why something was left out.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str()).filter(|v| !v.is_empty())
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub fn instant(&self, name: &str) -> Result<Option<TimestampMs>, ApiError> {
        let read = |text| {
            let bad = || format!("invalid time value for '{name}': cannot parse {text:?} to a valid timestamp");
            params::instant(text).ok_or_else(|| invalid(name, &bad()))
        };
        self.get(name).map(read).transpose()
    }

    pub fn needed_instant(&self, name: &str) -> Result<TimestampMs, ApiError> {
        let text = self.get(name).unwrap_or("");
        let bad = || invalid(name, &format!("cannot parse {text:?} to a valid timestamp"));
        params::instant(text).ok_or_else(bad)
    }

    /// `start` and `end`; all time where they are left out. `None` where the end is before the start.
    pub fn range_or_none(&self) -> Result<Option<TimeRange>, ApiError> {
        let start = self.instant("start")?.unwrap_or(TimestampMs::MIN);
        let end = self.instant("end")?.unwrap_or(TimestampMs(i64::MAX - 1));
        Ok(TimeRange::inclusive(start, end))
    }

    /// As [`Parameters::range_or_none`], where an end before the start is refused.
    pub fn range(&self) -> Result<TimeRange, ApiError> {
        self.range_or_none()?.ok_or_else(|| ApiError::bad_data("end timestamp must not be before start timestamp"))
    }

    /// How much is answered; 0, or nothing said, is all.
    pub fn limit(&self) -> Result<usize, ApiError> {
        let Some(text) = self.get("limit") else { return Ok(0) };
        let limit = text.parse::<i64>().map_err(|e| {
            let why = match e.kind() {
                std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => "value out of range",
                _ => "invalid syntax",
            };
            invalid("limit", &format!("strconv.Atoi: parsing {text:?}: {why}"))
        })?;
        usize::try_from(limit).map_err(|_| invalid("limit", "limit must be non-negative"))
    }

    /// A number of things, as the routes of metadata take it. A negative one is no bound.
    pub fn count(&self, name: &str) -> Result<Option<usize>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let number: i64 = text.parse().map_err(|_| ApiError::bad_data(format!("{name} must be a number")))?;
        Ok(usize::try_from(number).ok())
    }

    /// How far back an instant selector looks. Nothing, or less, means the default.
    pub fn lookback(&self) -> Result<Option<Duration>, ApiError> {
        let bad = |why| ApiError::bad_data(format!("error parsing lookback delta duration: {why}"));
        let said = self.get("lookback_delta").map(params::nanoseconds).transpose().map_err(bad)?;
        // The evaluation counts in milliseconds.
        Ok(said.and_then(positive).map(|d| d.max(Duration::from_millis(1))))
    }

    /// How long the evaluation may take: zero where it is over before it begins.
    pub fn timeout(&self) -> Result<Option<Duration>, ApiError> {
        let said = self.get("timeout").map(params::nanoseconds).transpose().map_err(|why| invalid("timeout", &why))?;
        Ok(said.map(|ns| positive(ns).unwrap_or_default()))
    }

    /// The distance of a range query's points.
    pub fn step(&self) -> Result<Duration, ApiError> {
        let ns = params::nanoseconds(self.get("step").unwrap_or("")).map_err(|why| invalid("step", &why))?;
        // Prometheus takes one below a millisecond, and divides by its zero milliseconds.
        positive(ns).filter(|step| step.as_millis() > 0).ok_or_else(|| {
            invalid("step", "zero or negative query resolution step widths are not accepted. Try a positive integer")
        })
    }
}

fn positive(ns: i64) -> Option<Duration> {
    u64::try_from(ns).ok().filter(|ns| *ns > 0).map(Duration::from_nanos)
}

fn invalid(name: &str, why: &str) -> ApiError {
    ApiError::bad_data(format!("invalid parameter {name:?}: {why}"))
}

/// In Go's words.
pub(crate) fn unreadable(why: &str) -> String {
    format!("error parsing form values: {why}")
}

async fn bytes_of(body: Body) -> Result<Vec<u8>, ApiError> {
    let too_large = || ApiError::too_large(unreadable("http: POST too large"));
    // What says that it is longer is not waited for.
    if body.size_hint().lower() > FORM_BYTES_MAX as u64 {
        return Err(too_large());
    }
    let mut read = Vec::new();
    let mut stream = body.into_data_stream();
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|e| ApiError::bad_data(unreadable(&e.to_string())))?;
        if read.len() + piece.len() > FORM_BYTES_MAX {
            return Err(too_large());
        }
        read.extend_from_slice(&piece);
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(name: &str, value: &str) -> Parameters {
        Parameters { pairs: vec![(name.to_owned(), value.to_owned())], fault: None }
    }

    fn message<T: std::fmt::Debug>(refused: Result<T, ApiError>) -> String {
        refused.expect_err("refused").message().to_owned()
    }

    async fn of(method: &str, uri: &str, content_type: Option<&str>, body: &'static str) -> Parameters {
        let mut request = Request::builder().method(method).uri(uri);
        if let Some(value) = content_type {
            request = request.header("content-type", value);
        }
        Parameters::of(request.body(body.into()).unwrap()).await.unwrap()
    }

    const FORM: Option<&str> = Some("Application/X-WWW-Form-Urlencoded; charset=utf-8");

    #[tokio::test]
    async fn the_form_is_heard_before_the_url_and_no_other_body_is() {
        for (method, content_type, body, first, all) in [
            ("POST", FORM, "a=form", "form", 2),
            ("PUT", FORM, "a=form", "form", 2),
            ("GET", FORM, "a=form", "url", 1),
            ("POST", None, "", "url", 1),
            ("PUT", None, "", "url", 1),
            ("POST", None, "a=form", "url", 1),
            ("POST", Some("application/json"), "{}", "url", 1),
            ("POST", Some(";;"), "a=form", "url", 1),
            ("POST", Some("multipart/form-data"), "a=form", "url", 1),
        ] {
            let p = of(method, "/x?a=url", content_type, body).await;
            assert_eq!((p.get("a"), p.all("a").count()), (Some(first), all), "{method} {content_type:?}");
            assert!(p.whole().is_ok());
        }
        let parts = "--B\r\ncontent-disposition: form-data; name=\"a\"\r\n\r\npart\r\n--B--\r\n";
        let p = of("POST", "/x?a=url", Some("multipart/form-data; boundary=B"), parts).await;
        assert_eq!(p.all("a").collect::<Vec<_>>(), ["url", "part"]);
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_left_out_and_can_be_refused() {
        let p = of("POST", "/x?a=%zz&b=1", FORM, "c=2").await;
        assert_eq!((p.get("a"), p.get("b"), p.get("c")), (None, Some("1"), Some("2")));
        assert_eq!(message(p.whole()), "error parsing form values: invalid URL escape \"%zz\"");
    }

    #[tokio::test]
    async fn a_form_of_ten_mebibytes_is_read_and_a_longer_one_is_too_large() {
        let form = |len: usize| {
            let request = Request::builder().method("POST").uri("/x").header("content-type", FORM.unwrap());
            request.body(Body::from(format!("a={}", "x".repeat(len - 2)))).unwrap()
        };
        let read = Parameters::of(form(FORM_BYTES_MAX)).await.unwrap();
        assert_eq!(read.get("a").map(str::len), Some(FORM_BYTES_MAX - 2));
        let refused = Parameters::of(form(FORM_BYTES_MAX + 1)).await.err().unwrap();
        assert_eq!(refused.message(), "error parsing form values: http: POST too large");
    }

    /// So many bytes are announced, and none comes.
    struct Slow(u64);

    impl http_body::Body for Slow {
        type Data = bytes::Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
            std::task::Poll::Pending
        }

        fn size_hint(&self) -> http_body::SizeHint {
            http_body::SizeHint::with_exact(self.0)
        }
    }

    #[test]
    fn a_form_that_says_it_is_too_long_is_not_waited_for() {
        use futures::FutureExt as _;
        let answered = |len| bytes_of(Body::new(Slow(len))).now_or_never();
        let refused = answered(FORM_BYTES_MAX as u64 + 1).expect("an answer at once");
        assert_eq!(message(refused), "error parsing form values: http: POST too large");
        assert!(answered(FORM_BYTES_MAX as u64).is_none(), "this one is waited for");
    }

    #[test]
    fn steps_are_refused_in_prometheus_words() {
        let zero = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        for (step, why) in [
            ("abc", "cannot parse \"abc\" to a valid duration"),
            ("", "cannot parse \"\" to a valid duration"),
            ("-1s", "cannot parse \"-1s\" to a valid duration"),
            ("1e2000", "cannot parse \"1e2000\" to a valid duration"),
            ("999999y", "cannot parse \"999999y\" to a valid duration"),
            ("Inf", "cannot parse \"Inf\" to a valid duration. It overflows int64"),
            ("1e30", "cannot parse \"1e30\" to a valid duration. It overflows int64"),
            ("NaN", zero),
            ("0", zero),
            ("0s", zero),
            ("-1", zero),
            ("0.0000000001", zero),
            ("0.0001", zero),
        ] {
            assert_eq!(message(said("step", step).step()), format!("invalid parameter \"step\": {why}"), "{step}");
        }
        for (step, ms) in [("0.001", 1), ("15", 15_000), ("1m30s", 90_000), ("1.5", 1_500)] {
            assert_eq!(said("step", step).step().unwrap(), Duration::from_millis(ms), "{step}");
        }
    }

    #[test]
    fn limits_are_refused_in_prometheus_words() {
        for (limit, why) in [
            ("-1", "limit must be non-negative"),
            ("abc", "strconv.Atoi: parsing \"abc\": invalid syntax"),
            ("1.5", "strconv.Atoi: parsing \"1.5\": invalid syntax"),
            ("99999999999999999999", "strconv.Atoi: parsing \"99999999999999999999\": value out of range"),
        ] {
            assert_eq!(message(said("limit", limit).limit()), format!("invalid parameter \"limit\": {why}"));
        }
        for (limit, n) in [("", 0), ("0", 0), ("+1", 1), ("17", 17)] {
            assert_eq!(said("limit", limit).limit().unwrap(), n, "{limit}");
        }
        assert_eq!(message(said("limit", "x").count("limit")), "limit must be a number");
        for (limit, n) in [("", None), ("-1", None), ("0", Some(0)), ("2", Some(2))] {
            assert_eq!(said("limit", limit).count("limit").unwrap(), n, "{limit}");
        }
    }

    #[test]
    fn times_and_lengths_are_refused_in_prometheus_words() {
        assert_eq!(
            message(said("start", "x").range()),
            "invalid parameter \"start\": invalid time value for 'start': cannot parse \"x\" to a valid timestamp"
        );
        let needed = "invalid parameter \"start\": cannot parse \"x\" to a valid timestamp";
        assert_eq!(message(said("start", "x").needed_instant("start")), needed);
        let timeout = "invalid parameter \"timeout\": cannot parse \"abc\" to a valid duration";
        assert_eq!(message(said("timeout", "abc").timeout()), timeout);
        assert_eq!(said("timeout", "-1").timeout().unwrap(), Some(Duration::ZERO));
        let lookback = "error parsing lookback delta duration: cannot parse \"long\" to a valid duration";
        assert_eq!(message(said("lookback_delta", "long").lookback()), lookback);
    }

    #[test]
    fn a_lookback_of_nothing_is_the_default() {
        let lookback = |text: &str| said("lookback_delta", text).lookback();
        for none in ["", "0", "0s", "-5", "0.0"] {
            assert_eq!(lookback(none).ok(), Some(None), "{none}");
        }
        assert_eq!(lookback("90").ok(), Some(Some(Duration::from_secs(90))));
        assert_eq!(lookback("7m").ok(), Some(Some(Duration::from_secs(420))));
    }
}
