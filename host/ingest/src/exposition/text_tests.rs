use belfry_model::MetricKind;
use proptest::prelude::*;

use super::*;

/// Events in short, one a line; then the error, if there is one.
fn told(text: &[u8], format: TextFormat) -> Vec<String> {
    let mut parser = TextParser::new(text, format);
    let mut out = Vec::new();
    loop {
        let line = match parser.next_event() {
            Ok(None) => return out,
            Err(e) => {
                out.push(format!("error {e}"));
                return out;
            }
            Ok(Some(Event::Help { metric, text })) => format!("help {metric} = {text}"),
            Ok(Some(Event::Type { metric, kind, .. })) => format!("type {metric} = {}", kind.as_str()),
            Ok(Some(Event::Unit { metric, unit })) => format!("unit {metric} = {unit}"),
            Ok(Some(Event::Histogram(_))) => unreachable!("text has none"),
            Ok(Some(Event::Sample(s))) => {
                let mut line = format!("{} = {}", series_labels(s.series).unwrap(), s.value);
                for (what, time) in [("at", s.at), ("start", s.start)] {
                    line.extend(time.map(|t| format!(" {what} {t}")));
                }
                if let Some(e) = s.exemplar {
                    line += &format!(" # {} = {} {:?}", series_labels(e.labels).unwrap(), e.value, e.at);
                }
                line
            }
        };
        out.push(line);
    }
}

fn prometheus(text: &str) -> Vec<String> {
    told(text.as_bytes(), TextFormat::Prometheus)
}

fn openmetrics(text: &str) -> Vec<String> {
    told(text.as_bytes(), TextFormat::OpenMetrics)
}

