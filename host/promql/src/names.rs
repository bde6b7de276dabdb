//! Which series of a value have a metric name, by PromQL's rules: what the evaluator does, and what can be said of an
//! expression before anything is read.
//!
//! Invariant: the evaluator takes names by [`of_function`] and [`changes_schema`], so the two cannot differ.
//! Not here: taking the name off, which is done once the query is (`eval`).

use belfry_model::METRIC_NAME;

use crate::plan::{AggregatePlan, BinaryPlan, Plan, PlanKind};
use crate::syntax::ast::{AggregateOp, BinaryOp, Cardinality, Grouping, ValueType};
use crate::syntax::functions::Function as F;

/// What a function does with the names of the series that it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OfFunction {
    /// They stay, or are changed as any other label.
    Stay,
    /// They go.
    Go,
    /// Its series are its own and have none, or it gives no series.
    Own,
}

/// What `f` does with names.
pub(crate) fn of_function(f: F) -> OfFunction {
    match f {
        F::FirstOverTime | F::LastOverTime => OfFunction::Stay,
        F::Info | F::LabelJoin | F::LabelReplace => OfFunction::Stay,
        F::Sort | F::SortByLabel | F::SortByLabelDesc | F::SortDesc => OfFunction::Stay,
        F::Absent | F::AbsentOverTime | F::Vector => OfFunction::Own,
        f if f.spec().returns == ValueType::Scalar => OfFunction::Own,
        _ => OfFunction::Go,
    }
}

/// What is computed is of another kind than its operands: their names go.
pub(crate) fn changes_schema(op: BinaryOp) -> bool {
    use BinaryOp as Op;
    matches!(op, Op::Add | Op::Sub | Op::Div | Op::Mul | Op::Pow | Op::Mod | Op::Atan2)
}

/// Which series of an expression's value have a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// Those that had one have it still.
    Kept,
    /// None has one.
    None,
    /// Some had one that is gone, and others may have theirs, or something looks at names that are gone. Who does not take
    /// them where PromQL does (VictoriaMetrics) answers something else.
    Mixed,
}

/// Of the value of a part.
#[derive(Clone, Copy, Default)]
struct Part {
    /// Series may have a name.
    kept: bool,
    /// Series may have had one that is gone.
    gone: bool,
}

impl Part {
    const NAMED: Self = Self { kept: true, gone: false };
    const NAMELESS: Self = Self { kept: false, gone: false };

    fn and(self, other: Self) -> Self {
        Self { kept: self.kept || other.kept, gone: self.gone || other.gone }
    }

    fn without(self) -> Self {
        Self { kept: false, gone: self.kept || self.gone }
    }
}

/// Looks through a plan.
#[derive(Default)]
struct Look {
    /// Something looks at names that are gone.
    misses: bool,
}

/// Which series of the value of `plan` have a name.
pub(crate) fn of(plan: &Plan) -> Names {
    let mut look = Look::default();
    let Part { kept, gone } = look.part(plan);
    match (kept, gone) {
        _ if look.misses => Names::Mixed,
        (true, true) => Names::Mixed,
        (true, false) => Names::Kept,
        (false, _) => Names::None,
    }
}

impl Look {
    fn part(&mut self, plan: &Plan) -> Part {
        // Operators in a row lean to the left and may be many.
        let (mut at, mut operators) = (plan, Vec::new());
        while let PlanKind::Binary(b) = &at.kind {
            operators.push(b);
            at = &b.lhs;
        }
        let first = match &at.kind {
            PlanKind::Select(_) => Part::NAMED,
            PlanKind::Subquery(s) => self.part(&s.expr),
            PlanKind::Negate(inner) => self.part(inner).without(),
            PlanKind::Call(f, args) => self.call(*f, args),
            PlanKind::Aggregate(a) => self.aggregate(a),
            PlanKind::Number(_) | PlanKind::String(_) | PlanKind::Binary(_) => Part::NAMELESS,
        };
        operators.into_iter().rev().fold(first, |lhs, b| {
            let rhs = self.part(&b.rhs);
            self.binary(b, lhs, rhs)
        })
    }

    /// Names are looked at.
    fn read(&mut self, part: Part) {
        self.misses |= part.gone;
    }

    fn call(&mut self, f: F, args: &[Plan]) -> Part {
        let mut of = Part::NAMELESS;
        for (i, arg) in args.iter().enumerate() {
            let part = self.part(arg);
            // Of what `info` joins only labels are taken.
            if matches!(arg.value_type, ValueType::Vector | ValueType::Matrix) && (f != F::Info || i == 0) {
                of = of.and(part);
            }
        }
        let is_named = |from: usize| args.iter().skip(from).any(is_name);
        let reads = match f {
            F::LabelReplace | F::LabelJoin => is_named(3),
            F::SortByLabel | F::SortByLabelDesc => is_named(1),
            _ => false,
        };
        if reads {
            self.read(of);
        }
        if matches!(f, F::LabelReplace | F::LabelJoin) {
            of.kept |= args.get(1).is_some_and(is_name);
        }
        match of_function(f) {
            OfFunction::Stay => of,
            OfFunction::Go => of.without(),
            OfFunction::Own => Part::NAMELESS,
        }
    }

    fn aggregate(&mut self, a: &AggregatePlan) -> Part {
        use AggregateOp as Op;
        if let Some(param) = &a.param {
            self.part(param);
        }
        let of = self.part(&a.expr);
        let by_name = matches!(&a.grouping, Grouping::By(names) if names.iter().any(|n| n == METRIC_NAME));
        if by_name {
            self.read(of);
        }
        match a.op {
            Op::Topk | Op::Bottomk | Op::Limitk | Op::LimitRatio => of,
            _ if by_name => of,
            // The name is never among the labels that `without` leaves.
            Op::CountValues if a.param.as_ref().is_some_and(is_name) && !matches!(a.grouping, Grouping::Without(_)) => {
                Part::NAMED
            }
            _ => Part::NAMELESS,
        }
    }

    fn binary(&mut self, b: &BinaryPlan, lhs: Part, rhs: Part) -> Part {
        if b.is_with_scalar() {
            let of = if b.lhs.value_type == ValueType::Scalar { rhs } else { lhs };
            return if changes_schema(b.op) || b.return_bool { of.without() } else { of };
        }
        let m = &b.matching;
        let names_it = |labels: &[String]| labels.iter().any(|l| l == METRIC_NAME);
        if m.on && names_it(&m.labels) {
            self.read(lhs);
            self.read(rhs);
        }
        if b.op.is_set() {
            return if b.op == BinaryOp::Or { lhs.and(rhs) } else { lhs };
        }
        let (many, one) = if m.cardinality == Cardinality::OneToMany { (rhs, lhs) } else { (lhs, rhs) };
        let changes = changes_schema(b.op);
        if names_it(&m.include) {
            self.read(one);
            // It takes the place of the other one.
            let of = Part { gone: one.gone || many.gone && !changes, ..one };
            return if b.return_bool { of.without() } else { of };
        }
        let is_left_out = m.cardinality == Cardinality::OneToOne && m.on != names_it(&m.labels);
        if changes || b.return_bool || is_left_out { many.without() } else { many }
    }
}

fn is_name(plan: &Plan) -> bool {
    matches!(&plan.kind, PlanKind::String(s) if s == METRIC_NAME)
}
