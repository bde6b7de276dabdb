//! Comparisons that never hold, selectors that never match, alerts that always fire or fire too soon.

use belfry_model::{MatchOp, Matcher};
use belfry_promql::format_expr;
use belfry_promql::syntax::ast::{AggregateOp, Binary, BinaryOp, Expr, ExprKind, Grouping, VectorSelector};
use belfry_promql::syntax::functions::Function as F;

use super::bounds::{self, Bounds};
use super::{Finding, Subject};

pub(crate) fn check(s: &Subject<'_>, out: &mut Vec<Finding>) {
    let root = &*s.rule.query;
    let mut absent = Vec::new();
    root.walk(&mut |e| match &e.kind {
        ExprKind::Binary(b) if b.op.is_comparison() && !b.return_bool => comparison(s, e, b, out),
        ExprKind::Binary(b) if b.op == BinaryOp::And => both(s, e, b, out),
        ExprKind::Call(c) if matches!(c.function, F::Absent | F::AbsentOverTime) => {
            absent.extend(c.args.iter().flat_map(Expr::selectors).map(std::ptr::from_ref));
        }
        ExprKind::Vector(v) => selector(s, e, v, &absent, out),
        ExprKind::Matrix(m) => selector(s, e, &m.selector, &absent, out),
        _ => {}
    });
    if s.is_alert() {
        always_fires(s, root, out);
        missing_for(s, root, out);
    }
}

fn comparison(s: &Subject<'_>, e: &Expr, b: &Binary, out: &mut Vec<Finding>) {
    // Two scalars without `bool` do not parse; a comparison with itself says nothing of the bounds.
    let (l, r) = (bounds::of(&b.lhs), bounds::of(&b.rhs));
    if l.is_empty() || r.is_empty() || !l.satisfying(b.op, r).is_empty() {
        return;
    }
    let told = |e: &Expr, b: Bounds| match &e.unwrap_parens().kind {
        ExprKind::Number(_) => None,
        _ => Some(format!("`{}` is {b}", s.source(e.span))),
    };
    let known: Vec<String> = [told(&b.lhs, l), told(&b.rhs, r)].into_iter().flatten().collect();
    out.push(Finding::new(
        s.place(b.op_span),
        "never-true",
        format!("`{}` never holds: {}", s.source(e.span), known.join(" and ")),
        "compare with a value that can be reached",
    ));
}

/// `a > 5 and a < 3`
fn both(s: &Subject<'_>, e: &Expr, b: &Binary, out: &mut Vec<Finding>) {
    let (Some((left, l)), Some((right, r))) = (with_constant(&b.lhs), with_constant(&b.rhs)) else { return };
    // Only one series can meet itself: with `on` or `ignoring`, others may, and metrics of several names always.
    let itself = b.matching.as_ref().is_none_or(|m| !m.on && m.labels.is_empty()) && is_of_one_name(left);
    if itself && format_expr(left) == format_expr(right) && !l.is_empty() && !r.is_empty() && l.meet(r).is_empty() {
        out.push(Finding::new(
            s.place(b.op_span),
            "never-true",
            format!("`{}` never holds: `{}` would have to be {l} and {r}", s.source(e.span), s.source(left.span)),
            "write `or`, or turn one comparison around",
        ));
    }
}

/// Do two series of the answer differ in more than their metric's name, which `and` does not look at? Where the name is
/// dropped they do: two alike are an error.
fn is_of_one_name(e: &Expr) -> bool {
    let pinned = |v: &VectorSelector| {
        v.all_matchers().iter().any(|m| m.name() == belfry_model::METRIC_NAME && m.op() == MatchOp::Equal)
    };
    match &e.kind {
        ExprKind::Vector(v) => pinned(v),
        ExprKind::Matrix(m) => pinned(&m.selector),
        ExprKind::Subquery(s) => is_of_one_name(&s.expr),
        ExprKind::Paren(inner) => is_of_one_name(inner),
        ExprKind::Binary(b) => match b.op {
            BinaryOp::Or => false,
            BinaryOp::And | BinaryOp::Unless => is_of_one_name(&b.lhs),
            op if op.is_comparison() && !b.return_bool => is_of_one_name(&b.lhs) && is_of_one_name(&b.rhs),
            _ => true,
        },
        ExprKind::Aggregate(a) => match (a.op, &a.grouping) {
            (AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk | AggregateOp::LimitRatio, _) => {
                is_of_one_name(&a.expr)
            }
            (_, Grouping::By(labels)) => !labels.iter().any(|l| l == belfry_model::METRIC_NAME),
            _ => true,
        },
        ExprKind::Call(c) => match c.function {
            F::LastOverTime | F::FirstOverTime | F::Sort | F::SortDesc | F::SortByLabel | F::SortByLabelDesc => {
                c.args.first().is_some_and(is_of_one_name)
            }
            F::LabelReplace | F::LabelJoin | F::Info => false,
            _ => true,
        },
        _ => true,
    }
}

