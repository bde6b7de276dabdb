//! Prometheus' documented examples and the cases of its own tests.

use super::*;

const NOW: TimestampMs = TimestampMs(1_700_000_000_000);
const URL: &str = "http://testhost:9090/path/prefix";

fn sample(labels: &[(&str, &str)], value: f64) -> QuerySample {
    QuerySample { labels: Labels::from_pairs(labels.iter().copied()), value }
}

/// As Prometheus' tests do it: the template is called `test`, nothing stands before it, dot is `root`.
fn bare(text: &str, root: Value, answer: &[QuerySample]) -> Result<String, String> {
    let template = Template::build("test", "", text).map_err(|e| format!("error parsing template test: {e}"))?;
    let query = |_: &str, _: TimestampMs| Ok(answer.to_vec());
    template.run(root, URL, &query, NOW).map_err(|e| e.to_string())
}

#[track_caller]
fn gives(text: &str, expected: &str) {
    assert_eq!(
        bare(text, Value::Missing, &[sample(&[("__name__", "metric"), ("instance", "a")], 11.0)]).as_deref(),
        Ok(expected),
        "{text}"
    );
}

#[track_caller]
fn fails(text: &str, expected: &str) {
    assert_eq!(bare(text, Value::Missing, &[]), Err(expected.to_owned()), "{text}");
}

#[track_caller]
fn over(text: &str, input: Vec<Value>, expected: &str) {
    assert_eq!(bare(text, Value::List(input.into()), &[]).as_deref(), Ok(expected), "{text}");
}

fn floats(v: &[f64]) -> Vec<Value> {
    v.iter().map(|v| Value::Float(*v)).collect()
}

fn strings(v: &[&str]) -> Vec<Value> {
    v.iter().map(|v| Value::string(*v)).collect()
}

fn ints(v: &[i64]) -> Vec<Value> {
    v.iter().map(|v| Value::Int(*v)).collect()
}

#[test]
fn text_numbers_and_arguments() {
    gives("plain text", "plain text");
    gives("{{ 1 }}", "1");
    gives("{{ \"<b>\" }}", "<b>");
    gives("{{define \"x\"}}{{.arg0}} {{.arg1}}{{end}}{{template \"x\" (args 1 \"2\")}}", "1 2");
    gives("{{ .Foo }}", "<no value>");
    gives("{{ \"<b>\" | safeHtml }}", "<b>");
}

#[test]
fn queries() {
    gives("{{ query \"metric{instance='a'}\" | first | value }}", "11");
    gives("{{ query \"metric{instance='a'}\" | first | label \"instance\" }}", "a");
    gives("{{ query \"metric{instance='a'}\" | first | label \"foo\" }}", "");
    gives("{{ $x := query \"metric\" | first }}{{ $x.Labels.foo }}", "");
    let two = [sample(&[("instance", "b")], 21.0), sample(&[("instance", "a")], 11.0)];
    let text = "{{ range query \"metric\" | sortByLabel \"instance\" }}{{.Labels.instance}}:{{.Value}}: {{end}}";
    assert_eq!(bare(text, Value::Missing, &two).as_deref(), Ok("a:11: b:21: "));
    let strange = [sample(&[("__value__", "a")], 11.0)];
    assert_eq!(bare("{{ query \"metric\" | first | strvalue }}", Value::Missing, &strange).as_deref(), Ok("a"));
}

