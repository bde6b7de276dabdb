//! The functions of PromQL and the types of their arguments.

use super::ast::ValueType;
use ValueType::{Matrix as M, Scalar as S, String as T, Vector as V};

/// What the type checker knows of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionSpec {
    /// As it is written.
    pub name: &'static str,
    /// Types of its arguments.
    pub args: &'static [ValueType],
    /// How often the last argument may stand beyond once; it may also be left out. 0: exactly once; -1: any number.
    pub variadic: i8,
    /// Type of its value.
    pub returns: ValueType,
}

macro_rules! functions {
    ($($(#[$doc:meta])* $variant:ident $name:literal [$($arg:ident)*] $variadic:literal -> $ret:ident,)*) => {
        /// A function of PromQL.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Function {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl Function {
            /// All there are.
            pub const ALL: &'static [Function] = &[$(Function::$variant,)*];

            /// Its name and types.
            pub fn spec(self) -> &'static FunctionSpec {
                match self {
                    $(Function::$variant => {
                        const SPEC: FunctionSpec =
                            FunctionSpec { name: $name, args: &[$($arg),*], variadic: $variadic, returns: $ret };
                        &SPEC
                    })*
                }
            }

            /// By its name; case matters.
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Function::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

functions! {
    Abs "abs" [V] 0 -> V,
    Absent "absent" [V] 0 -> V,
    AbsentOverTime "absent_over_time" [M] 0 -> V,
    Acos "acos" [V] 0 -> V,
    Acosh "acosh" [V] 0 -> V,
    Asin "asin" [V] 0 -> V,
    Asinh "asinh" [V] 0 -> V,
    Atan "atan" [V] 0 -> V,
    Atanh "atanh" [V] 0 -> V,
    AvgOverTime "avg_over_time" [M] 0 -> V,
    Ceil "ceil" [V] 0 -> V,
    Changes "changes" [M] 0 -> V,
    Clamp "clamp" [V S S] 0 -> V,
    ClampMax "clamp_max" [V S] 0 -> V,
    ClampMin "clamp_min" [V S] 0 -> V,
    Cos "cos" [V] 0 -> V,
    Cosh "cosh" [V] 0 -> V,
    CountOverTime "count_over_time" [M] 0 -> V,
    DaysInMonth "days_in_month" [V] 1 -> V,
    DayOfMonth "day_of_month" [V] 1 -> V,
    DayOfWeek "day_of_week" [V] 1 -> V,
    DayOfYear "day_of_year" [V] 1 -> V,
    Deg "deg" [V] 0 -> V,
    Delta "delta" [M] 0 -> V,
    Deriv "deriv" [M] 0 -> V,
    DoubleExponentialSmoothing "double_exponential_smoothing" [M S S] 0 -> V,
    End "end" [] 0 -> S,
    Exp "exp" [V] 0 -> V,
    FirstOverTime "first_over_time" [M] 0 -> V,
    Floor "floor" [V] 0 -> V,
    HistogramAvg "histogram_avg" [V] 0 -> V,
    HistogramCount "histogram_count" [V] 0 -> V,
    HistogramFraction "histogram_fraction" [S S V] 0 -> V,
    HistogramQuantile "histogram_quantile" [S V] 0 -> V,
    HistogramQuantiles "histogram_quantiles" [V T S S] 9 -> V,
    HistogramStddev "histogram_stddev" [V] 0 -> V,
    HistogramStdvar "histogram_stdvar" [V] 0 -> V,
    HistogramSum "histogram_sum" [V] 0 -> V,
    Hour "hour" [V] 1 -> V,
    Idelta "idelta" [M] 0 -> V,
    Increase "increase" [M] 0 -> V,
    Info "info" [V V] 1 -> V,
    Irate "irate" [M] 0 -> V,
    LabelJoin "label_join" [V T T T] -1 -> V,
    LabelReplace "label_replace" [V T T T T] 0 -> V,
    LastOverTime "last_over_time" [M] 0 -> V,
    Ln "ln" [V] 0 -> V,
    Log10 "log10" [V] 0 -> V,
    Log2 "log2" [V] 0 -> V,
    MadOverTime "mad_over_time" [M] 0 -> V,
    MaxOf "max_of" [S S] 0 -> S,
    MaxOverTime "max_over_time" [M] 0 -> V,
    MinOf "min_of" [S S] 0 -> S,
    MinOverTime "min_over_time" [M] 0 -> V,
    Minute "minute" [V] 1 -> V,
    Month "month" [V] 1 -> V,
    Pi "pi" [] 0 -> S,
    PredictLinear "predict_linear" [M S] 0 -> V,
    PresentOverTime "present_over_time" [M] 0 -> V,
    QuantileOverTime "quantile_over_time" [S M] 0 -> V,
    Rad "rad" [V] 0 -> V,
    Range "range" [] 0 -> S,
    Rate "rate" [M] 0 -> V,
    Resets "resets" [M] 0 -> V,
    Round "round" [V S] 1 -> V,
    Scalar "scalar" [V] 0 -> S,
    Sgn "sgn" [V] 0 -> V,
    Sin "sin" [V] 0 -> V,
    Sinh "sinh" [V] 0 -> V,
    Sort "sort" [V] 0 -> V,
    SortByLabel "sort_by_label" [V T] -1 -> V,
    SortByLabelDesc "sort_by_label_desc" [V T] -1 -> V,
    SortDesc "sort_desc" [V] 0 -> V,
    Sqrt "sqrt" [V] 0 -> V,
    Start "start" [] 0 -> S,
    StartTimestamp "start_timestamp" [V] 0 -> V,
    StddevOverTime "stddev_over_time" [M] 0 -> V,
    StdvarOverTime "stdvar_over_time" [M] 0 -> V,
    Step "step" [] 0 -> S,
    SumOverTime "sum_over_time" [M] 0 -> V,
    Tan "tan" [V] 0 -> V,
    Tanh "tanh" [V] 0 -> V,
    Time "time" [] 0 -> S,
    Timestamp "timestamp" [V] 0 -> V,
    TsOfFirstOverTime "ts_of_first_over_time" [M] 0 -> V,
    TsOfLastOverTime "ts_of_last_over_time" [M] 0 -> V,
    TsOfMaxOverTime "ts_of_max_over_time" [M] 0 -> V,
    TsOfMinOverTime "ts_of_min_over_time" [M] 0 -> V,
    Vector "vector" [S] 0 -> V,
    Year "year" [V] 1 -> V,
}
