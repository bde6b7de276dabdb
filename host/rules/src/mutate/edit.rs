//! Changes within an expression.

use belfry_model::{MatchOp, Matcher};
use belfry_promql::format_expr;
use belfry_promql::syntax::ast::{BinaryOp, Expr, ExprKind, UnaryOp, VectorSelector};
use belfry_promql::syntax::span::Span;

/// One change of one node.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    /// Where.
    pub span: Span,
    /// `comparator`, `threshold` or `matcher`.
    pub kind: &'static str,
    /// The part as it was.
    pub before: String,
    /// The part as it becomes.
    pub after: String,
    /// The node, in the order of [`walk_mut`].
    node: usize,
    what: What,
}

#[derive(Clone, Debug, PartialEq)]
enum What {
    Operator(BinaryOp),
    Left(f64),
    Right(f64),
    Matcher(usize, Option<Matcher>),
}

/// All changes of `expr`.
pub fn edits(expr: &Expr) -> Vec<Edit> {
    let mut all = Vec::new();
    let mut node = 0;
    expr.walk(&mut |e| {
        of_node(e, node, &mut all);
        node += 1;
    });
    all
}

fn of_node(e: &Expr, node: usize, all: &mut Vec<Edit>) {
    match &e.kind {
        ExprKind::Binary(b) if b.op.is_comparison() => {
            let mut push = |span, kind, before: String, after: String, what| {
                all.push(Edit { span, kind, before, after, node, what });
            };
            for op in other_comparators(b.op) {
                push(b.op_span, "comparator", b.op.as_str().to_owned(), op.as_str().to_owned(), What::Operator(*op));
            }
            if let Some(n) = constant(&b.lhs) {
                for other in other_thresholds(n) {
                    push(b.lhs.span, "threshold", written(&b.lhs, n), other.to_string(), What::Left(other));
                }
            }
            if let Some(n) = constant(&b.rhs) {
                for other in other_thresholds(n) {
                    push(b.rhs.span, "threshold", written(&b.rhs, n), other.to_string(), What::Right(other));
                }
            }
        }
        ExprKind::Vector(v) => matchers(v, e.span, node, all),
        ExprKind::Matrix(m) => matchers(&m.selector, m.selector_span, node, all),
        _ => {}
    }
}

/// The neighbour at the boundary, and the opposite.
fn other_comparators(op: BinaryOp) -> &'static [BinaryOp] {
    match op {
        BinaryOp::Gt => &[BinaryOp::Ge, BinaryOp::Lt],
        BinaryOp::Ge => &[BinaryOp::Gt, BinaryOp::Le],
        BinaryOp::Lt => &[BinaryOp::Le, BinaryOp::Gt],
        BinaryOp::Le => &[BinaryOp::Lt, BinaryOp::Ge],
        BinaryOp::Eq => &[BinaryOp::Ne],
        BinaryOp::Ne => &[BinaryOp::Eq],
        _ => &[],
    }
}

/// A threshold: a number, or arithmetic of numbers like `14.4 * 0.001`.
fn constant(e: &Expr) -> Option<f64> {
    let value = match &e.unwrap_parens().kind {
        ExprKind::Number(n) => n.value,
        ExprKind::Unary(UnaryOp::Minus, inner) => -constant(inner)?,
        ExprKind::Unary(UnaryOp::Plus, inner) => constant(inner)?,
        ExprKind::Binary(b) => {
            let calculate: fn(f64, f64) -> f64 = match b.op {
                BinaryOp::Add => |l, r| l + r,
                BinaryOp::Sub => |l, r| l - r,
                BinaryOp::Mul => |l, r| l * r,
                BinaryOp::Div => |l, r| l / r,
                BinaryOp::Mod => |l, r| l % r,
                BinaryOp::Pow => f64::powf,
                _ => return None,
            };
            calculate(constant(&b.lhs)?, constant(&b.rhs)?)
        }
        _ => return None,
    };
    value.is_finite().then_some(value)
}

