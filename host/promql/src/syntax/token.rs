//! Tokens and how messages name them.

use super::ast::{AggregateOp, BinaryOp};
use super::quote::{quote, quote_short};
use super::span::Span;

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TokenKind {
    /// End of the text.
    Eof,
    /// The lexer cannot go on; its message.
    Error(String),
    /// A name without a colon.
    Identifier,
    /// A name with a colon: only metrics have those.
    MetricIdentifier,
    Number,
    Duration,
    Str,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Comma,
    Colon,
    /// `=`
    Assign,
    /// `=~`
    RegexMatch,
    /// `!~`
    RegexNoMatch,
    /// `@`
    At,
    Op(BinaryOp),
    Aggregate(AggregateOp),
    Keyword(Keyword),
    /// `start`, `end`, `step`, `range`, `min_of`, `max_of`: words of `@` and of duration expressions.
    Word(Word),
}

/// Words with a meaning of their own, unless they stand where a name is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keyword {
    Bool,
    By,
    GroupLeft,
    GroupRight,
    Ignoring,
    Offset,
    On,
    Without,
    Fill,
    FillLeft,
    FillRight,
    Anchored,
    Smoothed,
}

/// See [`TokenKind::Word`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    Start,
    End,
    Step,
    Range,
    MinOf,
    MaxOf,
}

/// What this word is, when it is more than a name. Case does not matter.
pub(crate) fn keyword(word: &str) -> Option<TokenKind> {
    use TokenKind::{Aggregate, Keyword as K, Op, Word as W};
    let lower = word.to_ascii_lowercase();
    Some(match lower.as_str() {
        "and" => Op(BinaryOp::And),
        "or" => Op(BinaryOp::Or),
        "unless" => Op(BinaryOp::Unless),
        "atan2" => Op(BinaryOp::Atan2),
        "offset" => K(Keyword::Offset),
        "smoothed" => K(Keyword::Smoothed),
        "anchored" => K(Keyword::Anchored),
        "by" => K(Keyword::By),
        "without" => K(Keyword::Without),
        "on" => K(Keyword::On),
        "ignoring" => K(Keyword::Ignoring),
        "group_left" => K(Keyword::GroupLeft),
        "group_right" => K(Keyword::GroupRight),
        "fill" => K(Keyword::Fill),
        "fill_left" => K(Keyword::FillLeft),
        "fill_right" => K(Keyword::FillRight),
        "bool" => K(Keyword::Bool),
        "start" => W(Word::Start),
        "end" => W(Word::End),
        "step" => W(Word::Step),
        "range" => W(Word::Range),
        "min_of" => W(Word::MinOf),
        "max_of" => W(Word::MaxOf),
        "inf" | "nan" => TokenKind::Number,
        other => Aggregate(AggregateOp::from_name(other)?),
    })
}

/// A token and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    pub kind: TokenKind,
    pub span: Span,
}

impl Token {
    /// As messages name it: `identifier "foo"`, `<op:+>`, `<aggr:sum>`, `"("`, `end of input`.
    pub fn describe(&self, text: &str) -> String {
        let raw = text.get(self.span.start as usize..self.span.end as usize).unwrap_or("");
        match &self.kind {
            TokenKind::Eof => "end of input".to_owned(),
            TokenKind::Error(message) => format!("error {message}"),
            TokenKind::Identifier => format!("identifier {}", quote(raw)),
            TokenKind::MetricIdentifier => format!("metric identifier {}", quote(raw)),
            TokenKind::Number => format!("number {}", quote_short(raw)),
            TokenKind::Duration => format!("duration {}", quote_short(raw)),
            TokenKind::Str => format!("string {}", quote_short(raw)),
            TokenKind::Keyword(_) => format!("<{raw}>"),
            TokenKind::Op(_) | TokenKind::At | TokenKind::RegexMatch | TokenKind::RegexNoMatch => {
                format!("<op:{raw}>")
            }
            TokenKind::Aggregate(_) => format!("<aggr:{raw}>"),
            _ => quote_short(raw),
        }
    }
}
