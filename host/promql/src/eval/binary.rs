//! Binary operators: arithmetic and comparisons by value, sets by label set, with vector matching.

use std::collections::HashMap;
use std::sync::Arc;

use belfry_model::sample::is_stale;
use belfry_model::{Histogram, Labels};

use super::keys::Keys;
use super::memory::histogram_bytes;
use super::notes::Notes;
use super::pipe::WithScalar;
use super::vector::{ABSENT, Cell, Column, Evaluated, Frame, OutSeries};
use super::{Evaluator, METADATA_LABELS, Result, Sink};
use crate::names::changes_schema;
use crate::plan::{BinaryPlan, Plan, PlanKind};
use crate::syntax::ast::{BinaryOp as Op, Cardinality, Matching};
use crate::syntax::span::Span;
use crate::{QueryError, histogram};

/// Operators in a row that pass series on one by one.
const OPERATORS_NESTED_MAX: usize = 8;

fn fmod(a: f64, b: f64) -> f64 {
    a % b
}

/// `a op b` for two numbers; comparisons give 0 and 1.
pub(super) fn scalars(op: Op, a: f64, b: f64) -> f64 {
    match op {
        Op::Add => a + b,
        Op::Sub => a - b,
        Op::Mul => a * b,
        Op::Div => a / b,
        Op::Mod => fmod(a, b),
        Op::Pow => a.powf(b),
        Op::Atan2 => a.atan2(b),
        op => f64::from(u8::from(compare(op, a, b))),
    }
}

fn compare(op: Op, a: f64, b: f64) -> bool {
    match op {
        Op::Eq => a == b,
        Op::Ne => a != b,
        Op::Gt => a > b,
        Op::Lt => a < b,
        Op::Ge => a >= b,
        Op::Le => a <= b,
        _ => false,
    }
}

pub(super) fn negate(s: &mut OutSeries) {
    s.drop_name = true;
    s.column.floats.iter_mut().filter(|f| !is_stale(**f)).for_each(|f| *f = -*f);
    for h in s.column.histograms.iter_mut().flatten() {
        histogram::scale(Arc::make_mut(h), -1.0);
    }
}

/// The value, and whether a comparison keeps it. `None`: the operator does not work on these.
fn elements(op: Op, a: &Cell, b: &Cell, span: Span, notes: &mut Notes) -> Option<(Cell, bool)> {
    let name = |c: &Cell| if matches!(c, Cell::Float(_)) { "float" } else { "histogram" };
    let of = |h: Histogram| Some((Cell::Histogram(Arc::new(h)), true));
    match (a, b) {
        (Cell::Float(x), Cell::Float(y)) if op.is_comparison() => return Some((a.clone(), compare(op, *x, *y))),
        (Cell::Float(x), Cell::Float(y)) if changes_schema(op) => {
            return Some((Cell::Float(scalars(op, *x, *y)), true));
        }
        (Cell::Float(f), Cell::Histogram(h)) | (Cell::Histogram(h), Cell::Float(f)) if op == Op::Mul => {
            let mut h = (**h).clone();
            histogram::scale(&mut h, *f);
            histogram::compact(&mut h);
            return of(h);
        }
        (Cell::Histogram(h), Cell::Float(f)) if op == Op::Div => {
            let mut h = (**h).clone();
            histogram::divide(&mut h, *f);
            histogram::compact(&mut h);
            return of(h);
        }
        (Cell::Histogram(h), Cell::Float(f)) if matches!(op, Op::TrimUpper | Op::TrimLower) => {
            return of(histogram::trim(h, *f, op == Op::TrimUpper));
        }
        (Cell::Histogram(x), Cell::Histogram(y)) => match op {
            Op::Add | Op::Sub => {
                let (sign, during) = if op == Op::Add { (1.0, "addition") } else { (-1.0, "subtraction") };
                let mut h = (**x).clone();
                match histogram::add(&mut h, y, sign) {
                    Ok(done) => {
                        if done.reset_collision {
                            notes.reset_collision(span, during);
                        }
                        if done.bounds_reconciled {
                            notes.bounds_reconciled(span, during);
                        }
                    }
                    Err(_) => {
                        notes.incompatible_layout(span, op.as_str());
                        return None;
                    }
                }
                if op == Op::Sub {
                    h.reset_hint = belfry_model::sample::ResetHint::Gauge;
                }
                histogram::compact(&mut h);
                return of(h);
            }
            Op::Eq => return Some((a.clone(), histogram::equal(x, y))),
            Op::Ne => return Some((a.clone(), !histogram::equal(x, y))),
            _ => {}
        },
        _ => {}
    }
    notes.incompatible_types(span, name(a), op.as_str(), name(b));
    None
}

