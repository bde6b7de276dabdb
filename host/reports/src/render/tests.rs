//! What the three formats promise, on one report with everything in it.

use belfry_model::report::*;
use belfry_model::{Labels, TimestampMs};
use proptest::prelude::*;

use super::*;

/// 2026-03-28 23:00 UTC: a day in Berlin with a change of the clock.
const START: i64 = 1_774_738_800_000;
const DAY: i64 = 86_400_000;

fn series(name: &str, value: impl Fn(f64) -> f64) -> ChartSeries {
    let step = 300_000;
    ChartSeries {
        name: name.to_owned(),
        labels: Labels::empty(),
        times: (0..DAY / step).map(|i| TimestampMs(START + i * step)).collect(),
        values: (0..DAY / step).map(|i| value(i as f64 / 24.0)).collect(),
    }
}

fn chart(title: &str, kind: &str, unit: &str, series: Vec<ChartSeries>, thresholds: Vec<f64>) -> Block {
    let unit = Some(unit.to_owned());
    Block::Chart(Chart { title: title.to_owned(), kind: kind.to_owned(), unit, series, thresholds })
}

fn stat(title: &str, value: f64, unit: &str, previous: f64, status: &str) -> Stat {
    Stat {
        title: title.to_owned(),
        value,
        unit: Some(unit.to_owned()),
        previous: Some(previous),
        status: Some(status.to_owned()),
    }
}

pub(super) fn sample() -> Report {
    let gib = (1u64 << 30) as f64;
    let column = |title: &str, unit: Option<&str>| Column { title: title.into(), unit: unit.map(Into::into) };
    let machine = vec![
        Block::Stats(vec![
            stat("CPU, mean", 34.2, "percent", 29.8, "ok"),
            stat("Memory, highest", 11.4 * gib, "bytes", 10.1 * gib, "warning"),
            stat("Disk left", 42.0 * gib, "bytes", 44.5 * gib, "ok"),
            stat("Load, highest", 7.31, "", 2.4, "critical"),
        ]),
        Block::Markdown(
            "The day was **quiet** until noon; then `backup.service` ran longer than usual.\n\n- CPU stayed below its \
             threshold\n- memory grew, see [the runbook](https://example.org/runbook)"
                .to_owned(),
        ),
        chart(
            "CPU usage",
            "line",
            "percent",
            vec![
                series("core 0", |x| 35.0 + 25.0 * (x / 1.7).sin() + 6.0 * (x * 5.0).sin()),
                series("core 1", |x| if (5.0..6.0).contains(&x) { f64::NAN } else { 28.0 + 12.0 * (x / 1.1).cos() }),
            ],
            vec![90.0],
        ),
        chart("Memory used", "area", "bytes", vec![series("used", |x| (8.0 + x / 4.0) * gib)], vec![]),
        chart(
            "Requests",
            "bar",
            "requests",
            vec![ChartSeries {
                name: "requests".into(),
                labels: Labels::empty(),
                times: (0..23).map(|h| TimestampMs(START + h * 3_600_000 + 1_800_000)).collect(),
                values: (0..23).map(|h| f64::from(120 + (h * 37) % 90)).collect(),
            }],
            vec![],
        ),
    ];
    let row = |rule: &str, status: &str, at: i64, ms: u64, value: f64| {
        vec![
            Cell::Text(rule.into()),
            Cell::Status(status.into()),
            Cell::Time(TimestampMs(START + at)),
            Cell::DurationMs(ms),
            Cell::Number(value),
        ]
    };
    let alerts = vec![
        Block::Heading("What fired".into()),
        Block::Table(Table {
            title: "Alerts".into(),
            columns: vec![
                column("Rule", None),
                column("State", None),
                column("Since", None),
                column("Lasted", None),
                column("Worst", Some("percent")),
            ],
            rows: vec![
                row("Low memory", "firing", 40_000_000, 5_400_000, 94.21),
                row("High CPU", "resolved", 30_000_000, 312_000, 97.5),
                row("Disk nearly full on <unnamed & \"quoted\">", "pending", 50_000_000, 42_000, 91.0),
            ],
        }),
        Block::Other { kind: "heat".into(), json: r#"{"a":[1,{"b":"=x"}]}"#.into() },
    ];
    let section = |title: &str, outcome| Section { title: title.into(), plugin: "report:daily:1".into(), outcome };
    Report {
        name: "Daily summary".into(),
        title: "Daily summary".into(),
        start: TimestampMs(START),
        end: TimestampMs(START + DAY - 3_600_000),
        made_at: TimestampMs(START + DAY + 7_200_000),
        time_zone: "Europe/Berlin".into(),
        made_up_for: Some(TimestampMs(START + DAY - 3_600_000)),
        sections: vec![
            section("This machine", Ok(machine)),
            section("Alerts", Ok(alerts)),
            section("Availability", Err("plugin `report:daily:3` used up its 5s time limit".into())),
        ],
    }
}

fn rendered(report: &Report, format: Format) -> String {
    String::from_utf8(render(report, &[format]).remove(0).data).unwrap()
}

/// `BELFRY_BLESS=1` writes the files anew; look at them before committing.
#[test]
fn the_sample_is_rendered_exactly_like_this() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/report");
    for document in render(&sample(), &[Format::Html, Format::Json, Format::Csv]) {
        let path = folder.join(&document.file_name);
        if std::env::var_os("BELFRY_BLESS").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &document.data).unwrap();
        }
        let want = std::fs::read(&path).unwrap_or_default();
        assert!(want == document.data, "{} has changed", path.display());
    }
}