#[test]
fn the_text_format_is_read_as_prometheus_reads_it() {
    let text = r#"
# HELP go_gc_duration_seconds A summary of the GC \\ pause,\nin seconds.
# 	TYPE 	go_gc_duration_seconds summary
go_gc_duration_seconds{quantile="0"} 4.9351e-05
go_gc_duration_seconds{quantile="0.5",} 8.3835e-05 1520430000123
go_gc_duration_seconds { quantile = "1.0" , a="b" } +Inf
# Hrandom comment starting with prefix of HELP
#
wind_speed{A="2",c="3"} 12345
# A comment with escapes \n \\
testmetric{_label_1="foo",le="1\\2\n\"3\x"}  -Inf   -12
metric:name	nan
{"http.status", "a.b"="c"} 2
	x 1e999999"#;
    assert_eq!(
        prometheus(text),
        [
            "help go_gc_duration_seconds = A summary of the GC \\ pause,\nin seconds.",
            "type go_gc_duration_seconds = summary",
            r#"go_gc_duration_seconds{quantile="0"} = 0.000049351"#,
            r#"go_gc_duration_seconds{quantile="0.5"} = 0.000083835 at 1520430000123"#,
            r#"go_gc_duration_seconds{a="b", quantile="1.0"} = inf"#,
            r#"wind_speed{A="2", c="3"} = 12345"#,
            r#"testmetric{_label_1="foo", le="1\\2\n\"3\\x"} = -inf at -12"#,
            "metric:name = NaN",
            r#"http.status{"a.b"="c"} = 2"#,
            "error line 14: `1e999999` is no number",
        ]
    );
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    for (text, said) in [
        ("a", "line 1: expected a value"),
        ("a 1\nb{\n", "line 2: expected a label name or `}`"),
        ("a 1\n\n#\nb{c}\n", "line 4: expected `=`"),
        ("a{b='c'} 1\n", "line 1: expected a label value in double quotes"),
        ("a{b=\"c\"d=\"e\"} 1\n", "line 1: expected `,` or `}`"),
        ("a{b=\"c} 1\n", "line 1: the quotes of a label value are not closed"),
        ("{b=\"c\"} 1\n", "line 1: the metric's name is missing"),
        ("a{\"b\"} 1\n", "line 1: the metric's name is given twice"),
        ("a true\n", "line 1: `true` is no number"),
        ("a 1_2\n", "line 1: `1_2` is no number"),
        ("a 0x1p-3\n", "line 1: `0x1p-3` is no number"),
        ("a +NaN\n", "line 1: `+NaN` is no number"),
        ("a -nan\n", "line 1: `-nan` is no number"),
        ("a -1e400\n", "line 1: `-1e400` is no number"),
        ("a .1e400\n", "line 1: `.1e400` is no number"),
        ("a 1 1.5\n", "line 1: expected the end of the line after the time"),
        ("a 1 x\n", "line 1: expected a time in whole milliseconds, or the end of the line"),
        ("a 1 2 3\n", "line 1: expected the end of the line after the time"),
        ("9 1\n", "line 1: expected a metric name"),
        ("# TYPE c foo\n", "line 1: `foo` is no metric type"),
        ("# TYPE 9 counter\n", "line 1: expected a metric name after the keyword"),
    ] {
        assert_eq!(prometheus(text).pop(), Some(format!("error {said}")), "{text:?}");
    }
    assert_eq!(told(b"a{b=\"\xff\"} 1\n", TextFormat::Prometheus), ["error line 1: the labels are not UTF-8"]);
    assert_eq!(series_labels(r#"a{b="1",b="2"}"#).unwrap_err(), r#"label `b` stands twice in `a{b="1",b="2"}`"#);
}

#[test]
fn infinity_and_nan_are_named_as_in_go() {
    for (named, read) in [
        ("NaN", "NaN"),
        ("nan", "NaN"),
        ("Inf", "inf"),
        ("+inf", "inf"),
        ("-Inf", "-inf"),
        ("infinity", "inf"),
        ("-INFINITY", "-inf"),
    ] {
        assert_eq!(prometheus(&format!("a {named}\n")), [format!("a = {read}")]);
    }
}

#[test]
fn after_a_bad_line_the_caller_may_go_on() {
    let mut parser = TextParser::new(b"a 1\nb x\nc 3\n", TextFormat::Prometheus);
    assert!(parser.next_event().is_ok());
    assert_eq!(parser.next_event().unwrap_err().line, 2);
    parser.skip_line();
    assert!(matches!(parser.next_event(), Ok(Some(Event::Sample(s))) if s.series == "c"));
    assert_eq!(parser.next_event(), Ok(None));
}

#[test]
fn openmetrics_is_read_as_prometheus_reads_it() {
    let text = r#"# HELP foo_seconds A \"counter\".
# TYPE foo_seconds counter
# UNIT foo_seconds seconds
foo_seconds_total 17.0 1520879607.789 # {id="counter-test"} 5 1520879607
foo_seconds_total{a="b"} 1 # {} 2
# TYPE s stateset
s{s="on"} 1
# TYPE g gaugehistogram
g_bucket{le="+Inf"} 5
# TYPE u unknown
u NaN
# EOF
"#;
    assert_eq!(
        openmetrics(text),
        [
            "help foo_seconds = A \"counter\".",
            "type foo_seconds = counter",
            "unit foo_seconds = seconds",
            r#"foo_seconds_total = 17 at 1520879607789 # {id="counter-test"} = 5 Some(1520879607000)"#,
            r#"foo_seconds_total{a="b"} = 1 # {} = 2 None"#,
            "type s = stateset",
            r#"s{s="on"} = 1"#,
            "type g = gaugehistogram",
            r#"g_bucket{le="+Inf"} = 5"#,
            "type u = unknown",
            "u = NaN",
        ]
    );
}

#[test]
fn openmetrics_is_strict() {
    for (text, said) in [
        ("", "line 1: the text does not end with `# EOF`"),
        ("a 1\n", "line 2: the text does not end with `# EOF`"),
        ("\n# EOF\n", "line 1: expected a metric name"),
        (" a 1\n# EOF\n", "line 1: expected a metric name"),
        ("# TYPE u untyped\n# EOF\n", "line 1: `untyped` is no metric type"),
        ("# TYPE c counter \n# EOF\n", "line 1: `counter ` is no metric type"),
        ("#  TYPE c counter\n", "line 1: expected `# HELP`, `# TYPE`, `# UNIT`, `# EOF` or a sample"),
        ("# TYPE m\n# EOF\n", "line 1: expected a text after the metric's name"),
        ("# UNIT m suffix\n# EOF\n", "line 1: unit `suffix` is not the last part of `m`"),
        ("# UNIT metricsuffix suffix\n", "line 1: unit `suffix` is not the last part of `metricsuffix`"),
        ("a\t1\n# EOF\n", "line 1: expected a value after the series"),
        ("a  1\n# EOF\n", "line 1: expected a value"),
        ("a 1 2 \n# EOF\n", "line 1: expected the end of the line"),
        ("a 1 1z\n# EOF\n", "line 1: `1z` is no number"),
        ("a 1 NaN\n# EOF\n", "line 1: a time must be finite"),
        ("a{b=\"c\nd\"} 1\n# EOF\n", "line 1: the quotes of a label value are not closed"),
        ("# EOF\na 1", "line 1: there is more after `# EOF`"),
        ("a 1 # {aa=bb}\n# EOF\n", "line 1: expected a label value in double quotes"),
        ("a 1 # {aa=\"bb\"}\n# EOF\n", "line 1: expected a value after the exemplar's labels"),
        ("a 1 # {\"bb\"} 1\n# EOF\n", "line 1: expected `=`"),
        ("a 1 # {aa=\"bb\"} 4 NaN\n# EOF\n", "line 1: a time must be finite"),
    ] {
        assert_eq!(openmetrics(text).pop(), Some(format!("error {said}")), "{text:?}");
    }
}

#[test]
fn created_lines_are_start_timestamps_wherever_they_stand() {
    let text = r#"# TYPE early counter
early_created{a="b",c="d"} 1520430000.123
early_total{c="d",a="b"} 1
early_total 2
# TYPE h histogram
h_bucket{x="1",le="1"} 3
h_bucket{x="1",le="+Inf"} 4
h_count{x="1"} 4
h_sum{x="1"} 9
h_created{x="1"} 1520430001
# TYPE s summary
s{quantile="0.5"} 1
s_count 2
s_created 1520430002
# TYPE g gauge
g_created 5
# EOF
"#;
    assert_eq!(
        openmetrics(text).into_iter().filter(|l| !l.starts_with("type")).collect::<Vec<_>>(),
        [
            r#"early_total{a="b", c="d"} = 1 start 1520430000123"#,
            "early_total = 2",
            r#"h_bucket{le="1", x="1"} = 3 start 1520430001000"#,
            r#"h_bucket{le="+Inf", x="1"} = 4 start 1520430001000"#,
            r#"h_count{x="1"} = 4 start 1520430001000"#,
            r#"h_sum{x="1"} = 9 start 1520430001000"#,
            r#"s{quantile="0.5"} = 1 start 1520430002000"#,
            "s_count = 2 start 1520430002000",
            "g_created = 5",
        ]
    );
}

#[test]
fn a_known_line_needs_no_second_look() {
    let text = b"# HELP a b\na{x=\"1\"} 5\nb 6 7\nc 8 # odd\nd 9\n";
    let mut parser = TextParser::new(text, TextFormat::Prometheus);
    assert_eq!(parser.known_sample(b"# HELP a b\na{x=\"1\"} "), Some((5.0, None)));
    assert_eq!(parser.known_sample(b"c "), None);
    assert_eq!(parser.known_sample(b"b "), Some((6.0, Some(7))));
    assert_eq!(parser.known_sample(b"c "), None, "it is malformed");
    assert_eq!(parser.next_event().unwrap_err().line, 4);
    parser.skip_line();
    assert_eq!(parser.known_sample(b"d "), Some((9.0, None)));
    assert_eq!(parser.known_sample(b"d "), None);
}

#[test]
fn a_stale_marker_cannot_be_written() {
    let mut parser = TextParser::new(b"a NaN\n", TextFormat::Prometheus);
    let Ok(Some(Event::Sample(sample))) = parser.next_event() else { panic!("a sample") };
    assert_eq!(sample.value.to_bits(), NORMAL_NAN_BITS);
}

/// Texts to mutate: every construct of both formats.
pub(crate) const SEEDS: &[&str] = &[
    "# HELP a b\\n\n# TYPE a counter\na{b=\"c\\\"d\",e=\"\"} 1 2\n{\"x y\",z=\"1\"} NaN\n",
    "# TYPE a counter\n# UNIT a_s s\na_total{b=\"c\"} 1 2.5 # {t=\"x\"} 3 4\na_created{b=\"c\"} 9\n# EOF\n",
];

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        fuzz_text(&bytes, TextFormat::Prometheus);
        fuzz_text(&bytes, TextFormat::OpenMetrics);
    }

    #[test]
    fn no_mutation_makes_the_parser_panic_or_stand_still(
        seed in 0..SEEDS.len(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), "[ -~\n\t\u{e4}\\x00]{0,3}", 0..4_usize), 1..6),
    ) {
        let mut bytes = SEEDS[seed].as_bytes().to_vec();
        for (at, insert, cut) in edits {
            let at = at.index(bytes.len() + 1);
            let end = (at + cut).min(bytes.len());
            bytes.splice(at..end, insert.bytes());
            if bytes.is_empty() {
                break;
            }
        }
        for format in [TextFormat::Prometheus, TextFormat::OpenMetrics] {
            prop_assert!(fuzz_text(&bytes, format) <= bytes.len());
        }
    }

    #[test]
    fn what_is_written_is_read_back(
        name in "[a-z_:][a-z0-9_:]{0,8}",
        labels in proptest::collection::btree_map("[a-z_][a-z0-9_]{0,5}", "\\PC{1,8}|[\n\\\\\"]{1,3}", 0..4),
        value: f64,
        at in proptest::option::of(0..4_000_000_000_000_i64),
    ) {
        prop_assume!(!value.is_nan());
        let escape = |v: &str| v.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"");
        let pairs: Vec<String> = labels.iter().map(|(n, v)| format!("{n}=\"{}\"", escape(v))).collect();
        let time = at.map(|t| format!(" {t}")).unwrap_or_default();
        let text = format!("{name}{{{}}} {value}{time}\n", pairs.join(","));
        let mut parser = TextParser::new(text.as_bytes(), TextFormat::Prometheus);
        let Ok(Some(Event::Sample(sample))) = parser.next_event() else { panic!("{text}") };
        prop_assert_eq!(sample.value.to_bits(), value.to_bits());
        prop_assert_eq!(sample.at, at);
        let read = series_labels(sample.series).unwrap();
        prop_assert_eq!(read.metric(), Some(name.as_str()));
        prop_assert_eq!(read.len(), labels.len() + 1);
        for (n, v) in &labels {
            prop_assert_eq!(read.get(n), Some(v.as_str()));
        }
        let series_end = text.find(&format!(" {value}")).unwrap() + 1;
        let known = TextParser::new(text.as_bytes(), TextFormat::Prometheus).known_sample(&text.as_bytes()[..series_end]);
        prop_assert_eq!(known.map(|k| (k.0.to_bits(), k.1)), Some((value.to_bits(), at)));
    }
}

#[test]
fn kinds_have_their_names() {
    assert_eq!(prometheus("# TYPE a untyped\n"), [format!("type a = {}", MetricKind::Unknown.as_str())]);
}
