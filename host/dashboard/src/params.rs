//! Times and lengths of time in query strings.

use std::time::Duration;

use belfry_model::TimestampMs;
use belfry_model::duration::parse_duration;

use crate::dto::{Aggregator, BUCKETS_MAX, TimeSeriesQuery, TimeSeriesRequest};
use crate::reply::Failure;

/// Buckets that a range is cut into when the caller does not say.
const BUCKETS_DEFAULT: i64 = 200;
/// What is shown when the caller does not say.
const RANGE_DEFAULT: Duration = Duration::from_secs(3600);
const TIME_HELP: &str = "write seconds since the epoch, RFC 3339, or -15m";

/// Seconds since the epoch (fractions allowed) or RFC 3339, as Prometheus takes them.
pub(crate) fn instant(text: &str) -> Option<TimestampMs> {
    if let Ok(seconds) = text.parse::<f64>() {
        // Beyond this milliseconds do not fit; Prometheus refuses as well.
        return (seconds.is_finite() && seconds.abs() < 9.2e15).then(|| TimestampMs::from_secs_f64(seconds));
    }
    text.parse::<jiff::Timestamp>().ok().map(|t| TimestampMs(t.as_millisecond()))
}

/// Seconds (fractions allowed) or a duration like `1m30s`; not zero.
pub(crate) fn step(text: &str) -> Option<Duration> {
    let parsed = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok()?,
        Err(_) => parse_duration(text).ok()?,
    };
    (parsed.as_millis() > 0 && parsed.as_millis() < i64::MAX as u128).then_some(parsed)
}

/// A length of time as Prometheus reads it: seconds (fractions allowed, and negative ones) or a duration like `1m30s`. The
/// error is why not, in its words.
pub(crate) fn nanoseconds(text: &str) -> Result<i64, String> {
    let unreadable = || format!("cannot parse {text:?} to a valid duration");
    match text.parse::<f64>() {
        // Rust reads what is too large as infinite, Go does not read it.
        Ok(seconds) if seconds.is_infinite() && text.contains(|c: char| c.is_ascii_digit()) => Err(unreadable()),
        Ok(seconds) if (seconds * 1e9).abs() > i64::MAX as f64 => Err(format!("{}. It overflows int64", unreadable())),
        Ok(seconds) => Ok((seconds * 1e9) as i64),
        Err(_) => {
            let parsed = parse_duration(text).map_err(|_| unreadable())?;
            i64::try_from(parsed.as_nanos()).map_err(|_| unreadable())
        }
    }
}

/// Checks the query of `/api/timeseries`.
pub(crate) fn time_series(query: &TimeSeriesQuery, now: TimestampMs) -> Result<TimeSeriesRequest, Failure> {
    if query.metric.trim().is_empty() {
        return Err(Failure::invalid("`metric` is missing", "add metric=NAME"));
    }
    let to = relative(query.to.as_deref(), now, now, "to")?;
    let from = relative(query.from.as_deref(), to.minus(RANGE_DEFAULT), to, "from")?;
    if from >= to {
        return Err(Failure::invalid("`from` is not before `to`", TIME_HELP));
    }
    let width = to.0.saturating_sub(from.0);
    let interval_ms = match query.interval.as_deref() {
        None => ((width / BUCKETS_DEFAULT).max(1_000) / 1_000) * 1_000,
        Some(text) => step(text)
            .map(|d| d.as_millis() as i64)
            .ok_or_else(|| Failure::invalid(format!("`interval`: `{text}` is no length of time"), "write 10s or 1m"))?,
    };
    if width / interval_ms >= BUCKETS_MAX as i64 {
        return Err(Failure::invalid(
            format!("{} buckets are asked for, at most {BUCKETS_MAX} are answered", width / interval_ms),
            "raise `interval` or narrow the range",
        ));
    }
    let aggregator = match query.aggregator.as_deref().unwrap_or("avg") {
        "sum" => Aggregator::Sum,
        "avg" => Aggregator::Avg,
        "min" => Aggregator::Min,
        "max" => Aggregator::Max,
        "count" => Aggregator::Count,
        other => {
            let message = format!("`aggregator`: there is no `{other}`");
            return Err(Failure::invalid(message, "one of sum, avg, min, max, count"));
        }
    };
    Ok(TimeSeriesRequest {
        metric: query.metric.trim().to_owned(),
        source: query.source.clone().filter(|s| !s.is_empty()),
        from_ms: from,
        to_ms: to,
        interval_ms,
        aggregator,
    })
}

fn relative(text: Option<&str>, default: TimestampMs, base: TimestampMs, name: &str) -> Result<TimestampMs, Failure> {
    let Some(text) = text.filter(|t| !t.is_empty()) else { return Ok(default) };
    if let Some(ago) = text.strip_prefix('-').and_then(|d| parse_duration(d).ok()) {
        return Ok(base.minus(ago));
    }
    instant(text).ok_or_else(|| Failure::invalid(format!("`{name}`: `{text}` is no time"), TIME_HELP))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: TimestampMs = TimestampMs(1_700_000_000_000);

    fn query(from: &str, to: &str, interval: &str) -> TimeSeriesQuery {
        let some = |s: &str| (!s.is_empty()).then(|| s.to_owned());
        TimeSeriesQuery {
            metric: "m".into(),
            from: some(from),
            to: some(to),
            interval: some(interval),
            ..Default::default()
        }
    }

    #[test]
    fn the_last_hour_is_shown_when_nothing_is_said() {
        let r = time_series(&query("", "", ""), NOW).unwrap();
        assert_eq!((r.from_ms, r.to_ms, r.interval_ms), (NOW.minus(RANGE_DEFAULT), NOW, 18_000));
    }

    #[test]
    fn times_are_seconds_rfc_3339_or_relative() {
        for (from, to, width) in
            [("-15m", "", 900_000), ("1699999000", "1700000000.5", 1_000_500), ("2023-11-14T22:13:19Z", "", 1_000)]
        {
            let r = time_series(&query(from, to, "1s"), NOW).unwrap();
            assert_eq!(r.to_ms.0 - r.from_ms.0, width, "{from} {to}");
        }
    }

    #[test]
    fn what_cannot_be_answered_says_why() {
        for (from, to, interval) in
            [("x", "", ""), ("", "-1h", ""), ("-30d", "", "1s"), ("", "", "0"), ("-0s", "", ""), ("", "", "NaN")]
        {
            let ok = time_series(&query(from, to, interval), NOW);
            assert!(ok.is_err() || (from, to) == ("", "-1h"), "{from} {to} {interval}");
        }
    }
}
