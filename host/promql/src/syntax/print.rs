//! Tree → text. Printing and parsing again gives the same tree; long expressions are broken into lines as promtool does.

use std::fmt::{self, Write};

use belfry_model::duration::format_duration;
use belfry_model::labels::is_legacy_name;

use super::ast::{
    Aggregate, At, Binary, BinaryOp, Cardinality, DurationExpr, DurationKind, Expr, ExprKind, Extended, Grouping,
    Modifiers, NumberLiteral, VectorSelector,
};
use super::quote::quote;

/// Longer lines are broken. Counted as promtool counts: in bytes, without the indent.
const LINE_BYTES_MAX: usize = 100;

/// A number as PromQL writes it: the shortest text that is read back the same, without an exponent.
pub fn number(v: f64) -> String {
    if v.is_nan() {
        "NaN".to_owned()
    } else if v.is_infinite() {
        if v > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        // Where two texts of the shortest length are as near as each other, Go takes the even one; Rust's own does not.
        fixed(zmij::Buffer::new().format_finite(v))
    }
}

/// `1.5e-7` without its exponent.
fn fixed(text: &str) -> String {
    let Some((mantissa, exponent)) = text.split_once('e') else {
        return text.strip_suffix(".0").unwrap_or(text).to_owned();
    };
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |m| ("-", m));
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{}", part.trim_end_matches('0'));
    // Of the digits so many stand before the point.
    let before = whole.len() as i64 + exponent.parse::<i64>().unwrap_or(0);
    match usize::try_from(before) {
        Err(_) | Ok(0) => format!("{sign}0.{}{digits}", "0".repeat(before.unsigned_abs() as usize)),
        Ok(before) if before >= digits.len() => format!("{sign}{digits}{}", "0".repeat(before - digits.len())),
        Ok(before) => format!("{sign}{}.{}", &digits[..before], &digits[before..]),
    }
}

fn literal(n: NumberLiteral) -> String {
    let ms = (n.value * 1000.0).abs().round();
    if n.duration && ms < 9.2e15 && (ms / 1000.0) == n.value.abs() {
        let sign = if n.value < 0.0 { "-" } else { "" };
        format!("{sign}{}", format_duration(std::time::Duration::from_millis(ms as u64)))
    } else {
        number(n.value)
    }
}

fn names(list: &[String]) -> String {
    let name = |n: &String| if is_legacy_name(n) { n.clone() } else { quote(n) };
    list.iter().map(name).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for DurationExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            DurationKind::Literal(n) => f.write_str(&literal(*n)),
            DurationKind::Step => f.write_str("step()"),
            DurationKind::Range => f.write_str("range()"),
            DurationKind::MinOf(a, b) => write!(f, "min_of({a}, {b})"),
            DurationKind::MaxOf(a, b) => write!(f, "max_of({a}, {b})"),
            DurationKind::Unary(op, d) => write!(f, "{}{d}", op.as_str()),
            DurationKind::Binary(op, a, b) => write!(f, "{a} {} {b}", op.as_str()),
            DurationKind::Paren(d) => write!(f, "({d})"),
        }
    }
}

impl fmt::Display for Modifiers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(At::Time(ms)) => {
                let sign = if ms < 0 { "-" } else { "" };
                write!(f, " @ {sign}{}.{:03}", ms.unsigned_abs() / 1000, ms.unsigned_abs() % 1000)?;
            }
            Some(At::Start) => f.write_str(" @ start()")?,
            Some(At::End) => f.write_str(" @ end()")?,
            None => {}
        }
        match &self.offset {
            Some(d) => write!(f, " offset {d}"),
            None => Ok(()),
        }
    }
}

