use super::*;

fn read(text: &str) -> RuleFile {
    parse(text, "test.yml").unwrap_or_else(|p| panic!("{}", shown(&p)))
}

fn shown(problems: &[Problem]) -> String {
    problems.iter().map(|p| p.in_file("test.yml")).collect::<Vec<_>>().join("\n")
}

/// `line:column message` of each problem.
#[track_caller]
fn refused(text: &str, expected: &[&str]) {
    let problems = parse(text, "test.yml").expect_err("refused");
    let got: Vec<String> = problems.iter().map(|p| format!("{}:{} {}", p.line, p.column, p.message)).collect();
    assert_eq!(got, expected);
}

#[test]
fn everything_a_group_can_have_is_read_with_its_place() {
    let file = read(
        r#"groups:
- name: node
  interval: 30s
  query_offset: 1m
  limit: 10
  labels: {team: ops, tier: "1"}
  rules:
  - record: instance:cpu:rate5m
    expr: rate(cpu[5m])
    labels: {team: core}
  - alert: Hot
    expr: instance:cpu:rate5m > 0.9
    for: 1h30m
    keep_firing_for: 5m
    labels:
      severity: page
    annotations:
      summary: "{{ $labels.instance }} is hot"
"#,
    );
    let group = &file.groups[0];
    assert_eq!((&*group.name, group.name.at()), ("node", Place { line: 2, column: 9 }));
    assert_eq!(group.interval, Some(Located { value: Duration::from_secs(30), at: Place { line: 3, column: 13 } }));
    assert_eq!(group.query_offset.map(|d| d.value), Some(Duration::from_secs(60)));
    assert_eq!(group.limit.map(|l| l.value), Some(10));
    let [record, alert] = &group.rules[..] else { panic!("two rules") };
    assert_eq!((record.kind, &*record.name), (RuleKind::Record, "instance:cpu:rate5m"));
    let labels: Vec<String> = record.labels_in(group).iter().map(|(n, v)| format!("{n}={v}")).collect();
    assert_eq!(labels, ["team=core", "tier=1"], "the rule's own win");
    assert_eq!((alert.kind, alert.at), (RuleKind::Alert, Place { line: 11, column: 5 }));
    assert_eq!(alert.hold.map(|d| d.value), Some(Duration::from_secs(5400)));
    assert_eq!(alert.keep_firing_for.map(|d| d.value), Some(Duration::from_secs(300)));
    assert_eq!(&*alert.annotations[0].value, "{{ $labels.instance }} is hot");
}

#[test]
fn all_problems_are_found_at_once() {
    refused(
        r#"groups:
- name: a
  intervall: 1m
  rules:
  - alert: A
    record: b
    expr: up
  - expr: up
  - alert: C
  - alert: D
    expr: up
    for: 5 minutes
- name: a
  limit: many
- interval: 1m
  rules:
  - record: 'up{job="x"}'
    expr: up
    for: 1m
    annotations: {a: b}
    labels: {__name__: x}
extra: 1
"#,
        &[
            "3:3 field intervall not found in a rule group",
            "6:13 only one of 'record' and 'alert' must be set",
            "8:5 one of 'record' or 'alert' must be set",
            "9:5 field 'expr' must be set in rule",
            "12:10 `for`: not a valid duration string: \"5 minutes\"",
            "13:9 groupname: \"a\" is repeated in the same file",
            "14:10 `limit`: \"many\" is no whole number",
            "15:3 Groupname must not be empty",
            "17:13 braces present in the recording rule name; should it be in expr?: up{job=\"x\"}",
            "19:5 invalid field 'for' in recording rule",
            "20:5 invalid field 'annotations' in recording rule",
            "21:14 invalid label name: __name__",
            "22:1 field extra not found in a rule file",
        ],
    );
}

/// Each way to write a scalar; `!` marks the character the problem is at.
#[test]
fn an_error_in_an_expression_is_shown_where_it_stands_in_the_file() {
    for written in [
        "expr: up == !)",
        "expr: 'up{a=''b''} == !)'",
        "expr: \"up{a=\\\"b\\\"} == !)\"",
        "expr: \"up\\n\\t== !)\"",
        "expr: |\n      sum(up)\n        / !)\n",
        "expr: |-  # why\n      up\n\n      == !)\n",
        "expr: >-\n      up\n      == !)\n",
        "expr: up\n      == !)\n",
        "expr: 'up\n\n      == !)'",
        "expr: \"up \\\n      == !)\"",
    ] {
        let text = format!("groups:\n- name: a\n  rules:\n  - alert: A\n    {written}");
        let before = &text[..text.find('!').expect("a mark")];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        let problems = parse(&text.replace('!', ""), "test.yml").expect_err(written);
        let at = (problems[0].line as usize, problems[0].column as usize);
        assert_eq!(at, (line, column), "{text}\n{}", problems[0].message);
    }
}

