//! Which values an expression can have.
//!
//! Invariant: every value that is not NaN lies within the bounds; an expression that is `Empty` has none.

use belfry_promql::syntax::ast::{AggregateOp, BinaryOp, Call, Expr, ExprKind, UnaryOp};
use belfry_promql::syntax::functions::Function as F;

/// A closed interval; open ends are wider than they need be, which is sound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bounds {
    pub low: f64,
    pub high: f64,
    /// Neither end is attained for sure: `x > 5` is above 5, not at it.
    pub low_open: bool,
    pub high_open: bool,
}

impl Bounds {
    pub const ANY: Self = Self::new(f64::NEG_INFINITY, f64::INFINITY);

    pub const fn new(low: f64, high: f64) -> Self {
        Self { low, high, low_open: false, high_open: false }
    }

    pub fn is_empty(self) -> bool {
        self.low > self.high || (self.low == self.high && (self.low_open || self.high_open))
    }

    pub fn meet(self, other: Self) -> Self {
        let (low, low_open) = match self.low.total_cmp(&other.low) {
            std::cmp::Ordering::Greater => (self.low, self.low_open),
            std::cmp::Ordering::Less => (other.low, other.low_open),
            std::cmp::Ordering::Equal => (self.low, self.low_open || other.low_open),
        };
        let (high, high_open) = match self.high.total_cmp(&other.high) {
            std::cmp::Ordering::Less => (self.high, self.high_open),
            std::cmp::Ordering::Greater => (other.high, other.high_open),
            std::cmp::Ordering::Equal => (self.high, self.high_open || other.high_open),
        };
        Self { low, high, low_open, high_open }
    }

    fn hull(self, other: Self) -> Self {
        Self::new(self.low.min(other.low), self.high.max(other.high))
    }

    /// The values left of `self op x` that can be there for some `x` within `right`.
    pub fn satisfying(self, op: BinaryOp, right: Self) -> Self {
        let open = |low_open, high_open, b: Self| Self {
            low_open: b.low_open || low_open,
            high_open: b.high_open || high_open,
            ..b
        };
        let below = |strict| open(false, strict || right.high_open, Self::new(f64::NEG_INFINITY, right.high));
        let above = |strict| open(strict || right.low_open, false, Self::new(right.low, f64::INFINITY));
        match op {
            BinaryOp::Gt => self.meet(above(true)),
            BinaryOp::Ge => self.meet(above(false)),
            BinaryOp::Lt => self.meet(below(true)),
            BinaryOp::Le => self.meet(below(false)),
            BinaryOp::Eq => self.meet(right),
            _ => self,
        }
    }
}

impl std::fmt::Display for Bounds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.low, self.high) {
            (l, h) if l == h => write!(f, "always {l}"),
            (f64::NEG_INFINITY, h) => write!(f, "{} {h}", if self.high_open { "below" } else { "at most" }),
            (l, f64::INFINITY) => write!(f, "{} {l}", if self.low_open { "above" } else { "at least" }),
            (l, h) => write!(f, "between {l} and {h}"),
        }
    }
}

/// The bounds of `e`.
pub(crate) fn of(e: &Expr) -> Bounds {
    match &e.kind {
        ExprKind::Number(n) if !n.value.is_nan() => Bounds::new(n.value, n.value),
        ExprKind::Paren(inner) => of(inner),
        ExprKind::Unary(UnaryOp::Plus, inner) => of(inner),
        ExprKind::Unary(UnaryOp::Minus, inner) => {
            let b = of(inner);
            Bounds { low: -b.high, high: -b.low, low_open: b.high_open, high_open: b.low_open }
        }
        // Written by whatever scrapes: 1 when that worked, 0 when not.
        ExprKind::Vector(v) if v.all_matchers().iter().any(is_up) => Bounds::new(0.0, 1.0),
        ExprKind::Call(c) => call(c),
        ExprKind::Aggregate(a) => match a.op {
            AggregateOp::Count | AggregateOp::CountValues => Bounds::new(1.0, f64::INFINITY),
            AggregateOp::Group => Bounds::new(1.0, 1.0),
            AggregateOp::Stddev | AggregateOp::Stdvar => Bounds::new(0.0, f64::INFINITY),
            AggregateOp::Min | AggregateOp::Max | AggregateOp::Topk | AggregateOp::Bottomk => of(&a.expr),
            AggregateOp::Limitk | AggregateOp::LimitRatio => of(&a.expr),
            // A mean lies between the extremes; rounding may carry it past them by less than anyone writes.
            AggregateOp::Avg => closed(of(&a.expr)),
            AggregateOp::Sum => {
                let b = of(&a.expr);
                Bounds::new(
                    if b.low >= 0.0 { b.low } else { f64::NEG_INFINITY },
                    if b.high <= 0.0 { b.high } else { f64::INFINITY },
                )
            }
            AggregateOp::Quantile => Bounds::ANY,
        },
        ExprKind::Binary(b) => {
            if b.return_bool {
                return Bounds::new(0.0, 1.0);
            }
            let (l, r) = (of(&b.lhs), of(&b.rhs));
            match b.op {
                op if op.is_comparison() => {
                    let scalar_left =
                        b.matching.is_none() && b.rhs.value_type() != b.lhs.value_type() && is_scalar(&b.lhs);
                    if scalar_left { r.satisfying(mirrored(op), l) } else { l.satisfying(op, r) }
                }
                BinaryOp::And | BinaryOp::Unless => l,
                BinaryOp::Or => l.hull(r),
                BinaryOp::Add => finite(Bounds::new(l.low + r.low, l.high + r.high)),
                BinaryOp::Sub => finite(Bounds::new(l.low - r.high, l.high - r.low)),
                BinaryOp::Mul => product(l, r),
                // With a divisor that is a constant other than 0.
                BinaryOp::Div if r.low == r.high && r.low != 0.0 && r.low.is_finite() => {
                    product(l, Bounds::new(1.0 / r.low, 1.0 / r.low))
                }
                _ => Bounds::ANY,
            }
        }
        _ => Bounds::ANY,
    }
}

