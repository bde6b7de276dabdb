//! Regular expressions as users of Prometheus write them, given to the engine of the `regex` crate.
//!
//! Prometheus reads them with Go's `regexp/syntax` (flags `Perl`), the syntax of RE2
//! (<https://github.com/google/re2/wiki/Syntax>, <https://pkg.go.dev/regexp/syntax>). `regex` reads a syntax that looks
//! the same and means other things: `[a&&b]` is an intersection there, `\d` has the digits of all scripts, `{,5}` is an
//! error, `(?x)` is none. So an expression is read once as Go reads it and written anew in words that `regex` has one
//! meaning for.
//!
//! Invariant: what is accepted means what it means in Go, and what Go refuses is refused in Go's words. Reading takes
//! time and memory in proportion to the expression.
//! Not here: which label an expression is for; the engine.
//!
//! Three things that Go accepts are refused: groups nested deeper than the engine's parser goes (some eighty),
//! expressions that take more than [`COMPILED_BYTES_MAX`], and two captures of one name.

mod class;
mod escape;
mod literals;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt;

pub use literals::literals;

/// What is wrong with an expression, in the words of Go's `regexp/syntax`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// `[b-a]`, `[[:word]:]`, `\p{Nothing}`
    InvalidCharRange,
    /// `\q`
    InvalidEscape,
    /// `(?P<n`
    InvalidNamedCapture,
    /// `(?x)`
    InvalidPerlOp,
    /// `a**`
    InvalidRepeatOp,
    /// `a{1001}`
    InvalidRepeatSize,
    /// `[a`
    MissingBracket,
    /// `(a`
    MissingParen,
    /// `*`
    MissingRepeatArgument,
    /// `a\`
    TrailingBackslash,
    /// `a)`
    UnexpectedParen,
    /// Nested too deeply.
    NestingDepth,
    /// It takes more than [`PATTERN_BYTES_MAX`], or compiled more than [`COMPILED_BYTES_MAX`].
    Large,
    /// `(?P<n>a)(?P<n>b)`
    DuplicateNames,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InvalidCharRange => "invalid character class range",
            Self::InvalidEscape => "invalid escape sequence",
            Self::InvalidNamedCapture => "invalid named capture",
            Self::InvalidPerlOp => "invalid or unsupported Perl syntax",
            Self::InvalidRepeatOp => "invalid nested repetition operator",
            Self::InvalidRepeatSize => "invalid repeat count",
            Self::MissingBracket => "missing closing ]",
            Self::MissingParen => "missing closing )",
            Self::MissingRepeatArgument => "missing argument to repetition operator",
            Self::TrailingBackslash => "trailing backslash at end of expression",
            Self::UnexpectedParen => "unexpected )",
            Self::NestingDepth => "expression nests too deeply",
            Self::Large => "expression too large",
            Self::DuplicateNames => "duplicate capture group name",
        })
    }
}

/// A text is no regular expression. It reads as Go's error without `error parsing regexp: ` before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: `{}`", shown(.expression))]
pub struct Error {
    /// What is wrong.
    pub reason: Reason,
    /// The part where it is wrong; the whole where that is no one part.
    pub expression: String,
}

/// Longer parts of an expression are cut in messages.
const SHOWN_BYTES_MAX: usize = 512;

/// As much of an expression as a message can have.
pub(crate) fn shown(expression: &str) -> String {
    match expression.char_indices().find(|(at, c)| at + c.len_utf8() > SHOWN_BYTES_MAX) {
        Some((end, _)) => format!("{}…", &expression[..end]),
        None => expression.to_owned(),
    }
}

/// Expressions longer than this are refused: read they take some hundred times as much, and almost all of them would
/// take more than [`COMPILED_BYTES_MAX`]. Alternatives of plain text have no limit, see [`literals()`].
pub const PATTERN_BYTES_MAX: usize = 1 << 20;

/// A compiled expression may not take more bytes than this: some 20,000 alternatives, a second or two to compile.
pub const COMPILED_BYTES_MAX: usize = 32 << 20;

/// The classes of an expression may have this many ranges in all: some 3,000 like `\pL`, with `(?i)` 240,
/// or 30 like `[\W]`. Without a limit, a megabyte of them took minutes to read before their size was known.
const CLASS_COST_MAX: usize = 1 << 22;

/// An expression that must match the whole text, `.` the end of a line too, and that captures: of `label_replace` and of
/// relabelling.
pub fn whole(pattern: &str) -> Result<regex::Regex, Error> {
    compile(pattern, &format!("^(?s:{})$", Parser::new(pattern, true, true).read()?))
}

