//! The parts of expressions: selectors, calls, aggregations, modifiers, durations, literals.

use belfry_model::{METRIC_NAME, MatchOp, Matcher};

use super::ast::{
    Aggregate, AggregateOp, At, BinaryOp, Call, DurationExpr, DurationKind, Expr, ExprKind, Extended, Grouping,
    MatrixSelector, Modifiers, NumberLiteral, Subquery, UnaryOp, VectorSelector,
};
use super::functions::Function;
use super::parser::{OPERATORS_MAX, Parser};
use super::quote::{is_valid_utf8, quote, unquote};
use super::span::Span;
use super::token::{Keyword, TokenKind, Word};

/// Durations beyond this cannot be counted in nanoseconds, which is Prometheus' bound.
const DURATION_SECONDS_MAX: f64 = 9_223_372_036.854_775;

impl Parser<'_> {
    /// A primary expression with what stands behind it: `[5m]`, `offset`, `@`, `anchored`, `smoothed`.
    pub(super) fn postfix(&mut self) -> (Expr, usize) {
        let (mut e, mut depth) = self.primary();
        let deepest = depth.saturating_add(super::parser::DEPTH_MAX);
        loop {
            match self.kind() {
                TokenKind::LeftBracket => {
                    e = self.range_or_subquery(e);
                    depth += 1;
                }
                TokenKind::Keyword(Keyword::Offset) => {
                    self.bump();
                    match self.offset_duration() {
                        Some(d) => self.set_offset(&mut e, d),
                        None => self.unexpected("offset", "number, duration, step(), or range()"),
                    }
                    e.span.end = e.span.end.max(self.last_end());
                }
                TokenKind::At => {
                    self.bump();
                    self.at_modifier(&mut e);
                    e.span.end = e.span.end.max(self.last_end());
                }
                TokenKind::Keyword(Keyword::Anchored) => {
                    self.bump();
                    self.set_extended(&mut e, Extended::Anchored);
                }
                TokenKind::Keyword(Keyword::Smoothed) => {
                    self.bump();
                    self.set_extended(&mut e, Extended::Smoothed);
                }
                _ => return (e, depth),
            }
            if depth > deepest {
                return (e, depth);
            }
        }
    }

    fn primary(&mut self) -> (Expr, usize) {
        let span = self.span();
        match self.kind().clone() {
            TokenKind::Number | TokenKind::Duration => {
                let n = self.number_literal();
                (Expr { span, kind: ExprKind::Number(n) }, 1)
            }
            TokenKind::Str => {
                self.bump();
                let text = self.string_value(span);
                (Expr { span, kind: ExprKind::String(text) }, 1)
            }
            TokenKind::LeftParen => {
                self.bump();
                let (inner, depth) = self.expr(0);
                if *self.kind() != TokenKind::RightParen {
                    self.unexpected_in_expr();
                    self.skip_to_list_end();
                }
                self.eat(&TokenKind::RightParen);
                let span = Span { start: span.start, end: self.last_end().max(span.end) };
                (Expr { span, kind: ExprKind::Paren(Box::new(inner)) }, depth + 1)
            }
            TokenKind::LeftBrace => self.vector_selector(None, span),
            TokenKind::Aggregate(op) => match self.kind_after() {
                TokenKind::LeftParen | TokenKind::Keyword(Keyword::By | Keyword::Without) => self.aggregate(op),
                TokenKind::Identifier | TokenKind::MetricIdentifier | TokenKind::Number | TokenKind::Str => {
                    self.bump();
                    self.unexpected("aggregation", "");
                    self.missing()
                }
                _ => self.named_selector(),
            },
            TokenKind::Identifier if *self.kind_after() == TokenKind::LeftParen => self.call(),
            TokenKind::Word(_) if *self.kind_after() == TokenKind::LeftParen => self.call(),
            TokenKind::Identifier
            | TokenKind::MetricIdentifier
            | TokenKind::Word(_)
            | TokenKind::Op(BinaryOp::And | BinaryOp::Or | BinaryOp::Unless)
            | TokenKind::Keyword(
                Keyword::By | Keyword::Offset | Keyword::Without | Keyword::Anchored | Keyword::Smoothed,
            ) => self.named_selector(),
            _ => {
                self.unexpected_in_expr();
                self.missing()
            }
        }
    }

    fn number_literal(&mut self) -> NumberLiteral {
        let token = self.bump();
        let raw = self.raw(token.span);
        if token.kind == TokenKind::Duration {
            let seconds = match parse_duration_ms(raw) {
                Ok(ms) => ms as f64 / 1000.0,
                Err(message) => {
                    self.error(token.span, message);
                    0.0
                }
            };
            return NumberLiteral { value: seconds, duration: true };
        }
        let value = parse_number(raw).unwrap_or_else(|| {
            self.error(token.span, format!("error parsing number: {}", quote(raw)));
            0.0
        });
        // `Inf` is a word; digits that become it are a mistake.
        if value.is_infinite() && raw.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            let why = format!("error parsing number: strconv.ParseFloat: parsing {}: value out of range", quote(raw));
            self.error(token.span, why);
        }
        NumberLiteral { value, duration: false }
    }

    /// A number or duration with an optional sign.
    pub(super) fn signed_number(&mut self) -> Option<f64> {
        let minus = *self.kind() == TokenKind::Op(BinaryOp::Sub);
        if minus || *self.kind() == TokenKind::Op(BinaryOp::Add) {
            self.bump();
        }
        if !matches!(self.kind(), TokenKind::Number | TokenKind::Duration) {
            return None;
        }
        let v = self.number_literal().value;
        Some(if minus { -v } else { v })
    }

    fn string_value(&mut self, span: Span) -> String {
        let raw = self.raw(span);
        unquote(raw).unwrap_or_else(|| {
            self.error(span, format!("error unquoting string {}", quote(raw)));
            String::new()
        })
    }

    fn named_selector(&mut self) -> (Expr, usize) {
        let token = self.bump();
        let name = self.raw(token.span).to_owned();
        self.vector_selector(Some(name), token.span)
    }

    fn vector_selector(&mut self, name: Option<String>, start: Span) -> (Expr, usize) {
        let mut selector = VectorSelector { name, ..VectorSelector::default() };
        let mut span = start;
        if *self.kind() == TokenKind::LeftBrace {
            self.bump();
            selector.matchers = self.matchers();
            span.end = self.last_end();
        }
        (Expr { span, kind: ExprKind::Vector(selector) }, 1)
    }

    fn matchers(&mut self) -> Vec<Matcher> {
        let mut matchers = Vec::new();
        while !matches!(self.kind(), TokenKind::RightBrace | TokenKind::Eof | TokenKind::Error(_)) {
            let before = self.mark();
            matchers.extend(self.matcher());
            if self.failed_since(before) {
                self.skip_to_list_end();
            }
            if !self.eat(&TokenKind::Comma) && *self.kind() != TokenKind::RightBrace {
                if !self.failed_since(before) {
                    self.unexpected("label matching", "\",\" or \"}\"");
                }
                self.skip_to_list_end();
                if !self.eat(&TokenKind::Comma) && *self.kind() != TokenKind::RightBrace {
                    break;
                }
            }
        }
        if !self.eat(&TokenKind::RightBrace) {
            self.unexpected("label matching", "identifier or \"}\"");
        }
        matchers
    }

    fn matcher(&mut self) -> Option<Matcher> {
        let token = self.token().clone();
        let name = match token.kind {
            TokenKind::Identifier => {
                self.bump();
                self.raw(token.span).to_owned()
            }
            TokenKind::Str => {
                self.bump();
                self.string_value(token.span)
            }
            _ => {
                self.unexpected("label matching", "identifier or \"}\"");
                return None;
            }
        };
        let op = match self.kind() {
            TokenKind::Assign => MatchOp::Equal,
            TokenKind::Op(BinaryOp::Ne) => MatchOp::NotEqual,
            TokenKind::RegexMatch => MatchOp::Regex,
            TokenKind::RegexNoMatch => MatchOp::NotRegex,
            // A string alone is a metric name.
            TokenKind::Comma | TokenKind::RightBrace if token.kind == TokenKind::Str => {
                return Some(Matcher::equal(METRIC_NAME, name));
            }
            _ => {
                self.unexpected("label matching", "label matching operator");
                return None;
            }
        };
        self.bump();
        let value_span = self.span();
        if *self.kind() != TokenKind::Str {
            self.unexpected("label matching", "string");
            return None;
        }
        self.bump();
        let value = self.string_value(value_span);
        match Matcher::new(name, op, value) {
            Ok(m) => Some(m),
            Err(e) => {
                self.error(token.span.to(value_span), format!("error parsing regexp: {}", e.reason));
                None
            }
        }
    }

    pub(super) fn grouping_labels(&mut self) -> Vec<String> {
        let mut labels = Vec::new();
        if *self.kind() != TokenKind::LeftParen {
            self.unexpected("grouping opts", "\"(\"");
            return labels;
        }
        self.bump();
        while *self.kind() != TokenKind::RightParen {
            let token = self.token().clone();
            match token.kind {
                TokenKind::Identifier
                | TokenKind::MetricIdentifier
                | TokenKind::Aggregate(_)
                | TokenKind::Keyword(_)
                | TokenKind::Word(_)
                | TokenKind::Op(BinaryOp::And | BinaryOp::Or | BinaryOp::Unless | BinaryOp::Atan2) => {
                    self.bump();
                    labels.push(self.raw(token.span).to_owned());
                }
                TokenKind::Str => {
                    self.bump();
                    let name = self.string_value(token.span);
                    if name.is_empty() || !is_valid_utf8(&name) {
                        self.error(token.span, format!("invalid label name for grouping: {}", quote(&name)));
                    }
                    labels.push(name);
                }
                _ => {
                    self.unexpected("grouping opts", "label");
                    self.skip_to_list_end();
                    if !matches!(self.kind(), TokenKind::Comma | TokenKind::RightParen) {
                        return labels;
                    }
                }
            }
            if !self.eat(&TokenKind::Comma) && *self.kind() != TokenKind::RightParen {
                self.unexpected("grouping opts", "\",\" or \")\"");
                self.skip_to_list_end();
                if !self.eat(&TokenKind::Comma) && *self.kind() != TokenKind::RightParen {
                    return labels;
                }
            }
        }
        self.bump();
        labels
    }

    /// `(a, b)`, with the depth of the deepest.
    fn call_args(&mut self) -> (Vec<Expr>, usize) {
        let (mut args, mut depth) = (Vec::new(), 0);
        self.eat(&TokenKind::LeftParen);
        if self.eat(&TokenKind::RightParen) {
            return (args, depth);
        }
        loop {
            let before = self.mark();
            let (arg, d) = self.expr(0);
            depth = depth.max(d);
            args.push(arg);
            if !matches!(self.kind(), TokenKind::Comma | TokenKind::RightParen) {
                if !self.failed_since(before) {
                    self.unexpected_in_expr();
                }
                self.skip_to_list_end();
            }
            let comma = self.span();
            if !self.eat(&TokenKind::Comma) {
                break;
            }
            if *self.kind() == TokenKind::RightParen {
                self.error(comma, "trailing commas not allowed in function call args");
                break;
            }
        }
        if !self.eat(&TokenKind::RightParen) && matches!(self.kind(), TokenKind::Error(_)) {
            self.unexpected("", "");
        }
        (args, depth)
    }

    fn call(&mut self) -> (Expr, usize) {
        let name = self.bump();
        let raw = self.raw(name.span);
        let function = Function::from_name(raw);
        if function.is_none() {
            self.error(name.span, format!("unknown function with name {}", quote(raw)));
        }
        let (args, depth) = self.call_args();
        let span = Span { start: name.span.start, end: self.last_end() };
        let kind = match function {
            Some(function) => ExprKind::Call(Call { function, args }),
            None => ExprKind::Missing,
        };
        (Expr { span, kind }, depth + 1)
    }

    fn aggregate(&mut self, op: AggregateOp) -> (Expr, usize) {
        let start = self.bump().span;
        let written_first = *self.kind() != TokenKind::LeftParen;
        let mut grouping = self.grouping();
        self.aggregations += 1;
        if *self.kind() != TokenKind::LeftParen {
            self.unexpected("aggregation", "");
            self.aggregations -= 1;
            return self.missing();
        }
        let (mut args, depth) = self.call_args();
        self.aggregations -= 1;
        if !written_first {
            grouping = self.grouping();
        }
        let span = Span { start: start.start, end: self.last_end() };
        let wanted = if op.parameter().is_some() { 2 } else { 1 };
        if args.is_empty() {
            self.error(span, "no arguments for aggregate expression provided");
            return (Expr { span, kind: ExprKind::Missing }, 1);
        }
        if args.len() != wanted {
            let got = args.len();
            self.error(
                span,
                format!("wrong number of arguments for aggregate expression provided, expected {wanted}, got {got}"),
            );
            return (Expr { span, kind: ExprKind::Missing }, 1);
        }
        let Some(expr) = args.pop() else { return self.missing() };
        let aggregate = Aggregate { op, param: args.pop(), expr, grouping };
        (Expr { span, kind: ExprKind::Aggregate(Box::new(aggregate)) }, depth + 1)
    }

    fn grouping(&mut self) -> Grouping {
        if self.eat_keyword(Keyword::By) {
            let labels = self.grouping_labels();
            // `by ()` is the same as nothing.
            if labels.is_empty() { Grouping::None } else { Grouping::By(labels) }
        } else if self.eat_keyword(Keyword::Without) {
            Grouping::Without(self.grouping_labels())
        } else {
            Grouping::None
        }
    }

    fn range_or_subquery(&mut self, e: Expr) -> Expr {
        let bracket = self.bump().span;
        let before = self.mark();
        let Some(range) = self.whole_duration() else {
            self.unexpected("subquery or range selector", "number, duration, step(), or range()");
            return self.close_bracket(e);
        };
        self.positive(&range);
        if self.eat(&TokenKind::Colon) {
            let mut step = None;
            if *self.kind() != TokenKind::RightBracket {
                step = self.whole_duration();
                match &step {
                    Some(s) => self.positive(&s.clone()),
                    None => self.unexpected("subquery selector", "number, duration, step(), range(), or \"]\""),
                }
            }
            if *self.kind() != TokenKind::RightBracket {
                if !self.failed_since(before) {
                    self.unexpected("subquery selector", "\"]\"");
                }
                return self.close_bracket(e);
            }
            let end = self.bump().span.end;
            let span = Span { start: e.span.start, end };
            let subquery = Subquery { expr: e, range, step, modifiers: Modifiers::default() };
            return Expr { span, kind: ExprKind::Subquery(Box::new(subquery)) };
        }
        if *self.kind() != TokenKind::RightBracket {
            if !self.failed_since(before) {
                self.unexpected("subquery or range", "\":\" or \"]\"");
            }
            return self.close_bracket(e);
        }
        let end = self.bump().span;
        let span = Span { start: e.span.start, end: end.end };
        let brackets = bracket.to(end);
        match e.kind {
            ExprKind::Vector(selector) => {
                if selector.modifiers.offset.is_some() {
                    self.error(brackets, "no offset modifiers allowed before range");
                } else if selector.modifiers.at.is_some() {
                    self.error(brackets, "no @ modifiers allowed before range");
                }
                let matrix = MatrixSelector { selector, selector_span: e.span, range };
                Expr { span, kind: ExprKind::Matrix(matrix) }
            }
            kind => {
                self.error(brackets, "ranges only allowed for vector selectors");
                Expr { span, kind }
            }
        }
    }

    /// After an error inside brackets: goes on behind them.
    fn close_bracket(&mut self, e: Expr) -> Expr {
        while !matches!(self.kind(), TokenKind::RightBracket | TokenKind::Eof | TokenKind::Error(_)) {
            self.bump();
        }
        self.eat(&TokenKind::RightBracket);
        e
    }

    fn positive(&mut self, d: &DurationExpr) {
        if let DurationKind::Literal(n) = d.kind
            && n.value <= 0.0
        {
            self.error(d.span, "duration must be greater than 0");
        }
    }

    fn modifiers<'e>(&mut self, e: &'e mut Expr, what: &str) -> Option<&'e mut Modifiers> {
        match &mut e.kind {
            ExprKind::Vector(v) => Some(&mut v.modifiers),
            ExprKind::Matrix(m) => Some(&mut m.selector.modifiers),
            ExprKind::Subquery(s) => Some(&mut s.modifiers),
            ExprKind::Missing => None,
            _ => {
                let message = format!(
                    "{what} modifier must be preceded by an instant vector selector or range vector selector or a subquery"
                );
                self.error(e.span, message);
                None
            }
        }
    }

    fn set_offset(&mut self, e: &mut Expr, d: DurationExpr) {
        let span = e.span;
        let Some(m) = self.modifiers(e, "offset") else { return };
        if m.offset.is_some() {
            self.error(span, "offset may not be set multiple times");
        } else if !matches!(d.kind, DurationKind::Literal(n) if n.value == 0.0) {
            m.offset = Some(d);
        }
    }

    fn at_modifier(&mut self, e: &mut Expr) {
        let at = match (self.kind().clone(), self.kind_after()) {
            (TokenKind::Word(w @ (Word::Start | Word::End)), TokenKind::LeftParen) => {
                self.bump();
                self.bump();
                if !self.eat(&TokenKind::RightParen) {
                    self.unexpected("@", "timestamp");
                    return;
                }
                if w == Word::Start { At::Start } else { At::End }
            }
            _ => match self.signed_number() {
                Some(seconds) => {
                    if !seconds.is_finite() || seconds.abs() >= i64::MAX as f64 {
                        self.error(e.span, format!("timestamp out of bounds for @ modifier: {seconds:.6}"));
                    }
                    At::Time((seconds * 1000.0).round() as i64)
                }
                None => return self.unexpected("@", "timestamp"),
            },
        };
        let span = e.span;
        let Some(m) = self.modifiers(e, "@") else { return };
        if m.at.is_some() {
            self.error(span, "@ <timestamp> may not be set multiple times");
        } else {
            m.at = Some(at);
        }
    }

    fn set_extended(&mut self, e: &mut Expr, extended: Extended) {
        let word = if extended == Extended::Anchored { "anchored" } else { "smoothed" };
        let span = e.span;
        let slot = match &mut e.kind {
            ExprKind::Vector(v) => &mut v.extended,
            ExprKind::Matrix(m) => &mut m.selector.extended,
            ExprKind::Missing => return,
            ExprKind::Subquery(_) => {
                return self.error(span, format!("{word} modifier is not supported for subqueries"));
            }
            _ => return self.error(span, format!("{word} modifier not implemented")),
        };
        if slot.is_some_and(|other| other != extended) {
            self.error(span, "anchored and smoothed modifiers cannot be used together");
        } else {
            *slot = Some(extended);
        }
    }

    /// After `offset`: a literal ends it, so that `a offset 1m + b` is `(a offset 1m) + b`; only a parenthesis may go on.
    fn offset_duration(&mut self) -> Option<DurationExpr> {
        self.offset_expr().map(as_duration)
    }

    fn whole_duration(&mut self) -> Option<DurationExpr> {
        self.duration_expr(0).map(as_duration)
    }

    fn offset_expr(&mut self) -> Option<DurationExpr> {
        let signed = matches!(self.kind(), TokenKind::Op(BinaryOp::Add | BinaryOp::Sub));
        if !signed && *self.kind() == TokenKind::LeftParen {
            let mark = self.mark();
            if let Some(d) = self.duration_expr(0)
                && !self.failed_since(mark)
            {
                return Some(d);
            }
            self.rewind(mark);
        }
        self.duration_signed(Self::duration_primary)
    }

    /// A duration whose operators bind at least as tight as `min`. `None`: nothing was taken that could be one.
    pub(super) fn duration_expr(&mut self, min: u8) -> Option<DurationExpr> {
        // A sign binds as tight as `*`: `-2^2` is `-(2^2)`.
        let tight = BinaryOp::Mul.precedence() + 1;
        let mut lhs = match self.kind() {
            TokenKind::Op(BinaryOp::Add | BinaryOp::Sub) => self.duration_signed(|p| p.nested_duration(tight))?,
            _ => self.duration_primary()?,
        };
        while let TokenKind::Op(op) = *self.kind() {
            let arithmetic = matches!(op, BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod | BinaryOp::Pow)
                || matches!(op, BinaryOp::Add | BinaryOp::Sub);
            if !arithmetic || op.precedence() < min {
                break;
            }
            let op_span = self.bump().span;
            let rhs_min = if op == BinaryOp::Pow { op.precedence() } else { op.precedence() + 1 };
            self.duration_operators += 1;
            if self.duration_operators > OPERATORS_MAX {
                self.too_deep();
                break;
            }
            let Some(rhs) = self.nested_duration(rhs_min) else {
                self.unexpected("subquery or range selector", "number, duration, step(), or range()");
                return Some(lhs);
            };
            if let DurationKind::Literal(n) = rhs.kind
                && n.value == 0.0
            {
                match op {
                    BinaryOp::Div => self.error(op_span, "division by zero"),
                    BinaryOp::Mod => self.error(op_span, "modulo by zero"),
                    _ => {}
                }
            }
            let span = lhs.span.to(rhs.span);
            lhs = DurationExpr { span, kind: DurationKind::Binary(op, Box::new(lhs), Box::new(rhs)) };
        }
        Some(lhs)
    }

    /// Signs, then what `operand` takes.
    fn duration_signed(&mut self, operand: impl Fn(&mut Self) -> Option<DurationExpr>) -> Option<DurationExpr> {
        let mut signs = Vec::new();
        while let TokenKind::Op(op @ (BinaryOp::Add | BinaryOp::Sub)) = *self.kind() {
            // No text of use has many signs in a row; the bound keeps the tree flat.
            if signs.len() >= 16 {
                return None;
            }
            signs.push((op, self.bump().span));
        }
        let mut d = operand(self)?;
        while let Some((op, sign)) = signs.pop() {
            let span = sign.to(d.span);
            d = match (d.kind, op) {
                (DurationKind::Literal(n), BinaryOp::Sub) => {
                    DurationExpr { span, kind: DurationKind::Literal(NumberLiteral { value: -n.value, ..n }) }
                }
                (kind @ DurationKind::Literal(_), _) => DurationExpr { span, kind },
                (kind, BinaryOp::Sub) => {
                    let inner = Box::new(DurationExpr { span: d.span, kind });
                    DurationExpr { span, kind: DurationKind::Unary(UnaryOp::Minus, inner) }
                }
                (kind, _) => DurationExpr { span, kind },
            };
        }
        Some(d)
    }

    fn duration_primary(&mut self) -> Option<DurationExpr> {
        let span = self.span();
        let kind = match *self.kind() {
            TokenKind::Number | TokenKind::Duration => {
                let mut n = self.number_literal();
                if n.value.is_nan() || n.value > DURATION_SECONDS_MAX {
                    self.error(span, "duration out of range");
                    n.value = 1.0;
                }
                DurationKind::Literal(n)
            }
            TokenKind::LeftParen => {
                // Bounded by the same count as expressions.
                let mark = self.mark();
                self.bump();
                let inner = self.nested_duration(0)?;
                if !self.eat(&TokenKind::RightParen) {
                    self.rewind(mark);
                    return None;
                }
                DurationKind::Paren(Box::new(inner))
            }
            TokenKind::Word(w @ (Word::Step | Word::Range)) if *self.kind_after() == TokenKind::LeftParen => {
                self.bump();
                self.bump();
                if !self.eat(&TokenKind::RightParen) {
                    self.unexpected("subquery or range selector", "\")\"");
                }
                if w == Word::Step { DurationKind::Step } else { DurationKind::Range }
            }
            TokenKind::Word(w @ (Word::MinOf | Word::MaxOf)) if *self.kind_after() == TokenKind::LeftParen => {
                self.bump();
                self.bump();
                let a = Box::new(self.nested_duration(0)?);
                if !self.eat(&TokenKind::Comma) {
                    self.unexpected("subquery or range selector", "\",\"");
                    return None;
                }
                let b = Box::new(self.nested_duration(0)?);
                if !self.eat(&TokenKind::RightParen) {
                    self.unexpected("subquery or range selector", "\")\"");
                }
                if w == Word::MinOf { DurationKind::MinOf(a, b) } else { DurationKind::MaxOf(a, b) }
            }
            _ => return None,
        };
        Some(DurationExpr { span: Span { start: span.start, end: self.last_end() }, kind })
    }
}

