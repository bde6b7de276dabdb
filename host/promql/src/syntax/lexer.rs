//! Text → tokens. The rules change inside braces (names are names) and inside brackets (durations and their words).
//!
//! Invariant: any text gives a list that ends in `Eof` or `Error`; spans ascend. Comments and spaces are left out.

use super::ast::BinaryOp;
use super::quote::quote;
use super::span::Span;
use super::token::{Keyword, Token, TokenKind, keyword};

/// All tokens of `text`.
pub(crate) fn lex(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { text, pos: 0, tokens: Vec::new(), parens: 0, in_braces: false, in_brackets: false };
    if let Err(Stop { start, message }) = lexer.run() {
        let span = Span::new(start, text.len());
        lexer.tokens.push(Token { kind: TokenKind::Error(message), span });
    }
    lexer.tokens
}

struct Lexer<'a> {
    text: &'a str,
    pos: usize,
    tokens: Vec<Token>,
    parens: usize,
    in_braces: bool,
    in_brackets: bool,
}

struct Stop {
    start: usize,
    message: String,
}

fn is_alpha(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic()
}

fn is_alnum(c: char) -> bool {
    is_alpha(c) || c.is_ascii_digit()
}

/// A character as Go's `%q` writes it.
fn quote_char(c: Option<char>) -> String {
    match c {
        None => "end of input".to_owned(),
        Some('\'') => r"'\''".to_owned(),
        Some('"') => "'\"'".to_owned(),
        Some(char::REPLACEMENT_CHARACTER) => format!("'{}'", char::REPLACEMENT_CHARACTER),
        Some(c) => {
            let q = quote(&c.to_string());
            format!("'{}'", &q[1..q.len() - 1])
        }
    }
}

