//! What expressions match, against what Prometheus says of them (`meanings.txt`), and what no expression may do.

use proptest::prelude::*;

use super::*;
use crate::{MatchOp, Matcher};

/// How `meanings.txt` shows what is not to be seen.
const SHOWN: &[(char, char)] = &[
    ('␠', ' '),
    ('␊', '\n'),
    ('␉', '\t'),
    ('␋', '\u{b}'),
    ('␌', '\u{c}'),
    ('␍', '\r'),
    ('␇', '\u{7}'),
    ('␡', '\u{7f}'),
    ('⍽', '\u{a0}'),
    ('↵', '\u{2028}'),
    ('␤', '\u{85}'),
];

fn texts(row: &str) -> Vec<String> {
    let plain = |c: char| SHOWN.iter().find(|(shown, _)| *shown == c).map_or(c, |(_, plain)| *plain);
    let text = |t: &str| if t == "∅" { String::new() } else { t.chars().map(plain).collect() };
    row.split(' ').filter(|t| !t.is_empty()).map(text).collect()
}

#[test]
fn expressions_mean_what_they_mean_in_prometheus() {
    let rows = include_str!("meanings.txt").lines().filter(|l| !l.starts_with("# "));
    let rows: Vec<(&str, &str)> = rows.map(|l| l.split_once('\t').expect("a tab")).collect();
    let [(_, all), rows @ ..] = rows.as_slice() else { panic!("no rows") };
    let all = texts(all);
    let mut wrong = Vec::new();
    for (pattern, expected) in rows {
        let matcher = Matcher::new("x", MatchOp::Regex, *pattern);
        match (expected.strip_prefix("! "), matcher) {
            (Some(error), Err(e)) if e.reason == error => {}
            (None, Ok(m)) => {
                let hits: Vec<&String> = all.iter().filter(|t| m.matches(t)).collect();
                if hits != texts(expected).iter().collect::<Vec<_>>() {
                    wrong.push(format!("{pattern} matches {hits:?}, not {expected}"));
                }
                // With captures it is the same expression.
                if let Ok(regex) = whole(pattern) {
                    assert!(all.iter().all(|t| regex.is_match(t) == m.matches(t)), "{pattern}");
                }
            }
            (_, m) => wrong.push(format!("{pattern} is {m:?}, not {expected}")),
        }
    }
    assert!(rows.len() > 500 && wrong.is_empty(), "{} of {} wrong:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

#[test]
fn captures_keep_their_names_and_numbers() {
    for (pattern, text, replacement, expected) in [
        (r"(?P<host>[^:]+):(\d+)", "a:80", "$host/$2", "a/80"),
        (r"(?<host>[^:]+):(?:\d)(\d)", "a:80", "${host}$2", "a0"),
        ("(a)(?i:(b))(?i)(c)", "aBC", "$3$2$1", "CBa"),
        ("(?P<1a>a)(b)", "ab", "$1-$2", "a-b"),
        (r"(\Q(\E)(a)", "(a", "$2$1", "a("),
        ("(?U)(a+)(a*)", "aaa", "$1,$2", "a,aa"),
    ] {
        let regex = whole(pattern).expect(pattern);
        assert_eq!(regex.replace(text, replacement), expected, "{pattern}");
    }
    let twice = whole("(?P<n>a)|(?P<n>b)").map(|_| ()).expect_err("two of one name");
    assert_eq!(twice.to_string(), "duplicate capture group name: `n`");
}

#[test]
fn anywhere_is_not_anchored_and_its_dot_stops_at_the_end_of_a_line() {
    let found = |pattern: &str, text: &str| anywhere(pattern).expect(pattern).find(text).map(|m| m.range());
    assert_eq!(found(r"\d+", "a12٣"), Some(1..3));
    assert_eq!(found("b.*", "ab\nc"), Some(1..2));
    assert_eq!(found("(?s)b.*", "ab\nc"), Some(1..4));
    assert_eq!(found("^b", "a\nb"), None);
    assert_eq!(found("(?m)^b", "a\nb"), Some(2..3));
}

#[test]
fn what_is_too_large_or_too_deep_is_refused_and_said_in_short() {
    let reason = |pattern: &str| whole(pattern).map(|_| ()).map_err(|e| (e.reason, e.to_string().len() < 600));
    assert_eq!(reason(&"[a-z]".repeat(PATTERN_BYTES_MAX)), Err((Reason::Large, true)));
    assert_eq!(reason(&r"\pL{1000}".repeat(10)), Err((Reason::Large, true)));
    assert_eq!(reason(&r"\pL".repeat(10_000)), Err((Reason::Large, true)));
    assert_eq!(reason(&format!("(?i){}", r"[a-\x{1ffff}]".repeat(50_000))), Err((Reason::Large, true)));
    assert_eq!(reason(&format!("(?i){}", r"[\W]".repeat(50_000))), Err((Reason::Large, true)));
    assert_eq!(reason(&format!("{}a{}", "(".repeat(5_000), ")".repeat(5_000))), Err((Reason::NestingDepth, true)));
    assert_eq!(reason(&format!("a{}", "*(?i)*(?-i)".repeat(600))), Err((Reason::NestingDepth, true)));
    assert_eq!(reason(&format!("{}a{}", "(".repeat(60), ")".repeat(60))), Ok(()));
}

/// Each of these alone may look through the whole rest.
#[test]
fn reading_takes_time_in_proportion() {
    for piece in ["[[:", "[:", "{1", "(?P<", r"\p{", r"\Q", "(?i)", "[a-", "("] {
        for start in ["", "["] {
            // Some of these would take minutes if each piece looked at all the others.
            drop(whole(&(start.to_owned() + &piece.repeat(1 << 17))));
        }
    }
}

#[test]
fn as_many_alternatives_as_a_dashboard_has_are_looked_up() {
    let all = |from: usize, to: usize| (from..to).map(|i| format!(r"10\.0\.0\.{i}")).collect::<Vec<_>>().join("|");
    for pattern in [all(0, 100_000), format!("({})", all(0, 100_000)), format!("(?:{})", all(0, 100_000))] {
        let m = Matcher::new("x", MatchOp::Regex, pattern.as_str()).expect("a matcher");
        assert_eq!(m.values().map(HashSet::len), Some(100_000));
        assert!(m.matches("10.0.0.99999") && !m.matches("10.0.0.100000") && !m.matches("10.0.0.1|10.0.0.2"));
        let not = Matcher::new("x", MatchOp::NotRegex, pattern).expect("a matcher");
        assert!(!not.matches("10.0.0.5") && not.matches("10x0.0.5"));
    }
}

#[test]
fn what_lists_plain_texts_is_told_from_what_does_not() {
    for (pattern, expected) in [
        ("a|b|", Some(vec!["a", "b", ""])),
        ("", Some(vec![""])),
        (r"host-(1|22)\.lan:9100", Some(vec!["host-1.lan:9100", "host-22.lan:9100"])),
        ("(?:a|b)", Some(vec!["a", "b"])),
        (r"a\|b|c\_", Some(vec!["a|b", "c_"])),
        ("(a)?", None),
        ("(a|b)|c", None),
        ("a|(b|c)", None),
        ("(a)(b)", None),
        ("(?i:a)", None),
        ("(?P<n>a)", None),
        (r"a\d", None),
        (r"\101", None),
        ("a|b.", None),
        ("a)(b", None),
        ("a{2}", None),
    ] {
        assert_eq!(literals(pattern), expected.map(|v| v.into_iter().map(str::to_owned).collect()), "{pattern}");
    }
    // Written out it would take the square of its length.
    assert_eq!(literals(&format!("{}({})", "a".repeat(50_000), "b|".repeat(50_000))), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn no_text_is_too_much_to_read_and_what_is_read_compiles(
        pattern in prop_oneof![
            any::<String>(),
            r"(\(|\)|\[|\]|\{|\}|\||\*|\+|\?|\^|\$|\.|-|&|~|:|,|=|<|>|P|[0-9a-zA-Zé]|\\|\\[a-zA-Z0-9]|\[:alpha:\]|\(\?[imsU-]*[:)]|\(\?P?<n>|\\p\{[A-Za-z^]{0,4}\}|\\x\{[0-9a-f]{0,6}\}){0,14}",
        ],
    ) {
        if let Ok(translated) = Parser::new(&pattern, true, false).read() {
            let compiled = compile(&pattern, &format!("^(?s:{translated})$"));
            prop_assert!(!matches!(&compiled, Err(e) if e.reason != Reason::Large), "{pattern:?} as {translated:?}");
        }
        drop((whole(&pattern), anywhere(&pattern), literals(&pattern)));
    }

    #[test]
    fn quoted_text_matches_itself_alone(text in any::<String>(), other in "[ab.*é]{0,4}") {
        for pattern in [regex::escape(&text), format!(r"\Q{}\E", text.replace(r"\E", ""))] {
            let Ok(m) = Matcher::new("x", MatchOp::Regex, pattern.as_str()) else { continue };
            let meant = if pattern.starts_with(r"\Q") { text.replace(r"\E", "") } else { text.clone() };
            prop_assert!(m.matches(&meant), "{pattern:?}");
            prop_assert_eq!(m.matches(&other), meant == other, "{:?}", pattern);
        }
    }

    #[test]
    fn alternatives_of_plain_text_match_what_the_engine_says(
        pattern in r"(\(|\(\?:|)([ab]{1,2}|\\\.|\\-|\||é){0,8}(\)|)(b|\||\\\||)",
        texts in proptest::collection::vec("[ab.|é-]{0,4}", 1..20),
    ) {
        let Some(values) = literals(&pattern) else { return Ok(()) };
        let regex = whole(&pattern).expect("what is plain text compiles");
        for text in texts.iter().chain(&values) {
            prop_assert_eq!(values.contains(text), regex.is_match(text), "{:?} on {:?}", pattern, text);
        }
    }
}
