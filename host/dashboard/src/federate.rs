//! `/federate`: the newest sample of each selected series, for a Prometheus that scrapes this one.
//! <https://prometheus.io/docs/prometheus/latest/federation/>
//!
//! Invariant: Prometheus' text format 0.0.4, families in order of name; what that format cannot carry (native histograms,
//! the markers that end a series) is left out, as are series without a name.
//! Not here: which samples there are.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use belfry_model::labels::{is_legacy_metric_name, is_legacy_name};
use belfry_model::read::{ReadError, SelectHints, SelectLimits};
use belfry_model::{Labels, METRIC_NAME, Matcher, SampleBuf, SeriesRead, TimeRange};

use crate::App;
use crate::parameters::{Parameters, unreadable};
use crate::prometheus::number;

/// How old a sample may be where the settings do not say.
const LOOKBACK: Duration = Duration::from_secs(300);
/// A series without it says so, as Prometheus has it.
const INSTANCE: &str = "instance";

/// Time in milliseconds and value of each series.
type Newest = BTreeMap<Labels, (i64, f64)>;

pub(crate) fn routes() -> Router<App> {
    Router::new().route("/federate", get(federate))
}

async fn federate(State(app): State<App>, headers: HeaderMap, request: Request) -> Response {
    match answer(&app, &headers, request).await {
        Ok(answered) => answered,
        // Errors are plain text here, in Prometheus too.
        Err((status, why)) => (status, format!("{why}\n")).into_response(),
    }
}

async fn answer(app: &App, headers: &HeaderMap, request: Request) -> Result<Response, (StatusCode, String)> {
    let bad = |why: String| (StatusCode::BAD_REQUEST, why);
    let failed = |why: String| (StatusCode::INTERNAL_SERVER_ERROR, why);
    let p = Parameters::of(request).await.map_err(|e| bad(e.message().to_owned()))?;
    if let Some(why) = p.fault() {
        return Err(bad(unreadable(why)));
    }
    let sets = p.all("match[]").map(belfry_promql::parse_selector).collect::<Result<Vec<_>, _>>();
    let sets = sets.map_err(|e| bad(e.to_string()))?;
    let now = app.backend.now();
    let range =
        TimeRange::inclusive(now.minus(lookback(app)), now).ok_or_else(|| failed("no time to look at".into()))?;
    let reader = app.backend.reader();
    let mut found = Newest::new();
    for matchers in &sets {
        newest(&*reader, matchers, range, &mut found).await.map_err(|e| failed(e.to_string()))?;
    }
    // A browser, or a Prometheus before 3, does not say that it reads other names.
    let accepted = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("");
    let quoted = accepted.contains("escaping=allow-utf-8");
    let written = tokio::task::spawn_blocking(move || text(&found, quoted)).await;
    let body = written.map_err(|e| failed(e.to_string()))?;
    let escaping = if quoted { "allow-utf-8" } else { "underscores" };
    let content_type = format!("text/plain; version=0.0.4; charset=utf-8; escaping={escaping}");
    Ok(([(header::CONTENT_TYPE, content_type)], body).into_response())
}

fn lookback(app: &App) -> Duration {
    let flags = app.backend.about().query_flags;
    let said = flags.iter().find(|(name, _)| *name == "query.lookback-delta");
    said.and_then(|(_, text)| belfry_model::duration::parse_duration(text).ok()).unwrap_or(LOOKBACK)
}

async fn newest(
    reader: &dyn SeriesRead,
    matchers: &[Matcher],
    range: TimeRange,
    into: &mut Newest,
) -> Result<(), ReadError> {
    let limits = SelectLimits::default();
    if let Some(newest) = reader.newest(matchers, range, limits).await? {
        for (i, of) in newest.of.iter().enumerate() {
            let (Some(labels), Some(at), Some(value)) =
                (newest.labels.get(*of as usize), newest.times.get(i), newest.floats.get(i))
            else {
                continue;
            };
            if !matches!(newest.histograms.get(i), Some(Some(_))) {
                into.insert(labels.clone(), (*at, *value));
            }
        }
    } else {
        let set = reader.select(matchers, range, &SelectHints::default(), limits).await?;
        let read = tokio::task::spawn_blocking(move || {
            let mut found = Vec::with_capacity(set.series.len());
            let mut buf = SampleBuf::default();
            for series in &set.series {
                buf.clear();
                series.samples.decode(range, &mut buf)?;
                let (Some(at), Some(value)) = (buf.times.last(), buf.floats.last()) else { continue };
                if !matches!(buf.histograms.last(), Some(Some(_))) {
                    found.push((series.labels.clone(), (*at, *value)));
                }
            }
            Ok(found)
        });
        into.extend(read.await.map_err(|e| ReadError::Unavailable(e.to_string()))??);
    }
    Ok(())
}

