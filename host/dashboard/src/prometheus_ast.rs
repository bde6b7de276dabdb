//! The tree of an expression as `/api/v1/parse_query` answers it: Prometheus' own forms and members.
//! <https://github.com/prometheus/prometheus/blob/main/web/api/v1/translate_ast.go>
//!
//! Invariant: a length of time that is computed (`[5m * 2]`) has its value here where that is known, and 0 where it depends
//! on how the query runs (`step()`, `range()`), as all of them have in Prometheus, whose tree has no place for them; at most [`LEVELS_MAX`] levels, because clients and our own serializer go down by recursion.
//! Not here: parsing, printing.

use belfry_model::Matcher;
use belfry_promql::syntax::ast::{
    At, Binary, BinaryOp, Cardinality, DurationExpr, DurationKind, Expr, ExprKind, Extended, Grouping, Modifiers,
    UnaryOp, ValueType, VectorSelector,
};
use belfry_promql::syntax::quote::replace_raw_bytes;
use serde_json::{Value, json};

/// Levels of the tree; more than anyone reads, and few enough for a thread's stack.
pub(crate) const LEVELS_MAX: usize = 256;

/// The tree; `None` when it has more than [`LEVELS_MAX`] levels.
pub(crate) fn tree(expr: &Expr) -> Option<Value> {
    node(expr, LEVELS_MAX)
}

fn node(expr: &Expr, levels: usize) -> Option<Value> {
    let levels = levels.checked_sub(1)?;
    let inner = |e: &Expr| node(e, levels);
    Some(match &expr.kind {
        ExprKind::Number(n) => json!({"type": "numberLiteral", "val": number(n.value)}),
        ExprKind::String(s) => json!({"type": "stringLiteral", "val": replace_raw_bytes(s)}),
        ExprKind::Vector(v) => selector("vectorSelector", v),
        ExprKind::Matrix(m) => {
            let mut out = selector("matrixSelector", &m.selector);
            out["range"] = millis(&m.range).into();
            out
        }
        ExprKind::Subquery(s) => json!({
            "type": "subquery",
            "expr": inner(&s.expr)?,
            "range": millis(&s.range),
            "offset": offset(&s.modifiers),
            "step": s.step.as_ref().map_or(0, millis),
            "timestamp": timestamp(&s.modifiers),
            "startOrEnd": start_or_end(&s.modifiers),
        }),
        ExprKind::Call(c) => {
            let spec = c.function.spec();
            let types: Vec<&str> = spec.args.iter().copied().map(ValueType::as_str).collect();
            json!({
                "type": "call",
                "func": {
                    "name": spec.name,
                    "argTypes": types,
                    "variadic": spec.variadic,
                    "returnType": spec.returns.as_str(),
                },
                "args": c.args.iter().map(inner).collect::<Option<Vec<_>>>()?,
            })
        }
        ExprKind::Aggregate(a) => {
            let (grouping, without): (&[String], bool) = match &a.grouping {
                Grouping::None => (&[], false),
                Grouping::By(labels) => (labels, false),
                Grouping::Without(labels) => (labels, true),
            };
            let param = match &a.param {
                Some(p) => inner(p)?,
                None => Value::Null,
            };
            json!({
                "type": "aggregation",
                "op": a.op.as_str(),
                "expr": inner(&a.expr)?,
                "param": param,
                "grouping": grouping,
                "without": without,
            })
        }
        ExprKind::Binary(b) => json!({
            "type": "binaryExpr",
            "op": b.op.as_str(),
            "lhs": inner(&b.lhs)?,
            "rhs": inner(&b.rhs)?,
            "matching": matching(b),
            "bool": b.return_bool,
        }),
        ExprKind::Unary(op, e) => json!({"type": "unaryExpr", "op": op.as_str(), "expr": inner(e)?}),
        ExprKind::Paren(e) => json!({"type": "parenExpr", "expr": inner(e)?}),
        // Stands only in the trees of texts with errors, and those are refused before.
        ExprKind::Missing => Value::Null,
    })
}