/// More operators in a row than are worth a level of the stack each.
pub(super) fn is_long(plan: &Plan) -> bool {
    let mut at = plan;
    for _ in 0..OPERATORS_NESTED_MAX {
        let PlanKind::Binary(b) = &at.kind else { return false };
        at = &b.lhs;
    }
    true
}

/// The operators whose result for two floats needs no further thought.
fn plain(op: Op) -> bool {
    op.is_comparison() || changes_schema(op)
}

/// As [`signature`], by number.
fn signatures(m: &Matching) -> Keys {
    if m.on {
        Keys::only(&m.labels)
    } else {
        Keys::without(m.labels.iter().cloned().chain(METADATA_LABELS.map(str::to_owned)))
    }
}

/// The labels that decide what matches what.
fn signature(labels: &Labels, m: &Matching) -> Labels {
    let names: Vec<&str> = m.labels.iter().map(String::as_str).collect();
    if m.on {
        labels.only(&names)
    } else {
        let mut names = names;
        // What a metric is does not tell whose it is.
        names.extend(METADATA_LABELS);
        labels.without(&names)
    }
}

impl<'a> Evaluator<'a> {
    /// Operators in a row, from the left: in a loop, as they may be many.
    pub(super) fn chain(&mut self, plan: &Plan, frame: Frame) -> Result<Evaluated> {
        let mut operators = Vec::new();
        let mut at = plan;
        while let PlanKind::Binary(b) = &at.kind
            && (operators.is_empty() || !at.invariant || frame.n <= 1)
        {
            operators.push((at.span, b));
            at = &b.lhs;
        }
        let before = self.mark();
        let mut value = self.eval(at, frame)?;
        for (span, b) in operators.into_iter().rev() {
            self.check_cancelled()?;
            let other = self.eval(&b.rhs, frame)?;
            value = self.binary(b, span, frame, value, other)?;
            self.settle(before, &value)?;
        }
        Ok(value)
    }

    fn binary(&mut self, b: &BinaryPlan, span: Span, frame: Frame, l: Evaluated, r: Evaluated) -> Result<Evaluated> {
        Ok(match (l, r) {
            (Evaluated::Scalar(l), Evaluated::Scalar(r)) => {
                Evaluated::Scalar(l.iter().zip(&r).map(|(a, c)| scalars(b.op, *a, *c)).collect())
            }
            (Evaluated::Vector(l), Evaluated::Vector(r)) => Evaluated::Vector(if b.op.is_set() {
                self.sets(b, l, r, frame.n)?
            } else {
                self.vectors(b, l, r, span, frame)?
            }),
            (Evaluated::Vector(mut v), Evaluated::Scalar(s)) => {
                v.iter_mut().for_each(|v| with_scalar(b, v, &s, false, span, &mut self.notes));
                v.retain(|s| !s.column.is_all_absent());
                Evaluated::Vector(v)
            }
            (Evaluated::Scalar(s), Evaluated::Vector(mut v)) => {
                v.iter_mut().for_each(|v| with_scalar(b, v, &s, true, span, &mut self.notes));
                v.retain(|s| !s.column.is_all_absent());
                Evaluated::Vector(v)
            }
            _ => return fail("an operator needs numbers on both sides"),
        })
    }