#[test]
fn an_error_in_an_expression_is_told_once() {
    refused(
        "groups:\n- name: a\n  rules:\n  - record: r\n    expr: sw === 1\n",
        &["5:16 could not parse expression: unexpected \"=\""],
    );
}

#[test]
fn a_template_that_does_not_parse_is_shown_where_it_stands() {
    let text = "groups:\n- name: a\n  rules:\n  - alert: A\n    expr: up\n    labels:\n      l: '{{ $value'\n    annotations:\n      a: |\n        fine\n        {{ $nope }}\n";
    let problems = parse(text, "test.yml").expect_err("refused");
    let lines: Vec<(u32, bool)> = problems.iter().map(|p| (p.line, p.message.contains("__alert_A"))).collect();
    assert_eq!(lines, [(7, true), (11, true)], "{}", shown(&problems));
}

/// What it cuts off would be lost without a word.
#[test]
fn a_template_that_closes_nothing_or_is_never_closed_is_refused_at_load() {
    let text = "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: x\n    annotations:\n      \
                a: 'before {{ end }} after'\n      b: 'x {{ range query \"x\" }}{{ .Value }}'\n";
    refused(
        text,
        &[
            "7:18 annotation \"a\": template: __alert_A:1: unexpected {{end}}",
            "8:11 annotation \"b\": template: __alert_A:1: unexpected EOF",
        ],
    );
}

#[test]
fn anchors_aliases_and_merges_stand_for_what_they_name() {
    let file = read(
        r#"
groups:
- name: a
  rules:
  - &base
    alert: A
    expr: &e up == 0
    labels: &l {severity: page, n: 1}
  - <<: *base
    alert: B
    labels: {<<: *l, n: 2}
  - {record: c, expr: *e}
"#,
    );
    let rules = &file.groups[0].rules;
    let names: Vec<&str> = rules.iter().map(|r| &*r.name).collect();
    assert_eq!(names, ["A", "B", "c"]);
    assert_eq!(&*rules[1].expr, "up == 0");
    let labels: Vec<String> = rules[1].labels_in(&file.groups[0]).iter().map(|(n, v)| format!("{n}={v}")).collect();
    assert_eq!(labels, ["n=2", "severity=page"]);
}

#[test]
fn a_bomb_of_aliases_is_refused() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let list = vec![format!("*a{}", n - 1); 10].join(", ");
        text.push_str(&format!("a{n}: &a{n} [{list}]\n"));
    }
    let problems = parse(&text, "bomb.yml").expect_err("refused");
    assert!(problems[0].message.contains("nodes"), "{}", shown(&problems));
}

#[test]
fn what_prometheus_takes_is_taken() {
    for text in ["", "# nothing\n", "groups:\n", "groups: []\n", "groups:\n- name: a\n  rules:\n"] {
        read(text);
    }
    let file = read(
        "groups:\n- name: a\n  interval: 0\n  rules:\n  - {alert: A, expr: 1, for: 0, labels: {n: 1, b: true, e: }}\n",
    );
    assert_eq!(file.groups[0].rules[0].hold.map(|d| d.value), Some(Duration::ZERO));
    let file = read("groups: []\n---\ngroups: [{}]\n");
    assert_eq!((file.warnings[0].line, file.warnings.len()), (2, 1), "Prometheus reads the first document only");
}

#[test]
fn keys_twice_and_broken_yaml_are_told_of() {
    refused("groups: []\ngroups: []\n", &["2:1 mapping key \"groups\" already defined at line 1"]);
    let problems = parse("groups:\n  - name: 'a\n", "x.yml").expect_err("broken");
    assert!(problems[0].message.starts_with("no YAML"), "{}", shown(&problems));
    refused("- a\n", &["1:1 a rule file is a list, not a mapping"]);
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "[ -~\n]{0,200}") {
        let _ = parse(&text, "x.yml");
    }

    #[test]
    fn no_file_panics(expr in "[ -~\n\t\u{e4}]{0,60}", style in 0usize..3) {
        let body = match style {
            0 => format!("'{}'", expr.replace('\'', "''").replace('\n', "\n      ")),
            1 => format!("|\n      {}", expr.replace('\n', "\n      ")),
            _ => format!("{expr:?}"),
        };
        let _ = parse(&format!("groups:\n- name: a\n  rules:\n  - alert: A\n    expr: {body}\n"), "x.yml");
    }
}
