//! Tokens → tree. Operators by precedence climbing, everything else by recursive descent.
//!
//! Invariant: every error has a place; after one the parser goes on behind it, so that all are found. The depth of the
//! tree is bounded, so that neither parsing nor walking it can exhaust the stack. Operators in a row make a deep tree of
//! their own, which leans to the left: of a query, which is only planned and evaluated, it may be much deeper, as that is
//! done in loops.

use std::fmt;

use belfry_model::Matcher;

use super::ast::{Binary, BinaryOp, Expr, ExprKind, Matching, NumberLiteral, UnaryOp};
use super::check;
use super::lexer::lex;
use super::span::Span;
use super::token::{Keyword, Token, TokenKind};

/// Expressions may be nested this deep; chains of operators count too. Keeps recursion within a thread's stack.
pub const DEPTH_MAX: usize = 256;
/// Operators in a row (`a + b + c …`) make the tree deep, too; this many more levels are taken.
pub(super) const OPERATORS_MAX: usize = 1024;

/// Operators of a query: some 60 MB of tree and plan.
pub(crate) const QUERY_OPERATORS_MAX: usize = 1 << 16;

/// A longer text is refused.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

/// What is wrong with a text, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Where.
    pub span: Span,
    /// `line:column` of it.
    pub place: String,
    /// What, in Prometheus' words.
    pub message: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: parse error: {}", self.place, self.message)
    }
}

/// All that is wrong with a text; never empty. Shown as its first error, as Prometheus does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseErrors(pub Vec<ParseError>);

impl fmt::Display for ParseErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.first() {
            Some(first) => first.fmt(f),
            None => f.write_str("parse error"),
        }
    }
}

impl std::error::Error for ParseErrors {}

/// Parses and type-checks a query.
pub fn parse(text: &str) -> Result<Expr, ParseErrors> {
    let (expr, errors) = parse_recovering(text);
    match expr {
        Some(expr) if errors.is_empty() => Ok(expr),
        _ => Err(ParseErrors(errors)),
    }
}

/// As [`parse`], for those who only plan it: it may have [`QUERY_OPERATORS_MAX`] operators in a row.
pub(crate) fn parse_query(text: &str) -> Result<Expr, ParseErrors> {
    match parse_with(text, true) {
        (Some(expr), errors) if errors.is_empty() => Ok(expr),
        (_, errors) => Err(ParseErrors(errors)),
    }
}

/// Parses as much as it can: the tree, with [`ExprKind::Missing`] where nothing could be read, and all errors.
pub fn parse_recovering(text: &str) -> (Option<Expr>, Vec<ParseError>) {
    parse_with(text, false)
}

fn parse_with(text: &str, for_query: bool) -> (Option<Expr>, Vec<ParseError>) {
    let mut p = match Parser::new(text, for_query) {
        Ok(p) => p,
        Err(e) => return (None, vec![e]),
    };
    if *p.kind() == TokenKind::Eof {
        p.error(Span::default(), "no expression found in input");
        return (None, p.errors);
    }
    let (mut expr, _) = p.expr(0);
    if *p.kind() != TokenKind::Eof {
        p.unexpected("", "");
    }
    if p.errors.is_empty() {
        check::check(&mut expr, &mut |span, message| p.errors.push(located(text, span, message)));
    }
    (Some(expr), p.errors)
}

/// Parses a selector alone (`up{job="x"}`), as the `match[]` parameter of the HTTP API has it.
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, ParseErrors> {
    let expr = parse(text)?;
    match &expr.kind {
        ExprKind::Vector(v) if v.modifiers == Default::default() && v.extended.is_none() => Ok(v.all_matchers()),
        _ => {
            Err(ParseErrors(vec![located(text, expr.span, "expected a vector selector without modifiers".to_owned())]))
        }
    }
}

fn located(text: &str, span: Span, message: String) -> ParseError {
    ParseError { span, place: span.place(text), message }
}