    /// A vector that is not made series by series, and scalars.
    pub(super) fn stream_with_scalars(
        &mut self,
        plan: &Plan,
        then: &[WithScalar<'_>],
        frame: Frame,
        sink: Sink<'_, 'a>,
    ) -> Result<()> {
        self.stream(plan, frame, &mut |ev, mut s| {
            for t in then {
                with_scalar(t.plan, &mut s, &t.scalar, t.swap, t.span, &mut ev.notes);
                if s.column.is_all_absent() {
                    return Ok(());
                }
            }
            sink(ev, s)
        })
    }

    fn vectors(
        &mut self,
        b: &BinaryPlan,
        lhs: Vec<OutSeries>,
        rhs: Vec<OutSeries>,
        span: Span,
        frame: Frame,
    ) -> Result<Vec<OutSeries>> {
        let n = frame.n;
        let m = &b.matching;
        let swapped = m.cardinality == Cardinality::OneToMany;
        let (many, one) = if swapped { (rhs, lhs) } else { (lhs, rhs) };
        // As in Prometheus: `fill_left` stands for the "many" side even where that is on the right.
        let (fill_many, fill_one) = (m.fill_left, m.fill_right);
        let mut keys = signatures(m);
        let mut numbers = |all: &[OutSeries]| -> Result<Vec<usize>> {
            all.iter().map(|s| self.number(&mut keys, &s.labels)).collect()
        };
        let (many_groups, one_groups) = (numbers(&many)?, numbers(&one)?);
        let count = keys.len();
        let mut many = many;
        let mut one_by_group: Vec<Vec<usize>> = vec![Vec::new(); count];
        one_groups.iter().enumerate().for_each(|(i, g)| one_by_group[*g].push(i));
        // Of one group at a time, by step.
        self.hold((size_of::<Option<usize>>() + 2) as u64 * n as u64)?;
        // The "one" side's series of a group at each step.
        let mut partner = vec![None; n];
        let mut out = Outputs { n, many_to_one: m.cardinality != Cardinality::OneToOne, ..Outputs::default() };
        let mut matched = vec![false; n];
        let mut many_by_group: Vec<Vec<usize>> = vec![Vec::new(); count];
        many_groups.iter().enumerate().for_each(|(i, g)| many_by_group[*g].push(i));
        // As in Prometheus, nothing is looked at where the other side is empty: duplicates neither. Seen before values are
        // taken out of it.
        let several = one_by_group.iter().any(|group| group.len() > 1);
        let meets: Vec<bool> = match several {
            true => (0..n).map(|i| fill_many.is_some() || many.iter().any(|s| s.column.is_present(i))).collect(),
            false => Vec::new(),
        };
        for g in 0..count {
            self.check_cancelled()?;
            // One on the other side, nothing but floats: no step needs to be looked at by itself.
            if let (&[j], None, None) = (&one_by_group[g][..], fill_one, fill_many)
                && (out.many_to_one || many_by_group[g].len() == 1)
                && plain(b.op)
                && !one[j].column.has_histograms()
                && many_by_group[g].iter().all(|k| !many[*k].column.has_histograms())
            {
                for k in &many_by_group[g] {
                    let series = &mut many[*k];
                    let drop = b.return_bool || (series.drop_name && !changes_schema(b.op));
                    let labels = result_labels(&series.labels, &one[j].labels, b.op, m);
                    let floats = std::mem::take(&mut series.column.floats);
                    out.pair(self, (labels, drop), b, floats, &one[j].column.floats, swapped)?;
                }
                continue;
            }
            let meets = |i: usize| meets.get(i).copied().unwrap_or_default();
            find_partners(&mut partner, &one, &one_by_group[g], m, swapped, meets)?;
            matched.fill(false);
            for k in &many_by_group[g] {
                let series = &many[*k];
                // Labels depend on the pair alone, which seldom changes from step to step.
                let mut pair: Option<(Option<usize>, usize)> = None;
                for i in 0..n {
                    let Some(cell) = series.column.get(i) else { continue };
                    let other = match (partner[i], fill_one) {
                        (Some(j), _) => one[j].column.get(i),
                        (None, fill) => fill.map(Cell::Float),
                    };
                    let Some(other) = other else { continue };
                    let (a, c) = if swapped { (&other, &cell) } else { (&cell, &other) };
                    let Some((value, keep)) = elements(b.op, a, c, span, &mut self.notes) else { continue };
                    let slot = match pair {
                        Some((j, slot)) if j == partner[i] => slot,
                        _ => {
                            let one_labels = match partner[i] {
                                Some(j) => one[j].labels.clone(),
                                None => signature(&series.labels, m),
                            };
                            // Arithmetic drops the name at once; a comparison keeps what is due.
                            let drop = b.return_bool || (series.drop_name && !changes_schema(b.op));
                            out.slot(self, result_labels(&series.labels, &one_labels, b.op, m), drop)?
                        }
                    };
                    pair = Some((partner[i], slot));
                    if !out.many_to_one && matched[i] {
                        return fail(
                            "multiple matches for labels: many-to-one matching must be explicit \
                             (group_left/group_right)",
                        );
                    }
                    matched[i] = true;
                    out.put(self, slot, i, value, keep, b.return_bool)?;
                }
            }
            let Some(fill) = fill_many else { continue };
            for i in 0..n {
                let Some(j) = partner[i].filter(|_| !matched[i]) else { continue };
                let Some(other) = one[j].column.get(i) else { continue };
                let cell = Cell::Float(fill);
                let (a, c) = if swapped { (&other, &cell) } else { (&cell, &other) };
                let Some((value, keep)) = elements(b.op, a, c, span, &mut self.notes) else { continue };
                let labels = result_labels(&signature(&one[j].labels, m), &one[j].labels, b.op, m);
                let slot = out.slot(self, labels, b.return_bool)?;
                out.put(self, slot, i, value, keep, b.return_bool)?;
            }
        }
        out.series.retain(|s| !s.column.is_all_absent());
        Ok(out.series)
    }

    /// `and`, `or`, `unless`.
    fn sets(&mut self, b: &BinaryPlan, lhs: Vec<OutSeries>, rhs: Vec<OutSeries>, n: usize) -> Result<Vec<OutSeries>> {
        let m = &b.matching;
        let mut keys = signatures(m);
        // By key, and step by step: is there something?
        let mut mark = |series: &[OutSeries]| -> Result<Vec<bool>> {
            let mut present: Vec<bool> = Vec::new();
            for s in series {
                let at = self.number(&mut keys, &s.labels)? * n;
                if at == present.len() {
                    // It doubles as it grows, and is copied then.
                    self.hold(3 * n as u64)?;
                    present.resize(at + n, false);
                }
                for ((p, f), i) in present[at..].iter_mut().zip(&s.column.floats).zip(0..) {
                    *p |= !is_stale(*f) || s.column.histograms.get(i).is_some_and(Option::is_some);
                }
            }
            Ok(present)
        };
        let (present, keep) = match b.op {
            Op::And => (mark(&rhs)?, true),
            Op::Unless => (mark(&rhs)?, false),
            _ => (mark(&lhs)?, false),
        };
        let (mut out, mut filtered) = if b.op == Op::Or { (lhs, rhs) } else { (Vec::new(), lhs) };
        for s in &mut filtered {
            let at = self.number(&mut keys, &s.labels)? * n;
            match present.get(at..at + n) {
                None if keep => s.column = Column::absent(n),
                None => {}
                Some(present) if s.column.has_histograms() => {
                    (0..n).filter(|i| present[*i] != keep).for_each(|i| s.column.clear(i));
                }
                Some(present) => {
                    for (f, p) in s.column.floats.iter_mut().zip(present) {
                        *f = if *p == keep { *f } else { ABSENT };
                    }
                }
            }
        }
        filtered.retain(|s| !s.column.is_all_absent());
        out.append(&mut filtered);
        Ok(out)
    }
}

pub(super) fn with_scalar(
    b: &BinaryPlan,
    series: &mut OutSeries,
    s: &[f64],
    swap: bool,
    span: Span,
    notes: &mut Notes,
) {
    let op = b.op;
    series.drop_name |= changes_schema(op) || b.return_bool;
    let column = &mut series.column;
    if !column.has_histograms() && plain(op) {
        let filters = op.is_comparison() && !b.return_bool;
        for (f, s) in column.floats.iter_mut().zip(s) {
            if is_stale(*f) {
                continue;
            }
            let (x, y) = if swap { (*s, *f) } else { (*f, *s) };
            if !filters {
                *f = scalars(op, x, y);
            } else if !compare(op, x, y) {
                *f = ABSENT;
            }
        }
        return;
    }
    for (i, s) in s.iter().enumerate() {
        let Some(cell) = column.get(i) else { continue };
        let scalar = Cell::Float(*s);
        let result =
            if swap { elements(op, &scalar, &cell, span, notes) } else { elements(op, &cell, &scalar, span, notes) };
        match result {
            None => column.clear(i),
            Some((_, keep)) if b.return_bool => column.set(i, Cell::Float(f64::from(u8::from(keep)))),
            Some((_, false)) => column.clear(i),
            Some((_, true)) if op.is_comparison() => {}
            Some((value, true)) => column.set(i, value),
        }
    }
}

fn fail<T>(text: &str) -> Result<T> {
    Err(QueryError::Execution(text.to_owned()))
}

/// Which series of the "one" side stands for the group at each step; there may not be two.
fn find_partners(
    partner: &mut [Option<usize>],
    one: &[OutSeries],
    group: &[usize],
    m: &Matching,
    swapped: bool,
    meets: impl Fn(usize) -> bool,
) -> Result<()> {
    partner.fill(None);
    for j in group {
        for (i, slot) in partner.iter_mut().enumerate() {
            if one[*j].column.is_present(i)
                && let Some(other) = slot.replace(*j)
                && meets(i)
            {
                let side = if swapped { "left" } else { "right" };
                return Err(QueryError::Execution(format!(
                    "found duplicate series for the match group {} on the {side} hand-side of the operation: \
                     [{}, {}];many-to-many matching not allowed: matching labels must be unique on one side",
                    as_map(&signature(&one[*j].labels, m)),
                    as_map(&one[other].labels),
                    as_map(&one[*j].labels),
                )));
            }
        }
    }
    Ok(())
}

/// A label set as Prometheus' messages write it: the name among the others.
fn as_map(l: &Labels) -> String {
    let pairs: Vec<String> = l
        .iter()
        .map(|l| {
            let name = if belfry_model::labels::is_legacy_name(&l.name) {
                l.name.to_string()
            } else {
                crate::syntax::quote::quote(&l.name)
            };
            format!("{name}={}", crate::syntax::quote::quote(&l.value))
        })
        .collect();
    format!("{{{}}}", pairs.join(", "))
}

fn result_labels(many: &Labels, one: &Labels, op: Op, m: &Matching) -> Labels {
    let mut labels = if changes_schema(op) { many.without(&METADATA_LABELS) } else { many.clone() };
    let names: Vec<&str> = m.labels.iter().map(String::as_str).collect();
    if m.cardinality == Cardinality::OneToOne {
        labels = if m.on { labels.only(&names) } else { labels.without(&names) };
    }
    if m.include.is_empty() {
        return labels;
    }
    let mut b = labels.to_builder();
    for name in &m.include {
        b.set(name.as_str(), one.get(name).unwrap_or(""));
    }
    b.build()
}

/// The series of a result as they come.
#[derive(Default)]
struct Outputs {
    series: Vec<OutSeries>,
    index: HashMap<(Labels, bool), usize>,
    /// Steps at which a series had a match, kept or not; only used with `many_to_one`.
    seen: Vec<Vec<bool>>,
    many_to_one: bool,
    n: usize,
}

impl Outputs {
    fn slot(&mut self, ev: &mut Evaluator<'_>, labels: Labels, drop_name: bool) -> Result<usize> {
        let key = (labels, drop_name);
        if let Some(known) = self.index.get(&key) {
            return Ok(*known);
        }
        let (at, n) = (self.series.len(), self.n);
        let steps = if self.many_to_one { n } else { 0 };
        ev.hold(steps as u64)?;
        ev.hold_series(at + 1, n)?;
        self.series.push(OutSeries { labels: key.0.clone(), drop_name, column: Column::absent(n) });
        self.seen.push(vec![false; steps]);
        self.index.insert(key, at);
        Ok(at)
    }

