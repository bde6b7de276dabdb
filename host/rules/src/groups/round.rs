//! One evaluation of a group: which of its rules may be asked for now.
//!
//! Invariant: of the rules that need their order at most one is asked for at a time; those that neither need nor feed
//! another, nor write its series, are asked for beside it, a few at a time. As Prometheus does with `concurrent-rule-eval`.

use std::sync::Arc;
use std::time::Duration;

use belfry_model::{METRIC_NAME, MatchOp, TimestampMs};
use belfry_promql::syntax::ast::{ExprKind, VectorSelector};
use belfry_promql::syntax::functions::Function;

use super::rivals::Written;
use super::shared::Shared;
use crate::file::{Rule, RuleKind};

/// Rules of one group that are asked for at a time. The driver bounds them over all groups as well.
pub const SIDE_BY_SIDE_MAX: usize = 4;

/// An evaluation under way.
#[derive(Debug)]
pub(super) struct Round {
    pub at: TimestampMs,
    pub begun: TimestampMs,
    pub samples: u64,
    /// What its rules read; gone with it.
    pub shared: Arc<Shared>,
    /// What its rivals wrote.
    pub written: Written,
    /// The next rule that needs its order, and the next that does not, or rules beyond.
    ordered: usize,
    free: usize,
    flying: Vec<(u64, usize)>,
    took_in_order: Duration,
    longest: Duration,
}

impl Round {
    pub fn new(at: TimestampMs, begun: TimestampMs) -> Self {
        Self {
            at,
            begun,
            samples: 0,
            shared: Arc::default(),
            written: Written::default(),
            ordered: 0,
            free: 0,
            flying: Vec::with_capacity(SIDE_BY_SIDE_MAX),
            took_in_order: Duration::ZERO,
            longest: Duration::ZERO,
        }
    }

    /// A rule that may be asked for now, under this number.
    pub fn next(&mut self, independent: &[bool], serial: u64) -> Option<usize> {
        if self.flying.len() >= SIDE_BY_SIDE_MAX {
            return None;
        }
        let is_free = |i: usize| independent.get(i).copied().unwrap_or(false);
        let place = |from: usize, free: bool| (from..independent.len()).find(|i| is_free(*i) == free);
        let waits = self.flying.iter().any(|(_, i)| !is_free(*i));
        let next = match place(self.ordered, false).filter(|_| !waits) {
            Some(i) => {
                self.ordered = i + 1;
                i
            }
            None => {
                let i = place(self.free, true)?;
                self.free = i + 1;
                i
            }
        };
        self.flying.push((serial, next));
        Some(next)
    }

    /// The rule that was asked for under this number: its answer is there.
    pub fn answered(&mut self, serial: u64, took: Duration, independent: &[bool]) -> Option<usize> {
        let place = self.flying.iter().position(|(s, _)| *s == serial)?;
        let (_, rule) = self.flying.swap_remove(place);
        self.longest = self.longest.max(took);
        if !independent.get(rule).copied().unwrap_or(false) {
            self.took_in_order += took;
        }
        Some(rule)
    }

    /// Asked when [`Self::next`] has nothing more: does no answer lack?
    pub fn is_over(&self) -> bool {
        self.flying.is_empty()
    }

    /// From the first question to the last answer.
    pub fn took(&self, now: TimestampMs) -> Duration {
        self.took_in_order.max(self.longest).max(now.since(self.begun))
    }
}