fn selector(kind: &str, v: &VectorSelector) -> Value {
    let matcher =
        |m: &Matcher| json!({"name": m.name(), "value": replace_raw_bytes(m.value()), "type": m.op().as_str()});
    json!({
        "type": kind,
        "name": v.name.as_deref().unwrap_or(""),
        "offset": offset(&v.modifiers),
        "matchers": v.all_matchers().iter().map(matcher).collect::<Vec<_>>(),
        "timestamp": timestamp(&v.modifiers),
        "startOrEnd": start_or_end(&v.modifiers),
        "anchored": v.extended == Some(Extended::Anchored),
        "smoothed": v.extended == Some(Extended::Smoothed),
    })
}

/// `null` where one side is a scalar: nothing is matched there.
fn matching(b: &Binary) -> Value {
    let Some(m) = &b.matching else { return Value::Null };
    let card = match m.cardinality {
        Cardinality::OneToOne => "one-to-one",
        Cardinality::ManyToOne => "many-to-one",
        Cardinality::OneToMany => "one-to-many",
        Cardinality::ManyToMany => "many-to-many",
    };
    json!({
        "card": card,
        "labels": m.labels,
        "on": m.on,
        "include": m.include,
        "fillValues": {"lhs": m.fill_left, "rhs": m.fill_right},
    })
}

fn offset(modifiers: &Modifiers) -> i64 {
    modifiers.offset.as_ref().map_or(0, millis)
}

fn timestamp(modifiers: &Modifiers) -> Option<i64> {
    match modifiers.at {
        Some(At::Time(ms)) => Some(ms),
        _ => None,
    }
}

fn start_or_end(modifiers: &Modifiers) -> Option<&'static str> {
    match modifiers.at {
        Some(At::Start) => Some("start"),
        Some(At::End) => Some("end"),
        _ => None,
    }
}

/// Milliseconds of a length of time; 0 where it is not known without the query's times.
fn millis(d: &DurationExpr) -> i64 {
    (seconds(d, LEVELS_MAX).filter(|s| s.is_finite()).unwrap_or(0.0) * 1_000.0).round() as i64
}

/// `None`: it depends on the query's times, or has more than `levels` levels.
fn seconds(d: &DurationExpr, levels: usize) -> Option<f64> {
    let levels = levels.checked_sub(1)?;
    let of = |d: &DurationExpr| seconds(d, levels);
    Some(match &d.kind {
        DurationKind::Literal(n) => n.value,
        DurationKind::Step | DurationKind::Range => return None,
        DurationKind::MinOf(a, b) => of(a)?.min(of(b)?),
        DurationKind::MaxOf(a, b) => of(a)?.max(of(b)?),
        DurationKind::Unary(UnaryOp::Minus, a) => -of(a)?,
        DurationKind::Unary(UnaryOp::Plus, a) | DurationKind::Paren(a) => of(a)?,
        DurationKind::Binary(op, a, b) => {
            let (a, b) = (of(a)?, of(b)?);
            match op {
                BinaryOp::Add => a + b,
                BinaryOp::Sub => a - b,
                BinaryOp::Mul => a * b,
                BinaryOp::Div => a / b,
                BinaryOp::Mod => a % b,
                BinaryOp::Pow => a.powf(b),
                _ => return None,
            }
        }
    })
}

