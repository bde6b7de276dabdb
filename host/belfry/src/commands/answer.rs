//! Answers of PromQL as text, line by line what `promtool query` prints for the same JSON: its text is what scripts read.
//!
//! Invariant: floats, bounds and times are written as Go writes them (`%v`, `%g` and `%f` of Prometheus' `model` package).
//! Not here: asking, and JSON, which is printed as it came.

use serde_json::Value;

/// The text of `data`.
pub fn text(data: &Value) -> String {
    let result = &data["result"];
    match data["resultType"].as_str() {
        Some("vector") => lines(result, |row| match row.get("histogram") {
            Some(pair) => format!("{} => {}", metric(&row["metric"]), pointed(pair, histogram)),
            None => format!("{} => {}", metric(&row["metric"]), pointed(&row["value"], float)),
        }),
        Some("matrix") => lines(result, |row| {
            let floats = list(&row["values"]).map(|p| pointed(p, float));
            let histograms = list(&row["histograms"]).map(|p| pointed(p, histogram));
            format!("{} =>\n{}", metric(&row["metric"]), floats.chain(histograms).collect::<Vec<_>>().join("\n"))
        }),
        Some("scalar") => format!("scalar: {}", pointed(result, float)),
        _ => result[1].as_str().unwrap_or_default().to_owned(),
    }
}

