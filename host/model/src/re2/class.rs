//! Classes of characters: `[a-z]`, `[[:alpha:]]`, `\d`, `\p{Greek}`.
//!
//! They are written so that `regex` reads none of its own syntax in them: each character that could mean something has a
//! backslash, and what a name stands for is written out.

use std::collections::HashSet;

use super::{Error, Reason, error, escape};

/// Matches no character.
pub(super) const NOTHING: &str = r"[^\x{0}-\x{10FFFF}]";
const ANYTHING: &str = r"[\x{0}-\x{10FFFF}]";

const DIGIT: &str = "0-9";
/// Without `\v`, which `[:space:]` has.
const SPACE: &str = r"\t\n\x0C\r ";
const WORD: &str = "0-9A-Za-z_";

/// POSIX classes, of ASCII alone.
const POSIX: &[(&str, &str)] = &[
    ("alnum", "0-9A-Za-z"),
    ("alpha", "A-Za-z"),
    ("ascii", r"\x00-\x7F"),
    ("blank", r"\t "),
    ("cntrl", r"\x00-\x1F\x7F"),
    ("digit", DIGIT),
    ("graph", r"\x21-\x7E"),
    ("lower", "a-z"),
    ("print", r"\x20-\x7E"),
    ("punct", r"\x21-\x2F\x3A-\x40\x5B-\x60\x7B-\x7E"),
    ("space", r"\t-\r "),
    ("upper", "A-Z"),
    ("word", WORD),
    ("xdigit", "0-9A-Fa-f"),
];

/// Unicode's general categories, as short as Go has them. `Cs` are halves of pairs, which no text has.
const CATEGORIES: &[&str] = &[
    "C", "Cc", "Cf", "Cn", "Co", "L", "LC", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn", "N", "Nd", "Nl", "No",
    "P", "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm", "So", "Z", "Zl", "Zp", "Zs",
];

/// A class without brackets around it.
pub(super) enum Class {
    /// Ranges, and whether what is not in them is meant.
    Ranges(&'static str, bool),
    /// Something that stands for itself in brackets and out of them.
    Item(String),
}

/// Ranges that a class of many may have, written out.
const WIDE_RANGES: usize = 1_400;
/// The engine's parser takes as long to look for the other cases of these as to hold one range.
const FOLDED_CHARS: usize = 8;
/// Letters that there are, about.
const LETTERS: usize = 140_000;

impl Class {
    /// What it costs in brackets, see [`Classes::cost`].
    fn cost(&self, fold: bool) -> usize {
        match self {
            Self::Ranges(_, false) => 4,
            Self::Ranges(_, true) | Self::Item(_) if fold => (char::MAX as usize) / FOLDED_CHARS,
            Self::Ranges(_, true) | Self::Item(_) => WIDE_RANGES,
        }
    }

    fn item(self) -> String {
        match self {
            Self::Ranges(ranges, false) => ranges.to_owned(),
            Self::Ranges(ranges, true) => format!("[^{ranges}]"),
            Self::Item(item) => item,
        }
    }

    /// As it is written outside of brackets.
    pub(super) fn alone(self) -> String {
        match self {
            Self::Ranges(ranges, false) => format!("[{ranges}]"),
            other => other.item(),
        }
    }
}

/// Writes one character that stands for itself, in brackets or out of them.
pub(super) fn write_char(out: &mut String, c: char) {
    if r"\.+*?()|[]{}^$#&-~".contains(c) {
        out.push('\\');
    }
    out.push(c);
}

/// What was found out about classes of an expression.
#[derive(Default)]
pub(super) struct Classes {
    /// Scripts that there are.
    scripts: HashSet<String>,
    /// From here on no `:]` comes: not to be looked for at every `[:`.
    no_posix_end: bool,
    /// Are other cases of letters meant too?
    pub(super) fold: bool,
    /// About how many ranges the engine's parser makes of what was written, however few signs it took; what else it does
    /// is counted as ranges too.
    pub(super) cost: usize,
}

impl Classes {
    /// `[…]`, and the rest after it.
    pub(super) fn bracketed<'p>(&mut self, from: &'p str) -> Result<(String, &'p str), Error> {
        let mut rest = &from[1..];
        let negated = rest.starts_with('^');
        rest = rest.strip_prefix('^').unwrap_or(rest);
        let mut items = String::new();
        let mut first = true;
        while first || !rest.starts_with(']') {
            first = false;
            if let Some((class, after)) = self.posix(rest)? {
                self.cost += class.cost(self.fold);
                items.push_str(&class.item());
                rest = after;
                continue;
            }
            if let Some((class, after)) = self.escaped(rest)? {
                self.cost += class.cost(self.fold);
                items.push_str(&class.item());
                rest = after;
                continue;
            }
            let (low, after) = character(rest, from)?;
            let (high, after) = match after.strip_prefix('-') {
                Some(end) if !end.is_empty() && !end.starts_with(']') => character(end, from)?,
                _ => (low, after),
            };
            if high < low {
                return Err(error(Reason::InvalidCharRange, &rest[..rest.len() - after.len()]));
            }
            let wide = (high - low) as usize;
            self.cost += 1 + if self.fold && high >= 0x80 { wide / FOLDED_CHARS } else { 0 };
            write_range(&mut items, low, high);
            rest = after;
        }
        let class = match (items.as_str(), negated) {
            ("", false) => NOTHING.to_owned(),
            ("", true) => ANYTHING.to_owned(),
            (items, false) => format!("[{items}]"),
            (items, true) => format!("[^{items}]"),
        };
        Ok((class, &rest[1..]))
    }