impl Lexer<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.pos..].chars().next()
    }

    fn peek_second(&self) -> Option<char> {
        self.text[self.pos..].chars().nth(1)
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.pos += c.len_utf8();
        Some(c)
    }

    fn take_while(&mut self, f: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&f) {
            self.bump();
        }
    }

    fn push(&mut self, kind: TokenKind, start: usize) {
        self.tokens.push(Token { kind, span: Span::new(start, self.pos) });
    }

    fn run(&mut self) -> Result<(), Stop> {
        loop {
            self.take_while(|c| matches!(c, ' ' | '\t' | '\n' | '\r'));
            let start = self.pos;
            let stop = |message: String| Err(Stop { start, message });
            let Some(c) = self.peek() else {
                if self.in_braces {
                    return stop("unexpected end of input inside braces".to_owned());
                }
                if self.parens > 0 {
                    return stop("unclosed left parenthesis".to_owned());
                }
                if self.in_brackets {
                    return stop("unclosed left bracket".to_owned());
                }
                self.push(TokenKind::Eof, start);
                return Ok(());
            };
            match c {
                '#' => self.take_while(|c| c != '\n' && c != '\r'),
                '"' | '\'' | '`' => self.string(c, start)?,
                _ if self.in_braces => self.brace_token(c, start)?,
                _ => self.token(c, start)?,
            }
        }
    }

    fn brace_token(&mut self, c: char, start: usize) -> Result<(), Stop> {
        self.bump();
        let kind = match c {
            c if is_alpha(c) => {
                self.take_while(is_alnum);
                TokenKind::Identifier
            }
            ',' => TokenKind::Comma,
            '=' if self.peek() == Some('~') => {
                self.bump();
                TokenKind::RegexMatch
            }
            '=' => TokenKind::Assign,
            '!' => match self.bump() {
                Some('~') => TokenKind::RegexNoMatch,
                Some('=') => TokenKind::Op(BinaryOp::Ne),
                other => {
                    let message = format!("unexpected character after '!' inside braces: {}", quote_char(other));
                    return Err(Stop { start, message });
                }
            },
            '{' => return Err(Stop { start, message: "unexpected left brace '{'".to_owned() }),
            '}' => {
                self.in_braces = false;
                TokenKind::RightBrace
            }
            c => {
                let message = format!("unexpected character inside braces: {}", quote_char(Some(c)));
                return Err(Stop { start, message });
            }
        };
        self.push(kind, start);
        Ok(())
    }

    fn token(&mut self, c: char, start: usize) -> Result<(), Stop> {
        let stop = |message: String| Err(Stop { start, message });
        if c.is_ascii_digit() || (c == '.' && self.peek_second().is_some_and(|c| c.is_ascii_digit())) {
            return self.number_or_duration(start);
        }
        if is_alpha(c) || (c == ':' && !self.in_brackets) {
            return self.word(start);
        }
        self.bump();
        let next = self.peek();
        let mut two = |kind: TokenKind| {
            self.pos += 1;
            kind
        };
        let kind = match (c, next) {
            (',', _) => TokenKind::Comma,
            ('*', _) => TokenKind::Op(BinaryOp::Mul),
            ('/', _) => TokenKind::Op(BinaryOp::Div),
            ('%', _) => TokenKind::Op(BinaryOp::Mod),
            ('+', _) => TokenKind::Op(BinaryOp::Add),
            ('-', _) => TokenKind::Op(BinaryOp::Sub),
            ('^', _) => TokenKind::Op(BinaryOp::Pow),
            ('=', Some('=')) => two(TokenKind::Op(BinaryOp::Eq)),
            ('=', Some('~')) => return stop("unexpected character after '=': '~'".to_owned()),
            ('=', _) => TokenKind::Assign,
            ('!', Some('=')) => two(TokenKind::Op(BinaryOp::Ne)),
            ('!', other) => return stop(format!("unexpected character after '!': {}", quote_char(other))),
            ('<', Some('=')) => two(TokenKind::Op(BinaryOp::Le)),
            ('<', Some('/')) => two(TokenKind::Op(BinaryOp::TrimUpper)),
            ('<', _) => TokenKind::Op(BinaryOp::Lt),
            ('>', Some('=')) => two(TokenKind::Op(BinaryOp::Ge)),
            ('>', Some('/')) => two(TokenKind::Op(BinaryOp::TrimLower)),
            ('>', _) => TokenKind::Op(BinaryOp::Gt),
            ('@', _) => TokenKind::At,
            ('(', _) => {
                self.parens += 1;
                TokenKind::LeftParen
            }
            (')', _) => {
                let Some(parens) = self.parens.checked_sub(1) else {
                    return stop("unexpected right parenthesis ')'".to_owned());
                };
                self.parens = parens;
                TokenKind::RightParen
            }
            ('{', _) => {
                self.in_braces = true;
                TokenKind::LeftBrace
            }
            ('[', _) if self.in_brackets => return stop("unexpected left bracket '['".to_owned()),
            ('[', _) => {
                self.in_brackets = true;
                TokenKind::LeftBracket
            }
            (']', _) if !self.in_brackets => return stop("unexpected right bracket ']'".to_owned()),
            (']', _) => {
                self.in_brackets = false;
                TokenKind::RightBracket
            }
            (':', _) => TokenKind::Colon,
            (c, _) => return stop(format!("unexpected character: {}", quote_char(Some(c)))),
        };
        self.push(kind, start);
        Ok(())
    }

    fn word(&mut self, start: usize) -> Result<(), Stop> {
        let in_brackets = self.in_brackets;
        self.take_while(|c| is_alnum(c) || (c == ':' && !in_brackets));
        let word = &self.text[start..self.pos];
        let kind = match keyword(word) {
            Some(kind @ TokenKind::Word(_)) => kind,
            _ if in_brackets => {
                let c = quote_char(word.chars().next());
                return Err(Stop { start, message: format!("unexpected character in duration expression: {c}") });
            }
            // New words, kept from breaking old names: modifiers only before a parenthesis.
            Some(TokenKind::Keyword(Keyword::Fill | Keyword::FillLeft | Keyword::FillRight))
                if !self.text[self.pos..].trim_start().starts_with('(') =>
            {
                TokenKind::Identifier
            }
            Some(kind) => kind,
            None if word.contains(':') => TokenKind::MetricIdentifier,
            None => TokenKind::Identifier,
        };
        self.push(kind, start);
        Ok(())
    }

    fn string(&mut self, quote: char, start: usize) -> Result<(), Stop> {
        let stop = |message: String| Err(Stop { start, message });
        self.bump();
        loop {
            match self.bump() {
                None if quote == '`' => return stop("unterminated raw string".to_owned()),
                None => return stop("unterminated quoted string".to_owned()),
                Some(c) if c == quote => break,
                // What was no UTF-8 became this on its way; as in Prometheus the character itself is refused with it.
                Some(char::REPLACEMENT_CHARACTER) => return stop("invalid UTF-8 rune".to_owned()),
                Some(_) if quote == '`' => {}
                Some('\n') => return stop("unterminated quoted string".to_owned()),
                Some('\\') => self.escape(quote, start)?,
                Some(_) => {}
            }
        }
        self.push(TokenKind::Str, start);
        Ok(())
    }

    fn escape(&mut self, quote: char, start: usize) -> Result<(), Stop> {
        let stop = |message: String| Err(Stop { start, message });
        let unicode = |c: char| format!("U+{:04X} '{c}'", c as u32);
        let (digits, radix, max) = match self.bump() {
            Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\') => return Ok(()),
            Some(c) if c == quote => return Ok(()),
            Some('0'..='7') => {
                self.pos -= 1;
                (3, 8, 255)
            }
            Some('x') => (2, 16, 255),
            Some('u') => (4, 16, 0x10_ffff),
            Some('U') => (8, 16, 0x10_ffff),
            None => return stop("escape sequence not terminated".to_owned()),
            Some(c) => return stop(format!("unknown escape sequence {}", unicode(c))),
        };
        let mut code: u64 = 0;
        for _ in 0..digits {
            match self.bump() {
                None => return stop("escape sequence not terminated".to_owned()),
                Some(c) => match c.to_digit(radix) {
                    Some(d) => code = code * u64::from(radix) + u64::from(d),
                    None => return stop(format!("illegal character {} in escape sequence", unicode(c))),
                },
            }
        }
        if code > max || (0xd800..0xe000).contains(&code) {
            return stop("escape sequence is an invalid Unicode code point".to_owned());
        }
        Ok(())
    }

    fn number_or_duration(&mut self, start: usize) -> Result<(), Stop> {
        if self.number() && !self.peek().is_some_and(is_alnum) {
            self.push(TokenKind::Number, start);
            return Ok(());
        }
        self.pos = start;
        if self.duration() {
            self.push(TokenKind::Duration, start);
            return Ok(());
        }
        self.take_while(|c| is_alnum(c) || c == '.');
        let message = format!("bad number or duration syntax: {}", quote(&self.text[start..self.pos]));
        Err(Stop { start, message })
    }

    /// Moves over a number; false when what stands there is none.
    fn number(&mut self) -> bool {
        let rest = &self.text[self.pos..];
        if rest.starts_with("0x") || rest.starts_with("0X") {
            self.pos += 2;
            let from = self.pos;
            self.take_while(|c| c.is_ascii_hexdigit() || c == '_');
            return self.pos > from && !self.text[..self.pos].ends_with('_');
        }
        let digits = |s: &mut Self| {
            let from = s.pos;
            s.take_while(|c| c.is_ascii_digit() || c == '_');
            (s.pos > from, s.text[from..s.pos].starts_with('_') || s.text[from..s.pos].ends_with('_'))
        };
        let (whole, mut bad) = digits(self);
        let mut fraction = false;
        if self.peek() == Some('.') {
            self.bump();
            let (some, bad_fraction) = digits(self);
            fraction = some;
            bad |= bad_fraction;
        }
        if matches!(self.peek(), Some('e' | 'E')) {
            self.bump();
            if matches!(self.peek(), Some('+' | '-')) {
                self.bump();
            }
            let (some, bad_exponent) = digits(self);
            bad |= bad_exponent || !some;
        }
        (whole || fraction) && !bad
    }

    /// Moves over `1h30m`; false when what stands there is no duration. Wrong orders are found later.
    fn duration(&mut self) -> bool {
        let mut some = false;
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.take_while(|c| c.is_ascii_digit());
            if !matches!(self.bump(), Some('s' | 'm' | 'h' | 'd' | 'w' | 'y')) {
                return false;
            }
            if self.peek() == Some('s') {
                self.bump();
            }
            some = true;
        }
        some && !self.peek().is_some_and(is_alnum)
    }
}
