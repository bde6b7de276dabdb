//! The syntax tree of PromQL: every form of Prometheus 3.14, experimental ones included.
//!
//! Invariant: every node knows its [`Span`]; parentheses are nodes, so that printing a tree and parsing it again gives
//! the same tree. Not here: what an expression evaluates to.

use belfry_model::Matcher;

use super::functions::Function;
use super::span::Span;

/// The type of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// A number without labels.
    Scalar,
    /// A text.
    String,
    /// An instant vector.
    Vector,
    /// A range vector.
    Matrix,
}

impl ValueType {
    /// As the documentation names it.
    pub fn documented(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
        }
    }

    /// As the HTTP API names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "vector",
            Self::Matrix => "matrix",
        }
    }
}

/// An expression and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// Where.
    pub span: Span,
    /// What.
    pub kind: ExprKind,
}

/// The forms of expressions.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// `1.5`, or `5m` for 300.
    Number(NumberLiteral),
    /// `"text"`.
    String(String),
    /// `up{job="x"}`.
    Vector(VectorSelector),
    /// `up[5m]`.
    Matrix(MatrixSelector),
    /// `up[1h:1m]`.
    Subquery(Box<Subquery>),
    /// `rate(…)`.
    Call(Call),
    /// `sum by (job) (…)`.
    Aggregate(Box<Aggregate>),
    /// `a + b`.
    Binary(Box<Binary>),
    /// `-a`.
    Unary(UnaryOp, Box<Expr>),
    /// `(a)`.
    Paren(Box<Expr>),
    /// Stands where an expression is missing; only in the tree of a text with errors.
    Missing,
}

/// A number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NumberLiteral {
    /// Seconds, if it was written as a duration.
    pub value: f64,
    /// Written as a duration.
    pub duration: bool,
}

/// `+` or `-` before an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnaryOp {
    /// `+`
    Plus,
    /// `-`
    Minus,
}

impl UnaryOp {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plus => "+",
            Self::Minus => "-",
        }
    }
}

/// The time of an `@` modifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum At {
    /// `@ 1609746000`, in milliseconds.
    Time(i64),
    /// `@ start()`
    Start,
    /// `@ end()`
    End,
}

/// Whether values at the edges of a range are made up from neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extended {
    /// `anchored`: the samples before the edges count as the values at the edges.
    Anchored,
    /// `smoothed`: values at the edges are interpolated.
    Smoothed,
}

/// What stands behind any selector.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Modifiers {
    /// `offset 5m`; absent for `offset 0`.
    pub offset: Option<DurationExpr>,
    /// `@ …`
    pub at: Option<At>,
}

/// Selects series; as an expression, their newest samples.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VectorSelector {
    /// The metric name before the braces.
    pub name: Option<String>,
    /// Those inside the braces, in their order.
    pub matchers: Vec<Matcher>,
    /// Behind it.
    pub modifiers: Modifiers,
    /// Behind it; has a meaning only with a range.
    pub extended: Option<Extended>,
    /// The braces need no condition: the second argument of `info`.
    pub may_be_empty: bool,
}

impl VectorSelector {
    /// All matchers, that of the metric name last, as Prometheus orders them.
    pub fn all_matchers(&self) -> Vec<Matcher> {
        let mut all = self.matchers.clone();
        if let Some(name) = &self.name {
            all.push(Matcher::equal(belfry_model::METRIC_NAME, name.clone()));
        }
        all
    }
}

/// Selects the samples of a window. Modifiers are those of `selector`.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixSelector {
    /// Of which series.
    pub selector: VectorSelector,
    /// Where the selector alone stands.
    pub selector_span: Span,
    /// Width of the window.
    pub range: DurationExpr,
}

/// An expression evaluated at many times.
#[derive(Clone, Debug, PartialEq)]
pub struct Subquery {
    /// What.
    pub expr: Expr,
    /// Width of the window.
    pub range: DurationExpr,
    /// Distance of the evaluations; the default interval where absent.
    pub step: Option<DurationExpr>,
    /// Behind it.
    pub modifiers: Modifiers,
}

/// A length of time that may be computed.
#[derive(Clone, Debug, PartialEq)]
pub struct DurationExpr {
    /// Where.
    pub span: Span,
    /// What.
    pub kind: DurationKind,
}