#[test]
fn errors_have_prometheus_words_and_places() {
    fails("{{", "error parsing template test: template: test:1: unclosed action");
    fails("{{ nosuch 1 }}", "error parsing template test: template: test:1: function \"nosuch\" not defined");
    fails("{{ $x }}", "error parsing template test: template: test:1: undefined variable \"$x\"");
    fails(
        "{{ query \"missing\" | first }}",
        "error executing template test: template: test:1:21: executing \"test\" at <first>: error calling first: first() called on vector with no elements",
    );
    fails(
        "{{ (query \"missing\").banana }}",
        "error executing template test: template: test:1:10: executing \"test\" at <\"missing\">: can't evaluate field banana in type template.queryResult",
    );
    for f in ["humanize", "humanize1024", "humanizeDuration"] {
        fails(
            &format!("{{{{ {f} \"one\" }}}}"),
            &format!(
                "error executing template test: template: test:1:3: executing \"test\" at <{}>: error calling {f}: strconv.ParseFloat: parsing \"one\": invalid syntax",
                if f == "humanizeDuration" { "humanizeDuration \"on...".to_owned() } else { format!("{f} \"one\"") }
            ),
        );
    }
    gives("{{ humanize \"1_000\" }}:{{ humanize1024 \"1_024\" }}", "1k:1ki");
    for (text, why) in [
        ("1__0", "invalid syntax"),
        ("_1", "invalid syntax"),
        ("1_", "invalid syntax"),
        ("1e400", "value out of range"),
    ] {
        let told = format!("error calling humanize: strconv.ParseFloat: parsing {text:?}: {why}");
        let said = bare(&format!("{{{{ humanize {text:?} }}}}"), Value::Missing, &[]).expect_err(text);
        assert!(said.ends_with(&told), "{said}");
    }
    fails(
        "{{ \"one\" | humanizePercentage }}",
        "error executing template test: template: test:1:11: executing \"test\" at <humanizePercentage>: error calling humanizePercentage: strconv.ParseFloat: parsing \"one\": invalid syntax",
    );
    assert_eq!(
        bare("{{ range . }}{{ humanizeTimestamp . }}:{{ end }}", Value::List(ints(&[i64::MIN, 1]).into()), &[]),
        Err("error executing template test: template: test:1:16: executing \"test\" at <humanizeTimestamp .>: error calling humanizeTimestamp: -9.223372036854776e+18 cannot be represented as a nanoseconds timestamp since it overflows int64".to_owned())
    );
}

/// As promtool 3.5.3 refuses them; `gotmpl` takes each.
#[test]
fn what_stands_where_nothing_may_is_refused_in_go_s_words() {
    for (text, why) in [
        ("{{ $labels.}}", "unexpected <.> in operand"),
        ("{{ $labels.a. }}", "unexpected <.> in operand"),
        ("{{ .Value. }}", "unexpected <.> in operand"),
        ("{{ .. }}", "unexpected <.> in operand"),
        ("{{ .Labels..a }}", "unexpected <.> in operand"),
        ("{{ ($labels). }}", "unexpected <.> in operand"),
        ("{{ 1.5.}}", "unexpected <.> in operand"),
        ("{{ 1.2.3 }}", "unexpected \".3\" in operand"),
        ("{{ \"x\".a }}", "unexpected . after term \"\\\"x\\\"\""),
        ("{{ true.a }}", "unexpected . after term \"true\""),
        ("{{ 1 | 2 }}", "non executable command in pipeline stage 2"),
        ("{{ \"a\" | \"b\" }}", "non executable command in pipeline stage 2"),
        ("{{ 1 | humanize | . }}", "non executable command in pipeline stage 3"),
        ("{{ if 1 | nil }}{{ end }}", "non executable command in pipeline stage 2"),
        ("{{ printf \"%v\" (1 | true) }}", "non executable command in pipeline stage 2"),
    ] {
        assert_eq!(Template::parse(text).expect_err(text).message, why, "{text}");
    }
    for text in [
        "{{ . . }}",
        "{{ .5 }}",
        "{{ 1. }}",
        "{{ -1.5e-3 }}",
        "{{ +1 }}",
        "{{ 0x1p-4 }}",
        "{{ (index $labels \"a\") }}",
        "{{- $value -}}",
        "{{ ($labels).a }}",
        "{{ 1 | $value }}",
        "{{ 1|humanize }}",
        "{{ \"}}\\\".\" }}",
        "{{ `}}.` }}",
        "{{/* .. 1.2.3 */}}",
        "{{ range $i, $x := query \"x\" }}{{ $i }}{{ $x.Value }}{{ end }}",
        "{{ '.' }}",
        "{{ (query \"a\" | first).Labels.b }}",
        "{{ template \"x\" . }}{{ define \"x\" }}{{ .a }}..{{ end }}",
        "{{ $labels.a }}. And ..",
    ] {
        assert!(Template::parse(text).is_ok(), "{text}: {:?}", Template::parse(text));
    }
}