/// Without an exponent.
fn number(v: f64) -> String {
    if v.is_nan() {
        "NaN".to_owned()
    } else if v.is_infinite() {
        if v > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        format!("{v}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Value {
        tree(&belfry_promql::parse(text).unwrap()).unwrap()
    }

    #[test]
    fn a_selector_has_its_matchers_and_modifiers() {
        assert_eq!(
            parsed(r#"up{job=~"a|b"}[5m] @ 1.5 offset -1m"#),
            json!({
                "type": "matrixSelector", "name": "up", "range": 300_000, "offset": -60_000, "timestamp": 1_500,
                "startOrEnd": null, "anchored": false, "smoothed": false,
                "matchers": [
                    {"name": "job", "value": "a|b", "type": "=~"},
                    {"name": "__name__", "value": "up", "type": "="},
                ],
            })
        );
        assert_eq!(parsed("rate(up[5m] smoothed)")["args"][0]["smoothed"], true);
        assert_eq!(
            parsed("up[1h:1m] @ end()"),
            json!({
                "type": "subquery", "expr": parsed("up"), "range": 3_600_000, "offset": 0, "step": 60_000,
                "timestamp": null, "startOrEnd": "end",
            })
        );
    }

    #[test]
    fn a_computed_length_of_time_has_its_value_where_that_is_known() {
        for (text, member, ms) in [
            ("a[5m * 2]", "range", 600_000),
            ("a[10m - 4m + 2^3]", "range", 368_000),
            ("a[max_of(5m, min_of(1h, 7m % 4m))]", "range", 300_000),
            ("a[-(-5m)]", "range", 300_000),
            ("a offset (1h / 2)", "offset", 1_800_000),
            ("a offset -(1m)", "offset", -60_000),
            ("a[5m:30s * 2]", "step", 60_000),
            ("a[5m:(step() * 2)]", "step", 0),
            ("a[range()]", "range", 0),
            ("a[5m / (1 - 1)]", "range", 0),
        ] {
            assert_eq!(parsed(text)[member], ms, "{text}");
        }
        let long = |terms: usize| parsed(&format!("a[1s{}]", " + 1s".repeat(terms)))["range"].clone();
        assert_eq!((long(LEVELS_MAX - 1), long(LEVELS_MAX)), (json!(256_000), json!(0)));
    }

    #[test]
    fn a_call_names_the_types_of_its_function() {
        assert_eq!(
            parsed("round(up, 5)"),
            json!({
                "type": "call",
                "func": {"name": "round", "argTypes": ["vector", "scalar"], "variadic": 1, "returnType": "vector"},
                "args": [parsed("up"), {"type": "numberLiteral", "val": "5"}],
            })
        );
    }

    #[test]
    fn an_aggregation_has_a_parameter_or_null() {
        let sum = parsed("sum without (a, b) (up)");
        assert_eq!(
            sum,
            json!({
                "type": "aggregation", "op": "sum", "expr": parsed("up"), "param": null, "grouping": ["a", "b"],
                "without": true,
            })
        );
        let topk = parsed("topk(2, up)");
        assert_eq!((&topk["param"]["val"], &topk["grouping"]), (&json!("2"), &json!([])));
    }

    #[test]
    fn an_operator_says_how_vectors_meet_and_nothing_of_scalars() {
        let and = parsed("a > bool on (x) group_left (y) b");
        assert_eq!((&and["op"], &and["bool"]), (&json!(">"), &json!(true)));
        assert_eq!(
            and["matching"],
            json!({
                "card": "many-to-one", "labels": ["x"], "on": true, "include": ["y"],
                "fillValues": {"lhs": null, "rhs": null},
            })
        );
        assert_eq!(parsed("a and b")["matching"]["card"], "many-to-many");
        assert_eq!(parsed("a * 2")["matching"], Value::Null);
        assert_eq!(parsed("a + fill_left (1) b")["matching"]["fillValues"], json!({"lhs": 1.0, "rhs": null}));
    }

    #[test]
    fn parentheses_signs_texts_and_numbers_are_nodes() {
        assert_eq!(
            parsed("-(up)"),
            json!({"type": "unaryExpr", "op": "-", "expr": {"type": "parenExpr", "expr": parsed("up")}})
        );
        assert_eq!(parsed("\"text\""), json!({"type": "stringLiteral", "val": "text"}));
        assert_eq!(parsed(r#""a\xc5z""#), json!({"type": "stringLiteral", "val": "a\u{fffd}z"}));
        for (text, val) in [("1e30", "1000000000000000000000000000000"), ("Inf", "+Inf"), ("NaN", "NaN"), ("5m", "300")]
        {
            assert_eq!(parsed(text), json!({"type": "numberLiteral", "val": val}));
        }
    }

    #[test]
    fn a_tree_as_deep_as_allowed_is_written_and_a_deeper_one_is_refused() {
        let row = |operators: usize| belfry_promql::parse(&format!("a{}", " + a".repeat(operators))).unwrap();
        assert!(tree(&row(LEVELS_MAX - 1)).unwrap().to_string().len() > LEVELS_MAX);
        assert!(tree(&row(LEVELS_MAX)).is_none());
    }
}