/// Like [`whole`] where only whether it matches is asked, as of matchers: its groups are not captured.
pub fn whole_match(pattern: &str) -> Result<regex::Regex, Error> {
    compile(pattern, &format!("^(?s:{})$", translated(pattern)?))
}

/// An expression that may match anywhere, `.` not the end of a line, and that captures: Go's `regexp.Compile`, as in
/// templates.
pub fn anywhere(pattern: &str) -> Result<regex::Regex, Error> {
    compile(pattern, &Parser::new(pattern, false, true).read()?)
}

/// An expression without its anchors in the syntax of `regex`, for those who look at its parts. `.` must match the end of
/// a line where it is read (`dot_matches_new_line`); nothing is captured.
pub fn translated(pattern: &str) -> Result<String, Error> {
    Parser::new(pattern, true, false).read()
}

fn compile(pattern: &str, translated: &str) -> Result<regex::Regex, Error> {
    regex::RegexBuilder::new(translated).size_limit(COMPILED_BYTES_MAX).build().map_err(|e| {
        // What was translated is well-formed: only how deep it goes is left to be wrong.
        let too_large = matches!(e, regex::Error::CompiledTooBig(_));
        error(if too_large { Reason::Large } else { Reason::NestingDepth }, pattern)
    })
}

fn error(reason: Reason, expression: &str) -> Error {
    Error { reason, expression: expression.to_owned() }
}

/// What `(?imsU)` sets.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Flags {
    fold_case: bool,
    lines: bool,
    dot_newline: bool,
    lazy: bool,
}

/// What a repetition can apply to: the last thing that was written.
#[derive(Clone, Copy)]
struct Atom {
    /// Where it starts in what was written.
    start: usize,
    /// How often its parts are repeated at most: the product of repetitions within each other.
    copies: u32,
    repeated: bool,
}

/// Between a group's parentheses, or outside of all.
struct Level {
    /// What holds outside of it.
    flags: Flags,
    /// Where it starts in what was written.
    start: usize,
    last: Option<Atom>,
    copies: u32,
}

/// One pass over an expression, in the order and with the decisions of Go's `syntax.Parse`.
struct Parser<'p> {
    pattern: &'p str,
    rest: &'p str,
    out: String,
    /// What holds now.
    flags: Flags,
    /// What holds for `regex` where writing is; `lazy` is never left to it.
    written: Flags,
    levels: Vec<Level>,
    level: Level,
    /// The text from the last repetition on, if nothing came after it.
    repetition: Option<&'p str>,
    /// Repetitions of repetitions, each a group that was not in the pattern.
    wrapped: usize,
    captures: bool,
    names: HashSet<&'p str>,
    classes: class::Classes,
}

/// The product of repetitions within each other.
const COPIES_MAX: u32 = 1_000;

/// Go counts the height of its tree.
const HEIGHT_MAX: usize = 1_000;

impl<'p> Parser<'p> {
    fn new(pattern: &'p str, dot_newline: bool, captures: bool) -> Self {
        let flags = Flags { fold_case: false, lines: false, dot_newline, lazy: false };
        Self {
            pattern,
            rest: pattern,
            out: String::with_capacity(pattern.len().min(PATTERN_BYTES_MAX) + 16),
            flags,
            written: flags,
            levels: Vec::new(),
            level: Level { flags, start: 0, last: None, copies: 1 },
            repetition: None,
            wrapped: 0,
            captures,
            names: HashSet::new(),
            classes: class::Classes::default(),
        }
    }

    /// The expression in the syntax of `regex`. Around it must hold the flags that this began with.
    fn read(mut self) -> Result<String, Error> {
        if self.pattern.len() > PATTERN_BYTES_MAX {
            return Err(error(Reason::Large, self.pattern));
        }
        while let Some(c) = self.rest.chars().next() {
            let before = self.rest;
            let repetition = self.repetition.take();
            self.rest = &before[c.len_utf8()..];
            self.classes.fold = self.flags.fold_case;
            match c {
                '(' if self.rest.starts_with('?') => self.perl_group(before)?,
                '(' => self.open(if self.captures { "(" } else { "(?:" }),
                '|' => self.bar(),
                ')' => self.close()?,
                '^' | '$' | '.' => self.atom(|out, _| out.push(c)),
                '[' => {
                    let (class, rest) = self.classes.bracketed(before)?;
                    self.rest = rest;
                    self.atom(|out, _| out.push_str(&class));
                }
                '*' | '+' | '?' => self.repeat(before, repetition, 1, |out| out.push(c))?,
                '{' => self.counted(before, repetition)?,
                '\\' => self.escaped(before)?,
                c => self.literal(c as u32),
            }
            if self.classes.cost > CLASS_COST_MAX {
                return Err(error(Reason::Large, self.pattern));
            }
        }
        if !self.levels.is_empty() {
            return Err(error(Reason::MissingParen, self.pattern));
        }
        Ok(self.out)
    }

