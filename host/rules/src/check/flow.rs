//! Which labels an expression can have, and uses of others.
//!
//! Invariant: a label that a series of the result has is one that [`Has`] allows.

use std::collections::BTreeSet;

use belfry_model::{METRIC_NAME, MatchOp};
use belfry_promql::syntax::ast::{
    Aggregate, AggregateOp, Binary, BinaryOp, Cardinality, Expr, ExprKind, Grouping, VectorSelector,
};
use belfry_promql::syntax::functions::Function as F;

use super::{Finding, Subject, listed, place_in};
use crate::file::Text;

/// The labels that may be there. The metric's name is left out of account.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Has {
    /// Only some of these.
    Only(BTreeSet<String>),
    /// Any but these.
    AllBut(BTreeSet<String>),
}

impl Has {
    fn none() -> Self {
        Self::Only(BTreeSet::new())
    }

    pub fn allows(&self, label: &str) -> bool {
        match self {
            Self::Only(set) => set.contains(label),
            Self::AllBut(set) => !set.contains(label),
        }
    }

    fn keep(self, labels: &[String]) -> Self {
        Self::Only(labels.iter().filter(|l| self.allows(l)).cloned().collect())
    }

    fn drop<'l>(mut self, labels: impl IntoIterator<Item = &'l String>) -> Self {
        for l in labels {
            match &mut self {
                Self::Only(set) => drop(set.remove(l)),
                Self::AllBut(set) => drop(set.insert(l.clone())),
            }
        }
        self
    }

    fn add(mut self, label: &str) -> Self {
        match &mut self {
            Self::Only(set) => drop(set.insert(label.to_owned())),
            Self::AllBut(set) => drop(set.remove(label)),
        }
        self
    }

    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Only(a), Self::Only(b)) => Self::Only(&a | &b),
            (Self::AllBut(a), Self::AllBut(b)) => Self::AllBut(&a & &b),
            (Self::Only(a), Self::AllBut(b)) | (Self::AllBut(b), Self::Only(a)) => Self::AllBut(&b - &a),
        }
    }

    /// For messages.
    fn told(&self) -> String {
        match self {
            Self::Only(set) if set.is_empty() => "no labels at all".to_owned(),
            Self::Only(set) => format!("only {}", listed(set.iter().map(String::as_str))),
            Self::AllBut(set) => format!("no {}", listed(set.iter().map(String::as_str)).replace(" and ", " or ")),
        }
    }
}

fn selected(v: &VectorSelector) -> Has {
    // `a=""` asks for series without `a`, unless another condition contradicts it.
    let gone = v.matchers.iter().filter(|m| m.op() == MatchOp::Equal && m.value().is_empty());
    Has::AllBut(gone.map(|m| m.name().to_owned()).collect())
}

/// The labels of the result of `e`.
pub(crate) fn of(e: &Expr) -> Has {
    match &e.kind {
        ExprKind::Number(_) | ExprKind::String(_) => Has::none(),
        ExprKind::Vector(v) => selected(v),
        ExprKind::Matrix(m) => selected(&m.selector),
        ExprKind::Subquery(s) => of(&s.expr),
        ExprKind::Paren(inner) | ExprKind::Unary(_, inner) => of(inner),
        ExprKind::Missing => Has::AllBut(BTreeSet::new()),
        ExprKind::Aggregate(a) => aggregate(a),
        ExprKind::Binary(b) => binary(b),
        ExprKind::Call(c) => {
            let text = |i: usize| match c.args.get(i).map(|a| &a.unwrap_parens().kind) {
                Some(ExprKind::String(s)) => Some(s.as_str()),
                _ => None,
            };
            let vector = || {
                c.args
                    .iter()
                    .find(|a| {
                        a.value_type() != belfry_promql::ValueType::Scalar && !matches!(a.kind, ExprKind::String(_))
                    })
                    .map_or_else(Has::none, of)
            };
            match c.function {
                F::Absent | F::AbsentOverTime => match c.args.first().map(|a| &a.unwrap_parens().kind) {
                    Some(ExprKind::Vector(v)) => equalities(v),
                    Some(ExprKind::Matrix(m)) => equalities(&m.selector),
                    _ => Has::none(),
                },
                F::LabelReplace | F::LabelJoin => match text(1) {
                    Some(destination) => vector().add(destination),
                    None => Has::AllBut(BTreeSet::new()),
                },
                F::HistogramQuantile | F::HistogramFraction => vector().drop([&"le".to_owned()]),
                F::HistogramQuantiles => match text(1) {
                    Some(name) => vector().drop([&"le".to_owned()]).add(name),
                    None => Has::AllBut(BTreeSet::new()),
                },
                F::Info => Has::AllBut(BTreeSet::new()),
                F::Scalar | F::Time | F::Vector | F::Pi => Has::none(),
                _ => vector(),
            }
        }
    }
}

/// `absent` gives the labels that its selector fixes.
fn equalities(v: &VectorSelector) -> Has {
    Has::Only(
        v.matchers
            .iter()
            .filter(|m| m.op() == MatchOp::Equal && m.name() != METRIC_NAME)
            .map(|m| m.name().to_owned())
            .collect(),
    )
}

fn aggregate(a: &Aggregate) -> Has {
    let inner = of(&a.expr);
    if matches!(a.op, AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk | AggregateOp::LimitRatio) {
        return inner;
    }
    let grouped = match &a.grouping {
        Grouping::None => Has::none(),
        Grouping::By(labels) => inner.keep(labels),
        Grouping::Without(labels) => inner.drop(labels),
    };
    match (a.op, a.param.as_ref().map(|p| &p.unwrap_parens().kind)) {
        (AggregateOp::CountValues, Some(ExprKind::String(name))) => grouped.add(name),
        (AggregateOp::CountValues, _) => Has::AllBut(BTreeSet::new()),
        _ => grouped,
    }
}