#[test]
fn files_are_named_after_report_and_time_and_each_format_comes_once() {
    let documents = render(&sample(), &[Format::Html, Format::Csv, Format::Html]);
    let names: Vec<&str> = documents.iter().map(|d| d.file_name.as_str()).collect();
    assert_eq!(names, ["daily-summary-2026-03-30-0000.html", "daily-summary-2026-03-30-0000.csv"]);
    let nasty = Report { name: "../../etc/passwd\0".into(), ..sample() };
    assert_eq!(render(&nasty, &[Format::Json])[0].file_name, "etc-passwd-2026-03-30-0000.json");
}

#[test]
fn html_holds_every_section_also_the_one_that_failed_and_says_that_it_was_missed() {
    let html = rendered(&sample(), Format::Html);
    for text in [
        "<h2>This machine</h2>",
        "This section could not be written.",
        "used up its 5s time limit",
        "Made up later",
        "29 Mar 2026, 00:00 – 30 Mar 2026, 00:00 CEST",
        "Disk nearly full on &lt;unnamed &amp; &quot;quoted&quot;&gt;",
        "class=\"threshold\"",
        ">06:00</text>",
    ] {
        assert!(html.contains(text), "{text}");
    }
    assert!(!html.contains("<script") && !html.contains("src="), "nothing runs, nothing is fetched");
}

#[test]
fn json_gives_the_blocks_and_the_reason_of_a_failure() {
    let value: serde_json::Value = serde_json::from_str(&rendered(&sample(), Format::Json)).unwrap();
    assert_eq!(value["format"], "belfry-report/1");
    assert_eq!(value["sections"][0]["blocks"][0]["content"][0]["title"], "CPU, mean");
    assert_eq!(value["sections"][1]["blocks"][2]["content"]["json"]["a"][1]["b"], "=x");
    assert!(value["sections"][2]["error"].as_str().unwrap().contains("time limit"));
    let values = value["sections"][0]["blocks"][2]["content"]["series"][1]["values"].as_array().unwrap();
    assert!(values.iter().any(|v| v.is_null()), "a gap is null");
}

#[test]
fn csv_quotes_and_disarms() {
    let csv = rendered(&sample(), Format::Csv);
    assert!(csv.contains("\"CPU, mean\",34.2,percent,29.8,ok\r\n"));
    assert!(csv.contains("a.1.b,'=x\r\n"), "no formula");
    assert!(csv.contains("\r\nLow memory,firing,2026-03-29 12:06:40"), "times are those of the zone");
}

#[test]
fn the_summary_is_short_and_plain() {
    let text = summary(&sample());
    assert!(text.starts_with("Daily summary\n29 Mar 2026"), "{text}");
    assert!(text.contains("This machine: CPU, mean 34.2 %, Memory, highest 11.4 GiB"), "{text}");
    assert!(text.contains("Availability: not written: plugin"), "{text}");
}

/// A name, and attributes with their values.
type Tag = (String, Vec<(String, String)>);

/// Splits HTML into its tags by a strict grammar: `<name a="…" …>`. What does not follow it is an error.
fn tags(html: &str) -> Result<Vec<Tag>, String> {
    let mut out = Vec::new();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        if rest[..at].contains('>') {
            return Err(format!("a bare `>` near {:?}", &rest[..at]));
        }
        let end = rest[at..].find('>').ok_or("an open tag")? + at;
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        let (name, mut attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        let mut list = Vec::new();
        while !attributes.trim().trim_end_matches('/').is_empty() {
            let (key, after) = attributes.trim_start().split_once("=\"").ok_or(format!("bad attributes: {tag}"))?;
            let (value, after) = after.split_once('"').ok_or(format!("an open quote: {tag}"))?;
            list.push((key.to_owned(), value.to_owned()));
            attributes = after;
        }
        out.push((name.trim_end_matches('/').to_owned(), list));
    }
    Ok(out)
}

fn hostile() -> impl Strategy<Value = String> {
    let bit = prop_oneof![
        prop::sample::select(vec![
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "\" onload=\"alert(1)",
            "' onclick='x",
            "</style><script>",
            "</title>",
            "<!--",
            "-->",
            "]]>",
            "</svg>",
            "&lt;",
            "&#60;script&#62;",
            "[x](javascript:alert(1))",
            "[a](https://x\" onmouseover=\"y)",
            "**",
            "*",
            "`",
            "```\n",
            "\n- ",
            "\n# ",
            "[",
            "](",
            ")",
            "https://e.org/",
            "\\",
            "<svg/onload=x>",
            "\u{202e}",
            "\0",
            "=cmd()",
        ])
        .prop_map(str::to_owned),
        ".{0,6}",
    ];
    prop::collection::vec(bit, 0..6).prop_map(|bits| bits.concat())
}