/// As promtool 3.5 refuses them; `gotmpl` takes each and loses what follows.
#[test]
fn what_closes_nothing_or_is_never_closed_is_refused_in_go_s_words() {
    for (text, why) in [
        ("a {{ end }} b", "unexpected {{end}}"),
        ("a {{- end -}} b", "unexpected {{end}}"),
        ("{{ if true }} x", "unexpected EOF"),
        ("{{ if true }}{{ if true }}{{ end }}", "unexpected EOF"),
        ("{{ if true }}yes{{ else }}no", "unexpected EOF"),
        ("{{ define \"x\" }} b", "unexpected EOF"),
        ("{{ block \"x\" . }} b", "unexpected EOF"),
        ("b {{ else }} c", "unexpected {{else}}"),
        ("{{ else if true }}{{ end }}", "unexpected {{else}}"),
        ("{{ if true }}{{ else }}{{ else }}{{ end }}", "expected end; found {{else}}"),
        ("{{ if true }}{{ else }}{{ else if true }}{{ end }}", "expected end; found {{else}}"),
        ("{{ define \"x\" }}{{ else }}{{ end }}", "unexpected {{else}} in define clause"),
        ("{{ block \"x\" . }} b {{ else }}{{ end }}", "unexpected {{else}} in block clause"),
        ("{{ with 1 }}{{ else if 2 }}{{ end }}", "unexpected <if> in input"),
        ("{{ if 1 }}{{ else with 2 }}{{ end }}{{ end }}", "unexpected <with> in input"),
        ("{{ range args }}{{ else if 2 }}{{ end }}", "unexpected <if> in input"),
        ("{{ if true }}{{ define \"x\" }}y{{ end }}{{ end }}", "unexpected <define> in command"),
        ("d {{ break }}", "{{break}} outside {{range}}"),
        ("{{ if true }}{{ continue }}{{ end }}", "{{continue}} outside {{range}}"),
        ("{{ range args }}{{ else }}{{ break }}{{ end }}", "{{break}} outside {{range}}"),
        ("{{ range args }}{{ end }}{{ break }}", "{{break}} outside {{range}}"),
        ("{{ range args }}{{ block \"b\" . }}{{ break }}{{ end }}{{ end }}", "{{break}} outside {{range}}"),
        ("{{ \"}}\" }}{{ `}}` }}{{/* }} {{ if 1 }} */}}{{ '}' }}{{ end }}", "unexpected {{end}}"),
    ] {
        fails(text, &format!("error parsing template test: template: test:1: {why}"));
    }
    let e = Template::parse("one\ntwo {{ if true }}x{{ end }}{{ end }}").unwrap_err();
    assert_eq!((e.line, e.column, e.message.as_str()), (2, 28, "unexpected {{end}}"));
}

#[test]
fn keywords_in_comments_strings_and_chains_open_and_close_nothing() {
    gives("{{ \"{{ end }}\" }}{{ `{{ end }}` }}{{/* {{ end }} */}}{{- /* {{ if }} */ -}}", "{{ end }}{{ end }}");
    gives("{{ \"\\\"}}{{ end }}\" }}{{ '\\'' }}", "\"}}{{ end }}39");
    gives("{{ if false }}a{{ else if false }}b{{ else if true }}c{{ else }}d{{ end }}", "c");
    gives("{{ with \"\" }}a{{ else with \"x\" }}{{ . }}{{ else }}d{{ end }}!", "x!");
    gives("{{ range query \"m\" }}{{ with 1 }}{{ continue }}{{ end }}x{{ else }}none{{ end }}.", ".");
    gives("{{- if true -}} y {{- end -}} .", "y.");
    gives(
        "{{ block \"x\" 1 }}{{ . }}{{ end }}{{ define \"y\" }}{{ if true }}z{{ end }}{{ end }}{{ template \"y\" }}",
        "1z",
    );
}

#[test]
fn verbs_that_do_not_fit_and_literals_of_the_wrong_type_are_told_as_go_tells_them() {
    gives(
        "{{ printf \"%d|%s|%5d|%t|%%\" 1.5 2 \"x\" 1 }}",
        "%!d(float64=1.5)|%!s(int=2)|%!d(string=    x)|%!t(int=1)|%",
    );
    gives("{{ printf \"%5d|%-4s|%q|%x\" 12 \"a\" \"b\" 255 }}", "   12|a   |\"b\"|ff");
    fails(
        "{{ label \"a\" 5 }}",
        "error executing template test: template: test:1:13: executing \"test\" at <5>: can't handle 5 for arg of type *template.sample",
    );
    fails(
        "{{ toUpper 5 }}",
        "error executing template test: template: test:1:11: executing \"test\" at <5>: expected string; found 5",
    );
}