/// `quoted`: names beyond letters, digits and `_` stand in quotes; otherwise each other character of them becomes a `_`.
fn text(found: &Newest, quoted: bool) -> String {
    let live = found.iter().filter(|(_, (_, v))| !belfry_model::sample::is_stale(*v));
    let mut rows: Vec<(&str, &Labels, i64, f64)> =
        live.filter_map(|(labels, (at, v))| Some((labels.metric()?, labels, *at, *v))).collect();
    // It keeps the order of labels within a name.
    rows.sort_by_key(|(name, ..)| *name);
    let mut out = String::new();
    let mut last = None;
    for (name, labels, at, v) in rows {
        let metric = shown(name, is_legacy_metric_name(name), quoted);
        if last != Some(name) {
            out.extend(["# TYPE ", &metric, " untyped\n"]);
            last = Some(name);
        }
        let within = metric.starts_with('"');
        out.push_str(if within { "{" } else { &metric });
        let mut separator = "{";
        if within {
            out.push_str(&metric);
            separator = ",";
        }
        let mut own_instance = false;
        for label in labels.iter().filter(|l| &*l.name != METRIC_NAME && !l.value.is_empty()) {
            own_instance |= &*label.name == INSTANCE;
            let name = shown(&label.name, is_legacy_name(&label.name), quoted);
            out.extend([separator, &name, "=\"", &escaped(&label.value), "\""]);
            separator = ",";
        }
        if !own_instance {
            // Or the one who scrapes this would add its own.
            out.extend([separator, INSTANCE, "=\"\""]);
        }
        out.extend(["} ", &value(v), " ", itoa::Buffer::new().format(at), "\n"]);
    }
    out
}

fn shown(name: &str, is_legacy: bool, quoted: bool) -> Cow<'_, str> {
    if is_legacy {
        name.into()
    } else if quoted {
        format!("\"{}\"", escaped(name)).into()
    } else {
        let first_is_digit = name.starts_with(|c: char| c.is_ascii_digit());
        let plain = name.chars().map(|c| if c.is_ascii_alphanumeric() || "_:".contains(c) { c } else { '_' });
        // A digit may not come first; Prometheus replaces it.
        plain.enumerate().map(|(i, c)| if i == 0 && first_is_digit { '_' } else { c }).collect::<String>().into()
    }
}

fn escaped(text: &str) -> Cow<'_, str> {
    if text.contains(['\\', '"', '\n']) {
        text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").into()
    } else {
        text.into()
    }
}

