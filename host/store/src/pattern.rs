//! Regular expressions that need no engine: a few whole values, or one piece of text at a place.
//!
//! Invariant: a [`Pattern`] matches exactly what the expression matches, at both ends anchored.
//! Not here: which series have a value (`index`).

use belfry_model::{MatchOp, Matcher};

/// What a regular expression comes to.
#[derive(Debug, PartialEq, Eq)]
pub enum Pattern {
    /// One of these.
    Values(Vec<String>),
    /// Begins so.
    Prefix(String),
    /// Begins so and goes on.
    LongerThan(String),
    /// Ends so.
    Suffix(String),
    /// Has this within.
    Contains(String),
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
            MatchOp::Regex | MatchOp::NotRegex => Self::parse(m.value()).unwrap_or(Self::Other),
            MatchOp::Equal | MatchOp::NotEqual => Self::Other,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        if let Some(values) = values(text) {
            return Some(Self::Values(values));
        }
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

    /// Does it match? `None`: ask the engine.
    pub fn matches(&self, value: &str) -> Option<bool> {
        Some(match self {
            Self::Values(values) => values.iter().any(|v| v == value),
            Self::Prefix(start) => value.starts_with(start),
            Self::LongerThan(start) => value.len() > start.len() && value.starts_with(start),
            Self::Suffix(end) => value.ends_with(end),
            Self::Contains(part) => value.contains(part),
            Self::Other => return None,
        })
    }

    /// Does it match everything?
    pub fn is_any(&self) -> bool {
        matches!(self, Self::Prefix(t) | Self::Suffix(t) | Self::Contains(t) if t.is_empty())
    }
}

/// `a|b`, `x(a|b)y`.
fn values(text: &str) -> Option<Vec<String>> {
    let all = |text: &str| alternatives(text).into_iter().map(literal).collect::<Option<Vec<_>>>();
    let Some(open) = unescaped(text, '(').next() else { return all(text) };
    let close = unescaped(text, ')').last().filter(|close| *close > open)?;
    let (start, end) = (literal(&text[..open])?, literal(&text[close + 1..])?);
    let inner = &text[open + 1..close];
    let inner = inner.strip_prefix("?:").unwrap_or(inner);
    Some(all(inner)?.into_iter().map(|v| format!("{start}{v}{end}")).collect())
}

/// Where `wanted` stands without a backslash before it.
fn unescaped(text: &str, wanted: char) -> impl Iterator<Item = usize> {
    let mut escaped = false;
    text.char_indices().filter_map(move |(at, c)| {
        let plain = !escaped;
        escaped = plain && c == '\\';
        (plain && c == wanted).then_some(at)
    })
}

fn alternatives(text: &str) -> Vec<&str> {
    let mut from = 0;
    let mut parts = Vec::new();
    for at in unescaped(text, '|') {
        parts.push(&text[from..at]);
        from = at + 1;
    }
    parts.push(&text[from..]);
    parts
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
        let values = |v: &[&str]| Pattern::Values(v.iter().map(|v| (*v).to_owned()).collect());
        for (text, expected) in [
            ("a|b|", values(&["a", "b", ""])),
            (r"host-(1|22)\.lan:9100", values(&["host-1.lan:9100", "host-22.lan:9100"])),
            ("(?:a|b)", values(&["a", "b"])),
            ("/api/.*", Pattern::Prefix("/api/".into())),
            (".+", Pattern::LongerThan(String::new())),
            (".*5", Pattern::Suffix("5".into())),
            (".*err.*", Pattern::Contains("err".into())),
            (r"a\.*", Pattern::Other),
            ("(?i)a", Pattern::Other),
            ("(a)?", Pattern::Other),
            ("a|b.*", Pattern::Other),
            ("(a|b)|c", Pattern::Other),
            ("[ab]", Pattern::Other),
        ] {
            assert_eq!(of(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_pattern_matches_what_the_expression_matches(
            text in r"(\.\*|\.\+|)[ab|().*+?\\\n]{0,6}(\.\*|\.\+|)",
            values in proptest::collection::vec("[ab.|()*+?\n]{0,4}", 1..20),
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