pub(super) struct Parser<'a> {
    pub(super) text: &'a str,
    tokens: Vec<Token>,
    at: usize,
    errors: Vec<ParseError>,
    /// Only the number of operators is bounded, not how many stand in a row.
    for_query: bool,
    operators: usize,
    /// How many calls of `expr` are open.
    depth: usize,
    /// How many aggregations are open: messages name them.
    pub(super) aggregations: usize,
    /// Operators of durations so far: their trees are walked without a bound of their own.
    pub(super) duration_operators: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, for_query: bool) -> Result<Self, ParseError> {
        if text.len() > TEXT_BYTES_MAX {
            let message = format!("the query is longer than {TEXT_BYTES_MAX} bytes");
            return Err(located("", Span::default(), message));
        }
        Ok(Self {
            text,
            tokens: lex(text),
            at: 0,
            errors: Vec::new(),
            for_query,
            operators: 0,
            depth: 0,
            aggregations: 0,
            duration_operators: 0,
        })
    }

    pub(super) fn token(&self) -> &Token {
        // The last token is `Eof` or `Error` and is never passed.
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    pub(super) fn kind(&self) -> &TokenKind {
        &self.token().kind
    }

    pub(super) fn kind_after(&self) -> &TokenKind {
        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)].kind
    }

    pub(super) fn span(&self) -> Span {
        self.token().span
    }

    /// Where the last token that was taken ends.
    pub(super) fn last_end(&self) -> u32 {
        self.at.checked_sub(1).map_or(0, |i| self.tokens[i].span.end)
    }

    pub(super) fn raw(&self, span: Span) -> &'a str {
        self.text.get(span.start as usize..span.end as usize).unwrap_or("")
    }

    pub(super) fn bump(&mut self) -> Token {
        let token = self.token().clone();
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
        token
    }

    pub(super) fn eat(&mut self, kind: &TokenKind) -> bool {
        let hit = self.kind() == kind;
        if hit {
            self.bump();
        }
        hit
    }

    pub(super) fn eat_keyword(&mut self, k: Keyword) -> bool {
        self.eat(&TokenKind::Keyword(k))
    }

    pub(super) fn error(&mut self, span: Span, message: impl Into<String>) {
        // After a lexer's error everything that follows is a consequence; and no text needs more than this.
        const ERRORS_MAX: usize = 64;
        if self.errors.len() < ERRORS_MAX {
            self.errors.push(located(self.text, span, message.into()));
        }
    }

    /// The current token should not be here.
    pub(super) fn unexpected(&mut self, context: &str, expected: &str) {
        let token = self.token().clone();
        if let TokenKind::Error(message) = &token.kind {
            if !self.errors.iter().any(|e| e.span == token.span && e.message == *message) {
                self.error(token.span, message.clone());
            }
            return;
        }
        let mut message = format!("unexpected {}", token.describe(self.text));
        if !context.is_empty() {
            message += &format!(" in {context}");
        }
        if !expected.is_empty() {
            message += &format!(", expected {expected}");
        }
        self.error(token.span, message);
    }

    /// For trials: where we are and how many errors there are.
    pub(super) fn mark(&self) -> (usize, usize) {
        (self.at, self.errors.len())
    }

    pub(super) fn failed_since(&self, mark: (usize, usize)) -> bool {
        self.errors.len() > mark.1
    }

    pub(super) fn rewind(&mut self, mark: (usize, usize)) {
        self.at = mark.0;
        self.errors.truncate(mark.1);
    }

    /// Skips to a token where a list can go on or end, over balanced parentheses.
    pub(super) fn skip_to_list_end(&mut self) {
        let mut open = 0usize;
        loop {
            match self.kind() {
                TokenKind::Eof | TokenKind::Error(_) => return,
                TokenKind::Comma if open == 0 => return,
                TokenKind::RightParen | TokenKind::RightBrace | TokenKind::RightBracket if open == 0 => return,
                TokenKind::LeftParen | TokenKind::LeftBrace | TokenKind::LeftBracket => open += 1,
                TokenKind::RightParen | TokenKind::RightBrace | TokenKind::RightBracket => open -= 1,
                _ => {}
            }
            self.bump();
        }
    }

    pub(super) fn missing(&self) -> (Expr, usize) {
        (Expr { span: self.span(), kind: ExprKind::Missing }, 1)
    }

    pub(super) fn unexpected_in_expr(&mut self) {
        let context = if self.aggregations > 0 { "aggregation" } else { "" };
        self.unexpected(context, "");
    }

    /// An expression whose operators all bind at least as tight as `min`, and the depth of its tree.
    pub(super) fn expr(&mut self, min: u8) -> (Expr, usize) {
        if self.depth >= DEPTH_MAX {
            self.too_deep();
            return self.missing();
        }
        self.depth += 1;
        let result = self.expr_climbing(min);
        self.depth -= 1;
        result
    }

    /// A duration inside a duration; counts as a level of depth.
    pub(super) fn nested_duration(&mut self, min: u8) -> Option<super::ast::DurationExpr> {
        if self.depth >= DEPTH_MAX {
            self.too_deep();
            return None;
        }
        self.depth += 1;
        let d = self.duration_expr(min);
        self.depth -= 1;
        d
    }

    pub(super) fn too_deep(&mut self) {
        self.give_up(&format!("expression is nested deeper than {DEPTH_MAX} levels"));
    }

    fn give_up(&mut self, why: &str) {
        let span = self.span();
        self.error(span, why);
        // Nothing behind it can be placed in the tree.
        self.at = self.tokens.len() - 1;
    }

    fn expr_climbing(&mut self, min: u8) -> (Expr, usize) {
        let (mut lhs, mut depth) = self.unary();
        while let TokenKind::Op(op) = *self.kind() {
            if op.precedence() < min {
                break;
            }
            let op_token = self.bump();
            let (return_bool, matching) = self.binary_modifiers();
            // `^` alone is right-associative.
            let rhs_min = if op == BinaryOp::Pow { op.precedence() } else { op.precedence() + 1 };
            let (rhs, rhs_depth) = self.expr(rhs_min);
            depth = depth.max(rhs_depth) + 1;
            let span = lhs.span.to(rhs.span);
            let kind = ExprKind::Binary(Box::new(Binary {
                op,
                op_span: op_token.span,
                lhs,
                rhs,
                matching: Some(matching),
                return_bool,
            }));
            lhs = Expr { span, kind };
            self.operators += 1;
            if self.for_query && self.operators > QUERY_OPERATORS_MAX {
                self.give_up(&format!("the query has more than {QUERY_OPERATORS_MAX} operators"));
                break;
            }
            if !self.for_query && depth > OPERATORS_MAX + DEPTH_MAX {
                self.give_up(&format!("expression has more than {OPERATORS_MAX} operators in a row"));
                break;
            }
        }
        (lhs, depth)
    }

    fn unary(&mut self) -> (Expr, usize) {
        let op = match self.kind() {
            TokenKind::Op(BinaryOp::Add) => UnaryOp::Plus,
            TokenKind::Op(BinaryOp::Sub) => UnaryOp::Minus,
            _ => return self.postfix(),
        };
        let start = self.bump().span;
        // As tight as `*`: `-2^2` is `-(2^2)`, `-1 * 2` is `(-1) * 2`.
        let (operand, depth) = self.expr(BinaryOp::Mul.precedence() + 1);
        let span = start.to(operand.span);
        let kind = match operand.kind {
            ExprKind::Number(n) => {
                let value = if op == UnaryOp::Minus { -n.value } else { n.value };
                ExprKind::Number(NumberLiteral { value, ..n })
            }
            _ => ExprKind::Unary(op, Box::new(operand)),
        };
        (Expr { span, kind }, depth + 1)
    }

    /// `bool`, `on`, `ignoring`, `group_left`, `group_right`, `fill`.
    fn binary_modifiers(&mut self) -> (bool, Matching) {
        use super::ast::Cardinality;
        let return_bool = self.eat_keyword(Keyword::Bool);
        let mut matching = Matching::default();
        let on = *self.kind() == TokenKind::Keyword(Keyword::On);
        if on || *self.kind() == TokenKind::Keyword(Keyword::Ignoring) {
            self.bump();
            matching.on = on;
            matching.labels = self.grouping_labels();
            let left = *self.kind() == TokenKind::Keyword(Keyword::GroupLeft);
            if left || *self.kind() == TokenKind::Keyword(Keyword::GroupRight) {
                self.bump();
                matching.cardinality = if left { Cardinality::ManyToOne } else { Cardinality::OneToMany };
                if *self.kind() == TokenKind::LeftParen {
                    matching.include = self.grouping_labels();
                }
            }
        }
        loop {
            let (left, right) = match self.kind() {
                TokenKind::Keyword(Keyword::Fill) => (true, true),
                TokenKind::Keyword(Keyword::FillLeft) => (true, false),
                TokenKind::Keyword(Keyword::FillRight) => (false, true),
                _ => break,
            };
            if (left && matching.fill_left.is_some()) || (right && matching.fill_right.is_some()) {
                self.unexpected("", "");
            }
            self.bump();
            if let Some(v) = self.fill_value() {
                if left {
                    matching.fill_left = Some(v);
                }
                if right {
                    matching.fill_right = Some(v);
                }
            }
        }
        (return_bool, matching)
    }

    fn fill_value(&mut self) -> Option<f64> {
        self.eat(&TokenKind::LeftParen);
        let value = self.signed_number();
        if value.is_none() || *self.kind() != TokenKind::RightParen {
            self.unexpected("fill modifier", if value.is_none() { "number" } else { "\")\"" });
            self.skip_to_list_end();
        }
        self.eat(&TokenKind::RightParen);
        value
    }
}