fn written(e: &Expr, value: f64) -> String {
    match &e.unwrap_parens().kind {
        ExprKind::Binary(_) => format_expr(e.unwrap_parens()),
        _ => value.to_string(),
    }
}

/// A tenth more and a tenth less; around zero, one.
fn other_thresholds(n: f64) -> [f64; 2] {
    let step = if n == 0.0 { 1.0 } else { n.abs() * 0.1 };
    // Prints as people write numbers: 0.9 + 0.09 is 0.99, not 0.9900000000000001.
    let tidy = |v: f64| format!("{v:.12}").parse().unwrap_or(v);
    [tidy(n + step), tidy(n - step)]
}

fn matchers(v: &VectorSelector, span: Span, node: usize, all: &mut Vec<Edit>) {
    for (i, m) in v.matchers.iter().enumerate() {
        let op = match m.op() {
            MatchOp::Equal => MatchOp::NotEqual,
            MatchOp::NotEqual => MatchOp::Equal,
            MatchOp::Regex => MatchOp::NotRegex,
            MatchOp::NotRegex => MatchOp::Regex,
        };
        let mut push = |after: String, other: Option<Matcher>| {
            let what = What::Matcher(i, other);
            all.push(Edit { span, kind: "matcher", before: m.to_string(), after, node, what });
        };
        if let Ok(negated) = Matcher::new(m.name(), op, m.value()) {
            push(negated.to_string(), Some(negated));
        }
        // A selector needs a condition.
        if v.name.is_some() || v.matchers.len() > 1 {
            push("nothing".to_owned(), None);
        }
    }
}

impl Edit {
    /// The expression with this change; `None` when it is not the one it was made of, or does not parse any more.
    pub fn apply(&self, expr: &Expr) -> Option<Expr> {
        let mut changed = expr.clone();
        let mut node = 0;
        let mut done = false;
        walk_mut(&mut changed, &mut |e| {
            if node == self.node {
                done = self.change(e);
            }
            node += 1;
        });
        // A selector must not match everything, for one: the parser knows all such rules.
        (done && belfry_promql::parse(&format_expr(&changed)).is_ok()).then_some(changed)
    }

    fn change(&self, e: &mut Expr) -> bool {
        let selector = match &mut e.kind {
            ExprKind::Binary(b) => {
                match &self.what {
                    What::Operator(op) => b.op = *op,
                    What::Left(v) => set(&mut b.lhs, *v),
                    What::Right(v) => set(&mut b.rhs, *v),
                    What::Matcher(..) => return false,
                }
                return true;
            }
            ExprKind::Vector(v) => v,
            ExprKind::Matrix(m) => &mut m.selector,
            _ => return false,
        };
        let What::Matcher(i, other) = &self.what else { return false };
        match (other, selector.matchers.get_mut(*i)) {
            (Some(other), Some(slot)) => *slot = other.clone(),
            (None, Some(_)) => drop(selector.matchers.remove(*i)),
            (_, None) => return false,
        }
        true
    }
}

fn set(e: &mut Expr, value: f64) {
    use belfry_promql::syntax::ast::NumberLiteral;
    e.kind = ExprKind::Number(NumberLiteral { value, duration: false });
}

/// In the order of [`Expr::walk`].
fn walk_mut(e: &mut Expr, f: &mut impl FnMut(&mut Expr)) {
    f(e);
    match &mut e.kind {
        ExprKind::Subquery(s) => walk_mut(&mut s.expr, f),
        ExprKind::Call(c) => c.args.iter_mut().for_each(|a| walk_mut(a, f)),
        ExprKind::Aggregate(a) => {
            if let Some(p) = &mut a.param {
                walk_mut(p, f);
            }
            walk_mut(&mut a.expr, f);
        }
        ExprKind::Binary(b) => {
            walk_mut(&mut b.lhs, f);
            walk_mut(&mut b.rhs, f);
        }
        ExprKind::Unary(_, inner) | ExprKind::Paren(inner) => walk_mut(inner, f),
        ExprKind::Number(_) | ExprKind::String(_) | ExprKind::Vector(_) | ExprKind::Matrix(_) | ExprKind::Missing => {}
    }
}
