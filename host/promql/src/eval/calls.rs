//! Functions over instant vectors and scalars.

use std::cmp::Ordering;

use belfry_model::Labels;

use super::memory::Held;
use super::select::Of;
use super::vector::{Cell, Column, Evaluated, Frame, OutSeries};
use super::{Evaluator, Result, labels_for_absent, range_calls};
use crate::QueryError;
use crate::names::{self, OfFunction};
use crate::plan::{Plan, PlanKind, Select};
use crate::syntax::functions::Function as F;

impl<'a> Evaluator<'a> {
    pub(super) fn call(&mut self, f: F, args: &[Plan], plan: &Plan, frame: Frame) -> Result<Evaluated> {
        if range_calls::takes_window(f) {
            let mut out = Held::default();
            self.stream_range_call(f, args, Vec::new(), frame, &mut |ev, s| out.push(ev, s, frame))?;
            return Ok(Evaluated::Vector(out.series));
        }
        let mut value = self.call_by_step(f, args, plan, frame)?;
        if let Evaluated::Vector(series) = &mut value
            && names::of_function(f) == OfFunction::Go
        {
            series.iter_mut().for_each(|s| s.drop_name = true);
        }
        Ok(value)
    }

    /// A function that takes no window.
    fn call_by_step(&mut self, f: F, args: &[Plan], plan: &Plan, frame: Frame) -> Result<Evaluated> {
        let times = || (0..frame.n).map(|i| frame.time(i) as f64 / 1000.0).collect::<Vec<f64>>();
        Ok(match f {
            F::Time => Evaluated::Scalar(times()),
            F::Pi => Evaluated::Scalar(vec![std::f64::consts::PI; frame.n]),
            F::MinOf | F::MaxOf => {
                let (a, b) = (self.scalar(&args[0], frame)?, self.scalar(&args[1], frame)?);
                let pick = |a: f64, b: f64| match f {
                    _ if a.is_nan() || b.is_nan() => f64::NAN,
                    F::MinOf => a.min(b),
                    _ => a.max(b),
                };
                Evaluated::Scalar(a.into_iter().zip(b).map(|(a, b)| pick(a, b)).collect())
            }
            F::Scalar => {
                let v = self.vector(&args[0], frame)?;
                let one = |i: usize| {
                    let mut floats = v.iter().filter_map(|s| s.column.get(i)?.float());
                    let first = floats.next();
                    first.filter(|_| floats.next().is_none()).unwrap_or(f64::NAN)
                };
                Evaluated::Scalar((0..frame.n).map(one).collect())
            }
            F::Vector => {
                let floats = self.scalar(&args[0], frame)?;
                Evaluated::Vector(vec![unlabelled(floats)])
            }
            F::Absent => {
                let v = self.vector(&args[0], frame)?;
                let mut column = Column::absent(frame.n);
                for i in 0..frame.n {
                    if !v.iter().any(|s| s.column.is_present(i)) {
                        column.floats[i] = 1.0;
                    }
                }
                let labels = labels_for_absent(&args[0], self.sources.selections);
                let out = OutSeries { labels, drop_name: false, column };
                Evaluated::Vector(if out.column.is_all_absent() { Vec::new() } else { vec![out] })
            }
            // What is computed was not started.
            F::StartTimestamp => match &args[0].kind {
                PlanKind::Select(s) => self.timestamps_held(s, frame, Of::Start)?,
                _ => Evaluated::Vector(Vec::new()),
            },
            F::Timestamp => match &args[0].kind {
                PlanKind::Select(s) if s.range == 0 => self.timestamps_held(s, frame, Of::Time)?,
                _ => {
                    let mut v = self.vector(&args[0], frame)?;
                    for s in &mut v {
                        for i in 0..frame.n {
                            if s.column.is_present(i) {
                                s.column.set(i, Cell::Float(frame.time(i) as f64 / 1000.0));
                            }
                        }
                    }
                    Evaluated::Vector(v)
                }
            },
            F::Sort | F::SortDesc | F::SortByLabel | F::SortByLabelDesc => {
                if self.is_range_query {
                    let text = "sort is ineffective for range queries since results are always ordered by labels";
                    self.notes.warn(plan.span, text);
                }
                self.sort(f, args, frame)?
            }
            F::LabelReplace => Evaluated::Vector(self.label_replace(args, frame)?),
            F::LabelJoin => Evaluated::Vector(self.label_join(args, frame)?),
            F::Info => Evaluated::Vector(self.info(args, frame)?),
            F::HistogramCount | F::HistogramSum | F::HistogramAvg | F::HistogramStddev | F::HistogramStdvar => {
                Evaluated::Vector(self.histogram_statistic(f, args, frame)?)
            }
            F::HistogramQuantile => Evaluated::Vector(self.histogram_quantile(args, frame)?),
            F::HistogramQuantiles => Evaluated::Vector(self.histogram_quantiles(args, frame)?),
            F::HistogramFraction => Evaluated::Vector(self.histogram_fraction(args, frame)?),
            F::DaysInMonth | F::DayOfMonth | F::DayOfWeek | F::DayOfYear | F::Hour | F::Minute | F::Month | F::Year => {
                let mut v = match args.first() {
                    Some(a) => self.vector(a, frame)?,
                    None => vec![unlabelled(times().into_iter().map(f64::floor).collect())],
                };
                self.map(&mut v, |_, t| date_part(f, t));
                Evaluated::Vector(v)
            }
            F::Clamp | F::ClampMax | F::ClampMin => {
                let mut v = self.vector(&args[0], frame)?;
                let (low, high) = match f {
                    F::Clamp => (self.scalar(&args[1], frame)?, self.scalar(&args[2], frame)?),
                    F::ClampMax => (vec![f64::NEG_INFINITY; frame.n], self.scalar(&args[1], frame)?),
                    _ => (self.scalar(&args[1], frame)?, vec![f64::INFINITY; frame.n]),
                };
                self.map(&mut v, |i, x| match (low[i], high[i]) {
                    (low, high) if high < low => super::ABSENT,
                    (low, high) if low.is_nan() || high.is_nan() || x.is_nan() => f64::NAN,
                    (low, high) => low.max(high.min(x)),
                });
                v.retain(|s| !s.column.is_all_absent());
                Evaluated::Vector(v)
            }
            F::Round => {
                let mut v = self.vector(&args[0], frame)?;
                let to = args.get(1).map_or(Ok(vec![1.0; frame.n]), |a| self.scalar(a, frame))?;
                self.map(&mut v, |i, x| {
                    // The inverse loses less.
                    let inverse = 1.0 / to[i];
                    (x * inverse + 0.5).floor() / inverse
                });
                Evaluated::Vector(v)
            }
            _ => {
                let Some(math) = math(f) else {
                    return Err(QueryError::Execution(format!("{} cannot be evaluated here", f.spec().name)));
                };
                let mut v = self.vector(&args[0], frame)?;
                self.map(&mut v, |_, x| math(x));
                Evaluated::Vector(v)
            }
        })
    }

