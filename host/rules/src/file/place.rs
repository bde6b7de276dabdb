//! Places in a rule file, and text that knows where each of its bytes was written.
//!
//! Invariant: a place is what an editor shows: line and column from 1, columns in characters.

use std::fmt;
use std::ops::Deref;

use granit_parser::ScalarStyle;

/// Where something stands in its file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A value with its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located<T> {
    /// What was written.
    pub value: T,
    /// Where it begins.
    pub at: Place,
}

/// What is wrong with a file, where, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// What is wrong; Prometheus' words where it has some.
    pub message: String,
    /// How to mend it.
    pub help: Option<String>,
}

impl Problem {
    /// With advice.
    pub fn new(at: Place, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { line: at.line, column: at.column, message: message.into(), help: Some(help.into()) }
    }

    /// Where the message says all.
    pub fn plain(at: Place, message: impl Into<String>) -> Self {
        Self { line: at.line, column: at.column, message: message.into(), help: None }
    }

    /// As it is printed: `file:line:column: message`, the help on a line of its own.
    pub fn in_file(&self, file: &str) -> String {
        let mut text = format!("{file}:{}:{}: {}", self.line, self.column, self.message);
        if let Some(help) = &self.help {
            text.push_str("\n  help: ");
            text.push_str(help);
        }
        text
    }
}

/// A scalar as YAML means it, with the place of each of its bytes. Compares by value alone.
#[derive(Clone, Debug, Default)]
pub struct Text {
    value: String,
    at: Place,
    /// Where runs that stand unbroken on one line begin: offset within `value`, and place. Ascending.
    pieces: Vec<(u32, Place)>,
}

impl Text {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.value
    }

    /// Where it begins (at its quote or block mark, if it has one).
    pub fn at(&self) -> Place {
        self.at
    }

    /// The place in the file of the byte `offset` of the text.
    pub fn place(&self, offset: usize) -> Place {
        let offset = offset.min(self.value.len());
        let after = self.pieces.partition_point(|(o, _)| *o as usize <= offset);
        let Some((start, at)) = after.checked_sub(1).and_then(|i| self.pieces.get(i)) else { return self.at };
        let passed = self.value.get(*start as usize..offset).map_or(0, |s| s.chars().count());
        Place { line: at.line, column: at.column + passed as u32 }
    }

    /// `source` is what was written, from `at` on; `value` what YAML makes of it.
    pub(crate) fn new(value: String, at: Place, source: &str, style: ScalarStyle) -> Self {
        let pieces = pieces(&value, at, source, style);
        Self { value, at, pieces }
    }
}

impl Deref for Text {
    type Target = str;
    fn deref(&self) -> &str {
        &self.value
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Eq for Text {}

/// A walk over what was written.
struct Source<'a> {
    rest: &'a str,
    at: Place,
}

impl Source<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn second(&self) -> Option<char> {
        self.rest.chars().nth(1)
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        if c == '\n' {
            self.at = Place { line: self.at.line + 1, column: 1 };
        } else {
            self.at.column += 1;
        }
        Some(c)
    }

    fn skip(&mut self, n: usize) {
        for _ in 0..n {
            self.next();
        }
    }

    /// Length of an escape in characters, and whether it stands for white space (an escaped line break, too).
    fn escape(&self) -> Option<(usize, bool)> {
        if self.peek()? != '\\' {
            return None;
        }
        Some(match self.second()? {
            'x' => (4, false),
            'u' => (6, false),
            'U' => (10, false),
            'n' | 't' | 'r' | ' ' | '\t' | '\n' | 'f' | 'v' | 'N' | '_' | 'L' | 'P' => (2, true),
            _ => (2, false),
        })
    }
}

/// Folding and indentation change white space only: so what is none comes in the same order in both.
fn pieces(value: &str, at: Place, source: &str, style: ScalarStyle) -> Vec<(u32, Place)> {
    let mut source = Source { rest: source, at };
    match style {
        ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => source.skip(1),
        ScalarStyle::Literal | ScalarStyle::Folded if source.peek().is_some_and(|c| c == '|' || c == '>') => {
            while source.next().is_some_and(|c| c != '\n') {}
        }
        _ => {}
    }
    let double = style == ScalarStyle::DoubleQuoted;
    let mut pieces: Vec<(u32, Place)> = Vec::new();
    // Where the next byte is if the run goes on: its place, and characters of the value passed since.
    let mut run: Option<(Place, u32)> = None;
    for (offset, c) in value.char_indices() {
        if let Some((_, passed)) = &mut run {
            *passed += 1;
        }
        if c.is_whitespace() {
            continue;
        }
        loop {
            match source.peek() {
                None => return pieces,
                Some(s) if s.is_whitespace() => source.skip(1),
                Some('\\') if double => match source.escape() {
                    Some((n, true)) => source.skip(n),
                    _ => break,
                },
                Some(_) => break,
            }
        }
        let here = source.at;
        let unbroken = run.is_some_and(|(from, passed)| from.line == here.line && from.column + passed == here.column);
        if !unbroken {
            pieces.push((offset as u32, here));
            run = Some((here, 0));
        }
        let length = match source.escape() {
            Some((n, _)) if double => n,
            _ if style == ScalarStyle::SingleQuoted && c == '\'' => 2,
            _ => 1,
        };
        source.skip(length);
    }
    pieces
}