/// As Go's `strconv.FormatFloat(v, 'g', -1, 64)` writes it: with an exponent from a million on, and below 1e-4.
fn value(v: f64) -> String {
    if v == 0.0 {
        // Of either sign.
        return "0".to_owned();
    }
    let plain = number(v);
    if !v.is_finite() || (1e-4..1e6).contains(&v.abs()) || plain.contains('e') {
        return plain;
    }
    let (sign, unsigned) = plain.strip_prefix('-').map_or(("", &*plain), |u| ("-", u));
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let all = format!("{whole}{fraction}");
    let zeros = all.len() - all.trim_start_matches('0').len();
    let exponent = whole.len() as i64 - 1 - zeros as i64;
    let digits = all.trim_matches('0');
    let (first, rest) = digits.split_at(1.min(digits.len()));
    let point = if rest.is_empty() { "" } else { "." };
    let mark = if exponent < 0 { '-' } else { '+' };
    format!("{sign}{first}{point}{rest}e{mark}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use belfry_model::TimestampMs;

    use super::*;
    use crate::testing::Fake;

    const NOW: TimestampMs = TimestampMs(1_700_000_000_000);

    fn fake() -> Fake {
        let mut fake = Fake::at(NOW);
        fake.float(&[("__name__", "up"), ("job", "b"), ("instance", "x:1")], NOW.0 - 60_000, 0.0);
        fake.float(&[("__name__", "up"), ("job", "b"), ("instance", "x:1")], NOW.0 - 1_500, 1.0);
        fake.float(&[("__name__", "up"), ("job", "a")], NOW.0, 22_748_851_814.0);
        fake.float(&[("__name__", "up"), ("job", "old")], NOW.0 - 300_001, 1.0);
        fake.float(&[("__name__", "up"), ("job", "gone")], NOW.0 - 20_000, 1.0);
        fake.float(&[("__name__", "up"), ("job", "gone")], NOW.0 - 10_000, belfry_model::sample::stale_nan());
        fake.float(&[("__name__", "a"), ("path", "C:\\\"x\"\n")], NOW.0 - 7, f64::NAN);
        fake.float(&[("__name__", "da.ta"), ("k.y", "v")], NOW.0, 2.5);
        fake.float(&[("nameless", "up")], NOW.0, 1.0);
        fake.histogram(&[("__name__", "latency")], NOW.0);
        fake
    }

    #[tokio::test]
    async fn the_newest_sample_of_each_series_comes_with_its_own_time_in_order_of_name() {
        let all =
            fake().get("/federate?match[]=up&match[]={__name__=~%22a|latency%22}&match[]={nameless=%22up%22}").await;
        assert_eq!(all.status, 200);
        assert_eq!(all.content_type, "text/plain; version=0.0.4; charset=utf-8; escaping=underscores");
        assert_eq!(
            all.body,
            "# TYPE a untyped\n\
             a{path=\"C:\\\\\\\"x\\\"\\n\",instance=\"\"} NaN 1699999999993\n\
             # TYPE up untyped\n\
             up{instance=\"x:1\",job=\"b\"} 1 1699999998500\n\
             up{job=\"a\",instance=\"\"} 2.2748851814e+10 1700000000000\n"
        );
    }

    #[tokio::test]
    async fn a_reader_without_a_shorter_way_gives_the_same() {
        let mut slow = fake();
        slow.knows_newest = false;
        let path = "/federate?match[]={__name__!=%22%22}";
        let (slow, fast) = (slow.get(path).await, fake().get(path).await);
        assert!(fast.body.contains("up{") && !fast.body.contains("latency"), "{}", fast.body);
        assert_eq!(slow.body, fast.body);
    }

    #[tokio::test]
    async fn other_names_are_quoted_for_who_reads_them_and_escaped_for_all_others() {
        let path = "/federate?match[]={%22da.ta%22}";
        assert_eq!(
            fake().get(path).await.body,
            "# TYPE da_ta untyped\nda_ta{k_y=\"v\",instance=\"\"} 2.5 1700000000000\n"
        );
        let accept = ("accept", "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.5,*/*;q=0.1");
        let quoted = fake().ask("GET", path, &[accept], "").await;
        assert_eq!(
            quoted.body,
            "# TYPE \"da.ta\" untyped\n{\"da.ta\",\"k.y\"=\"v\",instance=\"\"} 2.5 1700000000000\n"
        );
        assert!(quoted.content_type.ends_with("escaping=allow-utf-8"), "{}", quoted.content_type);
    }

    #[tokio::test]
    async fn nothing_is_asked_for_and_nothing_comes_and_what_cannot_be_read_is_refused_in_plain_text() {
        let none = fake().get("/federate").await;
        assert_eq!((none.status, &*none.body), (200, ""));
        for (query, why) in [
            ("match[]=up&match[]=up{", "1:4: parse error: unexpected end of input inside braces\n"),
            ("match[]=%zz", "error parsing form values: invalid URL escape \"%zz\"\n"),
            ("a;b=1&match[]=up", "error parsing form values: invalid semicolon separator in query\n"),
        ] {
            let refused = fake().get(&format!("/federate?{query}")).await;
            assert_eq!((refused.status, &*refused.body), (400, why), "{query}");
            assert!(refused.content_type.starts_with("text/plain"), "{}", refused.content_type);
        }
        for query in ["match[]=", "match[]=up[5m]", "match[]=sum(up)"] {
            assert_eq!(fake().get(&format!("/federate?{query}")).await.status, 400, "{query}");
        }
        assert_eq!(fake().ask("POST", "/federate?match[]=up", &[Fake::TOKEN], "").await.status, 405);
    }

    #[test]
    fn values_are_written_as_the_text_format_has_them() {
        for (v, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (471_530.0, "471530"),
            (999_999.5, "999999.5"),
            (1e6, "1e+06"),
            (10_082_400.0, "1.00824e+07"),
            (-22_748_851_814.0, "-2.2748851814e+10"),
            (0.0001, "0.0001"),
            (6.108e-5, "6.108e-05"),
            (1.5e-7, "1.5e-07"),
            (1e21, "1e+21"),
            (1e100, "1e+100"),
            (123_456_789.125, "1.23456789125e+08"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(value(v), text);
            assert!(v.is_nan() || text.parse::<f64>() == Ok(v), "{text}");
        }
    }
}