/// Alone in its place, `300` means the same as `5m`.
fn as_duration(mut d: DurationExpr) -> DurationExpr {
    if let DurationKind::Literal(n) = &mut d.kind {
        n.duration = true;
    }
    d
}

/// `1h30m` in milliseconds, with Prometheus' words for what is wrong.
fn parse_duration_ms(text: &str) -> Result<i64, String> {
    belfry_model::duration::parse_duration(text)
        .ok()
        .and_then(|d| i64::try_from(d.as_millis()).ok())
        .ok_or_else(|| format!("not a valid duration string: {}", quote(text)))
        .and_then(|ms| {
            if ms as f64 / 1000.0 > DURATION_SECONDS_MAX { Err("duration out of range".to_owned()) } else { Ok(ms) }
        })
}

/// Go's rules: hexadecimal, octal with a leading zero, underscores; else a float.
fn parse_number(raw: &str) -> Option<f64> {
    let clean = raw.replace('_', "");
    let lower = clean.to_ascii_lowercase();
    if let Some(hex) = lower.strip_prefix("0x") {
        return i64::from_str_radix(hex, 16).ok().map(|n| n as f64);
    }
    match lower.as_str() {
        "inf" => return Some(f64::INFINITY),
        "nan" => return Some(f64::NAN),
        _ => {}
    }
    if clean.len() > 1
        && clean.starts_with('0')
        && let Ok(n) = i64::from_str_radix(&clean, 8)
    {
        return Some(n as f64);
    }
    clean.parse().ok()
}