    fn timestamps_held(&mut self, select: &Select, frame: Frame, of: Of) -> Result<Evaluated> {
        let mut out = Held::default();
        self.timestamps(select, frame, of, false, &mut |ev, s| out.push(ev, s, frame))?;
        Ok(Evaluated::Vector(out.series))
    }

    fn map(&self, v: &mut Vec<OutSeries>, f: impl Fn(usize, f64) -> f64) {
        for s in v.iter_mut() {
            s.column.map_floats(&f);
        }
        v.retain(|s| !s.column.is_all_absent());
    }

    fn sort(&mut self, f: F, args: &[Plan], frame: Frame) -> Result<Evaluated> {
        let names: Vec<String> = args[1..].iter().map(|a| self.string(a)).collect::<Result<_>>()?;
        let mut v = self.vector(&args[0], frame)?;
        if matches!(f, F::Sort | F::SortDesc) {
            // Histograms have no order.
            v.iter_mut().for_each(|s| s.column.histograms = Vec::new());
            v.retain(|s| !s.column.is_all_absent());
            let key = |s: &OutSeries| s.column.floats.first().copied().unwrap_or(f64::NAN);
            v.sort_by(|a, b| match (key(a), key(b)) {
                (x, y) if x.is_nan() || y.is_nan() => x.is_nan().cmp(&y.is_nan()),
                (x, y) if f == F::Sort => x.partial_cmp(&y).unwrap_or(Ordering::Equal),
                (x, y) => y.partial_cmp(&x).unwrap_or(Ordering::Equal),
            });
        } else {
            v.sort_by(|a, b| {
                let by_names =
                    names.iter().map(|n| natural(a.labels.get(n).unwrap_or(""), b.labels.get(n).unwrap_or("")));
                let order = by_names.fold(Ordering::Equal, Ordering::then).then_with(|| a.labels.cmp(&b.labels));
                if f == F::SortByLabel { order } else { order.reverse() }
            });
        }
        Ok(Evaluated::Vector(v))
    }
}

fn unlabelled(floats: Vec<f64>) -> OutSeries {
    OutSeries { labels: Labels::empty(), drop_name: false, column: Column { floats, histograms: Vec::new() } }
}

/// Numbers within texts by their value: `a2` before `a10`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        match (a.is_empty(), b.is_empty()) {
            (true, true) => return Ordering::Equal,
            (true, false) => return Ordering::Less,
            (false, true) => return Ordering::Greater,
            (false, false) => {}
        }
        let ((x, rest_a), (y, rest_b)) = (chunk(a), chunk(b));
        let order = match (x.parse::<u64>(), y.parse::<u64>()) {
            (Ok(x), Ok(y)) => x.cmp(&y),
            _ => x.cmp(y),
        };
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
}