/// Which rules neither read what another of the group records nor record what another reads. None, where that cannot be
/// told: a selector without a name, or one of `ALERTS`, reads what any rule writes.
pub(super) fn independent(rules: &[Rule]) -> Vec<bool> {
    let mut reads: Vec<Vec<String>> = Vec::with_capacity(rules.len());
    for rule in rules {
        let (mut names, mut unsure) = (Vec::new(), false);
        rule.query.walk(&mut |e| match &e.kind {
            ExprKind::Vector(v) => unsure |= !read(v, &mut names),
            ExprKind::Matrix(m) => unsure |= !read(&m.selector, &mut names),
            // It looks for info metrics by itself.
            ExprKind::Call(c) => unsure |= c.function == Function::Info,
            _ => {}
        });
        if unsure {
            return vec![false; rules.len()];
        }
        reads.push(names);
    }
    let records = |r: &Rule, name: &str| r.kind == RuleKind::Record && r.name.as_str() == name;
    let is_free = |(i, rule): (usize, &Rule)| {
        let feeds = reads.iter().flatten().any(|name| records(rule, name));
        let needs = reads[i].iter().any(|name| rules.iter().any(|r| records(r, name)));
        !feeds && !needs
    };
    rules.iter().enumerate().map(is_free).collect()
}

/// Notes the selector's metric; `false` when it has none that is certain.
fn read(selector: &VectorSelector, names: &mut Vec<String>) -> bool {
    let all = selector.all_matchers();
    let name = all.iter().find(|m| m.name() == METRIC_NAME && m.op() == MatchOp::Equal);
    match name.map(|m| m.value()) {
        None | Some("" | "ALERTS" | "ALERTS_FOR_STATE") => false,
        Some(name) => {
            names.push(name.to_owned());
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rules: &str) -> String {
        let rules: String = rules.lines().map(|r| format!("  - {r}\n")).collect();
        let file = crate::file::parse(&format!("groups:\n- name: g\n  rules:\n{rules}"), "r.yml").expect("valid");
        independent(&file.groups[0].rules).iter().map(|free| if *free { 'f' } else { 'o' }).collect()
    }

    #[test]
    fn what_neither_needs_nor_feeds_another_is_free() {
        assert_eq!(of("{record: a, expr: x}\n{alert: A, expr: y > 0}\n{record: b, expr: 'rate(x[5m])'}"), "fff");
        assert_eq!(
            of("{record: a, expr: x}\n{record: b, expr: sum(a)}\n{alert: C, expr: 'b > 0'}\n{alert: D, expr: x}"),
            "ooof"
        );
        assert_eq!(of("{alert: A, expr: 'max_over_time(b[5m])'}\n{record: b, expr: x}\n{alert: b2, expr: x}"), "oof");
        assert_eq!(of("{record: a, expr: a offset 1m}\n{alert: B, expr: x}"), "of", "of itself, from before");
    }

    #[test]
    fn what_reads_nobody_knows_what_keeps_its_group_in_order() {
        for unsure in ["'{job=\"x\"}'", "'{__name__=~\"a.*\"}'", "ALERTS", "'count(ALERTS_FOR_STATE)'", "info(x)"] {
            assert_eq!(of(&format!("{{record: a, expr: x}}\n{{alert: B, expr: {unsure}}}")), "oo", "{unsure}");
        }
    }

    #[test]
    fn a_round_asks_for_one_in_order_and_some_beside_it() {
        let free = [false, true, false, true, true, true, true];
        let mut round = Round::new(TimestampMs(0), TimestampMs(0));
        let asked: Vec<_> = (0..).map_while(|serial| round.next(&free, serial)).collect();
        assert_eq!(asked, [0, 1, 3, 4]);
        assert_eq!(round.answered(9, Duration::ZERO, &free), None, "of another round");
        assert_eq!(round.answered(1, Duration::ZERO, &free), Some(1));
        assert_eq!(round.next(&free, 4), Some(5), "2 waits for 0");
        assert_eq!(round.answered(0, Duration::ZERO, &free), Some(0));
        assert_eq!(round.next(&free, 5), Some(2));
        assert!(!round.is_over());
        for (serial, rule) in [(2, 3), (3, 4), (4, 5), (5, 2)] {
            assert_eq!(round.answered(serial, Duration::ZERO, &free), Some(rule));
        }
        assert_eq!(round.next(&free, 6), Some(6));
        assert_eq!(round.answered(6, Duration::ZERO, &free), Some(6));
        assert_eq!(round.next(&free, 7), None);
        assert!(round.is_over());
    }
}