/// What an answer says beside its result: `warning: …`, `info: …`; what says so itself (`PromQL info: …`) is left as it is.
pub fn remarks(answer: &Value) -> Vec<String> {
    let of = |word: &str| {
        let says = format!("PromQL {word}: ");
        let line = |text: String| if text.starts_with(&says) { text } else { format!("{word}: {text}") };
        list(&answer[format!("{word}s")]).map(bare).map(line).collect::<Vec<_>>()
    };
    [of("warning"), of("info")].concat()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn lines(rows: &Value, row: impl Fn(&Value) -> String) -> String {
    list(rows).map(row).collect::<Vec<_>>().join("\n")
}

fn bare(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn pointed(pair: &Value, value: impl Fn(&Value) -> String) -> String {
    format!("{} @[{}]", value(&pair[1]), float(&pair[0]))
}

fn number(value: &Value) -> f64 {
    // "+Inf" and "NaN" are read as well.
    value.as_f64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(f64::NAN)
}

/// `%v`: never with an exponent.
fn float(value: &Value) -> String {
    plain(number(value), |v| v.to_string())
}

fn plain(v: f64, finite: impl Fn(f64) -> String) -> String {
    match v {
        v if v.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        v => finite(v),
    }
}

/// `%g`: with an exponent where the number is very small or very large.
fn bound(value: &Value) -> String {
    plain(number(value), |v| {
        let scientific = format!("{v:e}");
        let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        match exponent.parse::<i32>() {
            Ok(e) if v != 0.0 && !(-4..21).contains(&e) => {
                format!("{digits}e{}{:02}", if e < 0 { '-' } else { '+' }, e.abs())
            }
            _ => v.to_string(),
        }
    })
}

fn histogram(h: &Value) -> String {
    let six = |value: &Value| plain(number(value), |v| format!("{v:.6}"));
    let buckets = list(&h["buckets"]).map(|b| {
        // 0: open at the left, 1: open at the right, 2: at both, 3: at none.
        let (left, right) = match b[0].as_u64() {
            Some(0) => ('(', ']'),
            Some(1) => ('[', ')'),
            Some(3) => ('[', ']'),
            _ => ('(', ')'),
        };
        format!("{left}{},{}{right}:{}", bound(&b[1]), bound(&b[2]), float(&b[3]))
    });
    format!(
        "Count: {}, Sum: {}, Buckets: [{}]",
        six(&h["count"]),
        six(&h["sum"]),
        buckets.collect::<Vec<_>>().join(" ")
    )
}

fn metric(labels: &Value) -> String {
    let all = labels.as_object();
    let name = all.and_then(|m| m.get("__name__")).map(bare).unwrap_or_default();
    let mut rest: Vec<String> = all
        .into_iter()
        .flatten()
        .filter(|(label, _)| *label != "__name__")
        .map(|(label, value)| format!("{label}={}", quoted(&bare(value))))
        .collect();
    rest.sort();
    if rest.is_empty() && !name.is_empty() { name } else { format!("{name}{{{}}}", rest.join(", ")) }
}

/// `%q`, but for letters that a terminal may not have: they stay what they are.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn h() -> Value {
        json!({"count": "12.5", "sum": "-1.25e-7", "buckets": [[3, "-0.001", "0.001", "2"], [0, "0.001", "1.09", "3.5"],
            [1, "-1e+25", "-0.00001", "1e+22"], [2, "1", "+Inf", "1"]]})
    }

    const H: &str = "Count: 12.500000, Sum: -0.000000, Buckets: [[-0.001,0.001]:2 (0.001,1.09]:3.5 \
                     [-1e+25,-1e-05):10000000000000000000000 (1,+Inf):1]";

    // The expected texts of this test are those of promtool 3.5.3 for the same JSON.
    #[test]
    fn each_kind_of_answer_reads_as_promtool_prints_it() {
        let vector = json!({"resultType": "vector", "result": [
            {"metric": {"__name__": "up", "job": "a\"b\n", "z": "é"}, "value": [1_700_000_000.123, "1e+22"]},
            {"metric": {}, "value": [1_700_000_000, "NaN"]},
            {"metric": {"__name__": "my.name", "a.b": "x"}, "value": [1_700_000_000, "-Inf"]},
            {"metric": {"a": "1"}, "value": [1_700_000_000, "1.5e-09"]},
            {"metric": {"__name__": "h"}, "histogram": [1_700_000_000.5, h()]},
            {"metric": {"__name__": "h0"}, "histogram": [1_700_000_000.5, {"count": "0", "sum": "NaN"}]},
        ]});
        let expected = format!(
            "up{{job=\"a\\\"b\\n\", z=\"é\"}} => 10000000000000000000000 @[1700000000.123]\n\
             {{}} => NaN @[1700000000]\n\
             my.name{{a.b=\"x\"}} => -Inf @[1700000000]\n\
             {{a=\"1\"}} => 0.0000000015 @[1700000000]\n\
             h => {H} @[1700000000.5]\n\
             h0 => Count: 0.000000, Sum: NaN, Buckets: [] @[1700000000.5]"
        );
        assert_eq!(text(&vector), expected);
        let matrix = json!({"resultType": "matrix", "result": [
            {"metric": {"a": "b"}, "histograms": [[1, h()]]},
            {"metric": {"__name__": "up"}, "values": [[1_700_000_000, "1"], [1_700_000_015, "0.1"]],
                "histograms": [[1_700_000_030.5, h()]]},
        ]});
        let expected =
            format!("{{a=\"b\"}} =>\n{H} @[1]\nup =>\n1 @[1700000000]\n0.1 @[1700000015]\n{H} @[1700000030.5]");
        assert_eq!(text(&matrix), expected);
        let scalar = json!({"resultType": "scalar", "result": [1_700_000_000.25, "1.5"]});
        assert_eq!(text(&scalar), "scalar: 1.5 @[1700000000.25]");
        assert_eq!(text(&json!({"resultType": "vector", "result": []})), "");
    }

    /// promtool cannot read such an answer.
    #[test]
    fn a_text_is_printed_as_it_is() {
        assert_eq!(text(&json!({"resultType": "string", "result": [1, "a\nb"]})), "a\nb");
    }

    #[test]
    fn what_the_server_remarks_is_not_dropped() {
        let answer = json!({"warnings": ["a block is damaged"], "infos": ["PromQL info: no counter"], "data": {}});
        assert_eq!(remarks(&answer), ["warning: a block is damaged", "PromQL info: no counter"]);
        assert!(remarks(&json!({"data": {}})).is_empty());
    }
}