    /// Writes flags that have changed; they wait until there is something that they hold for.
    fn write_flags(&mut self) {
        let (now, was) = (self.flags, self.written);
        let changes =
            [('i', now.fold_case, was.fold_case), ('m', now.lines, was.lines), ('s', now.dot_newline, was.dot_newline)];
        let some = |on: bool| changes.iter().filter(move |(_, now, was)| now != was && *now == on).map(|(c, ..)| *c);
        let (on, off): (String, String) = (some(true).collect(), some(false).collect());
        match (on.as_str(), off.as_str()) {
            ("", "") => {}
            (on, "") => self.out.extend(["(?", on, ")"]),
            (on, off) => self.out.extend(["(?", on, "-", off, ")"]),
        }
        self.written = now;
    }

    fn atom(&mut self, write: impl FnOnce(&mut String, &Flags)) {
        self.write_flags();
        self.level.last = Some(Atom { start: self.out.len(), copies: 1, repeated: false });
        write(&mut self.out, &self.flags);
    }

    fn literal(&mut self, code: u32) {
        self.atom(|out, _| match char::from_u32(code) {
            Some(c) => class::write_char(out, c),
            // Half of a pair of UTF-16 is in no text.
            None => out.push_str(class::NOTHING),
        });
    }

    fn open(&mut self, text: &str) {
        self.write_flags();
        let level = Level { flags: self.flags, start: self.out.len(), last: None, copies: 1 };
        self.levels.push(std::mem::replace(&mut self.level, level));
        self.out.push_str(text);
    }

    fn bar(&mut self) {
        self.write_flags();
        self.level.last = None;
        self.out.push('|');
    }

    fn close(&mut self) -> Result<(), Error> {
        let outer = self.levels.pop().ok_or_else(|| error(Reason::UnexpectedParen, self.pattern))?;
        let Level { flags, start, copies, .. } = std::mem::replace(&mut self.level, outer);
        self.out.push(')');
        (self.flags, self.written) = (flags, flags);
        self.level.last = Some(Atom { start, copies, repeated: false });
        self.level.copies = self.level.copies.max(copies);
        Ok(())
    }

    /// A repetition that starts at `before`, of `copies` at most, and ends where the rest starts. `earlier`: another
    /// that ends where it starts.
    fn repeat(
        &mut self,
        before: &'p str,
        earlier: Option<&'p str>,
        copies: u32,
        write: impl FnOnce(&mut String),
    ) -> Result<(), Error> {
        let mut lazy = self.flags.lazy;
        if let Some(rest) = self.rest.strip_prefix('?') {
            self.rest = rest;
            lazy = !lazy;
        }
        let upto = |from: &'p str, rest: &str| &from[..from.len() - rest.len()];
        if let Some(earlier) = earlier {
            return Err(error(Reason::InvalidRepeatOp, upto(earlier, self.rest)));
        }
        let here = upto(before, self.rest);
        let Some(atom) = &mut self.level.last else { return Err(error(Reason::MissingRepeatArgument, here)) };
        // Nothing repeated any number of times is nothing.
        atom.copies = if copies == 0 { 1 } else { atom.copies.saturating_mul(copies) };
        if atom.copies > COPIES_MAX {
            return Err(error(Reason::InvalidRepeatSize, here));
        }
        // `a*(?i)*`: flags stand between, so that it is none of the nested ones.
        if atom.repeated {
            self.wrapped += 1;
            if self.wrapped > HEIGHT_MAX {
                return Err(error(Reason::NestingDepth, self.pattern));
            }
            self.out.insert_str(atom.start, "(?:");
            self.out.push(')');
        }
        atom.repeated = true;
        self.level.copies = self.level.copies.max(atom.copies);
        write(&mut self.out);
        if lazy {
            self.out.push('?');
        }
        self.repetition = Some(before);
        Ok(())
    }