/// `expr op number`, and the values it lets through.
fn with_constant(e: &Expr) -> Option<(&Expr, Bounds)> {
    let ExprKind::Binary(b) = &e.unwrap_parens().kind else { return None };
    if !b.op.is_comparison() || b.return_bool {
        return None;
    }
    let number = |e: &Expr| match &e.unwrap_parens().kind {
        ExprKind::Number(n) if !n.value.is_nan() => Some(n.value),
        _ => None,
    };
    let (expr, op, n) = match (number(&b.lhs), number(&b.rhs)) {
        (None, Some(n)) => (&b.lhs, b.op, n),
        (Some(n), None) => (&b.rhs, bounds::mirrored(b.op), n),
        _ => return None,
    };
    Some((expr.unwrap_parens(), Bounds::ANY.satisfying(op, Bounds::new(n, n))))
}

fn selector(s: &Subject<'_>, e: &Expr, v: &VectorSelector, absent: &[*const VectorSelector], out: &mut Vec<Finding>) {
    let matchers = v.all_matchers();
    for m in matchers.iter().filter(|m| m.op() == MatchOp::Equal) {
        if let Some(other) = matchers.iter().find(|o| o.name() == m.name() && !o.matches(m.value())) {
            out.push(Finding::new(
                s.place(e.span),
                "never-true",
                format!("`{}` selects nothing: {m} and {other} cannot both hold", s.source(e.span)),
                "remove one of the two conditions",
            ));
            return;
        }
    }
    let Some(metrics) = &s.facts.metrics else { return };
    let name = matchers.iter().find(|m: &&Matcher| m.name() == belfry_model::METRIC_NAME && m.op() == MatchOp::Equal);
    let Some(name) = name.map(Matcher::value) else { return };
    let asked_whether_there = absent.iter().any(|a| std::ptr::eq(*a, v));
    let known = metrics.contains(name) || s.recorded.contains(name) || ["ALERTS", "ALERTS_FOR_STATE"].contains(&name);
    if !known && !asked_whether_there {
        let near = metrics.iter().map(String::as_str).chain(s.recorded.iter().copied()).find(|m| similar(m, name));
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => "check its name, and that something delivers it".to_owned(),
        };
        out.push(Finding::new(s.place(e.span), "unknown-metric", format!("no series is called `{name}`"), help));
    }
}

/// One letter apart, or the same but for `_total` and the like.
fn similar(a: &str, b: &str) -> bool {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    if ["_total", "_seconds", "_bytes", "_count", "_sum", "_bucket"].iter().any(|s| long.strip_suffix(s) == Some(short))
    {
        return true;
    }
    let (x, y) = (short.as_bytes(), long.as_bytes());
    let same_front = x.iter().zip(y).take_while(|(a, b)| a == b).count();
    let same_back = x.iter().rev().zip(y.iter().rev()).take_while(|(a, b)| a == b).count();
    y.len() - x.len() <= 1 && y.len() > 4 && same_front + same_back + 1 >= y.len()
}

fn always_fires(s: &Subject<'_>, root: &Expr, out: &mut Vec<Finding>) {
    let ExprKind::Binary(b) = &root.unwrap_parens().kind else { return };
    if b.op.is_comparison() && b.return_bool {
        out.push(Finding::new(
            s.place(b.op_span),
            "always-fires",
            format!("`{} bool` gives 0 where it does not hold, and an alert fires on 0 too", b.op.as_str()),
            "remove `bool`",
        ));
    }
}

/// Single samples that are compared at once: one bad scrape pages. What looks over a range has its patience there.
fn missing_for(s: &Subject<'_>, root: &Expr, out: &mut Vec<Finding>) {
    // `for: 0s` says that it is meant.
    if s.rule.hold.is_some() {
        return;
    }
    if fires_at_once(root) {
        out.push(Finding::new(
            s.rule.at,
            "missing-for",
            format!("`{}` fires at the first sample that breaches: it has no `for`", s.rule.name.as_str()),
            "add `for: 5m`, or look over a range",
        ));
    }
}

fn fires_at_once(root: &Expr) -> bool {
    match &root.unwrap_parens().kind {
        // Either side alone is enough.
        ExprKind::Binary(b) if b.op == BinaryOp::Or => fires_at_once(&b.lhs) || fires_at_once(&b.rhs),
        // Burn rates are compared two windows at a time: their patience is in what was recorded.
        ExprKind::Binary(b) if !b.op.is_comparison() && root.selectors().iter().any(|v| is_recorded(v)) => false,
        _ => compares(root) && !is_patient(root),
    }
}

/// By the convention of names, `level:metric:operations`.
fn is_recorded(v: &VectorSelector) -> bool {
    v.name.as_deref().is_some_and(|n| n.contains(':'))
}

/// Is the answer what a comparison leaves?
fn compares(e: &Expr) -> bool {
    let ExprKind::Binary(b) = &e.unwrap_parens().kind else { return false };
    match b.op {
        BinaryOp::And | BinaryOp::Or => compares(&b.lhs) || compares(&b.rhs),
        BinaryOp::Unless => compares(&b.lhs),
        op => op.is_comparison(),
    }
}

/// Does it look at more than single samples?
fn is_patient(e: &Expr) -> bool {
    let (mut instant, mut patient) = (false, false);
    e.walk(&mut |e| match &e.kind {
        ExprKind::Vector(_) => instant = true,
        ExprKind::Matrix(_) | ExprKind::Subquery(_) => patient = true,
        ExprKind::Call(c) => patient |= matches!(c.function, F::Absent | F::Time | F::Timestamp),
        _ => {}
    });
    patient || !instant
}
