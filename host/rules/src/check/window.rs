//! Ranges too short for the samples in them.

use std::time::Duration;

use belfry_model::duration::format_duration;
use belfry_promql::syntax::ast::{DurationExpr, DurationKind, ExprKind};
use belfry_promql::syntax::functions::Function as F;

use super::{Finding, Subject};

pub(crate) fn check(s: &Subject<'_>, out: &mut Vec<Finding>) {
    s.rule.query.walk(&mut |e| {
        let ExprKind::Call(c) = &e.kind else { return };
        // One sample lost still leaves two; the newest pair needs no more than that.
        let samples = match c.function {
            F::Rate | F::Increase | F::Delta | F::Deriv | F::PredictLinear => 4,
            F::Irate | F::Idelta => 2,
            _ => return,
        };
        let Some(ExprKind::Matrix(m)) = c.args.first().map(|a| &a.unwrap_parens().kind) else { return };
        let Some(window) = literal(&m.range) else { return };
        let name = c.function.spec().name;
        let at = s.place(m.range.span);
        if let Some(scrape) = s.facts.scrape_interval
            && window < scrape * samples
        {
            out.push(Finding::new(
                at,
                "short-window",
                format!(
                    "`{name}` over {} with samples every {}: one late or lost scrape leaves it without an answer",
                    format_duration(window),
                    format_duration(scrape)
                ),
                format!("look over at least {}", format_duration(scrape * samples)),
            ));
            return;
        }
        if let Some(interval) = s.interval()
            && window <= interval
            && !matches!(c.function, F::Irate | F::Idelta)
        {
            out.push(Finding::new(
                at,
                "short-window",
                format!(
                    "`{name}` over {} in a group evaluated every {}: what changes between two windows is never seen",
                    format_duration(window),
                    format_duration(interval)
                ),
                format!("look over more than {}, at least four times the scrape interval", format_duration(interval)),
            ));
        }
    });
}

fn literal(d: &DurationExpr) -> Option<Duration> {
    match &d.kind {
        DurationKind::Literal(n) if n.value > 0.0 && n.value < 1e12 => {
            Some(Duration::from_millis((n.value * 1000.0) as u64))
        }
        DurationKind::Paren(inner) => literal(inner),
        _ => None,
    }
}
