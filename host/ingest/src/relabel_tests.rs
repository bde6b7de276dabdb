use belfry_model::Labels;

use super::*;

fn spec() -> RelabelSpec {
    RelabelSpec::default()
}

/// What becomes of `labels`, as it is printed; `dropped` when nothing does.
fn relabelled(labels: &[(&str, &str)], rules: Vec<RelabelSpec>) -> String {
    let rules: Vec<_> = rules.into_iter().map(|r| Relabel::new(r).unwrap()).collect();
    let mut builder = Labels::from_pairs(labels.iter().copied()).to_builder();
    if apply(&rules, &mut builder) { builder.build().to_string() } else { "dropped".to_owned() }
}

fn sources(names: &[&str]) -> Vec<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

/// From Prometheus' own table of cases (model/relabel), rewritten.
#[test]
fn every_action_does_what_prometheus_does() {
    let abc = [("a", "foo"), ("b", "bar"), ("c", "baz")];
    let rule = |action, source: &[&str], regex: &str, target: &str, replacement: &str| RelabelSpec {
        source_labels: sources(source),
        regex: regex.to_owned(),
        target_label: target.to_owned(),
        replacement: replacement.to_owned(),
        action,
        ..spec()
    };
    use Action::*;
    for (rules, expected) in [
        (vec![rule(Replace, &["a"], "f(.*)", "d", "ch${1}-ch${1}")], r#"{a="foo", b="bar", c="baz", d="choo-choo"}"#),
        (
            vec![
                rule(Replace, &["a", "b"], "f(.*);(.*)r", "a", "b${1}${2}m"),
                rule(Replace, &["c", "a"], "(b).*b(.*)ba(.*)", "d", "$1$2$2$3"),
            ],
            r#"{a="boobam", b="bar", c="baz", d="boooom"}"#,
        ),
        (vec![rule(Replace, &["a"], "f(.*)o", "$1", "$1")], r#"{a="foo", b="bar", c="baz", o="o"}"#),
        (vec![rule(Replace, &["a"], "no-match", "d", "x")], r#"{a="foo", b="bar", c="baz"}"#),
        (vec![rule(Replace, &["a"], "f", "b", "not anchored")], r#"{a="foo", b="bar", c="baz"}"#),
        (vec![rule(Replace, &["a"], "foo|bar", "b", "")], r#"{a="foo", c="baz"}"#),
        (vec![rule(Replace, &[], "(.*)", "d", "static")], r#"{a="foo", b="bar", c="baz", d="static"}"#),
        (
            vec![rule(Replace, &["a"], "(?P<n>.)oo", "d", "<$n|$$|${n}x>")],
            r#"{a="foo", b="bar", c="baz", d="<f|$|fx>"}"#,
        ),
        (vec![rule(Drop, &["a"], ".*o.*", "", "")], "dropped"),
        (
            vec![rule(Drop, &["a"], "f", "", ""), rule(Replace, &["a"], "(.*)", "d", "$1")],
            r#"{a="foo", b="bar", c="baz", d="foo"}"#,
        ),
        (vec![rule(Keep, &["a"], "no-match", "", "")], "dropped"),
        (vec![rule(Keep, &["a", "missing"], "foo;", "", "")], r#"{a="foo", b="bar", c="baz"}"#),
        (vec![rule(KeepEqual, &["a"], "(.*)", "b", "")], "dropped"),
        (vec![rule(DropEqual, &["a"], "(.*)", "b", "")], r#"{a="foo", b="bar", c="baz"}"#),
        (vec![rule(DropEqual, &["x"], "(.*)", "y", "")], "dropped"),
        (vec![rule(LabelMap, &[], "(b.*|c)", "", "x_$1")], r#"{a="foo", b="bar", c="baz", x_b="bar", x_c="baz"}"#),
        (vec![rule(LabelDrop, &[], "(b.*|c)", "", "")], r#"{a="foo"}"#),
        (vec![rule(LabelKeep, &[], "(b.*|c)", "", "")], r#"{b="bar", c="baz"}"#),
        (vec![rule(Uppercase, &["a"], "(.*)", "A", "")], r#"{A="FOO", a="foo", b="bar", c="baz"}"#),
        (vec![rule(Lowercase, &["missing"], "(.*)", "a", "")], r#"{b="bar", c="baz"}"#),
    ] {
        let told = format!("{rules:?}");
        assert_eq!(relabelled(&abc, rules), expected, "{told}");
    }
}

/// What Go's `strings.ToUpper` and `strings.ToLower` give.
#[test]
fn letters_change_one_by_one() {
    let changed = |action, text: &str| {
        let rule = RelabelSpec { source_labels: sources(&["a"]), target_label: "a".to_owned(), action, ..spec() };
        relabelled(&[("a", text)], vec![rule])
    };
    assert_eq!(changed(Action::Uppercase, "straße ŉ ﬁ ᾳ ᾀ ǆ"), r#"{a="STRAßE ŉ ﬁ ᾼ ᾈ Ǆ"}"#);
    assert_eq!(changed(Action::Lowercase, "İI ΟΔΟΣ ẞ"), r#"{a="ii οδοσ ß"}"#);
}

#[test]
fn hashmod_gives_the_numbers_that_prometheus_gives() {
    let rule = |modulus| RelabelSpec {
        source_labels: sources(&["c"]),
        target_label: "d".to_owned(),
        modulus,
        action: Action::HashMod,
        ..spec()
    };
    assert_eq!(relabelled(&[("c", "baz")], vec![rule(1000)]), r#"{c="baz", d="976"}"#);
    assert_eq!(relabelled(&[("c", "foo\nbar")], vec![rule(1000)]), r#"{c="foo\nbar", d="734"}"#);
}

#[test]
fn a_dot_matches_a_line_feed() {
    let rule = RelabelSpec { source_labels: sources(&["a"]), target_label: "b".to_owned(), ..spec() };
    assert_eq!(relabelled(&[("a", "x\ny")], vec![rule]), r#"{a="x\ny", b="x\ny"}"#);
}

#[test]
fn a_rule_that_cannot_work_is_refused() {
    let said = |spec| Relabel::new(spec).unwrap_err().to_string();
    assert_eq!(said(spec()), "the action needs `target_label`");
    let hashmod = RelabelSpec { action: Action::HashMod, target_label: "a".to_owned(), ..spec() };
    assert_eq!(said(hashmod), "the action needs `modulus`");
    let open = RelabelSpec { action: Action::Keep, regex: "a)(b".to_owned(), ..spec() };
    assert_eq!(said(open), "`a)(b` is no regular expression: unexpected ): `a)(b`");
}