fn chunk(s: &str) -> (&str, &str) {
    let digits = s.starts_with(|c: char| c.is_ascii_digit());
    s.split_at(s.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(s.len()))
}

/// From here on what is beside the logarithm rounds away.
const HYPERBOLIC_LARGE: f64 = (1 << 28) as f64;

/// As FreeBSD's `s_asinh.c` and Go compute it: where squares would overflow, too.
fn asinh(v: f64) -> f64 {
    let x = v.abs();
    if v.is_nan() || v.is_infinite() || x < 1.0 / HYPERBOLIC_LARGE {
        return v;
    }
    let y = if x > HYPERBOLIC_LARGE {
        x.ln() + std::f64::consts::LN_2
    } else if x > 2.0 {
        (2.0 * x + 1.0 / ((x * x + 1.0).sqrt() + x)).ln()
    } else {
        (x + x * x / (1.0 + (1.0 + x * x).sqrt())).ln_1p()
    };
    y.copysign(v)
}

/// As FreeBSD's `e_acosh.c` and Go compute it.
fn acosh(x: f64) -> f64 {
    if x < 1.0 || x.is_nan() {
        f64::NAN
    } else if x >= HYPERBOLIC_LARGE {
        x.ln() + std::f64::consts::LN_2
    } else if x > 2.0 {
        (2.0 * x - 1.0 / (x + (x * x - 1.0).sqrt())).ln()
    } else {
        let t = x - 1.0;
        (t + (2.0 * t + t * t).sqrt()).ln_1p()
    }
}

fn math(f: F) -> Option<fn(f64) -> f64> {
    Some(match f {
        F::Abs => f64::abs,
        F::Acos => f64::acos,
        F::Acosh => acosh,
        F::Asin => f64::asin,
        F::Asinh => asinh,
        F::Atan => f64::atan,
        F::Atanh => f64::atanh,
        F::Ceil => f64::ceil,
        F::Cos => f64::cos,
        F::Cosh => f64::cosh,
        F::Deg => |v| v * 180.0 / std::f64::consts::PI,
        F::Exp => f64::exp,
        F::Floor => f64::floor,
        F::Ln => f64::ln,
        F::Log10 => f64::log10,
        F::Log2 => f64::log2,
        F::Rad => |v| v * std::f64::consts::PI / 180.0,
        F::Sgn => |v| {
            if v < 0.0 {
                -1.0
            } else if v > 0.0 {
                1.0
            } else {
                v
            }
        },
        F::Sin => f64::sin,
        F::Sinh => f64::sinh,
        F::Sqrt => f64::sqrt,
        F::Tan => f64::tan,
        F::Tanh => f64::tanh,
        _ => return None,
    })
}

fn leap(y: i64) -> bool {
    y % 4 == 0 && (y % 100 != 0 || y % 400 == 0)
}

fn days_in_month(y: i64, m: i64) -> i64 {
    match m {
        2 if leap(y) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Year, month and day of a day since 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn civil(day: i64) -> (i64, i64, i64) {
    let z = day + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let m = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(m <= 2), m, doy - (153 * mp + 2) / 5 + 1)
}

/// A part of the date of a time in seconds since the epoch, in UTC.
fn date_part(f: F, seconds: f64) -> f64 {
    // Far beyond any calendar the sum would overflow.
    let seconds = (seconds as i64).clamp(-(1 << 55), 1 << 55);
    let (day, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (y, m, d) = civil(day);
    let v = match f {
        F::Year => y,
        F::Month => m,
        F::DayOfMonth => d,
        F::DaysInMonth => days_in_month(y, m),
        F::DayOfYear => (1..m).map(|m| days_in_month(y, m)).sum::<i64>() + d,
        F::DayOfWeek => (day + 4).rem_euclid(7),
        F::Hour => second / 3600,
        _ => second / 60 % 60,
    };
    v as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Go's `math` gives them.
    #[test]
    fn inverse_hyperbolic_functions_of_huge_numbers_are_finite() {
        for (of, v, want) in [
            (asinh as fn(f64) -> f64, 1.7e308, 710.4199840737881),
            (asinh, -1.7e308, -710.4199840737881),
            (acosh, 1.7e308, 710.4199840737881),
            (asinh, -0.0, -0.0),
            (asinh, f64::INFINITY, f64::INFINITY),
            (acosh, 1.0, 0.0),
            (acosh, f64::INFINITY, f64::INFINITY),
        ] {
            assert_eq!(of(v).to_bits(), want.to_bits(), "{v}: {}", of(v));
        }
        assert!(acosh(0.5).is_nan() && asinh(f64::NAN).is_nan() && acosh(f64::NAN).is_nan());
        for v in [1e-9, 1e-3, 0.7, 1.5, 3.0, 1e5] {
            assert!((asinh(v) / v.asinh() - 1.0).abs() < 1e-14, "{v}");
            assert!((acosh(1.0 + v) / (1.0 + v).acosh() - 1.0).abs() < 1e-7, "{v}");
        }
    }
}