/// The forms of [`DurationExpr`].
#[derive(Clone, Debug, PartialEq)]
pub enum DurationKind {
    /// `5m`, `300`
    Literal(NumberLiteral),
    /// `step()`
    Step,
    /// `range()`
    Range,
    /// `min_of(a, b)`
    MinOf(Box<DurationExpr>, Box<DurationExpr>),
    /// `max_of(a, b)`
    MaxOf(Box<DurationExpr>, Box<DurationExpr>),
    /// `-a`
    Unary(UnaryOp, Box<DurationExpr>),
    /// `a * 2`
    Binary(BinaryOp, Box<DurationExpr>, Box<DurationExpr>),
    /// `(a)`
    Paren(Box<DurationExpr>),
}

/// A function with its arguments.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Which.
    pub function: Function,
    /// In order.
    pub args: Vec<Expr>,
}

/// Aggregation operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AggregateOp {
    /// `sum`
    Sum,
    /// `avg`
    Avg,
    /// `count`
    Count,
    /// `min`
    Min,
    /// `max`
    Max,
    /// `group`
    Group,
    /// `stddev`
    Stddev,
    /// `stdvar`
    Stdvar,
    /// `topk`
    Topk,
    /// `bottomk`
    Bottomk,
    /// `count_values`
    CountValues,
    /// `quantile`
    Quantile,
    /// `limitk`
    Limitk,
    /// `limit_ratio`
    LimitRatio,
}

const AGGREGATES: [(&str, AggregateOp); 14] = [
    ("sum", AggregateOp::Sum),
    ("avg", AggregateOp::Avg),
    ("count", AggregateOp::Count),
    ("min", AggregateOp::Min),
    ("max", AggregateOp::Max),
    ("group", AggregateOp::Group),
    ("stddev", AggregateOp::Stddev),
    ("stdvar", AggregateOp::Stdvar),
    ("topk", AggregateOp::Topk),
    ("bottomk", AggregateOp::Bottomk),
    ("count_values", AggregateOp::CountValues),
    ("quantile", AggregateOp::Quantile),
    ("limitk", AggregateOp::Limitk),
    ("limit_ratio", AggregateOp::LimitRatio),
];

impl AggregateOp {
    /// By its lower-case name.
    pub fn from_name(name: &str) -> Option<Self> {
        AGGREGATES.iter().find(|(n, _)| *n == name).map(|(_, op)| *op)
    }

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        AGGREGATES.iter().find(|(_, op)| *op == self).map_or("", |(n, _)| n)
    }

    /// The type of its parameter, if it takes one.
    pub fn parameter(self) -> Option<ValueType> {
        match self {
            Self::Topk | Self::Bottomk | Self::Quantile | Self::Limitk | Self::LimitRatio => Some(ValueType::Scalar),
            Self::CountValues => Some(ValueType::String),
            _ => None,
        }
    }
}

/// Labels that make groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grouping {
    /// All in one group.
    None,
    /// `by (…)`
    By(Vec<String>),
    /// `without (…)`
    Without(Vec<String>),
}

/// An aggregation.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// Which.
    pub op: AggregateOp,
    /// `k`, φ or a label name.
    pub param: Option<Expr>,
    /// Of what.
    pub expr: Expr,
    /// Into which groups.
    pub grouping: Grouping,
}

/// Operators between two expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
    /// `atan2`
    Atan2,
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `>`
    Gt,
    /// `<`
    Lt,
    /// `>=`
    Ge,
    /// `<=`
    Le,
    /// `</`: keeps the observations of a histogram below a bound.
    TrimUpper,
    /// `>/`: keeps the observations of a histogram above a bound.
    TrimLower,
    /// `and`
    And,
    /// `or`
    Or,
    /// `unless`
    Unless,
}

impl BinaryOp {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Atan2 => "atan2",
            Self::Eq => "==",
            Self::Ne => "!=",
            Self::Gt => ">",
            Self::Lt => "<",
            Self::Ge => ">=",
            Self::Le => "<=",
            Self::TrimUpper => "</",
            Self::TrimLower => ">/",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
        }
    }

    /// Filters, or gives 0 and 1 with `bool`.
    pub fn is_comparison(self) -> bool {
        matches!(self, Self::Eq | Self::Ne | Self::Gt | Self::Lt | Self::Ge | Self::Le)
    }

    /// Works on label sets, not on values.
    pub fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }

    /// Binds tighter the higher it is.
    pub fn precedence(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And | Self::Unless => 2,
            Self::Eq | Self::Ne | Self::Gt | Self::Lt | Self::Ge | Self::Le | Self::TrimUpper | Self::TrimLower => 3,
            Self::Add | Self::Sub => 4,
            Self::Mul | Self::Div | Self::Mod | Self::Atan2 => 5,
            Self::Pow => 6,
        }
    }
}

