//! Regular expressions that need no engine: pieces of text at places.
//!
//! Invariant: a [`Pattern`] matches exactly what the expression matches, at both ends anchored.
//! What it reads means the same in the syntax of RE2, which matchers have.
//! Not here: which series have a value (`index`); expressions that list whole values (`Matcher::values`).

use belfry_model::{MatchOp, Matcher};

/// What a regular expression comes to.
#[derive(Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Begins so.
    Prefix(String),
    /// Begins so and goes on.
    LongerThan(String),
    /// Ends so.
    Suffix(String),
    /// Has this within.
    Contains(String),
    /// Pieces one after the other, for values of ASCII alone.
    Pieces(Pieces),
    /// It needs the engine.
    Other,
}

/// What stands for something else than itself.
const META: &str = "\\.+*?()|[]{}^$";
/// What may follow a backslash and then stands for itself.
const ESCAPED: &str = "\\.+*?()|[]{}^$-/";

impl Pattern {
    /// Of a matcher's expression; `Other` where it has none.
    pub fn of(m: &Matcher) -> Self {
        match m.op() {
            MatchOp::Regex | MatchOp::NotRegex => Self::parse_all(m.value()),
            MatchOp::Equal | MatchOp::NotEqual => Self::Other,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (open, text) = text.strip_prefix(".*").map_or((false, text), |rest| (true, rest));
        if let Some(middle) = text.strip_suffix(".*") {
            let middle = literal(middle)?;
            return Some(if open { Self::Contains(middle) } else { Self::Prefix(middle) });
        }
        match text.strip_suffix(".+") {
            Some(start) if !open => Some(Self::LongerThan(literal(start)?)),
            None if open => Some(Self::Suffix(literal(text)?)),
            _ => None,
        }
    }

    fn parse_all(text: &str) -> Self {
        Self::parse(text).or_else(|| Pieces::parse(text).map(Self::Pieces)).unwrap_or(Self::Other)
    }

    /// Does it match? `None`: ask the engine.
    pub fn matches(&self, value: &str) -> Option<bool> {
        Some(match self {
            Self::Prefix(start) => value.starts_with(start),
            Self::LongerThan(start) => value.len() > start.len() && value.starts_with(start),
            Self::Suffix(end) => value.ends_with(end),
            Self::Contains(part) => value.contains(part),
            Self::Pieces(pieces) if value.is_ascii() => pieces.matches(value.as_bytes()),
            Self::Pieces(_) => return None,
            Self::Other => return None,
        })
    }

    /// Does it match everything?
    pub fn is_any(&self) -> bool {
        matches!(self, Self::Prefix(t) | Self::Suffix(t) | Self::Contains(t) if t.is_empty())
    }
}

/// Characters of ASCII: a bit each.
type Class = u128;

/// As many characters as there are classes, each of its class.
type Piece = Vec<Class>;

/// Fixed pieces with any characters between them: `pod-.*[0-4]`, `a..b.+c`.
#[derive(Debug, PartialEq, Eq)]
pub struct Pieces {
    first: Piece,
    /// How many characters stand before each of the others at least.
    rest: Vec<(usize, Piece)>,
}

impl Pieces {
    fn parse(text: &str) -> Option<Self> {
        let mut pieces = vec![(0, Piece::new())];
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let class = match c {
                '.' => match chars.peek() {
                    Some('*' | '+') => {
                        let gap = usize::from(chars.next() == Some('+'));
                        pieces.push((gap, Piece::new()));
                        // One quantifier behind another is something else.
                        if matches!(chars.peek(), Some('*' | '+' | '?' | '{')) {
                            return None;
                        }
                        continue;
                    }
                    _ => Class::MAX,
                },
                '[' => class(&mut chars)?,
                '\\' => one(chars.next().filter(|c| ESCAPED.contains(*c))?)?,
                c if META.contains(c) => return None,
                c => one(c)?,
            };
            if matches!(chars.peek(), Some('*' | '+' | '?' | '{')) {
                return None;
            }
            pieces.last_mut()?.1.push(class);
        }
        let mut pieces = pieces.into_iter();
        let (_, first) = pieces.next()?;
        Some(Self { first, rest: pieces.collect() })
    }