fn is_up(m: &belfry_model::Matcher) -> bool {
    m.name() == belfry_model::METRIC_NAME && m.op() == belfry_model::MatchOp::Equal && m.value() == "up"
}

fn is_scalar(e: &Expr) -> bool {
    e.value_type() == belfry_promql::ValueType::Scalar
}

/// `5 < x` is `x > 5`.
pub(crate) fn mirrored(op: BinaryOp) -> BinaryOp {
    match op {
        BinaryOp::Gt => BinaryOp::Lt,
        BinaryOp::Lt => BinaryOp::Gt,
        BinaryOp::Ge => BinaryOp::Le,
        BinaryOp::Le => BinaryOp::Ge,
        op => op,
    }
}

/// Arithmetic rounds; what is a hair outside must count as inside. Infinite ends of both signs make NaN.
fn finite(b: Bounds) -> Bounds {
    let widen =
        |v: f64, by: f64| if v.is_finite() && v != 0.0 && v.fract() != 0.0 { v + by * v.abs() * 1e-9 } else { v };
    Bounds::new(
        if b.low.is_nan() { f64::NEG_INFINITY } else { widen(b.low, -1.0) },
        if b.high.is_nan() { f64::INFINITY } else { widen(b.high, 1.0) },
    )
}

fn product(l: Bounds, r: Bounds) -> Bounds {
    let ends = [l.low * r.low, l.low * r.high, l.high * r.low, l.high * r.high];
    if ends.iter().any(|v| v.is_nan()) {
        // 0 times an unbounded end: the sign is all that is left.
        return if l.low >= 0.0 && r.low >= 0.0 { Bounds::new(0.0, f64::INFINITY) } else { Bounds::ANY };
    }
    finite(Bounds::new(
        ends.iter().copied().fold(f64::INFINITY, f64::min),
        ends.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    ))
}

fn closed(b: Bounds) -> Bounds {
    finite(Bounds::new(b.low, b.high))
}

fn call(c: &Call) -> Bounds {
    const POSITIVE: Bounds = Bounds::new(0.0, f64::INFINITY);
    let arg = |i: usize| c.args.get(i).map_or(Bounds::ANY, of);
    match c.function {
        F::Absent | F::AbsentOverTime | F::PresentOverTime => Bounds::new(1.0, 1.0),
        F::Abs | F::Sqrt | F::Exp | F::Changes | F::Resets | F::StddevOverTime | F::StdvarOverTime => POSITIVE,
        F::MadOverTime | F::HistogramStddev | F::HistogramStdvar => POSITIVE,
        F::CountOverTime => Bounds::new(1.0, f64::INFINITY),
        F::Sgn | F::Sin | F::Cos | F::Tanh => Bounds::new(-1.0, 1.0),
        F::Hour => Bounds::new(0.0, 23.0),
        F::Minute => Bounds::new(0.0, 59.0),
        F::DayOfWeek => Bounds::new(0.0, 6.0),
        F::DayOfMonth => Bounds::new(1.0, 31.0),
        F::DayOfYear => Bounds::new(1.0, 366.0),
        F::DaysInMonth => Bounds::new(28.0, 31.0),
        F::Month => Bounds::new(1.0, 12.0),
        F::HistogramFraction => Bounds::new(0.0, 1.0),
        F::Vector | F::Sort | F::SortDesc | F::SortByLabel | F::SortByLabelDesc | F::LabelReplace | F::LabelJoin => {
            arg(0)
        }
        F::ClampMin => arg(0).meet_low(arg(1).low),
        F::ClampMax => arg(0).meet_high(arg(1).high),
        F::Clamp => arg(0).meet_low(arg(1).low).meet_high(arg(2).high),
        F::LastOverTime | F::FirstOverTime | F::MinOverTime | F::MaxOverTime => match c.args.first().map(|a| &a.kind) {
            Some(ExprKind::Matrix(m)) if m.selector.all_matchers().iter().any(is_up) => Bounds::new(0.0, 1.0),
            Some(ExprKind::Subquery(s)) => of(&s.expr),
            _ => Bounds::ANY,
        },
        F::AvgOverTime => match c.args.first().map(|a| &a.kind) {
            Some(ExprKind::Matrix(m)) if m.selector.all_matchers().iter().any(is_up) => Bounds::new(0.0, 1.0),
            _ => Bounds::ANY,
        },
        _ => Bounds::ANY,
    }
}

impl Bounds {
    /// Values below `low` become `low`.
    fn meet_low(self, low: f64) -> Self {
        if low.is_nan() { Self::ANY } else { Self::new(self.low.max(low), self.high.max(low)) }
    }

    fn meet_high(self, high: f64) -> Self {
        if high.is_nan() { Self::ANY } else { Self::new(self.low.min(high), self.high.min(high)) }
    }
}