fn binary(b: &Binary) -> Has {
    let (l, r) = (of(&b.lhs), of(&b.rhs));
    let Some(m) = &b.matching else {
        // One side is a scalar: the other's labels stay.
        return if b.lhs.value_type() == belfry_promql::ValueType::Scalar { r } else { l };
    };
    match (b.op, m.cardinality) {
        (BinaryOp::And | BinaryOp::Unless, _) => l,
        (BinaryOp::Or, _) => l.or(r),
        (_, Cardinality::ManyToOne) => {
            m.include.iter().fold(l, |has, i| if r.allows(i) { has.add(i) } else { has.drop([i]) })
        }
        (_, Cardinality::OneToMany) => {
            m.include.iter().fold(r, |has, i| if l.allows(i) { has.add(i) } else { has.drop([i]) })
        }
        // A filled-in side has the labels of the match only, which are within these.
        _ if m.fill_left.is_some() || m.fill_right.is_some() => l.or(r),
        _ if m.on => l.keep(&m.labels),
        _ => l.drop(&m.labels),
    }
}

const LINT: &str = "label-never-there";

pub(crate) fn check(s: &Subject<'_>, out: &mut Vec<Finding>) {
    s.rule.query.walk(&mut |e| match &e.kind {
        ExprKind::Aggregate(a) => {
            if let Grouping::By(labels) = &a.grouping {
                let has = of(&a.expr);
                for l in labels.iter().filter(|l| *l != METRIC_NAME && !has.allows(l)) {
                    let what = format!("`by ({l})`: what is aggregated has {}", has.told());
                    out.push(Finding::new(
                        s.place(e.span),
                        LINT,
                        what,
                        format!("keep `{l}` in the inner expression, or remove it here"),
                    ));
                }
            }
        }
        ExprKind::Binary(b) => matching(s, b, out),
        ExprKind::Call(c) if c.function == F::HistogramQuantile => quantile(s, e, out),
        _ => {}
    });
    if s.is_alert() {
        let has = of(&s.rule.query);
        for (text, use_) in s.rule.labels.iter().chain(&s.rule.annotations).flat_map(|p| uses(&p.value)) {
            if !use_.external && !use_.name.starts_with("__") && use_.name != "alertname" && !has.allows(&use_.name) {
                out.push(Finding::new(
                    place_in(text, use_.offset),
                    LINT,
                    format!("`$labels.{}` is always empty: the expression has {}", use_.name, has.told()),
                    help_for(s, &use_.name),
                ));
            }
        }
    }
}

fn help_for(s: &Subject<'_>, label: &str) -> String {
    if s.rule.labels.iter().chain(&s.group.labels).any(|p| p.name.as_str() == label) {
        format!("`$labels` are the labels of the series, without the rule's own `{label}`: write its value out")
    } else {
        format!("keep `{label}` in the expression (`by`, `on`, `group_left`), or remove it from the text")
    }
}

fn uses(text: &Text) -> Vec<(&Text, belfry_template::LabelUse)> {
    match belfry_template::Template::parse(text) {
        Ok(t) => t.label_uses().iter().map(|u| (text, u.clone())).collect(),
        // The reader has told of it.
        Err(_) => Vec::new(),
    }
}

fn matching(s: &Subject<'_>, b: &Binary, out: &mut Vec<Finding>) {
    let Some(m) = &b.matching else { return };
    let sides = [("left", of(&b.lhs)), ("right", of(&b.rhs))];
    if m.on {
        for l in m.labels.iter().filter(|l| *l != METRIC_NAME) {
            for (side, has) in sides.iter().filter(|(_, has)| !has.allows(l)) {
                // Missing on both sides matches, and says nothing: as good as not written.
                let what = format!("`on ({l})`: the {side} side has {}", has.told());
                out.push(Finding::new(
                    s.place(b.op_span),
                    LINT,
                    what,
                    format!("keep `{l}` on that side, or remove it here"),
                ));
            }
        }
    }
    let one = match m.cardinality {
        Cardinality::ManyToOne => Some((&sides[1], "group_left")),
        Cardinality::OneToMany => Some((&sides[0], "group_right")),
        _ => None,
    };
    if let Some(((side, has), word)) = one {
        for l in m.include.iter().filter(|l| !has.allows(l)) {
            let what = format!("`{word} ({l})`: the {side} side has {}", has.told());
            out.push(Finding::new(
                s.place(b.op_span),
                LINT,
                what,
                format!("keep `{l}` on that side, or remove it here"),
            ));
        }
    }
}

/// Classic histograms have their bounds in `le`; native ones need none, and their names do not end in `_bucket`.
fn quantile(s: &Subject<'_>, e: &Expr, out: &mut Vec<Finding>) {
    let ExprKind::Call(c) = &e.kind else { return };
    let Some(vector) = c.args.get(1) else { return };
    let selectors = vector.selectors();
    let classic =
        !selectors.is_empty() && selectors.iter().all(|v| v.name.as_deref().is_some_and(|n| n.ends_with("_bucket")));
    let has = of(vector);
    if classic && !has.allows("le") {
        out.push(Finding::new(
            s.place(vector.span),
            LINT,
            format!("`histogram_quantile` needs `le`, and its argument has {}", has.told()),
            "add `le` to `by (…)`",
        ));
    }
}
