use belfry_model::Labels;
use proptest::prelude::*;

use super::*;
use crate::influx::lines;

const V1: Dialect = Dialect { absent_is_empty: true };
const V3: Dialect = Dialect { absent_is_empty: false };

fn matcher(text: &str) -> Matcher {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

#[track_caller]
fn check(text: &str, dialect: Dialect, expected: &str, exact: bool) {
    let found = condition([&matcher(text)], dialect);
    assert_eq!((found.text.as_str(), found.exact), (expected, exact), "{text}");
}

#[test]
fn matchers_become_conditions() {
    check(r#"a="x""#, V1, r#""a" = 'x'"#, true);
    check(r#"a!="x""#, V1, r#""a" != 'x'"#, true);
    check(r#"a="""#, V1, r#""a" = ''"#, true);
    check(r#"a=~"x|y""#, V1, r#"("a" = 'x' OR "a" = 'y')"#, true);
    check(r#"a!~"x|""#, V1, r#"("a" != '' AND "a" != 'x')"#, true);
    check(r#"time="x""#, V1, r#""␦time" = 'x'"#, true);
}

#[test]
fn an_expression_is_passed_on_as_its_beginnings_only() {
    check(r#"a=~"node-.*""#, V1, r#""a" =~ /^(?:node\x{2d})/"#, false);
    check(r#"a=~"(api|web)/[0-9]+""#, V1, r#""a" =~ /^(?:api\x{2f}|web\x{2f})/"#, false);
    check(r#"a=~".*x""#, V1, "", false);
    check(r#"a=~"x.*|""#, V1, "", false);
    check(r#"a=~"\\d""#, V1, "", false);
    check(r#"a!~"x.*""#, V1, "", false);
    check(r#"a=~"(?i)ab""#, V1, r#"("a" = 'AB' OR "a" = 'Ab' OR "a" = 'aB' OR "a" = 'ab')"#, true);
}

#[test]
fn where_an_absent_tag_is_not_empty_it_is_left_to_us() {
    check(r#"a="x""#, V3, r#""a" = 'x'"#, true);
    for text in [r#"a!="x""#, r#"a="""#, r#"a!~"x""#, r#"a=~"x|""#] {
        check(text, V3, "", false);
    }
}

#[test]
fn texts_and_names_cannot_be_left() {
    assert_eq!(text(r"it's"), r"'it\'s'");
    assert_eq!(text(r"\' OR 1=1 --"), r"'\\\' OR 1=1 --'");
    assert_eq!(identifier("a\"; DROP DATABASE x"), r#""a\"; DROP DATABASE x""#);
    assert_eq!(text("a\nb"), r"'a\nb'");
}

#[test]
fn instants_are_told_in_full_and_within_what_influxdb_knows() {
    let range = TimeRange::new(TimestampMs(-1), TimestampMs(1_700_000_000_123)).expect("a range");
    assert_eq!(within(range), "time >= '1969-12-31T23:59:59.999Z' AND time < '2023-11-14T22:13:20.123Z'");
    assert_eq!(within(TimeRange::ALL), "time >= '1677-09-21T00:12:44.146Z' AND time < '2262-04-11T23:47:15.854Z'");
}

/// Reads a quoted text as InfluxQL's scanner does; what follows it comes too.
fn scan(text: &str, quote: char) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = text.strip_prefix(quote)?.char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '\n' => return None,
            '\\' => match chars.next()?.1 {
                'n' => out.push('\n'),
                c @ ('\\' | '"' | '\'') => out.push(c),
                _ => return None,
            },
            c if c == quote => return Some((out, text.get(i + 1 + quote.len_utf8()..)?)),
            c => out.push(c),
        }
    }
    None
}

/// What a condition of one matcher says of a label set, by its text alone.
fn holds(condition: &str, labels: &Labels) -> bool {
    if let Some(inner) = condition.strip_prefix('(') {
        let inner = inner.strip_suffix(')').expect("a bracket");
        let (any, all) = (inner.contains(" = "), inner.contains(" != "));
        assert!(any != all, "{inner}");
        let mut rest = inner;
        let mut results = Vec::new();
        loop {
            let (held, after) = compare(rest, labels);
            results.push(held);
            if after.is_empty() {
                return if any { results.contains(&true) } else { !results.contains(&false) };
            }
            rest = after.strip_prefix(if any { " OR " } else { " AND " }).expect("what joins them");
        }
    }
    let (held, rest) = compare(condition, labels);
    assert_eq!(rest, "");
    held
}

fn compare<'a>(text: &'a str, labels: &Labels) -> (bool, &'a str) {
    let (key, rest) = scan(text, '"').expect("a name");
    let key = labels.iter().find(|l| *names::encode_key(&l.name) == *key);
    let value = key.map_or(String::new(), |l| names::encode(&l.value).into_owned());
    if let Some(regex) = rest.strip_prefix(" =~ /") {
        let regex = regex.strip_suffix('/').expect("an end");
        assert!(!regex.contains('/'));
        return (regex::Regex::new(regex).expect("an expression").is_match(&value), "");
    }
    let (equal, rest) = match rest.strip_prefix(" = ") {
        Some(rest) => (true, rest),
        None => (false, rest.strip_prefix(" != ").expect("an operator")),
    };
    let (wanted, rest) = scan(rest, '\'').expect("a text");
    ((value == wanted) == equal, rest)
}

fn any_pattern() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ab\\\\.|+*()'\"/$^-]{0,8}",
        "(a|b|ab|é|⧵|␊|\\\\n|\\\\.|'|\"|/|\\\\\\\\|[a-c]|\\||\\.\\*|\\(\\?i\\)|\\\\d|\\$){0,5}",
        prop::collection::vec(lines::tests::any_text(), 1..3)
            .prop_map(|all| { all.iter().map(|t| regex_syntax::escape(t)).collect::<Vec<_>>().join("|") }),
    ]
}

proptest! {
    #[test]
    fn no_text_can_be_left(value in "(\\PC|[\n'\"\\\\]){0,16}", rest in "\\PC{0,4}") {
        for quote in ['"', '\''] {
            let all = format!("{}{rest}", quoted(&value, quote));
            prop_assert_eq!(scan(&all, quote), Some((value.clone(), rest.as_str())));
        }
    }

    #[test]
    fn a_condition_selects_what_its_matcher_does_or_more(
        name in lines::tests::any_text(),
        pattern in any_pattern(),
        value in prop_oneof![Just(String::new()), lines::tests::any_text(), "[abéAB'\"/\\\\.\n⧵␊]{0,3}"],
        op in prop::sample::select(vec![MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex]),
        same in any::<bool>(),
    ) {
        let value = if same { pattern.clone() } else { value };
        let Ok(m) = Matcher::new(name.clone(), op, pattern) else { return Ok(()) };
        let labels = Labels::from_pairs([(name, value)]);
        for dialect in [V1, V3] {
            let c = condition([&m], dialect);
            let held = c.text.is_empty() || holds(&c.text, &labels);
            let matches = m.matches_labels(&labels);
            prop_assert!(held || !matches, "{:?} leaves out {:?}", c, labels);
            prop_assert!(!c.exact || held == matches, "{:?} is not exact for {:?}", c, labels);
        }
    }
}