fn selector_body(v: &VectorSelector) -> String {
    let mut out = v.name.clone().unwrap_or_default();
    let mut matchers: Vec<String> = v
        .matchers
        .iter()
        .map(|m| {
            let name = if is_legacy_name(m.name()) { m.name().to_owned() } else { quote(m.name()) };
            format!("{name}{}{}", m.op().as_str(), quote(m.value()))
        })
        .collect();
    // A name in the braces may read better outside, but then printing would change the tree.
    matchers.sort();
    if !matchers.is_empty() || v.name.is_none() {
        let _ = write!(out, "{{{}}}", matchers.join(","));
    }
    out
}

fn extended(e: Option<Extended>) -> &'static str {
    match e {
        Some(Extended::Anchored) => " anchored",
        Some(Extended::Smoothed) => " smoothed",
        None => "",
    }
}

fn aggregate_head(a: &Aggregate) -> String {
    match &a.grouping {
        Grouping::Without(l) => format!("{} without ({}) ", a.op.as_str(), names(l)),
        Grouping::By(l) if !l.is_empty() => format!("{} by ({}) ", a.op.as_str(), names(l)),
        _ => a.op.as_str().to_owned(),
    }
}

/// The operator with its modifiers.
fn operator(b: &Binary) -> String {
    let mut out = b.op.as_str().to_owned();
    if b.return_bool {
        out += " bool";
    }
    let Some(m) = &b.matching else { return out };
    let grouped = matches!(m.cardinality, Cardinality::ManyToOne | Cardinality::OneToMany);
    if !m.labels.is_empty() || m.on || grouped {
        let _ = write!(out, " {} ({})", if m.on { "on" } else { "ignoring" }, names(&m.labels));
    }
    if grouped {
        let side = if m.cardinality == Cardinality::ManyToOne { "left" } else { "right" };
        let _ = write!(out, " group_{side} ({})", names(&m.include));
    }
    match (m.fill_left, m.fill_right) {
        (Some(l), Some(r)) if l.to_bits() == r.to_bits() => {
            let _ = write!(out, " fill ({})", number(l));
        }
        (l, r) => {
            if let Some(l) = l {
                let _ = write!(out, " fill_left ({})", number(l));
            }
            if let Some(r) = r {
                let _ = write!(out, " fill_right ({})", number(r));
            }
        }
    }
    out
}

/// What stands before `^` and prints with a sign that is not its own: `+Inf ^ a` would be `+(Inf ^ a)`.
fn unsigned_base(b: &Binary) -> Option<&'static str> {
    let infinite = matches!(b.lhs.kind, ExprKind::Number(n) if n.value == f64::INFINITY);
    (b.op == BinaryOp::Pow && infinite).then_some("Inf")
}

fn subquery_suffix(s: &super::ast::Subquery) -> String {
    let step = s.step.as_ref().map(ToString::to_string).unwrap_or_default();
    format!("[{}:{step}]{}", s.range, s.modifiers)
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Number(n) => f.write_str(&literal(*n)),
            ExprKind::String(s) => f.write_str(&quote(s)),
            ExprKind::Vector(v) => write!(f, "{}{}{}", selector_body(v), extended(v.extended), v.modifiers),
            ExprKind::Matrix(m) => {
                let v = &m.selector;
                write!(f, "{}[{}]{}{}", selector_body(v), m.range, extended(v.extended), v.modifiers)
            }
            ExprKind::Subquery(s) => write!(f, "{}{}", s.expr, subquery_suffix(s)),
            ExprKind::Call(c) => {
                write!(f, "{}(", c.function.spec().name)?;
                for (i, a) in c.args.iter().enumerate() {
                    write!(f, "{}{a}", if i > 0 { ", " } else { "" })?;
                }
                f.write_str(")")
            }
            ExprKind::Aggregate(a) => {
                write!(f, "{}(", aggregate_head(a))?;
                if let Some(p) = &a.param {
                    write!(f, "{p}, ")?;
                }
                write!(f, "{})", a.expr)
            }
            ExprKind::Binary(first) => {
                // Operators in a row lean to the left and may be many.
                let mut operators = vec![first];
                let mut at = &first.lhs;
                while let ExprKind::Binary(b) = &at.kind {
                    operators.push(b);
                    at = &b.lhs;
                }
                match operators.last().and_then(|b| unsigned_base(b)) {
                    Some(base) => f.write_str(base)?,
                    None => write!(f, "{at}")?,
                }
                operators.into_iter().rev().try_for_each(|b| write!(f, " {} {}", operator(b), b.rhs))
            }
            ExprKind::Unary(op, e) => write!(f, "{}{e}", op.as_str()),
            ExprKind::Paren(e) => write!(f, "({e})"),
            ExprKind::Missing => f.write_str("<missing>"),
        }
    }
}