fn hostile_report() -> impl Strategy<Value = Report> {
    let numbers = prop::collection::vec(prop_oneof![any::<f64>(), -1e3..1e3f64], 0..20);
    let times = prop::collection::vec(prop_oneof![any::<i64>(), START..START + DAY], 0..20);
    (prop::collection::vec(hostile(), 12), numbers, times, any::<bool>()).prop_map(|(t, numbers, mut times, failed)| {
        times.sort_unstable();
        let series = ChartSeries {
            name: t[0].clone(),
            labels: Labels::from_pairs([("a", t[1].as_str())]),
            times: times.iter().copied().map(TimestampMs).collect(),
            values: numbers.clone(),
        };
        let blocks = vec![
            Block::Heading(t[1].clone()),
            Block::Markdown(t[2].clone()),
            Block::Stats(vec![Stat {
                title: t[3].clone(),
                value: numbers.first().copied().unwrap_or(0.0),
                unit: Some(t[4].clone()),
                previous: numbers.last().copied(),
                status: Some(t[5].clone()),
            }]),
            Block::Table(Table {
                title: t[6].clone(),
                columns: vec![Column { title: t[7].clone(), unit: Some(t[4].clone()) }; 2],
                rows: vec![
                    vec![Cell::Text(t[8].clone()), Cell::Status(t[9].clone()), Cell::Empty],
                    vec![Cell::Number(1.0)],
                    vec![Cell::Time(TimestampMs(times.first().copied().unwrap_or(0))), Cell::DurationMs(u64::MAX)],
                ],
            }),
            chart(&t[10], &t[5], &t[4], vec![series.clone()], numbers.clone()),
            chart(&t[10], "bar", "bytes", vec![series.clone(), series.clone()], vec![]),
            chart(&t[10], "area", "", vec![series], vec![]),
            Block::Other { kind: t[11].clone(), json: t[2].clone() },
            Block::Other { kind: t[11].clone(), json: serde_json::json!({ t[0].clone(): t[1] }).to_string() },
        ];
        let mut report = sample();
        report.title = t[0].clone();
        report.name = t[1].clone();
        report.sections = vec![Section {
            title: t[2].clone(),
            plugin: t[3].clone(),
            outcome: if failed { Err(t[4].clone()) } else { Ok(blocks) },
        }];
        report
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_text_of_a_plugin_becomes_markup(report in hostile_report()) {
        let html = rendered(&report, Format::Html).replace(super::html::STYLE, "");
        const TAGS: &[&str] = &[
            "!DOCTYPE", "html", "head", "meta", "title", "style", "body", "header", "h1", "h2", "h3", "h4", "p", "main",
            "section", "footer", "div", "span", "strong", "em", "code", "pre", "ul", "ol", "li", "a", "table", "caption",
            "thead", "tbody", "tr", "th", "td", "figure", "figcaption", "svg", "g", "line", "text", "path", "rect", "circle",
        ];
        const ATTRIBUTES: &[&str] = &[
            "lang", "charset", "http-equiv", "content", "name", "class", "href", "rel", "viewBox", "role", "aria-label",
            "x", "y", "x1", "x2", "y1", "y2", "d", "cx", "cy", "r", "width", "height",
        ];
        for (name, attributes) in tags(&html.replace("<!DOCTYPE html>", "")).map_err(TestCaseError::fail)? {
            prop_assert!(TAGS.contains(&name.trim_start_matches('/')), "tag {name}");
            for (key, value) in attributes {
                prop_assert!(ATTRIBUTES.contains(&key.as_str()), "attribute {key}");
                if key == "href" {
                    let safe = ["http://", "https://", "mailto:"].iter().any(|s| value.to_lowercase().starts_with(s));
                    prop_assert!(safe, "link to {value}");
                }
                if key == "class" {
                    prop_assert!(value.chars().all(|c| c.is_ascii_alphanumeric() || c == ' '), "class {value}");
                }
                prop_assert!(!value.contains("NaN") || key == "aria-label" || key == "href", "{key}={value}");
            }
        }
    }

    #[test]
    fn no_text_of_a_plugin_becomes_a_formula(report in hostile_report()) {
        let csv = rendered(&report, Format::Csv);
        let mut quoted = false;
        let mut start = true;
        for c in csv.chars() {
            if start && !quoted {
                prop_assert!(!matches!(c, '=' | '+' | '@' | '\t'), "{csv:?}");
            }
            start = !quoted && matches!(c, ',' | '\n');
            quoted ^= c == '"';
        }
        prop_assert!(!quoted);
    }
}