    /// `{2}`, `{2,}`, `{2,3}`; else the brace stands for itself.
    fn counted(&mut self, before: &'p str, earlier: Option<&'p str>) -> Result<(), Error> {
        let Some((min, max, rest)) = counts(self.rest) else {
            self.literal('{' as u32);
            return Ok(());
        };
        self.rest = rest;
        let bad = |n: u32| n > COPIES_MAX;
        if bad(min) || max.is_some_and(|max| bad(max) || min > max) {
            return Err(error(Reason::InvalidRepeatSize, &before[..before.len() - rest.len()]));
        }
        // `{0,}` is `*`.
        let copies = max.unwrap_or(min.max(1));
        self.repeat(before, earlier, copies, |out| match max {
            Some(max) => out.push_str(&format!("{{{min},{max}}}")),
            None => out.push_str(&format!("{{{min},}}")),
        })
    }

    /// What starts with `(?`: flags, and groups that have a name or are not captured.
    fn perl_group(&mut self, before: &'p str) -> Result<(), Error> {
        let name_at = match before {
            b if b.len() > 4 && b.starts_with("(?P<") => Some(4),
            b if b.len() > 3 && b.starts_with("(?<") => Some(3),
            _ => None,
        };
        if let Some(name_at) = name_at {
            return self.named(before, name_at);
        }
        let mut flags = self.flags;
        let (mut on, mut any) = (true, false);
        let mut chars = before[2..].chars();
        loop {
            let c = chars.next();
            match c {
                Some('i') => flags.fold_case = on,
                Some('m') => flags.lines = on,
                Some('s') => flags.dot_newline = on,
                Some('U') => flags.lazy = on,
                Some('-') if on => {
                    (on, any) = (false, false);
                    continue;
                }
                Some(':' | ')') if on || any => {
                    self.rest = chars.as_str();
                    if c == Some(':') {
                        self.open("(?:");
                    }
                    self.flags = flags;
                    return Ok(());
                }
                _ => {
                    let read = &before[..before.len() - chars.as_str().len()];
                    return Err(error(Reason::InvalidPerlOp, read));
                }
            }
            any = true;
        }
    }

    /// `(?P<name>`, `(?<name>`
    fn named(&mut self, before: &'p str, name_at: usize) -> Result<(), Error> {
        let bad = |text| Err(error(Reason::InvalidNamedCapture, text));
        let Some(end) = before.find('>') else { return bad(before) };
        let (name, text) = (&before[name_at..end], &before[..=end]);
        if name.is_empty() || !name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric()) {
            return bad(text);
        }
        self.rest = &before[end + 1..];
        if !self.captures {
            self.open("(?:");
            return Ok(());
        }
        // Go has the first one that took part stand for the name; `regex` has one group of a name.
        if !self.names.insert(name) {
            return Err(error(Reason::DuplicateNames, name));
        }
        // `regex` has no names that start with a digit. Of digits alone, they would be numbers where they are used.
        if name.starts_with(|c: char| c.is_ascii_digit()) {
            self.open("(");
        } else {
            self.open(&format!("(?P<{name}>"));
        }
        Ok(())
    }

    /// What starts with a backslash, outside of brackets.
    fn escaped(&mut self, before: &'p str) -> Result<(), Error> {
        let simple = match self.rest.chars().next() {
            Some('A') => Some(r"\A"),
            Some('z') => Some(r"\z"),
            Some('b') => Some(r"(?-u:\b)"),
            Some('B') => Some(r"(?-u:\B)"),
            Some('Q') => {
                let text = &self.rest[1..];
                let (quoted, rest) = text.split_once(r"\E").unwrap_or((text, ""));
                self.rest = rest;
                quoted.chars().for_each(|c| self.literal(c as u32));
                return Ok(());
            }
            _ => None,
        };
        if let Some(simple) = simple {
            self.rest = &self.rest[1..];
            self.atom(|out, _| out.push_str(simple));
            return Ok(());
        }
        if let Some((class, rest)) = self.classes.escaped(before)? {
            self.rest = rest;
            self.atom(|out, _| out.push_str(&class.alone()));
            return Ok(());
        }
        let (code, rest) = escape::character(before)?;
        self.rest = rest;
        self.literal(code);
        Ok(())
    }
}

/// What follows a `{`: at least how often, at most how often, and the rest. Numbers too large for Go are too large here.
fn counts(text: &str) -> Option<(u32, Option<u32>, &str)> {
    let (min, rest) = number(text)?;
    let (max, rest) = match rest.strip_prefix(',') {
        None => (Some(min), rest),
        Some(rest) if rest.starts_with('}') => (None, rest),
        Some(rest) => number(rest).map(|(max, rest)| (Some(max), rest))?,
    };
    Some((min, max, rest.strip_prefix('}')?))
}

/// Digits without a zero before them.
fn number(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    (!digits.is_empty() && (digits == "0" || !digits.starts_with('0')))
        .then(|| (digits.parse().unwrap_or(u32::MAX), rest))
}
