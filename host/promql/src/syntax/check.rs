//! Types: which expression may stand where. Errors are worded as Prometheus words them.

use super::ast::{Binary, Cardinality, Expr, ExprKind, ValueType};
use super::functions::Function;
use super::quote::quote;
use super::span::Span;

/// Checks the tree and settles what depends on types: the cardinality of set operators, no matching with scalars.
pub(super) fn check(e: &mut Expr, report: &mut dyn FnMut(Span, String)) -> ValueType {
    if matches!(e.kind, ExprKind::Binary(_)) {
        return check_chain(e, report);
    }
    let span = e.span;
    match &mut e.kind {
        ExprKind::Aggregate(a) => {
            expect(&mut a.expr, ValueType::Vector, "aggregation expression", report);
            if let (Some(p), Some(want)) = (&mut a.param, a.op.parameter()) {
                expect(p, want, "aggregation parameter", report);
            }
        }
        ExprKind::Call(c) => {
            let spec = c.function.spec();
            let (wanted, got) = (spec.args.len(), c.args.len());
            let name = quote(spec.name);
            if spec.variadic == 0 {
                if wanted != got {
                    report(span, format!("expected {wanted} argument(s) in call to {name}, got {got}"));
                }
            } else {
                let least = wanted.saturating_sub(1);
                let most = least + spec.variadic.max(0) as usize;
                if got < least {
                    report(span, format!("expected at least {least} argument(s) in call to {name}, got {got}"));
                } else if spec.variadic > 0 && got > most {
                    report(span, format!("expected at most {most} argument(s) in call to {name}, got {got}"));
                }
            }
            if c.function == Function::Info && c.args.len() > 1 {
                let arg = &mut c.args[1];
                match &mut arg.kind {
                    ExprKind::Vector(v) if v.name.is_some() => {
                        report(arg.span, "expected label selectors only, got vector selector instead".to_owned());
                    }
                    ExprKind::Vector(v) => v.may_be_empty = true,
                    _ => report(arg.span, "expected label selectors only".to_owned()),
                }
            }
            for (i, arg) in c.args.iter_mut().enumerate() {
                let Some(want) = spec.args.get(i).or_else(|| spec.args.last().filter(|_| spec.variadic != 0)) else {
                    break;
                };
                let got = check(arg, report);
                if got != *want {
                    let (want, got) = (want.documented(), got.documented());
                    report(arg.span, format!("expected type {want} in call to function {name}, got {got}"));
                }
            }
        }
        ExprKind::Paren(inner) => {
            check(inner, report);
        }
        ExprKind::Unary(_, inner) => {
            let t = check(inner, report);
            if t != ValueType::Scalar && t != ValueType::Vector {
                report(
                    span,
                    format!(
                        "unary expression only allowed on expressions of type scalar or instant vector, got {}",
                        quote(t.documented())
                    ),
                );
            }
        }
        ExprKind::Subquery(s) => {
            let t = check(&mut s.expr, report);
            if t != ValueType::Vector {
                report(span, format!("subquery is only allowed on instant vector, got {} instead", t.as_str()));
            }
        }
        ExprKind::Vector(v) => check_selector(v, span, report),
        ExprKind::Matrix(m) => check_selector(&m.selector, m.selector_span, report),
        ExprKind::Number(_) | ExprKind::String(_) | ExprKind::Missing | ExprKind::Binary(_) => {}
    }
    e.value_type()
}

fn expect(e: &mut Expr, want: ValueType, context: &str, report: &mut dyn FnMut(Span, String)) {
    let got = check(e, report);
    if got != want {
        report(e.span, format!("expected type {} in {context}, got {}", want.documented(), got.documented()));
    }
}

fn check_selector(v: &super::ast::VectorSelector, span: Span, report: &mut dyn FnMut(Span, String)) {
    if let Some(name) = &v.name {
        for m in v.matchers.iter().filter(|m| m.name() == belfry_model::METRIC_NAME) {
            report(span, format!("metric name must not be set twice: {} or {}", quote(name), quote(m.value())));
        }
        return;
    }
    if !v.may_be_empty && v.matchers.iter().all(|m| m.matches("")) {
        report(span, "vector selector must contain at least one non-empty matcher".to_owned());
    }
}

/// Operators in a row lean to the left and may be many: they are taken apart and put together again in a loop.
fn check_chain(e: &mut Expr, report: &mut dyn FnMut(Span, String)) -> ValueType {
    let mut operators = Vec::new();
    let missing = |span| Expr { span, kind: ExprKind::Missing };
    let mut at = std::mem::replace(e, missing(e.span));
    while let ExprKind::Binary(mut b) = at.kind {
        let lhs = std::mem::replace(&mut b.lhs, missing(b.op_span));
        operators.push((at.span, b));
        at = lhs;
    }
    let mut t = check(&mut at, report);
    for (span, mut b) in operators.into_iter().rev() {
        b.lhs = at;
        t = check_binary(&mut b, t, span, report);
        at = Expr { span, kind: ExprKind::Binary(b) };
    }
    *e = at;
    t
}

fn check_binary(b: &mut Binary, lt: ValueType, span: Span, report: &mut dyn FnMut(Span, String)) -> ValueType {
    let rt = check(&mut b.rhs, report);
    let result = if lt == ValueType::Scalar && rt == ValueType::Scalar { lt } else { ValueType::Vector };
    let op = quote(b.op.as_str());
    if b.return_bool && !b.op.is_comparison() {
        report(b.op_span, "bool modifier can only be used on comparison operators".to_owned());
    }
    let scalars = lt == ValueType::Scalar && rt == ValueType::Scalar;
    if b.op.is_comparison() && !b.return_bool && scalars {
        report(b.op_span, "comparisons between scalars must use BOOL modifier".to_owned());
    }
    for (e, t) in [(&b.lhs, lt), (&b.rhs, rt)] {
        if t != ValueType::Scalar && t != ValueType::Vector {
            report(e.span, "binary expression must contain only scalar and instant vector types".to_owned());
        }
    }
    let Some(m) = &mut b.matching else { return result };
    if b.op.is_set() && m.cardinality == Cardinality::OneToOne {
        m.cardinality = Cardinality::ManyToMany;
    }
    for l in m.labels.iter().filter(|l| m.on && m.include.contains(l)) {
        report(b.op_span, format!("label {} must not occur in ON and GROUP clause at once", quote(l)));
    }
    let filled = m.fill_left.is_some() || m.fill_right.is_some();
    if lt != ValueType::Vector || rt != ValueType::Vector {
        if !m.labels.is_empty() {
            report(span, "vector matching only allowed between instant vectors".to_owned());
        }
        if filled {
            report(span, "filling in missing series only allowed between instant vectors".to_owned());
        }
        b.matching = None;
    } else if b.op.is_set() {
        if m.cardinality != Cardinality::ManyToMany {
            report(span, format!("no grouping allowed for {op} operation"));
            report(span, "set operations must always be many-to-many".to_owned());
        }
        if filled {
            report(span, "filling in missing series not allowed for set operators".to_owned());
        }
    }
    if (lt == ValueType::Scalar || rt == ValueType::Scalar) && b.op.is_set() {
        report(span, format!("set operator {op} not allowed in binary scalar expression"));
    }
    result
}