#[test]
fn humanize_as_documented() {
    let h = "{{ range . }}{{ humanize . }}:{{ end }}";
    over(h, floats(&[0.0, 1.0, 1_234_567.0, 0.12]), "0:1:1.235M:120m:");
    over(h, strings(&["0.0", "1.0", "1234567.0", ".12"]), "0:1:1.235M:120m:");
    over(h, ints(&[0, -1, 1, 1_234_567, i64::MAX]), "0:-1:1:1.235M:9.223E:");
    let h = "{{ range . }}{{ humanize1024 . }}:{{ end }}";
    over(h, floats(&[0.0, 1.0, 1_048_576.0, 0.12]), "0:1:1Mi:0.12:");
    over(h, ints(&[0, -1, 1, 1_234_567, i64::MAX]), "0:-1:1:1.177Mi:8Ei:");
    let h = "{{ range . }}{{ humanizeDuration . }}:{{ end }}";
    over(
        h,
        floats(&[0.0, 1.0, 60.0, 3600.0, 86400.0, 90000.0, -183_845.0, 899.99]),
        "0s:1s:1m 0s:1h 0m 0s:1d 0h 0m 0s:1d 1h 0m 0s:-2d 3h 4m 5s:14m 59s:",
    );
    over(
        h,
        floats(&[0.1, 0.0001, 0.12345, 60.1, 60.5, 1.2345, 12.345]),
        "100ms:100us:123.5ms:1m 0s:1m 0s:1.234s:12.35s:",
    );
    over(h, ints(&[0, -1, 1, 1_234_567]), "0s:-1s:1s:14d 6h 56m 7s:");
    over(
        "{{ range . }}{{ humanize . }}:{{ humanize1024 . }}:{{ humanizeDuration . }}:{{humanizeTimestamp .}}:{{ end }}",
        floats(&[f64::INFINITY, f64::NEG_INFINITY, f64::NAN]),
        "+Inf:+Inf:+Inf:+Inf:-Inf:-Inf:-Inf:-Inf:NaN:NaN:NaN:NaN:",
    );
    gives(
        "{{ -0.22222 | humanizePercentage }}:{{ 0.0 | humanizePercentage }}:{{ 0.1234567 | humanizePercentage }}:{{ 1.23456 | humanizePercentage }}",
        "-22.22%:0%:12.35%:123.5%",
    );
    over(
        "{{ range . }}{{ humanizePercentage . }}:{{ end }}",
        ints(&[0, -1, 1, 1_234_567, i64::MAX]),
        "0%:-100%:100%:1.235e+08%:9.223e+20%:",
    );
}

#[test]
fn times() {
    gives("{{ 1435065584.128 | humanizeTimestamp }}", "2015-06-23 13:19:44.128 +0000 UTC");
    gives("{{ \"1435065584.128\" | humanizeTimestamp }}", "2015-06-23 13:19:44.128 +0000 UTC");
    gives("{{ (1435065584.128 | toTime).Format \"2006\" }}", "2015");
    gives("{{ 3720.01 | toDuration }}", "1h2m0.01s");
    gives("{{ printf \"%0.2f\" (parseDuration \"1h2m10ms\") }}", "3720.01");
    gives("{{ now }} {{ printf \"%v|%6v|%f|%.1f\" 1e20 1.5 2.5 2.25 }}", "1.7e+09 1e+20|   1.5|2.500000|2.2");
    over(
        "{{ range . }}{{ humanizeTimestamp . }}:{{ end }}",
        ints(&[0, -1, 1, 1_234_567, 9_223_372_036]),
        "1970-01-01 00:00:00 +0000 UTC:1969-12-31 23:59:59 +0000 UTC:1970-01-01 00:00:01 +0000 UTC:1970-01-15 06:56:07 +0000 UTC:2262-04-11 23:47:16 +0000 UTC:",
    );
}

#[test]
fn strings_hosts_and_links() {
    gives("{{ reReplaceAll \"(a)b\" \"x$1\" \"ab\" }}", "xa");
    gives("{{ \"aa bb CC\" | title }}", "Aa Bb CC");
    gives("{{ \"aa bb CC\" | toUpper }}", "AA BB CC");
    gives("{{ \"aA bB CC\" | toLower }}", "aa bb cc");
    gives("{{ match \"a+\" \"aa\" }} {{ match \"a+\" \"b\" }}", "true false");
    gives("{{ graphLink \"up\" }}", "/graph?g0.expr=up&g0.tab=0");
    gives("{{ tableLink \"up == 1\" }}", "/graph?g0.expr=up+%3D%3D+1&g0.tab=1");
    gives("{{ pathPrefix }}", "/path/prefix");
    gives("{{ externalURL }}", URL);
    gives("{{ urlQueryEscape \"a b&c\" }}", "a+b%26c");
    for (host, port_less, domain_less) in [
        ("foo.example.com", "foo.example.com", "foo"),
        ("foo.example.com:12345", "foo.example.com", "foo:12345"),
        ("192.0.2.1", "192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:12345", "192.0.2.1", "192.0.2.1:12345"),
        ("2001:0DB8::1", "2001:0DB8::1", "2001:0DB8::1"),
        ("[2001:0DB8::1]:12345", "2001:0DB8::1", "[2001:0DB8::1]:12345"),
        ("[2001:0DB8::1]::12345", "[2001:0DB8::1]::12345", "[2001:0DB8::1]::12345"),
    ] {
        gives(&format!("{{{{ \"{host}\" | stripPort }}}}"), port_less);
        gives(&format!("{{{{ \"{host}\" | stripDomain }}}}"), domain_less);
    }
}