    /// Does a value of ASCII match?
    fn matches(&self, value: &[u8]) -> bool {
        let Some((last, middle)) = self.rest.split_last() else {
            return value.len() == self.first.len() && begins(value, &self.first);
        };
        if !begins(value, &self.first) {
            return false;
        }
        let mut rest = value.get(self.first.len()..).unwrap_or_default();
        for (gap, piece) in middle {
            // The first place there is leaves most for the others.
            let Some(from) = rest.get(*gap..) else { return false };
            let Some(at) = (0..=from.len()).find(|at| begins(&from[*at..], piece)) else { return false };
            rest = &from[at + piece.len()..];
        }
        let (gap, piece) = last;
        rest.len() >= gap + piece.len() && begins(&rest[rest.len() - piece.len()..], piece)
    }
}

fn begins(value: &[u8], piece: &[Class]) -> bool {
    value.len() >= piece.len() && value.iter().zip(piece).all(|(b, class)| class >> (b & 127) & 1 == 1)
}

fn one(c: char) -> Option<Class> {
    c.is_ascii().then(|| 1 << (c as u32))
}

/// What stands between brackets, of which the first was read: characters and ranges of letters and digits.
fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Class> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut class: Class = 0;
    loop {
        let c = chars.next()?;
        match c {
            ']' if class != 0 => return Some(if negated { !class } else { class }),
            c if !c.is_ascii_alphanumeric() && !"_./: ".contains(c) => return None,
            c if chars.next_if_eq(&'-').is_some() => {
                let end = chars.next().filter(|end| c.is_ascii_alphanumeric() && end.is_ascii_alphanumeric())?;
                (c <= end).then_some(())?;
                (c..=end).try_for_each(|c| one(c).map(|bit| class |= bit))?;
            }
            c => class |= one(c)?,
        }
    }
}

/// The text that stands for itself alone.
fn literal(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push(chars.next().filter(|c| ESCAPED.contains(*c))?),
            c if META.contains(c) => return None,
            c => out.push(c),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn common_forms_need_no_engine() {
        let of = |text| Pattern::of(&Matcher::new("x", MatchOp::Regex, text).unwrap());
        for (text, expected) in [
            ("/api/.*", Pattern::Prefix("/api/".into())),
            (".+", Pattern::LongerThan(String::new())),
            (".*5", Pattern::Suffix("5".into())),
            (".*err.*", Pattern::Contains("err".into())),
            (r"a\.*", Pattern::Other),
            ("pod-é[0-9].*", Pattern::Other),
            ("a[0-9]+", Pattern::Other),
            ("(?i)a", Pattern::Other),
            ("(a)?", Pattern::Other),
            ("a|b.*", Pattern::Other),
            ("(a|b)|c", Pattern::Other),
        ] {
            assert_eq!(of(text), expected, "{text}");
        }
        for (text, like, unlike) in [
            ("[ab]", "a b", "ab c"),
            ("pod-.*[13579]", "pod-1 pod-xx9", "pod- pod-12 apod-1"),
            ("pod-0[0-4].*", "pod-00 pod-041", "pod-05 pod-0"),
            (r"a..\.b.+[^x-z0]", "a12.b.. aaa.bcd", "a12.b. a12.b.z a12.b.0 a1.bcd"),
            (".*a.*b.+", "abc xaxbx abab", "ab ba"),
        ] {
            let pattern = of(text);
            assert!(matches!(pattern, Pattern::Pieces(_)), "{text}: {pattern:?}");
            let hits = |all: &str| all.split(' ').map(|v| pattern.matches(v)).collect::<Vec<_>>();
            assert_eq!(hits(like), vec![Some(true); like.split(' ').count()], "{text}");
            assert_eq!(hits(unlike), vec![Some(false); unlike.split(' ').count()], "{text}");
            assert_eq!(pattern.matches("é"), None);
        }
    }

    proptest! {
        #[test]
        fn a_pattern_matches_what_the_expression_matches(
            text in prop_oneof![
                r"(\.\*|\.\+|)[ab|().*+?\\\n]{0,6}(\.\*|\.\+|)",
                r"(a|b|\.|\.\*|\.\+|\[ab\]|\[\^a\]|\[a-b.\]){0,5}",
                r"[ab\[\]^\-.*+&~:0-9]{0,8}",
            ],
            values in proptest::collection::vec("[ab.|()*+?\n1é-]{0,5}", 1..20),
        ) {
            let Ok(m) = Matcher::new("x", MatchOp::Regex, text) else { return Ok(()) };
            let pattern = Pattern::of(&m);
            for v in &values {
                prop_assert!(pattern.matches(v).is_none_or(|hit| hit == m.matches(v)), "{pattern:?} of {m} on {v:?}");
                prop_assert!(!pattern.is_any() || m.matches(v));
            }
        }
    }
}