/// How many series of each side may meet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Cardinality {
    /// One of each.
    #[default]
    OneToOne,
    /// `group_left`
    ManyToOne,
    /// `group_right`
    OneToMany,
    /// Set operators.
    ManyToMany,
}

/// How the series of two vectors find each other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matching {
    /// How many.
    pub cardinality: Cardinality,
    /// `on` (true) or `ignoring` these labels.
    pub on: bool,
    /// The labels.
    pub labels: Vec<String>,
    /// Taken over from the "one" side.
    pub include: Vec<String>,
    /// Stands for a missing series on the left.
    pub fill_left: Option<f64>,
    /// Stands for a missing series on the right.
    pub fill_right: Option<f64>,
}

/// Two expressions and their operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    /// Which.
    pub op: BinaryOp,
    /// Where the operator stands.
    pub op_span: Span,
    /// Left.
    pub lhs: Expr,
    /// Right.
    pub rhs: Expr,
    /// Absent where one side is a scalar.
    pub matching: Option<Matching>,
    /// `bool`
    pub return_bool: bool,
}

impl Drop for Binary {
    /// Operators in a row lean to the left and may be many: they go in a loop, not one within the other.
    fn drop(&mut self) {
        let missing = || Expr { span: Span::default(), kind: ExprKind::Missing };
        let mut left = std::mem::replace(&mut self.lhs, missing());
        while let ExprKind::Binary(b) = &mut left.kind {
            left = std::mem::replace(&mut b.lhs, missing());
        }
    }
}

impl Expr {
    /// The type of its value; an error node counts as a vector.
    pub fn value_type(&self) -> ValueType {
        match &self.kind {
            ExprKind::Number(_) => ValueType::Scalar,
            ExprKind::String(_) => ValueType::String,
            ExprKind::Vector(_) | ExprKind::Aggregate(_) | ExprKind::Missing => ValueType::Vector,
            ExprKind::Matrix(_) | ExprKind::Subquery(_) => ValueType::Matrix,
            ExprKind::Call(c) => c.function.spec().returns,
            // Operators in a row lean to the left and may be many.
            ExprKind::Binary(first) => {
                let mut b = first;
                loop {
                    if b.rhs.value_type() != ValueType::Scalar {
                        return ValueType::Vector;
                    }
                    match &b.lhs.kind {
                        ExprKind::Binary(next) => b = next,
                        _ if b.lhs.value_type() == ValueType::Scalar => return ValueType::Scalar,
                        _ => return ValueType::Vector,
                    }
                }
            }
            ExprKind::Unary(_, e) | ExprKind::Paren(e) => e.value_type(),
        }
    }

    /// Without the parentheses around it.
    pub fn unwrap_parens(&self) -> &Expr {
        let mut e = self;
        while let ExprKind::Paren(inner) = &e.kind {
            e = inner;
        }
        e
    }

    /// Calls `f` for every expression in the tree, outer ones first.
    pub fn walk<'a>(&'a self, f: &mut impl FnMut(&'a Expr)) {
        f(self);
        // Operators in a row lean to the left and may be many.
        let (mut at, mut operators) = (self, Vec::new());
        while let ExprKind::Binary(b) = &at.kind {
            operators.push(&b.rhs);
            at = &b.lhs;
            f(at);
        }
        match &at.kind {
            ExprKind::Subquery(s) => s.expr.walk(f),
            ExprKind::Call(c) => c.args.iter().for_each(|a| a.walk(f)),
            ExprKind::Aggregate(a) => {
                if let Some(p) = &a.param {
                    p.walk(f);
                }
                a.expr.walk(f);
            }
            ExprKind::Unary(_, e) | ExprKind::Paren(e) => e.walk(f),
            ExprKind::Binary(_)
            | ExprKind::Number(_)
            | ExprKind::String(_)
            | ExprKind::Vector(_)
            | ExprKind::Matrix(_)
            | ExprKind::Missing => {}
        }
        operators.into_iter().rev().for_each(|rhs| rhs.walk(f));
    }

    /// The selectors of the tree, from left to right.
    pub fn selectors(&self) -> Vec<&VectorSelector> {
        let mut found = Vec::new();
        self.walk(&mut |e| match &e.kind {
            ExprKind::Vector(v) => found.push(v),
            ExprKind::Matrix(m) => found.push(&m.selector),
            _ => {}
        });
        found
    }
}