/// What promtool 3.5 prints.
#[test]
fn times_are_calculated_with_as_in_go() {
    let at =
        |text: &str, expected: &str| gives(&format!("{{{{ $t := toTime 1700000000.5 }}}}{{{{ {text} }}}}"), expected);
    at("$t.Weekday", "Tuesday");
    at("eq $t.Weekday 2", "true");
    at("gt $t.Month 10", "true");
    at("printf \"%d %s %v\" $t.Month $t.Month $t.Month", "11 November November");
    at("$t.Month.String", "November");
    at("printf \"%T\" $t.Month", "time.Month");
    at("$t.Add 60000000000", "2023-11-14 22:14:20.5 +0000 UTC");
    at("$t.AddDate 0 1 20", "2024-01-03 22:13:20.5 +0000 UTC");
    at("$t.AddDate 0 -9 0", "2023-02-14 22:13:20.5 +0000 UTC");
    at("(toTime 1706659200).AddDate 0 1 0", "2024-03-02 00:00:00 +0000 UTC");
    at("$t.Truncate 3600000000000", "2023-11-14 22:00:00 +0000 UTC");
    at("$t.Round 3600000000000", "2023-11-14 22:00:00 +0000 UTC");
    at("$t.Truncate 604800000000000", "2023-11-13 00:00:00 +0000 UTC");
    at("$t.Truncate 0", "2023-11-14 22:13:20.5 +0000 UTC");
    at("$t.Compare $t", "0");
    at("$t.UnixMicro", "1700000000500000");
    at("$t.Location", "UTC");
    let d = "{{ $d := (toTime 1700000090.5).Sub (toTime 1700000000) }}";
    gives(&format!("{d}{{{{ printf \"%d %s\" $d $d }}}} {{{{ gt $d 1000 }}}}"), "90500000000 1m30.5s true");
}

/// What promtool 3.5 prints.
#[test]
fn texts_and_verbs_are_those_of_go() {
    gives("{{ title \"it's\" }}", "It's");
    gives("{{ title \"foo_bar 3rd a-b foo.bar x:y abc'\" }}", "Foo_bar 3Rd A-B Foo.bar X:y Abc'");
    gives("{{ title \"'quoted' a.b. 1.a élan don’t ''a a''b\" }}", "'Quoted' A.b. 1.A Élan Don’t ''A A''B");
    gives("{{ title \"HTTP ok\" }}", "HTTP Ok");
    gives("{{ toUpper \"ßaé\" }}", "ßAÉ");
    gives("{{ toLower \"İΣ\" }}", "iσ");
    gives(
        "{{ printf \"%.3v|%8.3v|%F|%.2F|%x|%X\" 2.5 2.5 2.5 2.5 2.5 2.5 }}",
        "2.5|     2.5|2.500000|2.50|0x1.4p+01|0X1.4P+01",
    );
    gives("{{ printf \"%x %x %x\" 0.0 -1.0 5e-324 }}", "0x0p+00 -0x1p+00 0x1p-1074");
    gives("{{ printf \"% x|%x|%+q|%#v\" \"hé\" \"hé\" \"hé\" \"hé\" }}", "68 c3 a9|68c3a9|\"h\\u00e9\"|\"hé\"");
    gives("{{ printf \"%#v %#v %#v\" 1 1.5 true }}", "1 1.5 true");
    gives("{{ define \"y\" }}{{ . }}|{{ .x }}{{ end }}{{ template \"y\" }}", "<no value>|<no value>");
    let one = "{map[__name__:metric instance:a] 11}";
    gives("{{ index (query \"m\") 0 }}|{{ query \"m\" | first }}", &format!("{one}|{one}"));
    gives("{{ print (query \"m\" | first) }}|{{ printf \"%v\" (query \"m\" | first) }}", &format!("&{one}|&{one}"));
    assert_eq!(alert("{{ eq $labels nil }} {{ ne nil $labels }} {{ eq nil nil }}"), "false true true");
    assert_eq!(alert("{{ printf \"%s\" $labels }}"), alert("{{ $labels }}"));
    assert!(alert("{{ . }}").starts_with("{map["), "labels come first, as they are declared");
}