    /// A whole series: `floats` of the "many" side, whose memory the result takes, with those of its partner.
    fn pair(
        &mut self,
        ev: &mut Evaluator<'_>,
        (labels, drop_name): (Labels, bool),
        b: &BinaryPlan,
        mut floats: Vec<f64>,
        other: &[f64],
        swapped: bool,
    ) -> Result<()> {
        let both = |f: &f64, o: &f64| !is_stale(*f) && !is_stale(*o);
        let mut matched = vec![false; if self.many_to_one { self.n } else { 0 }];
        matched.iter_mut().zip(floats.iter().zip(other)).for_each(|(m, (f, o))| *m = both(f, o));
        let op = b.op;
        let filters = op.is_comparison() && !b.return_bool;
        for (f, o) in floats.iter_mut().zip(other) {
            let (x, y) = if swapped { (*o, *f) } else { (*f, *o) };
            // A comparison keeps what stands on its left.
            let value = if !filters {
                scalars(op, x, y)
            } else if compare(op, x, y) {
                x
            } else {
                ABSENT
            };
            *f = if both(f, o) { value } else { ABSENT };
        }
        if !self.many_to_one && floats.iter().all(|f| is_stale(*f)) {
            return Ok(());
        }
        let known = self.series.len();
        let slot = self.slot(ev, labels, drop_name)?;
        if slot == known {
            self.series[slot].column.floats = floats;
            self.seen[slot] = matched;
            return Ok(());
        }
        for (i, f) in floats.into_iter().enumerate() {
            let keep = !is_stale(f);
            if keep || matched.get(i) == Some(&true) {
                self.put(ev, slot, i, Cell::Float(f), keep, false)?;
            }
        }
        Ok(())
    }

    fn put(
        &mut self,
        ev: &mut Evaluator<'_>,
        slot: usize,
        i: usize,
        value: Cell,
        keep: bool,
        as_bool: bool,
    ) -> Result<()> {
        if self.many_to_one && std::mem::replace(&mut self.seen[slot][i], true) {
            return fail("multiple matches for labels: grouping labels must ensure unique matches");
        }
        let value = if as_bool { Cell::Float(f64::from(u8::from(keep))) } else { value };
        if !keep && !as_bool {
            return Ok(());
        }
        let column = &mut self.series[slot].column;
        if column.is_present(i) {
            return fail(super::SAME_LABELSET);
        }
        if let Cell::Histogram(h) = &value {
            let places = if column.has_histograms() { 0 } else { 8 * self.n as u64 };
            ev.hold(places + histogram_bytes(h))?;
        }
        column.set(i, value);
        Ok(())
    }
}