    /// `[:alpha:]`, `[:^alpha:]`
    fn posix<'p>(&mut self, text: &'p str) -> Result<Option<(Class, &'p str)>, Error> {
        let Some(inner) = text.strip_prefix("[:").filter(|_| !self.no_posix_end) else { return Ok(None) };
        let Some((name, rest)) = inner.split_once(":]") else {
            self.no_posix_end = true;
            return Ok(None);
        };
        let plain = name.strip_prefix('^').unwrap_or(name);
        match POSIX.iter().find(|(known, _)| *known == plain) {
            Some((_, ranges)) => Ok(Some((Class::Ranges(ranges, plain != name), rest))),
            None => Err(error(Reason::InvalidCharRange, &text[..text.len() - rest.len()])),
        }
    }

    /// `\d`, `\pL`, `\p{Greek}`, and the rest after it.
    pub(super) fn escaped<'p>(&mut self, text: &'p str) -> Result<Option<(Class, &'p str)>, Error> {
        let Some(c) = text.strip_prefix('\\').and_then(|t| t.chars().next()) else { return Ok(None) };
        let ranges = match c {
            'd' | 'D' => DIGIT,
            's' | 'S' => SPACE,
            'w' | 'W' => WORD,
            'p' | 'P' => return self.property(text, c == 'P'),
            _ => return Ok(None),
        };
        Ok(Some((Class::Ranges(ranges, c.is_ascii_uppercase()), &text[2..])))
    }

    fn property<'p>(&mut self, text: &'p str, negated: bool) -> Result<Option<(Class, &'p str)>, Error> {
        let (name, rest) = match text[2..].strip_prefix('{') {
            Some(inner) => inner.split_once('}').ok_or_else(|| error(Reason::InvalidCharRange, text))?,
            None => text[2..].split_at(text[2..].chars().next().map_or(0, char::len_utf8)),
        };
        self.cost += if self.fold { LETTERS / FOLDED_CHARS } else { WIDE_RANGES };
        let plain = name.strip_prefix('^').unwrap_or(name);
        let negated = negated != (plain != name);
        let property = match plain {
            "Any" | "Cs" => {
                let all = (plain == "Any") != negated;
                return Ok(Some((Class::Item(if all { ANYTHING } else { NOTHING }.to_owned()), rest)));
            }
            category if CATEGORIES.contains(&category) => format!("gc={category}"),
            script if self.is_script(script) => format!("sc={script}"),
            _ => return Err(error(Reason::InvalidCharRange, &text[..text.len() - rest.len()])),
        };
        let p = if negated { 'P' } else { 'p' };
        Ok(Some((Class::Item(format!(r"\{p}{{{property}}}")), rest)))
    }

    /// Go knows scripts by their whole names alone. `regex` is asked which there are: both have Unicode's.
    fn is_script(&mut self, name: &str) -> bool {
        // Longer than any; short ones are abbreviations.
        let plausible = (2..=64).contains(&name.len())
            && name.starts_with(|c: char| c.is_ascii_uppercase())
            && name.chars().all(|c| c == '_' || c.is_ascii_alphabetic())
            && (name.len() > 4 || WHOLE_OF_FOUR.contains(&name));
        plausible
            && (self.scripts.contains(name) || {
                let is = regex::Regex::new(&format!(r"\p{{sc={name}}}")).is_ok();
                is && self.scripts.insert(name.to_owned())
            })
    }
}

/// Scripts whose names are as short as abbreviations are.
const WHOLE_OF_FOUR: &[&str] =
    &["Ahom", "Cham", "Han", "Kawi", "Lao", "Lisu", "Modi", "Mro", "Newa", "Nko", "Thai", "Toto", "Vai", "Yi"];

/// One character of a class that starts at `class`.
fn character<'p>(text: &'p str, class: &str) -> Result<(u32, &'p str), Error> {
    match text.chars().next() {
        Some('\\') => escape::character(text),
        Some(c) => Ok((c as u32, &text[c.len_utf8()..])),
        None => Err(error(Reason::MissingBracket, class)),
    }
}

/// Without the halves of pairs at its ends, which are no characters.
fn write_range(out: &mut String, low: u32, high: u32) {
    let (Some(low), Some(high)) = (char::from_u32(low).or(Some('\u{e000}')), char::from_u32(high).or(Some('\u{d7ff}')))
    else {
        return;
    };
    if low > high {
        return;
    }
    write_char(out, low);
    if low < high {
        out.push('-');
        write_char(out, high);
    }
}