#[test]
fn a_histogram_is_printed_and_no_number() {
    let text = "{count:5, sum:10, (0.5,1]:1}";
    let data = Data { value: DataValue::Histogram(text.to_owned()), ..data() };
    let expand = |template: &str| match Template::named("test", template) {
        Ok(t) => t.expand(&data, &NoQueries, NOW).map_err(|e| e.to_string()),
        Err(e) => Err(e.to_string()),
    };
    assert_eq!(
        expand("{{ $value }}|{{ printf \"%v %T\" $value $value }}"),
        Ok(format!("{text}|{text} *histogram.FloatHistogram"))
    );
    let answer =
        QuerySample { labels: Labels::from_pairs([("__name__", "h")]), value: DataValue::Histogram(text.to_owned()) };
    let query = |_: &str, _: TimestampMs| Ok(vec![answer.clone()]);
    let template = Template::parse(
        "{{ query \"h\" | first | value }}|{{ index (query \"h\") 0 }}|{{ (query \"h\" | first).Value }}",
    );
    assert_eq!(
        template.unwrap().expand(&data, &query, NOW).as_deref(),
        Ok(format!("{text}|{{map[__name__:h] {text}}}|{text}").as_str())
    );
    let why = expand("{{ humanize $value }}").unwrap_err();
    assert!(why.ends_with("can't convert *histogram.FloatHistogram to float"), "{why}");
}

#[test]
fn go_functions() {
    gives("{{ if and true (gt 2 1) }}y{{ else }}n{{ end }}", "y");
    gives("{{ or \"\" \"x\" }}{{ not true }}{{ len \"abc\" }}{{ index (query \"a\") 0 | value }}", "xfalse311");
    gives("{{ slice \"abcd\" 1 3 }}{{ print 1 2 \"a\" }}{{ eq 1 2 1 }}{{ ne \"a\" \"b\" }}", "bc1 2atruetrue");
    gives("{{ html \"<a>\" }}{{ js \"'\" }}{{ urlquery \"a b\" }}", "&lt;a&gt;\\'a+b");
    gives("{{ range $i, $s := query \"m\" }}{{ $i }}={{ $s.Value }}{{ else }}none{{ end }}", "0=11");
    gives("{{ with query \"m\" }}{{ . | first | value }}{{ end }}", "11");
    gives("{{ range 3 }}{{ if eq . 1 }}{{ continue }}{{ end }}{{ . }}{{ end }}", "02");
    fails(
        "{{ gt 1.5 1 }}",
        "error executing template test: template: test:1:3: executing \"test\" at <gt 1.5 1>: error calling gt: incompatible types for comparison",
    );
    fails(
        "{{ humanize }}",
        "error executing template test: template: test:1:3: executing \"test\" at <humanize>: wrong number of args for humanize: want 1 got 0",
    );
}

fn data() -> Data {
    Data {
        labels: Labels::from_pairs([("instance", "localhost:9090"), ("job", "node")]),
        external_labels: Labels::from_pairs([("cluster", "prod")]),
        external_url: "http://prometheus:9090".to_owned(),
        value: 0.95.into(),
    }
}

fn alert(text: &str) -> String {
    match Template::named("__alert_A", text) {
        Ok(t) => t.expand_or_say(&data(), &NoQueries, NOW),
        Err(e) => e.to_string(),
    }
}