/// The expression over several lines where it is long: what `format_query` answers.
pub fn format_expr(e: &Expr) -> String {
    let mut out = String::new();
    pretty(e, 0, &mut out);
    out
}

fn indent(level: usize) -> String {
    "  ".repeat(level)
}

fn pretty(e: &Expr, level: usize, out: &mut String) {
    let line = e.to_string();
    if line.len() <= LINE_BYTES_MAX {
        // promtool leaves out the indent of a short subquery; files that it formatted stay as they are.
        let subquery = matches!(e.kind, ExprKind::Subquery(_));
        let _ = write!(out, "{}{line}", if subquery { String::new() } else { indent(level) });
        return;
    }
    let pad = indent(level);
    let list = |out: &mut String, items: &mut dyn Iterator<Item = &Expr>| {
        for (i, a) in items.enumerate() {
            if i > 0 {
                out.push_str(",\n");
            }
            pretty(a, level + 1, out);
        }
        let _ = write!(out, "\n{pad})");
    };
    match &e.kind {
        ExprKind::Binary(b) => {
            match unsigned_base(b) {
                Some(base) => _ = write!(out, "{}{base}", indent(level + 1)),
                None => pretty(&b.lhs, level + 1, out),
            }
            let _ = write!(out, "\n{pad}{}\n", operator(b));
            pretty(&b.rhs, level + 1, out);
        }
        ExprKind::Call(c) => {
            let _ = writeln!(out, "{pad}{}(", c.function.spec().name);
            list(out, &mut c.args.iter());
        }
        ExprKind::Aggregate(a) => {
            let _ = writeln!(out, "{pad}{}(", aggregate_head(a));
            list(out, &mut a.param.iter().chain([&a.expr]));
        }
        ExprKind::Paren(inner) => {
            let _ = writeln!(out, "{pad}(");
            list(out, &mut [&**inner].into_iter());
        }
        ExprKind::Subquery(s) => {
            pretty(&s.expr, level, out);
            out.push_str(&subquery_suffix(s));
        }
        ExprKind::Unary(op, inner) => {
            let mut text = String::new();
            pretty(inner, level, &mut text);
            let _ = write!(out, "{pad}{}{}", op.as_str(), text.trim_start());
        }
        _ => {
            let _ = write!(out, "{pad}{line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_have_no_exponent_and_of_two_as_near_the_even_one_is_taken() {
        for (v, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.5, "1.5"),
            (1e-7, "0.0000001"),
            (-1.25e-9, "-0.00000000125"),
            (2f64.powi(-25), "0.000000029802322387695312"),
            (1e21, "1000000000000000000000"),
            (1.5e300, &format!("15{}", "0".repeat(299))),
            (123_456_789.25, "123456789.25"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(number(v), text);
        }
    }

    proptest::proptest! {
        #[test]
        fn a_number_is_read_back_the_same(bits in proptest::num::u64::ANY) {
            let v = f64::from_bits(bits);
            if v.is_finite() {
                let text = number(v);
                proptest::prop_assert_eq!(text.parse::<f64>().map(f64::to_bits), Ok(bits), "{}", text);
                proptest::prop_assert!(!text.contains('e'));
            }
        }
    }
}
