//! The parser as its users see it: what it accepts, what it says of the rest, and that printing loses nothing.

use belfry_promql::{format_expr, parse, parse_recovering};
use proptest::prelude::*;

/// Accepted, and printed like this.
#[test]
fn expressions_are_printed_in_one_form() {
    for (text, printed) in [
        ("up", "up"),
        ("SUM by(job,)(rate(x[300]))", "sum by (job) (rate(x[5m]))"),
        ("sum(x) without (a)", "sum without (a) (x)"),
        ("a{b='c',d=~\"e\"}", r#"a{b="c",d=~"e"}"#),
        (r#"{"my.metric", "a b"!="x"}"#, r#"{"a b"!="x",__name__="my.metric"}"#),
        ("-2^2", "-2 ^ 2"),
        ("2^3^4 * 5 + -x", "2 ^ 3 ^ 4 * 5 + -x"),
        ("a*on(x)group_left(y)b", "a * on (x) group_left (y) b"),
        ("a + fill(0) b", "a + fill (0) b"),
        ("a - on(x) fill_left(1) fill_right(-2) b", "a - on (x) fill_left (1) fill_right (-2) b"),
        ("fill + fill", "fill + fill"),
        ("x[5m] @ 10 offset -1h", "x[5m] @ 10.000 offset -1h"),
        ("x offset 1m + y", "x offset 1m + y"),
        ("x offset (1m + 5s)", "x offset (1m + 5s)"),
        ("x offset -2 ^ 2", "x offset -2s ^ 2"),
        ("x offset (-2 ^ 2)", "x offset (-2 ^ 2)"),
        ("x[step() * 2:max_of(10s, step())] @ end()", "x[step() * 2:max_of(10s, step())] @ end()"),
        ("rate(x[1m] smoothed)", "rate(x[1m] smoothed)"),
        ("increase(x[1m] anchored offset 5m)", "increase(x[1m] anchored offset 5m)"),
        ("h </ 5 >/ -1", "h </ 5 >/ -1"),
        ("a == bool 1", "a == bool 1"),
        ("5m", "5m"),
        ("x[1001ms]", "x[1s1ms]"),
        ("0x1F + 017 + 1_000 + .5e1", "31 + 15 + 1000 + 5"),
        ("sum", "sum"),
        ("start() + step() + offset", "start() + step() + offset"),
        ("count_values(\"v\", x) # a comment", "count_values(\"v\", x)"),
        ("info(x, {a=\"b\"})", "info(x, {a=\"b\"})"),
        ("a:b:c", "a:b:c"),
    ] {
        let expr = parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(expr.to_string(), printed, "{text}");
    }
}

/// Broken where promtool breaks it: lines of more than 100 bytes, their indent not counted.
#[test]
fn long_expressions_are_broken_into_lines_as_promtool_does() {
    let (fits, long) = ("m".repeat(96), "m".repeat(97));
    for (text, lines) in [
        (format!("ln({fits})"), vec![format!("ln({fits})")]),
        (format!("ln({long})"), vec!["ln(".to_owned(), format!("  {long}"), ")".to_owned()]),
        (
            format!("sum by(job)(-{long}) / on(job) group_left() b"),
            vec![
                "  sum by (job) (".to_owned(),
                format!("    -{long}"),
                "  )".to_owned(),
                "/ on (job) group_left ()".to_owned(),
                "  b".to_owned(),
            ],
        ),
        (
            format!("topk(2, ({long}))"),
            vec!["topk(".to_owned(), "  2,".to_owned(), format!("  ({long})"), ")".to_owned()],
        ),
        // A short subquery stands without its indent.
        (
            format!("max_over_time(a{{b=\"{}\"}}[1h:1m])", "c".repeat(80)),
            vec!["max_over_time(".to_owned(), format!("a{{b=\"{}\"}}[1h:1m]", "c".repeat(80)), ")".to_owned()],
        ),
    ] {
        let expr = parse(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(format_expr(&expr).lines().collect::<Vec<_>>(), lines, "{text}");
    }
}

#[test]
fn errors_are_worded_and_placed_as_prometheus_does() {
    for (text, message) in [
        ("", "unknown position: parse error: no expression found in input"),
        ("1 +", "1:4: parse error: unexpected end of input"),
        ("sum(1 +)", "1:8: parse error: unexpected \")\" in aggregation"),
        ("sum(x", "1:6: parse error: unclosed left parenthesis"),
        ("a\n  + $", "2:5: parse error: unexpected character: '$'"),
        ("foo(x)", "1:1: parse error: unknown function with name \"foo\""),
        ("rate(x)", "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector"),
        ("sum(1)", "1:5: parse error: expected type instant vector in aggregation expression, got scalar"),
        ("topk(x)", "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, got 1"),
        ("sum()", "1:1: parse error: no arguments for aggregate expression provided"),
        ("abs()", "1:1: parse error: expected 1 argument(s) in call to \"abs\", got 0"),
        ("round(x, 1, 2)", "1:1: parse error: expected at most 2 argument(s) in call to \"round\", got 3"),
        ("abs(x,)", "1:6: parse error: trailing commas not allowed in function call args"),
        ("1 == 1", "1:3: parse error: comparisons between scalars must use BOOL modifier"),
        ("a + bool b", "1:3: parse error: bool modifier can only be used on comparison operators"),
        ("1 and 1", "1:1: parse error: set operator \"and\" not allowed in binary scalar expression"),
        ("a and on(x) group_left b", "1:1: parse error: no grouping allowed for \"and\" operation"),
        ("a + on(x) group_left(x) b", "1:3: parse error: label \"x\" must not occur in ON and GROUP clause at once"),
        ("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        ("a{__name__=\"b\"}", "1:1: parse error: metric name must not be set twice: \"a\" or \"b\""),
        ("a{b}", "1:4: parse error: unexpected \"}\" in label matching, expected label matching operator"),
        ("a{b=c}", "1:5: parse error: unexpected identifier \"c\" in label matching, expected string"),
        ("a[5m] offset 1m offset 1m", "1:1: parse error: offset may not be set multiple times"),
        (
            "a offset x",
            "1:10: parse error: unexpected identifier \"x\" in offset, expected number, duration, step(), or range()",
        ),
        (
            "1 offset 5m",
            "1:1: parse error: offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
        ),
        ("a[0]", "1:3: parse error: duration must be greater than 0"),
        ("(a)[5m]", "1:4: parse error: ranges only allowed for vector selectors"),
        ("\"a", "1:1: parse error: unterminated quoted string"),
        ("a[1m:1m:1m]", "1:8: parse error: unexpected \":\" in subquery selector, expected \"]\""),
        (
            "up > 1e400",
            "1:6: parse error: error parsing number: strconv.ParseFloat: parsing \"1e400\": value out of range",
        ),
        ("1m1", "1:1: parse error: bad number or duration syntax: \"1m1\""),
    ] {
        let got = parse(text).map_or_else(|e| e.to_string(), |e| format!("accepted as {e}"));
        assert_eq!(got, message, "{text}");
    }
}

#[test]
fn all_errors_are_found_and_the_rest_of_the_tree_stands() {
    let (tree, errors) = parse_recovering("sum(rate(x[0])) + foo(y) + max(z{a=x,b=y})");
    let messages: Vec<&str> = errors.iter().map(|e| e.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "duration must be greater than 0",
            "unknown function with name \"foo\"",
            "unexpected identifier \"x\" in label matching, expected string",
            "unexpected identifier \"y\" in label matching, expected string",
        ]
    );
    assert!(tree.is_some_and(|t| t.selectors().len() == 2));
}

#[test]
fn depth_is_bounded() {
    for text in ["(".repeat(100_000), "-".repeat(100_000), "1+".repeat(100_000), "a[".repeat(1000), "x[(".repeat(5000)]
    {
        assert!(parse(&text).is_err());
    }
    assert!(parse(&format!("{}1{}", "(".repeat(100), ")".repeat(100))).is_ok());
    assert!(parse(&vec!["1"; 200].join("+")).is_ok());
}

/// Texts that look like PromQL.
fn promql() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("up".to_owned()),
        Just("a{b=\"c\",d!~\"e|f\"}".to_owned()),
        Just("{\"x y\"}".to_owned()),
        Just("1.5".to_owned()),
        Just("5m".to_owned()),
        Just("-0x1f".to_owned()),
        Just("x offset -5m @ end()".to_owned()),
        Just("time()".to_owned()),
    ];
    leaf.prop_recursive(5, 40, 3, |inner| {
        let op = prop::sample::select(vec![
            "+",
            "-",
            "*",
            "/",
            "%",
            "^",
            "atan2",
            "== bool",
            "> bool",
            "and",
            "or",
            "unless",
            "</",
            "* on(a) group_left(b)",
            "- ignoring(a) fill(3)",
        ]);
        prop_oneof![
            (inner.clone(), op, inner.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            inner.clone().prop_map(|e| format!("({e})")),
            inner.clone().prop_map(|e| format!("-{e}")),
            inner.clone().prop_map(|e| format!("sum by (x, \"y z\") ({e})")),
            inner.clone().prop_map(|e| format!("topk(3, {e}) without (a)")),
            inner.clone().prop_map(|e| format!("abs({e})")),
            inner.clone().prop_map(|e| format!("rate(({e})[1h:step()*2] @ 3.5 offset 1w)")),
            inner.prop_map(|e| format!("label_replace({e}, \"a\", \"$1\", 'b', `(.*)`)")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_text_panics(text in "\\PC{0,60}") {
        let _ = parse_recovering(&text);
    }

    #[test]
    fn no_soup_of_tokens_panics(words in prop::collection::vec(prop::sample::select(vec![
        "(", ")", "[", "]", "{", "}", ",", ":", "+", "-", "^", "=", "=~", "!=", "@", "offset", "by", "on", "sum", "x", "1", "5m",
        "\"s\"", "rate", "bool", "fill", "start", "step", "smoothed", "min_of", "group_left", "</", "#", "\n", "'", "é",
    ]), 0..24)) {
        let _ = parse_recovering(&words.join(" "));
        let _ = parse_recovering(&words.concat());
    }

    #[test]
    fn what_is_printed_is_parsed_back(text in promql()) {
        if let Ok(expr) = parse(&text) {
            for printed in [expr.to_string(), format_expr(&expr)] {
                let again = parse(&printed);
                prop_assert!(again.is_ok(), "{} printed as {}: {:?}", text, printed, again);
                prop_assert_eq!(again.map(|e| e.to_string()), Ok(expr.to_string()), "{}", printed);
            }
        }
    }
}

/// `-2 ^ 2` is -4 inside the parentheses, and -2 before them.
#[test]
fn a_sign_binds_weaker_than_a_power() {
    use belfry_promql::syntax::ast::{DurationKind, ExprKind};
    let offset = |text: &str| match parse(text).map(|e| e.kind) {
        Ok(ExprKind::Vector(v)) => v.modifiers.offset.map(|d| d.kind),
        other => panic!("{text}: {other:?}"),
    };
    let Some(DurationKind::Paren(inner)) = offset("x offset (-2 ^ 2)") else { panic!("no parentheses") };
    assert!(matches!(inner.kind, DurationKind::Unary(..)), "{inner:?}");
}

/// `+Inf ^ a` is `+(Inf ^ a)`: infinity gets its sign everywhere but before `^`.
#[test]
fn infinity_before_a_power_has_no_sign() {
    let long = format!("Inf ^ {} % -Inf ^ b", "a".repeat(100));
    for (text, printed) in [("Inf ^ a % Inf", "Inf ^ a % +Inf"), ("-Inf ^ +Inf", "-Inf ^ +Inf"), (&long, &long)] {
        let expr = parse(text).expect("it parses");
        assert_eq!(expr.to_string(), printed);
        assert_eq!(parse(&format_expr(&expr)).map(|e| e.to_string()), Ok(printed.to_owned()), "{text}");
    }
}

/// As Prometheus does: what tools generate is long, not nested.
#[test]
fn a_thousand_terms_in_a_row_are_taken() {
    let text = vec!["up"; 1_000].join(" + ");
    let expr = parse(&text).expect("a long sum");
    assert_eq!(expr.to_string(), text);
    let nested = format!("{}up{}", "(".repeat(1_000), ")".repeat(1_000));
    assert!(parse(&nested).is_err(), "brackets within brackets are bounded");
}

#[test]
fn durations_of_any_length_are_read_or_refused() {
    for operator in ["+", "^2^", "*(", "-"] {
        for n in [10, 900, 200_000] {
            let close = if operator.ends_with('(') { ")".repeat(n) } else { String::new() };
            let text = format!("a[1s{}{close}]", format!("{operator}1").repeat(n));
            let read = parse(&text);
            assert!(n > 10 || read.is_ok(), "{operator} {n}: {read:?}");
            assert!(n < 200_000 || read.is_err(), "{operator} {n}");
        }
    }
}

/// What was no UTF-8 in a request is this character when it is read.
#[test]
fn what_was_no_utf8_is_refused() {
    for (text, said) in [
        ("\"\u{fffd}\"", "1:1: parse error: invalid UTF-8 rune"),
        ("up{a=\"\u{fffd}\"}", "1:6: parse error: invalid UTF-8 rune"),
        ("up{a=`\u{fffd}`}", "1:6: parse error: invalid UTF-8 rune"),
        ("\u{fffd}", "1:1: parse error: unexpected character: '\u{fffd}'"),
    ] {
        assert_eq!(parse(text).map_err(|e| e.to_string()), Err(said.to_owned()), "{text}");
    }
    assert!(parse("1 # \u{fffd}").is_ok());
    let escaped = parse("\"\\ufffd\"").expect("an escape is read").to_string();
    assert_eq!(parse(&escaped).map(|e| e.to_string()), Ok(escaped.clone()), "{escaped}");
}