#[test]
fn an_alert_s_variables() {
    assert_eq!(alert("Instance {{ $labels.instance }} down"), "Instance localhost:9090 down");
    assert_eq!(alert("{{ .Labels.job }} {{ $value }} {{ .Value | humanizePercentage }}"), "node 0.95 95%");
    assert_eq!(
        alert("{{ $externalLabels.cluster }} {{ $externalURL }}[{{ $labels.nosuch }}]"),
        "prod http://prometheus:9090[]"
    );
    assert_eq!(alert("{{ range $k, $v := $labels }}{{ $k }}={{ $v }};{{ end }}"), "instance=localhost:9090;job=node;");
    assert_eq!(
        alert("VALUE = {{ $value }}\n  LABELS = {{ $labels }}"),
        "VALUE = 0.95\n  LABELS = map[instance:localhost:9090 job:node]"
    );
    assert_eq!(
        alert("{{ $labels.quantity | humanize }}"),
        "<error expanding template: error executing template __alert_A: template: __alert_A:1:134: executing \"__alert_A\" at <humanize>: error calling humanize: strconv.ParseFloat: parsing \"\": invalid syntax>"
    );
    let t =
        Template::parse("{{ $labels.a }} {{ $externalLabels.b }} {{ query \"up\" | first | value }}").expect("parses");
    assert_eq!(
        t.label_uses().iter().map(|l| (l.name.as_str(), l.offset, l.external)).collect::<Vec<_>>(),
        [("a", 3, false), ("b", 19, true)]
    );
    assert_eq!((t.queries(), t.expressions()), (true, [("up".to_owned(), 49)].as_slice()));
}

#[test]
fn labels_are_seen_by_whatever_way_they_are_named() {
    let uses = |text: &str| -> Vec<String> {
        let template = Template::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        template
            .label_uses()
            .iter()
            .map(|u| format!("{}{}", if u.external { "external " } else { "" }, u.name))
            .collect()
    };
    for text in [
        "{{ $labels.a }}",
        "{{ .Labels.a }}",
        "{{ $.Labels.a }}",
        "{{ index $labels \"a\" }}",
        "{{ index .Labels \"a\" | toUpper }}",
        "{{ $x := $labels }}{{ $x.a }}",
        "{{ with $labels }}{{ .a }}{{ end }}",
        "{{ if true }}{{ .Labels.a }}{{ end }}",
    ] {
        assert_eq!(uses(text), ["a"], "{text}");
    }
    assert_eq!(uses("{{ .ExternalLabels.a }}"), ["external a"]);
    for text in [
        "{{ range query \"m\" }}{{ .Labels.a }}{{ end }}",
        "{{ with query \"m\" }}{{ with . | first }}{{ .Labels.a }}{{ end }}{{ end }}",
        "{{ define \"t\" }}{{ .Labels.a }}{{ end }}{{ template \"t\" . }}",
        "{{ $x := $labels }}{{ $x = args }}{{ $x.a }}",
        "{{ $labels := args }}{{ $labels.a }}",
        "{{ (query \"m\" | first).Labels.a }}",
    ] {
        assert_eq!(uses(text), [] as [&str; 0], "{text}");
    }
}

#[test]
fn a_place_is_counted_in_the_user_s_text() {
    let e = Template::parse("fine\n  {{ nosuch }}").expect_err("no such function");
    assert_eq!((e.line, e.column), (2, 6));
    let e = Template::parse("{{ nosuch }}").expect_err("no such function");
    assert_eq!((e.line, e.column), (1, 4));
}

#[test]
fn work_is_bounded() {
    for (text, says) in [
        ("{{ range 100000000 }}{{ end }}", "steps"),
        ("{{ define \"x\" }}{{ template \"x\" }}{{ end }}{{ template \"x\" }}", "depth"),
        ("{{ range 1000000 }}0123456789012345678901234567890123456789{{ end }}", "bytes"),
        ("{{ $x := \"0123456789\" }}{{ range 60 }}{{ $x = print $x $x }}{{ end }}", "bytes"),
        ("{{ printf \"%1000000d %1000000d\" 1 2 }}", "bytes"),
        ("{{ printf \"%.5000000f\" 1.5 }}", "bytes"),
        ("{{ printf \"%1000000v\" $labels }}", "bytes"),
    ] {
        let e = alert(text);
        assert!(e.starts_with("<error") && e.contains(says), "{text}: {e}");
    }
}

/// As promtool 3.5.3 expands them, for a series `m{a="b", c="d\"é"}` of 1.5.
#[test]
fn printf_prints_what_go_prints() {
    let labels = Labels::from_pairs([("__name__", "m"), ("a", "b"), ("c", "d\"é")]);
    let answer = QuerySample { labels: labels.clone(), value: 1.5 };
    let data = Data { labels, external_labels: Labels::empty(), external_url: String::new(), value: 1.5.into() };
    let query = |_: &str, _: TimestampMs| Ok(vec![answer.clone()]);
    let golden = include_str!("../tests/golden/printf.txt");
    let (mut lines, mut wrong) = (0, Vec::new());
    for (template, expected) in golden.lines().filter_map(|l| l.split_once('\t')) {
        lines += 1;
        let expanded = Template::parse(template).map(|t| t.expand_or_say(&data, &query, NOW));
        if expanded.as_deref() != Ok(expected) {
            wrong.push(format!("{template}\n  is       {expanded:?}\n  should be {expected:?}"));
        }
    }
    assert!(lines > 2_000, "{lines}");
    assert!(wrong.is_empty(), "{} of {lines}:\n{}", wrong.len(), wrong.join("\n"));
}

proptest::proptest! {
    #[test]
    fn no_format_panics_or_loses_its_texts(
        format in "([%]|[%][-+# 0]{0,3}[*0-9]{0,3}[.]?[*0-9]{0,3}[a-zA-Z%é!]|\\[|\\]|[a-z]){0,12}",
        n in proptest::num::i64::ANY, v in proptest::num::f64::ANY, s in ".{0,8}",
    ) {
        let args = [Value::Int(n), Value::Float(v), Value::string(s.as_str()), Value::Nil];
        let Ok(printed) = gofmt::sprintf(&format, &args) else { return Ok(()) };
        if !format.contains('%') {
            proptest::prop_assert!(printed.starts_with(&format));
        }
    }

    /// Naming the arguments in their order is the same as taking them so, and a width is the same from wherever it comes.
    #[test]
    fn an_argument_is_the_same_by_its_number(
        flags in "[-+# 0]{0,3}", width in 1i64..40, precision in 0i64..25, verb in "[vdsqxXbocUteEfFgG]",
        n in proptest::num::i64::ANY, v in proptest::num::f64::ANY, s in "\\PC{0,8}",
    ) {
        for arg in [Value::Int(n), Value::Float(v), Value::string(s.as_str()), Value::Bool(n > 0)] {
            let plain = gofmt::sprintf(&format!("%{flags}{width}.{precision}{verb}"), std::slice::from_ref(&arg));
            let args = [Value::Int(width), Value::Int(precision), arg];
            let taken = gofmt::sprintf(&format!("%{flags}*.*{verb}"), &args);
            let named = gofmt::sprintf(&format!("%{flags}[1]*.[2]*[3]{verb}"), &args);
            proptest::prop_assert_eq!(&plain, &taken);
            proptest::prop_assert_eq!(&plain, &named);
        }
    }

    /// What Rust reads is what was printed: no digit is lost where none was asked to go.
    #[test]
    fn floats_read_back(v in proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL | proptest::num::f64::ZERO) {
        for format in ["%v", "%g", "%#.17g", "%.17e", "%.1100f"] {
            let text = gofmt::sprintf(format, &[Value::Float(v)]).map_err(proptest::test_runner::TestCaseError::fail)?;
            proptest::prop_assert_eq!(text.parse::<f64>().map(f64::to_bits), Ok(v.to_bits()), "{}: {}", format, text);
        }
    }

    #[test]
    fn no_text_panics(text in "(\\{\\{|\\}\\}|[ .$|()\"]|if |end|range |else|printf|query|index|slice|humanize|labels|value|[0-9]{1,3}|[a-zA-Zé]){0,30}") {
        let _ = alert(&text);
    }

    #[test]
    fn text_without_actions_stays_as_it_is(text in "[^{]{0,60}") {
        proptest::prop_assert_eq!(alert(&text), text);
    }

    #[test]
    fn a_label_comes_out_as_it_went_in(v in "[^{}]{1,20}") {
        let d = Data { labels: Labels::from_pairs([("x", v.as_str())]), ..data() };
        let t = Template::parse("{{ $labels.x }}").map_err(|e| proptest::test_runner::TestCaseError::fail(e.to_string()))?;
        proptest::prop_assert_eq!(t.expand(&d, &NoQueries, NOW), Ok(v));
    }

    #[test]
    fn every_number_can_be_humanized(v in proptest::num::f64::ANY) {
        let d = Data { value: v.into(), ..data() };
        for f in ["humanize", "humanize1024", "humanizeDuration", "humanizePercentage"] {
            let t = Template::parse(&format!("{{{{ $value | {f} }}}}")).map_err(|e| proptest::test_runner::TestCaseError::fail(e.to_string()))?;
            proptest::prop_assert!(t.expand(&d, &NoQueries, NOW).is_ok_and(|s| !s.is_empty()));
        }
    }
}
